/* tools/klamm.c - the one command-line program: finds the command by the name it is called by, or by its first
 * word. */
#include "tools/command.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KAFKA_VERSION "3.9.1 (Klamm)"

static const struct command *const commands[] = {
    &command_topics,
    &command_configs,
    &command_console_producer,
    &command_console_consumer,
    &command_consumer_groups,
    &command_verifiable_producer,
    &command_verifiable_consumer,
    &command_producer_perf,
    &command_consumer_perf,
    &command_get_offsets,
    &command_delete_records,
    &command_broker_api_versions,
    &command_log_dirs,
    &command_cluster,
    &command_replica_verification,
    &command_reassign_partitions,
    &command_leader_election,
    &command_preferred_replica_election,
    &command_dump_log,
    &command_retention,
    &command_server_start,
    &command_server_stop,
    &command_zookeeper_shell,
};
#define COMMANDS_N (sizeof commands / sizeof commands[0])

/* "topics", "kafka-topics" and "kafka-topics.sh" all name the command "topics"; "zookeeper-shell.sh" has no prefix. */
static const struct command *command_find(const char *name, bool *as_kafka)
{
    size_t len = strlen(name);

    bool script = len > 3 && strcmp(name + len - 3, ".sh") == 0, prefix = strncmp(name, "kafka-", 6) == 0;

    *as_kafka = prefix || script;
    if (prefix) {
        name += 6;
        len -= 6;
    }
    if (script)
        len -= 3;
    for (size_t i = 0; i < COMMANDS_N; i++) {
        if (strlen(commands[i]->name) == len && strncmp(commands[i]->name, name, len) == 0)
            return commands[i];
    }
    return NULL;
}

static void print_commands(FILE *f)
{
    fputs("Usage: klamm COMMAND [options]      klamm COMMAND --help\n\n"
          "Every command is also reachable by its Kafka name, kafka-COMMAND.sh.\n\n", f);
    for (size_t i = 0; i < COMMANDS_N; i++)
        fprintf(f, "  %-22s%s\n", commands[i]->name, commands[i]->summary);
}

static void print_help(FILE *f, const struct command *c)
{
    fprintf(f, "%s\n", c->summary);
    if (c->defs != NULL)
        options_help(f, c->defs, c->defs_n);
    if (c->note != NULL)
        fprintf(f, "%s\n", c->note);
}

int command_usage(const struct invocation *inv, const char *message)
{
    fflush(stdout);
    if (inv->cmd->prog == NULL)
        fprintf(stderr, "%s\n", message);
    if (inv->cmd->defs != NULL)
        options_help(stderr, inv->cmd->defs, inv->cmd->defs_n);
    if (inv->cmd->note != NULL)
        fprintf(stderr, "%s\n", inv->cmd->note);
    if (inv->cmd->prog != NULL)
        fprintf(stderr, "%s: error: %s\n", inv->cmd->prog, message);
    return 1;
}

int command_fail(const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return 1;
}

int command_end(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fputs("klamm: standard output could not be written\n", stderr);
    return 1;
}

static int run_with_options(const struct invocation *inv)
{
    const struct command *c = inv->cmd;
    struct options        o;
    int                   status;

    if (options_parse(&o, c->defs, c->defs_n, inv->argc, inv->argv) != OK) {
        status = c->refuse != NULL ? c->refuse(inv, o.error) : command_fail("%s", o.error);
    } else if (options_has(&o, OPT_HELP) || o.argc == 0) {
        bool asked = c->prog != NULL || (!inv->as_kafka && o.argc > 0);
        print_help(asked ? stdout : stderr, c);
        status = asked ? 0 : 1;
    } else if (options_has(&o, OPT_VERSION)) {
        puts(KAFKA_VERSION);
        status = 0;
    } else {
        status = c->run(inv, &o);
    }
    options_fini(&o);
    return command_end(status);
}

int main(int argc, char **argv)
{
    const char       *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    struct invocation inv = { .self = slash != NULL ? slash + 1 : argc > 0 ? argv[0] : "klamm",
                              .argc = argc, .argv = argv };
    bool              as_kafka;

    inv.cmd = command_find(inv.self, &inv.as_kafka);
    if (inv.cmd == NULL && argc > 1) {
        inv.cmd = command_find(argv[1], &as_kafka);
        inv.self = argv[1];
        inv.argc--;
        inv.argv++;
    }
    if (inv.cmd == NULL) {
        bool asked = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0);
        if (argc > 1 && strcmp(argv[1], "--version") == 0)
            return puts(KAFKA_VERSION) < 0;
        if (argc > 1 && !asked)
            fprintf(stderr, "klamm: there is no command '%s'\n", argv[1]);
        print_commands(asked ? stdout : stderr);
        return asked ? 0 : 1;
    }
    return inv.cmd->defs != NULL ? run_with_options(&inv) : inv.cmd->run(&inv, NULL);
}
