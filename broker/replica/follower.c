/* broker/replica/follower.c - appends, offsets and truncation of a partition that follows.
 *
 * The high watermark is the lesser of the leader's and our log end. It is not lowered by a leader whose own lags
 * behind (a new one does not know at once how far the old one had come): what was committed stays committed.
 * Only what is cut from the log takes it along.
 */
#include "broker/replica/follower.h"

#include "base/log.h"
#include "broker/replica/partition_priv.h"
#include "broker/replica/replicas.h"
#include "proto/records/batch.h"

#include <inttypes.h>

static int still_follows(const struct partition *p, int32_t leader_epoch)
{
    struct partition_standing st = partition_standing(p);

    return st.role == ROLE_FOLLOWER && st.leader_epoch == leader_epoch ? OK : ERR_FENCED;
}

int follower_place(struct partition *p, int32_t leader_epoch, struct follower_place *out)
{
    struct plog *l = partition_log(p);

    out->offsets = plog_offsets(l);
    out->epoch = plog_latest_epoch(l);
    plog_unref(&l);
    return still_follows(p, leader_epoch);
}

/* ---- offsets --------------------------------------------------------------------------------------------------- */

/* As far as the log end and flush.messages let it be. True: the high watermark has moved. */
static bool settle(struct partition *p)
{
    int64_t committed = atomic_load_explicit(&p->committed_bytes, memory_order_relaxed);
    int64_t bytes = atomic_load_explicit(&p->appended_bytes, memory_order_relaxed) - committed;
    struct plog_offsets before = plog_offsets(p->log), now = before;
    bool moved;

    lock_assert(&p->lock);
    moved = p->leader_hw > before.hw &&
            plog_set_hw(p->log, p->leader_hw < before.leo ? p->leader_hw : before.leo, &now);
    if (moved && now.hw < now.leo)      /* not all of it: about so much */
        bytes = (int64_t)((double)bytes * (double)(now.hw - before.hw) / (double)(now.leo - before.hw));
    if (moved)
        atomic_store_explicit(&p->committed_bytes, committed + bytes, memory_order_relaxed);
    if (p->leader_start > now.start && p->leader_start <= now.hw && plog_set_start(p->log, p->leader_start) == OK)
        moved = true;
    return moved;
}

static void wake_readers(struct partition *p)
{
    purgatory_wake(replicas_fetch_purgatory(p->home), &p->fetches);
}

void follower_reset(struct partition *p)
{
    lock_take(&p->lock);
    p->leader_hw = p->leader_start = -1;
    lock_drop(&p->lock);
}

void follower_flushed(struct partition *p)
{
    bool moved;

    lock_take(&p->lock);
    moved = partition_standing(p).role == ROLE_FOLLOWER && settle(p);
    lock_drop(&p->lock);
    if (moved)
        wake_readers(p);
}

int follower_is_safe(struct partition *p, int64_t offset, bool *safe)
{
    struct plog *l = partition_log(p);
    int rc = plog_is_safe(l, offset, safe);

    if (rc != OK && partition_moved(p, l)) {    /* its copy says it, when it has been flushed */
        *safe = false;
        rc = OK;
    }
    plog_unref(&l);
    return rc;
}

/* ---- append ---------------------------------------------------------------------------------------------------- */

/* The whole batches at the beginning; *first: where the first begins, -1 if it does not tell. */
static int whole_batches(struct follower_take *io, struct bytes *whole, int64_t *first)
{
    struct batch_iter it;
    size_t n = 0;

    *first = -1;
    batch_iter_init(&it, io->records);
    while (batch_iter_next(&it)) {
        if (it.head.magic >= BATCH_MAGIC_NOW && it.head.leader_epoch > io->leader_epoch)
            return ERR_INVALID;
        if (n++ == 0)
            *first = it.head.base_offset;
    }
    *whole = (struct bytes){ io->records.p, it.pos };
    if (n == 0 && it.rc == OK && io->records.len >= BATCH_OVERHEAD)
        io->wanted_bytes = (size_t)be_get32(io->records.p + 8) + BATCH_OVERHEAD;
    return it.rc;
}

static int append(struct partition *p, struct follower_take *io, struct bytes whole, bool *moved)
{
    struct plog_appended out;
    int rc;

    if (plog_offsets(p->log).leo != io->offset)
        return ERR_RANGE;
    if (whole.len == 0)
        return OK;
    rc = plog_append_follower(p->log, whole, &out);
    if (out.last_offset >= 0)           /* after a failure: of the first batches */
        atomic_store_explicit(&p->appended_bytes, (int64_t)whole.len +
                              atomic_load_explicit(&p->appended_bytes, memory_order_relaxed), memory_order_relaxed);
    if (out.rolled) {
        atomic_fetch_add_explicit(&p->rolls, 1, memory_order_relaxed);
        *moved = true;
    }
    if (rc == OK) {
        io->taken_bytes = whole.len;
        io->held = out.held;
    }
    return rc;
}

/* The log was begun at an offset in the midst of the leader's batch: it must begin where the batch does. */
static bool begins_within(struct partition *p, const struct follower_take *io, int64_t first)
{
    struct plog_offsets o = partition_offsets(p);

    return first >= 0 && first < io->offset && o.start == o.leo && o.leo == io->offset;
}

int follower_take(struct partition *p, struct follower_take *io)
{
    struct bytes whole;
    bool moved = false;
    int64_t first;
    int rc;

    io->taken_bytes = io->wanted_bytes = 0;
    io->held = false;
    io->leo = io->offset;
    TRY(whole_batches(io, &whole, &first));
    if (begins_within(p, io, first)) {
        TRY(follower_begin_at(p, io->leader_epoch, first));
        io->offset = first;
    }
    lock_take(&p->lock);
    rc = still_follows(p, io->leader_epoch);
    if (rc == OK)
        rc = append(p, io, whole, &moved);
    if (rc == OK) {
        p->leader_hw = io->hw;
        p->leader_start = io->start;
        moved |= settle(p);
    }
    io->leo = plog_offsets(p->log).leo;
    lock_drop(&p->lock);
    if (moved)
        wake_readers(p);
    return rc;
}

/* ---- truncation ------------------------------------------------------------------------------------------------ */

/* The log may move to another directory meanwhile: then its copy, which may have been complete before, is cut too. */
static int cut(struct partition *p, int32_t leader_epoch, int64_t offset, int (*how)(struct plog *, int64_t))
{
    bool again;
    int rc;

    do {
        struct plog *l = partition_log(p);

        rc = still_follows(p, leader_epoch);
        if (rc == OK)
            rc = how(l, offset);
        again = (rc == OK || rc == ERR_CLOSED) && partition_moved(p, l);
        plog_unref(&l);
    } while (again);
    lock_take(&p->lock);
    if (plog_offsets(p->log).hw == plog_offsets(p->log).leo)
        atomic_store_explicit(&p->committed_bytes, atomic_load_explicit(&p->appended_bytes, memory_order_relaxed),
                              memory_order_relaxed);
    p->leader_hw = p->leader_start = -1;        /* of what was there before */
    atomic_fetch_add_explicit(&p->rolls, 1, memory_order_relaxed);
    lock_drop(&p->lock);
    wake_readers(p);
    return rc;
}

int follower_cut(struct partition *p, int32_t leader_epoch, int64_t offset)
{
    struct plog_offsets o = partition_offsets(p);

    if (offset < o.hw)
        log_warn("%s: cut to offset %" PRId64 ", below its high watermark %" PRId64 ", since the leader of epoch %d "
                 "has no more: committed records are gone if that one was elected uncleanly or has lost its disk",
                 p->name, offset, o.hw, (int)leader_epoch);
    else if (offset < o.leo)
        log_info("%s: cut from %" PRId64 " to offset %" PRId64 ": the leader of epoch %d does not have the rest",
                 p->name, o.leo, offset, (int)leader_epoch);
    return cut(p, leader_epoch, offset, plog_truncate);
}

int follower_begin_at(struct partition *p, int32_t leader_epoch, int64_t offset)
{
    struct plog_offsets o = partition_offsets(p);

    if (o.start < o.leo)
        log_warn("%s: begins anew at offset %" PRId64 ": the leader of epoch %d has nothing below any more, and the "
                 "log here ends at %" PRId64, p->name, offset, (int)leader_epoch, o.leo);
    return cut(p, leader_epoch, offset, plog_truncate_all);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int follower_part(struct partition *p, int32_t leader_epoch, struct plog_epoch_end end, int64_t *cut_at, bool *agreed)
{
    struct plog *l = partition_log(p);
    struct plog_offsets o = plog_offsets(l);
    struct plog_epoch_end ours = plog_epoch_end(l, end.epoch);
    int64_t to;
    int rc;

    plog_unref(&l);
    *agreed = true;
    *cut_at = o.leo;
    if (end.end_offset < -1 || end.epoch < -1)
        return ERR_INVALID;
    if (end.end_offset < 0)             /* the leader knows no epochs: its log is of the old formats */
        to = o.hw;
    else if (end.epoch < 0 || ours.epoch < 0 || ours.end_offset < 0)
        to = least(end.end_offset, o.leo);      /* the old version 0; or we have nothing so old */
    else if (ours.epoch != end.epoch) {
        to = least(ours.end_offset, o.leo);
        *agreed = false;                /* we do not know the leader's: the one before may end earlier there */
    } else
        to = least(least(ours.end_offset, end.end_offset), o.leo);
    rc = follower_cut(p, leader_epoch, to);
    *cut_at = partition_offsets(p).leo;
    return rc;
}
