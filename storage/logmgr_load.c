/* storage/logmgr_load.c - finding the logs of a directory and opening them, several at a time. */
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

struct name_list {
    char **v;
    size_t n, cap;
};

static int name_add(struct name_list *l, const char *name)
{
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 64 : l->cap * 2;
        char **v = realloc(l->v, cap * sizeof *v);
        if (v == NULL)
            return ERR_NOMEM;
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n] = strdup(name);
    return l->v[l->n] != NULL ? (l->n++, OK) : ERR_NOMEM;
}

static void name_free(struct name_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->v[i]);
    free(l->v);
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), e = strlen(end);

    return n > e && strcmp(name + n - e, end) == 0;
}

/* "<topic>-<partition>", split at the last '-'. */
static bool parse_name(const char *name, struct str *topic, int32_t *partition)
{
    const char *dash = strrchr(name, '-');
    char *end;
    long v;

    if (dash == NULL || dash == name || dash[1] < '0' || dash[1] > '9')
        return false;
    errno = 0;
    v = strtol(dash + 1, &end, 10);
    if (*end != '\0' || errno != 0 || v > INT32_MAX)
        return false;
    *topic = (struct str){ name, (size_t)(dash - name) };
    *partition = (int32_t)v;
    return true;
}

static bool is_directory(const struct logdir *d, const struct dirent *e)
{
    struct stat st;

    if (e->d_type != DT_UNKNOWN)
        return e->d_type == DT_DIR;
    return fstatat(d->fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static int one_entry(struct logdir *d, const char *name, struct name_list *found)
{
    static const char *const not_logs[] = { ".", "..", "remote-log-index-cache", "__cluster_metadata-0", "lost+found" };
    int32_t partition;
    struct str topic;

    for (size_t i = 0; i < sizeof not_logs / sizeof not_logs[0]; i++)
        if (strcmp(name, not_logs[i]) == 0)
            return OK;
    if (ends_with(name, "-delete")) {
        logdir_trash(d, name, true, LEFTOVER_DELAY_MS);
        return OK;
    }
    if (ends_with(name, "-stray") || ends_with(name, "-future")) {
        log_warn("%s/%s: not opened: %s; it is left as it is", d->path, name,
                 ends_with(name, "-stray") ? "a partition that was not assigned here"
                                           : "the unfinished copy of a partition that was being moved here");
        return OK;
    }
    if (!parse_name(name, &topic, &partition)) {
        log_error("%s/%s: found a directory that is not in the form of topic-partition; move it out of log.dirs",
                  d->path, name);
        return ERR_INVALID;
    }
    return name_add(found, name);
}

static int list_directory(struct logdir *d, struct name_list *found)
{
    int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = OK;
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;

    if (dir == NULL) {
        rc = err_from_errno(errno);
        log_error("log directory %s: cannot be listed: %s", d->path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return rc;
    }
    while (rc == OK && (e = readdir(dir)) != NULL)
        if (is_directory(d, e))
            rc = one_entry(d, e->d_name, found);
    (void)closedir(dir);
    return rc;
}

/* ---- many at a time ------------------------------------------------------------------------------------------ */

struct loading {
    struct logmgr     *m;
    struct name_list   names;
    logmgr_opts_fn    *opts_of;
    void              *arg;
    int64_t            start_ms;
    atomic_size_t      next, done, recovered;
    _Atomic int64_t    read_bytes, told_ms;
    atomic_int         rc;              /* the first failure */
};

static int load_one(struct loading *ld, const char *name)
{
    struct logmgr *m = ld->m;
    struct load_result r = { 0 };
    struct log_opts opts;
    int32_t partition;
    struct str topic;
    struct plog *l;
    int rc;

    if (!parse_name(name, &topic, &partition))
        return ERR_INVALID;
    ld->opts_of(ld->arg, topic, &opts);
    l = plog_new(&m->dir, topic, partition, &opts);
    if (l == NULL)
        return ERR_NOMEM;
    rc = plog_load(l, &r);
    if (rc != OK)
        log_error("%s/%s: the partition cannot be opened: %s; mend what the lines above say, or move the directory "
                  "away", m->dir.path, name, err_text(rc));
    if (rc == OK) {
        lock_take(&m->lock);
        rc = logmgr_add(m, l);
        lock_drop(&m->lock);
    }
    atomic_fetch_add(&ld->recovered, r.recovered ? 1 : 0);
    atomic_fetch_add(&ld->read_bytes, r.read_bytes);
    plog_unref(&l);
    return rc;
}

static void tell_progress(struct loading *ld, size_t done)
{
    int64_t now = mono_ms(), told = atomic_load(&ld->told_ms);

    if (now - told >= PROGRESS_MS && atomic_compare_exchange_strong(&ld->told_ms, &told, now))
        log_info("%s: %zu of %zu partitions are open after %" PRId64 " s, %" PRId64 " MB read", ld->m->dir.path, done,
                 ld->names.n, (now - ld->start_ms) / 1000, atomic_load(&ld->read_bytes) / 1000000);
}

static void *loader_main(void *arg)
{
    struct loading *ld = arg;
    size_t i;

    while (atomic_load(&ld->rc) == OK && (i = atomic_fetch_add(&ld->next, 1)) < ld->names.n) {
        int ok = OK, rc = load_one(ld, ld->names.v[i]);
        if (rc != OK)
            (void)atomic_compare_exchange_strong(&ld->rc, &ok, rc);
        tell_progress(ld, atomic_fetch_add(&ld->done, 1) + 1);
    }
    return NULL;
}

/* The caller's thread is one of them; with few logs it does them all. */
static void load_names(struct loading *ld)
{
    size_t want = (size_t)(ld->m->opts.recovery_threads > 1 ? ld->m->opts.recovery_threads - 1 : 0), n = 0;
    pthread_t *threads;

    if (want > ld->names.n / 16)
        want = ld->names.n / 16;
    threads = calloc(want + 1, sizeof *threads);
    while (threads != NULL && n < want && pthread_create(&threads[n], NULL, loader_main, ld) == 0)
        n++;
    (void)loader_main(ld);
    while (n > 0)
        pthread_join(threads[--n], NULL);
    free(threads);
}

int logmgr_load(struct logmgr *m, logmgr_opts_fn *opts_of, void *arg, struct logmgr_loaded *out)
{
    struct loading ld = { .m = m, .opts_of = opts_of, .arg = arg, .start_ms = mono_ms() };
    struct logdir *d = &m->dir;
    int rc;

    ld.told_ms = ld.start_ms;
    TRY(logdir_begin(d));
    rc = list_directory(d, &ld.names);
    if (rc == OK) {
        load_names(&ld);
        rc = atomic_load(&ld.rc);
    }
    /* They may name logs that were deleted just before the end. */
    if (d->recovery_points.n > 0 || d->starts.n > 0 || d->high_watermarks.n > 0)
        atomic_fetch_add(&m->deletions, 1);
    *out = (struct logmgr_loaded){ .logs = ld.names.n, .recovered = atomic_load(&ld.recovered),
                                   .read_bytes = atomic_load(&ld.read_bytes), .ms = mono_ms() - ld.start_ms };
    name_free(&ld.names);
    offset_checkpoint_free(&d->recovery_points);
    offset_checkpoint_free(&d->starts);
    offset_checkpoint_free(&d->high_watermarks);
    TRY(rc);
    rc = boot_mark_write(d->fd, &d->boot);
    if (rc == OK || rc == ERR_NOSPACE) {        /* a full disk must not keep it from starting */
        m->loaded = true;
        return OK;
    }
    log_error("log directory %s: " BOOT_MARK " cannot be written: %s; check that this user may write there", d->path,
              err_text(rc));
    return rc;
}
