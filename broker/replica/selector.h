/* broker/replica/selector.h - which replica a consumer should read from (KIP-392): the leader, or one in its own rack.
 *
 * OWNER   a value of the replica manager's, from replica.selector.class.
 * LOCKS   none; replica_select() takes `partition` for a moment. Any thread.
 */
#ifndef BROKER_REPLICA_SELECTOR_H
#define BROKER_REPLICA_SELECTOR_H

#include "base/bytes.h"
#include "base/err.h"

struct metadata_cache;
struct partition;

enum replica_selector { SELECT_LEADER, SELECT_RACK_AWARE };

/* class_name NULL or empty: the leader. ERR_INVALID: a class that is not built in. */
int replica_selector_of(const char *class_name, enum replica_selector *out) must_use;

/* The id of the replica that a consumer in `rack`, who came by `listener` and wants `offset`, should ask in place of
 * this leader; -1: this one, or we do not lead. */
int32_t replica_select(enum replica_selector how, struct partition *p, struct metadata_cache *cache,
                       struct str listener, struct str rack, int64_t offset);

#endif
