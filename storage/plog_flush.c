/* storage/plog_flush.c - how far a log is durable, and how far it may be answered for and committed.
 *
 * `synced` is what is on the disk. `safe` is what flush.messages lets go out: with N, at most N - 1 records below it
 * are not synced; without the setting it is the log's end. Both only grow, but for truncation.
 *
 * A flush is the fdatasync of the .log files between `synced` and the log's end, and the directories' when a segment
 * was begun. It leaves the recovery point where it is: the indexes, epochs and producers of what lies above are made
 * anew from the batches by recovery, so they need not be on the disk. The syncer's rounds see to the rest (invariant
 * 10).
 */
#include "storage/plog_impl.h"

#include "storage/fio.h"
#include "storage/killpoint.h"
#include "storage/syncer.h"

#include <stdlib.h>

struct flush {
    struct segment **segs;              /* references */
    size_t           n;
    int64_t          upto;
    int64_t          base;              /* of the segment that is appended to */
    uint32_t         cuts;
    bool             dirs;              /* it was begun after the last flush */
};

/* ---- where we are -------------------------------------------------------------------------------------------- */

void plog_leo_moved(struct plog *l, int64_t from, int64_t to)
{
    lock_assert(&l->view);
    if (to < from) {
        l->cuts++;
        l->flushed_base = -1;
        l->synced = l->synced < to ? l->synced : to;
        l->safe = l->safe < to ? l->safe : to;
    } else if (to - l->synced < l->opts.flush_messages) {
        l->safe = to;
    }
}

void plog_flush_init(struct plog *l)
{
    l->flushed_base = -1;
    lock_take(&l->view);
    l->synced = l->recovery_point;
    l->safe = l->off.hw > l->synced ? l->off.hw : l->synced;    /* committed in the life before */
    plog_leo_moved(l, l->off.leo, l->off.leo);
    lock_drop(&l->view);
    plog_flush_due(l);
}

void plog_flush_due(struct plog *l)
{
    lock_assert(&l->lock);
    if (atomic_load_explicit(&l->closed, memory_order_relaxed))
        return;                         /* else it would be kept, with its files, until flush.ms is over */
    if (l->safe < l->off.leo)
        syncer_flush(l->dir->syncer, l);
    else if (l->synced < l->off.leo)
        syncer_flush_by(l->dir->syncer, l, l->opts.flush_ms);
}

void plog_note_append(struct plog *l)
{
    plog_flush_due(l);
    syncer_note(l->dir->syncer, l, l->dir->opts.sync_checkpoint_ms, true);
}

void plog_synced_up(struct plog *l, int64_t upto, uint32_t cuts)
{
    lock_assert(&l->lock);
    if (cuts != l->cuts || upto <= l->synced)
        return;
    lock_take(&l->view);
    l->synced = upto;
    if (l->safe < upto)
        l->safe = upto;
    plog_leo_moved(l, l->off.leo, l->off.leo);
    lock_drop(&l->view);
}

int64_t plog_synced(struct plog *l)
{
    int64_t o;

    lock_take(&l->lock);
    o = l->synced;
    lock_drop(&l->lock);
    return o;
}

int plog_is_safe(struct plog *l, int64_t offset, bool *done)
{
    lock_take(&l->view);
    *done = l->safe >= offset;
    lock_drop(&l->view);
    return *done ? OK : plog_usable(l);
}

/* ---- a flush ------------------------------------------------------------------------------------------------- */

/* [log] */
static int begin(struct plog *l, struct flush *f)
{
    f->upto = l->off.leo;
    f->base = plog_active(l)->base;
    f->cuts = l->cuts;
    f->dirs = f->base != l->flushed_base;
    f->segs = calloc(l->n, sizeof *f->segs);
    if (f->segs == NULL)
        return ERR_NOMEM;
    for (size_t i = l->n; i-- > 0; ) {
        int64_t end = i + 1 < l->n ? l->segs[i + 1]->base : f->upto;
        if (end <= l->synced)
            break;
        f->segs[f->n++] = segment_ref(l->segs[i]);
    }
    return OK;
}

static int sync_bytes(struct plog *l, struct flush *f)
{
    for (size_t i = f->n; i-- > 0; ) {
        struct file_ref *file;
        int rc = segment_file(f->segs[i], &file);

        if (rc == OK) {
            rc = fio_sync(file->fd);
            file_unref(&file);
        }
        TRY(gone_is_fine(rc));
    }
    KILL_POINT("flush.synced");
    if (!f->dirs)
        return OK;
    TRY(gone_is_fine(fio_sync_path(l->place.dirfd, l->place.dir, true)));
    return fio_sync_path(l->place.dirfd, ".", true);
}

int plog_flush(struct plog *l)
{
    struct flush f = { 0 };
    int rc;

    lock_take(&l->lock);
    rc = plog_usable(l);
    if (rc == OK && l->synced < l->off.leo)
        rc = begin(l, &f);
    lock_drop(&l->lock);
    if (rc == OK && f.n > 0)
        rc = plog_check(l, sync_bytes(l, &f), "fdatasync");
    if (rc == OK && f.n > 0) {
        lock_take(&l->lock);
        if (f.cuts == l->cuts)
            l->flushed_base = f.base;
        plog_synced_up(l, f.upto, f.cuts);
        if (f.cuts != l->cuts)
            plog_flush_due(l);          /* nobody knows what of it still stands */
        lock_drop(&l->lock);
    }
    for (size_t i = 0; i < f.n; i++)
        segment_unref(&f.segs[i]);
    free(f.segs);
    return rc;
}
