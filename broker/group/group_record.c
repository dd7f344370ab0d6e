/* broker/group/group_record.c - a group's record in __consumer_offsets: what it is to say, what follows when it is
 * written or not, and becoming what one says.
 *
 * INVARIANT  The record of the leader's assignments says what memory will say once it is written; that of a static
 *            member's new id what memory says already, and memory goes back if it is not.
 */
#define HASH_NONFATAL_OOM 1
#include "broker/group/group_states.h"

#include "base/chain.h"
#include "base/log.h"
#include "broker/group/records.h"
#include "proto/gen/group_metadata_value.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- what it wants ------------------------------------------------------------------------------------------- */

enum group_want group_want(const struct group *g)
{
    return g->rebalance->want;
}

static struct bytes some(struct bytes b)
{
    return b.p != NULL ? b : (struct bytes){ (const uint8_t *)"", 0 };
}

static int put_members(const struct group *g, enum group_want want, struct arena *a, struct group_metadata_value *v)
{
    const struct group_member *m = g->members;

    v->members = arena_array(a, g->members_n + 1, sizeof v->members[0]);
    if (v->members == NULL)
        return ERR_NOMEM;
    for (; m != NULL; m = m->hh.next) {
        struct group_metadata_value_member_metadata *to = &v->members[v->members_n++];
        struct bytes metadata = { NULL, 0 };

        protocols_metadata(m->protocols, g->protocol, &metadata);
        group_metadata_value_member_metadata_init(to);
        to->member_id = m->id;
        to->group_instance_id = m->instance_id;
        to->client_id = m->client_id;
        to->client_host = m->client_host;
        to->rebalance_timeout = m->rebalance_timeout_ms;
        to->session_timeout = m->session_timeout_ms;
        to->subscription = some(metadata);
        to->assignment = some(want == GROUP_WANTS_SYNC ? m->next_assignment : m->assignment);
    }
    return OK;
}

static int encode(const struct group_metadata_value *v, int16_t version, struct arena *a, struct bytes *value)
{
    size_t n = 2 + group_metadata_value_size(v, version);
    uint8_t *to = arena_alloc(a, n);
    struct chain ch;
    int rc;

    if (to == NULL)
        return ERR_NOMEM;
    chain_init(&ch, a);
    chain_i16(&ch, version);
    rc = group_metadata_value_write(&ch, v, version);
    if (rc == OK)
        rc = ch.rc;
    if (rc == OK && ch.len != n)
        rc = ERR_INVALID;
    if (rc == OK)
        rc = chain_flatten(&ch, to, n);
    chain_fini(&ch);
    *value = (struct bytes){ to, n };
    return rc;
}

int group_take_record(struct group *g, int16_t version, struct arena *a, struct bytes *value, int32_t *generation)
{
    enum group_want want = g->rebalance->want;
    struct group_metadata_value v;

    lock_assert(&g->lock);
    g->rebalance->want = GROUP_WANTS_NOTHING;
    *generation = g->generation;
    group_metadata_value_init(&v);
    v.protocol_type = g->protocol_type.p != NULL ? g->protocol_type : STR_LIT("");
    v.generation = g->generation;
    v.protocol = g->protocol;
    v.leader = g->leader != NULL ? g->leader->id : (struct str){ NULL, 0 };
    v.current_state_timestamp = g->state_since_ms;
    TRY(put_members(g, want, a, &v));
    return encode(&v, version, a, value);
}

/* ---- a static member's new id -------------------------------------------------------------------------------- */

void static_write_free(struct static_write **wp)
{
    struct static_write *w = *wp;

    if (w == NULL)
        return;
    if (w->m != NULL)
        w->m->writing = NULL;
    text_free(&w->old_id);
    free(w);
    *wp = NULL;
}

void static_write_want(struct group *g, struct group_member *m, struct static_write **w)
{
    struct static_write **end = &g->rebalance->writes;

    while (*end != NULL)
        end = &(*end)->next;
    *end = *w;
    *w = NULL;
    (*end)->m = m;
    m->writing = *end;
    g->rebalance->want = GROUP_WANTS_STATIC;
}

/* Clients below v9 would make assignments if they were told that they lead, and nobody would take them: they are given
 * the former leader's id. */
static void answer_static(struct group *g, struct group_member *m, const struct static_write *w)
{
    struct join_result res;

    join_result_of(g, m, &res);
    if (w->can_skip)
        res.skip_assignment = g->leader == m;
    else
        res.members = NULL;
    if (!w->can_skip && w->was_leader)
        res.leader = w->old_id;
    member_answer_join(g, m, &res);
}

/* It could not be written: the former id is the member's again. */
static int revert_static(struct group *g, struct group_member *m, struct static_write *w, int16_t kerr)
{
    struct join_result res = { .error = kerr, .generation = g->generation, .protocol_type = g->protocol_type,
                               .protocol = g->protocol, .leader = w->was_leader ? w->old_id : g->leader->id,
                               .member_id = STR_LIT("") };
    struct str id = { NULL, 0 };

    if (text_set(&id, w->old_id) != OK) {
        answer_static(g, m, w);         /* out of memory: it keeps the new one, which the next write will say */
        return OK;
    }
    log_some(LOG_WARN, "group %.*s: the new id of static member %.*s could not be written (%s); its former one stays",
             STR_ARG(g->id), STR_ARG(m->instance_id), kerr_name(kerr));
    m->rebalance_timeout_ms = w->old_rebalance_ms;
    m->session_timeout_ms = w->old_session_ms;
    member_answer_join(g, m, &res);
    TRY(member_rename(g, m, id));
    group_event(g, GROUP_EVENT_JOINED, m, STR_LIT("its new id could not be written; the former one stays"));
    return OK;
}

static void written_static(struct group *g, int32_t generation, int16_t kerr, int64_t now_ms)
{
    struct static_write **at = &g->rebalance->writes, *w;
    struct group_member *m;

    while (*at != NULL && (*at)->generation != generation)
        at = &(*at)->next;
    w = *at;
    if (w == NULL)
        return;
    *at = w->next;
    m = w->m;
    if (m != NULL && g->state == GROUP_STABLE) {
        if (kerr == KERR_NONE)
            answer_static(g, m, w);
        else if (revert_static(g, m, w, kerr) != OK)
            m = NULL;
        if (m != NULL)
            member_alive(g, m, now_ms);
    }
    /* Else it has been answered, or waits for the generation that has begun to come, which will be written whole. */
    static_write_free(&w);
}

/* ---- what follows -------------------------------------------------------------------------------------------- */

static void settle(struct group *g, int64_t now_ms)
{
    struct group_rebalance *r = g->rebalance;

    group_go(g, GROUP_STABLE);
    r->sync_taken = false;
    for (struct group_member *m = g->members; m != NULL; m = m->hh.next) {
        struct sync_result res = { .error = KERR_NONE, .protocol_type = g->protocol_type, .protocol = g->protocol };

        member_assign(m, m->next_assignment);
        res.assignment = some(m->assignment);
        if (member_answer_sync(m, &res))
            member_alive(g, m, now_ms);
    }
    rebalance_ended(g, now_ms);
}

static void written_sync(struct group *g, int32_t generation, int16_t kerr, int64_t now_ms)
{
    char why[200];

    if (g->state != GROUP_COMPLETING_REBALANCE || generation != g->generation)
        return;                         /* whoever waited has been told */
    if (kerr == KERR_NONE) {
        settle(g, now_ms);
        return;
    }
    snprintf(why, sizeof why, "assignments of generation %d could not be written: %s", generation, kerr_name(kerr));
    rebalance_refuse_syncs(g, record_error(RECORD_GROUP, kerr), now_ms);
    rebalance_prepare(g, why, now_ms);
}

/* Should the broker fail before another rebalance, the former generation comes back, and its members expire. */
static void written_empty(struct group *g, int32_t generation, int16_t kerr, int64_t now_ms)
{
    (void)now_ms;
    if (kerr != KERR_NONE)
        log_some(LOG_WARN, "group %.*s: that generation %d has no members could not be written: %s",
                 STR_ARG(g->id), generation, kerr_name(kerr));
}

void group_written(struct group *g, enum group_want what, int32_t generation, int16_t kerr, int64_t now_ms)
{
    static void (*const written[])(struct group *, int32_t, int16_t, int64_t) = {
        [GROUP_WANTS_SYNC] = written_sync,
        [GROUP_WANTS_EMPTY] = written_empty,
        [GROUP_WANTS_STATIC] = written_static,
    };

    lock_assert(&g->lock);
    if (what != GROUP_WANTS_NOTHING)
        written[what](g, generation, what == GROUP_WANTS_STATIC ? record_error(RECORD_GROUP, kerr) : kerr, now_ms);
}

/* ---- from the log -------------------------------------------------------------------------------------------- */

static int restore_member(struct group *g, const struct group_metadata_value *v,
                          const struct group_metadata_value_member_metadata *from, int64_t now_ms)
{
    struct group_protocol protocol = { v->protocol, from->subscription };
    struct join_args in = { .instance_id = from->group_instance_id, .client_id = from->client_id,
                            .client_host = from->client_host, .session_timeout_ms = from->session_timeout,
                            /* version 0 has none */
                            .rebalance_timeout_ms = from->rebalance_timeout >= 0 ? from->rebalance_timeout :
                                                                                   from->session_timeout };
    struct protocols *p = NULL;
    struct group_member *m = NULL;
    int rc = OK;

    if (v->protocol.p == NULL || from->member_id.len == 0 || member_find(g, from->member_id) != NULL ||
        member_find_static(g, from->group_instance_id) != NULL)
        return ERR_CORRUPT;
    rc = protocols_new(g, &protocol, 1, &p);
    if (rc == OK)
        rc = member_new(&m, from->member_id, &in, &p);
    if (rc == OK)
        rc = member_copy_next(m, from->assignment);
    if (rc == OK)
        rc = member_add(g, m);
    if (rc != OK) {
        member_free(g, &m);
        protocols_free(g, &p);
        return rc;
    }
    member_assign(m, m->next_assignment);
    if (v->leader.p != NULL && str_eq(m->id, v->leader))
        g->leader = m;
    member_alive(g, m, now_ms);
    return OK;
}

int group_restore(struct group *g, const struct group_metadata_value *v, int64_t now_ms)
{
    int rc = OK;

    lock_assert(&g->lock);
    members_clear(g);
    pending_clear(g);
    rc = text_set(&g->protocol_type, v->protocol_type.len > 0 ? v->protocol_type : (struct str){ NULL, 0 });
    if (rc == OK)
        rc = text_set(&g->protocol, v->protocol);
    for (int32_t i = 0; rc == OK && i < v->members_n; i++)
        rc = restore_member(g, v, &v->members[i], now_ms);
    if (rc != OK) {
        members_clear(g);
        g->state = GROUP_EMPTY;
        return rc;
    }
    g->generation = v->generation;
    g->state = g->members_n > 0 ? GROUP_STABLE : GROUP_EMPTY;
    g->state_since_ms = v->current_state_timestamp;
    g->rebalance->known = TOPICS_STALE;
    if (g->members_n > (size_t)g->limits->max_size)
        rebalance_prepare(g, "more members than group.max.size allows", now_ms);
    return OK;
}
