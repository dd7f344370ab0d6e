/* tests/unit/storage/test_flush.c - flush.messages and flush.ms: what may be answered for and committed when, that
 * appends which wait together share a sync, and what a slow or failed fsync does to those who wait and to the others.
 *
 * Syncs can be stalled and made to fail in sanitizer builds only; elsewhere those tests say that they are skipped.
 */
#include "storage/logmgr_impl.h"
#include "storage/syncer.h"
#include "tests/unit/storage/kit.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

static struct box b;

static void begin(int64_t messages, int64_t ms)
{
    box_init(&b);
    b.log.flush_messages = messages;
    b.log.flush_ms = ms;
    box_start(&b);
}

/* Until the question is decided. */
static int wait_safe(struct plog *l, int64_t offset)
{
    bool done;
    int rc = plog_is_safe(l, offset, &done);

    while (rc == OK && !done) {
        sched_yield();
        rc = plog_is_safe(l, offset, &done);
    }
    return rc;
}

static void check_order(struct plog *l)
{
    struct plog_offsets o;
    int64_t synced, safe;

    lock_take(&l->lock);
    lock_take(&l->view);
    o = l->off;
    synced = l->synced;
    safe = l->safe;
    ck_assert(l->recovery_point <= synced && synced <= safe && safe <= o.leo && o.hw <= safe);
    ck_assert(safe - synced < l->opts.flush_messages || safe == synced);
    lock_drop(&l->view);
    lock_drop(&l->lock);
}

START_TEST(without_settings_nothing_is_held)
{
    struct plog_appended out;
    struct plog *l;

    begin(INT64_MAX, INT64_MAX);
    l = box_log(&b, "t");
    ok(try_put(l, (struct put){ .n = 3 }, &out));
    ck_assert(!out.held);
    commit(l);
    ck_assert_int_eq(plog_offsets(l).hw, 3);
    ck_assert_int_eq(plog_synced(l), 0);
    check_order(l);
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

#define PRODUCERS 8
#define EACH      200

static atomic_int_fast64_t answered;

static void *producer(void *arg)
{
    struct plog *l = arg;

    for (int i = 0; i < EACH; i++) {
        struct plog_appended out;
        ok(try_put(l, (struct put){ .n = 1 + i % 2, .value = 20 }, &out));
        ok(wait_safe(l, out.last_offset + 1));
        ck_assert_int_gt(plog_synced(l), out.last_offset);
        commit(l);
        check_order(l);
        atomic_fetch_add(&answered, out.last_offset + 1 - out.base_offset);
    }
    return NULL;
}

START_TEST(every_answer_is_on_the_disk)
{
    pthread_t t[PRODUCERS];
    struct plog *l;

    box_init(&b);
    b.log.flush_messages = 1;
    b.log.segment_bytes = 5000;         /* rolls all the time */
    box_start(&b);
    l = box_log(&b, "t");
    for (int i = 0; i < PRODUCERS; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, producer, l), 0);
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(t[i], NULL);
    ck_assert_int_eq(atomic_load(&answered), leo(l));
    ck_assert_int_eq(plog_synced(l), leo(l));
    kit_check_whole(l);
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

START_TEST(by_age)
{
    struct plog_appended out;
    struct plog *l, *slow;
    struct log_opts o;

    begin(INT64_MAX, 5);
    l = box_log(&b, "t");
    for (int round = 0; round < 20; round++) {
        ok(try_put(l, (struct put){ 0 }, &out));
        ck_assert(!out.held);
        commit(l);
        ck_assert_int_eq(plog_offsets(l).hw, out.last_offset + 1);
        while (plog_synced(l) <= out.last_offset)
            sched_yield();
    }
    b.log.flush_ms = INT64_MAX;
    slow = box_log(&b, "slow");
    put(slow, (struct put){ 0 });
    ck_assert_int_eq(plog_synced(slow), 0);
    o = b.log;
    o.flush_ms = 0;                     /* changed at run time: what is there already is meant too */
    plog_set_opts(slow, &o);
    while (plog_synced(slow) == 0)
        sched_yield();
    plog_unref(&slow);
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

/* What a dead broker left unsynced is not committed before it is on the disk. */
START_TEST(after_a_crash)
{
    struct plog *l;

    begin(INT64_MAX, INT64_MAX);
    l = box_log(&b, "t");
    for (int i = 0; i < 10; i++)
        put(l, (struct put){ 0 });
    plog_unref(&l);
    box_crash(&b);
    b.log.flush_messages = 3;
    box_open(&b);
    l = logmgr_get(b.m, STR_LIT("t"), 0);
    ck_assert_int_eq(leo(l), 10);
    commit(l);
    ck_assert_int_eq(plog_offsets(l).hw, 0);
    check_order(l);
    ok(scheduler_new(&b.sched, 2));
    ok(logmgr_start(b.m, b.sched));
    ok(wait_safe(l, 10));
    commit(l);
    ck_assert_int_eq(plog_offsets(l).hw, 10);
    ck_assert_int_eq(plog_synced(l), 10);
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

static bool marked(void)
{
    return kit_exists(box_path(&b, "t-0/" LOG_UNLISTED));
}

/* Deleted and made again at once, without waiting for a sync: the older log's offsets, which the checkpoints still
 * have, are not taken for its own, however the broker ends. */
START_TEST(a_log_of_the_same_name)
{

    for (int how = 0; how < 3; how++) {
        struct plog *l;

        box_init(&b);
        box_open(&b);
        l = box_log(&b, "t");
        for (int i = 0; i < 20; i++)
            put(l, (struct put){ 0 });
        commit(l);
        ok(plog_set_start(l, 15));
        plog_unref(&l);
        box_stop(&b);                   /* start 15, HW and recovery point 20 */
        box_open(&b);
        ok(logmgr_delete(b.m, STR_LIT("t"), 0));
        l = box_log(&b, "t");
        ck_assert(marked());
        for (int i = 0; i < 17; i++)
            put(l, (struct put){ 0 });
        commit(l);
        plog_unref(&l);
        if (how == 0) {
            box_crash(&b);
        } else if (how == 1) {
            box_stop(&b);
        } else {
            ok(scheduler_new(&b.sched, 2));
            ok(logmgr_start(b.m, b.sched));
            while (marked())    /* the syncer sees to it */
                sched_yield();
            box_crash(&b);
        }
        ck_assert(marked() == (how == 0));
        box_open(&b);
        l = logmgr_get(b.m, STR_LIT("t"), 0);
        ck_assert_int_eq(leo(l), 17);
        ck_assert_int_eq(plog_offsets(l).start, 0);
        ck_assert_int_eq(plog_offsets(l).hw, how == 0 ? 0 : 17);
        ck_assert_int_eq(plog_recovery_point(l), how == 1 ? 17 : how == 0 ? 0 : plog_recovery_point(l));
        kit_check_whole(l);
        plog_unref(&l);
        box_stop(&b);
        ck_assert(!marked());
        box_fini(&b);
    }
}
END_TEST

/* Whoever still has a log in hand when it is deleted may set its options: it is not kept for another flush.ms. */
START_TEST(a_deleted_log_is_let_go_of)
{
    struct plog *l;

    begin(INT64_MAX, 1000000);
    l = box_log(&b, "t");
    put(l, (struct put){ 0 });
    ok(logmgr_delete(b.m, STR_LIT("t"), 0));
    plog_set_opts(l, &b.log);
    while (atomic_load(&l->refs) > 1)
        sched_yield();
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

#ifdef KLAMM_KILL_POINTS

static void stall(void)
{
    fio_stall_syncs(true);
}

static void go_on(void)
{
    fio_stall_syncs(false);
}

/* A stall that somebody has run into. */
static void wait_stalled(int n)
{
    while (fio_stalled() < n)
        sched_yield();
}

/* The syncer has made the new log's files durable, so that no sync but the flusher's is to be expected. */
static struct plog *settled_log(const char *name)
{
    struct plog *l = box_log(&b, name);

    while (plog_wants_sync(l))
        sched_yield();
    return l;
}

START_TEST(those_who_wait_together_share_a_sync)
{
    struct plog_appended out;
    struct plog *l;
    int before;

    begin(1, INT64_MAX);
    l = settled_log("t");
    put(l, (struct put){ 0 });
    ok(wait_safe(l, 1));                /* and its directories, once */
    before = fio_syncs();
    stall();
    ok(try_put(l, (struct put){ 0 }, &out));
    ck_assert(out.held);
    wait_stalled(1);
    for (int i = 0; i < 100; i++) {     /* appends do not wait for a sync */
        ok(try_put(l, (struct put){ 0 }, &out));
        ck_assert(out.held);
    }
    commit(l);
    ck_assert_int_eq(plog_offsets(l).hw, 1);
    check_order(l);
    go_on();
    ok(wait_safe(l, 102));
    ck_assert_int_lt(fio_syncs() - before, 50);         /* not one each; checkpoints may have come between them */
    commit(l);
    ck_assert_int_eq(plog_offsets(l).hw, 102);
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

START_TEST(n_minus_one_may_be_lost)
{
    struct plog_appended out;
    struct plog *l;

    begin(5, INT64_MAX);
    l = settled_log("t");
    stall();
    for (int i = 1; i <= 12; i++) {
        ok(try_put(l, (struct put){ 0 }, &out));
        ck_assert(out.held == (i >= 5));
        commit(l);
        ck_assert_int_eq(plog_offsets(l).hw, i < 5 ? i : 4);
        check_order(l);
    }
    go_on();
    ok(wait_safe(l, 12));
    check_order(l);
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

/* A slow fsync holds up nobody who does not wait for it: neither appends and reads, nor new logs. */
START_TEST(a_slow_fsync_is_waited_for_by_nobody_else)
{
    struct plog_appended out;
    struct plog_read r;
    struct plog *l, *other, *fresh;

    begin(1, INT64_MAX);
    l = settled_log("t");
    b.log.flush_messages = INT64_MAX;
    other = settled_log("other");
    stall();
    put(l, (struct put){ 0 });
    put(other, (struct put){ 0 });
    syncer_note(box_dir(&b)->syncer, other, 0, true);   /* the syncer's thread, too */
    wait_stalled(2);
    for (int i = 0; i < 100; i++) {
        ok(try_put(other, (struct put){ .value = 100 }, &out));
        ck_assert(!out.held);
        ok(plog_read(other, 0, INT64_MAX, 1 << 20, true, &r));
        plog_read_done(&r);
        ok(plog_read(l, 0, INT64_MAX, 1 << 20, true, &r));
        plog_read_done(&r);
        ok(try_put(l, (struct put){ 0 }, &out));
    }
    commit(other);
    ck_assert_int_eq(plog_offsets(other).hw, 101);
    fresh = box_log(&b, "fresh");
    put(fresh, (struct put){ 0 });
    go_on();
    ok(wait_safe(l, leo(l)));
    plog_unref(&fresh);
    plog_unref(&other);
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

/* Every fsync of a run fails, one after the other, for two reasons: whoever was told that he is safe is, nobody is told
 * so afterwards, and the next sync, which would succeed, does not make it good. */
START_TEST(a_failed_fsync_is_never_a_success)
{
    static const int errs[] = { EIO, ENOSPC };

    for (int k = 0; k < 2; k++)
        for (int n = 1; n <= 12; n++) {
            int64_t told = 0;
            struct plog *l;
            int rc = OK;

            box_init(&b);
            b.log.flush_messages = 1;
            b.log.segment_bytes = 600;
            box_start(&b);
            l = settled_log("t");
            fio_fail(FIO_SYNC, errs[k], n);
            for (int i = 0; i < 200 && rc == OK; i++) {
                struct plog_appended out;
                rc = try_put(l, (struct put){ .value = 200 }, &out);
                if (rc == OK)
                    rc = wait_safe(l, out.last_offset + 1);
                if (rc == OK)
                    told = out.last_offset + 1;
            }
            fails(rc, ERR_OFFLINE);
            fio_fail(FIO_SYNC, 0, 0);
            ck_assert(logdir_offline(l->dir));
            flusher_want(NULL, l);      /* a log of no directory: no effect */
            syncer_flush(l->dir->syncer, l);
            syncer_note(l->dir->syncer, l, 0, true);
            fails(try_put(l, (struct put){ 0 }, &(struct plog_appended){ 0 }), ERR_OFFLINE);
            fails(wait_safe(l, told + 1), ERR_OFFLINE);
            ck_assert_int_eq(plog_synced(l), told);
            commit(l);
            ck_assert_int_eq(plog_offsets(l).hw, told);
            ck_assert_int_ne(logmgr_stop(b.m), OK);
            plog_unref(&l);
            box_fini(&b);
        }
}
END_TEST

START_TEST(a_truncation_in_the_midst_of_a_sync)
{
    struct plog *l;

    begin(1, INT64_MAX);
    l = settled_log("t");
    stall();
    for (int i = 0; i < 10; i++)
        put(l, (struct put){ 0 });
    wait_stalled(1);
    ok(plog_truncate(l, 4));
    ck_assert_int_eq(leo(l), 4);
    check_order(l);
    for (int i = 0; i < 2; i++)
        put(l, (struct put){ 0 });
    go_on();
    ok(wait_safe(l, 6));
    check_order(l);
    ck_assert_int_eq(plog_synced(l), 6);
    plog_unref(&l);
    l = settled_log("u");               /* "t" may have a recovery point by now: we would run into our own stall */
    stall();
    put(l, (struct put){ 0 });
    wait_stalled(1);
    ok(plog_truncate_all(l, 100));
    check_order(l);
    commit(l);
    ck_assert_int_eq(plog_offsets(l).hw, 100);
    put(l, (struct put){ 0 });
    go_on();
    ok(wait_safe(l, 101));
    check_order(l);
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

static atomic_int calls;

static void count_call(void *arg, struct plog *l)
{
    ck_assert_ptr_eq(arg, &calls);
    ck_assert_int_eq(plog_partition(l), 0);
    lock_assert_none();
    atomic_fetch_add(&calls, 1);
}

START_TEST(who_waits_is_told)
{
    struct plog *l;
    int n;

    begin(1, INT64_MAX);
    logmgr_on_flushed(b.m, count_call, &calls);
    l = settled_log("t");
    put(l, (struct put){ 0 });
    while (atomic_load(&calls) < 1)
        sched_yield();
    fio_fail(FIO_SYNC, EIO, 1);
    put(l, (struct put){ 0 });
    while (atomic_load(&calls) < 2)
        sched_yield();
    fails(wait_safe(l, 2), ERR_OFFLINE);
    logmgr_on_flushed(b.m, NULL, NULL);
    n = atomic_load(&calls);
    syncer_flush(l->dir->syncer, l);
    plog_unref(&l);
    box_crash(&b);
    fio_fail(FIO_SYNC, 0, 0);
    ck_assert_int_eq(atomic_load(&calls), n);
    box_fini(&b);
}
END_TEST

/* Deleted while it is being synced: nobody waits for ever. */
START_TEST(a_deleted_log)
{
    struct plog *l;

    begin(1, INT64_MAX);
    l = settled_log("t");
    stall();
    put(l, (struct put){ 0 });
    wait_stalled(1);
    ok(logmgr_delete(b.m, STR_LIT("t"), 0));
    fails(wait_safe(l, 1), ERR_CLOSED);
    go_on();
    plog_unref(&l);
    box_stop(&b);
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
        { without_settings_nothing_is_held, 0 },
        { every_answer_is_on_the_disk, 60 },
        { by_age, 0 },
        { after_a_crash, 0 },
        { a_log_of_the_same_name, 0 },
        { a_deleted_log_is_let_go_of, 0 },
#ifdef KLAMM_KILL_POINTS
        { those_who_wait_together_share_a_sync, 0 },
        { n_minus_one_may_be_lost, 0 },
        { a_slow_fsync_is_waited_for_by_nobody_else, 0 },
        { a_failed_fsync_is_never_a_success, 60 },
        { a_truncation_in_the_midst_of_a_sync, 0 },
        { who_waits_is_told, 0 },
        { a_deleted_log, 0 },
#else
        { faults_are_skipped_here, 0 },
#endif
    };

    return kit_main("storage/flush", tests, sizeof tests / sizeof tests[0]);
}
