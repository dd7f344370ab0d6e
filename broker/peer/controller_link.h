/* broker/peer/controller_link.h - calls to whoever is the controller, as the metadata cache knows it (this broker too).
 *
 * OWNER   whoever makes it; one thread calls at a time. What a call gives lives until the next one.
 * THREADS controller_link_interrupt() may be called from any thread: see peer_interrupt(). down() comes on the calling
 *         thread, with nothing locked: the controller's connection has gone, and it refuses a new one; or there was
 *         none yet, and it has refused a few. It comes again as long as that lasts.
 * FAILURE as peer_call(); ERR_AGAIN: no controller is known, or no way to it. Said in the log once until it is better.
 */
#ifndef BROKER_PEER_CONTROLLER_LINK_H
#define BROKER_PEER_CONTROLLER_LINK_H

#include "base/bytes.h"
#include "base/err.h"

struct config;
struct controller_link;
struct metadata_cache;

struct controller_link_opts {           /* borrowed */
    const struct config   *cfg;
    struct metadata_cache *metacache;
    int32_t                broker_id;   /* ours: in the client id */
    int32_t                timeout_ms;  /* of an answer */
    const char            *what;        /* what it is for, in the log; static */
    void                 (*down)(void *arg, int32_t controller_id);     /* may be NULL */
    void                  *arg;
};

int  controller_link_new(struct controller_link **out, const struct controller_link_opts *o) must_use;
void controller_link_free(struct controller_link **l);          /* NULL-safe */

/* timeout_ms <= 0: that of the options. */
int  controller_link_call(struct controller_link *l, int16_t api, int16_t version, struct bytes body,
                          int32_t timeout_ms, struct bytes *answer) must_use;

/* Waits until `fd` (an eventfd) can be read: OK; timeout_ms passed (< 0: never): ERR_TIMEOUT; interrupted: ERR_CLOSED.
 * Meanwhile it holds a connection to the controller, and sees when that goes. With fd -1 it only waits. */
int  controller_link_wait(struct controller_link *l, int fd, int64_t timeout_ms) must_use;

void controller_link_interrupt(struct controller_link *l);

/* Who it is now, or was lately; -1: nobody yet. */
int32_t controller_link_to(const struct controller_link *l);

#endif
