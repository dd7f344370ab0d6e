/* storage/cleaner_map.c - open addressing, linear probing; a key's part is the hash's lowest byte, its place in the
 * part comes from the upper half of that word. No key is ever removed.
 */
#include "storage/cleaner_map.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define PART_MIN       64               /* slots of a part at first */
#define GROW_AT_256THS 192              /* a part grows when it is three quarters full, while there is memory */

struct map_slot {
    uint64_t low, high;                 /* of the hash */
    int64_t  offset;                    /* + 1; 0: the slot is free */
};

_Static_assert(sizeof(struct map_slot) == CLEANER_MAP_SLOT, "CLEANER_MAP_SLOT");

void cleaner_map_init(struct cleaner_map *m, int64_t bytes, double load)
{
    size_t slots = bytes > 0 ? (size_t)bytes / CLEANER_MAP_SLOT : 0;

    memset(m, 0, sizeof *m);
    arc4random_buf(&m->seed, sizeof m->seed);
    m->part_max = slots / CLEANER_MAP_PARTS;
    if (m->part_max < 2)
        m->part_max = 2;
    if (m->part_max > UINT32_MAX / 2)
        m->part_max = UINT32_MAX / 2;
    m->max_keys = (size_t)((double)(m->part_max * CLEANER_MAP_PARTS) * (load > 0.01 && load < 1 ? load : 0.9));
}

void cleaner_map_fini(struct cleaner_map *m)
{
    for (size_t i = 0; i < CLEANER_MAP_PARTS; i++) {
        free(m->parts[i].v);
        m->parts[i] = (struct map_part){ 0 };
    }
    m->n = 0;
}

static uint32_t home(const struct map_part *p, struct map_hash h)
{
    return (uint32_t)(((h.low >> 32) * p->cap) >> 32);
}

struct map_hash cleaner_map_hash(const struct cleaner_map *m, struct bytes key)
{
    XXH128_hash_t x = XXH3_128bits_withSeed(key.p, key.len, m->seed);
    struct map_hash h = { x.low64, x.high64 };
    const struct map_part *p = &m->parts[h.low % CLEANER_MAP_PARTS];

    if (p->cap > 0)
        __builtin_prefetch(&p->v[home(p, h)]);
    return h;
}

/* The slot of the key, or the free one where it belongs. There always is a free one. */
static struct map_slot *find(const struct map_part *p, struct map_hash h)
{
    uint32_t i = home(p, h);

    while (p->v[i].offset != 0 && (p->v[i].low != h.low || p->v[i].high != h.high))
        i = i + 1 < p->cap ? i + 1 : 0;
    return &p->v[i];
}

/* Twice as many slots, or as many as the part may have. Without more memory it stays as it is. */
static void grow(const struct cleaner_map *m, struct map_part *p)
{
    size_t cap = p->cap == 0 ? PART_MIN : (size_t)p->cap * 2;
    struct map_part bigger = { .n = p->n };

    if (cap > m->part_max)
        cap = m->part_max;
    if (cap == p->cap)
        return;
    bigger.v = calloc(cap, sizeof *bigger.v);
    if (bigger.v == NULL)
        return;
    bigger.cap = (uint32_t)cap;
    for (uint32_t i = 0; i < p->cap; i++)
        if (p->v[i].offset != 0)
            *find(&bigger, (struct map_hash){ p->v[i].low, p->v[i].high }) = p->v[i];
    free(p->v);
    *p = bigger;
}

int cleaner_map_put(struct cleaner_map *m, struct map_hash h, int64_t offset)
{
    struct map_part *p = &m->parts[h.low % CLEANER_MAP_PARTS];
    struct map_slot *s = p->cap > 0 ? find(p, h) : NULL;

    if (s != NULL && s->offset != 0) {
        s->offset = offset + 1;
        return OK;
    }
    if (m->n >= m->max_keys)
        return ERR_LIMIT;
    if (s == NULL || (uint64_t)p->n * 256 >= (uint64_t)p->cap * GROW_AT_256THS) {
        grow(m, p);
        if (p->cap == 0)
            return ERR_NOMEM;
        s = find(p, h);
    }
    if (p->n + 1 >= p->cap)
        return ERR_LIMIT;               /* this part is full sooner than the others */
    *s = (struct map_slot){ h.low, h.high, offset + 1 };
    p->n++;
    m->n++;
    return OK;
}

int64_t cleaner_map_get(const struct cleaner_map *m, struct map_hash h)
{
    const struct map_part *p = &m->parts[h.low % CLEANER_MAP_PARTS];

    return p->cap > 0 ? find(p, h)->offset - 1 : -1;
}
