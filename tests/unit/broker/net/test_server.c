/* tests/unit/broker/net/test_server.c - the network side over real sockets, with the handler of kit.h. */
#include "tests/unit/broker/net/kit.h"

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

static struct request *unpark_id(int32_t id)
{
    struct request *r = NULL;

    pthread_mutex_lock(&mutex);
    for (int i = 0; i < parked_n && r == NULL; i++)
        if (parked[i]->correlation_id == id)
            r = parked[i];
    pthread_mutex_unlock(&mutex);
    return r != NULL ? unpark(r) : NULL;
}

/* Ends it here, or has another thread do it; with its answer, if this thread sends it. */
static void end_parked(int32_t id, int how)
{
    struct request *r = unpark_id(id);

    ck_assert_ptr_nonnull(r);
    if (how % 3 == 0) {
        request_resume(r, echo);
        return;
    }
    if (how % 3 == 1)
        request_end_here(r);
    echo(NULL, r);
}

/* Requests of middle size and small ones; some let the next be run before they are ended, in whatever order. */
START_TEST(those_after_a_parked_one_are_run_and_answers_keep_their_order)
{
    enum { N = 24, SIZE = 9000 };
    static uint8_t out[N * (SIZE + 12)], in[SIZE];
    unsigned seed = (unsigned)_i + 1;
    int s;

    start();
    s = dial();
    for (int round = 0; round < 30; round++) {
        bool parks[N];
        size_t len = 0, size[N];
        int left = 0, order[N];

        for (int i = 0; i < N; i++) {
            parks[i] = rand_r(&seed) % 2 == 0;
            size[i] = rand_r(&seed) % 3 == 0 ? (size_t)rand_r(&seed) % SIZE : 5;
            len += frame(out + len, parks[i] ? LET_NEXT : rand_r(&seed) % 2 == 0 ? ECHO : RESUME, i, big, size[i]);
            if (parks[i])
                order[left++] = i;
        }
        write_all(s, out, len);
        while (left > 0) {              /* any that is parked; those of a later batch may not be yet */
            int k = rand_r(&seed) % left, id = order[k];
            bool here;

            pthread_mutex_lock(&mutex);
            here = false;
            for (int i = 0; i < parked_n; i++)
                here |= parked[i]->correlation_id == id;
            pthread_mutex_unlock(&mutex);
            if (!here) {
                poll(NULL, 0, 1);
                continue;
            }
            end_parked(id, rand_r(&seed));
            order[k] = order[--left];
        }
        for (int i = 0; i < N; i++) {
            expect(s, i, in, size[i]);
            ck_assert(memcmp(in, big, size[i]) == 0);
        }
    }
    close(s);
    stop();
}
END_TEST

/* Both are parked, with one behind them that was run: the end of the connection reaches all. */
START_TEST(the_end_of_a_connection_reaches_all_that_are_parked)
{
    uint8_t out[200];
    size_t len = 0;
    int s;

    start();
    s = dial();
    len += frame(out, LET_NEXT, 0, "a", 1);
    len += frame(out + len, LET_NEXT, 1, "b", 1);
    len += frame(out + len, _i == 0 ? ECHO : CLOSE, 2, "c", 1);
    write_all(s, out, len);
    WAIT_FOR(atomic_load(&handled) == 3 && parked_now() == 2);
    if (_i == 2)
        request_close(unpark_id(0), NULL);      /* before the others */
    else
        close(s);
    WAIT_FOR(server_connections(server) == 0);
    WAIT_FOR(parked_now() == 0);
    if (_i == 2)
        close(s);
    stop();
}
END_TEST

START_TEST(afters_come_after_the_batch)
{
    uint8_t out[800], in[8];
    size_t len = 0;
    int s;

    opts.io_threads = 1;
    start();
    s = dial();
    for (int i = 0; i < 20; i++)
        len += frame(out + len, AFTER, i, "x", 1);
    write_all(s, out, len);
    for (int i = 0; i < 20; i++)
        expect(s, i, in, 1);
    WAIT_FOR(atomic_load(&afters) == 20);
    ask(s, AFTER, 99, "x", 1);          /* alone: at once */
    expect(s, 99, in, 1);
    ck_assert_int_eq(atomic_load(&afters_before), 21);
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

/* Of connections that are closed after a second: a machine that stands still for so long spoils a try. */
enum { IDLE_MS = 1000, IDLE_TRIES = 20 };

/* false: the connection has ended. */
static bool echoes(int s, int32_t id)
{
    uint8_t out[64], in[9];
    size_t n = frame(out, ECHO, id, "b", 1), at = 0;
    ssize_t k = send(s, out, n, MSG_NOSIGNAL);

    while (k > 0 && at < sizeof in) {
        k = read_some(s, in + at, sizeof in - at);
        at += k > 0 ? (size_t)k : 0;
    }
    if (k <= 0)
        return false;
    ck_assert_int_eq((int32_t)be_get32(in + 4), id);
    return true;
}

static bool only_the_idle_one_expires(void)
{
    int idle = dial(), busy = dial(), rounds = 0;
    struct pollfd p = { .fd = idle, .events = POLLIN };
    bool open = true;

    while (poll(&p, 1, 5) == 0)
        open = open && echoes(busy, rounds++);
    expect_closed(idle);
    open = open && rounds > 5 && echoes(busy, -1);
    close(busy);
    return open;
}

START_TEST(idle_connections_expire_busy_ones_do_not)
{
    opts.max_idle_ms = IDLE_MS;
    start();
    for (int i = 0; !only_the_idle_one_expires(); i++)
        ck_assert_int_lt(i, IDLE_TRIES);
    stop();
}
END_TEST

static bool sends_slowly(void)
{
    int64_t since = mono_ms();
    uint8_t out[64], in[64];
    size_t n = frame(out, ECHO, 1, "0123456789abcdef", 16), at = 0;
    int s = dial();
    struct pollfd p = { .fd = s, .events = POLLIN };
    bool open = true;
    ssize_t k = 0;

    for (size_t i = 0; i < n && open; i++)
        open = send(s, out + i, 1, MSG_NOSIGNAL) == 1 && (poll(&p, 1, 80) == 0 || i == n - 1);
    ck_assert(!open || mono_ms() - since > 2 * IDLE_MS);
    while (open && at < 24 && (k = read_some(s, in + at, sizeof in - at)) > 0)
        at += (size_t)k;
    close(s);
    return at == 24;
}

START_TEST(a_slow_sender_is_not_idle)
{
    opts.max_idle_ms = IDLE_MS;
    start();
    for (int i = 0; !sends_slowly(); i++)
        ck_assert_int_lt(i, IDLE_TRIES);
    stop();
}
END_TEST

START_TEST(connections_of_one_address)
{
    static const struct server_ip_limit other = { "127.0.0.2", 1 };
    uint8_t in[4];
    int a, b;

    opts.limits.max_connections_per_ip = 2;
    opts.limits.ip_limits = &other;
    opts.limits.ip_limits_n = 1;
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

    opts.limits.max_connections = 1;
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
    own[0].max_connections = 1;
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
    opts.limits.max_connections = 1;
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

    opts.limits.max_creation_rate = 20;
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

/* ---- what changes while it runs ---- */

START_TEST(what_came_without_a_rate_is_not_owed_to_it)
{
    struct server_limits now;
    uint8_t in[4];

    opts.limits.max_creation_rate = 10;
    start();
    now = opts.limits;
    for (int i = 0; i < 1000; i++) {
        int s = dial();

        ask(s, ECHO, i, "r", 1);
        expect(s, i, in, 1);
        close(s);
        if (i == 0 || i == 998) {
            now.max_creation_rate = i == 0 ? 0 : 10;
            ck_assert_int_eq(server_limit(server, &now), OK);
        }
    }
    stop();
}
END_TEST

START_TEST(limits_change_while_it_runs)
{
    static const struct server_ip_limit none = { "127.0.0.1", 0 };
    static const struct server_listener_limit three[2] = { { 3, 0 }, { 0, 0 } };
    struct server_limits now;
    uint8_t in[4];
    struct pollfd p;
    int a, b, c;

    own[0].max_connections = 1;
    opts.limits.max_creation_rate = 1000;
    start();
    now = opts.limits;
    a = dial();
    ask(a, ECHO, 1, "a", 1);
    expect(a, 1, in, 1);
    b = dial();                         /* in the kernel's backlog, until there is room */
    ask(b, ECHO, 2, "b", 1);
    p = (struct pollfd){ .fd = b, .events = POLLIN };
    ck_assert_int_eq(poll(&p, 1, 50), 0);
    now.listeners = three;
    ck_assert_int_eq(server_limit(server, &now), OK);
    expect(b, 2, in, 1);
    now.max_connections_per_ip = 2;
    ck_assert_int_eq(server_limit(server, &now), OK);
    expect_closed(dial());
    now.max_connections_per_ip = INT32_MAX;
    now.ip_limits = &none;
    now.ip_limits_n = 1;
    ck_assert_int_eq(server_limit(server, &now), OK);
    expect_closed(dial());
    now.ip_limits_n = 0;                /* and the two are still counted */
    now.max_connections_per_ip = 3;
    ck_assert_int_eq(server_limit(server, &now), OK);
    c = dial();
    ask(c, ECHO, 3, "c", 1);
    expect(c, 3, in, 1);
    now.max_connections = 1;            /* those that are too many go, and the rest is served */
    ck_assert_int_eq(server_limit(server, &now), OK);
    WAIT_FOR(server_connections(server) == 1);
    now.max_connections = 0;
    ck_assert_int_eq(server_limit(server, &now), OK);
    WAIT_FOR(server_connections(server) == 0);
    expect_closed(a);
    expect_closed(b);
    expect_closed(c);
    stop();
}
END_TEST

/* How many requests are worked on at a time: at least so many, which is waited for. */
static int at_gate(int asked, int least)
{
    int s[16], most;
    uint8_t in[4];

    ck_assert_int_le(asked, 16);
    atomic_store(&gate_open, false);
    atomic_store(&handled, 0);
    for (int i = 0; i < asked; i++) {
        s[i] = dial();
        ask(s[i], GATE, i, "g", 1);
    }
    WAIT_FOR(atomic_load(&handled) >= least);
    poll(NULL, 0, 100);                 /* more than there are threads do not come, however long we wait */
    most = atomic_load(&handled);
    atomic_store(&gate_open, true);
    for (int i = 0; i < asked; i++) {
        expect(s[i], i, in, 1);
        close(s[i]);
    }
    return most;
}

START_TEST(io_threads_come_and_go)
{
    opts.io_threads = 2;
    start();
    ck_assert_int_eq(at_gate(8, 2), 2);
    ck_assert_int_eq(server_set_io_threads(server, 5), OK);
    ck_assert_int_eq(at_gate(8, 5), 5);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(server_set_io_threads(server, 1 + i % 7), OK);
        ck_assert_int_le(at_gate(8, 1), 7);
    }
    ck_assert_int_eq(server_set_io_threads(server, 1), OK);
    WAIT_FOR(at_gate(4, 1) == 1);
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
        ck_assert_int_lt(i, 20);
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

static void *open_gate_late(void *arg)
{
    (void)arg;
    poll(NULL, 0, 3000);
    atomic_store(&gate_open, true);
    return NULL;
}

/* What it works with is freed when server_free() returns. */
START_TEST(a_stop_waits_for_a_handler_that_waits_for_a_disk)
{
    char text[1024] = "";
    pthread_t t;
    int s;

    start();
    s = dial();
    ask(s, GATE, 1, "g", 1);
    WAIT_FOR(atomic_load(&handled) == 1);
    ck_assert_int_eq(pthread_create(&t, NULL, open_gate_late, NULL), 0);
    server_free(&server, 0);
    ck_assert(atomic_load(&gate_open));
    ck_assert_int_lt(read(log_pipe[0], text, sizeof text - 1), 0);
    pthread_join(t, NULL);
    close(s);
    stop();
}
END_TEST

START_TEST(who_is_sent_away_may_come_back)
{
    int busy, idle, broker;
    uint8_t in[8];

    opts.listeners_n = 2;
    opts.io_threads = 1;                /* which has let go of what came before as soon as it has what came last */
    listens[0].network_threads = 1;     /* who comes back meets no thread that has yet to send its connections away */
    listens[1].inter_broker = true;
    start();
    busy = dial();
    idle = dial();
    broker = dial_port(server_port(server, 1));
    ask(idle, ECHO, 1, "i", 1);
    expect(idle, 1, in, 1);
    ask(busy, PARK, 1, "g", 1);
    WAIT_FOR(parked_now() == 1);
    server_send_away(server);
    expect_closed(idle);
    idle = dial();
    ask(idle, ECHO, 2, "i", 1);
    expect(idle, 2, in, 1);
    ask(broker, ECHO, 3, "b", 1);
    expect(broker, 3, in, 1);
    reply(unpark(NULL), "g", 1);
    expect(busy, 1, in, 1);
    ask(busy, ECHO, 4, "g", 1);
    expect(busy, 4, in, 1);
    close(busy);
    close(idle);
    close(broker);
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
            enum key key = what < 5 ? ECHO : what < 6 ? AFTER : what < 7 ? RESUME : what < 8 ? SILENT :
                            what < 10 ? PARK_CLOSED : what < 11 ? LET_NEXT : CLOSE;

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
    tcase_add_loop_test(t, those_after_a_parked_one_are_run_and_answers_keep_their_order, 0, 4);
    tcase_add_loop_test(t, the_end_of_a_connection_reaches_all_that_are_parked, 0, 3);
    tcase_add_test(t, afters_come_after_the_batch);
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
    tcase_add_test(t, what_came_without_a_rate_is_not_owed_to_it);
    tcase_add_test(t, limits_change_while_it_runs);
    tcase_add_test(t, io_threads_come_and_go);
    t = tcase(s, "hostile");
    tcase_add_loop_test(t, hostile_frames_close_their_connection_only, 0, sizeof hostile / sizeof hostile[0]);
    tcase_add_test(t, tls_and_http_are_seen_whatever_the_limit);
    tcase_add_test(t, a_truncated_frame_is_told);
    tcase_add_test(t, a_bad_frame_behind_good_ones);
    tcase_add_test(t, an_announced_length_costs_nothing);
    t = tcase(s, "stop");
    tcase_add_test(t, drain_answers_what_is_in_work);
    tcase_add_test(t, a_stop_waits_for_a_handler_that_waits_for_a_disk);
    tcase_add_test(t, who_is_sent_away_may_come_back);
    tcase_add_test(t, a_port_in_use_is_told);
    tcase_add_test(t, storm_of_clients_that_come_and_go);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
