/* tools/perf/metrics.h - --print-metrics: what librdkafka counts, under the names and in the table of Java's clients.
 *
 * Only what the library counts is shown; the rest of Java's metrics is about Java's insides.
 * OWNER    metrics_fini().
 * LOCKS    none: the library's callback comes in rd_kafka_poll() or rd_member_poll(), on the caller's thread.
 */
#ifndef TOOLS_PERF_METRICS_H
#define TOOLS_PERF_METRICS_H

#include "tools/console/rd_client.h"

#include <jansson.h>

#define METRICS_ROWS 43

/* The library's averages and maxima are those since the last statistics; the tables are about all of the time. */
struct metrics {
    json_t *last;               /* the newest statistics; NULL: none yet */
    int64_t taken;              /* how often there were new ones */
    struct {
        double  sum, max;
        int64_t n;              /* statistics that had something */
    } seen[METRICS_ROWS];
};

/* To be called by the stats callback. */
void metrics_take(struct metrics *m, const char *json, size_t len);
/* "statistics.interval.ms" for rd_open(). */
extern const struct rd_setting metrics_setting;
void metrics_print(const struct metrics *m, const char *client_id);
void metrics_fini(struct metrics *m);

#endif
