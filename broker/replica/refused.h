/* broker/replica/refused.h - batches of idempotent producers that were refused for a while.
 *
 * A producer has several batches of a partition under way. If the first is refused with an error after which it may
 * try again, the next one may find the reason gone: there is room on the disk again, enough replicas are in sync, we
 * lead now. Where the log knows the producer, that batch is out of order. Where it does not, it may begin anywhere,
 * and would be taken: then the first one, sent again, is refused for ever, and librdkafka, which sees that the second
 * was written, reports it as delivered. So the lowest sequence that was refused is remembered here, and what an unknown
 * producer sends above it is out of order as well. Apache Kafka does the same, for transactional producers only
 * (the lowest sequence of its VerificationStateEntry).
 *
 * It counts for REFUSED_MS after the last refusal: until what was under way behind it has come. Longer would do harm:
 * the batch may have been taken by another leader since, of whose log ours knows nothing (the topic was made anew).
 *
 * OWNER    the replica manager has one.
 * LOCKS    class refused inside. Any thread.
 * UNITS    times are mono_ms().
 * FAILURE  out of memory: a batch is not remembered. Of more than REFUSED_MAX producers those go that were refused
 *          longest ago.
 */
#ifndef BROKER_REPLICA_REFUSED_H
#define BROKER_REPLICA_REFUSED_H

#include "base/bytes.h"
#include "base/err.h"
#include "proto/records/batch.h"

#define REFUSED_MAX 10000
#define REFUSED_MS  60000                   /* twice the usual request.timeout.ms */

struct refused;

int  refused_new(struct refused **out) must_use;
void refused_free(struct refused **rf);         /* NULL-safe */

/* h is refused. Not for what has no producer id. */
void refused_note(struct refused *rf, struct str topic, int32_t partition, const struct batch_head *h, int64_t now_ms);
/* Was a batch of h's producer, in its epoch, refused? *sequence is then the lowest of them. */
bool refused_before(struct refused *rf, struct str topic, int32_t partition, const struct batch_head *h, int64_t now_ms,
                    int32_t *sequence);
/* h is in the log, which knows its producer from now on. */
void refused_taken(struct refused *rf, struct str topic, int32_t partition, const struct batch_head *h);

#endif
