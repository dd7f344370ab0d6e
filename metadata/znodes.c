/* metadata/znodes.c - znode payloads by jansson. Keys are written in the order in which Apache Kafka's come
 * out. */
#include "metadata/znodes.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

const char *const znode_top_level[] = {
    "/consumers", "/brokers", ZK_BROKER_IDS, ZK_BROKER_TOPICS, "/config", ZK_CONFIG_CHANGES, "/admin",
    ZK_DELETE_TOPICS, ZK_BROKER_SEQID, ZK_ISR_CHANGES, "/latest_producer_id_block", ZK_LOG_DIR_EVENTS,
    ZK_CONFIG_TOPICS, "/config/clients", "/config/users", "/config/brokers", "/config/ips", NULL
};

/* ---- paths -------------------------------------------------------------------------------------------- */

static struct zpath zpath_of(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static struct zpath zpath_of(const char *fmt, ...)
{
    struct zpath p;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(p.z, sizeof p.z, fmt, ap);
    va_end(ap);
    return p;
}

struct zpath zpath_broker(int32_t id)
{
    return zpath_of(ZK_BROKER_IDS "/%d", id);
}

struct zpath zpath_topic(struct str topic)
{
    return zpath_of(ZK_BROKER_TOPICS "/%.*s", STR_ARG(topic));
}

struct zpath zpath_partitions(struct str topic)
{
    return zpath_of(ZK_BROKER_TOPICS "/%.*s/partitions", STR_ARG(topic));
}

struct zpath zpath_partition(struct str topic, int32_t partition)
{
    return zpath_of(ZK_BROKER_TOPICS "/%.*s/partitions/%d", STR_ARG(topic), partition);
}

struct zpath zpath_state(struct str topic, int32_t partition)
{
    return zpath_of(ZK_BROKER_TOPICS "/%.*s/partitions/%d/state", STR_ARG(topic), partition);
}

struct zpath zpath_topic_config(struct str topic)
{
    return zpath_of(ZK_CONFIG_TOPICS "/%.*s", STR_ARG(topic));
}

struct zpath zpath_config_change(struct str name)
{
    return zpath_of(ZK_CONFIG_CHANGES "/%.*s", STR_ARG(name));
}

struct zpath zpath_delete_topic(struct str topic)
{
    return zpath_of(ZK_DELETE_TOPICS "/%.*s", STR_ARG(topic));
}

/* ---- reading: each getter fails once, in *rc ---------------------------------------------------------- */

static json_t *load(struct bytes in, int *rc)
{
    json_t *j = in.len > 0 ? json_loadb((const char *)in.p, in.len, 0, NULL) : NULL;

    *rc = json_is_object(j) ? OK : ERR_CORRUPT;
    return j;
}

static int64_t get_int(const json_t *v, int64_t min, int64_t max, int *rc)
{
    json_int_t n = json_integer_value(v);

    if (!json_is_integer(v) || n < min || n > max) {
        *rc = ERR_CORRUPT;
        return 0;
    }
    return n;
}

static int32_t get_i32(const json_t *o, const char *key, int *rc)
{
    return (int32_t)get_int(json_object_get(o, key), INT32_MIN, INT32_MAX, rc);
}

static struct str get_str(const json_t *v, struct arena *a, int *rc)
{
    struct str s = { json_string_value(v), json_string_length(v) };

    if (!json_is_string(v) || memchr(s.p, '\0', s.len) != NULL) {
        *rc = ERR_CORRUPT;
        return (struct str){ NULL, 0 };
    }
    s.p = arena_cstr(a, s);
    if (s.p == NULL)
        *rc = ERR_NOMEM;
    return s;
}

static struct znode_replicas get_ids(const json_t *v, struct arena *a, int *rc)
{
    struct znode_replicas r = { NULL, 0 };

    if (!json_is_array(v)) {
        *rc = ERR_CORRUPT;
        return r;
    }
    r.v = arena_array(a, json_array_size(v) + 1, sizeof *r.v);
    if (r.v == NULL) {
        *rc = ERR_NOMEM;
        return r;
    }
    for (size_t i = 0; i < json_array_size(v); i++)
        r.v[r.n++] = (int32_t)get_int(json_array_get(v, i), 0, INT32_MAX, rc);
    return r;
}

/* ---- writing: a failed allocation anywhere makes a NULL, which json_object_set_new() passes on -------- */

static char *dump(json_t *o, bool ok)
{
    char *z = ok && o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;

    json_decref(o);
    return z;
}

static bool put(json_t *o, const char *key, json_t *v)
{
    return json_object_set_new(o, key, v) == 0;
}

static json_t *ids_of(struct znode_replicas r)
{
    json_t *v = json_array();

    for (int32_t i = 0; i < r.n; i++)
        if (json_array_append_new(v, json_integer(r.v[i])) != 0) {
            json_decref(v);
            return NULL;
        }
    return v;
}

static json_t *decimal(int64_t n)
{
    char buf[24];

    snprintf(buf, sizeof buf, "%" PRId64, n);
    return json_string(buf);
}

static json_t *text_of(struct str s)
{
    return json_stringn(s.p, s.len);
}

/* ---- /brokers/ids/<id> -------------------------------------------------------------------------------- */

static json_t *endpoint_text(const struct znode_endpoint *e)
{
    bool v6 = memchr(e->host.p, ':', e->host.len) != NULL;

    return json_sprintf(v6 ? "%.*s://[%.*s]:%d" : "%.*s://%.*s:%d", STR_ARG(e->listener), STR_ARG(e->host), e->port);
}

char *znode_broker_write(const struct znode_broker *b)
{
    json_t *o = json_object(), *map = json_object(), *list = json_array();
    const struct znode_endpoint *plain = NULL;
    int32_t version = b->version != 0 ? b->version : 5;
    bool ok = true;

    for (size_t i = 0; i < b->endpoints_n; i++) {
        const struct znode_endpoint *e = &b->endpoints[i];
        char name[256];

        if (plain == NULL && str_is(e->protocol, "PLAINTEXT"))
            plain = e;
        snprintf(name, sizeof name, "%.*s", STR_ARG(e->listener));
        ok = put(map, name, text_of(e->protocol)) && ok;
        ok = json_array_append_new(list, endpoint_text(e)) == 0 && ok;
    }
    if (version >= 5)
        ok = put(o, "features", json_object()) && ok;
    if (version >= 4)
        ok = put(o, "listener_security_protocol_map", map) && ok;
    else
        json_decref(map);
    ok = put(o, "endpoints", list) && ok;
    if (b->rack.p != NULL)
        ok = put(o, "rack", text_of(b->rack)) && ok;
    ok = put(o, "jmx_port", json_integer(-1)) && ok;
    ok = put(o, "port", json_integer(plain != NULL ? plain->port : -1)) && ok;
    ok = put(o, "host", plain != NULL ? text_of(plain->host) : json_null()) && ok;
    ok = put(o, "version", json_integer(version)) && ok;
    ok = put(o, "timestamp", decimal(b->timestamp_ms)) && ok;
    return dump(o, ok);
}

/* "NAME://host:port" with an IPv6 host in brackets. */
static int endpoint_parse(const char *z, struct arena *a, struct znode_endpoint *e)
{
    const char *host = strstr(z, "://"), *colon = host != NULL ? strrchr(host + 3, ':') : NULL;
    char *end;
    long port;

    if (colon == NULL || host == z)
        return ERR_CORRUPT;
    e->listener = (struct str){ z, (size_t)(host - z) };
    host += 3;
    e->host = (struct str){ host, (size_t)(colon - host) };
    if (e->host.len >= 2 && host[0] == '[' && colon[-1] == ']')
        e->host = (struct str){ host + 1, e->host.len - 2 };
    port = strtol(colon + 1, &end, 10);
    if (end == colon + 1 || *end != '\0' || port < 0 || port > 65535)
        return ERR_CORRUPT;
    e->port = (int32_t)port;
    TRY(arena_str(a, e->listener, &e->listener));
    return arena_str(a, e->host, &e->host);
}

static int broker_endpoints_read(const json_t *o, struct arena *a, struct znode_broker *b)
{
    const json_t *list = json_object_get(o, "endpoints"), *map = json_object_get(o, "listener_security_protocol_map");
    int rc = OK;

    if (!json_is_array(list))
        return ERR_CORRUPT;
    b->endpoints = arena_array(a, json_array_size(list) + 1, sizeof *b->endpoints);
    if (b->endpoints == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < json_array_size(list) && rc == OK; i++) {
        struct znode_endpoint *e = &b->endpoints[b->endpoints_n];
        const char *z = json_string_value(json_array_get(list, i));
        const json_t *protocol = NULL;

        rc = z != NULL ? endpoint_parse(z, a, e) : ERR_CORRUPT;
        if (rc != OK)
            break;
        if (json_is_object(map)) {
            protocol = json_object_get(map, arena_printf(a, "%.*s", STR_ARG(e->listener)));
            e->protocol = get_str(protocol, a, &rc);
        } else {
            e->protocol = e->listener;
        }
        b->endpoints_n++;
    }
    return rc;
}

int znode_broker_read(struct bytes in, struct arena *a, struct znode_broker *b)
{
    int rc;
    json_t *o = load(in, &rc), *rack;
    int32_t version;

    *b = (struct znode_broker){ .endpoints = NULL };
    if (rc != OK)
        goto out;
    version = get_i32(o, "version", &rc);
    if (rc == OK && version < 1)
        rc = ERR_CORRUPT;
    if (rc == OK && version >= 2) {
        rc = broker_endpoints_read(o, a, b);
    } else if (rc == OK) {
        b->endpoints = arena_array(a, 1, sizeof *b->endpoints);
        if (b->endpoints == NULL) {
            rc = ERR_NOMEM;
            goto out;
        }
        b->endpoints_n = 1;
        b->endpoints->listener = b->endpoints->protocol = STR_LIT("PLAINTEXT");
        b->endpoints->host = get_str(json_object_get(o, "host"), a, &rc);
        b->endpoints->port = get_i32(o, "port", &rc);
    }
    rack = json_object_get(o, "rack");
    if (rc == OK && json_is_string(rack))
        b->rack = get_str(rack, a, &rc);
    if (json_is_string(json_object_get(o, "timestamp")))
        b->timestamp_ms = strtoll(json_string_value(json_object_get(o, "timestamp")), NULL, 10);
out:
    json_decref(o);
    return rc;
}

/* ---- /brokers/topics/<T> ------------------------------------------------------------------------------ */

static bool put_assignment(json_t *o, int32_t index, struct znode_replicas r)
{
    char key[16];

    snprintf(key, sizeof key, "%d", index);
    return put(o, key, ids_of(r));
}

char *znode_topic_write(const struct znode_topic *t)
{
    json_t *o = json_object(), *all = json_object(), *adding = json_object(), *removing = json_object();
    char id[UUID_TEXT_LEN + 1];
    bool ok = true;

    for (int32_t i = 0; i < t->partitions_n; i++) {
        const struct znode_partition *p = &t->partitions[i];

        ok = put_assignment(all, p->index, p->replicas) && ok;
        if (p->adding.n > 0)
            ok = put_assignment(adding, p->index, p->adding) && ok;
        if (p->removing.n > 0)
            ok = put_assignment(removing, p->index, p->removing) && ok;
    }
    ok = put(o, "partitions", all) && ok;
    if (!uuid_is_zero(t->id)) {
        uuid_text(t->id, id);
        ok = put(o, "topic_id", json_string(id)) && ok;
    }
    ok = put(o, "adding_replicas", adding) && ok;
    ok = put(o, "removing_replicas", removing) && ok;
    ok = put(o, "version", json_integer(uuid_is_zero(t->id) ? 2 : 3)) && ok;
    return dump(o, ok);
}

static int partition_number(const char *key, int32_t *n)
{
    char *end;
    long v = strtol(key, &end, 10);

    if (end == key || *end != '\0' || key[0] < '0' || key[0] > '9' || v > INT32_MAX)
        return ERR_CORRUPT;
    *n = (int32_t)v;
    return OK;
}

static int by_index(const void *a, const void *b)
{
    const struct znode_partition *x = a, *y = b;

    return (x->index > y->index) - (x->index < y->index);
}

/* adding_replicas or removing_replicas: absent before version 2. */
static int changes_read(const json_t *o, const char *key, struct arena *a, struct znode_topic *t)
{
    json_t *map = json_object_get(o, key), *v;
    const char *name;
    int rc = OK;

    if (map == NULL)
        return OK;
    if (!json_is_object(map))
        return ERR_CORRUPT;
    json_object_foreach(map, name, v) {
        struct znode_partition want = { .index = 0 }, *p;

        TRY(partition_number(name, &want.index));
        p = t->partitions_n == 0 ? NULL : bsearch(&want, t->partitions, (size_t)t->partitions_n, sizeof want, by_index);
        if (p == NULL)
            continue;
        if (strcmp(key, "adding_replicas") == 0)
            p->adding = get_ids(v, a, &rc);
        else
            p->removing = get_ids(v, a, &rc);
    }
    return rc;
}

int znode_topic_read(struct bytes in, struct arena *a, struct znode_topic *t)
{
    int rc;
    json_t *o = load(in, &rc), *map, *id, *v;
    const char *name;

    *t = (struct znode_topic){ .partitions_n = 0 };
    if (rc != OK)
        goto out;
    map = json_object_get(o, "partitions");
    if (map != NULL && !json_is_object(map)) {
        rc = ERR_CORRUPT;
        goto out;
    }
    t->partitions = arena_array(a, json_object_size(map) + 1, sizeof *t->partitions);
    if (t->partitions == NULL) {
        rc = ERR_NOMEM;
        goto out;
    }
    json_object_foreach(map, name, v) {
        struct znode_partition *p = &t->partitions[t->partitions_n++];

        if (rc == OK)
            rc = partition_number(name, &p->index);
        p->replicas = get_ids(v, a, &rc);
    }
    if (t->partitions_n > 1)
        qsort(t->partitions, (size_t)t->partitions_n, sizeof *t->partitions, by_index);
    for (int32_t i = 1; i < t->partitions_n; i++)
        if (t->partitions[i].index == t->partitions[i - 1].index)
            rc = ERR_CORRUPT;                       /* "1" and "01" */
    id = json_object_get(o, "topic_id");
    if (rc == OK && json_is_string(id) &&
        uuid_parse((struct str){ json_string_value(id), json_string_length(id) }, &t->id) != OK)
        rc = ERR_CORRUPT;
    if (rc == OK)
        rc = changes_read(o, "adding_replicas", a, t);
    if (rc == OK)
        rc = changes_read(o, "removing_replicas", a, t);
out:
    json_decref(o);
    return rc;
}

/* ---- state -------------------------------------------------------------------------------------------- */

char *znode_state_write(const struct znode_state *s)
{
    json_t *o = json_object();
    bool ok = put(o, "controller_epoch", json_integer(s->controller_epoch));

    ok = put(o, "leader", json_integer(s->leader)) && ok;
    ok = put(o, "version", json_integer(1)) && ok;
    ok = put(o, "leader_epoch", json_integer(s->leader_epoch)) && ok;
    ok = put(o, "isr", ids_of(s->isr)) && ok;
    if (s->recovering)
        ok = put(o, "leader_recovery_state", json_integer(1)) && ok;
    return dump(o, ok);
}

int znode_state_read(struct bytes in, struct arena *a, struct znode_state *s)
{
    int rc;
    json_t *o = load(in, &rc), *v;

    *s = (struct znode_state){ .leader = -1 };
    if (rc == OK) {
        s->leader = get_i32(o, "leader", &rc);
        s->leader_epoch = get_i32(o, "leader_epoch", &rc);
        s->controller_epoch = get_i32(o, "controller_epoch", &rc);
        s->isr = get_ids(json_object_get(o, "isr"), a, &rc);
        v = json_object_get(o, "leader_recovery_state");
        s->recovering = v != NULL && get_int(v, 0, 1, &rc) == 1;
    }
    json_decref(o);
    return rc;
}

/* ---- /config ------------------------------------------------------------------------------------------ */

char *znode_config_write(const struct znode_config *c)
{
    json_t *o = json_object(), *map = json_object();
    bool ok = true;

    for (size_t i = 0; i < c->n; i++)
        ok = put(map, c->pairs[i].name, json_string(c->pairs[i].value)) && ok;
    ok = put(o, "version", json_integer(1)) && ok;
    ok = put(o, "config", map) && ok;
    return dump(o, ok);
}

static int by_name(const void *a, const void *b)
{
    const struct znode_pair *x = a, *y = b;

    return strcmp(x->name, y->name);
}

void znode_config_sort(struct znode_config *c)
{
    if (c->n > 1)
        qsort(c->pairs, c->n, sizeof *c->pairs, by_name);
}

int znode_config_read(struct bytes in, struct arena *a, struct znode_config *c)
{
    int rc = OK;
    json_t *o, *map, *v;
    const char *name;

    *c = (struct znode_config){ .pairs = NULL };
    if (in.len == 0)
        return OK;
    o = load(in, &rc);
    map = rc == OK ? json_object_get(o, "config") : NULL;
    if (rc == OK && map != NULL && !json_is_object(map))
        rc = ERR_CORRUPT;
    if (rc == OK && map != NULL) {
        c->pairs = arena_array(a, json_object_size(map) + 1, sizeof *c->pairs);
        if (c->pairs == NULL)
            rc = ERR_NOMEM;
    }
    json_object_foreach(map, name, v) {
        if (rc != OK)
            break;
        c->pairs[c->n].name = arena_cstr(a, str_of(name));
        if (c->pairs[c->n].name == NULL)
            rc = ERR_NOMEM;
        c->pairs[c->n++].value = get_str(v, a, &rc).p;
    }
    if (rc == OK)
        znode_config_sort(c);
    json_decref(o);
    return rc;
}

/* ---- /config/changes ------------------------------------------------------------------------------------ */

char *znode_change_write(const char *entity)
{
    json_t *o = json_object();
    bool ok = put(o, "version", json_integer(2));

    ok = put(o, "entity_path", json_string(entity)) && ok;
    return dump(o, ok);
}

/* Version 1, by older tools, names type and entity apart, and knows topics and clients only. */
int znode_change_read(struct bytes in, struct arena *a, const char **entity)
{
    const char *type, *name;
    int64_t version;
    json_t *o;
    int rc;

    *entity = NULL;
    o = load(in, &rc);
    version = rc == OK ? get_int(json_object_get(o, "version"), INT32_MIN, INT32_MAX, &rc) : 0;
    if (rc == OK && version == 2) {
        *entity = get_str(json_object_get(o, "entity_path"), a, &rc).p;
    } else if (rc == OK && version == 1) {
        type = get_str(json_object_get(o, "entity_type"), a, &rc).p;
        name = get_str(json_object_get(o, "entity_name"), a, &rc).p;
        if (rc == OK && strcmp(type, "topics") != 0 && strcmp(type, "clients") != 0)
            rc = ERR_CORRUPT;
        if (rc == OK && (*entity = arena_printf(a, "%s/%s", type, name)) == NULL)
            rc = ERR_NOMEM;
    } else if (rc == OK) {
        rc = ERR_CORRUPT;
    }
    json_decref(o);
    return rc;
}

/* ---- lists of partitions ------------------------------------------------------------------------------ */

static char *list_write(const struct znode_list *l, bool replicas)
{
    json_t *o = json_object(), *all = json_array();
    bool ok = put(o, "version", json_integer(1));

    for (size_t i = 0; i < l->n; i++) {
        json_t *e = json_object();

        ok = put(e, "topic", text_of(l->v[i].topic)) && ok;
        ok = put(e, "partition", json_integer(l->v[i].partition)) && ok;
        if (replicas)
            ok = put(e, "replicas", ids_of(l->v[i].replicas)) && ok;
        ok = json_array_append_new(all, e) == 0 && ok;
    }
    ok = put(o, "partitions", all) && ok;
    return dump(o, ok);
}

/* Kafka binds the elements of /admin/reassign_partitions strictly. */
static bool only(const json_t *o, size_t fields)
{
    return json_object_size(o) == fields;
}

static int list_read(struct bytes in, struct arena *a, struct znode_list *l, bool replicas)
{
    int rc;
    json_t *o = load(in, &rc), *all, *e;
    size_t i;

    *l = (struct znode_list){ NULL, 0 };
    all = json_object_get(o, "partitions");
    if (rc == OK && (!json_is_array(all) || (replicas && !only(o, 2))))
        rc = ERR_CORRUPT;
    if (rc == OK && replicas)
        (void)get_i32(o, "version", &rc);
    if (rc == OK && (l->v = arena_array(a, json_array_size(all) + 1, sizeof *l->v)) == NULL)
        rc = ERR_NOMEM;
    json_array_foreach(all, i, e) {
        struct znode_named *to;

        if (rc != OK)
            break;
        to = &l->v[l->n++];
        to->topic = get_str(json_object_get(e, "topic"), a, &rc);
        to->partition = get_i32(e, "partition", &rc);
        if (replicas)
            to->replicas = get_ids(json_object_get(e, "replicas"), a, &rc);
        if (replicas && rc == OK && !only(e, 3))
            rc = ERR_CORRUPT;
    }
    if (rc != OK)
        l->n = 0;
    json_decref(o);
    return rc;
}

char *znode_reassign_write(const struct znode_list *l)
{
    return list_write(l, true);
}

int znode_reassign_read(struct bytes in, struct arena *a, struct znode_list *l)
{
    return list_read(in, a, l, true);
}

char *znode_election_write(const struct znode_list *l)
{
    return list_write(l, false);
}

int znode_election_read(struct bytes in, struct arena *a, struct znode_list *l)
{
    return list_read(in, a, l, false);
}

/* ---- the small ones ----------------------------------------------------------------------------------- */

char *znode_controller_write(int32_t broker_id, int64_t timestamp_ms)
{
    json_t *o = json_object();
    bool ok = put(o, "version", json_integer(2));

    ok = put(o, "brokerid", json_integer(broker_id)) && ok;
    ok = put(o, "timestamp", decimal(timestamp_ms)) && ok;
    ok = put(o, "kraftControllerEpoch", json_integer(-1)) && ok;
    return dump(o, ok);
}

int znode_controller_read(struct bytes in, int32_t *broker_id, int32_t *kraft_epoch)
{
    int rc;
    json_t *o = load(in, &rc), *v;

    *broker_id = *kraft_epoch = -1;
    if (rc == OK) {
        *broker_id = get_i32(o, "brokerid", &rc);
        v = json_object_get(o, "kraftControllerEpoch");
        *kraft_epoch = v != NULL ? (int32_t)get_int(v, -1, INT32_MAX, &rc) : -1;
    }
    json_decref(o);
    return rc;
}

char *znode_cluster_id_write(const char *id)
{
    json_t *o = json_object();
    bool ok = put(o, "version", json_string("1"));

    ok = put(o, "id", json_string(id)) && ok;
    return dump(o, ok);
}

int znode_cluster_id_read(struct bytes in, struct arena *a, const char **id)
{
    int rc;
    json_t *o = load(in, &rc);

    *id = rc == OK ? get_str(json_object_get(o, "id"), a, &rc).p : NULL;
    json_decref(o);
    return rc;
}

char *znode_dir_event_write(int32_t broker_id)
{
    json_t *o = json_object();
    bool ok = put(o, "version", json_integer(1));

    ok = put(o, "broker", json_integer(broker_id)) && ok;
    ok = put(o, "event", json_integer(1)) && ok;
    return dump(o, ok);
}

int znode_dir_event_read(struct bytes in, int32_t *broker_id)
{
    int rc;
    json_t *o = load(in, &rc);

    *broker_id = -1;
    if (rc == OK)
        *broker_id = get_i32(o, "broker", &rc);
    json_decref(o);
    return rc;
}

int znode_epoch_read(struct bytes in, int32_t *epoch)
{
    char buf[16], *end;
    long v;

    if (in.len == 0 || in.len >= sizeof buf)
        return ERR_CORRUPT;
    memcpy(buf, in.p, in.len);
    buf[in.len] = '\0';
    v = strtol(buf, &end, 10);
    if (*end != '\0' || v < 0 || v >= INT32_MAX)
        return ERR_CORRUPT;
    *epoch = (int32_t)v;
    return OK;
}

/* The entry of one feature: version 1 has its lowest level, too. */
static json_t *feature_level(const json_t *old, int32_t version)
{
    json_t *o = json_object();
    bool ok = version > 1 || put(o, "min_version_level", json_integer(1));

    ok = put(o, "max_version_level", json_integer(json_integer_value(json_object_get(old, "max_version_level")))) && ok;
    if (!ok) {
        json_decref(o);
        return NULL;
    }
    return o;
}

int znode_feature_update(struct bytes in, bool there, const struct znode_feature *want, char **out)
{
    int rc = OK;
    json_t *o = NULL, *fresh, *levels, *kept = NULL, *version, *status, *v;
    const char *name;
    bool ok = true;

    *out = NULL;
    if (there) {
        o = load(in, &rc);
        version = json_object_get(o, "version");
        status = json_object_get(o, "status");
        kept = json_object_get(o, "features");
        if (rc == OK && (json_integer_value(version) < 1 || json_integer_value(version) > 2 ||
                         !json_is_integer(status) || !json_is_object(kept)))
            rc = ERR_CORRUPT;
        if (rc != OK || (json_integer_value(status) == want->enabled && json_integer_value(version) == want->version &&
                         (want->enabled || json_object_size(kept) == 0))) {
            json_decref(o);
            return rc;
        }
        if (json_integer_value(status) != 1 || !want->enabled)
            kept = NULL;
    }
    fresh = json_object();
    levels = json_object();
    json_object_foreach(kept, name, v)
        ok = put(levels, name, feature_level(v, want->version)) && ok;
    ok = put(fresh, "features", levels) && ok;
    ok = put(fresh, "version", json_integer(want->version)) && ok;
    ok = put(fresh, "status", json_integer(want->enabled)) && ok;
    *out = dump(fresh, ok);
    json_decref(o);
    return *out != NULL ? OK : ERR_NOMEM;
}
