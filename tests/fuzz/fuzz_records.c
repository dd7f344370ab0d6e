/* tests/fuzz/fuzz_records.c - any bytes as a buffer of batches: headers, records, record headers, control records.
 *
 * All that a record points at must be readable, and the iteration must end.
 */
#include "tests/fuzz/record_seeds.h"

#define MAX_BYTES ((size_t)1 << 20)

static uint32_t sum;

static void touch(const void *p, size_t n)
{
    const uint8_t *at = p;

    if (n > 0)
        sum += at[0] + (uint32_t)at[n - 1];
}

static void read_batch(const struct batch_head *h, const uint8_t *p)
{
    struct record_iter it;
    struct record r;
    struct control_record control;
    int64_t n = 0;

    record_iter_init(&it, h, p, MAX_BYTES);
    for (; record_iter_next(&it, &r); n++) {
        struct cursor c = cur_ro(r.headers.p, r.headers.len);

        touch(r.key.p, r.key.len);
        touch(r.value.p, r.value.len);
        for (int32_t i = 0; i < r.n_headers; i++) {
            struct record_header rh = record_header_next(&c);

            touch(rh.key.p, rh.key.len);
            touch(rh.value.p, rh.value.len);
        }
        FUZZ_CHECK(c.rc == OK && cur_left(&c) == 0);
        if (control_record_read(&r, &control) == OK)
            sum += (uint32_t)control.coordinator_epoch;
    }
    FUZZ_CHECK(it.rc != OK || h->magic < 2 || h->count == n);
    record_iter_fini(&it);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct batch_iter it;
    struct batch_head h;

    batch_iter_init(&it, (struct bytes){ data, n });
    while (batch_iter_next(&it)) {
        FUZZ_CHECK(it.p + it.head.size_bytes <= data + n);
        sum += (uint32_t)batch_check(&it.head, it.p);
        FUZZ_CHECK(batch_head_read(&h, it.p, n) == OK && h.size_bytes == it.head.size_bytes);
        read_batch(&it.head, it.p);
    }
    FUZZ_CHECK(it.rc == OK || it.rc == ERR_CORRUPT);
    FUZZ_CHECK(it.pos <= n);
    return 0;
}

bool fuzz_seed(size_t i, struct bytes *out)
{
    if (i >= RECORD_SEEDS)
        return false;
    *out = record_seed(i, 0);
    if (out->len == 0)
        *out = record_seed(0, 0);
    return true;
}
