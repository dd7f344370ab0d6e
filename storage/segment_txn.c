/* storage/segment_txn.c - a segment's aborted transactions, in memory and in .txnindex. */
#include "storage/segment_txn.h"

#include "base/crc32c.h"
#include "storage/fio.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>

#define TXN_FILE_MAX ((size_t)1 << 30)
#define TXN_TAIL_MAX 512                /* entries that wait in memory, but for those of one append */
#define BLOCK        64                 /* entries read at once */

/* ---- what the entries reach over ----------------------------------------------------------------------------- */

static void widen(struct txn_span *sp, const struct txn_index_entry *e)
{
    if (e->first_offset < sp->first)
        sp->first = e->first_offset;
    if (e->stable_offset > sp->stable)
        sp->stable = e->stable_offset;
    sp->last = e->last_offset;
}

static struct txn_span span_of(const uint8_t *p, size_t n)
{
    struct txn_span sp = { INT64_MAX, -1, -1 };
    struct txn_index_entry e;

    for (size_t i = 0; i < n; i++) {
        (void)txn_index_get(p + i * TXN_INDEX_ENTRY, &e);
        widen(&sp, &e);
    }
    return sp;
}

/* ---- open, add, cut ------------------------------------------------------------------------------------------ */

static void sum_add(struct txn_sum *sum, int64_t base, const uint8_t *p, size_t n)
{
    uint8_t b[8];

    if (n == 0)
        return;
    be_put64(b, (uint64_t)base);
    sum->crc = crc32c(sum->crc, b, sizeof b);
    sum->crc = crc32c(sum->crc, p, n * TXN_INDEX_ENTRY);
    sum->entries += (uint32_t)n;
}

int segment_txn_sum(const struct segment *s, struct txn_sum *sum)
{
    char path[SEGMENT_PATH_MAX];
    uint8_t *p;
    size_t len;
    int rc = OK;

    if (s->aborts.on_file == 0)
        return OK;
    segment_path(s->place, s->base, SEGMENT_TXNINDEX, "", path);
    TRY(fio_read_file(s->place->dirfd, path, TXN_FILE_MAX, &p, &len));
    if (len == (size_t)s->aborts.on_file * TXN_INDEX_ENTRY)
        sum_add(sum, s->base, p, s->aborts.on_file);
    else
        rc = ERR_CORRUPT;
    free(p);
    return rc;
}

int segment_txn_open(struct segment *s, struct txn_sum *sum)
{
    char path[SEGMENT_PATH_MAX];
    uint8_t *p;
    size_t len, n;
    int rc;

    segment_path(s->place, s->base, SEGMENT_TXNINDEX, "", path);
    rc = fio_read_file(s->place->dirfd, path, TXN_FILE_MAX, &p, &len);
    if (rc == ERR_NOENT)
        return OK;
    if (rc == ERR_TOO_LARGE)
        return ERR_CORRUPT;
    TRY(rc);
    n = txn_index_valid(p, len, s->base);
    if (len > 0 && n * TXN_INDEX_ENTRY == len) { /* one without entries is not made: it lost them */
        s->aborts.on_file = (uint32_t)n;
        s->span = span_of(p, n);
        sum_add(sum, s->base, p, n);
    } else {
        rc = ERR_CORRUPT;
    }
    free(p);
    return rc;
}

int segment_txn_room(struct segment *s, size_t n)
{
    if (n > UINT32_MAX / 2 / TXN_INDEX_ENTRY)
        return ERR_LIMIT;
    if (s->aborts.n >= TXN_TAIL_MAX) {
        int rc = segment_tail_flush(s, &s->aborts, TXN_INDEX_ENTRY, SEGMENT_TXNINDEX);
        if (rc != OK && rc != ERR_NOSPACE)      /* else they wait until there is room */
            return rc;
    }
    return segment_tail_room(s, &s->aborts, TXN_INDEX_ENTRY, (uint32_t)n);
}

void segment_txn_put(struct segment *s, const struct txn_index_entry *e)
{
    lock_assert(s->view);
    if (e->last_offset <= s->span.last)
        return;                         /* recovery reads a batch whose entry was kept */
    assert(s->aborts.n < s->aborts.cap);
    txn_index_put(s->aborts.tail + (size_t)s->aborts.n * TXN_INDEX_ENTRY, e);
    s->aborts.n++;
    widen(&s->span, e);
}

/* How many of n entries end below `offset`. */
static size_t count_below(const uint8_t *p, size_t n, int64_t offset)
{
    size_t lo = 0, hi = n;

    while (lo < hi) {
        struct txn_index_entry e;
        size_t mid = lo + (hi - lo) / 2;
        (void)txn_index_get(p + mid * TXN_INDEX_ENTRY, &e);
        if (e.last_offset < offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int cut_file(struct segment *s, const char *path, size_t n)
{
    int fd, rc;

    if (n == 0)
        return fio_unlink(s->place->dirfd, path);
    TRY(fio_open(s->place->dirfd, path, O_WRONLY, &fd));
    rc = fio_truncate(fd, (int64_t)(n * TXN_INDEX_ENTRY));
    fio_close(&fd);
    return rc;
}

static void keep_first(struct segment *s, size_t on_file, size_t in_tail, struct txn_span sp)
{
    struct txn_span rest = span_of(s->aborts.tail, in_tail);

    if (rest.first < sp.first)
        sp.first = rest.first;
    if (rest.stable > sp.stable)
        sp.stable = rest.stable;
    if (in_tail > 0)
        sp.last = rest.last;
    lock_take(s->view);
    s->aborts.on_file = (uint32_t)on_file;
    s->aborts.n = (uint32_t)in_tail;
    s->span = sp;
    lock_drop(s->view);
}

int segment_txn_cut(struct segment *s, int64_t offset)
{
    struct txn_span sp = { INT64_MAX, -1, -1 };
    char path[SEGMENT_PATH_MAX];
    uint8_t *p = NULL;
    size_t len = 0, n = 0;
    int rc;

    segment_path(s->place, s->base, SEGMENT_TXNINDEX, "", path);
    if (offset > s->base && s->aborts.on_file > 0) {
        if (s->span.last < offset)
            return OK;
        TRY(fio_read_file(s->place->dirfd, path, TXN_FILE_MAX, &p, &len));
        if (len > (size_t)s->aborts.on_file * TXN_INDEX_ENTRY)
            len = (size_t)s->aborts.on_file * TXN_INDEX_ENTRY;
        n = count_below(p, len / TXN_INDEX_ENTRY, offset);
        sp = span_of(p, n);
        free(p);
    }
    rc = n < s->aborts.on_file || n == 0 ? cut_file(s, path, n) : OK;
    if (rc == OK)
        keep_first(s, n, count_below(s->aborts.tail, s->aborts.n, offset), sp);
    return rc;
}

/* ---- looking up ---------------------------------------------------------------------------------------------- */

static int take(struct txn_found *out, const struct txn_index_entry *e)
{
    if (out->n == out->cap) {
        size_t cap = out->cap == 0 ? 16 : out->cap * 2;
        struct txn_index_entry *v = arena_array(out->arena, cap, sizeof *v);
        if (v == NULL)
            return ERR_NOMEM;
        if (out->n > 0)
            memcpy(v, out->v, out->n * sizeof *v);
        out->v = v;
        out->cap = cap;
    }
    out->v[out->n++] = *e;
    return OK;
}

struct question {
    int64_t from, upper;
    struct txn_found *out;
    bool   *complete;
};

/* Of these entries, which end at or above q->from. */
static int take_from(const struct question *q, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n && !*q->complete; i++) {
        struct txn_index_entry e;
        (void)txn_index_get(p + i * TXN_INDEX_ENTRY, &e);
        if (e.last_offset >= q->from && e.first_offset < q->upper)
            TRY(take(q->out, &e));
        *q->complete = e.stable_offset >= q->upper;
    }
    return OK;
}

/* The first of the n entries in the file that ends at or above `from`. */
static int search_file(int fd, size_t n, int64_t from, size_t *at)
{
    uint8_t b[TXN_INDEX_ENTRY];
    size_t lo = 0, hi = n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        TRY(fio_pread_all(fd, b, sizeof b, (int64_t)(mid * TXN_INDEX_ENTRY)));
        if (count_below(b, 1, from) == 1)
            lo = mid + 1;
        else
            hi = mid;
    }
    *at = lo;
    return OK;
}

static int find_in_file(const struct segment *s, const struct question *q, size_t n)
{
    uint8_t b[BLOCK * TXN_INDEX_ENTRY];
    char path[SEGMENT_PATH_MAX];
    size_t at = 0;
    int fd, rc;

    segment_path(s->place, s->base, SEGMENT_TXNINDEX, "", path);
    TRY(fio_open(s->place->dirfd, path, O_RDONLY, &fd));
    rc = search_file(fd, n, q->from, &at);
    while (rc == OK && at < n && !*q->complete) {
        size_t k = n - at < BLOCK ? n - at : BLOCK;
        rc = fio_pread_all(fd, b, k * TXN_INDEX_ENTRY, (int64_t)(at * TXN_INDEX_ENTRY));
        if (rc == OK)
            rc = take_from(q, b, k);
        at += k;
    }
    fio_close(&fd);
    return rc;
}

/* Entries in memory, malloc'ed, and how many are in the file before them. */
static int copy_tail(struct segment *s, size_t *on_file, uint8_t **p, size_t *n)
{
    size_t cap;

    lock_take(s->view);
    cap = s->aborts.n;
    lock_drop(s->view);
    *p = malloc(cap * TXN_INDEX_ENTRY + 1);
    if (*p == NULL)
        return ERR_NOMEM;
    lock_take(s->view);
    *on_file = s->aborts.on_file;
    *n = s->aborts.n < cap ? s->aborts.n : cap;         /* what came in between is above all that is asked for */
    if (*n > 0)
        memcpy(*p, s->aborts.tail, *n * TXN_INDEX_ENTRY);
    lock_drop(s->view);
    return OK;
}

int segment_txn_find(struct segment *s, int64_t from, int64_t upper, struct txn_found *out, bool *complete)
{
    const struct question q = { from, upper, out, complete };
    struct txn_span sp;
    size_t on_file, n;
    uint8_t *tail;
    int rc = OK;

    lock_take(s->view);
    sp = s->span;
    lock_drop(s->view);
    *complete = false;
    if (sp.last < from || sp.first >= upper) {
        *complete = sp.stable >= upper;
        return OK;
    }
    TRY(copy_tail(s, &on_file, &tail, &n));
    if (on_file > 0)
        rc = find_in_file(s, &q, on_file);
    if (rc == OK)
        rc = take_from(&q, tail, n);
    free(tail);
    return rc;
}

/* ---- how far a region of the .log reaches ---------------------------------------------------------------------- */

static bool before(const uint8_t *p, uint32_t end)
{
    return offset_index_get(p, 0).pos < end;
}

/* The first of the n entries in .index whose position is not before `end`; n: none. */
static int bound_in_file(const struct segment *s, size_t n, uint32_t end, uint8_t *entry, bool *found)
{
    uint8_t b[OFFSET_INDEX_ENTRY];
    char path[SEGMENT_PATH_MAX];
    size_t lo = 0, hi = n;
    int fd, rc = OK;

    segment_path(s->place, s->base, SEGMENT_INDEX, "", path);
    TRY(fio_open(s->place->dirfd, path, O_RDONLY, &fd));
    while (rc == OK && lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        rc = fio_pread_all(fd, b, sizeof b, (int64_t)(mid * OFFSET_INDEX_ENTRY));
        if (rc == OK && before(b, end)) {
            lo = mid + 1;
        } else if (rc == OK) {
            hi = mid;
            memcpy(entry, b, sizeof b);
            *found = true;
        }
    }
    fio_close(&fd);
    return rc;
}

int segment_upper_bound(struct segment *s, uint32_t end, int64_t *upper)
{
    uint8_t e[OFFSET_INDEX_ENTRY];
    size_t on_file, lo = 0, hi;
    bool found, right = true;
    int rc = OK;

    lock_take(s->view);
    on_file = s->offsets.on_file;
    hi = s->offsets.n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (before(s->offsets.tail + mid * OFFSET_INDEX_ENTRY, end))
            lo = mid + 1;
        else
            hi = mid;
    }
    found = lo < s->offsets.n;
    if (found)
        memcpy(e, s->offsets.tail + lo * OFFSET_INDEX_ENTRY, sizeof e);
    lock_drop(s->view);
    if (lo == 0 && on_file > 0)         /* else one in memory is before the end, and all in the file are */
        rc = bound_in_file(s, on_file, end, e, &found);
    if (rc == ERR_SHORT)
        return OK;                      /* a damaged index: the answer is wider then */
    if (rc == OK && found && lo == 0)
        rc = segment_check_entry(s, offset_index_get(e, s->base), &right);
    if (rc == OK && found && right)
        *upper = offset_index_get(e, s->base).offset;
    return rc;
}
