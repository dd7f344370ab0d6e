/* storage/plog.c - a log's life, its offsets, its leader epochs, and what is known about it. */
#include "storage/plog_impl.h"

#include "storage/fio.h"
#include "storage/syncer.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct plog *plog_new(struct logdir *d, struct str topic, int32_t partition, const struct log_opts *o)
{
    struct plog *l = calloc(1, sizeof *l);

    if (l == NULL || asprintf(&l->name, "%.*s-%" PRId32, STR_ARG(topic), partition) < 0) {
        free(l);
        return NULL;
    }
    l->magic = PLOG_MAGIC;
    atomic_init(&l->refs, 1);
    atomic_init(&l->closed, false);
    atomic_init(&l->future, false);
    atomic_init(&l->sync_due_ns, 0);
    atomic_init(&l->flush_due_ns, 0);
    l->dir = d;
    l->topic_len = topic.len;
    l->partition = partition;
    l->place = (struct place){ d->fd, l->name, d->files };
    l->opts = *o;
    l->flushed_base = -1;
    l->old_snapshot = l->cleaned_to = -1;
    cond_init(&l->swapped);
    l->last_aborts = -1;
    unstable_init(&l->unstable);
    lock_init(&l->lock, LOCK_plog);
    lock_init(&l->view, LOCK_plogview);
    return l;
}

struct plog *plog_new_future(struct logdir *d, struct str topic, int32_t partition, const struct log_opts *o,
                             const char *dir_name)
{
    struct plog *l = plog_new(d, topic, partition, o);

    if (l == NULL)
        return NULL;
    l->dir_name = strdup(dir_name);
    if (l->dir_name == NULL) {
        plog_unref(&l);
        return NULL;
    }
    l->place.dir = l->dir_name;
    atomic_store(&l->future, true);
    return l;
}

struct plog *plog_ref(struct plog *l)
{
    assert(l->magic == PLOG_MAGIC);
    atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    return l;
}

void plog_unref(struct plog **lp)
{
    struct plog *l = *lp;

    *lp = NULL;
    if (l == NULL)
        return;
    assert(l->magic == PLOG_MAGIC);
    if (atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < l->n; i++)
        segment_unref(&l->segs[i]);
    free(l->segs);
    producers_fini(&l->producers);
    unstable_fini(&l->unstable);
    epochs_fini(&l->epochs);
    cond_fini(&l->swapped);
    lock_fini(&l->view);
    lock_fini(&l->lock);
    free(l->dir_name);
    free(l->name);
    l->magic = 0;
    free(l);
}

const char *plog_name(const struct plog *l)
{
    return l->name;
}

struct str plog_topic(const struct plog *l)
{
    return (struct str){ l->name, l->topic_len };
}

int32_t plog_partition(const struct plog *l)
{
    return l->partition;
}

size_t plog_dir_index(const struct plog *l)
{
    return l->dir->index;
}

bool plog_is_future(const struct plog *l)
{
    return atomic_load_explicit(&l->future, memory_order_relaxed);
}

int plog_usable(const struct plog *l)
{
    if (atomic_load_explicit(&l->closed, memory_order_acquire))
        return ERR_CLOSED;
    return logdir_offline(l->dir) ? ERR_OFFLINE : OK;
}

int plog_check(struct plog *l, int rc, const char *what)
{
    /* Its directory was renamed under it by a deletion. */
    if (rc == ERR_NOENT && atomic_load_explicit(&l->closed, memory_order_acquire))
        return ERR_CLOSED;
    return logdir_check(l->dir, rc, what, l->name);
}

void plog_dirty(struct plog *l)
{
    syncer_note(l->dir->syncer, l, SYNC_SOON_MS, false);
}

/* ---- offsets ------------------------------------------------------------------------------------------------- */

static struct lock *view_of(const struct plog *l)
{
    return (struct lock *)(uintptr_t)&l->view;      /* a query takes the lock of a log that it does not change */
}

static void take_view(const struct plog *l)
{
    lock_take(view_of(l));
}

static void drop_view(const struct plog *l)
{
    lock_drop(view_of(l));
}

struct plog_offsets plog_offsets(const struct plog *l)
{
    struct plog_offsets o;

    take_view(l);
    o = l->off;
    drop_view(l);
    return o;
}

void offsets_move(struct plog *l, struct plog_offsets to)
{
    struct plog_offsets o = l->off;
    int64_t unstable;

    lock_assert(&l->view);
    if (to.start >= 0)
        o.start = to.start;
    if (to.leo >= 0)
        o.leo = to.leo;
    if (to.hw >= 0)
        o.hw = to.hw;
    if (o.hw < o.start)
        o.hw = o.start;
    unstable_settle(&l->unstable, o.hw);
    unstable = unstable_first(&l->unstable);
    o.lso = unstable < 0 || unstable > o.hw ? o.hw : unstable < o.start ? o.start : unstable;
    assert(o.start <= o.lso && o.lso <= o.hw && o.hw <= o.leo);
    /* Start and LEO are read under `lock` alone too: whoever moves HW does not hold that and must not write them. */
    if (o.start != l->off.start)
        l->off.start = o.start;
    if (o.leo != l->off.leo) {
        plog_leo_moved(l, l->off.leo, o.leo);
        l->off.leo = o.leo;
    }
    l->off.hw = o.hw;
    l->off.lso = o.lso;
}

bool plog_set_hw(struct plog *l, int64_t hw, struct plog_offsets *now)
{
    struct plog_offsets to = OFFSETS_KEEP;
    bool moved;

    take_view(l);
    to.hw = hw < l->safe ? hw : l->safe;
    moved = to.hw > l->off.hw;
    if (moved)
        offsets_move(l, to);
    if (now != NULL)
        *now = l->off;
    drop_view(l);
    return moved;
}

int plog_set_start(struct plog *l, int64_t start)
{
    struct plog_offsets to = OFFSETS_KEEP;
    int rc;

    lock_take(&l->lock);
    rc = plog_usable(l);
    take_view(l);
    if (rc == OK && start > l->off.hw)
        rc = ERR_RANGE;
    if (rc == OK && start > l->off.start) {
        to.start = start;
        offsets_move(l, to);
        if (epochs_truncate_start(&l->epochs, start))
            l->epochs_dirty = true;
    }
    drop_view(l);
    if (l->epochs_dirty)
        plog_dirty(l);
    lock_drop(&l->lock);
    return rc;
}

/* ---- segments ------------------------------------------------------------------------------------------------ */

int plog_add_segment(struct plog *l, struct segment *s)
{
    size_t cap = l->cap == 0 ? 1 : l->cap * 2;
    struct segment **old = NULL, **v = l->segs;

    if (l->n == l->cap) {
        v = calloc(cap, sizeof *v);
        if (v == NULL) {
            segment_unref(&s);
            return ERR_NOMEM;
        }
        if (l->n > 0)
            memcpy(v, l->segs, l->n * sizeof *v);
        old = l->segs;
        l->cap = cap;
    }
    take_view(l);
    l->segs = v;
    l->segs[l->n++] = s;
    drop_view(l);
    free(old);
    return OK;
}

struct segment *plog_active(const struct plog *l)
{
    return l->segs[l->n - 1];
}

struct segment *plog_segment_at(struct plog *l, int64_t offset, uint32_t *size, int64_t *next_base)
{
    size_t lo = 0, hi = l->n;
    struct segment *s;

    lock_assert(&l->view);
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (l->segs[mid]->base <= offset)
            lo = mid;
        else
            hi = mid;
    }
    s = segment_ref(l->segs[lo]);
    *size = s->size;
    *next_base = lo + 1 < l->n ? l->segs[lo + 1]->base : -1;
    return s;
}

int64_t plog_size_bytes(const struct plog *l)
{
    int64_t n;

    take_view(l);
    n = l->size_bytes;
    drop_view(l);
    return n;
}

/* ---- leader epochs ------------------------------------------------------------------------------------------- */

int plog_assign_epoch(struct plog *l, int32_t epoch)
{
    bool changed = false;
    int rc;

    lock_take(&l->lock);
    rc = plog_usable(l);
    take_view(l);
    if (rc == OK && epoch > epochs_latest(&l->epochs))
        rc = epochs_assign(&l->epochs, epoch, l->off.leo, &changed);
    drop_view(l);
    if (changed) {
        l->epochs_dirty = true;
        plog_dirty(l);
    }
    lock_drop(&l->lock);
    return rc;
}

struct plog_epoch_end plog_epoch_end(const struct plog *l, int32_t epoch)
{
    struct plog_epoch_end e;

    take_view(l);
    epochs_end(&l->epochs, epoch, l->off.leo, &e.epoch, &e.end_offset);
    drop_view(l);
    return e;
}

int32_t plog_latest_epoch(const struct plog *l)
{
    int32_t e;

    take_view(l);
    e = epochs_latest(&l->epochs);
    drop_view(l);
    return e;
}

int64_t plog_epoch_start(const struct plog *l, int32_t epoch)
{
    int64_t o;

    take_view(l);
    o = epochs_start_of(&l->epochs, epoch);
    drop_view(l);
    return o;
}

int32_t plog_earliest_epoch(const struct plog *l)
{
    int32_t e = -1;

    take_view(l);
    if (l->epochs.n > 0 && l->epochs.v[0].start <= l->off.start)
        e = l->epochs.v[0].epoch;
    drop_view(l);
    return e;
}

/* ---- producers, id, options ---------------------------------------------------------------------------------- */

int plog_producers(struct plog *l, struct arena *a, struct plog_producer **out, size_t *n)
{
    struct snapshot_entry *v = NULL;
    int rc;

    lock_take(&l->lock);
    rc = plog_usable(l);
    if (rc == OK)
        rc = producers_list(&l->producers, &v, n);
    lock_drop(&l->lock);
    TRY(rc);
    *out = arena_array(a, *n + 1, sizeof **out);
    if (*out == NULL)
        rc = ERR_NOMEM;
    for (size_t i = 0; rc == OK && i < *n; i++)
        (*out)[i] = (struct plog_producer){
            .producer_id = v[i].producer_id,
            .last_timestamp = v[i].timestamp,
            .txn_start_offset = v[i].txn_first_offset,
            .last_sequence = v[i].last_sequence,
            .coordinator_epoch = v[i].coordinator_epoch,
            .epoch = v[i].epoch,
        };
    free(v);
    return rc;
}

struct uuid plog_topic_id(const struct plog *l)
{
    struct uuid id;

    take_view(l);
    id = l->topic_id;
    drop_view(l);
    return id;
}

int plog_set_topic_id(struct plog *l, struct uuid id)
{
    int rc;

    lock_take(&l->lock);
    rc = plog_usable(l);
    if (rc == OK && uuid_is_zero(l->topic_id)) {
        if (!l->without_id)
            rc = plog_check(l, partition_metadata_write(l->place.dirfd, l->place.dir, id),
                            "writing " PARTITION_METADATA);
        if (rc == OK) {
            take_view(l);
            l->topic_id = id;
            drop_view(l);
        }
        if (rc == OK && !l->without_id) {
            l->files_dirty = true;
            plog_dirty(l);
        }
    } else if (rc == OK && !uuid_eq(l->topic_id, id)) {
        rc = ERR_EXISTS;
    }
    lock_drop(&l->lock);
    return rc;
}

void plog_set_opts(struct plog *l, const struct log_opts *o)
{
    lock_take(&l->lock);
    l->opts = *o;
    l->clean_retry_ns = 0;
    plog_flush_due(l);
    lock_drop(&l->lock);
}
