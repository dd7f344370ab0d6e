/* broker/replica/fetcher_epochs.c - what a fetcher asks besides records: where an epoch ended
 * (OffsetForLeaderEpoch), for logs whose leader cannot tell by a Fetch; and where the leader's log begins and
 * ends (ListOffsets), when it says that our offset is out of range.
 *
 * The first is a loop (KIP-279): the leader answers with the largest epoch that it has of those up to ours; if
 * we do not know that one, what is above the one before goes, and it is asked about that.
 */
#include "broker/replica/fetchers_impl.h"

#include "base/log.h"
#include "broker/peer/peer.h"
#include "proto/gen/apis.h"
#include "proto/gen/list_offsets_request.h"
#include "proto/gen/list_offsets_response.h"
#include "proto/gen/offset_for_leader_epoch_request.h"
#include "proto/gen/offset_for_leader_epoch_response.h"
#include "proto/kerr.h"

#include <inttypes.h>
#include <utlist.h>

#define epoch_topic  offset_for_leader_epoch_request_offset_for_leader_topic
#define epoch_part   offset_for_leader_epoch_request_offset_for_leader_partition
#define epoch_end    offset_for_leader_epoch_response_epoch_end_offset

/* ---- cutting, in any of these ways ----------------------------------------------------------------------------- */

static bool still_in(const struct followed *fo, enum follow_state s, int32_t leader_epoch)
{
    return fo != NULL && fo->state == s && fo->leader_epoch == leader_epoch;
}

/* The log knows no epochs, or the leader is too old to be asked: as before epochs, by the high watermark. */
static void cut_at_hw(struct fetcher *fe, struct followed *fo)
{
    struct follower_place at;
    int rc = follower_place(fo->p, fo->leader_epoch, &at);

    if (rc == OK && at.offsets.hw < at.offsets.leo) {
        fetcher_hold(fe, fo);
        rc = follower_cut(fo->p, fo->leader_epoch, at.offsets.hw);
        fetcher_release(fe);
    }
    if (rc != OK)
        followed_log_failed(fe, fo, rc, "the log cannot be cut at its high watermark");
    else
        followed_set(fo, FOLLOW_FETCH);
}

/* ---- OffsetForLeaderEpoch -------------------------------------------------------------------------------------- */

/* Of all in TRUNCATE; *n how many. Under the lock. */
static int write_epochs(struct fetcher *fe, int16_t version, struct chain *ch, size_t *n)
{
    struct offset_for_leader_epoch_request in;
    struct epoch_part *parts = arena_array(&fe->arena, fe->asking + 1, sizeof *parts);
    struct epoch_topic *topics = arena_array(&fe->arena, fe->asking + 1, sizeof *topics);
    size_t room = fe->asking;
    struct followed *fo, *next;

    *n = 0;
    if (parts == NULL || topics == NULL)
        return ERR_NOMEM;
    offset_for_leader_epoch_request_init(&in);
    in.replica_id = fe->home->opts.broker_id;
    in.topics = topics;
    DL_FOREACH_SAFE(fe->order, fo, next) {
        struct follower_place at;

        if (fo->state != FOLLOW_TRUNCATE || *n >= room)
            continue;
        if (follower_place(fo->p, fo->leader_epoch, &at) != OK) {
            followed_set(fo, FOLLOW_FAILED);
            continue;
        }
        if (at.epoch < 0 || version < 0)
            continue;
        offset_for_leader_epoch_request_offset_for_leader_topic_init(&topics[*n]);
        offset_for_leader_epoch_request_offset_for_leader_partition_init(&parts[*n]);
        topics[*n].topic = fo->p->topic;
        topics[*n].partitions = &parts[*n];
        topics[*n].partitions_n = 1;
        parts[*n].partition = fo->p->index;
        parts[*n].current_leader_epoch = fo->leader_epoch;
        parts[*n].leader_epoch = at.epoch;
        fo->asked_epoch = at.epoch;
        (*n)++;
    }
    in.topics_n = (int32_t)*n;
    return *n > 0 ? offset_for_leader_epoch_request_write(ch, &in, version) : OK;
}

/* Those that cannot be asked about. Under the lock, which is dropped meanwhile: from the beginning again each
 * time. */
static void cut_without_epochs(struct fetcher *fe, int16_t version)
{
    struct followed *fo;

    do {
        DL_FOREACH(fe->order, fo) {
            struct follower_place at;

            if (fo->state != FOLLOW_TRUNCATE || follower_place(fo->p, fo->leader_epoch, &at) != OK)
                continue;
            if (at.epoch < 0 || version < 0)
                break;
        }
        if (fo != NULL)
            cut_at_hw(fe, fo);
    } while (fo != NULL && !atomic_load(&fe->home->stopped));
}

static void take_end(struct fetcher *fe, struct followed *fo, const struct epoch_end *end)
{
    struct plog_epoch_end theirs = { end->leader_epoch, end->end_offset };
    struct follower_place at;
    bool agreed = true;
    int64_t leo;
    int rc;

    if (end->error_code != KERR_NONE) {
        followed_refused(fe, fo, end->error_code, "to say where an epoch ended");
        return;
    }
    if (theirs.epoch > fo->asked_epoch) {
        followed_log_failed(fe, fo, ERR_INVALID, "the leader answers with a later epoch than it was asked about");
        return;
    }
    rc = follower_place(fo->p, fo->leader_epoch, &at);
    fo->anew = rc == OK && theirs.end_offset >= 0 && theirs.end_offset < at.offsets.start;
    fetcher_hold(fe, fo);
    if (rc == OK && !fo->anew)
        rc = follower_part(fo->p, fo->leader_epoch, theirs, &leo, &agreed);
    fetcher_release(fe);
    if (rc != OK) {
        followed_log_failed(fe, fo, rc, "the log cannot be cut where the leader's has parted from it");
        return;
    }
    followed_worked(fo);
    if (fo->anew) {                     /* cut, it would lack what the leader has below */
        followed_set(fo, FOLLOW_RANGE);
        return;
    }
    if (agreed || ibp_has(&fe->home->ibp, IBP_TRUNCATE_ON_FETCH))
        followed_set(fo, FOLLOW_FETCH);
}

/* ERR_CORRUPT: it says nothing of those that it was asked about. (All of them may have gone meanwhile.) */
static int take_ends(struct fetcher *fe, const struct offset_for_leader_epoch_response *resp)
{
    bool waiting = false;
    struct followed *fo;
    size_t taken = 0;

    lock_take(&fe->home->lock);
    for (int32_t i = 0; i < resp->topics_n; i++)
        for (int32_t k = 0; k < resp->topics[i].partitions_n && !atomic_load(&fe->home->stopped); k++) {
            const struct epoch_end *end = &resp->topics[i].partitions[k];

            fo = followed_find_name(fe, resp->topics[i].topic, end->partition);
            if (fo == NULL || fo->state != FOLLOW_TRUNCATE || fo->asked_epoch < 0)
                continue;
            taken++;
            take_end(fe, fo, end);
            fo->asked_epoch = -1;       /* a second answer does not count */
        }
    DL_FOREACH(fe->order, fo)
        waiting |= fo->state == FOLLOW_TRUNCATE && fo->asked_epoch >= 0;
    lock_drop(&fe->home->lock);
    return taken > 0 || !waiting ? OK : ERR_CORRUPT;
}

static int answer_is_none(struct fetcher *fe, int rc, const char *what)
{
    const int64_t ms = 1000;

    if (rc != OK) {
        log_error("%s: its answer to %s cannot be used: %s", peer_text(fe->peer), what, err_text(rc));
        peer_drop(fe->peer);
        fe->failed_ms = ms;
        fe->renew_ns = 1;
    }
    return rc;
}

int fetcher_truncate(struct fetcher *fe)
{
    int16_t version = ibp_version(&fe->home->ibp, API_OFFSET_FOR_LEADER_EPOCH);
    struct offset_for_leader_epoch_response resp;
    struct bytes answer;
    struct chain ch;
    struct cursor c;
    size_t n;
    int rc;

    chain_init(&ch, &fe->arena);
    lock_take(&fe->home->lock);
    cut_without_epochs(fe, version);
    rc = write_epochs(fe, version, &ch, &n);
    lock_drop(&fe->home->lock);
    if (rc != OK || n == 0) {
        chain_fini(&ch);
        return rc;
    }
    TRY(fetcher_call(fe, API_OFFSET_FOR_LEADER_EPOCH, version, &ch, &answer));
    c = cur_ro(answer.p, answer.len);
    rc = offset_for_leader_epoch_response_read(&c, version, &fe->arena, &resp);
    if (rc == OK)
        rc = take_ends(fe, &resp);
    return answer_is_none(fe, rc, "OffsetForLeaderEpoch");
}

/* ---- ListOffsets ----------------------------------------------------------------------------------------------- */

enum { TS_LATEST = -1, TS_EARLIEST = -2 };

static int write_list(struct fetcher *fe, const struct partition *p, int32_t leader_epoch, int64_t ts, int16_t version,
                      struct chain *ch)
{
    struct list_offsets_request in;
    struct list_offsets_request_list_offsets_topic t;
    struct list_offsets_request_list_offsets_partition part;

    list_offsets_request_init(&in);
    list_offsets_request_list_offsets_topic_init(&t);
    list_offsets_request_list_offsets_partition_init(&part);
    in.replica_id = fe->home->opts.broker_id;
    in.topics = &t;
    in.topics_n = 1;
    t.name = p->topic;
    t.partitions = &part;
    t.partitions_n = 1;
    part.partition_index = p->index;
    part.current_leader_epoch = leader_epoch;
    part.timestamp = ts;
    part.max_num_offsets = 1;
    return list_offsets_request_write(ch, &in, version);
}

/* The leader's first or last offset; *kerr if it does not say. */
static int list_offset(struct fetcher *fe, const struct partition *p, int32_t leader_epoch, int64_t ts, int64_t *offset,
                       int16_t *kerr)
{
    int16_t version = ibp_version(&fe->home->ibp, API_LIST_OFFSETS);
    const struct list_offsets_response_list_offsets_partition_response *part;
    struct list_offsets_response resp;
    struct bytes answer;
    struct chain ch;
    struct cursor c;
    int rc;

    chain_init(&ch, &fe->arena);
    rc = write_list(fe, p, leader_epoch, ts, version, &ch);
    if (rc != OK) {
        chain_fini(&ch);
        return rc;
    }
    TRY(fetcher_call(fe, API_LIST_OFFSETS, version, &ch, &answer));
    c = cur_ro(answer.p, answer.len);
    rc = list_offsets_response_read(&c, version, &fe->arena, &resp);
    if (rc == OK && (resp.topics_n != 1 || resp.topics[0].partitions_n != 1 ||
                     resp.topics[0].partitions[0].partition_index != p->index))
        rc = ERR_CORRUPT;
    TRY(answer_is_none(fe, rc, "ListOffsets"));
    part = &resp.topics[0].partitions[0];
    *kerr = part->error_code;
    *offset = version > 0 ? part->offset : part->old_style_offsets_n > 0 ? part->old_style_offsets[0] : -1;
    if (*kerr == KERR_NONE && *offset < 0)
        *kerr = KERR_OFFSET_NOT_AVAILABLE;
    return OK;
}

/* The leader has [first, end). What we have above its end has parted from it, whatever the epochs were thought to be;
 * and if it has nothing of what we have or want next, we begin where it does. */
static void settle_range(struct fetcher *fe, struct followed *fo, int64_t first, int64_t end)
{
    struct follower_place at, now;
    int rc = follower_place(fo->p, fo->leader_epoch, &at);

    fetcher_hold(fe, fo);
    if (rc == OK && first > end)
        rc = ERR_INVALID;
    if (rc == OK && (fo->anew || at.offsets.leo < first || at.offsets.start > end))
        rc = follower_begin_at(fo->p, fo->leader_epoch, first);
    else if (rc == OK && at.offsets.leo > end)
        rc = follower_cut(fo->p, fo->leader_epoch, end);
    fetcher_release(fe);
    if (rc != OK) {
        followed_log_failed(fe, fo, rc, "the log cannot be brought into the leader's range");
        return;
    }
    if (follower_place(fo->p, fo->leader_epoch, &now) != OK) {
        followed_set(fo, FOLLOW_FAILED);
        return;
    }
    followed_set(fo, followed_first_state(fe->home, &now));
    /* In range after all: a moment ago it was not. But not in a circle. */
    if (!fo->anew && at.offsets.leo >= first && at.offsets.leo <= end)
        followed_delay(fo, false);
}

static int find_one_range(struct fetcher *fe, struct partition *p, int32_t leader_epoch)
{
    int64_t first = -1, end = -1;
    int16_t kerr = KERR_NONE;
    struct followed *fo;

    TRY(list_offset(fe, p, leader_epoch, TS_EARLIEST, &first, &kerr));
    if (kerr == KERR_NONE)
        TRY(list_offset(fe, p, leader_epoch, TS_LATEST, &end, &kerr));
    lock_take(&fe->home->lock);
    fo = followed_find(fe, p->key, p->key_len);
    if (still_in(fo, FOLLOW_RANGE, leader_epoch) && kerr != KERR_NONE)
        followed_refused(fe, fo, kerr, "to say where its log begins and ends");
    else if (still_in(fo, FOLLOW_RANGE, leader_epoch))
        settle_range(fe, fo, first, end);
    lock_drop(&fe->home->lock);
    return OK;
}

int fetcher_find_range(struct fetcher *fe)
{
    struct followed *fo;
    int rc = OK;

    do {
        struct partition *p = NULL;
        int32_t leader_epoch = -1;

        lock_take(&fe->home->lock);
        DL_FOREACH(fe->order, fo)
            if (fo->state == FOLLOW_RANGE)
                break;
        if (fo != NULL) {
            p = partition_ref(fo->p);
            leader_epoch = fo->leader_epoch;
        }
        lock_drop(&fe->home->lock);
        if (p != NULL)
            rc = find_one_range(fe, p, leader_epoch);
        partition_unref(&p);
    } while (fo != NULL && rc == OK && !atomic_load(&fe->home->stopped));
    return rc;
}
