/* broker/controller/log_dirs.c - replicas whose log is offline on a broker that lives.
 *
 * A broker that loses a log directory, or a single log, puts a node under /log_dir_event_notification. It is then sent
 * LeaderAndIsr for all that it hosts; what it answers with KAFKA_STORAGE_ERROR is offline: somebody else leads, and it
 * leaves the ISR. Any later LeaderAndIsr may be answered so as well. A replica comes back with its broker's next start.
 */
#include "broker/controller/priv.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- EV_LOG_DIRS: the children of /log_dir_event_notification --------------------------------------------- */

struct notices {
    struct frame f;
    struct arena arena;
    struct str  *names;
    size_t       n;
    int32_t     *brokers;
    size_t       brokers_n;
};

static void notices_fini(struct frame *f)
{
    arena_fini(&((struct notices *)f)->arena);
}

static void notices_listed(struct controller *c, struct store_call *call, void *subject)
{
    const struct store_op *op = &call->ops[0];
    struct notices *no = subject;
    int rc = OK;

    if (call->rc != OK) {
        ctl_abort(c, call->rc, "reading " ZK_LOG_DIR_EVENTS);
        return;
    }
    no->names = arena_array(&no->arena, op->children_n + 1, sizeof *no->names);
    no->brokers = arena_array(&no->arena, op->children_n + 1, sizeof *no->brokers);
    if (no->names == NULL || no->brokers == NULL)
        rc = ERR_NOMEM;
    for (size_t i = 0; i < op->children_n && rc == OK; i++)
        rc = arena_str(&no->arena, op->children[i], &no->names[no->n++]);
    if (rc != OK)
        ctl_abort(c, rc, "reading " ZK_LOG_DIR_EVENTS);
}

static enum step_next notices_list(struct controller *c, struct frame *f)
{
    struct store_call *call = ctl_call(c);

    if (call == NULL)
        return STEP_END;
    store_children(call, ZK_LOG_DIR_EVENTS, STORE_WATCH);
    ctl_ask(c, call, notices_listed, f);
    return STEP_NEXT;
}

/* The path of a notice; "" when it cannot be one. */
static const char *notice_path(struct str name, char out[STORE_PATH_MAX + 1])
{
    int n = snprintf(out, STORE_PATH_MAX + 1, ZK_LOG_DIR_EVENTS "/%.*s", STR_ARG(name));

    return n > 0 && n <= STORE_PATH_MAX ? out : "";
}

static void notice_read(struct controller *c, struct store_call *call, void *subject)
{
    struct notices *no = subject;
    int32_t id;

    (void)c;
    if (call->rc == ERR_NOENT)
        return;
    if (call->rc != OK || znode_dir_event_read(call->ops[0].value, &id) != OK) {
        log_error("%s: cannot be read; the notice is dropped", call->ops[0].path);
        return;
    }
    for (size_t i = 0; i < no->brokers_n; i++)
        if (no->brokers[i] == id)
            return;
    no->brokers[no->brokers_n++] = id;
}

static enum step_next notices_read(struct controller *c, struct frame *f)
{
    struct notices *no = (struct notices *)f;
    char path[STORE_PATH_MAX + 1];

    for (size_t i = 0; i < no->n; i++) {
        struct store_call *call = ctl_call(c);

        if (call == NULL)
            return STEP_END;
        store_get(call, notice_path(no->names[i], path), 0);
        ctl_ask(c, call, notice_read, no);
    }
    return STEP_NEXT;
}

/* They answer for each replica whether they still have it. */
static enum step_next ask_brokers(struct controller *c, struct frame *f)
{
    const struct notices *no = (struct notices *)f;

    if (no->brokers_n == 0)
        return STEP_NEXT;
    batch_begin(c);
    for (struct ctl_topic *t = c->ctx.topics; t != NULL; t = t->hh.next)
        for (int32_t i = 0; i < t->partitions_n && !t->queued; i++)
            for (size_t k = 0; k < no->brokers_n; k++)
                if (t->partitions[i].has_leadership && ids_have(&t->partitions[i].replicas, no->brokers[k]))
                    batch_leader_and_isr(c, no->brokers[k], &t->partitions[i], false);
    batch_send(c);
    return STEP_NEXT;
}

static void notice_gone(struct controller *c, struct store_call *call, void *subject)
{
    (void)c, (void)subject;
    if (call->rc != OK && call->rc != ERR_NOENT)
        log_error("%s: cannot be removed: %s", call->ops[1].path, err_text(call->rc));
}

static enum step_next notices_remove(struct controller *c, struct frame *f)
{
    const struct notices *no = (struct notices *)f;
    char path[STORE_PATH_MAX + 1];

    for (size_t i = 0; i < no->n; i++) {
        struct store_call *call = ctl_fenced_call(c);

        if (call == NULL)
            return STEP_END;
        store_delete(call, notice_path(no->names[i], path), STORE_ANY_VERSION);
        ctl_ask(c, call, notice_gone, NULL);
    }
    return STEP_NEXT;
}

static struct notices *notices_push(struct controller *c, const struct step *steps)
{
    struct notices *no = frame_push(c, sizeof *no, steps);

    if (no == NULL)
        return NULL;
    no->f.fini = notices_fini;
    arena_init(&no->arena, SIZE_MAX / 2);
    return no;
}

void log_dirs_changed(struct controller *c)
{
    static const struct step steps[] = {
        { "list the notices", notices_list }, { "read them", notices_read },        { "ask the brokers", ask_brokers },
        { "remove them", notices_remove },    { NULL, NULL },
    };

    (void)notices_push(c, steps);
}

void log_dirs_init(struct controller *c)
{
    static const struct step steps[] = {
        { "list the notices", notices_list }, { "remove them", notices_remove }, { NULL, NULL },
    };

    (void)notices_push(c, steps);
}

/* ---- what a broker's answer says -------------------------------------------------------------------------- */

struct losses {
    struct frame           f;
    struct replica_ref    *refs;
    struct ctl_partition **led;         /* those that the broker led */
    size_t                 n, led_n;
};

static void losses_fini(struct frame *f)
{
    struct losses *lo = (struct losses *)f;

    free(lo->refs);
    free(lo->led);
}

static enum step_next elect_others(struct controller *c, struct frame *f)
{
    struct losses *lo = (struct losses *)f;

    if (lo->led_n == 0)
        return STEP_NEXT;
    partitions_to(c, lo->led, lo->led_n, PARTITION_OFFLINE);
    partitions_online(c, lo->led, lo->led_n);
    return STEP_NEXT;
}

static enum step_next take_offline(struct controller *c, struct frame *f)
{
    struct losses *lo = (struct losses *)f;

    replicas_offline(c, lo->refs, lo->n);
    return STEP_NEXT;
}

void replicas_lost(struct controller *c, const struct replica_ref *v, size_t n)
{
    static const struct step steps[] = {
        { "elect other leaders", elect_others }, { "take the replicas offline", take_offline }, { NULL, NULL },
    };
    struct losses *lo = frame_push(c, sizeof *lo, steps);

    if (lo == NULL)
        return;
    lo->f.fini = losses_fini;
    lo->refs = calloc(n + 1, sizeof *lo->refs);
    lo->led = calloc(n + 1, sizeof(struct ctl_partition *));
    if (lo->refs == NULL || lo->led == NULL) {
        ctl_abort(c, ERR_NOMEM, "replicas whose log is offline");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        bool *lost = context_lost(v[i].p, v[i].broker);

        if (lost == NULL || *lost)
            continue;
        *lost = true;
        lo->refs[lo->n++] = v[i];
        if (v[i].p->leader == v[i].broker && !v[i].p->topic->queued)
            lo->led[lo->led_n++] = v[i].p;
    }
    if (lo->n > 0)
        log_warn("controller: broker %d has lost %zu replicas with their log directory", v[0].broker, lo->n);
}
