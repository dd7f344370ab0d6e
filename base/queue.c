/* base/queue.c - see the header for why workers are woken one at a time, the last to sleep first. */
#include "base/queue.h"

#include <assert.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

/* On the sleeper's stack. The waker touches it last by setting `woken`; the futex call after that is made with the
 * address only, so a sleeper that is gone already costs at most a spurious wake-up of somebody else's futex. */
struct queue_waiter {
    struct queue_waiter *next;
    _Atomic uint32_t     woken;
};

static void waiter_sleep(struct queue_waiter *w)
{
    while (atomic_load_explicit(&w->woken, memory_order_acquire) == 0)
        syscall(SYS_futex, &w->woken, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

static void waiter_wake(struct queue_waiter *w)
{
    _Atomic uint32_t *word = &w->woken;

    atomic_store_explicit(word, 1, memory_order_release);
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void queue_init(struct queue *q, size_t limit, void (*room_fn)(void *arg), void *room_arg)
{
    *q = (struct queue){ .limit = limit, .room_fn = room_fn, .room_arg = room_arg };
    lock_init(&q->lock, LOCK_reqq);
    q->tail = &q->head;
}

void queue_fini(struct queue *q)
{
    assert(q->head == NULL && q->idle == NULL);
    lock_fini(&q->lock);
}

/* The sleeper to wake for what is in the queue, or NULL. Under the lock; the caller wakes it without. */
static struct queue_waiter *take_idle(struct queue *q)
{
    struct queue_waiter *w = q->idle;

    if (w == NULL || q->waking || q->n <= atomic_load_explicit(&q->announced, memory_order_relaxed))
        return NULL;
    q->idle = w->next;
    q->waking = true;
    return w;
}

static bool push(struct queue *q, struct qnode *item, bool over)
{
    struct queue_waiter *w;

    lock_take(&q->lock);
    if (!over && (q->n >= q->limit || q->closed)) {
        q->refused = true;
        lock_drop(&q->lock);
        return false;
    }
    item->next = NULL;
    *q->tail = item;
    q->tail = &item->next;
    q->n++;
    w = take_idle(q);
    lock_drop(&q->lock);
    if (w != NULL)
        waiter_wake(w);
    return true;
}

bool queue_push(struct queue *q, struct qnode *item)
{
    return push(q, item, false);
}

void queue_push_over(struct queue *q, struct qnode *item)
{
    push(q, item, true);
}

/* Under the lock. */
static struct qnode *take_head(struct queue *q)
{
    struct qnode *item = q->head;

    q->head = item->next;
    if (q->head == NULL)
        q->tail = &q->head;
    q->n--;
    return item;
}

void queue_announce(struct queue *q)
{
    atomic_fetch_add_explicit(&q->announced, 1, memory_order_relaxed);
}

static struct qnode *pop(struct queue *q, bool announced)
{
    struct queue_waiter *next, self;
    struct qnode *item = NULL;
    bool room = false;

    lock_take(&q->lock);
    if (announced)                      /* under the lock: who counted on us pushed before */
        atomic_fetch_sub_explicit(&q->announced, 1, memory_order_relaxed);
    while (q->head == NULL && !q->closed) {
        atomic_init(&self.woken, 0);
        self.next = q->idle;
        q->idle = &self;
        lock_drop(&q->lock);
        waiter_sleep(&self);
        lock_take(&q->lock);
        q->waking = false;
    }
    if (q->head != NULL)
        item = take_head(q);
    if (q->refused && q->n <= q->limit / 2) {
        q->refused = false;
        room = true;
    }
    next = take_idle(q);
    lock_drop(&q->lock);
    if (next != NULL)
        waiter_wake(next);
    if (room && q->room_fn != NULL)
        q->room_fn(q->room_arg);
    return item;
}

struct qnode *queue_pop(struct queue *q)
{
    return pop(q, false);
}

struct qnode *queue_pop_announced(struct queue *q)
{
    return pop(q, true);
}

void queue_close(struct queue *q)
{
    struct queue_waiter *w;

    lock_take(&q->lock);
    q->closed = true;
    w = q->idle;
    q->idle = NULL;
    lock_drop(&q->lock);
    while (w != NULL) {
        struct queue_waiter *next = w->next;

        waiter_wake(w);
        w = next;
    }
}

size_t queue_len(struct queue *q)
{
    size_t n;

    lock_take(&q->lock);
    n = q->n;
    lock_drop(&q->lock);
    return n;
}

struct qnode *mpsc_take(struct mpsc *m)
{
    struct qnode *p = NULL, *out = NULL;

    if (atomic_load_explicit(&m->head, memory_order_relaxed) != NULL)
        p = atomic_exchange_explicit(&m->head, NULL, memory_order_acquire);
    while (p != NULL) {
        struct qnode *next = p->next;

        p->next = out;
        out = p;
        p = next;
    }
    return out;
}
