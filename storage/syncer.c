/* storage/syncer.c - rounds of fsync for one log directory, off the paths of requests.
 *
 * A round is invariant 10 for many logs at once: begin each, sync all files, rename, sync the directories, move the
 * recovery points, write their checkpoint, end each. Whatever fails takes its log out of the round; a failed fsync
 * has taken the whole directory offline by then.
 */
#include "storage/syncer.h"

#include "base/clock.h"
#include "base/log.h"
#include "storage/fio.h"
#include "storage/plog_impl.h"

#include <pthread.h>
#include <stdlib.h>
#include <utlist.h>

#define MANY_LOGS   64                  /* from here on one syncfs costs less than an fsync for each file */
#define RETRY_MS    5000                /* after a full disk */

struct syncer {
    struct logdir   *dir;
    syncer_round_fn *after;
    void            *arg;
    struct flusher  *flusher;           /* fixed */
    pthread_t        thread;
    bool             running;           /* the caller's of start and stop */
    /* under `lock` (class logsync) */
    struct lock      lock;
    struct cond      wake;
    struct plog     *waiting;           /* DL by sync_prev, sync_next; each holds a reference */
    int64_t          wake_ns;           /* when the thread gets up at the latest */
    bool             dir_dirty;
    bool             stop;
};

struct round {
    struct sync_item *items;
    size_t            n;
    bool              files;            /* some item has new files: the log directory is synced too */
};

void syncer_note(struct syncer *s, struct plog *l, int64_t delay_ms, bool data)
{
    int64_t due = mono_ns() + delay_ms * 1000000, old;

    if (s == NULL || atomic_load_explicit(&l->future, memory_order_relaxed))
        return;
    old = atomic_load_explicit(&l->sync_due_ns, memory_order_relaxed);
    if (old != 0 && old <= due)
        return;                         /* taken out of the list only by a round that sees what the caller has done */
    lock_take(&s->lock);
    old = atomic_load_explicit(&l->sync_due_ns, memory_order_relaxed);
    if (old == 0) {
        plog_ref(l);
        DL_APPEND2(s->waiting, l, sync_prev, sync_next);
    }
    if (old == 0)
        l->sync_data = false;
    if (old == 0 || due < old)
        atomic_store_explicit(&l->sync_due_ns, due, memory_order_relaxed);
    l->sync_data |= data;               /* data that waits already goes along; else it would wait anew */
    if (due < s->wake_ns) {
        s->wake_ns = due;
        cond_signal(&s->wake);
    }
    lock_drop(&s->lock);
}

void syncer_note_dir(struct syncer *s)
{
    if (s == NULL)
        return;
    lock_take(&s->lock);
    s->dir_dirty = true;
    lock_drop(&s->lock);
}

void syncer_flush(struct syncer *s, struct plog *l)
{
    if (!atomic_load_explicit(&l->future, memory_order_relaxed))
        flusher_want(s != NULL ? s->flusher : NULL, l);
}

void syncer_flush_by(struct syncer *s, struct plog *l, int64_t delay_ms)
{
    if (!atomic_load_explicit(&l->future, memory_order_relaxed))
        flusher_note(s != NULL ? s->flusher : NULL, l, delay_ms);
}

void syncer_on_flushed(struct syncer *s, flush_done_fn *fn, void *arg)
{
    if (s != NULL)
        flusher_on_done(s->flusher, fn, arg);
}

/* ---- a round ------------------------------------------------------------------------------------------------- */

static int sync_files(struct syncer *s, struct round *r)
{
    if (r->n >= MANY_LOGS)
        return logdir_check(s->dir, fio_sync_all(s->dir->fd), "syncfs", "");
    for (size_t i = 0; i < r->n; i++)
        TRY(plog_sync_files(&r->items[i]));
    return OK;
}

static int sync_directories(struct syncer *s, struct round *r, bool dir_dirty)
{
    for (size_t i = 0; i < r->n; i++)
        r->files |= r->items[i].files;
    for (size_t i = 0; i < r->n; i++)
        TRY(plog_sync_rename(&r->items[i]));
    if (r->n >= MANY_LOGS)
        return logdir_check(s->dir, fio_sync_all(s->dir->fd), "syncfs", "");
    for (size_t i = 0; i < r->n; i++)
        TRY(plog_sync_dir(&r->items[i]));
    if (!r->files && !dir_dirty)
        return OK;
    return logdir_check(s->dir, fio_sync_path(s->dir->fd, ".", true), "fsync", ".");
}

static int run_round(struct syncer *s, struct round *r, bool dir_dirty)
{
    bool checkpointed = false;
    int rc = sync_files(s, r);

    if (rc == OK)
        rc = sync_directories(s, r, dir_dirty);
    for (size_t i = 0; i < r->n && rc == OK; i++)
        plog_sync_done(&r->items[i]);
    if (rc == OK)
        rc = s->after(s->arg, true);
    checkpointed = rc == OK;
    for (size_t i = 0; i < r->n; i++)
        plog_sync_end(&r->items[i], checkpointed);
    return rc;
}

/* Begins v[i]; one that cannot be begun is left out, and its failure told. */
static int round_add(struct round *r, struct plog *l, bool data)
{
    struct sync_item *it = &r->items[r->n];
    int rc = plog_sync_begin(l, data, it);

    if (rc == OK)
        r->n++;
    else
        plog_sync_end(it, false);
    return rc == ERR_CLOSED ? OK : rc;
}

/* What the round left over, or found no room for, comes again; a deleted log does not. */
static void note_rest(struct syncer *s, struct plog *l, int rc)
{
    if (plog_usable(l) == ERR_CLOSED)
        return;
    if (rc == OK && plog_wants_sync(l))
        syncer_note(s, l, s->dir->opts.sync_checkpoint_ms, true);
    else if (rc != OK && plog_wants_sync(l) && !logdir_offline(s->dir))
        syncer_note(s, l, RETRY_MS, true);
}

static void sync_these(struct syncer *s, struct plog **v, bool *data, size_t n, bool dir_dirty)
{
    static struct log_limit limit = LOG_LIMIT(10000, 2);
    struct round r = { .items = calloc(n > 0 ? n : 1, sizeof *r.items) };
    int hidden, rc = r.items != NULL ? OK : ERR_NOMEM;

    for (size_t i = 0; i < n && r.items != NULL; i++) {
        int one = round_add(&r, v[i], data[i]);
        if (one != OK && one != ERR_CLOSED)
            rc = one;
    }
    if (r.items != NULL) {
        int whole = run_round(s, &r, dir_dirty);
        if (whole != OK)
            rc = whole;
    }
    if (rc == ERR_NOSPACE)
        (void)space_release(s->dir, "making it durable");
    if (rc != OK && !logdir_offline(s->dir) && log_limit(&limit, &hidden))
        log_warn("%s: what was written cannot be made durable now: %s; it is tried again in %d s", s->dir->path,
                 fio_text(rc), RETRY_MS / 1000);
    for (size_t i = 0; i < n; i++)
        note_rest(s, v[i], rc);
    if (rc != OK && dir_dirty)
        syncer_note_dir(s);
    free(r.items);
}

int syncer_all(struct syncer *s, struct plog **v, size_t n)
{
    struct round r = { .items = calloc(n > 0 ? n : 1, sizeof *r.items) };
    int rc = r.items != NULL ? OK : ERR_NOMEM;

    for (size_t i = 0; i < n && rc == OK; i++)
        if (plog_wants_sync(v[i]))
            rc = round_add(&r, v[i], true);
    if (rc == OK) {
        rc = run_round(s, &r, true);
    } else {
        for (size_t i = 0; i < r.n; i++)
            plog_sync_end(&r.items[i], false);
    }
    free(r.items);
    return rc;
}

int syncer_checkpoint(struct syncer *s)
{
    return s != NULL ? s->after(s->arg, true) : OK;
}

/* ---- the thread ---------------------------------------------------------------------------------------------- */

/* Takes what is due out of the list, references and all. Under the lock. */
static size_t take_due(struct syncer *s, int64_t now, struct plog **v, bool *data, size_t max)
{
    struct plog *l, *tmp;
    size_t n = 0;

    DL_FOREACH_SAFE2(s->waiting, l, tmp, sync_next) {
        if (n == max)
            break;
        if (atomic_load_explicit(&l->sync_due_ns, memory_order_relaxed) > now)
            continue;
        DL_DELETE2(s->waiting, l, sync_prev, sync_next);
        atomic_store_explicit(&l->sync_due_ns, 0, memory_order_relaxed);
        data[n] = l->sync_data;
        v[n++] = l;
    }
    return n;
}

static int64_t next_due(const struct syncer *s)
{
    int64_t due = INT64_MAX;
    struct plog *l;

    DL_FOREACH2(s->waiting, l, sync_next) {
        int64_t d = atomic_load_explicit(&l->sync_due_ns, memory_order_relaxed);
        if (d < due)
            due = d;
    }
    return due;
}

#define ROUND_MAX 4096

/* One round if anything is due. Called and left with the lock held. */
static void maybe_round(struct syncer *s, struct plog **v, bool *data)
{
    size_t n = take_due(s, mono_ns(), v, data, ROUND_MAX);
    bool dir_dirty = s->dir_dirty;

    s->dir_dirty = false;
    lock_drop(&s->lock);
    if (logdir_offline(s->dir))
        (void)s->after(s->arg, false);
    else if (n > 0 || dir_dirty)
        sync_these(s, v, data, n, dir_dirty);
    else
        (void)s->after(s->arg, false);
    for (size_t i = 0; i < n; i++)
        plog_unref(&v[i]);
    lock_take(&s->lock);
}

static void *syncer_main(void *arg)
{
    struct syncer *s = arg;
    struct plog **v = calloc(ROUND_MAX, sizeof *v);
    bool *data = calloc(ROUND_MAX, sizeof *data);

    if (v == NULL || data == NULL)
        abort();                        /* at start, before anything was promised */
    pthread_setname_np(pthread_self(), "sync");
    lock_take(&s->lock);
    while (!s->stop) {
        int64_t now = mono_ns(), due = next_due(s);
        if (due > now) {
            s->wake_ns = due < now + SYNC_IDLE_MS * INT64_C(1000000) ? due : now + SYNC_IDLE_MS * INT64_C(1000000);
            cond_wait_until(&s->wake, &s->lock, s->wake_ns);
            if (s->stop)
                break;
        }
        maybe_round(s, v, data);
    }
    lock_drop(&s->lock);
    free(v);
    free(data);
    return NULL;
}

int syncer_new(struct syncer **out, struct logdir *d, syncer_round_fn *after, void *arg)
{
    struct syncer *s = calloc(1, sizeof *s);

    if (s == NULL)
        return ERR_NOMEM;
    s->dir = d;
    s->after = after;
    s->arg = arg;
    if (flusher_new(&s->flusher, d) != OK) {
        free(s);
        return ERR_NOMEM;
    }
    s->wake_ns = INT64_MIN;             /* nobody sleeps yet: nobody is to be woken */
    lock_init(&s->lock, LOCK_logsync);
    cond_init(&s->wake);
    *out = s;
    return OK;
}

int syncer_start(struct syncer *s)
{
    int err = pthread_create(&s->thread, NULL, syncer_main, s);

    if (err != 0) {
        log_error("%s: the thread that syncs cannot be started: %s", s->dir->path, strerror(err));
        return ERR_SYSTEM;
    }
    s->running = true;
    return flusher_start(s->flusher);
}

void syncer_stop(struct syncer *s)
{
    struct plog *l, *tmp;

    flusher_stop(s->flusher);
    if (s->running) {
        lock_take(&s->lock);
        s->stop = true;
        cond_signal(&s->wake);
        lock_drop(&s->lock);
        pthread_join(s->thread, NULL);
        s->running = false;
    }
    lock_take(&s->lock);
    l = s->waiting;
    s->waiting = NULL;
    lock_drop(&s->lock);
    for (; l != NULL; l = tmp) {
        tmp = l->sync_next;
        atomic_store(&l->sync_due_ns, 0);
        plog_unref(&l);
    }
}

void syncer_free(struct syncer **sp)
{
    struct syncer *s = *sp;

    if (s == NULL)
        return;
    syncer_stop(s);
    flusher_free(&s->flusher);
    cond_fini(&s->wake);
    lock_fini(&s->lock);
    free(s);
    *sp = NULL;
}
