/* storage/cleaner_filter.c - what compaction leaves of a batch: one pass over its records decides, a second one, where
 * some go, writes the others. */
#include "storage/cleaner_filter.h"

#include "proto/records/builder.h"

#include <stdlib.h>

#define DECOMPRESSED_MAX ((size_t)4 << 30)      /* of one batch; it went through validation when it came */
#define OUT_KEPT_BYTES   ((size_t)8 << 20)      /* a larger buffer is given back after use */
#define OUT_FIRST_BYTES  ((size_t)64 << 10)

void cleaner_filter_init(struct cleaner_filter *f)
{
    *f = (struct cleaner_filter){ .codec = -1 };
    arena_init(&f->arena, (size_t)INT32_MAX * 3);
    outbuf_init(&f->out, &f->arena, OUT_FIRST_BYTES, INT32_MAX);
}

void cleaner_filter_fini(struct cleaner_filter *f)
{
    arena_fini(&f->arena);
    free(f->keep);
    f->keep = NULL;
}

/* ---- what is decided about a batch as a whole ---------------------------------------------------------------- */

struct verdict {
    bool drop_records;
    bool unneeded_marker;               /* a marker whose transaction has no batch any more */
    bool keep_header;                   /* when no record is left */
    /* found in the first pass over the records */
    int32_t records, kept;
    int64_t first_kept;                 /* offset */
    bool    tombstone;                  /* one is kept */
    bool    mixed;                      /* a record of another magic than its batch: written anew to mend that */
};

static int by_id(const void *a, const void *b)
{
    const struct snapshot_entry *x = a, *y = b;

    return (x->producer_id > y->producer_id) - (x->producer_id < y->producer_id);
}

/* What the log knows of the producer it knows from this batch: its last sequence, or only its epoch. */
static bool is_last_of_producer(const struct cleaner_filter *f, const struct batch_head *h)
{
    const struct snapshot_entry key = { .producer_id = h->producer_id }, *e = NULL;

    if (h->producer_id >= 0 && f->producers_n > 0)
        e = bsearch(&key, f->producers, f->producers_n, sizeof key, by_id);
    if (e == NULL)
        return false;
    if (e->last_offset >= 0)
        return e->last_offset == h->last_offset;
    return batch_is_control(h) && e->epoch == h->producer_epoch;
}

static bool horizon_over(const struct cleaner_filter *f, const struct batch_head *h)
{
    return batch_has_horizon(h) && h->base_timestamp <= f->now_ms;
}

static int judge(struct cleaner_filter *f, const struct batch_head *h, const uint8_t *p, struct verdict *v,
                 const struct txn_index_entry **aborted)
{
    *v = (struct verdict){ .first_kept = -1, .keep_header = h->magic >= 2 && is_last_of_producer(f, h) };
    if (!batch_is_control(h))
        return cleaner_txns_data(f->txns, h, &v->drop_records);
    TRY(cleaner_txns_marker(f->txns, h, p, &v->unneeded_marker, aborted));
    v->drop_records = v->unneeded_marker && horizon_over(f, h);
    return OK;
}

/* ---- records ------------------------------------------------------------------------------------------------- */

/* What is to be known of a record when it is decided about. */
struct seen {
    struct map_hash hash;
    int64_t         offset;
    bool            keyed, tombstone, other_magic;
};

static bool stays(const struct cleaner_filter *f, const struct batch_head *h, const struct seen *r)
{
    if (batch_is_control(h) || r->offset > f->map_to)
        return true;
    if (!r->keyed || r->offset < cleaner_map_get(f->map, r->hash))
        return false;
    return !r->tombstone || (h->magic >= 2 ? !horizon_over(f, h) : f->old_tombstones_stay);
}

static int mark(struct cleaner_filter *f, size_t i, bool keep)
{
    if (i / 8 >= f->keep_cap) {
        size_t cap = f->keep_cap == 0 ? 1024 : f->keep_cap * 2;
        uint8_t *bigger = realloc(f->keep, cap);
        if (bigger == NULL)
            return ERR_NOMEM;
        f->keep = bigger;
        f->keep_cap = cap;
    }
    if (i % 8 == 0)
        f->keep[i / 8] = 0;
    f->keep[i / 8] |= (uint8_t)(keep ? 1U << i % 8 : 0U);
    return OK;
}

static bool is_marked(const struct cleaner_filter *f, size_t i)
{
    return (f->keep[i / 8] >> i % 8 & 1) != 0;
}

static int decide(struct cleaner_filter *f, const struct batch_head *h, const struct seen *v, size_t n,
                  struct verdict *out)
{
    for (size_t i = 0; i < n; i++) {
        bool keep = stays(f, h, &v[i]);
        TRY(mark(f, (size_t)out->records++, keep));
        if (!keep)
            continue;
        if (out->kept++ == 0)
            out->first_kept = v[i].offset;
        out->tombstone |= v[i].tombstone;
        out->mixed |= v[i].other_magic;
    }
    return OK;
}

static int look_at_records(struct cleaner_filter *f, const struct batch_head *h, const uint8_t *p, struct verdict *v)
{
    struct seen ahead[CLEANER_MAP_AHEAD];
    struct record_iter it;
    struct record r;
    size_t n = 0;
    int rc = OK;

    record_iter_init(&it, h, p, DECOMPRESSED_MAX);
    while (rc == OK && record_iter_next(&it, &r)) {
        if (r.offset < f->first || r.offset > h->last_offset)
            rc = ERR_CORRUPT;
        ahead[n] = (struct seen){ .offset = r.offset, .keyed = r.key.p != NULL, .tombstone = r.value.p == NULL,
                                  .other_magic = r.magic != h->magic };
        if (r.key.p != NULL)
            ahead[n].hash = cleaner_map_hash(f->map, r.key);
        if (++n == CLEANER_MAP_AHEAD && rc == OK) {
            rc = decide(f, h, ahead, n, v);
            n = 0;
        }
    }
    if (rc == OK)
        rc = it.rc;
    if (rc == OK)
        rc = decide(f, h, ahead, n, v);
    record_iter_fini(&it);
    return rc;
}

/* ---- writing anew -------------------------------------------------------------------------------------------- */

/* As empty_header() leaves it. */
static bool is_empty_header(const struct batch_head *h)
{
    return h->count == 0 && h->size_bytes == BATCH_HEAD_BYTES && h->base_timestamp == NO_TIMESTAMP &&
           batch_codec(h) == CODEC_NONE && !batch_has_horizon(h);
}

static void empty_header(struct cleaner_filter *f, const struct batch_head *h, struct filtered *out)
{
    uint8_t *p = outbuf_room(&f->out, BATCH_HEAD_BYTES);

    if (p == NULL)
        return;
    out->head = *h;
    out->head.size_bytes = BATCH_HEAD_BYTES;
    out->head.count = 0;
    out->head.base_timestamp = NO_TIMESTAMP;
    out->head.attributes &= BATCH_ATTR_APPEND_TIME | BATCH_ATTR_TXN | BATCH_ATTR_CONTROL;
    batch_head_write(&out->head, p);
    out->p = p;
}

static void opts_of(const struct cleaner_filter *f, const struct batch_head *h, const struct verdict *v,
                    int64_t horizon_ms, struct builder_opts *o)
{
    builder_opts_init(o);
    o->magic = h->magic;
    o->codec = batch_codec(h);
    o->level = (int)o->codec == f->codec ? f->codec_level : codec_default_level(o->codec);
    o->append_time = batch_is_append_time(h);
    o->append_ms = o->append_time ? h->max_timestamp : NO_TIMESTAMP;
    o->base_offset = v->first_kept;
    if (h->magic < 2)
        return;
    o->control = batch_is_control(h);
    o->base_offset = h->base_offset;
    o->last_offset = h->last_offset;
    o->leader_epoch = h->leader_epoch;
    o->delete_horizon_ms = horizon_ms;
    if (h->base_sequence < 0 && !o->control)
        return;                         /* a coordinator's: see put_producer() */
    o->txn = batch_is_txn(h);
    o->producer_id = h->producer_id;
    o->producer_epoch = h->producer_epoch;
    o->base_sequence = h->base_sequence;
}

/* A producer without sequence numbers, which the builder rightly refuses to clients. */
static void put_producer(const struct batch_head *h, uint8_t *p, struct batch_head *made)
{
    made->producer_id = h->producer_id;
    made->producer_epoch = h->producer_epoch;
    made->attributes |= h->attributes & BATCH_ATTR_TXN;
    batch_head_write(made, p);
}

static int write_anew(struct cleaner_filter *f, const struct batch_head *h, const uint8_t *p, const struct verdict *v,
                      int64_t horizon_ms, struct filtered *out)
{
    struct builder_opts o;
    struct record_iter it;
    struct builder b;
    struct record r;
    struct bytes made;
    size_t i = 0;
    int rc;

    opts_of(f, h, v, horizon_ms, &o);
    builder_init_into(&b, &o, &f->out);
    record_iter_init(&it, h, p, DECOMPRESSED_MAX);
    while (b.rc == OK && record_iter_next(&it, &r))
        if (is_marked(f, i++))
            builder_add(&b, &r);
    rc = it.rc;
    if (rc == OK)
        rc = builder_finish(&b, &made);
    if (rc == OK)
        rc = batch_head_read(&out->head, made.p, made.len);
    if (rc == OK && o.producer_id != h->producer_id)
        put_producer(h, f->out.p + (made.p - f->out.p), &out->head);
    if (rc == OK)
        out->p = made.p;
    record_iter_fini(&it);
    builder_fini(&b);
    return rc;
}

/* What is to be set at once as the batch's horizon; -1: it has none and needs none. */
static int64_t horizon_of(const struct cleaner_filter *f, const struct batch_head *h, const struct verdict *v,
                          bool *set)
{
    int64_t t;

    *set = false;
    if (batch_has_horizon(h))
        return h->base_timestamp;
    if (h->magic < 2 || (!v->tombstone && !v->unneeded_marker))
        return NO_TIMESTAMP;
    *set = true;
    return __builtin_add_overflow(f->now_ms, f->delete_retention_ms, &t) ? INT64_MAX : t;
}

static void empty_buffer(struct cleaner_filter *f)
{
    f->out.len = 0;
    if (f->out.cap <= OUT_KEPT_BYTES && f->out.rc == OK && f->arena.taken_bytes <= 4 * OUT_KEPT_BYTES)
        return;
    arena_reset(&f->arena);
    outbuf_init(&f->out, &f->arena, OUT_FIRST_BYTES, INT32_MAX);
}

int cleaner_filter_batch(struct cleaner_filter *f, const struct batch_head *h, const uint8_t *p, struct filtered *out)
{
    struct verdict v;
    int64_t horizon_ms;
    bool set_horizon;

    *out = (struct filtered){ 0 };
    empty_buffer(f);
    TRY(judge(f, h, p, &v, &out->aborted));
    if (!v.drop_records)
        TRY(look_at_records(f, h, p, &v));
    f->records_in += v.drop_records && h->count > 0 ? h->count : v.records;
    f->records_out += v.kept;
    if (v.kept == 0 && !v.keep_header)
        return OK;
    if (v.kept == 0 && !is_empty_header(h)) {
        empty_header(f, h, out);
        return f->out.rc;
    }
    horizon_ms = horizon_of(f, h, &v, &set_horizon);
    if (v.kept > 0 && (v.kept < v.records || v.mixed || set_horizon))
        return write_anew(f, h, p, &v, horizon_ms, out);
    out->p = p;
    out->head = *h;
    return OK;
}
