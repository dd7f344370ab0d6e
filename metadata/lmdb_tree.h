/* metadata/lmdb_tree.h - the tree of nodes in an LMDB file: what one transaction can do with it.
 *
 * FORMAT  One database. The key of a node is its depth (one byte, 0 for "/") and its path, so that the
 *         children of a node lie together; 0xfe + path marks an ephemeral node; 0xff holds the counters.
 *
 *           node   at  len  field            all integers big-endian
 *                   0    8  czxid             transaction that created it
 *                   8    8  mzxid             ... that last changed its data
 *                  16    8  pzxid             ... that last changed its list of children
 *                  24    8  ctime ms
 *                  32    8  mtime ms
 *                  40    8  owner             session of an ephemeral node, else 0
 *                  48    4  version           changes of data
 *                  52    4  creates           children ever created: the counter of sequential names
 *                  56    4  children          children that there are
 *                  60    .  data
 *           0xff    0    8  "klammMD1"
 *                   8    8  last zxid
 *                  16    8  sessions so far
 *
 * OWNER   the store's thread. Nothing here is safe for a second one.
 * FAILURE ERR_*; ERR_AGAIN: the map is full - abort, tree_grow(), do all of it again.
 */
#ifndef METADATA_LMDB_TREE_H
#define METADATA_LMDB_TREE_H

#include "metadata/store.h"

#include <lmdb.h>

struct tree {
    MDB_env *env;
    MDB_dbi  dbi;
    MDB_txn *reader;            /* reset between uses */
    uint8_t *buf;               /* a node on its way in */
    size_t   buf_cap;
    int64_t  zxid;              /* last committed */
    int64_t  sessions;
    bool     fresh;             /* nothing has been committed yet: not even the root is there */
    char    *file;              /* for messages */
    int64_t  room;              /* bytes of the file, and behind its end, that have their place on the disk */
};

struct tree_txn {
    struct tree *tree;
    MDB_txn     *txn;
    bool         writes;
    int64_t      zxid;          /* of the last write in this transaction */
    int64_t      sessions;
    int64_t      session;       /* owner of ephemeral nodes to be created */
    int64_t      now_ms;
};

int  tree_open(struct tree *t, const char *file) must_use;      /* logs its failures */
void tree_close(struct tree *t);
int  tree_grow(struct tree *t) must_use;                        /* no transaction is open */

/* After a failed write of its own bookkeeping LMDB refuses everything until the file is opened anew: this does so.
 * ERR_*: it cannot be; every later call tries again. */
int  tree_reopen(struct tree *t) must_use;

int  tree_begin(struct tree *t, struct tree_txn *x, bool writes) must_use;
int  tree_commit(struct tree_txn *x) must_use;                  /* durable when it gives OK */
void tree_abort(struct tree_txn *x);                            /* harmless after tree_commit() */

/* All operations of the call; answers are copied into it. A refused multi leaves nothing behind. Gives what
 * has to abort the whole transaction; what the caller of the store has to know is in call->rc. */
int  tree_apply(struct tree_txn *x, struct store_call *call) must_use;

/* Deletes every ephemeral node; with `another`, counts the session that begins. Makes the root of a fresh tree. */
int  tree_change_session(struct tree_txn *x, bool another) must_use;

#endif
