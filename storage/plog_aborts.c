/* storage/plog_aborts.c - opening a log: what the .txnindex files say is compared with the batches that they name.
 *
 * Of each entry that stands for a durable marker: the batch at its last offset is the ABORT marker of its producer, the
 * one at its first offset is in a transaction of that producer, and where the next open transaction began so did one of
 * another. A file that says anything else is made anew. Compaction may have taken all but the marker.
 *
 * After a clean stop of ours a sum says it all (invariant 23). Without it an entry that is missing leaves no trace: a
 * .txnindex that was removed, or cut after a whole entry, while the broker was down goes unnoticed where nothing is
 * recovered (as by Apache Kafka); finding it would take reading every segment. Where there are so many entries that
 * reading the segment is as quick as looking at each, the file is made anew; or believed, if what was written is still
 * in the page cache that it was written to.
 */
#include "storage/plog_load_impl.h"

#include "base/log.h"
#include "storage/fio.h"
#include "storage/txn_index_file.h"

#include <stdlib.h>

#define TXN_INDEX_BYTES ((size_t)1 << 30)
#define LOOK_BYTES      (16U << 10)     /* reading so much of a segment costs about what looking at an entry does */
#define LOOKS_MIN       64

/* Whether the batch that holds `offset` is gone, or a transaction's data of a producer that is (or is not) `id`. */
static int is_data(const struct load *ld, int64_t offset, int64_t id, bool same, bool *right)
{
    struct batch_head h;

    *right = true;
    if (offset < ld->start)
        return OK;
    TRY(load_batch_at(ld, offset, &h));
    if (h.size_bytes == 0 || h.base_offset > offset)
        return OK;
    *right = h.base_offset == offset && batch_is_txn(&h) && !batch_is_control(&h) && (h.producer_id == id) == same;
    return OK;
}

static int check_entry(const struct load *ld, const struct txn_index_entry *e, bool *right)
{
    struct batch_head h;

    TRY(load_batch_at(ld, e->last_offset, &h));
    *right = h.base_offset == e->last_offset && batch_is_control(&h) && h.producer_id == e->producer_id;
    if (*right)
        TRY(is_data(ld, e->first_offset, e->producer_id, true, right));
    if (*right && e->stable_offset <= e->last_offset)
        TRY(is_data(ld, e->stable_offset, e->producer_id, false, right));
    return OK;
}

static int check_segment(const struct load *ld, const struct segment *s, bool *right)
{
    char path[SEGMENT_PATH_MAX];
    uint8_t *p;
    size_t len;
    int rc = OK;

    *right = true;
    segment_path(s->place, s->base, SEGMENT_TXNINDEX, "", path);
    TRY(fio_read_file(s->place->dirfd, path, TXN_INDEX_BYTES, &p, &len));
    for (size_t i = 0; rc == OK && *right && i < s->aborts.on_file && (i + 1) * TXN_INDEX_ENTRY <= len; i++) {
        struct txn_index_entry e;
        (void)txn_index_get(p + i * TXN_INDEX_ENTRY, &e);
        if (e.last_offset >= ld->recovery_point)
            break;                      /* made anew in any case */
        rc = check_entry(ld, &e, right);
    }
    free(p);
    return rc;
}

int load_check_aborts(struct load *ld)
{
    struct plog *l = ld->l;

    if (l->dir->txn_sums.n > 0)
        return OK;
    for (size_t i = 0; i < l->n; i++) {
        struct segment *s = l->segs[i];
        bool right = l->dir->same_boot, many = s->aborts.on_file > s->size / LOOK_BYTES + LOOKS_MIN;
        char path[SEGMENT_PATH_MAX];
        if (s->aborts.on_file == 0)
            continue;
        if (!many)
            TRY(check_segment(ld, s, &right));
        if (right)
            continue;
        segment_path(s->place, s->base, SEGMENT_TXNINDEX, "", path);
        if (!many)
            log_warn("%s/%s: is not what the batches say; it is made anew from them", l->dir->path, path);
        TRY(plog_txn_rebuild(l, ld->start, s));
    }
    return OK;
}
