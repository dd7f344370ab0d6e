/* broker/txn/producer_ids.h - ids for idempotent producers, in blocks of 1,000 from /latest_producer_id_block.
 *
 * A block is claimed by a conditional write, so brokers of both kinds may share the node; what is left of it when the
 * broker stops is never given out.
 *
 * OWNER   the daemon makes one. A waiter is the caller's and must stay until done() is called.
 * LOCKS   class producerids inside. Any thread may ask.
 * THREADS done() is called once, at once on the caller's thread while the block lasts, else on the store's thread:
 *         it must only post.
 */
#ifndef BROKER_TXN_PRODUCER_IDS_H
#define BROKER_TXN_PRODUCER_IDS_H

#include "base/bytes.h"
#include "base/err.h"

#include <stdint.h>

/* ---- the node of blocks, which the controller writes as well ---- */
#define PRODUCER_BLOCK_PATH "/latest_producer_id_block"
#define PRODUCER_BLOCK_SIZE 1000
#define PRODUCER_BLOCK_TEXT 128

int          producer_block_next(struct bytes node, int64_t *start) must_use;  /* ERR_CORRUPT; ERR_LIMIT: used up */
struct bytes producer_block_text(char text[PRODUCER_BLOCK_TEXT], int32_t broker_id, int64_t start);

/* ---- those that this broker gives out ---- */
struct producer_ids;
struct store;

struct producer_id_waiter {
    void  (*done)(struct producer_id_waiter *w, int rc, int64_t id);   /* rc: OK, or the store's ERR_* */
    struct producer_id_waiter *next;    /* producer_ids.c */
};

int  producer_ids_new(struct producer_ids **out, struct store *store, int32_t broker_id) must_use;  /* ERR_NOMEM */
void producer_ids_free(struct producer_ids **ids);      /* NULL-safe; waits for a claim: the store must stand */

/* Blocks come from elsewhere than the node: claim(arg) is called when one is needed, with nothing locked, never while
 * one is being claimed; it must end in producer_ids_claimed(), on any thread. Set before the first id is taken. */
void producer_ids_from(struct producer_ids *ids, void (*claim)(void *arg), void *arg);
void producer_ids_claimed(struct producer_ids *ids, int rc, int64_t start, int32_t n);

void producer_ids_take(struct producer_ids *ids, struct producer_id_waiter *w);

#endif
