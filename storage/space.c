/* storage/space.c - looking at the room on a volume, and the reserve. */
#include "storage/space.h"

#include "base/log.h"
#include "storage/fio.h"
#include "storage/logdir.h"

#include <inttypes.h>
#include <stdio.h>

#define FLOOR_MAX   (INT64_C(64) << 20) /* the limit where none is set: this much, or ... */
#define FLOOR_SHARE 100                 /* ... this part of the volume if that is less */
#define WANT_MIN    (INT64_C(64) << 10)
#define WANT_MAX    (INT64_C(8) << 20)
#define WANT_SHARE  256

struct text {
    char s[32];
};

static const char *size_text(int64_t n, struct text *t)
{
    if (n >= INT64_C(1) << 30)
        snprintf(t->s, sizeof t->s, "%.1f GB", (double)n / (1 << 30));
    else if (n >= 1 << 20)
        snprintf(t->s, sizeof t->s, "%.1f MB", (double)n / (1 << 20));
    else
        snprintf(t->s, sizeof t->s, "%" PRId64 " KB", n >> 10);
    return t->s;
}

static int64_t between(int64_t low, int64_t n, int64_t high)
{
    return n < low ? low : n > high ? high : n;
}

/* What stays free beside the reserve, so that small files can be replaced without giving it up. */
static int64_t slack(const struct space *s)
{
    return s->want / 4;
}

bool space_full(const struct logdir *d)
{
    return atomic_load_explicit(&d->space.full, memory_order_relaxed);
}

bool space_release(struct logdir *d, const char *what)
{
    int64_t had = atomic_exchange(&d->space.reserve, 0);
    struct text t;

    if (had == 0)
        return false;
    atomic_store(&d->space.full, true);
    if (fio_unlink(d->fd, SPACE_RESERVE) != OK)
        return false;
    log_warn("%s: no room for %s: the reserve of %s is used for it", d->path, what, size_text(had, &t));
    return true;
}

void space_open(struct logdir *d)
{
    struct space *s = &d->space;
    int64_t room, total, size = 0;

    atomic_init(&s->full, false);
    atomic_init(&s->reserve, 0);
    if (fio_space(d->fd, &room, &total) != OK)
        return;
    s->floor = d->opts.min_free_bytes;
    if (s->floor < 0)
        s->floor = between(0, total / FLOOR_SHARE, FLOOR_MAX);
    s->want = between(WANT_MIN, total / WANT_SHARE, WANT_MAX);
    if (fio_size(d->fd, SPACE_RESERVE, &size) == OK)
        atomic_store(&s->reserve, size);
    if (room < slack(s))
        (void)space_release(d, "the start");
    if (room < s->floor)
        atomic_store(&s->full, true);
}

/* As much of a reserve as there is room for, less what is to stay free; a smaller one than wanted only if there is
 * none. */
static void make_reserve(struct logdir *d, int64_t room, int64_t stays)
{
    struct space *s = &d->space;
    int64_t has = atomic_load(&s->reserve), size = between(0, room + has - stays, s->want);
    int rc;

    if (s->no_reserve || has >= s->want || size < s->want / 8 || (has > 0 && size < s->want))
        return;
    rc = fio_reserve(d->fd, SPACE_RESERVE, size);
    if (rc == OK) {
        atomic_store(&s->reserve, size);
    } else if (rc != ERR_NOSPACE) {
        s->no_reserve = true;
        atomic_store(&s->reserve, 0);
        log_warn("%s/" SPACE_RESERVE ": cannot be made: %s; if the disk gets full, the broker may not be able to start",
                 d->path, fio_text(rc));
    }
}

static void tell(const struct logdir *d, bool full, int64_t room, int64_t total)
{
    const struct space *s = &d->space;
    struct text a, b, c;

    if (!full)
        log_info("%s: %s of %s are free again: records and topics are taken again", d->path, size_text(room, &a),
                 size_text(total, &b));
    else if (room < s->floor)
        log_error("%s: %s of %s are free, less than klamm.log.dir.min.free.bytes=%" PRId64 " (%s): no records and no "
                  "new topics are taken until there is more; reading, deletion and retention go on. Delete topics or "
                  "records, shorten retention, or make the disk larger", d->path, size_text(room, &a),
                  size_text(total, &b), s->floor, size_text(s->floor, &c));
    else
        log_error("%s: %s of %s are free, not enough for the reserve of %s: no records and no new topics are taken "
                  "until there is more; reading, deletion and retention go on", d->path, size_text(room, &a),
                  size_text(total, &b), size_text(s->want, &c));
}

bool space_check(struct logdir *d)
{
    struct space *s = &d->space;
    bool was = space_full(d), full, whole;
    int64_t room, total;

    if (s->want == 0 || fio_space(d->fd, &room, &total) != OK)
        return false;
    make_reserve(d, room, slack(s));
    whole = s->no_reserve || atomic_load(&s->reserve) >= s->want;
    full = !whole || room < s->floor || (was && s->told && room < s->floor + s->floor / 8);
    atomic_store(&s->full, full);
    if (full == s->told)
        return false;
    s->told = full;
    tell(d, full, room, total);
    return full;
}

void space_close(struct logdir *d)
{
    int64_t room, total;

    if (d->space.want > 0 && fio_space(d->fd, &room, &total) == OK)
        make_reserve(d, room, 0);
}
