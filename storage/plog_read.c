/* storage/plog_read.c - regions of segment files, and offsets by time. No call here waits for an append, unless the
 * segments that it looks at are being cut or replaced. */
#include "storage/plog_impl.h"

#include "proto/records/records.h"
#include "storage/log_scan.h"

#include <errno.h>
#include <stdlib.h>

/* No honest batch holds more than this when decompressed; a look-up by time then does with the batch's own bounds. */
#define DECOMPRESSED_MAX ((size_t)256 << 20)

/* Where in segment s the bytes end that may be given out for records below `upper`; leo and size were read
 * together. */
static int end_position(struct segment *s, uint32_t size, int64_t next_base, int64_t upper, int64_t leo, uint32_t *end)
{
    struct batch_head h;
    int rc;

    *end = size;
    if (upper >= leo || (next_base >= 0 && upper >= next_base))
        return OK;
    rc = segment_locate(s, upper, size, end, &h);
    return rc == ERR_RANGE ? OK : rc;   /* all of the segment is below */
}

static int read_segment(struct segment *s, uint32_t end, int64_t offset, size_t max_bytes, bool at_least_one,
                        struct plog_read *out)
{
    struct batch_head h;
    struct file_ref *f;
    uint32_t pos;
    size_t len;

    TRY(segment_locate(s, offset, end, &pos, &h));
    len = end - pos;
    if (len > max_bytes)
        len = at_least_one && max_bytes < h.size_bytes ? h.size_bytes : max_bytes;
    out->first_batch_bytes = h.size_bytes;
    if (len == 0)
        return OK;
    TRY(segment_file(s, &f));
    out->records = (struct slice){ .file = f, .pos = pos, .len = len };
    return OK;
}

/* A segment was replaced. If a truncation does that, the other one is there when it is over. */
static int await_cut(struct plog *l)
{
    lock_take(&l->lock);
    lock_drop(&l->lock);
    return plog_usable(l);
}

/* One segment; ERR_RANGE when nothing in it is at or above offset, and *next says where to go on. */
static int read_at(struct plog *l, int64_t offset, int64_t upper, size_t max_bytes, bool at_least_one, int64_t *next,
                   struct plog_read *out)
{
    int64_t at = *next, leo;
    struct segment *s;
    uint32_t size, end;
    bool again;
    int rc;

    do {
        lock_take(&l->view);
        s = plog_segment_at(l, at, &size, next);
        leo = l->off.leo;
        lock_drop(&l->view);
        rc = end_position(s, size, *next, upper, leo, &end);
        if (rc == OK)
            rc = read_segment(s, end, offset, max_bytes, at_least_one, out);
        out->segment_base = s->base;
        out->active_segment = *next < 0;
        again = segment_replaced(s);    /* meanwhile: another one is in the list */
        if (again)
            plog_read_done(out);
        else if (segment_wants_rebuild(s))
            plog_dirty(l);
        segment_unref(&s);
        if (again)
            TRY(await_cut(l));
    } while (again);
    return rc;
}

/* Files are found by name: what was opened while the log was being deleted may be a new log's of the same name. */
static int still_open(struct plog *l, int rc, struct plog_read *out)
{
    if (rc == OK)
        rc = plog_usable(l);
    if (rc != OK)
        plog_read_done(out);
    return rc;
}

int plog_read(struct plog *l, int64_t offset, int64_t upper, size_t max_bytes, bool at_least_one,
              struct plog_read *out)
{
    int64_t next = offset;
    int rc;

    *out = (struct plog_read){ 0 };
    lock_take(&l->view);
    out->offsets = l->off;
    out->replaced = l->replaced;
    lock_drop(&l->view);
    TRY(plog_usable(l));
    if (offset < out->offsets.start || offset > out->offsets.leo)
        return ERR_RANGE;
    if (offset >= upper || offset == out->offsets.leo) {
        struct segment *s;
        uint32_t size;
        lock_take(&l->view);
        s = plog_segment_at(l, offset, &size, &next);
        lock_drop(&l->view);
        out->segment_base = s->base;
        out->active_segment = next < 0;
        segment_unref(&s);
        return OK;
    }
    /* A segment may end below an offset that it should hold when compaction took the records; then go on. */
    do
        rc = read_at(l, offset, upper, max_bytes, at_least_one, &next, out);
    while (rc == ERR_RANGE && next >= 0 && next < upper);
    if (rc == ERR_RANGE)
        return OK;
    /* The segment was deleted while we looked at it, or just before: then this is the one after it. */
    if ((rc == OK || rc == ERR_NOENT) && offset < plog_offsets(l).start) {
        plog_read_done(out);
        out->offsets = plog_offsets(l);
        return ERR_RANGE;
    }
    return still_open(l, plog_check(l, rc, "reading"), out);
}

void plog_read_done(struct plog_read *r)
{
    file_unref(&r->records.file);
    r->records = (struct slice){ 0 };
}

/* ---- by time ------------------------------------------------------------------------------------------------- */

/* References of the segments, oldest first, with their sizes: all, or (live) those with records at or above the
 * start. */
static int list_segments(struct plog *l, bool live, struct segment ***v, uint32_t **sizes, size_t *n)
{
    size_t cap, first = 0;

    *n = 0;
    lock_take(&l->view);
    cap = l->n;
    lock_drop(&l->view);
    *v = calloc(cap + 1, sizeof **v);
    *sizes = calloc(cap + 1, sizeof **sizes);
    if (*v == NULL || *sizes == NULL) {
        free(*v);
        free(*sizes);
        return ERR_NOMEM;
    }
    lock_take(&l->view);
    while (live && first + 1 < l->n && l->segs[first + 1]->base <= l->off.start)
        first++;
    for (size_t i = first; i < l->n && *n < cap; i++) {         /* a segment rolled meanwhile is not looked at */
        (*v)[*n] = segment_ref(l->segs[i]);
        (*sizes)[(*n)++] = l->segs[i]->size;
    }
    lock_drop(&l->view);
    return OK;
}

/* rc, or ERR_BUSY if one of them was replaced: what was found in it may be wrong. */
static int drop_segments(struct plog *l, struct segment **v, uint32_t *sizes, size_t n, int rc)
{
    for (size_t i = 0; i < n; i++) {
        if (segment_replaced(v[i]))
            rc = ERR_BUSY;
        else if (segment_wants_rebuild(v[i]))
            plog_dirty(l);
        segment_unref(&v[i]);
    }
    free(v);
    free(sizes);
    return rc;
}

/* First record of the batch at or above start_offset with a timestamp of at least ts. *found false: there is none. */
static int record_in_batch(const struct log_scan *sc, int64_t ts, int64_t start_offset, struct plog_at *out,
                           bool *found)
{
    struct record_iter it;
    struct record r;
    uint8_t *p;
    int rc;

    *found = false;
    TRY(log_scan_batch(sc, &p));
    record_iter_init(&it, &sc->head, p, DECOMPRESSED_MAX);
    while (!*found && record_iter_next(&it, &r)) {
        if (r.timestamp < ts || r.offset < start_offset)
            continue;
        *out = (struct plog_at){ r.timestamp, r.offset, sc->head.leader_epoch };
        *found = true;
    }
    rc = *found ? OK : it.rc;
    record_iter_fini(&it);
    free(p);
    return rc;
}

/* The same in a segment, from the position that its indexes give. */
static int record_in_segment(struct segment *s, uint32_t size, int64_t ts, int64_t start_offset, struct plog_at *out,
                             bool *found)
{
    struct file_ref *f;
    struct log_scan sc;
    uint8_t buf[4096];
    uint32_t pos;
    int rc;

    *found = false;
    rc = segment_locate_time(s, ts, start_offset, size, &pos);
    if (rc == ERR_RANGE)
        return OK;
    TRY(rc);
    TRY(segment_file(s, &f));
    log_scan_init(&sc, f->fd, pos, size, buf, sizeof buf);
    while (rc == OK && !*found && log_scan_next(&sc))
        if (sc.head.max_timestamp >= ts && sc.head.last_offset >= start_offset)
            rc = record_in_batch(&sc, ts, start_offset, out, found);
    file_unref(&f);
    if (rc == OK && !*found)
        rc = sc.rc;
    return rc == ERR_SHORT ? ERR_CORRUPT : rc;
}

typedef int time_search_fn(struct plog *l, int64_t start, int64_t ts, struct plog_at *out);

/* As Apache Kafka answers: only the first segment counts whose largest timestamp is late enough, though its records of
 * that time may all lie before the log start. Of a segment that has no timestamps (emptied by the cleaner, or of format
 * 0) the time of its file counts, and if that is late enough nothing is found, whatever comes after. */
static int first_at_or_after(struct plog *l, int64_t start, int64_t ts, struct plog_at *out)
{
    bool found, last = false;
    struct time_index_entry max;
    struct segment **v;
    uint32_t *sizes;
    int64_t mtime;
    size_t n;
    int rc;

    TRY(list_segments(l, true, &v, &sizes, &n));
    rc = OK;
    for (size_t i = 0; i < n && rc == OK && !last; i++) {
        rc = segment_max(v[i], &max);
        if (rc == OK && max.timestamp < 0) {
            last = segment_mtime_ms(v[i], &mtime) == OK && mtime >= ts;
        } else if (rc == OK && max.timestamp >= ts) {
            rc = record_in_segment(v[i], sizes[i], ts, start, out, &found);
            last = true;
        }
    }
    return drop_segments(l, v, sizes, n, rc);
}

/* As Apache Kafka: the record may lie before the log start. */
static int last_of_all(struct plog *l, int64_t start, int64_t ts, struct plog_at *out)
{
    struct segment **v;
    struct time_index_entry max, best = { -1, -1 };
    uint32_t *sizes;
    size_t n, at = 0;
    bool found;
    int rc;

    (void)ts;
    (void)start;
    TRY(list_segments(l, true, &v, &sizes, &n));
    rc = OK;
    for (size_t i = 0; i < n && rc == OK; i++) {
        rc = segment_max(v[i], &max);
        if (rc == OK && max.timestamp > best.timestamp) {
            best = max;
            at = i;
        }
    }
    if (rc == OK && best.timestamp >= 0)
        rc = record_in_segment(v[at], sizes[at], best.timestamp, v[at]->base, out, &found);
    return drop_segments(l, v, sizes, n, rc);
}

/* Once more if retention took a segment away meanwhile (the start has risen then), or compaction replaced one. */
static int search_by_time(struct plog *l, time_search_fn *search, int64_t ts, struct plog_at *out)
{
    int64_t start;
    int rc;

    TRY(plog_usable(l));
    do {
        *out = (struct plog_at){ -1, -1, -1 };
        start = plog_offsets(l).start;
        rc = search(l, start, ts, out);
        if (rc == ERR_BUSY)
            TRY(await_cut(l));
    } while (rc == ERR_BUSY || (rc == ERR_NOENT && plog_offsets(l).start > start));
    rc = plog_check(l, rc, "searching by time");
    return rc == OK ? plog_usable(l) : rc;
}

int plog_offset_for_time(struct plog *l, int64_t ts, struct plog_at *out)
{
    return search_by_time(l, first_at_or_after, ts, out);
}

int plog_max_timestamp(struct plog *l, struct plog_at *out)
{
    return search_by_time(l, last_of_all, -1, out);
}

/* ---- ListOffsets v0 ------------------------------------------------------------------------------------------ */

int plog_segments_before(struct plog *l, int64_t ts_ms, int64_t *out, size_t max, size_t *n)
{
    struct plog_offsets off = plog_offsets(l);
    struct segment **v;
    uint32_t *sizes;
    size_t segs_n, from = 0;
    int64_t mtime;

    *n = 0;
    TRY(plog_usable(l));
    TRY(list_segments(l, false, &v, &sizes, &segs_n));
    /* The list is the segments' bases and, if the last has records, the LEO as of now; count those that qualify. */
    from = segs_n + (segs_n > 0 && sizes[segs_n - 1] > 0);
    if (ts_ms == -2) {
        from = 1;
    } else if (ts_ms != -1) {
        while (from > 0) {
            if (from > segs_n)
                mtime = l->dir->opts.now_ms();
            else if (segment_mtime_ms(v[from - 1], &mtime) != OK)
                mtime = INT64_MAX;
            if (mtime <= ts_ms)
                break;
            from--;
        }
    }
    while (from > 0 && *n < max) {
        from--;
        out[(*n)++] = from == segs_n ? off.leo : v[from]->base > off.start ? v[from]->base : off.start;
    }
    (void)drop_segments(l, v, sizes, segs_n, OK);
    return OK;
}
