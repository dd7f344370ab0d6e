/* metadata/store.c - the part of the metadata store that all backends share: building calls, waiting for
 * one. */
#include "metadata/store.h"

#include "base/lock.h"
#include "base/log.h"

#include <stdlib.h>

/* A call holds one operation as a rule; a list of children may be long. */
#define CALL_MEMORY_MAX ((size_t)256 * 1024 * 1024)

struct store_call *store_call_new(void (*done)(struct store_call *), void *arg)
{
    struct store_call *call = calloc(1, sizeof *call);

    if (call == NULL)
        return NULL;
    arena_init(&call->arena, CALL_MEMORY_MAX);
    call->done = done;
    call->arg = arg;
    return call;
}

void store_call_free(struct store_call **call)
{
    if (*call == NULL)
        return;
    arena_fini(&(*call)->arena);
    free(*call);
    *call = NULL;
}

/* Absolute, no empty component, no slash at the end, no control characters. */
static bool path_ok(const char *path)
{
    if (path[0] != '/')
        return false;
    if (path[1] == '\0')
        return true;
    for (const char *p = path; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return false;
        if (*p == '/' && (p[1] == '/' || p[1] == '\0'))
            return false;
    }
    return true;
}

static bool ops_grow(struct store_call *call)
{
    size_t cap = call->ops_cap == 0 ? 1 : call->ops_cap * 2;
    struct store_op *ops = arena_array(&call->arena, cap, sizeof *ops);

    if (ops == NULL)
        return false;
    if (call->ops_n > 0)
        memcpy(ops, call->ops, call->ops_n * sizeof *ops);
    call->ops = ops;
    call->ops_cap = cap;
    return true;
}

static void op_add(struct store_call *call, struct store_op op)
{
    struct str path = str_of(op.path);
    uint8_t *data = NULL;

    if (call->built != OK)
        return;
    call->failed = call->ops_n;
    if (!path_ok(op.path)) {
        call->built = ERR_INVALID;
        return;
    }
    if (path.len > STORE_PATH_MAX || op.data.len > STORE_DATA_MAX) {
        call->built = ERR_TOO_LARGE;
        return;
    }
    op.path = arena_cstr(&call->arena, path);
    if (op.data.len > 0) {
        data = arena_alloc(&call->arena, op.data.len);
        if (data != NULL)
            memcpy(data, op.data.p, op.data.len);
        op.data.p = data;
    }
    if (op.path == NULL || (op.data.len > 0 && data == NULL) ||
        (call->ops_n == call->ops_cap && !ops_grow(call))) {
        call->built = ERR_NOMEM;
        return;
    }
    call->ops[call->ops_n++] = op;
    call->failed = 0;
}

void store_get(struct store_call *call, const char *path, unsigned flags)
{
    op_add(call, (struct store_op){ .kind = STORE_GET, .path = path, .flags = flags });
}

void store_exists(struct store_call *call, const char *path, unsigned flags)
{
    op_add(call, (struct store_op){ .kind = STORE_EXISTS, .path = path, .flags = flags });
}

void store_children(struct store_call *call, const char *path, unsigned flags)
{
    op_add(call, (struct store_op){ .kind = STORE_CHILDREN, .path = path, .flags = flags });
}

void store_create(struct store_call *call, const char *path, struct bytes data, unsigned flags)
{
    op_add(call, (struct store_op){ .kind = STORE_CREATE, .path = path, .data = data, .flags = flags });
}

void store_set(struct store_call *call, const char *path, struct bytes data, int32_t version)
{
    op_add(call, (struct store_op){ .kind = STORE_SET, .path = path, .data = data, .version = version });
}

void store_delete(struct store_call *call, const char *path, int32_t version)
{
    op_add(call, (struct store_op){ .kind = STORE_DELETE, .path = path, .version = version });
}

void store_check(struct store_call *call, const char *path, int32_t version)
{
    op_add(call, (struct store_op){ .kind = STORE_CHECK, .path = path, .version = version });
}

bool store_kind_writes(enum store_kind kind)
{
    return kind == STORE_CREATE || kind == STORE_SET || kind == STORE_DELETE;
}

/* ---- waiting ------------------------------------------------------------------------------------------ */

struct waiter {
    struct lock lock;
    /* under lock */
    struct cond cond;
    bool        answered;
};

static void waiter_done(struct store_call *call)
{
    struct waiter *w = call->arg;

    lock_take(&w->lock);
    w->answered = true;
    cond_signal(&w->cond);
    lock_drop(&w->lock);
}

int store_run(struct store *s, struct store_call *call)
{
    void (*done)(struct store_call *) = call->done;
    void *arg = call->arg;
    struct waiter w = { .answered = false };

    lock_init(&w.lock, LOCK_store);
    cond_init(&w.cond);
    call->done = waiter_done;
    call->arg = &w;
    store_submit(s, call);
    lock_take(&w.lock);
    while (!w.answered)
        cond_wait(&w.cond, &w.lock);
    lock_drop(&w.lock);
    cond_fini(&w.cond);
    lock_fini(&w.lock);
    call->done = done;
    call->arg = arg;
    return call->rc;
}

void store_barrier(struct store *s)
{
    struct store_call *call = store_call_new(NULL, NULL);

    if (call == NULL)
        abort();                                    /* the caller is about to free what events point at */
    store_exists(call, "/", 0);
    if (store_run(s, call) != OK)
        log_debug("metadata store: %s", err_text(call->rc));
    store_call_free(&call);
}

void store_submit(struct store *s, struct store_call *call)
{
    s->backend->submit(s, call);
}

void store_set_watcher(struct store *s, store_watcher_fn *fn, void *arg)
{
    s->backend->watcher(s, fn, arg);
}

int64_t store_session(struct store *s)
{
    return s->backend->session(s);
}

void store_hurry(struct store *s)
{
    if (s->backend->hurry != NULL)
        s->backend->hurry(s);
}

void store_free(struct store **s)
{
    if (*s != NULL)
        (*s)->backend->free(*s);
    *s = NULL;
}
