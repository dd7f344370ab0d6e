/* broker/api/asked.c - finding what a request names more than once. Hardly any does, so the common forms are recognised
 * without sorting: few entries, and partitions in rising order.
 */
#include "broker/api/asked.h"

#include <stdlib.h>

enum { FEW = 12 };

/* ---- topics ----------------------------------------------------------------------------------------------------- */

struct named {
    struct str name;
    int32_t    i;
};

static int by_name(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    size_t n = x->name.len < y->name.len ? x->name.len : y->name.len;
    int c = n > 0 ? memcmp(x->name.p, y->name.p, n) : 0;

    if (c != 0)
        return c;
    if (x->name.len != y->name.len)
        return x->name.len < y->name.len ? -1 : 1;
    return x->i < y->i ? -1 : 1;
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
