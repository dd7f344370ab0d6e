/* broker/replica/append.c - a leader's appends. */
#include "broker/replica/partition_priv.h"
#include "proto/kerr.h"

int16_t partition_append_quiet(struct partition *p, struct plog_append *in, int16_t acks, struct plog_appended *out,
                               bool *moved)
{
    struct partition_standing st;
    int rc;

    *moved = false;
    lock_take(&p->lock);
    st = partition_standing(p);
    if (st.role != ROLE_LEADER) {
        lock_drop(&p->lock);
        return KERR_NOT_LEADER_OR_FOLLOWER;
    }
    if (acks == -1 && partition_isr_short(p)) {
        lock_drop(&p->lock);
        return KERR_NOT_ENOUGH_REPLICAS;
    }
    in->leader_epoch = st.leader_epoch;
    rc = plog_append(p->log, in, out);
    if (rc == OK && !out->duplicate) {
        p->uncommitted_bytes += (int64_t)in->len;
        if (out->rolled)
            atomic_fetch_add_explicit(&p->rolls, 1, memory_order_relaxed);
        *moved = partition_advance_hw(p, out->offsets.leo, &out->offsets);
    }
    lock_drop(&p->lock);
    return rc == ERR_BUSY && in->fixed_base ? (int16_t)PARTITION_RACED : partition_log_error(rc);
}

int16_t partition_append(struct partition *p, struct plog_append *in, int16_t acks, struct plog_appended *out)
{
    bool moved;
    int16_t kerr = partition_append_quiet(p, in, acks, out, &moved);

    if (moved)
        partition_wake(p);
    return kerr;
}

int16_t partition_safe(struct partition *p, int64_t offset, bool *done)
{
    struct plog *l;
    int rc;

    if (partition_standing(p).role != ROLE_LEADER) {
        *done = true;
        return KERR_NOT_LEADER_OR_FOLLOWER;
    }
    l = partition_log(p);
    rc = plog_is_safe(l, offset, done);
    if (rc != OK && partition_moved(p, l)) {  /* its copy says it, when it has been flushed */
        *done = false;
        rc = OK;
    }
    plog_unref(&l);
    *done |= rc != OK;
    return partition_log_error(rc);
}
