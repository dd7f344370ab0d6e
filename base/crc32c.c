/* base/crc32c.c */
#include "base/crc32c.h"

#include <isa-l/crc.h>

/* ISA-L works on the inverted register, and takes an int length and a pointer it does not write through. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
    const size_t step = (size_t)1 << 30;
    unsigned char *at = (unsigned char *)(uintptr_t)p;

    crc = ~crc;
    while (n > 0) {
        size_t len = n < step ? n : step;
        crc = crc32_iscsi(at, (int)len, crc);
        at += len;
        n -= len;
    }
    return ~crc;
}
