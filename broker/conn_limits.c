/* broker/conn_limits.c - from properties to limits of connections. */
#include "broker/conn_limits.h"

#include "config/config.h"

#include <stdlib.h>
#include <string.h>

static int limit_or_none(int32_t n)
{
    return n == INT32_MAX ? 0 : n;
}

int conn_limits_of(struct conn_limits *out, const struct config *opened, const struct config *now)
{
    *out = (struct conn_limits){ .listeners = calloc(opened->listeners_parsed_n, sizeof *out->listeners),
                                 .ips = calloc(now->ip_limits_n + 1, sizeof *out->ips) };
    if (out->listeners == NULL || out->ips == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < opened->listeners_parsed_n; i++)
        for (size_t k = 0; k < now->listeners_parsed_n; k++) {
            const struct listener *l = &now->listeners_parsed[k];

            if (strcmp(l->name, opened->listeners_parsed[i].name) == 0)
                out->listeners[i] = (struct server_listener_limit){
                    .max_connections = limit_or_none(l->max_connections),
                    .max_creation_rate = limit_or_none(l->max_connection_creation_rate),
                };
        }
    for (size_t i = 0; i < now->ip_limits_n; i++)
        out->ips[i] = (struct server_ip_limit){ now->ip_limits[i].host, now->ip_limits[i].max_connections };
    out->limits = (struct server_limits){
        .listeners = out->listeners, .ip_limits = out->ips, .ip_limits_n = now->ip_limits_n,
        .max_connections = now->max_connections, .max_connections_per_ip = now->max_connections_per_ip,
        .max_creation_rate = limit_or_none(now->max_connection_creation_rate),
    };
    return OK;
}

void conn_limits_fini(struct conn_limits *cl)
{
    free(cl->listeners);
    free(cl->ips);
    *cl = (struct conn_limits){ .listeners = NULL };
}
