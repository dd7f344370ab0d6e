/* broker/group/group_rebalance.c - a rebalance from its begin to the next generation, and whatever is due at some time.
 *
 *   a group that was EMPTY waits group.initial.rebalance.delay.ms for others to come (KIP-134), and as long again
 *   whenever somebody new has come meanwhile, at most for the rebalance timeout:
 *
 *      first join          delay           delay, if a newcomer came     what is left        next generation
 *      |-------------------|---------------|-- ... -----------------------|-------------------|
 *      |<----------------------- the first member's rebalance timeout ----------------------->|
 *
 *   any other waits until all members have joined again and no promised id is open, at most for the longest
 *   rebalance timeout of its members.
 */
#define HASH_NONFATAL_OOM 1
#include "broker/group/group_states.h"

#include "base/log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_ON_MIN_MS 1000             /* a rebalance timeout of 0 must not make us ask without end */

/* ---- begin --------------------------------------------------------------------------------------------------- */

static int32_t longest_timeout(const struct group *g)
{
    int32_t longest = 0;

    for (const struct group_member *m = g->members; m != NULL; m = m->hh.next)
        if (m->rebalance_timeout_ms > longest)
            longest = m->rebalance_timeout_ms;
    return longest;
}

void rebalance_refuse_syncs(struct group *g, int16_t kerr, int64_t now_ms)
{
    for (struct group_member *m = g->members; m != NULL; m = m->hh.next) {
        member_assign(m, (struct bytes){ NULL, 0 });
        if (member_fail_sync(m, kerr))
            member_alive(g, m, now_ms);
    }
}

static void no_syncs_expected(struct group *g)
{
    for (struct group_member *m = g->members; m != NULL && g->rebalance->unsynced_n > 0; m = m->hh.next)
        member_synced(g, m);
    g->rebalance->sync_due_ms = NEVER;
}

static void begin_initial(struct group *g, int32_t timeout_ms, int64_t now_ms)
{
    struct group_rebalance *r = g->rebalance;
    int32_t delay = g->limits->initial_delay_ms;

    r->initial = true;
    r->newcomer = false;
    r->delay_ms = delay;
    r->remaining_ms = timeout_ms > delay ? timeout_ms - delay : 0;
    r->join_due_ms = now_ms + delay;
}

void rebalance_prepare(struct group *g, const char *why, int64_t now_ms)
{
    struct group_rebalance *r = g->rebalance;
    enum group_state was = g->state;
    int32_t timeout_ms = longest_timeout(g);

    if (was == GROUP_COMPLETING_REBALANCE)
        rebalance_refuse_syncs(g, KERR_REBALANCE_IN_PROGRESS, now_ms);
    else
        r->began_ms = now_ms;           /* else the former one has not ended */
    no_syncs_expected(g);
    group_go(g, GROUP_PREPARING_REBALANCE);
    r->initial = false;
    r->join_due_ms = now_ms + timeout_ms;
    if (was == GROUP_EMPTY)
        begin_initial(g, timeout_ms, now_ms);
    group_event(g, GROUP_EVENT_REBALANCE_BEGAN, NULL, str_of(why));
    r->deserted = g->members_n == 0;
    if (r->deserted)
        log_some(LOG_INFO, "group %.*s: no members are left after generation %d: %s",
                 STR_ARG(g->id), g->generation, why);
    else
        log_some(LOG_INFO, "group %.*s: rebalance begins after generation %d with %zu member%s: %s",
                 STR_ARG(g->id), g->generation, g->members_n, plural(g->members_n), why);
    rebalance_try_complete(g, now_ms);
}

void rebalance_maybe_prepare(struct group *g, const char *why, int64_t now_ms)
{
    if (group_may_go(g, GROUP_PREPARING_REBALANCE))
        rebalance_prepare(g, why, now_ms);
}

/* ---- the next generation ------------------------------------------------------------------------------------- */

void join_result_of(const struct group *g, const struct group_member *m, struct join_result *res)
{
    *res = (struct join_result){ .error = KERR_NONE, .generation = g->generation, .protocol_type = g->protocol_type,
                                 .protocol = g->protocol, .leader = g->leader->id, .member_id = m->id,
                                 .members = g->leader == m ? g : NULL };
}

/* Static members keep their place until their session or the wait for their sync ends. */
static void remove_absent(struct group *g)
{
    struct group_member *m, *next;
    size_t n = 0;

    if (g->rebalance->awaiting_n == g->members_n)
        return;
    HASH_ITER(hh, g->members, m, next) {
        if (m->join != NULL || m->instance_id.p != NULL)
            continue;
        group_event(g, GROUP_EVENT_EXPELLED, m, STR_LIT("did not join again within the rebalance timeout"));
        member_remove(g, m);
        n++;
    }
    if (n > 0)
        log_some(LOG_INFO, "group %.*s: %zu member%s removed that did not join again within the rebalance timeout",
                 STR_ARG(g->id), n, plural(n));
}

/* The leader stays if it is back; else who came first of those who are. false: nobody is back. */
static bool elect_leader(struct group *g)
{
    if (g->leader->join != NULL)
        return true;
    for (struct group_member *m = g->members; m != NULL; m = m->hh.next)
        if (m->join != NULL) {
            g->leader = m;
            return true;
        }
    return false;
}

/* 0 is of groups that never had one, and -1 of nobody: after the last comes 1 again. */
static int32_t generation_after(int32_t generation)
{
    return generation < 0 || generation == INT32_MAX ? 1 : generation + 1;
}

static void become_empty(struct group *g, int64_t now_ms)
{
    text_free(&g->protocol);
    group_go(g, GROUP_EMPTY);
    g->rebalance->want = GROUP_WANTS_EMPTY;
    if (g->rebalance->pending == NULL)
        g->rebalance->earliest_ms = NEVER;
    rebalance_ended(g, now_ms);
}

static void answer_joins(struct group *g, int64_t now_ms)
{
    struct group_rebalance *r = g->rebalance;

    for (struct group_member *m = g->members; m != NULL; m = m->hh.next) {
        struct join_result res;

        join_result_of(g, m, &res);
        member_answer_join(g, m, &res);
        member_alive(g, m, now_ms);
        m->is_new = false;
        m->unsynced = true;
        r->unsynced_n++;
    }
    r->sync_due_ms = now_ms + longest_timeout(g);
}

static void complete(struct group *g, int64_t now_ms)
{
    struct group_rebalance *r = g->rebalance;

    remove_absent(g);
    r->initial = false;
    if (g->members_n > 0 && !elect_leader(g)) {
        int32_t wait_ms = longest_timeout(g);

        r->join_due_ms = now_ms + (wait_ms > WAIT_ON_MIN_MS ? wait_ms : WAIT_ON_MIN_MS);
        log_some(LOG_INFO, "group %.*s: none of its %zu static members has joined again; waiting on",
                 STR_ARG(g->id), g->members_n);
        return;
    }
    if (g->members_n > 0 && text_set(&g->protocol, protocols_choose(g)) != OK) {
        r->join_due_ms = now_ms + WAIT_ON_MIN_MS;       /* out of memory: once more */
        return;
    }
    r->join_due_ms = NEVER;
    r->newcomer = false;
    r->sync_taken = false;
    r->known = TOPICS_STALE;
    g->generation = generation_after(g->generation);
    if (g->members_n == 0) {
        become_empty(g, now_ms);
        return;
    }
    group_go(g, GROUP_COMPLETING_REBALANCE);
    answer_joins(g, now_ms);
}

void rebalance_try_complete(struct group *g, int64_t now_ms)
{
    const struct group_rebalance *r = g->rebalance;

    if (g->state == GROUP_PREPARING_REBALANCE && !r->initial && r->awaiting_n == g->members_n && r->pending == NULL)
        complete(g, now_ms);
}

void rebalance_ended(struct group *g, int64_t now_ms)
{
    struct group_event e = { .kind = GROUP_EVENT_REBALANCE_ENDED, .generation = g->generation,
                             .at_ms = group_wall_ms(g), .duration_ms = now_ms - g->rebalance->began_ms,
                             .members_n = (int32_t)g->members_n };

    group_event_full(g, &e);
    if (!g->rebalance->deserted || g->members_n > 0)
        log_some(LOG_INFO, "group %.*s: generation %d is %s with %zu member%s, after %lld ms", STR_ARG(g->id),
                 g->generation, group_state_name(g->state), g->members_n, plural(g->members_n),
                 (long long)e.duration_ms);
}

/* ---- members or promised ids are gone ------------------------------------------------------------------------ */

void shrunk_nothing(struct group *g, const char *why, int64_t now_ms)
{
    (void)g;
    (void)why;
    (void)now_ms;
}

void shrunk_preparing(struct group *g, const char *why, int64_t now_ms)
{
    (void)why;
    rebalance_try_complete(g, now_ms);
}

void shrunk_settled(struct group *g, const char *why, int64_t now_ms)
{
    rebalance_prepare(g, why, now_ms);
}

/* ---- time ---------------------------------------------------------------------------------------------------- */

int64_t group_due(const struct group *g)
{
    const struct group_rebalance *r = g->rebalance;
    int64_t due = r->earliest_ms;

    if (r->join_due_ms < due)
        due = r->join_due_ms;
    return r->sync_due_ms < due ? r->sync_due_ms : due;
}

static size_t expire_pending(struct group *g, int64_t now_ms, int64_t *earliest)
{
    struct group_rebalance *r = g->rebalance;
    struct pending_id *p, *next;
    size_t n = 0;

    HASH_ITER(hh, r->pending, p, next) {
        if (p->due_ms <= now_ms) {
            HASH_DELETE(hh, r->pending, p);
            free(p);
            n++;
        } else if (p->due_ms < *earliest) {
            *earliest = p->due_ms;
        }
    }
    return n;
}

static size_t expire_members(struct group *g, int64_t now_ms, int64_t *earliest, char *why, size_t why_size)
{
    struct group_member *m, *next;
    size_t n = 0;

    HASH_ITER(hh, g->members, m, next) {
        if (m->due_ms <= now_ms && (m->is_new || (m->join == NULL && m->sync == NULL))) {
            if (n++ == 0)
                snprintf(why, why_size, "%s of member %.*s", m->is_new ? "the join timed out" : "the session ended",
                         STR_ARG(m->id));
            group_event(g, GROUP_EVENT_EXPELLED, m, m->is_new ? STR_LIT("waited too long for others to join") :
                                                               STR_LIT("no heartbeat within its session timeout"));
            member_remove(g, m);
        } else if (m->due_ms <= now_ms) {
            m->due_ms = NEVER;          /* it waits for us; when it is answered, its session begins anew */
        } else if (m->due_ms < *earliest) {
            *earliest = m->due_ms;
        }
    }
    return n;
}

/* Looking at all of them costs more the more there are, so a big group looks less often: at most 100 ms late with
 * 10,000 members. Heartbeats only move due times on, so the earliest is looked for here alone. */
static void expire(struct group *g, int64_t now_ms)
{
    struct group_rebalance *r = g->rebalance;
    int64_t earliest = NEVER, soon = now_ms + (int64_t)(g->members_n + HASH_COUNT(r->pending)) / 100;
    char why[300];
    size_t members, ids;

    members = expire_members(g, now_ms, &earliest, why, sizeof why);
    ids = expire_pending(g, now_ms, &earliest);
    r->earliest_ms = earliest < soon ? soon : earliest;
    if (members > 1)
        snprintf(why + strlen(why), sizeof why - strlen(why), " and of %zu more", members - 1);
    if (members > 0) {
        if (!group_may_go(g, GROUP_PREPARING_REBALANCE))        /* else the rebalance that begins says it */
            log_some(LOG_INFO, "group %.*s: %zu member%s removed: %s", STR_ARG(g->id), members, plural(members), why);
        group_rules[g->state].shrunk(g, why, now_ms);
    } else if (ids > 0) {
        rebalance_try_complete(g, now_ms);
    }
}

static void join_time_up(struct group *g, int64_t now_ms)
{
    struct group_rebalance *r = g->rebalance;
    int32_t former = r->delay_ms;

    if (!r->initial || !r->newcomer || r->remaining_ms == 0) {
        complete(g, now_ms);
        return;
    }
    r->newcomer = false;
    r->delay_ms = g->limits->initial_delay_ms < r->remaining_ms ? g->limits->initial_delay_ms : r->remaining_ms;
    r->remaining_ms = r->remaining_ms > former ? r->remaining_ms - former : 0;
    r->join_due_ms = now_ms + r->delay_ms;
}

static void sync_time_up(struct group *g, int64_t now_ms)
{
    struct group_member *m, *next;
    char why[100];
    size_t n = 0;

    HASH_ITER(hh, g->members, m, next) {
        if (!m->unsynced)
            continue;
        group_event(g, GROUP_EVENT_EXPELLED, m, STR_LIT("did not fetch its assignment within the rebalance timeout"));
        member_remove(g, m);
        n++;
    }
    g->rebalance->sync_due_ms = NEVER;
    snprintf(why, sizeof why, "%zu member%s removed that did not fetch an assignment within the rebalance timeout", n,
             plural(n));
    rebalance_maybe_prepare(g, why, now_ms);
}

void group_tick(struct group *g, int64_t now_ms)
{
    struct group_rebalance *r = g->rebalance;

    lock_assert(&g->lock);
    if (r->earliest_ms <= now_ms)
        expire(g, now_ms);
    if (r->join_due_ms <= now_ms)
        join_time_up(g, now_ms);
    if (r->sync_due_ms <= now_ms)
        sync_time_up(g, now_ms);
}
