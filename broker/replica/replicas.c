/* broker/replica/replicas.c - the replica manager's life, its settings, and who wants to know of roles. */
#include "broker/replica/replicas_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/scheduler.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/cluster/topic_configs.h"
#include "broker/replica/leader.h"
#include "broker/replica/quota.h"
#include "broker/replica/fetch_session.h"
#include "config/config.h"

#include <stdlib.h>

/* ---- settings -------------------------------------------------------------------------------------------------- */

/* A partition that is put into the map at the moment in which its topic's settings change is configured by the one that
 * changes them or, after it is in the map, by the one that puts it there, or by both: the last has the newest. */
void replicas_configure_one(struct replicas *rs, struct partition *p)
{
    struct topic_config_entry *e;

    lock_take(&rs->settings);
    e = topic_configs_get(rs->opts.topic_configs, p->topic);
    partition_set_conf(p, &e->cfg);
    lock_drop(&rs->settings);
    topic_config_entry_put(&e);
}

/* Of one topic, or of all (a null name). *n references; NULL: none, or out of memory (*failed). */
static struct partition **partitions_in(struct map_shard *s, struct str topic, size_t *n, bool *failed)
{
    struct partition **v = NULL;

    *n = 0;
    lock_take(&s->lock);
    for (struct partition *p = s->map; p != NULL; p = p->hh.next) {
        if (topic.p != NULL && !str_eq(p->topic, topic))
            continue;
        if (v == NULL && (v = calloc(HASH_COUNT(s->map), sizeof *v)) == NULL) {
            *failed = true;
            break;
        }
        v[(*n)++] = partition_ref(p);
    }
    lock_drop(&s->lock);
    return v;
}

void replicas_configure(struct replicas *rs, struct str topic)
{
    bool failed = false;

    for (int i = 0; i < MAP_SHARDS; i++) {
        size_t n;
        struct partition **v = partitions_in(&rs->shard[i], topic, &n, &failed);

        for (size_t k = 0; k < n; k++) {
            replicas_configure_one(rs, v[k]);
            partition_recheck(v[k]);
            partition_unref(&v[k]);
        }
        free(v);
    }
    if (failed)
        log_error("%s %.*s: out of memory: some partitions keep their old settings until the broker starts again",
                  topic.p != NULL ? "topic" : "all topics", STR_ARG(topic));
}

void replicas_configure_all(struct replicas *rs)
{
    replicas_configure(rs, (struct str){ NULL, 0 });
}

/* ---- who wants to know ---------------------------------------------------------------------------------------- */

void replicas_on_role(struct replicas *rs, replicas_role_fn *fn, void *arg)
{
    lock_take(&rs->becoming);
    rs->role_arg = arg;
    rs->on_role = fn;
    lock_drop(&rs->becoming);
}

void replicas_tell_role(struct replicas *rs, struct partition *p)
{
    if (rs->on_role != NULL)
        rs->on_role(rs->role_arg, p->topic, p->index, partition_standing(p).role == ROLE_LEADER);
}

/* ---- who lags, and whom nobody fetches --------------------------------------------------------------------------- */

/* Apache Kafka looks every replica.lag.time.max.ms / 2; who lags need not be waited for that much longer. */
#define ISR_LOOK_MS_MAX 1000
#define ISR_LOOK_MS_MIN 10

static void look(struct partition *p)
{
    partition_shrink_isr(p, mono_ms());
}

static void each_led(struct replicas *rs, void (*fn)(struct partition *))
{
    for (int i = 0; i < MAP_SHARDS; i++) {
        struct map_shard *s = &rs->shard[i];
        struct partition **v;
        size_t n = 0;

        lock_take(&s->lock);
        v = calloc(HASH_COUNT(s->map) + 1, sizeof *v);
        for (struct partition *p = s->map; v != NULL && p != NULL; p = p->hh.next)
            if (partition_standing(p).role == ROLE_LEADER && atomic_load(&p->replicas_n) > 1)
                v[n++] = partition_ref(p);
        lock_drop(&s->lock);
        for (size_t k = 0; k < n; k++) {
            fn(v[k]);
            partition_unref(&v[k]);
        }
        free(v);
    }
}

static void look_again(void *arg)
{
    struct replicas *rs = arg;

    if (rs->opts.isr != NULL)
        each_led(rs, look);
    fetchers_try_again(rs->fetchers);
}

static int begin_looking(struct replicas *rs)
{
    int64_t period = rs->opts.cfg->replica_lag_time_max_ms / 2;

    if (period > ISR_LOOK_MS_MAX)
        period = ISR_LOOK_MS_MAX;
    if (period < ISR_LOOK_MS_MIN)
        period = ISR_LOOK_MS_MIN;
    return scheduler_add(rs->opts.sched, "isr-expiration", period, period, look_again, rs, &rs->lags);
}

/* By a number that tells sets of broker ids apart. On the thread that updates the metadata. */
static bool others_live(struct replicas *rs)
{
    struct metadata *md = metadata_get(rs->opts.metacache);
    uint64_t sum = 0;
    size_t n;
    const struct metadata_broker *b = metadata_brokers(md, &n);

    for (size_t i = 0; i < n; i++)
        sum = (sum ^ (uint32_t)b[i].id) * UINT64_C(0x100000001B3) + 1;
    metadata_put(&md);
    return atomic_exchange(&rs->live_sum, sum) != sum;
}

/* Who is gone holds no high watermark back, and asks for none again: see leader.h, invariant 3. */
static void brokers_changed(void *arg)
{
    struct replicas *rs = arg;

    fetchers_brokers_changed(rs->fetchers);
    if (others_live(rs))
        each_led(rs, partition_recheck);
}

static int begin_fetchers(struct replicas *rs)
{
    struct fetchers_opts o = { .cfg = rs->opts.cfg, .broker_id = rs->opts.broker_id, .standing = rs->opts.standing,
                               .metacache = rs->opts.metacache, .quota = rs->follower_quota,
                               .doubts = rs->opts.doubts };

    TRY(fetchers_new(&rs->fetchers, &o));
    metadata_cache_listen(o.metacache, brokers_changed, rs);
    return OK;
}

void replicas_set_fetchers(struct replicas *rs, int32_t n)
{
    fetchers_set_number(rs->fetchers, n);
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

static int choose_selector(struct replicas *rs)
{
    const char *name = rs->opts.cfg->replica_selector_class;
    int rc = replica_selector_of(name, &rs->selector);

    if (rc != OK)
        log_error("replica.selector.class=%s: no such class is built in; leave it out, or give "
                  "org.apache.kafka.common.replica.RackAwareReplicaSelector", name);
    return rc;
}

int replicas_new(struct replicas **out, const struct replicas_opts *opts)
{
    struct replicas *rs = calloc(1, sizeof *rs);
    int rc;

    if (rs == NULL)
        return ERR_NOMEM;
    rs->opts = *opts;
    lock_init(&rs->becoming, LOCK_becoming);
    absents_init(&rs->absents);
    lock_init(&rs->settings, LOCK_settings);
    for (int i = 0; i < MAP_SHARDS; i++)
        lock_init(&rs->shard[i].lock, LOCK_replicas);
    rc = purgatory_new(&rs->fetches, opts->timer);
    if (rc == OK)
        rc = purgatory_new(&rs->produces, opts->timer);
    if (rc == OK)
        rc = fetch_sessions_new(&rs->sessions, opts->cfg->max_incremental_fetch_session_cache_slots);
    if (rc == OK)
        rc = refused_new(&rs->refused);
    if (rc == OK)
        rc = repl_quota_new(&rs->leader_quota, opts->cfg);
    if (rc == OK)
        rc = repl_quota_new(&rs->follower_quota, opts->cfg);
    if (rc == OK)
        rc = choose_selector(rs);
    if (rc == OK)
        rc = begin_fetchers(rs);
    if (rc == OK)
        rc = begin_looking(rs);
    if (rc == OK) {
        logmgr_on_flushed(opts->logs, replicas_flushed, rs);
        logmgr_on_swap(opts->logs, replicas_swap_log, rs);
    } else {
        replicas_free(&rs);
    }
    *out = rs;
    return rc;
}

void replicas_leave(struct replicas *rs)
{
    atomic_store(&rs->leaving, true);
}

bool replicas_lacked_room(struct replicas *rs)
{
    return rs != NULL && atomic_exchange(&rs->lacked_room, false);
}

void replicas_stop(struct replicas *rs)
{
    lock_take(&rs->becoming);
    atomic_store(&rs->stopped, true);
    lock_drop(&rs->becoming);
    job_cancel(rs->opts.sched, &rs->lags);
    fetchers_stop(rs->fetchers);
    purgatory_stop(rs->fetches);
    purgatory_stop(rs->produces);
}

void replicas_free(struct replicas **rsp)
{
    struct replicas *rs = *rsp;

    if (rs == NULL)
        return;
    metadata_cache_unlisten(rs->opts.metacache, rs);
    logmgr_on_flushed(rs->opts.logs, NULL, NULL);
    fetchers_free(&rs->fetchers);
    for (int i = 0; i < MAP_SHARDS; i++) {
        struct map_shard *s = &rs->shard[i];
        struct partition *p, *next;

        HASH_ITER(hh, s->map, p, next) {
            HASH_DELETE(hh, s->map, p);
            partition_unref(&p);
        }
        lock_fini(&s->lock);
    }
    absents_fini(&rs->absents);
    fetch_sessions_free(&rs->sessions);
    refused_free(&rs->refused);
    repl_quota_free(&rs->follower_quota);
    repl_quota_free(&rs->leader_quota);
    purgatory_free(&rs->produces);
    purgatory_free(&rs->fetches);
    lock_fini(&rs->settings);
    lock_fini(&rs->becoming);
    free(rs);
    *rsp = NULL;
}

const struct replicas_opts *replicas_options(const struct replicas *rs)
{
    return &rs->opts;
}

size_t replicas_partitions(const struct replicas *rs)
{
    return atomic_load_explicit(&rs->partitions, memory_order_relaxed);
}

int32_t replicas_preferred(struct replicas *rs, struct partition *p, struct str listener, struct str rack,
                           int64_t offset)
{
    return replica_select(rs->selector, p, rs->opts.metacache, listener, rack, offset);
}

struct repl_quota *replicas_leader_quota(struct replicas *rs)
{
    return rs->leader_quota;
}

struct repl_quota *replicas_follower_quota(struct replicas *rs)
{
    return rs->follower_quota;
}

struct purgatory *replicas_fetch_purgatory(struct replicas *rs)
{
    return rs->fetches;
}

struct purgatory *replicas_produce_purgatory(struct replicas *rs)
{
    return rs->produces;
}

struct refused *replicas_refused(struct replicas *rs)
{
    return rs->refused;
}

struct fetch_sessions *replicas_fetch_sessions(struct replicas *rs)
{
    return rs->sessions;
}
