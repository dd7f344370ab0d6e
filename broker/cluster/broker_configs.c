/* broker/cluster/broker_configs.c - the snapshot of this broker's settings, and what it is made from. */
#include "broker/cluster/broker_configs.h"

#include "base/lock.h"
#include "base/log.h"
#include "metadata/store.h"

#include <stdio.h>
#include <stdlib.h>

#define LAYER_BYTES ((size_t)16 << 20)
#define LAYERS      2

struct layer {
    struct arena           arena;
    struct config_dynamic *v;
    size_t                 n;
};

struct broker_configs {
    /* fixed */
    struct config *base;
    int32_t        broker_id;
    /* who calls put() */
    struct layer   layer[LAYERS];       /* enum config_layer */
    /* under lock */
    struct lock    lock;
    struct config *now;
};

struct zpath broker_configs_path(enum config_layer layer, int32_t broker_id)
{
    struct zpath p;

    if (layer == CONFIG_LAYER_CLUSTER)
        snprintf(p.z, sizeof p.z, "/config/brokers/%s", BROKER_CONFIGS_DEFAULT);
    else
        snprintf(p.z, sizeof p.z, "/config/brokers/%d", broker_id);
    return p;
}

const char *broker_configs_entity(struct zpath path[static 1])
{
    return path->z + strlen("/config/");
}

struct config *broker_configs_get(struct broker_configs *bc)
{
    struct config *cfg;

    lock_take(&bc->lock);
    cfg = config_ref(bc->now);
    lock_drop(&bc->lock);
    return cfg;
}

/* ---- layers ------------------------------------------------------------------------------------------------ */

/* Both layers in one list; `instead` in place of one of them. */
static struct config_dynamic *join(const struct broker_configs *bc, enum config_layer layer,
                                   const struct layer *instead, size_t *n)
{
    const struct layer *v[LAYERS] = { &bc->layer[0], &bc->layer[1] };
    struct config_dynamic *all;

    v[layer] = instead;
    all = calloc(v[0]->n + v[1]->n + 1, sizeof *all);
    *n = 0;
    for (size_t i = 0; all != NULL && i < LAYERS; i++)
        for (size_t k = 0; k < v[i]->n; k++)
            all[(*n)++] = v[i]->v[k];
    return all;
}

static int build(const struct broker_configs *bc, enum config_layer layer, const struct layer *instead,
                 struct config **out, char *why, size_t why_size)
{
    size_t n;
    struct config_dynamic *all = join(bc, layer, instead, &n);
    int rc = all != NULL ? config_overlay(out, bc->base, all, n, why, why_size) : ERR_NOMEM;

    free(all);
    return rc;
}

static int layer_of(enum config_layer which, const struct znode_config *z, struct layer *out)
{
    *out = (struct layer){ .n = 0 };
    arena_init(&out->arena, LAYER_BYTES);
    out->v = arena_array(&out->arena, z->n + 1, sizeof *out->v);
    for (size_t i = 0; out->v != NULL && i < z->n; i++) {
        struct config_dynamic *d = &out->v[out->n++];

        d->key = arena_cstr(&out->arena, str_of(z->pairs[i].name));
        d->value = arena_cstr(&out->arena, str_of(z->pairs[i].value));
        d->layer = which;
        if (d->key == NULL || d->value == NULL)
            out->v = NULL;
    }
    if (out->v != NULL)
        return OK;
    arena_fini(&out->arena);
    return ERR_NOMEM;
}

/* Those that cannot be, each looked at by itself, are left out. */
static int weed(const struct broker_configs *bc, enum config_layer which, const char *path, struct layer *l)
{
    size_t kept = 0;

    for (size_t i = 0; i < l->n; i++) {
        const struct param *p = param_find(&server_params, str_of(l->v[i].key));
        struct config *cfg = NULL;
        char why[2048] = "";
        struct config_dynamic one = l->v[i];
        int rc = OK;

        if (p != NULL && p->when == CONFIG_READ_ONLY) {
            snprintf(why, sizeof why, "it cannot be changed while a broker runs; put it into server.properties");
            rc = ERR_INVALID;
        } else if (p != NULL && p->when == CONFIG_PER_BROKER && which == CONFIG_LAYER_CLUSTER) {
            snprintf(why, sizeof why, "it can only be set for each broker by itself");
            rc = ERR_INVALID;
        } else {
            rc = config_overlay(&cfg, bc->base, &one, 1, why, sizeof why);
        }
        config_unref(&cfg);
        if (rc == ERR_NOMEM)
            return rc;
        if (rc != OK)
            log_error("%s: %s is ignored: %s", path, one.key, why);
        else
            l->v[kept++] = one;
    }
    l->n = kept;
    return OK;
}

static int dynamic_order(const void *a, const void *b)
{
    return strcmp(((const struct config_dynamic *)a)->key, ((const struct config_dynamic *)b)->key);
}

static bool same(const struct layer *x, const struct layer *y)
{
    if (x->n != y->n)
        return false;
    for (size_t i = 0; i < x->n; i++)
        if (strcmp(x->v[i].key, y->v[i].key) != 0 || strcmp(x->v[i].value, y->v[i].value) != 0)
            return false;
    return true;
}

static void publish(struct broker_configs *bc, struct config *now)
{
    struct config *old;

    lock_take(&bc->lock);
    old = bc->now;
    bc->now = now;
    lock_drop(&bc->lock);
    config_unref(&old);
}

int broker_configs_put(struct broker_configs *bc, enum config_layer layer, const struct store_op *node, struct arena *a,
                       bool *changed)
{
    struct zpath path = broker_configs_path(layer, bc->broker_id);
    struct znode_config z = { .n = 0 };
    struct config *now = NULL;
    struct layer fresh;
    char why[2048] = "";
    int rc = node->rc == OK ? znode_config_read(node->value, a, &z) : node->rc == ERR_NOENT ? OK : node->rc;

    *changed = false;
    if (rc == ERR_CORRUPT) {
        log_error("%s: cannot be understood: nothing of it holds until it is mended", path.z);
        z.n = 0;
        rc = OK;
    }
    TRY(rc);
    TRY(layer_of(layer, &z, &fresh));
    rc = weed(bc, layer, path.z, &fresh);
    if (rc == OK && fresh.n > 1)
        qsort(fresh.v, fresh.n, sizeof *fresh.v, dynamic_order);
    *changed = rc == OK && !same(&fresh, &bc->layer[layer]);
    if (*changed)
        rc = build(bc, layer, &fresh, &now, why, sizeof why);
    if (rc == ERR_INVALID)
        log_error("%s: its settings do not go together, those of before hold: %s", path.z, why);
    if (rc != OK || !*changed) {
        *changed = false;
        arena_fini(&fresh.arena);
        return rc == ERR_INVALID ? OK : rc;
    }
    arena_fini(&bc->layer[layer].arena);
    bc->layer[layer] = fresh;
    publish(bc, now);
    return OK;
}

#define INVALID     "Invalid value org.apache.kafka.common.config.ConfigException: "
#define INVALID_END " for configuration Invalid dynamic configuration"

/* Numbers of threads that change by no more than half or double at a time, as Apache Kafka has it. */
static int check_threads(const struct config *old, const struct config *now, char *why, size_t why_size)
{
    const struct {
        const char *name;
        int32_t     old, now;
    } v[] = {
        { "num.io.threads", old->num_io_threads, now->num_io_threads },
        { "num.network.threads", old->num_network_threads, now->num_network_threads },
        { "num.replica.fetchers", old->num_replica_fetchers, now->num_replica_fetchers },
        { "num.recovery.threads.per.data.dir", old->num_recovery_threads_per_data_dir,
          now->num_recovery_threads_per_data_dir },
        { "background.threads", old->background_threads, now->background_threads },
    };
    int32_t was = old->log_cleaner_threads, is = now->log_cleaner_threads;
    char fault[256] = "";

    for (size_t i = 0; i < sizeof v / sizeof v[0] && fault[0] == '\0'; i++) {
        if (v[i].now == v[i].old)
            continue;
        if (v[i].now <= 0)
            snprintf(fault, sizeof fault, "value should be at least 1");
        else if (v[i].now < v[i].old / 2)
            snprintf(fault, sizeof fault, "value should be at least half the current value %d", v[i].old);
        else if (v[i].now > (int64_t)v[i].old * 2)
            snprintf(fault, sizeof fault, "value should not be greater than double the current value %d", v[i].old);
        if (fault[0] != '\0')
            snprintf(why, why_size, INVALID "Dynamic thread count update validation failed for %s=%d, %s" INVALID_END,
                     v[i].name, v[i].now, fault);
    }
    if (fault[0] != '\0')
        return ERR_INVALID;
    if (is != was && is < 1)
        snprintf(fault, sizeof fault, "Log cleaner threads should be at least 1");
    else if (is < was / 2)
        snprintf(fault, sizeof fault, "Log cleaner threads cannot be reduced to less than half the current value %d",
                 was);
    else if (is > (int64_t)was * 2)
        snprintf(fault, sizeof fault,
                 "Log cleaner threads cannot be increased to more than double the current value %d", was);
    if (fault[0] != '\0')
        snprintf(why, why_size, INVALID "%s" INVALID_END, fault);
    return fault[0] != '\0' ? ERR_INVALID : OK;
}

int broker_configs_check(struct broker_configs *bc, enum config_layer layer, const struct znode_config *z, char *why,
                         size_t why_size)
{
    struct config *cfg = NULL;
    struct layer l;
    int rc;

    TRY(layer_of(layer, z, &l));
    rc = build(bc, layer, &l, &cfg, why, why_size);
    if (rc == OK)
        rc = check_threads(bc->now, cfg, why, why_size);        /* by the thread that puts: `now` stays */
    config_unref(&cfg);
    arena_fini(&l.arena);
    return rc;
}

/* ---- life -------------------------------------------------------------------------------------------------- */

static int load(struct broker_configs *bc, struct store *store)
{
    static const enum config_layer layers[LAYERS] = { CONFIG_LAYER_CLUSTER, CONFIG_LAYER_BROKER };
    struct store_call *call = store_call_new(NULL, NULL);
    int rc;

    if (call == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < LAYERS; i++)
        store_get(call, broker_configs_path(layers[i], bc->broker_id).z, 0);
    rc = store_run(store, call);
    if (rc == ERR_NOENT)
        rc = OK;                        /* each has its own answer */
    for (size_t i = 0; i < LAYERS && rc == OK; i++) {
        bool changed;

        rc = broker_configs_put(bc, layers[i], &call->ops[i], &call->arena, &changed);
        for (size_t k = 0; changed && k < bc->layer[layers[i]].n; k++)
            log_info("%s from %s holds", bc->layer[layers[i]].v[k].key, call->ops[i].path);
    }
    store_call_free(&call);
    return rc;
}

int broker_configs_new(struct broker_configs **out, struct store *store, const struct config *base, int32_t broker_id)
{
    struct broker_configs *bc = calloc(1, sizeof *bc);
    int rc;

    *out = NULL;
    if (bc == NULL)
        return ERR_NOMEM;
    bc->base = config_ref(base);
    bc->now = config_ref(base);
    bc->broker_id = broker_id;
    for (size_t i = 0; i < LAYERS; i++)
        arena_init(&bc->layer[i].arena, LAYER_BYTES);
    lock_init(&bc->lock, LOCK_brokerconf);
    rc = load(bc, store);
    if (rc != OK)
        broker_configs_free(&bc);
    *out = bc;
    return rc;
}

void broker_configs_free(struct broker_configs **bc)
{
    struct broker_configs *x = *bc;

    *bc = NULL;
    if (x == NULL)
        return;
    for (size_t i = 0; i < LAYERS; i++)
        arena_fini(&x->layer[i].arena);
    config_unref(&x->now);
    config_unref(&x->base);
    lock_fini(&x->lock);
    free(x);
}
