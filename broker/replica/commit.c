/* broker/replica/commit.c - how far a partition is committed: its high watermark, and who waits for it. */
#include "broker/replica/partition_priv.h"
#include "broker/replica/replicas.h"
#include "proto/kerr.h"

bool partition_advance_hw(struct partition *p, int64_t leo, struct plog_offsets *now)
{
    struct plog_offsets after;
    int64_t bytes = p->uncommitted_bytes, before;

    lock_assert(&p->lock);
    if (atomic_load_explicit(&p->isr_n, memory_order_relaxed) != 1)
        return false;
    before = plog_offsets(p->log).hw;
    if (!plog_set_hw(p->log, leo, &after))
        return false;
    if (after.hw < after.leo)           /* not all of it: about so much */
        bytes = (int64_t)((double)bytes * (double)(after.hw - before) / (double)(after.leo - before));
    atomic_fetch_add_explicit(&p->committed_bytes, bytes, memory_order_relaxed);
    p->uncommitted_bytes -= bytes;
    if (now != NULL)
        *now = after;
    return true;
}

void partition_flushed(struct partition *p)
{
    bool moved = false;

    lock_take(&p->lock);
    if (partition_standing(p).role == ROLE_LEADER)
        moved = partition_advance_hw(p, plog_offsets(p->log).leo, NULL);
    lock_drop(&p->lock);
    if (moved)
        purgatory_wake(replicas_fetch_purgatory(p->home), &p->fetches);
    purgatory_wake(replicas_produce_purgatory(p->home), &p->produces);
}

bool partition_isr_short(struct partition *p)
{
    int32_t min = partition_conf(p).min_insync_replicas;
    int32_t replicas = atomic_load_explicit(&p->replicas_n, memory_order_relaxed);

    return atomic_load_explicit(&p->isr_n, memory_order_relaxed) < (min < replicas ? min : replicas);
}

int16_t partition_committed(struct partition *p, int64_t offset, bool *done)
{
    int16_t kerr;
    bool safe;

    *done = true;
    lock_take(&p->lock);
    if (partition_standing(p).role != ROLE_LEADER) {
        kerr = KERR_NOT_LEADER_OR_FOLLOWER;
    } else if (plog_offsets(p->log).hw >= offset) {
        kerr = partition_isr_short(p) ? KERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND : KERR_NONE;
    } else {
        kerr = partition_log_error(plog_is_safe(p->log, offset, &safe));
        *done = kerr != KERR_NONE;
    }
    lock_drop(&p->lock);
    return kerr;
}
