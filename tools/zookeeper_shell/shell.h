/* tools/zookeeper_shell/shell.h - zookeeper-shell.sh: ZooKeeper's own command line, as far as Debian's library goes.
 *
 * OWNER    one struct shell in main(); commands get it.
 * LOCKS    `lock` covers what the library's thread tells of the connection. Standard output is stdio's.
 * FAILURE  a command gives 0, or 1 after it has written why to standard error.
 */
#ifndef TOOLS_ZOOKEEPER_SHELL_SHELL_H
#define TOOLS_ZOOKEEPER_SHELL_SHELL_H

#include "base/lock.h"
#include "config/zk_hosts.h"

#include <stdatomic.h>
#include <stdint.h>
#define THREADED                        /* the library's calls that wait */
#include <zookeeper/zookeeper.h>

#define SHELL_ARGS 64

struct shell {
    const char     *server;             /* as it was given; `given` or argv */
    char           *given;              /* by `connect` */
    int32_t         timeout_ms;
    struct zk_hosts hosts;
    zhandle_t      *zh;                 /* NULL: closed, or not opened yet */
    bool            closed;             /* by `close` */
    atomic_bool     print_watches;      /* the store's thread looks at it */
    struct lock     lock;
    /* under lock */
    struct cond     cond;
    bool            connected;
    int             failures;           /* connections that were refused or broken since the last one that stood */
};

/* What one command was given. */
struct shell_call {
    const struct shell_command *cmd;
    const char *args[SHELL_ARGS];       /* without options; args[0] is the path, if it takes one */
    size_t      args_n;
    bool        flags[128];             /* by letter */
    const char *values[128];
};

struct shell_command {
    const char *name;
    const char *usage;                  /* after the name */
    const char *flags, *values;         /* letters of options without and with a value */
    size_t      least;                  /* arguments */
    bool        path;                   /* the first is one */
    int       (*run)(struct shell *sh, const struct shell_call *call);
};

extern const struct shell_command shell_commands[];     /* ends with a name of NULL */

/* Waits for the session; 0, or 1 with a sentence that names `path`. */
int  shell_connected(struct shell *sh, const char *path);
/* What the server, or the library, answered: 0, or 1 with ZooKeeper's sentence. */
int  shell_answer(int zrc, const char *path);
/* Waits until the server has heard all before, and what has come of watches has been printed. The library's code. */
int  shell_sync(struct shell *sh, const char *path);
int  shell_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* 0, or 1 with what is wrong with it. */
int  shell_check_path(const char *path);

#endif
