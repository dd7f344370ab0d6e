/* storage/plog_truncate.c - a follower gives up what its leader does not have (invariants 2 and 19).
 *
 * What goes is cut from the end towards the front, so that a death in between leaves a log that ends somewhere
 * between the old end and the new one. The segment that is cut is not changed but replaced by a new object of
 * the same files, made as a start makes it. From before the first file changes its name or its length until
 * then, those that go and the one that is cut are marked as replaced: a reader that found something in them, or
 * nothing, waits until all is done and looks them up again.
 */
#include "storage/plog_load_impl.h"

#include "base/log.h"
#include "storage/fio.h"
#include "storage/killpoint.h"
#include "storage/segment_txn.h"
#include "storage/syncer.h"

#include <inttypes.h>
#include <stdlib.h>

static size_t holder_of(const struct plog *l, int64_t offset)
{
    size_t k = l->n - 1;

    while (k > 0 && l->segs[k]->base > offset)
        k--;
    return k;
}

/* ---- first the recovery point ---------------------------------------------------------------------------------- */

/* Bytes that will be written where others stood before must not pass for durable: the recovery point goes down in
 * its checkpoint before anything is cut, and no round of the syncer that runs meanwhile moves it up again. */
static int lower_recovery_point(struct plog *l, int64_t offset)
{
    bool lower = false;
    int rc;

    lock_take(&l->lock);
    plog_await_swap(l);
    rc = plog_usable(l);
    if (rc == OK && l->truncating)
        rc = ERR_BUSY;
    if (rc == OK) {
        lower = l->recovery_point > offset;
        l->recovery_point = lower ? offset : l->recovery_point;
        l->truncating = true;
        l->cuts++;
    }
    lock_drop(&l->lock);
    TRY(rc);
    if (lower)
        rc = syncer_checkpoint(l->dir->syncer);
    KILL_POINT("truncate.checkpointed");
    return rc;
}

/* Where the batch that holds `offset` begins; its segment's base if it does not tell. Under `lock`. */
static int64_t batch_floor(struct plog *l, int64_t offset)
{
    struct segment *s = l->segs[holder_of(l, offset)];
    struct batch_head h;
    uint32_t pos;

    if (segment_locate(s, offset, s->size, &pos, &h) != OK || h.base_offset < 0)
        return s->base;
    return h.base_offset < offset ? h.base_offset : offset;
}

/* Nothing of it is left undone, or the log is out of use. */
static void truncation_over(struct plog *l)
{
    lock_assert(&l->lock);
    l->truncating = false;
    plog_dirty(l);
}

/* ---- segments -------------------------------------------------------------------------------------------------- */

/* Readers do not trust the segments from the k-th on any more. */
static void give_way(struct plog *l, size_t k)
{
    lock_take(&l->view);
    for (size_t i = k; i < l->n; i++)
        atomic_store(&l->segs[i]->replaced, true);
    l->replaced++;
    lock_drop(&l->view);
}

/* Files of the segments from the k-th on, the last one first. */
static int doom_from(struct plog *l, size_t k)
{
    for (size_t i = l->n; i-- > k;) {
        TRY(plog_doom_files(l, l->segs[i]));
        KILL_POINT("truncate.segment_gone");
    }
    return OK;
}

static int drop_old_snapshot(struct plog *l, int64_t leo)
{
    char path[SEGMENT_PATH_MAX];

    if (l->old_snapshot <= leo)
        return OK;
    segment_path(&l->place, l->old_snapshot, SEGMENT_SNAPSHOT, "", path);
    l->old_snapshot = -1;
    return fio_unlink(l->place.dirfd, path);
}

/* A new object over the files of `old`, and its .log opened. A full disk, or a process without descriptors, is found
 * out here, before anything is changed. */
static int take_files(struct plog *l, struct segment *old, struct segment **s, struct file_ref **f)
{
    *s = segment_new(&l->place, &l->view, old->base);
    TRY(*s != NULL ? OK : ERR_NOMEM);
    TRY(segment_flush_indexes(old, false));
    return segment_file(*s, f);
}

/* Only batches below `offset` are left in s, which has the files of `old`. ld->expect: the log end then. */
static int cut_segment(struct load *ld, const struct segment *old, int64_t offset, struct segment *s,
                       const struct file_ref *f)
{
    int rc;

    s->size = old->size;
    s->offsets.on_file = old->offsets.on_file;
    s->times.on_file = old->times.on_file;
    s->aborts.on_file = old->aborts.on_file;
    s->span = old->span;
    s->created_ms = old->created_ms;
    s->jitter_ms = old->jitter_ms;
    ld->expect = s->base;
    TRY(load_walk_from_index(ld, s, f->fd, old->size, offset));
    rc = segment_flush_indexes(s, false);
    if (rc == OK || rc == ERR_NOSPACE)  /* they wait in memory */
        rc = segment_txn_cut(s, ld->expect);
    KILL_POINT("truncate.index_cut");
    if (rc == OK)
        rc = fio_truncate(f->fd, s->size);
    KILL_POINT("truncate.log_cut");
    return rc;
}

/* ---- state beside the segments --------------------------------------------------------------------------------- */

static int add_snapshot(struct load *ld, int64_t offset)
{
    char path[SEGMENT_PATH_MAX];
    int64_t size;
    int rc;

    segment_path(&ld->l->place, offset, SEGMENT_SNAPSHOT, "", path);
    rc = fio_size(ld->l->place.dirfd, path, &size);
    if (rc == OK)
        ld->snapshots.v[ld->snapshots.n++] = offset;
    return rc == ERR_NOENT ? OK : rc;
}

/* The producers as of the new end: from the newest snapshot below it, and the batches after that. */
static int reload_producers(struct load *ld, int64_t leo)
{
    struct plog *l = ld->l;
    int rc;

    ld->snapshots.v = calloc(l->n + 1, sizeof *ld->snapshots.v);
    if (ld->snapshots.v == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < l->n; i++)
        TRY(add_snapshot(ld, l->segs[i]->base));
    if (l->old_snapshot > plog_active(l)->base)
        TRY(add_snapshot(ld, l->old_snapshot));
    producers_fini(&l->producers);
    plog_txn_cut(l, leo);
    rc = load_producers(ld, leo);
    if (rc == OK)
        rc = load_replay(ld, leo);
    lock_take(&l->view);
    plog_txn_reloaded(l);
    offsets_move(l, OFFSETS_KEEP);
    lock_drop(&l->view);
    /* After a clean stop a log without any snapshot is one without producers; and it may be stopped without a
     * sync. */
    if (rc == OK && ld->snapshots.n == 0 && leo > plog_active(l)->base) {
        rc = plog_write_snapshot(l, leo);
        l->old_snapshot = rc == OK ? leo : -1;
    }
    return rc == ERR_NOSPACE ? OK : rc;
}

/* The k-th segment becomes the last, `s` in its place (NULL: it stays as it is), and the log ends at `leo`. */
static void end_at(struct plog *l, size_t k, struct segment *s, struct plog_offsets to)
{
    struct segment *old = NULL;

    lock_take(&l->view);
    for (size_t i = 0; i < l->n; i++)
        l->size_bytes -= i >= k ? l->segs[i]->size : 0;
    if (s != NULL) {
        old = l->segs[k];
        l->segs[k] = s;
    }
    l->size_bytes += l->segs[k]->size;
    if (l->cleaned_to > l->segs[k]->base)
        l->cleaned_to = l->segs[k]->base;
    l->epochs_dirty |= epochs_truncate_end(&l->epochs, to.leo);
    l->replaced++;
    offsets_move(l, to);
    lock_drop(&l->view);
    segment_unref(&old);
    while (l->n > k + 1) {
        lock_take(&l->view);
        old = l->segs[--l->n];
        lock_drop(&l->view);
        segment_unref(&old);
    }
}

/* Takes over s, as which the k-th segment goes on. */
static int cut(struct load *ld, int64_t offset, size_t k, struct segment *s, const struct file_ref *f)
{
    struct plog *l = ld->l;
    struct plog_offsets to = l->off;
    int rc;

    give_way(l, k);
    rc = doom_from(l, k + 1);
    if (rc == OK)
        rc = cut_segment(ld, l->segs[k], offset, s, f);
    if (rc != OK) {
        segment_unref(&s);
        return rc;
    }
    to.leo = ld->expect;
    to.start = to.start < to.leo ? to.start : to.leo;
    to.hw = to.hw < to.leo ? to.hw : to.leo;
    end_at(l, k, s, to);
    TRY(drop_old_snapshot(l, to.leo));
    return reload_producers(ld, to.leo);
}

/* ---- the two ways ---------------------------------------------------------------------------------------------- */

/* What is half done cannot be taken back, and must not be built upon. */
static int broken(struct plog *l, int rc)
{
    rc = plog_check(l, rc, "truncation");
    if (rc == OK || rc == ERR_OFFLINE)
        return rc;
    if (atomic_load(&l->future))
        log_warn("%s/%s: truncation failed half way: %s; another copy is made", l->dir->path, l->place.dir,
                 fio_text(rc));
    else
        log_error("%s/%s: truncation failed half way: %s; the partition is out of use until the broker is started "
                  "again", l->dir->path, l->name, fio_text(rc));
    atomic_store_explicit(&l->closed, true, memory_order_release);
    l->broken = true;
    return rc;
}

static int truncate_locked(struct plog *l, int64_t offset)
{
    struct load_result result = { 0 };
    struct load ld = { .l = l, .out = &result, .start = l->off.start, .recovery_point = offset,
                       .to_the_end = true };
    size_t k = holder_of(l, offset);
    struct segment *s = NULL;
    struct file_ref *f = NULL;
    int rc;

    ld.buf = malloc(SCAN_BUFFER);
    rc = ld.buf != NULL ? take_files(l, l->segs[k], &s, &f) : ERR_NOMEM;
    if (rc == OK) {
        rc = broken(l, cut(&ld, offset, k, s, f));
    } else {
        segment_unref(&s);
        rc = plog_check(l, rc, "truncation");
    }
    file_unref(&f);
    free(ld.snapshots.v);
    free(ld.buf);
    return rc;
}

/* An epoch may have begun at the end that the leader does not know. */
static void drop_epochs(struct plog *l, int64_t offset)
{
    lock_take(&l->view);
    l->epochs_dirty |= epochs_truncate_end(&l->epochs, offset);
    lock_drop(&l->view);
    if (l->epochs_dirty)
        plog_dirty(l);
}

int plog_truncate(struct plog *l, int64_t offset)
{
    int64_t first, floor = -1;
    int rc;

    lock_take(&l->lock);
    rc = plog_usable(l);
    first = l->segs[0]->base;
    if (rc == OK && offset >= l->off.leo)
        drop_epochs(l, offset);
    else if (rc == OK && offset >= first)
        floor = batch_floor(l, offset);
    lock_drop(&l->lock);
    if (rc == OK && offset < first)
        return plog_truncate_all(l, offset);
    if (rc != OK || floor < 0)
        return rc;
    rc = lower_recovery_point(l, floor);
    if (rc == ERR_BUSY)
        return rc;
    lock_take(&l->lock);
    if (rc == OK)
        rc = plog_usable(l);
    if (rc == OK)
        rc = truncate_locked(l, offset);
    truncation_over(l);
    lock_drop(&l->lock);
    return rc;
}

/* Takes over s, whose files are prepared. */
static int start_anew(struct plog *l, struct segment *s)
{
    struct plog_offsets to = { s->base, s->base, s->base, s->base };
    int rc;

    give_way(l, 0);
    rc = doom_from(l, 0);
    if (rc == OK)
        rc = segment_place_files(s);
    KILL_POINT("truncate.began_anew");
    if (rc != OK) {
        segment_unref(&s);
        return rc;
    }
    s->created_ms = l->dir->opts.now_ms();
    lock_take(&l->view);
    epochs_truncate_end(&l->epochs, 0);
    lock_drop(&l->view);
    plog_txn_forget(l, to.leo);
    end_at(l, 0, s, to);
    l->epochs_dirty = l->files_dirty = true;
    producers_fini(&l->producers);
    return drop_old_snapshot(l, -1);
}

/* Nothing has changed where the new files cannot be had. */
static int begin_at(struct plog *l, int64_t offset)
{
    struct segment *s = segment_new(&l->place, &l->view, offset);
    int rc = s != NULL ? segment_prepare_files(s) : ERR_NOMEM;

    KILL_POINT("truncate.prepared");
    if (rc == OK)
        return broken(l, start_anew(l, s));
    segment_unref(&s);
    return plog_check(l, rc, "truncation");
}

int plog_truncate_all(struct plog *l, int64_t offset)
{
    int rc;

    if (offset < 0 || offset > OFFSET_LIMIT)
        return ERR_INVALID;
    rc = lower_recovery_point(l, 0);
    if (rc == ERR_BUSY)
        return rc;
    lock_take(&l->lock);
    if (rc == OK)
        rc = plog_usable(l);
    if (rc == OK)
        rc = begin_at(l, offset);
    if (rc == OK) {
        l->recovery_point = offset;     /* there is nothing to recover */
        plog_flush_init(l);
    }
    truncation_over(l);
    lock_drop(&l->lock);
    return rc;
}
