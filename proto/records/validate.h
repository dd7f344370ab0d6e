/* proto/records/validate.h - what the leader does with a producer's record set before any lock is taken.
 *
 * Two steps, in the order in which Apache Kafka 3.9 looks at things: records_check_request() is the request's own
 * rule about the shape of a record set and reads no more than headers; records_validate() is the log's: sizes, CRC,
 * counts, timestamps, keys, and whatever must be rewritten. In between the caller does what needs the partition
 * (authorisation, leadership, min.insync.replicas).
 *
 * A v2 batch whose codec is the topic's is validated where it lies, and changed there (timestamp type, max timestamp,
 * CRC if those changed); compressed payloads are read as a stream and not kept. All else (v0 and v1 sets, another
 * codec) is rebuilt as one v2 batch in the arena. Either way the result is exactly one v2 batch with base offset 0,
 * and the log has only to write base offset and leader epoch.
 *
 * For a topic of an older message format (opts.magic 0 or 1) the result is a set of such messages, numbered from 0. It
 * is always rebuilt. With a codec and magic 0 the messages inside the wrapper tell their final offsets: they count from
 * opts.base_offset, and the append must be made at that offset, or the set validated again (result.fixed_base).
 *
 * OWNER    `in` is the request's buffer: writable memory that is the caller's alone, though struct bytes says const.
 *          The result points into it or into the arena.
 * LOCKS    none. Any thread.
 * UNITS    ms, bytes.
 * LIMIT    max_decompressed_bytes bounds the CPU that a compressed batch may cost, the arena's limit bounds memory.
 * FAILURE  the functions give OK, with result.error a Kafka error code (KERR_*, KERR_NONE = 0 when good), or ERR_NOMEM.
 */
#ifndef PROTO_RECORDS_VALIDATE_H
#define PROTO_RECORDS_VALIDATE_H

#include "base/arena.h"
#include "proto/records/batch.h"

/* What to pass as max_decompressed_bytes: no honest batch compresses like this, and reading it takes well under a
 * second. Kafka has no such limit; beyond it we answer MESSAGE_TOO_LARGE. */
static inline size_t records_decompressed_limit(size_t max_message_bytes)
{
    const size_t floor = (size_t)256 << 20;
    return max_message_bytes > floor / 64 ? max_message_bytes * 64 : floor;
}

struct request_check {
    int16_t     error;
    const char *message;            /* static text; NULL when error is 0 */
    /* of the first batch, when there is one that parses (has_batch) */
    bool              has_batch;
    struct batch_head first;        /* batch_is_txn(), producer_id and epoch: what authorisation wants to know */
};

/* api_version: of the Produce request. Version 3 and up: exactly one batch, of magic 2; below 7 not zstd. */
void records_check_request(int16_t api_version, struct bytes in, struct request_check *out);

enum { CODEC_PRODUCER = -1 };       /* compression.type=producer: keep the producer's codec */

struct validate_opts {
    const char *name;               /* "topic-partition", for messages */
    int64_t  now_ms;
    bool     append_time;           /* message.timestamp.type is LogAppendTime */
    bool     compacted;             /* cleanup.policy has compact: keys are required */
    int64_t  before_max_ms;         /* message.timestamp.before.max.ms, .after.max.ms */
    int64_t  after_max_ms;
    int32_t  max_message_bytes;
    int8_t   magic;                 /* of the result: message.format.version */
    int64_t  base_offset;           /* where the log ends; means something for magic 0 with a codec only */
    int      codec;                 /* enum codec, or CODEC_PRODUCER */
    int      level[CODEC_N];        /* compression.<codec>.level: codec_default_level() unless configured */
    size_t   max_decompressed_bytes;
};

/* A record that is at fault. There is one for each, up to RECORD_ERRORS_MAX. */
struct record_error {
    int32_t     batch_index;        /* of the record in the batch */
    const char *message;            /* arena or static */
};

enum { RECORD_ERRORS_MAX = 1000 };

struct validate_result {
    int16_t     error;
    const char *message;            /* arena or static; NULL when error is 0 */
    struct record_error *record_errors;     /* arena */
    size_t      n_record_errors;

    /* When error is 0: */
    uint8_t    *p;                  /* the batch, writable; NULL when there was no batch at all (Produce v0-v2): */
    size_t      len;                /* then nothing is appended and the answer is success with base offset -1 */
    struct batch_head head;         /* of that batch, or of the first message */
    bool        fixed_base;         /* good only at opts.base_offset */
    int32_t     n_records;
    int64_t     max_timestamp;      /* of all records, -1 none; the log time indexes it at the batch's last offset */
    int64_t     append_time_ms;     /* for the response: now_ms with LogAppendTime, else -1 */
    bool        rebuilt;            /* not the producer's own bytes any more */
};

int records_validate(const struct validate_opts *o, struct bytes in, struct arena *a,
                     struct validate_result *out) must_use;

#endif
