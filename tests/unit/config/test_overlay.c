/* tests/unit/config/test_overlay.c - settings changed while a broker runs, over those that it was started with. */
#include "tests/unit/config/config_fixture.h"

#include <string.h>

#define CLUSTER CONFIG_LAYER_CLUSTER
#define OWN     CONFIG_LAYER_BROKER

static char why[2048];

static const struct config_entry *entry(const struct config_entry *v, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(v[i].name, name) == 0)
            return &v[i];
    ck_abort_msg("%s is not described", name);
}

START_TEST(own_settings_win_over_all_brokers_and_both_over_the_file)
{
    static const struct config_dynamic v[] = {
        { "log.retention.ms", "3000", OWN }, { "log.retention.ms", "2000", CLUSTER },
        { "message.max.bytes", "70000", CLUSTER }, { "leader.replication.throttled.rate", "12", OWN },
    };
    const struct config_entry *e;
    struct config_entry *all;
    struct config *over;
    struct arena a;
    size_t n;

    ck_assert_int_eq(fx_load("log.retention.ms=1000\nmessage.max.bytes=60000\nnum.partitions=7\n"), OK);
    ck_assert_int_eq(config_overlay(&over, cfg, v, 4, why, sizeof why), OK);
    ck_assert_int_eq(over->retention_ms, 3000);
    ck_assert_int_eq(over->message_max_bytes, 70000);
    ck_assert_int_eq(over->num_partitions, 7);
    ck_assert_int_eq(over->leader_replication_throttled_rate, 12);
    ck_assert_int_eq(over->follower_replication_throttled_rate, INT64_MAX);
    ck_assert_int_eq(cfg->retention_ms, 1000);
    fx_fini();                          /* the new one does not need it */

    arena_init(&a, 1 << 20);
    ck_assert_int_eq(config_describe(over, &a, &all, &n), OK);
    e = entry(all, n, "log.retention.ms");
    ck_assert_int_eq(e->source, CONFIG_SOURCE_DYNAMIC_BROKER);
    ck_assert_uint_eq(e->synonyms_n, 4);
    ck_assert_int_eq(e->synonyms[1].source, CONFIG_SOURCE_DYNAMIC_CLUSTER);
    ck_assert_str_eq(e->synonyms[1].value, "2000");
    ck_assert_int_eq(e->synonyms[2].source, CONFIG_SOURCE_STATIC_BROKER);
    ck_assert_str_eq(e->synonyms[3].name, "log.retention.hours");
    ck_assert_int_eq(entry(all, n, "message.max.bytes")->source, CONFIG_SOURCE_DYNAMIC_CLUSTER);
    ck_assert_int_eq(entry(all, n, "leader.replication.throttled.rate")->source, CONFIG_SOURCE_DYNAMIC_BROKER);
    ck_assert_int_eq(config_describe_cluster(over, &a, &all, &n), OK);
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(entry(all, n, "log.retention.ms")->value, "2000");
    arena_fini(&a);
    config_unref(&over);
}
END_TEST

/* A listener's setting is of the type that the setting without its prefix has. */
START_TEST(a_listeners_setting_is_shown)
{
    static const struct config_dynamic v[] = { { "listener.name.x.max.connections", "9", CLUSTER },
                                               { "listener.name.x.ssl.key.password", "cipher", CLUSTER },
                                               { "log.retention.ms", "1", OWN } };
    struct config_entry *all;
    struct config *over;
    struct arena a;
    size_t n;

    ck_assert_int_eq(fx_load("log.retention.ms=1000\n"), OK);
    ck_assert_int_eq(config_overlay(&over, cfg, v, 3, why, sizeof why), OK);
    arena_init(&a, 1 << 20);
    ck_assert_int_eq(config_describe_cluster(over, &a, &all, &n), OK);
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(entry(all, n, "listener.name.x.max.connections")->value, "9");
    ck_assert(!entry(all, n, "listener.name.x.max.connections")->sensitive);
    ck_assert_ptr_null(entry(all, n, "listener.name.x.ssl.key.password")->value);
    ck_assert(entry(all, n, "listener.name.x.ssl.key.password")->sensitive);
    arena_fini(&a);
    config_unref(&over);
    fx_fini();
}
END_TEST

/* A second layer is laid over what the broker was started with, not over the first one. */
START_TEST(layers_do_not_pile_up)
{
    static const struct config_dynamic first[] = { { "log.retention.ms", "3000", OWN } };
    struct config *one, *two;

    ck_assert_int_eq(fx_load("log.retention.hours=1\n"), OK);
    ck_assert_int_eq(config_overlay(&one, cfg, first, 1, why, sizeof why), OK);
    ck_assert_int_eq(config_overlay(&two, one, NULL, 0, why, sizeof why), OK);
    ck_assert_int_eq(two->retention_ms, 3600000);
    ck_assert_uint_eq(two->dynamic_n, 0);
    config_unref(&one);
    config_unref(&two);
    fx_fini();
}
END_TEST

START_TEST(what_cannot_be_is_refused_in_kafkas_words)
{
    static const struct { struct config_dynamic d; const char *want; } cases[] = {
        { { "log.retention.ms", "x", OWN }, "Invalid value x for configuration log.retention.ms: Not a number of type "
                                            "LONG" },
        { { "num.io.threads", "0", CLUSTER }, "Invalid value 0 for configuration num.io.threads: Value must be at "
                                              "least 1" },
    };
    struct config *over;

    ck_assert_int_eq(fx_load(""), OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_int_eq(config_overlay(&over, cfg, &cases[i].d, 1, why, sizeof why), ERR_INVALID);
        ck_assert_ptr_null(over);
        ck_assert_str_eq(why, cases[i].want);
    }
    fx_fini();
}
END_TEST

START_TEST(rates_of_replication_are_in_no_file)
{
    ck_assert_int_eq(fx_load("leader.replication.throttled.rate=5\n"), OK);
    ck_assert_int_eq(cfg->leader_replication_throttled_rate, INT64_MAX);
    ck_assert_ptr_nonnull(strstr(fx_problem("leader.replication.throttled.rate")->what, "unknown property"));
    fx_fini();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        own_settings_win_over_all_brokers_and_both_over_the_file, layers_do_not_pile_up,
        a_listeners_setting_is_shown, what_cannot_be_is_refused_in_kafkas_words, rates_of_replication_are_in_no_file,
    };
    Suite *s = suite_create("config/overlay");
    TCase *t = tcase_create("overlay");
    SRunner *r;
    int failed;

    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
