/* tools/console/old_consumer.c - kafka-console-consumer.sh --zookeeper: the consumer of before Kafka 2.0, as the
 * console consumer of Kafka 1.1 used it. Its group finds itself in ZooKeeper (tools/zk_group).
 *
 * A group that it makes up is deleted at the end. Offsets that are there already and a wish for the beginning do not go
 * together, unless they may be deleted.
 */
#include "tools/console/consumer.h"

#include "base/clock.h"
#include "base/log.h"
#include "metadata/store.h"
#include "tools/zk.h"
#include "tools/zk_group/member.h"

#include <inttypes.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

#define GROUPS_MADE_UP 100000           /* console-consumer-0 and so on */
#define GROUP_MAX      150              /* bytes: so that all paths of a group have room */
#define WAIT_MS        100

struct old_consumer {
    struct zk_member_opts opts;
    struct admin          zk;
    struct zk_member     *member;
    struct props          client;       /* for librdkafka */
    const char           *connect;
    char                 *expression;
    bool                  made_up;      /* the group */
    bool                  delete_first; /* what there is of the group */
    int32_t               session_ms, connection_ms;
};

/* ---- options ---- */

int old_consumer_check(const struct invocation *inv, struct options *o)
{
    int ways = options_has(o, C_TOPIC) + (options_has(o, C_WHITELIST) || options_has(o, C_INCLUDE)) +
               options_has(o, C_BLACKLIST);

    if (options_has(o, C_BOOTSTRAP))
        return command_usage(inv, "Option [bootstrap-server] is not valid with [zookeeper].");
    if (ways != 1)
        return command_usage(inv, "Exactly one of whitelist/blacklist/topic is required.");
    if (options_has(o, C_PARTITION) || options_has(o, C_OFFSET))
        return command_usage(inv, "Partition-offset based consumption is supported in the new consumer only.");
    fputs("Using the ConsoleConsumer with old consumer is deprecated and will be removed in a future major release. "
          "Consider using the new consumer by passing [bootstrap-server] instead of [zookeeper].\n", stderr);
    if (options_has(o, C_CSV) || options_has(o, C_METRICS_DIR))
        fputs("WARN --csv-reporter-enabled and --metrics-dir have no effect: no metrics are written.\n", stderr);
    return 0;
}

/* ---- properties ---- */

struct number {
    const char *name;
    int64_t     min, dflt;              /* of an int32 */
};

static int read_number(struct consumer *c, const struct number *n, int64_t *out)
{
    struct str value = props_get(&c->props, n->name);
    char       text[24];

    *out = n->dflt;
    if (value.p == NULL)
        return OK;
    if (value.len < sizeof text) {
        snprintf(text, sizeof text, "%.*s", STR_ARG(value));
        if (parse_i64(text, n->min, INT32_MAX, out) == OK)
            return OK;
    }
    snprintf(c->error, sizeof c->error, "Invalid value %.*s for configuration %s: a number from %" PRId64 " to %d is "
             "needed", STR_ARG(value), n->name, n->min, INT32_MAX);
    return ERR_INVALID;
}

static int read_numbers(struct consumer *c)
{
    struct old_consumer *old = c->old;
    int64_t              n;

    TRY(read_number(c, &(struct number){ "zookeeper.session.timeout.ms", 1, 6000 }, &n));
    old->session_ms = (int32_t)n;
    TRY(read_number(c, &(struct number){ "zookeeper.connection.timeout.ms", 1, old->session_ms }, &n));
    old->connection_ms = (int32_t)n;
    TRY(read_number(c, &(struct number){ "zookeeper.sync.time.ms", 0, 2000 }, &n));
    TRY(read_number(c, &(struct number){ "rebalance.backoff.ms", 0, n }, &old->opts.backoff_ms));
    TRY(read_number(c, &(struct number){ "rebalance.max.retries", 1, 4 }, &n));
    old->opts.retries = (int32_t)n;
    TRY(read_number(c, &(struct number){ "auto.commit.interval.ms", 1, 60000 }, &old->opts.commit_every_ms));
    TRY(read_number(c, &(struct number){ "consumer.timeout.ms", -1, -1 }, &n));
    if (c->timeout_ms < 0)
        c->timeout_ms = n;
    return OK;
}

static bool is_either(struct str v, const char *a, const char *b)
{
    return v.p == NULL || str_is(v, a) || str_is(v, b);
}

static int read_words(struct consumer *c, const struct options *o)
{
    struct old_consumer *old = c->old;
    struct str           reset = props_get(&c->props, "auto.offset.reset");
    struct str           storage = props_get(&c->props, "offsets.storage");
    struct str           strategy = props_get(&c->props, "partition.assignment.strategy");
    struct str           commit = props_get(&c->props, "auto.commit.enable");

    old->opts.from_smallest = options_has(o, C_FROM_BEGINNING) || str_is(reset, "smallest");
    if (reset.p != NULL && options_has(o, C_FROM_BEGINNING) && !str_is(reset, "smallest"))
        snprintf(c->error, sizeof c->error, "Can't simultaneously specify --from-beginning and "
                 "'auto.offset.reset=%.*s', please remove one option", STR_ARG(reset));
    else if (!is_either(reset, "smallest", "largest"))
        snprintf(c->error, sizeof c->error, "Wrong value %.*s of auto.offset.reset in ConsumerConfig; Valid values are "
                 "smallest and largest", STR_ARG(reset));
    else if (!is_either(strategy, "range", "roundrobin"))
        snprintf(c->error, sizeof c->error, "Wrong value %.*s of partition.assignment.strategy in consumer config; "
                 "Valid values are 'range' and 'roundrobin'", STR_ARG(strategy));
    else if (storage.p != NULL && (storage.len != 9 || strncasecmp(storage.p, "zookeeper", 9) != 0))
        snprintf(c->error, sizeof c->error, "offsets.storage=%.*s: with --zookeeper offsets are kept in ZooKeeper; use "
                 "--bootstrap-server for groups that keep them in Kafka", STR_ARG(storage));
    else if (!is_either(commit, "true", "false"))
        snprintf(c->error, sizeof c->error, "Wrong value %.*s of auto.commit.enable: true or false", STR_ARG(commit));
    else
        c->error[0] = '\0';
    old->opts.strategy = str_is(strategy, "roundrobin") ? GROUP_ROUND_ROBIN : GROUP_RANGE;
    old->opts.commits = !str_is(commit, "false");
    old->opts.exclude_internal = !str_is(props_get(&c->props, "exclude.internal.topics"), "false");
    return c->error[0] == '\0' ? OK : ERR_INVALID;
}

/* Letters that may be in a path. */
static int check_group(struct consumer *c, struct str group)
{
    for (size_t i = 0; i < group.len; i++) {
        unsigned char b = (unsigned char)group.p[i];

        if ((b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && (b < '0' || b > '9') && b != '.' && b != '_' && b != '-') {
            snprintf(c->error, sizeof c->error, "group.id %.*s is illegal, contains a character other than ASCII "
                     "alphanumerics, '.', '_' and '-'", STR_ARG(group));
            return ERR_INVALID;
        }
    }
    if (group.len > 0 && group.len <= GROUP_MAX && !str_is(group, ".") && !str_is(group, ".."))
        return OK;
    snprintf(c->error, sizeof c->error, "group.id %.*s is illegal: from 1 to %d characters, and not . or ..",
             STR_ARG(group), GROUP_MAX);
    return ERR_INVALID;
}

/* Group and consumer: GROUP_HOST-MILLISECONDS-RANDOM. */
static int read_names(struct consumer *c, const struct options *o)
{
    struct old_consumer *old = c->old;
    struct str           group = props_get(&c->props, "group.id"), id = props_get(&c->props, "consumer.id");
    uint32_t             random[2];
    char                 host[65] = "localhost";

    if (getrandom(random, sizeof random, 0) != sizeof random)
        random[0] = random[1] = (uint32_t)mono_ns();
    if (options_has(o, C_GROUP))
        group = str_of(options_str(o, C_GROUP));
    old->made_up = group.p == NULL;
    if (old->made_up)
        group = str_of(arena_printf(&c->arena, "console-consumer-%" PRIu32, random[0] % GROUPS_MADE_UP));
    TRY(check_group(c, group));
    gethostname(host, sizeof host - 1);
    old->opts.group = arena_cstr(&c->arena, group);
    if (id.p != NULL)
        TRY(check_group(c, id));
    old->opts.id = id.p != NULL ? arena_printf(&c->arena, "%.*s_%.*s", STR_ARG(group), STR_ARG(id))
                 : arena_printf(&c->arena, "%.*s_%s-%" PRId64 "-%08" PRIx32, STR_ARG(group), host, wall_ms(),
                                random[1]);
    return old->opts.group != NULL && old->opts.id != NULL ? OK : consumer_fail(c, ERR_NOMEM, "out of memory");
}

/* The properties of the old consumer in the words of the new one. */
static int read_client(struct consumer *c, const struct options *o)
{
    static const char *const names[][2] = {
        { "client.id", "client.id" },
        { "metadata.max.age.ms", "metadata.max.age.ms" },
        { "fetch.max.bytes", "fetch.max.bytes" },
        { "fetch.message.max.bytes", "max.partition.fetch.bytes" },
        { "fetch.min.bytes", "fetch.min.bytes" },
        { "fetch.wait.max.ms", "fetch.max.wait.ms" },
        { "socket.receive.buffer.bytes", "receive.buffer.bytes" },
        { "security.protocol", "security.protocol" },
        { "sasl.mechanism", "sasl.mechanism" },
        { "sasl.jaas.config", "sasl.jaas.config" },
        { "sasl.kerberos.service.name", "sasl.kerberos.service.name" },
    };
    struct old_consumer *old = c->old;
    struct str           protocol = props_get(&c->props, "security.protocol");

    for (size_t i = 0; i < c->props.n; i++) {
        struct str name = c->props.v[i].name, to = { NULL, 0 };

        for (size_t k = 0; k < sizeof names / sizeof names[0]; k++)
            to = str_is(name, names[k][0]) ? str_of(names[k][1]) : to;
        if (name.len > 4 && memcmp(name.p, "ssl.", 4) == 0)
            to = name;
        if (to.p != NULL)
            TRY(props_set(&old->client, to, c->props.v[i].value, &c->arena));
    }
    TRY(props_set(&old->client, STR_LIT("auto.offset.reset"),
                  old->opts.from_smallest ? STR_LIT("earliest") : STR_LIT("latest"), &c->arena));
    TRY(props_set(&old->client, STR_LIT("isolation.level"), str_of(options_str(o, C_ISOLATION)), &c->arena));
    TRY(props_set(&old->client, STR_LIT("allow.auto.create.topics"), STR_LIT("false"), &c->arena));
    if (props_get(&old->client, "metadata.max.age.ms").p == NULL)       /* how soon partitions that are new are known */
        TRY(props_set(&old->client, STR_LIT("metadata.max.age.ms"), STR_LIT("5000"), &c->arena));
    old->opts.client = &old->client;
    old->opts.protocol = protocol.p != NULL ? arena_cstr(&c->arena, protocol) : "PLAINTEXT";
    return rd_props_defaults(&old->client, RD_CONSUMER, old->opts.group, &c->arena);
}

/* A topic is an expression, too. */
static int read_expression(struct consumer *c, const struct options *o)
{
    struct old_consumer *old = c->old;
    const size_t         ways[] = { C_TOPIC, C_WHITELIST, C_INCLUDE, C_BLACKLIST };
    const char          *text = NULL;
    struct pattern      *pattern = NULL;

    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        text = options_has(o, ways[i]) ? options_str(o, ways[i]) : text;
    old->opts.kind = options_has(o, C_BLACKLIST) ? GROUP_BLACK_LIST : GROUP_WHITE_LIST;
    old->expression = pattern_text(str_of(text));
    old->opts.expression = old->expression;
    if (old->expression == NULL)
        return consumer_fail(c, ERR_NOMEM, "out of memory");
    if (pattern_new(&pattern, str_of(text)) != OK) {
        snprintf(c->error, sizeof c->error, "%s is an invalid regex.", old->expression);
        return ERR_INVALID;
    }
    pattern_free(&pattern);
    return OK;
}

int old_consumer_read(struct consumer *c, const struct options *o)
{
    c->old = calloc(1, sizeof *c->old);
    if (c->old == NULL)
        return consumer_fail(c, ERR_NOMEM, "out of memory");
    c->old->connect = options_str(o, C_ZOOKEEPER);
    TRY(read_expression(c, o));
    TRY(read_numbers(c));
    TRY(read_words(c, o));
    TRY(read_names(c, o));
    TRY(read_client(c, o));
    c->old->delete_first = options_has(o, C_DELETE_OFFSETS);
    return OK;
}

/* ---- reading ---- */

static int from_zk(struct consumer *c, int rc)
{
    return rc == OK ? OK : consumer_fail(c, rc, c->old->zk.error);
}

static int look_at_group(struct consumer *c)
{
    struct old_consumer *old = c->old;
    char                 path[STORE_PATH_MAX];
    bool                 there;

    TRY(from_zk(c, zk_exists(&old->zk, ZK_BROKER_IDS, &there)));
    if (!there)
        return consumer_fail(c, ERR_NOENT, "No brokers found in ZK.");
    if (old->delete_first) {
        snprintf(path, sizeof path, "/consumers/%s", old->opts.group);
        return from_zk(c, zk_delete_tree(&old->zk, path));
    }
    snprintf(path, sizeof path, "/consumers/%s/offsets", old->opts.group);
    TRY(from_zk(c, zk_exists(&old->zk, path, &there)));
    if (!there || !old->opts.from_smallest)
        return OK;
    snprintf(c->error, sizeof c->error, "Found previous offset information for this group %s. Please use "
             "--delete-consumer-offsets to delete previous offsets metadata", old->opts.group);
    return ERR_EXISTS;
}

static int old_open(struct consumer *c)
{
    struct old_consumer *old = c->old;

    TRY(from_zk(c, zk_open_timed(&old->zk, old->connect, old->session_ms, old->connection_ms)));
    atomic_store(&log_threshold, LOG_WARN);         /* connections that are lost, and come back */
    TRY(look_at_group(c));
    old->opts.store = old->zk.store;
    TRY(zk_member_new(&old->member, &old->opts, c->error, sizeof c->error));
    while (rd_stopped() == 0 && !zk_member_settled(old->member)) {
        TRY(zk_member_look(old->member, c->error, sizeof c->error));
        zk_member_sleep(old->member, WAIT_MS);
    }
    return OK;
}

static int old_look(struct consumer *c, int64_t *next_ms)
{
    *next_ms = 0;                       /* always: it costs little */
    return zk_member_look(c->old->member, c->error, sizeof c->error);
}

static rd_kafka_message_t *old_poll(struct consumer *c, int ms)
{
    return zk_member_poll(c->old->member, ms);
}

static void old_done(struct consumer *c, const rd_kafka_message_t *m)
{
    zk_member_done(c->old->member, m);
}

static void old_close(struct consumer *c)
{
    struct old_consumer *old = c->old;
    char                 path[STORE_PATH_MAX];
    bool                 was = old->member != NULL;

    zk_member_free(&old->member);
    if (was && old->made_up) {
        store_hurry(old->zk.store);
        snprintf(path, sizeof path, "/consumers/%s", old->opts.group);
        if (zk_delete_tree(&old->zk, path) != OK)
            fprintf(stderr, "WARN The group that was made up stays in ZooKeeper: %s\n", old->zk.error);
    }
    admin_close(&old->zk);
}

void old_consumer_free(struct consumer *c)
{
    if (c->old == NULL)
        return;
    free(c->old->expression);
    free(c->old);
    c->old = NULL;
}

const struct record_source old_consumer_source = { old_open, old_look, old_poll, old_done, old_close };
