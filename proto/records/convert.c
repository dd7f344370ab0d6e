/* proto/records/convert.c - down-conversion. Batch after batch is read as a stream and written behind the last one. */
#include "proto/records/convert.h"

#include "proto/records/builder.h"

/* offset -1 and a length that no message of this size could have: the consumer takes it for one that was cut off. */
static const uint8_t cut_message[BATCH_OVERHEAD] = { 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0,
                                                     BATCH_HEAD_BYTES };

static int read_rc(int rc)
{
    return rc == ERR_INVALID || rc == ERR_SHORT || rc == ERR_UNSUPPORTED ? ERR_CORRUPT : rc;
}

static void batch_opts(const struct convert_opts *o, const struct batch_head *h, int64_t base_offset,
                       struct builder_opts *bo)
{
    builder_opts_init(bo);
    bo->magic = o->magic;
    bo->codec = batch_codec(h);
    bo->level = codec_default_level(batch_codec(h));
    bo->append_time = batch_is_append_time(h);
    bo->append_ms = h->max_timestamp;
    bo->base_offset = base_offset;
}

static int convert_batch(const struct convert_opts *o, const struct batch_head *h, const uint8_t *p,
                         struct outbuf *out)
{
    struct record_iter it;
    struct record r;
    struct builder_opts bo;
    struct builder b = { .rc = OK };
    struct bytes made;
    bool begun = false;
    int rc;

    record_iter_init(&it, h, p, o->max_decompressed_bytes);
    while (record_iter_next(&it, &r)) {
        if (batch_codec(h) == CODEC_NONE && r.offset < o->first_offset)
            continue;
        if (!begun) {
            batch_opts(o, h, r.offset, &bo);
            builder_init_into(&b, &bo, out);
            begun = true;
        }
        r.n_headers = 0;
        r.headers = (struct bytes){ NULL, 0 };
        builder_add(&b, &r);
    }
    rc = read_rc(it.rc);
    if (rc == OK && begun)
        rc = read_rc(builder_finish(&b, &made));
    builder_fini(&b);
    record_iter_fini(&it);
    return rc;
}

int records_down_convert(const struct convert_opts *o, struct bytes in, struct arena *a, struct bytes *out)
{
    struct batch_iter it;
    struct outbuf buf;
    bool any = false;

    *out = (struct bytes){ NULL, 0 };
    outbuf_init(&buf, a, in.len, INT32_MAX);
    batch_iter_init(&it, in);
    while ((buf.len == 0 || buf.len < o->max_bytes) && batch_iter_next(&it)) {
        any = true;
        if (batch_is_control(&it.head))
            continue;
        if (batch_codec(&it.head) == CODEC_ZSTD) {
            if (buf.len == 0)
                return ERR_UNSUPPORTED;
            break;
        }
        if (it.head.magic <= o->magic)
            outbuf_put(&buf, it.p, it.head.size_bytes);
        else
            TRY(convert_batch(o, &it.head, it.p, &buf));
        TRY(buf.rc);
    }
    TRY(it.rc);
    if (buf.len > 0)
        *out = (struct bytes){ buf.p, buf.len };
    else if (any)
        *out = (struct bytes){ cut_message, sizeof cut_message };
    return OK;
}
