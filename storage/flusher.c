/* storage/flusher.c - the queue and the threads of group commit.
 *
 * A log is in one list at most: `queue` (as soon as possible, in order of asking) or `timed` (by the time they are
 * due). While a thread has it, it is in neither; a wish that comes then is remembered in the log and queues it again.
 */
#include "storage/flusher.h"

#include "base/clock.h"
#include "base/log.h"
#include "storage/plog_impl.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <utlist.h>

#define THREADS   4                     /* for one directory */
#define RETRY_MS  100                   /* without memory or descriptors */
#define NS_PER_MS INT64_C(1000000)
#define FAR_MS    (INT64_C(1) << 40)    /* longer than this is never */

struct flusher {
    struct logdir *dir;
    pthread_t      threads[THREADS];
    int            running;             /* the caller's of start and stop */
    /* under `lock` (class logflush) */
    struct lock    lock;
    struct cond    wake;                /* something is queued, or due earlier than was known */
    struct cond    quiet;               /* calls of done() have ended */
    struct plog   *queue;               /* DL by flush_prev, flush_next */
    struct plog   *timed;               /* the same, the earliest first */
    bool           stop;
    flush_done_fn *done;
    void          *arg;
    int            calling;             /* threads that are in done() */
    int64_t        wishes, flushes;     /* so far */
};

/* ---- the lists; under the lock ------------------------------------------------------------------------------- */

static void queue_add(struct flusher *f, struct plog *l)
{
    l->flush_state = FLUSH_QUEUED;
    DL_APPEND2(f->queue, l, flush_prev, flush_next);
    cond_signal(&f->wake);
}

/* Most come in the order in which they are due: the place is looked for from the end. */
static void timed_add(struct flusher *f, struct plog *l, int64_t due_ns)
{
    struct plog *at = f->timed != NULL ? f->timed->flush_prev : NULL;

    l->flush_state = FLUSH_TIMED;
    atomic_store_explicit(&l->flush_due_ns, due_ns, memory_order_relaxed);
    while (at != NULL && atomic_load_explicit(&at->flush_due_ns, memory_order_relaxed) > due_ns)
        at = at == f->timed ? NULL : at->flush_prev;
    if (at == NULL) {
        DL_PREPEND2(f->timed, l, flush_prev, flush_next);
        cond_signal(&f->wake);
    } else {
        DL_APPEND_ELEM2(f->timed, at, l, flush_prev, flush_next);
    }
}

static void timed_remove(struct flusher *f, struct plog *l)
{
    DL_DELETE2(f->timed, l, flush_prev, flush_next);
    atomic_store_explicit(&l->flush_due_ns, 0, memory_order_relaxed);
}

void flusher_want(struct flusher *f, struct plog *l)
{
    if (f == NULL)
        return;
    lock_take(&f->lock);
    f->wishes++;
    switch (l->flush_state) {
    case FLUSH_NONE:
        plog_ref(l);
        queue_add(f, l);
        break;
    case FLUSH_TIMED:
        timed_remove(f, l);
        queue_add(f, l);
        break;
    case FLUSH_QUEUED:
        break;                          /* its bytes are counted when a thread takes it */
    case FLUSH_RUNNING:
        l->flush_again = true;
        break;
    }
    lock_drop(&f->lock);
}

void flusher_note(struct flusher *f, struct plog *l, int64_t delay_ms)
{
    int64_t due, old;

    if (f == NULL || delay_ms > FAR_MS)
        return;
    due = mono_ns() + delay_ms * NS_PER_MS;
    old = atomic_load_explicit(&l->flush_due_ns, memory_order_relaxed);
    if (old != 0 && old <= due)
        return;                         /* taken out of the list only by a flush that sees what the caller has done */
    lock_take(&f->lock);
    old = atomic_load_explicit(&l->flush_due_ns, memory_order_relaxed);
    if (l->flush_state == FLUSH_RUNNING) {
        if (l->flush_later_ns == 0 || due < l->flush_later_ns)
            l->flush_later_ns = due;
    } else if (l->flush_state == FLUSH_NONE) {
        plog_ref(l);
        timed_add(f, l, due);
    } else if (l->flush_state == FLUSH_TIMED && due < old) {
        timed_remove(f, l);
        timed_add(f, l, due);
    }
    lock_drop(&f->lock);
}

/* ---- the threads --------------------------------------------------------------------------------------------- */

/* What is due moves to the queue; when the next will be. Under the lock. */
static int64_t move_due(struct flusher *f)
{
    int64_t now = f->timed != NULL ? mono_ns() : 0;

    while (f->timed != NULL) {
        struct plog *l = f->timed;
        int64_t due = atomic_load_explicit(&l->flush_due_ns, memory_order_relaxed);
        if (due > now)
            return due;
        timed_remove(f, l);
        queue_add(f, l);
    }
    return INT64_MAX;
}

/* Back into a list, if anything is left to do. Under the lock. */
static void requeue(struct flusher *f, struct plog *l, int rc)
{
    int64_t due = l->flush_later_ns;

    l->flush_state = FLUSH_NONE;
    if (rc == ERR_AGAIN || rc == ERR_NOMEM)
        due = mono_ns() + RETRY_MS * NS_PER_MS;
    else if (l->flush_again)
        due = 0;
    else if (due == 0)
        return;
    if (f->stop)
        return;
    plog_ref(l);
    if (due == 0)
        queue_add(f, l);
    else
        timed_add(f, l, due);
}

/* Flushes one log and tells of it. Called and left with the lock held; gives the queue's reference back. */
static void flush_one(struct flusher *f, struct plog *l)
{
    flush_done_fn *done;
    void *arg;
    int rc;

    DL_DELETE2(f->queue, l, flush_prev, flush_next);
    l->flush_state = FLUSH_RUNNING;
    l->flush_again = false;
    l->flush_later_ns = 0;
    f->flushes++;
    lock_drop(&f->lock);
    rc = plog_flush(l);
    lock_take(&f->lock);
    done = f->done;
    arg = f->arg;
    f->calling += done != NULL;
    requeue(f, l, rc);
    lock_drop(&f->lock);
    if (done != NULL)
        done(arg, l);
    plog_unref(&l);
    lock_take(&f->lock);
    f->calling -= done != NULL;
    if (f->calling == 0)
        cond_broadcast(&f->quiet);
}

static void *flusher_main(void *arg)
{
    struct flusher *f = arg;

    pthread_setname_np(pthread_self(), "flush");
    lock_take(&f->lock);
    while (!f->stop) {
        int64_t due = move_due(f);
        if (f->queue != NULL)
            flush_one(f, f->queue);
        else if (due == INT64_MAX)
            cond_wait(&f->wake, &f->lock);
        else
            (void)cond_wait_until(&f->wake, &f->lock, due);
    }
    lock_drop(&f->lock);
    return NULL;
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

void flusher_on_done(struct flusher *f, flush_done_fn *fn, void *arg)
{
    lock_take(&f->lock);
    f->done = fn;
    f->arg = arg;
    while (f->calling > 0)
        cond_wait(&f->quiet, &f->lock);
    lock_drop(&f->lock);
}

int flusher_new(struct flusher **out, struct logdir *d)
{
    struct flusher *f = calloc(1, sizeof *f);

    if (f == NULL)
        return ERR_NOMEM;
    f->dir = d;
    lock_init(&f->lock, LOCK_logflush);
    cond_init(&f->wake);
    cond_init(&f->quiet);
    *out = f;
    return OK;
}

int flusher_start(struct flusher *f)
{
    for (int i = 0; i < THREADS; i++) {
        int err = pthread_create(&f->threads[i], NULL, flusher_main, f);
        if (err != 0) {
            log_error("%s: the threads that flush cannot be started: %s", f->dir->path, strerror(err));
            return ERR_SYSTEM;          /* those that run are ended by flusher_stop() */
        }
        f->running++;
    }
    return OK;
}

/* Under the lock: all of a list, which it leaves empty. */
static struct plog *forget(struct plog **list)
{
    struct plog *all = *list, *l;

    *list = NULL;
    DL_FOREACH2(all, l, flush_next) {
        l->flush_state = FLUSH_NONE;
        atomic_store_explicit(&l->flush_due_ns, 0, memory_order_relaxed);
    }
    return all;
}

void flusher_stop(struct flusher *f)
{
    struct plog *lists[2], *next;

    lock_take(&f->lock);
    f->stop = true;
    cond_broadcast(&f->wake);
    lock_drop(&f->lock);
    for (; f->running > 0; f->running--)
        pthread_join(f->threads[f->running - 1], NULL);
    lock_take(&f->lock);
    lists[0] = forget(&f->queue);
    lists[1] = forget(&f->timed);
    lock_drop(&f->lock);
    for (int i = 0; i < 2; i++) {
        for (struct plog *l = lists[i]; l != NULL; l = next) {
            next = l->flush_next;
            plog_unref(&l);
        }
    }
    if (f->flushes > 0)
        log_info("%s: %" PRId64 " flushes, for which appends had asked %" PRId64 " times", f->dir->path, f->flushes,
                 f->wishes);
    f->flushes = 0;
}

void flusher_free(struct flusher **fp)
{
    struct flusher *f = *fp;

    if (f == NULL)
        return;
    flusher_stop(f);
    cond_fini(&f->quiet);
    cond_fini(&f->wake);
    lock_fini(&f->lock);
    free(f);
    *fp = NULL;
}
