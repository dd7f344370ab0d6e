/* broker/txn/producer_ids.c - claiming blocks of producer ids.
 *
 *            take() finds the block used up            read                 written
 *   (idle) ------------------------------> READ NODE ------> WRITE NODE -------------> (idle), waiters served
 *                                              ^                  | somebody else was faster
 *                                              +------------------+
 *
 * /latest_producer_id_block   {"version":1,"broker":2,"block_start":"3000","block_end":"3999"}, both ends inclusive;
 * empty: nobody has claimed any.
 */
#include "broker/txn/producer_ids.h"

#include "base/lock.h"
#include "base/log.h"
#include "metadata/store.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

struct producer_ids {
    /* fixed */
    struct store *store;
    int32_t       broker_id;
    void        (*claim)(void *arg);    /* NULL: blocks are claimed here */
    void         *claim_arg;
    /* under `lock` (class producerids) */
    struct lock   lock;
    struct cond   idle;                 /* `claiming` became false */
    int64_t       next, last;           /* next > last: used up */
    bool          claiming;             /* a claim is under way */
    struct producer_id_waiter *waiters, **waiters_end;
    /* of the claim under way */
    int64_t       claim_start;
};

static void claim(struct producer_ids *ids);

/* Serves the waiters as far as the block reaches (rc OK), or fails them all. Starts the next claim if some remain. */
static void serve(struct producer_ids *ids, int rc)
{
    bool again = false;

    while (true) {
        struct producer_id_waiter *w;
        int64_t id = -1;

        lock_take(&ids->lock);
        w = ids->waiters;
        if (w != NULL && rc == OK && ids->next > ids->last) {
            again = true;               /* `claiming` stays */
            w = NULL;
        } else if (w != NULL) {
            ids->waiters = w->next;
            if (ids->waiters == NULL)
                ids->waiters_end = &ids->waiters;
            if (rc == OK)
                id = ids->next++;
        } else {
            ids->claiming = false;
            cond_broadcast(&ids->idle);
        }
        lock_drop(&ids->lock);
        if (w == NULL)
            break;
        w->done(w, rc, id);
    }
    if (again)
        claim(ids);
}

/* The first id of the next block. */
int producer_block_next(struct bytes value, int64_t *start)
{
    json_t *doc;
    const char *end_text;
    char *rest;
    long long end;

    *start = 0;
    if (value.len == 0)
        return OK;
    doc = json_loadb((const char *)value.p, value.len, 0, NULL);
    end_text = json_string_value(json_object_get(doc, "block_end"));
    end = end_text != NULL ? strtoll(end_text, &rest, 10) : -1;
    if (end_text == NULL || *end_text == '\0' || *rest != '\0' || end < 0) {
        json_decref(doc);
        return ERR_CORRUPT;
    }
    json_decref(doc);
    if (end > INT64_MAX - PRODUCER_BLOCK_SIZE)
        return ERR_LIMIT;
    *start = end + 1;
    return OK;
}

struct bytes producer_block_text(char text[PRODUCER_BLOCK_TEXT], int32_t broker_id, int64_t start)
{
    int n = snprintf(text, PRODUCER_BLOCK_TEXT,
                     "{\"version\":1,\"broker\":%d,\"block_start\":\"%" PRId64 "\",\"block_end\":\"%" PRId64 "\"}",
                     (int)broker_id, start, start + PRODUCER_BLOCK_SIZE - 1);

    return (struct bytes){ (const uint8_t *)text, (size_t)n };
}

static void written(struct store_call *call)
{
    struct producer_ids *ids = call->arg;
    int rc = call->rc;

    store_call_free(&call);
    if (rc == ERR_VERSION || rc == ERR_EXISTS) {
        claim(ids);
        return;
    }
    if (rc != OK)
        log_error("producer ids: %s cannot be written: %s", PRODUCER_BLOCK_PATH, err_text(rc));
    producer_ids_claimed(ids, rc, ids->claim_start, PRODUCER_BLOCK_SIZE);
}

void producer_ids_claimed(struct producer_ids *ids, int rc, int64_t start, int32_t n)
{
    if (rc == OK) {
        lock_take(&ids->lock);
        ids->next = start;
        ids->last = start + n - 1;
        lock_drop(&ids->lock);
        log_info("producer ids %" PRId64 " to %" PRId64 " claimed", start, start + n - 1);
    }
    serve(ids, rc);
}

void producer_ids_from(struct producer_ids *ids, void (*claim_fn)(void *arg), void *arg)
{
    ids->claim = claim_fn;
    ids->claim_arg = arg;
}

static void have_read(struct store_call *call)
{
    struct producer_ids *ids = call->arg;
    bool missing = call->rc == ERR_NOENT;
    int32_t version = missing ? 0 : call->ops[0].stat.version;
    int rc = missing ? OK : call->rc;
    struct store_call *write;
    char text[PRODUCER_BLOCK_TEXT];
    struct bytes data;

    ids->claim_start = 0;
    if (rc == OK && !missing)
        rc = producer_block_next(call->ops[0].value, &ids->claim_start);
    store_call_free(&call);
    write = rc == OK ? store_call_new(written, ids) : NULL;
    if (rc == OK && write == NULL)
        rc = ERR_NOMEM;
    if (rc != OK) {
        log_error("producer ids: %s cannot be used: %s", PRODUCER_BLOCK_PATH, err_text(rc));
        serve(ids, rc);
        return;
    }
    data = producer_block_text(text, ids->broker_id, ids->claim_start);
    if (missing)
        store_create(write, PRODUCER_BLOCK_PATH, data, STORE_PERSISTENT);
    else
        store_set(write, PRODUCER_BLOCK_PATH, data, version);
    store_submit(ids->store, write);
}

static void claim(struct producer_ids *ids)
{
    struct store_call *call;

    if (ids->claim != NULL) {
        ids->claim(ids->claim_arg);
        return;
    }
    call = store_call_new(have_read, ids);
    if (call == NULL) {
        serve(ids, ERR_NOMEM);
        return;
    }
    store_get(call, PRODUCER_BLOCK_PATH, 0);
    store_submit(ids->store, call);
}

void producer_ids_take(struct producer_ids *ids, struct producer_id_waiter *w)
{
    int64_t id = -1;
    bool start = false;

    lock_take(&ids->lock);
    if (ids->next <= ids->last && ids->waiters == NULL) {
        id = ids->next++;
    } else {
        w->next = NULL;
        *ids->waiters_end = w;
        ids->waiters_end = &w->next;
        start = !ids->claiming;
        ids->claiming = true;
    }
    lock_drop(&ids->lock);
    if (id >= 0)
        w->done(w, OK, id);
    else if (start)
        claim(ids);
}

int producer_ids_new(struct producer_ids **out, struct store *store, int32_t broker_id)
{
    struct producer_ids *ids = calloc(1, sizeof *ids);

    if (ids == NULL)
        return ERR_NOMEM;
    ids->store = store;
    ids->broker_id = broker_id;
    ids->last = -1;
    ids->waiters_end = &ids->waiters;
    lock_init(&ids->lock, LOCK_producerids);
    cond_init(&ids->idle);
    *out = ids;
    return OK;
}

void producer_ids_free(struct producer_ids **idsp)
{
    struct producer_ids *ids = *idsp;

    if (ids == NULL)
        return;
    lock_take(&ids->lock);
    while (ids->claiming)
        cond_wait(&ids->idle, &ids->lock);
    lock_drop(&ids->lock);
    cond_fini(&ids->idle);
    lock_fini(&ids->lock);
    free(ids);
    *idsp = NULL;
}
