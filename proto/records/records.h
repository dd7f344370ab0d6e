/* proto/records/records.h - the records inside one batch of any magic, compressed or not.
 *
 *   struct record_iter it;
 *   struct record r;
 *   record_iter_init(&it, &head, p, max_bytes);
 *   while (record_iter_next(&it, &r))
 *       use(&r);
 *   rc = it.rc;
 *   record_iter_fini(&it);
 *
 * OWNER    the iterator borrows the batch. What a record points at is valid until the next call; it lies in the batch,
 *          or, when compressed, in a window of the decompressed stream: a batch is never decompressed as a whole.
 * LOCKS    none.
 * LIMIT    max_bytes bounds what may come out of a compressed batch (ERR_TOO_LARGE beyond); memory is bounded by the
 *          largest record plus one block of the codec.
 * FAILURE  it.rc, once set, stays:
 *          ERR_INVALID    a record's structure is wrong: INVALID_RECORD
 *          ERR_CORRUPT    an inner message's size or CRC is wrong: CORRUPT_MESSAGE
 *          ERR_UNSUPPORTED  the codec is unknown
 *          ERR_SHORT      the compressed stream is broken or ends inside itself; or a field lies outside its message
 *                         (Kafka has no better code for these than UNKNOWN_SERVER_ERROR)
 *          ERR_TOO_LARGE, ERR_NOMEM
 *          The batch's own CRC is not checked here: batch_check().
 */
#ifndef PROTO_RECORDS_RECORDS_H
#define PROTO_RECORDS_RECORDS_H

#include "proto/records/batch.h"

struct record {
    int64_t      offset;
    int64_t      timestamp;         /* -1 in magic 0. In log-append-time batches: the append time */
    struct bytes key, value;        /* p NULL: null */
    struct bytes headers;           /* as encoded, after the count; checked to be n_headers well-formed headers */
    int32_t      n_headers;
    int8_t       magic;             /* that of the batch, unless a wrapper holds messages of another one */
};

struct record_iter {
    const struct batch_head *head;  /* borrowed */
    struct bytes   payload;         /* what follows the header (v2), or the message after its size field */
    struct cursor  cur;             /* plain v2: what is left of it */
    struct decomp *d;
    size_t         in_use;          /* bytes at d's front that the last record points into */
    int64_t        inner_base;      /* wrapper of magic 1: offset that its relative offsets count from */
    int32_t        n_read;
    size_t         max_bytes;
    int            rc;
    bool           done;
};

void record_iter_init(struct record_iter *it, const struct batch_head *h, const uint8_t *p, size_t max_bytes);
bool record_iter_next(struct record_iter *it, struct record *r);
void record_iter_fini(struct record_iter *it);          /* may be called more than once */

/* One header from c, a cursor over record.headers. Good headers only when c->rc stays OK. */
struct record_header {
    struct str   key;
    struct bytes value;             /* p NULL: null */
};

struct record_header record_header_next(struct cursor *c);

/* ---- control records ----------------------------------------------------------------------------------------- */
enum control_type {
    CONTROL_UNKNOWN = -1,
    CONTROL_ABORT   = 0,
    CONTROL_COMMIT  = 1             /* 2 and up are KRaft's */
};

struct control_record {
    int64_t offset;
    int64_t timestamp;
    int16_t type;                   /* as stored: compare with enum control_type */
    int32_t coordinator_epoch;      /* -1 for other types than abort and commit */
};

/* What a control record says. ERR_CORRUPT: key or value too short, or of a version below 0. */
int control_record_read(const struct record *r, struct control_record *out) must_use;

/* The (only) record of a control batch. ERR_NOENT: the batch is empty, as compaction leaves it. */
int control_batch_read(const struct batch_head *h, const uint8_t *p, struct control_record *out) must_use;

#endif
