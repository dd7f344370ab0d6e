/* tests/unit/broker/cluster_asks.h - what is asked of the controller of a cluster_kit, waited for. */
#ifndef TESTS_UNIT_BROKER_CLUSTER_ASKS_H
#define TESTS_UNIT_BROKER_CLUSTER_ASKS_H

#include "broker/controller/ask.h"
#include "proto/gen/alter_partition_reassignments_request.h"
#include "proto/gen/alter_partition_reassignments_response.h"
#include "proto/gen/alter_partition_request.h"
#include "proto/gen/alter_partition_response.h"
#include "proto/gen/elect_leaders_request.h"
#include "proto/gen/elect_leaders_response.h"
#include "proto/gen/list_partition_reassignments_request.h"
#include "proto/gen/list_partition_reassignments_response.h"
#include "tests/unit/broker/cluster_kit.h"

/* ---- questions to the controller, waited for ---- */

struct cluster_ask {
    struct controller_ask ask;
    struct arena          arena;
    struct lock           lock;
    /* under lock */
    struct cond           cond;
    bool                  done;
};

static inline void cluster_ask_done(struct controller_ask *ask)
{
    struct cluster_ask *ca = ask->arg;

    lock_take(&ca->lock);
    ca->done = true;
    cond_signal(&ca->cond);
    lock_drop(&ca->lock);
}

static inline void cluster_ask_run(struct cluster *cl, struct cluster_ask *ca, enum controller_ask_kind kind,
                                   int16_t version, const void *req, void *resp)
{
    arena_init(&ca->arena, (size_t)64 << 20);
    lock_init(&ca->lock, LOCK_log);
    cond_init(&ca->cond);
    ca->done = false;
    ca->ask = (struct controller_ask){ .kind = kind, .version = version, .req = req, .resp = resp, .arena = &ca->arena,
                                       .done = cluster_ask_done, .arg = ca };
    controller_ask(cl->kit.ctl, &ca->ask);
    lock_take(&ca->lock);
    while (!ca->done)
        cond_wait(&ca->cond, &ca->lock);
    lock_drop(&ca->lock);
    ck_assert_int_eq(ca->ask.rc, OK);
}

static inline void cluster_ask_end(struct cluster_ask *ca)
{
    cond_fini(&ca->cond);
    lock_fini(&ca->lock);
    arena_fini(&ca->arena);
}

/* target NULL: cancel. The partition's error, or the whole answer's. */
static inline int16_t cluster_reassign(struct cluster *cl, const char *topic, int32_t partition, int32_t *target,
                                       int32_t n)
{
    struct alter_partition_reassignments_request_reassignable_partition p = { .partition_index = partition,
                                                                              .replicas = target,
                                                                              .replicas_n = target != NULL ? n : -1 };
    struct alter_partition_reassignments_request_reassignable_topic t = { .name = str_of(topic), .partitions = &p,
                                                                          .partitions_n = 1 };
    struct alter_partition_reassignments_request req = { .topics = &t, .topics_n = 1 };
    struct alter_partition_reassignments_response resp;
    struct cluster_ask ca;
    int16_t error;

    alter_partition_reassignments_response_init(&resp);
    cluster_ask_run(cl, &ca, ASK_ALTER_REASSIGNMENTS, 0, &req, &resp);
    error = resp.error_code != 0 ? resp.error_code : resp.responses[0].partitions[0].error_code;
    cluster_ask_end(&ca);
    return error;
}

static inline int16_t cluster_elect(struct cluster *cl, const char *topic, int32_t partition, int8_t type)
{
    struct elect_leaders_request_topic_partitions t = { .topic = str_of(topic), .partitions = &partition,
                                                        .partitions_n = 1 };
    struct elect_leaders_request req = { .election_type = type, .topic_partitions = &t, .topic_partitions_n = 1,
                                         .timeout_ms = PATIENT_MS };
    struct elect_leaders_response resp;
    struct cluster_ask ca;
    int16_t error;

    elect_leaders_response_init(&resp);
    cluster_ask_run(cl, &ca, ASK_ELECT_LEADERS, 2, &req, &resp);
    error = resp.error_code != 0 ? resp.error_code : resp.replica_election_results[0].partition_result[0].error_code;
    cluster_ask_end(&ca);
    return error;
}

/* As the leader of t-p would: its followers have caught up, all that it was told of are in sync. True: it was done. */
static inline bool cluster_expand(struct cluster *cl, int32_t partition)
{
    struct arena a;
    struct znode_state s;
    int32_t isr[IDS_MAX], version;
    struct alter_partition_request_partition_data p = { .partition_index = partition };
    struct alter_partition_request_topic_data t = { .topic_name = STR_LIT("t"), .partitions = &p, .partitions_n = 1 };
    struct alter_partition_request req = { .topics = &t, .topics_n = 1 };
    struct alter_partition_response resp;
    struct cluster_ask ca;
    bool ok = false;

    arena_init(&a, 1 << 20);
    if (cluster_state(cl, &a, partition, &s, &version) && s.leader >= 1 && cl->up[s.leader]) {
        struct hosted h;

        lock_take(&cl->lock);
        h = cl->host[s.leader][partition];
        for (int32_t i = 0; i < h.replicas_n && h.log; i++) {
            struct hosted *other = &cl->host[h.replicas[i]][partition];

            if (!other->log || !cl->up[h.replicas[i]])
                continue;
            other->full = h.full;
            isr[p.new_isr_n++] = h.replicas[i];
        }
        lock_drop(&cl->lock);
        p.new_isr = isr;
        p.leader_epoch = s.leader_epoch;
        p.partition_epoch = version;
        req.broker_id = s.leader;
        req.broker_epoch = cl->epoch[s.leader];
        if (h.log && h.leader == s.leader && h.leader_epoch == s.leader_epoch) {
            alter_partition_response_init(&resp);
            cluster_ask_run(cl, &ca, ASK_ALTER_PARTITION, 1, &req, &resp);
            ok = resp.error_code == 0 && resp.topics_n == 1 && resp.topics[0].partitions[0].error_code == 0;
            cluster_ask_end(&ca);
        }
    }
    arena_fini(&a);
    return ok;
}

#endif
