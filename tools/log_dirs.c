/* tools/log_dirs.c - kafka-log-dirs.sh: what lies in the log directories of the brokers, as one line of JSON. */
#include "tools/admin.h"
#include "tools/command.h"

#include "proto/gen/describe_log_dirs_request.h"
#include "proto/gen/describe_log_dirs_response.h"
#include "proto/kerr.h"

#include <jansson.h>
#include <stdlib.h>

enum log_dirs_option { L_BOOTSTRAP = OPT_FIRST, L_BROKERS, L_COMMAND_CONFIG, L_DESCRIBE, L_TOPICS, L_N };

static const struct option_def log_dirs_options[L_N] = {
    OPTIONS_COMMON,
    [L_BOOTSTRAP] = { "bootstrap-server", OPT_VALUE, "The server(s) to use for bootstrapping",
        "REQUIRED: some brokers of the cluster, HOST1:PORT1,HOST2:PORT2.", NULL },
    [L_BROKERS] = { "broker-list", OPT_VALUE, "Broker list",
        "Ids of the brokers to be asked, 0,1,2; without it all are.", NULL },
    [L_COMMAND_CONFIG] = { "command-config", OPT_VALUE, "Admin client property file",
        "Properties of the client.", NULL },
    [L_DESCRIBE] = { "describe", OPT_FLAG, NULL,
        "REQUIRED: print the log directories and the partitions in them.", NULL },
    [L_TOPICS] = { "topic-list", OPT_VALUE, "Topic list",
        "Topics to be shown, topic1,topic2; without it all are.", NULL },
};

CLIENT_API(describe_log_dirs, API_DESCRIBE_LOG_DIRS);

#define partition_row describe_log_dirs_response_describe_log_dirs_partition
#define topic_row     describe_log_dirs_response_describe_log_dirs_topic
#define dir_row       describe_log_dirs_response_describe_log_dirs_result

/* Is the word in a list with commas? Everything is in no list. */
static bool listed(const char *list, struct str word)
{
    bool any = false;

    while (list != NULL && *list != '\0') {
        size_t n = strcspn(list, ",");

        any |= n > 0;
        if (n == word.len && n > 0 && memcmp(list, word.p, n) == 0)
            return true;
        list += n + (list[n] == ',');
    }
    return !any;
}

/* ---- JSON: the keys in the order in which Kafka's tool prints them ---- */

static void add(json_t *to, const char *key, json_t *value)
{
    if (json_object_set_new(to, key, value) != 0)
        abort();                        /* memory is out */
}

static void add_partition(json_t *to, struct str topic, const struct partition_row *p)
{
    json_t *o = json_object();

    add(o, "partition", json_sprintf("%.*s-%d", STR_ARG(topic), (int)p->partition_index));
    add(o, "size", json_integer(p->partition_size));
    add(o, "offsetLag", json_integer(p->offset_lag));
    add(o, "isFuture", json_boolean(p->is_future_key));
    if (json_array_append_new(to, o) != 0)
        abort();
}

static json_t *error_of(int16_t kerr)
{
    if (kerr == KERR_NONE)
        return json_null();
    if (kerr == KERR_KAFKA_STORAGE_ERROR)
        return json_string("org.apache.kafka.common.errors.KafkaStorageException");
    return json_string(kerr_name(kerr));
}

static json_t *json_of_dir(const struct dir_row *dir, const char *topics)
{
    json_t *o = json_object(), *partitions = json_array();

    for (int32_t i = 0; i < dir->topics_n; i++) {
        const struct topic_row *t = &dir->topics[i];

        for (int32_t k = 0; k < t->partitions_n && listed(topics, t->name); k++)
            add_partition(partitions, t->name, &t->partitions[k]);
    }
    add(o, "partitions", partitions);
    add(o, "error", error_of(dir->error_code));
    add(o, "logDir", json_stringn(dir->log_dir.p, dir->log_dir.len));
    return o;
}

/* ---- the brokers ---- */

static int describe_broker(struct admin *a, int32_t id, const char *topics, json_t *to)
{
    json_t *o = json_object(), *dirs = json_array();
    struct describe_log_dirs_request q;
    struct describe_log_dirs_response r;
    int rc;

    describe_log_dirs_request_init(&q);
    q.topics_n = -1;
    rc = admin_call(a, id, &client_describe_log_dirs, &q, &r);
    if (rc == OK && r.error_code != KERR_NONE)
        rc = admin_fail_kafka(a, r.error_code, (struct str){ NULL, 0 });
    for (int32_t i = 0; rc == OK && i < r.results_n; i++)
        if (json_array_append_new(dirs, json_of_dir(&r.results[i], topics)) != 0)
            abort();
    add(o, "broker", json_integer(id));
    add(o, "logDirs", dirs);
    if (json_array_append_new(to, o) != 0)
        abort();
    return rc;
}

struct chosen {
    int32_t *v;
    size_t   n;
};

static void print_ids(FILE *f, const int32_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fprintf(f, "%s%d", i > 0 ? "," : "", (int)v[i]);
}

static bool has(const int32_t *v, size_t n, int32_t id)
{
    for (size_t i = 0; i < n; i++)
        if (v[i] == id)
            return true;
    return false;
}

/* Those asked for; *missing of them are not in the cluster, and stand at the end. */
static int choose(struct admin *a, const char *list, const struct chosen *all, struct chosen *out, size_t *missing)
{
    size_t room = (list != NULL ? strlen(list) : 0) + all->n + 1, lost = 0;
    int32_t *gone = arena_array(&a->arena, room, sizeof *gone);

    out->v = arena_array(&a->arena, room, sizeof *out->v);
    if (out->v == NULL || gone == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    while (list != NULL && *list != '\0') {
        size_t n = strcspn(list, ",");
        char *end;
        long id = strtol(list, &end, 10);

        if (n > 0 && (end != list + n || id < 0 || id > INT32_MAX))
            return admin_fail(a, ERR_INVALID, "--broker-list: \"%.*s\" is not the id of a broker", (int)n, list);
        if (n > 0 && !has(all->v, all->n, (int32_t)id) && !has(gone, lost, (int32_t)id))
            gone[lost++] = (int32_t)id;
        else if (n > 0 && !has(out->v, out->n, (int32_t)id))
            out->v[out->n++] = (int32_t)id;
        list += n + (list[n] == ',');
    }
    for (size_t i = 0; out->n + lost == 0 && i < all->n; i++)
        out->v[i] = all->v[i];
    if (out->n + lost == 0)
        out->n = all->n;
    memcpy(out->v + out->n, gone, lost * sizeof *gone);
    *missing = lost;
    return OK;
}

static int cluster_ids(struct admin *a, struct chosen *out)
{
    const struct client_broker *b;

    if (client_brokers(a->client, &b, &out->n) != OK)
        return admin_fail(a, ERR_IO, "%s", client_error(a->client));
    out->v = arena_array(&a->arena, out->n + 1, sizeof *out->v);
    if (out->v == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < out->n; i++)
        out->v[i] = b[i].id;
    return OK;
}

static int describe(struct admin *a, const char *brokers, const char *topics)
{
    struct chosen all = { NULL, 0 }, ask = { NULL, 0 };
    size_t missing = 0;
    json_t *root, *list;
    char *text;
    int rc;

    client_doing(a->client, "describeLogDirs");
    TRY(cluster_ids(a, &all));
    TRY(choose(a, brokers, &all, &ask, &missing));
    if (missing > 0) {
        fputs("ERROR: The given brokers do not exist from --broker-list: ", stderr);
        print_ids(stderr, ask.v + ask.n, missing);
        fputs(". Current existent brokers: ", stderr);
        print_ids(stderr, all.v, all.n);
        fputc('\n', stderr);
        return ERR_NOENT;
    }
    puts("Querying brokers for log directories information");
    root = json_object();
    list = json_array();
    add(root, "brokers", list);
    add(root, "version", json_integer(1));
    rc = OK;
    for (size_t i = 0; i < ask.n && rc == OK; i++)
        rc = describe_broker(a, ask.v[i], topics, list);
    text = rc == OK ? json_dumps(root, JSON_COMPACT) : NULL;
    if (text != NULL) {
        fputs("Received log directory information from brokers ", stdout);
        print_ids(stdout, ask.v, ask.n);
        printf("\n%s\n", text);
    }
    free(text);
    json_decref(root);
    return rc;
}

static int log_dirs_run(const struct invocation *inv, struct options *o)
{
    struct admin a;
    int          rc;

    if (options_require(o, L_BOOTSTRAP) != OK || options_require(o, L_DESCRIBE) != OK)
        return command_usage(inv, o->error);
    rc = admin_open(&a, options_str(o, L_BOOTSTRAP), options_str(o, L_COMMAND_CONFIG), "log-dirs-tool");
    if (rc == OK)
        rc = describe(&a, options_str(o, L_BROKERS), options_str(o, L_TOPICS));
    if (rc != OK && rc != ERR_NOENT)
        command_fail("%s", a.error);
    admin_close(&a);
    return rc == OK ? 0 : 1;
}

const struct command command_log_dirs = {
    .name = "log-dirs",
    .summary = "Print what lies in the log directories of brokers, and how large it is.",
    .defs = log_dirs_options,
    .defs_n = L_N,
    .run = log_dirs_run,
};
