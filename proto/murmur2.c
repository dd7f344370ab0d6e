/* proto/murmur2.c - Austin Appleby's MurmurHash2 with Kafka's seed, on little-endian words as Java does it. */
#include "proto/murmur2.h"

#include <string.h>

#define MURMUR_SEED 0x9747b28cU
#define MURMUR_M    0x5bd1e995U

int32_t murmur2(const void *p, size_t n)
{
    const uint8_t *at = p;
    uint32_t h = MURMUR_SEED ^ (uint32_t)n, k;

    for (; n >= 4; n -= 4, at += 4) {
        memcpy(&k, at, 4);
        k *= MURMUR_M;
        k ^= k >> 24;
        h = (h * MURMUR_M) ^ (k * MURMUR_M);
    }
    if (n > 0) {
        for (size_t i = n; i-- > 0;)
            h ^= (uint32_t)at[i] << (8 * i);
        h *= MURMUR_M;
    }
    h ^= h >> 13;
    h *= MURMUR_M;
    h ^= h >> 15;
    return (int32_t)h;
}
