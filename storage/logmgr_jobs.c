/* storage/logmgr_jobs.c - what happens while the logs are in use, and the clean stop. */
#include "storage/logmgr_impl.h"

#include "base/log.h"
#include "storage/cleaner.h"
#include "storage/fio.h"
#include "storage/killpoint.h"
#include "storage/syncer.h"

#include <stdlib.h>
#include <utlist.h>

#define TRASH_MS 1000

/* ---- checkpoints --------------------------------------------------------------------------------------------- */

static void try_checkpoints(struct logmgr *m, enum checkpoint c)
{
    static struct log_limit limit = LOG_LIMIT(60000, 1);
    int hidden;

    for (size_t i = 0; i < m->dirs_n; i++) {
        struct mdir *md = &m->dirs[i];
        int rc = logdir_offline(&md->d) ? OK : mdir_checkpoint(md, c, false);
        if (rc != OK && rc != ERR_OFFLINE && log_limit(&limit, &hidden))
            log_warn("log directory %s: a checkpoint cannot be written now: %s; the one before stays, it is tried "
                     "again", md->d.path, err_text(rc));
    }
}

static void job_hw(void *arg)
{
    try_checkpoints(arg, CHECKPOINT_OF_HW);
}

static void job_start(void *arg)
{
    try_checkpoints(arg, CHECKPOINT_OF_START);
}

int logmgr_after_round(void *arg, bool round)
{
    struct mdir *md = arg;
    struct logmgr *m = md->m;

    if (logdir_offline(&md->d)) {
        /* After a round that a truncation asked for, the caller may hold locks that who is told wants. */
        if (!round && !md->offline_told && m->offline_fn != NULL) {
            md->offline_told = true;
            m->offline_fn(m->offline_arg, md->d.index, md->d.path);
        }
        return ERR_OFFLINE;
    }
    TRY(mdir_refresh(md));
    return round ? mdir_checkpoint(md, CHECKPOINT_OF_RECOVERY, true) : OK;
}

void logmgr_on_flushed(struct logmgr *m, flush_done_fn *fn, void *arg)
{
    for (size_t i = 0; i < m->dirs_n; i++)
        syncer_on_flushed(m->dirs[i].d.syncer, fn, arg);
}

/* ---- retention, expiry, files to delete ---------------------------------------------------------------------- */

static void job_retention(void *arg)
{
    static struct log_limit limit = LOG_LIMIT(60000, 5);
    struct logmgr *m = arg;
    struct plog **logs;
    size_t n, gone;
    int hidden;

    if (logmgr_list(m, &logs, &n) != OK)
        return;
    for (size_t i = 0; i < n; i++) {
        int rc = plog_retain(logs[i], m->opts.now_ms(), &gone);
        if (rc != OK && rc != ERR_CLOSED && rc != ERR_OFFLINE && log_limit(&limit, &hidden))
            log_warn("%s: old segments cannot be removed now: %s; it is tried again", plog_name(logs[i]), fio_text(rc));
    }
    logmgr_list_free(&logs, n);
}

static void job_expire(void *arg)
{
    struct logmgr *m = arg;
    struct plog **logs;
    size_t n;

    if (logmgr_list(m, &logs, &n) != OK)
        return;
    for (size_t i = 0; i < n; i++)
        plog_expire_producers(logs[i], m->opts.now_ms(), logs[i]->dir->producer_expiry_ms);
    logmgr_list_free(&logs, n);
}

static void job_trash(void *arg)
{
    struct logmgr *m = arg;

    for (size_t i = 0; i < m->dirs_n; i++)
        if (!logdir_offline(&m->dirs[i].d))
            (void)logdir_empty_trash(&m->dirs[i].d, space_full(&m->dirs[i].d));     /* room is wanted now */
}

static void job_space(void *arg)
{
    struct logmgr *m = arg;
    bool wanted = false;

    for (size_t i = 0; i < m->dirs_n; i++)
        if (!logdir_offline(&m->dirs[i].d))
            wanted |= space_check(&m->dirs[i].d);
    if (wanted)
        job_now(m->sched, m->jobs[JOB_RETENTION]);
}

static int save_cleaned(void *arg)
{
    struct logmgr *m = arg;
    int rc = OK;

    for (size_t i = 0; i < m->dirs_n; i++) {
        int one = logdir_offline(&m->dirs[i].d) ? OK : mdir_checkpoint(&m->dirs[i], CHECKPOINT_OF_CLEANER, false);
        if (one != OK)
            rc = one;
    }
    return rc;
}

int logmgr_start(struct logmgr *m, struct scheduler *s)
{
    const struct {
        const char *name;
        int64_t     delay_ms, period_ms;
        job_fn     *fn;
    } jobs[LOGMGR_JOBS_N] = {
        [JOB_RETENTION] = { "retention", m->opts.initial_task_delay_ms, m->opts.retention_check_ms, job_retention },
        [JOB_HW] = { "hw-checkpoint", m->opts.hw_checkpoint_ms, m->opts.hw_checkpoint_ms, job_hw },
        [JOB_START] = { "start-checkpoint", m->opts.start_checkpoint_ms, m->opts.start_checkpoint_ms, job_start },
        [JOB_EXPIRE] = { "producer-expiry", m->opts.producer_id_check_ms, m->opts.producer_id_check_ms, job_expire },
        [JOB_TRASH] = { "file-deletion", TRASH_MS, TRASH_MS, job_trash },
        [JOB_SPACE] = { "free-space", 0, SPACE_CHECK_MS, job_space },
    };

    m->sched = s;
    TRY(mover_start(m));
    for (size_t i = 0; i < m->dirs_n; i++)
        if (m->dirs[i].d.syncer != NULL)
            TRY(syncer_start(m->dirs[i].d.syncer));
    for (int i = 0; i < LOGMGR_JOBS_N; i++)
        TRY(scheduler_add(s, jobs[i].name, jobs[i].delay_ms, jobs[i].period_ms, jobs[i].fn, m, &m->jobs[i]));
    if (!m->opts.cleaner.enable || m->opts.cleaner.threads <= 0)
        return OK;
    return cleaner_new(&m->cleaner, m, &m->opts.cleaner, m->opts.now_ms, save_cleaned, m);
}

int logmgr_configure(struct logmgr *m, const struct logmgr_opts *o)
{
    for (size_t i = 0; i < m->dirs_n; i++)
        atomic_store(&m->dirs[i].d.producer_expiry_ms, o->producer_id_expiration_ms);
    mover_set_rate(m, o->move_bytes_per_s);
    if (m->sched == NULL) {             /* before logmgr_load() */
        m->opts.recovery_threads = o->recovery_threads;
        m->opts.cleaner = o->cleaner;
    }
    return m->cleaner != NULL ? cleaner_configure(m->cleaner, &o->cleaner) : OK;
}

/* ---- stop ---------------------------------------------------------------------------------------------------- */

/* References of the logs of one directory, and of the copies that are being made in it. */
static int list_of(struct mdir *md, struct plog ***out, size_t *n)
{
    struct log_entry *e;
    struct log_move *mv;
    struct plog **v;
    size_t moves = 0;

    *n = 0;
    lock_take(&md->m->lock);
    DL_FOREACH(md->m->moves, mv)
        moves++;
    v = *out = calloc(md->logs_n + moves + 1, sizeof(struct plog *));
    if (v != NULL)
        DL_FOREACH(md->logs, e)
            if (e->state == LOG_READY)
                v[(*n)++] = plog_ref(e->log);
    DL_FOREACH(md->m->moves, mv)
        if (v != NULL && mv->to == md && mv->log != NULL && mv->e != NULL && atomic_load(&mv->log->future))
            v[(*n)++] = plog_ref(mv->log);
    lock_drop(&md->m->lock);
    return v != NULL ? OK : ERR_NOMEM;
}

static int close_logs(struct mdir *md)
{
    struct plog **logs;
    size_t n;
    int rc;

    TRY(list_of(md, &logs, &n));
    rc = OK;
    for (size_t i = 0; i < n; i++) {
        int one = plog_close(logs[i]);
        if (one != OK)
            rc = one;
    }
    if (rc == OK)
        rc = syncer_all(md->d.syncer, logs, n);
    logmgr_list_free(&logs, n);
    TRY(rc);
    TRY(mdir_checkpoint(md, CHECKPOINT_OF_HW, true));
    TRY(mdir_checkpoint(md, CHECKPOINT_OF_START, true));
    TRY(mdir_checkpoint(md, CHECKPOINT_OF_CLEANER, false));
    return mdir_checkpoint(md, CHECKPOINT_OF_TXNS, true);       /* the last: it vouches for the others */
}

/* The marker says that no log of the directory needs a look at the next start: it was closed just now, or is as a clean
 * stop has left it. */
static int stop_dir(struct mdir *md)
{
    struct logdir *d = &md->d;
    int rc = logdir_offline(d) ? ERR_OFFLINE : close_logs(md);

    if (rc == ERR_NOSPACE && space_release(d, "closing it cleanly"))
        rc = close_logs(md);
    KILL_POINT("stop.before_marker");
    if (rc == OK && !atomic_load(&md->loaded) && !d->was_clean) {
        log_info("log directory %s: not all of its partitions were open; the next start looks at those again", d->path);
        return OK;
    }
    if (rc == OK)
        rc = clean_marker_write(d->fd);
    if (rc == ERR_NOSPACE && space_release(d, CLEAN_SHUTDOWN))
        rc = clean_marker_write(d->fd);
    if (!logdir_offline(d))
        space_close(d);
    if (rc != OK)
        log_error("log directory %s: not closed cleanly: %s; nothing that was acknowledged is lost, the next start "
                  "takes longer", d->path, err_text(rc));
    return rc;
}

int logmgr_stop(struct logmgr *m)
{
    int rc = OK;

    cleaner_stop(m->cleaner);
    logmgr_stop_loading(m);
    mover_stop(m);
    for (int i = LOGMGR_JOBS_N; i-- > 0;)       /* free-space, the last, calls for retention */
        job_cancel(m->sched, &m->jobs[i]);
    for (size_t i = 0; i < m->dirs_n; i++)
        if (m->dirs[i].d.syncer != NULL)
            syncer_stop(m->dirs[i].d.syncer);
    for (size_t i = 0; i < m->dirs_n; i++) {
        int one = m->opts_fn == NULL ? ERR_CLOSED : m->dirs[i].absent ? OK : stop_dir(&m->dirs[i]);
        if (one != OK)
            rc = one;
    }
    return rc;
}
