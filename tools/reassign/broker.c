/* tools/reassign/broker.c - what kafka-reassign-partitions.sh asks of brokers. */
#include "tools/reassign/reassign.h"

#include "proto/gen/alter_partition_reassignments_request.h"
#include "proto/gen/alter_partition_reassignments_response.h"
#include "proto/gen/alter_replica_log_dirs_request.h"
#include "proto/gen/alter_replica_log_dirs_response.h"
#include "proto/gen/describe_log_dirs_request.h"
#include "proto/gen/describe_log_dirs_response.h"
#include "proto/gen/incremental_alter_configs_request.h"
#include "proto/gen/incremental_alter_configs_response.h"
#include "proto/gen/list_partition_reassignments_request.h"
#include "proto/gen/list_partition_reassignments_response.h"
#include "proto/gen/metadata_request.h"
#include "proto/gen/metadata_response.h"
#include "proto/kerr.h"
#include "tools/consumer_groups/jvm.h"

#include <stdio.h>
#include <stdlib.h>

CLIENT_API(alter_partition_reassignments, API_ALTER_PARTITION_REASSIGNMENTS);
CLIENT_API(list_partition_reassignments, API_LIST_PARTITION_REASSIGNMENTS);
CLIENT_API(alter_replica_log_dirs, API_ALTER_REPLICA_LOG_DIRS);
CLIENT_API(describe_log_dirs, API_DESCRIBE_LOG_DIRS);
CLIENT_API(incremental_alter_configs, API_INCREMENTAL_ALTER_CONFIGS);

#define alter_topic     alter_partition_reassignments_request_reassignable_topic
#define alter_partition alter_partition_reassignments_request_reassignable_partition
#define CONTROLLER_TIMEOUT_MS 60000

static const char *exception(int16_t kerr)
{
    static char buf[128];

    return jvm_exception(kerr, buf, sizeof buf);
}

/* A controller that has moved: ask again while there is time. */
static bool moved(struct rp *r, int16_t kerr, int attempt, int64_t deadline_ms)
{
    if (kerr != KERR_NOT_CONTROLLER || !client_backoff(r->a.client, attempt, deadline_ms))
        return false;
    client_forget(r->a.client);
    return true;
}

/* ---- what is there ---- */

static int broker_topics(struct rp *r, const struct topic_names *names, bool must, struct rp_parts *out)
{
    struct metadata_request q;
    struct metadata_response resp;
    size_t n = 0;

    *out = (struct rp_parts){ NULL, 0 };
    metadata_request_init(&q);
    q.allow_auto_topic_creation = false;
    q.topics = arena_array(&r->a.arena, names->n + 1, sizeof *q.topics);
    if (q.topics == NULL)
        return rp_no_memory(r);
    for (size_t i = 0; i < names->n; i++) {
        metadata_request_metadata_request_topic_init(&q.topics[i]);
        q.topics[i].name = names->v[i];
    }
    q.topics_n = (int32_t)names->n;
    client_doing(r->a.client, "describeTopics");
    if (names->n > 0)
        TRY(admin_metadata(&r->a, &q, &resp));
    else
        resp.topics_n = 0;
    for (int32_t i = 0; i < resp.topics_n; i++)
        n += (size_t)resp.topics[i].partitions_n;
    out->v = arena_array(&r->a.arena, n + 1, sizeof *out->v);
    if (out->v == NULL)
        return rp_no_memory(r);
    for (int32_t i = 0; i < resp.topics_n; i++) {
        const struct metadata_response_metadata_response_topic *t = &resp.topics[i];

        if (t->error_code == KERR_UNKNOWN_TOPIC_OR_PARTITION && must)
            return admin_fail(&r->a, ERR_NOENT, "%s: Topic %.*s not found.", exception(t->error_code),
                              STR_ARG(t->name));
        if (t->error_code != KERR_NONE && t->error_code != KERR_UNKNOWN_TOPIC_OR_PARTITION &&
            t->error_code != KERR_LEADER_NOT_AVAILABLE)
            return admin_fail(&r->a, ERR_INVALID, "%s: %s", exception(t->error_code), jvm_message(t->error_code));
        for (int32_t k = 0; k < t->partitions_n; k++)
            out->v[out->n++] = (struct rp_part){
                .topic = t->name, .partition = t->partitions[k].partition_index,
                .replicas = { t->partitions[k].replica_nodes, t->partitions[k].replica_nodes_n } };
    }
    return OK;
}

static int broker_moving(struct rp *r, struct rp_parts *out)
{
    struct list_partition_reassignments_request q;
    struct list_partition_reassignments_response resp;
    int64_t deadline_ms = client_deadline(r->a.client);
    size_t n = 0;

    list_partition_reassignments_request_init(&q);
    q.topics_n = -1;
    q.timeout_ms = CONTROLLER_TIMEOUT_MS;
    client_doing(r->a.client, "listPartitionReassignments");
    for (int attempt = 0;; attempt++) {
        TRY(admin_call(&r->a, CLIENT_CONTROLLER, &client_list_partition_reassignments, &q, &resp));
        if (resp.error_code == KERR_NONE)
            break;
        if (!moved(r, resp.error_code, attempt, deadline_ms))
            return admin_fail(&r->a, ERR_INVALID, "%s: %s", exception(resp.error_code), jvm_message(resp.error_code));
    }
    for (int32_t i = 0; i < resp.topics_n; i++)
        n += (size_t)resp.topics[i].partitions_n;
    *out = (struct rp_parts){ arena_array(&r->a.arena, n + 1, sizeof *out->v), 0 };
    if (out->v == NULL)
        return rp_no_memory(r);
    for (int32_t i = 0; i < resp.topics_n; i++)
        for (int32_t k = 0; k < resp.topics[i].partitions_n; k++) {
            const __typeof__(*resp.topics[i].partitions) *p = &resp.topics[i].partitions[k];

            out->v[out->n++] = (struct rp_part){ .topic = resp.topics[i].name, .partition = p->partition_index,
                                                 .replicas = { p->replicas, p->replicas_n },
                                                 .adding = { p->adding_replicas, p->adding_replicas_n },
                                                 .removing = { p->removing_replicas, p->removing_replicas_n } };
        }
    rp_sort(out);
    return OK;
}

static int by_id(const void *pa, const void *pb)
{
    const struct rp_broker *x = pa, *y = pb;

    return (x->id > y->id) - (x->id < y->id);
}

static int broker_brokers(struct rp *r, struct rp_broker **out, size_t *n)
{
    const struct client_broker *v;

    client_doing(r->a.client, "describeCluster");
    if (client_brokers(r->a.client, &v, n) != OK)
        return admin_fail(&r->a, ERR_CLOSED, "%s", client_error(r->a.client));
    *out = arena_array(&r->a.arena, *n + 1, sizeof **out);
    if (*out == NULL)
        return rp_no_memory(r);
    for (size_t i = 0; i < *n; i++)
        (*out)[i] = (struct rp_broker){ v[i].id, v[i].rack != NULL ? str_of(v[i].rack) : (struct str){ NULL, 0 } };
    if (*n > 1)
        qsort(*out, *n, sizeof **out, by_id);
    return OK;
}

/* ---- settings ---- */

enum { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4, OP_SET = 0, OP_DELETE = 1 };

/* Topics' settings go to any broker in one request, a broker's to itself. */
static int broker_set(struct rp *r, const struct rp_setting *v, size_t n)
{
    struct incremental_alter_configs_request q;
    struct incremental_alter_configs_response resp;
    struct incremental_alter_configs_request_alter_configs_resource *res =
        arena_array(&r->a.arena, n + 1, sizeof *res);
    int32_t count = 0;

    if (res == NULL)
        return rp_no_memory(r);
    incremental_alter_configs_request_init(&q);
    for (size_t i = 0, k; i < n; i = k) {
        int64_t id = CLIENT_ANY;
        __typeof__(*res) *one = &res[count++];

        one->resource_type = v[i].topic ? RESOURCE_TOPIC : RESOURCE_BROKER;
        one->resource_name = v[i].name;
        one->configs = arena_array(&r->a.arena, n + 1, sizeof *one->configs);
        if (one->configs == NULL)
            return rp_no_memory(r);
        for (k = i; k < n && str_eq(v[k].name, v[i].name); k++) {
            one->configs[one->configs_n].name = str_of(v[k].key);
            one->configs[one->configs_n].config_operation = v[k].value != NULL ? OP_SET : OP_DELETE;
            one->configs[one->configs_n++].value = v[k].value != NULL ? str_of(v[k].value) : (struct str){ NULL, 0 };
        }
        if (v[i].topic && k < n)
            continue;
        if (!v[i].topic && parse_i64(arena_cstr(&r->a.arena, v[i].name), 0, INT32_MAX, &id) != OK)
            return admin_fail(&r->a, ERR_INVALID, "Broker id %.*s cannot have settings", STR_ARG(v[i].name));
        q.resources = v[i].topic ? res : one;
        q.resources_n = v[i].topic ? count : 1;
        client_doing(r->a.client, "incrementalAlterConfigs");
        TRY(admin_call(&r->a, (int32_t)id, &client_incremental_alter_configs, &q, &resp));
        for (int32_t e = 0; e < resp.responses_n; e++)
            if (resp.responses[e].error_code != KERR_NONE)
                return admin_fail(&r->a, ERR_INVALID, "%s: %.*s", exception(resp.responses[e].error_code),
                                  STR_ARG(resp.responses[e].error_message));
    }
    return OK;
}

const struct rp_backend rp_by_broker = { false, broker_topics, broker_moving, broker_brokers, broker_set };

/* ---- moving ---- */

/* want: sorted. cancel: back to where they were. */
static int alter_request(struct rp *r, const struct rp_parts *want, bool cancel,
                         struct alter_partition_reassignments_request *q)
{
    struct alter_partition *parts = arena_array(&r->a.arena, want->n + 1, sizeof *parts);

    alter_partition_reassignments_request_init(q);
    q->timeout_ms = CONTROLLER_TIMEOUT_MS;
    q->topics = arena_array(&r->a.arena, want->n + 1, sizeof *q->topics);
    if (parts == NULL || q->topics == NULL)
        return rp_no_memory(r);
    for (size_t i = 0; i < want->n; i++) {
        struct alter_topic *t = q->topics_n > 0 ? &q->topics[q->topics_n - 1] : NULL;

        if (t == NULL || !str_eq(t->name, want->v[i].topic)) {
            t = &q->topics[q->topics_n++];
            alter_partition_reassignments_request_reassignable_topic_init(t);
            t->name = want->v[i].topic;
            t->partitions = &parts[i];
        }
        alter_partition_reassignments_request_reassignable_partition_init(&parts[i]);
        parts[i].partition_index = want->v[i].partition;
        parts[i].replicas = cancel ? NULL : want->v[i].replicas.v;
        parts[i].replicas_n = cancel ? -1 : want->v[i].replicas.n;
        t->partitions_n++;
    }
    return OK;
}

struct refused {
    struct rp_part p;
    struct str     message;
};

static int by_partition(const void *pa, const void *pb)
{
    const struct rp_part *x = &((const struct refused *)pa)->p, *y = &((const struct refused *)pb)->p;
    int d = str_cmp(x->topic, y->topic);

    return d != 0 ? d : (x->partition > y->partition) - (x->partition < y->partition);
}

static int report_refused(struct rp *r, const struct alter_partition_reassignments_response *resp, const char *title)
{
    struct refused *v;
    size_t total = 0, n = 0;
    const char *text = title;

    for (int32_t i = 0; i < resp->responses_n; i++)
        total += (size_t)resp->responses[i].partitions_n;
    v = arena_array(&r->a.arena, total + 1, sizeof *v);
    if (v == NULL)
        return rp_no_memory(r);
    for (int32_t i = 0; i < resp->responses_n; i++)
        for (int32_t k = 0; k < resp->responses[i].partitions_n; k++) {
            const __typeof__(*resp->responses[i].partitions) *p = &resp->responses[i].partitions[k];

            if (p->error_code != KERR_NONE)
                v[n++] = (struct refused){ { .topic = resp->responses[i].name, .partition = p->partition_index },
                                           p->error_message.p != NULL ? p->error_message
                                                                      : str_of(jvm_message(p->error_code)) };
        }
    if (n == 0)
        return OK;
    if (n > 1)
        qsort(v, n, sizeof *v, by_partition);
    for (size_t i = 0; i < n && text != NULL && strlen(text) < sizeof r->a.error - 300; i++)
        text = arena_printf(&r->a.arena, "%s\n%.*s-%d: %.*s", text, STR_ARG(v[i].p.topic), v[i].p.partition,
                            STR_ARG(v[i].message));
    r->terse = true;
    return text != NULL ? admin_fail(&r->a, ERR_INVALID, "%s", text) : rp_no_memory(r);
}

int rp_alter(struct rp *r, const struct rp_parts *want, bool cancel, const char *title)
{
    struct alter_partition_reassignments_request q;
    struct alter_partition_reassignments_response resp;
    int64_t deadline_ms = client_deadline(r->a.client);

    TRY(alter_request(r, want, cancel, &q));
    client_doing(r->a.client, "alterPartitionReassignments");
    for (int attempt = 0;; attempt++) {
        TRY(admin_call(&r->a, CLIENT_CONTROLLER, &client_alter_partition_reassignments, &q, &resp));
        if (resp.error_code == KERR_NONE)
            return report_refused(r, &resp, title);
        if (!moved(r, resp.error_code, attempt, deadline_ms))
            return admin_fail(&r->a, ERR_INVALID, "%s: %s", exception(resp.error_code), jvm_message(resp.error_code));
    }
}

/* ---- log directories; dirs: sorted, so those of one broker follow each other ---- */

static void take_dir(struct rp_dir *d, const struct describe_log_dirs_response_describe_log_dirs_result *dir,
                     struct arena *a)
{
    for (int32_t i = 0; i < dir->topics_n; i++)
        for (int32_t k = 0; k < dir->topics[i].partitions_n && str_eq(dir->topics[i].name, d->topic); k++) {
            if (dir->topics[i].partitions[k].partition_index != d->partition)
                continue;
            if (dir->topics[i].partitions[k].is_future_key)
                d->future = arena_cstr(a, dir->log_dir);
            else
                d->now = arena_cstr(a, dir->log_dir);
        }
}

static size_t same_broker(const struct rp_dirs *dirs, size_t i)
{
    size_t end = i + 1;

    while (end < dirs->n && dirs->v[end].broker == dirs->v[i].broker)
        end++;
    return end;
}

int rp_describe_dirs(struct rp *r, struct rp_dirs *dirs)
{
    for (size_t i = 0, end; i < dirs->n; i = end) {
        struct describe_log_dirs_request q;
        struct describe_log_dirs_response resp;

        end = same_broker(dirs, i);
        describe_log_dirs_request_init(&q);
        q.topics_n = -1;
        client_doing(r->a.client, "describeReplicaLogDirs");
        TRY(admin_call(&r->a, dirs->v[i].broker, &client_describe_log_dirs, &q, &resp));
        for (size_t k = i; k < end; k++) {
            dirs->v[k].asked = true;
            for (int32_t d = 0; d < resp.results_n; d++)
                if (resp.results[d].error_code == KERR_NONE)
                    take_dir(&dirs->v[k], &resp.results[d], &r->a.arena);
        }
    }
    return OK;
}

static int move_one_broker(struct rp *r, struct rp_dir *v, size_t n)
{
    struct alter_replica_log_dirs_request q;
    struct alter_replica_log_dirs_response resp;
    struct alter_replica_log_dirs_request_alter_replica_log_dir_topic *topics =
        arena_array(&r->a.arena, n + 1, sizeof *topics);

    alter_replica_log_dirs_request_init(&q);
    q.dirs = arena_array(&r->a.arena, n + 1, sizeof *q.dirs);
    if (topics == NULL || q.dirs == NULL)
        return rp_no_memory(r);
    for (size_t i = 0; i < n; i++) {                /* one directory for each replica: brokers do not mind */
        topics[i].name = v[i].topic;
        topics[i].partitions = &v[i].partition;
        topics[i].partitions_n = 1;
        q.dirs[i].path = str_of(v[i].dir);
        q.dirs[i].topics = &topics[i];
        q.dirs[i].topics_n = 1;
        v[i].kerr = KERR_NONE;
    }
    q.dirs_n = (int32_t)n;
    client_doing(r->a.client, "alterReplicaLogDirs");
    TRY(admin_call(&r->a, v[0].broker, &client_alter_replica_log_dirs, &q, &resp));
    for (int32_t t = 0; t < resp.results_n; t++)
        for (int32_t p = 0; p < resp.results[t].partitions_n; p++)
            for (size_t i = 0; i < n; i++)
                if (str_eq(v[i].topic, resp.results[t].topic_name) &&
                    v[i].partition == resp.results[t].partitions[p].partition_index)
                    v[i].kerr = resp.results[t].partitions[p].error_code;
    return OK;
}

int rp_move_dirs(struct rp *r, struct rp_dirs *dirs)
{
    for (size_t i = 0, end; i < dirs->n; i = end) {
        end = same_broker(dirs, i);
        TRY(move_one_broker(r, &dirs->v[i], end - i));
    }
    return OK;
}
