/* storage/fio.c - the system calls that touch files. */
#include "storage/fio.h"

#include "storage/killpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static _Thread_local int last_errno;

int fio_errno(void)
{
    return last_errno;
}

#ifdef KLAMM_KILL_POINTS
static atomic_int fault_op, fault_errno, fault_in;

void fio_fail(enum fio_op op, int err, int n)
{
    atomic_store(&fault_errno, 0);
    atomic_store(&fault_op, (int)op);
    atomic_store(&fault_in, n);
    atomic_store(&fault_errno, err);
}

static _Atomic int64_t fake_room, fake_total;

void fio_fake_space(int64_t room, int64_t total)
{
    atomic_store(&fake_room, room);
    atomic_store(&fake_total, total);
}

static atomic_bool stall_syncs;
static atomic_int stalled, syncs;

void fio_stall_syncs(bool stall)
{
    atomic_store(&stall_syncs, stall);
}

int fio_stalled(void)
{
    return atomic_load(&stalled);
}

int fio_syncs(void)
{
    return atomic_load(&syncs);
}

static bool fault(enum fio_op op)
{
    int err;

    if (op == FIO_SYNC) {
        atomic_fetch_add(&syncs, 1);
        atomic_fetch_add(&stalled, 1);
        while (atomic_load(&stall_syncs))
            sched_yield();
        atomic_fetch_sub(&stalled, 1);
    }
    err = atomic_load(&fault_errno);
    if (err == 0 || atomic_load(&fault_op) != (int)op || atomic_fetch_sub(&fault_in, 1) > 1)
        return false;
    errno = err;
    return true;
}
#define FAULT(op) fault(op)
#else
#define FAULT(op) false
#endif

static int failed(void)
{
    last_errno = errno;
    switch (errno) {
    case ENOSPC:
    case EFBIG:
    case EDQUOT:  return ERR_NOSPACE;
    case ENOENT:  return ERR_NOENT;
    case EEXIST:
    case ENOTEMPTY: return ERR_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:   return ERR_DENIED;
    case ENOMEM:  return ERR_NOMEM;
    case EMFILE:
    case ENFILE:  return ERR_AGAIN;
    default:      return ERR_IO;
    }
}

const char *fio_text(int rc)
{
    return rc == ERR_AGAIN ? "too many open files (raise LimitNOFILE, ulimit -n)" : err_text(rc);
}

int fio_open(int dirfd, const char *path, int flags, int *fd)
{
    *fd = -1;
    if (FAULT(FIO_OPEN))
        return failed();
    do
        *fd = openat(dirfd, path, flags | O_CLOEXEC, 0644);
    while (*fd < 0 && errno == EINTR);
    return *fd < 0 ? failed() : OK;
}

void fio_close(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

int fio_pread(int fd, void *p, size_t n, int64_t pos, size_t *got)
{
    uint8_t *b = p;

    *got = 0;
    if (FAULT(FIO_READ))
        return failed();
    while (*got < n) {
        ssize_t r = pread(fd, b + *got, n - *got, pos + (off_t)*got);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return failed();
        if (r == 0)
            break;
        *got += (size_t)r;
    }
    return OK;
}

int fio_pread_all(int fd, void *p, size_t n, int64_t pos)
{
    size_t got;

    TRY(fio_pread(fd, p, n, pos, &got));
    return got == n ? OK : ERR_SHORT;
}

int fio_pwrite(int fd, const void *p, size_t n, int64_t pos)
{
    const uint8_t *b = p;

    /* Half of it is written, so that the rest of the way has something to undo. */
    if (FAULT(FIO_WRITE)) {
        int err = errno;
        (void)!pwrite(fd, p, n / 2, (off_t)pos);
        errno = err;
        return failed();
    }
    while (n > 0) {
        ssize_t r = pwrite(fd, b, n, (off_t)pos);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return failed();
        b += r;
        pos += r;
        n -= (size_t)r;
    }
    return OK;
}

int fio_truncate(int fd, int64_t size)
{
    int r;

    if (FAULT(FIO_TRUNCATE))
        return failed();
    do
        r = ftruncate(fd, (off_t)size);
    while (r < 0 && errno == EINTR);
    return r < 0 ? failed() : OK;
}

void fio_write_out(int fd, int64_t pos, int64_t n)
{
    (void)sync_file_range(fd, (off_t)pos, (off_t)n, SYNC_FILE_RANGE_WRITE);
}

void fio_set_mtime(int fd, int64_t ms)
{
    const struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000 };

    (void)futimens(fd, (const struct timespec[2]){ t, t });
}

enum sync_kind { SYNC_DATA, SYNC_FILE, SYNC_SYSTEM };

static int sync_plainly(int fd, enum sync_kind kind)
{
    int r;

    if (FAULT(FIO_SYNC))
        return failed();
    do
        r = kind == SYNC_DATA ? fdatasync(fd) : kind == SYNC_FILE ? fsync(fd) : syncfs(fd);
    while (r < 0 && errno == EINTR);
    return r < 0 ? failed() : OK;
}

/* Whatever the cause, the system may have given up what was to be written, and the next call would say that all is
 * well: a full disk too is ERR_IO here. */
static int sync_or_broken(int fd, enum sync_kind kind)
{
    return sync_plainly(fd, kind) == OK ? OK : ERR_IO;
}

int fio_sync(int fd)
{
    return sync_or_broken(fd, SYNC_DATA);
}

int fio_sync_dir(int fd)
{
    return sync_or_broken(fd, SYNC_FILE);
}

int fio_sync_path(int dirfd, const char *path, bool directory)
{
    int fd, rc;

    TRY(fio_open(dirfd, path, O_RDONLY | (directory ? O_DIRECTORY : 0), &fd));
    rc = sync_or_broken(fd, SYNC_FILE);
    fio_close(&fd);
    return rc;
}

int fio_sync_all(int dirfd)
{
    return sync_or_broken(dirfd, SYNC_SYSTEM);
}

int fio_rename(int dirfd, const char *from, const char *to)
{
    return FAULT(FIO_RENAME) || renameat(dirfd, from, dirfd, to) < 0 ? failed() : OK;
}

int fio_unlink(int dirfd, const char *path)
{
    if (FAULT(FIO_UNLINK))
        return failed();
    return unlinkat(dirfd, path, 0) < 0 && errno != ENOENT ? failed() : OK;
}

int fio_mkdir(int dirfd, const char *path)
{
    return FAULT(FIO_MKDIR) || mkdirat(dirfd, path, 0755) < 0 ? failed() : OK;
}

int fio_space(int dirfd, int64_t *room, int64_t *total)
{
    struct statvfs st;

    if (fstatvfs(dirfd, &st) < 0)
        return failed();
    *room = (int64_t)(st.f_bavail * st.f_frsize);
    *total = (int64_t)(st.f_blocks * st.f_frsize);
#ifdef KLAMM_KILL_POINTS
    if (atomic_load(&fake_total) > 0) {
        *room = atomic_load(&fake_room);
        *total = atomic_load(&fake_total);
    }
#endif
    return OK;
}

int fio_reserve(int dirfd, const char *path, int64_t n)
{
    int fd, rc = OK, err;

    TRY(fio_open(dirfd, path, O_WRONLY | O_CREAT, &fd));
    if (FAULT(FIO_WRITE)) {
        rc = failed();
    } else {
        do
            err = posix_fallocate(fd, 0, n);
        while (err == EINTR);
        errno = err;
        rc = err != 0 ? failed() : OK;
    }
    fio_close(&fd);
    if (rc != OK)
        (void)unlinkat(dirfd, path, 0);
    return rc;
}

int fio_size(int dirfd, const char *path, int64_t *size)
{
    struct stat st;

    if (fstatat(dirfd, path, &st, 0) < 0)
        return failed();
    *size = st.st_size;
    return OK;
}

int fio_next_entry(DIR *dir, struct dirent **e)
{
    errno = 0;
    *e = FAULT(FIO_READ) ? NULL : readdir(dir);
    return *e == NULL && errno != 0 ? failed() : OK;
}

int fio_read_file(int dirfd, const char *path, size_t max, uint8_t **p, size_t *n)
{
    struct stat st;
    uint8_t *b = NULL;
    int fd, rc;

    TRY(fio_open(dirfd, path, O_RDONLY, &fd));
    rc = fstat(fd, &st) < 0 ? failed() : OK;
    if (rc == OK && (st.st_size < 0 || (uint64_t)st.st_size > max))
        rc = ERR_TOO_LARGE;
    if (rc == OK && (b = malloc((size_t)st.st_size + 1)) == NULL)
        rc = ERR_NOMEM;
    if (rc == OK)
        rc = fio_pread(fd, b, (size_t)st.st_size, 0, n);
    fio_close(&fd);
    if (rc != OK) {
        free(b);
        return rc;
    }
    b[*n] = '\0';
    *p = b;
    return OK;
}

int fio_replace_file(int dirfd, const char *dir_path, const char *path, const void *p, size_t n, bool durable)
{
    char tmp[PATH_MAX];
    int fd, rc;

    if (snprintf(tmp, sizeof tmp, "%s.tmp", path) >= (int)sizeof tmp)
        return ERR_TOO_LARGE;
    TRY(fio_open(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC, &fd));
    KILL_POINT("replace.created");
    rc = fio_pwrite(fd, p, n, 0);
    KILL_POINT("replace.written");
    if (rc == OK && durable)
        rc = sync_plainly(fd, SYNC_DATA);   /* nobody has been told that it is there: it is thrown away */
    fio_close(&fd);
    if (rc == OK)
        rc = fio_rename(dirfd, tmp, path);
    KILL_POINT("replace.renamed");
    if (rc == OK && durable)
        rc = fio_sync_path(dirfd, dir_path, true);
    if (rc != OK) {
        (void)unlinkat(dirfd, tmp, 0);
    }
    return rc;
}
