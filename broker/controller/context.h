/* broker/controller/context.h - what the active controller knows: live brokers, topics, partitions and their
 * states.
 *
 * OWNER   one struct context in the controller; topics and brokers belong to it, partitions to their topic.
 *         Pointers stay good until the topic is dropped, which only the running event does (see task.h), so
 *         an event may keep them from step to step.
 * LOCKS   none: the controller's thread only.
 */
#ifndef BROKER_CONTROLLER_CONTEXT_H
#define BROKER_CONTROLLER_CONTEXT_H

#include "base/arena.h"
#include "base/uuid.h"
#include "broker/controller/states.h"
#include "metadata/znodes.h"

#include <uthash.h>

struct assignment;
struct broker_channel;
struct ctl_topic;

/* Every partition of every topic: a for statement. */
#define CONTEXT_EACH(x, p)                                                                                             \
    for (struct ctl_topic *each_t = (x)->topics; each_t != NULL; each_t = each_t->hh.next)                             \
        for (struct ctl_partition *p = each_t->partitions; p < each_t->partitions + each_t->partitions_n; p++)

struct ids {                            /* broker ids, in order of preference; v is on the heap */
    int32_t *v;
    int32_t  n;
};

struct ctl_partition {
    struct ctl_topic    *topic;
    int32_t              index;
    enum partition_state state;
    bool                 has_leadership;        /* the six below are known */
    bool                 recovering;
    int32_t              leader, leader_epoch, controller_epoch;
    int32_t              zk_version;            /* of the state node: the partition epoch */
    int64_t              state_zxid;            /* that wrote the state, as it was read at the start of the term */
    struct ids           isr;
    struct ids           replicas;              /* as assigned; while it is reassigned: the target, then what goes */
    struct ids           adding, removing;      /* of replicas; both empty: it is not being reassigned */
    bool                 reassigning;           /* even where nothing is added or removed any more */
    bool                 unwritten;             /* it has arrived, but its node still tells the move: see reassign.c */
    const struct assignment *next;              /* while the topic's node is being written: what it is to hold */
    size_t               listed;                /* while a list of moves is made: place in it + 1 */
    int32_t              hosts_n;               /* replicas.v has this many: behind replicas.n those that have left */
    uint8_t             *replica_state;         /*   the assignment and are still to be stopped. Of each host: */
    bool                *lost;                  /*   enum replica_state, and: offline on a live broker */
    uint32_t             batch;                 /* the batch whose UpdateMetadata has it */
};

struct ctl_topic {
    UT_hash_handle        hh;
    UT_hash_handle        hh_id;
    struct uuid           id;                   /* zero: none; set by context_topic_identify() */
    struct ctl_partition *partitions;           /* by rising index */
    int32_t               partitions_n;
    bool                  queued;               /* for deletion */
    bool                  deleting;             /* deletion has begun: its partitions do not exist any more */
    bool                  ineligible;           /* deletion waits for something */
    bool                  settings_unknown;     /* they could not be read, or understood: no unclean election */
    uint32_t              name_len;
    char                  name[];
};

struct stop_entry {
    struct ctl_partition *p;
    bool                  delete_it;
};

struct lai_entry {
    struct ctl_partition *p;
    bool                  is_new;
    bool                  dismissed;            /* not assigned: see batch_dismiss() */
};

struct ctl_broker {
    int32_t                id;
    int64_t                epoch;               /* czxid of its node */
    bool                   live;                /* registered */
    bool                   shutting_down;       /* it has asked for a controlled shutdown */
    bool                   unreachable;         /* its process seems to have ended; see unreachable.c */
    struct znode_broker    info;                /* in arena */
    struct arena           arena;
    struct broker_channel *channel;             /* NULL: cannot be reached */
    /* the batch under construction */
    struct lai_entry      *lai;
    size_t                 lai_n, lai_cap;
    struct stop_entry     *stop;
    size_t                 stop_n, stop_cap;
    bool                   update;              /* gets an UpdateMetadata even if nothing else */
};

#define BROKER_MEMORY_MAX ((size_t)4 * 1024 * 1024)

struct context {
    struct ctl_topic  *topics;                  /* uthash by name */
    struct ctl_topic  *ids;                     /* uthash by id: those that have one */
    struct ctl_broker *brokers;                 /* by rising id */
    size_t             brokers_n;
};

static inline struct str topic_str(const struct ctl_topic *t)
{
    return (struct str){ t->name, t->name_len };
}

int  ids_set(struct ids *ids, const int32_t *v, int32_t n) must_use;    /* copies; ERR_NOMEM leaves it as it was */
bool ids_have(const struct ids *ids, int32_t id);
bool replicas_repeat(struct arena *a, struct znode_replicas r);         /* a broker twice, or no memory to look */
void ids_fini(struct ids *ids);

struct ctl_topic *context_topic(const struct context *x, struct str name);
struct ctl_topic *context_topic_by_id(const struct context *x, struct uuid id);
int  context_topic_add(struct context *x, struct str name, struct ctl_topic **out) must_use;
void context_topic_drop(struct context *x, struct ctl_topic *t);
/* The id of a topic that has none; zero stays none. ERR_EXISTS: another topic has it. */
int  context_topic_identify(struct context *x, struct ctl_topic *t, struct uuid id) must_use;
void context_topic_unidentify(struct context *x, struct ctl_topic *t);
/* Takes over the assignment; *added = index of the first new one in t->partitions. Replicas of partitions
 * that are known already stay as they are. */
int  context_topic_grow(struct ctl_topic *t, const struct znode_topic *z, int32_t *added) must_use;
/* The assignment from now on. Who is not in it any more stays a host until context_forget_host(). ERR_NOMEM
 * leaves it as it was. */
struct assignment {
    struct znode_replicas replicas, adding, removing;
};
int  context_assign(struct ctl_partition *p, const struct assignment *to) must_use;
void context_forget_host(struct ctl_partition *p, int32_t broker);      /* no-op while it is assigned */
struct ctl_partition *context_partition(const struct ctl_topic *t, int32_t index);
int  context_leadership(struct ctl_partition *p, const struct znode_state *s, int32_t zk_version) must_use;

struct ctl_broker *context_broker(const struct context *x, int32_t id);
int  context_broker_add(struct context *x, int32_t id, struct ctl_broker **out) must_use;
bool context_live(const struct context *x, int32_t broker);             /* registered */
bool context_online(const struct context *x, int32_t broker);           /* live, and not shutting down */
/* The broker is online, and has not lost its replica of the partition. */
bool context_replica_online(const struct context *x, const struct ctl_partition *p, int32_t broker);
bool *context_lost(const struct ctl_partition *p, int32_t broker);      /* NULL: it is no host */
bool context_hosts(const struct ctl_partition *p, int32_t broker);      /* assigned, or still to be stopped */
void context_clear(struct context *x);                                  /* channels have been closed */

#endif
