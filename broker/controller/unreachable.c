/* broker/controller/unreachable.c - failover faster than the session.
 *
 * When a broker's process dies, the system resets its connections at once, and refuses new ones; its session, and with
 * it its node, stays for as long as zookeeper.session.timeout.ms. The channels tell of both (controller_link_down), and
 * the active controller, if the broker's node is still the one that the connection was for, marks the broker as
 * unreachable: what it leads goes to another replica in sync, and it leaves the ISRs of what it follows. All are told
 * that its replicas are offline; it stays one of the live brokers as long as it is registered, so that topics can be
 * made while it is started again. Later, when its node goes, it fails as ever. When it answers again, the mark goes.
 *
 * Why this is safe, even if the broker is alive after all:
 *
 * U1  What is written is an election: leader epoch + 1, an ISR without the broker, conditional on the version of the
 *     state node and on the controller's epoch. For each leader epoch there is one leader.
 * U2  The new leader is a member of the ISR that stands in the node. A record was acknowledged with acks=all, or was
 *     below the high watermark, only when all members of that ISR had it. So the new leader has it, as long as it has
 *     been there since. One that has come back with less leaves the ISR first, if a controller sees it come back; at
 *     the start of a term it does only if somebody else in sync can be reached (returned.c). If it is the only other
 *     one it is elected here, and what it lost, with the system or a disk under it, is lost; waiting would leave the
 *     choice to the return of the one that is out of reach.
 * U3  The old leader cannot acknowledge acks=all, or raise its high watermark, any more. For that it needs a fetch
 *     from each member of its ISR, or a smaller ISR. The members that have heard of the new epoch do not fetch from it
 *     (and a fetch that names a higher epoch is refused by it); those that have not are still in sync with both, but
 *     the new leader is not among them, because it knows. A smaller ISR it does not get: AlterPartition with the old
 *     leader epoch is FENCED_LEADER_EPOCH, and a write of its own (inter.broker.protocol.version < 2.7-IV2) names a
 *     version of the node that is gone.
 * U4  One moment remains: the new leader is chosen, but has not heard of it, and fetches from the old one once more.
 *     What it fetches it has, and keeps when it starts to lead. So even what the old leader acknowledges by that fetch
 *     is not lost.
 * U5  Consumers read up to the high watermark only, which by U3 and U4 covers nothing that the new leader lacks.
 * U6  Where no other replica is in sync nothing is written: the broker leads on, dead or alive, until its node goes.
 *     Unclean elections never happen here.
 * U7  The broker stays registered. If it lives, its channel is still tried every 100 ms; the LeaderAndIsr that waits
 *     there makes it a follower, which truncates by leader epoch, fetches, and comes back to the ISR by the leaders'
 *     own requests. Eligible it is: its node stands, with the same epoch.
 * U8  A broker that is stopped (SIGSTOP), or cut off by a network that drops packets, is not taken for dead: its
 *     connections are neither reset nor refused. For it the session decides, as in Apache Kafka.
 *
 * What acks=1 (and acks=0) may lose compared with waiting: a dead process has lost what it had not replicated, with or
 * without waiting (it could come back with it only if nobody led meanwhile). If the broker is alive, it goes on taking
 * records with acks=1 until LeaderAndIsr reaches it, or its clients learn of the new leader; these, and those that it
 * had not replicated yet, are truncated when it follows. With waiting they would have been kept, as nothing had
 * happened. And while the broker is out of the ISRs, min.insync.replicas may refuse acks=all that a wait would have
 * held up.
 *
 * A dead controller: /controller is its session's, too. Whoever sees its links reset and refused removes it, as an
 * administrator does who wants another election. Whoever is elected then takes the old one for unreachable, if its own
 * links to it were refused, not longer ago than zookeeper.session.timeout.ms, and it is still registered as it was (by
 * then a dead process's node has gone); otherwise its channels tell of it as ever. Why that is safe, even if it is
 * alive:
 *
 * C1  /controller is not what keeps two controllers apart. Every write of a controller checks the version of
 *     /controller_epoch, which each election raises, and brokers refuse requests of a lower epoch: one that lives on
 *     finds its writes refused, and resigns; as a rule its watch on /controller tells it before.
 * C2  The removal checks the version of /controller_epoch that was read together with /controller: it meets the
 *     controller that was refused, and never one that has been elected since.
 * C3  A controller that KRaft has put there is left alone.
 * C4  One that lives, and whose listener alone is closed, may win again; it is removed again after DEPOSE_AGAIN_NS at
 *     the earliest, so that nothing spins.
 *
 * What remains of the wait is the session's where the removal is not allowed (zookeeper.set.acl with identities that
 * differ) or nobody has a link to the controller: then /controller goes when zookeeper.session.timeout.ms has passed.
 */
#include "broker/controller/brokers.h"

#include "base/clock.h"
#include "base/log.h"
#include "broker/controller/leaders.h"
#include "broker/controller/priv.h"

#include <stdlib.h>

void controller_link_down(struct controller *c, int32_t id, int64_t epoch)
{
    if (event_broker(c, EV_LINK, id, epoch) != OK)
        log_error("controller: out of memory: broker %d is out of reach; others lead when its session ends", id);
}

static bool unreachable(const struct controller *c, int32_t id)
{
    const struct ctl_broker *b = context_broker(&c->ctx, id);

    return b != NULL && b->live && b->unreachable;
}

/* ---- moving what unreachable brokers lead --------------------------------------------------------------- */

struct moving {
    struct frame        f;
    struct elect_wish  *led;
    struct replica_ref *followed;
    size_t              led_n, followed_n;
    int32_t             about;          /* whose replicas have gone offline or come online; -1: nobody's */
    uint32_t            batch;          /* the last before this */
};

static void moving_fini(struct frame *f)
{
    free(((struct moving *)f)->led);
    free(((struct moving *)f)->followed);
}

static bool has_heir(const struct controller *c, const struct ctl_partition *p)
{
    for (int32_t i = 0; i < p->isr.n; i++)
        if (context_replica_online(&c->ctx, p, p->isr.v[i]) && !unreachable(c, p->isr.v[i]))
            return true;
    return false;
}

static enum step_next survey(struct controller *c, struct frame *f)
{
    struct moving *m = (struct moving *)f;
    size_t led = 0, isr = 0;

    CONTEXT_EACH(&c->ctx, p) {
        led++;
        isr += (size_t)p->isr.n;
    }
    m->led = calloc(led + 1, sizeof *m->led);
    m->followed = calloc(isr + 1, sizeof *m->followed);
    if (m->led == NULL || m->followed == NULL) {
        ctl_abort(c, ERR_NOMEM, "a broker out of reach");
        return STEP_END;
    }
    CONTEXT_EACH(&c->ctx, p) {
        if (!p->has_leadership || p->topic->queued)
            continue;
        if (unreachable(c, p->leader)) {
            if (has_heir(c, p))
                m->led[m->led_n++].p = p;
            continue;
        }
        for (int32_t i = 0; i < p->isr.n; i++)
            if (unreachable(c, p->isr.v[i]))
                m->followed[m->followed_n++] = (struct replica_ref){ p, p->isr.v[i] };
    }
    if (m->led_n > 0)
        leaders_elect(c, ELECT_UNREACHABLE, m->led, m->led_n);
    return STEP_NEXT;
}

static enum step_next suspend(struct controller *c, struct frame *f)
{
    const struct moving *m = (struct moving *)f;

    if (m->followed_n > 0)
        replicas_suspend(c, m->followed, m->followed_n);
    return STEP_NEXT;
}

static enum step_next say(struct controller *c, struct frame *f)
{
    const struct moving *m = (struct moving *)f;

    batch_begin(c);                                 /* something that it answers as soon as it can */
    for (size_t i = 0; i < c->ctx.brokers_n; i++)
        c->ctx.brokers[i].update = unreachable(c, c->ctx.brokers[i].id);
    CONTEXT_EACH(&c->ctx, p)
        if (ids_have(&p->replicas, m->about) && !p->topic->queued && (int32_t)(p->batch - m->batch) <= 0)
            batch_update(c, p);                     /* the others have been told with their new leader, or ISR */
    batch_send(c);
    if (m->led_n + m->followed_n > 0)
        log_info("controller: %zu leaderships moved away from brokers out of reach, %zu replicas taken out of ISRs",
                 m->led_n, m->followed_n);
    return STEP_NEXT;
}

static void move_push(struct controller *c, int32_t about)
{
    static const struct step steps[] = {
        { "move the leaderships", survey },  { "shrink the ISRs", suspend },
        { "wait for its answer", say },      { NULL, NULL },
    };
    struct moving *m = frame_push(c, sizeof *m, steps);

    if (m == NULL)
        return;
    m->f.fini = moving_fini;
    m->about = about;
    m->batch = c->batch.number;
}

void unreachable_retry(struct controller *c)
{
    for (size_t i = 0; i < c->ctx.brokers_n; i++)
        if (unreachable(c, c->ctx.brokers[i].id)) {
            move_push(c, -1);
            return;
        }
}

void broker_reached(struct controller *c)
{
    move_push(c, c->event->broker);
}

/* ---- EV_LINK -------------------------------------------------------------------------------------------- */

static void mark(struct ctl_broker *b)
{
    b->unreachable = true;
    log_warn("controller: broker %d has closed its connections and refuses new ones; it is still registered; others "
             "lead from now on", b->id);
}

static void still_there(struct controller *c, struct store_call *call, void *subject)
{
    struct ctl_broker *b = context_broker(&c->ctx, c->event->broker);

    (void)subject;
    if (call->rc != OK || b == NULL || call->ops[0].stat.czxid != b->epoch)
        return;                                     /* gone, or anew: the watch on the list tells, or has told */
    mark(b);
    move_push(c, b->id);
}

static enum step_next check(struct controller *c, struct frame *f)
{
    struct store_call *call = ctl_call(c);

    (void)f;
    if (call == NULL)
        return STEP_END;
    store_exists(call, zpath_broker(c->event->broker).z, 0);
    ctl_ask(c, call, still_there, NULL);
    return STEP_NEXT;
}

/* ---- the controller is out of reach: another one ---------------------------------------------------------- */

#define DEPOSE_AGAIN_NS ((int64_t)10 * 1000000000)

struct deposing {
    struct frame f;
    bool         remove;
    int32_t      epoch_version;
};

/* Whoever has removed it, this broker may be elected. A dead process's node is gone when its session has ended: one
 * that stands later is that of a broker which was out of reach for a moment only. */
static void suspect_note(struct controller *c, const struct store_op *node)
{
    c->suspect = c->event->broker;
    c->suspect_epoch = c->event->epoch >= 0 ? c->event->epoch : node->rc == OK ? node->stat.czxid : -1;
    c->suspect_until_ns = mono_ns() + (int64_t)c->opts.cfg->zookeeper_session_timeout_ms * 1000000;
}

static void holder_read(struct controller *c, struct store_call *call, void *subject)
{
    struct deposing *d = subject;
    int32_t holder = -1, kraft = -1;
    bool there = call->ops[0].rc == OK;

    if (there && znode_controller_read(call->ops[0].value, &holder, &kraft) != OK)
        return;                                     /* not ours to judge */
    if (!there && event_post(c, EV_ELECT, NULL) != OK)
        ctl_abort(c, ERR_NOMEM, "election");
    if (!there)
        suspect_note(c, &call->ops[2]);             /* another broker has been faster */
    if (!there || holder != c->event->broker || kraft >= 0 || call->ops[1].rc != OK)
        return;
    suspect_note(c, &call->ops[2]);
    d->epoch_version = call->ops[1].stat.version;
    d->remove = c->deposed != holder || mono_ns() >= c->depose_again_ns;
}

static enum step_next read_holder(struct controller *c, struct frame *f)
{
    struct store_call *call = ctl_call(c);

    if (call == NULL)
        return STEP_END;
    store_get(call, ZK_CONTROLLER, 0);
    store_get(call, ZK_CONTROLLER_EPOCH, 0);
    store_exists(call, zpath_broker(c->event->broker).z, 0);
    ctl_ask(c, call, holder_read, f);
    return STEP_NEXT;
}

static void holder_removed(struct controller *c, struct store_call *call, void *subject)
{
    (void)subject;
    if (call->rc == OK)
        log_warn("controller: broker %d, the controller, has closed its connections and refuses new ones; another is "
                 "elected", c->event->broker);
    else if (call->rc != ERR_VERSION && call->rc != ERR_NOENT)
        log_warn("controller: broker %d, the controller, is out of reach, but " ZK_CONTROLLER " cannot be removed: %s; "
                 "there is another when its session ends", c->event->broker, err_text(call->rc));
    if (call->rc == OK && event_post(c, EV_ELECT, NULL) != OK)
        ctl_abort(c, ERR_NOMEM, "election");
}

static enum step_next remove_holder(struct controller *c, struct frame *f)
{
    const struct deposing *d = (struct deposing *)f;
    struct store_call *call = d->remove ? ctl_call(c) : NULL;

    if (call == NULL)
        return STEP_END;
    c->deposed = c->event->broker;
    c->depose_again_ns = mono_ns() + DEPOSE_AGAIN_NS;
    store_delete(call, ZK_CONTROLLER, STORE_ANY_VERSION);
    store_check(call, ZK_CONTROLLER_EPOCH, d->epoch_version);
    ctl_ask(c, call, holder_removed, NULL);
    return STEP_NEXT;
}

static void depose(struct controller *c)
{
    static const struct step steps[] = {
        { "who is the controller?", read_holder }, { "remove it", remove_holder }, { NULL, NULL },
    };

    (void)frame_push(c, sizeof(struct deposing), steps);
}

/* The brokers have just been read: it is still registered as the one that refused. */
void suspect_mark(struct controller *c)
{
    struct ctl_broker *b = context_broker(&c->ctx, c->suspect);

    if (b == NULL || !b->live || b->id == c->opts.broker->id || b->epoch != c->suspect_epoch ||
        mono_ns() >= c->suspect_until_ns)
        return;
    mark(b);
}

void link_down(struct controller *c)
{
    static const struct step steps[] = { { "is the broker still registered?", check }, { NULL, NULL } };
    const struct ctl_broker *b = context_broker(&c->ctx, c->event->broker);

    if (!atomic_load(&c->active)) {
        if (c->event->broker == c->controller_id)
            depose(c);
        return;
    }
    if (b == NULL || !b->live || b->unreachable || b->id == c->opts.broker->id ||
        (c->event->epoch >= 0 && c->event->epoch != b->epoch))
        return;
    (void)frame_push(c, sizeof(struct frame), steps);
}

void unreachable_answered(struct controller *c, int32_t id, int64_t epoch)
{
    struct ctl_broker *b = context_broker(&c->ctx, id);

    if (b == NULL || !b->live || !b->unreachable || b->epoch != epoch)
        return;
    b->unreachable = false;
    log_info("controller: broker %d answers again", id);
    if (event_broker(c, EV_REACHED, id, epoch) != OK)
        log_error("controller: out of memory: broker %d leads nothing until the next change", id);
}
