/* tools/get_offsets.c - kafka-get-offsets.sh: the offsets of partitions at a time, or their ends. */
#include "tools/admin.h"
#include "tools/client/link.h"
#include "tools/command.h"
#include "tools/list_offsets.h"
#include "tools/offset_filter.h"
#include "tools/partition_jobs.h"

#include "proto/gen/metadata_request.h"
#include "proto/gen/metadata_response.h"
#include "proto/kerr.h"

#include <inttypes.h>
#include <stdlib.h>

enum get_offsets_option {
    G_BOOTSTRAP = OPT_FIRST, G_BROKER_LIST, G_COMMAND_CONFIG, G_EXCLUDE_INTERNAL, G_PARTITIONS, G_TIME, G_TOPIC,
    G_TOPIC_PARTITIONS, G_N
};

static const struct option_def get_offsets_options[G_N] = {
    OPTIONS_COMMON,
    [G_BOOTSTRAP] = { "bootstrap-server", OPT_VALUE, "HOST1:PORT1,...,HOST3:PORT3",
        "REQUIRED unless --broker-list is given: some brokers of the cluster.", NULL },
    [G_BROKER_LIST] = { "broker-list", OPT_VALUE, "HOST1:PORT1,...,HOST3:PORT3",
        "The older name of --bootstrap-server, which wins if both are given.", NULL },
    [G_COMMAND_CONFIG] = { "command-config", OPT_VALUE, "config file",
        "Properties of the client.", NULL },
    [G_EXCLUDE_INTERNAL] = { "exclude-internal-topics", OPT_FLAG, NULL,
        "Leave out the internal topics.", NULL },
    [G_PARTITIONS] = { "partitions", OPT_VALUE, "partition ids",
        "Only these partitions, with commas between.", NULL },
    [G_TIME] = { "time", OPT_VALUE,
        "timestamp / -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or earliest-local / -5 or latest-tiered",
        "Which offset: that of the first record at or after a timestamp (Unix milliseconds), or one of "
        "these. A partition that has none is left out.", "latest" },
    [G_TOPIC] = { "topic", OPT_VALUE, "topic",
        "A regular expression for the topics; all if not given.", NULL },
    [G_TOPIC_PARTITIONS] = { "topic-partitions", OPT_VALUE, "topic1:1,topic2:0-3,topic3,topic4:5-,topic5:-3",
        "In place of --topic and --partitions: topics (a regular expression, or nothing for all) with one "
        "partition, a range without its end, or all partitions.", NULL },
};

static int get_offsets_refuse(const struct invocation *inv, const char *message)
{
    (void)inv;
    return command_fail("Error occurred: %s", message);
}

static int time_parse(struct admin *a, const char *text, int64_t *out)
{
    static const struct { const char *name; int64_t value; } names[] = {
        { "latest", -1 }, { "earliest", -2 }, { "max-timestamp", -3 }, { "earliest-local", -4 },
        { "latest-tiered", -5 },
    };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(text, names[i].name) == 0) {
            *out = names[i].value;
            return OK;
        }
    }
    if (parse_i64(text, INT64_MIN, INT64_MAX, out) == OK)
        return OK;
    return admin_fail(a, ERR_INVALID, "Malformed time argument %s. Please use -1 or latest / -2 or earliest "
                      "/ -3 or max-timestamp / -4 or earliest-local / -5 or latest-tiered, or a specified "
                      "long format timestamp",
                      text);
}

/* The partitions that the filter chooses. */
static int choose(struct admin *a, const struct offset_filter *f, bool exclude_internal, int64_t timestamp,
                  struct partition_job **out, size_t *n)
{
    struct metadata_response r;
    size_t                   cap = 0;

    *n = 0;
    TRY(admin_metadata(a, NULL, &r));
    for (int32_t i = 0; i < r.topics_n; i++)
        cap += (size_t)(r.topics[i].partitions_n > 0 ? r.topics[i].partitions_n : 0);
    *out = arena_array(&a->arena, cap + 1, sizeof **out);
    if (*out == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    for (int32_t i = 0; i < r.topics_n; i++) {
        const struct metadata_response_metadata_response_topic *t = &r.topics[i];

        if ((t->is_internal && exclude_internal) || !offset_filter_topic(f, t->name))
            continue;
        for (int32_t k = 0; k < t->partitions_n; k++) {
            int32_t p = t->partitions[k].partition_index;
            if (offset_filter_partition(f, t->name, p))
                (*out)[(*n)++] = (struct partition_job){ .topic = t->name, .partition = p, .in = timestamp };
        }
    }
    if (*n == 0)
        return admin_fail(a, ERR_NOENT, "Could not match any topic-partitions with the specified filters");
    return OK;
}

/* By the text "topic-partition", as Kafka's command sorts. */
static int job_compare(const void *pa, const void *pb)
{
    const struct partition_job *a = pa, *b = pb;
    char                        ta[280], tb[280];

    snprintf(ta, sizeof ta, "%.*s-%d", STR_ARG(a->topic), a->partition);
    snprintf(tb, sizeof tb, "%.*s-%d", STR_ARG(b->topic), b->partition);
    return strcmp(ta, tb);
}

static void print_offsets(const struct partition_job *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (v[i].kerr != KERR_NONE)
            fprintf(stderr, "Skip getting offsets for topic-partition %.*s-%d due to error: %s: %s\n",
                    STR_ARG(v[i].topic),
                    v[i].partition, kerr_name(v[i].kerr), kerr_message(v[i].kerr));
        else if (v[i].out != -1)
            printf("%.*s:%d:%" PRId64 "\n", STR_ARG(v[i].topic), v[i].partition, v[i].out);
    }
}

static int get_offsets(struct admin *a, const struct options *o, const struct offset_filter *f, int64_t timestamp)
{
    struct partition_job *v;
    size_t                n;

    client_doing(a->client, "listTopics");
    TRY(choose(a, f, options_has(o, G_EXCLUDE_INTERNAL), timestamp, &v, &n));
    client_doing(a->client, "listOffsets");
    TRY(partition_jobs_run(a, v, n, list_offsets_ask));
    qsort(v, n, sizeof *v, job_compare);
    print_offsets(v, n);
    return OK;
}

static int make_filter(struct admin *a, const struct options *o, struct offset_filter **f)
{
    if (!options_has(o, G_TOPIC_PARTITIONS))
        return offset_filter_new(f, options_str(o, G_TOPIC), options_str(o, G_PARTITIONS), a->error, sizeof a->error);
    if (options_has(o, G_TOPIC) || options_has(o, G_PARTITIONS))
        return admin_fail(a, ERR_INVALID, "--topic-partitions cannot be used with --topic or --partitions");
    return offset_filter_new_rules(f, options_str(o, G_TOPIC_PARTITIONS), a->error, sizeof a->error);
}

static int get_offsets_run(const struct invocation *inv, struct options *o)
{
    const char           *brokers = options_str(o, options_has(o, G_BOOTSTRAP) ? G_BOOTSTRAP : G_BROKER_LIST);
    struct offset_filter *f = NULL;
    struct admin          a;
    int64_t               timestamp = -1;
    int                   rc;

    if (brokers == NULL)
        return get_offsets_refuse(inv, "Missing required option(s) [bootstrap-server]");
    if (!link_are_addresses(brokers))
        return command_usage(inv, "Please provide valid host:port like host1:9091,host2:9092\n");
    rc = admin_open(&a, brokers, options_str(o, G_COMMAND_CONFIG), "GetOffsetShell");
    if (rc == OK)
        rc = time_parse(&a, options_str(o, G_TIME), &timestamp);
    if (rc == OK)
        rc = make_filter(&a, o, &f);
    if (rc == OK)
        rc = get_offsets(&a, o, f, timestamp);
    if (rc != OK)
        command_fail("Error occurred: %s", a.error);
    offset_filter_free(&f);
    admin_close(&a);
    return rc == OK ? 0 : 1;
}

const struct command command_get_offsets = {
    .name = "get-offsets",
    .summary = "Print the offsets of partitions.",
    .defs = get_offsets_options,
    .defs_n = G_N,
    .run = get_offsets_run,
    .refuse = get_offsets_refuse,
};
