/* broker/controller/alter_partition.c - AlterPartition: a leader asks for another ISR.
 *
 * The tests, in Apache Kafka's order. Beyond them (rule R6): a request that names the broker epochs of the members
 * (version 3) is refused if one of them has registered anew since the leader saw it catch up, for then it may have come
 * back with an empty disk; and an ISR that no leader of ours can mean (empty, without the leader, with a member twice
 * or one that has no replica) is refused as INVALID_REQUEST. What passes is written with the version that the leader
 * knows; a leader that somebody else overtook asks again.
 */
#include "broker/controller/ask.h"

#include "base/log.h"
#include "broker/controller/priv.h"
#include "broker/controller/reassign.h"
#include "broker/controller/rewrite.h"
#include "proto/gen/alter_partition_request.h"
#include "proto/gen/alter_partition_response.h"
#include "proto/kerr.h"

#define AP_IN(x)  struct alter_partition_request_##x
#define AP_OUT(x) struct alter_partition_response_##x

struct wanted {
    AP_OUT(partition_data) *out;
    struct ctl_partition   *p;
    struct ids              isr;                /* in the ask's arena */
    const int64_t          *epochs;             /* one for each; NULL: not given */
    int32_t                 leader_epoch, partition_epoch;
    bool                    recovering;
    bool                    passed;
};

struct altering {
    struct rewrite rw;
    struct arena  *arena;                       /* the ask's */
};

/* ---- one partition: the tests -------------------------------------------------------------------------- */

static bool same_set(const struct ids *a, const struct ids *b)
{
    for (int32_t i = 0; i < a->n; i++)
        if (!ids_have(b, a->v[i]))
            return false;
    return a->n == b->n;
}

static bool well_formed(const struct wanted *w, int32_t leader)
{
    for (int32_t i = 0; i < w->isr.n; i++) {
        struct ids before = { w->isr.v, i };

        if (ids_have(&before, w->isr.v[i]) || !ids_have(&w->p->replicas, w->isr.v[i]))
            return false;
    }
    return ids_have(&w->isr, leader);
}

static bool eligible(const struct controller *c, const struct wanted *w)
{
    for (int32_t i = 0; i < w->isr.n; i++) {
        const struct ctl_broker *b = context_broker(&c->ctx, w->isr.v[i]);

        if (b == NULL || !context_online(&c->ctx, b->id))
            return false;
        if (w->epochs != NULL && w->epochs[i] >= 0 && w->epochs[i] != b->epoch)
            return false;
        /* Its process may have died, and another, with an empty disk, be about to register (R6). */
        if (b->unreachable && !ids_have(&w->p->isr, b->id))
            return false;
    }
    return true;
}

enum verdict { PASSED, STANDS, REFUSED };

static enum verdict refuse(struct wanted *w, int16_t error)
{
    w->out->error_code = error;
    return REFUSED;
}

static enum verdict test(const struct controller *c, struct wanted *w, int32_t asker, int16_t version)
{
    const struct ctl_partition *p = w->p;

    if (p == NULL || !p->has_leadership)
        return refuse(w, KERR_UNKNOWN_TOPIC_OR_PARTITION);
    if (w->partition_epoch > p->zk_version || w->leader_epoch > p->leader_epoch)
        return refuse(w, KERR_NOT_CONTROLLER);              /* it has heard of a later one than this */
    if (w->leader_epoch < p->leader_epoch)
        return refuse(w, KERR_FENCED_LEADER_EPOCH);
    if (p->leader == asker && same_set(&w->isr, &p->isr) && w->recovering == p->recovering)
        return STANDS;
    if (w->partition_epoch < p->zk_version)
        return refuse(w, KERR_INVALID_UPDATE_VERSION);
    if (p->leader != asker || !well_formed(w, asker) || (w->recovering && (w->isr.n > 1 || !p->recovering)))
        return refuse(w, KERR_INVALID_REQUEST);
    if (!eligible(c, w))
        return refuse(w, version >= 2 ? KERR_INELIGIBLE_REPLICA : KERR_OPERATION_NOT_ATTEMPTED);
    return PASSED;
}

/* ---- writing ------------------------------------------------------------------------------------------- */

static enum rewrite_verdict decide(struct controller *c, struct rewrite *rw, struct rewrite_item *it)
{
    const struct wanted *w = it->subject;

    (void)c, (void)rw;
    if (it->p->zk_version != w->partition_epoch) {          /* named twice in one request */
        it->error = KERR_INVALID_UPDATE_VERSION;
        return REWRITE_REFUSE;
    }
    it->next.isr.n = 0;
    for (int32_t i = 0; i < w->isr.n; i++)
        it->next.isr.v[it->next.isr.n++] = w->isr.v[i];
    it->next.recovering = w->recovering;
    return REWRITE_WRITE;
}

static void settled(struct controller *c, struct rewrite *rw, struct rewrite_item *it, bool written)
{
    (void)rw, (void)written;
    batch_update(c, it->p);
    reassign_isr_changed(c, it->p);
}

static void say_what_stands(struct arena *a, struct wanted *w)
{
    const struct ctl_partition *p = w->p;

    w->out->isr = arena_array(a, (size_t)p->isr.n + 1, sizeof *w->out->isr);
    if (w->out->isr == NULL) {
        w->out->error_code = KERR_UNKNOWN_SERVER_ERROR;
        return;
    }
    for (int32_t i = 0; i < p->isr.n; i++)
        w->out->isr[w->out->isr_n++] = p->isr.v[i];
    w->out->leader_id = p->leader;
    w->out->leader_epoch = p->leader_epoch;
    w->out->leader_recovery_state = p->recovering;
    w->out->partition_epoch = p->zk_version;
}

static void altered(struct rewrite *rw)
{
    struct altering *al = (struct altering *)rw;

    for (size_t i = 0; i < rw->n; i++) {
        struct wanted *w = rw->v[i].subject;

        if (rw->v[i].error != KERR_NONE)
            w->out->error_code = rw->v[i].error;
        else
            say_what_stands(al->arena, w);
    }
}

static void write_all(struct controller *c, struct arena *a, struct wanted *v, size_t n, size_t passed)
{
    static const struct rewrite_kind kind = { .what = "its ISR cannot be changed", .once = true, .decide = decide,
                                              .settled = settled };
    struct altering *al = rewrite_push(c, &kind, passed, sizeof *al);

    if (al == NULL)
        return;
    al->arena = a;
    al->rw.n = 0;
    al->rw.fini = altered;
    for (size_t i = 0; i < n; i++)
        if (v[i].passed)
            al->rw.v[al->rw.n++] = (struct rewrite_item){ .p = v[i].p, .subject = &v[i] };
}

/* ---- the request ---------------------------------------------------------------------------------------- */

static bool take_isr(struct arena *a, const AP_IN(partition_data) *in, struct wanted *w)
{
    int64_t *epochs;

    w->isr = (struct ids){ in->new_isr, in->new_isr_n };
    if (in->new_isr_with_epochs_n == 0)
        return true;
    w->isr = (struct ids){ arena_array(a, (size_t)in->new_isr_with_epochs_n, sizeof(int32_t)), 0 };
    epochs = arena_array(a, (size_t)in->new_isr_with_epochs_n, sizeof *epochs);
    if (w->isr.v == NULL || epochs == NULL)
        return false;
    for (int32_t i = 0; i < in->new_isr_with_epochs_n; i++) {
        w->isr.v[i] = in->new_isr_with_epochs[i].broker_id;
        epochs[i] = in->new_isr_with_epochs[i].broker_epoch;
    }
    w->isr.n = in->new_isr_with_epochs_n;
    w->epochs = epochs;
    return true;
}

/* The answer has the same shape as the request. false: out of memory. */
static bool answer_topic(struct arena *a, const AP_IN(topic_data) *in, AP_OUT(topic_data) *out)
{
    alter_partition_response_topic_data_init(out);
    out->topic_name = in->topic_name;
    out->topic_id = in->topic_id;
    out->partitions = arena_array(a, (size_t)in->partitions_n + 1, sizeof *out->partitions);
    if (out->partitions == NULL)
        return false;
    out->partitions_n = in->partitions_n;
    for (int32_t i = 0; i < in->partitions_n; i++) {
        alter_partition_response_partition_data_init(&out->partitions[i]);
        out->partitions[i].partition_index = in->partitions[i].partition_index;
    }
    return true;
}

static bool take_topic(struct controller *c, const struct controller_ask *ask, const AP_IN(topic_data) *in,
                       AP_OUT(topic_data) *out, struct wanted *w)
{
    struct ctl_topic *t = ask->version >= 2 ? context_topic_by_id(&c->ctx, in->topic_id)
                                            : context_topic(&c->ctx, in->topic_name);

    if (!answer_topic(ask->arena, in, out))
        return false;
    for (int32_t i = 0; i < in->partitions_n; i++) {
        const AP_IN(partition_data) *from = &in->partitions[i];

        w[i] = (struct wanted){ .out = &out->partitions[i], .leader_epoch = from->leader_epoch,
                                .p = t != NULL ? context_partition(t, from->partition_index) : NULL,
                                .partition_epoch = from->partition_epoch,
                                .recovering = from->leader_recovery_state != 0 };
        if (!take_isr(ask->arena, from, &w[i]))
            return false;
        if (t == NULL && ask->version >= 2)
            w[i].out->error_code = KERR_UNKNOWN_TOPIC_ID;
    }
    return true;
}

static struct wanted *take_all(struct controller *c, const struct controller_ask *ask, size_t *n)
{
    const struct alter_partition_request *req = ask->req;
    struct alter_partition_response *resp = ask->resp;
    struct wanted *v;

    *n = 0;
    for (int32_t i = 0; i < req->topics_n; i++)
        *n += (size_t)req->topics[i].partitions_n;
    v = arena_array(ask->arena, *n + 1, sizeof *v);
    resp->topics = arena_array(ask->arena, (size_t)req->topics_n + 1, sizeof *resp->topics);
    if (v == NULL || resp->topics == NULL)
        return NULL;
    *n = 0;
    for (int32_t i = 0; i < req->topics_n; i++) {
        if (!take_topic(c, ask, &req->topics[i], &resp->topics[i], &v[*n]))
            return NULL;
        *n += (size_t)req->topics[i].partitions_n;
    }
    resp->topics_n = req->topics_n;
    return v;
}

void alter_partition_asked(struct controller *c, struct controller_ask *ask)
{
    const struct alter_partition_request *req = ask->req;
    struct alter_partition_response *resp = ask->resp;
    const struct ctl_broker *asker = context_broker(&c->ctx, req->broker_id);
    size_t n, passed = 0;
    struct wanted *v;

    if (asker == NULL || !asker->live || asker->epoch != req->broker_epoch) {
        resp->error_code = KERR_STALE_BROKER_EPOCH;
        return;
    }
    v = take_all(c, ask, &n);
    if (v == NULL) {
        ctl_abort(c, ERR_NOMEM, "a change of ISRs");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        enum verdict verdict = v[i].out->error_code == KERR_NONE ? test(c, &v[i], req->broker_id, ask->version)
                                                                 : REFUSED;

        v[i].passed = verdict == PASSED;
        passed += v[i].passed;
        if (verdict == STANDS)
            say_what_stands(ask->arena, &v[i]);
    }
    if (passed > 0)
        write_all(c, ask->arena, v, n, passed);
}
