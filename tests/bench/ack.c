/* tests/bench/ack.c - time to acknowledgement of Produce requests of one record; and requests at full speed.
 *
 *   ack PORT TOPIC ACKS RATE COUNT [SIZE [PRODUCERS]]
 *
 * One connection, one partition (0), records of SIZE bytes (100). RATE requests a second, each sent at its time whether
 * the one before was answered or not (so a stall is counted for everyone who had to wait); RATE 0: always DEPTH under
 * way. With PRODUCERS, that many connections, each with one request under way, share COUNT. ACKS is 1 or -1. Prints:
 * p50 p99 p99.9 max in microseconds, requests a second. The server may be `floors echo` too: it only needs to answer
 * frames with frames.
 */
#include "base/bytes.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/cursor.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEPTH 5

struct frame {
    uint8_t bytes[4096];
    size_t  n;
};

static void put(struct frame *f, const void *p, size_t n)
{
    if (n > sizeof f->bytes - f->n)
        exit(2);
    if (n > 0)
        memcpy(f->bytes + f->n, p, n);
    f->n += n;
}

static void put16(struct frame *f, int v)
{
    uint8_t b[2];
    be_put16(b, (uint16_t)v);
    put(f, b, 2);
}

static void put32(struct frame *f, int64_t v)
{
    uint8_t b[4];
    be_put32(b, (uint32_t)v);
    put(f, b, 4);
}

static void put64(struct frame *f, int64_t v)
{
    uint8_t b[8];
    be_put64(b, (uint64_t)v);
    put(f, b, 8);
}

static void put_varint(struct frame *f, int32_t v)
{
    uint8_t b[10];
    put(f, b, (size_t)(uvarint_put(b, zigzag32(v)) - b));
}

static void put_string(struct frame *f, const char *s)
{
    put16(f, (int)strlen(s));
    put(f, s, strlen(s));
}

/* A batch of format 2 with one record: null key, size bytes of value, no headers. */
static void put_batch(struct frame *f, size_t size)
{
    struct frame r = { .n = 0 };
    size_t start = f->n;
    int64_t now = wall_ms();
    uint8_t *value = calloc(1, size + 1);

    if (value == NULL)
        exit(2);
    put(&r, "\0\0\0", 3);                       /* attributes, timestamp delta, offset delta */
    put_varint(&r, -1);
    put_varint(&r, (int32_t)size);
    put(&r, value, size);
    put_varint(&r, 0);
    free(value);

    put64(f, 0);
    put32(f, 0);                                /* length, below */
    put32(f, -1);
    put(f, "\2", 1);
    put32(f, 0);                                /* CRC, below */
    put16(f, 0);
    put32(f, 0);
    put64(f, now);
    put64(f, now);
    put64(f, -1);
    put16(f, -1);
    put32(f, -1);
    put32(f, 1);
    put_varint(f, (int32_t)r.n);
    put(f, r.bytes, r.n);
    be_put32(f->bytes + start + 8, (uint32_t)(f->n - start - 12));
    be_put32(f->bytes + start + 17, crc32c(0, f->bytes + start + 21, f->n - start - 21));
}

/* Produce version 3. The correlation id is at byte 8 of the frame. */
static void make_request(struct frame *f, const char *topic, int acks, size_t size)
{
    struct frame batch = { .n = 0 };

    put_batch(&batch, size);
    put32(f, 0);
    put16(f, 0);
    put16(f, 3);
    put32(f, 0);
    put_string(f, "ack");
    put16(f, -1);
    put16(f, acks);
    put32(f, 30000);
    put32(f, 1);
    put_string(f, topic);
    put32(f, 1);
    put32(f, 0);
    put32(f, (int64_t)batch.n);
    put(f, batch.bytes, batch.n);
    be_put32(f->bytes, (uint32_t)(f->n - 4));
}

static int open_connection(uint16_t port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        perror("ack: connect");
        exit(1);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

struct run {
    int      fd;
    int64_t *due_ns;                            /* when each request should have been sent */
    int64_t *took_ns;
    size_t   sent, answered, count;
    uint8_t  in[65536];
    size_t   have;
};

/* Takes in what has come; the answers are in order. With one partition the error code is at a fixed place. */
static void take_answers(struct run *r, size_t topic_len)
{
    ssize_t got = read(r->fd, r->in + r->have, sizeof r->in - r->have);
    size_t used = 0;
    int64_t now = mono_ns();

    if (got <= 0) {
        fprintf(stderr, "ack: the connection was closed after %zu answers\n", r->answered);
        exit(1);
    }
    r->have += (size_t)got;
    while (r->have - used >= 4 && r->have - used - 4 >= be_get32(r->in + used)) {
        size_t size = be_get32(r->in + used);
        size_t code = used + 4 + 4 + 4 + 2 + topic_len + 4 + 4;

        if (size > 24 + topic_len && be_get16(r->in + code) != 0) {
            fprintf(stderr, "ack: error code %d\n", (int16_t)be_get16(r->in + code));
            exit(1);
        }
        r->took_ns[r->answered] = now - r->due_ns[r->answered];
        r->answered++;
        used += 4 + size;
    }
    memmove(r->in, r->in + used, r->have - used);
    r->have -= used;
}

static void drive(struct run *r, struct frame *f, int64_t rate, size_t topic_len)
{
    int64_t start = mono_ns();

    while (r->answered < r->count) {
        struct pollfd p = { .fd = r->fd, .events = POLLIN };
        struct timespec wait = { 1, 0 };
        int64_t now = mono_ns(), due = rate > 0 ? start + (int64_t)r->sent * (1000000000 / rate) : now;
        bool may_send = r->sent < r->count && (rate > 0 ? due <= now : r->sent - r->answered < DEPTH);

        if (may_send) {
            be_put32(f->bytes + 8, (uint32_t)r->sent);
            r->due_ns[r->sent++] = due;
            if (write(r->fd, f->bytes, f->n) != (ssize_t)f->n) {
                perror("ack: write");
                exit(1);
            }
            continue;
        }
        if (rate > 0 && r->sent < r->count)
            wait = (struct timespec){ (due - now) / 1000000000, (due - now) % 1000000000 };
        if (ppoll(&p, 1, &wait, NULL) > 0)
            take_answers(r, topic_len);
    }
}

/* Every connection has one request under way, until all have had their share. */
static void drive_many(struct run *r, size_t n, struct frame *f, size_t topic_len)
{
    struct pollfd *p = calloc(n, sizeof *p);
    size_t left = n;

    if (p == NULL)
        exit(2);
    for (size_t i = 0; i < n; i++)
        p[i] = (struct pollfd){ .fd = r[i].fd, .events = POLLIN };
    for (bool first = true; left > 0; first = false) {
        if (!first && poll(p, n, -1) <= 0)
            continue;
        for (size_t i = 0; i < n; i++) {
            if (p[i].revents != 0)
                take_answers(&r[i], topic_len);
            if (r[i].answered < r[i].sent || p[i].fd < 0)
                continue;
            if (r[i].sent == r[i].count) {
                p[i].fd = -1;
                left--;
                continue;
            }
            r[i].due_ns[r[i].sent++] = mono_ns();
            if (write(r[i].fd, f->bytes, f->n) != (ssize_t)f->n)
                exit(1);
        }
    }
    free(p);
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    size_t count, producers, topic_len;
    struct frame f = { .n = 0 };
    int64_t rate, start, *due_ns, *took_ns;
    struct run *r;
    double seconds;

    if (argc < 6) {
        fprintf(stderr, "usage: ack PORT TOPIC ACKS RATE COUNT [SIZE [PRODUCERS]]\n");
        return 2;
    }
    topic_len = strlen(argv[2]);
    rate = strtoll(argv[4], NULL, 10);
    producers = argc > 7 ? strtoul(argv[7], NULL, 10) : 1;
    count = strtoul(argv[5], NULL, 10) / producers * producers;
    due_ns = calloc(count + 1, sizeof *due_ns);
    took_ns = calloc(count + 1, sizeof *took_ns);
    r = calloc(producers, sizeof *r);
    if (count == 0 || due_ns == NULL || took_ns == NULL || r == NULL)
        return 2;
    make_request(&f, argv[2], (int)strtol(argv[3], NULL, 10), argc > 6 ? strtoul(argv[6], NULL, 10) : 100);
    for (size_t i = 0; i < producers; i++) {
        size_t share = count / producers;

        r[i].fd = open_connection((uint16_t)strtoul(argv[1], NULL, 10));
        r[i].count = share;
        r[i].due_ns = due_ns + i * share;
        r[i].took_ns = took_ns + i * share;
    }
    start = mono_ns();
    if (argc > 7)
        drive_many(r, producers, &f, topic_len);
    else
        drive(r, &f, rate, topic_len);
    seconds = (double)(mono_ns() - start) / 1e9;
    qsort(took_ns, count, sizeof *took_ns, by_value);
    printf("%.1f %.1f %.1f %.1f %.0f\n", (double)took_ns[count / 2] / 1e3, (double)took_ns[count * 99 / 100] / 1e3,
           (double)took_ns[count * 999 / 1000] / 1e3, (double)took_ns[count - 1] / 1e3, (double)count / seconds);
    for (size_t i = 0; i < producers; i++)
        close(r[i].fd);
    free(r);
    free(due_ns);
    free(took_ns);
    return 0;
}
