/* tools/command.h - one command of klamm: its names, its options, what runs it, and how it ends.
 *
 * A command is reached as `kafka-NAME.sh ...`, `kafka-NAME ...` or `klamm NAME ...`. Under Kafka's names the
 * help text goes to standard error with exit status 1, as there; `klamm NAME --help` prints it to standard
 * output and ends with 0. Kafka has two option parsers: with the other one (prog) help is always such a success.
 *
 * OWNER    commands are static; struct invocation lives in main().
 * FAILURE  run() gives the exit status. What it has to say it has printed itself, by the helpers below.
 */
#ifndef TOOLS_COMMAND_H
#define TOOLS_COMMAND_H

#include "tools/options.h"

struct command;

struct invocation {
    const struct command *cmd;
    const char           *self;         /* the name it was called by, for usage lines */
    bool                  as_kafka;     /* by one of Kafka's names */
    int                   argc;
    char                **argv;         /* argv[0] is the command's own name */
};

struct command {
    const char              *name;      /* "topics"; the Kafka name is kafka-topics.sh */
    const char              *summary;   /* one line */
    const char              *note;      /* after the options in the help text; NULL: none */
    const char              *prog;      /* NULL, or what a command with the other option parser calls itself */
    const struct option_def *defs;      /* with OPT_HELP and OPT_VERSION in front; NULL: run() reads argv itself */
    size_t                   defs_n;
    int                    (*run)(const struct invocation *, struct options *);
    int                    (*refuse)(const struct invocation *, const char *message);   /* options that cannot be
                                           read: exit status; NULL: the message alone, 1 */
};

/* The first two rows of every option table. */
enum { OPT_HELP, OPT_VERSION, OPT_FIRST };
#define OPTIONS_COMMON                                                          \
    [OPT_HELP] = { .name = "help", .help = "Print this text." },                \
    [OPT_VERSION] = { .name = "version", .help = "Print the Kafka version whose behaviour this command has." }

/* Every command is declared here and listed in tools/klamm.c. */
extern const struct command command_topics;
extern const struct command command_cluster;
extern const struct command command_replica_verification;
extern const struct command command_configs;
extern const struct command command_console_producer;
extern const struct command command_console_consumer;
extern const struct command command_consumer_groups;
extern const struct command command_get_offsets;
extern const struct command command_verifiable_producer;
extern const struct command command_verifiable_consumer;
extern const struct command command_producer_perf;
extern const struct command command_consumer_perf;
extern const struct command command_delete_records;
extern const struct command command_broker_api_versions;
extern const struct command command_log_dirs;
extern const struct command command_dump_log;
extern const struct command command_retention;
extern const struct command command_reassign_partitions;
extern const struct command command_leader_election;
extern const struct command command_preferred_replica_election;
extern const struct command command_server_start;
extern const struct command command_server_stop;
extern const struct command command_zookeeper_shell;

/* Prints the message and the help text to standard error, in the order that Kafka's parser has; the exit status 1. */
int command_usage(const struct invocation *inv, const char *message);
/* Prints the message to standard error; the exit status 1. */
int command_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Flushes standard output; turns 0 into 1 and says so when something could not be written. */
int command_end(int status);

#endif
