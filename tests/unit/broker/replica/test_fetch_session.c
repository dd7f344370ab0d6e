/* tests/unit/broker/replica/test_fetch_session.c - fetch sessions: sequences of requests and what each is
 * to be answered, and who is evicted. */
#include "broker/replica/fetch_session.h"

#include "proto/kerr.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* Partitions are written as letters with an optional "!": the answer is an error; "+": it has records; "*": its high
 * watermark has moved. "A" and "B" are partitions 0 and 1 of topic "t", "X" and "Y" are 0 and 1 of topic "u".
 * A request names partitions, then after '-' those to forget. */
struct step {
    int         session;                /* 0: none, 1: the last one made, 2: some other */
    int32_t     epoch;
    const char *names;
    /* what is to come back */
    enum fetch_kind kind;
    int16_t     error;
    const char *fetched;                /* what is to be fetched, in order */
    const char *states;                 /* as it turns out, for each of those: ' ' '!' '+' '*' */
    const char *answered;               /* what goes into the answer, in order */
    int         id;                     /* of the answer: 0: none, 1: the session's (or a new one) */
};

static struct arena arena;
static struct fetch_sessions *fs;
static int64_t now;
static int64_t hw_of[256];

static void setup(void)
{
    arena_init(&arena, 1 << 20);
    ck_assert_int_eq(fetch_sessions_new(&fs, 1000), OK);
    now = 1000;
    memset(hw_of, 0, sizeof hw_of);
}

static void teardown(void)
{
    fetch_sessions_free(&fs);
    arena_fini(&arena);
}

static struct str no_name(void *arg, struct uuid id)
{
    (void)arg;
    (void)id;
    return (struct str){ NULL, 0 };
}

static struct fetch_item item_of(char c)
{
    struct fetch_item it = { .topic = c >= 'X' ? STR_LIT("u") : STR_LIT("t"), .max_bytes = 100, .leader_epoch = -1,
                             .last_epoch = -1 };

    it.partition = c >= 'X' ? c - 'X' : c - 'A';
    return it;
}

static char letter_of(const struct fetch_item *it)
{
    return (char)(it->topic.p[0] == 'u' ? 'X' + it->partition : 'A' + it->partition);
}

static void ask_of(const char *names, struct fetch_ask *ask)
{
    ask->items = arena_array(&arena, strlen(names) + 1, sizeof *ask->items);
    ask->forgotten = arena_array(&arena, strlen(names) + 1, sizeof *ask->forgotten);
    for (bool forget = false; *names != '\0'; names++) {
        if (*names == '-')
            forget = true;
        else if (forget)
            ask->forgotten[ask->forgotten_n++] = item_of(*names);
        else
            ask->items[ask->n++] = item_of(*names);
    }
    ask->name_of = no_name;
    ask->now_ms = now;
}

static void run(const struct step *steps, size_t n)
{
    int32_t session = 0;

    for (size_t i = 0; i < n; i++) {
        const struct step *s = &steps[i];
        struct fetch_ask ask = { .epoch = s->epoch };
        struct fetch_context cx;
        struct fetch_item *order[64];
        char got[64] = "";
        size_t at = 0;

        ask.session_id = s->session == 1 ? session : s->session == 2 ? session ^ 1 : 0;
        ask_of(s->names, &ask);
        ck_assert_int_eq(fetch_begin(fs, &ask, &arena, &cx), OK);
        ck_assert_msg(cx.kind == s->kind && cx.error == s->error, "step %zu: kind %d error %d", i, cx.kind, cx.error);
        if (cx.kind == FETCH_REFUSED)
            continue;
        for (size_t k = 0; k < cx.n; k++) {
            struct fetch_item *it = &cx.items[k];
            char c = letter_of(it), state = s->states[0] == '\0' ? ' ' : s->states[k];

            got[at++] = c;
            if (state == '*' || state == '+')
                hw_of[(int)c]++;
            it->failed = state == '!';
            it->hw = it->failed ? -1 : hw_of[(int)c];
            it->log_start = it->failed ? -1 : 0;
            it->has_records = it->notable = state == '+';
            order[k] = it;
        }
        ck_assert_msg(strcmp(got, s->fetched) == 0, "step %zu: fetched '%s', not '%s'", i, got, s->fetched);
        fetch_end(fs, &cx, order, now);
        memset(got, 0, sizeof got);
        for (size_t k = at = 0; k < cx.n; k++)
            if (!order[k]->left_out)
                got[at++] = letter_of(order[k]);
        ck_assert_msg(strcmp(got, s->answered) == 0, "step %zu: answered '%s', not '%s'", i, got, s->answered);
        if (cx.kind == FETCH_INCREMENTAL)
            ck_assert_int_eq(cx.session_id, session);
        ck_assert_msg((cx.session_id != 0) == s->id, "step %zu: session id %d", i, cx.session_id);
        if (cx.session_id != 0)
            session = cx.session_id;
    }
}

#define RUN(...)                                                                            \
    do {                                                                                    \
        static const struct step steps_[] = { __VA_ARGS__ };                                \
        run(steps_, sizeof steps_ / sizeof steps_[0]);                                      \
    } while (0)

START_TEST(without_a_session)
{
    RUN({ 0, -1, "AB", FETCH_PLAIN, 0, "AB", "  ", "AB", 0 },
        { 0, -1, "", FETCH_PLAIN, 0, "", "", "", 0 });
    ck_assert_uint_eq(fetch_sessions_count(fs), 0);
}
END_TEST

START_TEST(what_is_named_twice_is_fetched_once)
{
    RUN({ 0, -1, "ABAXA", FETCH_PLAIN, 0, "ABX", "   ", "ABX", 0 },
        { 0, 0, "XAXB", FETCH_FULL, 0, "XAB", "   ", "XAB", 1 });
    ck_assert_uint_eq(fetch_sessions_cached(fs), 3);
}
END_TEST

START_TEST(only_changes_are_answered)
{
    RUN({ 0, 0, "AB", FETCH_FULL, 0, "AB", "  ", "AB", 1 },
        { 1, 1, "", FETCH_INCREMENTAL, 0, "AB", "  ", "", 1 },
        { 1, 2, "", FETCH_INCREMENTAL, 0, "AB", " *", "B", 1 },
        { 1, 3, "", FETCH_INCREMENTAL, 0, "AB", "  ", "", 1 },
        { 1, 4, "A", FETCH_INCREMENTAL, 0, "AB", "  ", "", 1 });
}
END_TEST

START_TEST(an_error_is_answered_and_so_is_its_end)
{
    RUN({ 0, 0, "AB", FETCH_FULL, 0, "AB", "  ", "AB", 1 },
        { 1, 1, "", FETCH_INCREMENTAL, 0, "AB", "! ", "A", 1 },
        { 1, 2, "", FETCH_INCREMENTAL, 0, "AB", "! ", "A", 1 },
        { 1, 3, "", FETCH_INCREMENTAL, 0, "AB", "  ", "A", 1 },
        { 1, 4, "", FETCH_INCREMENTAL, 0, "AB", "  ", "", 1 });
}
END_TEST

START_TEST(what_had_records_goes_to_the_end)
{
    RUN({ 0, 0, "ABX", FETCH_FULL, 0, "ABX", "+  ", "ABX", 1 },
        { 1, 1, "", FETCH_INCREMENTAL, 0, "ABX", "+ +", "AX", 1 },
        { 1, 2, "", FETCH_INCREMENTAL, 0, "BAX", "+  ", "B", 1 },
        { 1, 3, "", FETCH_INCREMENTAL, 0, "AXB", "   ", "", 1 });
}
END_TEST

START_TEST(partitions_come_and_go)
{
    RUN({ 0, 0, "A", FETCH_FULL, 0, "A", " ", "A", 1 },
        { 1, 1, "X", FETCH_INCREMENTAL, 0, "AX", "  ", "X", 1 },
        { 1, 2, "B-A", FETCH_INCREMENTAL, 0, "XB", "  ", "B", 1 },
        { 1, 3, "-AX", FETCH_INCREMENTAL, 0, "B", " ", "", 1 },
        { 1, 4, "-B", FETCH_PLAIN, 0, "", "", "", 0 },
        { 1, 5, "", FETCH_REFUSED, KERR_FETCH_SESSION_ID_NOT_FOUND, "", "", "", 0 });
    ck_assert_uint_eq(fetch_sessions_count(fs), 0);
    ck_assert_uint_eq(fetch_sessions_cached(fs), 0);
}
END_TEST

START_TEST(wrong_requests_are_refused)
{
    RUN({ 2, 1, "A", FETCH_REFUSED, KERR_FETCH_SESSION_ID_NOT_FOUND, "", "", "", 0 },
        { 0, 7, "A", FETCH_REFUSED, KERR_FETCH_SESSION_ID_NOT_FOUND, "", "", "", 0 },
        { 0, 0, "A", FETCH_FULL, 0, "A", " ", "A", 1 },
        { 1, 2, "", FETCH_REFUSED, KERR_INVALID_FETCH_SESSION_EPOCH, "", "", "", 0 },
        { 2, 1, "", FETCH_REFUSED, KERR_FETCH_SESSION_ID_NOT_FOUND, "", "", "", 0 },
        { 1, 1, "", FETCH_INCREMENTAL, 0, "A", " ", "", 1 },
        { 1, 1, "", FETCH_REFUSED, KERR_INVALID_FETCH_SESSION_EPOCH, "", "", "", 0 });
}
END_TEST

START_TEST(a_full_request_closes_the_session_it_names)
{
    RUN({ 0, 0, "A", FETCH_FULL, 0, "A", " ", "A", 1 },
        { 1, 0, "B", FETCH_FULL, 0, "B", " ", "B", 1 });
    ck_assert_uint_eq(fetch_sessions_count(fs), 1);
    RUN({ 0, 0, "A", FETCH_FULL, 0, "A", " ", "A", 1 },
        { 1, -1, "A", FETCH_PLAIN, 0, "A", " ", "A", 0 });
    ck_assert_uint_eq(fetch_sessions_count(fs), 1);
}
END_TEST

/* Makes a session and gives its id; 0 when there was no room. */
static int32_t make(bool follower, size_t partitions)
{
    struct fetch_ask ask = { .epoch = 0, .follower = follower };
    struct fetch_item *order[64];
    struct fetch_context cx;
    char names[64] = "";

    for (size_t i = 0; i < partitions; i++)
        names[i] = (char)('A' + i);
    ask_of(names, &ask);
    ck_assert_int_eq(fetch_begin(fs, &ask, &arena, &cx), OK);
    for (size_t k = 0; k < cx.n; k++)
        order[k] = &cx.items[k];
    fetch_end(fs, &cx, order, now);
    return cx.session_id;
}

/* One more request in the session; false: it is gone. */
static bool use(int32_t id, int32_t epoch, bool by_id)
{
    struct fetch_ask ask = { .session_id = id, .epoch = epoch, .by_id = by_id };
    struct fetch_item *order[64];
    struct fetch_context cx;

    ask_of("", &ask);
    ck_assert_int_eq(fetch_begin(fs, &ask, &arena, &cx), OK);
    if (cx.kind == FETCH_REFUSED) {
        ck_assert_int_eq(cx.error, by_id ? KERR_FETCH_SESSION_TOPIC_ID_ERROR : KERR_FETCH_SESSION_ID_NOT_FOUND);
        return false;
    }
    for (size_t k = 0; k < cx.n; k++)
        order[k] = &cx.items[k];
    fetch_end(fs, &cx, order, now);
    return true;
}

START_TEST(names_and_ids_do_not_mix)
{
    int32_t id = make(false, 2);

    ck_assert(!use(id, 1, true));
    ck_assert(use(id, 1, false));
}
END_TEST

START_TEST(eviction_takes_the_stale_then_the_worth_less)
{
    int32_t a, b, c;

    fetch_sessions_free(&fs);
    ck_assert_int_eq(fetch_sessions_new(&fs, 2), OK);
    a = make(false, 2);
    b = make(false, 3);
    ck_assert_int_ne(a, 0);
    ck_assert_int_ne(b, 0);
    ck_assert_int_eq(make(false, 9), 0);        /* both are young */
    c = make(true, 1);                          /* a follower pushes out the smaller consumer */
    ck_assert_int_ne(c, 0);
    ck_assert(!use(a, 1, false));
    ck_assert(use(b, 1, false));
    now += FETCH_EVICT_MS / 2;
    ck_assert(use(b, 2, false));
    now += FETCH_EVICT_MS / 2 + 1;              /* c is stale, b was used */
    a = make(false, 1);
    ck_assert_int_ne(a, 0);
    ck_assert(!use(c, 1, false));
    ck_assert(use(b, 3, false));                /* settled by now: a larger one may take its place */
    ck_assert_int_eq(make(false, 3), 0);
    ck_assert_int_ne(make(false, 4), 0);
    ck_assert(!use(b, 4, false));
    ck_assert(use(a, 1, false));
    ck_assert_uint_eq(fetch_sessions_count(fs), 2);
    ck_assert_uint_eq(fetch_sessions_cached(fs), 5);
}
END_TEST

START_TEST(no_slots_no_sessions)
{
    fetch_sessions_free(&fs);
    ck_assert_int_eq(fetch_sessions_new(&fs, 0), OK);
    ck_assert_int_eq(make(false, 2), 0);
    ck_assert_int_eq(make(true, 2), 0);
}
END_TEST

/* A second request of the same session while the first is parked: the first one's answer is an error. */
START_TEST(an_overtaken_request_is_told_so)
{
    int32_t id = make(false, 1);
    struct fetch_ask ask = { .session_id = id, .epoch = 1 };
    struct fetch_context slow;
    struct fetch_item *order[1];

    ask_of("", &ask);
    ck_assert_int_eq(fetch_begin(fs, &ask, &arena, &slow), OK);
    ck_assert(use(id, 2, false));
    order[0] = &slow.items[0];
    fetch_end(fs, &slow, order, now);
    ck_assert_int_eq(slow.error, KERR_INVALID_FETCH_SESSION_EPOCH);
    ck_assert_int_eq(slow.session_id, id);
}
END_TEST

/* The second request takes the last partition out, which ends the session: its entries are gone when the first one is
 * answered. */
START_TEST(an_overtaken_request_does_not_touch_what_is_gone)
{
    int32_t id = make(false, 1);
    struct fetch_ask ask = { .session_id = id, .epoch = 1 }, last = { .session_id = id, .epoch = 2 };
    struct fetch_context slow, cx;
    struct fetch_item *order[1];

    ask_of("", &ask);
    ck_assert_int_eq(fetch_begin(fs, &ask, &arena, &slow), OK);
    ask_of("-A", &last);
    last.forgotten[0] = slow.items[0];
    ck_assert_int_eq(fetch_begin(fs, &last, &arena, &cx), OK);
    ck_assert_int_eq(cx.kind, FETCH_PLAIN);
    fetch_end(fs, &cx, NULL, now);
    order[0] = &slow.items[0];
    fetch_end(fs, &slow, order, now);
    ck_assert_int_eq(slow.error, KERR_INVALID_FETCH_SESSION_EPOCH);
}
END_TEST


int main(void)
{
    Suite *s = suite_create("broker/replica/fetch_session");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, without_a_session);
    tcase_add_test(t, what_is_named_twice_is_fetched_once);
    tcase_add_test(t, only_changes_are_answered);
    tcase_add_test(t, an_error_is_answered_and_so_is_its_end);
    tcase_add_test(t, what_had_records_goes_to_the_end);
    tcase_add_test(t, partitions_come_and_go);
    tcase_add_test(t, wrong_requests_are_refused);
    tcase_add_test(t, a_full_request_closes_the_session_it_names);
    tcase_add_test(t, names_and_ids_do_not_mix);
    tcase_add_test(t, eviction_takes_the_stale_then_the_worth_less);
    tcase_add_test(t, no_slots_no_sessions);
    tcase_add_test(t, an_overtaken_request_is_told_so);
    tcase_add_test(t, an_overtaken_request_does_not_touch_what_is_gone);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
