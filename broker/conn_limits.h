/* broker/conn_limits.h - the limits of connections that the properties ask for, as the network side takes them.
 *
 * OWNER  conn_limits_of() makes the arrays; conn_limits_fini() frees them. Names of hosts are the configuration's.
 */
#ifndef BROKER_CONN_LIMITS_H
#define BROKER_CONN_LIMITS_H

#include "broker/net/server.h"

struct config;

struct conn_limits {
    struct server_limits          limits;
    struct server_listener_limit *listeners;
    struct server_ip_limit       *ips;
};

/* Of the listeners that were opened (as `opened` has them), by what `now` says. ERR_NOMEM. */
int  conn_limits_of(struct conn_limits *out, const struct config *opened, const struct config *now) must_use;
void conn_limits_fini(struct conn_limits *cl);          /* also after ERR_NOMEM */

#endif
