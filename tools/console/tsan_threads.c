/* tools/console/tsan_threads.c - C11's threads on top of pthreads, for the thread sanitizer only.
 *
 * librdkafka uses thrd_create() and its kin from the C library. The sanitizer of gcc 12 does not know these: a thread
 * made so crashes as soon as it comes into instrumented code. In a SANITIZE=thread build these take their place, and
 * the sanitizer sees pthreads, which it knows. The C library's own types are pthreads' inside. Reports about
 * librdkafka are put away: it is not instrumented, so the sanitizer cannot see its atomics.
 */
#ifdef __SANITIZE_THREAD__
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
    return "race:librdkafka.so";
}

struct start {
    thrd_start_t fn;
    void        *arg;
};

_Static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t), "mtx_t is a pthread_mutex_t");
_Static_assert(sizeof(cnd_t) == sizeof(pthread_cond_t), "cnd_t is a pthread_cond_t");

static void *start_main(void *p)
{
    struct start s = *(struct start *)p;

    free(p);
    return (void *)(intptr_t)s.fn(s.arg);
}

static int answer(int err)
{
    return err == 0 ? thrd_success : err == ETIMEDOUT ? thrd_timedout : err == EBUSY ? thrd_busy : thrd_error;
}

int thrd_create(thrd_t *t, thrd_start_t fn, void *arg)
{
    struct start *s = malloc(sizeof *s);
    int           rc;

    if (s == NULL)
        return thrd_nomem;
    *s = (struct start){ fn, arg };
    rc = pthread_create(t, NULL, start_main, s);
    if (rc != 0)
        free(s);
    return answer(rc);
}

int thrd_join(thrd_t t, int *result)
{
    void *r = NULL;
    int   rc = pthread_join(t, &r);

    if (result != NULL)
        *result = (int)(intptr_t)r;
    return answer(rc);
}

int mtx_init(mtx_t *m, int type)
{
    pthread_mutexattr_t a;
    int                 rc;

    pthread_mutexattr_init(&a);
    if ((type & mtx_recursive) != 0)
        pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
    rc = pthread_mutex_init((pthread_mutex_t *)m, &a);
    pthread_mutexattr_destroy(&a);
    return answer(rc);
}

void mtx_destroy(mtx_t *m)
{
    pthread_mutex_destroy((pthread_mutex_t *)m);
}

int mtx_lock(mtx_t *m)
{
    return answer(pthread_mutex_lock((pthread_mutex_t *)m));
}

int mtx_unlock(mtx_t *m)
{
    return answer(pthread_mutex_unlock((pthread_mutex_t *)m));
}

int cnd_init(cnd_t *c)
{
    return answer(pthread_cond_init((pthread_cond_t *)c, NULL));
}

void cnd_destroy(cnd_t *c)
{
    pthread_cond_destroy((pthread_cond_t *)c);
}

int cnd_wait(cnd_t *c, mtx_t *m)
{
    return answer(pthread_cond_wait((pthread_cond_t *)c, (pthread_mutex_t *)m));
}

int cnd_timedwait(cnd_t *restrict c, mtx_t *restrict m, const struct timespec *restrict until)
{
    return answer(pthread_cond_timedwait((pthread_cond_t *)c, (pthread_mutex_t *)m, until));
}

int cnd_signal(cnd_t *c)
{
    return answer(pthread_cond_signal((pthread_cond_t *)c));
}

int cnd_broadcast(cnd_t *c)
{
    return answer(pthread_cond_broadcast((pthread_cond_t *)c));
}

void call_once(once_flag *once, void (*fn)(void))
{
    pthread_once((pthread_once_t *)once, fn);
}
#endif
