/* broker/peer/isr_changes.h - how this broker, as a leader, has ISRs changed (struct isr_changer of replica/isr.h).
 *
 * With inter.broker.protocol.version 2.7-IV2 or later it asks the controller by AlterPartition: one request at a time,
 * which has all the changes that are waiting; a request that fails is sent again after 50 ms, to whoever is the
 * controller then, for ever. The partitions' answers become outcomes by the table in alter_partition.c.
 * Before 2.7-IV2 it writes the partition's state node itself, if the node is still of the version that the change is
 * based on, and tells the controller by a node below /isr_change_notification (isr_writes.c).
 *
 * OWNER   the daemon makes one. Changes are the asker's; see isr.h.
 * THREADS one thread of its own does it all; done() comes on it. Any thread submits, with `partition` held or not.
 * FAILURE in the outcomes. A store that is away is waited for.
 */
#ifndef BROKER_PEER_ISR_CHANGES_H
#define BROKER_PEER_ISR_CHANGES_H

#include "broker/cluster/ibp.h"
#include "broker/replica/isr.h"

struct config;
struct isr_changes;
struct metadata_cache;
struct standing;
struct store;

struct isr_changes_opts {               /* borrowed */
    const struct config   *cfg;
    struct ibp             ibp;
    int32_t                broker_id;
    struct standing       *standing;
    struct metadata_cache *metacache;
    struct store          *store;
    void                 (*down)(void *arg, int32_t controller_id);     /* see controller_link.h; may be NULL */
    void                  *arg;
};

int  isr_changes_new(struct isr_changes **out, const struct isr_changes_opts *o) must_use;
struct isr_changer *isr_changes_changer(struct isr_changes *c);
void isr_changes_stop(struct isr_changes *c);   /* what waits, and all that comes later, is answered ISR_DROPPED */
void isr_changes_free(struct isr_changes **c);  /* NULL-safe; stops it */

#endif
