/* broker/main.c - klammd: options, configuration, signals. What happens between start and stop is in broker/start.c. */
#include "base/clock.h"
#include "base/log.h"
#include "broker/broker.h"
#include "broker/detach.h"
#include "broker/start.h"
#include "config/config.h"

#include <getopt.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef KLAMM_VERSION
#define KLAMM_VERSION "0.1"
#endif
#define AGAIN_MS    1000                /* a second signal is meant so from then on */
#define MALLOC_ARENAS 2                 /* many threads that need little: more arenas cost memory */

extern char **environ;

static const char usage[] =
    "klammd - a message broker that speaks the Apache Kafka protocol\n"
    "\n"
    "  klammd [-daemon] [server.properties] [--override property=value]... [--adopt]\n"
    "          [--adopt-configs FILE]\n"
    "  klammd --check-config server.properties [--override property=value]...\n"
    "  klammd --version | --help\n"
    "\n"
    "Without a file every property has its default: a single node on port 9092 with an embedded metadata store.\n"
    "KAFKA_* variables of the environment win over the file, --override over both.\n"
    "A broker whose metadata store is still empty takes over the partitions that Apache Kafka left in log.dirs; with\n"
    "--adopt also those of another broker or cluster, and later those of topics that its store does not have. The\n"
    "settings that the topics had are taken from FILE, which holds what kafka-topics.sh --describe printed there.\n"
    "With -daemon it leaves the terminal and logs to $LOG_DIR/server.log (logs/server.log).\n"
    "TERM, INT and QUIT stop the broker cleanly.\n";

struct options {
    struct config_input in;
    bool                daemon, check, adopt;
    const char         *adopt_configs;
};

/* ---- the command line ---- */

enum { OPT_OVERRIDE = 256, OPT_CHECK, OPT_DAEMON, OPT_ADOPT, OPT_ADOPT_CONFIGS, OPT_VERSION, OPT_HELP };

/* Gives an exit status, or -1 to go on. */
static int parse_options(struct options *o, int argc, char **argv, const char **overrides)
{
    static const struct option known[] = {
        { "override",     required_argument, NULL, OPT_OVERRIDE },
        { "check-config", no_argument,       NULL, OPT_CHECK },
        { "daemon",       no_argument,       NULL, OPT_DAEMON },
        { "adopt",        no_argument,       NULL, OPT_ADOPT },
        { "adopt-configs", required_argument, NULL, OPT_ADOPT_CONFIGS },
        { "version",      no_argument,       NULL, OPT_VERSION },
        { "help",         no_argument,       NULL, OPT_HELP },
        { NULL, 0, NULL, 0 },
    };
    int c;

    *o = (struct options){ .in = { .overrides = overrides, .env = environ } };
    while ((c = getopt_long_only(argc, argv, "h", known, NULL)) != -1) {
        switch (c) {
        case OPT_OVERRIDE:
            overrides[o->in.overrides_n++] = optarg;
            break;
        case OPT_CHECK:
            o->check = true;
            break;
        case OPT_DAEMON:
            o->daemon = true;
            break;
        case OPT_ADOPT:
            o->adopt = true;
            break;
        case OPT_ADOPT_CONFIGS:
            o->adopt_configs = optarg;
            break;
        case OPT_VERSION:
            puts("klammd " KLAMM_VERSION " (Apache Kafka protocol 3.9)");
            return 0;
        case OPT_HELP:
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs(usage, stderr);
            return 2;
        }
    }
    if (optind < argc)
        o->in.file = argv[optind++];
    if (optind < argc || (o->check && o->in.file == NULL)) {
        fputs(usage, stderr);
        return 2;
    }
    return -1;
}

/* Every problem goes to the log; NULL when there are errors. */
static struct config *load_config(const struct config_input *in)
{
    struct config_problems problems;
    struct config *cfg = NULL;
    char text[1024];
    int rc = config_load(&cfg, in, &problems);

    for (size_t i = 0; i < problems.n; i++) {
        config_problem_text(&problems.v[i], text, sizeof text);
        log_at(problems.v[i].severity == CONFIG_ERROR ? LOG_ERROR : LOG_WARN, "%s", text);
    }
    if (rc != OK)
        log_fatal("the broker does not start: %zu errors in its configuration, above", problems.errors_n);
    config_problems_fini(&problems);
    return rc == OK ? cfg : NULL;
}

/* ---- signals ---- */

enum state { STARTING, SERVING, STOPPING };

static _Atomic int state = STARTING;
static atomic_bool dead;
static sem_t       stop_asked;
static sigset_t    stop_signals;

/* Before the broker serves, and when asked again after a while, it goes at once: the log is made for that. (A
 * supervisor may send a signal to the process and to its group.) */
static void *wait_for_signals(void *arg)
{
    int64_t asked_ms = 0;
    int sig, was;

    (void)arg;
    for (;;) {
        if (sigwait(&stop_signals, &sig) != 0)
            continue;
        was = atomic_load(&state);
        if (was == STARTING) {
            log_info("SIG%s during the start: stopped; the next start goes on from here", sigabbrev_np(sig));
            _exit(0);
        }
        if (was == STOPPING && mono_ms() - asked_ms < AGAIN_MS)
            continue;
        if (was == STOPPING) {
            log_warn("SIG%s during the stop: stopped at once; the next start recovers", sigabbrev_np(sig));
            _exit(1);
        }
        log_info("SIG%s: stopping", sigabbrev_np(sig));
        asked_ms = mono_ms();
        atomic_store(&state, STOPPING);
        sem_post(&stop_asked);
    }
    return NULL;
}

/* Every thread inherits the mask, so that only the one thread gets the signals. SIGHUP stops as well, unless the
 * broker was started with nohup or has no terminal. */
static int catch_signals(bool daemon)
{
    struct sigaction hup = { 0 };
    pthread_attr_t attr;
    pthread_t t;
    int err;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);           /* a limit on the size of files is an error like a full disk */
    sigemptyset(&stop_signals);
    sigaddset(&stop_signals, SIGTERM);
    sigaddset(&stop_signals, SIGINT);
    sigaddset(&stop_signals, SIGQUIT);
    if (daemon)
        signal(SIGHUP, SIG_IGN);
    if (sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler != SIG_IGN)
        sigaddset(&stop_signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &stop_signals, NULL);
    sem_init(&stop_asked, 0, 0);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 256 * 1024);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    err = pthread_create(&t, &attr, wait_for_signals, NULL);
    pthread_attr_destroy(&attr);
    return err == 0 ? OK : err_from_errno(err);
}

/* Who has read that it is ready and stops it then has it stopped cleanly. */
static void on_ready(void)
{
    atomic_store(&state, SERVING);
}

static void on_dead(void)
{
    atomic_store(&dead, true);
    sem_post(&stop_asked);
}

/* ---- */

static int serve(const struct config *cfg, const struct options *given, int64_t began_ns)
{
    struct start_opts o = { .cfg = cfg, .began_ns = began_ns, .adopt = given->adopt,
                            .adopt_configs = given->adopt_configs, .on_ready = on_ready, .on_dead = on_dead };
    struct broker *b = NULL;
    int64_t since;
    int rc;

    if (broker_start(&b, &o) != OK)
        return 1;
    rc = detach_rotate(b->sched);
    if (rc != OK)
        log_warn("the log file will not be rotated: %s", err_text(rc));
    while (sem_wait(&stop_asked) != 0)
        continue;
    atomic_store(&state, STOPPING);
    since = mono_ms();
    rc = broker_stop(&b);
    if (rc == OK)
        log_info("stopped cleanly in %lld ms", (long long)(mono_ms() - since));
    else
        log_error("stopped, but not cleanly (%s); the next start recovers", err_text(rc));
    return rc == OK && !atomic_load(&dead) ? 0 : 1;
}

int main(int argc, char **argv)
{
    int64_t began_ns = mono_ns();
    const char **overrides = calloc((size_t)argc + 1, sizeof *overrides);
    struct options o;
    struct config *cfg;
    int status;

    mallopt(M_ARENA_MAX, MALLOC_ARENAS);
    if (overrides == NULL)
        return 1;
    status = parse_options(&o, argc, argv, overrides);
    if (status < 0 && o.check)
        status = config_check_print(stdout, &o.in);
    if (status >= 0) {
        free(overrides);
        return status;
    }
    cfg = load_config(&o.in);
    free(overrides);
    if (cfg == NULL)
        return 1;
    status = 1;
    if ((!o.daemon || detach() == OK) && catch_signals(o.daemon) == OK)
        status = serve(cfg, &o, began_ns);
    config_unref(&cfg);
    return status;
}
