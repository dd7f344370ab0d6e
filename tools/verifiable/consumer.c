/* tools/verifiable/consumer.c - kafka-verifiable-consumer.sh: a member of a group that prints a line of JSON for each
 * thing that happens to it: partitions given and taken, records read, offsets committed.
 *
 * Records are dealt with in batches, as Java's poll() hands them out: what was gathered is printed and committed before
 * the next batch, and before partitions go.
 */
#include "base/clock.h"
#include "tools/argparse.h"
#include "tools/console/subscription.h"
#include "tools/verifiable/event.h"

#include <inttypes.h>
#include <stdlib.h>

#define MEMORY_LIMIT     (16U << 20)    /* properties */
#define BATCH_MAX        500            /* max.poll.records, unless the property says otherwise */
#define WAIT_MS          100            /* signals are looked at in between */
#define METADATA_WAIT_MS 5000
#define COMMIT_MS        60000          /* the longest wait for a commit */

enum consumer_option {
    C_BOOTSTRAP = OPT_FIRST, C_BROKER_LIST, C_TOPIC, C_PROTOCOL, C_REMOTE_ASSIGNOR, C_GROUP, C_INSTANCE,
    C_MAX_MESSAGES, C_SESSION, C_VERBOSE, C_AUTOCOMMIT, C_RESET, C_STRATEGY, C_CONFIG, C_N
};

static const struct option_def consumer_options[C_N] = {
    OPTIONS_COMMON,
    [C_BOOTSTRAP] = { "bootstrap-server", OPT_VALUE, "HOST1:PORT1[,HOST2:PORT2[...]]",
        "REQUIRED unless --broker-list is given: some brokers of the cluster.", NULL },
    [C_BROKER_LIST] = { "broker-list", OPT_VALUE, "HOST1:PORT1[,HOST2:PORT2[...]]",
        "The older name of --bootstrap-server.", NULL },
    [C_TOPIC] = { "topic", OPT_VALUE, "TOPIC",
        "REQUIRED: the topic to read.", NULL },
    [C_PROTOCOL] = { "group-protocol", OPT_VALUE, "GROUP_PROTOCOL",
        "There is only the classic one here.", "classic" },
    [C_REMOTE_ASSIGNOR] = { "group-remote-assignor", OPT_VALUE, "GROUP_REMOTE_ASSIGNOR",
        "Of another group protocol: means nothing here.", NULL },
    [C_GROUP] = { "group-id", OPT_VALUE, "GROUP_ID",
        "REQUIRED: the group to be a member of.", NULL },
    [C_INSTANCE] = { "group-instance-id", OPT_VALUE, "GROUP_INSTANCE_ID",
        "Be a static member by this name: it keeps its partitions over a restart.", NULL },
    [C_MAX_MESSAGES] = { "max-messages", OPT_VALUE, "MAX-MESSAGES",
        "Stop after that many records; -1: when a signal comes.", "-1" },
    [C_SESSION] = { "session-timeout", OPT_VALUE, "TIMEOUT_MS",
        "Without a sign of life for that long the group goes on without this member.", "30000" },
    [C_VERBOSE] = { "verbose", OPT_FLAG, NULL,
        "Print each record.", NULL },
    [C_AUTOCOMMIT] = { "enable-autocommit", OPT_FLAG, NULL,
        "Commit now and then, instead of after each batch of records.", NULL },
    [C_RESET] = { "reset-policy", OPT_VALUE, "RESETPOLICY",
        "Where to start when nothing was committed: earliest, latest or none (that is an error).", "earliest" },
    [C_STRATEGY] = { "assignment-strategy", OPT_VALUE, "ASSIGNMENTSTRATEGY",
        "How the group shares partitions: RangeAssignor, RoundRobinAssignor or CooperativeStickyAssignor, by its "
        "full class name.", "org.apache.kafka.clients.consumer.RangeAssignor" },
    [C_CONFIG] = { "consumer.config", OPT_VALUE, "CONFIG_FILE",
        "A file of the consumer's properties; these options win over it.", NULL },
};

struct consumer {
    struct rd_member     member;
    struct subscription  sub;
    rd_kafka_queue_t    *commits;       /* answers to commits */
    rd_kafka_message_t **batch;         /* gathered, not dealt with */
    size_t               batch_n, batch_max;
    int64_t              max_messages, count;
    bool                 verbose, autocommit;
    rd_kafka_resp_err_t  fenced;        /* another member has our name: the end */
    struct arena         arena;
    struct props         props;
    char                 error[512];
};

static bool is_finished(const struct consumer *c)
{
    return c->max_messages >= 0 && c->count >= c->max_messages;
}

/* ---- events ---- */

static json_t *partition_json(const char *topic, int32_t partition)
{
    return json_pack("{s:s, s:i}", "topic", topic, "partition", (int)partition);
}

static void print_partitions(const char *name, const rd_kafka_topic_partition_list_t *list)
{
    json_t *e = event_new(name), *v = json_array();

    for (int i = 0; i < list->cnt; i++)
        json_array_append_new(v, partition_json(list->elems[i].topic, list->elems[i].partition));
    json_object_set_new(e, "partitions", v);
    event_print(e);
    fflush(stdout);
}

static void print_record(const rd_kafka_message_t *m)
{
    json_t *e = event_new("record_data");

    json_object_set_new(e, "key", event_text((struct bytes){ m->key, m->key_len }));
    json_object_set_new(e, "value", event_text((struct bytes){ m->payload, m->len }));
    json_object_set_new(e, "topic", json_string(rd_kafka_topic_name(m->rkt)));
    json_object_set_new(e, "partition", json_integer(m->partition));
    json_object_set_new(e, "offset", json_integer(m->offset));
    event_print(e);
}

static void print_committed(const rd_kafka_topic_partition_list_t *list, rd_kafka_resp_err_t err)
{
    json_t *e = event_new("offsets_committed"), *v = json_array();

    for (int i = 0; i < list->cnt; i++) {
        json_t *p = partition_json(list->elems[i].topic, list->elems[i].partition);

        json_object_set_new(p, "offset", json_integer(list->elems[i].offset));
        json_array_append_new(v, p);
    }
    json_object_set_new(e, "offsets", v);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        json_object_set_new(e, "error", json_string(rd_kafka_err2str(err)));
    json_object_set_new(e, "success", json_boolean(err == RD_KAFKA_RESP_ERR_NO_ERROR));
    event_print(e);
}

/* ---- a batch ---- */

/* Waits for the answer. A signal does not cut it short, so that what was printed is also committed. */
static rd_kafka_resp_err_t commit(struct consumer *c, const rd_kafka_topic_partition_list_t *list)
{
    int64_t             deadline = mono_ms() + COMMIT_MS;
    rd_kafka_resp_err_t err = rd_kafka_commit_queue(c->member.rk, list, c->commits, NULL, NULL);
    rd_kafka_event_t   *ev = NULL;

    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err;
    while (ev == NULL && mono_ms() < deadline)
        ev = rd_kafka_queue_poll(c->commits, WAIT_MS);
    if (ev == NULL)
        return RD_KAFKA_RESP_ERR__TIMED_OUT;
    err = rd_kafka_event_error(ev);
    rd_kafka_event_destroy(ev);
    return err;
}

/* The records of one partition, in the batch from `first` on; those that are too many are left out. */
static json_t *take_partition(struct consumer *c, size_t first, rd_kafka_topic_partition_list_t *offsets)
{
    const rd_kafka_message_t *f = c->batch[first];
    const char               *topic = rd_kafka_topic_name(f->rkt);
    int64_t                   n = 0, last = f->offset;
    json_t                   *summary;

    for (size_t i = first; i < c->batch_n && !is_finished(c); i++) {
        const rd_kafka_message_t *m = c->batch[i];

        if (m->rkt != f->rkt || m->partition != f->partition)
            continue;
        if (c->verbose)
            print_record(m);
        if (c->autocommit)
            rd_member_done(m);
        last = m->offset;
        n++;
        c->count++;
    }
    rd_kafka_topic_partition_list_add(offsets, topic, f->partition)->offset = last + 1;
    summary = partition_json(topic, f->partition);
    json_object_set_new(summary, "count", json_integer(n));
    json_object_set_new(summary, "minOffset", json_integer(f->offset));
    json_object_set_new(summary, "maxOffset", json_integer(last));
    return summary;
}

static void finish_batch(struct consumer *c)
{
    rd_kafka_topic_partition_list_t *offsets;
    rd_kafka_resp_err_t              err;
    json_t                          *e, *summaries;

    if (c->batch_n == 0)
        return;
    offsets = rd_kafka_topic_partition_list_new(4);
    summaries = json_array();
    for (size_t i = 0; i < c->batch_n && !is_finished(c); i++) {
        const rd_kafka_message_t *m = c->batch[i];

        if (rd_kafka_topic_partition_list_find(offsets, rd_kafka_topic_name(m->rkt), m->partition) == NULL)
            json_array_append_new(summaries, take_partition(c, i, offsets));
    }
    e = event_new("records_consumed");
    json_object_set_new(e, "count", json_integer((json_int_t)c->batch_n));
    json_object_set_new(e, "partitions", summaries);
    event_print(e);
    while (c->batch_n > 0)
        rd_kafka_message_destroy(c->batch[--c->batch_n]);
    if (!c->autocommit) {
        err = commit(c, offsets);
        if (err == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID)
            c->fenced = err;
        else
            print_committed(offsets, err);
    }
    rd_kafka_topic_partition_list_destroy(offsets);
    fflush(stdout);
}

/* ---- the group ---- */

static void on_assigned(void *arg, rd_kafka_topic_partition_list_t *list)
{
    finish_batch(arg);
    print_partitions("partitions_assigned", list);
}

static void on_revoked(void *arg, const rd_kafka_topic_partition_list_t *list, bool lost)
{
    (void)lost;
    finish_batch(arg);
    if (list->cnt > 0)
        print_partitions("partitions_revoked", list);
}

static const struct rd_member_hooks hooks = { on_assigned, on_revoked, NULL };

/* One batch of what is there. */
static int gather(struct consumer *c)
{
    rd_kafka_message_t *m = rd_member_poll(&c->member, WAIT_MS);
    int                 rc = OK;

    while (m != NULL) {
        if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            c->batch[c->batch_n++] = m;
        } else {
            if (rd_member_is_fatal(m->err)) {
                snprintf(c->error, sizeof c->error, "%s", rd_kafka_message_errstr(m));
                rc = ERR_INVALID;
            } else if (m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF) {
                fprintf(stderr, "WARN %s\n", rd_kafka_message_errstr(m));
            }
            rd_kafka_message_destroy(m);
        }
        m = rc == OK && c->batch_n < c->batch_max ? rd_member_poll(&c->member, 0) : NULL;
    }
    return rc;
}

static int consume(struct consumer *c)
{
    int64_t look_ms = 0;

    while (!is_finished(c) && rd_stopped() == 0 && !ferror(stdout)) {
        if (mono_ms() >= look_ms)
            TRY(subscription_look(&c->sub, &look_ms, c->error, sizeof c->error));
        TRY(gather(c));
        finish_batch(c);
        if (c->fenced != RD_KAFKA_RESP_ERR_NO_ERROR) {
            snprintf(c->error, sizeof c->error, "%s", rd_kafka_err2str(c->fenced));
            return ERR_INVALID;
        }
    }
    return OK;
}

/* ---- the command ---- */

static int read_properties(struct consumer *c, const struct options *o)
{
    static const struct { size_t opt; const char *property; } given[] = {
        { C_PROTOCOL, "group.protocol" }, { C_STRATEGY, "partition.assignment.strategy" }, { C_GROUP, "group.id" },
        { C_INSTANCE, "group.instance.id" }, { C_RESET, "auto.offset.reset" }, { C_SESSION, "session.timeout.ms" },
        { C_BROKER_LIST, "bootstrap.servers" }, { C_BOOTSTRAP, "bootstrap.servers" },
    };
    const char *name;
    char        text[24];
    int64_t     n = BATCH_MAX;

    if (options_has(o, C_CONFIG))
        TRY(props_add_file(&c->props, options_str(o, C_CONFIG), &c->arena, c->error, sizeof c->error));
    for (size_t i = 0; i < sizeof given / sizeof given[0]; i++) {
        const char *value = options_str(o, given[i].opt);

        if (value != NULL)
            TRY(props_set(&c->props, str_of(given[i].property), str_of(value), &c->arena));
    }
    TRY(props_set(&c->props, STR_LIT("enable.auto.commit"), c->autocommit ? STR_LIT("true") : STR_LIT("false"),
                  &c->arena));
    snprintf(text, sizeof text, "%.*s", STR_ARG(props_get(&c->props, "max.poll.records")));
    if (text[0] != '\0' && parse_i64(text, 1, 1000000, &n) != OK) {
        snprintf(c->error, sizeof c->error, "Invalid value %s for configuration max.poll.records", text);
        return ERR_INVALID;
    }
    c->batch_max = (size_t)n;
    c->batch = reallocarray(NULL, c->batch_max, sizeof(rd_kafka_message_t *));
    if (c->batch == NULL)
        return ERR_NOMEM;
    name = arena_printf(&c->arena, "consumer-%s-%s", options_str(o, C_GROUP),
                        options_has(o, C_INSTANCE) ? options_str(o, C_INSTANCE) : "1");
    return name != NULL ? rd_props_defaults(&c->props, RD_CONSUMER, name, &c->arena) : ERR_NOMEM;
}

static int run(struct consumer *c)
{
    rd_stop_on_signals();
    if (rd_member_open(&c->member, &c->props, &hooks, c, c->error, sizeof c->error) != OK)
        return command_fail("%s", c->error);
    c->commits = rd_kafka_queue_new(c->member.rk);
    event_print(event_new("startup_complete"));
    fflush(stdout);
    if (consume(c) != OK)               /* said here, and no failure to who waits for the command: as in Kafka */
        fprintf(stderr, "ERROR Error during processing, terminating consumer process: %s\n", c->error);
    finish_batch(c);
    rd_kafka_queue_destroy(c->commits);
    rd_member_close(&c->member);
    event_print(event_new("shutdown_complete"));
    return rd_stopped() != 0 ? 128 + rd_stopped() : 0;
}

static int check_options(const struct invocation *inv, const struct options *o)
{
    static const struct argparse_number numbers[] = { { C_MAX_MESSAGES, ARG_INTEGER }, { C_SESSION, ARG_INTEGER } };
    static const size_t required[] = { C_TOPIC, C_GROUP }, brokers[] = { C_BOOTSTRAP, C_BROKER_LIST };
    int                 status = argparse_numbers(inv, o, numbers, 2);

    if (status == 0)
        status = argparse_required(inv, o, required, 2);
    return status != 0 ? status : argparse_one_of(inv, o, brokers, 2);
}

static int consumer_run(const struct invocation *inv, struct options *o)
{
    struct consumer *c;
    int              status = check_options(inv, o), rc;

    if (status != 0)
        return status;
    c = calloc(1, sizeof *c);
    if (c == NULL)
        return command_fail("out of memory");
    arena_init(&c->arena, MEMORY_LIMIT);
    c->max_messages = argparse_i64(o, C_MAX_MESSAGES);
    c->verbose = options_has(o, C_VERBOSE);
    c->autocommit = options_has(o, C_AUTOCOMMIT);
    c->sub = (struct subscription){ .member = &c->member, .topic = options_str(o, C_TOPIC), .partition = -1,
                                    .answer_ms = METADATA_WAIT_MS };
    rc = read_properties(c, o);
    if (rc != OK)
        status = command_usage(inv, c->error[0] != '\0' ? c->error : err_text(rc));
    else
        status = run(c);
    subscription_fini(&c->sub);
    free(c->batch);
    arena_fini(&c->arena);
    free(c);
    return status;
}

const struct command command_verifiable_consumer = {
    .name = "verifiable-consumer",
    .summary = "Read a topic as a member of a group, and print a line of JSON for each thing that happens.",
    .prog = "verifiable-consumer",
    .defs = consumer_options,
    .defs_n = C_N,
    .run = consumer_run,
    .refuse = command_usage,
};
