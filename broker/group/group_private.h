/* broker/group/group_private.h - what the files of one group's rules (group*.c) share; nobody else includes it.
 *
 *   group.c            states, their table, begin and end of a group, looking at it
 *   group_member.c     members and pending ids: adding, removing, renaming, answering those who wait
 *   group_protocols.c  what members support, and what all of them support
 *   group_join.c       JoinGroup
 *   group_calls.c      SyncGroup, Heartbeat, LeaveGroup, the right to commit
 *   group_rebalance.c  from its begin to the next generation, and whatever is due at some time
 *   group_record.c     what is written, and what is read at loading
 *   group_topics.c     which topics the members subscribe to
 *
 * INVARIANTS (kit_check() in the tests)
 *  1. awaiting_n members have a `join` waiter, unsynced_n have `unsynced` set; members_n are in the hash by id, and
 *     those with an instance id in the hash by that.
 *  2. There is a leader exactly when there are members; it is one of them. EMPTY has none.
 *  3. A vote's `members` is the number of members that support it. At least one vote has members_n of them.
 *  4. `sync` waiters are there in COMPLETING only. `join` waiters are there in PREPARING, and in STABLE while a
 *     static member's new id is being written (`writing` set).
 *  5. earliest_ms is not later than the due_ms of any member or pending id, but for the few ms that expire() grants
 *     big groups. A member without a due time is awaiting something, whose end sets it.
 *  6. A waiter that leaves its member has been answered.
 */
#ifndef BROKER_GROUP_GROUP_PRIVATE_H
#define BROKER_GROUP_GROUP_PRIVATE_H

#include "broker/group/group.h"

#include "base/err.h"
#include "broker/group/history.h"
#include "proto/kerr.h"

#define NEVER INT64_MAX
#define NEW_MEMBER_JOIN_MS (5 * 60 * 1000)
#define PENDING_IDS_MAX 50000           /* ids promised at one time by one group */

/* The name of a protocol that some member supports. */
struct vote {
    UT_hash_handle hh;
    size_t         members;             /* that support it */
    size_t         refs;                /* of it in lists of protocols */
    size_t         votes;               /* while the protocol is chosen */
    uint64_t       mark;                /* of the pass that has counted it last */
    uint32_t       name_len;
    char           name[];
};

/* What one member supports, best first; its metadata lies behind. */
struct protocols {
    int32_t n;
    struct protocol {
        struct vote *vote;
        struct bytes metadata;
    } v[];
};

struct static_write;

struct group_member {
    UT_hash_handle hh, hh_static;
    struct str     id;                  /* of its own memory; changes when a static member is replaced */
    struct str     instance_id;         /* null: dynamic. This and the next two lie behind the struct */
    struct str     client_id, client_host;
    int32_t        rebalance_timeout_ms, session_timeout_ms;
    struct protocols *protocols;
    struct bytes   assignment;          /* own memory; null: none */
    struct bytes   next_assignment;     /* the leader's, not in the log yet */
    int64_t        due_ms;              /* removed then, unless it waits for us */
    struct join_waiter  *join;          /* NULL: does not wait */
    struct sync_waiter  *sync;
    struct static_write *writing;       /* its new id is being written; answers `join` */
    bool           is_new;              /* has not been told its generation yet: due_ms counts though it waits */
    bool           unsynced;            /* has not asked for its assignment in this generation */
};

/* A member id that was given out; its owner has not joined with it yet. */
struct pending_id {
    UT_hash_handle hh;
    int64_t        due_ms;
    uint32_t       len;
    char           id[];
};

/* A static member's new id, on its way to the log. */
struct static_write {
    struct static_write *next;
    struct group_member *m;             /* NULL: the answer came another way */
    struct str old_id;                  /* own memory */
    int32_t    old_rebalance_ms, old_session_ms;
    int32_t    generation;
    bool       was_leader, can_skip;
};

/* A topic that a member subscribes to. */
struct subscribed {
    UT_hash_handle hh;
    char           name[];
};

enum topics_known { TOPICS_STALE, TOPICS_KNOWN, TOPICS_UNREADABLE };

struct group_rebalance {
    size_t   awaiting_n, unsynced_n;
    struct pending_id *pending;
    struct vote *votes;
    uint64_t mark;
    int64_t  earliest_ms;               /* of members and pending ids; may be earlier than the earliest */
    /* PREPARING */
    int64_t  join_due_ms;
    int64_t  began_ms;                  /* when the group was last STABLE or EMPTY */
    int32_t  delay_ms, remaining_ms;    /* of the initial delay: now running, and what may follow */
    bool     initial;                   /* waits that long even when all have joined */
    bool     newcomer;                  /* a member came during the delay */
    bool     deserted;                  /* it began because nobody is left: one line in the log says all of it */
    /* COMPLETING, STABLE */
    int64_t  sync_due_ms;
    /* writing */
    enum group_want want;
    bool     sync_taken;                /* the leader's assignments of this generation are wanted or being written */
    struct static_write *writes;        /* oldest first; of GROUP_WANTS_STATIC */
    /* group_topics.c */
    enum topics_known known;
    struct subscribed *topics;
};

/* What depends on the state, in one table (group.c). */
struct group_rules {
    const char *name;
    unsigned    from;                   /* set of the states that lead here */
    int16_t     heartbeat, commit;      /* to a member of this generation */
    bool      (*has_room)(const struct group *g, const struct group_member *m);     /* m: NULL = not a member */
    void      (*rejoin)(struct group *g, struct group_member *m, const struct join_args *in, struct join_waiter *w,
                        int64_t now_ms);
    void      (*replaced)(struct group *g, struct group_member *m, struct static_write **write, int64_t now_ms);
    void      (*sync)(struct group *g, struct group_member *m, const struct sync_args *in, struct sync_waiter *w,
                      int64_t now_ms);
    void      (*shrunk)(struct group *g, const char *why, int64_t now_ms);          /* members or pending ids went */
};

extern const struct group_rules group_rules[GROUP_STATES_N];

#define STATE_BIT(s) (1U << (s))

/* ---- group.c ---- */
void    group_go(struct group *g, enum group_state to);
bool    group_may_go(const struct group *g, enum group_state to);
int64_t group_wall_ms(const struct group *g);
int     text_set(struct str *s, struct str to) must_use;        /* own, NUL-terminated copy; null stays null */
void    text_free(struct str *s);
/* m NULL: about the whole group. */
void    group_event(struct group *g, enum group_event_kind kind, const struct group_member *m, struct str reason);
void    group_event_full(struct group *g, const struct group_event *e);

/* ---- group_member.c ---- */
struct group_member *member_find(const struct group *g, struct str id);
struct group_member *member_find_static(const struct group *g, struct str instance_id);
/* The member these ids belong to, or why not: FENCED_INSTANCE_ID, UNKNOWN_MEMBER_ID. */
int16_t member_check(const struct group *g, struct str id, struct str instance_id, struct group_member **out);

/* Takes over *p. Not in the group yet. */
int     member_new(struct group_member **out, struct str id, const struct join_args *in, struct protocols **p) must_use;
void    member_free(struct group *g, struct group_member **m);
int     member_add(struct group *g, struct group_member *m) must_use;
void    member_remove(struct group *g, struct group_member *m);     /* frees it; whoever waits: UNKNOWN_MEMBER_ID */
/* Takes over id's memory. On failure the member is gone. */
int     member_rename(struct group *g, struct group_member *m, struct str id) must_use;
void    member_set_protocols(struct group *g, struct group_member *m, struct protocols **p);
void    member_set_due(struct group *g, struct group_member *m, int64_t at_ms);
void    member_alive(struct group *g, struct group_member *m, int64_t now_ms);   /* its session begins anew */
void    member_forget_next(struct group_member *m);
int     member_copy_next(struct group_member *m, struct bytes assignment) must_use;
void    member_assign(struct group_member *m, struct bytes assignment);  /* takes over the memory; forgets the next */
void    members_clear(struct group *g);

/* Who waited there already is told REBALANCE_IN_PROGRESS. */
void    member_await_join(struct group *g, struct group_member *m, struct join_waiter *w);
void    member_await_sync(struct group_member *m, struct sync_waiter *w);
void    member_answer_join(struct group *g, struct group_member *m, const struct join_result *res);
void    member_fail_join(struct group *g, struct group_member *m, struct str id, int16_t kerr);
bool    member_answer_sync(struct group_member *m, const struct sync_result *res);   /* did it wait? */
bool    member_fail_sync(struct group_member *m, int16_t kerr);
void    member_synced(struct group *g, struct group_member *m);     /* no longer waited for */

int     pending_add(struct group *g, struct str id, int64_t due_ms) must_use;
bool    pending_has(const struct group *g, struct str id);
bool    pending_remove(struct group *g, struct str id);
void    pending_clear(struct group *g);

void    join_fail(struct join_waiter *w, struct str id, int16_t kerr);
void    sync_fail(struct sync_waiter *w, int16_t kerr);

/* ---- group_protocols.c ---- */
int     protocols_new(struct group *g, const struct group_protocol *v, int32_t n, struct protocols **out) must_use;
void    protocols_free(struct group *g, struct protocols **p);
void    protocols_count(struct group *g, const struct protocols *p, int by);        /* +1: a member has them, -1: had */
bool    protocols_equal(const struct protocols *p, const struct group_protocol *v, int32_t n);
bool    protocols_supported(const struct group *g, struct str type, const struct group_protocol *v, int32_t n);
struct str protocols_choose(struct group *g);                       /* by vote; of the vote's memory */
bool    protocols_metadata(const struct protocols *p, struct str name, struct bytes *out);

/* ---- group_rebalance.c ---- */
void    rebalance_prepare(struct group *g, const char *why, int64_t now_ms);
void    rebalance_maybe_prepare(struct group *g, const char *why, int64_t now_ms);
void    rebalance_try_complete(struct group *g, int64_t now_ms);
void    rebalance_ended(struct group *g, int64_t now_ms);           /* STABLE or EMPTY: tells the history */
void    rebalance_refuse_syncs(struct group *g, int16_t kerr, int64_t now_ms);      /* and forgets assignments */
/* What a member is told of the settled generation; the leader gets the members. */
void    join_result_of(const struct group *g, const struct group_member *m, struct join_result *res);

/* ---- group_record.c, group_topics.c ---- */
/* Its new id is to be written; takes over *w. */
void    static_write_want(struct group *g, struct group_member *m, struct static_write **w);
void    static_write_free(struct static_write **w);
void    topics_forget(struct group_rebalance *r);

#endif
