/* tools/console/formatter.h - how a consumed record is printed: Kafka's message formatters by their class names.
 *
 * OWNER    the texts of the properties are borrowed.
 * LOCKS    none.
 * FAILURE  formatter_write(): ERR_INVALID with a sentence when a deserializer cannot read the bytes; part of
 *          the record may be out by then, as with Kafka's formatter. Trouble with the stream is left in ferror().
 */
#ifndef TOOLS_CONSOLE_FORMATTER_H
#define TOOLS_CONSOLE_FORMATTER_H

#include "base/bytes.h"
#include "base/err.h"

#include <stdio.h>

struct deserializer;
struct consumed;
struct formatter;

typedef int formatter_write_fn(const struct formatter *, FILE *, const struct consumed *, char *error,
                               size_t error_len);

struct formatter {
    formatter_write_fn        *write;
    bool                       print_timestamp, print_key, print_offset, print_partition, print_headers, print_value;
    struct str                 key_separator, line_separator, headers_separator, null_literal;
    const struct deserializer *key, *value, *header;        /* NULL: the bytes as they are */
};

struct consumed_header {
    struct str   key;
    struct bytes value;             /* p NULL: null */
};

enum timestamp_kind { TIMESTAMP_NONE, TIMESTAMP_CREATE, TIMESTAMP_APPEND };

struct consumed {
    int32_t                       partition;
    int64_t                       offset, timestamp;
    enum timestamp_kind           timestamp_kind;
    struct bytes                  key, value;       /* p NULL: null */
    const struct consumed_header *headers;
    size_t                        headers_n;
};

/* By class name, old or new. ERR_NOENT: unknown. A deprecated name is warned of on standard error. */
int formatter_init(struct formatter *f, const char *class_name) must_use;
/* print.key=true and the like. ERR_INVALID: a deserializer that is not known (it is then left out). */
int formatter_set(struct formatter *f, struct str name, struct str value) must_use;
int formatter_write(const struct formatter *f, FILE *out, const struct consumed *r, char *error,
                    size_t error_len) must_use;

#endif
