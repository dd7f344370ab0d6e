/* tests/unit/broker/kit.h - a controller on a real embedded store, with a broker that is only a record of
 * what it was told. Everything is called from the test's thread.
 */
#ifndef TESTS_UNIT_BROKER_KIT_H
#define TESTS_UNIT_BROKER_KIT_H

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/cluster/registration.h"
#include "broker/cluster/broker_configs.h"
#include "broker/cluster/standing.h"
#include "broker/cluster/topic_configs.h"
#include "broker/controller/channel.h"
#include "broker/controller/controller.h"
#include "config/config.h"
#include "metadata/lmdb_store.h"
#include "metadata/znodes.h"
#include "proto/gen/leader_and_isr_request.h"
#include "proto/gen/leader_and_isr_response.h"
#include "proto/gen/stop_replica_request.h"
#include "proto/gen/stop_replica_response.h"
#include "proto/gen/update_metadata_request.h"
#include "proto/kerr.h"

#include <check.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BROKER     5
#define PATIENT_MS 200000               /* for what must come, on any machine */
#define LAI_TOPIC_ERROR struct leader_and_isr_response_leader_and_isr_topic_error
#define LAI_ERROR  struct leader_and_isr_response_leader_and_isr_partition_error
#define STOP_ERROR struct stop_replica_response_stop_replica_partition_error

/* ---- the broker: answers NONE to everything, at once, on the caller's thread ---- */

struct fake_broker {
    struct broker_channel  base;
    struct metadata_cache *cache;
    struct lock            lock;
    /* under lock */
    struct cond            cond;
    size_t                 lai, lai_partitions, um, um_partitions, stop, deleted;
    int16_t                stop_error;          /* what deletions are answered */
    int16_t                lai_error;           /* the same for each partition of LeaderAndIsr */
    char                   log[4096];           /* "L" "U" "S" "D" in the order in which they came */
};

static inline void fake_note(struct fake_broker *fb, const char *what)
{
    snprintf(fb->log + strlen(fb->log), sizeof fb->log - strlen(fb->log), "%s", what);
}

static inline void fake_stop(struct fake_broker *fb, struct control_request *req)
{
    const struct stop_replica_request *r = req->req.stop_replica;
    struct stop_replica_response *resp = arena_zalloc(&req->arena, sizeof *resp);
    size_t n = 0;

    for (int32_t i = 0; i < r->topic_states_n; i++)
        n += (size_t)r->topic_states[i].partition_states_n;
    resp->partition_errors = arena_array(&req->arena, n + 1, sizeof *resp->partition_errors);
    for (int32_t i = 0; i < r->topic_states_n; i++)
        for (int32_t k = 0; k < r->topic_states[i].partition_states_n; k++) {
            bool del = r->topic_states[i].partition_states[k].delete_partition;
            resp->partition_errors[resp->partition_errors_n++] = (STOP_ERROR){
                .topic_name = r->topic_states[i].topic_name,
                .partition_index = r->topic_states[i].partition_states[k].partition_index,
                .error_code = del ? fb->stop_error : (int16_t)0,
            };
            fb->deleted += del && fb->stop_error == 0;
            if (k == 0 && i == 0)
                fake_note(fb, del ? "D" : "S");
        }
    fb->stop++;
    req->resp.stop_replica = resp;
}

static inline void fake_lead(struct fake_broker *fb, struct control_request *req)
{
    const struct leader_and_isr_request *r = req->req.leader_and_isr;
    struct leader_and_isr_response *resp = arena_zalloc(&req->arena, sizeof *resp);

    resp->topics = arena_array(&req->arena, (size_t)r->topic_states_n + 1, sizeof *resp->topics);
    for (int32_t i = 0; i < r->topic_states_n && fb->lai_error != 0; i++) {
        LAI_TOPIC_ERROR *t = &resp->topics[resp->topics_n++];
        int32_t n = r->topic_states[i].partition_states_n;

        leader_and_isr_response_leader_and_isr_topic_error_init(t);
        t->topic_id = r->topic_states[i].topic_id;
        t->partition_errors = arena_array(&req->arena, (size_t)n + 1, sizeof *t->partition_errors);
        for (int32_t k = 0; k < n; k++)
            t->partition_errors[t->partition_errors_n++] = (LAI_ERROR){
                .topic_name = r->topic_states[i].topic_name,
                .partition_index = r->topic_states[i].partition_states[k].partition_index,
                .error_code = fb->lai_error,
            };
    }
    for (int32_t i = 0; i < r->topic_states_n; i++)
        fb->lai_partitions += (size_t)r->topic_states[i].partition_states_n;
    fb->lai++;
    fake_note(fb, "L");
    req->resp.leader_and_isr = resp;
}

static inline void fake_send(struct broker_channel *ch, struct control_request *req)
{
    struct fake_broker *fb = (struct fake_broker *)ch;

    lock_take(&fb->lock);
    req->rc = OK;
    if (req->api == API_LEADER_AND_ISR) {
        fake_lead(fb, req);
    } else if (req->api == API_STOP_REPLICA) {
        fake_stop(fb, req);
    } else {
        fb->um++;
        for (int32_t i = 0; i < req->req.update_metadata->topic_states_n; i++)
            fb->um_partitions += (size_t)req->req.update_metadata->topic_states[i].partition_states_n;
        fake_note(fb, "U");
    }
    lock_drop(&fb->lock);
    if (req->api == API_UPDATE_METADATA)
        ck_assert_int_eq(metadata_cache_update(fb->cache, req->req.update_metadata), OK);
    lock_take(&fb->lock);
    cond_broadcast(&fb->cond);
    lock_drop(&fb->lock);
    req->done(req);
}

static inline void fake_close(struct broker_channel *ch)
{
    struct fake_broker *fb = (struct fake_broker *)ch;

    cond_fini(&fb->cond);
    lock_fini(&fb->lock);
    free(fb);
}

/* ---- the whole ---- */

struct kit {
    char                    dir[64];
    struct config          *cfg;
    struct store           *store;
    struct metadata_cache  *cache;
    struct broker_configs  *broker_configs;
    struct topic_configs   *topic_configs;
    struct fake_broker     *fb;
    struct controller      *ctl;
    int64_t                 changes_keep_ms;    /* for kit_up() */
    int                   (*open_channel)(void *arg, int32_t id, int64_t epoch, const struct znode_broker *info,
                                          struct broker_channel **out);         /* the same; NULL: no others */
    void                   *open_channel_arg;
    struct standing        *standing;           /* the same; NULL: nobody asks */
    void                  (*store_opened)(struct store *s);     /* the same; NULL: nobody looks */
    int16_t                 lai_error;          /* the same: of struct fake_broker */
    bool                    session_ends;       /* the same: between the registration and the controller's start */
    atomic_int              configured;         /* how often a topic's settings changed */
    struct broker_endpoint  endpoint;
    struct broker_info      info;
    char                    cluster_id[UUID_TEXT_LEN + 1];
    int64_t                 epoch;
};

static inline void kit_configured(void *arg, struct str topic)
{
    (void)topic;
    atomic_fetch_add((atomic_int *)arg, 1);
}

/* Nobody is told of it. */
static inline void kit_end_session(struct kit *k)
{
    int64_t was = store_session(k->store);

    lmdb_store_expire(k->store);
    while (store_session(k->store) == was)
        sched_yield();
}

static inline void kit_up(struct kit *k, const char *override)
{
    /* Nothing shall happen by itself, however long a test takes. */
    struct config_input in = { .overrides = (const char *const[]){ "auto.leader.rebalance.enable=false", override },
                               .overrides_n = 1 + (override != NULL) };
    struct config_problems problems;
    struct controller_opts opts;

    ck_assert_int_eq(config_load(&k->cfg, &in, &problems), OK);
    config_problems_fini(&problems);
    ck_assert_int_eq(lmdb_store_open(&k->store, k->dir), OK);
    if (k->store_opened != NULL)
        k->store_opened(k->store);
    ck_assert_int_eq(cluster_open(k->store, NULL, k->cluster_id), OK);
    k->endpoint = (struct broker_endpoint){ "PLAINTEXT", "127.0.0.1", 9095, 0 };
    k->info = (struct broker_info){ .id = BROKER, .endpoints = &k->endpoint, .endpoints_n = 1 };
    ck_assert_int_eq(registration_register(k->store, &k->info, 0, &k->epoch), OK);
    ck_assert_int_eq(metadata_cache_new(&k->cache), OK);
    ck_assert_int_eq(topic_configs_new(&k->topic_configs, k->store, k->cfg), OK);
    ck_assert_int_eq(broker_configs_new(&k->broker_configs, k->store, k->cfg, 5), OK);
    k->fb = calloc(1, sizeof *k->fb);
    k->fb->base = (struct broker_channel){ fake_send, fake_close };
    k->fb->cache = k->cache;
    k->fb->lai_error = k->lai_error;
    lock_init(&k->fb->lock, LOCK_log);
    cond_init(&k->fb->cond);
    opts = (struct controller_opts){ .cfg = k->cfg, .broker = &k->info, .broker_epoch = k->epoch, .store = k->store,
                                     .standing = k->standing, .metacache = k->cache, .topic_configs = k->topic_configs,
                                     .broker_configs = k->broker_configs, .local = &k->fb->base,
                                     .changes_keep_ms = k->changes_keep_ms, .configured = kit_configured,
                                     .open_channel = k->open_channel, .open_channel_arg = k->open_channel_arg,
                                     .configured_arg = &k->configured };
    ck_assert_int_eq(controller_new(&k->ctl, &opts), OK);
    if (k->session_ends)
        kit_end_session(k);
    ck_assert_int_eq(controller_start(k->ctl), OK);
    ck_assert_int_eq(controller_wait_ready(k->ctl, PATIENT_MS), OK);
}

static inline void kit_down(struct kit *k)
{
    controller_stop(k->ctl);
    controller_free(&k->ctl);
    broker_configs_free(&k->broker_configs);
    topic_configs_free(&k->topic_configs);
    metadata_cache_free(&k->cache);
    store_free(&k->store);
    config_unref(&k->cfg);
}

static inline void kit_new(struct kit *k)
{
    snprintf(k->dir, sizeof k->dir, "/tmp/klamm-ctl-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(k->dir));
}

static inline void kit_end(struct kit *k)
{
    char path[128];

    snprintf(path, sizeof path, "%s/" LMDB_STORE_FILE, k->dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/" LMDB_STORE_FILE "-lock", k->dir);
    unlink(path);
    rmdir(k->dir);
}

/* ---- operations, waited for ---- */

struct kit_op {
    struct topic_op op;
    struct arena    arena;
    struct lock     lock;
    /* under lock */
    struct cond     cond;
    bool            done;
};

static inline void kit_op_done(struct topic_op *op)
{
    struct kit_op *ko = op->arg;

    lock_take(&ko->lock);
    ko->done = true;
    cond_signal(&ko->cond);
    lock_drop(&ko->lock);
}

static inline void kit_op_start(struct kit *k, struct kit_op *ko, enum topic_op_kind kind, struct topic_op_topic *t,
                                int32_t n, int32_t timeout_ms)
{
    arena_init(&ko->arena, (size_t)64 << 20);
    lock_init(&ko->lock, LOCK_log);
    cond_init(&ko->cond);
    ko->done = false;
    ko->op = (struct topic_op){ .kind = kind, .validate_only = ko->op.validate_only, .timeout_ms = timeout_ms,
                                .topics = t, .topics_n = n, .arena = &ko->arena, .done = kit_op_done, .arg = ko };
    controller_topic_op(k->ctl, &ko->op);
}

static inline void kit_op_wait(struct kit_op *ko)
{
    lock_take(&ko->lock);
    while (!ko->done)
        cond_wait(&ko->cond, &ko->lock);
    lock_drop(&ko->lock);
}

static inline void kit_op_run(struct kit *k, struct kit_op *ko, enum topic_op_kind kind, struct topic_op_topic *t,
                              int32_t n, int32_t timeout_ms)
{
    kit_op_start(k, ko, kind, t, n, timeout_ms);
    kit_op_wait(ko);
}

static inline void kit_op_end(struct kit_op *ko)
{
    cond_fini(&ko->cond);
    lock_fini(&ko->lock);
    arena_fini(&ko->arena);
    *ko = (struct kit_op){ .done = false };
}

static inline int16_t kit_create(struct kit *k, const char *name, int32_t partitions, int16_t replication)
{
    struct topic_op_topic t = { .name = str_of(name), .partitions = partitions, .replication = replication };
    struct kit_op ko = { .done = false };

    kit_op_run(k, &ko, TOPIC_OP_CREATE, &t, 1, PATIENT_MS);
    kit_op_end(&ko);
    return t.error;
}

static inline int16_t kit_delete(struct kit *k, const char *name, int32_t timeout_ms)
{
    struct topic_op_topic t = { .name = str_of(name) };
    struct kit_op ko = { .done = false };

    kit_op_run(k, &ko, TOPIC_OP_DELETE, &t, 1, timeout_ms);
    kit_op_end(&ko);
    return t.error;
}

/* One change: value NULL deletes. */
static inline int16_t kit_configure(struct kit *k, const char *name, const char *key, const char *value)
{
    struct topic_op_config ch = { str_of(key), str_of(value),
                                  value != NULL ? CONFIG_CHANGE_SET : CONFIG_CHANGE_DELETE };
    struct topic_op_topic t = { .name = str_of(name), .configs = &ch, .configs_n = 1 };
    struct kit_op ko = { .done = false };

    kit_op_run(k, &ko, TOPIC_OP_SETTINGS, &t, 1, 0);
    kit_op_end(&ko);
    return t.error;
}

/* The node's text, on the heap; NULL: it is not there. */
static inline char *kit_node(struct kit *k, const char *path)
{
    struct store_call *call = store_call_new(NULL, NULL);
    char *text = NULL;

    store_get(call, path, 0);
    if (store_run(k->store, call) == OK)
        text = strdup((const char *)call->ops[0].value.p);
    store_call_free(&call);
    return text;
}

static inline void kit_check_node(struct kit *k, const char *path, const char *want)
{
    char *text = kit_node(k, path);

    if (want == NULL)
        ck_assert_msg(text == NULL, "%s is there", path);
    else
        ck_assert_msg(text != NULL && strcmp(text, want) == 0, "%s: %s, want %s", path, text ? text : "absent", want);
    free(text);
}

/* Waits until the node has gone. */
static inline void kit_wait_gone(struct kit *k, const char *path)
{
    int64_t until = mono_ms() + 60000;
    char *text;

    while ((text = kit_node(k, path)) != NULL) {
        free(text);
        ck_assert_msg(mono_ms() < until, "%s is still there", path);
    }
}

#endif
