/* broker/controller/leaders.h - elections of partition leaders: see the table in leaders.c.
 *
 * OWNER  the wishes are the asker's, as a rule part of its frame; they stay until the frame that leaders_elect() pushes
 *        has ended, which then has put the outcome into each.
 */
#ifndef BROKER_CONTROLLER_LEADERS_H
#define BROKER_CONTROLLER_LEADERS_H

#include "broker/controller/context.h"

struct controller;

enum elect_how {
    ELECT_OFFLINE,          /* there is no leader, or it has died */
    ELECT_UNCLEAN,          /* the same; an administrator accepts that records may be lost */
    ELECT_REASSIGN,         /* the leader is none of the targets of a reassignment */
    ELECT_PREFERRED,        /* the head of the assignment shall lead */
    ELECT_SHUTDOWN,         /* the leader is about to stop */
    ELECT_UNREACHABLE       /* the leader's process has ended, as far as one can see: see unreachable.c */
};

struct elect_wish {
    struct ctl_partition *p;
    int16_t               error;        /* KERR_NONE: it has a new leader; else Kafka's code: all is as it was */
};

/* Pushes. Elects for each partition, whatever its leader is now; which ones need it is the asker's affair. Where a
 * topic's settings decide (unclean.leader.election.enable) they are read from the store first; where they cannot be
 * read or understood, nobody leads who is not in sync. */
void leaders_elect(struct controller *c, enum elect_how how, struct elect_wish *v, size_t n);

#endif
