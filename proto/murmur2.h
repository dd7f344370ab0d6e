/* proto/murmur2.h - the hash by which Java clients spread keyed records over partitions. */
#ifndef PROTO_MURMUR2_H
#define PROTO_MURMUR2_H

#include <stddef.h>
#include <stdint.h>

int32_t murmur2(const void *p, size_t n);           /* seed as in Kafka's Utils */

/* Partition of a key among n partitions (n > 0): the sign bit is cleared, then modulo. */
static inline int32_t murmur2_partition(const void *p, size_t n, int32_t n_partitions)
{
    return (int32_t)((uint32_t)murmur2(p, n) & 0x7fffffffU) % n_partitions;
}

#endif
