/* broker/peer/peer.h - a connection from this broker to another one, for requests between brokers.
 *
 * One request at a time, in order: fetchers, the controller's channels and what goes to the controller each have a
 * peer and a thread of their own that waits in peer_call(). The connection is made when it is needed, by the
 * first call after the last one failed; it is plain TCP with a frame of size, header and body (proto/header).
 *
 * OWNER   who makes it; the thread that calls is one at a time. What peer_call() gives lives until the next call.
 * THREADS peer_interrupt() may be called from any thread: the running call and all later ones end at once with
 *         ERR_CLOSED. peer_wait() tells of a connection that the other side has closed while it was idle, or, within
 *         seconds, has forgotten.
 * FAILURE ERR_TIMEOUT, ERR_IO (refused, reset, closed by the other side, no address), ERR_CORRUPT (an answer
 *         that is no answer), ERR_TOO_LARGE (an answer beyond answer_bytes_max), ERR_CLOSED, ERR_NOMEM. After
 *         any of them the connection is closed. Nothing is logged here; peer_text() says who it was about,
 *         peer_fault() what happened.
 * UNITS   times in ms, sizes in bytes.
 */
#ifndef BROKER_PEER_PEER_H
#define BROKER_PEER_PEER_H

#include "base/bytes.h"
#include "base/err.h"

struct peer;

struct peer_opts {
    int32_t     broker_id;
    const char *host;                   /* copied */
    int32_t     port;
    const char *client_id;              /* in the headers of requests; copied */
    int32_t     connect_timeout_ms, request_timeout_ms;
    int32_t     receive_buffer_bytes;   /* -1: the system's */
    size_t      answer_bytes_max;
};

int  peer_new(struct peer **out, const struct peer_opts *o) must_use;
void peer_free(struct peer **p);        /* NULL-safe; no call is running */

/* Makes the connection if there is none. (peer_call() does so too.) */
int  peer_connect(struct peer *p) must_use;

/* Sends a request whose body is `body` and waits for its answer. *answer: the body of the answer, after its
 * header; it lives until the next call. timeout_ms <= 0: request_timeout_ms, which does not include connecting. */
int  peer_call(struct peer *p, int16_t api, int16_t version, struct bytes body, int32_t timeout_ms,
               struct bytes *answer) must_use;

/* Waits until there is something to do. OK: `fd` (an eventfd of the caller's; -1: none) can be read. ERR_IO: the idle
 * connection was closed by the other side. ERR_TIMEOUT: timeout_ms passed (< 0: never). ERR_CLOSED: interrupted. */
int  peer_wait(struct peer *p, int fd, int64_t timeout_ms) must_use;

/* While it waits for the first byte of an answer a call heeds `fd` as well, until another one is given (-1:
 * none): can it be read, the call ends with ERR_AGAIN, and the connection is closed. */
void peer_heed(struct peer *p, int fd);

void peer_interrupt(struct peer *p);
void peer_drop(struct peer *p);                         /* closes the connection; the next call makes a new one */
bool peer_connected(const struct peer *p);
/* The last attempt to connect was refused by the other machine: it is there, but nobody listens on the port. */
bool peer_refused(const struct peer *p);
const char *peer_text(const struct peer *p);            /* "broker 3 (host:9092)" */
const char *peer_fault(const struct peer *p);           /* what the last failure was: "Connection refused" */

#endif
