/* storage/segment_find.c - finding things in a segment by offset and by time.
 *
 * An index file may be damaged anywhere, so its entries are hints that are believed only as far as the batches that
 * they lead to bear them out; then no answer differs from one found by reading the whole .log:
 *
 *   .index      (o, p): a chunk that ends with offset o begins at position p. The walk from p must come by a batch
 *               that has o among its offsets (Apache Kafka's cleaner enters the last record that it kept of a batch).
 *               Offsets rise, so nothing at or above o lies before p.
 *   .timeindex  (t, o): t is the largest timestamp up to the batch that holds o. The walk begins one entry before the
 *               one that is found, so that one wrong entry leads nobody past a batch, and that one's batch must
 *               have t for its largest timestamp.
 *               The last entry is the segment's largest timestamp only if no batch after it has a larger one.
 *
 * What does not stand that test makes the index suspect: it is not used any more until it was rebuilt.
 */
#include "storage/segment.h"

#include "base/log.h"
#include "storage/fio.h"
#include "storage/log_scan.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- searching an index -------------------------------------------------------------------------------------- */

typedef bool at_or_below_fn(const uint8_t *p, int64_t base, int64_t key);

static bool offset_at_or_below(const uint8_t *p, int64_t base, int64_t key)
{
    return offset_index_get(p, base).offset <= key;
}

static bool time_at_or_below(const uint8_t *p, int64_t base, int64_t key)
{
    return time_index_get(p, base).timestamp <= key;
}

struct index_kind {
    size_t            entry;
    enum segment_file file;
    enum suspicion    bit;
    at_or_below_fn   *at_or_below;
};

static const struct index_kind offset_kind = { OFFSET_INDEX_ENTRY, SEGMENT_INDEX, SUSPECT_OFFSETS, offset_at_or_below };
static const struct index_kind time_kind = { TIME_INDEX_ENTRY, SEGMENT_TIMEINDEX, SUSPECT_TIMES, time_at_or_below };

/* The two greatest entries at or below a key, the greatest first. */
struct hits {
    uint8_t  e[2][TIME_INDEX_ENTRY];
    unsigned n;
};

static void suspect(struct segment *s, const struct index_kind *k, const char *why)
{
    char path[SEGMENT_PATH_MAX];

    if (segment_replaced(s) || (atomic_fetch_or(&s->suspect, k->bit) & k->bit) != 0)
        return;
    segment_path(s->place, s->base, k->file, "", path);
    log_warn("%s: damaged: %s; it is not used until it was rebuilt from the batches", path, why);
}

static bool is_suspect(struct segment *s, const struct index_kind *k)
{
    return (atomic_load_explicit(&s->suspect, memory_order_relaxed) & k->bit) != 0;
}

/* How many of the n entries at p are at or below key. */
static size_t count_below(const struct index_kind *k, const uint8_t *p, size_t n, int64_t base, int64_t key)
{
    size_t lo = 0, hi = n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (k->at_or_below(p + mid * k->entry, base, key))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void take_hits(const struct index_kind *k, const uint8_t *p, size_t below, struct hits *out)
{
    for (; out->n < 2 && below > 0; below--)
        memcpy(out->e[out->n++], p + (below - 1) * k->entry, k->entry);
}

#define SEARCH_BLOCK 256                /* entries read at once when the search is that narrow */

/* Among the n entries in the file. */
static int search_file(const struct segment *s, const struct index_kind *k, size_t n, int64_t key, struct hits *out)
{
    uint8_t block[(SEARCH_BLOCK + 2) * TIME_INDEX_ENTRY];
    char path[SEGMENT_PATH_MAX];
    size_t lo = 0, hi = n;              /* entries before lo are at or below key, from hi on above */
    int fd, rc = OK;

    segment_path(s->place, s->base, k->file, "", path);
    TRY(fio_open(s->place->dirfd, path, O_RDONLY, &fd));
    while (rc == OK && hi - lo > SEARCH_BLOCK) {
        size_t mid = lo + (hi - lo) / 2;
        rc = fio_pread_all(fd, block, k->entry, (int64_t)(mid * k->entry));
        if (rc == OK && k->at_or_below(block, s->base, key))
            lo = mid + 1;
        else
            hi = mid;
    }
    /* Two more before lo: they are the answer if none of the block is. */
    lo = lo > 2 ? lo - 2 : 0;
    if (rc == OK)
        rc = fio_pread_all(fd, block, (hi - lo) * k->entry, (int64_t)(lo * k->entry));
    fio_close(&fd);
    TRY(rc);
    take_hits(k, block, count_below(k, block, hi - lo, s->base, key), out);
    return OK;
}

/* No hits if the index is suspect, or becomes so. */
static int search(struct segment *s, const struct index *x, const struct index_kind *k, int64_t key, struct hits *out)
{
    size_t on_file;
    int rc = OK;

    out->n = 0;
    if (is_suspect(s, k))
        return OK;
    lock_take(s->view);
    on_file = x->on_file;
    take_hits(k, x->tail, count_below(k, x->tail, x->n, s->base, key), out);
    lock_drop(s->view);
    if (out->n < 2 && on_file > 0)
        rc = search_file(s, k, on_file, key, out);
    if (rc == ERR_SHORT) {
        suspect(s, k, "the file is shorter than it was");
        out->n = 0;
        rc = OK;
    }
    return rc;
}

/* ---- by offset ----------------------------------------------------------------------------------------------- */

static int offset_floor(struct segment *s, int64_t offset, uint32_t end, struct offset_index_entry *e)
{
    struct hits hits;
    bool wrong;

    *e = (struct offset_index_entry){ s->base - 1, 0 };
    TRY(search(s, &s->offsets, &offset_kind, offset, &hits));
    if (hits.n == 0)
        return OK;
    *e = offset_index_get(hits.e[0], s->base);
    wrong = e->pos == 0 || e->offset < s->base || e->offset > offset;
    if (wrong)
        suspect(s, &offset_kind, "an entry does not fit those around it");
    if (wrong || e->pos >= end)         /* or above what this look-up may see */
        *e = (struct offset_index_entry){ s->base - 1, 0 };
    return OK;
}

#define LONG_BYTES   ((int64_t)16 << 20)
#define LONG_BATCHES 256

/* Whether h can follow a batch with this header (size 0: none). What a recovery by Apache Kafka leaves, a batch that
 * stands in the file twice, can. */
static bool can_follow(const struct batch_head *before, const struct batch_head *h)
{
    int64_t first = h->base_offset >= 0 ? h->base_offset : h->last_offset;

    if (h->last_offset < first || (h->magic >= BATCH_MAGIC_NOW && h->count - 1 > h->last_offset_delta))
        return false;
    return before->size_bytes == 0 || first > before->last_offset ||
           (h->base_offset == before->base_offset && h->last_offset == before->last_offset && h->crc == before->crc);
}

/* From an entry, or (its pos 0) from the beginning. ERR_CORRUPT also if the entry is wrong. *far: the walk was so long
 * that the index must lack entries. */
static int scan_for(int fd, int64_t offset, const struct offset_index_entry *e, uint32_t end, uint32_t *pos,
                    struct batch_head *h, bool *far)
{
    struct batch_head before = { 0 };
    bool met = e->pos == 0;
    uint8_t buf[4096];
    struct log_scan sc;
    size_t n = 0;

    log_scan_init(&sc, fd, e->pos, end, buf, sizeof buf);
    while (log_scan_next(&sc)) {
        n++;
        met |= segment_holds(&sc.head, before.size_bytes > 0 ? before.last_offset : -1, e->offset);
        if ((!met && sc.head.last_offset > e->offset) || !can_follow(&before, &sc.head)) {
            sc.rc = ERR_CORRUPT;
            break;
        }
        before = sc.head;
        if (sc.head.last_offset < offset)
            continue;
        *pos = (uint32_t)sc.pos;
        *h = sc.head;
        *far = n > LONG_BATCHES && sc.pos - e->pos > LONG_BYTES;
        return OK;
    }
    *pos = (uint32_t)sc.pos;
    if (sc.rc == OK && !met)
        return ERR_CORRUPT;
    return sc.rc == OK ? ERR_RANGE : sc.rc;
}

static bool is_damage(int rc)
{
    return rc == ERR_CORRUPT || rc == ERR_SHORT;
}

static int log_damaged(const struct segment *s, int64_t pos, const char *what)
{
    static struct log_limit limit = LOG_LIMIT(60000, 10);
    char path[SEGMENT_PATH_MAX];
    int hidden;

    segment_path(s->place, s->base, SEGMENT_LOG, "", path);
    if (!segment_replaced(s) && log_limit(&limit, &hidden))
        log_error("%s: no whole batch at position %" PRId64 ", looking for %s; the file was damaged after it was "
                  "written: restore it from a copy", path, pos, what);
    return ERR_CORRUPT;
}

int segment_locate(struct segment *s, int64_t offset, uint32_t end, uint32_t *pos, struct batch_head *h)
{
    struct offset_index_entry e;
    struct file_ref *f;
    bool far = false;
    int rc;

    TRY(segment_file(s, &f));
    rc = offset_floor(s, offset, end, &e);
    if (rc == OK)
        rc = scan_for(f->fd, offset, &e, end, pos, h, &far);
    if (is_damage(rc) && e.pos > 0) {
        e = (struct offset_index_entry){ s->base - 1, 0 };
        rc = scan_for(f->fd, offset, &e, end, pos, h, &far);
        far = rc == OK;
    }
    file_unref(&f);
    if (rc == OK && far)
        suspect(s, &offset_kind, "entries are wrong or missing");
    if (is_damage(rc)) {
        char what[40];
        (void)snprintf(what, sizeof what, "offset %" PRId64, offset);
        rc = log_damaged(s, *pos, what);
    }
    return rc;
}

int segment_check_entry(struct segment *s, struct offset_index_entry e, bool *right)
{
    struct batch_head h;
    struct file_ref *f;
    uint32_t size, pos;
    bool far;
    int rc;

    lock_take(s->view);
    size = s->size;
    lock_drop(s->view);
    *right = !is_suspect(s, &offset_kind) && e.pos > 0 && e.pos < size && e.offset >= s->base;
    if (!*right)
        return OK;
    TRY(segment_file(s, &f));
    rc = scan_for(f->fd, e.offset, &e, size, &pos, &h, &far);
    file_unref(&f);
    if (rc != OK && rc != ERR_RANGE && !is_damage(rc))
        return rc;
    *right = rc == OK;
    if (!*right)
        suspect(s, &offset_kind, "an entry does not lead to its batch");
    return OK;
}

/* ---- by time ------------------------------------------------------------------------------------------------- */

/* Whether the batch that holds the entry's offset has its timestamp; *pos is where it begins. */
static int time_entry_leads(struct segment *s, struct time_index_entry e, uint32_t end, uint32_t *pos, bool *right)
{
    struct batch_head h;
    int rc;

    *right = false;
    if (e.offset < s->base)
        return OK;
    rc = segment_locate(s, e.offset, end, pos, &h);
    if (rc == ERR_RANGE)
        return OK;
    TRY(rc);
    *right = h.max_timestamp == e.timestamp && h.base_offset <= e.offset;
    return OK;
}

/* Where the walk for ts begins: nothing before has a timestamp of at least ts. */
static int time_floor(struct segment *s, int64_t ts, uint32_t end, uint32_t *pos)
{
    struct time_index_entry at, before;
    struct hits hits;
    bool right;

    *pos = 0;
    TRY(search(s, &s->times, &time_kind, ts, &hits));
    if (hits.n < 2)
        return OK;
    at = time_index_get(hits.e[0], s->base);
    before = time_index_get(hits.e[1], s->base);
    right = at.timestamp <= ts && before.timestamp < at.timestamp && before.offset <= at.offset;
    if (right)
        TRY(time_entry_leads(s, before, end, pos, &right));
    if (right)
        return OK;
    suspect(s, &time_kind, "an entry does not lead to a batch of its timestamp");
    *pos = 0;
    return OK;
}

int segment_locate_time(struct segment *s, int64_t ts, int64_t offset, uint32_t end, uint32_t *pos)
{
    struct batch_head h;
    uint32_t floor = 0;

    if (offset > s->base)
        TRY(segment_locate(s, offset, end, &floor, &h));
    TRY(time_floor(s, ts, end, pos));
    if (*pos < floor)
        *pos = floor;
    return OK;
}

/* The largest timestamp of the batches from pos to end. */
static int scan_max(struct segment *s, uint32_t pos, uint32_t end, struct time_index_entry *max)
{
    uint8_t buf[4096];
    struct file_ref *f;
    struct log_scan sc;

    TRY(segment_file(s, &f));
    log_scan_init(&sc, f->fd, pos, end, buf, sizeof buf);
    while (log_scan_next(&sc))
        if (sc.head.max_timestamp > max->timestamp)
            *max = (struct time_index_entry){ sc.head.max_timestamp, sc.head.last_offset };
    file_unref(&f);
    return is_damage(sc.rc) ? log_damaged(s, sc.pos, "the largest timestamp") : sc.rc;
}

int segment_check_last_time(struct segment *s, struct time_index_entry last, uint32_t end, uint32_t upto, bool *right)
{
    struct time_index_entry max = last;
    uint32_t pos = 0;

    *right = true;
    if (last.timestamp >= 0)
        TRY(time_entry_leads(s, last, end, &pos, right));
    if (*right && pos < upto)
        TRY(scan_max(s, pos, upto, &max));
    *right = *right && max.timestamp == last.timestamp;
    return OK;
}

int segment_max(struct segment *s, struct time_index_entry *out)
{
    struct hits hits;
    uint32_t size;
    bool known, right;

    lock_take(s->view);
    known = s->max_known;
    *out = s->max;
    size = s->size;
    lock_drop(s->view);
    if (known)
        return OK;
    *out = (struct time_index_entry){ -1, s->base };
    TRY(search(s, &s->times, &time_kind, INT64_MAX, &hits));
    if (hits.n > 0)
        *out = time_index_get(hits.e[0], s->base);
    TRY(segment_check_last_time(s, *out, size, size, &right));
    if (!right) {
        suspect(s, &time_kind, "its last entry is not the largest timestamp");
        *out = (struct time_index_entry){ -1, s->base };
        TRY(scan_max(s, 0, size, out));
    }
    lock_take(s->view);
    s->max = *out;
    s->max_known = true;
    lock_drop(s->view);
    return OK;
}

int segment_first_timestamp(struct segment *s, int64_t *out)
{
    uint8_t buf[BATCH_HEAD_BYTES];
    struct file_ref *f;
    struct log_scan sc;

    if (!s->first_known && s->size > 0) {
        TRY(segment_file(s, &f));
        log_scan_init(&sc, f->fd, 0, s->size, buf, sizeof buf);
        if (log_scan_next(&sc))
            s->first_timestamp = sc.head.max_timestamp;
        file_unref(&f);
        TRY(sc.rc);
    }
    s->first_known = true;
    *out = s->first_timestamp;
    return OK;
}

bool segment_wants_rebuild(struct segment *s)
{
    return atomic_load_explicit(&s->suspect, memory_order_relaxed) != 0 && !atomic_load(&s->rebuilt);
}
