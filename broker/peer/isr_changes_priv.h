/* broker/peer/isr_changes_priv.h - between isr_changes.c (the queue and its thread) and the two ways of doing it. */
#ifndef BROKER_PEER_ISR_CHANGES_PRIV_H
#define BROKER_PEER_ISR_CHANGES_PRIV_H

#include "base/lock.h"
#include "broker/peer/controller_link.h"
#include "broker/peer/isr_changes.h"

#define ISR_RETRY_MS 50

struct isr_told {                       /* partitions whose change the controller is to be told of; isr_writes.c */
    struct isr_told *next;
    int32_t          index;
    uint32_t         topic_len;
    char             topic[];
};

struct isr_changes {
    struct isr_changer      base;       /* first */
    struct isr_changes_opts o;
    struct controller_link *link;
    int                     come;       /* eventfd */
    pthread_t               thread;
    bool                    started, joined;
    /* under lock */
    struct lock             lock;
    struct isr_change      *head, **tail;
    bool                    closing, stopped;
    /* the thread's */
    struct isr_change      *doing;      /* a list: taken from the queue and not answered yet */
    struct isr_told        *told;
    int64_t                 told_change_ms, told_sent_ms;       /* monotonic */
};

/* Each does c->doing once. OK: what is left of it was not answered and is to be done again at once. Another rc: to be
 * done again after ISR_RETRY_MS. */
int  alter_partition(struct isr_changes *c) must_use;
int  isr_write(struct isr_changes *c) must_use;

void isr_answer(struct isr_change **at, enum isr_outcome outcome);     /* unlinks and answers */

/* isr_writes.c: tells the controller what has changed, when it is time to. Gives the time until it should be called
 * again; -1: when there is a change. */
int64_t isr_tell(struct isr_changes *c);
void    isr_told_free(struct isr_changes *c);

#endif
