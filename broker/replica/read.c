/* broker/replica/read.c - reads of a partition's records. */
#include "broker/replica/partition_priv.h"
#include "proto/kerr.h"

/* Has the client's log parted from ours? Then it is told where, and gets no records. */
static int16_t look_for_divergence(struct plog *l, struct partition_read *io, const struct plog_offsets *now)
{
    struct plog_epoch_end end = plog_epoch_end(l, io->last_epoch);

    if (end.epoch < 0 || end.end_offset < 0 || io->offset < now->start)
        return KERR_OFFSET_OUT_OF_RANGE;
    if (end.epoch < io->last_epoch || end.end_offset < io->offset)
        io->diverging = end;
    return KERR_NONE;
}

static int16_t read_log(struct partition *p, struct plog *l, struct partition_read *io)
{
    uint64_t standing = atomic_load_explicit(&p->standing, memory_order_acquire);
    int16_t kerr = partition_check(p, io->leader_epoch, io->leader_only);
    struct plog_offsets now;
    int64_t upper;
    int rc;

    io->read = (struct plog_read){ .segment_base = -1 };
    io->left_out = false;
    io->diverging = (struct plog_epoch_end){ -1, -1 };
    if (kerr != KERR_NONE)
        return kerr;
    now = plog_offsets(l);
    if (io->last_epoch >= 0) {
        kerr = look_for_divergence(l, io, &now);
        io->read.offsets = now;
        if (kerr != KERR_NONE || io->diverging.end_offset >= 0)
            return kerr;
    }
    upper = offsets_bound(&now, io->isolation);
    if (io->max_bytes < 0 && io->offset >= now.start && io->offset < upper)
        return KERR_UNKNOWN_SERVER_ERROR;       /* as Apache Kafka; no client sends it */
    rc = plog_read(l, io->offset, upper, io->max_bytes < 0 ? 0 : (size_t)io->max_bytes, io->at_least_one,
                   &io->read);
    if (rc == OK && io->whole_first && io->read.records.len < io->read.first_batch_bytes) {
        struct plog_offsets seen = io->read.offsets;

        plog_read_done(&io->read);
        io->read = (struct plog_read){ .segment_base = -1, .offsets = seen };
        io->left_out = io->max_bytes > 0;
    }
    /* Not the leader any more, or not in that epoch, may be what gave these bytes (R4). */
    if (rc == OK && atomic_load_explicit(&p->standing, memory_order_acquire) != standing) {
        kerr = partition_check(p, io->leader_epoch, io->leader_only);
        if (kerr != KERR_NONE)
            plog_read_done(&io->read);
        return kerr;
    }
    return partition_log_error(rc);
}

int16_t partition_read(struct partition *p, struct partition_read *io)
{
    struct plog *l;
    int16_t kerr;
    bool again;

    do {
        lock_take(&p->conf_lock);
        l = plog_ref(p->log);
        io->moves = p->moves;
        lock_drop(&p->conf_lock);
        kerr = read_log(p, l, io);
        again = kerr == KERR_NOT_LEADER_OR_FOLLOWER && partition_moved(p, l);
        plog_unref(&l);
    } while (again);
    return kerr;
}

int partition_aborted(struct partition *p, const struct partition_read *io, struct arena *a, struct plog_aborted **out,
                      size_t *n)
{
    struct plog *l;
    bool same;
    int rc;

    lock_take(&p->conf_lock);
    l = plog_ref(p->log);
    same = io->moves == p->moves;
    lock_drop(&p->conf_lock);
    rc = same ? plog_aborted(l, io->offset, &io->read, a, out, n) : ERR_BUSY;
    if (rc == ERR_CLOSED && partition_moved(p, l))
        rc = ERR_BUSY;
    plog_unref(&l);
    return rc;
}
