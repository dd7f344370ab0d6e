/* config/derive.c - values that follow from several properties, and the rules between properties that Kafka checks. */
#include "config/jtext.h"
#include "config/load.h"
#include "config/version.h"
#include "config/zk_hosts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const int64_t MINUTE_MS = 60 * 1000, HOUR_MS = 60 * 60 * 1000;

/* ---- derived values ----------------------------------------------------------------------------------------- */

static void derive_times(struct loader *l)
{
    struct config *c = l->cfg;

    c->retention_ms = c->log_retention_ms != CONFIG_UNSET_LONG ? c->log_retention_ms
                    : c->log_retention_minutes != CONFIG_UNSET_INT ? c->log_retention_minutes * MINUTE_MS
                    : c->log_retention_hours * HOUR_MS;
    if (c->retention_ms < 0)
        c->retention_ms = -1;
    c->roll_ms = c->log_roll_ms != CONFIG_UNSET_LONG ? c->log_roll_ms : c->log_roll_hours * HOUR_MS;
    c->roll_jitter_ms = c->log_roll_jitter_ms != CONFIG_UNSET_LONG ? c->log_roll_jitter_ms
                                                                   : c->log_roll_jitter_hours * HOUR_MS;
    c->flush_interval_ms = c->log_flush_interval_ms != CONFIG_UNSET_LONG ? c->log_flush_interval_ms
                                                                         : c->log_flush_scheduler_interval_ms;
    c->timestamp_before_max_ms = c->log_message_timestamp_before_max_ms != INT64_MAX
                                     ? c->log_message_timestamp_before_max_ms
                                     : c->log_message_timestamp_difference_max_ms;
    c->timestamp_after_max_ms = c->log_message_timestamp_after_max_ms != INT64_MAX
                                    ? c->log_message_timestamp_after_max_ms
                                    : c->log_message_timestamp_difference_max_ms;
}

static void derive_format(struct loader *l)
{
    struct config *c = l->cfg;
    struct str full = STR_LIT("3.0-IV1");

    c->message_formats_ignored = version_find(c->inter_broker_protocol_version, NULL) >= version_find("3.0-IV1", NULL);
    if (!c->message_formats_ignored)
        (void)version_find(c->log_message_format_version, &full);
    c->message_format = loader_text(l, "%.*s", STR_ARG(full));
    if (c->message_formats_ignored && version_magic(c->log_message_format_version) < 2)
        loader_problem(l, CONFIG_WARNING, loader_given(l, "log.message.format.version"), NULL,
                       "is ignored because inter.broker.protocol.version is 3.0 or higher: batches are stored in "
                       "format 2");
}

static void derive_log_dirs(struct loader *l)
{
    struct config *c = l->cfg;
    const char *key = c->log_dirs != NULL ? "log.dirs" : "log.dir";
    const char *at = c->log_dirs != NULL ? c->log_dirs : c->log_dir;
    const char **v = loader_array(l, strlen(at) + 1, sizeof *v);
    size_t n = 0;

    while (v != NULL && at != NULL) {
        size_t len = strcspn(at, ",");
        struct str dir = jtrim((struct str){ at, len });

        at = at[len] == ',' ? at + len + 1 : NULL;
        if (dir.len == 0)
            continue;
        v[n] = loader_text(l, "%.*s", STR_ARG(dir));
        for (size_t i = 0; v[n] != NULL && i < n; i++)
            if (strcmp(v[i], v[n]) == 0)
                loader_refuse(l, key, "%s is in it twice", v[n]);
        n++;
    }
    c->log_dirs_parsed = (struct config_list){ v, n };
    if (loader_is_bad(l, key) || l->rc != OK)
        return;
    if (n == 0)
        loader_refuse(l, key, "there must be at least one log directory");
}

static bool is_host(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (strchr("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-%._:", s.p[i]) == NULL)
            return false;
    return s.len > 0;
}

/* host:n, several with commas; an IPv6 address is cut at its last colon. */
static void derive_ip_limits(struct loader *l)
{
    const char *key = "max.connections.per.ip.overrides", *at = l->cfg->max_connections_per_ip_overrides;
    struct ip_limit *v = loader_array(l, strlen(at) + 1, sizeof *v);
    size_t n = 0;

    while (v != NULL && at != NULL && *at != '\0') {
        size_t len = strcspn(at, ",");
        struct str part = jtrim((struct str){ at, len }), host = part;
        const char *colon = memrchr(part.p, ':', part.len);
        struct str number = { colon + 1, colon != NULL ? (size_t)(part.p + part.len - colon - 1) : 0 };
        int64_t limit = 0;

        at = at[len] == ',' ? at + len + 1 : NULL;
        if (colon != NULL)
            host = jtrim((struct str){ part.p, (size_t)(colon - part.p) });
        if (colon == NULL || !is_host(host) || !jlong_parse(jtrim(number), 0, INT32_MAX, &limit)) {
            loader_refuse(l, key, "%.*s is not host:number", STR_ARG(part));
            return;
        }
        v[n++] = (struct ip_limit){ loader_text(l, "%.*s", STR_ARG(host)), (int32_t)limit };
    }
    l->cfg->ip_limits = v;
    l->cfg->ip_limits_n = n;
}

/* broker.id and node.id are one thing; the one that was given also counts as the other. */
static void derive_broker_id(struct loader *l)
{
    struct config *c = l->cfg;
    const struct config_given *broker = loader_given(l, "broker.id"), *node = loader_given(l, "node.id");
    const char *key = broker != NULL ? "broker.id" : "node.id";

    if (broker != NULL && node != NULL && c->broker_id != c->node_id && !loader_is_bad(l, "broker.id") &&
        !loader_is_bad(l, "node.id"))
        loader_refuse(l, "node.id", "must be the same as broker.id, which is %d", c->broker_id);
    if (broker == NULL && node != NULL)
        c->broker_id = c->node_id;
    c->node_id = c->broker_id;
    if (loader_is_bad(l, "broker.id") || loader_is_bad(l, "node.id"))
        return;
    if (c->broker_id_generation_enable && (c->broker_id < -1 || c->broker_id > c->reserved_broker_max_id))
        loader_refuse(l, key, "must be from -1 to reserved.broker.max.id, which is %d", c->reserved_broker_max_id);
    else if (!c->broker_id_generation_enable && c->broker_id < 0)
        loader_refuse(l, key, "must be 0 or more, because broker.id.generation.enable is false");
}

void derived_set(struct loader *l)
{
    derive_broker_id(l);
    derive_times(l);
    derive_format(l);
    derive_log_dirs(l);
    if (!loader_is_bad(l, "max.connections.per.ip.overrides"))
        derive_ip_limits(l);
}

/* ---- rules between properties ------------------------------------------------------------------------------- */

static int64_t number_of(const struct loader *l, const struct param *p)
{
    const char *at = (const char *)l->cfg + p->offset;
    int64_t i64;
    int32_t i32;
    int16_t i16;

    if (p->type == CONFIG_LONG) {
        memcpy(&i64, at, sizeof i64);
        return i64;
    }
    if (p->type == CONFIG_SHORT) {
        memcpy(&i16, at, sizeof i16);
        return i16;
    }
    memcpy(&i32, at, sizeof i32);
    return i32;
}

/* One property must not be larger than another. */
static const struct order_rule {
    const char *small, *large, *because;
} order_rules[] = {
    { "replica.fetch.wait.max.ms", "replica.socket.timeout.ms", "followers would time out while they wait" },
    { "replica.fetch.wait.max.ms", "replica.lag.time.max.ms", "followers would leave the ISR while they wait" },
    { "log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms", "no record could be compacted" },
    { "offsets.commit.required.acks", "offsets.topic.replication.factor", "there are no more replicas" },
    { "group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms", "it is the minimum" },
    { "group.consumer.min.heartbeat.interval.ms", "group.consumer.heartbeat.interval.ms", "it is the minimum" },
    { "group.consumer.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms", "that is the maximum" },
    { "group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms", "it is the minimum" },
    { "group.consumer.min.session.timeout.ms", "group.consumer.session.timeout.ms", "it is the minimum" },
    { "group.consumer.session.timeout.ms", "group.consumer.max.session.timeout.ms", "that is the maximum" },
    { "group.share.min.heartbeat.interval.ms", "group.share.max.heartbeat.interval.ms", "it is the minimum" },
    { "group.share.min.heartbeat.interval.ms", "group.share.heartbeat.interval.ms", "it is the minimum" },
    { "group.share.heartbeat.interval.ms", "group.share.max.heartbeat.interval.ms", "that is the maximum" },
    { "group.share.min.session.timeout.ms", "group.share.max.session.timeout.ms", "it is the minimum" },
    { "group.share.min.session.timeout.ms", "group.share.session.timeout.ms", "it is the minimum" },
    { "group.share.session.timeout.ms", "group.share.max.session.timeout.ms", "that is the maximum" },
};

static void check_order(struct loader *l, const struct order_rule *r)
{
    const struct param *small = param_find(&server_params, str_of(r->small));
    const struct param *large = param_find(&server_params, str_of(r->large));

    if (loader_is_bad(l, r->small) || loader_is_bad(l, r->large) || number_of(l, small) <= number_of(l, large))
        return;
    if (loader_given(l, r->small) != NULL)
        loader_refuse(l, r->small, "must not be larger than %s, which is %" PRId64 ": %s", r->large,
                      number_of(l, large), r->because);
    else
        loader_refuse(l, r->large, "must not be smaller than %s, which is %" PRId64 ": %s", r->small,
                      number_of(l, small), r->because);
}

/* The one of these that was given; the first if none was. */
static const char *given_of(const struct loader *l, const char *a, const char *b, const char *c)
{
    return loader_given(l, a) != NULL ? a : b != NULL && loader_given(l, b) != NULL ? b : c != NULL ? c : a;
}

static void check_times(struct loader *l)
{
    const struct config *c = l->cfg;
    const char *key = given_of(l, "log.retention.ms", "log.retention.minutes", "log.retention.hours");

    if (c->retention_ms == 0 && !loader_is_bad(l, key))
        loader_refuse(l, key, "must be at least 1, or -1 for no limit");
    key = given_of(l, "log.roll.ms", NULL, "log.roll.hours");
    if (c->roll_ms < 1 && !loader_is_bad(l, key))
        loader_refuse(l, key, "must be at least 1");
    key = given_of(l, "log.roll.jitter.ms", NULL, "log.roll.jitter.hours");
    if (c->roll_jitter_ms < 0 && !loader_is_bad(l, key))
        loader_refuse(l, key, "must be at least 0");
}

static void check_limits(struct loader *l)
{
    const struct config *c = l->cfg;
    struct zk_hosts hosts = { NULL, NULL };
    const char *why = NULL;

    if (c->queued_max_request_bytes > 0 && c->queued_max_request_bytes < c->socket_request_max_bytes &&
        !loader_is_bad(l, "queued.max.request.bytes"))
        loader_refuse(l, "queued.max.request.bytes", "must not be smaller than socket.request.max.bytes, which is %d",
                      c->socket_request_max_bytes);
    if (c->max_connections_per_ip == 0 && c->ip_limits_n == 0 && !loader_is_bad(l, "max.connections.per.ip.overrides"))
        loader_refuse(l, "max.connections.per.ip",
                      "can be 0 only if max.connections.per.ip.overrides lets somebody in");
    if (c->connections_max_idle_ms >= 0 && c->connection_failed_authentication_delay_ms >= c->connections_max_idle_ms &&
        !loader_is_bad(l, "connections.max.idle.ms"))
        loader_refuse(l, "connections.max.idle.ms",
                      "must be more than connection.failed.authentication.delay.ms, which is %d",
                      c->connection_failed_authentication_delay_ms);
    if (c->log_cleaner_threads > 0 && c->log_cleaner_dedupe_buffer_size / c->log_cleaner_threads <= 1024 * 1024)
        loader_refuse(l, "log.cleaner.dedupe.buffer.size", "must be more than 1 MiB for each of the %d threads of "
                      "log.cleaner.threads", c->log_cleaner_threads);
    if (c->offsets_commit_required_acks < -1)
        loader_refuse(l, "offsets.commit.required.acks", "must be at least -1");
    if (c->offsets_topic_compression_codec < 0 || c->offsets_topic_compression_codec > 4)
        loader_refuse(l, "offsets.topic.compression.codec",
                      "must be the number of a codec: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd");
    if (c->zookeeper_connect != NULL && zk_hosts_parse(&hosts, c->zookeeper_connect, &why) != OK)
        loader_refuse(l, "zookeeper.connect", "%s; to run one broker that keeps its metadata in an embedded store "
                      "under the first log dir, take this line out", why);
    zk_hosts_fini(&hosts);
    if (c->controller_listener_names != NULL && *c->controller_listener_names != '\0')
        loader_refuse(l, "controller.listener.names", "must be empty: there is no KRaft controller");
}

static void check_versions(struct loader *l)
{
    const struct config *c = l->cfg;

    if (loader_is_bad(l, "inter.broker.protocol.version") || loader_is_bad(l, "log.message.format.version") ||
        c->message_formats_ignored)
        return;
    if (version_magic(c->log_message_format_version) > version_magic(c->inter_broker_protocol_version))
        loader_refuse(l, "inter.broker.protocol.version", "is too old for log.message.format.version=%s",
                      c->log_message_format_version);
}

void cross_check(struct loader *l)
{
    for (size_t i = 0; i < sizeof order_rules / sizeof order_rules[0]; i++)
        check_order(l, &order_rules[i]);
    check_times(l);
    check_limits(l);
    check_versions(l);
    if (!l->cfg->log_cleaner_enable)
        loader_problem(l, CONFIG_WARNING, loader_given(l, "log.cleaner.enable"), NULL,
                       "without the cleaner compacted topics, also those of offsets and transactions, only grow");
}
