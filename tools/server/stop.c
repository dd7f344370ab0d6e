/* tools/server/stop.c - kafka-server-stop.sh: TERM to every broker of this installation, that is, every process
 * that runs the klammd beside this program. Arguments mean nothing, as with Kafka's script; $SIGNAL names
 *      another signal.
 */
#include "tools/command.h"
#include "tools/server/daemon_path.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static int signal_wanted(void)
{
    static const struct { const char *name; int number; } names[] = {
        { "TERM", SIGTERM }, { "INT", SIGINT }, { "QUIT", SIGQUIT }, { "KILL", SIGKILL }, { "HUP", SIGHUP },
    };
    const char *s = getenv("SIGNAL");

    if (s != NULL && strncasecmp(s, "SIG", 3) == 0)
        s += 3;
    for (size_t i = 0; s != NULL && i < sizeof names / sizeof names[0]; i++) {
        if (strcasecmp(s, names[i].name) == 0)
            return names[i].number;
    }
    return SIGTERM;
}

/* A binary that was replaced while it runs shows as "path (deleted)". */
static bool runs(const char *pid, const char *path)
{
    char    link[64], exe[PATH_MAX];
    size_t  len = strlen(path);
    ssize_t n;

    snprintf(link, sizeof link, "/proc/%.20s/exe", pid);
    n = readlink(link, exe, sizeof exe - 1);
    if (n < 0)
        return false;
    exe[n] = '\0';
    return strncmp(exe, path, len) == 0 && (exe[len] == '\0' || strcmp(exe + len, " (deleted)") == 0);
}

static int server_stop_run(const struct invocation *inv, struct options *o)
{
    char                 path[PATH_MAX];
    DIR                 *proc;
    const struct dirent *e;
    int                  found = 0, failed = 0;

    (void)o;
    if (inv->argc > 1 && strcmp(inv->argv[1], "--help") == 0) {
        printf("USAGE: %s    stops every broker of this installation\n", inv->self);
        return command_end(inv->as_kafka ? 1 : 0);
    }
    proc = opendir("/proc");
    if (proc == NULL)
        return command_fail("/proc: %s", strerror(errno));
    if (daemon_path(path, sizeof path) == OK) {
        while ((e = readdir(proc)) != NULL) {
            int64_t pid;

            if (parse_i64(e->d_name, 1, INT32_MAX, &pid) != OK || !runs(e->d_name, path))
                continue;
            found++;
            if (kill((pid_t)pid, signal_wanted()) != 0 && errno != ESRCH) {
                fprintf(stderr, "process %s: %s\n", e->d_name, strerror(errno));
                failed++;
            }
        }
    }
    closedir(proc);
    if (found == 0)
        puts("No kafka server to stop");
    return command_end(found == 0 || failed > 0 ? 1 : 0);
}

const struct command command_server_stop = {
    .name = "server-stop",
    .summary = "Stop every broker of this installation.",
    .run = server_stop_run,
};
