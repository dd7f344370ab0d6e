/* broker/replica/replicas_stop.c - StopReplica: a partition is not hosted here any more, or deleted. */
#include "broker/replica/replicas_impl.h"

#include "base/log.h"
#include "proto/gen/stop_replica_request.h"
#include "proto/gen/stop_replica_response.h"
#include "proto/kerr.h"

enum { EPOCH_NONE = -1, EPOCH_DURING_DELETE = -2 };     /* in place of a leader epoch: no check */

/* *gone is the partition that must be woken when `becoming` has been dropped; NULL: none. */
static int let_go(struct replicas *rs, struct partition *p, struct str topic, int32_t index, struct partition **gone)
{
    if (p != NULL) {
        replicas_remove(rs, p);
        partition_go(p);
        replicas_tell_role(rs, p);
        *gone = partition_ref(p);
    }
    return logmgr_delete(rs->opts.logs, topic, index);
}

void replicas_let_go_removed(struct replicas *rs, struct partition *p, struct str topic, int32_t index,
                             struct partition **gone)
{
    int rc;

    fetchers_forget(rs->fetchers, topic, index);
    rc = let_go(rs, p, topic, index, gone);
    if (rc == OK || rc == ERR_NOENT)
        log_warn("%.*s-%d: its directory has been removed by hand; it is made anew", STR_ARG(topic), (int)index);
    else
        log_error("%.*s-%d: its directory has been removed by hand, and it cannot be made anew: %s", STR_ARG(topic),
                  (int)index, err_text(rc));
}

/* As above. */
static int16_t stop_one(struct replicas *rs, struct str topic, int32_t index, int32_t epoch, bool delete,
                        struct partition **gone)
{
    struct partition *p = replicas_get(rs, topic, index);
    int32_t known;
    enum absence why = absents_why(&rs->absents, topic, index, &known);
    int rc = OK;

    if (p != NULL)
        known = partition_standing(p).leader_epoch;
    if (epoch != EPOCH_NONE && epoch != EPOCH_DURING_DELETE && epoch < known) {
        log_warn("%.*s-%d: StopReplica refused: its leader epoch %d is older than %d", STR_ARG(topic), (int)index,
                 (int)epoch, (int)known);
        partition_unref(&p);
        return KERR_FENCED_LEADER_EPOCH;
    }
    fetchers_forget(rs->fetchers, topic, index);
    if (delete) {
        rc = let_go(rs, p, topic, index, gone);
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
