/* broker/replica/leader.h - what the leader of a partition knows of its other replicas: how far each has come, who is
 * in sync, and how far the log is committed by that.
 *
 *   Fetch of a follower --> partition_follower_fetched(): its log end --> may join the ISR? --> isr_submit()
 *                                                                     \-> high watermark --> who waits is woken
 *   every second at most -> partition_shrink_isr(): who lags is to leave the ISR -----------> isr_submit()
 *   the controller's answer -> isr_change.done() --> committed ISR ---> high watermark
 *
 * INVARIANTS
 *  1. All that is here is read and written under `partition`. There is a struct leading exactly while we lead.
 *  2. A follower's state says nothing that it did not say itself in this leadership: it begins anew when we begin to
 *     lead, or lead on in an epoch that is not the next one (another may have led in between), and when the follower
 *     has registered anew (its broker epoch has grown). A fetch with an older broker epoch than one that has been seen
 *     is refused (R6).
 *  3. The high watermark is at most the log end of every member of the maximal ISR - the committed one, with the
 *     one who is to join - and of every replica that has caught up within replica.lag.time.max.ms and may join. It
 *     never goes back, and stands still while the committed ISR is smaller than min.insync.replicas.
 *  4. At most one change of the ISR is under way (`pending`). Who is to leave counts as a member until that is
 *     committed; who is to join, from the moment on in which it is asked for (R11).
 *  5. What the decision to ask for a change was made by, and what is asked for, are one look under `partition`.
 *  6. A fetch whose log has parted from ours, or whose offset is not in our log, changes nothing (R4).
 *
 * LOCKS   class partition, inside the calls; those that say so want it held. Nobody is woken with it held.
 * UNITS   times are mono_ms().
 */
#ifndef BROKER_REPLICA_LEADER_H
#define BROKER_REPLICA_LEADER_H

#include "broker/replica/partition.h"

#define FOLLOWER_NEVER (INT64_MIN / 2)

struct isr_ask;

/* Another replica of a partition that we lead. */
struct follower {
    int32_t id;
    bool    in_isr;                     /* as committed */
    bool    joining;                    /* a pending change takes it in */
    int64_t leo;                        /* offset that it fetched last; -1: none in this leadership */
    int64_t log_start;                  /* -1: not known */
    int64_t fetch_ms;                   /* when it fetched last */
    int64_t fetch_leo;                  /* our log end then */
    int64_t caught_up_ms;               /* the latest time whose log end of ours it is known to have */
    int64_t broker_epoch;               /* of its last fetch; -1: it does not say */
};

struct leading {
    int32_t         since;              /* leader epoch in which we began to lead; we have not followed anybody since */
    bool            self_in_isr;
    bool            pending;            /* the controller has been asked, and has not answered for good */
    struct isr_ask *asked;              /* while the question is out; NULL: to be settled by a LeaderAndIsr */
    int32_t         followers_n;
    struct follower followers[];        /* in the order of the assignment */
};

/* One partition of a follower's Fetch. */
struct follower_fetch {
    int32_t id;
    int64_t broker_epoch;               /* -1: not given */
    int32_t leader_epoch, last_epoch;   /* -1: not given */
    int64_t offset, log_start;
    int64_t now_ms;                     /* when the request came */
};

/* Takes notice of a fetch. The codes of partition_check(); UNKNOWN_LEADER_EPOCH or, when the request gives no epoch,
 * NOT_LEADER_OR_FOLLOWER for who is no replica; NOT_LEADER_OR_FOLLOWER for an earlier incarnation of one. */
int16_t partition_follower_fetched(struct partition *p, const struct follower_fetch *in);
/* The same question, when the fetch has waited and reads again: nothing is noted. */
int16_t partition_follower_known(struct partition *p, int32_t id, int32_t leader_epoch);

/* Asks for an ISR without those that lag by more than replica.lag.time.max.ms. */
void partition_shrink_isr(struct partition *p, int64_t now_ms);

/* Is the replica in the committed ISR? */
bool partition_in_isr(struct partition *p, int32_t id);

/* Those other replicas in the ISR that have `offset`; at most max. -1: we do not lead. */
struct replica_view {
    int32_t id;
    int64_t leo;
    int64_t behind_ms;                  /* since it was caught up */
};
int32_t partition_replica_views(struct partition *p, int64_t offset, int64_t now_ms, struct replica_view *out,
                                int32_t max);

/* *low: the lowest log start of the leader and of the replicas on live brokers; -1 while one has not told its own.
 * NOT_LEADER_OR_FOLLOWER. It grows before partition_wake_committed(). */
int16_t partition_low_watermark(struct partition *p, int64_t *low);

#endif
