/* metadata/zk_priv.h - inside the ZooKeeper backend.
 *
 * THREADS  Three to a store: the library's two (its io thread, which talks to the server and writes the library's log
 *          lines, and its completion thread, which calls us back) and ours, the store's thread, which alone sends
 *          requests, answers calls, hands over events and replaces handles. What comes from other threads is an item in
 *          the inbox; the completion thread fills in the answers of an operation that is under way, whose call nobody
 *          else touches in the meantime.
 * ORDER    The library calls back in the order in which things came from the server, watches among them, and inbox and
 *          queue keep it.
 */
#ifndef METADATA_ZK_PRIV_H
#define METADATA_ZK_PRIV_H

#include "base/lock.h"
#include "metadata/store.h"
#include "config/zk_hosts.h"
#include "metadata/zk_session.h"

#include <zookeeper/zookeeper.h>

/* Servers' jute.maxbuffer is 1 MB if not set. */
#define ZK_BIG_BYTES ((size_t)256 * 1024)

struct zk_store;

enum zk_item_kind { ZK_ITEM_ANSWER, ZK_ITEM_STATE, ZK_ITEM_NODE };

struct zk_item {
    struct zk_item   *next;
    enum zk_item_kind kind;
};

enum zk_req_state { ZK_UNSENT, ZK_SENT, ZK_LOST, ZK_DONE };

/* One request to the server: a read of a call, or all of its writes. */
struct zk_req {
    struct zk_item    item;             /* first */
    struct zk_call   *of;
    struct store_op  *op;               /* the read; of writes the first */
    char             *path;             /* with the chroot */
    enum zk_req_state state;
    int               zrc;              /* ZOO_ERRORS, when answered */
};

/* What the store's thread keeps of a call; in the call's arena. */
struct zk_call {
    struct zk_call    *next;
    struct zk_store   *z;
    struct store_call *call;
    struct zk_req     *reqs;
    size_t             reqs_n, unanswered;
    bool               writes;
    bool               doubtful;        /* writes that may have been done before an answer was lost */
    bool               probing;         /* reqs are reads that tell whether they were */
    int                losses;
    size_t             bytes;           /* of data */
    /* writes */
    char             **paths;           /* with the chroot */
    zoo_op_t          *ops;
    zoo_op_result_t   *results;
    struct Stat       *stats;
    struct store_op   *probes;
    int                refused;         /* while probing: the answer that is doubted */
    size_t             refused_at;
};

struct zk_store {
    struct store       base;            /* first */
    struct zk_hosts    hosts;
    const char        *chroot;          /* hosts.chroot; "" while the chroot itself is made */
    int32_t            session_timeout_ms;
    int                max_in_flight;
    char              *session_file;    /* NULL: none */
    pthread_t          thread;
    int                slot;            /* of zk_log.c */
    _Atomic int64_t    session, old_session;

    /* under line: the connection, as far as it matters to sending (zk_calls.c) */
    struct lock        line;
    zhandle_t         *zh;
    uint64_t           ups, breaks;

    /* under lock */
    struct lock        lock;
    struct cond        cond;            /* of the store's thread */
    struct cond        opened;
    struct zk_item    *inbox, **inbox_tail;
    struct store_call *submitted, **submitted_tail;
    store_watcher_fn  *watcher;
    void              *watcher_arg;
    bool               first;           /* there was a session */
    bool               hurried, stopping;

    /* the store's thread only */
    struct zk_call    *queue, **queue_tail;     /* not answered yet, in order */
    struct zk_call    *next_call;               /* the first that may have something to send */
    int                in_flight;
    bool               recovering;              /* answers were lost: nothing is sent until in_flight is 0 */
    bool               ending_old;              /* the handle is of the session of an earlier process */
    bool               stale;                   /* the handle cannot be used any more */
    struct zk_session  old;                     /* that of ending_old */
    int64_t            opened_at_ns;            /* the last handle */
    int64_t            reopen_at_ns;            /* of a handle; INT64_MAX: there is one */
    int64_t            down_since_ns;           /* no connection; 0: there is one */
    uint64_t           answers, answers_seen;   /* and connections; how many when give_up_at_ns was looked at */
    int                comebacks;               /* connections since the last answer */
    int64_t            came_at_ns;              /* the connection */
    int                brief;                   /* connections, in a row, that ended at once and brought no answer */
    size_t             watched;                 /* bytes of the paths that are watched, at most */
    bool               overdue;                 /* give_up_at_ns was over then */
    int64_t            give_up_at_ns;           /* stopping or hurried, and no answer comes; INT64_MAX */
};

/* zk_calls.c - on the store's thread, but for zk_post(). */
void zk_post(struct zk_store *z, struct zk_item *item);
void zk_call_take(struct zk_store *z, struct store_call *call);     /* queues it */
void zk_call_answered(struct zk_store *z, struct zk_req *r);
void zk_answer_heads(struct zk_store *z);                           /* answers what can be */
void zk_pump(struct zk_store *z);                                   /* the same, and sends what can be */
void zk_calls_lost(struct zk_store *z);                             /* the handle is gone: nothing is under way */
void zk_calls_end(struct zk_store *z, int rc);                      /* answers all that is queued */
void zk_answer(struct store_call *call, int rc);

/* zk_requests.c */
int  zk_request_send(struct zk_store *z, struct zk_req *r) must_use;      /* under line; ZOO_ERRORS */
int  zk_error(int zrc) must_use;                                          /* ERR_* */
void zk_stat(const struct Stat *from, struct store_stat *to);

/* zk_log.c */
extern _Thread_local bool zk_in_library;        /* this thread opens or closes a handle */
bool zk_log_slot_take(struct zk_store *z);      /* false: too many stores in this process */
void zk_log_slot_give(struct zk_store *z);
log_callback_fn zk_log_callback(const struct zk_store *z);

#endif
