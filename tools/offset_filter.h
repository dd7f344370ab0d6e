/* tools/offset_filter.h - which topic-partitions kafka-get-offsets.sh is asked for: --topic with --partitions, or
 * --topic-partitions "t1:1,t2:0-3,t3,t4:5-,t5:-3".
 *
 * OWNER    offset_filter_free(). LOCKS none.
 * FAILURE  ERR_INVALID with a sentence in `error`.
 */
#ifndef TOOLS_OFFSET_FILTER_H
#define TOOLS_OFFSET_FILTER_H

#include "base/bytes.h"
#include "base/err.h"

struct offset_filter;

/* Rules of --topic-partitions. */
int  offset_filter_new_rules(struct offset_filter **out, const char *rules, char *error, size_t error_len) must_use;
/* --topic and --partitions; each may be NULL. */
int  offset_filter_new(struct offset_filter **out, const char *topic, const char *partitions, char *error,
                       size_t error_len) must_use;
void offset_filter_free(struct offset_filter **f);                                              /* NULL-safe */
bool offset_filter_topic(const struct offset_filter *f, struct str topic);
bool offset_filter_partition(const struct offset_filter *f, struct str topic, int32_t partition);

#endif
