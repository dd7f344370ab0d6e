/* storage/unstable.c - what holds the last stable offset back. */
#include "storage/unstable.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void unstable_init(struct unstable *u)
{
    *u = (struct unstable){ .open_first = -1 };
}

void unstable_fini(struct unstable *u)
{
    free(u->v);
    unstable_init(u);
}

void unstable_forget(struct unstable *u)
{
    u->open_first = -1;
    u->floor = 0;
    u->head = u->n = 0;
}

void unstable_cut(struct unstable *u, int64_t leo)
{
    while (u->n > 0 && u->v[u->head + u->n - 1].last >= leo)
        u->n--;
}

bool unstable_full(const struct unstable *u, size_t more)
{
    return u->head + u->n + more > u->cap;
}

size_t unstable_want(const struct unstable *u, size_t more)
{
    return (u->n + more) * 2;
}

struct unstable_txn *unstable_grow(struct unstable *u, struct unstable_txn *v, size_t cap)
{
    struct unstable_txn *old = u->v;

    assert(u->n <= cap);
    if (u->n > 0)
        memcpy(v, u->v + u->head, u->n * sizeof *v);
    u->v = v;
    u->cap = cap;
    u->head = 0;
    return old;
}

void unstable_complete(struct unstable *u, int64_t first, int64_t last)
{
    if (last < u->floor || (u->n > 0 && last <= u->v[u->head + u->n - 1].last))
        return;
    while (u->n > 0 && u->v[u->head + u->n - 1].first >= first)
        u->n--;
    assert(!unstable_full(u, 1));
    u->v[u->head + u->n++] = (struct unstable_txn){ first, last };
}

void unstable_settle(struct unstable *u, int64_t hw)
{
    u->floor = hw;
    while (u->n > 0 && u->v[u->head].last < hw) {
        u->head++;
        u->n--;
    }
    if (u->n == 0)
        u->head = 0;
}

int64_t unstable_first(const struct unstable *u)
{
    if (u->n == 0 || (u->open_first >= 0 && u->open_first < u->v[u->head].first))
        return u->open_first;
    return u->v[u->head].first;
}
