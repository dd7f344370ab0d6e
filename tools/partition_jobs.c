/* tools/partition_jobs.c - routing to leaders, with repetition. */
#include "tools/partition_jobs.h"

#include "proto/gen/metadata_request.h"
#include "proto/gen/metadata_response.h"
#include "proto/kerr.h"

#include <stdlib.h>

#define UNKNOWN_ATTEMPTS 4              /* a topic that nobody knows by then does not exist */

static bool jobs_left(const struct partition_job *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!v[i].done)
            return true;
    }
    return false;
}

void partition_job_answer(struct partition_job *const *v, size_t n, struct str topic, int32_t partition, int16_t kerr,
                          int64_t out)
{
    for (size_t i = 0; i < n; i++) {
        if (v[i]->partition != partition || !str_eq(v[i]->topic, topic))
            continue;
        v[i]->kerr = kerr;
        v[i]->out = out;
        v[i]->done = kerr == KERR_NONE || !kerr_retriable(kerr);
        return;
    }
}

/* What metadata says of one topic: its undone jobs get a leader or an error. */
static void topic_leaders(const struct metadata_response_metadata_response_topic *t, struct partition_job *v,
                          size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (v[i].done || !str_eq(v[i].topic, t->name))
            continue;
        v[i].kerr = t->error_code != KERR_NONE ? t->error_code : KERR_UNKNOWN_TOPIC_OR_PARTITION;
        for (int32_t k = 0; t->error_code == KERR_NONE && k < t->partitions_n; k++) {
            if (t->partitions[k].partition_index != v[i].partition)
                continue;
            v[i].leader = t->partitions[k].leader_id;
            v[i].kerr = v[i].leader >= 0 ? KERR_NONE : KERR_LEADER_NOT_AVAILABLE;
        }
        v[i].done = v[i].kerr != KERR_NONE && !kerr_retriable(v[i].kerr);
    }
}

static int jobs_find_leaders(struct admin *a, struct partition_job *v, size_t n)
{
    struct metadata_request  q;
    struct metadata_response r;

    metadata_request_init(&q);
    q.allow_auto_topic_creation = false;
    q.topics = arena_array(&a->arena, n, sizeof *q.topics);
    if (q.topics == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        v[i].leader = -1;
        /* Jobs of one topic mostly stand together; asking for a topic twice does no harm. */
        if (!v[i].done && (q.topics_n == 0 || !str_eq(q.topics[q.topics_n - 1].name, v[i].topic)))
            q.topics[q.topics_n++].name = v[i].topic;
    }
    TRY(admin_metadata(a, &q, &r));
    for (int32_t i = 0; i < r.topics_n; i++)
        topic_leaders(&r.topics[i], v, n);
    return OK;
}

/* Asks every leader that has undone jobs. A broker that cannot be reached leaves its jobs undone. */
static int jobs_ask(struct admin *a, struct partition_job *v, size_t n, partition_ask ask)
{
    struct partition_job **some = arena_array(&a->arena, n, sizeof *some);

    if (some == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    for (size_t first = 0; first < n; first++) {
        int32_t broker = v[first].leader;
        size_t  k = 0;

        if (v[first].done || broker < 0)
            continue;
        for (size_t i = first; i < n; i++) {
            if (!v[i].done && v[i].leader == broker) {
                v[i].leader = -1;       /* asked */
                some[k++] = &v[i];
            }
        }
        TRY(ask(a, broker, some, k));
    }
    return OK;
}

int partition_jobs_run(struct admin *a, struct partition_job *v, size_t n, partition_ask ask)
{
    int64_t deadline_ms = client_deadline(a->client);

    for (int attempt = 0;; attempt++) {
        TRY(jobs_find_leaders(a, v, n));
        TRY(jobs_ask(a, v, n, ask));
        for (size_t i = 0; i < n && attempt + 1 >= UNKNOWN_ATTEMPTS; i++)
            v[i].done = v[i].done || v[i].kerr == KERR_UNKNOWN_TOPIC_OR_PARTITION;
        if (!jobs_left(v, n) || !client_backoff(a->client, attempt, deadline_ms))
            return OK;
        client_forget(a->client);
    }
}
