/* broker/replica/fetcher.c - one fetcher's thread: what it does when, and its connection.
 *
 * A Fetch of which nothing comes waits at the leader for up to replica.fetch.wait.max.ms. A partition that is
 * given to the fetcher meanwhile must not wait for that, for who produces with acks=all would wait as well: then
 * the bell rings, the connection is given up, and a new one asks anew.
 */
#include "broker/replica/fetchers_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "broker/cluster/doubts.h"
#include "broker/peer/peer.h"
#include "config/config.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>
#include <utlist.h>

#define FAILED_FIRST_MS    20
#define SOCKET_BUFFER_BYTES 65536       /* the property's default, in place of which we take the system's own */
#define ANSWER_MORE_BYTES  ((size_t)16 << 20)           /* beside records */

/* ---- the connection -------------------------------------------------------------------------------------------- */

static struct peer *new_peer(struct fetcher *fe, const char *host, int32_t port)
{
    const struct config *cfg = fe->home->opts.cfg;
    char client_id[64];
    struct peer_opts o = { .broker_id = fe->source, .host = host, .port = port, .client_id = client_id };
    struct peer *p;

    (void)snprintf(client_id, sizeof client_id, "broker-%d-fetcher-%d", (int)fe->home->opts.broker_id, (int)fe->index);
    o.connect_timeout_ms = o.request_timeout_ms = cfg->replica_socket_timeout_ms;
    o.receive_buffer_bytes = cfg->replica_socket_receive_buffer_bytes;
    if (o.receive_buffer_bytes == SOCKET_BUFFER_BYTES)
        o.receive_buffer_bytes = -1;
    /* One batch may be larger than what was asked for; none is larger than a request may be. */
    o.answer_bytes_max = (size_t)cfg->replica_fetch_response_max_bytes + (size_t)cfg->socket_request_max_bytes +
                         ANSWER_MORE_BYTES;
    return peer_new(&p, &o) == OK ? p : NULL;
}

/* There is a peer for the address where the source is now. */
static int find_peer(struct fetcher *fe)
{
    struct fetchers *f = fe->home;
    struct peer *old, *p;
    char *host;
    int32_t port;

    lock_take(&f->lock);
    old = fe->moved ? fe->peer : NULL;
    if (fe->moved)
        fe->peer = NULL;
    p = fe->peer;
    host = p == NULL ? strdup(fe->host) : NULL;
    port = fe->port;
    fe->moved = false;
    lock_drop(&f->lock);
    peer_free(&old);
    if (p != NULL)
        return OK;
    p = host != NULL ? new_peer(fe, host, port) : NULL;
    free(host);
    lock_take(&f->lock);
    fe->peer = p;
    fe->moved |= p == NULL;
    fe->renew = true;
    if (p != NULL && atomic_load(&f->stopped))
        peer_interrupt(p);
    lock_drop(&f->lock);
    return p != NULL ? OK : ERR_NOMEM;
}

static void call_failed(struct fetcher *fe, int rc)
{
    int64_t most = fe->home->opts.cfg->replica_fetch_backoff_ms;

    fe->renew_ns = 1;
    if (rc == ERR_CLOSED)
        return;
    if (rc == ERR_IO && fe->failed_ms == 0)
        doubts_note(fe->home->opts.doubts, fe->source);
    if (fe->failed_ms == 0)
        log_warn("%s: partitions that it leads cannot be fetched: %s; tried again until they can, or another broker "
                 "leads them", peer_text(fe->peer), peer_fault(fe->peer));
    fe->failed_ms = fe->failed_ms == 0 ? FAILED_FIRST_MS : fe->failed_ms * 2;
    if (fe->failed_ms > most)
        fe->failed_ms = most > 0 ? most : 1;
}

int fetcher_call(struct fetcher *fe, int16_t api, int16_t version, struct chain *body, struct bytes *answer)
{
    size_t len = body->len;
    int rc = body->rc;

    if (rc == OK && len > fe->body_cap) {
        uint8_t *p = malloc(len + len / 2);

        rc = p != NULL ? OK : ERR_NOMEM;
        if (p != NULL) {
            free(fe->body);
            fe->body = p;
            fe->body_cap = len + len / 2;
        }
    }
    if (rc == OK)
        rc = chain_flatten(body, fe->body, len);
    chain_fini(body);
    TRY(rc);
    rc = peer_call(fe->peer, api, version, (struct bytes){ fe->body, len }, 0, answer);
    if (rc != OK && rc != ERR_AGAIN)
        call_failed(fe, rc);
    else if (rc == OK)
        doubts_end(fe->home->opts.doubts, fe->source);
    return rc;
}

/* ---- the thread ------------------------------------------------------------------------------------------------ */

void fetcher_hear_bell(struct fetcher *fe)
{
    uint64_t n;

    lock_assert(&fe->home->lock);
    fe->fresh = false;
    if (!fe->rung)
        return;
    fe->rung = false;
    while (read(fe->bell, &n, sizeof n) < 0 && errno == EINTR)
        ;
}

/* Who has waited long enough is again what it was. When the next one's time comes; INT64_MAX: there is none. */
static int64_t wake_waiting(struct fetcher *fe)
{
    int64_t now = mono_ns(), until = INT64_MAX;
    struct followed *fo, *next;

    if (now < fe->wake_ns)
        return fe->wake_ns;
    DL_FOREACH_SAFE2(fe->waiting, fo, next, wait_next) {
        if (fo->wait_until_ns <= now)
            followed_set(fo, fo->then);
        else if (fo->wait_until_ns < until)
            until = fo->wait_until_ns;
    }
    fe->wake_ns = until;
    return until;
}

static int64_t ms_until(int64_t ns)
{
    int64_t now = mono_ns();

    return ns == INT64_MAX ? INT64_MAX : ns <= now ? 0 : (ns - now + 999999) / 1000000;
}

/* Nothing can be fetched, or nothing until a while has passed. */
static int rest(struct fetcher *fe, int64_t ms)
{
    int rc = peer_wait(fe->peer, fe->bell, ms == INT64_MAX ? -1 : ms);

    if (rc == ERR_IO) {                 /* closed while nothing was asked for */
        fe->renew_ns = 1;
        rc = OK;
    }
    return rc == ERR_TIMEOUT ? OK : rc;
}

/* There is not even a peer to wait with. What the bell was rung for until now has to wait as well. */
static void rest_alone(struct fetcher *fe, int64_t ms)
{
    struct pollfd bell = { .fd = fe->bell, .events = POLLIN };
    bool stopped;

    lock_take(&fe->home->lock);
    fetcher_hear_bell(fe);
    stopped = atomic_load(&fe->home->stopped);
    lock_drop(&fe->home->lock);
    if (!stopped)
        (void)poll(&bell, 1, (int)ms);
}

static int round_of(struct fetcher *fe)
{
    struct fetchers *f = fe->home;
    bool asking, fetching;
    int64_t until;

    TRY(find_peer(fe));
    lock_take(&f->lock);
    fetcher_hear_bell(fe);
    (void)wake_waiting(fe);
    asking = fe->asking > 0;
    lock_drop(&f->lock);
    if (asking) {
        TRY(fetcher_truncate(fe));
        TRY(fetcher_find_range(fe));
    }
    lock_take(&f->lock);
    until = wake_waiting(fe);           /* who has been refused waits by now */
    fetching = fe->fetching > 0;
    asking = fe->asking > 0;
    lock_drop(&f->lock);
    if (fetching)
        return fetcher_fetch(fe, asking ? 0 : ms_until(until));
    return asking ? OK : rest(fe, ms_until(until));
}

void *fetcher_main(void *arg)
{
    struct fetcher *fe = arg;
    struct peer *p;

    log_debug("fetcher %d of broker %d begins", (int)fe->index, (int)fe->source);
    while (!atomic_load(&fe->home->stopped)) {
        int rc = round_of(fe);

        arena_reset(&fe->arena);
        if (rc == OK || rc == ERR_AGAIN || rc == ERR_CLOSED)
            continue;
        if (fe->failed_ms == 0) {       /* no memory, mostly */
            log_error("broker %d cannot be fetched from: %s; tried again", (int)fe->source, err_text(rc));
            fe->failed_ms = fe->home->opts.cfg->replica_fetch_backoff_ms;
        }
        if (fe->peer != NULL)
            (void)rest(fe, fe->failed_ms);
        else
            rest_alone(fe, fe->failed_ms);
    }
    lock_take(&fe->home->lock);
    p = fe->peer;
    fe->peer = NULL;
    lock_drop(&fe->home->lock);
    peer_free(&p);
    return NULL;
}
