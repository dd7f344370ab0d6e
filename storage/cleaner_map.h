/* storage/cleaner_map.h - the last offset of each key in a stretch of a log, in bounded memory.
 *
 * Keys are known by a 128-bit hash (XXH3 with a seed that is drawn for each cleaning, so that nobody can prepare two
 * keys that meet): two keys are taken for one with a chance of about 10^-26 among a million. The map grows with its
 * content up to the bound that it was given, in 256 parts that grow on their own, so that growing needs no second
 * copy of it.
 *
 * OWNER    the cleaner's thread; cleaner_map_fini() gives the memory back.
 * LOCKS    none: one thread.
 * UNITS    record offsets, bytes.
 */
#ifndef STORAGE_CLEANER_MAP_H
#define STORAGE_CLEANER_MAP_H

#include "base/bytes.h"
#include "base/err.h"

#define CLEANER_MAP_SLOT  24            /* bytes: hash, offset */
#define CLEANER_MAP_PARTS 256

struct map_slot;

struct map_part {
    struct map_slot *v;
    uint32_t         n, cap;
};

struct cleaner_map {
    uint64_t        seed;
    size_t          part_max;           /* slots of a part */
    size_t          max_keys;           /* of all */
    size_t          n;
    struct map_part parts[CLEANER_MAP_PARTS];
};

/* At most `bytes` of memory, of which the part `load` (0 to 1) may hold keys. */
void cleaner_map_init(struct cleaner_map *m, int64_t bytes, double load);
void cleaner_map_fini(struct cleaner_map *m);   /* may be called more than once */

/* A look-up is a read of memory that is in no cache. So keys are hashed some time before they are looked up, which
 * tells the processor to fetch what will be read. */
#define CLEANER_MAP_AHEAD 32            /* keys hashed before the first of them is looked up */

struct map_hash {
    uint64_t low, high;
};

struct map_hash cleaner_map_hash(const struct cleaner_map *m, struct bytes key);

/* Later offsets replace earlier ones. ERR_LIMIT: it is full, nothing was changed. ERR_NOMEM. */
int cleaner_map_put(struct cleaner_map *m, struct map_hash h, int64_t offset) must_use;
int64_t cleaner_map_get(const struct cleaner_map *m, struct map_hash h);        /* -1: not there */

#endif
