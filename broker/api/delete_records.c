/* broker/api/delete_records.c - DeleteRecords: moves the start of a log up. */
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "metadata/topic_name.h"
#include "broker/replica/partition.h"
#include "broker/replica/replicas.h"
#include "proto/gen/delete_records_request.h"
#include "proto/gen/delete_records_response.h"
#include "proto/kerr.h"

#define topic_in  delete_records_request_delete_records_topic
#define part_in   delete_records_request_delete_records_partition
#define topic_out delete_records_response_delete_records_topic_result
#define part_out  delete_records_response_delete_records_partition_result

static void delete_one(struct broker *b, struct str topic, const struct part_in *in, struct part_out *out)
{
    struct partition *p;

    delete_records_response_delete_records_partition_result_init(out);
    out->partition_index = in->partition_index;
    out->low_watermark = -1;
    p = replicas_find(b->replicas, topic, in->partition_index, &out->error_code);
    if (out->error_code == KERR_UNKNOWN_TOPIC_OR_PARTITION)
        return;
    if (topic_name_internal(topic))
        out->error_code = KERR_INVALID_TOPIC_EXCEPTION;
    else if (p != NULL)
        out->error_code = partition_delete_before(p, in->offset, &out->low_watermark);
    partition_unref(&p);
}

/* All replicas that live are this one, so the low watermark is there as soon as the log's start has moved. */
void api_delete_records(struct broker *b, struct request *r)
{
    struct delete_records_request in;
    struct delete_records_response out;

    if (!API_READ(r, delete_records_request, &in))
        return;
    delete_records_response_init(&out);
    out.topics = arena_array(&r->arena, (size_t)in.topics_n + 1, sizeof *out.topics);
    for (int32_t i = 0; out.topics != NULL && i < in.topics_n; i++) {
        const struct topic_in *t = &in.topics[i];
        struct topic_out *to = &out.topics[out.topics_n++];

        delete_records_response_delete_records_topic_result_init(to);
        to->name = t->name;
        to->partitions = arena_array(&r->arena, (size_t)t->partitions_n + 1, sizeof *to->partitions);
        if (to->partitions == NULL) {
            out.topics = NULL;
            break;
        }
        for (int32_t k = 0; k < t->partitions_n; k++)
            delete_one(b, t->name, &t->partitions[k], &to->partitions[to->partitions_n++]);
    }
    if (out.topics != NULL)
        API_REPLY(r, delete_records_response, &out);
    else
        request_close(r, "out of memory");
}
