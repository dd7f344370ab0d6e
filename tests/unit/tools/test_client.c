/* tests/unit/tools/test_client.c - the client of the commands against a peer that answers as told: old, odd or
 * hostile. */
#include "proto/gen/api_versions_response.h"
#include "proto/gen/metadata_request.h"
#include "proto/gen/metadata_response.h"
#include "proto/header.h"
#include "proto/kerr.h"
#include "tools/client/client.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

CLIENT_API(metadata, API_METADATA);

enum manner {
    GOOD,               /* all that is asked */
    OLD,                /* knows ApiVersions 0 and Metadata 0-1 only */
    NO_METADATA,        /* advertises nothing but ApiVersions */
    CLOSES,             /* at once */
    GARBAGE,            /* bytes */
    HUGE_SIZE,          /* a frame of 2^31 - 1 */
    WRONG_CORRELATION,
    CUT_BODY,           /* half of the answer, with a size that fits */
    LYING_COUNT,        /* an array of 2^31 - 1 */
};

struct peer {
    enum manner manner;
    int         fd;
    uint16_t    port;
    pthread_t   thread;
    atomic_int  connections;
};

static bool read_all(int fd, uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t k = read(fd, p, n);
        if (k <= 0)
            return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

static void add_versions(struct api_versions_response *r, struct arena *a, enum manner m)
{
    r->api_keys = arena_array(a, 2, sizeof *r->api_keys);
    r->api_keys_n = m == NO_METADATA ? 1 : 2;
    r->api_keys[0].api_key = API_API_VERSIONS;
    r->api_keys[0].max_version = m == OLD ? 0 : 4;
    r->api_keys[1].api_key = API_METADATA;
    r->api_keys[1].max_version = m == OLD ? 1 : 12;
}

static void write_body(struct chain *ch, struct arena *a, const struct peer *p, const struct request_header *h)
{
    if (h->request_api_key == API_API_VERSIONS) {
        struct api_versions_response r;
        int16_t                      v = h->request_api_version;

        api_versions_response_init(&r);
        if (p->manner == OLD && v > 0) {
            r.error_code = KERR_UNSUPPORTED_VERSION;
            v = 0;
        }
        add_versions(&r, a, p->manner);
        ck_assert_int_eq(api_versions_response_write(ch, &r, v), OK);
    } else {
        struct metadata_response r;

        metadata_response_init(&r);
        r.brokers = arena_array(a, 1, sizeof *r.brokers);
        r.brokers_n = 1;
        r.brokers[0].node_id = 5;
        r.brokers[0].host = STR_LIT("127.0.0.1");
        r.brokers[0].port = p->port;
        r.controller_id = 5;
        ck_assert_int_eq(metadata_response_write(ch, &r, h->request_api_version), OK);
    }
}

static size_t make_answer(uint8_t *out, size_t cap, const struct peer *p, const struct request_header *h)
{
    struct response_header rh;
    struct arena           a;
    struct chain           ch;
    size_t                 n;
    bool                   spoil = h->request_api_key == API_METADATA;

    arena_init(&a, 1 << 20);
    chain_init(&ch, &a);
    response_header_init(&rh);
    rh.correlation_id = h->correlation_id + (p->manner == WRONG_CORRELATION && spoil);
    ck_assert_int_eq(response_header_write(&ch, &rh, response_header_version(h->request_api_key,
        h->request_api_version)),
                     OK);
    write_body(&ch, &a, p, h);
    n = ch.len;
    ck_assert_uint_lt(n + 4, cap);
    ck_assert_int_eq(chain_flatten(&ch, out + 4, n), OK);
    if (spoil && p->manner == CUT_BODY)
        n /= 2;
    if (spoil && p->manner == LYING_COUNT)
        memcpy(out + 4 + 9, "\377\377\377\377\007", 5);     /* the count of brokers */
    be_put32(out, p->manner == HUGE_SIZE && spoil ? INT32_MAX : (uint32_t)n);
    chain_fini(&ch);
    arena_fini(&a);
    return n + 4;
}

static void serve(struct peer *p, int fd)
{
    uint8_t in[4096], out[4096];

    while (p->manner != CLOSES && read_all(fd, in, 4)) {
        uint32_t              size = be_get32(in);
        struct request_header h;
        struct arena          a;
        struct cursor         c;
        size_t                n;

        if (size > sizeof in || !read_all(fd, in, size))
            break;
        arena_init(&a, 1 << 16);
        c = cur_ro(in, size);
        ck_assert_int_eq(header_read_request(&c, &a, &h), OK);
        n = make_answer(out, sizeof out, p, &h);
        if (p->manner == GARBAGE)
            memset(out, 'G', n);
        arena_fini(&a);
        if (write(fd, out, n) < 0)
            break;
    }
    close(fd);
}

static void *peer_main(void *arg)
{
    struct peer *p = arg;

    for (;;) {
        int fd = accept(p->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        atomic_fetch_add(&p->connections, 1);
        serve(p, fd);
    }
}

static void peer_start(struct peer *p, enum manner m)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t          len = sizeof sa;

    memset(p, 0, sizeof *p);
    p->manner = m;
    p->fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(p->fd, (struct sockaddr *)&sa, sizeof sa), 0);
    ck_assert_int_eq(listen(p->fd, 5), 0);
    ck_assert_int_eq(getsockname(p->fd, (struct sockaddr *)&sa, &len), 0);
    p->port = ntohs(sa.sin_port);
    ck_assert_int_eq(pthread_create(&p->thread, NULL, peer_main, p), 0);
}

static void peer_stop(struct peer *p)
{
    shutdown(p->fd, SHUT_RDWR);
    pthread_join(p->thread, NULL);
    close(p->fd);
}

enum { SOON_MS = 300, PATIENT_MS = 90000 };

/* api_timeout_ms: SOON_MS for what is to time out; what is to be answered has time enough for any machine. */
static struct client *client_for(const char *fmt, uint16_t port, int32_t api_timeout_ms)
{
    struct client_conf conf = CLIENT_CONF_DEFAULT;
    struct client     *c = NULL;
    char               address[64], error[256] = "";

    snprintf(address, sizeof address, "%s:%u", fmt, port);
    conf.bootstrap = address;
    conf.api_timeout_ms = api_timeout_ms;
    conf.request_timeout_ms = api_timeout_ms * 2 / 3;
    conf.retry_backoff_ms = 20;
    ck_assert_msg(client_new(&c, &conf, error, sizeof error) == OK, "%s", error);
    return c;
}

static int ask_within(int32_t api_timeout_ms, enum manner m, int32_t broker, char *text, size_t len)
{
    struct metadata_request  q;
    struct metadata_response r;
    struct peer              p;
    struct client           *c;
    struct arena             a;
    int                      rc;

    peer_start(&p, m);
    c = client_for("127.0.0.1", p.port, api_timeout_ms);
    arena_init(&a, 1 << 20);
    metadata_request_init(&q);
    q.allow_auto_topic_creation = true;
    rc = client_call(c, broker, &client_metadata, &q, &a, &r);
    snprintf(text, len, "%s", client_error(c));
    if (rc == OK) {
        ck_assert_int_eq(r.brokers_n, 1);
        ck_assert_int_eq(r.brokers[0].node_id, 5);
    }
    arena_fini(&a);
    client_free(&c);
    peer_stop(&p);
    return rc;
}

static int ask(enum manner m, int32_t broker, char *text, size_t len)
{
    return ask_within(PATIENT_MS, m, broker, text, len);
}

START_TEST(good_and_old_brokers)
{
    char text[512];

    ck_assert_int_eq(ask(GOOD, CLIENT_ANY, text, sizeof text), OK);
    ck_assert_int_eq(ask(GOOD, CLIENT_CONTROLLER, text, sizeof text), OK);
    ck_assert_int_eq(ask(GOOD, 5, text, sizeof text), OK);
    ck_assert_int_eq(ask(OLD, CLIENT_ANY, text, sizeof text), OK);
    ck_assert_int_eq(ask(OLD, CLIENT_CONTROLLER, text, sizeof text), OK);
    ck_assert_int_eq(ask(NO_METADATA, CLIENT_ANY, text, sizeof text), ERR_UNSUPPORTED);
    ck_assert_str_eq(text, "The node does not support Metadata");
    ck_assert_int_eq(ask_within(SOON_MS, GOOD, 6, text, sizeof text), ERR_TIMEOUT);     /* no such broker */
}
END_TEST

START_TEST(odd_answers_are_errors)
{
    static const struct { enum manner m; int rc; } cases[] = {
        { CLOSES, ERR_TIMEOUT }, { GARBAGE, ERR_CORRUPT }, { HUGE_SIZE, ERR_CORRUPT },
        { WRONG_CORRELATION, ERR_CORRUPT }, { CUT_BODY, ERR_SHORT }, { LYING_COUNT, ERR_SHORT },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[512];
        int  rc = ask_within(cases[i].rc == ERR_TIMEOUT ? SOON_MS : PATIENT_MS, cases[i].m, CLIENT_ANY, text,
                             sizeof text);
        ck_assert_msg(rc == cases[i].rc || (rc < 0 && cases[i].rc == ERR_SHORT), "%d: %s: %s", cases[i].m,
                      err_name(rc),
                      text);
        ck_assert(text[0] != '\0');
    }
}
END_TEST

/* Where nobody listens, and nobody can while the socket is open. */
static int bound_only(uint16_t *port)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t          len = sizeof sa;
    int                fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    *port = ntohs(sa.sin_port);
    return fd;
}

START_TEST(nobody_there)
{
    struct client           *c;
    struct metadata_request  q;
    struct metadata_response r;
    struct arena             a;
    uint16_t                 port;
    int                      fd = bound_only(&port);

    c = client_for("127.0.0.1", port, SOON_MS);
    client_doing(c, "listTopics");
    arena_init(&a, 1 << 20);
    metadata_request_init(&q);
    ck_assert_int_eq(client_call(c, CLIENT_ANY, &client_metadata, &q, &a, &r), ERR_TIMEOUT);
    ck_assert_str_eq(client_error(c), "Timed out waiting for a node assignment. Call: listTopics");
    client_free(&c);
    arena_fini(&a);
    close(fd);
}
END_TEST

START_TEST(the_second_address_is_tried)
{
    struct client              *c;
    const struct client_broker *b;
    struct peer                 p;
    char                        first[64];
    uint16_t                    port;
    int                         fd = bound_only(&port);
    size_t                      n;

    peer_start(&p, GOOD);
    snprintf(first, sizeof first, "127.0.0.1:%u,127.0.0.1", port);
    c = client_for(first, p.port, PATIENT_MS);
    ck_assert_int_eq(client_brokers(c, &b, &n), OK);
    ck_assert_uint_eq(n, 1);
    ck_assert_int_eq(b[0].port, p.port);
    ck_assert_int_eq(atomic_load(&p.connections), 1);
    client_free(&c);
    peer_stop(&p);
    close(fd);
}
END_TEST

START_TEST(addresses_that_cannot_be)
{
    static const char *const bad[] = { "", ",", "host", "host:x", "a:1,b" };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct client_conf conf = CLIENT_CONF_DEFAULT;
        struct client     *c = NULL;
        char               error[256] = "";

        conf.bootstrap = bad[i];
        ck_assert_int_eq(client_new(&c, &conf, error, sizeof error), ERR_INVALID);
        ck_assert_ptr_null(c);
        ck_assert(error[0] != '\0');
    }
}
END_TEST

int main(void)
{
    Suite   *s = suite_create("client");
    TCase   *t = tcase_create("client");
    SRunner *r = srunner_create(s);
    int      failed;

    tcase_set_timeout(t, 60);
    tcase_add_test(t, good_and_old_brokers);
    tcase_add_test(t, odd_answers_are_errors);
    tcase_add_test(t, nobody_there);
    tcase_add_test(t, the_second_address_is_tried);
    tcase_add_test(t, addresses_that_cannot_be);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
