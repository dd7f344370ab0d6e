/* base/log.c */
#include "base/log.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

_Atomic int log_threshold = LOG_INFO;
static atomic_int log_fd = STDOUT_FILENO;

void log_to_fd(int fd)
{
    atomic_store(&log_fd, fd);
}

static size_t put_head(char *out, size_t size, enum log_level level)
{
    static const char *const names[] = { "TRACE", "DEBUG", "INFO ", "WARN ", "ERROR", "FATAL" };
    int64_t ms = wall_ms();
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    int n;

    localtime_r(&s, &tm);
    n = snprintf(out, size, "%04d-%02d-%02d %02d:%02d:%02d,%03d %s ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                 tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(ms % 1000), names[level]);
    return n > 0 ? (size_t)n : 0;
}

void log_write(enum log_level level, const char *fmt, ...)
{
    char line[LINE_MAX_BYTES];
    size_t n = put_head(line, sizeof line, level);
    va_list ap;
    int more;
    ssize_t done;

    va_start(ap, fmt);
    more = vsnprintf(line + n, sizeof line - n - 1, fmt, ap);
    va_end(ap);
    if (more > 0)
        n += (size_t)more < sizeof line - n - 1 ? (size_t)more : sizeof line - n - 2;
    for (size_t i = 0; i < n; i++)      /* what comes from outside must not forge lines */
        if (line[i] == '\n' || line[i] == '\r')
            line[i] = ' ';
    line[n++] = '\n';
    done = write(atomic_load(&log_fd), line, n);
    (void)done;                         /* there is nobody to tell */
}

bool log_limit(struct log_limit *l, int *suppressed)
{
    int64_t now = mono_ms();
    int64_t start = atomic_load(&l->window_ms);

    if ((start == 0 || now - start >= l->interval_ms) && atomic_compare_exchange_strong(&l->window_ms, &start, now))
        atomic_store(&l->count, 0);
    if (atomic_fetch_add(&l->count, 1) >= l->burst) {
        atomic_fetch_add(&l->hidden, 1);
        return false;
    }
    *suppressed = atomic_exchange(&l->hidden, 0);
    return true;
}
