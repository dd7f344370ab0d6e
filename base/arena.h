/* base/arena.h - memory that lives and dies together: one arena for each request.
 *
 * OWNER  whoever called arena_init(); everything allocated is gone after arena_reset() or arena_fini().
 * LOCKS  none: an arena belongs to one thread at a time.
 * LIMIT  limit_bytes bounds what one arena may take from the heap, so that no request can make the broker
 *        allocate without bound; arena_alloc() gives NULL beyond it (or when the heap is exhausted), and
 *        the caller answers ERR_NOMEM.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/bytes.h"
#include "base/err.h"

struct arena_block;

struct arena {
    struct arena_block *blocks;         /* newest first */
    uint8_t            *p, *end;        /* free room in the newest block */
    size_t              taken_bytes;    /* from the heap so far */
    size_t              limit_bytes;
};

void  arena_init(struct arena *a, size_t limit_bytes);
void  arena_reset(struct arena *a);     /* frees all but one small block, which is used again */
void  arena_fini(struct arena *a);      /* frees all; the arena may be initialised again */

void *arena_alloc(struct arena *a, size_t n) must_use;              /* 8-byte aligned, not zeroed */
void *arena_zalloc(struct arena *a, size_t n) must_use;             /* zeroed */
void *arena_array(struct arena *a, size_t n, size_t size) must_use; /* zeroed; n * size is checked */

/* Copies; a null slice stays null. arena_cstr() adds a NUL and gives NULL only when memory is out. */
int         arena_str(struct arena *a, struct str s, struct str *out) must_use;
const char *arena_cstr(struct arena *a, struct str s) must_use;
const char *arena_printf(struct arena *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3))) must_use;

#endif
