/* storage/logmgr.h - the log directories and all logs in them.
 *
 * LIFE     logmgr_open()      lock the directories, read meta.properties and the checkpoints; change nothing
 *          logmgr_identify()  broker and cluster id are known: check them, write meta.properties where missing
 *          logmgr_configure() what of the options has changed since; also while the manager is in use
 *          logmgr_load()      find the logs: known by name and place from here on; remove the clean-shutdown markers;
 *                             threads begin to recover and open the logs, some for each directory
 *                             (logmgr_opts.recovery_threads)
 *          logmgr_start()     syncers and periodic jobs
 *          ... get, create, delete; meanwhile one log after the other becomes ready ...
 *          logmgr_stop()      loading and jobs end, all logs are closed and synced, checkpoints and the clean markers
 *                             are written
 *          logmgr_free()
 * OWNER    the caller owns the manager; it owns one reference of each log until the log is deleted.
 * LOCKS    `logmgr` inside; callers may hold `replicas` and `partition`. get takes it for nanoseconds; create and
 *          delete make directory entries under it but never fsync; delete of a log that is just being opened waits
 *          until that has been broken off. LIFE calls: one thread, in order.
 * FAILURE  a function of LIFE logs at ERROR one line that says the place, the cause and what to do, and
 *          returns ERR_*: the broker exits. A directory that cannot be used is not fatal, but for the first one,
 *          which holds the metadata store: it is offline. A log that cannot be opened is offline alone. Later:
 *          ERR_OFFLINE when the directory has failed, ERR_NOSPACE when it is full. When a directory fails, on_offline
 *          (see logmgr_on_offline) is called once for it.
 */
#ifndef STORAGE_LOGMGR_H
#define STORAGE_LOGMGR_H

#include "base/scheduler.h"
#include "storage/flusher.h"
#include "storage/plog.h"

struct logmgr;

int  logmgr_open(const struct logmgr_opts *o, struct logmgr **out) must_use;
void logmgr_free(struct logmgr **m);            /* NULL-safe; without logmgr_stop() before: no clean marker */

/* What meta.properties of the directories say. */
struct logmgr_identity {
    int32_t broker_id;                          /* -1: no directory knows one */
    char    cluster_id[64];                     /* "": no directory knows one */
};

const struct logmgr_identity *logmgr_found_identity(const struct logmgr *m);

/* What logmgr_identify() would refuse becomes this broker's, said at WARN; before logmgr_identify(). */
void logmgr_take_over(struct logmgr *m);

/* ERR_INVALID (logged, with both ids and what to do): the directories belong to another broker or cluster. */
int logmgr_identify(struct logmgr *m, int32_t broker_id, const char *cluster_id) must_use;

/* Of *o are taken: producer_id_expiration_ms, move_bytes_per_s, and cleaner but for `enable`; before logmgr_load()
 * also recovery_threads and all of cleaner. One thread at a time. ERR_*: the cleaner has too few threads. */
int logmgr_configure(struct logmgr *m, const struct logmgr_opts *o) must_use;

/* Gives the options of a topic (defaults with the topic's overrides); called by the loading threads, in any order. */
typedef void logmgr_opts_fn(void *arg, struct str topic, struct log_opts *out);

/* ERR_INVALID: a directory that is no log, or one partition in two live directories (both are named); nothing was
 * changed then. */
int logmgr_load(struct logmgr *m, logmgr_opts_fn *opts_of, void *arg) must_use;

struct logmgr_loaded {
    size_t  logs;                               /* all that were found */
    size_t  ready;                              /* so far */
    size_t  failed;                             /* offline alone, or with their directory */
    size_t  recovered;                          /* logs that were not closed cleanly */
    int64_t read_bytes;                         /* by recovery */
    int64_t ms;                                 /* since the loading began, or that it took */
};

/* Waits until every log is ready or has failed, at most timeout_ms (-1: for ever; 0: not at all): ERR_TIMEOUT. *out is
 * filled in in any case. */
int logmgr_wait_loaded(struct logmgr *m, int64_t timeout_ms, struct logmgr_loaded *out) must_use;

/* Called by the loading threads, with no storage lock held, for each log that is ready (rc OK: logmgr_get() gives it)
 * or has failed (ERR_OFFLINE; ERR_CLOSED: the broker stops, or the log was deleted), after it has come into the map.
 * Set before load. */
typedef void logmgr_ready_fn(void *arg, struct str topic, int32_t partition, int rc);
void logmgr_on_ready(struct logmgr *m, logmgr_ready_fn *fn, void *arg);

/* Ahead of logmgr_stop(): no log is taken up any more, and those that are just being opened give up soon. */
void logmgr_end_loading(struct logmgr *m);

int logmgr_start(struct logmgr *m, struct scheduler *s) must_use;       /* borrows s until logmgr_stop() */
/* ERR_*: not clean, the next start recovers. Broken off while logs were still loading it is OK, but directories that
 * were not clean before get no marker. */
int logmgr_stop(struct logmgr *m) must_use;

/* Called once for each directory that fails, on the syncer's thread, with no storage lock held. Set before load. */
typedef void logmgr_offline_fn(void *arg, size_t dir_index, const char *path);
void logmgr_on_offline(struct logmgr *m, logmgr_offline_fn *fn, void *arg);

/* A flush of a log has ended (plog_is_safe()); on a thread of its own, with no storage lock held. When this returns,
 * what was set before is not called any more; fn NULL: nobody is told. */
void logmgr_on_flushed(struct logmgr *m, flush_done_fn *fn, void *arg);

/* ---- logs ---------------------------------------------------------------------------------------------------- */

/* A new reference, or NULL: no such log here, or it cannot be used (yet): logmgr_find() tells which. */
struct plog *logmgr_get(struct logmgr *m, struct str topic, int32_t partition);

/* OK with a new reference; ERR_NOENT: no such log here; ERR_BUSY: it is still being loaded; ERR_OFFLINE: its directory
 * has failed, or it could not be opened. */
int logmgr_find(struct logmgr *m, struct str topic, int32_t partition, struct plog **out) must_use;

struct logmgr_create {
    struct str topic;
    int32_t    partition;
    struct uuid topic_id;                       /* zero: none */
    bool       is_new;                          /* certainly never made before; else it may lie in a directory that
                                                 * is offline, and is not made anew while there is one: ERR_OFFLINE */
    const struct log_opts *opts;                /* borrowed for the call */
    /* result */
    int          rc;
    struct plog *log;                           /* a new reference when rc == OK */
};

/* Makes each log, in the live directory with the fewest (but where logmgr_move() wants it, and above all where a rest
 * of that name lies, which is put away), or gives the one that exists already (its id checked: rc ERR_EXISTS if it is
 * another; ERR_BUSY, ERR_OFFLINE as logmgr_find()). Costs no fsync: the syncer makes all of them durable together.
 * Returns the first failure; the others are made all the same. */
int logmgr_create(struct logmgr *m, struct logmgr_create *v, size_t n) must_use;

/* The log is gone from the map and its directory renamed to <topic>-<partition>.<uuid>-delete at once; files go after
 * file.delete.delay.ms. ERR_NOENT; ERR_OFFLINE: it stays, in a directory that has failed; ERR_NOSPACE: it stays as it
 * was, since the disk has no room for the other name. */
int logmgr_delete(struct logmgr *m, struct str topic, int32_t partition) must_use;

/* The log is there, but somebody has removed its directory by hand: logmgr_delete() lets go of what is left of it, with
 * ERR_NOENT. */
bool logmgr_removed(struct logmgr *m, struct str topic, int32_t partition);

/* References of all logs that are ready, in no order; free v with logmgr_list_free(). */
int  logmgr_list(struct logmgr *m, struct plog ***v, size_t *n) must_use;
void logmgr_list_free(struct plog ***v, size_t n);

/* ---- moves between directories (AlterReplicaLogDirs) --------------------------------------------------------- */

/* The log shall lie in the directory with this index: a copy is made there in the background ("future") and takes the
 * log's place when it has caught up; that goes on after a restart, even if nothing was copied yet. A move that is under
 * way to another directory is given up; with the directory that the log is in, that is all. ERR_NOENT, ERR_BUSY,
 * ERR_OFFLINE as logmgr_find(), and ERR_OFFLINE while any directory is; ERR_NOSPACE; ERR_TOO_LARGE: the name is too
 * long for a copy. */
int logmgr_move(struct logmgr *m, struct str topic, int32_t partition, size_t dir) must_use;
/* A log that is not here shall be made there, should it be made. Forgotten with the process. */
void logmgr_prefer(struct logmgr *m, struct str topic, int32_t partition, size_t dir);

/* References of the copies that are being made, in no order; free v with logmgr_list_free(). */
int logmgr_list_futures(struct logmgr *m, struct plog ***v, size_t *n) must_use;

/* Called by the moving thread, with no storage lock held, when a copy has all but caught up: keep everybody from
 * appending to the log, call logmgr_swap(), put what it gives in the place of the log (a new reference). Anything but
 * OK: not now, or not any more. Without a function nobody else is asked. Set before start. */
struct log_move;
typedef int logmgr_swap_fn(void *arg, struct log_move *mv, struct str topic, int32_t partition);
void logmgr_on_swap(struct logmgr *m, logmgr_swap_fn *fn, void *arg);
int  logmgr_swap(struct log_move *mv, const struct plog *old, struct plog **now) must_use;

/* ---- directories (DescribeLogDirs) --------------------------------------------------------------------------- */
struct logmgr_dir {
    const char *path;                           /* lives as long as the manager */
    bool    offline;
    int64_t total_bytes, usable_bytes;          /* of the volume; -1 unknown */
};

/* False: every directory that works is full (storage/space.h); new topics are to be refused. m NULL: no
 * logs, no limit. */
bool   logmgr_has_room(const struct logmgr *m);
size_t logmgr_dirs(const struct logmgr *m);
int    logmgr_dir(struct logmgr *m, size_t i, struct logmgr_dir *out) must_use;

#endif
