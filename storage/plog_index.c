/* storage/plog_index.c - opening a log: segments and their indexes, which entries can be trusted, and
 * rebuilding them. */
#include "storage/plog_load_impl.h"

#include "base/log.h"
#include "storage/fio.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

#define INDEX_MAX ((size_t)1 << 28)

/* Size of an index file in whole entries; *missing: it is not there. */
static int index_entries(struct segment *s, enum segment_file f, size_t entry, uint32_t *n, bool *missing)
{
    char path[SEGMENT_PATH_MAX];
    int64_t size = 0;
    int rc;

    segment_path(s->place, s->base, f, "", path);
    rc = fio_size(s->place->dirfd, path, &size);
    *missing = rc == ERR_NOENT;
    *n = (uint32_t)((size_t)size / entry);
    return *missing ? OK : rc;
}

static int cut_index(struct segment *s, enum segment_file f, uint32_t entries, size_t entry)
{
    char path[SEGMENT_PATH_MAX];
    int fd, rc;

    segment_path(s->place, s->base, f, "", path);
    TRY(fio_open(s->place->dirfd, path, O_WRONLY | O_CREAT, &fd));
    rc = fio_truncate(fd, (int64_t)(entries * entry));
    fio_close(&fd);
    return rc;
}

int load_keep_entries(struct segment *s, uint32_t offsets, uint32_t times)
{
    TRY(cut_index(s, SEGMENT_INDEX, offsets, OFFSET_INDEX_ENTRY));
    TRY(cut_index(s, SEGMENT_TIMEINDEX, times, TIME_INDEX_ENTRY));
    s->offsets.on_file = offsets;
    s->times.on_file = times;
    s->offsets.n = s->times.n = 0;
    return OK;
}

/* Indexes of a trusted segment are rebuilt from its headers when a file is missing. */
static int rebuild_indexes(struct load *ld, struct segment *s);

int load_open_segment(struct load *ld, int64_t base)
{
    struct segment *s = segment_new(&ld->l->place, &ld->l->view, base);
    bool no_offsets, no_times;
    char path[SEGMENT_PATH_MAX];
    int64_t size;

    if (s == NULL)
        return ERR_NOMEM;
    TRY(plog_add_segment(ld->l, s));
    segment_path(s->place, base, SEGMENT_LOG, "", path);
    TRY(fio_size(s->place->dirfd, path, &size));
    if (size > UINT32_MAX) {
        log_error("%s/%s: %" PRId64 " bytes is more than a segment can have; move the file away", ld->l->dir->path,
                  path, size);
        return ERR_CORRUPT;
    }
    s->size = (uint32_t)size;
    s->created_ms = ld->l->dir->opts.now_ms();
    TRY(index_entries(s, SEGMENT_INDEX, OFFSET_INDEX_ENTRY, &s->offsets.on_file, &no_offsets));
    TRY(index_entries(s, SEGMENT_TIMEINDEX, TIME_INDEX_ENTRY, &s->times.on_file, &no_times));
    s->aborts_lost = no_offsets;
    return no_offsets || no_times ? rebuild_indexes(ld, s) : OK;
}


int load_take_batch(struct load *ld, struct segment *s, const struct log_scan *sc)
{
    TRY(segment_index_room(s));
    lock_take(&ld->l->view);
    segment_publish(s, sc->head.size_bytes, sc->head.last_offset, sc->head.max_timestamp, sc->head.last_offset,
                    ld->l->opts.index_interval_bytes);
    lock_drop(&ld->l->view);
    ld->expect = sc->head.last_offset + 1;
    return OK;
}

bool load_is_damage(int rc)
{
    return rc == ERR_SHORT || rc == ERR_CORRUPT;
}

/* Bytes behind the last good entry that are not the zeros of a preallocated tail: the file was damaged. */
static bool has_junk(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != 0)
            return true;
    return false;
}

/* Entries of both index files that stand for batches below `below`; their last ones become the segment's last. None
 * if the time index is damaged: what stood in the rest of it is not known then. */
static int trusted_entries(struct segment *s, int64_t file_size, int64_t below, uint32_t *offsets, uint32_t *times,
                           uint32_t *pos)
{
    char path[SEGMENT_PATH_MAX];
    struct offset_index_entry e;
    uint8_t *p;
    size_t len, n, t;
    bool junk;

    segment_path(s->place, s->base, SEGMENT_TIMEINDEX, "", path);
    TRY(fio_read_file(s->place->dirfd, path, INDEX_MAX, &p, &len));
    t = time_index_valid(p, len);
    junk = (t == 0 && s->offsets.on_file > 0) || has_junk(p + t * TIME_INDEX_ENTRY, len - t * TIME_INDEX_ENTRY);
    while (t > 0 && time_index_get(p + (t - 1) * TIME_INDEX_ENTRY, s->base).offset >= below)
        t--;
    if (t > 0 && !junk)
        s->last_time = time_index_get(p + (t - 1) * TIME_INDEX_ENTRY, s->base);
    free(p);
    *offsets = *times = *pos = 0;
    if (junk)
        return OK;
    segment_path(s->place, s->base, SEGMENT_INDEX, "", path);
    TRY(fio_read_file(s->place->dirfd, path, INDEX_MAX, &p, &len));
    n = offset_index_valid(p, len, file_size);
    while (n > 0 && offset_index_get(p + (n - 1) * OFFSET_INDEX_ENTRY, s->base).offset >= below)
        n--;
    if (n > 0) {
        e = offset_index_get(p + (n - 1) * OFFSET_INDEX_ENTRY, s->base);
        *pos = e.pos;
        s->last_indexed = e.offset;
    }
    free(p);
    *offsets = (uint32_t)n;
    *times = (uint32_t)t;
    return OK;
}

static bool fits(const struct segment *s, const struct batch_head *h)
{
    return h->last_offset >= s->base && h->last_offset - s->base <= INT32_MAX;
}

/* Walks from the chunk of the last trusted index entry at `pos` to the first batch that is not wholly below `below`,
 * which may be the end; s->size is then there, and index entries that were lacking are made. ERR_CORRUPT, ERR_SHORT: a
 * batch on the way does not parse, s->size is where. */
static int walk_trusted(struct load *ld, struct segment *s, int fd, int64_t file_size, int64_t below, uint32_t pos)
{
    struct log_scan sc;
    int rc = OK;

    lock_take(s->view);
    s->size = pos;
    s->since_index = 0;
    s->max = s->last_time;
    s->max_known = true;
    lock_drop(s->view);
    log_scan_init(&sc, fd, pos, file_size, ld->buf, SCAN_BUFFER);
    while (rc == OK && (rc = load_goes_on(ld)) == OK && log_scan_next(&sc) && sc.head.last_offset < below) {
        /* The entry must lead to the batch that it stands for. */
        if (!fits(s, &sc.head) || (pos > 0 && sc.pos == pos && sc.head.base_offset > s->last_indexed))
            rc = ERR_CORRUPT;
        else
            rc = load_take_batch(ld, s, &sc);
    }
    ld->out->read_bytes += sc.read_bytes;
    return rc != OK ? rc : sc.rc;
}

void load_begin_indexes(struct segment *s)
{
    s->last_time = s->max = (struct time_index_entry){ -1, s->base };
    s->last_indexed = s->base - 1;
    s->since_index = 0;
}

/* s->offsets.on_file and s->times.on_file are what the files hold. */
int load_walk_from_index(struct load *ld, struct segment *s, int fd, int64_t file_size, int64_t below)
{
    uint32_t offsets, times, pos;
    int rc;

    load_begin_indexes(s);
    TRY(trusted_entries(s, file_size, below, &offsets, &times, &pos));
    if (offsets != s->offsets.on_file || times != s->times.on_file)
        TRY(load_keep_entries(s, offsets, times));
    rc = walk_trusted(ld, s, fd, file_size, below, pos);
    if (!load_is_damage(rc) || pos == 0)
        return rc;
    load_begin_indexes(s);
    ld->expect = s->base;
    TRY(load_keep_entries(s, 0, 0));
    return walk_trusted(ld, s, fd, file_size, below, 0);
}

/* From the beginning, headers only: for indexes that are missing or do not fit their .log. */
static int rebuild_indexes(struct load *ld, struct segment *s)
{
    int64_t file_size = s->size, expect = ld->expect;
    struct file_ref *f;
    int rc;

    TRY(segment_file(s, &f));
    load_begin_indexes(s);
    ld->expect = s->base;
    rc = load_keep_entries(s, 0, 0);
    if (rc == OK)
        rc = walk_trusted(ld, s, f->fd, file_size, INT64_MAX, 0);
    if (load_is_damage(rc))                  /* found again, and told, by who reads it */
        rc = OK;
    if (rc == OK)
        rc = segment_flush_indexes(s, true);
    s->size = (uint32_t)file_size;
    ld->expect = expect;
    file_unref(&f);
    log_info("%s: indexes of segment %" PRId64 " rebuilt", ld->l->name, s->base);
    return rc;
}
