/* broker/controller/notices.c - the two queues in which brokers leave word for the controller:
 *
 *   /log_dir_event_notification   a broker has lost a log directory: it is asked for each replica whether it still has
 *                                 it (log_dirs.c)
 *   /isr_change_notification      leaders have written ISRs by themselves (inter.broker.protocol.version < 2.7-IV2):
 *                                 the states are read again, all brokers are told, moves may have come to their end
 *
 * A notice is removed when it has been followed; at the start of a term all are removed unread, for everything is read
 * and everybody told anyway. One that cannot be understood is reported and removed.
 */
#include "broker/controller/priv.h"

#include "base/log.h"
#include "broker/controller/reassign.h"
#include "broker/controller/rewrite.h"

#include <stdio.h>
#include <stdlib.h>

#define AT_ONCE 128                     /* notices that one call reads or removes */

struct notices {
    struct frame              f;
    const struct notice_kind *kind;
    struct arena              arena;
    struct str               *names;
    size_t                    n;
    int32_t                  *brokers;  /* that have lost a directory */
    size_t                    brokers_n;
    struct ctl_partition    **changed;  /* whose ISR was written */
    size_t                    changed_n, changed_cap;
};

struct notice_kind {
    const char *dir, *prefix;
    int       (*take)(struct controller *c, struct notices *no, struct bytes value, struct arena *a);
    void      (*follow)(struct controller *c, struct notices *no);
};

static void notices_fini(struct frame *f)
{
    free(((struct notices *)f)->changed);
    arena_fini(&((struct notices *)f)->arena);
}

/* ---- lists, reads, removes ------------------------------------------------------------------------------- */

static bool is_notice(const struct notice_kind *kind, struct str name)
{
    size_t n = strlen(kind->prefix);

    return name.len > n && memcmp(name.p, kind->prefix, n) == 0;
}

static void listed(struct controller *c, struct store_call *call, void *subject)
{
    const struct store_op *op = &call->ops[0];
    struct notices *no = subject;
    int rc = OK;

    if (call->rc != OK) {
        ctl_abort(c, call->rc, no->kind->dir);
        return;
    }
    no->names = arena_array(&no->arena, op->children_n + 1, sizeof *no->names);
    no->brokers = arena_array(&no->arena, op->children_n + 1, sizeof *no->brokers);
    if (no->names == NULL || no->brokers == NULL)
        rc = ERR_NOMEM;
    for (size_t i = 0; i < op->children_n && rc == OK; i++)
        if (is_notice(no->kind, op->children[i]))
            rc = arena_str(&no->arena, op->children[i], &no->names[no->n++]);
    if (rc != OK)
        ctl_abort(c, rc, no->kind->dir);
}

static enum step_next list(struct controller *c, struct frame *f)
{
    struct store_call *call = ctl_call(c);

    if (call == NULL)
        return STEP_END;
    store_children(call, ((struct notices *)f)->kind->dir, STORE_WATCH);
    ctl_ask(c, call, listed, f);
    return STEP_NEXT;
}

/* The path of a notice; "" when it cannot be one. */
static const char *path_of(const struct notices *no, size_t i, char out[STORE_PATH_MAX + 1])
{
    int n = snprintf(out, STORE_PATH_MAX + 1, "%s/%.*s", no->kind->dir, STR_ARG(no->names[i]));

    return n > 0 && n <= STORE_PATH_MAX ? out : "";
}

static void notices_read(struct controller *c, struct store_call *call, void *subject)
{
    struct notices *no = subject;

    for (size_t i = 0; i < call->ops_n && c->abort_rc == OK; i++) {
        const struct store_op *op = &call->ops[i];
        int rc = op->rc;

        if (rc == OK)
            rc = no->kind->take(c, no, op->value, &call->arena);
        if (rc == ERR_NOMEM)
            ctl_abort(c, rc, no->kind->dir);
        else if (rc != OK && rc != ERR_NOENT)
            log_error("%s: cannot be read: %s; the notice is dropped", op->path, err_text(rc));
    }
}

static enum step_next read_all(struct controller *c, struct frame *f)
{
    struct notices *no = (struct notices *)f;
    char path[STORE_PATH_MAX + 1];

    for (size_t i = 0; i < no->n; i += AT_ONCE) {
        struct store_call *call = ctl_call(c);

        if (call == NULL)
            return STEP_END;
        for (size_t k = i; k < no->n && k < i + AT_ONCE; k++)
            store_get(call, path_of(no, k, path), 0);
        ctl_ask(c, call, notices_read, no);
    }
    return STEP_NEXT;
}

static enum step_next follow(struct controller *c, struct frame *f)
{
    struct notices *no = (struct notices *)f;

    no->kind->follow(c, no);
    return STEP_NEXT;
}

static void removed(struct controller *c, struct store_call *call, void *subject)
{
    (void)c, (void)subject;
    if (call->rc != OK && call->rc != ERR_NOENT)
        log_error("%s: cannot be removed: %s", call->ops[1].path, err_text(call->rc));
}

/* One by one: somebody may have removed some of them by hand. */
static enum step_next remove_all(struct controller *c, struct frame *f)
{
    const struct notices *no = (struct notices *)f;
    char path[STORE_PATH_MAX + 1];

    for (size_t i = 0; i < no->n; i++) {
        struct store_call *call = ctl_fenced_call(c);

        if (call == NULL)
            return STEP_END;
        store_delete(call, path_of(no, i, path), STORE_ANY_VERSION);
        ctl_ask(c, call, removed, NULL);
    }
    return STEP_NEXT;
}

static void notices_push(struct controller *c, const struct step *steps, const struct notice_kind *kind)
{
    struct notices *no = frame_push(c, sizeof *no, steps);

    if (no == NULL)
        return;
    no->f.fini = notices_fini;
    no->kind = kind;
    arena_init(&no->arena, SIZE_MAX / 2);
}

static const struct step followed[] = {
    { "list the notices", list }, { "read them", read_all }, { "follow them", follow }, { "remove them", remove_all },
    { NULL, NULL },
};

/* ---- a log directory is lost ------------------------------------------------------------------------------ */

static int take_broker(struct controller *c, struct notices *no, struct bytes value, struct arena *a)
{
    struct ids known = { no->brokers, (int32_t)no->brokers_n };
    int32_t id;

    (void)c, (void)a;
    TRY(znode_dir_event_read(value, &id));
    if (!ids_have(&known, id))
        no->brokers[no->brokers_n++] = id;
    return OK;
}

/* They answer for each replica whether they still have it. */
static void ask_brokers(struct controller *c, struct notices *no)
{
    if (no->brokers_n == 0)
        return;
    batch_begin(c);
    CONTEXT_EACH(&c->ctx, p)
        for (size_t k = 0; k < no->brokers_n; k++)
            if (p->has_leadership && !p->topic->queued && ids_have(&p->replicas, no->brokers[k]))
                batch_leader_and_isr(c, no->brokers[k], p, false);
    batch_send(c);
}

static const struct notice_kind log_dir_events = { ZK_LOG_DIR_EVENTS, ZNODE_DIR_EVENT, take_broker, ask_brokers };

void log_dirs_changed(struct controller *c)
{
    notices_push(c, followed, &log_dir_events);
}

/* ---- leaders have written ISRs ----------------------------------------------------------------------------- */

static bool have(const struct notices *no, const struct ctl_partition *p)
{
    for (size_t i = 0; i < no->changed_n; i++)
        if (no->changed[i] == p)
            return true;
    return false;
}

static int take_partitions(struct controller *c, struct notices *no, struct bytes value, struct arena *a)
{
    struct znode_list l;

    TRY(znode_election_read(value, a, &l));
    for (size_t i = 0; i < l.n; i++) {
        struct ctl_topic *t = context_topic(&c->ctx, l.v[i].topic);
        struct ctl_partition *p = t != NULL ? context_partition(t, l.v[i].partition) : NULL;

        if (p == NULL || !p->has_leadership || have(no, p))
            continue;
        if (no->changed_n == no->changed_cap) {
            size_t cap = no->changed_cap == 0 ? 64 : no->changed_cap * 2;
            struct ctl_partition **v = realloc(no->changed, cap * sizeof *v);

            if (v == NULL)
                return ERR_NOMEM;
            no->changed = v;
            no->changed_cap = cap;
        }
        no->changed[no->changed_n++] = p;
    }
    return OK;
}

static enum rewrite_verdict keep(struct controller *c, struct rewrite *rw, struct rewrite_item *it)
{
    (void)c, (void)rw, (void)it;
    return REWRITE_KEEP;
}

static void tell(struct controller *c, struct rewrite *rw, struct rewrite_item *it, bool written)
{
    (void)rw, (void)written;
    batch_update(c, it->p);
    reassign_isr_changed(c, it->p);
}

static void read_states(struct controller *c, struct notices *no)
{
    static const struct rewrite_kind kind = { .what = "its ISR has been changed", .reread = true, .decide = keep,
                                              .settled = tell };
    struct rewrite *rw = no->changed_n > 0 ? rewrite_push(c, &kind, no->changed_n, sizeof *rw) : NULL;

    for (size_t i = 0; rw != NULL && i < no->changed_n; i++)
        rw->v[i].p = no->changed[i];
}

static const struct notice_kind isr_changes = { ZK_ISR_CHANGES, "isr_change_", take_partitions, read_states };

void isrs_changed(struct controller *c)
{
    notices_push(c, followed, &isr_changes);
}

/* ---- the start of a term ------------------------------------------------------------------------------------ */

void notices_init(struct controller *c)
{
    static const struct step steps[] = {
        { "list the notices", list }, { "remove them", remove_all }, { NULL, NULL },
    };

    notices_push(c, steps, &log_dir_events);
    notices_push(c, steps, &isr_changes);
}
