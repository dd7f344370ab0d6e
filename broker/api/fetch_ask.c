/* broker/api/fetch_ask.c - what a Fetch asks for: its limits, and its partitions, with those that its session keeps. */
#include "base/clock.h"
#include "broker/api/fetch_priv.h"
#include "broker/cluster/metadata_cache.h"
#include "config/config.h"

#define topic_in fetch_request_fetch_topic
#define part_in  fetch_request_fetch_partition

static struct str name_of(void *arg, struct uuid id)
{
    struct fetch *f = arg;
    const struct metadata_topic *t;

    if (f->md == NULL)
        f->md = metadata_get(f->b->metacache);
    t = metadata_topic_by_id(f->md, id);
    return t != NULL ? t->name : (struct str){ NULL, 0 };
}

static int32_t epoch_or_none(int32_t epoch)
{
    return epoch < 0 ? -1 : epoch;
}

static int ask_items(struct fetch *f, struct fetch_ask *ask)
{
    size_t total = 0;

    for (int32_t i = 0; i < f->in.topics_n; i++)
        total += (size_t)f->in.topics[i].partitions_n;
    ask->items = arena_array(&f->r->arena, total, sizeof *ask->items);
    if (ask->items == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < f->in.topics_n; i++) {
        const struct topic_in *t = &f->in.topics[i];
        struct str topic = ask->by_id ? name_of(f, t->topic_id) : t->topic;

        if (ask->by_id)
            TRY(arena_str(&f->r->arena, topic, &topic));
        for (int32_t k = 0; k < t->partitions_n; k++) {
            const struct part_in *p = &t->partitions[k];

            ask->items[ask->n++] = (struct fetch_item){
                .topic = topic, .topic_id = t->topic_id, .partition = p->partition,
                .max_bytes = p->partition_max_bytes, .leader_epoch = epoch_or_none(p->current_leader_epoch),
                .last_epoch = epoch_or_none(p->last_fetched_epoch), .offset = p->fetch_offset,
                .follower_start = p->log_start_offset,
            };
        }
    }
    return OK;
}

static int ask_forgotten(struct fetch *f, struct fetch_ask *ask)
{
    size_t total = 0;

    for (int32_t i = 0; i < f->in.forgotten_topics_data_n; i++)
        total += (size_t)f->in.forgotten_topics_data[i].partitions_n;
    ask->forgotten = arena_array(&f->r->arena, total, sizeof *ask->forgotten);
    if (ask->forgotten == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < f->in.forgotten_topics_data_n; i++)
        for (int32_t k = 0; k < f->in.forgotten_topics_data[i].partitions_n; k++)
            ask->forgotten[ask->forgotten_n++] = (struct fetch_item){
                .topic = f->in.forgotten_topics_data[i].topic,
                .topic_id = f->in.forgotten_topics_data[i].topic_id,
                .partition = f->in.forgotten_topics_data[i].partitions[k],
            };
    return OK;
}

int fetch_ask_begin(struct fetch *f)
{
    struct fetch_ask ask = {
        .session_id = f->in.session_id, .epoch = f->in.session_epoch, .by_id = f->r->version >= 13,
        .follower = f->replica_id >= 0, .now_ms = f->came_ms, .name_of = name_of, .name_arg = f,
    };
    int rc = ask_items(f, &ask);

    if (rc == OK)
        rc = ask_forgotten(f, &ask);
    if (rc == OK)
        rc = fetch_begin(replicas_fetch_sessions(f->b->replicas), &ask, &f->r->arena, &f->cx);
    metadata_put(&f->md);
    return rc;
}

void fetch_settle_limits(struct fetch *f)
{
    int16_t version = f->r->version;
    int64_t max = f->b->cfg->fetch_max_bytes;

    f->replica_id = version >= 15 ? f->in.replica_state.replica_id : f->in.replica_id;
    f->replica_epoch = version >= 15 ? f->in.replica_state.replica_epoch : -1;
    f->isolation = f->replica_id >= 0 ? ISOLATION_LEO : f->in.isolation_level == 1 ? ISOLATION_LSO : ISOLATION_HW;
    f->leader_only = f->replica_id >= 0 || version < 11;
    f->hard_limit = version <= 2;
    f->client_max_bytes = f->in.max_bytes < max ? f->in.max_bytes : max;
    if (version <= 3 && max > DOWN_CONVERT_MAX_BYTES)
        max = DOWN_CONVERT_MAX_BYTES;
    f->max_bytes = f->in.max_bytes < max ? f->in.max_bytes : max;
    f->min_bytes = f->in.min_bytes < f->max_bytes ? f->in.min_bytes : f->max_bytes;
}
