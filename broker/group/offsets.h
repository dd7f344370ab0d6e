/* broker/group/offsets.h - the offsets that one group has committed. KIP-211 (expiry), KIP-447 (pending ones).
 *
 * Topics are kept once for each group; a partition costs less than 100 bytes besides its metadata text. Offsets that
 * belong to a transaction wait by producer until its marker comes.
 *
 * OWNER    its group. LOCKS the group's. UNITS Unix ms; offsets of records.
 * ORDER    log_offset is where the record lies in __consumer_offsets: a put with a smaller one than is there changes
 *          nothing, so that writes that end in another order than they were appended in do no harm.
 */
#ifndef BROKER_GROUP_OFFSETS_H
#define BROKER_GROUP_OFFSETS_H

#include "base/bytes.h"
#include "base/err.h"

struct group;
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
bool   group_offsets_get(const struct group_offsets *o, struct str topic, int32_t partition, struct committed *out);
int    group_offsets_put(struct group_offsets *o, struct str topic, int32_t partition,
                         const struct committed *c) must_use;
bool   group_offsets_remove(struct group_offsets *o, struct str topic, int32_t partition);      /* was there */

/* Every one, topics and partitions in no particular order; fn must not change the table. */
void   group_offsets_each(const struct group_offsets *o,
                          void (*fn)(void *arg, struct str topic, int32_t partition, const struct committed *c),
                          void *arg);

/* A commit of this partition is being written (not yet committed): it is not expired meanwhile. */
int    group_offsets_begin(struct group_offsets *o, struct str topic, int32_t partition) must_use;
void   group_offsets_end(struct group_offsets *o, struct str topic, int32_t partition);

/* ---- of transactions ---- */
int    group_offsets_pend(struct group_offsets *o, int64_t producer_id, struct str topic, int32_t partition,
                          const struct committed *c) must_use;
/* The producer's marker: its pending ones become committed (in log order as above), or are forgotten. */
int    group_offsets_complete(struct group_offsets *o, int64_t producer_id, bool commit) must_use;
bool   group_offsets_is_pending(const struct group_offsets *o, struct str topic, int32_t partition);
size_t group_offsets_pending_n(const struct group_offsets *o);

/* ---- expiry (internal-topics.md, 2.6) ---- */
/* Takes out what has expired and tells it to fn, which writes the tombstones. */
size_t group_offsets_expire(struct group *g, int64_t now_ms, int64_t retention_ms,
                            void (*fn)(void *arg, struct str topic, int32_t partition), void *arg);

#endif
