/* base/cursor.h - the one bounds-checked reader for bytes that came from outside.
 *
 * A read past the end gives 0 (or a null slice), sets rc to ERR_SHORT once, and moves to the end, so a
 * decoder reads field after field and looks at rc when it is done, or before it trusts a count. A
 * malformed varint sets ERR_CORRUPT. After the first failure every read gives zeros.
 *
 * OWNER  the cursor borrows the bytes; what cur_take() gives points into them.
 * UNITS  bytes; integers on the wire are big-endian; varint/varlong are zig-zag LEB128 (protobuf sint),
 *        uvarint is plain LEB128, at most 5 (10 for 64 bits) bytes.
 */
#ifndef BASE_CURSOR_H
#define BASE_CURSOR_H

#include "base/bytes.h"
#include "base/err.h"

struct cursor {
    const uint8_t *p;       /* next byte */
    const uint8_t *end;     /* one past the last */
    int            rc;      /* OK, or the first failure */
};

static inline struct cursor cur_ro(const void *p, size_t n)
{
    const uint8_t *b = p;
    return (struct cursor){ b, b != NULL ? b + n : b, OK };
}

static inline size_t cur_left(const struct cursor *c)
{
    return (size_t)(c->end - c->p);
}

/* Sets the failure if none is set yet, and makes every later read a zero. */
static inline void cur_fail(struct cursor *c, int rc)
{
    if (c->rc == OK)
        c->rc = rc;
    c->p = c->end;
}

/* n bytes, or NULL when they are not there (n == 0 gives a non-NULL pointer unless the cursor failed). */
static inline const uint8_t *cur_take(struct cursor *c, size_t n)
{
    const uint8_t *p = c->p;

    if (n > cur_left(c) || c->rc != OK) {
        cur_fail(c, ERR_SHORT);
        return NULL;
    }
    c->p += n;
    return p;
}

static inline int8_t cur_i8(struct cursor *c)
{
    const uint8_t *p = cur_take(c, 1);
    return p != NULL ? (int8_t)*p : 0;
}

static inline int16_t cur_i16(struct cursor *c)
{
    const uint8_t *p = cur_take(c, 2);
    return p != NULL ? (int16_t)be_get16(p) : 0;
}

static inline uint16_t cur_u16(struct cursor *c)
{
    const uint8_t *p = cur_take(c, 2);
    return p != NULL ? be_get16(p) : 0;
}

static inline int32_t cur_i32(struct cursor *c)
{
    const uint8_t *p = cur_take(c, 4);
    return p != NULL ? (int32_t)be_get32(p) : 0;
}

static inline uint32_t cur_u32(struct cursor *c)
{
    const uint8_t *p = cur_take(c, 4);
    return p != NULL ? be_get32(p) : 0;
}

static inline int64_t cur_i64(struct cursor *c)
{
    const uint8_t *p = cur_take(c, 8);
    return p != NULL ? (int64_t)be_get64(p) : 0;
}

double   cur_f64(struct cursor *c);
uint32_t cur_uvarint_slow(struct cursor *c);
uint64_t cur_uvarlong_slow(struct cursor *c);

static inline uint32_t cur_uvarint(struct cursor *c)
{
    if (c->p < c->end && *c->p < 0x80)
        return *c->p++;
    return cur_uvarint_slow(c);
}

static inline uint64_t cur_uvarlong(struct cursor *c)
{
    if (c->p < c->end && *c->p < 0x80)
        return *c->p++;
    return cur_uvarlong_slow(c);
}

static inline int32_t cur_varint(struct cursor *c)
{
    uint32_t v = cur_uvarint(c);
    return (int32_t)((v >> 1) ^ (0U - (v & 1)));
}

static inline int64_t cur_varlong(struct cursor *c)
{
    uint64_t v = cur_uvarlong(c);
    return (int64_t)((v >> 1) ^ (0ULL - (v & 1)));
}

/* Bytes that a zig-zag varint / varlong, or an unsigned varint, takes when written. */
static inline size_t uvarint_size(uint32_t v)
{
    return v == 0 ? 1 : (size_t)(31 - __builtin_clz(v)) / 7 + 1;
}

static inline size_t uvarlong_size(uint64_t v)
{
    return v == 0 ? 1 : (size_t)(63 - __builtin_clzll(v)) / 7 + 1;
}

static inline uint32_t zigzag32(int32_t v)
{
    return ((uint32_t)v << 1) ^ (uint32_t)(v >> 31);
}

static inline uint64_t zigzag64(int64_t v)
{
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}

/* Write at p, which has room (10 bytes are always enough); give the position after. */
uint8_t *uvarint_put(uint8_t *p, uint32_t v);
uint8_t *uvarlong_put(uint8_t *p, uint64_t v);

#endif
