/* metadata/zk_requests.c - operations of the store as requests of the library, and what it calls back with. */
#include "metadata/zk_priv.h"

#include <stdlib.h>

int zk_error(int zrc)
{
    static const struct { int zrc, rc; } table[] = {
        { ZOK, OK },                              { ZNONODE, ERR_NOENT },
        { ZNODEEXISTS, ERR_EXISTS },              { ZBADVERSION, ERR_VERSION },
        { ZNOTEMPTY, ERR_NOTEMPTY },              { ZNOCHILDRENFOREPHEMERALS, ERR_INVALID },
        { ZBADARGUMENTS, ERR_INVALID },           { ZNOAUTH, ERR_DENIED },
        { ZINVALIDACL, ERR_DENIED },              { ZAUTHFAILED, ERR_DENIED },
        { ZNOTREADONLY, ERR_DENIED },             { ZSESSIONEXPIRED, ERR_CLOSED },
        { ZCLOSING, ERR_CLOSED },                 { ZINVALIDSTATE, ERR_CLOSED },
    };

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].zrc == zrc)
            return table[i].rc;
    return zrc == ZSYSTEMERROR ? ERR_NOMEM : ERR_IO;
}

void zk_stat(const struct Stat *from, struct store_stat *to)
{
    *to = (struct store_stat){
        .czxid = from->czxid, .mzxid = from->mzxid, .pzxid = from->pzxid,
        .ctime_ms = from->ctime, .mtime_ms = from->mtime,
        .version = from->version, .cversion = from->cversion, .ephemeral_owner = from->ephemeralOwner,
        .data_length = from->dataLength, .num_children = from->numChildren,
    };
}

/* ---- answers, on the library's completion thread -------------------------------------------------------- */

static void answered(const struct zk_req *r, int zrc)
{
    struct zk_req *mine = (struct zk_req *)(uintptr_t)r;

    mine->zrc = zrc;
    zk_post(mine->of->z, &mine->item);
}

static void got_data(int zrc, const char *value, int len, const struct Stat *stat, const void *data)
{
    const struct zk_req *r = data;
    struct arena *a = &r->of->call->arena;
    size_t n = len > 0 ? (size_t)len : 0;
    uint8_t *copy;

    if (zrc == ZOK) {
        copy = arena_alloc(a, n + 1);
        if (copy == NULL) {
            answered(r, ZSYSTEMERROR);
            return;
        }
        if (n > 0)
            memcpy(copy, value, n);
        copy[n] = '\0';
        r->op->value = (struct bytes){ copy, n };
        zk_stat(stat, &r->op->stat);
    }
    answered(r, zrc);
}

static void got_stat(int zrc, const struct Stat *stat, const void *data)
{
    const struct zk_req *r = data;

    if (zrc == ZOK)
        zk_stat(stat, &r->op->stat);
    answered(r, zrc);
}

static void got_children(int zrc, const struct String_vector *names, const struct Stat *stat, const void *data)
{
    const struct zk_req *r = data;
    struct arena *a = &r->of->call->arena;
    size_t n = zrc == ZOK && names != NULL && names->count > 0 ? (size_t)names->count : 0;

    if (zrc == ZOK) {
        r->op->children = arena_array(a, n + 1, sizeof *r->op->children);
        for (size_t i = 0; r->op->children != NULL && i < n; i++) {
            const char *copy = arena_cstr(a, str_of(names->data[i]));

            if (copy == NULL)
                r->op->children = NULL;
            else
                r->op->children[i] = str_of(copy);
        }
        if (r->op->children == NULL) {
            answered(r, ZSYSTEMERROR);
            return;
        }
        qsort(r->op->children, n, sizeof *r->op->children, str_order);
        r->op->children_n = n;
        zk_stat(stat, &r->op->stat);
    }
    answered(r, zrc);
}

static void created(int zrc, const char *path, const struct Stat *stat, const void *data)
{
    const struct zk_req *r = data;
    size_t root = strlen(r->of->z->chroot);

    if (zrc == ZOK) {
        r->op->created = strlen(path) > root ? arena_cstr(&r->of->call->arena, str_of(path + root)) : "/";
        zk_stat(stat, &r->op->stat);
        if (r->op->created == NULL)
            zrc = ZSYSTEMERROR;
    }
    answered(r, zrc);
}

static void done(int zrc, const void *data)
{
    answered(data, zrc);
}

/* ---- requests, on the store's thread -------------------------------------------------------------------- */

static int mode(unsigned flags)
{
    static const int *const modes[] = { &ZOO_PERSISTENT, &ZOO_EPHEMERAL, &ZOO_PERSISTENT_SEQUENTIAL,
                                        &ZOO_EPHEMERAL_SEQUENTIAL };

    return *modes[flags & (STORE_EPHEMERAL | STORE_SEQUENTIAL)];
}

/* Nodes without data have none, as Apache Kafka's have. */
static const char *data_of(const struct store_op *op, int *len)
{
    *len = op->data.len > 0 ? (int)op->data.len : -1;
    return op->data.len > 0 ? (const char *)op->data.p : NULL;
}

static int send_multi(struct zk_store *z, struct zk_req *r)
{
    struct zk_call *zc = r->of;
    struct store_call *call = zc->call;

    for (size_t i = 0; i < call->ops_n; i++) {
        const struct store_op *op = &call->ops[i];
        int len, room = (int)strlen(zc->paths[i]) + 16;
        const char *data = data_of(op, &len);
        char *buffer;

        zc->results[i] = (zoo_op_result_t){ 0 };
        if (op->kind == STORE_CREATE) {
            buffer = zc->ops[i].create_op.buf;      /* from an earlier try */
            if (buffer == NULL)
                buffer = arena_zalloc(&call->arena, (size_t)room);
            if (buffer == NULL)
                return ZSYSTEMERROR;
            zoo_create_op_init(&zc->ops[i], zc->paths[i], data, len, &ZOO_OPEN_ACL_UNSAFE, mode(op->flags), buffer,
                               room);
        } else if (op->kind == STORE_SET) {
            zoo_set_op_init(&zc->ops[i], zc->paths[i], data, len, op->version, &zc->stats[i]);
        } else if (op->kind == STORE_DELETE) {
            zoo_delete_op_init(&zc->ops[i], zc->paths[i], op->version);
        } else {
            zoo_check_op_init(&zc->ops[i], zc->paths[i], op->version);
        }
    }
    return zoo_amulti(z->zh, (int)call->ops_n, zc->ops, zc->results, done, r);
}

static int send_write(struct zk_store *z, struct zk_req *r)
{
    const struct store_op *op = r->op;
    int len;
    const char *data = data_of(op, &len);

    if (r->of->call->ops_n > 1 || op->kind == STORE_CHECK)
        return send_multi(z, r);
    if (op->kind == STORE_CREATE)
        return zoo_acreate2(z->zh, r->path, data, len, &ZOO_OPEN_ACL_UNSAFE, mode(op->flags), created, r);
    if (op->kind == STORE_SET)
        return zoo_aset(z->zh, r->path, data, len, op->version, got_stat, r);
    return zoo_adelete(z->zh, r->path, op->version, done, r);
}

int zk_request_send(struct zk_store *z, struct zk_req *r)
{
    int watch = (r->op->flags & STORE_WATCH) != 0;

    switch (r->op->kind) {
    case STORE_GET:
        return zoo_aget(z->zh, r->path, watch, got_data, r);
    case STORE_EXISTS:
        return zoo_aexists(z->zh, r->path, watch, got_stat, r);
    case STORE_CHILDREN:
        return zoo_aget_children2(z->zh, r->path, watch, got_children, r);
    default:
        return send_write(z, r);
    }
}
