/* storage/logmgr_impl.h - what is inside the log manager; for the files storage/logmgr*.c only. */
#ifndef STORAGE_LOGMGR_IMPL_H
#define STORAGE_LOGMGR_IMPL_H

#include "storage/fio.h"
#include "storage/logmgr.h"
#include "storage/plog_impl.h"

#include <uthash.h>

#define FILE_NAME_MAX 255
#define LOG_NAME_MAX  (FILE_NAME_MAX + 1)

enum logmgr_job { JOB_RETENTION, JOB_HW, JOB_START, JOB_EXPIRE, JOB_TRASH, LOGMGR_JOBS_N };

struct log_entry {
    struct plog   *log;                 /* a reference; its name is the key */
    UT_hash_handle hh;
};

struct logmgr {
    /* fixed after logmgr_identify() */
    struct logmgr_opts     opts;        /* dirs is not valid here */
    struct logmgr_identity identity;
    struct logdir          dir;
    logmgr_offline_fn     *offline_fn;
    void                  *offline_arg;
    /* the thread of the LIFE calls */
    bool                   take_over;   /* directories of another broker or cluster, too */
    bool                   loaded;      /* all of it */
    struct scheduler      *sched;
    struct job            *jobs[LOGMGR_JOBS_N];
    /* the syncer's thread */
    bool                   offline_told;
    /* any thread */
    atomic_size_t          deletions;   /* so far; and how many of them the checkpoints know of */
    atomic_size_t          refreshed;
    struct lock            checkpoint;  /* held while they are written */
    /* under `lock` (class logmgr) */
    struct lock            lock;
    struct log_entry      *logs;        /* uthash by name */
};

int logmgr_add(struct logmgr *m, struct plog *l) must_use;      /* under the lock; takes a reference */
/* No log that is made from now on finds offsets of an older one of the same name in the checkpoints. */
int logmgr_refresh(struct logmgr *m) must_use;
int logmgr_after_round(void *arg, bool round) must_use;         /* syncer_round_fn */

#endif
