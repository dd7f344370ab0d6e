/* tests/unit/broker/controller/cluster_kit.h - a controller with several brokers, which are records of what they were
 * told. Broker 5 is the controller's own (kit.h), the others are registered and reached by fake channels. Everything is
 * called from the test's thread.
 */
#ifndef TESTS_UNIT_BROKER_CONTROLLER_CLUSTER_KIT_H
#define TESTS_UNIT_BROKER_CONTROLLER_CLUSTER_KIT_H

#include "tests/unit/broker/kit.h"

#include "broker/controller/ask.h"
#include "proto/gen/allocate_producer_ids_request.h"
#include "proto/gen/allocate_producer_ids_response.h"
#include "proto/gen/alter_partition_request.h"
#include "proto/gen/alter_partition_response.h"
#include "proto/gen/controlled_shutdown_request.h"
#include "proto/gen/controlled_shutdown_response.h"
#include "proto/gen/elect_leaders_request.h"
#include "proto/gen/elect_leaders_response.h"

#define PEERS      4                    /* brokers 6 to 9 */
#define VIEW_MAX   64                   /* partitions of topic "t" that are looked at */
#define IN_ISR_MAX 8

struct view {                           /* of one partition of topic "t", as a broker was told */
    int32_t leader, epoch, isr[IN_ISR_MAX], isr_n;
};

struct peer_fake {
    struct broker_channel base;
    struct cluster       *cl;
    int32_t               id;
    int64_t               epoch;
    struct control_request *held, **held_tail;
};

struct peer_seen {                      /* stays when the channel goes */
    struct peer_fake *channel;          /* NULL: none is open */
    int               opened, closed;
    bool              holds;            /* answers nothing */
    int16_t           lai_error;        /* for every partition of LeaderAndIsr */
    int16_t           last_words;       /* not 0: what is held is answered so when the channel closes */
    struct view       lai[VIEW_MAX], um[VIEW_MAX];
    int32_t           offline[VIEW_MAX];        /* of the last UpdateMetadata: a digit each */
    bool              gone[VIEW_MAX];           /* UpdateMetadata has ever said that it is being deleted */
    bool              among[VIEW_MAX];          /* the replicas that it was told of last are its own, too */
    bool              stopped[VIEW_MAX];
    int               stops, deletes;           /* requests; partitions */
    int32_t           brokers[16], brokers_n;   /* of the last UpdateMetadata */
    size_t            lai_partitions, um_partitions;
    size_t            led;                      /* how often it was told that it leads t-0 */
};

struct cluster {
    struct kit       k;
    struct lock      lock;
    /* under lock: the controller's thread writes */
    struct cond      cond;
    struct peer_seen seen[PEERS];
};

static inline void view_set(struct view *v, int32_t leader, int32_t epoch, const int32_t *isr, int32_t n)
{
    v->leader = leader;
    v->epoch = epoch;
    v->isr_n = n < IN_ISR_MAX ? n : IN_ISR_MAX;
    memcpy(v->isr, isr, (size_t)v->isr_n * sizeof *isr);
}

static inline void peer_lai(struct peer_seen *s, struct control_request *req)
{
    const struct leader_and_isr_request *r = req->req.leader_and_isr;
    struct leader_and_isr_response *resp = arena_zalloc(&req->arena, sizeof *resp);

    leader_and_isr_response_init(resp);
    resp->topics = arena_array(&req->arena, (size_t)r->topic_states_n + 1, sizeof *resp->topics);
    resp->topics_n = r->topic_states_n;
    for (int32_t i = 0; i < r->topic_states_n; i++) {
        int32_t n = r->topic_states[i].partition_states_n;

        resp->topics[i].topic_id = r->topic_states[i].topic_id;
        resp->topics[i].partition_errors = arena_array(&req->arena, (size_t)n + 1,
                                                       sizeof *resp->topics[i].partition_errors);
        resp->topics[i].partition_errors_n = n;
        s->lai_partitions += (size_t)n;
        for (int32_t k = 0; k < n; k++) {
            int32_t index = r->topic_states[i].partition_states[k].partition_index;

            resp->topics[i].partition_errors[k].partition_index = index;
            resp->topics[i].partition_errors[k].error_code = s->lai_error;
            if (!str_is(r->topic_states[i].topic_name, "t") || index >= VIEW_MAX)
                continue;
            view_set(&s->lai[index], r->topic_states[i].partition_states[k].leader,
                     r->topic_states[i].partition_states[k].leader_epoch, r->topic_states[i].partition_states[k].isr,
                     r->topic_states[i].partition_states[k].isr_n);
            s->stopped[index] = s->among[index] = false;
            for (int32_t x = 0; x < r->topic_states[i].partition_states[k].replicas_n; x++)
                s->among[index] |= r->topic_states[i].partition_states[k].replicas[x] == s->channel->id;
            s->led += index == 0 && s->lai[0].leader == s->channel->id;
        }
    }
    req->resp.leader_and_isr = resp;
}

static inline int32_t peer_offline(const struct update_metadata_request_update_metadata_partition_state *p)
{
    int32_t digits = 0;

    for (int32_t i = 0; i < p->offline_replicas_n; i++)
        digits = digits * 10 + p->offline_replicas[i];
    return digits;
}

static inline void peer_um(struct peer_seen *s, struct control_request *req)
{
    const struct update_metadata_request *r = req->req.update_metadata;

    s->brokers_n = 0;
    for (int32_t i = 0; i < r->live_brokers_n && i < 16; i++)
        s->brokers[s->brokers_n++] = r->live_brokers[i].id;
    for (int32_t i = 0; i < r->topic_states_n; i++) {
        s->um_partitions += (size_t)r->topic_states[i].partition_states_n;
        for (int32_t k = 0; k < r->topic_states[i].partition_states_n; k++) {
            int32_t index = r->topic_states[i].partition_states[k].partition_index;

            if (str_is(r->topic_states[i].topic_name, "t") && index < VIEW_MAX)
                view_set(&s->um[index], r->topic_states[i].partition_states[k].leader,
                         r->topic_states[i].partition_states[k].leader_epoch,
                         r->topic_states[i].partition_states[k].isr, r->topic_states[i].partition_states[k].isr_n);
            if (str_is(r->topic_states[i].topic_name, "t") && index < VIEW_MAX)
                s->gone[index] |= r->topic_states[i].partition_states[k].leader == -2;
            if (str_is(r->topic_states[i].topic_name, "t") && index < VIEW_MAX)
                s->offline[index] = peer_offline(&r->topic_states[i].partition_states[k]);
        }
    }
}

static inline void peer_stop(struct peer_seen *s, struct control_request *req)
{
    const struct stop_replica_request *r = req->req.stop_replica;
    struct stop_replica_response *resp = arena_zalloc(&req->arena, sizeof *resp);
    size_t n = 0;

    for (int32_t i = 0; i < r->topic_states_n; i++)
        n += (size_t)r->topic_states[i].partition_states_n;
    resp->partition_errors = arena_array(&req->arena, n + 1, sizeof *resp->partition_errors);
    for (int32_t i = 0; i < r->topic_states_n; i++)
        for (int32_t k = 0; k < r->topic_states[i].partition_states_n; k++) {
            int32_t index = r->topic_states[i].partition_states[k].partition_index;

            resp->partition_errors[resp->partition_errors_n++] =
                (STOP_ERROR){ .topic_name = r->topic_states[i].topic_name, .partition_index = index };
            s->deletes += r->topic_states[i].partition_states[k].delete_partition;
            if (str_is(r->topic_states[i].topic_name, "t") && index < VIEW_MAX)
                s->stopped[index] = true;
        }
    req->resp.stop_replica = resp;
    s->stops++;
}

static inline void peer_answer(struct peer_seen *s, struct control_request *req)
{
    if (req->api == API_LEADER_AND_ISR)
        peer_lai(s, req);
    else if (req->api == API_STOP_REPLICA)
        peer_stop(s, req);
    else
        peer_um(s, req);
    req->rc = OK;
}

static inline void peer_send(struct broker_channel *ch, struct control_request *req)
{
    struct peer_fake *pf = (struct peer_fake *)ch;
    struct peer_seen *s = &pf->cl->seen[pf->id - BROKER - 1];
    bool holds;

    lock_take(&pf->cl->lock);
    holds = s->holds;
    req->next = NULL;
    if (holds) {
        *pf->held_tail = req;
        pf->held_tail = &req->next;
    } else {
        peer_answer(s, req);
    }
    cond_broadcast(&pf->cl->cond);
    lock_drop(&pf->cl->lock);
    if (!holds)
        req->done(req);
}

static inline struct control_request *peer_take_held(struct peer_fake *pf)
{
    struct control_request *req = pf->held;

    pf->held = NULL;
    pf->held_tail = &pf->held;
    return req;
}

static inline void peer_close(struct broker_channel *ch)
{
    struct peer_fake *pf = (struct peer_fake *)ch;
    struct peer_seen *s = &pf->cl->seen[pf->id - BROKER - 1];
    struct control_request *req, *next;
    int16_t lai_error;

    lock_take(&pf->cl->lock);
    req = peer_take_held(pf);
    lai_error = s->lai_error;
    s->lai_error = s->last_words;
    for (struct control_request *r = req; r != NULL; r = r->next) {
        r->rc = ERR_CLOSED;
        if (s->last_words != KERR_NONE)
            peer_answer(s, r);
    }
    s->lai_error = lai_error;
    s->channel = NULL;
    s->closed++;
    lock_drop(&pf->cl->lock);
    for (; req != NULL; req = next) {
        next = req->next;
        req->done(req);
    }
    free(pf);
}

static inline int peer_open(void *arg, int32_t id, int64_t epoch, const struct znode_broker *info,
                            struct broker_channel **out)
{
    struct cluster *cl = arg;
    struct peer_fake *pf;

    ck_assert_uint_gt(info->endpoints_n, 0);
    if (id <= BROKER || id > BROKER + PEERS)
        return ERR_INVALID;
    pf = calloc(1, sizeof *pf);
    *pf = (struct peer_fake){ .base = { peer_send, peer_close }, .cl = cl, .id = id, .epoch = epoch };
    pf->held_tail = &pf->held;
    lock_take(&cl->lock);
    ck_assert_ptr_null(cl->seen[id - BROKER - 1].channel);
    cl->seen[id - BROKER - 1].channel = pf;
    cl->seen[id - BROKER - 1].opened++;
    lock_drop(&cl->lock);
    *out = &pf->base;
    return OK;
}

/* ---- the store, by hand ---- */

static inline int cluster_write(struct cluster *cl, enum store_kind kind, const char *path, const char *text)
{
    struct store_call *call = store_call_new(NULL, NULL);
    struct bytes data = { (const uint8_t *)text, text != NULL ? strlen(text) : 0 };
    int rc;

    if (kind == STORE_CREATE)
        store_create(call, path, data, 0);
    else if (kind == STORE_SET)
        store_set(call, path, data, STORE_ANY_VERSION);
    else
        store_delete(call, path, STORE_ANY_VERSION);
    rc = store_run(cl->k.store, call);
    store_call_free(&call);
    return rc;
}

static inline char *peer_node(int32_t id, int32_t port)
{
    struct znode_endpoint e = { STR_LIT("PLAINTEXT"), STR_LIT("127.0.0.1"), STR_LIT("PLAINTEXT"), port };
    struct znode_broker b = { .endpoints = &e, .endpoints_n = 1, .timestamp_ms = id };

    return znode_broker_write(&b);
}

static inline void peer_register(struct cluster *cl, int32_t id)
{
    char *text = peer_node(id, 9090 + id);

    ck_assert_int_eq(cluster_write(cl, STORE_CREATE, zpath_broker(id).z, text), OK);
    free(text);
}

static inline void peer_vanish(struct cluster *cl, int32_t id)
{
    ck_assert_int_eq(cluster_write(cl, STORE_DELETE, zpath_broker(id).z, NULL), OK);
}

static inline int64_t peer_epoch(struct cluster *cl, int32_t id)
{
    struct store_call *call = store_call_new(NULL, NULL);
    int64_t czxid;

    store_exists(call, zpath_broker(id).z, 0);
    czxid = store_run(cl->k.store, call) == OK ? call->ops[0].stat.czxid : -1;
    store_call_free(&call);
    return czxid;
}

/* What stands in the state node. */
static inline struct view cluster_state(struct cluster *cl, const char *topic, int32_t index, int32_t *version)
{
    struct store_call *call = store_call_new(NULL, NULL);
    struct view v = { .leader = -9 };
    struct znode_state s;

    store_get(call, zpath_state(str_of(topic), index).z, 0);
    if (store_run(cl->k.store, call) == OK && znode_state_read(call->ops[0].value, &call->arena, &s) == OK) {
        view_set(&v, s.leader, s.leader_epoch, s.isr.v, s.isr.n);
        if (version != NULL)
            *version = call->ops[0].stat.version;
    }
    store_call_free(&call);
    return v;
}

/* ---- asks, waited for ---- */

struct waited_ask {
    struct controller_ask ask;
    struct arena          arena;
    struct lock           lock;
    /* under lock */
    struct cond           cond;
    bool                  done;
};

static inline void waited_done(struct controller_ask *ask)
{
    struct waited_ask *w = ask->arg;

    lock_take(&w->lock);
    w->done = true;
    cond_signal(&w->cond);
    lock_drop(&w->lock);
}

static inline void ask_and_wait(struct cluster *cl, struct waited_ask *w, enum controller_ask_kind kind,
                                int16_t version, const void *req, void *resp)
{
    arena_init(&w->arena, (size_t)64 << 20);
    lock_init(&w->lock, LOCK_log);
    cond_init(&w->cond);
    w->done = false;
    w->ask = (struct controller_ask){ .kind = kind, .version = version, .req = req, .resp = resp, .arena = &w->arena,
                                      .done = waited_done, .arg = w };
    controller_ask(cl->k.ctl, &w->ask);
    lock_take(&w->lock);
    while (!w->done)
        cond_wait(&w->cond, &w->lock);
    lock_drop(&w->lock);
    cond_fini(&w->cond);
    lock_fini(&w->lock);
}

/* Everything that the store has told so far has been done, and what followed from that, too. */
static inline void cluster_settle(struct cluster *cl)
{
    for (int i = 0; i < 4; i++) {
        struct allocate_producer_ids_request req;
        struct allocate_producer_ids_response resp;
        struct waited_ask w;

        allocate_producer_ids_request_init(&req);
        allocate_producer_ids_response_init(&resp);
        req.broker_id = 12345;
        store_barrier(cl->k.store);
        ask_and_wait(cl, &w, ASK_PRODUCER_IDS, 0, &req, &resp);
        arena_fini(&w.arena);
    }
}

static inline void cluster_up(struct cluster *cl, const char *override)
{
    cl->k.open_channel = peer_open;
    cl->k.open_channel_arg = cl;
    kit_up(&cl->k, override);
}

static inline void cluster_new(struct cluster *cl)
{
    memset(cl, 0, sizeof *cl);
    lock_init(&cl->lock, LOCK_log);
    cond_init(&cl->cond);
    kit_new(&cl->k);
}

static inline void cluster_end(struct cluster *cl)
{
    kit_end(&cl->k);
    cond_fini(&cl->cond);
    lock_fini(&cl->lock);
}

#endif
