/* tests/unit/storage/cleaner_kit.h - cleaning a log, and whether what is left is what the model says. */
#ifndef TESTS_UNIT_STORAGE_CLEANER_KIT_H
#define TESTS_UNIT_STORAGE_CLEANER_KIT_H

#include "storage/cleaner_pass.h"
#include "tests/unit/storage/cleaner_model.h"

/* ---- cleaning ------------------------------------------------------------------------------------------------ */

static inline int64_t first_uncleanable(struct plog *l)
{
    int64_t limit = plog_offsets(l).lso, base = l->segs[0]->base;

    for (size_t i = 0; i < l->n; i++)
        if (l->segs[i]->base <= limit)
            base = l->segs[i]->base;
    return base;
}

static inline struct cleaner_job job_of(struct plog *l)
{
    return (struct cleaner_job){ .from = l->cleaned_to < 0 ? plog_offsets(l).start : l->cleaned_to,
                                 .uncleanable = first_uncleanable(l), .map_bytes = 1 << 20, .map_load = 0.9,
                                 .io_bytes = 4096 };
}

static inline struct cleaner_result clean(struct plog *l)
{
    struct cleaner_job job = job_of(l);
    struct cleaner_result r;

    ok(cleaner_clean(l, &job, &r));
    l->cleaned_to = r.end;
    return r;
}

/* ---- checking ------------------------------------------------------------------------------------------------ */

struct seen {
    struct model *m;
    int64_t       cleaned_to;
    bool          tombstones_stay;
    size_t        records, headers;
    int64_t       last_of[8];           /* by producer id: last offset of a data batch that is there */
};

static inline struct mrec *model_at(struct model *m, int64_t offset)
{
    size_t lo = 0, hi = m->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (m->v[mid].offset < offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    ck_assert(lo < m->n && m->v[lo].offset == offset);
    return &m->v[lo];
}

static inline void see_record(struct seen *s, const struct batch_head *h, const struct record *r)
{
    struct mrec *e = model_at(s->m, r->offset);
    static uint8_t value[4096];
    char key[16];
    struct record want;

    ck_assert(!e->seen);
    e->seen = true;
    s->records++;
    ck_assert_int_eq(batch_is_control(h), e->fate == MARKER);
    if (e->fate == MARKER)
        return;
    ck_assert_int_eq(h->magic, e->magic);
    want = record_of(e, key, value);
    ck_assert_int_eq(r->timestamp, want.timestamp);
    ck_assert(r->key.len == want.key.len && (r->key.p == NULL) == (want.key.p == NULL));
    ck_assert(r->value.len == want.value.len && (r->value.p == NULL) == (want.value.p == NULL));
    ck_assert(r->key.len == 0 || memcmp(r->key.p, want.key.p, r->key.len) == 0);
    ck_assert(r->value.len == 0 || memcmp(r->value.p, want.value.p, r->value.len) == 0);
}

static inline void see_batch(struct seen *s, const struct batch_head *h, const uint8_t *p)
{
    struct record_iter it;
    struct record r;

    ok(batch_check(h, p));
    if (h->producer_id >= 0 && !batch_is_control(h))
        s->last_of[h->producer_id] = h->last_offset;
    s->headers += h->magic >= 2 && h->count == 0;
    record_iter_init(&it, h, p, INT32_MAX);
    while (record_iter_next(&it, &r))
        see_record(s, h, &r);
    ok(it.rc);
    record_iter_fini(&it);
}

/* Everything in the log, malloc'ed; calls see_batch() for each batch. */
static inline uint8_t *read_compacted(struct plog *l, struct seen *s, size_t *len)
{
    int64_t offset = plog_offsets(l).start, last = -1;
    uint8_t *all = malloc((size_t)plog_size_bytes(l) + 1);

    *len = 0;
    for (;;) {
        struct plog_read r;
        struct batch_iter it;
        uint8_t *p;
        ok(plog_read(l, offset, INT64_MAX, 1 << 16, true, &r));
        if (slice_is_null(r.records))
            break;
        p = malloc(r.records.len);
        ok(fio_pread_all(r.records.file->fd, p, r.records.len, r.records.pos));
        batch_iter_init(&it, (struct bytes){ p, r.records.len });
        while (batch_iter_next(&it)) {
            ck_assert_int_gt(it.head.last_offset, last);
            last = it.head.last_offset;
            if (s != NULL)
                see_batch(s, &it.head, it.p);
        }
        ok(it.rc);
        ck_assert_uint_gt(it.pos, 0);
        memcpy(all + *len, p, it.pos);
        *len += it.pos;
        offset = last + 1;
        free(p);
        plog_read_done(&r);
    }
    ck_assert_uint_eq(*len, (size_t)plog_size_bytes(l));
    return all;
}

static inline bool is_decided(const struct mrec *e)
{
    return e->fate == PLAIN || e->fate == COMMITTED;
}

/* What must be there is, what must not be is not. */
static inline void check_fates(const struct seen *s)
{
    const struct model *m = s->m;
    int64_t *last = malloc((size_t)m->keys * sizeof *last);

    for (int k = 0; k < m->keys; k++)
        last[k] = -1;
    for (size_t i = 0; i < m->n; i++)
        if (m->v[i].offset < s->cleaned_to && m->v[i].key >= 0 && is_decided(&m->v[i]))
            last[m->v[i].key] = m->v[i].offset;
    for (size_t i = 0; i < m->n; i++) {
        const struct mrec *e = &m->v[i];
        bool newest = e->key >= 0 && is_decided(e) && last[e->key] == e->offset;
        if (e->offset >= s->cleaned_to)
            ck_assert_msg(e->seen || e->fate == ABORTED, "offset %" PRId64 " is lost", e->offset);
        else if (e->fate == MARKER)
            continue;
        else if (newest && e->value > 0)
            ck_assert_msg(e->seen, "the last value of key %d, at %" PRId64 ", is lost", e->key, e->offset);
        else if (newest)
            ck_assert_msg(e->seen || !s->tombstones_stay, "the tombstone at %" PRId64 " is lost", e->offset);
        else
            ck_assert_msg(!e->seen, "offset %" PRId64 " should be gone", e->offset);
    }
    free(last);
}

/* Each marker outlives the data of its transaction. */
static inline void check_markers(const struct model *m)
{
    for (size_t i = 0; i < m->n; i++) {
        const struct mrec *e = &m->v[i];
        if (!e->seen || (e->fate != COMMITTED && e->fate != ABORTED))
            continue;
        for (size_t k = i + 1; k < m->n; k++)
            if (m->v[k].fate == MARKER && m->v[k].pid == e->pid) {
                ck_assert_msg(m->v[k].seen, "the marker at %" PRId64 " is lost", m->v[k].offset);
                break;
            }
    }
}

static inline void check_producers(struct plog *l, const struct seen *s)
{
    struct snapshot_entry *v;
    size_t n;

    ok(producers_list(&l->producers, &v, &n));
    for (size_t i = 0; i < n; i++)
        if (v[i].last_offset >= plog_offsets(l).start)
            ck_assert_int_eq(s->last_of[v[i].producer_id], v[i].last_offset);
    free(v);
}

/* First record at or above ts, among those that are there. (As in Apache Kafka, a segment without timestamps hides what
 * comes after it: nothing to be seen then.) */
static inline void check_times(struct plog *l, struct model *m)
{
    struct time_index_entry max;

    for (size_t i = 0; i < l->n; i++)
        if (segment_max(l->segs[i], &max) != OK || max.timestamp < 0)
            return;
    for (int64_t ts = kit_clock_ms - 1000; ts < kit_clock_ms + 1000; ts += 97) {
        struct plog_at at;
        int64_t want = -1;
        for (size_t i = 0; i < m->n && want < 0; i++)
            if (m->v[i].seen && m->v[i].magic > 0 && m->v[i].ts >= ts)
                want = m->v[i].offset;
        ok(plog_offset_for_time(l, ts, &at));
        ck_assert_int_eq(at.offset, want);
    }
}

static inline uint8_t *check_log(struct plog *l, struct model *m, bool tombstones_stay, size_t *len)
{
    struct seen s = { .m = m, .cleaned_to = l->cleaned_to, .tombstones_stay = tombstones_stay };
    uint8_t *all;

    memset(s.last_of, -1, sizeof s.last_of);
    for (size_t i = 0; i < m->n; i++)
        m->v[i].seen = false;
    all = read_compacted(l, &s, len);
    check_fates(&s);
    check_markers(m);
    check_producers(l, &s);
    check_times(l, m);
    return all;
}

#endif
