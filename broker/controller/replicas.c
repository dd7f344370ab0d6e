/* broker/controller/replicas.c - the only code that writes ctl_partition.replica_state.
 *
 *   NonExistent -> New               LeaderAndIsr with the present leader, as a new replica; a replica of a new
 *                                    partition, which has none, learns of it when the partition goes Online
 *   New -> Online                    memory only
 *   Offline, Online, ... -> Online   LeaderAndIsr with the present leader, unless that is itself from before it went
 *   -> Offline                       StopReplica without deletion; the replica leaves the ISR (the last one
 *                                    stays), and the leadership, in the state node: leader epoch + 1; the
 *                                    others learn by LeaderAndIsr. Who is in sync without being assigned leaves
 *                                    with it
 *   -> DeletionStarted               StopReplica with deletion
 *   DeletionSuccessful -> NonExistent  a replica that has left the assignment is forgotten
 *   the others                       memory only
 */
#include "broker/controller/priv.h"

#include "base/log.h"
#include "broker/controller/rewrite.h"

#include <stdlib.h>

static uint8_t *slot(const struct ctl_partition *p, int32_t broker)
{
    for (int32_t i = 0; i < p->hosts_n; i++)
        if (p->replicas.v[i] == broker)
            return &p->replica_state[i];
    return NULL;
}

enum replica_state replica_state(const struct ctl_partition *p, int32_t broker)
{
    const uint8_t *s = slot(p, broker);

    return s != NULL ? (enum replica_state)*s : REPLICA_NONEXISTENT;
}

static bool go(const struct replica_ref *r, enum replica_state to)
{
    uint8_t *s = slot(r->p, r->broker);

    if (s == NULL)
        return false;
    if (!replica_state_legal((enum replica_state)*s, to)) {
        log_error("controller: replica %d of %s-%d cannot go from %s to %s", r->broker, r->p->topic->name, r->p->index,
                  replica_state_name((enum replica_state)*s), replica_state_name(to));
        return false;
    }
    *s = (uint8_t)to;
    return true;
}

/* Replicas of live brokers are Online, the others Offline; each online one is told who leads. Every broker hears of
 * every partition, also of those whose replicas are all offline: it may be new itself. */
void replicas_start(struct controller *c, struct ctl_partition **v, size_t n)
{
    batch_begin(c);
    for (size_t i = 0; i < n; i++) {
        struct ctl_partition *p = v[i];

        if (p->has_leadership)
            batch_update(c, p);
        for (int32_t k = 0; k < p->replicas.n; k++) {
            bool live = context_online(&c->ctx, p->replicas.v[k]);

            p->replica_state[k] = live ? REPLICA_ONLINE : p->topic->queued ? REPLICA_INELIGIBLE : REPLICA_OFFLINE;
            if (live && p->has_leadership)
                batch_leader_and_isr(c, p->replicas.v[k], p, false);
        }
    }
    batch_send(c);
}

/* It led when it went, and no controller saw it go (a new one leaves the state as it is when there is nobody else in
 * sync). In the same epoch as before it would lead with what it has come back with, and the logs would not be compared:
 * it is told when it has been elected, in a moment, in the next one. */
static bool led_when_it_went(const struct ctl_partition *p, int32_t broker)
{
    return p->leader == broker && p->state == PARTITION_OFFLINE && !p->topic->queued;
}

/* Every step but the one to Offline. */
void replicas_to(struct controller *c, const struct replica_ref *v, size_t n, enum replica_state to)
{
    batch_begin(c);
    for (size_t i = 0; i < n; i++) {
        enum replica_state from = replica_state(v[i].p, v[i].broker);

        if (!go(&v[i], to))
            continue;
        if (to == REPLICA_ONLINE && from != REPLICA_NEW && v[i].p->has_leadership &&
            !led_when_it_went(v[i].p, v[i].broker))
            batch_leader_and_isr(c, v[i].broker, v[i].p, false);
        else if (to == REPLICA_NEW && v[i].p->has_leadership)
            batch_leader_and_isr(c, v[i].broker, v[i].p, true);
        else if (to == REPLICA_DELETE_STARTED)
            batch_stop(c, v[i].broker, v[i].p, true);
        else if (to == REPLICA_NONEXISTENT)
            context_forget_host(v[i].p, v[i].broker);
    }
    batch_send(c);
}

/* ---- to Offline --------------------------------------------------------------------------------------- */

/* Items are partitions; their subject points at the first of their replicas among refs. */
struct offline {
    struct rewrite      rw;
    struct replica_ref *refs;           /* by partition; the last has none */
};

static bool leaves(const struct rewrite_item *it, int32_t broker)
{
    for (const struct replica_ref *r = it->subject; r->p == it->p; r++)
        if (r->broker == broker)
            return true;
    return false;
}

/* Of those that leave the ISR one that is assigned, if there is any; the leader before others. */
static int32_t last_in_sync(const struct rewrite_item *it)
{
    const struct ctl_partition *p = it->p;
    int32_t last = -1;

    for (int32_t i = 0; i < p->isr.n; i++)
        if (leaves(it, p->isr.v[i]) && ids_have(&p->replicas, p->isr.v[i]) && (last != p->leader || last < 0))
            last = p->isr.v[i];
    return last;
}

/* A leader is in its ISR, whoever it is. */
static void drop_unassigned(const struct ctl_partition *p, struct znode_state *next)
{
    struct znode_replicas *isr = &next->isr;
    int32_t n = 0;

    for (int32_t i = 0; i < isr->n; i++)
        if (ids_have(&p->replicas, isr->v[i]) || isr->v[i] == next->leader)
            isr->v[n++] = isr->v[i];
    isr->n = n;
}

/* The last in sync stays: it has all that was ever acknowledged. Only who is assigned counts, for nobody else may lead:
 * a controller that ended while it cancelled a move may have left others in the ISR. They go: nobody may read what only
 * they and the leader have, and they would count for min.insync.replicas. */
static enum rewrite_verdict leave_isr(struct controller *c, struct rewrite *rw, struct rewrite_item *it)
{
    const struct ctl_partition *p = it->p;
    struct znode_replicas *isr = &it->next.isr;
    bool assigned = false;
    int32_t last;

    (void)c, (void)rw;
    isr->n = 0;
    for (int32_t i = 0; i < p->isr.n; i++)
        if (!leaves(it, p->isr.v[i])) {
            isr->v[isr->n++] = p->isr.v[i];
            assigned |= ids_have(&p->replicas, p->isr.v[i]);
        }
    if (isr->n == p->isr.n)
        return REWRITE_KEEP;
    last = assigned ? -1 : last_in_sync(it);
    if (last >= 0 || isr->n == 0)
        isr->v[isr->n++] = last >= 0 ? last : p->isr.v[p->isr.n - 1];
    if (leaves(it, p->leader))
        it->next.leader = -1;
    if (assigned || last >= 0)
        drop_unassigned(p, &it->next);
    it->next.leader_epoch = p->leader_epoch + 1;
    return REWRITE_WRITE;
}

/* The present leadership is final: tell the other replicas. */
static void left_isr(struct controller *c, struct rewrite *rw, struct rewrite_item *it, bool written)
{
    struct ctl_partition *p = it->p;

    (void)rw;
    if (p->topic->queued)
        return;
    batch_update(c, p);
    for (int32_t i = 0; i < p->replicas.n && written; i++)
        if (!leaves(it, p->replicas.v[i]) && context_replica_online(&c->ctx, p, p->replicas.v[i]))
            batch_leader_and_isr(c, p->replicas.v[i], p, false);
}

static int by_partition(const void *a, const void *b)
{
    const struct replica_ref *x = a, *y = b;

    if (x->p != y->p)
        return (uintptr_t)x->p < (uintptr_t)y->p ? -1 : 1;
    return (x->broker > y->broker) - (x->broker < y->broker);
}

static void offline_fini(struct rewrite *rw)
{
    free(((struct offline *)rw)->refs);
}

/* The brokers are told to stop, without deletion; it goes out with the rest. */
static void stop_replicas(struct controller *c, struct rewrite *rw)
{
    for (struct replica_ref *r = ((struct offline *)rw)->refs; r->p != NULL; r++) {
        if (!go(r, REPLICA_OFFLINE)) {
            r->broker = -1;                         /* has no effect below */
            continue;
        }
        batch_stop(c, r->broker, r->p, false);
        if (!r->p->has_leadership)
            batch_update(c, r->p);
    }
}

/* One item for each partition of refs. */
static void isr_push(struct controller *c, const struct rewrite_kind *kind, const struct replica_ref *v, size_t n)
{
    struct offline *o = rewrite_push(c, kind, n, sizeof *o);

    if (o == NULL)
        return;
    o->rw.fini = offline_fini;
    o->rw.n = 0;
    o->refs = calloc(n + 1, sizeof *o->refs);
    if (o->refs == NULL) {
        ctl_abort(c, ERR_NOMEM, kind->what);
        o->rw.n = 0;
        return;
    }
    if (n > 0)
        memcpy(o->refs, v, n * sizeof *v);
    if (n > 1)
        qsort(o->refs, n, sizeof *o->refs, by_partition);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || o->refs[i].p != o->refs[i - 1].p)
            o->rw.v[o->rw.n++] = (struct rewrite_item){ .p = o->refs[i].p, .subject = &o->refs[i] };
}

void replicas_offline(struct controller *c, const struct replica_ref *v, size_t n)
{
    static const struct rewrite_kind kind = { .what = "a replica cannot be taken out of the ISR",
                                              .begun = stop_replicas, .decide = leave_isr, .settled = left_isr };

    isr_push(c, &kind, v, n);
}

/* ---- out of the ISR, but still there ------------------------------------------------------------------- */

/* The last one in sync stays, and leads on. */
static enum rewrite_verdict suspend(struct controller *c, struct rewrite *rw, struct rewrite_item *it)
{
    return leaves(it, it->p->leader) ? REWRITE_KEEP : leave_isr(c, rw, it);
}

static void suspended(struct controller *c, struct rewrite *rw, struct rewrite_item *it, bool written)
{
    (void)rw;
    for (int32_t i = 0; i < it->p->replicas.n && written; i++)
        batch_leader_and_isr(c, it->p->replicas.v[i], it->p, false);
}

void replicas_suspend(struct controller *c, const struct replica_ref *v, size_t n)
{
    static const struct rewrite_kind kind = { .what = "a replica cannot be taken out of the ISR",
                                              .decide = suspend, .settled = suspended };

    isr_push(c, &kind, v, n);
}
