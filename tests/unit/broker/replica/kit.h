/* tests/unit/broker/replica/kit.h - a replica manager on a real log in a directory of its own, with what a controller
 * and clients say to it. One partition, t-0; this broker is SELF.
 */
#ifndef TESTS_UNIT_BROKER_REPLICA_KIT_H
#define TESTS_UNIT_BROKER_REPLICA_KIT_H

#include "broker/replica/replicas.h"

#include "base/scheduler.h"
#include "base/timer.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/cluster/topic_configs.h"
#include "broker/replica/partition.h"
#include "config/config.h"
#include "metadata/lmdb_store.h"
#include "proto/gen/leader_and_isr_request.h"
#include "proto/gen/leader_and_isr_response.h"
#include "proto/gen/stop_replica_request.h"
#include "proto/gen/stop_replica_response.h"
#include "proto/gen/update_metadata_request.h"
#include "proto/kerr.h"
#include "proto/records/builder.h"
#include "storage/logmgr.h"

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SELF = 1 };

#define request_state leader_and_isr_request_leader_and_isr_partition_state
#define request_topic leader_and_isr_request_leader_and_isr_topic_state

static char                   dir[64];
static struct arena           arena;
static struct config         *cfg;
static struct store          *store;
static struct timer          *timer;
static struct scheduler      *sched;
static struct logmgr         *logs;
static struct metadata_cache *metacache;
static struct topic_configs  *configs;
static struct replicas       *rs;
static struct uuid            topic_id;
static struct isr_changer    *changer;          /* set before setup(); NULL: none */
static void                 (*adjust)(struct config *);         /* before setup(): what the configuration has else */
static int32_t                partition_epoch;  /* of what tell() says */

static inline void log_opts_of(void *arg, struct str topic, struct log_opts *out)
{
    (void)arg;
    (void)topic;
    log_opts_init(out);
}

static inline void setup(void)
{
    struct config_problems problems;
    struct config_input in = { .file = NULL };
    struct logmgr_opts lo;
    struct logmgr_loaded loaded;
    const char *dirs[1] = { dir };

    snprintf(dir, sizeof dir, "/tmp/klamm-replicas-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    arena_init(&arena, 64 << 20);
    ck_assert_int_eq(config_load(&cfg, &in, &problems), OK);
    config_problems_fini(&problems);
    if (adjust != NULL)
        adjust(cfg);
    ck_assert_int_eq(timer_new(&timer), OK);
    ck_assert_int_eq(scheduler_new(&sched, 1), OK);
    logmgr_opts_init(&lo);
    lo.dirs = dirs;
    lo.dirs_n = 1;
    ck_assert_int_eq(logmgr_open(&lo, &logs), OK);
    ck_assert_int_eq(lmdb_store_open(&store, dir), OK);
    ck_assert_int_eq(logmgr_identify(logs, SELF, "AAAAAAAAAAAAAAAAAAAAAA"), OK);
    ck_assert_int_eq(logmgr_load(logs, log_opts_of, NULL), OK);
    ck_assert_int_eq(logmgr_wait_loaded(logs, -1, &loaded), OK);
    ck_assert_int_eq(logmgr_start(logs, sched), OK);
    ck_assert_int_eq(metadata_cache_new(&metacache), OK);
    ck_assert_int_eq(topic_configs_new(&configs, store, cfg), OK);
    ck_assert_int_eq(replicas_new(&rs, &(struct replicas_opts){ .broker_id = SELF, .cfg = cfg, .logs = logs,
                                                                .sched = sched, .timer = timer,
                                                                .metacache = metacache, .topic_configs = configs,
                                                                .isr = changer }),
                     OK);
    topic_id = uuid_random();
}

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static inline void teardown(void)
{
    replicas_stop(rs);
    replicas_free(&rs);
    topic_configs_free(&configs);
    metadata_cache_free(&metacache);
    ck_assert_int_eq(logmgr_stop(logs), OK);
    store_free(&store);
    logmgr_free(&logs);
    scheduler_free(&sched);
    timer_free(&timer);
    config_unref(&cfg);
    arena_fini(&arena);
    nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- the controller ---------------------------------------------------------------------------------------------- */

struct say {
    int32_t        controller_epoch;
    int32_t        leader, leader_epoch;
    const int32_t *replicas, *isr;      /* lists that end with -1 */
    struct uuid    id;
};

static const int32_t alone[] = { SELF, -1 }, both[] = { SELF, 2, -1 }, other[] = { 2, -1 };

static inline int32_t count(const int32_t *list)
{
    int32_t n = 0;

    while (list[n] != -1)
        n++;
    return n;
}

/* LeaderAndIsr for t-0; its error. */
static inline int16_t tell(struct say s)
{
    struct leader_and_isr_request req;
    struct leader_and_isr_response resp;
    struct request_topic topic;
    struct request_state state;

    leader_and_isr_request_init(&req);
    leader_and_isr_request_leader_and_isr_topic_state_init(&topic);
    leader_and_isr_request_leader_and_isr_partition_state_init(&state);
    req.controller_epoch = s.controller_epoch;
    req.topic_states = &topic;
    req.topic_states_n = 1;
    topic.topic_name = STR_LIT("t");
    topic.topic_id = s.id;
    topic.partition_states = &state;
    topic.partition_states_n = 1;
    state.partition_epoch = partition_epoch;
    state.leader = s.leader;
    state.leader_epoch = s.leader_epoch;
    state.replicas = (int32_t *)s.replicas;
    state.replicas_n = count(s.replicas);
    state.isr = (int32_t *)s.isr;
    state.isr_n = count(s.isr);
    ck_assert_int_eq(replicas_leader_and_isr(rs, &req, &resp, &arena), OK);
    ck_assert_int_eq(resp.topics_n, 1);
    ck_assert_int_eq(resp.topics[0].partition_errors_n, 1);
    return resp.error_code != 0 ? resp.error_code : resp.topics[0].partition_errors[0].error_code;
}

static inline int16_t stop(int32_t controller_epoch, int32_t leader_epoch, bool delete)
{
    struct stop_replica_request req;
    struct stop_replica_response resp;
    struct stop_replica_request_stop_replica_topic_state topic;
    struct stop_replica_request_stop_replica_partition_state state;

    stop_replica_request_init(&req);
    stop_replica_request_stop_replica_topic_state_init(&topic);
    stop_replica_request_stop_replica_partition_state_init(&state);
    req.controller_epoch = controller_epoch;
    req.topic_states = &topic;
    req.topic_states_n = 1;
    topic.topic_name = STR_LIT("t");
    topic.partition_states = &state;
    topic.partition_states_n = 1;
    state.leader_epoch = leader_epoch;
    state.delete_partition = delete;
    ck_assert_int_eq(replicas_stop_replica(rs, &req, &resp, &arena), OK);
    ck_assert_int_eq(resp.partition_errors_n, 1);
    return resp.error_code != 0 ? resp.error_code : resp.partition_errors[0].error_code;
}

static inline struct say lead(int32_t epoch)
{
    return (struct say){ 1, SELF, epoch, alone, alone, topic_id };
}

/* These brokers are. */
static inline void alive(const int32_t *ids, int32_t n)
{
    struct update_metadata_request req;
    struct update_metadata_request_update_metadata_broker brokers[16];
    struct update_metadata_request_update_metadata_endpoint ep;

    update_metadata_request_init(&req);
    update_metadata_request_update_metadata_endpoint_init(&ep);
    ep.host = STR_LIT("h");
    ep.port = 1;
    ep.listener = STR_LIT("PLAINTEXT");
    for (int32_t i = 0; i < n; i++) {
        update_metadata_request_update_metadata_broker_init(&brokers[i]);
        brokers[i].id = ids[i];
        brokers[i].endpoints = &ep;
        brokers[i].endpoints_n = 1;
    }
    req.live_brokers = brokers;
    req.live_brokers_n = n;
    ck_assert_int_eq(metadata_cache_update(metacache, &req), OK);
}

/* ---- clients ----------------------------------------------------------------------------------------------------- */

static inline struct partition *find(void)
{
    struct partition *p = replicas_find(rs, STR_LIT("t"), 0, NULL);

    ck_assert_ptr_nonnull(p);
    return p;
}

static inline struct bytes one_batch(int records, struct arena *a)
{
    struct builder_opts o;
    struct builder b;
    struct bytes set;

    builder_opts_init(&o);
    builder_init(&b, &o, a);
    for (int i = 0; i < records; i++)
        builder_add(&b, &(struct record){ .offset = i, .timestamp = 1000 + i,
                                          .value = { (const uint8_t *)"value", 5 } });
    ck_assert_int_eq(builder_finish(&b, &set), OK);
    builder_fini(&b);
    return set;
}

static inline int16_t append(struct partition *p, int records, int16_t acks, struct plog_appended *out)
{
    struct bytes set = one_batch(records, &arena);
    struct plog_append in = { .p = (uint8_t *)set.p, .len = set.len };

    return partition_append(p, &in, acks, out);
}

#endif
