/* broker/group/history.c - a list of events, each one piece of memory with its texts. */
#include "broker/group/history.h"

#include <stdlib.h>

struct entry {
    struct entry      *next;
    struct group_event e;               /* its texts follow */
};

struct group_history {
    struct entry *oldest, *newest;
    size_t        n;
};

const char *group_event_name(enum group_event_kind kind)
{
    static const char *const names[] = {
#define X(kind, name) [GROUP_EVENT_##kind] = name,
        GROUP_EVENTS(X)
#undef X
    };

    return names[kind];
}

struct group_history *history_new(void)
{
    return calloc(1, sizeof(struct group_history));
}

static void drop_oldest(struct group_history *h)
{
    struct entry *e = h->oldest;

    h->oldest = e->next;
    if (h->oldest == NULL)
        h->newest = NULL;
    h->n--;
    free(e);
}

void history_free(struct group_history **hp)
{
    struct group_history *h = *hp;

    if (h == NULL)
        return;
    while (h->oldest != NULL)
        drop_oldest(h);
    free(h);
    *hp = NULL;
}

/* Not in the midst of a character. */
static size_t cut(struct str s)
{
    size_t n = s.len;

    if (n <= HISTORY_TEXT_MAX)
        return n;
    n = HISTORY_TEXT_MAX;
    while (n > 0 && ((uint8_t)s.p[n] & 0xc0) == 0x80)
        n--;
    return n;
}

static char *keep_text(struct str *s, char *p)
{
    size_t n = cut(*s);

    if (s->p == NULL)
        return p;
    if (n > 0)
        memcpy(p, s->p, n);
    *s = (struct str){ p, n };
    return p + n;
}

void history_add(struct group_history *h, const struct group_event *e, size_t keep)
{
    size_t room = cut(e->member_id) + cut(e->instance_id) + cut(e->client_id) + cut(e->client_host) + cut(e->reason);
    struct entry *new;
    char *p;

    if (h == NULL)
        return;
    new = malloc(sizeof *new + room);
    if (new == NULL)
        return;
    new->next = NULL;
    new->e = *e;
    p = (char *)(new + 1);
    p = keep_text(&new->e.member_id, p);
    p = keep_text(&new->e.instance_id, p);
    p = keep_text(&new->e.client_id, p);
    p = keep_text(&new->e.client_host, p);
    keep_text(&new->e.reason, p);
    if (h->newest != NULL)
        h->newest->next = new;
    else
        h->oldest = new;
    h->newest = new;
    h->n++;
    if (keep > HISTORY_MAX)
        keep = HISTORY_MAX;
    while (h->n > keep)
        drop_oldest(h);
}

bool history_next(const struct group_history *h, const void **pos, struct group_event *out)
{
    const struct entry *e = *pos;

    if (h == NULL)
        return false;
    e = e == NULL ? h->oldest : e->next;
    if (e == NULL)
        return false;
    *out = e->e;
    *pos = e;
    return true;
}

size_t history_n(const struct group_history *h)
{
    return h != NULL ? h->n : 0;
}
