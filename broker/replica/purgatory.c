/* broker/replica/purgatory.c - parked operations: sharded watch lists, one end each.
 *
 * INVARIANTS
 *  1. An operation is linked in lists (its watches, its shard's list) only while its memory stands: the thread
 *     that gives back the last reference unlinks it everywhere, under the shards' locks, and then calls done().
 *  2. Who finds an operation in a list, under the shard's lock, takes a reference unless the count is zero.
 *  3. `ended` goes from false to true once; who does it stops the timer and gives back the wait's own reference
 *     (and the timer's, when the timer was stopped in time).
 *  4. The wait counts one reference from purgatory_init(), the parker one until purgatory_park() is through, the
 *     timer one while it is started: so done() never runs under somebody's feet.
 */
#include "broker/replica/purgatory.h"

#include "base/lock.h"

#include <stdlib.h>

#define SHARDS     64
#define WAKE_BATCH 32

struct shard {
    struct lock     lock;               /* class purgatory; covers the watch lists and operations that hash here */
    struct delayed *ops;
};

struct purgatory {
    struct timer *timer;
    atomic_size_t parked;
    atomic_bool   stopped;
    struct shard  shard[SHARDS];
};

static struct shard *shard_of(struct purgatory *p, const void *addr)
{
    uint64_t h = (uint64_t)(uintptr_t)addr * UINT64_C(0x9E3779B97F4A7C15);

    return &p->shard[h >> 58];
}

static void op_list_add(struct purgatory *p, struct delayed *op)
{
    struct shard *s = shard_of(p, op);

    lock_take(&s->lock);
    op->next = s->ops;
    op->link = &s->ops;
    if (op->next != NULL)
        op->next->link = &op->next;
    s->ops = op;
    lock_drop(&s->lock);
}

static void op_list_remove(struct purgatory *p, struct delayed *op)
{
    struct shard *s = shard_of(p, op);

    lock_take(&s->lock);
    *op->link = op->next;
    if (op->next != NULL)
        op->next->link = op->link;
    op->link = NULL;
    lock_drop(&s->lock);
}

/* Not inlined: a wake-up links a mark of its own stack, and takes it out again, which the compiler does not see. */
static __attribute__((noinline)) void watch_link(struct watch **at, struct watch *w)
{
    w->next = *at;
    w->link = at;
    if (w->next != NULL)
        w->next->link = &w->next;
    *at = w;
}

static void watch_unlink(struct watch *w)
{
    *w->link = w->next;
    if (w->next != NULL)
        w->next->link = w->link;
    w->link = NULL;
}

static void op_unhang(struct purgatory *p, struct delayed *op)
{
    for (size_t i = 0; i < op->watches_n; i++) {
        struct watch *w = &op->watches[i];
        struct shard *s = shard_of(p, w->list);

        lock_take(&s->lock);
        if (w->link != NULL) {
            watch_unlink(w);
            atomic_fetch_sub_explicit(&w->list->n, 1, memory_order_relaxed);
        }
        lock_drop(&s->lock);
    }
}

static void op_unref(struct delayed *op)
{
    struct purgatory *p = op->home;

    if (atomic_fetch_sub_explicit(&op->refs, 1, memory_order_acq_rel) != 1)
        return;
    op_unhang(p, op);
    op_list_remove(p, op);              /* purgatory_park() has been through: the parker's reference is gone */
    atomic_fetch_sub_explicit(&p->parked, 1, memory_order_relaxed);
    op->done(op, op->why);
}

/* Invariant 2. */
static bool op_ref_unless_dead(struct delayed *op)
{
    int n = atomic_load_explicit(&op->refs, memory_order_relaxed);

    while (n != 0)
        if (atomic_compare_exchange_weak_explicit(&op->refs, &n, n + 1, memory_order_acq_rel, memory_order_relaxed))
            return true;
    return false;
}

void purgatory_end(struct delayed *op, enum delayed_why why)
{
    bool no = false;

    lock_assert_none();
    if (!atomic_compare_exchange_strong(&op->ended, &no, true))
        return;
    op->why = why;
    if (timer_stop(op->home->timer, &op->timer))
        op_unref(op);
    op_unref(op);
}

static void op_timeout(struct timer_entry *e)
{
    struct delayed *op = (struct delayed *)((char *)e - offsetof(struct delayed, timer));

    purgatory_end(op, DELAYED_TIMEOUT);
    op_unref(op);
}

void purgatory_init(struct purgatory *p, struct delayed *op)
{
    op->home = p;
    op->timer = (struct timer_entry){ .fire = op_timeout };
    op->next = NULL;
    op->link = NULL;
    op->why = DELAYED_READY;
    for (size_t i = 0; i < op->watches_n; i++)
        op->watches[i].link = NULL;
    atomic_init(&op->ended, false);
    atomic_init(&op->refs, 2);
    atomic_fetch_add_explicit(&p->parked, 1, memory_order_relaxed);
}

void purgatory_park(struct delayed *op, int64_t timeout_ms)
{
    struct purgatory *p = op->home;

    lock_assert_none();
    op_list_add(p, op);
    for (size_t i = 0; i < op->watches_n; i++) {
        struct watch *w = &op->watches[i];
        struct shard *s = shard_of(p, w->list);

        w->op = op;
        lock_take(&s->lock);
        watch_link(&w->list->head, w);
        atomic_fetch_add_explicit(&w->list->n, 1, memory_order_acq_rel);
        lock_drop(&s->lock);
    }
    atomic_fetch_add_explicit(&op->refs, 1, memory_order_relaxed);
    timer_start(p->timer, &op->timer, timeout_ms);
    if (atomic_load(&op->ended)) {
        /* Ended before the timer was started: whoever did it could not stop the timer. */
        if (timer_stop(p->timer, &op->timer))
            op_unref(op);
    } else if (atomic_load(&p->stopped)) {
        purgatory_end(op, DELAYED_STOPPED);
    } else if (op->ready(op, NULL)) {
        purgatory_end(op, DELAYED_READY);
    }
    op_unref(op);
}

void purgatory_wake_slow(struct purgatory *p, struct watch_list *list)
{
    struct shard *s = shard_of(p, list);
    struct watch mark = { .op = NULL }, *seen[WAKE_BATCH];
    struct delayed *op[WAKE_BATCH];
    bool more = true;

    lock_assert_none();
    lock_take(&s->lock);
    watch_link(&list->head, &mark);     /* what is hung up from now on comes before the mark: it looks for itself */
    while (more) {
        size_t n = 0;

        while (mark.next != NULL && n < WAKE_BATCH) {
            struct watch *w = mark.next;

            watch_unlink(&mark);
            watch_link(&w->next, &mark);
            if (w->op != NULL && op_ref_unless_dead(w->op)) {
                seen[n] = w;
                op[n++] = w->op;
            }
        }
        more = mark.next != NULL;
        if (!more)
            watch_unlink(&mark);
        lock_drop(&s->lock);
        for (size_t i = 0; i < n; i++) {
            if (!atomic_load(&op[i]->ended) && op[i]->ready(op[i], seen[i]))
                purgatory_end(op[i], DELAYED_READY);
            op_unref(op[i]);
        }
        if (more)
            lock_take(&s->lock);
    }
}

void purgatory_stop(struct purgatory *p)
{
    lock_assert_none();
    atomic_store(&p->stopped, true);
    for (int i = 0; i < SHARDS; i++) {
        struct shard *s = &p->shard[i];

        while (true) {
            struct delayed *op;

            lock_take(&s->lock);
            for (op = s->ops; op != NULL; op = op->next)
                if (!atomic_load(&op->ended) && op_ref_unless_dead(op))
                    break;
            lock_drop(&s->lock);
            if (op == NULL)
                break;
            purgatory_end(op, DELAYED_STOPPED);
            op_unref(op);
        }
    }
}

int purgatory_new(struct purgatory **out, struct timer *timer)
{
    struct purgatory *p = calloc(1, sizeof *p);

    if (p == NULL)
        return ERR_NOMEM;
    p->timer = timer;
    for (int i = 0; i < SHARDS; i++)
        lock_init(&p->shard[i].lock, LOCK_purgatory);
    *out = p;
    return OK;
}

void purgatory_free(struct purgatory **pp)
{
    struct purgatory *p = *pp;

    if (p == NULL)
        return;
    for (int i = 0; i < SHARDS; i++)
        lock_fini(&p->shard[i].lock);
    free(p);
    *pp = NULL;
}

size_t purgatory_parked(const struct purgatory *p)
{
    return atomic_load_explicit(&p->parked, memory_order_relaxed);
}
