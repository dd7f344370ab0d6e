/* base/log.h - the log: one line an event, for a person to read.
 *
 * A line tells what happened, where, the value found, and what to do about it, and is written once, where the
 * decision is taken:   log_warn("t-3: batch at offset 17 refused: CRC is 1a2b, should be 3c4d; the sender's ...")
 *
 * FORMAT  2026-11-21 04:05:06,789 WARN  text
 * LOCKS   one write(2) a line to standard output (or wherever log_open() says): lines never mix. Any thread.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/err.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_TRACE, LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_FATAL };

extern _Atomic int log_threshold;       /* lines below are dropped; LOG_INFO at start */

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_to_fd(int fd);                 /* borrowed; standard output until called */

#define log_at(level, ...)                                                                  \
    do {                                                                                    \
        if ((int)(level) >= atomic_load_explicit(&log_threshold, memory_order_relaxed))     \
            log_write(level, __VA_ARGS__);                                                  \
    } while (0)
#define log_trace(...) log_at(LOG_TRACE, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_at(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_fatal(...) log_at(LOG_FATAL, __VA_ARGS__)

/* "%zu member%s", n, plural(n) */
static inline const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

/* For lines that somebody outside can provoke at will: at most burst lines in each interval. A static one for each
 * place. log_limit() says whether to write now; *suppressed is how many were not written since the last that was. */
struct log_limit {
    int64_t          interval_ms;
    int              burst;
    /* any thread */
    _Atomic int64_t  window_ms;         /* start of the current interval, monotonic */
    atomic_int       count;
    atomic_int       hidden;
};
#define LOG_LIMIT(interval, n) { .interval_ms = (interval), .burst = (n) }

bool log_limit(struct log_limit *l, int *suppressed);

/* A line of which there may be many, so long as nobody provokes them without end: 500 in 10 s at this place. */
#define log_some(level, ...)                                                                \
    do {                                                                                    \
        static struct log_limit limit_ = LOG_LIMIT(10000, 500);                             \
        int hidden_;                                                                        \
        if (log_limit(&limit_, &hidden_)) {                                                 \
            log_at(level, __VA_ARGS__);                                                     \
            if (hidden_ > 0)                                                                \
                log_at(level, "%d more lines like the last one were not written", hidden_); \
        }                                                                                   \
    } while (0)

#endif
