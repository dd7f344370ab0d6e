/* storage/logmgr_move.c - moving logs between directories.
 *
 *   asked for    a struct log_move is put in the list
 *   copying      <t>-<p>.<32 hex>-future is made in the new directory and filled with what the log has, batch by batch,
 *                while the log is appended to and read; where the log was cut, the copy is cut too (by epochs)
 *   caught up    the copy is made durable; a mark in the old directory, durable too, says where the copy is
 *   swapped      nobody may append for a moment: the little that is missing is copied, the copy's directory gets the
 *                plain name, and the copy takes the log's place in the map and with those who use it
 *   over         the new directory is durable with all that is in it, then the old one is renamed to ...-delete
 *
 * Dying anywhere is harmless. With the mark and both directories there under the plain name, the swap was done, and the
 * marked one is the rest; with the mark and no copy of that name, it was not. No fsync is waited for while nobody can
 * append: until the old directory goes it has, durable, what the new one may lose with the machine, and the next start
 * takes that from there. After an unclean end a copy that was not swapped is made anew.
 */
#include "storage/logmgr_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "proto/records/batch.h"
#include "storage/killpoint.h"
#include "storage/syncer.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define CHUNK       ((size_t)1 << 20)
#define SWAP_CHUNKS 4                   /* as much may be left to copy while nobody can append */
#define WAIT_NS     INT64_C(100000000)  /* for the log to be loaded */
#define RETRY_NS    INT64_C(5000000000) /* after a full disk */
#define WISHES_MAX  10000
#define MARK_MAX    8192

static struct log_move *move_new(struct logmgr *m, struct mdir *to, struct log_entry *e)
{
    struct log_move *mv = calloc(1, sizeof *mv);

    if (mv == NULL)
        return NULL;
    *mv = (struct log_move){ .m = m, .to = to, .e = e };
    DL_APPEND(m->moves, mv);
    if (e != NULL)
        e->move = mv;
    return mv;
}

/* Under the lock. */
static void move_drop(struct log_move *mv)
{
    struct logmgr *m = mv->m;

    if (mv->e != NULL)
        mv->e->move = NULL;
    DL_DELETE(m->moves, mv);
    cond_broadcast(&m->changed);
    plog_unref(&mv->log);
    free(mv->dir_name);
    free(mv);
}

void moves_free(struct logmgr *m)
{
    struct log_move *mv, *next;
    struct log_wish *w, *after;

    DL_FOREACH_SAFE(m->moves, mv, next)
        move_drop(mv);
    HASH_ITER(hh, m->wishes, w, after) {
        HASH_DEL(m->wishes, w);
        free(w);
    }
}

/* ---- directories and marks --------------------------------------------------------------------------------------- */

/* The directory goes, later. Under the lock. */
static int put_away(struct mdir *md, const char *dir_name, const char *name, size_t topic_len, int64_t delay_ms)
{
    char to[LOG_NAME_MAX];
    int rc;

    log_delete_name(name, topic_len, to);
    rc = logdir_check(&md->d, fio_rename(md->d.fd, dir_name, to), "renaming for deletion", dir_name);
    if (rc == OK) {
        logdir_trash(&md->d, to, true, delay_ms);
        syncer_note_dir(md->d.syncer);
        atomic_fetch_add(&md->deletions, 1);
    }
    return rc == ERR_NOENT ? OK : rc;
}

static void mark_path(const char *name, char out[PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%s/" MOVED_MARK, name);
}

/* ERR_NOENT: there is none. *to: the directory that the mark names; NULL: it is none of ours. */
static int mark_read(struct mdir *md, const char *name, struct mdir **to)
{
    struct logmgr *m = md->m;
    char path[PATH_MAX];
    uint8_t *text;
    size_t n;

    *to = NULL;
    mark_path(name, path);
    TRY(fio_read_file(md->d.fd, path, MARK_MAX, &text, &n));
    for (size_t i = 0; i < m->dirs_n; i++)
        if (strlen(m->dirs[i].d.path) == n && memcmp(m->dirs[i].d.path, text, n) == 0)
            *to = &m->dirs[i];
    free(text);
    return OK;
}

static int mark_remove(struct mdir *md, const char *name)
{
    char path[PATH_MAX];

    mark_path(name, path);
    return fio_unlink(md->d.fd, path);
}

static bool is_rest(struct mdir *md, struct mdir *other, const char *name)
{
    struct mdir *to;

    return mark_read(md, name, &to) == OK && to == other;
}

struct mdir *move_rest(struct mdir *a, struct mdir *b, const char *name)
{
    return is_rest(a, b, name) ? a : is_rest(b, a, name) ? b : NULL;
}

int move_check_mark(struct mdir *md, const char *name)
{
    struct mdir *to;
    int rc = mark_read(md, name, &to);

    if (rc == ERR_NOENT)
        return OK;
    TRY(rc);
    if (to != NULL && logdir_offline(&to->d)) {
        log_error("%s/%s: was about to be replaced by its copy in %s when the broker ended, and that directory is "
                  "offline: whether it was cannot be told, so the partition is offline. Mend %s, or remove "
                  "%s/" MOVED_MARK " to take this one", md->d.path, name, to->d.path, to->d.path, name);
        return ERR_OFFLINE;
    }
    TRY(mark_remove(md, name));
    return fio_sync_path(md->d.fd, name, true);
}

/* ---- asking for a move ------------------------------------------------------------------------------------------- */

/* Under the lock. */
static void retire(struct log_move *mv)
{
    const struct plog *l = mv->log;
    struct mdir *md = mv->retire;
    struct plog *old = mv->from;

    mv->retire = NULL;
    lock_take(&old->lock);
    old->deleted = true;
    lock_drop(&old->lock);
    if (put_away(md, l->name, l->name, l->topic_len, l->opts.file_delete_delay_ms) != OK)
        log_error("%s: moved to %s, but the old directory in %s cannot be removed; remove it by hand", l->name,
                  mv->to->d.path, md->d.path);
}

void move_cancel(struct log_move *mv)
{
    struct log_entry *e = mv->e;
    bool swapped = mv->log != NULL && !atomic_load(&mv->log->future);

    lock_assert(&mv->m->lock);
    if (mv->retire != NULL)
        retire(mv);
    if (mv->log != NULL && !swapped) {
        lock_take(&mv->log->lock);
        atomic_store_explicit(&mv->log->closed, true, memory_order_release);
        mv->log->deleted = true;
        (void)put_away(mv->to, mv->log->dir_name, e->name, e->topic_len, 0);
        lock_drop(&mv->log->lock);
    } else if (mv->dir_name != NULL) {
        (void)put_away(mv->to, mv->dir_name, e->name, e->topic_len, 0);
    }
    if (mv->marked && !swapped && mark_remove(e->dir, e->name) != OK)
        log_warn("%s/%s/" MOVED_MARK ": cannot be removed; the next start does it", e->dir->d.path, e->name);
    e->move = NULL;
    mv->e = NULL;
    cond_signal(&mv->m->mover_wake);
}

/* Under the lock. */
static int begin_move(struct logmgr *m, struct log_entry *e, struct mdir *to)
{
    if (strlen(e->name) + strlen(".-future") + 32 > FILE_NAME_MAX)
        return ERR_TOO_LARGE;
    for (size_t i = 0; i < m->dirs_n; i++)
        if (logdir_offline(&m->dirs[i].d))
            return ERR_OFFLINE;
    if (move_new(m, to, e) == NULL)
        return ERR_NOMEM;
    log_info("%s: its move from %s to %s begins", e->name, e->dir->d.path, to->d.path);
    cond_signal(&m->mover_wake);
    return OK;
}

int logmgr_move(struct logmgr *m, struct str topic, int32_t partition, size_t dir)
{
    struct log_entry *e;
    int rc;

    if (dir >= m->dirs_n)
        return ERR_RANGE;
    lock_take(&m->lock);
    while ((e = logmgr_lookup(m, topic, partition)) != NULL && e->move != NULL && e->move->retire != NULL)
        cond_wait(&m->changed, &m->lock);       /* one that is all but over */
    rc = e == NULL ? ERR_NOENT : e->state == LOG_FAILED || logdir_offline(&e->dir->d) ? ERR_OFFLINE
                                                        : e->state == LOG_READY       ? OK
                                                                                      : ERR_BUSY;
    if (rc == OK && e->move != NULL && e->move->to != &m->dirs[dir]) {
        log_info("%s: its move to %s is given up", e->name, e->move->to->d.path);
        move_cancel(e->move);
    }
    if (rc == OK && e->move == NULL && e->dir != &m->dirs[dir])
        rc = begin_move(m, e, &m->dirs[dir]);
    lock_drop(&m->lock);
    return rc;
}

void logmgr_prefer(struct logmgr *m, struct str topic, int32_t partition, size_t dir)
{
    char name[LOG_NAME_MAX];
    int n = snprintf(name, sizeof name, "%.*s-%" PRId32, STR_ARG(topic), partition);
    struct log_wish *w = NULL;

    if (n <= 0 || n >= LOG_NAME_MAX || dir >= m->dirs_n)
        return;
    lock_take(&m->lock);
    HASH_FIND(hh, m->wishes, name, (size_t)n, w);
    if (w == NULL && HASH_COUNT(m->wishes) < WISHES_MAX && (w = calloc(1, sizeof *w + (size_t)n + 1)) != NULL) {
        memcpy(w->name, name, (size_t)n);
        HASH_ADD_KEYPTR(hh, m->wishes, w->name, (size_t)n, w);
    }
    if (w != NULL)
        w->dir = &m->dirs[dir];
    lock_drop(&m->lock);
}

struct mdir *wish_take(struct logmgr *m, const char *name)
{
    struct log_wish *w = NULL;
    struct mdir *md;

    HASH_FIND(hh, m->wishes, name, strlen(name), w);
    if (w == NULL)
        return NULL;
    md = w->dir;
    HASH_DEL(m->wishes, w);
    free(w);
    return md;
}

int logmgr_list_futures(struct logmgr *m, struct plog ***out, size_t *n)
{
    struct log_move *mv;
    struct plog **v;
    size_t total = 0;

    *n = 0;
    lock_take(&m->lock);
    DL_FOREACH(m->moves, mv)
        total++;
    v = *out = calloc(total + 1, sizeof(struct plog *));
    if (v != NULL)
        DL_FOREACH(m->moves, mv)
            if (mv->e != NULL && mv->log != NULL && atomic_load(&mv->log->future))
                v[(*n)++] = plog_ref(mv->log);
    lock_drop(&m->lock);
    return v != NULL ? OK : ERR_NOMEM;
}

void logmgr_on_swap(struct logmgr *m, logmgr_swap_fn *fn, void *arg)
{
    m->swap_fn = fn;
    m->swap_arg = arg;
}

/* ---- found at the start ------------------------------------------------------------------------------------------ */

void move_found(struct mdir *md, const char *name)
{
    struct log_move *mv = move_new(md->m, md, NULL);

    if (mv != NULL && (mv->dir_name = strdup(name)) == NULL)
        move_drop(mv);
}

/* The log that a found copy is of; NULL: none of ours, or it needs no copy there. */
static struct log_entry *copied_log(struct logmgr *m, const struct log_move *mv)
{
    const char *dot = strrchr(mv->dir_name, '.');
    char name[LOG_NAME_MAX];
    struct log_entry *e;
    int32_t partition;
    struct str topic;

    if (dot == NULL || snprintf(name, sizeof name, "%.*s", (int)(dot - mv->dir_name), mv->dir_name) >= LOG_NAME_MAX ||
        !log_name_parse(name, &topic, &partition))
        return NULL;
    e = logmgr_lookup(m, topic, partition);
    return e != NULL && e->dir != mv->to && e->move == NULL ? e : NULL;
}

void moves_resume(struct logmgr *m)
{
    struct log_move *mv, *next;

    DL_FOREACH_SAFE(m->moves, mv, next) {
        struct log_entry *e = copied_log(m, mv);
        if (e == NULL) {
            log_warn("%s/%s: the unfinished copy of a partition that is not there, or needs none; it is left as it is",
                     mv->to->d.path, mv->dir_name);
            move_drop(mv);
            continue;
        }
        mv->e = e;
        e->move = mv;
        m->moves_found++;
        log_info("%s: its move from %s to %s goes on%s", e->name, e->dir->d.path, mv->to->d.path,
                 mv->to->d.was_clean ? "" : ", from the beginning");
    }
}

/* ---- copying ----------------------------------------------------------------------------------------------------- */

/* Takes over l. If the move was given up meanwhile, nobody else knows of the copy: it goes. */
static int set_log(struct log_move *mv, struct plog *l)
{
    int rc = OK;

    lock_take(&mv->m->lock);
    if (mv->e == NULL) {
        l->deleted = true;
        rc = put_away(mv->to, l->dir_name, l->name, l->topic_len, 0);
        plog_unref(&l);
        rc = rc == OK ? ERR_CLOSED : rc;
    }
    mv->log = l;
    free(mv->dir_name);
    mv->dir_name = NULL;
    lock_drop(&mv->m->lock);
    return rc;
}

/* A copy that was found is opened when it was closed cleanly. */
static int reopen_copy(struct log_move *mv)
{
    struct plog *from = mv->from;
    struct load_result r;
    struct plog *l;
    int rc;

    if (mv->anew || !mv->to->d.was_clean) {
        lock_take(&mv->m->lock);
        rc = mv->e == NULL ? ERR_CLOSED
                           : put_away(mv->to, mv->dir_name, from->name, from->topic_len, 0);
        free(mv->dir_name);
        mv->dir_name = NULL;
        lock_drop(&mv->m->lock);
        return rc;
    }
    l = plog_new_future(&mv->to->d, plog_topic(from), from->partition, &from->opts, mv->dir_name);
    if (l == NULL)
        return ERR_NOMEM;
    rc = plog_load(l, &r);
    if (rc == OK)
        return set_log(mv, l);
    log_warn("%s/%s: cannot be opened: %s; the copy is made anew", mv->to->d.path, mv->dir_name, fio_text(rc));
    plog_unref(&l);
    mv->anew = true;
    return rc == ERR_CLOSED ? rc : OK;
}

static int make_copy(struct log_move *mv)
{
    struct uuid unique = uuid_random(), id = plog_topic_id(mv->from);
    char dir_name[LOG_NAME_MAX], hex[2 * sizeof unique.b + 1];
    struct log_opts opts;
    struct plog *l;
    int rc;

    for (size_t i = 0; i < sizeof unique.b; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", unique.b[i]);
    (void)snprintf(dir_name, sizeof dir_name, "%.200s.%s-future", mv->from->name, hex);
    lock_take(&mv->from->lock);
    opts = mv->from->opts;
    lock_drop(&mv->from->lock);
    l = plog_new_future(&mv->to->d, plog_topic(mv->from), mv->from->partition, &opts, dir_name);
    if (l == NULL)
        return ERR_NOMEM;
    rc = mdir_refresh(mv->to);          /* no checkpoint there knows an older log of that name */
    if (rc == OK)
        rc = plog_create(l, false);
    if (rc == OK && !uuid_is_zero(id))
        rc = plog_set_topic_id(l, id);
    if (rc == OK)
        return set_log(mv, l);
    plog_unref(&l);
    return rc;
}

/* What the copy has above `from`, or of another history, goes. */
static int agree(struct log_move *mv)
{
    struct plog *copy = mv->log, *from = mv->from;
    uint32_t cuts;

    lock_take(&from->lock);
    cuts = from->cuts;
    lock_drop(&from->lock);
    while (!mv->agreed || cuts != mv->cuts || plog_offsets(copy).leo > plog_offsets(from).leo) {
        int64_t leo = plog_offsets(copy).leo, to = plog_offsets(from).leo;
        int32_t epoch = plog_latest_epoch(copy);
        struct plog_epoch_end end = { -1, -1 };

        if (epoch >= 0)
            end = plog_epoch_end(from, epoch);
        if (epoch >= 0 && end.epoch < 0)
            to = plog_offsets(from).start;      /* nothing in common */
        else if (epoch >= 0 && end.end_offset < to)
            to = end.end_offset;
        mv->agreed = epoch < 0 || end.epoch == epoch || end.epoch < 0;
        mv->cuts = cuts;
        if (to < leo)
            TRY(plog_truncate(copy, to));
    }
    return OK;
}

/* Whole batches at the beginning of the bytes; *first is the first one's base offset, -1 if it does not tell. */
static size_t whole_batches(const uint8_t *p, size_t n, int64_t *first)
{
    struct batch_iter it;
    size_t whole = 0;

    *first = -1;
    batch_iter_init(&it, (struct bytes){ (uint8_t *)(uintptr_t)p, n });
    while (batch_iter_next(&it)) {
        if (whole == 0)
            *first = it.head.base_offset;
        whole = it.pos;
    }
    return whole;
}

static int copy_bytes(struct log_move *mv, const struct plog_read *r)
{
    struct plog *copy = mv->log;
    struct plog_appended out;
    uint8_t *p = malloc(r->records.len);
    int64_t first;
    size_t n;
    int rc = p != NULL ? OK : ERR_NOMEM;

    if (rc == OK)
        rc = fio_pread_all(r->records.file->fd, p, r->records.len, r->records.pos);
    if (rc == OK) {
        n = whole_batches(p, r->records.len, &first);
        /* The log begins, or the copy ends, in the midst of a batch. */
        if (n > 0 && first >= 0 && first < plog_offsets(copy).leo)
            rc = plog_truncate_all(copy, first);
        if (rc == OK)
            rc = n > 0 ? plog_append_follower(copy, (struct bytes){ p, n }, &out) : ERR_CORRUPT;
    }
    free(p);
    return rc;
}

/* One chunk, if there is one. */
static int copy_chunk(struct log_move *mv, bool *caught_up)
{
    struct plog_offsets have, want;
    struct plog_read r;
    int rc;

    *caught_up = false;
    have = plog_offsets(mv->log);
    want = plog_offsets(mv->from);
    if (have.leo < want.start) {
        TRY(plog_truncate_all(mv->log, want.start));
        have = plog_offsets(mv->log);
    }
    *caught_up = have.leo >= want.leo;
    if (*caught_up)
        return OK;
    rc = plog_read(mv->from, have.leo, INT64_MAX, CHUNK, true, &r);
    if (rc == ERR_RANGE)                /* retention was faster */
        return OK;
    TRY(rc);
    if (slice_is_null(r.records))
        return OK;
    rc = copy_bytes(mv, &r);
    plog_read_done(&r);
    return rc;
}

static int copy_some(struct log_move *mv, bool *caught_up)
{
    TRY(agree(mv));
    return copy_chunk(mv, caught_up);
}

/* Everything that the copy has is durable, and so is its directory. */
static int sync_copy(struct log_move *mv)
{
    struct sync_item it;
    int rc = plog_sync_begin(mv->log, true, &it);

    if (rc == OK)
        rc = plog_sync_files(&it);
    if (rc == OK)
        rc = plog_sync_rename(&it);
    if (rc == OK)
        rc = plog_sync_dir(&it);
    if (rc == OK)
        rc = logdir_check(&mv->to->d, fio_sync_path(mv->to->d.fd, ".", true), "fsync", ".");
    if (rc == OK)
        plog_sync_done(&it);
    for (enum checkpoint c = 0; c < CHECKPOINT_OF_TXNS && rc == OK; c++)
        rc = mdir_checkpoint(mv->to, c, true);
    plog_sync_end(&it, rc == OK);
    return rc;
}

/* ---- the swap ---------------------------------------------------------------------------------------------------- */

/* What may be answered for and committed in the log, may be in the copy: until that is durable, the log is there. */
static void follow_offsets(struct log_move *mv)
{
    struct plog_offsets o = plog_offsets(mv->from);
    struct plog *copy = mv->log;
    int64_t safe;

    lock_take(&mv->from->view);
    safe = mv->from->safe;
    lock_drop(&mv->from->view);
    lock_take(&copy->view);
    safe = safe < copy->off.leo ? safe : copy->off.leo;
    copy->safe = safe > copy->safe ? safe : copy->safe;
    lock_drop(&copy->view);
    (void)plog_set_hw(copy, o.hw, NULL);
    if (plog_set_start(mv->log, o.start) != OK)
        return;                         /* the copy has not come so far yet */
}

/* Under the lock. */
static int change_places(struct log_move *mv)
{
    struct log_entry *e = mv->e;
    struct plog *copy = mv->log;
    int rc;

    if (e == NULL || e->state != LOG_READY || e->log != mv->from)
        return ERR_CLOSED;
    rc = logdir_check(&mv->to->d, fio_rename(mv->to->d.fd, copy->dir_name, copy->name), "renaming", copy->dir_name);
    TRY(rc);
    KILL_POINT("move.renamed");
    lock_take(&copy->lock);
    copy->place.dir = copy->name;
    copy->files_dirty = true;
    lock_drop(&copy->lock);
    atomic_store(&copy->future, false);
    lock_take(&mv->from->lock);
    atomic_store_explicit(&mv->from->closed, true, memory_order_release);
    lock_drop(&mv->from->lock);
    mv->retire = e->dir;
    DL_DELETE(e->dir->logs, e);
    e->dir->logs_n--;
    e->dir = mv->to;
    DL_APPEND(e->dir->logs, e);
    e->dir->logs_n++;
    plog_unref(&e->log);
    e->log = plog_ref(copy);
    return OK;
}

int logmgr_swap(struct log_move *mv, const struct plog *old, struct plog **now)
{
    struct log_opts opts;
    bool caught_up = false;
    int rc;

    *now = NULL;
    if (old != mv->from)
        return ERR_CLOSED;
    for (int i = 0; i < SWAP_CHUNKS && !caught_up; i++)
        TRY(copy_some(mv, &caught_up));
    if (!caught_up)
        return ERR_AGAIN;
    lock_take(&mv->from->lock);
    opts = mv->from->opts;
    lock_drop(&mv->from->lock);
    plog_set_opts(mv->log, &opts);
    follow_offsets(mv);
    if (plog_offsets(mv->log).hw < plog_offsets(mv->from).hw)
        return ERR_AGAIN;
    lock_take(&mv->m->lock);
    rc = change_places(mv);
    lock_drop(&mv->m->lock);
    if (rc == OK)
        *now = plog_ref(mv->log);
    return rc;
}

static int mark_old(struct log_move *mv)
{
    struct plog *from = mv->from;
    const char *path = mv->to->d.path;
    char mark[PATH_MAX];

    mark_path(from->name, mark);
    TRY(logdir_check(from->dir, fio_replace_file(from->dir->fd, from->name, mark, path, strlen(path), true),
                     "writing", mark));
    mv->marked = true;
    KILL_POINT("move.marked");
    return OK;
}

/* The copy has its new name; now it is durable, and the old directory goes. */
static void finish(struct log_move *mv)
{
    struct logmgr *m = mv->m;
    struct plog *copy = mv->log;
    int rc = sync_copy(mv);

    KILL_POINT("move.synced");
    lock_take(&copy->lock);
    plog_dirty(copy);
    plog_flush_due(copy);
    lock_drop(&copy->lock);
    lock_take(&m->lock);
    if (rc == OK && mv->retire != NULL)
        retire(mv);
    mv->retire = NULL;
    if (rc == OK)
        log_info("%s: moved to %s", copy->name, mv->to->d.path);
    else if (rc != ERR_CLOSED)
        log_error("%s: moved to %s, which cannot be made durable: %s; the old directory stays until the next start",
                  copy->name, mv->to->d.path, fio_text(rc));
    move_drop(mv);
    lock_drop(&m->lock);
}

static int try_swap(struct log_move *mv)
{
    struct logmgr *m = mv->m;
    struct plog *now = NULL;

    if (!mv->marked) {                  /* the most of it: then it catches up again, and that is quick */
        TRY(sync_copy(mv));
        KILL_POINT("move.copied");
        return mark_old(mv);
    }
    if (m->swap_fn != NULL)
        return m->swap_fn(m->swap_arg, mv, plog_topic(mv->from), mv->from->partition);
    TRY(logmgr_swap(mv, mv->from, &now));
    plog_unref(&now);
    return OK;
}

/* ---- the rest of a move that was swapped ------------------------------------------------------------------------- */

/* What the old log has above the end of the new one was lost with the machine. */
static int take_from_rest(struct mdir *rest, struct plog *l)
{
    struct log_move mv = { .m = rest->m, .to = mdir_of(rest->m, l), .log = l };
    struct load_result r;
    bool caught_up = false;
    int64_t had = plog_offsets(l).leo;
    int rc;

    mv.from = plog_new(&rest->d, plog_topic(l), l->partition, &l->opts);
    if (mv.from == NULL)
        return ERR_NOMEM;
    atomic_store(&mv.from->future, true);       /* the syncer has no business with it */
    rc = plog_load(mv.from, &r);
    while (rc == OK && !caught_up)
        rc = copy_chunk(&mv, &caught_up);
    if (rc == OK)
        follow_offsets(&mv);
    if (rc == OK && plog_offsets(l).leo > had)
        log_warn("%s: offsets %" PRId64 " to %" PRId64 " were taken from the old directory in %s", l->name, had,
                 plog_offsets(l).leo - 1, rest->d.path);
    if (rc == OK)
        rc = sync_copy(&mv);
    plog_unref(&mv.from);
    return rc;
}

void move_take_rest(struct mdir *rest, struct plog *l)
{
    const struct logdir *d = &mdir_of(rest->m, l)->d;
    int rc = OK;

    log_warn("%s: its move from %s to %s had been done but for the removal of the old directory; that is made up for",
             l->name, rest->d.path, d->path);
    if (!d->was_clean && !d->same_boot)
        rc = take_from_rest(rest, l);
    lock_take(&rest->m->lock);
    if (rc == OK)
        rc = put_away(rest, l->name, l->name, l->topic_len, 0);
    lock_drop(&rest->m->lock);
    if (rc != OK)
        log_error("%s: the old directory in %s cannot be read to its end or removed: %s; it stays, the next start "
                  "tries again", l->name, rest->d.path, fio_text(rc));
}

/* ---- the thread -------------------------------------------------------------------------------------------------- */

static int work_at(struct log_move *mv)
{
    bool caught_up = false;

    if (mv->log == NULL && mv->dir_name != NULL)
        TRY(reopen_copy(mv));
    if (mv->log == NULL)
        return mv->dir_name == NULL ? make_copy(mv) : OK;
    TRY(copy_some(mv, &caught_up));
    follow_offsets(mv);
    return caught_up ? try_swap(mv) : OK;
}

/* Under the lock, which is given up. */
static void after(struct log_move *mv, int rc)
{
    static struct log_limit limit = LOG_LIMIT(60000, 2);
    int hidden;

    if (mv->e == NULL || rc == OK)
        return;
    if (rc == ERR_AGAIN || rc == ERR_BUSY || rc == ERR_NOENT || rc == ERR_NOMEM || rc == ERR_NOSPACE) {
        mv->due_ns = mono_ns() + (rc == ERR_NOSPACE ? RETRY_NS : WAIT_NS);
        if (rc == ERR_NOSPACE && log_limit(&limit, &hidden))
            log_warn("%s: cannot be copied to %s now: %s; it is tried again", mv->e->name, mv->to->d.path,
                     fio_text(rc));
        return;
    }
    if (rc == ERR_CLOSED && logdir_stopping(&mv->to->d))
        return;
    log_error("%s: its move to %s is broken off: %s; the partition stays where it is", mv->e->name, mv->to->d.path,
              fio_text(rc));
    if (rc == ERR_OFFLINE)
        mv->due_ns = INT64_MAX;         /* the copy stays, for whoever mends the disk */
    else
        move_cancel(mv);
}

/* The first that is due goes to the end of the list; *wake_ns: when to look again. Under the lock. */
static struct log_move *next_move(struct logmgr *m, int64_t *wake_ns)
{
    int64_t now = mono_ns();
    struct log_move *mv;

    *wake_ns = INT64_MAX;
    DL_FOREACH(m->moves, mv) {
        if (mv->e == NULL || mv->due_ns <= now) {       /* or to be freed */
            DL_DELETE(m->moves, mv);
            DL_APPEND(m->moves, mv);
            return mv;
        }
        *wake_ns = mv->due_ns < *wake_ns ? mv->due_ns : *wake_ns;
    }
    return NULL;
}

/* Called and left with the lock held. */
static void turn(struct logmgr *m, struct log_move *mv)
{
    struct plog *from = NULL;
    int rc;

    if (mv->e == NULL) {
        move_drop(mv);
        return;
    }
    if (mv->e->state == LOG_READY)
        from = plog_ref(mv->e->log);
    if (from == NULL) {                 /* not open yet, or for good */
        mv->due_ns = mono_ns() + WAIT_NS;
        return;
    }
    mv->from = from;
    lock_drop(&m->lock);
    rc = work_at(mv);
    if (rc == OK && mv->retire != NULL) {
        finish(mv);
        plog_unref(&from);
        lock_take(&m->lock);
        return;
    }
    lock_take(&m->lock);
    after(mv, rc);
    mv->from = NULL;
    lock_drop(&m->lock);
    plog_unref(&from);
    lock_take(&m->lock);
}

static void *mover_main(void *arg)
{
    struct logmgr *m = arg;
    int64_t wake_ns;

    pthread_setname_np(pthread_self(), "mover");
    lock_take(&m->lock);
    while (!m->mover_stop) {
        struct log_move *mv = next_move(m, &wake_ns);
        if (mv != NULL)
            turn(m, mv);
        else if (wake_ns == INT64_MAX)
            cond_wait(&m->mover_wake, &m->lock);
        else
            (void)cond_wait_until(&m->mover_wake, &m->lock, wake_ns);
    }
    lock_drop(&m->lock);
    return NULL;
}

int mover_start(struct logmgr *m)
{
    if (m->dirs_n < 2)
        return OK;
    if (pthread_create(&m->mover, NULL, mover_main, m) != 0) {
        log_error("the thread that moves logs between directories cannot be started");
        return ERR_SYSTEM;
    }
    m->mover_runs = true;
    return OK;
}

void mover_stop(struct logmgr *m)
{
    if (!m->mover_runs)
        return;
    lock_take(&m->lock);
    m->mover_stop = true;
    cond_signal(&m->mover_wake);
    lock_drop(&m->lock);
    pthread_join(m->mover, NULL);
    m->mover_runs = false;
}
