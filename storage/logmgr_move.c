/* storage/logmgr_move.c - moving logs between directories: what is asked, what is found at the start, and the thread;
 * the copying is in logmgr_copy.c.
 *
 *   asked for    a struct log_move is put in the list, and <t>-<p>.<32 hex>-future made in the new directory, before
 *                that is answered: by it the next start knows of the move
 *   copying      the directory is filled with what the log has, batch by batch, while the log is appended to and read;
 *                where the log was cut, the copy is cut too (by epochs)
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
#include "storage/killpoint.h"
#include "storage/syncer.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

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
void move_drop(struct log_move *mv)
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
int mdir_put_away(struct mdir *md, const char *dir_name, const char *name, size_t topic_len, int64_t delay_ms)
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

void move_mark_path(const char *name, char out[PATH_MAX])
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
    move_mark_path(name, path);
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

    move_mark_path(name, path);
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
void move_retire(struct log_move *mv)
{
    struct plog *l = mv->log, *old = mv->from;
    struct mdir *md = mv->retire;
    int64_t delay_ms;

    mv->retire = NULL;
    lock_take(&old->lock);
    old->deleted = true;
    lock_drop(&old->lock);
    log_let_go(&md->d, old);
    lock_take(&l->lock);                /* settings may be changed meanwhile */
    delay_ms = l->opts.file_delete_delay_ms;
    lock_drop(&l->lock);
    if (mdir_put_away(md, l->name, l->name, l->topic_len, delay_ms) != OK)
        log_error("%s: moved to %s, but the old directory in %s cannot be removed; remove it by hand", l->name,
                  mv->to->d.path, md->d.path);
}

void move_cancel(struct log_move *mv)
{
    struct log_entry *e = mv->e;
    bool swapped = mv->log != NULL && !atomic_load(&mv->log->future);
    int rc = OK;

    lock_assert(&mv->m->lock);
    if (mv->retire != NULL)
        move_retire(mv);
    if (mv->log != NULL && !swapped) {
        lock_take(&mv->log->lock);
        atomic_store_explicit(&mv->log->closed, true, memory_order_release);
        mv->log->deleted = true;
        rc = mdir_put_away(mv->to, mv->log->dir_name, e->name, e->topic_len, 0);
        lock_drop(&mv->log->lock);
        log_let_go(&mv->to->d, mv->log);
    } else if (mv->dir_name != NULL) {
        rc = mdir_put_away(mv->to, mv->dir_name, e->name, e->topic_len, 0);
    }
    if (rc == OK && mv->marked && !swapped)
        rc = mark_remove(e->dir, e->name);
    if (rc != OK)
        log_warn("%s: what its move to %s has left over cannot be removed: %s; it may go on at the next start", e->name,
                 mv->to->d.path, fio_text(rc));
    e->move = NULL;
    mv->e = NULL;
    cond_signal(&mv->m->mover_wake);
}

/* Under the lock. */
int move_make_dir(struct log_move *mv)
{
    struct uuid unique = uuid_random();
    char dir_name[LOG_NAME_MAX], hex[2 * sizeof unique.b + 1];
    int rc;

    for (size_t i = 0; i < sizeof unique.b; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", unique.b[i]);
    (void)snprintf(dir_name, sizeof dir_name, "%.215s.%s-future", mv->e->name, hex);
    mv->dir_name = strdup(dir_name);
    rc = mv->dir_name == NULL ? ERR_NOMEM
                              : logdir_check(&mv->to->d, fio_mkdir(mv->to->d.fd, dir_name), "making", dir_name);
    if (rc != OK) {
        free(mv->dir_name);
        mv->dir_name = NULL;
    }
    mv->empty = rc == OK;
    return rc;
}

/* Under the lock. */
static int begin_move(struct logmgr *m, struct log_entry *e, struct mdir *to)
{
    struct log_move *mv;
    int rc;

    if (strlen(e->name) + strlen(".-future") + 32 > FILE_NAME_MAX)
        return ERR_TOO_LARGE;
    for (size_t i = 0; i < m->dirs_n; i++)
        if (logdir_offline(&m->dirs[i].d))
            return ERR_OFFLINE;
    mv = move_new(m, to, e);
    rc = mv != NULL ? move_make_dir(mv) : ERR_NOMEM;
    if (rc != OK) {
        if (mv != NULL)
            move_drop(mv);
        return rc;
    }
    KILL_POINT("move.asked");
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

/* ---- the thread -------------------------------------------------------------------------------------------------- */

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

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* What was copied counts for all moves together. Under the lock. */
static void count_copied(struct logmgr *m, size_t bytes)
{
    int64_t now = mono_ns();
    double ns;

    if (m->move_bytes_per_s == INT64_MAX || bytes == 0)
        return;
    ns = (double)bytes / (double)(m->move_bytes_per_s > 0 ? m->move_bytes_per_s : 1) * 1e9;
    if (m->move_free_ns < now)
        m->move_free_ns = now;
    m->move_free_ns += ns < 1e17 ? (int64_t)ns : (int64_t)1e17;
}

void mover_set_rate(struct logmgr *m, int64_t bytes_per_s)
{
    lock_take(&m->lock);
    if (m->move_bytes_per_s != bytes_per_s)
        m->move_free_ns = 0;
    m->move_bytes_per_s = bytes_per_s;
    cond_signal(&m->mover_wake);
    lock_drop(&m->lock);
}

/* The first that is due goes to the end of the list; *wake_ns: when to look again. Under the lock. */
static struct log_move *next_move(struct logmgr *m, int64_t *wake_ns)
{
    int64_t now = mono_ns();
    struct log_move *mv;

    *wake_ns = INT64_MAX;
    DL_FOREACH(m->moves, mv) {
        if (mv->e == NULL || (mv->due_ns <= now && m->move_free_ns <= now)) {       /* or to be freed */
            DL_DELETE(m->moves, mv);
            DL_APPEND(m->moves, mv);
            return mv;
        }
        *wake_ns = least(*wake_ns, mv->due_ns > m->move_free_ns ? mv->due_ns : m->move_free_ns);
    }
    return NULL;
}

/* Called and left with the lock held. */
static void turn(struct logmgr *m, struct log_move *mv)
{
    struct plog *from = NULL;
    size_t copied;
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
    mv->copied = 0;
    lock_drop(&m->lock);
    rc = move_work(mv);
    copied = mv->copied;
    if (rc == OK && mv->retire != NULL) {
        move_finish(mv);
        plog_unref(&from);
        lock_take(&m->lock);
        count_copied(m, copied);
        return;
    }
    lock_take(&m->lock);
    count_copied(m, copied);
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
