/* broker/replica/replicas_impl.h - what is inside the replica manager; for the files broker/replica/replicas*.c only.
 *
 * INVARIANTS
 *  1. A partition is in the map from its first LeaderAndIsr (or from when its log is loaded) to its deletion or the
 *     failure of its log directory, and has a standing before it is put there.
 *  2. Only the thread that holds `becoming` changes the map, the absent ones, or a partition's standing.
 *  3. A partition is in the map or among the absent ones, never in both.
 *
 * LOCKS   see replicas.h. Functions here say: [becoming] the caller holds it.
 */
#ifndef BROKER_REPLICA_REPLICAS_IMPL_H
#define BROKER_REPLICA_REPLICAS_IMPL_H

#include "base/lock.h"
#include "broker/replica/absent.h"
#include "broker/replica/fetchers.h"
#include "broker/replica/follower.h"
#include "broker/replica/partition.h"
#include "broker/replica/refused.h"
#include "broker/replica/replicas.h"
#include "broker/replica/selector.h"
#include "metadata/topic_name.h"
#include "proto/gen/leader_and_isr_request.h"
#include "proto/gen/leader_and_isr_response.h"
#include "storage/logmgr.h"

#define MAP_SHARDS 16

struct map_shard {
    struct lock       lock;             /* class replicas */
    struct partition *map;
};

struct replicas {
    /* fixed */
    struct replicas_opts   opts;
    struct purgatory      *fetches, *produces;
    struct fetch_sessions *sessions;
    struct refused        *refused;
    enum replica_selector  selector;
    struct repl_quota     *leader_quota, *follower_quota;
    struct fetchers       *fetchers;
    struct job            *lags;        /* looks who lags, and whom nobody fetches; until replicas_stop() */
    /* any thread */
    atomic_bool            stopped, leaving;
    atomic_bool            lacked_room; /* a log could not be made; nobody has asked yet */
    atomic_size_t          partitions;
    _Atomic uint64_t       live_sum;    /* of the brokers that were alive by the latest metadata */
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

/* ---- replicas_map.c ---- */
struct partition *replicas_get(struct replicas *rs, struct str topic, int32_t index);   /* a reference, or NULL */
/* [becoming] The map takes a reference of its own. ERR_NOMEM, ERR_INVALID. */
int  replicas_put(struct replicas *rs, struct partition *p) must_use;
void replicas_remove(struct replicas *rs, struct partition *p);         /* [becoming] and gives it back */

/* ---- replicas.c ---- */
void replicas_configure_one(struct replicas *rs, struct partition *p);  /* its topic's settings, as they are now */
void replicas_tell_role(struct replicas *rs, struct partition *p);      /* [becoming] */

/* ---- replicas_become.c ---- */
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

/* [becoming] Answers in b->answer; b->p is to be woken, if there is one. */
void replicas_become(struct replicas *rs, int32_t controller_epoch, struct becoming *b);
void replicas_make_logs(struct logmgr *logs, struct logmgr_create *v, size_t n);

/* ---- replicas_stop.c ---- */
/* [becoming] The directory of the partition's log was removed by hand (logmgr_removed()): nothing is hosted here any
 * more. p may be NULL; *gone: a reference of what is to be woken when `becoming` has been dropped, stays as it is if
 * there is none. */
void replicas_let_go_removed(struct replicas *rs, struct partition *p, struct str topic, int32_t index,
                             struct partition **gone);

/* ---- replicas_logs.c: what the log manager calls; arg is the replica manager ---- */
void replicas_flushed(void *arg, struct plog *log);                                     /* flush_done_fn */
/* logmgr_swap_fn */
int  replicas_swap_log(void *arg, struct log_move *mv, struct str topic, int32_t partition) must_use;

#endif
