/* tools/client/link.c - a socket with deadlines. */
#include "tools/client/link.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define FRAME_MAX (1 << 30)             /* a larger size field is no Kafka broker's */
#define IOV_N     64

void link_init(struct link *c)
{
    c->fd = -1;
    c->error[0] = '\0';
}

void link_close(struct link *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static int conn_fail(struct link *c, int rc, const char *what)
{
    snprintf(c->error, sizeof c->error, "%s", what);
    link_close(c);
    return rc;
}

/* Waits until the socket is ready for `events`. */
static int conn_wait(struct link *c, short events, int64_t deadline_ms)
{
    for (;;) {
        int64_t       left = deadline_ms - mono_ms();
        struct pollfd p = { .fd = c->fd, .events = events };
        int           n = poll(&p, 1, left <= 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left);

        if (n > 0)
            return OK;
        if (n < 0 && errno != EINTR)
            return conn_fail(c, ERR_SYSTEM, strerror(errno));
        if (n == 0 && left <= 0)
            return conn_fail(c, ERR_TIMEOUT, "no answer in time");
    }
}

static int connect_one(struct link *c, const struct addrinfo *ai, int64_t deadline_ms)
{
    int       one = 1, err = 0;
    socklen_t len = sizeof err;

    c->fd = socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, ai->ai_protocol);
    if (c->fd < 0)
        return conn_fail(c, ERR_SYSTEM, strerror(errno));
    if (connect(c->fd, ai->ai_addr, ai->ai_addrlen) != 0) {
        if (errno != EINPROGRESS)
            return conn_fail(c, ERR_CLOSED, strerror(errno));
        TRY(conn_wait(c, POLLOUT, deadline_ms));
        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0 || err != 0)
            return conn_fail(c, ERR_CLOSED, strerror(err != 0 ? err : errno));
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return OK;
}

int link_open(struct link *c, const char *host, uint16_t port, int64_t deadline_ms)
{
    struct addrinfo  hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    struct addrinfo *list = NULL;
    char             service[8];
    int              rc;

    link_close(c);
    snprintf(service, sizeof service, "%u", port);
    rc = getaddrinfo(host, service, &hints, &list);
    if (rc != 0)
        return conn_fail(c, ERR_NOENT, gai_strerror(rc));
    rc = conn_fail(c, ERR_NOENT, "the name has no address");
    for (const struct addrinfo *ai = list; ai != NULL && rc != OK; ai = ai->ai_next)
        rc = connect_one(c, ai, deadline_ms);
    freeaddrinfo(list);
    return rc;
}

/* Drops n sent bytes from the front of iov[*at..]. */
static void iov_advance(struct iovec *iov, size_t *at, size_t n)
{
    while (n > 0 && n >= iov[*at].iov_len)
        n -= iov[(*at)++].iov_len;
    if (n > 0) {
        iov[*at].iov_base = (char *)iov[*at].iov_base + n;
        iov[*at].iov_len -= n;
    }
}

static int send_all(struct link *c, struct iovec *iov, size_t n, int64_t deadline_ms)
{
    size_t at = 0;

    while (at < n) {
        struct msghdr m = { .msg_iov = iov + at, .msg_iovlen = n - at };
        ssize_t       sent = sendmsg(c->fd, &m, MSG_NOSIGNAL);

        if (sent >= 0)
            iov_advance(iov, &at, (size_t)sent);
        else if (errno == EAGAIN)
            TRY(conn_wait(c, POLLOUT, deadline_ms));
        else if (errno != EINTR)
            return conn_fail(c, ERR_CLOSED, strerror(errno));
    }
    return OK;
}

int link_send(struct link *c, const struct chain *ch, int64_t deadline_ms)
{
    struct iovec iov[IOV_N];
    uint8_t      size[4];
    size_t       n = 1;

    if (ch->len > FRAME_MAX)
        return conn_fail(c, ERR_TOO_LARGE, "the request is too large");
    be_put32(size, (uint32_t)ch->len);
    iov[0] = (struct iovec){ size, sizeof size };
    for (size_t i = 0; i < ch->n; i++) {
        if (ch->v[i].len == 0)
            continue;
        if (n == IOV_N) {
            TRY(send_all(c, iov, n, deadline_ms));
            n = 0;
        }
        iov[n++] = (struct iovec){ (void *)(uintptr_t)ch->v[i].p, ch->v[i].len };
    }
    return send_all(c, iov, n, deadline_ms);
}

static int receive_all(struct link *c, uint8_t *p, size_t n, int64_t deadline_ms)
{
    while (n > 0) {
        ssize_t got = recv(c->fd, p, n, 0);

        if (got > 0) {
            p += got;
            n -= (size_t)got;
        } else if (got == 0) {
            return conn_fail(c, ERR_CLOSED, "the broker closed the connection");
        } else if (errno == EAGAIN) {
            TRY(conn_wait(c, POLLIN, deadline_ms));
        } else if (errno != EINTR) {
            return conn_fail(c, ERR_CLOSED, strerror(errno));
        }
    }
    return OK;
}

int link_receive(struct link *c, struct arena *a, struct bytes *out, int64_t deadline_ms)
{
    uint8_t  head[4];
    uint8_t *p;
    uint32_t size;

    TRY(receive_all(c, head, sizeof head, deadline_ms));
    size = be_get32(head);
    if (size < 4 || size > FRAME_MAX)
        return conn_fail(c, ERR_CORRUPT, "the answer is not a Kafka broker's");
    p = arena_alloc(a, size);
    if (p == NULL)
        return conn_fail(c, ERR_NOMEM, "the answer is larger than this command has memory for");
    TRY(receive_all(c, p, size, deadline_ms));
    *out = (struct bytes){ p, size };
    return OK;
}

int link_parse_address(struct str text, char *host, size_t host_len, uint16_t *port)
{
    const char *p = text.p, *end = text.p + text.len, *colon, *scheme;
    uint32_t    v = 0;

    scheme = memmem(p, text.len, "://", 3);
    if (scheme != NULL)
        p = scheme + 3;
    colon = memrchr(p, ':', (size_t)(end - p));
    if (colon == NULL || colon == p || end - colon < 2 || end - colon > 6)
        return ERR_INVALID;
    for (const char *d = colon + 1; d < end; d++) {
        if (*d < '0' || *d > '9')
            return ERR_INVALID;
        v = v * 10 + (uint32_t)(*d - '0');
    }
    if (*p == '[' && colon[-1] == ']') {
        p++;
        colon--;
    }
    if (v > UINT16_MAX || colon <= p || (size_t)(colon - p) >= host_len)
        return ERR_INVALID;
    memcpy(host, p, (size_t)(colon - p));
    host[colon - p] = '\0';
    *port = (uint16_t)v;
    return OK;
}

bool link_are_addresses(const char *list)
{
    bool any = false;

    while (*list != '\0') {
        size_t   n = strcspn(list, ",");
        char     host[256];
        uint16_t port;

        if (link_parse_address((struct str){ list, n }, host, sizeof host, &port) != OK)
            return false;
        any = true;
        list += n + (list[n] == ',');
    }
    return any;
}
