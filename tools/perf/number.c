/* tools/perf/number.c - Java's formats. */
#include "tools/perf/number.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

const char *number_fixed(char out[NUMBER_MAX], double v, int digits)
{
    if (isnan(v) || isinf(v))
        snprintf(out, NUMBER_MAX, "%s", isnan(v) ? "NaN" : v < 0 ? "-Infinity" : "Infinity");
    else
        snprintf(out, NUMBER_MAX, "%.*f", digits, v);
    return out;
}

/* ---- dates: runs of one letter are fields, text stands in quotes ---- */

static const char letters[] = "GyYMLwWDdFEuaHkKhmsSzZX";

const char *date_check(const char *pattern)
{
    static char text[64];

    for (const char *p = pattern; *p != '\0'; p++) {
        if (*p == '\'') {
            p = strchr(p + 1, '\'');
            if (p == NULL)
                return "Unterminated quote";
        } else if (((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z')) && strchr(letters, *p) == NULL) {
            snprintf(text, sizeof text, "Illegal pattern character '%c'", *p);
            return text;
        }
    }
    return NULL;
}

static void put_zone(FILE *f, const struct tm *tm, char letter, int n)
{
    long minutes = tm->tm_gmtoff / 60;
    long size = minutes < 0 ? -minutes : minutes;

    if (letter == 'z')
        fputs(tm->tm_zone, f);
    else if (letter == 'X' && minutes == 0)
        fputc('Z', f);
    else if (letter == 'X' && n == 1)
        fprintf(f, "%c%02ld", minutes < 0 ? '-' : '+', size / 60);
    else
        fprintf(f, "%c%02ld%s%02ld", minutes < 0 ? '-' : '+', size / 60, letter == 'X' && n > 2 ? ":" : "", size % 60);
}

static void put_name(FILE *f, const struct tm *tm, const char *brief, const char *full, int n)
{
    char text[64];

    strftime(text, sizeof text, n < 4 ? brief : full, tm);
    fputs(text, f);
}

/* Weeks begin on Sundays; the one that has January 1st in it is the first of its year. */
static int week_of_year(const struct tm *tm, int *year)
{
    bool leap = (*year % 4 == 0 && *year % 100 != 0) || *year % 400 == 0;

    if (tm->tm_yday - tm->tm_wday + 6 >= (leap ? 366 : 365)) {
        ++*year;
        return 1;
    }
    return (tm->tm_yday - tm->tm_wday + 13) / 7;
}

static void put_field(FILE *f, const struct tm *tm, char letter, int n, int ms)
{
    int hour = tm->tm_hour, v = 0;
    int year = tm->tm_year + 1900, week_year = year, week = week_of_year(tm, &week_year);

    switch (letter) {
    case 'G': fputs("AD", f); return;
    case 'y': v = n == 2 ? year % 100 : year; break;
    case 'Y': v = n == 2 ? week_year % 100 : week_year; break;
    case 'M': case 'L':
        if (n > 2) {
            put_name(f, tm, "%b", "%B", n);
            return;
        }
        v = tm->tm_mon + 1;
        break;
    case 'E': put_name(f, tm, "%a", "%A", n); return;
    case 'a': fputs(hour < 12 ? "AM" : "PM", f); return;
    case 'z': case 'Z': case 'X': put_zone(f, tm, letter, n); return;
    case 'w': v = week; break;
    case 'W': v = (tm->tm_mday - tm->tm_wday + 12) / 7; break;
    case 'D': v = tm->tm_yday + 1; break;
    case 'd': v = tm->tm_mday; break;
    case 'F': v = (tm->tm_mday - 1) / 7 + 1; break;
    case 'u': v = tm->tm_wday == 0 ? 7 : tm->tm_wday; break;
    case 'H': v = hour; break;
    case 'k': v = hour == 0 ? 24 : hour; break;
    case 'K': v = hour % 12; break;
    case 'h': v = hour % 12 == 0 ? 12 : hour % 12; break;
    case 'm': v = tm->tm_min; break;
    case 's': v = tm->tm_sec; break;
    case 'S': v = ms; break;
    default: break;
    }
    fprintf(f, "%0*d", n < 16 ? n : 16, v);
}

void date_print(FILE *f, const char *pattern, int64_t unix_ms)
{
    time_t    seconds = (time_t)(unix_ms / 1000);
    struct tm tm;

    localtime_r(&seconds, &tm);
    for (const char *p = pattern; *p != '\0';) {
        const char *end;
        int         n = 1;

        if (*p == '\'' && p[1] == '\'') {
            fputc('\'', f);
            p += 2;
        } else if (*p == '\'') {
            for (end = p + 1; *end != '\0' && !(*end == '\'' && end[1] != '\''); end++) {
                fputc(*end, f);
                end += *end == '\'';
            }
            p = *end != '\0' ? end + 1 : end;
        } else if (strchr(letters, *p) != NULL) {
            while (p[n] == *p)
                n++;
            put_field(f, &tm, *p, n, (int)(unix_ms % 1000));
            p += n;
        } else {
            fputc(*p++, f);
        }
    }
}
