/* tests/fuzz/fuzz_codecs.c - the four decompressors: one byte chooses codec, magic and the pattern of reading.
 *
 * However it is read, the same bytes come out, never more than the limit; and what comes out can be packed again.
 */
#include "proto/compress/compress.h"

#include "base/crc32c.h"
#include "tests/fuzz/fuzz.h"

#define MAX_BYTES   ((size_t)1 << 18)
#define ARENA_BYTES ((size_t)16 << 20)

/* Reads the stream in steps of `step`; how it ended, how much came, and its checksum. */
static int read_all(enum codec codec, int8_t magic, struct bytes in, size_t step, size_t *n, uint32_t *crc)
{
    struct decomp *d;
    const uint8_t *p;
    size_t have;
    int rc = decomp_open(&d, codec, magic, in, MAX_BYTES);

    *n = 0;
    *crc = 0;
    while (rc == OK) {
        rc = decomp_peek(d, step, &p, &have);
        if (have > step)
            have = step;
        *crc = crc32c(*crc, p, have);
        *n += have;
        decomp_drop(d, have);
        if (have < step)
            break;
    }
    FUZZ_CHECK(*n <= MAX_BYTES);
    decomp_close(&d);
    return rc;
}

static void pack_again(enum codec codec, int8_t magic, struct bytes in)
{
    struct arena arena;
    struct outbuf out;
    struct comp *c;
    size_t n;
    uint32_t crc;

    arena_init(&arena, ARENA_BYTES);
    outbuf_init(&out, &arena, 0, ARENA_BYTES / 4);
    FUZZ_CHECK(comp_open(&c, codec, codec == CODEC_ZSTD ? 1 : codec_default_level(codec), magic, &out) == OK);
    FUZZ_CHECK(comp_write(c, in.p, in.len) == OK && comp_finish(c) == OK);
    comp_close(&c);
    FUZZ_CHECK(read_all(codec, magic, (struct bytes){ out.p, out.len }, 1000, &n, &crc) == OK);
    FUZZ_CHECK(n == in.len && crc == crc32c(0, in.p, in.len));
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    enum codec codec;
    struct bytes in;
    struct decomp *d;
    int8_t magic;
    size_t n1, n2, skipped;
    uint32_t crc1, crc2;
    int rc1, rc2;

    if (n < 1)
        return 0;
    codec = (enum codec)(1 + data[0] % 4);
    magic = codec == CODEC_ZSTD ? 2 : (int8_t)(data[0] / 4 % 3);
    in = (struct bytes){ data + 1, n - 1 };
    rc1 = read_all(codec, magic, in, 1 + data[0] / 12, &n1, &crc1);
    rc2 = read_all(codec, magic, in, 10000, &n2, &crc2);
    FUZZ_CHECK(rc1 == rc2 && n1 == n2 && crc1 == crc2);
    FUZZ_CHECK(decomp_open(&d, codec, magic, in, MAX_BYTES) == OK);
    rc2 = decomp_skip(d, SIZE_MAX, &skipped);
    decomp_close(&d);
    FUZZ_CHECK(rc1 == rc2 && n1 == skipped);
    if (data[0] % 8 == 7)
        pack_again(codec, magic, in);
    return 0;
}

bool fuzz_seed(size_t i, struct bytes *out)
{
    static uint8_t plain[3000];
    static struct arena keep;
    struct outbuf o;
    struct comp *c;
    enum codec codec = (enum codec)(1 + i % 4);
    int8_t magic = codec == CODEC_ZSTD ? 2 : (int8_t)(i / 4 % 3);
    uint8_t choice = (uint8_t)(i % 4 + 4 * (i / 4 % 3));

    if (i >= 24)
        return false;
    if (keep.limit_bytes == 0)
        arena_init(&keep, ARENA_BYTES);
    for (size_t k = 0; k < sizeof plain; k++)
        plain[k] = (uint8_t)(i < 12 ? k % 7 * (k >> 8) : (k * k) >> 3);
    outbuf_init(&o, &keep, 4096, 1 << 20);
    outbuf_put(&o, &choice, 1);
    FUZZ_CHECK(comp_open(&c, codec, codec_default_level(codec), magic, &o) == OK);
    FUZZ_CHECK(comp_write(c, plain, i < 4 ? 20 : sizeof plain) == OK && comp_finish(c) == OK);
    comp_close(&c);
    *out = (struct bytes){ o.p, o.len };
    return true;
}
