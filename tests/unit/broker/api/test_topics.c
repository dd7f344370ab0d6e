/* tests/unit/broker/api/test_topics.c - Metadata, CreateTopics, CreatePartitions, DeleteTopics, DescribeCluster and
 * DescribeConfigs in every version, from the bytes of the request to the bytes of the answer. The network is this
 * file: it defines what handlers end a request with.
 */
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "broker/cluster/doubts.h"
#include "proto/gen/create_partitions_request.h"
#include "proto/gen/create_partitions_response.h"
#include "proto/gen/create_topics_request.h"
#include "proto/gen/create_topics_response.h"
#include "proto/gen/delete_topics_request.h"
#include "proto/gen/delete_topics_response.h"
#include "proto/gen/describe_cluster_request.h"
#include "proto/gen/describe_cluster_response.h"
#include "proto/gen/describe_configs_request.h"
#include "proto/gen/describe_configs_response.h"
#include "proto/gen/metadata_request.h"
#include "proto/gen/metadata_response.h"
#include "storage/logmgr.h"
#include "tests/unit/broker/kit.h"

#include <semaphore.h>

static struct kit k;
static struct broker b;

/* ---- the network --------------------------------------------------------------------------------------------- */

static struct {
    struct lock  lock;
    /* under lock */
    struct cond  cond;
    bool         done, closed;
    uint8_t     *bytes;
    size_t       n;
    struct arena arena;                 /* of what was decoded from the answer */
} answer;

static void end(bool closed)
{
    lock_take(&answer.lock);
    answer.done = true;
    answer.closed = closed;
    cond_signal(&answer.cond);
    lock_drop(&answer.lock);
}

bool reply_decoded(struct request *r, int rc)
{
    if (rc != OK || cur_left(&r->body) > 0)
        end(true);
    return rc == OK && cur_left(&r->body) == 0;
}

void reply_send(struct request *r, struct chain *out, int rc)
{
    (void)r;
    ck_assert_int_eq(rc, OK);
    ck_assert_int_eq(out->rc, OK);
    answer.bytes = malloc(out->len + 1);
    answer.n = out->len;
    ck_assert_int_eq(chain_flatten(out, answer.bytes, answer.n), OK);
    chain_fini(out);
    end(false);
}

void request_close(struct request *r, const char *why)
{
    (void)r, (void)why;
    end(true);
}

void request_resume(struct request *r, void (*fn)(struct broker *, struct request *))
{
    fn(&b, r);
}

static struct request req;
static struct chain   body;
static struct arena   body_arena;

static void call_start(int16_t version)
{
    free(answer.bytes);
    arena_fini(&answer.arena);
    answer.bytes = NULL;
    answer.done = answer.closed = false;
    memset(&req, 0, sizeof req);
    arena_init(&req.arena, (size_t)256 << 20);
    req.version = version;
    req.listener = STR_LIT("PLAINTEXT");
    arena_init(&body_arena, (size_t)16 << 20);
    chain_init(&body, &body_arena);
}

static uint8_t *body_bytes;

static void call_handle(void (*handler)(struct broker *, struct request *))
{
    body_bytes = malloc(body.len + 1);
    ck_assert_int_eq(chain_flatten(&body, body_bytes, body.len), OK);
    req.body = cur_ro(body_bytes, body.len);
    handler(&b, &req);
}

static void call_end(void)
{
    lock_take(&answer.lock);
    while (!answer.done)
        cond_wait(&answer.cond, &answer.lock);
    lock_drop(&answer.lock);
    arena_fini(&req.arena);
    chain_fini(&body);
    arena_fini(&body_arena);
    free(body_bytes);
    arena_init(&answer.arena, (size_t)256 << 20);
}

static void call_run(void (*handler)(struct broker *, struct request *))
{
    call_handle(handler);
    call_end();
}

/* Encodes in, has it handled, decodes the answer to out. */
#define CALL(api, v, in, out)                                                               \
    do {                                                                                    \
        struct cursor cur_;                                                                 \
        call_start(v);                                                                      \
        ck_assert_int_eq(api##_request_write(&body, (in), (v)), OK);                        \
        call_run(api_##api);                                                                \
        ck_assert(!answer.closed);                                                          \
        cur_ = cur_ro(answer.bytes, answer.n);                                              \
        ck_assert_int_eq(api##_response_read(&cur_, (v), &answer.arena, (out)), OK);        \
        ck_assert_uint_eq(cur_left(&cur_), 0);                                              \
    } while (0)

/* Log directories that nothing is put into: only their room is asked for. */
static void open_logs(int64_t min_free_bytes)
{
    const char *dirs[1] = { k.dir };
    struct logmgr_opts o;

    logmgr_free(&b.logs);
    logmgr_opts_init(&o);
    o.dirs = dirs;
    o.dirs_n = 1;
    o.min_free_bytes = min_free_bytes;
    ck_assert_int_eq(logmgr_open(&o, &b.logs), OK);
}

static void setup_with(const char *override)
{
    kit_new(&k);
    kit_up(&k, override);
    b = (struct broker){ .cfg = k.cfg, .id = BROKER, .store = k.store, .metacache = k.cache,
                         .topic_configs = k.topic_configs,
                         .broker_configs = k.broker_configs, .controller = k.ctl };
    memcpy(b.cluster_id, k.cluster_id, sizeof b.cluster_id);
    open_logs(0);
    memset(&answer, 0, sizeof answer);
    lock_init(&answer.lock, LOCK_log);
    cond_init(&answer.cond);
}

static void setup(void)
{
    setup_with(NULL);
}

static void teardown(void)
{
    char lock[sizeof k.dir + 8];

    free(answer.bytes);
    arena_fini(&answer.arena);
    logmgr_free(&b.logs);
    kit_down(&k);
    snprintf(lock, sizeof lock, "%s/.lock", k.dir);
    unlink(lock);
    kit_end(&k);
}

/* ---- Metadata ------------------------------------------------------------------------------------------------ */

#define meta_topic struct metadata_request_metadata_request_topic

static void ask(int16_t version, meta_topic *topics, int32_t n, bool create, struct metadata_response *out)
{
    struct metadata_request in;

    metadata_request_init(&in);
    in.topics = topics;
    in.topics_n = n;
    in.allow_auto_topic_creation = version < 4 || create;
    CALL(metadata, version, &in, out);
}

START_TEST(metadata_in_every_version)
{
    struct metadata_response out;

    ck_assert_int_eq(kit_create(&k, "t", 3, 1), KERR_NONE);
    for (int16_t v = METADATA_REQUEST_MIN_VERSION; v <= METADATA_REQUEST_MAX_VERSION; v++) {
        meta_topic one = { .name = STR_LIT("t") }, none = { .name = STR_LIT("absent") };

        ask(v, NULL, v == 0 ? 0 : -1, false, &out);
        ck_assert_int_eq(out.brokers_n, 1);
        ck_assert_int_eq(out.brokers[0].node_id, BROKER);
        ck_assert(str_is(out.brokers[0].host, "127.0.0.1"));
        ck_assert_int_eq(out.brokers[0].port, 9095);
        if (v >= 1)
            ck_assert_int_eq(out.controller_id, BROKER);
        if (v >= 2)
            ck_assert(str_is(out.cluster_id, k.cluster_id));
        ck_assert_int_eq(out.topics_n, 1);
        ask(v, &one, 1, false, &out);
        ck_assert_int_eq(out.topics_n, 1);
        ck_assert_int_eq(out.topics[0].error_code, KERR_NONE);
        ck_assert_int_eq(out.topics[0].partitions_n, 3);
        ck_assert_int_eq(out.topics[0].partitions[2].leader_id, BROKER);
        ck_assert_int_eq(out.topics[0].partitions[2].isr_nodes_n, 1);
        if (v >= 4) {
            ask(v, &none, 1, false, &out);
            ck_assert_int_eq(out.topics[0].error_code, KERR_UNKNOWN_TOPIC_OR_PARTITION);
            ck_assert_int_eq(out.topics[0].topic_authorized_operations, INT32_MIN);
        }
        if (v >= 1) {
            ask(v, &one, 0, false, &out);
            ck_assert_int_eq(out.topics_n, 0);
        }
    }
}
END_TEST

START_TEST(asking_for_a_topic_makes_it)
{
    meta_topic t[] = { { .name = STR_LIT("new") }, { .name = STR_LIT("bad/name") }, { .name = STR_LIT("new") },
                       { .name = STR_LIT("__consumer_offsets") } };
    struct metadata_response out;
    int64_t until = mono_ms() + 60000;
    struct metadata *md;

    ask(12, t, 4, true, &out);
    ck_assert_int_eq(out.topics_n, 3);              /* once each */
    for (int32_t i = 0; i < 3; i++)
        ck_assert_int_eq(out.topics[i].error_code, str_is(out.topics[i].name, "bad/name") ? KERR_INVALID_TOPIC_EXCEPTION
                                                                                         : KERR_LEADER_NOT_AVAILABLE);
    do {
        ck_assert(mono_ms() < until);
        ask(12, t, 1, true, &out);
    } while (out.topics[0].error_code == KERR_LEADER_NOT_AVAILABLE);
    ck_assert_int_eq(out.topics[0].error_code, KERR_NONE);
    ck_assert_int_eq(out.topics[0].partitions_n, 1);            /* num.partitions */
    md = metadata_get(k.cache);
    ck_assert_int_eq(metadata_topic(md, STR_LIT("__consumer_offsets"))->partitions_n, 50);
    ck_assert_int_eq(metadata_topic(md, STR_LIT("__consumer_offsets"))->partitions[0].replicas_n, 1);
    ck_assert(metadata_topic(md, STR_LIT("__consumer_offsets"))->internal);
    metadata_put(&md);
}
END_TEST

START_TEST(asking_does_not_make_it_when_that_is_off)
{
    meta_topic t = { .name = STR_LIT("new") };
    struct metadata_response out;

    teardown();
    setup_with("auto.create.topics.enable=false");
    ask(12, &t, 1, true, &out);
    ck_assert_int_eq(out.topics[0].error_code, KERR_UNKNOWN_TOPIC_OR_PARTITION);
    ask(0, &t, 1, true, &out);
    ck_assert_int_eq(out.topics[0].error_code, KERR_UNKNOWN_TOPIC_OR_PARTITION);
    kit_check_node(&k, "/brokers/topics/new", NULL);
}
END_TEST

START_TEST(topics_by_id)
{
    struct metadata_response out;
    struct metadata *md;
    meta_topic t[2] = { { .name = { NULL, 0 } }, { .name = { NULL, 0 } } };

    ck_assert_int_eq(kit_create(&k, "t", 1, 1), KERR_NONE);
    md = metadata_get(k.cache);
    t[0].topic_id = metadata_topic(md, STR_LIT("t"))->id;
    metadata_put(&md);
    t[1].topic_id = uuid_random();
    ask(12, t, 2, true, &out);
    ck_assert_int_eq(out.topics_n, 2);
    for (int32_t i = 0; i < 2; i++) {
        bool known = uuid_eq(out.topics[i].topic_id, t[0].topic_id);

        ck_assert_int_eq(out.topics[i].error_code, known ? KERR_NONE : KERR_UNKNOWN_TOPIC_ID);
        ck_assert(known ? str_is(out.topics[i].name, "t") : out.topics[i].name.p == NULL);
    }
    t[0].name = STR_LIT("t");
    ask(11, t, 1, true, &out);                      /* ids came with 12 */
    ck_assert_int_eq(out.topics[0].error_code, KERR_INVALID_REQUEST);
}
END_TEST

/* ---- Metadata when a leader dies ------------------------------------------------------------------------------ */

#define OTHER 7

/* A timer whose time stands still until it is let go. */
static struct {
    struct timer      *timer;
    struct timer_entry entry;
    sem_t              stands, goes;
} still;

static void stand_still(struct timer_entry *e)
{
    (void)e;
    sem_post(&still.stands);
    sem_wait(&still.goes);
}

static void doubts_up(void)
{
    ck_assert_int_eq(timer_new(&still.timer), OK);
    ck_assert_int_eq(doubts_new(&b.doubts, still.timer), OK);
    sem_init(&still.stands, 0, 0);
    sem_init(&still.goes, 0, 0);
    still.entry = (struct timer_entry){ .fire = stand_still };
    timer_start(still.timer, &still.entry, 1);
    sem_wait(&still.stands);
}

static void doubts_down(void)
{
    doubts_stop(b.doubts);
    doubts_free(&b.doubts);
    timer_free(&still.timer);
    sem_destroy(&still.stands);
    sem_destroy(&still.goes);
}

#define UM(x) struct update_metadata_request_update_metadata_##x

static void learn_leader(int32_t leader)
{
    int32_t both[] = { BROKER, OTHER };
    UM(endpoint) e = { .port = 9095, .host = STR_LIT("127.0.0.1"), .listener = STR_LIT("PLAINTEXT") };
    UM(broker) live[] = { { .id = BROKER, .endpoints = &e, .endpoints_n = 1 },
                          { .id = OTHER, .endpoints = &e, .endpoints_n = 1 } };
    UM(partition_state) p = { .leader = leader, .isr = both, .isr_n = 2, .replicas = both, .replicas_n = 2 };
    UM(topic_state) t = { .topic_name = STR_LIT("led"), .partition_states = &p, .partition_states_n = 1 };
    struct update_metadata_request in;

    update_metadata_request_init(&in);
    in.controller_id = BROKER;
    in.live_brokers = live;
    in.live_brokers_n = 2;
    in.topic_states = &t;
    in.topic_states_n = 1;
    ck_assert_int_eq(metadata_cache_update(k.cache, &in), OK);
}

/* The client's connection to the leader is cut, and ours a moment later. */
START_TEST(a_client_is_quicker_than_we_are)
{
    meta_topic one = { .name = STR_LIT("led") };
    struct metadata_request in;
    struct metadata_response out;
    struct cursor c;

    doubts_up();
    learn_leader(OTHER);
    metadata_request_init(&in);
    in.topics = &one;
    in.topics_n = 1;
    call_start(9);
    ck_assert_int_eq(metadata_request_write(&body, &in, 9), OK);
    call_handle(api_metadata);
    ck_assert(!answer.done);
    doubts_note(b.doubts, OTHER);
    learn_leader(BROKER);
    doubts_changed(b.doubts);
    call_end();
    c = cur_ro(answer.bytes, answer.n);
    ck_assert_int_eq(metadata_response_read(&c, 9, &answer.arena, &out), OK);
    ck_assert_int_eq(out.topics[0].partitions[0].leader_id, BROKER);
    sem_post(&still.goes);
    doubts_down();
}
END_TEST

START_TEST(nobody_waits_for_a_leader_that_lives)
{
    meta_topic one = { .name = STR_LIT("led") };
    struct metadata_response out;

    doubts_up();
    learn_leader(OTHER);
    ask(9, &one, 0, false, &out);                   /* about brokers only: at once */
    ck_assert_int_eq(out.brokers_n, 2);
    sem_post(&still.goes);
    ask(9, &one, 1, false, &out);
    ck_assert_int_eq(out.topics[0].partitions[0].leader_id, OTHER);
    doubts_stop(b.doubts);
    ask(9, &one, 1, false, &out);
    ck_assert_int_eq(out.topics[0].partitions[0].leader_id, OTHER);
    doubts_down();
}
END_TEST

/* ---- topics --------------------------------------------------------------------------------------------------- */

START_TEST(a_full_disk_takes_no_topics)
{
    struct create_topics_request_creatable_topic t[2];
    struct create_topics_request in;
    struct create_topics_response out;
    struct metadata_request_metadata_request_topic asked;
    struct metadata_request md;
    struct metadata_response found;

    open_logs(INT64_MAX);
    create_topics_request_init(&in);
    for (int i = 0; i < 2; i++) {
        create_topics_request_creatable_topic_init(&t[i]);
        t[i].name = i == 0 ? STR_LIT("a") : STR_LIT("__cluster_metadata");
        t[i].num_partitions = t[i].replication_factor = 1;
    }
    in.topics = t;
    in.topics_n = 2;
    in.timeout_ms = PATIENT_MS;
    CALL(create_topics, 5, &in, &out);
    ck_assert_int_eq(out.topics[0].error_code, KERR_KAFKA_STORAGE_ERROR);
    ck_assert_int_eq(out.topics[1].error_code, KERR_INVALID_REQUEST);
    metadata_request_init(&md);
    metadata_request_metadata_request_topic_init(&asked);
    asked.name = STR_LIT("auto");
    md.topics = &asked;
    md.topics_n = 1;
    md.allow_auto_topic_creation = true;
    CALL(metadata, 9, &md, &found);
    ck_assert_int_eq(found.topics[0].error_code, KERR_LEADER_NOT_AVAILABLE);
    kit_check_node(&k, "/brokers/topics/a", NULL);
    kit_check_node(&k, "/brokers/topics/auto", NULL);
    in.validate_only = true;            /* needs no room */
    in.topics_n = 1;
    CALL(create_topics, 5, &in, &out);
    ck_assert_int_eq(out.topics[0].error_code, KERR_NONE);
    open_logs(0);
    in.validate_only = false;
    CALL(create_topics, 5, &in, &out);
    ck_assert_int_eq(out.topics[0].error_code, KERR_NONE);
}
END_TEST

START_TEST(create_grow_delete_in_every_version)
{
    for (int16_t v = 0; v <= CREATE_TOPICS_REQUEST_MAX_VERSION; v++) {
        struct create_topics_request_creatable_topic_config cfg = { .name = STR_LIT("retention.ms"),
                                                                    .value = STR_LIT("5000") };
        struct create_topics_request_creatable_topic t[4];
        struct create_topics_request in;
        struct create_topics_response out;

        for (int i = 0; i < 4; i++)
            create_topics_request_creatable_topic_init(&t[i]);
        t[0].name = STR_LIT("a");
        t[0].num_partitions = 2;
        t[0].replication_factor = v >= 4 ? -1 : 1;
        t[0].configs = &cfg;
        t[0].configs_n = 1;
        t[1].name = t[2].name = STR_LIT("twice");
        t[3].name = STR_LIT("__cluster_metadata");
        create_topics_request_init(&in);
        in.topics = t;
        in.topics_n = 4;
        in.timeout_ms = PATIENT_MS;
        CALL(create_topics, v, &in, &out);
        ck_assert_int_eq(out.topics_n, 4);
        ck_assert_int_eq(out.topics[0].error_code, KERR_NONE);
        for (int i = 1; i < 4; i++)
            ck_assert_int_eq(out.topics[i].error_code, KERR_INVALID_REQUEST);
        if (v >= 1)
            ck_assert(str_is(out.topics[1].error_message, "Found multiple entries for this topic."));
        if (v >= 5) {
            bool found = false;

            ck_assert_int_eq(out.topics[0].num_partitions, 2);
            ck_assert_int_eq(out.topics[0].replication_factor, 1);
            ck_assert_int_ge(out.topics[0].configs_n, 30);
            for (int32_t i = 0; i < out.topics[0].configs_n; i++)
                if (str_is(out.topics[0].configs[i].name, "retention.ms")) {
                    found = true;
                    ck_assert(str_is(out.topics[0].configs[i].value, "5000"));
                    ck_assert_int_eq(out.topics[0].configs[i].config_source, 1);
                }
            ck_assert(found);
            ck_assert_int_eq(out.topics[1].num_partitions, -1);
        }
        if (v >= 7)
            ck_assert(!uuid_is_zero(out.topics[0].topic_id));
        if (v <= CREATE_PARTITIONS_REQUEST_MAX_VERSION) {
            struct create_partitions_request_create_partitions_topic g[3];
            struct create_partitions_request gin;
            struct create_partitions_response gout;

            for (int i = 0; i < 3; i++) {
                create_partitions_request_create_partitions_topic_init(&g[i]);
                g[i].name = i == 0 ? STR_LIT("a") : STR_LIT("b");
                g[i].count = 4;
                g[i].assignments_n = -1;
            }
            create_partitions_request_init(&gin);
            gin.topics = g;
            gin.topics_n = 3;
            gin.timeout_ms = PATIENT_MS;
            CALL(create_partitions, v, &gin, &gout);
            ck_assert_int_eq(gout.results_n, 2);
            for (int32_t i = 0; i < 2; i++)
                ck_assert_int_eq(gout.results[i].error_code,
                                 str_is(gout.results[i].name, "a") ? KERR_NONE : KERR_INVALID_REQUEST);
        }
        if (v <= DELETE_TOPICS_REQUEST_MAX_VERSION) {
            struct delete_topics_request_delete_topic_state s[3];
            struct str names[2] = { STR_LIT("a"), STR_LIT("none") };
            struct delete_topics_request din;
            struct delete_topics_response dout;

            for (int i = 0; i < 3; i++)
                delete_topics_request_delete_topic_state_init(&s[i]);
            s[0].name = names[0];
            s[1].name = names[1];
            s[2].topic_id = uuid_random();
            delete_topics_request_init(&din);
            din.topics = s;
            din.topics_n = v >= 6 ? 3 : 0;
            din.topic_names = names;
            din.topic_names_n = v < 6 ? 2 : 0;
            din.timeout_ms = PATIENT_MS;
            CALL(delete_topics, v, &din, &dout);
            ck_assert_int_eq(dout.responses_n, v >= 6 ? 3 : 2);
            ck_assert_int_eq(dout.responses[0].error_code, KERR_NONE);
            ck_assert_int_eq(dout.responses[1].error_code, KERR_UNKNOWN_TOPIC_OR_PARTITION);
            if (v >= 6)
                ck_assert_int_eq(dout.responses[2].error_code, KERR_UNKNOWN_TOPIC_ID);
        } else {
            ck_assert_int_eq(kit_delete(&k, "a", PATIENT_MS), KERR_NONE);
        }
        kit_wait_gone(&k, "/admin/delete_topics/a");
    }
}
END_TEST

START_TEST(deletion_by_id)
{
    struct delete_topics_request_delete_topic_state s[2];
    struct delete_topics_request in;
    struct delete_topics_response out;
    struct metadata *md;

    ck_assert_int_eq(kit_create(&k, "t", 1, 1), KERR_NONE);
    md = metadata_get(k.cache);
    delete_topics_request_delete_topic_state_init(&s[0]);
    s[0].topic_id = metadata_topic(md, STR_LIT("t"))->id;
    metadata_put(&md);
    s[1] = s[0];
    s[1].name = STR_LIT("t");
    delete_topics_request_init(&in);
    in.topics = s;
    in.topics_n = 2;
    in.timeout_ms = PATIENT_MS;
    CALL(delete_topics, 6, &in, &out);              /* one of them has both: nothing is done */
    ck_assert_int_eq(out.responses[0].error_code, KERR_INVALID_REQUEST);
    ck_assert_int_eq(out.responses[1].error_code, KERR_INVALID_REQUEST);
    in.topics_n = 1;
    CALL(delete_topics, 6, &in, &out);
    ck_assert_int_eq(out.responses[0].error_code, KERR_NONE);
    ck_assert(str_is(out.responses[0].name, "t"));
}
END_TEST

START_TEST(deletion_is_off)
{
    struct str name = STR_LIT("t");
    struct delete_topics_request in;
    struct delete_topics_response out;

    teardown();
    setup_with("delete.topic.enable=false");
    ck_assert_int_eq(kit_create(&k, "t", 1, 1), KERR_NONE);
    delete_topics_request_init(&in);
    in.topic_names = &name;
    in.topic_names_n = 1;
    in.timeout_ms = PATIENT_MS;
    CALL(delete_topics, 2, &in, &out);
    ck_assert_int_eq(out.responses[0].error_code, KERR_INVALID_REQUEST);
    CALL(delete_topics, 3, &in, &out);
    ck_assert_int_eq(out.responses[0].error_code, KERR_TOPIC_DELETION_DISABLED);
}
END_TEST

/* ---- cluster and settings --------------------------------------------------------------------------------------- */

START_TEST(describe_cluster)
{
    for (int16_t v = 0; v <= DESCRIBE_CLUSTER_REQUEST_MAX_VERSION; v++) {
        struct describe_cluster_request in;
        struct describe_cluster_response out;

        describe_cluster_request_init(&in);
        in.include_cluster_authorized_operations = true;
        CALL(describe_cluster, v, &in, &out);
        ck_assert_int_eq(out.error_code, KERR_NONE);
        ck_assert(str_is(out.cluster_id, k.cluster_id));
        ck_assert_int_eq(out.controller_id, BROKER);
        ck_assert_int_eq(out.brokers_n, 1);
        ck_assert_int_eq(out.cluster_authorized_operations, 8096);
        if (v >= 1) {
            in.endpoint_type = 2;
            CALL(describe_cluster, v, &in, &out);
            ck_assert_int_eq(out.error_code, KERR_MISMATCHED_ENDPOINT_TYPE);
            in.endpoint_type = 7;
            CALL(describe_cluster, v, &in, &out);
            ck_assert_int_eq(out.error_code, KERR_UNSUPPORTED_ENDPOINT_TYPE);
        }
    }
}
END_TEST

#define RESOURCE struct describe_configs_request_describe_configs_resource
#define CONFIG   const struct describe_configs_response_describe_configs_resource_result

static CONFIG *config_named(const struct describe_configs_response_describe_configs_result *res, const char *name)
{
    for (int32_t i = 0; i < res->configs_n; i++)
        if (str_is(res->configs[i].name, name))
            return &res->configs[i];
    return NULL;
}

START_TEST(describe_configs_in_every_version)
{
    struct str keys[] = { STR_LIT("segment.bytes"), STR_LIT("no.such") };
    const RESOURCE all[] = {
        { .resource_type = 2, .resource_name = STR_LIT("t"), .configuration_keys_n = -1 },
        { .resource_type = 4, .resource_name = STR_LIT("5"), .configuration_keys_n = -1 },
        { .resource_type = 2, .resource_name = STR_LIT("t"), .configuration_keys = keys, .configuration_keys_n = 2 },
        { .resource_type = 8, .resource_name = STR_LIT("5"), .configuration_keys_n = -1 },
        { .resource_type = 4, .resource_name = STR_LIT(""), .configuration_keys_n = -1 },
        { .resource_type = 2, .resource_name = STR_LIT("absent"), .configuration_keys_n = -1 },
        { .resource_type = 2, .resource_name = STR_LIT("a b"), .configuration_keys_n = -1 },
        { .resource_type = 4, .resource_name = STR_LIT("6"), .configuration_keys_n = -1 },
        { .resource_type = 4, .resource_name = STR_LIT("x"), .configuration_keys_n = -1 },
        { .resource_type = 8, .resource_name = STR_LIT(""), .configuration_keys_n = -1 },
        { .resource_type = 16, .resource_name = STR_LIT("m"), .configuration_keys_n = -1 },
    };
    static const int16_t errors[] = { 0, 0, 0, 0, 0, KERR_UNKNOWN_TOPIC_OR_PARTITION, KERR_INVALID_TOPIC_EXCEPTION,
                                      KERR_INVALID_REQUEST, KERR_INVALID_REQUEST, KERR_INVALID_REQUEST,
                                      KERR_INVALID_REQUEST };
    enum { N = sizeof all / sizeof all[0] };
    RESOURCE res[N];

    ck_assert_int_eq(kit_create(&k, "t", 1, 1), KERR_NONE);
    memcpy(res, all, sizeof res);
    for (int16_t v = 0; v <= DESCRIBE_CONFIGS_REQUEST_MAX_VERSION; v++) {
        struct describe_configs_request in;
        struct describe_configs_response out;
        CONFIG *c;

        describe_configs_request_init(&in);
        in.resources = res;
        in.resources_n = N;
        in.include_synonyms = v >= 1;
        in.include_documentation = v >= 3;
        CALL(describe_configs, v, &in, &out);
        ck_assert_int_eq(out.results_n, N);
        for (int i = 0; i < N; i++)
            ck_assert_msg(out.results[i].error_code == errors[i], "%d: %s", i, kerr_name(out.results[i].error_code));
        c = config_named(&out.results[0], "segment.bytes");
        ck_assert(str_is(c->value, "1073741824"));
        if (v >= 1) {
            ck_assert_int_eq(c->config_source, 5);
            ck_assert_int_eq(c->synonyms_n, 1);
            ck_assert(str_is(c->synonyms[0].name, "log.segment.bytes"));
        }
        if (v >= 3)
            ck_assert_int_eq(c->config_type, 3);
        ck_assert_ptr_nonnull(config_named(&out.results[1], "num.io.threads"));
        ck_assert_int_eq(out.results[2].configs_n, 1);
        ck_assert(str_is(out.results[3].configs[0].name, "root"));
        ck_assert_int_eq(out.results[4].configs_n, 0);
        ck_assert(str_is(out.results[7].error_message,
                         "Unexpected broker id, expected 5 or empty string, but received 6"));
        ck_assert(str_is(out.results[8].error_message, "Broker id must be an integer, but it is: x"));
        res[0].resource_type = 3;                   /* unknown: nothing is described */
        CALL(describe_configs, v, &in, &out);
        for (int i = 0; i < N; i++)
            ck_assert_int_eq(out.results[i].error_code, KERR_INVALID_REQUEST);
        res[0].resource_type = 2;
    }
}
END_TEST

/* Any prefix of a request is refused by closing the connection; what is cut nowhere is answered. */
START_TEST(torn_requests_close_the_connection)
{
    struct create_topics_request_creatable_topic t;
    struct create_topics_request in;
    uint8_t whole[256];
    size_t n;

    create_topics_request_creatable_topic_init(&t);
    t.name = STR_LIT("a");
    t.num_partitions = t.replication_factor = 1;
    create_topics_request_init(&in);
    in.topics = &t;
    in.topics_n = 1;
    in.timeout_ms = PATIENT_MS;
    for (int16_t v = 0; v <= 7; v++) {
        call_start(v);
        ck_assert_int_eq(create_topics_request_write(&body, &in, v), OK);
        n = body.len;
        ck_assert_int_eq(chain_flatten(&body, whole, n), OK);
        for (size_t cut = 0; cut < n; cut++) {
            arena_fini(&req.arena);
            chain_fini(&body);
            arena_fini(&body_arena);
            call_start(v);
            chain_copy(&body, whole, cut);
            call_run(api_create_topics);
            ck_assert(answer.closed);
        }
    }
    kit_check_node(&k, "/brokers/topics/a", NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/api/topics");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    log_threshold = LOG_ERROR;
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, metadata_in_every_version);
    tcase_add_test(t, asking_for_a_topic_makes_it);
    tcase_add_test(t, asking_does_not_make_it_when_that_is_off);
    tcase_add_test(t, topics_by_id);
    tcase_add_test(t, a_client_is_quicker_than_we_are);
    tcase_add_test(t, nobody_waits_for_a_leader_that_lives);
    tcase_add_test(t, a_full_disk_takes_no_topics);
    tcase_add_test(t, create_grow_delete_in_every_version);
    tcase_add_test(t, deletion_by_id);
    tcase_add_test(t, deletion_is_off);
    tcase_add_test(t, describe_cluster);
    tcase_add_test(t, describe_configs_in_every_version);
    tcase_add_test(t, torn_requests_close_the_connection);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
