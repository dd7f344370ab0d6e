/* tools/console/rd_member.c - members of groups. */
#include "tools/console/rd_member.h"

#include "base/clock.h"

#define CLOSE_MS      5000             /* the longest that leaving may take */
#define CLOSE_WAIT_MS 20

static void report(rd_kafka_error_t *e)
{
    if (e == NULL)
        return;
    fprintf(stderr, "WARN %s\n", rd_kafka_error_string(e));
    rd_kafka_error_destroy(e);
}

static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list, void *arg)
{
    struct rd_member *m = arg;
    const char       *protocol = rd_kafka_rebalance_protocol(rk);
    bool              cooperative = protocol != NULL && strcmp(protocol, "COOPERATIVE") == 0;

    if (err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        if (m->hooks->assigned != NULL)
            m->hooks->assigned(m->arg, list);
        if (cooperative)
            report(rd_kafka_incremental_assign(rk, list));
        else
            rd_kafka_assign(rk, list);  /* fails after a fatal error only, which comes by poll */
        return;
    }
    if (m->hooks->revoked != NULL)
        m->hooks->revoked(m->arg, list, rd_kafka_assignment_lost(rk) != 0);
    if (cooperative)
        report(rd_kafka_incremental_unassign(rk, list));
    else
        rd_kafka_assign(rk, NULL);
}

static int on_stats(rd_kafka_t *rk, char *json, size_t len, void *arg)
{
    struct rd_member *m = arg;

    (void)rk;
    m->hooks->stats(m->arg, json, len);
    return 0;
}

int rd_member_open(struct rd_member *m, const struct props *p, const struct rd_member_hooks *hooks, void *arg,
                   char *error, size_t error_len)
{
    static const struct rd_setting fixed[] = {
        { "enable.auto.offset.store", "false" },
        { "fetch.error.backoff.ms", "100" },
        { "statistics.interval.ms", "100" },
    };
    size_t fixed_n = sizeof fixed / sizeof fixed[0];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    *m = (struct rd_member){ .hooks = hooks, .arg = arg };
    rd_kafka_conf_set_opaque(conf, m);
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    if (hooks->stats != NULL)
        rd_kafka_conf_set_stats_cb(conf, on_stats);
    else
        fixed_n--;
    TRY(rd_open(&m->rk, RD_CONSUMER, conf, p, fixed, fixed_n, error, error_len));
    rd_kafka_poll_set_consumer(m->rk);
    return OK;
}

int rd_member_subscribe(struct rd_member *m, const rd_kafka_topic_partition_list_t *topics, char *error,
                        size_t error_len)
{
    rd_kafka_resp_err_t err = rd_kafka_subscribe(m->rk, topics);

    if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
        return OK;
    snprintf(error, error_len, "%s", rd_kafka_err2str(err));
    return ERR_INVALID;
}

rd_kafka_message_t *rd_member_poll(struct rd_member *m, int ms)
{
    return rd_kafka_consumer_poll(m->rk, ms);
}

void rd_member_done(const rd_kafka_message_t *msg)
{
    /* Fails when the partition has gone meanwhile: then it is another member's. */
    (void)rd_kafka_offset_store(msg->rkt, msg->partition, msg->offset);
}

bool rd_member_is_fatal(rd_kafka_resp_err_t err)
{
    static const rd_kafka_resp_err_t fatal[] = {
        RD_KAFKA_RESP_ERR__FATAL,
        RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET,
        RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE,
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION,
        RD_KAFKA_RESP_ERR_INVALID_GROUP_ID,
        RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT,
        RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL,
        RD_KAFKA_RESP_ERR_GROUP_MAX_SIZE_REACHED,
        RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID,
        RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION,
        RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE,
    };

    for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++) {
        if (err == fatal[i])
            return true;
    }
    return false;
}

void rd_member_close(struct rd_member *m)
{
    int64_t           deadline = mono_ms() + CLOSE_MS;
    rd_kafka_queue_t *q;
    rd_kafka_error_t *e;
    bool              closed = false;

    if (m->rk == NULL)
        return;
    q = rd_kafka_queue_new(m->rk);
    e = rd_kafka_consumer_close_queue(m->rk, q);
    if (e != NULL) {                    /* after a fatal error, which has been told: there is nothing to leave */
        rd_kafka_error_destroy(e);
        rd_kafka_queue_destroy(q);
        rd_kafka_destroy_flags(m->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
        m->rk = NULL;
        return;
    }
    while (!(closed = rd_kafka_consumer_closed(m->rk) != 0) && mono_ms() < deadline) {
        rd_kafka_event_t *ev = rd_kafka_queue_poll(q, CLOSE_WAIT_MS);

        if (ev != NULL && rd_kafka_event_type(ev) == RD_KAFKA_EVENT_REBALANCE)
            on_rebalance(m->rk, rd_kafka_event_error(ev), rd_kafka_event_topic_partition_list(ev), m);
        if (ev != NULL)
            rd_kafka_event_destroy(ev);
    }
    rd_kafka_queue_destroy(q);
    /* The library would wait for the coordinator again when it is taken down; it ends with the process instead. */
    if (closed)
        rd_kafka_destroy(m->rk);
    else
        fputs("WARN The group could not be left: its coordinator does not answer.\n", stderr);
    m->rk = NULL;
}
