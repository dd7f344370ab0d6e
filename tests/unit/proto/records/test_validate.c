/* tests/unit/proto/records/test_validate.c - the produce path: what is let through, changed,
 * rebuilt, refused, and why. */
#include "proto/records/validate.h"

#include "tests/unit/proto/records/sets.h"

enum {
    E_UNKNOWN = -1, E_NONE = 0, E_CORRUPT = 2, E_TOO_LARGE = 10, E_TIMESTAMP = 32, E_COMPRESSION = 76, E_RECORD = 87
};

static struct arena arena;
static struct validate_opts opts;
static struct validate_result res;

static void setup(void)
{
    arena_init(&arena, SET_ARENA_BYTES);
    opts = (struct validate_opts){
        .magic = BATCH_MAGIC_NOW, .name = "t-0",
        .now_ms = SET_TIME_MS, .before_max_ms = INT64_MAX, .after_max_ms = INT64_MAX,
        .max_message_bytes = 1048588, .codec = CODEC_PRODUCER,
        .max_decompressed_bytes = records_decompressed_limit(1048588),
    };
    for (int i = 0; i < CODEC_N; i++)
        opts.level[i] = codec_default_level((enum codec)i);
}

static void teardown(void)
{
    arena_fini(&arena);
}

/* Every error has a text; only a good result has bytes. */
static int validate(struct bytes v)
{
    ck_assert_int_eq(records_validate(&opts, v, &arena, &res), OK);
    ck_assert_int_eq(res.message != NULL, res.error != E_NONE);
    ck_assert(res.error == E_NONE || res.p == NULL);
    for (size_t i = 0; i < res.n_record_errors; i++)
        ck_assert_ptr_nonnull(res.record_errors[i].message);
    return res.error;
}

static struct bytes result(void)
{
    return (struct bytes){ res.p, res.len };
}

static struct set plain_set(size_t n)
{
    return set_make(&arena, 2, n, 0, 50);
}

static struct bytes build(const struct set *s, int8_t magic, enum codec codec)
{
    struct builder_opts o = set_opts(magic, codec, s->n > 0 ? s->v[0].offset : 0);

    return set_build(&arena, s, &o);
}

static void recrc(uint8_t *p)
{
    struct batch_head h;

    ck_assert_int_eq(batch_head_read(&h, p, BATCH_HEAD_BYTES), OK);
    be_put32(p + (h.magic < 2 ? 12 : 17), batch_crc(&h, p));
}

/* The batch with `n` bytes of its header replaced and the CRC made good again. */
static struct bytes bend(struct bytes v, size_t at, uint64_t value, size_t n)
{
    uint8_t *p = arena_alloc(&arena, v.len);

    ck_assert_ptr_nonnull(p);
    memcpy(p, v.p, v.len);
    for (size_t i = 0; i < n; i++)
        p[at + i] = (uint8_t)(value >> (8 * (n - 1 - i)));
    recrc(p);
    return (struct bytes){ p, v.len };
}

/* ---- what is fine -------------------------------------------------------------------------------------------- */
START_TEST(a_good_batch_stays_where_it_lies)
{
    struct set s = plain_set(10);
    struct bytes v = build(&s, 2, (enum codec)_i);
    uint8_t *before = set_exact(v, v.len);

    ck_assert_int_eq(validate(v), E_NONE);
    ck_assert_ptr_eq(res.p, v.p);
    ck_assert_uint_eq(res.len, v.len);
    ck_assert_int_eq(memcmp(before, v.p, v.len), 0);
    ck_assert_int_eq(res.n_records, 10);
    ck_assert_int_eq(res.head.last_offset_delta, 9);
    ck_assert_int_eq(res.max_timestamp, res.head.max_timestamp);
    ck_assert_int_eq(res.append_time_ms, -1);
    ck_assert(!res.rebuilt);
    free(before);
}
END_TEST

START_TEST(a_wrong_max_timestamp_is_mended)
{
    struct set s = plain_set(10);
    struct bytes v = build(&s, 2, (enum codec)_i);
    uint8_t *before = set_exact(v, v.len);

    ck_assert_int_eq(validate(bend(v, 35, 5, 8)), E_NONE);
    ck_assert_int_eq(memcmp(before, res.p, v.len), 0);
    free(before);
}
END_TEST

START_TEST(append_time_is_stamped)
{
    struct set s = plain_set(10);
    struct bytes v = build(&s, 2, (enum codec)_i);

    opts.append_time = true;
    opts.before_max_ms = 0;                             /* does not count then */
    ck_assert_int_eq(validate(v), E_NONE);
    ck_assert_ptr_eq(res.p, v.p);
    ck_assert_int_eq(res.max_timestamp, SET_TIME_MS);
    ck_assert_int_eq(res.append_time_ms, SET_TIME_MS);
    ck_assert(batch_is_append_time(&res.head));
    set_compare(result(), &s, SET_TIME_MS);
}
END_TEST

START_TEST(the_topics_codec_wins)
{
    enum codec from = (enum codec)(_i / CODEC_N), to = (enum codec)(_i % CODEC_N);
    struct set s = plain_set(30);
    struct builder_opts o = set_opts(2, from, 0);

    o.producer_id = 5;
    o.producer_epoch = 1;
    o.base_sequence = 100;
    o.txn = true;
    opts.codec = to;
    ck_assert_int_eq(validate(set_build(&arena, &s, &o)), E_NONE);
    ck_assert_int_eq(res.rebuilt, from != to);
    ck_assert_int_eq((int)batch_codec(&res.head), (int)to);
    ck_assert_int_eq(res.head.producer_id, 5);
    ck_assert_int_eq(res.head.producer_epoch, 1);
    ck_assert_int_eq(res.head.base_sequence, 100);
    ck_assert(batch_is_txn(&res.head));
    ck_assert_int_eq(res.n_records, 30);
    set_compare(result(), &s, -2);
    opts.append_time = true;
    ck_assert_int_eq(validate(set_build(&arena, &s, &o)), E_NONE);
    set_compare(result(), &s, SET_TIME_MS);
}
END_TEST

START_TEST(old_sets_become_one_batch)
{
    int8_t magic = (int8_t)(_i % 2);
    enum codec from = (enum codec)(_i / 2 % 4), to = (enum codec)(_i / 8);
    struct set s = set_make(&arena, magic, 12, 40, 60);
    struct bytes v = build(&s, magic, from);

    opts.codec = to;
    ck_assert_int_eq(validate(v), E_NONE);
    ck_assert(res.rebuilt);
    ck_assert_int_eq(res.head.magic, 2);
    ck_assert_int_eq(res.n_records, 12);
    ck_assert_int_eq((int)batch_codec(&res.head), (int)to);
    for (size_t i = 0; i < s.n; i++)
        s.v[i].offset = (int64_t)i;
    set_compare(result(), &s, -2);
    ck_assert_int_eq(res.max_timestamp, res.head.max_timestamp);
}
END_TEST

/* Any set, for a topic of an old format: messages that say the same, numbered from 0, or inside a wrapper of magic 0
 * from base_offset. */
START_TEST(a_topic_of_an_old_format_gets_messages)
{
    static const enum codec codecs[] = { CODEC_NONE, CODEC_GZIP, CODEC_SNAPPY, CODEC_LZ4 };
    int8_t to = (int8_t)(_i % 2), from = (int8_t)(_i / 2 % 3);
    enum codec source = codecs[_i / 6 % 4], target = codecs[_i / 24];
    struct set s = set_make(&arena, from, 9, 0, 50);
    int64_t base = to == 0 && target != CODEC_NONE ? 1000 : 0;

    opts.magic = to;
    opts.base_offset = 1000;
    opts.codec = (int)target;
    for (size_t i = 0; i < s.n; i++) {
        s.v[i].headers = (struct bytes){ NULL, 0 };
        s.v[i].n_headers = 0;
    }
    ck_assert_int_eq(validate(build(&s, from, source)), E_NONE);
    for (size_t i = 0; i < s.n; i++)
        s.v[i].offset = base + (int64_t)i;
    ck_assert_int_eq(res.n_records, 9);
    ck_assert_int_eq(res.fixed_base, base > 0);
    ck_assert_int_eq(res.head.magic, to);
    ck_assert_int_eq(res.head.last_offset, target == CODEC_NONE ? 0 : 8);
    ck_assert_int_eq(batch_codec(&res.head), target);
    ck_assert_int_eq(res.max_timestamp == NO_TIMESTAMP, to == 0 || from == 0);
    if (base > 0)
        batch_set_base_offset(res.p, base + 8);         /* as the log does */
    set_compare(result(), &s, to == 0 || from == 0 ? NO_TIMESTAMP : -2);
}
END_TEST

START_TEST(what_an_old_format_cannot_carry)
{
    struct set s = set_make(&arena, 1, 3, 0, 50);
    struct builder_opts o = set_opts(2, CODEC_NONE, 0);

    opts.magic = (int8_t)_i;
    ck_assert_int_eq(validate(build(&s, 2, CODEC_ZSTD)), E_COMPRESSION);
    opts.codec = CODEC_ZSTD;
    ck_assert_int_eq(validate(build(&s, 2, CODEC_NONE)), E_COMPRESSION);
    opts.codec = CODEC_PRODUCER;
    o.producer_id = 5;
    o.producer_epoch = 0;
    o.base_sequence = 0;
    ck_assert_int_eq(validate(set_build(&arena, &s, &o)), 43);
    s.v[1].headers = (struct bytes){ (const uint8_t *)"\2k\2v", 4 };
    s.v[1].n_headers = 1;
    ck_assert_int_eq(validate(build(&s, 2, CODEC_NONE)), E_UNKNOWN);
}
END_TEST

/* Each message is a batch of its own: only its own size counts. */
START_TEST(sizes_of_old_messages)
{
    struct set s = set_make(&arena, 1, 100, 0, 50);

    opts.magic = 1;
    opts.max_message_bytes = 30000;
    ck_assert_int_eq(validate(build(&s, 2, CODEC_GZIP)), E_NONE);
    opts.max_message_bytes = (int32_t)build(&s, 2, CODEC_GZIP).len;
    opts.codec = CODEC_NONE;
    ck_assert_int_eq(validate(build(&s, 2, CODEC_GZIP)), E_NONE);
    ck_assert_uint_gt(res.len, (size_t)opts.max_message_bytes);
    s.n = 1;
    s.v[0].value = (struct bytes){ arena_zalloc(&arena, 1 << 20), 1 << 20 };
    ck_assert_int_eq(validate(build(&s, 2, CODEC_GZIP)), E_TOO_LARGE);
}
END_TEST

START_TEST(nothing_is_appended_of_nothing)
{
    ck_assert_int_eq(validate((struct bytes){ NULL, 0 }), E_NONE);
    ck_assert_ptr_null(res.p);
    ck_assert_int_eq(validate((struct bytes){ (const uint8_t *)"abcdefgh", 8 }), E_NONE);
    ck_assert_ptr_null(res.p);
}
END_TEST

START_TEST(a_cut_second_batch_is_left_out)
{
    struct set s = plain_set(3);
    struct bytes v = build(&s, 2, CODEC_NONE);
    uint8_t *two = arena_alloc(&arena, 2 * v.len);

    memcpy(two, v.p, v.len);
    memcpy(two + v.len, v.p, v.len);
    ck_assert_int_eq(validate((struct bytes){ two, 2 * v.len - 1 }), E_NONE);
    ck_assert_uint_eq(res.len, v.len);
    ck_assert_int_eq(validate((struct bytes){ two, 2 * v.len }), E_RECORD);
}
END_TEST

/* ---- headers ------------------------------------------------------------------------------------------------- */
START_TEST(each_header_fault_has_its_code)
{
    static const struct { size_t at, n; uint64_t value; int error; } rows[] = {
        { 0, 8, 1, E_RECORD },              /* base offset */
        { 0, 8, UINT64_MAX, E_RECORD },
        { 8, 4, 13, E_CORRUPT },            /* length: impossible */
        { 8, 4, UINT32_MAX, E_CORRUPT },
        { 22, 1, 5, E_UNKNOWN },            /* codec */
        { 22, 1, 0x20, E_RECORD },          /* control */
        { 22, 1, 0x08, E_NONE },            /* a producer's own LogAppendTime on a CreateTime topic */
        { 22, 1, 0x40, E_NONE },            /* delete horizon */
        { 21, 1, 0xff, E_NONE },            /* unused bits */
        { 23, 4, 3, E_RECORD },             /* last offset delta */
        { 23, 4, UINT32_MAX, E_RECORD },
        { 23, 4, INT32_MAX, E_RECORD },
        { 43, 8, 1, E_RECORD },             /* producer id with sequence -1 */
        { 43, 8, UINT64_MAX - 1, E_NONE },  /* -2 is as good as none */
        { 53, 4, 0, E_NONE },               /* sequence without producer id */
        { 57, 4, 0, E_RECORD },             /* count */
        { 57, 4, 2, E_RECORD },
        { 57, 4, UINT32_MAX, E_RECORD },
    };
    struct set s = plain_set(3);
    struct bytes v = build(&s, 2, CODEC_NONE);

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t *p = (uint8_t *)(uintptr_t)bend(v, 16, 2, 1).p;

        for (size_t k = 0; k < rows[i].n; k++)
            p[rows[i].at + k] = (uint8_t)(rows[i].value >> (8 * (rows[i].n - 1 - k)));
        if (rows[i].at != 8)
            recrc(p);
        ck_assert_msg(validate((struct bytes){ p, v.len }) == rows[i].error, "row %zu: %d", i, res.error);
    }
}
END_TEST

START_TEST(a_wrong_crc_is_corrupt_in_every_magic)
{
    for (int8_t magic = 0; magic <= 2; magic++) {
        struct set s = set_make(&arena, magic, 1, 0, 10);
        struct bytes v = build(&s, magic, CODEC_NONE);
        uint8_t *p = set_exact(v, v.len);

        p[v.len - 1] ^= 1;
        ck_assert_int_eq(validate((struct bytes){ p, v.len }), E_CORRUPT);
        free(p);
    }
}
END_TEST

START_TEST(sizes_before_and_after_rewriting)
{
    struct set s = plain_set(100);
    struct bytes v = build(&s, 2, CODEC_NONE), packed = build(&s, 2, CODEC_ZSTD);

    opts.max_message_bytes = (int32_t)v.len;
    ck_assert_int_eq(validate(v), E_NONE);
    opts.max_message_bytes--;
    ck_assert_int_eq(validate(v), E_TOO_LARGE);
    opts.codec = CODEC_NONE;
    opts.max_message_bytes = (int32_t)packed.len;       /* unpacked it is more */
    ck_assert_int_eq(validate(packed), E_TOO_LARGE);
}
END_TEST

START_TEST(request_versions_have_rules_of_their_own)
{
    struct set s2 = plain_set(2), s1 = set_make(&arena, 1, 2, 0, 5);
    struct bytes v2 = build(&s2, 2, CODEC_NONE), v1 = build(&s1, 1, CODEC_NONE), z = build(&s2, 2, CODEC_ZSTD);
    uint8_t *two = arena_alloc(&arena, 2 * v2.len);
    struct request_check c;
    const struct { int16_t version; struct bytes in; int error; } rows[] = {
        { 3, v2, E_NONE }, { 2, v1, E_NONE }, { 0, v2, E_NONE }, { 3, v1, E_RECORD }, { 6, z, E_COMPRESSION },
        { 7, z, E_NONE }, { 9, { two, 2 * v2.len }, E_RECORD }, { 2, { two, 2 * v2.len }, E_NONE },
        { 9, { two, 2 * v2.len - 1 }, E_NONE }, { 9, { v2.p, v2.len - 1 }, E_RECORD }, { 9, { NULL, 0 }, E_RECORD },
        { 2, { NULL, 0 }, E_NONE }, { 9, { (const uint8_t *)"12345678\0\0\0\0", 12 }, E_CORRUPT },
        { 2, { (const uint8_t *)"12345678\0\0\0\0", 12 }, E_CORRUPT },
    };

    memcpy(two, v2.p, v2.len);
    memcpy(two + v2.len, v2.p, v2.len);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        records_check_request(rows[i].version, rows[i].in, &c);
        ck_assert_msg(c.error == rows[i].error, "row %zu: %d", i, c.error);
        ck_assert_int_eq(c.message != NULL, c.error != 0);
    }
}
END_TEST

/* ---- records ------------------------------------------------------------------------------------------------- */
START_TEST(timestamps_have_a_window)
{
    static const struct { int64_t delta; int error; } rows[] = {
        { -1000, E_NONE }, { -1001, E_TIMESTAMP }, { 0, E_NONE }, { 500, E_NONE }, { 501, E_TIMESTAMP },
        { -SET_TIME_MS - 1, E_NONE },                   /* -1: none */
        { -SET_TIME_MS, E_TIMESTAMP },
    };

    opts.before_max_ms = 1000;
    opts.after_max_ms = 500;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int c = 0; c < CODEC_N; c++) {
            struct set s = plain_set(3);

            for (size_t k = 0; k < 3; k++)
                s.v[k].timestamp = SET_TIME_MS;
            s.v[1].timestamp += rows[i].delta;
            ck_assert_int_eq(validate(build(&s, 2, (enum codec)c)), rows[i].error);
            ck_assert_uint_eq(res.n_record_errors, rows[i].error != E_NONE);
            if (rows[i].error != E_NONE)
                ck_assert_int_eq(res.record_errors[0].batch_index, 1);
        }
}
END_TEST

START_TEST(a_compacted_topic_needs_keys)
{
    for (int c = 0; c < CODEC_N; c++) {
        struct set s = plain_set(6);

        for (size_t k = 0; k < s.n; k++)
            s.v[k].key = (struct bytes){ (const uint8_t *)"k", k == 3 ? 0 : 1 };        /* empty is not null */
        opts.compacted = true;
        ck_assert_int_eq(validate(build(&s, 2, (enum codec)c)), E_NONE);
        s.v[2].key = s.v[5].key = (struct bytes){ NULL, 0 };
        ck_assert_int_eq(validate(build(&s, 2, (enum codec)c)), E_RECORD);
        ck_assert_uint_eq(res.n_record_errors, 2);
        ck_assert_int_eq(res.record_errors[0].batch_index, 2);
        ck_assert_int_eq(res.record_errors[1].batch_index, 5);
        opts.codec = c == CODEC_GZIP ? CODEC_LZ4 : CODEC_GZIP;
        ck_assert_int_eq(validate(build(&s, 2, (enum codec)c)), E_RECORD);
        ck_assert_uint_eq(res.n_record_errors, 2);
        opts.codec = CODEC_PRODUCER;
        opts.compacted = false;
    }
}
END_TEST

START_TEST(record_errors_are_bounded)
{
    struct set s = plain_set(3000);

    for (size_t k = 0; k < s.n; k++)
        s.v[k].key = (struct bytes){ NULL, 0 };
    opts.compacted = true;
    ck_assert_int_eq(validate(build(&s, 2, CODEC_NONE)), E_RECORD);
    ck_assert_uint_eq(res.n_record_errors, RECORD_ERRORS_MAX);
    opts.compacted = false;
    opts.before_max_ms = -10000;
    ck_assert_int_eq(validate(build(&s, 2, CODEC_ZSTD)), E_TIMESTAMP);
    ck_assert_uint_eq(res.n_record_errors, RECORD_ERRORS_MAX);
}
END_TEST

START_TEST(a_producer_may_not_claim_append_time)
{
    struct set s = plain_set(2);
    struct bytes v = bend(build(&s, 2, CODEC_NONE), 22, 0x08, 1);

    opts.append_time = true;
    ck_assert_int_eq(validate(v), E_TIMESTAMP);
    ck_assert_uint_eq(res.n_record_errors, 2);
    opts.append_time = false;
    ck_assert_int_eq(validate(v), E_NONE);
    ck_assert(!batch_is_append_time(&res.head));
}
END_TEST

/* Offset deltas 0, 1, 1 are nobody's concern in a plain batch; a compressed one cannot be taken as it is. */
START_TEST(offsets_that_are_not_consecutive)
{
    for (int c = 0; c < CODEC_N; c++) {
        struct set s = plain_set(3);
        struct bytes v;

        s.v[2].offset = 3;
        v = build(&s, 2, (enum codec)c);
        v = bend(v, 23, 2, 4);
        ck_assert_int_eq(validate(v), c == CODEC_NONE ? E_NONE : E_UNKNOWN);
        opts.codec = c == CODEC_GZIP ? CODEC_LZ4 : CODEC_GZIP;
        v = bend(build(&s, 2, (enum codec)c), 23, 2, 4);
        ck_assert_int_eq(validate(v), E_NONE);
        s.v[2].offset = 2;
        set_compare(result(), &s, -2);
        opts.codec = CODEC_PRODUCER;
    }
}
END_TEST

START_TEST(payloads_that_are_not_what_the_attributes_say)
{
    struct set s = plain_set(5);

    for (int c = 1; c < CODEC_N; c++)
        for (int other = 0; other < CODEC_N; other++) {
            struct bytes v = bend(build(&s, 2, (enum codec)other), 22, (unsigned)c, 1);

            if (c != other)
                ck_assert_int_eq(validate(v), E_UNKNOWN);
        }
}
END_TEST

START_TEST(bombs_pass_within_the_limit_and_fail_beyond)
{
    size_t n = (size_t)32 << 20;
    uint8_t *zeros = calloc(1, n);
    struct record r = { .timestamp = SET_TIME_MS, .value = { zeros, n } };
    struct set s = { &r, 1 };

    for (int c = 1; c < CODEC_N; c++) {
        struct bytes v = build(&s, 2, (enum codec)c);

        opts.max_message_bytes = INT32_MAX;
        opts.max_decompressed_bytes = n + 1000;
        ck_assert_int_eq(validate(v), E_NONE);
        opts.max_decompressed_bytes = n;
        ck_assert_int_eq(validate(v), E_TOO_LARGE);
        opts.max_message_bytes = 10 << 20;              /* unpacked on the way, it must not take more than that */
        opts.max_decompressed_bytes = n + 1000;
        opts.codec = CODEC_NONE;
        ck_assert_int_eq(validate(v), E_TOO_LARGE);
        opts.codec = CODEC_PRODUCER;
    }
    free(zeros);
}
END_TEST

START_TEST(little_memory_is_an_error_not_a_crash)
{
    struct set s = plain_set(200);
    struct bytes v = build(&s, 2, CODEC_ZSTD);

    opts.codec = CODEC_NONE;
    for (size_t limit = 0; limit < 40000; limit += 777) {
        struct arena small;
        int rc;

        arena_init(&small, limit);
        rc = records_validate(&opts, v, &small, &res);
        ck_assert(rc == ERR_NOMEM || (rc == OK && res.error == E_NONE));
        arena_fini(&small);
    }
}
END_TEST

/* With the CRC made good after each flip, nothing but the checks stands before the records. */
START_TEST(flipped_bits_under_a_good_crc)
{
    int8_t magic = (int8_t)(_i % 3);
    enum codec codec = (enum codec)(_i / 3);
    struct set s = set_make(&arena, magic, magic < 2 && codec == CODEC_NONE ? 1 : 3, 0, 25);
    struct bytes v;
    uint8_t *p;

    if (codec == CODEC_ZSTD && magic < 2)
        return;
    v = build(&s, magic, codec);
    p = malloc(v.len);
    for (size_t bit = 21 * 8; bit < v.len * 8; bit++) {
        struct arena a;

        arena_init(&a, 1 << 22);
        memcpy(p, v.p, v.len);
        p[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        recrc(p);
        opts.codec = bit % 2 ? CODEC_PRODUCER : CODEC_SNAPPY;
        opts.compacted = bit % 3 == 0;
        opts.max_decompressed_bytes = 1 << 20;
        if (records_validate(&opts, (struct bytes){ p, v.len }, &a, &res) == OK && res.error == E_NONE) {
            ck_assert_int_eq(batch_check(&res.head, res.p), OK);
            ck_assert_int_eq(res.head.base_offset, 0);
            ck_assert_int_eq(res.head.last_offset_delta + 1, res.n_records);
        }
        arena_fini(&a);
    }
    free(p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto/records/validate");
    TCase *t = tcase_create("all");
    SRunner *r;
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, a_good_batch_stays_where_it_lies, 0, CODEC_N);
    tcase_add_loop_test(t, a_wrong_max_timestamp_is_mended, 0, CODEC_N);
    tcase_add_loop_test(t, append_time_is_stamped, 0, CODEC_N);
    tcase_add_loop_test(t, the_topics_codec_wins, 0, CODEC_N * CODEC_N);
    tcase_add_loop_test(t, old_sets_become_one_batch, 0, 8 * CODEC_N);
    tcase_add_loop_test(t, a_topic_of_an_old_format_gets_messages, 0, 96);
    tcase_add_loop_test(t, what_an_old_format_cannot_carry, 0, 2);
    tcase_add_test(t, sizes_of_old_messages);
    tcase_add_test(t, nothing_is_appended_of_nothing);
    tcase_add_test(t, a_cut_second_batch_is_left_out);
    tcase_add_test(t, each_header_fault_has_its_code);
    tcase_add_test(t, a_wrong_crc_is_corrupt_in_every_magic);
    tcase_add_test(t, sizes_before_and_after_rewriting);
    tcase_add_test(t, request_versions_have_rules_of_their_own);
    tcase_add_test(t, timestamps_have_a_window);
    tcase_add_test(t, a_compacted_topic_needs_keys);
    tcase_add_test(t, record_errors_are_bounded);
    tcase_add_test(t, a_producer_may_not_claim_append_time);
    tcase_add_test(t, offsets_that_are_not_consecutive);
    tcase_add_test(t, payloads_that_are_not_what_the_attributes_say);
    tcase_add_test(t, bombs_pass_within_the_limit_and_fail_beyond);
    tcase_add_test(t, little_memory_is_an_error_not_a_crash);
    tcase_add_loop_test(t, flipped_bits_under_a_good_crc, 0, 15);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
