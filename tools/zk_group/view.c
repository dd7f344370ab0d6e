/* tools/zk_group/view.c - reading group and cluster from the tree. What cannot be read is said, and left out. */
#include "tools/zk_group/member_priv.h"

#include "metadata/topic_name.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define BROKERS_TEXT 4096               /* more than enough to find the others by */

/* Reads of many nodes in one call. Failures of single ones are theirs. */
static struct store_call *run(struct zk_member *m, struct store_call *call, int *rc)
{
    *rc = OK;
    if (call->ops_n == 0)
        return call;
    call = tree_run(&m->tree, call);
    *rc = call == NULL ? ERR_NOMEM : call->built;
    return call;
}

/* A node that cannot be read. OK: it is gone, or that has been said; else there is no going on. */
static int refuse(struct zk_member *m, const struct store_op *op)
{
    if (op->rc == ERR_CLOSED || op->rc == ERR_NOMEM)
        return op->rc;
    if (op->rc != ERR_NOENT)
        member_say(m, "WARN %s: %s", op->path, err_text(op->rc));
    return OK;
}

/* ---- members ---- */

static int read_member(struct zk_member *m, const struct store_op *op, struct view *v)
{
    struct group_member *out = &v->members[v->members_n];
    int                  rc;

    if (op->rc != OK)
        return refuse(m, op);
    rc = group_registration_read(op->value, &m->arena, &out->registration);
    if (rc == ERR_CORRUPT) {
        member_say(m, "WARN %s is no consumer's registration, and is passed over: %.*s", op->path,
                   (int)(op->value.len < 200 ? op->value.len : 200), (const char *)op->value.p);
        return OK;
    }
    TRY(rc);
    v->members_n++;
    return arena_str(&m->arena, str_of(strrchr(op->path, '/') + 1), &out->id);
}

static int read_members(struct zk_member *m, const struct store_op *ids, struct view *v)
{
    struct store_call *call = store_call_new(NULL, NULL);
    char               path[STORE_PATH_MAX + 2];
    int                rc;

    v->members = arena_array(&m->arena, ids->children_n + 1, sizeof *v->members);
    if (call == NULL || v->members == NULL) {
        store_call_free(&call);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < ids->children_n; i++) {
        int n = snprintf(path, sizeof path, "/consumers/%s/ids/%.*s", m->o.group, STR_ARG(ids->children[i]));

        if (n <= STORE_PATH_MAX)
            store_get(call, path, 0);
        else
            member_say(m, "WARN %.100s...: too long a name, it is passed over", path);
    }
    call = run(m, call, &rc);
    for (size_t i = 0; rc == OK && i < call->ops_n; i++)
        rc = read_member(m, &call->ops[i], v);
    store_call_free(&call);
    return rc;
}

/* ---- brokers ---- */

static int add_broker(struct zk_member *m, const struct store_op *op, struct view *v)
{
    struct znode_broker b;
    int                 rc;

    if (op->rc != OK)
        return refuse(m, op);
    rc = znode_broker_read(op->value, &m->arena, &b);
    if (rc == ERR_NOMEM)
        return rc;
    if (strlen(v->brokers) > BROKERS_TEXT)
        return OK;
    for (size_t i = 0; rc == OK && i < b.endpoints_n; i++) {
        const struct znode_endpoint *e = &b.endpoints[i];
        bool                         v6 = e->host.len > 0 && memchr(e->host.p, ':', e->host.len) != NULL;

        if (e->protocol.len != strlen(m->o.protocol) || e->host.len == 0 ||
            strncasecmp(e->protocol.p, m->o.protocol, e->protocol.len) != 0)
            continue;
        v->brokers = arena_printf(&m->arena, "%s%s%s%.*s%s:%" PRId32, v->brokers, v->brokers[0] != '\0' ? "," : "",
                                  v6 ? "[" : "", STR_ARG(e->host), v6 ? "]" : "", e->port);
        return v->brokers != NULL ? OK : ERR_NOMEM;
    }
    member_say(m, "WARN %s: %s, it is passed over", op->path,
               rc != OK ? "no broker's registration" : "a broker without a listener of that protocol");
    return OK;
}

static int read_brokers(struct zk_member *m, const struct store_op *ids, struct view *v)
{
    struct store_call *call = store_call_new(NULL, NULL);
    int64_t            id;
    int                rc;

    if (call == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < ids->children_n; i++) {
        if (parse_i64(ids->children[i].p, 0, INT32_MAX, &id) == OK)
            store_get(call, zpath_broker((int32_t)id).z, 0);
    }
    v->brokers = "";
    call = run(m, call, &rc);
    for (size_t i = 0; rc == OK && i < call->ops_n; i++)
        rc = add_broker(m, &call->ops[i], v);
    store_call_free(&call);
    return rc;
}

/* ---- topics ---- */

/* By range only what we read ourselves matters; by round robin what anybody does. */
static bool matters(const struct zk_member *m, const struct view *v, struct str topic)
{
    char fault[256];

    if (topic_name_fault(topic, fault, sizeof fault) != NULL ||
        (m->o.exclude_internal && topic_is_internal(topic)))
        return false;
    for (size_t i = 0; i < v->members_n; i++) {
        if ((m->o.strategy == GROUP_ROUND_ROBIN || str_is(v->members[i].id, m->o.id)) &&
            group_streams(&v->members[i].registration, topic) > 0)
            return true;
    }
    return false;
}

static int read_topic(struct zk_member *m, const struct store_op *op, struct view *v)
{
    struct group_topic *out = &v->topics[v->topics_n];
    struct znode_topic  t;
    int32_t            *partitions;
    int                 rc;

    if (op->rc != OK)
        return refuse(m, op);
    rc = znode_topic_read(op->value, &m->arena, &t);
    if (rc == ERR_CORRUPT) {
        member_say(m, "WARN %s cannot be read, it is passed over", op->path);
        return OK;
    }
    TRY(rc);
    partitions = arena_array(&m->arena, (size_t)t.partitions_n + 1, sizeof *partitions);
    if (partitions == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < t.partitions_n; i++)
        partitions[i] = t.partitions[i].index;
    *out = (struct group_topic){ .partitions = partitions, .n = (size_t)t.partitions_n };
    v->topics_n++;
    return arena_str(&m->arena, str_of(strrchr(op->path, '/') + 1), &out->name);
}

static int read_topics(struct zk_member *m, const struct store_op *names, struct view *v)
{
    struct store_call *call = store_call_new(NULL, NULL);
    int                rc;

    v->topics = arena_array(&m->arena, names->children_n + 1, sizeof *v->topics);
    if (call == NULL || v->topics == NULL) {
        store_call_free(&call);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < names->children_n; i++) {
        if (matters(m, v, names->children[i]))
            store_get(call, zpath_topic(names->children[i]).z, STORE_WATCH);
    }
    call = run(m, call, &rc);
    for (size_t i = 0; rc == OK && i < call->ops_n; i++)
        rc = read_topic(m, &call->ops[i], v);
    store_call_free(&call);
    return rc;
}

/* ---- all ---- */

int view_read(struct zk_member *m, struct view *v)
{
    struct store_call *call = store_call_new(NULL, NULL);
    struct zpath       ids;
    int                rc;

    *v = (struct view){ .brokers = "" };
    if (call == NULL)
        return ERR_NOMEM;
    snprintf(ids.z, sizeof ids.z, "/consumers/%s/ids", m->o.group);
    store_children(call, ids.z, STORE_WATCH);
    store_children(call, ZK_BROKER_IDS, STORE_WATCH);
    store_children(call, ZK_BROKER_TOPICS, STORE_WATCH);
    call = run(m, call, &rc);
    for (size_t i = 0; rc == OK && i < call->ops_n; i++)
        rc = call->ops[i].rc == OK ? OK : refuse(m, &call->ops[i]);
    if (rc == OK)
        rc = read_members(m, &call->ops[0], v);
    if (rc == OK)
        rc = read_brokers(m, &call->ops[1], v);
    if (rc == OK)
        rc = read_topics(m, &call->ops[2], v);
    store_call_free(&call);
    return rc;
}

void view_fini(struct view *v)
{
    for (size_t i = 0; i < v->members_n; i++)
        group_registration_fini(&v->members[i].registration);
    v->members_n = 0;
}
