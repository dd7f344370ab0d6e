/* tools/consumer_groups/state.c - what coordinators say of groups: state, members with their partitions, committed
 * offsets. */
#include "tools/consumer_groups/consumer_groups.h"

#include "proto/gen/consumer_group_describe_request.h"
#include "proto/gen/consumer_group_describe_response.h"
#include "proto/gen/consumer_protocol_assignment.h"
#include "proto/gen/describe_groups_request.h"
#include "proto/gen/describe_groups_response.h"
#include "proto/gen/offset_fetch_request.h"
#include "proto/gen/offset_fetch_response.h"
#include "proto/kerr.h"
#include "tools/consumer_groups/jvm.h"

#include <stdlib.h>
#include <strings.h>

#define ASSIGNMENT_VERSION_MAX 3

CLIENT_API(consumer_group_describe, API_CONSUMER_GROUP_DESCRIBE);
CLIENT_API(describe_groups, API_DESCRIBE_GROUPS);
CLIENT_API(offset_fetch, API_OFFSET_FETCH);

static const char *const states[GS_N] = {
    [GS_UNKNOWN] = "Unknown", [GS_PREPARING] = "PreparingRebalance", [GS_COMPLETING] = "CompletingRebalance",
    [GS_STABLE] = "Stable", [GS_DEAD] = "Dead", [GS_EMPTY] = "Empty", [GS_ASSIGNING] = "Assigning",
    [GS_RECONCILING] = "Reconciling",
};

const char *gs_name(enum group_state s)
{
    return states[s];
}

enum group_state group_state_parse(struct str name)
{
    for (enum group_state s = GS_UNKNOWN + 1; s < GS_N; s++) {
        if (name.len == strlen(states[s]) && strncasecmp(name.p, states[s], name.len) == 0)
            return s;
    }
    return GS_UNKNOWN;
}

/* ---- DescribeGroups, and ConsumerGroupDescribe for groups of the newer protocol ---- */

static int ask_classic(struct cg *cg, int32_t broker, struct group_job *const *v, size_t n)
{
    struct describe_groups_request  q;
    struct describe_groups_response r;

    describe_groups_request_init(&q);
    q.klamm_include_history = options_has(cg->o, CG_HISTORY);
    TRY(cg_array(cg, n, sizeof *q.groups, &q.groups));
    for (size_t i = 0; i < n; i++)
        q.groups[q.groups_n++] = v[i]->group;
    TRY(admin_call(&cg->a, broker, &client_describe_groups, &q, &r));
    for (int32_t i = 0; i < r.groups_n; i++) {
        struct group_job *job = group_job_find(v, n, r.groups[i].group_id);

        if (job == NULL)
            continue;
        ((struct group_info *)job->of)->answer = &r.groups[i];
        group_job_answer(job, r.groups[i].error_code, NULL);
    }
    return OK;
}

/* A group that is none of the newer protocol is left to DescribeGroups. */
static int ask_newer(struct cg *cg, int32_t broker, struct group_job *const *v, size_t n)
{
    struct consumer_group_describe_request  q;
    struct consumer_group_describe_response r;

    consumer_group_describe_request_init(&q);
    TRY(cg_array(cg, n, sizeof *q.group_ids, &q.group_ids));
    for (size_t i = 0; i < n; i++)
        q.group_ids[q.group_ids_n++] = v[i]->group;
    TRY(admin_call(&cg->a, broker, &client_consumer_group_describe, &q, &r));
    for (int32_t i = 0; i < r.groups_n; i++) {
        const struct consumer_group_describe_response_described_group *d = &r.groups[i];
        struct group_job  *job = group_job_find(v, n, d->group_id);
        struct group_info *g = job != NULL ? job->of : NULL;

        if (job == NULL)
            continue;
        g->classic = d->error_code == KERR_GROUP_ID_NOT_FOUND || d->error_code == KERR_UNSUPPORTED_VERSION;
        if (g->classic)
            continue;
        g->newer = d;
        group_job_answer(job, d->error_code, d->error_message.len > 0 ?
                         arena_printf(&cg->a.arena, "%.*s", STR_ARG(d->error_message)) : NULL);
    }
    return OK;
}

static int ask_describe(struct cg *cg, int32_t broker, struct group_job *const *v, size_t n)
{
    struct group_job **some;
    int16_t            version;
    size_t             k = 0;
    bool knows = client_api_version(cg->a.client, broker, API_CONSUMER_GROUP_DESCRIBE, &version) == OK;

    TRY(cg_array(cg, n, sizeof(struct group_job *), &some));
    for (size_t i = 0; i < n; i++) {
        struct group_info *g = v[i]->of;

        g->classic = g->classic || !knows;
        if (!g->classic)
            some[k++] = v[i];
    }
    if (k > 0)
        TRY(ask_newer(cg, broker, some, k));
    k = 0;
    for (size_t i = 0; i < n; i++) {
        if (((const struct group_info *)v[i]->of)->classic)
            some[k++] = v[i];
    }
    return k > 0 ? ask_classic(cg, broker, some, k) : OK;
}

/* Keeps the first of equal ones, and the order of the others. */
static int tps_unique(struct cg *cg, struct tp *v, size_t *n)
{
    struct tp *sorted;
    bool       twice = false;
    size_t     kept = 0;

    if (*n < 2)
        return OK;
    TRY(cg_array(cg, *n, sizeof *sorted, &sorted));
    memcpy(sorted, v, *n * sizeof *v);
    qsort(sorted, *n, sizeof *sorted, tp_compare);
    for (size_t i = 1; i < *n; i++)
        twice = twice || tp_compare(&sorted[i - 1], &sorted[i]) == 0;
    if (!twice)
        return OK;
    for (size_t i = 0; i < *n; i++) {               /* rare, and an assignment is small */
        size_t k = 0;

        while (k < kept && tp_compare(&v[k], &v[i]) != 0)
            k++;
        if (k == kept)
            v[kept++] = v[i];
    }
    *n = kept;
    return OK;
}

/* What a set made of n elements is made for. */
static size_t set_room(size_t n)
{
    return n * 4 / 3 + 1 > JVM_ROOM ? n * 4 / 3 + 1 : JVM_ROOM;
}

/* The partitions in a member's assignment, which is what the leader of the group wrote: version, topics, user data. */
static int assignment_read(struct cg *cg, struct bytes b, struct group_member *m)
{
    struct cursor                       c = cur_ro(b.p, b.len);
    int16_t                             version = cur_i16(&c);
    struct consumer_protocol_assignment x;
    size_t                              n = 0;
    int                                 rc = c.rc;

    if (b.len == 0)
        return OK;
    if (rc == OK && version < 0)
        rc = ERR_UNSUPPORTED;
    if (rc == OK)
        rc = consumer_protocol_assignment_read(&c, version > ASSIGNMENT_VERSION_MAX ? ASSIGNMENT_VERSION_MAX : version,
                                               &cg->a.arena, &x);
    if (rc != OK)
        return admin_fail(&cg->a, rc, "org.apache.kafka.common.protocol.types.SchemaException: The assignment of "
                          "member %.*s cannot be read: %s", STR_ARG(m->id), err_text(rc));
    for (int32_t i = 0; i < x.assigned_partitions_n; i++)
        n += (size_t)(x.assigned_partitions[i].partitions_n > 0 ? x.assigned_partitions[i].partitions_n : 0);
    TRY(cg_array(cg, n, sizeof *m->assigned, &m->assigned));
    for (int32_t i = 0; i < x.assigned_partitions_n; i++) {
        for (int32_t k = 0; k < x.assigned_partitions[i].partitions_n; k++)
            m->assigned[m->assigned_n++] = (struct tp){ x.assigned_partitions[i].topic,
                                                        x.assigned_partitions[i].partitions[k] };
    }
    n = m->assigned_n;
    TRY(tps_unique(cg, m->assigned, &m->assigned_n));
    /* Apache Kafka's client makes a set of the list, and a set of the set. */
    TRY(cg_order(cg, m->assigned, m->assigned_n, sizeof *m->assigned, set_room(n), tp_hash));
    TRY(cg_order(cg, m->assigned, m->assigned_n, sizeof *m->assigned, set_room(m->assigned_n), tp_hash));
    return OK;
}

static int newer_member_read(struct cg *cg, const struct consumer_group_describe_response_member *in,
                             struct group_member *m)
{
    const struct consumer_group_describe_response_assignment *x = &in->assignment;
    size_t n = 0;

    *m = (struct group_member){ .id = in->member_id, .instance = in->instance_id, .client = in->client_id,
                                .host = in->client_host };
    for (int32_t i = 0; i < x->topic_partitions_n; i++)
        n += (size_t)(x->topic_partitions[i].partitions_n > 0 ? x->topic_partitions[i].partitions_n : 0);
    TRY(cg_array(cg, n, sizeof *m->assigned, &m->assigned));
    for (int32_t i = 0; i < x->topic_partitions_n; i++) {
        for (int32_t k = 0; k < x->topic_partitions[i].partitions_n; k++)
            m->assigned[m->assigned_n++] = (struct tp){ x->topic_partitions[i].topic_name,
                                                        x->topic_partitions[i].partitions[k] };
    }
    TRY(tps_unique(cg, m->assigned, &m->assigned_n));
    TRY(cg_order(cg, m->assigned, m->assigned_n, sizeof *m->assigned, JVM_ROOM, tp_hash));
    return cg_order(cg, m->assigned, m->assigned_n, sizeof *m->assigned, set_room(m->assigned_n), tp_hash);
}

static int newer_group_read(struct cg *cg, struct group_info *g)
{
    g->state = group_state_parse(g->newer->group_state);
    g->assignor = g->newer->assignor_name;
    g->members_n = (size_t)(g->newer->members_n > 0 ? g->newer->members_n : 0);
    TRY(cg_array(cg, g->members_n, sizeof *g->members, &g->members));
    for (size_t i = 0; i < g->members_n; i++)
        TRY(newer_member_read(cg, &g->newer->members[i], &g->members[i]));
    return OK;
}

int group_read(struct cg *cg, struct group_info *g, int wraps)
{
    const struct describe_groups_response_described_group *d = g->answer;

    if (g->job->kerr != KERR_NONE)
        return cg_fail_kafka(cg, wraps, g->job->kerr, g->job->message);
    if (g->newer != NULL)
        return newer_group_read(cg, g);
    if (d->protocol_type.len > 0 && !str_is(d->protocol_type, "consumer"))
        return admin_fail(&cg->a, ERR_INVALID, "%sjava.lang.IllegalArgumentException: GroupId %.*s is not a consumer "
                          "group (%.*s).", wraps > 0 ? "java.util.concurrent.ExecutionException: " : "",
                          STR_ARG(g->name), STR_ARG(d->protocol_type));
    g->state = group_state_parse(d->group_state);
    g->assignor = d->protocol_data;
    g->members_n = (size_t)(d->members_n > 0 ? d->members_n : 0);
    TRY(cg_array(cg, g->members_n, sizeof *g->members, &g->members));
    for (size_t i = 0; i < g->members_n; i++) {
        const struct describe_groups_response_described_group_member *m = &d->members[i];

        g->members[i] = (struct group_member){ .id = m->member_id, .instance = m->group_instance_id,
                                               .client = m->client_id, .host = m->client_host };
        TRY(assignment_read(cg, m->member_assignment, &g->members[i]));
    }
    return OK;
}

int groups_describe(struct cg *cg, const struct strs *names, int wraps, struct group_info **out)
{
    struct group_job *jobs;
    int               rc;

    TRY(cg_array(cg, names->n, sizeof **out, out));
    TRY(cg_array(cg, names->n, sizeof *jobs, &jobs));
    for (size_t i = 0; i < names->n; i++) {
        (*out)[i] = (struct group_info){ .name = names->v[i], .job = &jobs[i] };
        jobs[i] = (struct group_job){ .group = names->v[i], .coordinator = -1, .of = &(*out)[i] };
    }
    rc = group_jobs_run(cg, "describeConsumerGroups", jobs, names->n, ask_describe);
    if (rc != OK)
        return cg_fail_call(cg, wraps, rc);
    return OK;
}

/* ---- OffsetFetch ---- */

static int committed_compare(const void *pa, const void *pb)
{
    return tp_compare(&((const struct committed *)pa)->tp, &((const struct committed *)pb)->tp);
}

static void committed_add(struct group_info *g, struct str topic, int32_t partition, int64_t offset, int16_t kerr)
{
    if (kerr != KERR_NONE)
        cg_say("WARN Skipping return offset for %.*s-%d due to error %s.", STR_ARG(topic), partition,
               kerr_name(kerr));
    else
        g->committed[g->committed_n++] = (struct committed){ { topic, partition }, offset < 0 ? -1 : offset };
}

/* The answer in the form of version 8 on, or of the versions before. */
static int committed_read(struct cg *cg, struct group_info *g, const struct offset_fetch_response *r)
{
    size_t cap = 0;

    for (int32_t i = 0; i < r->topics_n; i++)
        cap += (size_t)r->topics[i].partitions_n;
    for (int32_t i = 0; r->groups_n > 0 && i < r->groups[0].topics_n; i++)
        cap += (size_t)r->groups[0].topics[i].partitions_n;
    g->committed_n = 0;
    TRY(cg_array(cg, cap, sizeof *g->committed, &g->committed));
    for (int32_t i = 0; i < r->topics_n; i++) {
        for (int32_t k = 0; k < r->topics[i].partitions_n; k++) {
            __typeof__(r->topics[i].partitions) p = &r->topics[i].partitions[k];
            committed_add(g, r->topics[i].name, p->partition_index, p->committed_offset, p->error_code);
        }
    }
    for (int32_t i = 0; r->groups_n > 0 && i < r->groups[0].topics_n; i++) {
        __typeof__(r->groups[0].topics) t = &r->groups[0].topics[i];

        for (int32_t k = 0; k < t->partitions_n; k++)
            committed_add(g, t->name, t->partitions[k].partition_index, t->partitions[k].committed_offset,
                          t->partitions[k].error_code);
    }
    TRY(cg_array(cg, g->committed_n, sizeof *g->committed_in_order, &g->committed_in_order));
    memcpy(g->committed_in_order, g->committed, g->committed_n * sizeof *g->committed);
    TRY(cg_order(cg, g->committed_in_order, g->committed_n, sizeof *g->committed, JVM_ROOM, tp_hash));
    if (g->committed_n > 1)
        qsort(g->committed, g->committed_n, sizeof *g->committed, committed_compare);
    return OK;
}

static int fetch_one(struct cg *cg, int32_t broker, int16_t version, struct group_job *job)
{
    struct offset_fetch_request_offset_fetch_request_group group;
    struct offset_fetch_request                            q;
    struct offset_fetch_response                           r;

    if (version < 2) {
        group_job_answer(job, KERR_UNSUPPORTED_VERSION,
                         arena_printf(&cg->a.arena, "The broker only supports OffsetFetchRequest v%d, but we need "
                                      "v2 or newer to request all topic partitions.", version));
        return OK;
    }
    offset_fetch_request_init(&q);
    if (version >= 8) {
        offset_fetch_request_offset_fetch_request_group_init(&group);
        group.group_id = job->group;
        group.topics_n = -1;                        /* all */
        q.groups = &group;
        q.groups_n = 1;
    } else {
        q.group_id = job->group;
        q.topics_n = -1;
    }
    TRY(admin_call(&cg->a, broker, &client_offset_fetch, &q, &r));
    if (version >= 8 && (r.groups_n < 1 || !str_eq(r.groups[0].group_id, job->group)))
        return OK;                                  /* no answer */
    group_job_answer(job, version >= 8 ? r.groups[0].error_code : r.error_code, NULL);
    return job->kerr == KERR_NONE ? committed_read(cg, job->of, &r) : OK;
}

static int ask_committed(struct cg *cg, int32_t broker, struct group_job *const *v, size_t n)
{
    int16_t version;
    int     rc = client_api_version(cg->a.client, broker, API_OFFSET_FETCH, &version);

    if (rc != OK)
        return admin_fail(&cg->a, rc, "%s", client_error(cg->a.client));
    for (size_t i = 0; i < n; i++)
        TRY(fetch_one(cg, broker, version, v[i]));
    return OK;
}

int groups_committed(struct cg *cg, struct group_info *v, size_t n)
{
    struct group_job *jobs;
    int               rc;

    TRY(cg_array(cg, n, sizeof *jobs, &jobs));
    for (size_t i = 0; i < n; i++)
        jobs[i] = (struct group_job){ .group = v[i].name, .coordinator = v[i].job->coordinator, .of = &v[i] };
    rc = group_jobs_run(cg, "offsetFetch", jobs, n, ask_committed);
    if (rc != OK)
        return cg_fail_call(cg, 1, rc);
    for (size_t i = 0; i < n; i++) {
        if (jobs[i].kerr != KERR_NONE)
            return cg_fail_kafka(cg, 1, jobs[i].kerr, jobs[i].message);
    }
    return OK;
}

const struct committed *group_committed(const struct group_info *g, const struct tp *tp)
{
    struct committed key = { *tp, 0 };

    return g->committed_n > 0 ? bsearch(&key, g->committed, g->committed_n, sizeof key, committed_compare) : NULL;
}
