/* broker/controller/reassign.h - moving replicas between brokers, and leaderships back to where they belong.
 *
 *   reassign.c        one move, step by step
 *   reassign_nodes.c  what a move writes: the topic's node, the leader epoch, /admin/reassign_partitions
 *   reassign_start.c  where moves come from: that node, a new term, a broker that is back, a follower that caught up
 *   reassign_ask.c    AlterPartitionReassignments and ListPartitionReassignments
 *   preferred.c       ElectLeaders, /admin/preferred_replica_election, and leaders that are not where they should be
 *
 * LOCKS   none: the controller's thread.
 */
#ifndef BROKER_CONTROLLER_REASSIGN_H
#define BROKER_CONTROLLER_REASSIGN_H

#include "broker/controller/priv.h"

struct move {
    struct ctl_partition *p;
    struct assignment     to;           /* what its node is to hold while the replicas move */
    bool                  only_if_done; /* nothing happens unless the target is in sync already */
    /* result */
    int16_t               error;
    /* the rest is reassign.c's */
    bool                  changes;      /* the node has to be written first */
    bool                  was_unwritten;        /* it had arrived before: only B6 and what follows is left */
    bool                  in_sync;      /* the target is in the ISR, and some of it lives */
    bool                  elect;        /* the leader has to be another */
    bool                  bump;         /* leader epoch to be raised; cleared when that is done */
    struct assignment     end;          /* the target alone */
    struct znode_replicas unneeded;     /* what an earlier move was adding and this one does not want */
};

/* The assignment that leads to `target` from what p has now (KIP-455). In the arena; ERR_NOMEM. */
int move_to(struct arena *a, const struct ctl_partition *p, struct znode_replicas target, struct assignment *out)
    must_use;
/* Back to what p had before. */
int move_back(struct arena *a, const struct ctl_partition *p, struct assignment *out) must_use;

/* Moves them all together; pushes. v and what is in the arena belong to a frame below. One move for each partition. */
void moves_run(struct controller *c, struct arena *a, struct move *v, size_t n);

/* A broker has deleted a replica, or could not. false: it was not one that a move has taken away. */
bool reassign_stopped(struct controller *c, const struct replica_ref *r, int16_t error);

/* reassign_nodes.c; all push, and answer in move.error */
void moves_write_topics(struct controller *c, struct move *v, size_t n);    /* p->next: what the node is to hold */
void moves_bump(struct controller *c, struct move *v, size_t n);    /* those with .bump: leader epoch, LeaderAndIsr */

/* Takes partitions out of /admin/reassign_partitions; pushes. wanted: only where the node names these replicas. */
struct unlist {
    struct str            topic;        /* stays good until the frame has ended */
    int32_t               partition;
    struct znode_replicas wanted;       /* v NULL: whatever it names */
};
void reassign_unlist(struct controller *c, const struct unlist *v, size_t n);

/* reassign_start.c: what begins moves, or goes on with them; all but the last push */
void reassign_listed(struct controller *c);     /* EV_REASSIGN: /admin/reassign_partitions has changed */
void reassign_state_changed(struct controller *c);      /* EV_STATE: the state of a partition that is being moved */
void reassign_init(struct controller *c);       /* at the start of a term: that node, and what topics' nodes tell */
void reassign_brokers_back(struct controller *c, const int32_t *ids, size_t n);
void reassign_brokers_gone(struct controller *c);       /* does not push: an event of its own looks */
void reassign_isr_changed(struct controller *c, const struct ctl_partition *p);     /* an event of its own looks */

/* preferred.c; all push */
void elections_listed(struct controller *c);    /* EV_ELECTIONS: /admin/preferred_replica_election has changed */
void leaders_balance(struct controller *c);     /* EV_BALANCE */
void elections_recheck(struct controller *c, bool end);     /* does not push: as ops_recheck(); end: nobody waits on */
int64_t elections_deadline(const struct controller *c);     /* monotonic ns; INT64_MAX: none */

#endif
