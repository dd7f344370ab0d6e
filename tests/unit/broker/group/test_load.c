/* tests/unit/broker/group/test_load.c - what is made of a partition of __consumer_offsets, whole or damaged. */
#include "tests/unit/broker/group/coord_kit.h"

#include <fcntl.h>
#include <sys/resource.h>

/* The log as it is now is taken up anew, by way of another leader. */
static void reload(const char *group, int32_t p)
{
    static int32_t epoch = 100;

    tell(p, OTHER, epoch++, false);
    wait_for(group, KERR_NOT_COORDINATOR);
    tell(p, SELF, epoch++, false);
    wait_for(group, KERR_NONE);
}

#define put(p, ...) append((p), -1, (struct group_record[]){ __VA_ARGS__ },                                   \
                           sizeof((struct group_record[]){ __VA_ARGS__ }) / sizeof(struct group_record))
#define put_txn(p, pid, ...) append((p), (pid), (struct group_record[]){ __VA_ARGS__ },                       \
                           sizeof((struct group_record[]){ __VA_ARGS__ }) / sizeof(struct group_record))

static enum group_state state_of(const char *group, size_t *members)
{
    struct group_session s;
    enum group_state st;

    ck_assert_int_eq(groups_enter(w.gs, str_of(group), GROUPS_EXISTING, &s), KERR_NONE);
    ck_assert_ptr_nonnull(s.g);
    st = s.g->state;
    *members = s.g->members_n;
    groups_leave(&s);
    return st;
}

START_TEST(the_last_record_counts)
{
    size_t members;
    int32_t p;

    world_new();
    p = lead_for("g", 0);
    put(p, a_group("g", 1, 1), a_commit("g", "t", 0, 1), a_commit("g", "t", 1, 1), a_commit("simple", "t", 0, 8));
    put(p, a_commit("g", "t", 0, 2), a_commit("g", "t", 1, -1));
    put(p, a_group("g", 2, 3), a_group("gone", 2, 1));
    put(p, a_commit("kept", "t", 0, 1), a_group("kept", 3, 0));
    put(p, ((struct group_record){ a_group("gone", 1, 0).key, { NULL, 0 } }),
        ((struct group_record){ a_group("kept", 1, 0).key, { NULL, 0 } }));
    reload("g", p);
    ck_assert_int_eq(offset_of("g", "t", 0), 2);
    ck_assert_int_eq(offset_of("g", "t", 1), -1);
    ck_assert_int_eq(state_of("g", &members), GROUP_STABLE);
    ck_assert_uint_eq(members, 3);
    world_end();
}
END_TEST

START_TEST(a_group_that_has_become_too_large_rebalances)
{
    size_t members;
    int32_t p;

    world_new("group.max.size=2");
    p = lead_for("g", 0);
    put(p, a_group("g", 1, 3), a_group("h", 1, 2));
    reload("g", p);
    ck_assert_int_eq(state_of("g", &members), GROUP_PREPARING_REBALANCE);
    ck_assert_uint_eq(members, 3);
    world_end();
}
END_TEST

/* Sessions of members begin when they are loaded, and end without anybody's help; what is left is written. */
START_TEST(members_that_do_not_come_back_expire)
{
    int64_t until = mono_ms() + WAIT_MS;
    size_t members = 1;
    int32_t p;

    world_new("group.min.session.timeout.ms=1");
    p = lead_for("g", 0);
    session_ms = 50;
    put(p, a_group("g", 1, 3));
    session_ms = 30000;
    reload("g", p);
    while (state_of("g", &members) != GROUP_EMPTY && mono_ms() < until)
        poll(NULL, 0, 1);
    ck_assert_int_eq(state_of("g", &members), GROUP_EMPTY);
    reload("g", p);
    ck_assert_int_eq(state_of("g", &members), GROUP_EMPTY);
    ck_assert_uint_eq(members, 0);
    world_end();
}
END_TEST

START_TEST(transactions_wait_for_their_markers)
{
    int32_t p;

    world_new();
    p = lead_for("g", 0);
    put(p, a_commit("g", "t", 0, 1), a_commit("g", "t", 1, 1), a_commit("g", "t", 2, 1), a_commit("g", "t", 3, 1));
    put_txn(p, 7, a_commit("g", "t", 0, 2));
    put_txn(p, 8, a_commit("g", "t", 1, 2));
    put_txn(p, 9, a_commit("g", "t", 2, 2), a_commit("g", "t", 3, 2));
    put_txn(p, 10, a_commit("g", "t", 4, 2), a_commit("g", "t", 3, -1));
    append_marker(p, 7, CONTROL_COMMIT);
    append_marker(p, 8, CONTROL_ABORT);
    put(p, a_commit("g", "t", 2, 3));       /* newer than what the marker brings */
    append_marker(p, 9, CONTROL_COMMIT);
    reload("g", p);
    ck_assert_int_eq(offset_of("g", "t", 0), 2);
    ck_assert_int_eq(offset_of("g", "t", 1), 1);
    ck_assert_int_eq(offset_of("g", "t", 2), 3);
    ck_assert_int_eq(offset_of("g", "t", 3), 2);
    ck_assert_int_eq(offset_of("g", "t", 4), -1);
    world_end();
}
END_TEST

START_TEST(what_cannot_be_read_is_passed_over)
{
    static const uint8_t later[] = { 0, 3, 0, 1, 'g' }, cut[] = { 0, 1, 0, 9, 'g' }, empty[1];
    struct group_record r;
    int32_t p;

    world_new();
    p = lead_for("g", 0);
    r = a_commit("g", "t", 2, 5);
    put(p, a_commit("g", "t", 0, 5), ((struct group_record){ { later, sizeof later }, { cut, 2 } }),
        ((struct group_record){ { cut, sizeof cut }, { cut, 2 } }), ((struct group_record){ { NULL, 0 }, { cut, 2 } }),
        ((struct group_record){ { empty, 0 }, { cut, 2 } }), ((struct group_record){ r.key, { r.value.p, 7 } }),
        ((struct group_record){ r.key, { later, 2 } }), ((struct group_record){ a_group("g", 1, 1).key, { cut, 5 } }),
        a_commit("g", "t", 1, 6));
    reload("g", p);
    ck_assert_int_eq(offset_of("g", "t", 0), 5);
    ck_assert_int_eq(offset_of("g", "t", 1), 6);
    ck_assert_int_eq(offset_of("g", "t", 2), -1);
    world_end();
}
END_TEST

START_TEST(a_group_that_cannot_be_read_is_what_it_was_before)
{
    struct group_record r;
    size_t members;
    int32_t p;

    world_new();
    p = lead_for("g", 0);
    r = a_group("g", 9, 4);
    put(p, a_group("g", 1, 2), ((struct group_record){ r.key, { r.value.p, r.value.len - 3 } }));
    reload("g", p);
    ck_assert_int_eq(state_of("g", &members), GROUP_STABLE);
    ck_assert_uint_eq(members, 2);
    world_end();
}
END_TEST

/* Offsets are given to nobody by compaction, and an empty batch may be the last. */
START_TEST(gaps_and_empty_batches_end)
{
    struct builder_opts o;
    struct bytes marker;
    uint8_t *hole;
    int32_t p;

    world_new();
    p = lead_for("g", 0);
    put(p, a_commit("g", "t", 0, 1));
    builder_opts_init(&o);
    o.producer_id = 5;
    o.producer_epoch = 0;
    o.control = o.txn = true;
    ok(control_batch_build(&o, CONTROL_COMMIT, 1, wall_ms(), &w.arena, &marker));
    append_raw(p, marker);
    /* a batch of which compaction has taken every record: head only, last_offset_delta stays */
    {
        struct batch_head h;
        struct group_record r = a_commit("g", "t", 0, 2);
        struct builder b;
        struct bytes set;
        struct record rec = { .offset = 0, .timestamp = 1, .key = r.key, .value = r.value };

        builder_opts_init(&o);
        builder_init(&b, &o, &w.arena);
        builder_add(&b, &rec);
        ok(builder_finish(&b, &set));
        builder_fini(&b);
        hole = malloc(BATCH_HEAD_BYTES);
        memcpy(hole, set.p, BATCH_HEAD_BYTES);
        ok(batch_head_read(&h, hole, set.len));
        h.size_bytes = BATCH_HEAD_BYTES;
        h.count = 0;
        h.last_offset_delta = 999;
        h.last_offset = 999;
        batch_head_write(&h, hole);
        append_raw(p, (struct bytes){ hole, BATCH_HEAD_BYTES });
        free(hole);
    }
    reload("g", p);
    ck_assert_int_eq(offset_of("g", "t", 0), 1);
    put(p, a_commit("g", "t", 0, 7));
    reload("g", p);
    ck_assert_int_eq(offset_of("g", "t", 0), 7);
    world_end();
}
END_TEST

/* Every place of a file of several batches is damaged in turn: what is loaded is always right where it is there at all,
 * and the load ends. */
START_TEST(a_damaged_file_is_loaded_around_the_damage)
{
    char path[256];
    int32_t p;
    int fd;
    off_t size;

    world_new("log.index.interval.bytes=100");
    p = lead_for("g", 0);
    for (int i = 0; i < 40; i++)
        put(p, a_commit("g", "t", i, 100 + i));
    snprintf(path, sizeof path, "%s/__consumer_offsets-%d/00000000000000000000.log", w.dir, (int)p);
    fd = open(path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    size = lseek(fd, 0, SEEK_END);
    for (off_t at = 0; at < size; at += 13) {
        uint8_t was, bad;
        size_t found = 0;

        ck_assert_int_eq(pread(fd, &was, 1, at), 1);
        bad = was ^ 0x81;
        ck_assert_int_eq(pwrite(fd, &bad, 1, at), 1);
        reload("g", p);
        for (int i = 0; i < 40 && is_here("g"); i++) {
            int64_t got = offset_of("g", "t", i);

            ck_assert_msg(got == -1 || got == 100 + i, "byte %lld: offset of %d is %lld", (long long)at, i,
                          (long long)got);
            found += got >= 0;
        }
        ck_assert_int_eq(pwrite(fd, &was, 1, at), 1);
        ck_assert_msg(found >= 38, "byte %lld: %zu of 40 are there", (long long)at, found);
    }
    close(fd);
    reload("g", p);
    for (int i = 0; i < 40; i++)
        ck_assert_int_eq(offset_of("g", "t", i), 100 + i);
    world_end();
}
END_TEST

static struct bytes mutated(struct bytes in, unsigned *x)
{
    uint8_t *p = arena_alloc(&w.arena, in.len + 1);
    size_t n = in.len;

    memcpy(p, in.p, n);
    for (unsigned k = 0; k < 1 + *x % 3 && n > 0; k++) {
        *x = *x * 1103515245 + 12345;
        if (*x >> 28 == 0)
            n = (*x >> 8) % n;
        else if (*x >> 28 < 4)
            p[(*x >> 8) % n] = (*x & 64) != 0 ? 0xff : 0x7f;
        else
            p[(*x >> 8) % n] ^= (uint8_t)(1U << (*x >> 25) % 8);
    }
    return (struct bytes){ p, n };
}

/* Sound batches of records with bits turned over: nothing but what they say can happen. */
START_TEST(no_record_does_harm)
{
    struct group_record v[100];
    unsigned x = 20;
    int32_t p;

    world_new();
    p = lead_for("g", 0);
    for (int i = 0; i < 40; i++) {
        for (int k = 0; k < 100; k++) {
            v[k] = k % 2 == 0 ? a_commit("other", "topic", k, i) : a_group("other", i, k % 7);
            if (k % 5 != 0)
                v[k].key = mutated(v[k].key, &x);
            if (k % 3 != 0)
                v[k].value = mutated(v[k].value, &x);
        }
        append(p, i % 4 == 0 ? 77 : -1, v, 100);
        if (i % 8 == 0)
            append_marker(p, 77, i % 16 == 0 ? CONTROL_COMMIT : CONTROL_ABORT);
        put(p, a_commit("g", "t", 0, i));
        if (i % 10 != 9)
            continue;
        reload("g", p);
        ck_assert_int_eq(offset_of("g", "t", 0), i);
    }
    world_end();
}
END_TEST

START_TEST(many_partitions_at_once)
{
    world_new();
    for (int32_t p = 0; p < 50; p++)
        tell(p, SELF, 0, false);
    for (int i = 0; i < 500; i++) {
        char id[16];

        snprintf(id, sizeof id, "g%d", i);
        wait_for(id, KERR_NONE);
        put(groups_partition_of(w.gs, str_of(id)), a_group(id, 1, 2), a_commit(id, "t", 0, i));
    }
    for (int32_t p = 0; p < 50; p++)
        tell(p, OTHER, 1, false);
    for (int32_t p = 0; p < 50; p++)
        tell(p, SELF, 2, false);
    for (int i = 0; i < 500; i++) {
        char id[16];

        snprintf(id, sizeof id, "g%d", i);
        wait_for(id, KERR_NONE);
        ck_assert_int_eq(offset_of(id, "t", 0), i);
    }
    world_end();
}
END_TEST

/* Opened anew, the log has segments of which no file is open, and there are no descriptors. The limit of before. */
static struct rlimit reopened_without_descriptors(int32_t *p)
{
    struct rlimit before, few;

    world_new("log.segment.bytes=300");
    *p = lead_for("g", 0);
    for (int i = 0; i < 10; i++)
        put(*p, a_commit("g", "t", i, 100 + i));
    world_down();
    world_up(0, NULL);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = (struct rlimit){ 0, before.rlim_max };
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    return before;
}

/* Clients may have taken all of them by then: what cannot be read now must not pass for nothing. */
START_TEST(a_log_that_cannot_be_opened_now_is_read_later)
{
    struct rlimit before;
    int64_t until;
    int32_t p;

    before = reopened_without_descriptors(&p);
    tell(p, SELF, 1, false);
    until = mono_ms() + 300;            /* a few tries */
    while (mono_ms() < until) {
        ck_assert_str_eq(kerr_name(groups_check(w.gs, STR_LIT("g"))), "COORDINATOR_LOAD_IN_PROGRESS");
        poll(NULL, 0, 1);
    }
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    wait_for("g", KERR_NONE);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(offset_of("g", "t", i), 100 + i);
    world_end();
}
END_TEST

START_TEST(a_stop_ends_a_load_that_is_tried_again)
{
    struct rlimit before;
    int32_t p;

    before = reopened_without_descriptors(&p);
    tell(p, SELF, 1, false);
    poll(NULL, 0, 20);
    groups_stop(w.gs);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    world_end();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        the_last_record_counts, a_group_that_has_become_too_large_rebalances,
        members_that_do_not_come_back_expire, transactions_wait_for_their_markers, what_cannot_be_read_is_passed_over,
        a_group_that_cannot_be_read_is_what_it_was_before, gaps_and_empty_batches_end,
        a_damaged_file_is_loaded_around_the_damage, no_record_does_harm, many_partitions_at_once,
        a_log_that_cannot_be_opened_now_is_read_later, a_stop_ends_a_load_that_is_tried_again,
    };

    return kit_run("loading of groups", tests, sizeof tests / sizeof tests[0]);
}
