/* storage/plog_load.c - opening a log: the order of its steps, and its offsets (invariants 14, 16, 20 to 22).
 *
 *   list       names in the directory; interrupted replacements of segments are settled, leftovers removed
 *   open       sizes of .log and of the indexes; what is missing is made anew; .txnindex is checked
 *   state      epoch file, newest usable producer snapshot
 *   replay     headers from the snapshot to the recovery point: producers
 *   recover    batches from the recovery point on: checked, indexed, replayed; the file is cut where that ends
 *   settle     offsets, epochs, leftovers of what was cut
 *
 * After a clean stop the recovery point is the log end, so only the last index entry's chunk is looked at. A segment
 * that turns out to be too long for an index is split, and all begins again.
 */
#include "storage/plog_load_impl.h"

#include "base/log.h"
#include "storage/fio.h"
#include "storage/killpoint.h"
#include "storage/syncer.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* After a clean stop the checkpoints are right, whatever a power cut has brought back. */
static bool is_unlisted(const struct plog *l)
{
    char path[PATH_MAX];
    int64_t size;

    (void)snprintf(path, sizeof path, "%s/" LOG_UNLISTED, l->place.dir);
    if (fio_size(l->place.dirfd, path, &size) != OK)
        return false;
    if (!l->dir->was_clean)
        return true;
    (void)!fio_unlink(l->place.dirfd, path);    /* should it stay: only the next crash would take it seriously */
    return false;
}

/* The log's offset in a checkpoint; -1: it has none there. */
static int64_t listed(const struct plog *l, const struct offset_checkpoint *c)
{
    return l->unlisted ? -1 : offset_checkpoint_find(c, plog_topic(l), l->partition);
}

/* Snapshots stay that begin a segment, and the newest of the others if it is above the last segment's base. Those up to
 * the log start are of no use, and Apache Kafka removes them, but where it keeps no producers: in logs of old formats,
 * which have no epochs either. */
static int sort_snapshots(struct load *ld, int64_t start, int64_t leo)
{
    struct plog *l = ld->l;
    bool newest = ld->taken < 0;

    if (l->epochs.n == 0)
        start = -1;
    if (ld->taken > plog_active(l)->base)
        l->old_snapshot = ld->taken;
    for (size_t i = ld->snapshots.n; i-- > 0;) {
        int64_t o = ld->snapshots.v[i];
        char path[SEGMENT_PATH_MAX];
        bool keep = o == ld->taken;
        for (size_t k = 0; k < l->n && !keep && o > start; k++)
            keep = l->segs[k]->base == o;
        if (!keep && newest && o <= leo && o > plog_active(l)->base) {
            keep = true;
            l->old_snapshot = o;
            newest = false;
        }
        if (keep && o <= leo)
            continue;
        segment_path(&l->place, o, SEGMENT_SNAPSHOT, "", path);
        TRY(fio_unlink(l->place.dirfd, path));
    }
    return OK;
}

/* The recovery point after a clean stop is the log end. If it is not, and the snapshot that was written then says the
 * same, the log is not what it was. */
static int check_end(const struct load *ld, int64_t leo)
{
    const struct offsets_list *snapshots = &ld->snapshots;
    const struct plog *l = ld->l;

    if (ld->checkpoint < 0 || ld->checkpoint == leo || (ld->checkpoint < leo && !l->dir->was_clean))
        return OK;
    if (l->n > 0 && l->dir->was_clean && snapshots->n > 0 && snapshots->v[snapshots->n - 1] == ld->checkpoint &&
        ld->checkpoint > plog_active(l)->base) {
        log_error("%s/%s: the log ends at offset %" PRId64 ", but at %" PRId64 " by its recovery point and its "
                  "snapshot of producers when it was closed: segment %" PRId64 " was changed since; nothing was cut, "
                  "the partition stays offline: restore the file from a copy, or remove that snapshot to have the log "
                  "as it is", l->dir->path, l->name, leo, ld->checkpoint, plog_active(l)->base);
        return ERR_CORRUPT;
    }
    log_warn("%s/%s: the log ends at offset %" PRId64 ", while everything below offset %" PRId64 " should be on the "
             "disk by its recovery point", l->dir->path, l->name, leo, ld->checkpoint);
    return OK;
}

static int settle(struct load *ld)
{
    struct plog *l = ld->l;
    struct logdir *d = l->dir;
    int64_t leo = ld->expect, start, hw;

    TRY(check_end(ld, leo));
    if (l->n > 0 && leo < ld->start) {
        log_error("%s: the log ends at offset %" PRId64 ", before its start %" PRId64 " by the checkpoint; files are "
                  "missing, all that is left is removed", l->name, leo, ld->start);
        TRY(load_drop_segments_from(ld, 0));
        l->epochs.n = 0;
        l->epochs_dirty = true;
        producers_fini(&l->producers);
        plog_txn_forget(l, ld->start);
    }
    if (l->n == 0) {
        leo = ld->start;
        TRY(plog_roll(l, leo));
    }
    start = l->segs[0]->base > ld->start ? l->segs[0]->base : ld->start;
    TRY(load_settle_epochs(ld, start, leo));
    TRY(sort_snapshots(ld, start, leo));
    hw = listed(l, &d->high_watermarks);
    hw = hw < start ? start : hw > leo ? leo : hw;
    l->cleaned_to = listed(l, &d->cleaner_points);
    l->recovery_point = d->was_clean || ld->recovery_point > leo ? leo : ld->recovery_point;
    l->checkpointed = l->recovery_point;
    for (size_t i = 0; i < l->n; i++)
        l->size_bytes += l->segs[i]->size;
    lock_take(&l->view);
    plog_txn_reloaded(l);
    offsets_move(l, (struct plog_offsets){ .start = start, .lso = -1, .hw = hw, .leo = leo });
    lock_drop(&l->view);
    return OK;
}

/* A log of Apache Kafka before 2.8 has no such file. (One that a power failure emptied is there.) */
static bool has_no_id_file(struct plog *l)
{
    char path[PATH_MAX];
    int64_t size;

    (void)snprintf(path, sizeof path, "%s/" PARTITION_METADATA, l->place.dir);
    return fio_size(l->place.dirfd, path, &size) == ERR_NOENT;
}

static int load_topic_id(struct plog *l)
{
    int rc = partition_metadata_read(l->place.dirfd, l->place.dir, &l->topic_id);

    if (rc == ERR_CORRUPT)
        log_error("%s/%s/" PARTITION_METADATA ": does not parse; restore it, or remove it: the controller knows the id",
                  l->dir->path, l->name);
    l->without_id = rc == ERR_NOENT && has_no_id_file(l);
    return rc == ERR_NOENT ? OK : rc;
}

static int load_steps(struct load *ld)
{
    struct plog *l = ld->l;
    int64_t trusted;                    /* nothing below is checked */
    int rc = OK;

    TRY(load_list(ld));
    TRY(load_topic_id(l));
    for (size_t i = 0; i < ld->logs.n; i++)
        TRY(load_open_segment(ld, ld->logs.v[i]));
    if (l->n > 0 && l->segs[0]->base > ld->start)
        ld->start = l->segs[0]->base;
    TRY(plog_txn_open(l, ld->start));
    TRY(load_check_aborts(ld));
    TRY(load_epochs(ld));
    if (l->n > 0 && l->dir->was_clean)
        TRY(load_open_end(ld, plog_active(l)));
    trusted = l->dir->was_clean ? ld->expect : ld->recovery_point;
    TRY(load_producers(ld, trusted));
    if (l->n > 0)
        TRY(load_replay(ld, trusted));
    if (l->n > 0 && !l->dir->was_clean)
        TRY(load_recover(ld));
    if (l->n > 0)
        rc = segment_flush_indexes(plog_active(l), false);
    return rc == OK || rc == ERR_NOSPACE ? settle(ld) : rc;     /* a full disk can still be read from */
}

/* As if nothing had been read yet. */
static void begin(struct load *ld)
{
    struct plog *l = ld->l;
    struct logdir *d = l->dir;

    while (l->n > 0)
        segment_unref(&l->segs[--l->n]);
    l->epochs.n = 0;
    l->last_aborts = -1;
    producers_fini(&l->producers);
    plog_txn_forget(l, listed(l, &d->high_watermarks));
    ld->checkpoint = ld->recovery_point = listed(l, &d->recovery_points);
    ld->start = listed(l, &d->starts);
    if (d->was_clean)
        ld->recovery_point = INT64_MAX;
    if (ld->recovery_point < 0)
        ld->recovery_point = 0;
    if (ld->start > OFFSET_LIMIT)
        log_warn("%s/" CHECKPOINT_LOG_START ": no log starts at offset %" PRId64 "; %s starts with its first segment",
                 d->path, ld->start, l->name);
    if (ld->start < 0 || ld->start > OFFSET_LIMIT)
        ld->start = 0;
    ld->expect = ld->snapshot = 0;
    ld->taken = -1;
    ld->epochs_lost = false;
    ld->last = (struct batch_head){ 0 };
    ld->too_long = -1;
}

static struct segment *segment_of(const struct plog *l, int64_t base)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->segs[i]->base == base)
            return l->segs[i];
    return NULL;
}

/* Once more for each segment that had to be split. */
static int load_all(struct load *ld)
{
    struct segment *s;
    int rc;

    for (;;) {
        begin(ld);
        rc = load_steps(ld);
        s = rc == ERR_RANGE ? segment_of(ld->l, ld->too_long) : NULL;
        if (s == NULL)
            return rc;
        s = segment_ref(s);
        rc = load_split(ld, s);
        segment_unref(&s);
        TRY(rc);
    }
}

int plog_load(struct plog *l, struct load_result *out)
{
    struct load ld = { .l = l, .out = out, .buf = malloc(SCAN_BUFFER) };
    int rc;

    *out = (struct load_result){ 0 };
    l->unlisted = is_unlisted(l);
    lock_take(&l->lock);
    rc = ld.buf != NULL ? load_all(&ld) : ERR_NOMEM;
    if (rc == OK)
        plog_flush_init(l);
    if (rc == OK && (l->recovery_point < l->off.leo || l->epochs_dirty || l->files_dirty || l->unlisted))
        plog_dirty(l);
    if (rc != OK)                       /* should it wait for the syncer already */
        l->deleted = true;
    lock_drop(&l->lock);
    free(ld.names);
    free(ld.logs.v);
    free(ld.snapshots.v);
    free(ld.buf);
    return rc;
}

static int mark_unlisted(struct plog *l)
{
    char path[PATH_MAX];
    int fd;

    (void)snprintf(path, sizeof path, "%s/" LOG_UNLISTED, l->place.dir);
    TRY(fio_open(l->place.dirfd, path, O_WRONLY | O_CREAT, &fd));
    fio_close(&fd);
    KILL_POINT("create.unlisted");
    l->unlisted = true;
    return OK;
}

int plog_create(struct plog *l, bool unlisted)
{
    int rc = fio_mkdir(l->place.dirfd, l->place.dir);

    if (rc != OK && rc != ERR_EXISTS)
        return plog_check(l, rc, "creating the directory");
    KILL_POINT("create.mkdir");
    lock_take(&l->lock);
    rc = unlisted ? plog_check(l, mark_unlisted(l), "creating " LOG_UNLISTED) : OK;
    if (rc == OK)
        rc = plog_check(l, plog_roll(l, 0), "creating the first segment");
    lock_drop(&l->lock);
    return rc;
}
