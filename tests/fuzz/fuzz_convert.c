/* tests/fuzz/fuzz_convert.c - down-conversion: one byte of options, then a record set as a log might hold it.
 *
 * The result must be whole messages of the magic asked for, or the 12 bytes that stand for nothing.
 */
#include "proto/records/convert.h"

#include "tests/fuzz/record_seeds.h"

#define MAX_BYTES   ((size_t)1 << 20)
#define ARENA_BYTES ((size_t)16 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct convert_opts o;
    struct batch_iter it;
    struct arena arena;
    struct bytes out;
    int rc;

    if (n < 1)
        return 0;
    o = (struct convert_opts){ .magic = data[0] & 1, .first_offset = (data[0] >> 1) & 3,
                               .max_bytes = data[0] & 8 ? 1 : MAX_BYTES, .max_decompressed_bytes = MAX_BYTES };
    arena_init(&arena, ARENA_BYTES);
    rc = records_down_convert(&o, (struct bytes){ data + 1, n - 1 }, &arena, &out);
    FUZZ_CHECK(rc == OK || rc == ERR_CORRUPT || rc == ERR_UNSUPPORTED || rc == ERR_TOO_LARGE || rc == ERR_NOMEM);
    if (rc == OK) {
        batch_iter_init(&it, out);
        while (batch_iter_next(&it))
            FUZZ_CHECK(it.head.magic <= o.magic);
        FUZZ_CHECK(it.rc == OK && (it.pos == out.len || out.len == BATCH_OVERHEAD));
    }
    arena_fini(&arena);
    return 0;
}

bool fuzz_seed(size_t i, struct bytes *out)
{
    if (i >= 2 * RECORD_SEEDS)
        return false;
    *out = record_seed(i % RECORD_SEEDS, 1);
    if (out->len == 0)
        *out = record_seed(0, 1);
    *(uint8_t *)(uintptr_t)out->p = (uint8_t)(i / RECORD_SEEDS);
    return true;
}
