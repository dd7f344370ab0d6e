/* broker/replica/partition.h - one partition on this broker: who leads it, who is in sync, how far it is committed.
 *
 * The log (storage/plog.h) keeps the offsets; the partition decides who may append and read, and what the high
 * watermark is. While it leads with nobody else in the ISR, the high watermark is the log's end; leader.h has the rest.
 *
 *   LeaderAndIsr: we lead            LeaderAndIsr: another leads              StopReplica, or the broker stops
 *   -----------------------> LEADER <--------------------------> FOLLOWER    any -----------------------> GONE
 *
 * OWNER    struct replicas has one reference of each; replicas_find() gives more, partition_unref() gives back.
 * LOCKS    `partition` guards role, epochs, ISR, and is held across a leader's append, so that leadership cannot change
 *          in the midst of it (appends to one partition wait for each other in the log anyway). Reads take no lock:
 *          they look at `standing`. `partconf` guards the copy of the topic's settings, for nanoseconds.
 * UNITS    offsets of records; sizes in bytes; times in ms.
 * FAILURE  int16_t results are Kafka's error codes (proto/kerr.h); 0 is success.
 */
#ifndef BROKER_REPLICA_PARTITION_H
#define BROKER_REPLICA_PARTITION_H

#include "base/lock.h"
#include "base/uuid.h"
#include "broker/replica/purgatory.h"
#include "storage/plog.h"

#include <uthash.h>

struct leader_and_isr_request_leader_and_isr_partition_state;
struct leading;
struct log_move;
struct replicas;
struct topic_config;

/* What requests need of the topic's settings. */
struct partition_conf {
    int64_t timestamp_before_max_ms, timestamp_after_max_ms;
    int32_t max_message_bytes;
    int32_t codec;                      /* enum topic_codec */
    int32_t codec_level;
    int8_t  magic;                      /* of the batches that are stored */
    bool    log_append_time;
    bool    delete_policy, compact_policy;
    bool    downconversion;             /* message.downconversion.enable */
};

enum partition_role { ROLE_NONE, ROLE_FOLLOWER, ROLE_LEADER, ROLE_GONE };

/* Role and leader epoch in one word. */
struct partition_standing {
    enum partition_role role;
    int32_t             leader_epoch;
};

struct partition {
    /* fixed at creation */
    uint32_t          magic;
    int32_t           index;
    struct str        topic;            /* in key[] */
    const char       *name;             /* "topic-partition", for messages */
    struct replicas  *home;
    /* under `lock` and `conf_lock`, read under either: changes when the log moves to another directory */
    struct plog      *log;              /* holds a reference */
    uint32_t          moves;            /* so far */
    /* any thread */
    atomic_int        refs;
    _Atomic uint64_t  standing;         /* role and leader epoch; written under `lock` */
    _Atomic int64_t   appended_bytes;   /* for fetches that wait for bytes; written under `lock` */
    _Atomic int64_t   committed_bytes;  /* about so many of them are below HW; written under `lock` */
    _Atomic uint32_t  rolls;            /* segments begun; written under `lock` */
    _Atomic int64_t   epoch_start;      /* log end when we began to lead; -1: we do not. Written under `lock` */
    _Atomic int32_t   replicas_n, isr_n;    /* the ISR as committed; written under `lock` */
    _Atomic int32_t   min_isr;          /* min.insync.replicas */
    /* *.replication.throttled.replicas name this replica: what it gives to others, and what it takes */
    atomic_bool       leader_throttled, follower_throttled;
    struct watch_list fetches;          /* fetches that wait for HW or LSO, or for a change of leadership */
    struct watch_list tails;            /* followers' fetches, that wait for the log's end */
    struct watch_list produces;         /* acks=all that wait for HW */
    /* under `lock` (class partition) */
    struct lock       lock;
    int32_t           leader_id;        /* -1: none */
    int32_t           controller_epoch;
    int32_t           partition_epoch;  /* version of the state node */
    struct leading   *leading;          /* the other replicas, while we lead; else NULL. See leader.h */
    int64_t           leader_hw, leader_start;  /* as a follower: what the leader has said last; -1: nothing */
    /* no fields. Held by who validates and appends records of message format 0: see produce.c */
    struct lock       oldformat;
    /* under `conf_lock` (class partconf) */
    struct lock           conf_lock;
    struct partition_conf conf;
    /* under the map shard's lock (class replicas) */
    UT_hash_handle    hh;
    uint32_t          key_len;
    char              key[];            /* index, then the topic's name and a NUL; then `name` */
};

/* ---- life; replicas.c ---- */
int  partition_new(struct partition **out, struct replicas *home, struct plog *log) must_use;   /* takes a reference */
struct partition *partition_ref(struct partition *p);
void partition_unref(struct partition **p);                                         /* NULL-safe */
void partition_set_conf(struct partition *p, const struct topic_config *tc);        /* and the log's options */
void partition_log_opts(const struct topic_config *tc, struct log_opts *out);

/* Takes up what the controller says; the caller has checked the leader epoch. ERR_NOMEM, or the log's.
 * After this and after partition_go() those who wait must be woken, with nothing locked: partition_wake(). */
int  partition_become(struct partition *p, int32_t self, int32_t controller_epoch,
                      const struct leader_and_isr_request_leader_and_isr_partition_state *st) must_use;
void partition_go(struct partition *p);         /* StopReplica: GONE for good */
void partition_wake(struct partition *p);       /* who waits looks again; no lock may be held */
void partition_wake_committed(struct partition *p);     /* only who waits for HW or LSO */
void partition_wake_appended(struct partition *p);      /* only followers, who wait for the log's end */
/* Settings that the high watermark hangs on may have changed: it is looked at again. No lock may be held. */
void partition_recheck(struct partition *p);

/* The log has moved: its copy takes its place; logmgr_swap_fn for this partition. */
int  partition_swap_log(struct partition *p, struct log_move *mv) must_use;

/* ---- requests; any thread ---- */
struct plog *partition_log(struct partition *p) must_use;               /* a new reference */
struct plog_offsets partition_offsets(struct partition *p);
struct uuid partition_topic_id(struct partition *p);
static inline struct partition_standing partition_standing(const struct partition *p)
{
    uint64_t v = atomic_load_explicit(&p->standing, memory_order_acquire);

    return (struct partition_standing){ (enum partition_role)(v & 3), (int32_t)(v >> 32) };
}

struct partition_conf partition_conf(struct partition *p);

/* May a client that believes in this leader epoch (-1: does not say) use the partition? FENCED_LEADER_EPOCH,
 * UNKNOWN_LEADER_EPOCH, NOT_LEADER_OR_FOLLOWER. */
int16_t partition_check(const struct partition *p, int32_t leader_epoch, bool leader_only);

/* Fewer in the committed ISR than min.insync.replicas asks for (never more than there are replicas)? */
bool partition_isr_short(struct partition *p);

/* Appends as leader. in->leader_epoch is filled in here. With acks -1 the ISR must be large enough
 * (NOT_ENOUGH_REPLICAS). Wakes who waits for it. PARTITION_RACED, which is no code of Kafka's: in->fixed_base, and
 * another append came first. */
enum { PARTITION_RACED = INT16_MIN };
int16_t partition_append(struct partition *p, struct plog_append *in, int16_t acks, struct plog_appended *out);
/* *followers says whether partition_wake_appended() is due, soon: after some more appends, if they are here already. */
int16_t partition_append_soon(struct partition *p, struct plog_append *in, int16_t acks, struct plog_appended *out,
                              bool *followers);
/* Wakes nobody, so that the caller may hold locks: *wake says whether partition_wake() is due when they have been
 * dropped. */
int16_t partition_append_quiet(struct partition *p, struct plog_append *in, int16_t acks, struct plog_appended *out,
                               bool *wake);

/* For an append that is held: may it be answered for, as far as the flush settings go? *done says whether the question
 * is decided; the result is NONE, KAFKA_STORAGE_ERROR or NOT_LEADER_OR_FOLLOWER. */
int16_t partition_safe(struct partition *p, int64_t offset, bool *done);

/* A flush of the log has ended: the high watermark moves, and who waits looks again. No lock may be held. */
void partition_flushed(struct partition *p);

/* For acks=all after an append, in leader_epoch: is everything below `offset` committed? *done says whether the
 * question is decided; the result is NONE, NOT_ENOUGH_REPLICAS_AFTER_APPEND or NOT_LEADER_OR_FOLLOWER: also when we
 * lead again, but have followed another leader in between. */
int16_t partition_committed(struct partition *p, int64_t offset, int32_t leader_epoch, bool *done);

enum isolation { ISOLATION_LEO, ISOLATION_HW, ISOLATION_LSO };

static inline int64_t offsets_bound(const struct plog_offsets *o, enum isolation i)
{
    return i == ISOLATION_LEO ? o->leo : i == ISOLATION_HW ? o->hw : o->lso;
}

struct partition_read {
    /* in */
    int64_t        offset;
    int32_t        leader_epoch;        /* of the request; -1: not given */
    int32_t        last_epoch;          /* of the last record that the client has; -1: not given */
    enum isolation isolation;
    bool           leader_only;
    bool           at_least_one;        /* a first batch larger than max_bytes is given whole */
    bool           whole_first;         /* else: nothing rather than part of the first batch */
    int64_t        max_bytes;
    /* out */
    struct plog_read read;              /* offsets are set when the result is 0; plog_read_done() */
    bool           left_out;            /* there are records, but whole_first kept them back */
    uint32_t moves;                     /* for partition_aborted() */
    struct plog_epoch_end diverging;    /* end_offset -1: not */
};

int16_t partition_read(struct partition *p, struct partition_read *io);
/* plog_aborted() for what was just read; ERR_BUSY also when the log has moved since. */
int     partition_aborted(struct partition *p, const struct partition_read *io, struct arena *a,
                          struct plog_aborted **out, size_t *n) must_use;

struct partition_offset {
    int64_t offset, timestamp;          /* -1: none */
    int32_t leader_epoch;               /* -1: none */
};

/* ListOffsets from version 1; ts is a time or one of Kafka's special values. OFFSET_NOT_AVAILABLE besides those of
 * partition_check(). */
int16_t partition_offset_for(struct partition *p, int64_t ts, int32_t leader_epoch, enum isolation isolation,
                             bool leader_only, struct partition_offset *out);
/* OffsetForLeaderEpoch: where `epoch`, or the latest before it, ends. leader_epoch is what the asker believes in. */
int16_t partition_epoch_end(struct partition *p, int32_t leader_epoch, int32_t epoch, struct plog_epoch_end *out);
/* ListOffsets version 0. */
int16_t partition_offsets_before(struct partition *p, int64_t ts, bool leader_only, bool consumer, int64_t *out,
                                 size_t max, size_t *n);

/* DeleteRecords here; *offset -1 is the high watermark, and then becomes it. Whether the other replicas have done the
 * same, partition_low_watermark() tells. */
int16_t partition_delete_before(struct partition *p, int64_t *offset);

/* The Kafka code for a failure of the log. */
int16_t partition_log_error(int rc);

#endif
