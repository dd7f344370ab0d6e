/* storage/plog_clean.c - one segment takes the place of several (C2).
 *
 * The new files are whole and on disk as *.cleaned when this begins. They become *.swap; once that is on disk too the
 * decision has been made: the old files become *.deleted and the new ones take their names. Whatever a crash leaves
 * is finished or undone by plog_swap.c, whose table of what may be found this file keeps to: of each segment the .log
 * changes its name first.
 *
 * The log's lock is held while names change, never while the disk is waited for. In between `swapping` keeps
 * segments from being deleted or cut, whose replacements would come back after a crash.
 */
#include "storage/plog_impl.h"

#include "storage/fio.h"
#include "storage/killpoint.h"
#include "storage/open_files.h"
#include "storage/segment_writer.h"

static const enum segment_file files[] = { SEGMENT_LOG, SEGMENT_INDEX, SEGMENT_TIMEINDEX, SEGMENT_TXNINDEX };

#define FILES_N (sizeof files / sizeof files[0])

/* ---- the list ------------------------------------------------------------------------------------------------ */

/* Where the old ones are in the list. ERR_AGAIN: not there any more, not next to each other, or the log was cut. */
static int find_old(const struct plog *l, struct segment **old, size_t n, uint32_t cuts, size_t *at)
{
    size_t i = 0;

    lock_assert(&l->lock);
    while (i < l->n && l->segs[i] != old[0])
        i++;
    if (l->truncating || l->cuts != cuts || i + n >= l->n)      /* the last one is being appended to */
        return ERR_AGAIN;
    for (size_t k = 0; k < n; k++)
        if (l->segs[i + k] != old[k])
            return ERR_AGAIN;
    *at = i;
    return OK;
}

/* s in the place of n segments from `at` on, whose references are the caller's then. Its index entries are all in
 * memory, so that it can be read whatever its files are called. */
static void swap_in_list(struct plog *l, size_t at, size_t n, struct segment *s)
{
    lock_take(&l->view);
    for (size_t k = 0; k < n; k++) {
        atomic_store(&l->segs[at + k]->replaced, true);
        l->size_bytes -= l->segs[at + k]->size;
    }
    l->segs[at] = s;
    memmove(l->segs + at + 1, l->segs + at + n, (l->n - at - n) * sizeof *l->segs);
    l->n -= n - 1;
    l->size_bytes += s->size;
    l->replaced++;
    lock_drop(&l->view);
}

/* ---- names --------------------------------------------------------------------------------------------------- */

static void remove_swap_files(const struct segment_writer *w)
{
    char path[SEGMENT_PATH_MAX];

    for (size_t i = 0; i < FILES_N; i++) {
        segment_path(&w->at, w->seg->base, files[i], SEGMENT_SWAP, path);
        (void)!fio_unlink(w->at.dirfd, path);
    }
}

static int begin_swap(struct plog *l, struct segment **old, size_t n, uint32_t cuts, const struct segment_writer *w)
{
    size_t at;
    int rc;

    lock_take(&l->lock);
    rc = plog_usable(l);
    if (rc == OK)
        rc = find_old(l, old, n, cuts, &at);
    if (rc == OK) {
        rc = segment_writer_rename(w, SEGMENT_CLEANED, SEGMENT_SWAP);
        if (rc != OK)
            remove_swap_files(w);       /* at least one .cleaned is there still, which says that these do not count */
    }
    l->swapping |= rc == OK;
    lock_drop(&l->lock);
    return plog_check(l, rc, "replacing segments");
}

/* The first one's snapshot is the new segment's now. */
static int doom_old(struct plog *l, struct segment **old, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        TRY(plog_doom_segment(l, old[k], k > 0));
        KILL_POINT("clean.old_gone");
    }
    return OK;
}

static int change_names(struct plog *l, struct segment **old, size_t n, size_t at, struct segment_writer *w)
{
    struct segment *s = w->seg;
    int rc;

    swap_in_list(l, at, n, s);
    rc = doom_old(l, old, n);
    if (rc == OK)
        rc = segment_writer_rename(w, SEGMENT_SWAP, "");
    if (rc == OK) {
        segment_index_written(s);
        open_files_add(l->place.files, s);      /* its file can be found by its name from now on */
    }
    (void)segment_writer_take(w);
    for (size_t k = 0; k < n; k++) {    /* the list's references */
        struct segment *gone = old[k];
        segment_unref(&gone);
    }
    /* Nothing can be taken back: whatever failed is the directory's failure. */
    return rc == OK ? OK : plog_check(l, ERR_IO, "replacing segments");
}

static int finish_swap(struct plog *l, struct segment **old, size_t n, uint32_t cuts, struct segment_writer *w)
{
    size_t at = 0;
    int rc;

    lock_take(&l->lock);
    rc = l->deleted ? ERR_CLOSED : logdir_offline(l->dir) ? ERR_OFFLINE : find_old(l, old, n, cuts, &at);
    if (rc == OK)
        rc = change_names(l, old, n, at, w);
    lock_drop(&l->lock);
    return rc;
}

static void end_swap(struct plog *l)
{
    lock_take(&l->lock);
    l->swapping = false;
    cond_broadcast(&l->swapped);
    lock_drop(&l->lock);
}

void plog_await_swap(struct plog *l)
{
    while (l->swapping)
        cond_wait(&l->swapped, &l->lock);
}

static int sync_names(struct plog *l, const struct segment_writer *w)
{
    int rc = fio_sync_dir(w->at.dirfd);

    return rc == OK ? OK : plog_check(l, ERR_IO, "fsync of the directory");
}

int plog_replace_segments(struct plog *l, struct segment **old, size_t n, uint32_t cuts, struct segment_writer *w)
{
    int rc;

    KILL_POINT("clean.before_swap");
    rc = begin_swap(l, old, n, cuts, w);
    if (rc != OK) {
        (void)!fio_sync_dir(w->at.dirfd);
        return rc;
    }
    rc = sync_names(l, w);
    KILL_POINT("clean.decided");
    if (rc == OK)
        rc = finish_swap(l, old, n, cuts, w);
    if (rc == OK)
        rc = sync_names(l, w);          /* before that a truncation could be undone by what the next start finishes */
    KILL_POINT("clean.done");
    end_swap(l);
    return rc;
}
