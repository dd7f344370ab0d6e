/* tests/unit/broker/net/kit.h - a server with a handler of the test's own, and its clients, over real sockets.
 *
 * A frame is the usual header (key, version, correlation id) and then what its key says; see handle(). Every answer is
 * the correlation id and a payload. */
#ifndef TESTS_UNIT_BROKER_NET_KIT_H
#define TESTS_UNIT_BROKER_NET_KIT_H

#include "broker/net/request.h"
#include "broker/net/server.h"

#include "base/clock.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum key { ECHO, SILENT, CLOSE, PARK, PARK_CLOSED, BIG, FILED, RESUME, GATE, PARK_RESUME, RELEASE_ECHO, LET_NEXT,
           AFTER };

#define FILE_BYTES (300 * 1024)
#define LOG_MAX    65536

static struct server *server;
static struct server_opts opts;
static struct listen_opts listens[2];
static struct server_listener_limit own[2];     /* of `listens` */

/* what the handler knows; any thread */
static pthread_mutex_t    mutex = PTHREAD_MUTEX_INITIALIZER;
static struct request    *parked[8192];
static int                parked_n;
static atomic_int         told_closed, handled, afters, afters_before;
static atomic_bool        gate_open;
static struct file_ref   *file;
static uint8_t            big[32 << 20];
static int                log_pipe[2];

static void reply(struct request *r, const void *p, size_t n)
{
    struct chain c;

    chain_init(&c, &r->arena);
    chain_ref(&c, p, n);
    request_reply(r, &c);
}

static void echo(struct broker *b, struct request *r)
{
    (void)b;
    reply(r, r->body.p, cur_left(&r->body));
}

static void park(struct request *r)
{
    pthread_mutex_lock(&mutex);
    parked[parked_n++] = r;
    pthread_mutex_unlock(&mutex);
}

static struct request *unpark(struct request *which)
{
    struct request *r = NULL;

    pthread_mutex_lock(&mutex);
    for (int i = 0; i < parked_n; i++) {
        if (which == NULL || parked[i] == which) {
            r = parked[i];
            parked[i] = parked[--parked_n];
            break;
        }
    }
    pthread_mutex_unlock(&mutex);
    return r;
}

static int parked_now(void)
{
    int n;

    pthread_mutex_lock(&mutex);
    n = parked_n;
    pthread_mutex_unlock(&mutex);
    return n;
}

static void on_closed(struct request *r, void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
    if (unpark(r) != NULL)
        request_close(r, NULL);
}

static void reply_file(struct request *r)
{
    struct chain c;

    chain_init(&c, &r->arena);
    chain_i32(&c, FILE_BYTES);
    chain_slice(&c, (struct slice){ .file = file, .pos = 0, .len = FILE_BYTES });
    chain_i32(&c, 77);
    chain_slice(&c, (struct slice){ .file = file, .pos = 10, .len = 20 });
    request_reply(r, &c);
}

static void on_after(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void handle(struct broker *b, struct request *r)
{
    enum key key;

    r->api_key = cur_i16(&r->body);
    r->version = cur_i16(&r->body);
    r->correlation_id = cur_i32(&r->body);
    key = (enum key)r->api_key;
    atomic_fetch_add(&handled, 1);
    switch (key) {
    case ECHO:
        echo(b, r);
        break;
    case RELEASE_ECHO: {
        int64_t first = cur_i64(&r->body);

        request_release_body(r);
        reply(r, memcpy(arena_alloc(&r->arena, 8), &first, 8), 8);
        break;
    }
    case SILENT:
        request_no_reply(r);
        break;
    case CLOSE:
        request_close(r, "the test says so");
        break;
    case PARK:
        park(r);
        break;
    case PARK_CLOSED:
        if (!request_on_close(r, on_closed, &told_closed))
            request_close(r, NULL);
        else
            park(r);
        break;
    case BIG:
        reply(r, big, (size_t)cur_i32(&r->body));
        break;
    case FILED:
        reply_file(r);
        break;
    case RESUME:
        request_resume(r, echo);
        break;
    case GATE:
        while (!atomic_load(&gate_open))
            poll(NULL, 0, 1);
        echo(b, r);
        break;
    case PARK_RESUME:
        park(r);
        break;
    case LET_NEXT:
        request_let_next(r);
        if (!request_on_close(r, on_closed, &told_closed))
            request_close(r, NULL);
        else
            park(r);
        break;
    case AFTER:
        request_after(r, on_after, &afters);
        atomic_store(&afters_before, atomic_load(&afters));
        echo(b, r);
        break;
    }
}

/* ---- the fixture ---- */

static void defaults(void)
{
    char name[] = "/tmp/klamm-test-XXXXXX", block[1024];
    int fd = mkstemp(name);

    unlink(name);
    for (int i = 0; i < FILE_BYTES / 1024; i++) {
        memset(block, 'a' + i % 26, sizeof block);
        ck_assert_int_eq(write(fd, block, sizeof block), sizeof block);
    }
    file = file_ref_new(fd);
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (uint8_t)(i * 7);
    ck_assert_int_eq(pipe2(log_pipe, O_CLOEXEC | O_NONBLOCK), 0);
    log_to_fd(log_pipe[1]);
    parked_n = 0;
    atomic_store(&handled, 0);
    atomic_store(&told_closed, 0);
    atomic_store(&afters, 0);
    atomic_store(&gate_open, false);
    listens[0] = (struct listen_opts){ .name = "PLAINTEXT", .host = "127.0.0.1", .network_threads = 2 };
    listens[1] = (struct listen_opts){ .name = "SECOND", .host = "127.0.0.1", .network_threads = 2 };
    opts = (struct server_opts){
        .listeners = listens, .listeners_n = 1, .io_threads = 3, .queued_max_requests = 500,
        .request_max_bytes = 100 << 20, .send_buffer_bytes = -1, .receive_buffer_bytes = -1, .backlog = 50,
        .limits = { .listeners = own, .max_connections = INT32_MAX, .max_connections_per_ip = INT32_MAX },
        .max_idle_ms = 600000, .handle = handle,
    };
    memset(own, 0, sizeof own);
}

static void start(void)
{
    ck_assert_int_eq(server_new(&server, &opts), OK);
    server_accept(server);
}

static void stop(void)
{
    struct request *r;

    atomic_store(&gate_open, true);
    if (server != NULL)
        server_drain(server);
    while ((r = unpark(NULL)) != NULL)
        request_close(r, NULL);
    server_free(&server, 1000);
    file_unref(&file);
    log_to_fd(STDOUT_FILENO);
    close(log_pipe[0]);
    close(log_pipe[1]);
}

#define WAIT_FOR(what)                                                                      \
    do {                                                                                    \
        int64_t end_ = mono_ms() + 60000;                                                   \
        while (!(what)) {                                                                   \
            ck_assert_msg(mono_ms() < end_, "waited in vain for %s", #what);                \
            poll(NULL, 0, 1);                                                               \
        }                                                                                   \
    } while (0)

static int dial_port(int port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct timeval tv = { .tv_sec = 60 };      /* only what hangs is ended by it */
    int one = 1, s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    ck_assert_int_eq(connect(s, (struct sockaddr *)&a, sizeof a), 0);
    return s;
}

static int dial(void)
{
    return dial_port(server_port(server, 0));
}

static size_t frame(uint8_t *out, enum key key, int32_t id, const void *body, size_t n)
{
    be_put32(out, (uint32_t)(8 + n));
    be_put16(out + 4, (uint16_t)key);
    be_put16(out + 6, 0);
    be_put32(out + 8, (uint32_t)id);
    if (n > 0)
        memcpy(out + 12, body, n);
    return 12 + n;
}

static void write_all(int s, const void *p, size_t n)
{
    for (size_t at = 0; at < n; ) {
        ssize_t k = send(s, (const uint8_t *)p + at, n - at, MSG_NOSIGNAL);

        ck_assert_int_gt(k, 0);
        at += (size_t)k;
    }
}

static void ask(int s, enum key key, int32_t id, const void *body, size_t n)
{
    uint8_t *out = malloc(12 + n);

    write_all(s, out, frame(out, key, id, body, n));
    free(out);
}

/* With a timeout, recv() ends with EINTR when the process has been stopped and goes on. */
static ssize_t read_some(int s, void *p, size_t n)
{
    ssize_t k;

    do
        k = recv(s, p, n, 0);
    while (k < 0 && errno == EINTR);
    return k;
}

static void read_all(int s, void *p, size_t n)
{
    for (size_t at = 0; at < n; ) {
        ssize_t k = read_some(s, (uint8_t *)p + at, n - at);

        ck_assert_msg(k > 0, k < 0 && errno == EAGAIN ? "nothing came" : "the connection ended");
        at += (size_t)k;
    }
}

/* The next answer has this id and n bytes, which are put into out. */
static void expect(int s, int32_t id, void *out, size_t n)
{
    uint8_t head[8];

    read_all(s, head, sizeof head);
    ck_assert_int_eq((int32_t)be_get32(head + 4), id);
    ck_assert_uint_eq(be_get32(head), 4 + n);
    read_all(s, out, n);
}

static void expect_closed(int s)
{
    char c;
    ssize_t n = read_some(s, &c, 1);

    ck_assert_msg(n == 0 || (n < 0 && errno == ECONNRESET), "the connection is still open");
    close(s);
}

/* The log holds one line with all of this. */
static void expect_log(const char *a, const char *b)
{
    char text[LOG_MAX];
    ssize_t n = read(log_pipe[0], text, sizeof text - 1);

    ck_assert_int_gt(n, 0);
    text[n] = '\0';
    ck_assert_msg(strstr(text, a) != NULL && strstr(text, b) != NULL, "the log says: %s", text);
    ck_assert_ptr_nonnull(strstr(text, "PLAINTEXT 127.0.0.1:"));
    ck_assert_ptr_eq(strchr(text, '\n'), text + n - 1);
}

#endif
