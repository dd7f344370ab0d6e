/* broker/detach.c */
#include "broker/detach.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MAX_BYTES ((off_t)50 * 1000 * 1000)
#define LOG_KEPT      5
#define LOOK_MS       5000

static char log_path[PATH_MAX - 8];     /* absolute; empty: not detached */

static int complain(const char *what, const char *path)
{
    int err = errno;

    fprintf(stderr, "klammd: cannot %s %s: %s; set LOG_DIR to a directory that can be written\n", what, path,
            strerror(err));
    return err_from_errno(err);
}

/* Standard output and error become the file at log_path. */
static int redirect(void)
{
    int fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    if (fd < 0)
        return err_from_errno(errno);
    if (dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0) {
        close(fd);
        return ERR_SYSTEM;
    }
    close(fd);
    return OK;
}

static int find_log_path(void)
{
    const char *dir = getenv("LOG_DIR");
    char full[PATH_MAX];

    if (dir == NULL || dir[0] == '\0')
        dir = "logs";
    if (mkdir(dir, 0755) != 0 && errno != EEXIST)
        return complain("make the directory", dir);
    if (realpath(dir, full) == NULL)
        return complain("find", dir);
    if ((size_t)snprintf(log_path, sizeof log_path, "%s/server.log", full) >= sizeof log_path)
        return ERR_TOO_LARGE;
    return OK;
}

int detach(void)
{
    int null, fd;
    pid_t child;

    TRY(find_log_path());
    fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0)
        return complain("write", log_path);
    close(fd);
    child = fork();
    if (child < 0)
        return complain("start a process for", log_path);
    if (child > 0)
        _exit(0);
    setsid();
    null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        close(null);
    }
    return redirect();
}

static void rotate(void *arg)
{
    struct stat st;
    char from[PATH_MAX + 16], to[PATH_MAX + 16];

    (void)arg;
    if (fstat(STDOUT_FILENO, &st) != 0 || st.st_size < LOG_MAX_BYTES)
        return;
    for (int i = LOG_KEPT; i > 0; i--) {
        if (i > 1)
            snprintf(from, sizeof from, "%s.%d", log_path, i - 1);
        else
            snprintf(from, sizeof from, "%s", log_path);
        snprintf(to, sizeof to, "%s.%d", log_path, i);
        if (rename(from, to) != 0 && errno != ENOENT)
            log_warn("%s cannot be renamed: %s", from, strerror(errno));
    }
    if (redirect() != OK)
        log_warn("%s cannot be opened anew: %s; the old file is written on", log_path, strerror(errno));
}

int detach_rotate(struct scheduler *s)
{
    static struct job *job;             /* goes with the scheduler */

    return log_path[0] != '\0' ? scheduler_add(s, "log rotation", LOOK_MS, LOOK_MS, rotate, NULL, &job) : OK;
}
