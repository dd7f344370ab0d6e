/* tools/console/consumer.c - kafka-console-consumer.sh: the records of topics on standard output. With --zookeeper they
 * come by old_consumer.c.
 *
 * As in Kafka it is always a member of a group: of the one that is named, where it goes on from what was committed, and
 * commits what it has printed; or of one whose name it makes up and that commits nothing. Only --partition reads
 * without a group's help.
 */
#include "base/clock.h"
#include "tools/console/consumer.h"

#include <inttypes.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/random.h>

#define MEMORY_LIMIT      (16U << 20)   /* properties */
#define OUTPUT_BYTES      (256U << 10)
#define BATCH_N           2000          /* records between two looks at the clock */
#define WAIT_MS           100           /* the longest wait: signals are looked at in between */
#define LOOK_AGAIN_MS     5000          /* how often to look for new partitions; metadata.max.age.ms lowers it */
#define METADATA_WAIT_MS  5000
#define HEADERS_MAX       1000
#define GROUPS_MADE_UP    100000        /* console-consumer-0 and so on */

static const struct option_def consumer_options[C_N] = {
    OPTIONS_COMMON,
    [C_BLACKLIST] = { "blacklist", OPT_VALUE, "blacklist",
        "With --zookeeper: read every topic whose whole name does not match.", NULL },
    [C_BOOTSTRAP] = { "bootstrap-server", OPT_VALUE, "server to connect to",
        "REQUIRED, unless there is --zookeeper: HOST1:PORT1,HOST2:PORT2 of some brokers of the cluster.", NULL },
    [C_CONSUMER_PROPERTY] = { "consumer-property", OPT_MANY, "consumer_prop",
        "A property of the consumer, name=value.", NULL },
    [C_CONSUMER_CONFIG] = { "consumer.config", OPT_VALUE, "config file",
        "A file of such properties; --consumer-property wins over it.", NULL },
    [C_CSV] = { "csv-reporter-enabled", OPT_FLAG, NULL,
        "With --zookeeper: known, and without effect.", NULL },
    [C_DELETE_OFFSETS] = { "delete-consumer-offsets", OPT_FLAG, NULL,
        "With --zookeeper: first delete what ZooKeeper has of the group.", NULL },
    [C_SYSTEST] = { "enable-systest-events", OPT_FLAG, NULL,
        "Print shutdown_complete at the end.", NULL },
    [C_FORMATTER] = { "formatter", OPT_VALUE, "class",
        "How records are printed, by the full class name: DefaultMessageFormatter, LoggingMessageFormatter, "
        "NoOpMessageFormatter; for the internal topics OffsetsMessageFormatter, GroupMetadataMessageFormatter and "
        "TransactionLogMessageFormatter. Kafka's older names are known too.",
        "org.apache.kafka.tools.consumer.DefaultMessageFormatter" },
    [C_FORMATTER_CONFIG] = { "formatter-config", OPT_VALUE, "config file",
        "A file of the formatter's properties; --property wins over it.", NULL },
    [C_FROM_BEGINNING] = { "from-beginning", OPT_FLAG, NULL,
        "Start with the oldest record instead of the next new one, where the group has committed nothing.", NULL },
    [C_GROUP] = { "group", OPT_VALUE, "consumer group id",
        "Share the partitions with the other members of this group, go on from what it has committed, and commit "
        "what is printed. Without it a group is made up and nothing is committed.", NULL },
    [C_INCLUDE] = { "include", OPT_VALUE, "regex",
        "Read every topic whose whole name matches.", NULL },
    [C_ISOLATION] = { "isolation-level", OPT_VALUE, "level",
        "read_committed leaves out records of transactions that are not committed, read_uncommitted does "
        "not.", "read_uncommitted" },
    [C_KEY_DESERIALIZER] = { "key-deserializer", OPT_VALUE, "deserializer for key",
        "The same as --property key.deserializer=.", NULL },
    [C_MAX_MESSAGES] = { "max-messages", OPT_VALUE, "num_messages",
        "Stop after that many records.", NULL },
    [C_METRICS_DIR] = { "metrics-dir", OPT_VALUE, "metrics directory",
        "With --zookeeper: known, and without effect.", NULL },
    [C_OFFSET] = { "offset", OPT_VALUE, "consume offset",
        "Where to start in --partition: an offset, earliest or latest.", "latest" },
    [C_PARTITION] = { "partition", OPT_VALUE, "partition",
        "Read this partition only.", NULL },
    [C_PROPERTY] = { "property", OPT_MANY, "prop",
        "How a record is printed, name=value:\n"
        "print.timestamp, print.key, print.offset, print.partition, print.headers = false\n"
        "print.value=true\n"
        "key.separator=\\t, line.separator=\\n"
        ", headers.separator=,\n"
        "null.literal=null\n"
        "key.deserializer, value.deserializer, headers.deserializer: a deserializer of "
        "org.apache.kafka.common.serialization, such as LongDeserializer", NULL },
    [C_SKIP] = { "skip-message-on-error", OPT_FLAG, NULL,
        "Go on with the next record when one cannot be printed.", NULL },
    [C_TIMEOUT] = { "timeout-ms", OPT_VALUE, "timeout_ms",
        "Stop when no record has come for that long.", NULL },
    [C_TOPIC] = { "topic", OPT_VALUE, "topic",
        "The topic to read.", NULL },
    [C_VALUE_DESERIALIZER] = { "value-deserializer", OPT_VALUE, "deserializer for values",
        "The same as --property value.deserializer=.", NULL },
    [C_WHITELIST] = { "whitelist", OPT_VALUE, "regex",
        "The older name of --include, which wins if both are given.", NULL },
    [C_ZOOKEEPER] = { "zookeeper", OPT_VALUE, "urls",
        "HOST1:PORT1,HOST2:PORT2/CHROOT of ZooKeeper: read as the consumer of before Kafka 2.0, whose groups share "
        "partitions and keep their offsets there, below /consumers. Its properties are those of that consumer: "
        "auto.commit.enable, auto.commit.interval.ms, auto.offset.reset (smallest, largest), group.id, "
        "partition.assignment.strategy (range, roundrobin), rebalance.backoff.ms, rebalance.max.retries, "
        "zookeeper.session.timeout.ms and the others.", NULL },
};

int consumer_fail(struct consumer *c, int rc, const char *text)
{
    snprintf(c->error, sizeof c->error, "%s", text);
    return rc;
}

/* ---- options ---- */

static int usage(const struct invocation *inv, const char *text)
{
    return command_usage(inv, text);
}

/* What goes with what, in the order in which Kafka looks. */
static int check_options(const struct invocation *inv, struct options *o)
{
    static const size_t olds[] = { C_BLACKLIST, C_CSV, C_DELETE_OFFSETS, C_METRICS_DIR };
    bool by_name = options_has(o, C_TOPIC), by_pattern = options_has(o, C_INCLUDE) || options_has(o, C_WHITELIST);
    char text[256];

    if (options_has(o, C_ZOOKEEPER))
        return old_consumer_check(inv, o);
    for (size_t i = 0; i < sizeof olds / sizeof olds[0]; i++) {
        snprintf(text, sizeof text, "%s is not a recognized option", consumer_options[olds[i]].name);
        if (options_has(o, olds[i]))
            return usage(inv, text);
    }
    if (by_name == by_pattern) {
        snprintf(text, sizeof text, "Exactly one of --include/--topic is required. %s", !options_has(o,
            C_WHITELIST) ? "" :
                 "--whitelist is DEPRECATED use --include instead; ignored if --include specified.");
        return usage(inv, text);
    }
    if (options_has(o, C_PARTITION)) {
        if (!by_name)
            return usage(inv, "The topic is required when partition is specified.");
        if (options_has(o, C_FROM_BEGINNING) && options_has(o, C_OFFSET))
            return usage(inv, "Options from-beginning and offset cannot be specified together.");
    } else if (options_has(o, C_OFFSET)) {
        return usage(inv, "The partition is required when offset is specified.");
    }
    if (options_require(o, C_BOOTSTRAP) != OK)
        return usage(inv, o->error);
    return 0;
}

static int read_offset(struct consumer *c, const struct options *o)
{
    const char *text = options_str(o, C_OFFSET);

    c->sub.offset = options_has(o, C_FROM_BEGINNING) ? RD_KAFKA_OFFSET_BEGINNING : RD_KAFKA_OFFSET_END;
    if (!options_has(o, C_OFFSET) || strcasecmp(text, "latest") == 0)
        return OK;
    if (strcasecmp(text, "earliest") == 0) {
        c->sub.offset = RD_KAFKA_OFFSET_BEGINNING;
        return OK;
    }
    if (parse_i64(text, 0, INT64_MAX, &c->sub.offset) == OK)
        return OK;
    snprintf(c->error, sizeof c->error, "The provided offset value '%s' is incorrect. Valid values are "
             "'earliest', 'latest', or a non-negative long.", text);
    return ERR_INVALID;
}

static int read_numbers(struct consumer *c, struct options *o)
{
    int32_t n = -1;
    int     rc = options_i32(o, C_MAX_MESSAGES, &n);

    c->max_messages = n;
    c->sub.partition = -1;
    c->timeout_ms = -1;
    if (rc == OK || rc == ERR_NOENT)
        rc = options_i64(o, C_TIMEOUT, &c->timeout_ms);
    if (rc == OK || rc == ERR_NOENT)
        rc = options_i32(o, C_PARTITION, &c->sub.partition);
    if (rc == OK && c->sub.partition < 0)
        return consumer_fail(c, ERR_RANGE, "Invalid partition number");
    if (rc != OK && rc != ERR_NOENT)
        return consumer_fail(c, rc, o->error);
    return read_offset(c, o);
}

static int read_formatter(struct consumer *c, const struct options *o)
{
    struct props p = { NULL, 0, 0 };
    const char  *class_name = options_str(o, C_FORMATTER);
    int          rc = formatter_init(&c->formatter, class_name);

    if (rc != OK)
        return consumer_fail(c, rc, class_name);
    if (options_has(o, C_FORMATTER_CONFIG))
        TRY(props_add_file(&p, options_str(o, C_FORMATTER_CONFIG), &c->arena, c->error, sizeof c->error));
    if (options_str(o, C_KEY_DESERIALIZER) != NULL)
        TRY(props_set(&p, STR_LIT("key.deserializer"), str_of(options_str(o, C_KEY_DESERIALIZER)), &c->arena));
    if (options_str(o, C_VALUE_DESERIALIZER) != NULL)
        TRY(props_set(&p, STR_LIT("value.deserializer"), str_of(options_str(o, C_VALUE_DESERIALIZER)), &c->arena));
    TRY(props_add_words(&p, o, C_PROPERTY, &c->arena));
    for (size_t i = 0; i < p.n; i++) {
        if (formatter_set(&c->formatter, p.v[i].name, p.v[i].value) != OK)
            fprintf(stderr, "ERROR Unable to instantiate a deserializer from %.*s\n", STR_ARG(p.v[i].value));
    }
    return OK;
}

/* auto.offset.reset, from which --from-beginning must not differ. */
static int read_reset(struct consumer *c, const struct options *o)
{
    struct str reset = props_get(&c->props, "auto.offset.reset");

    if (reset.p == NULL)
        return props_set(&c->props, STR_LIT("auto.offset.reset"),
                         options_has(o, C_FROM_BEGINNING) ? STR_LIT("earliest") : STR_LIT("latest"), &c->arena);
    if (options_has(o, C_FROM_BEGINNING) && !str_is(reset, "earliest")) {
        snprintf(c->error, sizeof c->error, "Can't simultaneously specify --from-beginning and "
                 "'auto.offset.reset=%.*s', please remove one option", STR_ARG(reset));
        return ERR_INVALID;
    }
    return OK;
}

/* group.id: the same wherever it is given, or a new one, which has nothing to commit unless that is asked for. Nobody
 * else will be in that one, so that partitions which are added can come without those that are read going. */
static int read_group(struct consumer *c, const struct options *o)
{
    static const char *const ours[][2] = {
        { "enable.auto.commit", "false" },
        { "partition.assignment.strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor" },
    };
    uint32_t    n = 0;
    const char *name;

    if (options_has(o, C_GROUP))
        return props_set(&c->props, STR_LIT("group.id"), str_of(options_str(o, C_GROUP)), &c->arena);
    if (props_get(&c->props, "group.id").p != NULL)
        return OK;
    if (getrandom(&n, sizeof n, 0) != sizeof n)
        n = (uint32_t)mono_ns();
    name = arena_printf(&c->arena, "console-consumer-%" PRIu32, n % GROUPS_MADE_UP);
    if (name == NULL)
        return ERR_NOMEM;
    TRY(props_set(&c->props, STR_LIT("group.id"), str_of(name), &c->arena));
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (props_get(&c->props, ours[i][0]).p == NULL)
            TRY(props_set(&c->props, str_of(ours[i][0]), str_of(ours[i][1]), &c->arena));
    }
    c->sub.remember = !prop_is_true(props_get(&c->props, "enable.auto.commit"));
    return OK;
}

static int read_properties(struct consumer *c, const struct options *o)
{
    struct str commit;
    char       text[24];
    int64_t    ms;

    TRY(props_set(&c->props, STR_LIT("bootstrap.servers"), str_of(options_str(o, C_BOOTSTRAP)), &c->arena));
    TRY(read_reset(c, o));
    TRY(read_group(c, o));
    if (options_has(o, C_ISOLATION) || props_get(&c->props, "isolation.level").p == NULL)
        TRY(props_set(&c->props, STR_LIT("isolation.level"), str_of(options_str(o, C_ISOLATION)), &c->arena));
    c->sub.exclude_internal = !str_is(props_get(&c->props, "exclude.internal.topics"), "false");
    c->sub.look_every_ms = LOOK_AGAIN_MS;
    snprintf(text, sizeof text, "%.*s", STR_ARG(props_get(&c->props, "metadata.max.age.ms")));
    if (parse_i64(text, 1, LOOK_AGAIN_MS, &ms) == OK)
        c->sub.look_every_ms = ms;
    else if (text[0] == '\0')
        TRY(props_set(&c->props, STR_LIT("metadata.max.age.ms"), STR_LIT("5000"), &c->arena));
    commit = props_get(&c->props, "enable.auto.commit");
    c->commits = commit.p == NULL || prop_is_true(commit);
    c->sub.answer_ms = c->timeout_ms >= 0 && c->timeout_ms < METADATA_WAIT_MS ? (int)c->timeout_ms + 1
                                                                              : METADATA_WAIT_MS;
    return rd_props_defaults(&c->props, RD_CONSUMER, "console-consumer", &c->arena);
}

/* ---- partitions come and go ---- */

static void on_assigned(void *arg, rd_kafka_topic_partition_list_t *list)
{
    struct consumer *c = arg;

    subscription_assigned(&c->sub, list);
}

static void on_revoked(void *arg, const rd_kafka_topic_partition_list_t *list, bool lost)
{
    struct consumer *c = arg;

    (void)lost;
    subscription_revoked(&c->sub, list);
}

static const struct rd_member_hooks hooks = { on_assigned, on_revoked, NULL };

/* ---- a member of a group of the brokers ---- */

static int member_open(struct consumer *c)
{
    return rd_member_open(&c->member, &c->props, &hooks, c, c->error, sizeof c->error);
}

static int member_look(struct consumer *c, int64_t *next_ms)
{
    return subscription_look(&c->sub, next_ms, c->error, sizeof c->error);
}

static rd_kafka_message_t *member_poll(struct consumer *c, int ms)
{
    return rd_member_poll(&c->member, ms);
}

static void member_done(struct consumer *c, const rd_kafka_message_t *m)
{
    if (c->commits)
        rd_member_done(m);
}

static void member_close(struct consumer *c)
{
    rd_member_close(&c->member);
}

static const struct record_source group_source = { member_open, member_look, member_poll, member_done, member_close };

/* ---- records ---- */

static size_t headers_of(const rd_kafka_message_t *m, struct consumed_header *v)
{
    rd_kafka_headers_t *h;
    size_t              n = 0, size;
    const char         *name;
    const void         *value;

    if (rd_kafka_message_headers(m, &h) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    while (n < HEADERS_MAX && rd_kafka_header_get_all(h, n, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        v[n] = (struct consumed_header){ str_of(name), { value, size } };
        n++;
    }
    return n;
}

static int print_record(struct consumer *c, const rd_kafka_message_t *m)
{
    struct consumed_header    headers[HEADERS_MAX];
    rd_kafka_timestamp_type_t type;
    struct consumed           r = { .partition = m->partition, .offset = m->offset,
                                    .key = { m->key, m->key_len }, .value = { m->payload, m->len } };
    int                       rc;

    r.timestamp = rd_kafka_message_timestamp(m, &type);
    r.timestamp_kind = type == RD_KAFKA_TIMESTAMP_CREATE_TIME ? TIMESTAMP_CREATE :
                       type == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME ? TIMESTAMP_APPEND : TIMESTAMP_NONE;
    if (c->formatter.print_headers) {
        r.headers_n = headers_of(m, headers);
        r.headers = headers;
    }
    c->count++;
    rc = formatter_write(&c->formatter, stdout, &r, c->error, sizeof c->error);
    if (rc != OK && c->skip_errors) {
        fprintf(stderr, "ERROR Error processing message, skipping this message: %s\n", c->error);
        return OK;
    }
    return rc;
}

/* A record, or news of a partition. */
static int take(struct consumer *c, const rd_kafka_message_t *m)
{
    if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        TRY(print_record(c, m));
        c->source->done(c, m);
        return OK;
    }
    if (rd_member_is_fatal(m->err))
        return consumer_fail(c, ERR_INVALID, rd_kafka_message_errstr(m));
    if (m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
        fprintf(stderr, "WARN %s\n", rd_kafka_message_errstr(m));
    return OK;
}

/* `m` and what is there after it, up to a limit. *got: there were records. */
static int drain(struct consumer *c, rd_kafka_message_t *m, bool *got)
{
    int rc = OK;

    for (int n = 1; m != NULL && rc == OK; n++) {
        *got = *got || m->err == RD_KAFKA_RESP_ERR_NO_ERROR;
        rc = take(c, m);
        rd_kafka_message_destroy(m);
        m = NULL;
        if (ferror(stdout))
            rc = ERR_CLOSED;
        if (rc == OK && n < BATCH_N && rd_stopped() == 0 && (c->max_messages < 0 || c->count < c->max_messages))
            m = c->source->poll(c, 0);
    }
    if (fflush(stdout) != 0 && rc == OK)
        rc = ERR_CLOSED;
    return rc;
}

/* Until enough records, no record for too long, a signal, or a failure. */
static int consume(struct consumer *c)
{
    int64_t look_ms = 0, last_ms = 0;

    while (rd_stopped() == 0 && (c->max_messages < 0 || c->count < c->max_messages)) {
        int64_t             now = mono_ms(), wait = WAIT_MS;
        rd_kafka_message_t *m;
        bool                got = false;

        if (now >= look_ms)
            TRY(c->source->look(c, &look_ms));
        if (last_ms == 0)
            last_ms = mono_ms();        /* the first look may take its time */
        if (c->timeout_ms >= 0 && c->timeout_ms < wait)
            wait = c->timeout_ms;
        m = c->source->poll(c, (int)wait);
        TRY(drain(c, m, &got));
        if (got) {
            last_ms = mono_ms();
        } else if (c->timeout_ms >= 0 && mono_ms() - last_ms > c->timeout_ms) {
            fprintf(stderr, "ERROR Error processing message, terminating consumer process: no message within %" PRId64
                    " ms\n", c->timeout_ms);
            break;
        }
    }
    return OK;
}

/* ---- the command ---- */

/* The group must be the same in all places. */
static int check_group(struct consumer *c, const struct invocation *inv, const struct options *o, struct str from_file)
{
    struct str given[3] = { str_of(options_str(o, C_GROUP)), from_file, props_get(&c->props, "group.id") };
    char       text[512];
    int        n = 0, at = 0;

    for (int i = 0; i < 3; i++) {
        bool again = given[i].p == NULL;

        for (int k = 0; k < n; k++)
            again = again || str_eq(given[k], given[i]);
        if (!again)
            given[n++] = given[i];
    }
    if (n > 1) {
        at = snprintf(text, sizeof text, "The group ids provided in different places (directly using '--group', "
                      "via '--consumer-property', or via '--consumer.config') do not match. Detected group ids:");
        for (int i = 0; i < n && at < (int)sizeof text; i++)
            at += snprintf(text + at, sizeof text - (size_t)at, "%s '%.*s'", i > 0 ? "," : "", STR_ARG(given[i]));
        return usage(inv, text);
    }
    if (n > 0 && options_has(o, C_PARTITION))
        return usage(inv, "Options group and partition cannot be specified together.");
    return 0;
}

/* 0, or the exit status with which the command ends at once. */
static int prepare(struct consumer *c, const struct invocation *inv, struct options *o)
{
    const char *include = options_str(o, options_has(o, C_INCLUDE) ? C_INCLUDE : C_WHITELIST);
    struct str  from_file;
    int         status;

    if (options_has(o, C_CONSUMER_CONFIG) &&
        props_add_file(&c->props, options_str(o, C_CONSUMER_CONFIG), &c->arena, c->error, sizeof c->error) != OK)
        return command_fail("%s", c->error);
    from_file = props_get(&c->props, "group.id");
    if (props_add_words(&c->props, o, C_CONSUMER_PROPERTY, &c->arena) != OK)
        return command_fail("out of memory");
    status = check_group(c, inv, o, from_file);
    if (status != 0)
        return status;
    if (read_numbers(c, o) != OK || read_formatter(c, o) != OK)
        return usage(inv, c->error);
    if ((options_has(o, C_ZOOKEEPER) ? old_consumer_read(c, o) : read_properties(c, o)) != OK)
        return command_fail("%s", c->error);
    c->skip_errors = options_has(o, C_SKIP);
    c->sub.topic = options_str(o, C_TOPIC);
    if (c->old == NULL && c->sub.topic == NULL && pattern_new_raw(&c->include, str_of(include)) != OK)
        return command_fail("%s is an invalid regex.", include);
    c->sub.include = c->include;
    c->sub.member = &c->member;
    return 0;
}

static int run(struct consumer *c)
{
    static char output[OUTPUT_BYTES];
    int         rc;

    rd_stop_on_signals();
    setvbuf(stdout, output, _IOFBF, sizeof output);
    rc = c->source->open(c);
    if (rc != OK) {
        c->source->close(c);
        return command_fail("%s", c->error);
    }
    rc = consume(c);
    if (rc == ERR_CLOSED) {
        fputs("Unable to write to standard out, closing consumer.\n", stderr);
        __fpurge(stdout);
        clearerr(stdout);
        rc = OK;
    } else if (rc != OK) {
        command_fail("ERROR Error processing message, terminating consumer process: %s", c->error);
    }
    c->source->close(c);
    fprintf(stderr, "Processed a total of %" PRId64 " messages\n", c->count);
    return rd_stopped() != 0 ? 128 + rd_stopped() : rc == OK ? 0 : 1;
}

static int consumer_run(const struct invocation *inv, struct options *o)
{
    struct consumer *c;
    int              status = check_options(inv, o);

    if (status != 0)
        return status;
    c = calloc(1, sizeof *c);
    if (c == NULL)
        return command_fail("out of memory");
    arena_init(&c->arena, MEMORY_LIMIT);
    c->source = options_has(o, C_ZOOKEEPER) ? &old_consumer_source : &group_source;
    status = prepare(c, inv, o);
    if (status == 0) {
        status = run(c);
        if (options_has(o, C_SYSTEST))
            puts("shutdown_complete");
    }
    subscription_fini(&c->sub);
    old_consumer_free(c);
    pattern_free(&c->include);
    arena_fini(&c->arena);
    free(c);
    return status;
}

const struct command command_console_consumer = {
    .name = "console-consumer",
    .summary = "Print the records of topics.",
    .note = "Partitions that are added later are read as well.",
    .defs = consumer_options,
    .defs_n = C_N,
    .run = consumer_run,
    .refuse = command_usage,
};
