/* storage/index_file.c - entries of .index and .timeindex files. */
#include "storage/index_file.h"

struct offset_index_entry offset_index_get(const uint8_t *p, int64_t base)
{
    return (struct offset_index_entry){ base + (int32_t)be_get32(p), be_get32(p + 4) };
}

struct time_index_entry time_index_get(const uint8_t *p, int64_t base)
{
    return (struct time_index_entry){ (int64_t)be_get64(p), base + (int32_t)be_get32(p + 8) };
}

void offset_index_put(uint8_t *p, int64_t base, struct offset_index_entry e)
{
    be_put32(p, (uint32_t)(e.offset - base));
    be_put32(p + 4, e.pos);
}

void time_index_put(uint8_t *p, int64_t base, struct time_index_entry e)
{
    be_put64(p, (uint64_t)e.timestamp);
    be_put32(p + 8, (uint32_t)(e.offset - base));
}

size_t offset_index_valid(const uint8_t *p, size_t len, int64_t log_bytes)
{
    struct offset_index_entry last = { -1, 0 };
    size_t n = 0;

    for (; (n + 1) * OFFSET_INDEX_ENTRY <= len; n++) {
        struct offset_index_entry e = offset_index_get(p + n * OFFSET_INDEX_ENTRY, 0);
        if (e.offset <= last.offset || (e.pos <= last.pos && n > 0) || e.pos >= log_bytes || e.offset < 0)
            break;
        last = e;
    }
    /* A zero entry is the start of a preallocated tail: no entry is ever made for position 0. */
    return n == 1 && last.offset == 0 && last.pos == 0 ? 0 : n;
}

size_t time_index_valid(const uint8_t *p, size_t len)
{
    struct time_index_entry last = { -1, 0 };
    size_t n = 0;

    for (; (n + 1) * TIME_INDEX_ENTRY <= len; n++) {
        struct time_index_entry e = time_index_get(p + n * TIME_INDEX_ENTRY, 0);
        if (e.timestamp <= last.timestamp || e.offset < last.offset)
            break;
        last = e;
    }
    /* Likewise, unless it is all there is: the only timestamp of a log may be 0. */
    return n == 1 && last.timestamp == 0 && last.offset == 0 && len > TIME_INDEX_ENTRY ? 0 : n;
}
