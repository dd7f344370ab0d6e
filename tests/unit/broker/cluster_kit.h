/* tests/unit/broker/cluster_kit.h - a controller with brokers that are only a record of what they host, on an embedded
 * store that can be made to fail: after a number of writes the controller is cut off from it, as if it had been
 * killed. Brokers answer at once, on the caller's thread; a slow one leaves StopReplica, and what comes after it, until
 * it is slow no more.
 */
#ifndef TESTS_UNIT_BROKER_CLUSTER_KIT_H
#define TESTS_UNIT_BROKER_CLUSTER_KIT_H

#include "tests/unit/broker/kit.h"

#define BROKERS_MAX    6                /* ids 1 to 6; the controller is 1 */
#define PARTITIONS_MAX 4                /* of topic "t" */
#define IDS_MAX        8

/* ---- what brokers host ---- */

struct hosted {
    bool    log;                        /* there is a log */
    bool    full;                       /* with everything that was ever acknowledged */
    int32_t leader, leader_epoch;       /* as last told */
    int32_t replicas[IDS_MAX], replicas_n, adding_n, removing_n;
    bool    was_new;                    /* the last LeaderAndIsr said so */
};

struct cluster;
struct cluster_channel {
    struct broker_channel base;
    struct cluster       *cl;
    int32_t               id;
};

/* ---- a store that ends: writes beyond `left`, and everything after them, are answered ERR_CLOSED ---- */

struct mortal {
    struct store  base;
    struct store *real;
    atomic_int    left;                 /* writes; negative: for ever */
    atomic_bool   dead;
};

struct cluster {
    struct kit              kit;        /* store: the real one */
    struct mortal           mortal;
    struct broker_channel  *local;
    int32_t                 n;
    bool                    up[BROKERS_MAX + 1];
    struct broker_endpoint  endpoints[BROKERS_MAX + 1];
    struct broker_info      info[BROKERS_MAX + 1];
    int64_t                 epoch[BROKERS_MAX + 1];
    const char             *override;
    struct lock             lock;
    /* under lock */
    bool                    slow[BROKERS_MAX + 1];
    struct control_request *left[BROKERS_MAX + 1];
    struct hosted           host[BROKERS_MAX + 1][PARTITIONS_MAX];
    char                    log[65536]; /* "L2 U1 S3 D3 ": what came, and to whom */
};

static inline void mortal_submit(struct store *s, struct store_call *call)
{
    struct mortal *m = (struct mortal *)s;
    bool writes = false;

    for (size_t i = 0; i < call->ops_n; i++)
        writes |= store_kind_writes(call->ops[i].kind);
    if (writes && atomic_load(&m->left) >= 0 && atomic_fetch_sub(&m->left, 1) == 0)
        atomic_store(&m->dead, true);
    if (atomic_load(&m->left) < -1)
        atomic_store(&m->left, -1);
    if (atomic_load(&m->dead) && strcmp(call->ops[0].path, "/") != 0) {     /* "/": store_barrier() */
        call->rc = ERR_CLOSED;
        call->done(call);
        return;
    }
    store_submit(m->real, call);
}

static inline void mortal_watcher(struct store *s, store_watcher_fn *fn, void *arg)
{
    store_set_watcher(((struct mortal *)s)->real, fn, arg);
}

static inline int64_t mortal_session(struct store *s)
{
    return store_session(((struct mortal *)s)->real);
}

static inline void mortal_free(struct store *s)
{
    (void)s;
}

/* ---- brokers ---- */

static inline void cluster_note(struct cluster *cl, const char *what, int32_t id)
{
    size_t n = strlen(cl->log);

    if (n < sizeof cl->log - 16)
        snprintf(cl->log + n, sizeof cl->log - n, "%s%d ", what, id);
}

static inline void hosted_lead(struct cluster *cl, int32_t id, const struct control_request *req)
{
    const struct leader_and_isr_request *r = req->req.leader_and_isr;

    for (int32_t i = 0; i < r->topic_states_n; i++) {
        if (!str_is(r->topic_states[i].topic_name, "t"))
            continue;
        for (int32_t k = 0; k < r->topic_states[i].partition_states_n; k++) {
            const struct leader_and_isr_request_leader_and_isr_partition_state *p =
                &r->topic_states[i].partition_states[k];
            struct hosted *h = &cl->host[id][p->partition_index];

            if (h->log && p->leader_epoch < h->leader_epoch)
                continue;
            ck_assert_int_le(p->replicas_n, IDS_MAX);
            /* A new partition: everybody begins with nothing, which is everything. */
            if (!h->log && p->leader_epoch == 0 && p->is_new && p->adding_replicas_n == 0)
                h->full = true;
            h->log = true;
            h->leader = p->leader;
            h->leader_epoch = p->leader_epoch;
            h->replicas_n = p->replicas_n;
            memcpy(h->replicas, p->replicas, (size_t)p->replicas_n * sizeof(int32_t));
            h->adding_n = p->adding_replicas_n;
            h->removing_n = p->removing_replicas_n;
            h->was_new = p->is_new;
        }
    }
}

static inline void hosted_stop(struct cluster *cl, int32_t id, struct control_request *req)
{
    const struct stop_replica_request *r = req->req.stop_replica;
    struct stop_replica_response *resp = arena_zalloc(&req->arena, sizeof *resp);
    bool any = false;
    size_t n = 0;

    for (int32_t i = 0; i < r->topic_states_n; i++)
        n += (size_t)r->topic_states[i].partition_states_n;
    resp->partition_errors = arena_array(&req->arena, n + 1, sizeof *resp->partition_errors);
    for (int32_t i = 0; i < r->topic_states_n; i++)
        for (int32_t k = 0; k < r->topic_states[i].partition_states_n; k++) {
            const struct stop_replica_request_stop_replica_partition_state *p = &r->topic_states[i].partition_states[k];

            resp->partition_errors[resp->partition_errors_n++] = (STOP_ERROR){
                .topic_name = r->topic_states[i].topic_name, .partition_index = p->partition_index };
            any |= p->delete_partition;
            if (p->delete_partition && str_is(r->topic_states[i].topic_name, "t"))
                cl->host[id][p->partition_index] = (struct hosted){ .log = false };
        }
    cluster_note(cl, any ? "D" : "S", id);
    req->resp.stop_replica = resp;
}

/* Under the lock: is it left for later? */
static inline bool cluster_leave(struct cluster *cl, int32_t id, struct control_request *req)
{
    struct control_request **end = &cl->left[id];

    if (!cl->slow[id] || (req->api != API_STOP_REPLICA && *end == NULL))
        return false;
    while (*end != NULL)
        end = &(*end)->next;
    req->next = NULL;
    *end = req;
    return true;
}

static inline void cluster_send(struct broker_channel *ch, struct control_request *req)
{
    struct cluster_channel *cc = (struct cluster_channel *)ch;
    struct cluster *cl = cc->cl;

    lock_take(&cl->lock);
    if (cluster_leave(cl, cc->id, req)) {
        lock_drop(&cl->lock);
        return;
    }
    req->rc = cl->up[cc->id] ? OK : ERR_CLOSED;
    if (req->rc == OK && req->api == API_LEADER_AND_ISR) {
        hosted_lead(cl, cc->id, req);
        req->resp.leader_and_isr = arena_zalloc(&req->arena, sizeof *req->resp.leader_and_isr);
        cluster_note(cl, "L", cc->id);
    } else if (req->rc == OK && req->api == API_STOP_REPLICA) {
        hosted_stop(cl, cc->id, req);
    } else if (req->rc == OK) {
        cluster_note(cl, "U", cc->id);
    }
    lock_drop(&cl->lock);
    if (req->rc == OK && req->api == API_UPDATE_METADATA && cc->id == 1)
        ck_assert_int_eq(metadata_cache_update(cl->kit.cache, req->req.update_metadata), OK);
    req->done(req);
}

static inline struct control_request *cluster_take_left(struct cluster *cl, int32_t id)
{
    struct control_request *req;

    lock_take(&cl->lock);
    req = cl->left[id];
    cl->left[id] = NULL;
    cl->slow[id] = false;
    lock_drop(&cl->lock);
    return req;
}

/* The broker does what it has left, and is slow no more. */
static inline void cluster_hurry(struct cluster *cl, int32_t id)
{
    struct cluster_channel cc = { .cl = cl, .id = id };

    for (struct control_request *req = cluster_take_left(cl, id), *next; req != NULL; req = next) {
        next = req->next;
        cluster_send(&cc.base, req);
    }
}

static inline void cluster_close(struct broker_channel *ch)
{
    struct cluster_channel *cc = (struct cluster_channel *)ch;

    for (struct control_request *req = cluster_take_left(cc->cl, cc->id), *next; req != NULL; req = next) {
        next = req->next;
        req->rc = ERR_CLOSED;
        req->done(req);
    }
    free(cc);
}

static inline int cluster_open_channel(void *arg, int32_t id, int64_t epoch, const struct znode_broker *info,
                                       struct broker_channel **out)
{
    struct cluster_channel *cc = calloc(1, sizeof *cc);

    (void)epoch, (void)info;
    *cc = (struct cluster_channel){ { .send = cluster_send, .close = cluster_close }, arg, id };
    *out = &cc->base;
    return OK;
}

static inline void cluster_register(struct cluster *cl, int32_t id)
{
    cl->endpoints[id] = (struct broker_endpoint){ "PLAINTEXT", "127.0.0.1", 9090 + id, 0 };
    cl->info[id] = (struct broker_info){ .id = id, .endpoints = &cl->endpoints[id], .endpoints_n = 1 };
    cl->up[id] = true;
    ck_assert_int_eq(registration_register(cl->kit.store, &cl->info[id], 0, &cl->epoch[id]), OK);
}

/* The broker dies: its node goes. What it hosts stays with it. */
static inline void cluster_unregister(struct cluster *cl, int32_t id)
{
    struct store_call *call = store_call_new(NULL, NULL);

    lock_take(&cl->lock);
    cl->up[id] = false;
    lock_drop(&cl->lock);
    store_delete(call, zpath_broker(id).z, STORE_ANY_VERSION);
    ck_assert_int_eq(store_run(cl->kit.store, call), OK);
    store_call_free(&call);
}

static const struct store_backend mortal_backend = { .submit = mortal_submit, .watcher = mortal_watcher,
                                                     .session = mortal_session, .free = mortal_free };

/* A new process with a new session, that is cut off after `writes` (negative: never). */
static inline void cluster_start(struct cluster *cl, int writes)
{
    struct kit *k = &cl->kit;
    struct config_input in = { .overrides = (const char *const[]){ cl->override },
                               .overrides_n = cl->override != NULL };
    struct config_problems problems;
    struct controller_opts opts;

    ck_assert_int_eq(config_load(&k->cfg, &in, &problems), OK);
    config_problems_fini(&problems);
    ck_assert_int_eq(lmdb_store_open(&k->store, k->dir), OK);
    ck_assert_int_eq(cluster_open(k->store, NULL, k->cluster_id), OK);
    for (int32_t id = 1; id <= cl->n; id++)
        if (cl->up[id])
            cluster_register(cl, id);
    cl->mortal = (struct mortal){ .base = { .backend = &mortal_backend }, .real = k->store, .left = writes };
    ck_assert_int_eq(metadata_cache_new(&k->cache), OK);
    ck_assert_int_eq(topic_configs_new(&k->topic_configs, k->store, k->cfg), OK);
    ck_assert_int_eq(cluster_open_channel(cl, 1, 0, NULL, &cl->local), OK);
    opts = (struct controller_opts){ .cfg = k->cfg, .broker = &cl->info[1], .broker_epoch = cl->epoch[1],
                                     .store = &cl->mortal.base, .metacache = k->cache,
                                     .topic_configs = k->topic_configs, .local = cl->local,
                                     .open_channel = cluster_open_channel, .open_channel_arg = cl,
                                     .configured = kit_configured, .configured_arg = &k->configured };
    ck_assert_int_eq(controller_new(&k->ctl, &opts), OK);
    ck_assert_int_eq(controller_start(k->ctl), OK);
    if (writes < 0)
        ck_assert_int_eq(controller_wait_ready(k->ctl, PATIENT_MS), OK);
}

static inline void cluster_stop(struct cluster *cl)
{
    kit_down(&cl->kit);
}

static inline void cluster_new(struct cluster *cl, int32_t n, const char *override)
{
    *cl = (struct cluster){ .n = n, .override = override };
    kit_new(&cl->kit);
    lock_init(&cl->lock, LOCK_log);
    for (int32_t id = 1; id <= n; id++)
        cl->up[id] = true;
    cluster_start(cl, -1);
}

static inline void cluster_end(struct cluster *cl)
{
    lock_fini(&cl->lock);
    kit_end(&cl->kit);
}

static inline bool cluster_dead(struct cluster *cl)
{
    return atomic_load(&cl->mortal.dead);
}

/* ---- nodes ---- */

static inline struct znode_topic cluster_topic(struct cluster *cl, struct arena *a)
{
    char *text = kit_node(&cl->kit, "/brokers/topics/t");
    struct znode_topic z;

    ck_assert_ptr_nonnull(text);
    ck_assert_int_eq(znode_topic_read((struct bytes){ (uint8_t *)text, strlen(text) }, a, &z), OK);
    free(text);
    return z;
}

static inline bool cluster_state(struct cluster *cl, struct arena *a, int32_t partition, struct znode_state *s,
                                 int32_t *version)
{
    struct store_call *call = store_call_new(NULL, NULL);
    bool there;

    store_get(call, zpath_state(STR_LIT("t"), partition).z, 0);
    there = store_run(cl->kit.store, call) == OK;
    if (there) {
        ck_assert_int_eq(znode_state_read(call->ops[0].value, a, s), OK);
        *version = call->ops[0].stat.version;
    }
    store_call_free(&call);
    return there;
}

static inline void cluster_write(struct cluster *cl, const char *path, const char *text)
{
    struct store_call *call = store_call_new(NULL, NULL);

    store_create(call, path, (struct bytes){ (const uint8_t *)text, strlen(text) }, 0);
    ck_assert_int_eq(store_run(cl->kit.store, call), OK);
    store_call_free(&call);
}

#endif
