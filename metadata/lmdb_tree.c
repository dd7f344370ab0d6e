/* metadata/lmdb_tree.c - nodes as LMDB records; see lmdb_tree.h for the format. */
#include "metadata/lmdb_tree.h"

#include "base/clock.h"
#include "base/cursor.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define NODE_HEAD       60
#define KEY_EPHEMERAL   0xfe
#define KEY_COUNTERS    0xff
#define DEPTH_MAX       0xf0
#define COUNTERS_MAGIC  "klammMD1"
#define COUNTERS_SIZE   24
#define MAP_START_BYTES ((size_t)16 << 20)
#define MAP_MAX_BYTES   ((size_t)1 << 40)
#define ROOM_AHEAD      (512 << 10)

struct key {
    uint8_t b[1 + STORE_PATH_MAX];
    size_t  len;
};

struct node {
    struct store_stat st;
    int32_t           creates;
    struct bytes      data;     /* in the map: valid until the next write of the transaction */
};

static int err_of(int mdb)
{
    switch (mdb) {
    case MDB_SUCCESS:        return OK;
    case MDB_NOTFOUND:       return ERR_NOENT;
    case MDB_KEYEXIST:       return ERR_EXISTS;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
    case MDB_MAP_RESIZED:    return ERR_AGAIN;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_VERSION_MISMATCH:
    case MDB_INVALID:        return ERR_CORRUPT;
    case MDB_BAD_VALSIZE:    return ERR_TOO_LARGE;
    case MDB_PANIC:          return ERR_OFFLINE;
    default:                 return mdb > 0 ? err_from_errno(mdb) : ERR_IO;
    }
}

/* ---- keys and records --------------------------------------------------------------------------------- */

static size_t path_depth(const char *path)
{
    size_t n = 0;

    if (path[1] == '\0')
        return 0;
    for (const char *p = path; *p != '\0'; p++)
        n += *p == '/';
    return n;
}

static int key_set(struct key *k, uint8_t first, const char *path, size_t len)
{
    if (len > STORE_PATH_MAX)
        return ERR_TOO_LARGE;
    k->b[0] = first;
    memcpy(k->b + 1, path, len);
    k->len = 1 + len;
    return OK;
}

static int key_of_node(struct key *k, const char *path)
{
    size_t depth = path_depth(path);

    if (depth > DEPTH_MAX)
        return ERR_TOO_LARGE;
    return key_set(k, (uint8_t)depth, path, strlen(path));
}

/* The parent of a path that is not "/": into buf. */
static void parent_of(const char *path, char buf[STORE_PATH_MAX + 1])
{
    size_t n = (size_t)(strrchr(path, '/') - path);

    if (n == 0)
        n = 1;
    memcpy(buf, path, n);
    buf[n] = '\0';
}

static int node_parse(struct node *n, MDB_val v)
{
    struct cursor c = cur_ro(v.mv_data, v.mv_size);
    int32_t version, children;

    n->st.czxid = cur_i64(&c);
    n->st.mzxid = cur_i64(&c);
    n->st.pzxid = cur_i64(&c);
    n->st.ctime_ms = cur_i64(&c);
    n->st.mtime_ms = cur_i64(&c);
    n->st.ephemeral_owner = cur_i64(&c);
    version = cur_i32(&c);
    n->creates = cur_i32(&c);
    children = cur_i32(&c);
    if (c.rc != OK)
        return ERR_CORRUPT;
    n->st.version = version;
    n->st.num_children = children;
    n->st.cversion = (int32_t)(2 * (uint32_t)n->creates - (uint32_t)children);    /* creations and deletions */
    n->data = (struct bytes){ c.p, cur_left(&c) };
    n->st.data_length = (int32_t)n->data.len;
    return OK;
}

static int node_find(struct tree_txn *x, const char *path, struct node *n)
{
    struct key k;
    MDB_val key, v;

    TRY(key_of_node(&k, path));
    key = (MDB_val){ k.len, k.b };
    TRY(err_of(mdb_get(x->txn, x->tree->dbi, &key, &v)));
    return node_parse(n, v);
}

static int buf_room(struct tree *t, size_t n)
{
    uint8_t *p;

    if (n <= t->buf_cap)
        return OK;
    p = realloc(t->buf, n);
    if (p == NULL)
        return ERR_NOMEM;
    t->buf = p;
    t->buf_cap = n;
    return OK;
}

/* n->data may lie in the map: it is copied first. */
static int node_put(struct tree_txn *x, const char *path, const struct node *n, unsigned flags)
{
    struct tree *t = x->tree;
    struct key k;
    MDB_val key, v;
    uint8_t *b;

    TRY(key_of_node(&k, path));
    TRY(buf_room(t, NODE_HEAD + n->data.len));
    b = t->buf;
    be_put64(b, (uint64_t)n->st.czxid);
    be_put64(b + 8, (uint64_t)n->st.mzxid);
    be_put64(b + 16, (uint64_t)n->st.pzxid);
    be_put64(b + 24, (uint64_t)n->st.ctime_ms);
    be_put64(b + 32, (uint64_t)n->st.mtime_ms);
    be_put64(b + 40, (uint64_t)n->st.ephemeral_owner);
    be_put32(b + 48, (uint32_t)n->st.version);
    be_put32(b + 52, (uint32_t)n->creates);
    be_put32(b + 56, (uint32_t)n->st.num_children);
    if (n->data.len > 0)
        memcpy(b + NODE_HEAD, n->data.p, n->data.len);
    key = (MDB_val){ k.len, k.b };
    v = (MDB_val){ NODE_HEAD + n->data.len, b };
    return err_of(mdb_put(x->txn, t->dbi, &key, &v, flags));
}

static int key_delete(struct tree_txn *x, const struct key *k)
{
    MDB_val key = { k->len, (void *)(uintptr_t)k->b };

    return err_of(mdb_del(x->txn, x->tree->dbi, &key, NULL));
}

/* ---- operations --------------------------------------------------------------------------------------- */

static int do_get(struct tree_txn *x, struct store_call *call, struct store_op *op)
{
    struct node n;
    uint8_t *copy;

    TRY(node_find(x, op->path, &n));
    copy = arena_alloc(&call->arena, n.data.len + 1);
    if (copy == NULL)
        return ERR_NOMEM;
    if (n.data.len > 0)
        memcpy(copy, n.data.p, n.data.len);
    copy[n.data.len] = '\0';
    op->value = (struct bytes){ copy, n.data.len };
    op->stat = n.st;
    return OK;
}

static int do_exists(struct tree_txn *x, struct store_call *call, struct store_op *op)
{
    struct node n;

    (void)call;
    TRY(node_find(x, op->path, &n));
    op->stat = n.st;
    return OK;
}

static int do_children(struct tree_txn *x, struct store_call *call, struct store_op *op)
{
    bool root = op->path[1] == '\0';
    struct key k;
    struct node n;
    MDB_cursor *c;
    MDB_val key, v;
    int rc;

    TRY(node_find(x, op->path, &n));
    op->stat = n.st;
    op->children_n = 0;
    if (n.st.num_children == 0)
        return OK;
    op->children = arena_array(&call->arena, (size_t)n.st.num_children, sizeof *op->children);
    if (op->children == NULL)
        return ERR_NOMEM;
    TRY(key_set(&k, (uint8_t)(path_depth(op->path) + 1), op->path, strlen(op->path)));
    if (!root && k.len == sizeof k.b)
        return ERR_CORRUPT;                         /* no room for a child's name, yet it has children */
    if (!root)
        k.b[k.len++] = '/';
    TRY(err_of(mdb_cursor_open(x->txn, x->tree->dbi, &c)));
    key = (MDB_val){ k.len, k.b };
    rc = err_of(mdb_cursor_get(c, &key, &v, MDB_SET_RANGE));
    while (rc == OK && key.mv_size > k.len && memcmp(key.mv_data, k.b, k.len) == 0) {
        struct str name = { (const char *)key.mv_data + k.len, key.mv_size - k.len };
        const char *z = arena_cstr(&call->arena, name);

        if (op->children_n == (size_t)n.st.num_children)
            rc = ERR_CORRUPT;
        else if (z == NULL)
            rc = ERR_NOMEM;
        else {
            op->children[op->children_n++] = (struct str){ z, name.len };
            rc = err_of(mdb_cursor_get(c, &key, &v, MDB_NEXT));
        }
    }
    mdb_cursor_close(c);
    return rc == ERR_NOENT ? OK : rc;
}

static int parent_changed(struct tree_txn *x, const char *parent, struct node *n, int delta)
{
    n->st.pzxid = x->zxid;
    n->st.num_children += delta;
    if (delta > 0)
        n->creates++;
    return node_put(x, parent, n, 0);
}

static int do_create(struct tree_txn *x, struct store_call *call, struct store_op *op)
{
    char parent[STORE_PATH_MAX + 1];
    const char *path = op->path;
    struct node up, n = { .creates = 0 };
    struct key k;

    if (path[1] == '\0')
        return ERR_EXISTS;
    parent_of(path, parent);
    TRY(node_find(x, parent, &up));
    if (op->flags & STORE_SEQUENTIAL)
        path = arena_printf(&call->arena, "%s%010d", path, up.creates);
    if (path == NULL)
        return ERR_NOMEM;
    n.st.czxid = n.st.mzxid = n.st.pzxid = x->zxid;
    n.st.ctime_ms = n.st.mtime_ms = x->now_ms;
    n.st.ephemeral_owner = op->flags & STORE_EPHEMERAL ? x->session : 0;
    n.data = op->data;
    n.st.data_length = (int32_t)op->data.len;
    if (up.st.ephemeral_owner != 0)
        return ERR_INVALID;
    TRY(node_put(x, path, &n, MDB_NOOVERWRITE));
    TRY(node_find(x, parent, &up));                 /* the write above may have moved its bytes */
    TRY(parent_changed(x, parent, &up, 1));
    if (op->flags & STORE_EPHEMERAL) {
        MDB_val key, none = { 0, NULL };

        TRY(key_set(&k, KEY_EPHEMERAL, path, strlen(path)));
        key = (MDB_val){ k.len, k.b };
        TRY(err_of(mdb_put(x->txn, x->tree->dbi, &key, &none, 0)));
    }
    op->created = path;
    op->stat = n.st;
    return OK;
}

static int do_set(struct tree_txn *x, struct store_call *call, struct store_op *op)
{
    struct node n;

    (void)call;
    TRY(node_find(x, op->path, &n));
    if (op->version != STORE_ANY_VERSION && op->version != n.st.version)
        return ERR_VERSION;
    n.st.version++;
    n.st.mzxid = x->zxid;
    n.st.mtime_ms = x->now_ms;
    n.data = op->data;
    n.st.data_length = (int32_t)op->data.len;
    op->stat = n.st;
    return node_put(x, op->path, &n, 0);
}

static int do_delete(struct tree_txn *x, struct store_call *call, struct store_op *op)
{
    char parent[STORE_PATH_MAX + 1];
    struct node n, up;
    struct key k;

    (void)call;
    if (op->path[1] == '\0')
        return ERR_INVALID;
    TRY(node_find(x, op->path, &n));
    if (op->version != STORE_ANY_VERSION && op->version != n.st.version)
        return ERR_VERSION;
    if (n.st.num_children > 0)
        return ERR_NOTEMPTY;
    TRY(key_of_node(&k, op->path));
    TRY(key_delete(x, &k));
    if (n.st.ephemeral_owner != 0) {
        TRY(key_set(&k, KEY_EPHEMERAL, op->path, strlen(op->path)));
        TRY(key_delete(x, &k));
    }
    parent_of(op->path, parent);
    TRY(node_find(x, parent, &up));
    return parent_changed(x, parent, &up, -1);
}

static int do_check(struct tree_txn *x, struct store_call *call, struct store_op *op)
{
    struct node n;

    (void)call;
    TRY(node_find(x, op->path, &n));
    return op->version != STORE_ANY_VERSION && op->version != n.st.version ? ERR_VERSION : OK;
}

static int (*const do_op[])(struct tree_txn *, struct store_call *, struct store_op *) = {
    [STORE_GET] = do_get,       [STORE_EXISTS] = do_exists, [STORE_CHILDREN] = do_children,
    [STORE_CREATE] = do_create, [STORE_SET] = do_set,       [STORE_DELETE] = do_delete,
    [STORE_CHECK] = do_check,
};

/* What the asker must know, as opposed to what makes the transaction useless. */
static bool is_answer(int rc)
{
    return rc == OK || rc == ERR_NOENT || rc == ERR_EXISTS || rc == ERR_VERSION || rc == ERR_NOTEMPTY ||
           rc == ERR_INVALID || rc == ERR_TOO_LARGE;
}

static int apply_reads(struct tree_txn *x, struct store_call *call)
{
    for (size_t i = 0; i < call->ops_n; i++) {
        struct store_op *op = &call->ops[i];

        op->rc = do_op[op->kind](x, call, op);
        if (!is_answer(op->rc))
            return op->rc;
        if (op->rc != OK && call->rc == OK) {
            call->rc = op->rc;
            call->failed = i;
        }
    }
    return OK;
}

static int apply_ops(struct tree_txn *x, struct store_call *call)
{
    for (size_t i = 0; i < call->ops_n; i++) {
        struct store_op *op = &call->ops[i];

        op->rc = do_op[op->kind](x, call, op);
        if (op->rc != OK) {
            call->rc = op->rc;
            call->failed = i;
            return op->rc;
        }
    }
    return OK;
}

/* Each operation finds out before its first write whether it will be refused, so only a call with a second
 * write needs a transaction inside the transaction to be undone. */
int tree_apply(struct tree_txn *x, struct store_call *call)
{
    size_t writes = 0, reads = 0;
    MDB_txn *outer = x->txn, *inner = NULL;
    int rc;

    call->rc = OK;
    for (size_t i = 0; i < call->ops_n; i++) {
        writes += store_kind_writes(call->ops[i].kind);
        reads += !store_kind_writes(call->ops[i].kind) && call->ops[i].kind != STORE_CHECK;
    }
    if (reads > 0 && reads < call->ops_n) {
        call->rc = ERR_INVALID;
        return OK;
    }
    if (reads > 0)
        return apply_reads(x, call);
    if (writes > 0)
        x->zxid++;
    if (writes > 1) {
        TRY(err_of(mdb_txn_begin(x->tree->env, outer, 0, &inner)));
        x->txn = inner;
    }
    rc = apply_ops(x, call);
    x->txn = outer;
    if (inner != NULL && rc == OK)
        rc = call->rc = err_of(mdb_txn_commit(inner));
    else if (inner != NULL)
        mdb_txn_abort(inner);
    if (rc != OK && writes > 0)
        x->zxid--;
    return is_answer(rc) ? OK : rc;
}

static int delete_ephemerals(struct tree_txn *x)
{
    const uint8_t first = KEY_EPHEMERAL;
    struct store_call *call = NULL;
    int rc = OK;

    while (rc == OK) {
        char path[STORE_PATH_MAX + 1];
        MDB_val key = { 1, (void *)(uintptr_t)&first }, v;
        MDB_cursor *c;

        rc = err_of(mdb_cursor_open(x->txn, x->tree->dbi, &c));
        if (rc != OK)
            return rc;
        rc = err_of(mdb_cursor_get(c, &key, &v, MDB_SET_RANGE));
        if (rc == OK && (*(const uint8_t *)key.mv_data != first || key.mv_size > sizeof path))
            rc = ERR_NOENT;
        if (rc == OK) {
            memcpy(path, (const char *)key.mv_data + 1, key.mv_size - 1);
            path[key.mv_size - 1] = '\0';
        }
        mdb_cursor_close(c);
        if (rc != OK)
            break;
        call = store_call_new(NULL, NULL);
        if (call == NULL)
            return ERR_NOMEM;
        store_delete(call, path, STORE_ANY_VERSION);
        rc = tree_apply(x, call);
        if (rc == OK)
            rc = call->rc == ERR_NOENT ? ERR_CORRUPT : call->rc;
        store_call_free(&call);
    }
    return rc == ERR_NOENT ? OK : rc;
}

int tree_change_session(struct tree_txn *x, bool another)
{
    struct node root = { .creates = 0 };

    if (x->tree->fresh)
        TRY(node_put(x, "/", &root, 0));
    TRY(delete_ephemerals(x));
    if (another)
        x->sessions++;
    return OK;
}

/* ---- transactions ------------------------------------------------------------------------------------- */

int tree_begin(struct tree *t, struct tree_txn *x, bool writes)
{
    *x = (struct tree_txn){ .tree = t, .writes = writes, .zxid = t->zxid, .sessions = t->sessions,
                            .now_ms = wall_ms() };
    if (t->env == NULL)
        return ERR_OFFLINE;
    if (writes)
        return err_of(mdb_txn_begin(t->env, NULL, 0, &x->txn));
    if (t->reader == NULL)
        TRY(err_of(mdb_txn_begin(t->env, NULL, MDB_RDONLY, &t->reader)));
    else
        TRY(err_of(mdb_txn_renew(t->reader)));
    x->txn = t->reader;
    return OK;
}

static int counters_put(struct tree_txn *x)
{
    uint8_t name = KEY_COUNTERS, b[COUNTERS_SIZE];
    MDB_val key = { 1, &name }, v = { sizeof b, b };

    memcpy(b, COUNTERS_MAGIC, 8);
    be_put64(b + 8, (uint64_t)x->zxid);
    be_put64(b + 16, (uint64_t)x->sessions);
    return err_of(mdb_put(x->txn, x->tree->dbi, &key, &v, 0));
}

/* A write that takes new pages must find them on a full disk too: deleting topics is what makes room there. Done ahead,
 * while there is room; where it cannot be, the store works without. */
static void room_ahead(struct tree *t)
{
    struct stat st;
    int fd;

    if (mdb_env_get_fd(t->env, &fd) != MDB_SUCCESS || fstat(fd, &st) != 0 || t->room - st.st_size >= ROOM_AHEAD / 2)
        return;
    if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, st.st_size + ROOM_AHEAD) == 0)
        t->room = st.st_size + ROOM_AHEAD;
    else if (errno == EOPNOTSUPP || errno == ENOSYS)
        t->room = INT64_MAX;
}

int tree_commit(struct tree_txn *x)
{
    int rc = OK;

    if (!x->writes) {
        tree_abort(x);
        return OK;
    }
    if (x->zxid == x->tree->zxid && x->sessions == x->tree->sessions) {
        tree_abort(x);                              /* every write was refused: nothing to make durable */
        return OK;
    }
    rc = counters_put(x);
    if (rc != OK) {
        tree_abort(x);
        return rc;
    }
    rc = err_of(mdb_txn_commit(x->txn));
    x->txn = NULL;
    if (rc != OK)
        return rc;
    x->tree->zxid = x->zxid;
    x->tree->sessions = x->sessions;
    x->tree->fresh = false;
    room_ahead(x->tree);
    return OK;
}

void tree_abort(struct tree_txn *x)
{
    if (x->txn == NULL)
        return;
    if (x->writes)
        mdb_txn_abort(x->txn);
    else
        mdb_txn_reset(x->txn);
    x->txn = NULL;
}

/* ---- the file ----------------------------------------------------------------------------------------- */

int tree_grow(struct tree *t)
{
    MDB_envinfo info;

    if (t->reader != NULL) {
        mdb_txn_abort(t->reader);
        t->reader = NULL;
    }
    TRY(err_of(mdb_env_info(t->env, &info)));
    if (info.me_mapsize >= MAP_MAX_BYTES) {
        log_error("%s: the metadata store may not grow beyond %zu bytes", t->file, MAP_MAX_BYTES);
        return ERR_LIMIT;
    }
    return err_of(mdb_env_set_mapsize(t->env, info.me_mapsize * 2));
}

/* A file that is not fresh must be ours. */
static int counters_read(struct tree *t)
{
    uint8_t name = KEY_COUNTERS;
    MDB_val key = { 1, &name }, v;
    struct tree_txn x;
    int rc;

    TRY(tree_begin(t, &x, false));
    rc = err_of(mdb_get(x.txn, t->dbi, &key, &v));
    if (rc == OK && (v.mv_size != COUNTERS_SIZE || memcmp(v.mv_data, COUNTERS_MAGIC, 8) != 0))
        rc = ERR_CORRUPT;
    if (rc == OK) {
        t->zxid = (int64_t)be_get64((const uint8_t *)v.mv_data + 8);
        t->sessions = (int64_t)be_get64((const uint8_t *)v.mv_data + 16);
    }
    tree_abort(&x);
    t->fresh = rc == ERR_NOENT;
    return t->fresh ? OK : rc;
}

static int env_open(struct tree *t)
{
    unsigned flags = MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD;
    size_t map = MAP_START_BYTES;
    MDB_envinfo info;
    MDB_txn *txn;
    int fd, dead;

    TRY(err_of(mdb_env_create(&t->env)));
    TRY(err_of(mdb_env_set_mapsize(t->env, map)));
    TRY(err_of(mdb_env_open(t->env, t->file, flags, 0644)));
    TRY(err_of(mdb_env_get_fd(t->env, &fd)));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? ERR_BUSY : err_from_errno(errno);
    TRY(err_of(mdb_reader_check(t->env, &dead)));
    TRY(err_of(mdb_env_info(t->env, &info)));
    while (map < info.me_mapsize)                   /* LMDB has taken over the size stored in the file */
        map *= 2;
    if (map != info.me_mapsize)
        TRY(err_of(mdb_env_set_mapsize(t->env, map)));
    t->room = 0;
    room_ahead(t);
    TRY(err_of(mdb_txn_begin(t->env, NULL, MDB_RDONLY, &txn)));
    TRY(err_of(mdb_dbi_open(txn, NULL, 0, &t->dbi)));
    return err_of(mdb_txn_commit(txn));
}

static int sync_path(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC), rc;

    if (fd < 0)
        return err_from_errno(errno);
    rc = fsync(fd) == 0 ? OK : err_from_errno(errno);
    close(fd);
    return rc;
}

static int make_env(const char *path)
{
    MDB_env *env = NULL;
    int rc = err_of(mdb_env_create(&env));

    if (rc == OK)
        rc = err_of(mdb_env_set_mapsize(env, MAP_START_BYTES));
    if (rc == OK)
        rc = err_of(mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOTLS | MDB_NOLOCK, 0644));
    if (env != NULL)
        mdb_env_close(env);
    return rc == OK ? sync_path(path, O_RDONLY) : rc;
}

/* An empty store takes its name when it is whole: half a one would be refused as damaged by every later start. */
static int make_if_absent(const char *file)
{
    char path[PATH_MAX], dir[PATH_MAX], *slash;
    int rc;

    if (access(file, F_OK) == 0 || errno != ENOENT)
        return OK;                                  /* opening it says what is wrong */
    if (snprintf(path, sizeof path, "%s.new", file) >= (int)sizeof path)
        return ERR_TOO_LARGE;
    (void)unlink(path);
    rc = make_env(path);
    if (rc == OK && rename(path, file) != 0)
        rc = err_from_errno(errno);
    if (rc != OK) {
        (void)unlink(path);
        return rc;
    }
    snprintf(dir, sizeof dir, "%s", file);
    slash = strrchr(dir, '/');
    if (slash == NULL)
        return OK;
    *slash = '\0';
    return sync_path(dir, O_RDONLY | O_DIRECTORY);
}

int tree_open(struct tree *t, const char *file)
{
    int rc;

    *t = (struct tree){ .file = strdup(file) };
    rc = t->file == NULL ? ERR_NOMEM : make_if_absent(file);
    if (rc == OK)
        rc = env_open(t);
    if (rc == OK)
        rc = counters_read(t);
    if (rc == ERR_AGAIN)
        rc = ERR_NOSPACE;
    if (rc == ERR_BUSY)
        log_error("%s: another process has the metadata store open; stop it first", file);
    else if (rc == ERR_CORRUPT)
        log_error("%s: not a metadata store of this version, or damaged; restore it from a copy, or move it away to "
                  "begin with an empty cluster (the topics in the log directories are then unknown)", file);
    else if (rc != OK)
        log_error("%s: cannot open the metadata store: %s", file, err_text(rc));
    if (rc != OK)
        tree_close(t);
    return rc;
}

static void env_close(struct tree *t)
{
    if (t->reader != NULL)
        mdb_txn_abort(t->reader);
    if (t->env != NULL)
        mdb_env_close(t->env);
    t->reader = NULL;
    t->env = NULL;
}

int tree_reopen(struct tree *t)
{
    int rc;

    env_close(t);
    rc = env_open(t);
    if (rc == OK)
        rc = counters_read(t);
    if (rc != OK)
        env_close(t);
    return rc;
}

void tree_close(struct tree *t)
{
    env_close(t);
    free(t->buf);
    free(t->file);
    *t = (struct tree){ .env = NULL };
}
