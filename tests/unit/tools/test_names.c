/* tests/unit/tools/test_names.c - what users write for topics, partitions, replicas and addresses. */
#include "tools/client/link.h"
#include "tools/offset_filter.h"
#include "tools/pattern.h"
#include "tools/topics/assignment.h"

#include <check.h>
#include <stdlib.h>

static bool matches(const char *pattern, const char *name)
{
    struct pattern *p = NULL;
    bool            yes;

    ck_assert_int_eq(pattern_new(&p, str_of(pattern)), OK);
    yes = pattern_matches(p, str_of(name));
    pattern_free(&p);
    return yes;
}

START_TEST(a_pattern_matches_whole_names)
{
    struct pattern *p = NULL;

    ck_assert(matches("t", "t") && !matches("t", "tt") && !matches("t", "at"));
    ck_assert(matches("t.*", "topic") && matches("test\\.topic", "test.topic") && !matches("test\\.topic",
        "test-topic"));
    ck_assert(matches("a,b", "b") && matches("a, b", "b") && !matches("a,b", "a,b"));
    ck_assert(matches("\"quoted\"", "quoted") && matches("'quoted'", "quoted"));
    ck_assert(matches("(?!__).*", "t") && !matches("(?!__).*", "__consumer_offsets"));
    ck_assert(matches("t\\d+", "t42") && matches("a|ab", "ab"));
    ck_assert_int_eq(pattern_new(&p, STR_LIT("(")), ERR_INVALID);
    ck_assert_ptr_null(p);
    ck_assert(topic_is_internal(STR_LIT("__transaction_state")) && !topic_is_internal(STR_LIT("__consumer")));
}
END_TEST

static struct arena       arena;
static struct assignments as;
static char               error[256];

START_TEST(assignments)
{
    ck_assert_int_eq(assignments_parse("1:2,2:3,3:1", &arena, &as, error, sizeof error), OK);
    ck_assert_int_eq(as.n, 3);
    ck_assert_int_eq(as.v[2].n, 2);
    ck_assert_int_eq(as.v[2].brokers[0], 3);
    ck_assert_int_eq(as.v[2].brokers[1], 1);
    ck_assert_int_eq(assignments_parse("0", &arena, &as, error, sizeof error), OK);
    ck_assert_int_eq(as.n, 1);
    ck_assert_int_eq(assignments_parse(" 5 : 6 , 6:5,,", &arena, &as, error, sizeof error), OK);
    ck_assert_int_eq(as.v[0].brokers[1], 6);
    ck_assert_int_eq(as.n, 2);
}
END_TEST

START_TEST(bad_assignments)
{
    static const struct { const char *text, *error; } bad[] = {
        { "1:1", "Partition replica lists may not contain duplicate entries: 1" },
        { "1:2,3", "Partition 1 has different replication factor: [3]" },
        { "a", "For input string: \"a\"" },
        { "1,,2", "For input string: \"\"" },
        { "1:", NULL },                         /* Java's split drops it: good */
        { "99999999999", "For input string: \"99999999999\"" },
        { "", "For input string: \"\"" },
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int rc = assignments_parse(bad[i].text, &arena, &as, error, sizeof error);
        ck_assert_msg((rc == OK) == (bad[i].error == NULL), "%s", bad[i].text);
        if (rc != OK)
            ck_assert_str_eq(error, bad[i].error);
    }
}
END_TEST

/* Which of a-0 a-1 a-2 b-0 b-5 a filter lets through, as text. */
static void filtered(struct offset_filter *f, char *out)
{
    static const struct { const char *topic; int32_t p; } all[] = { { "a", 0 }, { "a", 1 }, { "a", 2 }, { "b", 0 },
                                                                    { "b", 5 } };
    for (size_t i = 0; i < 5; i++) {
        bool yes = offset_filter_topic(f, str_of(all[i].topic)) &&
                   offset_filter_partition(f, str_of(all[i].topic), all[i].p);
        out[i] = yes ? 'x' : '-';
    }
    out[5] = '\0';
    offset_filter_free(&f);
}

START_TEST(topic_partition_rules)
{
    static const struct { const char *rules, *want; } good[] = {
        { "a", "xxx--" }, { "a:1", "-x---" }, { "a:0-2", "xx---" }, { "a:1-", "-xx--" }, { "a:-2", "xx---" },
        { ":0", "x--x-" }, { "a:1,b", "-x-xx" }, { ".*", "xxxxx" }, { ":-", "xxxxx" }, { "a:", "xxx--" },
        { "b:5,", "----x" }, { "", "xxxxx" },
    };
    static const char *const bad[] = { "a:x", "a:1-2-3", "a:1:2", "a:-x", "(", "a:99999999999" };
    struct offset_filter *f;
    char                  got[6];

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        ck_assert_int_eq(offset_filter_new_rules(&f, good[i].rules, error, sizeof error), OK);
        filtered(f, got);
        ck_assert_msg(strcmp(got, good[i].want) == 0, "%s: %s", good[i].rules, got);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_msg(offset_filter_new_rules(&f, bad[i], error, sizeof error) == ERR_INVALID, "%s", bad[i]);
        ck_assert_ptr_null(f);
    }
}
END_TEST

START_TEST(topic_and_partitions)
{
    struct offset_filter *f;
    char                  got[6];

    ck_assert_int_eq(offset_filter_new(&f, NULL, NULL, error, sizeof error), OK);
    filtered(f, got);
    ck_assert_str_eq(got, "xxxxx");
    ck_assert_int_eq(offset_filter_new(&f, "a", "0,2", error, sizeof error), OK);
    filtered(f, got);
    ck_assert_str_eq(got, "x-x--");
    ck_assert_int_eq(offset_filter_new(&f, "a,b", "", error, sizeof error), OK);
    filtered(f, got);
    ck_assert_str_eq(got, "xxxxx");
    ck_assert_int_eq(offset_filter_new(&f, NULL, "0,x", error, sizeof error), ERR_INVALID);
    ck_assert_str_eq(error, "--partitions expects a comma separated list of numeric partition ids, but "
                     "received: 0,x");
    ck_assert_int_eq(offset_filter_new(&f, "(", "0,1", error, sizeof error), ERR_INVALID);
}
END_TEST

START_TEST(addresses)
{
    static const char *const bad[] = { "", "host", "host:", ":9092", "host:port", "host:99999", "host:123456",
                                       "[]:1" };
    char     host[32];
    uint16_t port;

    ck_assert_int_eq(link_parse_address(STR_LIT("localhost:9092"), host, sizeof host, &port), OK);
    ck_assert_str_eq(host, "localhost");
    ck_assert_uint_eq(port, 9092);
    ck_assert_int_eq(link_parse_address(STR_LIT("[::1]:1"), host, sizeof host, &port), OK);
    ck_assert_str_eq(host, "::1");
    ck_assert_int_eq(link_parse_address(STR_LIT("PLAINTEXT://h:65535"), host, sizeof host, &port), OK);
    ck_assert_str_eq(host, "h");
    ck_assert_uint_eq(port, 65535);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(link_parse_address(str_of(bad[i]), host, sizeof host, &port) == ERR_INVALID, "%s", bad[i]);
    ck_assert_int_eq(link_parse_address(STR_LIT("a-name-that-is-longer-than-there-is-room-for:1"), host,
                                        sizeof host, &port),
                     ERR_INVALID);
    ck_assert(link_are_addresses("a:1,b:2") && !link_are_addresses("a:1,b") && !link_are_addresses(""));
}
END_TEST

int main(void)
{
    Suite   *s = suite_create("names");
    TCase   *t = tcase_create("names");
    SRunner *r = srunner_create(s);
    int      failed;

    arena_init(&arena, 1 << 20);
    tcase_add_test(t, a_pattern_matches_whole_names);
    tcase_add_test(t, assignments);
    tcase_add_test(t, bad_assignments);
    tcase_add_test(t, topic_partition_rules);
    tcase_add_test(t, topic_and_partitions);
    tcase_add_test(t, addresses);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    arena_fini(&arena);
    return failed != 0;
}
