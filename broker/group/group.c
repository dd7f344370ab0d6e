/* broker/group/group.c - states of a group and what depends on them, in one table; begin and end of a group; looking.
 *
 * The table says for each state which states lead there, what a member in good standing is told, and which function
 * deals with the rest. The drawing is in group.h.
 */
#define HASH_NONFATAL_OOM 1
#include "broker/group/group_private.h"

#include "base/clock.h"
#include "broker/group/group_states.h"
#include "broker/group/offsets.h"

#include <assert.h>
#include <stdlib.h>

const struct group_rules group_rules[GROUP_STATES_N] = {
    [GROUP_EMPTY] = {
        .name = "Empty", .from = STATE_BIT(GROUP_PREPARING_REBALANCE),
        .heartbeat = KERR_UNKNOWN_MEMBER_ID, .commit = KERR_NONE,
        .has_room = room_always, .rejoin = rejoin_nobody, .replaced = NULL, .sync = sync_nobody,
        .shrunk = shrunk_nothing,
    },
    [GROUP_PREPARING_REBALANCE] = {
        .name = "PreparingRebalance",
        .from = STATE_BIT(GROUP_EMPTY) | STATE_BIT(GROUP_COMPLETING_REBALANCE) | STATE_BIT(GROUP_STABLE),
        .heartbeat = KERR_REBALANCE_IN_PROGRESS, .commit = KERR_NONE,
        .has_room = room_awaiting, .rejoin = rejoin_preparing, .replaced = replaced_preparing, .sync = sync_too_early,
        .shrunk = shrunk_preparing,
    },
    [GROUP_COMPLETING_REBALANCE] = {
        .name = "CompletingRebalance", .from = STATE_BIT(GROUP_PREPARING_REBALANCE),
        .heartbeat = KERR_NONE, .commit = KERR_REBALANCE_IN_PROGRESS,
        .has_room = room_members, .rejoin = rejoin_completing, .replaced = replaced_completing,
        .sync = sync_completing, .shrunk = shrunk_settled,
    },
    [GROUP_STABLE] = {
        .name = "Stable", .from = STATE_BIT(GROUP_COMPLETING_REBALANCE),
        .heartbeat = KERR_NONE, .commit = KERR_NONE,
        .has_room = room_members, .rejoin = rejoin_stable, .replaced = replaced_stable, .sync = sync_stable,
        .shrunk = shrunk_settled,
    },
    [GROUP_DEAD] = {
        .name = "Dead", .from = STATE_BIT(GROUP_EMPTY) | STATE_BIT(GROUP_PREPARING_REBALANCE) |
                                STATE_BIT(GROUP_COMPLETING_REBALANCE) | STATE_BIT(GROUP_STABLE),
        .heartbeat = KERR_COORDINATOR_NOT_AVAILABLE, .commit = KERR_COORDINATOR_NOT_AVAILABLE,
        .has_room = room_always, .rejoin = rejoin_nobody, .replaced = NULL, .sync = sync_nobody,
        .shrunk = shrunk_nothing,
    },
};

const char *group_state_name(enum group_state s)
{
    return group_rules[s].name;
}

bool group_may_go(const struct group *g, enum group_state to)
{
    return (group_rules[to].from & STATE_BIT(g->state)) != 0;
}

void group_go(struct group *g, enum group_state to)
{
    assert(group_may_go(g, to));
    g->state = to;
    g->state_since_ms = group_wall_ms(g);
}

int64_t group_wall_ms(const struct group *g)
{
    return g->limits->wall_ms != NULL ? g->limits->wall_ms() : wall_ms();
}

/* ---- texts --------------------------------------------------------------------------------------------------- */

int text_set(struct str *s, struct str to)
{
    char *p = NULL;

    if (to.p != NULL) {
        p = malloc(to.len + 1);
        if (p == NULL)
            return ERR_NOMEM;
        if (to.len > 0)
            memcpy(p, to.p, to.len);
        p[to.len] = '\0';
    }
    text_free(s);
    *s = (struct str){ p, to.len };
    return OK;
}

void text_free(struct str *s)
{
    free((void *)(uintptr_t)s->p);
    *s = (struct str){ NULL, 0 };
}

/* ---- begin and end ------------------------------------------------------------------------------------------- */

int group_init(struct group *g, struct str id, const struct group_limits *limits)
{
    memset(g, 0, sizeof *g);
    g->limits = limits;
    g->rebalance = calloc(1, sizeof *g->rebalance);
    g->history = history_new();
    lock_init(&g->lock, LOCK_group);
    if (g->rebalance == NULL || g->history == NULL || group_offsets_new(&g->offsets) != OK ||
        text_set(&g->id, id) != OK) {
        group_fini(g);
        return ERR_NOMEM;
    }
    g->armed_ms = NEVER;
    g->state = GROUP_EMPTY;
    g->state_since_ms = group_wall_ms(g);
    g->rebalance->earliest_ms = NEVER;
    g->rebalance->join_due_ms = NEVER;
    g->rebalance->sync_due_ms = NEVER;
    return OK;
}

void group_fini(struct group *g)
{
    struct group_rebalance *r = g->rebalance;

    if (r != NULL) {
        members_clear(g);
        pending_clear(g);
        topics_forget(r);
        while (r->writes != NULL) {
            struct static_write *w = r->writes;

            r->writes = w->next;
            static_write_free(&w);
        }
    }
    free(r);
    g->rebalance = NULL;
    history_free(&g->history);
    group_offsets_free(&g->offsets);
    text_free(&g->protocol_type);
    text_free(&g->protocol);
    text_free(&g->id);
    lock_fini(&g->lock);
}

void group_end(struct group *g, int16_t kerr)
{
    struct group_rebalance *r = g->rebalance;

    lock_assert(&g->lock);
    if (g->state == GROUP_DEAD)
        return;
    group_go(g, GROUP_DEAD);
    for (struct group_member *m = g->members; m != NULL; m = m->hh.next) {
        member_fail_join(g, m, m->id, kerr);
        member_fail_sync(m, kerr);
        m->due_ms = NEVER;
    }
    pending_clear(g);
    r->want = GROUP_WANTS_NOTHING;
    r->earliest_ms = r->join_due_ms = r->sync_due_ms = NEVER;
}

/* ---- history ------------------------------------------------------------------------------------------------- */

void group_event_full(struct group *g, const struct group_event *e)
{
    history_add(g->history, e, HISTORY_MIN + 2 * g->members_n);
}

void group_event(struct group *g, enum group_event_kind kind, const struct group_member *m, struct str reason)
{
    struct group_event e = { .kind = kind, .generation = g->generation, .at_ms = group_wall_ms(g), .duration_ms = -1,
                             .members_n = (int32_t)g->members_n, .reason = reason };

    if (m != NULL) {
        e.member_id = m->id;
        e.instance_id = m->instance_id;
        e.client_id = m->client_id;
        e.client_host = m->client_host;
    }
    group_event_full(g, &e);
}

/* ---- looking ------------------------------------------------------------------------------------------------- */

bool group_next_member(const struct group *g, const struct group_member **pos, struct group_member_view *out)
{
    static const struct bytes none = { (const uint8_t *)"", 0 };
    const struct group_member *m = *pos == NULL ? g->members : (*pos)->hh.next;

    if (m == NULL)
        return false;
    *pos = m;
    *out = (struct group_member_view){ .member_id = m->id, .instance_id = m->instance_id, .client_id = m->client_id,
                                       .client_host = m->client_host, .metadata = none,
                                       .assignment = m->assignment.p != NULL ? m->assignment : none };
    if (g->protocol.p != NULL)
        protocols_metadata(m->protocols, g->protocol, &out->metadata);
    return true;
}
