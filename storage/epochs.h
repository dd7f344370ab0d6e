/* storage/epochs.h - which leader epoch began at which offset of one log.
 *
 * Entries rise strictly in epoch and in start offset. An epoch ends where the next entry starts, the last at the LEO.
 * OWNER    struct epochs lies in its log, which owns the array.
 * LOCKS    changed under the log's `plog` and `plogview` locks, read under either.
 * FAILURE  ERR_NOMEM: nothing was changed.
 */
#ifndef STORAGE_EPOCHS_H
#define STORAGE_EPOCHS_H

#include "storage/checkpoint_file.h"

#include <stddef.h>

struct epochs {
    struct epoch_entry *v;
    size_t              n, cap;
};

void epochs_fini(struct epochs *e);

/* Takes over entries read from a file, as far as they make sense: an entry that does not rise is dropped with all
 * before it that it contradicts, as if each had been assigned in turn. */
int  epochs_load(struct epochs *e, const struct epoch_entry *v, size_t n) must_use;

/* `epoch` begins at `start`. Nothing happens if it is the last entry's and start is not lower; otherwise entries with
 * this epoch or a later one, or a start at or above this, go first. *changed says whether anything did. */
int  epochs_assign(struct epochs *e, int32_t epoch, int64_t start, bool *changed) must_use;
bool epochs_truncate_end(struct epochs *e, int64_t offset);     /* drops what starts at or above; true: changed */
bool epochs_truncate_start(struct epochs *e, int64_t offset);   /* the log starts here now; true: changed */

int32_t epochs_latest(const struct epochs *e);                  /* -1: none */
int64_t epochs_start_of(const struct epochs *e, int32_t epoch); /* -1: no entry */

/* Where `epoch` ended, as OffsetForLeaderEpoch answers: *out_epoch is the largest known one that is not later;
 * both -1 if that cannot be said. */
void epochs_end(const struct epochs *e, int32_t epoch, int64_t leo, int32_t *out_epoch, int64_t *out_end);

#endif
