/* storage/dir_scan.c - which partitions lie in a log directory.
 *
 * The latest leader epoch comes from leader-epoch-checkpoint. Where that file is missing or damaged it is looked for in
 * the batches at the beginning of the last segment, so that a log with epochs is not begun anew at 0.
 */
#include "storage/dir_scan.h"

#include "storage/checkpoint_file.h"
#include "storage/fio.h"
#include "storage/log_scan.h"
#include "storage/meta_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define EPOCH_FILE_MAX  (64 * 1024 * 1024)
#define LOOK_BYTES      (16 * 1024 * 1024)      /* of the last segment */
#define LOG_NAME_LEN    24                      /* 20 digits and ".log" */

bool log_name_parse(const char *name, struct str *topic, int32_t *partition)
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

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), e = strlen(end);

    return n > e && strcmp(name + n - e, end) == 0;
}

static bool is_directory(int fd, const struct dirent *e)
{
    struct stat st;

    if (e->d_type != DT_UNKNOWN)
        return e->d_type == DT_DIR;
    return fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* Gives a DIR of the path below dirfd, or NULL and *rc. */
static DIR *open_dir(int dirfd, const char *path, int *rc)
{
    DIR *dir;
    int fd;

    *rc = fio_open(dirfd, path, O_RDONLY | O_DIRECTORY, &fd);
    if (*rc != OK)
        return NULL;
    dir = fdopendir(fd);
    if (dir == NULL) {
        *rc = err_from_errno(errno);
        fio_close(&fd);
    }
    return dir;
}

/* ---- the latest epoch ------------------------------------------------------------------------------------------ */

static int32_t epoch_of_file(int dirfd, const char *name)
{
    char path[PATH_MAX];
    struct epoch_entry *v = NULL;
    size_t size, n = 0, line;
    int32_t latest = -1;
    uint8_t *text;

    (void)snprintf(path, sizeof path, "%s/" CHECKPOINT_LEADER_EPOCH, name);
    if (fio_read_file(dirfd, path, EPOCH_FILE_MAX, &text, &size) != OK)
        return -1;
    if (epoch_checkpoint_parse(text, size, &v, &n, &line) == OK)
        for (size_t i = 0; i < n; i++)
            latest = v[i].epoch > latest ? v[i].epoch : latest;
    free(v);
    free(text);
    return latest;
}

/* The name of the last segment's .log, in `last`; "": there is none. */
static void last_segment(int dirfd, const char *name, char last[LOG_NAME_LEN + 1])
{
    struct dirent *e;
    int rc;
    DIR *dir = open_dir(dirfd, name, &rc);

    last[0] = '\0';
    if (dir == NULL)
        return;
    while (fio_next_entry(dir, &e) == OK && e != NULL)
        if (strlen(e->d_name) == LOG_NAME_LEN && ends_with(e->d_name, ".log") && strcmp(e->d_name, last) > 0)
            memcpy(last, e->d_name, LOG_NAME_LEN + 1);
    (void)closedir(dir);
}

static int32_t epoch_of_batches(int dirfd, const char *name)
{
    char path[PATH_MAX], last[LOG_NAME_LEN + 1];
    uint8_t buf[16384];
    int32_t latest = -1;
    struct log_scan s;
    int64_t size;
    int fd;

    last_segment(dirfd, name, last);
    (void)snprintf(path, sizeof path, "%s/%s", name, last);
    if (last[0] == '\0' || fio_size(dirfd, path, &size) != OK || fio_open(dirfd, path, O_RDONLY, &fd) != OK)
        return -1;
    log_scan_init(&s, fd, 0, size < LOOK_BYTES ? size : LOOK_BYTES, buf, sizeof buf);
    while (log_scan_next(&s) && s.head.magic == 2)
        latest = s.head.leader_epoch > latest ? s.head.leader_epoch : latest;
    fio_close(&fd);
    return latest;
}

/* ---- */

static int one_entry(int fd, const char *name, bool names_only, dir_scan_fn *fn, void *arg, struct dir_scan_rest *rest)
{
    struct dir_scan_found f = { .epoch = -1 };

    rest->kraft |= strcmp(name, "__cluster_metadata-0") == 0;
    rest->deletions += ends_with(name, "-delete");
    rest->futures += ends_with(name, "-future");
    rest->strays += ends_with(name, "-stray");
    if (strcmp(name, "__cluster_metadata-0") == 0 || !log_name_parse(name, &f.topic, &f.partition))
        return OK;
    if (names_only)
        return fn(arg, &f);
    if (partition_metadata_read(fd, name, &f.topic_id) != OK)
        f.topic_id = (struct uuid){ { 0 } };
    f.epoch = epoch_of_file(fd, name);
    if (f.epoch < 0)
        f.epoch = epoch_of_batches(fd, name);
    return fn(arg, &f);
}

int dir_scan(const char *path, bool names_only, dir_scan_fn *fn, void *arg, struct dir_scan_rest *rest)
{
    struct dirent *e;
    int rc;
    DIR *dir = open_dir(AT_FDCWD, path, &rc);

    if (dir == NULL)
        return rc;
    while (rc == OK && (rc = fio_next_entry(dir, &e)) == OK && e != NULL)
        if (is_directory(dirfd(dir), e))
            rc = one_entry(dirfd(dir), e->d_name, names_only, fn, arg, rest);
    (void)closedir(dir);
    return rc;
}
