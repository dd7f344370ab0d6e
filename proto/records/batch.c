/* proto/records/batch.c - headers: reading, checking, changing. The layout is in batch.h. */
#include "proto/records/batch.h"

#include "base/crc32c.h"

#include <zlib.h>

enum {
    AT_EPOCH = 12, AT_CRC = 17, AT_ATTRIBUTES = 21, AT_MAX_TIMESTAMP = 35,
    AT_LEGACY_CRC = 12, AT_LEGACY_BODY = 16,
    BATCH_ATTR_USED = BATCH_ATTR_CODEC | BATCH_ATTR_APPEND_TIME | BATCH_ATTR_TXN | BATCH_ATTR_CONTROL |
                      BATCH_ATTR_HORIZON
};

static void read_legacy(struct batch_head *h, struct cursor *c)
{
    h->last_offset = cur_i64(c);
    cur_i32(c);
    h->crc = cur_u32(c);
    cur_i8(c);
    h->attributes = (uint8_t)cur_i8(c);
    if (h->magic > 0)
        h->max_timestamp = h->base_timestamp = cur_i64(c);
    if (batch_codec(h) == CODEC_NONE) {
        h->base_offset = h->last_offset;
        h->count = 1;
    }
}

static void read_v2(struct batch_head *h, struct cursor *c)
{
    h->base_offset = cur_i64(c);
    cur_i32(c);
    h->leader_epoch = cur_i32(c);
    cur_i8(c);
    h->crc = cur_u32(c);
    h->attributes = cur_u16(c);
    h->last_offset_delta = cur_i32(c);
    h->base_timestamp = cur_i64(c);
    h->max_timestamp = cur_i64(c);
    h->producer_id = cur_i64(c);
    h->producer_epoch = cur_i16(c);
    h->base_sequence = cur_i32(c);
    h->count = cur_i32(c);
    h->last_offset = (int64_t)((uint64_t)h->base_offset + (uint64_t)h->last_offset_delta);
}

int batch_head_read(struct batch_head *h, const uint8_t *p, size_t n)
{
    struct cursor c = cur_ro(p, n), all = c;
    int64_t offset = cur_i64(&c);
    int32_t length = cur_i32(&c);

    *h = (struct batch_head){
        .base_offset = -1, .last_offset = offset, .leader_epoch = -1, .base_timestamp = NO_TIMESTAMP,
        .max_timestamp = NO_TIMESTAMP, .producer_id = -1, .base_sequence = -1, .count = -1, .producer_epoch = -1,
    };
    TRY(c.rc);
    if (length < BATCH_V0_MIN_LENGTH)
        return ERR_CORRUPT;
    h->size_bytes = (uint32_t)length + BATCH_OVERHEAD;
    cur_i32(&c);                            /* leader epoch, or CRC */
    h->magic = cur_i8(&c);
    TRY(c.rc);
    if (h->magic < 0 || h->magic > BATCH_MAGIC_NOW)
        return ERR_CORRUPT;
    if (h->magic < 2)
        read_legacy(h, &all);
    else if (h->size_bytes >= BATCH_HEAD_BYTES)
        read_v2(h, &all);
    return all.rc;
}

uint32_t batch_crc(const struct batch_head *h, const uint8_t *p)
{
    if (h->magic < 2)
        return (uint32_t)crc32(0, p + AT_LEGACY_BODY, h->size_bytes - AT_LEGACY_BODY);
    if (h->size_bytes < BATCH_HEAD_BYTES)
        return 0;
    return crc32c(0, p + AT_ATTRIBUTES, h->size_bytes - AT_ATTRIBUTES);
}

int batch_check(const struct batch_head *h, const uint8_t *p)
{
    if (h->magic >= 2 && h->size_bytes < BATCH_HEAD_BYTES)
        return ERR_CORRUPT;
    return batch_crc(h, p) == h->crc ? OK : ERR_CORRUPT;
}

int32_t sequence_add(int32_t seq, int32_t by)
{
    int64_t sum = (int64_t)seq + by;

    return (int32_t)(sum > INT32_MAX ? sum - INT32_MAX - 1 : sum);
}

/* ---- a buffer of batches ------------------------------------------------------------------------------------- */
void batch_iter_init(struct batch_iter *it, struct bytes in)
{
    *it = (struct batch_iter){ .in = in };
}

bool batch_iter_next(struct batch_iter *it)
{
    size_t left = it->in.len - it->pos;
    int rc;

    if (it->rc != OK || left < BATCH_OVERHEAD)
        return false;
    rc = batch_head_read(&it->head, it->in.p + it->pos, left);
    if (rc == ERR_CORRUPT)
        it->rc = rc;
    if (rc != OK || it->head.size_bytes > left)
        return false;
    it->p = it->in.p + it->pos;
    it->pos += it->head.size_bytes;
    return true;
}

/* ---- changing ------------------------------------------------------------------------------------------------ */
void batch_set_max_timestamp(struct batch_head *h, uint8_t *p, bool append_time, int64_t max_timestamp)
{
    if (batch_is_append_time(h) == append_time && h->max_timestamp == max_timestamp)
        return;
    h->attributes = (uint16_t)(h->attributes & BATCH_ATTR_USED & ~BATCH_ATTR_APPEND_TIME);
    if (append_time)
        h->attributes |= BATCH_ATTR_APPEND_TIME;
    h->max_timestamp = max_timestamp;
    be_put16(p + AT_ATTRIBUTES, h->attributes);
    be_put64(p + AT_MAX_TIMESTAMP, (uint64_t)max_timestamp);
    h->crc = batch_crc(h, p);
    be_put32(p + AT_CRC, h->crc);
}

void batch_head_write(struct batch_head *h, uint8_t *p)
{
    be_put64(p, (uint64_t)h->base_offset);
    be_put32(p + 8, h->size_bytes - BATCH_OVERHEAD);
    be_put32(p + AT_EPOCH, (uint32_t)h->leader_epoch);
    p[BATCH_MAGIC_AT] = (uint8_t)h->magic;
    be_put16(p + AT_ATTRIBUTES, h->attributes);
    be_put32(p + 23, (uint32_t)h->last_offset_delta);
    be_put64(p + 27, (uint64_t)h->base_timestamp);
    be_put64(p + AT_MAX_TIMESTAMP, (uint64_t)h->max_timestamp);
    be_put64(p + 43, (uint64_t)h->producer_id);
    be_put16(p + 51, (uint16_t)h->producer_epoch);
    be_put32(p + 53, (uint32_t)h->base_sequence);
    be_put32(p + 57, (uint32_t)h->count);
    h->crc = batch_crc(h, p);
    be_put32(p + AT_CRC, h->crc);
}
