/* broker/replica/follower.h - what is done to a partition that follows: copies of the leader's batches are
 * appended, the leader's high watermark and log start are taken over, and what the leader does not have is cut off.
 *
 * Where the log is cut follows from leader epochs alone (KIP-101, KIP-279: rules R1, R2); the high watermark
 * says it only for a log without epochs, all of whose batches are of the old formats.
 *
 * OWNER   the fetcher that has the partition (fetchers.h): one thread at a time for each, but for
 *         follower_reset() and follower_flushed().
 * LOCKS   `partition` inside. follower_take() holds it across the append, as a leader's append does; what cuts
 *         does not: it waits for the disk. Nobody may hold it; consumers that wait here are woken.
 * FAILURE ERR_FENCED: the partition does not follow in that leader epoch any more. ERR_CLOSED, ERR_OFFLINE,
 *         ERR_NOSPACE, ERR_AGAIN, ERR_NOMEM: the log's, as in storage/plog.h.
 */
#ifndef BROKER_REPLICA_FOLLOWER_H
#define BROKER_REPLICA_FOLLOWER_H

#include "base/bytes.h"
#include "base/err.h"
#include "storage/plog.h"

struct partition;

struct follower_place {
    struct plog_offsets offsets;
    int32_t             epoch;          /* latest that the log knows; -1: it knows none */
};

int follower_place(struct partition *p, int32_t leader_epoch, struct follower_place *out) must_use;

/* What the leader's answer to a Fetch at `offset`, which is our log end, says of the partition. */
struct follower_take {
    int32_t      leader_epoch;          /* that it is followed in */
    int64_t      offset;
    struct bytes records;               /* the last batch may be cut */
    int64_t      hw, start;             /* the leader's */
    /* out */
    int64_t      leo;
    size_t       taken_bytes;
    size_t       wanted_bytes;          /* not even the first batch is whole: that it takes; else 0 */
    bool         held;                  /* flush.messages: not before follower_is_safe() may it be asked for more */
};

/* ERR_RANGE: the log does not end at `offset`, or the batches do not begin there; ERR_CORRUPT, ERR_INVALID: they
 * are not sound, or of a later leader epoch. Then none of them, or only the first ones, are in the log. */
int  follower_take(struct partition *p, struct follower_take *io) must_use;
int  follower_is_safe(struct partition *p, int64_t offset, bool *safe) must_use;

/* The leader says that `end.epoch`, the latest that it has of those up to our latest, ends at `end.end_offset`;
 * -1 as in OffsetForLeaderEpoch. *cut_at: where our log ends now. *agreed: all that is left is the leader's too;
 * else it is to be asked again. ERR_INVALID: it says what it cannot: nothing was changed. */
int  follower_part(struct partition *p, int32_t leader_epoch, struct plog_epoch_end end, int64_t *cut_at,
                   bool *agreed) must_use;
int  follower_cut(struct partition *p, int32_t leader_epoch, int64_t offset) must_use;
int  follower_begin_at(struct partition *p, int32_t leader_epoch, int64_t offset) must_use;     /* nothing is left */

void follower_reset(struct partition *p);       /* what an earlier leader said does not count any more */
void follower_flushed(struct partition *p);     /* a flush has ended: the high watermark may go on */

#endif
