/* storage/plog_roll.c - new segments begin, old ones go. */
#include "storage/plog_impl.h"

#include "base/log.h"
#include "storage/fio.h"
#include "storage/killpoint.h"
#include "storage/syncer.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- rolling ------------------------------------------------------------------------------------------------- */

static bool index_full(const struct plog *l, const struct segment *s)
{
    uint32_t offsets = (uint32_t)l->opts.segment_index_bytes / OFFSET_INDEX_ENTRY;
    uint32_t times = (uint32_t)l->opts.segment_index_bytes / TIME_INDEX_ENTRY;

    /* One time entry is kept free for the one that is added when the segment is left. */
    return s->offsets.on_file + s->offsets.n >= offsets || s->times.on_file + s->times.n + 1 >= times;
}

/* Only what is no longer in the active segment can be compacted. */
static int64_t max_age_ms(const struct log_opts *o)
{
    return o->compact_policy && o->max_compaction_lag_ms < o->segment_ms ? o->max_compaction_lag_ms : o->segment_ms;
}

int plog_should_roll(struct plog *l, size_t bytes, int64_t max_timestamp, int64_t last_offset, bool *yes)
{
    struct segment *s = plog_active(l);
    int64_t first, waited;

    *yes = (int64_t)s->size > l->opts.segment_bytes - (int64_t)bytes || index_full(l, s) ||
           last_offset - s->base > INT32_MAX;
    if (*yes || s->size == 0)
        return OK;
    TRY(segment_first_timestamp(s, &first));
    waited = first >= 0 ? max_timestamp - first : l->dir->opts.now_ms() - s->created_ms;
    *yes = waited > max_age_ms(&l->opts) - s->jitter_ms;
    return OK;
}

static int64_t random_jitter(const struct log_opts *o)
{
    int64_t max = o->segment_jitter_ms < o->segment_ms ? o->segment_jitter_ms : o->segment_ms;

    return max > 0 ? (int64_t)(arc4random() % (uint64_t)max) : 0;
}

int plog_write_snapshot(struct plog *l, int64_t offset)
{
    char path[SEGMENT_PATH_MAX];
    uint8_t *p;
    size_t n;
    int fd, rc;

    TRY(producers_snapshot(&l->producers, &p, &n));
    segment_path(&l->place, offset, SEGMENT_SNAPSHOT, "", path);
    rc = fio_open(l->place.dirfd, path, O_WRONLY | O_CREAT | O_TRUNC, &fd);
    if (rc == OK) {
        rc = fio_pwrite(fd, p, n, 0);
        fio_close(&fd);
    }
    free(p);
    KILL_POINT("snapshot.written");
    if (rc != OK)
        (void)unlinkat(l->place.dirfd, path, 0);
    return rc;
}

/* The snapshot stays: it is right, and the recovery point may need it. */
static void unlink_segment(const struct segment *s)
{
    char path[SEGMENT_PATH_MAX];

    for (int f = SEGMENT_LOG; f < SEGMENT_SNAPSHOT; f++) {
        segment_path(s->place, s->base, (enum segment_file)f, "", path);
        (void)unlinkat(s->place->dirfd, path, 0);
    }
}

int plog_roll(struct plog *l, int64_t base)
{
    struct segment *s;
    int rc;

    if (l->n > 0 && plog_active(l)->base == base)
        return OK;                      /* empty already */
    if (l->n > 0) {
        TRY(segment_flush_indexes(plog_active(l), true));
        if (l->old_snapshot != base)
            TRY(plog_write_snapshot(l, base));
    }
    s = segment_new(&l->place, &l->view, base);
    if (s == NULL)
        return ERR_NOMEM;
    s->created_ms = l->dir->opts.now_ms();
    s->jitter_ms = random_jitter(&l->opts);
    rc = segment_create_files(s);
    if (rc != OK) {
        unlink_segment(s);
        segment_unref(&s);
        return rc;
    }
    KILL_POINT("roll.created");
    if (l->old_snapshot == base)
        l->old_snapshot = -1;           /* it is the new segment's now */
    l->files_dirty = true;
    TRY(plog_add_segment(l, s));
    plog_dirty(l);
    return OK;
}

int plog_skip_to(struct plog *l, int64_t offset)
{
    struct plog_offsets to = OFFSETS_KEEP;
    int rc;

    lock_take(&l->lock);
    rc = plog_usable(l);
    if (rc == OK && offset > l->off.leo) {
        rc = plog_check(l, plog_roll(l, offset), "creating a segment");
        to.leo = offset;
    }
    if (rc == OK) {
        lock_take(&l->view);
        offsets_move(l, to);
        lock_drop(&l->view);
    }
    lock_drop(&l->lock);
    return rc;
}

/* ---- retention ----------------------------------------------------------------------------------------------- */

enum retain_rule { RETAIN_START, RETAIN_SIZE, RETAIN_TIME };

struct retain {
    enum retain_rule rule;
    int64_t          excess_bytes;      /* still to go */
    int64_t          now_ms;
};

/* Retention goes by the records' timestamps, which producers choose: where they do not fit the time when the file was
 * written, it would seem not to work, or to take away too much. That is said, once for each segment; not of records
 * that only came late, so that they go a little before retention.ms has passed since they were written. */
static void tell_odd_times(struct plog *l, struct segment *s, int64_t newest, int64_t now_ms, bool goes)
{
    int64_t mtime, age;

    if (s->told_times || segment_mtime_ms(s, &mtime) != OK)
        return;
    age = now_ms - mtime;
    if (goes ? age >= l->opts.retention_ms / 2 || age < 0 : newest <= now_ms || age <= l->opts.retention_ms)
        return;
    s->told_times = true;
    if (goes)
        log_warn("%s: segment %" PRId64 " was written %" PRId64 " s ago, which is much less than retention.ms, but "
                 "goes: the newest timestamp in it is %" PRId64 "; if that is no time in ms, mend the producer",
                 l->name, s->base, age / 1000, newest);
    else
        log_warn("%s: segment %" PRId64 " was written %" PRId64 " s ago, which is more than retention.ms, but stays: "
                 "the newest timestamp in it, %" PRId64 ", is in the future; mend the producer, and set "
                 "message.timestamp.after.max.ms so that such records are refused", l->name, s->base, age / 1000,
                 newest);
}

static bool is_too_old(struct plog *l, struct segment *s, int64_t now_ms)
{
    struct time_index_entry max;
    bool goes;

    if (segment_max(s, &max) != OK)
        return false;
    if (max.timestamp < 0)
        return segment_mtime_ms(s, &max.timestamp) == OK && now_ms - max.timestamp > l->opts.retention_ms;
    goes = now_ms - max.timestamp > l->opts.retention_ms;
    if (goes || max.timestamp > now_ms)
        tell_odd_times(l, s, max.timestamp, now_ms, goes);
    return goes;
}

static bool may_go(struct plog *l, struct retain *r, size_t i)
{
    struct segment *s = l->segs[i];

    switch (r->rule) {
    case RETAIN_START:
        return i + 1 < l->n && l->segs[i + 1]->base <= l->off.start;
    case RETAIN_SIZE:
        if (r->excess_bytes < s->size)
            return false;
        r->excess_bytes -= s->size;
        return true;
    case RETAIN_TIME:
        return is_too_old(l, s, r->now_ms);
    }
    return false;
}

/* How many of the oldest segments may go. None that holds anything above the HW, and not an empty active one. */
static size_t count_deletable(struct plog *l, struct retain *r)
{
    int64_t hw = plog_offsets(l).hw;
    size_t i = 0;

    for (; i < l->n; i++) {
        bool last = i + 1 == l->n;
        int64_t end = last ? l->off.leo : l->segs[i + 1]->base;
        if (hw < end || (last && l->segs[i]->size == 0) || !may_go(l, r, i))
            break;
    }
    return i;
}

int plog_doom_segment(struct plog *l, const struct segment *s, bool snapshot)
{
    char from[SEGMENT_PATH_MAX], to[SEGMENT_PATH_MAX];

    for (int f = SEGMENT_LOG; f < SEGMENT_FILES_N; f++) {
        int rc;
        if (f == SEGMENT_SNAPSHOT && !snapshot)
            continue;
        segment_path(s->place, s->base, (enum segment_file)f, "", from);
        segment_path(s->place, s->base, (enum segment_file)f, ".deleted", to);
        rc = fio_rename(s->place->dirfd, from, to);
        KILL_POINT("delete.renamed");
        if (rc == ERR_NOSPACE)          /* the longer name finds no room in the directory: then it goes at once */
            TRY(fio_unlink(s->place->dirfd, from));
        else if (rc != OK && rc != ERR_NOENT)
            return rc;
        if (rc == OK)
            logdir_trash(l->dir, to, false, l->opts.file_delete_delay_ms);
    }
    return OK;
}

int plog_doom_files(struct plog *l, const struct segment *s)
{
    return plog_doom_segment(l, s, true);
}

/* At most `want`; *done says how many. */
static int delete_oldest(struct plog *l, size_t want, size_t *done)
{
    struct plog_offsets to = OFFSETS_KEEP;
    struct segment *gone[64];
    size_t n = want < sizeof gone / sizeof gone[0] ? want : sizeof gone / sizeof gone[0];
    int rc = OK;

    *done = 0;
    if (n == l->n) {
        rc = plog_roll(l, l->off.leo);
        if (rc == ERR_NOSPACE && n > 1)
            n--;                        /* those before it make the room that its successor needs */
        else
            TRY(rc);
        rc = OK;
    }
    *done = n;
    lock_take(&l->view);
    to.start = l->segs[n]->base;
    if (to.start > l->off.start) {
        offsets_move(l, to);
        if (epochs_truncate_start(&l->epochs, to.start))
            l->epochs_dirty = true;
    }
    memcpy(gone, l->segs, n * sizeof *gone);
    memmove(l->segs, l->segs + n, (l->n - n) * sizeof *l->segs);
    l->n -= n;
    for (size_t i = 0; i < n; i++)
        l->size_bytes -= gone[i]->size;
    lock_drop(&l->view);
    for (size_t i = 0; i < n; i++) {
        if (rc == OK)
            rc = plog_doom_files(l, gone[i]);
        segment_unref(&gone[i]);
    }
    l->files_dirty = true;
    plog_dirty(l);
    return rc;
}

static int retain_by(struct plog *l, struct retain *r, const char *why, size_t *deleted)
{
    size_t n = count_deletable(l, r);

    if (n == 0)
        return OK;
    log_info("%s: %zu segments up to offset %" PRId64 " go, %s", l->name, n,
             n < l->n ? l->segs[n]->base : l->off.leo, why);
    while (n > 0) {
        size_t done;
        TRY(delete_oldest(l, n, &done));
        *deleted += done;
        n -= done;
    }
    return OK;
}

static int retain_all(struct plog *l, int64_t now_ms, size_t *deleted)
{
    struct retain r = { .rule = RETAIN_START, .now_ms = now_ms };

    TRY(retain_by(l, &r, "since the log starts later now", deleted));
    if (!l->opts.delete_policy)
        return OK;
    r.rule = RETAIN_SIZE;
    r.excess_bytes = l->size_bytes - l->opts.retention_bytes;
    if (l->opts.retention_bytes >= 0 && r.excess_bytes > 0)
        TRY(retain_by(l, &r, "since the log is larger than retention.bytes", deleted));
    r.rule = RETAIN_TIME;
    return l->opts.retention_ms >= 0 ? retain_by(l, &r, "since they are older than retention.ms", deleted) : OK;
}

int plog_retain(struct plog *l, int64_t now_ms, size_t *deleted)
{
    int rc;

    *deleted = 0;
    lock_take(&l->lock);
    rc = plog_usable(l);
    if (rc == OK && !l->swapping)
        rc = plog_check(l, retain_all(l, now_ms, deleted), "removing old segments");
    lock_drop(&l->lock);
    return rc;
}

void plog_expire_producers(struct plog *l, int64_t now_ms, int64_t expiration_ms)
{
    lock_take(&l->lock);
    producers_expire(&l->producers, now_ms, expiration_ms);
    lock_drop(&l->lock);
}
