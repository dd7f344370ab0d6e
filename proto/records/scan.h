/* proto/records/scan.h - a light pass over the records of a v2 batch: no key, value or header is looked into.
 *
 * It accepts exactly what Apache Kafka's in-place validation accepts. For a compressed batch that is more than
 * records.h accepts: the length in front of a record, for one, is not compared with anything.
 *
 * OWNER    borrows the batch.  LOCKS none.
 * FAILURE  as record_iter.rc in records.h.
 */
#ifndef PROTO_RECORDS_SCAN_H
#define PROTO_RECORDS_SCAN_H

#include "proto/records/batch.h"

/* Called for each record; n counts from 0, offset is relative to the batch. */
typedef void scan_fn(void *arg, int32_t n, int64_t timestamp, int32_t offset, bool has_key);

/* What is to be looked for. Records with a timestamp outside [timestamp_min, timestamp_max], without key when
 * keys_needed, or whose offset is not their number when dense, are told to `odd`; the others pass without a call. */
struct scan {
    bool     keys_needed;
    bool     dense;
    bool     all_odd;               /* every record is told */
    int64_t  timestamp_min;
    int64_t  timestamp_max;
    scan_fn *odd;
    void    *arg;
    int64_t  max_timestamp;         /* out: of all records; -1 none */
};

int scan_batch(struct scan *s, const struct batch_head *h, const uint8_t *p, size_t max_bytes) must_use;

#endif
