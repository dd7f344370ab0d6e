/* tests/unit/storage/test_model.c - random operations on a log beside a model of it, and stops of both kinds. */
#include "storage/logmgr_impl.h"
#include "tests/unit/storage/kit.h"

/* What the log must hold: for each offset the sum of the batch that it is in. */
struct model {
    uint32_t sum[200000];
    int64_t  leo;
    int32_t  seq[4];
};

static struct model m;
static struct box b;
static uint64_t seed;

static uint64_t rnd(uint64_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % below;
}

static uint32_t body_sum(const uint8_t *p, size_t n)
{
    return crc32c(0, p + 21, n - 21);
}

static void model_append(struct plog *l)
{
    struct put w = { .n = 1 + (int)rnd(5), .value = rnd(10) == 0 ? rnd(700) : rnd(60),
                     .ts = kit_clock_ms + (int64_t)rnd(1000), .leader_epoch = (int32_t)(m.leo / 100) };
    size_t k = rnd(8);
    struct plog_appended out;
    struct plog_append in = { .leader_epoch = w.leader_epoch };

    if (k < 4) {
        w.pid = 1 + (int64_t)k;
        w.seq = m.seq[k];
    }
    in.p = kit_batch(w, &in.len);
    ok(plog_append(l, &in, &out));
    ck_assert(!out.duplicate && out.base_offset == m.leo && out.last_offset == m.leo + w.n - 1);
    for (int i = 0; i < w.n; i++)
        m.sum[m.leo++] = body_sum(in.p, in.len);
    if (k < 4) {
        m.seq[k] += w.n;
        ok(plog_append(l, &in, &out));
        ck_assert(out.duplicate && out.last_offset == m.leo - 1);
    }
    free(in.p);
}

static void check_read(struct plog *l, int64_t from, size_t max)
{
    struct plog_read r;
    struct batch_iter it;
    uint8_t *p;
    int64_t next = from;

    ok(plog_read(l, from, INT64_MAX, max, true, &r));
    ck_assert(!slice_is_null(r.records));
    p = malloc(r.records.len);
    ok(fio_pread_all(r.records.file->fd, p, r.records.len, r.records.pos));
    batch_iter_init(&it, (struct bytes){ p, r.records.len });
    while (batch_iter_next(&it)) {
        if (next == from)
            ck_assert(it.head.base_offset <= from && from <= it.head.last_offset);
        else
            ck_assert_int_eq(it.head.base_offset, next);
        for (int64_t o = next; o <= it.head.last_offset; o++)
            ck_assert_uint_eq(body_sum(it.p, it.head.size_bytes), m.sum[o]);
        next = it.head.last_offset + 1;
    }
    ck_assert_int_gt(next, from);
    free(p);
    plog_read_done(&r);
}

static void check_all(struct plog *l)
{
    struct plog_offsets o = plog_offsets(l);

    ck_assert_int_eq(o.leo, m.leo);
    ck_assert(o.start <= o.hw && o.hw <= o.leo);
    kit_check_whole(l);
    for (int i = 0; i < 20 && o.start < o.leo; i++)
        check_read(l, o.start + (int64_t)rnd((uint64_t)(o.leo - o.start)), rnd(5000));
}

static struct plog *reopen(struct plog *l)
{
    int64_t hw = plog_offsets(l).hw, start = plog_offsets(l).start;
    bool clean = rnd(3) == 0;

    plog_unref(&l);
    if (clean)
        box_stop(&b);
    else
        box_crash(&b);
    if (!clean && rnd(2) == 0)
        box_reboot(&b);
    box_open(&b);
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    if (clean) {
        ck_assert_int_eq(plog_offsets(l).hw, hw);
        ck_assert_int_eq(plog_offsets(l).start, start);
    }
    check_all(l);
    return l;
}

static void sync_now(struct plog *l)
{
    struct sync_item it;

    ok(plog_sync_begin(l, rnd(2) == 0, &it));
    ok(plog_sync_files(&it));
    ok(plog_sync_rename(&it));
    ok(plog_sync_dir(&it));
    plog_sync_done(&it);
    ok(logmgr_after_round(&b.m->dirs[0], true));
    plog_sync_end(&it, true);
}

static void one_step(struct plog **l)
{
    size_t gone;
    struct plog_offsets o;

    switch (rnd(40)) {
    case 0:
        *l = reopen(*l);
        break;
    case 1: case 2:
        sync_now(*l);
        break;
    case 3:
        ok(plog_retain(*l, kit_now(), &gone));
        break;
    case 4:
        o = plog_offsets(*l);
        ok(plog_set_start(*l, o.start + (int64_t)rnd((uint64_t)(o.hw - o.start) / 4 + 1)));
        break;
    case 5: case 6: case 7: case 8:
        commit(*l);
        break;
    case 9: case 10: case 11: case 12: case 13: case 14:
        o = plog_offsets(*l);
        if (o.start < o.leo)
            check_read(*l, o.start + (int64_t)rnd((uint64_t)(o.leo - o.start)), rnd(20000));
        break;
    default:
        model_append(*l);
    }
}

static void run(uint64_t from)
{
    struct plog *l;

    seed = from;
    m = (struct model){ 0 };
    box_init(&b);
    b.log.segment_bytes = 4000 + (int32_t)rnd(20000);
    b.log.index_interval_bytes = (int32_t)rnd(2000);
    b.log.segment_index_bytes = 120 + (int32_t)rnd(2000);
    b.log.retention_bytes = 60000;
    b.log.retention_ms = -1;
    b.log.file_delete_delay_ms = 0;
    box_open(&b);
    l = box_log(&b, "t");
    for (int i = 0; i < 1200; i++)
        one_step(&l);
    check_all(l);
    plog_unref(&l);
    box_fini(&b);
}

START_TEST(a_log_does_what_its_model_does)
{
    for (uint64_t i = 0; i < 12; i++)
        run(i * 7919 + 1);
}
END_TEST

int main(void)
{
    const struct kit_test tests[] = { { a_log_does_what_its_model_does, 120 } };

    return kit_main("storage/model", tests, sizeof tests / sizeof tests[0]);
}
