/* base/crc32c.h - CRC-32C (Castagnoli), by ISA-L, which uses the processor's instructions. */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The usual form: start with 0, feed the result back in to go on. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);

#endif
