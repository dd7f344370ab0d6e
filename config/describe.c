/* config/describe.c - the lists that DescribeConfigs answers with. */
#include "config/describe.h"

#include <stdlib.h>
#include <string.h>

/* Server properties that say the same thing in different units: the first that is set counts. */
static const char *const groups[][4] = {
    { "log.roll.ms", "log.roll.hours" },
    { "log.roll.jitter.ms", "log.roll.jitter.hours" },
    { "log.flush.interval.ms", "log.flush.scheduler.interval.ms" },
    { "log.retention.ms", "log.retention.minutes", "log.retention.hours" },
};

/* The synonyms of a server property, itself among them, strongest first. */
static size_t synonym_names(const char *name, const char *out[4])
{
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
        size_t n = 0;
        bool found = false;

        for (; n < 4 && groups[g][n] != NULL; n++) {
            out[n] = groups[g][n];
            found |= strcmp(out[n], name) == 0;
        }
        /* log.flush.scheduler.interval.ms is a default of the other, not a synonym itself */
        if (found && strcmp(name, "log.flush.scheduler.interval.ms") != 0)
            return n;
    }
    out[0] = name;
    return 1;
}

static const struct config_given *given_find(const struct config *cfg, const char *name)
{
    for (size_t i = 0; i < cfg->given_n; i++)
        if (strcmp(cfg->given[i].key, name) == 0)
            return &cfg->given[i];
    /* each of the two names of the broker's number stands for both */
    if (strcmp(name, "node.id") == 0 || strcmp(name, "broker.id") == 0)
        for (size_t i = 0; i < cfg->given_n; i++)
            if (strcmp(cfg->given[i].key, "node.id") == 0 || strcmp(cfg->given[i].key, "broker.id") == 0)
                return &cfg->given[i];
    return NULL;
}

static const struct config_dynamic *dynamic_find(const struct config *cfg, const char *name, enum config_layer layer)
{
    for (size_t i = 0; i < cfg->dynamic_n; i++)
        if (cfg->dynamic[i].layer == layer && strcmp(cfg->dynamic[i].key, name) == 0)
            return &cfg->dynamic[i];
    return NULL;
}

static void add_synonym(struct config_entry *e, const char *name, const char *value, enum config_source source)
{
    if (e->synonyms_n < CONFIG_SYNONYMS_MAX)
        e->synonyms[e->synonyms_n++] = (struct config_synonym){ name, e->sensitive ? NULL : value, source };
}

/* Adds where the server property `name` gets its value from: what was given, then the defaults. As Kafka does, nothing
 * stands before the first synonym that has the property's own name. */
static void add_server_synonyms(struct config_entry *e, const struct config *cfg, const char *name)
{
    const char *names[4];
    size_t n = synonym_names(name, names), first = e->synonyms_n, own;

    for (size_t i = 0; i < n; i++) {
        const struct config_dynamic *d = dynamic_find(cfg, names[i], CONFIG_LAYER_BROKER);

        if (d != NULL)
            add_synonym(e, names[i], d->value, CONFIG_SOURCE_DYNAMIC_BROKER);
    }
    for (size_t i = 0; i < n; i++) {
        const struct config_dynamic *d = dynamic_find(cfg, names[i], CONFIG_LAYER_CLUSTER);

        if (d != NULL)
            add_synonym(e, names[i], d->value, CONFIG_SOURCE_DYNAMIC_CLUSTER);
    }
    for (size_t i = 0; i < n; i++) {
        const struct config_given *g = given_find(cfg, names[i]);

        if (g != NULL)
            add_synonym(e, names[i], g->value, CONFIG_SOURCE_STATIC_BROKER);
    }
    for (size_t i = 0; i < n; i++) {
        const struct param *p = param_find(&server_params, str_of(names[i]));

        if (p != NULL && p->dflt != NULL)
            add_synonym(e, names[i], p->dflt, CONFIG_SOURCE_DEFAULT);
    }
    for (own = first; own < e->synonyms_n && strcmp(e->synonyms[own].name, name) != 0; own++)
        ;
    memmove(&e->synonyms[first], &e->synonyms[own], (e->synonyms_n - own) * sizeof e->synonyms[0]);
    e->synonyms_n -= own - first;
}

static enum config_source source_of(const struct config_entry *e)
{
    return e->synonyms_n > 0 ? e->synonyms[0].source : CONFIG_SOURCE_DEFAULT;
}

/* What is said of a property, and of one that could be changed at any time what a change does here. NULL: out of
 * memory. */
static const char *doc_of(const struct param *p, struct arena *a)
{
    static const char *const here[CONFIG_REFUSE + 1] = {
        [CONFIG_LATER] = " (A change is taken up when the broker is started again.)",
        [CONFIG_NONE] = " (It has no effect in Klamm yet.)",
        [CONFIG_REFUSE] = " (It has no effect in Klamm yet.)",
    };

    if (p->when == CONFIG_READ_ONLY || here[p->effect] == NULL)
        return p->help;
    return arena_printf(a, "%s%s", p->help, here[p->effect]);
}

static int describe_param(const struct config *cfg, const struct param *p, struct arena *a, struct config_entry *e)
{
    *e = (struct config_entry){ .name = p->name, .type = (int)p->type, .doc = doc_of(p, a),
                                .sensitive = p->type == CONFIG_PASSWORD,
                                .read_only = p->when == CONFIG_READ_ONLY };
    if (e->doc == NULL)
        return ERR_NOMEM;
    add_server_synonyms(e, cfg, p->name);
    e->source = source_of(e);
    return e->sensitive ? OK : param_text(p, cfg, a, &e->value);
}

/* A key outside the table: a listener's own value of a property, or one that nobody knows, which may be a secret. */
static void describe_given(const struct config *cfg, const struct config_given *g, struct config_entry *e)
{
    const struct param *p = listener_base_param(g->key);

    *e = (struct config_entry){ .name = g->key, .source = CONFIG_SOURCE_STATIC_BROKER, .read_only = true,
                                .type = p != NULL ? (int)p->type : 0, .doc = p != NULL ? p->help : NULL,
                                .sensitive = p == NULL || p->type == CONFIG_PASSWORD };
    e->value = e->sensitive ? NULL : g->value;
    add_synonym(e, g->key, g->value, CONFIG_SOURCE_STATIC_BROKER);
    if (p != NULL)
        add_server_synonyms(e, cfg, p->name);
}

/* The same of what was set while brokers run, over what v has of it already: the weaker layer comes first. */
static void describe_dynamic(const struct config *cfg, const struct config_dynamic *d, struct config_entry *v,
                             size_t *n)
{
    const struct param *p = listener_base_param(d->key);
    struct config_entry *e = NULL, was = { .name = NULL };
    bool secret = p == NULL || p->type == CONFIG_PASSWORD;

    for (size_t i = 0; i < *n && e == NULL; i++)
        if (strcmp(v[i].name, d->key) == 0)
            e = &v[i];
    if (e != NULL)
        was = *e;
    else
        e = &v[(*n)++];
    *e = (struct config_entry){ .name = d->key, .value = secret ? NULL : d->value, .sensitive = secret,
                                .read_only = true,      /* as Apache Kafka says of all that begins with a listener */
                                .type = p != NULL ? (int)p->type : 0, .doc = p != NULL ? p->help : NULL,
                                .source = d->layer == CONFIG_LAYER_BROKER ? CONFIG_SOURCE_DYNAMIC_BROKER
                                                                          : CONFIG_SOURCE_DYNAMIC_CLUSTER };
    add_synonym(e, d->key, d->value, e->source);
    for (size_t i = 0; i < was.synonyms_n; i++)
        add_synonym(e, was.synonyms[i].name, was.synonyms[i].value, was.synonyms[i].source);
    if (was.name == NULL && p != NULL)
        add_server_synonyms(e, cfg, p->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct config_entry *)a)->name, ((const struct config_entry *)b)->name);
}

int config_describe_cluster(const struct config *cfg, struct arena *a, struct config_entry **out, size_t *n)
{
    struct config_entry *v = arena_array(a, cfg->dynamic_n + 1, sizeof *v);

    *n = 0;
    *out = v;
    if (v == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < cfg->dynamic_n; i++) {
        const struct config_dynamic *d = &cfg->dynamic[i];
        const struct param *p = param_find(&server_params, str_of(d->key));
        bool secret;

        if (p == NULL)
            p = listener_base_param(d->key);
        secret = p == NULL || p->type == CONFIG_PASSWORD;
        if (d->layer != CONFIG_LAYER_CLUSTER)
            continue;
        v[*n] = (struct config_entry){ .name = d->key, .value = secret ? NULL : d->value, .sensitive = secret,
                                       .source = CONFIG_SOURCE_DYNAMIC_CLUSTER, .type = p != NULL ? (int)p->type : 0,
                                       .doc = p != NULL ? p->help : NULL };
        add_synonym(&v[(*n)++], d->key, d->value, CONFIG_SOURCE_DYNAMIC_CLUSTER);
    }
    if (*n > 1)
        qsort(v, *n, sizeof *v, by_name);
    return OK;
}

int config_describe(const struct config *cfg, struct arena *a, struct config_entry **out, size_t *n)
{
    struct config_entry *v = arena_array(a, server_params.n + cfg->given_n + cfg->dynamic_n, sizeof *v);

    *n = 0;
    *out = v;
    if (v == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < server_params.n; i++) {
        const struct param *p = &server_params.v[i];

        if (p->flags == 0 || given_find(cfg, p->name) != NULL ||
            dynamic_find(cfg, p->name, CONFIG_LAYER_BROKER) != NULL ||
            dynamic_find(cfg, p->name, CONFIG_LAYER_CLUSTER) != NULL)
            TRY(describe_param(cfg, p, a, &v[(*n)++]));
    }
    for (size_t i = 0; i < cfg->given_n; i++)
        if (cfg->given[i].param == NULL)
            describe_given(cfg, &cfg->given[i], &v[(*n)++]);
    for (int layer = CONFIG_LAYER_CLUSTER; layer <= CONFIG_LAYER_BROKER; layer++)
        for (size_t i = 0; i < cfg->dynamic_n; i++)
            if ((int)cfg->dynamic[i].layer == layer &&
                param_find(&server_params, str_of(cfg->dynamic[i].key)) == NULL)
                describe_dynamic(cfg, &cfg->dynamic[i], v, n);
    qsort(v, *n, sizeof *v, by_name);
    return OK;
}

static const struct topic_property *topic_given(const struct topic_config *tc, const char *name)
{
    for (size_t i = 0; i < tc->given_n; i++)
        if (str_is(tc->given[i].name, name))
            return &tc->given[i];
    return NULL;
}

int topic_config_describe(const struct topic_config *tc, struct arena *a, struct config_entry **out, size_t *n)
{
    struct config_entry *v = arena_array(a, topic_params.n, sizeof *v);

    *n = 0;
    *out = v;
    if (v == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < topic_params.n; i++) {
        const struct param *p = &topic_params.v[i];
        struct config_entry *e = &v[(*n)++];

        *e = (struct config_entry){ .name = p->name, .type = (int)p->type, .doc = p->help };
        TRY(param_text(p, tc, a, &e->value));
        if (topic_given(tc, p->name) != NULL)
            add_synonym(e, p->name, e->value, CONFIG_SOURCE_TOPIC);
        if (p->server_name != NULL)
            add_server_synonyms(e, tc->server, p->server_name);
        e->source = source_of(e);
    }
    qsort(v, *n, sizeof *v, by_name);
    return OK;
}
