/* broker/replica/append.c - a leader's appends. */
#include "broker/replica/partition_priv.h"
#include "proto/kerr.h"

/* What an append has changed. */
struct changed {
    bool leo, hw;
};

static int16_t append(struct partition *p, struct plog_append *in, int16_t acks, struct plog_appended *out,
                      struct changed *changed)
{
    struct partition_standing st;
    int rc;

    *changed = (struct changed){ false, false };
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
        atomic_store_explicit(&p->appended_bytes, (int64_t)in->len +
                              atomic_load_explicit(&p->appended_bytes, memory_order_relaxed), memory_order_relaxed);
        if (out->rolled)
            atomic_fetch_add_explicit(&p->rolls, 1, memory_order_relaxed);
        changed->leo = true;
        changed->hw = partition_advance_hw(p, out->offsets.leo, &out->offsets);
    }
    lock_drop(&p->lock);
    return rc == ERR_BUSY && in->fixed_base ? (int16_t)PARTITION_RACED : partition_log_error(rc);
}

int16_t partition_append_quiet(struct partition *p, struct plog_append *in, int16_t acks, struct plog_appended *out,
                               bool *wake)
{
    struct changed changed;
    int16_t kerr = append(p, in, acks, out, &changed);

    *wake = changed.hw || (changed.leo && atomic_load_explicit(&p->replicas_n, memory_order_relaxed) > 1);
    return kerr;
}

int16_t partition_append_soon(struct partition *p, struct plog_append *in, int16_t acks, struct plog_appended *out,
                              bool *followers)
{
    struct changed changed;
    int16_t kerr = append(p, in, acks, out, &changed);

    *followers = changed.leo && atomic_load_explicit(&p->replicas_n, memory_order_relaxed) > 1;
    if (changed.hw)
        partition_wake_committed(p);
    return kerr;
}

int16_t partition_append(struct partition *p, struct plog_append *in, int16_t acks, struct plog_appended *out)
{
    bool followers;
    int16_t kerr = partition_append_soon(p, in, acks, out, &followers);

    if (followers)
        partition_wake_appended(p);
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
