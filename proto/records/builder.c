/* proto/records/builder.c - writing records. The layouts are in batch.h and records.c.
 *
 * Room for the header is left in front, records go through the codec's writer behind it, and the header is filled in
 * at the end. Only a plain set of magic 0 or 1 is different: there each record is a message of its own.
 */
#include "proto/records/builder.h"

#include <zlib.h>

enum { HEAD_V0_BYTES = 26, HEAD_V1_BYTES = 34, PREFIX_MAX_BYTES = 32 };     /* empty messages, with offset and size */

void builder_opts_init(struct builder_opts *o)
{
    *o = (struct builder_opts){
        .magic = BATCH_MAGIC_NOW, .codec = CODEC_NONE, .producer_id = -1, .producer_epoch = -1, .base_sequence = -1,
        .leader_epoch = -1, .append_ms = NO_TIMESTAMP, .delete_horizon_ms = NO_TIMESTAMP, .last_offset = -1,
        .max_bytes = INT32_MAX,
    };
}

static int opts_check(const struct builder_opts *o)
{
    if (o->magic < 0 || o->magic > BATCH_MAGIC_NOW)
        return ERR_INVALID;
    if (o->magic < 2 && (o->txn || o->control || o->producer_id != -1 || o->delete_horizon_ms != NO_TIMESTAMP ||
                         o->last_offset != -1))
        return ERR_INVALID;
    if (o->txn && o->producer_id == -1)
        return ERR_INVALID;
    if (o->producer_id != -1 && (o->producer_epoch == -1 || (o->base_sequence < 0 && !o->control)))
        return ERR_INVALID;
    return OK;
}

/* One header for the whole set, as against one for each record. */
static bool has_head(const struct builder *b)
{
    return b->o.magic >= 2 || b->o.codec != CODEC_NONE;
}

static size_t head_bytes(int8_t magic)
{
    return magic >= 2 ? (size_t)BATCH_HEAD_BYTES : magic == 1 ? (size_t)HEAD_V1_BYTES : (size_t)HEAD_V0_BYTES;
}

static void start(struct builder *b)
{
    size_t head = has_head(b) ? head_bytes(b->o.magic) : 0;

    b->start = b->out->len;
    b->rc = opts_check(&b->o);
    if (b->rc == OK && outbuf_room(b->out, head) == NULL)
        b->rc = b->out->rc;
    if (b->rc != OK)
        return;
    b->out->len += head;
    b->rc = comp_open(&b->comp, b->o.codec, b->o.level, b->o.magic, b->out);
}

static void init(struct builder *b, const struct builder_opts *o)
{
    *b = (struct builder){ .o = *o, .max_timestamp = NO_TIMESTAMP, .base_timestamp = NO_TIMESTAMP };
    if (b->o.codec == CODEC_NONE || b->o.codec == CODEC_SNAPPY)
        b->o.level = 0;
}

void builder_init(struct builder *b, const struct builder_opts *o, struct arena *a)
{
    init(b, o);
    b->out = &b->own;
    outbuf_init(b->out, a, o->size_hint, o->max_bytes);
    start(b);
}

void builder_init_into(struct builder *b, const struct builder_opts *o, struct outbuf *out)
{
    init(b, o);
    b->out = out;
    start(b);
}

static void put(struct builder *b, const void *p, size_t n)
{
    if (b->rc == OK && n > 0)
        b->rc = comp_write(b->comp, p, n);
}

/* ---- magic 2 ------------------------------------------------------------------------------------------------- */
static size_t nullable_size(struct bytes v)
{
    return v.p == NULL ? 1 : uvarint_size(zigzag32((int32_t)v.len)) + v.len;
}

static void put_nullable(struct builder *b, struct bytes v)
{
    uint8_t prefix[PREFIX_MAX_BYTES];
    uint8_t *end = uvarint_put(prefix, zigzag32(v.p == NULL ? -1 : (int32_t)v.len));

    put(b, prefix, (size_t)(end - prefix));
    put(b, v.p, v.len);
}

static void add_record(struct builder *b, const struct record *r)
{
    uint64_t timestamp = zigzag64((int64_t)((uint64_t)r->timestamp - (uint64_t)b->base_timestamp));
    uint32_t offset = zigzag32((int32_t)(r->offset - b->o.base_offset));
    uint32_t n_headers = zigzag32(r->n_headers);
    size_t body = 1 + uvarlong_size(timestamp) + uvarint_size(offset) + nullable_size(r->key) +
                  nullable_size(r->value) + uvarint_size(n_headers) + r->headers.len;
    uint8_t prefix[PREFIX_MAX_BYTES], *at = prefix;

    if (body > INT32_MAX) {
        b->rc = ERR_TOO_LARGE;
        return;
    }
    at = uvarint_put(at, zigzag32((int32_t)body));
    *at++ = 0;
    at = uvarlong_put(at, timestamp);
    at = uvarint_put(at, offset);
    put(b, prefix, (size_t)(at - prefix));
    put_nullable(b, r->key);
    put_nullable(b, r->value);
    at = uvarint_put(prefix, n_headers);
    put(b, prefix, (size_t)(at - prefix));
    put(b, r->headers.p, r->headers.len);
}

static void finish_batch(struct builder *b)
{
    int64_t last = b->o.last_offset != -1 ? b->o.last_offset : b->last_offset;
    bool horizon = b->o.delete_horizon_ms != NO_TIMESTAMP;
    struct batch_head h = {
        .base_offset = b->o.base_offset,
        .size_bytes = (uint32_t)(b->out->len - b->start),
        .leader_epoch = b->o.leader_epoch,
        .last_offset_delta = (int32_t)(last - b->o.base_offset),
        .base_timestamp = b->base_timestamp,
        .max_timestamp = b->o.append_time ? b->o.append_ms : b->max_timestamp,
        .producer_id = b->o.producer_id,
        .base_sequence = b->o.base_sequence,
        .count = b->n,
        .producer_epoch = b->o.producer_epoch,
        .attributes = (uint16_t)((unsigned)b->o.codec | (b->o.append_time ? BATCH_ATTR_APPEND_TIME : 0U) |
                                 (b->o.txn ? BATCH_ATTR_TXN : 0U) | (b->o.control ? BATCH_ATTR_CONTROL : 0U) |
                                 (horizon ? BATCH_ATTR_HORIZON : 0U)),
        .magic = b->o.magic,
    };

    batch_head_write(&h, b->out->p + b->start);
}

/* ---- magic 0 and 1 ------------------------------------------------------------------------------------------- */
static uint32_t crc_nullable(uint32_t crc, struct bytes v)
{
    uint8_t len[4];

    be_put32(len, v.p == NULL ? UINT32_MAX : (uint32_t)v.len);
    crc = (uint32_t)crc32(crc, len, sizeof len);
    return v.len > 0 ? (uint32_t)crc32_z(crc, v.p, v.len) : crc;
}

static void put_sized(struct builder *b, struct bytes v)
{
    uint8_t len[4];

    be_put32(len, v.p == NULL ? UINT32_MAX : (uint32_t)v.len);
    put(b, len, sizeof len);
    put(b, v.p, v.len);
}

/* offset, size, crc, magic, attributes, [timestamp] at p; the CRC field is the caller's. Gives the length. */
static size_t message_head(const struct builder *b, uint8_t *p, int64_t offset, size_t size, unsigned attributes,
                           int64_t timestamp)
{
    be_put64(p, (uint64_t)offset);
    be_put32(p + 8, (uint32_t)size);
    p[16] = (uint8_t)b->o.magic;
    p[17] = (uint8_t)(attributes | (b->o.magic > 0 && b->o.append_time ? BATCH_ATTR_APPEND_TIME : 0U));
    if (b->o.magic == 0)
        return 18;
    be_put64(p + 18, (uint64_t)timestamp);
    return 26;
}

static void add_message(struct builder *b, const struct record *r)
{
    bool relative = b->o.magic > 0 && b->o.codec != CODEC_NONE;
    int64_t timestamp = b->o.append_time ? b->o.append_ms : r->timestamp;
    size_t size = head_bytes(b->o.magic) - BATCH_OVERHEAD + r->key.len + r->value.len, n;
    uint8_t head[PREFIX_MAX_BYTES];
    uint32_t crc;

    if (size > INT32_MAX - BATCH_OVERHEAD) {
        b->rc = ERR_TOO_LARGE;
        return;
    }
    n = message_head(b, head, relative ? r->offset - b->o.base_offset : r->offset, size, 0, timestamp);
    crc = (uint32_t)crc32(0, head + 16, (uInt)n - 16);
    crc = crc_nullable(crc_nullable(crc, r->key), r->value);
    be_put32(head + 12, crc);
    put(b, head, n);
    put_sized(b, r->key);
    put_sized(b, r->value);
}

static void finish_wrapper(struct builder *b)
{
    uint8_t *p = b->out->p + b->start;
    size_t size = b->out->len - b->start - BATCH_OVERHEAD;
    int64_t timestamp = b->o.append_time ? b->o.append_ms : b->max_timestamp;
    size_t n = message_head(b, p, b->last_offset, size, b->o.codec, timestamp);

    be_put32(p + n, UINT32_MAX);                        /* no key */
    be_put32(p + n + 4, (uint32_t)(size + BATCH_OVERHEAD - n - 8));
    be_put32(p + 12, (uint32_t)crc32_z(0, p + 16, size + BATCH_OVERHEAD - 16));
}

/* ---- the builder --------------------------------------------------------------------------------------------- */
void builder_add(struct builder *b, const struct record *r)
{
    int64_t timestamp = b->o.append_time && b->o.magic < 2 ? b->o.append_ms : r->timestamp, delta;

    if (b->rc != OK)
        return;
    if (__builtin_sub_overflow(r->offset, b->o.base_offset, &delta) || delta < 0 || delta > INT32_MAX ||
        (b->n > 0 && r->offset <= b->last_offset) || (r->timestamp < 0 && r->timestamp != NO_TIMESTAMP) ||
        (b->o.magic < 2 && r->n_headers > 0) || b->n == INT32_MAX || r->n_headers < 0) {
        b->rc = ERR_INVALID;
        return;
    }
    if (r->key.len > INT32_MAX || r->value.len > INT32_MAX || r->headers.len > INT32_MAX) {
        b->rc = ERR_TOO_LARGE;
        return;
    }
    if (b->n == 0)
        b->base_timestamp = b->o.delete_horizon_ms != NO_TIMESTAMP ? b->o.delete_horizon_ms : r->timestamp;
    if (b->o.magic >= 2)
        add_record(b, r);
    else
        add_message(b, r);
    b->n++;
    b->last_offset = r->offset;
    if (b->o.magic > 0 && timestamp > b->max_timestamp)
        b->max_timestamp = timestamp;
}

int builder_finish(struct builder *b, struct bytes *out)
{
    *out = (struct bytes){ NULL, 0 };
    TRY(b->rc);
    if (b->n == 0) {
        b->out->len = b->start;
        return OK;
    }
    if (b->o.last_offset != -1 &&
        (b->o.last_offset < b->last_offset || b->o.last_offset - b->o.base_offset > INT32_MAX)) {
        b->rc = ERR_INVALID;
        return b->rc;
    }
    b->rc = comp_finish(b->comp);
    TRY(b->rc);
    if (b->out->len - b->start > b->o.max_bytes || b->out->len - b->start > INT32_MAX) {
        b->rc = ERR_TOO_LARGE;
        return b->rc;
    }
    if (b->o.magic >= 2)
        finish_batch(b);
    else if (has_head(b))
        finish_wrapper(b);
    *out = (struct bytes){ b->out->p + b->start, b->out->len - b->start };
    return OK;
}

void builder_fini(struct builder *b)
{
    comp_close(&b->comp);
    if (b->rc == OK)
        b->rc = ERR_CLOSED;
}

/* ---- control batches ----------------------------------------------------------------------------------------- */
int control_batch_build(const struct builder_opts *o, enum control_type type, int32_t coordinator_epoch,
                        int64_t timestamp, struct arena *a, struct bytes *out)
{
    uint8_t key[4] = { 0 }, value[6] = { 0 };
    struct record r = { .offset = o->base_offset, .timestamp = timestamp, .key = { key, sizeof key },
                        .value = { value, sizeof value } };
    struct builder_opts co = *o;
    struct builder b;
    int rc;

    be_put16(key + 2, (uint16_t)type);
    be_put32(value + 2, (uint32_t)coordinator_epoch);
    co.magic = BATCH_MAGIC_NOW;
    co.codec = CODEC_NONE;
    co.control = true;
    co.size_hint = 128;
    builder_init(&b, &co, a);
    builder_add(&b, &r);
    rc = builder_finish(&b, out);
    builder_fini(&b);
    return rc;
}
