/* storage/plog_txn.c - transactions in a log: what has completed, how far records are stable, which were aborted. */
#include "storage/plog_impl.h"

#include "base/log.h"
#include "storage/fio.h"
#include "storage/log_scan.h"
#include "storage/segment_txn.h"

#include <inttypes.h>
#include <stdlib.h>

#define SCAN_BYTES   ((size_t)64 << 10)
#define SNAPSHOT_MAX ((size_t)1 << 30)

/* ---- completed transactions ---------------------------------------------------------------------------------- */

int plog_txn_room(struct plog *l, struct segment *s, size_t n)
{
    struct unstable_txn *v;
    size_t cap;
    bool full;

    if (s != NULL)
        TRY(segment_txn_room(s, n));
    lock_take(&l->view);
    full = unstable_full(&l->unstable, n);
    cap = unstable_want(&l->unstable, n);       /* it only shrinks while we hold the log's lock */
    lock_drop(&l->view);
    if (!full)
        return OK;
    v = calloc(cap, sizeof *v);
    if (v == NULL)
        return ERR_NOMEM;
    lock_take(&l->view);
    v = unstable_grow(&l->unstable, v, cap);
    lock_drop(&l->view);
    free(v);
    return OK;
}

/* The end of a transaction is seen before the marker is: nobody is given anything above its beginning before the high
 * watermark has passed the marker. */
static void publish(struct plog *l, struct segment *s, const struct txn_done *d)
{
    lock_take(&l->view);
    if (d->producer_id >= 0)
        unstable_complete(&l->unstable, d->first_offset, d->last_offset);
    if (d->producer_id >= 0 && d->aborted && s != NULL) {
        segment_txn_put(s, &(struct txn_index_entry){ d->producer_id, d->first_offset, d->last_offset,
                                                      d->stable_offset });
        if (s->base > l->last_aborts)
            l->last_aborts = s->base;
    }
    l->unstable.open_first = producers_first_open(&l->producers);
    lock_drop(&l->view);
}

void plog_txn_forget(struct plog *l, int64_t hw)
{
    lock_take(&l->view);
    unstable_forget(&l->unstable);
    unstable_settle(&l->unstable, hw);
    lock_drop(&l->view);
}

void plog_txn_cut(struct plog *l, int64_t leo)
{
    lock_take(&l->view);
    unstable_cut(&l->unstable, leo);
    lock_drop(&l->view);
}

void plog_txn_reloaded(struct plog *l)
{
    lock_assert(&l->view);
    l->unstable.open_first = producers_first_open(&l->producers);
}

int plog_txn_take(struct plog *l, struct segment *s, const struct batch_head *h, const uint8_t *bytes)
{
    struct txn_done done;

    TRY(producers_replay(&l->producers, h, bytes, &done));
    if (!batch_is_txn(h) && !batch_is_control(h))
        return OK;                      /* as nearly all are: it opens none and completes none */
    publish(l, s, &done);
    return OK;
}

int plog_txn_replay(struct plog *l, struct segment *s, const struct batch_head *h, const uint8_t *bytes)
{
    if (batch_is_control(h))
        TRY(plog_txn_room(l, s, 1));
    return plog_txn_take(l, s, h, bytes);
}

/* ---- the producers as they were ------------------------------------------------------------------------------ */

int plog_read_snapshot(struct plog *l, int64_t offset, struct producers *ps)
{
    char path[SEGMENT_PATH_MAX];
    struct snapshot_entry *v;
    uint8_t *p;
    size_t len, n;
    int rc;

    segment_path(&l->place, offset, SEGMENT_SNAPSHOT, "", path);
    TRY(fio_read_file(l->place.dirfd, path, SNAPSHOT_MAX, &p, &len));
    rc = snapshot_parse(p, len, &v, &n);
    free(p);
    TRY(rc);
    rc = producers_load(ps, v, n);
    free(v);
    return rc;
}

/* The newest that is usable; `from` is its offset, or the log's beginning. */
static int newest_snapshot(struct plog *l, int64_t start, int64_t offset, struct producers *ps, int64_t *from)
{
    int rc = ERR_NOENT;

    *from = l->old_snapshot;
    if (*from >= 0 && *from <= offset && *from > plog_active(l)->base)
        rc = plog_read_snapshot(l, *from, ps);
    for (size_t i = l->n; i-- > 0 && (rc == ERR_NOENT || rc == ERR_CORRUPT || rc == ERR_VERSION);) {
        *from = l->segs[i]->base;
        if (*from <= start) {
            *from = start;
            return OK;
        }
        if (*from <= offset)
            rc = plog_read_snapshot(l, *from, ps);
    }
    return rc == ERR_NOENT || rc == ERR_CORRUPT || rc == ERR_VERSION ? OK : rc;
}

typedef int replay_fn(void *arg, const struct batch_head *h, const uint8_t *bytes);

/* Calls fn for the batches of s from position `pos` on that have a producer, up to the first that reaches `to`. Bytes
 * that are no batch end it too: who reads them finds out. */
static int each_batch(struct segment *s, uint32_t pos, int64_t to, replay_fn *fn, void *arg)
{
    struct file_ref *f;
    struct log_scan sc;
    uint8_t *buf = malloc(SCAN_BYTES), *whole = NULL;
    int rc;

    if (buf == NULL)
        return ERR_NOMEM;
    rc = segment_file(s, &f);
    if (rc != OK) {
        free(buf);
        return rc;
    }
    log_scan_init(&sc, f->fd, pos, s->size, buf, SCAN_BYTES);
    while (rc == OK && log_scan_next(&sc) && sc.head.last_offset < to) {
        if (sc.head.producer_id < 0)
            continue;
        if (batch_is_control(&sc.head))
            rc = log_scan_batch(&sc, &whole);
        if (rc == OK)
            rc = fn(arg, &sc.head, whole);
        free(whole);
        whole = NULL;
    }
    file_unref(&f);
    free(buf);
    if (rc == OK && sc.rc != ERR_SHORT && sc.rc != ERR_CORRUPT)
        rc = sc.rc;
    return rc;
}

static int remember(void *arg, const struct batch_head *h, const uint8_t *bytes)
{
    struct txn_done done;

    return producers_replay(arg, h, bytes, &done);
}

static int replay_from(struct plog *l, int64_t from, int64_t offset, struct producers *ps)
{
    for (size_t i = 0; i < l->n && l->segs[i]->base < offset; i++) {
        struct segment *s = l->segs[i];
        struct batch_head h;
        uint32_t pos = 0;
        int rc = OK;

        if (i + 1 < l->n && l->segs[i + 1]->base <= from)
            continue;
        if (from > s->base)
            rc = segment_locate(s, from, s->size, &pos, &h);
        if (rc == ERR_RANGE || rc == ERR_CORRUPT)
            continue;
        TRY(rc);
        TRY(each_batch(s, pos, offset, remember, ps));
    }
    return OK;
}

/* From the newest usable snapshot, and the batches after it. Not one is expired. */
static int producers_at(struct plog *l, int64_t start, int64_t offset, struct producers *ps)
{
    int64_t from;
    int rc = newest_snapshot(l, start, offset, ps, &from);

    return rc == OK ? replay_from(l, from, offset, ps) : rc;
}

/* ---- the index, when a log is opened -------------------------------------------------------------------------- */

struct rebuild {
    struct segment  *s;
    struct producers ps;
};

static int index_batch(void *arg, const struct batch_head *h, const uint8_t *bytes)
{
    struct rebuild *r = arg;
    struct txn_done done;

    TRY(producers_replay(&r->ps, h, bytes, &done));
    if (done.producer_id < 0 || !done.aborted)
        return OK;
    TRY(segment_txn_room(r->s, 1));
    lock_take(r->s->view);
    segment_txn_put(r->s, &(struct txn_index_entry){ done.producer_id, done.first_offset, done.last_offset,
                                                     done.stable_offset });
    lock_drop(r->s->view);
    return OK;
}

int plog_txn_rebuild(struct plog *l, int64_t start, struct segment *s)
{
    struct rebuild r = { .s = s };
    int rc = segment_txn_cut(s, s->base);

    if (rc == OK)
        rc = producers_at(l, start, s->base, &r.ps);
    if (rc == OK)
        rc = each_batch(s, 0, INT64_MAX, index_batch, &r);
    producers_fini(&r.ps);
    if (rc == OK) {
        rc = segment_tail_flush(s, &s->aborts, TXN_INDEX_ENTRY, SEGMENT_TXNINDEX);
        if (rc == ERR_NOSPACE)
            rc = OK;                    /* they wait in memory */
    }
    if (rc == OK)
        log_info("%s: index of aborted transactions of segment %" PRId64 " rebuilt: %" PRIu32 " entries", l->name,
                 s->base, s->aborts.on_file + s->aborts.n);
    return rc;
}

/* As it stands in the checkpoint. */
static int64_t sum_value(const struct txn_sum *sum)
{
    return sum->entries == 0 ? -1 : (int64_t)(sum->entries & INT32_MAX) << 32 | sum->crc;
}

int64_t plog_txn_sum(struct plog *l)
{
    struct txn_sum sum = { 0 };
    int rc = OK;

    lock_take(&l->lock);
    for (size_t i = 0; i < l->n && rc == OK; i++)
        rc = segment_txn_sum(l->segs[i], &sum);
    lock_drop(&l->lock);
    return rc == OK ? sum_value(&sum) : -1;     /* which the next start will not find: it makes them anew */
}

static int open_one(struct plog *l, int64_t start, struct segment *s, struct txn_sum *sum)
{
    int rc = s->aborts_lost ? ERR_CORRUPT : segment_txn_open(s, sum);
    char path[SEGMENT_PATH_MAX];

    if (rc != ERR_CORRUPT)
        return rc;
    segment_path(&l->place, s->base, SEGMENT_TXNINDEX, "", path);
    if (!s->aborts_lost)
        log_warn("%s/%s: is not a sound index of aborted transactions; it is made anew from the batches", l->dir->path,
                 path);
    s->aborts_lost = true;
    return plog_txn_rebuild(l, start, s);
}

/* All that were not made anew already. */
static int rebuild_all(struct plog *l, int64_t start)
{
    log_warn("%s/%s: the indexes of aborted transactions are not as they were when the log was closed; they are made "
             "anew from the batches", l->dir->path, l->name);
    for (size_t i = 0; i < l->n; i++)
        if (!l->segs[i]->aborts_lost)
            TRY(plog_txn_rebuild(l, start, l->segs[i]));
    return OK;
}

int plog_txn_open(struct plog *l, int64_t start)
{
    const struct offset_checkpoint *sums = &l->dir->txn_sums;
    struct txn_sum sum = { 0 };

    for (size_t i = 0; i < l->n; i++)
        TRY(open_one(l, start, l->segs[i], &sum));
    if (sums->n > 0 && offset_checkpoint_find(sums, plog_topic(l), l->partition) != sum_value(&sum))
        TRY(rebuild_all(l, start));
    for (size_t i = 0; i < l->n; i++) {
        struct segment *s = l->segs[i];
        s->aborts_lost = false;
        if (s->span.last >= 0)
            l->last_aborts = s->base;
    }
    return OK;
}

/* ---- which were aborted -------------------------------------------------------------------------------------- */

/* A reference of the first segment from `base` on that has aborted transactions, NULL: none; and where it ends. */
static struct segment *next_with_aborts(struct plog *l, int64_t base)
{
    struct segment *s = NULL;

    lock_take(&l->view);
    if (base <= l->last_aborts) {
        size_t lo = 0, hi = l->n;
        while (lo < hi) {
            size_t mid = lo + (hi - lo) / 2;
            if (l->segs[mid]->base < base)
                lo = mid + 1;
            else
                hi = mid;
        }
        while (lo < l->n && l->segs[lo]->span.last < 0)
            lo++;
        if (lo < l->n)
            s = segment_ref(l->segs[lo]);
    }
    lock_drop(&l->view);
    return s;
}

/* The segment that was read from, a reference, and an offset above all that was read. ERR_BUSY: the segments are others
 * now. */
static int what_was_read(struct plog *l, const struct plog_read *r, int64_t *upper)
{
    struct segment *s;
    int64_t next;
    uint32_t size;
    int rc;

    lock_take(&l->view);
    s = plog_segment_at(l, r->segment_base, &size, &next);
    *upper = next >= 0 ? next : l->off.leo;
    rc = l->replaced == r->replaced && s->base == r->segment_base ? OK : ERR_BUSY;
    lock_drop(&l->view);
    if (rc == OK)
        rc = segment_upper_bound(s, (uint32_t)((size_t)r->records.pos + r->records.len), upper);
    segment_unref(&s);
    return rc;
}

static int find_aborted(struct plog *l, int64_t offset, const struct plog_read *r, struct txn_found *found)
{
    int64_t upper, base = r->segment_base;
    bool complete = false, none;
    struct segment *s;

    lock_take(&l->view);
    none = base > l->last_aborts;
    lock_drop(&l->view);
    if (none)
        return OK;                      /* as in nearly all logs: no file is looked at */
    TRY(what_was_read(l, r, &upper));
    while (!complete && (s = next_with_aborts(l, base)) != NULL) {
        int rc = segment_txn_find(s, offset, upper, found, &complete);
        base = s->base + 1;
        segment_unref(&s);
        TRY(rc);
    }
    return OK;
}

/* What the look-up gave, seen with what has become of the log meanwhile. */
static int settle_look_up(struct plog *l, int64_t offset, const struct plog_read *r, int rc)
{
    bool replaced, gone;

    lock_take(&l->view);
    replaced = l->replaced != r->replaced;
    gone = offset < l->off.start;
    lock_drop(&l->view);
    if (replaced)
        return ERR_BUSY;
    if (gone && (rc == ERR_NOENT || rc == ERR_BUSY))
        return ERR_RANGE;
    if (rc == ERR_SHORT || rc == ERR_NOENT) {
        rc = plog_usable(l);
        if (rc == OK) {
            log_error("%s: an index of aborted transactions is shorter than it was, or gone; nothing is given to "
                      "read_committed consumers there; restart the broker with the file removed", l->name);
            rc = ERR_CORRUPT;
        }
    }
    return rc == ERR_BUSY || rc == ERR_RANGE ? rc : plog_check(l, rc, "looking up aborted transactions");
}

int plog_aborted(struct plog *l, int64_t offset, const struct plog_read *r, struct arena *a,
                 struct plog_aborted **out, size_t *n)
{
    struct txn_found found = { .arena = a };
    int rc;

    *out = NULL;
    *n = 0;
    if (slice_is_null(r->records))
        return OK;
    rc = settle_look_up(l, offset, r, find_aborted(l, offset, r, &found));
    if (rc != OK || found.n == 0)
        return rc;
    *out = arena_array(a, found.n, sizeof **out);
    if (*out == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < found.n; i++)
        (*out)[i] = (struct plog_aborted){ found.v[i].producer_id, found.v[i].first_offset };
    *n = found.n;
    return OK;
}
