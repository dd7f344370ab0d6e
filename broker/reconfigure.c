/* broker/reconfigure.c - settings that change while the broker runs: who takes them up. */
#include "broker/reconfigure.h"

#include "base/arena.h"
#include "base/log.h"
#include "base/scheduler.h"
#include "broker/broker.h"
#include "broker/cluster/broker_configs.h"
#include "broker/cluster/topic_configs.h"
#include "broker/conn_limits.h"
#include "broker/log_settings.h"
#include "broker/net/server.h"
#include "broker/replica/quota.h"
#include "broker/replica/replicas.h"
#include "config/topic_config.h"
#include "storage/logmgr.h"

#include <stdlib.h>
#include <string.h>

#define TEXTS_BYTES ((size_t)1 << 20)
#define SELDOM_MS   ((int64_t)24 * 60 * 60 * 1000)      /* the job is called for, not by the clock */

struct reconfigurer {
    /* fixed */
    struct broker *b;
    struct job    *job;
    /* of who calls reconfigurer_look() */
    struct config *seen;
    /* the job's */
    struct config *taken;
};

/* ---- who takes what up ------------------------------------------------------------------------------------- */

static int take_io_threads(struct broker *b, const struct config *now)
{
    return server_set_io_threads(b->net, now->num_io_threads);
}

static int take_background_threads(struct broker *b, const struct config *now)
{
    return scheduler_resize(b->sched, now->background_threads);
}

static int take_fetchers(struct broker *b, const struct config *now)
{
    replicas_set_fetchers(b->replicas, now->num_replica_fetchers);
    return OK;
}

static int take_limits(struct broker *b, const struct config *now)
{
    struct conn_limits cl;
    int rc = conn_limits_of(&cl, b->cfg, now);

    if (rc == OK)
        rc = server_limit(b->net, &cl.limits);
    conn_limits_fini(&cl);
    return rc;
}

static int take_logs(struct broker *b, const struct config *now)
{
    struct logmgr_opts o;

    log_settings_of(now, &o);
    return logmgr_configure(b->logs, &o);
}

/* By the background thread: one row for each property, those of one taker beside each other. */
static const struct taker {
    const char *name;
    int       (*take)(struct broker *b, const struct config *now);
} takers[] = {
    { "num.io.threads", take_io_threads },
    { "background.threads", take_background_threads },
    { "num.replica.fetchers", take_fetchers },
    { "max.connections", take_limits },
    { "max.connections.per.ip", take_limits },
    { "max.connections.per.ip.overrides", take_limits },
    { "max.connection.creation.rate", take_limits },
    { "log.cleaner.threads", take_logs },
    { "log.cleaner.backoff.ms", take_logs },
    { "log.cleaner.dedupe.buffer.size", take_logs },
    { "log.cleaner.io.buffer.size", take_logs },
    { "log.cleaner.io.buffer.load.factor", take_logs },
    { "log.cleaner.io.max.bytes.per.second", take_logs },
    { "producer.id.expiration.ms", take_logs },
    { "replica.alter.log.dirs.io.max.bytes.per.second", take_logs },
};
#define TAKERS_N (sizeof takers / sizeof takers[0])

static void take_rates(struct broker *b, const struct config *now)
{
    repl_quota_set_rate(replicas_leader_quota(b->replicas), now->leader_replication_throttled_rate);
    repl_quota_set_rate(replicas_follower_quota(b->replicas), now->follower_replication_throttled_rate);
}

static const char *const rates[] = { "leader.replication.throttled.rate", "follower.replication.throttled.rate" };

static bool is_default_of_topics(const struct param *p)
{
    for (size_t i = 0; i < topic_params.n; i++)
        if (topic_params.v[i].server_name != NULL && strcmp(topic_params.v[i].server_name, p->name) == 0)
            return true;
    /* what those are derived from, in other units */
    return strncmp(p->name, "log.retention.", 14) == 0 || strncmp(p->name, "log.roll.", 9) == 0 ||
           strncmp(p->name, "log.message.", 12) == 0 || strncmp(p->name, "log.flush.", 10) == 0;
}

bool reconfigure_knows(const struct param *p)
{
    for (size_t i = 0; i < TAKERS_N; i++)
        if (strcmp(takers[i].name, p->name) == 0)
            return true;
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++)
        if (strcmp(rates[i], p->name) == 0)
            return true;
    return is_default_of_topics(p);
}

/* ---- what has changed --------------------------------------------------------------------------------------- */

static bool differs(const struct param *p, const struct config *old, const struct config *now, struct arena *a)
{
    const char *x = NULL, *y = NULL;

    if (param_text(p, old, a, &x) != OK || param_text(p, now, a, &y) != OK)
        return true;
    return (x == NULL) != (y == NULL) || (x != NULL && strcmp(x, y) != 0);
}

/* Limits that listeners have of their own. */
static bool listeners_differ(const struct config *old, const struct config *now)
{
    if (old->listeners_parsed_n != now->listeners_parsed_n)
        return true;
    for (size_t i = 0; i < now->listeners_parsed_n; i++) {
        const struct listener *x = &old->listeners_parsed[i], *y = &now->listeners_parsed[i];

        if (x->max_connections != y->max_connections ||
            x->max_connection_creation_rate != y->max_connection_creation_rate)
            return true;
    }
    return false;
}

static void say(const struct param *p)
{
    if (p->effect == CONFIG_LATER)
        log_warn("%s has a new value, but this broker goes on with the old one until it is restarted", p->name);
    else if (p->effect != CONFIG_EFFECT)
        log_warn("%s has a new value, but it has no effect in Klamm yet", p->name);
    else
        log_info("%s has a new value", p->name);
}

/* ---- taking it up ------------------------------------------------------------------------------------------- */

static void take_all(struct reconfigurer *r, const struct config *now, struct arena *a)
{
    int (*last)(struct broker *, const struct config *) = NULL;
    bool limits = listeners_differ(r->taken, now);

    for (size_t i = 0; i < TAKERS_N; i++) {
        const struct param *p = param_find(&server_params, str_of(takers[i].name));
        int rc;

        if (takers[i].take == last || !(differs(p, r->taken, now, a) || (takers[i].take == take_limits && limits)))
            continue;
        last = takers[i].take;
        rc = last(r->b, now);
        if (rc != OK)
            log_error("%s: its new value cannot be taken up: %s; it is when this broker is restarted", p->name,
                      err_text(rc));
    }
}

static void job(void *arg)
{
    struct reconfigurer *r = arg;
    struct config *now = broker_configs_get(r->b->broker_configs);
    struct arena a;

    arena_init(&a, TEXTS_BYTES);
    if (now != r->taken)
        take_all(r, now, &a);
    arena_fini(&a);
    config_unref(&r->taken);
    r->taken = now;
}

void reconfigurer_look(struct reconfigurer *r)
{
    struct config *now = broker_configs_get(r->b->broker_configs);
    bool topics = false;
    struct arena a;

    arena_init(&a, TEXTS_BYTES);
    for (size_t i = 0; i < server_params.n; i++) {
        const struct param *p = &server_params.v[i];

        if (p->when == CONFIG_READ_ONLY || !differs(p, r->seen, now, &a))
            continue;
        topics |= is_default_of_topics(p);
        say(p);
    }
    arena_fini(&a);
    if (listeners_differ(r->seen, now))
        log_info("listeners have new limits of their own");
    take_rates(r->b, now);
    if (topics && topic_configs_rebase(r->b->topic_configs, now) != OK)
        log_error("the new defaults of topics' settings hold for some topics only until this broker is restarted");
    if (topics)
        replicas_configure_all(r->b->replicas);
    config_unref(&r->seen);
    r->seen = now;
    job_now(r->b->sched, r->job);
}

/* ---- life --------------------------------------------------------------------------------------------------- */

int reconfigurer_new(struct reconfigurer **out, struct broker *b)
{
    struct reconfigurer *r = calloc(1, sizeof *r);
    int rc;

    *out = NULL;
    if (r == NULL)
        return ERR_NOMEM;
    r->b = b;
    r->seen = config_ref(b->cfg);
    r->taken = config_ref(b->cfg);
    take_rates(b, b->cfg);
    rc = scheduler_add(b->sched, "reconfiguration", SELDOM_MS, SELDOM_MS, job, r, &r->job);
    if (rc != OK)
        reconfigurer_free(&r);
    *out = r;
    return rc;
}

void reconfigurer_free(struct reconfigurer **rp)
{
    struct reconfigurer *r = *rp;

    *rp = NULL;
    if (r == NULL)
        return;
    job_cancel(r->b->sched, &r->job);
    config_unref(&r->seen);
    config_unref(&r->taken);
    free(r);
}
