/* tests/unit/proto/records/test_convert.c - down-conversion for old consumers. */
#include "proto/records/convert.h"

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

static struct convert_opts to(int8_t magic)
{
    return (struct convert_opts){ .magic = magic, .max_bytes = 1 << 20, .max_decompressed_bytes = 1 << 24 };
}

static struct bytes convert(struct convert_opts o, struct bytes in)
{
    struct batch_iter it;
    struct bytes out;

    ck_assert_int_eq(records_down_convert(&o, in, &arena, &out), OK);
    batch_iter_init(&it, out);
    while (batch_iter_next(&it))
        ck_assert_int_le(it.head.magic, o.magic);
    return out;
}

static struct bytes build(const struct set *s, int8_t magic, enum codec codec, int64_t base)
{
    struct builder_opts o = set_opts(magic, codec, base);

    return set_build(&arena, s, &o);
}

static struct bytes join(struct bytes a, struct bytes b)
{
    uint8_t *p = arena_alloc(&arena, a.len + b.len);

    ck_assert_ptr_nonnull(p);
    memcpy(p, a.p, a.len);
    memcpy(p + a.len, b.p, b.len);
    return (struct bytes){ p, a.len + b.len };
}

/* What an old consumer sees of s. */
static void strip(struct set *s, int8_t magic)
{
    for (size_t i = 0; i < s->n; i++) {
        s->v[i].n_headers = 0;
        s->v[i].headers = (struct bytes){ NULL, 0 };
        if (magic == 0)
            s->v[i].timestamp = NO_TIMESTAMP;
    }
}

START_TEST(records_keep_offset_time_key_and_value)
{
    int8_t from = (int8_t)(_i % 3), magic = (int8_t)(_i / 3 % 2);
    enum codec codec = (enum codec)(_i / 6);
    struct set s = set_make(&arena, from, 10, 5000, 100);
    struct bytes in = build(&s, from, codec, 5000), out = convert(to(magic), in);

    strip(&s, magic);
    set_compare(out, &s, -2);
    if (from <= magic)
        ck_assert(set_bytes_eq(in, out));
}
END_TEST

START_TEST(append_time_is_kept)
{
    struct set s = set_make(&arena, 2, 10, 0, 100);
    struct builder_opts o = set_opts(2, CODEC_LZ4, 0);

    o.append_time = true;
    o.append_ms = 99;
    strip(&s, 1);
    set_compare(convert(to(1), set_build(&arena, &s, &o)), &s, 99);
    set_compare(convert(to(0), set_build(&arena, &s, &o)), &s, -1);
}
END_TEST

START_TEST(plain_records_before_the_offset_are_dropped)
{
    struct set s = set_make(&arena, 2, 10, 100, 10), tail = { s.v + 4, 6 };
    struct convert_opts o = to(1);

    o.first_offset = 104;
    strip(&s, 1);
    set_compare(convert(o, build(&s, 2, CODEC_NONE, 100)), &tail, -2);
    set_compare(convert(o, build(&s, 2, CODEC_GZIP, 100)), &s, -2);
}
END_TEST

START_TEST(control_batches_are_left_out)
{
    struct builder_opts o = set_opts(2, CODEC_NONE, 10);
    struct set s = set_make(&arena, 2, 10, 0, 10);
    struct bytes control, out;

    o.txn = true;
    o.producer_id = 1;
    o.producer_epoch = 0;
    ck_assert_int_eq(control_batch_build(&o, CONTROL_ABORT, 0, 5, &arena, &control), OK);
    strip(&s, 1);
    set_compare(convert(to(1), join(build(&s, 2, CODEC_SNAPPY, 0), control)), &s, -2);
    /* nothing else was there: 12 bytes that look like the front of a message that did not fit */
    out = convert(to(1), control);
    ck_assert_uint_eq(out.len, 12);
    ck_assert_uint_eq(be_get64(out.p), UINT64_MAX);
    ck_assert_uint_ge(be_get32(out.p + 8), 14);
    ck_assert_uint_eq(convert(to(1), (struct bytes){ control.p, 20 }).len, 0);
}
END_TEST

START_TEST(zstd_cannot_be_converted)
{
    struct set s = set_make(&arena, 2, 10, 0, 10), t = set_make(&arena, 2, 3, 10, 10);
    struct bytes z = build(&t, 2, CODEC_ZSTD, 10), out;
    struct convert_opts o = to(1);

    ck_assert_int_eq(records_down_convert(&o, z, &arena, &out), ERR_UNSUPPORTED);
    strip(&s, 1);
    set_compare(convert(o, join(build(&s, 2, CODEC_NONE, 0), z)), &s, -2);
}
END_TEST

START_TEST(the_first_batch_is_made_whole_and_then_the_limit_counts)
{
    struct set s = set_make(&arena, 2, 10, 0, 10), t = set_make(&arena, 2, 10, 10, 10);
    struct bytes in = join(build(&s, 2, CODEC_NONE, 0), build(&t, 2, CODEC_NONE, 10));
    struct convert_opts o = to(1);

    o.max_bytes = 1;
    strip(&s, 1);
    set_compare(convert(o, in), &s, -2);
    set_compare(convert(o, (struct bytes){ in.p, in.len - 1 }), &s, -2);
}
END_TEST

START_TEST(broken_records_are_an_error)
{
    struct set s = set_make(&arena, 2, 4, 0, 30);

    for (int c = 0; c < 4; c++) {
        struct bytes in = build(&s, 2, (enum codec)c, 0), out;
        uint8_t *p = set_exact(in, in.len);
        struct convert_opts o = to(1);
        bool refused = false;

        for (size_t bit = 61 * 8; bit < in.len * 8; bit++) {
            struct arena a;
            int rc;

            arena_init(&a, 1 << 22);
            p[bit / 8] ^= (uint8_t)(1U << (bit % 8));
            rc = records_down_convert(&o, (struct bytes){ p, in.len }, &a, &out);
            ck_assert(rc == OK || rc == ERR_CORRUPT || rc == ERR_TOO_LARGE);
            refused = refused || rc == ERR_CORRUPT;
            p[bit / 8] ^= (uint8_t)(1U << (bit % 8));
            arena_fini(&a);
        }
        ck_assert(refused);
        free(p);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto/records/convert");
    TCase *t = tcase_create("all");
    SRunner *r;
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, records_keep_offset_time_key_and_value, 0, 24);
    tcase_add_test(t, append_time_is_kept);
    tcase_add_test(t, plain_records_before_the_offset_are_dropped);
    tcase_add_test(t, control_batches_are_left_out);
    tcase_add_test(t, zstd_cannot_be_converted);
    tcase_add_test(t, the_first_batch_is_made_whole_and_then_the_limit_counts);
    tcase_add_test(t, broken_records_are_an_error);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
