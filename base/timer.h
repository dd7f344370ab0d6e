/* base/timer.h - a timer wheel: many timeouts, most of which are cancelled before they come.
 *
 * Starting and stopping a timeout is a list operation in a bucket, whatever the number of others; one thread sleeps
 * until the next bucket that holds something. Late by at most a millisecond plus scheduling, never early.
 *
 * OWNER   an entry belongs to the caller, usually as a member of what waits. It must stay where it is from
 *         timer_start() until either timer_stop() gave true or fire() was called.
 * LOCKS   class timer, held for the list operations only. fire() is called by the timer's thread, without any
 *         lock, one entry at a time: it must not block and not take long. It may start and stop entries, its
 *         own too, and may free the memory of its own.
 * UNITS   milliseconds on the monotonic clock. A delay below 1 is taken for 1, above 24 days for 24 days.
 * ORDER   timer_free() stops the thread first. What is still waiting then never fires.
 */
#ifndef BASE_TIMER_H
#define BASE_TIMER_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct timer;

struct timer_entry {
    void              (*fire)(struct timer_entry *);    /* set by the caller before timer_start() */
    /* the wheel's */
    struct timer_entry *next, **link;                   /* link == NULL: not waiting */
    int64_t             due;                            /* tick */
};

int  timer_new(struct timer **out) must_use;            /* ERR_NOMEM, ERR_SYSTEM */
void timer_free(struct timer **t);                      /* NULL-safe */

/* The entry must not be waiting. */
void timer_start(struct timer *t, struct timer_entry *e, int64_t delay_ms);
/* true: it will not fire. false: it was not waiting; when it was started, fire() has been or is being called. */
bool timer_stop(struct timer *t, struct timer_entry *e);
size_t timer_waiting(const struct timer *t);

#endif
