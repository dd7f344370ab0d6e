/* broker/reconfigure.c - settings that change while the broker runs: which are taken up at once, and which wait.
 *
 * The defaults of topics' settings and the rates of replication have an effect at once; what was made at the start
 * (threads, limits of connections, the cleaner) goes on as it is, and a log line says so.
 */
#include "broker/reconfigure.h"

#include "base/log.h"
#include "broker/broker.h"
#include "broker/cluster/broker_configs.h"
#include "broker/cluster/topic_configs.h"
#include "broker/replica/quota.h"
#include "broker/replica/replicas.h"
#include "config/topic_config.h"

#include <string.h>

#define TEXTS_BYTES ((size_t)1 << 20)

static bool is_default_of_topics(const struct param *p)
{
    for (size_t i = 0; i < topic_params.n; i++)
        if (topic_params.v[i].server_name != NULL && strcmp(topic_params.v[i].server_name, p->name) == 0)
            return true;
    /* what those are derived from, in other units */
    return strncmp(p->name, "log.retention.", 14) == 0 || strncmp(p->name, "log.roll.", 9) == 0 ||
           strncmp(p->name, "log.message.", 12) == 0 || strncmp(p->name, "log.flush.", 10) == 0;
}

static bool takes_rates(const struct param *p)
{
    return (p->flags & PARAM_DYNAMIC) != 0 && p->effect == CONFIG_EFFECT;
}

static bool differs(const struct param *p, const struct config *old, const struct config *now, struct arena *a)
{
    const char *x = NULL, *y = NULL;

    if (param_text(p, old, a, &x) != OK || param_text(p, now, a, &y) != OK)
        return true;
    return (x == NULL) != (y == NULL) || (x != NULL && strcmp(x, y) != 0);
}

static void take_rates(struct broker *b, const struct config *now)
{
    repl_quota_set_rate(replicas_leader_quota(b->replicas), now->leader_replication_throttled_rate);
    repl_quota_set_rate(replicas_follower_quota(b->replicas), now->follower_replication_throttled_rate);
}

void reconfigure(struct broker *b, bool starting)
{
    struct config *now = broker_configs_get(b->broker_configs), *old = (struct config *)(uintptr_t)b->latest;
    bool topics = false;
    struct arena a;

    arena_init(&a, TEXTS_BYTES);
    for (size_t i = 0; i < server_params.n && !starting; i++) {
        const struct param *p = &server_params.v[i];

        if (p->when == CONFIG_READ_ONLY || !differs(p, old, now, &a))
            continue;
        topics |= is_default_of_topics(p);
        if (is_default_of_topics(p) || takes_rates(p))
            log_info("%s has a new value", p->name);
        else
            log_warn("%s has a new value, but this broker goes on with the old one until it is restarted", p->name);
    }
    arena_fini(&a);
    take_rates(b, now);
    if (topics && topic_configs_rebase(b->topic_configs, now) != OK)
        log_error("the new defaults of topics' settings hold for some topics only until this broker is restarted");
    if (topics)
        replicas_configure_all(b->replicas);
    b->latest = now;
    config_unref(&old);
}
