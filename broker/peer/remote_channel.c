/* broker/peer/remote_channel.c - one thread: take a request, encode it, call until there is an answer.
 *
 * With nothing to send the thread waits in peer_wait() for the eventfd `come`, or for the connection to go; then it
 * connects again at once, which tells a broker that closes idle connections from one that is gone.
 */
#include "broker/peer/remote_channel.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "broker/peer/control_codec.h"
#include "broker/peer/peer.h"
#include "config/config.h"
#include "metadata/znodes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RETRY_MS         100
#define PATIENCE         10             /* attempts; a broker that stops is gone before it is said */
#define STARTING         6              /* attempts: half a second to begin to listen */
#define ANSWER_BYTES_MAX ((size_t)256 << 20)

struct remote_channel {
    struct broker_channel        base;
    const struct remote_channels *common;
    int32_t                      id;
    int64_t                      epoch;
    struct peer                 *peer;
    int                          come;          /* eventfd: something was queued */
    pthread_t                    thread;
    /* the thread's */
    bool                         reached;       /* since the last time that down() was told */
    bool                         ever;          /* reached at all */
    int                          failures;      /* in a row */
    int                          unanswered;    /* requests, in a row, whose connection has gone */
    /* under lock */
    struct lock                  lock;
    struct control_request      *head, **tail;
    bool                         closing;
};

static struct control_request *next_request(struct remote_channel *ch, bool *closing)
{
    struct control_request *req;

    lock_take(&ch->lock);
    req = ch->head;
    *closing = ch->closing;
    if (req != NULL && (ch->head = req->next) == NULL)
        ch->tail = &ch->head;
    lock_drop(&ch->lock);
    return req;
}

/* ---- what the connection tells ---- */

static void note_reached(struct remote_channel *ch)
{
    if (ch->failures >= PATIENCE)
        log_info("controller: %s can be reached again", peer_text(ch->peer));
    ch->reached = ch->ever = true;
    ch->failures = 0;
}

static void note_failed(struct remote_channel *ch, int rc)
{
    bool down;

    if (rc == ERR_CLOSED)
        return;
    ch->failures++;
    down = peer_refused(ch->peer) && (ch->reached || (!ch->ever && ch->failures == STARTING));
    if (ch->failures == PATIENCE)
        log_warn("controller: %s cannot be reached: %s; tried again every %d ms for as long as it is registered",
                 peer_text(ch->peer), peer_fault(ch->peer), RETRY_MS);
    if (!down)
        return;
    ch->reached = false;
    if (ch->common->down != NULL)
        ch->common->down(ch->common->arg, ch->id, ch->epoch);
}

static int connect_it(struct remote_channel *ch)
{
    int rc = peer_connect(ch->peer);

    if (rc == OK)
        note_reached(ch);
    else
        note_failed(ch, rc);
    return rc;
}

static void drain(int fd)
{
    uint64_t n;

    while (read(fd, &n, sizeof n) < 0 && errno == EINTR)
        ;
}

/* ---- requests ---- */

/* One connection that goes says nothing: brokers stop. What follows from it is said by others. */
static void note_unanswered(struct remote_channel *ch, const struct control_request *req, int rc)
{
    static struct log_limit limit = LOG_LIMIT(10000, 5);
    int hidden;

    if (rc == ERR_IO && ++ch->unanswered != PATIENCE)
        return;
    if (rc != ERR_CLOSED && log_limit(&limit, &hidden))
        log_warn("controller: no answer of %s to %s: %s; it is sent again for as long as the broker is registered",
                 peer_text(ch->peer), api_name(req->api),
                 peer_connected(ch->peer) ? "it cannot be decoded" : peer_fault(ch->peer));
}

static int call_parts(struct remote_channel *ch, struct control_request *req, const struct control_wire *w, int *at)
{
    for (; *at < w->parts_n; ++*at) {
        struct bytes answer;
        int rc;

        TRY(connect_it(ch));
        rc = peer_call(ch->peer, req->api, w->version, w->parts[*at], 0, &answer);
        if (rc == OK)
            rc = control_decode(req, w->version, answer);
        if (rc != OK) {
            note_unanswered(ch, req, rc);
            peer_drop(ch->peer);
            return rc;
        }
        ch->unanswered = 0;
    }
    return OK;
}

static void do_request(struct remote_channel *ch, struct control_request *req)
{
    struct control_wire w;
    int at = 0;

    req->resp.stop_replica = NULL;                      /* the first part's answer will be there */
    req->rc = control_encode(req, ibp_version(&ch->common->ibp, req->api), &w);
    while (req->rc == OK && (req->rc = call_parts(ch, req, &w, &at)) != OK && req->rc != ERR_CLOSED) {
        (void)connect_it(ch);                           /* now, to see whether the process is gone */
        req->rc = peer_wait(ch->peer, -1, RETRY_MS) == ERR_CLOSED ? ERR_CLOSED : OK;
    }
    if (req->rc != OK && req->rc != ERR_CLOSED)
        log_error("controller: %s cannot be sent to %s: %s", api_name(req->api), peer_text(ch->peer),
                  err_text(req->rc));
    req->done(req);
}

static void be_idle(struct remote_channel *ch)
{
    int rc = connect_it(ch);

    rc = peer_wait(ch->peer, ch->come, rc == OK ? -1 : RETRY_MS);
    if (rc == OK)
        drain(ch->come);
}

static void *remote_main(void *arg)
{
    struct remote_channel *ch = arg;
    struct control_request *req;
    bool closing = false;
    char name[16];

    snprintf(name, sizeof name, "to-broker-%d", ch->id);
    pthread_setname_np(pthread_self(), name);
    while ((req = next_request(ch, &closing)) != NULL || !closing) {
        if (req == NULL) {
            be_idle(ch);
        } else if (closing) {
            req->rc = ERR_CLOSED;
            req->done(req);
        } else {
            do_request(ch, req);
        }
    }
    return NULL;
}

/* ---- the channel ---- */

static void ring(int fd)
{
    uint64_t one = 1;

    while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void remote_send(struct broker_channel *base, struct control_request *req)
{
    struct remote_channel *ch = (struct remote_channel *)base;

    req->next = NULL;
    lock_take(&ch->lock);
    *ch->tail = req;
    ch->tail = &req->next;
    lock_drop(&ch->lock);
    ring(ch->come);
}

static void remote_free(struct remote_channel *ch)
{
    peer_free(&ch->peer);
    if (ch->come >= 0)
        close(ch->come);
    lock_fini(&ch->lock);
    free(ch);
}

static void remote_close(struct broker_channel *base)
{
    struct remote_channel *ch = (struct remote_channel *)base;

    lock_take(&ch->lock);
    ch->closing = true;
    lock_drop(&ch->lock);
    peer_interrupt(ch->peer);
    pthread_join(ch->thread, NULL);
    remote_free(ch);
}

static const struct znode_endpoint *endpoint_of(const struct config *cfg, const struct znode_broker *info)
{
    const char *listener = cfg->control_plane_listener != NULL ? cfg->control_plane_listener
                                                               : cfg->inter_broker_listener;

    for (size_t i = 0; i < info->endpoints_n; i++)
        if (str_is(info->endpoints[i].listener, listener))
            return &info->endpoints[i];
    return NULL;
}

int remote_channel_open(void *arg, int32_t id, int64_t epoch, const struct znode_broker *info,
                        struct broker_channel **out)
{
    const struct remote_channels *common = arg;
    const struct znode_endpoint *e = endpoint_of(common->cfg, info);
    struct peer_opts o = { .broker_id = id, .connect_timeout_ms = common->cfg->controller_socket_timeout_ms,
                           .request_timeout_ms = common->cfg->controller_socket_timeout_ms,
                           .receive_buffer_bytes = -1, .answer_bytes_max = ANSWER_BYTES_MAX };
    struct remote_channel *ch;
    char client_id[16], *host;
    int rc;

    *out = NULL;
    if (e == NULL)
        return ERR_NOENT;
    if (!str_is(e->protocol, security_protocol_name(SECURITY_PLAINTEXT)))
        return ERR_UNSUPPORTED;
    ch = calloc(1, sizeof *ch);
    host = strndup(e->host.p, e->host.len);
    if (ch == NULL || host == NULL) {
        free(ch);
        free(host);
        return ERR_NOMEM;
    }
    ch->base = (struct broker_channel){ .send = remote_send, .close = remote_close };
    ch->common = common;
    ch->id = id;
    ch->epoch = epoch;
    ch->tail = &ch->head;
    lock_init(&ch->lock, LOCK_ctlqueue);
    ch->come = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    snprintf(client_id, sizeof client_id, "%d", common->broker_id);
    o.host = host;
    o.port = e->port;
    o.client_id = client_id;
    rc = ch->come < 0 ? ERR_SYSTEM : peer_new(&ch->peer, &o);
    if (rc == OK && pthread_create(&ch->thread, NULL, remote_main, ch) != 0)
        rc = ERR_SYSTEM;
    free(host);
    if (rc != OK) {
        remote_free(ch);
        return rc;
    }
    *out = &ch->base;
    return OK;
}
