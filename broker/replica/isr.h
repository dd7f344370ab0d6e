/* broker/replica/isr.h - how a leader has its ISR changed: by the controller (AlterPartition; AlterIsr in 2.7), or,
 * with inter.broker.protocol.version below 2.7-IV2, by writing the partition's state node and a notification.
 *
 * A partition has at most one change under way. While it is, the leader counts the larger of both sets for the high
 * watermark (maximal ISR), and the committed one for min.insync.replicas. The outcome comes back by done(), on the
 * sender's thread.
 *
 * OWNER   the change is the sender's from isr_submit() to done(); the memory is the asker's.
 * THREADS any thread submits, with nothing waited for (class partition may be held). done() is called without locks.
 * FAILURE in outcome: see enum isr_outcome. Errors of the whole request are tried again by the sender, for ever, at
 *         whoever is the controller then; isr_changer_stop() answers what is left ISR_DROPPED.
 */
#ifndef BROKER_REPLICA_ISR_H
#define BROKER_REPLICA_ISR_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/uuid.h"

enum isr_outcome {
    ISR_DONE,           /* leader, epochs, isr say what stands now */
    ISR_REVERT,         /* not attempted, or a replica is not eligible: the old ISR stands */
    ISR_WAIT,           /* we are not up to date: the change stays pending until a LeaderAndIsr comes */
    ISR_RETRY,          /* anything else: ask again */
    ISR_DROPPED
};

struct isr_member {
    int32_t id;
    int64_t broker_epoch;       /* of the follower as it fetched; -1: not known */
};

struct isr_change {
    struct isr_change *next;            /* the holder's */
    struct str         topic;           /* lives as long as the change */
    struct uuid        topic_id;
    int32_t            index;
    int32_t            leader_epoch;
    int32_t            partition_epoch; /* that the change is based on: the state node's version */
    bool               recovering;
    struct isr_member *isr;             /* as wanted */
    int32_t            isr_n;
    /* the answer */
    enum isr_outcome   outcome;
    int16_t            kerr;
    int32_t            got_leader, got_leader_epoch, got_partition_epoch;
    int32_t           *got_isr;         /* ISR_DONE: until done() returns */
    int32_t            got_isr_n;
    bool               got_recovering;
    void             (*done)(struct isr_change *);
    void              *arg;
};

struct isr_changer {                    /* what broker/peer gives the replica manager */
    void (*submit)(struct isr_changer *, struct isr_change *);
};

static inline void isr_submit(struct isr_changer *s, struct isr_change *ch)
{
    s->submit(s, ch);
}

#endif
