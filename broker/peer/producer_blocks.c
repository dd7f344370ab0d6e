/* broker/peer/producer_blocks.c - one thread that sleeps until a block is wanted. */
#include "broker/peer/producer_blocks.h"

#include "base/chain.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "broker/cluster/standing.h"
#include "broker/peer/controller_link.h"
#include "broker/txn/producer_ids.h"
#include "config/config.h"
#include "proto/gen/allocate_producer_ids_request.h"
#include "proto/gen/allocate_producer_ids_response.h"
#include "proto/gen/apis.h"
#include "proto/kerr.h"

#include <stdlib.h>

#define RETRY_MS   50
#define BODY_MAX   64
#define MEMORY_MAX ((size_t)1 << 20)

struct producer_blocks {
    struct producer_blocks_opts o;
    struct controller_link     *link;
    pthread_t                   thread;
    bool                        started, joined;
    /* under lock */
    struct lock                 lock;
    struct cond                 cond;
    bool                        wanted, closing;
};

static int encode(struct producer_blocks *b, struct arena *a, int16_t version, uint8_t body[BODY_MAX], size_t *len)
{
    struct allocate_producer_ids_request req;
    struct chain ch;
    int rc;

    allocate_producer_ids_request_init(&req);
    req.broker_id = b->o.broker_id;
    req.broker_epoch = standing_broker_epoch(b->o.standing);
    chain_init(&ch, a);
    rc = allocate_producer_ids_request_write(&ch, &req, version);
    if (rc == OK)
        rc = ch.len <= BODY_MAX ? chain_flatten(&ch, body, ch.len) : ERR_TOO_LARGE;
    *len = ch.len;
    chain_fini(&ch);
    return rc;
}

/* *error: what the controller says to it. */
static int ask(struct producer_blocks *b, struct arena *a, int64_t *start, int32_t *n, int16_t *error)
{
    int16_t version = ibp_version(&b->o.ibp, API_ALLOCATE_PRODUCER_IDS);
    struct allocate_producer_ids_response resp;
    uint8_t body[BODY_MAX];
    struct bytes answer;
    struct cursor c;
    size_t len;

    TRY(encode(b, a, version, body, &len));
    TRY(controller_link_call(b->link, API_ALLOCATE_PRODUCER_IDS, version, (struct bytes){ body, len }, 0, &answer));
    c = cur_ro(answer.p, answer.len);
    TRY(allocate_producer_ids_response_read(&c, version, a, &resp));
    *error = resp.error_code;
    *start = resp.producer_id_start;
    *n = resp.producer_id_len;
    if (resp.error_code != KERR_NONE)
        return ERR_AGAIN;
    return *start < 0 || *n <= 0 || *start > INT64_MAX - *n ? ERR_CORRUPT : OK;
}

static int get(struct producer_blocks *b, int64_t *start, int32_t *n)
{
    int64_t end_ms = mono_ms() + b->o.cfg->request_timeout_ms;
    int16_t error = KERR_NONE;
    struct arena a;
    int rc;

    arena_init(&a, MEMORY_MAX);
    while ((rc = ask(b, &a, start, n, &error)) != OK && rc != ERR_CLOSED && mono_ms() < end_ms) {
        arena_reset(&a);
        if (controller_link_wait(b->link, -1, RETRY_MS) == ERR_CLOSED)
            rc = ERR_CLOSED;
        if (rc == ERR_CLOSED)
            break;
    }
    arena_fini(&a);
    if (rc == OK || rc == ERR_CLOSED)
        return rc;
    log_error("producer ids: the controller, broker %d, gives none: %s", controller_link_to(b->link),
              rc == ERR_AGAIN && error != KERR_NONE ? kerr_name(error) : err_text(rc));
    return ERR_TIMEOUT;
}

static void *blocks_main(void *arg)
{
    struct producer_blocks *b = arg;

    pthread_setname_np(pthread_self(), "producer-blocks");
    while (true) {
        int64_t start = 0;
        int32_t n = 0;
        bool wanted, closing;
        int rc = ERR_CLOSED;

        lock_take(&b->lock);
        while (!b->wanted && !b->closing)
            cond_wait(&b->cond, &b->lock);
        wanted = b->wanted;
        closing = b->closing;
        b->wanted = false;
        lock_drop(&b->lock);
        if (wanted && !closing)
            rc = get(b, &start, &n);
        if (wanted)
            producer_ids_claimed(b->o.ids, rc, start, n);
        if (closing)
            return NULL;
    }
}

void producer_blocks_claim(void *arg)
{
    struct producer_blocks *b = arg;
    bool closing;

    lock_take(&b->lock);
    closing = b->closing;
    b->wanted = !closing;
    cond_signal(&b->cond);
    lock_drop(&b->lock);
    if (closing)
        producer_ids_claimed(b->o.ids, ERR_CLOSED, 0, 0);
}

int producer_blocks_new(struct producer_blocks **out, const struct producer_blocks_opts *o)
{
    struct controller_link_opts lo = { .cfg = o->cfg, .metacache = o->metacache, .broker_id = o->broker_id,
                                       .timeout_ms = o->cfg->request_timeout_ms, .what = "producer ids" };
    struct producer_blocks *b = calloc(1, sizeof *b);
    int rc;

    *out = NULL;
    if (b == NULL)
        return ERR_NOMEM;
    b->o = *o;
    lock_init(&b->lock, LOCK_ctlqueue);
    cond_init(&b->cond);
    rc = controller_link_new(&b->link, &lo);
    if (rc == OK && pthread_create(&b->thread, NULL, blocks_main, b) != 0)
        rc = ERR_SYSTEM;
    b->started = rc == OK;
    if (rc != OK) {
        producer_blocks_free(&b);
        return rc;
    }
    *out = b;
    return OK;
}

void producer_blocks_stop(struct producer_blocks *b)
{
    if (!b->started || b->joined)
        return;
    lock_take(&b->lock);
    b->closing = true;
    cond_signal(&b->cond);
    lock_drop(&b->lock);
    controller_link_interrupt(b->link);
    pthread_join(b->thread, NULL);
    b->joined = true;
}

void producer_blocks_free(struct producer_blocks **bp)
{
    struct producer_blocks *b = *bp;

    *bp = NULL;
    if (b == NULL)
        return;
    producer_blocks_stop(b);
    controller_link_free(&b->link);
    cond_fini(&b->cond);
    lock_fini(&b->lock);
    free(b);
}
