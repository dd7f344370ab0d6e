/* broker/replica/replicas_logs.c - logs that come and go by themselves: loaded, failed, moved to another directory. */
#include "broker/replica/replicas_impl.h"

#include "base/log.h"
#include "broker/cluster/topic_configs.h"
#include "proto/kerr.h"

#include <stdlib.h>

static void lost(struct replicas *rs)
{
    if (rs->opts.on_lost != NULL)
        rs->opts.on_lost(rs->opts.lost_arg);
}

/* Takes up what was kept; `a` is a copy of it. Gives the partition, a reference, to be woken. */
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
    replicas_make_logs(rs->opts.logs, &create, 1);
    replicas_become(rs, a->controller_epoch, &b);
    if (answer.error_code != KERR_NONE) {
        log_error("%.*s-%d: loaded, but cannot be served: %s", STR_ARG(a->topic.topic_name),
                  (int)a->state.partition_index, kerr_name(answer.error_code));
        if (create.rc != ERR_BUSY && create.rc != ERR_OFFLINE)
            free(absents_take(&rs->absents, a->topic.topic_name, a->state.partition_index));
        lost(rs);
    }
    return b.p;
}

void replicas_log_ready(struct replicas *rs, struct str topic, int32_t partition, int rc)
{
    struct partition *p = NULL;
    struct absent *a = NULL;

    lock_take(&rs->becoming);
    if (rc != ERR_CLOSED && !atomic_load(&rs->stopped) && absents_get(&rs->absents, topic, partition, &a) != OK)
        log_error("%.*s-%d: loaded, but out of memory to serve it", STR_ARG(topic), (int)partition);
    if (a != NULL && rc == OK) {
        p = take_up(rs, a);
    } else if (a != NULL) {
        if (absents_put(&rs->absents, ABSENT_OFFLINE, a->controller_epoch, &a->topic, &a->state) != OK)
            log_error("%.*s-%d: offline, and out of memory to remember it", STR_ARG(topic), (int)partition);
        lost(rs);
    }
    lock_drop(&rs->becoming);
    if (p != NULL)
        fetchers_begin(rs->fetchers);
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
    fetchers_forget(rs->fetchers, p->topic, p->index);
    replicas_remove(rs, p);
    partition_go(p);
    replicas_tell_role(rs, p);
}

static size_t dir_of(struct partition *p)
{
    struct plog *l = partition_log(p);
    size_t index = plog_dir_index(l);

    plog_unref(&l);
    return index;
}

/* logmgr_swap_fn */
int replicas_swap_log(void *arg, struct log_move *mv, struct str topic, int32_t partition)
{
    struct partition *p = replicas_get(arg, topic, partition);
    int rc = p != NULL ? partition_swap_log(p, mv) : ERR_AGAIN;

    partition_unref(&p);
    return rc;
}

void replicas_dir_failed(struct replicas *rs, size_t dir_index)
{
    struct partition **v, *p, *next;
    size_t total, n = 0;

    lock_take(&rs->becoming);
    total = replicas_partitions(rs);
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

/* flush_done_fn */
void replicas_flushed(void *arg, struct plog *log)
{
    struct replicas *rs = arg;
    struct partition *p = replicas_get(rs, plog_topic(log), plog_partition(log));

    if (p != NULL) {
        partition_flushed(p);
        follower_flushed(p);
    }
    fetchers_flushed(rs->fetchers);
    partition_unref(&p);
}
