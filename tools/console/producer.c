/* tools/console/producer.c - kafka-console-producer.sh: lines of standard input become records.
 *
 * librdkafka sends; the line reader decides what is key, value and header. At a terminal every line goes out at
 * once; from a file or pipe lines are gathered for a few milliseconds, so that they travel in batches.
 */
#include "base/clock.h"
#include "tools/client/link.h"
#include "tools/command.h"
#include "tools/console/line_reader.h"
#include "tools/console/rd_client.h"
#include "tools/props.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_LIMIT     (16U << 20)    /* properties and headers */
#define FULL_WAIT_MS     50             /* one look at a full queue */
#define LAST_WAIT_MS     1000
#define READER_CLASS     "kafka.tools.ConsoleProducer$LineMessageReader"

enum producer_option {
    P_BATCH_SIZE = OPT_FIRST, P_BOOTSTRAP, P_BROKER_LIST, P_CODEC, P_LINE_READER, P_MAX_BLOCK, P_MAX_MEMORY,
    P_MAX_PARTITION_MEMORY, P_RETRIES, P_METADATA_EXPIRY, P_PRODUCER_PROPERTY, P_PRODUCER_CONFIG, P_PROPERTY,
    P_READER_CONFIG, P_ACKS, P_REQUEST_TIMEOUT, P_RETRY_BACKOFF, P_SOCKET_BUFFER, P_SYNC, P_LINGER, P_TOPIC, P_N
};

static const struct option_def producer_options[P_N] = {
    OPTIONS_COMMON,
    [P_BATCH_SIZE] = { "batch-size", OPT_VALUE, "size",
        "Most bytes of one batch (property batch.size).", NULL },
    [P_BOOTSTRAP] = { "bootstrap-server", OPT_VALUE, "server to connect to",
        "REQUIRED unless --broker-list is given: HOST1:PORT1,HOST2:PORT2 of some brokers of the cluster.", NULL },
    [P_BROKER_LIST] = { "broker-list", OPT_VALUE, "broker-list",
        "The older name of --bootstrap-server, which wins if both are given.", NULL },
    [P_CODEC] = { "compression-codec", OPT_MAYBE, "compression-codec",
        "none, gzip, snappy, lz4 or zstd; gzip if nothing follows.", NULL },
    [P_LINE_READER] = { "line-reader", OPT_VALUE, "reader_class",
        "Only Kafka's own reader can be named here: there is no JVM to load another one.", READER_CLASS },
    [P_MAX_BLOCK] = { "max-block-ms", OPT_VALUE, "max block on send",
        "How long to wait for room when more is read than can be sent.", "60000" },
    [P_MAX_MEMORY] = { "max-memory-bytes", OPT_VALUE, "total memory in bytes",
        "Memory for records that wait to be sent (property buffer.memory).", "33554432" },
    [P_MAX_PARTITION_MEMORY] = { "max-partition-memory-bytes", OPT_VALUE, "memory in bytes per partition",
        "The same as --batch-size, and wins over it.", NULL },
    [P_RETRIES] = { "message-send-max-retries", OPT_VALUE, "number",
        "Attempts after the first one (property retries). Default: as many as delivery.timeout.ms has time "
        "for.", NULL },
    [P_METADATA_EXPIRY] = { "metadata-expiry-ms", OPT_VALUE, "metadata expiration interval",
        "Ask for the cluster's state at least that often (property metadata.max.age.ms).", "300000" },
    [P_PRODUCER_PROPERTY] = { "producer-property", OPT_MANY, "producer_prop",
        "A property of the producer, name=value.", NULL },
    [P_PRODUCER_CONFIG] = { "producer.config", OPT_VALUE, "config file",
        "A file of such properties; --producer-property wins over it.", NULL },
    [P_PROPERTY] = { "property", OPT_MANY, "prop",
        "How a line is read, name=value:\n"
        "parse.key=false              the key comes first\n"
        "parse.headers=false          headers come before it\n"
        "key.separator=\\t             between key and value\n"
        "headers.delimiter=\\t         after the headers\n"
        "headers.separator=,          between two headers\n"
        "headers.key.separator=:      in a header\n"
        "null.marker=                 a field that is this text is null\n"
        "ignore.error=false           a line without separators is a value", NULL },
    [P_READER_CONFIG] = { "reader-config", OPT_VALUE, "config file",
        "A file of such properties; --property wins over it.", NULL },
    [P_ACKS] = { "request-required-acks", OPT_VALUE, "request required acks",
        "Which replicas must have a record: 0, 1, all or -1 (property acks).", "-1" },
    [P_REQUEST_TIMEOUT] = { "request-timeout-ms", OPT_VALUE, "request timeout ms",
        "How long the broker may wait for its replicas (property request.timeout.ms). Default: 30000.", NULL },
    [P_RETRY_BACKOFF] = { "retry-backoff-ms", OPT_VALUE, "ms",
        "Pause before an attempt is repeated.", "100" },
    [P_SOCKET_BUFFER] = { "socket-buffer-size", OPT_VALUE, "size",
        "Send buffer of the socket. Default: the system's.", NULL },
    [P_SYNC] = { "sync", OPT_FLAG, NULL,
        "Send one record at a time and wait for its acknowledgement.", NULL },
    [P_LINGER] = { "timeout", OPT_VALUE, "timeout_ms",
        "How long a record may wait for others to travel with (property linger.ms). Default: 0 at a "
        "terminal, else 5.", NULL },
    [P_TOPIC] = { "topic", OPT_VALUE, "topic",
        "REQUIRED: the topic to write to.", NULL },
};

/* Options that stand for a property: they win over the property when given, else the default fills a gap. */
static const struct {
    size_t      opt;
    const char *property;
} merged[] = {
    { P_ACKS, "acks" },
    { P_REQUEST_TIMEOUT, "request.timeout.ms" },
    { P_RETRIES, "retries" },
    { P_RETRY_BACKOFF, "retry.backoff.ms" },
    { P_SOCKET_BUFFER, "send.buffer.bytes" },
    { P_MAX_MEMORY, "buffer.memory" },
    { P_BATCH_SIZE, "batch.size" },
    { P_MAX_PARTITION_MEMORY, "batch.size" },
    { P_METADATA_EXPIRY, "metadata.max.age.ms" },
    { P_MAX_BLOCK, "max.block.ms" },
    { P_LINGER, "linger.ms" },
};

struct producer {
    rd_kafka_t        *rk;
    rd_kafka_topic_t  *topic;
    const char        *topic_name;
    bool               sync;
    int64_t            max_block_ms;
    struct arena       arena;
    struct props       props;           /* the producer's, in Java's words */
    struct line_format format;
    struct line_record record;
    /* set by librdkafka's background thread, read by ours */
    atomic_llong       failed;          /* records */
    char               error[512];
};

/* ---- configuration ---- */

static int producer_fail(struct producer *p, int rc, const char *text)
{
    snprintf(p->error, sizeof p->error, "%s", text);
    return rc;
}

static int merge_options(struct producer *p, const struct options *o)
{
    for (size_t i = 0; i < sizeof merged / sizeof merged[0]; i++) {
        const char *v = options_str(o, merged[i].opt);

        if (v != NULL && (options_has(o, merged[i].opt) || props_get(&p->props, merged[i].property).p == NULL))
            TRY(props_set(&p->props, str_of(merged[i].property), str_of(v), &p->arena));
    }
    return OK;
}

static int read_properties(struct producer *p, const struct options *o)
{
    const char *brokers = options_str(o, options_has(o, P_BOOTSTRAP) ? P_BOOTSTRAP : P_BROKER_LIST);
    const char *codec = options_str(o, P_CODEC);
    struct str  block;
    char        text[24];

    if (options_has(o, P_PRODUCER_CONFIG))
        TRY(props_add_file(&p->props, options_str(o, P_PRODUCER_CONFIG), &p->arena, p->error, sizeof p->error));
    TRY(props_add_words(&p->props, o, P_PRODUCER_PROPERTY, &p->arena));
    TRY(props_set(&p->props, STR_LIT("bootstrap.servers"), str_of(brokers), &p->arena));
    TRY(props_set(&p->props, STR_LIT("compression.type"),
                  str_of(!options_has(o, P_CODEC) ? "none" : codec == NULL || codec[0] == '\0' ? "gzip" : codec),
                  &p->arena));
    TRY(merge_options(p, o));
    if (props_get(&p->props, "linger.ms").p == NULL)
        TRY(props_set(&p->props, STR_LIT("linger.ms"), isatty(STDIN_FILENO) ? STR_LIT("0") : STR_LIT("5"), &p->arena));
    TRY(rd_props_defaults(&p->props, RD_PRODUCER, "console-producer", &p->arena));
    block = props_get(&p->props, "max.block.ms");
    snprintf(text, sizeof text, "%.*s", STR_ARG(block));
    if (parse_i64(text, 0, INT64_MAX, &p->max_block_ms) != OK)
        return producer_fail(p, ERR_INVALID, "Cannot parse the value of max.block.ms");
    return OK;
}

static int read_format(struct producer *p, const struct options *o)
{
    struct props props = { NULL, 0, 0 };
    const char  *why;

    line_format_init(&p->format);
    if (options_has(o, P_READER_CONFIG))
        TRY(props_add_file(&props, options_str(o, P_READER_CONFIG), &p->arena, p->error, sizeof p->error));
    TRY(props_add_words(&props, o, P_PROPERTY, &p->arena));
    for (size_t i = 0; i < props.n; i++)
        line_format_set(&p->format, props.v[i].name, props.v[i].value);
    if (line_format_check(&p->format, &why) != OK)
        return producer_fail(p, ERR_INVALID, why);
    return OK;
}

/* ---- librdkafka ---- */

static void print_failure(struct producer *p, const rd_kafka_message_t *m)
{
    atomic_fetch_add(&p->failed, 1);
    fprintf(stderr, "ERROR Error when sending message to topic %s with key: ", p->topic_name);
    if (m->key == NULL)
        fputs("null", stderr);
    else
        fprintf(stderr, "%zu bytes", m->key_len);
    if (m->payload == NULL)
        fprintf(stderr, ", value: null with error: %s\n", rd_kafka_err2str(m->err));
    else
        fprintf(stderr, ", value: %zu bytes with error: %s\n", m->len, rd_kafka_err2str(m->err));
}

/* In the library's background thread. */
static void on_event(rd_kafka_t *rk, rd_kafka_event_t *ev, void *arg)
{
    struct producer          *p = arg;
    const rd_kafka_message_t *m;
    char                      why[256];

    switch (rd_kafka_event_type(ev)) {
    case RD_KAFKA_EVENT_DR:
        while ((m = rd_kafka_event_message_next(ev)) != NULL) {
            if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR)
                print_failure(p, m);
        }
        break;
    case RD_KAFKA_EVENT_ERROR:
        if (rd_kafka_event_error_is_fatal(ev) &&
            rd_kafka_fatal_error(rk, why, sizeof why) != RD_KAFKA_RESP_ERR_NO_ERROR)
            fprintf(stderr, "ERROR %s\n", why);
        break;
    default:
        break;
    }
    rd_kafka_event_destroy(ev);
}

static int start(struct producer *p)
{
    static const struct rd_setting fixed[] = {
        { "partitioner", "murmur2_random" },
        { "queue.buffering.max.messages", "10000000" },
    };
    rd_kafka_conf_t  *conf = rd_kafka_conf_new();
    rd_kafka_queue_t *events, *background;

    rd_kafka_conf_set_opaque(conf, p);
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
    rd_kafka_conf_set_background_event_cb(conf, on_event);
    TRY(rd_open(&p->rk, RD_PRODUCER, conf, &p->props, fixed, sizeof fixed / sizeof fixed[0], p->error,
                sizeof p->error));
    /* Delivery reports come on the main queue; the background thread, not ours, is to look at it. */
    events = rd_kafka_queue_get_main(p->rk);
    background = rd_kafka_queue_get_background(p->rk);
    rd_kafka_queue_forward(events, background);
    rd_kafka_queue_destroy(background);
    rd_kafka_queue_destroy(events);
    p->topic = rd_kafka_topic_new(p->rk, p->topic_name, NULL);
    return p->topic != NULL ? OK : producer_fail(p, ERR_INVALID, rd_kafka_err2str(rd_kafka_last_error()));
}

static rd_kafka_headers_t *make_headers(const struct line_record *r)
{
    rd_kafka_headers_t *h = rd_kafka_headers_new(r->headers_n);

    for (size_t i = 0; i < r->headers_n; i++) {
        const struct line_header *lh = &r->headers[i];
        rd_kafka_header_add(h, lh->key.p, (ssize_t)lh->key.len, lh->value.p, (ssize_t)lh->value.len);
    }
    return h;
}

/* Takes what the reader made; waits up to max.block.ms for room. */
static int send_record(struct producer *p, const struct line_record *r)
{
    int64_t              deadline = mono_ms() + p->max_block_ms;
    rd_kafka_headers_t  *headers = r->headers_n > 0 ? make_headers(r) : NULL;
    rd_kafka_resp_err_t  err;

    do {
        err = rd_kafka_producev(p->rk, RD_KAFKA_V_RKT(p->topic), RD_KAFKA_V_PARTITION(RD_KAFKA_PARTITION_UA),
                                RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                RD_KAFKA_V_VALUE((void *)(uintptr_t)r->value.p, r->value.len),
                                RD_KAFKA_V_KEY((void *)(uintptr_t)r->key.p, r->key.len),
                                RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
        if (err == RD_KAFKA_RESP_ERR__QUEUE_FULL)
            rd_kafka_flush(p->rk, FULL_WAIT_MS);
    } while (err == RD_KAFKA_RESP_ERR__QUEUE_FULL && mono_ms() < deadline);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (p->sync)
            while (rd_kafka_flush(p->rk, LAST_WAIT_MS) == RD_KAFKA_RESP_ERR__TIMED_OUT)
                continue;
        return OK;
    }
    if (headers != NULL)
        rd_kafka_headers_destroy(headers);
    print_failure(p, &(rd_kafka_message_t){ .err = err, .key = (void *)(uintptr_t)r->key.p, .key_len = r->key.len,
                                            .payload = (void *)(uintptr_t)r->value.p, .len = r->value.len });
    return OK;
}

/* ---- the command ---- */

/* Every line of standard input, until its end, a line that cannot be read, or (--sync) a record that was refused. */
static int pump(struct producer *p)
{
    struct lines l;
    struct str   line;
    bool         prompt = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    int          rc = OK;

    lines_init(&l, STDIN_FILENO);
    for (int64_t number = 1; rc == OK && !(p->sync && atomic_load(&p->failed) > 0); number++) {
        if (prompt) {
            putchar('>');
            fflush(stdout);
        }
        rc = lines_next(&l, &line);
        if (rc == OK)
            rc = line_parse(&p->format, line, number, &p->record, p->error, sizeof p->error);
        else if (rc != ERR_CLOSED)
            producer_fail(p, rc, err_text(rc));
        if (rc == OK)
            rc = send_record(p, &p->record);
    }
    lines_fini(&l);
    return rc == ERR_CLOSED ? OK : rc;
}

static void stop(struct producer *p)
{
    if (p->rk == NULL)
        return;
    while (rd_kafka_flush(p->rk, LAST_WAIT_MS) == RD_KAFKA_RESP_ERR__TIMED_OUT)
        continue;                       /* delivery.timeout.ms ends it */
    if (p->topic != NULL)
        rd_kafka_topic_destroy(p->topic);
    rd_kafka_destroy(p->rk);
}

static int check_options(const struct invocation *inv, struct options *o)
{
    if (!options_has(o, P_BOOTSTRAP) && !options_has(o, P_BROKER_LIST))
        return command_usage(inv, "Missing required option(s) [bootstrap-server]");
    if (options_require(o, P_TOPIC) != OK)
        return command_usage(inv, o->error);
    if (!link_are_addresses(options_str(o, options_has(o, P_BOOTSTRAP) ? P_BOOTSTRAP : P_BROKER_LIST)))
        return command_usage(inv, "Please provide valid host:port like host1:9091,host2:9092\n");
    if (strstr(options_str(o, P_LINE_READER), "LineMessageReader") == NULL)
        return command_fail("--line-reader %s: there is no JVM here to load it", options_str(o, P_LINE_READER));
    return 0;
}

static int producer_run(const struct invocation *inv, struct options *o)
{
    struct producer *p;
    int              rc, status = check_options(inv, o);

    if (status != 0)
        return status;
    p = calloc(1, sizeof *p);
    if (p == NULL)
        return command_fail("out of memory");
    arena_init(&p->arena, MEMORY_LIMIT);
    p->topic_name = options_str(o, P_TOPIC);
    p->sync = options_has(o, P_SYNC);
    rc = read_properties(p, o);
    if (rc == OK)
        rc = read_format(p, o);
    if (rc == OK)
        rc = start(p);
    if (rc == OK)
        rc = pump(p);
    stop(p);
    if (rc != OK)
        status = command_fail("%s", p->error[0] != '\0' ? p->error : err_text(rc));
    else if (p->sync && atomic_load(&p->failed) > 0)
        status = 1;
    arena_fini(&p->arena);
    free(p);
    return status;
}

const struct command command_console_producer = {
    .name = "console-producer",
    .summary = "Read lines from standard input and write them to a topic.",
    .note = "Records with a key go to the partition that the Java producer would choose (murmur2), others "
            "are spread.",
    .defs = producer_options,
    .defs_n = P_N,
    .run = producer_run,
    .refuse = command_usage,
};
