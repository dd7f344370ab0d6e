/* broker/group/group_calls.c - what members ask of a group besides joining: SyncGroup, Heartbeat, LeaveGroup, and
 * whether they may commit.
 */
#define HASH_NONFATAL_OOM 1
#include "broker/group/group_states.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

static const struct bytes nothing = { (const uint8_t *)"", 0 };

/* The member of these ids, if the request is of the group's generation; else why not. */
static int16_t check(const struct group *g, struct str member_id, struct str instance_id, int32_t generation,
                     struct group_member **m)
{
    int16_t kerr;

    *m = NULL;
    if (g->state == GROUP_DEAD)
        return KERR_COORDINATOR_NOT_AVAILABLE;
    kerr = member_check(g, member_id, instance_id, m);
    if (kerr == KERR_NONE && generation != g->generation)
        kerr = KERR_ILLEGAL_GENERATION;
    return kerr;
}

/* ---- SyncGroup ----------------------------------------------------------------------------------------------- */

/* Null: not said. */
static bool names_match(struct str said, struct str ours)
{
    return said.p == NULL || (ours.p != NULL && str_eq(said, ours));
}

void sync_nobody(struct group *g, struct group_member *m, const struct sync_args *in, struct sync_waiter *w,
                 int64_t now_ms)
{
    (void)g;
    (void)m;
    (void)in;
    (void)now_ms;
    sync_fail(w, KERR_UNKNOWN_MEMBER_ID);
}

void sync_too_early(struct group *g, struct group_member *m, const struct sync_args *in, struct sync_waiter *w,
                    int64_t now_ms)
{
    (void)g;
    (void)m;
    (void)in;
    (void)now_ms;
    sync_fail(w, KERR_REBALANCE_IN_PROGRESS);
}

/* Kept beside the present ones until they are in the log. Who is not mentioned gets nothing; who is mentioned but is no
 * member is passed over. */
static int take_assignments(struct group *g, const struct sync_args *in)
{
    size_t without = 0;

    for (struct group_member *m = g->members; m != NULL; m = m->hh.next)
        member_forget_next(m);
    for (int32_t i = 0; i < in->assignments_n; i++) {
        struct group_member *m = member_find(g, in->assignments[i].member_id);

        if (m != NULL)
            TRY(member_copy_next(m, in->assignments[i].assignment));
    }
    for (struct group_member *m = g->members; m != NULL; m = m->hh.next)
        without += m->next_assignment.len == 0;
    if (without > 0)
        log_some(LOG_INFO, "group %.*s: the leader of generation %d gives %zu of %zu members nothing",
                 STR_ARG(g->id), g->generation, without, g->members_n);
    return OK;
}

/* The leader's may come twice, when it has lost a connection: the first are on their way to the log and count. */
void sync_completing(struct group *g, struct group_member *m, const struct sync_args *in, struct sync_waiter *w,
                     int64_t now_ms)
{
    struct group_rebalance *r = g->rebalance;

    (void)now_ms;
    member_await_sync(m, w);
    member_synced(g, m);
    if (g->leader != m || r->sync_taken)
        return;
    if (take_assignments(g, in) != OK) {
        member_fail_sync(m, KERR_UNKNOWN_SERVER_ERROR);
        member_alive(g, m, now_ms);
        return;
    }
    r->sync_taken = true;
    r->want = GROUP_WANTS_SYNC;
}

void sync_stable(struct group *g, struct group_member *m, const struct sync_args *in, struct sync_waiter *w,
                 int64_t now_ms)
{
    struct sync_result res = { .error = KERR_NONE, .protocol_type = g->protocol_type, .protocol = g->protocol,
                               .assignment = m->assignment.p != NULL ? m->assignment : nothing };

    (void)in;
    member_synced(g, m);
    member_alive(g, m, now_ms);
    w->done(w, &res);
}

void group_sync(struct group *g, const struct sync_args *in, struct sync_waiter *w, int64_t now_ms)
{
    struct group_member *m;
    int16_t kerr;

    lock_assert(&g->lock);
    kerr = check(g, in->member_id, in->instance_id, in->generation, &m);
    if (kerr == KERR_NONE &&
        (!names_match(in->protocol_type, g->protocol_type) || !names_match(in->protocol, g->protocol)))
        kerr = KERR_INCONSISTENT_GROUP_PROTOCOL;
    if (kerr != KERR_NONE)
        sync_fail(w, kerr);
    else
        group_rules[g->state].sync(g, m, in, w, now_ms);
}

/* ---- Heartbeat ----------------------------------------------------------------------------------------------- */

int16_t group_heartbeat(struct group *g, struct str member_id, struct str instance_id, int32_t generation,
                        int64_t now_ms)
{
    struct group_member *m;
    int16_t kerr;

    lock_assert(&g->lock);
    kerr = check(g, member_id, instance_id, generation, &m);
    if (kerr != KERR_NONE)
        return kerr;
    member_alive(g, m, now_ms);
    return group_rules[g->state].heartbeat;
}

/* ---- LeaveGroup ---------------------------------------------------------------------------------------------- */

/* Tools that remove members say so in the reason, when they do not do it by instance id alone. */
static bool is_admin(struct str member_id, struct str reason)
{
    static const char says[] = "member was removed by an admin";

    return member_id.len == 0 || (reason.len >= sizeof says - 1 && memcmp(reason.p, says, sizeof says - 1) == 0);
}

static void remove_member(struct group *g, struct group_member *m, bool admin, struct str reason, int64_t now_ms)
{
    char why[400], event[300];

    snprintf(why, sizeof why, "member %.*s %s%s%.*s", STR_ARG(m->id),
             admin ? "was removed by an administrator" : "left", reason.len > 0 ? ": " : "", STR_ARG(reason));
    snprintf(event, sizeof event, "by an administrator%s%.*s", reason.len > 0 ? ": " : "", STR_ARG(reason));
    group_event(g, admin ? GROUP_EVENT_EXPELLED : GROUP_EVENT_LEFT, m, admin ? str_of(event) : reason);
    member_remove(g, m);
    group_rules[g->state].shrunk(g, why, now_ms);
}

int16_t group_leave(struct group *g, struct str member_id, struct str instance_id, struct str reason, int64_t now_ms)
{
    struct group_member *m;
    int16_t kerr;

    lock_assert(&g->lock);
    if (g->state == GROUP_DEAD)
        return KERR_COORDINATOR_NOT_AVAILABLE;
    if (pending_remove(g, member_id)) {
        rebalance_try_complete(g, now_ms);
        return KERR_NONE;
    }
    if (member_id.len == 0) {
        m = member_find_static(g, instance_id);
        kerr = m != NULL ? KERR_NONE : KERR_UNKNOWN_MEMBER_ID;
    } else {
        kerr = member_check(g, member_id, instance_id, &m);
    }
    if (kerr == KERR_NONE)
        remove_member(g, m, is_admin(member_id, reason), reason, now_ms);
    return kerr;
}

/* ---- commits ------------------------------------------------------------------------------------------------- */

int16_t group_may_commit(struct group *g, struct str member_id, struct str instance_id, int32_t generation, bool txn,
                         int64_t now_ms)
{
    struct group_member *m = NULL;
    int16_t kerr;

    lock_assert(&g->lock);
    if (g->state == GROUP_DEAD)
        return KERR_COORDINATOR_NOT_AVAILABLE;
    if (generation < 0 && g->state == GROUP_EMPTY)
        return KERR_NONE;               /* who manages its partitions itself */
    if (generation < 0 && member_id.len == 0 && instance_id.p == NULL)
        return txn || g->state == GROUP_EMPTY ? KERR_NONE : KERR_UNKNOWN_MEMBER_ID;
    kerr = check(g, member_id, instance_id, generation, &m);
    if (kerr != KERR_NONE || txn)
        return kerr;
    if (group_rules[g->state].commit == KERR_NONE)
        member_alive(g, m, now_ms);
    return group_rules[g->state].commit;
}
