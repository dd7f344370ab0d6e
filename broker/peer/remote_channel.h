/* broker/peer/remote_channel.h - the way from the controller to the broker of another process (controller/channel.h).
 *
 * A thread for each broker sends the requests in order, one at a time, in the versions that
 * inter.broker.protocol.version fixes. What fails (cannot connect, no answer in controller.socket.timeout.ms, an answer
 * that is none) is sent again after 100 ms, for as long as the channel is open. While there is nothing to send it holds
 * the connection, so that the end of the broker's process shows at once.
 *
 * DOWN    The broker could be reached through this channel, then its connection went, and connecting again is refused:
 *         the machine answers, and nobody listens on the port. down() is told once, until the broker has been reached
 *         again. A broker that has never been reached may still be starting (Apache Kafka registers before it
 *         listens): it has half a second. One that does not answer at all may be well, and is left to the session.
 *
 *         It may be alive all the same: why moving its leaderships is safe stands in controller/unreachable.c.
 *
 * OWNER   the controller; close() waits for the thread, which is interrupted.
 * THREADS as controller/channel.h; down() comes on the channel's thread and must only post.
 * FAILURE requests that have no answer when the channel is closed get ERR_CLOSED; one that cannot be encoded gets
 *         its ERR_*.
 */
#ifndef BROKER_PEER_REMOTE_CHANNEL_H
#define BROKER_PEER_REMOTE_CHANNEL_H

#include "broker/cluster/ibp.h"
#include "broker/controller/channel.h"

struct config;
struct znode_broker;

struct remote_channels {                /* what all have in common; borrowed, outlives them */
    const struct config *cfg;
    struct ibp           ibp;
    int32_t              broker_id;     /* ours: the client id, as Apache Kafka's controllers have it */
    void               (*down)(void *arg, int32_t id, int64_t epoch);
    void                *arg;
};

/* common: struct remote_channels. For controller_opts.open_channel. ERR_NOENT: the broker has no endpoint with the name
 * of our control plane; ERR_UNSUPPORTED: it has one that is not plain text; ERR_NOMEM, ERR_SYSTEM. */
int remote_channel_open(void *common, int32_t id, int64_t epoch, const struct znode_broker *info,
                        struct broker_channel **out) must_use;

#endif
