/* broker/replica/replicas.c - the map of hosted partitions, and what the controller does to it.
 *
 * INVARIANTS
 *  1. A partition is in the map from its first LeaderAndIsr (or from when its log is loaded) to its deletion or the
 *     failure of its log directory, and has a standing before it is put there.
 *  2. Only the thread that holds `becoming` changes the map, the absent ones, or a partition's standing.
 *  3. A partition is in the map or among the absent ones, never in both.
 */
#define HASH_NONFATAL_OOM 1
#include "broker/replica/replicas.h"

#include "base/lock.h"
#include "base/log.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/cluster/topic_configs.h"
#include "broker/replica/absent.h"
#include "broker/replica/fetch_session.h"
#include "broker/replica/partition.h"
#include "config/config.h"
#include "proto/gen/leader_and_isr_request.h"
#include "proto/gen/leader_and_isr_response.h"
#include "proto/gen/stop_replica_request.h"
#include "proto/gen/stop_replica_response.h"
#include "proto/kerr.h"
#include "storage/logmgr.h"

#include <stdlib.h>

#define MAP_SHARDS     16
#define TOPIC_NAME_MAX 249

struct map_shard {
    struct lock       lock;             /* class replicas */
    struct partition *map;
};

struct replicas {
    /* fixed */
    struct replicas_opts   opts;
    struct purgatory      *fetches, *produces;
    struct fetch_sessions *sessions;
    /* any thread */
    atomic_bool            stopped;
    atomic_size_t          partitions;
    struct map_shard       shard[MAP_SHARDS];
    struct absents         absents;
    /* under `becoming` */
    struct lock            becoming;
    int32_t                controller_epoch;
    replicas_role_fn      *on_role;     /* NULL: nobody wants to know */
    void                  *role_arg;
    /* no fields: orders looking up a topic's settings and giving them to a partition */
    struct lock            settings;
};

/* ---- the map --------------------------------------------------------------------------------------------------- */

struct map_key {
    uint32_t len;
    unsigned hash;
    char     bytes[sizeof(int32_t) + TOPIC_NAME_MAX];
};

static bool key_make(struct map_key *k, struct str topic, int32_t index)
{
    if (topic.len > TOPIC_NAME_MAX || topic.len == 0)
        return false;
    memcpy(k->bytes, &index, sizeof index);
    memcpy(k->bytes + sizeof index, topic.p, topic.len);
    k->len = (uint32_t)(sizeof index + topic.len);
    HASH_VALUE(k->bytes, k->len, k->hash);
    return true;
}

static struct map_shard *shard_of(struct replicas *rs, const struct map_key *k)
{
    return &rs->shard[(k->hash >> 16) % MAP_SHARDS];       /* the low bits choose the bucket */
}

static struct partition *map_get(struct replicas *rs, struct str topic, int32_t index)
{
    struct partition *p = NULL;
    struct map_shard *s;
    struct map_key k;

    if (!key_make(&k, topic, index))
        return NULL;
    s = shard_of(rs, &k);
    lock_take(&s->lock);
    HASH_FIND_BYHASHVALUE(hh, s->map, k.bytes, k.len, k.hash, p);
    if (p != NULL)
        partition_ref(p);
    lock_drop(&s->lock);
    return p;
}

/* The map takes a reference of its own. */
static int map_put(struct replicas *rs, struct partition *p)
{
    struct map_shard *s;
    struct map_key k;

    if (!key_make(&k, p->topic, p->index))
        return ERR_INVALID;
    s = shard_of(rs, &k);
    lock_take(&s->lock);
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, s->map, p->key, p->key_len, k.hash, p);
    lock_drop(&s->lock);
    if (p->hh.tbl == NULL)
        return ERR_NOMEM;
    partition_ref(p);
    atomic_fetch_add_explicit(&rs->partitions, 1, memory_order_relaxed);
    return OK;
}

static void map_remove(struct replicas *rs, struct partition *p)
{
    struct map_shard *s;
    struct map_key k;

    if (!key_make(&k, p->topic, p->index))
        return;
    s = shard_of(rs, &k);
    lock_take(&s->lock);
    HASH_DELETE(hh, s->map, p);
    lock_drop(&s->lock);
    atomic_fetch_sub_explicit(&rs->partitions, 1, memory_order_relaxed);
    partition_unref(&p);
}

struct partition *replicas_find(struct replicas *rs, struct str topic, int32_t index, int16_t *kerr)
{
    struct partition *p = map_get(rs, topic, index);
    struct metadata *md;
    const struct metadata_topic *t;

    if (p != NULL || kerr == NULL)
        return p;
    if (absents_why(&rs->absents, topic, index, NULL) == ABSENT_OFFLINE) {
        *kerr = KERR_KAFKA_STORAGE_ERROR;
        return NULL;
    }
    md = metadata_get(rs->opts.metacache);
    t = metadata_topic(md, topic);
    *kerr = t != NULL && metadata_partition(t, index) != NULL ? KERR_NOT_LEADER_OR_FOLLOWER
                                                              : KERR_UNKNOWN_TOPIC_OR_PARTITION;
    metadata_put(&md);
    return NULL;
}

/* flush_done_fn */
static void on_flushed(void *arg, struct plog *log)
{
    struct partition *p = map_get(arg, plog_topic(log), plog_partition(log));

    if (p != NULL)
        partition_flushed(p);
    partition_unref(&p);
}

/* ---- settings -------------------------------------------------------------------------------------------------- */

/* A partition that is put into the map at the moment in which its topic's settings change is configured by the one that
 * changes them or, after it is in the map, by the one that puts it there, or by both: the last has the newest. */
static void configure(struct replicas *rs, struct partition *p)
{
    struct topic_config_entry *e;

    lock_take(&rs->settings);
    e = topic_configs_get(rs->opts.topic_configs, p->topic);
    partition_set_conf(p, &e->cfg);
    lock_drop(&rs->settings);
    topic_config_entry_put(&e);
}

/* *n references; NULL: none, or out of memory (*failed). */
static struct partition **partitions_in(struct map_shard *s, struct str topic, size_t *n, bool *failed)
{
    struct partition **v = NULL;

    *n = 0;
    lock_take(&s->lock);
    for (struct partition *p = s->map; p != NULL; p = p->hh.next) {
        if (!str_eq(p->topic, topic))
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
            configure(rs, v[k]);
            partition_unref(&v[k]);
        }
        free(v);
    }
    if (failed)
        log_error("topic %.*s: out of memory: some of its partitions keep their old settings until the broker starts "
                  "again", STR_ARG(topic));
}

/* ---- who wants to know ---------------------------------------------------------------------------------------- */

void replicas_on_role(struct replicas *rs, replicas_role_fn *fn, void *arg)
{
    lock_take(&rs->becoming);
    rs->role_arg = arg;
    rs->on_role = fn;
    lock_drop(&rs->becoming);
}

static void tell_role(struct replicas *rs, struct partition *p)
{
    if (rs->on_role != NULL)
        rs->on_role(rs->role_arg, p->topic, p->index, partition_standing(p).role == ROLE_LEADER);
}

/* ---- LeaderAndIsr ---------------------------------------------------------------------------------------------- */

#define lai_topic leader_and_isr_request_leader_and_isr_topic_state
#define lai_state leader_and_isr_request_leader_and_isr_partition_state
#define lai_topic_answer leader_and_isr_response_leader_and_isr_topic_error
#define lai_answer leader_and_isr_response_leader_and_isr_partition_error

/* What is to be done for one partition of the request. */
struct becoming {
    const struct lai_topic  *topic;
    const struct lai_state  *state;
    struct lai_answer       *answer;
    struct partition *p;                /* reference; NULL: to be made, from *create */
    struct logmgr_create *create;
};

static bool is_among(const int32_t *ids, int32_t n, int32_t id)
{
    for (int32_t i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* May the partition take up this state? The answer, or NONE. Fills in an id that the log does not have yet. */
static int16_t judge_state(struct replicas *rs, struct partition *p, const struct lai_topic *t,
                           const struct lai_state *st)
{
    int32_t current = -1;
    enum absence why = absents_why(&rs->absents, t->topic_name, st->partition_index, &current);
    struct uuid known = p != NULL ? partition_topic_id(p) : t->topic_id;

    if (why == ABSENT_OFFLINE)
        return KERR_KAFKA_STORAGE_ERROR;
    if (p != NULL)
        current = partition_standing(p).leader_epoch;
    if (!uuid_is_zero(t->topic_id) && !uuid_is_zero(known) && !uuid_eq(known, t->topic_id)) {
        char ours[UUID_TEXT_LEN + 1], theirs[UUID_TEXT_LEN + 1];

        uuid_text(known, ours);
        uuid_text(t->topic_id, theirs);
        log_error("%.*s-%d: the log here is of topic id %s, the controller speaks of %s: not taken up",
                  STR_ARG(t->topic_name), (int)st->partition_index, ours, theirs);
        return KERR_INCONSISTENT_TOPIC_ID;
    }
    if (st->leader_epoch > current)
        return is_among(st->replicas, st->replicas_n, rs->opts.broker_id) ? KERR_NONE
                                                                          : KERR_UNKNOWN_TOPIC_OR_PARTITION;
    /* Same epoch: it may bring an id to a log that has none, nothing else. */
    return KERR_STALE_CONTROLLER_EPOCH;
}

static int set_topic_id(struct partition *p, struct uuid id)
{
    struct plog *l = partition_log(p);
    int rc = plog_set_topic_id(l, id);

    plog_unref(&l);
    return rc;
}

static int16_t settle_same_epoch(struct partition *p, const struct lai_topic *t, const struct lai_state *st)
{
    if (p == NULL || st->leader_epoch != partition_standing(p).leader_epoch || uuid_is_zero(t->topic_id) ||
        !uuid_is_zero(partition_topic_id(p)))
        return KERR_STALE_CONTROLLER_EPOCH;
    return partition_log_error(set_topic_id(p, t->topic_id));
}

/* Lays out the answer and gives the number of partitions, or -1. */
static int32_t lai_prepare(const struct leader_and_isr_request *req, struct leader_and_isr_response *resp,
                           struct arena *a)
{
    int32_t total = 0;

    resp->topics_n = req->topic_states_n > 0 ? req->topic_states_n : 0;
    resp->topics = arena_array(a, (size_t)resp->topics_n + 1, sizeof *resp->topics);
    if (resp->topics == NULL)
        return -1;
    for (int32_t i = 0; i < resp->topics_n; i++) {
        const struct lai_topic *t = &req->topic_states[i];
        struct lai_topic_answer *ta = &resp->topics[i];

        leader_and_isr_response_leader_and_isr_topic_error_init(ta);
        ta->topic_id = t->topic_id;
        ta->partition_errors_n = t->partition_states_n > 0 ? t->partition_states_n : 0;
        ta->partition_errors = arena_array(a, (size_t)ta->partition_errors_n + 1, sizeof *ta->partition_errors);
        if (ta->partition_errors == NULL)
            return -1;
        for (int32_t k = 0; k < ta->partition_errors_n; k++) {
            leader_and_isr_response_leader_and_isr_partition_error_init(&ta->partition_errors[k]);
            ta->partition_errors[k].topic_name = t->topic_name;
            ta->partition_errors[k].partition_index = t->partition_states[k].partition_index;
        }
        total += ta->partition_errors_n;
    }
    return total;
}

static void lai_fail_all(struct leader_and_isr_response *resp, int16_t kerr)
{
    resp->error_code = kerr;
    for (int32_t i = 0; i < resp->topics_n; i++)
        for (int32_t k = 0; k < resp->topics[i].partition_errors_n; k++)
            resp->topics[i].partition_errors[k].error_code = kerr;
}

/* Sorts out what is to be done; what needs a log is put in create[]. */
static void lai_plan(struct replicas *rs, const struct leader_and_isr_request *req,
                     struct leader_and_isr_response *resp, struct becoming *todo, size_t *todo_n,
                     struct logmgr_create *create, size_t *create_n, struct log_opts *opts)
{
    for (int32_t i = 0; i < resp->topics_n; i++) {
        const struct lai_topic *t = &req->topic_states[i];
        struct topic_config_entry *entry = topic_configs_get(rs->opts.topic_configs, t->topic_name);

        partition_log_opts(&entry->cfg, &opts[i]);
        topic_config_entry_put(&entry);
        for (int32_t k = 0; k < resp->topics[i].partition_errors_n; k++) {
            const struct lai_state *st = &t->partition_states[k];
            struct lai_answer *answer = &resp->topics[i].partition_errors[k];
            struct partition *p = map_get(rs, t->topic_name, st->partition_index);
            struct becoming *b = &todo[*todo_n];

            answer->error_code = judge_state(rs, p, t, st);
            if (answer->error_code == KERR_STALE_CONTROLLER_EPOCH)
                answer->error_code = settle_same_epoch(p, t, st);
            else if (answer->error_code == KERR_NONE) {
                *b = (struct becoming){ .topic = t, .state = st, .answer = answer, .p = p };
                if (p == NULL) {
                    b->create = &create[(*create_n)++];
                    *b->create = (struct logmgr_create){ .topic = t->topic_name, .partition = st->partition_index,
                                                         .topic_id = t->topic_id, .is_new = st->is_new,
                                                         .opts = &opts[i] };
                }
                (*todo_n)++;
                continue;
            }
            partition_unref(&p);
        }
    }
}

/* Makes the partition of a log that stands now, with the topic's settings; not in the map yet. */
static int16_t host_new(struct replicas *rs, struct becoming *b)
{
    int rc = b->create->rc;

    if (rc == ERR_EXISTS)
        return KERR_INCONSISTENT_TOPIC_ID;
    if (rc == OK)
        rc = partition_new(&b->p, rs, b->create->log);
    plog_unref(&b->create->log);
    if (rc != OK)
        return partition_log_error(rc);
    configure(rs, b->p);
    return KERR_NONE;
}

/* Its log cannot be used (yet): what the controller said is kept. */
static int16_t host_absent(struct replicas *rs, int32_t controller_epoch, struct becoming *b, int why)
{
    int rc = absents_put(&rs->absents, why == ERR_BUSY ? ABSENT_LOADING : ABSENT_OFFLINE, controller_epoch, b->topic,
                         b->state);

    return partition_log_error(rc == OK && why == ERR_OFFLINE ? ERR_OFFLINE : rc);
}

static void lai_apply(struct replicas *rs, int32_t controller_epoch, struct becoming *b)
{
    int16_t kerr = KERR_NONE;
    int rc = OK;

    if (b->create != NULL && (b->create->rc == ERR_BUSY || b->create->rc == ERR_OFFLINE)) {
        b->answer->error_code = host_absent(rs, controller_epoch, b, b->create->rc);
        return;
    }
    if (b->create != NULL)
        kerr = host_new(rs, b);
    else if (!uuid_is_zero(b->topic->topic_id) && uuid_is_zero(partition_topic_id(b->p)))
        rc = set_topic_id(b->p, b->topic->topic_id);
    if (kerr == KERR_NONE && rc == OK)
        rc = partition_become(b->p, rs->opts.broker_id, controller_epoch, b->state);
    if (kerr == KERR_NONE && rc == OK && b->create != NULL)
        rc = map_put(rs, b->p);
    if (kerr == KERR_NONE && rc == OK && b->create != NULL)
        configure(rs, b->p);                        /* again: its settings may have changed a moment ago */
    if (kerr == KERR_NONE && rc == OK)
        tell_role(rs, b->p);
    if (rc != OK) {
        kerr = partition_log_error(rc);
        log_error("%.*s-%d: leader epoch %d cannot be taken up: %s", STR_ARG(b->topic->topic_name),
                  (int)b->state->partition_index, (int)b->state->leader_epoch, err_text(rc));
    }
    b->answer->error_code = kerr;
}

static void make_logs(struct replicas *rs, struct logmgr_create *v, size_t n)
{
    size_t failed = 0;

    if (n == 0 || logmgr_create(rs->opts.logs, v, n) == OK)
        return;
    for (size_t i = 0; i < n; i++)
        failed += v[i].rc != OK && v[i].rc != ERR_BUSY;
    if (failed > 0)
        log_warn("LeaderAndIsr: %zu of %zu logs cannot be used or made", failed, n);
}

int replicas_leader_and_isr(struct replicas *rs, const struct leader_and_isr_request *req,
                            struct leader_and_isr_response *resp, struct arena *a)
{
    size_t todo_n = 0, create_n = 0;
    struct logmgr_create *create;
    struct log_opts *opts;
    struct becoming *todo;
    int32_t total;

    leader_and_isr_response_init(resp);
    total = lai_prepare(req, resp, a);
    if (total < 0)
        return ERR_NOMEM;
    todo = arena_array(a, (size_t)total + 1, sizeof *todo);
    create = arena_array(a, (size_t)total + 1, sizeof *create);
    opts = arena_array(a, (size_t)resp->topics_n + 1, sizeof *opts);
    if (todo == NULL || create == NULL || opts == NULL)
        return ERR_NOMEM;
    lock_take(&rs->becoming);
    if (req->controller_epoch < rs->controller_epoch || atomic_load(&rs->stopped)) {
        log_warn("LeaderAndIsr of controller %d in epoch %d refused: epoch %d is known", (int)req->controller_id,
                 (int)req->controller_epoch, (int)rs->controller_epoch);
        lai_fail_all(resp, KERR_STALE_CONTROLLER_EPOCH);
    } else {
        rs->controller_epoch = req->controller_epoch;
        lai_plan(rs, req, resp, todo, &todo_n, create, &create_n, opts);
        make_logs(rs, create, create_n);
        for (size_t i = 0; i < todo_n; i++)
            lai_apply(rs, req->controller_epoch, &todo[i]);
    }
    lock_drop(&rs->becoming);
    for (size_t i = 0; i < todo_n; i++) {
        if (todo[i].p != NULL)
            partition_wake(todo[i].p);
        partition_unref(&todo[i].p);
    }
    return OK;
}

/* ---- logs that come and go by themselves ------------------------------------------------------------------------ */

static void lost(struct replicas *rs)
{
    if (rs->opts.on_lost != NULL)
        rs->opts.on_lost(rs->opts.lost_arg);
}

/* Takes up what was kept; `a` is out of the list. Gives the partition, a reference, to be woken. */
static struct partition *take_up(struct replicas *rs, const struct absent *a)
{
    struct topic_config_entry *entry = topic_configs_get(rs->opts.topic_configs, a->topic.topic_name);
    struct lai_answer answer = { .error_code = KERR_NONE };
    struct log_opts opts;
    struct logmgr_create create = { .topic = a->topic.topic_name, .partition = a->state.partition_index,
                                    .topic_id = a->topic.topic_id, .opts = &opts };
    struct becoming b = { .topic = &a->topic, .state = &a->state, .answer = &answer, .create = &create };

    partition_log_opts(&entry->cfg, &opts);
    topic_config_entry_put(&entry);
    make_logs(rs, &create, 1);
    lai_apply(rs, a->controller_epoch, &b);
    if (answer.error_code != KERR_NONE) {
        log_error("%.*s-%d: loaded, but cannot be served: %s", STR_ARG(a->topic.topic_name),
                  (int)a->state.partition_index, kerr_name(answer.error_code));
        lost(rs);
    }
    return b.p;
}

void replicas_log_ready(struct replicas *rs, struct str topic, int32_t partition, int rc)
{
    struct partition *p = NULL;
    struct absent *a;

    lock_take(&rs->becoming);
    a = rc != ERR_CLOSED && !atomic_load(&rs->stopped) ? absents_take(&rs->absents, topic, partition) : NULL;
    if (a != NULL && rc == OK) {
        p = take_up(rs, a);
    } else if (a != NULL) {
        if (absents_put(&rs->absents, ABSENT_OFFLINE, a->controller_epoch, &a->topic, &a->state) != OK)
            log_error("%.*s-%d: offline, and out of memory to remember it", STR_ARG(topic), (int)partition);
        lost(rs);
    }
    lock_drop(&rs->becoming);
    free(a);
    if (p != NULL)
        partition_wake(p);
    partition_unref(&p);
}

/* Out of the map, and among the absent ones. Under `becoming`. */
static void go_offline(struct replicas *rs, struct partition *p)
{
    const struct lai_topic t = { .topic_name = p->topic, .topic_id = partition_topic_id(p) };
    const struct lai_state st = { .partition_index = p->index, .leader_epoch = partition_standing(p).leader_epoch };

    if (absents_put(&rs->absents, ABSENT_OFFLINE, p->controller_epoch, &t, &st) != OK)
        log_error("%.*s-%d: offline, and out of memory to remember it", STR_ARG(p->topic), (int)p->index);
    map_remove(rs, p);
    partition_go(p);
    tell_role(rs, p);
}

static size_t dir_of(struct partition *p)
{
    struct plog *l = partition_log(p);
    size_t index = plog_dir_index(l);

    plog_unref(&l);
    return index;
}

/* logmgr_swap_fn */
static int swap_log(void *arg, struct log_move *mv, struct str topic, int32_t partition)
{
    struct partition *p = map_get(arg, topic, partition);
    int rc = p != NULL ? partition_swap_log(p, mv) : ERR_AGAIN;

    partition_unref(&p);
    return rc;
}

void replicas_dir_failed(struct replicas *rs, size_t dir_index)
{
    size_t total = replicas_partitions(rs), n = 0;
    struct partition **v, *p, *next;

    lock_take(&rs->becoming);
    v = calloc(total + 1, sizeof(struct partition *));
    for (int i = 0; i < MAP_SHARDS && v != NULL; i++) {
        lock_take(&rs->shard[i].lock);
        HASH_ITER(hh, rs->shard[i].map, p, next)
            if (n < total && dir_of(p) == dir_index)
                v[n++] = partition_ref(p);
        lock_drop(&rs->shard[i].lock);
    }
    for (size_t i = 0; i < n; i++)
        go_offline(rs, v[i]);
    lost(rs);
    lock_drop(&rs->becoming);
    log_error("%zu partitions are offline with their log directory; no client can use them until it is mended and the "
              "broker restarted", n);
    for (size_t i = 0; i < n; i++) {
        partition_wake(v[i]);
        partition_unref(&v[i]);
    }
    free(v);
}

bool replicas_is_loading(struct replicas *rs, struct str topic, int32_t index)
{
    return rs != NULL && absents_why(&rs->absents, topic, index, NULL) == ABSENT_LOADING;
}

/* ---- StopReplica ----------------------------------------------------------------------------------------------- */

enum { EPOCH_NONE = -1, EPOCH_DURING_DELETE = -2 };     /* in place of a leader epoch: no check */

/* *gone is the partition that must be woken when `becoming` has been dropped; NULL: none. */
static int16_t stop_one(struct replicas *rs, struct str topic, int32_t index, int32_t epoch, bool delete,
                        struct partition **gone)
{
    struct partition *p = map_get(rs, topic, index);
    enum absence why = absents_why(&rs->absents, topic, index, NULL);
    int rc = OK;

    if (p != NULL && epoch != EPOCH_NONE && epoch != EPOCH_DURING_DELETE &&
        epoch < partition_standing(p).leader_epoch) {
        log_warn("%.*s-%d: StopReplica refused: its leader epoch %d is older than %d", STR_ARG(topic), (int)index,
                 (int)epoch, (int)partition_standing(p).leader_epoch);
        partition_unref(&p);
        return KERR_FENCED_LEADER_EPOCH;
    }
    if (delete) {
        if (p != NULL) {
            map_remove(rs, p);
            partition_go(p);
            tell_role(rs, p);
            *gone = partition_ref(p);
        }
        rc = logmgr_delete(rs->opts.logs, topic, index);
        if (rc == ERR_NOENT)            /* was deleted before, or never came to be; or the directory is not there */
            rc = why == ABSENT_OFFLINE ? ERR_OFFLINE : OK;
        if (rc == OK && why != ABSENT_NOT)
            free(absents_take(&rs->absents, topic, index));
    }
    partition_unref(&p);
    return partition_log_error(rc);
}

int replicas_stop_replica(struct replicas *rs, const struct stop_replica_request *req,
                          struct stop_replica_response *resp, struct arena *a)
{
    struct partition **gone;
    int32_t total = 0, n = 0;
    bool refuse;

    stop_replica_response_init(resp);
    for (int32_t i = 0; i < req->topic_states_n; i++)
        total += req->topic_states[i].partition_states_n;
    resp->partition_errors = arena_array(a, (size_t)total + 1, sizeof *resp->partition_errors);
    gone = arena_array(a, (size_t)total + 1, sizeof(struct partition *));
    if (resp->partition_errors == NULL || gone == NULL)
        return ERR_NOMEM;
    lock_take(&rs->becoming);
    refuse = req->controller_epoch < rs->controller_epoch || atomic_load(&rs->stopped);
    if (refuse)
        resp->error_code = KERR_STALE_CONTROLLER_EPOCH;
    else
        rs->controller_epoch = req->controller_epoch;
    for (int32_t i = 0; i < req->topic_states_n; i++) {
        const struct stop_replica_request_stop_replica_topic_state *t = &req->topic_states[i];

        for (int32_t k = 0; k < t->partition_states_n; k++) {
            const struct stop_replica_request_stop_replica_partition_state *st = &t->partition_states[k];
            struct stop_replica_response_stop_replica_partition_error *e = &resp->partition_errors[n];

            stop_replica_response_stop_replica_partition_error_init(e);
            e->topic_name = t->topic_name;
            e->partition_index = st->partition_index;
            e->error_code = refuse ? KERR_STALE_CONTROLLER_EPOCH
                                   : stop_one(rs, t->topic_name, st->partition_index, st->leader_epoch,
                                              st->delete_partition, &gone[n]);
            n++;
        }
    }
    resp->partition_errors_n = n;
    lock_drop(&rs->becoming);
    for (int32_t i = 0; i < n; i++) {
        if (gone[i] != NULL)
            partition_wake(gone[i]);
        partition_unref(&gone[i]);
    }
    return OK;
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

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
    if (rc == OK) {
        logmgr_on_flushed(opts->logs, on_flushed, rs);
        logmgr_on_swap(opts->logs, swap_log, rs);
    } else {
        replicas_free(&rs);
    }
    *out = rs;
    return rc;
}

void replicas_stop(struct replicas *rs)
{
    lock_take(&rs->becoming);
    atomic_store(&rs->stopped, true);
    lock_drop(&rs->becoming);
    purgatory_stop(rs->fetches);
    purgatory_stop(rs->produces);
}

void replicas_free(struct replicas **rsp)
{
    struct replicas *rs = *rsp;

    if (rs == NULL)
        return;
    logmgr_on_flushed(rs->opts.logs, NULL, NULL);
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
    purgatory_free(&rs->produces);
    purgatory_free(&rs->fetches);
    lock_fini(&rs->settings);
    lock_fini(&rs->becoming);
    free(rs);
    *rsp = NULL;
}

size_t replicas_partitions(const struct replicas *rs)
{
    return atomic_load_explicit(&rs->partitions, memory_order_relaxed);
}

struct purgatory *replicas_fetch_purgatory(struct replicas *rs)
{
    return rs->fetches;
}

struct purgatory *replicas_produce_purgatory(struct replicas *rs)
{
    return rs->produces;
}

struct fetch_sessions *replicas_fetch_sessions(struct replicas *rs)
{
    return rs->sessions;
}
