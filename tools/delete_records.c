/* tools/delete_records.c - kafka-delete-records.sh: moves the start of partitions forward, as a JSON file says. */
#include "tools/admin.h"
#include "tools/command.h"
#include "tools/partition_jobs.h"

#include "proto/gen/delete_records_request.h"
#include "proto/gen/delete_records_response.h"
#include "proto/kerr.h"

#include <inttypes.h>
#include <jansson.h>

#define DELETE_TIMEOUT_MS 30000         /* what the leader may wait for its followers */

enum delete_records_option { D_BOOTSTRAP = OPT_FIRST, D_COMMAND_CONFIG, D_JSON, D_N };

static const struct option_def delete_records_options[D_N] = {
    OPTIONS_COMMON,
    [D_BOOTSTRAP] = { "bootstrap-server", OPT_VALUE, "server(s) to use for bootstrapping",
        "REQUIRED: some brokers of the cluster, HOST1:PORT1,HOST2:PORT2.", NULL },
    [D_COMMAND_CONFIG] = { "command-config", OPT_VALUE, "command config property file path",
        "Properties of the client.", NULL },
    [D_JSON] = { "offset-json-file", OPT_VALUE, "Offset json file path",
        "REQUIRED: the first offset to be kept of each partition (-1: none is kept that is there now):\n"
        "{\"partitions\": [{\"topic\": \"foo\", \"partition\": 1, \"offset\": 1}],\n"
        " \"version\": 1}", NULL },
};

CLIENT_API(delete_records, API_DELETE_RECORDS);

/* ---- the file ---- */

static int plan_entry(struct admin *a, const json_t *e, struct partition_job *job)
{
    const json_t *topic = json_object_get(e, "topic"), *partition = json_object_get(e, "partition");
    const json_t *offset = json_object_get(e, "offset");

    if (!json_is_string(topic) || !json_is_integer(partition) || !json_is_integer(offset) ||
        json_integer_value(partition) < 0 || json_integer_value(partition) > INT32_MAX)
        return admin_fail(a, ERR_INVALID, "Every entry of \"partitions\" needs a \"topic\" (text), a "
                          "\"partition\" and an \"offset\" (numbers)");
    *job = (struct partition_job){ .partition = (int32_t)json_integer_value(partition),
                                   .in = json_integer_value(offset) };
    return arena_str(&a->arena, (struct str){ json_string_value(topic), json_string_length(topic) }, &job->topic);
}

static int plan_read(struct admin *a, const json_t *root, struct partition_job **out, size_t *n)
{
    const json_t *version = json_object_get(root, "version"), *list = json_object_get(root, "partitions");

    if (version != NULL && json_integer_value(version) != 1)
        return admin_fail(a, ERR_INVALID, "Not supported version field value %" JSON_INTEGER_FORMAT,
                          json_integer_value(version));
    if (!json_is_array(list))
        return admin_fail(a, ERR_INVALID, "Missing partitions field");
    *n = json_array_size(list);
    *out = arena_array(&a->arena, *n + 1, sizeof **out);
    if (*out == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < *n; i++) {
        TRY(plan_entry(a, json_array_get(list, i), &(*out)[i]));
        for (size_t k = 0; k < i; k++) {
            if ((*out)[k].partition == (*out)[i].partition && str_eq((*out)[k].topic, (*out)[i].topic))
                return admin_fail(a, ERR_INVALID, "Offset json file contains duplicate topic partitions: %.*s-%d",
                                  STR_ARG((*out)[i].topic), (*out)[i].partition);
        }
    }
    return OK;
}

static int plan_load(struct admin *a, const char *file, struct partition_job **out, size_t *n)
{
    json_error_t error;
    json_t      *root = json_load_file(file, JSON_REJECT_DUPLICATES, &error);
    int          rc;

    if (root == NULL)
        return error.line < 0 ? admin_fail(a, ERR_IO, "%s", error.text)
                              : admin_fail(a, ERR_INVALID, "The input string is not a valid JSON: %s, line "
                                           "%d: %s", file,
                                           error.line, error.text);
    rc = plan_read(a, root, out, n);
    json_decref(root);
    return rc;
}

/* ---- the request ---- */

static int ask_delete(struct admin *a, int32_t broker, struct partition_job *const *v, size_t n)
{
    struct delete_records_request  q;
    struct delete_records_response r;

    delete_records_request_init(&q);
    q.timeout_ms = DELETE_TIMEOUT_MS;
    q.topics = arena_array(&a->arena, n, sizeof *q.topics);
    if (q.topics == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        int32_t k = 0;

        while (k < q.topics_n && !str_eq(q.topics[k].name, v[i]->topic))
            k++;
        if (k == q.topics_n) {
            q.topics[k].name = v[i]->topic;
            q.topics[k].partitions = arena_array(&a->arena, n, sizeof *q.topics[k].partitions);
            if (q.topics[k].partitions == NULL)
                return admin_fail(a, ERR_NOMEM, "out of memory");
            q.topics_n++;
        }
        __typeof__(q.topics->partitions) p = &q.topics[k].partitions[q.topics[k].partitions_n++];
        p->partition_index = v[i]->partition;
        p->offset = v[i]->in;
    }
    TRY(admin_call(a, broker, &client_delete_records, &q, &r));
    for (int32_t i = 0; i < r.topics_n; i++) {
        for (int32_t k = 0; k < r.topics[i].partitions_n; k++) {
            __typeof__(r.topics->partitions) p = &r.topics[i].partitions[k];
            partition_job_answer(v, n, r.topics[i].name, p->partition_index, p->error_code, p->low_watermark);
        }
    }
    return OK;
}

static int delete_records(struct admin *a, const char *file)
{
    struct partition_job *v = NULL;
    size_t                n = 0;

    TRY(plan_load(a, file, &v, &n));
    puts("Executing records delete operation");
    client_doing(a->client, "deleteRecords");
    if (n > 0)
        TRY(partition_jobs_run(a, v, n, ask_delete));
    puts("Records delete operation completed:");
    for (size_t i = 0; i < n; i++) {
        printf("partition: %.*s-%d\t", STR_ARG(v[i].topic), v[i].partition);
        if (v[i].kerr == KERR_NONE)
            printf("low_watermark: %" PRId64 "\n", v[i].out);
        else
            printf("error: %s: %s\n", kerr_name(v[i].kerr), kerr_message(v[i].kerr));
    }
    return OK;
}

static int delete_records_run(const struct invocation *inv, struct options *o)
{
    struct admin a;
    int          rc;

    if (options_require(o, D_BOOTSTRAP) != OK || options_require(o, D_JSON) != OK)
        return command_usage(inv, o->error);
    rc = admin_open(&a, options_str(o, D_BOOTSTRAP), options_str(o, D_COMMAND_CONFIG), NULL);
    if (rc == OK)
        rc = delete_records(&a, options_str(o, D_JSON));
    if (rc != OK)
        command_fail("%s", a.error);
    admin_close(&a);
    return rc == OK ? 0 : 1;
}

const struct command command_delete_records = {
    .name = "delete-records",
    .summary = "Delete the records of partitions up to an offset.",
    .defs = delete_records_options,
    .defs_n = D_N,
    .run = delete_records_run,
};
