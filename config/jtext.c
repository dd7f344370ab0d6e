/* config/jtext.c - Java's trim, number parsing and number printing. */
#include "config/jtext.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct str jtrim(struct str s)
{
    while (s.len > 0 && (unsigned char)s.p[0] <= ' ') {
        s.p++;
        s.len--;
    }
    while (s.len > 0 && (unsigned char)s.p[s.len - 1] <= ' ')
        s.len--;
    return s;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool jlong_parse(struct str s, int64_t min, int64_t max, int64_t *out)
{
    bool negative = s.len > 0 && s.p[0] == '-';
    size_t i = s.len > 0 && (s.p[0] == '-' || s.p[0] == '+');
    int64_t n = 0;

    if (i == s.len)
        return false;
    for (; i < s.len; i++) {
        int digit;

        if (!is_digit(s.p[i]))
            return false;
        digit = s.p[i] - '0';
        if (__builtin_mul_overflow(n, 10, &n) ||
            (negative ? __builtin_sub_overflow(n, digit, &n) : __builtin_add_overflow(n, digit, &n)))
            return false;
    }
    if (n < min || n > max)
        return false;
    *out = n;
    return true;
}

static size_t skip_digits(struct str s, size_t *i, bool hex)
{
    size_t from = *i;

    while (*i < s.len && (is_digit(s.p[*i]) || (hex && strchr("abcdefABCDEF", s.p[*i]) != NULL)))
        ++*i;
    return *i - from;
}

/* Sign, digits, exponent and the optional type suffix: what Java takes, which is less than strtod() does. */
static bool is_java_number(struct str s, size_t i)
{
    bool hex = i + 1 < s.len && s.p[i] == '0' && (s.p[i + 1] == 'x' || s.p[i + 1] == 'X');
    bool exponent;
    size_t digits;

    if (hex)
        i += 2;
    digits = skip_digits(s, &i, hex);
    if (i < s.len && s.p[i] == '.') {
        i++;
        digits += skip_digits(s, &i, hex);
    }
    if (digits == 0)
        return false;
    exponent = i < s.len && strchr(hex ? "pP" : "eE", s.p[i]) != NULL;
    if (exponent) {
        i++;
        if (i < s.len && (s.p[i] == '+' || s.p[i] == '-'))
            i++;
        if (skip_digits(s, &i, false) == 0)
            return false;
    }
    if (hex && !exponent)
        return false;
    if (i < s.len && strchr("fFdD", s.p[i]) != NULL)
        i++;
    return i == s.len;
}

bool jdouble_parse(struct str s, double *out)
{
    size_t i = s.len > 0 && (s.p[0] == '-' || s.p[0] == '+');
    struct str rest = { s.p + i, s.len - i };
    bool negative = i == 1 && s.p[0] == '-';
    char text[512];

    if (str_is(rest, "NaN") || str_is(rest, "Infinity")) {
        *out = str_is(rest, "NaN") ? (double)NAN : negative ? -HUGE_VAL : HUGE_VAL;
        return true;
    }
    if (s.len >= sizeof text || !is_java_number(s, i))
        return false;
    memcpy(text, s.p, s.len);
    text[s.len] = '\0';
    *out = strtod(text, NULL);
    return true;
}

/* The shortest digits that read back as the same number, then Java's layout: plain from 10^-3 up to 10^7. */
void jdouble_text(double d, char buf[static JDOUBLE_TEXT])
{
    char sci[JDOUBLE_TEXT], digits[20];
    int exponent, n = 0;

    if (isnan(d) || isinf(d) || d == 0.0) {
        snprintf(buf, JDOUBLE_TEXT, "%s%s", !isnan(d) && signbit(d) ? "-" : "",
                 isnan(d) ? "NaN" : isinf(d) ? "Infinity" : "0.0");
        return;
    }
    for (int precision = 0; precision <= 17; precision++) {
        snprintf(sci, sizeof sci, "%.*e", precision, fabs(d));
        if (!(strtod(sci, NULL) < fabs(d)) && !(strtod(sci, NULL) > fabs(d)))
            break;
    }
    exponent = (int)strtol(strchr(sci, 'e') + 1, NULL, 10);
    for (const char *c = sci; *c != 'e'; c++)
        if (is_digit(*c) && n < (int)sizeof digits - 1)
            digits[n++] = *c;
    digits[n] = '\0';
    if (exponent < -3 || exponent >= 7)
        snprintf(buf, JDOUBLE_TEXT, "%s%c.%sE%d", d < 0 ? "-" : "", digits[0], n > 1 ? digits + 1 : "0", exponent);
    else if (exponent < 0)
        snprintf(buf, JDOUBLE_TEXT, "%s0.%.*s%s", d < 0 ? "-" : "", -exponent - 1, "00000", digits);
    else if (n <= exponent + 1)
        snprintf(buf, JDOUBLE_TEXT, "%s%s%.*s.0", d < 0 ? "-" : "", digits, exponent + 1 - n, "0000000");
    else
        snprintf(buf, JDOUBLE_TEXT, "%s%.*s.%s", d < 0 ? "-" : "", exponent + 1, digits, digits + exponent + 1);
}
