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
            return cg_fail_kafka(cg, 1, job->kerr != KERR_NONE ? job->kerr : KERR_REQUEST_TIMED_OUT,
                                 arena_printf(&cg->a.arena, "%.*s-%d: %s", STR_ARG(job->topic), job->partition,
                                              kerr_message(job->kerr)));
        v[i].offset = job->out;
    }
    return OK;
}
