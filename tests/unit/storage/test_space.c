/* tests/unit/storage/test_space.c - disks that run full: what is refused and what goes on, the reserve, and that no
 * small file is ever torn by a disk that is full, read-only or broken.
 *
 * The room on the disk is pretended, and failures are put into fio.c, which only sanitizer builds allow; elsewhere
 * those tests say that they are skipped.
 */
#include "storage/logmgr_impl.h"
#include "storage/syncer.h"
#include "tests/unit/storage/kit.h"

#include <errno.h>
#include <sched.h>

static struct box b;

START_TEST(the_reserve_is_made_and_kept)
{
    int64_t size;

    box_init(&b);
    box_start(&b);
    while (atomic_load(&box_dir(&b)->space.reserve) == 0)
        sched_yield();
    size = box_dir(&b)->space.want;
    ck_assert_uint_eq(kit_size(box_path(&b, SPACE_RESERVE)), (size_t)size);
    ck_assert(!space_full(box_dir(&b)) && logmgr_has_room(b.m));
    box_stop(&b);
    ck_assert_uint_eq(kit_size(box_path(&b, SPACE_RESERVE)), (size_t)size);
    box_open(&b);
    ck_assert_int_eq(atomic_load(&box_dir(&b)->space.reserve), size);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

#ifdef KLAMM_KILL_POINTS

#define MB (INT64_C(1) << 20)
#define TOTAL (100 * MB)                /* so the limit is 1 MB, the reserve 400 KB */

static void room(int64_t n)
{
    fio_fake_space(n, TOTAL);
}

static void truth(void)
{
    fio_fake_space(0, 0);
}

START_TEST(below_the_limit_only_what_makes_room_goes_on)
{
    struct plog_appended out;
    struct plog_read r;
    struct logdir *d;
    struct plog *l, *fresh;

    box_init(&b);
    b.log.segment_bytes = 1000;
    room(50 * MB);
    box_open(&b);
    d = box_dir(&b);
    l = box_log(&b, "t");
    for (int i = 0; i < 10; i++)
        put(l, (struct put){ .value = 400, .pid = 3, .seq = i });
    commit(l);
    ck_assert(!space_check(d));
    ck_assert_int_eq(d->space.floor, MB);
    room(MB - 1);
    ck_assert(space_check(d));
    ck_assert(!space_check(d));         /* said once */
    ck_assert(space_full(d) && !logmgr_has_room(b.m));
    fails(try_put(l, (struct put){ .pid = 3, .seq = 10 }, &out), ERR_NOSPACE);
    ok(try_put(l, (struct put){ .value = 400, .pid = 3, .seq = 9 }, &out));
    ck_assert(out.duplicate);           /* what came before is still known */
    ok(plog_read(l, 0, INT64_MAX, 1 << 20, true, &r));
    plog_read_done(&r);
    ok(plog_set_start(l, 9));
    {
        size_t gone;
        ok(plog_retain(l, kit_clock_ms, &gone));
        ck_assert_uint_gt(gone, 0);
    }
    ok(mdir_checkpoint(&b.m->dirs[0], CHECKPOINT_OF_HW, true));
    fresh = box_log(&b, "fresh");       /* the controller may still place what was asked for before */
    fails(try_put(fresh, (struct put){ 0 }, &out), ERR_NOSPACE);
    room(MB + 1);
    ck_assert(!space_check(d) && space_full(d));        /* not at once: it would come and go */
    room(MB + MB / 8);
    ck_assert(!space_check(d) && !space_full(d) && logmgr_has_room(b.m));
    ok(try_put(l, (struct put){ .pid = 3, .seq = 10 }, &out));
    ck_assert(!out.duplicate && out.base_offset == 10);
    plog_unref(&fresh);
    plog_unref(&l);
    truth();
    box_stop(&b);
    box_fini(&b);
}
END_TEST

START_TEST(the_limit_is_as_asked)
{
    box_init(&b);
    b.o.min_free_bytes = 0;
    room(600000);
    box_open(&b);
    ck_assert(!space_check(box_dir(&b)) && !space_full(box_dir(&b)));   /* there is room for the reserve */
    box_stop(&b);
    b.o.min_free_bytes = 40 * MB;
    room(39 * MB);
    box_open(&b);
    ck_assert(space_full(box_dir(&b))); /* before anybody has looked */
    ck_assert(space_check(box_dir(&b)));
    truth();
    box_stop(&b);
    box_fini(&b);
}
END_TEST

START_TEST(the_reserve_is_for_the_start_and_for_checkpoints)
{
    struct plog_appended out;
    struct logdir *d;
    struct plog *l;
    int64_t size;

    box_init(&b);
    room(50 * MB);
    box_open(&b);
    d = box_dir(&b);
    l = box_log(&b, "t");
    put(l, (struct put){ 0 });
    (void)space_check(d);
    size = atomic_load(&d->space.reserve);
    ck_assert_int_eq(size, TOTAL / 256);
    fio_fail(FIO_WRITE, ENOSPC, 1);
    fails(mdir_checkpoint(&b.m->dirs[0], CHECKPOINT_OF_HW, true), ERR_NOSPACE);
    fio_fail(FIO_WRITE, 0, 0);
    ck_assert(!kit_exists(box_path(&b, SPACE_RESERVE)) && space_full(d));
    fails(try_put(l, (struct put){ 0 }, &out), ERR_NOSPACE);    /* what was given up is not for records */
    ok(mdir_checkpoint(&b.m->dirs[0], CHECKPOINT_OF_HW, true));
    room(50000);                        /* less than what is left free beside it */
    ck_assert(space_check(d));
    ck_assert(!kit_exists(box_path(&b, SPACE_RESERVE)));
    room(250000);                       /* a part of it */
    ck_assert(!space_check(d) && space_full(d));
    ck_assert_int_lt(atomic_load(&d->space.reserve), size);
    ck_assert_int_gt(atomic_load(&d->space.reserve), 0);
    room(50 * MB);
    ck_assert(!space_check(d) && !space_full(d));
    ck_assert_int_eq(atomic_load(&d->space.reserve), size);
    plog_unref(&l);
    box_crash(&b);
    room(0);
    box_open(&b);                       /* a full disk: the start has the reserve */
    ck_assert(!kit_exists(box_path(&b, SPACE_RESERVE)));
    ck_assert(space_full(box_dir(&b)));
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    ck_assert_int_eq(leo(l), 1);
    fails(try_put(l, (struct put){ 0 }, &out), ERR_NOSPACE);
    plog_unref(&l);
    truth();
    box_stop(&b);
    box_fini(&b);
}
END_TEST

START_TEST(a_reserve_that_cannot_be_had)
{
    box_init(&b);
    box_open(&b);
    fio_fail(FIO_WRITE, EOPNOTSUPP, 1);
    ck_assert(!space_check(box_dir(&b)) && !space_full(box_dir(&b)));
    ck_assert(!kit_exists(box_path(&b, SPACE_RESERVE)));
    fio_fail(FIO_WRITE, 0, 0);
    ck_assert(!space_check(box_dir(&b)) && !space_full(box_dir(&b)));
    box_stop(&b);
    box_fini(&b);
}
END_TEST

/* ---- A14: each writer of a small file, each of its calls failing in each way ------------------------------------- */

static int write_offsets(int version)
{
    struct offset_entry v[2] = { { STR_LIT("a"), 0, version }, { STR_LIT("b"), 1, 100 + version } };

    return offset_checkpoint_write(box_dir(&b)->fd, CHECKPOINT_RECOVERY_POINT, v, 2);
}

static int write_meta(int version)
{
    struct meta_properties m = { .version = 0, .broker_id = version };

    snprintf(m.cluster_id, sizeof m.cluster_id, "%s", CLUSTER);
    return meta_properties_write(box_dir(&b)->fd, &m);
}

static int write_marker(int version)
{
    (void)version;
    return clean_marker_write(box_dir(&b)->fd);
}

static int write_boot(int version)
{
    struct boot_mark m = box_dir(&b)->boot;

    m.text[0] = (char)('a' + version);
    return boot_mark_write(box_dir(&b)->fd, &m);
}

static int write_id(int version)
{
    struct uuid id = { { (uint8_t)(version + 1) } };

    return partition_metadata_write(box_dir(&b)->fd, "t-0", id);
}

static const struct writer {
    const char *file;
    int       (*write)(int version);
} writers[] = {
    { CHECKPOINT_RECOVERY_POINT, write_offsets },
    { META_PROPERTIES, write_meta },
    { CLEAN_SHUTDOWN, write_marker },
    { BOOT_MARK, write_boot },
    { "t-0/" PARTITION_METADATA, write_id },
};

static bool same_file(const char *path, const uint8_t *p, size_t n)
{
    size_t m;
    uint8_t *q = kit_slurp(path, &m);
    bool same = n == m && memcmp(p, q, n) == 0;

    free(q);
    return same;
}

/* Fails the n-th call of the kind. False: the writer was through before it came to that. */
static bool fail_one(const struct writer *w, enum fio_op op, int err, int n)
{
    const char *path = box_path(&b, w->file);
    size_t old_n, new_n;
    uint8_t *old, *new;
    bool failed;

    ok(w->write(2));
    new = kit_slurp(path, &new_n);
    ok(w->write(1));
    old = kit_slurp(path, &old_n);
    fio_fail(op, err, n);
    failed = w->write(2) != OK;
    fio_fail(op, 0, 0);
    /* Whole, one or the other: the new one only where nothing but making the name durable was left to do. */
    if (!failed)
        ck_assert(same_file(path, new, new_n));
    else if (op == FIO_SYNC && n == 2)
        ck_assert(same_file(path, new, new_n) || same_file(path, old, old_n));
    else if (op == FIO_OPEN && n == 2)
        ck_assert(same_file(path, new, new_n));
    else
        ck_assert(same_file(path, old, old_n));
    ck_assert(!kit_exists(box_path(&b, "recovery-point-offset-checkpoint.tmp")));
    ok(w->write(2));
    ck_assert(same_file(path, new, new_n));
    free(old);
    free(new);
    return failed;
}

START_TEST(small_files_are_never_torn)
{
    static const int errs[] = { ENOSPC, EDQUOT, EROFS, EIO };
    static const enum fio_op ops[] = { FIO_OPEN, FIO_WRITE, FIO_SYNC, FIO_RENAME };
    struct plog *l;

    box_init(&b);
    box_open(&b);
    l = box_log(&b, "t");
    plog_unref(&l);
    for (size_t w = 0; w < sizeof writers / sizeof writers[0]; w++) {
        int covered = 0;
        for (size_t k = 0; k < sizeof errs / sizeof errs[0]; k++)
            for (size_t o = 0; o < sizeof ops / sizeof ops[0]; o++)
                for (int n = 1; fail_one(&writers[w], ops[o], errs[k], n); n++)
                    covered++;
        ck_assert_int_ge(covered, 12);  /* at least open, write and rename, in four ways */
    }
    box_crash(&b);
    box_fini(&b);
}
END_TEST

/* The same for what a log writes beside its segments: whatever call of a sync or a clean stop finds the disk full, the
 * next start has every record, epoch and producer. */
START_TEST(a_log_whose_small_files_find_no_room)
{
    static const enum fio_op ops[] = { FIO_OPEN, FIO_WRITE, FIO_SYNC, FIO_RENAME, FIO_UNLINK };

    for (size_t o = 0; o < sizeof ops / sizeof ops[0]; o++)
        for (int n = 1; n < 14; n++) {
            struct plog_appended out;
            struct plog *l;
            int rc;

            box_init(&b);
            b.log.segment_bytes = 900;
            box_open(&b);
            l = box_log(&b, "t");
            for (int i = 0; i < 12; i++) {
                put(l, (struct put){ .value = 200, .pid = 8, .seq = i, .leader_epoch = i / 4 });
                if (i == 6)
                    ok(syncer_all(box_dir(&b)->syncer, &l, 1));
            }
            fio_fail(ops[o], ENOSPC, n);
            rc = logmgr_stop(b.m);
            fio_fail(FIO_OPEN, 0, 0);
            ck_assert(rc == OK || !kit_exists(box_path(&b, CLEAN_SHUTDOWN)) || ops[o] == FIO_OPEN ||
                      ops[o] == FIO_SYNC);
            plog_unref(&l);
            logmgr_free(&b.m);
            box_open(&b);
            l = logmgr_get(b.m, STR_LIT("t"), 0);
            ck_assert_int_eq(leo(l), 12);
            kit_check_whole(l);
            ck_assert_int_eq(plog_latest_epoch(l), 2);
            ck_assert_int_eq(plog_epoch_start(l, 1), 4);
            ok(try_put(l, (struct put){ .value = 200, .pid = 8, .seq = 11, .leader_epoch = 2 }, &out));
            ck_assert(out.duplicate);
            plog_unref(&l);
            box_stop(&b);
            box_fini(&b);
        }
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
        { the_reserve_is_made_and_kept, 0 },
#ifdef KLAMM_KILL_POINTS
        { below_the_limit_only_what_makes_room_goes_on, 0 },
        { the_limit_is_as_asked, 0 },
        { the_reserve_is_for_the_start_and_for_checkpoints, 0 },
        { a_reserve_that_cannot_be_had, 0 },
        { small_files_are_never_torn, 0 },
        { a_log_whose_small_files_find_no_room, 60 },
#else
        { faults_are_skipped_here, 0 },
#endif
    };

    return kit_main("storage/space", tests, sizeof tests / sizeof tests[0]);
}
