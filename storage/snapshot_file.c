/* storage/snapshot_file.c - reading and writing producer snapshots. */
#include "storage/snapshot_file.h"

#include "base/crc32c.h"
#include "base/cursor.h"

#include <stdlib.h>

enum { SNAPSHOT_VERSION = 1, SUMMED_FROM = 6 };

int snapshot_parse(const uint8_t *p, size_t len, struct snapshot_entry **v, size_t *n)
{
    struct cursor c = cur_ro(p, len);
    int16_t version = cur_i16(&c);
    uint32_t crc = cur_u32(&c);
    int32_t count = cur_i32(&c);
    struct snapshot_entry *e;

    *v = NULL;
    *n = 0;
    if (c.rc != OK)
        return ERR_CORRUPT;
    if (version != SNAPSHOT_VERSION)
        return ERR_VERSION;
    if (count < 0 || cur_left(&c) != (size_t)count * SNAPSHOT_ENTRY)
        return ERR_CORRUPT;
    if (crc32c(0, p + SUMMED_FROM, len - SUMMED_FROM) != crc)
        return ERR_CORRUPT;
    e = calloc((size_t)count + 1, sizeof *e);
    if (e == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < count; i++) {
        e[i].producer_id = cur_i64(&c);
        e[i].epoch = cur_i16(&c);
        e[i].last_sequence = cur_i32(&c);
        e[i].last_offset = cur_i64(&c);
        e[i].offset_delta = cur_i32(&c);
        e[i].timestamp = cur_i64(&c);
        e[i].coordinator_epoch = cur_i32(&c);
        e[i].txn_first_offset = cur_i64(&c);
    }
    *v = e;
    *n = (size_t)count;
    return OK;
}

void snapshot_put_entry(uint8_t *p, size_t i, const struct snapshot_entry *e)
{
    p += SNAPSHOT_HEAD + i * SNAPSHOT_ENTRY;
    be_put64(p, (uint64_t)e->producer_id);
    be_put16(p + 8, (uint16_t)e->epoch);
    be_put32(p + 10, (uint32_t)e->last_sequence);
    be_put64(p + 14, (uint64_t)e->last_offset);
    be_put32(p + 22, (uint32_t)e->offset_delta);
    be_put64(p + 26, (uint64_t)e->timestamp);
    be_put32(p + 34, (uint32_t)e->coordinator_epoch);
    be_put64(p + 38, (uint64_t)e->txn_first_offset);
}

void snapshot_put_head(uint8_t *p, size_t n)
{
    be_put16(p, SNAPSHOT_VERSION);
    be_put32(p + 6, (uint32_t)n);
    be_put32(p + 2, crc32c(0, p + SUMMED_FROM, 4 + n * SNAPSHOT_ENTRY));
}
