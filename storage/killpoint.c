/* storage/killpoint.c - dies at the point and count that KLAMM_KILL_AT names. */
#include "storage/killpoint.h"

#ifdef KLAMM_KILL_POINTS

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *point;       /* "name:N", or NULL */
static size_t      point_len;   /* of the name */
static atomic_int  left;

static void read_environment(void)
{
    const char *colon;

    point = getenv("KLAMM_KILL_AT");
    if (point == NULL)
        return;
    colon = strrchr(point, ':');
    point_len = colon != NULL ? (size_t)(colon - point) : strlen(point);
    atomic_store(&left, colon != NULL ? (int)strtol(colon + 1, NULL, 10) : 1);
}

void killpoint_pass(const char *name)
{
    (void)pthread_once(&once, read_environment);
    if (point == NULL || strncmp(point, name, point_len) != 0 || name[point_len] != '\0')
        return;
    if (atomic_fetch_sub(&left, 1) == 1)
        (void)kill(getpid(), SIGKILL);
}

#else
/* Nothing is left of kill points in a build for users. */
extern const int killpoint_none;
const int killpoint_none = 0;
#endif
