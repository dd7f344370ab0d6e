/* metadata/assign.c */
#include "metadata/assign.h"

#include <stdlib.h>
#include <sys/random.h>

struct spread {
    int32_t *list;              /* broker ids in the order to go round */
    int32_t *rack;              /* of each place: number of the rack */
    int32_t  n, racks;          /* racks == 0: they do not count */
};

static int32_t random_below(int32_t n)
{
    uint32_t v = 0;

    if (getrandom(&v, sizeof v, 0) != sizeof v)
        v = (uint32_t)random();
    return (int32_t)(v % (uint32_t)n);
}

static int by_rack_then_id(const void *a, const void *b)
{
    const struct assign_broker *x = a, *y = b;
    int d = str_cmp(x->rack, y->rack);

    return d != 0 ? d : (x->id > y->id) - (x->id < y->id);
}

/* One broker of each rack in turn, until all are listed. */
static int spread_over_racks(struct spread *s, const struct assign_want *w)
{
    struct assign_broker *sorted = calloc((size_t)w->brokers_n, sizeof *sorted);
    bool *taken = calloc((size_t)w->brokers_n, sizeof *taken);
    int32_t left = w->brokers_n;

    if (sorted == NULL || taken == NULL) {
        free(sorted);
        free(taken);
        return ERR_NOMEM;
    }
    memcpy(sorted, w->brokers, (size_t)w->brokers_n * sizeof *sorted);
    qsort(sorted, (size_t)w->brokers_n, sizeof *sorted, by_rack_then_id);
    while (left > 0) {
        int32_t rack = -1;

        for (int32_t i = 0, last = -1; i < w->brokers_n; i++) {
            if (i == 0 || !str_eq(sorted[i].rack, sorted[i - 1].rack))
                rack++;
            if (taken[i] || last == rack)
                continue;
            last = rack;
            taken[i] = true;
            s->rack[s->n] = rack;
            s->list[s->n++] = sorted[i].id;
            left--;
        }
        s->racks = rack + 1;
    }
    free(sorted);
    free(taken);
    return OK;
}

static int spread_init(struct spread *s, const struct assign_want *w)
{
    int32_t with_rack = 0;

    *s = (struct spread){ .list = calloc((size_t)w->brokers_n, sizeof *s->list),
                          .rack = calloc((size_t)w->brokers_n, sizeof *s->rack) };
    if (s->list == NULL || s->rack == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < w->brokers_n; i++)
        with_rack += w->brokers[i].rack.p != NULL;
    if (with_rack > 0)
        return with_rack == w->brokers_n ? spread_over_racks(s, w) : ERR_INVALID;
    for (int32_t i = 0; i < w->brokers_n; i++)
        s->list[s->n++] = w->brokers[i].id;
    return OK;
}

static int32_t follower_place(int32_t first, int64_t shift, int32_t j, int32_t n)
{
    return (int32_t)((first + 1 + (shift + j) % (n - 1)) % n);
}

static bool used(const int32_t *v, int32_t n, int32_t what)
{
    for (int32_t i = 0; i < n; i++)
        if (v[i] == what)
            return true;
    return false;
}

/* The followers of one partition; places[0] is the leader's. */
static void followers(const struct spread *s, const struct assign_want *w, int64_t shift, int32_t *places)
{
    int32_t racks_used = 1, n = 1;

    for (int32_t k = 0; n < w->replication; k++) {
        int32_t place = follower_place(places[0], s->racks > 0 ? shift * s->racks : shift, k, s->n);

        if (s->racks > 0) {
            bool rack_seen = false;

            for (int32_t i = 0; i < n; i++)
                rack_seen |= s->rack[places[i]] == s->rack[place];
            if ((rack_seen && racks_used < s->racks) || used(places, n, place))
                continue;
            racks_used += !rack_seen;
        }
        places[n++] = place;
    }
}

int assign_replicas(const struct assign_want *w, int32_t *out)
{
    struct spread s;
    int rc = spread_init(&s, w);
    int64_t shift;
    int32_t start;

    if (rc != OK)
        goto out;
    start = w->start >= 0 ? w->start : random_below(s.n);
    shift = w->start >= 0 ? w->start : random_below(s.n);
    for (int32_t i = 0; i < w->partitions; i++) {
        int32_t p = w->first + i, *row = out + (size_t)i * (size_t)w->replication;

        if (p > 0 && p % s.n == 0)
            shift++;
        row[0] = (int32_t)(((int64_t)p + start) % s.n);
        followers(&s, w, shift, row);
        for (int32_t j = 0; j < w->replication; j++)
            row[j] = s.list[row[j]];
    }
out:
    free(s.list);
    free(s.rack);
    return rc;
}
