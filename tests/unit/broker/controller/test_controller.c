/* tests/unit/broker/controller/test_controller.c - the controller from election to deletion: its znodes, what it tells
 * brokers, and what clients are answered.
 */
#include "tests/unit/broker/kit.h"

static struct kit k;

static void setup(void)
{
    kit_new(&k);
    kit_up(&k, NULL);
}

static void teardown(void)
{
    kit_down(&k);
    kit_end(&k);
}

static void told(const char *want)
{
    lock_take(&k.fb->lock);
    ck_assert_str_eq(k.fb->log, want);
    k.fb->log[0] = '\0';
    lock_drop(&k.fb->lock);
}

START_TEST(the_first_start_writes_kafkas_tree)
{
    char want[128], *text;

    ck_assert(controller_active(k.ctl));
    kit_check_node(&k, "/controller_epoch", "1");
    kit_check_node(&k, "/feature", "{\"features\":{},\"version\":2,\"status\":1}");
    for (size_t i = 0; znode_top_level[i] != NULL; i++)
        kit_check_node(&k, znode_top_level[i], "");
    snprintf(want, sizeof want, "{\"version\":\"1\",\"id\":\"%s\"}", k.cluster_id);
    kit_check_node(&k, "/cluster/id", want);
    text = kit_node(&k, "/controller");
    ck_assert_ptr_nonnull(strstr(text, "\"brokerid\":5"));
    ck_assert_ptr_nonnull(strstr(text, "\"kraftControllerEpoch\":-1"));
    free(text);
    text = kit_node(&k, "/brokers/ids/5");
    ck_assert_ptr_nonnull(strstr(text, "\"endpoints\":[\"PLAINTEXT://127.0.0.1:9095\"]"));
    free(text);
    told("U");
}
END_TEST

START_TEST(a_topic_gets_its_nodes_and_a_leader)
{
    struct metadata *md;
    const struct metadata_topic *t;
    char *text, id[UUID_TEXT_LEN + 1], want[256];

    told("U");
    ck_assert_int_eq(kit_create(&k, "t", 2, 1), KERR_NONE);
    told("LU");
    md = metadata_get(k.cache);
    t = metadata_topic(md, STR_LIT("t"));
    ck_assert_int_eq(t->partitions_n, 2);
    ck_assert_int_eq(t->partitions[1].leader, BROKER);
    ck_assert_int_eq(t->partitions[1].isr_n, 1);
    ck_assert_ptr_eq(metadata_topic_by_id(md, t->id), t);
    uuid_text(t->id, id);
    metadata_put(&md);
    kit_check_node(&k, "/config/topics/t", "{\"version\":1,\"config\":{}}");
    snprintf(want, sizeof want, "{\"partitions\":{\"0\":[5],\"1\":[5]},\"topic_id\":\"%s\",\"adding_replicas\":{},"
             "\"removing_replicas\":{},\"version\":3}", id);
    kit_check_node(&k, "/brokers/topics/t", want);
    kit_check_node(&k, "/brokers/topics/t/partitions", "");
    kit_check_node(&k, "/brokers/topics/t/partitions/1", "");
    text = kit_node(&k, "/brokers/topics/t/partitions/1/state");
    ck_assert_str_eq(text, "{\"controller_epoch\":1,\"leader\":5,\"version\":1,\"leader_epoch\":0,\"isr\":[5]}");
    free(text);
}
END_TEST

START_TEST(a_deleted_topic_leaves_nothing)
{
    ck_assert_int_eq(kit_create(&k, "t", 3, 1), KERR_NONE);
    told("ULU");
    ck_assert_int_eq(kit_delete(&k, "t", PATIENT_MS), KERR_NONE);
    kit_wait_gone(&k, "/admin/delete_topics/t");
    told("USD");                    /* leader -2; stop; delete */
    kit_check_node(&k, "/brokers/topics/t", NULL);
    kit_check_node(&k, "/config/topics/t", NULL);
    ck_assert_uint_eq(k.fb->deleted, 3);
    ck_assert_int_eq(kit_delete(&k, "t", PATIENT_MS), KERR_UNKNOWN_TOPIC_OR_PARTITION);
    ck_assert_int_eq(kit_create(&k, "t", 1, 1), KERR_NONE);
}
END_TEST

/* ---- what clients are answered ------------------------------------------------------------------------ */

static const struct refusal {
    const char *name;
    int32_t     partitions;
    int16_t     replication;
    int16_t     error;
    const char *message;
} refusals[] = {
    { "old.name", 1, 1, KERR_TOPIC_ALREADY_EXISTS, "Topic 'old.name' already exists." },
    { "old_name", 1, 1, KERR_INVALID_TOPIC_EXCEPTION, "Topic 'old_name' collides with existing topics: old.name" },
    { "a", 0, 1, KERR_INVALID_PARTITIONS, "Number of partitions must be larger than 0." },
    { "a", -2, 1, KERR_INVALID_PARTITIONS, "Number of partitions must be larger than 0." },
    { "a", 2000000000, 1, KERR_INVALID_PARTITIONS,
      "Number of partitions is larger than the metadata store can hold for a topic." },
    { "a", 1, 0, KERR_INVALID_REPLICATION_FACTOR, "Replication factor must be larger than 0." },
    { "a", 1, 2, KERR_INVALID_REPLICATION_FACTOR, "Replication factor: 2 larger than available brokers: 1." },
    { "", 1, 1, KERR_INVALID_TOPIC_EXCEPTION, "Topic name is invalid: the empty string is not allowed" },
    { ".", 1, 1, KERR_INVALID_TOPIC_EXCEPTION, "Topic name is invalid: '.' is not allowed" },
    { "..", 1, 1, KERR_INVALID_TOPIC_EXCEPTION, "Topic name is invalid: '..' is not allowed" },
    { "a/b", 1, 1, KERR_INVALID_TOPIC_EXCEPTION, "Topic name is invalid: 'a/b' contains one or more characters other "
                                                 "than ASCII alphanumerics, '.', '_' and '-'" },
};

START_TEST(creation_is_refused_in_kafkas_words)
{
    struct topic_op_topic t[sizeof refusals / sizeof refusals[0]];
    struct kit_op ko = { .done = false };
    size_t n = sizeof refusals / sizeof refusals[0];

    ck_assert_int_eq(kit_create(&k, "old.name", 1, 1), KERR_NONE);
    for (size_t i = 0; i < n; i++)
        t[i] = (struct topic_op_topic){ .name = str_of(refusals[i].name), .partitions = refusals[i].partitions,
                                        .replication = refusals[i].replication };
    kit_op_run(&k, &ko, TOPIC_OP_CREATE, t, (int32_t)n, PATIENT_MS);
    for (size_t i = 0; i < n; i++) {
        ck_assert_msg(t[i].error == refusals[i].error, "%s: %s", refusals[i].name, kerr_name(t[i].error));
        ck_assert_str_eq(t[i].message, refusals[i].message);
    }
    kit_op_end(&ko);
}
END_TEST

static const int32_t b5[] = { 5 }, b55[] = { 5, 5 }, b57[] = { 5, 7 };

START_TEST(assignments_by_hand_are_checked)
{
    const struct topic_op_assignment gap[] = { { 0, b5, 1 }, { 2, b5, 1 } }, twice[] = { { 0, b55, 2 } },
                                     uneven[] = { { 0, b5, 1 }, { 1, b57, 2 } },
                                     same[] = { { 0, b5, 1 }, { 0, b5, 1 } },
                                     good[] = { { 1, b57, 2 }, { 0, b57, 2 } };
    struct topic_op_topic t[] = {
        { .name = STR_LIT("gap"), .partitions = -1, .replication = -1, .assignments = gap, .assignments_n = 2 },
        { .name = STR_LIT("twice"), .partitions = -1, .replication = -1, .assignments = twice, .assignments_n = 1 },
        { .name = STR_LIT("uneven"), .partitions = -1, .replication = -1, .assignments = uneven, .assignments_n = 2 },
        { .name = STR_LIT("same"), .partitions = -1, .replication = -1, .assignments = same, .assignments_n = 2 },
        { .name = STR_LIT("both"), .partitions = 2, .replication = -1, .assignments = good, .assignments_n = 2 },
        { .name = STR_LIT("good"), .partitions = -1, .replication = -1, .assignments = good, .assignments_n = 2 },
    };
    struct kit_op ko = { .done = false };

    kit_op_run(&k, &ko, TOPIC_OP_CREATE, t, 6, PATIENT_MS);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(t[i].error, KERR_INVALID_REPLICA_ASSIGNMENT);
    ck_assert_str_eq(t[1].message, "Duplicate replica assignment found: HashMap(0 -> ArrayBuffer(5, 5))");
    ck_assert_int_eq(t[3].error, KERR_NONE);
    ck_assert_int_eq(t[3].partitions, 1);
    ck_assert_str_eq(t[0].message, "partitions should be a consecutive 0-based integer sequence");
    ck_assert_str_eq(t[2].message, "All partitions should have the same number of replicas");
    ck_assert_int_eq(t[4].error, KERR_INVALID_REQUEST);
    ck_assert_int_eq(t[5].error, KERR_NONE);        /* broker 7 does not exist: not a reason to refuse */
    ck_assert_int_eq(t[5].partitions, 2);
    ck_assert_int_eq(t[5].replication, 2);
    kit_op_end(&ko);
    kit_check_node(&k, "/brokers/topics/good/partitions/0/state",
                   "{\"controller_epoch\":1,\"leader\":5,\"version\":1,\"leader_epoch\":0,\"isr\":[5]}");
}
END_TEST

START_TEST(settings_are_checked_and_stored)
{
    const struct topic_op_config good[] = { { STR_LIT("segment.bytes"), STR_LIT("2048"), 0 },
                                            { STR_LIT("cleanup.policy"), STR_LIT("compact"), 0 } },
                                 bad[] = { { STR_LIT("segment.bytes"), STR_LIT("many"), 0 } },
                                 unknown[] = { { STR_LIT("no.such"), STR_LIT("1"), 0 } },
                                 null[] = { { STR_LIT("retention.ms"), { NULL, 0 }, 0 },
                                            { STR_LIT("x"), { NULL, 0 }, 0 } };
    struct topic_op_topic t[] = {
        { .name = STR_LIT("good"), .partitions = 1, .replication = 1, .configs = good, .configs_n = 2 },
        { .name = STR_LIT("bad"), .partitions = 1, .replication = 1, .configs = bad, .configs_n = 1 },
        { .name = STR_LIT("unknown"), .partitions = 1, .replication = 1, .configs = unknown, .configs_n = 1 },
        { .name = STR_LIT("null"), .partitions = 1, .replication = 1, .configs = null, .configs_n = 2 },
    };
    struct topic_config_entry *e;
    struct str name = STR_LIT("good");
    struct kit_op ko = { .done = false };

    kit_op_run(&k, &ko, TOPIC_OP_CREATE, t, 4, PATIENT_MS);
    ck_assert_int_eq(t[0].error, KERR_NONE);
    for (int i = 1; i < 4; i++)
        ck_assert_int_eq(t[i].error, KERR_INVALID_CONFIG);
    ck_assert_str_eq(t[3].message, "Null value not supported for topic configs: retention.ms,x");
    kit_op_end(&ko);
    kit_check_node(&k, "/config/topics/good",
                   "{\"version\":1,\"config\":{\"segment.bytes\":\"2048\",\"cleanup.policy\":\"compact\"}}");
    kit_check_node(&k, "/config/topics/bad", NULL);
    ck_assert_int_eq(topic_configs_load(k.topic_configs, &name, 1), OK);
    e = topic_configs_get(k.topic_configs, name);
    ck_assert_int_eq(e->cfg.segment_bytes, 2048);
    ck_assert_uint_eq(e->cfg.cleanup, CLEANUP_COMPACT);
    topic_config_entry_put(&e);
    e = topic_configs_get(k.topic_configs, STR_LIT("other"));
    ck_assert_int_eq(e->cfg.segment_bytes, 1073741824);
    topic_config_entry_put(&e);
}
END_TEST

START_TEST(validate_only_and_no_timeout)
{
    struct topic_op_topic t = { .name = STR_LIT("t"), .partitions = 3, .replication = -1 };
    struct kit_op ko = { .op.validate_only = true };

    kit_op_run(&k, &ko, TOPIC_OP_CREATE, &t, 1, 0);
    ck_assert_int_eq(t.error, KERR_NONE);
    ck_assert_int_eq(t.partitions, 3);
    kit_op_end(&ko);
    kit_check_node(&k, "/brokers/topics/t", NULL);
    kit_op_run(&k, &ko, TOPIC_OP_CREATE, &t, 1, 0);
    ck_assert_int_eq(t.error, KERR_REQUEST_TIMED_OUT);          /* made, but nobody waits for it */
    ck_assert_ptr_null(t.message);
    kit_op_end(&ko);
    t = (struct topic_op_topic){ .name = STR_LIT("t"), .partitions = 3, .replication = 1 };
    kit_op_run(&k, &ko, TOPIC_OP_CREATE, &t, 1, PATIENT_MS);
    ck_assert_int_eq(t.error, KERR_TOPIC_ALREADY_EXISTS);
    kit_op_end(&ko);
}
END_TEST

START_TEST(topics_grow)
{
    const struct topic_op_assignment nobody[] = { { 0, b57, 2 } }, one[] = { { 0, b5, 1 } };
    struct topic_op_topic t[] = {
        { .name = STR_LIT("t"), .partitions = 5 },
        { .name = STR_LIT("less"), .partitions = 1 },
        { .name = STR_LIT("equal"), .partitions = 2 },
        { .name = STR_LIT("absent"), .partitions = 5 },
        { .name = STR_LIT("nobody"), .partitions = 3, .assignments = nobody, .assignments_n = 1 },
        { .name = STR_LIT("number"), .partitions = 5, .assignments = one, .assignments_n = 1 },
        { .name = STR_LIT("hand"), .partitions = 3, .assignments = one, .assignments_n = 1 },
    };
    static const char *const messages[] = {
        NULL, "Topic currently has 2 partitions, which is higher than the requested 1.",
        "Topic already has 2 partitions.", "The topic 'absent' does not exist.",
        "Unknown broker(s) in replica assignment: 7.",
        "Increasing the number of partitions by 3 but 1 assignments provided.", NULL
    };
    static const int16_t errors[] = { KERR_NONE, KERR_INVALID_PARTITIONS, KERR_INVALID_PARTITIONS,
                                      KERR_UNKNOWN_TOPIC_OR_PARTITION, KERR_INVALID_REPLICA_ASSIGNMENT,
                                      KERR_INVALID_REPLICA_ASSIGNMENT, KERR_NONE };
    struct kit_op ko = { .done = false };
    struct metadata *md;
    const struct metadata_topic *mt;
    struct uuid id;

    for (int i = 0; i < 7; i++)
        if (i != 3)
            ck_assert_int_eq(kit_create(&k, t[i].name.p, 2, 1), KERR_NONE);
    md = metadata_get(k.cache);
    id = metadata_topic(md, STR_LIT("t"))->id;
    metadata_put(&md);
    kit_op_run(&k, &ko, TOPIC_OP_GROW, t, 7, PATIENT_MS);
    for (int i = 0; i < 7; i++) {
        ck_assert_msg(t[i].error == errors[i], "%s: %s", t[i].name.p, kerr_name(t[i].error));
        if (messages[i] != NULL)
            ck_assert_str_eq(t[i].message, messages[i]);
    }
    kit_op_end(&ko);
    md = metadata_get(k.cache);
    mt = metadata_topic(md, STR_LIT("t"));
    ck_assert_int_eq(mt->partitions_n, 5);
    ck_assert(uuid_eq(mt->id, id));
    for (int32_t i = 0; i < 5; i++) {
        ck_assert_int_eq(metadata_partition(mt, i)->leader, BROKER);
        ck_assert_int_eq(metadata_partition(mt, i)->leader_epoch, 0);
    }
    ck_assert_ptr_null(metadata_partition(mt, 5));
    metadata_put(&md);
}
END_TEST

START_TEST(names_that_collide_in_one_request)
{
    struct topic_op_topic t[] = { { .name = STR_LIT("x.y"), .partitions = 1, .replication = 1 },
                                  { .name = STR_LIT("x_y"), .partitions = 1, .replication = 1 },
                                  { .name = STR_LIT("x-y"), .partitions = 1, .replication = 1 } };
    struct kit_op ko = { .done = false };

    kit_op_run(&k, &ko, TOPIC_OP_CREATE, t, 3, PATIENT_MS);
    ck_assert_int_eq(t[0].error, KERR_NONE);
    ck_assert_int_eq(t[1].error, KERR_INVALID_TOPIC_EXCEPTION);
    ck_assert_str_eq(t[1].message, "Topic 'x_y' collides with existing topics: x.y");
    ck_assert_int_eq(t[2].error, KERR_NONE);
    kit_op_end(&ko);
    ck_assert_int_eq(kit_delete(&k, "x.y", PATIENT_MS), KERR_NONE);
    kit_wait_gone(&k, "/admin/delete_topics/x.y");
    ck_assert_int_eq(kit_create(&k, "x_y", 1, 1), KERR_NONE);
}
END_TEST

/* What a hostile client may send: lists as long as a request allows. Answered, and soon. */
START_TEST(monstrous_requests)
{
    enum { TOPICS = 20000, IDS = 200000 };
    struct topic_op_topic *t = calloc(TOPICS, sizeof *t);
    int32_t *ids = calloc(IDS, sizeof *ids);
    struct topic_op_assignment many = { 0, ids, IDS };
    char (*names)[24] = calloc(TOPICS, sizeof *names);
    struct kit_op ko = { .done = false };
    int64_t t0 = mono_ms();
    int made = 0;

    for (int i = 0; i < TOPICS; i++) {
        snprintf(names[i], sizeof names[i], "a%s%d", i % 2 ? "." : "_", i / 2);     /* each collides with one other */
        t[i] = (struct topic_op_topic){ .name = str_of(names[i]), .partitions = 1, .replication = 1 };
    }
    kit_op_run(&k, &ko, TOPIC_OP_CREATE, t, TOPICS, 5 * PATIENT_MS);    /* half a minute under a sanitizer */
    for (int i = 0; i < TOPICS; i++)
        made += t[i].error == KERR_NONE;
    ck_assert_int_eq(made, TOPICS / 2);
    kit_op_end(&ko);
    printf("10,000 topics in one request, with as many refused: %d ms\n", (int)(mono_ms() - t0));
    t[0] = (struct topic_op_topic){ .name = STR_LIT("wide"), .partitions = -1, .replication = -1, .assignments = &many,
                                    .assignments_n = 1 };
    kit_op_run(&k, &ko, TOPIC_OP_CREATE, t, 1, PATIENT_MS);
    ck_assert_int_eq(t[0].error, KERR_INVALID_REPLICA_ASSIGNMENT);
    kit_op_end(&ko);
    free(names);
    free(ids);
    free(t);
}
END_TEST

/* ---- crashes, sessions, failures ---------------------------------------------------------------------- */

START_TEST(a_restart_keeps_topics_and_epochs)
{
    struct metadata *md;
    const struct metadata_topic *t;
    char cluster[UUID_TEXT_LEN + 1];
    struct uuid id;

    ck_assert_int_eq(kit_create(&k, "t", 2, 1), KERR_NONE);
    md = metadata_get(k.cache);
    id = metadata_topic(md, STR_LIT("t"))->id;
    metadata_put(&md);
    memcpy(cluster, k.cluster_id, sizeof cluster);
    kit_down(&k);
    kit_up(&k, NULL);
    ck_assert_str_eq(cluster, k.cluster_id);
    kit_check_node(&k, "/controller_epoch", "2");
    md = metadata_get(k.cache);
    t = metadata_topic(md, STR_LIT("t"));
    ck_assert(uuid_eq(t->id, id));
    ck_assert_int_eq(t->partitions[0].leader, BROKER);
    ck_assert_int_eq(t->partitions[0].leader_epoch, 0);         /* its leader never failed as far as the tree tells */
    metadata_put(&md);
    told("ULU");
    kit_check_node(&k, "/brokers/topics/t/partitions/0/state",
                   "{\"controller_epoch\":1,\"leader\":5,\"version\":1,\"leader_epoch\":0,\"isr\":[5]}");
}
END_TEST

static void put_node(const char *path, const char *text)
{
    struct store_call *call = store_call_new(NULL, NULL);
    int rc;

    store_create(call, path, (struct bytes){ (const uint8_t *)text, strlen(text) }, 0);
    rc = store_run(k.store, call);
    store_call_free(&call);
    ck_assert_int_eq(rc, OK);
}

static void set_node(const char *path, const char *text)
{
    struct store_call *call = store_call_new(NULL, NULL);
    int rc;

    store_set(call, path, (struct bytes){ (const uint8_t *)text, strlen(text) }, STORE_ANY_VERSION);
    rc = store_run(k.store, call);
    store_call_free(&call);
    ck_assert_int_eq(rc, OK);
}

/* The tree as a crash may leave it: topic without partitions, partition without a leader, deletion half done. */
START_TEST(a_half_done_tree_is_finished_at_the_start)
{
    struct metadata *md;

    ck_assert_int_eq(kit_create(&k, "led", 2, 1), KERR_NONE);
    ck_assert_int_eq(kit_create(&k, "doomed", 2, 1), KERR_NONE);
    controller_stop(k.ctl);
    put_node("/brokers/topics/bare", "{\"version\":1,\"partitions\":{\"0\":[5],\"1\":[5]}}");
    set_node("/brokers/topics/led/partitions/1/state",
             "{\"controller_epoch\":1,\"leader\":-1,\"version\":1,\"leader_epoch\":4,\"isr\":[5]}");
    put_node("/admin/delete_topics/doomed", "");
    put_node("/admin/delete_topics/gone", "");
    put_node("/config/topics/gone", "{}");
    put_node("/brokers/topics/..", "{\"version\":1,\"partitions\":{\"0\":[5]}}");
    put_node("/brokers/topics/broken", "not json");
    kit_down(&k);
    kit_up(&k, NULL);
    kit_wait_gone(&k, "/admin/delete_topics/doomed");
    kit_wait_gone(&k, "/admin/delete_topics/gone");
    kit_check_node(&k, "/config/topics/gone", NULL);
    kit_check_node(&k, "/brokers/topics/doomed", NULL);
    kit_check_node(&k, "/brokers/topics/led/partitions/1/state",
                   "{\"controller_epoch\":2,\"leader\":5,\"version\":1,\"leader_epoch\":5,\"isr\":[5]}");
    kit_check_node(&k, "/brokers/topics/bare/partitions/1/state",
                   "{\"controller_epoch\":2,\"leader\":5,\"version\":1,\"leader_epoch\":0,\"isr\":[5]}");
    md = metadata_get(k.cache);
    ck_assert_ptr_null(metadata_topic(md, STR_LIT("..")));
    ck_assert_ptr_null(metadata_topic(md, STR_LIT("doomed")));
    ck_assert(!uuid_is_zero(metadata_topic(md, STR_LIT("bare"))->id));
    ck_assert_uint_eq(metadata_topics_n(md), 2);
    metadata_put(&md);
}
END_TEST

START_TEST(another_session_is_another_term)
{
    int64_t until = mono_ms() + 60000;
    char *text;

    ck_assert_int_eq(kit_create(&k, "t", 2, 1), KERR_NONE);
    lmdb_store_expire(k.store);
    /* Between the sessions no node can be read, and the term of before has not been seen to end. */
    while ((text = kit_node(&k, "/controller_epoch")) == NULL || strcmp(text, "2") != 0) {
        free(text);
        ck_assert(mono_ms() < until);
    }
    free(text);
    while (!controller_active(k.ctl) || (text = kit_node(&k, "/brokers/ids/5")) == NULL)
        ck_assert(mono_ms() < until);
    free(text);
    ck_assert_int_eq(kit_create(&k, "u", 1, 1), KERR_NONE);
    text = kit_node(&k, "/brokers/topics/u/partitions/0/state");
    ck_assert_ptr_nonnull(strstr(text, "\"controller_epoch\":2"));
    free(text);
}
END_TEST

/* The broker registers anew before it is elected, and is known by that registration. */
START_TEST(a_session_that_ends_before_the_controller_starts_is_noticed)
{
    struct store_call *call = store_call_new(NULL, NULL);
    static struct standing standing;

    kit_down(&k);
    standing_init(&standing);
    k.standing = &standing;
    k.session_ends = true;
    kit_up(&k, NULL);
    store_exists(call, "/brokers/ids/5", 0);
    ck_assert_int_eq(store_run(k.store, call), OK);
    ck_assert(call->ops[0].stat.ephemeral_owner == store_session(k.store));
    ck_assert_int_gt(call->ops[0].stat.czxid, k.epoch);
    ck_assert_int_eq(standing_broker_epoch(&standing), call->ops[0].stat.czxid);
    ck_assert(controller_active(k.ctl));
    ck_assert_int_eq(kit_create(&k, "t", 1, 1), KERR_NONE);
    store_call_free(&call);
}
END_TEST

/* Somebody else takes /controller and the epoch: no write of ours succeeds any more. */
START_TEST(a_lost_controllership_is_noticed)
{
    struct store_call *call = store_call_new(NULL, NULL);
    int64_t until = mono_ms() + 60000;
    char *node = znode_controller_write(9, 1);
    struct bytes other = { (const uint8_t *)node, strlen(node) };

    store_delete(call, "/controller", STORE_ANY_VERSION);
    store_create(call, "/controller", other, 0);
    store_set(call, "/controller_epoch", (struct bytes){ (const uint8_t *)"7", 1 }, STORE_ANY_VERSION);
    ck_assert_int_eq(store_run(k.store, call), OK);
    store_call_free(&call);
    free(node);
    while (controller_active(k.ctl))
        ck_assert(mono_ms() < until);
    call = store_call_new(NULL, NULL);
    store_delete(call, "/controller", STORE_ANY_VERSION);
    ck_assert_int_eq(store_run(k.store, call), OK);
    store_call_free(&call);
    while (!controller_active(k.ctl))
        ck_assert(mono_ms() < until);
    kit_check_node(&k, "/controller_epoch", "8");
}
END_TEST

START_TEST(a_broker_that_cannot_delete_halts_the_deletion)
{
    ck_assert_int_eq(kit_create(&k, "t", 1, 1), KERR_NONE);
    k.fb->stop_error = KERR_KAFKA_STORAGE_ERROR;
    ck_assert_int_eq(kit_delete(&k, "t", PATIENT_MS), KERR_NONE);    /* clients see it no more */
    kit_check_node(&k, "/admin/delete_topics/t", "");
    ck_assert_int_eq(kit_create(&k, "t", 1, 1), KERR_TOPIC_ALREADY_EXISTS);
    kit_down(&k);
    kit_up(&k, NULL);                                           /* the next start tries again */
    kit_wait_gone(&k, "/admin/delete_topics/t");
    kit_check_node(&k, "/brokers/topics/t", NULL);
}
END_TEST

/* The broker was stopped when it had deleted the log, but not said so, and has no room for another one. */
START_TEST(a_log_that_is_lost_while_it_is_being_deleted)
{
    char text[8192];
    FILE *f = tmpfile();
    size_t n;

    ck_assert_int_eq(kit_create(&k, "t", 2, 1), KERR_NONE);
    controller_stop(k.ctl);
    put_node("/admin/delete_topics/t", "");
    kit_down(&k);
    k.lai_error = KERR_KAFKA_STORAGE_ERROR;
    log_to_fd(fileno(f));
    kit_up(&k, NULL);
    kit_wait_gone(&k, "/admin/delete_topics/t");
    log_to_fd(STDOUT_FILENO);
    rewind(f);
    n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    fclose(f);
    ck_assert_ptr_nonnull(strstr(text, "cannot host t-1: KAFKA_STORAGE_ERROR"));
    ck_assert_msg(strstr(text, "cannot go from") == NULL, "%s", text);
}
END_TEST

START_TEST(deletion_can_be_switched_off)
{
    kit_down(&k);
    kit_up(&k, "delete.topic.enable=false");
    ck_assert_int_eq(kit_create(&k, "t", 1, 1), KERR_NONE);
    ck_assert_int_eq(kit_delete(&k, "t", 50), KERR_REQUEST_TIMED_OUT);
    kit_wait_gone(&k, "/admin/delete_topics/t");
    ck_assert_int_eq(kit_create(&k, "t", 1, 1), KERR_TOPIC_ALREADY_EXISTS);
}
END_TEST

/* ---- many --------------------------------------------------------------------------------------------- */

START_TEST(a_thousand_partitions_and_a_start_with_ten_thousand)
{
    int64_t t0 = mono_ns();
    struct metadata *md;

    ck_assert_int_eq(kit_create(&k, "big", 1000, 1), KERR_NONE);
    printf("1,000 partitions: %.1f ms\n", (double)(mono_ns() - t0) / 1e6);
    ck_assert_uint_eq(k.fb->lai, 1);
    ck_assert_uint_eq(k.fb->lai_partitions, 1000);
    ck_assert_uint_eq(k.fb->um, 2);
    ck_assert_uint_eq(k.fb->um_partitions, 1000);
    for (int i = 0; i < 90; i++) {
        char name[24];

        snprintf(name, sizeof name, "t%d", i);
        ck_assert_int_eq(kit_create(&k, name, 100, 1), KERR_NONE);
    }
    kit_down(&k);
    t0 = mono_ns();
    kit_up(&k, NULL);
    printf("start with 10,000 partitions: %.1f ms\n", (double)(mono_ns() - t0) / 1e6);
    md = metadata_get(k.cache);
    ck_assert_uint_eq(metadata_topics_n(md), 91);
    ck_assert_int_eq(metadata_topic(md, STR_LIT("t89"))->partitions[99].leader, BROKER);
    metadata_put(&md);
    t0 = mono_ns();
    ck_assert_int_eq(kit_delete(&k, "big", PATIENT_MS), KERR_NONE);
    kit_wait_gone(&k, "/admin/delete_topics/big");
    printf("deletion of 1,000 partitions: %.1f ms\n", (double)(mono_ns() - t0) / 1e6);
}
END_TEST

/* Twenty clients create the same topics with different settings: each is made once, with its maker's settings. */
START_TEST(many_clients_create_the_same_topics)
{
    enum { CLIENTS = 20, TOPICS = 10 };
    static struct topic_op_topic t[CLIENTS][TOPICS];
    static struct kit_op ko[CLIENTS];
    static char names[TOPICS][16], values[CLIENTS][16];
    static struct topic_op_config configs[CLIENTS];
    int made[TOPICS] = { 0 };

    for (int c = 0; c < CLIENTS; c++) {
        snprintf(values[c], sizeof values[c], "%d", 1000 + c);
        configs[c] = (struct topic_op_config){ STR_LIT("segment.bytes"), str_of(values[c]), 0 };
        for (int i = 0; i < TOPICS; i++) {
            snprintf(names[i], sizeof names[i], "t%d", i);
            t[c][i] = (struct topic_op_topic){ .name = str_of(names[i]), .partitions = 2, .replication = 1,
                                               .configs = &configs[c], .configs_n = 1 };
        }
    }
    for (int c = 0; c < CLIENTS; c++)
        kit_op_start(&k, &ko[c], TOPIC_OP_CREATE, t[c], TOPICS, PATIENT_MS);
    for (int c = 0; c < CLIENTS; c++) {
        kit_op_wait(&ko[c]);
        for (int i = 0; i < TOPICS; i++) {
            char path[512], want[512];

            ck_assert(t[c][i].error == KERR_NONE || t[c][i].error == KERR_TOPIC_ALREADY_EXISTS);
            if (t[c][i].error != KERR_NONE)
                continue;
            made[i]++;
            snprintf(path, sizeof path, "/config/topics/%s", names[i]);
            snprintf(want, sizeof want, "{\"version\":1,\"config\":{\"segment.bytes\":\"%s\"}}", values[c]);
            kit_check_node(&k, path, want);
        }
        kit_op_end(&ko[c]);
    }
    for (int i = 0; i < TOPICS; i++)
        ck_assert_int_eq(made[i], 1);
}
END_TEST

/* Twenty clients enlarge one topic at a time: nobody's change is lost, the largest number wins. */
START_TEST(many_clients_enlarge_the_same_topic)
{
    enum { CLIENTS = 20 };
    static struct topic_op_topic t[CLIENTS];
    static struct kit_op ko[CLIENTS];
    struct metadata *md;

    ck_assert_int_eq(kit_create(&k, "t", 1, 1), KERR_NONE);
    for (int c = 0; c < CLIENTS; c++)
        t[c] = (struct topic_op_topic){ .name = STR_LIT("t"), .partitions = 2 + (c * 7) % CLIENTS };
    for (int c = 0; c < CLIENTS; c++)
        kit_op_start(&k, &ko[c], TOPIC_OP_GROW, &t[c], 1, PATIENT_MS);
    for (int c = 0; c < CLIENTS; c++) {
        kit_op_wait(&ko[c]);
        ck_assert(t[c].error == KERR_NONE || t[c].error == KERR_INVALID_PARTITIONS);
        kit_op_end(&ko[c]);
    }
    md = metadata_get(k.cache);
    ck_assert_int_eq(metadata_topic(md, STR_LIT("t"))->partitions_n, CLIENTS + 1);
    for (int32_t i = 0; i <= CLIENTS; i++)
        ck_assert_int_eq(metadata_topic(md, STR_LIT("t"))->partitions[i].leader, BROKER);
    metadata_put(&md);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/controller");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    log_threshold = LOG_WARN;
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 240);
    tcase_add_test(t, the_first_start_writes_kafkas_tree);
    tcase_add_test(t, a_topic_gets_its_nodes_and_a_leader);
    tcase_add_test(t, a_deleted_topic_leaves_nothing);
    tcase_add_test(t, creation_is_refused_in_kafkas_words);
    tcase_add_test(t, assignments_by_hand_are_checked);
    tcase_add_test(t, settings_are_checked_and_stored);
    tcase_add_test(t, validate_only_and_no_timeout);
    tcase_add_test(t, topics_grow);
    tcase_add_test(t, names_that_collide_in_one_request);
    tcase_add_test(t, monstrous_requests);
    tcase_add_test(t, a_restart_keeps_topics_and_epochs);
    tcase_add_test(t, a_half_done_tree_is_finished_at_the_start);
    tcase_add_test(t, another_session_is_another_term);
    tcase_add_test(t, a_session_that_ends_before_the_controller_starts_is_noticed);
    tcase_add_test(t, a_lost_controllership_is_noticed);
    tcase_add_test(t, a_broker_that_cannot_delete_halts_the_deletion);
    tcase_add_test(t, a_log_that_is_lost_while_it_is_being_deleted);
    tcase_add_test(t, deletion_can_be_switched_off);
    tcase_add_test(t, a_thousand_partitions_and_a_start_with_ten_thousand);
    tcase_add_test(t, many_clients_create_the_same_topics);
    tcase_add_test(t, many_clients_enlarge_the_same_topic);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
