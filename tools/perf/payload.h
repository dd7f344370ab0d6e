/* tools/perf/payload.h - what the records of a performance test hold: letters at random (the same in every run, and
 * as Kafka's tool makes them), pieces of a file, or numbers.
 *
 * OWNER    payload_fini(). A zeroed struct gives numbers.
 * LOCKS    none: one thread.
 * FAILURE  ERR_NOMEM; of a file ERR_INVALID and ERR_IO with a sentence in `error`.
 */
#ifndef TOOLS_PERF_PAYLOAD_H
#define TOOLS_PERF_PAYLOAD_H

#include "base/bytes.h"
#include "base/err.h"

struct payload {
    uint64_t      random;
    uint8_t      *letters;      /* of the record that was asked for last */
    size_t        size;
    char         *file;         /* owned; the pieces lie in it */
    struct bytes *pieces;
    size_t        pieces_n;
    char          number[24];
};

int  payload_random(struct payload *p, size_t size) must_use;
/* Says on standard output what it reads, as Kafka's tool does. `delimiter` is a regular expression. */
int  payload_file(struct payload *p, const char *path, const char *delimiter, char *error, size_t error_len) must_use;
void payload_fini(struct payload *p);

/* The n-th record; valid until the next call. */
struct bytes payload_next(struct payload *p, int64_t n);

#endif
