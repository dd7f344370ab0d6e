/* broker/peer/controller_link.c - a peer that is exchanged when the metadata cache names another controller, or another
 * address of it.
 */
#include "broker/peer/controller_link.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/peer/peer.h"
#include "config/config.h"
#include "proto/gen/apis.h"

#include <stdio.h>
#include <stdlib.h>

#define HOST_MAX         256
#define PATIENCE         4              /* attempts; a controller that stops is gone before it is said */
#define LOOK_MS          500            /* a wait looks at this interval who the controller is */
#define ANSWER_BYTES_MAX ((size_t)256 << 20)

struct controller_link {
    struct controller_link_opts o;
    struct peer                *resting;        /* without an address: to wait on while there is none */
    /* the calling thread's; changed under lock, since an interrupt looks at it */
    struct lock                 lock;
    struct peer                *peer;           /* NULL: none */
    bool                        interrupted;
    /* the calling thread's */
    int32_t                     to;
    char                        host[HOST_MAX];
    int32_t                     port;
    bool                        reached;
    int                         failures;       /* in a row */
};

static int peer_to(struct controller_link *l, const char *host, int32_t port, struct peer **out)
{
    char client_id[16];
    struct peer_opts o = { .broker_id = l->to, .host = host, .port = port, .client_id = client_id,
                           .connect_timeout_ms = l->o.timeout_ms, .request_timeout_ms = l->o.timeout_ms,
                           .receive_buffer_bytes = -1, .answer_bytes_max = ANSWER_BYTES_MAX };

    snprintf(client_id, sizeof client_id, "%d", l->o.broker_id);
    return peer_new(out, &o);
}

int controller_link_new(struct controller_link **out, const struct controller_link_opts *o)
{
    struct controller_link *l = calloc(1, sizeof *l);
    int rc;

    *out = NULL;
    if (l == NULL)
        return ERR_NOMEM;
    l->o = *o;
    l->to = -1;
    lock_init(&l->lock, LOCK_ctlqueue);
    rc = peer_to(l, "", 0, &l->resting);
    if (rc != OK) {
        controller_link_free(&l);
        return rc;
    }
    *out = l;
    return OK;
}

void controller_link_free(struct controller_link **lp)
{
    struct controller_link *l = *lp;

    *lp = NULL;
    if (l == NULL)
        return;
    peer_free(&l->peer);
    peer_free(&l->resting);
    lock_fini(&l->lock);
    free(l);
}

void controller_link_interrupt(struct controller_link *l)
{
    lock_take(&l->lock);
    l->interrupted = true;
    peer_interrupt(l->resting);
    if (l->peer != NULL)
        peer_interrupt(l->peer);
    lock_drop(&l->lock);
}

int32_t controller_link_to(const struct controller_link *l)
{
    return l->to;
}

/* Takes the new peer, unless there was an interrupt. */
static void exchange(struct controller_link *l, struct peer *with)
{
    struct peer *old;

    lock_take(&l->lock);
    old = l->peer;
    l->peer = with;
    if (with != NULL && l->interrupted)
        peer_interrupt(with);
    lock_drop(&l->lock);
    peer_free(&old);
    l->reached = false;
}

/* Where is the controller? false: nobody knows. */
static bool look(struct controller_link *l, int32_t *id, char host[HOST_MAX], int32_t *port)
{
    struct metadata *md = metadata_get(l->o.metacache);
    const struct config *cfg = l->o.cfg;
    const char *listener = cfg->control_plane_listener != NULL ? cfg->control_plane_listener
                                                               : cfg->inter_broker_listener;
    const struct metadata_broker *b = metadata_broker(md, metadata_controller(md));
    const struct metadata_endpoint *e = b != NULL ? metadata_endpoint(b, str_of(listener)) : NULL;
    bool found = e != NULL && e->security_protocol == SECURITY_PLAINTEXT && e->host.len < HOST_MAX;

    if (found) {
        *id = b->id;
        *port = e->port;
        snprintf(host, HOST_MAX, "%.*s", STR_ARG(e->host));
    }
    metadata_put(&md);
    return found;
}

/* The peer is that of the controller as it is known now. */
static int follow(struct controller_link *l)
{
    char host[HOST_MAX];
    int32_t id, port;
    struct peer *p;

    if (!look(l, &id, host, &port)) {
        exchange(l, NULL);
        l->to = -1;
        return ERR_AGAIN;
    }
    if (l->peer != NULL && id == l->to && port == l->port && strcmp(host, l->host) == 0)
        return OK;
    exchange(l, NULL);
    l->to = id;
    l->port = port;
    snprintf(l->host, sizeof l->host, "%s", host);
    l->failures = 0;
    TRY(peer_to(l, host, port, &p));
    exchange(l, p);
    return OK;
}

/* ---- what the connection tells ---- */

/* A broker listens before it can be the controller. So one that has refused us a few times is as gone as one that we
 * had a connection to: it may have ended before we had heard of it. */
static int failed(struct controller_link *l, int rc)
{
    bool down;

    if (rc == ERR_CLOSED)
        return rc;
    l->failures++;
    down = peer_refused(l->peer) && (l->reached || l->failures % PATIENCE == 0);
    if (l->failures == PATIENCE || rc == ERR_TIMEOUT)
        log_warn("%s: the controller, %s, cannot be reached: %s; tried again until it can, or there is another",
                 l->o.what, peer_text(l->peer), peer_fault(l->peer));
    if (down) {
        l->reached = false;
        if (l->o.down != NULL)
            l->o.down(l->o.arg, l->to);
    }
    return rc;
}

static int link_connect(struct controller_link *l)
{
    int rc = peer_connect(l->peer);

    if (rc != OK)
        return failed(l, rc);
    if (l->failures >= PATIENCE)
        log_info("%s: the controller, %s, can be reached again", l->o.what, peer_text(l->peer));
    l->failures = 0;
    l->reached = true;
    return OK;
}

int controller_link_call(struct controller_link *l, int16_t api, int16_t version, struct bytes body,
                         int32_t timeout_ms, struct bytes *answer)
{
    int rc = follow(l);

    if (rc == OK)
        rc = link_connect(l);
    if (rc == OK)
        rc = peer_call(l->peer, api, version, body, timeout_ms, answer);
    else
        return rc;
    if (rc != OK && rc != ERR_CLOSED)
        log_warn("%s: no answer of the controller, %s, to %s: %s", l->o.what, peer_text(l->peer), api_name(api),
                 peer_fault(l->peer));
    if (rc == ERR_IO)
        (void)link_connect(l);                  /* now, to see whether the process is gone */
    return rc;
}

int controller_link_wait(struct controller_link *l, int fd, int64_t timeout_ms)
{
    int64_t deadline_ms = mono_ms() + timeout_ms;
    struct peer *p;
    int64_t left = timeout_ms;

    while (true) {
        int rc = fd >= 0 ? follow(l) : OK;

        if (fd >= 0 && rc == OK)
            rc = link_connect(l);
        p = l->peer != NULL && rc == OK ? l->peer : l->resting;
        if (timeout_ms < 0 || left > LOOK_MS)
            left = LOOK_MS;
        rc = peer_wait(p, fd, left);
        if (rc == OK || rc == ERR_CLOSED)
            return rc;
        left = deadline_ms - mono_ms();
        if (timeout_ms >= 0 && left <= 0)
            return ERR_TIMEOUT;
    }
}
