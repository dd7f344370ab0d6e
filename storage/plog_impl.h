/* storage/plog_impl.h - what is inside a log; for the files storage/plog_*.c, syncer.c and logmgr.c only.
 *
 * LOCKS    see storage/README.md. Functions here say: [log] the caller holds l->lock; [load] the log is not shared
 *          yet.
 */
#ifndef STORAGE_PLOG_IMPL_H
#define STORAGE_PLOG_IMPL_H

#include "storage/epochs.h"
#include "storage/logdir.h"
#include "storage/plog.h"
#include "storage/producers.h"
#include "storage/segment.h"
#include "storage/unstable.h"

#define PLOG_MAGIC 0x706c6f67U

struct plog {
    uint32_t        magic;              /* PLOG_MAGIC; zeroed on free */
    atomic_int      refs;
    /* fixed */
    struct logdir  *dir;
    char           *name;               /* "topic-partition" */
    size_t          topic_len;
    int32_t         partition;
    struct place    place;              /* changes once for a future copy, when nobody else has it yet */
    char           *dir_name;           /* of a future copy: where it was made; else NULL */

    /* under `lock` (class plog): writing */
    struct lock     lock;
    struct log_opts opts;
    struct producers producers;
    int64_t         recovery_point;     /* all below is on disk */
    int64_t         checkpointed;       /* the recovery point in the checkpoint on the disk, or less */
    int64_t         synced;             /* all below is in .log on the disk; at or above recovery_point */
    int64_t         flushed_base;       /* the segment whose directory entry plog_flush() made durable; -1 */
    int64_t         old_snapshot;       /* a snapshot that is no segment's and goes with the next sync; -1 */
    bool            epochs_dirty;       /* not yet in leader-epoch-checkpoint */
    bool            unlisted;           /* LOG_UNLISTED is there, until the checkpoints have been written anew */
    bool            deleted;            /* its directory has another name now; this one may be a new log's */
    bool            files_dirty;        /* directory entries or partition.metadata not synced */
    bool            truncating;         /* the recovery point does not move */
    bool            broken;             /* a truncation stopped half way: for the next start to recover */
    uint32_t        cuts;               /* truncations: a sync that began before one knows the log end no more */
    bool            swapping;           /* files of segments are being replaced: no segment goes, or is cut */
    struct cond     swapped;            /* ... no longer */
    int64_t         cleaned_to;         /* all below is compacted (cleaner-offset-checkpoint); -1: none is */
    bool            cleaning;           /* a thread of the cleaner has it */
    int             clean_failures;     /* tries in a row */
    int64_t         clean_retry_ns;     /* not before; 0: any time */

    /* changed under `lock` and `view` (class plogview), read under either */
    struct lock     view;
    struct segment **segs;              /* by base offset; the last is appended to; never empty once open */
    size_t          n, cap;
    struct plog_offsets off;            /* only offsets_move() writes it; hw and lso: under `view` alone */
    int64_t         safe;               /* flush.messages lets what is below be answered for and committed */
    struct unstable unstable;           /* what holds lso back; settled under `view` alone */
    uint32_t        replaced;           /* grows when bytes or segments below the LEO give way to others */
    int64_t         last_aborts;        /* no segment with a greater base has aborted transactions */
    int64_t         size_bytes;
    struct epochs   epochs;
    struct uuid     topic_id;
    bool            without_id;         /* it was found without partition.metadata: the id is kept in memory only */

    /* any thread */
    atomic_bool     future;             /* a copy being made: the syncer leaves it to the mover */
    atomic_bool     closed;             /* deleted, or the manager stops: no more appends and reads */
    /* under the syncer's lock, but for due_ns, which may be read without it */
    _Atomic int64_t sync_due_ns;        /* 0: not waiting */
    bool            sync_data;          /* also what is in the active segment */
    struct plog    *sync_prev, *sync_next;
    /* under the flusher's lock, but for flush_due_ns, which may be read without it */
    enum { FLUSH_NONE, FLUSH_TIMED, FLUSH_QUEUED, FLUSH_RUNNING } flush_state;
    bool            flush_again;        /* RUNNING: wanted meanwhile */
    int64_t         flush_later_ns;     /* RUNNING: to be TIMED afterwards; 0 not */
    _Atomic int64_t flush_due_ns;       /* TIMED: when; else 0 */
    struct plog    *flush_prev, *flush_next;
};

/* ---- plog.c -------------------------------------------------------------------------------------------------- */
struct plog *plog_new(struct logdir *d, struct str topic, int32_t partition, const struct log_opts *o) must_use;
/* The copy of a log that is to move to d; its files are in `dir_name` for now. */
struct plog *plog_new_future(struct logdir *d, struct str topic, int32_t partition, const struct log_opts *o,
                             const char *dir_name) must_use;
int  plog_usable(const struct plog *l) must_use;                /* ERR_CLOSED, ERR_OFFLINE */
int  plog_check(struct plog *l, int rc, const char *what) must_use;     /* logdir_check() with the log's name */
/* [log] The one place where offsets change: those that are >= 0 in `to` are set, and the order is asserted. The LSO is
 * none of them: it follows from the others and from `unstable`. */
void offsets_move(struct plog *l, struct plog_offsets to);
#define OFFSETS_KEEP ((struct plog_offsets){ -1, -1, -1, -1 })
int  plog_add_segment(struct plog *l, struct segment *s) must_use;      /* [log] at the end; takes over s */
struct segment *plog_active(const struct plog *l);              /* [log] */
/* Borrow the segment that holds `offset` (the last with base <= offset, else the first) and the one after it. */
struct segment *plog_segment_at(struct plog *l, int64_t offset, uint32_t *size, int64_t *next_base);
/* [log] New files, epochs or a rolled segment are to be made durable soon. */
void plog_dirty(struct plog *l);

/* Of a file that is to be synced: what is gone was deleted by retention or with its topic. */
static inline int gone_is_fine(int rc)
{
    return rc == ERR_NOENT ? OK : rc;
}

/* ---- plog_flush.c -------------------------------------------------------------------------------------------- */
void plog_flush_init(struct plog *l);           /* [log] once, when the log has been loaded or made */
void plog_leo_moved(struct plog *l, int64_t from, int64_t to);          /* [log] and [view]; for offsets_move() */
void plog_synced_up(struct plog *l, int64_t upto, uint32_t cuts);       /* [log] all below upto is on the disk now */
void plog_flush_due(struct plog *l);            /* [log] asks for the flush that the options want */
void plog_note_append(struct plog *l);          /* [log] after each append: what must be synced, by when */
int  plog_flush(struct plog *l) must_use;       /* syncs .log up to the present end; no lock is held in the fsync */

/* ---- plog_roll.c --------------------------------------------------------------------------------------------- */
int  plog_roll(struct plog *l, int64_t base) must_use;          /* [log] a new active segment that begins at base */
/* A copy goes on at `offset`, above its end: what was in between is in no batch any more. */
int  plog_skip_to(struct plog *l, int64_t offset) must_use;
int  plog_should_roll(struct plog *l, size_t bytes, int64_t max_timestamp, int64_t last_offset, bool *yes) must_use;
int  plog_write_snapshot(struct plog *l, int64_t offset) must_use;      /* [log] of the state now; not synced */
/* [log] The files of a segment that is no longer in the list get ".deleted" behind their names, and go later. */
int  plog_doom_files(struct plog *l, const struct segment *s) must_use;
int  plog_doom_segment(struct plog *l, const struct segment *s, bool snapshot) must_use;    /* false: that one stays */
int  plog_retain(struct plog *l, int64_t now_ms, size_t *deleted) must_use;     /* one retention run */
void plog_expire_producers(struct plog *l, int64_t now_ms, int64_t expiration_ms);

/* ---- plog_clean.c -------------------------------------------------------------------------------------------- */
struct segment_writer;

/* The segment that w has finished takes the place of old[0..n-1], which are neighbours in the log, begin with its
 * base and do not include the active one; its files get their names, the old ones ".deleted". Readers that hold an old
 * segment go on with what they have opened. `cuts` is l->cuts of when the old ones were read.
 * ERR_AGAIN: the log was truncated since, or retention took one of the old: nothing was changed. ERR_CLOSED. */
int plog_replace_segments(struct plog *l, struct segment **old, size_t n, uint32_t cuts,
                          struct segment_writer *w) must_use;
void plog_await_swap(struct plog *l);                           /* [log] returns with l->swapping false */

/* ---- plog_txn.c ---------------------------------------------------------------------------------------------- */
/* [log] So that plog_txn_take() of n markers cannot fail. s: where they will be; NULL if its index has them already. */
int  plog_txn_room(struct plog *l, struct segment *s, size_t n) must_use;
/* [log] A batch is in the log: producers, what is unstable, and for an ABORT the index of s. To be called before
 * offsets_move(). bytes: the whole batch if it is a control batch. Fails as producers_replay(). */
int  plog_txn_take(struct plog *l, struct segment *s, const struct batch_head *h, const uint8_t *bytes) must_use;
/* [log] The same for a batch found in the log, with its room. */
int  plog_txn_replay(struct plog *l, struct segment *s, const struct batch_head *h, const uint8_t *bytes) must_use;
/* [log] No transaction is known; completed ones with a marker below hw will not count. */
void plog_txn_forget(struct plog *l, int64_t hw);
void plog_txn_cut(struct plog *l, int64_t leo);                 /* [log] what ended at or above leo has not ended */
/* [log and view] The producers were loaded or thrown away: to be called before offsets_move(). */
void plog_txn_reloaded(struct plog *l);
/* The producers as they were before `offset`. ERR_NOENT, ERR_CORRUPT, ERR_VERSION: no usable snapshot of that. */
int  plog_read_snapshot(struct plog *l, int64_t offset, struct producers *ps) must_use;
/* [log] Makes the index of aborted transactions of s anew from its batches. */
int  plog_txn_rebuild(struct plog *l, int64_t start, struct segment *s) must_use;
/* [load] Reads them all. Those that are not sound, and all if they are not those of the last stop, are made anew. */
int  plog_txn_open(struct plog *l, int64_t start) must_use;
int64_t plog_txn_sum(struct plog *l);           /* for CHECKPOINT_TXN_SUMS; -1: there are none */

/* ---- plog_load.c --------------------------------------------------------------------------------------------- */
struct load_result {
    bool    recovered;                  /* was not closed cleanly */
    int64_t read_bytes;
};

/* [load] Directory and first segment; the log is new. unlisted: the checkpoints may still name an older one. */
int plog_create(struct plog *l, bool unlisted) must_use;
/* An empty file in the log's directory: what the checkpoints say is not of this log. */
#define LOG_UNLISTED ".klamm-new"
/* [load] What is in the directory. ERR_CORRUPT: what is there cannot be taken as it is, and nothing of it was given
 * up; said with file and position. */
int plog_load(struct plog *l, struct load_result *out) must_use;
int plog_mend(struct plog *l) must_use;         /* [log] indexes that were found to be wrong are made anew */

/* ---- plog_sync.c: the steps of making a log durable (invariant 10), for the syncer --------------------------- */
struct sync_item {
    struct plog     *log;               /* a reference */
    struct segment **segs;              /* references; to be fsynced */
    size_t           segs_n;
    int64_t          upto;              /* will be the recovery point */
    uint32_t         cuts;              /* truncations before it */
    int64_t          snapshot;          /* offset of a snapshot to fsync, -1 none */
    bool             epochs;            /* leader-epoch-checkpoint.tmp was written: fsync, rename */
    bool             files;             /* fsync partition.metadata and the directories */
    bool             unlisted;          /* LOG_UNLISTED goes when the checkpoints are written */
    int64_t          old_snapshot;      /* to be removed when the recovery point is checkpointed; -1 */
};

/* What must be synced: all of it, or (data false) only new files and epochs, and what was rolled. plog_sync_end() is
 * due also when it fails. ERR_CLOSED: the log was deleted, there is nothing to sync. */
int  plog_sync_begin(struct plog *l, bool data, struct sync_item *it) must_use;
int  plog_sync_files(struct sync_item *it) must_use;            /* fsync each file */
int  plog_sync_rename(struct sync_item *it) must_use;           /* put the epoch file in place */
int  plog_sync_dir(struct sync_item *it) must_use;              /* fsync the directory */
void plog_sync_done(struct sync_item *it);                      /* the recovery point moves up */
void plog_sync_end(struct sync_item *it, bool checkpointed);    /* old snapshot goes; gives back references */
bool plog_wants_sync(struct plog *l);           /* something is not durable yet */
int64_t plog_recovery_point(struct plog *l);
/* No more appends and reads; the last index entries are written. ERR_CORRUPT: a truncation was left half way, the log
 * must not pass for one that was closed cleanly. */
int  plog_close(struct plog *l) must_use;

#endif
