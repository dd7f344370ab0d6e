/* tests/bench/rdkafka_compat.h - what librdkafka's example rdkafka_performance.c takes from private headers.
 * Debian ships the example without them; tests/bench/bench.mk leaves its private includes out and puts this one in. */
#ifndef TESTS_BENCH_RDKAFKA_COMPAT_H
#define TESTS_BENCH_RDKAFKA_COMPAT_H

#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef int64_t rd_ts_t;                /* microseconds */

#define RD_MAX(a, b) ((a) > (b) ? (a) : (b))
#define RD_MIN(a, b) ((a) < (b) ? (a) : (b))
#define rd_snprintf(...) snprintf(__VA_ARGS__)

static inline rd_ts_t rd_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (rd_ts_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

#endif
