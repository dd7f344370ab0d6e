/* base/clock.h - the two clocks. Wall time for what users see and records carry, monotonic time for waiting.
 * UNITS  _ms is milliseconds, _ns nanoseconds. wall_ms() counts from the Unix epoch.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

int64_t wall_ms(void);
int64_t mono_ns(void);
int64_t mono_ms(void);

#endif
