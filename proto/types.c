/* proto/types.c - reading, measuring and writing the primitive types of the protocol.
 *
 * As in Java, any negative length of a classic (not compact) field means null, a bool is true when it is not zero, and
 * a tagged field that comes twice counts the second time.
 */
#include "proto/types.h"

/* The length that precedes a value: -1 for null, else one that is really there, at least `each` bytes an element. */
static int64_t read_len(struct cursor *c, bool compact, bool null_ok, bool is_str, size_t each)
{
    int64_t n;

    if (compact)
        n = (int64_t)cur_uvarint(c) - 1;
    else if (is_str)
        n = cur_i16(c);
    else
        n = cur_i32(c);
    if (c->rc != OK)
        return -1;
    if (n < 0) {
        if (!null_ok)
            cur_fail(c, ERR_CORRUPT);
        return -1;
    }
    if (is_str && n > WIRE_STR_MAX) {
        cur_fail(c, ERR_CORRUPT);
        return -1;
    }
    if ((uint64_t)n > cur_left(c) / each) {
        cur_fail(c, ERR_SHORT);
        return -1;
    }
    return n;
}

struct str wire_read_str(struct cursor *c, bool compact, bool null_ok)
{
    int64_t n = read_len(c, compact, null_ok, true, 1);

    if (n < 0)
        return (struct str){ NULL, 0 };
    return (struct str){ (const char *)cur_take(c, (size_t)n), (size_t)n };
}

struct bytes wire_read_bytes(struct cursor *c, bool compact, bool null_ok)
{
    int64_t n = read_len(c, compact, null_ok, false, 1);

    if (n < 0)
        return (struct bytes){ NULL, 0 };
    return (struct bytes){ cur_take(c, (size_t)n), (size_t)n };
}

struct slice wire_read_records(struct cursor *c, bool compact, bool null_ok)
{
    struct bytes b = wire_read_bytes(c, compact, null_ok);

    return slice_mem(b.p, b.len);
}

struct uuid wire_read_uuid(struct cursor *c)
{
    struct uuid u = { { 0 } };
    const uint8_t *p = cur_take(c, sizeof u.b);

    if (p != NULL)
        memcpy(u.b, p, sizeof u.b);
    return u;
}

void *wire_read_array(struct cursor *c, struct arena *a, int32_t *n, bool compact, bool null_ok, size_t min_size,
                      size_t size)
{
    int64_t len = read_len(c, compact, null_ok, false, min_size);
    size_t total;
    void *p;

    *n = c->rc == OK ? (int32_t)len : 0;
    if (len <= 0)
        return NULL;
    p = len > INT32_MAX || __builtin_mul_overflow((size_t)len, size, &total) ? NULL : arena_alloc(a, total);
    if (p == NULL) {
        cur_fail(c, ERR_NOMEM);
        *n = 0;
    }
    return p;
}

void *wire_read_nullable(struct cursor *c, struct arena *a, bool tagged, size_t size)
{
    int64_t there = tagged ? (int64_t)cur_uvarint(c) - 1 : cur_i8(c);
    void *p;

    if (c->rc != OK || there < 0)
        return NULL;
    p = arena_alloc(a, size);
    if (p == NULL)
        cur_fail(c, ERR_NOMEM);
    return p;
}

uint32_t wire_read_tag_count(struct cursor *c)
{
    uint32_t n = cur_uvarint(c);

    if (n > cur_left(c) / 2) {          /* each has a tag and a size */
        cur_fail(c, ERR_SHORT);
        return 0;
    }
    return n;
}

const struct raw_tag **wire_read_unknown(struct cursor *c, struct arena *a, uint32_t tag, uint32_t size,
                                         const struct raw_tag **tail)
{
    const uint8_t *p = cur_take(c, size);
    struct raw_tag *t;

    if (p == NULL)
        return tail;
    t = arena_alloc(a, sizeof *t);
    if (t == NULL) {
        cur_fail(c, ERR_NOMEM);
        return tail;
    }
    *t = (struct raw_tag){ .tag = tag, .data = { p, size } };
    *tail = t;
    return &t->next;
}

void wire_read_tags_slow(struct cursor *c, struct arena *a, const struct raw_tag **tags)
{
    uint32_t n = wire_read_tag_count(c);

    while (n-- > 0 && c->rc == OK) {
        uint32_t tag = cur_uvarint(c), size = cur_uvarint(c);

        tags = wire_read_unknown(c, a, tag, size, tags);
    }
}

/* ---- measuring ---- */

size_t wire_size_unknown(const struct raw_tag *tags, uint32_t *n)
{
    size_t size = 0;

    for (; tags != NULL; tags = tags->next) {
        size += wire_size_tag(tags->tag, tags->data.len);
        ++*n;
    }
    return size;
}

/* ---- writing ---- */

void wire_fail(struct chain *ch, int rc)
{
    if (ch->rc == OK)
        ch->rc = rc;
    ch->p = ch->end = NULL;
}

static void write_null(struct chain *ch, bool compact, bool null_ok, bool is_str)
{
    if (!null_ok)
        wire_fail(ch, ERR_INVALID);
    else if (compact)
        chain_i8(ch, 0);
    else if (is_str)
        chain_i16(ch, -1);
    else
        chain_i32(ch, -1);
}

void wire_write_str(struct chain *ch, struct str s, bool compact, bool null_ok)
{
    if (s.p == NULL) {
        write_null(ch, compact, null_ok, true);
        return;
    }
    if (s.len > WIRE_STR_MAX) {
        wire_fail(ch, ERR_TOO_LARGE);
        return;
    }
    if (compact)
        chain_uvarint(ch, (uint32_t)s.len + 1);
    else
        chain_i16(ch, (int16_t)s.len);
    chain_copy(ch, s.p, s.len);
}

static bool write_len(struct chain *ch, size_t len, bool compact)
{
    if (len > INT32_MAX) {
        wire_fail(ch, ERR_TOO_LARGE);
        return false;
    }
    if (compact)
        chain_uvarint(ch, (uint32_t)len + 1);
    else
        chain_i32(ch, (int32_t)len);
    return true;
}

void wire_write_bytes(struct chain *ch, struct bytes b, bool compact, bool null_ok)
{
    if (b.p == NULL)
        write_null(ch, compact, null_ok, false);
    else if (write_len(ch, b.len, compact))
        chain_ref(ch, b.p, b.len);
}

void wire_write_records(struct chain *ch, struct slice s, bool compact, bool null_ok)
{
    if (slice_is_null(s))
        write_null(ch, compact, null_ok, false);
    else if (write_len(ch, s.len, compact))
        chain_slice(ch, s);
}

void wire_write_array(struct chain *ch, int32_t n, bool compact, bool null_ok)
{
    if (n < 0)
        write_null(ch, compact, null_ok, false);
    else
        (void)write_len(ch, (size_t)n, compact);
}

void wire_write_uuid(struct chain *ch, struct uuid u)
{
    chain_copy(ch, u.b, sizeof u.b);
}

uint32_t wire_count_tags(const struct raw_tag *tags)
{
    uint32_t n = 0;

    for (; tags != NULL; tags = tags->next)
        n++;
    return n;
}

void wire_write_tag(struct chain *ch, uint32_t tag, size_t size)
{
    chain_uvarint(ch, tag);
    chain_uvarint(ch, (uint32_t)size);
}

const struct raw_tag *wire_write_unknown(struct chain *ch, const struct raw_tag *t, uint64_t below)
{
    for (; t != NULL && t->tag < below; t = t->next) {
        if (t->next != NULL && t->next->tag <= t->tag) {
            wire_fail(ch, ERR_INVALID);
            return NULL;
        }
        wire_write_tag(ch, t->tag, t->data.len);
        chain_ref(ch, t->data.p, t->data.len);
    }
    return t;
}
