/* tests/unit/storage/test_log.c - one log while it is open: append, read, limits, rolling, retention, look-ups. */
#include "tests/unit/storage/kit.h"

static struct box b;

static struct plog *fresh(void)
{
    box_init(&b);
    box_open(&b);
    return box_log(&b, "t");
}

static void done(struct plog *l)
{
    plog_unref(&l);
    box_fini(&b);
}

START_TEST(appends_get_offsets_one_after_the_other)
{
    struct plog *l = fresh();
    struct plog_offsets o;

    ck_assert_int_eq(put(l, (struct put){ .n = 3, .leader_epoch = 5 }), 0);
    ck_assert_int_eq(put(l, (struct put){ .n = 1, .leader_epoch = 5 }), 3);
    ck_assert_int_eq(put(l, (struct put){ .n = 10, .leader_epoch = 7 }), 4);
    o = plog_offsets(l);
    ck_assert(o.start == 0 && o.hw == 0 && o.lso == 0 && o.leo == 14);
    kit_check_whole(l);
    ck_assert_int_eq(plog_latest_epoch(l), 7);
    ck_assert_int_eq(plog_epoch_start(l, 7), 4);
    ck_assert_int_eq(plog_epoch_start(l, 6), -1);
    ck_assert_int_eq(plog_epoch_end(l, 5).end_offset, 4);
    ck_assert_int_eq(plog_epoch_end(l, 6).epoch, 5);
    ck_assert_int_eq(plog_epoch_end(l, 7).end_offset, 14);
    ck_assert_int_eq(plog_epoch_end(l, 8).epoch, -1);
    ck_assert_int_eq(plog_earliest_epoch(l), 5);
    done(l);
}
END_TEST

START_TEST(several_batches_go_in_as_one_append)
{
    struct plog *l = fresh();
    struct plog_append in = { .leader_epoch = 1 };
    struct plog_appended out;
    size_t n, m;
    uint8_t *p = kit_batch((struct put){ .n = 2 }, &n), *q = kit_batch((struct put){ .n = 5 }, &m);

    in.p = malloc(n + m);
    in.len = n + m;
    memcpy(in.p, p, n);
    memcpy(in.p + n, q, m);
    ok(plog_append(l, &in, &out));
    ck_assert(out.base_offset == 0 && out.last_offset == 6 && !out.duplicate && out.offsets.leo == 7);
    kit_check_whole(l);
    in.len--;                           /* not whole */
    fails(plog_append(l, &in, &out), ERR_INVALID);
    in.len = 0;
    fails(plog_append(l, &in, &out), ERR_INVALID);
    ck_assert_int_eq(leo(l), 7);
    free(p);
    free(q);
    free(in.p);
    done(l);
}
END_TEST

START_TEST(a_set_larger_than_a_segment_is_refused)
{
    struct plog_appended out;
    struct plog *l;

    box_init(&b);
    b.log.segment_bytes = 1000;
    box_open(&b);
    l = box_log(&b, "t");
    fails(try_put(l, (struct put){ .value = 1000 }, &out), ERR_LIMIT);
    ck_assert_int_eq(leo(l), 0);
    ok(try_put(l, (struct put){ .value = 900 }, &out));
    done(l);
}
END_TEST

START_TEST(reads_stop_at_the_bound_and_the_limit)
{
    struct plog *l = fresh();
    struct plog_read r;
    size_t one;

    free(kit_batch((struct put){ .n = 10, .value = 100 }, &one));
    for (int i = 0; i < 5; i++)
        put(l, (struct put){ .n = 10, .value = 100 });
    plog_set_hw(l, 30, NULL);
    ok(plog_read(l, 0, 30, SIZE_MAX >> 1, false, &r));
    ck_assert_uint_eq(r.records.len, 3 * one);
    ck_assert_uint_eq(r.first_batch_bytes, one);
    ck_assert(r.active_segment && r.segment_base == 0 && r.offsets.hw == 30);
    plog_read_done(&r);
    ok(plog_read(l, 15, 30, one + 7, false, &r));       /* within the second batch; the third one cut */
    ck_assert(r.records.pos == (off_t)one && r.records.len == one + 7);
    plog_read_done(&r);
    ok(plog_read(l, 15, 30, 7, true, &r));
    ck_assert_uint_eq(r.records.len, one);
    plog_read_done(&r);
    ok(plog_read(l, 15, 30, 7, false, &r));
    ck_assert_uint_eq(r.records.len, 7);
    plog_read_done(&r);
    ok(plog_read(l, 15, 30, 0, false, &r));
    ck_assert(slice_is_null(r.records) && r.first_batch_bytes == one);
    plog_read_done(&r);
    ok(plog_read(l, 15, 30, 0, true, &r));
    ck_assert_uint_eq(r.records.len, one);
    plog_read_done(&r);
    ok(plog_read(l, 30, 30, 100, true, &r));
    ck_assert(slice_is_null(r.records));
    ok(plog_read(l, 40, 30, 100, true, &r));
    ck_assert(slice_is_null(r.records));
    ok(plog_read(l, 50, INT64_MAX, 100, true, &r));
    ck_assert(slice_is_null(r.records));
    fails(plog_read(l, 51, INT64_MAX, 100, true, &r), ERR_RANGE);
    ck_assert_int_eq(r.offsets.leo, 50);
    fails(plog_read(l, -1, INT64_MAX, 100, true, &r), ERR_RANGE);
    done(l);
}
END_TEST

START_TEST(every_offset_is_found_through_the_index)
{
    struct plog *l;
    size_t n;

    box_init(&b);
    b.log.index_interval_bytes = 300;
    b.log.segment_bytes = 20000;
    box_open(&b);
    l = box_log(&b, "t");
    for (int i = 0; i < 700; i++)
        put(l, (struct put){ .n = 1 + i % 4, .value = 20 });
    for (int64_t o = 0; o < leo(l); o += 7)
        free(kit_read_all(l, o, &n));
    ck_assert_uint_gt(l->n, 3);
    done(l);
}
END_TEST

START_TEST(segments_roll_by_size)
{
    struct plog_appended out;
    struct plog *l;
    size_t one;

    free(kit_batch((struct put){ .value = 100 }, &one));
    box_init(&b);
    b.log.segment_bytes = (int32_t)(3 * one);
    box_open(&b);
    l = box_log(&b, "t");
    for (int i = 0; i < 7; i++) {
        ok(try_put(l, (struct put){ .value = 100 }, &out));
        ck_assert(out.rolled == (i == 3 || i == 6));
    }
    ck_assert_uint_eq(l->n, 3);
    ck_assert(l->segs[1]->base == 3 && l->segs[2]->base == 6);
    ck_assert_int_eq(plog_size_bytes(l), (int64_t)(7 * one));
    ck_assert(kit_exists(box_path(&b, "t-0/00000000000000000003.snapshot")));
    kit_check_whole(l);
    done(l);
}
END_TEST

START_TEST(segments_roll_by_time_of_records_or_age)
{
    struct plog *l;

    box_init(&b);
    b.log.segment_ms = 1000;
    box_open(&b);
    l = box_log(&b, "t");
    put(l, (struct put){ .ts = 5000 });
    put(l, (struct put){ .ts = 6000 });
    put(l, (struct put){ .ts = 100 });
    ck_assert_uint_eq(l->n, 1);
    put(l, (struct put){ .ts = 6001 });
    ck_assert_uint_eq(l->n, 2);
    put(l, (struct put){ .ts = -1 });   /* without a timestamp: the first one's still counts */
    ck_assert_uint_eq(l->n, 2);
    put(l, (struct put){ .ts = 9000 });
    put(l, (struct put){ .ts = 9000 });
    ck_assert_uint_eq(l->n, 3);
    done(l);
}
END_TEST

START_TEST(segments_roll_when_an_index_is_full)
{
    int64_t base[30];
    struct plog *l;
    size_t n;

    box_init(&b);
    b.log.segment_index_bytes = 4 * TIME_INDEX_ENTRY;
    b.log.index_interval_bytes = 0;
    box_open(&b);
    l = box_log(&b, "t");
    for (int i = 0; i < 30; i++)
        put(l, (struct put){ .ts = 1000 + i });
    ck_assert_uint_gt(l->n, 5);
    n = l->n;
    for (size_t i = 0; i < n; i++)
        base[i] = l->segs[i]->base;
    plog_unref(&l);                     /* the manager waits for nobody */
    box_stop(&b);
    for (size_t i = 0; i < n; i++) {
        const struct place at = { .dirfd = AT_FDCWD, .dir = "t-0" };
        char path[SEGMENT_PATH_MAX];
        segment_path(&at, base[i], SEGMENT_TIMEINDEX, "", path);
        ck_assert_uint_le(kit_size(box_path(&b, path)), 4 * TIME_INDEX_ENTRY);
        segment_path(&at, base[i], SEGMENT_INDEX, "", path);
        ck_assert_uint_le(kit_size(box_path(&b, path)), 4 * TIME_INDEX_ENTRY);
    }
    box_fini(&b);
}
END_TEST

START_TEST(segments_roll_when_offsets_would_not_fit_an_index)
{
    struct plog_append in = { 0 };
    struct plog_appended out;
    struct batch_head h;
    struct plog *l = fresh();

    in.p = kit_batch((struct put){ .n = 2 }, &in.len);
    ok(batch_head_read(&h, in.p, in.len));
    h.last_offset_delta = INT32_MAX - 1;        /* as compaction may leave it */
    batch_head_write(&h, in.p);
    ok(plog_append(l, &in, &out));
    ck_assert_int_eq(put(l, (struct put){ 0 }), INT32_MAX);
    ck_assert_uint_eq(l->n, 1);
    ck_assert_int_eq(put(l, (struct put){ 0 }), (int64_t)INT32_MAX + 1);
    ck_assert_uint_eq(l->n, 2);
    ck_assert_int_eq(l->segs[1]->base, (int64_t)INT32_MAX + 1);
    free(in.p);
    done(l);
}
END_TEST

static struct plog *ten_segments(size_t *one)
{
    struct plog *l;

    box_init(&b);
    free(kit_batch((struct put){ .value = 100 }, one));
    b.log.segment_bytes = (int32_t)*one;
    b.log.file_delete_delay_ms = 0;
    b.log.retention_ms = -1;
    box_open(&b);
    l = box_log(&b, "t");
    for (int i = 0; i < 10; i++)
        put(l, (struct put){ .value = 100, .ts = kit_clock_ms - 10000 + i * 1000 });
    ck_assert_uint_eq(l->n, 10);
    return l;
}

START_TEST(retention_by_size_keeps_at_least_that_much)
{
    size_t one, gone;
    struct plog *l = ten_segments(&one);

    b.log.retention_bytes = (int64_t)(3 * one + 1);
    plog_set_opts(l, &b.log);
    ok(plog_retain(l, kit_now(), &gone));
    ck_assert_uint_eq(gone, 0);         /* nothing is committed */
    commit(l);
    ok(plog_retain(l, kit_now(), &gone));
    ck_assert_uint_eq(gone, 6);
    ck_assert_int_eq(plog_offsets(l).start, 6);
    ck_assert_int_eq(plog_size_bytes(l), (int64_t)(4 * one));
    ck_assert(!kit_exists(box_path(&b, "t-0/00000000000000000005.log")));
    ck_assert(kit_exists(box_path(&b, "t-0/00000000000000000005.log.deleted")));
    logdir_empty_trash(l->dir, true);
    ck_assert(!kit_exists(box_path(&b, "t-0/00000000000000000005.log.deleted")));
    ck_assert(!kit_exists(box_path(&b, "t-0/00000000000000000005.snapshot")));
    kit_check_whole(l);
    done(l);
}
END_TEST

START_TEST(retention_by_time_may_take_all_and_leaves_an_empty_segment)
{
    size_t one, gone;
    struct plog *l = ten_segments(&one);
    struct plog_offsets o;

    commit(l);
    b.log.retention_ms = 5500;
    plog_set_opts(l, &b.log);
    ok(plog_retain(l, kit_now(), &gone));
    ck_assert_uint_eq(gone, 5);         /* -10000 .. -6000 */
    ok(plog_retain(l, kit_now() + 1000000, &gone));
    ck_assert_uint_eq(gone, 5);
    o = plog_offsets(l);
    ck_assert(o.start == 10 && o.leo == 10 && l->n == 1 && plog_size_bytes(l) == 0);
    ok(plog_retain(l, kit_now() + 1000000, &gone));
    ck_assert_uint_eq(gone, 0);
    ck_assert_int_eq(put(l, (struct put){ 0 }), 10);
    done(l);
}
END_TEST

static void written_at(const struct segment *s, int64_t ms)
{
    char path[SEGMENT_PATH_MAX];
    int fd;

    segment_path(s->place, s->base, SEGMENT_LOG, "", path);
    ok(fio_open(s->place->dirfd, path, O_WRONLY, &fd));
    fio_set_mtime(fd, ms);
    fio_close(&fd);
}

START_TEST(timestamps_that_are_no_times_are_obeyed_and_told)
{
    struct segment *past, *future, *fine;
    struct plog *l = fresh();
    size_t gone;

    b.log.segment_bytes = 200;
    b.log.retention_ms = 100000;
    plog_set_opts(l, &b.log);
    put(l, (struct put){ .value = 100, .ts = kit_clock_ms / 1000 });            /* seconds */
    put(l, (struct put){ .value = 100, .ts = kit_clock_ms - 200000 });
    put(l, (struct put){ .value = 100, .ts = kit_clock_ms * 1000 });            /* microseconds */
    put(l, (struct put){ .value = 100 });
    commit(l);
    ck_assert_uint_eq(l->n, 4);
    past = segment_ref(l->segs[0]);
    fine = segment_ref(l->segs[1]);
    future = segment_ref(l->segs[2]);
    written_at(past, kit_clock_ms - 1000);
    written_at(fine, kit_clock_ms - 60000);                                     /* came late */
    written_at(future, kit_clock_ms - 1000);
    ok(plog_retain(l, kit_now(), &gone));
    ck_assert_uint_eq(gone, 2);
    ck_assert(past->told_times && !fine->told_times && !future->told_times);
    written_at(future, kit_clock_ms - 200000);
    ok(plog_retain(l, kit_now(), &gone));
    ck_assert_uint_eq(gone, 0);
    ck_assert(future->told_times);
    segment_unref(&past);
    segment_unref(&fine);
    segment_unref(&future);
    done(l);
}
END_TEST

START_TEST(a_compacted_log_is_kept_but_below_its_start)
{
    size_t one, gone;
    struct plog *l = ten_segments(&one);

    commit(l);
    b.log.retention_ms = 1;
    b.log.retention_bytes = 1;
    b.log.delete_policy = false;
    plog_set_opts(l, &b.log);
    ok(plog_set_start(l, 4));
    ok(plog_retain(l, kit_now() + 1000000, &gone));
    ck_assert_uint_eq(gone, 4);
    done(l);
}
END_TEST

START_TEST(the_start_only_rises_and_not_above_the_high_watermark)
{
    struct plog *l = fresh();
    struct plog_read r;

    put(l, (struct put){ .n = 100, .leader_epoch = 3 });
    fails(plog_set_start(l, 1), ERR_RANGE);
    ck_assert(plog_set_hw(l, 60, NULL));
    ck_assert(!plog_set_hw(l, 50, NULL));
    ok(plog_set_start(l, 50));
    ok(plog_set_start(l, 20));
    ck_assert_int_eq(plog_offsets(l).start, 50);
    fails(plog_set_start(l, 61), ERR_RANGE);
    fails(plog_read(l, 49, INT64_MAX, 1000, true, &r), ERR_RANGE);
    ok(plog_read(l, 50, INT64_MAX, 1000, true, &r));
    plog_read_done(&r);
    ck_assert(plog_set_hw(l, 1000, NULL));
    ck_assert_int_eq(plog_offsets(l).hw, 100);
    ck_assert_int_eq(plog_earliest_epoch(l), 3);
    ck_assert_int_eq(plog_epoch_start(l, 3), 50);
    done(l);
}
END_TEST

START_TEST(a_record_is_found_by_its_time)
{
    struct plog *l;
    struct plog_at at;

    box_init(&b);
    b.log.segment_bytes = 2000;
    b.log.index_interval_bytes = 100;
    box_open(&b);
    l = box_log(&b, "t");
    ok(plog_offset_for_time(l, 0, &at));
    ck_assert_int_eq(at.offset, -1);
    ok(plog_max_timestamp(l, &at));
    ck_assert_int_eq(at.offset, -1);
    for (int i = 0; i < 100; i++)       /* 10 records, 1 ms apart, then a gap of 90 ms */
        put(l, (struct put){ .n = 10, .ts = 1000 + i * 100, .leader_epoch = 2 });
    ck_assert_uint_gt(l->n, 5);
    for (int64_t ts = 990; ts < 1000 + 9909; ts++) {
        int64_t i = ts < 1000 ? 0 : (ts - 1000) / 100, d = ts < 1000 ? 0 : (ts - 1000) % 100;
        ok(plog_offset_for_time(l, ts, &at));
        ck_assert_int_eq(at.offset, d < 10 ? i * 10 + d : (i + 1) * 10);
        ck_assert_int_eq(at.timestamp, d < 10 ? 1000 + i * 100 + d : 1000 + (i + 1) * 100);
        ck_assert_int_eq(at.leader_epoch, 2);
    }
    ok(plog_offset_for_time(l, 1000 + 9910, &at));
    ck_assert(at.offset == -1 && at.timestamp == -1);
    ok(plog_max_timestamp(l, &at));
    ck_assert(at.offset == 999 && at.timestamp == 10909);
    commit(l);
    ok(plog_set_start(l, 555));
    ok(plog_offset_for_time(l, 0, &at));
    ck_assert_int_eq(at.offset, 555);
    done(l);
}
END_TEST

START_TEST(times_out_of_order_are_found_all_the_same)
{
    struct plog *l;
    struct plog_at at;

    box_init(&b);
    b.log.segment_bytes = 3000;
    b.log.segment_ms = INT64_MAX;
    b.log.index_interval_bytes = 200;
    box_open(&b);
    l = box_log(&b, "t");
    for (int i = 0; i < 100; i++)
        put(l, (struct put){ .ts = 1000 + (i * 37) % 100 });
    for (int t = 0; t < 100; t++) {
        int first = 0;
        while ((first * 37) % 100 < t)
            first++;
        ok(plog_offset_for_time(l, 1000 + t, &at));
        ck_assert_int_eq(at.offset, first);
    }
    ok(plog_max_timestamp(l, &at));
    ck_assert_int_eq(at.timestamp, 1099);
    ck_assert_int_eq((at.offset * 37) % 100, 99);
    done(l);
}
END_TEST

START_TEST(a_time_that_came_before_the_log_start_hides_later_segments)
{
    struct plog *l;
    struct plog_at at;

    box_init(&b);
    b.log.segment_bytes = 1000;
    b.log.segment_ms = INT64_MAX;
    box_open(&b);
    l = box_log(&b, "t");
    put(l, (struct put){ .ts = 1090 });
    while (l->n < 2)
        put(l, (struct put){ .ts = 1060 });
    put(l, (struct put){ .ts = 1085 });
    commit(l);
    ok(plog_set_start(l, 1));
    ok(plog_offset_for_time(l, 1050, &at));
    ck_assert_int_eq(at.offset, 1);
    ok(plog_offset_for_time(l, 1080, &at));
    ck_assert_int_eq(at.offset, -1);
    ok(plog_max_timestamp(l, &at));
    ck_assert(at.offset == 0 && at.timestamp == 1090);
    ok(plog_set_start(l, l->segs[1]->base));
    ok(plog_offset_for_time(l, 1080, &at));
    ck_assert_int_eq(at.timestamp, 1085);
    done(l);
}
END_TEST

START_TEST(segments_before_a_time_are_listed_for_list_offsets_0)
{
    size_t one, n;
    int64_t v[20];
    struct plog *l = ten_segments(&one);

    ok(plog_segments_before(l, -1, v, 20, &n));
    ck_assert(n == 11 && v[0] == 10 && v[1] == 9 && v[10] == 0);
    ok(plog_segments_before(l, -1, v, 3, &n));
    ck_assert(n == 3 && v[0] == 10 && v[2] == 8);
    ok(plog_segments_before(l, -2, v, 20, &n));
    ck_assert(n == 1 && v[0] == 0);
    ok(plog_segments_before(l, 5, v, 20, &n));
    ck_assert_uint_eq(n, 0);
    commit(l);
    ok(plog_set_start(l, 5));
    ok(plog_segments_before(l, -2, v, 20, &n));
    ck_assert(n == 1 && v[0] == 5);
    done(l);
}
END_TEST

START_TEST(a_batch_sent_again_is_answered_from_memory)
{
    struct plog *l = fresh();
    struct plog_appended out;
    struct plog_producer *v;
    struct arena a;
    size_t n;

    for (int i = 0; i < 7; i++)
        ck_assert_int_eq(put(l, (struct put){ .pid = 9, .seq = i * 3, .n = 3 }), i * 3);
    for (int i = 2; i < 7; i++) {
        ok(try_put(l, (struct put){ .pid = 9, .seq = i * 3, .n = 3 }, &out));
        ck_assert(out.duplicate && out.base_offset == i * 3 && out.last_offset == i * 3 + 2);
        ck_assert_int_eq(out.timestamp, kit_clock_ms + 2);
    }
    fails(try_put(l, (struct put){ .pid = 9, .seq = 3, .n = 3 }, &out), ERR_SEQUENCE);     /* too long ago */
    fails(try_put(l, (struct put){ .pid = 9, .seq = 18, .n = 4 }, &out), ERR_SEQUENCE);
    fails(try_put(l, (struct put){ .pid = 9, .seq = 22, .n = 1 }, &out), ERR_SEQUENCE);
    ok(try_put(l, (struct put){ .pid = 9, .seq = 0, .epoch = 1 }, &out));
    fails(try_put(l, (struct put){ .pid = 9, .seq = 21 }, &out), ERR_PRODUCER_EPOCH);
    ok(try_put(l, (struct put){ .pid = 5, .seq = 77 }, &out));         /* not known: begins anywhere */
    ck_assert_int_eq(leo(l), 23);
    arena_init(&a, 1 << 20);
    ok(plog_producers(l, &a, &v, &n));
    ck_assert(n == 2 && v[0].producer_id == 5 && v[1].producer_id == 9 && v[1].epoch == 1 && v[1].last_sequence == 0);
    arena_fini(&a);
    done(l);
}
END_TEST

START_TEST(a_deleted_log_is_closed_and_may_be_made_anew)
{
    struct plog *l = fresh(), *l2;
    struct plog_appended out;
    struct plog_read r;
    size_t gone;

    put(l, (struct put){ .n = 5 });
    ok(logmgr_delete(b.m, STR_LIT("t"), 0));
    fails(logmgr_delete(b.m, STR_LIT("t"), 0), ERR_NOENT);
    ck_assert_ptr_null(logmgr_get(b.m, STR_LIT("t"), 0));
    fails(try_put(l, (struct put){ 0 }, &out), ERR_CLOSED);
    fails(plog_read(l, 0, 5, 100, true, &r), ERR_CLOSED);
    fails(plog_retain(l, 0, &gone), ERR_CLOSED);
    l2 = box_log(&b, "t");
    ck_assert_ptr_ne(l, l2);
    ck_assert_int_eq(leo(l2), 0);
    put(l2, (struct put){ .n = 2 });
    plog_unref(&l);
    kit_check_whole(l2);
    done(l2);
}
END_TEST

/* The syncer may come to a deleted log late: it must not touch the new log that has its name. */
START_TEST(a_late_sync_of_a_deleted_log_leaves_the_new_one_alone)
{
    struct plog *l = fresh(), *l2;
    struct sync_item it;
    uint32_t sum;

    put(l, (struct put){ .n = 5, .pid = 1, .leader_epoch = 9 });
    ok(logmgr_delete(b.m, STR_LIT("t"), 0));
    l2 = box_log(&b, "t");
    put(l2, (struct put){ .n = 2 });
    sum = kit_sum(box_path(&b, "t-0"));
    fails(plog_sync_begin(l, true, &it), ERR_CLOSED);
    plog_sync_end(&it, false);
    ck_assert(!plog_wants_sync(l));
    ck_assert_uint_eq(kit_sum(box_path(&b, "t-0")), sum);
    plog_unref(&l);
    /* Deleted between begin and end. */
    ok(plog_sync_begin(l2, true, &it));
    ok(logmgr_delete(b.m, STR_LIT("t"), 0));
    l = box_log(&b, "t");
    put(l, (struct put){ .n = 2, .leader_epoch = 4 });
    ok(plog_write_snapshot(l, 1));
    it.old_snapshot = 1;
    kit_spill(box_path(&b, "t-0/leader-epoch-checkpoint.tmp"), "0\n0\n", 4);
    sum = kit_sum(box_path(&b, "t-0"));
    ok(plog_sync_files(&it));
    ok(plog_sync_rename(&it));
    ok(plog_sync_dir(&it));
    plog_sync_done(&it);
    plog_sync_end(&it, true);
    ck_assert_uint_eq(kit_sum(box_path(&b, "t-0")), sum);
    plog_unref(&l2);
    done(l);
}
END_TEST

int main(void)
{
    const struct kit_test tests[] = {
        { appends_get_offsets_one_after_the_other, 0 },
        { several_batches_go_in_as_one_append, 0 },
        { a_set_larger_than_a_segment_is_refused, 0 },
        { reads_stop_at_the_bound_and_the_limit, 0 },
        { every_offset_is_found_through_the_index, 0 },
        { segments_roll_by_size, 0 },
        { segments_roll_by_time_of_records_or_age, 0 },
        { segments_roll_when_an_index_is_full, 0 },
        { segments_roll_when_offsets_would_not_fit_an_index, 0 },
        { retention_by_size_keeps_at_least_that_much, 0 },
        { retention_by_time_may_take_all_and_leaves_an_empty_segment, 0 },
        { timestamps_that_are_no_times_are_obeyed_and_told, 0 },
        { a_compacted_log_is_kept_but_below_its_start, 0 },
        { the_start_only_rises_and_not_above_the_high_watermark, 0 },
        { a_record_is_found_by_its_time, 0 },
        { times_out_of_order_are_found_all_the_same, 0 },
        { a_time_that_came_before_the_log_start_hides_later_segments, 0 },
        { segments_before_a_time_are_listed_for_list_offsets_0, 0 },
        { a_batch_sent_again_is_answered_from_memory, 0 },
        { a_deleted_log_is_closed_and_may_be_made_anew, 0 },
        { a_late_sync_of_a_deleted_log_leaves_the_new_one_alone, 0 },
    };

    return kit_main("storage/log", tests, sizeof tests / sizeof tests[0]);
}
