/* tests/unit/storage/test_recovery.c - opening again: after a clean stop, after none, and after damage. */
#include "tests/unit/storage/kit.h"

#define LOG_0 "t-0/00000000000000000000.log"

static struct box b;

static uint8_t *expected;               /* what the log held before */
static size_t expected_n;

static void remember(struct plog *l)
{
    free(expected);
    expected = kit_read_all(l, plog_offsets(l).start, &expected_n);
}

static void check_same(struct plog *l, size_t n)
{
    size_t m;
    uint8_t *p = kit_read_all(l, plog_offsets(l).start, &m);

    ck_assert_uint_eq(m, n);
    ck_assert(memcmp(p, expected, n) == 0);
    free(p);
}

/* Five segments, idempotent and plain batches, two epochs. */
static struct plog *filled(void)
{
    struct plog *l;
    int32_t seq = 0;

    box_init(&b);
    b.log.segment_bytes = 3000;
    b.log.index_interval_bytes = 200;
    box_open(&b);
    l = box_log(&b, "t");
    for (int i = 0; i < 100; i++) {
        struct put w = { .n = 1 + i % 3, .value = 20, .leader_epoch = i / 50, .ts = kit_clock_ms + i };
        if (i % 2 == 0) {
            w.pid = 7;
            w.seq = seq;
            seq += w.n;
        }
        put(l, w);
    }
    ck_assert_uint_ge(l->n, 4);
    commit(l);
    remember(l);
    return l;
}

static void check_producer(struct plog *l)
{
    struct plog_appended out;

    /* The last idempotent batch was number 98: three records, sequences 97 .. 99. */
    ok(try_put(l, (struct put){ .pid = 7, .seq = 97, .n = 3 }, &out));
    ck_assert(out.duplicate && out.last_offset == leo(l) - 2);
}

START_TEST(a_clean_stop_keeps_everything)
{
    struct plog *l = filled();
    struct plog_at at;
    int64_t end = leo(l);

    plog_unref(&l);
    box_stop(&b);
    ck_assert(kit_exists(box_path(&b, CLEAN_SHUTDOWN)));
    for (int i = 0; i < 3; i++) {
        box_open(&b);
        ck_assert(!kit_exists(box_path(&b, CLEAN_SHUTDOWN)));
        ck_assert_uint_eq(b.loaded.recovered, 0);
        ck_assert_int_lt(b.loaded.read_bytes, 1000);
        l = logmgr_get(b.m, STR_LIT("t"), 0);
        ck_assert_int_eq(leo(l), end);
        ck_assert_int_eq(plog_offsets(l).hw, end);
        check_same(l, expected_n);
        check_producer(l);
        ck_assert_int_eq(plog_epoch_start(l, 1), 99);
        ok(plog_offset_for_time(l, kit_clock_ms + 99, &at));
        ck_assert_int_ge(at.offset, end - 5);
        plog_unref(&l);
        box_stop(&b);
    }
    box_fini(&b);
}
END_TEST

START_TEST(without_a_stop_everything_is_found_again)
{
    struct plog *l = filled();
    uint32_t sum;

    plog_unref(&l);
    box_crash(&b);
    for (int i = 0; i < 3; i++) {
        if (i > 0)
            box_reboot(&b);
        box_open(&b);
        ck_assert_uint_eq(b.loaded.recovered, 1);
        l = logmgr_get(b.m, STR_LIT("t"), 0);
        check_same(l, expected_n);
        check_producer(l);
        ck_assert_int_eq(plog_latest_epoch(l), 1);
        ck_assert_int_eq(plog_epoch_start(l, 1), 99);
        plog_unref(&l);
        box_crash(&b);
        if (i == 0)
            sum = kit_sum(box_path(&b, "t-0"));
        ck_assert_uint_eq(kit_sum(box_path(&b, "t-0")), sum);
    }
    box_fini(&b);
}
END_TEST

START_TEST(the_checkpoints_say_where_things_stood)
{
    struct plog *l = filled();

    ok(plog_set_start(l, 42));
    plog_unref(&l);
    box_stop(&b);
    box_open(&b);
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    ck_assert_int_eq(plog_offsets(l).start, 42);
    put(l, (struct put){ .n = 5 });
    ck_assert_int_lt(plog_offsets(l).hw, leo(l));
    plog_unref(&l);
    box_crash(&b);
    box_open(&b);
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    ck_assert_int_eq(plog_offsets(l).start, 42);
    ck_assert_int_eq(plog_offsets(l).hw, leo(l) - 5);
    kit_check_whole(l);
    plog_unref(&l);
    box_fini(&b);
}
END_TEST

START_TEST(any_prefix_of_the_last_append_is_cut_off)
{
    struct plog *l;
    size_t whole, last;
    uint8_t *image;

    box_init(&b);
    box_open(&b);
    l = box_log(&b, "t");
    put(l, (struct put){ .n = 2, .value = 10 });
    put(l, (struct put){ .n = 2, .value = 10 });
    remember(l);
    put(l, (struct put){ .n = 3, .value = 40, .pid = 4, .seq = 11 });
    plog_unref(&l);
    box_crash(&b);
    image = kit_slurp(box_path(&b, LOG_0), &whole);
    last = whole - expected_n;
    for (size_t cut = 0; cut < last; cut++) {
        struct plog_appended out;
        kit_spill(box_path(&b, LOG_0), image, expected_n + cut);
        if (cut % 2 == 1)
            box_reboot(&b);
        box_open(&b);
        l = logmgr_get(b.m, STR_LIT("t"), 0);
        ck_assert_int_eq(leo(l), 4);
        check_same(l, expected_n);
        ck_assert_uint_eq(kit_size(box_path(&b, LOG_0)), expected_n);
        ok(try_put(l, (struct put){ .n = 3, .value = 40, .pid = 4, .seq = 11 }, &out));
        ck_assert(!out.duplicate && out.base_offset == 4);
        kit_check_whole(l);
        plog_unref(&l);
        box_crash(&b);
    }
    free(image);
    box_fini(&b);
}
END_TEST

START_TEST(after_a_reboot_a_flipped_bit_ends_the_log_where_it_is)
{
    struct plog *l;
    size_t whole, at[6] = { 0 };
    uint8_t *image;

    box_init(&b);
    box_open(&b);
    l = box_log(&b, "t");
    for (int i = 0; i < 5; i++) {
        put(l, (struct put){ .value = 10 });
        at[i + 1] = (size_t)plog_size_bytes(l);
    }
    remember(l);
    plog_unref(&l);
    box_crash(&b);
    image = kit_slurp(box_path(&b, LOG_0), &whole);
    for (size_t i = 0; i < whole; i++) {
        size_t batch = 0, in;
        while (at[batch + 1] <= i)
            batch++;
        in = i - at[batch];
        if (in >= 12 && in < 16)
            continue;                   /* leader epoch: outside the sum */
        if (in < 8 && in != 7)
            continue;                   /* offsets far away are another test */
        kit_spill(box_path(&b, LOG_0), image, whole);
        kit_flip(box_path(&b, LOG_0), i, (uint8_t)(1 << i % 8));
        if (in == 7)
            kit_flip(box_path(&b, LOG_0), i, (uint8_t)(1 << i % 8 ^ 0x10));
        box_reboot(&b);
        box_open(&b);
        l = logmgr_get(b.m, STR_LIT("t"), 0);
        if (in != 7) {                  /* a rising gap in offsets is allowed */
            ck_assert_int_eq(leo(l), (int64_t)batch);
            check_same(l, at[batch]);
        }
        plog_unref(&l);
        box_crash(&b);
    }
    free(image);
    box_fini(&b);
}
END_TEST

START_TEST(after_a_reboot_a_hole_in_an_older_segment_ends_the_log_there)
{
    struct plog *l = filled();
    int64_t base = l->segs[1]->base;
    char path[SEGMENT_PATH_MAX];

    segment_path(&l->place, base, SEGMENT_LOG, "", path);
    plog_unref(&l);
    box_crash(&b);
    kit_flip(box_path(&b, path), 70, 1);
    box_reboot(&b);
    box_open(&b);
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    ck_assert_int_eq(leo(l), base);
    kit_check_whole(l);
    put(l, (struct put){ 0 });
    plog_unref(&l);
    box_stop(&b);
    box_open(&b);
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    ck_assert_int_eq(leo(l), base + 1);
    plog_unref(&l);
    box_fini(&b);
}
END_TEST

/* ---- indexes ------------------------------------------------------------------------------------------------- */

enum harm { HARM_REMOVE, HARM_EMPTY, HARM_CUT, HARM_ODD, HARM_LONGER, HARM_GARBAGE, HARM_FLIP, HARM_N };

static void harm(const char *path, enum harm how)
{
    uint8_t *p, junk[240];
    size_t n;

    p = kit_slurp(path, &n);
    memset(junk, 0xa5, sizeof junk);
    switch (how) {
    case HARM_REMOVE:  ok(fio_unlink(AT_FDCWD, path)); break;
    case HARM_EMPTY:   kit_spill(path, "", 0); break;
    case HARM_CUT:     kit_spill(path, p, n / 24 / 2 * 24); break;
    case HARM_ODD:     kit_spill(path, p, n > 3 ? n - 3 : 0); break;
    case HARM_LONGER:
        p = realloc(p, n + 120);
        memset(p + n, 0, 120);
        kit_spill(path, p, n + 120);
        break;
    case HARM_GARBAGE: kit_spill(path, junk, sizeof junk); break;
    case HARM_FLIP:
        if (n > 40)
            kit_flip(path, n / 2, 0x40);
        break;
    case HARM_N: break;
    }
    free(p);
}

static void check_times(struct plog *l)
{
    for (int i = 0; i < 100; i += 9) {
        struct plog_at at;
        ok(plog_offset_for_time(l, kit_clock_ms + i, &at));
        ck_assert_int_eq(at.timestamp, kit_clock_ms + i);
    }
}

static void harmed_index(bool clean, bool synced, enum segment_file f, bool last)
{
    for (enum harm how = 0; how < HARM_N; how++) {
        struct plog *l = filled();
        char path[SEGMENT_PATH_MAX];
        size_t n;

        segment_path(&l->place, last ? plog_active(l)->base : l->segs[1]->base, f, "", path);
        if (synced) {
            plog_unref(&l);
            box_stop(&b);               /* the recovery point is the log end */
            if (!clean)
                ok(fio_unlink(AT_FDCWD, box_path(&b, CLEAN_SHUTDOWN)));
        } else {
            plog_unref(&l);
            box_crash(&b);
        }
        harm(box_path(&b, path), how);
        for (int i = 0; i < 2; i++) {
            box_open(&b);
            l = logmgr_get(b.m, STR_LIT("t"), 0);
            check_same(l, expected_n);
            for (int64_t o = 0; o < leo(l); o += 5)
                free(kit_read_all(l, o, &n));
            check_times(l);
            plog_unref(&l);
            box_stop(&b);
        }
        box_fini(&b);
    }
}

START_TEST(a_harmed_index_of_the_last_segment_costs_nothing)
{
    for (int mode = 0; mode < 3; mode++) {
        harmed_index(mode == 0, mode < 2, SEGMENT_INDEX, true);
        harmed_index(mode == 0, mode < 2, SEGMENT_TIMEINDEX, true);
    }
}
END_TEST

START_TEST(a_harmed_index_of_an_older_segment_loses_no_record)
{
    for (int mode = 0; mode < 3; mode++) {
        harmed_index(mode == 0, mode < 2, SEGMENT_INDEX, false);
        harmed_index(mode == 0, mode < 2, SEGMENT_TIMEINDEX, false);
    }
}
END_TEST

/* The active segment's index lost entries that stand for trusted batches: they are made again. */
START_TEST(an_emptied_index_is_filled_again)
{
    static const bool clean[] = { true, false };

    for (size_t k = 0; k < 2; k++) {
        char path[SEGMENT_PATH_MAX], times[SEGMENT_PATH_MAX];
        struct plog *l;
        size_t n, m;

        box_init(&b);
        b.log.index_interval_bytes = 200;
        box_open(&b);
        l = box_log(&b, "t");
        for (int i = 0; i < 100; i++)
            put(l, (struct put){ .value = 20, .ts = kit_clock_ms + i });
        segment_path(&l->place, 0, SEGMENT_INDEX, "", path);
        segment_path(&l->place, 0, SEGMENT_TIMEINDEX, "", times);
        plog_unref(&l);
        box_stop(&b);
        n = kit_size(box_path(&b, path));
        m = kit_size(box_path(&b, times));
        ck_assert(n >= 20 * OFFSET_INDEX_ENTRY && m >= 20 * TIME_INDEX_ENTRY);
        kit_spill(box_path(&b, path), "", 0);
        kit_spill(box_path(&b, times), "", 0);
        if (!clean[k])
            ok(fio_unlink(AT_FDCWD, box_path(&b, CLEAN_SHUTDOWN)));
        box_open(&b);
        box_stop(&b);
        ck_assert_uint_eq(kit_size(box_path(&b, path)), n);
        ck_assert_uint_eq(kit_size(box_path(&b, times)), m);
        box_fini(&b);
    }
}
END_TEST

/* ---- other files --------------------------------------------------------------------------------------------- */

START_TEST(a_harmed_snapshot_is_replaced_by_the_batches)
{
    static const bool clean[] = { true, false };

    for (size_t k = 0; k < 2; k++)
        for (enum harm how = 0; how < HARM_N; how++) {
            struct plog *l = filled();
            struct dirent **v;
            int n;

            plog_unref(&l);
            box_stop(&b);
            if (!clean[k])
                ok(fio_unlink(AT_FDCWD, box_path(&b, CLEAN_SHUTDOWN)));
            n = scandir(box_path(&b, "t-0"), &v, kit_not_dots, alphasort);
            for (int i = 0; i < n; i++) {
                char path[600];
                snprintf(path, sizeof path, "t-0/%s", v[i]->d_name);
                if (strstr(path, ".snapshot") != NULL && how != HARM_REMOVE)
                    harm(box_path(&b, path), how);
                free(v[i]);
            }
            free(v);
            box_open(&b);
            l = logmgr_get(b.m, STR_LIT("t"), 0);
            check_producer(l);
            plog_unref(&l);
            box_fini(&b);
        }
}
END_TEST

START_TEST(harmed_checkpoints_cost_time_only)
{
    static const char *const names[] = { CHECKPOINT_RECOVERY_POINT, CHECKPOINT_LOG_START, CHECKPOINT_HIGH_WATERMARK,
                                         "t-0/" CHECKPOINT_LEADER_EPOCH };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (enum harm how = 0; how < HARM_N; how++) {
            struct plog *l = filled();

            plog_unref(&l);
            box_stop(&b);
            ok(fio_unlink(AT_FDCWD, box_path(&b, CLEAN_SHUTDOWN)));
            if (!kit_exists(box_path(&b, names[i])))
                kit_spill(box_path(&b, names[i]), "0\n0\n", 4);
            harm(box_path(&b, names[i]), how);
            if (how % 2 == 1)
                box_reboot(&b);
            box_open(&b);
            l = logmgr_get(b.m, STR_LIT("t"), 0);
            check_same(l, expected_n);
            check_producer(l);
            plog_unref(&l);
            box_stop(&b);
            box_fini(&b);
        }
}
END_TEST

START_TEST(leftovers_are_removed_and_strangers_refused)
{
    struct plog *l = filled();

    plog_unref(&l);
    box_stop(&b);
    kit_spill(box_path(&b, "t-0/00000000000000000000.log.deleted"), "x", 1);
    kit_spill(box_path(&b, "t-0/00000000000000009999.index"), "x", 1);
    kit_spill(box_path(&b, "t-0/leader-epoch-checkpoint.tmp"), "x", 1);
    box_open(&b);
    ck_assert(!kit_exists(box_path(&b, "t-0/00000000000000000000.log.deleted")));
    ck_assert(!kit_exists(box_path(&b, "t-0/00000000000000009999.index")));
    ck_assert(!kit_exists(box_path(&b, "t-0/leader-epoch-checkpoint.tmp")));
    box_stop(&b);
    kit_spill(box_path(&b, "t-0/00000000000000000000.log.swap"), "x", 1);
    ck_assert_int_ne(box_try_open(&b), OK);
    logmgr_free(&b.m);
    ok(fio_unlink(AT_FDCWD, box_path(&b, "t-0/00000000000000000000.log.swap")));
    ck_assert_int_eq(mkdir(box_path(&b, "nonumber"), 0755), 0);
    ck_assert_int_ne(box_try_open(&b), OK);
    logmgr_free(&b.m);
    rmdir(box_path(&b, "nonumber"));
    box_open(&b);
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    check_same(l, expected_n);
    plog_unref(&l);
    box_fini(&b);
}
END_TEST

/* A topic deleted and made again under the same name must not inherit the offsets that the checkpoints have of it. */
START_TEST(a_new_log_does_not_take_over_the_checkpoints_of_a_deleted_one)
{
    struct plog *l = filled();

    ok(plog_set_start(l, 120));
    plog_unref(&l);
    box_stop(&b);                       /* start 120, recovery point about 198 */
    box_open(&b);
    ok(logmgr_delete(b.m, STR_LIT("t"), 0));
    l = box_log(&b, "t");
    put(l, (struct put){ .n = 10 });
    remember(l);
    plog_unref(&l);
    box_crash(&b);
    box_open(&b);
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    ck_assert_int_eq(plog_offsets(l).start, 0);
    ck_assert_int_eq(leo(l), 10);
    check_same(l, expected_n);
    plog_unref(&l);
    box_fini(&b);
}
END_TEST

/* Its timestamps are older than producer.id.expiration.ms, but the batch was read in this recovery: it is known. */
START_TEST(recovery_does_not_forget_a_producer_with_old_timestamps)
{
    struct plog_appended out;
    struct plog *l;

    box_init(&b);
    box_open(&b);
    l = box_log(&b, "t");
    put(l, (struct put){ .pid = 3, .seq = 0, .ts = kit_clock_ms - 2 * b.o.producer_id_expiration_ms });
    plog_unref(&l);
    box_crash(&b);
    box_open(&b);
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    ok(try_put(l, (struct put){ .pid = 3, .seq = 0, .ts = kit_clock_ms - 2 * b.o.producer_id_expiration_ms }, &out));
    ck_assert(out.duplicate);
    plog_expire_producers(l, kit_now(), b.o.producer_id_expiration_ms);
    ck_assert_uint_eq(producers_count(&l->producers), 0);
    plog_unref(&l);
    box_fini(&b);
}
END_TEST

/* What was cut off took a producer's last batches with it: it must not be taken for a duplicate. */
START_TEST(a_snapshot_beyond_the_log_end_is_not_used)
{
    struct plog_appended out;
    struct plog *l;
    size_t n;
    uint8_t *p;

    box_init(&b);
    box_open(&b);
    l = box_log(&b, "t");
    put(l, (struct put){ .pid = 3, .seq = 0 });
    put(l, (struct put){ .pid = 3, .seq = 1 });
    plog_unref(&l);
    box_stop(&b);
    ok(fio_unlink(AT_FDCWD, box_path(&b, CLEAN_SHUTDOWN)));
    ok(fio_unlink(AT_FDCWD, box_path(&b, CHECKPOINT_RECOVERY_POINT)));
    p = kit_slurp(box_path(&b, LOG_0), &n);
    kit_spill(box_path(&b, LOG_0), p, n - 1);
    free(p);
    box_open(&b);
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    ck_assert_int_eq(leo(l), 1);
    ok(try_put(l, (struct put){ .pid = 3, .seq = 1 }, &out));
    ck_assert(!out.duplicate && out.base_offset == 1);
    plog_unref(&l);
    box_fini(&b);
}
END_TEST

/* As Apache Kafka does at each start. */
START_TEST(snapshots_up_to_the_log_start_go)
{
    char path[64];
    struct plog *l;

    box_init(&b);
    b.log.segment_bytes = 300;
    box_open(&b);
    l = box_log(&b, "t");
    for (int i = 0; i < 9; i++)
        put(l, (struct put){ .pid = 3, .seq = i, .value = 60 });
    commit(l);
    ok(plog_set_start(l, 4));
    plog_unref(&l);
    box_stop(&b);
    for (int crash = 0; crash < 2; crash++) {
        int left = 0;

        box_open(&b);
        for (int i = 1; i < 9; i++) {
            (void)snprintf(path, sizeof path, "t-0/%020d.snapshot", i);
            left += kit_exists(box_path(&b, path));
            ck_assert_msg(i > 4 || !kit_exists(box_path(&b, path)), "%s", path);
        }
        ck_assert_int_gt(left, 0);
        l = logmgr_get(b.m, STR_LIT("t"), 0);
        put(l, (struct put){ .pid = 3, .seq = 9 + crash });
        ck_assert_int_eq(leo(l), 10 + crash);
        plog_unref(&l);
        crash ? box_stop(&b) : box_crash(&b);
    }
    box_fini(&b);
}
END_TEST

/* Below the recovery point, and after a clean stop, nothing is ever cut: the partition is refused. */
START_TEST(damage_to_what_was_durable_is_refused_not_cut)
{
    for (int mode = 0; mode < 3; mode++) {
        struct plog *l;
        uint32_t sum;
        size_t n;

        box_init(&b);
        box_open(&b);
        l = box_log(&b, "t");
        for (int i = 0; i < 4; i++)
            put(l, (struct put){ .value = 30 });
        n = (size_t)plog_size_bytes(l);
        plog_unref(&l);
        box_stop(&b);
        if (mode > 0)
            ok(fio_unlink(AT_FDCWD, box_path(&b, CLEAN_SHUTDOWN)));
        if (mode == 2)
            box_reboot(&b);
        kit_flip(box_path(&b, LOG_0), n / 4 * 3 + 16, 0x40);
        sum = kit_sum(box_path(&b, "t-0"));
        for (int i = 0; i < 2; i++) {
            fails(box_try_open(&b), ERR_OFFLINE);
            box_crash(&b);
            ck_assert_uint_eq(kit_sum(box_path(&b, "t-0")), sum);
        }
        kit_flip(box_path(&b, LOG_0), n / 4 * 3 + 16, 0x40);
        box_open(&b);
        l = logmgr_get(b.m, STR_LIT("t"), 0);
        ck_assert_int_eq(leo(l), 4);
        kit_check_whole(l);
        plog_unref(&l);
        box_fini(&b);
    }
}
END_TEST

START_TEST(a_log_whose_files_are_gone_begins_at_its_start)
{
    struct plog *l = filled();

    commit(l);
    ok(plog_set_start(l, 150));
    plog_unref(&l);
    box_stop(&b);
    kit_remove(box_path(&b, "t-0"));
    ck_assert_int_eq(mkdir(box_path(&b, "t-0"), 0755), 0);
    box_open(&b);
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    ck_assert(plog_offsets(l).start == 150 && leo(l) == 150);
    ck_assert_int_eq(put(l, (struct put){ 0 }), 150);
    kit_check_whole(l);
    plog_unref(&l);
    box_fini(&b);
}
END_TEST

START_TEST(a_topic_id_stays)
{
    struct uuid id = uuid_random(), other = uuid_random();
    struct plog *l;

    box_init(&b);
    box_open(&b);
    l = box_log(&b, "t");
    ck_assert(uuid_is_zero(plog_topic_id(l)));
    ok(plog_set_topic_id(l, id));
    ok(plog_set_topic_id(l, id));
    fails(plog_set_topic_id(l, other), ERR_EXISTS);
    plog_unref(&l);
    box_crash(&b);
    box_open(&b);
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    ck_assert(uuid_eq(plog_topic_id(l), id));
    plog_unref(&l);
    box_fini(&b);
}
END_TEST

START_TEST(another_brokers_directory_is_refused)
{
    struct logmgr_opts o;
    struct logmgr *m;
    const char *dirs[1];

    box_init(&b);
    box_open(&b);
    box_stop(&b);
    dirs[0] = b.path;
    o = b.o;
    o.dirs = dirs;
    ok(logmgr_open(&o, &m));
    ck_assert_int_eq(logmgr_found_identity(m)->broker_id, 1);
    ck_assert_str_eq(logmgr_found_identity(m)->cluster_id, CLUSTER);
    fails(logmgr_identify(m, 2, CLUSTER), ERR_INVALID);
    fails(logmgr_identify(m, 1, "another"), ERR_INVALID);
    logmgr_free(&m);
    /* The mistake costs the right broker nothing. */
    ck_assert(kit_exists(box_path(&b, CLEAN_SHUTDOWN)));
    box_open(&b);
    ck_assert_uint_eq(b.loaded.recovered, 0);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

/* A power cut left names of segments whose bytes were never written back, or only some of them. */
START_TEST(what_is_lost_in_the_middle_ends_the_log)
{
    for (int whole = 0; whole < 2; whole++) {
        struct plog *l = filled();
        size_t n = l->segs[1]->size, keep = 0;
        int64_t base = l->segs[1]->base, end;
        char path[200];
        uint8_t *p;

        snprintf(path, sizeof path, "%s", box_path(&b, "t-0"));
        snprintf(path + strlen(path), sizeof path - strlen(path), "/%020lld.log", (long long)base);
        plog_unref(&l);
        box_crash(&b);
        box_reboot(&b);
        p = kit_slurp(path, &n);
        if (whole) {                    /* the first batch of the second segment is there, and nothing else of it */
            struct batch_head h;
            ok(batch_head_read(&h, p, n));
            keep = h.size_bytes;
            end = h.last_offset + 1;
        } else {
            end = base;
        }
        kit_spill(path, p, keep);
        free(p);
        box_open(&b);
        l = logmgr_get(b.m, STR_LIT("t"), 0);
        ck_assert_int_eq(leo(l), end);
        ck_assert_uint_eq(l->n, 2);
        kit_check_whole(l);
        ck_assert_int_eq(put(l, (struct put){ .n = 2, .leader_epoch = 9 }), end);
        plog_unref(&l);
        box_stop(&b);
        box_fini(&b);
    }
}
END_TEST

int main(void)
{
    const struct kit_test tests[] = {
        { what_is_lost_in_the_middle_ends_the_log, 0 },
        { a_clean_stop_keeps_everything, 0 },
        { without_a_stop_everything_is_found_again, 0 },
        { the_checkpoints_say_where_things_stood, 0 },
        { any_prefix_of_the_last_append_is_cut_off, 0 },
        { after_a_reboot_a_flipped_bit_ends_the_log_where_it_is, 0 },
        { after_a_reboot_a_hole_in_an_older_segment_ends_the_log_there, 0 },
        { a_harmed_index_of_the_last_segment_costs_nothing, 60 },
        { a_harmed_index_of_an_older_segment_loses_no_record, 60 },
        { an_emptied_index_is_filled_again, 0 },
        { a_harmed_snapshot_is_replaced_by_the_batches, 0 },
        { harmed_checkpoints_cost_time_only, 0 },
        { leftovers_are_removed_and_strangers_refused, 0 },
        { a_new_log_does_not_take_over_the_checkpoints_of_a_deleted_one, 0 },
        { recovery_does_not_forget_a_producer_with_old_timestamps, 0 },
        { a_snapshot_beyond_the_log_end_is_not_used, 0 },
        { snapshots_up_to_the_log_start_go, 0 },
        { damage_to_what_was_durable_is_refused_not_cut, 0 },
        { a_log_whose_files_are_gone_begins_at_its_start, 0 },
        { a_topic_id_stays, 0 },
        { another_brokers_directory_is_refused, 0 },
    };

    return kit_main("storage/recovery", tests, sizeof tests / sizeof tests[0]);
}
