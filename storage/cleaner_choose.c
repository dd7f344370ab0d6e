/* storage/cleaner_choose.c - how much of a log could be compacted, and whether it is time. */
#include "storage/cleaner_choose.h"

#include "base/log.h"
#include "storage/plog_impl.h"

#include <inttypes.h>

/* The checkpoint may be of a time when the log ended later, or began earlier. */
static int64_t first_dirty(struct plog *l, const struct plog_offsets *o)
{
    if (l->cleaned_to > o->leo) {
        log_warn("%s: compacted up to offset %" PRId64 " by its checkpoint, but it ends at %" PRId64 "; it is "
                 "compacted anew from its start", l->name, l->cleaned_to, o->leo);
        l->cleaned_to = -1;
    }
    return l->cleaned_to > o->start ? l->cleaned_to : o->start;
}

static int largest_timestamp(struct segment *s, int64_t *out)
{
    struct time_index_entry max;

    TRY(segment_max(s, &max));
    *out = max.timestamp;
    return max.timestamp >= 0 ? OK : segment_mtime_ms(s, out);
}

/* Where the first segment begins whose records are too young. */
static int too_young(struct plog *l, int64_t from, int64_t now_ms, int64_t *limit)
{
    for (size_t i = 0; i + 1 < l->n && l->segs[i]->base < *limit; i++) {
        int64_t t;
        if (l->segs[i + 1]->base <= from)
            continue;
        TRY(largest_timestamp(l->segs[i], &t));
        if (t > now_ms - l->opts.min_compaction_lag_ms) {
            *limit = l->segs[i]->base;
            break;
        }
    }
    return OK;
}

/* Whether a segment that is not compacted yet began longer ago than max.compaction.lag.ms. */
static int overdue(struct plog *l, int64_t from, int64_t now_ms, bool *yes)
{
    int64_t max_lag = l->opts.max_compaction_lag_ms;

    *yes = false;
    for (size_t i = 0; max_lag != INT64_MAX && i + 1 < l->n && !*yes; i++) {
        int64_t t;
        if (l->segs[i + 1]->base <= from)
            continue;
        TRY(segment_first_timestamp(l->segs[i], &t));
        *yes = t > 0 && now_ms - max_lag > t;
    }
    return OK;
}

static void weigh(const struct plog *l, struct cleanable *c)
{
    int64_t clean = 0;

    for (size_t i = 0; i + 1 < l->n && l->segs[i]->base < c->uncleanable; i++) {
        if (l->segs[i + 1]->base <= c->from)
            clean += l->segs[i]->size;
        else
            c->dirty_bytes += l->segs[i]->size;
    }
    c->ratio = c->dirty_bytes > 0 ? (double)c->dirty_bytes / (double)(clean + c->dirty_bytes) : 0;
}

static int look(struct plog *l, int64_t now_ms, struct cleanable *c)
{
    struct plog_offsets o = plog_offsets(l);
    int64_t limit = o.lso, active = plog_active(l)->base;
    bool late;

    c->from = first_dirty(l, &o);
    if (limit > active)
        limit = active;
    /* What is not on disk yet is the syncer's; it will be soon. A gap above the checkpoint is a loss to recovery. */
    if (limit > l->checkpointed)
        limit = l->checkpointed;
    if (limit > l->recovery_point)
        limit = l->recovery_point;
    if (l->opts.min_compaction_lag_ms > 0)
        TRY(too_young(l, c->from, now_ms, &limit));
    for (size_t i = 0; i < l->n && l->segs[i]->base <= limit; i++)
        c->uncleanable = l->segs[i]->base;
    weigh(l, c);
    TRY(overdue(l, c->from, now_ms, &late));
    c->due = c->dirty_bytes > 0 && (late || c->ratio > l->opts.min_cleanable_ratio);
    return OK;
}

int cleaner_look(struct plog *l, int64_t now_ms, struct cleanable *out)
{
    int rc;

    *out = (struct cleanable){ 0 };
    lock_take(&l->lock);
    rc = plog_usable(l);
    if (rc == OK && (l->cleaning || l->truncating))
        rc = ERR_BUSY;
    if (rc == OK && l->opts.compact_policy)
        rc = look(l, now_ms, out);
    lock_drop(&l->lock);
    return plog_check(l, rc, "looking what can be compacted");
}
