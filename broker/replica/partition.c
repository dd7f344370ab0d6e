/* broker/replica/partition.c - one partition: its life, its log, its topic's settings, its standing.
 *
 * INVARIANTS
 *  1. `standing` changes only under `lock`; an append holds `lock`, so every append is done in the leader epoch that it
 *     writes into its batches.
 *  2. The high watermark of a leader is moved only in commit.c, under `lock`: by an append, by a follower's progress,
 *     or when the ISR changes. It is moved before anybody is woken, and nobody is woken with a lock held.
 */
#include "broker/replica/partition.h"

#include "base/log.h"
#include "broker/replica/partition_priv.h"
#include "broker/replica/quota.h"
#include "broker/replica/replicas.h"
#include "config/topic_config.h"
#include "metadata/topic_name.h"
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
    p->leader_hw = p->leader_start = -1;
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
    free(p->leading);
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

bool partition_moved(struct partition *p, const struct plog *l)
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
    int32_t self = replicas_options(p->home)->broker_id;
    struct log_opts lo;
    bool moved;
    struct partition_conf conf = {
        .timestamp_before_max_ms = tc->timestamp_before_max_ms,
        .timestamp_after_max_ms = tc->timestamp_after_max_ms,
        .max_message_bytes = tc->max_message_bytes,
        .codec = (int32_t)tc->codec,
        .codec_level = tc->codec_level,
        .magic = tc->magic,
        .log_append_time = tc->log_append_time,
        .delete_policy = (tc->cleanup & CLEANUP_DELETE) != 0,
        .compact_policy = (tc->cleanup & CLEANUP_COMPACT) != 0,
        .downconversion = tc->message_downconversion_enable,
    };

    partition_log_opts(tc, &lo);
    lo.of_coordinators = topic_name_internal(p->topic);
    do {
        struct plog *l = partition_log(p);

        plog_set_opts(l, &lo);
        moved = partition_moved(p, l);        /* it takes the options along, but perhaps those of before */
        plog_unref(&l);
    } while (moved);
    lock_take(&p->conf_lock);
    p->conf = conf;
    lock_drop(&p->conf_lock);
    atomic_store_explicit(&p->min_isr, tc->min_insync_replicas, memory_order_relaxed);
    atomic_store_explicit(&p->leader_throttled, throttled_replicas_have(&tc->leader_replication_throttled_replicas,
                                                                        p->index, self), memory_order_relaxed);
    atomic_store_explicit(&p->follower_throttled, throttled_replicas_have(&tc->follower_replication_throttled_replicas,
                                                                          p->index, self), memory_order_relaxed);
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

/* The leader epoch is newer than what we know; so must be the version of the state node. */
static bool is_outdated(const struct partition *p,
                        const struct leader_and_isr_request_leader_and_isr_partition_state *st)
{
    if (st->partition_epoch >= p->partition_epoch)
        return false;
    log_warn("%s: leader epoch %d comes with partition epoch %d, and %d is known: not taken up", p->name,
             (int)st->leader_epoch, (int)st->partition_epoch, (int)p->partition_epoch);
    return true;
}

static int begin_to_lead(struct partition *p, int32_t self,
                         const struct leader_and_isr_request_leader_and_isr_partition_state *st)
{
    int64_t leo = plog_offsets(p->log).leo;
    bool next = st->leader_epoch == partition_standing(p).leader_epoch + 1;
    struct leading *ld = leading_new(p->leading, next, self, leo, st);
    int rc = ld != NULL ? plog_assign_epoch(p->log, st->leader_epoch) : ERR_NOMEM;

    if (rc != OK) {
        free(ld);
        return rc;
    }
    free(p->leading);                   /* a question to the controller that is out is not ours any more */
    p->leading = ld;
    atomic_store_explicit(&p->epoch_start, leo, memory_order_relaxed);
    return OK;
}

static void end_to_lead(struct partition *p)
{
    free(p->leading);
    p->leading = NULL;
    atomic_store_explicit(&p->epoch_start, -1, memory_order_relaxed);
}

int partition_become(struct partition *p, int32_t self, int32_t controller_epoch,
                     const struct leader_and_isr_request_leader_and_isr_partition_state *st)
{
    bool lead = st->leader == self;
    int rc = OK;

    lock_take(&p->lock);
    if (is_outdated(p, st)) {
        lock_drop(&p->lock);
        return OK;
    }
    if (lead)
        rc = begin_to_lead(p, self, st);
    else
        end_to_lead(p);
    if (rc == OK) {
        atomic_store_explicit(&p->replicas_n, st->replicas_n > 0 ? st->replicas_n : 0, memory_order_relaxed);
        atomic_store_explicit(&p->isr_n, st->isr_n > 0 ? st->isr_n : 0, memory_order_relaxed);
        p->leader_id = st->leader;
        p->controller_epoch = controller_epoch;
        p->partition_epoch = st->partition_epoch;
        set_standing(p, lead ? ROLE_LEADER : ROLE_FOLLOWER, st->leader_epoch);
        if (lead)
            (void)partition_advance_hw(p, plog_offsets(p->log).leo, NULL);
    }
    lock_drop(&p->lock);
    return rc;
}

void partition_go(struct partition *p)
{
    lock_take(&p->lock);
    end_to_lead(p);
    set_standing(p, ROLE_GONE, partition_standing(p).leader_epoch);
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

/* ---- errors ---------------------------------------------------------------------------------------------------- */

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
