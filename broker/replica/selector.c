/* broker/replica/selector.c - which replica a consumer should read from. */
#include "broker/replica/selector.h"

#include "base/clock.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/replica/leader.h"
#include "broker/replica/replicas.h"

#include <string.h>

#define REPLICAS_MAX 64                 /* in the ISR that are looked at */

int replica_selector_of(const char *class_name, enum replica_selector *out)
{
    static const struct {
        const char           *name;
        enum replica_selector how;
    } classes[] = {
        { "", SELECT_LEADER },
        { "org.apache.kafka.common.replica.LeaderSelector", SELECT_LEADER },
        { "org.apache.kafka.common.replica.RackAwareReplicaSelector", SELECT_RACK_AWARE },
    };

    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        if (strcmp(class_name != NULL ? class_name : "", classes[i].name) == 0) {
            *out = classes[i].how;
            return OK;
        }
    }
    return ERR_INVALID;
}

static bool in_rack(const struct metadata *md, int32_t id, struct str listener, struct str rack)
{
    const struct metadata_broker *b = metadata_broker(md, id);

    return b != NULL && b->rack.p != NULL && str_eq(b->rack, rack) && metadata_endpoint(b, listener) != NULL;
}

/* The one that has more; of equals the one that had all more lately; then the greater id. */
static bool is_better(const struct replica_view *a, const struct replica_view *b)
{
    if (a->leo != b->leo)
        return a->leo > b->leo;
    return a->behind_ms != b->behind_ms ? a->behind_ms < b->behind_ms : a->id > b->id;
}

int32_t replica_select(enum replica_selector how, struct partition *p, struct metadata_cache *cache,
                       struct str listener, struct str rack, int64_t offset)
{
    struct replica_view views[REPLICAS_MAX];
    const struct replica_view *best = NULL;
    struct metadata *md;
    int32_t n;

    if (how != SELECT_RACK_AWARE || rack.p == NULL || rack.len == 0)
        return -1;
    n = partition_replica_views(p, offset, mono_ms(), views, REPLICAS_MAX);
    if (n <= 0)
        return -1;
    md = metadata_get(cache);
    if (!in_rack(md, replicas_options(p->home)->broker_id, listener, rack))
        for (int32_t i = 0; i < n; i++)
            if (in_rack(md, views[i].id, listener, rack) && (best == NULL || is_better(&views[i], best)))
                best = &views[i];
    metadata_put(&md);
    return best != NULL ? best->id : -1;
}
