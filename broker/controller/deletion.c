/* broker/controller/deletion.c - how topics go.
 *
 *   asked for      /admin/delete_topics/T appears; the topic is queued. (Deletion switched off: the node is
 *   removed.) begun          partitions -> Offline -> NonExistent; brokers forget the topic (UpdateMetadata
 *                  with leader -2); replicas on dead brokers -> Ineligible, and the topic waits; the others
 *                  -> Offline -> DeletionStarted
 *   answered       replicas -> DeletionSuccessful, or Ineligible where the broker could not
 *   all successful /brokers/topics/T with all below it, then /config/topics/T, then /admin/delete_topics/T
 *   are removed
 *
 * A crash anywhere leaves /admin/delete_topics/T, and the next controller does it all again.
 */
#include "broker/controller/priv.h"

#include "base/log.h"
#include "config/config.h"

#include <stdlib.h>

static bool enabled(const struct controller *c)
{
    return c->opts.cfg->delete_topic_enable;
}

static void removed(struct controller *c, struct store_call *call, void *subject)
{
    (void)c, (void)subject;
    if (call->rc != OK && call->rc != ERR_NOENT)
        log_error("%s: cannot be removed: %s", call->ops[1].path, err_text(call->rc));
}

static void remove_node(struct controller *c, const char *path)
{
    struct store_call *call = ctl_fenced_call(c);

    if (call == NULL)
        return;
    store_delete(call, path, STORE_ANY_VERSION);
    ctl_ask(c, call, removed, NULL);
}

/* ---- questions about a topic's replicas --------------------------------------------------------------- */

static bool any_replica(const struct ctl_topic *t, enum replica_state s)
{
    for (int32_t i = 0; i < t->partitions_n; i++)
        for (int32_t k = 0; k < t->partitions[i].replicas.n; k++)
            if (t->partitions[i].replica_state[k] == s)
                return true;
    return false;
}

static bool all_replicas(const struct ctl_topic *t, enum replica_state s)
{
    for (int32_t i = 0; i < t->partitions_n; i++)
        for (int32_t k = 0; k < t->partitions[i].replicas.n; k++)
            if (t->partitions[i].replica_state[k] != s)
                return false;
    return true;
}

/* On a broker that is down. One that lives is asked even for replicas that it has lost: only it can tell a log
 * directory that has failed, which it answers with KAFKA_STORAGE_ERROR, from a log that there was just no room for. */
static bool any_dead(const struct controller *c, const struct ctl_topic *t)
{
    for (int32_t i = 0; i < t->partitions_n; i++)
        for (int32_t k = 0; k < t->partitions[i].replicas.n; k++)
            if (!context_online(&c->ctx, t->partitions[i].replicas.v[k]))
                return true;
    return false;
}

static bool reassigning(const struct ctl_topic *t)
{
    for (int32_t i = 0; i < t->partitions_n; i++)
        if (t->partitions[i].reassigning)
            return true;
    return false;
}

/* ---- resuming ----------------------------------------------------------------------------------------- */

struct resume {
    struct frame        f;
    struct ctl_topic  **done, **retry, **begin;
    size_t              done_n, retry_n, begin_n;
    struct replica_ref *live;           /* whose deletion is to start */
    size_t              live_n;
};

static void resume_fini(struct frame *f)
{
    struct resume *r = (struct resume *)f;

    free(r->done);
    free(r->retry);
    free(r->begin);
    free(r->live);
}

static enum step_next survey(struct controller *c, struct frame *f)
{
    struct resume *r = (struct resume *)f;
    size_t n = HASH_COUNT(c->ctx.topics) + 1;

    r->done = calloc(n, sizeof *r->done);
    r->retry = calloc(n, sizeof *r->retry);
    r->begin = calloc(n, sizeof *r->begin);
    if (r->done == NULL || r->retry == NULL || r->begin == NULL) {
        ctl_abort(c, ERR_NOMEM, "deleting topics");
        return STEP_END;
    }
    for (struct ctl_topic *t = c->ctx.topics; t != NULL; t = t->hh.next) {
        if (!t->queued)
            continue;
        if (all_replicas(t, REPLICA_DELETE_DONE)) {
            r->done[r->done_n++] = t;
            continue;
        }
        if (any_replica(t, REPLICA_DELETE_STARTED))
            continue;
        if (any_replica(t, REPLICA_INELIGIBLE) && !t->ineligible)
            r->retry[r->retry_n++] = t;
        if (!t->ineligible)
            r->begin[r->begin_n++] = t;
    }
    return STEP_NEXT;
}

/* Names of the partitions, from the store: also those that we never took in. */
static void partitions_listed(struct controller *c, struct store_call *call, void *subject)
{
    struct ctl_topic *t = subject;
    const struct store_op *op = &call->ops[0];

    for (size_t i = 0; i < op->children_n; i++) {
        char *end;
        long n = strtol(op->children[i].p, &end, 10);

        if (*end != '\0' || n < 0 || n > INT32_MAX)
            continue;
        remove_node(c, zpath_state(topic_str(t), (int32_t)n).z);
        remove_node(c, zpath_partition(topic_str(t), (int32_t)n).z);
    }
    remove_node(c, zpath_partitions(topic_str(t)).z);
    remove_node(c, zpath_topic(topic_str(t)).z);
    remove_node(c, zpath_topic_config(topic_str(t)).z);
    remove_node(c, zpath_delete_topic(topic_str(t)).z);
}

static enum step_next remove_nodes(struct controller *c, struct frame *f)
{
    struct resume *r = (struct resume *)f;

    for (size_t i = 0; i < r->done_n; i++) {
        struct store_call *call = ctl_call(c);

        if (call == NULL)
            return STEP_END;
        store_children(call, zpath_partitions(topic_str(r->done[i])).z, 0);
        ctl_ask(c, call, partitions_listed, r->done[i]);
    }
    return STEP_NEXT;
}

static enum step_next forget_topics(struct controller *c, struct frame *f)
{
    struct resume *r = (struct resume *)f;

    for (size_t i = 0; i < r->done_n; i++) {
        log_info("topic %s has been deleted", r->done[i]->name);
        context_topic_drop(&c->ctx, r->done[i]);
    }
    return STEP_NEXT;
}

typedef bool pick_fn(const struct controller *c, const struct ctl_partition *p, int32_t broker);

/* The replicas of the topics for which pick() says yes; NULL: out of memory, aborted. */
static struct replica_ref *select_replicas(struct controller *c, struct ctl_topic **v, size_t n, size_t *out_n,
                                           pick_fn *pick)
{
    size_t total = 0;
    struct replica_ref *refs;

    for (size_t i = 0; i < n; i++)
        for (int32_t k = 0; k < v[i]->partitions_n; k++)
            total += (size_t)v[i]->partitions[k].replicas.n;
    refs = calloc(total + 1, sizeof *refs);
    *out_n = 0;
    if (refs == NULL) {
        ctl_abort(c, ERR_NOMEM, "deleting topics");
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        for (int32_t k = 0; k < v[i]->partitions_n; k++) {
            struct ctl_partition *p = &v[i]->partitions[k];

            for (int32_t j = 0; j < p->replicas.n; j++)
                if (pick(c, p, p->replicas.v[j]))
                    refs[(*out_n)++] = (struct replica_ref){ p, p->replicas.v[j] };
        }
    return refs;
}

static bool is_ineligible(const struct controller *c, const struct ctl_partition *p, int32_t broker)
{
    (void)c;
    return replica_state(p, broker) == REPLICA_INELIGIBLE;
}

static bool is_live(const struct controller *c, const struct ctl_partition *p, int32_t broker)
{
    return replica_state(p, broker) != REPLICA_DELETE_DONE && context_online(&c->ctx, broker);
}

static bool is_dead(const struct controller *c, const struct ctl_partition *p, int32_t broker)
{
    enum replica_state s = replica_state(p, broker);

    return (s == REPLICA_OFFLINE || s == REPLICA_DELETE_STARTED) && !context_online(&c->ctx, broker);
}

static enum step_next retry_replicas(struct controller *c, struct frame *f)
{
    struct resume *r = (struct resume *)f;
    size_t n;
    struct replica_ref *refs = r->retry_n > 0 ? select_replicas(c, r->retry, r->retry_n, &n, is_ineligible) : NULL;

    if (refs != NULL)
        replicas_offline(c, refs, n);
    free(refs);
    return STEP_NEXT;
}

static void topic_begin(struct controller *c, struct ctl_topic *t)
{
    log_info("topic %s: its deletion begins", t->name);
    t->deleting = true;
    for (int32_t k = 0; k < t->partitions_n; k++) {
        struct ctl_partition *p = &t->partitions[k];

        partitions_to(c, &p, 1, PARTITION_OFFLINE);
        partitions_to(c, &p, 1, PARTITION_NONEXISTENT);
    }
}

static enum step_next begin_deletion(struct controller *c, struct frame *f)
{
    struct resume *r = (struct resume *)f;
    struct replica_ref *dead;
    size_t dead_n;

    if (r->begin_n == 0)
        return STEP_END;
    batch_begin(c);
    for (size_t i = 0; i < r->begin_n; i++) {
        struct ctl_topic *t = r->begin[i];

        if (!t->deleting)
            topic_begin(c, t);
        for (int32_t k = 0; k < t->partitions_n; k++)
            batch_update(c, &t->partitions[k]);
    }
    batch_send(c);
    dead = select_replicas(c, r->begin, r->begin_n, &dead_n, is_dead);
    r->live = dead != NULL ? select_replicas(c, r->begin, r->begin_n, &r->live_n, is_live) : NULL;
    if (r->live == NULL) {
        free(dead);
        return STEP_END;
    }
    replicas_to(c, dead, dead_n, REPLICA_INELIGIBLE);
    free(dead);
    for (size_t i = 0; i < r->begin_n; i++)
        if (any_dead(c, r->begin[i])) {
            r->begin[i]->ineligible = true;
            log_info("topic %s: its deletion waits for brokers that are down", r->begin[i]->name);
        }
    if (r->live_n > 0)
        replicas_offline(c, r->live, r->live_n);
    return STEP_NEXT;
}

static enum step_next start_deletion(struct controller *c, struct frame *f)
{
    struct resume *r = (struct resume *)f;

    replicas_to(c, r->live, r->live_n, REPLICA_DELETE_STARTED);
    return STEP_NEXT;
}

void deletion_resume(struct controller *c)
{
    static const struct step steps[] = {
        { "see what can be done", survey },         { "remove the nodes of the deleted", remove_nodes },
        { "forget the deleted", forget_topics },    { "try failed replicas again", retry_replicas },
        { "begin", begin_deletion },                { "have replicas deleted", start_deletion },
        { NULL, NULL },
    };
    struct resume *r = enabled(c) ? frame_push(c, sizeof *r, steps) : NULL;

    if (r != NULL)
        r->f.fini = resume_fini;
}

static bool hosted(const struct ctl_topic *t, const int32_t *ids, size_t n)
{
    for (int32_t i = 0; i < t->partitions_n; i++)
        for (size_t k = 0; k < n; k++)
            if (ids_have(&t->partitions[i].replicas, ids[k]))
                return true;
    return false;
}

void deletion_brokers_back(struct controller *c, const int32_t *ids, size_t n)
{
    bool any = false;

    for (struct ctl_topic *t = c->ctx.topics; t != NULL; t = t->hh.next) {
        if (!t->queued || reassigning(t) || !hosted(t, ids, n))
            continue;
        t->ineligible = false;
        any = true;
    }
    if (any)
        deletion_resume(c);
}

/* ---- what is asked for -------------------------------------------------------------------------------- */

static void queue_topics(struct controller *c, const struct str *names, size_t n, bool starting)
{
    for (size_t i = 0; i < n; i++) {
        struct ctl_topic *t = context_topic(&c->ctx, names[i]);

        if (!enabled(c)) {
            log_warn("topic %.*s is not deleted: delete.topic.enable is false", STR_ARG(names[i]));
            remove_node(c, zpath_delete_topic(names[i]).z);
        } else if (t != NULL) {
            t->queued = true;
            if (reassigning(t)) {
                t->ineligible = true;
                log_info("topic %s: its deletion waits until its replicas have been moved", t->name);
            } else if (starting) {
                t->ineligible = any_dead(c, t);
            }
        } else {
            if (starting)                           /* the rest of a deletion that a crash interrupted */
                remove_node(c, zpath_topic_config(names[i]).z);
            else
                log_warn("topic %.*s is to be deleted, but does not exist", STR_ARG(names[i]));
            remove_node(c, zpath_delete_topic(names[i]).z);
        }
    }
}

void deletion_init(struct controller *c, const struct str *topics, size_t n)
{
    queue_topics(c, topics, n, true);
}

static void deletions_read(struct controller *c, struct store_call *call, void *subject)
{
    (void)subject;
    if (call->rc != OK)
        ctl_abort(c, call->rc, "reading " ZK_DELETE_TOPICS);
    else
        queue_topics(c, call->ops[0].children, call->ops[0].children_n, false);
}

static enum step_next deletions_ask(struct controller *c, struct frame *f)
{
    struct store_call *call = ctl_call(c);

    (void)f;
    if (call == NULL)
        return STEP_END;
    store_children(call, ZK_DELETE_TOPICS, STORE_WATCH);
    ctl_ask(c, call, deletions_read, NULL);
    return STEP_NEXT;
}

static enum step_next deletions_resume(struct controller *c, struct frame *f)
{
    (void)f;
    deletion_resume(c);
    return STEP_NEXT;
}

void deletions_changed(struct controller *c)
{
    static const struct step steps[] = {
        { "list the topics to delete", deletions_ask }, { "go on", deletions_resume }, { NULL, NULL },
    };

    (void)frame_push(c, sizeof(struct frame), steps);
}
