/* broker/controller/vanished.c - topics that brokers still speak of though the tree has them no more: somebody has
 * removed their nodes by hand, to end a deletion that was stuck. A new controller has brokers forget them, so that what
 * clients are told is what is in the tree, and the name is free again. Logs stay on the disks: whoever removed nodes by
 * mistake has lost no record; groups' offsets go, as with every deletion.
 *
 * What is known beyond the tree is what the broker of this process knows: the old controller told all brokers the same.
 */
#include "broker/controller/priv.h"

#include "base/log.h"
#include "broker/cluster/metadata_cache.h"

#include <stdlib.h>

/* The same topic. One of its name with another id may also be what this broker has not heard of yet: what the tree has
 * of it stays, for coordinators, who know names only, would forget its offsets. */
static bool same_topic(const struct ctl_topic *known, const struct metadata_topic *t)
{
    return known != NULL && (uuid_is_zero(t->id) || uuid_is_zero(known->id) || uuid_eq(t->id, known->id));
}

/* queued: UpdateMetadata says of its partitions that they are being deleted. known: what the tree has by that name. */
static int lost_add(struct context *lost, const struct metadata_topic *from, const struct ctl_topic *known)
{
    struct znode_partition *v = calloc((size_t)from->partitions_n + 1, sizeof *v);
    struct znode_topic z = { .id = from->id, .partitions = v };
    struct znode_state nobody = { .leader = -1 };
    struct ctl_topic *t = NULL;
    int32_t added;
    int rc = v != NULL ? context_topic_add(lost, from->name, &t) : ERR_NOMEM;

    for (int32_t i = 0; i < from->partitions_n && rc == OK; i++)
        if (known == NULL || context_partition(known, from->partitions[i].index) == NULL)
            v[z.partitions_n++].index = from->partitions[i].index;
    if (rc == OK)
        rc = context_topic_identify(lost, t, known != NULL ? known->id : from->id);
    if (rc == ERR_EXISTS)
        rc = OK;                        /* two names with one id, both gone: the name is what counts here */
    if (rc == OK)
        rc = context_topic_grow(t, &z, &added);
    for (int32_t i = 0; rc == OK && i < t->partitions_n; i++)
        rc = context_leadership(&t->partitions[i], &nobody, 0);
    if (rc == OK)
        t->queued = true;
    free(v);
    return rc;
}

void vanished_tell(struct controller *c)
{
    struct metadata *md = metadata_get(c->opts.metacache);
    struct context lost = { .topics = NULL };
    const struct metadata_topic *t;
    size_t pos = 0;
    int rc = OK;

    while (rc == OK && (t = metadata_next_topic(md, &pos)) != NULL) {
        const struct ctl_topic *known = context_topic(&c->ctx, t->name);

        if (same_topic(known, t))
            continue;
        if (known == NULL)
            log_warn("topic %.*s is not in the metadata store any more: brokers forget it; directories of its "
                     "partitions stay where they are, remove them if they are not needed", STR_ARG(t->name));
        rc = lost_add(&lost, t, known);
    }
    metadata_put(&md);
    batch_begin(c);
    batch_update_brokers(c);
    CONTEXT_EACH(&lost, p)
        batch_update(c, p);
    batch_send(c);
    context_clear(&lost);
    if (rc != OK)
        ctl_abort(c, rc, "looking for topics that have vanished");
}
