/* tools/retention/judge.c - the rules by which a broker removes segments, applied and put in words. */
#include "tools/retention/retention.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

/* ---- the rules ------------------------------------------------------------------------------------------------- */

static bool held(const struct retention_rules *r, const struct segment_facts *s, struct verdict *v)
{
    if (s->active && s->bytes == 0)
        v->why = WHY_EMPTY;
    else if (r->hw < s->end)
        v->why = WHY_REPLICATION;
    else
        return false;
    return true;
}

static int64_t total_bytes(const struct segment_facts *v, size_t n)
{
    int64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += v[i].bytes;
    return sum;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* When its own age is up. Retention of Long.MAX_VALUE ms is what guides give for "for ever". */
static int64_t expiry(const struct retention_rules *r, const struct segment_facts *s)
{
    int64_t at;

    return __builtin_add_overflow(s->timestamp, r->retention_ms, &at) ? INT64_MAX : at;
}

/* The first of three passes that takes it; WHY_LIMITS: none does. */
static enum retention_why taken_by(const struct retention_rules *r, const struct segment_facts *s, int64_t now_ms,
                                   bool start, bool size, bool time)
{
    if (start && !s->active && s->end <= r->start)
        return WHY_NOW_START;
    if (size)
        return WHY_NOW_SIZE;
    if (time && r->retention_ms >= 0 && now_ms - s->timestamp > r->retention_ms)
        return WHY_NOW_TIME;
    return WHY_LIMITS;
}

static enum retention_why stays(const struct retention_rules *r)
{
    if (!r->delete_policy)
        return WHY_COMPACT;
    return r->retention_ms < 0 && r->retention_bytes < 0 ? WHY_NEVER : WHY_LIMITS;
}

void retention_judge(const struct retention_rules *r, const struct segment_facts *v, size_t n, int64_t now_ms,
                     struct verdict *out)
{
    bool by_size = r->delete_policy && r->retention_bytes >= 0, by_time = r->delete_policy && r->retention_ms >= 0;
    int64_t excess = by_size ? total_bytes(v, n) - r->retention_bytes : 0, sum = 0, at = -1;
    size_t first = n;                   /* the oldest one that stays */

    for (size_t i = 0; i < n; i++) {
        struct verdict *o = &out[i];

        *o = (struct verdict){ .why = WHY_LIMITS, .at_ms = -1, .more_bytes = -1, .behind = -1 };
        sum += v[i].bytes;
        if (by_time)
            at = later(at, expiry(r, &v[i]));
        if (held(r, &v[i], o)) {
            first = first < i ? first : i;
            continue;
        }
        o->at_ms = by_time ? at : -1;
        o->more_bytes = by_size ? later(sum - excess, 0) : -1;
        o->why = taken_by(r, &v[i], now_ms, true, by_size && sum <= excess, by_time);
        if (o->why != WHY_LIMITS && first < i) {
            o->why = WHY_WAITS;
            o->behind = v[first].base;
        } else if (o->why == WHY_LIMITS) {
            o->why = stays(r);
            first = first < i ? first : i;
        }
    }
}

/* ---- in words -------------------------------------------------------------------------------------------------- */

static const char *date(int64_t ms, char out[40])
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm;

    if (localtime_r(&t, &tm) == NULL || strftime(out, 40, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        snprintf(out, 40, "%" PRId64 " ms", ms);
    return out;
}

static const char *duration(int64_t ms, char out[40])
{
    int64_t s = ms / 1000;

    if (s >= 2 * 86400)
        snprintf(out, 40, "%" PRId64 " days", s / 86400);
    else if (s >= 2 * 3600)
        snprintf(out, 40, "%" PRId64 " hours", s / 3600);
    else if (s >= 120)
        snprintf(out, 40, "%" PRId64 " minutes", s / 60);
    else
        snprintf(out, 40, "%" PRId64 ".%03d s", s, (int)(ms % 1000));
    return out;
}

static void print_limits(const struct retention_rules *r, const struct segment_facts *s, const struct verdict *v,
                         int64_t now_ms)
{
    char when[40], left[40], age[40];

    if (v->at_ms >= 0)
        printf("goes at %s (in %s)", date(v->at_ms, when), duration(v->at_ms - now_ms, left));
    if (v->at_ms > expiry(r, s))
        printf(", when those before it are old enough; by itself at %s", date(expiry(r, s), when));
    else if (v->at_ms >= 0)
        printf(", when its newest record is older than retention.ms (%s)", duration(r->retention_ms, age));
    if (v->more_bytes >= 0)
        printf("%s when %" PRId64 " more bytes are in the log than now (retention.bytes)",
               v->at_ms >= 0 ? "; or" : "goes", v->more_bytes);
    if (s->timestamp > now_ms)
        printf("; its newest record is dated %s in the future: message.timestamp.after.max.ms refuses such records",
               duration(s->timestamp - now_ms, age));
}

static void print_verdict(const struct retention_rules *r, const struct segment_facts *s, const struct verdict *v,
                          int64_t now_ms)
{
    char age[40];

    switch (v->why) {
    case WHY_NOW_START:
        printf("goes at the next check: all of it is below the log start offset %" PRId64, r->start);
        break;
    case WHY_NOW_SIZE:
        printf("goes at the next check: the log is larger than retention.bytes (%" PRId64 ") by more than this segment",
               r->retention_bytes);
        break;
    case WHY_NOW_TIME:
        printf("goes at the next check: its newest record is %s old", duration(now_ms - s->timestamp, age));
        break;
    case WHY_REPLICATION:
        printf("stays: it has offsets above the high watermark %" PRId64 ", which not all in-sync replicas have",
               r->hw);
        break;
    case WHY_EMPTY:
        printf("stays: it is empty");
        break;
    case WHY_LIMITS:
        print_limits(r, s, v, now_ms);
        break;
    case WHY_WAITS:
        printf("would go, but segments go oldest first: that of offset %" PRId64 " stays", v->behind);
        break;
    case WHY_COMPACT:
        printf("stays: cleanup.policy=compact removes records, not segments");
        break;
    case WHY_NEVER:
        printf("stays: neither retention.ms nor retention.bytes is set");
        break;
    }
    putchar('\n');
}

void retention_print(const struct retention_rules *r, const struct segment_facts *v, const struct verdict *verdicts,
                     size_t n, int64_t now_ms)
{
    char when[40], check[40], delay[40];

    printf("log start offset %" PRId64 ", high watermark %" PRId64 ", log end %" PRId64 "; %zu segments, %" PRId64
           " bytes\n", r->start, r->hw, r->leo, n, total_bytes(v, n));
    printf("cleanup.policy=%s%s%s retention.ms=%" PRId64 " retention.bytes=%" PRId64 " segment.ms=%" PRId64
           " segment.bytes=%" PRId64 "\n", r->compact_policy ? "compact" : "",
           r->compact_policy && r->delete_policy ? "," : "", r->delete_policy ? "delete" : "", r->retention_ms,
           r->retention_bytes, r->segment_ms, r->segment_bytes);
    printf("the broker looks every %s; the files of what it removes stay %s more\n\n", duration(r->check_ms, check),
           duration(r->file_delete_delay_ms, delay));
    for (size_t i = 0; i < n; i++) {
        if (v[i].end > v[i].base)
            printf("offsets %" PRId64 "-%" PRId64, v[i].base, v[i].end - 1);
        else
            printf("offset %" PRId64, v[i].base);
        printf("%s, %" PRId64 " bytes, newest %s %s: ", v[i].active ? " (active)" : "", v[i].bytes,
               v[i].by_mtime ? "write" : "record", date(v[i].timestamp, when));
        print_verdict(r, &v[i], &verdicts[i], now_ms);
    }
}
