/* base/timer.c - the timer wheel: four wheels of 256 buckets, one tick a millisecond.
 *
 *   level 0   ticks 1 .. 255 from now, a bucket each        level 2   2^16 .. 2^24 - 1, 65,536 ticks a bucket
 *   level 1   256 .. 65,535, 256 ticks a bucket             level 3   2^24 .. 2^32 - 1
 *
 * INVARIANTS (under `lock`)
 *  1. Every waiting entry has due > tick, and lies in level k, bucket (due >> 8k) mod 256, for the smallest k with
 *     due - tick < 256^(k+1) at the time it was put there.
 *  2. A bucket that holds something has its bit set; a set bit may be stale (entries were stopped).
 *  3. An event is a tick at which a bucket must be looked at: due of level 0, the start of a bucket of the others.
 *     wake_tick is never later than the next event, so tick may jump to any time before wake_tick.
 */
#include "base/timer.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define LEVELS   4
#define BITS     8
#define SLOTS    (1 << BITS)
#define WORDS    (SLOTS / 64)
#define MAX_DELAY_MS (INT64_C(24) * 24 * 3600 * 1000)
#define NEVER    INT64_MAX

struct timer {
    pthread_t           thread;
    atomic_size_t       waiting;
    /* under `lock` (class timer) */
    struct lock         lock;
    struct cond         wake;
    bool                stop;
    int64_t             tick;                       /* done with, in ms of the monotonic clock */
    int64_t             wake_tick;
    struct timer_entry *slot[LEVELS][SLOTS];
    uint64_t            used[LEVELS][WORDS];
};

static void entry_link(struct timer_entry **head, struct timer_entry *e)
{
    e->next = *head;
    e->link = head;
    if (e->next != NULL)
        e->next->link = &e->next;
    *head = e;
}

static void entry_unlink(struct timer_entry *e)
{
    *e->link = e->next;
    if (e->next != NULL)
        e->next->link = e->link;
    e->next = NULL;
    e->link = NULL;
}

/* Puts e where it belongs, seen from the current tick; gives its event. */
static int64_t wheel_insert(struct timer *t, struct timer_entry *e)
{
    int level = 0;
    unsigned idx;

    while (level < LEVELS - 1 && e->due - t->tick >= INT64_C(1) << (BITS * (level + 1)))
        level++;
    idx = (unsigned)(e->due >> (BITS * level)) % SLOTS;
    entry_link(&t->slot[level][idx], e);
    t->used[level][idx / 64] |= UINT64_C(1) << (idx % 64);
    return (e->due >> (BITS * level)) << (BITS * level);
}

/* Distance (1 .. 256) from bucket `from` to the next one of the level that holds something; 0 if there is none. */
static int level_next(struct timer *t, int level, unsigned from)
{
    for (unsigned d = 1; d <= SLOTS;) {
        unsigned idx = (from + d) % SLOTS;
        uint64_t rest = t->used[level][idx / 64] >> (idx % 64);

        if (rest == 0) {
            d += 64 - idx % 64;
            continue;
        }
        d += (unsigned)__builtin_ctzll(rest);
        if (d > SLOTS)
            break;
        idx = (from + d) % SLOTS;
        if (t->slot[level][idx] != NULL)
            return (int)d;
        t->used[level][idx / 64] &= ~(UINT64_C(1) << (idx % 64));
    }
    return 0;
}

static int64_t next_event(struct timer *t)
{
    int64_t best = NEVER;

    for (int level = 0; level < LEVELS; level++) {
        int64_t base = t->tick >> (BITS * level);
        int d = level_next(t, level, (unsigned)base % SLOTS);

        if (d != 0 && (base + d) << (BITS * level) < best)
            best = (base + d) << (BITS * level);
    }
    return best;
}

/* Moves what lies in the bucket that begins now to where it belongs: the levels below, or what is due. */
static void cascade(struct timer *t, int level, struct timer_entry **due)
{
    struct timer_entry **slot = &t->slot[level][(t->tick >> (BITS * level)) % SLOTS];
    struct timer_entry *e;

    while ((e = *slot) != NULL) {
        entry_unlink(e);
        if (e->due <= t->tick)
            entry_link(due, e);
        else
            wheel_insert(t, e);
    }
}

/* Takes every entry that is due at the current tick out of the wheel. */
static void collect_due(struct timer *t, struct timer_entry **due)
{
    for (int level = LEVELS - 1; level >= 0; level--)
        if ((t->tick & ((INT64_C(1) << (BITS * level)) - 1)) == 0)
            cascade(t, level, due);
}

/* Calls what is due, one by one; between two calls the others may still be stopped. */
static void fire_all(struct timer *t, struct timer_entry **due)
{
    struct timer_entry *e;

    while ((e = *due) != NULL) {
        entry_unlink(e);
        atomic_fetch_sub_explicit(&t->waiting, 1, memory_order_relaxed);
        lock_drop(&t->lock);
        e->fire(e);
        lock_take(&t->lock);
    }
}

static void *timer_main(void *arg)
{
    struct timer *t = arg;

    pthread_setname_np(pthread_self(), "timer");
    lock_take(&t->lock);
    while (!t->stop) {
        int64_t now = mono_ms();
        struct timer_entry *due = NULL;

        t->wake_tick = next_event(t);
        if (t->wake_tick > now) {
            t->tick = now;
            if (t->wake_tick == NEVER)
                cond_wait(&t->wake, &t->lock);
            else
                cond_wait_until(&t->wake, &t->lock, t->wake_tick * 1000000);
            continue;
        }
        t->tick = t->wake_tick;
        collect_due(t, &due);
        fire_all(t, &due);
    }
    lock_drop(&t->lock);
    return NULL;
}

int timer_new(struct timer **out)
{
    struct timer *t = calloc(1, sizeof *t);
    int err;

    if (t == NULL)
        return ERR_NOMEM;
    lock_init(&t->lock, LOCK_timer);
    cond_init(&t->wake);
    t->tick = mono_ms();
    t->wake_tick = NEVER;
    err = pthread_create(&t->thread, NULL, timer_main, t);
    if (err != 0) {
        log_error("timer: the thread cannot be started: %s", strerror(err));
        cond_fini(&t->wake);
        lock_fini(&t->lock);
        free(t);
        return ERR_SYSTEM;
    }
    *out = t;
    return OK;
}

void timer_free(struct timer **tp)
{
    struct timer *t = *tp;

    if (t == NULL)
        return;
    lock_take(&t->lock);
    t->stop = true;
    cond_signal(&t->wake);
    lock_drop(&t->lock);
    pthread_join(t->thread, NULL);
    cond_fini(&t->wake);
    lock_fini(&t->lock);
    free(t);
    *tp = NULL;
}

void timer_start(struct timer *t, struct timer_entry *e, int64_t delay_ms)
{
    int64_t now_ns = mono_ns(), now = now_ns / 1000000, event;

    if (delay_ms < 1)
        delay_ms = 1;
    if (delay_ms > MAX_DELAY_MS)
        delay_ms = MAX_DELAY_MS;
    e->due = (now_ns + delay_ms * 1000000 + 999999) / 1000000;
    atomic_fetch_add_explicit(&t->waiting, 1, memory_order_relaxed);
    lock_take(&t->lock);
    if (now > t->tick && now < t->wake_tick)
        t->tick = now;                  /* invariant 3; keeps new entries in low wheels while the thread sleeps */
    event = wheel_insert(t, e);
    if (event < t->wake_tick) {
        t->wake_tick = event;
        cond_signal(&t->wake);
    }
    lock_drop(&t->lock);
}

bool timer_stop(struct timer *t, struct timer_entry *e)
{
    bool waiting;

    lock_take(&t->lock);
    waiting = e->link != NULL;
    if (waiting) {
        entry_unlink(e);
        atomic_fetch_sub_explicit(&t->waiting, 1, memory_order_relaxed);
    }
    lock_drop(&t->lock);
    return waiting;
}

size_t timer_waiting(const struct timer *t)
{
    return atomic_load_explicit(&t->waiting, memory_order_relaxed);
}
