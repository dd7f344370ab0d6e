/* tools/perf/metrics.c - librdkafka's statistics in Java's words. */
#include "tools/perf/metrics.h"

#include "tools/perf/number.h"

#include <string.h>

const struct rd_setting metrics_setting = { "statistics.interval.ms", "100" };

/* At the end of a path a number; "*" sums over all that are there. "?" gives the largest.
 * UNITS: microseconds where micro is set, shown as milliseconds. */
static const struct {
    bool        producer, per_second, micro;
    const char *name, *path;
} known[METRICS_ROWS] = {
    { false, false, false, "consumer-coordinator-metrics:assigned-partitions",        "cgrp/assignment_size" },
    { false, false, false, "consumer-coordinator-metrics:rebalance-total",            "cgrp/rebalance_cnt" },
    { false, true,  false, "consumer-fetch-manager-metrics:bytes-consumed-rate",      "rxmsg_bytes" },
    { false, false, false, "consumer-fetch-manager-metrics:bytes-consumed-total",     "rxmsg_bytes" },
    { false, false, true,  "consumer-fetch-manager-metrics:fetch-latency-avg",        "brokers/?/rtt/avg" },
    { false, false, true,  "consumer-fetch-manager-metrics:fetch-latency-max",        "brokers/?/rtt/max" },
    { false, false, false, "consumer-fetch-manager-metrics:fetch-throttle-time-avg",  "brokers/?/throttle/avg" },
    { false, false, false, "consumer-fetch-manager-metrics:fetch-throttle-time-max",  "brokers/?/throttle/max" },
    { false, false, false, "consumer-fetch-manager-metrics:fetch-total",              "brokers/*/req/Fetch" },
    { false, true,  false, "consumer-fetch-manager-metrics:records-consumed-rate",    "rxmsgs" },
    { false, false, false, "consumer-fetch-manager-metrics:records-consumed-total",   "rxmsgs" },
    { false, true,  false, "consumer-metrics:incoming-byte-rate",                     "rx_bytes" },
    { false, false, false, "consumer-metrics:incoming-byte-total",                    "rx_bytes" },
    { false, true,  false, "consumer-metrics:outgoing-byte-rate",                     "tx_bytes" },
    { false, false, false, "consumer-metrics:outgoing-byte-total",                    "tx_bytes" },
    { false, true,  false, "consumer-metrics:request-rate",                           "tx" },
    { false, false, false, "consumer-metrics:request-total",                          "tx" },
    { false, true,  false, "consumer-metrics:response-rate",                          "rx" },
    { false, false, false, "consumer-metrics:response-total",                         "rx" },
    { true,  false, false, "producer-metrics:batch-size-avg",                         "topics/?/batchsize/avg" },
    { true,  false, false, "producer-metrics:batch-size-max",                         "topics/?/batchsize/max" },
    { true,  false, false, "producer-metrics:connection-close-total",                 "brokers/*/disconnects" },
    { true,  false, false, "producer-metrics:connection-creation-total",              "brokers/*/connects" },
    { true,  true,  false, "producer-metrics:incoming-byte-rate",                     "rx_bytes" },
    { true,  false, false, "producer-metrics:incoming-byte-total",                    "rx_bytes" },
    { true,  true,  false, "producer-metrics:outgoing-byte-rate",                     "tx_bytes" },
    { true,  false, false, "producer-metrics:outgoing-byte-total",                    "tx_bytes" },
    { true,  false, false, "producer-metrics:produce-throttle-time-avg",              "brokers/?/throttle/avg" },
    { true,  false, false, "producer-metrics:produce-throttle-time-max",              "brokers/?/throttle/max" },
    { true,  false, false, "producer-metrics:record-error-total",                     "brokers/*/txerrs" },
    { true,  false, true,  "producer-metrics:record-queue-time-avg",                  "brokers/?/int_latency/avg" },
    { true,  false, true,  "producer-metrics:record-queue-time-max",                  "brokers/?/int_latency/max" },
    { true,  false, false, "producer-metrics:record-retry-total",                     "brokers/*/txretries" },
    { true,  true,  false, "producer-metrics:record-send-rate",                       "txmsgs" },
    { true,  false, false, "producer-metrics:record-send-total",                      "txmsgs" },
    { true,  false, false, "producer-metrics:records-per-request-avg",                "topics/?/batchcnt/avg" },
    { true,  false, true,  "producer-metrics:request-latency-avg",                    "brokers/?/rtt/avg" },
    { true,  false, true,  "producer-metrics:request-latency-max",                    "brokers/?/rtt/max" },
    { true,  true,  false, "producer-metrics:request-rate",                           "tx" },
    { true,  false, false, "producer-metrics:request-total",                          "tx" },
    { true,  false, false, "producer-metrics:requests-in-flight",                     "brokers/*/waitresp_cnt" },
    { true,  true,  false, "producer-metrics:response-rate",                          "rx" },
    { true,  false, false, "producer-metrics:response-total",                         "rx" },
};

/* The number at a path: of a "*" the sum, of a "?" the largest. */
static double find(json_t *j, const char *path)
{
    const char *slash = strchr(path, '/');
    char        word[32];
    const char *key;
    json_t     *member;
    double      v = 0, one;

    snprintf(word, sizeof word, "%.*s", slash != NULL ? (int)(slash - path) : 31, path);
    if (word[0] != '*' && word[0] != '?') {
        member = json_object_get(j, word);
        return slash != NULL ? find(member, slash + 1) : json_number_value(member);
    }
    json_object_foreach(j, key, member) {
        one = slash != NULL ? find(member, slash + 1) : json_number_value(member);
        v = word[0] == '*' ? v + one : one > v ? one : v;
    }
    return v;
}

static bool is_window(size_t i)
{
    return strchr(known[i].path, '?') != NULL;
}

void metrics_take(struct metrics *m, const char *json, size_t len)
{
    json_t *j = json_loadb(json, len, 0, NULL);

    if (j == NULL)
        return;
    json_decref(m->last);
    m->last = j;
    m->taken++;
    for (size_t i = 0; i < METRICS_ROWS; i++) {
        double v = is_window(i) ? find(j, known[i].path) : 0;

        if (v > 0) {
            m->seen[i].sum += v;
            m->seen[i].max = v > m->seen[i].max ? v : m->seen[i].max;
            m->seen[i].n++;
        }
    }
}

static double value_of(const struct metrics *m, size_t i)
{
    size_t len = strlen(known[i].path);

    if (!is_window(i))
        return find(m->last, known[i].path);
    if (len > 4 && strcmp(known[i].path + len - 4, "/max") == 0)
        return m->seen[i].max;
    return m->seen[i].n > 0 ? m->seen[i].sum / (double)m->seen[i].n : 0;
}

void metrics_print(const struct metrics *m, const char *client_id)
{
    bool   producer = strcmp(json_string_value(json_object_get(m->last, "type")) != NULL
                             ? json_string_value(json_object_get(m->last, "type")) : "", "producer") == 0;
    double seconds = find(m->last, "age") / 1e6;
    char   text[NUMBER_MAX], name[512];
    int    width = 0;

    for (size_t i = 0; i < METRICS_ROWS; i++) {
        int n = snprintf(NULL, 0, "%s:{client-id=%s}", known[i].name, client_id);
        width = known[i].producer == producer && n > width ? n : width;
    }
    printf("\n%-*s   Value\n", width, "Metric Name");
    for (size_t i = 0; i < METRICS_ROWS; i++) {
        double v = value_of(m, i);

        if (known[i].producer != producer)
            continue;
        v = known[i].micro ? v / 1000 : known[i].per_second ? (seconds > 0 ? v / seconds : 0) : v;
        snprintf(name, sizeof name, "%s:{client-id=%s}", known[i].name, client_id);
        printf("%-*s : %s\n", width, name, number_fixed(text, v, 3));
    }
}

void metrics_fini(struct metrics *m)
{
    json_decref(m->last);
    m->last = NULL;
}
