/* broker/main.c - klammd: the command line, the signals, and the exit status. */
#include "base/clock.h"
#include "base/log.h"
#include "broker/detach.h"
#include "broker/start.h"
#include "config/config.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef KLAMM_VERSION
#define KLAMM_VERSION "0.1"
#endif

enum mode { MODE_RUN, MODE_CHECK, MODE_VERSION, MODE_HELP };

struct options {
    enum mode           mode;
    bool                daemon;
    struct config_input input;
    const char        **overrides;
};

static const char usage[] =
    "usage: klammd [-daemon] [server.properties] [--override key=value]...\n"
    "       klammd --check-config server.properties [--override key=value]...\n"
    "\n"
    "Starts a Kafka-protocol broker. Without a file every property has its default.\n"
    "\n"
    "  -daemon           detach from the terminal; log to $LOG_DIR/server.log (logs/server.log)\n"
    "  --override k=v    this value instead of the file's; may be repeated\n"
    "  --check-config    list every problem of the file and start nothing; exit status 1 if there are errors\n"
    "  --version, --help\n"
    "\n"
    "Properties also come from the environment: KAFKA_NUM_IO_THREADS=16 is num.io.threads=16 and wins over the file.\n"
    "TERM, INT and QUIT stop the broker cleanly.\n";

static int bad_usage(const char *what, const char *arg)
{
    fprintf(stderr, "klammd: %s: %s\n%s", arg, what, usage);
    return ERR_INVALID;
}

static bool is_option(const char *arg, const char *name)
{
    return strcmp(arg, name) == 0 || (arg[0] == '-' && strcmp(arg + 1, name) == 0);     /* -x and --x */
}

static int parse_one(struct options *o, int argc, char **argv, int *i)
{
    char *arg = argv[*i];

    if (is_option(arg, "-daemon")) {
        o->daemon = true;
    } else if (is_option(arg, "-help") || strcmp(arg, "-h") == 0) {
        o->mode = MODE_HELP;
    } else if (is_option(arg, "-version")) {
        o->mode = MODE_VERSION;
    } else if (is_option(arg, "-check-config")) {
        o->mode = MODE_CHECK;
    } else if (is_option(arg, "-override")) {
        if (++*i == argc || strchr(argv[*i], '=') == NULL)
            return bad_usage("needs key=value", arg);
        o->overrides[o->input.overrides_n++] = argv[*i];
    } else if (arg[0] == '-') {
        return bad_usage("unknown option", arg);
    } else if (o->input.file != NULL) {
        return bad_usage("only one properties file can be given", arg);
    } else {
        o->input.file = arg;
    }
    return OK;
}

static int parse(struct options *o, int argc, char **argv)
{
    extern char **environ;

    *o = (struct options){ .overrides = calloc((size_t)argc, sizeof *o->overrides) };
    if (o->overrides == NULL)
        return ERR_NOMEM;
    o->input.overrides = o->overrides;
    o->input.env = environ;
    for (int i = 1; i < argc; i++)
        TRY(parse_one(o, argc, argv, &i));
    if (o->mode == MODE_CHECK && o->input.file == NULL)
        return bad_usage("needs a properties file", "--check-config");
    return OK;
}

/* Errors and warnings, one line each; NULL when there are errors. */
static struct config *load(const struct config_input *in)
{
    struct config_problems problems;
    struct config *cfg = NULL;
    char text[2048];

    if (config_load(&cfg, in, &problems) == ERR_NOMEM)
        log_fatal("the configuration cannot be read: out of memory");
    for (size_t i = 0; i < problems.n; i++) {
        config_problem_text(&problems.v[i], text, sizeof text);
        log_at(problems.v[i].severity == CONFIG_ERROR ? LOG_ERROR : LOG_WARN, "%s", text);
    }
    if (cfg == NULL)
        log_fatal("the broker does not start: %zu errors in its configuration, above", problems.errors_n);
    config_problems_fini(&problems);
    return cfg;
}

static _Atomic bool dead;

/* The broker cannot go on: stopped as if it had been asked to, but the exit status says otherwise. */
static void on_dead(void)
{
    atomic_store(&dead, true);
    kill(getpid(), SIGTERM);
}

/* Blocked in every thread, so that they come only to sigwait(). One that was ignored (nohup) stays so. */
static void block_signals(sigset_t *set)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP };

    sigemptyset(set);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaddset(set, signals[i]);
    pthread_sigmask(SIG_BLOCK, set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static int run(const struct options *o, int64_t began_ns)
{
    struct broker *b = NULL;
    struct config *cfg = load(&o->input);
    sigset_t set;
    int sig = 0, rc;

    if (cfg == NULL)
        return EXIT_FAILURE;
    block_signals(&set);
    rc = broker_start(&b, cfg, began_ns, on_dead);
    config_unref(&cfg);
    if (rc != OK)
        return EXIT_FAILURE;
    sigwait(&set, &sig);
    log_info("stopping (%s)", atomic_load(&dead) ? "it cannot go on" : strsignal(sig));
    rc = broker_stop(&b);
    if (rc == OK && !atomic_load(&dead)) {
        log_info("stopped cleanly");
        return EXIT_SUCCESS;
    }
    log_error("stopped, not cleanly: %s; the next start recovers", err_text(rc));
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    int64_t began_ns = mono_ns();
    struct options o;
    int status = EXIT_SUCCESS;

    mallopt(M_ARENA_MAX, 2);            /* many threads that need little: more arenas cost memory */
    if (parse(&o, argc, argv) != OK)
        status = 2;
    else if (o.mode == MODE_HELP)
        fputs(usage, stdout);
    else if (o.mode == MODE_VERSION)
        puts("klammd " KLAMM_VERSION " (Apache Kafka protocol 3.9)");
    else if (o.mode == MODE_CHECK)
        status = config_check_print(stdout, &o.input);
    else if (o.daemon && detach() != OK)
        status = EXIT_FAILURE;
    else
        status = run(&o, began_ns);
    free(o.overrides);
    return status;
}
