/* broker/replica/leader.c - the other replicas of a partition that we lead: what their fetches tell. */
#include "broker/replica/leader.h"

#include "base/clock.h"
#include "base/log.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/replica/partition_priv.h"
#include "broker/replica/replicas.h"
#include "config/config.h"
#include "proto/gen/leader_and_isr_request.h"
#include "proto/kerr.h"

#include <stdlib.h>

/* ---- the beginning of a leadership ------------------------------------------------------------------------------- */

static bool is_among(const int32_t *ids, int32_t n, int32_t id)
{
    for (int32_t i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

static const struct follower *find_old(const struct leading *old, int32_t id)
{
    for (int32_t i = 0; old != NULL && i < old->followers_n; i++)
        if (old->followers[i].id == id)
            return &old->followers[i];
    return NULL;
}

/* Who is in the ISR is given the full time to fetch; who is not must not hold the high watermark back. Between two
 * epochs that do not follow each other somebody else may have led, of whom we have not heard: what the others had of
 * our log then they may have cut off since. */
struct leading *leading_new(const struct leading *old, bool next, int32_t self, int64_t leo,
                            const struct leader_and_isr_request_leader_and_isr_partition_state *st)
{
    size_t n = (size_t)(st->replicas_n > 0 ? st->replicas_n : 0);
    struct leading *ld = calloc(1, sizeof *ld + n * sizeof ld->followers[0]);
    int64_t now = mono_ms();

    if (ld == NULL)
        return NULL;
    ld->since = old != NULL ? old->since : st->leader_epoch;
    ld->self_in_isr = is_among(st->isr, st->isr_n, self);
    for (size_t i = 0; i < n; i++) {
        const struct follower *was = find_old(old, st->replicas[i]);
        struct follower *f = &ld->followers[ld->followers_n];

        if (st->replicas[i] == self || leading_find(ld, st->replicas[i]) != NULL)
            continue;
        ld->followers_n++;
        *f = (struct follower){ .id = st->replicas[i], .in_isr = is_among(st->isr, st->isr_n, st->replicas[i]),
                                .leo = -1, .log_start = -1, .fetch_leo = -1, .fetch_ms = FOLLOWER_NEVER,
                                .broker_epoch = -1 };
        f->caught_up_ms = f->in_isr ? now : FOLLOWER_NEVER;
        if (was != NULL)
            f->broker_epoch = was->broker_epoch;
        if (was != NULL && next) {
            f->leo = was->leo;
            f->log_start = was->log_start;
            f->fetch_leo = leo;
            f->fetch_ms = f->in_isr ? now : FOLLOWER_NEVER;
        }
    }
    return ld;
}

/* ---- look-ups ---------------------------------------------------------------------------------------------------- */

struct follower *leading_find(struct leading *ld, int32_t id)
{
    for (int32_t i = 0; ld != NULL && i < ld->followers_n; i++)
        if (ld->followers[i].id == id)
            return &ld->followers[i];
    return NULL;
}

bool follower_caught_up(const struct follower *f, int64_t leo, int64_t now_ms, int64_t lag_max_ms)
{
    return f->leo == leo || now_ms - f->caught_up_ms <= lag_max_ms;
}

bool follower_alive(const struct partition *p, const struct follower *f)
{
    return metadata_cache_alive(replicas_options(p->home)->metacache, f->id);
}

bool partition_in_isr(struct partition *p, int32_t id)
{
    const struct follower *f;
    bool in;

    lock_take(&p->lock);
    f = leading_find(p->leading, id);
    in = f != NULL && f->in_isr;
    lock_drop(&p->lock);
    return in;
}

int32_t partition_replica_views(struct partition *p, int64_t offset, int64_t now_ms, struct replica_view *out,
                                int32_t max)
{
    int32_t n = 0;

    lock_take(&p->lock);
    if (p->leading == NULL)
        n = -1;
    for (int32_t i = 0; n >= 0 && n < max && i < p->leading->followers_n; i++) {
        const struct follower *f = &p->leading->followers[i];

        if (f->in_isr && f->leo >= offset && f->log_start <= offset)
            out[n++] = (struct replica_view){ f->id, f->leo, now_ms - f->caught_up_ms };
    }
    lock_drop(&p->lock);
    return n;
}

int16_t partition_low_watermark(struct partition *p, int64_t *low)
{
    int16_t kerr = KERR_NONE;

    *low = -1;
    lock_take(&p->lock);
    if (p->leading == NULL)
        kerr = KERR_NOT_LEADER_OR_FOLLOWER;
    else
        *low = plog_offsets(p->log).start;
    for (int32_t i = 0; kerr == KERR_NONE && i < p->leading->followers_n; i++) {
        const struct follower *f = &p->leading->followers[i];

        if (f->log_start < *low && follower_alive(p, f))
            *low = f->log_start;
    }
    lock_drop(&p->lock);
    return kerr;
}

/* ---- a fetch ----------------------------------------------------------------------------------------------------- */

static int16_t refuse_stranger(int32_t leader_epoch)
{
    return leader_epoch != -1 ? KERR_UNKNOWN_LEADER_EPOCH : KERR_NOT_LEADER_OR_FOLLOWER;
}

/* Is what the follower has a part of our log? */
static bool has_our_log(const struct partition *p, const struct follower_fetch *in, const struct plog_offsets *now)
{
    struct plog_epoch_end end;

    if (in->offset < now->start || in->offset > now->leo)
        return false;
    if (in->last_epoch < 0)
        return true;
    end = plog_epoch_end(p->log, in->last_epoch);
    return end.epoch == in->last_epoch && end.end_offset >= in->offset;
}

/* Invariant 2: another incarnation begins with nothing. */
static void begin_anew(struct partition *p, struct follower *f, int64_t broker_epoch)
{
    if (f->broker_epoch >= 0 && f->leo >= 0)
        log_debug("%s: broker %d has registered anew (epoch %lld after %lld): it is believed to have nothing until it "
                  "fetches", p->name, (int)f->id, (long long)broker_epoch, (long long)f->broker_epoch);
    if (f->broker_epoch >= 0) {
        f->leo = -1;
        f->log_start = -1;
        f->fetch_leo = -1;
        f->fetch_ms = FOLLOWER_NEVER;
        if (!f->in_isr)
            f->caught_up_ms = FOLLOWER_NEVER;   /* a member has the full time to catch up again */
    }
    f->broker_epoch = broker_epoch;
}

static void note_fetch(struct follower *f, const struct follower_fetch *in, int64_t leo)
{
    int64_t as_of = in->offset >= leo ? in->now_ms : in->offset >= f->fetch_leo ? f->fetch_ms : FOLLOWER_NEVER;

    if (as_of > f->caught_up_ms)
        f->caught_up_ms = as_of;
    f->leo = in->offset;
    f->log_start = in->log_start;
    f->fetch_ms = in->now_ms;
    if (leo > f->fetch_leo)
        f->fetch_leo = leo;
}

/* Has the follower all that is committed, so that it may join the ISR? What an earlier leader had committed may lie
 * above a high watermark that we have not learned yet, but not above the log end with which we began to lead. */
static bool may_join(struct partition *p, const struct follower *f, const struct plog_offsets *now)
{
    return !p->leading->pending && !f->in_isr && f->leo >= now->hw &&
           f->leo >= atomic_load_explicit(&p->epoch_start, memory_order_relaxed) && follower_alive(p, f);
}

int16_t partition_follower_fetched(struct partition *p, const struct follower_fetch *in)
{
    struct isr_ask *ask = NULL;
    bool moved = false, start_moved = false;
    struct plog_offsets now;
    struct follower *f;
    int16_t kerr;

    lock_take(&p->lock);
    kerr = partition_check(p, in->leader_epoch, true);
    f = kerr == KERR_NONE ? leading_find(p->leading, in->id) : NULL;
    if (kerr == KERR_NONE && f == NULL)
        kerr = refuse_stranger(in->leader_epoch);
    if (kerr == KERR_NONE && in->broker_epoch >= 0 && in->broker_epoch < f->broker_epoch)
        kerr = KERR_NOT_LEADER_OR_FOLLOWER;
    if (kerr == KERR_NONE) {
        if (in->broker_epoch > f->broker_epoch)
            begin_anew(p, f, in->broker_epoch);
        now = plog_offsets(p->log);
        if (has_our_log(p, in, &now)) {
            bool progress = f->leo != in->offset;

            start_moved = f->log_start != in->log_start;
            note_fetch(f, in, now.leo);
            if (may_join(p, f, &now))
                ask = isr_prepare(p, NULL, f);
            moved = progress && partition_advance_hw(p, now.leo, NULL);
        }
    }
    lock_drop(&p->lock);
    isr_send(ask);
    if (moved || start_moved)
        partition_wake_committed(p);
    return kerr;
}

int16_t partition_follower_known(struct partition *p, int32_t id, int32_t leader_epoch)
{
    int16_t kerr;

    lock_take(&p->lock);
    kerr = partition_check(p, leader_epoch, true);
    if (kerr == KERR_NONE && leading_find(p->leading, id) == NULL)
        kerr = refuse_stranger(leader_epoch);
    lock_drop(&p->lock);
    return kerr;
}

/* ---- who lags ---------------------------------------------------------------------------------------------------- */

static void log_shrink(const struct partition *p, const struct follower *f, const struct plog_offsets *now,
                       int64_t now_ms, int64_t lag_max_ms)
{
    char ago[64];

    if (f->caught_up_ms == FOLLOWER_NEVER)
        snprintf(ago, sizeof ago, "it has never been caught up");
    else
        snprintf(ago, sizeof ago, "it was caught up %lld ms ago", (long long)(now_ms - f->caught_up_ms));
    log_warn("%s: broker %d leaves the ISR: its log ends at %lld, ours at %lld (high watermark %lld); %s, "
             "replica.lag.time.max.ms is %lld", p->name, (int)f->id, (long long)f->leo, (long long)now->leo,
             (long long)now->hw, ago, (long long)lag_max_ms);
}

void partition_shrink_isr(struct partition *p, int64_t now_ms)
{
    int64_t lag_max_ms = replicas_options(p->home)->cfg->replica_lag_time_max_ms;
    struct isr_ask *ask = NULL;
    bool moved = false;
    struct leading *ld;

    if (atomic_load_explicit(&p->replicas_n, memory_order_relaxed) < 2)
        return;
    lock_take(&p->lock);
    ld = p->leading;
    if (ld != NULL && !ld->pending && ld->followers_n > 0) {
        struct plog_offsets now = plog_offsets(p->log);
        bool *leaving = calloc((size_t)ld->followers_n, sizeof *leaving), any = false;

        for (int32_t i = 0; leaving != NULL && i < ld->followers_n; i++) {
            const struct follower *f = &ld->followers[i];

            leaving[i] = f->in_isr && !follower_caught_up(f, now.leo, now_ms, lag_max_ms);
            any |= leaving[i];
            if (leaving[i])
                log_shrink(p, f, &now, now_ms, lag_max_ms);
        }
        if (any)
            ask = isr_prepare(p, leaving, NULL);
        free(leaving);
        moved = partition_advance_hw(p, now.leo, NULL);         /* somebody it waited for may be too late by now */
    }
    lock_drop(&p->lock);
    isr_send(ask);
    if (moved)
        partition_wake_committed(p);
}
