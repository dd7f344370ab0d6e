/* storage/segment.c - one segment: its files, and what its indexes get. */
#include "storage/segment.h"

#include "storage/fio.h"
#include "storage/killpoint.h"
#include "storage/open_files.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define TAIL_MIN 8
#define SHRINK_BY 8                     /* descriptors given up when the process has none left */
#define TAIL_MAX 512                    /* entries that wait in memory at most */

static const char *const suffixes[SEGMENT_FILES_N] = {
    [SEGMENT_LOG] = "log",
    [SEGMENT_INDEX] = "index",
    [SEGMENT_TIMEINDEX] = "timeindex",
    [SEGMENT_TXNINDEX] = "txnindex",
    [SEGMENT_SNAPSHOT] = "snapshot",
};

void segment_path(const struct place *p, int64_t base, enum segment_file f, const char *more,
                  char out[SEGMENT_PATH_MAX])
{
    (void)snprintf(out, SEGMENT_PATH_MAX, "%s/%020" PRId64 ".%s%s", p->dir, base, suffixes[f], more);
}

bool segment_name_parse(const char *name, int64_t *base, enum segment_file *f, const char **more)
{
    int64_t v = 0;

    for (int i = 0; i < 20; i++) {
        int d = name[i] - '0';
        if (d < 0 || d > 9 || v > (INT64_MAX - d) / 10)
            return false;
        v = v * 10 + d;
    }
    if (name[20] != '.')
        return false;
    for (int k = 0; k < SEGMENT_FILES_N; k++) {
        size_t n = strlen(suffixes[k]);
        if (strncmp(name + 21, suffixes[k], n) != 0 || (name[21 + n] != '\0' && name[21 + n] != '.'))
            continue;
        *base = v;
        *f = (enum segment_file)k;
        *more = name + 21 + n;
        return true;
    }
    return false;
}

struct segment *segment_new(const struct place *p, struct lock *view, int64_t base)
{
    struct segment *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    atomic_init(&s->refs, 1);
    atomic_init(&s->replaced, false);
    atomic_init(&s->suspect, 0);
    atomic_init(&s->rebuilt, false);
    s->place = p;
    s->view = view;
    s->base = base;
    s->last_indexed = base - 1;
    s->last_time = s->max = (struct time_index_entry){ -1, base };
    s->first_timestamp = -1;
    s->span = (struct txn_span){ INT64_MAX, -1, -1 };
    return s;
}

struct segment *segment_ref(struct segment *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void segment_unref(struct segment **sp)
{
    struct segment *s = *sp;

    *sp = NULL;
    if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    open_files_remove(s->place->files, s);
    file_unref(&s->log);
    free(s->offsets.tail);
    free(s->times.tail);
    free(s->aborts.tail);
    free(s);
}

/* Those that every segment has. .log last: without it the others are strays, which the next start removes. */
static const enum segment_file made[] = { SEGMENT_INDEX, SEGMENT_TIMEINDEX, SEGMENT_LOG };

#define MADE_N   (sizeof made / sizeof made[0])
#define PREPARED ".tmp"

static int make_files(struct segment *s, const char *more)
{
    char path[SEGMENT_PATH_MAX];
    int fd, rc = OK;

    for (size_t i = 0; i < MADE_N && rc == OK; i++) {
        segment_path(s->place, s->base, made[i], more, path);
        rc = fio_open(s->place->dirfd, path, O_WRONLY | O_CREAT | O_TRUNC, &fd);
        if (rc == OK)
            fio_close(&fd);
        KILL_POINT("segment.file_created");
    }
    return rc;
}

int segment_create_files(struct segment *s)
{
    int rc = make_files(s, "");

    s->max_known = true;
    s->first_known = true;
    return rc;
}

int segment_prepare_files(struct segment *s)
{
    char path[SEGMENT_PATH_MAX];
    int rc = make_files(s, PREPARED);

    for (size_t i = 0; i < MADE_N && rc != OK; i++) {
        segment_path(s->place, s->base, made[i], PREPARED, path);
        (void)!fio_unlink(s->place->dirfd, path);       /* what stays, the next start removes */
    }
    return rc;
}

int segment_place_files(struct segment *s)
{
    char from[SEGMENT_PATH_MAX], to[SEGMENT_PATH_MAX];

    for (size_t i = 0; i < MADE_N; i++) {
        segment_path(s->place, s->base, made[i], PREPARED, from);
        segment_path(s->place, s->base, made[i], "", to);
        TRY(fio_rename(s->place->dirfd, from, to));
        KILL_POINT("segment.file_placed");
    }
    s->max_known = true;
    s->first_known = true;
    return OK;
}

/* ---- the .log file ------------------------------------------------------------------------------------------- */

/* Out of descriptors: some that nobody uses are given up for this one. */
static int open_log(struct segment *s, int *fd)
{
    char path[SEGMENT_PATH_MAX];
    int rc;

    segment_path(s->place, s->base, SEGMENT_LOG, "", path);
    rc = fio_open(s->place->dirfd, path, O_RDWR, fd);
    if (rc != ERR_AGAIN || s->place->files == NULL)
        return rc;
    open_files_shrink(s->place->files, SHRINK_BY);
    return fio_open(s->place->dirfd, path, O_RDWR, fd);
}

int segment_file(struct segment *s, struct file_ref **out)
{
    struct file_ref *mine;
    bool opened = false;
    int fd;

    lock_take(s->view);
    *out = s->log != NULL ? file_ref(s->log) : NULL;
    s->log_used = true;
    lock_drop(s->view);
    if (*out != NULL)
        return OK;
    TRY(open_log(s, &fd));
    mine = file_ref_new(fd);
    if (mine == NULL) {
        fio_close(&fd);
        return ERR_NOMEM;
    }
    lock_take(s->view);
    if (s->log == NULL) {
        s->log = mine;
        mine = NULL;
        opened = true;
    }
    *out = file_ref(s->log);
    lock_drop(s->view);
    file_unref(&mine);                  /* somebody else was faster */
    if (opened)
        open_files_add(s->place->files, s);
    return OK;
}

int segment_write(struct segment *s, const void *p, size_t n)
{
    struct file_ref *f;
    int rc;

    TRY(segment_file(s, &f));
    rc = fio_pwrite(f->fd, p, n, s->size);
    KILL_POINT("append.written");
    if (rc != OK && fio_truncate(f->fd, s->size) != OK)
        rc = ERR_IO;
    file_unref(&f);
    return rc;
}

int segment_truncate(struct segment *s, uint32_t size)
{
    struct file_ref *f;
    int rc;

    TRY(segment_file(s, &f));
    rc = fio_truncate(f->fd, size);
    file_unref(&f);
    if (rc == OK) {
        lock_take(s->view);
        s->size = size;
        lock_drop(s->view);
    }
    return rc;
}

int segment_mtime_ms(const struct segment *s, int64_t *out)
{
    char path[SEGMENT_PATH_MAX];
    struct stat st;

    segment_path(s->place, s->base, SEGMENT_LOG, "", path);
    if (fstatat(s->place->dirfd, path, &st, 0) != 0)
        return ERR_NOENT;
    *out = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    return OK;
}

/* ---- index entries in memory and on file --------------------------------------------------------------------- */

int segment_tail_room(struct segment *s, struct index *x, size_t entry, uint32_t n)
{
    uint32_t cap = x->cap == 0 ? TAIL_MIN : x->cap * 2;
    uint8_t *t, *old;

    if (x->cap - x->n >= n)
        return OK;
    if (cap < x->n + n)
        cap = x->n + n;
    t = malloc(cap * entry);
    if (t == NULL)
        return ERR_NOMEM;
    lock_take(s->view);
    if (x->n > 0)
        memcpy(t, x->tail, x->n * entry);
    old = x->tail;
    x->tail = t;
    x->cap = cap;
    lock_drop(s->view);
    free(old);
    return OK;
}

/* Forgets what is in memory; gives back the memory. */
static uint8_t *tail_written(struct index *x)
{
    uint8_t *old = x->tail;

    x->on_file += x->n;
    x->n = x->cap = 0;
    x->tail = NULL;
    return old;
}

/* They go behind those in the file, then are forgotten here. */
int segment_tail_flush(struct segment *s, struct index *x, size_t entry, enum segment_file f)
{
    char path[SEGMENT_PATH_MAX];
    uint8_t *old;
    int fd, rc;

    if (x->n == 0)
        return OK;
    segment_path(s->place, s->base, f, "", path);
    TRY(fio_open(s->place->dirfd, path, O_WRONLY | O_CREAT | (x->on_file == 0 ? O_TRUNC : 0), &fd));
    rc = fio_pwrite(fd, x->tail, x->n * entry, (int64_t)(x->on_file * entry));
    fio_close(&fd);
    KILL_POINT("index.written");
    TRY(rc);                            /* what was written of them is written again at the same place */
    lock_take(s->view);
    old = tail_written(x);
    lock_drop(s->view);
    free(old);
    return OK;
}

int segment_index_room(struct segment *s)
{
    int rc = OK;

    if (s->offsets.n >= TAIL_MAX || s->times.n >= TAIL_MAX)
        rc = segment_flush_indexes(s, false);
    if (rc == ERR_NOSPACE)
        rc = OK;                        /* they wait until there is room */
    return rc != OK ? rc : segment_index_grow(s);
}

int segment_index_grow(struct segment *s)
{
    TRY(segment_tail_room(s, &s->offsets, OFFSET_INDEX_ENTRY, 1));
    return segment_tail_room(s, &s->times, TIME_INDEX_ENTRY, 1);
}

/* Room was made. Only a timestamp above the last entry's is worth one. */
static void time_entry(struct segment *s)
{
    if (s->max.timestamp <= s->last_time.timestamp)
        return;
    assert(s->times.n < s->times.cap);
    time_index_put(s->times.tail + (size_t)s->times.n * TIME_INDEX_ENTRY, s->base, s->max);
    s->times.n++;
    s->last_time = s->max;
}

void segment_publish(struct segment *s, uint32_t n, int64_t last_offset, int64_t max_timestamp, int64_t max_offset,
                     int32_t index_interval_bytes)
{
    lock_assert(s->view);
    if (s->size == 0) {
        s->first_timestamp = max_timestamp;
        s->first_known = true;
    }
    if (max_timestamp > s->max.timestamp)
        s->max = (struct time_index_entry){ max_timestamp, max_offset };
    if (s->since_index > (uint32_t)index_interval_bytes && last_offset > s->last_indexed) {
        assert(s->offsets.n < s->offsets.cap);
        offset_index_put(s->offsets.tail + (size_t)s->offsets.n * OFFSET_INDEX_ENTRY, s->base,
                         (struct offset_index_entry){ last_offset, s->size });
        s->offsets.n++;
        s->last_indexed = last_offset;
        time_entry(s);
        s->since_index = 0;
    }
    s->since_index += n;
    s->size += n;
}

int segment_index_end(struct segment *s)
{
    if (s->max.timestamp <= s->last_time.timestamp)
        return OK;
    TRY(segment_tail_room(s, &s->times, TIME_INDEX_ENTRY, 1));
    lock_take(s->view);
    time_entry(s);
    lock_drop(s->view);
    return OK;
}

void segment_index_written(struct segment *s)
{
    uint8_t *offsets, *times, *aborts;

    lock_take(s->view);
    offsets = tail_written(&s->offsets);
    times = tail_written(&s->times);
    aborts = tail_written(&s->aborts);
    lock_drop(s->view);
    free(offsets);
    free(times);
    free(aborts);
}

int segment_flush_indexes(struct segment *s, bool final)
{
    if (final)
        TRY(segment_index_end(s));
    TRY(segment_tail_flush(s, &s->offsets, OFFSET_INDEX_ENTRY, SEGMENT_INDEX));
    TRY(segment_tail_flush(s, &s->times, TIME_INDEX_ENTRY, SEGMENT_TIMEINDEX));
    return segment_tail_flush(s, &s->aborts, TXN_INDEX_ENTRY, SEGMENT_TXNINDEX);
}
