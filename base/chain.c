/* base/chain.c - building a chain of slices.
 *
 * Invariant: when p < end the last slice is memory, and p is the byte after its end.
 */
#include "base/chain.h"

#include <stdlib.h>
#include <unistd.h>

#define BLOCK_BYTES  ((size_t)512)
#define BLOCK_BYTES_MAX ((size_t)16384)
#define COPY_BELOW   ((size_t)256)      /* cheaper to copy than to carry one more iovec */

struct file_ref *file_ref_new(int fd)
{
    struct file_ref *f = malloc(sizeof *f);

    if (f == NULL)
        return NULL;
    atomic_init(&f->refs, 1);
    f->fd = fd;
    f->close_fn = NULL;
    return f;
}

struct file_ref *file_ref(struct file_ref *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}

void file_unref(struct file_ref **fp)
{
    struct file_ref *f = *fp;

    *fp = NULL;
    if (f == NULL || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (f->close_fn != NULL) {
        f->close_fn(f);
        return;
    }
    if (f->fd >= 0)
        close(f->fd);
    free(f);
}

void chain_init(struct chain *ch, struct arena *a)
{
    *ch = (struct chain){ .arena = a };
}

void chain_fini(struct chain *ch)
{
    for (size_t i = 0; i < ch->n; i++)
        file_unref(&ch->v[i].file);
    *ch = (struct chain){ .arena = ch->arena };
}

static struct slice *chain_push(struct chain *ch)
{
    if (ch->rc != OK)
        return NULL;
    if (ch->n == ch->cap) {
        size_t cap = ch->cap > 0 ? ch->cap * 2 : 4;
        struct slice *v = arena_array(ch->arena, cap, sizeof *v);

        if (v == NULL) {
            ch->rc = ERR_NOMEM;
            ch->p = ch->end = NULL;
            return NULL;
        }
        if (ch->n > 0)
            memcpy(v, ch->v, ch->n * sizeof *v);
        ch->v = v;
        ch->cap = cap;
    }
    return &ch->v[ch->n++];
}

uint8_t *chain_room_slow(struct chain *ch, size_t n)
{
    static uint8_t nothing[1];
    size_t size = ch->len < BLOCK_BYTES ? BLOCK_BYTES : BLOCK_BYTES_MAX;
    struct slice *s;
    uint8_t *p;

    if (ch->rc != OK)
        return NULL;
    if (n == 0)
        return nothing;
    if (size < n)
        size = n;
    p = arena_alloc(ch->arena, size);
    if (p == NULL) {
        ch->rc = ERR_NOMEM;
        ch->p = ch->end = NULL;
        return NULL;
    }
    s = chain_push(ch);
    if (s == NULL)
        return NULL;
    *s = slice_mem(p, n);
    ch->p = p + n;
    ch->end = p + size;
    ch->len += n;
    return p;
}

void chain_f64(struct chain *ch, double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    chain_i64(ch, (int64_t)bits);
}

void chain_uvarint(struct chain *ch, uint32_t v)
{
    uint8_t *p = chain_room(ch, uvarint_size(v));

    if (p != NULL)
        uvarint_put(p, v);
}

void chain_copy(struct chain *ch, const void *src, size_t n)
{
    uint8_t *p = chain_room(ch, n);

    if (p != NULL && n > 0)
        memcpy(p, src, n);
}

void chain_ref(struct chain *ch, const void *p, size_t n)
{
    struct slice *s;

    if (n < COPY_BELOW || ch->copies) {
        chain_copy(ch, p, n);
        return;
    }
    s = chain_push(ch);
    if (s == NULL)
        return;
    *s = slice_mem(p, n);
    ch->len += n;
    ch->p = ch->end = NULL;     /* the open block no longer ends the chain */
}

void chain_slice(struct chain *ch, struct slice s)
{
    struct slice *d;

    if (s.file == NULL) {
        chain_ref(ch, s.p, s.len);
        return;
    }
    if (s.len == 0)
        return;
    d = chain_push(ch);
    if (d == NULL)
        return;
    *d = s;
    file_ref(d->file);
    ch->len += s.len;
    ch->p = ch->end = NULL;
}

int chain_flatten(const struct chain *ch, uint8_t *out, size_t n)
{
    if (ch->rc != OK)
        return ch->rc;
    if (n < ch->len)
        return ERR_TOO_LARGE;
    for (size_t i = 0; i < ch->n; i++) {
        if (ch->v[i].file != NULL)
            return ERR_INVALID;
        if (ch->v[i].len > 0)
            memcpy(out, ch->v[i].p, ch->v[i].len);
        out += ch->v[i].len;
    }
    return OK;
}
