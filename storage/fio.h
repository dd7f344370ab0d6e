/* storage/fio.h - the system calls that touch files: retried on EINTR, short counts finished, errno turned into
 * ERR_*.
 *
 * All paths are relative to an open directory (the log directory, or AT_FDCWD), so that a log needs no descriptor
 * of its own.
 * OWNER    descriptors given out belong to the caller.
 * LOCKS    none taken; callers say which lock they hold across a call.
 * FAILURE  ERR_NOSPACE (ENOSPC, EDQUOT, EFBIG: a limit on the size of files), ERR_NOENT, ERR_EXISTS, ERR_DENIED,
 *          ERR_NOMEM, ERR_AGAIN (out of descriptors), ERR_IO for everything else: whoever decides what follows also
 *          writes the line to the log. fio_errno() is the errno of the last failure on this thread, for that line.
 */
#ifndef STORAGE_FIO_H
#define STORAGE_FIO_H

#include "base/err.h"

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int fio_errno(void);
/* The text of a failed call's result; out of descriptors, also what to do. */
const char *fio_text(int rc);

#ifdef KLAMM_KILL_POINTS
/* For tests: from the n-th call on (1: the next) every call of this kind fails with err; err 0 ends that. */
enum fio_op { FIO_OPEN, FIO_READ, FIO_WRITE, FIO_TRUNCATE, FIO_SYNC, FIO_RENAME, FIO_UNLINK, FIO_MKDIR, FIO_OPS_N };
void fio_fail(enum fio_op op, int err, int n);
/* From now on every sync waits before it does anything, until stall is false; how many do, and how many came so far. */
void fio_stall_syncs(bool stall);
int  fio_stalled(void);
int  fio_syncs(void);
/* What fio_space() tells from now on; total 0: the truth. */
void fio_fake_space(int64_t room, int64_t total);
#endif

int fio_open(int dirfd, const char *path, int flags, int *fd) must_use;     /* O_CLOEXEC added; mode 0644 */
void fio_close(int *fd);                                                    /* *fd becomes -1; -1 is fine */
int fio_pread(int fd, void *p, size_t n, int64_t pos, size_t *got) must_use;    /* fewer: end of file */
int fio_pread_all(int fd, void *p, size_t n, int64_t pos) must_use;         /* ERR_SHORT: the file ends before */
int fio_pwrite(int fd, const void *p, size_t n, int64_t pos) must_use;      /* all of it, or an error with some of it */
int fio_truncate(int fd, int64_t size) must_use;
/* Begins to write these bytes out, so that a sync that comes later has less to wait for. Promises nothing. */
void fio_write_out(int fd, int64_t pos, int64_t n);
/* As of then the file was last written; what fails here is not worth a word. */
void fio_set_mtime(int fd, int64_t ms);
/* Whatever fails here is ERR_IO: what was to be written may be lost, and trying again would hide it. */
int fio_sync(int fd) must_use;                                              /* fdatasync */
int fio_sync_dir(int fd) must_use;                                          /* fsync of an open directory */
int fio_sync_path(int dirfd, const char *path, bool directory) must_use;    /* fsync by name; "." is dirfd itself */
int fio_sync_all(int dirfd) must_use;                                       /* syncfs: all of the file system */
int fio_rename(int dirfd, const char *from, const char *to) must_use;
int fio_unlink(int dirfd, const char *path) must_use;                       /* a file that is not there is OK */
int fio_mkdir(int dirfd, const char *path) must_use;                        /* ERR_EXISTS */
int fio_space(int dirfd, int64_t *room, int64_t *total) must_use;           /* bytes that we may use; of the volume */
/* Makes the file or lets it grow to n bytes that have their place on the disk; after a failure it is not there. */
int fio_reserve(int dirfd, const char *path, int64_t n) must_use;
int fio_size(int dirfd, const char *path, int64_t *size) must_use;

/* The next entry of a directory; NULL: that was all. What fails must not look like the end of the list. */
int fio_next_entry(DIR *dir, struct dirent **e) must_use;

/* A whole small file, malloc'ed, NUL added; ERR_TOO_LARGE above max. */
int fio_read_file(int dirfd, const char *path, size_t max, uint8_t **p, size_t *n) must_use;

/* Replaces `path` by these bytes: <path>.tmp, write, [fsync,] rename[, fsync of the directory dir_path]. After a
 * failure the old content is still there. `durable` false leaves both fsyncs to the syncer. */
int fio_replace_file(int dirfd, const char *dir_path, const char *path, const void *p, size_t n, bool durable) must_use;

#endif
