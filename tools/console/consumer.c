/* tools/console/consumer.c - kafka-console-consumer.sh: the records of topics on standard output.
 *
 * There are no consumer groups in the broker yet, so every partition is read directly; what Kafka's console consumer
 * shows is the same, since it makes up a new group each time. Partitions and topics that appear later are read from
 * their beginning: all of it is newer than this command.
 */
#include "base/clock.h"
#include "tools/command.h"
#include "tools/console/formatter.h"
#include "tools/console/rd_conf.h"
#include "tools/pattern.h"

#include <ctype.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define MEMORY_LIMIT      (16U << 20)   /* properties */
#define OUTPUT_BYTES      (256U << 10)
#define BATCH_N           500           /* records taken off the queue at once */
#define WAIT_MS           100           /* the longest wait: signals are looked at in between */
#define LOOK_MISSING_MS   250           /* how often to ask for a topic that is not there yet */
#define LOOK_AGAIN_MS     5000          /* how often to look for new partitions; metadata.max.age.ms lowers it */
#define METADATA_WAIT_MS  5000
#define HEADERS_MAX       1000

enum consumer_option {
    C_BOOTSTRAP = OPT_FIRST, C_CONSUMER_PROPERTY, C_CONSUMER_CONFIG, C_SYSTEST, C_FORMATTER, C_FORMATTER_CONFIG,
    C_FROM_BEGINNING, C_GROUP, C_INCLUDE, C_ISOLATION, C_KEY_DESERIALIZER, C_MAX_MESSAGES, C_OFFSET, C_PARTITION,
    C_PROPERTY, C_SKIP, C_TIMEOUT, C_TOPIC, C_VALUE_DESERIALIZER, C_WHITELIST, C_ZOOKEEPER, C_N
};

static const struct option_def consumer_options[C_N] = {
    OPTIONS_COMMON,
    [C_BOOTSTRAP] = { "bootstrap-server", OPT_VALUE, "server to connect to",
        "REQUIRED: HOST1:PORT1,HOST2:PORT2 of some brokers of the cluster.", NULL },
    [C_CONSUMER_PROPERTY] = { "consumer-property", OPT_MANY, "consumer_prop",
        "A property of the consumer, name=value.", NULL },
    [C_CONSUMER_CONFIG] = { "consumer.config", OPT_VALUE, "config file",
        "A file of such properties; --consumer-property wins over it.", NULL },
    [C_SYSTEST] = { "enable-systest-events", OPT_FLAG, NULL,
        "Print shutdown_complete at the end.", NULL },
    [C_FORMATTER] = { "formatter", OPT_VALUE, "class",
        "How records are printed: DefaultMessageFormatter, LoggingMessageFormatter or NoOpMessageFormatter, "
        "by its full class name.",
        "org.apache.kafka.tools.consumer.DefaultMessageFormatter" },
    [C_FORMATTER_CONFIG] = { "formatter-config", OPT_VALUE, "config file",
        "A file of the formatter's properties; --property wins over it.", NULL },
    [C_FROM_BEGINNING] = { "from-beginning", OPT_FLAG, NULL,
        "Start with the oldest record instead of the next new one.", NULL },
    [C_GROUP] = { "group", OPT_VALUE, "consumer group id",
        "Not available yet: needs consumer groups.", NULL },
    [C_INCLUDE] = { "include", OPT_VALUE, "regex",
        "Read every topic whose whole name matches.", NULL },
    [C_ISOLATION] = { "isolation-level", OPT_VALUE, "level",
        "read_committed leaves out records of transactions that are not committed, read_uncommitted does "
        "not.", "read_uncommitted" },
    [C_KEY_DESERIALIZER] = { "key-deserializer", OPT_VALUE, "deserializer for key",
        "The same as --property key.deserializer=.", NULL },
    [C_MAX_MESSAGES] = { "max-messages", OPT_VALUE, "num_messages",
        "Stop after that many records.", NULL },
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
        "Of Kafka before 2.0. Not available yet: use --bootstrap-server.", NULL },
};

struct topic {
    rd_kafka_topic_t *rkt;
    int32_t           started;          /* partitions 0 .. started-1 are being read */
    bool              one_partition;
};

struct consumer {
    rd_kafka_t       *rk;
    rd_kafka_queue_t *queue;
    struct topic     *topics;
    size_t            topics_n;
    const char       *topic_name;       /* NULL: by pattern */
    struct pattern   *include;
    bool              exclude_internal;
    bool              looked;           /* the cluster has answered once: what appears from now on is new */
    bool              complained;       /* about a missing topic */
    int32_t           partition;        /* -1: all */
    int64_t           offset;           /* where to start: an offset or RD_KAFKA_OFFSET_* */
    int64_t           max_messages;     /* -1: no limit */
    int64_t           timeout_ms;       /* -1: none */
    int64_t           look_every_ms;
    bool              skip_errors;
    int64_t           count;
    struct formatter  formatter;
    struct arena      arena;
    struct props      props;
    char              error[512];
};

static sig_atomic_t stopped_by;         /* signal number; written by the handler only */

static void on_signal(int sig)
{
    if (stopped_by != 0)
        _exit(128 + sig);               /* asked twice */
    stopped_by = sig;
}

static int consumer_fail(struct consumer *c, int rc, const char *text)
{
    snprintf(c->error, sizeof c->error, "%s", text);
    return rc;
}

/* ---- options ---- */

static int usage(const struct invocation *inv, const char *text)
{
    return command_usage(inv, text);
}

static int check_group(const struct invocation *inv, const struct options *o, const struct props *p)
{
    if (!options_has(o, C_GROUP) && props_get(p, "group.id").p == NULL)
        return 0;
    if (options_has(o, C_PARTITION))
        return usage(inv, "Options group and partition cannot be specified together.");
    return command_fail("--group needs consumer groups, which are not there yet. Without it every record is "
                        "read, from the end or --from-beginning, and no position is kept.");
}

/* What goes with what, in the order in which Kafka looks. */
static int check_options(const struct invocation *inv, struct options *o)
{
    bool by_name = options_has(o, C_TOPIC), by_pattern = options_has(o, C_INCLUDE) || options_has(o, C_WHITELIST);
    char text[256];

    if (options_has(o, C_ZOOKEEPER))
        return command_fail("--zookeeper is not available yet: it comes with ZooKeeper clusters. Use "
                            "--bootstrap-server HOST:PORT of any broker.");
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

    c->offset = options_has(o, C_FROM_BEGINNING) ? RD_KAFKA_OFFSET_BEGINNING : RD_KAFKA_OFFSET_END;
    if (!options_has(o, C_OFFSET) || strcasecmp(text, "latest") == 0)
        return OK;
    if (strcasecmp(text, "earliest") == 0) {
        c->offset = RD_KAFKA_OFFSET_BEGINNING;
        return OK;
    }
    if (parse_i64(text, 0, INT64_MAX, &c->offset) == OK)
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
    c->partition = -1;
    c->timeout_ms = -1;
    if (rc == OK || rc == ERR_NOENT)
        rc = options_i64(o, C_TIMEOUT, &c->timeout_ms);
    if (rc == OK || rc == ERR_NOENT)
        rc = options_i32(o, C_PARTITION, &c->partition);
    if (rc == OK && c->partition < 0)
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

    if (rc != OK) {
        snprintf(c->error, sizeof c->error, rc == ERR_UNSUPPORTED ? "%s comes with consumer groups and "
                 "transactions, which are not there yet" : "%s", class_name);
        return rc;
    }
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
    if (str_is(reset, "earliest") && !options_has(o, C_PARTITION))
        c->offset = RD_KAFKA_OFFSET_BEGINNING;
    return OK;
}

static int read_properties(struct consumer *c, const struct options *o)
{
    static const struct { const char *name, *value; } defaults[] = {
        { "client.id", "console-consumer" },
        { "reconnect.backoff.ms", "50" },
        { "reconnect.backoff.max.ms", "1000" },
        { "allow.auto.create.topics", "true" },
    };
    struct str age;
    char       text[24];
    int64_t    ms;

    TRY(props_set(&c->props, STR_LIT("bootstrap.servers"), str_of(options_str(o, C_BOOTSTRAP)), &c->arena));
    TRY(read_reset(c, o));
    if (options_has(o, C_ISOLATION) || props_get(&c->props, "isolation.level").p == NULL)
        TRY(props_set(&c->props, STR_LIT("isolation.level"), str_of(options_str(o, C_ISOLATION)), &c->arena));
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++) {
        if (props_get(&c->props, defaults[i].name).p == NULL)
            TRY(props_set(&c->props, str_of(defaults[i].name), str_of(defaults[i].value), &c->arena));
    }
    c->exclude_internal = !str_is(props_get(&c->props, "exclude.internal.topics"), "false");
    c->look_every_ms = LOOK_AGAIN_MS;
    age = props_get(&c->props, "metadata.max.age.ms");
    snprintf(text, sizeof text, "%.*s", STR_ARG(age));
    if (age.p != NULL && parse_i64(text, 1, LOOK_AGAIN_MS, &ms) == OK)
        c->look_every_ms = ms;
    return OK;
}

/* ---- librdkafka ---- */

static int start(struct consumer *c)
{
    static const struct { const char *name, *value; } fixed[] = {
        { "enable.auto.commit", "false" },
        { "enable.auto.offset.store", "false" },
        { "fetch.error.backoff.ms", "100" },
    };
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    int              rc;

    rd_conf_log(conf);
    rc = rd_conf_apply(conf, RD_CONSUMER, &c->props, c->error, sizeof c->error);
    for (size_t i = 0; rc == OK && i < sizeof fixed / sizeof fixed[0]; i++)
        rc = rd_conf_set(conf, fixed[i].name, fixed[i].value, c->error, sizeof c->error);
    if (rc == OK) {
        c->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, c->error, sizeof c->error);
        if (c->rk != NULL)
            conf = NULL;                /* it is the handle's now */
        else
            rc = ERR_INVALID;
    }
    if (conf != NULL)
        rd_kafka_conf_destroy(conf);
    TRY(rc);
    c->queue = rd_kafka_queue_new(c->rk);
    return OK;
}

static struct topic *topic_find(struct consumer *c, const char *name)
{
    struct topic     *v;
    rd_kafka_topic_t *rkt;

    for (size_t i = 0; i < c->topics_n; i++) {
        if (strcmp(rd_kafka_topic_name(c->topics[i].rkt), name) == 0)
            return &c->topics[i];
    }
    v = reallocarray(c->topics, c->topics_n + 1, sizeof *v);
    if (v == NULL)
        return NULL;
    c->topics = v;
    rkt = rd_kafka_topic_new(c->rk, name, NULL);
    if (rkt == NULL)
        return NULL;
    v[c->topics_n] = (struct topic){ .rkt = rkt };
    return &v[c->topics_n++];
}

static int topic_start(struct consumer *c, struct topic *t, int32_t from, int32_t to)
{
    int64_t offset = c->looked ? RD_KAFKA_OFFSET_BEGINNING : c->offset;

    for (int32_t p = from; p < to; p++) {
        if (rd_kafka_consume_start_queue(t->rkt, p, offset, c->queue) != 0)
            return consumer_fail(c, ERR_INVALID, rd_kafka_err2str(rd_kafka_last_error()));
        t->started = p + 1;
    }
    return OK;
}

/* One topic of a metadata answer. *missing: it is not there, or has no partitions yet. */
static int topic_seen(struct consumer *c, const rd_kafka_metadata_topic_t *m, bool *missing)
{
    struct topic *t;

    if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR || m->partition_cnt == 0) {
        *missing = true;
        if (m->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED || m->err == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION)
            return consumer_fail(c, ERR_DENIED, rd_kafka_err2str(m->err));
        if (!c->complained && m->err != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
            fprintf(stderr, "WARN Topic %s: %s Waiting for it.\n", m->topic,
                    m->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ? "it does not exist."
                                                                            : rd_kafka_err2str(m->err));
        c->complained = c->complained || m->err != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
        return OK;
    }
    t = topic_find(c, m->topic);
    if (t == NULL)
        return consumer_fail(c, ERR_NOMEM, "out of memory");
    if (c->partition < 0)
        return topic_start(c, t, t->started, m->partition_cnt);
    if (c->partition < m->partition_cnt)
        return t->one_partition ? OK : (t->one_partition = true, topic_start(c, t, c->partition, c->partition + 1));
    if (!c->complained)
        fprintf(stderr, "WARN Topic %s has no partition %d, only %d of them. Waiting for it.\n", m->topic,
                c->partition,
                m->partition_cnt);
    c->complained = true;
    *missing = true;
    return OK;
}

/* Asks which topics and partitions there are and starts to read those that are new. *next_ms: when to look again. */
static int look(struct consumer *c, int64_t *next_ms)
{
    const rd_kafka_metadata_t *md;
    rd_kafka_resp_err_t        err;
    rd_kafka_topic_t          *only = NULL;
    bool                       missing = false;
    int                        rc = OK;

    if (c->topic_name != NULL) {
        only = rd_kafka_topic_new(c->rk, c->topic_name, NULL);
        if (only == NULL)
            return consumer_fail(c, ERR_INVALID, rd_kafka_err2str(rd_kafka_last_error()));
    }
    err = rd_kafka_metadata(c->rk, 0 + (only == NULL), only, &md,
                            c->timeout_ms >= 0 && c->timeout_ms < METADATA_WAIT_MS ? (int)c->timeout_ms + 1
                                                                                 : METADATA_WAIT_MS);
    if (only != NULL)
        rd_kafka_topic_destroy(only);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        *next_ms = mono_ms() + LOOK_MISSING_MS;     /* the log has said why */
        return OK;
    }
    for (int i = 0; i < md->topic_cnt && rc == OK; i++) {
        struct str name = str_of(md->topics[i].topic);

        if (c->topic_name != NULL ||
            (pattern_matches(c->include, name) && !(c->exclude_internal && topic_is_internal(name))))
            rc = topic_seen(c, &md->topics[i], &missing);
    }
    c->looked = true;
    rd_kafka_metadata_destroy(md);
    *next_ms = mono_ms() + (missing && c->topic_name != NULL ? LOOK_MISSING_MS : c->look_every_ms);
    return rc;
}

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
    switch (m->err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return print_record(c, m);
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR__FATAL:
        return consumer_fail(c, ERR_INVALID, rd_kafka_message_errstr(m));
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        return OK;
    default:
        fprintf(stderr, "WARN %s\n", rd_kafka_message_errstr(m));
        return OK;
    }
}

/* All that is there, up to max_messages. */
static int drain(struct consumer *c, rd_kafka_message_t *first)
{
    rd_kafka_message_t *v[BATCH_N] = { first };
    ssize_t             n = 1;
    int                 rc = OK;

    while (n > 0 && rc == OK) {
        size_t want = BATCH_N;

        for (ssize_t i = 0; i < n; i++) {
            if (rc == OK)
                rc = take(c, v[i]);
            rd_kafka_message_destroy(v[i]);
        }
        if (c->max_messages >= 0 && (int64_t)want > c->max_messages - c->count)
            want = c->max_messages > c->count ? (size_t)(c->max_messages - c->count) : 0;
        n = rc == OK && want > 0 && stopped_by == 0 ? rd_kafka_consume_batch_queue(c->queue, 0, v, want) : 0;
        if (n > 0 && ferror(stdout))
            rc = ERR_CLOSED;
    }
    while (n-- > 0)
        rd_kafka_message_destroy(v[n]);
    if (fflush(stdout) != 0 && rc == OK)
        rc = ERR_CLOSED;
    return rc;
}

/* Until enough records, no record for too long, a signal, or a failure. */
static int consume(struct consumer *c)
{
    int64_t look_ms = 0, last_ms = mono_ms();

    while (stopped_by == 0 && (c->max_messages < 0 || c->count < c->max_messages)) {
        int64_t             now = mono_ms(), wait = WAIT_MS;
        rd_kafka_message_t *m;

        if (now >= look_ms)
            TRY(look(c, &look_ms));
        if (c->timeout_ms >= 0 && c->timeout_ms < wait)
            wait = c->timeout_ms;
        m = rd_kafka_consume_queue(c->queue, (int)wait);
        if (m != NULL) {
            TRY(drain(c, m));
            last_ms = mono_ms();
        } else if (c->timeout_ms >= 0 && mono_ms() - last_ms > c->timeout_ms) {
            fprintf(stderr, "ERROR Error processing message, terminating consumer process: no message within %" PRId64
                    " ms\n", c->timeout_ms);
            break;
        }
    }
    return OK;
}

static void stop(struct consumer *c)
{
    for (size_t i = 0; i < c->topics_n; i++) {
        struct topic *t = &c->topics[i];
        int32_t       from = c->partition >= 0 ? c->partition : 0;

        for (int32_t p = from; p < t->started; p++)
            rd_kafka_consume_stop(t->rkt, p);
        rd_kafka_topic_destroy(t->rkt);
    }
    free(c->topics);
    if (c->queue != NULL)
        rd_kafka_queue_destroy(c->queue);
    if (c->rk != NULL)
        rd_kafka_destroy(c->rk);
    pattern_free(&c->include);
}

/* ---- the command ---- */

/* 0, or the exit status with which the command ends at once. */
static int prepare(struct consumer *c, const struct invocation *inv, struct options *o)
{
    const char *include = options_str(o, options_has(o, C_INCLUDE) ? C_INCLUDE : C_WHITELIST);
    int         status;

    if (options_has(o, C_CONSUMER_CONFIG) &&
        props_add_file(&c->props, options_str(o, C_CONSUMER_CONFIG), &c->arena, c->error, sizeof c->error) != OK)
        return command_fail("%s", c->error);
    if (props_add_words(&c->props, o, C_CONSUMER_PROPERTY, &c->arena) != OK)
        return command_fail("out of memory");
    status = check_group(inv, o, &c->props);
    if (status != 0)
        return status;
    if (read_numbers(c, o) != OK || read_formatter(c, o) != OK)
        return usage(inv, c->error);
    if (read_properties(c, o) != OK)
        return command_fail("%s", c->error);
    c->topic_name = options_str(o, C_TOPIC);
    c->skip_errors = options_has(o, C_SKIP);
    if (c->topic_name == NULL && pattern_new_raw(&c->include, str_of(include)) != OK)
        return command_fail("%s is an invalid regex.", include);
    return 0;
}

static int run(struct consumer *c)
{
    static char      output[OUTPUT_BYTES];
    struct sigaction sa = { .sa_handler = on_signal };
    int              rc;

    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, output, _IOFBF, sizeof output);
    rc = start(c);
    if (rc != OK)
        return command_fail("%s", c->error);
    rc = consume(c);
    if (rc == ERR_CLOSED) {
        fputs("Unable to write to standard out, closing consumer.\n", stderr);
        __fpurge(stdout);
        clearerr(stdout);
        rc = OK;
    } else if (rc != OK) {
        command_fail("ERROR Error processing message, terminating consumer process: %s", c->error);
    }
    fprintf(stderr, "Processed a total of %" PRId64 " messages\n", c->count);
    return stopped_by != 0 ? 128 + (int)stopped_by : rc == OK ? 0 : 1;
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
    status = prepare(c, inv, o);
    if (status == 0)
        status = run(c);
    if (options_has(o, C_SYSTEST) && c->rk != NULL)
        puts("shutdown_complete");
    stop(c);
    arena_fini(&c->arena);
    free(c);
    return status;
}

const struct command command_console_consumer = {
    .name = "console-consumer",
    .summary = "Print the records of topics.",
    .note = "--group is not available yet: it needs consumer groups. Partitions that are added later are "
            "read as well.",
    .defs = consumer_options,
    .defs_n = C_N,
    .run = consumer_run,
    .refuse = command_usage,
};
