/* tests/fuzz/record_seeds.h - well-formed record sets of every magic and codec, as seeds. */
#ifndef TESTS_FUZZ_RECORD_SEEDS_H
#define TESTS_FUZZ_RECORD_SEEDS_H

#include "proto/records/builder.h"
#include "tests/fuzz/fuzz.h"

enum { RECORD_SEEDS = 3 * CODEC_N };

/* Seed i, for i below RECORD_SEEDS, behind `front` bytes of zeros; in memory that is never freed. A plain set of
 * magic 0 or 1 is several messages. Empty for zstd below magic 2, which does not exist. */
static inline struct bytes record_seed(size_t i, size_t front)
{
    static const uint8_t headers[] = { 2, 'h', 2, 'v', 0, 1 };
    static struct arena keep;
    struct record r = { .timestamp = INT64_C(1700000000000), .headers = { headers, sizeof headers } };
    struct outbuf out;
    struct builder_opts o;
    struct builder b;
    struct bytes made;

    if (keep.limit_bytes == 0)
        arena_init(&keep, (size_t)64 << 20);
    builder_opts_init(&o);
    o.magic = (int8_t)(i / CODEC_N);
    o.codec = (enum codec)(i % CODEC_N);
    o.level = codec_default_level(o.codec);
    o.producer_id = o.magic == 2 && i % 2 ? 77 : -1;
    o.producer_epoch = 1;
    o.base_sequence = 5;
    outbuf_init(&out, &keep, 4096, (size_t)1 << 20);
    memset(outbuf_room(&out, front), 0, front);
    out.len = front;
    builder_init_into(&b, &o, &out);
    for (; r.offset < 4; r.offset++) {
        r.key = (struct bytes){ (const uint8_t *)"key", (size_t)r.offset };
        r.value = (struct bytes){ (const uint8_t *)"the gorge carries the torrent", (size_t)(29 - r.offset) };
        r.n_headers = o.magic == 2 && r.offset % 2 ? 2 : 0;
        r.headers.len = r.n_headers > 0 ? sizeof headers : 0;
        builder_add(&b, &r);
    }
    if (builder_finish(&b, &made) != OK)
        made = (struct bytes){ NULL, 0 };
    builder_fini(&b);
    return made.len > 0 ? (struct bytes){ out.p, out.len } : made;
}

/* Makes the CRC of every batch right, so that what comes behind it is reached. */
static inline void record_crcs(uint8_t *p, size_t n)
{
    struct batch_iter it;

    batch_iter_init(&it, (struct bytes){ p, n });
    while (batch_iter_next(&it))
        if (it.head.magic < 2 || it.head.size_bytes >= BATCH_HEAD_BYTES)
            be_put32(p + (it.p - p) + (it.head.magic < 2 ? 12 : 17), batch_crc(&it.head, it.p));
}

#endif
