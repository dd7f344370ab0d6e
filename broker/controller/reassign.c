/* broker/controller/reassign.c - moving the replicas of partitions (KIP-455), many partitions at a time.
 *
 * O: the replicas it had; T: the target. The topic's node is the memory of a move: while it runs, the node has
 * replicas = T, then those of O that are not in T; adding_replicas = T without O; removing_replicas = O without T.
 *
 *   U   U1 the node is written   U2 memory follows; replicas that an earlier move was adding and this one does not
 *       want are stopped and deleted
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
 * of T can lead (Apache Kafka asks for the first only, and may then delete all that lives).
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

/* Their brokers are told to delete them; the answers are not waited for. */
static void delete_them(struct controller *c, const struct moves *ms,
                        struct znode_replicas (*pick)(const struct move *))
{
    size_t n;
    struct replica_ref *refs = refs_of(c, ms, &n, pick);

    if (refs != NULL && n > 0) {
        replicas_to(c, refs, n, REPLICA_DELETE_STARTED);
        replicas_to(c, refs, n, REPLICA_DELETE_DONE);
        replicas_to(c, refs, n, REPLICA_NONEXISTENT);
    }
    free(refs);
}

/* ---- phase U ------------------------------------------------------------------------------------------ */

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

static enum step_next u2_follow(struct controller *c, struct frame *f)
{
    struct moves *ms = (struct moves *)f;

    EACH(ms, m) {
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

static enum step_next u3_delete_unneeded(struct controller *c, struct frame *f)
{
    delete_them(c, (struct moves *)f, pick_unneeded);
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

/* Without a leader from the target nothing may be deleted: back to phase A, until something changes. */
static enum step_next b3_look_at_leader(struct controller *c, struct frame *f)
{
    struct moves *ms = (struct moves *)f;

    EACH_IN_SYNC(ms, m) {
        if (!m->elect || leads(c, m))
            continue;
        log_warn("%s-%d: none of the replicas that it is moved to can lead; the move waits", m->p->topic->name,
                 m->p->index);
        m->in_sync = false;
        if (context_assign(m->p, &m->to) != OK) {
            out_of_memory(c);
            return STEP_END;
        }
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
        if (m->bump)
            m->in_sync = false;                     /* its epoch could not be raised, and B6 must not come first */
    take_offline(c, ms, pick_removing);
    return STEP_NEXT;
}

static bool reachable(const struct controller *c, int32_t broker)
{
    const struct ctl_broker *b = context_broker(&c->ctx, broker);

    return b != NULL && b->live && b->channel != NULL;
}

static void gone(struct controller *c, const struct replica_ref *r)
{
    replicas_to(c, r, 1, REPLICA_DELETE_DONE);
    replicas_to(c, r, 1, REPLICA_NONEXISTENT);
}

/* Those that nobody will answer for are forgotten. true: some broker is still to answer. */
static bool deleting(struct controller *c, struct ctl_partition *p)
{
    bool wait = false;

    for (int32_t i = p->hosts_n - 1; i >= p->replicas.n; i--) {
        struct replica_ref r = { p, p->replicas.v[i] };

        if (replica_state(p, r.broker) != REPLICA_DELETE_STARTED)
            continue;
        if (reachable(c, r.broker))
            wait = true;
        else
            gone(c, &r);
    }
    return wait;
}

bool reassign_stopped(struct controller *c, const struct replica_ref *r)
{
    if (!r->p->unwritten || replica_state(r->p, r->broker) != REPLICA_DELETE_STARTED)
        return false;
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
