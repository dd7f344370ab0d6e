/* tests/unit/storage/test_cleaner_threads.c - the cleaner's threads beside appends, reads, truncation and damage. */
#include "base/clock.h"
#include "storage/cleaner.h"
#include "storage/cleaner_choose.h"
#include "tests/unit/storage/cleaner_kit.h"

#include <poll.h>

static void prepare(struct box *b)
{
    box_init(b);
    b->log.segment_bytes = 4000;
    b->log.index_interval_bytes = 200;
    b->log.compact_policy = true;
    b->log.delete_policy = false;
    b->log.min_cleanable_ratio = 0.01;
    b->log.file_delete_delay_ms = 0;
    b->o.cleaner.threads = 2;
    b->o.cleaner.backoff_ms = 10;
    b->o.sync_checkpoint_ms = 50;
}

static void breathe(void)
{
    (void)poll(NULL, 0, 2);
}

/* Nothing is left to compact, or (failed) it was tried and failed. */
static void await(struct plog *l, bool failed)
{
    int64_t until = mono_ms() + 60000;

    for (;;) {
        struct cleanable c;
        bool over;
        int rc = cleaner_look(l, kit_now(), &c);
        lock_take(&l->lock);
        over = failed ? l->clean_failures > 0 : rc == OK && !c.due && c.uncleanable == plog_active(l)->base;
        lock_drop(&l->lock);
        if (over)
            return;
        ck_assert_msg(mono_ms() < until, "the cleaner does not come");
        breathe();
    }
}

static void close_transactions(struct model *m, struct plog *l)
{
    for (int64_t pid = 1; pid < 3; pid++)
        if (has_open(m, pid))
            model_marker(m, l, pid, true);
    commit(l);
}

static atomic_bool over;

/* Reads from anywhere; what comes must hold together whatever is being replaced. */
static void *reader(void *arg)
{
    struct plog *l = arg;
    uint64_t x = 7;

    while (!atomic_load(&over)) {
        struct plog_offsets o = plog_offsets(l);
        struct plog_at at;
        struct plog_read r;
        struct batch_iter it;
        int64_t from;
        uint8_t *p;
        x = x * 6364136223846793005U + 1;
        from = o.leo > o.start ? o.start + (int64_t)((x >> 20) % (uint64_t)(o.leo - o.start)) : o.start;
        ok(plog_read(l, from, INT64_MAX, 3000, true, &r));
        p = malloc(r.records.len + 1);
        if (!slice_is_null(r.records))
            ok(fio_pread_all(r.records.file->fd, p, r.records.len, r.records.pos));
        batch_iter_init(&it, (struct bytes){ p, slice_is_null(r.records) ? 0 : r.records.len });
        while (batch_iter_next(&it)) {
            ok(batch_check(&it.head, it.p));
            ck_assert_int_ge(it.head.last_offset, from);
            from = it.head.last_offset + 1;
        }
        ok(it.rc);
        free(p);
        plog_read_done(&r);
        ok(plog_offset_for_time(l, kit_clock_ms, &at));
    }
    return NULL;
}

START_TEST(logs_are_compacted_while_they_are_in_use)
{
    struct plog *l[2];
    struct model m[2];
    pthread_t t[2];
    struct box b;
    int64_t cleaned_to;
    size_t len;

    prepare(&b);
    box_start(&b);
    for (int i = 0; i < 2; i++) {
        l[i] = box_log(&b, i == 0 ? "t" : "u");
        model_init(&m[i], (unsigned)i + 30, 40);
        ck_assert_int_eq(pthread_create(&t[i], NULL, reader, l[i]), 0);
    }
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 2; i++) {
            model_fill(&m[i], l[i], 150);
            close_transactions(&m[i], l[i]);
        }
        await(l[round % 2], false);
    }
    for (int i = 0; i < 2; i++) {
        await(l[i], false);
        free(check_log(l[i], &m[i], true, &len));
        ck_assert_int_eq(l[i]->cleaned_to, plog_active(l[i])->base);
    }
    atomic_store(&over, true);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    cleaned_to = l[0]->cleaned_to;
    plog_unref(&l[0]);
    plog_unref(&l[1]);
    box_stop(&b);
    box_open(&b);
    l[0] = box_log(&b, "t");
    ck_assert_int_eq(l[0]->cleaned_to, cleaned_to);
    free(check_log(l[0], &m[0], true, &len));
    plog_unref(&l[0]);
    model_fini(&m[0]);
    model_fini(&m[1]);
    box_fini(&b);
}
END_TEST

START_TEST(a_log_that_cannot_be_compacted_is_set_aside_and_the_others_go_on)
{
    struct cleaner_stats stats;
    struct plog *bad, *good;
    struct model m[2];
    struct box b;
    size_t len;
    char path[300];

    prepare(&b);
    box_open(&b);
    bad = box_log(&b, "bad");
    good = box_log(&b, "good");
    model_init(&m[0], 41, 40);
    model_init(&m[1], 42, 40);
    for (int i = 0; i < 2; i++) {
        model_fill(&m[i], i == 0 ? bad : good, 150);
        close_transactions(&m[i], i == 0 ? bad : good);
    }
    snprintf(path, sizeof path, "bad-0/%020" PRId64 ".log", bad->segs[1]->base);
    kit_flip(box_path(&b, path), bad->segs[1]->size / 2, 0x10);
    ok(scheduler_new(&b.sched, 2));
    ok(logmgr_start(b.m, b.sched));
    await(bad, true);
    await(good, false);
    free(check_log(good, &m[1], true, &len));
    ck_assert_int_eq(bad->cleaned_to, -1);
    for (int64_t until = mono_ms() + 60000;; breathe()) {
        cleaner_stats(b.m->cleaner, &stats);
        if (stats.set_aside == 1)
            break;
        ck_assert(mono_ms() < until);
    }
    ck_assert_uint_ge(stats.cleanings, 1);
    ck_assert_uint_ge(stats.failures, 1);
    /* Mended, and told of new settings, it is tried at once. */
    kit_flip(box_path(&b, path), bad->segs[1]->size / 2, 0x10);
    plog_set_opts(bad, &b.log);
    cleaner_wake(b.m->cleaner);
    await(bad, false);
    free(check_log(bad, &m[0], true, &len));
    for (int i = 0; i < 2; i++)
        model_fini(&m[i]);
    plog_unref(&bad);
    plog_unref(&good);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

static struct plog              *becomes_due;
static struct log_opts           due_opts;
static _Atomic(struct cleaner *) waking;
static int                       asked;

/* The cleaner asks for the time when it looks what is due, and again in the retention that follows. */
static int64_t now_after_the_look(void)
{
    char name[16] = "";

    (void)pthread_getname_np(pthread_self(), name, sizeof name);
    if (strcmp(name, "cleaner-0") == 0 && ++asked == 2) {
        while (atomic_load(&waking) == NULL)
            breathe();
        plog_set_opts(becomes_due, &due_opts);
        cleaner_wake(atomic_load(&waking));
    }
    return kit_now();
}

START_TEST(a_wake_between_the_look_and_the_pause_is_heard)
{
    struct model m;
    struct plog *l;
    struct box b;
    size_t len;

    prepare(&b);
    due_opts = b.log;
    b.log.min_cleanable_ratio = 1.01;
    b.o.cleaner.threads = 1;
    b.o.cleaner.backoff_ms = 3600000;
    b.o.now_ms = now_after_the_look;
    box_open(&b);
    l = becomes_due = box_log(&b, "t");
    model_init(&m, 43, 40);
    model_fill(&m, l, 150);
    close_transactions(&m, l);
    ok(scheduler_new(&b.sched, 2));
    ok(logmgr_start(b.m, b.sched));
    for (bool synced = false; !synced; breathe()) {
        lock_take(&l->lock);
        synced = l->checkpointed == leo(l);
        lock_drop(&l->lock);
    }
    atomic_store(&waking, b.m->cleaner);
    for (bool due = false; !due; breathe()) {
        lock_take(&l->lock);
        due = l->opts.min_cleanable_ratio < 1;
        lock_drop(&l->lock);
    }
    await(l, false);
    free(check_log(l, &m, true, &len));
    model_fini(&m);
    plog_unref(&l);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

START_TEST(a_truncation_takes_the_checkpoint_back)
{
    struct plog *l;
    struct model m;
    struct box b;
    int64_t end;
    size_t len;

    prepare(&b);
    box_start(&b);
    l = box_log(&b, "t");
    model_init(&m, 51, 40);
    m.txns = false;
    model_fill(&m, l, 200);
    await(l, false);
    end = l->cleaned_to;
    ck_assert_int_gt(end, 0);
    ok(plog_truncate(l, end / 2));
    ck_assert_int_le(l->cleaned_to, leo(l));
    while (m.n > 0 && m.v[m.n - 1].offset >= leo(l))
        m.n--;
    commit(l);
    model_fill(&m, l, 100);
    await(l, false);
    plog_unref(&l);
    box_stop(&b);
    box_open(&b);
    l = box_log(&b, "t");
    for (size_t i = 0; i < m.n; i++)
        m.v[i].seen = false;
    free(read_compacted(l, &(struct seen){ .m = &m }, &len));
    plog_unref(&l);
    model_fini(&m);
    box_fini(&b);
}
END_TEST

START_TEST(a_log_that_is_deleted_meanwhile_leaves_its_successor_alone)
{
    struct plog *l;
    struct model m;
    struct box b;
    size_t len;

    prepare(&b);
    b.o.cleaner.io_bytes_per_s = 400000;        /* so that there is a midst */
    b.o.sync_checkpoint_ms = 1;
    box_start(&b);
    for (unsigned i = 0; i < 25; i++) {
        l = box_log(&b, "t");
        ck_assert_int_eq(l->cleaned_to, -1);
        model_init(&m, 70 + i, 30);
        model_fill(&m, l, 40);
        for (int64_t until = mono_ms() + (int64_t)(i * 10); mono_ms() < until;)
            breathe();
        ok(logmgr_delete(b.m, STR_LIT("t"), 0));
        plog_unref(&l);
        model_fini(&m);
    }
    l = box_log(&b, "t");
    model_init(&m, 99, 30);
    model_fill(&m, l, 60);
    close_transactions(&m, l);
    await(l, false);
    free(check_log(l, &m, true, &len));
    plog_unref(&l);
    box_stop(&b);
    box_open(&b);
    l = box_log(&b, "t");
    free(check_log(l, &m, true, &len));
    plog_unref(&l);
    model_fini(&m);
    box_fini(&b);
}
END_TEST

static bool one_is_cleaned(struct plog *const *l, int n)
{
    bool yes = false;

    for (int i = 0; i < n; i++) {
        lock_take(&l[i]->lock);
        yes |= l[i]->cleaning;
        lock_drop(&l[i]->lock);
    }
    return yes;
}

/* Gives back when the cleaner has looked for the first time: it has seen a log that an earlier try has set aside. */
static void start_and_let_look(struct box *b)
{
    struct cleaner_stats stats;
    struct plog *aside;

    box_open(b);
    aside = box_log(b, "aside");
    lock_take(&aside->lock);
    aside->clean_failures = 1;
    aside->clean_retry_ns = INT64_MAX;
    lock_drop(&aside->lock);
    plog_unref(&aside);
    ok(scheduler_new(&b->sched, 2));
    ok(logmgr_start(b->m, b->sched));
    do {
        breathe();
        cleaner_stats(b->m->cleaner, &stats);
    } while (stats.set_aside == 0);
}

/* A cleaning that would take for ever goes on at once when it may; threads come and go beside it. */
START_TEST(what_the_cleaner_may_do_changes)
{
    enum { LOGS = 6 };
    struct plog *l[LOGS];
    struct model m[LOGS];
    struct box b;
    size_t len;

    prepare(&b);
    b.o.cleaner.threads = 1;
    b.o.cleaner.backoff_ms = INT64_MAX;         /* one look, and then never again */
    b.o.cleaner.io_bytes_per_s = 1;
    start_and_let_look(&b);
    for (int i = 0; i < LOGS; i++) {
        char name[2] = { (char)('a' + i), '\0' };

        l[i] = box_log(&b, name);
        model_init(&m[i], (unsigned)i + 90, 40);
        model_fill(&m[i], l[i], 150);
        close_transactions(&m[i], l[i]);
    }
    ck_assert(!one_is_cleaned(l, LOGS));
    b.o.cleaner.backoff_ms = 10;
    ok(logmgr_configure(b.m, &b.o));
    while (!one_is_cleaned(l, LOGS))
        breathe();
    for (int i = 0; i < 20; i++) {
        b.o.cleaner.threads = 1 + i % 4;
        ok(logmgr_configure(b.m, &b.o));
        breathe();
    }
    ck_assert(one_is_cleaned(l, LOGS));
    b.o.cleaner.io_bytes_per_s = 1e18;
    b.o.cleaner.threads = 2;
    b.o.cleaner.map_bytes = 8 << 20;
    ok(logmgr_configure(b.m, &b.o));
    for (int i = 0; i < LOGS; i++) {
        await(l[i], false);
        free(check_log(l[i], &m[i], true, &len));
        plog_unref(&l[i]);
        model_fini(&m[i]);
    }
    box_stop(&b);
    box_fini(&b);
}
END_TEST

START_TEST(lags_say_when_a_log_is_due)
{
    struct cleanable c;
    struct plog *l;
    struct model m;
    struct box b;
    int64_t now = kit_clock_ms;

    prepare(&b);
    b.o.cleaner.enable = false;
    b.log.min_cleanable_ratio = 1;
    box_start(&b);
    l = box_log(&b, "t");
    model_init(&m, 61, 40);
    m.txns = false;
    model_fill(&m, l, 100);
    do {                                /* until all of it is on disk but the active segment */
        breathe();
        ok(cleaner_look(l, now, &c));
    } while (c.uncleanable < plog_active(l)->base);
    ck_assert(!c.due);
    ck_assert(c.ratio > 0.99);
    ck_assert_int_eq(c.from, 0);
    b.log.max_compaction_lag_ms = 5000;
    plog_set_opts(l, &b.log);
    ok(cleaner_look(l, now, &c));
    ck_assert(!c.due);
    ok(cleaner_look(l, now + 10000, &c));
    ck_assert(c.due);
    b.log.max_compaction_lag_ms = INT64_MAX;
    b.log.min_compaction_lag_ms = 5000;
    b.log.min_cleanable_ratio = 0.5;
    plog_set_opts(l, &b.log);
    ok(cleaner_look(l, now, &c));
    ck_assert(!c.due);
    ck_assert_int_eq(c.uncleanable, 0);
    ok(cleaner_look(l, now + 10000, &c));
    ck_assert(c.due);
    b.log.compact_policy = false;
    plog_set_opts(l, &b.log);
    ok(cleaner_look(l, now + 10000, &c));
    ck_assert(!c.due);
    plog_unref(&l);
    model_fini(&m);
    box_stop(&b);
    box_fini(&b);
}
END_TEST

int main(void)
{
    const struct kit_test tests[] = {
        { logs_are_compacted_while_they_are_in_use, 120 },
        { a_log_that_cannot_be_compacted_is_set_aside_and_the_others_go_on, 120 },
        { a_wake_between_the_look_and_the_pause_is_heard, 120 },
        { a_truncation_takes_the_checkpoint_back, 60 },
        { a_log_that_is_deleted_meanwhile_leaves_its_successor_alone, 60 },
        { what_the_cleaner_may_do_changes, 120 },
        { lags_say_when_a_log_is_due, 60 },
    };

    return kit_main("storage/cleaner_threads", tests, sizeof tests / sizeof tests[0]);
}
