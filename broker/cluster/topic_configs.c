/* broker/cluster/topic_configs.c - one map from topic to entry; topics without settings of their own share
 * one entry. */
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(t) ((t)->name_len = 0)
#include "broker/cluster/topic_configs.h"

#include "base/lock.h"
#include "base/log.h"
#include "config/version.h"
#include "metadata/store.h"
#include "metadata/znodes.h"

#include <stdlib.h>
#include <uthash.h>

struct named {
    UT_hash_handle             hh;
    struct topic_config_entry *entry;
    size_t                     name_len;
    char                       name[];
};

struct topic_configs {
    struct store              *store;
    /* under lock */
    struct lock                lock;
    struct config             *cfg;             /* the server's settings, below the topics' own */
    struct topic_config_entry *defaults;
    struct named              *by_name;
};

/* ---- entries ------------------------------------------------------------------------------------------ */

static int entry_new(struct topic_config_entry **out, const struct config *cfg, const struct topic_property *given,
                     size_t n, char *why, size_t why_size)
{
    struct topic_config_entry *e = calloc(1, sizeof *e);
    int rc;

    *out = NULL;
    if (e == NULL)
        return ERR_NOMEM;
    rc = topic_config_build(&e->cfg, cfg, TOPIC_CONFIG_STORED, given, n, why, why_size);
    if (rc != OK) {
        free(e);
        return rc;
    }
    atomic_init(&e->refs, 1);
    *out = e;
    return OK;
}

static struct topic_config_entry *entry_ref(struct topic_config_entry *e)
{
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    return e;
}

void topic_config_entry_put(struct topic_config_entry **e)
{
    struct topic_config_entry *x = *e;

    *e = NULL;
    if (x == NULL || atomic_fetch_sub_explicit(&x->refs, 1, memory_order_acq_rel) != 1)
        return;
    topic_config_fini(&x->cfg);
    free(x);
}

/* ---- the map ------------------------------------------------------------------------------------------ */

int topic_configs_new(struct topic_configs **out, struct store *store, const struct config *cfg)
{
    struct topic_configs *tc = calloc(1, sizeof *tc);
    char why[256];
    int rc;

    *out = NULL;
    if (tc == NULL)
        return ERR_NOMEM;
    tc->store = store;
    tc->cfg = config_ref(cfg);
    rc = entry_new(&tc->defaults, cfg, NULL, 0, why, sizeof why);
    if (rc != OK) {
        if (rc == ERR_INVALID)
            log_error("the server's defaults for topics are not valid: %s", why);
        config_unref(&tc->cfg);
        free(tc);
        return rc;
    }
    lock_init(&tc->lock, LOCK_topicconf);
    *out = tc;
    return OK;
}

static struct named *find(struct topic_configs *tc, struct str topic)
{
    struct named *n = NULL;

    lock_assert(&tc->lock);
    HASH_FIND(hh, tc->by_name, topic.p, topic.len, n);
    return n;
}

static void named_free(struct named *n)
{
    if (n != NULL)
        topic_config_entry_put(&n->entry);
    free(n);
}

void topic_configs_free(struct topic_configs **tc)
{
    struct topic_configs *x = *tc;
    struct named *n, *next;

    *tc = NULL;
    if (x == NULL)
        return;
    HASH_ITER(hh, x->by_name, n, next) {
        HASH_DEL(x->by_name, n);
        named_free(n);
    }
    topic_config_entry_put(&x->defaults);
    config_unref(&x->cfg);
    lock_fini(&x->lock);
    free(x);
}

struct topic_config_entry *topic_configs_get(struct topic_configs *tc, struct str topic)
{
    struct topic_config_entry *e;
    const struct named *n;

    lock_take(&tc->lock);
    n = find(tc, topic);
    e = entry_ref(n != NULL ? n->entry : tc->defaults);
    lock_drop(&tc->lock);
    return e;
}

void topic_configs_forget(struct topic_configs *tc, struct str topic)
{
    struct named *n;

    lock_take(&tc->lock);
    n = find(tc, topic);
    if (n != NULL)
        HASH_DEL(tc->by_name, n);
    lock_drop(&tc->lock);
    named_free(n);
}

/* ---- loading ------------------------------------------------------------------------------------------ */

/* A format that somebody wants and does not get. */
static void warn_of_format(const struct topic_config *tc, struct str topic)
{
    const char *wanted = tc->message_format_version, *protocol = tc->server->inter_broker_protocol_version;
    bool given = false;

    for (size_t i = 0; i < tc->given_n; i++)
        given |= str_is(tc->given[i].name, "message.format.version");
    if (given && (tc->server->message_formats_ignored ? version_magic(wanted) < tc->magic
                                                      : version_find(wanted, NULL) > version_find(protocol, NULL)))
        log_warn("topic %.*s: message.format.version=%s is ignored because inter.broker.protocol.version is %s: "
                 "batches are stored in format %d", STR_ARG(topic), wanted, protocol, tc->magic);
}

/* From the node as read; *out has the defaults already, and keeps them with ERR_INVALID. */
static int entry_of_settings(const struct config *cfg, struct arena *a, const struct store_op *op, struct str topic,
                             struct topic_config_entry **out)
{
    struct znode_config z = { .n = 0 };
    struct topic_config_entry *e = NULL;
    struct topic_property *given;
    char why[512] = "";
    int rc = op->rc;

    if (rc == OK)
        rc = znode_config_read(op->value, a, &z);
    if (rc == ERR_NOENT || (rc == OK && z.n == 0))
        return OK;
    given = arena_array(a, z.n + 1, sizeof *given);
    if (given == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < z.n; i++)
        given[i] = (struct topic_property){ str_of(z.pairs[i].name), str_of(z.pairs[i].value) };
    if (rc == OK)
        rc = entry_new(&e, cfg, given, z.n, why, sizeof why);
    if (rc == OK) {
        warn_of_format(&e->cfg, topic);
        topic_config_entry_put(out);
        *out = e;
    }
    if (rc == ERR_NOMEM)
        return rc;
    if (rc != OK)
        log_error("topic %.*s: its settings in " ZK_CONFIG_TOPICS " cannot be used, the server's defaults hold: %s",
                  STR_ARG(topic), why[0] != '\0' ? why : err_text(rc));
    return rc == OK ? OK : ERR_INVALID;
}

/* *out: a reference. */
static int entry_of_node(struct topic_configs *tc, struct arena *a, const struct store_op *op, struct str topic,
                         struct topic_config_entry **out)
{
    struct config *cfg;
    int rc;

    lock_take(&tc->lock);
    *out = entry_ref(tc->defaults);
    cfg = config_ref(tc->cfg);
    lock_drop(&tc->lock);
    rc = entry_of_settings(cfg, a, op, topic, out);
    config_unref(&cfg);
    return rc;
}

/* What is there stays, unless it is to be replaced. */
static int named_add(struct topic_configs *tc, struct str topic, struct topic_config_entry *e, bool replace)
{
    struct named *n = calloc(1, sizeof *n + topic.len + 1), *old;
    bool ok;

    if (n == NULL)
        return ERR_NOMEM;
    memcpy(n->name, topic.p, topic.len);
    n->name_len = topic.len;
    n->entry = entry_ref(e);
    lock_take(&tc->lock);
    old = find(tc, topic);
    ok = old == NULL || replace;
    if (ok && old != NULL)
        HASH_DEL(tc->by_name, old);
    if (ok) {
        HASH_ADD(hh, tc->by_name, name, (unsigned)topic.len, n);
        ok = n->name_len == topic.len;
    }
    lock_drop(&tc->lock);
    if (ok)
        named_free(old);
    else
        named_free(n);
    return OK;
}

static bool same_given(const struct topic_config *x, const struct topic_config *y)
{
    if (x->given_n != y->given_n)
        return false;
    for (size_t i = 0; i < x->given_n; i++)
        if (!str_eq(x->given[i].name, y->given[i].name) || !str_eq(x->given[i].value, y->given[i].value))
            return false;
    return true;
}

int topic_configs_put(struct topic_configs *tc, struct str topic, const struct store_op *node, struct arena *a,
                      bool *changed)
{
    struct topic_config_entry *e = NULL, *old = topic_configs_get(tc, topic);
    int rc = entry_of_node(tc, a, node, topic, &e);

    *changed = (rc == OK || rc == ERR_INVALID) && !same_given(&e->cfg, &old->cfg);
    if (rc == OK && node->rc == ERR_NOENT)
        topic_configs_forget(tc, topic);            /* deleted, most probably */
    else if ((rc == OK || rc == ERR_INVALID) && named_add(tc, topic, e, true) != OK)
        rc = ERR_NOMEM;
    topic_config_entry_put(&e);
    topic_config_entry_put(&old);
    return rc;
}

/* The entry of every topic, made anew over `cfg`. Under lock: settings change seldom, and nothing is waited for. */
static int rebase_all(struct topic_configs *tc, const struct config *cfg, struct topic_config_entry *defaults)
{
    struct named *n, *next;
    int rc = OK;

    HASH_ITER(hh, tc->by_name, n, next) {
        struct topic_config_entry *e = NULL;
        char why[512];
        int one = OK;

        if (n->entry == tc->defaults)
            e = entry_ref(defaults);
        else
            one = entry_new(&e, cfg, n->entry->cfg.given, n->entry->cfg.given_n, why, sizeof why);
        if (one != OK) {
            rc = ERR_NOMEM;
            log_error("topic %.*s: the server's new defaults cannot be taken up: %s", (int)n->name_len, n->name,
                      one == ERR_INVALID ? why : err_text(one));
            continue;
        }
        topic_config_entry_put(&n->entry);
        n->entry = e;
    }
    return rc;
}

int topic_configs_rebase(struct topic_configs *tc, const struct config *cfg)
{
    struct topic_config_entry *defaults;
    struct config *old;
    char why[512];
    int rc = entry_new(&defaults, cfg, NULL, 0, why, sizeof why);

    if (rc == ERR_INVALID)
        log_error("the server's new defaults for topics are not valid: %s", why);
    if (rc != OK)
        return rc;
    lock_take(&tc->lock);
    rc = rebase_all(tc, cfg, defaults);
    topic_config_entry_put(&tc->defaults);
    tc->defaults = defaults;
    old = tc->cfg;
    tc->cfg = config_ref(cfg);
    lock_drop(&tc->lock);
    config_unref(&old);
    return rc;
}

int topic_configs_load(struct topic_configs *tc, const struct str *topics, size_t n)
{
    struct store_call *call = store_call_new(NULL, NULL);
    struct str *wanted = calloc(n + 1, sizeof *wanted);
    size_t wanted_n = 0;
    int rc = call != NULL && wanted != NULL ? OK : ERR_NOMEM;

    for (size_t i = 0; i < n && rc == OK; i++) {
        bool known;

        lock_take(&tc->lock);
        known = find(tc, topics[i]) != NULL;
        lock_drop(&tc->lock);
        if (known)
            continue;
        store_get(call, zpath_topic_config(topics[i]).z, 0);
        wanted[wanted_n++] = topics[i];
    }
    if (rc == OK && wanted_n > 0) {
        rc = store_run(tc->store, call);
        if (rc == ERR_NOENT)
            rc = OK;                                /* some have no node: each has its own answer */
    }
    for (size_t i = 0; i < wanted_n && rc == OK; i++) {
        struct topic_config_entry *e = NULL;

        rc = entry_of_node(tc, &call->arena, &call->ops[i], wanted[i], &e);
        if (rc == OK || rc == ERR_INVALID)
            rc = named_add(tc, wanted[i], e, false);
        topic_config_entry_put(&e);
    }
    store_call_free(&call);
    free(wanted);
    return rc;
}

#define LOAD_AT_ONCE 256

int topic_configs_load_all(struct topic_configs *tc)
{
    struct store_call *call = store_call_new(NULL, NULL);
    int rc = ERR_NOMEM;

    if (call != NULL) {
        store_children(call, ZK_CONFIG_TOPICS, 0);
        rc = store_run(tc->store, call);
    }
    if (rc == OK) {
        const struct store_op *all = &call->ops[0];

        for (size_t i = 0; i < all->children_n && rc == OK; i += LOAD_AT_ONCE)
            rc = topic_configs_load(tc, all->children + i,
                                    all->children_n - i < LOAD_AT_ONCE ? all->children_n - i : LOAD_AT_ONCE);
    } else if (rc == ERR_NOENT) {
        rc = OK;
    }
    store_call_free(&call);
    return rc;
}
