/* broker/api/current_leader.h - what a client is told when it asked the wrong broker: who leads now, and where that is.
 *
 * OWNER   strings lie in the request's arena.
 */
#ifndef BROKER_API_CURRENT_LEADER_H
#define BROKER_API_CURRENT_LEADER_H

#include "base/bytes.h"
#include "base/err.h"

struct broker;
struct request;

struct current_leader {
    int32_t    id, epoch;               /* -1: unknown */
    bool       alive;                   /* the rest is filled in */
    struct str host, rack;
    int32_t    port;                    /* on the listener that the request came by */
};

int current_leader_of(struct broker *b, struct request *r, struct str topic, int32_t partition,
                      struct current_leader *out) must_use;         /* ERR_NOMEM */

#endif
