/* broker/net/thread.c - a network thread: one event loop, and the lists by which other threads reach it. */
#include "broker/net/net_priv.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utlist.h>

#define TICK_MS       1000
#define TICK_MIN_MS   20
#define TRIM_MS       4000
#define STACK_BYTES   ((size_t)512 << 10)

void nthread_wake(struct nthread *t)
{
    uint64_t one = 1;

    if (atomic_load(&t->asleep) && atomic_exchange(&t->asleep, false) && write(t->efd, &one, sizeof one) < 0)
        log_error("a network thread cannot be woken: %s", err_text(err_from_errno(errno)));
}

/* The eventfd is never read: it is edge-triggered, and its counter does not overflow in our lifetime. */
static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    nthread_awake(arg);
}

static void close_idle(struct nthread *t, int64_t now)
{
    char peer[REQUEST_PEER_MAX];
    int64_t max = t->server->opts.max_idle_ms;

    while (max >= 0 && t->conns != NULL && now - t->conns->active_ms >= max) {
        log_debug("%s %s: closed: idle for connections.max.idle.ms=%lld", t->conns->l->name,
                  address_text(&t->conns->peer, peer), (long long)max);
        conn_close(t->conns);
    }
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct nthread *t = arg;
    struct conn *c, *tmp;
    int64_t now = mono_ms();

    (void)fd, (void)what;
    nthread_awake(t);
    close_idle(t, now);
    if (atomic_load(&t->impatient) > 0)
        DL_FOREACH_SAFE(t->conns, c, tmp)
            conn_look(c);
    if (now - t->trimmed_ms < TRIM_MS)
        return;
    t->trimmed_ms = now;
    requests_trim(t);
    if (t == t->server->listeners[0].threads)
        rbuf_trim(&t->server->pool);
}

static void take_incoming(struct nthread *t)
{
    struct qnode *next;

    for (struct qnode *q = mpsc_take(&t->incoming); q != NULL; q = next) {
        next = q->next;
        conn_adopt(t, (struct conn *)q);
    }
}

/* All that came back is noted first, so that answers of one connection leave together. */
void nthread_take_done(struct nthread *t)
{
    struct conn *c, *dirty = NULL;
    struct qnode *next;

    for (struct qnode *q = mpsc_take(&t->done); q != NULL; q = next) {
        struct request *r = (struct request *)q;

        next = q->next;
        c = r->conn;
        if (c->lent && atomic_load(&r->phase) == PHASE_SENDING)
            conn_returned(c, r);
        else
            conn_ended(c, r);
        if (!c->dirty) {
            c->dirty = true;
            c->dirty_next = dirty;
            dirty = c;
        }
    }
    while ((c = dirty) != NULL) {
        dirty = c->dirty_next;
        c->dirty = false;
        conn_go_on(c);
    }
}

static void look_at_stalled(struct nthread *t)
{
    struct conn *next, *c = t->stalled;

    t->stalled = NULL;
    for (; c != NULL; c = next) {
        next = c->stall_next;
        conn_unstall(c);
    }
}

static void start_draining(struct nthread *t)
{
    struct conn *c, *tmp;

    t->draining = true;
    if (t == t->listener->threads)
        acceptor_close(t->listener);
    DL_FOREACH_SAFE(t->conns, c, tmp)
        conn_drain(c);
}

static void send_away(struct nthread *t)
{
    struct conn *c, *tmp;

    DL_FOREACH_SAFE(t->conns, c, tmp)
        if (c->answers == NULL)
            conn_close(c);
}

/* What other threads have asked for since the last look. */
static void look_around(struct nthread *t)
{
    int evict = atomic_load(&t->evict) > 0 ? atomic_exchange(&t->evict, 0) : 0;

    take_incoming(t);
    nthread_take_done(t);
    if (atomic_load(&t->room) && atomic_exchange(&t->room, false))
        look_at_stalled(t);
    for (; evict > 0 && t->conns != NULL; evict--)
        conn_refuse(t->conns, "the longest idle, when max.connections was reached");
    if (atomic_load(&t->send_away) && atomic_exchange(&t->send_away, false))
        send_away(t);
    if (atomic_load(&t->mode) >= MODE_DRAIN && !t->draining)
        start_draining(t);
    if (atomic_load(&t->accept_again) && atomic_exchange(&t->accept_again, false) && !t->draining)
        acceptor_accept(t->listener, true);
}

static bool lists_empty(struct nthread *t)
{
    return mpsc_empty(&t->done) && mpsc_empty(&t->incoming) && !atomic_load(&t->room) &&
           !atomic_load(&t->accept_again) && !atomic_load(&t->send_away) && atomic_load(&t->evict) == 0 &&
           (t->draining || atomic_load(&t->mode) == MODE_RUN);
}

static void *nthread_run(void *arg)
{
    struct nthread *t = arg;

    for (;;) {
        look_around(t);
        if (atomic_load(&t->mode) == MODE_STOP || (t->draining && t->conns == NULL && t->orphans_n == 0))
            break;
        atomic_store(&t->asleep, true);
        if (event_base_loop(t->base, lists_empty(t) ? EVLOOP_ONCE : EVLOOP_ONCE | EVLOOP_NONBLOCK) < 0)
            break;
        nthread_awake(t);
    }
    while (t->conns != NULL)            /* MODE_STOP: peers that do not read their answers */
        conn_close(t->conns);
    server_thread_ends(t->server, &t->server->net_running);
    return NULL;
}

int nthread_init(struct nthread *t, struct server *s, struct acceptor *l)
{
    struct event_config *ec = event_config_new();
    struct timeval tick;
    int64_t ms = s->opts.max_idle_ms >= 0 && s->opts.max_idle_ms / 4 < TICK_MS ? s->opts.max_idle_ms / 4 : TICK_MS;

    *t = (struct nthread){ .server = s, .listener = l, .efd = -1 };
    mpsc_init(&t->done);
    mpsc_init(&t->incoming);
    if (ec != NULL) {
        event_config_set_flag(ec, EVENT_BASE_FLAG_NOLOCK);
        t->base = event_base_new_with_config(ec);
        event_config_free(ec);
    }
    t->scratch = rbuf_get(&s->pool, SCRATCH_BYTES);
    t->efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (t->base == NULL || t->scratch == NULL || t->efd < 0)
        return ERR_NOMEM;
    if (ms < TICK_MIN_MS)
        ms = TICK_MIN_MS;
    tick = (struct timeval){ .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
    event_assign(&t->ev_wake, t->base, t->efd, EV_READ | EV_ET | EV_PERSIST, on_wake, t);
    event_add(&t->ev_wake, NULL);
    event_assign(&t->ev_tick, t->base, -1, EV_PERSIST, on_tick, t);
    event_add(&t->ev_tick, &tick);
    return OK;
}

int nthread_start(struct nthread *t)
{
    pthread_attr_t attr;
    char name[16];
    int err;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    err = pthread_create(&t->thread, &attr, nthread_run, t);
    pthread_attr_destroy(&attr);
    if (err != 0)
        return err_from_errno(err);
    t->started = true;
    lock_take(&t->server->stop_lock);
    t->server->net_running++;
    lock_drop(&t->server->stop_lock);
    snprintf(name, sizeof name, "net-%.8s-%d", t->listener->name, (int)(t - t->listener->threads));
    pthread_setname_np(t->thread, name);
    return OK;
}

void nthread_fini(struct nthread *t)
{
    take_incoming(t);
    nthread_take_done(t);               /* of connections that are gone */
    while (t->conns != NULL)
        conn_close(t->conns);
    if (t->orphans_n > 0)
        log_error("%zu requests on %s were never ended", t->orphans_n, t->listener->name);
    t->spare_low = t->spare_n;
    requests_trim(t);
    if (t->base != NULL) {
        event_del(&t->ev_wake);
        event_del(&t->ev_tick);
        event_base_free(t->base);
    }
    rbuf_put(&t->server->pool, &t->scratch);
    if (t->efd >= 0)
        close(t->efd);
}
