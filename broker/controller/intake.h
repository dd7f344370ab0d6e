/* broker/controller/intake.h - taking in topics: names of the tree become topics of the context, whose nodes are read.
 * Used where names are found: at the start of a term (failover.c), and when topics come or grow (topics.c).
 *
 * OWNER  a struct intake is a frame, or what a frame begins with; intake_fini() frees what it holds. The topics and
 *        partitions are the context's.
 */
#ifndef BROKER_CONTROLLER_INTAKE_H
#define BROKER_CONTROLLER_INTAKE_H

#include "broker/controller/priv.h"

struct intake {
    struct frame           f;
    struct ctl_topic     **topics;
    size_t                 n, cap;
    struct ctl_topic      *grown;       /* EV_TOPIC: the one that is known already */
    struct ctl_partition **fresh;       /* what to bring online */
    size_t                 fresh_n, fresh_cap;
};

void intake_fini(struct frame *f);

/* A name of the tree becomes a topic of ours, unless it would be a danger to the log directories (logged). */
void intake_topic(struct controller *c, struct intake *in, struct str name);
bool intake_fresh(struct controller *c, struct intake *in, struct ctl_partition *p);    /* false: aborted */

/* A step: the nodes of in->topics are read; topics get their partitions, and an id where none stands there. */
enum step_next intake_read(struct controller *c, struct frame *f);

/* Writes the topic's node as it was read, with its id. What stands there, not what we know: it tells of moves that have
 * not ended quite, see reassign.c. ERR_VERSION: somebody has changed it since, which we are about to hear. */
void intake_rewrite(struct controller *c, struct ctl_topic *t, struct znode_topic *z, int32_t version, answer_fn *fn);

#endif
