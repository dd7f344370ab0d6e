/* broker/api/topics.c - CreateTopics, CreatePartitions, DeleteTopics: from the request to the controller's operation
 * and back.
 *
 * The request is parked while the operation is under way; an IO thread writes the answer.
 */
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "broker/cluster/broker_configs.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/controller/controller.h"
#include "config/config.h"
#include "config/describe.h"
#include "config/topic_config.h"
#include "proto/gen/create_partitions_request.h"
#include "proto/gen/create_partitions_response.h"
#include "proto/gen/create_topics_request.h"
#include "proto/gen/create_topics_response.h"
#include "proto/gen/delete_topics_request.h"
#include "proto/gen/delete_topics_response.h"
#include "proto/kerr.h"
#include "storage/logmgr.h"

#include <stdlib.h>

#define create_in    create_topics_request_creatable_topic
#define create_out   create_topics_response_creatable_topic_result
#define grow_in      create_partitions_request_create_partitions_topic
#define grow_out     create_partitions_response_create_partitions_topic_result
#define delete_out   delete_topics_response_deletable_topic_result

/* ---- what the three share -------------------------------------------------------------------------------------- */

static struct topic_op *op_new(struct request *r, enum topic_op_kind kind, int32_t topics_n, int32_t timeout_ms)
{
    struct topic_op *op = arena_zalloc(&r->arena, sizeof *op);

    if (op == NULL)
        return NULL;
    op->kind = kind;
    op->timeout_ms = timeout_ms;
    op->arena = &r->arena;
    op->arg = r;
    op->topics = arena_array(&r->arena, (size_t)topics_n + 1, sizeof *op->topics);
    op->topics_n = topics_n;
    r->state = op;
    return op->topics != NULL ? op : NULL;
}

static void fail_all(struct topic_op *op, int16_t error)
{
    for (int32_t i = 0; i < op->topics_n; i++)
        op->topics[i].error = error;
}

static int by_name(const void *a, const void *b)
{
    const struct topic_op_topic *x = *(struct topic_op_topic *const *)a, *y = *(struct topic_op_topic *const *)b;
    int d = str_cmp(x->name, y->name);

    return d != 0 ? d : (x > y) - (x < y);
}

/* Topics named more than once are refused. `once`: the second and later ones get no answer of their own (name null). */
static bool refuse_repeated(struct topic_op *op, const char *message, bool once)
{
    struct topic_op_topic **v = arena_array(op->arena, (size_t)op->topics_n + 1, sizeof *v);

    if (v == NULL)
        return false;
    for (int32_t i = 0; i < op->topics_n; i++)
        v[i] = &op->topics[i];
    qsort(v, (size_t)op->topics_n, sizeof *v, by_name);
    for (int32_t i = 1; i < op->topics_n; i++) {
        struct topic_op_topic *a = v[i - 1], *b = v[i];

        if (!str_eq(a->name, b->name))
            continue;
        a->error = b->error = KERR_INVALID_REQUEST;
        a->message = b->message = message;
    }
    for (int32_t i = op->topics_n - 1; i > 0 && once; i--)
        if (str_eq(v[i]->name, v[i - 1]->name))
            v[i]->name.p = NULL;
    return true;
}

static void hand_over(struct broker *b, struct topic_op *op, void (*done)(struct topic_op *))
{
    op->done = done;
    controller_topic_op(b->controller, op);
}

/* What needs room on a disk is refused when there is none; clients try again. */
static bool refuse_full(struct broker *b, struct topic_op *op)
{
    if (op->validate_only || logmgr_has_room(b->logs))
        return false;
    for (int32_t i = 0; i < op->topics_n; i++) {
        if (op->topics[i].error != KERR_NONE)
            continue;
        op->topics[i].error = KERR_KAFKA_STORAGE_ERROR;
        op->topics[i].message = "The disk of the log directories is almost full (klamm.log.dir.min.free.bytes).";
    }
    return true;
}

/* ---- CreateTopics ----------------------------------------------------------------------------------------------- */

static bool create_topic_in(struct arena *a, const struct create_in *in, struct topic_op_topic *t)
{
    struct topic_op_assignment *assignments = arena_array(a, (size_t)in->assignments_n + 1, sizeof *assignments);
    struct topic_op_config *configs = arena_array(a, (size_t)in->configs_n + 1, sizeof *configs);

    if (assignments == NULL || configs == NULL)
        return false;
    *t = (struct topic_op_topic){ .name = in->name, .partitions = in->num_partitions,
                                  .replication = in->replication_factor,
                                  .assignments = assignments, .assignments_n = in->assignments_n,
                                  .configs = configs, .configs_n = in->configs_n };
    for (int32_t i = 0; i < in->assignments_n; i++)
        assignments[i] = (struct topic_op_assignment){ in->assignments[i].partition_index,
                                                       in->assignments[i].broker_ids, in->assignments[i].broker_ids_n };
    for (int32_t i = 0; i < in->configs_n; i++)
        configs[i] = (struct topic_op_config){ .name = in->configs[i].name, .value = in->configs[i].value };
    return true;
}

/* The settings that the topic has now, from its own and the server's. tc: to be ended when the answer is written. */
static bool create_configs_out(struct broker *b, struct request *r, const struct topic_op_topic *t,
                               struct topic_config *tc, struct create_out *out)
{
    struct topic_property *given = arena_array(&r->arena, (size_t)t->configs_n + 1, sizeof *given);
    struct config_entry *entries;
    struct config *server;
    char why[256];
    size_t n;
    int rc;

    if (given == NULL)
        return false;
    for (int32_t i = 0; i < t->configs_n; i++)
        given[i] = (struct topic_property){ t->configs[i].name, t->configs[i].value };
    server = broker_configs_get(b->broker_configs);
    rc = topic_config_build(tc, server, TOPIC_CONFIG_STORED, given, (size_t)t->configs_n, why, sizeof why);
    config_unref(&server);              /* tc has its own */
    if (rc != OK)
        return false;
    if (topic_config_describe(tc, &r->arena, &entries, &n) != OK)
        return false;
    out->configs = arena_array(&r->arena, n + 1, sizeof *out->configs);
    if (out->configs == NULL)
        return false;
    out->configs_n = (int32_t)n;
    for (size_t i = 0; i < n; i++) {
        create_topics_response_creatable_topic_configs_init(&out->configs[i]);
        out->configs[i].name = str_of(entries[i].name);
        out->configs[i].value = str_of(entries[i].value);
        out->configs[i].read_only = entries[i].read_only;
        out->configs[i].config_source = (int8_t)entries[i].source;
        out->configs[i].is_sensitive = entries[i].sensitive;
    }
    return true;
}

static bool create_fill(struct broker *b, struct request *r, const struct topic_op *op, struct topic_config *tcs,
                        struct create_topics_response *out)
{
    out->topics = arena_array(&r->arena, (size_t)op->topics_n + 1, sizeof *out->topics);
    if (out->topics == NULL)
        return false;
    out->topics_n = op->topics_n;
    for (int32_t i = 0; i < op->topics_n; i++) {
        const struct topic_op_topic *t = &op->topics[i];
        struct create_out *to = &out->topics[i];

        create_topics_response_creatable_topic_result_init(to);
        to->name = t->name;
        to->error_code = t->error;
        to->error_message = str_of(t->message);
        to->topic_id = t->id;                       /* also when its leaders were not waited for long enough */
        if (t->error != KERR_NONE)
            continue;
        to->num_partitions = t->partitions;
        to->replication_factor = t->replication;
        if (r->version >= 5 && !create_configs_out(b, r, t, &tcs[i], to))
            return false;
    }
    return true;
}

static void create_answer(struct broker *b, struct request *r)
{
    struct topic_op *op = r->state;
    int32_t n = op->topics_n;
    struct topic_config *tcs = calloc((size_t)n + 1, sizeof *tcs);  /* outlives the request: the answer shows it */
    struct create_topics_response out;

    create_topics_response_init(&out);
    if (tcs != NULL && create_fill(b, r, op, tcs, &out))
        API_REPLY(r, create_topics_response, &out);
    else
        request_close(r, "out of memory");
    for (int32_t i = 0; i < n && tcs != NULL; i++)
        if (tcs[i].server != NULL)
            topic_config_fini(&tcs[i]);
    free(tcs);
}

static void create_done(struct topic_op *op)
{
    request_resume(op->arg, create_answer);
}

void api_create_topics(struct broker *b, struct request *r)
{
    struct create_topics_request in;
    struct topic_op *op;
    bool ok = true;

    if (!API_READ(r, create_topics_request, &in))
        return;
    op = op_new(r, TOPIC_OP_CREATE, in.topics_n, in.timeout_ms);
    for (int32_t i = 0; i < in.topics_n && op != NULL && ok; i++)
        ok = create_topic_in(&r->arena, &in.topics[i], &op->topics[i]);
    if (op == NULL || !ok || !refuse_repeated(op, "Found multiple entries for this topic.", false)) {
        request_close(r, "out of memory");
        return;
    }
    op->validate_only = in.validate_only;
    for (int32_t i = 0; i < op->topics_n; i++)
        if (str_is(op->topics[i].name, "__cluster_metadata")) {
            op->topics[i].error = KERR_INVALID_REQUEST;
            op->topics[i].message = "Creation of internal topic __cluster_metadata is prohibited.";
        }
    if (!controller_active(b->controller)) {
        fail_all(op, KERR_NOT_CONTROLLER);
        create_answer(b, r);
        return;
    }
    if (refuse_full(b, op))
        create_answer(b, r);
    else
        hand_over(b, op, create_done);
}

/* ---- CreatePartitions ------------------------------------------------------------------------------------------- */

static bool grow_topic_in(struct arena *a, const struct grow_in *in, struct topic_op_topic *t)
{
    struct topic_op_assignment *assignments = NULL;

    *t = (struct topic_op_topic){ .name = in->name, .partitions = in->count };
    if (in->assignments_n < 0)
        return true;
    assignments = arena_array(a, (size_t)in->assignments_n + 1, sizeof *assignments);
    if (assignments == NULL)
        return false;
    for (int32_t i = 0; i < in->assignments_n; i++)
        assignments[i] = (struct topic_op_assignment){ .brokers = in->assignments[i].broker_ids,
                                                       .brokers_n = in->assignments[i].broker_ids_n };
    t->assignments = assignments;
    t->assignments_n = in->assignments_n;
    return true;
}

static void grow_answer(struct broker *b, struct request *r)
{
    const struct topic_op *op = r->state;
    struct create_partitions_response out;

    (void)b;
    create_partitions_response_init(&out);
    out.results = arena_array(&r->arena, (size_t)op->topics_n + 1, sizeof *out.results);
    if (out.results == NULL) {
        request_close(r, "out of memory");
        return;
    }
    for (int32_t i = 0; i < op->topics_n; i++) {
        struct grow_out *to = &out.results[out.results_n];

        if (op->topics[i].name.p == NULL)
            continue;
        create_partitions_response_create_partitions_topic_result_init(to);
        to->name = op->topics[i].name;
        to->error_code = op->topics[i].error;
        to->error_message = str_of(op->topics[i].message);
        out.results_n++;
    }
    API_REPLY(r, create_partitions_response, &out);
}

static void grow_done(struct topic_op *op)
{
    request_resume(op->arg, grow_answer);
}

void api_create_partitions(struct broker *b, struct request *r)
{
    struct create_partitions_request in;
    struct topic_op *op;
    bool ok = true;

    if (!API_READ(r, create_partitions_request, &in))
        return;
    op = op_new(r, TOPIC_OP_GROW, in.topics_n, in.timeout_ms);
    for (int32_t i = 0; i < in.topics_n && op != NULL && ok; i++)
        ok = grow_topic_in(&r->arena, &in.topics[i], &op->topics[i]);
    if (op == NULL || !ok || !refuse_repeated(op, "Duplicate topic in request.", true)) {
        request_close(r, "out of memory");
        return;
    }
    op->validate_only = in.validate_only;
    if (!controller_active(b->controller)) {
        fail_all(op, KERR_NOT_CONTROLLER);
        grow_answer(b, r);
        return;
    }
    if (refuse_full(b, op))
        grow_answer(b, r);
    else
        hand_over(b, op, grow_done);
}

/* ---- DeleteTopics ----------------------------------------------------------------------------------------------- */

static void delete_answer(struct broker *b, struct request *r)
{
    const struct topic_op *op = r->state;
    struct delete_topics_response out;

    (void)b;
    delete_topics_response_init(&out);
    out.responses = arena_array(&r->arena, (size_t)op->topics_n + 1, sizeof *out.responses);
    if (out.responses == NULL) {
        request_close(r, "out of memory");
        return;
    }
    for (int32_t i = 0; i < op->topics_n; i++) {
        struct delete_out *to = &out.responses[out.responses_n++];

        delete_topics_response_deletable_topic_result_init(to);
        to->name = op->topics[i].name;
        to->topic_id = op->topics[i].id;
        to->error_code = op->topics[i].error;
    }
    API_REPLY(r, delete_topics_response, &out);
}

static void delete_done(struct topic_op *op)
{
    request_resume(op->arg, delete_answer);
}

/* Names of versions before 6, names or ids since. *both: some topic has a name and an id. NULL: out of memory. */
static struct topic_op *delete_op(struct request *r, const struct delete_topics_request *in, bool *both)
{
    int32_t n = r->version >= 6 ? in->topics_n : in->topic_names_n;
    struct topic_op *op = op_new(r, TOPIC_OP_DELETE, n, in->timeout_ms);

    *both = false;
    for (int32_t i = 0; i < n && op != NULL; i++) {
        struct topic_op_topic *t = &op->topics[i];

        if (r->version < 6) {
            t->name = in->topic_names[i];
            continue;
        }
        t->name = in->topics[i].name;
        t->id = in->topics[i].topic_id;
        *both |= t->name.p != NULL && !uuid_is_zero(t->id);
    }
    return op;
}

/* What can be told at once; ids become names. */
static bool delete_resolve(struct broker *b, struct topic_op *op)
{
    struct metadata *md = metadata_get(b->metacache);
    bool ok = true;

    for (int32_t i = 0; i < op->topics_n && ok; i++) {
        struct topic_op_topic *t = &op->topics[i];
        const struct metadata_topic *known = uuid_is_zero(t->id) ? NULL : metadata_topic_by_id(md, t->id);

        if (known != NULL)
            ok = arena_str(op->arena, known->name, &t->name) == OK;
        if (t->name.p == NULL && !uuid_is_zero(t->id))
            t->error = KERR_UNKNOWN_TOPIC_ID;
        else if (t->name.p == NULL)
            t->error = KERR_TOPIC_AUTHORIZATION_FAILED;     /* neither name nor id */
        else if (metadata_topic(md, t->name) == NULL)
            t->error = KERR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    metadata_put(&md);
    return ok;
}

void api_delete_topics(struct broker *b, struct request *r)
{
    struct delete_topics_request in;
    struct topic_op *op;
    bool both;

    if (!API_READ(r, delete_topics_request, &in))
        return;
    op = delete_op(r, &in, &both);
    if (op == NULL || !delete_resolve(b, op)) {
        request_close(r, "out of memory");
        return;
    }
    if (!controller_active(b->controller))
        fail_all(op, KERR_NOT_CONTROLLER);
    else if (!b->cfg->delete_topic_enable)
        fail_all(op, r->version < 3 ? KERR_INVALID_REQUEST : KERR_TOPIC_DELETION_DISABLED);
    else if (both)
        fail_all(op, KERR_INVALID_REQUEST);
    hand_over(b, op, delete_done);                  /* what has an error is left alone */
}
