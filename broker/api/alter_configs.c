/* broker/api/alter_configs.c - AlterConfigs and IncrementalAlterConfigs: settings of topics, and the level of the log.
 *
 * Both become a list of `struct change`; those of topics and brokers are the controller's operation, and the request is
 * parked meanwhile.
 */
#include "base/log.h"
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "broker/controller/controller.h"
#include "config/config.h"
#include "config/password_encoder.h"
#include "proto/gen/alter_configs_request.h"
#include "proto/gen/alter_configs_response.h"
#include "proto/gen/incremental_alter_configs_request.h"
#include "proto/gen/incremental_alter_configs_response.h"
#include "proto/kerr.h"

#include <ctype.h>
#include <stdlib.h>

enum { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4, RESOURCE_BROKER_LOGGER = 8, RESOURCE_CLIENT_METRICS = 16 };

struct change {
    int8_t                  type;               /* of the resource */
    struct str              name;
    struct topic_op_config *configs;
    int32_t                 configs_n;
    int16_t                 error;
    const char             *message;
    bool                    settled;            /* here; else the topic below is */
    struct topic_op_topic  *topic;
};

struct altering {
    struct topic_op op;                 /* first; r->state. replace: AlterConfigs */
    struct request *r;
    struct broker  *b;
    struct change  *v;
    int32_t         n;
};

static void settle(struct change *ch, int16_t error, const char *message)
{
    ch->error = error;
    ch->message = message;
    ch->settled = true;
}

/* ---- what is wrong with a resource's changes whatever it is ----------------------------------------------------- */

static int by_resource(const void *a, const void *b)
{
    const struct change *x = *(struct change *const *)a, *y = *(struct change *const *)b;

    return x->type != y->type ? x->type - y->type : str_cmp(x->name, y->name);
}

static bool refuse_repeated(struct altering *al)
{
    struct change **v = arena_array(&al->r->arena, (size_t)al->n + 1, sizeof *v);

    if (v == NULL)
        return false;
    for (int32_t i = 0; i < al->n; i++)
        v[i] = &al->v[i];
    qsort(v, (size_t)al->n, sizeof *v, by_resource);
    for (int32_t i = 1; i < al->n; i++)
        if (by_resource(&v[i - 1], &v[i]) == 0) {
            settle(v[i - 1], KERR_INVALID_REQUEST, "Each resource must appear at most once.");
            settle(v[i], KERR_INVALID_REQUEST, "Each resource must appear at most once.");
        }
    return true;
}

static bool refuse_keys(struct altering *al, struct change *ch)
{
    struct str *keys = arena_array(&al->r->arena, (size_t)ch->configs_n + 1, sizeof *keys);
    const char *nulls = "";

    if (keys == NULL)
        return false;
    for (int32_t i = 0; i < ch->configs_n; i++)
        keys[i] = ch->configs[i].name;
    qsort(keys, (size_t)ch->configs_n, sizeof *keys, str_order);
    for (int32_t i = 1; i < ch->configs_n; i++)
        if (str_eq(keys[i - 1], keys[i])) {
            settle(ch, KERR_INVALID_REQUEST, "Error due to duplicate config keys");
            return true;
        }
    for (int32_t i = 0; i < ch->configs_n && nulls != NULL && strlen(nulls) < 900; i++) {
        const struct topic_op_config *c = &ch->configs[i];

        if (c->value.p == NULL && (al->op.replace || c->change != CONFIG_CHANGE_DELETE))
            nulls = arena_printf(&al->r->arena, "%s%s%.*s", nulls, nulls[0] != '\0' ? ", " : "", STR_ARG(c->name));
    }
    if (nulls == NULL || nulls[0] != '\0')
        settle(ch, KERR_INVALID_REQUEST, arena_printf(&al->r->arena, "Null value not supported for : %s",
                                                      nulls != NULL ? nulls : ""));
    return true;
}

/* ---- brokers ---------------------------------------------------------------------------------------------------- */

/* false: refused. As Integer.parseInt: a sign and digits. */
static bool names_us(struct altering *al, struct change *ch, const char *unexpected)
{
    const char *z = arena_cstr(&al->r->arena, ch->name);
    char *end;
    long id;

    if (z == NULL || isspace((unsigned char)z[0]) || z[0] == '\0') {
        settle(ch, KERR_INVALID_REQUEST, arena_printf(&al->r->arena, "Node id must be an integer, but it is: %.*s",
                                                      STR_ARG(ch->name)));
        return false;
    }
    id = strtol(z, &end, 10);
    if (*end != '\0' || strlen(z) != ch->name.len || id < INT32_MIN || id > INT32_MAX)
        settle(ch, KERR_INVALID_REQUEST, arena_printf(&al->r->arena, "Node id must be an integer, but it is: %s", z));
    else if (id != al->b->id)
        settle(ch, KERR_INVALID_REQUEST, arena_printf(&al->r->arena, unexpected, al->b->id, STR_ARG(ch->name)));
    return !ch->settled;
}

/* Properties of TLS that Apache Kafka changes for one listener at a time only. */
static bool is_of_listener(const struct param *p)
{
    static const char *const parts[] = { "ssl.keystore.", "ssl.truststore.", "ssl.key." };

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strncmp(p->name, parts[i], strlen(parts[i])) == 0)
            return true;
    return false;
}

static bool is_fixed(const char *key, const struct param *p)
{
    (void)key;
    return p != NULL && p->when == CONFIG_READ_ONLY;
}

static bool lacks_listener(const char *key, const struct param *p)
{
    (void)key;
    return p != NULL && is_of_listener(p);
}

/* All of a listener, but for what all brokers may share. */
static bool is_of_one_broker(const char *key, const struct param *p)
{
    bool listeners = strncmp(key, LISTENER_PREFIX, strlen(LISTENER_PREFIX)) == 0;

    if (listeners)
        p = listener_base_param(key);
    return p != NULL ? p->when == CONFIG_PER_BROKER || (listeners && p->when != CONFIG_CLUSTER_WIDE) : listeners;
}

/* Which of the settings that are given values are so; NULL: memory is out. */
static const char *those_that(struct altering *al, const struct change *ch,
                              bool (*so)(const char *, const struct param *))
{
    const char *list = "";

    for (int32_t i = 0; i < ch->configs_n && list != NULL && strlen(list) < 900; i++) {
        const char *key = arena_cstr(&al->r->arena, ch->configs[i].name);

        if (key == NULL)
            return NULL;
        if (ch->configs[i].change == CONFIG_CHANGE_DELETE)
            continue;                   /* what should not be there may always go */
        if (so(key, param_find(&server_params, ch->configs[i].name)))
            list = arena_printf(&al->r->arena, "%s%s%s", list, list[0] != '\0' ? ", " : "", key);
    }
    return list;
}

static void refuse_those(struct altering *al, struct change *ch, bool (*so)(const char *, const struct param *),
                         const char *what)
{
    const char *list = ch->settled ? "" : those_that(al, ch, so);

    if (list == NULL || list[0] != '\0')
        settle(ch, KERR_INVALID_REQUEST, arena_printf(&al->r->arena, "%s: Set(%s)", what, list != NULL ? list : ""));
}

/* Passwords do not go into the store as they are. */
static void encode_passwords(struct altering *al, struct change *ch)
{
    struct arena *a = &al->r->arena;
    struct password_encoder e;

    password_encoder_of(&e, al->b->cfg);
    for (int32_t i = 0; i < ch->configs_n && !ch->settled; i++) {
        const char *key = arena_cstr(a, ch->configs[i].name), *encoded = NULL;
        char why[512] = "";
        int rc;

        if (key != NULL && (!password_is_kept(key) || ch->configs[i].change != CONFIG_CHANGE_SET))
            continue;
        rc = key == NULL ? ERR_NOMEM : password_encode(&e, ch->configs[i].value, a, &encoded, why, sizeof why);
        if (rc == ERR_INVALID)
            settle(ch, KERR_INVALID_CONFIG,
                   arena_printf(a, "Invalid config value for resource ConfigResource(type=BROKER, name='%.*s'): %s",
                                STR_ARG(ch->name), why));
        else if (rc != OK)
            settle(ch, KERR_UNKNOWN_SERVER_ERROR, NULL);
        else
            ch->configs[i].value = str_of(encoded);
    }
}

static void check_broker(struct altering *al, struct change *ch)
{
    for (int32_t i = 0; i < ch->configs_n && !ch->settled && !al->op.replace; i++)
        if (ch->configs[i].change < CONFIG_CHANGE_SET || ch->configs[i].change > CONFIG_CHANGE_SUBTRACT)
            settle(ch, KERR_INVALID_REQUEST,
                   arena_printf(&al->r->arena, "Unknown operations type %d", ch->configs[i].change));
    refuse_those(al, ch, is_fixed, "Cannot update these configs dynamically");
    refuse_those(al, ch, lacks_listener,
                 "These security configs can be dynamically updated only per-listener using the listener prefix");
    if (ch->name.len == 0)
        refuse_those(al, ch, is_of_one_broker,
                     "Cannot update these configs at default cluster level, broker id must be specified");
    if (!al->op.validate_only)
        encode_passwords(al, ch);
}

static void alter_broker(struct altering *al, struct change *ch)
{
    if (ch->name.len > 0 && !names_us(al, ch, "Unexpected broker id, expected %d, but received %.*s"))
        return;
    check_broker(al, ch);
    if (ch->settled)
        return;
    ch->topic = &al->op.topics[al->op.topics_n++];
    *ch->topic = (struct topic_op_topic){ .name = ch->name, .broker = true, .configs = ch->configs,
                                          .configs_n = ch->configs_n };
}

/* ---- loggers: the whole log has one level, that of "root" ------------------------------------------------------- */

static const char *const levels[] = { "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL" };

static int level_of(struct str name)
{
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        if (str_is(name, levels[i]))
            return (int)i;
    return -1;
}

static void check_logger(struct altering *al, struct change *ch, const struct topic_op_config *c)
{
    static const char *const words[] = { "APPEND", "SUBTRACT" };
    struct arena *a = &al->r->arena;

    if (c->change == CONFIG_CHANGE_APPEND || c->change == CONFIG_CHANGE_SUBTRACT)
        settle(ch, KERR_INVALID_REQUEST,
               arena_printf(a, "%s operation is not allowed for the BROKER_LOGGER resource",
                            words[c->change - CONFIG_CHANGE_APPEND]));
    else if (c->change != CONFIG_CHANGE_SET && c->change != CONFIG_CHANGE_DELETE)
        settle(ch, KERR_UNKNOWN_SERVER_ERROR, NULL);                /* as Apache Kafka */
    else if (!str_is(c->name, "root"))
        settle(ch, KERR_INVALID_CONFIG, arena_printf(a, "Logger %.*s does not exist!", STR_ARG(c->name)));
    else if (c->change == CONFIG_CHANGE_DELETE)
        settle(ch, KERR_INVALID_REQUEST, "Removing the log level of the root logger is not allowed");
    else if (level_of(c->value) < 0)
        settle(ch, KERR_INVALID_CONFIG,
               arena_printf(a, "Cannot set the log level of root to %.*s as it is not a supported log level. Valid log "
                            "levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN", STR_ARG(c->value)));
}

static void alter_logger(struct altering *al, struct change *ch)
{
    if (!names_us(al, ch, "Unexpected node id. Expected %d, but received %.*s"))
        return;
    for (int32_t i = 0; i < ch->configs_n && !ch->settled; i++)
        check_logger(al, ch, &ch->configs[i]);
    if (ch->settled)
        return;
    settle(ch, KERR_NONE, NULL);
    if (al->op.validate_only || ch->configs_n == 0)
        return;
    log_warn("the log's level is %.*s from now on, as a client wants it", STR_ARG(ch->configs[0].value));
    atomic_store(&log_threshold, level_of(ch->configs[0].value));
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

static void alter_metrics(struct altering *al, struct change *ch)
{
    (void)al;
    settle(ch, KERR_INVALID_REQUEST,
           "AlterConfigs is only supported for topics and brokers, but resource type is CLIENT_METRICS");
}

static void alter_topic(struct altering *al, struct change *ch)
{
    ch->topic = &al->op.topics[al->op.topics_n++];
    *ch->topic = (struct topic_op_topic){ .name = ch->name, .configs = ch->configs, .configs_n = ch->configs_n };
}

static const struct resource_kind {
    int8_t type;
    bool   incremental_only;
    void (*alter)(struct altering *al, struct change *ch);
} kinds[] = {
    { RESOURCE_TOPIC, false, alter_topic },
    { RESOURCE_BROKER, false, alter_broker },
    { RESOURCE_BROKER_LOGGER, true, alter_logger },
    { RESOURCE_CLIENT_METRICS, false, alter_metrics },
};

static void alter_one(struct altering *al, struct change *ch)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].type == ch->type && !(kinds[i].incremental_only && al->op.replace)) {
            kinds[i].alter(al, ch);
            return;
        }
    settle(ch, KERR_INVALID_REQUEST, arena_printf(&al->r->arena, "Unknown resource type %d", ch->type));
}

static struct altering *altering_new(struct broker *b, struct request *r, int32_t n, bool replace, bool validate_only)
{
    struct altering *al = arena_zalloc(&r->arena, sizeof *al);

    if (al == NULL)
        return NULL;
    *al = (struct altering){ .r = r, .b = b, .n = n };
    al->op = (struct topic_op){ .kind = TOPIC_OP_SETTINGS, .replace = replace, .validate_only = validate_only,
                                .arena = &r->arena, .arg = r };
    al->op.topics = arena_array(&r->arena, (size_t)n + 1, sizeof *al->op.topics);
    al->v = arena_array(&r->arena, (size_t)n + 1, sizeof *al->v);
    r->state = al;
    return al->op.topics != NULL && al->v != NULL ? al : NULL;
}

static struct topic_op_config *change_in(struct altering *al, struct change *ch, int8_t type, struct str name,
                                         int32_t n)
{
    *ch = (struct change){ .type = type, .name = name, .configs_n = n };
    ch->configs = arena_array(&al->r->arena, (size_t)n + 1, sizeof *ch->configs);
    return ch->configs;
}

/* The request is parked until done(), or closed. */
static void start(struct altering *al, void (*done)(struct topic_op *))
{
    bool ok = refuse_repeated(al);

    for (int32_t i = 0; i < al->n && ok; i++) {
        if (!al->v[i].settled)
            ok = refuse_keys(al, &al->v[i]);
        if (ok && !al->v[i].settled)
            alter_one(al, &al->v[i]);
    }
    if (!ok) {
        request_close(al->r, "out of memory");
        return;
    }
    al->op.done = done;
    controller_topic_op(al->b->controller, &al->op);
}

/* The outcome of one resource. */
static int16_t outcome(const struct change *ch, const char **message)
{
    *message = ch->topic != NULL ? ch->topic->message : ch->message;
    return ch->topic != NULL ? ch->topic->error : ch->error;
}

/* ---- AlterConfigs ----------------------------------------------------------------------------------------------- */

#define replace_out     alter_configs_response_alter_configs_resource_response
#define incremental_out incremental_alter_configs_response_alter_configs_resource_response

static void replace_answer(struct broker *b, struct request *r)
{
    const struct altering *al = r->state;
    struct alter_configs_response out;

    (void)b;
    alter_configs_response_init(&out);
    out.responses = arena_array(&r->arena, (size_t)al->n + 1, sizeof *out.responses);
    if (out.responses == NULL) {
        request_close(r, "out of memory");
        return;
    }
    for (int32_t i = 0; i < al->n; i++) {
        struct replace_out *to = &out.responses[out.responses_n++];
        const char *message;

        alter_configs_response_alter_configs_resource_response_init(to);
        to->error_code = outcome(&al->v[i], &message);
        to->error_message = str_of(message);
        to->resource_type = al->v[i].type;
        to->resource_name = al->v[i].name;
    }
    API_REPLY(r, alter_configs_response, &out);
}

static void replace_done(struct topic_op *op)
{
    request_resume(op->arg, replace_answer);
}

void api_alter_configs(struct broker *b, struct request *r)
{
    struct alter_configs_request in;
    struct altering *al;
    bool ok;

    if (!API_READ(r, alter_configs_request, &in))
        return;
    al = altering_new(b, r, in.resources_n, true, in.validate_only);
    ok = al != NULL;
    for (int32_t i = 0; i < in.resources_n && ok; i++) {
        const struct alter_configs_request_alter_configs_resource *res = &in.resources[i];
        struct topic_op_config *to = change_in(al, &al->v[i], res->resource_type, res->resource_name, res->configs_n);

        ok = to != NULL;
        for (int32_t k = 0; k < res->configs_n && ok; k++)
            to[k] = (struct topic_op_config){ res->configs[k].name, res->configs[k].value, CONFIG_CHANGE_SET };
    }
    if (ok)
        start(al, replace_done);
    else
        request_close(r, "out of memory");
}

/* ---- IncrementalAlterConfigs ------------------------------------------------------------------------------------ */

static void incremental_answer(struct broker *b, struct request *r)
{
    const struct altering *al = r->state;
    struct incremental_alter_configs_response out;

    (void)b;
    incremental_alter_configs_response_init(&out);
    out.responses = arena_array(&r->arena, (size_t)al->n + 1, sizeof *out.responses);
    if (out.responses == NULL) {
        request_close(r, "out of memory");
        return;
    }
    for (int32_t i = 0; i < al->n; i++) {
        struct incremental_out *to = &out.responses[out.responses_n++];
        const char *message;

        incremental_alter_configs_response_alter_configs_resource_response_init(to);
        to->error_code = outcome(&al->v[i], &message);
        to->error_message = str_of(message);
        to->resource_type = al->v[i].type;
        to->resource_name = al->v[i].name;
    }
    API_REPLY(r, incremental_alter_configs_response, &out);
}

static void incremental_done(struct topic_op *op)
{
    request_resume(op->arg, incremental_answer);
}

void api_incremental_alter_configs(struct broker *b, struct request *r)
{
    struct incremental_alter_configs_request in;
    struct altering *al;
    bool ok;

    if (!API_READ(r, incremental_alter_configs_request, &in))
        return;
    al = altering_new(b, r, in.resources_n, false, in.validate_only);
    ok = al != NULL;
    for (int32_t i = 0; i < in.resources_n && ok; i++) {
        const struct incremental_alter_configs_request_alter_configs_resource *res = &in.resources[i];
        struct topic_op_config *to = change_in(al, &al->v[i], res->resource_type, res->resource_name, res->configs_n);

        ok = to != NULL;
        for (int32_t k = 0; k < res->configs_n && ok; k++)
            to[k] = (struct topic_op_config){ res->configs[k].name, res->configs[k].value,
                                              res->configs[k].config_operation };
    }
    if (ok)
        start(al, incremental_done);
    else
        request_close(r, "out of memory");
}
