/* broker/controller/loop.c
 *
 * A poster pushes and wakes the loop under the lock; the loop looks at the list under the same lock before it sleeps,
 * so no wake-up is lost. The loop may take an item while its poster is still inside, and end because of it:
 * loop_fini() waits until that poster is out.
 */
#include "broker/controller/loop.h"

void loop_init(struct loop *l)
{
    mpsc_init(&l->items);
    lock_init(&l->lock, LOCK_ctlqueue);
    cond_init(&l->cond);
    l->closed = false;
}

void loop_fini(struct loop *l)
{
    lock_take(&l->lock);
    lock_drop(&l->lock);
    cond_fini(&l->cond);
    lock_fini(&l->lock);
}

static void push(struct loop *l, struct loop_item *item)
{
    if (mpsc_push(&l->items, &item->link))
        cond_signal(&l->cond);
}

void loop_post(struct loop *l, struct loop_item *item)
{
    lock_take(&l->lock);
    push(l, item);
    lock_drop(&l->lock);
}

void loop_close(struct loop *l)
{
    lock_take(&l->lock);
    l->closed = true;
    lock_drop(&l->lock);
}

bool loop_offer(struct loop *l, struct loop_item *item)
{
    bool closed;

    lock_take(&l->lock);
    closed = l->closed;
    if (!closed)
        push(l, item);
    lock_drop(&l->lock);
    return !closed;
}

void loop_turn(struct loop *l, void *arg, int64_t until_ns)
{
    struct qnode *n = mpsc_take(&l->items);

    if (n == NULL) {
        lock_take(&l->lock);
        while (mpsc_empty(&l->items))
            if (until_ns == INT64_MAX)
                cond_wait(&l->cond, &l->lock);
            else if (!cond_wait_until(&l->cond, &l->lock, until_ns))
                break;
        lock_drop(&l->lock);
        n = mpsc_take(&l->items);
    }
    while (n != NULL) {
        struct loop_item *item = (struct loop_item *)n;

        n = n->next;
        item->run(item, arg);
    }
}
