/* broker/peer/producer_blocks.h - blocks of producer ids from the controller (AllocateProducerIds), as brokers get them
 * from inter.broker.protocol.version 3.0-IV0 on. Before that each claims its own in the store (txn/producer_ids.c).
 *
 * OWNER   the daemon makes one for its producer_ids, which it tells of the outcome of each claim.
 * THREADS one of its own, which asks; any thread claims.
 * FAILURE a controller that cannot be asked, or refuses, is asked again every 50 ms for request.timeout.ms; then the
 *         claim fails with ERR_TIMEOUT. ERR_CLOSED after producer_blocks_stop().
 */
#ifndef BROKER_PEER_PRODUCER_BLOCKS_H
#define BROKER_PEER_PRODUCER_BLOCKS_H

#include "base/err.h"
#include "broker/cluster/ibp.h"

struct config;
struct metadata_cache;
struct producer_blocks;
struct producer_ids;
struct standing;

struct producer_blocks_opts {           /* borrowed */
    const struct config   *cfg;
    struct ibp             ibp;
    int32_t                broker_id;
    struct standing       *standing;
    struct metadata_cache *metacache;
    struct producer_ids   *ids;
};

int  producer_blocks_new(struct producer_blocks **out, const struct producer_blocks_opts *o) must_use;
void producer_blocks_claim(void *blocks);               /* for producer_ids_from() */
void producer_blocks_stop(struct producer_blocks *b);   /* a claim under way fails, and all later ones */
void producer_blocks_free(struct producer_blocks **b);  /* NULL-safe; stops it */

#endif
