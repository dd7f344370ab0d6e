/* storage/logmgr_impl.h - what is inside the log manager; for the files storage/logmgr*.c only. */
#ifndef STORAGE_LOGMGR_IMPL_H
#define STORAGE_LOGMGR_IMPL_H

#include "storage/dir_scan.h"
#include "storage/fio.h"
#include "storage/logmgr.h"
#include "storage/plog_impl.h"

#include <limits.h>
#include <uthash.h>

#define FILE_NAME_MAX 255
#define LOG_NAME_MAX  (FILE_NAME_MAX + 1)

enum logmgr_job { JOB_RETENTION, JOB_HW, JOB_START, JOB_EXPIRE, JOB_TRASH, JOB_SPACE, LOGMGR_JOBS_N };

/* The last one is written at a clean stop only. */
enum checkpoint {
    CHECKPOINT_OF_RECOVERY, CHECKPOINT_OF_START, CHECKPOINT_OF_HW, CHECKPOINT_OF_CLEANER, CHECKPOINT_OF_TXNS,
    CHECKPOINTS_N
};

/*   QUEUED ----> OPENING ----> READY          a new log is READY at once
 *      \             \
 *       `-------------`-------> FAILED         deleted while QUEUED: GONE, and its loading thread frees the entry */
enum log_state { LOG_QUEUED, LOG_OPENING, LOG_READY, LOG_FAILED, LOG_GONE };

struct log_entry {
    /* fixed */
    struct mdir   *rest;                /* has what a move has left over of it; NULL */
    int64_t        found[CHECKPOINTS_N];/* what the checkpoints said at start; -1: nothing */
    /* under `lock` */
    struct mdir   *dir;
    struct mdir   *left;                /* where a move that is over has left a directory; NULL */
    struct log_move *move;              /* NULL: none */
    enum log_state state;
    struct plog   *log;                 /* OPENING, READY: a reference */
    struct log_entry *prev, *next;      /* in dir->logs */
    UT_hash_handle hh;
    size_t         topic_len;
    char           name[];              /* "topic-partition" */
};

/* A log on its way to another directory; logmgr_move.c. */
struct log_move {
    /* fixed */
    struct logmgr    *m;
    struct mdir      *to;
    /* under `lock`; only the mover's thread frees it, unless it never knew of it */
    struct log_entry *e;                /* NULL: over, or given up */
    struct plog      *log;              /* the copy: a reference; NULL: not made or opened yet */
    char             *dir_name;         /* of the copy that is not made or opened yet; NULL: nothing is there */
    struct mdir      *retire;           /* swapped: the old log's directory is to go from here */
    struct log_move  *prev, *next;
    /* the mover's thread */
    struct plog      *from;             /* while it is worked at: a reference */
    uint32_t          cuts;             /* of `from`, when they last were seen to agree */
    bool              agreed, marked, anew;
    bool              empty;            /* there is nothing in dir_name */
    size_t            copied;           /* bytes in this turn */
    int64_t           due_ns;
};

/* Where a log shall be made. */
struct log_wish {
    UT_hash_handle hh;
    struct mdir   *dir;
    char           name[];
};

/* One log directory, with what the manager keeps about it. */
struct mdir {
    struct logdir  d;
    struct logmgr *m;
    bool           absent;              /* offline since the start: nothing of it was touched. The LIFE thread */
    /* loading: the first two fixed from when the logs are looked for on */
    struct log_entry **found;           /* those before `next` have been taken up, and may be gone */
    size_t         found_n;
    pthread_t     *threads;
    size_t         threads_n;           /* to be joined */
    atomic_size_t  next, threads_left;
    atomic_size_t  ready, failed, recovered;
    _Atomic int64_t read_bytes;
    atomic_bool    loaded;              /* every log of it was opened */
    /* the syncer's thread */
    bool           offline_told;
    /* any thread */
    atomic_size_t  deletions;           /* so far; and how many of them the checkpoints know of */
    atomic_size_t  refreshed;
    /* under `checkpoint` */
    struct lock    checkpoint;          /* held while they are written */
    uint64_t       written[CHECKPOINTS_N];      /* a sum of what is in the file; 0: not known */
    /* under `lock` of the manager */
    struct log_entry *logs;             /* DL by prev, next */
    size_t         logs_n;
};

struct logmgr {
    /* fixed after logmgr_identify() */
    struct logmgr_opts     opts;        /* dirs is not valid here */
    struct logmgr_identity identity;
    struct open_files     *files;       /* of all logs */
    struct mdir           *dirs;        /* in the order of log.dirs */
    size_t                 dirs_n;
    logmgr_offline_fn     *offline_fn;
    void                  *offline_arg;
    logmgr_swap_fn        *swap_fn;
    void                  *swap_arg;
    logmgr_ready_fn       *ready_fn;
    void                  *ready_arg;
    logmgr_opts_fn        *opts_fn;     /* set by logmgr_load() */
    void                  *opts_arg;
    int64_t                load_ms;     /* when it began */
    /* the thread of the LIFE calls */
    bool                   rests;       /* of moves were found */
    size_t                 moves_found; /* copies that are to go on */
    bool                   take_over;   /* directories of another broker or cluster, too */
    struct scheduler      *sched;
    pthread_t              mover;
    bool                   mover_runs;
    struct job            *jobs[LOGMGR_JOBS_N];
    struct cleaner        *cleaner;     /* NULL: there is none */
    /* any thread */
    _Atomic int64_t        told_ms;     /* the last line about progress */
    atomic_size_t          saying_dirs; /* whose logs are not all done; the last one says so */
    /* under `lock` (class logmgr) */
    struct lock            lock;
    struct log_move       *moves;       /* DL; the mover takes them in turn */
    struct log_wish       *wishes;      /* uthash by name */
    struct cond            mover_wake;
    bool                   mover_stop;
    int64_t                move_bytes_per_s;
    int64_t                move_free_ns;        /* when the bytes so far may have been copied */
    struct cond            changed;     /* a move is over, a log has left OPENING, a directory is done */
    size_t                 loading_dirs;
    int64_t                loaded_ms;   /* how long it took; valid when loading_dirs is 0 */
    struct log_entry      *logs;        /* uthash by name */
};

/* logmgr.c: the map */
static inline struct mdir *mdir_of(struct logmgr *m, const struct plog *l)
{
    return &m->dirs[plog_dir_index(l)];
}
struct log_entry *log_entry_new(struct mdir *md, struct str topic, int32_t partition) must_use;
struct log_entry *logmgr_lookup(struct logmgr *m, struct str topic, int32_t partition);         /* under the lock */
void logmgr_enter(struct logmgr *m, struct log_entry *e);       /* under the lock */
bool logmgr_is_not_log(const char *name);                       /* what else log directories hold, of others */
void logmgr_leave(struct logmgr *m, struct log_entry *e);       /* under the lock; does not free it */

void log_delete_name(const char *name, size_t topic_len, char out[LOG_NAME_MAX]);

/* logmgr_move.c */
#define MOVED_MARK ".klamm-moved"       /* in the directory of a log that is about to be swapped: where the copy is */
int  mover_start(struct logmgr *m) must_use;
void mover_stop(struct logmgr *m);
void mover_set_rate(struct logmgr *m, int64_t bytes_per_s);     /* INT64_MAX: none */
void moves_free(struct logmgr *m);
void move_found(struct mdir *md, const char *name);     /* under the lock, as all of these: a -future directory */
void moves_resume(struct logmgr *m);                    /* all directories have been looked through */
void move_cancel(struct log_move *mv);                  /* its log is deleted, or shall stay */
struct mdir *wish_take(struct logmgr *m, const char *name);     /* NULL: none */
/* Which of two directories that have a log of this name has the rest of a move to the other? NULL: none. */
struct mdir *move_rest(struct mdir *a, struct mdir *b, const char *name);
void move_take_rest(struct mdir *rest, struct plog *l); /* not under the lock: l has been opened, its rest goes */
/* Before a log is opened: a mark of a swap that did not come to be goes. ERR_OFFLINE: nobody can tell. */
int  move_check_mark(struct mdir *md, const char *name) must_use;

/* logmgr_move.c, for logmgr_copy.c; under the lock */
void move_drop(struct log_move *mv);
int  move_make_dir(struct log_move *mv) must_use;       /* dir_name, empty */
void move_retire(struct log_move *mv);                  /* the old directory goes */
int  mdir_put_away(struct mdir *md, const char *dir_name, const char *name, size_t topic_len, int64_t delay_ms)
    must_use;
void move_mark_path(const char *name, char out[PATH_MAX]);

/* logmgr_map.c: the log is deleted, so the syncer and the flusher, which might wait long yet, let go of it: open files
 * keep their place on the disk. */
void log_let_go(struct logdir *d, struct plog *l);

/* logmgr_copy.c, not under the lock */
int  move_work(struct log_move *mv) must_use;           /* one step; mv->retire is set when it has swapped */
void move_finish(struct log_move *mv);                  /* it has swapped; frees it */

/* logmgr_load.c: the threads are told to stop and waited for */
void logmgr_stop_loading(struct logmgr *m);

/* logmgr_checkpoint.c */
/* No log that is made from now on finds offsets of an older one of the same name in the checkpoints. */
int  mdir_refresh(struct mdir *md) must_use;
/* `always` false: not if nothing has changed since the file was written. */
int  mdir_checkpoint(struct mdir *md, enum checkpoint c, bool always) must_use;

int  logmgr_after_round(void *arg, bool round) must_use;        /* syncer_round_fn; arg is the struct mdir */

#endif
