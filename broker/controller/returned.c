/* broker/controller/returned.c - brokers that went while there was no controller, whether they came back or not.
 *
 * A controller that stands sees a broker's node go, or come with another czxid, and takes it out of the ISRs before it
 * tells it to lead or to follow: it may have come back with less than it had (rule R6). One that is only just elected
 * sees nothing of that: the broker is registered, and the state says that it leads. But a broker that registered after
 * the state was last written (czxid > mzxid) has been away since it was taken into that ISR, for whoever watched it
 * come would have written. One that is not registered is away still. So at the start of a term, before anybody is told
 * of a partition:
 *
 * 1. Is another member of the ISR online that has not been away? Those that have leave the ISR, as when they bounce
 *    under a controller's eyes; they come back when they have caught up. If one of them led, the other leads. (One that
 *    is dead would hold up acks=all until the leader finds that it lags: where nothing is produced it never does.)
 * 2. Nobody else (all of them were away: the whole cluster was started)? All that are there stay, for nobody knows more
 *    than they do; a leader that is there leads on, in another epoch, so that the logs of all are compared with what it
 *    has come back with.
 *
 * In both cases those leave, too, that are not assigned: a controller that ended while it cancelled a move may have
 * left them in the ISR (replicas.c). They cannot lead, nor stay leaders when there is another; one that led is told so.
 *
 * Otherwise partitions with one replica stay as they are: there is nobody to compare with. A controller before us that
 * is out of reach (unreachable.c) does not count as online: what it led and was in is looked at in a moment.
 *
 * What is not seen: a write of the state between the return and the term, by the controller before us, or by a leader
 * (inter.broker.protocol.version < 2.7-IV2), which had not heard of the return either. Afterwards it looks as if the
 * broker had come back, caught up and joined the ISR under that controller's eyes. Nor can the write be made to fail:
 * what a multi can check is the version of a node's data, and that of a registration made anew is what it was before.
 */
#include "broker/controller/priv.h"
#include "broker/controller/rewrite.h"

#include "base/log.h"

struct returning {
    struct rewrite rw;
    size_t         written;
};

static bool was_away(const struct controller *c, const struct ctl_partition *p, int32_t broker)
{
    const struct ctl_broker *b = context_broker(&c->ctx, broker);

    return b == NULL || !b->live || b->epoch > p->state_zxid;
}

static bool concerns(const struct controller *c, const struct ctl_partition *p)
{
    bool any = false;

    for (int32_t i = 0; i < p->isr.n && !any; i++)
        any = !ids_have(&p->replicas, p->isr.v[i]) || (p->replicas.n > 1 && was_away(c, p, p->isr.v[i]));
    return any && p->has_leadership && !p->topic->queued;
}

/* The first assigned member of the ISR that is online and was so all the time; -1: none. */
static int32_t heir(const struct controller *c, const struct ctl_partition *p)
{
    for (int32_t i = 0; i < p->replicas.n; i++) {
        int32_t id = p->replicas.v[i];

        if (ids_have(&p->isr, id) && context_replica_online(&c->ctx, p, id) && !was_away(c, p, id) &&
            !context_broker(&c->ctx, id)->unreachable)
            return id;
    }
    return -1;
}

static enum rewrite_verdict decide(struct controller *c, struct rewrite *rw, struct rewrite_item *it)
{
    const struct ctl_partition *p = it->p;
    int32_t to = heir(c, p);
    bool led = was_away(c, p, p->leader), assigned = ids_have(&p->replicas, p->leader);

    (void)rw;
    if (to < 0 && !(led && assigned && context_online(&c->ctx, p->leader)))
        return REWRITE_KEEP;
    it->next.leader_epoch = p->leader_epoch + 1;
    if (to >= 0 && (led || !assigned))
        it->next.leader = to;
    it->next.isr.n = 0;
    for (int32_t i = 0; i < p->isr.n; i++)
        if (ids_have(&p->replicas, p->isr.v[i]) &&
            (to >= 0 ? !was_away(c, p, p->isr.v[i]) : context_live(&c->ctx, p->isr.v[i])))
            it->next.isr.v[it->next.isr.n++] = p->isr.v[i];
    return REWRITE_WRITE;
}

/* The brokers hear of it with everything else that they are told at the start of a term; a leader that is not assigned,
 * and is told nothing else, at once (rewrite.c). */
static void settled(struct controller *c, struct rewrite *rw, struct rewrite_item *it, bool written)
{
    (void)c, (void)it;
    ((struct returning *)rw)->written += written;
}

static void say(struct rewrite *rw)
{
    size_t n = ((struct returning *)rw)->written;

    if (n > 0)
        log_info("controller: %zu partitions had replicas in sync on brokers that went while there was no controller, "
                 "or that are not assigned: others lead, or the same in another epoch", n);
}

void returned_start(struct controller *c, struct ctl_partition **v, size_t n)
{
    static const struct rewrite_kind kind = { .what = "who was away cannot be taken out of its ISR",
                                              .decide = decide, .settled = settled };
    struct returning *re;
    size_t total = 0;

    for (size_t i = 0; i < n; i++)
        total += concerns(c, v[i]);
    re = total > 0 ? rewrite_push(c, &kind, total, sizeof *re) : NULL;
    if (re == NULL)
        return;
    re->rw.n = 0;
    re->rw.fini = say;
    for (size_t i = 0; i < n; i++)
        if (concerns(c, v[i]))
            re->rw.v[re->rw.n++].p = v[i];
}
