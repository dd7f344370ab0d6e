/* broker/replica/fetcher_answer.c - what a leader answers to a Fetch, partition by partition.
 *
 * While a partition's part is worked on it is held (fetchers_impl.h), and the lock is not. An answer for a
 * partition of which nothing is expected - it was taken away, or follows in another epoch since - is passed over.
 */
#include "broker/replica/fetchers_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "broker/peer/peer.h"
#include "broker/replica/quota.h"
#include "config/config.h"
#include "proto/gen/fetch_response.h"
#include "proto/kerr.h"

#include <inttypes.h>
#include <utlist.h>

#define IDS_SINCE         13
#define REFUSED_QUIET_NS  INT64_C(5000000000)
#define REFUSED_EVERY_NS  INT64_C(10000000000)

/* ---- errors ---------------------------------------------------------------------------------------------------- */

static bool is_for_good(int rc)
{
    return rc == ERR_FENCED || rc == ERR_OFFLINE || rc == ERR_CLOSED || rc == ERR_IO;
}

void followed_log_failed(struct fetcher *fe, struct followed *fo, int rc, const char *what)
{
    if (rc == ERR_FENCED || rc == ERR_CLOSED) {         /* what has become of it is being told, or has been */
        followed_set(fo, FOLLOW_FAILED);
        return;
    }
    if (!fo->told)
        log_error("%s: %s: %s (from %s, at offset %" PRId64 "); %s", fo->p->name, what, err_text(rc),
                  peer_text(fe->peer), fo->offset,
                  is_for_good(rc) ? "not fetched any more until the broker starts again with a sound log directory"
                                  : "tried again until it goes, or another broker leads");
    fo->told = true;
    if (is_for_good(rc))
        followed_set(fo, FOLLOW_FAILED);
    else
        followed_delay(fo, true);
}

/* Codes that come and go by themselves when leadership moves, or a topic is made or deleted: we may hear of it before
 * the leader, or after. */
static bool is_passing(int16_t kerr)
{
    switch (kerr) {
    case KERR_NOT_LEADER_OR_FOLLOWER:
    case KERR_UNKNOWN_LEADER_EPOCH:
    case KERR_FENCED_LEADER_EPOCH:
    case KERR_UNKNOWN_TOPIC_OR_PARTITION:
    case KERR_UNKNOWN_TOPIC_ID:
    case KERR_OFFSET_NOT_AVAILABLE:
        return true;
    default:
        return false;
    }
}

/* What passes is not worth a line; where it does not, one partition stands for the others that it holds for as well. */
static bool keeps_quiet(struct fetcher *fe, const struct followed *fo, int64_t now)
{
    if (now - fo->refused_ns < REFUSED_QUIET_NS ||
        (fe->complained_ns != 0 && now - fe->complained_ns < REFUSED_EVERY_NS))
        return true;
    fe->complained_ns = now;
    return false;
}

void followed_refused(struct fetcher *fe, struct followed *fo, int16_t kerr, const char *what)
{
    bool passing = is_passing(kerr);
    int64_t now = mono_ns();

    followed_delay(fo, !passing);
    if (fo->refused_ns == 0)
        fo->refused_ns = now;
    if (fo->told || (passing && keeps_quiet(fe, fo, now)))
        return;
    log_warn("%s: %s refuses %s in leader epoch %d: %s%s; tried again every %d ms", fo->p->name, peer_text(fe->peer),
             what, (int)fo->leader_epoch, kerr_name(kerr), passing ? " (for seconds by now; others may share its lot)"
             : "", fe->home->opts.cfg->replica_fetch_backoff_ms);
    fo->told = true;
}

/* ---- records --------------------------------------------------------------------------------------------------- */

/* flush.messages: what the leader counts as replicated must be on the disk. */
static int await_flush(struct fetchers *f, struct partition *p, int64_t offset)
{
    bool safe = false;
    int rc;

    lock_take(&f->lock);
    while ((rc = follower_is_safe(p, offset, &safe)) == OK && !safe && !atomic_load(&f->stopped))
        cond_wait(&f->flushed, &f->lock);
    lock_drop(&f->lock);
    return rc;
}

static void took(struct followed *fo, const struct fetch_response_partition_data *part, const struct follower_take *io)
{
    followed_worked(fo);
    fo->caught_up = io->leo >= part->high_watermark;
    if (io->taken_bytes > 0) {
        struct fetcher *fe = fo->at;

        fo->max_bytes = 0;
        DL_DELETE(fe->order, fo);       /* others are served first now */
        DL_APPEND(fe->order, fo);
        followed_mention(fo);
    }
}

/* Not even one batch came whole: so much more is asked for. */
static void ask_for_more(struct fetcher *fe, struct followed *fo, size_t wanted)
{
    if (wanted > INT32_MAX || (fo->max_bytes > 0 && wanted <= (size_t)fo->max_bytes)) {
        followed_log_failed(fe, fo, ERR_CORRUPT, "what the leader gives does not begin with a batch");
        return;
    }
    fo->max_bytes = (int32_t)wanted;
    followed_mention(fo);
}

static void take_records(struct fetcher *fe, struct followed *fo, const struct fetch_response_partition_data *part)
{
    struct follower_take io = { .leader_epoch = fo->leader_epoch, .offset = fo->offset, .hw = part->high_watermark,
                                .start = part->log_start_offset,
                                .records = { part->records.p, part->records.len } };
    int rc;

    fetcher_hold(fe, fo);
    rc = follower_take(fo->p, &io);
    if (rc == OK && io.held)
        rc = await_flush(fe->home, fo->p, io.leo);
    fetcher_release(fe);
    if (io.taken_bytes > 0 && atomic_load_explicit(&fo->p->follower_throttled, memory_order_relaxed))
        repl_quota_record(fe->home->opts.quota, (int64_t)io.taken_bytes, mono_ms());
    if (rc != OK)
        followed_log_failed(fe, fo, rc, "records cannot be appended");
    else if (io.wanted_bytes > 0)
        ask_for_more(fe, fo, io.wanted_bytes);
    else
        took(fo, part, &io);
    if (io.leo != fo->offset || partition_offsets(fo->p).start != fo->start)
        followed_mention(fo);
}

/* ---- logs that have parted ------------------------------------------------------------------------------------- */

/* `first`: where the leader's log begins. If all of ours lies above what may be common, so must ours: cut, it would
 * lack what the leader has below. */
static void part_ways(struct fetcher *fe, struct followed *fo, struct plog_epoch_end end, int64_t first)
{
    struct follower_place before, now;
    int64_t leo;
    bool agreed;
    int rc = follower_place(fo->p, fo->leader_epoch, &before);

    fetcher_hold(fe, fo);
    if (rc == OK && end.end_offset < before.offsets.start && first >= 0 && first <= end.end_offset)
        rc = follower_begin_at(fo->p, fo->leader_epoch, first);
    else if (rc == OK)
        rc = follower_part(fo->p, fo->leader_epoch, end, &leo, &agreed);
    if (rc == OK)
        rc = follower_place(fo->p, fo->leader_epoch, &now);
    /* It has told nothing that is not so already: asking again would bring the same answer. */
    if (rc == OK && now.offsets.leo == before.offsets.leo && now.epoch == before.epoch)
        rc = ERR_INVALID;
    fetcher_release(fe);
    if (rc != OK)
        followed_log_failed(fe, fo, rc, "the log cannot be cut where the leader's has parted from it");
    else
        followed_mention(fo);
}

/* ---- one partition --------------------------------------------------------------------------------------------- */

static void take_part(struct fetcher *fe, struct followed *fo, const struct fetch_response_partition_data *part)
{
    struct plog_epoch_end end = { part->diverging_epoch.epoch, part->diverging_epoch.end_offset };

    if (part->error_code == KERR_OFFSET_OUT_OF_RANGE) {
        fo->anew = false;
        followed_set(fo, FOLLOW_RANGE);
    } else if (part->error_code != KERR_NONE) {
        followed_refused(fe, fo, part->error_code, "a Fetch");
    } else if (!fetch_response_epoch_end_offset_is_default(&part->diverging_epoch)) {
        part_ways(fe, fo, end, part->log_start_offset);
    } else {
        take_records(fe, fo, part);
    }
}

void fetcher_take_answer(struct fetcher *fe, const struct fetch_response *resp, int16_t version)
{
    struct fetchers *f = fe->home;

    lock_take(&f->lock);
    for (int32_t i = 0; i < resp->responses_n && !atomic_load(&f->stopped); i++) {
        const struct fetch_response_fetchable_topic_response *t = &resp->responses[i];

        for (int32_t k = 0; k < t->partitions_n; k++) {
            const struct fetch_response_partition_data *part = &t->partitions[k];
            struct followed *fo = version >= IDS_SINCE ? followed_find_id(fe, t->topic_id, part->partition_index)
                                                       : followed_find_name(fe, t->topic, part->partition_index);

            if (fo != NULL && fo->in_session && fo->state == FOLLOW_FETCH)
                take_part(fe, fo, part);
        }
    }
    lock_drop(&f->lock);
}
