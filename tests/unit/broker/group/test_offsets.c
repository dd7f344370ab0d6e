/* tests/unit/broker/group/test_offsets.c - the table of committed offsets: against a plain model, in log order, with
 * transactions and commits on their way, and its size.
 */
#include "broker/group/offsets.h"

#include <check.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

static struct group_offsets *o;

static void setup(void)
{
    ck_assert_int_eq(group_offsets_new(&o), OK);
}

static void teardown(void)
{
    group_offsets_free(&o);
}

static struct committed at(int64_t offset, int64_t log_offset)
{
    return (struct committed){ offset, 1000 + offset, -1, log_offset, 7, STR_LIT("") };
}

static void put(const char *topic, int32_t partition, int64_t offset, int64_t log_offset)
{
    struct committed c = at(offset, log_offset);

    ck_assert_int_eq(group_offsets_put(o, str_of(topic), partition, &c), OK);
}

/* -1: there is none. */
static int64_t get(const char *topic, int32_t partition)
{
    struct committed c;

    return group_offsets_get(o, str_of(topic), partition, &c) ? c.offset : -1;
}

static uint64_t begin(const char *topic, int32_t partition)
{
    uint64_t ticket;

    ck_assert_int_eq(group_offsets_begin(o, str_of(topic), partition, &ticket), OK);
    return ticket;
}

static void land(const char *topic, int32_t partition, int64_t offset, int64_t log_offset, uint64_t ticket)
{
    struct committed c = at(offset, log_offset);

    ck_assert_int_eq(group_offsets_land(o, str_of(topic), partition, &c, ticket), OK);
}

static void pend(int64_t producer, const char *topic, int32_t partition, int64_t offset, int64_t log_offset)
{
    struct committed c = at(offset, log_offset);

    ck_assert_int_eq(group_offsets_pend(o, producer, str_of(topic), partition, &c), OK);
}

static bool pending(const char *topic, int32_t partition)
{
    return group_offsets_is_pending(o, str_of(topic), partition);
}

START_TEST(all_fields_are_kept)
{
    struct committed in = { 5, 6, 7, 8, 9, STR_LIT("some text") }, out;

    ck_assert_int_eq(group_offsets_put(o, STR_LIT("t"), 3, &in), OK);
    ck_assert(group_offsets_get(o, STR_LIT("t"), 3, &out));
    ck_assert(out.offset == 5 && out.commit_ms == 6 && out.expire_ms == 7 && out.log_offset == 8);
    ck_assert_int_eq(out.leader_epoch, 9);
    ck_assert(str_is(out.metadata, "some text"));
    in.metadata = STR_LIT("another text");
    in.expire_ms = -1;
    ck_assert_int_eq(group_offsets_put(o, STR_LIT("t"), 3, &in), OK);
    ck_assert(group_offsets_get(o, STR_LIT("t"), 3, &out));
    ck_assert(str_is(out.metadata, "another text") && out.expire_ms == -1);
    in.metadata = (struct str){ NULL, 0 };
    ck_assert_int_eq(group_offsets_put(o, STR_LIT("t"), 3, &in), OK);
    ck_assert(group_offsets_get(o, STR_LIT("t"), 3, &out));
    ck_assert(out.metadata.p != NULL && out.metadata.len == 0);
    ck_assert(!group_offsets_get(o, STR_LIT("t"), 2, &out));
    ck_assert(!group_offsets_get(o, STR_LIT("tt"), 3, &out));
    ck_assert_uint_eq(group_offsets_n(o), 1);
}
END_TEST

START_TEST(an_older_record_changes_nothing)
{
    put("t", 0, 10, 100);
    put("t", 0, 9, 99);
    ck_assert_int_eq(get("t", 0), 10);
    put("t", 0, 8, 100);                /* twice in one batch: the later */
    ck_assert_int_eq(get("t", 0), 8);
    ck_assert(group_offsets_remove(o, STR_LIT("t"), 0));
    ck_assert(!group_offsets_remove(o, STR_LIT("t"), 0));
    ck_assert(group_offsets_none(o));
    put("t", 0, 5, 50);
    ck_assert_int_eq(get("t", 0), 5);
}
END_TEST

/* ---- against a model ---- */

enum { TOPICS = 40, PARTS = 40 };

static int64_t model[TOPICS][PARTS];
static size_t model_n;

static const char *topic_n(int i)
{
    static char name[24];

    snprintf(name, sizeof name, "topic-%d", i);
    return name;
}

static int topic_of(struct str name)
{
    int i = 0;

    for (size_t k = strlen("topic-"); k < name.len; k++)
        i = i * 10 + name.p[k] - '0';
    return i;
}

static void count_one(void *arg, struct str topic, int32_t partition, const struct committed *c)
{
    int i = topic_of(topic);

    ck_assert_int_eq(model[i][partition], c->offset);
    ++*(size_t *)arg;
}

static bool is_odd(void *arg, struct str topic, int32_t partition, const struct committed *c)
{
    (void)arg;
    (void)topic;
    (void)partition;
    return c->offset % 2 != 0;
}

static void compare(void)
{
    struct arena a;
    struct offsets_of_topic *v;
    size_t n, seen = 0, copied = 0;

    arena_init(&a, (size_t)16 << 20);
    ck_assert_uint_eq(group_offsets_n(o), model_n);
    for (int i = 0; i < TOPICS; i++)
        for (int k = 0; k < PARTS; k++)
            ck_assert_int_eq(get(topic_n(i), k), model[i][k]);
    group_offsets_each(o, count_one, &seen);
    ck_assert_uint_eq(seen, model_n);
    ck_assert_int_eq(group_offsets_copy(o, &a, &v, &n), OK);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < v[i].n; k++, copied++)
            ck_assert_int_eq(model[topic_of(v[i].name)][v[i].v[k].partition], v[i].v[k].c.offset);
    ck_assert_uint_eq(copied, model_n);
    arena_fini(&a);
}

START_TEST(it_does_what_a_model_does)
{
    unsigned seed = 1;

    for (int i = 0; i < TOPICS; i++)
        for (int k = 0; k < PARTS; k++)
            model[i][k] = -1;
    for (int step = 1; step <= 60000; step++) {
        int bound = step / 10000 % 2 == 0 ? 2 : 7;      /* growing, then shrinking */
        int i = rand_r(&seed) % TOPICS, k = rand_r(&seed) % PARTS;

        if (rand_r(&seed) % 9 < bound) {
            ck_assert_int_eq(group_offsets_remove(o, str_of(topic_n(i)), k), model[i][k] >= 0);
            model_n -= model[i][k] >= 0;
            model[i][k] = -1;
        } else {
            put(topic_n(i), k, step, step);
            model_n += model[i][k] < 0;
            model[i][k] = step;
        }
        if (step % 5000 == 0)
            compare();
    }
    for (int i = 0; i < TOPICS; i++)
        for (int k = 0; k < PARTS; k++)
            if (model[i][k] % 2 == 1) {
                model[i][k] = -1;
                model_n--;
            }
    group_offsets_remove_if(o, is_odd, NULL);
    compare();
    for (int i = 0; i < TOPICS; i++)
        for (int k = 0; k < PARTS; k++)
            group_offsets_delete(o, str_of(topic_n(i)), k);
    ck_assert(group_offsets_none(o));
}
END_TEST

/* ---- on their way ---- */

START_TEST(what_is_on_its_way_is_pending)
{
    uint64_t first, second;

    put("t", 0, 1, 1);
    first = begin("t", 0);
    second = begin("t", 0);
    ck_assert(pending("t", 0) && !pending("t", 1));
    ck_assert_uint_eq(group_offsets_remove_if(o, is_odd, NULL), 0);
    land("t", 0, 3, 12, second);
    ck_assert(pending("t", 0));
    land("t", 0, 2, 11, first);         /* appended before */
    ck_assert_int_eq(get("t", 0), 3);
    ck_assert(!pending("t", 0));
    begin("u", 1);
    ck_assert_int_eq(get("u", 1), -1);
    ck_assert_uint_eq(group_offsets_n(o), 1);
    group_offsets_abandon(o, STR_LIT("u"), 1);
    ck_assert(!group_offsets_has_topic(o, STR_LIT("u")));
}
END_TEST

START_TEST(a_deletion_beats_what_was_appended_before_it)
{
    uint64_t before = begin("t", 0), after;

    ck_assert(group_offsets_delete(o, STR_LIT("t"), 0));        /* it may be in the log */
    after = begin("t", 0);
    land("t", 0, 10, 5, before);
    ck_assert_int_eq(get("t", 0), -1);
    ck_assert(!group_offsets_none(o));
    land("t", 0, 11, 7, after);
    ck_assert_int_eq(get("t", 0), 11);
    before = begin("t", 0);
    ck_assert(group_offsets_delete(o, STR_LIT("t"), 0));
    land("t", 0, 12, 8, before);
    ck_assert(group_offsets_none(o));
    land("t", 0, 12, 8, before);        /* of nothing */
    group_offsets_abandon(o, STR_LIT("t"), 0);
    ck_assert(group_offsets_none(o));
}
END_TEST

/* ---- of transactions ---- */

START_TEST(a_marker_decides_on_pending_ones)
{
    put("t", 0, 1, 1);
    pend(100, "t", 0, 2, 2);
    pend(100, "t", 1, 3, 2);
    pend(101, "t", 0, 4, 3);
    ck_assert_uint_eq(group_offsets_pending_n(o), 2);
    ck_assert(pending("t", 0) && pending("t", 1));
    ck_assert_int_eq(get("t", 0), 1);
    ck_assert_int_eq(get("t", 1), -1);
    group_offsets_complete(o, 101, true);
    ck_assert_int_eq(get("t", 0), 4);
    ck_assert(pending("t", 0));
    group_offsets_complete(o, 100, true);       /* of which one is older than the other's */
    ck_assert_int_eq(get("t", 0), 4);
    ck_assert_int_eq(get("t", 1), 3);
    ck_assert(!pending("t", 0) && !pending("t", 1));
    pend(102, "t", 2, 5, 5);
    pend(102, "t", 2, 6, 6);
    ck_assert_uint_eq(group_offsets_n(o), 2);
    group_offsets_complete(o, 102, false);
    ck_assert(!group_offsets_is_pending(o, STR_LIT("t"), 2));
    ck_assert_uint_eq(group_offsets_pending_n(o), 0);
    group_offsets_complete(o, 102, true);
    ck_assert_int_eq(get("t", 2), -1);
}
END_TEST

START_TEST(a_loaded_tombstone_leaves_pending_ones_a_deletion_does_not)
{
    put("t", 0, 1, 1);
    pend(100, "t", 0, 2, 2);
    pend(101, "t", 0, 3, 3);
    pend(101, "t", 1, 4, 3);
    ck_assert(group_offsets_remove(o, STR_LIT("t"), 0));
    ck_assert(pending("t", 0));
    group_offsets_complete(o, 100, true);
    ck_assert_int_eq(get("t", 0), 2);
    ck_assert(group_offsets_delete(o, STR_LIT("t"), 0));
    ck_assert(!pending("t", 0) && pending("t", 1));
    group_offsets_complete(o, 101, true);
    ck_assert_int_eq(get("t", 0), -1);
    ck_assert_int_eq(get("t", 1), 4);
}
END_TEST

START_TEST(partitions_of_a_topic)
{
    struct arena a;
    int32_t *v;
    size_t n;

    arena_init(&a, (size_t)1 << 20);
    put("t", 4, 1, 1);
    put("u", 5, 1, 1);
    pend(100, "t", 6, 2, 2);
    begin("t", 7);
    ck_assert_int_eq(group_offsets_partitions(o, STR_LIT("t"), &a, &v, &n), OK);
    ck_assert_uint_eq(n, 3);
    ck_assert_int_eq(v[0] + v[1] + v[2], 17);
    ck_assert_int_eq(group_offsets_partitions(o, STR_LIT("none"), &a, &v, &n), OK);
    ck_assert_uint_eq(n, 0);
    arena_fini(&a);
}
END_TEST

START_TEST(names_that_are_too_long_or_empty)
{
    char *name = calloc(1, 70000);
    struct committed c = at(1, 1);

    ck_assert_int_eq(group_offsets_put(o, (struct str){ name, 70000 }, 0, &c), ERR_LIMIT);
    ck_assert(group_offsets_none(o));
    ck_assert_int_eq(group_offsets_put(o, (struct str){ name, 65535 }, -1, &c), OK);
    ck_assert_int_eq(group_offsets_put(o, STR_LIT(""), INT32_MIN, &c), OK);
    ck_assert(group_offsets_get(o, (struct str){ NULL, 0 }, INT32_MIN, &c));
    ck_assert_uint_eq(group_offsets_n(o), 2);
    free(name);
}
END_TEST

/* ---- its size ---- */

#if !defined(KLAMM_CHECK_LOCKS)         /* sanitizers have a heap of their own */
static size_t heap_bytes(void)
{
    struct mallinfo2 m = mallinfo2();

    return m.uordblks + m.hblkhd;
}

START_TEST(an_offset_is_small)
{
    enum { GROUPS = 10000, MANY = 100000 };
    static struct group_offsets *v[GROUPS];
    struct committed c = at(1, 1);
    size_t before = heap_bytes(), single, many;

    for (int i = 0; i < GROUPS; i++) {
        ck_assert_int_eq(group_offsets_new(&v[i]), OK);
        ck_assert_int_eq(group_offsets_put(v[i], STR_LIT("a-usual-topic"), 0, &c), OK);
    }
    single = heap_bytes() - before;
    for (int i = 0; i < GROUPS; i++)
        group_offsets_free(&v[i]);
    before = heap_bytes();
    for (int i = 0; i < MANY; i++)
        put(topic_n(i % 100), i / 100, i, i);
    many = heap_bytes() - before;
    printf("bytes an offset: %zu in a group of its own, %zu of many\n", single / GROUPS, many / MANY);
    ck_assert_uint_le(single, GROUPS * 200);
    ck_assert_uint_le(many, MANY * 100);
}
END_TEST
#endif

int main(void)
{
    Suite *s = suite_create("broker/group/offsets");
    TCase *t = tcase_create("table");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, all_fields_are_kept);
    tcase_add_test(t, an_older_record_changes_nothing);
    tcase_add_test(t, it_does_what_a_model_does);
    tcase_add_test(t, what_is_on_its_way_is_pending);
    tcase_add_test(t, a_deletion_beats_what_was_appended_before_it);
    tcase_add_test(t, a_marker_decides_on_pending_ones);
    tcase_add_test(t, a_loaded_tombstone_leaves_pending_ones_a_deletion_does_not);
    tcase_add_test(t, partitions_of_a_topic);
    tcase_add_test(t, names_that_are_too_long_or_empty);
#if !defined(KLAMM_CHECK_LOCKS)
    tcase_add_test(t, an_offset_is_small);
#endif
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
