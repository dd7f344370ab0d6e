/* tests/unit/broker/replica/test_quota.c - the rate of a replication throttle, and whom a topic's list names. */
#include "broker/replica/quota.h"

#include <check.h>
#include <stdlib.h>

static struct config *cfg;
static struct repl_quota *q;

static void setup(void)
{
    struct config_problems problems;
    struct config_input in = { .file = NULL };

    ck_assert_int_eq(config_load(&cfg, &in, &problems), OK);
    config_problems_fini(&problems);
    ck_assert_int_eq(cfg->replication_quota_window_num, 11);
    ck_assert_int_eq(cfg->replication_quota_window_size_seconds, 1);
    ck_assert_int_eq(repl_quota_new(&q, cfg), OK);
}

static void teardown(void)
{
    repl_quota_free(&q);
    config_unref(&cfg);
}

START_TEST(no_rate_is_no_limit)
{
    repl_quota_record(q, INT64_MAX / 2, 1000);
    ck_assert(!repl_quota_exceeded(q, 1000));
}
END_TEST

START_TEST(a_burst_is_waited_for)
{
    repl_quota_set_rate(q, 1000);
    repl_quota_record(q, 1000, 5000);
    ck_assert(!repl_quota_exceeded(q, 5000));           /* as much as the rate */
    repl_quota_record(q, 4000, 5100);
    ck_assert(repl_quota_exceeded(q, 5100));            /* 5000 in what counts as one second */
    ck_assert(repl_quota_exceeded(q, 9999));
    ck_assert(!repl_quota_exceeded(q, 10000));          /* 5000 in five seconds */
}
END_TEST

START_TEST(old_windows_are_forgotten)
{
    repl_quota_set_rate(q, 1000);
    repl_quota_record(q, 1000000, 1000);
    ck_assert(repl_quota_exceeded(q, 11999));
    ck_assert(!repl_quota_exceeded(q, 12000));          /* eleven windows later */
    for (int64_t t = 12000; t < 60000; t += 100)
        repl_quota_record(q, 99, t);
    ck_assert(!repl_quota_exceeded(q, 60000));
    repl_quota_set_rate(q, 900);
    ck_assert(repl_quota_exceeded(q, 60000));
    repl_quota_set_rate(q, REPL_QUOTA_NONE);
    ck_assert(!repl_quota_exceeded(q, 60000));
}
END_TEST

START_TEST(lists_name_replicas)
{
    char *some[] = { "0:1", "7:12", "3:1" }, *all[] = { "*" }, *bad[] = { "x", "1", "1:", ":1" };
    struct config_list list = { .v = (void *)some, .n = 3 };

    ck_assert(throttled_replicas_have(&list, 0, 1));
    ck_assert(throttled_replicas_have(&list, 7, 12));
    ck_assert(!throttled_replicas_have(&list, 7, 1));
    ck_assert(!throttled_replicas_have(&list, 1, 1));
    list = (struct config_list){ .v = (void *)all, .n = 1 };
    ck_assert(throttled_replicas_have(&list, 5, 5));
    list = (struct config_list){ .v = (void *)bad, .n = 4 };
    ck_assert(!throttled_replicas_have(&list, 1, 1));
    list.n = 0;
    ck_assert(!throttled_replicas_have(&list, 0, 0));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quota");
    TCase *tc = tcase_create("quota");
    SRunner *sr = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, no_rate_is_no_limit);
    tcase_add_test(tc, a_burst_is_waited_for);
    tcase_add_test(tc, old_windows_are_forgotten);
    tcase_add_test(tc, lists_name_replicas);
    suite_add_tcase(s, tc);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
