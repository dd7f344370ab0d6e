/* tests/fuzz/fuzz_validate.c - the produce path: two bytes of options, then a record set whose CRCs are made right.
 *
 * What is let through must be one sound v2 batch within the limit, whose records can all be read (but for what Kafka
 * does not look at in a compressed batch either), and whatever is refused must say why.
 */
#include "proto/records/validate.h"

#include "tests/fuzz/record_seeds.h"

#include <stdlib.h>

enum { OPTION_BYTES = 2, MAX_MESSAGE_BYTES = 32768 };

#define MAX_BYTES   ((size_t)1 << 20)
#define ARENA_BYTES ((size_t)8 << 20)

static void set_opts(struct validate_opts *o, unsigned a, unsigned b)
{
    *o = (struct validate_opts){
        .magic = (int8_t)((a >> 4 & 3) % 3 == 0 ? BATCH_MAGIC_NOW : (a >> 4 & 3) - 1), .base_offset = 1000,
        .name = "fuzz-0", .now_ms = INT64_C(1700000000000), .append_time = a & 1, .compacted = a & 2,
        .before_max_ms = a & 4 ? 1000 : INT64_MAX, .after_max_ms = a & 8 ? 1000 : INT64_MAX,
        .max_message_bytes = MAX_MESSAGE_BYTES, .codec = (int)(b % 6) - 1, .max_decompressed_bytes = MAX_BYTES,
    };
    for (int c = 0; c < CODEC_N; c++)
        o->level[c] = c == CODEC_ZSTD ? 1 : codec_default_level((enum codec)c);
}

/* Numbered from 0, one after the other, each sound. */
static void check_messages(const struct validate_result *r)
{
    struct batch_iter it;
    int64_t last = -1;

    batch_iter_init(&it, (struct bytes){ r->p, r->len });
    while (batch_iter_next(&it)) {
        FUZZ_CHECK(it.head.last_offset > last && it.head.size_bytes <= MAX_MESSAGE_BYTES);
        FUZZ_CHECK(batch_check(&it.head, it.p) == OK);
        last = it.head.last_offset;
    }
    FUZZ_CHECK(it.rc == OK && it.pos == r->len && last + 1 == r->n_records);
}

static void check_good(const struct validate_result *r)
{
    struct batch_head h;
    struct record_iter it;
    struct record rec;

    if (r->p == NULL)
        return;
    FUZZ_CHECK(batch_head_read(&h, r->p, r->len) == OK);
    if (h.magic < 2) {
        check_messages(r);
        return;
    }
    FUZZ_CHECK(h.magic == 2 && h.size_bytes == r->len && r->len <= MAX_MESSAGE_BYTES);
    FUZZ_CHECK(h.base_offset == 0 && h.count == r->n_records && h.last_offset_delta + 1 == h.count && h.count > 0);
    FUZZ_CHECK(batch_check(&h, r->p) == OK);
    record_iter_init(&it, &h, r->p, SIZE_MAX);
    while (record_iter_next(&it, &rec))
        ;
    FUZZ_CHECK(it.rc == OK || (!r->rebuilt && batch_codec(&h) != CODEC_NONE));
    record_iter_fini(&it);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct validate_opts o;
    struct validate_result r;
    struct request_check c;
    struct arena arena;
    uint8_t *p;
    int rc;

    if (n < OPTION_BYTES)
        return 0;
    set_opts(&o, data[0], data[1]);
    n -= OPTION_BYTES;
    p = malloc(n + 1);
    FUZZ_CHECK(p != NULL);
    memcpy(p, data + OPTION_BYTES, n);
    if (!(data[0] & 128))
        record_crcs(p, n);
    arena_init(&arena, ARENA_BYTES);
    records_check_request((int16_t)(data[1] / 16), (struct bytes){ p, n }, &c);
    FUZZ_CHECK((c.error != 0) == (c.message != NULL));
    rc = records_validate(&o, (struct bytes){ p, n }, &arena, &r);
    FUZZ_CHECK(rc == OK || rc == ERR_NOMEM);
    if (rc == OK && r.error == 0)
        check_good(&r);
    else if (rc == OK)
        FUZZ_CHECK(r.message != NULL && r.p == NULL && r.n_record_errors <= RECORD_ERRORS_MAX);
    arena_fini(&arena);
    free(p);
    return 0;
}

bool fuzz_seed(size_t i, struct bytes *out)
{
    size_t x = i / RECORD_SEEDS;

    if (x >= 4 * 3)
        return false;
    *out = record_seed(i % RECORD_SEEDS, OPTION_BYTES);
    if (out->len == 0)
        *out = record_seed(0, OPTION_BYTES);
    *(uint8_t *)(uintptr_t)out->p = (uint8_t)(x % 4 | x / 4 << 4);
    *(uint8_t *)(uintptr_t)(out->p + 1) = (uint8_t)(48 + i);
    return true;
}
