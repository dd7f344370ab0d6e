/* broker/group/groups.h - the group coordinator: which groups are here, their partitions of __consumer_offsets, their
 * writes and their clock.
 *
 *   NONE --we lead it--> LOADING --log read to its end--> ACTIVE --another leads it--> NONE
 *
 * A handler works on a group between groups_enter() and groups_leave():
 *
 *     kerr = groups_enter(gs, group_id, GROUPS_OR_NEW, &s);
 *     if (kerr == KERR_NONE) {
 *         group_join(s.g, &args, &waiter, mono_ms());
 *         groups_leave(&s);               writes what the group wants, sets its timer, unlocks, wakes who waits
 *     }
 *
 * Appends are made with the group locked, so what memory and log say of one group has one order.
 *
 * OWNER    the daemon makes one. A group is reference-counted; a session holds a reference and the lock.
 * LOCKS    groupmap (shards of the map), group (one group), groupparts (states of the partitions), in this order,
 *          all below `partition`. Metadata snapshots are taken before groups_enter().
 * THREADS  handlers on IO threads; one thread of its own for what is due and for writes that end later; loading and
 *          expiry on the scheduler's threads, several partitions at once.
 * FAILURE  Kafka's codes: COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR, COORDINATOR_NOT_AVAILABLE (stopping).
 */
#ifndef BROKER_GROUP_GROUPS_H
#define BROKER_GROUP_GROUPS_H

#include "base/bytes.h"
#include "base/err.h"
#include "broker/group/group.h"

struct config;
struct group_write;
struct groups;
struct metadata_cache;
struct record_versions;
struct replicas;
struct scheduler;
struct store;
struct timer;

extern const struct str groups_topic;                   /* __consumer_offsets */

/* All borrowed; they outlive it. */
struct groups_opts {
    const struct config   *cfg;
    struct replicas       *replicas;
    struct metadata_cache *metacache;
    struct store          *store;       /* only asked for the number of partitions; NULL: the property's */
    struct scheduler      *sched;
    struct timer          *timer;
};

int  groups_new(struct groups **out, const struct groups_opts *o) must_use;
void groups_stop(struct groups *gs);    /* who waits is answered COORDINATOR_NOT_AVAILABLE; the network still stands */
void groups_free(struct groups **gs);   /* NULL-safe */

/* Of N partitions: the topic's as found at start, else offsets.topic.num.partitions. */
int32_t groups_partition_of(const struct groups *gs, struct str group_id);

/* The replica manager tells (groups_leads() also when we have led it before): requests are refused at once, the rest is
 * done later in other threads. Called with `becoming` held. */
void groups_leads(struct groups *gs, int32_t partition);
void groups_resigns(struct groups *gs, int32_t partition);      /* another leads it, or it is gone */

/* ---- one group ---- */

enum groups_how { GROUPS_EXISTING, GROUPS_OR_NEW };     /* EXISTING and not there: NONE with s->g == NULL */

struct group_session {
    struct groups      *gs;
    struct group       *g;              /* locked */
    struct group_write *parked;         /* writes that wait until the lock is dropped */
    bool                wake;           /* its partition's fetches */
};

int16_t groups_enter(struct groups *gs, struct str group_id, enum groups_how how, struct group_session *s);
/* Also with s->g == NULL. A new group that has got nothing is gone again. */
void    groups_leave(struct group_session *s);
int16_t groups_check(struct groups *gs, struct str group_id);   /* would groups_enter() find it served here? */

/* ---- writing (broker/group/write.c) ---- */

/* The versions of records that inter.broker.protocol.version asks for (broker/group/records.h). */
const struct record_versions *groups_versions(const struct groups *gs);

/* One batch of records, appended now; done() is called with the group locked: at once when it is committed at once,
 * else later, in the coordinator's thread or an IO thread. The memory is the caller's until done(). */
struct group_write {
    void   (*done)(struct group_write *w, struct group *g, int16_t kerr, int64_t base_offset);
    /* write.c's */
    struct group_write *next;
    struct group_write_state *state;
};

struct group_record {
    struct bytes key, value;            /* value null: a tombstone */
};

/* kerr other than NONE: nothing was appended and done() will not be called. acks 0: done may be NULL. */
int16_t groups_write(struct group_session *s, const struct group_record *v, size_t n, int16_t acks,
                     struct group_write *w);

/* ---- all of them ---- */

/* fn is called in a session with each group that is not DEAD, which ends when fn returns: it may write, and remove the
 * group. false from fn ends it. *loading (may be NULL) says whether a partition is still being loaded. */
void groups_each(struct groups *gs, bool (*fn)(void *arg, struct group_session *s), void *arg, bool *loading);

/* DeleteGroups, and the end of expiry: DEAD, out of the map, tombstones for its metadata (generation > 0) and
 * offsets. */
void groups_remove(struct group_session *s);

#endif
