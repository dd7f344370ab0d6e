/* tests/bench/group_member.h - members of consumer groups, thousands of them in one thread, over plain sockets: what
 * tests/bench/groups.c loads a broker with. Each has a connection of its own, as a real consumer has for its
 * coordinator, and does what a Java consumer of 3.9 does, with the same versions of the requests:
 *
 *   FindCoordinator, JoinGroup, JoinGroup with the id it was given, SyncGroup (the leader with the assignments),
 *   Heartbeat every 3 s; whoever is told of a rebalance joins again.
 *
 * OWNER   crowd_fini() closes and frees everything.
 * FAILURE what should not happen ends the process with a sentence: this is a tool of the bench.
 */
#ifndef TESTS_BENCH_GROUP_MEMBER_H
#define TESTS_BENCH_GROUP_MEMBER_H

#include "base/arena.h"
#include "base/chain.h"

enum member_state { MEMBER_FINDS, MEMBER_FOUND, MEMBER_JOINS, MEMBER_SYNCS, MEMBER_STABLE, MEMBER_LEAVES, MEMBER_LEFT };

struct member {
    int               fd;
    int32_t           group;                /* number of its group */
    enum member_state state;
    struct str        id;                   /* "": none yet */
    char             *id_text;
    int32_t           generation;
    int64_t           due_ms;               /* a heartbeat, or another try; monotonic */
    uint32_t          beats;                /* heartbeats under way: 0 or 1 */
    int32_t          *partitions;           /* assigned */
    int32_t           partitions_n;
    uint8_t          *in;                   /* what has come and is not a whole frame yet */
    size_t            have, room;
    /* of the commits */
    uint8_t          *frame;                /* the request; its offset and partition are put in */
    size_t            frame_n;
    uint32_t          under_way;
    int64_t           committed;            /* how many; or the group for which it commits */
};

struct crowd {
    uint16_t       port;
    int            epoll;
    const char    *prefix;                  /* group N is PREFIX-N */
    struct str     topic;
    int32_t        partitions;              /* of the topic */
    int32_t        groups, size;            /* members of a group */
    struct member *members;                 /* groups * size: those of one group side by side */
    int32_t        found, stable, left;     /* members that found their coordinator; groups; members */
    int32_t       *synced;                  /* of each group: members that synced in its newest generation */
    int32_t       *generation;
    int32_t        round;                   /* stands in the subscriptions, so that they change */
    int64_t        last_join_ns, last_sync_ns;
    struct arena   arena;                   /* of one request or answer */
    /* Answers to what the mode itself asked: crowd_send(). */
    void         (*answer)(struct crowd *c, struct member *m, int16_t api, struct cursor *body);
    void          *arg;
};

#define die(...) die_at(__FILE__, __LINE__, __VA_ARGS__)
_Noreturn void die_at(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Connects all of them; each asks for its coordinator. port, prefix, topic and the numbers are set. */
void crowd_init(struct crowd *c);
void crowd_fini(struct crowd *c);
void crowd_found(struct crowd *c);          /* until every member has found its coordinator */
void crowd_join(struct crowd *c);           /* all send JoinGroup now */
void crowd_stable(struct crowd *c);         /* until every group is */
void crowd_leave(struct crowd *c);          /* all of them, until answered */

/* Takes in what comes within wait_ms, and does what is due. */
void crowd_turn(struct crowd *c, int wait_ms);

/* A request whose body the caller has written into the chain after crowd_begin(); the arena is reset afterwards. */
void        crowd_begin(struct crowd *c, struct chain *ch, int16_t api);
void        crowd_send(struct crowd *c, struct member *m, struct chain *ch);
uint8_t    *crowd_flatten(const struct chain *ch, size_t *n);       /* the frame, to be kept: free() */
void        member_write(const struct member *m, const void *p, size_t n);
int16_t     crowd_version(int16_t api);
struct str  crowd_group(struct crowd *c, int32_t group);            /* in the arena */

#define CROWD_SEND(c, m, api, type, body)                                       \
    do {                                                                        \
        struct chain ch_;                                                       \
        crowd_begin(c, &ch_, api);                                              \
        if (type##_write(&ch_, body, crowd_version(api)) != OK)                 \
            die("request %d cannot be written", api);                           \
        crowd_send(c, m, &ch_);                                                 \
    } while (0)

#endif
