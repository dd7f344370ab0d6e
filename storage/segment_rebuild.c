/* storage/segment_rebuild.c - the indexes of a segment, made anew from the headers of its batches. */
#include "storage/segment.h"

#include "storage/fio.h"
#include "storage/log_scan.h"

#include <fcntl.h>
#include <stdlib.h>

int segment_cut_index(struct segment *s, enum segment_file f, int64_t bytes)
{
    char path[SEGMENT_PATH_MAX];
    int fd, rc;

    segment_path(s->place, s->base, f, "", path);
    TRY(fio_open(s->place->dirfd, path, O_WRONLY | O_CREAT, &fd));
    rc = fio_truncate(fd, bytes);
    fio_close(&fd);
    return rc;
}

/* The batches of s, published in t, which has the same files. *damage: where one does not parse; -1. */
static int publish_all(struct segment *s, struct segment *t, int32_t interval_bytes, int64_t *damage)
{
    const size_t cap = (size_t)64 << 10;
    uint8_t *buf = malloc(cap);
    struct file_ref *f = NULL;
    struct log_scan sc;
    int rc = buf != NULL ? segment_file(s, &f) : ERR_NOMEM;

    if (rc == OK)
        log_scan_init(&sc, f->fd, 0, s->size, buf, cap);
    while (rc == OK && log_scan_next(&sc)) {
        const struct batch_head *h = &sc.head;
        if (h->last_offset < s->base || h->last_offset > OFFSET_LIMIT) {
            sc.rc = ERR_CORRUPT;
            break;
        }
        rc = segment_fits(s, h) ? segment_index_room(t) : ERR_RANGE;
        if (rc != OK)
            break;
        lock_take(t->view);
        segment_publish(t, h->size_bytes, h->last_offset, h->max_timestamp, h->last_offset, interval_bytes);
        lock_drop(t->view);
    }
    *damage = -1;
    if (rc == OK && (sc.rc == ERR_SHORT || sc.rc == ERR_CORRUPT))
        *damage = sc.pos;
    else if (rc == OK)
        rc = sc.rc;
    file_unref(&f);
    free(buf);
    return rc;
}

/* A full disk leaves the entries in memory. */
static int write_all(struct segment *t, bool final)
{
    int rc = segment_flush_indexes(t, final);

    if (rc == OK)
        rc = segment_cut_index(t, SEGMENT_INDEX, (int64_t)t->offsets.on_file * OFFSET_INDEX_ENTRY);
    if (rc == OK)
        rc = segment_cut_index(t, SEGMENT_TIMEINDEX, (int64_t)t->times.on_file * TIME_INDEX_ENTRY);
    return rc == ERR_NOSPACE ? OK : rc;
}

static void swap_index(struct index *a, struct index *b)
{
    struct index x = *a;

    *a = *b;
    *b = x;
}

static void take_over(struct segment *s, struct segment *t)
{
    lock_take(s->view);
    swap_index(&s->offsets, &t->offsets);
    swap_index(&s->times, &t->times);
    s->max = t->max;
    s->max_known = true;
    lock_drop(s->view);
    s->since_index = t->since_index;
    s->last_indexed = t->last_indexed;
    s->last_time = t->last_time;
    s->first_timestamp = t->first_timestamp;
    s->first_known = t->first_known;
    atomic_store(&s->suspect, 0);
}

int segment_rebuild_indexes(struct segment *s, int32_t interval_bytes, bool final, int64_t *damage)
{
    struct segment *t = segment_new(s->place, s->view, s->base);
    int rc = t != NULL ? OK : ERR_NOMEM;

    atomic_store(&s->rebuilt, true);
    /* Whoever reads the files while they are written finds out that an entry is not right. */
    atomic_store(&s->suspect, SUSPECT_OFFSETS | SUSPECT_TIMES);
    if (rc == OK)
        rc = publish_all(s, t, interval_bytes, damage);
    if (rc == OK)
        rc = write_all(t, final);
    if (rc == OK)
        take_over(s, t);
    segment_unref(&t);
    return rc;
}
