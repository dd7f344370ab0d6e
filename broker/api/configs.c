/* broker/api/configs.c - DescribeConfigs: every setting of a topic, of this broker, and the level of its log. */
#include "base/log.h"
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "broker/cluster/broker_configs.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/cluster/topic_configs.h"
#include "metadata/topic_name.h"
#include "config/describe.h"
#include "proto/gen/describe_configs_request.h"
#include "proto/gen/describe_configs_response.h"
#include "proto/kerr.h"

#include <stdlib.h>

#define resource_in describe_configs_request_describe_configs_resource
#define result_out  describe_configs_response_describe_configs_result
#define config_out  describe_configs_response_describe_configs_resource_result
#define synonym_out describe_configs_response_describe_configs_synonym

enum { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4, RESOURCE_BROKER_LOGGER = 8, RESOURCE_CLIENT_METRICS = 16 };
enum { SOURCE_BROKER_LOGGER = 6 };

struct describing {
    struct broker                  *b;
    struct request                 *r;
    struct describe_configs_request in;
    struct metadata                *md;
    struct topic_config_entry     **held;       /* what the answer points into */
    size_t                          held_n;
    struct config                  *cfg;        /* this broker's settings, as they are now */
};

/* ---- entries -------------------------------------------------------------------------------------------------- */

static bool wanted(const struct resource_in *res, const char *name)
{
    if (res->configuration_keys_n <= 0)
        return true;
    for (int32_t i = 0; i < res->configuration_keys_n; i++)
        if (str_is(res->configuration_keys[i], name))
            return true;
    return false;
}

static bool synonyms_fill(struct describing *d, const struct config_entry *e, struct config_out *out)
{
    out->synonyms = arena_array(&d->r->arena, e->synonyms_n + 1, sizeof *out->synonyms);
    if (out->synonyms == NULL)
        return false;
    for (size_t i = 0; i < e->synonyms_n && d->in.include_synonyms; i++) {
        struct synonym_out *s = &out->synonyms[out->synonyms_n++];

        describe_configs_response_describe_configs_synonym_init(s);
        s->name = str_of(e->synonyms[i].name);
        s->value = str_of(e->synonyms[i].value);
        s->source = (int8_t)e->synonyms[i].source;
    }
    return true;
}

static bool entries_fill(struct describing *d, const struct resource_in *res, const struct config_entry *e, size_t n,
                         struct result_out *out)
{
    out->configs = arena_array(&d->r->arena, n + 1, sizeof *out->configs);
    if (out->configs == NULL)
        return false;
    for (size_t i = 0; i < n; i++) {
        struct config_out *c = &out->configs[out->configs_n];

        if (!wanted(res, e[i].name))
            continue;
        describe_configs_response_describe_configs_resource_result_init(c);
        c->name = str_of(e[i].name);
        c->value = str_of(e[i].value);
        c->read_only = e[i].read_only;
        c->is_sensitive = e[i].sensitive;
        if (d->r->version > 0)                      /* Apache Kafka's isDefault of version 0 is always false */
            c->config_source = (int8_t)e[i].source;
        c->config_type = (int8_t)e[i].type;
        c->documentation = d->in.include_documentation ? str_of(e[i].doc) : (struct str){ NULL, 0 };
        if (!synonyms_fill(d, &e[i], c))
            return false;
        out->configs_n++;
    }
    return true;
}

/* ---- kinds of resources: each gives false when memory is out ---------------------------------------------------- */

static void fail(struct describing *d, struct result_out *out, int16_t error, const char *fmt, struct str name)
{
    out->error_code = error;
    out->error_message = str_of(arena_printf(&d->r->arena, "%s%.*s", fmt, STR_ARG(name)));
}

static bool describe_topic(struct describing *d, const struct resource_in *res, struct result_out *out)
{
    struct config_entry *entries;
    struct topic_config_entry *e;
    char buf[512];
    const char *fault = topic_name_fault(res->resource_name, buf, sizeof buf);
    size_t n;

    if (fault != NULL) {
        fail(d, out, KERR_INVALID_TOPIC_EXCEPTION, "Topic name is invalid: ", str_of(fault));
        return true;
    }
    if (metadata_topic(d->md, res->resource_name) == NULL) {
        fail(d, out, KERR_UNKNOWN_TOPIC_OR_PARTITION, "", (struct str){ NULL, 0 });
        return true;
    }
    if (topic_configs_load(d->b->topic_configs, &res->resource_name, 1) != OK)
        return false;
    e = topic_configs_get(d->b->topic_configs, res->resource_name);
    d->held[d->held_n++] = e;
    return topic_config_describe(&e->cfg, &d->r->arena, &entries, &n) == OK && entries_fill(d, res, entries, n, out);
}

/* 0: it names this broker; else refused. */
static bool names_us(struct describing *d, struct str name, struct result_out *out, const char *expected)
{
    char buf[16], *end;
    long id;

    if (name.len > 0 && name.len < sizeof buf) {
        memcpy(buf, name.p, name.len);
        buf[name.len] = '\0';
        id = strtol(buf, &end, 10);
        if (*end == '\0' && id == d->b->id)
            return true;
        if (*end == '\0') {
            fail(d, out, KERR_INVALID_REQUEST, expected, name);
            return false;
        }
    }
    fail(d, out, KERR_INVALID_REQUEST, "Broker id must be an integer, but it is: ", name);
    return false;
}

static bool describe_broker(struct describing *d, const struct resource_in *res, struct result_out *out)
{
    struct config_entry *entries;
    const char *expected;
    size_t n;

    if (res->resource_name.len == 0)
        return config_describe_cluster(d->cfg, &d->r->arena, &entries, &n) == OK &&
               entries_fill(d, res, entries, n, out);
    expected = arena_printf(&d->r->arena, "Unexpected broker id, expected %d or empty string, but received ", d->b->id);
    if (expected == NULL)
        return false;
    if (!names_us(d, res->resource_name, out, expected))
        return true;
    return config_describe(d->cfg, &d->r->arena, &entries, &n) == OK && entries_fill(d, res, entries, n, out);
}

/* One logger: the whole log has one level. */
static bool describe_logger(struct describing *d, const struct resource_in *res, struct result_out *out)
{
    static const char *const levels[] = { "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL" };
    struct config_entry root = { .name = "root", .value = levels[atomic_load(&log_threshold)],
                                 .source = (enum config_source)SOURCE_BROKER_LOGGER };
    const char *expected;

    if (res->resource_name.len == 0) {
        fail(d, out, KERR_INVALID_REQUEST, "Broker id must not be empty", (struct str){ NULL, 0 });
        return true;
    }
    expected = arena_printf(&d->r->arena, "Unexpected broker id, expected %d but received ", d->b->id);
    if (expected == NULL)
        return false;
    if (!names_us(d, res->resource_name, out, expected))
        return true;
    return entries_fill(d, res, &root, 1, out);
}

static bool describe_metrics(struct describing *d, const struct resource_in *res, struct result_out *out)
{
    const char *why = res->resource_name.len == 0 ? "Client metrics subscription name must not be empty"
                                                  : "Config type client-metrics is only supported on KRaft clusters";

    fail(d, out, KERR_INVALID_REQUEST, why, (struct str){ NULL, 0 });
    return true;
}

static const struct resource_kind {
    int8_t type;
    bool (*describe)(struct describing *d, const struct resource_in *res, struct result_out *out);
} kinds[] = {
    { RESOURCE_TOPIC, describe_topic },
    { RESOURCE_BROKER, describe_broker },
    { RESOURCE_BROKER_LOGGER, describe_logger },
    { RESOURCE_CLIENT_METRICS, describe_metrics },
};

static const struct resource_kind *kind_of(int8_t type)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].type == type)
            return &kinds[i];
    return NULL;
}

static const char malformed[] = "This most likely occurs because of a request being malformed by the client library or "
                                "the message was sent to an incompatible broker. See the broker logs for more details.";

/* A resource of a kind that nobody knows makes the whole request invalid. */
static bool fill(struct describing *d, struct describe_configs_response *out)
{
    bool known = true;

    out->results = arena_array(&d->r->arena, (size_t)d->in.resources_n + 1, sizeof *out->results);
    if (out->results == NULL)
        return false;
    for (int32_t i = 0; i < d->in.resources_n; i++)
        known &= kind_of(d->in.resources[i].resource_type) != NULL;
    for (int32_t i = 0; i < d->in.resources_n; i++) {
        const struct resource_in *res = &d->in.resources[i];
        struct result_out *to = &out->results[out->results_n++];

        describe_configs_response_describe_configs_result_init(to);
        to->resource_type = res->resource_type;
        to->resource_name = res->resource_name;
        if (!known)
            fail(d, to, KERR_INVALID_REQUEST, malformed, (struct str){ NULL, 0 });
        else if (!kind_of(res->resource_type)->describe(d, res, to))
            return false;
    }
    return true;
}

void api_describe_configs(struct broker *b, struct request *r)
{
    struct describing d = { .b = b, .r = r };
    struct describe_configs_response out;

    if (!API_READ(r, describe_configs_request, &d.in))
        return;
    describe_configs_response_init(&out);
    d.md = metadata_get(b->metacache);
    d.cfg = broker_configs_get(b->broker_configs);
    d.held = calloc((size_t)d.in.resources_n + 1, sizeof *d.held);
    if (d.held != NULL && fill(&d, &out))
        API_REPLY(r, describe_configs_response, &out);
    else
        request_close(r, "out of memory");
    for (size_t i = 0; i < d.held_n; i++)
        topic_config_entry_put(&d.held[i]);
    free(d.held);
    config_unref(&d.cfg);
    metadata_put(&d.md);
}
