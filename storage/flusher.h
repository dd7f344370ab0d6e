/* storage/flusher.h - group commit for one log directory: what flush.messages and flush.ms promise.
 *
 * Appends that must be durable before they are answered ask for a flush of their log and wait in the broker; a thread
 * of the pool syncs the log's bytes as far as they then are, with no lock held. Appends that come meanwhile are the
 * next group. One log is flushed by one thread at a time, several logs by several, so that they do not wait for each
 * other; the syncer's rounds (recovery points, checkpoints) run beside that and wait for nobody.
 *
 *           want, or note and the time has come                 a thread takes it
 *   (none) -------------------------------------> QUEUED -----------------------------> RUNNING
 *     ^                                              ^          it was wanted meanwhile    |
 *     |                                              +-------------------------------------+
 *     +------------------------------------------------------------------------------------+
 *
 * OWNER    the syncer of the directory has one; it holds a reference of each log that waits.
 * LOCKS    `logflush` inside; flusher_want() and flusher_note() may be called under `plog`.
 * FAILURE  a failed fsync takes the directory offline, for good; who waits is told, as after a success. Without
 *          memory or descriptors the log is tried again in a moment, and who waits goes on waiting.
 */
#ifndef STORAGE_FLUSHER_H
#define STORAGE_FLUSHER_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct flusher;
struct logdir;
struct plog;

/* A flush of l has ended, well or not: look at plog_is_safe(). On a thread of the pool, no lock held. */
typedef void flush_done_fn(void *arg, struct plog *l);

int  flusher_new(struct flusher **out, struct logdir *d) must_use;
int  flusher_start(struct flusher *f) must_use;         /* the threads; before, wishes only gather */
void flusher_stop(struct flusher *f);                   /* what still waits is forgotten */
void flusher_free(struct flusher **f);                  /* NULL-safe */

/* When this returns, what was set before is not called any more. fn NULL: nobody is told. */
void flusher_on_done(struct flusher *f, flush_done_fn *fn, void *arg);

/* What is in l now is to be durable as soon as possible, or (note) in delay_ms at the latest. f NULL: no effect. */
void flusher_want(struct flusher *f, struct plog *l);
void flusher_note(struct flusher *f, struct plog *l, int64_t delay_ms);

#endif
