/* tests/unit/storage/test_truncate.c - a follower's log: copies of batches come in, and go again. */
#include "storage/syncer.h"
#include "tests/unit/storage/kit.h"

#include <sys/resource.h>

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

/* A batch as a leader has it. */
static uint8_t *copy_of(struct put w, int64_t base, size_t *len)
{
    uint8_t *p = kit_batch(w, len);

    batch_set_base_offset(p, base);
    batch_set_leader_epoch(p, w.leader_epoch);
    return p;
}

static int follow(struct plog *l, struct put w, int64_t base)
{
    struct plog_appended out;
    size_t n;
    uint8_t *p = copy_of(w, base, &n);
    int rc = plog_append_follower(l, (struct bytes){ p, n }, &out);

    if (rc == OK)
        ck_assert(out.base_offset == base && out.last_offset == base + (w.n > 0 ? w.n : 1) - 1);
    free(p);
    return rc;
}

START_TEST(a_copy_keeps_offsets_and_epochs)
{
    struct plog *l = fresh();
    size_t n;
    uint8_t *all, *p = copy_of((struct put){ .n = 3, .leader_epoch = 4 }, 7, &n);

    ok(follow(l, (struct put){ .n = 5, .leader_epoch = 2 }, 0));
    ok(follow(l, (struct put){ .n = 3, .leader_epoch = 4 }, 7));        /* 5 and 6 were compacted away */
    ck_assert_int_eq(leo(l), 10);
    ck_assert_int_eq(plog_epoch_start(l, 4), 7);
    ck_assert_int_eq(plog_epoch_end(l, 2).end_offset, 7);
    fails(follow(l, (struct put){ .n = 1 }, 9), ERR_RANGE);
    ck_assert_int_eq(leo(l), 10);
    all = kit_read_all(l, 7, &(size_t){ 0 });
    ck_assert_mem_eq(all, p, n);
    free(all);
    free(p);
    done(l);
}
END_TEST

START_TEST(what_is_no_copy_is_refused)
{
    static const int64_t far[] = { OFFSET_LIMIT - 1, INT64_MAX - 2 };
    struct plog *l = fresh();
    struct plog_appended out;
    size_t n, m;
    uint8_t *p = copy_of((struct put){ .n = 3 }, 5, &n), *q = copy_of((struct put){ .n = 3 }, 7, &m);
    uint8_t *both = malloc(n + m);

    memcpy(both, p, n);
    memcpy(both + n, q, m);
    fails(plog_append_follower(l, (struct bytes){ both, n + m }, &out), ERR_INVALID);   /* 5..7, then 7..9 */
    fails(plog_append_follower(l, (struct bytes){ p, n - 1 }, &out), ERR_INVALID);
    fails(plog_append_follower(l, (struct bytes){ p, 0 }, &out), ERR_INVALID);
    for (size_t at = 17; at < n; at++) {        /* all that the CRC covers, and the CRC */
        p[at] ^= 0x10;
        ck_assert_int_ne(plog_append_follower(l, (struct bytes){ p, n }, &out), OK);
        p[at] ^= 0x10;
    }
    for (size_t i = 0; i < 2; i++) {
        batch_set_base_offset(p, far[i]);       /* which the CRC does not cover; the next start would not take it */
        fails(plog_append_follower(l, (struct bytes){ p, n }, &out), ERR_INVALID);
    }
    batch_set_base_offset(p, 5);
    ck_assert_int_eq(leo(l), 0);
    ok(plog_append_follower(l, (struct bytes){ p, n }, &out));
    free(both);
    free(p);
    free(q);
    done(l);
}
END_TEST

START_TEST(one_copy_may_fill_several_segments)
{
    struct plog *l = fresh();
    struct plog_appended out;
    uint8_t *all = malloc(10000);
    size_t len = 0;

    for (int64_t at = 0; len < 8000; at += 4) {
        size_t n;
        uint8_t *p = copy_of((struct put){ .n = 4, .value = 40, .leader_epoch = (int32_t)at / 40 }, at, &n);
        memcpy(all + len, p, n);
        len += n;
        free(p);
    }
    ok(plog_append_follower(l, (struct bytes){ all, len }, &out));
    ck_assert(out.rolled && out.base_offset == 0);
    ck_assert_uint_gt(l->n, 4);
    for (size_t i = 0; i < l->n; i++)
        ck_assert_uint_le(l->segs[i]->size, 1000);
    kit_check_whole(l);
    plog_unref(&l);
    box_crash(&b);
    box_open(&b);
    l = logmgr_get(b.m, str_of("t"), 0);
    ck_assert_int_eq(leo(l), out.last_offset + 1);
    kit_check_whole(l);
    free(all);
    done(l);
}
END_TEST

/* The old formats, from a leader whose topic has message.format.version 0.10. */
static struct bytes old_set(struct arena *a, int8_t magic, enum codec codec, int n)
{
    struct builder_opts o;
    struct builder w;
    struct bytes out;

    builder_opts_init(&o);
    o.magic = magic;
    o.codec = codec;
    o.level = codec_default_level(codec);
    builder_init(&w, &o, a);
    for (int i = 0; i < n; i++) {
        struct record r = { .offset = i, .timestamp = magic > 0 ? 1000 + i : -1,
                            .value = { (const uint8_t *)"value", 5 } };
        builder_add(&w, &r);
    }
    ok(builder_finish(&w, &out));
    builder_fini(&w);
    return out;
}

START_TEST(sets_of_the_old_formats_are_appended)
{
    struct plog *l = fresh();
    struct plog_appended out;
    struct arena a;
    int64_t expect = 0;

    arena_init(&a, 1 << 20);
    ok(plog_assign_epoch(l, 3));
    for (int i = 0; i < 60; i++) {
        struct bytes set = old_set(&a, (int8_t)(i % 2), i % 3 == 0 ? CODEC_GZIP : CODEC_NONE, i % 7 + 1);
        struct plog_append in = { .p = (uint8_t *)(uintptr_t)set.p, .len = set.len, .leader_epoch = 3,
                                  .fixed_base = true, .base_offset = expect + (i == 5) };
        if (i == 5) {
            fails(plog_append(l, &in, &out), ERR_BUSY);
            in.base_offset--;
        }
        ok(plog_append(l, &in, &out));
        ck_assert_int_eq(out.base_offset, expect);
        expect += i % 7 + 1;
        ck_assert_int_eq(out.last_offset, expect - 1);
    }
    ck_assert_uint_gt(l->n, 3);
    ck_assert_int_eq(plog_latest_epoch(l), -1);
    plog_unref(&l);
    box_reboot(&b);
    box_crash(&b);
    box_open(&b);
    l = logmgr_get(b.m, str_of("t"), 0);
    ck_assert_int_eq(leo(l), expect);
    arena_fini(&a);
    done(l);
}
END_TEST

/* ---- truncation ------------------------------------------------------------------------------------------------ */

enum { BATCHES = 40, EACH = 5 };

/* BATCHES batches of EACH records, an epoch every ten, producer 7 in every second, over several segments. */
static void fill(struct plog *l, int from)
{
    for (int i = from; i < BATCHES; i++) {
        struct put w = { .n = EACH, .value = 20, .ts = kit_clock_ms + i * 10, .leader_epoch = i / 10 };
        if (i % 2 == 0) {
            w.pid = 7;
            w.seq = i / 2 * EACH;
        }
        put(l, w);
    }
}

static void check_cut(struct plog *l, int64_t end)
{
    struct plog_offsets o = plog_offsets(l);
    struct plog_producer *v;
    struct plog_at at;
    struct arena a;
    size_t n;

    ck_assert_int_eq(o.leo, end);
    ck_assert_int_le(o.hw, end);
    kit_check_whole(l);
    if (end == 0)
        return;
    ck_assert_int_eq(plog_latest_epoch(l), (int32_t)((end - 1) / EACH / 10));
    ok(plog_max_timestamp(l, &at));
    ck_assert_int_eq(at.timestamp, kit_clock_ms + (end / EACH - 1) * 10 + EACH - 1);
    arena_init(&a, 1 << 20);
    ok(plog_producers(l, &a, &v, &n));
    ck_assert_uint_eq(n, 1);
    ck_assert_int_eq(v[0].last_sequence, (end / EACH - 1) / 2 * EACH + EACH - 1);
    arena_fini(&a);
}

static void cut_and_go_on(int64_t offset, bool restart)
{
    struct plog *l = fresh();
    int64_t end = offset / EACH * EACH;

    fill(l, 0);
    commit(l);
    ok(plog_truncate(l, offset));
    check_cut(l, end);
    if (restart) {
        plog_unref(&l);
        box_reboot(&b);
        box_crash(&b);
        box_open(&b);
        l = logmgr_get(b.m, str_of("t"), 0);
        check_cut(l, end);
    }
    fill(l, (int)end / EACH);
    check_cut(l, BATCHES * EACH);
    done(l);
}

START_TEST(a_log_ends_where_it_was_cut_and_goes_on)
{
    for (int64_t offset = 0; offset < BATCHES * EACH; offset += 3)
        cut_and_go_on(offset, offset % 2 == 0);
}
END_TEST

START_TEST(cutting_beyond_the_end_only_drops_epochs)
{
    struct plog *l = fresh();

    fill(l, 0);
    ok(plog_assign_epoch(l, 9));
    ok(plog_truncate(l, BATCHES * EACH));
    ck_assert_int_eq(plog_latest_epoch(l), 3);
    ck_assert_int_eq(leo(l), BATCHES * EACH);
    ok(plog_truncate(l, BATCHES * EACH + 10));
    kit_check_whole(l);
    done(l);
}
END_TEST

START_TEST(a_log_begins_anew_elsewhere)
{
    struct plog *l = fresh();
    struct plog_offsets o;

    fill(l, 0);
    ok(plog_truncate_all(l, 1000));
    o = plog_offsets(l);
    ck_assert(o.start == 1000 && o.lso == 1000 && o.hw == 1000 && o.leo == 1000);
    ck_assert_int_eq(plog_latest_epoch(l), -1);
    ck_assert_int_eq(plog_size_bytes(l), 0);
    ok(follow(l, (struct put){ .n = 5, .leader_epoch = 5 }, 1000));
    plog_unref(&l);
    box_crash(&b);
    box_open(&b);
    l = logmgr_get(b.m, str_of("t"), 0);
    o = plog_offsets(l);
    ck_assert(o.start == 1000 && o.leo == 1005);
    ok(plog_truncate(l, 500));                  /* below its first segment: the same */
    o = plog_offsets(l);
    ck_assert(o.start == 500 && o.leo == 500);
    ok(follow(l, (struct put){ .n = 5, .leader_epoch = 6 }, 500));
    fails(plog_truncate_all(l, OFFSET_LIMIT + 1), ERR_INVALID);         /* where no start finds it again */
    ck_assert_int_eq(leo(l), 505);
    kit_check_whole(l);
    done(l);
}
END_TEST

/* What it would begin anew with cannot be had: the old log stays, and it works when that can be had. */
START_TEST(a_log_that_cannot_begin_anew_stays)
{
    enum { FILES = 256 };
    struct plog *l = fresh();
    struct rlimit was, few;
    int fds[FILES], n = 0;

    fill(l, 0);
    ck_assert_int_eq(plog_recovery_point(l), 0);        /* else the checkpoint would fail before */
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &was), 0);
    few = was;
    few.rlim_cur = FILES;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (n < FILES && (fds[n] = open("/dev/null", O_RDONLY)) >= 0)
        n++;
    fails(plog_truncate_all(l, 1000), ERR_AGAIN);
    while (n > 0)
        close(fds[--n]);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
    ck_assert_int_eq(leo(l), BATCHES * EACH);
    kit_check_whole(l);
    ok(plog_truncate_all(l, 1000));
    ok(follow(l, (struct put){ .n = 5, .leader_epoch = 5 }, 1000));
    kit_check_whole(l);
    done(l);
}
END_TEST

START_TEST(the_recovery_point_goes_down_first)
{
    struct offset_checkpoint c;
    struct plog *l = fresh();
    size_t line;

    fill(l, 0);
    commit(l);
    ok(syncer_all(l->dir->syncer, &l, 1));
    ck_assert_int_eq(plog_recovery_point(l), BATCHES * EACH);
    ok(plog_truncate(l, 52));
    ok(offset_checkpoint_read(l->dir->fd, CHECKPOINT_RECOVERY_POINT, &c, &line));
    ck_assert_int_eq(offset_checkpoint_find(&c, str_of("t"), 0), 50);
    ck_assert_int_eq(plog_recovery_point(l), 50);
    offset_checkpoint_free(&c);
    done(l);
}
END_TEST

int main(void)
{
    const struct kit_test tests[] = {
        { a_copy_keeps_offsets_and_epochs, 0 },
        { what_is_no_copy_is_refused, 0 },
        { one_copy_may_fill_several_segments, 0 },
        { sets_of_the_old_formats_are_appended, 0 },
        { a_log_ends_where_it_was_cut_and_goes_on, 60 },
        { cutting_beyond_the_end_only_drops_epochs, 0 },
        { a_log_begins_anew_elsewhere, 0 },
        { a_log_that_cannot_begin_anew_stays, 0 },
        { the_recovery_point_goes_down_first, 0 },
    };

    return kit_main("truncate", tests, sizeof tests / sizeof tests[0]);
}
