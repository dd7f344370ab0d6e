/* storage/segment_writer.c - writes a segment that is to take the place of others. */
#include "storage/segment_writer.h"

#include "storage/fio.h"
#include "storage/killpoint.h"
#include "storage/segment_txn.h"

#include <fcntl.h>
#include <stdlib.h>

#define WRITE_OUT_BYTES (INT64_C(8) << 20)

static const enum segment_file files[] = { SEGMENT_LOG, SEGMENT_INDEX, SEGMENT_TIMEINDEX, SEGMENT_TXNINDEX };

#define FILES_N (sizeof files / sizeof files[0])

static void cleaned_path(const struct segment_writer *w, enum segment_file f, char out[SEGMENT_PATH_MAX])
{
    segment_path(&w->at, w->seg->base, f, SEGMENT_CLEANED, out);
}

int segment_writer_init(struct segment_writer *w, int dirfd, const struct place *log, struct lock *view, int64_t base,
                        int32_t index_interval_bytes, size_t buf_bytes)
{
    char path[SEGMENT_PATH_MAX];
    struct segment *s;
    int fd, rc;

    *w = (struct segment_writer){ .at = { dirfd, "." }, .index_interval_bytes = index_interval_bytes,
                                  .cap = buf_bytes };
    w->seg = s = segment_new(log, view, base);
    w->buf = malloc(buf_bytes);
    if (s == NULL || w->buf == NULL)
        return ERR_NOMEM;
    s->max_known = s->first_known = true;
    cleaned_path(w, SEGMENT_LOG, path);
    rc = fio_open(dirfd, path, O_RDWR | O_CREAT | O_TRUNC, &fd);
    if (rc != OK)
        return rc;
    s->log = file_ref_new(fd);
    if (s->log == NULL) {
        fio_close(&fd);
        return ERR_NOMEM;
    }
    KILL_POINT("clean.created");
    return OK;
}

/* Where in the file the buffer belongs. */
static int64_t buffer_pos(const struct segment_writer *w)
{
    return (int64_t)w->seg->size - (int64_t)w->n;
}

static int flush(struct segment_writer *w)
{
    int64_t pos = buffer_pos(w), end = pos + (int64_t)w->n;
    int rc = w->n > 0 ? fio_pwrite(w->seg->log->fd, w->buf, w->n, pos) : OK;

    w->n = 0;
    if (w->early && end - w->written_out >= WRITE_OUT_BYTES) {
        fio_write_out(w->seg->log->fd, w->written_out, end - w->written_out);
        w->written_out = end;
    }
    return rc;
}

int segment_writer_batch(struct segment_writer *w, const struct batch_head *h, const uint8_t *p)
{
    struct segment *s = w->seg;

    if (h->size_bytes > (uint32_t)INT32_MAX - s->size)
        return ERR_TOO_LARGE;
    TRY(segment_index_grow(s));
    if (h->size_bytes > w->cap - w->n)
        TRY(flush(w));
    if (h->size_bytes > w->cap) {
        TRY(fio_pwrite(s->log->fd, p, h->size_bytes, s->size));
    } else {
        memcpy(w->buf + w->n, p, h->size_bytes);
        w->n += h->size_bytes;
    }
    lock_take(s->view);
    segment_publish(s, h->size_bytes, h->last_offset, h->max_timestamp, h->last_offset, w->index_interval_bytes);
    lock_drop(s->view);
    return OK;
}

int segment_writer_aborted(struct segment_writer *w, const struct txn_index_entry *e)
{
    struct segment *s = w->seg;

    TRY(segment_tail_room(s, &s->aborts, TXN_INDEX_ENTRY, 1));
    lock_take(s->view);
    segment_txn_put(s, e);
    lock_drop(s->view);
    return OK;
}

/* One of the files that wait in memory; *fd is to be synced and closed. */
static int write_file(const struct segment_writer *w, enum segment_file f, const uint8_t *p, size_t n, int *fd)
{
    char path[SEGMENT_PATH_MAX];
    int rc;

    cleaned_path(w, f, path);
    TRY(fio_open(w->at.dirfd, path, O_WRONLY | O_CREAT | O_TRUNC, fd));
    rc = n > 0 ? fio_pwrite(*fd, p, n, 0) : OK;
    fio_write_out(*fd, 0, 0);           /* 0: to the end */
    KILL_POINT("clean.index_written");
    return rc;
}

static int write_files(struct segment_writer *w, int fds[FILES_N])
{
    struct segment *s = w->seg;

    TRY(segment_index_end(s));
    TRY(write_file(w, SEGMENT_INDEX, s->offsets.tail, (size_t)s->offsets.n * OFFSET_INDEX_ENTRY, &fds[0]));
    TRY(write_file(w, SEGMENT_TIMEINDEX, s->times.tail, (size_t)s->times.n * TIME_INDEX_ENTRY, &fds[1]));
    if (s->aborts.n == 0)
        return OK;
    return write_file(w, SEGMENT_TXNINDEX, s->aborts.tail, (size_t)s->aborts.n * TXN_INDEX_ENTRY, &fds[2]);
}

/* All is on its way to the disk before the first sync is waited for: one commit of the file system's journal then
 * serves for every file. */
int segment_writer_finish(struct segment_writer *w, int64_t mtime_ms)
{
    int fds[FILES_N] = { -1, -1, -1, -1 };
    char path[SEGMENT_PATH_MAX];
    int rc = flush(w);

    if (rc == OK) {
        fio_set_mtime(w->seg->log->fd, mtime_ms);
        fio_write_out(w->seg->log->fd, 0, 0);
        rc = write_files(w, fds);
    }
    cleaned_path(w, SEGMENT_LOG, path);
    if (rc == OK)
        rc = fio_sync_path(w->at.dirfd, path, false);
    KILL_POINT("clean.log_written");
    for (size_t i = 0; i < FILES_N; i++) {
        if (rc == OK && fds[i] >= 0)
            rc = fio_sync(fds[i]);
        fio_close(&fds[i]);
    }
    return rc;
}

int segment_writer_rename(const struct segment_writer *w, const char *from, const char *to)
{
    char a[SEGMENT_PATH_MAX], b[SEGMENT_PATH_MAX];

    for (size_t i = 0; i < FILES_N; i++) {
        if (files[i] == SEGMENT_TXNINDEX && w->seg->span.last < 0)
            continue;
        segment_path(&w->at, w->seg->base, files[i], from, a);
        segment_path(&w->at, w->seg->base, files[i], to, b);
        TRY(fio_rename(w->at.dirfd, a, b));
        KILL_POINT("clean.renamed");
    }
    return OK;
}

struct segment *segment_writer_take(struct segment_writer *w)
{
    struct segment *s = w->seg;

    w->seg = NULL;
    return s;
}

void segment_writer_fini(struct segment_writer *w)
{
    char path[SEGMENT_PATH_MAX];

    for (size_t i = 0; w->seg != NULL && i < FILES_N; i++) {
        cleaned_path(w, files[i], path);
        (void)!fio_unlink(w->at.dirfd, path);            /* what stays, the next start removes */
    }
    segment_unref(&w->seg);
    free(w->buf);
    w->buf = NULL;
}
