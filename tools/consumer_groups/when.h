/* tools/consumer_groups/when.h - points in time as users write them for --to-datetime and --by-duration.
 *
 * LOCKS    none. UNITS Unix milliseconds; a duration in milliseconds.
 * FAILURE  ERR_INVALID.
 */
#ifndef TOOLS_CONSUMER_GROUPS_WHEN_H
#define TOOLS_CONSUMER_GROUPS_WHEN_H

#include "base/err.h"

#include <stdint.h>

/* "2024-02-29T12:30:00.000", and then nothing (UTC), Z, +02, +0200 or +02:00. Java's parser takes +0230 for +02, and
 * anything after it for nothing; here it is what it says. */
int when_parse_datetime(const char *text, int64_t *out) must_use;
/* ISO 8601 as Java reads it: "P2DT3H4M5.5S", with a sign before everything or before each number. */
int when_parse_duration(const char *text, int64_t *out_ms) must_use;

#endif
