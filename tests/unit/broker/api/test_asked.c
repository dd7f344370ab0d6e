/* tests/unit/broker/api/test_asked.c - what a request names more than once, few and many. */
#include "broker/api/asked.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

enum { MANY = 60, ROUNDS = 3000 };

static struct arena a;
static unsigned seed = 7;

static int32_t below(int32_t n)
{
    return rand_r(&seed) % n;
}

static void setup(void)
{
    arena_init(&a, (size_t)1 << 20);
}

static void teardown(void)
{
    arena_fini(&a);
}

START_TEST(topics_are_found_by_name)
{
    static const char *const words[] = { "", "a", "b", "aa", "ab", "ba", "abc", "t", "tt" };
    struct str names[MANY];
    int32_t at[MANY];

    for (int round = 0; round < ROUNDS; round++) {
        int32_t n = below(MANY);

        for (int32_t i = 0; i < n; i++)
            names[i] = str_of(words[below(sizeof words / sizeof words[0])]);
        ck_assert_int_eq(asked_topics(&a, names, n, at), OK);
        for (int32_t i = 0; i < n; i++) {
            int32_t first = 0;

            while (!str_eq(names[first], names[i]))
                first++;
            ck_assert_int_eq(at[i], first);
        }
        arena_reset(&a);
    }
}
END_TEST

START_TEST(of_repeated_partitions_the_last_counts)
{
    struct asked_partition v[MANY];

    for (int round = 0; round < ROUNDS; round++) {
        int32_t n = below(MANY), kinds = 1 + below(40);
        bool rising = below(4) == 0;

        for (int32_t i = 0; i < n; i++)
            v[i] = (struct asked_partition){ rising ? i / 7 : below(3), rising ? i % 7 : below(kinds) - 3, true };
        ck_assert_int_eq(asked_repeats(&a, v, (size_t)n), OK);
        for (int32_t i = 0; i < n; i++) {
            bool later = false;

            for (int32_t k = i + 1; k < n; k++)
                later |= v[k].topic == v[i].topic && v[k].partition == v[i].partition;
            ck_assert_int_eq(v[i].again, later);
        }
        arena_reset(&a);
    }
}
END_TEST

struct part {
    char    kind;
    int32_t number;
};

struct topic {
    int32_t      before;
    struct part *parts;
    int32_t      parts_n;
    struct str   name;
};

/* What is left are the last of each partition, in their order. */
START_TEST(a_request_is_left_with_each_partition_once)
{
    static const struct asked_shape shape = { sizeof(struct topic), offsetof(struct topic, name),
                                              offsetof(struct topic, parts), offsetof(struct topic, parts_n),
                                              sizeof(struct part), offsetof(struct part, number) };
    static const char *const words[] = { "a", "b", "c" };

    for (int round = 0; round < ROUNDS; round++) {
        struct topic v[8], was[8];
        struct part parts[8][MANY], were[8][MANY];
        int32_t n = below(8), left = n, at = 0;

        for (int32_t i = 0; i < n; i++) {
            was[i] = (struct topic){ i, were[i], below(below(2) == 0 ? 3 : MANY), str_of(words[below(3)]) };
            for (int32_t k = 0; k < was[i].parts_n; k++)
                were[i][k] = (struct part){ (char)below(100), below(MANY) - 3 };
            memcpy(parts[i], were[i], sizeof parts[i]);
            v[i] = was[i];
            v[i].parts = parts[i];
        }
        ck_assert_int_eq(asked_once(&a, &shape, v, &left), OK);
        for (int32_t i = 0; i < n; i++) {
            int32_t kept = 0;

            for (int32_t k = 0; k < was[i].parts_n; k++) {
                bool again = false;

                for (int32_t j = i; j < n; j++)
                    for (int32_t l = j == i ? k + 1 : 0; l < was[j].parts_n; l++)
                        again |= str_eq(was[i].name, was[j].name) && were[i][k].number == were[j][l].number;
                if (again)
                    continue;
                ck_assert_int_lt(at, left);
                ck_assert_int_eq(v[at].before, i);
                ck_assert_int_lt(kept, v[at].parts_n);
                ck_assert_int_eq(v[at].parts[kept].kind, were[i][k].kind);
                ck_assert_int_eq(v[at].parts[kept++].number, were[i][k].number);
            }
            if (kept > 0)
                ck_assert_int_eq(v[at++].parts_n, kept);
        }
        ck_assert_int_eq(at, left);
        arena_reset(&a);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("broker/api/asked");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, topics_are_found_by_name);
    tcase_add_test(t, of_repeated_partitions_the_last_counts);
    tcase_add_test(t, a_request_is_left_with_each_partition_once);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
