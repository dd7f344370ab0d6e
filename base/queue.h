/* base/queue.h - passing work between threads: a bounded queue for a pool of workers, and a lock-free list by which
 * many threads return work to one.
 *
 * Both link the items themselves (struct qnode inside the item), so that neither allocates.
 * OWNER  an item belongs to the queue from push to pop; the structs to whoever initialised them.
 */
#ifndef BASE_QUEUE_H
#define BASE_QUEUE_H

#include "base/err.h"
#include "base/lock.h"

#include <stdatomic.h>
#include <stddef.h>

struct qnode {
    struct qnode *next;
};

/* ---- struct queue: first in first out, any thread pushes, a pool of workers pops --------------------------------
 * A worker that finds nothing sleeps on its own futex. The one that went to sleep last is woken first (its memory is
 * still in the caches), and only one at a time is on its way up: it wakes the next if more is waiting when it arrives,
 * so a burst costs few system calls, and a worker that is awake takes what comes without any. One that is about to be
 * done can announce itself, so that nobody else is woken for what comes meanwhile.
 * LOCKS  class reqq, held for a few instructions. No other ranked lock above it may be held by the caller. */
struct queue_waiter;

struct queue {
    struct lock          lock;
    /* under `lock` */
    struct qnode        *head, **tail;
    size_t               n;
    struct queue_waiter *idle;          /* sleeping workers, the last to sleep first */
    bool                 waking;        /* one has been woken and has not arrived yet */
    bool                 closed;
    bool                 refused;       /* a push failed since room_fn was last called */
    /* raised without, lowered under `lock` */
    atomic_size_t        announced;     /* workers that will be in queue_pop() in a moment */
    /* fixed */
    size_t               limit;
    void               (*room_fn)(void *arg);
    void                *room_arg;
};

/* room_fn (may be NULL) is called, without the lock, when there is room again after a push was refused. */
void queue_init(struct queue *q, size_t limit, void (*room_fn)(void *arg), void *room_arg);
void queue_fini(struct queue *q);                               /* empty, and nobody sleeps in it */

bool queue_push(struct queue *q, struct qnode *item) must_use;  /* false: full or closed */
void queue_push_over(struct queue *q, struct qnode *item);      /* for work that was let in before: never refused */
struct qnode *queue_pop(struct queue *q);                       /* waits; NULL: closed and empty */
void queue_announce(struct queue *q);                           /* a few microseconds before queue_pop_announced() */
struct qnode *queue_pop_announced(struct queue *q);
void queue_close(struct queue *q);                              /* no more queue_push(); pop gives what is left */
size_t queue_len(struct queue *q);

/* ---- struct mpsc: many push, one takes all ---------------------------------------------------------------------- */
struct mpsc {
    _Atomic(struct qnode *) head;       /* newest first */
};

static inline void mpsc_init(struct mpsc *m)
{
    atomic_init(&m->head, NULL);
}

/* true: the list was empty, so the taker may have to be woken. */
static inline bool mpsc_push(struct mpsc *m, struct qnode *item)
{
    struct qnode *old = atomic_load_explicit(&m->head, memory_order_relaxed);

    do {
        item->next = old;
    } while (!atomic_compare_exchange_weak(&m->head, &old, item));
    return old == NULL;
}

static inline bool mpsc_empty(struct mpsc *m)
{
    return atomic_load(&m->head) == NULL;
}

struct qnode *mpsc_take(struct mpsc *m);        /* all, in the order they were pushed; linked by next */

#endif
