/* broker/api/producers.c - InitProducerId and DescribeProducers. */
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "broker/cluster/metadata_cache.h"
#include "metadata/topic_name.h"
#include "broker/replica/partition.h"
#include "broker/replica/replicas.h"
#include "broker/txn/producer_ids.h"
#include "proto/gen/describe_producers_request.h"
#include "proto/gen/describe_producers_response.h"
#include "proto/gen/init_producer_id_request.h"
#include "proto/gen/init_producer_id_response.h"
#include "proto/kerr.h"

/* ---- InitProducerId ---------------------------------------------------------------------------------------------- */

/* In the request's arena while an id is fetched. */
struct init {
    struct producer_id_waiter waiter;   /* first */
    struct request           *r;
    int                       rc;
    int64_t                   id;
};

static void init_answer(struct request *r, int16_t kerr, int64_t id)
{
    struct init_producer_id_response out;

    init_producer_id_response_init(&out);
    out.error_code = kerr;
    out.producer_id = kerr == KERR_NONE ? id : -1;
    out.producer_epoch = kerr == KERR_NONE ? 0 : -1;
    API_REPLY(r, init_producer_id_response, &out);
}

static void init_finish(struct broker *b, struct request *r)
{
    const struct init *init = r->state;

    (void)b;
    /* An exhausted or unreadable node needs a person; all else may be better in a moment. */
    init_answer(r, init->rc == OK                                         ? KERR_NONE
                   : init->rc == ERR_LIMIT || init->rc == ERR_CORRUPT ? KERR_UNKNOWN_SERVER_ERROR
                                                                      : KERR_COORDINATOR_LOAD_IN_PROGRESS,
                init->id);
}

static void init_have_id(struct producer_id_waiter *w, int rc, int64_t id)
{
    struct init *init = (struct init *)w;

    init->rc = rc;
    init->id = id;
    request_resume(init->r, init_finish);
}

void api_init_producer_id(struct broker *b, struct request *r)
{
    struct init_producer_id_request in;
    struct init *init;

    if (!API_READ(r, init_producer_id_request, &in))
        return;
    if ((in.producer_id == -1) != (in.producer_epoch == -1)) {
        init_answer(r, KERR_INVALID_REQUEST, -1);
        return;
    }
    if (in.transactional_id.p != NULL) {
        /* There is no transaction coordinator: an error that clients do not try again on. */
        init_answer(r, in.transactional_id.len == 0 ? KERR_INVALID_REQUEST : KERR_UNSUPPORTED_VERSION, -1);
        return;
    }
    init = arena_zalloc(&r->arena, sizeof *init);
    if (init == NULL) {
        request_close(r, "out of memory");
        return;
    }
    init->waiter.done = init_have_id;
    init->r = r;
    r->state = init;
    producer_ids_take(b->producer_ids, &init->waiter);
}

/* ---- DescribeProducers ------------------------------------------------------------------------------------------- */

#define topic_in  describe_producers_request_topic_request
#define topic_out describe_producers_response_topic_response
#define part_out  describe_producers_response_partition_response
#define state_out describe_producers_response_producer_state

static int16_t list_producers(struct partition *p, struct arena *a, struct part_out *out)
{
    struct plog_producer *v;
    size_t n;
    struct plog *l = partition_log(p);
    int rc = plog_producers(l, a, &v, &n);

    plog_unref(&l);
    if (rc != OK)
        return partition_log_error(rc);
    out->active_producers = arena_array(a, n + 1, sizeof *out->active_producers);
    if (out->active_producers == NULL)
        return KERR_UNKNOWN_SERVER_ERROR;
    for (size_t i = 0; i < n; i++) {
        struct state_out *s = &out->active_producers[i];

        describe_producers_response_producer_state_init(s);
        s->producer_id = v[i].producer_id;
        s->producer_epoch = v[i].epoch;
        s->last_sequence = v[i].last_sequence;
        s->last_timestamp = v[i].last_timestamp;
        s->coordinator_epoch = v[i].coordinator_epoch;
        s->current_txn_start_offset = v[i].txn_start_offset;
    }
    out->active_producers_n = (int32_t)n;
    return KERR_NONE;
}

/* The error that all partitions of the topic get, with its text; NONE: look at each. */
static int16_t topic_error(struct broker *b, struct str topic, struct arena *a, struct str *message)
{
    char buf[512];
    const char *fault = topic_name_fault(topic, buf, sizeof buf);
    struct metadata *md;
    bool known;

    if (fault != NULL) {
        const char *text = arena_printf(a, "Topic name is invalid: %s", fault);

        *message = str_of(text);
        return KERR_INVALID_TOPIC_EXCEPTION;
    }
    md = metadata_get(b->metacache);
    known = metadata_topic(md, topic) != NULL;
    metadata_put(&md);
    if (known)
        return KERR_NONE;
    *message = str_of(kerr_message(KERR_UNKNOWN_TOPIC_OR_PARTITION));
    return KERR_UNKNOWN_TOPIC_OR_PARTITION;
}

static int describe_topic(struct broker *b, struct request *r, const struct topic_in *t, struct topic_out *out)
{
    struct str message = { NULL, 0 };
    int16_t kerr = topic_error(b, t->name, &r->arena, &message);

    describe_producers_response_topic_response_init(out);
    out->name = t->name;
    out->partitions = arena_array(&r->arena, (size_t)t->partition_indexes_n + 1, sizeof *out->partitions);
    if (out->partitions == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < t->partition_indexes_n; i++) {
        struct part_out *po = &out->partitions[out->partitions_n++];
        struct partition *p;

        describe_producers_response_partition_response_init(po);
        po->partition_index = t->partition_indexes[i];
        po->error_code = kerr;
        po->error_message = message;
        if (kerr != KERR_NONE)
            continue;
        p = replicas_find(b->replicas, t->name, t->partition_indexes[i], &po->error_code);
        if (p != NULL)
            po->error_code = list_producers(p, &r->arena, po);
        partition_unref(&p);
    }
    return OK;
}

void api_describe_producers(struct broker *b, struct request *r)
{
    struct describe_producers_request in;
    struct describe_producers_response out;
    int rc = OK;

    if (!API_READ(r, describe_producers_request, &in))
        return;
    describe_producers_response_init(&out);
    out.topics = arena_array(&r->arena, (size_t)in.topics_n + 1, sizeof *out.topics);
    if (out.topics == NULL)
        rc = ERR_NOMEM;
    for (int32_t i = 0; rc == OK && i < in.topics_n; i++)
        rc = describe_topic(b, r, &in.topics[i], &out.topics[out.topics_n++]);
    if (rc == OK)
        API_REPLY(r, describe_producers_response, &out);
    else
        request_close(r, "out of memory");
}
