/* broker/api/control.c - LeaderAndIsr, UpdateMetadata and StopReplica from the controllers of other brokers.
 *
 * Whatever the version, a request is brought into the form of the highest one (partitions by topic) and queued with the
 * orders of this process's own controller (broker/controller/orders.h), which look at the epochs and do it. The
 * answer goes back in the form of the version asked.
 */
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "broker/controller/orders.h"
#include "proto/gen/leader_and_isr_request.h"
#include "proto/gen/leader_and_isr_response.h"
#include "proto/gen/stop_replica_request.h"
#include "proto/gen/stop_replica_response.h"
#include "proto/gen/update_metadata_request.h"
#include "proto/gen/update_metadata_response.h"

#include <stdlib.h>

#define WORK_MEMORY_MAX ((size_t)1 << 32)

#define lai_flat    leader_and_isr_request_leader_and_isr_partition_state
#define lai_grouped leader_and_isr_request_leader_and_isr_topic_state
#define lai_error   leader_and_isr_response_leader_and_isr_partition_error
#define um_flat     update_metadata_request_update_metadata_partition_state
#define um_grouped  update_metadata_request_update_metadata_topic_state
#define um_address  update_metadata_request_update_metadata_endpoint
#define stop_flat   stop_replica_request_stop_replica_partition_v0
#define stop_one    stop_replica_request_stop_replica_partition_state
#define stop_topic  stop_replica_request_stop_replica_topic_state

/* ---- what the three share ---- */

static struct control_request *order_new(struct request *r, void (*done)(struct control_request *))
{
    struct control_request *req = calloc(1, sizeof *req);

    if (req == NULL) {
        request_close(r, "out of memory");
        return NULL;
    }
    arena_init(&req->arena, WORK_MEMORY_MAX);
    req->api = r->api_key;
    req->done = done;
    req->arg = r;
    return req;
}

/* false: there is no answer; the request has been ended and the order freed. */
static bool order_answered(struct control_request *req)
{
    struct request *r = req->arg;

    if (req->rc == OK)
        return true;
    request_close(r, req->rc == ERR_CLOSED ? NULL : err_text(req->rc));
    control_request_free(&req);
    return false;
}

static void order_refuse(struct control_request *req)
{
    req->rc = ERR_NOMEM;
    (void)order_answered(req);
}

/* How many runs of one topic name there are in a flat list: each becomes a topic. A topic that comes again later
 * makes a second run, which is as good. */
struct run {
    struct str name;
    int32_t    first, n;
};

static struct run *find_runs(struct arena *a, int32_t n, struct str (*name)(const void *list, int32_t i),
                             const void *list, int32_t *runs_n)
{
    struct run *runs = arena_array(a, (size_t)n + 1, sizeof *runs);

    *runs_n = 0;
    for (int32_t i = 0; i < n && runs != NULL; i++) {
        struct str s = name(list, i);

        if (*runs_n == 0 || !str_eq(runs[*runs_n - 1].name, s))
            runs[(*runs_n)++] = (struct run){ .name = s, .first = i };
        runs[*runs_n - 1].n++;
    }
    return runs;
}

/* ---- LeaderAndIsr ---- */

static struct str lai_name(const void *list, int32_t i)
{
    return ((const struct lai_flat *)list)[i].topic_name;
}

static bool lai_group(struct arena *a, struct leader_and_isr_request *in)
{
    struct lai_flat *flat = in->ungrouped_partition_states;
    int32_t runs_n;
    struct run *runs = find_runs(a, in->ungrouped_partition_states_n, lai_name, flat, &runs_n);

    in->topic_states = runs != NULL ? arena_array(a, (size_t)runs_n + 1, sizeof *in->topic_states) : NULL;
    if (in->topic_states == NULL)
        return false;
    for (in->topic_states_n = 0; in->topic_states_n < runs_n; in->topic_states_n++) {
        const struct run *run = &runs[in->topic_states_n];
        struct lai_grouped *t = &in->topic_states[in->topic_states_n];

        leader_and_isr_request_leader_and_isr_topic_state_init(t);
        t->topic_name = run->name;
        t->partition_states = flat + run->first;
        t->partition_states_n = run->n;
    }
    return true;
}

/* Before version 5 the answers of all topics are one list. */
static bool lai_flatten(struct arena *a, struct leader_and_isr_response *out)
{
    size_t total = 0;

    for (int32_t i = 0; i < out->topics_n; i++)
        total += (size_t)out->topics[i].partition_errors_n;
    out->partition_errors = arena_array(a, total + 1, sizeof *out->partition_errors);
    if (out->partition_errors == NULL)
        return false;
    for (int32_t i = 0; i < out->topics_n; i++)
        for (int32_t k = 0; k < out->topics[i].partition_errors_n; k++)
            out->partition_errors[out->partition_errors_n++] = out->topics[i].partition_errors[k];
    out->topics = NULL;
    out->topics_n = 0;
    return true;
}

static void lai_done(struct control_request *req)
{
    struct request *r = req->arg;

    if (!order_answered(req))
        return;
    if (r->version < 5 && !lai_flatten(&req->arena, req->resp.leader_and_isr)) {
        order_refuse(req);
        return;
    }
    API_REPLY_COPY(r, leader_and_isr_response, req->resp.leader_and_isr);
    control_request_free(&req);
}

void api_leader_and_isr(struct broker *b, struct request *r)
{
    struct leader_and_isr_request in;
    struct control_request *req;

    if (!API_READ(r, leader_and_isr_request, &in))
        return;
    req = order_new(r, lai_done);
    if (req == NULL)
        return;
    req->req.leader_and_isr = arena_alloc(&req->arena, sizeof in);
    if (req->req.leader_and_isr == NULL || (r->version < 2 && !lai_group(&req->arena, &in))) {
        order_refuse(req);
        return;
    }
    *req->req.leader_and_isr = in;
    orders_submit(b->orders, req, NULL);
}

/* ---- UpdateMetadata ---- */

static struct str um_name(const void *list, int32_t i)
{
    return ((const struct um_flat *)list)[i].topic_name;
}

static bool um_group(struct arena *a, struct update_metadata_request *in)
{
    struct um_flat *flat = in->ungrouped_partition_states;
    int32_t runs_n;
    struct run *runs = find_runs(a, in->ungrouped_partition_states_n, um_name, flat, &runs_n);

    in->topic_states = runs != NULL ? arena_array(a, (size_t)runs_n + 1, sizeof *in->topic_states) : NULL;
    if (in->topic_states == NULL)
        return false;
    for (in->topic_states_n = 0; in->topic_states_n < runs_n; in->topic_states_n++) {
        const struct run *run = &runs[in->topic_states_n];
        struct um_grouped *t = &in->topic_states[in->topic_states_n];

        update_metadata_request_update_metadata_topic_state_init(t);
        t->topic_name = run->name;
        t->partition_states = flat + run->first;
        t->partition_states_n = run->n;
    }
    return true;
}

/* Version 0 has one address, of the listener PLAINTEXT; versions 1 and 2 name no listener: it is called by its
 * protocol. */
static bool um_listeners(struct arena *a, int16_t version, struct update_metadata_request *in)
{
    static const char *const protocols[] = { "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL" };

    for (int32_t i = 0; i < in->live_brokers_n; i++) {
        struct update_metadata_request_update_metadata_broker *b = &in->live_brokers[i];

        if (version == 0) {
            b->endpoints = arena_zalloc(a, sizeof *b->endpoints);
            if (b->endpoints == NULL)
                return false;
            *b->endpoints = (struct um_address){ .host = b->v0_host, .port = b->v0_port };
            b->endpoints_n = 1;
        }
        for (int32_t k = 0; k < b->endpoints_n; k++)
            if (b->endpoints[k].security_protocol >= 0 && b->endpoints[k].security_protocol < 4)
                b->endpoints[k].listener = str_of(protocols[b->endpoints[k].security_protocol]);
    }
    return true;
}

static void um_done(struct control_request *req)
{
    struct update_metadata_response out;
    struct request *r = req->arg;

    if (!order_answered(req))
        return;
    update_metadata_response_init(&out);
    out.error_code = req->resp.update_metadata;
    API_REPLY(r, update_metadata_response, &out);
    control_request_free(&req);
}

void api_update_metadata(struct broker *b, struct request *r)
{
    struct update_metadata_request in;
    struct control_request *req;

    if (!API_READ(r, update_metadata_request, &in))
        return;
    req = order_new(r, um_done);
    if (req == NULL)
        return;
    req->req.update_metadata = arena_alloc(&req->arena, sizeof in);
    if (req->req.update_metadata == NULL || (r->version < 5 && !um_group(&req->arena, &in)) ||
        (r->version < 3 && !um_listeners(&req->arena, r->version, &in))) {
        order_refuse(req);
        return;
    }
    *req->req.update_metadata = in;
    orders_submit(b->orders, req, NULL);
}

/* ---- StopReplica ---- */

static struct str stop_name(const void *list, int32_t i)
{
    return ((const struct stop_flat *)list)[i].topic_name;
}

/* Before version 3 no epochs are named: -1 is taken for any. */
static bool stop_fill(struct arena *a, struct stop_topic *t, struct str name, int32_t n, bool delete_them)
{
    stop_replica_request_stop_replica_topic_state_init(t);
    t->topic_name = name;
    t->partition_states_n = n;
    t->partition_states = arena_array(a, (size_t)n + 1, sizeof *t->partition_states);
    for (int32_t i = 0; i < n && t->partition_states != NULL; i++)
        t->partition_states[i] = (struct stop_one){ .leader_epoch = -1, .delete_partition = delete_them };
    return t->partition_states != NULL;
}

static bool stop_from_v0(struct arena *a, struct stop_replica_request *in)
{
    int32_t runs_n;
    struct run *runs = find_runs(a, in->ungrouped_partitions_n, stop_name, in->ungrouped_partitions, &runs_n);

    in->topic_states = runs != NULL ? arena_array(a, (size_t)runs_n + 1, sizeof *in->topic_states) : NULL;
    if (in->topic_states == NULL)
        return false;
    for (in->topic_states_n = 0; in->topic_states_n < runs_n; in->topic_states_n++) {
        const struct run *run = &runs[in->topic_states_n];
        struct stop_topic *t = &in->topic_states[in->topic_states_n];

        if (!stop_fill(a, t, run->name, run->n, in->delete_partitions))
            return false;
        for (int32_t k = 0; k < run->n; k++)
            t->partition_states[k].partition_index = in->ungrouped_partitions[run->first + k].partition_index;
    }
    return true;
}

static bool stop_from_v1(struct arena *a, struct stop_replica_request *in)
{
    in->topic_states = arena_array(a, (size_t)in->topics_n + 1, sizeof *in->topic_states);
    if (in->topic_states == NULL)
        return false;
    for (in->topic_states_n = 0; in->topic_states_n < in->topics_n; in->topic_states_n++) {
        const struct stop_replica_request_stop_replica_topic_v1 *from = &in->topics[in->topic_states_n];
        struct stop_topic *t = &in->topic_states[in->topic_states_n];

        if (!stop_fill(a, t, from->name, from->partition_indexes_n, in->delete_partitions))
            return false;
        for (int32_t k = 0; k < from->partition_indexes_n; k++)
            t->partition_states[k].partition_index = from->partition_indexes[k];
    }
    return true;
}

static void stop_done(struct control_request *req)
{
    struct request *r = req->arg;

    if (!order_answered(req))
        return;
    API_REPLY_COPY(r, stop_replica_response, req->resp.stop_replica);
    control_request_free(&req);
}

void api_stop_replica(struct broker *b, struct request *r)
{
    struct stop_replica_request in;
    struct control_request *req;
    bool ok;

    if (!API_READ(r, stop_replica_request, &in))
        return;
    req = order_new(r, stop_done);
    if (req == NULL)
        return;
    req->req.stop_replica = arena_alloc(&req->arena, sizeof in);
    ok = req->req.stop_replica != NULL;
    if (ok && r->version == 0)
        ok = stop_from_v0(&req->arena, &in);
    else if (ok && r->version < 3)
        ok = stop_from_v1(&req->arena, &in);
    if (!ok) {
        order_refuse(req);
        return;
    }
    *req->req.stop_replica = in;
    orders_submit(b->orders, req, NULL);
}
