/* tools/topics/describe.c - kafka-topics.sh --describe. */
#include "tools/topics/topics.h"

#include "proto/gen/describe_configs_request.h"
#include "proto/gen/describe_configs_response.h"
#include "proto/gen/list_partition_reassignments_request.h"
#include "proto/gen/list_partition_reassignments_response.h"
#include "proto/gen/metadata_request.h"
#include "proto/gen/metadata_response.h"
#include "proto/kerr.h"

#include <stdio.h>
#include <stdlib.h>

#define CONFIGS_AT_ONCE 200             /* topics in one DescribeConfigs request */
#define RESOURCE_TOPIC  2
#define SOURCE_DEFAULT  5               /* DescribeConfigs: neither the topic's nor the broker's */

CLIENT_API(describe_configs, API_DESCRIBE_CONFIGS);
CLIENT_API(list_partition_reassignments, API_LIST_PARTITION_REASSIGNMENTS);

/* The generated names are long. */
#define meta_topic    metadata_response_metadata_response_topic
#define meta_part     metadata_response_metadata_response_partition
#define topic_configs describe_configs_response_describe_configs_result
#define topic_config  describe_configs_response_describe_configs_resource_result
#define moving_topic  list_partition_reassignments_response_ongoing_topic_reassignment
#define moving        list_partition_reassignments_response_ongoing_partition_reassignment

/* Which partitions to show, and whether the topic line and the partition lines are wanted at all. */
struct view {
    bool unavailable, under_replicated, under_min_isr, at_min_isr, overridden;
    bool topic_lines, partition_lines;
};

struct cluster {
    struct metadata_response                     meta;
    struct list_partition_reassignments_response under_way;
};

static void view_init(struct view *v, const struct options *o)
{
    v->unavailable = options_has(o, T_UNAVAILABLE);
    v->under_replicated = options_has(o, T_UNDER_REPLICATED);
    v->under_min_isr = options_has(o, T_UNDER_MIN_ISR);
    v->at_min_isr = options_has(o, T_AT_MIN_ISR);
    v->overridden = options_has(o, T_WITH_OVERRIDES);
    v->topic_lines = !v->unavailable && !v->under_replicated && !v->under_min_isr && !v->at_min_isr;
    v->partition_lines = !v->overridden;
}

/* ---- what a partition is like ---- */

static bool is_among(int32_t id, const int32_t *v, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        if (v[i] == id)
            return true;
    }
    return false;
}

static bool has_leader(const struct cluster *c, const struct meta_part *p)
{
    for (int32_t i = 0; p->leader_id >= 0 && i < c->meta.brokers_n; i++) {
        if (c->meta.brokers[i].node_id == p->leader_id)
            return true;
    }
    return false;
}

/* The reassignment of a partition, NULL when there is none. */
static const struct moving *moving_of(const struct cluster *c, struct str name, int32_t partition)
{
    for (int32_t i = 0; i < c->under_way.topics_n; i++) {
        const struct moving_topic *t = &c->under_way.topics[i];
        for (int32_t k = 0; str_eq(t->name, name) && k < t->partitions_n; k++) {
            if (t->partitions[k].partition_index == partition)
                return &t->partitions[k];
        }
    }
    return NULL;
}

/* What the replication factor will be when a reassignment that is under way is done. */
static int32_t replication_factor(const struct meta_part *p, const struct moving *m)
{
    for (int32_t i = 0; m != NULL && i < p->replica_nodes_n; i++) {
        if (is_among(p->replica_nodes[i], m->adding_replicas, m->adding_replicas_n) ||
            is_among(p->replica_nodes[i], m->removing_replicas, m->removing_replicas_n))
            return m->replicas_n - m->adding_replicas_n;
    }
    return p->replica_nodes_n;
}

static bool is_shown(const struct view *v, const struct cluster *c, const struct meta_part *p, const struct moving *m,
                     int32_t min_isr)
{
    return v->topic_lines || (v->under_replicated && replication_factor(p, m) > p->isr_nodes_n) ||
           (v->unavailable && !has_leader(c, p)) ||
           (v->under_min_isr && (!has_leader(c, p) || p->isr_nodes_n < min_isr)) ||
           (v->at_min_isr && p->isr_nodes_n == min_isr);
}

/* ---- printing ---- */

static void print_ids(const char *name, const int32_t *v, int32_t n)
{
    printf("\t%s: ", name);
    for (int32_t i = 0; i < n; i++)
        printf("%s%d", i > 0 ? "," : "", v[i]);
}

static void print_partition(const struct cluster *c, struct str name, const struct meta_part *p,
                            const struct moving *m)
{
    printf("\tTopic: %.*s\tPartition: %d\tLeader: ", STR_ARG(name), p->partition_index);
    if (has_leader(c, p))
        printf("%d", p->leader_id);
    else
        fputs("none", stdout);
    print_ids("Replicas", p->replica_nodes, p->replica_nodes_n);
    print_ids("Isr", p->isr_nodes, p->isr_nodes_n);
    if (m != NULL) {
        print_ids("Adding Replicas", m->adding_replicas, m->adding_replicas_n);
        print_ids("Removing Replicas", m->removing_replicas, m->removing_replicas_n);
    }
    puts("\tElr: N/A\tLastKnownElr: N/A");
}

static bool is_default(const struct topic_config *e)
{
    return e->config_source == -1 ? e->is_default : e->config_source == SOURCE_DEFAULT;
}

static void print_topic(const struct meta_topic *t, const struct topic_configs *conf, int32_t replication)
{
    char        id[UUID_TEXT_LEN + 1];
    const char *comma = "";

    printf("Topic: %.*s", STR_ARG(t->name));
    if (!uuid_is_zero(t->topic_id)) {
        uuid_text(t->topic_id, id);
        printf("\tTopicId: %s", id);
    }
    printf("\tPartitionCount: %d\tReplicationFactor: %d\tConfigs: ", t->partitions_n, replication);
    for (int32_t i = 0; i < conf->configs_n; i++) {
        if (is_default(&conf->configs[i]))
            continue;
        printf("%s%.*s=", comma, STR_ARG(conf->configs[i].name));
        if (conf->configs[i].value.p == NULL)
            fputs("null", stdout);
        else
            printf("%.*s", STR_ARG(conf->configs[i].value));
        comma = ",";
    }
    putchar('\n');
}

static int32_t min_isr_of(const struct topic_configs *conf)
{
    for (int32_t i = 0; i < conf->configs_n; i++) {
        char    text[16];
        int64_t v;

        snprintf(text, sizeof text, "%.*s", STR_ARG(conf->configs[i].value));
        if (str_is(conf->configs[i].name, "min.insync.replicas") && parse_i64(text, 0, INT32_MAX, &v) == OK)
            return (int32_t)v;
    }
    return 1;
}

static void show_topic(const struct view *v, const struct cluster *c, const struct meta_topic *t,
                       const struct topic_configs *conf)
{
    bool    overridden = false;
    int32_t min_isr = min_isr_of(conf);

    for (int32_t i = 0; i < conf->configs_n && !overridden; i++)
        overridden = !is_default(&conf->configs[i]);
    if (v->topic_lines && t->partitions_n > 0 && (!v->overridden || overridden))
        print_topic(t, conf, replication_factor(&t->partitions[0],
                                                moving_of(c, t->name, t->partitions[0].partition_index)));
    for (int32_t i = 0; v->partition_lines && i < t->partitions_n; i++) {
        const struct meta_part *p = &t->partitions[i];
        const struct moving    *m = moving_of(c, t->name, p->partition_index);

        if (is_shown(v, c, p, m, min_isr))
            print_partition(c, t->name, p, m);
    }
}

/* ---- asking ---- */

static int partition_compare(const void *pa, const void *pb)
{
    const struct meta_part *a = pa, *b = pb;

    return (a->partition_index > b->partition_index) - (a->partition_index < b->partition_index);
}

static int topic_compare(const void *pa, const void *pb)
{
    return str_cmp(((const struct meta_topic *)pa)->name, ((const struct meta_topic *)pb)->name);
}

/* Sorts topics and partitions; a topic that has an error is one for the whole command. */
static int meta_settle(struct admin *a, struct metadata_response *r)
{
    for (int32_t i = 0; i < r->topics_n; i++) {
        struct meta_topic *t = &r->topics[i];
        if (t->error_code != KERR_NONE)
            return admin_fail_kafka(a, t->error_code, (struct str){ NULL, 0 });
        if (t->partitions_n > 1)
            qsort(t->partitions, (size_t)t->partitions_n, sizeof *t->partitions, partition_compare);
    }
    if (r->topics_n > 1)
        qsort(r->topics, (size_t)r->topics_n, sizeof *r->topics, topic_compare);
    return OK;
}

static int ask_topics(struct admin *a, const struct topic_names *names, const struct uuid *id,
                      struct metadata_response *out)
{
    struct metadata_request q;
    size_t                  n = id != NULL ? 1 : names->n;

    metadata_request_init(&q);
    q.allow_auto_topic_creation = false;
    q.topics_n = (int32_t)n;
    q.topics = arena_array(&a->arena, n + 1, sizeof *q.topics);
    if (q.topics == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    if (id != NULL)
        q.topics[0].topic_id = *id;
    for (size_t i = 0; id == NULL && i < n; i++)
        q.topics[i].name = names->v[i];
    client_doing(a->client, "describeTopics");
    TRY(admin_metadata(a, &q, out));
    return meta_settle(a, out);
}

/* A broker that has no reassignments to tell of has none under way. */
static int ask_moving(struct admin *a, struct list_partition_reassignments_response *out)
{
    struct list_partition_reassignments_request q;
    int16_t                                     version;

    memset(out, 0, sizeof *out);
    if (client_api_version(a->client, CLIENT_CONTROLLER, API_LIST_PARTITION_REASSIGNMENTS, &version) != OK)
        return OK;
    list_partition_reassignments_request_init(&q);
    q.topics = NULL;
    q.topics_n = -1;
    q.timeout_ms = 30000;
    client_doing(a->client, "listPartitionReassignments");
    TRY(admin_call(a, CLIENT_CONTROLLER, &client_list_partition_reassignments, &q, out));
    if (out->error_code != KERR_NONE) {
        int16_t kerr = out->error_code;
        memset(out, 0, sizeof *out);
        if (kerr != KERR_CLUSTER_AUTHORIZATION_FAILED && kerr != KERR_UNSUPPORTED_VERSION)
            return admin_fail_kafka(a, kerr, (struct str){ NULL, 0 });
    }
    return OK;
}

static const struct topic_configs *configs_of(const struct describe_configs_response *r, struct str name)
{
    for (int32_t i = 0; i < r->results_n; i++) {
        if (str_eq(r->results[i].resource_name, name))
            return &r->results[i];
    }
    return NULL;
}

/* Asks for the configurations of topics [from, to) and shows these topics; their memory is given back after. */
static int show_some(struct admin *a, const struct view *v, const struct cluster *c, int32_t from, int32_t to,
                     struct arena *some)
{
    struct describe_configs_request  q;
    struct describe_configs_response r;
    int                              rc;

    describe_configs_request_init(&q);
    q.resources_n = to - from;
    q.resources = arena_array(some, (size_t)(to - from) + 1, sizeof *q.resources);
    if (q.resources == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    for (int32_t i = from; i < to; i++) {
        q.resources[i - from].resource_type = RESOURCE_TOPIC;
        q.resources[i - from].resource_name = c->meta.topics[i].name;
        q.resources[i - from].configuration_keys_n = -1;
    }
    client_doing(a->client, "describeConfigs");
    rc = client_call(a->client, CLIENT_ANY, &client_describe_configs, &q, some, &r);
    if (rc != OK)
        return admin_fail(a, rc, "%s", client_error(a->client));
    for (int32_t i = from; i < to; i++) {
        const struct topic_configs *conf = configs_of(&r, c->meta.topics[i].name);

        if (conf == NULL)
            return admin_fail(a, ERR_CORRUPT, "The broker gave no configuration for topic %.*s",
                              STR_ARG(c->meta.topics[i].name));
        if (conf->error_code != KERR_NONE)
            return admin_fail_kafka(a, conf->error_code, conf->error_message);
        show_topic(v, c, &c->meta.topics[i], conf);
    }
    return OK;
}

static int show_all(struct admin *a, const struct view *v, const struct cluster *c)
{
    struct arena some;
    int          rc = OK;

    arena_init(&some, (size_t)1 << 30);
    for (int32_t from = 0; from < c->meta.topics_n && rc == OK; from += CONFIGS_AT_ONCE) {
        int32_t to = c->meta.topics_n - from > CONFIGS_AT_ONCE ? from + CONFIGS_AT_ONCE : c->meta.topics_n;
        rc = show_some(a, v, c, from, to, &some);
        arena_reset(&some);
    }
    arena_fini(&some);
    return rc;
}

/* --topic-id: *found says whether a topic has it. A zero id means that --topic counts. */
static int find_by_id(struct admin *a, const struct options *o, struct uuid *id, bool *found)
{
    struct metadata_response r;

    *found = false;
    if (uuid_parse(str_of(options_str(o, T_TOPIC_ID)), id) != OK)
        return admin_fail(a, ERR_INVALID, "'%s' is no topic id", options_str(o, T_TOPIC_ID));
    if (uuid_is_zero(*id))
        return OK;
    client_doing(a->client, "listTopics");
    TRY(admin_metadata(a, NULL, &r));
    for (int32_t i = 0; i < r.topics_n && !*found; i++)
        *found = uuid_eq(r.topics[i].topic_id, *id) &&
                 !(r.topics[i].is_internal && options_has(o, T_EXCLUDE_INTERNAL));
    if (!*found && !options_has(o, T_IF_EXISTS))
        return admin_fail(a, ERR_NOENT, "TopicId '%s' does not exist as expected", options_str(o, T_TOPIC_ID));
    return OK;
}

int topics_describe(struct admin *a, struct options *o)
{
    struct topic_names names = { NULL, 0 };
    struct cluster     c;
    struct view        v;
    struct uuid        id = { { 0 } };
    bool               by_id = false;
    int32_t            limit;

    if (options_i32(o, T_SIZE_LIMIT, &limit) == ERR_INVALID)
        return admin_fail(a, ERR_INVALID, "%s", o->error);
    if (options_has(o, T_TOPIC_ID))
        TRY(find_by_id(a, o, &id, &by_id));
    if (uuid_is_zero(id))
        TRY(topics_chosen(a, o, !options_has(o, T_IF_EXISTS), &names));
    if (!by_id && names.n == 0)
        return OK;
    TRY(ask_topics(a, &names, by_id ? &id : NULL, &c.meta));
    TRY(ask_moving(a, &c.under_way));
    view_init(&v, o);
    return show_all(a, &v, &c);
}
