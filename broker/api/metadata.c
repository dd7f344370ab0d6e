/* broker/api/metadata.c - Metadata: brokers and topics as this broker knows them, and topics that come to be because
 * somebody asks for them.
 *
 * The answer is taken from one snapshot of the metadata cache. A request that has topics created waits for the
 * store (not for their leaders: LEADER_NOT_AVAILABLE makes the client ask again). In a cluster every request for topics
 * waits a moment, for a client that has just lost a leader asks before we know (broker/cluster/doubts.h).
 */
#include "broker/api/authorized.h"
#include "broker/api/auto_topic.h"
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "broker/cluster/doubts.h"
#include "broker/cluster/metadata_cache.h"
#include "metadata/topic_name.h"
#include "broker/controller/controller.h"
#include "broker/replica/replicas.h"
#include "config/config.h"
#include "proto/gen/metadata_request.h"
#include "proto/gen/metadata_response.h"
#include "proto/kerr.h"
#include "storage/logmgr.h"

#include <stdlib.h>

#define topic_in   metadata_request_metadata_request_topic
#define topic_out  metadata_response_metadata_response_topic
#define part_out   metadata_response_metadata_response_partition
#define broker_out metadata_response_metadata_response_broker

struct asked {                          /* in the request's arena; r->state while topics are created */
    struct metadata_request  in;
    struct metadata_response out;
    struct metadata         *md;
    bool                     refused;   /* as a whole: nothing is said about brokers */
    struct topic_op          op;
    struct doubt_waiter      waiter;
    struct request          *r;
    uint32_t                 round;     /* of the doubts; 0: there are none */
    bool                     doubtful;  /* somebody leads who may just have died */
};

/* ---- one topic ---------------------------------------------------------------------------------------------- */

static struct topic_out *topic_add(struct asked *q, struct str name, struct uuid id, int16_t error)
{
    struct topic_out *t = &q->out.topics[q->out.topics_n++];

    metadata_response_metadata_response_topic_init(t);
    t->name = name;
    t->topic_id = id;
    t->error_code = error;
    t->is_internal = name.p != NULL && topic_name_internal(name);
    if (name.p != NULL && q->in.include_topic_authorized_operations)
        t->topic_authorized_operations = AUTHORIZED_TOPIC;
    return t;
}

static bool reachable(const struct metadata *md, int32_t id, struct str listener)
{
    const struct metadata_broker *b = metadata_broker(md, id);

    return b != NULL && metadata_endpoint(b, listener) != NULL;
}

/* Version 0 lists only brokers that can be reached. NULL: out of memory. */
static int32_t *reachable_of(const struct request *r, struct arena *a, const struct metadata *md, const int32_t *v,
                             int32_t *n)
{
    int32_t *out = (int32_t *)(uintptr_t)v, kept = 0;

    if (r->version > 0)
        return out;
    out = arena_array(a, (size_t)*n + 1, sizeof *out);
    for (int32_t i = 0; i < *n && out != NULL; i++)
        if (reachable(md, v[i], r->listener))
            out[kept++] = v[i];
    *n = kept;
    return out;
}

static bool partition_fill(struct broker *b, struct request *r, struct asked *q, const struct metadata_topic *t,
                           const struct metadata_partition *p, struct part_out *out)
{
    const struct metadata *md = q->md;

    q->doubtful = q->doubtful || (q->round != 0 && doubts_about(b->doubts, p->leader));
    out->partition_index = p->index;
    out->leader_id = p->leader;
    out->leader_epoch = p->leader_epoch;
    out->replica_nodes_n = p->replicas_n;
    out->isr_nodes_n = p->isr_n;
    out->replica_nodes = reachable_of(r, &r->arena, md, p->replicas, &out->replica_nodes_n);
    out->isr_nodes = reachable_of(r, &r->arena, md, p->isr, &out->isr_nodes_n);
    out->offline_replicas = (int32_t *)(uintptr_t)p->offline;
    out->offline_replicas_n = p->offline_n;
    if (!reachable(md, p->leader, r->listener)) {
        bool alive = metadata_broker(md, p->leader) != NULL;

        out->error_code = alive && r->version >= 6 ? KERR_LISTENER_NOT_FOUND : KERR_LEADER_NOT_AVAILABLE;
        out->leader_id = -1;
    } else if (p->leader == b->id && replicas_is_loading(b->replicas, t->name, p->index)) {
        out->error_code = KERR_LEADER_NOT_AVAILABLE;
        out->leader_id = -1;
    } else if (out->replica_nodes_n < p->replicas_n || out->isr_nodes_n < p->isr_n) {
        out->error_code = KERR_REPLICA_NOT_AVAILABLE;
    }
    return out->replica_nodes != NULL || p->replicas_n == 0;
}

static bool topic_fill(struct broker *b, struct request *r, struct asked *q, const struct metadata_topic *t)
{
    struct topic_out *out = topic_add(q, t->name, t->id, KERR_NONE);

    out->partitions = arena_array(&r->arena, (size_t)t->partitions_n + 1, sizeof *out->partitions);
    if (out->partitions == NULL)
        return false;
    out->partitions_n = t->partitions_n;
    for (int32_t i = 0; i < t->partitions_n; i++) {
        metadata_response_metadata_response_partition_init(&out->partitions[i]);
        if (!partition_fill(b, r, q, t, &t->partitions[i], &out->partitions[i]))
            return false;
    }
    return true;
}

/* ---- the answer --------------------------------------------------------------------------------------------- */

static bool brokers_fill(struct broker *b, struct request *r, struct asked *q)
{
    size_t n;
    const struct metadata_broker *brokers = metadata_brokers(q->md, &n);

    q->out.brokers = arena_array(&r->arena, n + 1, sizeof *q->out.brokers);
    if (q->out.brokers == NULL)
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct metadata_endpoint *e = metadata_endpoint(&brokers[i], r->listener);
        struct broker_out *out = &q->out.brokers[q->out.brokers_n];

        if (e == NULL)
            continue;
        metadata_response_metadata_response_broker_init(out);
        out->node_id = brokers[i].id;
        out->host = e->host;
        out->port = e->port;
        out->rack = brokers[i].rack;
        q->out.brokers_n++;
    }
    q->out.cluster_id = str_of(b->cluster_id);
    q->out.controller_id = metadata_controller(q->md);
    if (q->in.include_cluster_authorized_operations && r->version <= 10)
        q->out.cluster_authorized_operations = AUTHORIZED_CLUSTER;
    return true;
}

static void answer(struct broker *b, struct request *r, struct asked *q, bool ok)
{
    struct metadata *md = q->md;

    if (ok && (q->refused || brokers_fill(b, r, q)))
        API_REPLY(r, metadata_response, &q->out);
    else
        request_close(r, "out of memory");
    metadata_put(&md);                              /* q went with the request */
}

/* ---- which topics ------------------------------------------------------------------------------------------- */

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct uuid));
}

/* Versions 10 and 11 have the field of the id but do not take ids. The whole request is refused then. */
static bool refused(struct request *r, struct asked *q)
{
    bool bad = false;

    q->out.controller_id = -1;
    for (int32_t i = 0; i < q->in.topics_n && r->version < 12; i++)
        bad |= q->in.topics[i].name.p == NULL || !uuid_is_zero(q->in.topics[i].topic_id);
    for (int32_t i = 0; i < q->in.topics_n && bad; i++) {
        const struct topic_in *t = &q->in.topics[i];

        topic_add(q, t->name.p != NULL ? t->name : STR_LIT(""), t->topic_id, KERR_INVALID_REQUEST)->is_internal = false;
    }
    q->refused = bad;
    return bad;
}

static bool by_id(const struct asked *q)
{
    for (int32_t i = 0; i < q->in.topics_n; i++)
        if (!uuid_is_zero(q->in.topics[i].topic_id))
            return true;
    return false;
}

static bool ids_fill(struct broker *b, struct request *r, struct asked *q)
{
    struct uuid *ids = arena_array(&r->arena, (size_t)q->in.topics_n + 1, sizeof *ids);
    int32_t n = 0;

    if (ids == NULL)
        return false;
    for (int32_t i = 0; i < q->in.topics_n; i++)
        if (!uuid_is_zero(q->in.topics[i].topic_id))
            ids[n++] = q->in.topics[i].topic_id;
    qsort(ids, (size_t)n, sizeof *ids, by_bytes);
    for (int32_t i = 0; i < n; i++) {
        const struct metadata_topic *t = metadata_topic_by_id(q->md, ids[i]);

        if (i > 0 && uuid_eq(ids[i], ids[i - 1]))
            continue;
        if (t == NULL)
            (void)topic_add(q, (struct str){ NULL, 0 }, ids[i], KERR_UNKNOWN_TOPIC_ID);
        else if (!topic_fill(b, r, q, t))
            return false;
    }
    return true;
}

static bool names_fill(struct broker *b, struct request *r, struct asked *q)
{
    struct str *names = arena_array(&r->arena, (size_t)q->in.topics_n + 1, sizeof *names);
    bool create = q->in.allow_auto_topic_creation && b->cfg->auto_create_topics_enable;
    struct topic_op *op = &q->op;

    op->topics = create ? arena_array(&r->arena, (size_t)q->in.topics_n + 1, sizeof *op->topics) : NULL;
    if (names == NULL || (create && op->topics == NULL))
        return false;
    for (int32_t i = 0; i < q->in.topics_n; i++)
        names[i] = q->in.topics[i].name.p != NULL ? q->in.topics[i].name : STR_LIT("");
    qsort(names, (size_t)q->in.topics_n, sizeof *names, str_order);
    for (int32_t i = 0; i < q->in.topics_n; i++) {
        const struct metadata_topic *t = metadata_topic(q->md, names[i]);
        char buf[512];

        if (i > 0 && str_eq(names[i], names[i - 1]))
            continue;
        if (t != NULL) {
            if (!topic_fill(b, r, q, t))
                return false;
        } else if (topic_name_fault(names[i], buf, sizeof buf) != NULL) {
            (void)topic_add(q, names[i], (struct uuid){ { 0 } }, KERR_INVALID_TOPIC_EXCEPTION);
        } else if (create && !logmgr_has_room(b->logs)) {
            (void)topic_add(q, names[i], (struct uuid){ { 0 } }, KERR_LEADER_NOT_AVAILABLE);    /* asked again */
        } else if (create) {
            op->topics[op->topics_n] = (struct topic_op_topic){ .name = names[i] };
            if (auto_topic_shape(b, q->md, &r->arena, &op->topics[op->topics_n++]) != OK)
                return false;
        } else {
            (void)topic_add(q, names[i], (struct uuid){ { 0 } }, KERR_UNKNOWN_TOPIC_OR_PARTITION);
        }
    }
    return true;
}

static bool all_fill(struct broker *b, struct request *r, struct asked *q)
{
    const struct metadata_topic *t;
    size_t pos = 0;

    while ((t = metadata_next_topic(q->md, &pos)) != NULL)
        if (!topic_fill(b, r, q, t))
            return false;
    return true;
}

/* ---- creation ----------------------------------------------------------------------------------------------- */

static void created(struct broker *b, struct request *r)
{
    struct asked *q = r->state;

    for (int32_t i = 0; i < q->op.topics_n; i++) {
        const struct topic_op_topic *t = &q->op.topics[i];
        int16_t error = t->error;

        if (error == KERR_NONE || error == KERR_REQUEST_TIMED_OUT || error == KERR_TOPIC_ALREADY_EXISTS)
            error = KERR_LEADER_NOT_AVAILABLE;
        (void)topic_add(q, t->name, (struct uuid){ { 0 } }, error);
    }
    answer(b, r, q, true);
}

static void on_controller_thread(struct topic_op *op)
{
    request_resume(op->arg, created);
}

static void create_topics(struct broker *b, struct request *r, struct asked *q)
{
    q->op.kind = TOPIC_OP_CREATE;
    q->op.automatic = true;
    q->op.arena = &r->arena;
    q->op.done = on_controller_thread;
    q->op.arg = r;
    controller_topic_op(b->controller, &q->op);
}

/* ---- the request -------------------------------------------------------------------------------------------- */

static bool fill(struct broker *b, struct request *r, struct asked *q)
{
    bool all = q->in.topics_n < 0 || (r->version == 0 && q->in.topics_n == 0);
    size_t topics;

    metadata_response_init(&q->out);
    q->doubtful = false;
    q->round = doubts_round(b->doubts);
    q->md = metadata_get(b->metacache);
    topics = all ? metadata_topics_n(q->md) : (size_t)q->in.topics_n;
    q->out.topics = arena_array(&r->arena, topics + 1, sizeof *q->out.topics);
    if (q->out.topics == NULL)
        return false;
    if (all)
        return all_fill(b, r, q);
    if (refused(r, q))
        return true;
    return by_id(q) ? ids_fill(b, r, q) : names_fill(b, r, q);
}

static void decide(struct broker *b, struct request *r);

static void doubt_over(struct doubt_waiter *w)
{
    struct asked *q = (struct asked *)((char *)w - offsetof(struct asked, waiter));

    request_resume(q->r, decide);
}

static void decide(struct broker *b, struct request *r)
{
    struct asked *q = r->state;
    bool ok = fill(b, r, q);

    if (ok && q->op.topics_n > 0) {
        create_topics(b, r, q);
    } else if (ok && q->doubtful) {                 /* somebody else will lead in a moment */
        metadata_put(&q->md);
        doubts_wait(b->doubts, &q->waiter, q->round);
    } else {
        answer(b, r, q, ok);
    }
}

/* Somebody else may lead what it asks for, and have died just now. */
static bool may_mislead(struct broker *b, const struct request *r, const struct asked *q)
{
    struct metadata *md = metadata_get(b->metacache);
    size_t n;

    (void)metadata_brokers(md, &n);
    metadata_put(&md);
    return n > 1 && b->doubts != NULL && (q->in.topics_n != 0 || r->version == 0);
}

void api_metadata(struct broker *b, struct request *r)
{
    struct asked *q = arena_zalloc(&r->arena, sizeof *q);

    if (q == NULL) {
        request_close(r, "out of memory");
        return;
    }
    if (!API_READ(r, metadata_request, &q->in))
        return;
    q->r = r;
    r->state = q;
    q->waiter.resume = doubt_over;
    if (may_mislead(b, r, q))
        doubts_expect(b->doubts, &q->waiter);
    else
        decide(b, r);
}
