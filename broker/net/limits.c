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

static struct ip_count *find(struct ip_count *table, const uint8_t ip[16])
{
    struct ip_count *e = NULL;

    HASH_FIND(hh, table, ip, 16, e);
    return e;
}

static struct ip_count *find_or_add(struct ip_count **table, const uint8_t ip[16])
{
    struct ip_count *e = find(*table, ip);

    if (e != NULL)
        return e;
    e = calloc(1, sizeof *e);
    if (e == NULL)
        return NULL;
    memcpy(e->ip, ip, 16);
    e->max = -1;
    HASH_ADD(hh, *table, ip, 16, e);
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

/* The addresses of one entry of max.connections.per.ip.overrides, into a table of their own. */
static int add_override(struct ip_count **table, const struct server_ip_limit *o)
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
        e = find_or_add(table, p.ip);
        if (e != NULL)
            e->max = o->max_connections;
        else
            rc = ERR_NOMEM;
    }
    freeaddrinfo(found);
    return rc;
}

static void free_table(struct ip_count **table)
{
    struct ip_count *e, *tmp;

    HASH_ITER(hh, *table, e, tmp) {
        HASH_DEL(*table, e);
        free(e);
    }
}

void limits_init(struct limits *m)
{
    *m = (struct limits){ .max = INT32_MAX, .max_per_ip = INT32_MAX };
    lock_init(&m->lock, LOCK_listener);
}

/* The counts go on in the new table, which has an entry for each address already. */
static void change_table(struct limits *m, struct ip_count **table)
{
    struct ip_count *e, *tmp, *to;

    HASH_ITER(hh, m->ips, e, tmp) {
        HASH_FIND(hh, *table, e->ip, 16, to);
        if (to != NULL) {
            to->n = e->n;
            continue;
        }
        HASH_DEL(m->ips, e);
        e->max = -1;
        if (e->n > 0)
            HASH_ADD(hh, *table, ip, 16, e);
        else
            free(e);
    }
    e = m->ips;
    m->ips = *table;
    *table = e;
}

/* Those that wait look again. Under the lock. */
static void wake_waiting(struct acceptor *listeners, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!listeners[i].waits)
            continue;
        listeners[i].waits = false;
        atomic_store(&listeners[i].threads[0].accept_again, true);
        nthread_wake(&listeners[i].threads[0]);
    }
}

/* Another rate begins with all of its permits: what came while there was none is not owed. */
static void rate_set(struct rate *r, int per_second)
{
    if (r->per_second != per_second)
        *r = (struct rate){ .per_second = per_second };
}

int limits_set(struct limits *m, struct acceptor *listeners, size_t n, const struct server_limits *o)
{
    struct ip_count *table = NULL;
    int rc = OK;

    for (size_t i = 0; i < o->ip_limits_n && rc == OK; i++)
        rc = add_override(&table, &o->ip_limits[i]);
    if (rc == OK) {
        lock_take(&m->lock);
        change_table(m, &table);
        m->max = o->max_connections;
        m->max_per_ip = o->max_connections_per_ip;
        rate_set(&m->rate, o->max_creation_rate);
        for (size_t i = 0; i < n; i++) {
            listeners[i].max_connections = o->listeners[i].max_connections;
            rate_set(&listeners[i].rate, o->listeners[i].max_creation_rate);
        }
        wake_waiting(listeners, n);
        lock_drop(&m->lock);
    }
    free_table(&table);
    return rc;
}

void limits_fini(struct limits *m)
{
    free_table(&m->ips);
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
    e = find_or_add(&m->ips, p->ip);
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
    struct ip_count *e;

    lock_take(&m->lock);
    e = find(m->ips, p->ip);
    if (e != NULL && --e->n == 0 && e->max < 0) {
        HASH_DEL(m->ips, e);
        free(e);
    }
    l->conns_n--;
    m->conns_n--;
    wake_waiting(l->server->listeners, l->server->listeners_n);
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
    int64_t now = mono_ns(), own, all;

    lock_take(&m->lock);
    own = rate_wait_ms(&l->rate, now);
    all = rate_wait_ms(&m->rate, now);
    lock_drop(&m->lock);
    return own > all ? own : all;
}
