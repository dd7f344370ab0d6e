/* storage/plog_recover.c - opening a log: batches from the recovery point on are checked, and the end is found
 * (invariants 14 and 16). */
#include "storage/plog_load_impl.h"

#include "base/log.h"
#include "storage/fio.h"
#include "storage/killpoint.h"
#include "storage/segment_txn.h"

#include <inttypes.h>

/* Offsets rise, and fit the segment. */
static bool in_order(const struct load *ld, const struct segment *s, const struct batch_head *h)
{
    int64_t first = h->base_offset >= 0 ? h->base_offset : h->last_offset;

    return first >= ld->expect && h->last_offset >= first && h->last_offset - s->base <= INT32_MAX;
}

int load_open_end(struct load *ld, struct segment *s)
{
    int64_t file_size = s->size;
    struct file_ref *f;
    int rc;

    ld->expect = s->base;
    TRY(segment_file(s, &f));
    rc = load_walk_from_index(ld, s, f->fd, file_size, INT64_MAX);
    if (load_is_damage(rc)) {
        log_error("%s/%s: segment %" PRId64 " is damaged at position %" PRIu32 " although it was closed cleanly; "
                  "%" PRId64 " bytes from there on are cut off, the log ends at offset %" PRId64 "; restore the "
                  "file from a copy if there is one", ld->l->dir->path, ld->l->name, s->base, s->size,
                  file_size - s->size, ld->expect);
        rc = fio_truncate(f->fd, s->size);
        if (rc == OK)
            rc = segment_txn_cut(s, ld->expect);
    }
    s->since_index = 0;
    file_unref(&f);
    return rc;
}

/* Batches of s from its present s->size on. *whole: it is good to its end, else it was cut. */
static int recover_rest(struct load *ld, struct segment *s, int fd, int64_t file_size, bool *whole)
{
    bool check = !ld->l->dir->same_boot;
    struct log_scan sc;
    int rc = OK;

    log_scan_init(&sc, fd, s->size, file_size, ld->buf, SCAN_BUFFER);
    while (rc == OK && (rc = load_goes_on(ld)) == OK && log_scan_next(&sc)) {
        if (!in_order(ld, s, &sc.head))
            sc.rc = ERR_CORRUPT;
        else if (check || sc.next == file_size)
            sc.rc = log_scan_check(&sc);
        if (sc.rc != OK)
            break;
        rc = load_take_epoch(ld, &sc.head);
        if (rc == OK)
            rc = load_take_producer(ld, s, &sc);
        if (rc == OK)
            rc = load_take_batch(ld, s, &sc);
    }
    ld->out->read_bytes += sc.read_bytes;
    TRY(rc);
    *whole = sc.rc == OK;
    if (!load_is_damage(sc.rc))
        return sc.rc;
    log_warn("%s: segment %" PRId64 " ends with %" PRId64 " bytes that are no whole batch (%s), after offset %" PRId64
             "; they were never acknowledged as durable and are cut off", ld->l->name, s->base, file_size - s->size,
             err_text(sc.rc), ld->expect - 1);
    return fio_truncate(fd, s->size);
}

/* The part of s that lies below the recovery point. */
static int recover_trusted(struct load *ld, struct segment *s, int fd, int64_t file_size)
{
    int rc = load_walk_from_index(ld, s, fd, file_size, ld->recovery_point);

    if (load_is_damage(rc) || (rc == OK && s->size == file_size && ld->expect < ld->recovery_point)) {
        log_error("%s/%s: segment %" PRId64 " is damaged at position %" PRIu32 ", offset %" PRId64 ", below its "
                  "recovery point %" PRId64 ": what was written there is lost; restore the file from a copy if "
                  "there is one", ld->l->dir->path, ld->l->name, s->base, s->size, ld->expect, ld->recovery_point);
        rc = OK;
    }
    return rc;
}

static int recover_segment(struct load *ld, struct segment *s, bool *whole)
{
    int64_t file_size = s->size;
    struct file_ref *f;
    int rc;

    TRY(segment_file(s, &f));
    s->size = 0;
    s->max_known = true;
    load_begin_indexes(s);
    if (ld->expect < s->base)
        ld->expect = s->base;
    if (s->base < ld->recovery_point)
        rc = recover_trusted(ld, s, f->fd, file_size);
    else
        rc = load_keep_entries(s, 0, 0);
    if (rc == OK)
        rc = segment_txn_cut(s, ld->recovery_point);
    KILL_POINT("recover.index_cut");
    if (rc == OK)
        rc = recover_rest(ld, s, f->fd, file_size, whole);
    if (rc == OK && !*whole)
        rc = segment_txn_cut(s, ld->expect);
    KILL_POINT("recover.segment_done");
    file_unref(&f);
    return rc;
}

int load_drop_segments_from(struct load *ld, size_t k)
{
    struct plog *l = ld->l;

    for (size_t i = k; i < l->n; i++) {
        log_warn("%s: segment %" PRId64 " (%" PRIu32 " bytes) follows the cut and is removed", l->name,
                 l->segs[i]->base, l->segs[i]->size);
        TRY(plog_doom_files(l, l->segs[i]));
    }
    while (l->n > k)
        segment_unref(&l->segs[--l->n]);
    return OK;
}

int load_recover(struct load *ld)
{
    struct plog *l = ld->l;
    size_t i = 0;
    bool whole = true;

    while (i + 1 < l->n && l->segs[i + 1]->base <= ld->recovery_point)
        i++;
    for (; i < l->n; i++) {
        TRY(recover_segment(ld, l->segs[i], &whole));
        if (!whole) {
            TRY(load_drop_segments_from(ld, i + 1));
            break;
        }
        if (i + 1 < l->n)
            TRY(segment_flush_indexes(l->segs[i], true));
    }
    ld->out->recovered = true;
    return OK;
}
