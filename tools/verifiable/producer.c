/* tools/verifiable/producer.c - kafka-verifiable-producer.sh: numbers to a topic, and a line of JSON for each one that
 * was acknowledged or not.
 */
#include "base/clock.h"
#include "tools/argparse.h"
#include "tools/console/rd_client.h"
#include "tools/perf/throttle.h"
#include "tools/verifiable/event.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#define MEMORY_LIMIT (16U << 20)        /* properties */
#define WAIT_MS      100                /* signals are looked at in between */
#define LAST_MS      10000              /* after a signal: the longest wait for acknowledgements */
#define PLAIN_DIGITS 7u                 /* numbers below 10,000,000 have no exponent */
#define SERVE_EVERY  64                 /* records between two looks at what was acknowledged */

enum producer_option {
    P_BOOTSTRAP = OPT_FIRST, P_BROKER_LIST, P_TOPIC, P_MAX_MESSAGES, P_THROUGHPUT, P_ACKS, P_CONFIG, P_CREATE_TIME,
    P_PREFIX, P_REPEATING, P_N
};

static const struct option_def producer_options[P_N] = {
    OPTIONS_COMMON,
    [P_BOOTSTRAP] = { "bootstrap-server", OPT_VALUE, "HOST1:PORT1[,HOST2:PORT2[...]]",
        "REQUIRED unless --broker-list is given: some brokers of the cluster.", NULL },
    [P_BROKER_LIST] = { "broker-list", OPT_VALUE, "HOST1:PORT1[,HOST2:PORT2[...]]",
        "The older name of --bootstrap-server.", NULL },
    [P_TOPIC] = { "topic", OPT_VALUE, "TOPIC",
        "REQUIRED: the topic to write to.", NULL },
    [P_MAX_MESSAGES] = { "max-messages", OPT_VALUE, "MAX-MESSAGES",
        "How many records; -1: until a signal comes.", "-1" },
    [P_THROUGHPUT] = { "throughput", OPT_VALUE, "THROUGHPUT",
        "About so many records a second; -1: as many as it goes.", "-1" },
    [P_ACKS] = { "acks", OPT_VALUE, "ACKS",
        "Which replicas must have a record: 0, 1 or -1 (all).", "-1" },
    [P_CONFIG] = { "producer.config", OPT_VALUE, "CONFIG_FILE",
        "A file of the producer's properties, which win over these options.", NULL },
    [P_CREATE_TIME] = { "message-create-time", OPT_VALUE, "CREATETIME",
        "The records' timestamps begin here, in milliseconds since 1970; -1: they are the time of sending.", "-1" },
    [P_PREFIX] = { "value-prefix", OPT_VALUE, "VALUE-PREFIX",
        "A number that is put before each value, with a dot.", NULL },
    [P_REPEATING] = { "repeating-keys", OPT_VALUE, "REPEATING-KEYS",
        "Records have the keys 0, 1 and so on up to this number, which is not one of them; then 0 again.", NULL },
};

struct producer {
    rd_kafka_t       *rk;
    rd_kafka_topic_t *topic;
    const char       *topic_name;
    int64_t           max_messages, create_time, start_ms;
    int64_t           prefix, repeating, next_key;
    bool              has_prefix, has_keys;
    int64_t           block_ms;         /* max.block.ms: how long to wait for room */
    int64_t           sent, acked;
    struct throttle   throttle;
    struct arena      arena;
    struct props      props;
    char              error[512];
};

/* ---- events ---- */

/* The class that Java's producer would have thrown. */
static const char *exception_of(rd_kafka_resp_err_t err)
{
    static const struct { rd_kafka_resp_err_t err; const char *name; } known[] = {
        { RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, "TimeoutException" },
        { RD_KAFKA_RESP_ERR__TIMED_OUT, "TimeoutException" },
        { RD_KAFKA_RESP_ERR__QUEUE_FULL, "TimeoutException" },
        { RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, "TimeoutException" },
        { RD_KAFKA_RESP_ERR__TRANSPORT, "NetworkException" },
        { RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION, "NetworkException" },
        { RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, "RecordTooLargeException" },
        { RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, "RecordBatchTooLargeException" },
        { RD_KAFKA_RESP_ERR_INVALID_MSG, "CorruptRecordException" },
        { RD_KAFKA_RESP_ERR_INVALID_RECORD, "InvalidRecordException" },
        { RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, "InvalidTimestampException" },
        { RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, "InvalidTopicException" },
        { RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, "UnknownTopicOrPartitionException" },
        { RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, "UnknownTopicOrPartitionException" },
        { RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "UnknownTopicOrPartitionException" },
        { RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, "NotLeaderOrFollowerException" },
        { RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, "LeaderNotAvailableException" },
        { RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, "NotEnoughReplicasException" },
        { RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, "NotEnoughReplicasAfterAppendException" },
        { RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, "KafkaStorageException" },
        { RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "TopicAuthorizationException" },
        { RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, "ClusterAuthorizationException" },
        { RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS, "InvalidRequiredAcksException" },
        { RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "OutOfOrderSequenceException" },
        { RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, "UnknownProducerIdException" },
        { RD_KAFKA_RESP_ERR__PURGE_QUEUE, "InterruptException" },
        { RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, "InterruptException" },
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (known[i].err == err)
            return known[i].name;
    }
    return "UnknownServerException";
}

static void print_failure(const struct producer *p, struct bytes key, struct bytes value, rd_kafka_resp_err_t err)
{
    json_t *e = event_new("producer_send_error");

    json_object_set_new(e, "topic", json_string(p->topic_name));
    json_object_set_new(e, "key", event_text(key));
    json_object_set_new(e, "value", event_text(value));
    json_object_set_new(e, "exception", json_sprintf("class org.apache.kafka.common.errors.%s", exception_of(err)));
    json_object_set_new(e, "message", json_string(rd_kafka_err2str(err)));
    event_print(e);
}

static void on_delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *arg)
{
    struct producer *p = arg;
    struct bytes     key = { m->key, m->key_len }, value = { m->payload, m->len };
    json_t          *e;

    (void)rk;
    if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        print_failure(p, key, value, m->err);
        return;
    }
    p->acked++;
    e = event_new("producer_send_success");
    json_object_set_new(e, "key", event_text(key));
    json_object_set_new(e, "value", event_text(value));
    json_object_set_new(e, "offset", json_integer(m->offset));
    json_object_set_new(e, "topic", json_string(p->topic_name));
    json_object_set_new(e, "partition", json_integer(m->partition));
    event_print(e);
}

/* A number in as few digits as give it back. */
static void print_summary(const struct producer *p)
{
    double  rate = 1000.0 * ((double)p->acked / (double)(wall_ms() - p->start_ms));
    json_t *e = event_new("tool_data");
    char    text[64];
    unsigned digits = 0;

    rate = isfinite(rate) ? rate : 0;
    do
        snprintf(text, sizeof text, "%.*g", (int)++digits, rate);
    while (digits < 17 && strtod(text, NULL) != rate);
    json_object_set_new(e, "sent", json_integer(p->sent));
    json_object_set_new(e, "acked", json_integer(p->acked));
    json_object_set_new(e, "target_throughput", json_integer((json_int_t)p->throttle.per_second));
    json_object_set_new(e, "avg_throughput", json_real(rate));
    json_dumpf(e, stdout, JSON_COMPACT | JSON_REAL_PRECISION(digits > PLAIN_DIGITS ? digits : PLAIN_DIGITS));
    putchar('\n');
    json_decref(e);
}

/* ---- sending ---- */

static void send_record(struct producer *p, int64_t number)
{
    char                key[24], value[48];
    int64_t             deadline = mono_ms() + p->block_ms;
    size_t              key_len = 0, value_len;
    char               *key_or_null = p->has_keys ? key : NULL;
    rd_kafka_resp_err_t err;

    if (p->has_keys) {
        key_len = (size_t)snprintf(key, sizeof key, "%" PRId64, p->next_key++);
        if (p->next_key == p->repeating)
            p->next_key = 0;
    }
    value_len = (size_t)(p->has_prefix ? snprintf(value, sizeof value, "%" PRId64 ".%" PRId64, p->prefix, number)
                                       : snprintf(value, sizeof value, "%" PRId64, number));
    p->sent++;
    do {
        err = rd_kafka_producev(p->rk, RD_KAFKA_V_RKT(p->topic), RD_KAFKA_V_PARTITION(RD_KAFKA_PARTITION_UA),
                                RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                RD_KAFKA_V_VALUE(value, value_len),
                                RD_KAFKA_V_KEY(key_or_null, key_len),
                                RD_KAFKA_V_TIMESTAMP(p->create_time > 0 ? p->create_time : 0), RD_KAFKA_V_END);
        if (err == RD_KAFKA_RESP_ERR__QUEUE_FULL)
            rd_kafka_poll(p->rk, WAIT_MS);
    } while (err == RD_KAFKA_RESP_ERR__QUEUE_FULL && mono_ms() < deadline && rd_stopped() == 0);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        print_failure(p, (struct bytes){ (const uint8_t *)key_or_null, key_len },
                      (struct bytes){ (const uint8_t *)value, value_len }, err);
    if (p->create_time >= 0)
        p->create_time += wall_ms() - p->start_ms;
}

static void produce(struct producer *p)
{
    int64_t stop_ms = 0;

    for (int64_t i = 0; (p->max_messages < 0 || i < p->max_messages) && rd_stopped() == 0 && !ferror(stdout); i++) {
        send_record(p, i);
        throttle_wait(&p->throttle, p->rk, i);
        if (p->throttle.per_second >= 0 || i % SERVE_EVERY == 0) {
            rd_kafka_poll(p->rk, 0);
            fflush(stdout);
        }
    }
    while (rd_kafka_outq_len(p->rk) > 0 && !ferror(stdout)) {
        rd_kafka_flush(p->rk, WAIT_MS);             /* delivery.timeout.ms ends it */
        fflush(stdout);
        if (rd_stopped() != 0 && stop_ms == 0)
            stop_ms = mono_ms() + LAST_MS;
        if (stop_ms != 0 && mono_ms() > stop_ms)
            rd_kafka_purge(p->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    }
}

/* ---- the command ---- */

static int read_properties(struct producer *p, const struct options *o)
{
    char text[24];

    TRY(props_set(&p->props, STR_LIT("bootstrap.servers"),
                  str_of(options_str(o, options_has(o, P_BOOTSTRAP) ? P_BOOTSTRAP : P_BROKER_LIST)), &p->arena));
    TRY(props_set(&p->props, STR_LIT("acks"), str_of(options_str(o, P_ACKS)), &p->arena));
    TRY(props_set(&p->props, STR_LIT("retries"), STR_LIT("0"), &p->arena));
    if (options_has(o, P_CONFIG))
        TRY(props_add_file(&p->props, options_str(o, P_CONFIG), &p->arena, p->error, sizeof p->error));
    snprintf(text, sizeof text, "%.*s", STR_ARG(props_get(&p->props, "max.block.ms")));
    if (parse_i64(text, 0, INT64_MAX / 2, &p->block_ms) != OK)
        p->block_ms = 60000;
    return rd_props_defaults(&p->props, RD_PRODUCER, "producer-1", &p->arena);
}

static int start(struct producer *p)
{
    static const struct rd_setting fixed[] = { { "partitioner", "murmur2_random" } };
    rd_kafka_conf_t               *conf = rd_kafka_conf_new();

    rd_kafka_conf_set_opaque(conf, p);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivered);
    TRY(rd_open(&p->rk, RD_PRODUCER, conf, &p->props, fixed, 1, p->error, sizeof p->error));
    p->topic = rd_kafka_topic_new(p->rk, p->topic_name, NULL);
    if (p->topic != NULL)
        return OK;
    snprintf(p->error, sizeof p->error, "%s", rd_kafka_err2str(rd_kafka_last_error()));
    return ERR_INVALID;
}

static int run(struct producer *p)
{
    rd_stop_on_signals();
    if (start(p) != OK)
        return command_fail("%s", p->error);
    p->start_ms = wall_ms();
    throttle_init(&p->throttle, p->throttle.per_second);
    event_print(event_new("startup_complete"));
    fflush(stdout);
    produce(p);
    event_print(event_new("shutdown_complete"));
    print_summary(p);
    return rd_stopped() != 0 ? 128 + rd_stopped() : 0;
}

static int check_options(const struct invocation *inv, const struct options *o)
{
    static const struct argparse_number numbers[] = {
        { P_MAX_MESSAGES, ARG_INTEGER }, { P_THROUGHPUT, ARG_INTEGER }, { P_ACKS, ARG_INTEGER },
        { P_CREATE_TIME, ARG_LONG }, { P_PREFIX, ARG_INTEGER }, { P_REPEATING, ARG_INTEGER },
    };
    static const size_t required[] = { P_TOPIC }, brokers[] = { P_BOOTSTRAP, P_BROKER_LIST };
    int64_t             acks;
    int                 status = argparse_numbers(inv, o, numbers, sizeof numbers / sizeof numbers[0]);
    char                text[128];

    if (status == 0)
        status = argparse_required(inv, o, required, 1);
    if (status == 0)
        status = argparse_one_of(inv, o, brokers, 2);
    acks = argparse_i64(o, P_ACKS);
    if (status == 0 && (acks < -1 || acks > 1)) {
        snprintf(text, sizeof text, "argument --acks: invalid choice: '%" PRId64 "' (choose from {0,1,-1})", acks);
        status = command_usage(inv, text);
    }
    return status;
}

static int producer_run(const struct invocation *inv, struct options *o)
{
    struct producer *p;
    int              status = check_options(inv, o);

    if (status != 0)
        return status;
    p = calloc(1, sizeof *p);
    if (p == NULL)
        return command_fail("out of memory");
    arena_init(&p->arena, MEMORY_LIMIT);
    p->topic_name = options_str(o, P_TOPIC);
    p->max_messages = argparse_i64(o, P_MAX_MESSAGES);
    p->throttle.per_second = argparse_double(o, P_THROUGHPUT);
    p->create_time = argparse_i64(o, P_CREATE_TIME);
    p->has_prefix = options_has(o, P_PREFIX);
    p->prefix = argparse_i64(o, P_PREFIX);
    p->has_keys = options_has(o, P_REPEATING);
    p->repeating = argparse_i64(o, P_REPEATING);
    if (read_properties(p, o) != OK)
        status = command_usage(inv, p->error);
    else
        status = run(p);
    if (p->topic != NULL)
        rd_kafka_topic_destroy(p->topic);
    if (p->rk != NULL)
        rd_kafka_destroy(p->rk);
    arena_fini(&p->arena);
    free(p);
    return status;
}

const struct command command_verifiable_producer = {
    .name = "verifiable-producer",
    .summary = "Write increasing numbers to a topic, and print a line of JSON for each one that was acknowledged or "
               "was not.",
    .prog = "verifiable-producer",
    .defs = producer_options,
    .defs_n = P_N,
    .run = producer_run,
    .refuse = command_usage,
};
