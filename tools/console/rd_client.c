/* tools/console/rd_client.c - making and stopping librdkafka clients. */
#include "tools/console/rd_client.h"

#include "base/clock.h"

#include <signal.h>
#include <unistd.h>

#define AGAIN_MS 1000                   /* the same wish often comes twice: to a process, and to its group */

/* Written by the handler only. */
static sig_atomic_t stopped_by;         /* signal number */
static int64_t      stopped_ms;

static void on_signal(int sig)
{
    int64_t now = mono_ms();

    if (stopped_by == 0) {
        stopped_by = sig;
        stopped_ms = now;
    } else if (now - stopped_ms > AGAIN_MS) {
        _exit(128 + sig);               /* it takes too long for somebody */
    }
}

void rd_stop_on_signals(void)
{
    struct sigaction sa = { .sa_handler = on_signal };

    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int rd_stopped(void)
{
    return (int)stopped_by;
}

int rd_open(rd_kafka_t **out, enum rd_side side, rd_kafka_conf_t *conf, const struct props *p,
            const struct rd_setting *fixed, size_t fixed_n, char *error, size_t error_len)
{
    int rc;

    rd_conf_log(conf);
    rc = rd_conf_apply(conf, side, p, error, error_len);
    for (size_t i = 0; rc == OK && i < fixed_n; i++)
        rc = rd_conf_set(conf, fixed[i].name, fixed[i].value, error, error_len);
    if (rc == OK) {
        *out = rd_kafka_new(side == RD_PRODUCER ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER, conf, error, error_len);
        if (*out != NULL)
            return OK;                  /* the settings are the handle's now */
        rc = ERR_INVALID;
    }
    rd_kafka_conf_destroy(conf);
    return rc;
}

/* As Kafka's producer decides. */
static bool is_idempotent(const struct props *p)
{
    struct str acks = props_get(p, "acks"), retries = props_get(p, "retries");
    struct str flight = props_get(p, "max.in.flight.requests.per.connection");

    return (acks.p == NULL || str_is(acks, "all") || str_is(acks, "-1")) && !str_is(retries, "0") &&
           (flight.p == NULL || (flight.len == 1 && flight.p[0] >= '1' && flight.p[0] <= '5'));
}

static int set_default(struct props *p, const char *name, const char *value, struct arena *a)
{
    return props_get(p, name).p != NULL ? OK : props_set(p, str_of(name), str_of(value), a);
}

int rd_props_defaults(struct props *p, enum rd_side side, const char *client_id, struct arena *a)
{
    static const struct {
        enum rd_side sides;
        const char  *name, *value;
    } defaults[] = {
        { RD_PRODUCER | RD_CONSUMER, "reconnect.backoff.ms", "50" },
        { RD_PRODUCER | RD_CONSUMER, "reconnect.backoff.max.ms", "1000" },
        { RD_CONSUMER, "allow.auto.create.topics", "true" },
        { RD_PRODUCER, "linger.ms", "0" },
        { RD_PRODUCER, "buffer.memory", "33554432" },
        { RD_PRODUCER, "delivery.timeout.ms", "120000" },
        { RD_PRODUCER, "max.request.size", "1048576" },
    };

    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++) {
        if ((defaults[i].sides & side) != 0)
            TRY(set_default(p, defaults[i].name, defaults[i].value, a));
    }
    TRY(set_default(p, "client.id", client_id, a));
    if (side == RD_CONSUMER)
        return OK;
    return set_default(p, "enable.idempotence", is_idempotent(p) ? "true" : "false", a);
}
