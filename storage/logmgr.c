/* storage/logmgr.c - the life of the log directories, and the map of logs.
 *
 * One directory for now: the map and the calls are made for several, placement is not.
 */
#include "storage/logmgr_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "storage/killpoint.h"
#include "storage/syncer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>

/* ---- open ---------------------------------------------------------------------------------------------------- */

int logmgr_open(const struct logmgr_opts *o, struct logmgr **out)
{
    struct logmgr *m;
    int rc;

    if (o->dirs_n != 1) {
        log_error("log.dirs names %zu directories; this version works with exactly one", o->dirs_n);
        return ERR_UNSUPPORTED;
    }
    m = calloc(1, sizeof *m);
    if (m == NULL)
        return ERR_NOMEM;
    lock_init(&m->lock, LOCK_logmgr);
    lock_init(&m->checkpoint, LOCK_checkpoint);
    m->opts = *o;
    m->opts.dirs = NULL;
    m->identity.broker_id = -1;
    rc = logdir_open(&m->dir, 0, o->dirs[0], o);
    if (rc == OK)
        rc = syncer_new(&m->dir.syncer, &m->dir, logmgr_after_round, m);
    if (rc != OK) {
        logmgr_free(&m);
        return rc;
    }
    if (m->dir.has_meta) {
        m->identity.broker_id = m->dir.meta.broker_id;
        memcpy(m->identity.cluster_id, m->dir.meta.cluster_id, sizeof m->identity.cluster_id);
    }
    *out = m;
    return OK;
}

void logmgr_free(struct logmgr **mp)
{
    struct logmgr *m = *mp;
    struct log_entry *e, *tmp;

    if (m == NULL)
        return;
    syncer_free(&m->dir.syncer);
    HASH_ITER(hh, m->logs, e, tmp) {
        HASH_DEL(m->logs, e);
        plog_unref(&e->log);
        free(e);
    }
    logdir_close(&m->dir);
    lock_fini(&m->checkpoint);
    lock_fini(&m->lock);
    free(m);
    *mp = NULL;
}

const struct logmgr_identity *logmgr_found_identity(const struct logmgr *m)
{
    return &m->identity;
}

void logmgr_take_over(struct logmgr *m)
{
    m->take_over = true;
}

/* Is the directory this broker's? With take_over it becomes so. */
static int check_owner(struct logmgr *m, struct logdir *d, int32_t broker_id, const char *cluster_id)
{
    struct meta_properties *meta = &d->meta;
    bool other_broker = d->has_meta && meta->broker_id >= 0 && meta->broker_id != broker_id;
    bool other_cluster = d->has_meta && meta->cluster_id[0] != '\0' && strcmp(meta->cluster_id, cluster_id) != 0;

    if (m->take_over && (other_broker || other_cluster)) {
        log_warn("%s/" META_PROPERTIES " had broker.id=%" PRId32 " and cluster.id=%s: taken over as broker.id=%" PRId32
                 " of cluster %s", d->path, meta->broker_id, meta->cluster_id, broker_id, cluster_id);
        meta->broker_id = -1;
        return OK;
    }
    if (other_broker) {
        log_error("%s/" META_PROPERTIES " has broker.id=%" PRId32 ", this broker is broker.id=%" PRId32 "; if the "
                  "directory is this broker's, set broker.id=%" PRId32 ", else give it a log.dirs of its own; to take "
                  "it over from Apache Kafka as it is, start with --adopt", d->path, meta->broker_id, broker_id,
                  meta->broker_id);
        return ERR_INVALID;
    }
    if (other_cluster) {
        log_error("%s/" META_PROPERTIES " has cluster.id=%s, the metadata store says %s; either the directory belongs "
                  "to another cluster (give this broker a log.dirs of its own, or take it over with --adopt), or the "
                  "metadata was replaced (remove " META_PROPERTIES " then, and start again)", d->path, meta->cluster_id,
                  cluster_id);
        return ERR_INVALID;
    }
    return OK;
}

int logmgr_identify(struct logmgr *m, int32_t broker_id, const char *cluster_id)
{
    struct logdir *d = &m->dir;
    struct meta_properties *meta = &d->meta;
    int rc;

    TRY(check_owner(m, d, broker_id, cluster_id));
    m->identity.broker_id = broker_id;
    (void)snprintf(m->identity.cluster_id, sizeof m->identity.cluster_id, "%s", cluster_id);
    if (d->has_meta && meta->broker_id == broker_id && meta->cluster_id[0] != '\0')
        return OK;
    meta->broker_id = broker_id;
    memcpy(meta->cluster_id, m->identity.cluster_id, sizeof meta->cluster_id);
    rc = meta_properties_write(d->fd, meta);
    if (rc != OK) {
        log_error("%s/" META_PROPERTIES ": cannot be written: %s; check the rights and the room on the disk", d->path,
                  err_text(rc));
        return rc;
    }
    d->has_meta = true;
    return OK;
}

/* ---- the map ------------------------------------------------------------------------------------------------- */

/* "topic-partition" as the map's key; *n its length. Topics have at most 249 characters. */
static bool key_of(struct str topic, int32_t partition, char out[LOG_NAME_MAX], size_t *n)
{
    int len = snprintf(out, LOG_NAME_MAX, "%.*s-%" PRId32, STR_ARG(topic), partition);

    *n = (size_t)len;
    return len > 0 && len < LOG_NAME_MAX;
}

/* Under the lock. */
static struct log_entry *find(struct logmgr *m, struct str topic, int32_t partition)
{
    char key[LOG_NAME_MAX];
    struct log_entry *e = NULL;
    size_t n;

    if (key_of(topic, partition, key, &n))
        HASH_FIND(hh, m->logs, key, n, e);
    return e;
}

int logmgr_add(struct logmgr *m, struct plog *l)
{
    struct log_entry *e = calloc(1, sizeof *e);

    lock_assert(&m->lock);
    if (e == NULL)
        return ERR_NOMEM;
    e->log = plog_ref(l);
    HASH_ADD_KEYPTR(hh, m->logs, plog_name(l), strlen(plog_name(l)), e);
    return OK;
}

struct plog *logmgr_get(struct logmgr *m, struct str topic, int32_t partition)
{
    struct log_entry *e;
    struct plog *l;

    lock_take(&m->lock);
    e = find(m, topic, partition);
    l = e != NULL ? plog_ref(e->log) : NULL;
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

/* ---- create and delete --------------------------------------------------------------------------------------- */

static int set_id(struct plog *l, struct uuid id)
{
    return uuid_is_zero(id) ? OK : plog_set_topic_id(l, id);
}

static int create_one(struct logmgr *m, struct logmgr_create *c)
{
    struct log_entry *e = find(m, c->topic, c->partition);
    struct plog *l;
    int rc;

    if (e != NULL) {
        TRY(set_id(e->log, c->topic_id));
        c->log = plog_ref(e->log);
        return OK;
    }
    if (logdir_offline(&m->dir))
        return ERR_OFFLINE;
    l = plog_new(&m->dir, c->topic, c->partition, c->opts);
    if (l == NULL)
        return ERR_NOMEM;
    rc = plog_create(l);
    if (rc == OK)
        rc = set_id(l, c->topic_id);
    if (rc == OK)
        rc = logmgr_add(m, l);
    if (rc == OK)
        c->log = l;
    else
        plog_unref(&l);
    return rc;
}

int logmgr_create(struct logmgr *m, struct logmgr_create *v, size_t n)
{
    int first = OK, refreshed = logmgr_refresh(m);

    lock_take(&m->lock);
    for (size_t i = 0; i < n; i++) {
        v[i].log = NULL;
        v[i].rc = refreshed == OK ? create_one(m, &v[i]) : refreshed;
        if (v[i].rc != OK && first == OK)
            first = v[i].rc;
    }
    lock_drop(&m->lock);
    return first;
}

/* "<topic>-<partition>.<32 hex>-delete", the topic cut so that it is a possible file name. */
static void delete_name(const struct plog *l, char out[LOG_NAME_MAX])
{
    struct uuid id = uuid_random();
    char hex[2 * sizeof id.b + 1], tail[64];
    struct str topic = plog_topic(l);
    size_t room;
    int n;

    for (size_t i = 0; i < sizeof id.b; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", id.b[i]);
    n = snprintf(tail, sizeof tail, "-%" PRId32 ".%s-delete", plog_partition(l), hex);
    room = FILE_NAME_MAX - (size_t)n;
    (void)snprintf(out, LOG_NAME_MAX, "%.*s%s", (int)(topic.len < room ? topic.len : room), topic.p, tail);
}

/* Nobody appends from here on; the files go later. */
static int rename_away(struct plog *l)
{
    char to[LOG_NAME_MAX];
    int64_t delay_ms;
    int rc;

    delete_name(l, to);
    lock_take(&l->lock);
    atomic_store_explicit(&l->closed, true, memory_order_release);
    l->deleted = true;
    delay_ms = l->opts.file_delete_delay_ms;
    rc = logdir_check(l->dir, fio_rename(l->dir->fd, l->name, to), "renaming for deletion", l->name);
    lock_drop(&l->lock);
    KILL_POINT("delete.dir_renamed");
    if (rc == OK) {
        logdir_trash(l->dir, to, true, delay_ms);
        syncer_note_dir(l->dir->syncer);
    }
    return rc;
}

int logmgr_delete(struct logmgr *m, struct str topic, int32_t partition)
{
    struct log_entry *e;
    int rc;

    lock_take(&m->lock);
    e = find(m, topic, partition);
    if (e == NULL) {
        lock_drop(&m->lock);
        return ERR_NOENT;
    }
    rc = rename_away(e->log);
    HASH_DEL(m->logs, e);
    atomic_fetch_add(&m->deletions, 1);
    lock_drop(&m->lock);
    plog_unref(&e->log);
    free(e);
    return rc;
}

/* ---- directories --------------------------------------------------------------------------------------------- */

size_t logmgr_dirs(const struct logmgr *m)
{
    (void)m;
    return 1;
}

int logmgr_dir(struct logmgr *m, size_t i, struct logmgr_dir *out)
{
    struct statvfs st;

    if (i > 0)
        return ERR_RANGE;
    *out = (struct logmgr_dir){ .path = m->dir.path, .offline = logdir_offline(&m->dir), .total_bytes = -1,
                                .usable_bytes = -1 };
    if (!out->offline && fstatvfs(m->dir.fd, &st) == 0) {
        out->total_bytes = (int64_t)(st.f_blocks * st.f_frsize);
        out->usable_bytes = (int64_t)(st.f_bavail * st.f_frsize);
    }
    return OK;
}
