/* broker/group/offsets.h - the offsets that one group has committed. KIP-211 (expiry), KIP-447 (pending ones).
 *
 * A table made for many small groups: one offset, with its topic's name, costs less than 200 bytes of heap in a group
 * of its own, and less than 100 besides others; metadata text comes on top. Offsets that belong to a transaction wait
 * by producer until its marker comes; commits on their way to the replicas are counted.
 *
 * OWNER    its group. LOCKS the group's. UNITS Unix ms; offsets of records.
 * ORDER    log_offset is where the record's batch lies in __consumer_offsets: a put with a smaller one than is there
 *          changes nothing, so that writes that end in another order than they were appended in do no harm.
 */
#ifndef BROKER_GROUP_OFFSETS_H
#define BROKER_GROUP_OFFSETS_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/err.h"

struct group_offsets;

struct committed {
    int64_t    offset;
    int64_t    commit_ms;
    int64_t    expire_ms;               /* -1: by the broker's retention */
    int64_t    log_offset;
    int32_t    leader_epoch;            /* -1: not known */
    struct str metadata;                /* of the table's memory in what is got; copied by what puts */
};

int  group_offsets_new(struct group_offsets **out) must_use;
void group_offsets_free(struct group_offsets **o);      /* NULL-safe */

size_t group_offsets_n(const struct group_offsets *o);
bool   group_offsets_none(const struct group_offsets *o);       /* not a single one, nor pending, nor on its way */
bool   group_offsets_get(const struct group_offsets *o, struct str topic, int32_t partition, struct committed *out);
int    group_offsets_put(struct group_offsets *o, struct str topic, int32_t partition,
                         const struct committed *c) must_use;

/* Forgets what is committed, not what is pending: how a tombstone is loaded. true: there was one. */
bool   group_offsets_remove(struct group_offsets *o, struct str topic, int32_t partition);

/* Deletes it: what is pending, and what is on its way, goes with it. true: the log has to be told. */
bool   group_offsets_delete(struct group_offsets *o, struct str topic, int32_t partition);

/* Every committed one, in no particular order; fn must not change the table. */
typedef void committed_fn(void *arg, struct str topic, int32_t partition, const struct committed *c);
void   group_offsets_each(const struct group_offsets *o, committed_fn *fn, void *arg);

/* Every one that the log may have: committed, pending or on its way. */
void   group_offsets_each_known(const struct group_offsets *o,
                                void (*fn)(void *arg, struct str topic, int32_t partition), void *arg);

/* Asks goes() of every committed one that is not pending, and removes those of which it says yes; how many. */
typedef bool committed_goes(void *arg, struct str topic, int32_t partition, const struct committed *c);
size_t group_offsets_remove_if(struct group_offsets *o, committed_goes *goes, void *arg);

/* Does it know any partition of the topic? */
bool   group_offsets_has_topic(const struct group_offsets *o, struct str topic);
/* The partitions of one topic that are committed, pending or on their way; in the arena, in no particular order. */
int    group_offsets_partitions(const struct group_offsets *o, struct str topic, struct arena *a, int32_t **out,
                                size_t *n) must_use;

/* A copy of all that is committed, by topic, in the arena. */
struct offsets_of_partition {
    int32_t          partition;
    bool             pending;           /* group_offsets_is_pending() */
    struct committed c;
};
struct offsets_of_topic {
    struct str                   name;
    struct offsets_of_partition *v;
    size_t                       n;
};
int    group_offsets_copy(const struct group_offsets *o, struct arena *a, struct offsets_of_topic **out,
                          size_t *n) must_use;

/* ---- on their way: appended, not yet committed by the log ---- */

/* The offset is unstable from now on, and does not expire. Gives a ticket for one of the two calls below. */
int    group_offsets_begin(struct group_offsets *o, struct str topic, int32_t partition, uint64_t *ticket) must_use;
/* It is in the log: as group_offsets_put(), unless it was deleted since. */
int    group_offsets_land(struct group_offsets *o, struct str topic, int32_t partition, const struct committed *c,
                          uint64_t ticket) must_use;
/* It is not. */
void   group_offsets_abandon(struct group_offsets *o, struct str topic, int32_t partition);

/* ---- of transactions ---- */

int    group_offsets_pend(struct group_offsets *o, int64_t producer_id, struct str topic, int32_t partition,
                          const struct committed *c) must_use;
/* The producer's marker: its pending ones become committed (in log order as above), or are forgotten. */
void   group_offsets_complete(struct group_offsets *o, int64_t producer_id, bool commit);
/* Also when it is on its way. */
bool   group_offsets_is_pending(const struct group_offsets *o, struct str topic, int32_t partition);
size_t group_offsets_pending_n(const struct group_offsets *o);  /* producers that have some */

#endif
