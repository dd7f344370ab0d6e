/* broker/controller/rewrite.h - changing what stands in the state nodes of many partitions at once.
 *
 * decide() is given one partition after the other, with its leadership as the controller knows it, and says what should
 * be written. What is to be written goes out in multis of many partitions, each with the check of the controller's
 * epoch, none waited for; every node is written only if it still has the version that the decision stands on. A multi
 * that is refused is done again, partition by partition: those that somebody else has written meanwhile are read again
 * and decided again. settled() is called for each partition that was written, or was to stay as it is; the context has
 * what stands then.
 *
 * A leader that was not assigned, and is not the leader any more, is told so here, as nobody else would tell it.
 *
 * A rewrite is a frame; it opens the batch of requests to brokers at its beginning and sends it at its end, so that
 * decide() and settled() may add to it. An asker that keeps more makes a struct that begins with a struct rewrite.
 */
#ifndef BROKER_CONTROLLER_REWRITE_H
#define BROKER_CONTROLLER_REWRITE_H

#include "broker/controller/context.h"
#include "broker/controller/task.h"

struct rewrite;
struct rewrite_item;

enum rewrite_verdict { REWRITE_WRITE, REWRITE_KEEP, REWRITE_REFUSE };

struct rewrite_kind {
    const char *what;                           /* for the log: "its leader cannot be elected" */
    bool        reread;                         /* what stands is read first, as somebody else has written it */
    bool        once;                           /* a partition that somebody else wrote is refused, not decided again */
    void (*begun)(struct controller *c, struct rewrite *rw);            /* the batch is open; may be NULL */
    /* REWRITE_WRITE: it->next is to be written; it begins as a copy of what stands, its isr has room for as many ids as
     * the partition's isr and replicas together. The controller's epoch is put in afterwards. REWRITE_REFUSE: it->error
     * says why. The partition always has leadership. */
    enum rewrite_verdict (*decide)(struct controller *c, struct rewrite *rw, struct rewrite_item *it);
    void (*settled)(struct controller *c, struct rewrite *rw, struct rewrite_item *it, bool written);  /* may be NULL */
};

struct rewrite_item {
    struct ctl_partition *p;
    void                 *subject;              /* the asker's */
    int16_t               error;                /* KERR_NONE, or why nothing was written */
    struct znode_state    next;
    /* rewrite.c */
    bool                  pending, stale, write;
    bool                  alone;                /* was part of a multi that was refused */
};

struct rewrite {
    struct frame               f;
    const struct rewrite_kind *kind;
    struct rewrite_item       *v;               /* filled in by the asker: p, subject */
    size_t                     n;
    struct arena               arena;           /* the asker may use it, too */
    bool                       again;
    void                     (*fini)(struct rewrite *rw);       /* the asker's; may be NULL */
};

/* A rewrite of n partitions on top of the stack, in a struct of `size` bytes; NULL: out of memory, aborted. */
void *rewrite_push(struct controller *c, const struct rewrite_kind *kind, size_t n, size_t size) must_use;

#endif
