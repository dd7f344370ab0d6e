/* storage/producers.h - what one log remembers of each producer id, so that a batch sent again is known.
 *
 * For each id: the epoch, and of its last five batches the last sequence, last offset, number of records and time. A
 * batch is a duplicate if its first and last sequence are exactly those of one of the five; anything else must
 * continue the last one's sequence. Snapshots keep only the newest batch of each, as Apache Kafka's do.
 *
 * OWNER    struct producers lies in its log and owns its table.
 * LOCKS    all under the log's `plog` lock.
 * FAILURE  ERR_SEQUENCE, ERR_PRODUCER_EPOCH: the batch is refused; ERR_NOMEM: nothing was changed.
 */
#ifndef STORAGE_PRODUCERS_H
#define STORAGE_PRODUCERS_H

#include "proto/records/batch.h"
#include "proto/records/records.h"
#include "storage/snapshot_file.h"

enum { PRODUCER_WINDOW = 5 };

struct producer_batch {
    int64_t last_offset;
    int64_t timestamp;                  /* max timestamp of the batch */
    int32_t last_sequence;
    int32_t offset_delta;               /* last offset - first offset */
};

struct producer;                        /* one id's state; laid out in producers.c */

struct producers {
    struct producer *table;             /* uthash by producer id, in order of arrival */
};

void   producers_fini(struct producers *ps);            /* forgets all; may be used again */
size_t producers_count(const struct producers *ps);

/* The leader's check of a client's batch. *dup is set and filled in if it is one of the last five. */
int producers_check(const struct producers *ps, int64_t id, int16_t epoch, int32_t base_sequence, int32_t last_sequence,
                    bool *is_dup, struct producer_batch *dup) must_use;

/* Makes room for what producers_apply() will record, so that it cannot fail once the bytes are in the log. */
int  producers_reserve(struct producers *ps, int64_t id) must_use;
void producers_unreserve(struct producers *ps, int64_t id);     /* the append failed: undo it */
/* A data batch is in the log; offsets are final. */
void producers_apply(struct producers *ps, const struct batch_head *h);

/* Recovery: the same for a batch found in the log, not judged, markers included. bytes: the whole batch, or NULL
 * if it is not a control batch. */
int producers_replay(struct producers *ps, const struct batch_head *h, const uint8_t *bytes) must_use;

/* Forgets producers without activity for expiration_ms and without an open transaction. */
void producers_expire(struct producers *ps, int64_t now_ms, int64_t expiration_ms);

int producers_load(struct producers *ps, const struct snapshot_entry *v, size_t n) must_use;
int producers_snapshot(const struct producers *ps, uint8_t **p, size_t *len) must_use;     /* malloc'ed file image */
/* All of them, malloc'ed, in rising order of id; what DescribeProducers shows. */
int producers_list(const struct producers *ps, struct snapshot_entry **v, size_t *n) must_use;

#endif
