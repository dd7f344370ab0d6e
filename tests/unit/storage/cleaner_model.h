/* tests/unit/storage/cleaner_model.h - logs with keys, tombstones, transactions and old formats, and what was put into
 * them. */
#ifndef TESTS_UNIT_STORAGE_CLEANER_MODEL_H
#define TESTS_UNIT_STORAGE_CLEANER_MODEL_H

#include "tests/unit/storage/kit.h"

enum fate { PLAIN, OPEN, COMMITTED, ABORTED, MARKER };

struct mrec {
    int64_t   offset, ts;
    int       key;                      /* -1: null */
    size_t    value;                    /* bytes; 0: tombstone */
    int64_t   pid;
    enum fate fate;
    int8_t    magic;
    bool      seen;                     /* found in the log by the last check */
};

struct model {
    struct mrec  *v;
    size_t        n, cap;
    unsigned      seed;
    int           keys;
    bool          old_formats, txns;
    int32_t       seq[5];
    struct arena  arena;
};

static inline unsigned rnd(struct model *m, unsigned n)
{
    m->seed = m->seed * 1103515245U + 12345U;
    return (m->seed >> 8) % n;
}

static inline void model_init(struct model *m, unsigned seed, int keys)
{
    *m = (struct model){ .seed = seed, .keys = keys, .txns = true };
    arena_init(&m->arena, (size_t)256 << 20);
}

static inline void model_fini(struct model *m)
{
    free(m->v);
    arena_fini(&m->arena);
}

static inline struct mrec *model_add(struct model *m)
{
    if (m->n == m->cap) {
        m->cap = m->cap == 0 ? 1024 : m->cap * 2;
        m->v = realloc(m->v, m->cap * sizeof *m->v);
    }
    m->v[m->n] = (struct mrec){ .key = -1, .magic = 2 };
    return &m->v[m->n++];
}

/* Every byte of a value follows from its offset. */
static inline uint8_t value_byte(int64_t offset, size_t i)
{
    return (uint8_t)(i % 16 < 8 ? offset >> (i % 8) : 'v');
}

static inline struct record record_of(const struct mrec *e, char key[16], uint8_t *value)
{
    struct record r = { .offset = e->offset, .timestamp = e->magic > 0 ? e->ts : NO_TIMESTAMP };

    if (e->key >= 0) {
        snprintf(key, 16, "key-%d", e->key);
        r.key = (struct bytes){ (uint8_t *)key, strlen(key) };
    }
    if (e->value > 0) {
        for (size_t i = 0; i < e->value; i++)
            value[i] = value_byte(e->offset, i);
        r.value = (struct bytes){ value, e->value };
    }
    return r;
}

static inline void append_as_it_is(struct plog *l, struct bytes b)
{
    struct plog_appended out;

    ok(plog_append_follower(l, b, &out));
}

/* n records of the model from `at` on, as one batch. */
static inline void append_records(struct model *m, struct plog *l, size_t at, size_t n, struct builder_opts *o)
{
    static uint8_t value[4096];
    struct builder b;
    struct bytes out;
    char key[16];

    o->base_offset = m->v[at].offset;
    o->level = codec_default_level(o->codec);
    builder_init(&b, o, &m->arena);
    for (size_t i = 0; i < n; i++) {
        struct record r = record_of(&m->v[at + i], key, value);
        builder_add(&b, &r);
    }
    ok(builder_finish(&b, &out));
    builder_fini(&b);
    append_as_it_is(l, out);
    arena_reset(&m->arena);
}

static inline void model_marker(struct model *m, struct plog *l, int64_t pid, bool commit)
{
    struct builder_opts o;
    struct mrec *e;
    struct bytes out;

    for (size_t i = 0; i < m->n; i++)
        if (m->v[i].pid == pid && m->v[i].fate == OPEN)
            m->v[i].fate = commit ? COMMITTED : ABORTED;
    e = model_add(m);
    *e = (struct mrec){ .offset = leo(l), .ts = kit_clock_ms, .fate = MARKER, .pid = pid, .key = -1, .magic = 2 };
    builder_opts_init(&o);
    o.base_offset = e->offset;
    o.producer_id = pid;
    o.producer_epoch = 0;
    o.txn = true;
    o.leader_epoch = 0;
    ok(control_batch_build(&o, commit ? CONTROL_COMMIT : CONTROL_ABORT, 0, e->ts, &m->arena, &out));
    append_as_it_is(l, out);
    arena_reset(&m->arena);
}

static inline bool has_open(const struct model *m, int64_t pid)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->v[i].pid == pid && m->v[i].fate == OPEN)
            return true;
    return false;
}

/* One batch of any kind: producer ids 1 and 2 have transactions, 3 is idempotent, 0 neither. */
static inline void model_batch(struct model *m, struct plog *l)
{
    int64_t pid = m->txns ? rnd(m, 5) : 0;
    size_t n = 1 + rnd(m, 12), at = m->n;
    struct builder_opts o;

    builder_opts_init(&o);
    o.leader_epoch = 0;
    o.codec = (enum codec)rnd(m, CODEC_N);
    if (pid == 4)
        pid = 0;
    if (pid == 0 && m->old_formats && rnd(m, 2) == 0) {
        o.magic = (int8_t)rnd(m, 2);
        o.leader_epoch = -1;
        if (o.codec == CODEC_ZSTD || rnd(m, 2) == 0)
            o.codec = CODEC_NONE;
        if (o.codec == CODEC_NONE)
            n = 1;
    }
    if (pid > 0) {
        o.producer_id = pid;
        o.producer_epoch = 0;
        o.base_sequence = m->seq[pid];
        m->seq[pid] += (int32_t)n;
        o.txn = pid < 3;
    }
    for (size_t i = 0; i < n; i++) {
        struct mrec *e = model_add(m);
        e->offset = leo(l) + (int64_t)i;
        e->ts = kit_clock_ms - 1000 + rnd(m, 2000);
        e->key = rnd(m, 20) == 0 ? -1 : (int)rnd(m, (unsigned)m->keys);
        e->value = rnd(m, 5) == 0 ? 0 : 1 + rnd(m, 100);
        e->magic = o.magic;
        e->pid = pid;
        e->fate = pid > 0 && pid < 3 ? OPEN : PLAIN;
    }
    append_records(m, l, at, n, &o);
    if (pid > 0 && pid < 3 && rnd(m, 3) == 0)
        model_marker(m, l, pid, rnd(m, 2) == 0);
}

static inline void model_fill(struct model *m, struct plog *l, int batches)
{
    for (int i = 0; i < batches; i++)
        model_batch(m, l);
    commit(l);
}

#endif
