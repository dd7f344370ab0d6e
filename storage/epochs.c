/* storage/epochs.c - the leader epochs of one log. */
#include "storage/epochs.h"

#include <stdlib.h>

void epochs_fini(struct epochs *e)
{
    free(e->v);
    *e = (struct epochs){ 0 };
}

static int grow(struct epochs *e)
{
    size_t cap = e->cap == 0 ? 2 : e->cap * 2;
    struct epoch_entry *v;

    if (e->n < e->cap)
        return OK;
    v = realloc(e->v, cap * sizeof *v);
    if (v == NULL)
        return ERR_NOMEM;
    e->v = v;
    e->cap = cap;
    return OK;
}

int epochs_load(struct epochs *e, const struct epoch_entry *v, size_t n)
{
    bool changed;

    for (size_t i = 0; i < n; i++)
        TRY(epochs_assign(e, v[i].epoch, v[i].start, &changed));
    return OK;
}

int epochs_assign(struct epochs *e, int32_t epoch, int64_t start, bool *changed)
{
    *changed = false;
    if (e->n > 0 && e->v[e->n - 1].epoch == epoch && e->v[e->n - 1].start <= start)
        return OK;
    TRY(grow(e));
    while (e->n > 0 && (e->v[e->n - 1].epoch >= epoch || e->v[e->n - 1].start >= start))
        e->n--;
    e->v[e->n++] = (struct epoch_entry){ epoch, start };
    *changed = true;
    return OK;
}

bool epochs_truncate_end(struct epochs *e, int64_t offset)
{
    size_t n = e->n;

    while (e->n > 0 && e->v[e->n - 1].start >= offset)
        e->n--;
    return e->n != n;
}

bool epochs_truncate_start(struct epochs *e, int64_t offset)
{
    size_t gone = 0;

    while (gone < e->n && e->v[gone].start <= offset)
        gone++;
    if (gone == 0 || (gone == 1 && e->v[0].start == offset))
        return false;
    /* The last of them is the epoch of the new first record. */
    gone--;
    memmove(e->v, e->v + gone, (e->n - gone) * sizeof *e->v);
    e->n -= gone;
    e->v[0].start = offset;
    return true;
}

int32_t epochs_latest(const struct epochs *e)
{
    return e->n > 0 ? e->v[e->n - 1].epoch : -1;
}

int64_t epochs_start_of(const struct epochs *e, int32_t epoch)
{
    for (size_t i = e->n; i-- > 0;)
        if (e->v[i].epoch == epoch)
            return e->v[i].start;
    return -1;
}

void epochs_end(const struct epochs *e, int32_t epoch, int64_t leo, int32_t *out_epoch, int64_t *out_end)
{
    size_t higher = 0;

    *out_epoch = -1;
    *out_end = -1;
    if (epoch < 0 || e->n == 0)
        return;
    if (epoch == epochs_latest(e)) {
        *out_epoch = epoch;
        *out_end = leo;
        return;
    }
    while (higher < e->n && e->v[higher].epoch <= epoch)
        higher++;
    if (higher == e->n)
        return;                         /* newer than all we know */
    *out_epoch = higher == 0 ? epoch : e->v[higher - 1].epoch;
    *out_end = e->v[higher].start;
}
