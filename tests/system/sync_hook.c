/* tests/system/sync_hook.c - for LD_PRELOAD: syncs of chosen files wait or fail as long as a test wants.
 *
 * The file $SYNC_HOOK holds a word and a part of a path: "stall PART" (syncs of such files wait until that changes),
 * "fail PART" (they end with EIO) or "count PART". Files that also have the third word in their path, if there is one,
 * are not meant. Each sync of a file that is meant adds a line to $SYNC_HOOK.count.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* 's', 'f', 'c' if it is meant, else 0. */
static char asked(int fd)
{
    char name[64], path[4096], order[4096], part[4096], but[4096];
    const char *hook = getenv("SYNC_HOOK");
    ssize_t n;
    int f, words;

    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    n = readlink(name, path, sizeof path - 1);
    f = hook != NULL && n > 0 ? open(hook, O_RDONLY | O_CLOEXEC) : -1;
    if (f < 0)
        return 0;
    path[n] = '\0';
    n = read(f, order, sizeof order - 1);
    close(f);
    order[n > 0 ? n : 0] = '\0';
    words = sscanf(order, "%*s %4095s %4095s", part, but);
    return words >= 1 && strstr(path, part) != NULL && (words < 2 || strstr(path, but) == NULL) ? order[0] : 0;
}

static void count(void)
{
    char path[4096];
    int f;

    snprintf(path, sizeof path, "%s.count", getenv("SYNC_HOOK"));
    f = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    (void)!write(f, "\n", 1);
    close(f);
}

static int hooked(int fd, const char *name)
{
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    char what = asked(fd);

    if (what != 0)
        count();
    for (; what == 's'; what = asked(fd))
        poll(NULL, 0, 1);
    if (what == 'f') {
        errno = EIO;
        return -1;
    }
    return next(fd);
}

int fsync(int fd)
{
    return hooked(fd, "fsync");
}

int fdatasync(int fd)
{
    return hooked(fd, "fdatasync");
}

int syncfs(int fd)
{
    return hooked(fd, "syncfs");
}
