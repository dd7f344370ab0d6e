/* storage/index_file.h - entries of .index and .timeindex files.
 *
 *   .index      8 bytes   i32 offset - base, i32 position in .log where the chunk that ends with this offset begins
 *   .timeindex 12 bytes   i64 timestamp, i32 offset - base: the largest timestamp of everything up to that offset
 *
 * Both rise strictly in their first field; a time index never falls in offset. Apache Kafka's files of an active
 * segment are longer than their content and end with zeros; ours are never longer.
 * LOCKS none: pure.
 */
#ifndef STORAGE_INDEX_FILE_H
#define STORAGE_INDEX_FILE_H

#include "base/bytes.h"

#define OFFSET_INDEX_ENTRY 8
#define TIME_INDEX_ENTRY   12

struct offset_index_entry {
    int64_t  offset;
    uint32_t pos;
};

struct time_index_entry {
    int64_t timestamp;
    int64_t offset;
};

/* p has room for, or holds, one whole entry. */
struct offset_index_entry offset_index_get(const uint8_t *p, int64_t base);
struct time_index_entry   time_index_get(const uint8_t *p, int64_t base);
void offset_index_put(uint8_t *p, int64_t base, struct offset_index_entry e);
void time_index_put(uint8_t *p, int64_t base, struct time_index_entry e);

/* How many of the whole entries in these bytes are content: they end where the order breaks (zeros, or damage). An
 * offset index entry must also lie below log_bytes. */
size_t offset_index_valid(const uint8_t *p, size_t len, int64_t log_bytes);
size_t time_index_valid(const uint8_t *p, size_t len);

#endif
