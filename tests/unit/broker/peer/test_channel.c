/* tests/unit/broker/peer/test_channel.c - what the controller sends to other brokers: in every version that
 * inter.broker.protocol.version can ask for, in order, again and again until there is an answer.
 */
#include "tests/unit/broker/peer/kit.h"

#include "base/lock.h"
#include "broker/peer/control_codec.h"
#include "broker/peer/remote_channel.h"
#include "config/config.h"
#include "metadata/znodes.h"
#include "proto/gen/leader_and_isr_request.h"
#include "proto/gen/leader_and_isr_response.h"
#include "proto/gen/stop_replica_request.h"
#include "proto/gen/stop_replica_response.h"
#include "proto/gen/update_metadata_request.h"
#include "proto/gen/update_metadata_response.h"
#include "proto/kerr.h"

#define LAI(x)  struct leader_and_isr_request_leader_and_isr_##x
#define UM(x)   struct update_metadata_request_update_metadata_##x
#define STOP(x) struct stop_replica_request_stop_replica_##x
#define TOPICS  3
#define MEMORY  ((size_t)1 << 30)

static int32_t      ids[] = { 1, 2, 3 };
static const char  *names[TOPICS] = { "zebra", "ant", "cow" };

static struct uuid id_of(int i)
{
    return (struct uuid){ { 9, (uint8_t)(i + 1) } };
}

static struct control_request *request(int16_t api)
{
    struct control_request *req = calloc(1, sizeof *req);

    arena_init(&req->arena, MEMORY);
    req->api = api;
    return req;
}

/* Topic i has i + 1 partitions. */
static struct control_request *lai_request(void)
{
    struct control_request *req = request(API_LEADER_AND_ISR);
    struct leader_and_isr_request *r = arena_zalloc(&req->arena, sizeof *r);

    leader_and_isr_request_init(r);
    r->controller_id = 5;
    r->controller_epoch = 6;
    r->broker_epoch = 77;
    r->topic_states = arena_array(&req->arena, TOPICS, sizeof *r->topic_states);
    for (int i = 0; i < TOPICS; i++) {
        LAI(topic_state) *t = &r->topic_states[r->topic_states_n++];

        t->topic_name = str_of(names[i]);
        t->topic_id = id_of(i);
        t->partition_states = arena_array(&req->arena, TOPICS, sizeof *t->partition_states);
        for (int k = 0; k <= i; k++)
            t->partition_states[t->partition_states_n++] = (LAI(partition_state)){
                .partition_index = k, .controller_epoch = 6, .leader = 1, .leader_epoch = 10 + k, .isr = ids,
                .isr_n = 2, .partition_epoch = 20 + k, .replicas = ids, .replicas_n = 3, .adding_replicas = ids + 2,
                .adding_replicas_n = 1, .is_new = k == 0, .leader_recovery_state = 1 };
    }
    r->live_leaders = arena_zalloc(&req->arena, sizeof *r->live_leaders);
    r->live_leaders[0] = (LAI(live_leader)){ .broker_id = 1, .host_name = STR_LIT("h"), .port = 9 };
    r->live_leaders_n = 1;
    req->req.leader_and_isr = r;
    return req;
}

static struct control_request *um_request(void)
{
    struct control_request *req = request(API_UPDATE_METADATA);
    struct update_metadata_request *r = arena_zalloc(&req->arena, sizeof *r);
    UM(endpoint) *e = arena_array(&req->arena, 2, sizeof *e);

    update_metadata_request_init(r);
    r->controller_id = 5;
    r->controller_epoch = 6;
    r->broker_epoch = 77;
    e[0] = (UM(endpoint)){ .port = 9093, .host = STR_LIT("s"), .listener = STR_LIT("SSL"), .security_protocol = 1 };
    e[1] = (UM(endpoint)){ .port = 9092, .host = STR_LIT("p"), .listener = STR_LIT("INSIDE") };
    r->live_brokers = arena_zalloc(&req->arena, sizeof *r->live_brokers);
    r->live_brokers[0] = (UM(broker)){ .id = 1, .endpoints = e, .endpoints_n = 2, .rack = STR_LIT("r") };
    r->live_brokers_n = 1;
    r->topic_states = arena_array(&req->arena, TOPICS, sizeof *r->topic_states);
    for (int i = 0; i < TOPICS; i++) {
        UM(topic_state) *t = &r->topic_states[r->topic_states_n++];

        t->topic_name = str_of(names[i]);
        t->topic_id = id_of(i);
        t->partition_states = arena_array(&req->arena, TOPICS, sizeof *t->partition_states);
        for (int k = 0; k <= i; k++)
            t->partition_states[t->partition_states_n++] = (UM(partition_state)){
                .partition_index = k, .controller_epoch = 6, .leader = 1, .leader_epoch = 10 + k, .isr = ids,
                .isr_n = 2, .zk_version = 20 + k, .replicas = ids, .replicas_n = 3, .offline_replicas = ids,
                .offline_replicas_n = 1 };
    }
    req->req.update_metadata = r;
    return req;
}

/* The odd partitions are to be deleted. */
static struct control_request *stop_request(void)
{
    struct control_request *req = request(API_STOP_REPLICA);
    struct stop_replica_request *r = arena_zalloc(&req->arena, sizeof *r);

    stop_replica_request_init(r);
    r->controller_id = 5;
    r->controller_epoch = 6;
    r->broker_epoch = 77;
    r->topic_states = arena_array(&req->arena, TOPICS, sizeof *r->topic_states);
    for (int i = 0; i < TOPICS; i++) {
        STOP(topic_state) *t = &r->topic_states[r->topic_states_n++];

        t->topic_name = str_of(names[i]);
        t->partition_states = arena_array(&req->arena, TOPICS, sizeof *t->partition_states);
        for (int k = 0; k <= i; k++)
            t->partition_states[t->partition_states_n++] = (STOP(partition_state)){
                .partition_index = k, .leader_epoch = 10 + k, .delete_partition = k == 1 };
    }
    req->req.stop_replica = r;
    return req;
}

/* ---- encoding ---- */

static void lai_state_is(const LAI(partition_state) *s, int16_t v, int k)
{
    ck_assert_int_eq(s->partition_index, k);
    ck_assert_int_eq(s->leader_epoch, 10 + k);
    ck_assert_int_eq(s->partition_epoch, 20 + k);
    ck_assert_int_eq(s->isr_n, 2);
    ck_assert_int_eq(s->replicas_n, 3);
    ck_assert_int_eq(s->adding_replicas_n, v >= 3);
    ck_assert(s->is_new == (v >= 1 && k == 0));
    ck_assert_int_eq(s->leader_recovery_state, v >= 6);
}

START_TEST(leader_and_isr_in_every_version)
{
    int16_t v = (int16_t)_i;
    struct control_request *req = lai_request();
    struct leader_and_isr_request r;
    struct control_wire w;
    struct cursor c;
    int at = 0;

    ck_assert_int_eq(control_encode(req, v, &w), OK);
    ck_assert_int_eq(w.parts_n, 1);
    c = cur_ro(w.parts[0].p, w.parts[0].len);
    ck_assert_int_eq(leader_and_isr_request_read(&c, v, &req->arena, &r), OK);
    ck_assert_int_eq(r.controller_id, 5);
    ck_assert_int_eq(r.controller_epoch, 6);
    ck_assert_int_eq(r.broker_epoch, v >= 2 ? 77 : -1);
    ck_assert_int_eq(r.live_leaders_n, 1);
    ck_assert_int_eq(v < 2 ? r.ungrouped_partition_states_n : r.topic_states_n, v < 2 ? 6 : TOPICS);
    for (int i = 0; i < TOPICS; i++)
        for (int k = 0; k <= i; k++, at++) {
            lai_state_is(v < 2 ? &r.ungrouped_partition_states[at] : &r.topic_states[i].partition_states[k], v, k);
            ck_assert(str_is(v < 2 ? r.ungrouped_partition_states[at].topic_name : r.topic_states[i].topic_name,
                             names[i]));
            ck_assert(v < 5 || uuid_eq(r.topic_states[i].topic_id, id_of(i)));
        }
    ck_assert_int_eq(req->req.leader_and_isr->topic_states[0].partition_states[0].leader_recovery_state, 1);
    control_request_free(&req);
}
END_TEST

START_TEST(update_metadata_in_every_version)
{
    int16_t v = (int16_t)_i;
    struct control_request *req = um_request();
    struct update_metadata_request r;
    struct control_wire w;
    struct cursor c;
    int at = 0;

    ck_assert_int_eq(control_encode(req, v, &w), OK);
    c = cur_ro(w.parts[0].p, w.parts[0].len);
    ck_assert_int_eq(update_metadata_request_read(&c, v, &req->arena, &r), OK);
    ck_assert_int_eq(r.live_brokers_n, 1);
    if (v == 0) {
        ck_assert(str_is(r.live_brokers[0].v0_host, "p"));
        ck_assert_int_eq(r.live_brokers[0].v0_port, 9092);
    } else {
        ck_assert_int_eq(r.live_brokers[0].endpoints_n, 2);
        ck_assert(str_is(r.live_brokers[0].endpoints[1].listener, v >= 3 ? "INSIDE" : ""));
    }
    ck_assert_int_eq(v < 5 ? r.ungrouped_partition_states_n : r.topic_states_n, v < 5 ? 6 : TOPICS);
    for (int i = 0; i < TOPICS; i++)
        for (int k = 0; k <= i; k++, at++) {
            const UM(partition_state) *s = v < 5 ? &r.ungrouped_partition_states[at]
                                                 : &r.topic_states[i].partition_states[k];

            ck_assert_int_eq(s->partition_index, k);
            ck_assert_int_eq(s->zk_version, 20 + k);
            ck_assert_int_eq(s->offline_replicas_n, v >= 4);
            ck_assert(str_is(v < 5 ? s->topic_name : r.topic_states[i].topic_name, names[i]));
        }
    control_request_free(&req);
}
END_TEST

static int stop_count(const struct stop_replica_request *r, int16_t v)
{
    int n = v == 0 ? r->ungrouped_partitions_n : 0;

    for (int32_t i = 0; i < r->topics_n; i++)
        n += r->topics[i].partition_indexes_n;
    for (int32_t i = 0; i < r->topic_states_n; i++)
        n += r->topic_states[i].partition_states_n;
    return n;
}

START_TEST(stop_replica_in_every_version)
{
    int16_t v = (int16_t)_i;
    struct control_request *req = stop_request();
    struct stop_replica_request r;
    struct control_wire w;

    ck_assert_int_eq(control_encode(req, v, &w), OK);
    ck_assert_int_eq(w.parts_n, v < 3 ? 2 : 1);
    for (int i = 0; i < w.parts_n; i++) {
        struct cursor c = cur_ro(w.parts[i].p, w.parts[i].len);

        ck_assert_int_eq(stop_replica_request_read(&c, v, &req->arena, &r), OK);
        ck_assert(v >= 3 || r.delete_partitions == (i == 0));
        ck_assert_int_eq(stop_count(&r, v), v >= 3 ? 6 : i == 0 ? 2 : 4);
        if (v >= 3)
            ck_assert_int_eq(r.topic_states[2].partition_states[1].leader_epoch, 11);
    }
    control_request_free(&req);
}
END_TEST

/* ---- answers ---- */

/* The partitions in an order that nobody asked for; an answer for each, its error 100 * topic + partition. */
START_TEST(answers_of_leader_and_isr)
{
    int16_t v = (int16_t)_i;
    struct control_request *req = lai_request();
    struct leader_and_isr_response_leader_and_isr_partition_error flat[6];
    struct leader_and_isr_response_leader_and_isr_topic_error topics[TOPICS];
    struct leader_and_isr_response r;
    uint8_t bytes[1000];
    struct chain ch;
    int n = 0;

    leader_and_isr_response_init(&r);
    memset(topics, 0, sizeof topics);
    memset(flat, 0, sizeof flat);
    for (int k = 2; k >= 0; k--)
        for (int i = 2; i >= k; i--, n++) {
            flat[n].topic_name = str_of(names[i]);
            flat[n].partition_index = k;
            flat[n].error_code = (int16_t)(10 * i + k);
        }
    r.partition_errors = flat;
    r.partition_errors_n = v < 5 ? 6 : 0;
    for (int i = 0; i < TOPICS && v >= 5; i++) {
        topics[i].topic_id = id_of(i);
        topics[i].partition_errors = arena_array(&req->arena, TOPICS, sizeof *topics[i].partition_errors);
        for (int k = i; k >= 0; k--)
            topics[i].partition_errors[topics[i].partition_errors_n++] =
                (struct leader_and_isr_response_leader_and_isr_partition_error){
                    .partition_index = k, .error_code = (int16_t)(10 * i + k) };
    }
    r.topics = topics;
    r.topics_n = v < 5 ? 0 : TOPICS;
    chain_init(&ch, &req->arena);
    ck_assert_int_eq(leader_and_isr_response_write(&ch, &r, v), OK);
    ck_assert_int_eq(chain_flatten(&ch, bytes, ch.len), OK);
    ck_assert_int_eq(control_decode(req, v, (struct bytes){ bytes, ch.len }), OK);
    memset(bytes, 0xff, sizeof bytes);                              /* the answer must not need them any more */
    for (size_t cut = 0; cut < ch.len; cut++)
        ck_assert_int_ne(control_decode(req, v, (struct bytes){ bytes, cut }), OK);
    ck_assert_int_eq(req->resp.leader_and_isr->topics_n, TOPICS);
    for (int i = 0; i < TOPICS; i++) {
        ck_assert(uuid_eq(req->resp.leader_and_isr->topics[i].topic_id, id_of(i)));
        ck_assert_int_eq(req->resp.leader_and_isr->topics[i].partition_errors_n, i + 1);
        for (int k = 0; k <= i; k++)
            ck_assert_int_eq(req->resp.leader_and_isr->topics[i].partition_errors[k].error_code,
                             10 * i + req->resp.leader_and_isr->topics[i].partition_errors[k].partition_index);
    }
    chain_fini(&ch);
    control_request_free(&req);
}
END_TEST

START_TEST(answers_of_two_parts_are_one)
{
    struct control_request *req = stop_request();
    struct stop_replica_response_stop_replica_partition_error e = { .topic_name = STR_LIT("ant") };
    struct stop_replica_response r;
    uint8_t bytes[100];
    struct chain ch;

    stop_replica_response_init(&r);
    r.partition_errors = &e;
    r.partition_errors_n = 1;
    for (int i = 0; i < 2; i++) {
        e.partition_index = i;
        r.error_code = i == 1 ? KERR_STALE_CONTROLLER_EPOCH : KERR_NONE;
        chain_init(&ch, &req->arena);
        ck_assert_int_eq(stop_replica_response_write(&ch, &r, 1), OK);
        ck_assert_int_eq(chain_flatten(&ch, bytes, ch.len), OK);
        ck_assert_int_eq(control_decode(req, 1, (struct bytes){ bytes, ch.len }), OK);
        memset(bytes, 0xff, sizeof bytes);
        chain_fini(&ch);
    }
    ck_assert_int_eq(req->resp.stop_replica->error_code, KERR_STALE_CONTROLLER_EPOCH);
    ck_assert_int_eq(req->resp.stop_replica->partition_errors_n, 2);
    ck_assert_int_eq(req->resp.stop_replica->partition_errors[1].partition_index, 1);
    ck_assert(str_is(req->resp.stop_replica->partition_errors[0].topic_name, "ant"));
    control_request_free(&req);
}
END_TEST

/* ---- the channel ---- */

static struct fake_listener   listener;
static struct remote_channels common;
static struct config         *cfg;
static struct broker_channel *channel;
static struct lock            lock;
static struct cond            cond;
static int                    done_n, done_rc[64];              /* under lock */
static int32_t                done_order[64];
static atomic_int             downs;
static _Atomic int            trouble;                          /* an enum fake_deed for the next request */
static _Atomic int            always;                           /* the same for every one; FAKE_ANSWER: none */
static _Atomic int            last_version;

static enum fake_deed obey(struct fake_listener *f, struct fake_request *r)
{
    struct update_metadata_response out;

    (void)f;
    ck_assert_int_eq(r->api, API_UPDATE_METADATA);
    ck_assert_str_eq(r->client_id, "8");
    atomic_store(&last_version, r->version);
    update_metadata_response_init(&out);
    ck_assert_int_eq(update_metadata_response_write(r->out, &out, r->version), OK);
    if (atomic_load(&always) != FAKE_ANSWER)
        return (enum fake_deed)atomic_load(&always);
    return (enum fake_deed)atomic_exchange(&trouble, FAKE_ANSWER);
}

static void on_done(struct control_request *req)
{
    lock_take(&lock);
    done_rc[done_n] = req->rc;
    done_order[done_n++] = req->broker_id;
    cond_broadcast(&cond);
    lock_drop(&lock);
    control_request_free(&req);
}

static void on_down(void *arg, int32_t id, int64_t epoch)
{
    (void)arg;
    ck_assert_int_eq(id, 3);
    ck_assert_int_eq(epoch, 99);
    atomic_fetch_add(&downs, 1);
}

static void setup_with(const char *ibp, const char *listener_name, int *rc)
{
    struct config_input in = { .file = NULL };
    struct config_problems problems;
    struct znode_endpoint e = { .listener = str_of(listener_name), .host = STR_LIT("127.0.0.1"),
                                .protocol = STR_LIT("PLAINTEXT") };
    struct znode_broker info = { .endpoints = &e, .endpoints_n = 1 };

    ck_assert_int_eq(config_load(&cfg, &in, &problems), OK);
    config_problems_fini(&problems);
    lock_init(&lock, LOCK_log);
    cond_init(&cond);
    done_n = 0;
    atomic_store(&downs, 0);
    atomic_store(&trouble, FAKE_ANSWER);
    atomic_store(&always, FAKE_ANSWER);
    listener = (struct fake_listener){ .script = obey };
    fake_listen(&listener);
    e.port = listener.port;
    common = (struct remote_channels){ .cfg = cfg, .broker_id = 8, .down = on_down };
    ibp_init(&common.ibp, ibp);
    *rc = remote_channel_open(&common, 3, 99, &info, &channel);
}

static void setup(void)
{
    int rc;

    setup_with("3.9", "PLAINTEXT", &rc);
    ck_assert_int_eq(rc, OK);
}

static void teardown(void)
{
    if (channel != NULL)
        channel->close(channel);
    fake_die(&listener);
    config_unref(&cfg);
}

static void send_one(int32_t number)
{
    struct control_request *req = um_request();

    req->broker_id = number;
    req->done = on_done;
    channel->send(channel, req);
}

static void wait_done(int n)
{
    lock_take(&lock);
    while (done_n < n)
        ck_assert(cond_wait_until(&cond, &lock, mono_ns() + 90000000000));
    lock_drop(&lock);
}

START_TEST(requests_are_answered_in_order)
{
    for (int i = 0; i < 50; i++)
        send_one(i);
    wait_done(50);
    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(done_order[i], i);
        ck_assert_int_eq(done_rc[i], OK);
    }
    ck_assert_int_eq(atomic_load(&listener.connections), 1);
    ck_assert_int_eq(atomic_load(&last_version), 8);
}
END_TEST

START_TEST(what_fails_is_sent_again)
{
    static const int deeds[] = { FAKE_RESET, FAKE_CLOSE, FAKE_HALF, FAKE_HUGE, FAKE_OTHER, FAKE_MORE };

    for (int i = 0; i < 6; i++) {
        atomic_store(&trouble, deeds[i]);
        send_one(i);
        wait_done(i + 1);
        ck_assert_int_eq(done_rc[i], OK);
        ck_assert_int_eq(atomic_load(&listener.requests), 2 * (i + 1));
    }
    ck_assert_int_eq(atomic_load(&downs), 0);                       /* it listened all the time */
}
END_TEST

/* The end of a process is seen without a request, and told once; a request waits until the broker is back. */
START_TEST(the_end_of_a_process_is_told)
{
    WAIT_FOR(atomic_load(&listener.connections) == 1);              /* without a request */
    send_one(0);
    wait_done(1);
    fake_die(&listener);
    WAIT_FOR(atomic_load(&downs) == 1);
    send_one(1);
    poll(NULL, 0, 250);                                             /* a few attempts: they tell nothing new */
    ck_assert_int_eq(atomic_load(&downs), 1);
    fake_listen(&listener);
    wait_done(2);
    ck_assert_int_eq(done_rc[1], OK);
    fake_die(&listener);
    WAIT_FOR(atomic_load(&downs) == 2);
    fake_listen(&listener);
}
END_TEST

START_TEST(an_idle_connection_that_is_closed_is_made_again)
{
    atomic_store(&trouble, FAKE_CLOSE_AFTER);
    send_one(0);
    wait_done(1);
    WAIT_FOR(atomic_load(&listener.connections) == 2);
    ck_assert_int_eq(atomic_load(&downs), 0);
}
END_TEST

/* Something in between takes connections, and closes them: it is not asked a thousand times a second. */
START_TEST(connections_that_are_closed_as_soon_as_they_are_made)
{
    int64_t began_ms = mono_ms();

    atomic_store(&always, FAKE_RESET);
    send_one(0);
    WAIT_FOR(atomic_load(&listener.connections) >= 12);
    ck_assert_int_ge(mono_ms() - began_ms, 200);
    atomic_store(&always, FAKE_ANSWER);
    wait_done(1);
    ck_assert_int_eq(done_rc[0], OK);
    ck_assert_int_eq(atomic_load(&downs), 0);
}
END_TEST

START_TEST(closing_ends_what_waits)
{
    atomic_store(&trouble, FAKE_SILENT);
    for (int i = 0; i < 5; i++)
        send_one(i);
    WAIT_FOR(atomic_load(&listener.requests) == 1);
    channel->close(channel);
    channel = NULL;
    ck_assert_int_eq(done_n, 5);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(done_rc[i], ERR_CLOSED);
}
END_TEST

/* Never reached: it may still be starting, but not for long. */
START_TEST(a_broker_that_does_not_listen_yet)
{
    int rc;

    setup_with("3.9", "PLAINTEXT", &rc);
    channel->close(channel);
    fake_die(&listener);
    struct znode_endpoint e = { .listener = STR_LIT("PLAINTEXT"), .host = STR_LIT("127.0.0.1"),
                                .protocol = STR_LIT("PLAINTEXT"), .port = listener.port };
    struct znode_broker info = { .endpoints = &e, .endpoints_n = 1 };
    ck_assert_int_eq(remote_channel_open(&common, 3, 99, &info, &channel), OK);
    send_one(0);
    WAIT_FOR(atomic_load(&downs) == 1);
    fake_listen(&listener);
    wait_done(1);
    teardown();
}
END_TEST

START_TEST(the_protocol_version_decides)
{
    static const struct { const char *ibp; int version; } cells[] = {
        { "0.8.2", 0 }, { "0.9.0", 1 }, { "0.10.2", 3 }, { "2.2", 5 }, { "2.7", 6 }, { "2.8", 7 }, { "3.3", 7 },
        { "3.4", 8 },
    };

    for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++) {
        int rc;

        setup_with(cells[i].ibp, "PLAINTEXT", &rc);
        ck_assert_int_eq(rc, OK);
        send_one(0);
        wait_done(1);
        ck_assert_int_eq(done_rc[0], OK);
        ck_assert_int_eq(atomic_load(&last_version), cells[i].version);
        teardown();
    }
}
END_TEST

START_TEST(a_broker_without_our_listener)
{
    int rc;

    setup_with("3.9", "OTHER", &rc);
    ck_assert_int_eq(rc, ERR_NOENT);
    ck_assert_ptr_null(channel);
    teardown();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/peer/channel");
    TCase *codec = tcase_create("codec"), *t = tcase_create("channel"), *own = tcase_create("own");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_loop_test(codec, leader_and_isr_in_every_version, 0, 8);
    tcase_add_loop_test(codec, update_metadata_in_every_version, 0, 9);
    tcase_add_loop_test(codec, stop_replica_in_every_version, 0, 5);
    tcase_add_loop_test(codec, answers_of_leader_and_isr, 0, 8);
    tcase_add_test(codec, answers_of_two_parts_are_one);
    suite_add_tcase(s, codec);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, requests_are_answered_in_order);
    tcase_add_test(t, what_fails_is_sent_again);
    tcase_add_test(t, the_end_of_a_process_is_told);
    tcase_add_test(t, an_idle_connection_that_is_closed_is_made_again);
    tcase_add_test(t, closing_ends_what_waits);
    tcase_add_test(t, connections_that_are_closed_as_soon_as_they_are_made);
    suite_add_tcase(s, t);
    tcase_set_timeout(own, 120);
    tcase_add_test(own, a_broker_that_does_not_listen_yet);
    tcase_add_test(own, the_protocol_version_decides);
    tcase_add_test(own, a_broker_without_our_listener);
    suite_add_tcase(s, own);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
