/* broker/net/server.h - the network side of the daemon: listeners, network threads, request queue, IO threads.
 *
 *     accept -> network thread: frame -> request queue -> IO thread: handle() ... ended -> network thread: answer
 *
 * OWNER   the daemon makes one. Strings and arrays of the options are copied by server_new().
 * LOCKS   server_new() to server_free() are called by one thread (the daemon's main thread). The rest runs in the
 *         server's own threads: network_threads for each listener, opts.io_threads in all.
 * MEMORY  A connection without a request costs about 1 KB. Request bodies are taken as bytes arrive, bounded by
 *         request_max_bytes each and, if set, by queued_max_request_bytes in all; a connection has one batch of small
 *         requests or one large one in work, one more read ahead, and the answers of one batch on their way out.
 * FAILURE server_new() says what it could not do, and what to do about it, in the log.
 */
#ifndef BROKER_NET_SERVER_H
#define BROKER_NET_SERVER_H

#include "base/bytes.h"
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct broker;
struct request;
struct server;

struct listen_opts {
    const char *name;                   /* e.g. PLAINTEXT */
    const char *host;                   /* NULL or "": every address, IPv6 and IPv4 */
    int         port;                   /* 0: any free one; see server_port() */
    int         network_threads;
    bool        inter_broker;           /* let in beyond max_connections of the whole, at the cost of another */
};

struct server_listener_limit {
    int max_connections;                /* listener.name.X.max.connections; 0: no limit of its own */
    int max_creation_rate;              /* connections a second; 0: no limit */
};

struct server_ip_limit {
    const char *host;                   /* a name or an address */
    int         max_connections;
};

struct server_limits {
    const struct server_listener_limit *listeners;          /* one for each, in their order */
    const struct server_ip_limit       *ip_limits;          /* max.connections.per.ip.overrides */
    size_t                              ip_limits_n;
    int                                 max_connections;
    int                                 max_connections_per_ip;
    int                                 max_creation_rate;  /* 0: no limit */
};

struct server_opts {
    const struct listen_opts *listeners;
    size_t                    listeners_n;
    struct server_limits      limits;
    int                       io_threads;
    size_t                    queued_max_requests;
    int64_t                   queued_max_request_bytes;     /* <= 0: no limit */
    size_t                    request_max_bytes;
    int                       send_buffer_bytes;    /* -1: the system's default, also below */
    int                       receive_buffer_bytes;
    int                       backlog;
    int64_t                   max_idle_ms;          /* < 0: never */
    void                    (*handle)(struct broker *, struct request *);   /* on an IO thread; body: the whole frame */
    struct broker            *broker;
};

/* Binds every listener and starts the threads; connections are accepted from server_accept() on. */
int  server_new(struct server **out, const struct server_opts *opts) must_use;      /* ERR_* after a line in the log */
void server_accept(struct server *s);

/* The clean stop, in two steps between which the owner ends what it has parked. server_drain(): no new connections, no
 * new requests; what is in work is answered and then its connection closed. server_free(): waits for that (at most
 * grace_ms for peers that do not read their answers), then stops the threads. NULL-safe. */
void server_drain(struct server *s);
void server_free(struct server **s, int64_t grace_ms);

/* Closes the connections of clients that have nothing in work, and those of brokers, too, where these have no listener
 * of their own. They may come back. */
void server_send_away(struct server *s);

/* While it runs, by any one thread at a time. server_limit() looks names up, and so may take seconds; connections
 * beyond a lower max_connections are closed, the longest idle first, but not those of the inter-broker listener. */
int  server_limit(struct server *s, const struct server_limits *o) must_use;        /* ERR_NOMEM: all is as before */
int  server_set_io_threads(struct server *s, int n) must_use;

int    server_port(const struct server *s, size_t listener);
size_t server_connections(struct server *s);

#endif
