/* storage/logmgr_checkpoint.c - the checkpoints of the log directories.
 *
 * Each is written from what the logs say at that moment, whole or not at all. A log that is not open (yet) keeps the
 * offsets that were found at the start.
 */
#include "storage/logmgr_impl.h"

#include "storage/killpoint.h"

#include <stdlib.h>
#include <utlist.h>

#define ROWS_MEMORY_MAX ((size_t)1 << 32)

static int64_t hw_of(struct plog *l)
{
    return plog_offsets(l).hw;
}

/* Only where records were deleted from the midst of the first segment. */
static int64_t start_of(struct plog *l)
{
    struct plog_offsets o;
    bool worth;

    lock_take(&l->view);
    o = l->off;
    worth = o.start > l->segs[0]->base;
    lock_drop(&l->view);
    return worth ? o.start : -1;
}

static int64_t cleaned_to(struct plog *l)
{
    int64_t offset;

    lock_take(&l->lock);
    offset = l->cleaned_to;
    lock_drop(&l->lock);
    return offset;
}

static const struct {
    const char *name;
    int64_t   (*of)(struct plog *l);    /* the offset that goes into it; negative: no entry */
} checkpoints[CHECKPOINTS_N] = {
    [CHECKPOINT_OF_RECOVERY] = { CHECKPOINT_RECOVERY_POINT, plog_recovery_point },
    [CHECKPOINT_OF_START] = { CHECKPOINT_LOG_START, start_of },
    [CHECKPOINT_OF_HW] = { CHECKPOINT_HIGH_WATERMARK, hw_of },
    [CHECKPOINT_OF_TXNS] = { CHECKPOINT_TXN_SUMS, plog_txn_sum },
    [CHECKPOINT_OF_CLEANER] = { CHECKPOINT_CLEANER, cleaned_to },
};

struct row {
    struct plog        *log;            /* a reference; NULL: the entry is complete */
    struct offset_entry e;
};

/* One for each log of the directory; what takes a log's lock comes later. */
static int collect(struct mdir *md, enum checkpoint c, struct arena *a, struct row **out, size_t *n)
{
    struct log_entry *e;
    struct log_move *mv;
    struct row *v;
    size_t moves = 0;
    int rc = OK;

    *n = 0;
    lock_take(&md->m->lock);
    DL_FOREACH(md->m->moves, mv)
        moves++;
    v = *out = arena_array(a, md->logs_n + moves + 1, sizeof *v);
    if (v == NULL)
        rc = ERR_NOMEM;
    DL_FOREACH(md->logs, e) {
        struct row *r = v != NULL ? &v[*n] : NULL;
        if (rc != OK)
            break;
        if (e->state == LOG_READY) {
            r->log = plog_ref(e->log);
            ++*n;
        } else if (e->found[c] >= 0) {
            r->e.offset = e->found[c];
            r->e.partition = (int32_t)strtol(e->name + e->topic_len + 1, NULL, 10);
            rc = arena_str(a, (struct str){ e->name, e->topic_len }, &r->e.topic);
            ++*n;
        }
    }
    DL_FOREACH(md->m->moves, mv)
        if (rc == OK && mv->to == md && mv->log != NULL && atomic_load(&mv->log->future))
            v[(*n)++].log = plog_ref(mv->log);
    lock_drop(&md->m->lock);
    return rc;
}

/* Of the entries in any order; never 0. */
static uint64_t sum_of(const struct offset_entry *v, size_t n)
{
    uint64_t sum = 1;

    for (size_t i = 0; i < n; i++) {
        uint64_t h = UINT64_C(14695981039346656037) ^ (uint64_t)v[i].offset;
        h = (h ^ (uint32_t)v[i].partition) * UINT64_C(0x9e3779b97f4a7c15);
        for (size_t k = 0; k < v[i].topic.len; k++)
            h = (h ^ (uint8_t)v[i].topic.p[k]) * UINT64_C(1099511628211);
        h ^= h >> 29;
        sum += h * UINT64_C(0xbf58476d1ce4e5b9);
    }
    return sum | 1;
}

/* Under `checkpoint`. */
static int write_rows(struct mdir *md, enum checkpoint c, bool always, struct arena *a, struct row *rows, size_t n)
{
    struct offset_entry *v = arena_array(a, n + 2, sizeof *v);
    size_t used = 0;
    uint64_t sum;
    int rc;

    if (v == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        struct plog *l = rows[i].log;
        if (l != NULL)
            rows[i].e = (struct offset_entry){ plog_topic(l), plog_partition(l), checkpoints[c].of(l) };
        if (rows[i].e.offset >= 0)
            v[used++] = rows[i].e;
    }
    if (c == CHECKPOINT_OF_TXNS)
        v[used++] = (struct offset_entry){ STR_LIT(TXN_SUMS_STAMP), 0, logdir_stamp(&md->d) };
    sum = sum_of(v, used);
    if (!always && sum == md->written[c])
        return OK;
    md->written[c] = 0;
    rc = offset_checkpoint_write(md->d.fd, checkpoints[c].name, v, used);
    if (rc == OK)
        md->written[c] = sum;
    return logdir_check(&md->d, rc, "writing a checkpoint", checkpoints[c].name);
}

/* Under `checkpoint`. */
static int write_locked(struct mdir *md, enum checkpoint c, bool always)
{
    struct arena a;
    struct row *rows;
    size_t n;
    int rc;

    lock_assert(&md->checkpoint);
    arena_init(&a, ROWS_MEMORY_MAX);
    rc = collect(md, c, &a, &rows, &n);
    if (rc == OK)
        rc = write_rows(md, c, always, &a, rows, n);
    for (size_t i = 0; i < n; i++)
        plog_unref(&rows[i].log);
    arena_fini(&a);
    KILL_POINT("checkpoint.written");
    return rc;
}

int mdir_checkpoint(struct mdir *md, enum checkpoint c, bool always)
{
    int rc;

    lock_take(&md->checkpoint);
    rc = write_locked(md, c, always);
    if (rc == ERR_NOSPACE && space_release(&md->d, "a checkpoint"))
        rc = write_locked(md, c, always);
    lock_drop(&md->checkpoint);
    return rc;
}

/* Under `checkpoint`. */
static int refresh_locked(struct mdir *md)
{
    size_t deletions = atomic_load(&md->deletions);

    if (deletions == atomic_load(&md->refreshed))
        return OK;
    for (enum checkpoint c = 0; c < CHECKPOINT_OF_TXNS; c++)
        TRY(write_locked(md, c, true));
    atomic_store(&md->refreshed, deletions);
    return OK;
}

int mdir_refresh(struct mdir *md)
{
    int rc;

    if (atomic_load(&md->deletions) == atomic_load(&md->refreshed))
        return OK;
    lock_take(&md->checkpoint);
    rc = refresh_locked(md);
    lock_drop(&md->checkpoint);
    return rc;
}
