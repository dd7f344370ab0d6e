/* tools/zookeeper_shell/shell.c - zookeeper-shell.sh: the connection, the command line, the lines of standard input.
 *
 * What ZooKeeper's shell has and this one has not is what Debian's C library cannot ask a server for: addWatch,
 * removewatches, whoami, reconfig, config; and quotas.
 */
#include "tools/zookeeper_shell/shell.h"

#include "base/clock.h"
#include "metadata/zk_diagnose.h"
#include "tools/command.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATUS_NO_COMMAND 127
#define HISTORY_SHOWN     10
#define TIMEOUT_MS        30000

/* ---- sentences ------------------------------------------------------------------------------------------ */

int shell_fail(const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return 1;
}

int shell_answer(int zrc, const char *path)
{
    static const struct { int zrc; const char *text; } table[] = {
        { ZNONODE, "Node does not exist: %s" },
        { ZNODEEXISTS, "Node already exists: %s" },
        { ZNOTEMPTY, "Node not empty: %s" },
        { ZNOCHILDRENFOREPHEMERALS, "Ephemerals cannot have children: %s" },
        { ZINVALIDACL, "Acl is not valid : %s" },
        { ZNOAUTH, "Insufficient permission : %s" },
        { ZBADARGUMENTS, "Arguments are not valid : %s" },
        { ZBADVERSION, "version No is not valid : %s" },
        { ZNOTREADONLY, "Not a read-only call: %s" },
        { ZCONNECTIONLOSS, "KeeperErrorCode = ConnectionLoss for %s" },
        { ZSESSIONEXPIRED, "KeeperErrorCode = Session expired for %s" },
        { ZAUTHFAILED, "KeeperErrorCode = AuthFailed for %s" },
        { ZUNIMPLEMENTED, "KeeperErrorCode = Unimplemented for %s" },
    };

    if (zrc == ZOK)
        return 0;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].zrc == zrc) {
            fflush(stdout);
            fprintf(stderr, table[i].text, path);
            fputc('\n', stderr);
            return 1;
        }
    return shell_fail("KeeperErrorCode = %s for %s", zerror(zrc), path);
}

int shell_check_path(const char *path)
{
    size_t len = strlen(path);

    if (len == 0)
        return shell_fail("Path length must be > 0");
    if (path[0] != '/')
        return shell_fail("Path must start with / character");
    if (len > 1 && path[len - 1] == '/')
        return shell_fail("Path must not end with / character");
    for (size_t i = 1; i < len; i++) {
        bool ends = path[i + 1] == '\0' || path[i + 1] == '/';
        const char *why = NULL;

        if (path[i] == '/' && path[i - 1] == '/')
            why = "empty node name specified";
        else if (path[i] == '.' && ends && (path[i - 1] == '/' || (path[i - 1] == '.' && i > 1 && path[i - 2] == '/')))
            why = "relative paths not allowed";
        else if ((unsigned char)path[i] < 0x20 || path[i] == 0x7f)
            why = "invalid character";
        if (why != NULL)
            return shell_fail("Invalid path string \"%s\" caused by %s @%zu", path, why, i);
    }
    return 0;
}

static int usage(void)
{
    static const char *const own[][2] = { { "close", "" }, { "connect", "host:port" }, { "history", "" },
                                          { "printwatches", "on|off" }, { "quit", "" }, { "redo", "cmdno" },
                                          { "version", "" } };
    size_t k = 0, n = sizeof own / sizeof own[0];

    fputs("ZooKeeper -server host:port cmd args\n", stderr);
    for (const struct shell_command *c = shell_commands; c->name != NULL || k < n; )    /* both are in order */
        if (k < n && (c->name == NULL || strcmp(own[k][0], c->name) < 0)) {
            fprintf(stderr, "\t%s %s\n", own[k][0], own[k][1]);
            k++;
        } else {
            fprintf(stderr, "\t%s %s\n", c->name, c->usage);
            c++;
        }
    return STATUS_NO_COMMAND;
}

/* ---- the connection ------------------------------------------------------------------------------------- */

static struct shell *the_shell;         /* the library's log callback has no argument */

static void on_log(const char *message)
{
    if (strstr(message, "zk retcode=") == NULL)
        return;
    lock_take(&the_shell->lock);
    the_shell->failures++;
    cond_signal(&the_shell->cond);
    lock_drop(&the_shell->lock);
}

static const char *state_name(int state)
{
    return state == ZOO_CONNECTED_STATE ? "SyncConnected" : state == ZOO_EXPIRED_SESSION_STATE ? "Expired"
         : state == ZOO_AUTH_FAILED_STATE ? "AuthFailed" : "Disconnected";
}

static const char *event_name(int type)
{
    return type == ZOO_CREATED_EVENT ? "NodeCreated" : type == ZOO_DELETED_EVENT ? "NodeDeleted"
         : type == ZOO_CHANGED_EVENT ? "NodeDataChanged" : type == ZOO_CHILD_EVENT ? "NodeChildrenChanged" : "None";
}

static void on_event(zhandle_t *zh, int type, int state, const char *path, void *arg)
{
    struct shell *sh = arg;

    (void)zh;
    if (sh->print_watches) {
        printf("\nWATCHER::\n\nWatchedEvent state:%s type:%s path:%s\n", state_name(state), event_name(type),
               type == ZOO_SESSION_EVENT ? "null" : path);
        fflush(stdout);
    }
    lock_take(&sh->lock);
    if (type == ZOO_SESSION_EVENT)
        sh->connected = state == ZOO_CONNECTED_STATE;
    if (sh->connected)
        sh->failures = 0;
    cond_signal(&sh->cond);
    lock_drop(&sh->lock);
}

static int servers_of(const struct shell *sh)
{
    int n = 1;

    for (const char *p = sh->hosts.servers; *p != '\0'; p++)
        n += *p == ',';
    return n;
}

static void disconnect(struct shell *sh)
{
    if (sh->zh != NULL)
        zookeeper_close(sh->zh);
    sh->zh = NULL;
    sh->connected = false;
    sh->failures = 0;
}

static int connect_to(struct shell *sh, const char *server)
{
    char hosts[4096];
    const char *why;

    disconnect(sh);
    zk_hosts_fini(&sh->hosts);
    sh->closed = false;
    sh->server = server;
    if (zk_hosts_parse(&sh->hosts, server, &why) != OK)
        return shell_fail("%s: %s", server, why);
    if ((size_t)snprintf(hosts, sizeof hosts, "%s%s", sh->hosts.servers, sh->hosts.chroot) >= sizeof hosts)
        return shell_fail("%s: too long", server);
    sh->zh = zookeeper_init2(hosts, on_event, sh->timeout_ms, NULL, sh, ZOO_NO_LOG_CLIENTENV, on_log);
    return 0;
}

/* Like Apache's, it does not wait for servers that refuse: once round is enough. */
int shell_connected(struct shell *sh, const char *path)
{
    int64_t until = mono_ns() + sh->timeout_ms * 1000000LL;
    bool connected, more = true;
    char why[1024];

    lock_take(&sh->lock);
    while (sh->zh != NULL && !sh->connected && sh->failures < servers_of(sh) && more)
        more = cond_wait_until(&sh->cond, &sh->lock, until);
    connected = sh->connected;
    lock_drop(&sh->lock);
    if (connected)
        return 0;
    zk_hosts_diagnose(&sh->hosts, why, sizeof why);
    return shell_fail("KeeperErrorCode = ConnectionLoss for %s (%s)", path, why);
}

/* ---- one command ---------------------------------------------------------------------------------------- */

/* As Apache's option parser: options anywhere, several letters together, the value in the same word or the next. */
static int options_of(struct shell_call *call, const struct shell_command *c, int argc, char **argv)
{
    static const char *const wrong = "org.apache.commons.cli.";
    bool only_args = false;

    *call = (struct shell_call){ .cmd = c };
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];

        if (only_args || word[0] != '-' || word[1] == '\0' || isdigit((unsigned char)word[1])) {
            if (call->args_n < SHELL_ARGS)
                call->args[call->args_n++] = word;
            continue;
        }
        only_args = strcmp(word, "--") == 0;
        for (const char *p = word + 1; !only_args && *p != '\0'; p++) {
            if (strchr(c->flags, *p) != NULL) {
                call->flags[(unsigned char)*p & 127] = true;
            } else if (strchr(c->values, *p) == NULL) {
                return shell_fail("%sUnrecognizedOptionException: Unrecognized option: %s", wrong, word);
            } else if (p[1] != '\0' || i + 1 < argc) {
                call->values[(unsigned char)*p & 127] = p[1] != '\0' ? p + 1 : argv[++i];
                break;
            } else {
                return shell_fail("%sMissingArgumentException: Missing argument for option: %c", wrong, *p);
            }
        }
    }
    if (call->args_n < c->least)
        return shell_fail("%s %s", c->name, c->usage);
    return 0;
}

static int check_paths(const struct shell_call *call)
{
    const char *path = call->args[0];
    size_t len = call->cmd->path ? strlen(path) : 0;

    if (!call->cmd->path)
        return 0;
    if (call->flags['s'] && strcmp(call->cmd->name, "create") == 0 && len > 1 && path[len - 1] == '/')
        return 0;                       /* the number is all of its name */
    return shell_check_path(path);
}

static int run_in_tree(struct shell *sh, int argc, char **argv)
{
    const struct shell_command *c = shell_commands;
    struct shell_call call;
    int status;

    while (c->name != NULL && strcmp(c->name, argv[0]) != 0)
        c++;
    if (c->name == NULL) {
        status = usage();
        shell_fail("Command not found: Command not found %s", argv[0]);
        return status;
    }
    if (sh->closed) {
        puts("Not connected");
        return 0;
    }
    status = options_of(&call, c, argc - 1, argv + 1);
    if (status == 0)
        status = check_paths(&call);
    if (status == 0 && sh->zh == NULL)
        status = connect_to(sh, sh->server);
    if (status == 0)
        status = shell_connected(sh, call.args_n > 0 ? call.args[0] : "/");
    if (status == 0)
        status = c->run(sh, &call);
    fflush(stdout);
    return status;
}

/* ---- the lines of standard input ------------------------------------------------------------------------ */

struct session {
    struct shell *sh;
    char        **lines;                /* that were read */
    size_t        n, cap;
    bool          quit;
};

/* Words apart by blanks; one that begins with a quote goes to the next such quote. The line is cut up. */
static int split(char *line, char *argv[SHELL_ARGS])
{
    int n = 0;

    for (char *p = line; n < SHELL_ARGS; ) {
        char *close;

        while (isspace((unsigned char)*p))
            p++;
        if (*p == '\0')
            break;
        close = *p == '"' || *p == '\'' ? strchr(p + 1, *p) : NULL;
        if (close != NULL) {
            argv[n++] = p + 1;
            p = close;
        } else {
            if (*p == '"' || *p == '\'')
                p++;                    /* a quote that is not closed is passed over */
            argv[n++] = p;
            while (*p != '\0' && !isspace((unsigned char)*p))
                p++;
        }
        if (*p != '\0')
            *p++ = '\0';
    }
    return n;
}

static int run_line(struct session *s, const char *line);

static bool is_redo(const char *line)
{
    char *copy = strdup(line), *argv[SHELL_ARGS];
    bool yes = copy != NULL && split(copy, argv) > 0 && strcmp(argv[0], "redo") == 0;

    free(copy);
    return yes;
}

static int redo(struct session *s, const char *which)
{
    char *end;
    long i = strtol(which, &end, 0);

    if (*end != '\0' || end == which)
        return shell_fail("For input string: \"%s\"", which);
    if (i < 0 || (size_t)i + 1 >= s->n)
        return shell_fail("Command index out of range");
    if (is_redo(s->lines[i]))
        return shell_fail("No redoing redos");
    free(s->lines[s->n - 1]);
    s->lines[s->n - 1] = strdup(s->lines[i]);
    return s->lines[s->n - 1] != NULL ? run_line(s, s->lines[i]) : shell_fail("out of memory");
}

static bool is_connected(struct shell *sh)
{
    bool yes;

    lock_take(&sh->lock);
    yes = sh->zh != NULL && sh->connected;
    lock_drop(&sh->lock);
    return yes;
}

/* The commands of the shell itself. -1: it is none of them. */
static int run_own(struct session *s, int argc, char **argv)
{
    struct shell *sh = s->sh;

    if (strcmp(argv[0], "quit") == 0) {
        s->quit = true;
        return -2;                      /* the status stays what it was */
    }
    if (strcmp(argv[0], "history") == 0) {
        for (size_t i = s->n > HISTORY_SHOWN + 1 ? s->n - HISTORY_SHOWN - 1 : 0; i < s->n; i++)
            printf("%zu - %s\n", i, s->lines[i]);
    } else if (strcmp(argv[0], "printwatches") == 0) {
        if (argc > 1 && is_connected(sh))
            (void)shell_sync(sh, "/");  /* the watches of commands before this one are printed as it was then */
        if (argc > 1)
            sh->print_watches = strcmp(argv[1], "on") == 0;
        else
            printf("printwatches is %s\n", sh->print_watches ? "on" : "off");
    } else if (strcmp(argv[0], "connect") == 0) {
        char *server = strdup(argc > 1 ? argv[1] : sh->server);

        if (server == NULL)
            return shell_fail("out of memory");
        free(sh->given);
        sh->given = server;
        return connect_to(sh, server);
    } else if (strcmp(argv[0], "close") == 0) {
        disconnect(sh);
        sh->closed = true;
    } else if (strcmp(argv[0], "version") == 0) {
        puts("ZooKeeper CLI version: 3.8.0 (Klamm)");
    } else if (strcmp(argv[0], "redo") == 0 && argc > 1) {
        return redo(s, argv[1]);
    } else {
        return -1;
    }
    fflush(stdout);
    return 0;
}

static int run_words(struct session *s, int argc, char **argv)
{
    int status = run_own(s, argc, argv);

    return status == -1 ? run_in_tree(s->sh, argc, argv) : status;
}

static int run_line(struct session *s, const char *line)
{
    char *copy = strdup(line), *argv[SHELL_ARGS];
    int argc = copy != NULL ? split(copy, argv) : 0, status = 0;

    if (argc > 0)
        status = run_words(s, argc, argv);
    free(copy);
    return status;
}

static int keep(struct session *s, const char *line)
{
    if (s->n == s->cap) {
        size_t cap = s->cap == 0 ? 64 : s->cap * 2;
        char **lines = realloc(s->lines, cap * sizeof *lines);

        if (lines == NULL)
            return 1;
        s->lines = lines;
        s->cap = cap;
    }
    s->lines[s->n] = strdup(line);
    return s->lines[s->n++] == NULL;
}

static int run_input(struct session *s)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int status = 0, now;

    puts("Welcome to ZooKeeper!\nJLine support is disabled");
    fflush(stdout);
    if (connect_to(s->sh, s->sh->server) != 0)
        return 1;
    while (!s->quit && (n = getline(&line, &cap, stdin)) >= 0) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0] == '\0' || keep(s, line) != 0)
            continue;
        now = run_line(s, line);
        if (now != -2)
            status = now;
    }
    free(line);
    return status;
}

/* ---- */

/* Gives the index of the first word of the command; negative: the exit status. */
static int own_options(struct shell *sh, int argc, char **argv)
{
    int at = 1;

    for (; at < argc && argv[at][0] == '-'; at++) {
        bool value = strcmp(argv[at], "-server") == 0 || strcmp(argv[at], "-timeout") == 0;
        int64_t ms = TIMEOUT_MS;

        if (strcmp(argv[at], "-zk-tls-config-file") == 0)
            return -shell_fail("-zk-tls-config-file: Debian's ZooKeeper client library has no TLS");
        if (value && at + 1 == argc)
            return -shell_fail("Error: no argument found for option %s", argv[at]);
        if (value && strcmp(argv[at++], "-server") == 0)
            sh->server = argv[at];
        else if (value && parse_i64(argv[at], 1, INT32_MAX, &ms) != OK)
            return -shell_fail("For input string: \"%s\"", argv[at]);
        sh->timeout_ms = (int32_t)ms;
    }
    return at;
}

static int shell_run(const struct invocation *inv, struct options *o)
{
    struct shell sh = { .server = "localhost:" ZK_PORT, .timeout_ms = TIMEOUT_MS, .print_watches = true };
    struct session s = { .sh = &sh };
    int status, at = 1;

    (void)o;
    if (inv->argc < 2 || strcmp(inv->argv[1], "--help") == 0) {
        printf("USAGE: %s zookeeper_host:port[/path] [args...]\n", inv->self);
        return command_end(inv->argc < 2 || inv->as_kafka ? 1 : 0);
    }
    if (inv->argv[1][0] != '-') {
        sh.server = inv->argv[1];
        at = own_options(&sh, inv->argc - 1, inv->argv + 1);
        at += at > 0;
    } else {
        at = own_options(&sh, inv->argc, inv->argv);
    }
    if (at < 0)
        return -at;
    lock_init(&sh.lock, LOCK_store);
    cond_init(&sh.cond);
    the_shell = &sh;
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    printf("Connecting to %s\n", sh.server);
    fflush(stdout);
    status = at < inv->argc ? run_words(&s, inv->argc - at, inv->argv + at) : run_input(&s);
    disconnect(&sh);
    zk_hosts_fini(&sh.hosts);
    free(sh.given);
    for (size_t i = 0; i < s.n; i++)
        free(s.lines[i]);
    free(s.lines);
    return command_end(status < 0 ? 0 : status);
}

const struct command command_zookeeper_shell = {
    .name = "zookeeper-shell",
    .summary = "Look at the tree in ZooKeeper, and change it: host:port[/path] [command]",
    .run = shell_run,
};
