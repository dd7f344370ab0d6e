/* broker/group/group_protocols.c - what members support (assignors, for consumers), and what all of them support.
 *
 * Names are kept once for each group, with the number of members that support them; a member's list points there. A
 * list may name a protocol twice: it counts once, which the mark of the pass sees to.
 */
#define HASH_NONFATAL_OOM 1
#include "broker/group/group_private.h"

#include <assert.h>
#include <stdlib.h>

static struct vote *vote_find(const struct group *g, struct str name)
{
    struct vote *v = NULL;

    HASH_FIND(hh, g->rebalance->votes, name.p, (unsigned)name.len, v);
    return v;
}

static struct vote *vote_get(struct group *g, struct str name)
{
    struct vote *v = vote_find(g, name);

    if (v == NULL) {
        v = calloc(1, sizeof *v + name.len + 1);
        if (v == NULL)
            return NULL;
        memcpy(v->name, name.p, name.len);
        v->name_len = (uint32_t)name.len;
        HASH_ADD_KEYPTR(hh, g->rebalance->votes, v->name, v->name_len, v);
        if (v->hh.tbl == NULL) {
            free(v);
            return NULL;
        }
    }
    v->refs++;
    return v;
}

static void vote_put(struct group *g, struct vote *v)
{
    if (--v->refs > 0)
        return;
    HASH_DELETE(hh, g->rebalance->votes, v);
    free(v);
}

int protocols_new(struct group *g, const struct group_protocol *v, int32_t n, struct protocols **out)
{
    size_t room = 0;
    struct protocols *p;
    uint8_t *to;

    for (int32_t i = 0; i < n; i++)
        room += v[i].metadata.len;
    p = malloc(sizeof *p + (size_t)n * sizeof p->v[0] + room);
    if (p == NULL)
        return ERR_NOMEM;
    to = (uint8_t *)&p->v[n];
    for (p->n = 0; p->n < n; p->n++) {
        struct protocol *one = &p->v[p->n];
        size_t len = v[p->n].metadata.len;

        one->vote = vote_get(g, v[p->n].name);
        if (one->vote == NULL) {
            protocols_free(g, &p);
            return ERR_NOMEM;
        }
        if (len > 0)
            memcpy(to, v[p->n].metadata.p, len);
        one->metadata = (struct bytes){ to, len };
        to += len;
    }
    *out = p;
    return OK;
}

void protocols_free(struct group *g, struct protocols **pp)
{
    struct protocols *p = *pp;

    if (p == NULL)
        return;
    for (int32_t i = 0; i < p->n; i++)
        vote_put(g, p->v[i].vote);
    free(p);
    *pp = NULL;
}

void protocols_count(struct group *g, const struct protocols *p, int by)
{
    uint64_t mark = ++g->rebalance->mark;

    for (int32_t i = 0; i < p->n; i++) {
        struct vote *v = p->v[i].vote;

        if (v->mark == mark)
            continue;
        v->mark = mark;
        v->members += (size_t)by;
    }
}

bool protocols_equal(const struct protocols *p, const struct group_protocol *v, int32_t n)
{
    if (p->n != n)
        return false;
    for (int32_t i = 0; i < n; i++) {
        const struct protocol *one = &p->v[i];

        if (!str_eq((struct str){ one->vote->name, one->vote->name_len }, v[i].name))
            return false;
        if (one->metadata.len != v[i].metadata.len)
            return false;
        if (one->metadata.len > 0 && memcmp(one->metadata.p, v[i].metadata.p, one->metadata.len) != 0)
            return false;
    }
    return true;
}

/* As Apache Kafka: who joins again is measured against its own former list too, so a group of one cannot change all of
 * its protocols at once. */
bool protocols_supported(const struct group *g, struct str type, const struct group_protocol *v, int32_t n)
{
    if (g->state == GROUP_EMPTY)
        return type.len > 0 && n > 0;
    if (g->protocol_type.p == NULL || !str_eq(g->protocol_type, type))
        return false;
    for (int32_t i = 0; i < n; i++) {
        const struct vote *vote = vote_find(g, v[i].name);

        if ((vote != NULL ? vote->members : 0) == g->members_n)
            return true;
    }
    return false;
}

/* The first of a member's list that everybody supports. */
static struct vote *vote_of(const struct group *g, const struct group_member *m)
{
    for (int32_t i = 0; i < m->protocols->n; i++)
        if (m->protocols->v[i].vote->members == g->members_n)
            return m->protocols->v[i].vote;
    return NULL;
}

/* Of those with the same number of votes, the choice of the member that came first. */
struct str protocols_choose(struct group *g)
{
    uint64_t mark = ++g->rebalance->mark;
    struct vote *best = NULL;

    for (struct group_member *m = g->members; m != NULL; m = m->hh.next) {
        struct vote *v = vote_of(g, m);

        assert(v != NULL);
        if (v->mark != mark) {
            v->mark = mark;
            v->votes = 0;
        }
        v->votes++;
    }
    for (struct group_member *m = g->members; m != NULL; m = m->hh.next) {
        struct vote *v = vote_of(g, m);

        if (best == NULL || v->votes > best->votes)
            best = v;
    }
    return (struct str){ best->name, best->name_len };
}

bool protocols_metadata(const struct protocols *p, struct str name, struct bytes *out)
{
    for (int32_t i = 0; i < p->n; i++)
        if (str_eq((struct str){ p->v[i].vote->name, p->v[i].vote->name_len }, name)) {
            *out = p->v[i].metadata;
            return true;
        }
    return false;
}
