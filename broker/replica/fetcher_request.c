/* broker/replica/fetcher_request.c - one Fetch: what it says of which partitions, and the session that it is in.
 *
 *   full          session epoch 0: every partition that is wanted; an older session is closed by it
 *   incremental   what has changed since the last one, and what is not wanted any more
 *
 * A session that goes by topic ids cannot go on by names: when a partition without an id comes or the last one
 * goes, it is begun anew, and so it is after any failure.
 *
 * A Fetch that the bell has broken off counts as one that the leader has seen: the next one goes on in the
 * session. If an answer to it was lost that told no more than a new high watermark, nothing would tell it again:
 * so the session is begun anew soon after.
 */
#include "broker/replica/fetchers_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "broker/cluster/standing.h"
#include "broker/peer/peer.h"
#include "broker/replica/quota.h"
#include "config/config.h"
#include "proto/gen/apis.h"
#include "proto/gen/fetch_request.h"
#include "proto/gen/fetch_response.h"
#include "proto/kerr.h"

#include <utlist.h>

#define SESSIONS_SINCE   7              /* versions of Fetch */
#define IDS_SINCE        13
#define NUDGE_MIN_MS     5              /* from one broken off Fetch to the next */
#define RENEW_AFTER_NS   INT64_C(1000000000)

/* The request as it is put together. */
struct asking {
    struct fetch_request in;
    struct fetch_request_fetch_partition *parts;
    size_t               parts_n;
    int32_t             *left;
    size_t               left_n;
    bool                 ids;
};

static int16_t fetch_version(const struct fetcher *fe)
{
    int16_t v = ibp_version(&fe->home->ibp, API_FETCH);

    return v >= IDS_SINCE && fe->without_id > 0 ? IDS_SINCE - 1 : v;
}

/* ---- what is asked --------------------------------------------------------------------------------------------- */

static void add_wanted(struct fetcher *fe, struct asking *as, struct followed *fo, int16_t version)
{
    const struct config *cfg = fe->home->opts.cfg;
    struct fetch_request_fetch_partition *part = &as->parts[as->parts_n];
    struct fetch_request_fetch_topic *t = &as->in.topics[as->in.topics_n > 0 ? as->in.topics_n - 1 : 0];
    struct follower_place at;

    if (follower_place(fo->p, fo->leader_epoch, &at) != OK) {
        followed_set(fo, FOLLOW_FAILED);
        return;
    }
    if (as->in.topics_n == 0 || (as->ids ? !uuid_eq(t->topic_id, fo->id.id) : !str_eq(t->topic, fo->p->topic))) {
        t = &as->in.topics[as->in.topics_n++];
        fetch_request_fetch_topic_init(t);
        t->topic = fo->p->topic;
        t->topic_id = fo->id.id;
        t->partitions = part;
    }
    t->partitions_n++;
    as->parts_n++;
    fetch_request_fetch_partition_init(part);
    part->partition = fo->p->index;
    part->current_leader_epoch = fo->leader_epoch;
    part->fetch_offset = fo->offset = at.offsets.leo;
    part->log_start_offset = fo->start = at.offsets.start;
    part->partition_max_bytes = fo->max_bytes > 0 ? fo->max_bytes : cfg->replica_fetch_max_bytes;
    if (version >= 12 && ibp_has(&fe->home->ibp, IBP_TRUNCATE_ON_FETCH))
        part->last_fetched_epoch = at.epoch;
    if (!fo->in_session)
        forget_gone(fe, fo);
    fo->in_session = true;
}

static void add_left(struct asking *as, struct uuid id, struct str topic, int32_t index)
{
    struct fetch_request_forgotten_topic *t = &as->in.forgotten_topics_data[as->in.forgotten_topics_data_n++];

    fetch_request_forgotten_topic_init(t);
    t->topic = topic;
    t->topic_id = id;
    t->partitions = &as->left[as->left_n++];
    t->partitions[0] = index;
    t->partitions_n = 1;
}

/* For as many as can be spoken of: each partition is asked for or left, or neither. */
static int make_room(struct fetcher *fe, struct asking *as, bool full)
{
    size_t n = 0, left;
    struct followed *fo;

    if (full)
        n = fe->n;
    else
        DL_COUNT2(fe->dirty, fo, n, dirty_next);
    left = full ? 0 : n + fe->gone_n;
    as->parts = arena_array(&fe->arena, n + 1, sizeof *as->parts);
    as->in.topics = arena_array(&fe->arena, n + 1, sizeof *as->in.topics);
    as->left = arena_array(&fe->arena, left + 1, sizeof *as->left);
    as->in.forgotten_topics_data = arena_array(&fe->arena, left + 1, sizeof *as->in.forgotten_topics_data);
    return as->parts != NULL && as->in.topics != NULL && as->left != NULL && as->in.forgotten_topics_data != NULL
               ? OK : ERR_NOMEM;
}

/* follower.replication.throttled.*: not what is in sync already. */
static bool throttled(struct fetcher *fe, const struct followed *fo)
{
    return atomic_load_explicit(&fo->p->follower_throttled, memory_order_relaxed) && !fo->caught_up &&
           repl_quota_exceeded(fe->home->opts.quota, mono_ms());
}

static void ask_all(struct fetcher *fe, struct asking *as, int16_t version)
{
    struct followed *fo, *next;

    DL_FOREACH_SAFE2(fe->dirty, fo, next, dirty_next)
        fo->dirty = false;
    fe->dirty = NULL;
    gone_free(fe);
    DL_FOREACH_SAFE(fe->order, fo, next) {
        fo->in_session = false;
        if (fo->state == FOLLOW_FETCH && throttled(fe, fo))
            followed_pause(fo);
        else if (fo->state == FOLLOW_FETCH)
            add_wanted(fe, as, fo, version);
    }
}

static void ask_changed(struct fetcher *fe, struct asking *as, int16_t version)
{
    struct followed *fo;
    struct gone *g;

    while ((fo = fe->dirty) != NULL) {
        DL_DELETE2(fe->dirty, fo, dirty_prev, dirty_next);
        fo->dirty = false;
        if (fo->state == FOLLOW_FETCH && throttled(fe, fo)) {
            followed_pause(fo);         /* and comes again at once, if the session has it */
        } else if (fo->state == FOLLOW_FETCH) {
            add_wanted(fe, as, fo, version);
        } else if (fo->in_session) {
            add_left(as, fo->id.id, fo->p->topic, fo->p->index);
            fo->in_session = false;
        }
    }
    LL_FOREACH(fe->gone, g)
        add_left(as, g->id, (struct str){ g->topic, g->len }, g->index);
}

/* Writes the request; *full says whether it begins a session. Under the lock: partitions may go afterwards. */
static int write_request(struct fetcher *fe, int64_t wait_ms, int16_t version, bool *full, struct chain *ch)
{
    const struct fetchers_opts *o = &fe->home->opts;
    struct asking as = { .ids = version >= IDS_SINCE };
    int64_t epoch = o->standing != NULL ? standing_broker_epoch(o->standing) : -1;

    fetcher_hear_bell(fe);              /* all that has come is in this one */
    fetch_request_init(&as.in);
    if (fe->renew || as.ids != fe->session_ids || (fe->renew_ns != 0 && mono_ns() >= fe->renew_ns)) {
        fe->session_epoch = 0;
        fe->renew_ns = 0;
    }
    fe->renew = false;
    fe->session_ids = as.ids;
    *full = version < SESSIONS_SINCE || fe->session_epoch == 0;
    TRY(make_room(fe, &as, *full));
    if (*full)
        ask_all(fe, &as, version);
    else
        ask_changed(fe, &as, version);
    as.in.max_wait_ms = o->cfg->replica_fetch_wait_max_ms;
    if (fe->asking > 0)                 /* who came a moment ago must first be asked about */
        as.in.max_wait_ms = 0;
    else if (wait_ms < as.in.max_wait_ms)
        as.in.max_wait_ms = (int32_t)wait_ms;
    if (version >= 15) {
        as.in.replica_state.replica_id = o->broker_id;
        as.in.replica_state.replica_epoch = epoch;
    } else {
        as.in.replica_id = o->broker_id;
    }
    as.in.min_bytes = o->cfg->replica_fetch_min_bytes;
    as.in.max_bytes = o->cfg->replica_fetch_response_max_bytes;
    as.in.session_id = fe->session_id;
    as.in.session_epoch = fe->session_epoch;
    TRY(fetch_request_write(ch, &as.in, version));
    gone_free(fe);                      /* they were copied */
    return OK;
}

/* ---- the session ----------------------------------------------------------------------------------------------- */

static void next_epoch(struct fetcher *fe)
{
    fe->session_epoch = fe->session_epoch == INT32_MAX ? 1 : fe->session_epoch + 1;
}

/* ERR_AGAIN: the leader does not know the session any more, or will have another one. */
static int go_on(struct fetcher *fe, const struct fetch_response *resp, bool full)
{
    if (resp->error_code != KERR_NONE) {
        bool again = !full && fe->failed_ms == 0;

        log_at(again ? LOG_DEBUG : LOG_WARN, "%s: refuses a Fetch: %s", peer_text(fe->peer),
               kerr_name(resp->error_code));
        if (resp->error_code == KERR_FETCH_SESSION_ID_NOT_FOUND)
            fe->session_id = 0;
        fe->renew_ns = 1;
        if (again)
            return ERR_AGAIN;
        fe->failed_ms = fe->home->opts.cfg->replica_fetch_backoff_ms;
        return ERR_BUSY;
    }
    if (full) {
        fe->session_id = resp->session_id;
        fe->session_epoch = resp->session_id != 0 ? 1 : 0;
    } else if (resp->session_id != fe->session_id) {
        fe->renew_ns = 1;
    } else {
        next_epoch(fe);
    }
    return OK;
}

static void nudged(struct fetcher *fe, bool full)
{
    fe->nudged_ns = mono_ns();
    if (full)
        fe->renew_ns = 1;
    else
        next_epoch(fe);
    if (fe->renew_ns == 0)
        fe->renew_ns = fe->nudged_ns + RENEW_AFTER_NS;
}

int fetcher_fetch(struct fetcher *fe, int64_t wait_ms)
{
    bool full, hasty = mono_ns() - fe->nudged_ns < NUDGE_MIN_MS * 1000000;
    struct fetch_response resp;
    struct bytes answer;
    struct cursor c;
    struct chain ch;
    int16_t version;
    int rc;

    chain_init(&ch, &fe->arena);
    lock_take(&fe->home->lock);
    version = fetch_version(fe);
    rc = write_request(fe, hasty && wait_ms > NUDGE_MIN_MS ? NUDGE_MIN_MS : wait_ms, version, &full, &ch);
    if (rc != OK)
        fe->renew = true;
    lock_drop(&fe->home->lock);
    if (rc != OK) {
        chain_fini(&ch);
        return rc;
    }
    peer_heed(fe->peer, hasty ? -1 : fe->bell);
    rc = fetcher_call(fe, API_FETCH, version, &ch, &answer);
    peer_heed(fe->peer, -1);
    if (rc == ERR_AGAIN)
        nudged(fe, full);
    TRY(rc);
    arena_reset(&fe->arena);
    c = cur_ro(answer.p, answer.len);
    rc = fetch_response_read(&c, version, &fe->arena, &resp);
    if (rc == OK && cur_left(&c) > 0)
        rc = ERR_CORRUPT;
    if (rc != OK) {
        log_error("%s: its answer to a Fetch cannot be decoded: %s", peer_text(fe->peer), err_text(rc));
        peer_drop(fe->peer);
        fe->renew_ns = 1;
        fe->failed_ms = fe->home->opts.cfg->replica_fetch_backoff_ms;
        return rc;
    }
    TRY(go_on(fe, &resp, full));
    if (fe->failed_ms > 0)
        log_info("%s: is fetched from again", peer_text(fe->peer));
    fe->failed_ms = 0;
    fetcher_take_answer(fe, &resp, version);
    return OK;
}
