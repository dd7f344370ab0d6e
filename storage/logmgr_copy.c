/* storage/logmgr_copy.c - the copy of a log that moves to another directory: filling it, and the moment when it takes
 * the log's place. What comes before and after, and why dying is harmless, is told in logmgr_move.c.
 *
 * All of it happens on the mover's thread, but for move_take_rest(), which a loading thread does.
 */
#include "storage/logmgr_impl.h"

#include "base/log.h"
#include "proto/records/batch.h"
#include "storage/killpoint.h"
#include "storage/syncer.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define CHUNK       ((size_t)1 << 20)
#define SWAP_CHUNKS 4                   /* as much may be left to copy while nobody can append */

/* ---- copying ----------------------------------------------------------------------------------------------------- */

/* Takes over l. If the move was given up meanwhile, nobody else knows of the copy: it goes. */
static int set_log(struct log_move *mv, struct plog *l)
{
    int rc = OK;

    lock_take(&mv->m->lock);
    if (mv->e == NULL) {
        l->deleted = true;
        rc = mdir_put_away(mv->to, l->dir_name, l->name, l->topic_len, 0);
        plog_unref(&l);
        rc = rc == OK ? ERR_CLOSED : rc;
    }
    mv->log = l;
    free(mv->dir_name);
    mv->dir_name = NULL;
    lock_drop(&mv->m->lock);
    return rc;
}

/* Nothing was put into it before the broker ended. */
static int look_whether_empty(struct log_move *mv)
{
    struct dirent *e;
    bool any = false;
    DIR *dir;
    int fd, rc;

    TRY(fio_open(mv->to->d.fd, mv->dir_name, O_RDONLY | O_DIRECTORY, &fd));
    dir = fdopendir(fd);
    if (dir == NULL) {
        fio_close(&fd);
        return ERR_NOMEM;
    }
    while ((rc = fio_next_entry(dir, &e)) == OK && e != NULL && !any)
        any = strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    (void)closedir(dir);
    mv->empty = rc == OK && !any;
    return rc;
}

/* A copy that was found is opened when it was closed cleanly. */
static int reopen_copy(struct log_move *mv)
{
    struct plog *from = mv->from;
    struct load_result r;
    struct log_opts opts;
    struct plog *l;
    int rc;

    rc = logdir_check(&mv->to->d, look_whether_empty(mv), "listing", mv->dir_name);
    if (rc == ERR_NOENT)                /* given up, or removed by hand */
        mv->anew = true;
    else if (rc != OK || mv->empty)
        return rc;
    if (mv->anew || !mv->to->d.was_clean) {
        lock_take(&mv->m->lock);
        rc = mv->e == NULL ? ERR_CLOSED
                           : mdir_put_away(mv->to, mv->dir_name, from->name, from->topic_len, 0);
        free(mv->dir_name);
        mv->dir_name = NULL;
        lock_drop(&mv->m->lock);
        return rc;
    }
    lock_take(&from->lock);
    opts = from->opts;
    lock_drop(&from->lock);
    l = plog_new_future(&mv->to->d, plog_topic(from), from->partition, &opts, mv->dir_name);
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

/* From here on the mover alone knows of the directory. */
static int take_dir_name(struct log_move *mv, char out[LOG_NAME_MAX])
{
    int rc;

    lock_take(&mv->m->lock);
    rc = mv->e == NULL ? ERR_CLOSED : mv->dir_name == NULL ? move_make_dir(mv) : OK;
    if (rc == OK) {
        (void)snprintf(out, LOG_NAME_MAX, "%s", mv->dir_name);
        free(mv->dir_name);
        mv->dir_name = NULL;
        mv->empty = false;
    }
    lock_drop(&mv->m->lock);
    return rc;
}

/* What there is of the copy goes; that there shall be one is still known after a restart. */
static void begin_again(struct log_move *mv, const char *dir_name)
{
    struct plog *from = mv->from;

    lock_take(&mv->m->lock);
    if (mdir_put_away(mv->to, dir_name, from->name, from->topic_len, 0) != OK)
        log_warn("%s/%s: a copy that was begun cannot be removed", mv->to->d.path, dir_name);
    if (mv->e != NULL && move_make_dir(mv) != OK)
        log_some(LOG_WARN, "%s: its move to %s is forgotten if the broker ends now", from->name, mv->to->d.path);
    lock_drop(&mv->m->lock);
}

static int make_copy(struct log_move *mv)
{
    struct uuid id = plog_topic_id(mv->from);
    char dir_name[LOG_NAME_MAX];
    struct log_opts opts;
    bool without_id;
    struct plog *l;
    int rc;

    TRY(take_dir_name(mv, dir_name));
    lock_take(&mv->from->lock);
    opts = mv->from->opts;
    without_id = mv->from->without_id;
    lock_drop(&mv->from->lock);
    l = plog_new_future(&mv->to->d, plog_topic(mv->from), mv->from->partition, &opts, dir_name);
    rc = l != NULL ? mdir_refresh(mv->to) : ERR_NOMEM;  /* no checkpoint there knows an older log of that name */
    if (rc == OK)
        rc = plog_create(l, false);
    if (l != NULL)
        l->without_id = without_id;
    if (rc == OK && !uuid_is_zero(id))
        rc = plog_set_topic_id(l, id);
    if (rc == OK)
        return set_log(mv, l);
    if (l != NULL)
        l->deleted = true;              /* nobody else knows of what there is of it */
    begin_again(mv, dir_name);
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
        /* Of an epoch that the log never had nothing stays, however far the one before reaches there. */
        if (!mv->agreed && plog_epoch_end(copy, end.epoch).end_offset < to)
            to = plog_epoch_end(copy, end.epoch).end_offset;
        mv->cuts = cuts;
        if (to < leo || !mv->agreed)
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
    mv->copied += r->records.len;
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
    if (slice_is_null(r.records))       /* compaction took what was there */
        return plog_skip_to(mv->log, want.leo);
    rc = copy_bytes(mv, &r);
    plog_read_done(&r);
    return rc;
}

static int copy_some(struct log_move *mv, bool *caught_up)
{
    TRY(agree(mv));
    return copy_chunk(mv, caught_up);
}

/* Everything that the copy has is durable, and so is its directory. Before the swap the checkpoints need to know only
 * where it starts, if that is in the midst of a segment. */
static int sync_copy(struct log_move *mv, bool swapped)
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
        if (swapped || c == CHECKPOINT_OF_START)
            rc = mdir_checkpoint(mv->to, c, false);
    plog_sync_end(&it, rc == OK && swapped);
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

/* A leader's epoch begins before its first batch, which alone would tell the copy of it: without it the copy could not
 * say where the epochs end that are older than this and later than its batches. */
static int follow_epoch(struct log_move *mv)
{
    int32_t epoch = plog_latest_epoch(mv->from);
    int64_t start = plog_epoch_start(mv->from, epoch);
    struct plog *copy = mv->log;
    bool changed = false;
    int rc = OK;

    lock_take(&copy->lock);
    lock_take(&copy->view);
    if (start >= 0 && epoch > epochs_latest(&copy->epochs))
        rc = epochs_assign(&copy->epochs, epoch, start, &changed);
    lock_drop(&copy->view);
    copy->epochs_dirty |= changed;
    lock_drop(&copy->lock);
    return rc;
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
    logdir_trash_renamed(&mv->to->d, copy->dir_name, copy->name);
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
    struct uuid id = plog_topic_id(mv->from);
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
    if (!uuid_is_zero(id))              /* it may have come after the copy was begun */
        TRY(plog_set_topic_id(mv->log, id));
    follow_offsets(mv);
    if (plog_offsets(mv->log).hw < plog_offsets(mv->from).hw)
        return ERR_AGAIN;
    TRY(follow_epoch(mv));
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
    int rc = OK;

    move_mark_path(from->name, mark);
    TRY(logdir_check(from->dir, fio_replace_file(from->dir->fd, from->name, mark, path, strlen(path), true),
                     "writing", mark));
    lock_take(&mv->m->lock);
    mv->marked = true;
    if (mv->e == NULL)                  /* given up while it was written */
        rc = fio_unlink(from->dir->fd, mark);
    lock_drop(&mv->m->lock);
    if (rc != OK && rc != ERR_NOENT)
        log_warn("%s: the mark of a move that was given up cannot be removed: %s; the next start does it", from->name,
                 fio_text(rc));
    KILL_POINT("move.marked");
    return OK;
}

/* The copy has its new name; now it is durable, and the old directory goes. */
void move_finish(struct log_move *mv)
{
    struct logmgr *m = mv->m;
    struct plog *copy = mv->log;
    int rc = sync_copy(mv, true);

    KILL_POINT("move.synced");
    lock_take(&copy->lock);
    plog_dirty(copy);
    plog_flush_due(copy);
    lock_drop(&copy->lock);
    lock_take(&m->lock);
    if (rc == OK && mv->retire != NULL)
        move_retire(mv);
    else if (mv->retire != NULL)
        mv->e->left = mv->retire;
    mv->retire = NULL;
    if (rc == OK)
        log_info("%s: moved to %s", copy->name, mv->to->d.path);
    else if (rc != ERR_CLOSED)
        log_error("%s: moved to %s, which cannot be made durable: %s; the old directory stays until the next move or "
                  "start", copy->name, mv->to->d.path, fio_text(rc));
    move_drop(mv);
    lock_drop(&m->lock);
}

/* The old directory that an earlier move could not let go of goes before there is another one: of three under the plain
 * name the next start could not tell which is which. */
static int finish_earlier(struct log_move *mv)
{
    struct log_move done = { .m = mv->m, .to = mdir_of(mv->m, mv->from), .log = mv->from };
    struct mdir *left;
    int rc = OK;

    lock_take(&mv->m->lock);
    left = mv->e != NULL ? mv->e->left : NULL;
    lock_drop(&mv->m->lock);
    if (left == NULL)
        return OK;
    TRY(sync_copy(&done, true));
    lock_take(&mv->m->lock);
    if (mv->e != NULL) {
        rc = mdir_put_away(left, mv->e->name, mv->e->name, mv->e->topic_len, 0);
        mv->e->left = rc == OK ? NULL : left;
    }
    lock_drop(&mv->m->lock);
    return rc;
}

static int try_swap(struct log_move *mv)
{
    struct logmgr *m = mv->m;
    struct plog *now = NULL;

    if (!mv->marked) {                  /* the most of it: then it catches up again, and that is quick */
        TRY(finish_earlier(mv));
        TRY(sync_copy(mv, false));
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
        rc = sync_copy(&mv, true);
    plog_unref(&mv.from);
    return rc;
}

void move_take_rest(struct mdir *rest, struct plog *l)
{
    struct log_entry *e;
    const struct logdir *d = &mdir_of(rest->m, l)->d;
    int rc = OK;

    log_warn("%s: its move from %s to %s had been done but for the removal of the old directory; that is made up for",
             l->name, rest->d.path, d->path);
    if (!d->was_clean && !d->same_boot)
        rc = take_from_rest(rest, l);
    lock_take(&rest->m->lock);
    if (rc == OK)
        rc = mdir_put_away(rest, l->name, l->name, l->topic_len, 0);
    e = logmgr_lookup(rest->m, plog_topic(l), l->partition);
    if (rc == OK && e != NULL)
        e->left = NULL;
    lock_drop(&rest->m->lock);
    if (rc != OK)
        log_error("%s: the old directory in %s cannot be read to its end or removed: %s; it stays until the next move "
                  "or start", l->name, rest->d.path, fio_text(rc));
}

/* ---- one turn of the mover ------------------------------------------------------------------------------------ */

/* A copy of which a truncation failed half way is of no use: another one is begun. What else failed is passed on. */
static int replace_broken(struct log_move *mv, int rc)
{
    struct plog *copy = mv->log;

    lock_take(&mv->m->lock);
    lock_take(&copy->lock);
    if (mv->e != NULL && copy->broken && rc != ERR_OFFLINE) {
        copy->deleted = true;
        rc = mdir_put_away(mv->to, copy->dir_name, mv->e->name, mv->e->topic_len, 0);
        mv->log = rc == OK ? NULL : copy;
    }
    lock_drop(&copy->lock);
    if (mv->log == NULL) {
        mv->agreed = false;
        log_let_go(&mv->to->d, copy);
        plog_unref(&copy);
        rc = move_make_dir(mv);
    }
    lock_drop(&mv->m->lock);
    return rc;
}

int move_work(struct log_move *mv)
{
    bool caught_up = false;
    int rc;

    if (mv->log == NULL && mv->dir_name != NULL && !mv->empty)
        TRY(reopen_copy(mv));
    if (mv->log == NULL)
        return mv->dir_name == NULL || mv->empty ? make_copy(mv) : OK;
    rc = copy_some(mv, &caught_up);
    if (rc != OK)
        return replace_broken(mv, rc);
    follow_offsets(mv);
    return caught_up ? try_swap(mv) : OK;
}
