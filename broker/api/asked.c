/* broker/api/asked.c - finding what a request names more than once. Hardly any does, so the common forms are recognised
 * without sorting: few entries, and partitions in rising order.
 */
#include "broker/api/asked.h"

#include <stdlib.h>
#include <string.h>

enum { FEW = 12 };

/* ---- topics ----------------------------------------------------------------------------------------------------- */

struct named {
    struct str name;
    int32_t    i;
};

static int by_name(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int d = str_cmp(x->name, y->name);

    return d != 0 ? d : (x->i > y->i) - (x->i < y->i);
}

static int topics_sorted(struct arena *a, const struct str *names, int32_t n, int32_t *at)
{
    struct named *v = arena_array(a, (size_t)n, sizeof *v);

    if (v == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < n; i++)
        v[i] = (struct named){ names[i], i };
    qsort(v, (size_t)n, sizeof *v, by_name);
    for (int32_t i = 0; i < n; i++)
        at[v[i].i] = i > 0 && str_eq(v[i].name, v[i - 1].name) ? at[v[i - 1].i] : v[i].i;
    return OK;
}

int asked_topics(struct arena *a, const struct str *names, int32_t n, int32_t *at)
{
    if (n > FEW)
        return topics_sorted(a, names, n, at);
    for (int32_t i = 0; i < n; i++) {
        at[i] = 0;
        while (at[i] < i && !str_eq(names[at[i]], names[i]))
            at[i]++;
    }
    return OK;
}

/* ---- partitions ------------------------------------------------------------------------------------------------- */

static int compare(const struct asked_partition *x, const struct asked_partition *y)
{
    if (x->topic != y->topic)
        return x->topic < y->topic ? -1 : 1;
    return x->partition < y->partition ? -1 : x->partition > y->partition;
}

/* Those of one partition in the order of the request. */
static int by_partition(const void *a, const void *b)
{
    const struct asked_partition *x = *(struct asked_partition *const *)a, *y = *(struct asked_partition *const *)b;
    int c = compare(x, y);

    return c != 0 ? c : x < y ? -1 : 1;
}

static bool rising(const struct asked_partition *v, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (compare(&v[i - 1], &v[i]) >= 0)
            return false;
    return true;
}

int asked_repeats(struct arena *a, struct asked_partition *v, size_t n)
{
    struct asked_partition **p;

    for (size_t i = 0; i < n; i++)
        v[i].again = false;
    if (rising(v, n))
        return OK;
    if (n <= FEW) {
        for (size_t i = 0; i < n; i++)
            for (size_t k = i + 1; k < n && !v[i].again; k++)
                v[i].again = compare(&v[i], &v[k]) == 0;
        return OK;
    }
    p = arena_array(a, n, sizeof(struct asked_partition *));
    if (p == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++)
        p[i] = &v[i];
    qsort(p, n, sizeof(struct asked_partition *), by_partition);
    for (size_t i = 1; i < n; i++)
        p[i - 1]->again = compare(p[i - 1], p[i]) == 0;
    return OK;
}

/* ---- whole requests --------------------------------------------------------------------------------------------- */

struct asked_list {
    uint8_t *parts;
    int32_t  n;
};

static struct asked_list list_of(const struct asked_shape *s, const uint8_t *topic)
{
    struct asked_list l;

    memcpy(&l.parts, topic + s->parts, sizeof l.parts);
    memcpy(&l.n, topic + s->parts_n, sizeof l.n);
    return l;
}

/* One entry for each partition that is named, in the request's order. */
static int asked_all(struct arena *a, const struct asked_shape *s, const uint8_t *topics, int32_t topics_n,
                     struct asked_partition **out)
{
    struct str *names = arena_array(a, (size_t)topics_n + 1, sizeof *names);
    int32_t *at = arena_array(a, (size_t)topics_n + 1, sizeof *at);
    size_t n = 0;

    if (names == NULL || at == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < topics_n; i++) {
        memcpy(&names[i], topics + (size_t)i * s->topic + s->name, sizeof *names);
        n += (size_t)list_of(s, topics + (size_t)i * s->topic).n;
    }
    *out = arena_array(a, n + 1, sizeof **out);
    if (*out == NULL)
        return ERR_NOMEM;
    TRY(asked_topics(a, names, topics_n, at));
    n = 0;
    for (int32_t i = 0; i < topics_n; i++) {
        struct asked_list l = list_of(s, topics + (size_t)i * s->topic);

        for (int32_t k = 0; k < l.n; k++) {
            (*out)[n] = (struct asked_partition){ .topic = at[i] };
            memcpy(&(*out)[n++].partition, l.parts + (size_t)k * s->part + s->number, sizeof(int32_t));
        }
    }
    return asked_repeats(a, *out, n);
}

int asked_once(struct arena *a, const struct asked_shape *s, void *topics, int32_t *topics_n)
{
    struct asked_partition *v;
    uint8_t *all = topics;
    int32_t n = 0;

    TRY(asked_all(a, s, all, *topics_n, &v));
    for (int32_t i = 0; i < *topics_n; i++) {
        uint8_t *topic = all + (size_t)i * s->topic;
        struct asked_list l = list_of(s, topic);
        int32_t kept = 0;

        for (int32_t k = 0; k < l.n; k++)
            if (!v++->again)
                memmove(l.parts + (size_t)kept++ * s->part, l.parts + (size_t)k * s->part, s->part);
        memcpy(topic + s->parts_n, &kept, sizeof kept);
        if (kept > 0)
            memmove(all + (size_t)n++ * s->topic, topic, s->topic);
    }
    *topics_n = n;
    return OK;
}
