/* tests/unit/storage/test_shapes.c - logs of unusual shapes, laid out by hand and opened: empty segments, a start
 * in the midst of a batch, checkpoints out of range, offsets too far apart for an index, old formats,
 * preallocated indexes.
 */
#include "tests/unit/storage/kit.h"

#include <sys/wait.h>

static struct box b;

/* ---- laying out ---------------------------------------------------------------------------------------------- */

static void begin(void)
{
    box_init(&b);
    b.log.index_interval_bytes = 100;
    box_open(&b);                       /* its meta.properties, and the marks */
    box_stop(&b);
    (void)mkdir(box_path(&b, "s-0"), 0755);
}

/* Not clean, and somebody else's: all is read, and gaps are no damage. */
static void unclean(void)
{
    ok(fio_unlink(AT_FDCWD, box_path(&b, CLEAN_SHUTDOWN)));
    ok(fio_unlink(AT_FDCWD, box_path(&b, BOOT_MARK)));
}

static const char *segment(int64_t base, const char *kind)
{
    static char name[100];

    snprintf(name, sizeof name, "s-0/%020" PRId64 ".%s", base, kind);
    return box_path(&b, name);
}

static void append_file(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "a");

    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(p, 1, n, f), n);
    fclose(f);
}

/* One more batch at the end of a segment's file. */
static size_t add(int64_t base, int64_t offset, struct put w)
{
    size_t n;
    uint8_t *p = kit_batch(w, &n);

    batch_set_base_offset(p, offset);
    batch_set_leader_epoch(p, w.leader_epoch);
    append_file(segment(base, "log"), p, n);
    free(p);
    return n;
}

static void checkpoint(const char *name, int64_t offset)
{
    char text[100];

    snprintf(text, sizeof text, "0\n1\ns 0 %" PRId64 "\n", offset);
    kit_spill(box_path(&b, name), text, strlen(text));
}

static struct plog *opened(void)
{
    struct plog *l;

    box_open(&b);
    l = logmgr_get(b.m, STR_LIT("s"), 0);
    ck_assert_ptr_nonnull(l);
    return l;
}

/* The first batch at or above offset begins there. */
static void check_at(struct plog *l, int64_t offset, int64_t base)
{
    uint8_t head[BATCH_HEAD_BYTES];
    struct batch_head h;
    struct plog_read r;
    size_t n;

    ok(plog_read(l, offset, INT64_MAX, 1, true, &r));
    ck_assert(!slice_is_null(r.records));
    ok(fio_pread(r.records.file->fd, head, sizeof head, r.records.pos, &n));
    ok(batch_head_read(&h, head, n));
    ck_assert_int_eq(h.base_offset >= 0 ? h.base_offset : h.last_offset, base);
    plog_read_done(&r);
}

static void goes_on(struct plog *l)
{
    int64_t end = leo(l);

    ck_assert_int_eq(put(l, (struct put){ .n = 2, .leader_epoch = 50 }), end);
    check_at(l, end, end);
    check_at(l, end + 1, end);
}

/* ---- empty segments ------------------------------------------------------------------------------------------ */

START_TEST(segments_without_records_are_fine_anywhere)
{
    static const struct { int64_t bases[5]; unsigned with_data; int64_t leo; } cases[] = {
        { { 0, -1 }, 0, 0 },                    { { 7, -1 }, 0, 7 },
        { { 0, 5, 9, -1 }, 0, 9 },              { { 0, 1, 5, 9, -1 }, 1, 9 },
        { { 0, 1, 5, 6, -1 }, 1 | 4, 6 },       { { 3, 10, 20, -1 }, 2, 20 },
        { { 3, 10, 20, -1 }, 4, 21 },
    };

    for (int mode = 0; mode < 2; mode++)
        for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
            struct plog *l;
            begin();
            for (int i = 0; cases[c].bases[i] >= 0; i++) {
                kit_spill(segment(cases[c].bases[i], "log"), "", 0);
                if (cases[c].with_data >> i & 1)
                    (void)add(cases[c].bases[i], cases[c].bases[i], (struct put){ 0 });
            }
            if (mode == 1)
                unclean();
            for (int again = 0; again < 2; again++) {
                struct plog_at at;
                l = opened();
                ck_assert_int_eq(leo(l), cases[c].leo + again * 2);
                ck_assert_int_eq(plog_offsets(l).start, cases[c].bases[0]);
                ok(plog_max_timestamp(l, &at));
                ok(plog_offset_for_time(l, kit_clock_ms, &at));
                for (int i = 0; cases[c].bases[i] >= 0; i++)
                    if (cases[c].with_data >> i & 1)
                        check_at(l, cases[c].bases[i], cases[c].bases[i]);
                if (again == 0)
                    goes_on(l);
                commit(l);
                plog_unref(&l);
                box_stop(&b);
                if (mode == 1)
                    unclean();
            }
            box_fini(&b);
        }
}
END_TEST

/* ---- where it starts and ends -------------------------------------------------------------------------------- */

START_TEST(a_log_may_start_in_the_midst_of_a_batch)
{
    for (int mode = 0; mode < 2; mode++) {
        struct plog_at at;
        struct plog *l;
        begin();
        (void)add(0, 0, (struct put){ .n = 10, .leader_epoch = 3 });
        (void)add(0, 10, (struct put){ .n = 5, .leader_epoch = 4 });
        checkpoint(CHECKPOINT_LOG_START, 4);
        if (mode == 1)
            unclean();
        l = opened();
        ck_assert_int_eq(plog_offsets(l).start, 4);
        ck_assert_int_eq(leo(l), 15);
        check_at(l, 4, 0);
        ok(plog_offset_for_time(l, kit_clock_ms + 2, &at));
        ck_assert_int_eq(at.offset, 4);
        if (mode == 1) {                /* after a clean stop without a file of epochs they are read all the same */
            ck_assert_int_eq(plog_epoch_start(l, 3), 4);
            ck_assert_int_eq(plog_epoch_start(l, 4), 10);
        }
        goes_on(l);
        plog_unref(&l);
        box_fini(&b);
    }
}
END_TEST

START_TEST(checkpoints_out_of_range_are_brought_into_it)
{
    static const struct { int64_t start, hw, rp, is_start, is_hw, is_leo; } cases[] = {
        { -1, 1000, -1, 0, 15, 15 },            /* HW above the end */
        { 6, 2, -1, 6, 6, 15 },                 /* HW below the start */
        { -1, 15, 1000, 0, 15, 15 },            /* recovery point above the end */
        { 15, 15, 15, 15, 15, 15 },             /* all was deleted */
        { INT64_MAX, INT64_MAX, INT64_MAX, 0, 15, 15 },         /* no offset is that large */
        { 100, 3, 15, 100, 100, 100 },          /* it ends before its start: files are missing */
        { -1, -1, -1, 0, 0, 15 },
    };

    for (int mode = 0; mode < 2; mode++)
        for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
            struct plog *l;
            begin();
            (void)add(0, 0, (struct put){ .n = 10 });
            (void)add(0, 10, (struct put){ .n = 5 });
            if (cases[c].start >= 0)
                checkpoint(CHECKPOINT_LOG_START, cases[c].start);
            if (cases[c].hw >= 0)
                checkpoint(CHECKPOINT_HIGH_WATERMARK, cases[c].hw);
            if (cases[c].rp >= 0)
                checkpoint(CHECKPOINT_RECOVERY_POINT, cases[c].rp);
            if (mode == 1)
                unclean();
            l = opened();
            ck_assert_int_eq(plog_offsets(l).start, cases[c].is_start);
            ck_assert_int_eq(plog_offsets(l).hw, cases[c].is_hw);
            ck_assert_int_eq(leo(l), cases[c].is_leo);
            ck_assert_int_le(plog_recovery_point(l), cases[c].is_leo);
            goes_on(l);
            plog_unref(&l);
            box_fini(&b);
        }
}
END_TEST

/* Offsets that sums with would not fit: damage, wherever they stand. */
START_TEST(offsets_beyond_all_reason_are_refused_or_cut)
{
    for (int mode = 0; mode < 3; mode++) {
        struct plog *l;
        begin();
        (void)add(0, 0, (struct put){ .n = 10 });
        (void)add(0, INT64_MAX - 3, (struct put){ .n = 2 });
        if (mode > 0)
            unclean();
        if (mode == 2)
            kit_spill(segment(INT64_MAX - 5, "log"), "", 0);
        if (mode != 1) {
            fails(box_try_open(&b), ERR_OFFLINE);
        } else {
            l = opened();
            ck_assert_int_eq(leo(l), 10);
            goes_on(l);
            plog_unref(&l);
        }
        box_fini(&b);
    }
}
END_TEST

/* Each byte of each checkpoint flipped, and each length of it: offsets stay in order, records as they were. */
START_TEST(no_byte_of_a_checkpoint_makes_a_log_wrong)
{
    static const char *const names[] = { CHECKPOINT_LOG_START, CHECKPOINT_HIGH_WATERMARK, CHECKPOINT_RECOVERY_POINT,
                                         "cleaner-offset-checkpoint" };
    size_t n = 0;

    for (size_t k = 0; k < 4 * 2; k++)
        for (size_t at = 0; at < 3 * 12; at++) {
            const char *name = names[k % 4];
            struct plog_offsets o;
            struct plog *l;
            size_t len;
            uint8_t *p;
            begin();
            for (int i = 0; i < 5; i++)
                (void)add(0, i * 10, (struct put){ .n = 10 });
            checkpoint(CHECKPOINT_LOG_START, 12);
            checkpoint(CHECKPOINT_HIGH_WATERMARK, 42);
            checkpoint(CHECKPOINT_RECOVERY_POINT, 50);
            checkpoint("cleaner-offset-checkpoint", 20);
            p = kit_slurp(box_path(&b, name), &len);
            if (at < 2 * len)
                kit_flip(box_path(&b, name), at / 2, (uint8_t)(at % 2 ? 0x80 : 1 << at / 2 % 7));
            else if (at < 3 * len)
                kit_spill(box_path(&b, name), p, at - 2 * len);
            free(p);
            if (k >= 4)
                unclean();
            l = opened();
            o = plog_offsets(l);
            ck_assert(o.start >= 0 && o.start <= o.hw && o.hw <= o.leo);
            if (o.start <= 50) {
                ck_assert_int_eq(o.leo, 50);
                for (int64_t i = o.start; i < 50; i++)
                    check_at(l, i, i / 10 * 10);
            } else {
                ck_assert_int_eq(o.leo, o.start);       /* as if the files were missing; said, and kept for a while */
            }
            goes_on(l);
            plog_unref(&l);
            box_fini(&b);
            n++;
        }
    ck_assert_uint_gt(n, 200);
}
END_TEST

START_TEST(a_topic_id_of_zeros_or_garbage_takes_the_partition_offline)
{
    static const char *const texts[] = { "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA", "version: 0\ntopic_id: short",
                                         "version: x\ntopic_id: AQIDBAUGBwgJCgsMDQ4PEA", "garbage", "version: 0\n" };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        begin();
        (void)add(0, 0, (struct put){ .n = 10 });
        kit_spill(box_path(&b, "s-0/" PARTITION_METADATA), texts[i], strlen(texts[i]));
        fails(box_try_open(&b), ERR_OFFLINE);
        box_fini(&b);
    }
}
END_TEST

/* ---- by time ------------------------------------------------------------------------------------------------- */

START_TEST(equal_timestamps_are_found_where_they_are_first)
{
    static const int64_t ts[] = { 5, 9, 9, 3, 9, 9, 2 };

    for (int mode = 0; mode < 2; mode++) {
        struct plog_at at;
        struct plog *l;
        begin();
        for (int i = 0; i < 7; i++)             /* three segments, of which two have the same largest */
            (void)add(i / 3 * 3, i, (struct put){ .ts = 1000 + ts[i], .value = 150 });
        if (mode == 1)
            unclean();
        for (int again = 0; again < 2; again++) {
            l = opened();
            ok(plog_max_timestamp(l, &at));
            ck_assert_int_eq(at.offset, 1);
            ok(plog_offset_for_time(l, 1009, &at));
            ck_assert_int_eq(at.offset, 1);
            ok(plog_offset_for_time(l, 1006, &at));
            ck_assert_int_eq(at.offset, 1);
            ok(plog_offset_for_time(l, 1001, &at));
            ck_assert_int_eq(at.offset, 0);
            ok(plog_offset_for_time(l, 1010, &at));
            ck_assert_int_eq(at.offset, -1);
            plog_unref(&l);
            box_stop(&b);
        }
        box_fini(&b);
    }
}
END_TEST

/* ---- indexes ------------------------------------------------------------------------------------------------- */

/* As Apache Kafka leaves them: the active segment's are 10 MB of mostly zeros. An older one's may be, if it died while
 * it rolled. */
START_TEST(zeros_behind_an_index_are_cut_off)
{
    const size_t big = 10 << 20;

    for (int k = 0; k < 8; k++) {
        bool clean = k & 1, old = k & 2, durable = k & 4;
        int64_t base = old ? 0 : 20;
        size_t n, m;
        struct plog *l;
        begin();
        for (int i = 0; i < 40; i++)
            (void)add(i / 20 * 20, i, (struct put){ .ts = 1000 + i });
        l = opened();                   /* has the indexes made */
        commit(l);
        plog_unref(&l);
        box_stop(&b);
        n = kit_size(segment(base, "index"));
        m = kit_size(segment(base, "timeindex"));
        ck_assert(n > 0 && m > 0);
        ck_assert_int_eq(truncate(segment(base, "index"), big / 8 * 8), 0);
        ck_assert_int_eq(truncate(segment(base, "timeindex"), big / 12 * 12), 0);
        if (!durable)
            ok(fio_unlink(AT_FDCWD, box_path(&b, CHECKPOINT_RECOVERY_POINT)));
        if (!clean)
            unclean();
        l = opened();
        for (int64_t i = 0; i < 40; i++) {
            struct plog_at at;
            check_at(l, i, i);
            ok(plog_offset_for_time(l, 1000 + i, &at));
            ck_assert_int_eq(at.offset, i);
        }
        ck_assert_uint_eq(plog_active(l)->suspect | l->segs[0]->suspect, 0);
        plog_unref(&l);
        box_stop(&b);
        ck_assert_uint_eq(kit_size(segment(base, "index")), n);
        ck_assert_uint_eq(kit_size(segment(base, "timeindex")), m);
        box_fini(&b);
    }
}
END_TEST

static void fill_overlong(void)
{
    (void)mkdir(box_path(&b, "s-0"), 0755);
    for (int i = 0; i < 12; i++)        /* 2^31 apart after every third */
        (void)add(0, i / 3 * INT64_C(2147483648) + i * 10, (struct put){ .value = 60, .n = 2, .ts = 1000 + i * 10 });
    (void)add(INT64_C(4) << 31, (INT64_C(4) << 31) + 1, (struct put){ .ts = 5000 });
}

static void check_overlong(struct plog *l)
{
    for (int i = 0; i < 12; i++) {
        int64_t offset = i / 3 * INT64_C(2147483648) + i * 10;
        struct plog_at at;
        check_at(l, offset, offset);
        check_at(l, offset + 1, offset);
        ok(plog_offset_for_time(l, 1001 + i * 10, &at));
        ck_assert_int_eq(at.offset, offset + 1);
    }
    ck_assert_uint_ge(l->n, 5);
    ck_assert_uint_eq(l->segs[1]->suspect | l->segs[2]->suspect, 0);
    ck_assert_int_ge(leo(l), (INT64_C(4) << 31) + 2);
}

/* KAFKA-6264: what compaction by old brokers made. With indexes whose entries ran over, or none. */
START_TEST(a_segment_too_long_for_an_index_is_split)
{
    for (int k = 0; k < 2; k++) {
        struct plog *l;
        begin();
        fill_overlong();
        if (k & 1)
            unclean();
        for (int again = 0; again < 2; again++) {
            l = opened();
            check_overlong(l);
            goes_on(l);
            commit(l);
            plog_unref(&l);
            box_stop(&b);
            if (k & 1)
                unclean();
        }
        box_fini(&b);
    }
}
END_TEST

#ifdef KLAMM_KILL_POINTS
/* In a process of its own, since kill points are read from the environment once. False: there is no n-th pass. */
static bool die_at(const char *point, int pass)
{
    pid_t pid = fork();
    int status;

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct plog *l;
        box_init(&b);
        fill_overlong();
        pid = fork();
        if (pid == 0) {
            char at[60];
            snprintf(at, sizeof at, "%s:%d", point, pass);
            setenv("KLAMM_KILL_AT", at, 1);
            _exit(box_try_open(&b) == OK ? 0 : 1);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(status == 0 || WIFSIGNALED(status));
        l = opened();
        check_overlong(l);
        plog_unref(&l);
        box_fini(&b);
        _exit(status == 0 ? 7 : 0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 7), "%s:%d", point, pass);
    return WEXITSTATUS(status) == 0;
}
#endif

START_TEST(dying_in_the_midst_of_a_split_costs_nothing)
{
#ifdef KLAMM_KILL_POINTS
    static const char *const points[] = { "clean.created", "clean.log_written", "clean.index_written", "clean.renamed",
                                          "swap.removed", "swap.renamed" };
    size_t deaths = 0;

    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
        for (int pass = 1; die_at(points[i], pass); pass++)
            deaths++;
    printf("%zu deaths\n", deaths);
    ck_assert_uint_gt(deaths, 15);
#else
    printf("skipped: this build has no kill points (SANITIZE=address or thread has them)\n");
#endif
}
END_TEST

/* What a recovery by Apache Kafka 3.9.1 leaves as it is. */
START_TEST(a_batch_that_stands_there_twice_is_read_over)
{
    struct plog *l;

    begin();
    for (int i = 0; i < 6; i++)
        (void)add(0, i < 4 ? i : i - 1, (struct put){ .value = 50, .ts = 1000 + (i < 4 ? i : i - 1) });
    l = opened();
    ck_assert_int_eq(leo(l), 5);
    for (int64_t i = 0; i < 5; i++)
        check_at(l, i, i);
    goes_on(l);
    plog_unref(&l);
    box_fini(&b);
}
END_TEST

/* ---- old formats --------------------------------------------------------------------------------------------- */

/* Three messages, or a wrapper with three. Magic 0 counts from `offset` inside, magic 1 from 0. */
static size_t add_old(int64_t base, int64_t offset, int8_t magic, enum codec codec, int64_t ts)
{
    struct builder_opts o;
    struct builder bl;
    struct arena a;
    struct bytes out;

    builder_opts_init(&o);
    o.magic = magic;
    o.codec = codec;
    o.level = codec_default_level(codec);
    arena_init(&a, 1 << 20);
    builder_init(&bl, &o, &a);
    for (int i = 0; i < 3; i++) {
        struct record r = { .offset = offset + i, .timestamp = ts + i, .value = { (const uint8_t *)"old value", 9 } };
        builder_add(&bl, &r);
    }
    ok(builder_finish(&bl, &out));
    append_file(segment(base, "log"), out.p, out.len);
    builder_fini(&bl);
    arena_fini(&a);
    return out.len;
}

START_TEST(messages_of_the_old_formats_are_recovered_and_found)
{
    for (int k = 0; k < 8; k++) {
        int8_t magic = k & 1;
        enum codec codec = k & 2 ? CODEC_GZIP : CODEC_NONE;
        struct plog *l;
        size_t n = 0, last = 0;
        begin();
        for (int i = 0; i < 9; i++)
            n += last = add_old(i / 4 * 12, i * 3, magic, codec, 1000 + i * 10);
        if (k & 4)
            unclean();
        if (k & 4)                      /* the last one's checksum, or its inside, is wrong: never durable */
            kit_flip(segment(24, "log"), last - 1, 0x10);
        for (int again = 0; again < 2; again++) {
            struct plog_at at;
            int64_t end = !(k & 4) ? 27 : codec == CODEC_NONE ? 26 : 24;
            l = opened();
            ck_assert_int_eq(leo(l), end);
            for (int64_t i = 0; i < end; i++)
                check_at(l, i, codec == CODEC_NONE ? i : i / 3 * 3 + 2);
            ok(plog_offset_for_time(l, 1021, &at));
            ck_assert_int_eq(at.offset, magic == 1 ? 7 : -1);
            ck_assert_uint_eq(l->epochs.n, 0);
            plog_unref(&l);
            box_stop(&b);
        }
        box_fini(&b);
    }
}
END_TEST

int main(void)
{
    const struct kit_test tests[] = {
        { segments_without_records_are_fine_anywhere, 0 },
        { a_log_may_start_in_the_midst_of_a_batch, 0 },
        { checkpoints_out_of_range_are_brought_into_it, 0 },
        { offsets_beyond_all_reason_are_refused_or_cut, 0 },
        { no_byte_of_a_checkpoint_makes_a_log_wrong, 60 },
        { a_topic_id_of_zeros_or_garbage_takes_the_partition_offline, 0 },
        { equal_timestamps_are_found_where_they_are_first, 0 },
        { zeros_behind_an_index_are_cut_off, 0 },
        { a_segment_too_long_for_an_index_is_split, 0 },
        { dying_in_the_midst_of_a_split_costs_nothing, 60 },
        { a_batch_that_stands_there_twice_is_read_over, 0 },
        { messages_of_the_old_formats_are_recovered_and_found, 0 },
    };

    return kit_main("storage/shapes", tests, sizeof tests / sizeof tests[0]);
}
