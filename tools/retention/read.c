/* tools/retention/read.c - the segments of a partition as its directory has them. */
#include "tools/retention/retention.h"

#include "storage/fio.h"
#include "storage/index_file.h"
#include "storage/log_scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define INDEX_MAX   ((size_t)1 << 28)
#define SCAN_BUFFER ((size_t)64 << 10)
#define NAME_DIGITS 20

static int by_base(const void *a, const void *b)
{
    const struct segment_facts *x = a, *y = b;

    return (x->base > y->base) - (x->base < y->base);
}

/* Base offset of "<20 digits>.log"; -1: it is another file. */
static int64_t segment_of(const char *name)
{
    char *end;
    long long v;

    if (strspn(name, "0123456789") != NAME_DIGITS || strcmp(name + NAME_DIGITS, ".log") != 0)
        return -1;
    errno = 0;
    v = strtoll(name, &end, 10);
    return errno == 0 ? v : -1;
}

static int list(DIR *d, struct arena *a, struct segment_facts **v, size_t *n)
{
    size_t cap = 0;
    struct dirent *e;

    *v = NULL;
    *n = 0;
    while ((e = readdir(d)) != NULL) {
        int64_t base = segment_of(e->d_name);
        if (base < 0)
            continue;
        if (*n == cap) {
            struct segment_facts *more = arena_array(a, cap * 2 + 16, sizeof *more);
            if (more == NULL)
                return ERR_NOMEM;
            if (*n > 0)
                memcpy(more, *v, *n * sizeof *more);
            *v = more;
            cap = cap * 2 + 16;
        }
        (*v)[(*n)++] = (struct segment_facts){ .base = base, .timestamp = -1 };
    }
    if (*n > 0)
        qsort(*v, *n, sizeof **v, by_base);
    return OK;
}

/* The last entries of both indexes: the largest timestamp up to some batch, and where a later batch begins. */
static int read_indexes(int dir, struct segment_facts *s, uint32_t *pos)
{
    char name[64];
    uint8_t *p;
    size_t len, n;
    int rc;

    *pos = 0;
    snprintf(name, sizeof name, "%020" PRId64 ".timeindex", s->base);
    rc = fio_read_file(dir, name, INDEX_MAX, &p, &len);
    if (rc != OK)
        return rc == ERR_NOENT ? OK : rc;
    n = time_index_valid(p, len);
    if (n > 0)
        s->timestamp = time_index_get(p + (n - 1) * TIME_INDEX_ENTRY, s->base).timestamp;
    free(p);
    snprintf(name, sizeof name, "%020" PRId64 ".index", s->base);
    rc = fio_read_file(dir, name, INDEX_MAX, &p, &len);
    if (rc != OK)
        return rc == ERR_NOENT ? OK : rc;
    n = offset_index_valid(p, len, s->bytes);
    if (n > 0)
        *pos = offset_index_get(p + (n - 1) * OFFSET_INDEX_ENTRY, s->base).pos;
    free(p);
    return OK;
}

/* Batches that the indexes of the active segment do not know of yet, and where it ends. */
static int scan(int fd, struct segment_facts *s, uint32_t from)
{
    uint8_t *buf = malloc(SCAN_BUFFER);
    struct log_scan sc;

    if (buf == NULL)
        return ERR_NOMEM;
    log_scan_init(&sc, fd, from, s->bytes, buf, SCAN_BUFFER);
    while (log_scan_next(&sc)) {
        if (sc.head.max_timestamp > s->timestamp)
            s->timestamp = sc.head.max_timestamp;
        s->end = sc.head.last_offset + 1;
    }
    free(buf);
    return sc.rc == ERR_SHORT || sc.rc == ERR_CORRUPT ? OK : sc.rc;     /* the end is being written */
}

static int look_at(int dir, struct segment_facts *s)
{
    char name[64];
    struct stat st;
    uint32_t pos;
    int fd, rc;

    snprintf(name, sizeof name, "%020" PRId64 ".log", s->base);
    TRY(fio_open(dir, name, O_RDONLY, &fd));
    rc = fstat(fd, &st) == 0 ? OK : err_from_errno(errno);
    s->bytes = rc == OK ? st.st_size : 0;
    if (rc == OK)
        rc = read_indexes(dir, s, &pos);
    if (rc == OK && s->active)
        rc = scan(fd, s, pos);
    fio_close(&fd);
    s->by_mtime = s->timestamp < 0;
    if (rc == OK && s->by_mtime)
        s->timestamp = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    return rc;
}

int retention_read(const char *dir, struct arena *a, struct segment_facts **v, size_t *n, char error[512])
{
    DIR *d = opendir(dir);
    int rc;

    if (d == NULL) {
        snprintf(error, 512, "%s: %s; run this on the machine of the partition's leader, as a user who may read its "
                 "log directories", dir, strerror(errno));
        return err_from_errno(errno);
    }
    rc = list(d, a, v, n);
    for (size_t i = 0; rc == OK && i < *n; i++) {
        struct segment_facts *s = &(*v)[i];
        s->active = i + 1 == *n;
        s->end = s->active ? s->base : (*v)[i + 1].base;
        rc = look_at(dirfd(d), s);
        if (rc == ERR_NOENT) {          /* deleted while we looked */
            memmove(s, s + 1, (*n - i - 1) * sizeof *s);
            (*n)--, i--;
            rc = OK;
        }
    }
    (void)closedir(d);
    if (rc != OK)
        snprintf(error, 512, "%s: the segments cannot be read: %s", dir, err_text(rc));
    return rc;
}
