/* broker/controller/producer_blocks.c - AllocateProducerIds: the next block of producer ids for a broker.
 *
 * The node is the one that brokers before 3.0 write by themselves, so the write is conditional here as well: whoever
 * comes second reads again.
 */
#include "broker/controller/ask.h"

#include "base/log.h"
#include "broker/controller/priv.h"
#include "broker/txn/producer_ids.h"
#include "proto/gen/allocate_producer_ids_request.h"
#include "proto/gen/allocate_producer_ids_response.h"
#include "proto/kerr.h"

struct block {
    struct frame                           f;
    int32_t                                broker;
    struct allocate_producer_ids_response *resp;
    int64_t                                start;
    int32_t                                version;
    bool                                   there, again;
};

static void refuse(struct block *b, int rc)
{
    log_error("controller: producer ids for broker %d: " PRODUCER_BLOCK_PATH " cannot be used: %s", b->broker,
              err_text(rc));
    b->resp->error_code = KERR_UNKNOWN_SERVER_ERROR;
}

static void block_read(struct controller *c, struct store_call *call, void *subject)
{
    struct block *b = subject;
    int rc = call->rc;

    (void)c;
    b->there = rc != ERR_NOENT;
    b->start = 0;
    b->version = call->ops[0].stat.version;
    if (rc == OK)
        rc = producer_block_next(call->ops[0].value, &b->start);
    if (rc != OK && rc != ERR_NOENT)
        refuse(b, rc);
}

static enum step_next read_block(struct controller *c, struct frame *f)
{
    struct store_call *call = ctl_call(c);

    ((struct block *)f)->again = false;
    if (call == NULL)
        return STEP_END;
    store_get(call, PRODUCER_BLOCK_PATH, 0);
    ctl_ask(c, call, block_read, f);
    return STEP_NEXT;
}

static void block_written(struct controller *c, struct store_call *call, void *subject)
{
    struct block *b = subject;

    (void)c;
    b->again = call->rc == ERR_VERSION || call->rc == ERR_EXISTS;
    if (call->rc == OK) {
        b->resp->producer_id_start = b->start;
        b->resp->producer_id_len = PRODUCER_BLOCK_SIZE;
    } else if (!b->again) {
        refuse(b, call->rc);
    }
}

static enum step_next write_block(struct controller *c, struct frame *f)
{
    struct block *b = (struct block *)f;
    char text[PRODUCER_BLOCK_TEXT];
    struct bytes data = producer_block_text(text, b->broker, b->start);
    struct store_call *call = b->resp->error_code == KERR_NONE ? ctl_fenced_call(c) : NULL;

    if (call == NULL)
        return STEP_END;
    if (b->there)
        store_set(call, PRODUCER_BLOCK_PATH, data, b->version);
    else
        store_create(call, PRODUCER_BLOCK_PATH, data, STORE_PERSISTENT);
    ctl_ask(c, call, block_written, b);
    return STEP_NEXT;
}

static enum step_next repeat(struct controller *c, struct frame *f)
{
    (void)c;
    if (!((struct block *)f)->again)
        return STEP_NEXT;
    f->at = 0;
    return STEP_AGAIN;
}

void producer_ids_asked(struct controller *c, struct controller_ask *ask)
{
    static const struct step steps[] = {
        { "read the last block", read_block }, { "write the next", write_block }, { "repeat", repeat }, { NULL, NULL },
    };
    const struct allocate_producer_ids_request *req = ask->req;
    struct allocate_producer_ids_response *resp = ask->resp;
    const struct ctl_broker *asker = context_broker(&c->ctx, req->broker_id);
    struct block *b;

    if (asker == NULL || !asker->live) {
        resp->error_code = KERR_BROKER_ID_NOT_REGISTERED;
        return;
    }
    if (asker->epoch != req->broker_epoch) {
        resp->error_code = KERR_STALE_BROKER_EPOCH;
        return;
    }
    b = frame_push(c, sizeof *b, steps);
    if (b == NULL)
        return;
    b->broker = req->broker_id;
    b->resp = resp;
}
