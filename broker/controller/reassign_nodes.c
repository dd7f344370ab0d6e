/* broker/controller/reassign_nodes.c - what a move of replicas writes.
 *
 * A topic's node is read, our partitions are put in, and it is written if it still is what was read: partitions that
 * somebody adds at the same moment are not lost. /admin/reassign_partitions likewise.
 */
#include "broker/controller/reassign.h"

#include "base/log.h"
#include "broker/controller/rewrite.h"
#include "proto/kerr.h"

#include <stdlib.h>

/* ---- nodes of topics: U1 and B6 ----------------------------------------------------------------------- */

struct topic_write {
    struct ctl_topic *t;
    int32_t           version;
    char             *text;             /* NULL: not to be written (any more) */
};

struct topic_writes {
    struct frame        f;
    struct move        *v;
    size_t              n;
    struct topic_write *topics;
    size_t              topics_n;
    bool                again;
};

static void topic_writes_fini(struct frame *f)
{
    struct topic_writes *w = (struct topic_writes *)f;

    for (size_t i = 0; i < w->topics_n; i++)
        free(w->topics[i].text);
    free(w->topics);
}

static int by_topic(const void *a, const void *b)
{
    const struct ctl_topic *x = ((const struct topic_write *)a)->t, *y = ((const struct topic_write *)b)->t;

    return ((uintptr_t)x > (uintptr_t)y) - ((uintptr_t)x < (uintptr_t)y);
}

static enum step_next topics_list(struct controller *c, struct frame *f)
{
    struct topic_writes *w = (struct topic_writes *)f;
    size_t n = 0;

    w->topics = calloc(w->n + 1, sizeof *w->topics);
    if (w->topics == NULL) {
        ctl_abort(c, ERR_NOMEM, "moving replicas");
        return STEP_END;
    }
    for (size_t i = 0; i < w->n; i++)
        if (w->v[i].p->next != NULL)
            w->topics[n++].t = w->v[i].p->topic;
    if (n > 1)
        qsort(w->topics, n, sizeof *w->topics, by_topic);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || w->topics[i].t != w->topics[w->topics_n - 1].t)
            w->topics[w->topics_n++] = w->topics[i];
    return STEP_NEXT;
}

/* Moves of the topic cannot go on. */
static void topic_failed(struct topic_writes *w, const struct ctl_topic *t, int rc)
{
    log_error("controller: " ZK_BROKER_TOPICS "/%s: cannot be written: %s; its replicas are not moved", t->name,
              err_text(rc));
    for (size_t i = 0; i < w->n; i++)
        if (w->v[i].p->topic == t && w->v[i].p->next != NULL)
            w->v[i].error = rc == ERR_NOENT ? KERR_UNKNOWN_TOPIC_OR_PARTITION : KERR_UNKNOWN_SERVER_ERROR;
}

static struct znode_replicas view(const struct ids *ids)
{
    return (struct znode_replicas){ ids->v, ids->n };
}

/* What the controller knows of a partition, or is to know next. */
static struct znode_partition known(const struct ctl_partition *p)
{
    if (p->next != NULL)
        return (struct znode_partition){ p->index, p->next->replicas, p->next->adding, p->next->removing };
    return (struct znode_partition){ p->index, view(&p->replicas), view(&p->adding), view(&p->removing) };
}

/* What the controller knows; the partitions of the node that it does not know yet stay as they stand there. So do those
 * that have arrived while their old replicas are still being deleted: the next controller is to find their move. */
static int topic_merge(const struct ctl_topic *t, struct arena *a, struct znode_topic *z)
{
    struct znode_partition *all = arena_array(a, (size_t)t->partitions_n + (size_t)z->partitions_n + 1, sizeof *all);
    int32_t n = 0, k = 0;

    if (all == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < t->partitions_n; i++) {
        const struct ctl_partition *p = &t->partitions[i];

        bool there;

        for (; k < z->partitions_n && z->partitions[k].index < p->index; k++)
            all[n++] = z->partitions[k];
        there = k < z->partitions_n && z->partitions[k].index == p->index;
        all[n++] = there && p->unwritten && p->next == NULL ? z->partitions[k] : known(p);
        k += there;
    }
    for (; k < z->partitions_n; k++)
        all[n++] = z->partitions[k];
    z->partitions = all;
    z->partitions_n = n;
    if (!uuid_is_zero(t->id))
        z->id = t->id;
    return OK;
}

static void topic_read(struct controller *c, struct store_call *call, void *subject)
{
    struct topic_write *tw = subject;
    struct topic_writes *w = (struct topic_writes *)c->top;
    struct znode_topic z;
    int rc = call->rc;

    if (rc == OK)
        rc = znode_topic_read(call->ops[0].value, &call->arena, &z);
    if (rc == OK)
        rc = topic_merge(tw->t, &call->arena, &z);
    free(tw->text);
    tw->text = NULL;
    if (rc == OK && (tw->text = znode_topic_write(&z)) == NULL)
        rc = ERR_NOMEM;
    tw->version = call->ops[0].stat.version;
    if (rc == ERR_NOMEM)
        ctl_abort(c, rc, "moving replicas");
    else if (rc != OK)
        topic_failed(w, tw->t, rc);
}

static enum step_next topics_read(struct controller *c, struct frame *f)
{
    struct topic_writes *w = (struct topic_writes *)f;

    for (size_t i = 0; i < w->topics_n; i++) {
        struct store_call *call = w->again && w->topics[i].text == NULL ? NULL : ctl_call(c);

        if (call == NULL)
            continue;
        store_get(call, zpath_topic(topic_str(w->topics[i].t)).z, 0);
        ctl_ask(c, call, topic_read, &w->topics[i]);
    }
    w->again = false;
    return STEP_NEXT;
}

static void topic_written(struct controller *c, struct store_call *call, void *subject)
{
    struct topic_write *tw = subject;
    struct topic_writes *w = (struct topic_writes *)c->top;

    if (call->rc == ERR_VERSION) {
        w->again = true;                            /* the text stays: it is to be written anew */
        return;
    }
    free(tw->text);
    tw->text = NULL;
    if (call->rc != OK)
        topic_failed(w, tw->t, call->rc);
}

static enum step_next topics_write(struct controller *c, struct frame *f)
{
    struct topic_writes *w = (struct topic_writes *)f;

    for (size_t i = 0; i < w->topics_n; i++) {
        struct topic_write *tw = &w->topics[i];
        struct store_call *call = tw->text != NULL ? ctl_fenced_call(c) : NULL;

        if (call == NULL)
            continue;
        store_set(call, zpath_topic(topic_str(tw->t)).z, (struct bytes){ (uint8_t *)tw->text, strlen(tw->text) },
                  tw->version);
        ctl_ask(c, call, topic_written, tw);
    }
    return STEP_NEXT;
}

enum { AT_READ = 1 };

static enum step_next topics_repeat(struct controller *c, struct frame *f)
{
    struct topic_writes *w = (struct topic_writes *)f;

    (void)c;
    if (w->again) {
        f->at = AT_READ;
        return STEP_AGAIN;
    }
    for (size_t i = 0; i < w->n; i++)
        w->v[i].p->next = NULL;
    return STEP_NEXT;
}

void moves_write_topics(struct controller *c, struct move *v, size_t n)
{
    static const struct step steps[] = {
        { "list the topics", topics_list }, [AT_READ] = { "read them", topics_read },
        { "write them", topics_write },     { "repeat", topics_repeat },
        { NULL, NULL },
    };
    struct topic_writes *w = frame_push(c, sizeof *w, steps);

    if (w == NULL)
        return;
    w->f.fini = topic_writes_fini;
    w->v = v;
    w->n = n;
}

/* ---- leader epochs: A1 and B3 ------------------------------------------------------------------------- */

static enum rewrite_verdict epoch_more(struct controller *c, struct rewrite *rw, struct rewrite_item *it)
{
    (void)c, (void)rw;
    it->next.leader_epoch++;
    return REWRITE_WRITE;
}

/* Replicas that do not exist yet are told when they become New. */
static void epoch_raised(struct controller *c, struct rewrite *rw, struct rewrite_item *it, bool written)
{
    struct move *m = it->subject;
    const struct ctl_partition *p = it->p;

    (void)rw, (void)written;
    m->bump = false;
    for (int32_t i = 0; i < p->replicas.n; i++)
        if (replica_state(p, p->replicas.v[i]) != REPLICA_NONEXISTENT)
            batch_leader_and_isr(c, p->replicas.v[i], it->p, ids_have(&p->adding, p->replicas.v[i]));
}

void moves_bump(struct controller *c, struct move *v, size_t n)
{
    static const struct rewrite_kind kind = { .what = "the move of its replicas waits", .decide = epoch_more,
                                              .settled = epoch_raised };
    struct rewrite *rw;
    size_t bumps = 0;

    for (size_t i = 0; i < n; i++)
        bumps += v[i].error == KERR_NONE && v[i].bump;
    rw = bumps > 0 ? rewrite_push(c, &kind, bumps, sizeof *rw) : NULL;
    if (rw == NULL)
        return;
    bumps = 0;
    for (size_t i = 0; i < n; i++)
        if (v[i].error == KERR_NONE && v[i].bump)
            rw->v[bumps++] = (struct rewrite_item){ .p = v[i].p, .subject = &v[i] };
}

/* ---- /admin/reassign_partitions: B7 ------------------------------------------------------------------- */

struct unlisting {
    struct frame         f;
    const struct unlist *v;
    size_t               n;
    char                *text;          /* NULL: nothing is to be written */
    bool                 empty, again;
    int32_t              version;
};

static void unlisting_fini(struct frame *f)
{
    free(((struct unlisting *)f)->text);
}

static bool to_go(const struct unlisting *u, const struct znode_named *e)
{
    for (size_t i = 0; i < u->n; i++) {
        const struct unlist *x = &u->v[i];

        if (x->partition != e->partition || !str_eq(x->topic, e->topic))
            continue;
        if (x->wanted.v == NULL || (x->wanted.n == e->replicas.n &&
            memcmp(x->wanted.v, e->replicas.v, (size_t)e->replicas.n * sizeof *e->replicas.v) == 0))
            return true;
    }
    return false;
}

static void list_read(struct controller *c, struct store_call *call, void *subject)
{
    struct unlisting *u = subject;
    struct znode_list l;
    size_t kept = 0;

    if (call->rc == ERR_NOENT)
        return;
    if (call->rc != OK || znode_reassign_read(call->ops[0].value, &call->arena, &l) != OK)
        return;                                     /* reported when it appeared */
    for (size_t i = 0; i < l.n; i++)
        if (!to_go(u, &l.v[i]))
            l.v[kept++] = l.v[i];
    if (kept == l.n && kept > 0)
        return;
    l.n = kept;
    u->empty = kept == 0;
    u->version = call->ops[0].stat.version;
    u->text = znode_reassign_write(&l);
    if (u->text == NULL)
        ctl_abort(c, ERR_NOMEM, "moving replicas");
}

static enum step_next list_ask(struct controller *c, struct frame *f)
{
    struct unlisting *u = (struct unlisting *)f;
    struct store_call *call = ctl_call(c);

    if (call == NULL)
        return STEP_END;
    free(u->text);
    u->text = NULL;
    u->again = false;
    store_get(call, ZK_REASSIGN, 0);
    ctl_ask(c, call, list_read, u);
    return STEP_NEXT;
}

static void list_written(struct controller *c, struct store_call *call, void *subject)
{
    struct unlisting *u = subject;

    (void)c;
    u->again = call->rc == ERR_VERSION;
    if (call->rc != OK && call->rc != ERR_NOENT && !u->again)
        log_error(ZK_REASSIGN ": cannot be %s: %s", u->empty ? "removed" : "written", err_text(call->rc));
}

static enum step_next list_write(struct controller *c, struct frame *f)
{
    struct unlisting *u = (struct unlisting *)f;
    struct store_call *call = u->text != NULL ? ctl_fenced_call(c) : NULL;

    if (call == NULL)
        return STEP_END;
    if (u->empty)
        store_delete(call, ZK_REASSIGN, u->version);
    else
        store_set(call, ZK_REASSIGN, (struct bytes){ (uint8_t *)u->text, strlen(u->text) }, u->version);
    ctl_ask(c, call, list_written, u);
    return STEP_NEXT;
}

static enum step_next list_repeat(struct controller *c, struct frame *f)
{
    (void)c;
    if (!((struct unlisting *)f)->again)
        return STEP_NEXT;
    f->at = 0;
    return STEP_AGAIN;
}

void reassign_unlist(struct controller *c, const struct unlist *v, size_t n)
{
    static const struct step steps[] = {
        { "read the list", list_ask }, { "write it", list_write }, { "repeat", list_repeat }, { NULL, NULL },
    };
    struct unlisting *u = frame_push(c, sizeof *u, steps);

    if (u == NULL)
        return;
    u->f.fini = unlisting_fini;
    u->v = v;
    u->n = n;
}
