/* tests/unit/storage/test_between.c - what one mechanism that fails, or is broken off, leaves for the others. */
#include "storage/syncer.h"
#include "tests/unit/storage/kit.h"

#include <errno.h>

static struct box b;

static struct plog *fresh(void)
{
    box_init(&b);
    b.log.segment_bytes = 1000;
    b.log.index_interval_bytes = 100;
    box_open(&b);
    return box_log(&b, "t");
}

static void done(struct plog *l)
{
    plog_unref(&l);
    box_fini(&b);
}

static void fill(struct plog *l, int n)
{
    for (int i = 0; i < n; i++)
        put(l, (struct put){ .n = 5, .value = 20, .pid = 3, .seq = 5 * i, .leader_epoch = i / 10 });
}

/* Opening gives up when the broker stops: it begins again at the next start. A truncation has nothing to go back to. */
START_TEST(a_stop_does_not_break_off_a_truncation)
{
    struct plog *l = fresh();

    fill(l, 40);
    atomic_store(&box_dir(&b)->stopping, true);
    ok(plog_truncate(l, 52));
    ck_assert_int_eq(leo(l), 50);
    kit_check_whole(l);
    plog_unref(&l);
    box_stop(&b);
    box_open(&b);
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    ck_assert_int_eq(leo(l), 50);
    kit_check_whole(l);
    done(l);
}
END_TEST

/* A round that began before a truncation has synced bytes that others have taken the place of. */
START_TEST(a_cut_overtakes_a_sync)
{
    struct plog *l = fresh();
    struct sync_item it;

    fill(l, 40);
    ok(plog_sync_begin(l, true, &it));
    ck_assert_int_eq(it.upto, 200);
    ok(plog_sync_files(&it));
    ok(plog_truncate(l, 52));
    for (int i = 0; i < 40; i++)
        put(l, (struct put){ .n = 5, .value = 20, .leader_epoch = 9 });
    ok(plog_sync_rename(&it));
    ok(plog_sync_dir(&it));
    plog_sync_done(&it);
    plog_sync_end(&it, true);
    ck_assert_int_eq(leo(l), 250);
    ck_assert_int_le(plog_recovery_point(l), 50);
    ck_assert_int_le(plog_synced(l), 50);
    kit_check_whole(l);
    done(l);
}
END_TEST

static atomic_bool cut_done;

static void *cut_it(void *arg)
{
    ok(plog_truncate(arg, 52));
    atomic_store(&cut_done, true);
    return NULL;
}

static void set_swapping(struct plog *l, bool swapping)
{
    lock_take(&l->lock);
    l->swapping = swapping;
    cond_broadcast(&l->swapped);
    lock_drop(&l->lock);
}

/* What a crash leaves of a replacement is finished by the next start: that must not bring back what went meanwhile. */
START_TEST(while_segments_are_replaced_none_is_cut_or_deleted)
{
    struct plog *l = fresh();
    pthread_t t;
    size_t gone;

    fill(l, 40);
    commit(l);
    b.log.retention_bytes = 3000;
    plog_set_opts(l, &b.log);
    set_swapping(l, true);
    ok(plog_retain(l, kit_now(), &gone));
    ck_assert_uint_eq(gone, 0);
    atomic_store(&cut_done, false);
    ck_assert_int_eq(pthread_create(&t, NULL, cut_it, l), 0);
    for (int i = 0; i < 20000; i++) {
        ck_assert(!atomic_load(&cut_done));
        ck_assert_int_eq(leo(l), 200);
        sched_yield();
    }
    set_swapping(l, false);
    ck_assert_int_eq(pthread_join(t, NULL), 0);
    ck_assert_int_eq(leo(l), 50);
    ok(plog_retain(l, kit_now(), &gone));
    kit_check_whole(l);
    done(l);
}
END_TEST

#ifdef KLAMM_KILL_POINTS

/* As many more, in the epoch of the last. */
static void fill_on(struct plog *l, int n)
{
    for (int i = 0; i < n; i++)
        put(l, (struct put){ .n = 5, .value = 20, .pid = 3, .seq = (int32_t)leo(l), .leader_epoch = 3 });
}

static void no_fault(void)
{
    fio_fail(FIO_OPEN, 0, 0);
}

static int syncs_of_flush(struct plog *l)
{
    int before = fio_syncs();

    ok(plog_flush(l));
    return fio_syncs() - before;
}

/* The recovery point that is on the disk needs it. */
START_TEST(a_snapshot_stays_as_long_as_the_checkpoint_stays)
{
    static const char name[] = "t-0/00000000000000000005.snapshot";
    struct plog *l = fresh(), *all[1] = { l };

    fill(l, 1);
    ok(syncer_all(box_dir(&b)->syncer, all, 1));
    ck_assert(kit_exists(box_path(&b, name)));
    put(l, (struct put){ .n = 5 });
    fio_fail(FIO_RENAME, ENOSPC, 1);
    fails(syncer_all(box_dir(&b)->syncer, all, 1), ERR_NOSPACE);
    no_fault();
    ck_assert(kit_exists(box_path(&b, name)));
    put(l, (struct put){ .n = 5 });
    ok(syncer_all(box_dir(&b)->syncer, all, 1));
    ck_assert(kit_exists(box_path(&b, "t-0/00000000000000000015.snapshot")));
    done(l);
}
END_TEST

/* What a flush vouches for has a name in a directory that is on the disk. */
START_TEST(a_flush_syncs_the_directories_of_a_new_segment)
{
    struct plog *l = fresh();

    put(l, (struct put){ .value = 700 });
    ck_assert_int_eq(syncs_of_flush(l), 3);     /* the file, its directory, and the one that has that */
    put(l, (struct put){ .value = 10 });
    ck_assert_int_eq(syncs_of_flush(l), 1);
    put(l, (struct put){ .value = 700 });
    ck_assert_uint_eq(l->n, 2);
    ck_assert_int_eq(syncs_of_flush(l), 3);
    done(l);
}
END_TEST

/* The log is out of use, and the clean stop does not say that all was well with it. */
START_TEST(a_truncation_that_stops_half_way_is_recovered)
{
    static const enum fio_op ops[] = { FIO_TRUNCATE, FIO_OPEN, FIO_RENAME, FIO_UNLINK };

    for (size_t k = 0; k < sizeof ops / sizeof ops[0]; k++)
        for (int step = 1; step < 8; step++) {
            struct plog *l = fresh(), *all[1] = { l };
            struct plog_appended out;
            int rc, stopped;
            fill(l, 40);
            ok(syncer_all(box_dir(&b)->syncer, all, 1));
            fio_fail(ops[k], ENOSPC, step);
            rc = plog_truncate(l, 52);
            no_fault();
            stopped = logmgr_stop(b.m);
            if (rc == OK)
                ok(stopped);
            plog_unref(&l);
            logmgr_free(&b.m);
            box_open(&b);
            l = logmgr_get(b.m, STR_LIT("t"), 0);
            ck_assert_int_ge(leo(l), 50);
            ck_assert_int_eq(leo(l) % 5, 0);
            kit_check_whole(l);
            ok(try_put(l, (struct put){ .n = 5, .pid = 3, .seq = (int32_t)leo(l), .leader_epoch = 9 }, &out));
            done(l);
        }
}
END_TEST

/* Wherever it stops: what is there is whole, and a follower can begin it anew. */
START_TEST(a_log_that_begins_anew_half_way_is_recovered)
{
    static const enum fio_op ops[] = { FIO_OPEN, FIO_RENAME, FIO_UNLINK, FIO_WRITE };

    for (size_t k = 0; k < sizeof ops / sizeof ops[0]; k++)
        for (int step = 1; step < 16; step++) {
            struct plog *l = fresh(), *all[1] = { l };
            struct plog_appended out;

            fill(l, 40);
            ok(syncer_all(box_dir(&b)->syncer, all, 1));
            fio_fail(ops[k], ENOSPC, step);
            (void)!plog_truncate_all(l, 1000);
            no_fault();
            plog_unref(&l);
            box_crash(&b);
            box_open(&b);
            ck_assert(!kit_exists(box_path(&b, "t-0/00000000000000001000.log.tmp")));
            l = logmgr_get(b.m, STR_LIT("t"), 0);
            ck_assert(leo(l) == 1000 || leo(l) <= 200);
            kit_check_whole(l);
            ok(plog_truncate_all(l, 1000));
            ck_assert_int_eq(leo(l), 1000);
            ok(try_put(l, (struct put){ .n = 5, .pid = 3, .seq = 0, .leader_epoch = 9 }, &out));
            ck_assert_int_eq(out.base_offset, 1000);
            kit_check_whole(l);
            done(l);
        }
}
END_TEST

/* Retention is what makes room: it does not need any. */
START_TEST(old_segments_go_from_a_full_disk)
{
    struct plog *l = fresh();
    int64_t start;
    size_t gone;

    fill(l, 40);
    commit(l);
    b.log.retention_bytes = 3000;
    plog_set_opts(l, &b.log);
    fio_fail(FIO_RENAME, ENOSPC, 1);
    ok(plog_retain(l, kit_now(), &gone));
    no_fault();
    ck_assert_uint_gt(gone, 3);
    start = plog_offsets(l).start;
    ck_assert_int_gt(start, 0);
    ck_assert(!kit_exists(box_path(&b, "t-0/00000000000000000000.log")));
    plog_unref(&l);
    box_crash(&b);
    box_open(&b);
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    ck_assert_int_eq(plog_offsets(l).start, start);
    kit_check_whole(l);
    done(l);
}
END_TEST

/* All are too old, the last as well. That the one which is to follow it finds no room keeps none of the others. */
START_TEST(old_segments_go_though_a_new_one_finds_no_room)
{
    struct plog *l = fresh();
    struct plog_appended out;
    size_t n, gone;

    fill(l, 40);
    commit(l);
    n = l->n;
    ck_assert_uint_gt(n, 3);
    b.log.retention_ms = 1000;
    plog_set_opts(l, &b.log);
    fio_fail(FIO_WRITE, ENOSPC, 1);
    (void)!plog_retain(l, kit_now() + 1000000, &gone);
    no_fault();
    ck_assert_uint_eq(gone, n - 1);
    ck_assert_uint_eq(l->n, 1);
    kit_check_whole(l);
    ok(plog_retain(l, kit_now() + 1000000, &gone));
    ck_assert_uint_eq(gone, 1);
    ck_assert_int_eq(plog_offsets(l).start, 200);
    ok(try_put(l, (struct put){ .n = 5, .pid = 3, .seq = 200, .leader_epoch = 9 }, &out));
    ck_assert_int_eq(out.base_offset, 200);
    done(l);
}
END_TEST

/* What a truncation must write or open before it changes anything can fail: then nothing was changed, and it can be
 * tried again. */
START_TEST(a_truncation_that_cannot_begin_is_tried_again)
{
    static const struct {
        enum fio_op op;
        int         err, rc;
    } faults[] = { { FIO_WRITE, ENOSPC, ERR_NOSPACE }, { FIO_OPEN, EMFILE, ERR_AGAIN } };

    for (size_t k = 0; k < sizeof faults / sizeof faults[0]; k++) {
        struct plog *l = fresh(), *all[1] = { l };
        struct plog_appended out;

        fill(l, 40);
        ok(syncer_all(box_dir(&b)->syncer, all, 1));
        fill_on(l, 3);
        fio_fail(faults[k].op, faults[k].err, 1);
        fails(plog_truncate(l, 207), faults[k].rc);
        no_fault();
        ck_assert_int_eq(leo(l), 215);
        kit_check_whole(l);
        ok(plog_truncate(l, 207));
        ck_assert_int_eq(leo(l), 205);
        kit_check_whole(l);
        ok(try_put(l, (struct put){ .n = 5, .pid = 3, .seq = 205, .leader_epoch = 9 }, &out));
        done(l);
    }
}
END_TEST

/* Else the next log of that name would be made in the midst of its files. */
START_TEST(a_log_that_cannot_be_renamed_away_is_still_there)
{
    struct plog *l = fresh(), *again;
    struct plog_appended out;

    fill(l, 40);
    fio_fail(FIO_RENAME, ENOSPC, 1);
    fails(logmgr_delete(b.m, STR_LIT("t"), 0), ERR_NOSPACE);
    no_fault();
    ok(logmgr_find(b.m, STR_LIT("t"), 0, &again));
    ck_assert_ptr_eq(l, again);
    plog_unref(&again);
    ok(try_put(l, (struct put){ .n = 5 }, &out));
    ck_assert_int_eq(out.base_offset, 200);
    kit_check_whole(l);
    ok(logmgr_delete(b.m, STR_LIT("t"), 0));
    fails(try_put(l, (struct put){ .n = 5 }, &out), ERR_CLOSED);
    plog_unref(&l);
    l = box_log(&b, "t");
    ck_assert_int_eq(leo(l), 0);
    ck_assert_uint_eq(l->n, 1);
    done(l);
}
END_TEST

/* The first batches of a copy are in the log, the next found no room: what is there is to be made durable. */
START_TEST(half_a_copy_is_flushed_too)
{
    struct plog *l;
    struct plog_appended out;
    uint8_t *all = malloc(10000);
    size_t len = 0;
    int64_t at = 0;

    box_init(&b);
    b.log.segment_bytes = 1000;
    b.log.flush_messages = 1;
    box_open(&b);
    l = box_log(&b, "t");
    for (; len < 3000; at += 4) {
        size_t n;
        uint8_t *p = kit_batch((struct put){ .n = 4, .value = 40 }, &n);
        batch_set_base_offset(p, at);
        memcpy(all + len, p, n);
        len += n;
        free(p);
    }
    ck_assert_int_eq(l->flush_state, FLUSH_NONE);
    fio_fail(FIO_OPEN, ENOSPC, 2);      /* the first is of the .log */
    fails(plog_append_follower(l, (struct bytes){ all, len }, &out), ERR_NOSPACE);
    no_fault();
    ck_assert_int_gt(leo(l), 0);
    ck_assert_int_lt(leo(l), at);
    ck_assert_int_eq(out.offsets.leo, leo(l));
    ck_assert_int_eq(l->flush_state, FLUSH_QUEUED);
    free(all);
    done(l);
}
END_TEST

#else

START_TEST(faults_are_skipped_here)
{
    printf("skipped: this build cannot be made to fail (SANITIZE=address or thread can)\n");
}
END_TEST

#endif

int main(void)
{
    const struct kit_test tests[] = {
        { a_stop_does_not_break_off_a_truncation, 0 },
        { a_cut_overtakes_a_sync, 0 },
        { while_segments_are_replaced_none_is_cut_or_deleted, 0 },
#ifdef KLAMM_KILL_POINTS
        { a_flush_syncs_the_directories_of_a_new_segment, 0 },
        { a_snapshot_stays_as_long_as_the_checkpoint_stays, 0 },
        { a_truncation_that_stops_half_way_is_recovered, 0 },
        { a_log_that_begins_anew_half_way_is_recovered, 60 },
        { old_segments_go_from_a_full_disk, 0 },
        { old_segments_go_though_a_new_one_finds_no_room, 0 },
        { a_truncation_that_cannot_begin_is_tried_again, 0 },
        { a_log_that_cannot_be_renamed_away_is_still_there, 0 },
        { half_a_copy_is_flushed_too, 0 },
#else
        { faults_are_skipped_here, 0 },
#endif
    };

    return kit_main("storage/between", tests, sizeof tests / sizeof tests[0]);
}
