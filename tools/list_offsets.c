/* tools/list_offsets.c - ListOffsets for the partitions of one broker. */
#include "tools/list_offsets.h"

#include "proto/gen/list_offsets_request.h"
#include "proto/gen/list_offsets_response.h"
#include "proto/kerr.h"

CLIENT_API(list_offsets, API_LIST_OFFSETS);

static size_t same_topic(struct partition_job *const *v, size_t n)
{
    size_t k = 1;

    while (k < n && str_eq(v[k]->topic, v[0]->topic))
        k++;
    return k;
}

/* One broker's partitions, which stand together by topic in the request. */
int list_offsets_ask(struct admin *a, int32_t broker, struct partition_job *const *v, size_t n)
{
    struct list_offsets_request  q;
    struct list_offsets_response r;
    int                          rc;

    list_offsets_request_init(&q);
    q.replica_id = -1;
    q.topics = arena_array(&a->arena, n, sizeof *q.topics);
    if (q.topics == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        __typeof__(q.topics) t = &q.topics[q.topics_n - 1];

        if (q.topics_n == 0 || !str_eq(t->name, v[i]->topic)) {
            t = &q.topics[q.topics_n++];
            t->name = v[i]->topic;
            t->partitions = arena_array(&a->arena, same_topic(v + i, n - i), sizeof *t->partitions);
            if (t->partitions == NULL)
                return admin_fail(a, ERR_NOMEM, "out of memory");
        }
        __typeof__(t->partitions) p = &t->partitions[t->partitions_n++];
        list_offsets_request_list_offsets_partition_init(p);
        p->partition_index = v[i]->partition;
        p->timestamp = v[i]->in;
    }
    rc = admin_call(a, broker, &client_list_offsets, &q, &r);
    for (size_t i = 0; rc == ERR_UNSUPPORTED && i < n; i++)
        partition_job_answer(v, n, v[i]->topic, v[i]->partition, KERR_UNSUPPORTED_VERSION, -1);
    if (rc != OK)
        return rc == ERR_UNSUPPORTED ? OK : rc;
    for (int32_t i = 0; i < r.topics_n; i++) {
        for (int32_t k = 0; k < r.topics[i].partitions_n; k++) {
            __typeof__(r.topics->partitions) p = &r.topics[i].partitions[k];
            int64_t offset = p->offset;

            if (p->old_style_offsets_n > 0)     /* version 0 */
                offset = p->old_style_offsets[0];
            partition_job_answer(v, n, r.topics[i].name, p->partition_index, p->error_code, offset);
        }
    }
    return OK;
}
