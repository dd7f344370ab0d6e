/* broker/replica/lookup.c - look-ups of offsets by time, and DeleteRecords. */
#include "broker/replica/partition_priv.h"
#include "proto/kerr.h"

#include <string.h>

enum { TS_LATEST = -1, TS_EARLIEST = -2, TS_MAX = -3, TS_EARLIEST_LOCAL = -4, TS_LATEST_TIERED = -5 };

static int16_t offset_in(struct partition *p, struct plog *l, int64_t ts, enum isolation isolation,
                         struct partition_offset *out)
{
    struct plog_offsets now;
    struct plog_at at = { -1, -1, -1 };
    bool lagging;
    int rc;

    *out = (struct partition_offset){ -1, -1, -1 };
    now = plog_offsets(l);
    /* A new leader that cannot tell yet how far the old one had come. */
    lagging = isolation != ISOLATION_LEO && now.hw < atomic_load_explicit(&p->epoch_start, memory_order_relaxed);
    switch (ts) {
    case TS_LATEST:
        if (lagging)
            return KERR_OFFSET_NOT_AVAILABLE;
        *out = (struct partition_offset){ offsets_bound(&now, isolation), -1, partition_standing(p).leader_epoch };
        return KERR_NONE;
    case TS_EARLIEST:
    case TS_EARLIEST_LOCAL:
        *out = (struct partition_offset){ now.start, -1, plog_earliest_epoch(l) };
        return KERR_NONE;
    case TS_LATEST_TIERED:
        return KERR_NONE;
    case TS_MAX:
        if (partition_conf(p).magic == 0)
            return KERR_UNSUPPORTED_FOR_MESSAGE_FORMAT;
        rc = plog_max_timestamp(l, &at);
        break;
    default:
        if (partition_conf(p).magic == 0)
            return KERR_UNSUPPORTED_FOR_MESSAGE_FORMAT;
        rc = plog_offset_for_time(l, ts, &at);
        break;
    }
    if (rc != OK)
        return partition_log_error(rc);
    if (at.offset >= 0 && at.offset < offsets_bound(&now, isolation))
        *out = (struct partition_offset){ at.offset, at.timestamp, at.leader_epoch };
    else if (lagging)
        return KERR_OFFSET_NOT_AVAILABLE;
    return KERR_NONE;
}

int16_t partition_offset_for(struct partition *p, int64_t ts, int32_t leader_epoch, enum isolation isolation,
                             bool leader_only, struct partition_offset *out)
{
    uint64_t standing = atomic_load_explicit(&p->standing, memory_order_acquire);
    int16_t kerr = partition_check(p, leader_epoch, leader_only);
    struct plog *l;
    bool again;

    *out = (struct partition_offset){ -1, -1, -1 };
    if (kerr != KERR_NONE)
        return kerr;
    do {
        l = partition_log(p);
        kerr = offset_in(p, l, ts, isolation, out);
        again = kerr == KERR_NOT_LEADER_OR_FOLLOWER && partition_moved(p, l);
        plog_unref(&l);
    } while (again);
    /* Another leader's answer might be another (R4). */
    if (kerr == KERR_NONE && atomic_load_explicit(&p->standing, memory_order_acquire) != standing)
        kerr = partition_check(p, leader_epoch, leader_only);
    if (kerr != KERR_NONE)
        *out = (struct partition_offset){ -1, -1, -1 };
    return kerr;
}

int16_t partition_epoch_end(struct partition *p, int32_t leader_epoch, int32_t epoch, struct plog_epoch_end *out)
{
    int16_t kerr;

    *out = (struct plog_epoch_end){ -1, -1 };
    lock_take(&p->lock);
    kerr = partition_check(p, leader_epoch, true);
    if (kerr == KERR_NONE)
        *out = plog_epoch_end(p->log, epoch);
    lock_drop(&p->lock);
    return kerr;
}

int16_t partition_offsets_before(struct partition *p, int64_t ts, bool leader_only, bool consumer, int64_t *out,
                                 size_t max, size_t *n)
{
    int16_t kerr = partition_check(p, -1, leader_only);
    struct plog *l;
    int64_t hw;
    size_t above = 0;
    bool again;
    int rc;

    *n = 0;
    if (kerr != KERR_NONE)
        return kerr;
    do {
        l = partition_log(p);
        rc = plog_segments_before(l, ts, out, max, n);
        again = rc == ERR_CLOSED && partition_moved(p, l);
        plog_unref(&l);
    } while (again);
    if (rc != OK || !consumer)
        return partition_log_error(rc);
    /* Descending: those that a consumer may not see yet become the high watermark. */
    hw = partition_offsets(p).hw;
    while (above < *n && out[above] > hw)
        above++;
    if (above > 0) {
        memmove(out + 1, out + above, (*n - above) * sizeof *out);
        out[0] = hw;
        *n -= above - 1;
    }
    return KERR_NONE;
}

int16_t partition_delete_before(struct partition *p, int64_t *offset)
{
    int16_t kerr = partition_check(p, -1, true);
    int rc;

    if (kerr != KERR_NONE)
        return kerr;
    if (!partition_conf(p).delete_policy)
        return KERR_POLICY_VIOLATION;
    if (*offset == -1)
        *offset = partition_offsets(p).hw;
    if (*offset < 0)
        return KERR_OFFSET_OUT_OF_RANGE;
    lock_take(&p->lock);                /* the log does not move meanwhile */
    kerr = partition_check(p, -1, true);
    rc = kerr == KERR_NONE ? plog_set_start(p->log, *offset) : OK;
    lock_drop(&p->lock);
    return kerr != KERR_NONE ? kerr : partition_log_error(rc);
}
