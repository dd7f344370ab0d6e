/* broker/controller/unreachable.c - failover faster than the session.
 *
 * When a broker's process dies, the system resets its connections at once, and refuses new ones; its session, and with
 * it its node, stays for as long as zookeeper.session.timeout.ms. The channels tell of both (controller_link_down), and
 * the active controller, if the broker's node is still the one that the connection was for, marks the broker as
 * unreachable: what it leads goes to another replica in sync, and it leaves the ISRs of what it follows. Later, when
 * its node goes, it fails as ever. When it answers again, the mark goes.
 *
 * Why this is safe, even if the broker is alive after all:
 *
 * U1  What is written is an election: leader epoch + 1, an ISR without the broker, conditional on the version of the
 *     state node and on the controller's epoch. For each leader epoch there is one leader.
 * U2  The new leader is a member of the ISR that stands in the node. A record was acknowledged with acks=all, or was
 *     below the high watermark, only when all members of that ISR had it. So the new leader has it.
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
 * A dead controller is different: /controller is its session's, and goes with the session. Whoever sees its links break
 * only looks at once, so that a node that has gone already (a clean stop, an ended session) is followed by an election
 * without waiting for the watch. The wait that remains is what is left of zookeeper.session.timeout.ms; a controller
 * that restarts before ends its old session itself.
 */
#include "broker/controller/brokers.h"

#include "base/log.h"
#include "broker/controller/leaders.h"
#include "broker/controller/priv.h"

#include <stdlib.h>

void controller_link_down(struct controller *c, int32_t id, int64_t epoch)
{
    if (event_link(c, id, epoch) != OK)
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
    batch_send(c);
    if (m->led_n + m->followed_n > 0)
        log_info("controller: %zu leaderships moved away from brokers out of reach, %zu replicas taken out of ISRs",
                 m->led_n, m->followed_n);
    return STEP_NEXT;
}

static void move_push(struct controller *c)
{
    static const struct step steps[] = {
        { "move the leaderships", survey },  { "shrink the ISRs", suspend },
        { "wait for its answer", say },      { NULL, NULL },
    };
    struct moving *m = frame_push(c, sizeof *m, steps);

    if (m != NULL)
        m->f.fini = moving_fini;
}

void unreachable_retry(struct controller *c)
{
    for (size_t i = 0; i < c->ctx.brokers_n; i++)
        if (unreachable(c, c->ctx.brokers[i].id)) {
            move_push(c);
            return;
        }
}

/* ---- EV_LINK -------------------------------------------------------------------------------------------- */

static void still_there(struct controller *c, struct store_call *call, void *subject)
{
    struct ctl_broker *b = context_broker(&c->ctx, c->event->broker);

    (void)subject;
    if (call->rc != OK || b == NULL || call->ops[0].stat.czxid != b->epoch)
        return;                                     /* gone, or anew: the watch on the list tells, or has told */
    b->unreachable = true;
    log_warn("controller: broker %d has closed its connections and refuses new ones; it is still registered; others "
             "lead from now on", b->id);
    move_push(c);
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

void link_down(struct controller *c)
{
    static const struct step steps[] = { { "is the broker still registered?", check }, { NULL, NULL } };
    const struct ctl_broker *b = context_broker(&c->ctx, c->event->broker);

    if (!atomic_load(&c->active)) {
        if (c->event->broker == c->controller_id)
            controller_changed(c);
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
    if (event_post(c, EV_REACHED, NULL) != OK)
        log_error("controller: out of memory: broker %d leads nothing until the next change", id);
}
