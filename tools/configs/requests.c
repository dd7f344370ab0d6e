/* tools/configs/requests.c - kafka-configs.sh: what is asked of brokers, and how it is shown. */
#include "tools/configs/configs.h"

#include "proto/gen/alter_configs_request.h"
#include "proto/gen/alter_configs_response.h"
#include "proto/gen/describe_configs_request.h"
#include "proto/gen/describe_configs_response.h"
#include "proto/gen/incremental_alter_configs_request.h"
#include "proto/gen/incremental_alter_configs_response.h"
#include "proto/kerr.h"

#include <ctype.h>
#include <stdlib.h>

CLIENT_API(describe_configs, API_DESCRIBE_CONFIGS);
CLIENT_API(alter_configs, API_ALTER_CONFIGS);
CLIENT_API(incremental_alter_configs, API_INCREMENTAL_ALTER_CONFIGS);

#define setting describe_configs_response_describe_configs_resource_result

enum { OP_SET, OP_DELETE };

static const char *const sources[] = {
    "UNKNOWN", "DYNAMIC_TOPIC_CONFIG", "DYNAMIC_BROKER_CONFIG", "DYNAMIC_DEFAULT_BROKER_CONFIG", "STATIC_BROKER_CONFIG",
    "DEFAULT_CONFIG", "DYNAMIC_BROKER_LOGGER_CONFIG", "DYNAMIC_CLIENT_METRICS_CONFIG",
};

static const char *source_name(int8_t source)
{
    return source >= 0 && (size_t)source < sizeof sources / sizeof sources[0] ? sources[source] : sources[0];
}

/* The broker that a request about this entity goes to. */
static int32_t broker_of(const struct entity_kind *kind, const char *name)
{
    int64_t id;

    if (!kind->to_broker || parse_i64(name, 0, INT32_MAX, &id) != OK)
        return CLIENT_ANY;
    return (int32_t)id;
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct setting *)a)->name, ((const struct setting *)b)->name);
}

/* All of them, by name. */
static int describe(struct admin *a, const struct entity_kind *kind, const char *name, bool synonyms,
                    struct setting **out, size_t *n)
{
    struct describe_configs_request  q;
    struct describe_configs_response r;
    __typeof__(q.resources)          res = arena_zalloc(&a->arena, sizeof *res);

    if (res == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    describe_configs_request_init(&q);
    q.resources = res;
    q.resources_n = 1;
    q.include_synonyms = synonyms;
    res->resource_type = kind->resource;
    res->resource_name = str_of(name);
    res->configuration_keys_n = -1;
    client_doing(a->client, "describeConfigs");
    TRY(admin_call(a, broker_of(kind, name), &client_describe_configs, &q, &r));
    if (r.results_n != 1)
        return admin_fail(a, ERR_CORRUPT, "The broker gave no configuration for %s", name);
    if (r.results[0].error_code != KERR_NONE)
        return admin_fail_kafka(a, r.results[0].error_code, r.results[0].error_message);
    *out = r.results[0].configs;
    *n = (size_t)(r.results[0].configs_n > 0 ? r.results[0].configs_n : 0);
    if (*n > 1)
        qsort(*out, *n, sizeof **out, by_name);
    return OK;
}

/* Is it one of the entity's own? For the default of brokers, those of all. */
static bool is_own(const struct entity_kind *kind, const char *name, const struct setting *s)
{
    int8_t own = kind->own_source;

    if (kind->to_broker && own != 0 && name[0] == '\0')
        own++;
    return own == 0 || s->config_source == own;
}

static void print_value(struct str v)
{
    if (v.p != NULL)
        printf("%.*s", STR_ARG(v));
    else
        fputs("null", stdout);
}

static int describe_one(struct admin *a, const struct entity_kind *kind, const char *name, bool all)
{
    struct setting *v;
    size_t          n;

    if (name[0] == '\0')
        printf("Default configs for %s in the cluster are:\n", kind->type);
    else
        printf("%s configs for %.*s %s are:\n", all ? "All" : "Dynamic", configs_singular_len(kind), kind->type, name);
    TRY(describe(a, kind, name, true, &v, &n));
    for (size_t i = 0; i < n; i++) {
        if (!all && !is_own(kind, name, &v[i]))
            continue;
        printf("  %.*s=", STR_ARG(v[i].name));
        print_value(v[i].value);
        printf(" sensitive=%s synonyms={", v[i].is_sensitive ? "true" : "false");
        for (int32_t k = 0; k < v[i].synonyms_n; k++) {
            printf("%s%s:%.*s=", k > 0 ? ", " : "", source_name(v[i].synonyms[k].source),
                   STR_ARG(v[i].synonyms[k].name));
            print_value(v[i].synonyms[k].value);
        }
        puts("}");
    }
    return OK;
}

static int describe_brokers(struct admin *a, const struct entity_kind *kind, bool all)
{
    const struct client_broker *brokers;
    size_t                      n;

    client_doing(a->client, "describeCluster");
    if (client_brokers(a->client, &brokers, &n) != OK)
        return admin_fail(a, ERR_TIMEOUT, "%s", client_error(a->client));
    for (size_t i = 0; i < n; i++) {
        char id[16];

        snprintf(id, sizeof id, "%d", brokers[i].id);
        TRY(describe_one(a, kind, id, all));
    }
    return describe_one(a, kind, "", all);
}

int configs_describe(struct admin *a, const struct entity_kind *kind, const char *name, bool all)
{
    struct topic_names t;

    if (name != NULL)
        return describe_one(a, kind, name, all);
    if (kind->to_broker)
        return describe_brokers(a, kind, all);
    if (strcmp(kind->type, "topics") != 0)
        return admin_fail(a, ERR_UNSUPPORTED, "All entities of type %s cannot be listed; give --entity-name",
                          kind->type);
    TRY(admin_topic_names(a, NULL, false, &t));
    for (size_t i = 0; i < t.n; i++) {
        const char *z = arena_cstr(&a->arena, t.v[i]);

        if (z == NULL)
            return admin_fail(a, ERR_NOMEM, "out of memory");
        TRY(describe_one(a, kind, z, all));
    }
    return OK;
}

/* ---- --add-config ---- */

/* The next piece that ends at `sep`, or at the end; a separator inside brackets is none: one that a ']' follows before
 * any '['. */
static struct str piece(const char *text, const char *end, char sep)
{
    const char *p = text;

    for (; p < end; p++) {
        const char *q = p + 1;

        if (*p != sep)
            continue;
        while (q < end && *q != '[' && *q != ']')
            q++;
        if (q == end || *q == '[')
            break;
    }
    return (struct str){ text, (size_t)(p - text) };
}

static struct str trimmed(struct str s)
{
    while (s.len > 0 && isspace((unsigned char)s.p[0]))
        s = (struct str){ s.p + 1, s.len - 1 };
    while (s.len > 0 && isspace((unsigned char)s.p[s.len - 1]))
        s.len--;
    return s;
}

static int without_brackets(struct admin *a, struct str in, struct str *out)
{
    char *p = arena_alloc(&a->arena, in.len + 1);

    if (p == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    *out = (struct str){ p, 0 };
    for (size_t i = 0; i < in.len; i++)
        if (in.p[i] != '[' && in.p[i] != ']')
            p[out->len++] = in.p[i];
    *out = trimmed(*out);
    return OK;
}

int configs_parse_added(struct admin *a, const char *text, struct props *out)
{
    const char *end = text + strlen(text);

    while (end > text && end[-1] == ',')            /* String.split() drops what is empty at the end */
        end--;
    for (const char *p = text; p == text || p <= end; ) {
        struct str one = piece(p, end, ','), name = piece(p, p + one.len, '='), value;

        if (name.len == one.len || piece(name.p + name.len + 1, p + one.len, '=').len + name.len + 1 != one.len)
            return admin_fail(a, ERR_INVALID, "requirement failed: Invalid entity config: all configs to be "
                                              "added must be "
                              "in the format \"key=val\".");
        TRY(without_brackets(a, (struct str){ name.p + name.len + 1, one.len - name.len - 1 }, &value));
        if (props_set(out, trimmed(name), value, &a->arena) != OK)
            return admin_fail(a, ERR_NOMEM, "out of memory");
        p += one.len + 1;
        if (p > end)
            break;
    }
    return OK;
}

/* ---- --alter ---- */

static bool is_removed(struct str name, const struct str *remove, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(name, remove[i]))
            return true;
    return false;
}

static int send_changes(struct admin *a, const struct entity_kind *kind, const char *name, const struct props *add,
                        const struct str *remove, size_t remove_n)
{
    struct incremental_alter_configs_request  q;
    struct incremental_alter_configs_response r;
    __typeof__(q.resources)                   res = arena_zalloc(&a->arena, sizeof *res);

    if (res == NULL || (res->configs = arena_array(&a->arena, add->n + remove_n + 1, sizeof *res->configs)) == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    incremental_alter_configs_request_init(&q);
    q.resources = res;
    q.resources_n = 1;
    res->resource_type = kind->resource;
    res->resource_name = str_of(name);
    for (size_t i = 0; i < add->n; i++) {
        res->configs[res->configs_n].name = add->v[i].name;
        res->configs[res->configs_n].config_operation = OP_SET;
        res->configs[res->configs_n++].value = add->v[i].value;
    }
    for (size_t i = 0; i < remove_n; i++) {
        res->configs[res->configs_n].name = remove[i];
        res->configs[res->configs_n].config_operation = OP_DELETE;
        res->configs[res->configs_n++].value = STR_LIT("");
    }
    TRY(admin_call(a, broker_of(kind, name), &client_incremental_alter_configs, &q, &r));
    if (r.responses_n != 1)
        return admin_fail(a, ERR_CORRUPT, "The broker's answer is not about %s", name);
    return r.responses[0].error_code == KERR_NONE ? OK : admin_fail_kafka(a, r.responses[0].error_code,
                                                                          r.responses[0].error_message);
}

/* What is there stays, with what is added, without what is removed. */
static int send_all(struct admin *a, const struct entity_kind *kind, const char *name, const struct setting *now,
                    size_t now_n, const struct props *add, const struct str *remove, size_t remove_n)
{
    struct alter_configs_request  q;
    struct alter_configs_response r;
    struct props                  all = { .n = 0 };
    __typeof__(q.resources)       res = arena_zalloc(&a->arena, sizeof *res);

    for (size_t i = 0; i < now_n; i++)
        if (is_own(kind, name, &now[i]))
            TRY(props_set(&all, now[i].name, now[i].value, &a->arena));
    for (size_t i = 0; i < add->n; i++)
        TRY(props_set(&all, add->v[i].name, add->v[i].value, &a->arena));
    if (res == NULL || (res->configs = arena_array(&a->arena, all.n + 1, sizeof *res->configs)) == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    alter_configs_request_init(&q);
    q.resources = res;
    q.resources_n = 1;
    res->resource_type = kind->resource;
    res->resource_name = str_of(name);
    for (size_t i = 0; i < all.n; i++) {
        if (is_removed(all.v[i].name, remove, remove_n))
            continue;
        if (all.v[i].value.p == NULL)
            return admin_fail(a, ERR_NOENT, "All sensitive broker config entries must be specified for --alter, "
                                            "missing "
                              "entries: Set(%.*s)", STR_ARG(all.v[i].name));
        res->configs[res->configs_n].name = all.v[i].name;
        res->configs[res->configs_n++].value = all.v[i].value;
    }
    TRY(admin_call(a, broker_of(kind, name), &client_alter_configs, &q, &r));
    if (r.responses_n != 1)
        return admin_fail(a, ERR_CORRUPT, "The broker's answer is not about %s", name);
    return r.responses[0].error_code == KERR_NONE ? OK : admin_fail_kafka(a, r.responses[0].error_code,
                                                                          r.responses[0].error_message);
}

static bool is_set(const struct entity_kind *kind, const char *name, const struct setting *v, size_t n, struct str key)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(v[i].name, key) && is_own(kind, name, &v[i]))
            return true;
    return false;
}

/* What cannot be removed, because it is not there, and loggers that do not exist. */
static int refuse_unknown(struct admin *a, const struct entity_kind *kind, const char *name, const struct setting *v,
                          size_t n, const struct props *add, const struct str *remove, size_t remove_n)
{
    bool loggers = kind->own_source == 0;
    const char *list = "";

    for (size_t i = 0; i < remove_n && list != NULL; i++)
        if (!is_set(kind, name, v, n, remove[i]))
            list = arena_printf(&a->arena, "%s%s%.*s", list, list[0] != '\0' ? "," : "", STR_ARG(remove[i]));
    for (size_t i = 0; i < add->n && loggers && list != NULL; i++)
        if (!is_set(kind, name, v, n, add->v[i].name))
            list = arena_printf(&a->arena, "%s%s%.*s", list, list[0] != '\0' ? "," : "", STR_ARG(add->v[i].name));
    if (list == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    if (list[0] != '\0')
        return admin_fail(a, ERR_NOENT, "Invalid %s: %s", loggers ? "broker logger(s)" : "config(s)", list);
    return OK;
}

int configs_alter(struct admin *a, const struct entity_kind *kind, const char *name, const struct props *add,
                  const struct str *remove, size_t remove_n)
{
    struct setting *now;
    size_t          n;
    int             rc;

    TRY(describe(a, kind, name, false, &now, &n));
    TRY(refuse_unknown(a, kind, name, now, n, add, remove, remove_n));
    client_doing(a->client, kind->replaces ? "alterConfigs" : "incrementalAlterConfigs");
    rc = kind->replaces ? send_all(a, kind, name, now, n, add, remove, remove_n)
                        : send_changes(a, kind, name, add, remove, remove_n);
    TRY(rc);
    if (name[0] != '\0')
        printf("Completed updating config for %.*s %s.\n", configs_singular_len(kind), kind->type, name);
    else
        printf("Completed updating default config for %s in the cluster.\n", kind->type);
    return OK;
}
