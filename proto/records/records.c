/* proto/records/records.c - reading records.
 *
 *   record, magic 2                                     message, magic 0 and 1 (after offset and size)
 *   varint  length of the rest                          4  CRC-32 of what follows
 *   1       attributes, 0                               1  magic        1  attributes
 *   varlong timestamp - base timestamp                  8  timestamp, magic 1 only
 *   varint  offset - base offset                        4  key length, -1 null; key
 *   varint  key length, -1 null; key                    4  value length, -1 null; value
 *   varint  value length, -1 null; value
 *   varint  number of headers; each: varint key length, key, varint value length (-1 null), value
 *
 * Which failure has which code follows Apache Kafka's reader, which throws different exceptions for faults that look
 * alike: see the table in records.h. Two passes are made over a compressed wrapper: Kafka looks at the outlines of all
 * inner messages before it gives out the first, and in magic 1 the first one's offset follows from the last one's.
 */
#include "proto/records/records.h"

#include <zlib.h>

enum { VARINT_MAX_BYTES = 5, MESSAGE_HEAD_BYTES = 6 };

/* Kafka answers a broken stream with a code of its own; ERR_CORRUPT is the one for CRCs. */
static int stream_rc(int rc)
{
    return rc == ERR_CORRUPT ? ERR_SHORT : rc;
}

static bool stop(struct record_iter *it, int rc)
{
    if (it->rc == OK)
        it->rc = rc;
    it->done = true;
    return false;
}

/* ---- magic 2 ------------------------------------------------------------------------------------------------- */
static struct bytes take_nullable(struct cursor *c, int32_t len)
{
    if (len < 0)
        return (struct bytes){ NULL, 0 };
    return (struct bytes){ cur_take(c, (size_t)len), (size_t)len };
}

struct record_header record_header_next(struct cursor *c)
{
    struct record_header h;
    int32_t n = cur_varint(c);

    if (n < 0)
        cur_fail(c, ERR_CORRUPT);
    h.key.p = (const char *)cur_take(c, n > 0 ? (size_t)n : 0);
    h.key.len = h.key.p != NULL ? (size_t)n : 0;
    h.value = take_nullable(c, cur_varint(c));
    return h;
}

static int read_body(const struct batch_head *h, const uint8_t *p, size_t n, struct record *r)
{
    struct cursor c = cur_ro(p, n);
    int64_t timestamp;

    cur_i8(&c);
    timestamp = (int64_t)((uint64_t)h->base_timestamp + (uint64_t)cur_varlong(&c));
    r->timestamp = batch_is_append_time(h) ? h->max_timestamp : timestamp;
    r->offset = (int64_t)((uint64_t)h->base_offset + (uint64_t)cur_varint(&c));
    r->key = take_nullable(&c, cur_varint(&c));
    r->value = take_nullable(&c, cur_varint(&c));
    r->n_headers = cur_varint(&c);
    r->magic = h->magic;
    if (c.rc != OK || r->n_headers < 0 || (size_t)r->n_headers > cur_left(&c))
        return ERR_INVALID;
    r->headers = (struct bytes){ c.p, cur_left(&c) };
    for (int32_t i = 0; i < r->n_headers; i++)
        record_header_next(&c);
    return c.rc == OK && cur_left(&c) == 0 ? OK : ERR_INVALID;
}

static bool next_plain(struct record_iter *it, struct record *r)
{
    int32_t len = cur_varint(&it->cur);
    const uint8_t *p;

    if (it->cur.rc != OK)                   /* a length that never ends, as against one that is cut */
        return stop(it, it->cur.rc == ERR_CORRUPT ? ERR_SHORT : ERR_INVALID);
    p = len > 0 ? cur_take(&it->cur, (size_t)len) : NULL;
    if (p == NULL || read_body(it->head, p, (size_t)len, r) != OK)
        return stop(it, ERR_INVALID);
    it->n_read++;
    if (it->n_read == it->head->count && cur_left(&it->cur) > 0)
        return stop(it, ERR_INVALID);
    return true;
}

static bool next_compressed(struct record_iter *it, struct record *r)
{
    const uint8_t *p;
    struct cursor c;
    size_t have, at, body, more;
    int32_t len;
    int rc;

    decomp_drop(it->d, it->in_use);
    it->in_use = 0;
    rc = stream_rc(decomp_peek(it->d, VARINT_MAX_BYTES, &p, &have));
    c = cur_ro(p, have);
    len = cur_varint(&c);
    if (c.rc != OK || len <= 0)
        return stop(it, c.rc == ERR_SHORT && rc != OK ? rc : ERR_INVALID);
    at = (size_t)(c.p - p);
    body = (size_t)len;
    /* With the last record, one byte more tells whether anything comes behind it. */
    more = it->n_read + 1 == it->head->count ? 1 : 0;
    rc = stream_rc(decomp_peek(it->d, at + body + more, &p, &have));
    if (have < at + body)
        return stop(it, rc != OK ? rc : ERR_INVALID);
    if (read_body(it->head, p + at, body, r) != OK || (more > 0 && have > at + body))
        return stop(it, ERR_INVALID);
    if (rc != OK)
        return stop(it, rc);
    it->in_use = at + body;
    it->n_read++;
    return true;
}

/* ---- magic 0 and 1 ------------------------------------------------------------------------------------------- */
/* A message from its CRC on. Bytes behind the value do not matter. */
static int read_message(const uint8_t *p, size_t n, struct record *r, uint32_t *crc, unsigned *attributes)
{
    struct cursor c = cur_ro(p, n);

    *crc = cur_u32(&c);
    r->magic = cur_i8(&c);
    *attributes = (uint8_t)cur_i8(&c);
    r->timestamp = r->magic != 0 ? cur_i64(&c) : NO_TIMESTAMP;
    r->key = take_nullable(&c, cur_i32(&c));
    r->value = take_nullable(&c, cur_i32(&c));
    r->headers = (struct bytes){ NULL, 0 };
    r->n_headers = 0;
    return c.rc;
}

static bool next_message(struct record_iter *it, struct record *r)
{
    uint32_t crc;
    unsigned attributes;

    it->done = true;
    if (read_message(it->payload.p, it->payload.len, r, &crc, &attributes) != OK)
        return stop(it, ERR_SHORT);
    r->offset = it->head->last_offset;
    return true;
}

/* The next inner message's offset and size; *size 0 at the end, which may come anywhere. */
static int inner_head(struct decomp *d, int64_t *offset, size_t *size)
{
    const uint8_t *p;
    size_t have;
    struct cursor c;
    int32_t n;

    *size = 0;
    TRY(stream_rc(decomp_peek(d, BATCH_OVERHEAD, &p, &have)));
    if (have < BATCH_OVERHEAD)
        return OK;
    c = cur_ro(p, have);
    *offset = cur_i64(&c);
    n = cur_i32(&c);
    if (n < BATCH_V0_MIN_LENGTH)
        return ERR_CORRUPT;
    *size = (size_t)n;
    return OK;
}

/* First pass over a wrapper: does it hold messages, and what offset has the last one? */
static int inner_last_offset(struct decomp *d, int64_t *last)
{
    bool any = false;
    int64_t offset;
    size_t size, skipped;

    for (;;) {
        TRY(inner_head(d, &offset, &size));
        if (size == 0)
            break;
        TRY(stream_rc(decomp_skip(d, BATCH_OVERHEAD + size, &skipped)));
        if (skipped < BATCH_OVERHEAD + size)
            break;
        *last = offset;
        any = true;
    }
    return any ? OK : ERR_INVALID;
}

static int wrapper_open(struct record_iter *it)
{
    const struct batch_head *h = it->head;
    struct record outer;
    uint32_t crc;
    unsigned attributes;
    int64_t last = 0;
    int rc;

    if (read_message(it->payload.p, it->payload.len, &outer, &crc, &attributes) != OK)
        return ERR_SHORT;
    if (batch_codec(h) == CODEC_ZSTD || outer.value.p == NULL)
        return ERR_INVALID;
    TRY(decomp_open(&it->d, batch_codec(h), h->magic, outer.value, it->max_bytes));
    rc = inner_last_offset(it->d, &last);
    decomp_close(&it->d);
    TRY(rc);
    if (h->magic > 0 && h->last_offset != 0) {          /* 0: an old librdkafka, which does not set it */
        if (h->last_offset < last)
            return ERR_INVALID;
        it->inner_base = h->last_offset - last;
    }
    return decomp_open(&it->d, batch_codec(h), h->magic, outer.value, it->max_bytes);
}

static bool next_inner(struct record_iter *it, struct record *r)
{
    const uint8_t *p;
    size_t have, size;
    unsigned attributes;
    uint32_t crc;
    int rc;

    decomp_drop(it->d, it->in_use);
    it->in_use = 0;
    rc = inner_head(it->d, &r->offset, &size);
    if (rc == OK && size > 0)
        rc = stream_rc(decomp_peek(it->d, BATCH_OVERHEAD + size, &p, &have));
    if (rc != OK || size == 0 || have < BATCH_OVERHEAD + size)
        return stop(it, rc);
    p += BATCH_OVERHEAD;
    rc = read_message(p, size, r, &crc, &attributes);
    if ((attributes & BATCH_ATTR_CODEC) != CODEC_NONE)
        return stop(it, (attributes & BATCH_ATTR_CODEC) < CODEC_N ? ERR_INVALID : ERR_UNSUPPORTED);
    if (r->magic == it->head->magic && (uint32_t)crc32(0, p + 4, (uInt)size - 4) != crc)
        return stop(it, ERR_CORRUPT);
    if (rc != OK)
        return stop(it, ERR_SHORT);
    if (it->head->magic > 0)
        r->offset = (int64_t)((uint64_t)r->offset + (uint64_t)it->inner_base);
    if (r->magic == 1 && batch_is_append_time(it->head))
        r->timestamp = it->head->max_timestamp;
    it->in_use = BATCH_OVERHEAD + size;
    return true;
}

/* ---- the iterator -------------------------------------------------------------------------------------------- */
static int iter_open(struct record_iter *it)
{
    const struct batch_head *h = it->head;

    if (batch_codec(h) >= CODEC_N)
        return ERR_UNSUPPORTED;
    if (h->magic < 2)
        return batch_codec(h) != CODEC_NONE ? wrapper_open(it) : OK;
    if (h->size_bytes < BATCH_HEAD_BYTES)
        return ERR_CORRUPT;
    it->done = h->count == 0;
    if (h->count < 0)
        return ERR_INVALID;
    it->cur = cur_ro(it->payload.p, it->payload.len);
    if (batch_codec(h) == CODEC_NONE || it->done)
        return OK;
    return decomp_open(&it->d, batch_codec(h), h->magic, it->payload, it->max_bytes);
}

void record_iter_init(struct record_iter *it, const struct batch_head *h, const uint8_t *p, size_t max_bytes)
{
    size_t skip = h->magic < 2 ? BATCH_OVERHEAD : BATCH_HEAD_BYTES;

    *it = (struct record_iter){ .head = h, .max_bytes = max_bytes };
    if (h->size_bytes >= skip)
        it->payload = (struct bytes){ p + skip, h->size_bytes - skip };
    it->rc = iter_open(it);
    if (it->rc != OK)
        it->done = true;
}

bool record_iter_next(struct record_iter *it, struct record *r)
{
    if (it->done)
        return false;
    if (it->head->magic < 2)
        return it->d != NULL ? next_inner(it, r) : next_message(it, r);
    if (it->n_read == it->head->count) {
        it->done = true;
        return false;
    }
    return it->d != NULL ? next_compressed(it, r) : next_plain(it, r);
}

void record_iter_fini(struct record_iter *it)
{
    decomp_close(&it->d);
    it->done = true;
}

/* ---- control records ----------------------------------------------------------------------------------------- */
int control_record_read(const struct record *r, struct control_record *out)
{
    struct cursor key = cur_ro(r->key.p, r->key.len), value = cur_ro(r->value.p, r->value.len);
    int16_t key_version = cur_i16(&key), value_version = 0;

    *out = (struct control_record){ .offset = r->offset, .timestamp = r->timestamp, .coordinator_epoch = -1 };
    out->type = cur_i16(&key);
    if (out->type == CONTROL_ABORT || out->type == CONTROL_COMMIT) {
        value_version = cur_i16(&value);
        out->coordinator_epoch = cur_i32(&value);
    }
    if (key.rc != OK || value.rc != OK || key_version < 0 || value_version < 0)
        return ERR_CORRUPT;
    return OK;
}

int control_batch_read(const struct batch_head *h, const uint8_t *p, struct control_record *out)
{
    struct record_iter it;
    struct record r;
    int rc;

    record_iter_init(&it, h, p, INT32_MAX);
    if (record_iter_next(&it, &r))
        rc = control_record_read(&r, out);
    else
        rc = it.rc == OK ? ERR_NOENT : ERR_CORRUPT;
    record_iter_fini(&it);
    return rc;
}
