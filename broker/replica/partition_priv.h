/* broker/replica/partition_priv.h - what the files of a partition (partition.c, append.c, commit.c, read.c, lookup.c)
 * share among themselves.
 */
#ifndef BROKER_REPLICA_PARTITION_PRIV_H
#define BROKER_REPLICA_PARTITION_PRIV_H

#include "broker/replica/partition.h"

/* Has the log moved since the caller asked for it? Then what it did not do is to be asked of the other one. It is
 * closed a moment before that one is here: `lock` is held meanwhile. */
bool partition_moved(struct partition *p, const struct plog *l);

/* Alone in the ISR, what is in the log is committed, as far as flush.messages lets it be. True when the high watermark
 * has moved. Under `lock`; `now` (may be NULL) is set when it has. */
bool partition_advance_hw(struct partition *p, int64_t leo, struct plog_offsets *now);

#endif
