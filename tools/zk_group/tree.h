/* tools/zk_group/tree.h - calls to ZooKeeper, many under way at a time, for a thread that also has other things to do;
 * and what watches tell.
 *
 * OWNER    The store is the caller's. tree_fini() comes before store_free(), and makes it hurry.
 * LOCKS    `lock` (class store) is held for moments only; done() and the watcher of the store take it.
 * THREADS  All functions are the owner's thread's.
 * FAILURE  as the store: rc of each call.
 */
#ifndef TOOLS_ZK_GROUP_TREE_H
#define TOOLS_ZK_GROUP_TREE_H

#include "base/lock.h"
#include "metadata/store.h"

enum {
    NEWS_CHANGED = 1,               /* something that was looked at is not as it was */
    NEWS_EXPIRED = 2,               /* the session, and with it what was ephemeral, and the watches */
    NEWS_SESSION = 4                /* there is a new one */
};

struct tree {
    struct store      *store;
    int64_t            give_up_ms;  /* the owner's thread only: from when on no connection is waited for; 0: not yet */
    struct lock        lock;
    /* under lock */
    struct cond        cond;
    struct store_call *first, **last;       /* answered, in order */
    size_t             under_way;
    unsigned           news;
};

void tree_init(struct tree *t, struct store *store);
void tree_fini(struct tree *t);

/* Takes the call. NULL (there was no memory for it): ERR_NOMEM. */
int  tree_submit(struct tree *t, struct store_call *call) must_use;
bool tree_answered(struct tree *t);         /* all of them */
/* Until all are answered. From `stopping`, or a signal, on a lost connection is waited for a few seconds only. */
void tree_wait(struct tree *t, bool stopping);
/* The calls that have been answered since, in the order of submission: a list by `next`, the caller's to free. */
struct store_call *tree_answers(struct tree *t);
void tree_answers_free(struct store_call **list);
/* The one call that was submitted when no other was under way, answered. NULL: out of memory. */
struct store_call *tree_run(struct tree *t, struct store_call *call);

unsigned tree_news(struct tree *t);         /* what happened since the last look */
void tree_sleep(struct tree *t, int ms);    /* until something happens */

#endif
