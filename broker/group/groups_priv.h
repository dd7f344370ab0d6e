/* broker/group/groups_priv.h - the coordinator's inside, for broker/group/{groups,parts,clock,write,load}.c only.
 *
 * OWNER    one reference of a group each: the map, an armed timer or the list of due ones, a session, a parked write.
 * LOCKS    a shard's lock is held for map operations; `desk` for the states of partitions and the thread's bell.
 */
#ifndef BROKER_GROUP_GROUPS_PRIV_H
#define BROKER_GROUP_GROUPS_PRIV_H

#include "base/queue.h"
#include "broker/group/groups.h"
#include "broker/group/records.h"

#include <stdatomic.h>

enum { GROUP_SHARDS = 64 };

enum part_state { PART_NONE, PART_LOADING, PART_ACTIVE };

struct group_partition {
    /* fixed */
    int32_t           index;
    struct groups    *gs;
    /* any thread; written under `desk` */
    _Atomic int       state;            /* enum part_state */
    _Atomic unsigned  changes;          /* of `state`, each counted after it */
    /* under `desk` */
    bool              to_drop, to_load; /* in this order, by the coordinator's thread */
    bool              busy;             /* being loaded, in a thread of the scheduler, or dropped */
    /* changed under `desk` or by who made the partition busy, while no group of it is in the map, and none can come
     * there */
    struct partition *log;              /* reference; NULL: none */
};

/* What loads at about the same time have brought. */
struct load_sum {
    size_t parts, groups, offsets, records;
};

struct group_shard {
    struct lock   lock;                 /* class groupmap */
    struct group *map;
};

struct groups {
    /* fixed */
    struct groups_opts      o;
    struct group_limits     limits;
    struct record_versions  versions;
    int32_t                 parts_n;
    struct group_partition *parts;
    pthread_t               thread;
    bool                    runs;       /* the thread; of who starts and stops */
    /* any thread */
    atomic_bool             stopping;
    atomic_bool             told_beyond;    /* that the topic has partitions that are not used */
    atomic_size_t           busy;       /* armed timers, parked writes, loads: what the thread waits for at its end */
    struct mpsc             due;        /* struct group by `due` */
    struct mpsc             ended;      /* struct group_write_state, whose wait has ended */
    struct group_shard      shard[GROUP_SHARDS];
    /* under `desk` (class groupparts) */
    struct lock             desk;
    struct cond             bell;
    bool                    rung, told; /* told: something for parts_work() */
    size_t                  loads;      /* begun and not ended */
    struct load_sum         loaded;     /* since the log last told of loads */
    int64_t                 load_ms, load_end_ms;   /* when the first of them began (0: none has), the last ended */
    bool                    telling;    /* the log is about to tell of them */
};

/* ---- groups.c ---- */
int  group_make(struct group **out, struct group_partition *home, struct str id) must_use;   /* one reference */
void group_unref(struct group *g);
/* ERR_EXISTS: one of that id is there, or the partition is not in that state. Takes a reference of its own. */
int  map_put(struct groups *gs, struct group *g, enum part_state in) must_use;
void session_begin(struct groups *gs, struct group *g, struct group_session *s);    /* takes over a reference */
void groups_drop(struct groups *gs, const struct group_partition *of, int16_t kerr);    /* NULL: all */
int16_t part_check(const struct groups *gs, const struct group_partition *part);

/* ---- parts.c ---- */
void parts_work(struct groups *gs);     /* what the replica manager said since: drop and load */

/* ---- clock.c ---- */
int  clock_start(struct groups *gs) must_use;
void clock_stop(struct groups *gs);     /* waits until nothing is busy */
void clock_ring(struct groups *gs);
void clock_arm(struct group *g, int64_t now_ms);        /* the group is locked */
void clock_done(struct groups *gs);     /* one thing less that is busy */

/* ---- write.c ---- */
void writes_want(struct group_session *s);              /* writes what the group wants */
void writes_park(struct group_write *parked);           /* nothing is locked */
void writes_ended(struct groups *gs);                   /* in the coordinator's thread */

/* ---- load.c ---- */
/* In a thread of the scheduler. Adds to *sum what is there to be told; what it tells itself is not. ERR_AGAIN: the log
 * cannot be read now, and nothing has been taken up. */
int  load_partition(struct group_partition *part, struct load_sum *sum) must_use;

#endif
