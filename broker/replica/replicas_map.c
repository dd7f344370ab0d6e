/* broker/replica/replicas_map.c - the map of the partitions that are hosted here. */
#define HASH_NONFATAL_OOM 1
#include "broker/replica/replicas_impl.h"

#include "broker/cluster/metadata_cache.h"
#include "proto/kerr.h"

struct map_key {
    uint32_t len;
    unsigned hash;
    char     bytes[sizeof(int32_t) + TOPIC_NAME_MAX];
};

static bool key_make(struct map_key *k, struct str topic, int32_t index)
{
    if (topic.len > TOPIC_NAME_MAX || topic.len == 0)
        return false;
    memcpy(k->bytes, &index, sizeof index);
    memcpy(k->bytes + sizeof index, topic.p, topic.len);
    k->len = (uint32_t)(sizeof index + topic.len);
    HASH_VALUE(k->bytes, k->len, k->hash);
    return true;
}

static struct map_shard *shard_of(struct replicas *rs, const struct map_key *k)
{
    return &rs->shard[(k->hash >> 16) % MAP_SHARDS];       /* the low bits choose the bucket */
}

struct partition *replicas_get(struct replicas *rs, struct str topic, int32_t index)
{
    struct partition *p = NULL;
    struct map_shard *s;
    struct map_key k;

    if (!key_make(&k, topic, index))
        return NULL;
    s = shard_of(rs, &k);
    lock_take(&s->lock);
    HASH_FIND_BYHASHVALUE(hh, s->map, k.bytes, k.len, k.hash, p);
    if (p != NULL)
        partition_ref(p);
    lock_drop(&s->lock);
    return p;
}

/* The map takes a reference of its own. */
int replicas_put(struct replicas *rs, struct partition *p)
{
    struct map_shard *s;
    struct map_key k;

    if (!key_make(&k, p->topic, p->index))
        return ERR_INVALID;
    s = shard_of(rs, &k);
    lock_take(&s->lock);
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, s->map, p->key, p->key_len, k.hash, p);
    lock_drop(&s->lock);
    if (p->hh.tbl == NULL)
        return ERR_NOMEM;
    partition_ref(p);
    atomic_fetch_add_explicit(&rs->partitions, 1, memory_order_relaxed);
    return OK;
}

void replicas_remove(struct replicas *rs, struct partition *p)
{
    struct map_shard *s;
    struct map_key k;

    if (!key_make(&k, p->topic, p->index))
        return;
    s = shard_of(rs, &k);
    lock_take(&s->lock);
    HASH_DELETE(hh, s->map, p);
    lock_drop(&s->lock);
    atomic_fetch_sub_explicit(&rs->partitions, 1, memory_order_relaxed);
    partition_unref(&p);
}

struct partition *replicas_find(struct replicas *rs, struct str topic, int32_t index, int16_t *kerr)
{
    struct partition *p = replicas_get(rs, topic, index);
    struct metadata *md;
    const struct metadata_topic *t;

    if (p != NULL || kerr == NULL)
        return p;
    if (absents_why(&rs->absents, topic, index, NULL) == ABSENT_OFFLINE) {
        *kerr = KERR_KAFKA_STORAGE_ERROR;
        return NULL;
    }
    md = metadata_get(rs->opts.metacache);
    t = metadata_topic(md, topic);
    *kerr = t != NULL && metadata_partition(t, index) != NULL ? KERR_NOT_LEADER_OR_FOLLOWER
                                                              : KERR_UNKNOWN_TOPIC_OR_PARTITION;
    metadata_put(&md);
    return NULL;
}
