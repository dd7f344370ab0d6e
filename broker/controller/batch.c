/* broker/controller/batch.c - gathers what brokers have to be told during one change, then sends each broker
 * at most one LeaderAndIsr, one UpdateMetadata and one StopReplica, in this order. What they answer: answers.c.
 *
 * A partition that goes to some broker's LeaderAndIsr is also part of the UpdateMetadata, which goes to
 * every live broker. The requests hold copies: the context may change while they are under way.
 */
#include "broker/controller/priv.h"

#include "proto/gen/leader_and_isr_request.h"
#include "proto/gen/leader_and_isr_response.h"
#include "proto/gen/stop_replica_request.h"
#include "proto/gen/stop_replica_response.h"
#include "proto/gen/update_metadata_request.h"
#include "proto/kerr.h"

#include <assert.h>
#include <stdlib.h>

#define LEADER_GONE         (-2)        /* in UpdateMetadata: the topic is being deleted */
#define EPOCH_DURING_DELETE (-2)        /* in StopReplica: wins over any epoch */
#define REQUEST_MEMORY_MAX  ((size_t)1 << 32)

/* The generated names are long. */
#define LAI(x)       struct leader_and_isr_request_leader_and_isr_##x
#define UM(x)        struct update_metadata_request_update_metadata_##x
#define STOP(x)      struct stop_replica_request_stop_replica_##x

void control_request_free(struct control_request **req)
{
    if (*req != NULL)
        arena_fini(&(*req)->arena);
    free(*req);
    *req = NULL;
}

/* ---- gathering ---------------------------------------------------------------------------------------- */

void batch_begin(struct controller *c)
{
    assert(!c->batch.open);
    c->batch.open = true;
    c->batch.number++;
}

static void batch_clear(struct controller *c)
{
    for (size_t i = 0; i < c->ctx.brokers_n; i++) {
        struct ctl_broker *b = &c->ctx.brokers[i];

        b->lai_n = b->stop_n = 0;
        b->update = false;
    }
    c->batch.update_n = 0;
    c->batch.open = false;
}

void batch_fini(struct controller *c)
{
    batch_clear(c);
    free(c->batch.update);
    c->batch.update = NULL;
    c->batch.update_cap = 0;
}

/* Room for one more; NULL: aborted. */
static void *room(struct controller *c, void **v, size_t n, size_t *cap, size_t size)
{
    if (n == *cap) {
        size_t more = *cap == 0 ? 64 : *cap * 2;
        void *p = realloc(*v, more * size);

        if (p == NULL) {
            ctl_abort(c, ERR_NOMEM, "gathering requests to brokers");
            return NULL;
        }
        *v = p;
        *cap = more;
    }
    return (char *)*v + n * size;
}

void batch_update_brokers(struct controller *c)
{
    for (size_t i = 0; i < c->ctx.brokers_n; i++)
        c->ctx.brokers[i].update = c->ctx.brokers[i].live;
}

static void update_add(struct controller *c, struct ctl_partition *p)
{
    struct batch *b = &c->batch;
    struct ctl_partition **at;
    void *v = b->update;

    if (p->batch == b->number || !p->has_leadership)
        return;
    at = room(c, &v, b->update_n, &b->update_cap, sizeof *at);
    b->update = v;
    if (at == NULL)
        return;
    *at = p;
    b->update_n++;
    p->batch = b->number;
}

void batch_update(struct controller *c, struct ctl_partition *p)
{
    batch_update_brokers(c);
    update_add(c, p);
}

void batch_update_all(struct controller *c, int32_t broker)
{
    struct ctl_broker *b = context_broker(&c->ctx, broker);

    if (b == NULL || !b->live)
        return;
    b->update = true;
    CONTEXT_EACH(&c->ctx, p)
        update_add(c, p);
}

static void lai_add(struct controller *c, int32_t broker, const struct lai_entry *e)
{
    struct ctl_broker *b = context_broker(&c->ctx, broker);

    if (b != NULL && b->live) {
        void *v = b->lai;
        struct lai_entry *at = room(c, &v, b->lai_n, &b->lai_cap, sizeof *at);

        b->lai = v;
        if (at == NULL)
            return;
        *at = *e;
        b->lai_n++;
    }
    batch_update(c, e->p);
}

void batch_leader_and_isr(struct controller *c, int32_t broker, struct ctl_partition *p, bool is_new)
{
    lai_add(c, broker, &(struct lai_entry){ .p = p, .is_new = is_new });
}

void batch_stop(struct controller *c, int32_t broker, struct ctl_partition *p, bool delete_it)
{
    struct ctl_broker *b = context_broker(&c->ctx, broker);
    struct stop_entry *at;
    void *v;

    if (b == NULL || !b->live)
        return;
    v = b->stop;
    at = room(c, &v, b->stop_n, &b->stop_cap, sizeof *at);
    b->stop = v;
    if (at == NULL)
        return;
    *at = (struct stop_entry){ p, delete_it };
    b->stop_n++;
}

void batch_dismiss(struct controller *c, int32_t broker, struct ctl_partition *p)
{
    lai_add(c, broker, &(struct lai_entry){ .p = p, .dismissed = true });
    batch_stop(c, broker, p, false);
}

/* ---- grouping: entries of all three kinds begin with their partition ---------------------------------- */

static struct ctl_partition *entry_partition(const void *v, size_t i, size_t size)
{
    return *(struct ctl_partition *const *)((const char *)v + i * size);
}

static int by_topic(const void *a, const void *b)
{
    const struct ctl_partition *x = entry_partition(a, 0, 0), *y = entry_partition(b, 0, 0);

    if (x->topic != y->topic)
        return (uintptr_t)x->topic < (uintptr_t)y->topic ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static size_t group(void *v, size_t n, size_t size)
{
    size_t topics = 0;

    if (n > 1)
        qsort(v, n, size, by_topic);
    for (size_t i = 0; i < n; i++)
        topics += i == 0 || entry_partition(v, i, size)->topic != entry_partition(v, i - 1, size)->topic;
    return topics;
}

/* How many entries from i on belong to the same topic. */
static size_t group_len(const void *v, size_t n, size_t size, size_t i)
{
    size_t end = i + 1;

    while (end < n && entry_partition(v, end, size)->topic == entry_partition(v, i, size)->topic)
        end++;
    return end - i;
}

/* ---- building: every function gives false when memory is out ------------------------------------------ */

static bool copy_ids(struct arena *a, const struct ids *ids, int32_t **v, int32_t *n)
{
    *v = arena_alloc(a, (size_t)(ids->n > 0 ? ids->n : 1) * sizeof **v);
    if (*v == NULL)
        return false;
    if (ids->n > 0)
        memcpy(*v, ids->v, (size_t)ids->n * sizeof **v);
    *n = ids->n;
    return true;
}

static bool copy_name(struct arena *a, const struct ctl_topic *t, struct str *out)
{
    return arena_str(a, topic_str(t), out) == OK;
}

static struct control_request *request_new(int16_t api, const struct ctl_broker *b)
{
    struct control_request *req = calloc(1, sizeof *req);

    if (req == NULL)
        return NULL;
    arena_init(&req->arena, REQUEST_MEMORY_MAX);
    req->api = api;
    req->broker_id = b->id;
    return req;
}

static bool lai_leaders(struct controller *c, const struct ctl_broker *b, struct control_request *req)
{
    struct leader_and_isr_request *r = req->req.leader_and_isr;

    r->live_leaders = arena_array(&req->arena, c->ctx.brokers_n + 1, sizeof *r->live_leaders);
    if (r->live_leaders == NULL)
        return false;
    for (size_t i = 0; i < c->ctx.brokers_n; i++) {
        const struct ctl_broker *leader = &c->ctx.brokers[i];
        LAI(live_leader) *l = &r->live_leaders[r->live_leaders_n];
        bool named = false;

        for (size_t k = 0; k < b->lai_n && !named; k++)
            named = b->lai[k].p->leader == leader->id;
        for (size_t k = 0; k < leader->info.endpoints_n && named && leader->live; k++) {
            const struct znode_endpoint *e = &leader->info.endpoints[k];

            if (!str_is(e->listener, c->opts.cfg->inter_broker_listener))
                continue;
            l->broker_id = leader->id;
            l->port = e->port;
            if (arena_str(&req->arena, e->host, &l->host_name) != OK)
                return false;
            r->live_leaders_n++;
            break;
        }
    }
    return true;
}

/* Brokers refuse to follow where they are not among the replicas; StopReplica alone, without deletion, does not end a
 * leadership. */
static bool lai_replicas(struct arena *a, const struct lai_entry *e, int32_t broker, LAI(partition_state) *out)
{
    struct ids told = { arena_array(a, (size_t)e->p->replicas.n + 1, sizeof(int32_t)), e->p->replicas.n };

    if (told.v == NULL)
        return false;
    if (told.n > 0)
        memcpy(told.v, e->p->replicas.v, (size_t)told.n * sizeof *told.v);
    if (e->dismissed)
        told.v[told.n++] = broker;
    out->replicas = told.v;
    out->replicas_n = told.n;
    return true;
}

static bool lai_partition(struct arena *a, const struct lai_entry *e, int32_t broker, LAI(partition_state) *out)
{
    const struct ctl_partition *p = e->p;

    out->partition_index = p->index;
    out->controller_epoch = p->controller_epoch;
    out->leader = p->leader;
    out->leader_epoch = p->leader_epoch;
    out->partition_epoch = p->zk_version;
    out->is_new = e->is_new;
    out->leader_recovery_state = p->recovering;
    return copy_ids(a, &p->isr, &out->isr, &out->isr_n) && lai_replicas(a, e, broker, out) &&
           copy_ids(a, &p->adding, &out->adding_replicas, &out->adding_replicas_n) &&
           copy_ids(a, &p->removing, &out->removing_replicas, &out->removing_replicas_n);
}

static struct control_request *lai_build(struct controller *c, struct ctl_broker *b)
{
    struct control_request *req = request_new(API_LEADER_AND_ISR, b);
    struct leader_and_isr_request *r = req != NULL ? arena_zalloc(&req->arena, sizeof *r) : NULL;
    size_t topics = group(b->lai, b->lai_n, sizeof *b->lai);
    bool ok = r != NULL;

    if (ok) {
        leader_and_isr_request_init(r);
        req->req.leader_and_isr = r;
        r->controller_id = c->opts.broker->id;
        r->controller_epoch = c->epoch;
        r->broker_epoch = b->epoch;
        r->topic_states = arena_array(&req->arena, topics + 1, sizeof *r->topic_states);
        ok = r->topic_states != NULL && lai_leaders(c, b, req);
    }
    for (size_t i = 0, n; i < b->lai_n && ok; i += n) {
        LAI(topic_state) *t = &r->topic_states[r->topic_states_n++];

        n = group_len(b->lai, b->lai_n, sizeof *b->lai, i);
        t->topic_id = b->lai[i].p->topic->id;
        t->partition_states = arena_array(&req->arena, n, sizeof *t->partition_states);
        ok = t->partition_states != NULL && copy_name(&req->arena, b->lai[i].p->topic, &t->topic_name);
        for (size_t k = 0; k < n && ok; k++) {
            LAI(partition_state) *out = &t->partition_states[t->partition_states_n++];

            leader_and_isr_request_leader_and_isr_partition_state_init(out);
            ok = lai_partition(&req->arena, &b->lai[i + k], b->id, out);
        }
    }
    if (!ok)
        control_request_free(&req);
    return req;
}

static bool um_endpoints(struct arena *a, const struct ctl_broker *b, UM(broker) *out)
{
    static const char *const protocols[] = { "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL" };

    out->endpoints = arena_array(a, b->info.endpoints_n + 1, sizeof *out->endpoints);
    if (out->endpoints == NULL)
        return false;
    for (size_t i = 0; i < b->info.endpoints_n; i++) {
        const struct znode_endpoint *from = &b->info.endpoints[i];
        UM(endpoint) *e = &out->endpoints[out->endpoints_n];
        int16_t protocol = 0;

        while (protocol < 4 && !str_is(from->protocol, protocols[protocol]))
            protocol++;
        if (protocol == 4)
            continue;                               /* one that no client of ours can speak */
        e->security_protocol = protocol;
        e->port = from->port;
        if (arena_str(a, from->host, &e->host) != OK || arena_str(a, from->listener, &e->listener) != OK)
            return false;
        out->endpoints_n++;
    }
    return arena_str(a, b->info.rack, &out->rack) == OK;
}

static bool um_brokers(struct controller *c, struct control_request *req)
{
    struct update_metadata_request *r = req->req.update_metadata;

    r->live_brokers = arena_array(&req->arena, c->ctx.brokers_n + 1, sizeof *r->live_brokers);
    if (r->live_brokers == NULL)
        return false;
    for (size_t i = 0; i < c->ctx.brokers_n; i++) {
        const struct ctl_broker *b = &c->ctx.brokers[i];

        if (!b->live)
            continue;
        update_metadata_request_update_metadata_broker_init(&r->live_brokers[r->live_brokers_n]);
        r->live_brokers[r->live_brokers_n].id = b->id;
        if (!um_endpoints(&req->arena, b, &r->live_brokers[r->live_brokers_n++]))
            return false;
    }
    return true;
}

static bool um_partition(struct controller *c, struct arena *a, const struct ctl_partition *p, UM(partition_state) *out)
{
    bool gone = p->topic->queued;

    out->partition_index = p->index;
    out->controller_epoch = p->controller_epoch;
    out->leader = gone ? LEADER_GONE : p->leader;
    out->leader_epoch = gone ? 0 : p->leader_epoch;
    out->zk_version = gone ? 0 : p->zk_version;
    if (!copy_ids(a, &p->isr, &out->isr, &out->isr_n) || !copy_ids(a, &p->replicas, &out->replicas, &out->replicas_n))
        return false;
    out->offline_replicas = arena_array(a, (size_t)p->replicas.n + 1, sizeof *out->offline_replicas);
    if (out->offline_replicas == NULL)
        return false;
    for (int32_t i = 0; i < p->replicas.n; i++)
        if (!context_replica_online(&c->ctx, p, p->replicas.v[i]) ||
            context_broker(&c->ctx, p->replicas.v[i])->unreachable)
            out->offline_replicas[out->offline_replicas_n++] = p->replicas.v[i];
    return true;
}

static struct control_request *um_build(struct controller *c, struct ctl_broker *b)
{
    struct control_request *req = request_new(API_UPDATE_METADATA, b);
    struct update_metadata_request *r = req != NULL ? arena_zalloc(&req->arena, sizeof *r) : NULL;
    struct batch *batch = &c->batch;
    size_t topics = group(batch->update, batch->update_n, sizeof *batch->update);
    bool ok = r != NULL;

    if (ok) {
        update_metadata_request_init(r);
        req->req.update_metadata = r;
        r->controller_id = c->opts.broker->id;
        r->controller_epoch = c->epoch;
        r->broker_epoch = b->epoch;
        r->topic_states = arena_array(&req->arena, topics + 1, sizeof *r->topic_states);
        ok = r->topic_states != NULL && um_brokers(c, req);
    }
    for (size_t i = 0, n; i < batch->update_n && ok; i += n) {
        UM(topic_state) *t = &r->topic_states[r->topic_states_n++];

        n = group_len(batch->update, batch->update_n, sizeof *batch->update, i);
        t->topic_id = batch->update[i]->topic->id;
        t->partition_states = arena_array(&req->arena, n, sizeof *t->partition_states);
        ok = t->partition_states != NULL && copy_name(&req->arena, batch->update[i]->topic, &t->topic_name);
        for (size_t k = 0; k < n && ok; k++) {
            UM(partition_state) *out = &t->partition_states[t->partition_states_n++];

            update_metadata_request_update_metadata_partition_state_init(out);
            ok = um_partition(c, &req->arena, batch->update[i + k], out);
        }
    }
    if (!ok)
        control_request_free(&req);
    return req;
}

static struct control_request *stop_build(struct controller *c, struct ctl_broker *b)
{
    struct control_request *req = request_new(API_STOP_REPLICA, b);
    struct stop_replica_request *r = req != NULL ? arena_zalloc(&req->arena, sizeof *r) : NULL;
    size_t topics = group(b->stop, b->stop_n, sizeof *b->stop);
    bool ok = r != NULL;

    if (ok) {
        stop_replica_request_init(r);
        req->req.stop_replica = r;
        r->controller_id = c->opts.broker->id;
        r->controller_epoch = c->epoch;
        r->broker_epoch = b->epoch;
        r->topic_states = arena_array(&req->arena, topics + 1, sizeof *r->topic_states);
        ok = r->topic_states != NULL;
    }
    for (size_t i = 0, n; i < b->stop_n && ok; i += n) {
        STOP(topic_state) *t = &r->topic_states[r->topic_states_n++];

        n = group_len(b->stop, b->stop_n, sizeof *b->stop, i);
        t->partition_states = arena_array(&req->arena, n, sizeof *t->partition_states);
        ok = t->partition_states != NULL && copy_name(&req->arena, b->stop[i].p->topic, &t->topic_name);
        for (size_t k = 0; k < n && ok; k++) {
            const struct stop_entry *e = &b->stop[i + k];
            STOP(partition_state) *out = &t->partition_states[t->partition_states_n++];

            out->partition_index = e->p->index;
            out->leader_epoch = e->p->has_leadership ? e->p->leader_epoch : -1;
            if (e->p->topic->queued)
                out->leader_epoch = EPOCH_DURING_DELETE;
            out->delete_partition = e->delete_it;
        }
    }
    if (!ok)
        control_request_free(&req);
    return req;
}

/* ---- sending ------------------------------------------------------------------------------------------ */

struct answer {
    struct loop_item        item;
    struct controller      *c;
    struct control_request *req;
    int64_t                 epoch;      /* of the broker */
};

/* Did the broker answer that we know, or one that has been started since? */
static bool is_earlier_start(const struct control_request *req)
{
    int16_t error = KERR_NONE;

    if (req->api == API_UPDATE_METADATA)
        error = req->resp.update_metadata;
    else if (req->api == API_LEADER_AND_ISR && req->resp.leader_and_isr != NULL)
        error = req->resp.leader_and_isr->error_code;
    else if (req->api == API_STOP_REPLICA && req->resp.stop_replica != NULL)
        error = req->resp.stop_replica->error_code;
    return error == KERR_STALE_BROKER_EPOCH;
}

static void answer_arrived(struct loop_item *item, void *arg)
{
    struct answer *a = (struct answer *)item;
    struct controller *c = arg;
    struct control_request *req = a->req;

    c->sent--;
    c->sent_here -= req->broker_id == c->opts.broker->id;
    if (c->sent_here == 0 && c->failed_over)
        controller_set_ready(c, OK);
    if (req->rc == OK && !is_earlier_start(req))
        unreachable_answered(c, req->broker_id, a->epoch);
    if (!c->stopping && req->rc == OK && req->api != API_UPDATE_METADATA)
        event_answer(c, req);
    else
        control_request_free(&req);                 /* `a` lies in it */
}

static void on_any_thread(struct control_request *req)
{
    struct answer *a = req->arg;

    loop_post(&a->c->loop, &a->item);
}

static void send(struct controller *c, struct ctl_broker *b, struct control_request *req)
{
    struct answer *a = req != NULL ? arena_zalloc(&req->arena, sizeof *a) : NULL;

    if (a == NULL) {
        control_request_free(&req);
        ctl_abort(c, ERR_NOMEM, "building requests to brokers");
        return;
    }
    *a = (struct answer){ .item.run = answer_arrived, .c = c, .req = req, .epoch = b->epoch };
    req->done = on_any_thread;
    req->arg = a;
    c->sent++;
    c->sent_here += b->id == c->opts.broker->id;
    b->channel->send(b->channel, req);
}

void batch_send(struct controller *c)
{
    for (size_t i = 0; i < c->ctx.brokers_n; i++) {
        struct ctl_broker *b = &c->ctx.brokers[i];

        if (b->channel == NULL)
            continue;
        if (b->lai_n > 0)
            send(c, b, lai_build(c, b));
        if (b->update)
            send(c, b, um_build(c, b));
        if (b->stop_n > 0)
            send(c, b, stop_build(c, b));
    }
    batch_clear(c);
}
