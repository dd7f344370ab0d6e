/* tests/unit/broker/peer/test_peer.c - a connection to a broker that answers well, badly, late or not at all. */
#include "tests/unit/broker/peer/kit.h"

#include <netinet/tcp.h>
#include <sys/eventfd.h>

#define API     API_HEARTBEAT
#define PLAIN   3                       /* a version with a plain header, and one with tagged fields */
#define TAGGED  4

static struct fake_listener listener;
static struct peer *peer;
static _Atomic int deed;
static size_t answer_bytes = 10;

static uint8_t byte_at(size_t i)
{
    return (uint8_t)i;
}

/* What was sent comes back, and as many bytes more as are missing. */
static enum fake_deed mirror(struct fake_listener *f, struct fake_request *r)
{
    uint8_t *more = malloc(answer_bytes + 1);

    (void)f;
    for (size_t i = r->body.len; i < answer_bytes; i++)
        more[i] = byte_at(i);
    chain_copy(r->out, r->body.p, r->body.len);
    if (answer_bytes > r->body.len)
        chain_copy(r->out, more + r->body.len, answer_bytes - r->body.len);
    free(more);
    return (enum fake_deed)atomic_load(&deed);
}

static void make_peer(int32_t port, int32_t timeout_ms, size_t max)
{
    struct peer_opts o = { .broker_id = 3, .host = "127.0.0.1", .port = port, .client_id = "the-tester",
                           .connect_timeout_ms = 60000, .request_timeout_ms = timeout_ms, .receive_buffer_bytes = -1,
                           .answer_bytes_max = max };

    ck_assert_int_eq(peer_new(&peer, &o), OK);
}

static void setup(void)
{
    atomic_store(&deed, FAKE_ANSWER);
    listener = (struct fake_listener){ .script = mirror };
    fake_listen(&listener);
    make_peer(listener.port, 60000, 1 << 20);
}

static void teardown(void)
{
    peer_free(&peer);
    fake_die(&listener);
}

static int call(int16_t version, const char *body, struct bytes *answer)
{
    return peer_call(peer, API, version, (struct bytes){ (const uint8_t *)body, strlen(body) }, 0, answer);
}

START_TEST(answers_one_after_the_other)
{
    struct bytes answer;

    ck_assert(!peer_connected(peer));
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(call(i % 2 == 0 ? PLAIN : TAGGED, "hello", &answer), OK);
        ck_assert_uint_eq(answer.len, answer_bytes);
        ck_assert_mem_eq(answer.p, "hello", 5);
    }
    ck_assert_int_eq(atomic_load(&listener.connections), 1);
    ck_assert_str_ne(peer_text(peer), "");
}
END_TEST

START_TEST(answers_of_any_size)
{
    static const size_t sizes[] = { 0, 1, 16375, 16376, 16377, 16384, 100000, 1000000, 7 };
    struct bytes answer;
    size_t wrong = 0;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        answer_bytes = sizes[i];
        ck_assert_int_eq(call(PLAIN, "", &answer), OK);
        ck_assert_uint_eq(answer.len, sizes[i]);
        for (size_t k = 0; k < answer.len; k++)     /* an assertion for each byte would take a minute */
            wrong += answer.p[k] != byte_at(k);
        ck_assert_uint_eq(wrong, 0);
    }
    answer_bytes = 10;
}
END_TEST

START_TEST(answers_in_pieces)
{
    struct bytes answer;

    atomic_store(&deed, FAKE_PIECES);
    ck_assert_int_eq(call(TAGGED, "hello", &answer), OK);
    ck_assert_mem_eq(answer.p, "hello", 5);
}
END_TEST

static const struct {
    enum fake_deed deed;
    int            rc;
} bad[] = {
    { FAKE_CLOSE, ERR_IO },           { FAKE_RESET, ERR_IO },     { FAKE_HALF, ERR_IO },
    { FAKE_HUGE, ERR_TOO_LARGE },     { FAKE_TINY, ERR_CORRUPT }, { FAKE_NEGATIVE, ERR_CORRUPT },
    { FAKE_OTHER, ERR_CORRUPT },      { FAKE_MORE, ERR_CORRUPT },
};

/* After each of them the next call makes a new connection. */
START_TEST(bad_answers)
{
    struct bytes answer;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        atomic_store(&deed, bad[i].deed);
        ck_assert_int_eq(call(PLAIN, "hello", &answer), bad[i].rc);
        ck_assert(!peer_connected(peer));
        ck_assert_ptr_null(answer.p);
        ck_assert_str_ne(peer_fault(peer), "");
        atomic_store(&deed, FAKE_ANSWER);
        ck_assert_int_eq(call(PLAIN, "hello", &answer), OK);
    }
}
END_TEST

START_TEST(an_answer_that_never_comes)
{
    struct bytes answer;

    atomic_store(&deed, FAKE_SILENT);
    ck_assert_int_eq(peer_call(peer, API, PLAIN, (struct bytes){ (const uint8_t *)"", 0 }, 50, &answer), ERR_TIMEOUT);
    ck_assert(!peer_connected(peer));
    atomic_store(&deed, FAKE_ANSWER);
    ck_assert_int_eq(call(PLAIN, "hello", &answer), OK);
}
END_TEST

START_TEST(nobody_listens)
{
    struct bytes answer;

    ck_assert_int_eq(call(PLAIN, "hello", &answer), OK);
    ck_assert(!peer_refused(peer));
    fake_die(&listener);
    ck_assert_int_eq(call(PLAIN, "hello", &answer), ERR_IO);
    ck_assert_int_eq(call(PLAIN, "hello", &answer), ERR_IO);
    ck_assert(peer_refused(peer));
    fake_listen(&listener);
    ck_assert_int_eq(call(PLAIN, "hello", &answer), OK);
    ck_assert(!peer_refused(peer));
}
END_TEST

static void *interrupter(void *arg)
{
    WAIT_FOR(atomic_load(&listener.requests) == 1);
    peer_interrupt(arg);
    return NULL;
}

START_TEST(an_interrupt_ends_a_call_and_all_later_ones)
{
    struct bytes answer;
    pthread_t t;

    atomic_store(&deed, FAKE_SILENT);
    ck_assert_int_eq(pthread_create(&t, NULL, interrupter, peer), 0);
    ck_assert_int_eq(call(PLAIN, "hello", &answer), ERR_CLOSED);
    pthread_join(t, NULL);
    ck_assert_int_eq(call(PLAIN, "hello", &answer), ERR_CLOSED);
    ck_assert_int_eq(peer_connect(peer), ERR_CLOSED);
    ck_assert_int_eq(peer_wait(peer, -1, -1), ERR_CLOSED);
}
END_TEST

START_TEST(a_wait_sees_what_happens)
{
    uint64_t one = 1;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct bytes answer;

    ck_assert_int_eq(peer_wait(peer, fd, 1), ERR_TIMEOUT);          /* without a connection */
    ck_assert_int_eq(call(PLAIN, "hello", &answer), OK);
    ck_assert_int_eq(peer_wait(peer, fd, 1), ERR_TIMEOUT);
    ck_assert(peer_connected(peer));
    ck_assert_int_eq(write(fd, &one, sizeof one), (ssize_t)sizeof one);
    ck_assert_int_eq(peer_wait(peer, fd, -1), OK);
    ck_assert_int_eq(read(fd, &one, sizeof one), (ssize_t)sizeof one);
    atomic_store(&deed, FAKE_CLOSE_AFTER);
    ck_assert_int_eq(call(PLAIN, "hello", &answer), OK);
    ck_assert_int_eq(peer_wait(peer, fd, -1), ERR_IO);              /* closed while idle */
    ck_assert(!peer_connected(peer));
    close(fd);
}
END_TEST

/* The other system drops its half without a word, as it may when a listener goes in the moment of a handshake. */
START_TEST(an_idle_connection_that_only_this_side_knows_of)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, half;
    socklen_t len = sizeof at;

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(fd, 16), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    peer_free(&peer);
    make_peer(ntohs(at.sin_port), 60000, 100);
    ck_assert_int_eq(peer_connect(peer), OK);
    half = accept(fd, NULL, NULL);
    ck_assert_int_ge(half, 0);
    if (setsockopt(half, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) != 0) {
        printf("not seen: a connection that is forgotten; to make one takes CAP_NET_ADMIN: %s\n", strerror(errno));
    } else {
        ck_assert_int_eq(close(half), 0);
        half = -1;
        ck_assert_int_eq(peer_wait(peer, -1, 60000), ERR_IO);
        ck_assert(!peer_connected(peer));
    }
    if (half >= 0)
        close(half);
    close(fd);
}
END_TEST

START_TEST(a_large_request_to_a_slow_reader)
{
    size_t n = 8 << 20;
    uint8_t *body = malloc(n);
    struct bytes answer;

    memset(body, 7, n);
    peer_free(&peer);
    make_peer(listener.port, 60000, n + 100);
    ck_assert_int_eq(peer_call(peer, API, PLAIN, (struct bytes){ body, n }, 0, &answer), OK);
    ck_assert_uint_eq(answer.len, n);
    ck_assert_mem_eq(answer.p, body, n);
    free(body);
}
END_TEST

START_TEST(a_name_without_an_address)
{
    struct peer_opts o = { .broker_id = 3, .host = "no-such-host.invalid", .port = 1, .client_id = "",
                           .connect_timeout_ms = 90000, .request_timeout_ms = 100, .answer_bytes_max = 100 };
    struct peer *p;
    struct bytes answer;

    ck_assert_int_eq(peer_new(&p, &o), OK);
    ck_assert_int_eq(peer_call(p, API, PLAIN, (struct bytes){ (const uint8_t *)"", 0 }, 0, &answer), ERR_IO);
    ck_assert(!peer_refused(p));
    peer_free(&p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/peer/peer");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, answers_one_after_the_other);
    tcase_add_test(t, answers_of_any_size);
    tcase_add_test(t, answers_in_pieces);
    tcase_add_test(t, bad_answers);
    tcase_add_test(t, an_answer_that_never_comes);
    tcase_add_test(t, nobody_listens);
    tcase_add_test(t, an_interrupt_ends_a_call_and_all_later_ones);
    tcase_add_test(t, a_wait_sees_what_happens);
    tcase_add_test(t, an_idle_connection_that_only_this_side_knows_of);
    tcase_add_test(t, a_large_request_to_a_slow_reader);
    tcase_add_test(t, a_name_without_an_address);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
