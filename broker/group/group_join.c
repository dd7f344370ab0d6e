/* broker/group/group_join.c - JoinGroup.
 *
 *   no member id:   dynamic, client can be told:  a new id is promised, MEMBER_ID_REQUIRED
 *                   dynamic, old client:          a new member
 *                   static, instance unknown:     a new member
 *                   static, instance known:       takes over from the former id, which is fenced (rules: replaced)
 *   a promised id:  a new member
 *   a member's id:  joins again (rules: rejoin)
 */
#define HASH_NONFATAL_OOM 1
#include "broker/group/group_states.h"

#include "base/uuid.h"

#include <stdio.h>
#include <stdlib.h>

#define UUID_JAVA_LEN 36
#define ID_MAX 32767                    /* bytes of a string on the wire */

/* ---- room ---------------------------------------------------------------------------------------------------- */

bool room_always(const struct group *g, const struct group_member *m)
{
    (void)g;
    (void)m;
    return true;
}

/* While joining, who waits already keeps its place, and the last ones to come find none: after the limit was made
 * smaller this is how a group shrinks. */
bool room_awaiting(const struct group *g, const struct group_member *m)
{
    return (m != NULL && m->join != NULL) || g->rebalance->awaiting_n < (size_t)g->limits->max_size;
}

bool room_members(const struct group *g, const struct group_member *m)
{
    return m != NULL || g->members_n < (size_t)g->limits->max_size;
}

/* ---- ids ----------------------------------------------------------------------------------------------------- */

/* "<prefix>-8f14e45f-ceea-467f-9c3d-..." as Java writes a UUID; own memory. */
static int id_new(struct str prefix, struct str *out)
{
    struct uuid u = uuid_random();
    char *p = malloc(prefix.len + 1 + UUID_JAVA_LEN + 1), *to;

    if (p == NULL)
        return ERR_NOMEM;
    if (prefix.len > 0)
        memcpy(p, prefix.p, prefix.len);
    to = p + prefix.len;
    for (int i = 0; i < 16; i++) {
        const char *dash = i == 0 || i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "";

        to += snprintf(to, 4, "%s%02x", dash, u.b[i]);
    }
    *out = (struct str){ p, (size_t)(to - p) };
    return OK;
}

/* ---- a new member -------------------------------------------------------------------------------------------- */

static int add_member(struct group *g, struct str id, const struct join_args *in, struct join_waiter *w,
                      struct group_member **out)
{
    struct protocols *p = NULL;
    struct group_member *m = NULL;
    int rc = protocols_new(g, in->protocols, in->protocols_n, &p);

    if (rc == OK)
        rc = member_new(&m, id, in, &p);
    if (rc == OK && g->members_n == 0)
        rc = text_set(&g->protocol_type, in->protocol_type);
    if (rc == OK)
        rc = member_add(g, m);
    if (rc != OK) {
        member_free(g, &m);
        protocols_free(g, &p);
        return rc;
    }
    m->is_new = true;
    member_await_join(g, m, w);
    *out = m;
    return OK;
}

static void join_new_member(struct group *g, struct str id, const struct join_args *in, struct join_waiter *w,
                            int64_t now_ms)
{
    struct group_rebalance *r = g->rebalance;
    struct group_member *m;
    char why[400];

    if (add_member(g, id, in, w, &m) != OK) {
        join_fail(w, STR_LIT(""), KERR_UNKNOWN_SERVER_ERROR);
        return;
    }
    pending_remove(g, id);
    if (g->state == GROUP_PREPARING_REBALANCE && g->generation == 0)
        r->newcomer = true;
    /* It does not know its id yet, so it cannot send heartbeats, and a connection that waits is not read: whoever has
     * gone away meanwhile must not stay for ever. */
    member_set_due(g, m, now_ms + NEW_MEMBER_JOIN_MS);
    group_event(g, GROUP_EVENT_JOINED, m, in->reason);
    snprintf(why, sizeof why, "new member %.*s%s%.*s", STR_ARG(m->id), in->reason.len > 0 ? ": " : "",
             STR_ARG(in->reason));
    rebalance_maybe_prepare(g, why, now_ms);
}

static void join_promise(struct group *g, struct str id, const struct join_args *in, struct join_waiter *w,
                         int64_t now_ms)
{
    if (pending_add(g, id, now_ms + in->session_timeout_ms) != OK)
        join_fail(w, STR_LIT(""), KERR_UNKNOWN_SERVER_ERROR);
    else
        join_fail(w, id, KERR_MEMBER_ID_REQUIRED);
}

/* ---- a static member under a new id -------------------------------------------------------------------------- */

static void tell_replaced(struct group *g, struct group_member *m, struct str old_id, struct str reason)
{
    struct group_event e = { .kind = GROUP_EVENT_EXPELLED, .generation = g->generation, .at_ms = group_wall_ms(g),
                             .duration_ms = -1, .members_n = (int32_t)g->members_n, .member_id = old_id,
                             .instance_id = m->instance_id, .client_id = m->client_id, .client_host = m->client_host,
                             .reason = STR_LIT("replaced: its instance id has joined anew") };

    group_event_full(g, &e);
    group_event(g, GROUP_EVENT_JOINED, m, reason);
}

static void join_replace(struct group *g, struct group_member *m, const struct join_args *in, struct join_waiter *w,
                         int64_t now_ms)
{
    struct static_write *write = calloc(1, sizeof *write);
    struct protocols *p = NULL;
    struct str id = { NULL, 0 };

    if (write == NULL || text_set(&write->old_id, m->id) != OK || id_new(in->instance_id, &id) != OK ||
        protocols_new(g, in->protocols, in->protocols_n, &p) != OK) {
        text_free(&id);
        static_write_free(&write);
        join_fail(w, STR_LIT(""), KERR_UNKNOWN_SERVER_ERROR);
        return;
    }
    write->old_rebalance_ms = m->rebalance_timeout_ms;
    write->old_session_ms = m->session_timeout_ms;
    write->generation = g->generation;
    write->was_leader = g->leader == m;
    write->can_skip = in->can_skip_assignment;
    member_fail_join(g, m, write->old_id, KERR_FENCED_INSTANCE_ID);
    member_fail_sync(m, KERR_FENCED_INSTANCE_ID);
    member_set_protocols(g, m, &p);
    m->rebalance_timeout_ms = in->rebalance_timeout_ms;
    m->session_timeout_ms = in->session_timeout_ms;
    if (member_rename(g, m, id) != OK) {
        join_fail(w, STR_LIT(""), KERR_UNKNOWN_SERVER_ERROR);
    } else {
        member_alive(g, m, now_ms);
        tell_replaced(g, m, write->old_id, in->reason);
        member_await_join(g, m, w);
        group_rules[g->state].replaced(g, m, &write, now_ms);
    }
    static_write_free(&write);
}

void replaced_preparing(struct group *g, struct group_member *m, struct static_write **write, int64_t now_ms)
{
    (void)g;
    (void)m;
    (void)write;
    (void)now_ms;                       /* it waits with the others */
}

/* The leader may have been given the former id already, and would give the new one nothing. */
void replaced_completing(struct group *g, struct group_member *m, struct static_write **write, int64_t now_ms)
{
    char why[300];

    (void)write;
    snprintf(why, sizeof why, "static member %.*s has come back while assignments were made", STR_ARG(m->instance_id));
    rebalance_prepare(g, why, now_ms);
}

/* Where the chosen protocol stays, so do all assignments: only the new id has to be remembered. */
void replaced_stable(struct group *g, struct group_member *m, struct static_write **write, int64_t now_ms)
{
    char why[300];

    if (!str_eq(protocols_choose(g), g->protocol)) {
        snprintf(why, sizeof why, "static member %.*s has come back and another protocol is chosen now",
                 STR_ARG(m->instance_id));
        rebalance_prepare(g, why, now_ms);
        return;
    }
    member_synced(g, m);                /* the former id; what the new one was told is the settled generation */
    static_write_want(g, m, write);
}

/* ---- a member joins again ------------------------------------------------------------------------------------ */

void rejoin_nobody(struct group *g, struct group_member *m, const struct join_args *in, struct join_waiter *w,
                   int64_t now_ms)
{
    (void)g;
    (void)m;
    (void)now_ms;
    join_fail(w, in->member_id, KERR_UNKNOWN_MEMBER_ID);
}

static void rejoin(struct group *g, struct group_member *m, const struct join_args *in, struct join_waiter *w,
                   const char *what, int64_t now_ms)
{
    struct protocols *p = NULL;
    char why[400];

    if (protocols_new(g, in->protocols, in->protocols_n, &p) != OK) {
        join_fail(w, in->member_id, KERR_UNKNOWN_SERVER_ERROR);
        return;
    }
    member_set_protocols(g, m, &p);
    m->rebalance_timeout_ms = in->rebalance_timeout_ms;
    m->session_timeout_ms = in->session_timeout_ms;
    member_await_join(g, m, w);
    snprintf(why, sizeof why, "%s %.*s%s%.*s", what, STR_ARG(m->id), in->reason.len > 0 ? ": " : "",
             STR_ARG(in->reason));
    rebalance_maybe_prepare(g, why, now_ms);
}

static void answer_again(struct group *g, struct group_member *m, struct join_waiter *w)
{
    struct join_result res;

    join_result_of(g, m, &res);
    w->done(w, &res);
}

void rejoin_preparing(struct group *g, struct group_member *m, const struct join_args *in, struct join_waiter *w,
                      int64_t now_ms)
{
    rejoin(g, m, in, w, "", now_ms);
}

/* The same as before: most likely it has not got our answer. */
void rejoin_completing(struct group *g, struct group_member *m, const struct join_args *in, struct join_waiter *w,
                       int64_t now_ms)
{
    if (protocols_equal(m->protocols, in->protocols, in->protocols_n))
        answer_again(g, m, w);
    else
        rejoin(g, m, in, w, "other metadata of member", now_ms);
}

/* The leader joins anew to have assignments made: it has seen something that its metadata does not say. */
void rejoin_stable(struct group *g, struct group_member *m, const struct join_args *in, struct join_waiter *w,
                   int64_t now_ms)
{
    if (g->leader == m)
        rejoin(g, m, in, w, "the leader asks for it:", now_ms);
    else if (!protocols_equal(m->protocols, in->protocols, in->protocols_n))
        rejoin(g, m, in, w, "other metadata of member", now_ms);
    else
        answer_again(g, m, w);
}

/* ---- all of it ----------------------------------------------------------------------------------------------- */

static void join_without_id(struct group *g, const struct join_args *in, struct join_waiter *w, int64_t now_ms)
{
    bool is_static = in->instance_id.p != NULL;
    struct group_member *m = member_find_static(g, in->instance_id);
    struct str id;

    if (m != NULL) {
        join_replace(g, m, in, w, now_ms);
        return;
    }
    if (id_new(is_static ? in->instance_id : in->client_id, &id) != OK) {
        join_fail(w, STR_LIT(""), KERR_UNKNOWN_SERVER_ERROR);
        return;
    }
    if (is_static || !in->needs_member_id)
        join_new_member(g, id, in, w, now_ms);
    else
        join_promise(g, id, in, w, now_ms);
    text_free(&id);
}

static void join_with_id(struct group *g, const struct join_args *in, struct join_waiter *w, int64_t now_ms)
{
    struct group_member *m;
    int16_t kerr;

    if (pending_has(g, in->member_id)) {
        if (in->instance_id.p != NULL)  /* as Apache Kafka: a static member is never promised one */
            join_fail(w, STR_LIT(""), KERR_UNKNOWN_SERVER_ERROR);
        else
            join_new_member(g, in->member_id, in, w, now_ms);
        return;
    }
    kerr = member_check(g, in->member_id, in->instance_id, &m);
    if (kerr != KERR_NONE)
        join_fail(w, in->member_id, kerr);
    else
        group_rules[g->state].rejoin(g, m, in, w, now_ms);
}

static void join_checked(struct group *g, const struct join_args *in, struct join_waiter *w, int64_t now_ms)
{
    struct group_member *m = member_find(g, in->member_id);
    const size_t prefix = in->instance_id.p != NULL ? in->instance_id.len : in->client_id.len;

    if (!group_rules[g->state].has_room(g, m)) {
        if (m != NULL) {
            group_event(g, GROUP_EVENT_EXPELLED, m, STR_LIT("the group is full (group.max.size)"));
            member_remove(g, m);
        }
        pending_remove(g, in->member_id);
        join_fail(w, STR_LIT(""), KERR_GROUP_MAX_SIZE_REACHED);
    } else if (g->state == GROUP_DEAD) {
        join_fail(w, in->member_id, KERR_COORDINATOR_NOT_AVAILABLE);
    } else if (!protocols_supported(g, in->protocol_type, in->protocols, in->protocols_n)) {
        join_fail(w, in->member_id, KERR_INCONSISTENT_GROUP_PROTOCOL);
    } else if (in->member_id.len > 0) {
        join_with_id(g, in, w, now_ms);
    } else if (prefix + 1 + UUID_JAVA_LEN > ID_MAX) {
        join_fail(w, STR_LIT(""), KERR_UNKNOWN_SERVER_ERROR);       /* such an id could neither be sent nor written */
    } else {
        join_without_id(g, in, w, now_ms);
    }
}

void group_join(struct group *g, const struct join_args *in, struct join_waiter *w, int64_t now_ms)
{
    lock_assert(&g->lock);
    if (in->session_timeout_ms < g->limits->min_session_timeout_ms ||
        in->session_timeout_ms > g->limits->max_session_timeout_ms)
        join_fail(w, in->member_id, KERR_INVALID_SESSION_TIMEOUT);
    else
        join_checked(g, in, w, now_ms);
    rebalance_try_complete(g, now_ms);
}
