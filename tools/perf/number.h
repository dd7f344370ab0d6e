/* tools/perf/number.h - numbers and times as Java prints them.
 *
 * LOCKS    none.
 */
#ifndef TOOLS_PERF_NUMBER_H
#define TOOLS_PERF_NUMBER_H

#include <stdint.h>
#include <stdio.h>

#define NUMBER_MAX 352

/* "%.<digits>f", with Java's NaN and Infinity. Gives `out`. */
const char *number_fixed(char out[NUMBER_MAX], double v, int digits);

/* java.text.SimpleDateFormat, local time, English names. NULL: fine, else what is wrong with the pattern. */
const char *date_check(const char *pattern);
void        date_print(FILE *f, const char *pattern, int64_t unix_ms);

#endif
