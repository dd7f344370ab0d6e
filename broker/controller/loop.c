/* broker/controller/loop.c
 *
 * The poster that finds the list empty wakes the loop, with the lock taken after the push; the loop looks at
 * the list under the same lock before it sleeps, so no wake-up is lost.
 */
#include "broker/controller/loop.h"

void loop_init(struct loop *l)
{
    mpsc_init(&l->items);
    lock_init(&l->lock, LOCK_ctlqueue);
    cond_init(&l->cond);
}

void loop_fini(struct loop *l)
{
    cond_fini(&l->cond);
    lock_fini(&l->lock);
}

void loop_post(struct loop *l, struct loop_item *item)
{
    if (!mpsc_push(&l->items, &item->link))
        return;
    lock_take(&l->lock);
    cond_signal(&l->cond);
    lock_drop(&l->lock);
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
