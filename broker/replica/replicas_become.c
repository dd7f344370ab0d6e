/* broker/replica/replicas_become.c - LeaderAndIsr: the controller says what this broker hosts and leads. */
#include "broker/replica/replicas_impl.h"

#include "base/log.h"
#include "broker/cluster/topic_configs.h"
#include "metadata/topic_name.h"
#include "proto/kerr.h"

#include <stdlib.h>

static bool is_among(const int32_t *ids, int32_t n, int32_t id)
{
    for (int32_t i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

static bool other_topic(struct partition *p, const struct lai_topic *t)
{
    struct uuid known = partition_topic_id(p);

    return !uuid_is_zero(t->topic_id) && !uuid_is_zero(known) && !uuid_eq(known, t->topic_id);
}

/* May the partition take up this state? The answer, or NONE. Fills in an id that the log does not have yet. */
static int16_t judge_state(struct replicas *rs, struct partition *p, const struct lai_topic *t,
                           const struct lai_state *st)
{
    int32_t current = -1;
    enum absence why = absents_why(&rs->absents, t->topic_name, st->partition_index, &current);
    char fault[256];

    if (st->partition_index < 0 || topic_name_fault(t->topic_name, fault, sizeof fault) != NULL) {
        log_error("LeaderAndIsr: '%.*s' and %d are no name and number of a partition: not taken up",
                  STR_ARG(t->topic_name), (int)st->partition_index);
        return KERR_INVALID_TOPIC_EXCEPTION;
    }
    if (why == ABSENT_OFFLINE)
        return KERR_KAFKA_STORAGE_ERROR;
    if (p != NULL)
        current = partition_standing(p).leader_epoch;
    if (p != NULL && other_topic(p, t)) {
        char ours[UUID_TEXT_LEN + 1], theirs[UUID_TEXT_LEN + 1];

        uuid_text(partition_topic_id(p), ours);
        uuid_text(t->topic_id, theirs);
        log_error("%.*s-%d: the log here is of topic id %s, the controller speaks of %s: not taken up until its "
                  "directory has been removed and a controller speaks of it again",
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

/* From its leader, if there is one, in its epoch. */
static int follow_leader(struct replicas *rs, struct partition *p)
{
    struct partition_standing st = partition_standing(p);

    if (st.role != ROLE_FOLLOWER || p->leader_id < 0 || p->leader_id == rs->opts.broker_id)
        return OK;
    return fetchers_follow(rs->fetchers, p, p->leader_id, st.leader_epoch);
}

/* A broker that stops begins to follow nobody anew, unless it counts as in sync: the new leader would hold its high
 * watermark back for a replica that has just caught up, and is gone a moment later. */
static bool follows_still(const struct replicas *rs, const struct lai_state *st)
{
    return !atomic_load(&rs->leaving) || is_among(st->isr, st->isr_n, rs->opts.broker_id);
}

static int16_t settle_same_epoch(struct replicas *rs, struct partition *p, const struct lai_topic *t,
                                 const struct lai_state *st)
{
    int rc;

    if (p == NULL || st->leader_epoch != partition_standing(p).leader_epoch || uuid_is_zero(t->topic_id) ||
        !uuid_is_zero(partition_topic_id(p)))
        return KERR_STALE_CONTROLLER_EPOCH;
    rc = set_topic_id(p, t->topic_id);
    if (rc == OK)
        rc = follow_leader(rs, p);      /* it is asked for by its id from now on */
    return partition_log_error(rc);
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

/* The partition as it is hosted here, if it is. What a topic of the same name has left, whose directories were removed
 * by hand, is not in the way of a new one: then *gone. */
static struct partition *lai_hosted(struct replicas *rs, const struct lai_topic *t, const struct lai_state *st,
                                    struct partition **gone)
{
    struct partition *p = replicas_get(rs, t->topic_name, st->partition_index);
    bool same = p != NULL && !uuid_is_zero(t->topic_id) && uuid_eq(partition_topic_id(p), t->topic_id);

    if (!same && (st->is_new || (p != NULL && other_topic(p, t))) &&
        logmgr_removed(rs->opts.logs, t->topic_name, st->partition_index)) {
        replicas_let_go_removed(rs, p, t->topic_name, st->partition_index, gone);
        partition_unref(&p);
    }
    return p;
}

/* Sorts out what is to be done; what needs a log is put in create[]. gone[]: by partition, what was let go of. */
static void lai_plan(struct replicas *rs, const struct leader_and_isr_request *req,
                     struct leader_and_isr_response *resp, struct becoming *todo, size_t *todo_n,
                     struct logmgr_create *create, size_t *create_n, struct log_opts *opts, struct partition **gone)
{
    for (int32_t i = 0; i < resp->topics_n; i++) {
        const struct lai_topic *t = &req->topic_states[i];
        struct topic_config_entry *entry = topic_configs_get(rs->opts.topic_configs, t->topic_name);

        partition_log_opts(&entry->cfg, &opts[i]);
        topic_config_entry_put(&entry);
        for (int32_t k = 0; k < resp->topics[i].partition_errors_n; k++) {
            const struct lai_state *st = &t->partition_states[k];
            struct lai_answer *answer = &resp->topics[i].partition_errors[k];
            struct partition *p = lai_hosted(rs, t, st, gone++);
            struct becoming *b = &todo[*todo_n];

            answer->error_code = judge_state(rs, p, t, st);
            if (answer->error_code == KERR_STALE_CONTROLLER_EPOCH)
                answer->error_code = settle_same_epoch(rs, p, t, st);
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
    replicas_configure_one(rs, b->p);
    return KERR_NONE;
}

/* Its log cannot be used (yet): what the controller said is kept. */
static int16_t host_absent(struct replicas *rs, int32_t controller_epoch, struct becoming *b, int why)
{
    int rc = absents_put(&rs->absents, why == ERR_BUSY ? ABSENT_LOADING : ABSENT_OFFLINE, controller_epoch, b->topic,
                         b->state);

    return partition_log_error(rc == OK && why == ERR_OFFLINE ? ERR_OFFLINE : rc);
}

void replicas_become(struct replicas *rs, int32_t controller_epoch, struct becoming *b)
{
    int16_t kerr = KERR_NONE;
    int rc = OK;

    if (b->create != NULL && (b->create->rc == ERR_BUSY || b->create->rc == ERR_OFFLINE)) {
        b->answer->error_code = host_absent(rs, controller_epoch, b, b->create->rc);
        return;
    }
    if (b->create != NULL && b->create->rc == ERR_NOSPACE)
        atomic_store(&rs->lacked_room, true);
    if (b->create != NULL)
        kerr = host_new(rs, b);
    else if (!uuid_is_zero(b->topic->topic_id) && uuid_is_zero(partition_topic_id(b->p)))
        rc = set_topic_id(b->p, b->topic->topic_id);
    if (kerr == KERR_NONE && rc == OK) {
        fetchers_forget(rs->fetchers, b->p->topic, b->p->index);        /* whatever it becomes: not from this leader */
        follower_reset(b->p);
        rc = partition_become(b->p, rs->opts.broker_id, controller_epoch, b->state);
    }
    if (kerr == KERR_NONE && rc == OK && b->create != NULL)
        rc = replicas_put(rs, b->p);
    if (kerr == KERR_NONE && rc == OK && b->create != NULL) {
        free(absents_take(&rs->absents, b->topic->topic_name, b->state->partition_index));
        replicas_configure_one(rs, b->p);           /* again: its settings may have changed a moment ago */
    }
    if (kerr == KERR_NONE && rc == OK && follows_still(rs, b->state))
        rc = follow_leader(rs, b->p);
    if (kerr == KERR_NONE && rc == OK)
        replicas_tell_role(rs, b->p);
    if (rc != OK) {
        kerr = partition_log_error(rc);
        log_error("%.*s-%d: leader epoch %d cannot be taken up: %s", STR_ARG(b->topic->topic_name),
                  (int)b->state->partition_index, (int)b->state->leader_epoch, err_text(rc));
    }
    b->answer->error_code = kerr;
}

void replicas_make_logs(struct logmgr *logs, struct logmgr_create *v, size_t n)
{
    size_t failed = 0;

    if (n == 0 || logmgr_create(logs, v, n) == OK)
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
    struct partition **gone;
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
    gone = arena_array(a, (size_t)total + 1, sizeof(struct partition *));
    if (todo == NULL || create == NULL || opts == NULL || gone == NULL)
        return ERR_NOMEM;
    lock_take(&rs->becoming);
    if (req->controller_epoch < rs->controller_epoch || atomic_load(&rs->stopped)) {
        log_warn("LeaderAndIsr of controller %d in epoch %d refused: epoch %d is known", (int)req->controller_id,
                 (int)req->controller_epoch, (int)rs->controller_epoch);
        lai_fail_all(resp, KERR_STALE_CONTROLLER_EPOCH);
    } else {
        rs->controller_epoch = req->controller_epoch;
        lai_plan(rs, req, resp, todo, &todo_n, create, &create_n, opts, gone);
        replicas_make_logs(rs->opts.logs, create, create_n);
        for (size_t i = 0; i < todo_n; i++)
            replicas_become(rs, req->controller_epoch, &todo[i]);
    }
    lock_drop(&rs->becoming);
    fetchers_begin(rs->fetchers);
    for (size_t i = 0; i < todo_n; i++) {
        if (todo[i].p != NULL)
            partition_wake(todo[i].p);
        partition_unref(&todo[i].p);
    }
    for (int32_t i = 0; i < total; i++) {
        if (gone[i] != NULL)
            partition_wake(gone[i]);
        partition_unref(&gone[i]);
    }
    return OK;
}
