/* storage/logdir.h - one log directory: its lock, identity, marker, checkpoints, and whether it still works.
 *
 * OWNER    the log manager has one for each of log.dirs; logs borrow it and never outlive it.
 * LOCKS    `logdir` fields are fixed after logdir_open() but for the atomics and the files to delete, which have the
 *          `trash` lock. logdir_failed() may be called with any lock held.
 * FAILURE  a directory that failed once stays offline until the broker is started again (invariant 9). One that
 *          failed in logdir_open() is offline as well, with its path set; what is then fatal the manager decides.
 */
#ifndef STORAGE_LOGDIR_H
#define STORAGE_LOGDIR_H

#include "base/lock.h"
#include "storage/checkpoint_file.h"
#include "storage/log_opts.h"
#include "storage/meta_file.h"
#include "storage/space.h"

#include <stdatomic.h>

struct syncer;

struct logdir {
    /* fixed after logdir_open() */
    size_t         index;
    char          *path;
    int            fd;
    int            lock_fd;
    bool           was_clean;           /* the clean-shutdown marker was there */
    bool           ours;                /* there is a boot mark: Klamm has run here */
    bool           points_lost;         /* recovery-point-offset-checkpoint is missing or does not parse */
    bool           same_boot;           /* not clean, but the page cache is the one that was written through */
    bool           has_meta;
    struct meta_properties meta;
    struct boot_mark boot;
    struct logmgr_opts opts;            /* dirs is not valid here; nor is what logmgr_configure() changes */
    /* as found; freed when the logs are loaded */
    struct offset_checkpoint recovery_points, starts, high_watermarks, cleaner_points;
    struct offset_checkpoint txn_sums;  /* likewise; empty unless it is of the very stop that was clean */
    struct syncer *syncer;              /* set before any log exists; so is ... */
    struct open_files *files;           /* ... this, the manager's */
    struct space   space;
    /* any thread */
    _Atomic int64_t producer_expiry_ms; /* producer.id.expiration.ms */
    atomic_bool    offline;
    atomic_bool    stopping;            /* the broker stops: logs that are still being opened give up (ERR_CLOSED) */
    /* under `lock` (class trash) */
    struct lock    lock;
    struct trash  *trash;               /* files and directories to delete later: a heap by when */
    size_t         trash_n, trash_cap;
};

int  logdir_open(struct logdir *d, size_t index, const char *path, const struct logmgr_opts *o) must_use;
/* The directory is this broker's and its logs are about to be opened: from here on it is not clean (invariant 13). */
int  logdir_begin(struct logdir *d) must_use;
/* A sum of the checkpoints of recovery points and high watermarks as they are on disk: another broker that has opened
 * the directory has written them. In CHECKPOINT_TXN_SUMS it stands under a name that no topic has. */
int64_t logdir_stamp(const struct logdir *d);
#define TXN_SUMS_STAMP ":"
void logdir_close(struct logdir *d);    /* NULL-safe inside; gives the lock back */

/* Passes rc on; what means that the disk is broken (ERR_IO, ERR_DENIED) takes the directory offline, with one line
 * that says what was being done with which file (below the directory), and becomes ERR_OFFLINE. */
int  logdir_check(struct logdir *d, int rc, const char *what, const char *file) must_use;
bool logdir_offline(const struct logdir *d);
bool logdir_stopping(const struct logdir *d);

/* The file, or directory with all in it, is deleted delay_ms from now. When memory is out it stays until the next
 * start. */
void logdir_trash(struct logdir *d, const char *path, bool directory, int64_t delay_ms);
/* A directory has another name now: what was to be deleted in it is looked for there. */
void logdir_trash_renamed(struct logdir *d, const char *from, const char *to);
/* Deletes a directory of plain files, as those of logs are, now; what cannot be deleted is logged and stays. */
void logdir_remove(struct logdir *d, const char *path);
/* Deletes what is due (everything if all); milliseconds until the next is, or -1: nothing is left. */
int64_t logdir_empty_trash(struct logdir *d, bool all);

#endif
