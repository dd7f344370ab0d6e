/* base/crew.h - threads that all do the same, whose number may change while they run.
 *
 *   void *work(void *arg)                  one member
 *   {
 *       struct crew_member *me = arg;      me->arg: what crew_init() was given
 *       ... now and then, under the owner's lock:
 *       if (crew_leave(me))                there are more than there shall be, and this one has gone
 *           return NULL;
 *   }
 *
 * OWNER   whoever embeds it; the members are joined by crew_join().
 * LOCKS   the owner's, of any class: crew_resize() and crew_leave() are called under it. crew_join() without.
 * FAILURE crew_resize(): ERR_NOMEM, ERR_SYSTEM; those that have begun go on.
 */
#ifndef BASE_CREW_H
#define BASE_CREW_H

#include "base/err.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct crew;

struct crew_member {
    struct crew        *crew;
    void               *arg;
    int                 index;          /* no two of those that work have the same; 0: the first one */
    pthread_t           thread;
    bool                left;
    struct crew_member *prev, *next;
};

struct crew {
    /* fixed */
    const char         *name;           /* of its threads; at most 11 letters */
    void             *(*work)(void *member);
    void               *arg;
    size_t              stack_bytes;    /* 0: the system's choice */
    /* under the owner's lock */
    struct crew_member *members;        /* utlist; those that have left until they are joined */
    int                 working;
    int                 wanted;
};

void crew_init(struct crew *c, const char *name, void *(*work)(void *member), void *arg, size_t stack_bytes);

/* More begin at once. Of those that are too many each leaves when it calls crew_leave(): the owner wakes them. */
int  crew_resize(struct crew *c, int n) must_use;
bool crew_leave(struct crew_member *me);
void crew_join(struct crew *c);         /* after the owner has told all to end */

#endif
