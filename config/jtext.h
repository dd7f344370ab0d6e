/* config/jtext.h - the small rules of Java's text that property files depend on: trim, numbers, and how they print.
 *
 * OWNER  slices borrow; buffers are the caller's.   LOCKS  none: pure.
 */
#ifndef CONFIG_JTEXT_H
#define CONFIG_JTEXT_H

#include "base/bytes.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum { JDOUBLE_TEXT = 40 };

struct str jtrim(struct str s);                                 /* String.trim(): cuts everything up to U+0020 */

/* Long.parseLong() and its smaller sisters: an optional sign and decimal digits, nothing else. */
bool jlong_parse(struct str s, int64_t min, int64_t max, int64_t *out) must_use;

bool jdouble_parse(struct str s, double *out) must_use;                 /* Double.parseDouble() */
void jdouble_text(double d, char buf[static JDOUBLE_TEXT]);             /* Double.toString(): 0.5, 1.0E7, NaN */

#endif
