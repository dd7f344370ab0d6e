/* tests/unit/proto/random.h - the same random numbers in every run, and bytes that compress more or less well. */
#ifndef TESTS_UNIT_PROTO_RANDOM_H
#define TESTS_UNIT_PROTO_RANDOM_H

#include <stddef.h>
#include <stdint.h>

static uint64_t random_state = 0x9e3779b97f4a7c15ULL;

static inline uint32_t random_u32(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32);
}

static inline uint32_t random_below(uint32_t n)
{
    return n > 0 ? random_u32() % n : 0;
}

/* kind 0: zeros, 1: text, else noise. */
static inline void random_fill(uint8_t *p, size_t n, unsigned kind)
{
    static const char text[] = "the gorge carries the torrent and the torrent carves the gorge ";

    for (size_t i = 0; i < n; i++)
        p[i] = kind == 0 ? 0 : kind == 1 ? (uint8_t)text[(i + (i >> 9)) % (sizeof text - 1)] : (uint8_t)random_u32();
}

#endif
