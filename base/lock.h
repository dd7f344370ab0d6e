/* base/lock.h - mutexes that know their rank and their owner.
 *
 * Every lock belongs to a class listed in base/locks.def. In builds with KLAMM_CHECK_LOCKS (all test builds)
 * taking a lock whose rank is not above every lock already held by the thread aborts with both
 * names, and lock_assert() aborts unless the caller holds the lock. Otherwise both cost nothing.
 * FAILURE  pthread errors are our bugs: they abort.
 */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum lock_class {
#define L(rank, name, protects) LOCK_##name,
#include "base/locks.def"
#undef L
    LOCK_CLASS_N
};

struct lock {
    pthread_mutex_t m;
    enum lock_class cls;
    pthread_t       owner;      /* valid while held is true; written by the holder only */
    bool            held;
};

void lock_init(struct lock *l, enum lock_class cls);
void lock_fini(struct lock *l);
void lock_take(struct lock *l);
bool lock_try(struct lock *l);          /* true: taken */
void lock_drop(struct lock *l);
void lock_assert(const struct lock *l); /* the caller holds it */
void lock_assert_none(void);            /* the caller holds no ranked lock at all */

/* Condition variables on the monotonic clock. cond_wait() needs the lock held and holds it when it returns. */
struct cond {
    pthread_cond_t c;
};

void cond_init(struct cond *c);
void cond_fini(struct cond *c);
void cond_wait(struct cond *c, struct lock *l);
bool cond_wait_until(struct cond *c, struct lock *l, int64_t mono_ns);  /* false: the time came */
void cond_signal(struct cond *c);
void cond_broadcast(struct cond *c);

#endif
