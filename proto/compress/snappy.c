/* proto/compress/snappy.c - snappy blocks, in xerial's framing or bare.
 *
 *   at  len  field                          integers big-endian
 *    0    8  82 'S' 'N' 'A' 'P' 'P' 'Y' 00
 *    8    4  version, 1          12 4 least version that a reader must know, 1
 *   16    .  chunks: 4 length, then that many bytes of one snappy block. In the place of a chunk the 16 bytes
 *            of the header may come again (streams that were put one after the other).
 * Anything that does not begin like this is one snappy block without framing.
 */
#include "proto/compress/codec_ops.h"

#include <snappy-c.h>
#include <stdlib.h>

static const uint8_t xerial_head[16] = { 0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1 };

enum { XERIAL_MAGIC_BYTES = 8, XERIAL_VERSION_MIN = 1 };

#define BLOCK_BYTES     ((size_t)32768)
#define MOST_EXPANSION  64          /* no block grows that much: an element of 3 bytes makes 64 at most */

struct snappy_in {
    struct bytes block;             /* that in_next() found */
    bool begun, framed;
};

static int snappy_in_open(struct decomp *d)
{
    if (d->state == NULL)
        d->state = calloc(1, sizeof(struct snappy_in));
    if (d->state == NULL)
        return ERR_NOMEM;
    *(struct snappy_in *)d->state = (struct snappy_in){ .begun = false };
    return OK;
}

/* The 16 bytes at the cursor, if they begin with the magic; the version then must be good. */
static int take_head(struct cursor *c, bool *found)
{
    int32_t version;

    *found = cur_left(c) >= sizeof xerial_head && memcmp(c->p, xerial_head, XERIAL_MAGIC_BYTES) == 0;
    if (!*found)
        return OK;
    cur_take(c, XERIAL_MAGIC_BYTES);
    version = cur_i32(c);
    cur_i32(c);
    return version < XERIAL_VERSION_MIN ? ERR_CORRUPT : OK;
}

/* Finds the next block; NULL block at the end. */
static int next_chunk(struct decomp *d, struct snappy_in *s)
{
    bool again;

    do {
        struct cursor ahead = d->in;
        int32_t len = cur_i32(&ahead);

        if (ahead.rc != OK) {                           /* fewer than 4 bytes: Kafka's reader takes it for the end */
            d->eof = true;
            return OK;
        }
        if (be_get32(d->in.p) != be_get32(xerial_head)) {
            const uint8_t *p = len >= 0 ? cur_take(&ahead, (size_t)len) : NULL;

            if (p == NULL)
                return ERR_CORRUPT;
            s->block = (struct bytes){ p, (size_t)len };
            d->in = ahead;
            return OK;
        }
        if (cur_left(&d->in) < sizeof xerial_head)
            return ERR_CORRUPT;
        TRY(take_head(&d->in, &again));
    } while (again);
    d->eof = true;
    return OK;
}

static int snappy_in_next(struct decomp *d, size_t *room)
{
    struct snappy_in *s = d->state;

    if (!s->begun) {
        s->begun = true;
        TRY(take_head(&d->in, &s->framed));
        if (!s->framed) {
            s->block = (struct bytes){ d->in.p, cur_left(&d->in) };
            cur_take(&d->in, s->block.len);
        }
    } else if (!s->framed) {
        d->eof = true;
        return OK;
    }
    if (s->framed)
        TRY(next_chunk(d, s));
    if (d->eof)
        return OK;
    if (snappy_uncompressed_length((const char *)s->block.p, s->block.len, room) != SNAPPY_OK ||
        *room / MOST_EXPANSION > s->block.len)
        return ERR_CORRUPT;
    return *room > d->max_bytes - d->total_bytes ? ERR_TOO_LARGE : OK;
}

static int snappy_in_fill(struct decomp *d, uint8_t *dst, size_t room, size_t *n)
{
    struct snappy_in *s = d->state;

    *n = room;
    return snappy_uncompress((const char *)s->block.p, s->block.len, (char *)dst, n) == SNAPPY_OK ? OK : ERR_CORRUPT;
}

static size_t snappy_in_bytes(const void *state)
{
    (void)state;
    return sizeof(struct snappy_in);
}

/* ---- writing ------------------------------------------------------------------------------------------------- */
struct snappy_out {
    struct block_writer w;
    uint8_t block[BLOCK_BYTES];
};

static int snappy_out_open(struct comp *c)
{
    struct snappy_out *s = c->state;

    if (s == NULL)
        s = c->state = malloc(sizeof *s);
    if (s == NULL)
        return ERR_NOMEM;
    s->w = (struct block_writer){ s->block, 0, sizeof s->block };
    outbuf_put(c->out, xerial_head, sizeof xerial_head);
    return c->out->rc;
}

static int put_block(struct comp *c, const uint8_t *p, size_t n)
{
    size_t max = snappy_max_compressed_length(n);
    uint8_t *at = outbuf_room(c->out, 4 + max);

    if (at == NULL)
        return c->out->rc;
    if (snappy_compress((const char *)p, n, (char *)at + 4, &max) != SNAPPY_OK)
        return ERR_INVALID;
    be_put32(at, (uint32_t)max);
    c->out->len += 4 + max;
    return OK;
}

static int snappy_out_write(struct comp *c, const uint8_t *p, size_t n)
{
    struct snappy_out *s = c->state;

    return block_write(c, &s->w, p, n, put_block);
}

static int snappy_out_finish(struct comp *c)
{
    struct snappy_out *s = c->state;

    return block_flush(c, &s->w, put_block);
}

static size_t snappy_out_bytes(const void *state)
{
    (void)state;
    return sizeof(struct snappy_out);
}

const struct codec_ops codec_snappy = {
    snappy_in_open,  snappy_in_next,   snappy_in_fill,    free, snappy_in_bytes,
    snappy_out_open, snappy_out_write, snappy_out_finish, free, snappy_out_bytes,
};
