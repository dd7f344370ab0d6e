/* tests/unit/base/test_cursor.c - the cursor at, before and past the end, and varints at their borders. */
#include "base/cursor.h"

#include <check.h>
#include <stdlib.h>

START_TEST(reads_stop_at_the_end)
{
    static const uint8_t in[8] = { 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08 };

    for (size_t n = 0; n < sizeof in; n++) {
        struct cursor c = cur_ro(in, n);
        ck_assert_int_eq(cur_i64(&c), 0);
        ck_assert_int_eq(c.rc, ERR_SHORT);
        ck_assert_uint_eq(cur_left(&c), 0);
    }
    struct cursor c = cur_ro(in, sizeof in);
    ck_assert_int_eq(cur_i64(&c), 0x0102030405060708);
    ck_assert_int_eq(c.rc, OK);
    ck_assert_int_eq(cur_i8(&c), 0);
    ck_assert_int_eq(c.rc, ERR_SHORT);
}
END_TEST

START_TEST(after_a_failure_everything_is_zero)
{
    static const uint8_t in[4] = { 1, 2, 3, 4 };
    struct cursor c = cur_ro(in, sizeof in);

    ck_assert_ptr_null(cur_take(&c, 5));
    ck_assert_int_eq(cur_i8(&c), 0);
    ck_assert_ptr_null(cur_take(&c, 0));
    ck_assert_int_eq(c.rc, ERR_SHORT);
}
END_TEST

START_TEST(varints_round_trip)
{
    static const int64_t values[] = { 0, -1, 1, 63, -64, 64, -65, 8191, -8192,
                                      INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN };

    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        uint8_t b[10], *end = uvarlong_put(b, zigzag64(values[i]));
        struct cursor c = cur_ro(b, (size_t)(end - b));

        ck_assert_uint_eq((size_t)(end - b), uvarlong_size(zigzag64(values[i])));
        ck_assert_int_eq(cur_varlong(&c), values[i]);
        ck_assert_int_eq(c.rc, OK);
        ck_assert_uint_eq(cur_left(&c), 0);
    }
    for (uint32_t shift = 0; shift < 32; shift++) {
        uint8_t b[10], *end = uvarint_put(b, 1U << shift);
        struct cursor c = cur_ro(b, (size_t)(end - b));

        ck_assert_uint_eq((size_t)(end - b), uvarint_size(1U << shift));
        ck_assert_uint_eq(cur_uvarint(&c), 1U << shift);
    }
}
END_TEST

START_TEST(a_varint_that_never_ends_is_corrupt)
{
    static const uint8_t in[11] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    struct cursor c = cur_ro(in, sizeof in);

    ck_assert_uint_eq(cur_uvarint(&c), 0);
    ck_assert_int_eq(c.rc, ERR_CORRUPT);
    c = cur_ro(in, sizeof in);
    ck_assert_int_eq(cur_varlong(&c), 0);
    ck_assert_int_eq(c.rc, ERR_CORRUPT);
    c = cur_ro(in, 3);
    cur_uvarint(&c);
    ck_assert_int_eq(c.rc, ERR_SHORT);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("base/cursor");
    TCase *t = tcase_create("all");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_test(t, reads_stop_at_the_end);
    tcase_add_test(t, after_a_failure_everything_is_zero);
    tcase_add_test(t, varints_round_trip);
    tcase_add_test(t, a_varint_that_never_ends_is_corrupt);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
