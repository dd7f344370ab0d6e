/* base/crew.c - threads that come and go. */
#include "base/crew.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

void crew_init(struct crew *c, const char *name, void *(*work)(void *member), void *arg, size_t stack_bytes)
{
    *c = (struct crew){ .name = name, .work = work, .arg = arg, .stack_bytes = stack_bytes };
}

static int free_index(const struct crew *c)
{
    const struct crew_member *m = NULL;
    int i = -1;

    do {
        i++;
        DL_FOREACH(c->members, m)
            if (!m->left && m->index == i)
                break;
    } while (m != NULL);
    return i;
}

static int begin_one(struct crew *c)
{
    struct crew_member *m = calloc(1, sizeof *m);
    char name[32];
    pthread_attr_t attr;
    int err;

    if (m == NULL)
        return ERR_NOMEM;
    m->crew = c;
    m->arg = c->arg;
    m->index = free_index(c);
    pthread_attr_init(&attr);
    if (c->stack_bytes > 0)
        pthread_attr_setstacksize(&attr, c->stack_bytes);
    err = pthread_create(&m->thread, &attr, c->work, m);
    pthread_attr_destroy(&attr);
    if (err != 0) {
        free(m);
        return err_from_errno(err);
    }
    (void)snprintf(name, sizeof name, "%.11s-%d", c->name, m->index % 1000);    /* 15 letters at most */
    pthread_setname_np(m->thread, name);
    DL_APPEND(c->members, m);
    c->working++;
    return OK;
}

static void end_one(struct crew *c, struct crew_member *m)
{
    (void)pthread_join(m->thread, NULL);
    DL_DELETE(c->members, m);
    free(m);
}

int crew_resize(struct crew *c, int n)
{
    struct crew_member *m, *next;
    int rc = OK;

    c->wanted = n;
    DL_FOREACH_SAFE(c->members, m, next)
        if (m->left)                    /* it only has to return, without the lock */
            end_one(c, m);
    while (c->working < n && rc == OK)
        rc = begin_one(c);
    return rc;
}

bool crew_leave(struct crew_member *me)
{
    struct crew *c = me->crew;

    if (c->working <= c->wanted)
        return false;
    me->left = true;
    c->working--;
    return true;
}

void crew_join(struct crew *c)
{
    struct crew_member *m, *next;

    DL_FOREACH_SAFE(c->members, m, next)
        end_one(c, m);
    c->working = 0;
}
