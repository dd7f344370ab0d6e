/* tests/unit/storage/test_faults.c - disks that are full, broken or slow to give descriptors.
 *
 * Failures are put into fio.c, which only sanitizer builds allow; elsewhere those tests say that they are skipped.
 */
#include "storage/logmgr_impl.h"
#include "storage/syncer.h"
#include "tests/unit/storage/kit.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>

static struct box b;

/* A limit on the size of files is like a full disk: refused, nothing torn, and it goes on when there is room. */
START_TEST(a_file_size_limit_refuses_writes_only)
{
    struct rlimit old, tight;
    struct plog_appended out;
    struct plog *l;
    size_t n;

    box_init(&b);
    box_open(&b);
    l = box_log(&b, "t");
    for (int i = 0; i < 10; i++)
        put(l, (struct put){ .value = 500 });
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight = old;
    n = (size_t)plog_size_bytes(l);
    tight.rlim_cur = n + 300;           /* half of a batch */
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &tight), 0);
    for (int i = 0; i < 3; i++) {
        fails(try_put(l, (struct put){ .value = 500, .pid = 5, .seq = 3 }, &out), ERR_NOSPACE);
        ck_assert_uint_eq(kit_size(box_path(&b, "t-0/00000000000000000000.log")), n);
        kit_check_whole(l);
    }
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    ok(try_put(l, (struct put){ .value = 500, .pid = 5, .seq = 3 }, &out));
    ck_assert(!out.duplicate && out.base_offset == 10);
    kit_check_whole(l);
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

START_TEST(without_descriptors_nothing_is_lost)
{
    struct rlimit old, tight;
    struct plog_appended out;
    struct plog *l;
    int64_t end;

    box_init(&b);
    b.log.segment_bytes = 1000;
    box_open(&b);
    l = box_log(&b, "t");
    put(l, (struct put){ .value = 500 });
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    tight = old;
    tight.rlim_cur = 3;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
    fails(try_put(l, (struct put){ .value = 600, .pid = 5, .seq = 3 }, &out), ERR_AGAIN);      /* a new segment */
    end = leo(l);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    ck_assert(end == 1 && !logdir_offline(l->dir));
    ok(try_put(l, (struct put){ .value = 600, .pid = 5, .seq = 3 }, &out));
    ck_assert(!out.duplicate && l->n == 2);
    kit_check_whole(l);
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

#ifdef KLAMM_KILL_POINTS

static atomic_int told;

static void offline(void *arg, size_t i, const char *path)
{
    (void)arg;
    (void)i;
    (void)path;
    atomic_fetch_add(&told, 1);
}

/* syncs: its syncer looks after them. Without it nobody but the test writes; logmgr_after_round() is the test's. */
static struct plog *ten_batches(bool syncs)
{
    struct plog *l;

    box_init(&b);
    b.log.segment_bytes = 2000;
    box_start(&b);
    if (!syncs)
        syncer_stop(box_dir(&b)->syncer);
    logmgr_on_offline(b.m, offline, NULL);
    atomic_store(&told, 0);
    l = box_log(&b, "t");
    for (int i = 0; i < 10; i++)
        put(l, (struct put){ .n = 2, .value = 100, .pid = 1, .seq = 2 * i });
    return l;
}

/* After a failure that means a broken disk: everything refused, once told, not closed cleanly, nothing lost. */
static void check_offline(struct plog *l)
{
    struct logmgr_create c = { .topic = STR_LIT("u"), .opts = &b.log };
    struct plog_appended out;
    struct plog_read r;
    size_t gone;

    fio_fail(FIO_OPEN, 0, 0);           /* the disk is well again; the directory stays offline */
    fails(try_put(l, (struct put){ 0 }, &out), ERR_OFFLINE);
    fails(plog_read(l, 0, 5, 100, true, &r), ERR_OFFLINE);
    fails(plog_retain(l, 0, &gone), ERR_OFFLINE);
    fails(logmgr_create(b.m, &c, 1), ERR_OFFLINE);
    while (atomic_load(&told) == 0)
        sched_yield();
    ck_assert_int_ne(logmgr_stop(b.m), OK);
    ck_assert_int_eq(atomic_load(&told), 1);
    ck_assert(!kit_exists(box_path(&b, CLEAN_SHUTDOWN)));
    plog_unref(&l);
    box_crash(&b);
    box_open(&b);
    ck_assert_uint_eq(b.loaded.recovered, 1);
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    ck_assert_int_eq(leo(l), 20);
    kit_check_whole(l);
    ok(try_put(l, (struct put){ .n = 2, .value = 100, .pid = 1, .seq = 18 }, &out));
    ck_assert(out.duplicate);
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}

START_TEST(a_failed_write_takes_the_directory_offline)
{
    struct plog_appended out;
    struct plog *l = ten_batches(true);

    fio_fail(FIO_WRITE, EIO, 1);
    fails(try_put(l, (struct put){ .n = 2, .value = 100, .pid = 1, .seq = 20 }, &out), ERR_OFFLINE);
    check_offline(l);
}
END_TEST

START_TEST(a_full_disk_that_cannot_be_cut_back_takes_the_directory_offline)
{
    struct rlimit old, tight;
    struct plog_appended out;
    struct plog *l = ten_batches(false);
    int limited, put_rc, rc;

    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight = old;
    tight.rlim_cur = plog_active(l)->size + 100;
    limited = setrlimit(RLIMIT_FSIZE, &tight);          /* also for the file to which Check writes at each assertion */
    fio_fail(FIO_TRUNCATE, EIO, 1);
    put_rc = try_put(l, (struct put){ .n = 2, .value = 100, .pid = 1, .seq = 20 }, &out);
    rc = setrlimit(RLIMIT_FSIZE, &old);
    ck_assert_int_eq(limited, 0);
    ck_assert_int_eq(rc, 0);
    fails(put_rc, ERR_OFFLINE);
    (void)!logmgr_after_round(&b.m->dirs[0], false);
    check_offline(l);
}
END_TEST

START_TEST(a_failed_fsync_takes_the_directory_offline)
{
    struct plog *l = ten_batches(false);
    int64_t before;
    size_t n;
    struct plog *all[1] = { l };
    uint8_t *p;

    before = plog_recovery_point(l);
    fio_fail(FIO_SYNC, EIO, 1);
    fails(syncer_all(box_dir(&b)->syncer, all, 1), ERR_OFFLINE);
    ck_assert_int_eq(plog_recovery_point(l), before);
    if (kit_exists(box_path(&b, CHECKPOINT_RECOVERY_POINT))) {
        p = kit_slurp(box_path(&b, CHECKPOINT_RECOVERY_POINT), &n);
        ck_assert_ptr_null(strstr((char *)p, "t 0 20"));
        free(p);
    }
    (void)!logmgr_after_round(&b.m->dirs[0], false);
    check_offline(l);
}
END_TEST

START_TEST(a_failed_read_takes_the_directory_offline)
{
    struct plog_read r;
    struct plog *l = ten_batches(true);

    fio_fail(FIO_READ, EIO, 1);
    fails(plog_read(l, 3, 10, 100, true, &r), ERR_OFFLINE);
    ck_assert(slice_is_null(r.records));
    check_offline(l);
}
END_TEST

START_TEST(a_full_disk_refuses_each_step_and_loses_nothing)
{
    static const enum fio_op ops[] = { FIO_WRITE, FIO_OPEN };

    for (size_t k = 0; k < 2; k++)
        for (int step = 1; step < 12; step++) {
            struct plog_appended out;
            struct plog *l;
            int64_t acked = 0;
            int rc;

            box_init(&b);
            b.log.segment_bytes = 700;
            b.log.index_interval_bytes = 0;
            box_open(&b);
            l = box_log(&b, "t");
            for (int i = 0; i < 40; i++) {
                if (i % 3 == 2)
                    fio_fail(ops[k], ENOSPC, step);
                rc = try_put(l, (struct put){ .value = 100, .pid = 4, .seq = (int32_t)acked }, &out);
                fio_fail(FIO_OPEN, 0, 0);
                ck_assert(rc == OK || rc == ERR_NOSPACE);
                acked += rc == OK;
                ck_assert_int_eq(leo(l), acked);
                if (i == 20) {
                    struct plog *all[1] = { l };
                    fio_fail(ops[k], ENOSPC, step);
                    rc = syncer_all(box_dir(&b)->syncer, all, 1);
                    fio_fail(FIO_OPEN, 0, 0);
                    ck_assert(rc == OK || rc == ERR_NOSPACE);
                }
            }
            ck_assert_int_gt(acked, 20);
            kit_check_whole(l);
            plog_unref(&l);
            if (step % 2 == 0)
                box_stop(&b);
            else
                box_crash(&b);
            box_open(&b);
            l = logmgr_get(b.m, STR_LIT("t"), 0);
            ck_assert_int_eq(leo(l), acked);
            kit_check_whole(l);
            ok(try_put(l, (struct put){ .value = 100, .pid = 4, .seq = (int32_t)acked - 1 }, &out));
            ck_assert(out.duplicate);
            plog_unref(&l);
            box_fini(&b);
        }
}
END_TEST

START_TEST(a_full_disk_does_not_keep_a_log_from_opening)
{
    struct plog_appended out;
    struct plog *l;

    box_init(&b);
    b.log.index_interval_bytes = 0;
    box_open(&b);
    l = box_log(&b, "t");
    for (int i = 0; i < 1200; i++)      /* more index entries than wait in memory */
        put(l, (struct put){ .value = 10, .ts = kit_clock_ms + i });
    plog_unref(&l);
    box_crash(&b);
    fio_fail(FIO_WRITE, ENOSPC, 1);
    box_open(&b);
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    ck_assert_int_eq(leo(l), 1200);
    kit_check_whole(l);
    fails(try_put(l, (struct put){ .value = 10 }, &out), ERR_NOSPACE);
    fio_fail(FIO_WRITE, 0, 0);
    ok(try_put(l, (struct put){ .value = 10 }, &out));
    plog_unref(&l);
    box_stop(&b);
    ck_assert_uint_ge(kit_size(box_path(&b, "t-0/00000000000000000000.index")), 1199 * OFFSET_INDEX_ENTRY);
    box_fini(&b);
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
        { a_file_size_limit_refuses_writes_only, 0 },
        { without_descriptors_nothing_is_lost, 0 },
#ifdef KLAMM_KILL_POINTS
        { a_failed_write_takes_the_directory_offline, 0 },
        { a_full_disk_that_cannot_be_cut_back_takes_the_directory_offline, 0 },
        { a_failed_fsync_takes_the_directory_offline, 0 },
        { a_failed_read_takes_the_directory_offline, 0 },
        { a_full_disk_refuses_each_step_and_loses_nothing, 0 },
        { a_full_disk_does_not_keep_a_log_from_opening, 0 },
#else
        { faults_are_skipped_here, 0 },
#endif
    };

    return kit_main("storage/faults", tests, sizeof tests / sizeof tests[0]);
}
