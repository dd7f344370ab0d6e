/* broker/api/elect_leaders.c - ElectLeaders: handed over to the controller and parked until it answers.
 *
 * A null list means every partition that this broker knows of; then those that need no election are left out of the
 * answer. A broker that is not the controller says so for each partition: version 0 has no other place for it.
 */
#include "broker/api/asked.h"
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/controller/ask.h"
#include "proto/gen/elect_leaders_request.h"
#include "proto/gen/elect_leaders_response.h"
#include "proto/kerr.h"

#define topic_in  elect_leaders_request_topic_partitions
#define topic_out elect_leaders_response_replica_election_result
#define part_out  elect_leaders_response_partition_result

struct elect {
    struct controller_ask         ask;
    struct elect_leaders_request  in;
    struct elect_leaders_response out;
    bool                          all;
};

/* ---- the request ---- */

static int add_topic(struct arena *a, const struct metadata_topic *t, struct topic_in *out)
{
    elect_leaders_request_topic_partitions_init(out);
    out->partitions = arena_array(a, (size_t)t->partitions_n + 1, sizeof *out->partitions);
    if (out->partitions == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < t->partitions_n; i++)
        out->partitions[out->partitions_n++] = t->partitions[i].index;
    return arena_str(a, t->name, &out->topic);
}

static int name_all(struct arena *a, const struct metadata *md, struct elect_leaders_request *in)
{
    const struct metadata_topic *t;
    size_t pos = 0;

    in->topic_partitions_n = 0;                     /* was -1 */
    in->topic_partitions = arena_array(a, metadata_topics_n(md) + 1, sizeof *in->topic_partitions);
    if (in->topic_partitions == NULL)
        return ERR_NOMEM;
    while ((t = metadata_next_topic(md, &pos)) != NULL)
        TRY(add_topic(a, t, &in->topic_partitions[in->topic_partitions_n++]));
    return OK;
}

/* Every partition is answered once. */
static const struct asked_shape shape = {
    sizeof(struct topic_in), offsetof(struct topic_in, topic), offsetof(struct topic_in, partitions),
    offsetof(struct topic_in, partitions_n), sizeof(int32_t), 0,
};

/* ---- the answer ---- */

/* message NULL: none. */
static int refuse_each(struct arena *a, struct elect *e, int16_t error, const char *message)
{
    elect_leaders_response_init(&e->out);
    e->out.replica_election_results = arena_array(a, (size_t)e->in.topic_partitions_n + 1,
                                                  sizeof *e->out.replica_election_results);
    if (e->out.replica_election_results == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < e->in.topic_partitions_n; i++) {
        const struct topic_in *t = &e->in.topic_partitions[i];
        struct topic_out *to = &e->out.replica_election_results[e->out.replica_election_results_n++];

        elect_leaders_response_replica_election_result_init(to);
        to->topic = t->topic;
        to->partition_result = arena_array(a, (size_t)t->partitions_n + 1, sizeof *to->partition_result);
        if (to->partition_result == NULL)
            return ERR_NOMEM;
        for (int32_t k = 0; k < t->partitions_n; k++) {
            struct part_out *po = &to->partition_result[to->partition_result_n++];

            elect_leaders_response_partition_result_init(po);
            po->partition_id = t->partitions[k];
            po->error_code = error;
            if (message != NULL)
                po->error_message = str_of(message);
        }
    }
    return OK;
}

static void leave_out_needless(struct elect_leaders_response *out)
{
    int32_t topics = 0;

    for (int32_t i = 0; i < out->replica_election_results_n; i++) {
        struct topic_out *t = &out->replica_election_results[i];
        int32_t kept = 0;

        for (int32_t k = 0; k < t->partition_result_n; k++)
            if (t->partition_result[k].error_code != KERR_ELECTION_NOT_NEEDED)
                t->partition_result[kept++] = t->partition_result[k];
        t->partition_result_n = kept;
        if (kept > 0)
            out->replica_election_results[topics++] = *t;
    }
    out->replica_election_results_n = topics;
}

static void elect_done(struct controller_ask *ask)
{
    struct request *r = ask->arg;
    struct elect *e = (struct elect *)ask;
    int rc = ask->rc;

    if (rc == OK && e->out.error_code == KERR_NOT_CONTROLLER)
        rc = refuse_each(&r->arena, e, KERR_NOT_CONTROLLER, NULL);
    if (rc != OK) {
        request_close(r, err_text(rc));
        return;
    }
    if (e->all)
        leave_out_needless(&e->out);
    API_REPLY(r, elect_leaders_response, &e->out);
}

/* Neither preferred (0) nor unclean (1). */
static void refuse_type(struct request *r, struct elect *e)
{
    if (refuse_each(&r->arena, e, KERR_UNKNOWN_SERVER_ERROR, kerr_message(KERR_UNKNOWN_SERVER_ERROR)) != OK) {
        request_close(r, "out of memory");
        return;
    }
    e->out.error_code = KERR_UNKNOWN_SERVER_ERROR;
    API_REPLY(r, elect_leaders_response, &e->out);
}

void api_elect_leaders(struct broker *b, struct request *r)
{
    struct elect *e = arena_zalloc(&r->arena, sizeof *e);
    int rc = OK;

    if (e == NULL) {
        request_close(r, "out of memory");
        return;
    }
    if (!API_READ(r, elect_leaders_request, &e->in))
        return;
    if (r->version > 0 && e->in.election_type != 0 && e->in.election_type != 1) {
        refuse_type(r, e);
        return;
    }
    e->all = e->in.topic_partitions_n < 0;
    if (e->all) {
        struct metadata *md = metadata_get(b->metacache);

        rc = name_all(&r->arena, md, &e->in);
        metadata_put(&md);
    } else {
        rc = asked_once(&r->arena, &shape, e->in.topic_partitions, &e->in.topic_partitions_n);
    }
    if (rc != OK) {
        request_close(r, "out of memory");
        return;
    }
    elect_leaders_response_init(&e->out);
    e->ask = (struct controller_ask){ .kind = ASK_ELECT_LEADERS, .version = r->version, .req = &e->in, .resp = &e->out,
                                      .arena = &r->arena, .done = elect_done, .arg = r };
    controller_ask(b->controller, &e->ask);
}
