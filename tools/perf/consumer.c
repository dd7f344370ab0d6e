/* tools/perf/consumer.c - kafka-consumer-perf-test.sh: how many records and megabytes a second a member of a group
 * reads, with and without the time that its rebalances took.
 */
#include "base/clock.h"
#include "tools/command.h"
#include "tools/console/subscription.h"
#include "tools/perf/metrics.h"
#include "tools/perf/number.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>

#define MEMORY_LIMIT     (16U << 20)    /* properties */
#define WAIT_MS          100
#define BATCH_N          500            /* records between two looks at the clock */
#define METADATA_WAIT_MS 5000
#define GROUPS_MADE_UP   100000         /* perf-consumer-0 and so on */
#define MIB              (1024.0 * 1024.0)

enum consumer_option {
    C_BOOTSTRAP = OPT_FIRST, C_BROKER_LIST, C_TOPIC, C_MESSAGES, C_GROUP, C_FETCH_SIZE, C_LATEST, C_SOCKET, C_THREADS,
    C_FETCHERS, C_CONFIG, C_METRICS, C_DETAILED, C_TIMEOUT, C_INTERVAL, C_DATE, C_HIDE, C_N
};

static const struct option_def consumer_options[C_N] = {
    OPTIONS_COMMON,
    [C_BOOTSTRAP] = { "bootstrap-server", OPT_VALUE, "server to connect to",
        "REQUIRED unless --broker-list is given: HOST1:PORT1,HOST2:PORT2 of some brokers of the cluster.", NULL },
    [C_BROKER_LIST] = { "broker-list", OPT_VALUE, "broker-list",
        "The older name of --bootstrap-server, which wins if both are given.", NULL },
    [C_TOPIC] = { "topic", OPT_VALUE, "topic",
        "REQUIRED: the topic to read.", NULL },
    [C_MESSAGES] = { "messages", OPT_VALUE, "count",
        "REQUIRED: how many records to read.", NULL },
    [C_GROUP] = { "group", OPT_VALUE, "gid",
        "The group to be a member of. Default: one that is made up.", NULL },
    [C_FETCH_SIZE] = { "fetch-size", OPT_VALUE, "size",
        "Most bytes of one partition in an answer.", "1048576" },
    [C_LATEST] = { "from-latest", OPT_FLAG, NULL,
        "Start with new records where nothing was committed, instead of with the oldest.", NULL },
    [C_SOCKET] = { "socket-buffer-size", OPT_VALUE, "size",
        "Receive buffer of the socket.", "2097152" },
    [C_THREADS] = { "threads", OPT_VALUE, "count",
        "Of older versions: means nothing.", "10" },
    [C_FETCHERS] = { "num-fetch-threads", OPT_VALUE, "count",
        "Of older versions: means nothing.", "1" },
    [C_CONFIG] = { "consumer.config", OPT_VALUE, "config file",
        "A file of the consumer's properties; these options win over it.", NULL },
    [C_METRICS] = { "print-metrics", OPT_FLAG, NULL,
        "Print what the client has counted, at the end.", NULL },
    [C_DETAILED] = { "show-detailed-stats", OPT_FLAG, NULL,
        "A line for each --reporting-interval instead of one at the end.", NULL },
    [C_TIMEOUT] = { "timeout", OPT_MAYBE, "milliseconds",
        "Stop when no record has come for that long.", "10000" },
    [C_INTERVAL] = { "reporting-interval", OPT_VALUE, "interval_ms",
        "How often to print, in milliseconds.", "5000" },
    [C_DATE] = { "date-format", OPT_VALUE, "date format",
        "How times are printed: a pattern of java.text.SimpleDateFormat.", "yyyy-MM-dd HH:mm:ss:SSS" },
    [C_HIDE] = { "hide-header", OPT_FLAG, NULL,
        "Do not print the names of the columns.", NULL },
};

struct tally {
    int64_t bytes, records;
};

struct consumer {
    struct rd_member    member;
    struct subscription sub;
    struct tally        all, reported;  /* reported: up to the last line */
    int64_t             wanted, timeout_ms, interval_ms;
    int64_t             start_ms, join_start_ms, join_ms, round_ms;     /* in rebalances: since the start, last line */
    int64_t             report_ms;      /* the last line */
    bool                detailed, print_metrics;
    const char         *date;
    struct metrics      metrics;
    struct arena        arena;
    struct props        props;
    char                error[512];
};

/* ---- lines ---- */

static void print_header(bool detailed)
{
    printf("%s, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, "
           "fetch.MB.sec, fetch.nMsg.sec\n", detailed ? "time, threadId" : "start.time, end.time");
}

static void put_4(double v)
{
    char text[NUMBER_MAX];

    printf(", %s", number_fixed(text, v, 4));
}

/* What was read since the last line, and all. */
static void print_progress(struct consumer *c, int64_t now)
{
    double  elapsed = (double)(now - c->report_ms);
    int64_t fetch_ms = now - c->report_ms - c->round_ms;
    double  mb = (double)(c->all.bytes - c->reported.bytes) / MIB, n = (double)(c->all.records - c->reported.records);

    date_print(stdout, c->date, now);
    printf(", 0");
    put_4((double)c->all.bytes / MIB);
    put_4(1000.0 * mb / elapsed);
    printf(", %" PRId64, c->all.records);
    put_4(n / elapsed * 1000.0);
    printf(", %" PRId64 ", %" PRId64, c->round_ms, fetch_ms);
    put_4(fetch_ms <= 0 ? 0 : 1000.0 * mb / (double)fetch_ms);
    put_4(fetch_ms <= 0 ? 0 : 1000.0 * n / (double)fetch_ms);
    putchar('\n');
    fflush(stdout);
}

static void print_total(const struct consumer *c, int64_t now)
{
    double  seconds = (double)(now - c->start_ms) / 1000.0, mb = (double)c->all.bytes / MIB;
    int64_t fetch_ms = now - c->start_ms - c->join_ms;

    date_print(stdout, c->date, c->start_ms);
    printf(", ");
    date_print(stdout, c->date, now);
    put_4(mb);
    put_4(mb / seconds);
    printf(", %" PRId64, c->all.records);
    put_4((double)c->all.records / seconds);
    printf(", %" PRId64 ", %" PRId64, c->join_ms, fetch_ms);
    put_4(mb / ((double)fetch_ms / 1000.0));
    put_4((double)c->all.records / ((double)fetch_ms / 1000.0));
    putchar('\n');
}

/* ---- reading ---- */

static void on_assigned(void *arg, rd_kafka_topic_partition_list_t *list)
{
    struct consumer *c = arg;
    int64_t          took = wall_ms() - c->join_start_ms;

    (void)list;
    c->join_ms += took;
    c->round_ms += took;
}

static void on_revoked(void *arg, const rd_kafka_topic_partition_list_t *list, bool lost)
{
    struct consumer *c = arg;

    (void)list, (void)lost;
    c->join_start_ms = wall_ms();
}

static void on_stats(void *arg, const char *json, size_t len)
{
    struct consumer *c = arg;

    metrics_take(&c->metrics, json, len);
}

static const struct rd_member_hooks plain = { on_assigned, on_revoked, NULL };
static const struct rd_member_hooks counted = { on_assigned, on_revoked, on_stats };

static int take(struct consumer *c, const rd_kafka_message_t *m, int64_t now)
{
    if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (rd_member_is_fatal(m->err)) {
            snprintf(c->error, sizeof c->error, "%s", rd_kafka_message_errstr(m));
            return ERR_INVALID;
        }
        if (m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
            fprintf(stderr, "WARN %s\n", rd_kafka_message_errstr(m));
        return OK;
    }
    c->all.records++;
    c->all.bytes += (int64_t)(m->key_len + m->len);
    rd_member_done(m);
    if (now - c->report_ms >= c->interval_ms) {
        if (c->detailed)
            print_progress(c, now);
        c->round_ms = 0;
        c->report_ms = now;
        c->reported = c->all;
    }
    return OK;
}

static int consume(struct consumer *c)
{
    int64_t look_ms = 0, now = wall_ms(), last_ms = now;

    c->report_ms = now;
    while (c->all.records < c->wanted && now - last_ms <= c->timeout_ms && rd_stopped() == 0) {
        rd_kafka_message_t *m;
        int64_t             before = c->all.records;
        int                 rc = OK;

        if (mono_ms() >= look_ms)
            TRY(subscription_look(&c->sub, &look_ms, c->error, sizeof c->error));
        m = rd_member_poll(&c->member, WAIT_MS);
        now = wall_ms();
        for (int n = 1; m != NULL && rc == OK; n++) {
            rc = take(c, m, now);
            rd_kafka_message_destroy(m);
            m = rc == OK && n < BATCH_N && c->all.records < c->wanted ? rd_member_poll(&c->member, 0) : NULL;
        }
        TRY(rc);
        if (c->all.records > before)
            last_ms = now;
    }
    if (c->all.records < c->wanted && rd_stopped() == 0)
        printf("WARNING: Exiting before consuming the expected number of messages: timeout (%" PRId64 " ms) exceeded. "
               "You can use the --timeout option to increase the timeout.\n", c->timeout_ms);
    return OK;
}

/* ---- the command ---- */

static int read_properties(struct consumer *c, const struct options *o)
{
    const char *group = options_str(o, C_GROUP);
    uint32_t    n = 0;

    if (group == NULL) {
        if (getrandom(&n, sizeof n, 0) != sizeof n)
            n = (uint32_t)mono_ns();
        group = arena_printf(&c->arena, "perf-consumer-%" PRIu32, n % GROUPS_MADE_UP);
        if (group == NULL)
            return ERR_NOMEM;
    }
    const struct { const char *name, *value; } given[] = {
        { "bootstrap.servers", options_str(o, options_has(o, C_BOOTSTRAP) ? C_BOOTSTRAP : C_BROKER_LIST) },
        { "group.id", group },
        { "receive.buffer.bytes", options_str(o, C_SOCKET) },
        { "max.partition.fetch.bytes", options_str(o, C_FETCH_SIZE) },
        { "auto.offset.reset", options_has(o, C_LATEST) ? "latest" : "earliest" },
        { "check.crcs", "false" },
    };

    if (options_has(o, C_CONFIG))
        TRY(props_add_file(&c->props, options_str(o, C_CONFIG), &c->arena, c->error, sizeof c->error));
    for (size_t i = 0; i < sizeof given / sizeof given[0]; i++)
        TRY(props_set(&c->props, str_of(given[i].name), str_of(given[i].value), &c->arena));
    return rd_props_defaults(&c->props, RD_CONSUMER, "perf-consumer-client", &c->arena);
}

static int read_options(struct consumer *c, struct options *o)
{
    const char *wrong = NULL;
    int32_t     n;

    if (options_i64(o, C_MESSAGES, &c->wanted) != OK || options_i64(o, C_INTERVAL, &c->interval_ms) != OK ||
        options_i32(o, C_FETCH_SIZE, &n) != OK || options_i32(o, C_SOCKET, &n) != OK ||
        (options_str(o, C_TIMEOUT) != NULL && options_i64(o, C_TIMEOUT, &c->timeout_ms) != OK))
        wrong = o->error;
    else if (c->interval_ms <= 0)
        wrong = "Reporting interval must be greater than 0.";
    else
        wrong = date_check(c->date);
    if (wrong == NULL)
        return read_properties(c, o);
    snprintf(c->error, sizeof c->error, "%s", wrong);
    return ERR_INVALID;
}

static int measure(struct consumer *c)
{
    char    client_id[256];
    int64_t end_ms;
    int     rc;

    c->start_ms = c->join_start_ms = wall_ms();
    rc = consume(c);
    end_ms = wall_ms();
    if (rc == OK && c->print_metrics) {
        for (int64_t enough = c->metrics.taken + 2; c->metrics.taken < enough && rd_stopped() == 0;) {
            rd_kafka_message_t *m = rd_member_poll(&c->member, WAIT_MS);
            if (m != NULL)
                rd_kafka_message_destroy(m);
        }
    }
    rd_member_close(&c->member);
    if (rc != OK)
        return command_fail("%s", c->error);
    if (!c->detailed)
        print_total(c, end_ms);
    snprintf(client_id, sizeof client_id, "%.*s", STR_ARG(props_get(&c->props, "client.id")));
    if (c->print_metrics)
        metrics_print(&c->metrics, client_id);
    return rd_stopped() != 0 ? 128 + rd_stopped() : 0;
}

static int check_options(const struct invocation *inv, struct options *o)
{
    if (!options_has(o, C_BOOTSTRAP) && !options_has(o, C_BROKER_LIST))
        return command_usage(inv, "Missing required option(s) [bootstrap-server]");
    if (options_has(o, C_THREADS) || options_has(o, C_FETCHERS))
        puts("WARNING: option [threads] and [num-fetch-threads] have been deprecated and will be ignored by the test");
    if (options_require(o, C_TOPIC) != OK || options_require(o, C_MESSAGES) != OK)
        return command_usage(inv, o->error);
    return 0;
}

static int consumer_run(const struct invocation *inv, struct options *o)
{
    struct consumer *c;
    int              rc, status = check_options(inv, o);

    if (status != 0)
        return status;
    c = calloc(1, sizeof *c);
    if (c == NULL)
        return command_fail("out of memory");
    arena_init(&c->arena, MEMORY_LIMIT);
    c->timeout_ms = 10000;
    c->detailed = options_has(o, C_DETAILED);
    c->print_metrics = options_has(o, C_METRICS);
    c->date = options_str(o, C_DATE);
    c->sub = (struct subscription){ .member = &c->member, .topic = options_str(o, C_TOPIC), .partition = -1,
                                    .answer_ms = METADATA_WAIT_MS };
    rc = read_options(c, o);
    if (rc == OK) {
        if (!options_has(o, C_HIDE))
            print_header(c->detailed);
        rd_stop_on_signals();
        rc = rd_member_open(&c->member, &c->props, c->print_metrics ? &counted : &plain, c, c->error, sizeof c->error);
    }
    status = rc == OK ? measure(c) : command_fail("%s", c->error[0] != '\0' ? c->error : err_text(rc));
    subscription_fini(&c->sub);
    metrics_fini(&c->metrics);
    arena_fini(&c->arena);
    free(c);
    return status;
}

const struct command command_consumer_perf = {
    .name = "consumer-perf-test",
    .summary = "Read records as a member of a group, and print how many there were a second.",
    .defs = consumer_options,
    .defs_n = C_N,
    .run = consumer_run,
    .refuse = command_usage,
};
