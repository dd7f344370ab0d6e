/* broker/net/rbuf.c - classes of sizes, each a stack of idle buffers.
 *
 * Small classes come from malloc, large ones are mappings of their own, which go back to the system at once and whole.
 * Large classes have room for a frame a little above the power of two (a 1 MiB batch and its request around it). */
#include "broker/net/rbuf.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

#define KIB ((size_t)1024)
#define IDLE_MAX_BYTES (24 * 1024 * KIB)    /* kept in all; the rest is freed when it comes back */

static const size_t class_bytes[RBUF_CLASSES] = {
    4 * KIB, 16 * KIB, 68 * KIB, 272 * KIB, 1088 * KIB, 4352 * KIB, 17408 * KIB,
};
#define MAPPED_FROM 3                       /* classes from here on are mappings */

static size_t mapping_bytes(size_t data_bytes)
{
    return (data_bytes + sizeof(struct rbuf) + 4095) & ~(size_t)4095;
}

static struct rbuf *rbuf_make(size_t cap, int cls)
{
    struct rbuf *b;

    if (cls >= 0 && cls < MAPPED_FROM) {
        b = malloc(sizeof *b + cap);
        if (b == NULL)
            return NULL;
    } else {
        b = mmap(NULL, mapping_bytes(cap), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (b == MAP_FAILED)
            return NULL;
        madvise(b, mapping_bytes(cap), MADV_NOHUGEPAGE);    /* ten bytes are to cost one page, not 2 MiB */
    }
    *b = (struct rbuf){ .cap = cap, .cls = cls };
    return b;
}

static void rbuf_destroy(struct rbuf *b)
{
    if (b->cls >= 0 && b->cls < MAPPED_FROM)
        free(b);
    else
        munmap(b, mapping_bytes(b->cap));
}

void rbuf_pool_init(struct rbuf_pool *p, size_t limit_bytes, void (*room_fn)(void *arg), void *room_arg)
{
    *p = (struct rbuf_pool){ .limit_bytes = limit_bytes, .room_fn = room_fn, .room_arg = room_arg };
    lock_init(&p->lock, LOCK_bufpool);
}

void rbuf_pool_fini(struct rbuf_pool *p)
{
    for (int i = 0; i < RBUF_CLASSES; i++)
        p->classes[i].low = p->classes[i].n;
    rbuf_trim(p);
    lock_fini(&p->lock);
}

struct rbuf *rbuf_get(struct rbuf_pool *p, size_t size)
{
    struct rbuf_class *c;
    struct rbuf *b;
    int cls = 0;

    while (cls < RBUF_CLASSES && class_bytes[cls] < size)
        cls++;
    if (cls == RBUF_CLASSES)
        return rbuf_make(size, -1);
    c = &p->classes[cls];
    lock_take(&p->lock);
    b = c->free;
    if (b != NULL) {
        c->free = b->next;
        c->n--;
        if (c->n < c->low)
            c->low = c->n;
        p->idle_bytes -= b->cap;
    }
    lock_drop(&p->lock);
    return b != NULL ? b : rbuf_make(class_bytes[cls], cls);
}

void rbuf_put(struct rbuf_pool *p, struct rbuf **bp)
{
    struct rbuf *b = *bp;
    bool keep = false;

    *bp = NULL;
    if (b == NULL)
        return;
    if (b->reserved > 0)
        rbuf_unreserve(p, b->reserved);
    b->reserved = 0;
    if (b->cls >= 0) {
        struct rbuf_class *c = &p->classes[b->cls];

        lock_take(&p->lock);
        keep = p->idle_bytes + b->cap <= IDLE_MAX_BYTES;
        if (keep) {
            b->next = c->free;
            c->free = b;
            c->n++;
            p->idle_bytes += b->cap;
        }
        lock_drop(&p->lock);
    }
    if (!keep)
        rbuf_destroy(b);
}

/* The c->low buffers that nobody took since the last trim: the ones at the bottom. Under the lock. */
static struct rbuf *cut_unused(struct rbuf_pool *p, struct rbuf_class *c)
{
    struct rbuf **link = &c->free, *dead;

    for (size_t i = c->low; i < c->n; i++)
        link = &(*link)->next;
    dead = *link;
    *link = NULL;
    for (struct rbuf *b = dead; b != NULL; b = b->next)
        p->idle_bytes -= b->cap;
    c->n -= c->low;
    c->low = c->n;
    return dead;
}

void rbuf_trim(struct rbuf_pool *p)
{
    struct rbuf *dead[RBUF_CLASSES];

    lock_take(&p->lock);
    for (int i = 0; i < RBUF_CLASSES; i++)
        dead[i] = cut_unused(p, &p->classes[i]);
    lock_drop(&p->lock);
    for (int i = 0; i < RBUF_CLASSES; i++) {
        while (dead[i] != NULL) {
            struct rbuf *next = dead[i]->next;

            rbuf_destroy(dead[i]);
            dead[i] = next;
        }
    }
}

bool rbuf_reserve(struct rbuf_pool *p, size_t n)
{
    size_t had;

    if (p->limit_bytes == 0)
        return true;
    had = atomic_load(&p->reserved_bytes);
    do {
        if (had >= p->limit_bytes) {
            atomic_store(&p->refused, true);
            had = atomic_load(&p->reserved_bytes);      /* once more: who gave back meanwhile saw no refusal */
            if (had >= p->limit_bytes)
                return false;
        }
    } while (!atomic_compare_exchange_weak(&p->reserved_bytes, &had, had + n));
    return true;
}

void rbuf_unreserve(struct rbuf_pool *p, size_t n)
{
    if (p->limit_bytes == 0)
        return;
    atomic_fetch_sub(&p->reserved_bytes, n);
    if (atomic_load(&p->refused) && atomic_exchange(&p->refused, false) && p->room_fn != NULL)
        p->room_fn(p->room_arg);
}
