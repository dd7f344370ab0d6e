/* broker/api/delete_records.c - DeleteRecords: moves the start of a log up, here and in the other replicas.
 *
 *   decode -> move each log's start -> the other replicas have not followed? park until they have -> answer
 *
 * They hear of it by their fetches, and tell their own log's start with the next ones.
 */
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "broker/replica/leader.h"
#include "broker/replica/partition.h"
#include "broker/replica/replicas.h"
#include "metadata/topic_name.h"
#include "proto/gen/delete_records_request.h"
#include "proto/gen/delete_records_response.h"
#include "proto/kerr.h"

#define topic_in  delete_records_request_delete_records_topic
#define part_in   delete_records_request_delete_records_partition
#define topic_out delete_records_response_delete_records_topic_result
#define part_out  delete_records_response_delete_records_partition_result

/* A partition whose replicas have not all followed. */
struct pending {
    struct partition *p;                /* reference */
    struct part_out  *out;
    int64_t           offset;
};

/* One request. In its arena. */
struct deletion {
    struct delayed                 delayed;     /* first: ready() and done() get this */
    struct broker                 *b;
    struct request                *r;
    struct delete_records_request  in;
    struct delete_records_response out;
    struct pending                *pending;
    size_t                         pending_n;
    enum delayed_why               why;
};

/* ---- one partition ----------------------------------------------------------------------------------------------- */

static void begin(struct deletion *d, struct partition *p, int64_t offset, struct part_out *out)
{
    out->error_code = partition_delete_before(p, &offset);
    if (out->error_code == KERR_NONE)
        out->error_code = partition_low_watermark(p, &out->low_watermark);
    if (out->error_code != KERR_NONE || out->low_watermark >= offset)
        return;
    for (size_t i = 0; i < d->pending_n; i++)
        if (d->pending[i].p == p)       /* named twice: the first wait is enough */
            return;
    d->pending[d->pending_n++] = (struct pending){ partition_ref(p), out, offset };
}

static void delete_one(struct deletion *d, struct str topic, const struct part_in *in, struct part_out *out)
{
    struct partition *p;

    delete_records_response_delete_records_partition_result_init(out);
    out->partition_index = in->partition_index;
    out->low_watermark = -1;
    p = replicas_find(d->b->replicas, topic, in->partition_index, &out->error_code);
    if (out->error_code == KERR_UNKNOWN_TOPIC_OR_PARTITION)
        return;
    if (topic_name_internal(topic))
        out->error_code = KERR_INVALID_TOPIC_EXCEPTION;
    else if (p != NULL)
        begin(d, p, in->offset, out);
    partition_unref(&p);
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static bool wait_ready(struct delayed *dl, const struct watch *which)
{
    const struct deletion *d = (struct deletion *)dl;

    (void)which;
    for (size_t i = 0; i < d->pending_n; i++) {
        int64_t low;

        if (partition_low_watermark(d->pending[i].p, &low) == KERR_NONE && low < d->pending[i].offset)
            return false;
    }
    return true;
}

/* On an IO thread. */
static void wait_finish(struct broker *b, struct request *r)
{
    struct deletion *d = r->state;

    (void)b;
    for (size_t i = 0; i < d->pending_n; i++) {
        struct pending *w = &d->pending[i];
        int64_t low;
        int16_t kerr = partition_low_watermark(w->p, &low);

        if (kerr == KERR_NONE && low < w->offset)
            kerr = KERR_REQUEST_TIMED_OUT;
        else
            w->out->low_watermark = low;
        w->out->error_code = kerr;
        partition_unref(&w->p);
    }
    if (d->why == DELAYED_CLOSED)
        request_close(r, NULL);
    else
        API_REPLY(r, delete_records_response, &d->out);
}

static void wait_done(struct delayed *dl, enum delayed_why why)
{
    struct deletion *d = (struct deletion *)dl;

    d->why = why;
    request_resume(d->r, wait_finish);
}

static void wait_closed(struct request *r, void *arg)
{
    (void)r;
    purgatory_end(arg, DELAYED_CLOSED);
}

static int wait_for_replicas(struct deletion *d)
{
    struct watch *watches = arena_array(&d->r->arena, d->pending_n, sizeof *watches);

    if (watches == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < d->pending_n; i++)
        watches[i].list = &d->pending[i].p->produces;
    d->delayed.watches = watches;
    d->delayed.watches_n = d->pending_n;
    d->delayed.ready = wait_ready;
    d->delayed.done = wait_done;
    d->r->state = d;
    purgatory_init(replicas_produce_purgatory(d->b->replicas), &d->delayed);
    if (!request_on_close(d->r, wait_closed, &d->delayed))
        purgatory_end(&d->delayed, DELAYED_CLOSED);
    purgatory_park(&d->delayed, d->in.timeout_ms > 0 ? d->in.timeout_ms : 0);
    return OK;
}

/* ---- the request ------------------------------------------------------------------------------------------------- */

static int delete_all(struct deletion *d)
{
    struct arena *a = &d->r->arena;
    size_t total = 0;

    for (int32_t i = 0; i < d->in.topics_n; i++)
        total += (size_t)d->in.topics[i].partitions_n;
    d->pending = arena_array(a, total + 1, sizeof *d->pending);
    d->out.topics = arena_array(a, (size_t)d->in.topics_n + 1, sizeof *d->out.topics);
    if (d->pending == NULL || d->out.topics == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < d->in.topics_n; i++) {
        const struct topic_in *t = &d->in.topics[i];
        struct topic_out *to = &d->out.topics[d->out.topics_n++];

        delete_records_response_delete_records_topic_result_init(to);
        to->name = t->name;
        to->partitions = arena_array(a, (size_t)t->partitions_n + 1, sizeof *to->partitions);
        if (to->partitions == NULL)
            return ERR_NOMEM;
        for (int32_t k = 0; k < t->partitions_n; k++)
            delete_one(d, t->name, &t->partitions[k], &to->partitions[to->partitions_n++]);
    }
    return OK;
}

void api_delete_records(struct broker *b, struct request *r)
{
    struct deletion *d = arena_zalloc(&r->arena, sizeof *d);
    int rc;

    if (d == NULL) {
        request_close(r, "out of memory");
        return;
    }
    if (!API_READ(r, delete_records_request, &d->in))
        return;
    d->b = b;
    d->r = r;
    delete_records_response_init(&d->out);
    rc = delete_all(d);
    if (rc == OK && d->pending_n > 0)
        rc = wait_for_replicas(d);
    else if (rc == OK)
        API_REPLY(r, delete_records_response, &d->out);
    if (rc == OK)
        return;
    for (size_t i = 0; i < d->pending_n; i++)
        partition_unref(&d->pending[i].p);
    request_close(r, "out of memory");
}
