/* broker/peer/resolve.c - asking the system's resolver from a thread that may be left behind. */
#include "broker/peer/resolve.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct question {
    atomic_int       refs;              /* the caller's and the thread's; the last one frees it */
    int              done_fd;           /* eventfd: wakes the caller */
    atomic_bool      done;              /* the answer is there */
    struct addrinfo  hints;
    char             port[12];
    int              err;               /* EAI_*; this and found are the thread's until it is done */
    struct addrinfo *found;
    char             host[];
};

static void question_unref(struct question *q)
{
    if (atomic_fetch_sub(&q->refs, 1) > 1)
        return;
    if (q->found != NULL)
        freeaddrinfo(q->found);
    if (q->done_fd >= 0)
        close(q->done_fd);
    free(q);
}

static void *ask(void *arg)
{
    struct question *q = arg;
    uint64_t one = 1;

    q->err = getaddrinfo(q->host, q->port, &q->hints, &q->found);
    if (q->err != 0)
        q->found = NULL;
    atomic_store(&q->done, true);
    while (write(q->done_fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
    question_unref(q);
    return NULL;
}

static int begin(struct question *q)
{
    pthread_attr_t attr;
    pthread_t t;
    int err;

    q->done_fd = eventfd(0, EFD_CLOEXEC);
    if (q->done_fd < 0)
        return err_from_errno(errno);
    atomic_fetch_add(&q->refs, 1);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    err = pthread_create(&t, &attr, ask, q);
    pthread_attr_destroy(&attr);
    if (err == 0)
        return OK;
    atomic_fetch_sub(&q->refs, 1);
    return err_from_errno(err);
}

static int wait_answer(const struct question *q, int interrupt_fd, int64_t timeout_ms)
{
    int64_t until = mono_ms() + timeout_ms;

    for (;;) {
        struct pollfd v[] = { { .fd = q->done_fd, .events = POLLIN }, { .fd = interrupt_fd, .events = POLLIN } };
        int64_t left = until - mono_ms();
        int n = poll(v, 2, left <= 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left);

        if (n < 0 && errno != EINTR)
            return err_from_errno(errno);
        if (n > 0 && v[1].revents != 0)
            return ERR_CLOSED;
        if (n > 0 && atomic_load(&q->done))
            return OK;
        if (n == 0 && left <= 0)
            return ERR_TIMEOUT;
    }
}

static int resolve_name(struct question *q, int interrupt_fd, int64_t timeout_ms)
{
    TRY(begin(q));
    return wait_answer(q, interrupt_fd, timeout_ms);
}

int resolve(const char *host, int32_t port, int interrupt_fd, int64_t timeout_ms, struct addrinfo **out,
            const char **fault)
{
    size_t len = strlen(host) + 1;
    struct question *q = calloc(1, sizeof *q + len);
    int rc = OK;

    *out = NULL;
    *fault = "its name cannot be looked up";
    if (q == NULL)
        return ERR_NOMEM;
    atomic_init(&q->refs, 1);
    q->done_fd = -1;
    memcpy(q->host, host, len);
    (void)snprintf(q->port, sizeof q->port, "%d", port);
    q->hints = (struct addrinfo){ .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_NUMERICHOST };
    q->err = getaddrinfo(host, q->port, &q->hints, &q->found);
    if (q->err == EAI_NONAME) {         /* a name, not an address */
        q->hints.ai_flags = AI_NUMERICSERV;
        rc = resolve_name(q, interrupt_fd, timeout_ms);
    }
    if (rc == ERR_TIMEOUT)
        *fault = "its name could not be looked up in time";
    if (rc == OK && q->err != 0) {
        *fault = gai_strerror(q->err);
        rc = ERR_IO;
    }
    if (rc == OK) {
        *out = q->found;
        q->found = NULL;
    }
    question_unref(q);
    return rc;
}
