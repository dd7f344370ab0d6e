/* base/scheduler.c - the pool of background threads.
 *
 * All jobs hang in one list in order of when they are due; there are tens, not thousands. A worker waits for the
 * first one's time, marks it running, runs it without the lock, and puts it back if it is periodic. A job is in the
 * list unless it is running or, having run once, done; whoever cancels a running job waits on `idle`.
 */
#include "base/scheduler.h"

#include "base/clock.h"
#include "base/crew.h"
#include "base/lock.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <utlist.h>

#define THREADS_MAX 64

struct job {
    /* fixed */
    const char *name;
    job_fn     *fn;
    void       *arg;
    int64_t     period_ms;
    bool        unowned;                /* nobody holds it: free after its one run */
    /* under the scheduler's lock */
    int64_t     due_ns;
    bool        running, queued, cancelled, again;
    struct job *prev, *next;            /* in `queue` */
    struct job *all_prev, *all_next;    /* in `all` */
};

struct scheduler {
    /* under `lock` (class scheduler) */
    struct lock lock;
    struct crew crew;
    struct cond work;                   /* the queue's head changed, or stop */
    struct cond idle;                   /* a job has ended */
    struct job *queue;                  /* by due_ns */
    struct job *all;
    bool        stop;
};

static int by_due(const struct job *a, const struct job *b)
{
    return (a->due_ns > b->due_ns) - (a->due_ns < b->due_ns);
}

static void enqueue(struct scheduler *s, struct job *j)
{
    lock_assert(&s->lock);
    DL_INSERT_INORDER(s->queue, j, by_due);
    j->queued = true;
    cond_signal(&s->work);
}

static void dequeue(struct scheduler *s, struct job *j)
{
    lock_assert(&s->lock);
    DL_DELETE(s->queue, j);
    j->queued = false;
}

static void job_drop(struct scheduler *s, struct job *j)
{
    DL_DELETE2(s->all, j, all_prev, all_next);
    free(j);
}

static void job_run(struct scheduler *s, struct job *j)
{
    dequeue(s, j);
    if (s->queue != NULL)
        cond_signal(&s->work);          /* somebody else must wait for the next one's time now */
    j->running = true;
    lock_drop(&s->lock);
    j->fn(j->arg);
    lock_assert_none();
    lock_take(&s->lock);
    j->running = false;
    if (!j->cancelled && !s->stop && (j->period_ms > 0 || j->again)) {
        j->due_ns = mono_ns() + (j->again ? 0 : j->period_ms * 1000000);
        j->again = false;
        enqueue(s, j);
    } else if (j->unowned) {
        job_drop(s, j);
    }
    cond_broadcast(&s->idle);
}

static void *worker(void *arg)
{
    struct crew_member *me = arg;
    struct scheduler *s = me->arg;

    lock_take(&s->lock);
    while (!s->stop && !crew_leave(me)) {
        struct job *j = s->queue;
        if (j == NULL)
            cond_wait(&s->work, &s->lock);
        else if (j->due_ns > mono_ns())
            (void)cond_wait_until(&s->work, &s->lock, j->due_ns);
        else
            job_run(s, j);
    }
    cond_signal(&s->work);              /* who leaves may have been the one that was woken for a job */
    lock_drop(&s->lock);
    return NULL;
}

int scheduler_resize(struct scheduler *s, int threads)
{
    int rc;

    lock_take(&s->lock);
    rc = crew_resize(&s->crew, threads < 1 ? 1 : threads > THREADS_MAX ? THREADS_MAX : threads);
    cond_broadcast(&s->work);           /* those that are too many */
    lock_drop(&s->lock);
    return rc;
}

int scheduler_new(struct scheduler **out, int threads)
{
    struct scheduler *s = calloc(1, sizeof *s);
    int rc;

    if (s == NULL)
        return ERR_NOMEM;
    lock_init(&s->lock, LOCK_scheduler);
    cond_init(&s->work);
    cond_init(&s->idle);
    crew_init(&s->crew, "background", worker, s, 0);
    rc = scheduler_resize(s, threads);
    if (rc != OK) {
        scheduler_free(&s);
        return rc;
    }
    *out = s;
    return OK;
}

void scheduler_free(struct scheduler **sp)
{
    struct scheduler *s = *sp;
    struct job *j, *tmp;

    if (s == NULL)
        return;
    lock_take(&s->lock);
    s->stop = true;
    cond_broadcast(&s->work);
    lock_drop(&s->lock);
    crew_join(&s->crew);
    DL_FOREACH_SAFE2(s->all, j, tmp, all_next) {
        DL_DELETE2(s->all, j, all_prev, all_next);
        free(j);
    }
    cond_fini(&s->idle);
    cond_fini(&s->work);
    lock_fini(&s->lock);
    free(s);
    *sp = NULL;
}

int scheduler_add(struct scheduler *s, const char *name, int64_t delay_ms, int64_t period_ms, job_fn *fn, void *arg,
                  struct job **out)
{
    struct job *j = calloc(1, sizeof *j);

    assert(out != NULL || period_ms == 0);
    if (j == NULL)
        return ERR_NOMEM;
    j->name = name;
    j->fn = fn;
    j->arg = arg;
    j->period_ms = period_ms;
    j->unowned = out == NULL;
    j->due_ns = mono_ns() + delay_ms * 1000000;
    lock_take(&s->lock);
    DL_APPEND2(s->all, j, all_prev, all_next);
    enqueue(s, j);
    lock_drop(&s->lock);
    if (out != NULL)
        *out = j;
    return OK;
}

void job_cancel(struct scheduler *s, struct job **jp)
{
    struct job *j = *jp;

    if (j == NULL)
        return;
    lock_take(&s->lock);
    j->cancelled = true;
    while (j->running)
        cond_wait(&s->idle, &s->lock);
    if (j->queued)
        dequeue(s, j);
    job_drop(s, j);
    lock_drop(&s->lock);
    *jp = NULL;
}

void job_now(struct scheduler *s, struct job *j)
{
    lock_take(&s->lock);
    if (j->queued) {
        dequeue(s, j);
        j->due_ns = mono_ns();
        enqueue(s, j);
    } else if (j->running) {
        j->again = true;
    }
    lock_drop(&s->lock);
}
