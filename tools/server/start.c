/* tools/server/start.c - kafka-server-start.sh: becomes the daemon, which detaches itself and keeps its log
 * when -daemon is given. The log goes to $LOG_DIR, else to logs/ beside the directory that this command is in,
 *      as with Kafka.
 */
#include "tools/command.h"
#include "tools/server/daemon_path.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* LOG_DIR as Kafka's scripts set it, from the path that the command was called by. */
static void set_log_dir(const char *called)
{
    char        dir[PATH_MAX];
    const char *slash = strrchr(called, '/');

    if (getenv("LOG_DIR") != NULL && getenv("LOG_DIR")[0] != '\0')
        return;
    if (slash == NULL)
        snprintf(dir, sizeof dir, "logs");      /* found by PATH: the current directory */
    else
        snprintf(dir, sizeof dir, "%.*s/../logs", (int)(slash - called), called);
    setenv("LOG_DIR", dir, 1);
}

static int server_start_run(const struct invocation *inv, struct options *o)
{
    char path[PATH_MAX];

    (void)o;
    if (inv->argc < 2 || strcmp(inv->argv[1], "--help") == 0) {
        printf("USAGE: %s [-daemon] server.properties [--override property=value]*\n", inv->self);
        return command_end(inv->argc < 2 || inv->as_kafka ? 1 : 0);
    }
    if (daemon_path(path, sizeof path) != OK)
        return command_fail("%s: the daemon is not there: %s", path, strerror(errno));
    if (inv->as_kafka)
        set_log_dir(inv->argv[0]);
    inv->argv[0] = path;
    execv(path, inv->argv);
    return command_fail("%s: %s", path, strerror(errno));
}

const struct command command_server_start = {
    .name = "server-start",
    .summary = "Start a broker: [-daemon] server.properties [--override property=value]*",
    .run = server_start_run,
};
