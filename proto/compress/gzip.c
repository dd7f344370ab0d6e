/* proto/compress/gzip.c - RFC 1952 members over zlib's raw deflate.
 *
 * zlib could read the member's header and trailer itself, but it then withholds the last bytes of a member whose
 * checksum is wrong. Kafka's reader gives them out and complains afterwards, and its error code for a batch depends on
 * that order. Likewise a member that does not begin well after the first one is taken for the end, not an error.
 */
#include "proto/compress/codec_ops.h"

#include <stdlib.h>
#include <zlib.h>

enum gzip_at { AT_HEADER, AT_DATA, AT_TRAILER };

struct gzip_in {
    z_stream     z;
    enum gzip_at at;
    bool         first;             /* no member has ended yet */
    uint32_t     crc;
    uint32_t     isize;             /* modulo 2^32 */
};

enum { FLAG_HCRC = 2, FLAG_EXTRA = 4, FLAG_NAME = 8, FLAG_COMMENT = 16 };

static uint32_t le(struct cursor *c, size_t n)
{
    const uint8_t *p = cur_take(c, n);
    uint32_t v = 0;

    for (size_t i = 0; p != NULL && i < n; i++)
        v |= (uint32_t)p[i] << (8 * i);
    return v;
}

static void skip_text(struct cursor *c)
{
    while (c->rc == OK && cur_i8(c) != 0)
        ;
}

static int read_header(struct cursor *c)
{
    const uint8_t *start = c->p;
    uint32_t id = le(c, 2), method = le(c, 1), flags = le(c, 1);

    cur_take(c, 6);                                     /* time, extra flags, system */
    if (c->rc == OK && (id != 0x8b1f || method != Z_DEFLATED))
        cur_fail(c, ERR_CORRUPT);
    if (flags & FLAG_EXTRA)
        cur_take(c, le(c, 2));
    if (flags & FLAG_NAME)
        skip_text(c);
    if (flags & FLAG_COMMENT)
        skip_text(c);
    if (c->rc == OK && (flags & FLAG_HCRC)) {
        uint32_t crc = (uint32_t)crc32(0, start, (uInt)(c->p - start)) & 0xffff;
        if (le(c, 2) != crc)
            cur_fail(c, ERR_CORRUPT);
    }
    return c->rc;
}

static int gzip_in_open(struct decomp *d)
{
    struct gzip_in *g = d->state;

    if (g == NULL) {
        g = calloc(1, sizeof *g);
        if (g == NULL)
            return ERR_NOMEM;
        if (inflateInit2(&g->z, -15) != Z_OK) {
            free(g);
            return ERR_NOMEM;
        }
        d->state = g;
    }
    g->at = AT_HEADER;
    g->first = true;
    return OK;
}

static int gzip_begin(struct decomp *d, struct gzip_in *g)
{
    if (read_header(&d->in) != OK) {
        d->eof = !g->first;
        return g->first ? ERR_CORRUPT : OK;
    }
    if (inflateReset(&g->z) != Z_OK)
        return ERR_CORRUPT;
    g->crc = 0;
    g->isize = 0;
    g->at = AT_DATA;
    return OK;
}

static int gzip_end(struct decomp *d, struct gzip_in *g)
{
    uint32_t crc = le(&d->in, 4), isize = le(&d->in, 4);

    if (d->in.rc != OK || crc != g->crc || isize != g->isize)
        return ERR_CORRUPT;
    g->first = false;
    g->at = AT_HEADER;
    d->eof = cur_left(&d->in) == 0;
    return OK;
}

static int gzip_in_next(struct decomp *d, size_t *room)
{
    struct gzip_in *g = d->state;

    if (g->at == AT_TRAILER)
        TRY(gzip_end(d, g));
    if (g->at == AT_HEADER && !d->eof)
        TRY(gzip_begin(d, g));
    *room = STREAM_CHUNK_BYTES;
    return OK;
}

static int gzip_in_fill(struct decomp *d, uint8_t *dst, size_t room, size_t *n)
{
    struct gzip_in *g = d->state;
    size_t left = cur_left(&d->in);
    int rc;

    g->z.next_in = (Bytef *)(uintptr_t)d->in.p;         /* zlib does not write through it */
    g->z.avail_in = (uInt)left;
    g->z.next_out = dst;
    g->z.avail_out = (uInt)room;
    rc = inflate(&g->z, Z_NO_FLUSH);
    *n = room - g->z.avail_out;
    cur_take(&d->in, left - g->z.avail_in);
    if (rc == Z_MEM_ERROR)
        return ERR_NOMEM;
    if (rc == Z_STREAM_END)
        g->at = AT_TRAILER;
    else if (rc != Z_OK || *n == 0)                     /* nothing came of all that is there: it is cut */
        return ERR_CORRUPT;
    g->crc = (uint32_t)crc32(g->crc, dst, (uInt)*n);
    g->isize += (uint32_t)*n;
    return OK;
}

static void gzip_in_free(void *state)
{
    struct gzip_in *g = state;

    inflateEnd(&g->z);
    free(g);
}

static size_t gzip_in_bytes(const void *state)
{
    (void)state;
    return 48 << 10;
}

/* ---- writing: zlib writes header and trailer ------------------------------------------------------------------- */
struct gzip_out {
    z_stream z;
    int      level;
    struct block_writer w;
    uint8_t  block[STREAM_CHUNK_BYTES];
};

#define OUT_STEP_BYTES ((size_t)4096)

static int gzip_out_open(struct comp *c)
{
    struct gzip_out *g = c->state;

    if (g == NULL) {
        g = calloc(1, sizeof *g);
        if (g == NULL)
            return ERR_NOMEM;
        g->level = c->level;
        if (deflateInit2(&g->z, c->level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
            free(g);
            return ERR_NOMEM;
        }
        g->w = (struct block_writer){ g->block, 0, sizeof g->block };
        c->state = g;
        return OK;
    }
    g->w.len = 0;
    if (deflateReset(&g->z) != Z_OK)
        return ERR_INVALID;
    if (g->level != c->level && deflateParams(&g->z, c->level, Z_DEFAULT_STRATEGY) != Z_OK)
        return ERR_INVALID;
    g->level = c->level;
    return OK;
}

static int run_deflate(struct comp *c, const uint8_t *p, size_t n, int flush)
{
    struct gzip_out *g = c->state;
    int rc;

    g->z.next_in = (Bytef *)(uintptr_t)p;
    g->z.avail_in = (uInt)n;
    do {
        uint8_t *at = outbuf_room(c->out, OUT_STEP_BYTES);

        if (at == NULL)
            return c->out->rc;
        g->z.next_out = at;
        g->z.avail_out = (uInt)OUT_STEP_BYTES;
        rc = deflate(&g->z, flush);
        if (rc == Z_STREAM_ERROR)
            return ERR_INVALID;
        c->out->len += OUT_STEP_BYTES - g->z.avail_out;
    } while (g->z.avail_in > 0 || g->z.avail_out == 0 || (flush == Z_FINISH && rc != Z_STREAM_END));
    return OK;
}

static int put_piece(struct comp *c, const uint8_t *p, size_t n)
{
    return run_deflate(c, p, n, Z_NO_FLUSH);
}

static int gzip_out_write(struct comp *c, const uint8_t *p, size_t n)
{
    struct gzip_out *g = c->state;

    return block_write(c, &g->w, p, n, put_piece);
}

static int gzip_out_finish(struct comp *c)
{
    struct gzip_out *g = c->state;

    return run_deflate(c, g->block, g->w.len, Z_FINISH);
}

static void gzip_out_free(void *state)
{
    struct gzip_out *g = state;

    deflateEnd(&g->z);
    free(g);
}

static size_t gzip_out_bytes(const void *state)
{
    (void)state;
    return 280 << 10;
}

const struct codec_ops codec_gzip = {
    gzip_in_open,  gzip_in_next,   gzip_in_fill,    gzip_in_free,  gzip_in_bytes,
    gzip_out_open, gzip_out_write, gzip_out_finish, gzip_out_free, gzip_out_bytes,
};
