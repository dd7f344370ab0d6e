/* metadata/zk_hosts.c */
#include "metadata/zk_hosts.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TRY_MS 500                      /* for each server */

static int refuse(const char **why, const char *text)
{
    *why = text;
    return ERR_INVALID;
}

/* "host", "host:port", "[v6]", "[v6]:port"; the library splits at the last colon and knows no brackets. */
static int add_server(char *out, size_t size, const char *from, size_t len, const char **why)
{
    const char *port = ZK_PORT, *colon;
    char one[300];
    size_t used = strlen(out);
    long number;

    while (len > 0 && isspace((unsigned char)*from))
        from++, len--;
    while (len > 0 && isspace((unsigned char)from[len - 1]))
        len--;
    if (len == 0)
        return refuse(why, "a server is missing between two commas");
    if (len >= sizeof one)
        return refuse(why, "a server's name is too long");
    memcpy(one, from, len);
    one[len] = '\0';
    if (one[0] == '[') {
        char *end = strchr(memmove(one, one + 1, len), ']');

        if (end == NULL || (end[1] != '\0' && end[1] != ':'))
            return refuse(why, "an address in brackets must be followed by a port or nothing");
        port = end[1] == ':' ? end + 2 : ZK_PORT;
        *end = '\0';
    } else if ((colon = strrchr(one, ':')) != NULL) {
        port = colon + 1;
        one[colon - one] = '\0';
    }
    if (one[0] == '\0')
        return refuse(why, "a server has no name");
    number = strspn(port, "0123456789") == strlen(port) && strlen(port) <= 5 ? strtol(port, NULL, 10) : 0;
    if (number < 1 || number > 65535)
        return refuse(why, "a server's port is not a number from 1 to 65535");
    snprintf(out + used, size - used, "%s%s:%ld", used > 0 ? "," : "", one, number);
    return OK;
}

static int check_chroot(const char *path, const char **why)
{
    for (const char *p = path; *p != '\0'; p++) {
        if ((unsigned char)*p <= 0x20 || *p == 0x7f)
            return refuse(why, "the chroot has a space or a control character");
        if (*p == '/' && (p[1] == '/' || p[1] == '\0'))
            return refuse(why, "the chroot has an empty component or ends with a slash");
    }
    return OK;
}

static int parse(struct zk_hosts *h, char *text, size_t size, const char **why)
{
    char *slash = strchr(text, '/'), *from = text;

    h->chroot = strdup(slash != NULL && slash[1] != '\0' ? slash : "");
    h->servers = calloc(1, size);
    if (h->chroot == NULL || h->servers == NULL)
        return ERR_NOMEM;
    if (slash != NULL)
        *slash = '\0';
    if (*text == '\0')
        return refuse(why, "it names no server");
    for (;;) {
        size_t n = strcspn(from, ",");

        TRY(add_server(h->servers, size, from, n, why));
        if (from[n] == '\0')
            return check_chroot(h->chroot, why);
        from += n + 1;
    }
}

int zk_hosts_parse(struct zk_hosts *h, const char *connect, const char **why)
{
    size_t len = strlen(connect);
    char *text;
    int rc = ERR_NOMEM;

    *h = (struct zk_hosts){ 0 };
    *why = err_text(ERR_NOMEM);
    while (len > 0 && isspace((unsigned char)*connect))
        connect++, len--;
    while (len > 0 && isspace((unsigned char)connect[len - 1]))
        len--;
    text = strndup(connect, len);
    if (text != NULL)
        rc = parse(h, text, len * 6 + 16, why);     /* each server may get a port */
    free(text);
    if (rc != OK)
        zk_hosts_fini(h);
    return rc;
}

void zk_hosts_fini(struct zk_hosts *h)
{
    free(h->servers);
    free(h->chroot);
    *h = (struct zk_hosts){ 0 };
}

/* ---- why is there no session? -------------------------------------------------------------------------- */

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
