/* broker/net/acceptor.c - binding a listener, and accepting on its first network thread.
 *
 * Accepted sockets inherit their buffer sizes, TCP_NODELAY and keep-alive from the listening one, so a connection costs
 * one accept4() and one epoll_ctl(). When a limit or the supply of descriptors is reached, accepting stops and the
 * peers wait in the kernel's backlog.
 */
#include "broker/net/net_priv.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPT_BURST     64             /* then the thread's connections have their turn */
#define NO_FDS_WAIT_MS   200

static struct log_limit complaints = LOG_LIMIT(10000, 5);

static int set_int(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value) == 0 ? OK : err_from_errno(errno);
}

/* errno is kept for the caller. */
static int try_bind(const struct addrinfo *a, bool dual, const struct server_opts *o)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int saved, rc = OK;

    if (fd < 0)
        return -1;
    rc |= set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    rc |= set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    rc |= set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (a->ai_family == AF_INET6)
        rc |= set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, dual ? 0 : 1);
    if (o->receive_buffer_bytes > 0)
        rc |= set_int(fd, SOL_SOCKET, SO_RCVBUF, o->receive_buffer_bytes);
    if (o->send_buffer_bytes > 0)
        rc |= set_int(fd, SOL_SOCKET, SO_SNDBUF, o->send_buffer_bytes);
    if (rc == OK && bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, o->backlog) == 0)
        return fd;
    saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static const char *bind_advice(int err)
{
    switch (err) {
    case EADDRINUSE:
        return "another program (or another broker) uses it: stop that, or choose another port in 'listeners'";
    case EACCES:
        return "ports below 1024 need privileges: choose another port in 'listeners'";
    case EADDRNOTAVAIL:
        return "this machine does not have that address: mend the host in 'listeners' (what clients are told is "
               "'advertised.listeners')";
    default:
        return "mend 'listeners'";
    }
}

static int bind_any(struct acceptor *l, const struct listen_opts *o)
{
    const struct server_opts *so = &l->server->opts;
    bool wild = o->host == NULL || o->host[0] == '\0';
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *found = NULL;
    char port[16];
    int err;

    snprintf(port, sizeof port, "%d", o->port);
    hints.ai_family = wild ? AF_INET6 : AF_UNSPEC;
    err = getaddrinfo(wild ? NULL : o->host, port, &hints, &found);
    if (err != 0 && !wild) {
        log_error("listener %s: the host '%s' cannot be resolved (%s): mend it in 'listeners'", l->name, o->host,
                  gai_strerror(err));
        return ERR_NOENT;
    }
    l->fd = -1;
    errno = EADDRNOTAVAIL;
    for (struct addrinfo *a = found; a != NULL && l->fd < 0; a = a->ai_next)
        l->fd = try_bind(a, wild, so);
    if (found != NULL)
        freeaddrinfo(found);
    if (l->fd < 0 && wild && errno != EADDRINUSE && errno != EACCES) {      /* a machine without IPv6 */
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)o->port) };
        struct addrinfo a4 = { .ai_family = AF_INET, .ai_addr = (struct sockaddr *)&in, .ai_addrlen = sizeof in };

        l->fd = try_bind(&a4, false, so);
    }
    if (l->fd >= 0)
        return OK;
    err = errno;
    log_error("listener %s: cannot listen on %s:%d: %s; %s", l->name, wild ? "*" : o->host, o->port, strerror(err),
              bind_advice(err));
    return err_from_errno(err);
}

int acceptor_open(struct acceptor *l, struct server *s, const struct listen_opts *o)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;

    *l = (struct acceptor){ .server = s, .inter_broker = o->inter_broker, .fd = -1 };
    snprintf(l->name, sizeof l->name, "%s", o->name);
    l->name_str = str_of(l->name);
    TRY(bind_any(l, o));
    if (getsockname(l->fd, (struct sockaddr *)&ss, &len) != 0)
        return err_from_errno(errno);
    l->port = ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port :
                    ((struct sockaddr_in *)&ss)->sin_port);
    return OK;
}

static void pause_accepting(struct acceptor *l, int64_t ms)
{
    struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

    acceptor_accept(l, false);
    if (ms > 0)
        event_add(&l->ev_retry, &tv);
}

/* How many connections a thread has, but for those that it is to close. */
static long has_left(struct nthread *t)
{
    return (long)atomic_load(&t->conns_n) - atomic_load(&t->evict);
}

bool evict_one(struct server *s, const struct acceptor *but)
{
    struct nthread *most = NULL;

    for (size_t i = 0; i < s->listeners_n; i++) {
        struct acceptor *l = &s->listeners[i];

        if (l == but || (but == NULL && l->inter_broker && s->listeners_n > 1))
            continue;
        for (int k = 0; k < l->threads_n; k++)
            if (most == NULL || has_left(&l->threads[k]) > has_left(most))
                most = &l->threads[k];
    }
    if (most == NULL || has_left(most) <= 0)
        return false;
    atomic_fetch_add(&most->evict, 1);
    nthread_wake(most);
    return true;
}

static void welcome(struct acceptor *l, int fd, const struct peer *p)
{
    struct nthread *t = &l->threads[l->turn++ % l->threads_n];
    struct server *s = l->server;
    char text[REQUEST_PEER_MAX];
    enum admit admit = limits_admit(&s->limits, l, p);
    struct conn *c;
    int hidden;

    if (admit == ADMIT_TOO_MANY_OF_IP) {
        if (log_limit(&complaints, &hidden))
            log_warn("%s %s: refused: its address has as many connections as max.connections.per.ip (or its override) "
                     "allows", l->name, address_text(p, text));
        close(fd);
        return;
    }
    if (admit == ADMIT_EVICT)
        (void)evict_one(s, l);
    c = calloc(1, sizeof *c);
    if (c == NULL) {
        limits_leave(&s->limits, l, p);
        close(fd);
        return;
    }
    c->magic = CONN_MAGIC;
    c->fd = fd;
    c->l = l;
    c->peer = *p;
    atomic_fetch_add(&t->conns_n, 1);
    if (t == l->threads) {
        conn_adopt(t, c);
        return;
    }
    mpsc_push(&t->incoming, &c->link);
    nthread_wake(t);
}

/* true: go on with the next one. */
static bool accept_one(struct acceptor *l)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;
    struct peer p;
    int fd, hidden;

    fd = accept4(l->fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        peer_from_sockaddr(&p, (struct sockaddr *)&ss);
        welcome(l, fd, &p);
        return true;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        if (log_limit(&complaints, &hidden))
            log_error("listener %s: no connection can be accepted: %s; raise the limit of open files (LimitNOFILE, "
                      "ulimit -n)", l->name, strerror(errno));
        pause_accepting(l, NO_FDS_WAIT_MS);
    }
    return errno == ECONNABORTED || errno == EINTR;
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    struct acceptor *l = arg;

    (void)fd, (void)what;
    nthread_awake(l->threads);
    for (int i = 0; i < ACCEPT_BURST; i++) {
        int64_t wait_ms;

        if (!limits_room(&l->server->limits, l)) {
            pause_accepting(l, 0);      /* limits_leave() says when */
            return;
        }
        wait_ms = limits_wait_ms(&l->server->limits, l);
        if (wait_ms > 0) {
            pause_accepting(l, wait_ms);
            return;
        }
        if (!accept_one(l))
            return;
    }
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    struct acceptor *l = arg;

    (void)fd, (void)what;
    nthread_awake(l->threads);
    acceptor_accept(l, true);
}

void acceptor_attach(struct acceptor *l)
{
    event_assign(&l->ev_accept, l->threads[0].base, l->fd, EV_READ | EV_PERSIST, on_accept, l);
    event_assign(&l->ev_retry, l->threads[0].base, -1, 0, on_retry, l);
}

void acceptor_accept(struct acceptor *l, bool on)
{
    if (l->fd < 0 || l->accepting == on)
        return;
    l->accepting = on;
    if (on)
        event_add(&l->ev_accept, NULL);
    else
        event_del(&l->ev_accept);
}

void acceptor_close(struct acceptor *l)
{
    if (l->fd < 0)
        return;
    acceptor_accept(l, false);
    if (event_initialized(&l->ev_retry))
        event_del(&l->ev_retry);
    close(l->fd);
    l->fd = -1;
}
