/* broker/controller/orders.c - a queue, its thread, and what is done for each kind of request. */
#include "broker/controller/orders.h"

#include "base/lock.h"
#include "base/log.h"
#include "broker/cluster/doubts.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/cluster/standing.h"
#include "broker/cluster/topic_configs.h"
#include "broker/group/expiry.h"
#include "broker/replica/replicas.h"
#include "metadata/topic_name.h"
#include "proto/gen/leader_and_isr_request.h"
#include "proto/gen/leader_and_isr_response.h"
#include "proto/gen/stop_replica_request.h"
#include "proto/gen/stop_replica_response.h"
#include "proto/gen/update_metadata_request.h"
#include "proto/kerr.h"

#include <stdlib.h>

#define LEADER_GONE (-2)                        /* in UpdateMetadata: the topic is being deleted */

struct orders {
    struct orders_opts       opts;
    pthread_t                thread;
    bool                     joined;            /* orders_stop() and orders_free(): one thread */
    /* under lock */
    struct lock              lock;
    struct cond              come, gone;        /* something to do; something has been done */
    struct control_request  *head, **tail;
    const void              *doing;             /* whose request is being done */
    bool                     closing, stopped;
};

/* ---- LeaderAndIsr ---- */

static int load_configs(struct orders *o, struct control_request *req)
{
    const struct leader_and_isr_request *r = req->req.leader_and_isr;
    struct str *names = arena_array(&req->arena, (size_t)r->topic_states_n + 1, sizeof *names);
    size_t n = 0;

    if (names == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < r->topic_states_n; i++) {
        char why[256];

        if (topic_name_fault(r->topic_states[i].topic_name, why, sizeof why) != NULL)
            continue;                           /* the replica manager refuses it */
        names[n] = r->topic_states[i].topic_name;
        if (r->topic_states[i].partition_states_n > 0 && r->topic_states[i].partition_states[0].is_new)
            topic_configs_forget(o->opts.topic_configs, names[n]);      /* those of a deleted topic of that name */
        n++;
    }
    return topic_configs_load(o->opts.topic_configs, names, n);
}

static int refuse_leader_and_isr(struct control_request *req, int16_t kerr)
{
    const struct leader_and_isr_request *r = req->req.leader_and_isr;
    struct leader_and_isr_response *resp = req->resp.leader_and_isr;

    resp->error_code = kerr;
    resp->topics = arena_array(&req->arena, (size_t)r->topic_states_n + 1, sizeof *resp->topics);
    if (resp->topics == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < r->topic_states_n; i++) {
        struct leader_and_isr_response_leader_and_isr_topic_error *t = &resp->topics[resp->topics_n++];
        int32_t n = r->topic_states[i].partition_states_n;

        leader_and_isr_response_leader_and_isr_topic_error_init(t);
        t->topic_id = r->topic_states[i].topic_id;
        t->partition_errors = arena_array(&req->arena, (size_t)n + 1, sizeof *t->partition_errors);
        if (t->partition_errors == NULL)
            return ERR_NOMEM;
        for (t->partition_errors_n = 0; t->partition_errors_n < n; t->partition_errors_n++) {
            struct leader_and_isr_response_leader_and_isr_partition_error *e =
                &t->partition_errors[t->partition_errors_n];

            leader_and_isr_response_leader_and_isr_partition_error_init(e);
            e->topic_name = r->topic_states[i].topic_name;
            e->partition_index = r->topic_states[i].partition_states[t->partition_errors_n].partition_index;
            e->error_code = kerr;
        }
    }
    return OK;
}

static int do_leader_and_isr(struct orders *o, struct control_request *req, int16_t stale)
{
    req->resp.leader_and_isr = arena_zalloc(&req->arena, sizeof *req->resp.leader_and_isr);
    if (req->resp.leader_and_isr == NULL)
        return ERR_NOMEM;
    leader_and_isr_response_init(req->resp.leader_and_isr);
    if (stale != KERR_NONE)
        return refuse_leader_and_isr(req, stale);
    TRY(load_configs(o, req));
    return replicas_leader_and_isr(o->opts.replicas, req->req.leader_and_isr, req->resp.leader_and_isr, &req->arena);
}

/* ---- UpdateMetadata ---- */

/* The groups forget the offsets of partitions that are deleted, and the settings of their topics go. StopReplica does
 * not tell a topic that is deleted from a partition that has moved away and leaves others of its topic here. */
static void forget_deleted(struct orders *o, struct control_request *req)
{
    const struct update_metadata_request *r = req->req.update_metadata;
    struct offset_key *v;
    size_t n = 0;

    for (int32_t i = 0; i < r->topic_states_n; i++) {
        size_t before = n;

        for (int32_t k = 0; k < r->topic_states[i].partition_states_n; k++)
            n += r->topic_states[i].partition_states[k].leader == LEADER_GONE;
        if (n > before)
            topic_configs_forget(o->opts.topic_configs, r->topic_states[i].topic_name);
    }
    if (n == 0 || o->opts.groups == NULL)
        return;
    v = arena_array(&req->arena, n, sizeof *v);
    if (v == NULL) {
        log_error("consumer groups: out of memory: offsets of deleted topics stay until they expire");
        return;
    }
    n = 0;
    for (int32_t i = 0; i < r->topic_states_n; i++)
        for (int32_t k = 0; k < r->topic_states[i].partition_states_n; k++)
            if (r->topic_states[i].partition_states[k].leader == LEADER_GONE)
                v[n++] = (struct offset_key){ r->topic_states[i].topic_name,
                                              r->topic_states[i].partition_states[k].partition_index };
    groups_forget(o->opts.groups, v, n);
}

static int do_update_metadata(struct orders *o, struct control_request *req, int16_t stale)
{
    req->resp.update_metadata = stale;
    if (stale != KERR_NONE)
        return OK;
    TRY(metadata_cache_update(o->opts.metacache, req->req.update_metadata));
    doubts_changed(o->opts.doubts);
    forget_deleted(o, req);
    return OK;
}

/* ---- StopReplica ---- */

static int do_stop_replica(struct orders *o, struct control_request *req, int16_t stale)
{
    req->resp.stop_replica = arena_zalloc(&req->arena, sizeof *req->resp.stop_replica);
    if (req->resp.stop_replica == NULL)
        return ERR_NOMEM;
    stop_replica_response_init(req->resp.stop_replica);
    req->resp.stop_replica->error_code = stale;
    if (stale != KERR_NONE)
        return OK;
    return replicas_stop_replica(o->opts.replicas, req->req.stop_replica, req->resp.stop_replica, &req->arena);
}

/* ---- who may order ---- */

struct sender {
    int32_t id, epoch;
    int64_t broker_epoch;
};

static struct sender lai_sender(const struct control_request *req)
{
    const struct leader_and_isr_request *r = req->req.leader_and_isr;

    return (struct sender){ r->controller_id, r->controller_epoch, r->broker_epoch };
}

static struct sender um_sender(const struct control_request *req)
{
    const struct update_metadata_request *r = req->req.update_metadata;

    return (struct sender){ r->controller_id, r->controller_epoch, r->broker_epoch };
}

static struct sender stop_sender(const struct control_request *req)
{
    const struct stop_replica_request *r = req->req.stop_replica;

    return (struct sender){ r->controller_id, r->controller_epoch, r->broker_epoch };
}

static const struct order_def {
    int16_t       api;
    struct sender (*sender)(const struct control_request *req);
    int           (*run)(struct orders *o, struct control_request *req, int16_t stale);
} defs[] = {
    { API_LEADER_AND_ISR, lai_sender, do_leader_and_isr },
    { API_UPDATE_METADATA, um_sender, do_update_metadata },
    { API_STOP_REPLICA, stop_sender, do_stop_replica },
};

static int16_t judge(struct orders *o, const struct control_request *req, struct sender s)
{
    if (standing_outlived(o->opts.standing, s.broker_epoch)) {
        log_info("%s of controller %d in epoch %d refused: it is for an earlier start of this broker (broker epoch "
                 "%lld, now %lld)", api_name(req->api), s.id, s.epoch, (long long)s.broker_epoch,
                 (long long)standing_broker_epoch(o->opts.standing));
        return KERR_STALE_BROKER_EPOCH;
    }
    if (!standing_controller(o->opts.standing, s.epoch)) {
        log_warn("%s of controller %d in epoch %d refused: there has been a controller in epoch %d since",
                 api_name(req->api), s.id, s.epoch, standing_controller_epoch(o->opts.standing));
        return KERR_STALE_CONTROLLER_EPOCH;
    }
    return KERR_NONE;
}

static int do_request(struct orders *o, struct control_request *req)
{
    for (size_t i = 0; i < sizeof defs / sizeof defs[0]; i++)
        if (defs[i].api == req->api)
            return defs[i].run(o, req, judge(o, req, defs[i].sender(req)));
    return ERR_UNSUPPORTED;
}

/* ---- the queue ---- */

static struct control_request *next_request(struct orders *o, bool *closing)
{
    struct control_request *req;

    lock_take(&o->lock);
    o->doing = NULL;
    cond_broadcast(&o->gone);
    while (o->head == NULL && !o->closing)
        cond_wait(&o->come, &o->lock);
    req = o->head;
    *closing = o->closing;
    o->stopped = req == NULL;           /* nobody takes what would come now */
    if (req != NULL) {
        o->doing = req->from;
        if ((o->head = req->next) == NULL)
            o->tail = &o->head;
    }
    lock_drop(&o->lock);
    return req;
}

static void *orders_main(void *arg)
{
    struct orders *o = arg;
    struct control_request *req;
    bool closing;

    pthread_setname_np(pthread_self(), "orders");
    while ((req = next_request(o, &closing)) != NULL) {
        req->rc = closing ? ERR_CLOSED : do_request(o, req);
        req->done(req);
    }
    return NULL;
}

void orders_submit(struct orders *o, struct control_request *req, const void *from)
{
    bool stopped;

    req->next = NULL;
    req->from = from;
    lock_take(&o->lock);
    stopped = o->stopped;
    if (!stopped) {
        *o->tail = req;
        o->tail = &req->next;
        cond_signal(&o->come);
    }
    lock_drop(&o->lock);
    if (stopped) {
        req->rc = ERR_CLOSED;
        req->done(req);
    }
}

void orders_withdraw(struct orders *o, const void *from)
{
    struct control_request *out = NULL, **end = &out, **at, *next;

    lock_take(&o->lock);
    for (at = &o->head; *at != NULL;) {
        struct control_request *req = *at;

        if (req->from == from) {
            *at = req->next;
            req->next = NULL;
            *end = req;
            end = &req->next;
        } else {
            at = &req->next;
        }
    }
    o->tail = at;
    while (o->doing == from)
        cond_wait(&o->gone, &o->lock);
    lock_drop(&o->lock);
    for (; out != NULL; out = next) {
        next = out->next;
        out->rc = ERR_CLOSED;
        out->done(out);
    }
}

int orders_new(struct orders **out, const struct orders_opts *opts)
{
    struct orders *o = calloc(1, sizeof *o);

    *out = NULL;
    if (o == NULL)
        return ERR_NOMEM;
    o->opts = *opts;
    o->tail = &o->head;
    lock_init(&o->lock, LOCK_ctlqueue);
    cond_init(&o->come);
    cond_init(&o->gone);
    if (pthread_create(&o->thread, NULL, orders_main, o) != 0) {
        cond_fini(&o->gone);
        cond_fini(&o->come);
        lock_fini(&o->lock);
        free(o);
        return ERR_SYSTEM;
    }
    *out = o;
    return OK;
}

void orders_stop(struct orders *o)
{
    lock_take(&o->lock);
    o->closing = true;
    cond_signal(&o->come);
    lock_drop(&o->lock);
    if (!o->joined)
        pthread_join(o->thread, NULL);
    o->joined = true;
}

void orders_free(struct orders **op)
{
    struct orders *o = *op;

    *op = NULL;
    if (o == NULL)
        return;
    orders_stop(o);
    cond_fini(&o->gone);
    cond_fini(&o->come);
    lock_fini(&o->lock);
    free(o);
}
