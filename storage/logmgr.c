/* storage/logmgr.c - the life of the log directories: opening them, and whose they are. */
#include "storage/logmgr_impl.h"

#include "base/log.h"
#include "storage/cleaner.h"
#include "storage/open_files.h"
#include "storage/syncer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* ---- open ---------------------------------------------------------------------------------------------------- */

/* What the operator must decide about, and what will be the same for every directory. */
static bool is_fatal(int rc)
{
    return rc == ERR_BUSY || rc == ERR_CORRUPT || rc == ERR_VERSION || rc == ERR_NOMEM || rc == ERR_AGAIN;
}

static int open_one(struct logmgr *m, size_t i, const char *path)
{
    struct mdir *md = &m->dirs[i];
    int rc;

    md->m = m;
    lock_init(&md->checkpoint, LOCK_checkpoint);
    m->dirs_n++;
    rc = logdir_open(&md->d, i, path, &m->opts);
    md->d.files = m->files;
    if (rc == OK)
        rc = syncer_new(&md->d.syncer, &md->d, logmgr_after_round, md);
    if (rc == OK || is_fatal(rc))
        return rc;
    if (i == 0) {
        log_error("log directory %s is the first of log.dirs and holds the metadata store: the broker cannot do "
                  "without it", path);
        return rc;
    }
    log_error("log directory %s is offline: its partitions cannot be used until it is mended and the broker restarted",
              path);
    atomic_store(&md->d.offline, true);
    md->absent = md->offline_told = true;
    return OK;
}

/* Two paths may lead to one directory; its lock does not tell, since both are ours. */
static int check_distinct(struct logmgr *m)
{
    struct stat a, b;

    for (size_t i = 0; i < m->dirs_n; i++)
        for (size_t k = i + 1; k < m->dirs_n; k++) {
            const struct logdir *x = &m->dirs[i].d, *y = &m->dirs[k].d;
            if (x->fd < 0 || y->fd < 0 || fstat(x->fd, &a) != 0 || fstat(y->fd, &b) != 0 || a.st_dev != b.st_dev ||
                a.st_ino != b.st_ino)
                continue;
            log_error("log.dirs: %s and %s are the same directory; name it once", x->path, y->path);
            return ERR_INVALID;
        }
    return OK;
}

/* All directories that know who they belong to must say the same. */
static int gather_identity(struct logmgr *m)
{
    const struct logdir *with_id = NULL, *with_cluster = NULL;

    for (size_t i = 0; i < m->dirs_n; i++) {
        const struct logdir *d = &m->dirs[i].d;
        if (!d->has_meta || logdir_offline(d))
            continue;
        if (d->meta.broker_id >= 0 && with_id != NULL && with_id->meta.broker_id != d->meta.broker_id) {
            log_error("log directories %s and %s are of two brokers: " META_PROPERTIES " has broker.id=%" PRId32
                      " in the first and broker.id=%" PRId32 " in the second; take the one that is not this broker's "
                      "out of log.dirs", with_id->path, d->path, with_id->meta.broker_id, d->meta.broker_id);
            return ERR_INVALID;
        }
        if (d->meta.cluster_id[0] != '\0' && with_cluster != NULL &&
            strcmp(with_cluster->meta.cluster_id, d->meta.cluster_id) != 0) {
            log_error("log directories %s and %s are of two clusters: " META_PROPERTIES " has cluster.id=%s in the "
                      "first and cluster.id=%s in the second; take the one that is not this cluster's out of log.dirs",
                      with_cluster->path, d->path, with_cluster->meta.cluster_id, d->meta.cluster_id);
            return ERR_INVALID;
        }
        if (d->meta.broker_id >= 0 && with_id == NULL)
            with_id = d;
        if (d->meta.cluster_id[0] != '\0' && with_cluster == NULL)
            with_cluster = d;
    }
    m->identity.broker_id = with_id != NULL ? with_id->meta.broker_id : -1;
    if (with_cluster != NULL)
        memcpy(m->identity.cluster_id, with_cluster->meta.cluster_id, sizeof m->identity.cluster_id);
    return OK;
}

int logmgr_open(const struct logmgr_opts *o, struct logmgr **out)
{
    struct logmgr *m = calloc(1, sizeof *m);
    int rc = OK;

    if (m == NULL)
        return ERR_NOMEM;
    lock_init(&m->lock, LOCK_logmgr);
    cond_init(&m->changed);
    cond_init(&m->mover_wake);
    m->opts = *o;
    m->opts.dirs = NULL;
    m->move_bytes_per_s = o->move_bytes_per_s;
    m->dirs = calloc(o->dirs_n, sizeof *m->dirs);
    rc = m->dirs != NULL ? open_files_new(&m->files, o->open_files_max) : ERR_NOMEM;
    for (size_t i = 0; i < o->dirs_n && rc == OK; i++)
        rc = open_one(m, i, o->dirs[i]);
    if (rc == OK)
        rc = check_distinct(m);
    if (rc == OK)
        rc = gather_identity(m);
    if (rc != OK)
        logmgr_free(&m);
    *out = m;
    return rc;
}

static void free_dir(struct mdir *md)
{
    syncer_free(&md->d.syncer);
    for (size_t i = atomic_load(&md->next); i < md->found_n; i++)
        if (md->found[i]->state == LOG_GONE)
            free(md->found[i]);
    free(md->found);
    free(md->threads);
    lock_fini(&md->checkpoint);
}

void logmgr_free(struct logmgr **mp)
{
    struct logmgr *m = *mp;
    struct log_entry *e, *tmp;

    if (m == NULL)
        return;
    cleaner_free(&m->cleaner);
    logmgr_stop_loading(m);
    mover_stop(m);
    for (size_t i = 0; i < m->dirs_n; i++)      /* they look at moves; not stopped where the manager was not */
        if (m->dirs[i].d.syncer != NULL)
            syncer_stop(m->dirs[i].d.syncer);
    moves_free(m);
    for (size_t i = 0; i < m->dirs_n; i++)
        free_dir(&m->dirs[i]);
    HASH_ITER(hh, m->logs, e, tmp) {
        HASH_DEL(m->logs, e);
        plog_unref(&e->log);
        free(e);
    }
    for (size_t i = 0; i < m->dirs_n; i++)
        logdir_close(&m->dirs[i].d);
    free(m->dirs);
    open_files_free(&m->files);
    cond_fini(&m->mover_wake);
    cond_fini(&m->changed);
    lock_fini(&m->lock);
    free(m);
    *mp = NULL;
}

/* ---- whose they are ------------------------------------------------------------------------------------------ */

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
    bool other_broker = meta->broker_id >= 0 && meta->broker_id != broker_id;
    bool other_cluster = meta->cluster_id[0] != '\0' && strcmp(meta->cluster_id, cluster_id) != 0;

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

static int write_identity(struct logmgr *m, struct mdir *md)
{
    struct logdir *d = &md->d;
    int rc;

    if (d->has_meta && d->meta.broker_id >= 0 && d->meta.cluster_id[0] != '\0')
        return OK;
    d->meta.broker_id = m->identity.broker_id;
    memcpy(d->meta.cluster_id, m->identity.cluster_id, sizeof d->meta.cluster_id);
    rc = meta_properties_write(d->fd, &d->meta);
    d->has_meta = rc == OK;
    if (rc == OK || d->index == 0) {
        if (rc != OK)
            log_error("%s/" META_PROPERTIES ": cannot be written: %s; check the rights and the room on the disk",
                      d->path, err_text(rc));
        return rc;
    }
    rc = logdir_check(d, rc, "writing", META_PROPERTIES);
    if (rc == ERR_OFFLINE) {
        md->absent = md->offline_told = true;
        return OK;
    }
    log_error("%s/" META_PROPERTIES ": cannot be written: %s; check the room on the disk", d->path, err_text(rc));
    return rc;
}

int logmgr_identify(struct logmgr *m, int32_t broker_id, const char *cluster_id)
{
    for (size_t i = 0; i < m->dirs_n; i++)
        if (m->dirs[i].d.has_meta && !logdir_offline(&m->dirs[i].d))
            TRY(check_owner(m, &m->dirs[i].d, broker_id, cluster_id));
    m->identity.broker_id = broker_id;
    (void)snprintf(m->identity.cluster_id, sizeof m->identity.cluster_id, "%s", cluster_id);
    for (size_t i = 0; i < m->dirs_n; i++)
        if (!logdir_offline(&m->dirs[i].d))
            TRY(write_identity(m, &m->dirs[i]));
    return OK;
}

void logmgr_on_offline(struct logmgr *m, logmgr_offline_fn *fn, void *arg)
{
    m->offline_fn = fn;
    m->offline_arg = arg;
}

void logmgr_on_ready(struct logmgr *m, logmgr_ready_fn *fn, void *arg)
{
    m->ready_fn = fn;
    m->ready_arg = arg;
}

/* ---- room ---------------------------------------------------------------------------------------------------- */

bool logmgr_has_room(const struct logmgr *m)
{
    for (size_t i = 0; m != NULL && i < m->dirs_n; i++)
        if (!logdir_offline(&m->dirs[i].d) && !space_full(&m->dirs[i].d))
            return true;
    return m == NULL;
}

/* ---- directories --------------------------------------------------------------------------------------------- */

size_t logmgr_dirs(const struct logmgr *m)
{
    return m->dirs_n;
}

int logmgr_dir(struct logmgr *m, size_t i, struct logmgr_dir *out)
{
    const struct logdir *d;

    if (i >= m->dirs_n)
        return ERR_RANGE;
    d = &m->dirs[i].d;
    *out = (struct logmgr_dir){ .path = d->path, .offline = logdir_offline(d), .total_bytes = -1, .usable_bytes = -1 };
    if (!out->offline && fio_space(d->fd, &out->usable_bytes, &out->total_bytes) != OK)
        out->usable_bytes = out->total_bytes = -1;
    return OK;
}
