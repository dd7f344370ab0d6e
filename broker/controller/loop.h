/* broker/controller/loop.h - the controller's queue: any thread posts, one thread runs, in order.
 *
 * OWNER  an item belongs to the loop from loop_post() until its run(), which may free it.
 * LOCKS  class ctlqueue, held for a push and a wake-up, or to sleep.
 */
#ifndef BROKER_CONTROLLER_LOOP_H
#define BROKER_CONTROLLER_LOOP_H

#include "base/lock.h"
#include "base/queue.h"

struct loop_item {
    struct qnode link;          /* first */
    void       (*run)(struct loop_item *, void *arg);
};

struct loop {
    struct mpsc items;
    struct lock lock;
    /* under lock */
    struct cond cond;
    bool        closed;
};

void loop_init(struct loop *l);
void loop_fini(struct loop *l);
void loop_post(struct loop *l, struct loop_item *item);

/* From then on loop_offer() takes nothing: false, the item stays the caller's. */
void loop_close(struct loop *l);
bool loop_offer(struct loop *l, struct loop_item *item) must_use;

/* Runs what is there; when there is nothing, waits for something until until_ns (monotonic; INT64_MAX: for
 * ever). */
void loop_turn(struct loop *l, void *arg, int64_t until_ns);

#endif
