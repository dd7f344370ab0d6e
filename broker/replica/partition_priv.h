/* broker/replica/partition_priv.h - what the files of a partition (partition.c, append.c, commit.c, leader.c, isr.c,
 * read.c, lookup.c) share among themselves.
 */
#ifndef BROKER_REPLICA_PARTITION_PRIV_H
#define BROKER_REPLICA_PARTITION_PRIV_H

#include "broker/replica/leader.h"
#include "broker/replica/partition.h"

/* Has the log moved since the caller asked for it? Then what it did not do is to be asked of the other one. It is
 * closed a moment before that one is here: `lock` is held meanwhile. */
bool partition_moved(struct partition *p, const struct plog *l);

/* ---- commit.c ---- */
/* Moves the high watermark of a leader to where it may be, leader.h's invariant 3, and as far as flush.messages lets
 * it. True when it has moved; then *now, if not NULL, is set. Under `lock`. */
bool partition_advance_hw(struct partition *p, int64_t leo, struct plog_offsets *now);

/* ---- leader.c ---- */
/* What a leader begins with; `old` is what it had while it led before, or NULL. `next`: it did so in the epoch just
 * before this one, so that nobody else has led since. NULL: out of memory. Under `lock`. */
struct leading *leading_new(const struct leading *old, bool next, int32_t self, int64_t leo,
                            const struct leader_and_isr_request_leader_and_isr_partition_state *st);
struct follower *leading_find(struct leading *ld, int32_t id);          /* NULL: no such replica */
/* Has it our log's end, or had it that of a moment ago? */
bool follower_caught_up(const struct follower *f, int64_t leo, int64_t now_ms, int64_t lag_max_ms);
bool follower_alive(const struct partition *p, const struct follower *f);

/* ---- isr.c: a change of the ISR; under `lock` but for the submission ---- */
/* Without the members in leaving[] (leading->followers_n flags), or with `joining`; NULL: nobody to ask, or out of
 * memory. What it gives is to be submitted when `lock` has been dropped. */
struct isr_ask *isr_prepare(struct partition *p, const bool *leaving, struct follower *joining) must_use;
void isr_send(struct isr_ask *ask);                                     /* NULL: nothing */

#endif
