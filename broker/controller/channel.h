/* broker/controller/channel.h - the way from the controller to one broker: LeaderAndIsr, UpdateMetadata,
 * StopReplica, in order, one at a time. The broker in this process is reached by a call (local_channel);
 * others by the network.
 *
 * OWNER   channel_send() takes the request until done(), which gives it back with the answer inside.
 * THREADS send() and close() are called by the controller's thread. done() may be called on any thread, also
 *         from inside send(): it must only post.
 */
#ifndef BROKER_CONTROLLER_CHANNEL_H
#define BROKER_CONTROLLER_CHANNEL_H

#include "base/arena.h"
#include "base/err.h"
#include "proto/gen/apis.h"

struct leader_and_isr_request;
struct leader_and_isr_response;
struct stop_replica_request;
struct stop_replica_response;
struct update_metadata_request;

struct control_request {
    struct control_request *next;               /* the holder's, as is `from` */
    const void             *from;
    int16_t                 api;                /* API_LEADER_AND_ISR, API_UPDATE_METADATA, API_STOP_REPLICA */
    int32_t                 broker_id;
    union {
        struct leader_and_isr_request  *leader_and_isr;
        struct update_metadata_request *update_metadata;
        struct stop_replica_request    *stop_replica;
    } req;
    /* the answer */
    int rc;                                     /* OK, or ERR_CLOSED: the channel went down before an answer */
    union {
        struct leader_and_isr_response *leader_and_isr;
        struct stop_replica_response   *stop_replica;
        int16_t                         update_metadata;    /* error code */
    } resp;
    void (*done)(struct control_request *);
    void  *arg;
    struct arena arena;                         /* everything above */
};

void control_request_free(struct control_request **req);        /* NULL-safe */

struct broker_channel {
    void (*send)(struct broker_channel *, struct control_request *);
    void (*close)(struct broker_channel *);     /* frees it; unanswered requests get ERR_CLOSED */
};

#endif
