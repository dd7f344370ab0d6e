/* tests/unit/broker/replica/partition_bytes.h - the bytes of a log, as they are read from it. */
#ifndef TESTS_UNIT_BROKER_REPLICA_PARTITION_BYTES_H
#define TESTS_UNIT_BROKER_REPLICA_PARTITION_BYTES_H

#include "proto/records/batch.h"
#include "storage/fio.h"
#include "storage/plog.h"
#include "tests/unit/broker/replica/fake_leader.h"

#include <check.h>
#include <stdlib.h>

/* From `offset` to the end; free(). */
static inline uint8_t *log_bytes(struct plog *l, int64_t offset, size_t *n)
{
    int64_t end = plog_offsets(l).leo;
    uint8_t *v = NULL;

    *n = 0;
    while (offset < end) {
        struct batch_iter it;
        struct plog_read r;
        size_t before = *n, len;

        if (plog_read(l, offset, end, 1 << 20, true, &r) != OK)
            break;
        if (slice_is_null(r.records)) {
            plog_read_done(&r);
            break;
        }
        len = r.records.len;
        v = realloc(v, *n + len);
        ck_assert_int_eq(fio_pread_all(r.records.file->fd, v + *n, len, r.records.pos), OK);
        plog_read_done(&r);
        batch_iter_init(&it, (struct bytes){ v + before, len });
        while (batch_iter_next(&it))
            offset = it.head.last_offset + 1;
        ck_assert_uint_gt(it.pos, 0);
        *n += it.pos;
    }
    return v;
}

/* From where on all batches are the same bytes in both. The batches are the same in number and offsets. */
static inline int64_t same_from(struct plog *l, const struct fl_batch *v, int count)
{
    size_t n;
    uint8_t *p = log_bytes(l, plog_offsets(l).start, &n);
    int64_t found = plog_offsets(l).start;
    struct batch_iter it;

    batch_iter_init(&it, (struct bytes){ p, n });
    for (int i = 0; i < count; i++) {
        ck_assert(batch_iter_next(&it));
        ck_assert_int_eq(it.head.base_offset, v[i].base);
        if (it.head.size_bytes != v[i].n || memcmp(it.p, v[i].p, v[i].n) != 0)
            found = v[i].last + 1;
    }
    ck_assert_uint_eq(it.pos, n);
    free(p);
    return found;
}

#endif
