/* tests/unit/storage/test_threads.c - an appender, readers, retention, the syncer and deletion at the same time. */
#include "base/clock.h"
#include "storage/logmgr_impl.h"
#include "storage/syncer.h"
#include "tests/unit/storage/kit.h"

#include <pthread.h>
#include <sched.h>

static struct box b;
static atomic_bool over;
static struct plog *shared;

static void *reader(void *arg)
{
    uint64_t x = (uint64_t)(uintptr_t)arg;

    while (!atomic_load(&over)) {
        struct plog_offsets o = plog_offsets(shared);
        struct plog_read r;
        struct plog_at at;
        int64_t from;
        int rc;

        ck_assert(o.start <= o.lso && o.lso <= o.hw && o.hw <= o.leo);
        x = x * 6364136223846793005u + 1;
        from = o.start + (o.leo > o.start ? (int64_t)((x >> 20) % (uint64_t)(o.leo - o.start)) : 0);
        rc = plog_read(shared, from, x % 2 == 0 ? o.hw : INT64_MAX, 4096, true, &r);
        ck_assert(rc == OK || rc == ERR_RANGE || rc == ERR_CLOSED);
        if (rc == OK && !slice_is_null(r.records)) {
            uint8_t p[BATCH_HEAD_BYTES];
            struct batch_head h;
            ok(fio_pread_all(r.records.file->fd, p, sizeof p, r.records.pos));
            ok(batch_head_read(&h, p, sizeof p));
            ck_assert(h.base_offset <= from && from <= h.last_offset);
            ck_assert_uint_eq(h.size_bytes, r.first_batch_bytes);
        }
        plog_read_done(&r);
        rc = plog_offset_for_time(shared, kit_clock_ms + from, &at);
        ck_assert(rc == OK || rc == ERR_CLOSED);
        rc = plog_max_timestamp(shared, &at);
        ck_assert(rc == OK || rc == ERR_CLOSED);
        (void)plog_epoch_end(shared, 1);
        (void)plog_size_bytes(shared);
    }
    return NULL;
}

static void *mover(void *arg)
{
    (void)arg;
    while (!atomic_load(&over)) {
        struct plog_offsets o;
        size_t gone;
        int rc;
        plog_set_hw(shared, leo(shared), &o);
        if (o.hw > o.start + 400)
            rc = plog_set_start(shared, o.start + 50);
        else
            rc = plog_retain(shared, kit_now(), &gone);
        ck_assert(rc == OK || rc == ERR_CLOSED);
        plog_expire_producers(shared, kit_now(), 1);
    }
    return NULL;
}

/* The manager's retention goes on by itself: let it have nothing left to do before all is looked at. */
static void let_retention_end(struct plog *l)
{
    size_t gone;

    commit(l);
    do
        ok(plog_retain(l, kit_now(), &gone));
    while (gone > 0);
}

START_TEST(everything_at_once)
{
    pthread_t t[4];
    int64_t end;

    box_init(&b);
    b.log.segment_bytes = 4000;
    b.log.index_interval_bytes = 300;
    b.log.retention_bytes = 20000;
    b.log.retention_ms = -1;
    b.log.file_delete_delay_ms = 0;
    b.o.sync_checkpoint_ms = 20;
    b.o.hw_checkpoint_ms = 5;
    b.o.start_checkpoint_ms = 5;
    b.o.producer_id_check_ms = 5;
    b.o.retention_check_ms = 3;
    b.o.initial_task_delay_ms = 0;
    box_start(&b);
    for (int round = 0; round < 3; round++) {
        shared = box_log(&b, "t");
        atomic_store(&over, false);
        for (uintptr_t i = 0; i < 3; i++)
            ck_assert_int_eq(pthread_create(&t[i], NULL, reader, (void *)(i + 1)), 0);
        ck_assert_int_eq(pthread_create(&t[3], NULL, mover, NULL), 0);
        for (int i = 0; i < 700; i++)
            put(shared, (struct put){ .n = 1 + i % 4, .value = 40, .ts = kit_clock_ms + i, .leader_epoch = i / 100,
                                      .pid = i % 3, .seq = 0, .epoch = (int16_t)(round * 1000 + i) });
        if (round == 1)
            ok(logmgr_delete(b.m, STR_LIT("t"), 0));
        atomic_store(&over, true);
        for (int i = 0; i < 4; i++)
            pthread_join(t[i], NULL);
        end = leo(shared);
        if (round != 1) {
            let_retention_end(shared);
            kit_check_whole(shared);
        }
        plog_unref(&shared);
    }
    box_stop(&b);
    box_open(&b);
    shared = logmgr_get(b.m, STR_LIT("t"), 0);
    ck_assert_int_eq(leo(shared), end);
    kit_check_whole(shared);
    plog_unref(&shared);
    box_fini(&b);
}
END_TEST

/* Made, filled and deleted again and again under one name, with the syncer always at it. */
START_TEST(a_topic_made_and_deleted_again_and_again)
{
    box_init(&b);
    b.o.sync_checkpoint_ms = 1;
    b.log.file_delete_delay_ms = 0;
    box_start(&b);
    for (int round = 0; round < 60; round++) {
        struct plog *l = box_log(&b, "t");
        ck_assert_int_eq(leo(l), 0);
        for (int i = 0; i <= round % 7; i++)
            put(l, (struct put){ .n = 3, .leader_epoch = round, .pid = 1 + i });
        kit_check_whole(l);
        ck_assert_int_eq(plog_earliest_epoch(l), round);
        plog_unref(&l);
        if (round < 59)
            ok(logmgr_delete(b.m, STR_LIT("t"), 0));
    }
    box_crash(&b);
    box_open(&b);
    shared = logmgr_get(b.m, STR_LIT("t"), 0);
    ck_assert_int_eq(leo(shared), 3 * (1 + 59 % 7));
    ck_assert_int_eq(plog_offsets(shared).start, 0);
    ck_assert_int_eq(plog_earliest_epoch(shared), 59);
    kit_check_whole(shared);
    plog_unref(&shared);
    box_fini(&b);
}
END_TEST

/* What is appended is synced by itself, also when that is to be done at once. */
START_TEST(the_syncer_moves_the_recovery_point)
{
    struct plog *l;

    box_init(&b);
    b.o.sync_checkpoint_ms = 50;
    box_start(&b);
    l = box_log(&b, "t");
    for (int i = 0; i < 3; i++) {
        put(l, (struct put){ .n = 5, .pid = 1, .seq = i * 5 });
        while (plog_recovery_point(l) < leo(l))     /* the test's time limit ends it */
            sched_yield();
    }
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

/* A log that keeps having something small to sync (DeleteRecords again and again) has its data synced all the same. */
START_TEST(data_does_not_wait_behind_small_changes)
{
    struct plog *l;

    box_init(&b);
    b.o.sync_checkpoint_ms = 2 * SYNC_SOON_MS;
    box_start(&b);
    l = box_log(&b, "t");
    put(l, (struct put){ .n = 3000, .leader_epoch = 1 });
    commit(l);
    for (int64_t start = 1; plog_recovery_point(l) < 3000; start++) {
        int64_t until = mono_ms() + 10;
        ok(plog_set_start(l, start));   /* fails in the end, after 30 s of starving the data */
        while (mono_ms() < until && plog_recovery_point(l) < 3000)
            sched_yield();
    }
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

/* Every offset again and again; half of them ask by time. */
static void *exact_reader(void *arg)
{
    int64_t i = (int64_t)(uintptr_t)arg, end = leo(shared);

    for (; !atomic_load(&over); i = (i + 7) % end) {
        struct batch_head h = { 0 };
        uint8_t p[BATCH_HEAD_BYTES];
        struct plog_read r;
        struct plog_at at;
        ok(plog_read(shared, i, INT64_MAX, 1, true, &r));
        ok(fio_pread_all(r.records.file->fd, p, sizeof p, r.records.pos));
        ok(batch_head_read(&h, p, sizeof p));
        ck_assert_int_eq(h.base_offset, i);
        plog_read_done(&r);
        ok(plog_offset_for_time(shared, kit_clock_ms + i, &at));
        ck_assert_int_eq(at.offset, i);
    }
    return NULL;
}

static bool is_mended(const char *path, const uint8_t *p, size_t n)
{
    uint8_t *now = NULL;
    size_t m = 0;
    bool same = fio_read_file(AT_FDCWD, path, 1 << 20, &now, &m) == OK && m == n && memcmp(now, p, n) == 0;

    free(now);
    return same;
}

/* The syncer makes an index anew while readers look things up in it; no answer is wrong meanwhile. */
START_TEST(a_damaged_index_is_mended_beneath_its_readers)
{
    static const enum segment_file kinds[] = { SEGMENT_INDEX, SEGMENT_TIMEINDEX };
    pthread_t readers[2];

    box_init(&b);
    b.log.segment_bytes = 20000;
    b.log.index_interval_bytes = 200;
    box_open(&b);
    shared = box_log(&b, "t");
    for (int i = 0; i < 500; i++)
        put(shared, (struct put){ .value = 60, .ts = kit_clock_ms + i });
    commit(shared);
    plog_unref(&shared);
    box_stop(&b);
    for (size_t k = 0; k < 2; k++) {
        char path[SEGMENT_PATH_MAX];
        int64_t until;
        uint8_t *p;
        size_t n;
        box_start(&b);
        shared = logmgr_get(b.m, STR_LIT("t"), 0);
        ck_assert_uint_gt(shared->n, 2);
        segment_path(&shared->place, shared->segs[1]->base, kinds[k], "", path);
        p = kit_slurp(box_path(&b, path), &n);
        for (size_t at = 3; at < n; at += 10)
            kit_flip(box_path(&b, path), at, 0x21);
        atomic_store(&over, false);
        for (size_t i = 0; i < 2; i++)
            ck_assert_int_eq(pthread_create(&readers[i], NULL, exact_reader, (void *)(uintptr_t)(i * 100)), 0);
        until = mono_ms() + 60000;
        while (!is_mended(box_path(&b, path), p, n) && mono_ms() < until)
            (void)sched_yield();
        ck_assert(is_mended(box_path(&b, path), p, n));
        atomic_store(&over, true);
        for (size_t i = 0; i < 2; i++)
            pthread_join(readers[i], NULL);
        free(p);
        plog_unref(&shared);
        box_stop(&b);
    }
    box_fini(&b);
}
END_TEST

/* What is read while the end of the log is being cut: bytes that are or were the log's there, or none. */
static void *reader_below_a_cut(void *arg)
{
    uint64_t x = (uint64_t)(uintptr_t)arg;

    while (!atomic_load(&over)) {
        struct plog_offsets o = plog_offsets(shared);
        struct plog_read r;
        struct plog_at at;
        int64_t from;
        int rc;

        ck_assert(o.start <= o.lso && o.lso <= o.hw && o.hw <= o.leo);
        x = x * 6364136223846793005u + 1;
        from = o.start + (o.leo > o.start ? (int64_t)((x >> 20) % (uint64_t)(o.leo - o.start)) : 0);
        rc = plog_read(shared, from, INT64_MAX, 4096, true, &r);
        ck_assert(rc == OK || rc == ERR_RANGE);
        plog_read_done(&r);
        ok(plog_offset_for_time(shared, kit_clock_ms + from, &at));
        ok(plog_max_timestamp(shared, &at));
    }
    return NULL;
}

/* A follower that cuts its log again and again, while consumers read from it and the syncer is at it. Of all segments
 * but one the file must be opened by its name. */
START_TEST(a_log_is_cut_beneath_its_readers)
{
    pthread_t t[3];
    uint64_t x = 99;

    box_init(&b);
    b.log.segment_bytes = 2000;
    b.log.index_interval_bytes = 300;
    b.log.file_delete_delay_ms = 0;
    b.o.open_files_max = 1;
    b.o.sync_checkpoint_ms = 5;
    b.o.hw_checkpoint_ms = 5;
    box_start(&b);
    shared = box_log(&b, "t");
    atomic_store(&over, false);
    for (uintptr_t i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, reader_below_a_cut, (void *)(i + 1)), 0);
    for (int i = 0; i < 150; i++) {
        int64_t end;

        for (int k = 0; k < 40; k++)
            put(shared, (struct put){ .n = 3, .value = 40, .ts = kit_clock_ms + leo(shared), .leader_epoch = i });
        commit(shared);
        end = leo(shared);
        x = x * 6364136223846793005u + 1;
        end -= (int64_t)((x >> 20) % 200);
        if (end < plog_offsets(shared).start)
            end = plog_offsets(shared).start;
        ok(i % 50 == 49 ? plog_truncate_all(shared, end) : plog_truncate(shared, end));
        ck_assert_int_le(leo(shared), end);
        ck_assert(!logdir_offline(shared->dir));
    }
    atomic_store(&over, true);
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    kit_check_whole(shared);
    plog_unref(&shared);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

int main(void)
{
    const struct kit_test tests[] = {
        { everything_at_once, 60 },
        { a_topic_made_and_deleted_again_and_again, 60 },
        { the_syncer_moves_the_recovery_point, 20 },
        { data_does_not_wait_behind_small_changes, 20 },
        { a_damaged_index_is_mended_beneath_its_readers, 60 },
        { a_log_is_cut_beneath_its_readers, 60 },
    };

    return kit_main("storage/threads", tests, sizeof tests / sizeof tests[0]);
}
