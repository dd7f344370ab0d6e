/* broker/replica/replicas.h - the replica manager: the partitions that this broker hosts.
 *
 * The controller tells it what to host and to lead (replicas_leader_and_isr(), replicas_stop_replica()); the handlers
 * of broker/api find partitions here and append to them and read from them (broker/replica/partition.h). It owns
 * the purgatories of produce and fetch and the cache of fetch sessions.
 *
 * OWNER   the daemon makes one. Partitions are reference-counted: what replicas_find() gives is given back with
 *         partition_unref().
 * ABSENT  The log of a partition may still be being loaded when the controller says that we lead it: that is taken
 *         up when the log is there (replicas_log_ready()), and clients are told to try again until then. Where the log
 *         is offline the answer is KAFKA_STORAGE_ERROR, to the controller as well.
 * LOCKS   class replicas, one for each shard of the map, held for a look-up only. Any thread may call anything here.
 *         leader_and_isr and stop_replica are done one at a time (lock `becoming`) and may touch the disk.
 * FAILURE Errors of one partition are Kafka codes (proto/kerr.h) in the response; ERR_* only for what stops all.
 */
#ifndef BROKER_REPLICA_REPLICAS_H
#define BROKER_REPLICA_REPLICAS_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/err.h"

struct config;
struct doubts;
struct fetch_sessions;
struct isr_changer;
struct leader_and_isr_request;
struct leader_and_isr_response;
struct logmgr;
struct metadata_cache;
struct partition;
struct purgatory;
struct refused;
struct repl_quota;
struct replicas;
struct scheduler;
struct standing;
struct stop_replica_request;
struct stop_replica_response;
struct timer;
struct topic_configs;

/* All borrowed; they outlive the replica manager. */
struct replicas_opts {
    int32_t                broker_id;
    const struct config   *cfg;
    struct logmgr         *logs;
    struct scheduler      *sched;
    struct timer          *timer;
    struct metadata_cache *metacache;       /* where brokers are; and to tell "elsewhere" from "unknown" */
    struct topic_configs  *topic_configs;
    struct isr_changer    *isr;             /* NULL: nobody changes ISRs (a single broker) */
    const struct standing *standing;        /* our broker epoch, for leaders; NULL: none */
    struct doubts         *doubts;          /* told of leaders whose connection is cut; NULL: nobody is */
    /* The log of a partition is lost that the controller believes to be here: it should be told. Any thread, with
     * `becoming` held: it must only note it. May be NULL. */
    void                 (*on_lost)(void *arg);
    void                  *lost_arg;
};

/* ERR_INVALID: replica.selector.class names what we do not have. */
int  replicas_new(struct replicas **out, const struct replicas_opts *opts) must_use;
/* The broker is about to stop: what it is told to follow from now on, it does not fetch. */
void replicas_leave(struct replicas *rs);

/* Since it was asked last there was no room to make a log, and the controller was answered KAFKA_STORAGE_ERROR. It is
 * made when the controller speaks of the partition again. NULL-safe. */
bool replicas_lacked_room(struct replicas *rs);

/* Ends what is parked: its requests are answered or closed. Call while the network still stands and the IO threads
 * still run; afterwards appends and fetches answer NOT_LEADER_OR_FOLLOWER. */
void replicas_stop(struct replicas *rs);
void replicas_free(struct replicas **rs);   /* NULL-safe; the requests are all gone */

/* In-process side of the controller's requests. The response's memory is of the arena. ERR_NOMEM. */
int  replicas_leader_and_isr(struct replicas *rs, const struct leader_and_isr_request *req,
                             struct leader_and_isr_response *resp, struct arena *a) must_use;
int  replicas_stop_replica(struct replicas *rs, const struct stop_replica_request *req,
                           struct stop_replica_response *resp, struct arena *a) must_use;

/* logmgr_ready_fn: the log can be used now (rc OK), or cannot be opened. */
void replicas_log_ready(struct replicas *rs, struct str topic, int32_t partition, int rc);
/* The log directory has failed: its partitions are offline. */
void replicas_dir_failed(struct replicas *rs, size_t dir_index);
/* We are to host it, and its log is still being loaded. Not if there is no replica manager (yet). */
bool replicas_is_loading(struct replicas *rs, struct str topic, int32_t index);
/* The topic's settings (topic_configs_get()) are taken up by the partitions of it that are here. Any thread. */
void replicas_configure(struct replicas *rs, struct str topic);
void replicas_configure_all(struct replicas *rs);
void replicas_set_fetchers(struct replicas *rs, int32_t n);     /* num.replica.fetchers */

/* A reference, or NULL with *kerr = UNKNOWN_TOPIC_OR_PARTITION (nobody knows it), NOT_LEADER_OR_FOLLOWER (it is
 * elsewhere, or still being loaded) or KAFKA_STORAGE_ERROR (its log directory is offline). kerr may be NULL. */
struct partition *replicas_find(struct replicas *rs, struct str topic, int32_t index, int16_t *kerr);

/* fn is told what becomes of each partition: led here (again, in a new epoch) or not any more. It is called with
 * `becoming` held, when the partition can be found: it must only note it. fn NULL: nobody is told any more. */
typedef void replicas_role_fn(void *arg, struct str topic, int32_t index, bool leads);
void replicas_on_role(struct replicas *rs, replicas_role_fn *fn, void *arg);

const struct replicas_opts *replicas_options(const struct replicas *rs);
size_t replicas_partitions(const struct replicas *rs);

struct purgatory     *replicas_fetch_purgatory(struct replicas *rs);
/* The replica that a consumer should ask in place of us, the leader; -1: none. See selector.h. */
int32_t replicas_preferred(struct replicas *rs, struct partition *p, struct str listener, struct str rack,
                           int64_t offset);
struct repl_quota    *replicas_leader_quota(struct replicas *rs);
struct repl_quota    *replicas_follower_quota(struct replicas *rs);
struct purgatory     *replicas_produce_purgatory(struct replicas *rs);
struct refused       *replicas_refused(struct replicas *rs);
struct fetch_sessions *replicas_fetch_sessions(struct replicas *rs);

#endif
