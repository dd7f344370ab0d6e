/* tests/unit/proto/test_murmur2.c - against values of Apache Kafka's own hash. */
#include "proto/murmur2.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(the_same_as_java)
{
    static const struct { const char *key; int32_t hash; } rows[] = {
        { "", 275646681 }, { "21", -973932308 }, { "foobar", -790332482 }, { "a-little-bit-long-string", -985981536 },
        { "a-little-bit-longer-string", -1486304829 },
        { "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971 },
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_int_eq(murmur2(rows[i].key, strlen(rows[i].key)), rows[i].hash);
}
END_TEST

START_TEST(partitions_are_never_negative)
{
    ck_assert_int_eq(murmur2_partition("foobar", 6, 1), 0);
    for (int32_t n = 1; n < 1000; n++) {
        int32_t p = murmur2_partition("foobar", 6, n);

        ck_assert_int_ge(p, 0);
        ck_assert_int_lt(p, n);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto/murmur2");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_test(t, the_same_as_java);
    tcase_add_test(t, partitions_are_never_negative);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
