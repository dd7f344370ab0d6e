/* broker/controller/reassign.c - moving the replicas of partitions (KIP-455), many partitions at a time.
 *
 * O: the replicas it had; T: the target. The topic's node is the memory of a move: while it runs, the node has
 * replicas = T, then those of O that are not in T; adding_replicas = T without O; removing_replicas = O without T.
 *
 *   U   U1 the node is written   U2 memory follows; replicas that an earlier move was adding and this one does not
 *       want are stopped and deleted (U3)
 *   A   some of T is not in the ISR: A1 leader epoch + 1, all are told by LeaderAndIsr   A2 new replicas -> New.
 *       The move waits until the ISR has grown.
 *   B   T is in the ISR: B1 new replicas -> Online   B2 in memory the assignment is T   B3 a leader that is not in T,
 *       or is dead, is replaced; else leader epoch + 1, T is told   B4 what goes: -> Offline, out of the ISR
 *       B5 deleted; until all their brokers that live have answered, the rest waits (p->unwritten), so that no log is
 *       left behind by a controller that ends here   B6 the node: T   B7 out of /admin/reassign_partitions
 *       B8 everybody learns by UpdateMetadata; a deletion of the topic that waited goes on
 *
 * Any step may be the last one of a controller. Until B6 the node tells the next one O and T, and everything it finds
 * done it does again to the same end; after B6 nothing is left but B7, which it does for a target that is reached
 * already. So a partition has all of O, or all of T, never less: what goes is deleted only once T is in the ISR and one
 * of T can lead (Apache Kafka asks for the first only, and may then delete all that lives). One thing is not found:
 * after U1 of a move that cancels or replaces another the node does not name any more what that was adding. A
 * controller that ends before U2 leaves it in the ISR, from which the next one takes it (returned.c), and its log there
 * for ever.
 *
 * Who is down in B5 or U3, or ends before it has answered, keeps its log. Nobody waits for it; but it stays a host,
 * in DeletionStarted, and is told as soon as it is back (reassign_brokers_back()), unless a later move wants it again.
 * That is memory, and goes with the term and with the topic: the log is there for ever then, as always with Apache
 * Kafka. The tree does not tell whether a log that nobody is assigned was taken away or is all that is left after the
 * tree was restored from a backup, so no broker deletes one unasked.
 */
#include "broker/controller/reassign.h"

#include "base/log.h"
#include "broker/controller/leaders.h"
#include "proto/kerr.h"

#include <stdlib.h>

/* ---- assignments -------------------------------------------------------------------------------------- */

static bool among(struct znode_replicas r, int32_t id)
{
    for (int32_t i = 0; i < r.n; i++)
        if (r.v[i] == id)
            return true;
    return false;
}

static struct znode_replicas view(const struct ids *ids)
{
    return (struct znode_replicas){ ids->v, ids->n };
}

/* a without b; in the arena. v NULL: out of memory. */
static struct znode_replicas without(struct arena *a, struct znode_replicas from, struct znode_replicas what)
{
    struct znode_replicas r = { arena_array(a, (size_t)from.n + 1, sizeof(int32_t)), 0 };

    for (int32_t i = 0; i < from.n && r.v != NULL; i++)
        if (!among(what, from.v[i]))
            r.v[r.n++] = from.v[i];
    return r;
}

int move_to(struct arena *a, const struct ctl_partition *p, struct znode_replicas target, struct assignment *out)
{
    struct znode_replicas origin = without(a, view(&p->replicas), view(&p->adding)), all;

    all = (struct znode_replicas){ arena_array(a, (size_t)target.n + (size_t)origin.n + 1, sizeof(int32_t)), 0 };
    if (origin.v == NULL || all.v == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < target.n; i++)
        if (!among(all, target.v[i]))
            all.v[all.n++] = target.v[i];
    for (int32_t i = 0; i < origin.n; i++)
        if (!among(all, origin.v[i]))
            all.v[all.n++] = origin.v[i];
    *out = (struct assignment){ all, without(a, all, origin), without(a, all, target) };
    return out->adding.v != NULL && out->removing.v != NULL ? OK : ERR_NOMEM;
}

int move_back(struct arena *a, const struct ctl_partition *p, struct assignment *out)
{
    struct znode_replicas origin = without(a, view(&p->replicas), view(&p->adding));

    return origin.v != NULL ? move_to(a, p, origin, out) : ERR_NOMEM;
}

static bool same(struct znode_replicas a, struct znode_replicas b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.v, b.v, (size_t)a.n * sizeof *a.v) == 0);
}

/* ---- the frame ---------------------------------------------------------------------------------------- */

struct moves {
    struct frame  f;
    struct arena *arena;                /* of whoever pushed this */
    struct move  *v;
    size_t        n;
};

/* Those that are still to be followed. */
#define EACH(ms, m) for (struct move *m = (ms)->v; m < (ms)->v + (ms)->n; m++) if (m->error == KERR_NONE)
#define EACH_IN_SYNC(ms, m) EACH(ms, m) if (m->in_sync)

static void out_of_memory(struct controller *c)
{
    ctl_abort(c, ERR_NOMEM, "moving replicas");
}

/* The replicas of a list that pick() names, for all moves. NULL: out of memory, aborted. */
static struct replica_ref *refs_of(struct controller *c, const struct moves *ms, size_t *n,
                                   struct znode_replicas (*pick)(const struct move *))
{
    size_t total = 0;
    struct replica_ref *refs;

    EACH(ms, m)
        total += (size_t)pick(m).n;
    refs = calloc(total + 1, sizeof *refs);
    *n = 0;
    if (refs == NULL) {
        out_of_memory(c);
        return NULL;
    }
    EACH(ms, m)
        for (int32_t i = 0; i < pick(m).n; i++)
            refs[(*n)++] = (struct replica_ref){ m->p, pick(m).v[i] };
    return refs;
}

static struct znode_replicas pick_unneeded(const struct move *m)
{
    return m->unneeded;
}

static struct znode_replicas pick_new(const struct move *m)
{
    return m->in_sync ? (struct znode_replicas){ NULL, 0 } : m->to.adding;
}

static struct znode_replicas pick_added(const struct move *m)
{
    return m->in_sync ? m->to.adding : (struct znode_replicas){ NULL, 0 };
}

static struct znode_replicas pick_removing(const struct move *m)
{
    return m->in_sync ? m->to.removing : (struct znode_replicas){ NULL, 0 };
}

static void take_offline(struct controller *c, const struct moves *ms,
                         struct znode_replicas (*pick)(const struct move *))
{
    size_t n;
    struct replica_ref *refs = refs_of(c, ms, &n, pick);

    if (refs != NULL && n > 0)
        replicas_offline(c, refs, n);
    free(refs);
}

/* Their brokers are told to delete them. They stay hosts until they have answered. */
static void delete_them(struct controller *c, const struct moves *ms,
                        struct znode_replicas (*pick)(const struct move *))
{
    size_t n;
    struct replica_ref *refs = refs_of(c, ms, &n, pick);

    if (refs != NULL && n > 0)
        replicas_to(c, refs, n, REPLICA_DELETE_STARTED);
    free(refs);
}

/* ---- phase U ------------------------------------------------------------------------------------------ */

/* Would all that is in sync be deleted? A replica that an earlier move was adding may be the last one: all others were
 * dead, and it leads since. (Apache Kafka deletes it under ZooKeeper, and refuses under KRaft, as here.) Who is in sync
 * without being assigned does not count: it cannot lead. */
static bool takes_all_in_sync(const struct move *m)
{
    const struct ids *isr = &m->p->isr;
    bool takes = false, leaves = false;

    for (int32_t i = 0; i < isr->n; i++) {
        takes |= among(m->unneeded, isr->v[i]);
        leaves |= among(m->to.replicas, isr->v[i]);
    }
    return m->p->has_leadership && takes && !leaves;
}

static void refuse(struct move *m)
{
    m->error = KERR_INVALID_REPLICA_ASSIGNMENT;
    m->p->next = NULL;
    log_warn("%s-%d: its move is not cancelled or replaced: only a replica that it is adding is in sync, and records "
             "would be lost", m->p->topic->name, m->p->index);
}

static enum step_next u1_write(struct controller *c, struct frame *f)
{
    struct moves *ms = (struct moves *)f;
    bool any = false;

    EACH(ms, m) {
        struct ctl_partition *p = m->p;

        if (p->topic->queued)
            p->topic->ineligible = true;
        m->was_unwritten = p->unwritten;
        m->changes = !same(m->to.replicas, view(&p->replicas)) || !same(m->to.adding, view(&p->adding)) ||
                     !same(m->to.removing, view(&p->removing));
        m->unneeded = without(ms->arena, view(&p->replicas), m->to.replicas);
        m->end = (struct assignment){ .replicas = without(ms->arena, m->to.replicas, m->to.removing) };
        if (m->unneeded.v == NULL || m->end.replicas.v == NULL) {
            out_of_memory(c);
            return STEP_END;
        }
        if (takes_all_in_sync(m)) {
            refuse(m);
            continue;
        }
        p->next = m->changes ? &m->to : NULL;
        any |= m->changes;
    }
    if (any)
        moves_write_topics(c, ms->v, ms->n);
    return STEP_NEXT;
}

static void log_begin(const struct move *m)
{
    if (m->to.adding.n > 0 || m->to.removing.n > 0)
        log_info("%s-%d: is being moved: %d replicas to add, %d to remove", m->p->topic->name, m->p->index,
                 m->to.adding.n, m->to.removing.n);
}

/* A replica that was being deleted is known no more. */
static void gone(struct controller *c, const struct replica_ref *r)
{
    replicas_to(c, r, 1, REPLICA_DELETE_DONE);
    replicas_to(c, r, 1, REPLICA_NONEXISTENT);
}

/* Brokers that are to delete what an earlier move has taken from them, and that this one wants again: what they are
 * told then comes after what they were told before. */
static void forget_deletions(struct controller *c, const struct move *m)
{
    for (int32_t i = m->p->hosts_n - 1; i >= m->p->replicas.n; i--) {
        struct replica_ref r = { m->p, m->p->replicas.v[i] };

        if (among(m->to.replicas, r.broker) && replica_state(m->p, r.broker) == REPLICA_DELETE_STARTED)
            gone(c, &r);
    }
}

static enum step_next u2_follow(struct controller *c, struct frame *f)
{
    struct moves *ms = (struct moves *)f;

    EACH(ms, m) {
        if (m->changes)
            forget_deletions(c, m);
        if (m->changes && context_assign(m->p, &m->to) != OK) {
            out_of_memory(c);
            return STEP_END;
        }
        if (m->changes) {
            log_begin(m);
            m->p->unwritten = m->was_unwritten = false;
        }
        m->p->reassigning = true;
    }
    take_offline(c, ms, pick_unneeded);
    return STEP_NEXT;
}

/* The ISR has been read again, if U1 did not know it as it stood: leaders that write it themselves
 * (inter.broker.protocol.version < 2.7-IV2) may have made it smaller. Who is in it still, because nobody else was, or
 * because it could not be written, has what may be the only log with all records. */
static void keep_in_sync(struct move *m)
{
    const struct ids *isr = &m->p->isr;
    int32_t n = 0, stay = 0;

    for (int32_t i = 0; i < isr->n; i++)
        stay += among(m->to.replicas, isr->v[i]);
    for (int32_t i = 0; i < m->unneeded.n; i++) {
        int32_t id = m->unneeded.v[i];

        if (!m->p->has_leadership || (stay > 0 && !ids_have(isr, id)))
            m->unneeded.v[n++] = id;
        else
            log_error("%s-%d: was being moved to broker %d, which is not wanted any more; its log stays there, for it "
                      "may be the only one with all records: move the partition there again, and have a leader elected",
                      m->p->topic->name, m->p->index, id);
    }
    m->unneeded.n = n;
}

static enum step_next u3_delete_unneeded(struct controller *c, struct frame *f)
{
    struct moves *ms = (struct moves *)f;

    EACH(ms, m)
        keep_in_sync(m);
    delete_them(c, ms, pick_unneeded);
    return STEP_NEXT;
}

/* ---- which phase follows ------------------------------------------------------------------------------ */

static void state_seen(struct controller *c, struct store_call *call, void *subject)
{
    struct move *m = subject;
    struct znode_state now;
    int rc = call->rc;
    bool any = false;

    if (rc == OK)
        rc = znode_state_read(call->ops[0].value, &call->arena, &now);
    if (rc != OK) {
        log_error("controller: %s: cannot be read: %s; the move of the partition waits", call->ops[0].path,
                  err_text(rc));
        return;
    }
    m->in_sync = true;
    for (int32_t i = 0; i < m->end.replicas.n; i++) {
        m->in_sync &= among(now.isr, m->end.replicas.v[i]);
        any |= context_replica_online(&c->ctx, m->p, m->end.replicas.v[i]);
    }
    m->in_sync &= any;
}

/* Leaders that write the ISR themselves are watched; the others ask us. A partition that has nothing to add and nothing
 * to remove has arrived, whatever its ISR. */
static enum step_next look_at_isr(struct controller *c, struct frame *f)
{
    struct moves *ms = (struct moves *)f;
    unsigned watch = ibp_has(&c->ibp, IBP_ALTER_PARTITION) ? 0 : STORE_WATCH;

    EACH(ms, m) {
        struct store_call *call;

        if (m->to.adding.n == 0 && m->to.removing.n == 0) {
            m->in_sync = true;
            continue;
        }
        call = ctl_call(c);
        if (call == NULL)
            return STEP_END;
        store_get(call, zpath_state(topic_str(m->p->topic), m->p->index).z, watch);
        ctl_ask(c, call, state_seen, m);
    }
    return STEP_NEXT;
}

/* ---- phases A and B ------------------------------------------------------------------------------------ */

static bool leads(struct controller *c, const struct move *m)
{
    return m->p->has_leadership && among(m->end.replicas, m->p->leader) &&
           context_replica_online(&c->ctx, m->p, m->p->leader);
}

static enum step_next b1_b2_arrive(struct controller *c, struct frame *f)
{
    struct moves *ms = (struct moves *)f;
    size_t n;
    struct replica_ref *added = refs_of(c, ms, &n, pick_added);

    if (added != NULL && n > 0)
        replicas_to(c, added, n, REPLICA_ONLINE);
    free(added);
    EACH(ms, m) {
        if (!m->in_sync) {
            m->bump = !m->only_if_done;
            continue;
        }
        if (context_assign(m->p, &m->end) != OK) {
            out_of_memory(c);
            return STEP_END;
        }
        m->elect = !m->was_unwritten && !leads(c, m);
        m->bump = !m->was_unwritten && !m->elect;
    }
    return STEP_NEXT;
}

static enum step_next b3_elect(struct controller *c, struct frame *f)
{
    struct moves *ms = (struct moves *)f;
    struct elect_wish *v = arena_array(ms->arena, ms->n + 1, sizeof *v);
    size_t n = 0;

    if (v == NULL) {
        out_of_memory(c);
        return STEP_END;
    }
    EACH_IN_SYNC(ms, m)
        if (m->elect)
            v[n++].p = m->p;
    if (n > 0)
        leaders_elect(c, ELECT_REASSIGN, v, n);
    return STEP_NEXT;
}

/* Back to phase A, until something changes. */
static bool wait_on(struct controller *c, struct move *m)
{
    m->in_sync = false;
    if (context_assign(m->p, &m->to) == OK)
        return true;
    out_of_memory(c);
    return false;
}

/* Without a leader from the target nothing may be deleted. */
static enum step_next b3_look_at_leader(struct controller *c, struct frame *f)
{
    struct moves *ms = (struct moves *)f;

    EACH_IN_SYNC(ms, m) {
        if (!m->elect || leads(c, m))
            continue;
        log_warn("%s-%d: none of the replicas that it is moved to can lead; the move waits", m->p->topic->name,
                 m->p->index);
        if (!wait_on(c, m))
            return STEP_END;
    }
    return STEP_NEXT;
}

static enum step_next a1_b3_bump(struct controller *c, struct frame *f)
{
    struct moves *ms = (struct moves *)f;

    moves_bump(c, ms->v, ms->n);
    return STEP_NEXT;
}

static enum step_next a2_b4_replicas(struct controller *c, struct frame *f)
{
    struct moves *ms = (struct moves *)f;
    size_t n, fresh = 0;
    struct replica_ref *refs = refs_of(c, ms, &n, pick_new);

    for (size_t i = 0; i < n && refs != NULL; i++)
        if (replica_state(refs[i].p, refs[i].broker) == REPLICA_NONEXISTENT)
            refs[fresh++] = refs[i];
    if (fresh > 0)
        replicas_to(c, refs, fresh, REPLICA_NEW);
    free(refs);
    EACH_IN_SYNC(ms, m)
        if (m->bump && !wait_on(c, m))              /* its epoch could not be raised, and B6 must not come first */
            return STEP_END;
    take_offline(c, ms, pick_removing);
    return STEP_NEXT;
}

static bool reachable(const struct controller *c, int32_t broker)
{
    const struct ctl_broker *b = context_broker(&c->ctx, broker);

    return b != NULL && b->live && b->channel != NULL;
}

/* Is some broker still to answer? Who is down is not waited for: it stays a host, and is told when it is back. */
static bool deleting(const struct controller *c, const struct ctl_partition *p)
{
    for (int32_t i = p->replicas.n; i < p->hosts_n; i++)
        if (replica_state(p, p->replicas.v[i]) == REPLICA_DELETE_STARTED && reachable(c, p->replicas.v[i]))
            return true;
    return false;
}

bool reassign_stopped(struct controller *c, const struct replica_ref *r, int16_t error)
{
    if (ids_have(&r->p->replicas, r->broker) || replica_state(r->p, r->broker) != REPLICA_DELETE_STARTED)
        return false;
    if (error != KERR_NONE)
        log_warn("%s-%d: has been moved away from broker %d, which cannot delete its log: %s; delete it there by hand",
                 r->p->topic->name, r->p->index, r->broker, kerr_name(error));
    gone(c, r);
    reassign_isr_changed(c, r->p);
    return true;
}

static enum step_next b5_b6_write(struct controller *c, struct frame *f)
{
    struct moves *ms = (struct moves *)f;
    bool any = false;
    size_t n;
    struct replica_ref *refs = refs_of(c, ms, &n, pick_removing);

    if (refs != NULL && n > 0)
        replicas_to(c, refs, n, REPLICA_DELETE_STARTED);
    free(refs);
    EACH_IN_SYNC(ms, m) {
        m->p->unwritten |= m->to.adding.n > 0 || m->to.removing.n > 0;
        if (m->p->unwritten && deleting(c, m->p)) {
            m->in_sync = false;                     /* the last answer leads back here */
            continue;
        }
        m->p->next = m->p->unwritten ? &m->end : NULL;
        any |= m->p->unwritten;
    }
    if (any)
        moves_write_topics(c, ms->v, ms->n);
    return STEP_NEXT;
}

static enum step_next b7_unlist(struct controller *c, struct frame *f)
{
    struct moves *ms = (struct moves *)f;
    struct unlist *gone = arena_array(ms->arena, ms->n + 1, sizeof *gone);
    size_t n = 0;

    if (gone == NULL) {
        out_of_memory(c);
        return STEP_END;
    }
    EACH_IN_SYNC(ms, m) {
        m->p->reassigning = m->p->unwritten = false;
        gone[n++] = (struct unlist){ topic_str(m->p->topic), m->p->index, m->end.replicas };
    }
    if (n > 0)
        reassign_unlist(c, gone, n);
    return STEP_NEXT;
}

static void log_kept(const struct controller *c, const struct ctl_partition *p)
{
    static struct log_limit limit = LOG_LIMIT(60000, 20);
    int hidden;

    for (int32_t i = p->replicas.n; i < p->hosts_n; i++)
        if (replica_state(p, p->replicas.v[i]) == REPLICA_DELETE_STARTED && !reachable(c, p->replicas.v[i]) &&
            log_limit(&limit, &hidden))
            log_warn("%s-%d: has been moved away from broker %d, which is down and has its log still: deleted when it "
                     "is back; delete it there by hand if another controller is elected before", p->topic->name,
                     p->index, p->replicas.v[i]);
}

static bool still_reassigning(const struct ctl_topic *t)
{
    for (int32_t i = 0; i < t->partitions_n; i++)
        if (t->partitions[i].reassigning)
            return true;
    return false;
}

static enum step_next b8_tell(struct controller *c, struct frame *f)
{
    struct moves *ms = (struct moves *)f;
    bool deletions = false;

    batch_begin(c);
    EACH_IN_SYNC(ms, m) {
        struct ctl_topic *t = m->p->topic;

        batch_update(c, m->p);
        if (m->was_unwritten || m->to.adding.n > 0 || m->to.removing.n > 0)
            log_info("%s-%d: has been moved", t->name, m->p->index);
        log_kept(c, m->p);
        if (t->queued && !still_reassigning(t)) {
            t->ineligible = false;
            deletions = true;
        }
    }
    batch_send(c);
    if (deletions && event_post(c, EV_DELETIONS, NULL) != OK)   /* not here: topics may go, and moves name them */
        out_of_memory(c);
    return STEP_NEXT;
}

void moves_run(struct controller *c, struct arena *a, struct move *v, size_t n)
{
    static const struct step steps[] = {
        { "U1 write the topics", u1_write },      { "U2 follow", u2_follow },
        { "U2 delete", u3_delete_unneeded },      { "look at the ISRs", look_at_isr },
        { "B1, B2 arrive", b1_b2_arrive },        { "B3 elect", b3_elect },
        { "B3 look", b3_look_at_leader },         { "A1, B3 epochs", a1_b3_bump },
        { "A2, B4 replicas", a2_b4_replicas },    { "B5, B6 delete and write", b5_b6_write },
        { "B7 out of the list", b7_unlist },      { "B8 tell everybody", b8_tell },
        { NULL, NULL },
    };
    struct moves *ms = frame_push(c, sizeof *ms, steps);

    if (ms == NULL)
        return;
    ms->arena = a;
    ms->v = v;
    ms->n = n;
}
