/* broker/api/auto_topic.c - what the properties say of topics that nobody creates by name.
 *
 * Apache Kafka refuses to make an internal topic on fewer brokers than it is to have replicas, so that a single broker
 * has no groups until somebody finds offsets.topic.replication.factor. A single node whose metadata are its own cannot
 * mean three replicas: there the topic gets one, and the log says so.
 */
#include "broker/api/auto_topic.h"

#include "base/log.h"
#include "broker/broker.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/controller/controller.h"
#include "config/config.h"

#define SETTINGS_MAX 5

struct shape {
    int32_t    partitions;
    int16_t    replication;
    struct {
        const char *name, *value;       /* value NULL: of `number` */
        int64_t     number;
    }          settings[SETTINGS_MAX];
    size_t     settings_n;
};

static struct shape offsets_shape(const struct config *cfg)
{
    return (struct shape){
        .partitions = cfg->offsets_topic_num_partitions,
        .replication = cfg->offsets_topic_replication_factor,
        .settings = { { .name = "cleanup.policy", .value = "compact" },
                      { .name = "compression.type", .value = "producer" },
                      { .name = "segment.bytes", .number = cfg->offsets_topic_segment_bytes } },
        .settings_n = 3,
    };
}

static struct shape transactions_shape(const struct config *cfg)
{
    return (struct shape){
        .partitions = cfg->transaction_state_log_num_partitions,
        .replication = cfg->transaction_state_log_replication_factor,
        .settings = { { .name = "cleanup.policy", .value = "compact" },
                      { .name = "compression.type", .value = "uncompressed" },
                      { .name = "min.insync.replicas", .number = cfg->transaction_state_log_min_isr },
                      { .name = "segment.bytes", .number = cfg->transaction_state_log_segment_bytes },
                      { .name = "unclean.leader.election.enable", .value = "false" } },
        .settings_n = 5,
    };
}

static const struct internal {
    const char    *name, *property;
    struct shape (*shape)(const struct config *cfg);
} internals[] = {
    { "__consumer_offsets", "offsets.topic.replication.factor", offsets_shape },
    { "__transaction_state", "transaction.state.log.replication.factor", transactions_shape },
};
#define INTERNALS_N (sizeof internals / sizeof internals[0])

/* One broker can have one replica only, and writes must not wait for more. Said once for each topic. */
static void fit_to_one(const struct metadata *md, const struct internal *t, struct shape *s)
{
    static struct log_limit said[INTERNALS_N] = { LOG_LIMIT(INT64_MAX, 1), LOG_LIMIT(INT64_MAX, 1) };
    size_t brokers;
    int hidden;

    (void)metadata_brokers(md, &brokers);
    if (brokers != 1 || s->replication <= 1)
        return;
    if (log_limit(&said[t - internals], &hidden))
        log_info("%s gets one replica instead of the %d of %s, since this broker is the only one", t->name,
                 s->replication, t->property);
    s->replication = 1;
    for (size_t i = 0; i < s->settings_n; i++)
        if (strcmp(s->settings[i].name, "min.insync.replicas") == 0)
            s->settings[i].number = 1;
}

static int settings_fill(const struct shape *s, struct arena *a, struct topic_op_topic *t)
{
    struct topic_op_config *v = arena_array(a, s->settings_n + 1, sizeof *v);

    if (v == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < s->settings_n; i++) {
        const char *value = s->settings[i].value;

        if (value == NULL)
            value = arena_printf(a, "%lld", (long long)s->settings[i].number);
        if (value == NULL)
            return ERR_NOMEM;
        v[i] = (struct topic_op_config){ .name = str_of(s->settings[i].name), .value = str_of(value) };
    }
    t->configs = v;
    t->configs_n = (int32_t)s->settings_n;
    return OK;
}

int auto_topic_shape(const struct broker *b, const struct metadata *md, struct arena *a, struct topic_op_topic *t)
{
    const struct config *cfg = b->cfg;

    for (size_t i = 0; i < INTERNALS_N; i++) {
        struct shape s;

        if (!str_is(t->name, internals[i].name))
            continue;
        s = internals[i].shape(cfg);
        fit_to_one(md, &internals[i], &s);
        t->partitions = s.partitions;
        t->replication = s.replication;
        return settings_fill(&s, a, t);
    }
    t->partitions = cfg->num_partitions;
    t->replication = (int16_t)cfg->default_replication_factor;
    return OK;
}
