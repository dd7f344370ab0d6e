/* tools/partition_jobs.h - something to be asked of the leader of each of many partitions (an offset, a deletion).
 *
 * Finds the leaders, asks each broker once for all its partitions, and asks again for those whose leader has moved,
 * until every partition has an answer or the time of the client's calls is over.
 *
 * OWNER    the caller owns the jobs; texts lie in the admin's arena.
 * LOCKS    none: one thread.
 * FAILURE  a partition's trouble is its job's `kerr`; the functions fail only when nobody can be asked at all.
 */
#ifndef TOOLS_PARTITION_JOBS_H
#define TOOLS_PARTITION_JOBS_H

#include "tools/admin.h"

struct partition_job {
    struct str topic;
    int32_t    partition;
    int64_t    in, out;
    int16_t    kerr;                /* once done */
    bool       done;
    int32_t    leader;              /* -1: not known */
};

/* Asks one broker for jobs v[0..n), which sets `out`, `kerr` and `done` of each (partition_job_answer() helps). */
typedef int (*partition_ask)(struct admin *a, int32_t broker, struct partition_job *const *v, size_t n);

int partition_jobs_run(struct admin *a, struct partition_job *v, size_t n, partition_ask ask) must_use;

/* Takes an answer for topic-partition into the job among v that it is for; retriable errors leave it undone. */
void partition_job_answer(struct partition_job *const *v, size_t n, struct str topic, int32_t partition, int16_t kerr,
                          int64_t out);

#endif
