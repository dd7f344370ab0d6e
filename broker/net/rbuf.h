/* broker/net/rbuf.h - the pool of request buffers.
 *
 * A buffer that has been used is warm: its pages are mapped and likely in the caches. The pool gives the last one
 * returned, so a steady load of 1 MB requests costs no page faults. What was not needed for a while goes back to the
 * system (rbuf_trim()). A fresh large buffer costs nothing until bytes are put into it.
 *
 * OWNER   rbuf_get() gives a buffer to the caller, rbuf_put() takes it back.
 * LOCKS   class bufpool, for a few instructions. Any thread.
 * LIMIT   rbuf_reserve() counts bytes of requests against limit_bytes, before a buffer is taken for them.
 */
#ifndef BROKER_NET_RBUF_H
#define BROKER_NET_RBUF_H

#include "base/err.h"
#include "base/lock.h"

#include <stdatomic.h>
#include <stddef.h>

#define RBUF_CLASSES 7

struct rbuf {
    struct rbuf *next;          /* in the pool */
    size_t       cap;           /* bytes of data[] */
    size_t       reserved;      /* of the pool's limit; given back with the buffer */
    int          cls;           /* -1: its own mapping, never kept */
    _Alignas(16) unsigned char data[];
};

struct rbuf_class {
    struct rbuf *free;          /* the last returned first */
    size_t       n, low;        /* low: the fewest there were since the last rbuf_trim() */
};

struct rbuf_pool {
    struct lock       lock;
    /* under `lock` */
    struct rbuf_class classes[RBUF_CLASSES];
    size_t            idle_bytes;
    /* fixed */
    size_t            limit_bytes;          /* 0: none */
    void            (*room_fn)(void *arg);  /* called after a refused rbuf_reserve(), when there is room */
    void             *room_arg;
    /* any thread */
    _Atomic size_t    reserved_bytes;
    atomic_bool       refused;
};

void rbuf_pool_init(struct rbuf_pool *p, size_t limit_bytes, void (*room_fn)(void *arg), void *room_arg);
void rbuf_pool_fini(struct rbuf_pool *p);

struct rbuf *rbuf_get(struct rbuf_pool *p, size_t size) must_use;   /* cap >= size; NULL: out of memory */
void         rbuf_put(struct rbuf_pool *p, struct rbuf **b);        /* NULL-safe */
void         rbuf_trim(struct rbuf_pool *p);                        /* call it every few seconds */

/* true when some of the limit is left: the last request may go over it, so that a large one is not starved. */
bool rbuf_reserve(struct rbuf_pool *p, size_t n) must_use;
void rbuf_unreserve(struct rbuf_pool *p, size_t n);

#endif
