/* tests/unit/broker/net/test_server.c - the network side over real sockets, with a handler of the test's own.
 *
 * A frame is the usual header (key, version, correlation id) and then what its key says; see handle(). Every answer is
 * the correlation id and a payload. */
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

enum key { ECHO, SILENT, CLOSE, PARK, PARK_CLOSED, BIG, FILED, RESUME, GATE, PARK_RESUME, RELEASE_ECHO };

#define FILE_BYTES (300 * 1024)
#define LOG_MAX    65536

static struct server *server;
static struct server_opts opts;
static struct listen_opts listens[2];

/* what the handler knows; any thread */
static pthread_mutex_t    mutex = PTHREAD_MUTEX_INITIALIZER;
static struct request    *parked[8192];
static int                parked_n;
static atomic_int         told_closed, handled;
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
    atomic_store(&gate_open, false);
    listens[0] = (struct listen_opts){ .name = "PLAINTEXT", .host = "127.0.0.1", .network_threads = 2 };
    listens[1] = (struct listen_opts){ .name = "SECOND", .host = "127.0.0.1", .network_threads = 2 };
    opts = (struct server_opts){
        .listeners = listens, .listeners_n = 1, .io_threads = 3, .queued_max_requests = 500,
        .request_max_bytes = 100 << 20, .send_buffer_bytes = -1, .receive_buffer_bytes = -1, .backlog = 50,
        .max_connections = INT32_MAX, .max_connections_per_ip = INT32_MAX, .max_idle_ms = 600000, .handle = handle,
    };
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
    struct timeval tv = { .tv_sec = 10 };
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

static void read_all(int s, void *p, size_t n)
{
    for (size_t at = 0; at < n; ) {
        ssize_t k = recv(s, (uint8_t *)p + at, n - at, 0);

        ck_assert_msg(k > 0, "the connection ended");
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
    ssize_t n = recv(s, &c, 1, 0);

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

/* ---- order, sizes, pieces ---- */

START_TEST(pipelined_answers_keep_their_order)
{
    enum { N = 3000 };
    static const enum key keys[] = { ECHO, RESUME, ECHO, SILENT, ECHO, ECHO, RESUME };
    static uint8_t out[N * 3000], body[2900];
    size_t len = 0;
    int s;

    start();
    s = dial();
    for (int i = 0; i < N; i++)
        len += frame(out + len, keys[i % 7], i, body, i % 50 == 0 ? sizeof body : (size_t)(i % 100) + 1);
    write_all(s, out, len);
    for (int i = 0; i < N; i++)
        if (keys[i % 7] != SILENT)
            expect(s, i, body, i % 50 == 0 ? sizeof body : (size_t)(i % 100) + 1);
    close(s);
    stop();
}
END_TEST

START_TEST(byte_by_byte)
{
    uint8_t out[64], in[16];
    size_t n;
    int s;

    start();
    s = dial();
    for (int round = 0; round < 3; round++) {
        n = frame(out, ECHO, round, "hello", 5);
        for (size_t i = 0; i < n; i++)
            write_all(s, out + i, 1);
        expect(s, round, in, 5);
        ck_assert_mem_eq(in, "hello", 5);
    }
    close(s);
    stop();
}
END_TEST

START_TEST(every_size_and_every_cut)
{
    static const size_t sizes[] = { 0, 1, 1523, 1524, 1527, 1528, 1529, 4000, 4096, 16384, 65515, 65516, 65524, 65536,
                                    70000, 300000, 1048576, 5000000, 20000000 };
    static uint8_t in[20000000];
    uint8_t *out = malloc(20000100);
    int s;

    start();
    s = dial();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t len = frame(out, ECHO, (int32_t)i, big, sizes[i]), cut = len * i / (sizeof sizes / sizeof sizes[0]);

        len += frame(out + len, ECHO, 1000, "tail", 4);
        write_all(s, out, cut);
        write_all(s, out + cut, len - cut);
        expect(s, (int32_t)i, in, sizes[i]);
        ck_assert(memcmp(in, big, sizes[i]) == 0);
        expect(s, 1000, in, 4);
        ck_assert_mem_eq(in, "tail", 4);
    }
    ask(s, RELEASE_ECHO, 5, big, 3000000);
    expect(s, 5, in, 8);
    close(s);
    free(out);
    stop();
}
END_TEST

START_TEST(files_are_sent_between_memory)           /* _i == 1: and must come from the disk */
{
    static uint8_t in[FILE_BYTES + 28];
    int s;

    opts.send_buffer_bytes = 8192;
    start();
    s = dial();
    fsync(file->fd);
    for (int i = 0; i < 20; i++)
        ask(s, FILED, i, NULL, 0);
    for (int i = 0; i < 20; i++) {
        if (_i == 1)
            posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
        expect(s, i, in, sizeof in);
        ck_assert_uint_eq(be_get32(in), FILE_BYTES);
        for (size_t k = 0; k < FILE_BYTES; k += 512)
            ck_assert_int_eq(in[4 + k], 'a' + (int)(k / 1024 % 26));
        ck_assert_uint_eq(be_get32(in + 4 + FILE_BYTES), 77);
        ck_assert_int_eq(in[sizeof in - 1], 'a');
    }
    close(s);
    stop();
}
END_TEST

START_TEST(a_slow_reader_stops_nobody)
{
    static uint8_t in[8 << 20];
    uint8_t n[4], one;
    int slow, quick;

    listens[0].network_threads = 1;
    opts.io_threads = 1;
    start();
    slow = dial();
    quick = dial();
    be_put32(n, sizeof in);
    for (int i = 0; i < 3; i++)
        ask(slow, BIG, i, n, 4);
    for (int i = 0; i < 100; i++) {
        ask(quick, ECHO, i, "x", 1);
        expect(quick, i, &one, 1);
    }
    for (int i = 0; i < 3; i++) {
        expect(slow, i, in, sizeof in);
        ck_assert(memcmp(in, big, sizeof in) == 0);
    }
    close(slow);
    close(quick);
    stop();
}
END_TEST

/* ---- parking ---- */

START_TEST(parked_in_the_middle_of_a_batch)
{
    uint8_t out[400], in[8];
    size_t len = 0;
    int s;

    start();
    s = dial();
    for (int round = 0; round < 20; round++) {
        len = 0;
        for (int i = 0; i < 9; i++)
            len += frame(out + len, i == 3 || i == 7 ? PARK : ECHO, i, "p", 1);
        write_all(s, out, len);
        for (int i = 0; i < 3; i++)
            expect(s, i, in, 1);        /* before the parked one has ended */
        WAIT_FOR(parked_now() == 1);
        reply(unpark(NULL), "later", 5);
        expect(s, 3, in, 5);
        for (int i = 4; i < 7; i++)
            expect(s, i, in, 1);
        WAIT_FOR(parked_now() == 1);
        request_resume(unpark(NULL), echo);
        expect(s, 7, in, 1);
        expect(s, 8, in, 1);
    }
    close(s);
    stop();
}
END_TEST

START_TEST(a_parked_request_hears_of_the_close)
{
    uint8_t out[64], in[8];
    size_t len;
    int s;

    start();
    s = dial();
    ask(s, PARK_CLOSED, 1, NULL, 0);
    WAIT_FOR(parked_now() == 1);
    close(s);
    WAIT_FOR(atomic_load(&told_closed) == 1 && server_connections(server) == 0);
    s = dial();                         /* with another behind it, which is never run */
    ask(s, ECHO, 1, "x", 1);
    expect(s, 1, in, 1);
    atomic_store(&handled, 0);
    len = frame(out, PARK_CLOSED, 1, NULL, 0);
    len += frame(out + len, ECHO, 2, NULL, 0);
    write_all(s, out, len);
    WAIT_FOR(parked_now() == 1);
    close(s);
    WAIT_FOR(atomic_load(&told_closed) == 2 && server_connections(server) == 0);
    ck_assert_int_eq(atomic_load(&handled), 1);
    stop();
}
END_TEST

START_TEST(the_answer_of_a_dead_connection_is_dropped)
{
    int s;

    start();
    s = dial();
    ask(s, PARK, 1, NULL, 0);
    WAIT_FOR(parked_now() == 1);
    struct linger hard = { .l_onoff = 1 };
    setsockopt(s, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(s);
    WAIT_FOR(server_connections(server) == 0);
    reply(unpark(NULL), "nobody", 6);
    stop();
}
END_TEST

START_TEST(half_closed_peers_get_their_answers)
{
    uint8_t out[64], in[4];
    size_t len;
    int s;

    start();
    s = dial();
    len = frame(out, ECHO, 1, "a", 1);
    len += frame(out + len, RESUME, 2, "b", 1);
    len += frame(out + len, ECHO, 3, "c", 1);
    write_all(s, out, len);
    shutdown(s, SHUT_WR);
    for (int i = 1; i <= 3; i++)
        expect(s, i, in, 1);
    expect_closed(s);
    stop();
}
END_TEST

/* ---- limits ---- */

START_TEST(a_full_queue_stops_reading_not_the_thread)
{
    enum { N = 12 };
    int s[N];
    uint8_t in[4];

    opts.queued_max_requests = 2;
    opts.io_threads = 1;
    start();
    for (int i = 0; i < N; i++) {
        s[i] = dial();
        ask(s[i], GATE, i, "g", 1);
        ask(s[i], ECHO, 100 + i, "e", 1);
    }
    WAIT_FOR(atomic_load(&handled) == 1);
    atomic_store(&gate_open, true);
    for (int i = 0; i < N; i++) {
        expect(s[i], i, in, 1);
        expect(s[i], 100 + i, in, 1);
        close(s[i]);
    }
    stop();
}
END_TEST

START_TEST(queued_max_request_bytes_holds_back)
{
    enum { N = 8 };
    static uint8_t in[200000];
    int s[N];

    opts.queued_max_request_bytes = 400000;
    opts.io_threads = 1;
    start();
    for (int i = 0; i < N; i++) {
        s[i] = dial();
        ask(s[i], i == 0 ? GATE : ECHO, i, big, i % 2 ? sizeof in : 60000);
    }
    atomic_store(&gate_open, true);
    for (int i = 0; i < N; i++) {
        expect(s[i], i, in, i % 2 ? sizeof in : 60000);
        close(s[i]);
    }
    stop();
}
END_TEST

/* The queue is full for its first request, and the memory in use for the one that it has begun to send. */
START_TEST(both_limits_hold_one_connection_back)
{
    static uint8_t out[60000], in[20000];
    int a, b, c, d;
    size_t n, part;

    opts.queued_max_requests = 1;
    opts.queued_max_request_bytes = 5000;
    opts.io_threads = 1;
    listens[0].network_threads = 1;
    start();
    a = dial();
    ask(a, GATE, 1, "g", 1);
    WAIT_FOR(atomic_load(&handled) == 1);
    b = dial();
    ask(b, ECHO, 2, "e", 1);
    c = dial();
    n = frame(out, ECHO, 3, big, 20000);
    part = n + frame(out + n, ECHO, 4, big, 20000);
    write_all(c, out, n + 100);
    d = dial();
    ask(d, ECHO, 5, "e", 1);
    atomic_store(&gate_open, true);
    expect(a, 1, in, 1);
    expect(b, 2, in, 1);
    expect(d, 5, in, 1);
    expect(c, 3, in, 20000);
    write_all(c, out + n + 100, part - n - 100);
    expect(c, 4, in, 20000);
    close(a);
    close(b);
    close(c);
    close(d);
    stop();
}
END_TEST

START_TEST(idle_connections_expire_busy_ones_do_not)
{
    uint8_t in[4];
    int idle, busy, rounds = 0;
    struct pollfd p;

    opts.max_idle_ms = 1000;            /* so long this machine does not stand still */
    start();
    idle = dial();
    busy = dial();
    p = (struct pollfd){ .fd = idle, .events = POLLIN };
    while (poll(&p, 1, 5) == 0) {
        ask(busy, ECHO, rounds, "b", 1);
        expect(busy, rounds++, in, 1);
    }
    ck_assert_int_gt(rounds, 5);
    expect_closed(idle);
    ask(busy, ECHO, -1, "b", 1);
    expect(busy, -1, in, 1);
    close(busy);
    stop();
}
END_TEST

START_TEST(a_slow_sender_is_not_idle)
{
    uint8_t out[64], in[32];
    int64_t since = mono_ms();
    struct pollfd p;
    size_t n;
    int s;

    opts.max_idle_ms = 1000;
    start();
    s = dial();
    p = (struct pollfd){ .fd = s, .events = POLLIN };
    n = frame(out, ECHO, 1, "0123456789abcdef", 16);
    for (size_t i = 0; i < n; i++) {
        write_all(s, out + i, 1);
        ck_assert(poll(&p, 1, 80) == 0 || i == n - 1);
    }
    ck_assert_int_gt(mono_ms() - since, 2000);
    expect(s, 1, in, 16);
    close(s);
    stop();
}
END_TEST

START_TEST(connections_of_one_address)
{
    static const struct server_ip_limit other = { "127.0.0.2", 1 };
    uint8_t in[4];
    int a, b;

    opts.max_connections_per_ip = 2;
    opts.ip_limits = &other;
    opts.ip_limits_n = 1;
    start();
    a = dial();
    b = dial();
    ask(a, ECHO, 1, "a", 1);
    expect(a, 1, in, 1);
    ask(b, ECHO, 1, "b", 1);
    expect(b, 1, in, 1);
    expect_closed(dial());
    expect_log("max.connections.per.ip", "refused");
    close(a);
    WAIT_FOR(server_connections(server) == 1);
    a = dial();
    ask(a, ECHO, 2, "a", 1);
    expect(a, 2, in, 1);
    close(a);
    close(b);
    stop();
}
END_TEST

START_TEST(max_connections_wait_their_turn)
{
    uint8_t in[4];
    struct pollfd p;
    int a, b;

    opts.max_connections = 1;
    start();
    a = dial();
    ask(a, ECHO, 1, "a", 1);
    expect(a, 1, in, 1);
    b = dial();                         /* in the kernel's backlog */
    ask(b, ECHO, 2, "b", 1);
    p = (struct pollfd){ .fd = b, .events = POLLIN };
    ck_assert_int_eq(poll(&p, 1, 50), 0);
    close(a);
    expect(b, 2, in, 1);
    close(b);
    stop();
}
END_TEST

START_TEST(a_full_listener_does_not_close_the_other)
{
    uint8_t in[4];
    struct pollfd p;
    int a, b, c;

    opts.listeners_n = 2;
    listens[0].max_connections = 1;
    start();
    a = dial_port(server_port(server, 0));
    ask(a, ECHO, 1, "a", 1);
    expect(a, 1, in, 1);
    b = dial_port(server_port(server, 0));
    ask(b, ECHO, 2, "b", 1);
    p = (struct pollfd){ .fd = b, .events = POLLIN };
    ck_assert_int_eq(poll(&p, 1, 50), 0);
    c = dial_port(server_port(server, 1));
    ask(c, ECHO, 3, "c", 1);
    expect(c, 3, in, 1);
    close(a);
    expect(b, 2, in, 1);
    close(b);
    close(c);
    stop();
}
END_TEST

START_TEST(the_inter_broker_listener_pushes_others_out)
{
    uint8_t in[4];
    int a, b;

    opts.listeners_n = 2;
    opts.max_connections = 1;
    listens[1].inter_broker = true;
    start();
    a = dial_port(server_port(server, 0));
    ask(a, ECHO, 1, "a", 1);
    expect(a, 1, in, 1);
    b = dial_port(server_port(server, 1));
    ask(b, ECHO, 2, "b", 1);
    expect(b, 2, in, 1);
    expect_closed(a);
    close(b);
    stop();
}
END_TEST

START_TEST(creation_rate_is_kept)
{
    int64_t since = mono_ms();
    uint8_t in[4];

    opts.max_creation_rate = 20;
    start();
    for (int i = 0; i < 30; i++) {      /* 20 at once, then one in 50 ms */
        int s = dial();

        ask(s, ECHO, i, "r", 1);
        expect(s, i, in, 1);
        close(s);
    }
    ck_assert_int_ge(mono_ms() - since, 400);
    stop();
}
END_TEST

/* ---- what nobody should send ---- */

static const struct hostile {
    const char *bytes;
    size_t      n;
    const char *log;
} hostile[] = {
    { "\x7f\xff\xff\xff", 4, "2147483647 bytes" },
    { "\xff\xff\xff\xff", 4, "-1 bytes" },
    { "\x80\x00\x00\x00\x00\x00", 6, "-2147483648 bytes" },
    { "\x00\x00\x00\x00", 4, "0 bytes" },
    { "\x00\x00\x00\x07", 4, "7 bytes" },
    { "\x06\x40\x00\x01", 4, "socket.request.max.bytes=104857600" },
    { "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11, "TLS" },
    { "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, "HTTP" },
    { "POST /topics HTTP/1.1\r\n\r\n", 25, "HTTP" },
    { "SSH-2.0-OpenSSH_9.2\r\n", 21, "SSH" },
    { "\x00\x00\x00\x0a\x00\x02\x00\x00\x00\x00\x00\x01" "xy", 14, "the test says so" },
};

START_TEST(hostile_frames_close_their_connection_only)
{
    uint8_t in[8];
    int good, bad;

    opts.request_max_bytes = 104857600;
    start();
    good = dial();
    ask(good, ECHO, 1, "x", 1);
    expect(good, 1, in, 1);
    bad = dial();
    write_all(bad, hostile[_i].bytes, hostile[_i].n);
    expect_closed(bad);
    expect_log(": closed: ", hostile[_i].log);
    ask(good, ECHO, 2, "y", 1);
    expect(good, 2, in, 1);
    close(good);
    stop();
}
END_TEST

START_TEST(tls_and_http_are_seen_whatever_the_limit)
{
    int s;

    opts.request_max_bytes = INT32_MAX;
    start();
    s = dial();
    write_all(s, "\x16\x03\x01\x02\x00\x01", 6);
    expect_closed(s);
    expect_log("TLS", "security.protocol");
    s = dial();
    write_all(s, "GET / HTTP/1.1\r\n", 16);
    expect_closed(s);
    expect_log("HTTP", "closed");
    stop();
}
END_TEST

START_TEST(a_truncated_frame_is_told)
{
    uint8_t out[64];
    int s;

    start();
    s = dial();
    frame(out, ECHO, 1, "0123456789", 10);
    write_all(s, out, 15);
    shutdown(s, SHUT_WR);
    expect_closed(s);
    expect_log("inside a request", "15 bytes");
    stop();
}
END_TEST

START_TEST(a_bad_frame_behind_good_ones)
{
    int64_t since, took = INT64_MAX;
    uint8_t out[64], in[8];
    size_t n;
    int s;

    start();
    s = dial();
    n = frame(out, ECHO, 1, "a", 1);
    n += frame(out + n, ECHO, 2, "b", 1);
    memset(out + n, 0xff, 8);
    write_all(s, out, n + 8);
    expect(s, 1, in, 1);
    expect(s, 2, in, 1);
    expect_closed(s);
    n = frame(out, ECHO, 1, "a", 1);    /* what is behind a request that closes is not run */
    n += frame(out + n, CLOSE, 2, "b", 1);
    n += frame(out + n, ECHO, 3, "c", 1);
    /* At once, not when the thread looks around again; if not always, where there is other work. */
    for (int i = 0; took >= 500; i++) {
        ck_assert_int_lt(i, 5);
        s = dial();
        atomic_store(&handled, 0);
        since = mono_ms();
        write_all(s, out, n);
        expect(s, 1, in, 1);
        expect_closed(s);
        took = mono_ms() - since;
        ck_assert_int_eq(atomic_load(&handled), 2);
    }
    stop();
}
END_TEST

static long resident_kb(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    ck_assert_int_eq(fscanf(f, "%*d %ld", &pages), 1);
    fclose(f);
    return pages * 4;
}

START_TEST(an_announced_length_costs_nothing)
{
    enum { N = 50 };
    uint8_t out[64], in[4];
    long before;
    int s[N];

    start();
    for (int i = 0; i < N; i++)
        s[i] = dial();
    ask(s[0], ECHO, 1, "x", 1);
    expect(s[0], 1, in, 1);
    before = resident_kb();
    frame(out, ECHO, 1, NULL, 0);
    be_put32(out, 100 << 20);
    for (int i = 0; i < N; i++)
        write_all(s[i], out, 20);
    for (int i = 0; i < N; i++) {       /* the last byte has been read when the peer's end is seen */
        shutdown(s[i], SHUT_WR);
        expect_closed(s[i]);
    }
    ck_assert_int_lt(resident_kb() - before, 4096);
    stop();
}
END_TEST

/* ---- the stop ---- */

START_TEST(drain_answers_what_is_in_work)
{
    uint8_t in[8];
    int busy, idle, port;

    start();
    busy = dial();
    idle = dial();
    port = server_port(server, 0);
    ask(idle, ECHO, 1, "i", 1);
    expect(idle, 1, in, 1);
    ask(busy, GATE, 1, "g", 1);
    WAIT_FOR(atomic_load(&handled) == 2);
    server_drain(server);
    expect_closed(idle);
    atomic_store(&gate_open, true);
    expect(busy, 1, in, 1);
    expect_closed(busy);
    server_free(&server, 1000);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int s = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_lt(connect(s, (struct sockaddr *)&a, sizeof a), 0);
    close(s);
    stop();
}
END_TEST

START_TEST(a_port_in_use_is_told)
{
    struct server *second = NULL;
    char text[1024];
    ssize_t n;

    start();
    listens[0].port = server_port(server, 0);
    ck_assert_int_ne(server_new(&second, &opts), OK);
    ck_assert_ptr_null(second);
    n = read(log_pipe[0], text, sizeof text - 1);
    ck_assert_int_gt(n, 0);
    text[n] = '\0';
    ck_assert_msg(strstr(text, "another program") != NULL && strstr(text, "PLAINTEXT") != NULL, "%s", text);
    stop();
}
END_TEST

/* ---- everything at once ---- */

static void *storm(void *arg)
{
    unsigned seed = *(unsigned *)arg;
    uint8_t out[16384], in[4096];

    for (int round = 0; round < 60; round++) {
        int s = dial(), n = rand_r(&seed) % 40, sent = 0;
        size_t len = 0;

        for (int i = 0; i < n; i++) {
            int what = rand_r(&seed) % 12;
            enum key key = what < 6 ? ECHO : what < 8 ? RESUME : what < 9 ? SILENT : what < 11 ? PARK_CLOSED : CLOSE;

            len += frame(out + len, key, i, big, (size_t)(rand_r(&seed) % 300));
            sent++;
        }
        send(s, out, len, MSG_NOSIGNAL);
        for (int i = rand_r(&seed) % (sent + 1); i > 0; i--)
            if (recv(s, in, (size_t)(rand_r(&seed) % 2000) + 1, MSG_DONTWAIT) == 0)
                break;
        close(s);
    }
    return NULL;
}

START_TEST(storm_of_clients_that_come_and_go)
{
    pthread_t t[4];
    unsigned seeds[4] = { 1, 2, 3, 4 };
    struct request *r;

    opts.queued_max_requests = 4;
    start();
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, storm, &seeds[i]);
    WAIT_FOR((r = unpark(NULL)) == NULL || (reply(r, "s", 1), false));
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    WAIT_FOR(server_connections(server) == 0);
    stop();
}
END_TEST

static TCase *tcase(Suite *s, const char *name)
{
    TCase *t = tcase_create(name);

    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, defaults, NULL);
    suite_add_tcase(s, t);
    return t;
}

int main(void)
{
    Suite *s = suite_create("broker/net");
    TCase *t = tcase(s, "order");
    SRunner *r;
    int failed;

    tcase_add_test(t, pipelined_answers_keep_their_order);
    tcase_add_test(t, byte_by_byte);
    tcase_add_test(t, every_size_and_every_cut);
    tcase_add_loop_test(t, files_are_sent_between_memory, 0, 2);
    tcase_add_test(t, a_slow_reader_stops_nobody);
    t = tcase(s, "parking");
    tcase_add_test(t, parked_in_the_middle_of_a_batch);
    tcase_add_test(t, a_parked_request_hears_of_the_close);
    tcase_add_test(t, the_answer_of_a_dead_connection_is_dropped);
    tcase_add_test(t, half_closed_peers_get_their_answers);
    t = tcase(s, "limits");
    tcase_add_test(t, a_full_queue_stops_reading_not_the_thread);
    tcase_add_test(t, queued_max_request_bytes_holds_back);
    tcase_add_test(t, both_limits_hold_one_connection_back);
    tcase_add_test(t, idle_connections_expire_busy_ones_do_not);
    tcase_add_test(t, a_slow_sender_is_not_idle);
    tcase_add_test(t, connections_of_one_address);
    tcase_add_test(t, max_connections_wait_their_turn);
    tcase_add_test(t, a_full_listener_does_not_close_the_other);
    tcase_add_test(t, the_inter_broker_listener_pushes_others_out);
    tcase_add_test(t, creation_rate_is_kept);
    t = tcase(s, "hostile");
    tcase_add_loop_test(t, hostile_frames_close_their_connection_only, 0, sizeof hostile / sizeof hostile[0]);
    tcase_add_test(t, tls_and_http_are_seen_whatever_the_limit);
    tcase_add_test(t, a_truncated_frame_is_told);
    tcase_add_test(t, a_bad_frame_behind_good_ones);
    tcase_add_test(t, an_announced_length_costs_nothing);
    t = tcase(s, "stop");
    tcase_add_test(t, drain_answers_what_is_in_work);
    tcase_add_test(t, a_port_in_use_is_told);
    tcase_add_test(t, storm_of_clients_that_come_and_go);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
