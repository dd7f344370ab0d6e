/* tools/zk_group/rebalance.c - coming to own what falls to us.
 *
 *   1  the registration is made, unless it stands
 *   2  group and cluster are read, and our share is worked out
 *   3  what is not ours any more: reading stops, offsets are written, owner nodes go
 *   4  what is ours: the owner node is made, or is ours already; where it is somebody's, he is waited for
 *   5  offsets of what is new are read, and reading begins
 */
#include "tools/zk_group/member_priv.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- 1: the registration ---- */

static int create(struct zk_member *m, const char *path, const char *value, unsigned flags)
{
    struct store_call *call = store_call_new(NULL, NULL);
    int                rc;

    if (call != NULL)
        store_create(call, path, (struct bytes){ (const uint8_t *)value, strlen(value) }, flags);
    call = tree_run(&m->tree, call);
    rc = call == NULL ? ERR_NOMEM : call->rc;
    store_call_free(&call);
    return rc;
}

/* Whether the node is of this session. */
static int is_ours(struct zk_member *m, const char *path, bool *ours)
{
    struct store_call *call = store_call_new(NULL, NULL);
    int                rc;

    *ours = false;
    if (call != NULL)
        store_exists(call, path, 0);
    call = tree_run(&m->tree, call);
    rc = call == NULL ? ERR_NOMEM : call->rc;
    if (rc == OK)
        *ours = call->ops[0].stat.ephemeral_owner == store_session(m->o.store);
    store_call_free(&call);
    return rc == ERR_NOENT ? OK : rc;
}

static int register_at(struct zk_member *m, const char *value)
{
    struct zpath ids, group;
    int          rc = create(m, m->registration.z, value, STORE_EPHEMERAL);

    if (rc != ERR_NOENT)
        return rc;
    snprintf(group.z, sizeof group.z, "/consumers/%s", m->o.group);
    snprintf(ids.z, sizeof ids.z, "/consumers/%s/ids", m->o.group);
    for (int i = 0; i < 3; i++) {
        rc = create(m, i == 0 ? "/consumers" : i == 1 ? group.z : ids.z, "", STORE_PERSISTENT);
        if (rc != OK && rc != ERR_EXISTS)
            return rc;
    }
    return create(m, m->registration.z, value, STORE_EPHEMERAL);
}

static int register_self(struct zk_member *m)
{
    char *value;
    bool  ours;
    int   rc;

    if (m->registered)
        return OK;
    value = group_registration_write(m->o.kind, m->o.expression, wall_ms());
    if (value == NULL)
        return ERR_NOMEM;
    rc = register_at(m, value);
    free(value);
    if (rc == ERR_EXISTS) {
        TRY(is_ours(m, m->registration.z, &ours));
        rc = ours ? OK : ERR_AGAIN;
        if (!ours)
            member_say(m, "WARN %s is somebody else's", m->registration.z);
    } else if (rc != OK && rc != ERR_CLOSED && rc != ERR_NOMEM) {
        member_say(m, "WARN %s cannot be made: %s", m->registration.z, err_text(rc));
        rc = ERR_AGAIN;
    }
    m->registered = rc == OK;
    return rc;
}

/* ---- calls for many partitions ---- */

/* The answers of what was submitted, in order; NULL: there are none. */
static struct store_call *collect(struct zk_member *m)
{
    tree_wait(&m->tree, false);
    return tree_answers(&m->tree);
}

static int submit(struct zk_member *m, struct store_call *call, struct place *p)
{
    if (call != NULL)
        call->user = p;
    return tree_submit(&m->tree, call);
}

static int submit_get(struct zk_member *m, struct place *p, const char *folder, unsigned flags)
{
    struct store_call *call = store_call_new(NULL, NULL);

    if (call != NULL)
        store_get(call, member_path(m, folder, str_of(p->topic), p->partition).z, flags);
    return submit(m, call, p);
}

/* Calls that failed as no node does: the session, memory. */
static int worst(const struct store_call *list)
{
    for (const struct store_call *c = list; c != NULL; c = c->next) {
        if (c->rc == ERR_CLOSED || c->rc == ERR_NOMEM)
            return c->rc;
    }
    return OK;
}

/* ---- 3: giving up ---- */

/* Ours only: the node may be another's by now. */
static int delete_owners(struct zk_member *m)
{
    struct store_call *list = collect(m), *gone;
    int                rc = worst(list);

    for (const struct store_call *c = list; rc == OK && c != NULL; c = c->next) {
        struct store_call *call;

        if (c->rc != OK || c->ops[0].stat.ephemeral_owner != store_session(m->o.store))
            continue;
        call = store_call_new(NULL, NULL);
        if (call != NULL)
            store_delete(call, c->ops[0].path, c->ops[0].stat.version);
        rc = submit(m, call, NULL);
    }
    tree_answers_free(&list);
    gone = collect(m);
    if (rc == OK)
        rc = worst(gone);
    tree_answers_free(&gone);
    return rc;
}

static void mark_wanted(struct zk_member *m, const struct group_share *shares, size_t n)
{
    for (size_t i = 0; i < m->reader.n; i++)
        m->reader.v[i]->wanted = false;
    for (size_t i = 0; i < n; i++) {
        struct place *p = reader_find(&m->reader, shares[i].topic, shares[i].partition);

        if (p != NULL)
            p->wanted = true;
    }
}

static int give_up(struct zk_member *m, const struct group_share *shares, size_t n)
{
    bool any = false;
    int  rc = OK;

    mark_wanted(m, shares, n);
    for (size_t i = 0; i < m->reader.n; i++) {
        struct place *p = m->reader.v[i];

        if (p->owned && !p->wanted) {
            reader_stop(&m->reader, p);
            any = true;
        }
    }
    if (!any)
        return OK;
    commit_all(m, false);
    for (size_t i = 0; rc == OK && i < m->reader.n; i++) {
        struct place *p = m->reader.v[i];

        if (p->owned && !p->wanted) {
            p->owned = false;
            rc = submit_get(m, p, "owners", 0);
        }
    }
    return rc == OK ? delete_owners(m) : rc;
}

/* ---- 4: taking ---- */

static void lose(struct zk_member *m, struct place *p)
{
    reader_stop(&m->reader, p);
    p->owned = false;
    p->position = p->committed = -1;
}

/* Nodes of ours do not go by themselves; who takes them away may have given the partition to another. */
static int check_owned(struct zk_member *m)
{
    struct store_call *list;
    int                rc = OK;

    for (size_t i = 0; rc == OK && i < m->reader.n; i++) {
        if (m->reader.v[i]->owned)
            rc = submit_get(m, m->reader.v[i], "owners", 0);
    }
    list = collect(m);
    if (rc == OK)
        rc = worst(list);
    for (const struct store_call *c = list; rc == OK && c != NULL; c = c->next) {
        if (c->rc == OK && c->ops[0].stat.ephemeral_owner == store_session(m->o.store))
            continue;
        member_say(m, "WARN %s is not ours any more", c->ops[0].path);
        lose(m, c->user);
    }
    tree_answers_free(&list);
    return rc;
}

static int submit_owner(struct zk_member *m, struct place *p, const char *value)
{
    struct store_call *call = store_call_new(NULL, NULL);

    if (call != NULL)
        store_create(call, member_path(m, "owners", str_of(p->topic), p->partition).z,
                     (struct bytes){ (const uint8_t *)value, strlen(value) }, STORE_EPHEMERAL);
    return submit(m, call, p);
}

/* The nodes above; that they are there already is well. */
static int make_folders(struct zk_member *m, const struct place *p)
{
    struct zpath path;
    int          rc;

    snprintf(path.z, sizeof path.z, "/consumers/%s/owners", m->o.group);
    rc = create(m, path.z, "", STORE_PERSISTENT);
    if (rc != OK && rc != ERR_EXISTS)
        return rc;
    snprintf(path.z, sizeof path.z, "/consumers/%s/owners/%s", m->o.group, p->topic);
    rc = create(m, path.z, "", STORE_PERSISTENT);
    return rc == ERR_EXISTS ? OK : rc;
}

/* Tries for all that are not owned. What is refused stays as it is. */
static int take_free(struct zk_member *m, bool *homeless)
{
    const char        *value = arena_printf(&m->arena, "%s-0", m->o.id), *folder = "";
    struct store_call *list;
    int                rc = value == NULL ? ERR_NOMEM : OK;

    *homeless = false;
    for (size_t i = 0; rc == OK && i < m->reader.n; i++) {
        if (!m->reader.v[i]->owned)
            rc = submit_owner(m, m->reader.v[i], value);
    }
    list = collect(m);
    if (rc == OK)
        rc = worst(list);
    for (const struct store_call *c = list; rc == OK && c != NULL; c = c->next) {
        struct place *p = c->user;

        p->owned = c->rc == OK;
        if (c->rc != ERR_NOENT)
            continue;
        *homeless = true;
        if (strcmp(folder, p->topic) != 0)
            rc = make_folders(m, p);
        folder = p->topic;
    }
    tree_answers_free(&list);
    return rc;
}

/* Who has what is not ours. The watch tells when he goes. */
static int look_at_owners(struct zk_member *m, bool *all)
{
    struct store_call *list;
    int                rc = OK;

    *all = true;
    for (size_t i = 0; rc == OK && i < m->reader.n; i++) {
        if (!m->reader.v[i]->owned)
            rc = submit_get(m, m->reader.v[i], "owners", STORE_WATCH);
    }
    list = collect(m);
    if (rc == OK)
        rc = worst(list);
    for (const struct store_call *c = list; rc == OK && c != NULL; c = c->next) {
        struct place *p = c->user;

        p->owned = c->rc == OK && c->ops[0].stat.ephemeral_owner == store_session(m->o.store);
        if (p->owned)
            continue;                   /* made by a call whose answer was lost */
        *all = false;
        if (m->attempts + 1 >= m->o.retries)
            member_say(m, "WARN %s is held by %.*s%s", c->ops[0].path,
                       (int)(c->ops[0].value.len < 200 ? c->ops[0].value.len : 200),
                       c->rc == OK ? (const char *)c->ops[0].value.p : "somebody",
                       c->rc == OK && c->ops[0].stat.ephemeral_owner == 0 ? ", for good: it is not ephemeral" : "");
    }
    tree_answers_free(&list);
    return rc;
}

static int take(struct zk_member *m, bool *all)
{
    bool homeless = false;

    TRY(check_owned(m));
    TRY(take_free(m, &homeless));
    if (homeless)
        TRY(take_free(m, &homeless));
    return look_at_owners(m, all);
}

/* ---- 5: from where ---- */

/* What there was when it began. All of what comes later is newer than the command. */
static int remember_first(struct zk_member *m, const struct view *v)
{
    if (m->first != NULL)
        return OK;
    m->first_n = 0;
    m->first = arena_array(&m->first_arena, v->topics_n + 1, sizeof *m->first);
    for (size_t i = 0; m->first != NULL && i < v->topics_n; i++) {
        const struct group_topic *t = &v->topics[i];

        m->first[i].last = t->n > 0 ? t->partitions[t->n - 1] : -1;
        TRY(arena_str(&m->first_arena, t->name, &m->first[i].topic));
        m->first_n++;
    }
    return m->first != NULL ? OK : ERR_NOMEM;
}

/* Both are in the order of topics. */
static void mark_later(struct zk_member *m)
{
    size_t t = 0;

    for (size_t i = 0; i < m->reader.n; i++) {
        struct place *p = m->reader.v[i];

        while (t < m->first_n && str_cmp(m->first[t].topic, str_of(p->topic)) < 0)
            t++;
        p->later = t == m->first_n || !str_is(m->first[t].topic, p->topic) || p->partition > m->first[t].last;
    }
}

static int read_offsets(struct zk_member *m)
{
    struct store_call *list;
    int                rc = OK;

    for (size_t i = 0; rc == OK && i < m->reader.n; i++) {
        if (m->reader.v[i]->owned && m->reader.v[i]->position < 0)
            rc = submit_get(m, m->reader.v[i], "offsets", 0);
    }
    list = collect(m);
    if (rc == OK)
        rc = worst(list);
    for (const struct store_call *c = list; rc == OK && c != NULL; c = c->next) {
        struct place *p = c->user;
        struct bytes  text = c->ops[0].value;

        p->committed = -1;
        if (c->rc == ERR_NOENT)
            continue;
        if (c->rc != OK || group_offset_read(text, &p->committed) != OK)
            member_say(m, "WARN %s: no offset, it is passed over: %.*s", c->ops[0].path,
                       c->rc != OK ? 100 : (int)(text.len < 100 ? text.len : 100),
                       c->rc != OK ? err_text(c->rc) : (const char *)text.p);
        p->position = p->committed;
    }
    tree_answers_free(&list);
    return rc;
}

/* ---- all ---- */

static int share_out(struct zk_member *m, const struct view *v)
{
    struct group_share *shares;
    size_t              n;
    bool                all;

    TRY(remember_first(m, v));
    TRY(group_assign(m->o.strategy, v->members, v->members_n, v->topics, v->topics_n, str_of(m->o.id), &m->arena,
                     &shares, &n));
    TRY(give_up(m, shares, n));
    TRY(reader_set(&m->reader, shares, n));
    mark_later(m);
    TRY(take(m, &all));
    TRY(read_offsets(m));
    m->start_ms = 0;
    return all ? OK : ERR_AGAIN;
}

static bool is_member(const struct view *v, const char *id)
{
    for (size_t i = 0; i < v->members_n; i++) {
        if (str_is(v->members[i].id, id))
            return true;
    }
    return false;
}

static int meet_brokers(struct zk_member *m, const char *brokers, char *error, size_t error_len)
{
    if (m->reader.rk == NULL)
        return reader_open(&m->reader, m->o.client, brokers, error, error_len);
    reader_more_brokers(&m->reader, brokers);
    return OK;
}

int member_rebalance(struct zk_member *m, char *error, size_t error_len)
{
    struct store_call *left;
    struct view        v;
    int                rc;

    commit_finish(m, false);
    left = tree_answers(&m->tree);      /* of a try that was broken off */
    tree_answers_free(&left);
    arena_reset(&m->arena);
    TRY(register_self(m));
    rc = view_read(m, &v);
    if (rc == OK && !is_member(&v, m->o.id)) {
        m->registered = false;          /* somebody took it away, or wrote into it */
        rc = ERR_AGAIN;
    } else if (rc == OK && v.brokers[0] == '\0' && m->reader.rk == NULL) {
        member_say(m, "WARN no brokers found when trying to rebalance.");
    } else if (rc == OK) {
        if (v.brokers[0] != '\0')
            rc = meet_brokers(m, v.brokers, error, error_len);
        if (rc == OK)
            rc = share_out(m, &v);
    }
    view_fini(&v);
    return rc;
}
