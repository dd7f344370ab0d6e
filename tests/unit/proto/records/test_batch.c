/* tests/unit/proto/records/test_batch.c - headers, buffers of batches, and the setters. */
#include "proto/records/batch.h"

#include "tests/unit/proto/records/sets.h"

static struct arena arena;

static void setup(void)
{
    arena_init(&arena, SET_ARENA_BYTES);
}

static void teardown(void)
{
    arena_fini(&arena);
}

/* Three records, as Apache Kafka 3.9.1 wrote them. */
static const uint8_t golden[] = {
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x52, 0xff, 0xff, 0xff, 0xff, 0x02, 0x72, 0x60,
    0x5e, 0x73, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x01, 0x74, 0x87, 0x6e, 0x80, 0x00, 0x00, 0x00, 0x01,
    0x74, 0x87, 0x6e, 0x80, 0x02, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0x00, 0x00, 0x00, 0x03, 0x14, 0x00, 0x00, 0x00, 0x04, 0x6b, 0x30, 0x04, 0x76, 0x30, 0x00, 0x14, 0x00, 0x02, 0x02,
    0x04, 0x6b, 0x31, 0x04, 0x76, 0x31, 0x00, 0x14, 0x00, 0x04, 0x04, 0x04, 0x6b, 0x32, 0x04, 0x76, 0x32, 0x00,
};

START_TEST(a_header_is_read_field_by_field)
{
    struct batch_head h;

    ck_assert_int_eq(batch_head_read(&h, golden, sizeof golden), OK);
    ck_assert_int_eq(h.magic, 2);
    ck_assert_uint_eq(h.size_bytes, sizeof golden);
    ck_assert_int_eq(h.base_offset, 0);
    ck_assert_int_eq(h.last_offset, 2);
    ck_assert_int_eq(h.count, 3);
    ck_assert_int_eq(h.leader_epoch, -1);
    ck_assert_int_eq(h.base_timestamp, 1600000000000);
    ck_assert_int_eq(h.max_timestamp, 1600000000002);
    ck_assert_int_eq(h.producer_id, -1);
    ck_assert_int_eq(h.producer_epoch, -1);
    ck_assert_int_eq(h.base_sequence, -1);
    ck_assert_int_eq(batch_last_sequence(&h), -1);
    ck_assert_uint_eq(h.crc, 0x72605e73);
    ck_assert_int_eq(batch_check(&h, golden), OK);
    ck_assert(!batch_is_txn(&h) && !batch_is_control(&h) && !batch_is_append_time(&h) && !batch_has_horizon(&h));
}
END_TEST

START_TEST(every_torn_prefix_is_short)           /* a crash may cut the file anywhere */
{
    struct batch_head h;
    struct batch_iter it;

    for (size_t n = 0; n < sizeof golden; n++) {
        uint8_t *p = set_exact((struct bytes){ golden, sizeof golden }, n);

        ck_assert_int_eq(batch_head_read(&h, p, n), n < BATCH_HEAD_BYTES ? ERR_SHORT : OK);
        batch_iter_init(&it, (struct bytes){ p, n });
        ck_assert(!batch_iter_next(&it));
        ck_assert_int_eq(it.rc, OK);
        ck_assert_uint_eq(it.pos, 0);
        free(p);
    }
}
END_TEST

START_TEST(every_flipped_bit_under_the_crc_is_noticed)
{
    uint8_t *p = set_exact((struct bytes){ golden, sizeof golden }, sizeof golden);
    struct batch_head h;

    for (size_t bit = 17 * 8; bit < sizeof golden * 8; bit++) {
        p[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        ck_assert_int_eq(batch_head_read(&h, p, sizeof golden), OK);
        ck_assert_int_eq(batch_check(&h, p), ERR_CORRUPT);
        p[bit / 8] ^= (uint8_t)(1U << (bit % 8));
    }
    free(p);
}
END_TEST

START_TEST(impossible_lengths_and_magics_are_corrupt)
{
    static const int32_t lengths[] = { 0, -1, 13, INT32_MIN };
    uint8_t *p = set_exact((struct bytes){ golden, sizeof golden }, sizeof golden);
    struct batch_head h;

    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        be_put32(p + 8, (uint32_t)lengths[i]);
        ck_assert_int_eq(batch_head_read(&h, p, sizeof golden), ERR_CORRUPT);
    }
    be_put32(p + 8, INT32_MAX);
    ck_assert_int_eq(batch_head_read(&h, p, sizeof golden), OK);
    ck_assert_uint_eq(h.size_bytes, (uint32_t)INT32_MAX + 12);
    be_put32(p + 8, 48);                                /* too small for a v2 header */
    ck_assert_int_eq(batch_head_read(&h, p, sizeof golden), OK);
    ck_assert_int_eq(h.count, -1);
    ck_assert_int_eq(batch_check(&h, p), ERR_CORRUPT);
    be_put32(p + 8, sizeof golden - 12);
    for (int magic = -128; magic < 128; magic++) {
        p[16] = (uint8_t)magic;
        ck_assert_int_eq(batch_head_read(&h, p, sizeof golden), magic >= 0 && magic <= 2 ? OK : ERR_CORRUPT);
    }
    free(p);
}
END_TEST

START_TEST(batches_of_all_magics_follow_each_other)
{
    uint8_t *all = malloc(1 << 20);
    size_t len = 0, n = 0;
    int64_t offset = 0;
    struct batch_iter it;

    for (int round = 0; round < 30; round++) {
        int8_t magic = (int8_t)(round % 3);
        enum codec codec = (enum codec)(round / 3 % (magic == 2 ? 5 : 4));
        struct builder_opts o = set_opts(magic, codec, offset);
        struct set s = set_make(&arena, magic, 3, offset, 50);
        struct bytes made = set_build(&arena, &s, &o);

        memcpy(all + len, made.p, made.len);
        len += made.len;
        offset += 3;
    }
    batch_iter_init(&it, (struct bytes){ all, len });
    offset = -1;
    for (; batch_iter_next(&it); n++) {
        ck_assert_int_eq(batch_check(&it.head, it.p), OK);
        ck_assert_int_gt(it.head.last_offset, offset);
        if (it.head.magic == 2)
            ck_assert_int_eq(it.head.base_offset, offset + 1);
        offset = it.head.last_offset;
    }
    ck_assert_int_eq(it.rc, OK);
    ck_assert_uint_eq(it.pos, len);
    ck_assert_int_eq(offset, 89);
    free(all);
}
END_TEST

START_TEST(setting_offset_and_epoch_leaves_the_crc_alone)
{
    uint8_t *p = set_exact((struct bytes){ golden, sizeof golden }, sizeof golden);
    struct batch_head h;

    batch_set_base_offset(p, INT64_MAX - 2);
    batch_set_leader_epoch(p, 77);
    ck_assert_int_eq(batch_head_read(&h, p, sizeof golden), OK);
    ck_assert_int_eq(batch_check(&h, p), OK);
    ck_assert_int_eq(h.last_offset, INT64_MAX);
    ck_assert_int_eq(h.leader_epoch, 77);
    free(p);
}
END_TEST

START_TEST(max_timestamp_and_its_type)
{
    uint8_t *p = set_exact((struct bytes){ golden, sizeof golden }, sizeof golden);
    struct batch_head h;

    ck_assert_int_eq(batch_head_read(&h, p, sizeof golden), OK);
    batch_set_max_timestamp(&h, p, false, 1600000000002);
    ck_assert_int_eq(memcmp(p, golden, sizeof golden), 0);          /* nothing changed, nothing written */
    batch_set_max_timestamp(&h, p, true, 5);
    ck_assert_int_eq(batch_head_read(&h, p, sizeof golden), OK);
    ck_assert_int_eq(batch_check(&h, p), OK);
    ck_assert(batch_is_append_time(&h));
    ck_assert_int_eq(h.max_timestamp, 5);
    batch_set_max_timestamp(&h, p, false, 1600000000002);
    ck_assert_int_eq(memcmp(p, golden, sizeof golden), 0);
    free(p);
}
END_TEST

START_TEST(a_header_that_is_written_reads_back)
{
    uint8_t p[BATCH_HEAD_BYTES];
    struct batch_head a = {
        .base_offset = 5, .last_offset = 15, .size_bytes = sizeof p, .leader_epoch = 3, .last_offset_delta = 10,
        .base_timestamp = -1, .max_timestamp = 44, .producer_id = 9, .base_sequence = INT32_MAX - 3, .count = 0,
        .producer_epoch = 2, .attributes = BATCH_ATTR_TXN | BATCH_ATTR_HORIZON, .magic = 2,
    }, b;

    batch_head_write(&a, p);
    ck_assert_int_eq(batch_head_read(&b, p, sizeof p), OK);
    ck_assert_int_eq(memcmp(&a, &b, sizeof a), 0);
    ck_assert_int_eq(batch_check(&b, p), OK);
    ck_assert_int_eq(batch_last_sequence(&b), 6);       /* 2147483647 is followed by 0 */
}
END_TEST

START_TEST(sequences_wrap_to_zero)
{
    ck_assert_int_eq(sequence_add(0, 0), 0);
    ck_assert_int_eq(sequence_add(INT32_MAX - 1, 1), INT32_MAX);
    ck_assert_int_eq(sequence_add(INT32_MAX, 1), 0);
    ck_assert_int_eq(sequence_add(INT32_MAX, INT32_MAX), INT32_MAX - 1);
    ck_assert_int_eq(sequence_add(-5, 3), -2);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto/records/batch");
    TCase *t = tcase_create("all");
    SRunner *r;
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_header_is_read_field_by_field);
    tcase_add_test(t, every_torn_prefix_is_short);
    tcase_add_test(t, every_flipped_bit_under_the_crc_is_noticed);
    tcase_add_test(t, impossible_lengths_and_magics_are_corrupt);
    tcase_add_test(t, batches_of_all_magics_follow_each_other);
    tcase_add_test(t, setting_offset_and_epoch_leaves_the_crc_alone);
    tcase_add_test(t, max_timestamp_and_its_type);
    tcase_add_test(t, a_header_that_is_written_reads_back);
    tcase_add_test(t, sequences_wrap_to_zero);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
