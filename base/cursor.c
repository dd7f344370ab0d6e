/* base/cursor.c - the parts of the cursor that are not worth inlining. */
#include "base/cursor.h"

double cur_f64(struct cursor *c)
{
    uint64_t bits = (uint64_t)cur_i64(c);
    double v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

/* LEB128: seven bits a byte, low first. The last byte that can still carry bits may not carry more than
 * fit: Java throws there, and so do we. */
static uint64_t leb128(struct cursor *c, size_t max_bytes)
{
    size_t left = cur_left(c), n = left < max_bytes ? left : max_bytes;
    const uint8_t *p = c->p;
    uint64_t v = 0;

    for (size_t i = 0; i < n; i++) {
        v |= (uint64_t)(p[i] & 0x7f) << (7 * i);
        if (p[i] < 0x80) {
            c->p = p + i + 1;
            return v;
        }
    }
    cur_fail(c, n < max_bytes ? ERR_SHORT : ERR_CORRUPT);
    return 0;
}

uint32_t cur_uvarint_slow(struct cursor *c)
{
    return (uint32_t)leb128(c, 5);
}

uint64_t cur_uvarlong_slow(struct cursor *c)
{
    return leb128(c, 10);
}

uint8_t *uvarlong_put(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

uint8_t *uvarint_put(uint8_t *p, uint32_t v)
{
    return uvarlong_put(p, v);
}
