/* broker/group/group.h - one consumer group: who is in it, which generation, which state. KIP-62, 345,
 * 394, 429, 559, 814.
 *
 * Rules only: nothing here writes, waits, or reads the clock that timeouts go by. Whoever has the group locked
 * (broker/group/groups.h) calls in with the time, then looks at what the group wants written (group_want()) and when it
 * wants to be called again (group_due()). Waiting Join- and SyncGroups are answered through their waiters, from within
 * these calls.
 *
 *              join                 all joined, or time up              leader's sync is in the log
 *   EMPTY ------------> PREPARING ---------------------> COMPLETING --------------------------> STABLE
 *     ^                  |  ^  ^                           |                                      |
 *     |   nobody joined  |  |  |  join, leave, expiry,     |      join with news, leave, expiry   |
 *     +------------------+  |  +---- failed write ---------+                                      |
 *                           +-----------------------------------------------------------------+
 *   DEAD from any state: deleted, expired, or its partition moved away. Nothing leads out.
 *
 * OWNER    struct groups makes and frees them; members, offsets and history belong to their group.
 * LOCKS    `lock` (class group) guards all but `id`; every function here wants it held. Waiters' done() runs under it.
 * UNITS    now_ms, deadlines: monotonic ms. state_since_ms, times of events: Unix ms. Timeouts saturate.
 * FAILURE  int16_t are Kafka's codes. Out of memory is UNKNOWN_SERVER_ERROR, with nothing changed.
 */
#ifndef BROKER_GROUP_GROUP_H
#define BROKER_GROUP_GROUP_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/lock.h"
#include "base/queue.h"
#include "base/timer.h"

#include <stdatomic.h>
#include <uthash.h>

struct group;
struct group_history;
struct group_member;
struct group_offsets;
struct group_partition;
struct partition;

enum group_state {
    GROUP_EMPTY, GROUP_PREPARING_REBALANCE, GROUP_COMPLETING_REBALANCE, GROUP_STABLE, GROUP_DEAD, GROUP_STATES_N
};

const char *group_state_name(enum group_state s);               /* as Kafka spells it: "PreparingRebalance" */

/* The properties that bound a group; of the broker, fixed. */
struct group_limits {
    int32_t min_session_timeout_ms, max_session_timeout_ms;     /* group.{min,max}.session.timeout.ms */
    int32_t max_size;                                           /* group.max.size */
    int32_t initial_delay_ms;                                   /* group.initial.rebalance.delay.ms */
    int64_t (*wall_ms)(void);                                   /* NULL: base/clock.h's; tests have their own */
};

/* What a group wants written to its partition: its metadata record as it is to be after the write. */
enum group_want {
    GROUP_WANTS_NOTHING,
    GROUP_WANTS_SYNC,                   /* the leader's assignments; answers those who sync */
    GROUP_WANTS_EMPTY,                  /* a rebalance that ended with nobody */
    GROUP_WANTS_STATIC,                 /* a static member came back under a new id; answers its join */
};

struct group {
    /* fixed */
    const struct group_limits *limits;
    struct str         id;              /* NUL-terminated, of the group's memory */
    /* groups.c's */
    atomic_int         refs;
    struct timer_entry timer;           /* fires at group_due() */
    struct group_partition *home;       /* whose records are in that partition; fixed */
    UT_hash_handle     hh;              /* map by id */
    struct partition  *log;             /* reference; whose end its records are appended to; fixed */
    struct qnode       due;             /* in the list of those whose timer has fired */
    struct lock        lock;            /* made by group_init() */
    int64_t            armed_ms;        /* under `lock`: when the timer fires; INT64_MAX: it is not armed */
    /* under `lock` */
    enum group_state   state;
    int64_t            state_since_ms;  /* Unix ms; -1: not known */
    int32_t            generation;
    struct str         protocol_type;   /* null: none */
    struct str         protocol;        /* chosen; null: none */
    struct group_member *leader;        /* NULL: none */
    struct group_member *members;       /* hash by member id, in order of joining; under a new id: last */
    struct group_member *statics;       /* hash by group.instance.id */
    size_t             members_n;
    struct group_offsets *offsets;      /* broker/group/offsets.h */
    struct group_history *history;      /* broker/group/history.h */
    struct group_rebalance *rebalance;  /* group_*.c's: timers, pending ids, votes */
};

int  group_init(struct group *g, struct str id, const struct group_limits *limits) must_use; /* EMPTY, generation 0 */
void group_fini(struct group *g);

/* ---- what a JoinGroup brings and gets ---- */

struct group_protocol {
    struct str   name;
    struct bytes metadata;
};

struct join_args {
    struct str member_id;               /* "": a new one */
    struct str instance_id;             /* null: dynamic */
    struct str client_id, client_host;  /* host as Java writes it: "/10.0.0.1" */
    struct str protocol_type;
    const struct group_protocol *protocols;
    int32_t    protocols_n;
    int32_t    session_timeout_ms, rebalance_timeout_ms;
    bool       needs_member_id;         /* v4+: MEMBER_ID_REQUIRED first, unless static */
    bool       can_skip_assignment;     /* v9+ */
    struct str reason;                  /* null: none given */
};

struct join_result {
    int16_t    error;
    int32_t    generation;              /* -1 with an error */
    struct str protocol_type, protocol; /* null with an error */
    struct str leader, member_id;
    bool       skip_assignment;
    const struct group *members;        /* the leader's: group_next_member(); NULL: none */
};

/* In the request's arena. done() is called once, under the group's lock, perhaps before the call that took it
 * returns. */
struct join_waiter {
    void (*done)(struct join_waiter *w, const struct join_result *res);
};

struct sync_assignment {
    struct str   member_id;
    struct bytes assignment;
};

struct sync_args {
    struct str member_id, instance_id;
    int32_t    generation;
    struct str protocol_type, protocol; /* null: not given (below v5) */
    const struct sync_assignment *assignments;
    int32_t    assignments_n;
};

struct sync_result {
    int16_t      error;
    struct str   protocol_type, protocol;
    struct bytes assignment;
};

struct sync_waiter {
    void (*done)(struct sync_waiter *w, const struct sync_result *res);
};

void    group_join(struct group *g, const struct join_args *in, struct join_waiter *w, int64_t now_ms);
void    group_sync(struct group *g, const struct sync_args *in, struct sync_waiter *w, int64_t now_ms);
int16_t group_heartbeat(struct group *g, struct str member_id, struct str instance_id, int32_t generation,
                        int64_t now_ms);
/* reason: null, or what the client says. The member id may be empty for a static member (removal by an
 * administrator). */
int16_t group_leave(struct group *g, struct str member_id, struct str instance_id, struct str reason, int64_t now_ms);

/* May this member commit offsets? generation -1 and no member id: who manages its partitions itself. txn: the rules of
 * TxnOffsetCommit. Counts as a heartbeat. */
int16_t group_may_commit(struct group *g, struct str member_id, struct str instance_id, int32_t generation, bool txn,
                         int64_t now_ms);

/* ---- time ---- */

int64_t group_due(const struct group *g);                       /* INT64_MAX: nothing to wait for */
void    group_tick(struct group *g, int64_t now_ms);        /* whatever is due: sessions, joins, syncs, pending ids */

/* ---- what it wants written ---- */

enum group_want group_want(const struct group *g);
/* The value of the record, as version `version` has it, in the arena; the want is taken: group_written() follows, once,
 * with the write's generation (perhaps after that of a later generation, when both had to wait). */
int     group_take_record(struct group *g, int16_t version, struct arena *a, struct bytes *value,
                          int32_t *generation) must_use;
/* kerr: the append's own code, which is mapped here for those who wait (internal-topics.md, 2.4). */
void    group_written(struct group *g, enum group_want what, int32_t generation, int16_t kerr, int64_t now_ms);

/* ---- from the log ---- */

struct group_metadata_value;
/* At loading: becomes what the record says; STABLE with members, whose sessions begin now, else EMPTY. */
int     group_restore(struct group *g, const struct group_metadata_value *v, int64_t now_ms) must_use;

/* Its partition moved away, or it is deleted: DEAD; who waits is answered with kerr. */
void    group_end(struct group *g, int16_t kerr);

/* ---- looking ---- */

struct group_member_view {
    struct str   member_id, instance_id, client_id, client_host;
    struct bytes metadata;              /* for the chosen protocol; empty while there is none */
    struct bytes assignment;
};
/* In order of joining; *pos = NULL at first. false: no more. */
bool    group_next_member(const struct group *g, const struct group_member **pos, struct group_member_view *out);

/* Does a member that is here now subscribe to the topic? Of protocol type "consumer" only. What cannot be read
 * (GROUP_SUBSCRIBES_UNKNOWN) is treated as a yes. */
enum group_subscribes { GROUP_SUBSCRIBES_NO, GROUP_SUBSCRIBES_YES, GROUP_SUBSCRIBES_UNKNOWN };
enum group_subscribes group_subscribes(const struct group *g, struct str topic);

#endif
