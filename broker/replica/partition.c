/* broker/replica/partition.c - one partition: its standing, appends, reads and look-ups.
 *
 * INVARIANTS
 *  1. `standing` changes only under `lock`; an append holds `lock`, so every append is done in the leader epoch that it
 *     writes into its batches.
 *  2. The high watermark is moved only here, under `lock`: by an append, or when the ISR changes. It is moved before
 *     anybody is woken, and nobody is woken with a lock held (but `oldformat`).
 */
#include "broker/replica/partition.h"

#include "base/log.h"
#include "broker/replica/replicas.h"
#include "config/topic_config.h"
#include "proto/gen/leader_and_isr_request.h"
#include "proto/kerr.h"
#include "storage/logmgr.h"

#include <assert.h>
#include <stdlib.h>

#define PARTITION_MAGIC 0x70617274U     /* "part" */

/* ---- life ---------------------------------------------------------------------------------------------------- */

int partition_new(struct partition **out, struct replicas *home, struct plog *log)
{
    struct str topic = plog_topic(log);
    int32_t index = plog_partition(log);
    size_t name_len = strlen(plog_name(log));
    struct partition *p = calloc(1, sizeof *p + sizeof index + topic.len + 1 + name_len + 1);

    if (p == NULL)
        return ERR_NOMEM;
    p->magic = PARTITION_MAGIC;
    p->home = home;
    p->log = plog_ref(log);
    p->index = index;
    p->key_len = (uint32_t)(sizeof index + topic.len);
    memcpy(p->key, &index, sizeof index);
    memcpy(p->key + sizeof index, topic.p, topic.len);
    p->topic = (struct str){ p->key + sizeof index, topic.len };
    p->name = memcpy(p->key + sizeof index + topic.len + 1, plog_name(log), name_len);
    p->leader_id = -1;
    atomic_init(&p->refs, 1);
    atomic_init(&p->epoch_start, -1);
    atomic_init(&p->standing, (uint64_t)UINT32_MAX << 32 | ROLE_NONE);     /* leader epoch -1 */
    lock_init(&p->lock, LOCK_partition);
    lock_init(&p->conf_lock, LOCK_partconf);
    lock_init(&p->oldformat, LOCK_oldformat);
    *out = p;
    return OK;
}

struct partition *partition_ref(struct partition *p)
{
    assert(p->magic == PARTITION_MAGIC);
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void partition_unref(struct partition **pp)
{
    struct partition *p = *pp;

    *pp = NULL;
    if (p == NULL || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    assert(p->magic == PARTITION_MAGIC);
    p->magic = 0;
    plog_unref(&p->log);
    lock_fini(&p->oldformat);
    lock_fini(&p->conf_lock);
    lock_fini(&p->lock);
    free(p->ids);
    free(p);
}

/* ---- the log --------------------------------------------------------------------------------------------------- */

struct plog *partition_log(struct partition *p)
{
    struct plog *l;

    lock_take(&p->conf_lock);
    l = plog_ref(p->log);
    lock_drop(&p->conf_lock);
    return l;
}

/* Has the log moved since the caller asked for it? Then what it did not do is to be asked of the other one. It is
 * closed a moment before that one is here: `lock` is held meanwhile. */
static bool has_moved(struct partition *p, const struct plog *l)
{
    bool yes;

    lock_take(&p->lock);
    yes = p->log != l;
    lock_drop(&p->lock);
    return yes;
}

struct plog_offsets partition_offsets(struct partition *p)
{
    struct plog_offsets o;

    lock_take(&p->conf_lock);
    o = plog_offsets(p->log);
    lock_drop(&p->conf_lock);
    return o;
}

struct uuid partition_topic_id(struct partition *p)
{
    struct uuid id;

    lock_take(&p->conf_lock);
    id = plog_topic_id(p->log);
    lock_drop(&p->conf_lock);
    return id;
}

int partition_swap_log(struct partition *p, struct log_move *mv)
{
    struct plog *now = NULL, *old;
    int rc;

    lock_take(&p->lock);
    old = p->log;
    rc = logmgr_swap(mv, old, &now);
    if (rc == OK) {
        lock_take(&p->conf_lock);
        p->log = now;
        p->moves++;
        lock_drop(&p->conf_lock);
        atomic_fetch_add_explicit(&p->rolls, 1, memory_order_relaxed);  /* who waits looks again */
    }
    lock_drop(&p->lock);
    if (rc == OK) {
        plog_unref(&old);
        partition_wake(p);
    }
    return rc;
}

/* ---- the topic's settings -------------------------------------------------------------------------------------- */

void partition_log_opts(const struct topic_config *tc, struct log_opts *out)
{
    log_opts_init(out);
    out->segment_bytes = tc->segment_bytes;
    out->segment_index_bytes = tc->segment_index_bytes;
    out->index_interval_bytes = tc->index_interval_bytes;
    out->segment_ms = tc->segment_ms;
    out->segment_jitter_ms = tc->segment_jitter_ms;
    out->retention_ms = tc->retention_ms;
    out->retention_bytes = tc->retention_bytes;
    out->file_delete_delay_ms = tc->file_delete_delay_ms;
    out->flush_messages = tc->flush_messages;
    out->flush_ms = tc->flush_ms > 0 ? tc->flush_ms : 0;
    out->delete_policy = (tc->cleanup & CLEANUP_DELETE) != 0;
    out->compact_policy = (tc->cleanup & CLEANUP_COMPACT) != 0;
    out->delete_retention_ms = tc->delete_retention_ms;
    out->min_compaction_lag_ms = tc->min_compaction_lag_ms;
    out->max_compaction_lag_ms = tc->max_compaction_lag_ms;
    out->min_cleanable_ratio = tc->min_cleanable_dirty_ratio;
    if (tc->codec != TOPIC_CODEC_PRODUCER) {
        out->codec = (int)tc->codec;
        out->codec_level = tc->codec_level;
    }
}

void partition_set_conf(struct partition *p, const struct topic_config *tc)
{
    struct log_opts lo;
    bool moved;
    struct partition_conf conf = {
        .timestamp_before_max_ms = tc->timestamp_before_max_ms,
        .timestamp_after_max_ms = tc->timestamp_after_max_ms,
        .max_message_bytes = tc->max_message_bytes,
        .min_insync_replicas = tc->min_insync_replicas,
        .codec = (int32_t)tc->codec,
        .codec_level = tc->codec_level,
        .magic = tc->magic,
        .log_append_time = tc->log_append_time,
        .delete_policy = (tc->cleanup & CLEANUP_DELETE) != 0,
        .compact_policy = (tc->cleanup & CLEANUP_COMPACT) != 0,
        .downconversion = tc->message_downconversion_enable,
    };

    partition_log_opts(tc, &lo);
    do {
        struct plog *l = partition_log(p);

        plog_set_opts(l, &lo);
        moved = has_moved(p, l);        /* it takes the options along, but perhaps those of before */
        plog_unref(&l);
    } while (moved);
    lock_take(&p->conf_lock);
    p->conf = conf;
    lock_drop(&p->conf_lock);
}

struct partition_conf partition_conf(struct partition *p)
{
    struct partition_conf conf;

    lock_take(&p->conf_lock);
    conf = p->conf;
    lock_drop(&p->conf_lock);
    return conf;
}

/* ---- standing -------------------------------------------------------------------------------------------------- */

static void set_standing(struct partition *p, enum partition_role role, int32_t leader_epoch)
{
    lock_assert(&p->lock);
    atomic_store_explicit(&p->standing, (uint64_t)(uint32_t)leader_epoch << 32 | role, memory_order_release);
}

void partition_wake(struct partition *p)
{
    purgatory_wake(replicas_fetch_purgatory(p->home), &p->fetches);
    purgatory_wake(replicas_produce_purgatory(p->home), &p->produces);
}

/* Alone in the ISR, what is in the log is committed, as far as flush.messages lets it be. True when the high watermark
 * has moved. */
static bool advance_hw(struct partition *p, int64_t leo, struct plog_offsets *now)
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
        moved = advance_hw(p, plog_offsets(p->log).leo, NULL);
    lock_drop(&p->lock);
    if (moved)
        purgatory_wake(replicas_fetch_purgatory(p->home), &p->fetches);
    purgatory_wake(replicas_produce_purgatory(p->home), &p->produces);
}

int partition_become(struct partition *p, int32_t self, int32_t controller_epoch,
                     const struct leader_and_isr_request_leader_and_isr_partition_state *st)
{
    size_t replicas_n = (size_t)(st->replicas_n > 0 ? st->replicas_n : 0);
    size_t isr_n = (size_t)(st->isr_n > 0 ? st->isr_n : 0);
    int32_t *ids = calloc(replicas_n + isr_n + 1, sizeof *ids), *old;
    bool lead = st->leader == self;
    int rc = OK;

    if (ids == NULL)
        return ERR_NOMEM;
    if (replicas_n > 0)
        memcpy(ids, st->replicas, replicas_n * sizeof *ids);
    if (isr_n > 0)
        memcpy(ids + replicas_n, st->isr, isr_n * sizeof *ids);
    lock_take(&p->lock);
    if (lead)
        rc = plog_assign_epoch(p->log, st->leader_epoch);
    if (rc != OK) {
        lock_drop(&p->lock);
        free(ids);
        return rc;
    }
    old = p->ids;
    p->ids = ids;
    atomic_store_explicit(&p->replicas_n, (int32_t)replicas_n, memory_order_relaxed);
    atomic_store_explicit(&p->isr_n, (int32_t)isr_n, memory_order_relaxed);
    p->leader_id = st->leader;
    p->controller_epoch = controller_epoch;
    p->partition_epoch = st->partition_epoch;
    if (lead) {
        int64_t leo = plog_offsets(p->log).leo;

        atomic_store_explicit(&p->epoch_start, leo, memory_order_relaxed);
        set_standing(p, ROLE_LEADER, st->leader_epoch);
        (void)advance_hw(p, leo, NULL);
    } else {
        atomic_store_explicit(&p->epoch_start, -1, memory_order_relaxed);
        set_standing(p, ROLE_FOLLOWER, st->leader_epoch);
    }
    lock_drop(&p->lock);
    free(old);
    return OK;
}

void partition_go(struct partition *p)
{
    lock_take(&p->lock);
    set_standing(p, ROLE_GONE, partition_standing(p).leader_epoch);
    atomic_store_explicit(&p->epoch_start, -1, memory_order_relaxed);
    lock_drop(&p->lock);
}

int16_t partition_check(const struct partition *p, int32_t leader_epoch, bool leader_only)
{
    struct partition_standing st = partition_standing(p);

    if (leader_epoch != -1 && leader_epoch < st.leader_epoch)
        return KERR_FENCED_LEADER_EPOCH;
    if (leader_epoch > st.leader_epoch)
        return KERR_UNKNOWN_LEADER_EPOCH;
    if (st.role == ROLE_LEADER || (st.role == ROLE_FOLLOWER && !leader_only))
        return KERR_NONE;
    return KERR_NOT_LEADER_OR_FOLLOWER;
}

/* ---- append ---------------------------------------------------------------------------------------------------- */

int16_t partition_log_error(int rc)
{
    switch (rc) {
    case OK:                 return KERR_NONE;
    case ERR_RANGE:          return KERR_OFFSET_OUT_OF_RANGE;
    case ERR_SEQUENCE:       return KERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    case ERR_PRODUCER_EPOCH: return KERR_INVALID_PRODUCER_EPOCH;
    case ERR_FENCED:         return KERR_TRANSACTION_COORDINATOR_FENCED;
    case ERR_TXN_STATE:      return KERR_INVALID_TXN_STATE;
    case ERR_LIMIT:          return KERR_RECORD_LIST_TOO_LARGE;
    case ERR_CLOSED:         return KERR_NOT_LEADER_OR_FOLLOWER;
    case ERR_OFFLINE:
    case ERR_NOSPACE:
    case ERR_AGAIN:
    case ERR_IO:             return KERR_KAFKA_STORAGE_ERROR;
    case ERR_INVALID:
    case ERR_CORRUPT:        return KERR_CORRUPT_MESSAGE;
    default:                 return KERR_UNKNOWN_SERVER_ERROR;
    }
}

bool partition_isr_short(struct partition *p)
{
    int32_t min = partition_conf(p).min_insync_replicas;
    int32_t replicas = atomic_load_explicit(&p->replicas_n, memory_order_relaxed);

    return atomic_load_explicit(&p->isr_n, memory_order_relaxed) < (min < replicas ? min : replicas);
}

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
        *moved = advance_hw(p, out->offsets.leo, &out->offsets);
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
    if (rc != OK && has_moved(p, l)) {  /* its copy says it, when it has been flushed */
        *done = false;
        rc = OK;
    }
    plog_unref(&l);
    *done |= rc != OK;
    return partition_log_error(rc);
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

/* ---- read ------------------------------------------------------------------------------------------------------ */

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
    struct plog_offsets now;
    int16_t kerr = partition_check(p, io->leader_epoch, io->leader_only);
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
        again = kerr == KERR_NOT_LEADER_OR_FOLLOWER && has_moved(p, l);
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
    if (rc == ERR_CLOSED && has_moved(p, l))
        rc = ERR_BUSY;
    plog_unref(&l);
    return rc;
}

/* ---- look-ups -------------------------------------------------------------------------------------------------- */

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
    int16_t kerr = partition_check(p, leader_epoch, leader_only);
    struct plog *l;
    bool again;

    *out = (struct partition_offset){ -1, -1, -1 };
    if (kerr != KERR_NONE)
        return kerr;
    do {
        l = partition_log(p);
        kerr = offset_in(p, l, ts, isolation, out);
        again = kerr == KERR_NOT_LEADER_OR_FOLLOWER && has_moved(p, l);
        plog_unref(&l);
    } while (again);
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
        again = rc == ERR_CLOSED && has_moved(p, l);
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

int16_t partition_delete_before(struct partition *p, int64_t offset, int64_t *low)
{
    int16_t kerr = partition_check(p, -1, true);
    int rc;

    *low = -1;
    if (kerr != KERR_NONE)
        return kerr;
    if (!partition_conf(p).delete_policy)
        return KERR_POLICY_VIOLATION;
    if (offset == -1)
        offset = partition_offsets(p).hw;
    if (offset < 0)
        return KERR_OFFSET_OUT_OF_RANGE;
    lock_take(&p->lock);                /* the log does not move meanwhile */
    rc = plog_set_start(p->log, offset);
    if (rc == OK)
        *low = plog_offsets(p->log).start;
    lock_drop(&p->lock);
    return partition_log_error(rc);
}
