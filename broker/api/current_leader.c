/* broker/api/current_leader.c - the leader of a partition as this broker knows it. */
#include "broker/api/current_leader.h"

#include "broker/broker.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/net/request.h"
#include "broker/replica/partition.h"
#include "broker/replica/replicas.h"

/* A partition that is hosted here knows best; of others the metadata tell. */
static void find_leader(struct broker *b, const struct metadata *md, struct str topic, int32_t partition,
                        struct current_leader *out)
{
    struct partition *p = replicas_find(b->replicas, topic, partition, NULL);
    const struct metadata_topic *t;
    const struct metadata_partition *mp;

    if (p != NULL) {
        lock_take(&p->lock);
        out->id = p->leader_id;
        out->epoch = partition_standing(p).leader_epoch;
        lock_drop(&p->lock);
        partition_unref(&p);
        return;
    }
    t = metadata_topic(md, topic);
    mp = t != NULL ? metadata_partition(t, partition) : NULL;
    if (mp != NULL) {
        out->id = mp->leader;
        out->epoch = mp->leader_epoch;
    }
}

int current_leader_of(struct broker *b, struct request *r, struct str topic, int32_t partition,
                      struct current_leader *out)
{
    struct metadata *md = metadata_get(b->metacache);
    const struct metadata_broker *mb;
    const struct metadata_endpoint *ep;
    int rc = OK;

    *out = (struct current_leader){ .id = -1, .epoch = -1 };
    find_leader(b, md, topic, partition, out);
    mb = metadata_broker(md, out->id);
    ep = mb != NULL ? metadata_endpoint(mb, r->listener) : NULL;
    if (ep != NULL) {
        out->alive = true;
        out->port = ep->port;
        rc = arena_str(&r->arena, ep->host, &out->host);
        if (rc == OK)
            rc = arena_str(&r->arena, mb->rack, &out->rack);
    }
    metadata_put(&md);
    return rc;
}
