/* tools/consumer_groups/when.c - reading dates and durations. */
#include "tools/consumer_groups/when.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

/* Digits, at least one, then `after` (none if 0). A number beyond `max` is no date. */
static bool number(const char **p, int64_t min, int64_t max, char after, int64_t *out)
{
    *out = 0;
    if (!isdigit((unsigned char)**p))
        return false;
    for (; isdigit((unsigned char)**p); (*p)++) {
        if (*out > max)
            return false;
        *out = *out * 10 + (**p - '0');
    }
    if (*out < min || *out > max)
        return false;
    if (after == '\0')
        return true;
    return *(*p)++ == after;
}

static bool two_digits(const char **p, int64_t max, int64_t *out)
{
    if (!isdigit((unsigned char)(*p)[0]) || !isdigit((unsigned char)(*p)[1]))
        return false;
    *out = ((*p)[0] - '0') * 10 + ((*p)[1] - '0');
    *p += 2;
    return *out <= max;
}

/* Minutes east of Greenwich; nothing may follow. */
static bool zone(const char *p, int64_t *out)
{
    int64_t hours, minutes = 0, sign = *p == '-' ? -1 : 1;

    *out = 0;
    if (*p == '\0' || strcmp(p, "Z") == 0)
        return true;
    if (*p != '+' && *p != '-')
        return false;
    p++;
    if (!two_digits(&p, 23, &hours))
        return false;
    p += *p == ':' && p[1] != '\0';
    if (*p != '\0' && !two_digits(&p, 59, &minutes))
        return false;
    *out = sign * (hours * 60 + minutes);
    return *p == '\0';
}

static int64_t days_of_month(int64_t year, int64_t month)
{
    static const int64_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool                 leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return month == 2 && leap ? 29 : days[month - 1];
}

int when_parse_datetime(const char *text, int64_t *out)
{
    const char *p = text;
    int64_t     year, month, day, hour, minute, second, ms, east;
    struct tm   tm = { 0 };

    if (!number(&p, 1, 9999999, '-', &year) || !number(&p, 1, 12, '-', &month) || !number(&p, 1, 31, 'T', &day) ||
        day > days_of_month(year, month) || !number(&p, 0, 23, ':', &hour) || !number(&p, 0, 59, ':', &minute) ||
        !number(&p, 0, 59, '.', &second) || !number(&p, 0, 999, '\0', &ms) ||
        !zone(p, &east))
        return ERR_INVALID;
    tm.tm_year = (int)year - 1900;
    tm.tm_mon = (int)month - 1;
    tm.tm_mday = (int)day;
    *out = ((int64_t)timegm(&tm) + hour * 3600 + (minute - east) * 60 + second) * 1000 + ms;
    return OK;
}

/* A signed number and its unit, if it stands here; adds it to *sum. */
static int section(const char **p, char unit, int64_t unit_ms, int64_t *sum, bool *any)
{
    const char *s = *p;
    int64_t     n = 0, sign = *s == '-' ? -1 : 1, fraction = 0, scale = 100;

    if (*s == '-' || *s == '+')
        s++;
    if (!isdigit((unsigned char)*s))
        return OK;
    for (; isdigit((unsigned char)*s); s++) {
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *s - '0', &n))
            return ERR_INVALID;
    }
    if (unit == 'S' && (*s == '.' || *s == ',')) {
        int digits = 0;

        for (s++; isdigit((unsigned char)*s); s++, digits++, scale /= 10)
            fraction += (*s - '0') * scale;
        if (digits > 9)
            return ERR_INVALID;
    }
    if (toupper((unsigned char)*s) != unit)
        return OK;
    if (__builtin_mul_overflow(n, unit_ms, &n) || __builtin_add_overflow(n, fraction, &n) ||
        __builtin_add_overflow(*sum, sign * n, sum))
        return ERR_INVALID;
    *any = true;
    *p = s + 1;
    return OK;
}

int when_parse_duration(const char *text, int64_t *out_ms)
{
    const char *p = text;
    int64_t     sum = 0;
    bool        negative = *p == '-', any = false;

    if (*p == '-' || *p == '+')
        p++;
    if (toupper((unsigned char)*p++) != 'P')
        return ERR_INVALID;
    TRY(section(&p, 'D', 86400000, &sum, &any));
    if (toupper((unsigned char)*p) == 'T') {
        bool timed = false;

        p++;
        TRY(section(&p, 'H', 3600000, &sum, &timed));
        TRY(section(&p, 'M', 60000, &sum, &timed));
        TRY(section(&p, 'S', 1000, &sum, &timed));
        if (!timed)
            return ERR_INVALID;
        any = true;
    }
    if (!any || *p != '\0')
        return ERR_INVALID;
    if (negative && __builtin_sub_overflow(0, sum, &sum))
        return ERR_INVALID;
    *out_ms = sum;
    return OK;
}
