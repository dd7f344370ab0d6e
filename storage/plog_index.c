/* storage/plog_index.c - opening a log: segments and their indexes, which entries can be trusted, and
 * rebuilding them. */
#include "storage/plog_load_impl.h"

#include "base/log.h"
#include "storage/fio.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

#define INDEX_MAX ((size_t)1 << 28)

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

int load_keep_entries(struct segment *s, uint32_t offsets, uint32_t times)
{
    TRY(segment_cut_index(s, SEGMENT_INDEX, (int64_t)offsets * OFFSET_INDEX_ENTRY));
    TRY(segment_cut_index(s, SEGMENT_TIMEINDEX, (int64_t)times * TIME_INDEX_ENTRY));
    s->offsets.on_file = offsets;
    s->times.on_file = times;
    s->offsets.n = s->times.n = 0;
    return OK;
}

/* Apache Kafka makes the index files of an active segment longer than their content; after a crash they end with zeros.
 * Binary search: what is before the first entry of zeros stays. */
static int trim_zeros(struct segment *s, enum segment_file f, size_t entry, uint32_t *n)
{
    uint8_t e[TIME_INDEX_ENTRY], zeros[TIME_INDEX_ENTRY] = { 0 };
    char path[SEGMENT_PATH_MAX];
    uint32_t lo = 0, hi = *n;
    int fd, rc = OK;

    segment_path(s->place, s->base, f, "", path);
    TRY(fio_open(s->place->dirfd, path, O_RDONLY, &fd));
    if (hi > 0)
        rc = fio_pread_all(fd, e, entry, (int64_t)(hi - 1) * (int64_t)entry);
    if (hi > 0 && rc == OK && memcmp(e, zeros, entry) != 0)
        lo = hi;
    while (rc == OK && lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        rc = fio_pread_all(fd, e, entry, (int64_t)mid * (int64_t)entry);
        if (rc == OK && memcmp(e, zeros, entry) == 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    fio_close(&fd);
    TRY(rc);
    if (lo == *n)
        return OK;
    *n = lo;
    return segment_cut_index(s, f, (int64_t)lo * (int64_t)entry);
}

#define BATCH_LEAST 64                  /* bytes: if there were an entry for each, the files would not be longer */

static int trim_indexes(struct load *ld, struct segment *s)
{
    bool last = s->base == ld->logs.v[ld->logs.n - 1] && !ld->l->dir->was_clean;
    uint32_t most = s->size / BATCH_LEAST + 1;

    if (last || s->offsets.on_file > most)
        TRY(trim_zeros(s, SEGMENT_INDEX, OFFSET_INDEX_ENTRY, &s->offsets.on_file));
    if (last || s->times.on_file > most)
        TRY(trim_zeros(s, SEGMENT_TIMEINDEX, TIME_INDEX_ENTRY, &s->times.on_file));
    return OK;
}

/* Its .log is walked once. Damage there is found again, and told, by who reads it. */
static int rebuild(struct load *ld, struct segment *s)
{
    int64_t damage;
    int rc = segment_rebuild_indexes(s, ld->l->opts.index_interval_bytes, true, &damage);

    ld->out->read_bytes += s->size;
    if (rc == ERR_RANGE)
        ld->too_long = s->base;
    if (rc == OK)
        log_info("%s: indexes of segment %" PRId64 " rebuilt", ld->l->name, s->base);
    return rc;
}

int load_open_segment(struct load *ld, int64_t base)
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
    if (base > OFFSET_LIMIT) {
        log_error("%s/%s: no segment begins at such an offset; move the file away", ld->l->dir->path, path);
        return ERR_CORRUPT;
    }
    if (size > UINT32_MAX) {
        log_error("%s/%s: %" PRId64 " bytes is more than a segment can have; move the file away", ld->l->dir->path,
                  path, size);
        return ERR_CORRUPT;
    }
    s->size = (uint32_t)size;
    s->created_ms = ld->l->dir->opts.now_ms();
    TRY(index_entries(s, SEGMENT_INDEX, OFFSET_INDEX_ENTRY, &s->offsets.on_file, &no_offsets));
    TRY(index_entries(s, SEGMENT_TIMEINDEX, TIME_INDEX_ENTRY, &s->times.on_file, &no_times));
    s->aborts_lost = no_offsets;
    return no_offsets || no_times ? rebuild(ld, s) : trim_indexes(ld, s);
}

int load_take_batch(struct load *ld, struct segment *s, const struct log_scan *sc)
{
    TRY(segment_index_room(s));
    lock_take(&ld->l->view);
    segment_publish(s, sc->head.size_bytes, sc->head.last_offset, sc->head.max_timestamp, sc->head.last_offset,
                    ld->as_they_are ? INT32_MAX : ld->l->opts.index_interval_bytes);
    lock_drop(&ld->l->view);
    ld->last = sc->head;
    if (sc->head.last_offset >= ld->expect)
        ld->expect = sc->head.last_offset + 1;
    return OK;
}

bool load_is_damage(int rc)
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

/* It begins with a message of format 0, which has no time: so there may be no time entry either. */
static bool begins_timeless(struct segment *s)
{
    uint8_t p[BATCH_HEAD_BYTES];
    struct batch_head h = { .magic = -1 };
    struct file_ref *f;
    size_t n;

    if (segment_file(s, &f) != OK)
        return false;
    if (fio_pread(f->fd, p, sizeof p, 0, &n) != OK || batch_head_read(&h, p, n) != OK)
        h.magic = -1;
    file_unref(&f);
    return h.magic == 0;
}

/* Time entries for batches below `below`, of which the last becomes the segment's last; *junk: something about them is
 * wrong, as far as can be seen here. */
static int trusted_times(struct segment *s, int64_t below, uint32_t *times, bool *junk)
{
    char path[SEGMENT_PATH_MAX];
    size_t len, n;
    uint8_t *p;

    segment_path(s->place, s->base, SEGMENT_TIMEINDEX, "", path);
    TRY(fio_read_file(s->place->dirfd, path, INDEX_MAX, &p, &len));
    n = time_index_valid(p, len);
    *junk = (n == 0 && s->offsets.on_file > 0 && !begins_timeless(s)) ||
            has_junk(p + n * TIME_INDEX_ENTRY, len - n * TIME_INDEX_ENTRY);
    while (n > 0 && time_index_get(p + (n - 1) * TIME_INDEX_ENTRY, s->base).offset >= below)
        n--;
    if (n > 0 && !*junk)
        s->last_time = time_index_get(p + (n - 1) * TIME_INDEX_ENTRY, s->base);
    free(p);
    *times = (uint32_t)n;
    return OK;
}

/* Likewise; *pos is where the last one points. */
static int trusted_offsets(struct segment *s, int64_t file_size, int64_t below, uint32_t *offsets, uint32_t *pos)
{
    char path[SEGMENT_PATH_MAX];
    struct offset_index_entry e;
    size_t len, n;
    uint8_t *p;

    segment_path(s->place, s->base, SEGMENT_INDEX, "", path);
    TRY(fio_read_file(s->place->dirfd, path, INDEX_MAX, &p, &len));
    n = offset_index_valid(p, len, file_size);
    while (n > 0 && offset_index_get(p + (n - 1) * OFFSET_INDEX_ENTRY, s->base).offset >= below)
        n--;
    *pos = 0;
    if (n > 0) {
        e = offset_index_get(p + (n - 1) * OFFSET_INDEX_ENTRY, s->base);
        *pos = e.pos;
        s->last_indexed = e.offset;
    }
    free(p);
    *offsets = (uint32_t)n;
    return OK;
}

/* Entries of both index files that stand for batches below `below`; their last ones become the segment's last. None
 * if the time index is damaged: what stood in the rest of it is not known then. */
static int trusted_entries(struct segment *s, int64_t file_size, int64_t below, uint32_t *offsets, uint32_t *times,
                           uint32_t *pos)
{
    uint32_t offsets_n = s->offsets.on_file, times_n = s->times.on_file;
    bool junk, right = true;
    int rc = OK;

    TRY(trusted_times(s, below, times, &junk));
    TRY(trusted_offsets(s, file_size, below, offsets, pos));
    /* Not to be looked up: the zeros behind. */
    s->offsets.on_file = *offsets;
    s->times.on_file = *times;
    if (!junk && *pos > 0)
        rc = segment_check_last_time(s, s->last_time, (uint32_t)file_size, *pos, &right);
    s->offsets.on_file = offsets_n;
    s->times.on_file = times_n;
    if (load_is_damage(rc))
        right = false;                  /* of the .log: the walk will come by it */
    else
        TRY(rc);
    if (!junk && right)
        return OK;
    load_begin_indexes(s);
    *offsets = *times = *pos = 0;
    return OK;
}

bool load_offset_is_wrong(const struct load *ld, const struct log_scan *sc)
{
    uint8_t p[BATCH_HEAD_BYTES];
    struct batch_head next;
    size_t n, left = (size_t)(sc->end - sc->next);
    int64_t first = sc->head.base_offset >= 0 ? sc->head.base_offset : sc->head.last_offset;

    if (first <= ld->expect || left == 0)
        return false;
    if (fio_pread(sc->fd, p, left < sizeof p ? left : sizeof p, sc->next, &n) != OK ||
        batch_head_read(&next, p, n) != OK)
        return false;
    return next.last_offset >= ld->expect && next.last_offset <= sc->head.last_offset;
}

/* A recovery by Apache Kafka leaves a batch that stands in the file twice. */
static bool is_repeated(const struct load *ld, const struct batch_head *h)
{
    const struct batch_head *last = &ld->last;

    return last->size_bytes == h->size_bytes && last->base_offset == h->base_offset &&
           last->last_offset == h->last_offset && last->crc == h->crc;
}

/* ERR_RANGE: the offset is sound but too far from the base for an index. */
static int check_trusted(struct load *ld, const struct segment *s, const struct log_scan *sc)
{
    const struct batch_head *h = &sc->head;
    int64_t first = h->base_offset >= 0 ? h->base_offset : h->last_offset;

    if ((first < ld->expect && !is_repeated(ld, h)) || h->last_offset < first || h->last_offset > OFFSET_LIMIT ||
        load_offset_is_wrong(ld, sc))
        return ERR_CORRUPT;
    return segment_fits(s, h) ? OK : ERR_RANGE;
}

/* Walks from the chunk of the last trusted index entry at `pos` to the first batch that is not wholly below `below`,
 * which may be the end; s->size is then there, and index entries that were lacking are made. ERR_CORRUPT, ERR_SHORT: a
 * batch on the way does not parse, s->size is where. */
static int walk_trusted(struct load *ld, struct segment *s, int fd, int64_t file_size, int64_t below, uint32_t pos)
{
    int64_t entry = s->last_indexed;
    bool met = pos == 0;                /* the batch that the entry stands for: it must be on the way */
    struct log_scan sc;
    int rc = OK;

    lock_take(s->view);
    s->size = pos;
    s->since_index = 0;
    s->max = s->last_time;
    s->max_known = true;
    lock_drop(s->view);
    ld->expect = s->base;
    ld->last = (struct batch_head){ 0 };
    log_scan_init(&sc, fd, pos, file_size, ld->buf, pos > 0 ? NEAR_BUFFER : SCAN_BUFFER);
    while (rc == OK && (rc = load_goes_on(ld)) == OK && log_scan_next(&sc) && sc.head.last_offset < below) {
        met |= segment_holds(&sc.head, ld->last.size_bytes > 0 ? ld->last.last_offset : -1, entry);
        rc = met || sc.head.last_offset <= entry ? check_trusted(ld, s, &sc) : ERR_CORRUPT;
        if (rc == OK)
            rc = load_take_batch(ld, s, &sc);
    }
    if (rc == OK && sc.rc == OK && !met)
        rc = ERR_CORRUPT;
    ld->out->read_bytes += sc.read_bytes;
    return rc != OK ? rc : sc.rc;
}

void load_begin_indexes(struct segment *s)
{
    s->last_time = s->max = (struct time_index_entry){ -1, s->base };
    s->last_indexed = s->base - 1;
    s->since_index = 0;
}

/* s->offsets.on_file and s->times.on_file are what the files hold. After a clean stop sound files stay as they are;
 * Apache Kafka counts the bytes since the last entry anew at each start, so that its indexes may end early. */
int load_walk_from_index(struct load *ld, struct segment *s, int fd, int64_t file_size, int64_t below)
{
    uint32_t offsets, times, pos;
    int rc;

    load_begin_indexes(s);
    TRY(trusted_entries(s, file_size, below, &offsets, &times, &pos));
    if (offsets != s->offsets.on_file || times != s->times.on_file)
        TRY(load_keep_entries(s, offsets, times));
    else
        ld->as_they_are = below == INT64_MAX && offsets > 0;
    rc = walk_trusted(ld, s, fd, file_size, below, pos);
    ld->as_they_are = false;
    if (pos > 0 && (load_is_damage(rc) || rc == ERR_RANGE)) {
        load_begin_indexes(s);
        TRY(load_keep_entries(s, 0, 0));
        rc = walk_trusted(ld, s, fd, file_size, below, 0);
    }
    if (rc == ERR_RANGE)
        ld->too_long = s->base;
    return rc;
}

int load_batch_at(const struct load *ld, int64_t offset, struct batch_head *h)
{
    const struct plog *l = ld->l;
    size_t i = l->n;
    uint32_t pos;
    int rc;

    *h = (struct batch_head){ 0 };
    while (i > 1 && l->segs[i - 1]->base > offset)
        i--;
    rc = segment_locate(l->segs[i - 1], offset, l->segs[i - 1]->size, &pos, h);
    if (rc == OK)
        return OK;
    *h = (struct batch_head){ 0 };
    return rc == ERR_RANGE || load_is_damage(rc) ? OK : rc;
}

int plog_mend(struct plog *l)
{
    if (l->swapping || l->truncating)
        return OK;                      /* names and segments are changing; the next look-up asks again */
    for (size_t i = 0; i < l->n; i++) {
        struct segment *s = l->segs[i];
        bool sealed = i + 1 < l->n;
        int64_t damage;
        int rc;
        if (!segment_wants_rebuild(s))
            continue;
        rc = segment_rebuild_indexes(s, l->opts.index_interval_bytes, sealed, &damage);
        if (rc == OK)
            log_info("%s: indexes of segment %" PRId64 " rebuilt", l->name, s->base);
        else if (rc != ERR_RANGE && rc != ERR_NOMEM)
            return rc;                  /* else its look-ups take longer, until the next start */
    }
    return OK;
}
