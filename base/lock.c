/* base/lock.c - ranked mutexes. The ranks a thread holds are kept as a stack in thread-local memory. */
#include "base/lock.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void must(int err, const char *what)
{
    if (err != 0) {
        fprintf(stderr, "lock: %s failed with error %d\n", what, err);
        abort();
    }
}

#ifdef KLAMM_CHECK_LOCKS
static const struct {
    int         rank;
    const char *name;
} classes[] = {
#define L(rank, name, protects) { rank, #name },
#include "base/locks.def"
#undef L
};

#define HELD_MAX 16
static _Thread_local const struct lock *held[HELD_MAX];
static _Thread_local int held_n;

static void check_rank(const struct lock *l)
{
    for (int i = 0; i < held_n; i++) {
        if (classes[held[i]->cls].rank >= classes[l->cls].rank) {
            fprintf(stderr, "lock: '%s' (rank %d) taken while '%s' (rank %d) is held\n", classes[l->cls].name,
                    classes[l->cls].rank, classes[held[i]->cls].name, classes[held[i]->cls].rank);
            abort();
        }
    }
}

static void note_taken(struct lock *l)
{
    if (held_n == HELD_MAX)
        abort();
    held[held_n++] = l;
    l->owner = pthread_self();
    l->held = true;
}

static void note_dropped(struct lock *l)
{
    int i = held_n - 1;

    lock_assert(l);
    l->held = false;
    while (held[i] != l)
        i--;
    held_n--;
    for (; i < held_n; i++)
        held[i] = held[i + 1];
}

void lock_assert(const struct lock *l)
{
    if (!l->held || !pthread_equal(l->owner, pthread_self())) {
        fprintf(stderr, "lock: '%s' is not held by the caller\n", classes[l->cls].name);
        abort();
    }
}

void lock_assert_none(void)
{
    if (held_n > 0) {
        fprintf(stderr, "lock: '%s' is held where no lock may be\n", classes[held[held_n - 1]->cls].name);
        abort();
    }
}
#else
static void check_rank(const struct lock *l) { (void)l; }
static void note_taken(struct lock *l) { (void)l; }
static void note_dropped(struct lock *l) { (void)l; }
void lock_assert(const struct lock *l) { (void)l; }
void lock_assert_none(void) {}
#endif

void lock_init(struct lock *l, enum lock_class cls)
{
    *l = (struct lock){ .cls = cls };
    must(pthread_mutex_init(&l->m, NULL), "pthread_mutex_init");
}

void lock_fini(struct lock *l)
{
    must(pthread_mutex_destroy(&l->m), "pthread_mutex_destroy");
}

void lock_take(struct lock *l)
{
    check_rank(l);
    must(pthread_mutex_lock(&l->m), "pthread_mutex_lock");
    note_taken(l);
}

bool lock_try(struct lock *l)
{
    if (pthread_mutex_trylock(&l->m) != 0)
        return false;
    note_taken(l);
    return true;
}

void lock_drop(struct lock *l)
{
    note_dropped(l);
    must(pthread_mutex_unlock(&l->m), "pthread_mutex_unlock");
}

void cond_init(struct cond *c)
{
    pthread_condattr_t attr;

    must(pthread_condattr_init(&attr), "pthread_condattr_init");
    must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC), "pthread_condattr_setclock");
    must(pthread_cond_init(&c->c, &attr), "pthread_cond_init");
    pthread_condattr_destroy(&attr);
}

void cond_fini(struct cond *c)
{
    must(pthread_cond_destroy(&c->c), "pthread_cond_destroy");
}

void cond_wait(struct cond *c, struct lock *l)
{
    note_dropped(l);
    must(pthread_cond_wait(&c->c, &l->m), "pthread_cond_wait");
    note_taken(l);
}

bool cond_wait_until(struct cond *c, struct lock *l, int64_t mono_ns)
{
    struct timespec ts = { .tv_sec = mono_ns / 1000000000, .tv_nsec = mono_ns % 1000000000 };
    int err;

    note_dropped(l);
    err = pthread_cond_timedwait(&c->c, &l->m, &ts);
    note_taken(l);
    return err == 0;
}

void cond_signal(struct cond *c)
{
    must(pthread_cond_signal(&c->c), "pthread_cond_signal");
}

void cond_broadcast(struct cond *c)
{
    must(pthread_cond_broadcast(&c->c), "pthread_cond_broadcast");
}
