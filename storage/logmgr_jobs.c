/* storage/logmgr_jobs.c - what happens while the logs are in use, and the clean stop.
 *
 * The checkpoints are written from what the logs say at that moment; each goes out whole or not at all.
 */
#include "storage/logmgr_impl.h"

#include "base/log.h"
#include "storage/fio.h"
#include "storage/killpoint.h"
#include "storage/syncer.h"

#include <stdlib.h>

#define TRASH_MS 1000

/* ---- checkpoints --------------------------------------------------------------------------------------------- */

/* The offset that goes into the checkpoint; negative: no entry. */
typedef int64_t checkpoint_of(struct plog *l);

static int64_t hw_of(struct plog *l)
{
    return plog_offsets(l).hw;
}

/* Only where records were deleted from the midst of the first segment. */
static int64_t start_of(struct plog *l)
{
    struct plog_offsets o;
    bool worth;

    lock_take(&l->view);
    o = l->off;
    worth = o.start > l->segs[0]->base;
    lock_drop(&l->view);
    return worth ? o.start : -1;
}

/* Under `checkpoint`. */
static int write_locked(struct logmgr *m, const char *name, checkpoint_of *of)
{
    struct offset_entry *v;
    struct plog **logs;
    size_t n, used = 0;
    int rc;

    lock_assert(&m->checkpoint);
    TRY(logmgr_list(m, &logs, &n));
    v = calloc(n + 1, sizeof *v);
    for (size_t i = 0; v != NULL && i < n; i++) {
        int64_t offset = of(logs[i]);
        if (offset >= 0)
            v[used++] = (struct offset_entry){ plog_topic(logs[i]), plog_partition(logs[i]), offset };
    }
    rc = v != NULL ? offset_checkpoint_write(m->dir.fd, name, v, used) : ERR_NOMEM;
    rc = logdir_check(&m->dir, rc, "writing a checkpoint", name);
    free(v);
    logmgr_list_free(&logs, n);
    KILL_POINT("checkpoint.written");
    return rc;
}

static int write_checkpoint(struct logmgr *m, const char *name, checkpoint_of *of)
{
    int rc;

    lock_take(&m->checkpoint);
    rc = write_locked(m, name, of);
    lock_drop(&m->checkpoint);
    return rc;
}

/* Under `checkpoint`. */
static int refresh_locked(struct logmgr *m)
{
    size_t deletions = atomic_load(&m->deletions);

    if (deletions == atomic_load(&m->refreshed))
        return OK;
    TRY(write_locked(m, CHECKPOINT_RECOVERY_POINT, plog_recovery_point));
    TRY(write_locked(m, CHECKPOINT_LOG_START, start_of));
    TRY(write_locked(m, CHECKPOINT_HIGH_WATERMARK, hw_of));
    atomic_store(&m->refreshed, deletions);
    return OK;
}

int logmgr_refresh(struct logmgr *m)
{
    int rc;

    if (atomic_load(&m->deletions) == atomic_load(&m->refreshed))
        return OK;
    lock_take(&m->checkpoint);
    rc = refresh_locked(m);
    lock_drop(&m->checkpoint);
    return rc;
}

static void try_checkpoint(struct logmgr *m, const char *name, checkpoint_of *of)
{
    static struct log_limit limit = LOG_LIMIT(60000, 1);
    int hidden, rc;

    if (logdir_offline(&m->dir))
        return;
    rc = write_checkpoint(m, name, of);
    if (rc != OK && rc != ERR_OFFLINE && log_limit(&limit, &hidden))
        log_warn("%s/%s: cannot be written now: %s; the one before stays, it is tried again", m->dir.path, name,
                 err_text(rc));
}

static void job_hw(void *arg)
{
    try_checkpoint(arg, CHECKPOINT_HIGH_WATERMARK, hw_of);
}

static void job_start(void *arg)
{
    try_checkpoint(arg, CHECKPOINT_LOG_START, start_of);
}

int logmgr_after_round(void *arg, bool round)
{
    struct logmgr *m = arg;

    if (logdir_offline(&m->dir)) {
        if (!m->offline_told && m->offline_fn != NULL) {
            m->offline_told = true;
            m->offline_fn(m->offline_arg, m->dir.index, m->dir.path);
        }
        return ERR_OFFLINE;
    }
    TRY(logmgr_refresh(m));
    return round ? write_checkpoint(m, CHECKPOINT_RECOVERY_POINT, plog_recovery_point) : OK;
}

void logmgr_on_offline(struct logmgr *m, logmgr_offline_fn *fn, void *arg)
{
    m->offline_fn = fn;
    m->offline_arg = arg;
}

/* ---- retention, expiry, files to delete ---------------------------------------------------------------------- */

static void job_retention(void *arg)
{
    static struct log_limit limit = LOG_LIMIT(60000, 5);
    struct logmgr *m = arg;
    struct plog **logs;
    size_t n, gone;
    int hidden;

    if (logdir_offline(&m->dir) || logmgr_list(m, &logs, &n) != OK)
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
        plog_expire_producers(logs[i], m->opts.now_ms(), m->opts.producer_id_expiration_ms);
    logmgr_list_free(&logs, n);
}

static void job_trash(void *arg)
{
    struct logmgr *m = arg;

    if (!logdir_offline(&m->dir))
        (void)logdir_empty_trash(&m->dir, false);
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
    };

    m->sched = s;
    TRY(syncer_start(m->dir.syncer));
    for (int i = 0; i < LOGMGR_JOBS_N; i++)
        TRY(scheduler_add(s, jobs[i].name, jobs[i].delay_ms, jobs[i].period_ms, jobs[i].fn, m, &m->jobs[i]));
    return OK;
}

/* ---- stop ---------------------------------------------------------------------------------------------------- */

static int close_all(struct logmgr *m)
{
    struct plog **logs;
    size_t n;
    int rc;

    TRY(logmgr_list(m, &logs, &n));
    rc = OK;
    for (size_t i = 0; i < n; i++) {
        int one = plog_close(logs[i]);
        if (one != OK)
            rc = one;
    }
    if (rc == OK)
        rc = syncer_all(m->dir.syncer, logs, n);
    logmgr_list_free(&logs, n);
    TRY(rc);
    TRY(write_checkpoint(m, CHECKPOINT_HIGH_WATERMARK, hw_of));
    return write_checkpoint(m, CHECKPOINT_LOG_START, start_of);
}

int logmgr_stop(struct logmgr *m)
{
    int rc;

    for (int i = 0; i < LOGMGR_JOBS_N; i++)
        job_cancel(m->sched, &m->jobs[i]);
    syncer_stop(m->dir.syncer);
    rc = m->loaded ? close_all(m) : ERR_CLOSED;
    KILL_POINT("stop.before_marker");
    if (rc == OK)
        rc = clean_marker_write(m->dir.fd);
    if (rc != OK)
        log_error("log directory %s: not closed cleanly: %s; nothing that was acknowledged is lost, the next start "
                  "takes longer", m->dir.path, err_text(rc));
    return rc;
}
