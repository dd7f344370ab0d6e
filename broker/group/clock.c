/* broker/group/clock.c - the coordinator's own thread, and the timers of groups.
 *
 * A group's timer is set when a session with it ends, for the earliest of its deadlines; a deadline that moves back
 * (every heartbeat does that) leaves it as it is, so that most sessions do not touch the wheel. The timer's thread only
 * puts the group in a list and rings; the coordinator's thread calls it.
 *
 *   not armed --clock_arm--> in the wheel --fire--> in `due` --taken by the thread--> not armed
 */
#include "broker/group/groups_priv.h"

#include "base/clock.h"
#include "base/log.h"

#include <stddef.h>
#include <string.h>

void clock_ring(struct groups *gs)
{
    lock_take(&gs->desk);
    gs->rung = true;
    cond_signal(&gs->bell);
    lock_drop(&gs->desk);
}

void clock_done(struct groups *gs)
{
    if (atomic_fetch_sub(&gs->busy, 1) == 1 && atomic_load(&gs->stopping))
        clock_ring(gs);
}

/* In the timer's thread. */
static void fire(struct timer_entry *e)
{
    struct group *g = (struct group *)((char *)e - offsetof(struct group, timer));
    struct groups *gs = g->home->gs;

    if (mpsc_push(&gs->due, &g->due))
        clock_ring(gs);
}

void clock_arm(struct group *g, int64_t now_ms)
{
    struct groups *gs = g->home->gs;
    int64_t due = g->state == GROUP_DEAD ? INT64_MAX : group_due(g);

    lock_assert(&g->lock);
    if (g->armed_ms != INT64_MAX && (due < g->armed_ms || g->state == GROUP_DEAD)) {
        if (!timer_stop(gs->o.timer, &g->timer))
            return;                     /* it has fired: the thread will come here */
        g->armed_ms = INT64_MAX;
        atomic_fetch_sub(&g->refs, 1);  /* not the last: the caller has one */
        clock_done(gs);
    }
    if (due == INT64_MAX || g->armed_ms != INT64_MAX)
        return;
    atomic_fetch_add(&gs->busy, 1);
    atomic_fetch_add(&g->refs, 1);
    g->armed_ms = due;
    g->timer.fire = fire;
    timer_start(gs->o.timer, &g->timer, due - now_ms);
}

static void call_due(struct groups *gs)
{
    struct qnode *next;

    for (struct qnode *q = mpsc_take(&gs->due); q != NULL; q = next) {
        struct group *g = (struct group *)((char *)q - offsetof(struct group, due));
        struct group_session s;

        next = q->next;
        session_begin(gs, g, &s);       /* with the reference that was the timer's */
        g->armed_ms = INT64_MAX;
        if (g->state != GROUP_DEAD)
            group_tick(g, mono_ms());
        groups_leave(&s);
        clock_done(gs);
    }
}

static void *clock_main(void *arg)
{
    struct groups *gs = arg;
    bool go_on = true, told;

    pthread_setname_np(pthread_self(), "groups");
    while (go_on) {
        lock_take(&gs->desk);
        while (!gs->rung)
            cond_wait(&gs->bell, &gs->desk);
        told = gs->told;
        gs->rung = gs->told = false;
        lock_drop(&gs->desk);
        call_due(gs);
        writes_ended(gs);
        if (told)
            parts_work(gs);
        go_on = !atomic_load(&gs->stopping) || atomic_load(&gs->busy) > 0;
    }
    return NULL;
}

int clock_start(struct groups *gs)
{
    int err = pthread_create(&gs->thread, NULL, clock_main, gs);

    if (err != 0) {
        log_error("consumer groups: the thread cannot be started: %s", strerror(err));
        return ERR_SYSTEM;
    }
    gs->runs = true;
    return OK;
}

void clock_stop(struct groups *gs)
{
    if (!gs->runs)
        return;
    clock_ring(gs);
    pthread_join(gs->thread, NULL);
    gs->runs = false;
}
