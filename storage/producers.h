/* storage/producers.h - what one log remembers of each producer id: so that a batch sent again is known, that a
 * producer or coordinator of an older epoch is refused, and that open transactions are known.
 *
 * For each id: the epoch, and of its last five batches the last sequence, last offset, number of records and time. A
 * batch is a duplicate if its first and last sequence are exactly those of one of the five; anything else must
 * continue the last one's sequence, or begin at 0 in a newer epoch. Snapshots keep only the newest batch of each, as
 * Apache Kafka's do.
 *
 * A transaction is open from the producer's first transactional batch to a marker (a control batch, COMMIT or ABORT).
 * Open ones are kept in the order of their first offsets. A producer with an open one is never forgotten.
 *
 * OWNER    struct producers lies in its log and owns its table.
 * LOCKS    all under the log's `plog` lock.
 * FAILURE  ERR_SEQUENCE, ERR_PRODUCER_EPOCH, ERR_FENCED (the marker is of a coordinator that is none any more),
 *          ERR_TXN_STATE (a batch outside of the producer's open transaction): the batch is refused;
 *          ERR_NOMEM: nothing was changed.
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
    struct producer *open;              /* those with an open transaction, by its first offset */
};

/* A transaction that a marker has just completed. */
struct txn_done {
    int64_t producer_id;                /* -1: the batch has completed none */
    int64_t first_offset;
    int64_t last_offset;                /* the marker's */
    int64_t stable_offset;              /* where the oldest one begins that is still open, else last_offset + 1 */
    bool    aborted;
};

void   producers_fini(struct producers *ps);            /* forgets all; may be used again */
size_t producers_count(const struct producers *ps);
int64_t producers_first_open(const struct producers *ps);       /* first offset of the oldest open transaction; -1 */

bool   producers_knows(const struct producers *ps, int64_t id); /* its next batch may not begin anywhere */
/* The leader's check of a client's data batch. *is_dup is set, and dup filled in, if it is one of the last five. */
int producers_check(const struct producers *ps, const struct batch_head *h, bool *is_dup,
                    struct producer_batch *dup) must_use;
/* The same for what a coordinator of this broker writes, which is never sent again and whose data batches have no
 * sequence: only epochs and the order of transactions count. marker: what a control batch says; NULL: data. */
int producers_check_coordinator(const struct producers *ps, const struct batch_head *h,
                                const struct control_record *marker) must_use;

/* Makes room for what producers_replay() will record, so that it cannot fail once the bytes are in the log (and their
 * markers were read). */
int  producers_reserve(struct producers *ps, int64_t id) must_use;
void producers_unreserve(struct producers *ps, int64_t id);     /* the append failed: undo it */
/* A batch is in the log; offsets are final. It is not judged. bytes: the whole batch, or NULL if it is not a control
 * batch; of those only ABORT and COMMIT count. ERR_CORRUPT: what the control record says cannot be read. */
int producers_replay(struct producers *ps, const struct batch_head *h, const uint8_t *bytes,
                     struct txn_done *done) must_use;

/* Forgets producers without activity for expiration_ms and without an open transaction. */
void producers_expire(struct producers *ps, int64_t now_ms, int64_t expiration_ms);
/* After a recovery, when Apache Kafka forgets them: such producers are not listed nor written to snapshots until they
 * write again, but a batch that they send again is still known, up to the next producers_expire(). */
void producers_rest(struct producers *ps, int64_t now_ms, int64_t expiration_ms);

int producers_load(struct producers *ps, const struct snapshot_entry *v, size_t n) must_use;
int producers_snapshot(const struct producers *ps, uint8_t **p, size_t *len) must_use;     /* malloc'ed file image */
/* All of them, malloc'ed, in rising order of id; what DescribeProducers shows. */
int producers_list(const struct producers *ps, struct snapshot_entry **v, size_t *n) must_use;

#endif
