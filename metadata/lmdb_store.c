/* metadata/lmdb_store.c - the embedded store's thread: takes what waits, does it in one transaction, answers.
 *
 * 1. Only this thread touches the tree and the watches. Other threads only put calls into the queue.
 * 2. Calls that wait together make one batch. A batch with writes is one LMDB transaction, committed (and so
 *    synced) once; nobody is answered and no watch fires before that. A batch of reads costs no sync.
 * 3. A batch that does not fit into the map is done again from its first call after the map has grown:
 *    answers are overwritten, and watches are armed and fired only after the commit, so nothing is seen
 *    twice.
 * 4. A session begins with the first batch: one commit for both, which a start on a slow disk is glad of.
 * 5. When a commit fails, its writes are answered with the reason and the reads are done again, on what is
 * there.
 */
#include "metadata/lmdb_store.h"

#include "base/lock.h"
#include "base/log.h"
#include "metadata/lmdb_tree.h"
#include "metadata/watches.h"

#include <stdio.h>
#include <stdlib.h>

#define BATCH_MAX 4096

struct lmdb_store {
    struct store       base;
    pthread_t          thread;
    _Atomic int64_t    session;
    /* under lock */
    struct lock        lock;
    struct cond        cond;
    struct store_call *head, **tail;
    bool               expire, stopping;
    store_watcher_fn  *watcher;
    void              *watcher_arg;
    /* the store's thread only */
    struct tree        tree;
    struct watches     watches;
    bool               begun;           /* the session is in the file */
};

static struct lmdb_store *self(struct store *s)
{
    return (struct lmdb_store *)s;
}

/* ---- any thread --------------------------------------------------------------------------------------- */

static void lmdb_submit(struct store *s, struct store_call *call)
{
    struct lmdb_store *ls = self(s);

    call->next = NULL;
    lock_take(&ls->lock);
    *ls->tail = call;
    ls->tail = &call->next;
    cond_signal(&ls->cond);
    lock_drop(&ls->lock);
}

static void lmdb_watcher(struct store *s, store_watcher_fn *fn, void *arg)
{
    struct lmdb_store *ls = self(s);

    lock_take(&ls->lock);
    ls->watcher = fn;
    ls->watcher_arg = arg;
    lock_drop(&ls->lock);
}

static int64_t lmdb_session(struct store *s)
{
    return atomic_load(&self(s)->session);
}

void lmdb_store_expire(struct store *s)
{
    struct lmdb_store *ls = self(s);

    lock_take(&ls->lock);
    ls->expire = true;
    cond_signal(&ls->cond);
    lock_drop(&ls->lock);
}

/* ---- the store's thread ------------------------------------------------------------------------------- */

static bool call_writes(const struct store_call *call)
{
    for (size_t i = 0; i < call->ops_n; i++)
        if (store_kind_writes(call->ops[i].kind))
            return true;
    return false;
}

static int batch_apply(struct lmdb_store *ls, struct store_call *batch, bool writes, int refuse)
{
    struct tree_txn x;
    bool begin = writes && !ls->begun;
    int rc = tree_begin(&ls->tree, &x, writes);

    x.session = atomic_load(&ls->session);
    if (rc == OK && begin)
        rc = tree_change_session(&x, true);
    for (struct store_call *c = batch; c != NULL && rc == OK; c = c->next) {
        if (c->built != OK)
            c->rc = c->built;
        else if (refuse != OK && call_writes(c))
            c->rc = refuse;
        else
            rc = tree_apply(&x, c);
    }
    if (rc == OK)
        rc = tree_commit(&x);
    else
        tree_abort(&x);
    ls->begun |= begin && rc == OK;
    return rc;
}

/* Does the batch; every call of it has its answer then. */
static void batch_run(struct lmdb_store *ls, struct store_call *batch)
{
    static struct log_limit limit = LOG_LIMIT(10000, 3);
    bool writes = !ls->begun;
    int rc, grown = OK, hidden;

    for (struct store_call *c = batch; c != NULL; c = c->next)
        writes |= call_writes(c);
    while ((rc = batch_apply(ls, batch, writes, OK)) == ERR_AGAIN && grown == OK)
        grown = tree_grow(&ls->tree);
    if (rc == ERR_OFFLINE && tree_reopen(&ls->tree) == OK) {
        log_warn("%s: the metadata store has been opened anew after a failed write", ls->tree.file);
        rc = batch_apply(ls, batch, writes, OK);
    }
    if (rc == OK)
        return;
    if (rc == ERR_AGAIN)
        rc = grown;
    if (log_limit(&limit, &hidden))
        log_error("%s: cannot write the metadata store: %s; nothing of this write was kept", ls->tree.file,
                  err_text(rc));
    if (batch_apply(ls, batch, false, rc) == OK)
        return;
    for (struct store_call *c = batch; c != NULL; c = c->next)
        c->rc = rc;
}

static void call_publish(struct lmdb_store *ls, struct store_call *call)
{
    for (size_t i = 0; i < call->ops_n && call->built == OK; i++) {
        struct store_op *op = &call->ops[i];

        if (call->rc == OK && store_kind_writes(op->kind))
            watches_fire(&ls->watches, op);
        else if ((op->flags & STORE_WATCH) && !store_kind_writes(op->kind) && watches_arm(&ls->watches, op) != OK)
            call->rc = ERR_NOMEM;
    }
    call->done(call);
}

static void batch_answer(struct lmdb_store *ls, struct store_call *batch)
{
    while (batch != NULL) {
        struct store_call *c = batch;

        batch = c->next;
        c->next = NULL;
        call_publish(ls, c);
    }
}

static int session_try(struct lmdb_store *ls, bool another)
{
    struct tree_txn x;
    int rc = tree_begin(&ls->tree, &x, true);

    if (rc == OK)
        rc = tree_change_session(&x, another);
    if (rc != OK) {
        tree_abort(&x);
        return rc;
    }
    TRY(tree_commit(&x));
    ls->begun = true;
    atomic_store(&ls->session, another ? x.sessions : 0);
    return OK;
}

/* Ephemeral nodes of the session before go; a new session begins, unless this is the end. */
static int session_change(struct lmdb_store *ls, bool another)
{
    int rc;

    while ((rc = session_try(ls, another)) == ERR_AGAIN)
        TRY(tree_grow(&ls->tree));
    return rc;
}

static void session_expire(struct lmdb_store *ls)
{
    watches_event(&ls->watches, STORE_EV_EXPIRED, "");
    watches_clear(&ls->watches);
    if (session_change(ls, true) == OK)
        watches_event(&ls->watches, STORE_EV_SESSION, "");
}

/* Takes up to BATCH_MAX calls. Under the lock. */
static struct store_call *queue_take(struct lmdb_store *ls)
{
    struct store_call *batch = ls->head, **at = &ls->head;

    for (size_t n = 0; n < BATCH_MAX && *at != NULL; n++)
        at = &(*at)->next;
    ls->head = *at;
    *at = NULL;
    if (ls->head == NULL)
        ls->tail = &ls->head;
    return batch;
}

static void *lmdb_main(void *arg)
{
    struct lmdb_store *ls = arg;
    bool running = true;

    pthread_setname_np(pthread_self(), "store");
    while (running) {
        struct store_call *batch;
        bool expire;

        lock_take(&ls->lock);
        while (ls->head == NULL && !ls->expire && !ls->stopping)
            cond_wait(&ls->cond, &ls->lock);
        batch = queue_take(ls);
        expire = ls->expire && batch == NULL;
        if (expire)
            ls->expire = false;
        running = batch != NULL || expire || !ls->stopping;
        ls->watches.fn = ls->watcher;
        ls->watches.arg = ls->watcher_arg;
        lock_drop(&ls->lock);
        if (batch != NULL) {
            batch_run(ls, batch);
            batch_answer(ls, batch);
        }
        if (expire)
            session_expire(ls);
    }
    if (ls->begun && session_change(ls, false) != OK)
        log_warn("%s: the session could not be ended; the next start will do that", ls->tree.file);
    return NULL;
}

/* ---- life --------------------------------------------------------------------------------------------- */

static void lmdb_free(struct store *s)
{
    struct lmdb_store *ls = self(s);

    lock_take(&ls->lock);
    ls->stopping = true;
    cond_signal(&ls->cond);
    lock_drop(&ls->lock);
    pthread_join(ls->thread, NULL);
    watches_clear(&ls->watches);
    tree_close(&ls->tree);
    cond_fini(&ls->cond);
    lock_fini(&ls->lock);
    free(ls);
}

static const struct store_backend lmdb_backend = {
    .submit = lmdb_submit, .watcher = lmdb_watcher, .session = lmdb_session, .free = lmdb_free,
};

int lmdb_store_open(struct store **out, const char *dir)
{
    struct lmdb_store *ls = calloc(1, sizeof *ls);
    char file[4096];
    int rc;

    *out = NULL;
    if (ls == NULL)
        return ERR_NOMEM;
    ls->base.backend = &lmdb_backend;
    ls->tail = &ls->head;
    if ((size_t)snprintf(file, sizeof file, "%s/" LMDB_STORE_FILE, dir) >= sizeof file) {
        free(ls);
        return ERR_TOO_LARGE;
    }
    rc = tree_open(&ls->tree, file);
    if (rc != OK) {
        free(ls);
        return rc;
    }
    atomic_store(&ls->session, ls->tree.sessions + 1);
    lock_init(&ls->lock, LOCK_store);
    cond_init(&ls->cond);
    if (pthread_create(&ls->thread, NULL, lmdb_main, ls) != 0) {
        tree_close(&ls->tree);
        free(ls);
        return ERR_SYSTEM;
    }
    *out = &ls->base;
    return OK;
}
