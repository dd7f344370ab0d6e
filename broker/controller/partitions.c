/* broker/controller/partitions.c - the only code that writes ctl_partition.state.
 *
 *   New                -> Online    the first live replica leads, all live ones are in sync, epoch 0: state
 *   node created Online, Offline    -> Online    election: the first assigned replica that is live and in
 *                                   sync leads; if there is none, and the topic allows it, the first live
 *                                   one (records may be lost). The state is read again, and written only if
 *                                   it still has the version that was read.
 *   any                -> Offline, NonExistent: memory only
 */
#include "broker/controller/priv.h"

#include "base/clock.h"
#include "base/log.h"
#include "broker/cluster/topic_configs.h"

#include <stdlib.h>

#define RETRY_NS ((int64_t)1000000000)

static bool step_ok(const struct ctl_partition *p, enum partition_state to)
{
    if (partition_state_legal(p->state, to))
        return true;
    log_error("controller: %s-%d cannot go from %s to %s", p->topic->name, p->index, partition_state_name(p->state),
              partition_state_name(to));
    return false;
}

void partitions_start(struct controller *c, struct ctl_partition **v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct ctl_partition *p = v[i];

        if (!p->has_leadership)
            p->state = PARTITION_NEW;
        else
            p->state = context_replica_online(&c->ctx, p, p->leader) ? PARTITION_ONLINE : PARTITION_OFFLINE;
    }
}

void partitions_to(struct controller *c, struct ctl_partition **v, size_t n, enum partition_state to)
{
    (void)c;
    for (size_t i = 0; i < n; i++)
        if (step_ok(v[i], to))
            v[i]->state = to;
}

/* ---- to Online ---------------------------------------------------------------------------------------- */

struct online_item {
    struct ctl_partition *p;
    struct znode_state    next;         /* what is being written; isr.v is our own */
    int32_t               zk_version;   /* that next replaces */
    bool                  elect;        /* still to be elected */
};

struct online {
    struct frame        f;
    struct online_item *v;
    size_t              n;
    bool                again;          /* somebody else wrote a state meanwhile */
};

static void online_fini(struct frame *f)
{
    struct online *o = (struct online *)f;

    for (size_t i = 0; i < o->n; i++)
        free(o->v[i].next.isr.v);
    free(o->v);
}

/* Writes that failed for a reason that may pass (disk full) are tried again. */
static void state_failed(struct controller *c, const struct ctl_partition *p, int rc)
{
    static struct log_limit limit = LOG_LIMIT(10000, 5);
    int hidden;

    if (log_limit(&limit, &hidden))
        log_error("controller: the state of %s-%d cannot be written: %s; it has no leader until that works",
                  p->topic->name, p->index, err_text(rc));
    c->retry_at_ns = mono_ns() + RETRY_NS;
}

/* The live replicas, in the order of the assignment. */
static bool live_replicas(struct controller *c, struct online_item *it)
{
    const struct ids *r = &it->p->replicas;

    it->next.isr = (struct znode_replicas){ calloc((size_t)r->n + 1, sizeof(int32_t)), 0 };
    if (it->next.isr.v == NULL) {
        ctl_abort(c, ERR_NOMEM, "choosing leaders");
        return false;
    }
    for (int32_t i = 0; i < r->n; i++)
        if (context_replica_online(&c->ctx, it->p, r->v[i]))
            it->next.isr.v[it->next.isr.n++] = r->v[i];
    return true;
}

static void parent_made(struct controller *c, struct store_call *call, void *subject)
{
    (void)c, (void)subject;
    if (call->rc != OK && call->rc != ERR_EXISTS)
        log_error("%s: cannot be created: %s", call->ops[call->ops_n - 1].path, err_text(call->rc));
}

static void state_made(struct controller *c, struct store_call *call, void *subject)
{
    struct online_item *it = subject;

    if (call->rc != OK) {
        state_failed(c, it->p, call->rc);
        return;
    }
    if (context_leadership(it->p, &it->next, 0) != OK) {
        ctl_abort(c, ERR_NOMEM, "new partitions");
        return;
    }
    it->p->state = PARTITION_ONLINE;
    for (int32_t i = 0; i < it->p->isr.n; i++)
        batch_leader_and_isr(c, it->p->isr.v[i], it->p, true);
}

static void create_under(struct controller *c, const char *path, const char *text, answer_fn *fn, void *subject)
{
    struct store_call *call = ctl_fenced_call(c);

    if (call == NULL)
        return;
    store_create(call, path, (struct bytes){ (const uint8_t *)text, text != NULL ? strlen(text) : 0 }, 0);
    ctl_ask(c, call, fn, subject);
}

static bool wants_creation(const struct online_item *it)
{
    return !it->elect && it->next.isr.n > 0;
}

/* All "partitions" nodes, then all partitions, then all states: one after the other in the store, none
 * waited for. */
static enum step_next create_states(struct controller *c, struct frame *f)
{
    struct online *o = (struct online *)f;
    const struct ctl_topic *last = NULL;

    batch_begin(c);
    for (size_t i = 0; i < o->n; i++) {
        struct online_item *it = &o->v[i];

        it->elect = it->p->state != PARTITION_NEW;
        if (it->elect)
            continue;
        if (!live_replicas(c, it))
            return STEP_END;
        if (it->next.isr.n == 0) {
            log_warn("controller: %s-%d: none of its replicas is alive; it has no leader", it->p->topic->name,
                     it->p->index);
            continue;
        }
        it->next.leader = it->next.isr.v[0];
        it->next.controller_epoch = c->epoch;
        if (it->p->topic != last)
            create_under(c, zpath_partitions(topic_str(it->p->topic)).z, NULL, parent_made, NULL);
        last = it->p->topic;
    }
    for (size_t i = 0; i < o->n; i++)
        if (wants_creation(&o->v[i]))
            create_under(c, zpath_partition(topic_str(o->v[i].p->topic), o->v[i].p->index).z, NULL, parent_made, NULL);
    for (size_t i = 0; i < o->n; i++) {
        struct online_item *it = &o->v[i];
        char *text = wants_creation(it) ? znode_state_write(&it->next) : NULL;

        if (text != NULL)
            create_under(c, zpath_state(topic_str(it->p->topic), it->p->index).z, text, state_made, it);
        else if (wants_creation(it))
            ctl_abort(c, ERR_NOMEM, "new partitions");
        free(text);
    }
    return STEP_NEXT;
}

/* ---- elections ---------------------------------------------------------------------------------------- */

static bool unclean_allowed(struct controller *c, const struct ctl_partition *p)
{
    struct topic_config_entry *e = topic_configs_get(c->opts.topic_configs, topic_str(p->topic));
    bool yes = e->cfg.unclean_leader_election_enable;

    topic_config_entry_put(&e);
    return yes;
}

/* Fills it->next from the state as read; false: nobody can lead. */
static bool choose(struct controller *c, struct online_item *it, const struct znode_state *now)
{
    const struct ids *r = &it->p->replicas;
    struct ids in_sync = { now->isr.v, now->isr.n };
    int32_t clean = -1, unclean = -1;

    for (int32_t i = r->n - 1; i >= 0; i--) {
        if (!context_replica_online(&c->ctx, it->p, r->v[i]))
            continue;
        unclean = r->v[i];
        if (ids_have(&in_sync, r->v[i]))
            clean = r->v[i];
    }
    if (clean < 0 && (unclean < 0 || !unclean_allowed(c, it->p)))
        return false;
    free(it->next.isr.v);
    it->next = (struct znode_state){ .leader = clean >= 0 ? clean : unclean, .leader_epoch = now->leader_epoch + 1,
                                     .controller_epoch = c->epoch, .recovering = now->recovering || clean < 0 };
    it->next.isr.v = calloc((size_t)now->isr.n + 1, sizeof(int32_t));
    if (it->next.isr.v == NULL) {
        ctl_abort(c, ERR_NOMEM, "choosing leaders");
        return false;
    }
    for (int32_t i = 0; i < now->isr.n && clean >= 0; i++)
        if (context_replica_online(&c->ctx, it->p, now->isr.v[i]))
            it->next.isr.v[it->next.isr.n++] = now->isr.v[i];
    if (clean < 0) {
        it->next.isr.v[it->next.isr.n++] = unclean;
        log_warn("controller: %s-%d: no replica in sync is alive; broker %d leads, records may have been lost",
                 it->p->topic->name, it->p->index, unclean);
    }
    return true;
}

static void state_read(struct controller *c, struct store_call *call, void *subject)
{
    struct online_item *it = subject;
    const struct ctl_partition *p = it->p;
    struct znode_state now;
    int rc = call->rc;

    it->elect = false;
    if (rc == OK)
        rc = znode_state_read(call->ops[0].value, &call->arena, &now);
    if (rc == OK && now.controller_epoch > c->epoch) {
        ctl_abort(c, ERR_FENCED, "a partition's state has been written by a later controller");
        return;
    }
    if (rc != OK)
        log_error("controller: %s-%d: no leader can be elected: its state cannot be read: %s", p->topic->name, p->index,
                  err_text(rc));
    else if (choose(c, it, &now))
        it->elect = true;
    else
        log_warn("controller: %s-%d: no replica in sync is alive; it has no leader", p->topic->name, p->index);
    it->zk_version = call->ops[0].stat.version;
}

static enum step_next read_states(struct controller *c, struct frame *f)
{
    struct online *o = (struct online *)f;

    o->again = false;
    for (size_t i = 0; i < o->n; i++) {
        struct store_call *call = o->v[i].elect ? ctl_call(c) : NULL;

        if (call == NULL)
            continue;
        store_get(call, zpath_state(topic_str(o->v[i].p->topic), o->v[i].p->index).z, 0);
        ctl_ask(c, call, state_read, &o->v[i]);
    }
    return STEP_NEXT;
}

static void state_written(struct controller *c, struct store_call *call, void *subject)
{
    struct online_item *it = subject;
    struct online *o = (struct online *)c->top;

    if (call->rc == ERR_VERSION) {
        o->again = true;                            /* it->elect stays set */
        return;
    }
    it->elect = false;
    if (call->rc != OK) {
        state_failed(c, it->p, call->rc);
        return;
    }
    if (context_leadership(it->p, &it->next, call->ops[1].stat.version) != OK) {
        ctl_abort(c, ERR_NOMEM, "choosing leaders");
        return;
    }
    it->p->state = PARTITION_ONLINE;
    for (int32_t i = 0; i < it->p->replicas.n; i++)
        if (context_replica_online(&c->ctx, it->p, it->p->replicas.v[i]))
            batch_leader_and_isr(c, it->p->replicas.v[i], it->p, false);
}

static enum step_next write_states(struct controller *c, struct frame *f)
{
    struct online *o = (struct online *)f;

    for (size_t i = 0; i < o->n; i++) {
        struct online_item *it = &o->v[i];
        char *text = it->elect ? znode_state_write(&it->next) : NULL;
        struct store_call *call = text != NULL ? ctl_fenced_call(c) : NULL;

        if (call != NULL) {
            store_set(call, zpath_state(topic_str(it->p->topic), it->p->index).z,
                      (struct bytes){ (uint8_t *)text, strlen(text) }, it->zk_version);
            ctl_ask(c, call, state_written, it);
        } else if (it->elect) {
            ctl_abort(c, ERR_NOMEM, "choosing leaders");
        }
        free(text);
    }
    return STEP_NEXT;
}

enum { AT_READ = 1 };

static enum step_next repeat_or_send(struct controller *c, struct frame *f)
{
    struct online *o = (struct online *)f;

    if (o->again) {
        f->at = AT_READ;
        return STEP_AGAIN;
    }
    batch_send(c);
    return STEP_NEXT;
}

void partitions_online(struct controller *c, struct ctl_partition **v, size_t n)
{
    static const struct step steps[] = {
        { "create states", create_states }, [AT_READ] = { "read states", read_states },
        { "write states", write_states },   { "send", repeat_or_send },
        { NULL, NULL },
    };
    struct online *o = frame_push(c, sizeof *o, steps);

    if (o == NULL)
        return;
    o->f.fini = online_fini;
    o->v = calloc(n + 1, sizeof *o->v);
    if (o->v == NULL) {
        ctl_abort(c, ERR_NOMEM, "choosing leaders");
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (step_ok(v[i], PARTITION_ONLINE))
            o->v[o->n++].p = v[i];
}
