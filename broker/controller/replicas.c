/* broker/controller/replicas.c - the only code that writes ctl_partition.replica_state.
 *
 *   NonExistent -> New               LeaderAndIsr with the present leader, as a new replica; a replica of a new
 *                                    partition, which has none, learns of it when the partition goes Online
 *   New -> Online                    memory only
 *   Offline, Online, ... -> Online   LeaderAndIsr with the present leader
 *   -> Offline                       StopReplica without deletion; the replica leaves the ISR (the last one
 *                                    stays), and the leadership, in the state node: leader epoch + 1; the
 *                                    others learn by LeaderAndIsr
 *   -> DeletionStarted               StopReplica with deletion
 *   DeletionSuccessful -> NonExistent  a replica that has left the assignment is forgotten
 *   the others                       memory only
 */
#include "broker/controller/priv.h"

#include "base/log.h"

#include <stdlib.h>

static uint8_t *slot(const struct ctl_partition *p, int32_t broker)
{
    for (int32_t i = 0; i < p->hosts_n; i++)
        if (p->replicas.v[i] == broker)
            return &p->replica_state[i];
    return NULL;
}

enum replica_state replica_state(const struct ctl_partition *p, int32_t broker)
{
    const uint8_t *s = slot(p, broker);

    return s != NULL ? (enum replica_state)*s : REPLICA_NONEXISTENT;
}

static bool go(const struct replica_ref *r, enum replica_state to)
{
    uint8_t *s = slot(r->p, r->broker);

    if (s == NULL)
        return false;
    if (!replica_state_legal((enum replica_state)*s, to)) {
        log_error("controller: replica %d of %s-%d cannot go from %s to %s", r->broker, r->p->topic->name, r->p->index,
                  replica_state_name((enum replica_state)*s), replica_state_name(to));
        return false;
    }
    *s = (uint8_t)to;
    return true;
}

/* Replicas of live brokers are Online, the others Offline; each online one is told who leads. */
void replicas_start(struct controller *c, struct ctl_partition **v, size_t n)
{
    batch_begin(c);
    for (size_t i = 0; i < n; i++) {
        struct ctl_partition *p = v[i];

        for (int32_t k = 0; k < p->replicas.n; k++) {
            bool live = context_online(&c->ctx, p->replicas.v[k]);

            p->replica_state[k] = live ? REPLICA_ONLINE : p->topic->queued ? REPLICA_INELIGIBLE : REPLICA_OFFLINE;
            if (live && p->has_leadership)
                batch_leader_and_isr(c, p->replicas.v[k], p, false);
        }
    }
    batch_send(c);
}

/* Every step but the one to Offline. */
void replicas_to(struct controller *c, const struct replica_ref *v, size_t n, enum replica_state to)
{
    batch_begin(c);
    for (size_t i = 0; i < n; i++) {
        enum replica_state from = replica_state(v[i].p, v[i].broker);

        if (!go(&v[i], to))
            continue;
        if (to == REPLICA_ONLINE && from != REPLICA_NEW && v[i].p->has_leadership)
            batch_leader_and_isr(c, v[i].broker, v[i].p, false);
        else if (to == REPLICA_NEW && v[i].p->has_leadership)
            batch_leader_and_isr(c, v[i].broker, v[i].p, true);
        else if (to == REPLICA_DELETE_STARTED)
            batch_stop(c, v[i].broker, v[i].p, true);
        else if (to == REPLICA_NONEXISTENT)
            context_forget_host(v[i].p, v[i].broker);
    }
    batch_send(c);
}

/* ---- to Offline --------------------------------------------------------------------------------------- */

struct offline_item {
    struct replica_ref r;
    bool               pending;         /* to be taken out of the ISR */
    bool               write;           /* next is to be written */
    struct znode_state next;            /* isr.v is our own */
    int32_t            zk_version;
};

struct offline {
    struct frame         f;
    struct offline_item *v;
    size_t               n;
    bool                 again;
};

static void offline_fini(struct frame *f)
{
    struct offline *o = (struct offline *)f;

    for (size_t i = 0; i < o->n; i++)
        free(o->v[i].next.isr.v);
    free(o->v);
}

static enum step_next stop_replicas(struct controller *c, struct frame *f)
{
    struct offline *o = (struct offline *)f;

    batch_begin(c);
    for (size_t i = 0; i < o->n; i++) {
        struct offline_item *it = &o->v[i];

        if (!go(&it->r, REPLICA_OFFLINE))
            continue;
        batch_stop(c, it->r.broker, it->r.p, false);
        it->pending = it->r.p->has_leadership;
        if (!it->pending)
            batch_update(c, it->r.p);
    }
    return STEP_NEXT;
}

/* The present leadership is known and final: remember it and tell the other replicas. */
static void settled(struct controller *c, struct offline_item *it, const struct znode_state *s, int32_t version)
{
    struct ctl_partition *p = it->r.p;

    it->pending = it->write = false;
    if (context_leadership(p, s, version) != OK) {
        ctl_abort(c, ERR_NOMEM, "taking replicas offline");
        return;
    }
    p->controller_epoch = c->epoch;
    if (p->topic->queued)
        return;
    batch_update(c, p);
    for (int32_t i = 0; i < p->replicas.n; i++)
        if (context_replica_online(&c->ctx, p, p->replicas.v[i]) && p->replicas.v[i] != it->r.broker)
            batch_leader_and_isr(c, p->replicas.v[i], p, false);
}

static void isr_read(struct controller *c, struct store_call *call, void *subject)
{
    struct offline_item *it = subject;
    const struct ctl_partition *p = it->r.p;
    struct znode_state now;
    int rc = call->rc;

    if (rc == OK)
        rc = znode_state_read(call->ops[0].value, &call->arena, &now);
    if (rc == OK && now.controller_epoch > c->epoch) {
        ctl_abort(c, ERR_FENCED, "a partition's state has been written by a later controller");
        return;
    }
    if (rc != OK) {
        it->pending = false;
        if (!p->topic->queued)
            log_error("controller: %s-%d: its state cannot be read: %s; replica %d stays in the ISR", p->topic->name,
                      p->index, err_text(rc), it->r.broker);
        return;
    }
    if (!ids_have(&(struct ids){ now.isr.v, now.isr.n }, it->r.broker)) {
        settled(c, it, &now, call->ops[0].stat.version);
        return;
    }
    free(it->next.isr.v);
    it->next = now;
    it->next.isr = (struct znode_replicas){ calloc((size_t)now.isr.n + 1, sizeof(int32_t)), 0 };
    if (it->next.isr.v == NULL) {
        ctl_abort(c, ERR_NOMEM, "taking replicas offline");
        return;
    }
    for (int32_t i = 0; i < now.isr.n; i++)
        if (now.isr.v[i] != it->r.broker || now.isr.n == 1)
            it->next.isr.v[it->next.isr.n++] = now.isr.v[i];
    if (now.leader == it->r.broker)
        it->next.leader = -1;
    it->next.leader_epoch++;
    it->next.controller_epoch = c->epoch;
    it->zk_version = call->ops[0].stat.version;
    it->write = true;
}

static enum step_next read_isrs(struct controller *c, struct frame *f)
{
    struct offline *o = (struct offline *)f;

    o->again = false;
    for (size_t i = 0; i < o->n; i++) {
        struct offline_item *it = &o->v[i];
        struct store_call *call = it->pending ? ctl_call(c) : NULL;

        if (call == NULL)
            continue;
        store_get(call, zpath_state(topic_str(it->r.p->topic), it->r.p->index).z, 0);
        ctl_ask(c, call, isr_read, it);
    }
    return STEP_NEXT;
}

static void isr_written(struct controller *c, struct store_call *call, void *subject)
{
    struct offline_item *it = subject;
    const struct ctl_partition *p = it->r.p;

    it->write = false;
    if (call->rc == ERR_VERSION) {
        ((struct offline *)c->top)->again = true;
    } else if (call->rc == OK) {
        settled(c, it, &it->next, call->ops[1].stat.version);
    } else {
        it->pending = false;
        log_error("controller: %s-%d: replica %d cannot be taken out of the ISR: %s", p->topic->name, p->index,
                  it->r.broker, err_text(call->rc));
    }
}

static enum step_next write_isrs(struct controller *c, struct frame *f)
{
    struct offline *o = (struct offline *)f;

    for (size_t i = 0; i < o->n; i++) {
        struct offline_item *it = &o->v[i];
        char *text = it->write ? znode_state_write(&it->next) : NULL;
        struct store_call *call = text != NULL ? ctl_fenced_call(c) : NULL;

        if (call != NULL) {
            store_set(call, zpath_state(topic_str(it->r.p->topic), it->r.p->index).z,
                      (struct bytes){ (uint8_t *)text, strlen(text) }, it->zk_version);
            ctl_ask(c, call, isr_written, it);
        } else if (it->write) {
            ctl_abort(c, ERR_NOMEM, "taking replicas offline");
        }
        free(text);
    }
    return STEP_NEXT;
}

enum { AT_READ = 1 };

static enum step_next repeat_or_send(struct controller *c, struct frame *f)
{
    struct offline *o = (struct offline *)f;

    if (o->again) {
        f->at = AT_READ;
        return STEP_AGAIN;
    }
    batch_send(c);
    return STEP_NEXT;
}

void replicas_offline(struct controller *c, const struct replica_ref *v, size_t n)
{
    static const struct step steps[] = {
        { "stop replicas", stop_replicas }, [AT_READ] = { "read the ISRs", read_isrs },
        { "write the ISRs", write_isrs },   { "send", repeat_or_send },
        { NULL, NULL },
    };
    struct offline *o = frame_push(c, sizeof *o, steps);

    if (o == NULL)
        return;
    o->f.fini = offline_fini;
    o->v = calloc(n + 1, sizeof *o->v);
    if (o->v == NULL) {
        ctl_abort(c, ERR_NOMEM, "taking replicas offline");
        return;
    }
    for (size_t i = 0; i < n; i++)
        o->v[i].r = v[i];
    o->n = n;
}
