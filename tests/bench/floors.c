/* tests/bench/floors.c - what the machine itself needs: the least that any broker could spend.
 *
 *   floors ingest DIR MB     take MB over loopback in requests of 1 MB: read, CRC-32C, write. Prints seconds of CPU
 *   floors sendfile DIR MB   send a file of MB over loopback with sendfile. Prints seconds of CPU
 *   floors echo PORT FILE    a server that answers each frame with 8 bytes after one pwrite of it; epoll, one thread.
 *                            It runs until it is killed, as the bench does
 *
 * CPU is that of the serving side, user and system; the client is a child process.
 */
#include "base/bytes.h"
#include "base/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MB ((size_t)1000000)

static void must(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static double cpu_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int listen_on(uint16_t *port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(*port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof a;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    must(fd >= 0, "socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    must(bind(fd, (struct sockaddr *)&a, sizeof a) == 0, "bind");
    must(listen(fd, 64) == 0, "listen");
    must(getsockname(fd, (struct sockaddr *)&a, &len) == 0, "getsockname");
    *port = ntohs(a.sin_port);
    return fd;
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    must(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0, "connect");
    return fd;
}

static void read_all(int fd, uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t got = read(fd, p, n);
        must(got > 0, "read");
        p += got;
        n -= (size_t)got;
    }
}

static void write_all(int fd, const uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t put = write(fd, p, n);
        must(put > 0, "write");
        p += put;
        n -= (size_t)put;
    }
}

static int scratch_file(const char *dir)
{
    char path[4096];
    int fd;

    snprintf(path, sizeof path, "%s/floor.XXXXXX", dir);
    fd = mkstemp(path);
    must(fd >= 0, path);
    unlink(path);
    return fd;
}

static uint8_t *buffer(void)
{
    uint8_t *p = malloc(MB);

    must(p != NULL, "malloc");
    memset(p, 'x', MB);
    return p;
}

/* Each request of 1 MB is acknowledged with 8 bytes; one is under way while another is handled, as with a producer. */
static int ingest(const char *dir, size_t mb)
{
    uint16_t port = 0;
    int lfd = listen_on(&port), fd, file = scratch_file(dir);
    uint8_t *p = buffer(), ack[8] = { 0 };
    double start;
    off_t at = 0;
    pid_t child = fork();

    must(child >= 0, "fork");
    if (child == 0) {
        fd = connect_to(port);
        for (size_t i = 0; i < mb; i++) {
            write_all(fd, p, MB);
            if (i > 0)
                read_all(fd, ack, sizeof ack);
        }
        read_all(fd, ack, sizeof ack);
        _exit(0);
    }
    fd = accept(lfd, NULL, NULL);
    must(fd >= 0, "accept");
    start = cpu_seconds();
    for (size_t i = 0; i < mb; i++) {
        uint32_t crc;

        read_all(fd, p, MB);
        crc = crc32c(0, p, MB);
        memcpy(ack, &crc, sizeof crc);
        must(pwrite(file, p, MB, at) == (ssize_t)MB, "pwrite");
        at += (off_t)MB;
        write_all(fd, ack, sizeof ack);
    }
    printf("%.3f\n", cpu_seconds() - start);
    waitpid(child, NULL, 0);
    return 0;
}

static int send_file(const char *dir, size_t mb)
{
    uint16_t port = 0;
    int lfd = listen_on(&port), fd, file = scratch_file(dir);
    uint8_t *p = buffer();
    double start;
    pid_t child;

    for (size_t i = 0; i < mb; i++)
        write_all(file, p, MB);
    child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        fd = connect_to(port);
        for (size_t i = 0; i < mb; i++)
            read_all(fd, p, MB);
        _exit(0);
    }
    fd = accept(lfd, NULL, NULL);
    must(fd >= 0, "accept");
    start = cpu_seconds();
    for (off_t at = 0; at < (off_t)(mb * MB);) {
        ssize_t n = sendfile(fd, file, &at, MB);
        must(n > 0, "sendfile");
    }
    printf("%.3f\n", cpu_seconds() - start);
    waitpid(child, NULL, 0);
    return 0;
}

struct echo_conn {
    int     fd;
    size_t  have;
    uint8_t in[65536];
};

/* Answers every whole frame that has come: the size, and the correlation id from the request's place. */
static bool echo_serve(struct echo_conn *c, int file, off_t *at)
{
    ssize_t got = read(c->fd, c->in + c->have, sizeof c->in - c->have);
    size_t used = 0;

    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    c->have += (size_t)got;
    while (c->have - used >= 12) {
        uint32_t size = be_get32(c->in + used);
        uint8_t answer[8];

        if (size < 8 || size > sizeof c->in - 4)
            return false;
        if (c->have - used < 4 + (size_t)size)
            break;
        must(pwrite(file, c->in + used + 4, size, *at) == (ssize_t)size, "pwrite");
        *at += size;
        be_put32(answer, 4);
        memcpy(answer + 4, c->in + used + 8, 4);
        write_all(c->fd, answer, sizeof answer);
        used += 4 + size;
    }
    memmove(c->in, c->in + used, c->have - used);
    c->have -= used;
    return true;
}

static _Noreturn void echo(uint16_t port, const char *path)
{
    int lfd = listen_on(&port), ep = epoll_create1(EPOLL_CLOEXEC);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };
    off_t at = 0;

    must(ep >= 0 && file >= 0, path);
    must(epoll_ctl(ep, EPOLL_CTL_ADD, lfd, &ev) == 0, "epoll_ctl");
    for (;;) {
        int n = epoll_wait(ep, &ev, 1, -1), one = 1;
        struct echo_conn *c = ev.data.ptr;

        if (n < 1)
            continue;
        if (c == NULL) {
            c = calloc(1, sizeof *c);
            must(c != NULL, "calloc");
            c->fd = accept4(lfd, NULL, NULL, SOCK_CLOEXEC);
            must(c->fd >= 0, "accept");
            setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            ev = (struct epoll_event){ .events = EPOLLIN, .data.ptr = c };
            must(epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev) == 0, "epoll_ctl");
        } else if (!echo_serve(c, file, &at)) {
            close(c->fd);
            free(c);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "ingest") == 0)
        return ingest(argv[2], strtoul(argv[3], NULL, 10));
    if (argc == 4 && strcmp(argv[1], "sendfile") == 0)
        return send_file(argv[2], strtoul(argv[3], NULL, 10));
    if (argc == 4 && strcmp(argv[1], "echo") == 0)
        echo((uint16_t)strtoul(argv[2], NULL, 10), argv[3]);
    fprintf(stderr, "usage: floors ingest|sendfile DIR MB | floors echo PORT FILE\n");
    return 2;
}
