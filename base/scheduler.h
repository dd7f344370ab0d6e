/* base/scheduler.h - a small pool of background threads that run jobs later, once or again and again.
 *
 * OWNER    the caller owns the scheduler; the scheduler owns its jobs. A job belongs to whoever added it until
 *          job_cancel(); a job that ran once and was not cancelled is freed by scheduler_free().
 * LOCKS    `scheduler` inside, not held while a job runs. A job runs with no ranked lock held and never twice at the
 *          same time.
 * UNITS    milliseconds on the monotonic clock. A periodic job is due again period_ms after its last run ended.
 * FAILURE  ERR_NOMEM, ERR_SYSTEM (no thread). A job has no result: it logs what went wrong.
 */
#ifndef BASE_SCHEDULER_H
#define BASE_SCHEDULER_H

#include "base/err.h"

#include <stdint.h>

struct scheduler;
struct job;

typedef void job_fn(void *arg);

int  scheduler_new(struct scheduler **out, int threads) must_use;       /* background.threads */
int  scheduler_resize(struct scheduler *s, int threads) must_use;       /* any thread; a job that runs is not ended */
void scheduler_free(struct scheduler **s);      /* waits for running jobs, drops the others; NULL-safe */

/* First run after delay_ms, then every period_ms (0: only once). *out may be NULL for a job that is never cancelled
 * and runs once: then it is freed when it has run. name is a literal, for messages. */
int  scheduler_add(struct scheduler *s, const char *name, int64_t delay_ms, int64_t period_ms,
                   job_fn *fn, void *arg, struct job **out) must_use;

/* After it returns the job is not running, will not run again, and is freed. *j becomes NULL; NULL-safe. Must not be
 * called by the job itself, nor while holding a lock that the job takes. */
void job_cancel(struct scheduler *s, struct job **j);
void job_now(struct scheduler *s, struct job *j);       /* due at once; a running periodic job runs once more */

#endif
