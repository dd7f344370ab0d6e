/* tools/retention/retention.c - `klamm retention --explain`: asks the broker for settings and offsets, looks at the
 * partition's directory, and says of each segment why it is still there and when it goes. Apache Kafka's brokers can be
 * asked as well.
 */
#include "tools/retention/retention.h"

#include "base/clock.h"
#include "proto/gen/describe_configs_request.h"
#include "proto/gen/describe_configs_response.h"
#include "proto/gen/describe_log_dirs_request.h"
#include "proto/gen/describe_log_dirs_response.h"
#include "proto/gen/list_offsets_request.h"
#include "proto/gen/list_offsets_response.h"
#include "proto/gen/metadata_request.h"
#include "proto/gen/metadata_response.h"
#include "proto/kerr.h"
#include "tools/admin.h"
#include "tools/command.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>

enum { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4 };
enum { AT_LATEST = -1, AT_EARLIEST = -2 };

enum retention_option { R_BOOTSTRAP = OPT_FIRST, R_COMMAND_CONFIG, R_EXPLAIN, R_DIR, R_N };

static const struct option_def retention_options[R_N] = {
    OPTIONS_COMMON,
    [R_BOOTSTRAP] = { "bootstrap-server", OPT_VALUE, "server to connect to",
        "Some brokers of the cluster, HOST1:PORT1,HOST2:PORT2.", "localhost:9092" },
    [R_COMMAND_CONFIG] = { "command-config", OPT_VALUE, "property file", "Properties of the client.", NULL },
    [R_EXPLAIN] = { "explain", OPT_VALUE, "topic-partition",
        "REQUIRED: says of each segment of this partition why it is still there, and when it goes.", NULL },
    [R_DIR] = { "log-dir", OPT_VALUE, "directory",
        "Where the partition's directory is, if not where the broker says (in a container, say).", NULL },
};

CLIENT_API(describe_configs, API_DESCRIBE_CONFIGS);
CLIENT_API(describe_log_dirs, API_DESCRIBE_LOG_DIRS);
CLIENT_API(list_offsets, API_LIST_OFFSETS);

struct subject {
    struct str topic;
    int32_t    partition;
    int32_t    leader;
};

static int parse(struct admin *a, const char *text, struct subject *s)
{
    const char *dash = strrchr(text, '-');
    int64_t n;

    if (dash == NULL || dash == text || parse_i64(dash + 1, 0, INT32_MAX, &n) != OK)
        return admin_fail(a, ERR_INVALID, "%s: a partition is TOPIC-NUMBER, like orders-0", text);
    *s = (struct subject){ .topic = { text, (size_t)(dash - text) }, .partition = (int32_t)n, .leader = -1 };
    return OK;
}

static int find_leader(struct admin *a, struct subject *s)
{
    struct metadata_request q;
    struct metadata_response r;

    metadata_request_init(&q);
    q.allow_auto_topic_creation = false;
    q.topics = arena_array(&a->arena, 1, sizeof *q.topics);
    if (q.topics == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    q.topics_n = 1;
    q.topics[0].name = s->topic;
    TRY(admin_metadata(a, &q, &r));
    for (int32_t i = 0; i < r.topics_n; i++) {
        if (r.topics[i].error_code != KERR_NONE)
            return admin_fail_kafka(a, r.topics[i].error_code, (struct str){ 0 });
        for (int32_t k = 0; k < r.topics[i].partitions_n; k++)
            if (r.topics[i].partitions[k].partition_index == s->partition)
                s->leader = r.topics[i].partitions[k].leader_id;
    }
    if (s->leader >= 0)
        return OK;
    return admin_fail(a, ERR_NOENT, "%.*s-%d: there is no such partition, or it has no leader now", STR_ARG(s->topic),
                      s->partition);
}

static int offset_at(struct admin *a, const struct subject *s, int64_t timestamp, int64_t *out)
{
    struct list_offsets_request q;
    struct list_offsets_response r;

    list_offsets_request_init(&q);
    q.replica_id = -1;
    q.topics = arena_zalloc(&a->arena, sizeof *q.topics);
    if (q.topics == NULL || (q.topics->partitions = arena_zalloc(&a->arena, sizeof *q.topics->partitions)) == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    list_offsets_request_list_offsets_partition_init(q.topics->partitions);
    q.topics_n = q.topics->partitions_n = 1;
    q.topics->name = s->topic;
    q.topics->partitions->partition_index = s->partition;
    q.topics->partitions->timestamp = timestamp;
    TRY(admin_call(a, s->leader, &client_list_offsets, &q, &r));
    if (r.topics_n != 1 || r.topics->partitions_n != 1)
        return admin_fail(a, ERR_CORRUPT, "The broker gave no offsets");
    if (r.topics->partitions->error_code != KERR_NONE)
        return admin_fail_kafka(a, r.topics->partitions->error_code, (struct str){ 0 });
    *out = r.topics->partitions->offset;
    return OK;
}

/* ---- settings -------------------------------------------------------------------------------------------------- */

#define config_result describe_configs_response_describe_configs_result

static struct str setting(const struct config_result *c, const char *name)
{
    for (int32_t i = 0; i < c->configs_n; i++)
        if (str_eq(c->configs[i].name, str_of(name)))
            return c->configs[i].value;
    return (struct str){ 0 };
}

static int setting_i64(struct admin *a, const struct config_result *c, const char *name, int64_t *out)
{
    const char *text = arena_cstr(&a->arena, setting(c, name));

    if (text == NULL || parse_i64(text, INT64_MIN, INT64_MAX, out) != OK)
        return admin_fail(a, ERR_CORRUPT, "The broker does not tell %s", name);
    return OK;
}

static int describe(struct admin *a, const struct subject *s, int8_t type, struct str name, struct config_result *out)
{
    struct describe_configs_request q;
    struct describe_configs_response r;

    describe_configs_request_init(&q);
    q.resources = arena_zalloc(&a->arena, sizeof *q.resources);
    if (q.resources == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    q.resources_n = 1;
    q.resources->resource_type = type;
    q.resources->resource_name = name;
    q.resources->configuration_keys_n = -1;
    TRY(admin_call(a, s->leader, &client_describe_configs, &q, &r));
    if (r.results_n != 1)
        return admin_fail(a, ERR_CORRUPT, "The broker gave no configuration");
    if (r.results->error_code != KERR_NONE)
        return admin_fail_kafka(a, r.results->error_code, r.results->error_message);
    *out = *r.results;
    return OK;
}

static bool has_word(struct str list, const char *word)
{
    return list.p != NULL && memmem(list.p, list.len, word, strlen(word)) != NULL;
}

static int read_settings(struct admin *a, const struct subject *s, struct retention_rules *r)
{
    char id[16];
    struct config_result topic, broker;
    struct str policy;

    TRY(describe(a, s, RESOURCE_TOPIC, s->topic, &topic));
    policy = setting(&topic, "cleanup.policy");
    r->delete_policy = has_word(policy, "delete");
    r->compact_policy = has_word(policy, "compact");
    TRY(setting_i64(a, &topic, "retention.ms", &r->retention_ms));
    TRY(setting_i64(a, &topic, "retention.bytes", &r->retention_bytes));
    TRY(setting_i64(a, &topic, "segment.ms", &r->segment_ms));
    TRY(setting_i64(a, &topic, "segment.bytes", &r->segment_bytes));
    TRY(setting_i64(a, &topic, "file.delete.delay.ms", &r->file_delete_delay_ms));
    snprintf(id, sizeof id, "%d", s->leader);
    TRY(describe(a, s, RESOURCE_BROKER, str_of(id), &broker));
    return setting_i64(a, &broker, "log.retention.check.interval.ms", &r->check_ms);
}

/* ---- the directory --------------------------------------------------------------------------------------------- */

static int find_dir(struct admin *a, const struct subject *s, struct str *out)
{
    struct describe_log_dirs_request q;
    struct describe_log_dirs_response r;

    describe_log_dirs_request_init(&q);
    q.topics = arena_zalloc(&a->arena, sizeof *q.topics);
    if (q.topics == NULL || (q.topics->partitions = arena_zalloc(&a->arena, sizeof *q.topics->partitions)) == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    q.topics_n = q.topics->partitions_n = 1;
    q.topics->topic = s->topic;
    q.topics->partitions[0] = s->partition;
    TRY(admin_call(a, s->leader, &client_describe_log_dirs, &q, &r));
    for (int32_t i = 0; i < r.results_n; i++)
        for (int32_t k = 0; k < r.results[i].topics_n; k++)
            for (int32_t m = 0; m < r.results[i].topics[k].partitions_n; m++)
                if (!r.results[i].topics[k].partitions[m].is_future_key) {
                    *out = r.results[i].log_dir;
                    return OK;
                }
    return admin_fail(a, ERR_NOENT, "%.*s-%d: broker %d does not say in which log directory it is", STR_ARG(s->topic),
                      s->partition, s->leader);
}

static int explain(struct admin *a, struct options *o)
{
    struct retention_rules r = { 0 };
    struct segment_facts *v;
    struct verdict *verdicts;
    struct subject s;
    struct str where;
    const char *dir;
    size_t n;

    TRY(parse(a, options_str(o, R_EXPLAIN), &s));
    client_doing(a->client, "explainRetention");
    TRY(find_leader(a, &s));
    TRY(read_settings(a, &s, &r));
    if (options_has(o, R_DIR))
        where = str_of(options_str(o, R_DIR));
    else
        TRY(find_dir(a, &s, &where));
    dir = arena_printf(&a->arena, "%.*s/%s", STR_ARG(where), options_str(o, R_EXPLAIN));
    if (dir == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    TRY(offset_at(a, &s, AT_EARLIEST, &r.start));
    TRY(retention_read(dir, &a->arena, &v, &n, a->error));
    TRY(offset_at(a, &s, AT_LATEST, &r.hw));    /* after the files, so that it is not below what they hold */
    verdicts = arena_array(&a->arena, n + 1, sizeof *verdicts);
    if (verdicts == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    r.leo = n > 0 ? v[n - 1].end : r.hw;
    retention_judge(&r, v, n, wall_ms(), verdicts);
    printf("%s: ", dir);
    retention_print(&r, v, verdicts, n, wall_ms());
    return OK;
}

static int retention_run(const struct invocation *inv, struct options *o)
{
    struct admin a;
    int rc;

    if (options_require(o, R_EXPLAIN) != OK)
        return command_usage(inv, o->error);
    rc = admin_open(&a, options_str(o, R_BOOTSTRAP), options_str(o, R_COMMAND_CONFIG), NULL);
    if (rc == OK)
        rc = explain(&a, o);
    if (rc != OK)
        command_fail("%s", a.error);
    admin_close(&a);
    return rc == OK ? 0 : 1;
}

const struct command command_retention = {
    .name = "retention",
    .summary = "Explain which segments of a partition are kept, why, and until when.",
    .defs = retention_options,
    .defs_n = R_N,
    .run = retention_run,
};
