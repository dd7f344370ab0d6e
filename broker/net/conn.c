/* broker/net/conn.c - one connection: bytes become requests, one batch at a time.
 *
 * Bytes are read into the thread's scratch while nothing of a frame is here yet, so an idle connection has no buffer.
 * What is left of them when the event is over moves to a buffer of the connection's own (`in`). A large frame gets a
 * buffer of its own as soon as its length is known, is read into it in place, and the buffer goes with the request.
 *
 *            bytes               whole frames, nothing in work              ended           sent
 *   (idle) --------> in: partial ------------------------------> req: in work --> answers ------> next frames or idle
 *
 * Frames that are here together go as one batch, unless they are large. While it is in work the connection reads on
 * until one more whole frame is here, then stops reading. Otherwise the read event stays added: a request costs no
 * epoll_ctl(). A peer that sends more than we keep up with is read again when its batch is done, without the event, as
 * long as that finds frames.
 */
#include "broker/net/net_priv.h"

#include "base/clock.h"
#include "proto/gen/apis.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#define FRAME_LEN_BYTES    4
#define FRAME_MIN_BYTES    8            /* key, version, correlation id */
#define READ_BUDGET_BYTES  ((size_t)2 << 20)    /* then the thread's other connections have their turn */
#define BIG_FRAME_BYTES    ((size_t)32 << 10)
#define TOP_UP_BYTES       ((size_t)48 << 10)   /* with less than that here, more is read before the next batch */

static struct log_limit refusals = LOG_LIMIT(10000, 20);

const char *address_text(const struct peer *p, char out[REQUEST_PEER_MAX])
{
    static const uint8_t v4[12] = { [10] = 0xff, [11] = 0xff };
    char ip[INET6_ADDRSTRLEN] = "?";

    if (memcmp(p->ip, v4, sizeof v4) == 0) {
        inet_ntop(AF_INET, p->ip + 12, ip, sizeof ip);
        snprintf(out, REQUEST_PEER_MAX, "%s:%u", ip, p->port);
    } else {
        inet_ntop(AF_INET6, p->ip, ip, sizeof ip);
        snprintf(out, REQUEST_PEER_MAX, "[%s]:%u", ip, p->port);
    }
    return out;
}

static void conn_touch(struct conn *c, int64_t now_ns)
{
    struct nthread *t = c->t;

    c->active_ms = now_ns / 1000000;
    if (c->next != NULL) {
        DL_DELETE(t->conns, c);
        DL_APPEND(t->conns, c);
    }
}

/* ---- closing ---- */

static void drop_input(struct conn *c)
{
    if (c->in == c->t->scratch)
        c->in = NULL;
    rbuf_put(&c->t->server->pool, &c->in);
    c->in_pos = c->in_end = 0;
    if (c->reserved > 0)
        rbuf_unreserve(&c->t->server->pool, c->reserved);
    c->reserved = 0;
}

static void leave_stalled(struct conn *c)
{
    struct conn **p = &c->t->stalled;

    while (*p != NULL && *p != c)
        p = &(*p)->stall_next;
    if (*p == c)
        *p = c->stall_next;
    c->stall = STALL_NONE;
}

/* Requests that no IO thread has or will have. */
static void free_requests(struct nthread *t, struct request **list)
{
    while (*list != NULL) {
        struct request *r = *list;

        *list = r->batch_next;
        request_free(t, r);
    }
}

static void set_impatient(struct conn *c, bool on)
{
    if (c->impatient == on)
        return;
    c->impatient = on;
    atomic_fetch_add(&c->t->impatient, on ? 1 : -1);
}

/* The end of a connection without anything in work. */
static void conn_free(struct conn *c)
{
    struct nthread *t = c->t;

    set_impatient(c, false);
    free_requests(t, &c->answers);
    close(c->fd);
    if (t->current == c)
        t->current = NULL;
    c->magic = 0;
    free(c);
}

/* Whoever is parked need not go on waiting. */
static void tell_closed(struct conn *c)
{
    for (struct request *r = c->stall != STALL_QUEUE ? c->req : NULL; r != NULL; r = r->batch_next)
        if (!r->back)
            request_notify_close(r);
}

/* The descriptor stays open while an IO thread may be sending on it, so that its number is not used for another. */
void conn_close(struct conn *c)
{
    struct nthread *t = c->t;
    bool queued = c->stall == STALL_QUEUE;

    assert(c->magic == CONN_MAGIC && !c->dead);
    c->dead = true;
    if (c->reading)
        event_del(&c->ev_read);
    if (c->writing)
        event_del(&c->ev_write);
    c->reading = c->writing = false;
    drop_input(c);
    if (c->stall != STALL_NONE)
        leave_stalled(c);
    DL_DELETE(t->conns, c);
    atomic_fetch_sub(&t->conns_n, 1);
    limits_leave(&t->server->limits, c->l, &c->peer);
    if (!c->lent && (c->req == NULL || queued || c->rest_waits)) {
        conn_free(c);
        return;
    }
    if (t->current == c)
        t->current = NULL;
    t->orphans_n++;
    set_impatient(c, true);
    shutdown(c->fd, SHUT_RDWR);
    tell_closed(c);
}

void conn_refuse(struct conn *c, const char *fmt, ...)
{
    char peer[REQUEST_PEER_MAX], what[512], more[64] = "";
    int hidden;
    va_list ap;

    if (log_limit(&refusals, &hidden)) {
        va_start(ap, fmt);
        vsnprintf(what, sizeof what, fmt, ap);
        va_end(ap);
        if (hidden > 0)
            snprintf(more, sizeof more, " (%d more such lines were not written)", hidden);
        log_warn("%s %s: closed: %s%s", c->l->name, address_text(&c->peer, peer), what, more);
    }
    conn_close(c);
}

/* ---- from bytes to a request ---- */

static size_t in_avail(const struct conn *c)
{
    return c->in_end - c->in_pos;
}

static int32_t in_size(const struct conn *c)
{
    return (int32_t)be_get32(c->in->data + c->in_pos);
}

static bool size_allowed(const struct conn *c, int32_t size)
{
    if (!c->greeted && sniff(c->in->data + c->in_pos, in_avail(c)) != NULL)
        return false;
    return size >= FRAME_MIN_BYTES && (size_t)size <= c->t->server->opts.request_max_bytes;
}

/* The frame at in_pos is whole, or so wrong that no more of it is wanted. */
static bool frame_waits(const struct conn *c)
{
    if (c->in == NULL || in_avail(c) < FRAME_LEN_BYTES)
        return false;
    return !size_allowed(c, in_size(c)) || in_avail(c) >= FRAME_LEN_BYTES + (size_t)in_size(c);
}

static void refuse_frame(struct conn *c, int32_t size)
{
    const char *looks = c->greeted ? NULL : sniff(c->in->data + c->in_pos, in_avail(c));
    size_t max = c->t->server->opts.request_max_bytes;

    if (looks != NULL)
        conn_refuse(c, "%s", looks);
    else if (size < FRAME_MIN_BYTES)
        conn_refuse(c, "a request of %d bytes is announced, the least is %d; the peer does not speak Kafka's protocol",
                    size, FRAME_MIN_BYTES);
    else
        conn_refuse(c, "a request of %d bytes is announced, more than socket.request.max.bytes=%zu; send smaller ones "
                    "or raise it, unless the peer does not speak Kafka's protocol", size, max);
}

static void stall(struct conn *c, enum stall why)
{
    assert(c->stall == STALL_NONE);     /* it is in the list once */
    c->stall = why;
    c->stall_next = c->t->stalled;
    c->t->stalled = c;
}

/* queued.max.request.bytes: false when nothing of it is left; the connection then waits. */
static bool reserve(struct conn *c, size_t size)
{
    if (size <= INLINE_BODY_BYTES || c->reserved > 0)
        return true;
    if (!rbuf_reserve(&c->t->server->pool, size)) {
        stall(c, STALL_MEMORY);
        return false;
    }
    c->reserved = size;
    return true;
}

/* The frame's bytes become r's body: copied when they are few or in company, else the buffer goes over. */
static int take_body(struct conn *c, struct request *r, size_t size)
{
    struct rbuf_pool *pool = &c->t->server->pool;
    size_t tail = in_avail(c) - FRAME_LEN_BYTES - size;
    uint8_t *body = c->in->data + c->in_pos + FRAME_LEN_BYTES;
    struct rbuf *rest = NULL;

    if (size <= INLINE_BODY_BYTES) {
        r->body = cur_ro(memcpy(request_inline(r), body, size), size);
        c->in_pos += FRAME_LEN_BYTES + size;
        return OK;
    }
    if (c->in == c->t->scratch || tail > AHEAD_BYTES) {
        r->buf = rbuf_get(pool, size);
        if (r->buf == NULL)
            return ERR_NOMEM;
        r->body = cur_ro(memcpy(r->buf->data, body, size), size);
        c->in_pos += FRAME_LEN_BYTES + size;
    } else {
        if (tail > 0) {
            rest = rbuf_get(pool, tail);
            if (rest == NULL)
                return ERR_NOMEM;
            memcpy(rest->data, body + size, tail);
        }
        r->buf = c->in;
        r->body = cur_ro(body, size);
        c->in = rest;
        c->in_pos = 0;
        c->in_end = tail;
    }
    r->buf->reserved = c->reserved;
    c->reserved = 0;
    return OK;
}

/* The whole frame at in_pos becomes a request. NULL: out of memory, or the connection has to wait for it. */
static struct request *take_frame(struct conn *c, int64_t now_ns)
{
    size_t size = (size_t)in_size(c);
    struct request *r;

    if (!reserve(c, size))
        return NULL;
    r = request_new(c->t);
    if (r == NULL || take_body(c, r, size) != OK) {
        if (r != NULL)
            request_free(c->t, r);
        return NULL;
    }
    r->conn = c;
    r->listener = c->l->name_str;
    r->size_bytes = size;
    r->received_ns = now_ns;
    c->greeted = true;
    c->big = size > BIG_FRAME_BYTES;
    c->small = size <= INLINE_BODY_BYTES;
    return r;
}

/* May the frame at in_pos, of a good size, go with those before it, `bytes` in all? Then its memory is reserved. */
static bool keeps_company(struct conn *c, size_t bytes)
{
    size_t size = (size_t)in_size(c);

    if (size <= INLINE_BODY_BYTES)
        return true;
    if (size > BIG_FRAME_BYTES || bytes + size > BATCH_BYTES)
        return false;
    if (c->reserved == 0 && rbuf_reserve(&c->t->server->pool, size))
        c->reserved = size;
    return c->reserved > 0;
}

/* The frames that are here and can go together: one of any size, or several that are not large. */
static struct request *take_batch(struct conn *c)
{
    struct request *first = NULL, *r, **link = &first;
    int64_t now_ns = mono_ns();
    size_t bytes = 0;

    for (int n = 0; n < BATCH_MAX && frame_waits(c) && size_allowed(c, in_size(c)); n++) {
        if (n > 0 && !keeps_company(c, bytes))
            break;
        r = take_frame(c, now_ns);
        if (r == NULL)
            break;
        *link = r;
        link = &r->batch_next;
        bytes += r->size_bytes;
        if (r->size_bytes > BIG_FRAME_BYTES)
            break;
    }
    if (first != NULL)
        conn_touch(c, now_ns);
    return first;
}

/* Starts the next batch if its first frame is here. false: the connection was closed (and may be gone). */
static bool pump(struct conn *c)
{
    if (c->answers != NULL || c->stall != STALL_NONE || !frame_waits(c))
        return true;
    if (!size_allowed(c, in_size(c))) {
        refuse_frame(c, in_size(c));
        return false;
    }
    c->req = c->answers = take_batch(c);
    if (c->req == NULL) {
        if (c->stall != STALL_NONE)
            return true;
        conn_refuse(c, "no memory for a request of %d bytes", in_size(c));
        return false;
    }
    c->direct = true;
    if (!queue_push(&c->t->server->requests, &c->req->link))
        stall(c, STALL_QUEUE);
    return true;
}

/* ---- room for input ---- */

/* Moves what is not dispatched to a buffer of c's own with room for the frame that it begins. */
static int make_room(struct conn *c)
{
    size_t avail = in_avail(c), want = avail;
    struct rbuf *b;

    if (!frame_waits(c)) {
        want = AHEAD_BYTES;
        /* Who is stalled already waits for one thing only; conn_unstall() comes here again. */
        if (avail >= FRAME_LEN_BYTES && c->stall == STALL_NONE && reserve(c, (size_t)in_size(c)))
            want += (size_t)in_size(c);
        if (want < avail)
            want = avail;
    }
    if (c->in != c->t->scratch && c->in->cap - c->in_pos >= want)
        return OK;
    b = rbuf_get(&c->t->server->pool, want);
    if (b == NULL)
        return ERR_NOMEM;
    memcpy(b->data, c->in->data + c->in_pos, avail);
    if (c->in != c->t->scratch)
        rbuf_put(&c->t->server->pool, &c->in);
    c->in = b;
    c->in_pos = 0;
    c->in_end = avail;
    return OK;
}

static void set_reading(struct conn *c, bool on)
{
    if (c->reading == on)
        return;
    c->reading = on;
    if (on)
        event_add(&c->ev_read, NULL);
    else
        event_del(&c->ev_read);
}

/* Puts the connection in order before the event loop goes on: the scratch is free again, the events are right.
 * false: it was closed. */
static bool settle(struct conn *c)
{
    bool hot = !c->reading && c->req != NULL && !c->big;

    if (c->in != NULL && in_avail(c) == 0) {
        if (c->in == c->t->scratch)
            c->in = NULL;
        rbuf_put(&c->t->server->pool, &c->in);
        c->in_pos = c->in_end = 0;
    } else if (c->in != NULL && make_room(c) != OK) {
        conn_refuse(c, "no memory for its input");
        return false;
    }
    if (c->eof && c->answers == NULL && c->stall == STALL_NONE) {
        if (c->in != NULL)
            conn_refuse(c, "the peer ended the connection inside a request, after %zu bytes of it", in_avail(c));
        else
            conn_close(c);
        return false;
    }
    set_reading(c, !c->eof && c->stall == STALL_NONE && !c->t->draining && !frame_waits(c) && !hot);
    set_impatient(c, c->req != NULL && !c->reading);
    return true;
}

/* ---- events ---- */

enum got { GOT_ALL, GOT_SOME, GOT_END, GOT_ERROR };

static enum got fill(struct conn *c)
{
    size_t room, frame_end;
    ssize_t n;

    if (c->in == NULL) {
        c->in = c->t->scratch;
        c->in_pos = c->in_end = 0;
        room = c->big ? AHEAD_BYTES : c->in->cap;
    } else {
        room = c->in->cap - c->in_end;
        if (c->in != c->t->scratch && in_avail(c) >= FRAME_LEN_BYTES) {
            frame_end = c->in_pos + FRAME_LEN_BYTES + (size_t)in_size(c);
            if (room > frame_end + AHEAD_BYTES - c->in_end)
                room = frame_end + AHEAD_BYTES - c->in_end;
        }
    }
    n = recv(c->fd, c->in->data + c->in_end, room, 0);
    if (n > 0) {
        c->in_end += (size_t)n;
        return (size_t)n == room ? GOT_ALL : GOT_SOME;
    }
    if (n == 0)
        return GOT_END;
    return errno == EAGAIN || errno == EINTR ? GOT_SOME : GOT_ERROR;
}

/* What comes may be many frames that are neither small nor large: there is room for them in the scratch only. */
static bool wants_scratch(const struct conn *c)
{
    return c->in != NULL && c->in != c->t->scratch && !c->big && !c->small && in_avail(c) < TOP_UP_BYTES;
}

static void use_scratch(struct conn *c)
{
    size_t avail = in_avail(c);

    memcpy(c->t->scratch->data, c->in->data + c->in_pos, avail);
    rbuf_put(&c->t->server->pool, &c->in);
    c->in = c->t->scratch;
    c->in_pos = 0;
    c->in_end = avail;
}

/* Without the event, since nothing is in work. */
static bool may_read(const struct conn *c)
{
    return c->answers == NULL && !c->reading && !c->eof && c->stall == STALL_NONE;
}

/* Reads what is there, within reason, and starts what it makes whole. */
static void read_on(struct conn *c)
{
    size_t before, budget = READ_BUDGET_BYTES;
    enum got got;

    if (wants_scratch(c))
        use_scratch(c);
    do {
        before = c->in != NULL ? c->in_end : 0;
        got = fill(c);
        if (got == GOT_ERROR) {
            conn_close(c);
            return;
        }
        budget -= c->in_end - before < budget ? c->in_end - before : budget;
        c->eof = got == GOT_END;
        if (!pump(c) || !settle(c))
            return;
    } while (got == GOT_ALL && c->reading && budget > 0);
    if (c->in != NULL)                  /* a slow sender of a large request is not idle */
        conn_touch(c, mono_ns());
    if (c->eof)
        tell_closed(c);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;
    struct nthread *t = c->t;

    (void)fd, (void)what;
    nthread_awake(t);
    if (!mpsc_empty(&t->done)) {        /* c's own request may be there, and nobody was woken for it */
        t->current = c;
        nthread_take_done(t);
        if (t->current == NULL || !c->reading)
            return;
        t->current = NULL;
    }
    read_on(c);
}

/* Its batch was to be done soon, so it is not read; but it is parked. It is read after all, or, as the next frame is
 * here already, we only look whether its peer is still there. */
void conn_look(struct conn *c)
{
    struct pollfd p = { .fd = c->fd, .events = POLLRDHUP };

    if (c->reading || c->req == NULL || c->stall != STALL_NONE)
        return;
    if (!frame_waits(c) && !c->eof && !c->t->draining) {
        set_reading(c, true);
        set_impatient(c, false);
    } else if (poll(&p, 1, 0) > 0) {
        if (p.revents & (POLLERR | POLLHUP))
            conn_close(c);
        else
            tell_closed(c);
    }
}

static void set_writing(struct conn *c, bool on)
{
    if (c->writing == on)
        return;
    c->writing = on;
    if (on)
        event_add(&c->ev_write, NULL);
    else
        event_del(&c->ev_write);
}

/* Frees the answers before `unsent`. false: one of them says that the connection is to be closed, and it was. */
static bool free_sent(struct conn *c, const struct request *unsent)
{
    while (c->answers != unsent) {
        struct request *r = c->answers;

        if (r->ending == ENDING_CLOSE) {
            if (r->close_why != NULL)
                conn_refuse(c, "%s v%d: %s", api_name(r->api_key), r->version, r->close_why);
            else
                conn_close(c);
            return false;
        }
        c->answers = r->batch_next;
        request_free(c->t, r);
    }
    return true;
}

/* false: not all answers are out; the write event, or the end of the connection, is what comes next. */
static bool send_answers(struct conn *c)
{
    struct request *unsent = c->answers;
    enum sent sent;

    while (unsent != c->req && unsent->sent)    /* by the IO thread */
        unsent = unsent->batch_next;
    sent = conn_send(c, &unsent, c->req, false);
    if (!free_sent(c, unsent))
        return false;
    if (sent == SENT_COLD) {            /* a disk thread may wait for it */
        set_writing(c, false);
        c->lent = true;
        c->out_end = c->req;
        atomic_store(&unsent->phase, PHASE_SENDING);
        queue_push_over(&c->t->server->cold, &unsent->link);
        return false;
    }
    if (sent == SENT_FAILED) {
        conn_close(c);
        return false;
    }
    set_writing(c, sent == SENT_PART);
    return sent == SENT_ALL;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;

    (void)fd, (void)what;
    nthread_awake(c->t);
    conn_touch(c, mono_ns());
    conn_go_on(c);
}

void conn_ended(struct conn *c, struct request *r)
{
    r->back = true;
    if (r != c->req && r->buf != NULL && r->buf->reserved > 0) {    /* it has been run; only its answer waits */
        rbuf_unreserve(&c->t->server->pool, r->buf->reserved);
        r->buf->reserved = 0;
    }
    while (c->req != NULL && c->req->back) {
        r = c->req;
        c->req = r->batch_next;
        c->rest_waits = false;
        if (r->alone)
            continue;                   /* the rest is in work, or is back */
        if (r->ending == ENDING_CLOSE || (c->dead && r->ended_parked))
            c->req = NULL;              /* the rest is not run; it is freed with the connection */
        c->rest_waits = r->ended_parked && c->req != NULL;
    }
}

void conn_returned(struct conn *c, struct request *r)
{
    atomic_store(&r->phase, PHASE_ENDED);
    c->lent = false;
    c->returned = true;
}

void conn_go_on(struct conn *c)
{
    if (c->lent)
        return;
    if (c->dead) {
        if (c->req != NULL && !c->rest_waits)
            return;
        c->t->orphans_n--;
        conn_free(c);
        return;
    }
    if (c->returned) {
        c->returned = false;
        if (c->out_sent == SENT_FAILED) {
            conn_close(c);
            return;
        }
        conn_touch(c, mono_ns());
        if (c->out_sent == SENT_PART) {
            set_writing(c, true);
            return;
        }
    }
    if (!send_answers(c))
        return;
    if (c->rest_waits) {
        c->rest_waits = false;
        c->direct = true;
        queue_push_over(&c->t->server->requests, &c->req->link);
    }
    if (c->t->draining && c->answers == NULL) {
        conn_close(c);
        return;
    }
    /* With more of them than are here by now, the next batch costs each request less. */
    if (!(may_read(c) && wants_scratch(c)) && !pump(c))
        return;
    if (may_read(c))
        read_on(c);
    else
        settle(c);
}

void conn_unstall(struct conn *c)
{
    enum stall was = c->stall;

    c->stall = STALL_NONE;
    if (was == STALL_QUEUE && !queue_push(&c->t->server->requests, &c->req->link)) {
        stall(c, STALL_QUEUE);
        return;
    }
    if (pump(c))
        settle(c);
}

void conn_adopt(struct nthread *t, struct conn *c)
{
    c->t = t;
    DL_APPEND(t->conns, c);
    c->active_ms = mono_ms();
    event_assign(&c->ev_read, t->base, c->fd, EV_READ | EV_PERSIST, on_readable, c);
    event_assign(&c->ev_write, t->base, c->fd, EV_WRITE | EV_PERSIST, on_writable, c);
    if (t->draining)
        conn_close(c);
    else
        set_reading(c, true);
}

void conn_drain(struct conn *c)
{
    if (c->answers == NULL || c->stall == STALL_QUEUE || c->rest_waits) {
        conn_close(c);
        return;
    }
    set_reading(c, false);
    set_impatient(c, true);
}
