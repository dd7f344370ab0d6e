/* tools/perf/throttle.h - so many records a second and not more, as Kafka's tools hold it: a sender that is ahead
 * waits as long as a record is due, once that makes two milliseconds.
 *
 * OWNER    caller memory.
 * LOCKS    none: one thread. While it waits the producer's callbacks are served.
 * UNITS    records a second; nanoseconds of the monotonic clock.
 */
#ifndef TOOLS_PERF_THROTTLE_H
#define TOOLS_PERF_THROTTLE_H

#include <librdkafka/rdkafka.h>

struct throttle {
    double  per_second;         /* < 0: no limit; 0: nothing after the first records */
    int64_t start_ns, due_ns;
};

/* The time starts. */
void throttle_init(struct throttle *t, double per_second);
/* After each record; `sent` were before it. Ends early when the command is to stop. */
void throttle_wait(struct throttle *t, rd_kafka_t *rk, int64_t sent);

#endif
