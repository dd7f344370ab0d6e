/* tools/list_offsets.h - the partition_ask that gives offsets: of a partition's end (job.in -1), start (-2), or of the
 * first record at or after a time (Unix ms).
 *
 * LOCKS    none: one thread.
 * FAILURE  as partition_jobs.h says. job.out is -1 where there is no such record.
 */
#ifndef TOOLS_LIST_OFFSETS_H
#define TOOLS_LIST_OFFSETS_H

#include "tools/partition_jobs.h"

int list_offsets_ask(struct admin *a, int32_t broker, struct partition_job *const *v, size_t n) must_use;

#endif
