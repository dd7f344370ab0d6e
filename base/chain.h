/* base/chain.h - what is to be sent: memory and ranges of files, in order.
 *
 * A response is written once, into a chain: small fields are gathered in blocks of the chain's arena, large
 * byte runs are referenced where they lie, records on disk are referenced as a range of a file so that
 * the network thread can hand them to sendfile().
 *
 * OWNER   the chain owns its slices and holds one reference of each file it mentions; memory given to
 *         chain_ref() is borrowed and must outlive the chain (request buffer, arena, static), unless it copies.
 * LOCKS   none: a chain belongs to one thread at a time. file_ref counts are atomic.
 * FAILURE a failed append sets rc once (ERR_NOMEM) and makes the later ones no-ops: check chain->rc at the end.
 * UNITS   bytes.
 */
#ifndef BASE_CHAIN_H
#define BASE_CHAIN_H

#include "base/arena.h"
#include "base/cursor.h"

#include <stdatomic.h>
#include <sys/types.h>

/* A shared open file. The last file_unref() calls close_fn, or closes fd and frees the struct if it is NULL. */
struct file_ref {
    atomic_int refs;
    int        fd;
    void     (*close_fn)(struct file_ref *);
};

struct file_ref *file_ref_new(int fd) must_use;         /* takes over fd; NULL when memory is out (fd stays) */
struct file_ref *file_ref(struct file_ref *f);          /* one more reference */
void             file_unref(struct file_ref **f);       /* NULL-safe; *f becomes NULL */

/* A run of bytes: of memory when file == NULL, else of a file. A null slice has neither. */
struct slice {
    const uint8_t   *p;
    struct file_ref *file;      /* borrowed, except inside a chain */
    off_t            pos;       /* in file */
    size_t           len;
};

static inline struct slice slice_mem(const void *p, size_t len)
{
    return (struct slice){ .p = p, .len = len };
}

static inline bool slice_is_null(struct slice s)
{
    return s.p == NULL && s.file == NULL;
}

struct chain {
    struct arena *arena;        /* borrowed: blocks and the slice table */
    struct slice *v;
    size_t        n, cap;
    uint8_t      *p, *end;      /* free room of the open memory block, which is v[n-1]'s tail */
    size_t        len;          /* of all slices */
    int           rc;
    bool          copies;       /* set after chain_init(): what chain_ref() is given need not outlive the call */
};

void chain_init(struct chain *ch, struct arena *a);
void chain_fini(struct chain *ch);                      /* gives back the file references; memory is the arena's */

uint8_t *chain_room_slow(struct chain *ch, size_t n);

/* n bytes of the chain to fill in now (and later, e.g. a length); NULL when ch->rc is set. Contiguous. */
static inline uint8_t *chain_room(struct chain *ch, size_t n)
{
    uint8_t *p = ch->p;

    if (n > (size_t)(ch->end - p) || n == 0)
        return chain_room_slow(ch, n);
    ch->p += n;
    ch->v[ch->n - 1].len += n;
    ch->len += n;
    return p;
}

static inline void chain_i8(struct chain *ch, int8_t v)
{
    uint8_t *p = chain_room(ch, 1);
    if (p != NULL)
        *p = (uint8_t)v;
}

static inline void chain_i16(struct chain *ch, int16_t v)
{
    uint8_t *p = chain_room(ch, 2);
    if (p != NULL)
        be_put16(p, (uint16_t)v);
}

static inline void chain_i32(struct chain *ch, int32_t v)
{
    uint8_t *p = chain_room(ch, 4);
    if (p != NULL)
        be_put32(p, (uint32_t)v);
}

static inline void chain_i64(struct chain *ch, int64_t v)
{
    uint8_t *p = chain_room(ch, 8);
    if (p != NULL)
        be_put64(p, (uint64_t)v);
}

void chain_f64(struct chain *ch, double v);
void chain_uvarint(struct chain *ch, uint32_t v);
void chain_copy(struct chain *ch, const void *p, size_t n);         /* copies */
void chain_ref(struct chain *ch, const void *p, size_t n);          /* copies when small, else borrows */
void chain_slice(struct chain *ch, struct slice s);                 /* chain_ref(), or takes a file reference */

/* Copies all of a chain that has memory only; for tests and tools. ERR_INVALID if it has file ranges. */
int chain_flatten(const struct chain *ch, uint8_t *out, size_t n) must_use;

#endif
