/* broker/group/group_member.c - members of a group and ids that are promised: making, adding, removing, renaming, and
 * answering those who wait.
 */
#define HASH_NONFATAL_OOM 1
#include "broker/group/group_private.h"

#include <assert.h>
#include <stdlib.h>

/* ---- finding ------------------------------------------------------------------------------------------------- */

struct group_member *member_find(const struct group *g, struct str id)
{
    struct group_member *m = NULL;

    if (id.len > 0)
        HASH_FIND(hh, g->members, id.p, (unsigned)id.len, m);
    return m;
}

struct group_member *member_find_static(const struct group *g, struct str instance_id)
{
    struct group_member *m = NULL;

    if (instance_id.p != NULL)
        HASH_FIND(hh_static, g->statics, instance_id.p, (unsigned)instance_id.len, m);
    return m;
}

int16_t member_check(const struct group *g, struct str id, struct str instance_id, struct group_member **out)
{
    struct group_member *m = instance_id.p != NULL ? member_find_static(g, instance_id) : member_find(g, id);

    *out = NULL;
    if (m == NULL)
        return KERR_UNKNOWN_MEMBER_ID;
    if (!str_eq(m->id, id))
        return KERR_FENCED_INSTANCE_ID;
    *out = m;
    return KERR_NONE;
}

/* ---- making -------------------------------------------------------------------------------------------------- */

static char *put_text(struct str *to, struct str s, char *p)
{
    if (s.p == NULL)
        return p;
    if (s.len > 0)
        memcpy(p, s.p, s.len);
    p[s.len] = '\0';
    *to = (struct str){ p, s.len };
    return p + s.len + 1;
}

int member_new(struct group_member **out, struct str id, const struct join_args *in, struct protocols **p)
{
    size_t room = in->instance_id.len + in->client_id.len + in->client_host.len + 3;
    struct group_member *m = calloc(1, sizeof *m + room);
    char *to;

    if (m == NULL)
        return ERR_NOMEM;
    if (text_set(&m->id, id) != OK) {
        free(m);
        return ERR_NOMEM;
    }
    to = put_text(&m->instance_id, in->instance_id, (char *)(m + 1));
    to = put_text(&m->client_id, in->client_id, to);
    put_text(&m->client_host, in->client_host, to);
    m->rebalance_timeout_ms = in->rebalance_timeout_ms;
    m->session_timeout_ms = in->session_timeout_ms;
    m->protocols = *p;
    *p = NULL;
    m->due_ms = NEVER;
    *out = m;
    return OK;
}

static void bytes_free(struct bytes *b)
{
    free((void *)(uintptr_t)b->p);
    *b = (struct bytes){ NULL, 0 };
}

void member_free(struct group *g, struct group_member **mp)
{
    struct group_member *m = *mp;

    if (m == NULL)
        return;
    protocols_free(g, &m->protocols);
    bytes_free(&m->assignment);
    bytes_free(&m->next_assignment);
    text_free(&m->id);
    free(m);
    *mp = NULL;
}

/* ---- adding and removing ------------------------------------------------------------------------------------- */

int member_add(struct group *g, struct group_member *m)
{
    HASH_ADD_KEYPTR(hh, g->members, m->id.p, (unsigned)m->id.len, m);
    if (m->hh.tbl == NULL)
        return ERR_NOMEM;
    if (m->instance_id.p != NULL) {
        HASH_ADD_KEYPTR(hh_static, g->statics, m->instance_id.p, (unsigned)m->instance_id.len, m);
        if (m->hh_static.tbl == NULL) {
            HASH_DELETE(hh, g->members, m);
            return ERR_NOMEM;
        }
    }
    g->members_n++;
    protocols_count(g, m->protocols, +1);
    if (g->leader == NULL)
        g->leader = m;
    g->rebalance->known = TOPICS_STALE;
    return OK;
}

/* What remains to be done when it is out of the hash by id. */
static void forget(struct group *g, struct group_member *m)
{
    member_fail_join(g, m, STR_LIT(""), KERR_UNKNOWN_MEMBER_ID);
    member_fail_sync(m, KERR_UNKNOWN_MEMBER_ID);
    member_synced(g, m);
    if (m->instance_id.p != NULL)
        HASH_DELETE(hh_static, g->statics, m);
    g->members_n--;
    protocols_count(g, m->protocols, -1);
    if (g->leader == m)
        g->leader = g->members;
    g->rebalance->known = TOPICS_STALE;
    member_free(g, &m);
}

void member_remove(struct group *g, struct group_member *m)
{
    HASH_DELETE(hh, g->members, m);
    forget(g, m);
}

int member_rename(struct group *g, struct group_member *m, struct str id)
{
    HASH_DELETE(hh, g->members, m);
    text_free(&m->id);
    m->id = id;
    HASH_ADD_KEYPTR(hh, g->members, m->id.p, (unsigned)m->id.len, m);
    if (m->hh.tbl != NULL)
        return OK;
    forget(g, m);
    return ERR_NOMEM;
}

void members_clear(struct group *g)
{
    struct group_member *m, *next;

    HASH_ITER(hh, g->members, m, next)
        member_remove(g, m);
}

void member_set_protocols(struct group *g, struct group_member *m, struct protocols **p)
{
    protocols_count(g, m->protocols, -1);
    protocols_free(g, &m->protocols);
    m->protocols = *p;
    *p = NULL;
    protocols_count(g, m->protocols, +1);
    g->rebalance->known = TOPICS_STALE;
}

void member_forget_next(struct group_member *m)
{
    bytes_free(&m->next_assignment);
}

int member_copy_next(struct group_member *m, struct bytes assignment)
{
    uint8_t *p = malloc(assignment.len > 0 ? assignment.len : 1);

    if (p == NULL)
        return ERR_NOMEM;
    if (assignment.len > 0)
        memcpy(p, assignment.p, assignment.len);
    bytes_free(&m->next_assignment);
    m->next_assignment = (struct bytes){ p, assignment.len };
    return OK;
}

void member_assign(struct group_member *m, struct bytes assignment)
{
    bytes_free(&m->assignment);
    if (m->next_assignment.p != assignment.p)
        bytes_free(&m->next_assignment);
    m->next_assignment = (struct bytes){ NULL, 0 };
    m->assignment = assignment;
}

void member_set_due(struct group *g, struct group_member *m, int64_t at_ms)
{
    m->due_ms = at_ms;
    if (at_ms < g->rebalance->earliest_ms)
        g->rebalance->earliest_ms = at_ms;
}

void member_alive(struct group *g, struct group_member *m, int64_t now_ms)
{
    member_set_due(g, m, now_ms + (m->session_timeout_ms > 0 ? m->session_timeout_ms : 0));
}

/* ---- who waits ----------------------------------------------------------------------------------------------- */

void join_fail(struct join_waiter *w, struct str id, int16_t kerr)
{
    struct join_result res = { .error = kerr, .generation = -1, .leader = STR_LIT(""), .member_id = id };

    w->done(w, &res);
}

void sync_fail(struct sync_waiter *w, int16_t kerr)
{
    struct sync_result res = { .error = kerr, .assignment = { (const uint8_t *)"", 0 } };

    w->done(w, &res);
}

void member_await_join(struct group *g, struct group_member *m, struct join_waiter *w)
{
    member_fail_join(g, m, m->id, KERR_REBALANCE_IN_PROGRESS);
    m->join = w;
    g->rebalance->awaiting_n++;
}

void member_await_sync(struct group_member *m, struct sync_waiter *w)
{
    member_fail_sync(m, KERR_REBALANCE_IN_PROGRESS);
    m->sync = w;
}

void member_answer_join(struct group *g, struct group_member *m, const struct join_result *res)
{
    struct join_waiter *w = m->join;

    if (w == NULL)
        return;
    m->join = NULL;
    g->rebalance->awaiting_n--;
    if (m->writing != NULL) {
        m->writing->m = NULL;
        m->writing = NULL;
    }
    w->done(w, res);
}

void member_fail_join(struct group *g, struct group_member *m, struct str id, int16_t kerr)
{
    struct join_result res = { .error = kerr, .generation = -1, .leader = STR_LIT(""), .member_id = id };

    member_answer_join(g, m, &res);
}

bool member_answer_sync(struct group_member *m, const struct sync_result *res)
{
    struct sync_waiter *w = m->sync;

    if (w == NULL)
        return false;
    m->sync = NULL;
    w->done(w, res);
    return true;
}

bool member_fail_sync(struct group_member *m, int16_t kerr)
{
    struct sync_result res = { .error = kerr, .assignment = { (const uint8_t *)"", 0 } };

    return member_answer_sync(m, &res);
}

void member_synced(struct group *g, struct group_member *m)
{
    struct group_rebalance *r = g->rebalance;

    if (!m->unsynced)
        return;
    m->unsynced = false;
    if (--r->unsynced_n == 0)
        r->sync_due_ms = NEVER;
}

/* ---- ids that are promised ----------------------------------------------------------------------------------- */

static struct pending_id *pending_find(const struct group *g, struct str id)
{
    struct pending_id *p = NULL;

    if (id.len > 0)
        HASH_FIND(hh, g->rebalance->pending, id.p, (unsigned)id.len, p);
    return p;
}

static void pending_drop(struct group *g, struct pending_id *p)
{
    HASH_DELETE(hh, g->rebalance->pending, p);
    free(p);
}

/* A client that asks for ids over and over and never joins must not fill the memory: the oldest is forgotten, whose
 * owner, should there be one, will ask anew. */
int pending_add(struct group *g, struct str id, int64_t due_ms)
{
    struct group_rebalance *r = g->rebalance;
    struct pending_id *p = calloc(1, sizeof *p + id.len);

    if (p == NULL)
        return ERR_NOMEM;
    if (HASH_COUNT(r->pending) >= PENDING_IDS_MAX)
        pending_drop(g, r->pending);
    memcpy(p->id, id.p, id.len);
    p->len = (uint32_t)id.len;
    p->due_ms = due_ms;
    HASH_ADD_KEYPTR(hh, r->pending, p->id, p->len, p);
    if (p->hh.tbl == NULL) {
        free(p);
        return ERR_NOMEM;
    }
    if (due_ms < r->earliest_ms)
        r->earliest_ms = due_ms;
    return OK;
}

bool pending_has(const struct group *g, struct str id)
{
    return pending_find(g, id) != NULL;
}

bool pending_remove(struct group *g, struct str id)
{
    struct pending_id *p = pending_find(g, id);

    if (p == NULL)
        return false;
    pending_drop(g, p);
    return true;
}

void pending_clear(struct group *g)
{
    struct pending_id *p, *next;

    HASH_ITER(hh, g->rebalance->pending, p, next)
        pending_drop(g, p);
}
