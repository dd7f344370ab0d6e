/* tests/unit/proto/records/test_records.c - what the builder writes the iterator reads,
 * and what nobody should write. */
#include "proto/records/records.h"

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

/* Reads everything of one batch; the number of records, and how it ended. */
static int read_all(struct bytes v, size_t max_bytes, size_t *n)
{
    struct batch_head h;
    struct record_iter it;
    struct record r;

    *n = 0;
    if (batch_head_read(&h, v.p, v.len) != OK || h.size_bytes > v.len)
        return ERR_CORRUPT;
    record_iter_init(&it, &h, v.p, max_bytes);
    while (record_iter_next(&it, &r)) {
        struct cursor c = cur_ro(r.headers.p, r.headers.len);

        for (int32_t i = 0; i < r.n_headers; i++)
            record_header_next(&c);
        ck_assert_int_eq(c.rc, OK);
        (*n)++;
    }
    record_iter_fini(&it);
    record_iter_fini(&it);
    return it.rc;
}

/* ---- round trips --------------------------------------------------------------------------------------------- */
START_TEST(records_round_trip_in_every_format)
{
    int8_t magic = (int8_t)(_i % 3);
    enum codec codec = (enum codec)(_i / 3);
    static const size_t counts[] = { 1, 2, 10, 300 };

    if (codec == CODEC_ZSTD && magic < 2)
        return;
    for (int round = 0; round < 20; round++) {
        int64_t base = round < 10 ? 0 : (int64_t)random_u32() * 1000;
        struct set s = set_make(&arena, magic, counts[round % 4], base, round % 5 == 0 ? 30000 : 100);
        struct builder_opts o = set_opts(magic, codec, base);

        set_compare(set_build(&arena, &s, &o), &s, -2);
        o.append_time = true;
        o.append_ms = 123456789;
        set_compare(set_build(&arena, &s, &o), &s, magic == 0 ? -1 : 123456789);
    }
}
END_TEST

START_TEST(gaps_between_offsets_are_kept)
{
    for (int i = 0; i < 15; i++) {
        int8_t magic = (int8_t)(i % 3);
        enum codec codec = (enum codec)(i / 3);
        struct set s = set_make(&arena, magic, 20, 1000, 10);
        struct builder_opts o = set_opts(magic, codec, 1000);

        if (codec == CODEC_ZSTD && magic < 2)
            continue;
        for (size_t k = 0; k < s.n; k++)
            s.v[k].offset = 1000 + (int64_t)(k * k + 3);
        set_compare(set_build(&arena, &s, &o), &s, -2);
    }
}
END_TEST

START_TEST(producer_fields_are_written)
{
    struct builder_opts o = set_opts(2, CODEC_ZSTD, 0);
    struct set s = set_make(&arena, 2, 4, 0, 10);
    struct batch_head h;
    struct bytes v;

    o.producer_id = 7;
    o.producer_epoch = 3;
    o.base_sequence = INT32_MAX;
    o.txn = true;
    o.leader_epoch = 11;
    v = set_build(&arena, &s, &o);
    ck_assert_int_eq(batch_head_read(&h, v.p, v.len), OK);
    ck_assert_int_eq(h.producer_id, 7);
    ck_assert_int_eq(h.producer_epoch, 3);
    ck_assert_int_eq(batch_last_sequence(&h), 2);
    ck_assert_int_eq(h.leader_epoch, 11);
    ck_assert(batch_is_txn(&h) && !batch_is_control(&h));
    ck_assert_int_eq(h.count, 4);
}
END_TEST

START_TEST(control_batches)
{
    struct builder_opts o = set_opts(2, CODEC_NONE, 50);
    struct control_record c;
    struct batch_head h;
    struct bytes v;

    o.txn = true;
    o.producer_id = 9000;
    o.producer_epoch = 2;
    ck_assert_int_eq(control_batch_build(&o, CONTROL_COMMIT, 77, 1600000000000, &arena, &v), OK);
    ck_assert_int_eq(batch_head_read(&h, v.p, v.len), OK);
    ck_assert_int_eq(batch_check(&h, v.p), OK);
    ck_assert_uint_eq(v.len, 78);
    ck_assert(batch_is_control(&h) && batch_is_txn(&h));
    ck_assert_int_eq(control_batch_read(&h, v.p, &c), OK);
    ck_assert_int_eq(c.type, CONTROL_COMMIT);
    ck_assert_int_eq(c.coordinator_epoch, 77);
    ck_assert_int_eq(c.offset, 50);
    h.count = 0;
    ck_assert_int_eq(control_batch_read(&h, v.p, &c), ERR_NOENT);
}
END_TEST

/* ---- the builder says no --------------------------------------------------------------------------------------- */
static int build_rc(struct builder_opts o, const struct record *r, size_t n)
{
    struct builder b;
    struct bytes out;
    int rc;

    builder_init(&b, &o, &arena);
    for (size_t i = 0; i < n; i++)
        builder_add(&b, &r[i]);
    rc = builder_finish(&b, &out);
    builder_fini(&b);
    return rc;
}

START_TEST(the_builder_refuses_what_no_reader_could_use)
{
    struct set s = set_make(&arena, 0, 2, 0, 10);
    struct builder_opts o = set_opts(2, CODEC_NONE, 0);
    struct record r[2] = { s.v[0], s.v[1] };

    ck_assert_int_eq(build_rc(o, r, 2), OK);
    ck_assert_int_eq(build_rc(o, r, 0), OK);
    r[1].offset = 0;
    ck_assert_int_eq(build_rc(o, r, 2), ERR_INVALID);
    r[1].offset = (int64_t)INT32_MAX + 1;
    ck_assert_int_eq(build_rc(o, r, 2), ERR_INVALID);
    r[1].offset = INT32_MAX;
    ck_assert_int_eq(build_rc(o, r, 2), OK);
    r[1].offset = INT64_MAX;
    o.base_offset = INT64_MIN + 1;                      /* the distance does not fit 64 bits */
    ck_assert_int_eq(build_rc(o, r + 1, 1), ERR_INVALID);
    o.base_offset = 0;
    r[1].offset = 1;
    r[0].timestamp = -2;
    ck_assert_int_eq(build_rc(o, r, 2), ERR_INVALID);
    r[0] = s.v[0];
    r[0].n_headers = 1;
    o.magic = 1;
    ck_assert_int_eq(build_rc(o, r, 1), ERR_INVALID);
    r[0].n_headers = 0;
    ck_assert_int_eq(build_rc(o, r, 1), OK);
    o.codec = CODEC_ZSTD;
    o.level = 3;
    ck_assert_int_eq(build_rc(o, r, 1), ERR_UNSUPPORTED);
    o = set_opts(1, CODEC_NONE, 0);
    o.producer_id = 5;
    ck_assert_int_eq(build_rc(o, r, 1), ERR_INVALID);
    o = set_opts(2, CODEC_NONE, 0);
    o.txn = true;
    ck_assert_int_eq(build_rc(o, r, 1), ERR_INVALID);
    o = set_opts(2, CODEC_NONE, 0);
    o.max_bytes = 64;
    ck_assert_int_eq(build_rc(o, r, 2), ERR_TOO_LARGE);
}
END_TEST

/* ---- broken input -------------------------------------------------------------------------------------------- */
/* The length field is made right again, so that the records are cut, not the batch. */
START_TEST(a_batch_cut_inside_its_records_is_refused)
{
    int8_t magic = (int8_t)(_i % 3);
    enum codec codec = (enum codec)(_i / 3);
    struct builder_opts o = set_opts(magic, codec, 0);
    struct set s = set_make(&arena, magic, codec == CODEC_NONE && magic < 2 ? 1 : 5, 0, 40);
    struct bytes v;

    if (codec == CODEC_ZSTD && magic < 2)
        return;
    v = set_build(&arena, &s, &o);
    for (size_t cut = 26; cut < v.len; cut++) {
        uint8_t *p = set_exact(v, cut);
        size_t n;
        int rc;

        be_put32(p + 8, (uint32_t)cut - 12);
        rc = read_all((struct bytes){ p, cut }, SET_ARENA_BYTES, &n);
        ck_assert_int_ne(rc, OK);
        ck_assert_uint_lt(n, s.n + (codec == CODEC_NONE));
        free(p);
    }
}
END_TEST

START_TEST(flipped_bits_never_read_too_far)
{
    int8_t magic = (int8_t)(_i % 3);
    enum codec codec = (enum codec)(_i / 3);
    struct builder_opts o = set_opts(magic, codec, 0);
    struct set s = set_make(&arena, magic, 4, 0, 30);
    struct bytes v;
    uint8_t *p;
    size_t n;

    if (codec == CODEC_ZSTD && magic < 2)
        return;
    v = set_build(&arena, &s, &o);
    p = set_exact(v, v.len);
    for (size_t bit = 0; bit < v.len * 8; bit++) {
        p[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        read_all((struct bytes){ p, v.len }, 1 << 20, &n);
        p[bit / 8] ^= (uint8_t)(1U << (bit % 8));
    }
    free(p);
}
END_TEST

START_TEST(counts_that_do_not_fit_the_records)
{
    struct set s = set_make(&arena, 2, 3, 0, 10);
    size_t n;

    for (int c = 0; c < CODEC_N; c++) {
        struct builder_opts o = set_opts(2, (enum codec)c, 0);
        struct bytes v = set_build(&arena, &s, &o);
        uint8_t *p = set_exact(v, v.len);

        be_put32(p + 57, 4);
        ck_assert_int_eq(read_all((struct bytes){ p, v.len }, 1 << 20, &n), ERR_INVALID);
        ck_assert_uint_eq(n, 3);
        be_put32(p + 57, 2);
        ck_assert_int_eq(read_all((struct bytes){ p, v.len }, 1 << 20, &n), ERR_INVALID);
        ck_assert_uint_eq(n, 1);                        /* the last one is given out only if nothing follows it */
        be_put32(p + 57, 0);
        ck_assert_int_eq(read_all((struct bytes){ p, v.len }, 1 << 20, &n), OK);
        be_put32(p + 57, UINT32_MAX);
        ck_assert_int_eq(read_all((struct bytes){ p, v.len }, 1 << 20, &n), ERR_INVALID);
        be_put32(p + 57, 3);
        p[22] = (uint8_t)(p[22] | 7);
        ck_assert_int_eq(read_all((struct bytes){ p, v.len }, 1 << 20, &n), ERR_UNSUPPORTED);
        free(p);
    }
}
END_TEST

START_TEST(a_large_record_needs_no_more_than_itself)
{
    for (int c = 1; c < CODEC_N; c++) {
        struct builder_opts o = set_opts(2, (enum codec)c, 0);
        uint8_t *big = calloc(1, 20 << 20);
        struct record r = { .timestamp = 1, .value = { big, 20 << 20 } };
        struct set s = { &r, 1 };
        struct bytes v = set_build(&arena, &s, &o);
        size_t n;

        ck_assert_int_eq(read_all(v, 1 << 20, &n), ERR_TOO_LARGE);
        ck_assert_uint_eq(n, 0);
        ck_assert_int_eq(read_all(v, 21 << 20, &n), OK);
        ck_assert_uint_eq(n, 1);
        free(big);
    }
}
END_TEST

START_TEST(an_old_librdkafka_leaves_the_wrapper_offset_zero)
{
    struct builder_opts o = set_opts(1, CODEC_GZIP, 0);
    struct set s = set_make(&arena, 1, 3, 0, 10);
    struct bytes v = set_build(&arena, &s, &o);
    uint8_t *p = set_exact(v, v.len);
    size_t n;

    batch_set_base_offset(p, 0);
    set_compare((struct bytes){ p, v.len }, &s, -2);
    batch_set_base_offset(p, 1);                        /* less than the last inner offset, and not 0 */
    ck_assert_int_eq(read_all((struct bytes){ p, v.len }, 1 << 20, &n), ERR_INVALID);
    batch_set_base_offset(p, 102);
    for (size_t i = 0; i < s.n; i++)
        s.v[i].offset += 100;
    set_compare((struct bytes){ p, v.len }, &s, -2);
    free(p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto/records/records");
    TCase *t = tcase_create("all");
    SRunner *r;
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, records_round_trip_in_every_format, 0, 15);
    tcase_add_test(t, gaps_between_offsets_are_kept);
    tcase_add_test(t, producer_fields_are_written);
    tcase_add_test(t, control_batches);
    tcase_add_test(t, the_builder_refuses_what_no_reader_could_use);
    tcase_add_loop_test(t, a_batch_cut_inside_its_records_is_refused, 0, 15);
    tcase_add_loop_test(t, flipped_bits_never_read_too_far, 0, 15);
    tcase_add_test(t, counts_that_do_not_fit_the_records);
    tcase_add_test(t, a_large_record_needs_no_more_than_itself);
    tcase_add_test(t, an_old_librdkafka_leaves_the_wrapper_offset_zero);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
