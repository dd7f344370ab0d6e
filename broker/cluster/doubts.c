/* broker/cluster/doubts.c */
#include "broker/cluster/doubts.h"

#include "base/clock.h"
#include "base/lock.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <utlist.h>

#define DOUBTS_MAX 16                   /* brokers; of more than that nobody is in doubt */

struct doubt {
    int32_t broker;
    int64_t until_ns;
};

struct doubts {
    struct timer        *timer;
    atomic_int           n;             /* of v; may be looked at without the lock */
    /* under lock */
    struct lock          lock;
    struct doubt         v[DOUBTS_MAX];
    uint32_t             round;
    bool                 stopped;
    struct doubt_waiter *waiters;
};

int doubts_new(struct doubts **out, struct timer *timer)
{
    struct doubts *d = calloc(1, sizeof *d);

    *out = d;
    if (d == NULL)
        return ERR_NOMEM;
    d->timer = timer;
    d->round = 1;
    lock_init(&d->lock, LOCK_doubts);
    return OK;
}

void doubts_free(struct doubts **d)
{
    if (*d == NULL)
        return;
    lock_fini(&(*d)->lock);
    free(*d);
    *d = NULL;
}

static void forget(struct doubts *d, int i)
{
    int n = atomic_load(&d->n) - 1;

    d->v[i] = d->v[n];
    atomic_store(&d->n, n);
}

static void forget_old(struct doubts *d)
{
    int64_t now = mono_ns();

    for (int i = atomic_load(&d->n) - 1; i >= 0; i--)
        if (d->v[i].until_ns <= now)
            forget(d, i);
}

static int find(const struct doubts *d, int32_t broker)
{
    for (int i = 0; i < atomic_load(&d->n); i++)
        if (d->v[i].broker == broker)
            return i;
    return -1;
}

void doubts_note(struct doubts *d, int32_t broker)
{
    int n;

    if (d == NULL)
        return;
    lock_take(&d->lock);
    forget_old(d);
    n = atomic_load(&d->n);
    if (!d->stopped && find(d, broker) < 0 && n < DOUBTS_MAX) {
        d->v[n] = (struct doubt){ broker, mono_ns() + DOUBT_MS * (int64_t)1000000 };
        atomic_store(&d->n, n + 1);
    }
    lock_drop(&d->lock);
}

/* The waiters that the timer has not begun to wake, as a list. */
static struct doubt_waiter *take_waiters(struct doubts *d)
{
    struct doubt_waiter *w, *next, *out = NULL;

    lock_assert(&d->lock);
    DL_FOREACH_SAFE(d->waiters, w, next) {
        if (!timer_stop(d->timer, &w->timer))
            continue;
        DL_DELETE(d->waiters, w);
        DL_APPEND(out, w);
    }
    return out;
}

static void resume_all(struct doubt_waiter *w)
{
    while (w != NULL) {
        struct doubt_waiter *next = w->next;

        w->resume(w);
        w = next;
    }
}

void doubts_end(struct doubts *d, int32_t broker)
{
    struct doubt_waiter *w = NULL;
    int i;

    if (d == NULL || atomic_load(&d->n) == 0)
        return;
    lock_take(&d->lock);
    i = find(d, broker);
    if (i >= 0)
        forget(d, i);
    if (atomic_load(&d->n) == 0)
        w = take_waiters(d);
    lock_drop(&d->lock);
    resume_all(w);
}

void doubts_changed(struct doubts *d)
{
    struct doubt_waiter *w;

    if (d == NULL)
        return;
    lock_take(&d->lock);
    if (++d->round == 0)
        d->round = 1;
    w = take_waiters(d);
    lock_drop(&d->lock);
    resume_all(w);
}

void doubts_stop(struct doubts *d)
{
    if (d == NULL)
        return;
    lock_take(&d->lock);
    d->stopped = true;
    atomic_store(&d->n, 0);
    lock_drop(&d->lock);
    doubts_changed(d);
}

uint32_t doubts_round(struct doubts *d)
{
    uint32_t round = 0;

    if (d == NULL || atomic_load(&d->n) == 0)
        return 0;
    lock_take(&d->lock);
    forget_old(d);
    if (atomic_load(&d->n) > 0)
        round = d->round;
    lock_drop(&d->lock);
    return round;
}

bool doubts_about(struct doubts *d, int32_t broker)
{
    bool yes;

    lock_take(&d->lock);
    yes = find(d, broker) >= 0;
    lock_drop(&d->lock);
    return yes;
}

static void waited_enough(struct timer_entry *e)
{
    struct doubt_waiter *w = (struct doubt_waiter *)((char *)e - offsetof(struct doubt_waiter, timer));
    struct doubts *d = w->home;

    lock_take(&d->lock);
    DL_DELETE(d->waiters, w);
    lock_drop(&d->lock);
    w->resume(w);
}

static void park(struct doubts *d, struct doubt_waiter *w, int64_t ms)
{
    lock_assert(&d->lock);
    DL_APPEND(d->waiters, w);
    timer_start(d->timer, &w->timer, ms);
}

static void prepare(struct doubts *d, struct doubt_waiter *w)
{
    w->home = d;
    w->timer = (struct timer_entry){ .fire = waited_enough };
}

void doubts_wait(struct doubts *d, struct doubt_waiter *w, uint32_t round)
{
    bool over;

    prepare(d, w);
    lock_take(&d->lock);
    over = d->stopped || d->round != round || atomic_load(&d->n) == 0;
    if (!over)
        park(d, w, DOUBT_MS);
    lock_drop(&d->lock);
    if (over)
        w->resume(w);
}

void doubts_expect(struct doubts *d, struct doubt_waiter *w)
{
    bool over;

    prepare(d, w);
    lock_take(&d->lock);
    over = d->stopped;
    if (!over)
        park(d, w, DOUBT_COMES_MS);
    lock_drop(&d->lock);
    if (over)
        w->resume(w);
}
