/* tools/configs/configs.c - kafka-configs.sh: options, what goes with what, and which action. */
#include "tools/configs/configs.h"

#include "tools/zk.h"

#include <ctype.h>

static const struct option_def configs_options[C_N] = {
    OPTIONS_COMMON,
    [C_ADD] = { "add-config", OPT_VALUE, "k1=v1,k2=[v1,v2]",
        "Settings to add or to change; brackets around a value that has commas.", NULL },
    [C_ADD_FILE] = { "add-config-file", OPT_VALUE, "file",
        "The same from a properties file.", NULL },
    [C_ALL] = { "all", OPT_FLAG, NULL,
        "With --describe: every setting, not only the entity's own.", NULL },
    [C_ALTER] = { "alter", OPT_FLAG, NULL,
        "Change settings.", NULL },
    [C_CONTROLLER] = { "bootstrap-controller", OPT_VALUE, "controller to connect to",
        "Of clusters without ZooKeeper; not available.", NULL },
    [C_BOOTSTRAP] = { "bootstrap-server", OPT_VALUE, "server to connect to",
        "The broker to ask, HOST:PORT; several with commas.", NULL },
    [C_BROKER] = { "broker", OPT_VALUE, "id",
        "Short for --entity-type brokers --entity-name.", NULL },
    [C_BROKER_DEFAULTS] = { "broker-defaults", OPT_FLAG, NULL,
        "Short for --entity-type brokers --entity-default.", NULL },
    [C_BROKER_LOGGER] = { "broker-logger", OPT_VALUE, "id",
        "Short for --entity-type broker-loggers --entity-name.", NULL },
    [C_CLIENT] = { "client", OPT_VALUE, "client id",
        "Short for --entity-type clients --entity-name.", NULL },
    [C_CLIENT_DEFAULTS] = { "client-defaults", OPT_FLAG, NULL,
        "Short for --entity-type clients --entity-default.", NULL },
    [C_COMMAND_CONFIG] = { "command-config", OPT_VALUE, "command config property file",
        "Properties of the client.", NULL },
    [C_DELETE] = { "delete-config", OPT_MANY, "k1,k2",
        "Settings to delete, so that the default holds again.", NULL },
    [C_DESCRIBE] = { "describe", OPT_FLAG, NULL,
        "Show settings and where they come from.", NULL },
    [C_ENTITY_DEFAULT] = { "entity-default", OPT_FLAG, NULL,
        "The default of all entities of the type.", NULL },
    [C_ENTITY_NAME] = { "entity-name", OPT_MANY, "name",
        "Which entity: the name of a topic, the id of a broker.", NULL },
    [C_ENTITY_TYPE] = { "entity-type", OPT_MANY, "type",
        "topics, brokers, broker-loggers or client-metrics; quotas of clients, users and ips are not available "
        "yet.",
        NULL },
    [C_FORCE] = { "force", OPT_FLAG, NULL,
        "There are no questions to suppress.", NULL },
    [C_IP] = { "ip", OPT_VALUE, "address",
        "Short for --entity-type ips --entity-name.", NULL },
    [C_IP_DEFAULTS] = { "ip-defaults", OPT_FLAG, NULL,
        "Short for --entity-type ips --entity-default.", NULL },
    [C_TOPIC] = { "topic", OPT_VALUE, "name",
        "Short for --entity-type topics --entity-name.", NULL },
    [C_USER] = { "user", OPT_VALUE, "principal",
        "Short for --entity-type users --entity-name.", NULL },
    [C_USER_DEFAULTS] = { "user-defaults", OPT_FLAG, NULL,
        "Short for --entity-type users --entity-default.", NULL },
    [C_ZK_TLS] = { "zk-tls-config-file", OPT_VALUE, "ZooKeeper TLS configuration",
        "Goes with --zookeeper.", NULL },
    [C_ZOOKEEPER] = { "zookeeper", OPT_VALUE, "urls",
        "Not available yet: use --bootstrap-server.", NULL },
};

enum { TOPICS, CLIENTS, USERS, BROKERS, /* those that go with --zookeeper end here */ IPS, LOGGERS, METRICS };
static const char *const types[] = {
    [TOPICS] = "topics", [CLIENTS] = "clients", [USERS] = "users", [BROKERS] = "brokers", [IPS] = "ips",
    [LOGGERS] = "broker-loggers", [METRICS] = "client-metrics",
};
#define TYPES_N (sizeof types / sizeof types[0])

static const struct entity_kind kinds[] = {
    { "topics", 2, 1, false, false },
    { "brokers", 4, 2, true, true },
    { "broker-loggers", 8, 0, true, false },
    { "client-metrics", 16, 7, false, false },
};

/* Options that say type and name at once; the flags say the default entity. */
static const struct {
    enum configs_option opt;
    int                 type;
} shorts[] = {
    { C_TOPIC, TOPICS }, { C_CLIENT, CLIENTS }, { C_USER, USERS }, { C_BROKER, BROKERS }, { C_BROKER_LOGGER, LOGGERS },
    { C_IP, IPS }, { C_CLIENT_DEFAULTS, CLIENTS }, { C_USER_DEFAULTS, USERS }, { C_BROKER_DEFAULTS, BROKERS },
    { C_IP_DEFAULTS, IPS },
};
#define SHORTS_N (sizeof shorts / sizeof shorts[0])

int configs_singular_len(const struct entity_kind *kind)
{
    return (int)strlen(kind->type) - 1;
}

/* ---- what the command line means ---- */

/* Does the default entity come before the first name on the command line? */
static bool default_first(const struct invocation *inv)
{
    for (int i = 1; i < inv->argc; i++) {
        const char *word = inv->argv[i] + strspn(inv->argv[i], "-");

        if (inv->argv[i][0] == '-' && (strcmp(word, "entity-default") == 0 || strncmp(word, "entity-name", 11) == 0))
            return word[7] == 'd';
    }
    return false;
}

static void entities_read(const struct invocation *inv, const struct options *o, struct entities *e)
{
    bool first = default_first(inv);
    const char *text;

    memset(e, 0, sizeof *e);
    for (size_t i = 0; e->types_n < ENTITIES_MAX && (text = options_nth(o, C_ENTITY_TYPE, i)) != NULL; i++)
        e->types[e->types_n++] = text;
    if (first)
        e->names[e->names_n++] = "";
    for (size_t i = 0; e->names_n < ENTITIES_MAX && (text = options_nth(o, C_ENTITY_NAME, i)) != NULL; i++)
        e->names[e->names_n++] = text;
    if (options_has(o, C_ENTITY_DEFAULT) && !first && e->names_n < ENTITIES_MAX)
        e->names[e->names_n++] = "";
    for (size_t i = 0; i < SHORTS_N; i++) {
        if (!options_has(o, shorts[i].opt) || e->types_n == ENTITIES_MAX || e->names_n == ENTITIES_MAX)
            continue;
        text = options_str(o, shorts[i].opt);
        e->types[e->types_n++] = types[shorts[i].type];
        e->names[e->names_n++] = text != NULL ? text : "";
    }
}

static bool has_type(const struct entities *e, int type)
{
    for (size_t i = 0; i < e->types_n; i++)
        if (strcmp(e->types[i], types[type]) == 0)
            return true;
    return false;
}

static bool has_name(const struct entities *e, bool deflt)
{
    for (size_t i = 0; i < e->names_n; i++)
        if ((e->names[i][0] == '\0') == deflt)
            return true;
    return false;
}

/* Each check prints its sentence and gives 1, or 0. */
static int check_types(const struct options *o, const struct entities *e)
{
    bool by_zookeeper = !options_has(o, C_BOOTSTRAP) && !options_has(o, C_CONTROLLER);

    for (size_t i = 0; i < e->types_n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(e->types[i], e->types[k]) == 0)
                return command_fail("Duplicate entity type(s) specified: %s", e->types[i]);
    for (size_t i = 0; i < e->types_n; i++) {
        bool known = false;

        for (size_t k = 0; k < TYPES_N; k++)
            known |= strcmp(e->types[i], types[k]) == 0 && (!by_zookeeper || k <= BROKERS);
        if (!known && by_zookeeper)
            return command_fail("Invalid entity type %s, the entity type must be one of topics, clients, "
                                "users, brokers with a --zookeeper argument", e->types[i]);
        if (!known)
            return command_fail("Invalid entity type %s, the entity type must be one of topics, clients, users, "
                                "brokers, ips, broker-loggers, client-metrics with a --bootstrap-server or "
                                "--bootstrap-controller argument", e->types[i]);
    }
    if (e->types_n == 0)
        return command_fail("At least one entity type must be specified");
    if (e->types_n > 1 && !(e->types_n == 2 && has_type(e, USERS) && has_type(e, CLIENTS)))
        return command_fail("Only 'users' and 'clients' entity types may be specified together");
    return 0;
}

static int check_connection(const struct options *o)
{
    int n = options_has(o, C_BOOTSTRAP) + options_has(o, C_CONTROLLER) + options_has(o, C_ZOOKEEPER);

    if (n == 0)
        return command_fail("One of the required --bootstrap-server, --boostrap-controller, or --zookeeper "
                            "arguments must be specified");
    if (n > 1)
        return command_fail("Only one of --bootstrap-server, --boostrap-controller, and --zookeeper can be "
                            "specified");
    if (options_has(o, C_ALL) && options_has(o, C_ZOOKEEPER))
        return command_fail("--bootstrap-server must be specified for --all");
    if (options_has(o, C_ZK_TLS) && !options_has(o, C_ZOOKEEPER))
        return command_fail("Only the --zookeeper option can be used with the --zk-tls-config-file option.");
    return 0;
}

static int check_names(const struct options *o, const struct entities *e)
{
    bool ids = has_type(e, BROKERS) || has_type(e, LOGGERS), quotas = has_type(e, USERS) || has_type(e, CLIENTS);
    int64_t id;

    for (size_t i = 0; i < e->names_n && ids; i++)
        if (e->names[i][0] != '\0' && parse_i64(e->names[i], INT32_MIN, INT32_MAX, &id) != OK)
            return command_fail("The entity name for %s must be a valid integer broker id, but it is: %s", e->types[0],
                                e->names[i]);
    if (options_has(o, C_DESCRIBE) && has_type(e, LOGGERS) && !has_name(e, false))
        return command_fail("an entity name must be specified with --describe of %s", e->types[0]);
    if (!options_has(o, C_ALTER))
        return 0;
    if (quotas || has_type(e, BROKERS) || has_type(e, IPS)) {
        if (e->names_n == 0)
            return command_fail("an entity-name or default entity must be specified with --alter of users, "
                                "clients, brokers or ips");
    } else if (!has_name(e, false)) {
        return command_fail("an entity name must be specified with --alter of %s", e->types[0]);
    }
    if (options_has(o, C_ADD) && options_has(o, C_ADD_FILE))
        return command_fail("Only one of --add-config or --add-config-file must be specified");
    if (!options_has(o, C_ADD) && !options_has(o, C_ADD_FILE) && !options_has(o, C_DELETE))
        return command_fail("At least one of --add-config, --add-config-file, or --delete-config must be "
                            "specified with --alter");
    return 0;
}

static int check(const struct invocation *inv, struct options *o, const struct entities *e)
{
    static const size_t not_described[] = { C_ALTER, C_ADD, C_DELETE };
    bool by_short = false, by_entity;

    if (options_has(o, C_ALTER) == options_has(o, C_DESCRIBE))
        return command_usage(inv, "Command must include exactly one action: --describe, --alter");
    if (options_exclude(o, C_DESCRIBE, not_described, 3) != OK)
        return command_usage(inv, o->error);
    if (check_types(o, e) != 0)
        return 1;
    for (size_t i = 0; i < SHORTS_N; i++)
        by_short |= options_has(o, shorts[i].opt);
    by_entity = options_has(o, C_ENTITY_NAME) || options_has(o, C_ENTITY_TYPE) || options_has(o, C_ENTITY_DEFAULT);
    if (by_short && by_entity)
        return command_fail("--entity-{type,name,default} should not be used in conjunction with specific "
                            "entity flags");
    if (check_connection(o) != 0 || check_names(o, e) != 0)
        return 1;
    if (options_has(o, C_CONTROLLER))
        return command_fail("--bootstrap-controller is for KRaft controllers. Use --bootstrap-server HOST:PORT of any "
                            "broker.");
    if (options_has(o, C_ZK_TLS))
        return command_fail("--zk-tls-config-file: Debian's ZooKeeper client library has no TLS.");
    if (options_has(o, C_ZOOKEEPER))
        return 0;
    if (has_type(e, USERS) || has_type(e, CLIENTS) || has_type(e, IPS))
        return command_fail("--entity-type %s is not available yet: this command does not know quotas and SCRAM "
                            "credentials so far.", e->types[0]);
    return 0;
}

/* ---- --add-config, --add-config-file, --delete-config ---- */

static int refuse_key(struct admin *a, struct str key)
{
    for (size_t i = 0; i < key.len; i++)
        if (!isalnum((unsigned char)key.p[i]) && strchr("._-", key.p[i]) == NULL)
            return admin_fail(a, ERR_INVALID, "Invalid character found for config key: %.*s", STR_ARG(key));
    return OK;
}

static int added(struct admin *a, const struct options *o, struct props *add)
{
    struct str format;

    if (options_has(o, C_ADD_FILE))
        TRY(props_add_file(add, options_str(o, C_ADD_FILE), &a->arena, a->error, sizeof a->error));
    if (options_has(o, C_ADD))
        TRY(configs_parse_added(a, options_str(o, C_ADD), add));
    format = props_get(add, "message.format.version");
    if (format.p != NULL)
        printf("WARNING: The configuration message.format.version=%.*s is specified. This configuration will be "
               "ignored if the version is newer than the inter.broker.protocol.version specified in the broker "
               "or if the inter.broker.protocol.version is 3.0 or newer. This configuration is deprecated and "
               "it will be removed in Apache Kafka 4.0.\n", STR_ARG(format));
    for (size_t i = 0; i < add->n; i++)
        TRY(refuse_key(a, add->v[i].name));
    return OK;
}

static int removed(struct admin *a, const struct options *o, struct str **out, size_t *n)
{
    size_t cap = 1;
    const char *text;

    *n = 0;
    for (size_t i = 0; (text = options_nth(o, C_DELETE, i)) != NULL; i++)
        cap += strlen(text) + 1;
    *out = arena_array(&a->arena, cap, sizeof **out);
    if (*out == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    for (size_t i = 0; (text = options_nth(o, C_DELETE, i)) != NULL; i++) {
        while (*(text += strspn(text, ", \t")) != '\0') {
            struct str *key = &(*out)[(*n)++];

            *key = (struct str){ text, strcspn(text, ",") };
            text += key->len;
            while (isspace((unsigned char)key->p[key->len - 1]))
                key->len--;
        }
    }
    return OK;
}

/* ---- run ---- */

static int run_zk(struct admin *a, const struct options *o, const struct entities *e)
{
    struct props add = { .n = 0 };
    struct str *remove;
    size_t remove_n;

    puts("Warning: --zookeeper is deprecated and will be removed in a future version of Kafka.\n"
         "Use --bootstrap-server instead to specify a broker to connect to.");
    if (options_has(o, C_DESCRIBE))
        return configs_zk_describe(a, e);
    TRY(added(a, o, &add));
    TRY(removed(a, o, &remove, &remove_n));
    return configs_zk_alter(a, e, &add, remove, remove_n);
}

static int run(struct admin *a, const struct options *o, const struct entities *e, bool *plain)
{
    const struct entity_kind *kind = kinds;
    struct props add = { .n = 0 };
    struct str *remove;
    size_t remove_n;
    int rc;

    while (strcmp(kind->type, e->types[0]) != 0)
        kind++;
    if (options_has(o, C_DESCRIBE))
        return configs_describe(a, kind, e->names_n > 0 ? e->names[0] : NULL, options_has(o, C_ALL));
    *plain = true;
    if (e->types_n != e->names_n)
        return admin_fail(a, ERR_INVALID, "An entity name must be specified for every entity type");
    TRY(added(a, o, &add));
    TRY(removed(a, o, &remove, &remove_n));
    rc = configs_alter(a, kind, e->names[0], &add, remove, remove_n);
    *plain = rc == ERR_NOENT;
    return rc;
}

static int configs_run(const struct invocation *inv, struct options *o)
{
    struct entities e;
    struct admin    a;
    bool            plain = false;      /* the sentence alone, as Apache Kafka's command says what it finds itself */
    int             rc;

    entities_read(inv, o, &e);
    if (check(inv, o, &e) != 0)
        return 1;
    if (options_has(o, C_ZOOKEEPER)) {
        plain = true;
        rc = zk_open(&a, options_str(o, C_ZOOKEEPER));
        if (rc == OK)
            rc = run_zk(&a, o, &e);
    } else {
        rc = admin_open(&a, options_str(o, C_BOOTSTRAP), options_str(o, C_COMMAND_CONFIG), NULL);
        if (rc == OK)
            rc = run(&a, o, &e, &plain);
    }
    fflush(stdout);
    if (rc != OK && !plain) {
        fputs("Error while executing config command with args '", stderr);
        for (int i = 1; i < inv->argc; i++)
            fprintf(stderr, "%s%s", i > 1 ? " " : "", inv->argv[i]);
        fputs("'\n", stderr);
    }
    if (rc != OK)
        fprintf(stderr, "%s\n", a.error);
    admin_close(&a);
    return rc == OK ? 0 : 1;
}

const struct command command_configs = {
    .name = "configs",
    .summary = "Show and change the settings of topics, brokers and loggers.",
    .note = "\nSettings of topics: see the documentation of Apache Kafka. One that means nothing to this broker "
            "is refused or has a warning in its log.",
    .defs = configs_options,
    .defs_n = C_N,
    .run = configs_run,
};
