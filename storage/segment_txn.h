/* storage/segment_txn.h - a segment's .txnindex: the aborted transactions whose markers lie in it.
 *
 * Entries wait in memory like those of the other indexes (segment.h) and go to the file with them; what a crash takes
 * is above the recovery point and made anew from the batches.
 *
 * LOCKS    as in segment.h: [log], [any], [view and log], [load]
 * FAILURE  what fio gives; ERR_CORRUPT: the file is not sound.
 */
#ifndef STORAGE_SEGMENT_TXN_H
#define STORAGE_SEGMENT_TXN_H

#include "base/arena.h"
#include "storage/segment.h"

/* Of the .txnindex files of a log. */
struct txn_sum {
    uint32_t crc;
    uint32_t entries;
};

/* Reads and checks the whole file; no file: no entries. ERR_CORRUPT: none is taken over, make them anew. */
int  segment_txn_open(struct segment *s, struct txn_sum *sum) must_use;                 /* [load] */
/* Adds to `sum` what the file has of it now. */
int  segment_txn_sum(const struct segment *s, struct txn_sum *sum) must_use;            /* [log] */

/* So that segment_txn_put() can take n more. Writes a full tail out first, as segment_index_room(). */
int  segment_txn_room(struct segment *s, size_t n) must_use;                            /* [log] */
void segment_txn_put(struct segment *s, const struct txn_index_entry *e);               /* [view and log] */

/* Entries with a last offset of at least `offset` go, from the file too; without any left the file goes. */
int  segment_txn_cut(struct segment *s, int64_t offset) must_use;                       /* [log] */

/* Collected transactions, in the arena. */
struct txn_found {
    struct arena           *arena;
    struct txn_index_entry *v;
    size_t                  n, cap;
};

/* Adds those that ended at or above `from` and began below `upper`. *complete: no later segment has any. ERR_SHORT: the
 * file was cut meanwhile. */
int  segment_txn_find(struct segment *s, int64_t from, int64_t upper, struct txn_found *out,
                      bool *complete) must_use;                                         /* [any] */

/* An offset above all records before the position `end`, by the offset index; *upper stays when the index has no
 * entry from there on. */
int  segment_upper_bound(struct segment *s, uint32_t end, int64_t *upper) must_use;     /* [any] */

#endif
