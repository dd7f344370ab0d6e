/* broker/controller/topic_settings.c - changing the settings of topics and brokers: the checks in Apache Kafka's order
 * and words, then the entity's node below /config and the change that tells every broker, in one write.
 *
 * The node must be as it was read: of two clients that change different settings at the same time, neither loses his.
 */
#include "base/log.h"
#include "broker/cluster/broker_configs.h"
#include "broker/cluster/metadata_cache.h"
#include "metadata/topic_name.h"
#include "broker/controller/topic_ops.h"
#include "config/topic_config.h"
#include "proto/kerr.h"

#include <stdlib.h>

static enum config_layer layer_of(const struct op_topic *ot)
{
    return ot->t->name.len == 0 ? CONFIG_LAYER_CLUSTER : CONFIG_LAYER_BROKER;
}

static struct zpath settings_path(const struct op_topic *ot)
{
    return ot->t->broker ? broker_configs_path(layer_of(ot), ot->s->c->opts.broker->id)
                         : zpath_topic_config(ot->t->name);
}

/* ---- reading -------------------------------------------------------------------------------------------- */

static void settings_answered(struct controller *c, struct store_call *call, void *subject)
{
    struct op_topic *ot = subject;
    const struct store_op *controller = &call->ops[0], *node = &call->ops[1];
    int rc = node->rc;

    (void)c;
    ot->s->controller_version = controller->rc == OK ? controller->stat.version : -1;
    ot->settings = (struct znode_config){ .n = 0 };
    ot->version = -1;
    ot->exists = ot->t->broker || call->ops[2].rc == OK;
    if (rc == ERR_NOENT)
        return;
    ot->version = node->stat.version;
    if (rc == OK)
        rc = znode_config_read(node->value, ot->s->op->arena, &ot->settings);
    if (rc == ERR_CORRUPT && ot->s->op->replace)
        return;                                     /* nothing of it is kept */
    if (rc == ERR_CORRUPT)
        op_failf(ot, KERR_UNKNOWN_SERVER_ERROR, "%s in the metadata store cannot be understood; AlterConfigs, which "
                 "replaces all settings of the topic, mends it.", node->path);
    else if (rc != OK)
        op_fail(ot, kerr_of(rc), NULL);
}

static void settings_ask(struct op_topic *ot)
{
    struct store_call *call = op_call(ot);

    if (call == NULL)
        return;
    store_exists(call, ZK_CONTROLLER, 0);
    store_get(call, settings_path(ot).z, 0);
    if (!ot->t->broker)
        store_exists(call, zpath_topic(ot->t->name).z, 0);
    op_ask(ot, call, settings_answered);
}

static void settings_check(struct op_state *s)
{
    OP_EACH(s, ot) {
        char buf[512];

        ot->version = -1;
        if (ot->t->broker)
            settings_ask(ot);
        else if (ot->t->name.len == 0)
            op_fail(ot, KERR_INVALID_REQUEST, "Default topic resources are not allowed.");
        else if (topic_name_fault(ot->t->name, buf, sizeof buf) == NULL && metadata_topic(s->md, ot->t->name) != NULL)
            settings_ask(ot);
    }
}

/* ---- what they are to be -------------------------------------------------------------------------------- */

/* The items of a list as String.split(",") gives them: empty ones at the end do not count, but "" is one. */
static size_t split(struct arena *a, const char *z, struct str **out)
{
    size_t n = 0;
    const char *end;

    *out = NULL;
    for (const char *p = z; *p != '\0'; p++)
        n += *p == ',';
    *out = arena_array(a, n + 1, sizeof **out);
    if (*out == NULL)
        return 0;
    n = 0;
    for (const char *p = z;; p = end + 1) {
        end = strchrnul(p, ',');
        (*out)[n++] = (struct str){ p, (size_t)(end - p) };
        if (*end == '\0')
            break;
    }
    while (n > 1 && (*out)[n - 1].len == 0)
        n--;
    return n == 1 && (*out)[0].len == 0 && z[0] == ',' ? 0 : n;
}

static bool has(const struct str *v, size_t n, struct str item, size_t *at)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(v[i], item)) {
            *at = i;
            return true;
        }
    return false;
}

static const char *join(struct arena *a, const struct str *v, size_t n)
{
    size_t len = 0;
    char *z;

    for (size_t i = 0; i < n; i++)
        len += v[i].len + 1;
    z = arena_alloc(a, len + 1);
    if (z == NULL)
        return NULL;
    len = 0;
    for (size_t i = 0; i < n; i++) {
        memcpy(z + len, v[i].p, v[i].len);
        len += v[i].len;
        if (i + 1 < n)
            z[len++] = ',';
    }
    z[len] = '\0';
    return z;
}

/* `old` with the items of `value` added (those that it has already are left out) or taken away (one for each). NULL:
 * out of memory. */
static const char *list_change(struct arena *a, const char *old, const char *value, bool append)
{
    struct str *have, *given, *v;
    size_t have_n = split(a, old, &have), given_n = split(a, value, &given), n = have_n, at;

    if (append && old[0] == '\0')
        n = have_n = 0;
    v = arena_array(a, have_n + given_n + 1, sizeof *v);
    if (have == NULL || given == NULL || v == NULL)
        return NULL;
    memcpy(v, have, have_n * sizeof *v);
    for (size_t i = 0; i < given_n; i++) {
        if (append && !has(have, have_n, given[i], &at)) {
            v[n++] = given[i];
        } else if (!append && has(v, n, given[i], &at)) {
            memmove(v + at, v + at + 1, (n - at - 1) * sizeof *v);
            n--;
        }
    }
    return join(a, v, n);
}

static struct znode_pair *pair_of(struct znode_config *z, struct str name)
{
    for (size_t i = 0; i < z->n; i++)
        if (str_is(name, z->pairs[i].name))
            return &z->pairs[i];
    return NULL;
}

/* One change; z->pairs has room for every setting that there is. *unknown: one that there is not. */
static void apply_one(struct op_topic *ot, struct znode_config *z, const struct topic_op_config *ch,
                      const struct topic_op_config **unknown)
{
    struct arena *a = ot->s->op->arena;
    struct znode_pair *there = pair_of(z, ch->name);
    const struct param *p = param_find(ot->t->broker ? &server_params : &topic_params, ch->name);
    const char *value = ch->value.p != NULL ? arena_cstr(a, ch->value) : "";
    const char *verb = ch->change == CONFIG_CHANGE_APPEND ? "append" : "subtract";

    switch (ch->change) {
    case CONFIG_CHANGE_DELETE:
        if (there != NULL)
            *there = z->pairs[--z->n];
        return;
    case CONFIG_CHANGE_SET:
        break;
    case CONFIG_CHANGE_APPEND:
    case CONFIG_CHANGE_SUBTRACT:
        if (p == NULL) {
            op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);   /* as Apache Kafka */
            return;
        }
        if (p->type != CONFIG_LIST) {
            op_failf(ot, KERR_INVALID_CONFIG, "Config value %s is not allowed for config key: %s", verb, p->name);
            return;
        }
        if (value != NULL)
            value = list_change(a, there != NULL ? there->value : p->dflt != NULL ? p->dflt : "",
                                value, ch->change == CONFIG_CHANGE_APPEND);
        break;
    default:
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
        return;
    }
    if (there == NULL && p == NULL && !ot->t->broker) {
        *unknown = ch;
        return;
    }
    if (there == NULL) {
        there = &z->pairs[z->n++];
        there->name = arena_cstr(a, ch->name);
    }
    there->value = value;
    if (there->name == NULL || value == NULL)
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
}

/* Gives a setting that is to be set and that no topic has; NULL: none. */
static const struct topic_op_config *apply_changes(struct op_topic *ot)
{
    const struct topic_op_config *unknown = NULL;
    size_t named = (size_t)(ot->t->configs_n > 0 ? ot->t->configs_n : 0);
    size_t kept = ot->s->op->replace ? 0 : ot->settings.n;
    struct znode_config z = { .n = kept };

    z.pairs = arena_array(ot->s->op->arena, kept + named + 1, sizeof *z.pairs);
    if (z.pairs == NULL) {
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
        return NULL;
    }
    if (kept > 0)
        memcpy(z.pairs, ot->settings.pairs, kept * sizeof *z.pairs);
    for (size_t i = 0; i < named && ot->t->error == 0; i++)
        apply_one(ot, &z, &ot->t->configs[i], &unknown);
    znode_config_sort(&z);
    ot->settings = z;
    return unknown;
}

static void check_broker_values(struct op_topic *ot)
{
    char why[2300];
    int rc = broker_configs_check(ot->s->c->opts.broker_configs, layer_of(ot), &ot->settings, why, sizeof why);

    if (rc == ERR_INVALID)
        op_failf(ot, KERR_INVALID_REQUEST, "%s", why);
    else if (rc != OK)
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
}

static void check_values(struct op_topic *ot)
{
    struct topic_property *given = arena_array(ot->s->op->arena, ot->settings.n + 1, sizeof *given);
    struct topic_config built;
    char why[2300];
    int rc;

    if (given == NULL) {
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
        return;
    }
    for (size_t i = 0; i < ot->settings.n; i++)
        given[i] = (struct topic_property){ str_of(ot->settings.pairs[i].name), str_of(ot->settings.pairs[i].value) };
    rc = topic_config_build(&built, ot->s->c->opts.cfg, TOPIC_CONFIG_ASKED, given, ot->settings.n, why, sizeof why);
    if (rc == OK)
        topic_config_fini(&built);
    else if (rc == ERR_INVALID && topic_config_fault_is_of_value(why))
        op_failf(ot, KERR_INVALID_CONFIG,
                 "Invalid config value for resource ConfigResource(type=TOPIC, name='%.*s'): %s",
                 STR_ARG(ot->t->name), why);
    else if (rc == ERR_INVALID)
        op_failf(ot, KERR_INVALID_CONFIG, "%s", why);
    else
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
}

/* ---- writing -------------------------------------------------------------------------------------------- */

static void written(struct controller *c, struct store_call *call, void *subject)
{
    struct op_topic *ot = subject;

    (void)c;
    ot->again = call->rc == ERR_VERSION || call->rc == ERR_NOENT || call->rc == ERR_EXISTS;
    ot->settled = !ot->again;
    if (call->rc == ERR_TOO_LARGE)
        op_failf(ot, KERR_INVALID_CONFIG, "The settings of topic '%.*s' are more than the metadata store can hold.",
                 STR_ARG(ot->t->name));
    else if (!ot->again && call->rc != OK)
        op_fail(ot, kerr_of(call->rc), NULL);
}

static void settings_write(struct op_topic *ot)
{
    struct arena *a = ot->s->op->arena;
    struct zpath path = settings_path(ot);
    char *change = znode_change_write(path.z + strlen("/config/")), *text = znode_config_write(&ot->settings);
    struct store_call *call = op_call(ot);

    ot->text = text != NULL ? (char *)(uintptr_t)arena_cstr(a, str_of(text)) : NULL;
    free(text);
    if (change == NULL || ot->text == NULL || call == NULL) {
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
        store_call_free(&call);
    } else {
        struct bytes data = { (uint8_t *)ot->text, strlen(ot->text) };

        store_check(call, ZK_CONTROLLER, ot->s->controller_version);
        if (!ot->t->broker)
            store_check(call, zpath_topic(ot->t->name).z, STORE_ANY_VERSION);
        if (ot->version >= 0)
            store_set(call, path.z, data, ot->version);
        else
            store_create(call, path.z, data, 0);
        store_create(call, ZK_CONFIG_CHANGES "/" ZK_CONFIG_CHANGE, (struct bytes){ (uint8_t *)change, strlen(change) },
                     STORE_SEQUENTIAL);
        op_ask(ot, call, written);
    }
    free(change);
}

static void settings_decide(struct op_state *s)
{
    OP_EACH(s, ot) {
        const struct topic_op_config *unknown = ot->settled ? NULL : apply_changes(ot);

        if (ot->settled)
            continue;
        if (ot->t->error == 0 && !ot->t->broker && metadata_topic(s->md, ot->t->name) == NULL)
            op_failf(ot, KERR_UNKNOWN_TOPIC_OR_PARTITION, "The topic '%.*s' does not exist.", STR_ARG(ot->t->name));
        else if (ot->t->error == 0 && !ot->exists)
            op_failf(ot, KERR_UNKNOWN_TOPIC_OR_PARTITION, "Topic '%.*s' does not exist.", STR_ARG(ot->t->name));
        if (ot->t->error == 0 && unknown != NULL)
            op_failf(ot, KERR_INVALID_CONFIG, "Unknown topic config name: %.*s", STR_ARG(unknown->name));
        if (ot->t->error == 0)
            (ot->t->broker ? check_broker_values : check_values)(ot);
        if (ot->t->error != 0 || s->op->validate_only)
            continue;
        if (s->controller_version < 0)
            op_fail(ot, KERR_NOT_CONTROLLER, "There is no controller at the moment.");
        else
            settings_write(ot);
    }
}

/* Passwords and the like are no settings of topics: all of it may be logged. */
static void say(const struct op_topic *ot)
{
    const char *list = "";

    if (ot->t->broker) {
        log_info("%s: %zu setting%s now", settings_path(ot).z, ot->settings.n, plural(ot->settings.n));
        return;
    }

    for (size_t i = 0; i < ot->settings.n && list != NULL && strlen(list) < OP_MESSAGE_MAX; i++)
        list = arena_printf(ot->s->op->arena, "%s%s%s=%s", list, i > 0 ? ", " : "", ot->settings.pairs[i].name,
                            ot->settings.pairs[i].value);
    log_info("topic %.*s: its settings are now: %s", STR_ARG(ot->t->name),
             list == NULL || list[0] == '\0' ? "the server's defaults" : list);
}

/* Taken up here before the client has his answer; other brokers hear of it. */
static void settings_conclude(struct op_state *s)
{
    OP_EACH(s, ot) {
        struct store_op node = { .rc = OK };

        if (ot->again) {
            settings_ask(ot);
            continue;
        }
        if (s->op->validate_only || ot->text == NULL)
            continue;
        node.value = (struct bytes){ (uint8_t *)ot->text, strlen(ot->text) };
        ot->text = NULL;
        if (ot->t->broker)
            broker_config_apply(s->c, layer_of(ot), &node, s->op->arena);
        else
            config_apply(s->c, ot->t->name, &node, s->op->arena);
        say(ot);
    }
}

const struct op_kind op_settings = { settings_check, settings_decide, settings_conclude, NULL };
