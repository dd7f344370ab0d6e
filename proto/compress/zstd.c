/* proto/compress/zstd.c - zstd frames. An empty input is an empty stream; an unfinished frame is an error. */
#include "proto/compress/codec_ops.h"

#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define OUT_STEP_BYTES ((size_t)8192)

struct zstd_in {
    ZSTD_DCtx *ctx;
    bool       between;             /* no frame is open */
};

static int zstd_rc(size_t r)
{
    if (!ZSTD_isError(r))
        return OK;
    return ZSTD_getErrorCode(r) == ZSTD_error_memory_allocation ? ERR_NOMEM : ERR_CORRUPT;
}

static int zstd_in_open(struct decomp *d)
{
    struct zstd_in *s = d->state;

    if (s == NULL) {
        s = calloc(1, sizeof *s);
        if (s == NULL)
            return ERR_NOMEM;
        s->ctx = ZSTD_createDCtx();
        if (s->ctx == NULL) {
            free(s);
            return ERR_NOMEM;
        }
        d->state = s;
    }
    s->between = true;
    return zstd_rc(ZSTD_DCtx_reset(s->ctx, ZSTD_reset_session_only));
}

static int zstd_in_next(struct decomp *d, size_t *room)
{
    const struct zstd_in *s = d->state;

    d->eof = s->between && cur_left(&d->in) == 0;
    *room = STREAM_CHUNK_BYTES;
    return OK;
}

static int zstd_in_fill(struct decomp *d, uint8_t *dst, size_t room, size_t *n)
{
    struct zstd_in *s = d->state;
    ZSTD_outBuffer out = { dst, room, 0 };
    ZSTD_inBuffer in = { d->in.p, cur_left(&d->in), 0 };
    size_t left;

    do {
        size_t in_before = in.pos, out_before = out.pos;

        left = ZSTD_decompressStream(s->ctx, &out, &in);
        TRY(zstd_rc(left));
        s->between = left == 0;
        if (in.pos == in_before && out.pos == out_before && left > 0) {
            if (out.pos == 0)
                return ERR_CORRUPT;                     /* the input ends inside a frame */
            break;
        }
    } while (left > 0 && out.pos < room);
    cur_take(&d->in, in.pos);
    *n = out.pos;
    return OK;
}

static void zstd_in_free(void *state)
{
    struct zstd_in *s = state;

    ZSTD_freeDCtx(s->ctx);
    free(s);
}

static size_t zstd_in_bytes(const void *state)
{
    const struct zstd_in *s = state;

    return ZSTD_sizeof_DCtx(s->ctx);
}

/* ---- writing ------------------------------------------------------------------------------------------------- */
struct zstd_out {
    ZSTD_CCtx *ctx;
    struct block_writer w;
    uint8_t    block[STREAM_CHUNK_BYTES];
};

static int zstd_out_open(struct comp *c)
{
    struct zstd_out *s = c->state;

    if (s == NULL) {
        s = malloc(sizeof *s);
        if (s == NULL)
            return ERR_NOMEM;
        s->ctx = ZSTD_createCCtx();
        if (s->ctx == NULL) {
            free(s);
            return ERR_NOMEM;
        }
        c->state = s;
    }
    s->w = (struct block_writer){ s->block, 0, sizeof s->block };
    TRY(zstd_rc(ZSTD_CCtx_reset(s->ctx, ZSTD_reset_session_only)));
    return zstd_rc(ZSTD_CCtx_setParameter(s->ctx, ZSTD_c_compressionLevel, c->level));
}

static int run_compress(struct comp *c, const uint8_t *p, size_t n, ZSTD_EndDirective mode)
{
    struct zstd_out *s = c->state;
    ZSTD_inBuffer in = { p, n, 0 };
    size_t left;

    do {
        ZSTD_outBuffer out = { outbuf_room(c->out, OUT_STEP_BYTES), OUT_STEP_BYTES, 0 };

        if (out.dst == NULL)
            return c->out->rc;
        left = ZSTD_compressStream2(s->ctx, &out, &in, mode);
        TRY(zstd_rc(left));
        c->out->len += out.pos;
    } while (in.pos < in.size || (mode == ZSTD_e_end && left > 0));
    return OK;
}

static int put_piece(struct comp *c, const uint8_t *p, size_t n)
{
    return run_compress(c, p, n, ZSTD_e_continue);
}

static int zstd_out_write(struct comp *c, const uint8_t *p, size_t n)
{
    struct zstd_out *s = c->state;

    return block_write(c, &s->w, p, n, put_piece);
}

static int zstd_out_finish(struct comp *c)
{
    struct zstd_out *s = c->state;

    return run_compress(c, s->block, s->w.len, ZSTD_e_end);
}

static void zstd_out_free(void *state)
{
    struct zstd_out *s = state;

    ZSTD_freeCCtx(s->ctx);
    free(s);
}

static size_t zstd_out_bytes(const void *state)
{
    const struct zstd_out *s = state;

    return sizeof *s + ZSTD_sizeof_CCtx(s->ctx);
}

const struct codec_ops codec_zstd = {
    zstd_in_open,  zstd_in_next,   zstd_in_fill,    zstd_in_free,  zstd_in_bytes,
    zstd_out_open, zstd_out_write, zstd_out_finish, zstd_out_free, zstd_out_bytes,
};
