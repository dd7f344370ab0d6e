/* broker/peer/resolve.h - the addresses of a host name, without waiting for longer than one likes.
 *
 * The system's resolver cannot be interrupted, and may take as long as its servers do not answer. So it is asked by a
 * thread of its own, which is left alone when nobody waits for it any more, and frees what it has then. A numeric
 * address needs neither.
 *
 * OWNER   the caller frees *out with freeaddrinfo().
 * FAILURE ERR_CLOSED: interrupt_fd can be read. ERR_TIMEOUT. ERR_IO: *fault says why there is no address.
 */
#ifndef BROKER_PEER_RESOLVE_H
#define BROKER_PEER_RESOLVE_H

#include "base/err.h"

#include <netdb.h>
#include <stdint.h>

int resolve(const char *host, int32_t port, int interrupt_fd, int64_t timeout_ms, struct addrinfo **out,
            const char **fault) must_use;

#endif
