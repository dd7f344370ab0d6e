/* broker/replica/quota.c - replication throttle: a rate over windows. */
#include "broker/replica/quota.h"

#include "base/lock.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct window {
    int64_t start_ms;
    int64_t bytes;
};

struct repl_quota {
    int64_t         window_ms;          /* fixed */
    int32_t         windows_max;        /* fixed */
    _Atomic int64_t rate;
    /* under `lock` */
    struct lock     lock;
    int32_t         first, n;           /* of the ring: the oldest, and how many there are */
    struct window   ring[];             /* windows_max */
};

int repl_quota_new(struct repl_quota **out, const struct config *cfg)
{
    int32_t windows = cfg->replication_quota_window_num;
    struct repl_quota *q = calloc(1, sizeof *q + (size_t)windows * sizeof q->ring[0]);

    *out = q;
    if (q == NULL)
        return ERR_NOMEM;
    q->windows_max = windows;
    q->window_ms = (int64_t)cfg->replication_quota_window_size_seconds * 1000;
    atomic_init(&q->rate, REPL_QUOTA_NONE);
    lock_init(&q->lock, LOCK_replquota);
    return OK;
}

void repl_quota_free(struct repl_quota **qp)
{
    if (*qp == NULL)
        return;
    lock_fini(&(*qp)->lock);
    free(*qp);
    *qp = NULL;
}

void repl_quota_set_rate(struct repl_quota *q, int64_t bytes_per_s)
{
    atomic_store(&q->rate, bytes_per_s);
}

static struct window *window_at(struct repl_quota *q, int32_t i)
{
    return &q->ring[(q->first + i) % q->windows_max];
}

static void drop_old(struct repl_quota *q, int64_t now_ms)
{
    while (q->n > 0 && now_ms - window_at(q, 0)->start_ms >= q->window_ms * q->windows_max) {
        q->first = (q->first + 1) % q->windows_max;
        q->n--;
    }
}

void repl_quota_record(struct repl_quota *q, int64_t bytes, int64_t now_ms)
{
    if (atomic_load_explicit(&q->rate, memory_order_relaxed) == REPL_QUOTA_NONE)
        return;
    lock_take(&q->lock);
    drop_old(q, now_ms);
    if (q->n == 0 || now_ms - window_at(q, q->n - 1)->start_ms >= q->window_ms) {
        if (q->n == q->windows_max)
            q->first = (q->first + 1) % q->windows_max;
        else
            q->n++;
        *window_at(q, q->n - 1) = (struct window){ .start_ms = now_ms };
    }
    window_at(q, q->n - 1)->bytes += bytes;
    lock_drop(&q->lock);
}

bool repl_quota_exceeded(struct repl_quota *q, int64_t now_ms)
{
    int64_t rate = atomic_load_explicit(&q->rate, memory_order_relaxed), elapsed_ms = q->window_ms;
    double bytes = 0;

    if (rate == REPL_QUOTA_NONE)
        return false;
    lock_take(&q->lock);
    drop_old(q, now_ms);
    if (q->n > 0 && now_ms - window_at(q, 0)->start_ms > elapsed_ms)
        elapsed_ms = now_ms - window_at(q, 0)->start_ms;
    for (int32_t i = 0; i < q->n; i++)
        bytes += (double)window_at(q, i)->bytes;
    lock_drop(&q->lock);
    return bytes * 1000 / (double)elapsed_ms > (double)rate;
}

bool throttled_replicas_have(const struct config_list *list, int32_t partition, int32_t broker)
{
    if (list->n == 1 && strcmp(list->v[0], "*") == 0)
        return true;
    for (size_t i = 0; i < list->n; i++) {
        char *end;
        long p = strtol(list->v[i], &end, 10), b = *end == ':' ? strtol(end + 1, &end, 10) : -1;

        if (*end == '\0' && p == partition && b == broker)
            return true;
    }
    return false;
}
