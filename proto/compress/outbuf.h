/* proto/compress/outbuf.h - a run of bytes that grows, in an arena, up to a limit.
 *
 * OWNER    the arena owns the memory; growing leaves the smaller block behind in it, so what the arena lends is at
 *          most twice the final size. Pointers into p are void after the next outbuf_room().
 * LOCKS    none.  UNITS bytes.
 * FAILURE  outbuf_room() gives NULL and sets rc once: ERR_TOO_LARGE (limit) or ERR_NOMEM (arena). Check rc at the end.
 */
#ifndef PROTO_COMPRESS_OUTBUF_H
#define PROTO_COMPRESS_OUTBUF_H

#include "base/arena.h"

struct outbuf {
    struct arena *arena;
    uint8_t      *p;
    size_t        len, cap;
    size_t        limit;
    int           rc;
};

/* hint: how much to take at first. */
void     outbuf_init(struct outbuf *o, struct arena *a, size_t hint, size_t limit);
uint8_t *outbuf_grow(struct outbuf *o, size_t n);

/* Room for n more bytes behind the end, which is not moved: add to len what was filled in. */
static inline uint8_t *outbuf_room(struct outbuf *o, size_t n)
{
    if (o->rc != OK || n > o->cap - o->len)
        return outbuf_grow(o, n);
    return o->p + o->len;
}

void outbuf_put(struct outbuf *o, const void *p, size_t n);

#endif
