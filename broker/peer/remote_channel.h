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
 *         listens), and one that does not answer at all may be well: both are left to the session.
 *
 *         What may be concluded from it is that the process has probably ended; never that it has. A firewall that
 *         begins to reject, or a process that lives on without its listener, looks the same. Moving its leaderships at
 *         once is safe all the same, because nothing that fences the old leader rests on its death:
 *         1. The new leader is written to the partition's state node under a higher leader epoch, checked against the
 *            version of the node and the controller's epoch, as in any election, and only from the ISR.
 *         2. A record is acknowledged to acks=all when all of the ISR have it. If the old leader lives, the rest of
 *            its ISR have been told the higher epoch and fetch from it no more (nor would its answers, of a lower
 *            epoch, be taken), so that its high watermark stands still. It cannot shrink its ISR to go on alone:
 *            AlterPartition with its epoch is FENCED_LEADER_EPOCH, and a write of the state node by itself has the
 *            wrong version. What it acknowledged before, the new leader has, being of that ISR.
 *         3. With acks=1 it may acknowledge records that are lost when it follows the new leader: the same as when a
 *            session ends while its broker lives. It is told the new epochs as soon as it can be reached.
 *         4. A partition whose ISR is this broker alone elects nobody, and loses nothing.
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
