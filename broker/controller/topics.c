/* broker/controller/topics.c - topics as they appear in the store while this broker is the controller: when one is
 * created, or its node removed by hand, and when one gets more partitions. What there is at the start of a term:
 * failover.c.
 */
#include "broker/controller/intake.h"

#include "base/log.h"

#include <stdlib.h>

/* ---- new partitions ----------------------------------------------------------------------------------- */

static bool replicas_of(struct controller *c, struct ctl_partition *const *v, size_t n, struct replica_ref **out,
                        size_t *out_n)
{
    size_t total = 0, at = 0;

    for (size_t i = 0; i < n; i++)
        total += (size_t)v[i]->replicas.n;
    *out = calloc(total + 1, sizeof **out);
    *out_n = total;
    if (*out == NULL) {
        ctl_abort(c, ERR_NOMEM, "listing replicas");
        return false;
    }
    for (size_t i = 0; i < n; i++)
        for (int32_t k = 0; k < v[i]->replicas.n; k++)
            (*out)[at++] = (struct replica_ref){ v[i], v[i]->replicas.v[k] };
    return true;
}

static void replicas_all_to(struct controller *c, const struct intake *in, enum replica_state to)
{
    struct replica_ref *refs;
    size_t n;

    if (!replicas_of(c, in->fresh, in->fresh_n, &refs, &n))
        return;
    replicas_to(c, refs, n, to);
    free(refs);
}

static enum step_next partitions_new(struct controller *c, struct frame *f)
{
    struct intake *in = (struct intake *)f;

    for (size_t i = 0; i < in->n; i++)
        for (int32_t k = 0; k < in->topics[i]->partitions_n; k++)
            if (!intake_fresh(c, in, &in->topics[i]->partitions[k]))
                return STEP_END;
    if (in->fresh_n == 0)
        return STEP_END;
    partitions_to(c, in->fresh, in->fresh_n, PARTITION_NEW);
    replicas_all_to(c, in, REPLICA_NEW);
    partitions_online(c, in->fresh, in->fresh_n);
    return STEP_NEXT;
}

static enum step_next replicas_online(struct controller *c, struct frame *f)
{
    replicas_all_to(c, (struct intake *)f, REPLICA_ONLINE);
    return STEP_NEXT;
}

/* ---- EV_TOPICS: the children of /brokers/topics ------------------------------------------------------- */

static void names_read(struct controller *c, struct store_call *call, void *subject)
{
    struct intake *in = subject;
    const struct store_op *op = &call->ops[0];
    struct ctl_topic *t, *next;

    if (call->rc != OK) {
        ctl_abort(c, call->rc, "reading " ZK_BROKER_TOPICS);
        return;
    }
    for (size_t i = 0; i < op->children_n; i++)
        if (context_topic(&c->ctx, op->children[i]) == NULL)
            intake_topic(c, in, op->children[i]);
    HASH_ITER(hh, c->ctx.topics, t, next) {
        struct str name = topic_str(t);

        if (bsearch(&name, op->children, op->children_n, sizeof name, str_order) == NULL) {
            log_info("topic %s has vanished from the metadata store", t->name);
            context_topic_drop(&c->ctx, t);
        }
    }
}

static enum step_next names_ask(struct controller *c, struct frame *f)
{
    struct store_call *call = ctl_call(c);

    if (call == NULL)
        return STEP_END;
    store_children(call, ZK_BROKER_TOPICS, STORE_WATCH);
    ctl_ask(c, call, names_read, f);
    return STEP_NEXT;
}

void topics_changed(struct controller *c)
{
    static const struct step steps[] = {
        { "list the topics", names_ask },      { "read the new ones", intake_read },
        { "make partitions", partitions_new }, { "replicas online", replicas_online }, { NULL, NULL },
    };
    struct intake *in = frame_push(c, sizeof *in, steps);

    if (in != NULL)
        in->f.fini = intake_fini;
}

/* ---- EV_TOPIC: the data of a topic's node ------------------------------------------------------------- */

static void restored(struct controller *c, struct store_call *call, void *subject)
{
    const struct ctl_topic *t = subject;

    (void)c;
    if (call->rc != OK && call->rc != ERR_NOENT && call->rc != ERR_VERSION)
        log_warn(ZK_BROKER_TOPICS "/%s: cannot be restored: %s", t->name, err_text(call->rc));
}

/* true: there were partitions that the controller has not taken in. */
static bool drop_unknown(const struct ctl_topic *t, struct znode_topic *z)
{
    int32_t n = 0, all = z->partitions_n;

    for (int32_t i = 0; i < all; i++)
        if (context_partition(t, z->partitions[i].index) != NULL)
            z->partitions[n++] = z->partitions[i];
    z->partitions_n = n;
    return n < all;
}

static void grown_read(struct controller *c, struct store_call *call, void *subject)
{
    struct intake *in = subject;
    struct ctl_topic *t = in->grown;
    struct znode_topic z;
    int32_t added;
    int rc = call->rc;

    if (rc == OK)
        rc = znode_topic_read(call->ops[0].value, &call->arena, &z);
    if (rc != OK) {
        if (rc != ERR_NOENT)
            log_error("%s: cannot be read: %s; the change is ignored", call->ops[0].path, err_text(rc));
        return;
    }
    if (t->queued) {
        if (drop_unknown(t, &z)) {
            log_warn("topic %s is being deleted; the partitions that were added to it are not made", t->name);
            intake_rewrite(c, t, &z, call->ops[0].stat.version, restored);
        }
        return;
    }
    if (context_topic_grow(t, &z, &added) != OK) {
        ctl_abort(c, ERR_NOMEM, "reading a topic");
        return;
    }
    for (int32_t i = added; i < t->partitions_n; i++)
        (void)intake_fresh(c, in, &t->partitions[i]);
    if (uuid_is_zero(z.id) && !uuid_is_zero(t->id))     /* a tool of 2.7 drops the id; brokers have it on disk */
        intake_rewrite(c, t, &z, call->ops[0].stat.version, restored);
}

static enum step_next grown_ask(struct controller *c, struct frame *f)
{
    struct intake *in = (struct intake *)f;
    struct store_call *call;

    in->grown = context_topic(&c->ctx, str_of(c->event->topic));
    call = in->grown != NULL ? ctl_call(c) : NULL;
    if (call == NULL)
        return STEP_END;
    store_get(call, zpath_topic(topic_str(in->grown)).z, STORE_WATCH);
    ctl_ask(c, call, grown_read, in);
    return STEP_NEXT;
}

void topic_changed(struct controller *c)
{
    static const struct step steps[] = {
        { "read the topic", grown_ask }, { "make partitions", partitions_new }, { "replicas online", replicas_online },
        { NULL, NULL },
    };
    struct intake *in = frame_push(c, sizeof *in, steps);

    if (in != NULL)
        in->f.fini = intake_fini;
}
