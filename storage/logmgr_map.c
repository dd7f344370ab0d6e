/* storage/logmgr_map.c - the map of logs: looking them up, making and deleting them. */
#include "storage/logmgr_impl.h"

#include "base/log.h"
#include "storage/killpoint.h"
#include "storage/syncer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <utlist.h>

#define DELETE_DELAY_MS 60000           /* of a log that was never opened here */

/* ---- names --------------------------------------------------------------------------------------------------- */

/* "topic-partition" as the map's key; *n its length. Topics have at most 249 characters. */
static bool key_of(struct str topic, int32_t partition, char out[LOG_NAME_MAX], size_t *n)
{
    int len = snprintf(out, LOG_NAME_MAX, "%.*s-%" PRId32, STR_ARG(topic), partition);

    *n = (size_t)len;
    return len > 0 && len < LOG_NAME_MAX;
}

/* ---- the map ------------------------------------------------------------------------------------------------- */

struct log_entry *log_entry_new(struct mdir *md, struct str topic, int32_t partition)
{
    char key[LOG_NAME_MAX];
    struct log_entry *e;
    size_t n;

    if (!key_of(topic, partition, key, &n) || (e = calloc(1, sizeof *e + n + 1)) == NULL)
        return NULL;
    e->dir = md;
    for (size_t i = 0; i < CHECKPOINTS_N; i++)
        e->found[i] = -1;
    e->topic_len = topic.len;
    memcpy(e->name, key, n + 1);
    return e;
}

struct log_entry *logmgr_lookup(struct logmgr *m, struct str topic, int32_t partition)
{
    char key[LOG_NAME_MAX];
    struct log_entry *e = NULL;
    size_t n;

    if (key_of(topic, partition, key, &n))
        HASH_FIND(hh, m->logs, key, n, e);
    return e;
}

void logmgr_enter(struct logmgr *m, struct log_entry *e)
{
    HASH_ADD_KEYPTR(hh, m->logs, e->name, strlen(e->name), e);
    DL_APPEND(e->dir->logs, e);
    e->dir->logs_n++;
}

void logmgr_leave(struct logmgr *m, struct log_entry *e)
{
    HASH_DEL(m->logs, e);
    DL_DELETE(e->dir->logs, e);
    e->dir->logs_n--;
}

/* OK, or why the log cannot be used. Under the lock. */
static int entry_usable(const struct log_entry *e)
{
    if (e == NULL)
        return ERR_NOENT;
    if (e->state == LOG_FAILED || logdir_offline(&e->dir->d))
        return ERR_OFFLINE;
    return e->state == LOG_READY ? OK : ERR_BUSY;
}

int logmgr_find(struct logmgr *m, struct str topic, int32_t partition, struct plog **out)
{
    struct log_entry *e;
    int rc;

    lock_take(&m->lock);
    e = logmgr_lookup(m, topic, partition);
    rc = entry_usable(e);
    *out = rc == OK ? plog_ref(e->log) : NULL;
    lock_drop(&m->lock);
    return rc;
}

struct plog *logmgr_get(struct logmgr *m, struct str topic, int32_t partition)
{
    struct log_entry *e;
    struct plog *l;

    lock_take(&m->lock);
    e = logmgr_lookup(m, topic, partition);
    l = e != NULL && e->state == LOG_READY ? plog_ref(e->log) : NULL;
    lock_drop(&m->lock);
    return l;
}

int logmgr_list(struct logmgr *m, struct plog ***out, size_t *n)
{
    struct log_entry *e, *tmp;
    struct plog **v;

    *n = 0;
    lock_take(&m->lock);
    v = calloc(HASH_COUNT(m->logs) + 1, sizeof *v);
    if (v != NULL)
        HASH_ITER(hh, m->logs, e, tmp)
            if (e->state == LOG_READY)
                v[(*n)++] = plog_ref(e->log);
    lock_drop(&m->lock);
    *out = v;
    return v != NULL ? OK : ERR_NOMEM;
}

void logmgr_list_free(struct plog ***v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        plog_unref(&(*v)[i]);
    free(*v);
    *v = NULL;
}

void log_let_go(struct logdir *d, struct plog *l)
{
    syncer_note(d->syncer, l, 0, false);
    syncer_flush(d->syncer, l);
}

/* ---- create -------------------------------------------------------------------------------------------------- */

static int set_id(struct plog *l, struct uuid id)
{
    return uuid_is_zero(id) ? OK : plog_set_topic_id(l, id);
}

static bool is_better(const struct mdir *a, const struct mdir *b)
{
    if (space_full(&a->d) != space_full(&b->d))
        return !space_full(&a->d);
    return a->logs_n < b->logs_n;
}

/* A directory of that name is there, though no log of it is known: what an attempt that failed, or a move, could not
 * take away. Anything else of that name is *foreign; links are not followed, nothing of ours lies outside. */
static bool has_rest(const struct mdir *md, const char *name, bool *foreign)
{
    struct stat st;
    bool seen = fstatat(md->d.fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    bool rest = seen && S_ISDIR(st.st_mode) && !logmgr_is_not_log(name);

    *foreign = !rest && (seen || errno != ENOENT);
    return rest;
}

/* Where a rest is, since no log may be in two directories; else where somebody has wished it; else the live directory
 * with the fewest logs, of those that are not full if there is one. *lost: some directory is offline. Under the
 * lock. */
static struct mdir *place(struct logmgr *m, const char *name, bool *lost)
{
    struct mdir *wish = wish_take(m, name), *best = NULL, *rest = NULL;
    bool foreign;

    *lost = false;
    for (size_t i = 0; i < m->dirs_n; i++) {
        struct mdir *md = &m->dirs[i];
        if (logdir_offline(&md->d)) {
            *lost = true;
            continue;
        }
        if (md == wish || best == NULL || (best != wish && is_better(md, best)))
            best = md;
        if (m->dirs_n > 1 && has_rest(md, name, &foreign))
            rest = md;
    }
    return rest != NULL ? rest : best;
}

/* What there is of a log that could not be made goes, since the next attempt may be made in another directory. (In a
 * directory that has failed just now nothing can be done: the next start with both says so.) */
static void unmake(struct mdir *md, struct plog *l)
{
    lock_take(&l->lock);
    atomic_store_explicit(&l->closed, true, memory_order_release);
    l->deleted = true;
    lock_drop(&l->lock);
    log_let_go(&md->d, l);
    if (!logdir_offline(&md->d))
        logdir_remove(&md->d, l->place.dir);
    syncer_note_dir(md->d.syncer);
}

/* A new log has nothing of what was there before it. */
static int clear_place(struct mdir *md, const char *name, size_t topic_len)
{
    bool foreign, rest = has_rest(md, name, &foreign);

    if (foreign) {
        log_error("%s/%s: is no directory of a partition (links are not followed), so none can be made there; move it "
                  "away, or put in its place what it points to", md->d.path, name);
        return ERR_OFFLINE;
    }
    if (!rest)
        return OK;
    log_warn("%s/%s: is of no log that is known; it makes place for a new one, and is deleted", md->d.path, name);
    return mdir_put_away(md, name, name, topic_len, DELETE_DELAY_MS);
}

static int create_one(struct logmgr *m, struct logmgr_create *c)
{
    struct log_entry *e = logmgr_lookup(m, c->topic, c->partition);
    char key[LOG_NAME_MAX];
    struct mdir *md;
    struct plog *l;
    bool lost = false;
    size_t n;
    int rc;

    if (e != NULL) {
        TRY(entry_usable(e));
        TRY(set_id(e->log, c->topic_id));
        c->log = plog_ref(e->log);
        return OK;
    }
    md = key_of(c->topic, c->partition, key, &n) ? place(m, key, &lost) : NULL;
    if (md == NULL || (lost && !c->is_new))
        return ERR_OFFLINE;
    TRY(clear_place(md, key, c->topic.len));
    e = log_entry_new(md, c->topic, c->partition);
    l = e != NULL ? plog_new(&md->d, c->topic, c->partition, c->opts) : NULL;
    rc = l != NULL ? plog_create(l, atomic_load(&md->deletions) != atomic_load(&md->refreshed)) : ERR_NOMEM;
    if (rc == OK)
        rc = set_id(l, c->topic_id);
    if (rc != OK) {
        if (l != NULL)
            unmake(md, l);
        plog_unref(&l);
        free(e);
        return rc;
    }
    e->state = LOG_READY;
    e->log = l;
    logmgr_enter(m, e);
    c->log = plog_ref(l);
    return OK;
}

int logmgr_create(struct logmgr *m, struct logmgr_create *v, size_t n)
{
    int first = OK;

    lock_take(&m->lock);
    for (size_t i = 0; i < n; i++) {
        v[i].log = NULL;
        v[i].rc = create_one(m, &v[i]);
        if (v[i].rc != OK && first == OK)
            first = v[i].rc;
    }
    lock_drop(&m->lock);
    return first;
}

/* ---- delete -------------------------------------------------------------------------------------------------- */

/* "<topic>-<partition>.<32 hex>-delete", the topic cut so that it is a possible file name. */
void log_delete_name(const char *name, size_t topic_len, char out[LOG_NAME_MAX])
{
    struct uuid id = uuid_random();
    char hex[2 * sizeof id.b + 1], tail[64];
    size_t room;
    int n;

    for (size_t i = 0; i < sizeof id.b; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", id.b[i]);
    n = snprintf(tail, sizeof tail, "%s.%s-delete", name + topic_len, hex);
    room = FILE_NAME_MAX - (size_t)n;
    (void)snprintf(out, LOG_NAME_MAX, "%.*s%s", (int)(topic_len < room ? topic_len : room), name, tail);
}

/* A full disk may have no room for the longer name. */
static int rename_with_reserve(struct logdir *d, const char *from, const char *to)
{
    int rc = fio_rename(d->fd, from, to);

    if (rc == ERR_NOSPACE && space_release(d, "renaming a partition for deletion"))
        rc = fio_rename(d->fd, from, to);
    return logdir_check(d, rc, "renaming for deletion", from);
}

/* Nobody appends from here on; the files go later. If it cannot be done the log stays as it was. */
static int rename_away(struct log_entry *e)
{
    struct logdir *d = &e->dir->d;
    int64_t delay_ms = DELETE_DELAY_MS;
    char to[LOG_NAME_MAX];
    int rc;

    log_delete_name(e->name, e->topic_len, to);
    if (e->log != NULL) {
        lock_take(&e->log->lock);
        atomic_store_explicit(&e->log->closed, true, memory_order_release);
        e->log->deleted = true;
        delay_ms = e->log->opts.file_delete_delay_ms;
    }
    rc = rename_with_reserve(d, e->name, to);
    if (e->log != NULL && rc == ERR_NOSPACE) {
        atomic_store_explicit(&e->log->closed, false, memory_order_release);
        e->log->deleted = false;
    }
    if (e->log != NULL) {
        lock_drop(&e->log->lock);
        log_let_go(d, e->log);
    }
    KILL_POINT("delete.dir_renamed");
    if (rc == OK) {
        logdir_trash(d, to, true, delay_ms);
        syncer_note_dir(d->syncer);
    }
    return rc;
}

/* A log that is just being opened is let go of first. Under the lock, which is given up meanwhile. */
static struct log_entry *settle(struct logmgr *m, struct str topic, int32_t partition)
{
    struct log_entry *e = logmgr_lookup(m, topic, partition);

    while (e != NULL && e->state == LOG_OPENING) {
        atomic_store_explicit(&e->log->closed, true, memory_order_release);
        cond_wait(&m->changed, &m->lock);
        e = logmgr_lookup(m, topic, partition);
    }
    return e;
}

bool logmgr_removed(struct logmgr *m, struct str topic, int32_t partition)
{
    const struct log_entry *e;
    bool removed;
    int64_t size;

    lock_take(&m->lock);
    e = logmgr_lookup(m, topic, partition);
    removed = e != NULL && e->state == LOG_READY && !logdir_offline(&e->dir->d) &&
              fio_size(e->dir->d.fd, e->name, &size) == ERR_NOENT;
    lock_drop(&m->lock);
    return removed;
}

int logmgr_delete(struct logmgr *m, struct str topic, int32_t partition)
{
    struct log_entry *e;
    bool queued;
    int rc;

    lock_take(&m->lock);
    e = settle(m, topic, partition);
    if (e == NULL || logdir_offline(&e->dir->d)) {
        lock_drop(&m->lock);
        return e == NULL ? ERR_NOENT : ERR_OFFLINE;
    }
    if (e->move != NULL)
        move_cancel(e->move);
    rc = e->left != NULL ? mdir_put_away(e->left, e->name, e->name, e->topic_len, 0) : OK;
    if (rc != OK) {
        lock_drop(&m->lock);
        return rc;
    }
    e->left = NULL;
    rc = rename_away(e);
    if (rc == ERR_OFFLINE || rc == ERR_NOSPACE) {
        lock_drop(&m->lock);
        return rc;
    }
    logmgr_leave(m, e);
    queued = e->state == LOG_QUEUED;
    if (queued)
        e->state = LOG_GONE;
    atomic_fetch_add(&e->dir->deletions, 1);
    lock_drop(&m->lock);
    if (!queued) {
        plog_unref(&e->log);
        free(e);
    }
    return rc;
}
