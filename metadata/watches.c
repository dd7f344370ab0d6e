/* metadata/watches.c */
#include "metadata/watches.h"

#include "base/log.h"

#include <stdlib.h>

#define uthash_fatal(msg) abort()       /* not reached: HASH_NONFATAL_OOM */
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(el) ((el)->path_len = 0)
#include <uthash.h>

enum { WATCH_DATA = 1, WATCH_CHILDREN = 2 };

struct watch {
    UT_hash_handle hh;
    unsigned       kinds;
    size_t         path_len;
    char           path[];
};

static struct watch *watch_find(struct watches *w, const char *path)
{
    struct watch *at = NULL;

    HASH_FIND(hh, w->by_path, path, strlen(path), at);
    return at;
}

int watches_arm(struct watches *w, const struct store_op *op)
{
    unsigned kind = op->kind == STORE_CHILDREN ? WATCH_CHILDREN : WATCH_DATA;
    size_t len = strlen(op->path);
    struct watch *at;

    if (op->rc != OK && !(op->rc == ERR_NOENT && op->kind == STORE_EXISTS))
        return OK;
    at = watch_find(w, op->path);
    if (at != NULL) {
        at->kinds |= kind;
        return OK;
    }
    at = calloc(1, sizeof *at + len + 1);
    if (at == NULL)
        return ERR_NOMEM;
    memcpy(at->path, op->path, len + 1);
    at->path_len = len;
    at->kinds = kind;
    HASH_ADD(hh, w->by_path, path, len, at);
    if (at->path_len == 0) {
        free(at);
        return ERR_NOMEM;
    }
    return OK;
}

void watches_event(struct watches *w, enum store_event_kind kind, const char *path)
{
    size_t len = strlen(path);
    struct store_event *ev;

    if (w->fn == NULL)
        return;
    ev = malloc(sizeof *ev + len + 1);
    if (ev == NULL) {                               /* the change itself stands; only the news of it is lost */
        log_error("metadata store: out of memory, the watch on %s is lost; restart the broker", path);
        return;
    }
    ev->next = NULL;
    ev->kind = kind;
    memcpy(ev->path, path, len + 1);
    w->fn(ev, w->arg);
}

/* One event, whichever of the kinds were armed. */
static void fire(struct watches *w, const char *path, unsigned kinds, enum store_event_kind kind)
{
    struct watch *at = watch_find(w, path);

    if (at == NULL || (at->kinds & kinds) == 0)
        return;
    at->kinds &= ~kinds;
    if (at->kinds == 0) {
        HASH_DEL(w->by_path, at);
        free(at);
    }
    watches_event(w, kind, path);
}

static void fire_parent(struct watches *w, const char *path)
{
    char parent[STORE_PATH_MAX + 1];
    size_t n = (size_t)(strrchr(path, '/') - path);

    memcpy(parent, path, n + 1);
    parent[n == 0 ? 1 : n] = '\0';
    fire(w, parent, WATCH_CHILDREN, STORE_EV_CHILDREN);
}

static void watches_deleted(struct watches *w, const char *path)
{
    fire(w, path, WATCH_DATA | WATCH_CHILDREN, STORE_EV_DELETED);
    fire_parent(w, path);
}

void watches_fire(struct watches *w, const struct store_op *op)
{
    if (w->by_path == NULL)
        return;
    if (op->kind == STORE_CREATE) {
        fire(w, op->created, WATCH_DATA, STORE_EV_CREATED);
        fire_parent(w, op->created);
    } else if (op->kind == STORE_SET) {
        fire(w, op->path, WATCH_DATA, STORE_EV_CHANGED);
    } else if (op->kind == STORE_DELETE) {
        watches_deleted(w, op->path);
    }
}

void watches_clear(struct watches *w)
{
    struct watch *at, *next;

    HASH_ITER(hh, w->by_path, at, next) {
        HASH_DEL(w->by_path, at);
        free(at);
    }
}
