/* tests/unit/broker/group/test_coordinator.c - sessions, writes that wait, partitions that come and go, and the end. */
#include "tests/unit/broker/group/coord_kit.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

/* ---- a write that records what became of it ---- */

struct noted {
    struct group_write w;
    atomic_int         done;
    int16_t            kerr;
    int64_t            base;
};

static void note(struct group_write *gw, struct group *g, int16_t kerr, int64_t base)
{
    struct noted *n = (struct noted *)gw;

    lock_assert(&g->lock);
    n->kerr = kerr;
    n->base = base;
    atomic_store(&n->done, 1);
}

static void wait_noted(struct noted *n)
{
    int64_t until = mono_ms() + WAIT_MS;

    while (!atomic_load(&n->done) && mono_ms() < until)
        poll(NULL, 0, 1);
    ck_assert_int_eq(atomic_load(&n->done), 1);
}

static int16_t commit_with(const char *group, int64_t offset, int16_t acks, struct noted *n)
{
    struct group_record r = a_commit(group, "t", 0, offset);
    struct group_session s;
    int16_t kerr = groups_enter(w.gs, str_of(group), GROUPS_OR_NEW, &s);

    if (kerr != KERR_NONE)
        return kerr;
    n->w.done = note;
    kerr = groups_write(&s, &r, 1, acks, &n->w);
    groups_leave(&s);
    return kerr;
}

struct note_join {
    struct join_waiter w;               /* first */
    int16_t            kerr;
};

static void note_join(struct join_waiter *jw, const struct join_result *res)
{
    ((struct note_join *)jw)->kerr = res->error;
}

/* ---- tests ---- */

START_TEST(partitions_are_chosen_as_java_does)
{
    static const struct {
        const char *id;
        int32_t     partition;
    } cases[] = {
        { "", 0 }, { "g", 3 }, { "my-group", 12 }, { "gr\xc3\xbc\xc3\x9f" "e", 23 },
        { "\xe6\xb6\x88\xe8\xb4\xb9\xe8\x80\x85", 6 }, { "a\xf0\x9f\x98\x80" "b", 44 }, { "polygenelubricants", 0 },
        { "console-consumer-12345", 6 }, { "\xff\xfex", 6 }, { "\xc0\xb8x", 6 },
    };

    world_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_msg(groups_partition_of(w.gs, str_of(cases[i].id)) == cases[i].partition, "%s", cases[i].id);
    world_end();
}
END_TEST

START_TEST(only_who_leads_coordinates)
{
    struct group_session s;
    int32_t p;

    world_new();
    ck_assert_int_eq(groups_check(w.gs, STR_LIT("g")), KERR_NOT_COORDINATOR);
    ck_assert_int_eq(groups_enter(w.gs, STR_LIT("g"), GROUPS_OR_NEW, &s), KERR_NOT_COORDINATOR);
    ck_assert_ptr_null(s.g);
    groups_leave(&s);
    p = lead_for("g", 0);
    ck_assert_int_eq(groups_enter(w.gs, STR_LIT("g"), GROUPS_EXISTING, &s), KERR_NONE);
    ck_assert_ptr_null(s.g);
    groups_leave(&s);
    ck_assert_int_eq(groups_enter(w.gs, STR_LIT("g"), GROUPS_OR_NEW, &s), KERR_NONE);
    ck_assert(str_is(s.g->id, "g"));
    ok(group_offsets_put(s.g->offsets, STR_LIT("t"), 0, &(struct committed){ .offset = 1, .metadata = STR_LIT("") }));
    groups_leave(&s);
    ck_assert(is_here("g"));
    tell(p, SELF, 1, false);            /* again: the groups stay */
    ck_assert(is_here("g"));
    tell(p, OTHER, 2, false);
    ck_assert_int_eq(groups_enter(w.gs, STR_LIT("g"), GROUPS_OR_NEW, &s), KERR_NOT_COORDINATOR);
    lead_for("g", 3);
    ck_assert(!is_here("g"));           /* it had nothing in the log */
    world_end();
}
END_TEST

static int16_t join_as(struct group_session *s, int32_t protocols_n, bool needs_member_id)
{
    static struct note_join waiting, *n = &waiting;   /* may be answered later, in the session */
    struct group_protocol p = { STR_LIT("range"), { NULL, 0 } };
    struct join_args in = { .member_id = STR_LIT(""), .client_id = STR_LIT("c"), .client_host = STR_LIT("/127.0.0.1"),
                            .protocol_type = STR_LIT("consumer"), .protocols = &p, .protocols_n = protocols_n,
                            .session_timeout_ms = 600000, .rebalance_timeout_ms = 600000,
                            .needs_member_id = needs_member_id };

    *n = (struct note_join){ .w.done = note_join };
    ck_assert_int_eq(groups_enter(w.gs, STR_LIT("g"), GROUPS_OR_NEW, s), KERR_NONE);
    group_join(s->g, &in, &n->w, mono_ms());
    return n->kerr;
}

/* What is refused leaves no group behind, or who makes up names could fill the memory with them. */
START_TEST(a_group_that_got_nothing_is_not_kept)
{
    struct group_session s;

    world_new();
    lead_for("g", 0);
    ck_assert_int_eq(groups_enter(w.gs, STR_LIT("g"), GROUPS_OR_NEW, &s), KERR_NONE);
    groups_leave(&s);
    ck_assert(!is_here("g"));
    ck_assert_str_eq(kerr_name(join_as(&s, 0, true)), "INCONSISTENT_GROUP_PROTOCOL");
    groups_leave(&s);
    ck_assert(!is_here("g"));
    ck_assert_str_eq(kerr_name(join_as(&s, 1, true)), "MEMBER_ID_REQUIRED");
    groups_leave(&s);
    ck_assert(is_here("g"));
    ck_assert_int_eq(groups_enter(w.gs, STR_LIT("g"), GROUPS_EXISTING, &s), KERR_NONE);
    group_tick(s.g, mono_ms() + 700000);  /* nobody came with the id */
    groups_leave(&s);
    ck_assert(!is_here("g"));
    world_end();
}
END_TEST

START_TEST(lines_that_clients_provoke_are_limited)
{
    int64_t began = mono_ms();
    char path[128];
    int fd, lines = 0;
    FILE *f;
    int c;

    world_new();
    lead_for("g", 0);
    snprintf(path, sizeof path, "%s/lines", w.dir);
    fd = open(path, O_CREAT | O_RDWR, 0600);
    ck_assert_int_ge(fd, 0);
    log_to_fd(fd);
    atomic_store(&log_threshold, LOG_INFO);
    for (int i = 0; i < 3000; i++) {    /* as a client that joins and leaves without end */
        const struct group_member *pos = NULL;
        struct group_member_view m;
        struct group_session s;

        (void)join_as(&s, 1, false);
        for (int k = 0; k < 3 && s.g->state == GROUP_PREPARING_REBALANCE; k++)
            group_tick(s.g, mono_ms() + 10);
        ck_assert(group_next_member(s.g, &pos, &m));
        ck_assert_int_eq(group_leave(s.g, m.member_id, m.instance_id, m.instance_id, mono_ms()), KERR_NONE);
        groups_leave(&s);
    }
    atomic_store(&log_threshold, LOG_FATAL);
    log_to_fd(STDOUT_FILENO);
    f = fdopen(fd, "r");
    rewind(f);
    while ((c = getc(f)) != EOF)
        lines += c == '\n';
    fclose(f);
    ck_assert_int_gt(lines, 0);
    /* Not three for each time, but 500 of a kind in ten seconds. */
    ck_assert_int_le(lines, (mono_ms() - began) / 10000 * 1500 + 3000);
    world_end();
}
END_TEST

START_TEST(a_topic_that_is_made_again_is_led_again)
{
    struct noted n = { .done = 0 };
    int32_t p;

    world_new();
    p = lead_for("g", 7);
    ck_assert_int_eq(commit_with("g", 5, -1, &n), KERR_NONE);
    ck_assert_int_eq(atomic_load(&n.done), 1);
    delete_partition(p);
    wait_for("g", KERR_NOT_COORDINATOR);
    w.topic_id = uuid_random();
    lead_for("g", 0);
    ck_assert(!is_here("g"));
    world_end();
}
END_TEST

/* Keeps all threads of the scheduler. */
struct blocked {
    atomic_int in, go;
};

static void block(void *arg)
{
    struct blocked *b = arg;

    atomic_fetch_add(&b->in, 1);
    while (!atomic_load(&b->go))
        poll(NULL, 0, 1);
}

START_TEST(while_it_loads_clients_are_told_to_wait)
{
    struct blocked b = { 0, 0 };
    struct group_session s;
    bool loading = false;
    int32_t p;

    world_new();
    p = lead_for("g", 0);               /* at once: there is nothing to load */
    append(p, -1, (struct group_record[]){ a_commit("g", "t", 0, 9) }, 1);
    for (int i = 0; i < 4; i++)
        ok(scheduler_add(w.sched, "block", 0, 0, block, &b, NULL));
    while (atomic_load(&b.in) < 4)
        poll(NULL, 0, 1);
    tell(p, OTHER, 1, false);
    tell(p, SELF, 2, false);
    ck_assert_int_eq(groups_enter(w.gs, STR_LIT("g"), GROUPS_OR_NEW, &s), KERR_COORDINATOR_LOAD_IN_PROGRESS);
    groups_each(w.gs, NULL, NULL, &loading);
    ck_assert(loading);
    tell(p, OTHER, 3, false);           /* gone and back, while the first load has not begun */
    ck_assert_int_eq(groups_check(w.gs, STR_LIT("g")), KERR_NOT_COORDINATOR);
    tell(p, SELF, 4, false);
    ck_assert_int_eq(groups_check(w.gs, STR_LIT("g")), KERR_COORDINATOR_LOAD_IN_PROGRESS);
    atomic_store(&b.go, 1);
    wait_for("g", KERR_NONE);
    ck_assert_int_eq(offset_of("g", "t", 0), 9);
    world_end();
}
END_TEST

START_TEST(an_append_that_is_committed_is_done_at_once)
{
    struct noted n = { .done = 0 };

    world_new();
    lead_for("g", 0);
    ck_assert_int_eq(commit_with("g", 1, -1, &n), KERR_NONE);
    ck_assert_int_eq(atomic_load(&n.done), 1);
    ck_assert_int_eq(n.kerr, KERR_NONE);
    ck_assert_int_eq(n.base, 0);
    n.done = 0;
    ck_assert_int_eq(commit_with("g", 2, 1, &n), KERR_NONE);
    ck_assert_int_eq(n.base, 1);
    ck_assert_int_eq(commit_with("g", 2, 0, &n), KERR_NONE);
    ck_assert_int_eq(n.base, 2);
    ck_assert_int_eq(commit_with("g", 2, 3, &n), KERR_INVALID_REQUIRED_ACKS);
    world_end();
}
END_TEST

START_TEST(an_append_that_others_must_have_waits)
{
    struct noted n = { .done = 0 }, t = { .done = 0 }, l = { .done = 0 };
    int32_t p;

    world_new("offsets.commit.timeout.ms=3600000");
    p = lead_for("g", 0);
    tell(p, SELF, 1, true);
    ck_assert_int_eq(commit_with("g", 1, -1, &n), KERR_NONE);
    ck_assert_int_eq(atomic_load(&n.done), 0);
    tell(p, SELF, 2, false);            /* the other one has left the ISR: it is committed */
    wait_noted(&n);
    ck_assert_str_eq(kerr_name(n.kerr), "NONE");
    ck_assert_int_eq(n.base, 0);
    tell(p, SELF, 3, true);
    ck_assert_int_eq(commit_with("g", 1, -1, &l), KERR_NONE);
    tell(p, OTHER, 4, true);
    wait_noted(&l);
    ck_assert_str_eq(kerr_name(l.kerr), "NOT_LEADER_OR_FOLLOWER");
    world_end();
    world_new("offsets.commit.timeout.ms=300");
    tell(lead_for("g", 0), SELF, 1, true);
    ck_assert_int_eq(commit_with("g", 1, -1, &t), KERR_NONE);
    wait_noted(&t);
    ck_assert_str_eq(kerr_name(t.kerr), "REQUEST_TIMED_OUT");
    world_end();
}
END_TEST

START_TEST(the_end_answers_who_waits)
{
    struct noted n = { .done = 0 };
    int32_t p;

    world_new("offsets.commit.timeout.ms=3600000");
    p = lead_for("g", 0);
    tell(p, SELF, 1, true);
    ck_assert_int_eq(commit_with("g", 1, -1, &n), KERR_NONE);
    replicas_stop(w.rs);
    groups_stop(w.gs);
    ck_assert_int_eq(atomic_load(&n.done), 1);
    ck_assert_str_eq(kerr_name(n.kerr), "NOT_LEADER_OR_FOLLOWER");
    ck_assert_int_eq(groups_check(w.gs, STR_LIT("g")), KERR_COORDINATOR_NOT_AVAILABLE);
    world_end();
}
END_TEST

/* Where clients' records are refused, those who read go on: they join, and commit how far they have come. */
START_TEST(a_full_disk_takes_what_groups_write)
{
    struct noted n = { .done = 0 };
    struct plog_appended out;
    struct plog_append in;
    struct group_record r;
    struct partition *log;
    struct plog *l;
    struct bytes set;
    struct builder_opts o;
    struct builder b;
    int32_t p;

    world_min_free = INT64_MAX / 4;
    world_new();
    world_min_free = -1;
    p = lead_for("g", 0);
    log = replicas_find(w.rs, groups_topic, p, NULL);
    r = a_commit("g", "t", 0, 1);
    builder_opts_init(&o);
    builder_init(&b, &o, &w.arena);
    builder_add(&b, &(struct record){ .timestamp = wall_ms(), .key = r.key, .value = r.value });
    ok(builder_finish(&b, &set));
    in = (struct plog_append){ .p = (uint8_t *)(uintptr_t)set.p, .len = set.len };
    ck_assert_str_eq(kerr_name(partition_append(log, &in, 1, &out)), "KAFKA_STORAGE_ERROR");
    ck_assert_str_eq(kerr_name(commit_with("g", 5, -1, &n)), "NONE");
    ck_assert_int_eq(atomic_load(&n.done), 1);
    ck_assert_str_eq(kerr_name(n.kerr), "NONE");
    tell(p, OTHER, 1, true);            /* and so does a follower, which would leave the ISR else */
    l = partition_log(log);
    batch_set_base_offset(in.p, plog_offsets(l).leo);
    ok(plog_append_follower(l, (struct bytes){ in.p, in.len }, &out));
    plog_unref(&l);
    builder_fini(&b);
    partition_unref(&log);
    world_end();
}
END_TEST

START_TEST(too_large_a_batch_is_refused)
{
    struct committed c = { .metadata = { calloc(1, 30001), 30000 }, .expire_ms = -1 };
    struct group_record v[40];
    struct group_session s;

    world_new();
    lead_for("g", 0);
    for (int i = 0; i < 40; i++)
        ok(offset_record(groups_versions(w.gs), &w.arena, STR_LIT("g"), STR_LIT("t"), i, &c, &v[i]));
    ck_assert_int_eq(groups_enter(w.gs, STR_LIT("g"), GROUPS_OR_NEW, &s), KERR_NONE);
    ck_assert_str_eq(kerr_name(groups_write(&s, v, 40, -1, NULL)), "MESSAGE_TOO_LARGE");
    ck_assert_str_eq(kerr_name(groups_write(&s, v, 20, -1, NULL)), "NONE");
    groups_leave(&s);
    free((void *)(uintptr_t)c.metadata.p);
    world_end();
}
END_TEST

static bool count_group(void *arg, struct group_session *s)
{
    size_t *n = arg;

    lock_assert(&s->g->lock);
    (*n)++;
    return true;
}

static bool remove_group(void *arg, struct group_session *s)
{
    (void)arg;
    groups_remove(s);
    return true;
}

/* Whatever the batches are made of, they are taken up again. */
START_TEST(every_codec_and_format_comes_back)
{
    static const char *const formats[][2] = {
        { "inter.broker.protocol.version=3.9", "log.message.format.version=3.0" },
        { "inter.broker.protocol.version=0.10.2", "log.message.format.version=0.10.0" },
        { "inter.broker.protocol.version=0.10.2", "log.message.format.version=0.9.0" },
    };

    for (size_t f = 0; f < 3; f++)
        for (int codec = 0; codec <= 4; codec++) {
            struct noted n = { .done = 0 };
            char over[64];
            int32_t p;

            snprintf(over, sizeof over, "offsets.topic.compression.codec=%d", codec);
            world_new(over, formats[f][0], formats[f][1]);
            p = lead_for("g", 0);
            for (int i = 1; i <= 5; i++)
                ck_assert_str_eq(kerr_name(commit_with("g", i, -1, &n)), "NONE");
            tell(p, OTHER, 1, false);
            lead_for("g", 2);
            ck_assert_int_eq(offset_of("g", "t", 0), 5);
            world_end();
        }
}
END_TEST

START_TEST(a_directory_that_fails_takes_its_groups_along)
{
    struct noted n = { .done = 0 };

    world_new("offsets.commit.timeout.ms=60000");
    tell(lead_for("g", 0), SELF, 1, true);
    ck_assert_int_eq(commit_with("g", 1, -1, &n), KERR_NONE);
    replicas_dir_failed(w.rs, 0);
    wait_noted(&n);
    ck_assert_str_eq(kerr_name(n.kerr), "NOT_LEADER_OR_FOLLOWER");
    ck_assert_int_eq(groups_check(w.gs, STR_LIT("g")), KERR_NOT_COORDINATOR);
    world_end();
}
END_TEST

START_TEST(what_is_removed_stays_away)
{
    struct noted n = { .done = 0 };
    size_t groups = 0;
    int32_t p;

    world_new();
    p = lead_for("g", 0);
    append(p, -1, (struct group_record[]){ a_group("g", 4, 0), a_commit("g", "t", 0, 9) }, 2);
    tell(p, OTHER, 1, false);
    lead_for("g", 2);
    ck_assert_int_eq(offset_of("g", "t", 0), 9);
    groups_each(w.gs, count_group, &groups, NULL);
    ck_assert_uint_eq(groups, 1);
    groups_each(w.gs, remove_group, NULL, NULL);
    ck_assert(!is_here("g"));
    tell(p, OTHER, 3, false);
    lead_for("g", 4);
    ck_assert(!is_here("g"));
    ck_assert_int_eq(commit_with("g", 1, 1, &n), KERR_NONE);
    ck_assert_int_eq(n.base, 4);        /* two records, two tombstones */
    world_end();
}
END_TEST

/* ---- all at once ---- */

struct readers {
    atomic_bool stop;
    atomic_int  seen, missed;
};

static void *reader_main(void *arg)
{
    struct readers *r = arg;

    while (!atomic_load(&r->stop)) {
        struct group_session s;

        if (groups_enter(w.gs, STR_LIT("g"), GROUPS_EXISTING, &s) != KERR_NONE)
            continue;
        atomic_fetch_add(s.g != NULL ? &r->seen : &r->missed, 1);
        groups_leave(&s);
    }
    return NULL;
}

/* Who is told that there is no such group takes its offsets for lost. */
START_TEST(a_group_goes_with_its_partition_and_never_before)
{
    for (int32_t round = 0; round < 20; round++) {
        struct readers r = { .stop = false };
        pthread_t t[3];
        int32_t p;

        world_new();
        p = lead_for("g", 0);
        append(p, -1, (struct group_record[]){ a_commit("g", "t", 0, 9) }, 1);
        tell(p, OTHER, 1, false);
        lead_for("g", 2);
        for (int i = 0; i < 3; i++)
            ck_assert_int_eq(pthread_create(&t[i], NULL, reader_main, &r), 0);
        while (atomic_load(&r.seen) == 0)           /* they are at it */
            sched_yield();
        for (int32_t e = 3; e < 43; e++) {
            tell(p, e % 2 == 1 ? OTHER : SELF, e, false);
            if (e % 2 == 0)
                wait_for("g", KERR_NONE);
            arena_reset(&w.arena);
        }
        groups_stop(w.gs);
        atomic_store(&r.stop, true);
        for (int i = 0; i < 3; i++)
            pthread_join(t[i], NULL);
        ck_assert_int_eq(atomic_load(&r.missed), 0);
        world_end();
    }
}
END_TEST

struct storm {
    atomic_bool stop;
    atomic_int  commits;
};

static void *storm_main(void *arg)
{
    struct storm *st = arg;
    unsigned x = (unsigned)(uintptr_t)&x >> 8;

    while (!atomic_load(&st->stop)) {
        struct group_session s;
        char id[16];

        x = x * 1103515245 + 12345;
        snprintf(id, sizeof id, "g%u", (x >> 8) % 200);
        if (groups_enter(w.gs, str_of(id), GROUPS_OR_NEW, &s) != KERR_NONE)
            continue;
        if (x % 50 == 0) {
            groups_remove(&s);
        } else {
            static const uint8_t key[] = { 0, 1, 0, 1, 'g', 0, 1, 't', 0, 0, 0, 1 };
            struct group_record r = { { key, sizeof key }, { NULL, 0 } };

            if (groups_write(&s, &r, 1, -1, NULL) == KERR_NONE)
                atomic_fetch_add(&st->commits, 1);
            ok(group_offsets_put(s.g->offsets, STR_LIT("t"), 1,
                                 &(struct committed){ .offset = 1, .metadata = STR_LIT("") }));
        }
        groups_leave(&s);
    }
    return NULL;
}

START_TEST(groups_partitions_and_loads_in_a_storm)
{
    struct storm st = { .stop = false };
    pthread_t t[3];
    int64_t until;

    world_new("offsets.topic.num.partitions=4");
    for (int32_t p = 0; p < 4; p++)
        tell(p, SELF, 0, false);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, storm_main, &st), 0);
    until = mono_ms() + 1500;
    for (int32_t e = 1; mono_ms() < until || atomic_load(&st.commits) == 0; e++) {
        size_t groups = 0;

        tell(e % 4, e / 4 % 2 == 0 ? OTHER : SELF, e, false);
        arena_reset(&w.arena);
        groups_each(w.gs, count_group, &groups, NULL);
        arena_reset(&w.arena);
    }
    groups_stop(w.gs);
    atomic_store(&st.stop, true);
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    world_end();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        partitions_are_chosen_as_java_does, only_who_leads_coordinates, a_group_that_got_nothing_is_not_kept,
        lines_that_clients_provoke_are_limited,
        a_topic_that_is_made_again_is_led_again,
        while_it_loads_clients_are_told_to_wait, an_append_that_is_committed_is_done_at_once,
        an_append_that_others_must_have_waits, the_end_answers_who_waits, a_full_disk_takes_what_groups_write,
        too_large_a_batch_is_refused,
        every_codec_and_format_comes_back, a_directory_that_fails_takes_its_groups_along,
        what_is_removed_stays_away, a_group_goes_with_its_partition_and_never_before,
        groups_partitions_and_loads_in_a_storm,
    };

    return kit_run("group coordinator", tests, sizeof tests / sizeof tests[0]);
}
