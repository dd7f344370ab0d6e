/* tools/topics/topics.c - kafka-topics.sh: options, what goes with what, and which action. */
#include "tools/topics/topics.h"

#include "tools/pattern.h"
#include "tools/zk.h"

static const struct option_def topics_options[T_N] = {
    OPTIONS_COMMON,
    [T_ALTER] = { "alter", OPT_FLAG, NULL,
        "Give a topic more partitions (with --partitions, and --replica-assignment if you want to choose "
        "where). A topic's configuration is changed by kafka-configs.", NULL },
    [T_AT_MIN_ISR] = { "at-min-isr-partitions", OPT_FLAG, NULL,
        "With --describe: only partitions that have just as many in-sync replicas as min.insync.replicas "
        "asks for.", NULL },
    [T_BOOTSTRAP] = { "bootstrap-server", OPT_VALUE, "server to connect to",
        "REQUIRED: the broker to ask, HOST:PORT; several with commas.", NULL },
    [T_COMMAND_CONFIG] = { "command-config", OPT_VALUE, "command config property file",
        "Properties of the client.", NULL },
    [T_CONFIG] = { "config", OPT_MANY, "name=value",
        "With --create: a configuration of the topic's own, such as retention.ms=3600000. May be given "
        "several times.", NULL },
    [T_CREATE] = { "create", OPT_FLAG, NULL,
        "Make a new topic.", NULL },
    [T_DELETE] = { "delete", OPT_FLAG, NULL,
        "Delete the topics that --topic names.", NULL },
    [T_DELETE_CONFIG] = { "delete-config", OPT_MANY, "name",
        "With --zookeeper and --alter: a configuration of the topic's own that is to go. May be given several "
        "times. Else see kafka-configs.", NULL },
    [T_DESCRIBE] = { "describe", OPT_FLAG, NULL,
        "Show the topics and their partitions.", NULL },
    [T_DISABLE_RACK_AWARE] = { "disable-rack-aware", OPT_FLAG, NULL,
        "With --zookeeper: spread replicas as if brokers had no racks.", NULL },
    [T_EXCLUDE_INTERNAL] = { "exclude-internal", OPT_FLAG, NULL,
        "With --list or --describe: leave out the internal topics.", NULL },
    [T_FORCE] = { "force", OPT_FLAG, NULL,
        "Of Kafka 2.7; there are no questions to suppress.", NULL },
    [T_IF_EXISTS] = { "if-exists", OPT_FLAG, NULL,
        "With --alter, --delete or --describe: a topic that does not exist is no error.", NULL },
    [T_IF_NOT_EXISTS] = { "if-not-exists", OPT_FLAG, NULL,
        "With --create: a topic that exists already is no error.", NULL },
    [T_LIST] = { "list", OPT_FLAG, NULL,
        "Print the names of all topics, or of those that --topic matches.", NULL },
    [T_SIZE_LIMIT] = { "partition-size-limit-per-response", OPT_VALUE, "maximum number of partitions in one response.",
        "With --describe: how many partitions one answer may hold, where the broker can divide its answer.",
        NULL },
    [T_PARTITIONS] = { "partitions", OPT_VALUE, "# of partitions",
        "How many partitions the topic is to have. With --alter: more than now; keyed records then go to "
        "other partitions than before. Default for --create: the broker's num.partitions.", NULL },
    [T_ASSIGNMENT] = { "replica-assignment", OPT_VALUE, "1:2,2:3,...",
        "Brokers for each replica (:) of each partition (,) in place of --partitions and "
        "--replication-factor.", NULL },
    [T_REPLICATION] = { "replication-factor", OPT_VALUE, "replication factor",
        "How many brokers hold each partition. Default: the broker's default.replication.factor.", NULL },
    [T_TOPIC] = { "topic", OPT_VALUE, "topic",
        "The topic; but for --create, a regular expression that the whole name must match (quote it, and "
        "write \\. for a dot).", NULL },
    [T_TOPIC_ID] = { "topic-id", OPT_VALUE, "topic-id",
        "With --describe: the topic by its id.", NULL },
    [T_WITH_OVERRIDES] = { "topics-with-overrides", OPT_FLAG, NULL,
        "With --describe: only topics with a configuration of their own.", NULL },
    [T_UNAVAILABLE] = { "unavailable-partitions", OPT_FLAG, NULL,
        "With --describe: only partitions without a living leader.", NULL },
    [T_UNDER_MIN_ISR] = { "under-min-isr-partitions", OPT_FLAG, NULL,
        "With --describe: only partitions with fewer in-sync replicas than min.insync.replicas.", NULL },
    [T_UNDER_REPLICATED] = { "under-replicated-partitions", OPT_FLAG, NULL,
        "With --describe: only partitions of which some replica is not in sync.", NULL },
    [T_ZOOKEEPER] = { "zookeeper", OPT_VALUE, "hosts",
        "In place of --bootstrap-server: ZooKeeper's HOST:PORT, several with commas, then the chroot. Does and "
        "says what Kafka 2.7 did.", NULL },
};

static const struct {
    enum topics_option opt;
    const char        *call;            /* as Kafka's client names it */
    int              (*run)(struct admin *, struct options *);
    int              (*run_zk)(struct admin *, struct options *);
} actions[] = {
    { T_CREATE,   "createTopics",     topics_create,   topics_zk_create },
    { T_ALTER,    "createPartitions", topics_alter,    topics_zk_alter },
    { T_LIST,     "listTopics",       topics_list,     topics_zk_list },
    { T_DESCRIBE, "describeTopics",   topics_describe, topics_zk_describe },
    { T_DELETE,   "deleteTopics",     topics_delete,   topics_zk_delete },
};
#define ACTIONS_N (sizeof actions / sizeof actions[0])

/* An option and what it cannot be used with: every action but those in `with`, and the options in `and_not`. */
static const struct {
    enum topics_option opt;
    size_t             with[3];
    size_t             and_not[5];
} exclusions[] = {
    { T_CONFIG,           { T_ALTER, T_CREATE },             { 0 } },
    { T_DELETE_CONFIG,    { T_ALTER },                       { T_BOOTSTRAP } },
    { T_PARTITIONS,       { T_ALTER, T_CREATE },             { 0 } },
    { T_REPLICATION,      { T_CREATE },                      { 0 } },
    { T_ASSIGNMENT,       { T_ALTER, T_CREATE },             { 0 } },
    { T_UNDER_REPLICATED, { T_DESCRIBE },                    { T_WITH_OVERRIDES } },
    { T_UNDER_MIN_ISR,    { T_DESCRIBE },                    { T_WITH_OVERRIDES, T_ZOOKEEPER } },
    { T_AT_MIN_ISR,       { T_DESCRIBE },                    { T_WITH_OVERRIDES, T_ZOOKEEPER } },
    { T_UNAVAILABLE,      { T_DESCRIBE },                    { T_WITH_OVERRIDES } },
    { T_WITH_OVERRIDES,   { T_DESCRIBE },                    { T_UNDER_REPLICATED, T_UNDER_MIN_ISR, T_AT_MIN_ISR,
                                                               T_UNAVAILABLE } },
    { T_IF_EXISTS,        { T_ALTER, T_DELETE, T_DESCRIBE }, { 0 } },
    { T_IF_NOT_EXISTS,    { T_CREATE },                      { 0 } },
    { T_EXCLUDE_INTERNAL, { T_LIST, T_DESCRIBE },            { 0 } },
};

static bool is_among(size_t opt, const size_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (v[i] == opt)
            return true;
    }
    return false;
}

static int check_exclusions(struct options *o)
{
    static const size_t with_assignment[] = { T_PARTITIONS, T_REPLICATION };

    for (size_t i = 0; i < sizeof exclusions / sizeof exclusions[0]; i++) {
        size_t not[ACTIONS_N + 5], n = 0;

        for (size_t k = 0; k < ACTIONS_N; k++) {
            if (!is_among(actions[k].opt, exclusions[i].with, 3))
                not[n++] = actions[k].opt;
        }
        for (size_t k = 0; k < 5 && exclusions[i].and_not[k] != 0; k++)
            not[n++] = exclusions[i].and_not[k];
        TRY(options_exclude(o, exclusions[i].opt, not, n));
        if (exclusions[i].opt == T_ASSIGNMENT && options_has(o, T_CREATE))
            TRY(options_exclude(o, T_ASSIGNMENT, with_assignment, 2));
    }
    return OK;
}

/* What must be there; the message goes out together with the help text. */
static int check_required(struct options *o)
{
    if (options_has(o, T_DESCRIBE) && options_has(o, T_IF_EXISTS)) {
        if (!options_has(o, T_TOPIC) && !options_has(o, T_TOPIC_ID)) {
            snprintf(o->error, sizeof o->error, "--topic or --topic-id is required to describe a topic");
            return ERR_INVALID;
        }
        if (options_has(o, T_TOPIC) && options_has(o, T_TOPIC_ID))
            puts("Only topic id will be used when both --topic and --topic-id are specified and topicId is "
                 "not Uuid.ZERO_UUID");
    }
    if (!options_has(o, T_LIST) && !options_has(o, T_DESCRIBE))
        TRY(options_require(o, T_TOPIC));
    if (options_has(o, T_CREATE) && options_has(o, T_ZOOKEEPER) && !options_has(o, T_ASSIGNMENT)) {
        TRY(options_require(o, T_PARTITIONS));
        TRY(options_require(o, T_REPLICATION));
    }
    if (options_has(o, T_ALTER) && options_has(o, T_BOOTSTRAP)) {
        if (options_has(o, T_CONFIG)) {
            snprintf(o->error, sizeof o->error, "Option combination \"[[bootstrap-server], [config]]\" can't "
                     "be used with option \"[alter]\" (the kafka-configs CLI supports altering topic configs "
                     "with a --bootstrap-server option)");
            return ERR_INVALID;
        }
        TRY(options_require(o, T_PARTITIONS));
    }
    return OK;
}

int topics_chosen(struct admin *a, const struct options *o, bool must_exist, struct topic_names *out)
{
    const char     *topic = options_str(o, T_TOPIC);
    struct pattern *p = NULL;
    int             rc;

    if (topic != NULL && (rc = pattern_new(&p, str_of(topic))) != OK)
        return admin_fail(a, rc, "%s %s", topic, rc == ERR_INVALID ? "is an invalid regex." : err_text(rc));
    rc = admin_topic_names(a, p, options_has(o, T_EXCLUDE_INTERNAL), out);
    pattern_free(&p);
    TRY(rc);
    if (must_exist && topic != NULL && topic[0] != '\0' && out->n == 0)
        return admin_fail(a, ERR_NOENT, "Topic '%s' does not exist as expected", topic);
    return OK;
}

int topics_list(struct admin *a, struct options *o)
{
    struct topic_names t;

    TRY(topics_chosen(a, o, false, &t));
    for (size_t i = 0; i < t.n; i++)
        printf("%.*s\n", STR_ARG(t.v[i]));
    if (t.n == 0)
        putchar('\n');
    return OK;
}

static int topics_run(const struct invocation *inv, struct options *o)
{
    struct admin a;
    bool         zk = options_has(o, T_ZOOKEEPER);
    size_t       action = 0, n = 0;
    int          rc;

    for (size_t i = 0; i < ACTIONS_N; i++) {
        if (options_has(o, actions[i].opt)) {
            action = i;
            n++;
        }
    }
    if (n != 1)
        return command_usage(inv, "Command must include exactly one action: --list, --describe, --create, "
                             "--alter or --delete");
    if (zk && options_has(o, T_BOOTSTRAP))
        return command_fail("Only one of --bootstrap-server or --zookeeper must be specified");
    if (!zk && !options_has(o, T_BOOTSTRAP))
        return command_fail("--bootstrap-server must be specified");
    if (check_required(o) != OK || check_exclusions(o) != OK)
        return command_usage(inv, o->error);

    rc = zk ? zk_open(&a, options_str(o, T_ZOOKEEPER))
            : admin_open(&a, options_str(o, T_BOOTSTRAP), options_str(o, T_COMMAND_CONFIG), NULL);
    if (rc != OK) {
        command_fail("%s", a.error);
    } else {
        if (!zk)
            client_doing(a.client, actions[action].call);
        rc = zk ? actions[action].run_zk(&a, o) : actions[action].run(&a, o);
        if (rc != OK)
            printf("Error while executing topic command : %s\n", a.error);
    }
    admin_close(&a);
    return rc == OK ? 0 : 1;
}

const struct command command_topics = {
    .name = "topics",
    .summary = "Create, list, describe, change and delete topics.",
    .defs = topics_options,
    .defs_n = T_N,
    .run = topics_run,
};
