/* tools/perf/throttle.c - holding a rate. */
#include "tools/perf/throttle.h"

#include "base/clock.h"
#include "tools/console/rd_client.h"

#define NS_A_MS      INT64_C(1000000)
#define WAIT_FROM_NS (2 * NS_A_MS)
#define LOOK_MS      100                /* signals are looked at in between */

void throttle_init(struct throttle *t, double per_second)
{
    *t = (struct throttle){ .per_second = per_second, .start_ns = mono_ns() };
}

static void wait_until(rd_kafka_t *rk, int64_t until_ns)
{
    int64_t left;

    while (rd_stopped() == 0 && (left = until_ns - mono_ns()) > 0) {
        int64_t ms = (left + NS_A_MS - 1) / NS_A_MS;
        rd_kafka_poll(rk, ms < LOOK_MS ? (int)ms : LOOK_MS);
    }
}

void throttle_wait(struct throttle *t, rd_kafka_t *rk, int64_t sent)
{
    double elapsed = (double)(mono_ns() - t->start_ns) / 1e9;

    if (t->per_second < 0 || elapsed <= 0 || (double)sent / elapsed <= t->per_second)
        return;
    if (t->per_second <= 0) {
        wait_until(rk, INT64_MAX);
        return;
    }
    t->due_ns += (int64_t)(1e9 / t->per_second);
    if (t->due_ns < WAIT_FROM_NS)
        return;
    wait_until(rk, mono_ns() + t->due_ns);
    t->due_ns = 0;
}
