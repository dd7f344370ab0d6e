/* broker/peer/leaving.h - a broker that stops asks the controller to move its leaderships first (ControlledShutdown).
 *
 * Up to controlled.shutdown.max.retries requests, controlled.shutdown.retry.backoff.ms between them: an answer may name
 * partitions that nobody else is in sync with. The controller may be this broker itself: the network still stands. A
 * broker that is alone does not ask: nobody could take over. Nor does one ask again when all other replicas of what it
 * still leads have been offline for a second: brokers of a whole cluster that is stopped would wait for each other (for
 * 10 s with Apache Kafka's defaults); one that is only being restarted is back by then.
 *
 * THREADS  the caller's, which waits. FAILURE  logged: the stop goes on, and clients wait for the elections that
 *          follow the end of the session, or of the connections.
 */
#ifndef BROKER_PEER_LEAVING_H
#define BROKER_PEER_LEAVING_H

#include "broker/cluster/ibp.h"

struct config;
struct metadata_cache;
struct server;
struct standing;

struct leaving_opts {                   /* borrowed */
    const struct config   *cfg;
    struct ibp             ibp;
    int32_t                broker_id;
    struct standing       *standing;
    struct metadata_cache *metacache;
    struct server         *net;         /* its clients are seen off; NULL: there are none */
};

void leave_cluster(const struct leaving_opts *o);

#endif
