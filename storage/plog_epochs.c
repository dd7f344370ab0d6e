/* storage/plog_epochs.c - opening a log: leader epochs, from their file and from batches.
 *
 * The file has no checksum, and an entry with another digit in it still parses. So what it says is compared with the
 * batches around the places where epochs begin; if any of it is not so, all headers are read and say it anew.
 */
#include "storage/plog_load_impl.h"

#include "base/log.h"
#include "storage/fio.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define EPOCHS_MAX ((size_t)1 << 28)

int load_take_epoch(struct load *ld, const struct batch_head *h)
{
    struct epochs *e = &ld->l->epochs;
    bool changed;

    if (h->magic < BATCH_MAGIC_NOW || h->leader_epoch < 0 || h->leader_epoch <= epochs_latest(e))
        return OK;
    ld->l->epochs_dirty = true;
    return epochs_assign(e, h->leader_epoch, h->base_offset, &changed);
}

int load_epochs(struct load *ld)
{
    char path[PATH_MAX];
    struct epoch_entry *v;
    uint8_t *text;
    size_t len, n, line;
    int rc;

    (void)snprintf(path, sizeof path, "%s/%s", ld->l->place.dir, CHECKPOINT_LEADER_EPOCH);
    rc = fio_read_file(ld->l->place.dirfd, path, EPOCHS_MAX, &text, &len);
    if (rc == ERR_NOENT)
        return OK;
    TRY(rc);
    rc = epoch_checkpoint_parse(text, len, &v, &n, &line);
    free(text);
    if (rc == ERR_CORRUPT) {
        log_warn("%s/%s: line %zu does not parse; leader epochs are taken from the batches", ld->l->dir->path, path,
                 line);
        ld->epochs_lost = true;
        return OK;
    }
    TRY(rc);
    rc = epochs_load(&ld->l->epochs, v, n);
    free(v);
    return rc;
}

/* ---- do the batches say the same? ------------------------------------------------------------------------------ */

static bool has_epoch(const struct batch_head *h)
{
    return h->magic >= BATCH_MAGIC_NOW && h->leader_epoch >= 0;
}

/* Entry i, which begins below the log end. Compaction may have taken the batch that began there. */
static int check_entry(const struct load *ld, size_t i, bool *right)
{
    const struct epoch_entry *e = &ld->l->epochs.v[i];
    struct batch_head at, before;

    TRY(load_batch_at(ld, e->start, &at));
    if (has_epoch(&at))
        *right = at.base_offset > e->start ? at.leader_epoch >= e->epoch : at.leader_epoch == e->epoch;
    if (!*right || i == 0)
        return OK;
    TRY(load_batch_at(ld, e->start - 1, &before));
    if (has_epoch(&before) && before.base_offset < e->start)
        *right = before.leader_epoch == e[-1].epoch && before.last_offset < e->start;
    return OK;
}

static int check_epochs(const struct load *ld, int64_t start, int64_t leo, bool *right)
{
    const struct epochs *e = &ld->l->epochs;
    struct batch_head last = ld->last;

    *right = true;
    if (leo <= start)
        return OK;
    if (last.size_bytes == 0)
        TRY(load_batch_at(ld, leo - 1, &last));
    if (has_epoch(&last))
        *right = epochs_latest(e) == last.leader_epoch;
    for (size_t i = e->n > 1 ? 0 : e->n; i < e->n && *right; i++)
        TRY(check_entry(ld, i, right));
    return OK;
}

static int take_all_epochs(struct load *ld)
{
    struct plog *l = ld->l;

    l->epochs.n = 0;
    for (size_t i = 0; i < l->n; i++) {
        struct segment *s = l->segs[i];
        struct log_scan sc;
        struct file_ref *f;
        int rc = OK;
        TRY(segment_file(s, &f));
        log_scan_init(&sc, f->fd, 0, s->size, ld->buf, SCAN_BUFFER);
        while (rc == OK && (rc = load_goes_on(ld)) == OK && log_scan_next(&sc))
            rc = load_take_epoch(ld, &sc.head);
        ld->out->read_bytes += sc.read_bytes;
        file_unref(&f);
        TRY(rc);
        if (sc.rc != OK && !load_is_damage(sc.rc))
            return sc.rc;
    }
    return OK;
}

static bool cut_epochs(struct plog *l, int64_t start, int64_t leo)
{
    bool end = epochs_truncate_end(&l->epochs, leo);

    return epochs_truncate_start(&l->epochs, start) || end;
}

int load_settle_epochs(struct load *ld, int64_t start, int64_t leo)
{
    struct plog *l = ld->l;
    bool right;

    l->epochs_dirty |= cut_epochs(l, start, leo);
    if (!ld->epochs_lost) {
        TRY(check_epochs(ld, start, leo, &right));
        if (right)
            return OK;
        log_warn("%s/%s/" CHECKPOINT_LEADER_EPOCH ": is not what the batches say; leader epochs are taken from them",
                 l->dir->path, l->place.dir);
    }
    l->epochs_dirty = true;
    TRY(take_all_epochs(ld));
    (void)cut_epochs(l, start, leo);
    return OK;
}
