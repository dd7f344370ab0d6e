/* storage/plog_sync.c - what the syncer does with one log, step by step (invariants 10 and 11).
 *
 * The bytes to be made durable are fixed in plog_sync_begin() under the log's lock; everything slow comes after it,
 * with no lock held. A file that is gone when its turn comes was deleted by retention or with its topic: nothing is to
 * be synced.
 */
#include "storage/plog_impl.h"

#include "storage/fio.h"
#include "storage/killpoint.h"
#include "storage/syncer.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define EPOCHS_TMP CHECKPOINT_LEADER_EPOCH ".tmp"

static void path_in(const struct plog *l, const char *name, char out[PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%s/%s", l->place.dir, name);
}

/* ---- begin --------------------------------------------------------------------------------------------------- */

static int write_epochs_tmp(struct plog *l)
{
    char path[PATH_MAX], *text;
    size_t n;
    int fd, rc;

    TRY(epoch_checkpoint_print(l->epochs.v, l->epochs.n, &text, &n));
    path_in(l, EPOCHS_TMP, path);
    rc = fio_open(l->place.dirfd, path, O_WRONLY | O_CREAT | O_TRUNC, &fd);
    if (rc == OK) {
        rc = fio_pwrite(fd, text, n, 0);
        fio_close(&fd);
    }
    free(text);
    return rc;
}

/* The active segment's index entries go to the file, and the producers' state at the log end beside it, so that
 * recovery from there on has what it needs. A segment's own snapshot at its base serves as well. */
static int freeze_active(struct plog *l, struct sync_item *it)
{
    struct segment *s = plog_active(l);

    TRY(segment_flush_indexes(s, false));
    it->upto = plog_offsets(l).leo;
    if (it->upto == s->base || it->upto == l->old_snapshot)
        return OK;
    TRY(plog_write_snapshot(l, it->upto));
    it->snapshot = it->upto;
    it->old_snapshot = l->old_snapshot;
    l->old_snapshot = it->upto;
    it->files = true;
    return OK;
}

/* References of the segments that hold bytes between the recovery point and it->upto. */
static int collect_segments(struct plog *l, struct sync_item *it)
{
    int64_t leo = plog_offsets(l).leo;

    it->segs = calloc(l->n, sizeof *it->segs);
    if (it->segs == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < l->n; i++) {
        int64_t end = i + 1 < l->n ? l->segs[i + 1]->base : leo;
        if (end > l->recovery_point && l->segs[i]->base < it->upto)
            it->segs[it->segs_n++] = segment_ref(l->segs[i]);
    }
    return OK;
}

static int begin(struct plog *l, bool data, struct sync_item *it)
{
    TRY(plog_mend(l));
    it->upto = plog_active(l)->base;
    it->cuts = l->cuts;
    if (l->epochs_dirty) {
        TRY(write_epochs_tmp(l));
        it->epochs = true;
        l->epochs_dirty = false;
    }
    it->files = l->files_dirty;
    it->unlisted = l->unlisted;
    l->files_dirty = false;
    if (data && l->recovery_point < plog_offsets(l).leo)
        TRY(freeze_active(l, it));
    if (it->upto < l->recovery_point)
        it->upto = l->recovery_point;
    /* The snapshot that was written when the segment was begun. */
    if (it->snapshot < 0 && it->upto > l->recovery_point)
        it->snapshot = it->upto;
    return collect_segments(l, it);
}

/* What was not made durable is dirty as before. */
static void undo(struct sync_item *it)
{
    struct plog *l = it->log;

    lock_take(&l->lock);
    l->epochs_dirty |= it->epochs;
    l->files_dirty |= it->files;
    lock_drop(&l->lock);
}

int plog_sync_begin(struct plog *l, bool data, struct sync_item *it)
{
    int rc;

    *it = (struct sync_item){ .log = plog_ref(l), .snapshot = -1, .old_snapshot = -1 };
    lock_take(&l->lock);
    if (l->deleted || l->broken)
        rc = ERR_CLOSED;
    else
        rc = logdir_offline(l->dir) ? ERR_OFFLINE : plog_check(l, begin(l, data, it), "preparing a sync");
    lock_drop(&l->lock);
    if (rc != OK)
        undo(it);
    return rc;
}

/* ---- files, rename, directory -------------------------------------------------------------------------------- */

static int sync_segment(struct plog *l, struct segment *s)
{
    char path[SEGMENT_PATH_MAX];
    struct file_ref *f;
    uint32_t aborts;
    int rc = segment_file(s, &f);

    if (rc != OK)
        return gone_is_fine(rc);
    rc = fio_sync(f->fd);
    file_unref(&f);
    TRY(rc);
    segment_path(&l->place, s->base, SEGMENT_INDEX, "", path);
    TRY(gone_is_fine(fio_sync_path(l->place.dirfd, path, false)));
    segment_path(&l->place, s->base, SEGMENT_TIMEINDEX, "", path);
    TRY(gone_is_fine(fio_sync_path(l->place.dirfd, path, false)));
    lock_take(&l->view);
    aborts = s->aborts.on_file;
    lock_drop(&l->view);
    if (aborts == 0)
        return OK;
    segment_path(&l->place, s->base, SEGMENT_TXNINDEX, "", path);
    return gone_is_fine(fio_sync_path(l->place.dirfd, path, false));
}

static int sync_files(struct sync_item *it)
{
    struct plog *l = it->log;
    char path[PATH_MAX], snapshot[SEGMENT_PATH_MAX];

    for (size_t i = 0; i < it->segs_n; i++)
        TRY(sync_segment(l, it->segs[i]));
    if (it->snapshot >= 0) {
        segment_path(&l->place, it->snapshot, SEGMENT_SNAPSHOT, "", snapshot);
        TRY(gone_is_fine(fio_sync_path(l->place.dirfd, snapshot, false)));
    }
    if (it->epochs) {
        path_in(l, EPOCHS_TMP, path);
        TRY(gone_is_fine(fio_sync_path(l->place.dirfd, path, false)));
    }
    if (!it->files)
        return OK;
    path_in(l, PARTITION_METADATA, path);
    return gone_is_fine(fio_sync_path(l->place.dirfd, path, false));
}

int plog_sync_files(struct sync_item *it)
{
    int rc = plog_check(it->log, sync_files(it), "fsync");

    KILL_POINT("sync.files_done");
    return rc;
}

int plog_sync_rename(struct sync_item *it)
{
    struct plog *l = it->log;
    char from[PATH_MAX], to[PATH_MAX];
    int rc = OK;

    if (!it->epochs)
        return OK;
    path_in(l, EPOCHS_TMP, from);
    path_in(l, CHECKPOINT_LEADER_EPOCH, to);
    KILL_POINT("sync.before_rename");
    lock_take(&l->lock);                /* so that it is not a new log of this name that is changed */
    if (!l->deleted)
        rc = plog_check(l, gone_is_fine(fio_rename(l->place.dirfd, from, to)), "renaming " EPOCHS_TMP);
    lock_drop(&l->lock);
    return rc;
}

int plog_sync_dir(struct sync_item *it)
{
    struct plog *l = it->log;

    if (!it->files && !it->epochs)
        return OK;
    return plog_check(l, gone_is_fine(fio_sync_path(l->place.dirfd, l->place.dir, true)), "fsync of the directory");
}

/* ---- done ---------------------------------------------------------------------------------------------------- */

void plog_sync_done(struct sync_item *it)
{
    struct plog *l = it->log;

    lock_take(&l->lock);
    if (it->upto > l->recovery_point && it->cuts == l->cuts && !l->truncating)
        l->recovery_point = it->upto;
    plog_synced_up(l, it->upto, it->cuts);
    lock_drop(&l->lock);
    it->epochs = it->files = false;     /* nothing to undo any more */
}

/* A segment may have begun at the old snapshot's offset meanwhile: then it is that one's. */
static void remove_old_snapshot(struct plog *l, int64_t offset)
{
    char path[SEGMENT_PATH_MAX];

    segment_path(&l->place, offset, SEGMENT_SNAPSHOT, "", path);
    lock_take(&l->lock);
    for (size_t i = 0; i < l->n; i++)
        if (l->segs[i]->base == offset)
            offset = -1;
    if (offset >= 0 && !l->deleted)
        (void)gone_is_fine(fio_unlink(l->place.dirfd, path));   /* one too many: the next start removes it */
    lock_drop(&l->lock);
}

/* The checkpoints have been written since the log was made. Until the directory is synced again a power cut may bring
 * the file back: the log is young then. */
static void listed_now(struct plog *l)
{
    char path[PATH_MAX];

    path_in(l, LOG_UNLISTED, path);
    lock_take(&l->lock);
    if (!l->deleted && fio_unlink(l->place.dirfd, path) == OK) {
        l->unlisted = false;
        l->files_dirty = true;
        plog_dirty(l);
    }
    lock_drop(&l->lock);
}

void plog_sync_end(struct sync_item *it, bool checkpointed)
{
    if (checkpointed) {
        lock_take(&it->log->lock);
        it->log->checkpointed = it->log->recovery_point < it->upto ? it->log->recovery_point : it->upto;
        lock_drop(&it->log->lock);
    }
    if (checkpointed && it->old_snapshot >= 0)
        remove_old_snapshot(it->log, it->old_snapshot);
    if (checkpointed && it->unlisted)
        listed_now(it->log);
    if (it->epochs || it->files)
        undo(it);
    for (size_t i = 0; i < it->segs_n; i++)
        segment_unref(&it->segs[i]);
    free(it->segs);
    plog_unref(&it->log);
}

bool plog_wants_sync(struct plog *l)
{
    bool yes;

    lock_take(&l->lock);
    yes = l->recovery_point < plog_offsets(l).leo || l->epochs_dirty || l->files_dirty || l->unlisted;
    yes = yes && !l->deleted && !l->broken;
    lock_drop(&l->lock);
    return yes;
}

int64_t plog_recovery_point(struct plog *l)
{
    int64_t o;

    lock_take(&l->lock);
    o = l->recovery_point;
    lock_drop(&l->lock);
    return o;
}

int plog_close(struct plog *l)
{
    int rc;

    lock_take(&l->lock);
    atomic_store_explicit(&l->closed, true, memory_order_release);
    rc = logdir_offline(l->dir) ? ERR_OFFLINE : l->broken ? ERR_CORRUPT : OK;
    if (rc == OK)
        rc = plog_check(l, segment_flush_indexes(plog_active(l), true), "closing");
    lock_drop(&l->lock);
    return rc;
}
