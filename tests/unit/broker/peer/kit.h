/* tests/unit/broker/peer/kit.h - a broker that is only a listener: it answers each request as the test's script says,
 * also as no broker should.
 *
 * The script runs on the listener's thread, one connection after the other, one request at a time.
 */
#ifndef TESTS_UNIT_BROKER_PEER_KIT_H
#define TESTS_UNIT_BROKER_PEER_KIT_H

#include "base/chain.h"
#include "base/clock.h"
#include "base/log.h"
#include "broker/peer/peer.h"
#include "proto/header.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum fake_deed {
    FAKE_ANSWER,                        /* as a broker does */
    FAKE_PIECES,                        /* the same, a few bytes at a time */
    FAKE_CLOSE, FAKE_RESET,             /* instead of an answer */
    FAKE_HALF,                          /* half of the answer, then closed */
    FAKE_HUGE,                          /* a size that nobody should believe */
    FAKE_NEGATIVE, FAKE_TINY,           /* sizes that cannot be */
    FAKE_OTHER,                         /* another correlation id */
    FAKE_MORE,                          /* bytes behind the answer */
    FAKE_SILENT,                        /* none, until the other side closes */
    FAKE_CLOSE_AFTER                    /* the answer, and then closed */
};

struct fake_request {
    int            connection;          /* 1, 2, ... */
    int16_t        api, version;
    struct bytes   body;
    char           client_id[64];
    struct chain  *out;                 /* the body of the answer */
    struct arena  *arena;
};

struct fake_listener {
    enum fake_deed (*script)(struct fake_listener *f, struct fake_request *r);
    void           *arg;
    int             fd, port;
    int             held;               /* bound to the port, so that it is nobody else's after fake_die(); 0: none */
    int             stop[2];
    pthread_t       thread;
    atomic_int      connections, requests;
};

static inline bool fake_read(struct fake_listener *f, int fd, uint8_t *p, size_t n)
{
    while (n > 0) {
        struct pollfd v[] = { { .fd = fd, .events = POLLIN }, { .fd = f->stop[0], .events = POLLIN } };
        ssize_t k;

        if (poll(v, 2, -1) < 0 || v[1].revents != 0)
            return false;
        k = recv(fd, p, n, 0);
        if (k <= 0)
            return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

static inline void fake_write(int fd, const uint8_t *p, size_t n, size_t at_once)
{
    while (n > 0) {
        ssize_t k = send(fd, p, n < at_once ? n : at_once, MSG_NOSIGNAL);

        if (k <= 0)
            return;
        p += k;
        n -= (size_t)k;
    }
}

/* false: the connection has ended. */
static inline bool fake_deed(struct fake_listener *f, int fd, enum fake_deed deed, uint8_t *frame, size_t n)
{
    struct linger hard = { 1, 0 };
    uint8_t byte;

    switch (deed) {
    case FAKE_RESET:
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        return false;
    case FAKE_CLOSE:
        return false;
    case FAKE_HALF:
        fake_write(fd, frame, n / 2, n);
        return false;
    case FAKE_HUGE:
        be_put32(frame, 0x7ffffff0);
        break;
    case FAKE_NEGATIVE:
        be_put32(frame, 0xfffffff0U);
        break;
    case FAKE_TINY:
        be_put32(frame, 3);
        break;
    case FAKE_OTHER:
        be_put32(frame + 4, be_get32(frame + 4) + 1);
        break;
    case FAKE_SILENT:
        (void)fake_read(f, fd, &byte, 1);
        return false;
    case FAKE_ANSWER: case FAKE_PIECES: case FAKE_MORE: case FAKE_CLOSE_AFTER:
        break;
    }
    fake_write(fd, frame, n + (deed == FAKE_MORE), deed == FAKE_PIECES ? 3 : n + 1);
    return deed != FAKE_CLOSE_AFTER;
}

static inline bool fake_serve_one(struct fake_listener *f, int fd, int connection)
{
    struct fake_request r = { .connection = connection };
    struct request_header h;
    uint8_t size[4], *in, *frame;
    struct arena a;
    struct chain out;
    struct cursor c;
    size_t head;
    bool goes_on;

    if (!fake_read(f, fd, size, sizeof size))
        return false;
    in = malloc(be_get32(size));
    goes_on = fake_read(f, fd, in, be_get32(size));
    arena_init(&a, (size_t)1 << 30);
    chain_init(&out, &a);
    if (goes_on) {
        c = cur_ro(in, be_get32(size));
        ck_assert_int_eq(header_read_request(&c, &a, &h), OK);
        snprintf(r.client_id, sizeof r.client_id, "%.*s", STR_ARG(h.client_id));
        r.api = h.request_api_key;
        r.version = h.request_api_version;
        r.body = (struct bytes){ c.p, cur_left(&c) };
        r.out = &out;
        r.arena = &a;
        atomic_fetch_add(&f->requests, 1);
        head = response_header_version(r.api, r.version) >= 1 ? 9 : 8;
        enum fake_deed deed = f->script(f, &r);
        frame = calloc(1, head + out.len + 1);
        be_put32(frame, (uint32_t)(head - 4 + out.len));
        be_put32(frame + 4, (uint32_t)h.correlation_id);
        ck_assert_int_eq(chain_flatten(&out, frame + head, out.len), OK);
        goes_on = fake_deed(f, fd, deed, frame, head + out.len);
        free(frame);
    }
    chain_fini(&out);
    arena_fini(&a);
    free(in);
    return goes_on;
}

static inline void *fake_main(void *arg)
{
    struct fake_listener *f = arg;

    while (true) {
        struct pollfd v[] = { { .fd = f->fd, .events = POLLIN }, { .fd = f->stop[0], .events = POLLIN } };
        int fd, connection;

        if (poll(v, 2, -1) < 0 || v[1].revents != 0)
            return NULL;
        fd = accept(f->fd, NULL, NULL);
        if (fd < 0)
            continue;
        connection = atomic_fetch_add(&f->connections, 1) + 1;
        while (fake_serve_one(f, fd, connection))
            ;
        close(fd);
    }
}

static inline int fake_bind(struct fake_listener *f)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons((uint16_t)f->port) };
    socklen_t len = sizeof at;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    f->port = ntohs(at.sin_port);
    return fd;
}

static inline void fake_listen(struct fake_listener *f)
{
    if (f->held == 0)
        f->held = fake_bind(f);
    f->fd = fake_bind(f);
    ck_assert_int_eq(listen(f->fd, 16), 0);
    ck_assert_int_eq(pipe(f->stop), 0);
    ck_assert_int_eq(pthread_create(&f->thread, NULL, fake_main, f), 0);
}

/* Like the end of a process: connections are closed, new ones refused. (The port is kept until the test ends: another
 * program could connect from it, or listen there.)
 */
static inline void fake_die(struct fake_listener *f)
{
    ck_assert_int_eq(write(f->stop[1], "x", 1), 1);
    pthread_join(f->thread, NULL);
    close(f->fd);
    close(f->stop[0]);
    close(f->stop[1]);
}

/* Waits until the condition holds; a state, not a time. */
#define WAIT_FOR(condition)                                                                                            \
    do {                                                                                                               \
        int64_t until_ = mono_ms() + 90000;                                                                            \
                                                                                                                       \
        while (!(condition)) {                                                                                         \
            ck_assert_msg(mono_ms() < until_, "never: " #condition);                                                   \
            poll(NULL, 0, 2);                                                                                          \
        }                                                                                                              \
    } while (0)

#endif
