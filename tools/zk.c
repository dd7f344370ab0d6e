/* tools/zk.c - the tree in ZooKeeper, for administrative commands. */
#include "tools/zk.h"

#include "base/log.h"
#include "config/topic_config.h"
#include "metadata/zk_store.h"
#include "tools/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ANSWERS_LIMIT  ((size_t)2 << 30)
#define ZK_TIMEOUT_MS  30000            /* as Kafka's tools have it */
#define ZK_IN_FLIGHT   100

int zk_open(struct admin *a, const char *connect)
{
    return zk_open_timed(a, connect, ZK_TIMEOUT_MS, ZK_TIMEOUT_MS);
}

int zk_open_timed(struct admin *a, const char *connect, int32_t session_ms, int32_t connection_ms)
{
    struct zk_store_opts o = { .connect = connect, .session_timeout_ms = session_ms,
                               .connection_timeout_ms = connection_ms, .max_in_flight = ZK_IN_FLIGHT };
    int rc;

    memset(a, 0, sizeof *a);
    arena_init(&a->arena, ANSWERS_LIMIT);
    log_to_fd(STDERR_FILENO);
    atomic_store(&log_threshold, LOG_ERROR);        /* sessions come and go; what failed is said */
    rc = zk_store_open(&a->store, &o);
    if (rc != OK)
        return admin_fail(a, rc, "Timed out waiting for connection while in state: CONNECTING (%s: %s)", connect,
                          err_text(rc));
    return OK;
}

static int no_memory(struct admin *a)
{
    return admin_fail(a, ERR_NOMEM, "out of memory");
}

/* Takes the call; *one: its first operation, copied out with what it points at. */
static int run(struct admin *a, struct store_call *call, const char *path, struct store_op *one)
{
    int rc = store_run(a->store, call);

    *one = call->ops_n > 0 ? call->ops[0] : (struct store_op){ .rc = rc };
    if (rc == OK)
        rc = one->rc;
    if (rc == OK && one->value.p != NULL) {
        char *copy = arena_alloc(&a->arena, one->value.len + 1);

        if (copy == NULL) {
            rc = no_memory(a);
        } else {
            memcpy(copy, one->value.p, one->value.len);
            copy[one->value.len] = '\0';
            one->value.p = (uint8_t *)copy;
        }
    }
    store_call_free(&call);
    if (rc != OK && rc != ERR_NOENT && rc != ERR_EXISTS && rc != ERR_VERSION && rc != ERR_NOMEM)
        return admin_fail(a, rc, "%s: %s", path, err_text(rc));
    return rc;
}

int zk_get(struct admin *a, const char *path, struct bytes *value, int32_t *version)
{
    struct store_call *call = store_call_new(NULL, NULL);
    struct store_op one;

    if (call == NULL)
        return no_memory(a);
    store_get(call, path, 0);
    TRY(run(a, call, path, &one));
    *value = one.value;
    if (version != NULL)
        *version = one.stat.version;
    return OK;
}

int zk_exists(struct admin *a, const char *path, bool *there)
{
    struct store_call *call = store_call_new(NULL, NULL);
    struct store_op one;
    int rc;

    if (call == NULL)
        return no_memory(a);
    store_exists(call, path, 0);
    rc = run(a, call, path, &one);
    *there = rc == OK;
    return rc == ERR_NOENT ? OK : rc;
}

static struct bytes bytes_of(const char *text)
{
    return (struct bytes){ (uint8_t *)(uintptr_t)text, strlen(text) };
}

int zk_create(struct admin *a, const char *path, const char *value)
{
    struct store_call *call = store_call_new(NULL, NULL);
    struct store_op one;

    if (call == NULL)
        return no_memory(a);
    store_create(call, path, bytes_of(value), STORE_PERSISTENT);
    return run(a, call, path, &one);
}

int zk_set(struct admin *a, const char *path, const char *value, int32_t version)
{
    struct store_call *call = store_call_new(NULL, NULL);
    struct store_op one;

    if (call == NULL)
        return no_memory(a);
    store_set(call, path, bytes_of(value), version);
    return run(a, call, path, &one);
}

/* The nodes above it that are missing. */
static int make_parents(struct admin *a, const char *path)
{
    char above[STORE_PATH_MAX + 2];
    char *slash;
    int rc;

    snprintf(above, sizeof above, "%s", path);
    slash = strrchr(above, '/');
    if (slash == NULL || slash == above)
        return OK;
    *slash = '\0';
    rc = zk_create(a, above, "");
    if (rc == ERR_NOENT) {
        TRY(make_parents(a, above));
        rc = zk_create(a, above, "");
    }
    return rc == ERR_EXISTS ? OK : rc;
}

int zk_put(struct admin *a, const char *path, const char *value)
{
    int rc = zk_set(a, path, value, STORE_ANY_VERSION);

    if (rc == ERR_NOENT)
        rc = zk_create(a, path, value);
    if (rc == ERR_NOENT) {
        TRY(make_parents(a, path));
        rc = zk_create(a, path, value);
    }
    return rc == ERR_EXISTS ? zk_set(a, path, value, STORE_ANY_VERSION) : rc;
}

int zk_children(struct admin *a, const char *path, struct topic_names *out)
{
    struct store_call *call = store_call_new(NULL, NULL);
    int rc;

    *out = (struct topic_names){ NULL, 0 };
    if (call == NULL)
        return no_memory(a);
    store_children(call, path, 0);
    rc = store_run(a->store, call);
    if (rc == OK)
        rc = call->ops[0].rc;
    if (rc == OK) {
        out->v = arena_array(&a->arena, call->ops[0].children_n + 1, sizeof *out->v);
        for (size_t i = 0; out->v != NULL && rc == OK && i < call->ops[0].children_n; i++)
            rc = arena_str(&a->arena, call->ops[0].children[i], &out->v[i]);
        out->n = call->ops[0].children_n;
        if (out->v == NULL)
            rc = ERR_NOMEM;
    }
    store_call_free(&call);
    if (rc == ERR_NOMEM)
        return no_memory(a);
    return rc == OK || rc == ERR_NOENT ? OK : admin_fail(a, rc, "%s: %s", path, err_text(rc));
}

static int delete_node(struct admin *a, const char *path)
{
    struct store_call *call = store_call_new(NULL, NULL);
    struct store_op one;
    int rc;

    if (call == NULL)
        return no_memory(a);
    store_delete(call, path, STORE_ANY_VERSION);
    rc = run(a, call, path, &one);
    return rc == ERR_NOENT ? OK : rc;
}

int zk_delete_tree(struct admin *a, const char *path)
{
    struct topic_names names;

    TRY(zk_children(a, path, &names));
    for (size_t i = 0; i < names.n; i++) {
        char child[STORE_PATH_MAX + 2];

        if (snprintf(child, sizeof child, "%s/%.*s", path, STR_ARG(names.v[i])) > STORE_PATH_MAX)
            return admin_fail(a, ERR_TOO_LARGE, "%s: a node below has too long a name to be deleted", path);
        TRY(zk_delete_tree(a, child));
    }
    return delete_node(a, path);
}

static int by_id(const void *pa, const void *pb)
{
    const struct zk_broker *x = pa, *y = pb;

    return (x->id > y->id) - (x->id < y->id);
}

int zk_brokers(struct admin *a, struct zk_broker **out, size_t *n)
{
    struct topic_names ids;
    struct bytes value;
    int64_t id;

    *n = 0;
    TRY(zk_children(a, ZK_BROKER_IDS, &ids));
    *out = arena_array(&a->arena, ids.n + 1, sizeof **out);
    if (*out == NULL)
        return no_memory(a);
    for (size_t i = 0; i < ids.n; i++) {
        struct zk_broker *b = &(*out)[*n];
        struct zpath path;
        int rc;

        if (parse_i64(ids.v[i].p, 0, INT32_MAX, &id) != OK)
            continue;                   /* no broker's: brokers skip it as well */
        b->id = (int32_t)id;
        path = zpath_broker(b->id);
        rc = zk_get(a, path.z, &value, NULL);
        if (rc == ERR_NOENT)
            continue;                   /* gone meanwhile */
        if (rc == OK)
            rc = znode_broker_read(value, &a->arena, &b->info);
        if (rc != OK)
            return admin_fail(a, rc, "%s: cannot be read: %s", path.z, err_text(rc));
        (*n)++;
    }
    if (*n > 1)
        qsort(*out, *n, sizeof **out, by_id);
    return OK;
}

int zk_topic(struct admin *a, struct str topic, struct znode_topic *out, int32_t *version)
{
    struct zpath path = zpath_topic(topic);
    struct bytes value;
    int rc;

    TRY(zk_get(a, path.z, &value, version));
    rc = znode_topic_read(value, &a->arena, out);
    return rc == OK ? OK : admin_fail(a, ERR_CORRUPT, "%s: cannot be read: %s", path.z, err_text(rc));
}

int zk_config(struct admin *a, const char *entity, struct znode_config *out)
{
    char path[STORE_PATH_MAX + 2];
    struct bytes value;
    int rc;

    *out = (struct znode_config){ NULL, 0 };
    snprintf(path, sizeof path, "/config/%s", entity);
    rc = zk_get(a, path, &value, NULL);
    if (rc != OK)
        return rc == ERR_NOENT ? OK : rc;
    rc = znode_config_read(value, &a->arena, out);
    return rc == OK ? OK : admin_fail(a, rc, "%s: cannot be read: %s", path, err_text(rc));
}

int zk_config_change(struct admin *a, const char *entity, const struct znode_config *c)
{
    char path[STORE_PATH_MAX + 2], *text = znode_config_write(c);
    struct store_call *call;
    struct store_op one;
    int rc;

    if (text == NULL)
        return no_memory(a);
    snprintf(path, sizeof path, "/config/%s", entity);
    rc = zk_put(a, path, text);
    free(text);
    TRY(rc);
    text = znode_change_write(entity);
    call = text != NULL ? store_call_new(NULL, NULL) : NULL;
    if (call == NULL) {
        free(text);
        return no_memory(a);
    }
    store_create(call, ZK_CONFIG_CHANGES "/" ZK_CONFIG_CHANGE, bytes_of(text), STORE_SEQUENTIAL);
    free(text);
    return run(a, call, ZK_CONFIG_CHANGES, &one);
}

int zk_topic_config_check(struct admin *a, const struct znode_config *c)
{
    struct config_input none = { .file = NULL };
    struct config_problems problems;
    struct topic_config tc;
    struct topic_property *v = arena_array(&a->arena, c->n + 1, sizeof *v);
    struct config *server = NULL;
    char why[512] = "out of memory";
    int rc;

    if (v == NULL)
        return no_memory(a);
    for (size_t i = 0; i < c->n; i++)
        v[i] = (struct topic_property){ str_of(c->pairs[i].name), str_of(c->pairs[i].value) };
    rc = config_load(&server, &none, &problems);
    config_problems_fini(&problems);
    if (rc == OK)
        rc = topic_config_build(&tc, server, TOPIC_CONFIG_ASKED, v, c->n, why, sizeof why);
    if (rc == OK)
        topic_config_fini(&tc);
    config_unref(&server);
    return rc == OK ? OK : admin_fail(a, rc, "%s", why);
}
