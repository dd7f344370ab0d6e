/* tests/unit/broker/peer/test_isr_changes.c - changes of ISRs: asked of a controller that answers well or badly, or
 * that moves; and written into a store, as before 2.7-IV2. Blocks of producer ids from the same controller.
 */
#include "tests/unit/broker/peer/kit.h"

#include "base/lock.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/cluster/standing.h"
#include "broker/peer/isr_changes.h"
#include "broker/peer/leaving.h"
#include "broker/peer/producer_blocks.h"
#include "broker/txn/producer_ids.h"
#include "config/config.h"
#include "metadata/lmdb_store.h"
#include "metadata/znodes.h"
#include "proto/gen/allocate_producer_ids_response.h"
#include "proto/gen/alter_partition_request.h"
#include "proto/gen/alter_partition_response.h"
#include "proto/gen/controlled_shutdown_request.h"
#include "proto/gen/controlled_shutdown_response.h"
#include "proto/gen/update_metadata_request.h"
#include "proto/kerr.h"

#define UM(x)   struct update_metadata_request_update_metadata_##x
#define SELF    8
#define CHANGES 20

static struct config         *cfg;
static struct metadata_cache *cache;
static struct standing        standing;
static struct store          *store;
static char                   dir[64];
static struct isr_changes    *changes;
static struct fake_listener   controller, other;
static struct lock            lock;
static struct cond            cond;
static int                    done_n;                   /* under lock */
static struct isr_change      v[CHANGES];
static struct isr_member      isr[] = { { SELF, 70 }, { 9, 71 } };
static int32_t                got_isr_n[CHANGES];
static _Atomic int            top_error, partition_error, leave_out, last_version, most;
static atomic_bool            catch_up;                 /* broker 3 comes into the ISR of what SELF leads */
static atomic_bool            hold;                     /* the controller does not answer meanwhile */
static atomic_int             downs;

/* ---- metadata: the controller, and t-0, which SELF leads ---- */

static void now_controls_and_leads(const struct fake_listener *f, int32_t id, bool in_isr, bool offline)
{
    UM(endpoint) e = { .port = f->port, .host = STR_LIT("127.0.0.1"), .listener = STR_LIT("PLAINTEXT") };
    UM(broker) b[] = { { .id = id, .endpoints = &e, .endpoints_n = 1 }, { .id = SELF, .endpoints = &e,
                                                                         .endpoints_n = 1 } };
    int32_t replicas[] = { SELF, 3 }, off[] = { 3 };
    UM(partition_state) p = { .leader = SELF, .replicas = replicas, .replicas_n = 2, .isr = replicas,
                              .isr_n = in_isr ? 2 : 1, .offline_replicas = off, .offline_replicas_n = offline };
    UM(topic_state) t = { .topic_name = STR_LIT("t"), .partition_states = &p, .partition_states_n = 1 };
    struct update_metadata_request req;

    update_metadata_request_init(&req);
    req.controller_id = id;
    req.live_brokers = b;
    req.live_brokers_n = 2;
    req.topic_states = &t;
    req.topic_states_n = 1;
    ck_assert_int_eq(metadata_cache_update(cache, &req), OK);
}

/* ---- the controller ---- */

static void answer_topic(struct fake_request *r, const struct alter_partition_request_topic_data *in,
                         struct alter_partition_response_topic_data *out)
{
    int skip = atomic_exchange(&leave_out, 0);

    alter_partition_response_topic_data_init(out);
    out->topic_name = in->topic_name;
    out->topic_id = in->topic_id;
    out->partitions = arena_array(r->arena, (size_t)in->partitions_n + 1, sizeof *out->partitions);
    for (int32_t i = in->partitions_n - 1; i >= skip; i--) {
        struct alter_partition_response_partition_data *p = &out->partitions[out->partitions_n++];

        alter_partition_response_partition_data_init(p);
        p->partition_index = in->partitions[i].partition_index;
        p->error_code = (int16_t)atomic_load(&partition_error);
        p->leader_id = SELF;
        p->leader_epoch = in->partitions[i].leader_epoch;
        p->partition_epoch = in->partitions[i].partition_epoch + 1;
        p->isr = r->version < 3 ? in->partitions[i].new_isr : arena_array(r->arena, 2, sizeof(int32_t));
        p->isr_n = r->version < 3 ? in->partitions[i].new_isr_n : in->partitions[i].new_isr_with_epochs_n;
        ck_assert(r->version < 3 || in->partitions[i].new_isr_with_epochs[1].broker_epoch == 71);
    }
}

static void answer_changes(struct fake_request *r)
{
    struct cursor c = cur_ro(r->body.p, r->body.len);
    struct alter_partition_request in;
    struct alter_partition_response out;
    int n = 0;

    ck_assert_int_eq(alter_partition_request_read(&c, r->version, r->arena, &in), OK);
    ck_assert_int_eq(in.broker_id, SELF);
    ck_assert_int_eq(in.broker_epoch, 70);
    alter_partition_response_init(&out);
    out.error_code = (int16_t)atomic_exchange(&top_error, 0);
    out.topics = arena_array(r->arena, (size_t)in.topics_n + 1, sizeof *out.topics);
    for (int32_t i = 0; i < in.topics_n; i++)
        n += in.topics[i].partitions_n;
    for (int32_t i = in.topics_n - 1; i >= 0 && out.error_code == 0; i--)
        answer_topic(r, &in.topics[i], &out.topics[out.topics_n++]);
    if (n > atomic_load(&most))
        atomic_store(&most, n);
    atomic_store(&last_version, r->version);
    ck_assert_int_eq(alter_partition_response_write(r->out, &out, r->version), OK);
}

static enum fake_deed control(struct fake_listener *f, struct fake_request *r)
{
    struct allocate_producer_ids_response ids;
    struct controlled_shutdown_response left;
    int n = atomic_load(&f->requests);

    while (atomic_load(&hold))
        poll(NULL, 0, 1);
    if (r->api == API_ALTER_PARTITION) {
        answer_changes(r);
    } else if (r->api == API_ALLOCATE_PRODUCER_IDS) {
        allocate_producer_ids_response_init(&ids);
        ids.error_code = (int16_t)atomic_exchange(&top_error, 0);
        ids.producer_id_start = 5000 + 10 * n;
        ids.producer_id_len = 10;
        ck_assert_int_eq(allocate_producer_ids_response_write(r->out, &ids, r->version), OK);
    } else {
        ck_assert_int_eq(r->api, API_CONTROLLED_SHUTDOWN);
        controlled_shutdown_response_init(&left);
        left.error_code = (int16_t)atomic_exchange(&top_error, 0);
        left.remaining_partitions = arena_array(r->arena, 1, sizeof *left.remaining_partitions);
        left.remaining_partitions[0].topic_name = STR_LIT("t");
        left.remaining_partitions_n = atomic_exchange(&leave_out, 0);
        if (atomic_exchange(&catch_up, false))
            now_controls_and_leads(f, 3, true, false);
        ck_assert_int_eq(controlled_shutdown_response_write(r->out, &left, r->version), OK);
    }
    return FAKE_ANSWER;
}

/* ---- the broker ---- */

static void now_controls(const struct fake_listener *f, int32_t id)
{
    UM(endpoint) e = { .port = f->port, .host = STR_LIT("127.0.0.1"), .listener = STR_LIT("PLAINTEXT") };
    UM(broker) b[] = { { .id = id, .endpoints = &e, .endpoints_n = 1 }, { .id = SELF, .endpoints = &e,
                                                                         .endpoints_n = 1 } };
    struct update_metadata_request req;

    update_metadata_request_init(&req);
    req.controller_id = id;
    req.live_brokers = b;
    req.live_brokers_n = 2;
    ck_assert_int_eq(metadata_cache_update(cache, &req), OK);
}

static void on_down(void *arg, int32_t id)
{
    (void)arg;
    ck_assert_int_eq(id, 3);
    atomic_fetch_add(&downs, 1);
}

static void start(const char *ibp)
{
    struct isr_changes_opts o = { .cfg = cfg, .broker_id = SELF, .standing = &standing, .metacache = cache,
                                  .store = store, .down = on_down };

    ibp_init(&o.ibp, ibp);
    ck_assert_int_eq(isr_changes_new(&changes, &o), OK);
}

static void configure(const char *override)
{
    struct config_input in = { .overrides = (const char *const[]){ override }, .overrides_n = 1 };
    struct config_problems problems;

    ck_assert_int_eq(config_load(&cfg, &in, &problems), OK);
    config_problems_fini(&problems);
}

static void setup(void)
{
    atomic_store(&downs, 0);
    configure("controlled.shutdown.retry.backoff.ms=20");
    ck_assert_int_eq(metadata_cache_new(&cache), OK);
    standing_init(&standing);
    standing_registered(&standing, 70);
    lock_init(&lock, LOCK_log);
    cond_init(&cond);
    controller = other = (struct fake_listener){ .script = control };
    fake_listen(&controller);
    changes = NULL;
    store = NULL;
}

static void teardown(void)
{
    char path[128];

    isr_changes_free(&changes);
    store_free(&store);
    snprintf(path, sizeof path, "%s/" LMDB_STORE_FILE, dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/" LMDB_STORE_FILE "-lock", dir);
    unlink(path);
    rmdir(dir);
    fake_die(&controller);
    metadata_cache_free(&cache);
    config_unref(&cfg);
}

static void on_done(struct isr_change *ch)
{
    lock_take(&lock);
    got_isr_n[ch - v] = ch->outcome == ISR_DONE ? ch->got_isr_n : -1;
    done_n++;
    cond_broadcast(&cond);
    lock_drop(&lock);
}

static void submit(int i, const char *topic, struct uuid id)
{
    v[i] = (struct isr_change){ .topic = str_of(topic), .topic_id = id, .index = i, .leader_epoch = 4,
                                .partition_epoch = 0, .isr = isr, .isr_n = 2, .done = on_done };
    isr_submit(isr_changes_changer(changes), &v[i]);
}

static void wait_done(int n)
{
    lock_take(&lock);
    while (done_n < n)
        ck_assert(cond_wait_until(&cond, &lock, mono_ns() + 90000000000));
    lock_drop(&lock);
}

static const struct uuid id_a = { { 1 } }, id_b = { { 2 } }, id_c = { { 3 } }, no_id;

static void submit_all(struct uuid second)
{
    for (int i = 0; i < CHANGES; i++)
        submit(i, i % 2 == 0 ? "b" : "a", i % 2 == 0 ? id_a : second);
}

static void all_done_are(enum isr_outcome outcome)
{
    wait_done(CHANGES);
    for (int i = 0; i < CHANGES; i++) {
        ck_assert_int_eq(v[i].outcome, outcome);
        if (outcome != ISR_DONE)
            continue;
        ck_assert_int_eq(got_isr_n[i], 2);
        ck_assert_int_eq(v[i].got_partition_epoch, 1);
        ck_assert_int_eq(v[i].got_leader_epoch, 4);
    }
}

START_TEST(what_comes_before_there_is_a_controller_waits)
{
    start("3.9");
    submit_all(id_b);
    poll(NULL, 0, 60);
    ck_assert_int_eq(done_n, 0);
    now_controls(&controller, 3);
    all_done_are(ISR_DONE);
}
END_TEST

/* What comes while a request is under way goes in the next one. */
START_TEST(changes_go_together)
{
    now_controls(&controller, 3);
    start("3.9");
    atomic_store(&hold, true);
    submit(CHANGES - 1, "c", id_c);
    WAIT_FOR(atomic_load(&controller.requests) == 1);
    for (int i = 0; i < CHANGES - 1; i++)
        submit(i, i % 2 == 0 ? "b" : "a", i % 2 == 0 ? id_a : id_b);
    atomic_store(&hold, false);
    all_done_are(ISR_DONE);
    ck_assert_int_eq(atomic_load(&controller.requests), 2);
    ck_assert_int_eq(atomic_load(&most), CHANGES - 1);
    ck_assert_int_eq(atomic_load(&last_version), 3);
}
END_TEST

static const struct { const char *ibp; bool ids; int version; } versions[] = {
    { "2.7", false, 0 }, { "2.8", true, 0 },  { "3.1", true, 0 },  { "3.2", true, 1 },
    { "3.3", true, 2 },  { "3.3", false, 1 }, { "3.9", false, 1 }, { "3.9", true, 3 },
};

START_TEST(the_protocol_version_decides)
{
    now_controls(&controller, 3);
    start(versions[_i].ibp);
    submit_all(versions[_i].ids ? id_b : no_id);
    all_done_are(ISR_DONE);
    ck_assert(atomic_load(&last_version) == versions[_i].version || !versions[_i].ids);
    if (!versions[_i].ids) {                            /* one without an id goes by name */
        submit(1, "a", no_id);
        wait_done(CHANGES + 1);
        ck_assert_int_eq(atomic_load(&last_version), versions[_i].version);
    }
}
END_TEST

static const struct { int error; enum isr_outcome outcome; } outcomes[] = {
    { KERR_OPERATION_NOT_ATTEMPTED, ISR_REVERT }, { KERR_INELIGIBLE_REPLICA, ISR_REVERT },
    { KERR_UNKNOWN_TOPIC_OR_PARTITION, ISR_WAIT }, { KERR_UNKNOWN_TOPIC_ID, ISR_WAIT },
    { KERR_FENCED_LEADER_EPOCH, ISR_WAIT },       { KERR_INVALID_UPDATE_VERSION, ISR_WAIT },
    { KERR_INVALID_REQUEST, ISR_WAIT },           { KERR_NEW_LEADER_ELECTED, ISR_WAIT },
    { KERR_NOT_CONTROLLER, ISR_RETRY },           { KERR_UNKNOWN_SERVER_ERROR, ISR_RETRY },
};

START_TEST(errors_of_partitions_are_outcomes)
{
    now_controls(&controller, 3);
    start("3.9");
    atomic_store(&partition_error, outcomes[_i].error);
    submit_all(id_b);
    all_done_are(outcomes[_i].outcome);
}
END_TEST

START_TEST(what_is_refused_as_a_whole_is_asked_again)
{
    now_controls(&controller, 3);
    start("3.9");
    atomic_store(&top_error, KERR_NOT_CONTROLLER);
    submit_all(id_b);
    all_done_are(ISR_DONE);
    ck_assert_int_ge(atomic_load(&controller.requests), 2);
}
END_TEST

START_TEST(what_an_answer_leaves_out_is_asked_again)
{
    start("3.9");
    atomic_store(&leave_out, 3);
    submit_all(id_b);
    now_controls(&controller, 3);
    all_done_are(ISR_DONE);
    ck_assert_int_ge(atomic_load(&controller.requests), 2);
}
END_TEST

START_TEST(another_controller_is_asked)
{
    now_controls(&controller, 3);
    start("3.9");
    WAIT_FOR(atomic_load(&controller.connections) >= 1);           /* held, also without a request */
    fake_die(&controller);
    WAIT_FOR(atomic_load(&downs) >= 1);
    submit_all(id_b);
    fake_listen(&other);
    now_controls(&other, 4);
    all_done_are(ISR_DONE);
    ck_assert_int_gt(atomic_load(&other.requests), 0);
    ck_assert_int_eq(atomic_load(&controller.requests), 0);
    isr_changes_stop(changes);
    fake_die(&other);
    fake_listen(&controller);
}
END_TEST

/* It ended before we had a connection to it, and stays away for a while. */
START_TEST(a_controller_that_was_never_reached_is_down)
{
    fake_die(&controller);
    now_controls(&controller, 3);
    start("3.9");
    WAIT_FOR(atomic_load(&downs) >= 2);
    fake_listen(&controller);
    submit_all(id_b);
    all_done_are(ISR_DONE);
}
END_TEST

START_TEST(the_end_drops_what_waits)
{
    start("3.9");
    submit_all(id_b);
    isr_changes_stop(changes);
    all_done_are(ISR_DROPPED);
    submit(0, "a", id_a);
    ck_assert_int_eq(done_n, CHANGES + 1);
    ck_assert_int_eq(v[0].outcome, ISR_DROPPED);
}
END_TEST

/* ---- in the store ---- */

static void put_state(int32_t index, int32_t leader, int32_t epoch, int32_t n)
{
    int32_t ids[] = { SELF, 9, 10 };
    struct znode_state s = { .leader = leader, .leader_epoch = epoch, .controller_epoch = 33, .isr = { ids, n } };
    struct zpath path = zpath_state(STR_LIT("a"), index);
    struct store_call *call;
    char *text = znode_state_write(&s);
    struct bytes data = { (uint8_t *)text, strlen(text) };

    for (char *p = strchr(path.z + 1, '/'); p != NULL; p = strchr(p + 1, '/')) {
        *p = '\0';
        call = store_call_new(NULL, NULL);
        store_create(call, path.z, (struct bytes){ NULL, 0 }, 0);
        ck_assert(store_run(store, call) != ERR_NOENT);
        store_call_free(&call);
        *p = '/';
    }
    call = store_call_new(NULL, NULL);
    store_create(call, path.z, data, 0);
    if (store_run(store, call) == ERR_EXISTS) {
        store_call_free(&call);
        call = store_call_new(NULL, NULL);
        store_set(call, path.z, data, STORE_ANY_VERSION);
        ck_assert_int_eq(store_run(store, call), OK);
    }
    store_call_free(&call);
    free(text);
}

static void make_node(const char *path)
{
    struct store_call *call = store_call_new(NULL, NULL);

    store_create(call, path, (struct bytes){ NULL, 0 }, 0);
    ck_assert_int_eq(store_run(store, call), OK);
    store_call_free(&call);
}

static bool is_told(const char *text)
{
    struct store_call *call = store_call_new(NULL, NULL);
    bool told;

    store_get(call, ZK_ISR_CHANGES "/isr_change_0000000000", 0);
    told = store_run(store, call) == OK;
    if (told)
        ck_assert_str_eq((const char *)call->ops[0].value.p, text);
    store_call_free(&call);
    return told;
}

static atomic_bool at_gate, gate_open;

/* Keeps the thread of the changes: what is submitted meanwhile is taken at once. */
static void stand_at_gate(struct isr_change *ch)
{
    (void)ch;
    atomic_store(&at_gate, true);
    while (!atomic_load(&gate_open))
        poll(NULL, 0, 1);
}

/* The controller is told of what stands, too: it may be what an earlier attempt wrote, whose answer was lost. It is
 * told of both in one notice, since there is no time between them in which it could be told of the first. */
START_TEST(an_old_leader_writes_the_node_itself)
{
    struct isr_change gate = { .topic = STR_LIT("none"), .isr = isr, .isr_n = 2, .done = stand_at_gate };
    struct store_call *call;

    snprintf(dir, sizeof dir, "/tmp/klamm-isr-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(lmdb_store_open(&store, dir), OK);
    make_node(ZK_ISR_CHANGES);
    start("2.6");
    put_state(0, SELF, 4, 1);           /* as we know it */
    put_state(1, SELF, 4, 1);           /* changed since, and still ours: what stands is the outcome */
    put_state(1, SELF, 4, 3);
    put_state(2, 9, 5, 2);              /* another leads; 3: deleted */
    isr_submit(isr_changes_changer(changes), &gate);
    WAIT_FOR(atomic_load(&at_gate));
    for (int i = 0; i < 4; i++)
        submit(i, "a", no_id);
    atomic_store(&gate_open, true);
    wait_done(4);
    ck_assert_int_eq(v[0].outcome, ISR_DONE);
    ck_assert_int_eq(got_isr_n[0], 2);
    ck_assert_int_eq(v[0].got_partition_epoch, 1);
    ck_assert_int_eq(v[1].outcome, ISR_DONE);
    ck_assert_int_eq(got_isr_n[1], 3);
    ck_assert_int_eq(v[1].got_partition_epoch, 1);
    ck_assert_int_eq(v[2].outcome, ISR_WAIT);
    ck_assert_int_eq(v[3].outcome, ISR_WAIT);
    call = store_call_new(NULL, NULL);
    store_get(call, zpath_state(STR_LIT("a"), 0).z, 0);
    ck_assert_int_eq(store_run(store, call), OK);
    ck_assert_str_eq((const char *)call->ops[0].value.p,
                     "{\"controller_epoch\":33,\"leader\":8,\"version\":1,\"leader_epoch\":4,\"isr\":[8,9]}");
    store_call_free(&call);
    WAIT_FOR(is_told("{\"version\":1,\"partitions\":[{\"topic\":\"a\",\"partition\":1},"
                     "{\"topic\":\"a\",\"partition\":0}]}"));
}
END_TEST

/* ---- producer ids, and leaving ---- */

static void on_id(struct producer_id_waiter *w, int rc, int64_t id)
{
    (void)w;
    lock_take(&lock);
    v[done_n++ % CHANGES] = (struct isr_change){ .index = (int32_t)id, .leader_epoch = rc };
    cond_broadcast(&cond);
    lock_drop(&lock);
}

START_TEST(producer_ids_come_from_the_controller)
{
    struct producer_blocks_opts o = { .cfg = cfg, .broker_id = SELF, .standing = &standing, .metacache = cache };
    struct producer_id_waiter w[21];
    struct producer_blocks *blocks;
    struct producer_ids *ids;

    now_controls(&controller, 3);
    ibp_init(&o.ibp, "3.9");
    ck_assert_int_eq(producer_ids_new(&ids, NULL, SELF), OK);
    o.ids = ids;
    ck_assert_int_eq(producer_blocks_new(&blocks, &o), OK);
    producer_ids_from(ids, producer_blocks_claim, blocks);
    atomic_store(&top_error, KERR_NOT_CONTROLLER);                 /* once */
    for (int i = 0; i < 11; i++) {
        w[i].done = on_id;
        producer_ids_take(ids, &w[i]);
    }
    wait_done(11);
    for (int i = 0; i < 11; i++) {
        ck_assert_int_eq(v[i].leader_epoch, OK);
        ck_assert_int_eq(v[i].index, i < 10 ? 5020 + i : 5030);
    }
    producer_blocks_stop(blocks);
    for (int i = 11; i < 21; i++) {                                 /* what is left of the block; then no more */
        w[i].done = on_id;
        producer_ids_take(ids, &w[i]);
        ck_assert_int_eq(done_n, i + 1);
        ck_assert_int_eq(v[i % CHANGES].leader_epoch, i < 20 ? OK : ERR_CLOSED);
    }
    producer_ids_free(&ids);
    producer_blocks_free(&blocks);
}
END_TEST

START_TEST(a_broker_that_leaves_asks_until_nothing_stays)
{
    struct leaving_opts o = { .cfg = cfg, .broker_id = SELF, .standing = &standing, .metacache = cache };

    ibp_init(&o.ibp, "3.9");
    leave_cluster(&o);                                              /* alone: nobody is asked */
    ck_assert_int_eq(atomic_load(&controller.requests), 0);
    now_controls(&controller, 3);
    leave_cluster(&o);
    ck_assert_int_eq(atomic_load(&controller.requests), 1);
    atomic_store(&leave_out, 1);                                    /* one partition stays, the first time */
    leave_cluster(&o);
    ck_assert_int_eq(atomic_load(&controller.requests), 3);
    fake_die(&controller);
    leave_cluster(&o);                                              /* three attempts, then it gives up */
    fake_listen(&controller);
}
END_TEST

/* With a back-off beyond any patience: who waits for it has waited in vain. */
START_TEST(a_broker_that_leaves_does_not_wait_for_nobody)
{
    struct leaving_opts o = { .broker_id = SELF, .standing = &standing, .metacache = cache };

    config_unref(&cfg);
    configure("controlled.shutdown.retry.backoff.ms=3600000");
    o.cfg = cfg;
    ibp_init(&o.ibp, "3.9");
    now_controls_and_leads(&controller, 3, false, true);
    atomic_store(&leave_out, 1);
    leave_cluster(&o);
    ck_assert_int_eq(atomic_load(&controller.requests), 1);
    now_controls_and_leads(&controller, 3, false, false);           /* not in sync, until it is */
    atomic_store(&leave_out, 1);
    atomic_store(&catch_up, true);
    leave_cluster(&o);
    ck_assert_int_eq(atomic_load(&controller.requests), 3);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/peer/isr_changes");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, what_comes_before_there_is_a_controller_waits);
    tcase_add_test(t, changes_go_together);
    tcase_add_loop_test(t, the_protocol_version_decides, 0, (int)(sizeof versions / sizeof versions[0]));
    tcase_add_loop_test(t, errors_of_partitions_are_outcomes, 0, (int)(sizeof outcomes / sizeof outcomes[0]));
    tcase_add_test(t, what_is_refused_as_a_whole_is_asked_again);
    tcase_add_test(t, what_an_answer_leaves_out_is_asked_again);
    tcase_add_test(t, another_controller_is_asked);
    tcase_add_test(t, a_controller_that_was_never_reached_is_down);
    tcase_add_test(t, the_end_drops_what_waits);
    tcase_add_test(t, an_old_leader_writes_the_node_itself);
    tcase_add_test(t, producer_ids_come_from_the_controller);
    tcase_add_test(t, a_broker_that_leaves_asks_until_nothing_stays);
    tcase_add_test(t, a_broker_that_leaves_does_not_wait_for_nobody);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
