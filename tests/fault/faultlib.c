/* tests/fault/faultlib.c - for LD_PRELOAD: the disk below some directories fails, tears or forgets as a test says.
 *
 * $FAULT_ROOTS names the directories (real paths, ':' between them), $FAULT_CONTROL the file of faultlib.h. Files
 * elsewhere are left alone. Every call that changes something is made, and written to the journal, under one mutex, so
 * that the journal's order is the order in which it happened. With a journal syncs are not done (no_sync), so what one
 * covers is what stands before it there. Calls go to the kernel by syscall(), past the wrappers of a sanitizer.
 */
#include "tests/fault/faultlib.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS_MAX   (1 << 20)
#define ROOTS_MAX 8

static struct fault_control *ctl;
static int journal_fd = -1;
static char *roots[ROOTS_MAX];
static size_t roots_n;
static _Atomic uint8_t fd_root[FDS_MAX];        /* index in roots + 1; 0: none of ours */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* What becomes of a call. */
struct verdict {
    bool hit;
    enum fault_action action;
    int  err;
};

/* ---- start ---- */

static int raw_open(const char *path, int flags)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0644);
}

static void journal(enum fault_entry kind, int fd, uint64_t at, const void *p, size_t n)
{
    struct fault_head h = { .kind = kind, .fd = fd, .at = at, .size = n };
    struct iovec v[2] = { { &h, sizeof h }, { (void *)(uintptr_t)p, n } };

    if (journal_fd < 0 || !ctl->journal)
        return;
    if (syscall(SYS_writev, journal_fd, v, 2) != (long)(sizeof h + n))
        abort();                    /* a test without room for its notes is no test */
    atomic_fetch_add(&ctl->journalled, 1);
}

static void start(void)
{
    const char *control = getenv("FAULT_CONTROL"), *where = getenv("FAULT_ROOTS"), *notes = getenv("FAULT_JOURNAL");
    char *copy, *one, *rest;
    int fd;

    if (control == NULL || where == NULL || (fd = raw_open(control, O_RDWR)) < 0)
        return;
    ctl = mmap(NULL, sizeof *ctl, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    copy = strdup(where);
    if (ctl == MAP_FAILED || copy == NULL)
        abort();
    for (one = strtok_r(copy, ":", &rest); one != NULL && roots_n < ROOTS_MAX; one = strtok_r(NULL, ":", &rest))
        roots[roots_n++] = one;
    if (notes != NULL)
        journal_fd = raw_open(notes, O_WRONLY | O_CREAT | O_APPEND);
    journal(ENTRY_START, getpid(), 0, NULL, 0);
}

static bool active(void)
{
    pthread_once(&once, start);
    return ctl != NULL;
}

/* ---- which file ---- */

/* Index of its root + 1. */
static uint8_t root_of(const char *path)
{
    for (size_t i = 0; i < roots_n; i++) {
        size_t n = strlen(roots[i]);

        if (strncmp(path, roots[i], n) == 0 && (path[n] == '/' || path[n] == '\0'))
            return (uint8_t)(i + 1);
    }
    return 0;
}

static void fd_path(int fd, char out[PATH_MAX])
{
    char name[64];
    ssize_t n;

    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    n = syscall(SYS_readlinkat, AT_FDCWD, name, out, PATH_MAX - 1);
    out[n > 0 ? n : 0] = '\0';
}

/* The whole path of a name; gives its root. */
static uint8_t resolve(int dirfd, const char *name, char out[PATH_MAX])
{
    size_t n = 0;

    out[0] = '\0';
    if (!active() || (name[0] != '/' && dirfd != AT_FDCWD && (dirfd < 0 || dirfd >= FDS_MAX || !fd_root[dirfd])))
        return 0;
    if (name[0] != '/') {
        if (dirfd != AT_FDCWD)
            fd_path(dirfd, out);
        else if (getcwd(out, PATH_MAX) == NULL)
            return 0;
        n = strlen(out);
        if (strcmp(name, ".") == 0)
            return root_of(out);
        if (n + 1 < PATH_MAX)
            out[n++] = '/';
    }
    snprintf(out + n, PATH_MAX - n, "%s", name);
    return root_of(out);
}

static uint8_t root_of_fd(int fd)
{
    return active() && fd >= 0 && fd < FDS_MAX ? fd_root[fd] : 0;
}

/* ---- what becomes of it ---- */

/* Under the mutex, so that the journal has all that the others have done. */
static void die(void)
{
    pthread_mutex_lock(&mutex);
    kill(getpid(), SIGKILL);
    pause();
}

static bool is_meant(enum fault_op op, uint8_t root, const char *path, bool *again)
{
    *again = false;
    if (!ctl->on || (ctl->kinds & (1U << op)) == 0 || (ctl->match[0] != '\0' && strstr(path, ctl->match) == NULL))
        return false;
    *again = ctl->for_good && ctl->fired > 0 && ctl->fired_root == root;
    return true;
}

static struct verdict judge(enum fault_op op, uint8_t root, const char *path)
{
    struct verdict v = { .action = (enum fault_action)ctl->action, .err = (int)ctl->err };
    bool again;

    atomic_fetch_add(&ctl->calls[op], 1);
    if (!is_meant(op, root, path, &again))
        return v;
    v.hit = (atomic_fetch_add(&ctl->matched, 1) + 1 == ctl->at) || again;
    if (v.hit && atomic_fetch_add(&ctl->fired, 1) == 0) {
        ctl->fired_op = op;
        ctl->fired_root = root;
        snprintf(ctl->fired_path, sizeof ctl->fired_path, "%s", path);
    }
    if (v.hit && v.action == FAULT_KILL_BEFORE)
        die();
    return v;
}

static struct verdict judge_fd(enum fault_op op, uint8_t root, int fd)
{
    char path[PATH_MAX] = "";

    if (ctl->on && (ctl->match[0] != '\0' || ctl->matched + 1 == ctl->at))
        fd_path(fd, path);
    return judge(op, root, path);
}

/* True: the call is over, with errno. Half done is for reads and writes only. */
static bool refused(struct verdict v)
{
    if (!v.hit || (v.action != FAULT_ERROR && v.action != FAULT_TORN))
        return false;
    errno = v.err;
    return true;
}

static void after(struct verdict v)
{
    if (v.hit && (v.action == FAULT_KILL_AFTER || v.action == FAULT_KILL_TORN))
        die();
}

/* How much of n bytes is really done. */
static size_t part_of(struct verdict v, size_t n)
{
    bool half = v.hit && (v.action == FAULT_SHORT || v.action == FAULT_TORN || v.action == FAULT_KILL_TORN);

    return half && n > 1 ? n / 2 : n;
}

/* ---- open, close ---- */

static void opened(int fd, uint8_t root, int flags, bool existed)
{
    char path[PATH_MAX];
    uint64_t how = (existed ? 0 : OPEN_CREATED) | ((flags & O_TRUNC) ? OPEN_TRUNCATED : 0) |
                   ((flags & O_DSYNC) ? OPEN_DSYNC : 0);

    if (fd < 0 || fd >= FDS_MAX)
        return;
    fd_path(fd, path);
    fd_root[fd] = root;
    journal(ENTRY_OPEN, fd, how, path, strlen(path));
}

static int do_open(int dirfd, const char *name, int flags, mode_t mode)
{
    char path[PATH_MAX];
    uint8_t root = resolve(dirfd, name, path);
    struct verdict v;
    struct stat st;
    bool existed;
    int fd;

    if (root == 0)
        return (int)syscall(SYS_openat, dirfd, name, flags, mode);
    v = judge(FAULT_OPEN, root, path);
    if (refused(v))
        return -1;
    pthread_mutex_lock(&mutex);
    existed = (flags & O_CREAT) == 0 || fstatat(dirfd, name, &st, 0) == 0;
    fd = (int)syscall(SYS_openat, dirfd, name, flags, mode);
    opened(fd, root, flags, existed);
    pthread_mutex_unlock(&mutex);
    after(v);
    return fd;
}

static mode_t mode_of(int flags, va_list *ap)
{
    return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(*ap, mode_t) : 0;
}

#define OPEN_BODY(dirfd)                    \
    va_list ap;                             \
    mode_t mode;                            \
                                            \
    va_start(ap, flags);                    \
    mode = mode_of(flags, &ap);             \
    va_end(ap);                             \
    return do_open(dirfd, path, flags, mode)

int open(const char *path, int flags, ...) { OPEN_BODY(AT_FDCWD); }
int open64(const char *path, int flags, ...) { OPEN_BODY(AT_FDCWD); }
int openat(int dirfd, const char *path, int flags, ...) { OPEN_BODY(dirfd); }
int openat64(int dirfd, const char *path, int flags, ...) { OPEN_BODY(dirfd); }

int close(int fd)
{
    if (root_of_fd(fd) != 0)
        fd_root[fd] = 0;
    return (int)syscall(SYS_close, fd);
}

/* ---- reads ---- */

static ssize_t do_read(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    uint8_t root = root_of_fd(fd);
    struct iovec one;
    struct verdict d;

    if (root != 0) {
        d = judge_fd(FAULT_READ, root, fd);
        if (refused(d))
            return -1;
        if (d.hit && d.action == FAULT_SHORT && n > 0) {
            one = (struct iovec){ v[0].iov_base, part_of(d, v[0].iov_len) };
            v = &one;
            n = 1;
        }
    }
    return at < 0 ? syscall(SYS_readv, fd, v, n) : syscall(SYS_preadv2, fd, v, n, (long)at, 0L, (long)flags);
}

ssize_t read(int fd, void *p, size_t n) { return do_read(fd, &(struct iovec){ p, n }, 1, -1, 0); }
ssize_t pread(int fd, void *p, size_t n, off_t at) { return do_read(fd, &(struct iovec){ p, n }, 1, at, 0); }
ssize_t pread64(int fd, void *p, size_t n, off_t at) { return do_read(fd, &(struct iovec){ p, n }, 1, at, 0); }
ssize_t preadv(int fd, const struct iovec *v, int n, off_t at) { return do_read(fd, v, n, at, 0); }
ssize_t preadv2(int fd, const struct iovec *v, int n, off_t at, int f) { return do_read(fd, v, n, at, f); }

static ssize_t do_sendfile(int out, int in, off_t *at, size_t n)
{
    uint8_t root = root_of_fd(in);
    struct verdict d = { 0 };

    if (root != 0)
        d = judge_fd(FAULT_READ, root, in);
    if (refused(d))
        return -1;
    return syscall(SYS_sendfile, out, in, at, part_of(d, n));
}

ssize_t sendfile(int out, int in, off_t *at, size_t n) { return do_sendfile(out, in, at, n); }
ssize_t sendfile64(int out, int in, off_t *at, size_t n) { return do_sendfile(out, in, at, n); }

/* The directory that a listing reads is known by its descriptor. */
struct dirent *readdir(DIR *dir)
{
    struct dirent *(*next)(DIR *) = (struct dirent *(*)(DIR *))dlsym(RTLD_NEXT, "readdir");
    uint8_t root = root_of_fd(dirfd(dir));

    if (root != 0 && refused(judge_fd(FAULT_LIST, root, dirfd(dir))))
        return NULL;
    return next(dir);
}

DIR *opendir(const char *name)
{
    DIR *(*next)(const char *) = (DIR *(*)(const char *))dlsym(RTLD_NEXT, "opendir");
    char path[PATH_MAX];
    uint8_t root = resolve(AT_FDCWD, name, path);
    DIR *d;

    if (root != 0 && refused(judge(FAULT_LIST, root, path)))
        return NULL;
    d = next(name);
    if (d != NULL && root != 0 && dirfd(d) < FDS_MAX)
        fd_root[dirfd(d)] = root;
    return d;
}

int closedir(DIR *d)
{
    int (*next)(DIR *) = (int (*)(DIR *))dlsym(RTLD_NEXT, "closedir");

    if (root_of_fd(dirfd(d)) != 0)
        fd_root[dirfd(d)] = 0;
    return next(d);
}

/* ---- writes ---- */

static size_t total(const struct iovec *v, int n)
{
    size_t sum = 0;

    for (int i = 0; i < n; i++)
        sum += v[i].iov_len;
    return sum;
}

/* Under the mutex: to the journal goes what the kernel has taken. */
static void note_write(int fd, const struct iovec *v, int n, off_t at, size_t done)
{
    for (int i = 0; i < n && done > 0; i++) {
        size_t k = v[i].iov_len < done ? v[i].iov_len : done;

        journal(ENTRY_WRITE, fd, (uint64_t)at, v[i].iov_base, k);
        at += (off_t)k;
        done -= k;
    }
}

static ssize_t write_now(int fd, const struct iovec *v, int n, off_t at)
{
    off_t from = at;
    ssize_t done;

    pthread_mutex_lock(&mutex);
    done = at < 0 ? syscall(SYS_writev, fd, v, n) : syscall(SYS_pwritev, fd, v, n, (long)at, 0L);
    if (done > 0 && at < 0)
        from = (off_t)syscall(SYS_lseek, fd, 0L, SEEK_CUR) - (off_t)done;
    if (done > 0)
        note_write(fd, v, n, from, (size_t)done);
    pthread_mutex_unlock(&mutex);
    return done;
}

/* `at` < 0: where the descriptor stands. */
static ssize_t do_write(int fd, const struct iovec *v, int n, off_t at)
{
    uint8_t root = root_of_fd(fd);
    struct verdict d;
    struct iovec half;
    ssize_t done;

    if (root == 0)
        return at < 0 ? syscall(SYS_writev, fd, v, n) : syscall(SYS_pwritev, fd, v, n, (long)at, 0L);
    d = judge_fd(FAULT_WRITE, root, fd);
    if (d.hit && d.action == FAULT_ERROR) {
        errno = d.err;
        return -1;
    }
    if (part_of(d, total(v, n)) != total(v, n)) {
        half = (struct iovec){ v[0].iov_base, part_of(d, v[0].iov_len) };
        v = &half;
        n = 1;
    }
    done = write_now(fd, v, n, at);
    after(d);
    return refused(d) ? -1 : done;
}

ssize_t write(int fd, const void *p, size_t n)
{
    return do_write(fd, &(struct iovec){ (void *)(uintptr_t)p, n }, 1, -1);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    return do_write(fd, &(struct iovec){ (void *)(uintptr_t)p, n }, 1, at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off_t at) { return pwrite(fd, p, n, at); }
ssize_t writev(int fd, const struct iovec *v, int n) { return do_write(fd, v, n, -1); }
ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at) { return do_write(fd, v, n, at); }
ssize_t pwritev64(int fd, const struct iovec *v, int n, off_t at) { return do_write(fd, v, n, at); }

int ftruncate(int fd, off_t size)
{
    uint8_t root = root_of_fd(fd);
    struct verdict v;
    int rc;

    if (root == 0)
        return (int)syscall(SYS_ftruncate, fd, size);
    v = judge_fd(FAULT_TRUNCATE, root, fd);
    if (refused(v))
        return -1;
    pthread_mutex_lock(&mutex);
    rc = (int)syscall(SYS_ftruncate, fd, size);
    if (rc == 0)
        journal(ENTRY_TRUNCATE, fd, (uint64_t)size, NULL, 0);
    pthread_mutex_unlock(&mutex);
    after(v);
    return rc;
}

int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

static int do_allocate(int fd, int mode, off_t at, off_t n)
{
    uint8_t root = root_of_fd(fd);

    if (root != 0 && refused(judge_fd(FAULT_WRITE, root, fd)))
        return -1;
    return (int)syscall(SYS_fallocate, fd, mode, at, n);
}

int fallocate(int fd, int mode, off_t at, off_t n) { return do_allocate(fd, mode, at, n); }
int posix_fallocate(int fd, off_t at, off_t n) { return do_allocate(fd, 0, at, n) == 0 ? 0 : errno; }

/* ---- syncs ---- */

/* What was written before it began is on the disk when it has ended well. One that failed may have thrown it away. */
static int do_sync(int fd, long call, enum fault_entry entry)
{
    uint8_t root = root_of_fd(fd);
    struct verdict v;
    int rc = 0;

    if (root == 0)
        return (int)syscall(call, fd);
    if (ctl->sync_delay_us > 0)
        poll(NULL, 0, (int)((ctl->sync_delay_us + 999) / 1000));
    v = judge_fd(FAULT_SYNC, root, fd);
    if (refused(v))
        rc = -1;
    else if (!ctl->no_sync)
        rc = (int)syscall(call, fd);
    pthread_mutex_lock(&mutex);
    journal(entry, fd, rc == 0, NULL, 0);
    pthread_mutex_unlock(&mutex);
    after(v);
    if (refused(v))
        return -1;
    return rc;
}

int fsync(int fd) { return do_sync(fd, SYS_fsync, ENTRY_SYNC); }
int fdatasync(int fd) { return do_sync(fd, SYS_fdatasync, ENTRY_SYNC); }
int syncfs(int fd) { return do_sync(fd, SYS_syncfs, ENTRY_SYNCFS); }

/* ---- names ---- */

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    char a[PATH_MAX], both[2 * PATH_MAX];
    uint8_t root = resolve(from_dir, from, a);
    struct verdict v;
    size_t n;
    int rc;

    if (root == 0)
        return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
    v = judge(FAULT_RENAME, root, a);
    if (refused(v))
        return -1;
    n = (size_t)snprintf(both, sizeof both, "%s", a) + 1;
    (void)resolve(to_dir, to, a);
    n += (size_t)snprintf(both + n, sizeof both - n, "%s", a);
    pthread_mutex_lock(&mutex);
    rc = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
    if (rc == 0)
        journal(ENTRY_RENAME, -1, 0, both, n);
    pthread_mutex_unlock(&mutex);
    after(v);
    return rc;
}

int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

/* Calls that name one file. */
static int by_name(enum fault_op op, enum fault_entry entry, int dirfd, const char *name, long call, long arg)
{
    char path[PATH_MAX];
    uint8_t root = resolve(dirfd, name, path);
    struct verdict v;
    int rc;

    if (root == 0)
        return (int)syscall(call, dirfd, name, arg);
    v = judge(op, root, path);
    if (refused(v))
        return -1;
    pthread_mutex_lock(&mutex);
    rc = (int)syscall(call, dirfd, name, arg);
    if (rc == 0)
        journal(entry, -1, 0, path, strlen(path));
    pthread_mutex_unlock(&mutex);
    after(v);
    return rc;
}

int unlinkat(int dirfd, const char *p, int f) { return by_name(FAULT_UNLINK, ENTRY_UNLINK, dirfd, p, SYS_unlinkat, f); }
int unlink(const char *p) { return by_name(FAULT_UNLINK, ENTRY_UNLINK, AT_FDCWD, p, SYS_unlinkat, 0); }
int rmdir(const char *p) { return by_name(FAULT_UNLINK, ENTRY_UNLINK, AT_FDCWD, p, SYS_unlinkat, AT_REMOVEDIR); }
int mkdirat(int dirfd, const char *p, mode_t m) { return by_name(FAULT_MKDIR, ENTRY_MKDIR, dirfd, p, SYS_mkdirat, m); }
int mkdir(const char *p, mode_t m) { return by_name(FAULT_MKDIR, ENTRY_MKDIR, AT_FDCWD, p, SYS_mkdirat, m); }
