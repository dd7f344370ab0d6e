/* tools/retention/retention.h - inside of `klamm retention --explain`: what is known of one partition, and what follows
 * from it for each of its segments.
 *
 * OWNER    everything lies in the caller's arena.
 * LOCKS    none: one thread. The files may belong to a broker that runs: what is read is a moment's view.
 * UNITS    ms (wall clock), bytes. -1: no limit, or none.
 */
#ifndef TOOLS_RETENTION_RETENTION_H
#define TOOLS_RETENTION_RETENTION_H

#include "base/arena.h"

/* What decides: the topic's settings and the partition's offsets. */
struct retention_rules {
    bool    delete_policy, compact_policy;
    int64_t retention_ms, retention_bytes;
    int64_t segment_ms, segment_bytes;
    int64_t file_delete_delay_ms;
    int64_t check_ms;                   /* the broker's log.retention.check.interval.ms */
    int64_t start, hw, leo;
};

struct segment_facts {
    int64_t base, end;                  /* offsets [base, end) */
    int64_t bytes;
    int64_t timestamp;                  /* largest of its records; of the file when `by_mtime` */
    bool    by_mtime;                   /* no record has a timestamp */
    bool    active;
};

/* Why a segment is still there. */
enum retention_why {
    WHY_NOW_START,                      /* goes at the next check: all of it is below the log start */
    WHY_NOW_SIZE,                       /* the same: the log is too large */
    WHY_NOW_TIME,                       /* the same: it is too old */
    WHY_REPLICATION,                    /* stays: not all of it is below the high watermark */
    WHY_EMPTY,                          /* stays: the active segment, nothing in it */
    WHY_LIMITS,                         /* stays until `at_ms`, or until `more_bytes` have been written */
    WHY_WAITS,                          /* would go by itself, but segments go oldest first */
    WHY_COMPACT,                        /* only compaction takes records from it */
    WHY_NEVER                           /* no limit is set */
};

struct verdict {
    enum retention_why why;
    int64_t at_ms;                      /* when its age is up, with those before it; -1: never */
    int64_t more_bytes;                 /* -1: size is no limit */
    int64_t behind;                     /* WHY_WAITS: base offset of the segment that is in the way */
};

/* The segments that are in the directory, oldest first. error: a sentence, when the result is not OK. */
int  retention_read(const char *dir, struct arena *a, struct segment_facts **v, size_t *n, char error[512]) must_use;
/* One verdict for each, in the order in which the broker looks: start, size, age; oldest first. */
void retention_judge(const struct retention_rules *r, const struct segment_facts *v, size_t n, int64_t now_ms,
                     struct verdict *out);
void retention_print(const struct retention_rules *r, const struct segment_facts *v, const struct verdict *verdicts,
                     size_t n, int64_t now_ms);

#endif
