/* tools/perf/producer.c - kafka-producer-perf-test.sh: how many records a second, and how long each took to be
 * acknowledged.
 *
 * One thread sends and takes acknowledgements, so that the figures need no lock.
 */
#include "base/clock.h"
#include "tools/argparse.h"
#include "tools/perf/metrics.h"
#include "tools/perf/number.h"
#include "tools/perf/payload.h"
#include "tools/perf/throttle.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_LIMIT  (16U << 20)       /* properties */
#define WAIT_MS       100
#define SERVE_EVERY   64                /* records between two looks at what was acknowledged */
#define REPORT_MS     5000
#define SAMPLES_MAX   500000
#define TXN_MS        60000             /* the longest that a step of a transaction may take */

enum producer_option {
    P_TOPIC = OPT_FIRST, P_RECORDS, P_SIZE, P_FILE, P_MONOTONIC, P_DELIMITER, P_THROUGHPUT, P_PROPS, P_CONFIG,
    P_METRICS, P_TXN_ID, P_TXN_MS, P_N
};

static const struct option_def producer_options[P_N] = {
    OPTIONS_COMMON,
    [P_TOPIC] = { "topic", OPT_VALUE, "TOPIC",
        "REQUIRED: the topic to write to.", NULL },
    [P_RECORDS] = { "num-records", OPT_VALUE, "NUM-RECORDS",
        "REQUIRED: how many records to send.", NULL },
    [P_SIZE] = { "record-size", OPT_VALUE, "RECORD-SIZE",
        "Bytes of a record. This, --payload-file or --payload-monotonic must be given.", NULL },
    [P_FILE] = { "payload-file", OPT_VALUE, "PAYLOAD-FILE",
        "Records are taken from this file of UTF-8 text, at random.", NULL },
    [P_MONOTONIC] = { "payload-monotonic", OPT_FLAG, NULL,
        "Records are increasing numbers.", NULL },
    [P_DELIMITER] = { "payload-delimiter", OPT_VALUE, "PAYLOAD-DELIMITER",
        "What stands between two records of the file: a regular expression.", "\\n" },
    [P_THROUGHPUT] = { "throughput", OPT_VALUE, "THROUGHPUT",
        "REQUIRED: about so many records a second; -1: as many as it goes.", NULL },
    [P_PROPS] = { "producer-props", OPT_LIST, "PROP-NAME=PROP-VALUE",
        "Properties of the producer, such as bootstrap.servers=HOST:PORT. They win over --producer.config; one of the "
        "two must be given.", NULL },
    [P_CONFIG] = { "producer.config", OPT_VALUE, "CONFIG-FILE",
        "A file of such properties.", NULL },
    [P_METRICS] = { "print-metrics", OPT_FLAG, NULL,
        "Print what the client has counted, at the end.", NULL },
    [P_TXN_ID] = { "transactional-id", OPT_VALUE, "TRANSACTIONAL-ID",
        "The producer's name for transactions, if there are any.", "performance-producer-default-transactional-id" },
    [P_TXN_MS] = { "transaction-duration-ms", OPT_VALUE, "TRANSACTION-DURATION",
        "Send in transactions, each of about that length; 0: without.", "0" },
};

/* All that is acknowledged. Milliseconds. */
struct stats {
    int64_t  start_ms, count, bytes, latency_sum, latency_max;
    int64_t  window_start_ms, window_count, window_bytes, window_sum, window_max;
    int64_t  every;             /* one latency in so many is kept */
    int32_t *latencies;
    size_t   latencies_n, latencies_cap;
};

struct producer {
    rd_kafka_t       *rk;
    rd_kafka_topic_t *topic;
    const char       *topic_name;
    int64_t           records;
    struct payload    payload;
    int64_t           block_ms;         /* max.block.ms: how long to wait for room */
    int64_t           txn_ms;           /* 0: no transactions */
    bool              print_metrics;
    struct metrics    metrics;
    struct throttle   throttle;
    struct stats      stats;
    struct arena      arena;
    struct props      props;
    char              error[512];
};

/* ---- figures ---- */

static int stats_init(struct stats *s, int64_t records)
{
    *s = (struct stats){ .start_ms = wall_ms(), .every = records / (records < SAMPLES_MAX ? records : SAMPLES_MAX) };
    s->window_start_ms = s->start_ms;
    s->latencies_cap = (size_t)(records / s->every) + 1;
    s->latencies = calloc(s->latencies_cap, sizeof *s->latencies);
    return s->latencies != NULL ? OK : ERR_NOMEM;
}

static double per_second(int64_t n, int64_t ms)
{
    return 1000.0 * (double)n / (double)ms;
}

static void print_window(struct stats *s)
{
    int64_t elapsed = wall_ms() - s->window_start_ms;
    char    rate[NUMBER_MAX], mb[NUMBER_MAX], mean[NUMBER_MAX];

    printf("%" PRId64 " records sent, %s records/sec (%s MB/sec), %s ms avg latency, %" PRId64 ".0 ms max latency.\n",
           s->window_count, number_fixed(rate, per_second(s->window_count, elapsed), 1),
           number_fixed(mb, per_second(s->window_bytes, elapsed) / (1024.0 * 1024.0), 2),
           number_fixed(mean, (double)s->window_sum / (double)s->window_count, 1), s->window_max);
    fflush(stdout);
    s->window_start_ms = wall_ms();
    s->window_count = s->window_bytes = s->window_sum = s->window_max = 0;
}

static void stats_record(struct stats *s, int64_t latency, int64_t bytes, int64_t now)
{
    if (s->count % s->every == 0 && s->latencies_n < s->latencies_cap)
        s->latencies[s->latencies_n++] = (int32_t)latency;
    s->count++;
    s->bytes += bytes;
    s->latency_sum += latency;
    s->latency_max = latency > s->latency_max ? latency : s->latency_max;
    s->window_count++;
    s->window_bytes += bytes;
    s->window_sum += latency;
    s->window_max = latency > s->window_max ? latency : s->window_max;
    if (now - s->window_start_ms >= REPORT_MS)
        print_window(s);
}

static int by_size(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

    return x < y ? -1 : x > y;
}

static void print_total(struct stats *s)
{
    static const double parts[4] = { 0.5, 0.95, 0.99, 0.999 };
    int64_t elapsed = wall_ms() - s->start_ms;
    int32_t at[4];
    char    rate[NUMBER_MAX], mb[NUMBER_MAX], mean[NUMBER_MAX];

    qsort(s->latencies, s->latencies_n, sizeof *s->latencies, by_size);
    for (size_t i = 0; i < 4; i++)
        at[i] = s->latencies[(size_t)(parts[i] * (double)s->latencies_n)];
    printf("%" PRId64 " records sent, %s records/sec (%s MB/sec), %s ms avg latency, %" PRId64 ".00 ms max latency, "
           "%" PRId32 " ms 50th, %" PRId32 " ms 95th, %" PRId32 " ms 99th, %" PRId32 " ms 99.9th.\n", s->count,
           number_fixed(rate, per_second(s->count, elapsed), 6),
           number_fixed(mb, per_second(s->bytes, elapsed) / (1024.0 * 1024.0), 2),
           number_fixed(mean, (double)s->latency_sum / (double)s->count, 2), s->latency_max, at[0], at[1], at[2],
           at[3]);
}

/* ---- sending ---- */

static void on_delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *arg)
{
    struct producer *p = arg;
    int64_t          now = wall_ms();

    (void)rk;
    if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
        stats_record(&p->stats, now - (int64_t)(intptr_t)m->_private, (int64_t)m->len, now);
    else
        fprintf(stderr, "ERROR %s\n", rd_kafka_err2str(m->err));
}

static int on_stats(rd_kafka_t *rk, char *json, size_t len, void *arg)
{
    struct producer *p = arg;

    (void)rk;
    metrics_take(&p->metrics, json, len);
    return 0;
}

static void send_record(struct producer *p, struct bytes b, int64_t now)
{
    int64_t deadline = mono_ms() + p->block_ms;
    void   *value = (void *)(uintptr_t)b.p;

    while (rd_kafka_produce(p->topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, value, b.len, NULL, 0,
                            (void *)(intptr_t)now) != 0) {
        rd_kafka_resp_err_t err = rd_kafka_last_error();

        if (err != RD_KAFKA_RESP_ERR__QUEUE_FULL || mono_ms() >= deadline) {
            fprintf(stderr, "ERROR %s\n", rd_kafka_err2str(err));
            break;
        }
        rd_kafka_poll(p->rk, WAIT_MS);
    }
}

/* A step of a transaction; takes the error. */
static int txn_step(struct producer *p, rd_kafka_error_t *e)
{
    if (e == NULL)
        return OK;
    snprintf(p->error, sizeof p->error, "%s%s", rd_kafka_error_string(e),
             rd_kafka_error_code(e) == RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE ||
             rd_kafka_error_code(e) == RD_KAFKA_RESP_ERR__TIMED_OUT
             ? " (does this broker have transactions? --transaction-duration-ms asks for them)" : "");
    rd_kafka_error_destroy(e);
    return ERR_INVALID;
}

static int produce(struct producer *p)
{
    int64_t began_ms = 0;
    bool    open = false;

    for (int64_t i = 0; i < p->records; i++) {
        int64_t now = wall_ms();

        if (p->txn_ms > 0 && !open) {
            TRY(txn_step(p, rd_kafka_begin_transaction(p->rk)));
            began_ms = now;
            open = true;
        }
        send_record(p, payload_next(&p->payload, i), now);
        if (open && now - began_ms >= p->txn_ms) {
            TRY(txn_step(p, rd_kafka_commit_transaction(p->rk, TXN_MS)));
            open = false;
        }
        throttle_wait(&p->throttle, p->rk, i);
        if (p->throttle.per_second >= 0 || i % SERVE_EVERY == 0)
            rd_kafka_poll(p->rk, 0);
    }
    if (open)
        TRY(txn_step(p, rd_kafka_commit_transaction(p->rk, TXN_MS)));
    while (rd_kafka_outq_len(p->rk) > 0)
        rd_kafka_poll(p->rk, WAIT_MS);              /* delivery.timeout.ms ends it */
    return OK;
}

/* ---- the command ---- */

static int read_properties(struct producer *p, const struct options *o)
{
    char        text[24];
    const char *word;

    if (options_has(o, P_CONFIG))
        TRY(props_add_file(&p->props, options_str(o, P_CONFIG), &p->arena, p->error, sizeof p->error));
    for (size_t i = 0; (word = options_nth(o, P_PROPS, i)) != NULL; i++) {
        const char *eq = strchr(word, '=');

        if (eq == NULL || eq == word || eq[1] == '\0') {
            snprintf(p->error, sizeof p->error, "Invalid property: %s", word);
            return ERR_INVALID;
        }
        TRY(props_set(&p->props, (struct str){ word, (size_t)(eq - word) }, str_of(eq + 1), &p->arena));
    }
    if (p->txn_ms > 0) {
        struct str life = props_get(&p->props, "transaction.timeout.ms");

        TRY(props_set(&p->props, STR_LIT("transactional.id"), str_of(options_str(o, P_TXN_ID)), &p->arena));
        /* The library wants no record to be tried for longer than its transaction may last. */
        if (props_get(&p->props, "delivery.timeout.ms").p == NULL)
            TRY(props_set(&p->props, STR_LIT("delivery.timeout.ms"), life.p != NULL ? life : STR_LIT("60000"),
                          &p->arena));
    }
    if (props_get(&p->props, "batch.size").p == NULL)
        TRY(props_set(&p->props, STR_LIT("batch.size"), STR_LIT("16384"), &p->arena));
    snprintf(text, sizeof text, "%.*s", STR_ARG(props_get(&p->props, "max.block.ms")));
    if (parse_i64(text, 0, INT64_MAX / 2, &p->block_ms) != OK)
        p->block_ms = 60000;
    return rd_props_defaults(&p->props, RD_PRODUCER, "perf-producer-client", &p->arena);
}

static int start(struct producer *p)
{
    const struct rd_setting fixed[] = {
        { "partitioner", "murmur2_random" },
        { "queue.buffering.max.messages", "10000000" },     /* buffer.memory is the limit */
        metrics_setting,
    };
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    rd_kafka_conf_set_opaque(conf, p);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivered);
    rd_kafka_conf_set_stats_cb(conf, on_stats);
    TRY(rd_open(&p->rk, RD_PRODUCER, conf, &p->props, fixed, p->print_metrics ? 3 : 2, p->error, sizeof p->error));
    if (p->txn_ms > 0)
        TRY(txn_step(p, rd_kafka_init_transactions(p->rk, TXN_MS)));
    p->topic = rd_kafka_topic_new(p->rk, p->topic_name, NULL);
    if (p->topic != NULL)
        return OK;
    snprintf(p->error, sizeof p->error, "%s", rd_kafka_err2str(rd_kafka_last_error()));
    return ERR_INVALID;
}

static void print_metrics(struct producer *p)
{
    char client_id[256];

    /* Two more: the first may have been counted before the end. */
    for (int64_t enough = p->metrics.taken + 2; p->metrics.taken < enough;)
        rd_kafka_poll(p->rk, WAIT_MS);
    snprintf(client_id, sizeof client_id, "%.*s", STR_ARG(props_get(&p->props, "client.id")));
    metrics_print(&p->metrics, client_id);
}

static int run(struct producer *p)
{
    if (start(p) != OK || stats_init(&p->stats, p->records) != OK)
        return command_fail("%s", p->error[0] != '\0' ? p->error : err_text(ERR_NOMEM));
    throttle_init(&p->throttle, p->throttle.per_second);
    if (produce(p) != OK)
        return command_fail("%s", p->error);
    print_total(&p->stats);
    if (p->print_metrics)
        print_metrics(p);
    return 0;
}

static int check_options(const struct invocation *inv, const struct options *o)
{
    static const struct argparse_number numbers[] = {
        { P_RECORDS, ARG_LONG }, { P_SIZE, ARG_INTEGER }, { P_THROUGHPUT, ARG_DOUBLE }, { P_TXN_MS, ARG_LONG },
    };
    static const size_t required[] = { P_TOPIC, P_RECORDS, P_THROUGHPUT };
    static const size_t payload[] = { P_SIZE, P_FILE, P_MONOTONIC };
    int                 status = argparse_numbers(inv, o, numbers, sizeof numbers / sizeof numbers[0]);

    if (status == 0)
        status = argparse_required(inv, o, required, sizeof required / sizeof required[0]);
    if (status == 0)
        status = argparse_one_of(inv, o, payload, sizeof payload / sizeof payload[0]);
    if (status == 0 && !options_has(o, P_PROPS) && !options_has(o, P_CONFIG))
        status = command_usage(inv, "Either --producer-props or --producer.config must be specified.");
    if (status == 0 && argparse_i64(o, P_RECORDS) <= 0)
        status = command_fail("--num-records must be greater than 0.");
    if (status == 0 && options_has(o, P_SIZE) && argparse_i64(o, P_SIZE) < 0)
        status = command_fail("--record-size must not be negative.");
    return status;
}

static int prepare(struct producer *p, const struct options *o)
{
    p->topic_name = options_str(o, P_TOPIC);
    p->records = argparse_i64(o, P_RECORDS);
    p->throttle.per_second = argparse_double(o, P_THROUGHPUT);
    p->txn_ms = argparse_i64(o, P_TXN_MS);
    p->print_metrics = options_has(o, P_METRICS);
    if (options_has(o, P_SIZE))
        TRY(payload_random(&p->payload, (size_t)argparse_i64(o, P_SIZE)));
    else if (options_has(o, P_FILE))
        TRY(payload_file(&p->payload, options_str(o, P_FILE), options_str(o, P_DELIMITER), p->error, sizeof p->error));
    return read_properties(p, o);
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
    rc = prepare(p, o);
    status = rc == OK ? run(p) : command_fail("%s", p->error[0] != '\0' ? p->error : err_text(rc));
    if (p->topic != NULL)
        rd_kafka_topic_destroy(p->topic);
    if (p->rk != NULL)
        rd_kafka_destroy(p->rk);
    metrics_fini(&p->metrics);
    payload_fini(&p->payload);
    free(p->stats.latencies);
    arena_fini(&p->arena);
    free(p);
    return status;
}

const struct command command_producer_perf = {
    .name = "producer-perf-test",
    .summary = "Send records, and print how many there were a second and how long they took.",
    .prog = "producer-performance",
    .defs = producer_options,
    .defs_n = P_N,
    .run = producer_run,
    .refuse = command_usage,
};
