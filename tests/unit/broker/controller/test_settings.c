/* tests/unit/broker/controller/test_settings.c - settings of topics: changed by clients, and by others in the store. */
#include "tests/unit/broker/kit.h"

#include <sched.h>

static struct kit k;

static void setup(void)
{
    k.changes_keep_ms = 0;
    atomic_store(&k.configured, 0);
    kit_new(&k);
    kit_up(&k, NULL);
}

static void teardown(void)
{
    kit_down(&k);
    kit_end(&k);
}

static int64_t retention_of(const char *topic)
{
    struct topic_config_entry *e = topic_configs_get(k.topic_configs, str_of(topic));
    int64_t ms = e->cfg.retention_ms;

    topic_config_entry_put(&e);
    return ms;
}

START_TEST(settings_change_and_every_broker_is_told)
{
    ck_assert_int_eq(kit_create(&k, "t", 1, 1), KERR_NONE);
    ck_assert_int_eq(kit_configure(&k, "t", "retention.ms", "1000"), KERR_NONE);
    ck_assert_int_eq(retention_of("t"), 1000);              /* before the answer came */
    ck_assert_int_eq(atomic_load(&k.configured), 1);
    kit_check_node(&k, "/config/topics/t", "{\"version\":1,\"config\":{\"retention.ms\":\"1000\"}}");
    kit_check_node(&k, "/config/changes/config_change_0000000000", "{\"version\":2,\"entity_path\":\"topics/t\"}");
    ck_assert_int_eq(kit_configure(&k, "t", "retention.ms", NULL), KERR_NONE);
    ck_assert_int_eq(retention_of("t"), 604800000);
    kit_check_node(&k, "/config/topics/t", "{\"version\":1,\"config\":{}}");
    kit_check_node(&k, "/config/changes/config_change_0000000001", "{\"version\":2,\"entity_path\":\"topics/t\"}");
    ck_assert_int_eq(kit_configure(&k, "t", "retention.ms", "x"), KERR_INVALID_CONFIG);
    ck_assert_int_eq(kit_configure(&k, "u", "retention.ms", "1"), KERR_UNKNOWN_TOPIC_OR_PARTITION);
    kit_check_node(&k, "/config/changes/config_change_0000000002", NULL);
}
END_TEST

/* As another broker, or a tool that writes to the store, does it: settings, then the change; of any kind. */
static void foreign(const char *topic, const char *retention, const char *change)
{
    struct store_call *call = store_call_new(NULL, NULL);
    char path[300], config[128];

    snprintf(path, sizeof path, "/config/topics/%s", topic);
    snprintf(config, sizeof config, "{\"version\":1,\"config\":{\"retention.ms\":\"%s\"}}", retention);
    store_set(call, path, (struct bytes){ (const uint8_t *)config, strlen(config) }, STORE_ANY_VERSION);
    store_create(call, "/config/changes/config_change_", (struct bytes){ (const uint8_t *)change, strlen(change) },
                 STORE_SEQUENTIAL);
    ck_assert_int_eq(store_run(k.store, call), OK);
    store_call_free(&call);
}

static void wait_retention(const char *topic, int64_t ms)
{
    int64_t until = mono_ms() + 60000;

    while (retention_of(topic) != ms) {
        ck_assert_msg(mono_ms() < until, "retention of %s is %lld, not %lld", topic, (long long)retention_of(topic),
                      (long long)ms);
        sched_yield();
    }
}

START_TEST(changes_of_others_are_followed)
{
    ck_assert_int_eq(kit_create(&k, "t", 1, 1), KERR_NONE);
    foreign("t", "5", "{\"version\":1,\"entity_type\":\"topics\",\"entity_name\":\"t\"}");
    wait_retention("t", 5);
    foreign("t", "6", "no json");
    foreign("t", "7", "{\"version\":2,\"entity_path\":\"brokers/1\"}");
    foreign("t", "8", "{\"version\":2,\"entity_path\":\"topics/..\"}");
    foreign("t", "9", "{\"version\":2,\"entity_path\":\"topics/t\"}");
    wait_retention("t", 9);
    foreign("t", "soon", "{\"version\":2,\"entity_path\":\"topics/t\"}");
    wait_retention("t", 604800000);                         /* not valid: the defaults hold, and the log says so */
    ck_assert_int_eq(kit_configure(&k, "t", "segment.ms", "5"), KERR_INVALID_CONFIG);
    ck_assert_int_eq(kit_configure(&k, "t", "retention.ms", "10"), KERR_NONE);
    ck_assert_int_eq(retention_of("t"), 10);
}
END_TEST

/* The store, but for the first read of a change, if it is to be cut off: before it is answered the session ends. */
static struct store_backend        cutting;
static const struct store_backend *whole;
static atomic_bool                 cut;

static void cutting_submit(struct store *s, struct store_call *call)
{
    if (call->ops_n == 0 || strncmp(call->ops[0].path, "/config/changes/", 16) != 0 || !atomic_exchange(&cut, false)) {
        whole->submit(s, call);
        return;
    }
    lmdb_store_expire(s);
    call->rc = ERR_CLOSED;
    call->done(call);
}

static void use_cutting(struct store *s)
{
    whole = s->backend;
    cutting = *whole;
    cutting.submit = cutting_submit;
    s->backend = &cutting;
}

START_TEST(a_change_is_not_lost_with_the_session)
{
    kit_down(&k);
    k.store_opened = use_cutting;
    kit_up(&k, NULL);
    k.store_opened = NULL;
    ck_assert_int_eq(kit_create(&k, "t", 1, 1), KERR_NONE);
    atomic_store(&cut, true);
    foreign("t", "5", "{\"version\":2,\"entity_path\":\"topics/t\"}");
    wait_retention("t", 5);
    ck_assert(!atomic_load(&cut));
    foreign("t", "6", "{\"version\":2,\"entity_path\":\"topics/t\"}");
    wait_retention("t", 6);
}
END_TEST

START_TEST(many_changes_and_the_old_ones_go)
{
    enum { CHANGES = 700 };
    char path[64];
    int kept = 0;

    kit_down(&k);
    k.changes_keep_ms = 1;
    kit_up(&k, NULL);
    ck_assert_int_eq(kit_create(&k, "t", 1, 1), KERR_NONE);
    for (int i = 0; i < CHANGES; i++) {
        char retention[16];

        snprintf(retention, sizeof retention, "%d", 1000 + i);
        foreign("t", retention, "{\"version\":2,\"entity_path\":\"topics/t\"}");
    }
    wait_retention("t", 1000 + CHANGES - 1);
    ck_assert_int_eq(kit_configure(&k, "t", "retention.ms", "1"), KERR_NONE);
    snprintf(path, sizeof path, "/config/changes/config_change_%010d", CHANGES / 2);
    kit_wait_gone(&k, path);
    for (int i = 0; i <= CHANGES; i++) {
        char *text;

        snprintf(path, sizeof path, "/config/changes/config_change_%010d", i);
        text = kit_node(&k, path);
        kept += text != NULL;
        free(text);
    }
    ck_assert_int_lt(kept, CHANGES / 2 + 1);
    ck_assert_int_eq(retention_of("t"), 1);
    kit_down(&k);                                           /* nothing is lost by that */
    kit_up(&k, NULL);
    ck_assert_int_eq(topic_configs_load_all(k.topic_configs), OK);
    ck_assert_int_eq(retention_of("t"), 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/controller/settings");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    log_threshold = LOG_FATAL;
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, settings_change_and_every_broker_is_told);
    tcase_add_test(t, changes_of_others_are_followed);
    tcase_add_test(t, a_change_is_not_lost_with_the_session);
    tcase_add_test(t, many_changes_and_the_old_ones_go);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
