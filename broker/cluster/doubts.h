/* broker/cluster/doubts.h - brokers whose connection to this one has just been cut from their side, and requests that
 * wait a moment because of it, or because it may just have happened.
 *
 * When a broker's process ends, clients lose their connections at the same moment as we do, and ask at once who leads
 * now: a few milliseconds before the controller has chosen. A client that is told the old leader asks again after a
 * second (librdkafka) or after its back-off. So a Metadata request that would name a broker in doubt waits until the
 * next UpdateMetadata, or for DOUBT_MS at most; then it is answered with what is known.
 *
 * The connections of a process that dies are cut one after the other, within a millisecond, and a client can be quicker
 * than the thread of ours that finds its own one cut. So who asks for leaders waits for DOUBT_COMES_MS first.
 *
 * OWNER   the daemon makes one. A waiter is the caller's, and stays where it is until resume().
 * LOCKS   class doubts inside. Any thread. resume() is called without locks, and must only post.
 */
#ifndef BROKER_CLUSTER_DOUBTS_H
#define BROKER_CLUSTER_DOUBTS_H

#include "base/err.h"
#include "base/timer.h"

#include <stdbool.h>

#define DOUBT_MS       300
#define DOUBT_COMES_MS 5

struct doubts;

struct doubt_waiter {
    void               (*resume)(struct doubt_waiter *);
    /* doubts.c */
    struct doubts       *home;
    struct doubt_waiter *prev, *next;
    struct timer_entry   timer;
};

int  doubts_new(struct doubts **out, struct timer *timer) must_use;
void doubts_stop(struct doubts *d);             /* NULL-safe; who waits goes on, and nobody waits any more */
void doubts_free(struct doubts **d);            /* NULL-safe; nobody waits */

void doubts_note(struct doubts *d, int32_t broker);     /* NULL-safe: its connection was cut */
void doubts_end(struct doubts *d, int32_t broker);      /* NULL-safe: it answers */
void doubts_changed(struct doubts *d);          /* NULL-safe: the metadata cache has been updated: who waits goes on */

/* How often doubts_changed() was called; 0: nobody is in doubt. NULL-safe. */
uint32_t doubts_round(struct doubts *d);
bool     doubts_about(struct doubts *d, int32_t broker);
/* Goes on, once, at the end of this round (at once if it has passed), or when nobody is in doubt any more. */
void     doubts_wait(struct doubts *d, struct doubt_waiter *w, uint32_t round);
/* Goes on, once, when a doubt that is about to come has come, if there is one; sooner if the metadata changes or the
 * broker stops. Not NULL-safe. */
void     doubts_expect(struct doubts *d, struct doubt_waiter *w);

#endif
