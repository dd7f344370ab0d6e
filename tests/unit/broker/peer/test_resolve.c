/* tests/unit/broker/peer/test_resolve.c - a name whose server does not answer holds nobody up. The resolver is the
 * test's own: it knows "quick", nobody knows "none", and "slow" takes until the test says so. */
#include "base/clock.h"
#include "broker/peer/peer.h"
#include "broker/peer/resolve.h"

#include <check.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static sem_t      answer;
static atomic_int asked, freed;

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **out)
{
    (void)port;
    if ((hints->ai_flags & AI_NUMERICHOST) != 0 && host[0] != '1')
        return EAI_NONAME;
    if (strcmp(host, "none") == 0)
        return EAI_NONAME;
    if (strcmp(host, "slow") == 0) {
        atomic_fetch_add(&asked, 1);
        sem_wait(&answer);
    }
    *out = calloc(1, sizeof **out);
    return 0;
}

void freeaddrinfo(struct addrinfo *v)
{
    atomic_fetch_add(&freed, 1);
    free(v);
}

static void ready(int fd)
{
    uint64_t one = 1;

    ck_assert_int_eq(write(fd, &one, sizeof one), sizeof one);
}

START_TEST(names_and_addresses)
{
    struct addrinfo *found;
    const char *fault;

    ck_assert_int_eq(resolve("127.0.0.1", 9, -1, 1000, &found, &fault), OK);
    ck_assert_ptr_nonnull(found);
    freeaddrinfo(found);
    ck_assert_int_eq(resolve("quick", 9, -1, 60000, &found, &fault), OK);
    ck_assert_ptr_nonnull(found);
    freeaddrinfo(found);
    ck_assert_int_eq(resolve("none", 9, -1, 60000, &found, &fault), ERR_IO);
    ck_assert_ptr_null(found);
    ck_assert_str_eq(fault, gai_strerror(EAI_NONAME));
}
END_TEST

/* What was not waited for is freed by the thread that comes too late. */
START_TEST(who_does_not_wait_is_not_held_up)
{
    struct addrinfo *found;
    const char *fault;
    int fd = eventfd(0, EFD_CLOEXEC);

    ck_assert_int_eq(resolve("slow", 9, fd, 20, &found, &fault), ERR_TIMEOUT);
    ready(fd);
    ck_assert_int_eq(resolve("slow", 9, fd, 3600000, &found, &fault), ERR_CLOSED);
    ck_assert_ptr_null(found);
    sem_post(&answer);
    sem_post(&answer);
    while (atomic_load(&freed) < 2)
        sched_yield();
    close(fd);
}
END_TEST

static void *connect_slowly(void *arg)
{
    return (void *)(intptr_t)peer_connect(arg);
}

START_TEST(a_peer_that_looks_a_name_up_can_be_interrupted)
{
    struct peer_opts o = { .broker_id = 2, .host = "slow", .port = 9, .client_id = "t", .connect_timeout_ms = 3600000 };
    struct peer *p;
    pthread_t t;
    void *rc;

    ck_assert_int_eq(peer_new(&p, &o), OK);
    ck_assert_int_eq(pthread_create(&t, NULL, connect_slowly, p), 0);
    while (atomic_load(&asked) == 0)
        sched_yield();
    peer_interrupt(p);
    pthread_join(t, &rc);
    ck_assert_int_eq((int)(intptr_t)rc, ERR_CLOSED);
    peer_free(&p);
    sem_post(&answer);
    while (atomic_load(&freed) < 1)
        sched_yield();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { names_and_addresses, who_does_not_wait_is_not_held_up,
                                   a_peer_that_looks_a_name_up_can_be_interrupted };
    Suite *s = suite_create("broker/peer/resolve");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    sem_init(&answer, 0, 0);
    tcase_set_timeout(t, 60);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
