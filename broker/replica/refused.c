/* broker/replica/refused.c */
#define HASH_NONFATAL_OOM 1
#include "broker/replica/refused.h"

#include "base/lock.h"
#include "metadata/topic_name.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

enum { KEY_HEAD_BYTES = 14, KEY_MAX_BYTES = KEY_HEAD_BYTES + TOPIC_NAME_MAX };

struct refusal {
    int64_t        noted_ms;
    int32_t        sequence;
    uint32_t       key_len;
    UT_hash_handle hh;
    uint8_t        key[];
};

struct refused {
    atomic_size_t   n;                  /* of map; may be looked at without the lock */
    /* under lock */
    struct lock     lock;
    struct refusal *map;                /* by the time of the last refusal */
};

struct key {
    uint8_t  b[KEY_MAX_BYTES];
    uint32_t len;
};

/* False: nothing is remembered of such a batch. */
static bool key_of(struct key *k, struct str topic, int32_t partition, const struct batch_head *h)
{
    if (h->producer_id < 0 || topic.len == 0 || topic.len > TOPIC_NAME_MAX)
        return false;
    memcpy(k->b, &h->producer_id, 8);
    memcpy(k->b + 8, &partition, 4);
    memcpy(k->b + 12, &h->producer_epoch, 2);
    memcpy(k->b + KEY_HEAD_BYTES, topic.p, topic.len);
    k->len = (uint32_t)(KEY_HEAD_BYTES + topic.len);
    return true;
}

int refused_new(struct refused **out)
{
    struct refused *rf = calloc(1, sizeof *rf);

    *out = rf;
    if (rf == NULL)
        return ERR_NOMEM;
    lock_init(&rf->lock, LOCK_refused);
    return OK;
}

static void forget(struct refused *rf, struct refusal *r)
{
    HASH_DELETE(hh, rf->map, r);
    free(r);
    atomic_store(&rf->n, HASH_COUNT(rf->map));
}

void refused_free(struct refused **rfp)
{
    struct refused *rf = *rfp;
    struct refusal *r, *next;

    if (rf == NULL)
        return;
    HASH_ITER(hh, rf->map, r, next)
        forget(rf, r);
    lock_fini(&rf->lock);
    free(rf);
    *rfp = NULL;
}

static struct refusal *find(const struct refused *rf, const struct key *k)
{
    struct refusal *r;

    HASH_FIND(hh, rf->map, k->b, k->len, r);
    return r;
}

static void add(struct refused *rf, const struct key *k, int32_t sequence, int64_t now_ms)
{
    struct refusal *r = malloc(sizeof *r + k->len);

    if (r == NULL)
        return;
    r->noted_ms = now_ms;
    r->sequence = sequence;
    r->key_len = k->len;
    memcpy(r->key, k->b, k->len);
    HASH_ADD_KEYPTR(hh, rf->map, r->key, r->key_len, r);
    if (r->hh.tbl == NULL)
        free(r);
    atomic_store(&rf->n, HASH_COUNT(rf->map));
}

/* So that a look takes no lock again. */
static void forget_old(struct refused *rf, int64_t now_ms)
{
    while (rf->map != NULL && now_ms - rf->map->noted_ms > REFUSED_MS)
        forget(rf, rf->map);
}

void refused_note(struct refused *rf, struct str topic, int32_t partition, const struct batch_head *h, int64_t now_ms)
{
    int32_t lowest = h->base_sequence;
    struct refusal *r;
    struct key k;

    if (!key_of(&k, topic, partition, h))
        return;
    lock_take(&rf->lock);
    forget_old(rf, now_ms);
    r = find(rf, &k);
    if (r != NULL && r->sequence < lowest)
        lowest = r->sequence;
    if (r == NULL && HASH_COUNT(rf->map) >= REFUSED_MAX)
        r = rf->map;
    if (r != NULL)
        forget(rf, r);
    add(rf, &k, lowest, now_ms);
    lock_drop(&rf->lock);
}

bool refused_before(struct refused *rf, struct str topic, int32_t partition, const struct batch_head *h, int64_t now_ms,
                    int32_t *sequence)
{
    const struct refusal *r;
    struct key k;

    if (atomic_load_explicit(&rf->n, memory_order_relaxed) == 0 || !key_of(&k, topic, partition, h))
        return false;
    lock_take(&rf->lock);
    forget_old(rf, now_ms);
    r = find(rf, &k);
    if (r != NULL)
        *sequence = r->sequence;
    lock_drop(&rf->lock);
    return r != NULL;
}

void refused_taken(struct refused *rf, struct str topic, int32_t partition, const struct batch_head *h)
{
    struct refusal *r;
    struct key k;

    if (!key_of(&k, topic, partition, h))
        return;
    lock_take(&rf->lock);
    r = find(rf, &k);
    if (r != NULL)
        forget(rf, r);
    lock_drop(&rf->lock);
}
