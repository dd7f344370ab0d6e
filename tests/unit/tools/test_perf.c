/* tests/unit/tools/test_perf.c - what the performance tests send and print, held against what Java's classes gave. */
#include "tools/perf/number.h"
#include "tools/perf/payload.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATTERN "G y yy yyy yyyy YYYY M MM MMM MMMM L LLL w W D d F E EEEE u " \
                "a H k K h m s S SSS Z X XX X" "XX 'it''s' ''"

static const struct { const char *zone; int64_t ms; const char *text; } dates[] = {
    { "UTC0", INT64_C(1795259412980), "AD 2026 26 2026 2026 2026 11 11 Nov November 11 Nov 47 3 325"
      " 21 3 Sat Saturday 6 AM 11 11 11 11 10 12 980 980 +0000 Z Z Z it's '" },
    { "UTC0", 0, "AD 1970 70 1970 1970 1970 1 01 Jan January 1 Jan 1 1 1 1 1 Thu"
      " Thursday 4 AM 0 24 0 12 0 0 0 000 +0000 Z Z Z it's '" },
    { "UTC0", INT64_C(1704067199999), "AD 2023 23 2023 2023 2024 12 12 Dec December 12 Dec 1 6 365 31"
      " 5 Sun Sunday 7 PM 23 23 11 11 59 59 999 999 +0000 Z Z Z it's '" },
    { "UTC0", INT64_C(1709251200007), "AD 2024 24 2024 2024 2024 3 03 Mar March 3 Mar 9 1 61 1 1 Fri"
      " Friday 5 AM 0 24 0 12 0 0 7 007 +0000 Z Z Z it's '" },
    { "UTC0", INT64_C(1735603200000), "AD 2024 24 2024 2024 2025 12 12 Dec December 12 Dec 1 5 366 31"
      " 5 Tue Tuesday 2 AM 0 24 0 12 0 0 0 000 +0000 Z Z Z it's '" },
    { "<-0330>3:30", INT64_C(1795259412980), "AD 2026 26 2026 2026 2026 11 11 Nov November 11 Nov 47 3 325"
      " 21 3 Sat Saturday 6 AM 7 7 7 7 40 12 980 980 -0330 -03 -0330 -03:30 it's '" },
    { "<-0330>3:30", 0, "AD 1969 69 1969 1969 1970 12 12 Dec December 12 Dec 1 5 365 31"
      " 5 Wed Wednesday 3 PM 20 20 8 8 30 0 0 000 -0330 -03 -0330 -03:30 it's '" },
    { "<-0330>3:30", INT64_C(1704067199999), "AD 2023 23 2023 2023 2024 12 12 Dec December 12 Dec 1 6 365 31"
      " 5 Sun Sunday 7 PM 20 20 8 8 29 59 999 999 -0330 -03 -0330 -03:30 it's '" },
    { "<-0330>3:30", INT64_C(1709251200007), "AD 2024 24 2024 2024 2024 2 02 Feb February 2 Feb 9 5 60 29 5"
      " Thu Thursday 4 PM 20 20 8 8 30 0 7 007 -0330 -03 -0330 -03:30 it's '" },
    { "<-0330>3:30", INT64_C(1735603200000), "AD 2024 24 2024 2024 2025 12 12 Dec December 12 Dec 1 5 365 30"
      " 5 Mon Monday 1 PM 20 20 8 8 30 0 0 000 -0330 -03 -0330 -03:30 it's '" },
};

START_TEST(dates_are_java_s)
{
    char  *text = NULL;
    size_t n;

    for (size_t i = 0; i < sizeof dates / sizeof dates[0]; i++) {
        FILE *out = open_memstream(&text, &n);

        setenv("TZ", dates[i].zone, 1);
        tzset();
        date_print(out, PATTERN, dates[i].ms);
        fclose(out);
        ck_assert_str_eq(text, dates[i].text);
        free(text);
    }
    ck_assert_ptr_null(date_check(PATTERN));
    ck_assert_ptr_nonnull(date_check("yyyy b"));
    ck_assert_ptr_nonnull(date_check("'yyyy"));
}
END_TEST

START_TEST(numbers_are_java_s)
{
    char text[NUMBER_MAX];

    ck_assert_str_eq(number_fixed(text, 12.3456, 2), "12.35");
    ck_assert_str_eq(number_fixed(text, NAN, 2), "NaN");
    ck_assert_str_eq(number_fixed(text, -(double)INFINITY, 4), "-Infinity");
    ck_assert_uint_gt(strlen(number_fixed(text, 1e300, 6)), 300);
}
END_TEST

static void expect_piece(struct payload *p, int64_t n, const char *want)
{
    struct bytes b = payload_next(p, n);

    ck_assert_uint_eq(b.len, strlen(want));
    ck_assert_mem_eq(b.p, want, b.len);
}

START_TEST(letters_are_those_of_kafka_s_tool)
{
    struct payload p = { 0 };

    ck_assert_int_eq(payload_random(&p, 20), OK);
    expect_piece(&p, 0, "YQHHNEBSEPDNSEIFGAMS");
    payload_fini(&p);
    expect_piece(&p, 41, "41");
    ck_assert_int_eq(payload_random(&p, 0), OK);
    expect_piece(&p, 0, "");
    payload_fini(&p);
}
END_TEST

static size_t pieces_of(const char *content, const char *delimiter)
{
    char           path[] = "/tmp/test_perf.XXXXXX", error[128];
    int            fd = mkstemp(path);
    struct payload p = { 0 };
    size_t         n;

    ck_assert_int_eq(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    close(fd);
    n = payload_file(&p, path, delimiter, error, sizeof error) == OK ? p.pieces_n : 0;
    unlink(path);
    payload_fini(&p);
    return n;
}

START_TEST(files_are_split_as_java_splits)
{
    ck_assert_uint_eq(pieces_of("a\nb\nc", "\\n"), 3);
    ck_assert_uint_eq(pieces_of("a\nb\n\n\n", "\\n"), 2);      /* what is empty at the end does not count */
    ck_assert_uint_eq(pieces_of(",a,,b", ","), 4);
    ck_assert_uint_eq(pieces_of("a1b22c", "[0-9]+"), 3);
    ck_assert_uint_eq(pieces_of("abc", ""), 3);
    ck_assert_uint_eq(pieces_of("abc", "x*"), 3);
    ck_assert_uint_eq(pieces_of("abc", "("), 0);
    ck_assert_uint_eq(pieces_of("", ","), 0);
    ck_assert_uint_eq(pieces_of(",", ","), 1);
}
END_TEST

int main(void)
{
    Suite   *s = suite_create("perf");
    TCase   *t = tcase_create("perf");
    SRunner *r = srunner_create(s);
    int      failed;

    tcase_add_test(t, dates_are_java_s);
    tcase_add_test(t, numbers_are_java_s);
    tcase_add_test(t, letters_are_those_of_kafka_s_tool);
    tcase_add_test(t, files_are_split_as_java_splits);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
