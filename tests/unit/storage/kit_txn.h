/* tests/unit/storage/kit_txn.h - transactional batches and markers, and whether a log has taken them in rightly. */
#ifndef TESTS_UNIT_STORAGE_KIT_TXN_H
#define TESTS_UNIT_STORAGE_KIT_TXN_H

#include "storage/segment_txn.h"
#include "tests/unit/storage/kit.h"

struct txn {
    int64_t pid;
    int16_t epoch;
    int32_t seq;                        /* -1: none, as a coordinator's data has it */
    int     n;                          /* records; 0: 1 */
    bool    plain;                      /* not transactional */
};

/* malloc'ed */
static inline uint8_t *kit_txn_data(struct txn w, size_t *len)
{
    struct builder_opts o;
    struct batch_head h;
    struct builder bd;
    struct arena a;
    struct bytes out;
    uint8_t *p;

    builder_opts_init(&o);
    o.txn = !w.plain;
    o.producer_id = w.pid;
    o.producer_epoch = w.epoch;
    o.base_sequence = w.seq < 0 ? 0 : w.seq;
    arena_init(&a, (size_t)1 << 20);
    builder_init(&bd, &o, &a);
    for (int i = 0; i < (w.n > 0 ? w.n : 1); i++) {
        struct record r = { .offset = i, .timestamp = kit_clock_ms, .value = { (const uint8_t *)"value", 5 } };
        builder_add(&bd, &r);
    }
    ok(builder_finish(&bd, &out));
    p = malloc(out.len);
    memcpy(p, out.p, out.len);
    *len = out.len;
    ok(batch_head_read(&h, p, out.len));
    h.base_sequence = w.seq;
    batch_head_write(&h, p);
    builder_fini(&bd);
    arena_fini(&a);
    return p;
}

static inline uint8_t *kit_marker(int64_t pid, int16_t epoch, enum control_type type, int32_t coordinator_epoch,
                                  size_t *len)
{
    struct builder_opts o;
    struct arena a;
    struct bytes out;
    uint8_t *p;

    builder_opts_init(&o);
    o.producer_id = pid;
    o.producer_epoch = epoch;
    o.txn = o.control = true;
    arena_init(&a, (size_t)1 << 20);
    ok(control_batch_build(&o, type, coordinator_epoch, kit_clock_ms, &a, &out));
    p = malloc(out.len);
    memcpy(p, out.p, out.len);
    *len = out.len;
    arena_fini(&a);
    return p;
}

static inline int kit_try_append(struct plog *l, uint8_t *p, size_t n, enum append_origin origin, int64_t *offset)
{
    struct plog_append in = { .p = p, .len = n, .origin = origin };
    struct plog_appended out;
    int rc = plog_append(l, &in, &out);

    *offset = out.base_offset;
    free(p);
    return rc;
}

static inline int64_t data(struct plog *l, struct txn w)
{
    int64_t offset;
    size_t n;
    uint8_t *p = kit_txn_data(w, &n);

    ok(kit_try_append(l, p, n, APPEND_CLIENT, &offset));
    return offset;
}

static inline int64_t end_txn(struct plog *l, int64_t pid, enum control_type type)
{
    int64_t offset;
    size_t n;
    uint8_t *p = kit_marker(pid, 0, type, 0, &n);

    ok(kit_try_append(l, p, n, APPEND_COORDINATOR, &offset));
    return offset;
}

/* What the log says of transactions is what its batches say, read from the first one on: which were aborted, and which
 * are open. */
static inline void kit_check_txns(struct plog *l)
{
    struct producers ps = { 0 };
    struct txn_found found;
    struct batch_iter it;
    struct arena a;
    bool complete;
    size_t len, n = 0;
    uint8_t *p = kit_read_all(l, 0, &len);

    arena_init(&a, (size_t)64 << 20);
    found = (struct txn_found){ .arena = &a };
    for (size_t i = 0; i < l->n; i++)
        ok(segment_txn_find(l->segs[i], 0, INT64_MAX, &found, &complete));
    batch_iter_init(&it, (struct bytes){ p, len });
    while (batch_iter_next(&it)) {
        struct txn_done d;
        ok(producers_replay(&ps, &it.head, it.p, &d));
        if (d.producer_id < 0 || !d.aborted)
            continue;
        ck_assert_uint_lt(n, found.n);
        ck_assert(found.v[n].producer_id == d.producer_id && found.v[n].first_offset == d.first_offset &&
                  found.v[n].last_offset == d.last_offset && found.v[n].stable_offset == d.stable_offset);
        n++;
    }
    ck_assert_uint_eq(n, found.n);
    ck_assert_int_eq(producers_first_open(&l->producers), producers_first_open(&ps));
    producers_fini(&ps);
    arena_fini(&a);
    free(p);
}

#endif
