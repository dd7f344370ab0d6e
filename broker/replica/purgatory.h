/* broker/replica/purgatory.h - operations that wait until something is true or their time is up.
 *
 * What can be waited for (the end of a partition's log, a group's state) holds a struct watch_list. A parked operation
 * hangs in one or many of them and in the timer wheel. Whoever changes the thing calls purgatory_wake(), which asks
 * each operation there whether it is ready(). An operation is ended once, by whoever comes first - a wake-up, its
 * timeout, the close of its connection - and its done() runs once, when nobody looks at it any more.
 *
 *              park                    wake and ready() / timeout / purgatory_end(), first one wins
 *   (caller) ---------> WAITING ------------------------------------------------------------> ENDED ---> done(why)
 *
 * OWNER   memory of an operation and its watches is the caller's (usually the request's arena) and must stay until
 *         done() is called, which may free it. done() may run in the thread that parks, before
 *         purgatory_park() returns: the caller must not touch the operation after that call.
 *         Everything is taken out of the lists and the wheel before done() runs.
 * LOCKS   class purgatory, one for each shard of the lists, held for list operations only. ready() and done() are
 *         called without any lock held; ready() may be called by several threads at once and must only look. None of
 *         these functions may be called with a ranked lock held (asserted), but for purgatory_watched().
 * ORDER   what ready() looks at must be published before purgatory_wake() is called. Either the wake-up then finds the
 *         operation in the list, or purgatory_park(), which looks once more after it has hung it up, sees the change.
 * COST    purgatory_wake() on a list without watches is one atomic operation.
 */
#ifndef BROKER_REPLICA_PURGATORY_H
#define BROKER_REPLICA_PURGATORY_H

#include "base/timer.h"

#include <stdatomic.h>
#include <stdbool.h>

struct purgatory;
struct delayed;

/* In each thing that can be waited for; all zero is an empty one. It must outlive its watches: whoever frees the thing
 * ends the operations first, or the operations hold a reference of it until done(). */
struct watch_list {
    _Atomic uint32_t n;                 /* watches in the list; changed under the shard's lock */
    struct watch    *head;              /* under the shard's lock */
};

struct watch {
    struct watch     *next, **link;     /* under the shard's lock; link == NULL: not in a list */
    struct watch_list *list;            /* fixed while parked */
    struct delayed    *op;              /* fixed while parked */
};

enum delayed_why {
    DELAYED_READY,                      /* ready() said so */
    DELAYED_TIMEOUT,
    DELAYED_CLOSED,                     /* the connection is gone: nobody waits for an answer */
    DELAYED_STOPPED                     /* the broker stops */
};

struct delayed {
    /* set by the caller, fixed while parked */
    bool          (*ready)(struct delayed *, const struct watch *which);   /* which: NULL = look at all */
    void          (*done)(struct delayed *, enum delayed_why why);
    struct watch   *watches;            /* list set in each; one list may occur once only */
    size_t          watches_n;
    /* the purgatory's */
    struct purgatory  *home;
    struct timer_entry timer;
    struct delayed    *next, **link;    /* all operations of the shard, for purgatory_stop(); under its lock */
    atomic_int         refs;            /* who may look at it: the wait itself, the timer, each waker, the parker */
    atomic_bool        ended;           /* set once, by compare-and-swap */
    enum delayed_why   why;             /* written by who set `ended` */
};

int  purgatory_new(struct purgatory **out, struct timer *timer) must_use;
void purgatory_free(struct purgatory **p);          /* NULL-safe; nothing may be parked any more */

/* Ends every operation (DELAYED_STOPPED); whatever is parked later ends at once. Before the timer is freed. */
void purgatory_stop(struct purgatory *p);

/* Two steps, so that purgatory_end() may come at any time after the first. */
void purgatory_init(struct purgatory *p, struct delayed *op);
void purgatory_park(struct delayed *op, int64_t timeout_ms);

/* Ends op if nobody has. The caller knows by other means that the memory of op still stands. */
void purgatory_end(struct delayed *op, enum delayed_why why);

void purgatory_wake_slow(struct purgatory *p, struct watch_list *list);

/* Both sides change n by a read-modify-write, so that one of the two sees the other (ORDER above). */
static inline bool purgatory_watched(struct watch_list *list)
{
    return atomic_fetch_add_explicit(&list->n, 0, memory_order_acq_rel) != 0;
}

static inline void purgatory_wake(struct purgatory *p, struct watch_list *list)
{
    if (purgatory_watched(list))
        purgatory_wake_slow(p, list);
}

size_t purgatory_parked(const struct purgatory *p);

#endif
