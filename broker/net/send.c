/* broker/net/send.c - answers on their way out: memory by gathered sends, records by sendfile.
 *
 * c->out_i counts the runs of the first unsent answer that are sent whole: run 0 is the response head, run i > 0 is
 * slice i - 1 of its chain. The answers of a batch are gathered into one call.
 */
#include "broker/net/net_priv.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define IOV_MAX_RUNS       64
#define SEND_BUDGET_BYTES  ((size_t)4 << 20)    /* then the thread's other connections have their turn */
#define LOOK_BYTES         ((size_t)1 << 20)    /* the page cache is looked into for so much at a time */
#define LITTLE_BYTES       ((size_t)64 << 10)   /* less than that is most often what was written a moment ago */

struct out {
    struct conn          *c;
    struct request       *r;            /* the first that is not sent whole */
    const struct request *end;
    size_t                budget;
    bool                  may_wait;
};

static size_t runs_n(const struct request *r)
{
    return r->ending == ENDING_REPLY ? r->out.n + 1 : 0;
}

static struct slice run(const struct request *r, size_t i)
{
    return i == 0 ? slice_mem(r->head, r->head_len) : r->out.v[i - 1];
}

/* Past the n bytes that were sent, and whatever is empty after them. */
static void advance(struct out *o, size_t n)
{
    struct conn *c = o->c;

    o->budget -= n < o->budget ? n : o->budget;
    while (o->r != o->end) {
        size_t left;

        if (c->out_i == runs_n(o->r)) {
            o->r->sent = true;
            o->r = o->r->batch_next;
            c->out_i = c->out_off = c->out_warm = 0;
            continue;
        }
        left = run(o->r, c->out_i).len - c->out_off;
        if (n < left) {
            c->out_off += n;
            return;
        }
        n -= left;
        c->out_i++;
        c->out_off = c->out_warm = 0;
    }
}

static enum sent failed(void)
{
    return errno == EAGAIN || errno == EINTR ? SENT_PART : SENT_FAILED;
}

/* The runs of memory from the first unsent one on, over as many answers as there are, in one call. */
static enum sent send_memory(struct out *o)
{
    struct iovec iov[IOV_MAX_RUNS];
    struct msghdr m = { .msg_iov = iov };
    const struct request *r = o->r;
    size_t i = o->c->out_i, off = o->c->out_off, len = 0;
    ssize_t n;

    while (r != o->end && m.msg_iovlen < IOV_MAX_RUNS) {
        struct slice s;

        if (i == runs_n(r)) {
            r = r->batch_next;
            i = 0;
            continue;
        }
        s = run(r, i);
        if (s.file != NULL)
            break;
        iov[m.msg_iovlen++] = (struct iovec){ (void *)(uintptr_t)(s.p + off), s.len - off };
        len += s.len - off;
        off = 0;
        i++;
    }
    n = sendmsg(o->c->fd, &m, MSG_NOSIGNAL | (r != o->end && i < runs_n(r) ? MSG_MORE : 0));
    if (n < 0)
        return failed();
    advance(o, (size_t)n);
    return (size_t)n == len ? SENT_ALL : SENT_PART;
}

static bool is_warm_at(int fd, off_t pos)
{
    uint8_t byte;
    struct iovec iov = { &byte, 1 };

    return preadv2(fd, &iov, 1, pos, RWF_NOWAIT) >= 0 || errno != EAGAIN;
}

/* Whether the range is in the page cache, as far as a look at both ends can tell (and where the file system can). */
static bool is_warm(int fd, off_t pos, size_t n)
{
    return n < LITTLE_BYTES || (is_warm_at(fd, pos) && is_warm_at(fd, pos + (off_t)n - 1));
}

static enum sent send_file(struct out *o)
{
    struct slice s = run(o->r, o->c->out_i);
    off_t pos = s.pos + (off_t)o->c->out_off;
    size_t want = s.len - o->c->out_off;
    ssize_t n;

    if (want > o->budget)
        want = o->budget;
    if (!o->may_wait && o->c->out_off >= o->c->out_warm) {
        size_t look = s.len - o->c->out_off < LOOK_BYTES ? s.len - o->c->out_off : LOOK_BYTES;

        if (!is_warm(s.file->fd, pos, look))
            return SENT_COLD;
        o->c->out_warm = o->c->out_off + look;
    }
    if (!o->may_wait && want > o->c->out_warm - o->c->out_off)
        want = o->c->out_warm - o->c->out_off;
    n = sendfile(o->c->fd, s.file->fd, &pos, want);
    if (n < 0)
        return failed();
    if (n == 0) {                       /* cut off meanwhile: the size we announced cannot be kept */
        log_error("%s: a log file ended %zu bytes before the end of the answer that was being sent from it; closed",
                  o->c->l->name, s.len - o->c->out_off);
        return SENT_FAILED;
    }
    advance(o, (size_t)n);
    return (size_t)n == want ? SENT_ALL : SENT_PART;
}

enum sent conn_send(struct conn *c, struct request **first, const struct request *end, bool may_wait)
{
    struct out o = { .c = c, .r = *first, .end = end, .budget = SEND_BUDGET_BYTES, .may_wait = may_wait };
    enum sent sent = SENT_ALL;

    advance(&o, 0);                     /* those without an answer */
    while (o.r != end && sent == SENT_ALL) {
        sent = run(o.r, c->out_i).file != NULL ? send_file(&o) : send_memory(&o);
        if (sent == SENT_ALL && o.budget == 0 && o.r != end)
            sent = SENT_PART;
    }
    *first = o.r;
    return sent;
}
