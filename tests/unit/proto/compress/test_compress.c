/* tests/unit/proto/compress/test_compress.c - round trips, cut and flipped streams, bombs,
 * and each framing's corners. */
#include "proto/compress/compress.h"

#include "tests/unit/proto/random.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>

#define ARENA_BYTES ((size_t)512 << 20)

static struct arena arena;

static void setup(void)
{
    arena_init(&arena, ARENA_BYTES);
}

static void teardown(void)
{
    arena_fini(&arena);
}

/* ---- helpers ------------------------------------------------------------------------------------------------- */
static struct bytes pack_in(struct arena *a, enum codec codec, int level, int8_t magic, const uint8_t *p, size_t n)
{
    struct outbuf out;
    struct comp *c;

    outbuf_init(&out, a, 0, ARENA_BYTES / 2);
    ck_assert_int_eq(comp_open(&c, codec, level, magic, &out), OK);
    while (n > 0) {
        size_t step = 1 + random_below((uint32_t)(n < 50000 ? n : 50000));

        ck_assert_int_eq(comp_write(c, p, step), OK);
        p += step;
        n -= step;
    }
    ck_assert_int_eq(comp_finish(c), OK);
    comp_close(&c);
    ck_assert_int_eq(out.rc, OK);
    return (struct bytes){ out.p, out.len };
}

static struct bytes pack(enum codec codec, int8_t magic, const uint8_t *p, size_t n)
{
    return pack_in(&arena, codec, codec_default_level(codec), magic, p, n);
}

/* All of a stream, copied out. */
static int unpack(enum codec codec, int8_t magic, struct bytes in, size_t max, uint8_t *out, size_t room, size_t *n)
{
    struct decomp *d;
    const uint8_t *p;
    size_t have;
    int rc = decomp_open(&d, codec, magic, in, max);

    *n = 0;
    while (rc == OK) {
        rc = decomp_peek(d, 1, &p, &have);
        if (rc != OK || have == 0)
            break;
        ck_assert_uint_le(have, room - *n);
        memcpy(out + *n, p, have);
        *n += have;
        decomp_drop(d, have);
    }
    decomp_close(&d);
    return rc;
}

static int unpack_rc(enum codec codec, int8_t magic, struct bytes in)
{
    static uint8_t out[1 << 20];
    size_t n;

    return unpack(codec, magic, in, sizeof out, out, sizeof out, &n);
}

static struct bytes join(struct bytes a, struct bytes b)
{
    uint8_t *p = arena_alloc(&arena, a.len + b.len + 1);

    ck_assert_ptr_nonnull(p);
    memcpy(p, a.p, a.len);
    memcpy(p + a.len, b.p, b.len);
    return (struct bytes){ p, a.len + b.len };
}

#define BYTES(...) ((struct bytes){ (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }) })

/* ---- any codec ----------------------------------------------------------------------------------------------- */
static const size_t sizes[] = { 0, 1, 2, 100, 16383, 16384, 16385, 32767, 32768, 32769, 65535, 65536, 65537, 300000 };

enum { N_SIZES = sizeof sizes / sizeof sizes[0] };

START_TEST(what_goes_in_comes_out)
{
    enum codec codec = (enum codec)(_i / 3 + 1);
    int8_t magic = (int8_t)(_i % 3);
    uint8_t *in = malloc(300000), *out = malloc(300000);

    if (codec == CODEC_ZSTD && magic < 2)
        goto done;
    for (size_t i = 0; i < N_SIZES * 3; i++) {
        size_t n;
        struct bytes packed;

        random_fill(in, sizes[i / 3], (unsigned)(i % 3));
        packed = pack(codec, magic, in, sizes[i / 3]);
        ck_assert_int_eq(unpack(codec, magic, packed, 300000, out, 300000, &n), OK);
        ck_assert_uint_eq(n, sizes[i / 3]);
        ck_assert_int_eq(memcmp(in, out, n), 0);
    }
done:
    free(in);
    free(out);
}
END_TEST

START_TEST(every_level_round_trips)
{
    static const struct { enum codec codec; int level; } levels[] = {
        { CODEC_GZIP, -1 }, { CODEC_GZIP, 1 }, { CODEC_GZIP, 9 }, { CODEC_GZIP, 1 }, { CODEC_LZ4, 1 }, { CODEC_LZ4, 9 },
        { CODEC_LZ4, 17 }, { CODEC_ZSTD, -131072 }, { CODEC_ZSTD, 1 }, { CODEC_ZSTD, 3 }, { CODEC_ZSTD, 22 },
    };
    static uint8_t in[100000], out[100000];
    size_t n;

    random_fill(in, sizeof in, 1);
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        struct bytes packed = pack_in(&arena, levels[i].codec, levels[i].level, 2, in, sizeof in);

        ck_assert(codec_level_valid(levels[i].codec, levels[i].level));
        ck_assert_int_eq(unpack(levels[i].codec, 2, packed, sizeof out, out, sizeof out, &n), OK);
        ck_assert_uint_eq(n, sizeof in);
        ck_assert_int_eq(memcmp(in, out, n), 0);
    }
    ck_assert(!codec_level_valid(CODEC_GZIP, 0) && !codec_level_valid(CODEC_GZIP, 10));
    ck_assert(!codec_level_valid(CODEC_LZ4, 0) && !codec_level_valid(CODEC_LZ4, 18));
    ck_assert(!codec_level_valid(CODEC_ZSTD, 23) && codec_level_valid(CODEC_SNAPPY, 0));
}
END_TEST

START_TEST(peek_drop_and_skip_give_the_same_bytes_in_any_pattern)
{
    enum codec codec = (enum codec)(_i + 1);
    static uint8_t in[200000];
    size_t at = 0, have, skipped;
    const uint8_t *p;
    struct decomp *d;

    random_fill(in, sizeof in, 1);
    ck_assert_int_eq(decomp_open(&d, codec, 2, pack(codec, 2, in, sizeof in), sizeof in), OK);
    while (at < sizeof in) {
        size_t want = random_below(random_below(4) == 0 ? 90000 : 300), left = sizeof in - at;

        if (random_below(2) == 0) {
            ck_assert_int_eq(decomp_skip(d, want, &skipped), OK);
            ck_assert_uint_eq(skipped, want < left ? want : left);
            at += skipped;
            continue;
        }
        ck_assert_int_eq(decomp_peek(d, want, &p, &have), OK);
        ck_assert_uint_ge(have, want < left ? want : left);
        ck_assert_int_eq(memcmp(p, in + at, have), 0);
        have = random_below((uint32_t)have + 1);
        decomp_drop(d, have);
        at += have;
    }
    ck_assert_int_eq(decomp_peek(d, 1, &p, &have), OK);
    ck_assert_uint_eq(have, 0);
    decomp_close(&d);
}
END_TEST

/* A cut stream gives a prefix and then an error; only snappy's framing and zstd's nothing can end early unnoticed. */
START_TEST(a_stream_cut_anywhere_is_never_taken_for_whole)
{
    enum codec codec = (enum codec)(_i + 1);
    static uint8_t in[3000], out[3000];
    struct bytes packed;

    random_fill(in, sizeof in, 1);
    random_fill(in + 1000, 500, 2);
    packed = pack(codec, 2, in, sizeof in);
    for (size_t cut = 0; cut < packed.len; cut++) {
        uint8_t *exact = malloc(cut + 1);               /* so that the address sanitizer sees a read too far */
        size_t n;
        int rc;

        memcpy(exact, packed.p, cut);
        rc = unpack(codec, 2, (struct bytes){ exact, cut }, sizeof out, out, sizeof out, &n);
        ck_assert_int_eq(memcmp(in, out, n), 0);
        if (rc == OK)
            ck_assert(n < sizeof in && (codec == CODEC_SNAPPY || (codec == CODEC_ZSTD && cut == 0)));
        else
            ck_assert_int_eq(rc, ERR_CORRUPT);
        free(exact);
    }
}
END_TEST

START_TEST(flipped_bits_do_no_harm)
{
    enum codec codec = (enum codec)(_i + 1);
    static uint8_t in[3000], out[1 << 16];
    struct bytes packed;
    uint8_t *bent;

    random_fill(in, sizeof in, 1);
    random_fill(in + 1000, 500, 2);
    packed = pack(codec, 2, in, sizeof in);
    bent = malloc(packed.len);
    for (size_t bit = 0; bit < packed.len * 8; bit++) {
        size_t n;
        int rc;

        memcpy(bent, packed.p, packed.len);
        bent[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        rc = unpack(codec, 2, (struct bytes){ bent, packed.len }, sizeof out, out, sizeof out, &n);
        ck_assert(rc == OK || rc == ERR_CORRUPT || rc == ERR_TOO_LARGE);
    }
    free(bent);
}
END_TEST

/* 64 MiB of zeros in a few kB must stop at the limit, not after it; passing over them needs no memory. */
START_TEST(a_bomb_stops_at_the_limit)
{
    enum codec codec = (enum codec)(_i + 1);
    const size_t plain = (size_t)64 << 20, limit = (size_t)1 << 20;
    uint8_t *zeros = calloc(1, plain);
    struct bytes packed = pack(codec, 2, zeros, plain);
    struct decomp *d;
    size_t skipped, have;
    const uint8_t *p;

    ck_assert_int_eq(decomp_open(&d, codec, 2, packed, limit), OK);
    ck_assert_int_eq(decomp_skip(d, plain, &skipped), ERR_TOO_LARGE);
    ck_assert_uint_le(skipped, limit);
    decomp_close(&d);
    ck_assert_int_eq(decomp_open(&d, codec, 2, packed, limit), OK);
    ck_assert_int_eq(decomp_peek(d, plain, &p, &have), ERR_TOO_LARGE);
    ck_assert_uint_le(have, limit);
    decomp_close(&d);
    ck_assert_int_eq(decomp_open(&d, codec, 2, packed, plain), OK);
    ck_assert_int_eq(decomp_skip(d, plain, &skipped), OK);
    ck_assert_uint_eq(skipped, plain);
    decomp_close(&d);
    free(zeros);
}
END_TEST

START_TEST(output_beyond_the_limit_is_refused)
{
    enum codec codec = (enum codec)_i;
    static uint8_t in[200000];
    struct outbuf out;
    struct comp *c;
    int rc;

    random_fill(in, sizeof in, 2);
    outbuf_init(&out, &arena, 0, 100000);
    ck_assert_int_eq(comp_open(&c, codec, codec_default_level(codec), 2, &out), OK);
    rc = comp_write(c, in, sizeof in);
    if (rc == OK)
        rc = comp_finish(c);
    ck_assert_int_eq(rc, ERR_TOO_LARGE);
    ck_assert_uint_le(out.len, 100000);
    comp_close(&c);
}
END_TEST

START_TEST(names_and_unknown_codecs)
{
    enum codec c;
    struct decomp *d;
    struct comp *out;
    struct outbuf o;

    for (int i = 0; i < CODEC_N; i++) {
        ck_assert(codec_parse(str_of(codec_name((enum codec)i)), &c));
        ck_assert_int_eq((int)c, i);
    }
    ck_assert(!codec_parse(STR_LIT("producer"), &c));
    ck_assert_int_eq(decomp_open(&d, (enum codec)7, 2, BYTES(0), 1), ERR_UNSUPPORTED);
    ck_assert_ptr_null(d);
    ck_assert_int_eq(decomp_open(&d, CODEC_NONE, 2, BYTES(0), 1), ERR_UNSUPPORTED);
    outbuf_init(&o, &arena, 0, 100);
    ck_assert_int_eq(comp_open(&out, CODEC_ZSTD, 3, 1, &o), ERR_UNSUPPORTED);
    ck_assert_int_eq(comp_open(&out, CODEC_GZIP, 77, 1, &o), ERR_INVALID);
    ck_assert_ptr_null(out);
    decomp_close(&d);
    comp_close(&out);
}
END_TEST

/* ---- gzip ---------------------------------------------------------------------------------------------------- */
START_TEST(gzip_members_one_after_the_other_are_one_stream)
{
    static uint8_t out[100];
    struct bytes hello = pack(CODEC_GZIP, 2, (const uint8_t *)"hello ", 6);
    struct bytes world = pack(CODEC_GZIP, 2, (const uint8_t *)"world", 5);
    struct bytes none = pack(CODEC_GZIP, 2, NULL, 0);
    struct bytes both = join(join(hello, none), world);
    size_t n;

    ck_assert_int_eq(unpack(CODEC_GZIP, 2, both, 100, out, 100, &n), OK);
    ck_assert_uint_eq(n, 11);
    ck_assert_int_eq(memcmp(out, "hello world", 11), 0);
    /* what does not begin like a member is not looked at; what does, must be good */
    ck_assert_int_eq(unpack_rc(CODEC_GZIP, 2, join(hello, BYTES(1, 2, 3))), OK);
    ck_assert_int_eq(unpack_rc(CODEC_GZIP, 2, join(hello, (struct bytes){ world.p, 12 })), ERR_CORRUPT);
}
END_TEST

START_TEST(gzip_header_fields_are_passed_over)
{
    /* flags: header CRC, extra, name, comment; then the one byte 'x' stored */
    uint8_t in[] = { 0x1f, 0x8b, 8, 30, 0, 0, 0, 0, 0, 3, 2, 0, 0xaa, 0xbb, 'n', 0, 'c', 0, 0xdb, 0x78,
                     1, 1, 0, 0xfe, 0xff, 'x', 0x83, 0x16, 0xdc, 0x8c, 1, 0, 0, 0 };
    struct bytes v = { in, sizeof in };
    uint8_t out[4];
    size_t n;

    ck_assert_int_eq(unpack(CODEC_GZIP, 2, v, 4, out, 4, &n), OK);
    ck_assert_uint_eq(n, 1);
    ck_assert_int_eq(out[0], 'x');
    in[18] ^= 1;
    ck_assert_int_eq(unpack_rc(CODEC_GZIP, 2, v), ERR_CORRUPT);
    in[18] ^= 1;
    in[26] ^= 1;
    ck_assert_int_eq(unpack_rc(CODEC_GZIP, 2, v), ERR_CORRUPT);
    in[26] ^= 1;
    in[30] ^= 1;
    ck_assert_int_eq(unpack_rc(CODEC_GZIP, 2, v), ERR_CORRUPT);
    in[30] ^= 1;
    in[2] = 7;
    ck_assert_int_eq(unpack_rc(CODEC_GZIP, 2, v), ERR_CORRUPT);
}
END_TEST

/* ---- snappy -------------------------------------------------------------------------------------------------- */
#define XERIAL 0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1

START_TEST(snappy_framings)
{
    uint8_t out[16];
    size_t n;

    ck_assert_int_eq(unpack(CODEC_SNAPPY, 2, BYTES(1, 0, 'x'), 16, out, 16, &n), OK);           /* bare block */
    ck_assert_uint_eq(n, 1);
    ck_assert_int_eq(unpack(CODEC_SNAPPY, 2, BYTES(XERIAL, 0, 0, 0, 3, 1, 0, 'x', XERIAL, 0, 0, 0, 3, 1, 0, 'y'), 16,
                            out, 16, &n), OK);
    ck_assert_uint_eq(n, 2);
    ck_assert_int_eq(memcmp(out, "xy", 2), 0);
    ck_assert_int_eq(unpack(CODEC_SNAPPY, 2, BYTES(XERIAL), 16, out, 16, &n), OK);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(unpack_rc(CODEC_SNAPPY, 2, BYTES(XERIAL, 0, 0, 0, 3, 1, 0, 'x', 0, 0, 0)), OK);
    ck_assert_int_eq(unpack_rc(CODEC_SNAPPY, 2, (struct bytes){ (const uint8_t *)"", 0 }), ERR_CORRUPT);
    ck_assert_int_eq(unpack_rc(CODEC_SNAPPY, 2, BYTES(XERIAL, 0xff, 0xff, 0xff, 0xff, 1)), ERR_CORRUPT);
    ck_assert_int_eq(unpack_rc(CODEC_SNAPPY, 2, BYTES(XERIAL, 0x7f, 0xff, 0xff, 0xff, 1)), ERR_CORRUPT);
    ck_assert_int_eq(unpack_rc(CODEC_SNAPPY, 2, BYTES(XERIAL, 0, 0, 0, 0)), ERR_CORRUPT);
    ck_assert_int_eq(unpack_rc(CODEC_SNAPPY, 2, BYTES(XERIAL, 0x82, 'S', 'N', 'A', 'P')), ERR_CORRUPT);
    /* a block that claims 2 GiB */
    ck_assert_int_eq(unpack_rc(CODEC_SNAPPY, 2, BYTES(0xff, 0xff, 0xff, 0xff, 7, 0)), ERR_CORRUPT);
    /* version 0 */
    ck_assert_int_eq(unpack_rc(CODEC_SNAPPY, 2, BYTES(0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 0, 0, 0, 0, 1)),
                     ERR_CORRUPT);
}
END_TEST

/* ---- lz4 ----------------------------------------------------------------------------------------------------- */
#define LZ4_X 1, 0, 0, 0x80, 'x', 0, 0, 0, 0        /* one stored byte, end mark */

START_TEST(lz4_header_checksum_by_magic)
{
    struct bytes good = BYTES(0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82, LZ4_X);
    struct bytes old = BYTES(0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x1a, LZ4_X);
    struct bytes x0 = pack(CODEC_LZ4, 0, (const uint8_t *)"x", 1), x1 = pack(CODEC_LZ4, 1, (const uint8_t *)"x", 1);

    ck_assert_int_eq(unpack_rc(CODEC_LZ4, 0, good), OK);
    ck_assert_int_eq(unpack_rc(CODEC_LZ4, 0, old), OK);
    ck_assert_int_eq(unpack_rc(CODEC_LZ4, 1, good), OK);
    ck_assert_int_eq(unpack_rc(CODEC_LZ4, 2, good), OK);
    ck_assert_int_eq(unpack_rc(CODEC_LZ4, 1, old), ERR_CORRUPT);
    ck_assert_int_eq(unpack_rc(CODEC_LZ4, 2, old), ERR_CORRUPT);
    ck_assert_uint_eq(x0.len, old.len);
    ck_assert_int_eq(memcmp(x0.p, old.p, old.len), 0);
    ck_assert_uint_eq(x1.len, good.len);
    ck_assert_int_eq(memcmp(x1.p, good.p, good.len), 0);
}
END_TEST

START_TEST(lz4_flags)
{
    /* magic 0 does not look at the checksum, which keeps this table short */
    static const struct { uint8_t flg, bd; int rc; } rows[] = {
        { 0x60, 0x40, OK },          { 0x60, 0x70, OK },          { 0x40, 0x40, ERR_CORRUPT },  /* dependent blocks */
        { 0x61, 0x40, ERR_CORRUPT }, { 0x62, 0x40, ERR_CORRUPT }, { 0xa0, 0x40, ERR_CORRUPT },  /* reserved, version */
        { 0x60, 0x30, ERR_CORRUPT }, { 0x60, 0xc0, ERR_CORRUPT }, { 0x60, 0x41, ERR_CORRUPT },  /* block size */
        { 0x70, 0x40, ERR_CORRUPT }, { 0x64, 0x40, ERR_CORRUPT },                  /* sums that are not there */
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_int_eq(unpack_rc(CODEC_LZ4, 0, BYTES(0x04, 0x22, 0x4d, 0x18, rows[i].flg, rows[i].bd, 0, LZ4_X)),
                         rows[i].rc);
    /* content size and content checksum are there, and wrong, and nobody cares */
    ck_assert_int_eq(unpack_rc(CODEC_LZ4, 0, BYTES(0x04, 0x22, 0x4d, 0x18, 0x6c, 0x40, 9, 9, 9, 9, 9, 9, 9, 9, 0, LZ4_X,
                                                   1, 2, 3, 4)), OK);
    /* block checksum: xxh32("x", 0) is 2ec430ea */
    ck_assert_int_eq(unpack_rc(CODEC_LZ4, 0, BYTES(0x04, 0x22, 0x4d, 0x18, 0x70, 0x40, 0, 1, 0, 0, 0x80, 'x',
                                                   0xea, 0x30, 0xc4, 0x2e, 0, 0, 0, 0)), OK);
    ck_assert_int_eq(unpack_rc(CODEC_LZ4, 0, BYTES(0x04, 0x22, 0x4d, 0x18, 0x70, 0x40, 0, 1, 0, 0, 0x80, 'x',
                                                   0xea, 0x30, 0xc4, 0x2f, 0, 0, 0, 0)), ERR_CORRUPT);
    /* behind the end mark nothing is read; no block may be larger than the frame says */
    ck_assert_int_eq(unpack_rc(CODEC_LZ4, 2, join(pack(CODEC_LZ4, 2, (const uint8_t *)"x", 1), BYTES(1, 2, 3))), OK);
    ck_assert_int_eq(unpack_rc(CODEC_LZ4, 0, BYTES(0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0, 1, 0, 1, 0x80)), ERR_CORRUPT);
    ck_assert_int_eq(unpack_rc(CODEC_LZ4, 0, BYTES(0x04, 0x22, 0x4d, 0x19, 0x60, 0x40, 0, LZ4_X)), ERR_CORRUPT);
}
END_TEST

/* ---- zstd ---------------------------------------------------------------------------------------------------- */
START_TEST(zstd_frames)
{
    struct bytes x = pack(CODEC_ZSTD, 2, (const uint8_t *)"x", 1);
    struct bytes skippable = BYTES(0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3);
    uint8_t out[8];
    size_t n;

    ck_assert_int_eq(unpack(CODEC_ZSTD, 2, join(join(x, skippable), x), 8, out, 8, &n), OK);
    ck_assert_uint_eq(n, 2);
    ck_assert_int_eq(unpack(CODEC_ZSTD, 2, BYTES(0), 8, out, 8, &n), ERR_CORRUPT);
    ck_assert_int_eq(unpack(CODEC_ZSTD, 2, (struct bytes){ out, 0 }, 8, out, 8, &n), OK);
    ck_assert_int_eq(unpack(CODEC_ZSTD, 2, join(x, BYTES(1, 2, 3, 4, 5, 6, 7, 8)), 8, out, 8, &n), ERR_CORRUPT);
    /* a window of 2^41 bytes */
    ck_assert_int_eq(unpack_rc(CODEC_ZSTD, 2, BYTES(0x28, 0xb5, 0x2f, 0xfd, 0, 0xf8, 0x0b, 0, 0, 'x')), ERR_CORRUPT);
}
END_TEST

/* ---- handles ------------------------------------------------------------------------------------------------- */
START_TEST(handles_may_be_open_at_the_same_time)
{
    for (int c = 1; c < CODEC_N; c++) {
        enum codec codec = (enum codec)c;
        struct bytes packed = pack(codec, 2, (const uint8_t *)"abcdef", 6);
        struct decomp *d[3];
        const uint8_t *p;
        size_t have;

        for (int i = 0; i < 3; i++) {
            ck_assert_int_eq(decomp_open(&d[i], codec, 2, packed, 100), OK);
            ck_assert_int_eq(decomp_peek(d[i], 1, &p, &have), OK);
            decomp_drop(d[i], (size_t)i);
        }
        for (int i = 0; i < 3; i++) {
            ck_assert_int_eq(decomp_peek(d[i], 1, &p, &have), OK);
            ck_assert_uint_eq(have, (size_t)(6 - i));
            ck_assert_int_eq(memcmp(p, "abcdef" + i, have), 0);
            decomp_close(&d[i]);
            ck_assert_ptr_null(d[i]);
        }
    }
}
END_TEST

static void *thread_main(void *arg)
{
    struct arena a;
    uint8_t in[5000];

    (void)arg;
    arena_init(&a, ARENA_BYTES);
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (uint8_t)(i / 7);
    for (int round = 0; round < 20; round++) {
        for (int c = 1; c < CODEC_N; c++) {
            struct outbuf o;
            struct comp *out;
            struct decomp *d;
            size_t skipped;

            outbuf_init(&o, &a, 0, 1 << 20);
            ck_assert_int_eq(comp_open(&out, (enum codec)c, codec_default_level((enum codec)c), 2, &o), OK);
            ck_assert_int_eq(comp_write(out, in, sizeof in), OK);
            ck_assert_int_eq(comp_finish(out), OK);
            comp_close(&out);
            ck_assert_int_eq(decomp_open(&d, (enum codec)c, 2, (struct bytes){ o.p, o.len }, sizeof in), OK);
            ck_assert_int_eq(decomp_skip(d, sizeof in + 1, &skipped), OK);
            ck_assert_uint_eq(skipped, sizeof in);
            decomp_close(&d);
        }
    }
    arena_fini(&a);
    return NULL;
}

START_TEST(threads_keep_their_own_handles)
{
    pthread_t t[4];

    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, thread_main, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("proto/compress");
    TCase *t = tcase_create("all");
    SRunner *r;
    int failed;

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, what_goes_in_comes_out, 0, 12);
    tcase_add_test(t, every_level_round_trips);
    tcase_add_loop_test(t, peek_drop_and_skip_give_the_same_bytes_in_any_pattern, 0, 4);
    tcase_add_loop_test(t, a_stream_cut_anywhere_is_never_taken_for_whole, 0, 4);
    tcase_add_loop_test(t, flipped_bits_do_no_harm, 0, 4);
    tcase_add_loop_test(t, a_bomb_stops_at_the_limit, 0, 4);
    tcase_add_loop_test(t, output_beyond_the_limit_is_refused, 0, CODEC_N);
    tcase_add_test(t, names_and_unknown_codecs);
    tcase_add_test(t, gzip_members_one_after_the_other_are_one_stream);
    tcase_add_test(t, gzip_header_fields_are_passed_over);
    tcase_add_test(t, snappy_framings);
    tcase_add_test(t, lz4_header_checksum_by_magic);
    tcase_add_test(t, lz4_flags);
    tcase_add_test(t, zstd_frames);
    tcase_add_test(t, handles_may_be_open_at_the_same_time);
    tcase_add_test(t, threads_keep_their_own_handles);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
