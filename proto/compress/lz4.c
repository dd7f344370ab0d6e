/* proto/compress/lz4.c - LZ4 frames of independent blocks, block by block over liblz4.
 *
 *   at  len  field                                                 integers little-endian
 *    0    4  04 22 4d 18
 *    4    1  FLG: 6-7 version 01 | 5 blocks independent | 4 block checksums | 3 content size | 2 content checksum
 *    5    1  BD: 4-6 largest block: 4 64 KiB, 5 256 KiB, 6 1 MiB, 7 4 MiB
 *    6   (8) content size, if FLG says so; not looked at
 *    .    1  header checksum: second byte of xxh32 over FLG .. here
 *    .    .  blocks: 4 length (bit 31: stored), bytes, 4 xxh32 of them if FLG says so
 *    .    4  0: the end;  then 4 content checksum if FLG says so, which no Kafka reader looks at
 * Worked: 04224d18 60 40 82 | 01000080 78 | 00000000 is the one byte 78.
 *
 * Kafka's first writers computed the header checksum from offset 0. Magic 0 sets are written so (1a for 60 40), and
 * the checksum is not looked at when reading them. liblz4's frame reader cannot be told so, hence the frame here.
 */
#define XXH_INLINE_ALL
#include "proto/compress/codec_ops.h"

#include <lz4.h>
#include <lz4hc.h>
#include <stdlib.h>
#include <xxhash.h>

enum {
    FLG_VERSION = 0xc0, FLG_VERSION_1 = 0x40, FLG_INDEPENDENT = 0x20, FLG_BLOCK_SUM = 0x10, FLG_CONTENT_SIZE = 0x08,
    FLG_CONTENT_SUM = 0x04, FLG_RESERVED = 0x03,
    BD_SIZE_AT = 4, BD_SIZE_MIN = 4, BD_SIZE_MAX = 7, BD_RESERVED = 0x8f
};

#define FRAME_MAGIC  0x184d2204U
#define BLOCK_STORED 0x80000000U
#define BLOCK_BYTES  ((size_t)65536)

static const uint8_t frame_head[2][7] = {
    { 0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x1a },       /* magic 0 */
    { 0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82 },
};

struct lz4_in {
    size_t       block_max;
    bool         block_sum, content_sum;
    struct bytes block;             /* that in_next() found */
    bool         stored;
};

static uint32_t le32(struct cursor *c)
{
    return __builtin_bswap32(cur_u32(c));
}

static int read_head(struct decomp *d, struct lz4_in *s)
{
    struct cursor *c = &d->in;
    uint32_t magic = le32(c);
    const uint8_t *start = c->p;
    unsigned flg = (uint8_t)cur_i8(c), bd = (uint8_t)cur_i8(c), size = bd >> BD_SIZE_AT, sum, want;

    if (flg & FLG_CONTENT_SIZE)
        cur_take(c, 8);
    if (c->rc != OK || magic != FRAME_MAGIC)
        return ERR_CORRUPT;
    want = (XXH32(start, (size_t)(c->p - start), 0) >> 8) & 0xff;
    sum = (uint8_t)cur_i8(c);
    if (c->rc != OK || (d->magic > 0 && sum != want))
        return ERR_CORRUPT;
    if ((flg & FLG_VERSION) != FLG_VERSION_1 || !(flg & FLG_INDEPENDENT) || (flg & FLG_RESERVED) != 0 ||
        (bd & BD_RESERVED) != 0 || size < BD_SIZE_MIN || size > BD_SIZE_MAX)
        return ERR_CORRUPT;
    s->block_max = (size_t)1 << (8 + 2 * size);
    s->block_sum = (flg & FLG_BLOCK_SUM) != 0;
    s->content_sum = (flg & FLG_CONTENT_SUM) != 0;
    return OK;
}

static int lz4_in_open(struct decomp *d)
{
    if (d->state == NULL)
        d->state = calloc(1, sizeof(struct lz4_in));
    if (d->state == NULL)
        return ERR_NOMEM;
    return read_head(d, d->state);
}

static int lz4_in_next(struct decomp *d, size_t *room)
{
    struct lz4_in *s = d->state;
    uint32_t word = le32(&d->in);
    size_t len = word & ~BLOCK_STORED;
    uint32_t sum;

    if (d->in.rc == OK && len == 0) {
        d->eof = true;
        return s->content_sum && cur_take(&d->in, 4) == NULL ? ERR_CORRUPT : OK;
    }
    s->stored = (word & BLOCK_STORED) != 0;
    if (len > s->block_max)
        return ERR_CORRUPT;
    s->block = (struct bytes){ cur_take(&d->in, len), len };
    sum = s->block_sum ? le32(&d->in) : 0;
    if (d->in.rc != OK || (s->block_sum && XXH32(s->block.p, len, 0) != sum))
        return ERR_CORRUPT;
    *room = s->stored ? len : s->block_max;
    return OK;
}

static int lz4_in_fill(struct decomp *d, uint8_t *dst, size_t room, size_t *n)
{
    const struct lz4_in *s = d->state;
    int got;

    if (s->stored) {
        memcpy(dst, s->block.p, s->block.len);
        *n = s->block.len;
        return OK;
    }
    got = LZ4_decompress_safe((const char *)s->block.p, (char *)dst, (int)s->block.len, (int)room);
    *n = got > 0 ? (size_t)got : 0;
    return got >= 0 ? OK : ERR_CORRUPT;
}

static size_t lz4_in_bytes(const void *state)
{
    (void)state;
    return sizeof(struct lz4_in);
}

/* ---- writing ------------------------------------------------------------------------------------------------- */
struct lz4_out {
    struct block_writer w;
    void   *hc;                     /* for levels other than the default */
    uint8_t block[BLOCK_BYTES];
};

static int lz4_out_open(struct comp *c)
{
    struct lz4_out *s = c->state;

    if (s == NULL) {
        s = c->state = malloc(sizeof *s);
        if (s == NULL)
            return ERR_NOMEM;
        s->hc = NULL;
    }
    if (c->level != codec_default_level(CODEC_LZ4) && s->hc == NULL) {
        s->hc = malloc((size_t)LZ4_sizeofStateHC());
        if (s->hc == NULL)
            return ERR_NOMEM;
    }
    s->w = (struct block_writer){ s->block, 0, sizeof s->block };
    outbuf_put(c->out, frame_head[c->magic > 0], sizeof frame_head[0]);
    return c->out->rc;
}

static int put_block(struct comp *c, const uint8_t *p, size_t n)
{
    struct lz4_out *s = c->state;
    uint8_t *at = outbuf_room(c->out, 4 + n);
    char *dst = (char *)at + 4;
    int room = (int)n - 1, len;
    uint32_t word;

    if (at == NULL)
        return c->out->rc;
    /* With less room than the input has, the block fits only if compressing pays. */
    if (c->level == codec_default_level(CODEC_LZ4))
        len = LZ4_compress_default((const char *)p, dst, (int)n, room);
    else
        len = LZ4_compress_HC_extStateHC(s->hc, (const char *)p, dst, (int)n, room, c->level);
    word = (uint32_t)len;
    if (len <= 0) {
        memcpy(dst, p, n);
        len = (int)n;
        word = (uint32_t)n | BLOCK_STORED;
    }
    be_put32(at, __builtin_bswap32(word));
    c->out->len += 4 + (size_t)len;
    return OK;
}

static int lz4_out_write(struct comp *c, const uint8_t *p, size_t n)
{
    struct lz4_out *s = c->state;

    return block_write(c, &s->w, p, n, put_block);
}

static int lz4_out_finish(struct comp *c)
{
    static const uint8_t end[4];
    struct lz4_out *s = c->state;

    TRY(block_flush(c, &s->w, put_block));
    outbuf_put(c->out, end, sizeof end);
    return c->out->rc;
}

static void lz4_out_free(void *state)
{
    struct lz4_out *s = state;

    free(s->hc);
    free(s);
}

static size_t lz4_out_bytes(const void *state)
{
    const struct lz4_out *s = state;

    return sizeof *s + (s->hc != NULL ? (size_t)LZ4_sizeofStateHC() : 0);
}

const struct codec_ops codec_lz4 = {
    lz4_in_open,  lz4_in_next,   lz4_in_fill,    free,         lz4_in_bytes,
    lz4_out_open, lz4_out_write, lz4_out_finish, lz4_out_free, lz4_out_bytes,
};
