/* proto/records/convert.h - record sets for consumers that know only older formats (Fetch versions 0-3).
 *
 * Batches of a higher magic are rewritten as messages: headers, producer fields, transactions are lost, control
 * batches left out, the codec kept. Batches that are old enough already are copied. Records below first_offset are
 * dropped where each record is a message of its own (no codec), because old clients trip over them.
 *
 * OWNER    the result lies in the arena; the input is borrowed and not changed.
 * LOCKS    none.
 * LIMIT    conversion stops after the batch with which the result reaches max_bytes (the first one is always made
 *          whole, so that the consumer gets on); max_decompressed_bytes as in records.h.
 * FAILURE  ERR_UNSUPPORTED  the first convertible batch is zstd: UNSUPPORTED_COMPRESSION_TYPE. A later one ends the
 *                           result before it, and the consumer's next fetch gets the error.
 *          ERR_CORRUPT      the records do not parse: CORRUPT_MESSAGE
 *          ERR_TOO_LARGE, ERR_NOMEM
 */
#ifndef PROTO_RECORDS_CONVERT_H
#define PROTO_RECORDS_CONVERT_H

#include "proto/records/records.h"

struct convert_opts {
    int8_t  magic;                  /* 0 for Fetch 0-1, 1 for Fetch 2-3 */
    int64_t first_offset;           /* what the consumer asked for */
    size_t  max_bytes;
    size_t  max_decompressed_bytes; /* of each batch */
};

/* `in` is what was read from the log: it may begin before first_offset and end inside a batch. When there were batches
 * but nothing remains of them, *out is the 12 bytes of a message that is too large to read, as Kafka sends it. */
int records_down_convert(const struct convert_opts *o, struct bytes in, struct arena *a, struct bytes *out) must_use;

#endif
