/* storage/cleaner_filter.h - what compaction leaves of a batch.
 *
 *   data batch of an aborted transaction    nothing
 *   record above the map's reach            stays
 *   record without key                      goes
 *   record older than its key's last        goes
 *   a key's last one, with a value          stays
 *   a key's last one, null (tombstone)      stays until its time is over: magic 2 until the batch's delete horizon,
 *                                           which the first cleaning that finds it sets; before that, while the
 *                                           segment is younger than the last clean one less delete.retention.ms
 *   marker                                  stays while a batch of its transaction is there, and then until the
 *                                           batch's delete horizon
 *   last batch of a producer that is known  stays as a header without records, if all of them go
 *
 * A batch that keeps all of its records is kept byte for byte, unless a horizon is to be set. Otherwise it is written
 * anew with the same offsets (base and last), producer fields, epoch, codec and timestamp type.
 *
 * OWNER    the cleaner's thread; borrows map, transactions and producers.
 * LOCKS    none.
 * UNITS    ms, bytes, record offsets.
 * FAILURE  ERR_NOMEM; ERR_CORRUPT: a record's offset is none that its batch may have; what record_iter and builder
 *          give for records that do not parse.
 */
#ifndef STORAGE_CLEANER_FILTER_H
#define STORAGE_CLEANER_FILTER_H

#include "base/arena.h"
#include "proto/compress/outbuf.h"
#include "storage/cleaner_map.h"
#include "storage/cleaner_txn.h"
#include "storage/snapshot_file.h"

struct cleaner_filter {
    /* the caller's */
    const struct cleaner_map *map;
    int64_t                   map_to;           /* the map knows all records up to this offset */
    struct cleaner_txns      *txns;
    const struct snapshot_entry *producers;     /* those that are known, by id */
    size_t                    producers_n;
    int64_t                   now_ms;
    int64_t                   delete_retention_ms;
    bool                      old_tombstones_stay;      /* magic 0 and 1, in this segment */
    int64_t                   first;            /* no record of the next batch may have a lower offset */
    int                       codec, codec_level;       /* level of batches that are written anew with this codec */
    /* counted here */
    int64_t                   records_in, records_out;
    /* inside */
    struct arena              arena;
    struct outbuf             out;
    uint8_t                  *keep;             /* a bit for each record of the batch */
    size_t                    keep_cap;         /* bytes */
};

/* What remains of a batch. */
struct filtered {
    const uint8_t    *p;                        /* NULL: nothing; valid until the next call */
    struct batch_head head;
    const struct txn_index_entry *aborted;      /* to be kept in the transaction index; NULL: none */
};

void cleaner_filter_init(struct cleaner_filter *f);     /* before the caller sets its fields */
void cleaner_filter_fini(struct cleaner_filter *f);
int  cleaner_filter_batch(struct cleaner_filter *f, const struct batch_head *h, const uint8_t *p,
                          struct filtered *out) must_use;

#endif
