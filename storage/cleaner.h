/* storage/cleaner.h - the threads that compact logs.
 *
 * Each takes the log with the largest share of uncompacted bytes of those whose time has come, cleans it
 * (cleaner_pass.h), and looks again; when there is none it runs the retention of compacted logs and waits. A log that
 * cannot be cleaned is set aside, with one line that says why, and is tried again later and later, up to an hour apart,
 * and at once when its settings change. Nothing ends the threads but cleaner_stop().
 *
 * OWNER    the log manager; the cleaner borrows it.
 * LOCKS    `cleaner` inside, never with another one. Memory of the maps and buffers is taken for each cleaning.
 * FAILURE  cleaner_new(): ERR_NOMEM, ERR_SYSTEM (logged).
 */
#ifndef STORAGE_CLEANER_H
#define STORAGE_CLEANER_H

#include "storage/logmgr.h"

struct cleaner;

/* Writes the checkpoints of how far logs are compacted. */
typedef int cleaner_save_fn(void *arg);

int  cleaner_new(struct cleaner **out, struct logmgr *m, const struct cleaner_opts *o, int64_t (*now_ms)(void),
                 cleaner_save_fn *save, void *arg) must_use;
/* What it does from now on; a cleaning that runs keeps its memory, but not its pace. ERR_NOMEM, ERR_SYSTEM (logged):
 * there are fewer threads. */
int  cleaner_configure(struct cleaner *c, const struct cleaner_opts *o) must_use;
void cleaner_stop(struct cleaner *c);           /* ends the cleanings that run; NULL-safe */
void cleaner_free(struct cleaner **c);          /* NULL-safe */

struct cleaner_stats {
    uint64_t cleanings;                         /* that came to their end */
    uint64_t failures;
    size_t   set_aside;                         /* logs that wait because the last try failed */
    int64_t  read_bytes, written_bytes;
    double   max_ratio;                         /* of all logs at the last look */
};

void cleaner_stats(struct cleaner *c, struct cleaner_stats *out);
/* Looks now instead of at the end of the pause. */
void cleaner_wake(struct cleaner *c);

#endif
