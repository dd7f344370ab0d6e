/* storage/cleaner_read.c - reads a segment batch by batch. */
#include "storage/cleaner_read.h"

#include "storage/fio.h"

#include <stdlib.h>

int batch_reader_init(struct batch_reader *r, size_t buffer_bytes)
{
    *r = (struct batch_reader){ .cap = buffer_bytes, .buf = malloc(buffer_bytes) };
    return r->buf != NULL ? OK : ERR_NOMEM;
}

int batch_reader_open(struct batch_reader *r, struct segment *s, int64_t next_base)
{
    file_unref(&r->file);
    r->pos = 0;
    r->at = r->n = 0;
    r->head = (struct batch_head){ 0 };
    r->size = s->size;
    r->low = s->base;
    r->end = next_base;
    r->rc = segment_file(s, &r->file);
    return r->rc;
}

void batch_reader_fini(struct batch_reader *r)
{
    file_unref(&r->file);
    free(r->buf);
    r->buf = NULL;
}

static int make_room(struct batch_reader *r, size_t want)
{
    uint8_t *bigger;

    if (r->at > 0) {
        memmove(r->buf, r->buf + r->at, r->n - r->at);
        r->n -= r->at;
        r->at = 0;
    }
    if (want <= r->cap)
        return OK;
    bigger = realloc(r->buf, want);
    if (bigger == NULL)
        return ERR_NOMEM;
    r->buf = bigger;
    r->cap = want;
    return OK;
}

/* At least `want` bytes from at on, or all that the segment has. */
static int fill(struct batch_reader *r, size_t want)
{
    int64_t left = r->size - r->pos - (int64_t)(r->n - r->at);
    size_t got;

    if (r->n - r->at >= want || left <= 0)
        return OK;
    TRY(make_room(r, want));
    got = r->cap - r->n;
    if ((int64_t)got > left)
        got = (size_t)left;
    if (r->pace != NULL)
        TRY(r->pace(r->pace_arg, got));
    TRY(fio_pread_all(r->file->fd, r->buf + r->n, got, r->pos + (int64_t)(r->n - r->at)));
    r->n += got;
    r->read_bytes += (int64_t)got;
    return OK;
}

static int check_offsets(struct batch_reader *r)
{
    const struct batch_head *h = &r->head;

    if ((h->base_offset >= 0 ? h->base_offset : h->last_offset) < r->low || h->last_offset < r->low ||
        h->last_offset >= r->end)
        return ERR_CORRUPT;
    r->first = h->base_offset >= 0 ? h->base_offset : r->low;
    r->low = h->last_offset + 1;
    return OK;
}

static int next(struct batch_reader *r)
{
    TRY(fill(r, BATCH_HEAD_BYTES));
    TRY(batch_head_read(&r->head, r->buf + r->at, r->n - r->at));
    if ((int64_t)r->head.size_bytes > r->size - r->pos)
        return ERR_SHORT;
    TRY(fill(r, r->head.size_bytes));
    r->p = r->buf + r->at;
    TRY(batch_check(&r->head, r->p));
    return check_offsets(r);
}

bool batch_reader_next(struct batch_reader *r)
{
    if (r->rc != OK)
        return false;
    r->pos += r->head.size_bytes;
    r->at += r->head.size_bytes;
    r->head.size_bytes = 0;
    if (r->pos >= r->size)
        return false;
    r->rc = next(r);
    if (r->rc == ERR_SHORT)
        r->rc = ERR_CORRUPT;            /* goes on past the end */
    return r->rc == OK;
}
