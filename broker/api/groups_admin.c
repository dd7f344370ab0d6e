/* broker/api/groups_admin.c - DescribeGroups, ListGroups, DeleteGroups: groups as administrators see them.
 *
 * Groups are looked at one after the other, each under its lock; what is shown is copied to the request's arena.
 */
#include "broker/api/authorized.h"
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "broker/group/groups.h"
#include "broker/group/history.h"
#include "proto/gen/delete_groups_request.h"
#include "proto/gen/delete_groups_response.h"
#include "proto/gen/describe_groups_request.h"
#include "proto/gen/describe_groups_response.h"
#include "proto/gen/list_groups_request.h"
#include "proto/gen/list_groups_response.h"
#include "proto/kerr.h"

#include <stdlib.h>
#include <strings.h>

#define described_group  describe_groups_response_described_group
#define described_member describe_groups_response_described_group_member
#define described_event  describe_groups_response_klamm_group_event
#define listed_group     list_groups_response_listed_group
#define deleted_group    delete_groups_response_deletable_group_result

/* What is null stays as it was initialised. */
static int copy_text(struct arena *a, struct str s, struct str *out)
{
    return s.p != NULL ? arena_str(a, s, out) : OK;
}

/* ---- DescribeGroups ---- */

static int copy_bytes(struct arena *a, struct bytes b, struct bytes *out)
{
    uint8_t *p = arena_alloc(a, b.len + 1);

    if (p == NULL)
        return ERR_NOMEM;
    if (b.len > 0)
        memcpy(p, b.p, b.len);
    *out = (struct bytes){ p, b.len };
    return OK;
}

/* What a member brought and got is shown of stable groups only: before, it belongs to the generation that ended. */
static int describe_member(struct arena *a, const struct group_member_view *m, bool stable,
                           struct described_member *out)
{
    const struct bytes none = { (uint8_t *)(uintptr_t)"", 0 };

    describe_groups_response_described_group_member_init(out);
    TRY(arena_str(a, m->member_id, &out->member_id));
    TRY(arena_str(a, m->instance_id, &out->group_instance_id));
    TRY(arena_str(a, m->client_id, &out->client_id));
    TRY(arena_str(a, m->client_host, &out->client_host));
    TRY(copy_bytes(a, stable ? m->metadata : none, &out->member_metadata));
    return copy_bytes(a, stable ? m->assignment : none, &out->member_assignment);
}

static int describe_event(struct arena *a, const struct group_event *e, struct described_event *out)
{
    describe_groups_response_klamm_group_event_init(out);
    out->timestamp_ms = e->at_ms;
    out->kind = str_of(group_event_name(e->kind));
    out->generation = e->generation;
    out->duration_ms = e->duration_ms;
    out->members_count = e->members_n;
    TRY(copy_text(a, e->member_id, &out->member_id));
    TRY(copy_text(a, e->instance_id, &out->group_instance_id));
    TRY(copy_text(a, e->client_id, &out->client_id));
    TRY(copy_text(a, e->client_host, &out->client_host));
    return copy_text(a, e->reason, &out->reason);
}

static int describe_history(struct arena *a, const struct group_history *h, struct described_group *out)
{
    size_t n = history_n(h);
    const void *pos = NULL;
    struct group_event e;

    out->klamm_history = arena_array(a, n + 1, sizeof *out->klamm_history);
    if (out->klamm_history == NULL)
        return ERR_NOMEM;
    out->klamm_history_n = 0;           /* empty, where null says that none was asked for */
    while ((size_t)out->klamm_history_n < n && history_next(h, &pos, &e))
        TRY(describe_event(a, &e, &out->klamm_history[out->klamm_history_n++]));
    return OK;
}

static int describe_locked(struct arena *a, const struct group *g, bool history, struct described_group *out)
{
    const struct group_member *pos = NULL;
    struct group_member_view m;
    bool stable = g->state == GROUP_STABLE;

    out->group_state = str_of(group_state_name(g->state));
    TRY(copy_text(a, g->protocol_type, &out->protocol_type));
    if (stable)
        TRY(copy_text(a, g->protocol, &out->protocol_data));
    out->members = arena_array(a, g->members_n + 1, sizeof *out->members);
    if (out->members == NULL)
        return ERR_NOMEM;
    while ((size_t)out->members_n < g->members_n && group_next_member(g, &pos, &m))
        TRY(describe_member(a, &m, stable, &out->members[out->members_n++]));
    return history ? describe_history(a, g->history, out) : OK;
}

/* A group that is not known is Dead; not an error. */
static int describe(struct broker *b, struct arena *a, struct str id, const struct describe_groups_request *in,
                    struct described_group *out)
{
    struct group_session s;
    int rc = OK;

    describe_groups_response_described_group_init(out);
    out->group_id = id;
    out->error_code = groups_enter(b->groups, id, GROUPS_EXISTING, &s);
    if (out->error_code != KERR_NONE)
        return OK;
    if (s.g != NULL)
        rc = describe_locked(a, s.g, in->klamm_include_history, out);
    else
        out->group_state = str_of(group_state_name(GROUP_DEAD));
    groups_leave(&s);
    if (in->include_authorized_operations)
        out->authorized_operations = AUTHORIZED_GROUP;
    return rc;
}

void api_describe_groups(struct broker *b, struct request *r)
{
    struct describe_groups_request in;
    struct describe_groups_response out;
    int rc = OK;

    if (!API_READ(r, describe_groups_request, &in))
        return;
    describe_groups_response_init(&out);
    out.groups = arena_array(&r->arena, (size_t)in.groups_n + 1, sizeof *out.groups);
    if (out.groups == NULL)
        rc = ERR_NOMEM;
    for (int32_t i = 0; rc == OK && i < in.groups_n; i++)
        rc = describe(b, &r->arena, in.groups[i], &in, &out.groups[out.groups_n++]);
    if (rc == OK)
        API_REPLY(r, describe_groups_response, &out);
    else
        request_close(r, "out of memory");
}

/* ---- ListGroups ---- */

struct listing {
    const struct list_groups_request *in;
    struct arena                     *a;
    struct listed_group              *v;
    size_t                            n, cap;
    int                               rc;
};

static bool named(const struct str *v, int32_t n, const char *z)
{
    size_t len = strlen(z);

    for (int32_t i = 0; i < n; i++)
        if (v[i].len == len && strncasecmp(v[i].p, z, len) == 0)
            return true;
    return n <= 0;                      /* no filter */
}

static int listing_grow(struct listing *l)
{
    size_t cap = l->cap > 0 ? l->cap * 2 : 64;
    struct listed_group *v = arena_array(l->a, cap, sizeof *v);

    if (v == NULL)
        return ERR_NOMEM;
    if (l->n > 0)
        memcpy(v, l->v, l->n * sizeof *v);
    l->v = v;
    l->cap = cap;
    return OK;
}

static int list_group(struct listing *l, const struct group *g)
{
    const char *state = group_state_name(g->state);
    struct listed_group *to;

    if (!named(l->in->states_filter, l->in->states_filter_n, state))
        return OK;
    if (l->n == l->cap)
        TRY(listing_grow(l));
    to = &l->v[l->n++];
    list_groups_response_listed_group_init(to);
    to->group_state = str_of(state);
    to->group_type = STR_LIT("classic");
    TRY(copy_text(l->a, g->protocol_type, &to->protocol_type));
    return arena_str(l->a, g->id, &to->group_id);
}

static bool list_locked(void *arg, struct group_session *s)
{
    struct listing *l = arg;

    l->rc = list_group(l, s->g);
    return l->rc == OK;
}

void api_list_groups(struct broker *b, struct request *r)
{
    struct listing l = { .a = &r->arena };
    struct list_groups_request in;
    struct list_groups_response out;
    bool loading = false;

    if (!API_READ(r, list_groups_request, &in))
        return;
    list_groups_response_init(&out);
    l.in = &in;
    groups_each(b->groups, list_locked, &l, &loading);
    if (loading)
        out.error_code = KERR_COORDINATOR_LOAD_IN_PROGRESS;
    out.groups = l.v;
    if (named(in.types_filter, in.types_filter_n, "classic"))
        out.groups_n = (int32_t)l.n;
    if (l.rc == OK)
        API_REPLY(r, list_groups_response, &out);
    else
        request_close(r, "out of memory");
}

/* ---- DeleteGroups ---- */

static int16_t delete_group(struct broker *b, struct str id)
{
    struct group_session s;
    int16_t kerr = groups_enter(b->groups, id, GROUPS_EXISTING, &s);

    if (kerr != KERR_NONE)
        return kerr;
    if (s.g == NULL || s.g->state == GROUP_DEAD)
        kerr = KERR_GROUP_ID_NOT_FOUND;
    else if (s.g->state != GROUP_EMPTY)
        kerr = KERR_NON_EMPTY_GROUP;
    else
        groups_remove(&s);
    groups_leave(&s);
    return kerr;
}

/* By name, those of one name in the order in which they came. */
static int by_name(const void *a, const void *b)
{
    const struct str *x = *(const struct str *const *)a, *y = *(const struct str *const *)b;
    int d = str_cmp(*x, *y);

    return d != 0 ? d : (x > y) - (x < y);
}

/* Of names that are there more than once all but the first become null. */
static bool once_each(struct arena *a, struct str *names, int32_t n)
{
    struct str **v = arena_array(a, (size_t)n + 1, sizeof *v);

    if (v == NULL)
        return false;
    for (int32_t i = 0; i < n; i++)
        v[i] = &names[i];
    qsort(v, (size_t)n, sizeof *v, by_name);
    for (int32_t i = n - 1; i > 0; i--)
        if (str_eq(*v[i], *v[i - 1]))
            v[i]->p = NULL;
    return true;
}

void api_delete_groups(struct broker *b, struct request *r)
{
    struct delete_groups_request in;
    struct delete_groups_response out;

    if (!API_READ(r, delete_groups_request, &in))
        return;
    delete_groups_response_init(&out);
    out.results = arena_array(&r->arena, (size_t)in.groups_names_n + 1, sizeof *out.results);
    if (out.results == NULL || !once_each(&r->arena, in.groups_names, in.groups_names_n)) {
        request_close(r, "out of memory");
        return;
    }
    for (int32_t i = 0; i < in.groups_names_n; i++) {
        struct deleted_group *to = &out.results[out.results_n];

        if (in.groups_names[i].p == NULL)
            continue;
        delete_groups_response_deletable_group_result_init(to);
        to->group_id = in.groups_names[i];
        to->error_code = delete_group(b, in.groups_names[i]);
        out.results_n++;
    }
    API_REPLY(r, delete_groups_response, &out);
}
