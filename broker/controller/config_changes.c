/* broker/controller/config_changes.c - /config/changes: every broker hears of new settings there, and takes them up.
 *
 * Whoever changes settings writes them to /config/<type>/<entity> and then adds a node config_change_<counter> that
 * names the entity. A pass (at the start, and whenever the list changes) follows the changes that it has not seen yet:
 * it reads the settings that hold now, whatever the change was, so following one twice or late does no harm. Changes
 * older than 15 minutes are deleted by whichever broker gets to it first. Followed are the settings of topics, of all
 * brokers, and of this one.
 */
#include "base/clock.h"
#include "base/log.h"
#include "broker/cluster/broker_configs.h"
#include "broker/cluster/topic_configs.h"
#include "metadata/topic_name.h"
#include "broker/controller/priv.h"

#include <stdlib.h>

#define AT_ONCE       256               /* changes read in one call */
#define AGED_AT_ONCE  64
#define KEEP_MS       ((int64_t)15 * 60 * 1000)
#define PASS_BYTES    ((size_t)64 << 20)

struct change_node {
    struct str name;
    int64_t    counter;
};

struct pass {
    struct frame        f;
    struct arena        arena;
    struct change_node *v;              /* by rising counter */
    size_t              n;
    size_t              at;             /* the next to follow */
    struct str         *topics;         /* of this step's changes */
    size_t              topics_n;
    bool                layers[2];      /* which of this broker's settings (enum config_layer), too */
    size_t              old;            /* how many at the beginning of v are too old */
};

static void pass_fini(struct frame *f)
{
    arena_fini(&((struct pass *)f)->arena);
}

static int by_counter(const void *a, const void *b)
{
    const struct change_node *x = a, *y = b;

    return (x->counter > y->counter) - (x->counter < y->counter);
}

/* ---- the list ------------------------------------------------------------------------------------------- */

static void list_read(struct controller *c, struct store_call *call, void *subject)
{
    struct pass *ps = subject;
    const struct store_op *op = &call->ops[0];
    size_t prefix = strlen(ZK_CONFIG_CHANGE);

    if (op->rc != OK) {
        if (op->rc != ERR_NOENT)
            log_error(ZK_CONFIG_CHANGES ": cannot be read: %s; settings that change are taken up at the next start "
                      "only", err_text(op->rc));
        return;
    }
    ps->v = arena_array(&ps->arena, op->children_n + 1, sizeof *ps->v);
    for (size_t i = 0; i < op->children_n && ps->v != NULL; i++) {
        struct change_node *ch = &ps->v[ps->n];
        char *end;

        if (op->children[i].len <= prefix || memcmp(op->children[i].p, ZK_CONFIG_CHANGE, prefix) != 0)
            continue;
        ch->counter = strtoll(op->children[i].p + prefix, &end, 10);
        if (*end != '\0')
            continue;
        if (arena_str(&ps->arena, op->children[i], &ch->name) != OK)
            break;
        ps->n++;
    }
    if (ps->n > 1)
        qsort(ps->v, ps->n, sizeof *ps->v, by_counter);
    while (ps->at < ps->n && ps->v[ps->at].counter <= c->changes_seen)
        ps->at++;
}

static enum step_next list_ask(struct controller *c, struct frame *f)
{
    struct store_call *call = ctl_call(c);

    if (call == NULL)
        return STEP_END;
    store_children(call, ZK_CONFIG_CHANGES, STORE_WATCH);
    ctl_ask(c, call, list_read, f);
    return STEP_NEXT;
}

/* ---- following ------------------------------------------------------------------------------------------ */

static void take_topic(struct pass *ps, struct str topic)
{
    char buf[512];

    for (size_t i = 0; i < ps->topics_n; i++)
        if (str_eq(ps->topics[i], topic))
            return;
    if (topic_name_fault(topic, buf, sizeof buf) != NULL)
        log_warn(ZK_CONFIG_CHANGES ": a change of '%.*s' is ignored: no topic can have that name", STR_ARG(topic));
    else
        ps->topics[ps->topics_n++] = topic;
}

static void take_broker(const struct controller *c, struct pass *ps, const char *entity)
{
    for (int layer = CONFIG_LAYER_CLUSTER; layer <= CONFIG_LAYER_BROKER; layer++) {
        struct zpath path = broker_configs_path((enum config_layer)layer, c->opts.broker->id);

        if (strcmp(entity, broker_configs_entity(&path)) == 0)
            ps->layers[layer] = c->opts.broker_configs != NULL;
    }
}

static void changes_read(struct controller *c, struct store_call *call, void *subject)
{
    struct pass *ps = subject;
    static const char topics[] = "topics/", brokers[] = "brokers/";

    for (size_t i = 0; i < call->ops_n; i++) {
        const struct store_op *op = &call->ops[i];
        const char *entity;
        int rc = op->rc;

        if (rc == ERR_NOENT)
            continue;                               /* deleted meanwhile */
        if (rc == OK)
            rc = znode_change_read(op->value, &ps->arena, &entity);
        if (rc != OK)
            log_error("%s: cannot be understood: %s; this change of settings is ignored", op->path, err_text(rc));
        else if (strncmp(entity, topics, sizeof topics - 1) == 0)
            take_topic(ps, str_of(entity + sizeof topics - 1));
        else if (strncmp(entity, brokers, sizeof brokers - 1) == 0)
            take_broker(c, ps, entity);
        else
            log_debug("%s: settings of %s are not followed", op->path, entity);
    }
}

static enum step_next changes_ask(struct controller *c, struct frame *f)
{
    struct pass *ps = (struct pass *)f;
    struct store_call *call = ps->at < ps->n ? ctl_call(c) : NULL;

    ps->topics_n = 0;
    memset(ps->layers, 0, sizeof ps->layers);
    ps->topics = arena_array(&ps->arena, AT_ONCE, sizeof *ps->topics);
    if (call == NULL || ps->topics == NULL) {
        store_call_free(&call);
        return STEP_NEXT;
    }
    for (size_t i = 0; i < AT_ONCE && ps->at < ps->n; i++, ps->at++)
        store_get(call, zpath_config_change(ps->v[ps->at].name).z, 0);
    ctl_ask(c, call, changes_read, ps);
    return STEP_NEXT;
}

void config_apply(struct controller *c, struct str topic, const struct store_op *node, struct arena *a)
{
    struct ctl_topic *t = context_topic(&c->ctx, topic);
    struct topic_config_entry *e;
    bool changed = false, mended;
    int rc = node->rc == ERR_NOENT ? OK : node->rc;

    if (rc == OK)
        rc = topic_configs_put(c->opts.topic_configs, topic, node, a, &changed);
    if (rc != OK && rc != ERR_INVALID)
        log_error("topic %.*s: its new settings cannot be taken up: %s; they are at the next start", STR_ARG(topic),
                  err_text(rc));
    mended = rc == OK && t != NULL && t->settings_unknown;
    if (t != NULL)
        t->settings_unknown = rc != OK;
    if (!changed && !mended)
        return;
    if (changed && c->opts.configured != NULL)
        c->opts.configured(c->opts.configured_arg, topic);
    e = topic_configs_get(c->opts.topic_configs, topic);
    if (e->cfg.unclean_leader_election_enable && event_post(c, EV_RETRY, NULL) != OK)
        log_error("controller: out of memory: partitions without a leader are not looked at");
    topic_config_entry_put(&e);
}

void broker_config_apply(struct controller *c, enum config_layer layer, const struct store_op *node, struct arena *a)
{
    bool changed = false;
    int rc = broker_configs_put(c->opts.broker_configs, layer, node, a, &changed);

    if (rc != OK)
        log_error("%s: this broker's new settings cannot be taken up: %s; they are at the next start",
                  broker_configs_path(layer, c->opts.broker->id).z, err_text(rc));
    if (!changed)
        return;
    if (c->opts.reconfigured != NULL)
        c->opts.reconfigured(c->opts.configured_arg);
    if (event_post(c, EV_RETRY, NULL) != OK)        /* unclean elections may be allowed now */
        log_error("controller: out of memory: partitions without a leader are not looked at");
}

static void settings_read(struct controller *c, struct store_call *call, void *subject)
{
    struct pass *ps = subject;
    size_t at = 0;

    for (int layer = CONFIG_LAYER_CLUSTER; layer <= CONFIG_LAYER_BROKER; layer++)
        if (ps->layers[layer])
            broker_config_apply(c, (enum config_layer)layer, &call->ops[at++], &call->arena);
    for (size_t i = 0; i < ps->topics_n; i++)
        config_apply(c, ps->topics[i], &call->ops[at++], &call->arena);
}

static enum step_next settings_ask(struct controller *c, struct frame *f)
{
    struct pass *ps = (struct pass *)f;
    struct store_call *call = ps->topics_n > 0 || ps->layers[0] || ps->layers[1] ? ctl_call(c) : NULL;

    for (int layer = CONFIG_LAYER_CLUSTER; layer <= CONFIG_LAYER_BROKER && call != NULL; layer++)
        if (ps->layers[layer])
            store_get(call, broker_configs_path((enum config_layer)layer, c->opts.broker->id).z, 0);
    for (size_t i = 0; i < ps->topics_n && call != NULL; i++)
        store_get(call, zpath_topic_config(ps->topics[i]).z, 0);
    ctl_ask(c, call, settings_read, ps);
    return STEP_NEXT;
}

/* Only now have they been followed: a pass that the end of the session cuts off is done again with the next one. */
static enum step_next more_changes(struct controller *c, struct frame *f)
{
    const struct pass *ps = (struct pass *)f;

    if (ps->at > 0 && ps->v[ps->at - 1].counter > c->changes_seen)
        c->changes_seen = ps->v[ps->at - 1].counter;
    if (ps->at < ps->n && event_post(c, EV_CONFIGS, NULL) != OK)
        ctl_abort(c, ERR_NOMEM, "following changes of settings");
    return STEP_NEXT;
}

/* ---- old changes ---------------------------------------------------------------------------------------- */

static void ages_read(struct controller *c, struct store_call *call, void *subject)
{
    struct pass *ps = subject;
    int64_t limit = wall_ms() - (c->opts.changes_keep_ms > 0 ? c->opts.changes_keep_ms : KEEP_MS);

    ps->old = 0;
    while (ps->old < call->ops_n &&
           (call->ops[ps->old].rc == ERR_NOENT || (call->ops[ps->old].rc == OK &&
                                                   call->ops[ps->old].stat.ctime_ms < limit)))
        ps->old++;
}

static enum step_next ages_ask(struct controller *c, struct frame *f)
{
    struct pass *ps = (struct pass *)f;
    struct store_call *call = ps->n > 0 ? ctl_call(c) : NULL;

    ps->old = 0;
    for (size_t i = 0; i < ps->n && i < AGED_AT_ONCE && call != NULL; i++)
        store_exists(call, zpath_config_change(ps->v[i].name).z, 0);
    ctl_ask(c, call, ages_read, ps);
    return STEP_NEXT;
}

/* One call each: another broker may have been faster. The oldest come first, so a young one ends it. */
static enum step_next old_delete(struct controller *c, struct frame *f)
{
    struct pass *ps = (struct pass *)f;

    for (size_t i = 0; i < ps->old; i++) {
        struct store_call *call = ctl_call(c);

        if (call == NULL)
            return STEP_END;
        store_delete(call, zpath_config_change(ps->v[i].name).z, STORE_ANY_VERSION);
        ctl_ask(c, call, NULL, NULL);
    }
    return STEP_NEXT;                               /* the list has changed: another pass looks for more */
}

void configs_changed(struct controller *c)
{
    static const struct step steps[] = {
        { "list the changes", list_ask }, { "read the changes", changes_ask }, { "read the settings", settings_ask },
        { "more changes", more_changes }, { "look for old changes", ages_ask }, { "delete old changes", old_delete },
        { NULL, NULL },
    };
    struct pass *ps = frame_push(c, sizeof *ps, steps);

    if (ps == NULL)
        return;
    ps->f.fini = pass_fini;
    arena_init(&ps->arena, PASS_BYTES);
}
