/* broker/replica/quota.h - replication throttle: how fast throttled partitions may be copied from this broker (leader
 * side) or to it (follower side). The rate is a broker's setting, *.replication.throttled.rate; which replicas it is
 * about is a topic's, *.replication.throttled.replicas.
 *
 * The rate is measured over replication.quota.window.num windows of replication.quota.window.size.seconds, as Apache
 * Kafka does: what has been copied in them, over the time since the oldest began (at least one window). Copying is
 * never cut: who has passed the rate waits until it has come down.
 *
 * OWNER   the replica manager has one for each side.
 * LOCKS   class replquota, inside the calls; any lock of lower rank may be held. With no rate set nothing is locked.
 * UNITS   bytes, bytes a second; times are mono_ms().
 */
#ifndef BROKER_REPLICA_QUOTA_H
#define BROKER_REPLICA_QUOTA_H

#include "base/err.h"
#include "config/config.h"

#include <stdbool.h>
#include <stdint.h>

#define REPL_QUOTA_NONE INT64_MAX

struct repl_quota;

int  repl_quota_new(struct repl_quota **out, const struct config *cfg) must_use;    /* no rate is set */
void repl_quota_free(struct repl_quota **q);                                        /* NULL-safe */

void repl_quota_set_rate(struct repl_quota *q, int64_t bytes_per_s);                /* REPL_QUOTA_NONE: none */
bool repl_quota_exceeded(struct repl_quota *q, int64_t now_ms);
void repl_quota_record(struct repl_quota *q, int64_t bytes, int64_t now_ms);

/* Does a topic's list of throttled replicas ("partition:broker", or "*" for all) name this one? */
bool throttled_replicas_have(const struct config_list *list, int32_t partition, int32_t broker);

#endif
