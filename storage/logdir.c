/* storage/logdir.c - one log directory. */
#include "storage/logdir.h"

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "storage/fio.h"
#include "storage/killpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAMP_MAX    ((size_t)1 << 30)
#define DELAY_MAX_MS INT64_C(1000000000000)     /* thirty years */

struct trash {
    char    *path;
    bool     directory;
    int64_t  due_ns;
};

static int failed_open(const struct logdir *d, const char *what, int rc)
{
    log_error("log directory %s: %s: %s; check that it exists and that this user may write to it", d->path, what,
              strerror(fio_errno()));
    return rc;
}

static int open_directory(struct logdir *d)
{
    int rc;

    if (mkdir(d->path, 0755) != 0 && errno != EEXIST) {
        log_error("log directory %s: cannot be created: %s; check log.dirs and the rights of its parent", d->path,
                  strerror(errno));
        return err_from_errno(errno);
    }
    rc = fio_open(AT_FDCWD, d->path, O_RDONLY | O_DIRECTORY, &d->fd);
    return rc == OK ? OK : failed_open(d, "cannot be opened", rc);
}

static int take_lock(struct logdir *d)
{
    struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    int rc = fio_open(d->fd, ".lock", O_RDWR | O_CREAT, &d->lock_fd);

    if (rc != OK)
        return failed_open(d, ".lock cannot be written", rc);
    if (fcntl(d->lock_fd, F_SETLK, &whole) == 0)
        return OK;
    if (errno != EACCES && errno != EAGAIN)
        return failed_open(d, ".lock cannot be locked", ERR_IO);
    whole.l_type = F_WRLCK;
    if (fcntl(d->lock_fd, F_GETLK, &whole) != 0 || whole.l_type == F_UNLCK)
        whole.l_pid = 0;
    log_error("log directory %s: in use by another broker (process %d holds .lock); stop it, or give this one a "
              "log.dirs of its own", d->path, (int)whole.l_pid);
    return ERR_BUSY;
}

static int read_meta(struct logdir *d)
{
    int rc = meta_properties_read(d->fd, &d->meta);

    d->has_meta = rc == OK;
    if (rc == ERR_NOENT)
        return OK;
    if (rc == ERR_CORRUPT) {
        log_error("%s/" META_PROPERTIES ": does not parse; restore it, or remove it if this directory belongs to this "
                  "broker", d->path);
        return rc;
    }
    if (rc != OK)
        return failed_open(d, META_PROPERTIES " cannot be read", rc);
    if (d->meta.version != 0) {
        log_error("%s/" META_PROPERTIES ": version is %d, should be 0; version 1 is a directory of a broker in KRaft "
                  "mode, which cannot be taken over: point log.dirs elsewhere", d->path, (int)d->meta.version);
        return ERR_VERSION;
    }
    return OK;
}

/* A checkpoint that cannot be read costs time, not data: without recovery points everything is checked. */
static int read_checkpoint(struct logdir *d, const char *name, struct offset_checkpoint *out)
{
    size_t line;
    int rc = offset_checkpoint_read(d->fd, name, out, &line);

    if (rc == ERR_CORRUPT || rc == ERR_TOO_LARGE) {
        log_warn("%s/%s: line %zu does not parse; taken as empty, it will be written anew", d->path, name, line);
        *out = (struct offset_checkpoint){ 0 };
        return OK;
    }
    return rc == OK ? OK : failed_open(d, name, rc);
}

int64_t logdir_stamp(const struct logdir *d)
{
    static const char *const names[] = { CHECKPOINT_RECOVERY_POINT, CHECKPOINT_HIGH_WATERMARK };
    uint32_t crc = 0;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        uint8_t *p;
        size_t n;
        if (fio_read_file(d->fd, names[i], STAMP_MAX, &p, &n) != OK)
            continue;
        crc = crc32c(crc, p, n);
        free(p);
    }
    return crc;
}

/* Only a clean stop of ours, with no other broker since, can vouch for the indexes of aborted transactions. */
static int read_txn_sums(struct logdir *d)
{
    if (!d->was_clean)
        return OK;
    TRY(read_checkpoint(d, CHECKPOINT_TXN_SUMS, &d->txn_sums));
    if (offset_checkpoint_find(&d->txn_sums, STR_LIT(TXN_SUMS_STAMP), 0) != logdir_stamp(d))
        offset_checkpoint_free(&d->txn_sums);
    return OK;
}

/* "0\n0\n": it is there, and no log was synced when it was written. */
static bool is_empty_checkpoint(const struct logdir *d, const char *name)
{
    int64_t size;

    return fio_size(d->fd, name, &size) == OK && size == 4;
}

static int read_state(struct logdir *d)
{
    int64_t size;
    int rc;

    TRY(read_meta(d));
    rc = clean_marker_exists(d->fd, &d->was_clean);
    if (rc != OK)
        return failed_open(d, CLEAN_SHUTDOWN " cannot be looked for", rc);
    boot_mark_now(d->fd, &d->boot);
    d->ours = fio_size(d->fd, BOOT_MARK, &size) == OK;
    d->same_boot = !d->was_clean && boot_mark_same(d->fd, &d->boot);
    TRY(read_checkpoint(d, CHECKPOINT_RECOVERY_POINT, &d->recovery_points));
    d->points_lost = d->recovery_points.n == 0 && !is_empty_checkpoint(d, CHECKPOINT_RECOVERY_POINT);
    TRY(read_checkpoint(d, CHECKPOINT_LOG_START, &d->starts));
    TRY(read_checkpoint(d, CHECKPOINT_HIGH_WATERMARK, &d->high_watermarks));
    TRY(read_checkpoint(d, CHECKPOINT_CLEANER, &d->cleaner_points));
    return read_txn_sums(d);
}

int logdir_open(struct logdir *d, size_t index, const char *path, const struct logmgr_opts *o)
{
    *d = (struct logdir){ .index = index, .fd = -1, .lock_fd = -1, .opts = *o };
    d->opts.dirs = NULL;
    atomic_init(&d->producer_expiry_ms, d->opts.producer_id_expiration_ms);
    atomic_init(&d->offline, false);
    atomic_init(&d->stopping, false);
    lock_init(&d->lock, LOCK_trash);
    d->path = strdup(path);
    if (d->path == NULL)
        return ERR_NOMEM;
    TRY(open_directory(d));
    TRY(take_lock(d));
    space_open(d);
    return read_state(d);
}

int logdir_begin(struct logdir *d)
{
    int rc = d->was_clean ? clean_marker_remove(d->fd) : OK;

    KILL_POINT("open.marker_removed");
    return rc == OK ? OK : failed_open(d, CLEAN_SHUTDOWN " cannot be removed", rc);
}

void logdir_close(struct logdir *d)
{
    if (d->path == NULL)
        return;
    for (size_t i = 0; i < d->trash_n; i++)
        free(d->trash[i].path);
    free(d->trash);
    offset_checkpoint_free(&d->recovery_points);
    offset_checkpoint_free(&d->starts);
    offset_checkpoint_free(&d->high_watermarks);
    offset_checkpoint_free(&d->txn_sums);
    offset_checkpoint_free(&d->cleaner_points);
    fio_close(&d->lock_fd);
    fio_close(&d->fd);
    free(d->path);
    lock_fini(&d->lock);
    d->path = NULL;
}

int logdir_check(struct logdir *d, int rc, const char *what, const char *file)
{
    if (rc != ERR_IO && rc != ERR_DENIED)
        return rc;
    if (!atomic_exchange(&d->offline, true))
        log_error("%s/%s: %s failed: %s; the log directory is offline until the disk is mended and the broker "
                  "restarted", d->path, file, what, strerror(fio_errno()));
    return ERR_OFFLINE;
}

bool logdir_offline(const struct logdir *d)
{
    return atomic_load_explicit(&d->offline, memory_order_relaxed);
}

bool logdir_stopping(const struct logdir *d)
{
    return atomic_load_explicit(&d->stopping, memory_order_relaxed);
}

/* ---- deleting later ------------------------------------------------------------------------------------------ */

/* The heap: no entry is due before its parent, (i - 1) / 2. */
static void sift_up(struct trash *v, size_t i)
{
    struct trash t = v[i];

    for (; i > 0 && v[(i - 1) / 2].due_ns > t.due_ns; i = (i - 1) / 2)
        v[i] = v[(i - 1) / 2];
    v[i] = t;
}

static void sift_down(struct trash *v, size_t n)
{
    struct trash t = v[0];
    size_t i = 0, c;

    while ((c = 2 * i + 1) < n) {
        if (c + 1 < n && v[c + 1].due_ns < v[c].due_ns)
            c++;
        if (v[c].due_ns >= t.due_ns)
            break;
        v[i] = v[c];
        i = c;
    }
    v[i] = t;
}

/* Under the lock. */
static bool trash_room(struct logdir *d)
{
    size_t cap = d->trash_cap == 0 ? 16 : d->trash_cap * 2;
    struct trash *v;

    if (d->trash_n < d->trash_cap)
        return true;
    v = realloc(d->trash, cap * sizeof *v);
    if (v == NULL)
        return false;
    d->trash = v;
    d->trash_cap = cap;
    return true;
}

void logdir_trash(struct logdir *d, const char *path, bool directory, int64_t delay_ms)
{
    struct trash t = { .path = strdup(path), .directory = directory };

    if (t.path == NULL)
        return;
    t.due_ns = mono_ns() + (delay_ms < DELAY_MAX_MS ? delay_ms : DELAY_MAX_MS) * 1000000;
    lock_take(&d->lock);
    if (trash_room(d)) {
        d->trash[d->trash_n] = t;
        sift_up(d->trash, d->trash_n++);
        t.path = NULL;
    }
    lock_drop(&d->lock);
    free(t.path);
}

void logdir_trash_renamed(struct logdir *d, const char *from, const char *to)
{
    size_t n = strlen(from);

    lock_take(&d->lock);
    for (size_t i = 0; i < d->trash_n; i++) {
        char *old = d->trash[i].path, *path;
        if (strncmp(old, from, n) != 0 || old[n] != '/')
            continue;
        if (asprintf(&path, "%s%s", to, old + n) < 0)
            continue;                   /* it stays until the next start */
        d->trash[i].path = path;
        free(old);
    }
    lock_drop(&d->lock);
}

void logdir_remove(struct logdir *d, const char *path)
{
    char file[PATH_MAX];
    struct dirent *e;
    DIR *dir;
    int fd;

    if (fio_open(d->fd, path, O_RDONLY | O_DIRECTORY, &fd) != OK)
        return;
    dir = fdopendir(fd);
    if (dir == NULL) {
        fio_close(&fd);
        return;
    }
    while (fio_next_entry(dir, &e) == OK && e != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (snprintf(file, sizeof file, "%s/%s", path, e->d_name) < (int)sizeof file)
            (void)unlinkat(d->fd, file, 0);
        KILL_POINT("trash.file_removed");
    }
    (void)closedir(dir);
    if (unlinkat(d->fd, path, AT_REMOVEDIR) != 0 && errno != ENOENT)
        log_warn("%s/%s: cannot be removed: %s; remove it by hand", d->path, path, strerror(errno));
}

int64_t logdir_empty_trash(struct logdir *d, bool all)
{
    for (;;) {
        int64_t now = mono_ns();
        struct trash t;
        lock_take(&d->lock);
        if (d->trash_n == 0 || (!all && d->trash[0].due_ns > now)) {
            int64_t due_ms = d->trash_n == 0 ? -1 : (d->trash[0].due_ns - now) / 1000000 + 1;
            lock_drop(&d->lock);
            return due_ms;
        }
        t = d->trash[0];
        d->trash[0] = d->trash[--d->trash_n];
        if (d->trash_n > 0)
            sift_down(d->trash, d->trash_n);
        lock_drop(&d->lock);
        if (t.directory)
            logdir_remove(d, t.path);
        else if (unlinkat(d->fd, t.path, 0) != 0 && errno != ENOENT)
            log_warn("%s/%s: cannot be removed: %s; remove it by hand", d->path, t.path, strerror(errno));
        free(t.path);
    }
}
