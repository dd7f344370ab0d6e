/* tests/unit/proto/records/sets.h - random record sets for the tests of this folder. */
#ifndef TESTS_UNIT_PROTO_RECORDS_SETS_H
#define TESTS_UNIT_PROTO_RECORDS_SETS_H

#include "proto/records/builder.h"
#include "tests/unit/proto/random.h"

#include <check.h>
#include <stdlib.h>

#define SET_ARENA_BYTES ((size_t)512 << 20)
#define SET_TIME_MS     INT64_C(1700000000000)

struct set {
    struct record *v;
    size_t         n;
};

static inline struct bytes set_field(struct arena *a, size_t max)
{
    size_t n = random_below((uint32_t)max + 1);
    uint8_t *p = arena_alloc(a, n + 1);

    ck_assert_ptr_nonnull(p);
    if (random_below(8) == 0)
        return (struct bytes){ NULL, 0 };
    random_fill(p, n, 1 + random_below(2));
    return (struct bytes){ p, n };
}

/* n records at offsets base, base + 1, ...; keys, values and (magic 2) headers of all kinds. */
static inline struct set set_make(struct arena *a, int8_t magic, size_t n, int64_t base, size_t max_value)
{
    struct set s = { arena_array(a, n + 1, sizeof(struct record)), n };

    ck_assert_ptr_nonnull(s.v);
    for (size_t i = 0; i < n; i++) {
        struct record *r = &s.v[i];

        *r = (struct record){ .offset = base + (int64_t)i, .magic = magic };
        r->timestamp = magic == 0 ? NO_TIMESTAMP : SET_TIME_MS - 1000 + (int64_t)random_below(2000);
        r->key = set_field(a, 20);
        r->value = set_field(a, max_value);
        if (magic == 2 && random_below(3) == 0) {
            static const uint8_t two[] = { 2, 'k', 2, 'v', 0, 1 };      /* k=v, ""=null */

            r->headers = (struct bytes){ two, sizeof two };
            r->n_headers = 2;
        }
    }
    return s;
}

static inline struct bytes set_build(struct arena *a, const struct set *s, const struct builder_opts *o)
{
    struct builder b;
    struct bytes out;

    builder_init(&b, o, a);
    for (size_t i = 0; i < s->n; i++)
        builder_add(&b, &s->v[i]);
    ck_assert_int_eq(builder_finish(&b, &out), OK);
    builder_fini(&b);
    return out;
}

static inline struct builder_opts set_opts(int8_t magic, enum codec codec, int64_t base)
{
    struct builder_opts o;

    builder_opts_init(&o);
    o.magic = magic;
    o.codec = codec;
    o.level = codec_default_level(codec);
    o.base_offset = base;
    return o;
}

/* Writable, of exactly its size on the heap, so that the address sanitizer sees one byte too far. */
static inline uint8_t *set_exact(struct bytes v, size_t n)
{
    uint8_t *p = malloc(n + (n == 0));

    ck_assert_ptr_nonnull(p);
    memcpy(p, v.p, n);
    return p;
}

static inline bool set_bytes_eq(struct bytes a, struct bytes b)
{
    return (a.p == NULL) == (b.p == NULL) && a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

/* Reads all batches of v and compares with s. Timestamps: as they are, or all `timestamp` when it is not -2. */
static inline void set_compare(struct bytes v, const struct set *s, int64_t timestamp)
{
    struct batch_iter batches;
    struct record_iter it;
    struct record r;
    size_t n = 0;

    batch_iter_init(&batches, v);
    while (batch_iter_next(&batches)) {
        ck_assert_int_eq(batch_check(&batches.head, batches.p), OK);
        record_iter_init(&it, &batches.head, batches.p, SET_ARENA_BYTES);
        for (; record_iter_next(&it, &r); n++) {
            ck_assert_uint_lt(n, s->n);
            ck_assert_int_eq(r.offset, s->v[n].offset);
            ck_assert_int_eq(r.timestamp, timestamp == -2 ? s->v[n].timestamp : timestamp);
            ck_assert(set_bytes_eq(r.key, s->v[n].key));
            ck_assert(set_bytes_eq(r.value, s->v[n].value));
            ck_assert_int_eq(r.n_headers, s->v[n].n_headers);
            ck_assert_uint_eq(r.headers.len, s->v[n].headers.len);
        }
        ck_assert_int_eq(it.rc, OK);
        record_iter_fini(&it);
    }
    ck_assert_int_eq(batches.rc, OK);
    ck_assert_uint_eq(batches.pos, v.len);
    ck_assert_uint_eq(n, s->n);
}

#endif
