/* broker/controller/reassign_ask.c - AlterPartitionReassignments and ListPartitionReassignments.
 *
 * A partition's errors come in Apache Kafka's order: the list of replicas is looked at before the partition is.
 */
#include "broker/controller/ask.h"
#include "broker/controller/reassign.h"
#include "proto/gen/alter_partition_reassignments_request.h"
#include "proto/gen/alter_partition_reassignments_response.h"
#include "proto/gen/list_partition_reassignments_request.h"
#include "proto/gen/list_partition_reassignments_response.h"
#include "proto/kerr.h"

#include <stdio.h>

#define alter_req  alter_partition_reassignments_request
#define alter_resp alter_partition_reassignments_response
#define part_in    alter_partition_reassignments_request_reassignable_partition
#define part_out   alter_partition_reassignments_response_reassignable_partition_response
#define topic_out  alter_partition_reassignments_response_reassignable_topic_response

/* ---- AlterPartitionReassignments ----------------------------------------------------------------------- */

struct alter {
    struct frame       f;
    struct arena      *arena;           /* of the ask */
    struct move       *v;
    struct part_out  **out;             /* of each move */
    struct unlist     *listed;          /* of each move */
    size_t             n;
};

#define IDS_TEXT 256                    /* longer lists are cut in messages */

static const char *ids_text(char out[IDS_TEXT], struct znode_replicas r)
{
    int at = 0;

    out[0] = '\0';
    for (int32_t i = 0; i < r.n && at < IDS_TEXT - 14; i++)
        at += snprintf(out + at, (size_t)(IDS_TEXT - at), "%s%d", i > 0 ? ", " : "", r.v[i]);
    return out;
}

static const char *live_text(char out[IDS_TEXT], const struct controller *c)
{
    int at = 0;

    out[0] = '\0';
    for (size_t i = 0; i < c->ctx.brokers_n && at < IDS_TEXT - 14; i++)
        if (context_online(&c->ctx, c->ctx.brokers[i].id))
            at += snprintf(out + at, (size_t)(IDS_TEXT - at), "%s%d", at > 0 ? ", " : "", c->ctx.brokers[i].id);
    return out;
}

static void fail(struct part_out *out, int16_t error, const char *message)
{
    out->error_code = error;
    out->error_message = str_of(message != NULL ? message : kerr_message(error));
}

/* What is wrong with a list of replicas as such. */
static const char *list_fault(struct arena *a, struct znode_replicas r)
{
    char ids[IDS_TEXT];

    if (r.n == 0)
        return "Empty replica list specified in partition reassignment.";
    if (replicas_repeat(a, r))
        return arena_printf(a, "Duplicate replica ids in partition reassignment replica list: ArrayBuffer(%s)",
                            ids_text(ids, r));
    for (int32_t i = 0; i < r.n; i++)
        if (r.v[i] < 0)
            return arena_printf(a, "Invalid broker id in replica list: ArrayBuffer(%s)", ids_text(ids, r));
    return NULL;
}

static const char *dead_fault(const struct controller *c, struct arena *a, struct znode_replicas adding)
{
    char ids[IDS_TEXT], live[IDS_TEXT];

    for (int32_t i = 0; i < adding.n; i++)
        if (!context_online(&c->ctx, adding.v[i]))
            return arena_printf(a, "Replica assignment has brokers that are not alive. Replica list: ArrayBuffer(%s), "
                                "live broker list: Set(%s)", ids_text(ids, adding), live_text(live, c));
    return NULL;
}

/* Adds a move, or says in out why there is none. broker/api/reassignments.c has left each partition once. ERR_NOMEM. */
static int alter_partition_in(struct controller *c, struct alter *al, struct str topic, const struct part_in *in,
                              struct part_out *out)
{
    static const struct ctl_partition nobody = { .index = -1 };
    struct ctl_topic *t = context_topic(&c->ctx, topic);
    struct ctl_partition *p = t != NULL ? context_partition(t, in->partition_index) : NULL;
    struct znode_replicas want = { in->replicas, in->replicas_n };
    struct move *m = &al->v[al->n];
    const char *bad;

    *m = (struct move){ .p = p };
    if (in->replicas_n >= 0) {
        bad = list_fault(al->arena, want);
        if (bad == NULL && (size_t)want.n > c->ctx.brokers_n + (size_t)(p != NULL ? p->replicas.n : 0)) {
            bad = dead_fault(c, al->arena, want);   /* so many do not live: not worth a closer look */
        } else if (bad == NULL) {
            TRY(move_to(al->arena, p != NULL ? p : &nobody, want, &m->to));
            bad = dead_fault(c, al->arena, m->to.adding);
        }
        if (bad != NULL) {
            fail(out, KERR_INVALID_REPLICA_ASSIGNMENT, bad);
            return OK;
        }
    } else if (p == NULL || (p->adding.n == 0 && p->removing.n == 0)) {
        fail(out, KERR_NO_REASSIGNMENT_IN_PROGRESS, NULL);
        return OK;
    } else {
        TRY(move_back(al->arena, p, &m->to));
    }
    if (p == NULL || t->queued) {
        fail(out, KERR_UNKNOWN_TOPIC_OR_PARTITION, "The partition does not exist.");
        return OK;
    }
    al->listed[al->n] = (struct unlist){ topic_str(t), p->index, { NULL, 0 } };
    al->out[al->n++] = out;
    return OK;
}

static int alter_in(struct controller *c, struct alter *al, const struct alter_req *req, struct alter_resp *resp)
{
    size_t total = 0;

    for (int32_t i = 0; i < req->topics_n; i++)
        total += (size_t)req->topics[i].partitions_n;
    al->v = arena_array(al->arena, total + 1, sizeof *al->v);
    al->out = arena_array(al->arena, total + 1, sizeof(struct part_out *));
    al->listed = arena_array(al->arena, total + 1, sizeof *al->listed);
    resp->responses = arena_array(al->arena, (size_t)req->topics_n + 1, sizeof *resp->responses);
    if (al->v == NULL || al->out == NULL || al->listed == NULL || resp->responses == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < req->topics_n; i++) {
        struct topic_out *to = &resp->responses[resp->responses_n++];

        alter_partition_reassignments_response_reassignable_topic_response_init(to);
        to->name = req->topics[i].name;
        to->partitions = arena_array(al->arena, (size_t)req->topics[i].partitions_n + 1, sizeof *to->partitions);
        if (to->partitions == NULL)
            return ERR_NOMEM;
        for (int32_t k = 0; k < req->topics[i].partitions_n; k++) {
            struct part_out *out = &to->partitions[to->partitions_n++];

            alter_partition_reassignments_response_reassignable_partition_response_init(out);
            out->partition_index = req->topics[i].partitions[k].partition_index;
            TRY(alter_partition_in(c, al, to->name, &req->topics[i].partitions[k], out));
        }
    }
    return OK;
}

/* The latest wish counts: what a tool has listed of these partitions is forgotten. */
static enum step_next alter_unlist(struct controller *c, struct frame *f)
{
    struct alter *al = (struct alter *)f;

    if (al->n > 0)
        reassign_unlist(c, al->listed, al->n);
    return STEP_NEXT;
}

static enum step_next alter_run(struct controller *c, struct frame *f)
{
    struct alter *al = (struct alter *)f;

    if (al->n > 0)
        moves_run(c, al->arena, al->v, al->n);
    return STEP_NEXT;
}

static enum step_next alter_answer(struct controller *c, struct frame *f)
{
    struct alter *al = (struct alter *)f;

    (void)c;
    for (size_t i = 0; i < al->n; i++)
        if (al->v[i].error != KERR_NONE)
            fail(al->out[i], al->v[i].error, NULL);
    return STEP_NEXT;
}

void reassignments_asked(struct controller *c, struct controller_ask *ask)
{
    static const struct step steps[] = {
        { "out of the list", alter_unlist }, { "move", alter_run }, { "answer", alter_answer }, { NULL, NULL },
    };
    struct alter *al = frame_push(c, sizeof *al, steps);

    if (al == NULL)
        return;
    al->arena = ask->arena;
    if (alter_in(c, al, ask->req, ask->resp) != OK) {
        alter_partition_reassignments_response_init(ask->resp);
        ((struct alter_resp *)ask->resp)->error_code = KERR_UNKNOWN_SERVER_ERROR;
        al->n = 0;
    }
}

/* ---- ListPartitionReassignments ------------------------------------------------------------------------ */

#define list_req       list_partition_reassignments_request
#define list_topic_in  list_partition_reassignments_request_list_partition_reassignments_topics
#define list_resp      list_partition_reassignments_response
#define list_topic_out list_partition_reassignments_response_ongoing_topic_reassignment
#define list_part_out  list_partition_reassignments_response_ongoing_partition_reassignment

static bool copy(struct arena *a, const struct ids *ids, int32_t **v, int32_t *n)
{
    *v = arena_array(a, (size_t)ids->n + 1, sizeof **v);
    if (*v == NULL)
        return false;
    if (ids->n > 0)
        memcpy(*v, ids->v, (size_t)ids->n * sizeof **v);
    *n = ids->n;
    return true;
}

static int list_partition(struct arena *a, const struct ctl_partition *p, struct list_topic_out *to)
{
    struct list_part_out *out = &to->partitions[to->partitions_n++];

    list_partition_reassignments_response_ongoing_partition_reassignment_init(out);
    out->partition_index = p->index;
    return copy(a, &p->replicas, &out->replicas, &out->replicas_n) &&
           copy(a, &p->adding, &out->adding_replicas, &out->adding_replicas_n) &&
           copy(a, &p->removing, &out->removing_replicas, &out->removing_replicas_n) ? OK : ERR_NOMEM;
}

/* in NULL: all of them. */
static int list_topic(struct arena *a, const struct ctl_topic *t, const struct list_topic_in *in,
                      struct list_resp *resp)
{
    int32_t n = in != NULL ? in->partition_indexes_n : t->partitions_n;
    struct list_topic_out *to = &resp->topics[resp->topics_n];

    list_partition_reassignments_response_ongoing_topic_reassignment_init(to);
    for (int32_t i = 0; i < n; i++) {
        const struct ctl_partition *p = in != NULL ? context_partition(t, in->partition_indexes[i]) : &t->partitions[i];

        if (p == NULL || (p->adding.n == 0 && p->removing.n == 0))
            continue;
        if (to->partitions == NULL) {
            to->partitions = arena_array(a, (size_t)n + 1, sizeof *to->partitions);
            if (to->partitions == NULL || arena_str(a, topic_str(t), &to->name) != OK)
                return ERR_NOMEM;
            resp->topics_n++;
        }
        TRY(list_partition(a, p, to));
    }
    return OK;
}

void reassignments_list_asked(struct controller *c, struct controller_ask *ask)
{
    const struct list_req *req = ask->req;
    struct list_resp *resp = ask->resp;
    bool all = req->topics_n < 0;
    size_t max = all ? HASH_COUNT(c->ctx.topics) : (size_t)req->topics_n;
    int rc = OK;

    resp->topics = arena_array(ask->arena, max + 1, sizeof *resp->topics);
    if (resp->topics == NULL)
        rc = ERR_NOMEM;
    for (int32_t i = 0; i < req->topics_n && rc == OK; i++) {
        const struct ctl_topic *t = context_topic(&c->ctx, req->topics[i].name);

        if (t != NULL)
            rc = list_topic(ask->arena, t, &req->topics[i], resp);
    }
    for (const struct ctl_topic *t = c->ctx.topics; all && t != NULL && rc == OK; t = t->hh.next)
        rc = list_topic(ask->arena, t, NULL, resp);
    if (rc != OK) {
        list_partition_reassignments_response_init(resp);
        resp->error_code = KERR_UNKNOWN_SERVER_ERROR;
    }
}
