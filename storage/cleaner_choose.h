/* storage/cleaner_choose.h - how much of a log could be compacted, and whether it is time.
 *
 * LOCKS    takes those of the log.
 * FAILURE  ERR_BUSY: it is being cleaned; what plog_usable() and reading an index give.
 */
#ifndef STORAGE_CLEANER_CHOOSE_H
#define STORAGE_CLEANER_CHOOSE_H

#include "storage/plog.h"

struct cleanable {
    int64_t from;                       /* the first offset that is not compacted yet */
    int64_t uncleanable;                /* base of the first segment that must stay as it is */
    int64_t dirty_bytes;                /* in between */
    double  ratio;                      /* of the dirty bytes to those and the compacted ones */
    bool    due;
};

/* A log without compaction is never due. */
int cleaner_look(struct plog *l, int64_t now_ms, struct cleanable *out) must_use;

#endif
