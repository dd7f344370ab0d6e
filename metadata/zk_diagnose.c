/* metadata/zk_diagnose.c */
#include "metadata/zk_diagnose.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TRY_MS 500                      /* for each server */

static const char *try_address(const struct addrinfo *a)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), err = 0;
    struct pollfd pfd = { .fd = fd, .events = POLLOUT };
    socklen_t n = sizeof err;

    if (fd < 0)
        return strerrordesc_np(errno);
    if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
        err = errno;
        if (err == EINPROGRESS) {
            err = 0;
            if (poll(&pfd, 1, TRY_MS) != 1)
                err = ETIMEDOUT;
            else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &n) != 0)
                err = errno;
        }
    }
    close(fd);
    return err == 0 ? "accepts connections, but gave no session (is it ZooKeeper, and has the ensemble a quorum?)"
                    : strerrordesc_np(err);
}

void zk_hosts_diagnose(const struct zk_hosts *h, char *text, size_t size)
{
    size_t used = 0;

    text[0] = '\0';
    for (const char *p = h->servers; *p != '\0' && used < size; ) {
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
        size_t n = strcspn(p, ",");
        char one[320], *colon;
        const char *why;
        int err, k;

        snprintf(one, sizeof one, "%.*s", (int)n, p);
        colon = strrchr(one, ':');
        if (colon == NULL)
            return;
        *colon = '\0';
        err = getaddrinfo(one, colon + 1, &hints, &found);
        why = err == 0 ? try_address(found) : gai_strerror(err);
        k = snprintf(text + used, size - used, "%s%s:%s: %s", used > 0 ? "; " : "", one, colon + 1, why);
        used += k > 0 ? (size_t)k : 0;
        if (err == 0)
            freeaddrinfo(found);
        p += n + (p[n] == ',');
    }
}
