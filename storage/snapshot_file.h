/* storage/snapshot_file.h - producer snapshots, <20-digit offset>.snapshot: the state before that offset.
 *
 *   at  len  field                 all integers big-endian
 *    0    2  version               1
 *    2    4  crc                   CRC-32C of everything from offset 6
 *    6    4  count
 *   10   46  for each producer: i64 producer id, i16 epoch, i32 last sequence (-1 none), i64 last offset (-1 none),
 *            i32 last offset - first offset of the last batch, i64 timestamp of last activity,
 *            i32 coordinator epoch (-1), i64 first offset of the open transaction (-1)
 *
 * LOCKS none: pure.  FAILURE ERR_VERSION, ERR_CORRUPT (CRC, or a size that does not fit the count), ERR_NOMEM.
 */
#ifndef STORAGE_SNAPSHOT_FILE_H
#define STORAGE_SNAPSHOT_FILE_H

#include "base/bytes.h"
#include "base/err.h"

#define SNAPSHOT_HEAD  10
#define SNAPSHOT_ENTRY 46

struct snapshot_entry {
    int64_t producer_id;
    int16_t epoch;
    int32_t last_sequence;
    int64_t last_offset;
    int32_t offset_delta;
    int64_t timestamp;
    int32_t coordinator_epoch;
    int64_t txn_first_offset;
};

/* *v is malloc'ed. */
int  snapshot_parse(const uint8_t *p, size_t len, struct snapshot_entry **v, size_t *n) must_use;

/* Fill in SNAPSHOT_HEAD + n * SNAPSHOT_ENTRY bytes: each entry, then the head, which sums what is there. */
void snapshot_put_entry(uint8_t *p, size_t i, const struct snapshot_entry *e);
void snapshot_put_head(uint8_t *p, size_t n);

#endif
