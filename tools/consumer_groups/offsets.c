/* tools/consumer_groups/offsets.c - starts, ends and times of partitions, asked of their leaders. */
#include "tools/consumer_groups/consumer_groups.h"

#include "proto/kerr.h"
#include "tools/list_offsets.h"

#include <stdlib.h>

static int job_compare(const void *pa, const void *pb)
{
    const struct partition_job *a = pa, *b = pb;
    const struct tp             ta = { a->topic, a->partition }, tb = { b->topic, b->partition };

    return tp_compare(&ta, &tb);
}

/* Apache Kafka's client asks for a partition that its topic does not have until its time is up. */
static int fail_partition(struct cg *cg, const struct partition_job *job)
{
    struct str  topic = job->topic;
    struct strs one = { &topic, 1 };
    struct tps  tps = { NULL, 0, 0 };
    int16_t     kerr = KERR_NONE;
    const char *text;

    if (job->kerr == KERR_NONE)
        return cg_fail_kafka(cg, 1, KERR_REQUEST_TIMED_OUT, "The leader has not answered in time. Call: listOffsets");
    if (job->kerr != KERR_UNKNOWN_TOPIC_OR_PARTITION || topics_partitions(cg, &one, &tps, &kerr) != OK)
        text = NULL;
    else if (kerr == KERR_NONE)
        text = arena_printf(&cg->a.arena, "Topic %.*s has no partition %d.", STR_ARG(topic), job->partition);
    else
        text = arena_printf(&cg->a.arena, "Failed to fetch metadata for partition %.*s-%d because metadata for topic "
                            "`%.*s` could not be found", STR_ARG(topic), job->partition, STR_ARG(topic));
    return cg_fail_kafka(cg, 1, job->kerr, text);
}

int offsets_find(struct cg *cg, struct found_offset *v, size_t n, int64_t timestamp)
{
    struct partition_job *jobs;
    int                   rc;

    if (n == 0)
        return OK;
    TRY(cg_array(cg, n, sizeof *jobs, &jobs));
    for (size_t i = 0; i < n; i++)
        jobs[i] = (struct partition_job){ .topic = v[i].tp.topic, .partition = v[i].tp.partition, .in = timestamp };
    qsort(jobs, n, sizeof *jobs, job_compare);
    client_doing(cg->a.client, "listOffsets(api=METADATA)");
    rc = partition_jobs_run(&cg->a, jobs, n, list_offsets_ask);
    if (rc != OK)
        return cg_fail_call(cg, 1, rc);
    for (size_t i = 0; i < n; i++) {
        struct partition_job key = { .topic = v[i].tp.topic, .partition = v[i].tp.partition };
        const struct partition_job *job = bsearch(&key, jobs, n, sizeof *jobs, job_compare);

        if (!job->done || job->kerr != KERR_NONE)
            return fail_partition(cg, job);
        v[i].offset = job->out;
    }
    return OK;
}
