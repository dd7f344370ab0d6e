/* storage/logmgr_load.c - finding the logs of the directories, and opening them, several at a time, while those that
 * are ready are in use already.
 */
#include "storage/logmgr_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "storage/meta_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEFTOVER_DELAY_MS 60000         /* a directory that was being deleted when the broker ended */
#define PROGRESS_MS       5000
#define LOADER_STACK      ((size_t)512 * 1024)

/* ---- finding ------------------------------------------------------------------------------------------------- */

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), e = strlen(end);

    return n > e && strcmp(name + n - e, end) == 0;
}

static bool is_directory(const struct logdir *d, const struct dirent *e)
{
    struct stat st;

    if (e->d_type != DT_UNKNOWN)
        return e->d_type == DT_DIR;
    return fstatat(d->fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* Puts the log into the map and behind md->found, which has room for it. */
static int found_one(struct mdir *md, struct str topic, int32_t partition)
{
    const struct offset_checkpoint *from[CHECKPOINTS_N] = {
        [CHECKPOINT_OF_RECOVERY] = &md->d.recovery_points,
        [CHECKPOINT_OF_START] = &md->d.starts,
        [CHECKPOINT_OF_HW] = &md->d.high_watermarks,
        [CHECKPOINT_OF_TXNS] = &md->d.txn_sums,
        [CHECKPOINT_OF_CLEANER] = &md->d.cleaner_points,
    };
    struct log_entry *e = logmgr_lookup(md->m, topic, partition);
    struct mdir *rest = NULL;

    if (e != NULL && e->rest == NULL && (rest = move_rest(e->dir, md, e->name)) != NULL) {
        md->m->rests = true;
        if (rest == md) {
            e->rest = e->left = md;
            return OK;
        }
        logmgr_leave(md->m, e);
        e->state = LOG_GONE;            /* whose turn it is frees it */
        e = NULL;
    }
    if (e != NULL) {
        log_error("%s is in two log directories, %s and %s; look which one has what is wanted (the other is the rest "
                  "of a move between directories, or of a disk that was away), move the other one away, and start "
                  "again", e->name, e->dir->d.path, md->d.path);
        return ERR_INVALID;
    }
    e = log_entry_new(md, topic, partition);
    if (e == NULL)
        return ERR_NOMEM;
    e->rest = e->left = rest;
    for (size_t i = 0; i < CHECKPOINTS_N; i++)
        e->found[i] = offset_checkpoint_find(from[i], topic, partition);
    md->found[md->found_n++] = e;
    logmgr_enter(md->m, e);
    return OK;
}

static int found_room(struct mdir *md, size_t *cap)
{
    size_t more = *cap == 0 ? 64 : *cap * 2;
    struct log_entry **v;

    if (md->found_n < *cap)
        return OK;
    v = realloc(md->found, more * sizeof(struct log_entry *));
    if (v == NULL)
        return ERR_NOMEM;
    md->found = v;
    *cap = more;
    return OK;
}

bool logmgr_is_not_log(const char *name)
{
    static const char *const not_logs[] = { ".", "..", "remote-log-index-cache", "__cluster_metadata-0", "lost+found" };

    for (size_t i = 0; i < sizeof not_logs / sizeof not_logs[0]; i++)
        if (strcmp(name, not_logs[i]) == 0)
            return true;
    return false;
}

static int one_entry(struct mdir *md, const char *name, size_t *cap)
{
    int32_t partition;
    struct str topic;

    if (logmgr_is_not_log(name))
        return OK;
    if (ends_with(name, "-delete")) {
        logdir_trash(&md->d, name, true, LEFTOVER_DELAY_MS);
        return OK;
    }
    if (ends_with(name, "-future")) {
        move_found(md, name);
        return OK;
    }
    if (ends_with(name, "-stray")) {
        log_warn("%s/%s: not opened: a partition that was not assigned here; it is left as it is", md->d.path, name);
        return OK;
    }
    if (!log_name_parse(name, &topic, &partition)) {
        log_error("%s/%s: found a directory that is not in the form of topic-partition; move it out of log.dirs",
                  md->d.path, name);
        return ERR_INVALID;
    }
    TRY(found_room(md, cap));
    return found_one(md, topic, partition);
}

static int list_directory(struct mdir *md)
{
    struct logdir *d = &md->d;
    int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = OK;
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e = NULL;
    size_t cap = 0;

    errno = fd >= 0 ? 0 : errno;
    while (dir != NULL && rc == OK && (e = readdir(dir)) != NULL) {
        if (is_directory(d, e))
            rc = one_entry(md, e->d_name, &cap);
        errno = 0;
    }
    if (rc == OK && e == NULL && (dir == NULL || errno != 0)) {
        rc = ERR_IO;
        log_error("log directory %s: cannot be listed: %s", d->path, strerror(errno));
    }
    if (dir != NULL)
        (void)closedir(dir);
    else if (fd >= 0)
        close(fd);
    return rc;
}

/* What must not happen to the first directory takes another one offline. */
static int survives(struct mdir *md, int rc)
{
    if (rc != ERR_IO && rc != ERR_DENIED && rc != ERR_NOSPACE)
        return rc;
    if (md->d.index == 0)
        return rc;
    log_error("log directory %s is offline: its partitions cannot be used until it is mended and the broker restarted",
              md->d.path);
    atomic_store(&md->d.offline, true);
    md->absent = md->offline_told = true;
    return OK;
}

static int find_logs(struct logmgr *m)
{
    int rc = OK;

    lock_take(&m->lock);
    for (size_t i = 0; i < m->dirs_n && rc == OK; i++)
        if (!logdir_offline(&m->dirs[i].d))
            rc = survives(&m->dirs[i], list_directory(&m->dirs[i]));
    if (rc == OK)
        moves_resume(m);
    lock_drop(&m->lock);
    return rc;
}

/* ---- one log ------------------------------------------------------------------------------------------------- */

/* False: it was deleted before its turn came, or its turn does not come any more. */
static bool take_up(struct mdir *md, struct log_entry *e, struct plog *l)
{
    struct logmgr *m = md->m;
    bool gone;

    lock_take(&m->lock);
    gone = e->state == LOG_GONE;
    if (!gone && l != NULL) {
        e->state = LOG_OPENING;
        e->log = plog_ref(l);
    } else if (!gone) {
        e->state = LOG_FAILED;
    }
    lock_drop(&m->lock);
    if (gone)
        free(e);
    return !gone && l != NULL;
}

/* The entry may be gone as soon as it has its new state. */
static void put_down(struct mdir *md, struct log_entry *e, int rc)
{
    struct plog *failed = NULL;

    lock_take(&md->m->lock);
    e->state = rc == OK ? LOG_READY : LOG_FAILED;
    if (rc != OK) {
        failed = e->log;
        e->log = NULL;
    }
    cond_broadcast(&md->m->changed);
    lock_drop(&md->m->lock);
    plog_unref(&failed);
}

static int open_log(struct mdir *md, struct plog *l, struct mdir *rest)
{
    struct load_result r = { 0 };
    int rc = logdir_offline(&md->d) ? ERR_OFFLINE : move_check_mark(md, plog_name(l));

    if (rc == OK)
        rc = plog_load(l, &r);
    if (rc == OK && rest != NULL)
        move_take_rest(rest, l);

    rc = logdir_check(&md->d, rc, "opening", plog_name(l));
    if (rc != OK && rc != ERR_OFFLINE && rc != ERR_CLOSED) {
        log_error("%s/%s: the partition cannot be opened: %s; it is offline, the others are served. Mend what the "
                  "lines above say, or move the directory away, and restart the broker", md->d.path, plog_name(l),
                  fio_text(rc));
        rc = ERR_OFFLINE;
    }
    atomic_fetch_add(&md->recovered, r.recovered ? 1 : 0);
    atomic_fetch_add(&md->read_bytes, r.read_bytes);
    return rc;
}

static void load_one(struct mdir *md, struct log_entry *e)
{
    struct logmgr *m = md->m;
    struct log_opts opts;
    struct plog *l = NULL;
    int32_t partition;
    struct str topic;
    int rc;

    if (log_name_parse(e->name, &topic, &partition)) {
        m->opts_fn(m->opts_arg, topic, &opts);
        l = plog_new(&md->d, topic, partition, &opts);
    }
    if (!take_up(md, e, l)) {
        atomic_fetch_add(&md->failed, l == NULL);
        plog_unref(&l);
        return;
    }
    rc = open_log(md, l, e->rest);
    atomic_fetch_add(rc == OK ? &md->ready : &md->failed, 1);
    put_down(md, e, rc);
    if (m->ready_fn != NULL)
        m->ready_fn(m->ready_arg, plog_topic(l), plog_partition(l), rc);
    plog_unref(&l);
}

/* ---- all of them --------------------------------------------------------------------------------------------- */

static void sum_up(struct logmgr *m, struct logmgr_loaded *out)
{
    *out = (struct logmgr_loaded){ 0 };
    for (size_t i = 0; i < m->dirs_n; i++) {
        struct mdir *md = &m->dirs[i];
        out->logs += md->found_n;
        out->ready += atomic_load(&md->ready);
        out->failed += atomic_load(&md->failed);
        out->recovered += atomic_load(&md->recovered);
        out->read_bytes += atomic_load(&md->read_bytes);
    }
    out->ms = mono_ms() - m->load_ms;
}

static void tell_progress(struct logmgr *m)
{
    int64_t now = mono_ms(), told = atomic_load(&m->told_ms);
    struct logmgr_loaded l;

    if (now - told < PROGRESS_MS || !atomic_compare_exchange_strong(&m->told_ms, &told, now))
        return;
    sum_up(m, &l);
    log_info("%zu of %zu partitions are open after %" PRId64 " s, %" PRId64 " MB read", l.ready, l.logs, l.ms / 1000,
             l.read_bytes / 1000000);
}

/* In a directory that is new there is no recovery point yet. Where the file is missing later, it was lost. */
static int begin_checkpoint(struct mdir *md)
{
    int64_t size;
    int rc = OK;

    if (md->d.ours || md->found_n > 0)
        return OK;
    lock_take(&md->checkpoint);
    if (fio_size(md->d.fd, CHECKPOINT_RECOVERY_POINT, &size) == ERR_NOENT)
        rc = offset_checkpoint_write(md->d.fd, CHECKPOINT_RECOVERY_POINT, NULL, 0);
    lock_drop(&md->checkpoint);
    return rc;
}

/* A log that could not be opened was perhaps not looked at since the machine went down. */
static void write_boot_mark(struct mdir *md, bool all)
{
    struct logdir *d = &md->d;
    int rc;

    if (logdir_offline(d) || (!all && !d->was_clean && !d->same_boot))
        return;
    rc = begin_checkpoint(md);
    if (rc == OK)
        rc = boot_mark_write(d->fd, &d->boot);
    rc = logdir_check(d, rc, "writing", BOOT_MARK);
    if (rc != OK && rc != ERR_OFFLINE)          /* a full disk must not keep it from starting */
        log_warn("%s/" BOOT_MARK ": cannot be written: %s; after a crash the next start reads more", d->path,
                 err_text(rc));
}

static void say_loaded(struct logmgr *m)
{
    struct logmgr_loaded l;

    sum_up(m, &l);
    if (l.recovered > 0)
        log_info("%zu of %zu logs were not closed cleanly: recovered in %" PRId64 " ms, %" PRId64 " MB read",
                 l.recovered, l.logs, l.ms, l.read_bytes / 1000000);
    if (l.failed > 0)
        log_warn("%zu of %zu partitions are open; the others are offline, see the lines above", l.ready, l.logs);
    else if (l.ms >= PROGRESS_MS)
        log_info("all %zu partitions are open after %" PRId64 " s", l.logs, l.ms / 1000);
}

/* The last thread of a directory has come to the end. */
static void dir_done(struct mdir *md)
{
    struct logmgr *m = md->m;
    struct logdir *d = &md->d;
    bool through = !logdir_stopping(d), all = through && atomic_load(&md->failed) == 0 && !logdir_offline(d);

    if (!m->rests && m->moves_found == 0) {     /* else others ask for them; they go with the directory */
        offset_checkpoint_free(&d->recovery_points);
        offset_checkpoint_free(&d->starts);
        offset_checkpoint_free(&d->high_watermarks);
        offset_checkpoint_free(&d->txn_sums);
        offset_checkpoint_free(&d->cleaner_points);
    }
    if (through)
        write_boot_mark(md, all);
    atomic_store(&md->loaded, all);
    if (atomic_fetch_sub(&m->saying_dirs, 1) == 1 && through)   /* before anybody is told that all is loaded */
        say_loaded(m);
    lock_take(&m->lock);
    if (--m->loading_dirs == 0)
        m->loaded_ms = mono_ms() - m->load_ms;
    cond_broadcast(&m->changed);
    lock_drop(&m->lock);
}

static void *loader_main(void *arg)
{
    struct mdir *md = arg;
    size_t i;

    while (!logdir_stopping(&md->d) && (i = atomic_fetch_add(&md->next, 1)) < md->found_n) {
        load_one(md, md->found[i]);
        tell_progress(md->m);
    }
    if (atomic_fetch_sub(&md->threads_left, 1) == 1)
        dir_done(md);
    return NULL;
}

static int begin_dir(struct mdir *md)
{
    struct logdir *d = &md->d;

    if (logdir_offline(d))
        return OK;
    TRY(survives(md, logdir_begin(d)));
    /* They may name logs that were deleted just before the end. */
    if (d->recovery_points.n > 0 || d->starts.n > 0 || d->high_watermarks.n > 0 || d->cleaner_points.n > 0)
        atomic_fetch_add(&md->deletions, 1);
    return OK;
}

/* Without a thread of its own the directory is loaded by the caller. */
static void load_dir(struct mdir *md)
{
    size_t want = (size_t)(md->m->opts.recovery_threads > 1 ? md->m->opts.recovery_threads : 1);
    pthread_attr_t attr;

    if (want > md->found_n)
        want = md->found_n;
    md->threads = calloc(want + 1, sizeof *md->threads);
    atomic_store(&md->threads_left, want + 1);          /* the caller is one until all have been started */
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, LOADER_STACK);
    while (md->threads != NULL && md->threads_n < want &&
           pthread_create(&md->threads[md->threads_n], &attr, loader_main, md) == 0)
        md->threads_n++;
    (void)pthread_attr_destroy(&attr);
    atomic_fetch_sub(&md->threads_left, want - md->threads_n);
    if (md->threads_n == 0)
        (void)loader_main(md);
    else if (atomic_fetch_sub(&md->threads_left, 1) == 1)
        dir_done(md);
}

int logmgr_load(struct logmgr *m, logmgr_opts_fn *opts_of, void *arg)
{
    TRY(find_logs(m));
    for (size_t i = 0; i < m->dirs_n; i++)
        TRY(begin_dir(&m->dirs[i]));
    m->opts_fn = opts_of;
    m->opts_arg = arg;
    m->load_ms = mono_ms();
    atomic_store(&m->told_ms, m->load_ms);
    atomic_store(&m->saying_dirs, m->dirs_n);
    lock_take(&m->lock);
    m->loading_dirs = m->dirs_n;
    lock_drop(&m->lock);
    for (size_t i = 0; i < m->dirs_n; i++)
        load_dir(&m->dirs[i]);
    return OK;
}

int logmgr_wait_loaded(struct logmgr *m, int64_t timeout_ms, struct logmgr_loaded *out)
{
    int64_t until = mono_ns() + timeout_ms * 1000000;
    bool in_time = true;
    int rc;

    lock_take(&m->lock);
    while (m->loading_dirs > 0 && in_time && timeout_ms != 0) {
        if (timeout_ms < 0)
            cond_wait(&m->changed, &m->lock);
        else
            in_time = cond_wait_until(&m->changed, &m->lock, until);
    }
    rc = m->loading_dirs == 0 ? OK : ERR_TIMEOUT;
    sum_up(m, out);
    if (rc == OK)
        out->ms = m->loaded_ms;
    lock_drop(&m->lock);
    return rc;
}

void logmgr_end_loading(struct logmgr *m)
{
    for (size_t i = 0; i < m->dirs_n; i++)
        atomic_store(&m->dirs[i].d.stopping, true);
}

void logmgr_stop_loading(struct logmgr *m)
{
    logmgr_end_loading(m);
    for (size_t i = 0; i < m->dirs_n; i++)
        while (m->dirs[i].threads_n > 0)
            pthread_join(m->dirs[i].threads[--m->dirs[i].threads_n], NULL);
}
