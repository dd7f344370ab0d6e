/* proto/records/scan.c - the pass over a producer's batch that every produced record goes through: the fast path.
 *
 * In a plain batch a record costs two cache lines: its front up to the value's length, and the header count behind
 * the value. In a compressed one the window of the stream is parsed in place and values are passed over.
 */
#include "proto/records/scan.h"

enum { VARLONG_MAX_BYTES = 10, WINDOW_MIN_BYTES = 64 };

static inline void look(struct scan *s, int32_t n, int64_t timestamp, int32_t offset, bool has_key)
{
    if (timestamp > s->max_timestamp)
        s->max_timestamp = timestamp;
    if (timestamp < s->timestamp_min || timestamp > s->timestamp_max || (s->keys_needed && !has_key) ||
        (s->dense && offset != n) || s->all_odd)
        s->odd(s->arg, n, timestamp, offset, has_key);
}

static inline int64_t timestamp_of(const struct batch_head *h, int64_t delta)
{
    return batch_is_append_time(h) ? h->max_timestamp : (int64_t)((uint64_t)h->base_timestamp + (uint64_t)delta);
}

/* ---- plain --------------------------------------------------------------------------------------------------- */
static void skip_headers(struct cursor *c, int32_t n)
{
    if (n < 0 || (size_t)n > cur_left(c))
        cur_fail(c, ERR_CORRUPT);
    for (int32_t i = 0; i < n && c->rc == OK; i++) {
        int32_t len = cur_varint(c);

        if (len < 0)
            cur_fail(c, ERR_CORRUPT);
        cur_take(c, len > 0 ? (size_t)len : 0);
        len = cur_varint(c);
        cur_take(c, len > 0 ? (size_t)len : 0);
    }
}

static int scan_plain(struct scan *s, const struct batch_head *h, struct bytes payload)
{
    struct cursor c = cur_ro(payload.p, payload.len);

    for (int32_t i = 0; i < h->count; i++) {
        int32_t len = cur_varint(&c), offset, key_len, n;
        const uint8_t *p;
        struct cursor body;
        int64_t delta;

        if (c.rc != OK)
            return c.rc == ERR_CORRUPT ? ERR_SHORT : ERR_INVALID;
        p = len > 0 ? cur_take(&c, (size_t)len) : NULL;
        if (p == NULL)
            return ERR_INVALID;
        body = cur_ro(p, (size_t)len);
        cur_i8(&body);
        delta = cur_varlong(&body);
        offset = cur_varint(&body);
        key_len = cur_varint(&body);
        cur_take(&body, key_len > 0 ? (size_t)key_len : 0);
        n = cur_varint(&body);
        cur_take(&body, n > 0 ? (size_t)n : 0);
        n = cur_varint(&body);
        if (n != 0)
            skip_headers(&body, n);
        if (body.rc != OK || cur_left(&body) > 0)
            return ERR_INVALID;
        if (i + 1 == h->count && cur_left(&c) > 0)
            return ERR_INVALID;
        look(s, i, timestamp_of(h, delta), offset, key_len >= 0);
    }
    return OK;
}

/* ---- compressed ---------------------------------------------------------------------------------------------- */
/* A cursor over the part of the stream that is at hand. w.rc is that of the parsing. rc is that of the stream: how it
 * breaks behind the window, which matters only to who gets there. */
struct window {
    struct decomp *d;
    struct cursor  w;
    size_t         have;
    bool           last;            /* nothing comes behind the window */
    int            rc;
};

static void window_fill(struct window *s)
{
    const uint8_t *p;

    decomp_drop(s->d, s->have - cur_left(&s->w));
    s->have = 0;
    s->rc = decomp_peek(s->d, WINDOW_MIN_BYTES, &p, &s->have);
    if (s->rc == ERR_CORRUPT)
        s->rc = ERR_SHORT;
    s->last = s->have < WINDOW_MIN_BYTES;
    s->w = cur_ro(p, s->have);
}

static inline void window_want(struct window *s)
{
    if (cur_left(&s->w) < VARLONG_MAX_BYTES && !s->last && s->w.rc == OK)
        window_fill(s);
}

static void window_skip(struct window *s, int32_t n)
{
    size_t left = cur_left(&s->w), far, skipped;

    if (n <= 0 || s->w.rc != OK)
        return;
    if ((size_t)n <= left) {
        cur_take(&s->w, (size_t)n);
        return;
    }
    decomp_drop(s->d, s->have);
    far = (size_t)n - left;
    s->have = 0;
    s->w = cur_ro(s->w.end, 0);
    s->rc = decomp_skip(s->d, far, &skipped);
    if (s->rc == ERR_CORRUPT)
        s->rc = ERR_SHORT;
    if (s->rc != OK || skipped < far)
        cur_fail(&s->w, ERR_SHORT);
}

static inline int32_t window_varint(struct window *s)
{
    window_want(s);
    return cur_varint(&s->w);
}

static void stream_headers(struct window *s, int32_t n)
{
    if (n < 0)
        cur_fail(&s->w, ERR_CORRUPT);
    for (int32_t i = 0; i < n && s->w.rc == OK; i++) {
        int32_t len = window_varint(s);

        if (len < 0)
            cur_fail(&s->w, ERR_CORRUPT);
        window_skip(s, len);
        window_skip(s, window_varint(s));
    }
}

static int window_scan(struct scan *s, const struct batch_head *h, struct window *in)
{
    for (int32_t i = 0; i < h->count; i++) {
        int64_t delta;
        int32_t offset, key_len;

        window_varint(in);                              /* the length: not looked at, as in Kafka */
        window_want(in);
        cur_i8(&in->w);
        window_want(in);
        delta = cur_varlong(&in->w);
        offset = window_varint(in);
        key_len = window_varint(in);
        window_skip(in, key_len);
        window_skip(in, window_varint(in));
        stream_headers(in, window_varint(in));
        if (in->w.rc != OK)
            return in->w.rc == ERR_SHORT && in->rc != OK ? in->rc : ERR_INVALID;
        look(s, i, timestamp_of(h, delta), offset, key_len >= 0);
    }
    if (cur_left(&in->w) == 0 && !in->last)
        window_fill(in);
    return cur_left(&in->w) > 0 ? ERR_INVALID : in->rc;
}

int scan_batch(struct scan *s, const struct batch_head *h, const uint8_t *p, size_t max_bytes)
{
    struct bytes payload;
    struct window in = { .rc = OK };
    int rc;

    s->max_timestamp = NO_TIMESTAMP;
    if (h->magic < 2 || h->size_bytes < BATCH_HEAD_BYTES || h->count < 0)
        return ERR_INVALID;
    payload = (struct bytes){ p + BATCH_HEAD_BYTES, h->size_bytes - BATCH_HEAD_BYTES };
    if (batch_codec(h) == CODEC_NONE)
        return scan_plain(s, h, payload);
    TRY(decomp_open(&in.d, batch_codec(h), h->magic, payload, max_bytes));
    rc = window_scan(s, h, &in);
    decomp_close(&in.d);
    return rc;
}
