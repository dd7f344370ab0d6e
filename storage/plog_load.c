/* storage/plog_load.c - opening a log: what is in its directory, and recovery (invariants 14 and 16).
 *
 *   list            names in the directory; leftovers of deletions are removed, strays too
 *   open_segments   sizes of .log and of the indexes; nothing is opened
 *   state           epoch file, newest usable producer snapshot
 *   replay          headers from the snapshot to the recovery point: producers (and epochs, if their file was lost)
 *   recover         batches from the recovery point on: checked, indexed, replayed; the file is cut where that ends
 *   settle          offsets, leftovers of what was cut
 *
 * After a clean stop the recovery point is the log end, so only the last index entry's chunk is looked at.
 */
#include "storage/plog_impl.h"

#include "base/log.h"
#include "storage/fio.h"
#include "storage/killpoint.h"
#include "storage/log_scan.h"
#include "storage/syncer.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SCAN_BUFFER  ((size_t)64 << 10)
#define INDEX_MAX    ((size_t)1 << 28)
#define SNAPSHOT_MAX ((size_t)1 << 30)

struct offsets_list {
    int64_t *v;
    size_t   n, cap;
};

struct load {
    struct plog        *l;
    struct load_result *out;
    struct offsets_list logs, snapshots;        /* rising */
    int64_t  recovery_point;            /* below: trusted. INT64_MAX after a clean stop */
    int64_t  start;                     /* log start by its checkpoint */
    int64_t  expect;                    /* the next batch's offset is at least this */
    int64_t  snapshot;                  /* state of the producers is that before this offset */
    bool     epochs_lost;               /* the epoch file does not parse: take the epochs from the batches */
    uint8_t *buf;                       /* SCAN_BUFFER */
};

/* ---- list ---------------------------------------------------------------------------------------------------- */

static int list_add(struct offsets_list *o, int64_t offset)
{
    if (o->n == o->cap) {
        size_t cap = o->cap == 0 ? 8 : o->cap * 2;
        int64_t *v = realloc(o->v, cap * sizeof *v);
        if (v == NULL)
            return ERR_NOMEM;
        o->v = v;
        o->cap = cap;
    }
    o->v[o->n++] = offset;
    return OK;
}

static int rising(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static bool list_has(const struct offsets_list *o, int64_t offset)
{
    return o->n > 0 && bsearch(&offset, o->v, o->n, sizeof *o->v, rising) != NULL;
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), e = strlen(end);

    return n >= e && strcmp(name + n - e, end) == 0;
}

/* "<20 digits>.<suffix>" exactly. */
static bool numbered(const char *name, const char *suffix, int64_t *offset)
{
    int64_t v = 0;

    for (int i = 0; i < 20; i++) {
        int d = name[i] - '0';
        if (d < 0 || d > 9 || v > (INT64_MAX - d) / 10)
            return false;
        v = v * 10 + d;
    }
    *offset = v;
    return name[20] == '.' && strcmp(name + 21, suffix) == 0;
}

static int remove_file(struct load *ld, const char *name)
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof path, "%s/%s", ld->l->place.dir, name);
    return fio_unlink(ld->l->place.dirfd, path);
}

static int one_name(struct load *ld, const char *name)
{
    int64_t offset;

    if (ends_with(name, ".deleted") || ends_with(name, ".tmp"))
        return remove_file(ld, name);
    if (ends_with(name, ".swap") || ends_with(name, ".cleaned")) {
        log_error("%s/%s/%s: left behind by a log cleaner that was interrupted; start and stop the broker that ran it "
                  "once more, so that it finishes", ld->l->dir->path, ld->l->name, name);
        return ERR_UNSUPPORTED;
    }
    if (numbered(name, "log", &offset))
        return list_add(&ld->logs, offset);
    return numbered(name, "snapshot", &offset) ? list_add(&ld->snapshots, offset) : OK;
}

static int remove_strays(struct load *ld, DIR *dir)
{
    static const char *const kinds[] = { "index", "timeindex", "txnindex" };
    struct dirent *e;
    int64_t offset;

    rewinddir(dir);
    while ((e = readdir(dir)) != NULL)
        for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
            if (numbered(e->d_name, kinds[i], &offset) && !list_has(&ld->logs, offset))
                TRY(remove_file(ld, e->d_name));
    return OK;
}

static int list_directory(struct load *ld)
{
    struct dirent *e;
    DIR *dir;
    int fd, rc = OK;

    TRY(fio_open(ld->l->place.dirfd, ld->l->place.dir, O_RDONLY | O_DIRECTORY, &fd));
    dir = fdopendir(fd);
    if (dir == NULL) {
        fio_close(&fd);
        return ERR_NOMEM;
    }
    while (rc == OK && (e = readdir(dir)) != NULL)
        rc = one_name(ld, e->d_name);
    if (ld->logs.n > 0)
        qsort(ld->logs.v, ld->logs.n, sizeof *ld->logs.v, rising);
    if (ld->snapshots.n > 0)
        qsort(ld->snapshots.v, ld->snapshots.n, sizeof *ld->snapshots.v, rising);
    if (rc == OK)
        rc = remove_strays(ld, dir);
    (void)closedir(dir);
    return rc;
}

/* ---- open_segments ------------------------------------------------------------------------------------------- */

/* Size of an index file in whole entries; *missing: it is not there. */
static int index_entries(struct segment *s, enum segment_file f, size_t entry, uint32_t *n, bool *missing)
{
    char path[SEGMENT_PATH_MAX];
    int64_t size = 0;
    int rc;

    segment_path(s->place, s->base, f, "", path);
    rc = fio_size(s->place->dirfd, path, &size);
    *missing = rc == ERR_NOENT;
    *n = (uint32_t)((size_t)size / entry);
    return *missing ? OK : rc;
}

static int cut_index(struct segment *s, enum segment_file f, uint32_t entries, size_t entry)
{
    char path[SEGMENT_PATH_MAX];
    int fd, rc;

    segment_path(s->place, s->base, f, "", path);
    TRY(fio_open(s->place->dirfd, path, O_WRONLY | O_CREAT, &fd));
    rc = fio_truncate(fd, (int64_t)(entries * entry));
    fio_close(&fd);
    return rc;
}

/* Both indexes keep their first entries only. */
static int keep_entries(struct segment *s, uint32_t offsets, uint32_t times)
{
    TRY(cut_index(s, SEGMENT_INDEX, offsets, OFFSET_INDEX_ENTRY));
    TRY(cut_index(s, SEGMENT_TIMEINDEX, times, TIME_INDEX_ENTRY));
    s->offsets.on_file = offsets;
    s->times.on_file = times;
    s->offsets.n = s->times.n = 0;
    return OK;
}

/* Indexes of a trusted segment are rebuilt from its headers when a file is missing. */
static int rebuild_indexes(struct load *ld, struct segment *s);

static int open_segment(struct load *ld, int64_t base)
{
    struct segment *s = segment_new(&ld->l->place, &ld->l->view, base);
    bool no_offsets, no_times;
    char path[SEGMENT_PATH_MAX];
    int64_t size;

    if (s == NULL)
        return ERR_NOMEM;
    TRY(plog_add_segment(ld->l, s));
    segment_path(s->place, base, SEGMENT_LOG, "", path);
    TRY(fio_size(s->place->dirfd, path, &size));
    if (size > UINT32_MAX) {
        log_error("%s/%s: %" PRId64 " bytes is more than a segment can have; move the file away", ld->l->dir->path,
                  path, size);
        return ERR_CORRUPT;
    }
    s->size = (uint32_t)size;
    s->created_ms = ld->l->dir->opts.now_ms();
    TRY(index_entries(s, SEGMENT_INDEX, OFFSET_INDEX_ENTRY, &s->offsets.on_file, &no_offsets));
    TRY(index_entries(s, SEGMENT_TIMEINDEX, TIME_INDEX_ENTRY, &s->times.on_file, &no_times));
    return no_offsets || no_times ? rebuild_indexes(ld, s) : OK;
}

/* ---- one batch after the other ------------------------------------------------------------------------------- */

static int take_epoch(struct load *ld, const struct batch_head *h)
{
    struct epochs *e = &ld->l->epochs;
    bool changed;

    if (h->magic < BATCH_MAGIC_NOW || h->leader_epoch < 0 || h->leader_epoch <= epochs_latest(e))
        return OK;
    ld->l->epochs_dirty = true;
    return epochs_assign(e, h->leader_epoch, h->base_offset, &changed);
}

static int take_producer(struct load *ld, const struct log_scan *sc)
{
    uint8_t *p = NULL;
    int rc = OK;

    if (sc->head.producer_id < 0 || sc->head.base_offset < ld->snapshot)
        return OK;
    if (batch_is_control(&sc->head))
        TRY(log_scan_batch(sc, &p));
    rc = producers_replay(&ld->l->producers, &sc->head, p);
    free(p);
    return rc;
}

/* Offsets rise, and fit the segment. */
static bool in_order(const struct load *ld, const struct segment *s, const struct batch_head *h)
{
    int64_t first = h->base_offset >= 0 ? h->base_offset : h->last_offset;

    return first >= ld->expect && h->last_offset >= first && h->last_offset - s->base <= INT32_MAX;
}

/* The batch becomes part of the segment as if it had been appended now. */
static int take_batch(struct load *ld, struct segment *s, const struct log_scan *sc)
{
    TRY(segment_index_room(s));
    lock_take(&ld->l->view);
    segment_publish(s, sc->head.size_bytes, sc->head.last_offset, sc->head.max_timestamp, sc->head.last_offset,
                    ld->l->opts.index_interval_bytes);
    lock_drop(&ld->l->view);
    ld->expect = sc->head.last_offset + 1;
    return OK;
}

static bool is_damage(int rc)
{
    return rc == ERR_SHORT || rc == ERR_CORRUPT;
}

/* Bytes behind the last good entry that are not the zeros of a preallocated tail: the file was damaged. */
static bool has_junk(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != 0)
            return true;
    return false;
}

/* Entries of both index files that stand for batches below `below`; their last ones become the segment's last. None
 * if the time index is damaged: what stood in the rest of it is not known then. */
static int trusted_entries(struct segment *s, int64_t file_size, int64_t below, uint32_t *offsets, uint32_t *times,
                           uint32_t *pos)
{
    char path[SEGMENT_PATH_MAX];
    struct offset_index_entry e;
    uint8_t *p;
    size_t len, n, t;
    bool junk;

    segment_path(s->place, s->base, SEGMENT_TIMEINDEX, "", path);
    TRY(fio_read_file(s->place->dirfd, path, INDEX_MAX, &p, &len));
    t = time_index_valid(p, len);
    junk = (t == 0 && s->offsets.on_file > 0) || has_junk(p + t * TIME_INDEX_ENTRY, len - t * TIME_INDEX_ENTRY);
    while (t > 0 && time_index_get(p + (t - 1) * TIME_INDEX_ENTRY, s->base).offset >= below)
        t--;
    if (t > 0 && !junk)
        s->last_time = time_index_get(p + (t - 1) * TIME_INDEX_ENTRY, s->base);
    free(p);
    *offsets = *times = *pos = 0;
    if (junk)
        return OK;
    segment_path(s->place, s->base, SEGMENT_INDEX, "", path);
    TRY(fio_read_file(s->place->dirfd, path, INDEX_MAX, &p, &len));
    n = offset_index_valid(p, len, file_size);
    while (n > 0 && offset_index_get(p + (n - 1) * OFFSET_INDEX_ENTRY, s->base).offset >= below)
        n--;
    if (n > 0) {
        e = offset_index_get(p + (n - 1) * OFFSET_INDEX_ENTRY, s->base);
        *pos = e.pos;
        s->last_indexed = e.offset;
    }
    free(p);
    *offsets = (uint32_t)n;
    *times = (uint32_t)t;
    return OK;
}

static bool fits(const struct segment *s, const struct batch_head *h)
{
    return h->last_offset >= s->base && h->last_offset - s->base <= INT32_MAX;
}

/* Walks from the chunk of the last trusted index entry at `pos` to the first batch that is not wholly below `below`,
 * which may be the end; s->size is then there, and index entries that were lacking are made. ERR_CORRUPT, ERR_SHORT: a
 * batch on the way does not parse, s->size is where. */
static int walk_trusted(struct load *ld, struct segment *s, int fd, int64_t file_size, int64_t below, uint32_t pos)
{
    struct log_scan sc;
    int rc = OK;

    lock_take(s->view);
    s->size = pos;
    s->since_index = 0;
    s->max = s->last_time;
    s->max_known = true;
    lock_drop(s->view);
    log_scan_init(&sc, fd, pos, file_size, ld->buf, SCAN_BUFFER);
    while (rc == OK && log_scan_next(&sc) && sc.head.last_offset < below) {
        /* The entry must lead to the batch that it stands for. */
        if (!fits(s, &sc.head) || (pos > 0 && sc.pos == pos && sc.head.base_offset > s->last_indexed))
            rc = ERR_CORRUPT;
        else
            rc = take_batch(ld, s, &sc);
    }
    ld->out->read_bytes += sc.read_bytes;
    return rc != OK ? rc : sc.rc;
}

static void begin_indexes(struct segment *s)
{
    s->last_time = s->max = (struct time_index_entry){ -1, s->base };
    s->last_indexed = s->base - 1;
    s->since_index = 0;
}

/* Trusted entries, then the walk; from the beginning if they turn out to be wrong. s->offsets.on_file and
 * s->times.on_file are what the files hold. */
static int walk_from_index(struct load *ld, struct segment *s, int fd, int64_t file_size, int64_t below)
{
    uint32_t offsets, times, pos;
    int rc;

    begin_indexes(s);
    TRY(trusted_entries(s, file_size, below, &offsets, &times, &pos));
    if (offsets != s->offsets.on_file || times != s->times.on_file)
        TRY(keep_entries(s, offsets, times));
    rc = walk_trusted(ld, s, fd, file_size, below, pos);
    if (!is_damage(rc) || pos == 0)
        return rc;
    begin_indexes(s);
    ld->expect = s->base;
    TRY(keep_entries(s, 0, 0));
    return walk_trusted(ld, s, fd, file_size, below, 0);
}

/* From the beginning, headers only: for indexes that are missing or do not fit their .log. */
static int rebuild_indexes(struct load *ld, struct segment *s)
{
    int64_t file_size = s->size, expect = ld->expect;
    struct file_ref *f;
    int rc;

    TRY(segment_file(s, &f));
    begin_indexes(s);
    ld->expect = s->base;
    rc = keep_entries(s, 0, 0);
    if (rc == OK)
        rc = walk_trusted(ld, s, f->fd, file_size, INT64_MAX, 0);
    if (is_damage(rc))                  /* found again, and told, by who reads it */
        rc = OK;
    if (rc == OK)
        rc = segment_flush_indexes(s, true);
    s->size = (uint32_t)file_size;
    ld->expect = expect;
    file_unref(&f);
    log_info("%s: indexes of segment %" PRId64 " rebuilt", ld->l->name, s->base);
    return rc;
}

/* ---- state --------------------------------------------------------------------------------------------------- */

static int load_epochs(struct load *ld)
{
    char path[PATH_MAX];
    struct epoch_entry *v;
    uint8_t *text;
    size_t len, n, line;
    int rc;

    (void)snprintf(path, sizeof path, "%s/%s", ld->l->place.dir, CHECKPOINT_LEADER_EPOCH);
    rc = fio_read_file(ld->l->place.dirfd, path, INDEX_MAX, &text, &len);
    if (rc == ERR_NOENT)
        return OK;
    TRY(rc);
    rc = epoch_checkpoint_parse(text, len, &v, &n, &line);
    free(text);
    if (rc == ERR_CORRUPT) {
        log_warn("%s/%s: line %zu does not parse; leader epochs are taken from the batches", ld->l->dir->path, path,
                 line);
        ld->epochs_lost = true;
        ld->l->epochs_dirty = true;
        return OK;
    }
    TRY(rc);
    rc = epochs_load(&ld->l->epochs, v, n);
    free(v);
    return rc;
}

static int load_snapshot(struct load *ld, int64_t offset)
{
    char path[SEGMENT_PATH_MAX];
    struct snapshot_entry *v;
    uint8_t *p;
    size_t len, n;
    int rc;

    segment_path(&ld->l->place, offset, SEGMENT_SNAPSHOT, "", path);
    TRY(fio_read_file(ld->l->place.dirfd, path, SNAPSHOT_MAX, &p, &len));
    rc = snapshot_parse(p, len, &v, &n);
    free(p);
    if (rc == ERR_CORRUPT || rc == ERR_VERSION) {
        log_warn("%s/%s: %s; removed, an older one is used", ld->l->dir->path, path, err_text(rc));
        TRY(fio_unlink(ld->l->place.dirfd, path));
        return ERR_CORRUPT;
    }
    TRY(rc);
    rc = producers_load(&ld->l->producers, v, n);
    free(v);
    /* Only what comes from a snapshot: a batch that is read again may be sent again. */
    producers_expire(&ld->l->producers, ld->l->dir->opts.now_ms(), ld->l->dir->opts.producer_id_expiration_ms);
    return rc;
}

/* The newest snapshot that is above the log start and not above `to`. */
static int load_producers(struct load *ld, int64_t to)
{
    ld->snapshot = ld->start;
    if (ld->snapshots.n == 0 && ld->l->dir->was_clean)
        ld->snapshot = INT64_MAX;       /* nobody has taken one: there were no producers to remember */
    for (size_t i = ld->snapshots.n; i-- > 0;) {
        int64_t offset = ld->snapshots.v[i];
        int rc;
        if (offset > to || offset <= ld->start)
            continue;
        rc = load_snapshot(ld, offset);
        if (rc == ERR_CORRUPT)
            continue;
        if (rc == OK)
            ld->snapshot = offset;
        return rc;
    }
    return OK;
}

/* ---- replay: trusted batches in [from, to), for producers and, if need be, epochs ------------------------------ */

static int replay_segment(struct load *ld, struct segment *s, uint32_t size, int64_t from, int64_t to)
{
    struct batch_head h;
    struct file_ref *f;
    struct log_scan sc;
    uint32_t pos = 0;
    int rc = OK;

    if (from > s->base)
        rc = segment_locate(s, from, size, &pos, &h);
    if (rc == ERR_RANGE)
        return OK;
    TRY(rc);
    TRY(segment_file(s, &f));
    log_scan_init(&sc, f->fd, pos, size, ld->buf, SCAN_BUFFER);
    while (rc == OK && log_scan_next(&sc) && sc.head.last_offset < to) {
        if (ld->epochs_lost)
            rc = take_epoch(ld, &sc.head);
        if (rc == OK)
            rc = take_producer(ld, &sc);
    }
    ld->out->read_bytes += sc.read_bytes;
    file_unref(&f);
    if (rc == OK && !is_damage(sc.rc))  /* damage is found again, and told, by who reads it */
        rc = sc.rc;
    return rc;
}

static int replay(struct load *ld, int64_t to)
{
    int64_t from = ld->epochs_lost ? 0 : ld->snapshot;

    for (size_t i = 0; i < ld->l->n && from < to; i++) {
        struct segment *s = ld->l->segs[i];
        if (s->base >= to)
            break;
        if (i + 1 == ld->l->n || ld->l->segs[i + 1]->base > from)
            TRY(replay_segment(ld, s, s->size, from, to));
    }
    return OK;
}

/* ---- recover ------------------------------------------------------------------------------------------------- */

/* The last segment after a clean stop: where does it end? */
static int open_end(struct load *ld, struct segment *s)
{
    int64_t file_size = s->size;
    struct file_ref *f;
    int rc;

    ld->expect = s->base;
    TRY(segment_file(s, &f));
    rc = walk_from_index(ld, s, f->fd, file_size, INT64_MAX);
    if (is_damage(rc)) {
        log_error("%s/%s: segment %" PRId64 " is damaged at position %" PRIu32 " although it was closed cleanly; "
                  "%" PRId64 " bytes from there on are cut off, the log ends at offset %" PRId64 "; restore the "
                  "file from a copy if there is one", ld->l->dir->path, ld->l->name, s->base, s->size,
                  file_size - s->size, ld->expect);
        rc = fio_truncate(f->fd, s->size);
    }
    s->since_index = 0;
    file_unref(&f);
    return rc;
}

/* Batches of s from its present s->size on. *whole: it is good to its end, else it was cut. */
static int recover_rest(struct load *ld, struct segment *s, int fd, int64_t file_size, bool *whole)
{
    bool check = !ld->l->dir->same_boot;
    struct log_scan sc;
    int rc = OK;

    log_scan_init(&sc, fd, s->size, file_size, ld->buf, SCAN_BUFFER);
    while (rc == OK && log_scan_next(&sc)) {
        if (!in_order(ld, s, &sc.head))
            sc.rc = ERR_CORRUPT;
        else if (check || sc.next == file_size)
            sc.rc = log_scan_check(&sc);
        if (sc.rc != OK)
            break;
        rc = take_epoch(ld, &sc.head);
        if (rc == OK)
            rc = take_producer(ld, &sc);
        if (rc == OK)
            rc = take_batch(ld, s, &sc);
    }
    ld->out->read_bytes += sc.read_bytes;
    TRY(rc);
    *whole = sc.rc == OK;
    if (!is_damage(sc.rc))
        return sc.rc;
    log_warn("%s: segment %" PRId64 " ends with %" PRId64 " bytes that are no whole batch (%s), after offset %" PRId64
             "; they were never acknowledged as durable and are cut off", ld->l->name, s->base, file_size - s->size,
             err_text(sc.rc), ld->expect - 1);
    return fio_truncate(fd, s->size);
}

/* The part of s that lies below the recovery point. */
static int recover_trusted(struct load *ld, struct segment *s, int fd, int64_t file_size)
{
    int rc = walk_from_index(ld, s, fd, file_size, ld->recovery_point);

    if (is_damage(rc) || (rc == OK && s->size == file_size && ld->expect < ld->recovery_point)) {
        log_error("%s/%s: segment %" PRId64 " is damaged at position %" PRIu32 ", offset %" PRId64 ", below its "
                  "recovery point %" PRId64 ": what was written there is lost; restore the file from a copy if "
                  "there is one", ld->l->dir->path, ld->l->name, s->base, s->size, ld->expect, ld->recovery_point);
        rc = OK;
    }
    return rc;
}

static int recover_segment(struct load *ld, struct segment *s, bool *whole)
{
    int64_t file_size = s->size;
    struct file_ref *f;
    int rc;

    TRY(segment_file(s, &f));
    s->size = 0;
    s->max_known = true;
    begin_indexes(s);
    if (ld->expect < s->base)
        ld->expect = s->base;
    if (s->base < ld->recovery_point)
        rc = recover_trusted(ld, s, f->fd, file_size);
    else
        rc = keep_entries(s, 0, 0);
    KILL_POINT("recover.index_cut");
    if (rc == OK)
        rc = recover_rest(ld, s, f->fd, file_size, whole);
    KILL_POINT("recover.segment_done");
    file_unref(&f);
    return rc;
}

/* Segments from the k-th on go. */
static int drop_segments_from(struct load *ld, size_t k)
{
    struct plog *l = ld->l;

    for (size_t i = k; i < l->n; i++) {
        log_warn("%s: segment %" PRId64 " (%" PRIu32 " bytes) follows the cut and is removed", l->name,
                 l->segs[i]->base, l->segs[i]->size);
        TRY(plog_doom_files(l, l->segs[i]));
    }
    while (l->n > k)
        segment_unref(&l->segs[--l->n]);
    return OK;
}

static int recover(struct load *ld)
{
    struct plog *l = ld->l;
    size_t i = 0;
    bool whole = true;

    while (i + 1 < l->n && l->segs[i + 1]->base <= ld->recovery_point)
        i++;
    for (; i < l->n; i++) {
        TRY(recover_segment(ld, l->segs[i], &whole));
        if (!whole) {
            TRY(drop_segments_from(ld, i + 1));
            break;
        }
        if (i + 1 < l->n)
            TRY(segment_flush_indexes(l->segs[i], true));
    }
    ld->out->recovered = true;
    return OK;
}

/* ---- settle -------------------------------------------------------------------------------------------------- */

/* Snapshots stay that begin a segment, and the newest of the others if it is above the last segment's base. */
static int sort_snapshots(struct load *ld, int64_t leo)
{
    struct plog *l = ld->l;
    bool newest = true;

    for (size_t i = ld->snapshots.n; i-- > 0;) {
        int64_t o = ld->snapshots.v[i];
        char path[SEGMENT_PATH_MAX];
        bool keep = false;
        for (size_t k = 0; k < l->n && !keep; k++)
            keep = l->segs[k]->base == o;
        if (!keep && newest && o <= leo && o > plog_active(l)->base) {
            keep = true;
            l->old_snapshot = o;
            newest = false;
        }
        if (keep && o <= leo)
            continue;
        segment_path(&l->place, o, SEGMENT_SNAPSHOT, "", path);
        TRY(fio_unlink(l->place.dirfd, path));
    }
    return OK;
}

static int settle(struct load *ld)
{
    struct plog *l = ld->l;
    struct logdir *d = l->dir;
    int64_t leo = ld->expect, start, hw;

    if (l->n > 0 && leo < ld->start) {
        log_error("%s: the log ends at offset %" PRId64 ", before its start %" PRId64 " by the checkpoint; files are "
                  "missing, all that is left is removed", l->name, leo, ld->start);
        TRY(drop_segments_from(ld, 0));
        l->epochs.n = 0;
        l->epochs_dirty = true;
        producers_fini(&l->producers);
    }
    if (l->n == 0) {
        leo = ld->start;
        TRY(plog_roll(l, leo));
    }
    start = l->segs[0]->base > ld->start ? l->segs[0]->base : ld->start;
    l->epochs_dirty |= epochs_truncate_end(&l->epochs, leo);
    l->epochs_dirty |= epochs_truncate_start(&l->epochs, start);
    TRY(sort_snapshots(ld, leo));
    hw = offset_checkpoint_find(&d->high_watermarks, plog_topic(l), l->partition);
    hw = hw < start ? start : hw > leo ? leo : hw;
    l->recovery_point = d->was_clean || ld->recovery_point > leo ? leo : ld->recovery_point;
    for (size_t i = 0; i < l->n; i++)
        l->size_bytes += l->segs[i]->size;
    lock_take(&l->view);
    offsets_move(l, (struct plog_offsets){ .start = start, .lso = hw, .hw = hw, .leo = leo });
    lock_drop(&l->view);
    return OK;
}

static int load_topic_id(struct plog *l)
{
    int rc = partition_metadata_read(l->place.dirfd, l->place.dir, &l->topic_id);

    if (rc == ERR_CORRUPT)
        log_error("%s/%s/" PARTITION_METADATA ": does not parse; restore it, or remove it: the controller knows the id",
                  l->dir->path, l->name);
    return rc == ERR_NOENT ? OK : rc;
}

static int load_steps(struct load *ld)
{
    struct plog *l = ld->l;
    int64_t trusted;                    /* nothing below is checked */
    int rc = OK;

    TRY(list_directory(ld));
    TRY(load_topic_id(l));
    for (size_t i = 0; i < ld->logs.n; i++)
        TRY(open_segment(ld, ld->logs.v[i]));
    if (l->n > 0 && l->segs[0]->base > ld->start)
        ld->start = l->segs[0]->base;
    TRY(load_epochs(ld));
    if (l->n > 0 && l->dir->was_clean)
        TRY(open_end(ld, plog_active(l)));
    trusted = l->dir->was_clean ? ld->expect : ld->recovery_point;
    TRY(load_producers(ld, trusted));
    if (l->n > 0)
        TRY(replay(ld, trusted));
    if (l->n > 0 && !l->dir->was_clean)
        TRY(recover(ld));
    if (l->n > 0)
        rc = segment_flush_indexes(plog_active(l), false);
    return rc == OK || rc == ERR_NOSPACE ? settle(ld) : rc;     /* a full disk can still be read from */
}

int plog_load(struct plog *l, struct load_result *out)
{
    struct logdir *d = l->dir;
    struct load ld = { .l = l, .out = out };
    int rc;

    *out = (struct load_result){ 0 };
    ld.recovery_point = offset_checkpoint_find(&d->recovery_points, plog_topic(l), l->partition);
    ld.start = offset_checkpoint_find(&d->starts, plog_topic(l), l->partition);
    if (d->was_clean)
        ld.recovery_point = INT64_MAX;
    if (ld.recovery_point < 0)
        ld.recovery_point = 0;
    if (ld.start < 0)
        ld.start = 0;
    ld.buf = malloc(SCAN_BUFFER);
    lock_take(&l->lock);
    rc = ld.buf != NULL ? load_steps(&ld) : ERR_NOMEM;
    if (rc == OK && (l->recovery_point < l->off.leo || l->epochs_dirty || l->files_dirty))
        plog_dirty(l);
    lock_drop(&l->lock);
    free(ld.logs.v);
    free(ld.snapshots.v);
    free(ld.buf);
    return rc;
}

int plog_create(struct plog *l)
{
    int rc = fio_mkdir(l->place.dirfd, l->place.dir);

    if (rc != OK && rc != ERR_EXISTS)
        return plog_check(l, rc, "creating the directory");
    KILL_POINT("create.mkdir");
    lock_take(&l->lock);
    rc = plog_check(l, plog_roll(l, 0), "creating the first segment");
    lock_drop(&l->lock);
    return rc;
}
