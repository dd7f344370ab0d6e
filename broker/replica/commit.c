/* broker/replica/commit.c - how far a partition is committed: its high watermark, and who waits for it. */
#include "base/clock.h"
#include "broker/replica/partition_priv.h"
#include "broker/replica/replicas.h"
#include "config/config.h"
#include "proto/kerr.h"

/* ---- the high watermark ------------------------------------------------------------------------------------------ */

/* Where the other replicas let it be. */
static int64_t lowest_end(const struct partition *p, int64_t leo)
{
    int64_t lag_max_ms = replicas_options(p->home)->cfg->replica_lag_time_max_ms, low = leo, now = 0;

    for (int32_t i = 0; i < p->leading->followers_n; i++) {
        const struct follower *f = &p->leading->followers[i];

        if (f->leo >= low)
            continue;
        if (!f->in_isr && !f->joining) {
            if (now == 0)
                now = mono_ms();
            if (!follower_caught_up(f, leo, now, lag_max_ms) || !follower_alive(p, f))
                continue;
        }
        low = f->leo;
    }
    return low;
}

bool partition_advance_hw(struct partition *p, int64_t leo, struct plog_offsets *now)
{
    int64_t committed = atomic_load_explicit(&p->committed_bytes, memory_order_relaxed);
    int64_t bytes = atomic_load_explicit(&p->appended_bytes, memory_order_relaxed) - committed, before;
    struct plog_offsets after;

    lock_assert(&p->lock);
    if (p->leading == NULL)
        return false;
    if (p->leading->followers_n > 0) {
        if (partition_isr_short(p))
            return false;
        leo = lowest_end(p, leo);
    }
    before = plog_offsets(p->log).hw;
    if (!plog_set_hw(p->log, leo, &after))
        return false;
    if (after.hw < after.leo)           /* not all of it: about so much */
        bytes = (int64_t)((double)bytes * (double)(after.hw - before) / (double)(after.leo - before));
    atomic_store_explicit(&p->committed_bytes, committed + bytes, memory_order_relaxed);
    if (now != NULL)
        *now = after;
    return true;
}

bool partition_isr_short(struct partition *p)
{
    int32_t min = atomic_load_explicit(&p->min_isr, memory_order_relaxed);
    int32_t replicas = atomic_load_explicit(&p->replicas_n, memory_order_relaxed);

    return atomic_load_explicit(&p->isr_n, memory_order_relaxed) < (min < replicas ? min : replicas);
}

/* ---- who waits for it -------------------------------------------------------------------------------------------- */

void partition_wake_committed(struct partition *p)
{
    purgatory_wake(replicas_fetch_purgatory(p->home), &p->fetches);
    purgatory_wake(replicas_produce_purgatory(p->home), &p->produces);
}

void partition_wake_appended(struct partition *p)
{
    if (atomic_load_explicit(&p->replicas_n, memory_order_relaxed) > 1)
        purgatory_wake(replicas_fetch_purgatory(p->home), &p->tails);
}

void partition_wake(struct partition *p)
{
    purgatory_wake(replicas_fetch_purgatory(p->home), &p->tails);
    partition_wake_committed(p);
}

void partition_recheck(struct partition *p)
{
    bool moved;

    lock_take(&p->lock);
    moved = partition_advance_hw(p, plog_offsets(p->log).leo, NULL);
    lock_drop(&p->lock);
    if (moved)
        partition_wake_committed(p);
}

void partition_flushed(struct partition *p)
{
    partition_recheck(p);
    purgatory_wake(replicas_produce_purgatory(p->home), &p->produces);
}

/* Members of the maximal ISR. */
static int32_t maximal_isr(const struct leading *ld)
{
    int32_t n = ld->self_in_isr;

    for (int32_t i = 0; i < ld->followers_n; i++)
        n += ld->followers[i].in_isr || ld->followers[i].joining;
    return n;
}

/* What is committed was held by enough replicas once; a client is told when there are fewer by now. */
static bool fewer_by_now(struct partition *p)
{
    int32_t min = atomic_load_explicit(&p->min_isr, memory_order_relaxed), all = p->leading->followers_n + 1;

    return maximal_isr(p->leading) < (min < all ? min : all);
}

int16_t partition_committed(struct partition *p, int64_t offset, int32_t leader_epoch, bool *done)
{
    int16_t kerr;
    bool safe;

    *done = true;
    lock_take(&p->lock);
    if (p->leading == NULL || leader_epoch < p->leading->since) {
        kerr = KERR_NOT_LEADER_OR_FOLLOWER;     /* it may have been cut off since, and others stand there */
    } else if (plog_offsets(p->log).hw >= offset) {
        kerr = fewer_by_now(p) ? KERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND : KERR_NONE;
    } else {
        kerr = partition_log_error(plog_is_safe(p->log, offset, &safe));
        *done = kerr != KERR_NONE;
    }
    lock_drop(&p->lock);
    return kerr;
}
