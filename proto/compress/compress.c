/* proto/compress/compress.c - handles, their cache in each thread, and the window over a decompressed stream.
 *
 * A handle that is closed goes to the closing thread's cache (one for each codec and direction) and serves the next
 * open there, so that a batch does not pay for setting up zlib or zstd. The window buf[pos, len) is moved to the
 * front only when more is needed behind it, so a record at a time costs no copy but of the record that lies across
 * the end of a piece.
 */
#include "proto/compress/codec_ops.h"

#include <pthread.h>
#include <stdlib.h>

#define KEEP_BUF_BYTES   ((size_t)256 << 10)
#define KEEP_STATE_BYTES ((size_t)4 << 20)

/* ---- names and levels ---------------------------------------------------------------------------------------- */
static const struct codec_def {
    const char *name;
    int         level, level_min, level_max;
    const struct codec_ops *ops;
} codecs[CODEC_N] = {
    [CODEC_NONE]   = { "none",   0,  0,       0,  NULL },
    [CODEC_GZIP]   = { "gzip",   -1, 1,       9,  &codec_gzip },
    [CODEC_SNAPPY] = { "snappy", 0,  0,       0,  &codec_snappy },
    [CODEC_LZ4]    = { "lz4",    9,  1,       17, &codec_lz4 },
    [CODEC_ZSTD]   = { "zstd",   3,  -131072, 22, &codec_zstd },
};

static bool codec_known(enum codec c)
{
    return (unsigned)c < CODEC_N;
}

const char *codec_name(enum codec c)
{
    return codec_known(c) ? codecs[c].name : "unknown";
}

bool codec_parse(struct str name, enum codec *out)
{
    for (unsigned i = 0; i < CODEC_N; i++)
        if (str_is(name, codecs[i].name)) {
            *out = (enum codec)i;
            return true;
        }
    return false;
}

int codec_default_level(enum codec c)
{
    return codec_known(c) ? codecs[c].level : 0;
}

bool codec_level_valid(enum codec c, int level)
{
    return codec_known(c) &&
           (level == codecs[c].level || (level >= codecs[c].level_min && level <= codecs[c].level_max));
}

/* ---- what a thread keeps ------------------------------------------------------------------------------------- */
struct codec_cache {
    struct decomp *in[CODEC_N];
    struct comp   *out[CODEC_N];
};

static _Thread_local struct codec_cache *cache;
static pthread_key_t  cache_key;
static pthread_once_t cache_once = PTHREAD_ONCE_INIT;

static void decomp_free(struct decomp *d)
{
    if (d->state != NULL)
        codecs[d->codec].ops->in_free(d->state);
    free(d->buf);
    free(d);
}

static void comp_free(struct comp *c)
{
    if (c->state != NULL)
        codecs[c->codec].ops->out_free(c->state);
    free(c);
}

static void cache_free(void *p)
{
    struct codec_cache *cc = p;

    for (unsigned i = 0; i < CODEC_N; i++) {
        if (cc->in[i] != NULL)
            decomp_free(cc->in[i]);
        if (cc->out[i] != NULL)
            comp_free(cc->out[i]);
    }
    free(cc);
    cache = NULL;
}

static void cache_init(void)
{
    if (pthread_key_create(&cache_key, cache_free) != 0)
        abort();
}

/* NULL when memory is out: then nothing is kept. */
static struct codec_cache *cache_get(void)
{
    if (cache == NULL) {
        pthread_once(&cache_once, cache_init);
        cache = calloc(1, sizeof *cache);
        if (cache != NULL)
            pthread_setspecific(cache_key, cache);
    }
    return cache;
}

/* ---- reading ------------------------------------------------------------------------------------------------- */
int decomp_open(struct decomp **out, enum codec c, int8_t magic, struct bytes in, size_t max_bytes)
{
    struct codec_cache *cc = cache_get();
    struct decomp *d;

    *out = NULL;
    if (!codec_known(c) || codecs[c].ops == NULL)
        return ERR_UNSUPPORTED;
    if (in.len > INT32_MAX)
        return ERR_TOO_LARGE;
    if (cc != NULL && cc->in[c] != NULL) {
        d = cc->in[c];
        cc->in[c] = NULL;
    } else {
        d = calloc(1, sizeof *d);
        if (d == NULL)
            return ERR_NOMEM;
    }
    d->codec = c;
    d->magic = magic;
    d->in = cur_ro(in.p, in.len);
    d->max_bytes = max_bytes;
    d->total_bytes = d->pos = d->len = 0;
    d->eof = false;
    d->rc = codecs[c].ops->in_open(d);
    *out = d;
    return OK;
}

void decomp_close(struct decomp **dp)
{
    struct decomp *d = *dp;
    const struct codec_ops *ops;
    struct codec_cache *cc = cache_get();

    *dp = NULL;
    if (d == NULL)
        return;
    ops = codecs[d->codec].ops;
    if (d->cap > KEEP_BUF_BYTES) {
        free(d->buf);
        d->buf = NULL;
        d->cap = 0;
    }
    if (cc == NULL || cc->in[d->codec] != NULL || (d->state != NULL && ops->in_bytes(d->state) > KEEP_STATE_BYTES))
        decomp_free(d);
    else
        cc->in[d->codec] = d;
}

static int reserve(struct decomp *d, size_t room)
{
    size_t left = d->len - d->pos;
    size_t cap = d->cap * 2;
    uint8_t *p;

    if (d->pos > 0) {
        memmove(d->buf, d->buf + d->pos, left);
        d->pos = 0;
        d->len = left;
    }
    if (d->buf != NULL && room <= d->cap - left)
        return OK;
    if (cap < left + room + 1)
        cap = left + room + 1;                          /* never 0: buf is a valid pointer even for empty pieces */
    p = realloc(d->buf, cap);
    if (p == NULL)
        return ERR_NOMEM;
    d->buf = p;
    d->cap = cap;
    return OK;
}

static int refill(struct decomp *d)
{
    const struct codec_ops *ops = codecs[d->codec].ops;
    size_t room = 0, n = 0;

    TRY(ops->in_next(d, &room));
    if (d->eof)
        return OK;
    TRY(reserve(d, room));
    TRY(ops->in_fill(d, d->buf + d->len, room, &n));
    if (n > d->max_bytes - d->total_bytes)
        return ERR_TOO_LARGE;
    d->total_bytes += n;
    d->len += n;
    return OK;
}

int decomp_peek(struct decomp *d, size_t want, const uint8_t **p, size_t *have)
{
    while (d->len - d->pos < want && !d->eof && d->rc == OK)
        d->rc = refill(d);
    *p = d->buf != NULL ? d->buf + d->pos : NULL;
    *have = d->len - d->pos;
    return d->rc;
}

void decomp_drop(struct decomp *d, size_t n)
{
    d->pos += n;
}

int decomp_skip(struct decomp *d, size_t n, size_t *skipped)
{
    const uint8_t *p;
    size_t have;

    *skipped = 0;
    for (;;) {
        size_t step = d->len - d->pos < n ? d->len - d->pos : n;

        d->pos += step;
        *skipped += step;
        n -= step;
        if (n == 0)
            return d->rc;
        TRY(decomp_peek(d, 1, &p, &have));
        if (have == 0)
            return OK;
    }
}

/* ---- writing ------------------------------------------------------------------------------------------------- */
int comp_open(struct comp **out, enum codec codec, int level, int8_t magic, struct outbuf *o)
{
    struct codec_cache *cc = cache_get();
    struct comp *c;
    int rc = OK;

    *out = NULL;
    if (!codec_known(codec) || (codec == CODEC_ZSTD && magic < 2))
        return ERR_UNSUPPORTED;
    if (!codec_level_valid(codec, level))
        return ERR_INVALID;
    if (cc != NULL && cc->out[codec] != NULL) {
        c = cc->out[codec];
        cc->out[codec] = NULL;
    } else {
        c = calloc(1, sizeof *c);
        if (c == NULL)
            return ERR_NOMEM;
    }
    c->codec = codec;
    c->magic = magic;
    c->level = level;
    c->out = o;
    if (codecs[codec].ops != NULL)
        rc = codecs[codec].ops->out_open(c);
    if (rc != OK)
        comp_close(&c);
    *out = c;
    return rc;
}

int comp_write(struct comp *c, const void *p, size_t n)
{
    if (codecs[c->codec].ops != NULL)
        return codecs[c->codec].ops->out_write(c, p, n);
    outbuf_put(c->out, p, n);
    return c->out->rc;
}

int comp_finish(struct comp *c)
{
    return codecs[c->codec].ops != NULL ? codecs[c->codec].ops->out_finish(c) : c->out->rc;
}

void comp_close(struct comp **cp)
{
    struct comp *c = *cp;
    const struct codec_ops *ops;
    struct codec_cache *cc = cache_get();

    *cp = NULL;
    if (c == NULL)
        return;
    ops = codecs[c->codec].ops;
    if (cc == NULL || cc->out[c->codec] != NULL || (c->state != NULL && ops->out_bytes(c->state) > KEEP_STATE_BYTES))
        comp_free(c);
    else
        cc->out[c->codec] = c;
}

/* ---- blocks -------------------------------------------------------------------------------------------------- */
int block_flush(struct comp *c, struct block_writer *w, int (*put)(struct comp *, const uint8_t *, size_t))
{
    size_t n = w->len;

    w->len = 0;
    return n > 0 ? put(c, w->p, n) : OK;
}

int block_write(struct comp *c, struct block_writer *w, const uint8_t *p, size_t n,
                int (*put)(struct comp *, const uint8_t *, size_t))
{
    while (n > 0) {
        size_t step = w->size - w->len;

        if (w->len == 0 && n >= w->size) {
            TRY(put(c, p, w->size));
            p += w->size;
            n -= w->size;
            continue;
        }
        if (step > n)
            step = n;
        memcpy(w->p + w->len, p, step);
        w->len += step;
        p += step;
        n -= step;
        if (w->len == w->size)
            TRY(block_flush(c, w, put));
    }
    return OK;
}
