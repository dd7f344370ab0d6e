/* tools/zk_group/assign.c - how the members of a group share partitions: every member works it out for itself, from
 * what all of them see in ZooKeeper, and so all must come to the same.
 *
 * A thread is "MEMBER-NUMBER", and threads are taken in the order of these texts (so -10 comes before -2).
 * range         each topic for itself: its partitions in order, in equal runs, the first threads get one more.
 * round robin   all partitions of all topics in the order of Java's hash code of "TOPIC-PARTITION", one to each thread
 *               in turn, past those that do not want the topic.
 */
#include "tools/zk_group/registration.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct thread {
    struct str id;
    size_t     member;
    int32_t    number;
};

struct threads {
    struct thread *v;
    size_t         n;
    int32_t       *wanted;          /* by member: how many of its threads want the topic at hand */
};

struct shares {
    struct group_share *v;
    size_t              n, cap;
};

struct spot {                       /* a partition in the order of round robin */
    const struct group_topic *topic;
    int32_t                   partition, hash;
};

static int by_id(const void *a, const void *b)
{
    return str_cmp(((const struct thread *)a)->id, ((const struct thread *)b)->id);
}

static int by_place(const void *pa, const void *pb)
{
    const struct group_share *a = pa, *b = pb;
    int c = str_cmp(a->topic, b->topic);

    return c != 0 ? c : (a->partition > b->partition) - (a->partition < b->partition);
}

static int by_hash(const void *pa, const void *pb)
{
    const struct spot *a = pa, *b = pb;

    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    return a->topic != b->topic ? str_cmp(a->topic->name, b->topic->name)
                                : (a->partition > b->partition) - (a->partition < b->partition);
}

static int32_t most_streams(const struct group_registration *r)
{
    int32_t most = 0;

    for (size_t i = 0; i < r->counts_n; i++)
        most = r->counts[i].streams > most ? r->counts[i].streams : most;
    return most;
}

static int collect_threads(const struct group_member *members, size_t n, struct arena *a, struct threads *t)
{
    size_t all = 0;

    for (size_t i = 0; i < n; i++)
        all += (size_t)most_streams(&members[i].registration);
    t->n = 0;
    t->v = arena_array(a, all + 1, sizeof *t->v);
    t->wanted = arena_array(a, n + 1, sizeof *t->wanted);
    if (t->v == NULL || t->wanted == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        for (int32_t k = 0; k < most_streams(&members[i].registration); k++) {
            const char *id = arena_printf(a, "%.*s-%" PRId32, STR_ARG(members[i].id), k);

            if (id == NULL)
                return ERR_NOMEM;
            t->v[t->n++] = (struct thread){ str_of(id), i, k };
        }
    }
    if (t->n > 1)
        qsort(t->v, t->n, sizeof *t->v, by_id);
    return OK;
}

static bool wants(const struct threads *t, size_t i)
{
    return t->v[i].number < t->wanted[t->v[i].member];
}

/* How many threads want it. */
static size_t look_at(struct threads *t, const struct group_member *members, size_t members_n, struct str topic)
{
    size_t n = 0;

    for (size_t i = 0; i < members_n; i++) {
        t->wanted[i] = group_streams(&members[i].registration, topic);
        n += (size_t)t->wanted[i];
    }
    return n;
}

static int add(struct shares *s, struct str topic, int32_t partition, int32_t thread, struct arena *a)
{
    if (s->n == s->cap) {
        size_t cap = s->cap * 2 + 16;
        struct group_share *v = arena_array(a, cap, sizeof *v);

        if (v == NULL)
            return ERR_NOMEM;
        if (s->n > 0)
            memcpy(v, s->v, s->n * sizeof *v);
        s->v = v;
        s->cap = cap;
    }
    s->v[s->n++] = (struct group_share){ topic, partition, thread };
    return OK;
}

static int assign_range(const struct group_topic *topic, const struct threads *t, size_t wanting, size_t me,
                        struct shares *s, struct arena *a)
{
    size_t each, more, place = 0;

    if (wanting == 0)
        return OK;
    each = topic->n / wanting;
    more = topic->n % wanting;
    for (size_t i = 0; i < t->n; i++) {
        size_t from, to;

        if (!wants(t, i))
            continue;
        from = place * each + (place < more ? place : more);
        to = from + each + (place < more);
        place++;
        for (size_t p = from; t->v[i].member == me && p < to; p++)
            TRY(add(s, topic->name, topic->partitions[p], t->v[i].number, a));
    }
    return OK;
}

/* Java's String.hashCode() of "TOPIC-PARTITION"; names of topics are ASCII. */
static int32_t java_hash(struct str topic, int32_t partition)
{
    char     number[16];
    uint32_t h = 0;

    snprintf(number, sizeof number, "-%" PRId32, partition);
    for (size_t i = 0; i < topic.len; i++)
        h = 31 * h + (unsigned char)topic.p[i];
    for (size_t i = 0; number[i] != '\0'; i++)
        h = 31 * h + (unsigned char)number[i];
    return (int32_t)h;
}

static int assign_round_robin(const struct group_member *members, size_t members_n, const struct group_topic *topics,
                              size_t topics_n, struct threads *t, size_t me, struct shares *s, struct arena *a)
{
    const struct group_topic *last = NULL;
    struct spot *spots;
    size_t n = 0, all = 0, turn = 0, wanting = 0;

    for (size_t i = 0; i < topics_n; i++)
        all += topics[i].n;
    spots = arena_array(a, all + 1, sizeof *spots);
    if (spots == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < topics_n; i++) {
        for (size_t k = 0; k < topics[i].n; k++)
            spots[n++] = (struct spot){ &topics[i], topics[i].partitions[k],
                                        java_hash(topics[i].name, topics[i].partitions[k]) };
    }
    if (n > 1)
        qsort(spots, n, sizeof *spots, by_hash);
    for (size_t i = 0; i < n; i++) {
        if (spots[i].topic != last)
            wanting = look_at(t, members, members_n, spots[i].topic->name);
        last = spots[i].topic;
        if (wanting == 0)
            continue;
        while (!wants(t, turn))
            turn = (turn + 1) % t->n;
        if (t->v[turn].member == me)
            TRY(add(s, last->name, spots[i].partition, t->v[turn].number, a));
        turn = (turn + 1) % t->n;
    }
    return OK;
}

int group_assign(enum group_strategy strategy, const struct group_member *members, size_t members_n,
                 const struct group_topic *topics, size_t topics_n, struct str me, struct arena *a,
                 struct group_share **out, size_t *out_n)
{
    struct threads t;
    struct shares s = { NULL, 0, 0 };
    size_t mine = 0;

    *out = NULL;
    *out_n = 0;
    while (mine < members_n && !str_eq(members[mine].id, me))
        mine++;
    TRY(collect_threads(members, members_n, a, &t));
    if (strategy == GROUP_ROUND_ROBIN)
        TRY(assign_round_robin(members, members_n, topics, topics_n, &t, mine, &s, a));
    for (size_t i = 0; strategy == GROUP_RANGE && i < topics_n; i++) {
        size_t wanting = look_at(&t, members, members_n, topics[i].name);

        TRY(assign_range(&topics[i], &t, wanting, mine, &s, a));
    }
    if (s.n > 1)
        qsort(s.v, s.n, sizeof *s.v, by_place);
    *out = s.v;
    *out_n = s.n;
    return OK;
}
