/* proto/records/batch.h - record batches (magic 2) and messages (magic 0 and 1) seen from outside: their headers.
 * The same bytes are on the wire and in .log files.
 *
 *   magic 2                                             magic 0 and 1
 *   at  len  field                                      at  len  field
 *    0    8  base_offset      set by the leader          0    8  offset: of the (last inner) record
 *    8    4  length           of what follows            8    4  size of what follows
 *   12    4  leader_epoch     outside the CRC           12    4  CRC-32 (zlib) over bytes 16 .. end
 *   16    1  magic                                      16    1  magic
 *   17    4  CRC-32C over bytes 21 .. end               17    1  attributes: 0-2 codec | 3 log-append time
 *   21    2  attributes: 0-2 codec | 3 log-append       18    8  timestamp (magic 1 only)
 *            time | 4 transactional | 5 control         ..    4  key length, key, 4 value length, value
 *            | 6 delete horizon
 *   23    4  last_offset_delta  also after compaction   With a codec the value is a message set, compressed: the
 *   27    8  base_timestamp   or the delete horizon     message is a wrapper.
 *   35    8  max_timestamp
 *   43    8  producer_id  51 2 producer_epoch  53 4 base_sequence     -1 each: none
 *   57    4  count
 *   61    .  records, one compressed stream when codec != 0
 *
 * OWNER  everything here borrows the caller's bytes.
 * LOCKS  none.
 * UNITS  offsets of records, ms, bytes. All integers big-endian.
 */
#ifndef PROTO_RECORDS_BATCH_H
#define PROTO_RECORDS_BATCH_H

#include "base/bytes.h"
#include "base/cursor.h"
#include "base/err.h"
#include "proto/compress/compress.h"

enum {
    BATCH_OVERHEAD      = 12,       /* offset and length: size in bytes = length + this */
    BATCH_MAGIC_AT      = 16,
    BATCH_HEAD_BYTES    = 61,       /* of magic 2; enough of any batch for batch_head_read() */
    BATCH_HEAD_V0_BYTES = 18,       /* what batch_head_read() needs of magic 0, and of magic 1 */
    BATCH_HEAD_V1_BYTES = 26,
    BATCH_V0_MIN_LENGTH = 14,       /* least value of the length field in any magic */
    BATCH_MAGIC_NOW     = 2
};

enum batch_attr {
    BATCH_ATTR_CODEC   = 0x07,
    BATCH_ATTR_APPEND_TIME   = 0x08,
    BATCH_ATTR_TXN     = 0x10,
    BATCH_ATTR_CONTROL = 0x20,
    BATCH_ATTR_HORIZON = 0x40
};

#define NO_TIMESTAMP INT64_C(-1)

/* The header of a batch of any magic. What magic 0 and 1 lack has the value for "none" (-1; count 1 for a plain
 * message and -1, unknown, for a wrapper; max_timestamp -1 for magic 0). */
struct batch_head {
    int64_t  base_offset;           /* magic 0 and 1: that of a plain message; -1, unknown, for a wrapper */
    int64_t  last_offset;
    uint32_t size_bytes;            /* of the whole batch; up to 2^31 + 11 */
    uint32_t crc;                   /* as stored */
    int32_t  leader_epoch;
    int32_t  last_offset_delta;     /* 0 for magic 0 and 1 */
    int64_t  base_timestamp;        /* magic 1: same as max_timestamp */
    int64_t  max_timestamp;
    int64_t  producer_id;
    int32_t  base_sequence;
    int32_t  count;
    int16_t  producer_epoch;
    uint16_t attributes;
    int8_t   magic;
};

/* Reads the header that begins at p, of which n bytes are there; needs no more than BATCH_HEAD_BYTES, so that a file
 * can be walked by reading 61 bytes at each position. Checks the length field's lower bound and the magic, nothing
 * else: the batch may be longer than n. The fields are as stored: batch_check() before they are trusted. (A batch of
 * magic 2 whose length has no room for its header has the values for "none"; batch_check() refuses it.)
 * ERR_SHORT: more bytes are needed than n (a torn end, when n is all there is).
 * ERR_CORRUPT: length below BATCH_V0_MIN_LENGTH, or an unknown magic. */
int batch_head_read(struct batch_head *h, const uint8_t *p, size_t n) must_use;

/* Whether the batch at p, whose h->size_bytes bytes are all there, is sound as a whole: the CRC of its magic.
 * ERR_CORRUPT if not. */
int batch_check(const struct batch_head *h, const uint8_t *p) must_use;
uint32_t batch_crc(const struct batch_head *h, const uint8_t *p);       /* what h->crc ought to be */

static inline enum codec batch_codec(const struct batch_head *h)        /* may be an unknown one (5-7) */
{
    return (enum codec)(h->attributes & BATCH_ATTR_CODEC);
}

static inline bool batch_is_append_time(const struct batch_head *h)
{
    return h->magic > 0 && (h->attributes & BATCH_ATTR_APPEND_TIME) != 0;
}

static inline bool batch_is_txn(const struct batch_head *h)
{
    return h->magic >= 2 && (h->attributes & BATCH_ATTR_TXN) != 0;
}

static inline bool batch_is_control(const struct batch_head *h)
{
    return h->magic >= 2 && (h->attributes & BATCH_ATTR_CONTROL) != 0;
}

static inline bool batch_has_horizon(const struct batch_head *h)        /* base_timestamp then is the horizon */
{
    return h->magic >= 2 && (h->attributes & BATCH_ATTR_HORIZON) != 0;
}

/* A sequence number `by` further on; after 2^31 - 1 comes 0. */
int32_t sequence_add(int32_t seq, int32_t by);

/* -1 when the batch has no base sequence. */
static inline int32_t batch_last_sequence(const struct batch_head *h)
{
    return h->base_sequence == -1 ? -1 : sequence_add(h->base_sequence, h->last_offset_delta);
}

/* ---- a buffer of batches ------------------------------------------------------------------------------------- */

/*  struct batch_iter it;
 *  batch_iter_init(&it, bytes);
 *  while (batch_iter_next(&it))
 *      use(&it.head, it.p);            it.p has it.head.size_bytes bytes
 *  if (it.rc != OK) ...                ERR_CORRUPT at it.pos; else it.in.len - it.pos bytes of a cut batch remain */
struct batch_iter {
    struct bytes      in;
    size_t            pos;          /* where the next batch begins: all before it was given out */
    const uint8_t    *p;
    struct batch_head head;
    int               rc;
};

void batch_iter_init(struct batch_iter *it, struct bytes in);
bool batch_iter_next(struct batch_iter *it);

/* ---- changing a v2 batch where it lies. p is the batch; the bytes are the caller's alone. ---------------------- */

/* Outside the CRC: cheap. For magic 0 and 1 the offset field is that of the last record. */
static inline void batch_set_base_offset(uint8_t *p, int64_t base_offset)
{
    be_put64(p, (uint64_t)base_offset);
}

static inline void batch_set_leader_epoch(uint8_t *p, int32_t epoch)
{
    be_put32(p + 12, (uint32_t)epoch);
}

/* Sets max_timestamp and the timestamp type; computes the CRC anew if either changes (unused attribute bits are then
 * cleared). Keeps h in step. The batch is whole and of magic 2. */
void batch_set_max_timestamp(struct batch_head *h, uint8_t *p, bool append_time, int64_t max_timestamp);

/* Writes all of h but the CRC at p, then the CRC over the h->size_bytes bytes. Magic 2 only. */
void batch_head_write(struct batch_head *h, uint8_t *p);

#endif
