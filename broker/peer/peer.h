/* broker/peer/peer.h - a connection from this broker to another one, for requests between brokers.
 *
 * One request at a time, in order: fetchers, the controller's channels and what goes to the controller each have a
 * peer and a thread of their own that waits in peer_call(). The connection is made when it is needed, by the first call
 * after the last one failed; it is plain TCP with a frame of size, header and body (proto/frame).
 *
 * OWNER   who makes it; the thread that calls is one at a time. What peer_call() gives lives until the next call.
 * THREADS peer_interrupt() may be called from any thread: the running call and all later ones end at once with
 *         ERR_CLOSED. peer_watch() tells of a connection that the other side has reset while it is idle.
 * FAILURE ERR_TIMEOUT, ERR_IO (refused, reset, closed by the other side), ERR_CORRUPT (an answer that is no answer: the
 *         connection is closed), ERR_TOO_LARGE (beyond answer_bytes_max), ERR_CLOSED, ERR_NOMEM. Nothing is logged
 *         here; peer_text() says who it was about.
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

/* Sends a request whose body is `body` and waits for its answer. *answer: the body of the answer, after its header; it
 * lives until the next call. timeout_ms <= 0: request_timeout_ms. */
int  peer_call(struct peer *p, int16_t api, int16_t version, struct bytes body, int32_t timeout_ms,
               struct bytes *answer) must_use;

/* Waits until there is something to do: `fd` (an eventfd of the caller's) can be read, the idle connection was closed
 * by the other side (ERR_IO: it has been closed here too), timeout_ms passed (ERR_TIMEOUT), or peer_interrupt(). */
int  peer_wait(struct peer *p, int fd, int64_t timeout_ms) must_use;

void peer_interrupt(struct peer *p);
void peer_drop(struct peer *p);                         /* closes the connection; the next call makes a new one */
const char *peer_text(const struct peer *p);            /* "broker 3 (host:9092)" */

#endif
