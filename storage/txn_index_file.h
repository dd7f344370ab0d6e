/* storage/txn_index_file.h - entries of .txnindex files: the aborted transactions whose markers lie in the segment.
 *
 *   at  len  field             all integers big-endian; 34 bytes
 *    0    2  version           0
 *    2    8  producer id
 *   10    8  first offset      of the transaction's first batch, which may lie in an earlier segment
 *   18    8  last offset       of the ABORT marker; rises from entry to entry
 *   26    8  stable offset     the log's last stable offset after this abort: where the next transaction that was
 *                              open begins, else last offset + 1
 *
 * A segment without any has no file.
 * LOCKS none: pure.
 */
#ifndef STORAGE_TXN_INDEX_FILE_H
#define STORAGE_TXN_INDEX_FILE_H

#include "base/bytes.h"

#define TXN_INDEX_ENTRY 34

struct txn_index_entry {
    int64_t producer_id;
    int64_t first_offset;
    int64_t last_offset;
    int64_t stable_offset;
};

/* p holds, or has room for, one whole entry. txn_index_get() gives its version. */
int16_t txn_index_get(const uint8_t *p, struct txn_index_entry *e);
void    txn_index_put(uint8_t *p, const struct txn_index_entry *e);

/* How many of the entries in these bytes can be those of the segment that begins at base: as far as versions are known
 * and offsets are in order. The file is sound if they are all of the bytes. */
size_t txn_index_valid(const uint8_t *p, size_t len, int64_t base);

#endif
