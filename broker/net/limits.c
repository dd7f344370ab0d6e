/* broker/net/limits.c - how many connections there are, in all, by listener and by address. */
#include "broker/net/net_priv.h"

#include "base/clock.h"

#include <netdb.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <uthash.h>

struct ip_count {
    uint8_t        ip[16];
    int            n;
    int            max;             /* its own limit; -1: the general one */
    UT_hash_handle hh;
};

static struct ip_count *find(struct limits *m, const uint8_t ip[16])
{
    struct ip_count *e = NULL;

    HASH_FIND(hh, m->ips, ip, 16, e);
    return e;
}

static struct ip_count *find_or_add(struct limits *m, const uint8_t ip[16])
{
    struct ip_count *e = find(m, ip);

    if (e != NULL)
        return e;
    e = calloc(1, sizeof *e);
    if (e == NULL)
        return NULL;
    memcpy(e->ip, ip, 16);
    e->max = -1;
    HASH_ADD(hh, m->ips, ip, 16, e);
    return e;
}

void peer_from_sockaddr(struct peer *p, const struct sockaddr *sa)
{
    *p = (struct peer){ .ip = { [10] = 0xff, [11] = 0xff } };
    if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;

        memcpy(p->ip, &in6->sin6_addr, 16);
        p->port = ntohs(in6->sin6_port);
    } else if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;

        memcpy(p->ip + 12, &in->sin_addr, 4);
        p->port = ntohs(in->sin_port);
    }
}

static int add_override(struct limits *m, const struct server_ip_limit *o)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    int rc = OK, err = getaddrinfo(o->host, NULL, &hints, &found);

    if (err != 0) {
        log_warn("max.connections.per.ip.overrides: '%s' cannot be resolved (%s); its limit of %d is not applied",
                 o->host, gai_strerror(err), o->max_connections);
        return OK;
    }
    for (struct addrinfo *a = found; a != NULL && rc == OK; a = a->ai_next) {
        struct peer p;
        struct ip_count *e;

        peer_from_sockaddr(&p, a->ai_addr);
        e = find_or_add(m, p.ip);
        if (e != NULL)
            e->max = o->max_connections;
        else
            rc = ERR_NOMEM;
    }
    freeaddrinfo(found);
    return rc;
}

int limits_init(struct limits *m, const struct server_opts *o)
{
    *m = (struct limits){ .max = o->max_connections, .max_per_ip = o->max_connections_per_ip };
    m->rate.per_second = o->max_creation_rate;
    lock_init(&m->lock, LOCK_listener);
    for (size_t i = 0; i < o->ip_limits_n; i++)
        TRY(add_override(m, &o->ip_limits[i]));
    return OK;
}

void limits_fini(struct limits *m)
{
    struct ip_count *e, *tmp;

    HASH_ITER(hh, m->ips, e, tmp) {
        HASH_DEL(m->ips, e);
        free(e);
    }
    lock_fini(&m->lock);
}

static bool listener_full(const struct acceptor *l)
{
    return l->max_connections > 0 && l->conns_n >= l->max_connections;
}

/* The inter-broker listener is let in when the whole is full, if there is another that can give one up. */
static bool may_evict(const struct acceptor *l)
{
    return l->inter_broker && l->server->listeners_n > 1;
}

bool limits_room(struct limits *m, struct acceptor *l)
{
    bool room;

    lock_take(&m->lock);
    room = !listener_full(l) && (m->conns_n < m->max || may_evict(l));
    l->waits = !room;
    lock_drop(&m->lock);
    return room;
}

enum admit limits_admit(struct limits *m, struct acceptor *l, const struct peer *p)
{
    enum admit admit = ADMIT_TOO_MANY_OF_IP;
    struct ip_count *e;

    lock_take(&m->lock);
    e = find_or_add(m, p->ip);
    if (e != NULL && e->n < (e->max >= 0 ? e->max : m->max_per_ip)) {
        admit = m->conns_n >= m->max ? ADMIT_EVICT : ADMIT_OK;
        e->n++;
        l->conns_n++;
        m->conns_n++;
        m->rate.permits -= 1;
        l->rate.permits -= 1;
    } else if (e != NULL && e->n == 0 && e->max < 0) {
        HASH_DEL(m->ips, e);
        free(e);
    }
    lock_drop(&m->lock);
    return admit;
}

void limits_leave(struct limits *m, struct acceptor *l, const struct peer *p)
{
    struct server *s = l->server;
    struct ip_count *e;

    lock_take(&m->lock);
    e = find(m, p->ip);
    if (e != NULL && --e->n == 0 && e->max < 0) {
        HASH_DEL(m->ips, e);
        free(e);
    }
    l->conns_n--;
    m->conns_n--;
    for (size_t i = 0; i < s->listeners_n; i++) {
        if (!s->listeners[i].waits)
            continue;
        s->listeners[i].waits = false;
        atomic_store(&s->listeners[i].threads[0].accept_again, true);
        nthread_wake(&s->listeners[i].threads[0]);
    }
    lock_drop(&m->lock);
}

static void rate_fill(struct rate *r, int64_t now_ns)
{
    if (r->at_ns == 0)
        r->permits = r->per_second;
    r->permits += (double)(now_ns - r->at_ns) * 1e-9 * r->per_second;
    if (r->permits > r->per_second)
        r->permits = r->per_second;
    r->at_ns = now_ns;
}

static int64_t rate_wait_ms(struct rate *r, int64_t now_ns)
{
    if (r->per_second <= 0)
        return 0;
    rate_fill(r, now_ns);
    return r->permits >= 1 ? 0 : (int64_t)((1 - r->permits) * 1000 / r->per_second) + 1;
}

int64_t limits_wait_ms(struct limits *m, struct acceptor *l)
{
    int64_t now = mono_ns(), own = rate_wait_ms(&l->rate, now), all;

    lock_take(&m->lock);
    all = rate_wait_ms(&m->rate, now);
    lock_drop(&m->lock);
    return own > all ? own : all;
}
