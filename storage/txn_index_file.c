/* storage/txn_index_file.c - entries of .txnindex files. */
#include "storage/txn_index_file.h"

enum { TXN_INDEX_VERSION = 0 };

int16_t txn_index_get(const uint8_t *p, struct txn_index_entry *e)
{
    e->producer_id = (int64_t)be_get64(p + 2);
    e->first_offset = (int64_t)be_get64(p + 10);
    e->last_offset = (int64_t)be_get64(p + 18);
    e->stable_offset = (int64_t)be_get64(p + 26);
    return (int16_t)be_get16(p);
}

void txn_index_put(uint8_t *p, const struct txn_index_entry *e)
{
    be_put16(p, TXN_INDEX_VERSION);
    be_put64(p + 2, (uint64_t)e->producer_id);
    be_put64(p + 10, (uint64_t)e->first_offset);
    be_put64(p + 18, (uint64_t)e->last_offset);
    be_put64(p + 26, (uint64_t)e->stable_offset);
}

static bool sane(const struct txn_index_entry *e, int64_t after)
{
    return e->producer_id >= 0 && e->first_offset >= 0 && e->last_offset > e->first_offset && e->last_offset > after &&
           e->stable_offset >= 0 && e->stable_offset - 1 <= e->last_offset;
}

size_t txn_index_valid(const uint8_t *p, size_t len, int64_t base)
{
    struct txn_index_entry e;
    int64_t after = base - 1;
    size_t n = 0;

    for (; (n + 1) * TXN_INDEX_ENTRY <= len; n++) {
        if (txn_index_get(p + n * TXN_INDEX_ENTRY, &e) != TXN_INDEX_VERSION || !sane(&e, after))
            break;
        after = e.last_offset;
    }
    return n;
}
