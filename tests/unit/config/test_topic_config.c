/* tests/unit/config/test_topic_config.c - topic properties over the server's, and what DescribeConfigs is told. */
#include "tests/unit/config/config_fixture.h"

static struct topic_config tc;
static char why[2048];

static int build(enum topic_config_mode mode, const char *name, const char *value)
{
    struct topic_property p = { str_of(name), str_of(value) };

    return topic_config_build(&tc, cfg, mode, &p, 1, why, sizeof why);
}

START_TEST(defaults_come_from_the_server)
{
    fx_accepted("log.segment.bytes=1000\nlog.retention.minutes=2\nlog.roll.hours=1\nmessage.max.bytes=77\n"
                "log.cleanup.policy=compact,delete\ncompression.type=lz4\ncompression.lz4.level=3\n"
                "min.insync.replicas=2\n"
                "log.message.timestamp.type=LogAppendTime\nlog.message.timestamp.difference.max.ms=9\n");
    ck_assert_int_eq(topic_config_build(&tc, cfg, TOPIC_CONFIG_ASKED, NULL, 0, why, sizeof why), OK);
    config_unref(&cfg);                         /* the topic's configuration holds what it needs */
    ck_assert_int_eq(tc.segment_bytes, 1000);
    ck_assert_int_eq(tc.retention_ms, 120000);
    ck_assert_int_eq(tc.segment_ms, 3600000);
    ck_assert_int_eq(tc.max_message_bytes, 77);
    ck_assert_uint_eq(tc.cleanup, CLEANUP_COMPACT | CLEANUP_DELETE);
    ck_assert_int_eq(tc.codec, TOPIC_CODEC_LZ4);
    ck_assert_int_eq(tc.codec_level, 3);
    ck_assert_int_eq(tc.min_insync_replicas, 2);
    ck_assert(tc.log_append_time);
    ck_assert_int_eq(tc.timestamp_before_max_ms, 9);
    ck_assert_int_eq(tc.timestamp_after_max_ms, 9);
    ck_assert_int_eq(tc.flush_ms, INT64_MAX);
    ck_assert(!tc.remote_storage_enable);
    topic_config_fini(&tc);
    fx_fini();
}
END_TEST

START_TEST(every_default_without_server_properties)
{
    struct arena a;

    fx_accepted("");
    arena_init(&a, 1 << 20);
    ck_assert_int_eq(topic_config_build(&tc, cfg, TOPIC_CONFIG_ASKED, NULL, 0, why, sizeof why), OK);
    for (size_t i = 0; i < topic_params.n; i++) {
        const char *text;

        ck_assert_int_eq(param_text(&topic_params.v[i], &tc, &a, &text), OK);
        ck_assert_str_eq(text, topic_params.v[i].dflt);
    }
    arena_fini(&a);
    topic_config_fini(&tc);
    fx_fini();
}
END_TEST

START_TEST(own_properties)
{
    struct topic_property p[] = {
        { STR_LIT("retention.ms"), STR_LIT(" -1 ") },
        { STR_LIT("cleanup.policy"), STR_LIT("compact") },
        { STR_LIT("message.timestamp.after.max.ms"), STR_LIT("5") },
        { STR_LIT("segment.bytes"), { NULL, 0 } },
    };

    fx_accepted("");
    ck_assert_int_eq(topic_config_build(&tc, cfg, TOPIC_CONFIG_ASKED, p, 4, why, sizeof why), OK);
    ck_assert_int_eq(tc.retention_ms, -1);
    ck_assert_uint_eq(tc.cleanup, CLEANUP_COMPACT);
    ck_assert_int_eq(tc.timestamp_after_max_ms, 5);
    ck_assert_int_eq(tc.timestamp_before_max_ms, INT64_MAX);
    ck_assert_int_eq(tc.segment_bytes, 1073741824);
    ck_assert_uint_eq(tc.given_n, 3);
    ck_assert(str_is(tc.given[0].name, "cleanup.policy"));
    topic_config_fini(&tc);
    fx_fini();
}
END_TEST

START_TEST(refusals_in_kafkas_words)
{
    static const char *const bad[][3] = {
        { "retention.mss", "1", "Unknown topic config name: retention.mss" },
        { "retention.ms", "abc", "Invalid value abc for configuration retention.ms: Not a number of type LONG" },
        { "retention.ms", "-2", "Invalid value -2 for configuration retention.ms: Value must be at least -1" },
        { "cleanup.policy", "x", "Invalid value x for configuration cleanup.policy: String must be one of: "
                                 "compact, delete" },
        { "min.cleanable.dirty.ratio", "2", "Invalid value 2 for configuration min.cleanable.dirty.ratio: "
                                            "Value must be no more than 1" },
        { "preallocate", "x", "Invalid value x for configuration preallocate: Expected value to be either true or "
                              "false" },
        { "remote.storage.enable", "true", "Tiered Storage functionality is disabled in the broker. Topic cannot be "
                                           "configured with remote log storage." },
        { "remote.log.copy.disable", "true", "It is invalid to set `remote.log.delete.on.disable` or "
                                             "`remote.log.copy.disable` under Zookeeper's mode." },
        { "cleanup.policy", "compact, keep,x", "Invalid value keep for configuration cleanup.policy: String must be "
                                               "one of: compact, delete" },
        { "message.format.version", "9.9", "Invalid value 9.9 for configuration message.format.version: Version 9.9 is "
                                           "not a valid version" },
        { "leader.replication.throttled.replicas", "1", NULL },
    };

    fx_accepted("");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_int_eq(build(TOPIC_CONFIG_ASKED, bad[i][0], bad[i][1]), ERR_INVALID);
        if (bad[i][2] != NULL)
            ck_assert_str_eq(why, bad[i][2]);
    }
    ck_assert_int_eq(build(TOPIC_CONFIG_ASKED, "leader.replication.throttled.replicas", "0:1,1:2"), OK);
    topic_config_fini(&tc);
    ck_assert_int_eq(build(TOPIC_CONFIG_ASKED, "leader.replication.throttled.replicas", "*"), OK);
    topic_config_fini(&tc);
    ck_assert_int_eq(build(TOPIC_CONFIG_ASKED, "min.compaction.lag.ms", "9223372036854775807"), OK);
    topic_config_fini(&tc);
    ck_assert_int_eq(build(TOPIC_CONFIG_STORED, "some.future.property", "x"), OK);
    ck_assert_uint_eq(tc.given_n, 1);
    topic_config_fini(&tc);
    ck_assert_int_eq(build(TOPIC_CONFIG_STORED, "remote.storage.enable", "true"), OK);
    topic_config_fini(&tc);
    ck_assert_int_eq(build(TOPIC_CONFIG_STORED, "retention.ms", "x"), ERR_INVALID);
    fx_fini();
}
END_TEST

/* Settings of the server, the topic's own, and the magic of what is stored. */
START_TEST(message_formats)
{
    static const struct {
        const char *server, *topic;
        int         magic;
        const char *shown;
    } cases[] = {
        { "", NULL, 2, "3.0-IV1" },
        { "", "0.9.0", 2, "0.9.0" },
        { "log.message.format.version=0.10.0\n", NULL, 2, "3.0-IV1" },
        { "inter.broker.protocol.version=2.7\n", NULL, 2, "3.0-IV1" },
        { "inter.broker.protocol.version=2.7\n", "0.9.0", 0, "0.9.0" },
        { "inter.broker.protocol.version=2.7\n", "0.10.0", 1, "0.10.0" },
        { "inter.broker.protocol.version=2.7\n", "0.10.2-IV0", 1, "0.10.2-IV0" },
        { "inter.broker.protocol.version=2.7\n", "0.11.0", 2, "0.11.0" },
        { "inter.broker.protocol.version=3.0-IV0\n", "0.9.0", 0, "0.9.0" },
        { "inter.broker.protocol.version=3.0\n", "0.9.0", 2, "0.9.0" },
        { "inter.broker.protocol.version=2.7\nlog.message.format.version=0.10.2\n", NULL, 1, "0.10.2-IV0" },
        { "inter.broker.protocol.version=2.7\nlog.message.format.version=0.10.2\n", "2.0", 2, "2.0" },
        { "inter.broker.protocol.version=1.0\nlog.message.format.version=0.10.2\n", "2.0", 1, "2.0" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct topic_property p = { STR_LIT("message.format.version"), str_of(cases[i].topic) };

        fx_accepted(cases[i].server);
        ck_assert_int_eq(topic_config_build(&tc, cfg, TOPIC_CONFIG_ASKED, &p, 1, why, sizeof why), OK);
        ck_assert_msg(tc.magic == cases[i].magic, "%zu: %d", i, tc.magic);
        ck_assert_str_eq(tc.message_format_version, cases[i].shown);
        topic_config_fini(&tc);
        fx_fini();
    }
}
END_TEST

START_TEST(limits_of_timestamps)
{
    fx_accepted("log.message.timestamp.difference.max.ms=7\nlog.message.timestamp.after.max.ms=9\n");
    ck_assert_int_eq(build(TOPIC_CONFIG_ASKED, "message.timestamp.difference.max.ms", "5"), OK);
    ck_assert_int_eq(tc.timestamp_before_max_ms, 7);        /* the server's has become the topic's before.max.ms */
    ck_assert_int_eq(tc.timestamp_after_max_ms, 9);
    topic_config_fini(&tc);
    ck_assert_int_eq(build(TOPIC_CONFIG_ASKED, "message.timestamp.before.max.ms", "11"), OK);
    ck_assert_int_eq(tc.timestamp_before_max_ms, 11);
    topic_config_fini(&tc);
    fx_fini();
    fx_accepted("");
    ck_assert_int_eq(build(TOPIC_CONFIG_ASKED, "message.timestamp.difference.max.ms", "5"), OK);
    ck_assert_int_eq(tc.timestamp_before_max_ms, 5);
    ck_assert_int_eq(tc.timestamp_after_max_ms, 5);
    topic_config_fini(&tc);
    fx_fini();
}
END_TEST

static const struct config_entry *entry(const struct config_entry *v, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(v[i].name, name) == 0)
            return &v[i];
    ck_abort_msg("%s is not there", name);
    return NULL;
}

static void has_synonyms(const struct config_entry *e, const char *want)
{
    char text[512] = "";

    for (size_t i = 0; i < e->synonyms_n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s=%s:%d", i > 0 ? " " : "", e->synonyms[i].name,
                 e->synonyms[i].value != NULL ? e->synonyms[i].value : "(null)", (int)e->synonyms[i].source);
    ck_assert_str_eq(text, want);
}

START_TEST(describe_a_broker)
{
    const struct config_entry *e;
    struct config_entry *v;
    struct arena a;
    size_t n;

    fx_accepted("broker.id=3\nlog.retention.minutes=2\nsasl.jaas.config=secret\nmy.key=x\nnum.io.threads= +9\n"
                "max.connections=50\nlistener.name.plaintext.max.connections=5\n");
    arena_init(&a, 1 << 20);
    ck_assert_int_eq(config_describe(cfg, &a, &v, &n), OK);
    for (size_t i = 1; i < n; i++)
        ck_assert_int_lt(strcmp(v[i - 1].name, v[i].name), 0);
    e = entry(v, n, "num.io.threads");
    ck_assert_str_eq(e->value, "9");
    ck_assert_int_eq(e->source, CONFIG_SOURCE_STATIC_BROKER);
    ck_assert(!e->read_only);
    ck_assert_int_eq(e->type, CONFIG_INT);
    has_synonyms(e, "num.io.threads=+9:4 num.io.threads=8:5");
    e = entry(v, n, "node.id");
    ck_assert_str_eq(e->value, "3");
    has_synonyms(e, "node.id=3:4 node.id=-1:5");
    ck_assert(e->read_only);
    has_synonyms(entry(v, n, "log.retention.ms"), "");
    has_synonyms(entry(v, n, "log.retention.minutes"), "log.retention.minutes=2:4 log.retention.hours=168:5");
    ck_assert_int_eq(entry(v, n, "log.retention.minutes")->source, CONFIG_SOURCE_STATIC_BROKER);
    has_synonyms(entry(v, n, "log.retention.hours"), "log.retention.hours=168:5");
    has_synonyms(entry(v, n, "log.roll.hours"), "log.roll.hours=168:5");
    has_synonyms(entry(v, n, "log.flush.interval.ms"), "");
    has_synonyms(entry(v, n, "log.flush.scheduler.interval.ms"),
                 "log.flush.scheduler.interval.ms=9223372036854775807:5");
    e = entry(v, n, "sasl.jaas.config");
    ck_assert(e->sensitive);
    ck_assert_ptr_null(e->value);
    has_synonyms(e, "sasl.jaas.config=(null):4");
    e = entry(v, n, "listener.name.plaintext.max.connections");
    ck_assert_str_eq(e->value, "5");
    has_synonyms(e, "listener.name.plaintext.max.connections=5:4 max.connections=50:4 max.connections=2147483647:5");
    e = entry(v, n, "my.key");
    ck_assert(e->sensitive && e->read_only);
    ck_assert_ptr_null(e->value);
    ck_assert_int_eq(e->type, 0);
    for (size_t i = 0; i < n; i++) {                    /* internal ones and those of 2.7 only when they were given */
        ck_assert_str_ne(v[i].name, "log.initial.task.delay.ms");
        ck_assert_str_ne(v[i].name, "host.name");
    }
    arena_fini(&a);
    fx_fini();
}
END_TEST

START_TEST(describe_a_topic)
{
    struct config_entry *v;
    struct arena a;
    size_t n;

    fx_accepted("log.retention.hours=1\nlog.segment.bytes=100\n");
    arena_init(&a, 1 << 20);
    ck_assert_int_eq(build(TOPIC_CONFIG_ASKED, "segment.bytes", "200"), OK);
    ck_assert_int_eq(topic_config_describe(&tc, &a, &v, &n), OK);
    ck_assert_uint_eq(n, topic_params.n);
    has_synonyms(entry(v, n, "segment.bytes"),
                 "segment.bytes=200:1 log.segment.bytes=100:4 log.segment.bytes=1073741824:5");
    ck_assert_int_eq(entry(v, n, "segment.bytes")->source, CONFIG_SOURCE_TOPIC);
    ck_assert_str_eq(entry(v, n, "segment.bytes")->value, "200");
    ck_assert_str_eq(entry(v, n, "retention.ms")->value, "3600000");
    ck_assert_int_eq(entry(v, n, "retention.ms")->source, CONFIG_SOURCE_DEFAULT);
    ck_assert_int_eq(entry(v, n, "max.message.bytes")->source, CONFIG_SOURCE_DEFAULT);
    has_synonyms(entry(v, n, "max.message.bytes"), "message.max.bytes=1048588:5");
    has_synonyms(entry(v, n, "remote.storage.enable"), "");
    topic_config_fini(&tc);
    arena_fini(&a);
    fx_fini();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("config/topic_config");
    TCase *t = tcase_create("topic");
    SRunner *r;
    int failed;

    tcase_add_test(t, defaults_come_from_the_server);
    tcase_add_test(t, every_default_without_server_properties);
    tcase_add_test(t, own_properties);
    tcase_add_test(t, refusals_in_kafkas_words);
    tcase_add_test(t, message_formats);
    tcase_add_test(t, limits_of_timestamps);
    tcase_add_test(t, describe_a_broker);
    tcase_add_test(t, describe_a_topic);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
