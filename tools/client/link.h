/* tools/client/link.h - one TCP connection to a broker: frames out, frames in, nothing of their contents.
 *
 * OWNER    the caller; link_close() ends it. What link_receive() gives lies in the caller's arena.
 * LOCKS    none: one thread.
 * UNITS    deadline_ms on the monotonic clock.
 * FAILURE  ERR_TIMEOUT, ERR_CLOSED (the peer went away), ERR_NOENT (host name), ERR_SYSTEM; a sentence in c->error.
 *          After any failure the connection is closed.
 */
#ifndef TOOLS_CLIENT_LINK_H
#define TOOLS_CLIENT_LINK_H

#include "base/chain.h"

struct link {
    int  fd;                    /* -1: closed */
    char error[256];
};

void link_init(struct link *c);
int  link_open(struct link *c, const char *host, uint16_t port, int64_t deadline_ms) must_use;
void link_close(struct link *c);
/* A size field and the chain, which has memory only. */
int  link_send(struct link *c, const struct chain *ch, int64_t deadline_ms) must_use;
/* The next frame without its size field. */
int  link_receive(struct link *c, struct arena *a, struct bytes *out, int64_t deadline_ms) must_use;

/* Splits "host:port", "[v6]:port" or "NAME://host:port". ERR_INVALID. */
int  link_parse_address(struct str text, char *host, size_t host_len, uint16_t *port) must_use;
/* Whether the text is a list of such addresses, with commas between. */
bool link_are_addresses(const char *list);

#endif
