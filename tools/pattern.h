/* tools/pattern.h - which topics a user means: the regular expressions of --topic, --include and --topic-partitions.
 *
 * As in Kafka the whole name must match, and a list "a,b" is read as "a|b"; blanks and surrounding quotes are
 * dropped. Expressions are PCRE's, which is what Java's are but for rare corners.
 *
 * OWNER    pattern_free(); the pattern keeps nothing of the text.
 * LOCKS    none: one thread.
 */
#ifndef TOOLS_PATTERN_H
#define TOOLS_PATTERN_H

#include "base/bytes.h"
#include "base/err.h"

struct pattern;

/* What pattern_new() makes of a text: on the heap. NULL: out of memory. */
char *pattern_text(struct str text) must_use;
/* ERR_INVALID: no regular expression. */
int  pattern_new(struct pattern **out, struct str text) must_use;
/* The text as it stands: not read as a list, nothing dropped (`topic.matches()` of Java). */
int  pattern_new_raw(struct pattern **out, struct str text) must_use;
void pattern_free(struct pattern **p);      /* NULL-safe */
/* An expression that goes round for too long does not match. */
bool pattern_matches(const struct pattern *p, struct str name);

/* Kafka's two own topics. */
bool topic_is_internal(struct str name);

#endif
