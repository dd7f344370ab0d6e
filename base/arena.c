/* base/arena.c - bump allocation in blocks that double up to 64 KiB. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOCK_MIN_BYTES ((size_t)1024)
#define BLOCK_MAX_BYTES ((size_t)65536)

struct arena_block {
    struct arena_block *next;
    size_t              size_bytes;     /* of data[] */
    _Alignas(8) uint8_t data[];
};

void arena_init(struct arena *a, size_t limit_bytes)
{
    *a = (struct arena){ .limit_bytes = limit_bytes };
}

void arena_fini(struct arena *a)
{
    while (a->blocks != NULL) {
        struct arena_block *b = a->blocks;
        a->blocks = b->next;
        free(b);
    }
    a->p = a->end = NULL;
    a->taken_bytes = 0;
}

void arena_reset(struct arena *a)
{
    struct arena_block *keep = a->blocks;

    if (keep == NULL)
        return;
    if (keep->size_bytes > BLOCK_MAX_BYTES) {
        arena_fini(a);
        return;
    }
    a->blocks = keep->next;
    keep->next = NULL;
    arena_fini(a);
    a->blocks = keep;
    a->p = keep->data;
    a->end = keep->data + keep->size_bytes;
    a->taken_bytes = sizeof *keep + keep->size_bytes;
}

static bool arena_grow(struct arena *a, size_t n)
{
    size_t size = a->blocks != NULL ? a->blocks->size_bytes * 2 : BLOCK_MIN_BYTES;
    struct arena_block *b;

    if (size > BLOCK_MAX_BYTES)
        size = BLOCK_MAX_BYTES;
    if (size < n)
        size = n;
    if (size > a->limit_bytes || a->taken_bytes > a->limit_bytes - size)
        return false;
    b = malloc(sizeof *b + size);
    if (b == NULL)
        return false;
    b->next = a->blocks;
    b->size_bytes = size;
    a->blocks = b;
    a->p = b->data;
    a->end = b->data + size;
    a->taken_bytes += sizeof *b + size;
    return true;
}

void *arena_alloc(struct arena *a, size_t n)
{
    uint8_t *p;

    if (n > SIZE_MAX - 7)
        return NULL;
    n = (n + 7) & ~(size_t)7;
    if (n > (size_t)(a->end - a->p) && !arena_grow(a, n))
        return NULL;
    p = a->p;
    a->p += n;
    return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
    void *p = arena_alloc(a, n);

    if (p != NULL)
        memset(p, 0, n);
    return p;
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(n, size, &total))
        return NULL;
    return arena_zalloc(a, total);
}

const char *arena_cstr(struct arena *a, struct str s)
{
    char *p = s.len < SIZE_MAX ? arena_alloc(a, s.len + 1) : NULL;

    if (p == NULL)
        return NULL;
    if (s.len > 0)
        memcpy(p, s.p, s.len);
    p[s.len] = '\0';
    return p;
}

int arena_str(struct arena *a, struct str s, struct str *out)
{
    *out = (struct str){ NULL, 0 };
    if (s.p == NULL)
        return OK;
    out->p = arena_cstr(a, s);
    if (out->p == NULL)
        return ERR_NOMEM;
    out->len = s.len;
    return OK;
}

const char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    char *p;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        return NULL;
    p = arena_alloc(a, (size_t)n + 1);
    if (p == NULL)
        return NULL;
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}
