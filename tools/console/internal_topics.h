/* tools/console/internal_topics.h - records of __consumer_offsets and __transaction_state as Kafka's formatters print
 * them: those of 3.9 as JSON without line ends, the older ones as lines.
 *
 * Records that are not of the formatter's kind print nothing, and those of a version that is not known say so.
 * LOCKS    none.
 * FAILURE  ERR_INVALID with a sentence when the bytes do not parse.
 */
#ifndef TOOLS_CONSOLE_INTERNAL_TOPICS_H
#define TOOLS_CONSOLE_INTERNAL_TOPICS_H

#include "tools/console/formatter.h"

int offsets_write_json(const struct formatter *f, FILE *out, const struct consumed *r, char *error,
                       size_t error_len) must_use;
int groups_write_json(const struct formatter *f, FILE *out, const struct consumed *r, char *error,
                      size_t error_len) must_use;
int txns_write_json(const struct formatter *f, FILE *out, const struct consumed *r, char *error,
                    size_t error_len) must_use;
int offsets_write_text(const struct formatter *f, FILE *out, const struct consumed *r, char *error,
                       size_t error_len) must_use;
int groups_write_text(const struct formatter *f, FILE *out, const struct consumed *r, char *error,
                      size_t error_len) must_use;
int txns_write_text(const struct formatter *f, FILE *out, const struct consumed *r, char *error,
                    size_t error_len) must_use;

#endif
