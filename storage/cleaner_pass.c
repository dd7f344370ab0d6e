/* storage/cleaner_pass.c - one cleaning of one log. */
#include "storage/cleaner_pass.h"

#include "storage/cleaner_filter.h"
#include "storage/fio.h"
#include "storage/plog_impl.h"
#include "storage/segment_txn.h"
#include "storage/segment_writer.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DECOMPRESSED_MAX ((size_t)4 << 30)
#define TXNS_MAX_BYTES   ((size_t)256 << 20)    /* of entries of aborted transactions */
#define GROWTH_BYTES     (INT64_C(64) << 20)    /* by which a group may grow when it is written anew */

struct pass {
    struct plog              *l;
    const struct cleaner_job *job;
    struct cleaner_result    *out;
    /* as of the beginning */
    struct log_opts  opts;
    struct segment **v;                 /* references of all segments */
    size_t           n;
    uint32_t         cuts;
    int              dirfd;             /* of the partition's directory */
    struct snapshot_entry *producers;
    size_t           producers_n;
    struct cleaner_map    map;
    int64_t          map_to;            /* the map knows the records up to here */
    struct arena     arena;             /* of the transactions */
    struct cleaner_txns   txns;
    struct batch_reader   reader;
    struct cleaner_filter filter;
    bool             changed;           /* something of the group is not as it was */
};

/* ---- begin and end ------------------------------------------------------------------------------------------- */

static int take_stock(struct pass *p)
{
    struct plog *l = p->l;

    TRY(plog_usable(l));
    TRY(fio_open(l->place.dirfd, l->place.dir, O_RDONLY | O_DIRECTORY, &p->dirfd));
    TRY(producers_list(&l->producers, &p->producers, &p->producers_n));
    p->v = calloc(l->n, sizeof *p->v);
    if (p->v == NULL)
        return ERR_NOMEM;
    for (; p->n < l->n; p->n++)
        p->v[p->n] = segment_ref(l->segs[p->n]);
    p->opts = l->opts;
    p->cuts = p->out->cuts = l->cuts;
    return l->truncating ? ERR_AGAIN : OK;
}

static int begin(struct pass *p)
{
    struct plog *l = p->l;
    int rc;

    p->dirfd = -1;
    cleaner_filter_init(&p->filter);
    arena_init(&p->arena, TXNS_MAX_BYTES);
    cleaner_map_init(&p->map, p->job->map_bytes, p->job->map_load);
    lock_take(&l->lock);
    rc = take_stock(p);
    lock_drop(&l->lock);
    TRY(rc);
    TRY(batch_reader_init(&p->reader, p->job->io_bytes));
    p->reader.pace = p->job->pace;
    p->reader.pace_arg = p->job->pace_arg;
    return OK;
}

static void end(struct pass *p)
{
    p->out->read_bytes = p->reader.read_bytes;
    p->out->records_in = p->filter.records_in;
    p->out->records_out = p->filter.records_out;
    p->out->keys = p->map.n;
    batch_reader_fini(&p->reader);
    cleaner_map_fini(&p->map);
    cleaner_txns_fini(&p->txns);
    cleaner_filter_fini(&p->filter);
    arena_fini(&p->arena);
    for (size_t i = 0; i < p->n; i++)
        segment_unref(&p->v[i]);
    free(p->v);
    free(p->producers);
    fio_close(&p->dirfd);
}

static int failed_in(struct pass *p, const struct segment *s, int rc)
{
    if (rc != OK && p->out->where[0] == '\0')
        (void)snprintf(p->out->where, sizeof p->out->where, "%020" PRId64 ".log, position %" PRId64, s->base,
                       p->reader.pos);
    return rc;
}

/* Transactions that were aborted, with a marker at or above `from` and a beginning below `upper`. */
static int find_txns(struct pass *p, int64_t from, int64_t upper)
{
    struct txn_found found = { .arena = &p->arena };
    bool complete = false;

    cleaner_txns_fini(&p->txns);
    arena_reset(&p->arena);
    for (size_t i = 0; i < p->n && !complete; i++)
        TRY(segment_txn_find(p->v[i], from, upper, &found, &complete));
    cleaner_txns_init(&p->txns, found.v, found.n);
    return OK;
}

/* ---- the first pass ------------------------------------------------------------------------------------------ */

/* Records that were read, whose keys go into the map next. */
struct ahead {
    struct {
        struct map_hash hash;
        int64_t         offset;
        bool            keyed;
    } v[CLEANER_MAP_AHEAD];
    size_t n;
};

static int put_ahead(struct pass *p, struct ahead *a)
{
    int rc = OK;

    for (size_t i = 0; i < a->n && rc == OK; i++) {
        if (a->v[i].keyed)
            rc = cleaner_map_put(&p->map, a->v[i].hash, a->v[i].offset);
        if (rc == OK)
            p->map_to = a->v[i].offset;
    }
    a->n = 0;
    return rc;
}

static int map_records(struct pass *p, const struct batch_head *h, const uint8_t *bytes)
{
    struct ahead a = { .n = 0 };
    struct record_iter it;
    struct record r;
    int rc = OK;

    record_iter_init(&it, h, bytes, DECOMPRESSED_MAX);
    while (rc == OK && record_iter_next(&it, &r)) {
        if (r.offset < p->reader.first || r.offset > h->last_offset)
            rc = ERR_CORRUPT;
        if (rc != OK || r.offset < p->job->from)
            continue;
        a.v[a.n].offset = r.offset;
        a.v[a.n].keyed = r.key.p != NULL;
        if (r.key.p != NULL)
            a.v[a.n].hash = cleaner_map_hash(&p->map, r.key);
        if (++a.n == CLEANER_MAP_AHEAD)
            rc = put_ahead(p, &a);
    }
    if (rc == OK)
        rc = it.rc;
    if (rc == OK)
        rc = put_ahead(p, &a);
    record_iter_fini(&it);
    return rc;
}

static int map_batch(struct pass *p, const struct batch_head *h, const uint8_t *bytes)
{
    const struct txn_index_entry *entry;
    bool skip = true, unneeded;

    if (batch_is_control(h))
        TRY(cleaner_txns_marker(&p->txns, h, bytes, &unneeded, &entry));
    else
        TRY(cleaner_txns_data(&p->txns, h, &skip));
    if (!skip)
        TRY(map_records(p, h, bytes));
    if (h->last_offset > p->map_to)
        p->map_to = h->last_offset;
    return OK;
}

/* ERR_LIMIT: the map is full, map_to says how far it reaches. */
static int map_segment(struct pass *p, size_t i)
{
    struct segment *s = p->v[i];
    int rc = batch_reader_open(&p->reader, s, p->v[i + 1]->base);

    while (rc == OK && batch_reader_next(&p->reader))
        if (p->reader.head.last_offset >= p->job->from)
            rc = map_batch(p, &p->reader.head, p->reader.p);
    if (rc == OK)
        rc = p->reader.rc;
    return rc == ERR_LIMIT ? rc : failed_in(p, s, rc);
}

static int fill_map(struct pass *p)
{
    int rc = OK;

    p->map_to = p->job->from - 1;
    TRY(find_txns(p, p->job->from, p->job->uncleanable));
    for (size_t i = 0; i + 1 < p->n && rc == OK && p->v[i]->base < p->job->uncleanable; i++) {
        if (p->v[i + 1]->base <= p->job->from)
            continue;
        rc = map_segment(p, i);
        if (rc == OK)
            p->map_to = p->v[i + 1]->base - 1;  /* whatever is missing at its end */
    }
    if (rc == ERR_LIMIT)
        rc = p->map_to >= p->job->from ? OK : ERR_NOMEM;
    return rc;
}

/* ---- the second pass ----------------------------------------------------------------------------------------- */

static uint32_t entries(const struct index *x)
{
    return x->on_file + x->n;
}

/* How many segments from the i-th on, of those that begin below `upper`, become one. */
static size_t group_size(const struct pass *p, size_t i, int64_t upper)
{
    int64_t room = p->opts.segment_bytes < INT32_MAX - GROWTH_BYTES ? p->opts.segment_bytes : INT32_MAX - GROWTH_BYTES;
    int64_t bytes = 0, offsets = 0, times = 0, base = p->v[i]->base;
    size_t n = 0;

    for (size_t k = i; k + 1 < p->n && p->v[k]->base < upper; k++, n++) {
        const struct segment *s = p->v[k];
        bytes += s->size;
        offsets += (int64_t)entries(&s->offsets) * OFFSET_INDEX_ENTRY;
        times += (int64_t)entries(&s->times) * TIME_INDEX_ENTRY;
        if (n > 0 && (bytes > room || offsets > p->opts.segment_index_bytes || times > p->opts.segment_index_bytes ||
                      p->v[k + 1]->base - 1 - base > INT32_MAX))
            break;
    }
    return n;
}

static int put_batch(struct pass *p, struct segment_writer *w)
{
    struct filtered left;

    p->filter.first = p->reader.first;
    TRY(cleaner_filter_batch(&p->filter, &p->reader.head, p->reader.p, &left));
    p->changed |= left.p != p->reader.p;
    w->early = p->changed;
    if (left.aborted != NULL)
        TRY(segment_writer_aborted(w, left.aborted));
    if (left.p == NULL)
        return OK;
    if (p->job->pace != NULL)
        TRY(p->job->pace(p->job->pace_arg, left.head.size_bytes));
    return segment_writer_batch(w, &left.head, left.p);
}

static int copy_segment(struct pass *p, size_t i, int64_t old_limit_ms, struct segment_writer *w)
{
    struct segment *s = p->v[i];
    int64_t mtime = 0;
    int rc;

    TRY(segment_mtime_ms(s, &mtime));
    p->filter.old_tombstones_stay = mtime > old_limit_ms;
    rc = batch_reader_open(&p->reader, s, p->v[i + 1]->base);
    while (rc == OK && batch_reader_next(&p->reader))
        rc = put_batch(p, w);
    return failed_in(p, s, rc == OK ? p->reader.rc : rc);
}

static int clean_group(struct pass *p, size_t i, size_t n, int64_t old_limit_ms)
{
    struct segment_writer w;
    int64_t mtime;
    int rc;

    rc = segment_writer_init(&w, p->dirfd, &p->l->place, &p->l->view, p->v[i]->base, p->opts.index_interval_bytes,
                             p->job->io_bytes);
    p->changed = n > 1;
    for (size_t k = 0; k < n && rc == OK; k++)
        rc = copy_segment(p, i + k, old_limit_ms, &w);
    if (rc == OK && !p->changed && w.seg->aborts.n == entries(&p->v[i]->aborts)) {
        segment_writer_fini(&w);        /* the segment that is there will do */
        return OK;
    }
    if (rc == OK)
        rc = segment_mtime_ms(p->v[i + n - 1], &mtime);
    if (rc == OK)
        rc = segment_writer_finish(&w, mtime);
    if (rc == OK) {
        p->out->written_bytes += w.seg->size;
        rc = plog_replace_segments(p->l, p->v + i, n, p->cuts, &w);
    }
    segment_writer_fini(&w);
    p->out->segments_in += rc == OK ? n : 0;
    p->out->segments_out += rc == OK ? 1 : 0;
    return rc;
}

/* Segments that were written at or before this time hold no tombstones of magic 0 and 1 any longer. */
static int64_t old_limit(const struct pass *p)
{
    const struct segment *clean = NULL;
    int64_t mtime, t;

    for (size_t i = 0; i + 1 < p->n && p->v[i]->base < p->job->from; i++)
        clean = p->v[i];
    if (clean == NULL || segment_mtime_ms(clean, &mtime) != OK)
        return 0;
    return __builtin_sub_overflow(mtime, p->opts.delete_retention_ms, &t) ? 0 : t;
}

static void prepare_filter(struct pass *p)
{
    struct cleaner_filter *f = &p->filter;

    f->map = &p->map;
    f->map_to = p->map_to;
    f->txns = &p->txns;
    f->producers = p->producers;
    f->producers_n = p->producers_n;
    f->now_ms = p->l->dir->opts.now_ms();
    f->delete_retention_ms = p->opts.delete_retention_ms;
    f->codec = p->opts.codec;
    f->codec_level = p->opts.codec_level;
}

static int write_anew(struct pass *p)
{
    int64_t upper = p->map_to + 1, old_limit_ms = old_limit(p);
    size_t last = 0;

    while (last + 1 < p->n && p->v[last]->base < upper)
        last++;
    TRY(find_txns(p, 0, p->v[last]->base));
    prepare_filter(p);
    for (size_t i = 0, n; i < last; i += n) {
        n = group_size(p, i, upper);
        TRY(clean_group(p, i, n, old_limit_ms));
    }
    return OK;
}

/* ---- both ---------------------------------------------------------------------------------------------------- */

/* Files that are missing because retention took their segments meanwhile, or that a truncation cut while they were
 * read, are no failure. */
static int overtaken(const struct pass *p, int rc)
{
    struct plog *l = p->l;
    bool gone, cut;

    if ((rc != ERR_NOENT && rc != ERR_CORRUPT) || p->n == 0)
        return rc;
    lock_take(&l->lock);
    gone = l->segs[0]->base > p->v[0]->base;
    cut = l->cuts != p->cuts;
    lock_drop(&l->lock);
    return cut || (gone && rc == ERR_NOENT) ? ERR_AGAIN : rc;
}

int cleaner_clean(struct plog *l, const struct cleaner_job *job, struct cleaner_result *out)
{
    struct pass p = { .l = l, .job = job, .out = out };
    int rc;

    *out = (struct cleaner_result){ .end = job->from };
    rc = begin(&p);
    if (rc == OK)
        rc = fill_map(&p);
    if (rc == OK)
        rc = write_anew(&p);
    if (rc == OK)
        out->end = p.map_to + 1;
    rc = overtaken(&p, rc);
    end(&p);
    if (rc != OK && plog_usable(l) != OK)
        rc = plog_usable(l);            /* files that were looked for may have been another log's by then */
    return plog_check(l, rc, "compaction");
}
