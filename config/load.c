/* config/load.c - from what was given to one immutable snapshot: defaults, values, then what follows from them.
 *
 * A value that is refused leaves the default in its field, and its row marked bad, so that the later steps do not
 * complain about it a second time.
 */
#include "config/load.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_LIMIT_BYTES = 64 << 20 };

/* Properties of Kafka's clients that guides put into the server's file. */
static const char *const client_properties[] = {
    "acks", "auto.commit.interval.ms", "auto.offset.reset", "batch.size", "bootstrap.servers", "buffer.memory",
    "client.id", "consumer.timeout.ms", "delivery.timeout.ms", "enable.auto.commit", "enable.idempotence",
    "fetch.max.wait.ms", "fetch.min.bytes", "group.id", "heartbeat.interval.ms", "isolation.level",
    "key.deserializer", "key.serializer", "linger.ms", "max.block.ms", "max.in.flight.requests.per.connection",
    "max.partition.fetch.bytes", "max.poll.interval.ms", "max.poll.records", "max.request.size", "metadata.max.age.ms",
    "partition.assignment.strategy", "producer.type", "receive.buffer.bytes", "reconnect.backoff.ms", "retries",
    "retry.backoff.ms", "send.buffer.bytes", "serializer.class", "session.timeout.ms", "transactional.id",
    "value.deserializer", "value.serializer",
};

const struct config_given *loader_given(const struct loader *l, const char *key)
{
    for (size_t i = 0; i < l->given_n; i++)
        if (strcmp(l->given[i].key, key) == 0)
            return &l->given[i];
    return NULL;
}

bool loader_is_bad(const struct loader *l, const char *name)
{
    const struct param *p = param_find(&server_params, str_of(name));

    assert(p != NULL);
    return l->bad[p - server_params.v];
}

void loader_mark_bad(struct loader *l, const struct param *p)
{
    l->bad[p - server_params.v] = true;
}

void *loader_array(struct loader *l, size_t n, size_t size)
{
    void *p = arena_array(&l->cfg->arena, n, size);

    if (p == NULL)
        l->rc = ERR_NOMEM;
    return p;
}

const char *loader_text(struct loader *l, const char *fmt, ...)
{
    va_list ap;
    char *text = NULL;
    const char *copy = NULL;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) >= 0) {
        copy = arena_cstr(&l->cfg->arena, str_of(text));
        free(text);
    }
    va_end(ap);
    if (copy == NULL)
        l->rc = ERR_NOMEM;
    return copy;
}

/* ---- keys that are not in the table ------------------------------------------------------------------------- */

static bool is_client_property(const char *key)
{
    for (size_t i = 0; i < sizeof client_properties / sizeof client_properties[0]; i++)
        if (strcmp(client_properties[i], key) == 0)
            return true;
    return false;
}

static void unknown_key(struct loader *l, const struct config_given *g)
{
    const struct param *topic = param_find(&topic_params, str_of(g->key));
    const struct param *near = param_nearest(&server_params, str_of(g->key));

    if (strncmp(g->key, "config.providers", strlen("config.providers")) == 0)
        loader_problem(l, CONFIG_ERROR, g, NULL,
                       "values from providers are not supported; write the values themselves");
    else if (topic != NULL && topic->server_name != NULL)
        loader_problem(l, CONFIG_WARNING, g, topic->server_name, "a topic's property, it does nothing here");
    else if (topic != NULL)
        loader_problem(l, CONFIG_WARNING, g, NULL, "a topic's property, it does nothing here");
    else if (is_client_property(g->key))
        loader_problem(l, CONFIG_WARNING, g, near != NULL ? near->name : NULL,
                       "a property of clients, it does nothing in the broker's configuration");
    else
        loader_problem(l, CONFIG_WARNING, g, near != NULL ? near->name : NULL, "unknown property, it does nothing");
}

/* ---- keys that are ------------------------------------------------------------------------------------------ */

/* "value   # a note": properties files have no such comments, the note would be part of the value. */
static bool has_trailing_comment(const struct config_given *g)
{
    if (g->line == 0 || g->param->type == CONFIG_PASSWORD || strstr(g->key, ".rules") != NULL)
        return false;
    for (const char *c = strchr(g->value, '#'); c != NULL; c = strchr(c + 1, '#'))
        if (c == g->value || c[-1] == ' ' || c[-1] == '\t')
            return true;
    return false;
}

#define NO_ZK_SECURITY "Debian's ZooKeeper client library has neither TLS nor SASL, "

static const char *refusal(const struct param *p)
{
    static const struct {
        const char *name, *text;
    } special[] = {
        { "process.roles", "Klamm does not speak KRaft; take this line out to run one broker that keeps its metadata "
                           "in an embedded store under the first log dir" },
        { "security.inter.broker.protocol", "only PLAINTEXT is supported yet" },
        { "zookeeper.set.acl", NO_ZK_SECURITY "so nobody is there whom a znode could belong to" },
        { "zookeeper.ssl.client.enable", NO_ZK_SECURITY "so the connection cannot be encrypted" },
        { "zookeeper.ssl.crl.enable", NO_ZK_SECURITY "so there is no certificate to check" },
        { "zookeeper.ssl.ocsp.enable", NO_ZK_SECURITY "so there is no certificate to check" },
    };

    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++)
        if (strcmp(special[i].name, p->name) == 0)
            return special[i].text;
    return "promises safety or security that Klamm does not give yet, so it will not start with it; take this line out "
           "if you can do without";
}

bool loader_check_effect(struct loader *l, const struct config_given *g, const struct param *p, const void *base)
{
    const char *text = NULL;

    if (p->effect == CONFIG_NONE)
        loader_problem(l, CONFIG_WARNING, g, NULL, "known, but has no effect in Klamm yet");
    if (p->effect != CONFIG_REFUSE)
        return true;
    if (param_text(p, base, &l->cfg->arena, &text) != OK)
        l->rc = ERR_NOMEM;
    if (text == NULL || (p->dflt != NULL && strcmp(text, p->dflt) == 0))
        return true;
    loader_problem(l, CONFIG_ERROR, g, NULL, "%s", refusal(p));
    return false;
}

static void known_key(struct loader *l, const struct config_given *g)
{
    char why[2048], allowed[2048];
    int rc;

    if (has_trailing_comment(g)) {
        loader_problem(l, CONFIG_ERROR, g, NULL, "a properties file has no end-of-line comments: everything after the "
                       "separator is the value; put the note on a line of its own that begins with #");
        loader_mark_bad(l, g->param);
        return;
    }
    rc = param_set(g->param, l->cfg, g->value, &l->cfg->arena, why, sizeof why);
    if (rc == ERR_RANGE) {
        param_allowed(g->param, allowed, sizeof allowed);
        loader_problem(l, CONFIG_ERROR, g, NULL, "not a value of this property; allowed: %s", allowed);
        loader_mark_bad(l, g->param);
    } else if (rc != OK) {
        l->rc = rc;
    } else if (!loader_check_effect(l, g, g->param, l->cfg)) {
        loader_mark_bad(l, g->param);
    }
}

static void set_defaults(struct loader *l)
{
    char why[256];

    for (size_t i = 0; i < server_params.n && l->rc == OK; i++) {
        const struct param *p = &server_params.v[i];
        int rc = param_set(p, l->cfg, p->dflt, &l->cfg->arena, why, sizeof why);

        assert(rc == OK || rc == ERR_NOMEM);
        l->rc = rc;
    }
}

static void set_given(struct loader *l)
{
    for (size_t i = 0; i < l->given_n && l->rc == OK; i++) {
        if (l->given[i].param != NULL)
            known_key(l, &l->given[i]);
        else if (strncmp(l->given[i].key, LISTENER_PREFIX, strlen(LISTENER_PREFIX)) != 0)
            unknown_key(l, &l->given[i]);           /* listeners_derive() looks at listener.name.* */
    }
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct config_given *)a)->key, ((const struct config_given *)b)->key);
}

static void keep_given(struct loader *l)
{
    if (l->given_n > 1)
        qsort(l->given, l->given_n, sizeof *l->given, by_key);
    l->cfg->given = l->given;
    l->cfg->given_n = l->given_n;
}

int loader_begin(struct loader *l, struct config_problems *problems)
{
    *l = (struct loader){ .problems = problems };
    *problems = (struct config_problems){ 0 };
    arena_init(&problems->arena, CONFIG_LIMIT_BYTES);
    l->cfg = calloc(1, sizeof *l->cfg);
    if (l->cfg == NULL)
        return ERR_NOMEM;
    arena_init(&l->cfg->arena, CONFIG_LIMIT_BYTES);
    atomic_init(&l->cfg->refs, 1);
    l->bad = loader_array(l, server_params.n, sizeof *l->bad);
    if (l->rc == OK)
        set_defaults(l);
    return OK;
}

int loader_end(struct loader *l, struct config **out)
{
    if (l->rc == OK)
        set_given(l);
    if (l->rc == OK)
        listeners_derive(l);
    if (l->rc == OK)
        derived_set(l);
    if (l->rc == OK)
        cross_check(l);
    keep_given(l);
    problems_sort(l->problems);
    if (l->rc == OK && l->problems->errors_n > 0)
        l->rc = ERR_INVALID;
    if (l->rc != OK)
        config_unref(&l->cfg);
    *out = l->cfg;
    return l->rc;
}

int config_load(struct config **out, const struct config_input *in, struct config_problems *problems)
{
    struct loader l;

    *out = NULL;
    TRY(loader_begin(&l, problems));
    if (l.rc == OK)
        sources_read(&l, in);
    return loader_end(&l, out);
}

struct config *config_ref(const struct config *cfg)
{
    struct config *c = (struct config *)(uintptr_t)cfg;     /* counting is the one thing that may change */

    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void config_unref(struct config **cfg)
{
    struct config *c = *cfg;

    *cfg = NULL;
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) > 1)
        return;
    arena_fini(&c->arena);
    free(c);
}
