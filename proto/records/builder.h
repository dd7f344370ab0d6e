/* proto/records/builder.h - writes record sets: one v2 batch, or a message set of magic 0 or 1, with any codec.
 *
 *   struct builder b;
 *   builder_init(&b, &opts, arena);     or builder_init_into(), behind what an outbuf holds already
 *   builder_add(&b, &record);           as often as wanted
 *   rc = builder_finish(&b, &out);      and always:
 *   builder_fini(&b);
 *
 * OWNER    the result lies in the arena. Records are copied at once.
 * LOCKS    none.
 * FAILURE  builder_add() keeps the first failure in b.rc and ignores what follows, builder_finish() gives it:
 *          ERR_INVALID   offsets do not rise, a negative timestamp other than -1, headers or producer fields below
 *                        magic 2, transactional without producer id, ...
 *          ERR_TOO_LARGE the result would be larger than opts.max_bytes
 *          ERR_UNSUPPORTED zstd below magic 2, unknown codec;  ERR_NOMEM
 */
#ifndef PROTO_RECORDS_BUILDER_H
#define PROTO_RECORDS_BUILDER_H

#include "proto/records/records.h"

struct builder_opts {
    int8_t     magic;
    enum codec codec;
    int        level;               /* codec_default_level() unless configured */
    bool       append_time;         /* timestamp type; append_ms is then the batch's max timestamp */
    bool       txn;
    bool       control;
    int64_t    append_ms;
    int64_t    base_offset;         /* magic 2: records' offsets are base_offset and up */
    int64_t    producer_id;         /* -1 */
    int16_t    producer_epoch;      /* -1 */
    int32_t    base_sequence;       /* -1 */
    int32_t    leader_epoch;        /* -1 */
    int64_t    delete_horizon_ms;   /* -1: none. Magic 2: the batch's, written as its base timestamp */
    int64_t    last_offset;         /* -1: the last record's. Magic 2: the batch goes on to here */
    size_t     size_hint;           /* about how much will come out; 0: do not know */
    size_t     max_bytes;           /* of the result */
};

/* Magic 2, no codec, create time, no producer, limit INT32_MAX. */
void builder_opts_init(struct builder_opts *o);

struct builder {
    struct builder_opts o;
    struct outbuf  own;
    struct outbuf *out;             /* &own, or the caller's: a builder must not be moved */
    struct comp   *comp;
    size_t         start;           /* of the batch in out */
    int64_t        last_offset;
    int64_t        base_timestamp;
    int64_t        max_timestamp;
    int32_t        n;
    int            rc;
};

void builder_init(struct builder *b, const struct builder_opts *o, struct arena *a);
void builder_init_into(struct builder *b, const struct builder_opts *o, struct outbuf *out);
void builder_add(struct builder *b, const struct record *r);
int  builder_finish(struct builder *b, struct bytes *out) must_use;     /* no records: an empty result */
void builder_fini(struct builder *b);                                   /* may be called more than once */

/* One control record, COMMIT or ABORT, as a whole batch. o: producer fields, base offset, leader epoch. */
int control_batch_build(const struct builder_opts *o, enum control_type type, int32_t coordinator_epoch,
                        int64_t timestamp, struct arena *a, struct bytes *out) must_use;

#endif
