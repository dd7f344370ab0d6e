/* tools/configs/zookeeper.c - kafka-configs.sh --zookeeper, as Kafka 2.7 has it: settings of topics, brokers and quotas
 * written to the tree, with the notification that brokers follow.
 *
 * A running broker's own settings are changed through it (it checks them); here only the rates of replication are.
 * SCRAM credentials are not made here yet.
 */
#include "tools/configs/configs.h"

#include "config/param.h"
#include "config/password_encoder.h"
#include "metadata/topic_name.h"
#include "tools/zk.h"

#include <ctype.h>
#include <stdlib.h>

#define DEFAULT_NAME "<default>"

/* One entity: "users/alice", or "users/alice/clients/app"; and as Kafka's tool speaks of it. */
struct target {
    char path[STORE_PATH_MAX];
    char text[1024];
};

static const struct {
    const char *type, *spoken;
} spoken[] = {
    { "users", "user-principal" }, { "clients", "client-id" }, { "topics", "topic" }, { "brokers", "brokers" },
};

static const char *const quota_keys[] = {
    "producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate",
};

static bool is_quota(const char *type)
{
    return strcmp(type, "users") == 0 || strcmp(type, "clients") == 0;
}

/* Users and clients are percent-encoded in the tree. */
static void encode(const char *type, const char *name, char *out, size_t size)
{
    size_t n = 0;

    for (const char *p = name; *p != '\0' && n + 4 < size; p++) {
        if (!is_quota(type) || isalnum((unsigned char)*p) || strchr("._-", *p) != NULL)
            out[n++] = *p;
        else
            n += (size_t)snprintf(out + n, size - n, "%%%02X", (unsigned char)*p);
    }
    out[n] = '\0';
}

static void decode(const char *name, char *out, size_t size)
{
    size_t n = 0;

    for (const char *p = name; *p != '\0' && n + 1 < size; p++) {
        unsigned byte;

        if (*p == '%' && sscanf(p + 1, "%2x", &byte) == 1 && p[1] != '\0' && p[2] != '\0') {
            out[n++] = (char)byte;
            p += 2;
        } else {
            out[n++] = *p;
        }
    }
    out[n] = '\0';
}

/* Adds an entity to the target; name: as it is in the tree. */
static void target_add(struct target *t, const char *type, const char *name)
{
    size_t path = strlen(t->path), text = strlen(t->text);
    const char *kind = type;
    char plain[512];

    for (size_t i = 0; i < sizeof spoken / sizeof spoken[0]; i++)
        if (strcmp(spoken[i].type, type) == 0)
            kind = spoken[i].spoken;
    snprintf(t->path + path, sizeof t->path - path, "%s%s/%s", path > 0 ? "/" : "", type, name);
    if (strcmp(name, DEFAULT_NAME) == 0) {
        snprintf(t->text + text, sizeof t->text - text, "%sdefault %s", text > 0 ? ", " : "", kind);
        return;
    }
    if (is_quota(type))
        decode(name, plain, sizeof plain);
    else
        snprintf(plain, sizeof plain, "%s", name);
    snprintf(t->text + text, sizeof t->text - text, "%s%s '%s'", text > 0 ? ", " : "", kind, plain);
}

/* Types and names with users before clients; a name that was not given is NULL. */
struct levels {
    const char *type[2];
    char        name[2][512];           /* as in the tree */
    bool        named[2];
    size_t      n;
};

static int levels_read(struct admin *a, const struct entities *e, bool alter, struct levels *l)
{
    bool reverse = e->types_n == 2 && strcmp(e->types[0], "clients") == 0;

    memset(l, 0, sizeof *l);
    if (alter && e->names_n != e->types_n)
        return admin_fail(a, ERR_INVALID, "--entity-name or --entity-default must be specified with each --entity-type "
                          "for --alter");
    l->n = e->types_n;
    for (size_t i = 0; i < l->n; i++) {
        size_t from = reverse ? l->n - 1 - i : i, name = reverse && e->names_n == 2 ? from : i;

        l->type[i] = e->types[from];
        l->named[i] = name < e->names_n;
        if (l->named[i] && e->names[name][0] == '\0')
            snprintf(l->name[i], sizeof l->name[i], DEFAULT_NAME);
        else if (l->named[i])
            encode(l->type[i], e->names[name], l->name[i], sizeof l->name[i]);
        if (strchr(l->name[i], '/') != NULL)
            return admin_fail(a, ERR_INVALID, "'%s' cannot be the name of an entity", l->name[i]);
    }
    return OK;
}

/* ---- describe ---- */

static int describe_target(struct admin *a, const struct target *t, bool even_empty)
{
    struct znode_config c;

    TRY(zk_config(a, t->path, &c));
    if (c.n == 0 && !even_empty)
        return OK;
    printf("Configs for %s are ", t->text);
    for (size_t i = 0; i < c.n; i++)
        printf("%s%s=%s", i > 0 ? "," : "", c.pairs[i].name, c.pairs[i].value);
    putchar('\n');
    return OK;
}

static int describe_level(struct admin *a, const struct levels *l, size_t at, const struct target *above,
                          bool even_empty)
{
    char dir[STORE_PATH_MAX + 64];
    struct topic_names all;

    if (at == l->n)
        return describe_target(a, above, even_empty);
    if (l->named[at]) {
        struct target t = *above;

        target_add(&t, l->type[at], l->name[at]);
        return describe_level(a, l, at + 1, &t, even_empty);
    }
    snprintf(dir, sizeof dir, "/config/%s%s%s", above->path, above->path[0] != '\0' ? "/" : "", l->type[at]);
    TRY(zk_children(a, dir, &all));
    for (size_t i = 0; i < all.n; i++) {
        struct target t = *above;

        target_add(&t, l->type[at], all.v[i].p);
        TRY(describe_level(a, l, at + 1, &t, even_empty));
    }
    return OK;
}

/* ---- alter ---- */

static bool is_rate(struct str key)
{
    const struct param *p = param_find(&server_params, key);

    return p != NULL && (p->flags & PARAM_DYNAMIC) != 0;
}

/* Brokers that run are asked, not passed by: only the rates of replication may be written under them. */
static int check_broker(struct admin *a, const struct levels *l, const struct props *add)
{
    bool all = strcmp(l->name[0], DEFAULT_NAME) == 0, only_rates = true;
    struct zk_broker *b;
    size_t n, running = 0;
    int64_t id = -1;

    for (size_t i = 0; i < add->n; i++) {
        const struct param *p = param_find(&server_params, add->v[i].name);

        only_rates &= is_rate(add->v[i].name);
        if (p != NULL && p->when == CONFIG_READ_ONLY)
            return admin_fail(a, ERR_INVALID, "Cannot update these configs dynamically: Set(%s)", p->name);
    }
    if (only_rates)
        return OK;
    TRY(zk_brokers(a, &b, &n));
    if (!all && parse_i64(l->name[0], 0, INT32_MAX, &id) != OK)
        return admin_fail(a, ERR_INVALID, "Error parsing broker %s. The broker's Entity Name must be a single integer "
                          "value", l->name[0]);
    for (size_t i = 0; i < n; i++)
        running += all || b[i].id == id;
    if (running > 0)
        return admin_fail(a, ERR_INVALID, "--bootstrap-server option must be specified to update broker configs: %s "
                          "running. Through ZooKeeper they are changed only before brokers are started.",
                          all ? "brokers are" : "the broker is");
    return OK;
}

#define ENCODER_PREFIX "password.encoder."

static bool is_encoders(struct str key)
{
    return key.len > strlen(ENCODER_PREFIX) && memcmp(key.p, ENCODER_PREFIX, strlen(ENCODER_PREFIX)) == 0;
}

/* How passwords are to be encrypted comes with them, and stays out of the tree. */
static int encoder_of(struct admin *a, const struct props *add, struct config **out)
{
    const char **given = arena_array(&a->arena, add->n + 1, sizeof *given);
    struct config_input in = { .overrides = given };
    struct config_problems problems;
    char text[1024];
    int rc;

    for (size_t i = 0; given != NULL && i < add->n; i++)
        if (is_encoders(add->v[i].name)) {
            given[in.overrides_n] = arena_printf(&a->arena, "%.*s=%.*s", STR_ARG(add->v[i].name),
                                                 STR_ARG(add->v[i].value));
            if (given[in.overrides_n++] == NULL)
                given = NULL;
        }
    if (given == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    rc = config_load(out, &in, &problems);
    for (size_t i = 0; rc == ERR_INVALID && i < problems.n; i++) {
        config_problem_text(&problems.v[i], text, sizeof text);
        rc = admin_fail(a, ERR_UNSUPPORTED, "%s", text);
    }
    config_problems_fini(&problems);
    return rc;
}

/* *out: what is to be written; passwords encrypted. */
static int encode_passwords(struct admin *a, bool all, const struct props *add, struct props *out)
{
    struct password_encoder e;
    struct config *cfg;
    int rc;

    *out = (struct props){ .v = arena_array(&a->arena, add->n + 1, sizeof *out->v) };
    if (out->v == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    TRY(encoder_of(a, add, &cfg));
    password_encoder_of(&e, cfg);
    rc = OK;
    for (size_t i = 0; i < add->n && rc == OK; i++) {
        const char *key = arena_cstr(&a->arena, add->v[i].name), *encoded = NULL;
        char why[512] = "out of memory";

        if (key == NULL || is_encoders(add->v[i].name)) {
            rc = key == NULL ? admin_fail(a, ERR_NOMEM, "out of memory") : OK;
            continue;
        }
        out->v[out->n] = add->v[i];
        if (!password_is_kept(key)) {
            out->n++;
            continue;
        }
        if (all)
            rc = admin_fail(a, ERR_INVALID, "Password config can be defined only at broker level");
        else if (e.secret == NULL)
            rc = admin_fail(a, ERR_INVALID, "password.encoder.secret must be specified to update Set(%s). Other "
                            "password encoder configs like cipher algorithm and iterations may also be specified to "
                            "override the default encoding parameters. Password encoder configs will not be persisted "
                            "in ZooKeeper.", key);
        else if (password_encode(&e, add->v[i].value, &a->arena, &encoded, why, sizeof why) != OK)
            rc = admin_fail(a, ERR_INVALID, "%s", why);
        else
            out->v[out->n++].value = str_of(encoded);
    }
    config_unref(&cfg);
    return rc;
}

static int check_quota(struct admin *a, const struct props *add)
{
    for (size_t i = 0; i < add->n; i++) {
        bool known = false;

        for (size_t k = 0; k < sizeof quota_keys / sizeof quota_keys[0]; k++)
            known |= str_is(add->v[i].name, quota_keys[k]);
        if (str_is(add->v[i].name, "SCRAM-SHA-256") || str_is(add->v[i].name, "SCRAM-SHA-512"))
            return admin_fail(a, ERR_UNSUPPORTED, "%.*s: this command does not make SCRAM credentials yet.",
                              STR_ARG(add->v[i].name));
        if (!known)
            return admin_fail(a, ERR_INVALID, "Unknown Dynamic Configuration: Set(%.*s).", STR_ARG(add->v[i].name));
    }
    return OK;
}

static int check_topic(struct admin *a, const char *topic, const struct znode_config *c)
{
    struct zpath path = zpath_topic(str_of(topic));
    char buf[512];
    const char *fault = topic_name_fault(str_of(topic), buf, sizeof buf);
    bool there;

    if (fault != NULL)
        return admin_fail(a, ERR_INVALID, "Topic name is invalid: %s", fault);
    TRY(zk_exists(a, path.z, &there));
    if (!there)
        return admin_fail(a, ERR_NOENT, "Topic '%s' does not exist.", topic);
    return zk_topic_config_check(a, c);
}

static bool is_among(const char *name, const struct str *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_is(v[i], name))
            return true;
    return false;
}

static int changed(struct admin *a, const struct znode_config *old, const struct props *add, const struct str *remove,
                   size_t remove_n, struct znode_config *out)
{
    out->n = 0;
    out->pairs = arena_array(&a->arena, old->n + add->n + 1, sizeof *out->pairs);
    if (out->pairs == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < remove_n; i++) {
        size_t at = 0;

        while (at < old->n && !str_is(remove[i], old->pairs[at].name))
            at++;
        if (at == old->n)
            return admin_fail(a, ERR_NOENT, "Invalid config(s): %.*s", STR_ARG(remove[i]));
    }
    for (size_t i = 0; i < old->n; i++)
        if (props_get(add, old->pairs[i].name).p == NULL && !is_among(old->pairs[i].name, remove, remove_n))
            out->pairs[out->n++] = old->pairs[i];
    for (size_t i = 0; i < add->n; i++) {
        struct znode_pair p = { arena_cstr(&a->arena, add->v[i].name), arena_cstr(&a->arena, add->v[i].value) };

        if (p.name == NULL || p.value == NULL)
            return admin_fail(a, ERR_NOMEM, "out of memory");
        if (!is_among(p.name, remove, remove_n))
            out->pairs[out->n++] = p;
    }
    znode_config_sort(out);
    return OK;
}

int configs_zk_alter(struct admin *a, const struct entities *e, const struct props *add, const struct str *remove,
                     size_t remove_n)
{
    struct target t = { "", "" };
    struct znode_config old, now;
    struct props encoded;
    struct levels l;

    TRY(levels_read(a, e, true, &l));
    for (size_t i = 0; i < l.n; i++)
        target_add(&t, l.type[i], l.name[i]);
    if (strcmp(l.type[0], "brokers") == 0) {
        TRY(encode_passwords(a, strcmp(l.name[0], DEFAULT_NAME) == 0, add, &encoded));
        TRY(check_broker(a, &l, &encoded));
        add = &encoded;
    } else if (is_quota(l.type[0]))
        TRY(check_quota(a, add));
    TRY(zk_config(a, t.path, &old));
    TRY(changed(a, &old, add, remove, remove_n, &now));
    if (strcmp(l.type[0], "topics") == 0)
        TRY(check_topic(a, l.name[0], &now));
    TRY(zk_config_change(a, t.path, &now));
    printf("Completed updating config for entity: %s.\n", t.text);
    return OK;
}

int configs_zk_describe(struct admin *a, const struct entities *e)
{
    static const struct target top;
    struct levels l;

    TRY(levels_read(a, e, false, &l));
    return describe_level(a, &l, 0, &top, !(l.n == 1 && strcmp(l.type[0], "users") == 0 && !l.named[0]));
}
