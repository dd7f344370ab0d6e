/* proto/compress/outbuf.c - growing by doubling, inside an arena. */
#include "proto/compress/outbuf.h"

#define FIRST_BYTES ((size_t)512)

void outbuf_init(struct outbuf *o, struct arena *a, size_t hint, size_t limit)
{
    *o = (struct outbuf){ .arena = a, .limit = limit };
    if (hint > limit)
        hint = limit;
    if (hint == 0)
        return;
    o->p = arena_alloc(a, hint);
    if (o->p == NULL)
        o->rc = ERR_NOMEM;
    else
        o->cap = hint;
}

uint8_t *outbuf_grow(struct outbuf *o, size_t n)
{
    size_t cap = o->cap > FIRST_BYTES / 2 ? o->cap * 2 : FIRST_BYTES;
    uint8_t *p;

    if (o->rc != OK)
        return NULL;
    if (n <= o->cap - o->len && o->p != NULL)
        return o->p + o->len;
    if (n > o->limit - o->len) {
        o->rc = ERR_TOO_LARGE;
        return NULL;
    }
    if (cap < o->len + n)
        cap = o->len + n;
    if (cap > o->limit)
        cap = o->limit;
    p = arena_alloc(o->arena, cap);
    if (p == NULL) {
        o->rc = ERR_NOMEM;
        return NULL;
    }
    if (o->len > 0)
        memcpy(p, o->p, o->len);
    o->p = p;
    o->cap = cap;
    return p + o->len;
}

void outbuf_put(struct outbuf *o, const void *p, size_t n)
{
    uint8_t *at = outbuf_room(o, n);

    if (at == NULL || n == 0)
        return;
    memcpy(at, p, n);
    o->len += n;
}
