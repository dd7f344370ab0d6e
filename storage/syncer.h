/* storage/syncer.h - the thread of one log directory that makes things durable, in the order of invariant 10; and
 * the threads of group commit beside it.
 *
 * Whoever changed a log notes it here with the time by which it is to be durable. The syncer takes all logs that
 * are due together: files first, each on its own or, when they are many, by one syncfs; then the renames and the
 * directories; then the recovery-point checkpoint.
 *
 * OWNER    the log manager; holds a reference of each log that waits.
 * LOCKS    `logsync` inside; syncer_note() may be called under `plog`.
 * FAILURE  a failed fsync takes the directory offline, for good. A full disk puts the log back for later.
 */
#ifndef STORAGE_SYNCER_H
#define STORAGE_SYNCER_H

#include "base/err.h"
#include "storage/flusher.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct syncer;
struct logdir;
struct plog;

#define SYNC_SOON_MS 200                /* new files, rolled segments, epochs: made together, synced together */

/* Called after each round, and every SYNC_IDLE_MS when there is none, on the syncer's thread without locks: the
 * manager writes the recovery-point checkpoint (round true) and looks whether the directory still works. */
#define SYNC_IDLE_MS 1000
typedef int syncer_round_fn(void *arg, bool round);

int  syncer_new(struct syncer **out, struct logdir *d, syncer_round_fn *after, void *arg) must_use;
int  syncer_start(struct syncer *s) must_use;                   /* the thread; before, notes only gather */
/* data: what is in the active segment too, not only new files, epochs and what was rolled. s NULL: no effect. */
void syncer_note(struct syncer *s, struct plog *l, int64_t delay_ms, bool data);
/* Group commit (storage/flusher.h): now, or in delay_ms at the latest. */
void syncer_flush(struct syncer *s, struct plog *l);
void syncer_flush_by(struct syncer *s, struct plog *l, int64_t delay_ms);
void syncer_on_flushed(struct syncer *s, flush_done_fn *fn, void *arg);         /* flusher_on_done() */
void syncer_note_dir(struct syncer *s);         /* entries of the log directory itself have changed */
/* Ends the thread after the round that runs; what still waits is forgotten. */
void syncer_stop(struct syncer *s);
void syncer_free(struct syncer **s);                            /* NULL-safe */

/* Recovery points are written to their checkpoint now, on the caller's thread. s NULL: no effect. */
int  syncer_checkpoint(struct syncer *s) must_use;

/* One round over these logs, on the caller's thread, everything durable; the syncer must have been stopped. */
int  syncer_all(struct syncer *s, struct plog **v, size_t n) must_use;

#endif
