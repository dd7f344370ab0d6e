/* tests/unit/broker/group/test_group_size.c - groups that are full, that are big, and members that bring much; which
 * protocol is chosen; what a member costs; what the history keeps.
 */
#include "tests/unit/broker/group/kit.h"

#include <malloc.h>
#include <time.h>

static struct client a, b, c, d;

static void setup(void)
{
    begin();
    client(&a, "a");
    client(&b, "b");
    client(&c, "c");
    client(&d, "d");
}

static void teardown(void)
{
    arena_fini(&record_arena);
    end();
}

/* ---- group.max.size -------------------- */

START_TEST(a_full_group_takes_nobody)
{
    limits.max_size = 2;
    settle((struct client *[]){ &a, &b }, 2);
    join_fails(&c, KERR_GROUP_MAX_SIZE_REACHED);
    ck_assert_str_eq(c.fail_id, "");
    ck_assert_int_eq(g.state, GROUP_STABLE);
    c.in.instance_id = STR_LIT("i");
    join_fails(&c, KERR_GROUP_MAX_SIZE_REACHED);
    a.protocols[0].metadata.len = 1;
    ck_assert(!join(&a));               /* a member keeps its place */
    ck_assert(!join(&c));               /* b is not back yet: c takes its place */
    join_fails(&b, KERR_GROUP_MAX_SIZE_REACHED);
    ck_assert_int_eq(c.join_error, KERR_NONE);
    ck_assert_int_eq(g.state, GROUP_COMPLETING_REBALANCE);
    join_fails(&d, KERR_GROUP_MAX_SIZE_REACHED);
    ck_assert(join(&a));
    ck_assert_int_eq(a.join_error, KERR_NONE);
}
END_TEST

START_TEST(who_waits_keeps_its_place)
{
    limits.max_size = 2;
    ck_assert(!join(&a));
    ck_assert(!join(&b));
    join_fails(&c, KERR_GROUP_MAX_SIZE_REACHED);
    struct client again = a;
    snprintf(again.id, sizeof again.id, "%s", g.members->id.p);
    again.in.protocols = again.protocols;
    ck_assert(!join(&again));
    pass(6000);
    ck_assert_int_eq(again.join_error, KERR_NONE);
    ck_assert_uint_eq(g.members_n, 2);
}
END_TEST

/* Promised ids take no place, and one that comes too late is forgotten. */
START_TEST(a_promised_id_finds_the_group_full)
{
    limits.max_size = 1;
    a.in.needs_member_id = b.in.needs_member_id = true;
    join_fails(&a, KERR_MEMBER_ID_REQUIRED);
    join_fails(&b, KERR_MEMBER_ID_REQUIRED);
    ck_assert(!join(&a));
    join_fails(&b, KERR_GROUP_MAX_SIZE_REACHED);
    ck_assert_ptr_null(g.rebalance->pending);
    join_fails(&b, KERR_GROUP_MAX_SIZE_REACHED);
}
END_TEST

START_TEST(a_smaller_limit_shrinks_the_group)
{
    struct client *all[] = { &a, &b, &c, &d };

    settle(all, 4);
    limits.max_size = 2;
    ck_assert_int_eq(leave(&d), KERR_NONE);
    ck_assert(!join(&c));
    ck_assert(!join(&b));
    join_fails(&a, KERR_GROUP_MAX_SIZE_REACHED);
    ck_assert_int_eq(g.state, GROUP_COMPLETING_REBALANCE);
    ck_assert_uint_eq(g.members_n, 2);
    ck_assert_int_eq(heartbeat(&a), KERR_UNKNOWN_MEMBER_ID);
}
END_TEST

/* ---- protocols -------------------- */

static void list(struct client *cl, const char *const *names, int n)
{
    cl->in.protocols_n = n;
    for (int i = 0; i < n; i++)
        cl->protocols[i] = (struct group_protocol){ str_of(names[i]), { (const uint8_t *)names[i], 1 } };
}

START_TEST(the_most_wanted_of_the_common_ones_is_chosen)
{
    list(&a, (const char *[]){ "x", "range", "sticky" }, 3);
    list(&b, (const char *[]){ "sticky", "range" }, 2);
    list(&c, (const char *[]){ "sticky", "y", "range" }, 3);
    settle((struct client *[]){ &a, &b, &c }, 3);
    ck_assert_str_eq(a.protocol, "sticky");
    ck_assert_int_eq(leave(&c), KERR_NONE);
    ck_assert(!join(&a));
    ck_assert(join(&b));
    ck_assert_str_eq(a.protocol, "range");      /* one vote each: the first member's */
}
END_TEST

START_TEST(the_common_ones_change_with_the_members)
{
    list(&a, (const char *[]){ "x", "range" }, 2);
    list(&b, (const char *[]){ "range" }, 1);
    list(&c, (const char *[]){ "x" }, 1);
    ck_assert(!join(&a));
    ck_assert(!join(&b));
    join_fails(&c, KERR_INCONSISTENT_GROUP_PROTOCOL);
    pass(6000);
    ck_assert_str_eq(a.protocol, "range");
    ck_assert_int_eq(leave(&b), KERR_NONE);
    ck_assert(!join(&c));
    ck_assert(join(&a));
    ck_assert_str_eq(a.protocol, "x");
}
END_TEST

/* A name given twice counts once, and the first metadata count. */
START_TEST(a_protocol_named_twice)
{
    a.in.protocols_n = 3;
    a.protocols[1] = (struct group_protocol){ STR_LIT("range"), { (const uint8_t *)"two", 3 } };
    a.protocols[2] = (struct group_protocol){ STR_LIT("other"), { (const uint8_t *)"", 0 } };
    settle((struct client *[]){ &a, &b }, 2);
    ck_assert_str_eq(a.protocol, "range");
    ck_assert_uint_eq(record.members[0].subscription.len, 4);
    ck_assert_int_eq(leave(&a), KERR_NONE);
    ck_assert(join(&b));
    ck_assert_int_eq(b.join_error, KERR_NONE);
}
END_TEST

START_TEST(empty_names)
{
    a.in.client_id = a.in.client_host = STR_LIT("");
    a.protocols[0].name = STR_LIT("");
    a.protocols[0].metadata.len = 0;
    settle((struct client *[]){ &a }, 1);
    ck_assert_uint_eq(strlen(a.id), 37);
    ck_assert_int_eq(a.id[0], '-');
    b.in.instance_id = STR_LIT("");     /* the protocol's own checks refuse it before; here it is a name as others */
    b.protocols[0].name = STR_LIT("");
    ck_assert(!join(&b));
    ck_assert_int_eq(group_leave(&g, STR_LIT(""), STR_LIT(""), NULL_STR, now), KERR_NONE);
    ck_assert_int_eq(b.join_error, KERR_UNKNOWN_MEMBER_ID);
}
END_TEST

START_TEST(ids_that_would_be_too_long)
{
    char *name = malloc(32768);

    memset(name, 'n', 32768);
    a.in.client_id = (struct str){ name, 32767 - 36 };
    join_fails(&a, KERR_UNKNOWN_SERVER_ERROR);
    ck_assert_int_eq(g.state, GROUP_EMPTY);
    a.in.instance_id = STR_LIT("i");
    ck_assert(!join(&a));
    b.in.instance_id = (struct str){ name, 32767 };
    join_fails(&b, KERR_UNKNOWN_SERVER_ERROR);
    b.in.instance_id = (struct str){ name, 32767 - 37 };
    ck_assert(!join(&b));
    free(name);
}
END_TEST

START_TEST(ten_thousand_protocols_and_a_megabyte)
{
    enum { N = 10000 };
    struct group_protocol *v = calloc(N, sizeof *v);
    char (*names)[16] = calloc(N, sizeof *names);
    uint8_t *big = calloc(1, 1 << 20);

    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "p%d", i);
        v[i].name = str_of(names[i]);
    }
    v[0].metadata = (struct bytes){ big, 1 << 20 };
    a.in.protocols = b.in.protocols = c.in.protocols = v;
    a.in.protocols_n = b.in.protocols_n = N;
    ck_assert(!join(&a));
    ck_assert(!join(&b));
    c.in.protocols = &v[N - 1];         /* the last is what all have */
    c.in.protocols_n = 1;
    ck_assert(!join(&c));
    while (g.state == GROUP_PREPARING_REBALANCE)
        pass(group_due(&g) - now);
    ck_assert_str_eq(a.protocol, "p9999");
    for (int i = 0; i < 20; i++)        /* the same again */
        ck_assert(join(&a));
    ck_assert_int_eq(leave(&c), KERR_NONE);
    ck_assert(!join(&a));
    ck_assert(join(&b));
    ck_assert_str_eq(a.protocol, "p0");
    ck_assert_int_eq(leave(&b), KERR_NONE);
    ck_assert_int_eq(leave(&a), KERR_NONE);
    ck_assert_ptr_null(g.rebalance->votes);
    free(big);
    free(names);
    free(v);
}
END_TEST

/* ---- big groups -------------------- */

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
enum { BIG = 2000 };
#define COUNTS 0                        /* their allocators do not count */
#else
enum { BIG = 10000 };
#define COUNTS 1
#endif

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void quick_join(struct client *cl)
{
    cl->in.member_id = str_of(cl->id);
    group_join(&g, &cl->in, &cl->jw, now);
}

static void quick_sync(struct client *cl, const struct sync_assignment *v, int n)
{
    struct sync_args in = { .member_id = str_of(cl->id), .generation = cl->generation, .assignments = v,
                            .assignments_n = n };

    group_sync(&g, &in, &cl->sw, now);
}

/* One whole life of a group of n members: joins, rebalance, sync, heartbeats, a rebalance more, all leave. */
static double life(int n)
{
    struct client *v = calloc((size_t)n, sizeof *v);
    struct sync_assignment *to = calloc((size_t)n, sizeof *to);
    double start = seconds();

    kit_slack_ms = n / 100;
    for (int i = 0; i < n; i++) {
        client(&v[i], "consumer-1");
        v[i].in.session_timeout_ms = 45000;
        v[i].in.rebalance_timeout_ms = 300000;
        quick_join(&v[i]);
    }
    while (g.state == GROUP_PREPARING_REBALANCE)
        pass(group_due(&g) - now);
    for (int round = 0; round < 2; round++) {
        struct client *leader = NULL;

        for (int i = 0; i < n; i++) {
            ck_assert_int_eq(v[i].join_error, KERR_NONE);
            to[i] = (struct sync_assignment){ str_of(v[i].id), { (const uint8_t *)"assignment", 10 } };
            if (v[i].leads)
                leader = &v[i];
            else
                quick_sync(&v[i], NULL, 0);
        }
        quick_sync(leader, to, n);
        leave_session();
        ck_assert_int_eq(g.state, GROUP_STABLE);
        for (int beat = 0; beat < 30; beat++) {         /* every 3 s, spread over them */
            for (int i = 0; i < n; i++) {
                ck_assert_int_eq(group_heartbeat(&g, str_of(v[i].id), NULL_STR, v[i].generation, now), KERR_NONE);
                if (i % (n / 10) == 0)
                    pass(300);
            }
        }
        if (round == 1)
            break;
        quick_join(leader);
        for (int i = 0; i < n; i++)
            if (&v[i] != leader)
                quick_join(&v[i]);
    }
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(group_leave(&g, str_of(v[i].id), NULL_STR, NULL_STR, now), KERR_NONE);
    leave_session();
    ck_assert_int_eq(g.state, GROUP_EMPTY);
    free(v);
    free(to);
    return seconds() - start;
}

/* Ten times the members cost ten times as much, or somewhat more (caches); a hundred would be quadratic. */
START_TEST(a_big_group_is_not_quadratic)
{
    double small = 0, big = 1e9;

    for (int i = 0; i < 3; i++)
        small += life(BIG / 10);
    for (int i = 0; i < 3 && big >= small / 3 * 45 + 0.5; i++)  /* a machine that stands still spoils a try */
        big = life(BIG);
    fprintf(stderr, "  a life of %d members: %.3f s; of %d: %.3f s\n", BIG / 10, small / 3, BIG, big);
    ck_assert_msg(big < small / 3 * 45 + 0.5, "%d members: %.3f s; %d members: %.3f s", BIG / 10, small / 3, BIG, big);
}
END_TEST

/* A client that never comes back with the id it got. */
START_TEST(promised_ids_are_bounded)
{
    char first[ID_SIZE];
    double start = seconds();

    a.in.needs_member_id = true;
    for (int i = 0; i < PENDING_IDS_MAX * 2; i++) {
        a.id[0] = '\0';
        quick_join(&a);
        if (i == 0)
            memcpy(first, a.id, sizeof first);
    }
    ck_assert_int_eq((int)HASH_COUNT(g.rebalance->pending), PENDING_IDS_MAX);
    b.in.needs_member_id = true;
    memcpy(b.id, first, sizeof b.id);
    join_fails(&b, KERR_UNKNOWN_MEMBER_ID);
    ck_assert(!join(&a));
    kit_slack_ms = PENDING_IDS_MAX / 100;
    pass(20000);
    ck_assert_ptr_null(g.rebalance->pending);
    ck_assert_msg(seconds() - start < 20, "%.3f s", seconds() - start);
}
END_TEST

/* All die within 3 s, each at a millisecond of its own. */
START_TEST(a_big_group_dies)
{
    struct client *v = calloc(BIG, sizeof *v);
    double start = seconds();

    kit_slack_ms = BIG / 100;
    for (int i = 0; i < BIG; i++) {
        client(&v[i], "m");
        quick_join(&v[i]);
    }
    while (g.state == GROUP_PREPARING_REBALANCE)
        pass(group_due(&g) - now);
    for (int i = 0; i < BIG; i++) {
        now += i % 3 == 0;
        ck_assert_int_eq(group_heartbeat(&g, str_of(v[i].id), NULL_STR, v[i].generation, now), KERR_NONE);
    }
    int64_t last = now;
    pass(10000);
    ck_assert_uint_lt(g.members_n, 400);
    pass(100);
    ck_assert_int_eq(g.state, GROUP_EMPTY);
    ck_assert_int_le(now, last + 10100);
    ck_assert_msg(seconds() - start < 10, "%.3f s", seconds() - start);
    free(v);
}
END_TEST

#if COUNTS
static size_t heap(void)
{
    return mallinfo2().uordblks + mallinfo2().hblkhd;
}

/* With a subscription to 100 topics and an assignment of 1,000 bytes, and what the history keeps of it. */
START_TEST(a_member_costs_less_than_4_kb)
{
    static uint8_t subscription[1500], assignment[1000];
    struct client *v = calloc(BIG, sizeof *v);
    size_t before = heap(), each;
    struct sync_assignment *to = calloc(BIG, sizeof *to);

    for (int i = 0; i < BIG; i++) {
        client(&v[i], "consumer-my-application-17");
        v[i].protocols[0].metadata = (struct bytes){ subscription, sizeof subscription };
        quick_join(&v[i]);
        to[i].assignment = (struct bytes){ assignment, sizeof assignment };
    }
    while (g.state == GROUP_PREPARING_REBALANCE)
        pass(group_due(&g) - now);
    for (int i = 0; i < BIG; i++)
        to[i].member_id = str_of(v[i].id);
    for (int i = 0; i < BIG; i++)
        if (v[i].leads) {
            quick_sync(&v[i], to, 0);
            g.rebalance->sync_taken = false;
        }
    for (struct group_member *m = g.members; m != NULL; m = m->hh.next)
        ok(member_copy_next(m, to[0].assignment));
    free(to);
    each = (heap() - before) / BIG;
    fprintf(stderr, "  a member takes %zu bytes, %zu of them its metadata and assignment\n", each,
            sizeof subscription + sizeof assignment);
    ck_assert_uint_lt(each, 4096);
    group_end(&g, KERR_NOT_COORDINATOR);
    free(v);
}
END_TEST
#endif

/* ---- history -------------------- */

static int events(struct group_event *v, int max)
{
    const void *pos = NULL;
    int n = 0;

    while (n < max && history_next(g.history, &pos, &v[n]))
        n++;
    return n;
}

static void check_event(const struct group_event *e, enum group_event_kind kind, const char *id, const char *reason)
{
    ck_assert_msg(e->kind == kind, "%s instead of %s (%.*s)", group_event_name(e->kind), group_event_name(kind),
                  STR_ARG(e->reason));
    if (id != NULL)
        ck_assert(str_is(e->member_id, id));
    ck_assert_msg(memmem(e->reason.p != NULL ? e->reason.p : "", e->reason.len, reason, strlen(reason)) != NULL, "%.*s",
                  STR_ARG(e->reason));
}

START_TEST(what_the_history_tells)
{
    struct group_event v[40];
    int i = 0, n;
    int64_t start = now;

    a.in.reason = STR_LIT("because");
    a.in.session_timeout_ms = 300000;
    b.in.session_timeout_ms = 20000;
    c.in.instance_id = STR_LIT("inst");
    settle((struct client *[]){ &a, &b, &c }, 3);
    client_static(&d, "d", "inst");
    ck_assert(join(&d));
    ck_assert(sync_group(&d));
    pass(9000);
    ck_assert_int_eq(heartbeat(&d), KERR_NONE);
    ck_assert_int_eq(group_leave(&g, STR_LIT(""), STR_LIT("inst"), STR_LIT("cleaning"), now), KERR_NONE);
    ck_assert_int_eq(heartbeat(&b), KERR_REBALANCE_IN_PROGRESS);
    ck_assert(!join(&a));
    pass(20000);                        /* b is silent */
    ck_assert(sync_leader(&a, (struct client *[]){ &a }, 1));
    ck_assert_int_eq(group_leave(&g, str_of(a.id), NULL_STR, STR_LIT("bye"), now), KERR_NONE);
    leave_session();

    n = events(v, 40);
    for (int k = 0; k < n; k++)
        ck_assert(v[k].at_ms >= start + 1000000 && v[k].at_ms <= kit_wall());
    check_event(&v[i], GROUP_EVENT_JOINED, a.id, "because");
    ck_assert(str_is(v[i].client_id, "a"));
    ck_assert(str_is(v[i].client_host, "/10.0.0.1"));
    ck_assert_ptr_null(v[i].instance_id.p);
    check_event(&v[++i], GROUP_EVENT_REBALANCE_BEGAN, "", "because");
    check_event(&v[++i], GROUP_EVENT_JOINED, b.id, "");
    check_event(&v[++i], GROUP_EVENT_JOINED, c.id, "");
    ck_assert(str_is(v[i].instance_id, "inst"));
    check_event(&v[++i], GROUP_EVENT_REBALANCE_ENDED, "", "");
    ck_assert_int_eq(v[i].duration_ms, 6000);
    ck_assert_int_eq(v[i].members_n, 3);
    ck_assert_int_eq(v[i].generation, 1);
    check_event(&v[++i], GROUP_EVENT_EXPELLED, c.id, "replaced");
    check_event(&v[++i], GROUP_EVENT_JOINED, d.id, "");
    check_event(&v[++i], GROUP_EVENT_EXPELLED, d.id, "by an administrator: cleaning");
    check_event(&v[++i], GROUP_EVENT_REBALANCE_BEGAN, "", "administrator");
    check_event(&v[++i], GROUP_EVENT_EXPELLED, b.id, "session timeout");
    check_event(&v[++i], GROUP_EVENT_REBALANCE_ENDED, "", "");
    ck_assert_int_eq(v[i].duration_ms, 20000);
    ck_assert_int_eq(v[i].members_n, 1);
    check_event(&v[++i], GROUP_EVENT_LEFT, a.id, "bye");
    check_event(&v[++i], GROUP_EVENT_REBALANCE_BEGAN, "", "bye");
    check_event(&v[++i], GROUP_EVENT_REBALANCE_ENDED, "", "");
    ck_assert_int_eq(v[i].members_n, 0);
    ck_assert_int_eq(n, i + 1);
}
END_TEST

START_TEST(the_history_is_bounded)
{
    struct group_event v[HISTORY_MIN + 20];
    char *name = malloc(20001);

    memset(name, 0xc3, 20000);          /* the first byte of a character, over and over */
    for (int i = 0; i < 300; i++)
        name[i] = "\xc3\xa4"[i % 2];
    a.in.client_id = a.in.reason = (struct str){ name, 20000 };
    for (int i = 0; i < 500; i++) {
        struct client cl = a;

        cl.id[0] = '\0';
        cl.in.protocols = cl.protocols;
        quick_join(&cl);
        struct str id = g.members->id;
        char *copy = strndup(id.p, id.len);
        ck_assert_int_eq(group_leave(&g, str_of(copy), NULL_STR, a.in.reason, now), KERR_NONE);
        free(copy);
    }
    int n = events(v, HISTORY_MIN + 20);
    ck_assert_int_le(n, HISTORY_MIN + 2);
    for (int i = 0; i < n; i++) {
        ck_assert_uint_le(v[i].member_id.len, HISTORY_TEXT_MAX);
        ck_assert_uint_le(v[i].reason.len, HISTORY_TEXT_MAX);
        ck_assert_uint_eq(v[i].client_id.len, v[i].kind == GROUP_EVENT_REBALANCE_BEGAN ? 0 : 254);
    }
    free(name);
}
END_TEST

START_TEST(a_history_of_nothing)
{
    struct group_history *h = NULL;
    struct group_event e = { .kind = GROUP_EVENT_JOINED };
    const void *pos = NULL;

    history_add(h, &e, 10);
    ck_assert(!history_next(h, &pos, &e));
    ck_assert_uint_eq(history_n(h), 0);
    history_free(&h);
    h = history_new();
    ck_assert(!history_next(h, &pos, &e));
    history_add(h, &e, 10);
    ck_assert(history_next(h, &pos, &e));
    ck_assert_ptr_null(e.instance_id.p);
    ck_assert(!history_next(h, &pos, &e));
    history_add(h, &e, 0);
    ck_assert_uint_eq(history_n(h), 0);
    history_free(&h);
    ck_assert_ptr_null(h);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/group/size");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_full_group_takes_nobody);
    tcase_add_test(t, who_waits_keeps_its_place);
    tcase_add_test(t, a_promised_id_finds_the_group_full);
    tcase_add_test(t, a_smaller_limit_shrinks_the_group);
    tcase_add_test(t, the_most_wanted_of_the_common_ones_is_chosen);
    tcase_add_test(t, the_common_ones_change_with_the_members);
    tcase_add_test(t, a_protocol_named_twice);
    tcase_add_test(t, empty_names);
    tcase_add_test(t, ids_that_would_be_too_long);
    tcase_add_test(t, ten_thousand_protocols_and_a_megabyte);
    tcase_add_test(t, a_big_group_is_not_quadratic);
    tcase_add_test(t, promised_ids_are_bounded);
    tcase_add_test(t, a_big_group_dies);
#if COUNTS
    tcase_add_test(t, a_member_costs_less_than_4_kb);
#endif
    tcase_add_test(t, what_the_history_tells);
    tcase_add_test(t, the_history_is_bounded);
    tcase_add_test(t, a_history_of_nothing);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
