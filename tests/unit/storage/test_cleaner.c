/* tests/unit/storage/test_cleaner.c - compaction against a model: the last value of each key stays at its offset. */
#include "tests/unit/storage/cleaner_kit.h"

#include "storage/cleaner_map.h"

/* ---- the map ------------------------------------------------------------------------------------------------- */

static struct map_hash key_no(const struct cleaner_map *m, uint64_t i)
{
    uint8_t b[8];

    be_put64(b, i);
    return cleaner_map_hash(m, (struct bytes){ b, 8 });
}

START_TEST(the_map_knows_the_last_offset_of_each_key)
{
    struct cleaner_map m;
    struct map_hash empty;

    cleaner_map_init(&m, 64 << 20, 0.9);
    for (int64_t i = 0; i < 300000; i++)
        ok(cleaner_map_put(&m, key_no(&m, (uint64_t)i % 100000), i));
    ck_assert_uint_eq(m.n, 100000);
    for (int64_t i = 0; i < 100000; i++)
        ck_assert_int_eq(cleaner_map_get(&m, key_no(&m, (uint64_t)i)), 200000 + i);
    ck_assert_int_eq(cleaner_map_get(&m, key_no(&m, 100000)), -1);
    empty = cleaner_map_hash(&m, (struct bytes){ (const uint8_t *)"", 0 });
    ok(cleaner_map_put(&m, empty, 7));  /* an empty key is one too */
    ck_assert_int_eq(cleaner_map_get(&m, empty), 7);
    cleaner_map_fini(&m);
}
END_TEST

START_TEST(a_full_map_takes_no_new_key_but_later_offsets_of_old_ones)
{
    struct cleaner_map m;
    uint64_t n = 0;
    int rc;

    cleaner_map_init(&m, 1 << 20, 0.9);
    while ((rc = cleaner_map_put(&m, key_no(&m, n), (int64_t)n)) == OK)
        n++;
    fails(rc, ERR_LIMIT);
    ck_assert_uint_ge(n, (size_t)(0.6 * (1 << 20) / CLEANER_MAP_SLOT));
    ck_assert_uint_le(n, (size_t)(0.9 * (1 << 20) / CLEANER_MAP_SLOT));
    for (uint64_t i = 0; i < n; i++)
        ck_assert_int_eq(cleaner_map_get(&m, key_no(&m, i)), (int64_t)i);
    ok(cleaner_map_put(&m, key_no(&m, 5), 1000000));
    ck_assert_int_eq(cleaner_map_get(&m, key_no(&m, 5)), 1000000);
    cleaner_map_fini(&m);

    cleaner_map_init(&m, 0, 0.9);               /* the least there is still holds something */
    ok(cleaner_map_put(&m, key_no(&m, 1), 1));
    cleaner_map_fini(&m);
}
END_TEST

/* ---- against the model --------------------------------------------------------------------------------------- */

static void small_segments(struct box *b)
{
    b->log.segment_bytes = 4000;
    b->log.index_interval_bytes = 200;
    b->log.compact_policy = true;
    b->log.delete_policy = false;
}

static void same_after_restart(struct box *b, struct plog **l, const uint8_t *all, size_t len, bool crash)
{
    int64_t cleaned_to = (*l)->cleaned_to;
    uint8_t *again;
    size_t n;

    plog_unref(l);
    if (crash) {
        box_crash(b);
        ok(fio_unlink(AT_FDCWD, box_path(b, BOOT_MARK)));   /* read whole; what clean() compacts was never synced */
    } else {
        box_stop(b);
    }
    box_open(b);
    *l = box_log(b, "t");
    again = read_compacted(*l, NULL, &n);
    ck_assert_uint_eq(n, len);
    ck_assert_int_eq(memcmp(again, all, n), 0);
    free(again);
    (*l)->cleaned_to = cleaned_to;
}

static void model_run(unsigned seed, bool old_formats, bool txns)
{
    struct model m;
    struct box b;
    struct plog *l;
    uint8_t *all, *again;
    size_t len, n;

    box_init(&b);
    small_segments(&b);
    box_open(&b);
    l = box_log(&b, "t");
    model_init(&m, seed, 50);
    m.old_formats = old_formats;
    m.txns = txns;
    for (int round = 0; round < 4; round++) {
        model_fill(&m, l, 120);
        (void)clean(l);
        free(check_log(l, &m, true, &len));
        if (round == 1 || round == 2) {
            all = read_compacted(l, NULL, &len);
            same_after_restart(&b, &l, all, len, round == 2);
            free(all);
            commit(l);
        }
    }
    /* The same once more: markers without data get their time of going; then nothing changes. */
    (void)clean(l);
    all = check_log(l, &m, true, &len);
    (void)clean(l);
    again = check_log(l, &m, true, &n);
    ck_assert_uint_eq(len, n);
    ck_assert_int_eq(memcmp(all, again, n), 0);
    free(all);
    free(again);
    /* When that has come, no tombstone of magic 2 is left. */
    kit_clock_ms += b.log.delete_retention_ms + 1;
    (void)clean(l);
    kit_clock_ms -= b.log.delete_retention_ms + 1;
    free(check_log(l, &m, false, &n));
    for (size_t i = 0; i < m.n; i++)
        if (m.v[i].magic == 2 && m.v[i].value == 0 && m.v[i].fate != MARKER && m.v[i].offset < l->cleaned_to)
            ck_assert_msg(!m.v[i].seen, "the tombstone at %" PRId64 " is still there", m.v[i].offset);
    model_fini(&m);
    plog_unref(&l);
    box_fini(&b);
}

START_TEST(the_last_value_of_each_key_stays)
{
    for (unsigned seed = 1; seed <= 3; seed += KIT_THIN)
        model_run(seed, false, false);
}
END_TEST

START_TEST(transactions_are_compacted_by_their_outcome)
{
    for (unsigned seed = 11; seed <= 16; seed += KIT_THIN)
        model_run(seed, false, true);
}
END_TEST

START_TEST(old_formats_are_compacted_too)
{
    for (unsigned seed = 21; seed <= 24; seed += KIT_THIN)
        model_run(seed, true, true);
}
END_TEST

START_TEST(more_keys_than_the_map_holds_take_several_rounds)
{
    struct cleaner_result r;
    struct cleaner_job job;
    struct model m;
    struct box b;
    struct plog *l;
    int rounds = 0;
    size_t len;

    box_init(&b);
    small_segments(&b);
    box_open(&b);
    l = box_log(&b, "t");
    model_init(&m, 5, 2000);
    model_fill(&m, l, 600);
    for (;; rounds++) {
        job = job_of(l);
        job.map_bytes = 0;
        if (job.from >= job.uncleanable)
            break;
        ok(cleaner_clean(l, &job, &r));
        ck_assert_int_gt(r.end, job.from);
        l->cleaned_to = r.end;
        free(check_log(l, &m, true, &len));
    }
    ck_assert_int_ge(rounds, 3);
    model_fini(&m);
    plog_unref(&l);
    box_fini(&b);
}
END_TEST

START_TEST(a_segment_of_which_all_stays_is_left_alone)
{
    struct cleaner_result r;
    struct segment *before;
    struct model m;
    struct box b;
    struct plog *l;
    size_t len;

    box_init(&b);
    small_segments(&b);
    box_open(&b);
    l = box_log(&b, "t");
    model_init(&m, 9, 30);
    m.txns = false;
    model_fill(&m, l, 200);
    for (int i = 0; i < 3; i++)         /* horizons are set, small segments have become one */
        (void)clean(l);
    ck_assert_uint_ge(l->n, 2);
    before = l->segs[0];
    l->cleaned_to = -1;
    r = clean(l);
    ck_assert_ptr_eq(l->segs[0], before);
    ck_assert_uint_eq(r.segments_out, 0);
    ck_assert_int_eq(r.records_in, r.records_out);
    free(check_log(l, &m, true, &len));
    model_fini(&m);
    plog_unref(&l);
    box_fini(&b);
}
END_TEST

/* One bit after the other of each batch's head, and some of its records; the leader epoch is the leader's to know. */
static size_t flip_each(struct box *b, struct plog *l, const struct cleaner_job *job, const struct segment *s,
                        const struct batch_head *h, int64_t pos)
{
    struct cleaner_result r;
    size_t tried = 0, n = l->n;
    char path[300];

    snprintf(path, sizeof path, "t-0/%020" PRId64 ".log", s->base);
    for (size_t at = 0; at < h->size_bytes; at += at < 70 ? 1 : 13) {
        uint8_t bit = (uint8_t)(1U << (at + (size_t)pos) % 8);
        if (h->magic == 2 && at >= 12 && at < 16)
            continue;
        kit_flip(box_path(b, path), (size_t)pos + at, bit);
        ck_assert_msg(cleaner_clean(l, job, &r) != OK, "magic %d, byte %zu of %u", h->magic, at, h->size_bytes);
        kit_flip(box_path(b, path), (size_t)pos + at, bit);
        ck_assert_uint_eq(l->n, n);
        ck_assert_str_ne(r.where, "");
        tried++;
    }
    return tried;
}

START_TEST(no_flipped_bit_is_compacted_away)
{
    struct batch_reader reader;
    struct cleaner_job job;
    struct model m;
    struct box b;
    struct plog *l;
    size_t len, tried = 0;

    box_init(&b);
    small_segments(&b);
    box_open(&b);
    l = box_log(&b, "t");
    model_init(&m, 8, 30);
    m.old_formats = true;
    model_fill(&m, l, 60);
    model_marker(&m, l, 1, true);
    model_marker(&m, l, 2, false);
    commit(l);
    ck_assert_uint_gt(l->n, 3);
    job = job_of(l);
    ok(batch_reader_init(&reader, 4096));
    ok(batch_reader_open(&reader, l->segs[1], l->segs[2]->base));
    while (batch_reader_next(&reader))
        tried += flip_each(&b, l, &job, l->segs[1], &reader.head, reader.pos);
    ok(reader.rc);
    batch_reader_fini(&reader);
    ck_assert_uint_gt(tried, 500);
    (void)clean(l);
    free(check_log(l, &m, true, &len));
    model_fini(&m);
    plog_unref(&l);
    box_fini(&b);
}
END_TEST

/* ---- beside retention ---------------------------------------------------------------------------------------- */

/* Once, while the first segment is read: the records below `start` go, with their segments. */
struct cut {
    struct plog *l;
    int64_t      start;
    bool         done;
};

static int retain_meanwhile(void *arg, size_t bytes)
{
    struct cut *c = arg;
    size_t gone;

    (void)bytes;
    if (c->done)
        return OK;
    c->done = true;
    ok(plog_set_start(c->l, c->start));
    ok(plog_retain(c->l, 0, &gone));
    ck_assert_uint_gt(gone, 1);
    return OK;
}

START_TEST(segments_that_retention_takes_meanwhile_are_no_failure)
{
    struct cleaner_result r;
    struct cleaner_job job;
    struct model m;
    struct cut cut;
    struct box b;

    box_init(&b);
    small_segments(&b);
    box_open(&b);
    cut = (struct cut){ .l = box_log(&b, "t") };
    model_init(&m, 9, 30);
    model_fill(&m, cut.l, 200);
    commit(cut.l);
    ck_assert_uint_gt(cut.l->n, 5);
    cut.start = cut.l->segs[4]->base;
    job = job_of(cut.l);
    job.pace = retain_meanwhile;
    job.pace_arg = &cut;
    fails(cleaner_clean(cut.l, &job, &r), ERR_AGAIN);
    ck_assert(cut.done);
    (void)clean(cut.l);
    model_fini(&m);
    plog_unref(&cut.l);
    box_fini(&b);
}
END_TEST

int main(void)
{
    const struct kit_test tests[] = {
        { the_map_knows_the_last_offset_of_each_key, 0 },
        { a_full_map_takes_no_new_key_but_later_offsets_of_old_ones, 0 },
        { the_last_value_of_each_key_stays, 120 },
        { transactions_are_compacted_by_their_outcome, 120 },
        { old_formats_are_compacted_too, 120 },
        { more_keys_than_the_map_holds_take_several_rounds, 120 },
        { a_segment_of_which_all_stays_is_left_alone, 0 },
        { no_flipped_bit_is_compacted_away, 120 },
        { segments_that_retention_takes_meanwhile_are_no_failure, 0 },
    };

    return kit_main("cleaner", tests, sizeof tests / sizeof tests[0]);
}
