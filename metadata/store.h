/* metadata/store.h - the metadata store: a tree of versioned nodes, the common ground of ZooKeeper and of an
 * embedded database. The controller, the registration of brokers and the `--zookeeper` tools stand on this
 * interface alone.
 *
 * A path begins with '/', has no empty component and does not end with '/'. A node has data (perhaps empty),
 * a version that counts its changes, and children; a node is persistent or ephemeral (it goes with the
 * session that made it, and has no children). A write is atomic and gets the next transaction number (zxid).
 *
 * CALLS    Everything is asynchronous: make a call (store_call_new), say what it should do (store_get, ...),
 *          store_submit() it. A call has either reads, each answered for itself, or writes and checks, which
 *          happen all or not at all (a multi). Calls of one store are done in the order of submission, and
 *          done() is called in that order; a read sees all writes submitted before it. For threads that may
 *          wait there is store_run().
 * OWNER    store_submit() takes the call until done(), which gives it back with the answers inside; the
 *          receiver ends with store_call_free(). What an answer points at belongs to the call. Paths and
 *          data are copied. `next` is the holder's (a queue may use it).
 * THREADS  Any thread may submit. done() and the watcher run on the store's thread: they must only post.
 * WATCHES  A read with STORE_WATCH arms a one-shot watch at its path. All fire through the store's one
 *          watcher, in order with the answers: the event of a change comes before the answer of any call
 *          that saw the change.
 *            get       changed, deleted        (not armed when the node does not exist)
 *            exists    created, changed, deleted
 *            children  children, deleted       (not armed when the node does not exist)
 * SESSION  Ephemeral nodes and watches belong to the session. STORE_EV_EXPIRED: they are gone, and calls
 *          that were under way were answered ERR_CLOSED. STORE_EV_SESSION: a new session stands, and calls
 *          work again.
 * FAILURE  rc of the call: OK, or the first failing operation's: ERR_NOENT (no such node, or no parent),
 *          ERR_EXISTS, ERR_VERSION (not the expected version), ERR_NOTEMPTY (delete of a node with
 *          children), ERR_INVALID (bad path, child of an ephemeral node), ERR_TOO_LARGE (path or data beyond
 *          the backend's limit; nothing done), ERR_CLOSED (no session), ERR_NOSPACE, ERR_IO, ERR_NOMEM. A
 *          lost connection is never an answer: the backend tries again.
 * UNITS    times in ms since the Unix epoch.
 */
#ifndef METADATA_STORE_H
#define METADATA_STORE_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/err.h"

#define STORE_ANY_VERSION  (-1)
#define STORE_PATH_MAX     510              /* bytes; LMDB's limit for keys. A topic needs at most 293 */
#define STORE_DATA_MAX     (4 * 1024 * 1024)

enum store_kind { STORE_GET, STORE_EXISTS, STORE_CHILDREN, STORE_CREATE, STORE_SET, STORE_DELETE, STORE_CHECK };

enum {
    STORE_PERSISTENT = 0,
    STORE_EPHEMERAL  = 1,
    STORE_SEQUENTIAL = 2,       /* the backend appends the parent's counter, ten digits */
    STORE_WATCH      = 4        /* on reads */
};

struct store_stat {
    int64_t czxid, mzxid, pzxid;        /* transactions of: creation, last change of data, last change of children */
    int64_t ctime_ms, mtime_ms;
    int32_t version;                    /* changes of data; 0 at creation */
    int32_t cversion;                   /* changes of the list of children */
    int64_t ephemeral_owner;            /* session, 0 = persistent */
    int32_t data_length;
    int32_t num_children;
};

struct store_op {
    enum store_kind   kind;
    unsigned          flags;
    int32_t           version;          /* expected; STORE_ANY_VERSION */
    const char       *path;
    struct bytes      data;             /* create, set */
    /* answers */
    int               rc;
    struct store_stat stat;             /* get, exists, children, create, set: after the operation */
    struct bytes      value;            /* get; NUL-terminated beyond len */
    const char       *created;          /* create: the path with the counter */
    struct str       *children;         /* children: names in byte order, NUL-terminated */
    size_t            children_n;
};

struct store_call {
    struct store_call *next;
    struct store_op   *ops;
    size_t             ops_n, ops_cap;
    int                built;           /* why the call could not be built; answered as rc */
    int                rc;
    size_t             failed;          /* index of the operation that rc comes from */
    void             (*done)(struct store_call *);
    void              *arg;             /* the caller's */
    void              *user;            /* the caller's, too */
    struct arena       arena;
};

/* NULL: out of memory. The functions that add an operation note a failure in the call: submit still calls
 * done(). */
struct store_call *store_call_new(void (*done)(struct store_call *), void *arg) must_use;
void store_call_free(struct store_call **call);                         /* NULL-safe */

void store_get(struct store_call *call, const char *path, unsigned flags);
void store_exists(struct store_call *call, const char *path, unsigned flags);
void store_children(struct store_call *call, const char *path, unsigned flags);
void store_create(struct store_call *call, const char *path, struct bytes data, unsigned flags);
void store_set(struct store_call *call, const char *path, struct bytes data, int32_t version);
void store_delete(struct store_call *call, const char *path, int32_t version);
void store_check(struct store_call *call, const char *path, int32_t version);

enum store_event_kind {
    STORE_EV_CREATED, STORE_EV_DELETED, STORE_EV_CHANGED, STORE_EV_CHILDREN,
    STORE_EV_EXPIRED, STORE_EV_SESSION
};

struct store_event {
    struct store_event   *next;         /* the holder's */
    enum store_event_kind kind;
    char                  path[];       /* empty for the two of the session */
};

/* The watcher owns the event: free(). Set before the first call with STORE_WATCH; NULL: events are dropped.
 * */
struct store;
typedef void store_watcher_fn(struct store_event *ev, void *arg);

struct store_backend {                  /* what metadata/<backend>.c gives */
    void    (*submit)(struct store *, struct store_call *);
    void    (*watcher)(struct store *, store_watcher_fn *fn, void *arg);
    int64_t (*session)(struct store *);
    void    (*hurry)(struct store *);       /* NULL: never waits for a connection */
    void    (*free)(struct store *);
};

bool store_kind_writes(enum store_kind kind);   /* create, set, delete */

struct store {                          /* first member of every backend's own struct */
    const struct store_backend *backend;
};

void    store_submit(struct store *s, struct store_call *call);
void    store_set_watcher(struct store *s, store_watcher_fn *fn, void *arg);
int64_t store_session(struct store *s);         /* the current session's id; 0 = none */

/* Submits and waits; gives call->rc. Not on the store's thread and not on an event loop. call->done is not
 * called. */
int     store_run(struct store *s, struct store_call *call) must_use;

/* Waits until every call submitted before has been answered and every event before that has been handed
 * over. */
void    store_barrier(struct store *s);

/* From now on calls do not wait for a connection to come back, nor for long for a server that answers nothing: without
 * one they are answered ERR_CLOSED. For a stop. */
void    store_hurry(struct store *s);

/* Ends the session (ephemeral nodes go) after every call submitted so far has been answered. NULL-safe. */
void    store_free(struct store **s);

#endif
