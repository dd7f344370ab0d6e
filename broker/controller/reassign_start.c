/* broker/controller/reassign_start.c - what begins moves of replicas, and what makes those that wait look again.
 *
 *   /admin/reassign_partitions    a tool's list, when it appears or changes. What cannot be moved is reported and
 *                                 taken out of it; a list that cannot be read stays as it is, for whoever made it
 *   a new term                    that list, and every partition whose topic's node says that it is being moved
 *   a broker is back              moves to it begin phase A again: it may have missed what it was told
 *   an ISR has changed            moves whose target is in sync now are finished
 */
#include "broker/controller/reassign.h"

#include "base/log.h"
#include "proto/kerr.h"

#include <stdlib.h>

#define LINES_MAX 10                    /* of the log, about one list */

struct start {
    struct frame   f;
    struct arena   arena;
    struct move   *v;
    size_t         n, cap;
    struct unlist *bad;                 /* not to be moved: out of the list */
    size_t         bad_n;
    bool           all;                 /* a new term: also what the topics' nodes tell */
};

static void start_fini(struct frame *f)
{
    arena_fini(&((struct start *)f)->arena);
}

static struct start *start_push(struct controller *c, const struct step *steps)
{
    struct start *s = frame_push(c, sizeof *s, steps);

    if (s == NULL)
        return NULL;
    s->f.fini = start_fini;
    arena_init(&s->arena, SIZE_MAX / 2);
    return s;
}

static void out_of_memory(struct controller *c)
{
    ctl_abort(c, ERR_NOMEM, "moving replicas");
}

/* Room for `more` moves. */
static bool start_room(struct controller *c, struct start *s, size_t more)
{
    struct move *v = arena_array(&s->arena, s->n + more + 1, sizeof *v);

    if (v == NULL) {
        out_of_memory(c);
        return false;
    }
    if (s->n > 0)
        memcpy(v, s->v, s->n * sizeof *v);
    s->v = v;
    s->cap = s->n + more;
    return true;
}

static bool copy(struct arena *a, const struct ids *ids, struct znode_replicas *out)
{
    *out = (struct znode_replicas){ arena_array(a, (size_t)ids->n + 1, sizeof(int32_t)), ids->n };
    if (out->v != NULL && ids->n > 0)
        memcpy(out->v, ids->v, (size_t)ids->n * sizeof(int32_t));
    return out->v != NULL;
}

/* The move that p is in the middle of goes on. Once: p->listed tells, until start_ready(). */
static void go_on(struct controller *c, struct start *s, struct ctl_partition *p, bool only_if_done)
{
    struct move *m = &s->v[s->n];

    if (p->listed > 0)
        return;
    *m = (struct move){ .p = p, .only_if_done = only_if_done };
    if (!copy(&s->arena, &p->replicas, &m->to.replicas) || !copy(&s->arena, &p->adding, &m->to.adding) ||
        !copy(&s->arena, &p->removing, &m->to.removing)) {
        out_of_memory(c);
        return;
    }
    p->listed = ++s->n;
}

static void start_ready(struct start *s)
{
    for (size_t i = 0; i < s->n; i++)
        s->v[i].p->listed = 0;
}

static size_t count_moving(const struct controller *c)
{
    size_t n = 0;

    for (const struct ctl_topic *t = c->ctx.topics; t != NULL; t = t->hh.next)
        for (int32_t i = 0; i < t->partitions_n; i++)
            n += t->partitions[i].reassigning;
    return n;
}

static enum step_next run(struct controller *c, struct frame *f)
{
    struct start *s = (struct start *)f;

    if (s->n > 0)
        moves_run(c, &s->arena, s->v, s->n);
    return STEP_NEXT;
}

/* ---- the list ----------------------------------------------------------------------------------------- */

static const char *fault(const struct controller *c, struct start *s, const struct znode_named *e,
                         struct ctl_partition **p)
{
    struct ctl_topic *t = context_topic(&c->ctx, e->topic);

    *p = t != NULL ? context_partition(t, e->partition) : NULL;
    if (*p == NULL)
        return "there is no such partition";
    if (t->queued)
        return "the topic is being deleted";
    if (e->replicas.n == 0)
        return "it names no replicas";
    return replicas_repeat(&s->arena, e->replicas) ? "it names a broker twice" : NULL;
}

static bool is_target(const struct ctl_partition *p, struct znode_replicas want)
{
    int32_t n = 0;

    for (int32_t i = 0; i < p->replicas.n; i++) {
        if (ids_have(&p->removing, p->replicas.v[i]))
            continue;
        if (n == want.n || want.v[n++] != p->replicas.v[i])
            return false;
    }
    return n == want.n;
}

/* A partition that is listed twice: the last one counts. */
static void list_entry(struct controller *c, struct start *s, const struct znode_named *e)
{
    struct move m = { .p = NULL };
    const char *why = fault(c, s, e, &m.p);

    if (why != NULL) {
        if (s->bad_n < LINES_MAX)
            log_warn(ZK_REASSIGN ": %.*s-%d is not moved: %s", STR_ARG(e->topic), e->partition, why);
        s->bad[s->bad_n] = (struct unlist){ .partition = e->partition };
        if (arena_str(&s->arena, e->topic, &s->bad[s->bad_n++].topic) != OK)
            out_of_memory(c);
        return;
    }
    if (!s->all && m.p->reassigning && is_target(m.p, e->replicas))
        return;                                     /* on its way: the list was changed, perhaps by us */
    if (move_to(&s->arena, m.p, e->replicas, &m.to) != OK) {
        out_of_memory(c);
        return;
    }
    if (m.p->listed > 0)
        s->v[m.p->listed - 1] = m;
    else
        s->v[s->n++] = m;
    if (m.p->listed == 0)
        m.p->listed = s->n;
}

static void list_take(struct controller *c, struct start *s, const struct znode_list *l)
{
    s->bad = arena_array(&s->arena, l->n + 1, sizeof *s->bad);
    if (s->bad == NULL) {
        out_of_memory(c);
        return;
    }
    for (size_t i = 0; i < l->n && c->abort_rc == OK; i++)
        list_entry(c, s, &l->v[i]);
    if (s->bad_n > LINES_MAX)
        log_warn(ZK_REASSIGN ": %zu more partitions are not moved", s->bad_n - LINES_MAX);
}

static void list_read(struct controller *c, struct store_call *call, void *subject)
{
    struct start *s = subject;
    struct znode_list l = { NULL, 0 };
    int rc = call->ops[1].rc;

    if (rc == OK)
        rc = znode_reassign_read(call->ops[1].value, &call->arena, &l);
    if (rc == ERR_NOMEM) {
        out_of_memory(c);
        return;
    }
    if (rc != OK && rc != ERR_NOENT)
        log_error(ZK_REASSIGN ": cannot be read: %s; nothing of it is moved. Delete it, and list the partitions again",
                  err_text(rc));
    if (!start_room(c, s, l.n + (s->all ? count_moving(c) : 0)))
        return;
    list_take(c, s, &l);
    for (struct ctl_topic *t = c->ctx.topics; t != NULL && s->all && c->abort_rc == OK; t = t->hh.next)
        for (int32_t i = 0; i < t->partitions_n; i++)
            if (t->partitions[i].reassigning)
                go_on(c, s, &t->partitions[i], false);
    start_ready(s);
}

static enum step_next list_ask(struct controller *c, struct frame *f)
{
    struct store_call *call = ctl_call(c);

    if (call == NULL)
        return STEP_END;
    store_exists(call, ZK_REASSIGN, STORE_WATCH);
    store_get(call, ZK_REASSIGN, 0);
    ctl_ask(c, call, list_read, f);
    return STEP_NEXT;
}

/* What could not be moved after all goes as well. */
static enum step_next list_clean(struct controller *c, struct frame *f)
{
    struct start *s = (struct start *)f;
    struct unlist *gone = arena_array(&s->arena, s->n + s->bad_n + 1, sizeof *gone);
    size_t n = s->bad_n;

    if (gone == NULL) {
        out_of_memory(c);
        return STEP_END;
    }
    if (n > 0)
        memcpy(gone, s->bad, n * sizeof *gone);
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].error != KERR_NONE)
            gone[n++] = (struct unlist){ topic_str(s->v[i].p->topic), s->v[i].p->index, { NULL, 0 } };
    if (n > 0)
        reassign_unlist(c, gone, n);
    return STEP_NEXT;
}

static void begin(struct controller *c, bool all)
{
    static const struct step steps[] = {
        { "read the list", list_ask }, { "move", run }, { "clean the list", list_clean }, { NULL, NULL },
    };
    struct start *s = start_push(c, steps);

    if (s != NULL)
        s->all = all;
}

void reassign_listed(struct controller *c)
{
    begin(c, false);
}

void reassign_init(struct controller *c)
{
    begin(c, true);
}

/* ---- what waits --------------------------------------------------------------------------------------- */

static const struct step wait_steps[] = { { "move", run }, { NULL, NULL } };

/* What they were to delete may not have reached them, or they were down when it was taken from them. Also of topics
 * that are being deleted: for one that was not away, and has another channel now. */
static void delete_again(struct controller *c, const int32_t *ids, size_t n)
{
    batch_begin(c);
    CONTEXT_EACH(&c->ctx, p)
        for (size_t k = 0; k < n; k++)
            if (replica_state(p, ids[k]) == REPLICA_DELETE_STARTED)
                batch_stop(c, ids[k], p, true);
    batch_send(c);
}

void reassign_brokers_gone(struct controller *c)
{
    for (struct ctl_topic *t = c->ctx.topics; t != NULL; t = t->hh.next)
        for (int32_t i = 0; i < t->partitions_n; i++)
            if (t->partitions[i].unwritten)
                reassign_isr_changed(c, &t->partitions[i]);
}

void reassign_brokers_back(struct controller *c, const int32_t *ids, size_t n)
{
    size_t moving = count_moving(c);
    struct start *s = moving > 0 ? start_push(c, wait_steps) : NULL;

    delete_again(c, ids, n);
    if (s == NULL || !start_room(c, s, moving))
        return;
    for (struct ctl_topic *t = c->ctx.topics; t != NULL; t = t->hh.next)
        for (int32_t i = 0; i < t->partitions_n; i++) {
            struct ctl_partition *p = &t->partitions[i];
            bool target = false;

            for (size_t k = 0; k < n && p->reassigning; k++)
                target |= ids_have(&p->replicas, ids[k]) && !ids_have(&p->removing, ids[k]);
            if (target)
                go_on(c, s, p, false);
        }
    start_ready(s);
}

static bool target_in_sync(const struct ctl_partition *p)
{
    for (int32_t i = 0; i < p->replicas.n; i++)
        if (!ids_have(&p->removing, p->replicas.v[i]) && !ids_have(&p->isr, p->replicas.v[i]))
            return false;
    return true;
}

/* The partition that the event names ("T/partitions/P/state"), or, if it names none, all whose target is in sync. */
static bool concerned(const struct controller *c, const struct ctl_partition *p)
{
    const char *z = c->event->topic;
    size_t n = p->topic->name_len;

    if (!p->reassigning)
        return false;
    if (z[0] == '\0')
        return p->unwritten || target_in_sync(p);
    return strncmp(z, p->topic->name, n) == 0 && strncmp(z + n, "/partitions/", strlen("/partitions/")) == 0 &&
           strtol(z + n + strlen("/partitions/"), NULL, 10) == p->index;
}

void reassign_state_changed(struct controller *c)
{
    size_t moving = count_moving(c);
    struct start *s = moving > 0 ? start_push(c, wait_steps) : NULL;

    if (c->event->topic[0] == '\0')
        c->isrs_posted = false;
    if (s == NULL || !start_room(c, s, moving))
        return;
    for (struct ctl_topic *t = c->ctx.topics; t != NULL; t = t->hh.next)
        for (int32_t i = 0; i < t->partitions_n; i++)
            if (concerned(c, &t->partitions[i]))
                go_on(c, s, &t->partitions[i], true);
    start_ready(s);
}

void reassign_isr_changed(struct controller *c, const struct ctl_partition *p)
{
    if (!p->reassigning || c->isrs_posted)
        return;
    c->isrs_posted = event_post(c, EV_STATE, NULL) == OK;
    if (!c->isrs_posted)
        out_of_memory(c);
}
