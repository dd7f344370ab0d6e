/* tests/unit/tools/consumer_groups/test_texts.c - what kafka-consumer-groups reads and how it orders: dates, durations,
 * lines of fields, hash tables. Expected values come from Java 17. */
#include "proto/kerr.h"
#include "tools/consumer_groups/csv.h"
#include "tools/consumer_groups/jvm.h"
#include "tools/consumer_groups/when.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

START_TEST(hashes_of_strings)
{
    static const struct { const char *text; uint32_t hash; size_t length; } v[] = {
        { "", 0, 0 }, { "a", 97, 1 }, { "consumer-group", 0x98623de8, 14 }, { "gruppe-\xc3\xa4", 0x282524d2, 8 },
        { "\xf0\x9f\x98\x80x", 0x03469f75, 3 },     /* two units of UTF-16 */
    };

    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
        ck_assert_uint_eq(jvm_hash(str_of(v[i].text)), v[i].hash);
        ck_assert_uint_eq(jvm_length(str_of(v[i].text)), v[i].length);
    }
}
END_TEST

/* Every byte is looked at once, whatever it is: no reading past the end. */
START_TEST(texts_that_are_no_utf8)
{
    static const char *const v[] = { "\xff", "\xc3", "a\xc3", "\xe2\x82", "\xf0\x9f\x98", "\x80\x80", "\xc0\x80",
                                     "\xc3(" };

    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
        size_t      n = strlen(v[i]);
        char       *exact = malloc(n);      /* so that the sanitizer sees a byte too many */
        struct str  s = { exact, n };

        ck_assert_ptr_nonnull(exact);
        memcpy(exact, v[i], n);
        ck_assert_uint_eq(jvm_length(s), n);
        (void)jvm_hash(s);
        free(exact);
    }
}
END_TEST

static uint32_t number_hash(const void *p)
{
    return *(const uint32_t *)p;
}

START_TEST(order_of_a_hash_table)
{
    struct arena a;
    uint32_t     v[] = { 33, 17, 1, 0x10000, 16, 5 };           /* 16 slots; 0x10000 is folded onto 1 */
    uint32_t     more[13], grown[] = { 0, 32, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16 };

    arena_init(&a, 1 << 20);
    ck_assert_int_eq(jvm_order(v, 6, sizeof v[0], JVM_ROOM, number_hash, &a), OK);
    ck_assert_mem_eq(v, ((uint32_t[]){ 16, 33, 17, 1, 0x10000, 5 }), sizeof v);
    ck_assert_int_eq(jvm_order(v, 6, sizeof v[0], 33, number_hash, &a), OK);        /* 64 slots */
    ck_assert_mem_eq(v, ((uint32_t[]){ 1, 0x10000, 5, 16, 17, 33 }), sizeof v);
    for (uint32_t i = 0; i < 13; i++)                           /* the 13th makes 32 slots of 16 */
        more[i] = i < 11 ? i : i == 11 ? 16 : 32;
    ck_assert_int_eq(jvm_order(more, 13, sizeof more[0], JVM_ROOM, number_hash, &a), OK);
    ck_assert_mem_eq(more, grown, sizeof more);
    arena_fini(&a);
}
END_TEST

START_TEST(names_of_exceptions)
{
    char out[120];

    ck_assert_str_eq(jvm_exception(KERR_NON_EMPTY_GROUP, out, sizeof out),
                     "org.apache.kafka.common.errors.GroupNotEmptyException");
    ck_assert_str_eq(jvm_exception(KERR_COORDINATOR_LOAD_IN_PROGRESS, out, sizeof out),
                     "org.apache.kafka.common.errors.CoordinatorLoadInProgressException");
    ck_assert_str_eq(jvm_exception(12345, out, sizeof out), "org.apache.kafka.common.errors.UnknownServerException");
    for (int16_t code = -2; code < 140; code++)
        ck_assert_uint_lt(strlen(jvm_exception(code, out, 40)), 40);
}
END_TEST

START_TEST(dates)
{
    static const struct { const char *text; int64_t ms; } good[] = {
        { "1970-01-01T00:00:00.000", 0 }, { "2020-09-13T12:26:40.007Z", 1600000000007 },
        { "2020-09-13T14:26:40.000+02", 1600000000000 }, { "2020-09-13T17:56:40.000+05:30", 1600000000000 },
        { "2020-09-13T17:56:40.000+0530", 1600000000000 }, { "2020-09-13T10:56:40.000-01:30", 1600000000000 },
        { "2020-9-13T12:26:40.7", 1600000000007 }, { "2024-02-29T00:00:00.000", 1709164800000 },
        { "1969-12-31T23:59:59.999Z", -1 },
    };
    static const char *const bad[] = {
        "", "T", "2020-01-01", "2020-01-01T", "2020-01-01T00:00:00", "2020-01-01T00:00:00.", "2020-13-01T00:00:00.000",
        "2020-00-01T00:00:00.000", "2023-02-29T00:00:00.000", "1900-02-29T00:00:00.000", "2020-01-32T00:00:00.000",
        "2020-01-01T24:00:00.000", "2020-01-01T00:60:00.000", "2020-01-01T00:00:60.000", "2020-01-01T00:00:00.1000",
        "2020-01-01T00:00:00.000+", "2020-01-01T00:00:00.000+2", "2020-01-01T00:00:00.000+24",
        "2020-01-01T00:00:00.000+02:60", "2020-01-01T00:00:00.000Zx", "2020-01-01T00:00:00.000 ",
        "x020-01-01T00:00:00.0",
        "99999999999999999999-01-01T00:00:00.000", "2020-01-01t00:00:00.000", "-2020-01-01T00:00:00.000",
        "2020-01-01T00:00:00.000+02:", "0000-01-01T00:00:00.000",
    };
    int64_t ms;

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        ck_assert_msg(when_parse_datetime(good[i].text, &ms) == OK, "%s", good[i].text);
        ck_assert_int_eq(ms, good[i].ms);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(when_parse_datetime(bad[i], &ms) == ERR_INVALID, "%s", bad[i]);
}
END_TEST

START_TEST(durations)
{
    static const struct { const char *text; int64_t ms; } good[] = {
        { "PT0S", 0 }, { "P1D", 86400000 }, { "P1DT2H3M4.5S", 93784500 }, { "pt1m", 60000 }, { "-PT1S", -1000 },
        { "PT-0.5S", -500 }, { "P-1DT24H", 0 }, { "+P2D", 172800000 }, { "PT1,25S", 1250 }, { "PT36H", 129600000 },
        { "PT0.0019S", 1 }, { "PT1.S", 1000 },
    };
    static const char *const bad[] = {
        "", "P", "PT", "1D", "P1DT", "P1", "P1H", "PT1D", "PT1S1M", "PT1H ", "P1D1D", "P99999999999999999999D",
        "PT9223372036854775807H", "PT.5S", "PT1.1234567890S", "P1Y", "PT1.5M", "--PT1S", "P--1D",
        "-PT-9223372036854775.807S-",
    };
    int64_t ms;

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        ck_assert_msg(when_parse_duration(good[i].text, &ms) == OK, "%s", good[i].text);
        ck_assert_int_eq(ms, good[i].ms);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(when_parse_duration(bad[i], &ms) == ERR_INVALID, "%s", bad[i]);
}
END_TEST

START_TEST(lines_of_fields)
{
    static const struct { const char *line; int rc; size_t n; const char *fields[4]; } v[] = {
        { "t,0,5", OK, 3, { "t", "0", "5" } }, { "t,0,5\r", OK, 3, { "t", "0", "5" } }, { "", OK, 1, { "" } },
        { "\"a,b\",\"\",\"q\"\"q\"", OK, 3, { "a,b", "", "q\"q" } }, { ",,", OK, 3, { "", "", "" } },
        { "a\"b,c", OK, 2, { "a\"b", "c" } },
        { "1,2,3,4,5", ERR_LIMIT, 0, { NULL } }, { "\"open", ERR_INVALID, 0, { NULL } },
        { "\"", ERR_INVALID, 0, { NULL } }, { "\"a\"b", ERR_INVALID, 0, { NULL } },
        { "\"\"\"", ERR_INVALID, 0, { NULL } },
    };
    struct arena a;

    arena_init(&a, 1 << 20);
    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
        struct str fields[4];
        size_t     n;

        ck_assert_msg(csv_read(str_of(v[i].line), fields, 4, &n, &a) == v[i].rc, "%s", v[i].line);
        for (size_t k = 0; v[i].rc == OK && k < v[i].n; k++)
            ck_assert_msg(str_is(fields[k], v[i].fields[k]), "%s: %.*s", v[i].line, STR_ARG(fields[k]));
        ck_assert(v[i].rc != OK || n == v[i].n);
    }
    arena_fini(&a);
}
END_TEST

int main(void)
{
    Suite   *s = suite_create("texts of kafka-consumer-groups");
    TCase   *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int      failed;

    tcase_add_test(t, hashes_of_strings);
    tcase_add_test(t, texts_that_are_no_utf8);
    tcase_add_test(t, order_of_a_hash_table);
    tcase_add_test(t, names_of_exceptions);
    tcase_add_test(t, dates);
    tcase_add_test(t, durations);
    tcase_add_test(t, lines_of_fields);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
