/* storage/cleaner.c - the threads that compact logs. */
#include "storage/cleaner.h"

#include "base/clock.h"
#include "base/crew.h"
#include "base/log.h"
#include "storage/cleaner_choose.h"
#include "storage/cleaner_pass.h"
#include "storage/fio.h"
#include "storage/killpoint.h"
#include "storage/plog_impl.h"

#include <inttypes.h>
#include <stdlib.h>

#define IO_BYTES_MIN  4096
#define PAUSE_MIN_MS  10                /* log.cleaner.backoff.ms=0 is no reason to spin */
#define RETRY_MS      60000             /* after the first failure; doubled up to ... */
#define RETRY_MAX_MS  3600000
#define AGAIN_MS      1000              /* after a truncation or retention came between */
#define UNPACED       1e15              /* bytes a second that nobody reaches */

struct cleaner {
    /* fixed */
    struct logmgr      *m;
    int64_t           (*now_ms)(void);
    cleaner_save_fn    *save;
    void               *save_arg;
    /* under `lock` (class cleaner) */
    struct lock         lock;
    struct cleaner_opts o;
    uint64_t            changes;        /* of `o` */
    struct crew         crew;
    struct cond         wake;
    bool                stop;
    uint64_t            looks;          /* calls of cleaner_wake() */
    int64_t             free_ns;        /* when the bytes so far may have been read and written */
    struct cleaner_stats stats;
    /* of the first thread */
    int64_t             saved;          /* sum of the offsets that the checkpoints have */
};

/* ---- pace ---------------------------------------------------------------------------------------------------- */

struct pace {
    struct cleaner *c;
    struct plog    *log;
};

static bool stopping(struct cleaner *c)
{
    bool yes;

    lock_take(&c->lock);
    yes = c->stop;
    lock_drop(&c->lock);
    return yes;
}

static int pace(void *arg, size_t bytes)
{
    struct pace *p = arg;
    struct cleaner *c = p->c;
    uint64_t changes;
    int64_t until;
    bool stop;

    TRY(plog_usable(p->log));
    lock_take(&c->lock);
    changes = c->changes;
    if (c->o.io_bytes_per_s < UNPACED) {
        int64_t now = mono_ns();
        if (c->free_ns < now)
            c->free_ns = now;
        until = c->free_ns;
        c->free_ns += (int64_t)((double)bytes / (c->o.io_bytes_per_s > 1 ? c->o.io_bytes_per_s : 1) * 1e9);
        while (!c->stop && c->changes == changes && cond_wait_until(&c->wake, &c->lock, until)) {
        }
    }
    stop = c->stop;
    lock_drop(&c->lock);
    return stop ? ERR_CLOSED : OK;
}

/* ---- one log ------------------------------------------------------------------------------------------------- */

/* False: another thread was faster. */
static bool claim(struct plog *l)
{
    bool mine;

    lock_take(&l->lock);
    mine = !l->cleaning && !l->truncating;
    if (mine)
        l->cleaning = true;
    lock_drop(&l->lock);
    return mine;
}

/* How long until the log is looked at again; 0: at once. */
static int64_t retry_after(int rc, int failures)
{
    int64_t ms = RETRY_MS;

    if (rc == OK)
        return 0;
    if (rc == ERR_AGAIN || rc == ERR_CLOSED || rc == ERR_OFFLINE)
        return AGAIN_MS;
    while (--failures > 0 && ms < RETRY_MAX_MS)
        ms *= 2;
    return ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
}

static bool is_failure(int rc)
{
    return retry_after(rc, 1) > AGAIN_MS;
}

/* Gives the log back, with what has become of it; milliseconds until the next try. */
static int64_t release(struct plog *l, int rc, const struct cleaner_result *r)
{
    int64_t after;

    lock_take(&l->lock);
    l->cleaning = false;
    if (rc == OK && r->cuts == l->cuts)     /* else a truncation has just said how far it is compacted */
        l->cleaned_to = r->end <= plog_active(l)->base ? r->end : plog_active(l)->base;
    l->clean_failures = is_failure(rc) ? l->clean_failures + 1 : rc == OK ? 0 : l->clean_failures;
    after = retry_after(rc, l->clean_failures);
    l->clean_retry_ns = after > 0 ? mono_ns() + after * 1000000 : 0;
    lock_drop(&l->lock);
    return after;
}

static void tell(struct plog *l, int rc, const struct cleaner_result *r, int64_t ms, int64_t after_ms)
{
    bool placed = r->where[0] != '\0';

    if (rc == OK)
        log_info("%s: compacted up to offset %" PRId64 ": %zu segments to %zu, %" PRId64 " of %" PRId64 " records "
                 "stay, %" PRId64 " KB written, %zu keys, %" PRId64 " ms", plog_name(l), r->end, r->segments_in,
                 r->segments_out, r->records_out, r->records_in, r->written_bytes / 1000, r->keys, ms);
    else if (is_failure(rc))
        log_error("%s: cannot be compacted: %s%s%s; nothing is lost, it only grows; it is tried again in %" PRId64
                  " min%s", plog_name(l), fio_text(rc), placed ? ", in " : "", r->where, after_ms / 60000,
                  placed && rc != ERR_NOSPACE && rc != ERR_NOMEM ? "; restore that file from a copy" : "");
}

static void count(struct cleaner *c, int rc, const struct cleaner_result *r)
{
    lock_take(&c->lock);
    c->stats.cleanings += rc == OK;
    c->stats.failures += is_failure(rc);
    c->stats.read_bytes += r->read_bytes;
    c->stats.written_bytes += r->written_bytes;
    lock_drop(&c->lock);
}

static void clean(struct cleaner *c, struct plog *l, const struct cleanable *what)
{
    int64_t start = mono_ms(), io, after;
    struct pace p = { c, l };
    struct cleaner_job job = { .from = what->from, .uncleanable = what->uncleanable, .pace = pace, .pace_arg = &p };
    struct cleaner_result r;
    int rc;

    lock_take(&c->lock);
    io = c->o.io_bytes / c->o.threads / 2;
    job.map_bytes = c->o.map_bytes / c->o.threads;
    job.map_load = c->o.map_load;
    lock_drop(&c->lock);
    job.io_bytes = (size_t)(io > IO_BYTES_MIN ? io : IO_BYTES_MIN);
    rc = cleaner_clean(l, &job, &r);
    if (rc != OK && stopping(c))
        rc = ERR_CLOSED;
    count(c, rc, &r);
    after = release(l, rc, &r);
    tell(l, rc, &r, mono_ms() - start, after);
    KILL_POINT("clean.before_checkpoint");
    if (rc == OK && c->save(c->save_arg) != OK && plog_usable(l) == OK)
        log_warn("%s: how far it is compacted cannot be written down now; after a crash it is compacted once more",
                 plog_name(l));
}

/* ---- all logs ------------------------------------------------------------------------------------------------ */

struct choice {
    struct plog     *log;               /* a reference; NULL: none */
    struct cleanable what;
    size_t           set_aside;
    double           max_ratio;
    int64_t          sum;               /* of all offsets that logs are compacted to */
};

static void look_at(struct cleaner *c, struct plog *l, struct choice *best)
{
    struct cleanable what;
    bool waits, compact;

    lock_take(&l->lock);
    compact = l->opts.compact_policy;
    best->sum += l->cleaned_to;
    waits = l->clean_retry_ns > mono_ns();
    best->set_aside += compact && l->clean_failures > 0;
    lock_drop(&l->lock);
    if (!compact || cleaner_look(l, c->now_ms(), &what) != OK)
        return;
    if (what.ratio > best->max_ratio)
        best->max_ratio = what.ratio;
    if (waits || !what.due || (best->log != NULL && what.ratio <= best->what.ratio))
        return;
    plog_unref(&best->log);
    best->log = plog_ref(l);
    best->what = what;
}

/* The dirtiest of those that are due. */
static void choose(struct cleaner *c, struct choice *best)
{
    struct plog **logs;
    size_t n;

    *best = (struct choice){ 0 };
    if (logmgr_list(c->m, &logs, &n) != OK)
        return;
    for (size_t i = 0; i < n; i++)
        look_at(c, logs[i], best);
    logmgr_list_free(&logs, n);
    lock_take(&c->lock);
    c->stats.set_aside = best->set_aside;
    c->stats.max_ratio = best->max_ratio;
    lock_drop(&c->lock);
}

static void retain_compacted(struct cleaner *c)
{
    struct plog **logs;
    size_t n, gone;

    if (logmgr_list(c->m, &logs, &n) != OK)
        return;
    for (size_t i = 0; i < n; i++) {
        bool compact;
        int rc = OK;
        lock_take(&logs[i]->lock);
        compact = logs[i]->opts.compact_policy;
        lock_drop(&logs[i]->lock);
        if (compact)
            rc = plog_retain(logs[i], c->now_ms(), &gone);
        if (rc != OK && rc != ERR_CLOSED && rc != ERR_OFFLINE)
            log_warn("%s: old segments cannot be removed now: %s; it is tried again", plog_name(logs[i]), fio_text(rc));
    }
    logmgr_list_free(&logs, n);
}

/* One log, if one is due. False: there was nothing to do. */
static bool work(struct cleaner *c, bool first)
{
    struct choice best;
    bool done;

    choose(c, &best);
    /* A truncation has taken back what a checkpoint says. What fails is tried again. */
    if (first && best.sum != c->saved && c->save(c->save_arg) == OK)
        c->saved = best.sum;
    done = best.log != NULL && claim(best.log);
    if (done)
        clean(c, best.log, &best.what);
    plog_unref(&best.log);
    return done;
}

static uint64_t looks_wished(struct cleaner *c)
{
    uint64_t n;

    lock_take(&c->lock);
    n = c->looks;
    lock_drop(&c->lock);
    return n;
}

/* `looks`: as they were before the last look, for somebody may have wished for another one since. */
static void pause_a_while(struct cleaner *c, uint64_t looks)
{
    int64_t ms, until;

    lock_take(&c->lock);
    ms = c->o.backoff_ms > PAUSE_MIN_MS ? c->o.backoff_ms : PAUSE_MIN_MS;
    until = mono_ns() + (ms < INT64_MAX / 2000000 ? ms * 1000000 : INT64_MAX / 2);
    while (!c->stop && c->looks == looks && cond_wait_until(&c->wake, &c->lock, until)) {
    }
    lock_drop(&c->lock);
}

/* True: this thread ends; the first one stays as long as there is a cleaner. */
static bool leaves(struct cleaner *c, struct crew_member *me)
{
    bool yes;

    lock_take(&c->lock);
    yes = c->stop || (me->index > 0 && crew_leave(me));
    lock_drop(&c->lock);
    return yes;
}

static void *cleaner_main(void *arg)
{
    struct crew_member *me = arg;
    struct cleaner *c = me->arg;

    while (!leaves(c, me)) {
        uint64_t looks = looks_wished(c);

        if (work(c, me->index == 0))
            continue;
        if (me->index == 0)
            retain_compacted(c);
        pause_a_while(c, looks);
    }
    return NULL;
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

int cleaner_configure(struct cleaner *c, const struct cleaner_opts *o)
{
    int rc;

    lock_take(&c->lock);
    c->o = *o;
    if (c->o.threads < 1)
        c->o.threads = 1;
    c->changes++;
    c->looks++;
    c->free_ns = 0;
    rc = crew_resize(&c->crew, c->o.threads);
    cond_broadcast(&c->wake);
    lock_drop(&c->lock);
    if (rc != OK)
        log_error("a thread of the log cleaner cannot be started: %s", err_text(rc));
    return rc;
}

int cleaner_new(struct cleaner **out, struct logmgr *m, const struct cleaner_opts *o, int64_t (*now_ms)(void),
                cleaner_save_fn *save, void *arg)
{
    struct cleaner *c = calloc(1, sizeof *c);
    int rc;

    if (c == NULL)
        return ERR_NOMEM;
    c->m = m;
    c->now_ms = now_ms;
    c->save = save;
    c->save_arg = arg;
    lock_init(&c->lock, LOCK_cleaner);
    cond_init(&c->wake);
    crew_init(&c->crew, "cleaner", cleaner_main, c, 0);
    rc = cleaner_configure(c, o);
    if (rc != OK)
        cleaner_free(&c);
    *out = c;
    return rc;
}

void cleaner_wake(struct cleaner *c)
{
    lock_take(&c->lock);
    c->looks++;
    cond_broadcast(&c->wake);
    lock_drop(&c->lock);
}

void cleaner_stats(struct cleaner *c, struct cleaner_stats *out)
{
    lock_take(&c->lock);
    *out = c->stats;
    lock_drop(&c->lock);
}

void cleaner_stop(struct cleaner *c)
{
    if (c == NULL)
        return;
    lock_take(&c->lock);
    c->stop = true;
    cond_broadcast(&c->wake);
    lock_drop(&c->lock);
    crew_join(&c->crew);
}

void cleaner_free(struct cleaner **cp)
{
    struct cleaner *c = *cp;

    if (c == NULL)
        return;
    cleaner_stop(c);
    cond_fini(&c->wake);
    lock_fini(&c->lock);
    free(c);
    *cp = NULL;
}
