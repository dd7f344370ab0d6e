/* broker/peer/control_codec.h - a controller's request to another broker, in the version that the broker is sent; and
 * its answer, in the form of the highest version, as the controller takes it.
 *
 * Old versions list partitions without grouping them by topic, and StopReplica before version 3 either deletes all it
 * names or none: it may take two requests.
 *
 * OWNER   what is made lies in req->arena and lives as long as the request.
 * FAILURE ERR_NOMEM; ERR_SHORT, ERR_CORRUPT: the answer cannot be decoded.
 */
#ifndef BROKER_PEER_CONTROL_CODEC_H
#define BROKER_PEER_CONTROL_CODEC_H

#include "broker/controller/channel.h"

#define CONTROL_PARTS_MAX 2

struct control_wire {
    int16_t      version;
    struct bytes parts[CONTROL_PARTS_MAX];      /* bodies of requests, to be sent one after the other */
    int          parts_n;
};

int control_encode(struct control_request *req, int16_t version, struct control_wire *out) must_use;

/* Takes the answer to one part into req->resp; the answers to later parts are added to that of the first. Copies. */
int control_decode(struct control_request *req, int16_t version, struct bytes answer) must_use;

#endif
