/* metadata/zk_calls.c - the queue of calls: sending within the window, answering in order, sending again.
 *
 * 1. Calls are answered in the order of the queue: only its head is.
 * 2. A connection's requests are sent only while it is known to stand: z->ups counts the connections whose beginning
 *    has come through the inbox, z->breaks those whose end was logged (zk_log.c); both under `line`, which is held
 *    while the library takes a request. So whatever the library has of a connection when it breaks comes back as lost,
 *    and nothing overtakes it.
 * 3. When an answer is lost nothing is sent until everything under way has come back; then all that was lost is sent
 *    again, from the head on.
 * 4. A write whose answer was lost is `doubtful`: it is sent again only when it is the head, and alone. If it is
 *    refused now, as it would be had it been done before, the nodes are read: when they are as it would have left them,
 *    or as our later writes would that are in doubt as well, it was done. What another has changed since counts as
 *    refused: the caller then looks for himself, as after any conflict. (A sequential create may be done twice.)
 */
#include "metadata/zk_priv.h"

#include "base/log.h"

#include <stdlib.h>

#define BIG_LOSSES  3
#define DOUBTFUL_MAX 1000               /* calls behind a doubtful one that are looked at */

void zk_answer(struct store_call *call, int rc)
{
    call->next = NULL;
    call->rc = call->built != OK ? call->built : rc;
    if (call->rc != OK)
        for (size_t i = 0; i < call->ops_n; i++)
            if (call->ops[i].rc == OK)
                call->ops[i].rc = call->rc;
    call->done(call);
}

/* ---- into the queue ------------------------------------------------------------------------------------- */

static char *full_path(struct zk_store *z, struct arena *a, const char *path)
{
    size_t root = strlen(z->chroot), len = strlen(path);
    char *p;

    if (root == 0)
        return (char *)(uintptr_t)path;
    p = arena_alloc(a, root + len + 1);
    if (p == NULL)
        return NULL;
    memcpy(p, z->chroot, root);
    memcpy(p + root, path, len + 1);
    if (len == 1)
        p[root] = '\0';                     /* "/" is the chroot itself */
    return p;
}

static int reqs_make(struct zk_call *zc, struct arena *a, struct store_op *ops, size_t n)
{
    zc->reqs = arena_array(a, n, sizeof *zc->reqs);
    if (zc->reqs == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        zc->reqs[i] = (struct zk_req){ .item.kind = ZK_ITEM_ANSWER, .of = zc, .op = &ops[i] };
        zc->reqs[i].path = full_path(zc->z, a, ops[i].path);
        if (zc->reqs[i].path == NULL)
            return ERR_NOMEM;
    }
    zc->reqs_n = zc->unanswered = n;
    return OK;
}

static int writes_make(struct zk_call *zc, struct arena *a)
{
    struct store_call *call = zc->call;

    zc->paths = arena_array(a, call->ops_n, sizeof *zc->paths);
    zc->ops = arena_array(a, call->ops_n, sizeof *zc->ops);
    zc->results = arena_array(a, call->ops_n, sizeof *zc->results);
    zc->stats = arena_array(a, call->ops_n, sizeof *zc->stats);
    if (zc->paths == NULL || zc->ops == NULL || zc->results == NULL || zc->stats == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < call->ops_n; i++) {
        zc->paths[i] = full_path(zc->z, a, call->ops[i].path);
        if (zc->paths[i] == NULL)
            return ERR_NOMEM;
        zc->bytes += call->ops[i].data.len + strlen(zc->paths[i]);
    }
    return OK;
}

/* What the library or a server would make of it is not waited for. */
static int call_check(const struct store_call *call, bool writes)
{
    for (size_t i = 0; i < call->ops_n; i++) {
        const struct store_op *op = &call->ops[i];

        if ((store_kind_writes(op->kind) || op->kind == STORE_CHECK) != writes)
            return ERR_INVALID;
        if (op->path[1] == '\0' && op->kind == STORE_DELETE)
            return ERR_INVALID;
        if (op->kind == STORE_CREATE && (op->flags & STORE_SEQUENTIAL) && strlen(op->path) + 10 > STORE_PATH_MAX)
            return ERR_TOO_LARGE;
    }
    return OK;
}

static int call_make(struct zk_store *z, struct store_call *call, struct zk_call **out)
{
    struct arena *a = &call->arena;
    bool writes = call->ops_n > 0 && (store_kind_writes(call->ops[0].kind) || call->ops[0].kind == STORE_CHECK);
    struct zk_call *zc;

    TRY(call->built);
    TRY(call_check(call, writes));
    zc = arena_zalloc(a, sizeof *zc);
    if (zc == NULL)
        return ERR_NOMEM;
    zc->z = z;
    zc->call = call;
    zc->writes = writes;
    if (writes)
        TRY(writes_make(zc, a));
    TRY(reqs_make(zc, a, call->ops, writes ? 1 : call->ops_n));
    *out = zc;
    return OK;
}

void zk_call_take(struct zk_store *z, struct store_call *call)
{
    struct zk_call *zc = NULL;
    int rc = call_make(z, call, &zc);

    if (rc != OK) {                         /* answered in its turn, without a request */
        call->built = rc;
        zc = calloc(1, sizeof *zc);
        if (zc == NULL)
            abort();
        zc->z = z;
        zc->call = call;
    }
    *z->queue_tail = zc;
    z->queue_tail = &zc->next;
    if (z->next_call == NULL)
        z->next_call = zc;
}

/* ---- was it done? --------------------------------------------------------------------------------------- */

static bool may_be_ours(int rc)
{
    return rc == ERR_EXISTS || rc == ERR_NOENT || rc == ERR_VERSION;
}

static void probe_begin(struct zk_call *zc, int refused, size_t at)
{
    struct store_call *call = zc->call;

    zc->probes = arena_array(&call->arena, call->ops_n, sizeof *zc->probes);
    for (size_t i = 0; zc->probes != NULL && i < call->ops_n; i++)
        zc->probes[i] = (struct store_op){ .kind = STORE_GET, .path = call->ops[i].path };
    zc->refused = refused;
    zc->refused_at = at;
    if (zc->probes == NULL || reqs_make(zc, &call->arena, zc->probes, call->ops_n) != OK)
        zc->unanswered = 0;                 /* believe the refusal */
    else
        zc->probing = true;
}

/* A node as our writes would have left it. */
struct left {
    bool         there;
    int64_t      owner;
    int32_t      version;                   /* -1: not known */
    struct bytes data;
};

static bool left_equals(const struct left *l, const struct store_op *now)
{
    if (now->rc != OK)
        return now->rc == ERR_NOENT && !l->there;
    return l->there && (l->owner < 0 || now->stat.ephemeral_owner == l->owner) &&
           (l->version < 0 || now->stat.version == l->version) && now->value.len == l->data.len &&
           (l->data.len == 0 || memcmp(now->value.p, l->data.p, l->data.len) == 0);
}

static void left_by(const struct zk_store *z, const struct store_op *op, struct left *l)
{
    if (op->kind == STORE_CREATE)
        *l = (struct left){ true, op->flags & STORE_EPHEMERAL ? atomic_load(&z->session) : 0, 0, op->data };
    else if (op->kind == STORE_DELETE)
        *l = (struct left){ .there = false };
    else if (op->kind == STORE_SET)
        *l = (struct left){ true, l->there ? l->owner : -1,
                            op->version != STORE_ANY_VERSION ? op->version + 1 : l->there && l->version >= 0 ?
                            l->version + 1 : -1, op->data };
}

/* Is the node as the call left it, or as one of our later writes did that may have been done, too? */
static bool as_left(const struct zk_call *zc, size_t at)
{
    const char *path = zc->call->ops[at].path;
    struct left l = { .owner = -1, .version = -1 };
    int n = 0;

    for (const struct zk_call *later = zc; later != NULL && n < DOUBTFUL_MAX; later = later->next, n++) {
        bool touched = false;

        for (size_t i = 0; (later == zc || later->doubtful) && i < later->call->ops_n; i++) {
            const struct store_op *op = &later->call->ops[i];

            if (store_kind_writes(op->kind) && strcmp(op->path, path) == 0) {
                left_by(zc->z, op, &l);
                touched = true;
            }
        }
        if (touched && left_equals(&l, &zc->probes[at]))
            return true;
    }
    return false;
}

static bool was_done(const struct zk_call *zc)
{
    const struct store_call *call = zc->call;
    bool writes = false;

    for (size_t i = 0; i < call->ops_n; i++) {
        const struct store_op *op = &call->ops[i];

        if (!store_kind_writes(op->kind) || (op->kind == STORE_CREATE && (op->flags & STORE_SEQUENTIAL)))
            continue;
        if (!as_left(zc, i))
            return false;
        writes = true;
    }
    return writes;
}

static void take_as_done(struct zk_call *zc)
{
    struct store_call *call = zc->call;

    for (size_t i = 0; i < call->ops_n; i++) {
        struct store_op *op = &call->ops[i];

        op->rc = OK;
        op->stat = zc->probes[i].stat;
        if (op->kind == STORE_CREATE)
            op->created = op->path;
    }
    call->failed = 0;
    log_debug("metadata store: %s: a change that was sent again had been done before", call->ops[0].path);
}

/* ---- answers -------------------------------------------------------------------------------------------- */

static bool is_loss(int zrc)
{
    return zrc == ZCONNECTIONLOSS || zrc == ZOPERATIONTIMEOUT || zrc == ZSESSIONMOVED || zrc == ZTHROTTLEDOP ||
           zrc == ZRUNTIMEINCONSISTENCY || zrc == ZINVALIDSTATE || zrc == ZCLOSING || zrc == ZSESSIONEXPIRED;
}

void zk_call_answered(struct zk_store *z, struct zk_req *r)
{
    z->in_flight--;
    if (is_loss(r->zrc)) {
        r->state = ZK_LOST;
        z->recovering = true;
        return;
    }
    z->answers++;
    z->comebacks = z->brief = 0;
    r->state = ZK_DONE;
    r->of->unanswered--;
}

/* Which operation of a multi was refused. */
static size_t failed_op(const struct zk_call *zc)
{
    for (size_t i = 0; i < zc->call->ops_n && zc->call->ops_n > 1; i++)
        if (zc->results[i].err != ZOK && zc->results[i].err != ZRUNTIMEINCONSISTENCY)
            return i;
    return 0;
}

/* A create in a multi comes back with its path alone: what a set of the same node tells is true of it, too. */
static void stat_of_create(struct zk_call *zc, size_t i)
{
    struct store_call *call = zc->call;
    struct store_op *op = &call->ops[i];

    op->stat.ephemeral_owner = op->flags & STORE_EPHEMERAL ? atomic_load(&zc->z->session) : 0;
    op->stat.data_length = (int32_t)op->data.len;
    for (size_t k = i + 1; k < call->ops_n; k++)
        if (call->ops[k].kind == STORE_SET && strcmp(call->ops[k].path, op->path) == 0) {
            zk_stat(&zc->stats[k], &op->stat);
            op->stat.version = 0;
            op->stat.data_length = (int32_t)op->data.len;
            return;
        }
}

static void multi_done(struct zk_call *zc)
{
    struct store_call *call = zc->call;
    size_t root = strlen(zc->z->chroot);

    for (size_t i = 0; i < call->ops_n; i++) {
        struct store_op *op = &call->ops[i];

        if (op->kind == STORE_CREATE) {
            op->created = zc->ops[i].create_op.buf + root;
            stat_of_create(zc, i);
        } else if (op->kind == STORE_SET) {
            zk_stat(&zc->stats[i], &op->stat);
        }
    }
}

/* True: the call has its answer, and what is left of it here may only be unlinked. */
static bool writes_end(struct zk_call *zc)
{
    struct store_call *call = zc->call;
    size_t at = failed_op(zc);
    int rc = zk_error(zc->reqs[0].zrc);

    if (zc->probing) {
        for (size_t i = 0; i < zc->reqs_n; i++)
            zc->probes[i].rc = zk_error(zc->reqs[i].zrc);
        if (was_done(zc)) {
            take_as_done(zc);
            rc = OK;
        } else {
            rc = zc->refused;
            at = zc->refused_at;
        }
    } else if (zc->doubtful && may_be_ours(rc)) {
        probe_begin(zc, rc, at);
        if (zc->probing)
            return false;
    } else if (rc == OK && (call->ops_n > 1 || call->ops[0].kind == STORE_CHECK)) {
        multi_done(zc);
    }
    if (rc != OK)
        call->ops[at].rc = rc;
    call->failed = rc != OK ? at : 0;
    zk_answer(call, rc);
    return true;
}

static void reads_end(struct zk_call *zc)
{
    struct store_call *call = zc->call;
    int rc = OK;

    for (size_t i = 0; i < zc->reqs_n; i++) {
        call->ops[i].rc = zk_error(zc->reqs[i].zrc);
        if ((call->ops[i].flags & STORE_WATCH) && (call->ops[i].rc == OK || call->ops[i].rc == ERR_NOENT))
            zc->z->watched += strlen(zc->reqs[i].path);
        if (rc == OK && call->ops[i].rc != OK) {
            rc = call->ops[i].rc;
            call->failed = i;
        }
    }
    call->rc = rc;
    call->next = NULL;
    call->done(call);
}

static void queue_pop(struct zk_store *z, struct zk_call *next)
{
    if (z->next_call == z->queue)
        z->next_call = next;
    z->queue = next;
    if (next == NULL)
        z->queue_tail = &z->queue;
}

/* The answered call is not ours any more, and what we kept of it neither. */
void zk_answer_heads(struct zk_store *z)
{
    while (z->queue != NULL && z->queue->unanswered == 0) {
        struct zk_call *zc = z->queue, *next = zc->next;
        struct store_call *call = zc->call;

        if (zc->reqs == NULL) {             /* could not be built */
            queue_pop(z, next);
            free(zc);
            zk_answer(call, ERR_INVALID);
        } else if (!zc->writes) {
            queue_pop(z, next);
            reads_end(zc);
        } else if (writes_end(zc)) {
            queue_pop(z, next);
        } else {                            /* it is a question now */
            z->next_call = zc;
            return;
        }
    }
}

/* ---- sending -------------------------------------------------------------------------------------------- */

/* Everything is back: what was lost is to be sent again. */
static void recover(struct zk_store *z)
{
    for (struct zk_call *zc = z->queue; zc != NULL; zc = zc->next) {
        bool lost = false;

        for (size_t i = 0; i < zc->reqs_n; i++)
            if (zc->reqs[i].state == ZK_LOST) {
                zc->reqs[i].state = ZK_UNSENT;
                lost = true;
            }
        zc->doubtful |= lost && zc->writes;
        zc->losses += lost;
        if (lost && zc->writes && zc == z->queue && zc->bytes >= ZK_BIG_BYTES && zc->losses >= BIG_LOSSES) {
            log_error("metadata store: %s: ZooKeeper drops the connection whenever %zu bytes are written; its limit is "
                      "jute.maxbuffer", zc->call->ops[0].path, zc->bytes);
            zc->call->built = ERR_TOO_LARGE;
            zc->unanswered = 0;
        }
        if (zc == z->next_call)
            break;
    }
    z->next_call = z->queue;
    z->recovering = false;
}

/* False: not now. */
static bool send_one(struct zk_store *z, struct zk_req *r)
{
    bool open;
    int zrc = ZOK;

    lock_take(&z->line);
    open = z->zh != NULL && z->ups == z->breaks + 1;
    if (open)
        zrc = zk_request_send(z, r);
    lock_drop(&z->line);
    if (!open)
        return false;
    z->in_flight++;
    r->state = ZK_SENT;
    if (zrc != ZOK) {                       /* the library did not take it */
        r->zrc = zrc;
        zk_call_answered(z, r);
    }
    return true;
}

static bool send_call(struct zk_store *z, struct zk_call *zc)
{
    if (zc->doubtful && (zc != z->queue || (z->in_flight > 0 && !zc->probing)))
        return false;
    for (size_t i = 0; i < zc->reqs_n; i++) {
        if (zc->reqs[i].state != ZK_UNSENT)
            continue;
        if (z->in_flight >= z->max_in_flight || z->recovering || !send_one(z, &zc->reqs[i]))
            return false;
    }
    return !zc->doubtful;
}

void zk_pump(struct zk_store *z)
{
    for (;;) {
        zk_answer_heads(z);
        if (z->recovering && z->in_flight == 0) {
            recover(z);
            continue;
        }
        while (!z->recovering && z->next_call != NULL && send_call(z, z->next_call))
            z->next_call = z->next_call->next;
        if (z->queue == NULL || z->queue->unanswered > 0)
            return;
    }
}

void zk_calls_lost(struct zk_store *z)
{
    for (struct zk_call *zc = z->queue; zc != NULL; zc = zc->next) {
        for (size_t i = 0; i < zc->reqs_n; i++)
            if (zc->reqs[i].state == ZK_SENT)
                zc->reqs[i].state = ZK_LOST;
        if (zc == z->next_call)
            break;
    }
    z->in_flight = 0;
    z->recovering = true;
}

void zk_calls_end(struct zk_store *z, int rc)
{
    struct zk_call *queue = z->queue;

    z->queue = z->next_call = NULL;
    z->queue_tail = &z->queue;
    z->recovering = false;
    while (queue != NULL) {
        struct zk_call *zc = queue;
        struct store_call *call = zc->call;

        queue = zc->next;
        if (zc->reqs == NULL)
            free(zc);
        zk_answer(call, rc);
    }
}
