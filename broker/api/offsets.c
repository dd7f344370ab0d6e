/* broker/api/offsets.c - ListOffsets and OffsetForLeaderEpoch: questions about a log's offsets. */
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "broker/replica/partition.h"
#include "broker/replica/replicas.h"
#include "proto/gen/list_offsets_request.h"
#include "proto/gen/list_offsets_response.h"
#include "proto/gen/offset_for_leader_epoch_request.h"
#include "proto/gen/offset_for_leader_epoch_response.h"
#include "proto/kerr.h"

#include <stdlib.h>

#define lo_topic_in  list_offsets_request_list_offsets_topic
#define lo_part_in   list_offsets_request_list_offsets_partition
#define lo_topic_out list_offsets_response_list_offsets_topic_response
#define lo_part_out  list_offsets_response_list_offsets_partition_response

enum { REPLICA_CONSUMER = -1, REPLICA_DEBUG = -2 };

/* Version 0 asks for a number of offsets; a log has as many as segments, and no more than this are told. */
#define OFFSETS_V0_MAX 10000

/* ---- ListOffsets ----------------------------------------------------------------------------------------------- */

static bool timestamp_known(int64_t ts, int16_t version)
{
    static const int16_t since[] = { 0, 1, 1, 7, 8, 9 };    /* for 0, -1 latest, -2 earliest, -3, -4, -5 */

    if (version == 0)
        return ts >= -2;
    return ts >= 0 || (ts >= -5 && version >= since[-ts]);
}

struct named_partition {
    struct str topic;
    int32_t    index;
};

static int by_name(const void *a, const void *b)
{
    const struct named_partition *x = a, *y = b;
    int d = str_cmp(x->topic, y->topic);

    return d != 0 ? d : (x->index > y->index) - (x->index < y->index);
}

/* Those that the request names more than once, sorted. */
static int find_duplicates(const struct list_offsets_request *in, struct arena *a, struct named_partition **out,
                           size_t *n)
{
    struct named_partition *v;
    size_t total = 0, at = 0;

    *n = 0;
    *out = NULL;
    for (int32_t i = 0; i < in->topics_n; i++)
        total += (size_t)in->topics[i].partitions_n;
    if (total < 2)
        return OK;
    v = arena_array(a, total, sizeof *v);
    if (v == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < in->topics_n; i++)
        for (int32_t k = 0; k < in->topics[i].partitions_n; k++)
            v[at++] = (struct named_partition){ in->topics[i].name, in->topics[i].partitions[k].partition_index };
    qsort(v, total, sizeof *v, by_name);
    for (size_t i = 1; i < total; i++)
        if (by_name(&v[i - 1], &v[i]) == 0 && (*n == 0 || by_name(&v[*n - 1], &v[i]) != 0))
            v[(*n)++] = v[i];
    *out = v;
    return OK;
}

static int16_t list_v0(struct request *r, struct partition *p, const struct lo_part_in *in, int32_t replica,
                       struct lo_part_out *out)
{
    size_t max = (size_t)in->max_num_offsets, n;
    int16_t kerr;

    if (in->max_num_offsets < 0)
        return KERR_UNKNOWN_SERVER_ERROR;       /* as Apache Kafka; no client sends it */
    if (max > OFFSETS_V0_MAX)
        max = OFFSETS_V0_MAX;
    out->old_style_offsets = arena_array(&r->arena, max + 1, sizeof *out->old_style_offsets);
    if (out->old_style_offsets == NULL)
        return KERR_UNKNOWN_SERVER_ERROR;
    kerr = partition_offsets_before(p, in->timestamp, replica != REPLICA_DEBUG, replica == REPLICA_CONSUMER,
                                    out->old_style_offsets, max, &n);
    out->old_style_offsets_n = kerr == KERR_NONE ? (int32_t)n : 0;
    return kerr;
}

static int16_t list_one(struct request *r, const struct list_offsets_request *req, struct partition *p,
                        const struct lo_part_in *in, struct lo_part_out *out)
{
    struct partition_offset found;
    enum isolation isolation = req->replica_id != REPLICA_CONSUMER ? ISOLATION_LEO
                               : req->isolation_level == 1         ? ISOLATION_LSO
                                                                   : ISOLATION_HW;
    int16_t kerr;

    if (r->version == 0)
        return list_v0(r, p, in, req->replica_id, out);
    kerr = partition_offset_for(p, in->timestamp, in->current_leader_epoch, isolation,
                                req->replica_id != REPLICA_DEBUG, &found);
    if (kerr == KERR_OFFSET_NOT_AVAILABLE && r->version < 5)
        kerr = KERR_LEADER_NOT_AVAILABLE;
    out->timestamp = found.timestamp;
    out->offset = found.offset;
    if (r->version >= 4)
        out->leader_epoch = found.leader_epoch;
    return kerr;
}

static void list_partition(struct broker *b, struct request *r, const struct list_offsets_request *req,
                           struct str topic, const struct lo_part_in *in, bool duplicate, struct lo_part_out *out)
{
    struct partition *p;

    list_offsets_response_list_offsets_partition_response_init(out);
    out->partition_index = in->partition_index;
    out->timestamp = -1;
    out->offset = -1;
    if (duplicate) {
        out->error_code = KERR_INVALID_REQUEST;
    } else if (!timestamp_known(in->timestamp, r->version)) {
        out->error_code = KERR_UNSUPPORTED_VERSION;
    } else if ((p = replicas_find(b->replicas, topic, in->partition_index, &out->error_code)) != NULL) {
        out->error_code = list_one(r, req, p, in, out);
        partition_unref(&p);
    }
}

void api_list_offsets(struct broker *b, struct request *r)
{
    struct list_offsets_request in;
    struct list_offsets_response out;
    struct named_partition *dup = NULL;
    size_t dup_n = 0;
    int rc = OK;

    if (!API_READ(r, list_offsets_request, &in))
        return;
    list_offsets_response_init(&out);
    if (r->version > 0)
        rc = find_duplicates(&in, &r->arena, &dup, &dup_n);
    out.topics = arena_array(&r->arena, (size_t)in.topics_n + 1, sizeof *out.topics);
    if (out.topics == NULL)
        rc = ERR_NOMEM;
    for (int32_t i = 0; rc == OK && i < in.topics_n; i++) {
        const struct lo_topic_in *t = &in.topics[i];
        struct lo_topic_out *to = &out.topics[out.topics_n++];

        list_offsets_response_list_offsets_topic_response_init(to);
        to->name = t->name;
        to->partitions = arena_array(&r->arena, (size_t)t->partitions_n + 1, sizeof *to->partitions);
        if (to->partitions == NULL)
            rc = ERR_NOMEM;
        for (int32_t k = 0; rc == OK && k < t->partitions_n; k++) {
            struct named_partition key = { t->name, t->partitions[k].partition_index };
            bool duplicate = dup_n > 0 && bsearch(&key, dup, dup_n, sizeof *dup, by_name) != NULL;

            list_partition(b, r, &in, t->name, &t->partitions[k], duplicate, &to->partitions[to->partitions_n++]);
        }
    }
    if (rc == OK)
        API_REPLY(r, list_offsets_response, &out);
    else
        request_close(r, "out of memory");
}

/* ---- OffsetForLeaderEpoch ---------------------------------------------------------------------------------------- */

#define le_topic_in  offset_for_leader_epoch_request_offset_for_leader_topic
#define le_part_in   offset_for_leader_epoch_request_offset_for_leader_partition
#define le_topic_out offset_for_leader_epoch_response_offset_for_leader_topic_result
#define le_part_out  offset_for_leader_epoch_response_epoch_end_offset

static void epoch_partition(struct broker *b, struct str topic, const struct le_part_in *in, struct le_part_out *out)
{
    struct partition *p = replicas_find(b->replicas, topic, in->partition, &out->error_code);
    struct plog_epoch_end end;

    if (p == NULL)
        return;
    out->error_code = partition_epoch_end(p, in->current_leader_epoch, in->leader_epoch, &end);
    out->leader_epoch = end.epoch;
    out->end_offset = end.end_offset;
    partition_unref(&p);
}

void api_offset_for_leader_epoch(struct broker *b, struct request *r)
{
    struct offset_for_leader_epoch_request in;
    struct offset_for_leader_epoch_response out;

    if (!API_READ(r, offset_for_leader_epoch_request, &in))
        return;
    offset_for_leader_epoch_response_init(&out);
    out.topics = arena_array(&r->arena, (size_t)in.topics_n + 1, sizeof *out.topics);
    for (int32_t i = 0; out.topics != NULL && i < in.topics_n; i++) {
        const struct le_topic_in *t = &in.topics[i];
        struct le_topic_out *to = &out.topics[out.topics_n++];

        offset_for_leader_epoch_response_offset_for_leader_topic_result_init(to);
        to->topic = t->topic;
        to->partitions = arena_array(&r->arena, (size_t)t->partitions_n + 1, sizeof *to->partitions);
        if (to->partitions == NULL) {
            out.topics = NULL;
            break;
        }
        for (int32_t k = 0; k < t->partitions_n; k++) {
            struct le_part_out *po = &to->partitions[to->partitions_n++];

            offset_for_leader_epoch_response_epoch_end_offset_init(po);
            po->partition = t->partitions[k].partition;
            epoch_partition(b, t->topic, &t->partitions[k], po);
        }
    }
    if (out.topics != NULL)
        API_REPLY(r, offset_for_leader_epoch_response, &out);
    else
        request_close(r, "out of memory");
}
