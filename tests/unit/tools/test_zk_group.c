/* tests/unit/tools/test_zk_group.c - registrations under /consumers, and who reads what. */
#include "tools/zk_group/reader.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static struct arena arena;

static struct bytes bytes_of(const char *z)
{
    return (struct bytes){ (const uint8_t *)z, strlen(z) };
}

static void begin(void)
{
    arena_init(&arena, 64U << 20);
}

static void end(void)
{
    arena_fini(&arena);
}

/* ---- registrations ---- */

START_TEST(written_as_kafka_writes_it)
{
    char *z = group_registration_write(GROUP_WHITE_LIST, "a\\.b|\"c", 1416241520000);

    ck_assert_str_eq(z, "{\"version\":1,\"subscription\":{\"a\\\\.b|\\\"c\":1},\"pattern\":\"white_list\","
                        "\"timestamp\":\"1416241520000\"}");
    free(z);
}
END_TEST

START_TEST(read_again)
{
    struct group_registration r;
    char *z = group_registration_write(GROUP_WHITE_LIST, "a.b|c", 0);

    ck_assert_int_eq(group_registration_read(bytes_of(z), &arena, &r), OK);
    ck_assert_int_eq(group_streams(&r, STR_LIT("axb")), 1);
    ck_assert_int_eq(group_streams(&r, STR_LIT("c")), 1);
    ck_assert_int_eq(group_streams(&r, STR_LIT("cc")), 0);
    group_registration_fini(&r);
    free(z);
    z = group_registration_write(GROUP_BLACK_LIST, "a.b|c", 0);
    ck_assert_int_eq(group_registration_read(bytes_of(z), &arena, &r), OK);
    ck_assert_int_eq(group_streams(&r, STR_LIT("axb")), 0);
    ck_assert_int_eq(group_streams(&r, STR_LIT("cc")), 1);
    group_registration_fini(&r);
    free(z);
    ck_assert_int_eq(group_registration_read(bytes_of("{\"pattern\":\"static\",\"subscription\":{\"a.b\":2,\"c\":1}}"),
                                             &arena, &r), OK);
    ck_assert_int_eq(group_streams(&r, STR_LIT("a.b")), 2);
    ck_assert_int_eq(group_streams(&r, STR_LIT("axb")), 0);
    group_registration_fini(&r);
    /* A list of nothing, and words that are not known, are static. */
    ck_assert_int_eq(group_registration_read(bytes_of("{\"pattern\":\"white_list\",\"subscription\":{}}"), &arena,
                                             &r), OK);
    ck_assert_int_eq(group_streams(&r, STR_LIT("a")), 0);
    ck_assert_int_eq(group_registration_read(bytes_of("{\"pattern\":\"x\",\"subscription\":{\"a\":1}}"), &arena, &r),
                     OK);
    ck_assert_int_eq(group_streams(&r, STR_LIT("a")), 1);
}
END_TEST

START_TEST(what_is_none)
{
    static const char *const bad[] = {
        "", "x", "[]", "1", "{}", "{\"pattern\":\"static\"}", "{\"subscription\":{}}",
        "{\"subscription\":[],\"pattern\":\"static\"}", "{\"subscription\":{\"a\":\"1\"},\"pattern\":\"static\"}",
        "{\"subscription\":{\"a\":0},\"pattern\":\"static\"}", "{\"subscription\":{\"a\":1001},\"pattern\":\"static\"}",
        "{\"subscription\":{\"a\":1.5},\"pattern\":\"static\"}", "{\"subscription\":{\"a\":1},\"pattern\":1}",
        "{\"subscription\":{\"(\":1},\"pattern\":\"black_list\"}", "{\"subscription\":{\"a\":1},\"pattern\":\"static\"",
        "{\"subscription\":{\"a\\u0000b\":1},\"pattern\":\"static\"}",
        "{\"subscription\":{\"a\":99999999999999999999},\"pattern\":\"static\"}",
    };
    struct group_registration r;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_msg(group_registration_read(bytes_of(bad[i]), &arena, &r) == ERR_CORRUPT, "%s", bad[i]);
        ck_assert(r.pattern == NULL && r.counts_n == 0);
    }
}
END_TEST

START_TEST(every_torn_registration_is_none)
{
    char *z = group_registration_write(GROUP_WHITE_LIST, "topic", 5);
    struct group_registration r;

    for (size_t n = 0; n < strlen(z); n++) {
        char *part = malloc(n + 1);     /* its own, so that a sanitizer sees what is read past it */

        memcpy(part, z, n);
        ck_assert_int_eq(group_registration_read((struct bytes){ (uint8_t *)part, n }, &arena, &r), ERR_CORRUPT);
        free(part);
    }
    free(z);
}
END_TEST

START_TEST(offsets)
{
    int64_t n;

    ck_assert(group_offset_read(bytes_of("0"), &n) == OK && n == 0);
    ck_assert(group_offset_read(bytes_of("9223372036854775807"), &n) == OK && n == INT64_MAX);
    ck_assert(group_offset_read(bytes_of("-1"), &n) == OK && n == -1);
    ck_assert_int_eq(group_offset_read(bytes_of(""), &n), ERR_CORRUPT);
    ck_assert_int_eq(group_offset_read(bytes_of("1 "), &n), ERR_CORRUPT);
    ck_assert_int_eq(group_offset_read(bytes_of("9223372036854775808"), &n), ERR_CORRUPT);
    ck_assert_int_eq(group_offset_read(bytes_of("000000000000000000000000000001"), &n), ERR_CORRUPT);
    ck_assert_int_eq(group_offset_read((struct bytes){ (const uint8_t *)"1\0" "2", 3 }, &n), ERR_CORRUPT);
}
END_TEST

/* Somebody else's expression must not keep us for hours. */
START_TEST(an_expression_that_goes_round)
{
    struct group_registration r;
    char name[250];

    memset(name, 'a', sizeof name);
    ck_assert_int_eq(group_registration_read(bytes_of("{\"subscription\":{\"(a+)+[bc]\":1},"
                                                      "\"pattern\":\"white_list\"}"), &arena, &r), OK);
    ck_assert_int_eq(group_streams(&r, (struct str){ name, 249 }), 0);
    group_registration_fini(&r);
}
END_TEST

/* ---- sharing ---- */

#define MEMBERS 4

static struct group_member members[MEMBERS];
static int32_t numbers[100];

static void join(size_t i, const char *id, const char *json)
{
    members[i].id = str_of(id);
    ck_assert_int_eq(group_registration_read(bytes_of(json), &arena, &members[i].registration), OK);
}

static void leave(size_t n)
{
    for (size_t i = 0; i < n; i++)
        group_registration_fini(&members[i].registration);
}

static struct group_topic topic(const char *name, size_t n)
{
    for (int32_t i = 0; i < 100; i++)
        numbers[i] = i;
    return (struct group_topic){ str_of(name), numbers, n };
}

/* "t-0:0 t-1:0 u-0:1", partition and thread. */
static const char *shares(enum group_strategy strategy, size_t members_n, const struct group_topic *topics, size_t n,
                          const char *me)
{
    static char text[2048];
    struct group_share *v;
    size_t v_n, at = 0;

    ck_assert_int_eq(group_assign(strategy, members, members_n, topics, n, str_of(me), &arena, &v, &v_n), OK);
    text[0] = '\0';
    for (size_t i = 0; i < v_n; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%.*s-%d:%d", i > 0 ? " " : "", STR_ARG(v[i].topic),
                               v[i].partition, v[i].thread);
    return text;
}

START_TEST(ranges)
{
    struct group_topic t[2] = { topic("t", 5), topic("u", 1) };

    join(0, "g_b", "{\"subscription\":{\"t\":1,\"u\":1},\"pattern\":\"static\"}");
    join(1, "g_a", "{\"subscription\":{\".*\":1},\"pattern\":\"white_list\"}");
    ck_assert_str_eq(shares(GROUP_RANGE, 2, t, 2, "g_a"), "t-0:0 t-1:0 t-2:0 u-0:0");
    ck_assert_str_eq(shares(GROUP_RANGE, 2, t, 2, "g_b"), "t-3:0 t-4:0");
    ck_assert_str_eq(shares(GROUP_RANGE, 2, t, 2, "g_c"), "");
    ck_assert_str_eq(shares(GROUP_RANGE, 1, t, 2, "g_b"), "t-0:0 t-1:0 t-2:0 t-3:0 t-4:0 u-0:0");
    ck_assert_str_eq(shares(GROUP_RANGE, 0, t, 2, "g_b"), "");
    leave(2);
}
END_TEST

/* "m-10" comes before "m-2". */
START_TEST(threads_are_in_the_order_of_their_texts)
{
    struct group_topic t[1] = { topic("t", 12) };

    join(0, "m", "{\"subscription\":{\"t\":11},\"pattern\":\"static\"}");
    ck_assert_str_eq(shares(GROUP_RANGE, 1, t, 1, "m"),
                     "t-0:0 t-1:0 t-2:1 t-3:10 t-4:2 t-5:3 t-6:4 t-7:5 t-8:6 t-9:7 t-10:8 t-11:9");
    leave(1);
}
END_TEST

START_TEST(a_member_has_as_many_threads_as_the_topic_is_to_have)
{
    struct group_topic t[2] = { topic("t", 3), topic("u", 4) };

    join(0, "a", "{\"subscription\":{\"t\":2,\"u\":1},\"pattern\":\"static\"}");
    join(1, "b", "{\"subscription\":{\"u\":3},\"pattern\":\"static\"}");
    ck_assert_str_eq(shares(GROUP_RANGE, 2, t, 2, "a"), "t-0:0 t-1:0 t-2:1 u-0:0");
    ck_assert_str_eq(shares(GROUP_RANGE, 2, t, 2, "b"), "u-1:0 u-2:1 u-3:2");
    leave(2);
}
END_TEST

/* Whatever the members, each partition falls to exactly one of those that want it. */
START_TEST(every_partition_has_one_reader)
{
    for (enum group_strategy s = GROUP_RANGE; s <= GROUP_ROUND_ROBIN; s++) {
        struct group_topic t[3] = { topic("t", 7), topic("u", 1), topic("w", 100) };
        int read[3][100] = { 0 };

        join(0, "g_1", "{\"subscription\":{\"t\":3,\"u\":1},\"pattern\":\"static\"}");
        join(1, "g_10", "{\"subscription\":{\"u\":2},\"pattern\":\"black_list\"}");
        join(2, "g_2", "{\"subscription\":{\"t|u\":1},\"pattern\":\"white_list\"}");
        join(3, "h", "{\"subscription\":{\"w\":1000},\"pattern\":\"static\"}");
        for (size_t i = 0; i < MEMBERS; i++) {
            struct group_share *v;
            size_t n;

            ck_assert_int_eq(group_assign(s, members, MEMBERS, t, 3, members[i].id, &arena, &v, &n), OK);
            for (size_t k = 0; k < n; k++) {
                ck_assert_int_gt(group_streams(&members[i].registration, v[k].topic), v[k].thread);
                read[v[k].topic.p[0] - 't' - (v[k].topic.p[0] == 'w')][v[k].partition]++;
            }
        }
        for (size_t k = 0; k < 3; k++) {
            for (size_t p = 0; p < 100; p++)
                ck_assert_int_eq(read[k][p], p < t[k].n);
        }
        leave(MEMBERS);
    }
}
END_TEST

/* "t-0".hashCode() and so on rise with the number here; "t-10" is far off. */
START_TEST(round_robin)
{
    struct group_topic t[1] = { topic("t", 5) };

    join(0, "a", "{\"subscription\":{\"t\":1},\"pattern\":\"static\"}");
    join(1, "b", "{\"subscription\":{\"t\":1},\"pattern\":\"static\"}");
    ck_assert_str_eq(shares(GROUP_ROUND_ROBIN, 2, t, 1, "a"), "t-0:0 t-2:0 t-4:0");
    ck_assert_str_eq(shares(GROUP_ROUND_ROBIN, 2, t, 1, "b"), "t-1:0 t-3:0");
    leave(2);
}
END_TEST

/* ---- places ---- */

/* Those that stay are the same ones; the address sanitizer sees whether the others are freed. */
START_TEST(places_come_and_go)
{
    struct group_share v[3] = { { STR_LIT("t"), 0, 0 }, { STR_LIT("t"), 1, 0 }, { STR_LIT("u"), 0, 0 } };
    struct reader r = { .rk = NULL };
    struct place *p;

    ck_assert_int_eq(reader_set(&r, v, 3), OK);
    p = reader_find(&r, STR_LIT("t"), 1);
    ck_assert_ptr_nonnull(p);
    p->position = 7;
    ck_assert_int_eq(reader_set(&r, v + 1, 2), OK);
    ck_assert_uint_eq(r.n, 2);
    ck_assert_ptr_eq(reader_find(&r, STR_LIT("t"), 1), p);
    ck_assert_int_eq(p->position, 7);
    ck_assert_ptr_null(reader_find(&r, STR_LIT("t"), 0));
    ck_assert_int_eq(reader_set(&r, v + 2, 1), OK);         /* one goes that had stayed before */
    ck_assert_ptr_null(reader_find(&r, STR_LIT("t"), 1));
    ck_assert_int_eq(reader_set(&r, v, 3), OK);
    ck_assert_int_eq(reader_find(&r, STR_LIT("t"), 1)->position, -1);
    reader_fini(&r);
    ck_assert_uint_eq(r.n, 0);
}
END_TEST

int main(void)
{
    Suite   *s = suite_create("zk_group");
    TCase   *t = tcase_create("zk_group");
    SRunner *r;
    int      failed;

    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, written_as_kafka_writes_it);
    tcase_add_test(t, read_again);
    tcase_add_test(t, what_is_none);
    tcase_add_test(t, every_torn_registration_is_none);
    tcase_add_test(t, offsets);
    tcase_add_test(t, an_expression_that_goes_round);
    tcase_add_test(t, ranges);
    tcase_add_test(t, threads_are_in_the_order_of_their_texts);
    tcase_add_test(t, a_member_has_as_many_threads_as_the_topic_is_to_have);
    tcase_add_test(t, every_partition_has_one_reader);
    tcase_add_test(t, round_robin);
    tcase_add_test(t, places_come_and_go);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
