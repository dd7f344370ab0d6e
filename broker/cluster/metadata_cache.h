/* broker/cluster/metadata_cache.h - what this broker knows of the cluster: brokers, topics, leaders.
 *
 * The controller's UpdateMetadata requests are the only source. Each makes a new immutable snapshot, which
 * is swapped in whole; topics that did not change are shared with the one before.
 *
 * OWNER   the daemon makes one cache. metadata_get() gives a counted reference of the current snapshot:
 *         everything reached from it lives until metadata_put(). A request takes one at its start and uses
 *         it to its end.
 * LOCKS   class metacache guards the swap and the counting of that one reference, nothing else. Any thread.
 *         metadata_cache_update() is called by one thread at a time.
 */
#ifndef BROKER_CLUSTER_METADATA_CACHE_H
#define BROKER_CLUSTER_METADATA_CACHE_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/uuid.h"

struct metadata;
struct metadata_cache;
struct update_metadata_request;

struct metadata_endpoint {
    struct str listener;                /* name, as configured */
    struct str host;
    int32_t    port;
    int16_t    security_protocol;       /* 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL */
};

struct metadata_broker {
    int32_t                         id;
    struct str                      rack;           /* null: none */
    const struct metadata_endpoint *endpoints;
    size_t                          endpoints_n;
};

struct metadata_partition {
    int32_t        index;
    int32_t        leader;              /* -1: none */
    int32_t        leader_epoch;
    int32_t        controller_epoch;
    int32_t        partition_epoch;     /* version of the state node */
    int32_t        replicas_n, isr_n, offline_n;
    const int32_t *replicas, *isr, *offline;
};

struct metadata_topic {
    struct str                       name;
    struct uuid                      id;            /* zero: none */
    bool                             internal;      /* __consumer_offsets, __transaction_state */
    const struct metadata_partition *partitions;    /* by rising index */
    int32_t                          partitions_n;
};

int  metadata_cache_new(struct metadata_cache **out) must_use;
void metadata_cache_free(struct metadata_cache **c);                        /* NULL-safe; no snapshot is out any more */

struct metadata *metadata_get(struct metadata_cache *c) must_use;           /* never NULL */
void             metadata_put(struct metadata **md);                        /* NULL-safe */

/* Applies one request: the broker list is replaced, the named partitions are put, those with leader -2 are
 * removed, the others stay. ERR_NOMEM: nothing has changed. */
int  metadata_cache_update(struct metadata_cache *c, const struct update_metadata_request *req) must_use;

/* Is the broker among those alive? For who holds locks: no snapshot is taken. */
bool metadata_cache_alive(struct metadata_cache *c, int32_t id);

/* fn(arg) is called after every update, on the updating thread, with nothing locked. Listeners are told apart by `arg`;
 * one is taken away when no update can come any more. METADATA_LISTENERS_MAX of them; they are added by one thread. */
#define METADATA_LISTENERS_MAX 4
void metadata_cache_listen(struct metadata_cache *c, void (*fn)(void *arg), void *arg);
void metadata_cache_unlisten(struct metadata_cache *c, const void *arg);

/* Look-ups in a snapshot; NULL = not there. */
const struct metadata_topic     *metadata_topic(const struct metadata *md, struct str name);
const struct metadata_topic     *metadata_topic_by_id(const struct metadata *md, struct uuid id);
const struct metadata_partition *metadata_partition(const struct metadata_topic *t, int32_t index);
const struct metadata_broker    *metadata_broker(const struct metadata *md, int32_t id);
const struct metadata_endpoint  *metadata_endpoint(const struct metadata_broker *b, struct str listener);

const struct metadata_broker *metadata_brokers(const struct metadata *md, size_t *n);  /* by rising id */
int32_t metadata_controller(const struct metadata *md);                     /* -1: unknown */
size_t  metadata_topics_n(const struct metadata *md);

/* Every topic, in no particular order: start with *pos = 0; NULL = no more. */
const struct metadata_topic *metadata_next_topic(const struct metadata *md, size_t *pos);

#endif
