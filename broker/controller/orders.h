/* broker/controller/orders.h - what controllers order this broker to do: LeaderAndIsr, UpdateMetadata, StopReplica.
 *
 * Orders come from the controller in this process (local_channel) and from those of other brokers (broker/api/control).
 * One thread does all of them in the order in which they came, so that there is one order of them whoever is the
 * controller, and so that no IO thread is held up while a thousand logs are made. That thread looks at the epochs just
 * before it does a request (rule R8): what is meant for an earlier incarnation of this broker is answered
 * STALE_BROKER_EPOCH, what comes from an earlier controller than the latest heard of STALE_CONTROLLER_EPOCH. What is
 * stale of a single partition its leader epoch tells, and the replica manager refuses.
 *
 * OWNER   the daemon makes one. A request is the orders' from orders_submit() until its done(), which comes on the
 *         orders' thread and must only post. Requests are in the form of the highest versions: partitions by topic.
 * LOCKS   class ctlqueue, held for a push. Any thread submits.
 * FAILURE in the responses, in Kafka's codes; req->rc is OK, or ERR_NOMEM or ERR_CLOSED: there is no answer.
 */
#ifndef BROKER_CONTROLLER_ORDERS_H
#define BROKER_CONTROLLER_ORDERS_H

#include "broker/controller/channel.h"

struct doubts;
struct groups;
struct metadata_cache;
struct orders;
struct replicas;
struct standing;
struct topic_configs;

struct orders_opts {                            /* all borrowed */
    struct replicas       *replicas;
    struct metadata_cache *metacache;
    struct topic_configs  *topic_configs;
    struct groups         *groups;              /* told of deleted partitions; NULL: there are none */
    struct standing       *standing;
    struct doubts         *doubts;              /* told of new metadata; NULL: there are none */
};

int  orders_new(struct orders **out, const struct orders_opts *opts) must_use;
void orders_stop(struct orders *o);             /* what waits, and all that comes later, gets ERR_CLOSED */
void orders_free(struct orders **o);            /* NULL-safe; stops it */

/* `from`: whoever may take it back with orders_withdraw(); NULL: nobody. */
void orders_submit(struct orders *o, struct control_request *req, const void *from);
/* What `from` has submitted and has not begun gets ERR_CLOSED; what is being done is waited for. */
void orders_withdraw(struct orders *o, const void *from);

/* The channel from the controller of this process to the broker of this process. */
int  local_channel_new(struct broker_channel **out, struct orders *o) must_use;

#endif
