/* tests/unit/metadata/test_assign.c - replica assignment: Apache Kafka's examples, and what
 * must hold for any. */
#include "metadata/assign.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static struct assign_broker plain[10];

static void brokers_plain(int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        plain[i] = (struct assign_broker){ .id = i };
}

/* Ten partitions, five brokers, three replicas: the table of Kafka's own documentation of the scheme. */
START_TEST(the_known_table)
{
    static const int32_t want[10][3] = { { 0, 1, 2 }, { 1, 2, 3 }, { 2, 3, 4 }, { 3, 4, 0 }, { 4, 0, 1 },
                                         { 0, 2, 3 }, { 1, 3, 4 }, { 2, 4, 0 }, { 3, 0, 1 }, { 4, 1, 2 } };
    int32_t out[10 * 3];
    struct assign_want w = { .brokers = plain, .brokers_n = 5, .partitions = 10, .replication = 3, .start = 0 };

    brokers_plain(5);
    ck_assert_int_eq(assign_replicas(&w, out), OK);
    ck_assert_mem_eq(out, want, sizeof want);
}
END_TEST

/* Six brokers on three racks, from the same documentation: the list alternates, and the seventh partition shifts. */
START_TEST(the_known_racks)
{
    static const int32_t want[7][3] = { { 0, 3, 1 }, { 3, 1, 5 }, { 1, 5, 4 }, { 5, 4, 2 }, { 4, 2, 0 }, { 2, 0, 3 },
                                        { 0, 4, 2 } };
    const struct assign_broker b[] = { { 0, STR_LIT("rack1") }, { 1, STR_LIT("rack3") }, { 2, STR_LIT("rack3") },
                                       { 3, STR_LIT("rack2") }, { 4, STR_LIT("rack2") }, { 5, STR_LIT("rack1") } };
    int32_t out[7 * 3];
    struct assign_want w = { .brokers = b, .brokers_n = 6, .partitions = 7, .replication = 3, .start = 0 };

    ck_assert_int_eq(assign_replicas(&w, out), OK);
    ck_assert_mem_eq(out, want, sizeof want);
}
END_TEST

START_TEST(all_brokers_have_a_rack_or_none)
{
    const struct assign_broker b[] = { { 0, STR_LIT("r") }, { 1, { NULL, 0 } } };
    int32_t out[2];
    struct assign_want w = { .brokers = b, .brokers_n = 2, .partitions = 1, .replication = 2, .start = -1 };

    ck_assert_int_eq(assign_replicas(&w, out), ERR_INVALID);
}
END_TEST

/* Any number of brokers, racks, partitions, replicas: no broker twice in a partition, leaders even to within one, no
 * rack twice while another has none. */
START_TEST(what_must_always_hold)
{
    static const char *const racks[] = { "a", "b", "c", "d" };

    srandom(7);
    for (int round = 0; round < 3000; round++) {
        struct assign_broker b[10];
        int32_t n = 1 + (int32_t)(random() % 10), rf = 1 + (int32_t)(random() % n);
        int32_t parts = 1 + (int32_t)(random() % 40);
        int32_t racks_n = round % 2 ? 1 + (int32_t)(random() % 4) : 0, *out = calloc((size_t)(parts * rf), sizeof *out);
        int32_t leads[20] = { 0 }, low = INT32_MAX, high = 0, used_racks = 0;
        bool have[4] = { false };
        struct assign_want w = { .brokers = b, .brokers_n = n, .partitions = parts, .replication = rf,
                                 .first = (int32_t)(random() % 20),
                                 .start = random() % 2 ? -1 : (int32_t)(random() % n) };

        for (int32_t i = 0; i < n; i++) {
            int32_t r = racks_n > 0 ? (int32_t)(random() % racks_n) : 0;

            b[i] = (struct assign_broker){ i * 2, racks_n > 0 ? str_of(racks[r]) : (struct str){ NULL, 0 } };
            have[r] = racks_n > 0;
        }
        for (int r = 0; r < 4; r++)
            used_racks += have[r];
        ck_assert_int_eq(assign_replicas(&w, out), OK);
        for (int32_t p = 0; p < parts; p++) {
            bool seen[4] = { false };
            int32_t different = 0;

            leads[out[p * rf]]++;
            for (int32_t i = 0; i < rf; i++) {
                int32_t id = out[p * rf + i];

                ck_assert(id >= 0 && id < 2 * n && id % 2 == 0);
                for (int32_t j = 0; j < i; j++)
                    ck_assert_int_ne(id, out[p * rf + j]);
                if (racks_n > 0 && !seen[b[id / 2].rack.p[0] - 'a']) {
                    seen[b[id / 2].rack.p[0] - 'a'] = true;
                    different++;
                }
            }
            if (racks_n > 0)
                ck_assert_int_eq(different, rf < used_racks ? rf : used_racks);
        }
        for (int32_t i = 0; i < n; i++) {
            low = leads[2 * i] < low ? leads[2 * i] : low;
            high = leads[2 * i] > high ? leads[2 * i] : high;
        }
        ck_assert_int_le(high - low, 1);
        free(out);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("metadata/assign");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_test(t, the_known_table);
    tcase_add_test(t, the_known_racks);
    tcase_add_test(t, all_brokers_have_a_rack_or_none);
    tcase_add_test(t, what_must_always_hold);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
