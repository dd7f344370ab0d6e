/* broker/net/request.c - requests: memory, and how they end.
 *
 * A request and room for a small body are one allocation, made and kept for use again by its network thread. What it
 * had in its arena is kept too while it is little.
 */
#include "broker/net/net_priv.h"

#include <assert.h>
#include <stdlib.h>

#define ARENA_LIMIT_BYTES ((size_t)256 << 20)
#define ARENA_KEEP_BYTES  ((size_t)8 << 10)
#define SPARE_MAX         256

enum close_state { CLOSE_UNKNOWN, CLOSE_WATCHED, CLOSE_HAPPENED };

struct request_block {
    struct request r;
    uint8_t        inline_body[INLINE_BODY_BYTES];
};

uint8_t *request_inline(struct request *r)
{
    return ((struct request_block *)r)->inline_body;
}

struct request *request_new(struct nthread *t)
{
    struct request *r = t->spare;
    struct arena arena;

    if (r != NULL) {
        t->spare = (struct request *)r->link.next;
        if (--t->spare_n < t->spare_low)
            t->spare_low = t->spare_n;
        arena = r->arena;
    } else {
        r = malloc(sizeof(struct request_block));
        if (r == NULL)
            return NULL;
        arena_init(&arena, ARENA_LIMIT_BYTES);
    }
    *r = (struct request){ .magic = REQUEST_MAGIC, .arena = arena };
    return r;
}

void request_free(struct nthread *t, struct request *r)
{
    assert(r->magic == REQUEST_MAGIC);
    r->magic = 0;
    chain_fini(&r->out);
    rbuf_put(&t->server->pool, &r->buf);
    arena_reset(&r->arena);
    if (r->arena.taken_bytes > ARENA_KEEP_BYTES)
        arena_fini(&r->arena);
    if (t->spare_n >= SPARE_MAX) {
        arena_fini(&r->arena);
        free(r);
        return;
    }
    r->link.next = (struct qnode *)t->spare;
    t->spare = r;
    t->spare_n++;
}

void requests_trim(struct nthread *t)
{
    for (; t->spare_low > 0; t->spare_low--) {
        struct request *r = t->spare;

        t->spare = (struct request *)r->link.next;
        t->spare_n--;
        arena_fini(&r->arena);
        free(r);
    }
    t->spare_low = t->spare_n;
}

/* ---- how it ends ---- */

/* Whoever ends it after the handler has returned hands it back; before that, the IO thread does. */
static void end(struct request *r, enum request_ending ending)
{
    struct nthread *t = r->conn->t;
    int was;

    assert(r->magic == REQUEST_MAGIC);
    r->ending = ending;
    was = atomic_exchange(&r->phase, PHASE_ENDED);
    assert(was == PHASE_RUNNING || was == PHASE_PARKED);
    if (was != PHASE_PARKED)
        return;
    r->ended_parked = true;
    if (r->sends && r->batch_next == NULL) {
        answers_hand_back(r, NULL);
        return;
    }
    mpsc_push(&t->done, &r->link);
    nthread_wake(t);
}

void request_reply(struct request *r, struct chain *body)
{
    size_t head = r->response_header_version > 0 ? 9 : 8;
    size_t len = body->len + head - 4;

    r->out = *body;
    chain_init(body, &r->arena);
    if (r->out.rc != OK || len > INT32_MAX) {
        request_close(r, r->out.rc != OK ? err_text(r->out.rc) : "the answer is larger than 2 GiB");
        return;
    }
    be_put32(r->head, (uint32_t)len);
    be_put32(r->head + 4, (uint32_t)r->correlation_id);
    r->head[8] = 0;                     /* no tagged fields */
    r->head_len = (uint8_t)head;
    end(r, ENDING_REPLY);
}

void request_no_reply(struct request *r)
{
    end(r, ENDING_SILENT);
}

void request_close(struct request *r, const char *why)
{
    r->close_why = why;
    end(r, ENDING_CLOSE);
}

void request_release_body(struct request *r)
{
    r->body = cur_ro(NULL, 0);
    rbuf_put(&r->conn->t->server->pool, &r->buf);
}

bool request_next_is_alike(const struct request *r)
{
    struct cursor next;

    if (r->batch_next == NULL)
        return false;
    next = r->batch_next->body;         /* nobody has read of it yet */
    return cur_i16(&next) == r->api_key;
}

void request_let_next(struct request *r)
{
    r->lets_next = true;
}

void request_end_here(struct request *r)
{
    r->sends = true;
}

bool request_on_close(struct request *r, void (*fn)(struct request *r, void *arg), void *arg)
{
    int unknown = CLOSE_UNKNOWN;

    r->close_fn = fn;
    r->close_arg = arg;
    return atomic_compare_exchange_strong(&r->close_state, &unknown, CLOSE_WATCHED);
}

bool request_notify_close(struct request *r)
{
    if (atomic_exchange(&r->close_state, CLOSE_HAPPENED) != CLOSE_WATCHED)
        return false;
    r->close_fn(r, r->close_arg);
    return true;
}

void request_resume(struct request *r, void (*fn)(struct broker *, struct request *))
{
    struct server *s = r->conn->t->server;
    int was = PHASE_RUNNING;

    r->resume_fn = fn;
    if (atomic_compare_exchange_strong(&r->phase, &was, PHASE_RESUMED))
        return;                         /* its IO thread is still in the handler and goes on with fn itself */
    assert(was == PHASE_PARKED);
    atomic_store(&r->phase, PHASE_QUEUED);
    queue_push_over(&s->requests, &r->link);
}

const char *request_peer(const struct request *r, char out[REQUEST_PEER_MAX])
{
    return address_text(&r->conn->peer, out);
}
