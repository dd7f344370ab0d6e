/* storage/unstable.h - how far the records of a log are stable: what holds the last stable offset back.
 *
 * Not stable is what follows the first offset of the oldest open transaction, and of any that is completed but whose
 * marker is not below the high watermark yet: until then a new leader may not know how it ended.
 *
 * Completed ones wait in a queue, by their markers. One that began no later than those before it outlives them all, and
 * they are dropped when it comes; so first offsets rise in the queue too, and its front decides.
 *
 * OWNER   lies in its log and owns the queue.
 * LOCKS   under `plogview`; grown under `plog` as well.
 */
#ifndef STORAGE_UNSTABLE_H
#define STORAGE_UNSTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct unstable_txn {
    int64_t first, last;                /* offsets: its first record, its marker */
};

struct unstable {
    int64_t open_first;                 /* of the oldest open transaction; -1 none */
    int64_t floor;                      /* completed ones with a marker below need not wait */
    struct unstable_txn *v;
    size_t head, n, cap;                /* v[head] .. v[head + n - 1] */
};

void unstable_init(struct unstable *u);
void unstable_fini(struct unstable *u);
void unstable_forget(struct unstable *u);       /* as after init; the room stays */
/* Markers at or above leo are gone: theirs are open again, and so old that those which they had driven out of the queue
 * are held back by them still. */
void unstable_cut(struct unstable *u, int64_t leo);

/* Room for `more` completed transactions: when it lacks, allocate unstable_want() of them and hand them in; what comes
 * back is to be freed. */
bool   unstable_full(const struct unstable *u, size_t more);
size_t unstable_want(const struct unstable *u, size_t more);
struct unstable_txn *unstable_grow(struct unstable *u, struct unstable_txn *v, size_t cap);

/* Room was made. One that is known already is left out. */
void unstable_complete(struct unstable *u, int64_t first, int64_t last);
void unstable_settle(struct unstable *u, int64_t hw);   /* markers below hw are replicated */
int64_t unstable_first(const struct unstable *u);       /* first offset that is not stable; -1: all are */

#endif
