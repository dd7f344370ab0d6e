/* tools/reassign/plan.c - the files that say what is to be moved, and lists of partitions in Kafka's notation. */
#include "tools/reassign/reassign.h"

#include "tools/consumer_groups/jvm.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define ANY_DIR "any"

int rp_no_memory(struct rp *r)
{
    return admin_fail(&r->a, ERR_NOMEM, "out of memory");
}

int rp_read_file(struct rp *r, const char *path, const char **text)
{
    FILE  *f = fopen(path, "rb");
    size_t room = 65536, n = 0, got = 1;
    char  *buf;

    if (f == NULL)
        return admin_fail(&r->a, ERR_IO, "Unable to read file %s", path);
    buf = arena_alloc(&r->a.arena, room);
    while (buf != NULL && got > 0) {
        got = fread(buf + n, 1, room - n - 1, f);
        n += got;
        if (n + 1 == room) {
            char *more = arena_alloc(&r->a.arena, room * 2);

            if (more != NULL)
                memcpy(more, buf, n);
            buf = more;
            room *= 2;
        }
    }
    fclose(f);
    if (buf == NULL)
        return rp_no_memory(r);
    buf[n] = '\0';
    *text = buf;
    return OK;
}

/* ---- JSON ---- */

static int bad_json(struct rp *r, json_t *j, const char *fmt, const char *what)
{
    int rc = admin_fail(&r->a, ERR_INVALID, fmt, what);

    json_decref(j);
    return rc;
}

/* The list under `key`; *v NULL: there is none. */
static int open_list(struct rp *r, const char *json, const char *key, json_t **j, json_t **v)
{
    json_error_t why;
    const json_t *version;

    *v = NULL;
    *j = json_loads(json, 0, &why);
    if (*j == NULL)
        return admin_fail(&r->a, ERR_INVALID, "The input string is not a valid JSON: line %d, column %d: %s", why.line,
                          why.column, why.text);
    if (!json_is_object(*j))
        return bad_json(r, *j, "Expected JSON object, received %s", "something else");
    version = json_object_get(*j, "version");
    if (version != NULL && !json_is_integer(version))
        return bad_json(r, *j, "Expected `Integer` value in the field `%s`", "version");
    if (version != NULL && json_integer_value(version) != 1)
        return bad_json(r, *j, "Not supported version field value %s",
                        arena_printf(&r->a.arena, "%lld", (long long)json_integer_value(version)));
    *v = json_object_get(*j, key);
    if (*v != NULL && !json_is_array(*v))
        return bad_json(r, *j, "Expected JSON array in the field `%s`", key);
    return OK;
}

static bool get_id(const json_t *v, int32_t *out)
{
    json_int_t n = json_integer_value(v);

    *out = (int32_t)n;
    return json_is_integer(v) && n >= INT32_MIN && n <= INT32_MAX;
}

static bool get_topic(struct rp *r, const json_t *e, struct str *out)
{
    const json_t *v = json_object_get(e, "topic");

    return json_is_string(v) &&
           arena_str(&r->a.arena, (struct str){ json_string_value(v), json_string_length(v) }, out) == OK;
}

static const char *dir_text(struct rp *r, const json_t *v)
{
    return json_is_string(v) ? arena_cstr(&r->a.arena, str_of(json_string_value(v))) : NULL;
}

/* One element: NULL, or the name of the field that is missing or of another type. */
static const char *read_part(struct rp *r, const json_t *e, struct rp_part *p)
{
    const json_t *replicas = json_object_get(e, "replicas");

    *p = (struct rp_part){ .partition = -1 };
    if (!get_topic(r, e, &p->topic))
        return "topic";
    if (!get_id(json_object_get(e, "partition"), &p->partition))
        return "partition";
    if (!json_is_array(replicas))
        return "replicas";
    p->replicas.v = arena_array(&r->a.arena, json_array_size(replicas) + 1, sizeof(int32_t));
    for (size_t i = 0; i < json_array_size(replicas) && p->replicas.v != NULL; i++)
        if (!get_id(json_array_get(replicas, i), &p->replicas.v[p->replicas.n++]))
            return "replicas";
    return p->replicas.v != NULL ? NULL : "replicas";
}

static int read_dirs(struct rp *r, const json_t *e, const struct rp_part *p, struct rp_dirs *dirs)
{
    const json_t *list = json_object_get(e, "log_dirs");

    if (list == NULL)
        return OK;
    if (!json_is_array(list))
        return admin_fail(&r->a, ERR_INVALID, "Expected JSON array in the field `log_dirs`");
    if (json_array_size(list) != (size_t)p->replicas.n)
        return admin_fail(&r->a, ERR_INVALID, "Size of replicas list of %d is different from size of log dirs list of "
                          "%zu for partition %.*s-%d", p->replicas.n, json_array_size(list), STR_ARG(p->topic),
                          p->partition);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *dir = dir_text(r, json_array_get(list, i));

        if (dir == NULL)
            return admin_fail(&r->a, ERR_INVALID, "Expected `String` values in the field `log_dirs`");
        if (strcmp(dir, ANY_DIR) != 0)
            dirs->v[dirs->n++] = (struct rp_dir){ p->topic, p->partition, p->replicas.v[i], dir, false, NULL, NULL, 0 };
    }
    return OK;
}

int rp_parse(struct rp *r, const char *json, struct rp_parts *parts, struct rp_dirs *dirs)
{
    json_t *j, *list, *e;
    size_t  i, replicas = 0;
    int     rc;

    TRY(open_list(r, json, "partitions", &j, &list));
    json_array_foreach(list, i, e)
        replicas += json_array_size(json_object_get(e, "replicas"));
    *parts = (struct rp_parts){ arena_array(&r->a.arena, json_array_size(list) + 1, sizeof *parts->v), 0 };
    *dirs = (struct rp_dirs){ arena_array(&r->a.arena, replicas + 1, sizeof *dirs->v), 0 };
    rc = parts->v != NULL && dirs->v != NULL ? OK : rp_no_memory(r);
    json_array_foreach(list, i, e) {
        const char *bad;

        if (rc != OK)
            break;
        bad = read_part(r, e, &parts->v[parts->n++]);
        rc = bad != NULL ? admin_fail(&r->a, ERR_INVALID, "No such field exists: `%s`", bad)
                         : read_dirs(r, e, &parts->v[parts->n - 1], dirs);
    }
    json_decref(j);
    return rc;
}

int rp_parse_topics(struct rp *r, const char *json, struct topic_names *out)
{
    json_t *j, *list, *e;
    size_t  i;
    int     rc = OK;

    TRY(open_list(r, json, "topics", &j, &list));
    *out = (struct topic_names){ arena_array(&r->a.arena, json_array_size(list) + 1, sizeof *out->v), 0 };
    if (out->v == NULL)
        rc = rp_no_memory(r);
    json_array_foreach(list, i, e) {
        if (rc == OK && !get_topic(r, e, &out->v[out->n++]))
            rc = admin_fail(&r->a, ERR_INVALID, "No such field exists: `topic`");
    }
    json_decref(j);
    return rc;
}

/* ---- lists ---- */

static int by_partition(const void *pa, const void *pb)
{
    const struct rp_part *x = pa, *y = pb;
    int d = str_cmp(x->topic, y->topic);

    return d != 0 ? d : (x->partition > y->partition) - (x->partition < y->partition);
}

void rp_sort(struct rp_parts *parts)
{
    if (parts->n > 1)
        qsort(parts->v, parts->n, sizeof *parts->v, by_partition);
}

static int by_replica(const void *pa, const void *pb)
{
    const struct rp_dir *x = pa, *y = pb;
    int d = (x->broker > y->broker) - (x->broker < y->broker);

    if (d == 0)
        d = str_cmp(x->topic, y->topic);
    return d != 0 ? d : (x->partition > y->partition) - (x->partition < y->partition);
}

void rp_sort_dirs(struct rp_dirs *dirs)
{
    if (dirs->n > 1)
        qsort(dirs->v, dirs->n, sizeof *dirs->v, by_replica);
}

const struct rp_part *rp_find(const struct rp_parts *sorted, struct str topic, int32_t partition)
{
    struct rp_part key = { .topic = topic, .partition = partition };

    return sorted->n > 0 ? bsearch(&key, sorted->v, sorted->n, sizeof key, by_partition) : NULL;
}

bool rp_has(const struct rp_ids *ids, int32_t id)
{
    for (int32_t i = 0; i < ids->n; i++)
        if (ids->v[i] == id)
            return true;
    return false;
}

static int32_t repeated(const struct rp_ids *ids)
{
    for (int32_t i = 0; i < ids->n; i++)
        for (int32_t k = 0; k < i; k++)
            if (ids->v[i] == ids->v[k])
                return i;
    return -1;
}

int rp_check(struct rp *r, const struct rp_parts *parts)
{
    struct rp_parts sorted = { arena_array(&r->a.arena, parts->n + 1, sizeof *sorted.v), parts->n };

    if (parts->n == 0)
        return admin_fail(&r->a, ERR_INVALID, "Partition reassignment list cannot be empty");
    for (size_t i = 0; i < parts->n; i++)
        if (parts->v[i].replicas.n == 0)
            return admin_fail(&r->a, ERR_INVALID, "Partition replica list cannot be empty");
    if (sorted.v == NULL)
        return rp_no_memory(r);
    memcpy(sorted.v, parts->v, parts->n * sizeof *sorted.v);
    rp_sort(&sorted);
    for (size_t i = 1; i < sorted.n; i++)
        if (by_partition(&sorted.v[i - 1], &sorted.v[i]) == 0)
            return admin_fail(&r->a, ERR_INVALID, "Partition reassignment contains duplicate topic partitions: %.*s-%d",
                              STR_ARG(sorted.v[i].topic), sorted.v[i].partition);
    for (size_t i = 0; i < parts->n; i++) {
        const struct rp_part *p = &parts->v[i];
        int32_t at = repeated(&p->replicas);

        if (at >= 0)
            return admin_fail(&r->a, ERR_INVALID, "Partition replica lists may not contain duplicate entries: %.*s-%d "
                              "contains multiple entries for %d", STR_ARG(p->topic), p->partition, p->replicas.v[at]);
    }
    return OK;
}

int rp_topics_of(struct rp *r, const struct rp_parts *parts, struct topic_names *out)
{
    size_t n = 0;

    *out = (struct topic_names){ arena_array(&r->a.arena, parts->n + 1, sizeof *out->v), parts->n };
    if (out->v == NULL)
        return rp_no_memory(r);
    for (size_t i = 0; i < parts->n; i++)
        out->v[i] = parts->v[i].topic;
    if (out->n > 1)
        qsort(out->v, out->n, sizeof *out->v, str_order);
    for (size_t i = 0; i < out->n; i++)
        if (i == 0 || !str_eq(out->v[i], out->v[n - 1]))
            out->v[n++] = out->v[i];
    out->n = n;
    return OK;
}

static uint32_t hash_name(const void *element)
{
    return jvm_hash(*(const struct str *)element);
}

int rp_hash_order(struct rp *r, struct topic_names *names)
{
    return jvm_order(names->v, names->n, sizeof *names->v, JVM_ROOM, hash_name, &r->a.arena);
}

/* ---- printing ---- */

void rp_print_ids(const struct rp_ids *ids)
{
    for (int32_t i = 0; i < ids->n; i++)
        printf("%s%d", i > 0 ? "," : "", ids->v[i]);
}

void rp_print_names(const struct rp_parts *sorted)
{
    for (size_t i = 0; i < sorted->n; i++)
        printf("%s%.*s-%d", i > 0 ? "," : "", STR_ARG(sorted->v[i].topic), sorted->v[i].partition);
}

/* Names of topics need no escapes. */
void rp_print_json(const struct rp_parts *sorted)
{
    fputs("{\"version\":1,\"partitions\":[", stdout);
    for (size_t i = 0; i < sorted->n; i++) {
        const struct rp_part *p = &sorted->v[i];

        printf("%s{\"topic\":\"%.*s\",\"partition\":%d,\"replicas\":[", i > 0 ? "," : "", STR_ARG(p->topic),
               p->partition);
        rp_print_ids(&p->replicas);
        fputs("],\"log_dirs\":[", stdout);
        for (int32_t k = 0; k < p->replicas.n; k++)
            printf("%s\"" ANY_DIR "\"", k > 0 ? "," : "");
        fputs("]}", stdout);
    }
    fputs("]}", stdout);
}
