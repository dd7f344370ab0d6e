/* tests/unit/broker/group/coord_kit.h - a coordinator on a real replica manager and real logs, in a directory of its
 * own. The test plays the controller: it says who leads which partition of __consumer_offsets. */
#ifndef TESTS_UNIT_BROKER_GROUP_COORD_KIT_H
#define TESTS_UNIT_BROKER_GROUP_COORD_KIT_H

#include "base/clock.h"
#include "base/log.h"
#include "base/scheduler.h"
#include "base/timer.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/cluster/topic_configs.h"
#include "broker/group/groups.h"
#include "broker/group/offsets.h"
#include "broker/group/records.h"
#include "broker/replica/partition.h"
#include "broker/replica/replicas.h"
#include "config/config.h"
#include "metadata/lmdb_store.h"
#include "proto/gen/group_metadata_value.h"
#include "proto/gen/leader_and_isr_request.h"
#include "proto/gen/leader_and_isr_response.h"
#include "proto/gen/stop_replica_request.h"
#include "proto/gen/stop_replica_response.h"
#include "proto/kerr.h"
#include "proto/records/builder.h"
#include "storage/logmgr.h"

#include <check.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SELF = 1, OTHER = 2, WAIT_MS = 60000 };

#define ok(e) ck_assert_int_eq((e), OK)

struct world {
    char                   dir[64];
    struct arena           arena;
    struct config         *cfg;
    struct store          *store;
    struct timer          *timer;
    struct scheduler      *sched;
    struct logmgr         *logs;
    struct metadata_cache *metacache;
    struct topic_configs  *configs;
    struct replicas       *rs;
    struct groups         *gs;
    struct uuid            topic_id;
};

static struct world w;
static int64_t world_min_free = -1;     /* klamm.log.dir.min.free.bytes of the next world */

static inline void world_log_opts(void *arg, struct str topic, struct log_opts *out)
{
    (void)arg;
    (void)topic;
    log_opts_init(out);
}

static inline void world_on_role(void *arg, struct str topic, int32_t partition, bool leads)
{
    struct world *x = arg;

    if (!str_eq(topic, groups_topic))
        return;
    if (leads)
        groups_leads(x->gs, partition);
    else
        groups_resigns(x->gs, partition);
}

static inline void world_up(size_t overrides_n, const char *const *overrides)
{
    struct config_problems problems;
    struct config_input in = { .overrides = overrides, .overrides_n = overrides_n };
    struct logmgr_opts lo;
    struct logmgr_loaded loaded;
    const char *dirs[1] = { w.dir };

    ok(config_load(&w.cfg, &in, &problems));
    config_problems_fini(&problems);
    arena_init(&w.arena, 64 << 20);
    ok(timer_new(&w.timer));
    ok(scheduler_new(&w.sched, 4));
    logmgr_opts_init(&lo);
    lo.dirs = dirs;
    lo.dirs_n = 1;
    lo.min_free_bytes = world_min_free;
    ok(logmgr_open(&lo, &w.logs));
    ok(lmdb_store_open(&w.store, w.dir));
    ok(logmgr_identify(w.logs, SELF, "AAAAAAAAAAAAAAAAAAAAAA"));
    ok(logmgr_load(w.logs, world_log_opts, NULL));
    ok(logmgr_wait_loaded(w.logs, -1, &loaded));
    ok(logmgr_start(w.logs, w.sched));
    ok(metadata_cache_new(&w.metacache));
    ok(topic_configs_new(&w.configs, w.store, w.cfg));
    ok(replicas_new(&w.rs, &(struct replicas_opts){ .broker_id = SELF, .cfg = w.cfg, .logs = w.logs, .sched = w.sched,
                                                    .timer = w.timer, .metacache = w.metacache,
                                                    .topic_configs = w.configs }));
    ok(groups_new(&w.gs, &(struct groups_opts){ .cfg = w.cfg, .replicas = w.rs, .metacache = w.metacache,
                                                .store = w.store, .sched = w.sched, .timer = w.timer }));
    replicas_on_role(w.rs, world_on_role, &w);
}

/* Overrides as "key=value", ...; log lines only if they are fatal. */
#define world_new(...)                                                                      \
    do {                                                                                    \
        const char *const over_[] = { "group.initial.rebalance.delay.ms=0", ##__VA_ARGS__ };\
        atomic_store(&log_threshold, getenv("KIT_LOG") != NULL ? LOG_INFO : LOG_FATAL);     \
        w = (struct world){ .topic_id = uuid_random() };                                    \
        snprintf(w.dir, sizeof w.dir, "/tmp/klamm-groups-XXXXXX");                          \
        ck_assert_ptr_nonnull(mkdtemp(w.dir));                                              \
        world_up(sizeof over_ / sizeof over_[0], over_);                                    \
    } while (0)

static inline void world_down(void)
{
    replicas_stop(w.rs);
    groups_stop(w.gs);
    ok(logmgr_stop(w.logs));
    replicas_on_role(w.rs, NULL, NULL);
    groups_free(&w.gs);
    replicas_free(&w.rs);
    topic_configs_free(&w.configs);
    metadata_cache_free(&w.metacache);
    store_free(&w.store);
    logmgr_free(&w.logs);
    scheduler_free(&w.sched);
    timer_free(&w.timer);
    config_unref(&w.cfg);
    arena_fini(&w.arena);
}

static inline int world_remove(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static inline void world_end(void)
{
    world_down();
    nftw(w.dir, world_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- the controller -------------------- */

/* Leader of that partition is `leader`; in sync are SELF and, if `both`, OTHER. */
static inline void tell(int32_t partition, int32_t leader, int32_t epoch, bool both)
{
    struct leader_and_isr_request req;
    struct leader_and_isr_response resp;
    struct leader_and_isr_request_leader_and_isr_topic_state topic;
    struct leader_and_isr_request_leader_and_isr_partition_state state;
    int32_t replicas[2] = { SELF, OTHER };

    leader_and_isr_request_init(&req);
    leader_and_isr_request_leader_and_isr_topic_state_init(&topic);
    leader_and_isr_request_leader_and_isr_partition_state_init(&state);
    req.controller_epoch = 1;
    req.topic_states = &topic;
    req.topic_states_n = 1;
    topic.topic_name = groups_topic;
    topic.topic_id = w.topic_id;
    topic.partition_states = &state;
    topic.partition_states_n = 1;
    state.partition_index = partition;
    state.leader = leader;
    state.leader_epoch = epoch;
    state.replicas = replicas;
    state.replicas_n = 2;
    state.isr = replicas;
    state.isr_n = both ? 2 : 1;
    ok(replicas_leader_and_isr(w.rs, &req, &resp, &w.arena));
    ck_assert_int_eq(resp.topics[0].partition_errors[0].error_code, KERR_NONE);
}

static inline void delete_partition(int32_t partition)
{
    struct stop_replica_request req;
    struct stop_replica_response resp;
    struct stop_replica_request_stop_replica_topic_state topic;
    struct stop_replica_request_stop_replica_partition_state state;

    stop_replica_request_init(&req);
    stop_replica_request_stop_replica_topic_state_init(&topic);
    stop_replica_request_stop_replica_partition_state_init(&state);
    req.controller_epoch = 1;
    req.topic_states = &topic;
    req.topic_states_n = 1;
    topic.topic_name = groups_topic;
    topic.partition_states = &state;
    topic.partition_states_n = 1;
    state.partition_index = partition;
    state.leader_epoch = -2;
    state.delete_partition = true;
    ok(replicas_stop_replica(w.rs, &req, &resp, &w.arena));
    ck_assert_int_eq(resp.partition_errors[0].error_code, KERR_NONE);
}

static inline void wait_for(const char *id, int16_t kerr)
{
    int64_t until = mono_ms() + WAIT_MS;
    int16_t got;

    while ((got = groups_check(w.gs, str_of(id))) != kerr && mono_ms() < until)
        poll(NULL, 0, 1);
    ck_assert_str_eq(kerr_name(got), kerr_name(kerr));
}

/* We lead the group's partition alone, and it is loaded. */
static inline int32_t lead_for(const char *id, int32_t epoch)
{
    int32_t p = groups_partition_of(w.gs, str_of(id));

    tell(p, SELF, epoch, false);
    wait_for(id, KERR_NONE);
    return p;
}

/* ---- what is in the log -------------------- */

static inline void append_raw(int32_t partition, struct bytes set)
{
    struct partition *p = replicas_find(w.rs, groups_topic, partition, NULL);
    struct plog_append in = { .len = set.len, .origin = APPEND_COORDINATOR };
    struct plog_appended out;

    ck_assert_ptr_nonnull(p);
    in.p = malloc(set.len);
    memcpy(in.p, set.p, set.len);
    ck_assert_str_eq(kerr_name(partition_append(p, &in, 1, &out)), "NONE");
    free(in.p);
    partition_unref(&p);
}

/* One batch. producer < 0: of no transaction. */
static inline void append(int32_t partition, int64_t producer, const struct group_record *v, size_t n)
{
    static int32_t sequence;
    struct builder_opts o;
    struct builder b;
    struct bytes set;

    builder_opts_init(&o);
    if (producer >= 0) {
        o.txn = true;
        o.producer_id = producer;
        o.producer_epoch = 0;
        o.base_sequence = sequence;
        sequence += (int32_t)n;
    }
    builder_init(&b, &o, &w.arena);
    for (size_t i = 0; i < n; i++) {
        struct record r = { .offset = (int64_t)i, .timestamp = wall_ms(), .key = v[i].key, .value = v[i].value };

        builder_add(&b, &r);
    }
    ok(builder_finish(&b, &set));
    append_raw(partition, set);
    builder_fini(&b);
}

static inline void append_marker(int32_t partition, int64_t producer, enum control_type type)
{
    struct builder_opts o;
    struct bytes set;

    builder_opts_init(&o);
    o.producer_id = producer;
    o.producer_epoch = 0;
    o.txn = o.control = true;
    ok(control_batch_build(&o, type, 1, wall_ms(), &w.arena, &set));
    append_raw(partition, set);
}

static inline struct group_record a_commit(const char *group, const char *topic, int32_t partition, int64_t offset)
{
    struct committed c = { .offset = offset, .commit_ms = wall_ms(), .expire_ms = -1, .leader_epoch = -1,
                           .metadata = STR_LIT("") };
    struct group_record r;

    ok(offset_record(groups_versions(w.gs), &w.arena, str_of(group), str_of(topic), partition,
                     offset >= 0 ? &c : NULL, &r));
    return r;
}

static int32_t session_ms = 30000;      /* of a_group()'s members */

static inline struct group_record a_group(const char *group, int32_t generation, int32_t members)
{
    struct group_metadata_value v;
    struct group_record r;
    struct chain ch;
    uint8_t *p;

    group_metadata_value_init(&v);
    v.protocol_type = STR_LIT("consumer");
    v.generation = generation;
    v.protocol = STR_LIT("range");
    v.leader = STR_LIT("m-0");
    v.current_state_timestamp = wall_ms();
    v.members_n = members;
    v.members = arena_array(&w.arena, (size_t)members + 1, sizeof *v.members);
    for (int32_t i = 0; i < members; i++) {
        group_metadata_value_member_metadata_init(&v.members[i]);
        v.members[i].member_id = str_of(arena_printf(&w.arena, "m-%d", (int)i));
        v.members[i].client_id = STR_LIT("c");
        v.members[i].client_host = STR_LIT("/127.0.0.1");
        v.members[i].rebalance_timeout = v.members[i].session_timeout = session_ms;
    }
    chain_init(&ch, &w.arena);
    chain_i16(&ch, 3);
    ok(group_metadata_value_write(&ch, &v, 3));
    p = arena_alloc(&w.arena, ch.len);
    ok(chain_flatten(&ch, p, ch.len));
    ok(metadata_record(&w.arena, str_of(group), (struct bytes){ p, ch.len }, &r));
    return r;
}

/* ---- what the coordinator has -------------------- */

/* -1: none. */
static inline int64_t offset_of(const char *group, const char *topic, int32_t partition)
{
    struct group_session s;
    struct committed c = { .offset = -1 };

    ck_assert_str_eq(kerr_name(groups_enter(w.gs, str_of(group), GROUPS_EXISTING, &s)), "NONE");
    if (s.g != NULL && !group_offsets_get(s.g->offsets, str_of(topic), partition, &c))
        c.offset = -1;
    groups_leave(&s);
    return c.offset;
}

static inline bool is_here(const char *group)
{
    struct group_session s;
    bool yes;

    ck_assert_str_eq(kerr_name(groups_enter(w.gs, str_of(group), GROUPS_EXISTING, &s)), "NONE");
    yes = s.g != NULL;
    groups_leave(&s);
    return yes;
}

static inline int kit_run(const char *name, const TTest *const *v, size_t n)
{
    Suite *s = suite_create(name);
    SRunner *r = srunner_create(s);
    int failed;

    for (size_t i = 0; i < n; i++) {
        TCase *t = tcase_create(v[i]->name);

        tcase_set_timeout(t, 60);
        tcase_add_test(t, v[i]);
        suite_add_tcase(s, t);
    }
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
