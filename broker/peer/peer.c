/* broker/peer/peer.c - a non-blocking socket, and a thread that waits for it with poll().
 *
 * Beside the socket every wait looks at an eventfd that peer_interrupt() makes readable and nobody ever reads, so that
 * an interrupted peer stays interrupted.
 *
 * An answer is  size i32 | correlation id i32 | (tagged fields) | body.  It is read into one buffer that grows to the
 * size of the largest answer; a size beyond the limit, a wrong correlation id, or bytes behind the answer (nothing else
 * has been asked for) close the connection. A first read takes what is there, so a short answer costs one.
 *
 * A listener that takes connections only to close them (as what stands before a broker that has ended may) is asked
 * again at once BRIEF_MAX times; from then on an attempt sooner than BRIEF_MS after the last one fails. So callers that
 * connect again at once, to tell a closed connection from a process that has ended, do not spin.
 *
 * Whoever connects in the moment in which a listener goes can be left with a connection that only this side knows of:
 * the handshake was complete here, and the other system has dropped its half without a word. Nothing comes on it, so an
 * idle one would hide the end of a process until the session in ZooKeeper ends. Keepalive asks about a connection that
 * has been idle for a second; a system that does not know it resets it. (A machine that says nothing at all is left
 * after KEEP_COUNT seconds; calls have their own time.)
 */
#include "broker/peer/peer.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "broker/peer/resolve.h"
#include "proto/header.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define BUFFER_MIN   ((size_t)16384)
#define BUFFER_KEEP  ((size_t)4 << 20)          /* what is beyond is given back when an answer needs no more */
#define HEAD_MAX     512                        /* of a request: size and header; client ids are cut */
#define CLIENT_MAX   256
#define SIZE_LEN     4
#define ANSWER_HEAD  (SIZE_LEN + 4)
#define BRIEF_MS     100                        /* a connection that lives no longer, without an answer */
#define BRIEF_MAX    4
#define KEEP_IDLE_S  1
#define KEEP_EVERY_S 1
#define KEEP_COUNT   30

struct peer {
    struct peer_opts o;                         /* host and client_id: ours */
    char            *text;
    int              fd;                        /* -1: no connection */
    int              interrupt_fd;
    int              heed_fd;                   /* -1: none */
    int32_t          correlation_id;
    bool             refused;
    int64_t          made_ms;                   /* the connection; 0: none has been made */
    int64_t          broke_ms;                  /* the last one that was brief */
    int              brief;                     /* so many in a row were */
    char             fault[128];
    struct arena     arena;                     /* of one call: its headers */
    uint8_t         *buf;
    size_t           cap;
    atomic_bool      interrupted;
};

int peer_new(struct peer **out, const struct peer_opts *o)
{
    struct peer *p = calloc(1, sizeof *p);
    int n;

    *out = NULL;
    if (p == NULL)
        return ERR_NOMEM;
    p->o = *o;
    p->fd = p->heed_fd = -1;
    p->interrupt_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    p->o.host = strdup(o->host);
    p->o.client_id = strndup(o->client_id, CLIENT_MAX);
    n = asprintf(&p->text, strchr(o->host, ':') != NULL ? "broker %d ([%s]:%d)" : "broker %d (%s:%d)", o->broker_id,
                 o->host, o->port);
    if (n < 0)
        p->text = NULL;
    arena_init(&p->arena, (size_t)1 << 20);
    if (p->o.host == NULL || p->o.client_id == NULL || p->text == NULL || p->interrupt_fd < 0) {
        n = p->interrupt_fd < 0 ? ERR_SYSTEM : ERR_NOMEM;
        peer_free(&p);
        return n;
    }
    *out = p;
    return OK;
}

void peer_free(struct peer **pp)
{
    struct peer *p = *pp;

    *pp = NULL;
    if (p == NULL)
        return;
    peer_drop(p);
    if (p->interrupt_fd >= 0)
        close(p->interrupt_fd);
    arena_fini(&p->arena);
    free((char *)(uintptr_t)p->o.host);
    free((char *)(uintptr_t)p->o.client_id);
    free(p->text);
    free(p->buf);
    free(p);
}

void peer_drop(struct peer *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    p->made_ms = 0;
}

void peer_interrupt(struct peer *p)
{
    uint64_t one = 1;
    ssize_t n;

    atomic_store(&p->interrupted, true);
    do
        n = write(p->interrupt_fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
}

void peer_heed(struct peer *p, int fd)
{
    p->heed_fd = fd;
}

bool peer_connected(const struct peer *p)
{
    return p->fd >= 0;
}

bool peer_refused(const struct peer *p)
{
    return p->refused;
}

const char *peer_text(const struct peer *p)
{
    return p->text;
}

const char *peer_fault(const struct peer *p)
{
    return p->fault;
}

static int fail(struct peer *p, int rc, const char *what)
{
    int64_t now_ms = mono_ms();

    snprintf(p->fault, sizeof p->fault, "%s", what);
    if (rc == ERR_IO && p->made_ms > 0) {
        p->brief = now_ms - p->made_ms < BRIEF_MS ? p->brief + 1 : 0;
        p->broke_ms = now_ms;
    }
    peer_drop(p);
    return rc;
}

static int left_ms(int64_t deadline_ms)
{
    int64_t left = deadline_ms - mono_ms();

    return left <= 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

/* OK: the connection is ready for `events`, or has failed: the next call on it tells. */
static int wait_ready(struct peer *p, short events, int heed_fd, int64_t deadline_ms)
{
    while (true) {
        struct pollfd v[] = { { .fd = p->fd, .events = events }, { .fd = p->interrupt_fd, .events = POLLIN },
                              { .fd = heed_fd, .events = POLLIN } };
        int left = left_ms(deadline_ms), n = poll(v, 3, left);

        if (n < 0 && errno != EINTR)
            return fail(p, ERR_SYSTEM, strerror(errno));
        if (n > 0 && v[1].revents != 0)
            return fail(p, ERR_CLOSED, "interrupted");
        if (n > 0 && v[0].revents != 0)
            return OK;
        if (n > 0 && v[2].revents != 0)
            return fail(p, ERR_AGAIN, "broken off");
        if (n == 0 && left == 0)
            return fail(p, ERR_TIMEOUT, "no answer in time");
    }
}

/* ---- connecting ---- */

static void set_options(struct peer *p)
{
    int one = 1, idle_s = KEEP_IDLE_S, every_s = KEEP_EVERY_S, count = KEEP_COUNT, bytes = p->o.receive_buffer_bytes;

    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(p->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    setsockopt(p->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(p->fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof every_s);
    setsockopt(p->fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    if (bytes > 0)
        setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

static int connect_one(struct peer *p, const struct addrinfo *ai)
{
    socklen_t len = sizeof(int);
    int err = 0;

    p->fd = socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, ai->ai_protocol);
    if (p->fd < 0)
        return fail(p, ERR_SYSTEM, strerror(errno));
    set_options(p);
    if (connect(p->fd, ai->ai_addr, ai->ai_addrlen) != 0) {
        err = errno;
        if (err == EINPROGRESS || err == EINTR) {
            TRY(wait_ready(p, POLLOUT, -1, mono_ms() + p->o.connect_timeout_ms));
            if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
                err = errno;
        }
    }
    p->refused = err == ECONNREFUSED;
    return err == 0 ? OK : fail(p, ERR_IO, strerror(err));
}

int peer_connect(struct peer *p)
{
    struct addrinfo *found = NULL;
    const char *fault;
    int rc;

    if (atomic_load(&p->interrupted))
        return fail(p, ERR_CLOSED, "interrupted");
    if (p->fd >= 0)
        return OK;
    p->refused = false;
    if (p->brief >= BRIEF_MAX && mono_ms() < p->broke_ms + BRIEF_MS)
        return fail(p, ERR_IO, "its connections are closed as soon as they are made");
    rc = resolve(p->o.host, p->o.port, p->interrupt_fd, p->o.connect_timeout_ms, &found, &fault);
    if (rc != OK)
        return fail(p, rc, rc == ERR_CLOSED ? "interrupted" : fault);
    rc = fail(p, ERR_IO, "the name has no address");
    for (const struct addrinfo *ai = found; ai != NULL && rc != OK && rc != ERR_CLOSED; ai = ai->ai_next)
        rc = connect_one(p, ai);
    freeaddrinfo(found);
    if (rc == OK)
        p->made_ms = mono_ms();
    return rc;
}

/* ---- a call ---- */

/* Size and header of the request. */
static int write_head(struct peer *p, int16_t api, int16_t version, size_t body_len, uint8_t *head, size_t *len)
{
    struct request_header h;
    struct chain ch;
    int rc;

    request_header_init(&h);
    h.request_api_key = api;
    h.request_api_version = version;
    h.correlation_id = ++p->correlation_id;
    h.client_id = str_of(p->o.client_id);
    chain_init(&ch, &p->arena);
    rc = header_write_request(&ch, &h);
    if (rc == OK && (ch.len > HEAD_MAX - SIZE_LEN || body_len > (size_t)INT32_MAX - ch.len))
        rc = ERR_TOO_LARGE;
    if (rc == OK)
        rc = chain_flatten(&ch, head + SIZE_LEN, ch.len);
    if (rc == OK) {
        be_put32(head, (uint32_t)(ch.len + body_len));
        *len = SIZE_LEN + ch.len;
    }
    chain_fini(&ch);
    return rc;
}

static int send_all(struct peer *p, struct iovec *iov, int64_t deadline_ms)
{
    size_t n = 2;

    while (n > 0) {
        struct msghdr m = { .msg_iov = iov, .msg_iovlen = n };
        ssize_t sent = sendmsg(p->fd, &m, MSG_NOSIGNAL);

        if (sent < 0 && errno == EAGAIN)
            TRY(wait_ready(p, POLLOUT, -1, deadline_ms));
        else if (sent < 0 && errno != EINTR)
            return fail(p, ERR_IO, strerror(errno));
        for (; sent >= 0 && n > 0 && (size_t)sent >= iov->iov_len; iov++, n--)
            sent -= (ssize_t)iov->iov_len;
        if (sent > 0 && n > 0) {
            iov->iov_base = (char *)iov->iov_base + sent;
            iov->iov_len -= (size_t)sent;
        }
    }
    return OK;
}

/* At least `want` bytes of buffer; the first `have` are kept. */
static int make_room(struct peer *p, size_t want, size_t have)
{
    uint8_t *buf;

    if (want < BUFFER_MIN)
        want = BUFFER_MIN;
    if (p->cap >= want && (p->cap <= BUFFER_KEEP || want > BUFFER_KEEP))
        return OK;
    buf = malloc(want);
    if (buf == NULL)
        return fail(p, ERR_NOMEM, "no memory for the answer");
    if (have > 0)
        memcpy(buf, p->buf, have);
    free(p->buf);
    p->buf = buf;
    p->cap = want;
    return OK;
}

/* The whole frame into the buffer; *len with its size field. */
static int receive(struct peer *p, int64_t deadline_ms, size_t *len)
{
    size_t have = 0, want = 0;

    if (p->cap < BUFFER_MIN)
        TRY(make_room(p, BUFFER_MIN, 0));
    while (want == 0 || have < want) {
        ssize_t n = recv(p->fd, p->buf + have, (want > 0 ? want : BUFFER_MIN) - have, 0);

        if (n > 0)
            have += (size_t)n;
        else if (n == 0)
            return fail(p, ERR_IO, "the connection was closed");
        else if (errno == EAGAIN)
            TRY(wait_ready(p, POLLIN, have == 0 ? p->heed_fd : -1, deadline_ms));
        else if (errno != EINTR)
            return fail(p, ERR_IO, strerror(errno));
        if (want == 0 && have >= SIZE_LEN) {
            uint32_t size = be_get32(p->buf);

            if (size < ANSWER_HEAD - SIZE_LEN || size > INT32_MAX)
                return fail(p, ERR_CORRUPT, "what came is not an answer of a Kafka broker");
            if (size > p->o.answer_bytes_max)
                return fail(p, ERR_TOO_LARGE, "the answer is larger than allowed");
            want = SIZE_LEN + size;
            TRY(make_room(p, want, have));
        }
    }
    if (have > want)
        return fail(p, ERR_CORRUPT, "there are bytes behind the answer");
    *len = want;
    return OK;
}

static int read_head(struct peer *p, int16_t api, int16_t version, size_t len, struct bytes *answer)
{
    struct cursor c = cur_ro(p->buf + SIZE_LEN, len - SIZE_LEN);
    struct response_header h;
    int rc = header_read_response(&c, &p->arena, api, version, &h);

    if (rc != OK)
        return fail(p, rc == ERR_NOMEM ? rc : ERR_CORRUPT, "the header of the answer cannot be decoded");
    if (h.correlation_id != p->correlation_id)
        return fail(p, ERR_CORRUPT, "the answer is one to another request");
    *answer = (struct bytes){ c.p, cur_left(&c) };
    return OK;
}

int peer_call(struct peer *p, int16_t api, int16_t version, struct bytes body, int32_t timeout_ms, struct bytes *answer)
{
    uint8_t head[HEAD_MAX];
    struct iovec iov[2];
    int64_t deadline_ms;
    size_t len = 0;
    int rc;

    *answer = (struct bytes){ NULL, 0 };
    TRY(peer_connect(p));
    arena_reset(&p->arena);
    rc = write_head(p, api, version, body.len, head, &len);
    if (rc != OK)
        return fail(p, rc, "the header of the request cannot be written");
    iov[0] = (struct iovec){ head, len };
    iov[1] = (struct iovec){ (void *)(uintptr_t)body.p, body.len };
    deadline_ms = mono_ms() + (timeout_ms > 0 ? timeout_ms : p->o.request_timeout_ms);
    TRY(send_all(p, iov, deadline_ms));
    TRY(receive(p, deadline_ms, &len));
    p->brief = 0;
    return read_head(p, api, version, len, answer);
}

/* ---- waiting ---- */

int peer_wait(struct peer *p, int fd, int64_t timeout_ms)
{
    int64_t deadline_ms = mono_ms() + timeout_ms;

    while (true) {
        struct pollfd v[] = { { .fd = p->interrupt_fd, .events = POLLIN }, { .fd = fd, .events = POLLIN },
                              { .fd = p->fd, .events = POLLIN | POLLRDHUP } };
        int left = timeout_ms < 0 ? -1 : left_ms(deadline_ms), n = poll(v, 3, left);

        if (n < 0 && errno != EINTR)
            return fail(p, ERR_SYSTEM, strerror(errno));
        if (n > 0 && v[0].revents != 0)
            return fail(p, ERR_CLOSED, "interrupted");
        if (n > 0 && v[2].revents != 0)         /* nothing was asked for, so bytes are as bad as an end */
            return fail(p, ERR_IO, "the connection was closed");
        if (n > 0 && v[1].revents != 0)
            return OK;
        if (n == 0 && left == 0)
            return ERR_TIMEOUT;
    }
}
