/* storage/plog_recover.c - opening a log: batches from the recovery point on are checked, and the end is found
 * (invariants 14 and 16). */
#include "storage/plog_load_impl.h"

#include "base/log.h"
#include "storage/fio.h"
#include "storage/killpoint.h"
#include "storage/segment_txn.h"

#include <inttypes.h>

/* What was durable is not there any more. It is never cut: whoever mends it must know what is lost. */
static int refuse(const struct load *ld, const struct segment *s, const char *what)
{
    char path[SEGMENT_PATH_MAX];

    segment_path(s->place, s->base, SEGMENT_LOG, "", path);
    log_error("%s/%s: damaged at position %" PRIu32 ", after offset %" PRId64 ": %s; nothing was cut, the partition "
              "stays offline: restore the file from a copy; or, to give up what follows, cut the file at that position "
              "and move later segments away", ld->l->dir->path, path, s->size, ld->expect - 1, what);
    return ERR_CORRUPT;
}

int load_open_end(struct load *ld, struct segment *s)
{
    int64_t file_size = s->size;
    struct file_ref *f;
    int rc;

    ld->expect = s->base;
    TRY(segment_file(s, &f));
    rc = load_walk_from_index(ld, s, f->fd, file_size, INT64_MAX);
    if (load_is_damage(rc))
        rc = refuse(ld, s, "no batch that could follow begins there, although the log was closed cleanly");
    s->since_index = 0;
    file_unref(&f);
    return rc;
}

/* ERR_CORRUPT: the log ends before it. ERR_RANGE: it is sound, but too far from the segment's base for an index. */
static int check_batch(struct load *ld, const struct segment *s, struct log_scan *sc)
{
    const struct batch_head *h = &sc->head;
    int64_t first = h->base_offset >= 0 ? h->base_offset : h->last_offset;

    if (first < ld->expect || h->last_offset < first || h->last_offset > OFFSET_LIMIT || load_offset_is_wrong(ld, sc))
        return ERR_CORRUPT;
    if (!ld->l->dir->same_boot || sc->next == sc->end)
        TRY(log_scan_check(sc));
    return segment_fits(s, h) ? OK : ERR_RANGE;
}

/* s ends where its good batches do. */
static int cut(const struct load *ld, const struct segment *s, int fd, int64_t file_size, int why)
{
    char path[SEGMENT_PATH_MAX];

    if (ld->expect < ld->recovery_point)
        return refuse(ld, s, "no batch that could follow begins there, below the recovery point");
    segment_path(s->place, s->base, SEGMENT_LOG, "", path);
    log_warn("%s/%s: the last %" PRId64 " bytes, from position %" PRIu32 " (after offset %" PRId64 "), are no whole "
             "batch (%s); they were never acknowledged as durable and are cut off", ld->l->dir->path, path,
             file_size - s->size, s->size, ld->expect - 1, err_text(why));
    return fio_truncate(fd, s->size);
}

/* Batches of s from its present s->size on. *whole: it is good to its end, else it was cut. */
static int recover_rest(struct load *ld, struct segment *s, int fd, int64_t file_size, bool *whole)
{
    struct log_scan sc;
    int rc = OK;

    log_scan_init(&sc, fd, s->size, file_size, ld->buf, SCAN_BUFFER);
    while (rc == OK && (rc = load_goes_on(ld)) == OK && log_scan_next(&sc)) {
        sc.rc = check_batch(ld, s, &sc);
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
    if (sc.rc == ERR_RANGE)
        ld->too_long = s->base;
    return load_is_damage(sc.rc) ? cut(ld, s, fd, file_size, sc.rc) : sc.rc;
}

/* The part of s that lies below the recovery point. */
static int recover_trusted(struct load *ld, struct segment *s, int fd, int64_t file_size)
{
    int rc = load_walk_from_index(ld, s, fd, file_size, ld->recovery_point);

    if (!load_is_damage(rc))
        return rc;
    if (ld->expect >= ld->recovery_point)           /* all of it is there; what comes behind was never on the disk */
        return OK;
    return refuse(ld, s, "no batch that could follow begins there, below the recovery point");
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

/* The recovery point lies behind the log end, so it is not known what was durable: what was taken on trust is checked
 * after all. */
static int check_sums(struct load *ld, struct segment *s)
{
    struct file_ref *f;
    struct log_scan sc;
    int rc = OK;

    if (ld->l->dir->same_boot || ld->expect >= ld->recovery_point)
        return OK;
    TRY(segment_file(s, &f));
    log_scan_init(&sc, f->fd, 0, s->size, ld->buf, SCAN_BUFFER);
    while (rc == OK && (rc = load_goes_on(ld)) == OK && log_scan_next(&sc))
        rc = log_scan_check(&sc);
    if (rc == OK)
        rc = sc.rc;
    ld->out->read_bytes += sc.read_bytes;
    file_unref(&f);
    if (!load_is_damage(rc))
        return rc;
    s->size = (uint32_t)sc.pos;
    ld->expect = sc.head.base_offset;
    return refuse(ld, s, "the batch there does not have its checksum, below the recovery point");
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

/* Of the state at ld->expect. What there is no room for is made again by the next recovery. */
static void take_snapshot(struct load *ld)
{
    if (ld->taken != ld->expect && plog_write_snapshot(ld->l, ld->expect) == OK)
        ld->taken = ld->expect;
}

/* What plog_roll() would have done. Apache Kafka recovers each segment from the snapshot that it took after the one
 * before. A full disk keeps nobody from opening. */
static int leave_segment(struct load *ld, struct segment *s, int64_t next_base)
{
    int rc = segment_flush_indexes(s, true);

    if (ld->expect >= next_base)
        take_snapshot(ld);
    load_expire(ld);
    if (ld->expect < next_base) {       /* a gap */
        ld->expect = next_base;
        take_snapshot(ld);
    }
    return rc == ERR_NOSPACE ? OK : rc;
}

static bool is_empty_from(const struct plog *l, size_t i)
{
    while (i < l->n && l->segs[i]->size == 0)
        i++;
    return i == l->n;
}

/* After a power cut a file can be shorter than it was, even empty, while the next one is there. Where nothing else
 * explains the gap behind the i-th segment, what follows would be served as if nothing was missing. Compaction leaves
 * gaps too, but only below a recovery point that was on the disk when it began (cleaner_choose.c); without that
 * checkpoint nothing goes that has a batch. In a directory of Apache Kafka a segment may have been missing all along:
 * it reads over that, and so do we. */
static bool lost_its_end(const struct load *ld, size_t i)
{
    const struct plog *l = ld->l;
    const struct segment *s = l->segs[i];
    int64_t next_base = l->segs[i + 1]->base, cleaned = -1;

    if (!l->dir->ours || l->dir->same_boot || ld->expect >= next_base || ld->expect < ld->recovery_point)
        return false;
    if (next_base - s->base > INT32_MAX)            /* more than a segment can hold */
        return false;
    if (!l->unlisted)
        cleaned = offset_checkpoint_find(&l->dir->cleaner_points, plog_topic(l), l->partition);
    if (is_empty_from(l, i + 1))
        return true;
    if (l->opts.compact_policy && l->dir->points_lost)
        return false;
    return s->base >= cleaned;
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
        if (whole && i + 1 < l->n && lost_its_end(ld, i)) {
            log_warn("%s: segment %" PRId64 " ends after offset %" PRId64 ", but the next one begins at %" PRId64
                     ": what was between them was not on the disk when the machine went down; the log ends there",
                     l->name, l->segs[i]->base, ld->expect - 1, l->segs[i + 1]->base);
            whole = false;
        }
        if (!whole) {
            TRY(load_drop_segments_from(ld, i + 1));
            break;
        }
        if (i + 1 < l->n)
            TRY(leave_segment(ld, l->segs[i], l->segs[i + 1]->base));
    }
    ld->out->recovered = true;
    if (ld->expect > ld->recovery_point)
        take_snapshot(ld);
    producers_rest(&l->producers, l->dir->opts.now_ms(), l->dir->producer_expiry_ms);
    return whole ? check_sums(ld, plog_active(l)) : OK;
}
