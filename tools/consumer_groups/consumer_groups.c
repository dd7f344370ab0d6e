/* tools/consumer_groups/consumer_groups.c - kafka-consumer-groups.sh: options, what goes with what, which action. */
#include "tools/consumer_groups/consumer_groups.h"

#include "proto/kerr.h"
#include "tools/consumer_groups/jvm.h"

#include <errno.h>
#include <stdarg.h>
#include <unistd.h>

static const struct option_def groups_options[CG_N] = {
    OPTIONS_COMMON,
    [CG_ALL_GROUPS] = { "all-groups", OPT_FLAG, NULL,
        "All groups, in place of --group.", NULL },
    [CG_ALL_TOPICS] = { "all-topics", OPT_FLAG, NULL,
        "With --reset-offsets: every partition that the group has an offset for.", NULL },
    [CG_BOOTSTRAP] = { "bootstrap-server", OPT_VALUE, "server to connect to",
        "REQUIRED: the broker to ask, HOST:PORT; several with commas.", NULL },
    [CG_BY_DURATION] = { "by-duration", OPT_VALUE, "duration",
        "With --reset-offsets: to the first record that is not older than this, as P1DT2H30M or PT90S.", NULL },
    [CG_COMMAND_CONFIG] = { "command-config", OPT_VALUE, "command config property file",
        "Properties of the client.", NULL },
    [CG_DELETE] = { "delete", OPT_FLAG, NULL,
        "Delete groups that have no members, with their offsets.", NULL },
    [CG_DELETE_OFFSETS] = { "delete-offsets", OPT_FLAG, NULL,
        "Delete the offsets that one group has for the topics of --topic.", NULL },
    [CG_DESCRIBE] = { "describe", OPT_FLAG, NULL,
        "Show the offsets of groups and how far they are behind, or with --members, --state or --history what "
        "these say.", NULL },
    [CG_DRY_RUN] = { "dry-run", OPT_FLAG, NULL,
        "With --reset-offsets: show what would be done, and change nothing. This is the default.", NULL },
    [CG_EXECUTE] = { "execute", OPT_FLAG, NULL,
        "With --reset-offsets: do it.", NULL },
    [CG_EXPORT] = { "export", OPT_FLAG, NULL,
        "With --reset-offsets: show the offsets as lines for --from-file.", NULL },
    [CG_FROM_FILE] = { "from-file", OPT_VALUE, "path to CSV file",
        "With --reset-offsets: to the offsets in a file, with lines topic,partition,offset for one --group, else "
        "group,topic,partition,offset.", NULL },
    [CG_GROUP] = { "group", OPT_MANY, "consumer group",
        "The group; may be given several times.", NULL },
    [CG_HISTORY] = { "history", OPT_FLAG, NULL,
        "With --describe: who joined and left the group or was expelled, when and why, and how long each rebalance "
        "took. Apache Kafka keeps no such history.", NULL },
    [CG_LIST] = { "list", OPT_FLAG, NULL,
        "Print the ids of all groups, with --state and --type also these.", NULL },
    [CG_MEMBERS] = { "members", OPT_FLAG, NULL,
        "With --describe: the members of the group, and with --verbose their partitions.", NULL },
    [CG_OFFSETS] = { "offsets", OPT_FLAG, NULL,
        "With --describe: the offsets, which is what it shows anyway.", NULL },
    [CG_RESET] = { "reset-offsets", OPT_FLAG, NULL,
        "Change the offsets of groups without members. What: --all-topics, --topic or --from-file. To where: one of "
        "--to-earliest, --to-latest, --to-current, --to-offset, --shift-by, --to-datetime, --by-duration, "
        "--from-file. Nothing is done without --execute.", NULL },
    [CG_SHIFT_BY] = { "shift-by", OPT_VALUE, "number-of-offsets",
        "With --reset-offsets: so many on from the present offset, or back if below 0.", NULL },
    [CG_STATE] = { "state", OPT_MAYBE, "state",
        "With --describe: the state, coordinator and assignor of the group.\nWith --list: the states of groups; "
        "if states are given (stable,empty), only groups in one of these.", NULL },
    [CG_TIMEOUT] = { "timeout", OPT_VALUE, "timeout (ms)",
        "How long each request may take, with all repetitions.", "5000" },
    [CG_TO_CURRENT] = { "to-current", OPT_FLAG, NULL,
        "With --reset-offsets: to the present offset, or to the end where there is none.", NULL },
    [CG_TO_DATETIME] = { "to-datetime", OPT_VALUE, "datetime",
        "With --reset-offsets: to the first record from then on; YYYY-MM-DDTHH:mm:SS.sss, as UTC if no zone follows "
        "(Z, +02, +02:00).", NULL },
    [CG_TO_EARLIEST] = { "to-earliest", OPT_FLAG, NULL,
        "With --reset-offsets: to the first record there is.", NULL },
    [CG_TO_LATEST] = { "to-latest", OPT_FLAG, NULL,
        "With --reset-offsets: to the end.", NULL },
    [CG_TO_OFFSET] = { "to-offset", OPT_VALUE, "offset",
        "With --reset-offsets: to this offset.", NULL },
    [CG_TOPIC] = { "topic", OPT_MANY, "topic",
        "With --reset-offsets and --delete-offsets: a topic, or some partitions of it as topic1:0,1,2. May be given "
        "several times.", NULL },
    [CG_TYPE] = { "type", OPT_MAYBE, "type",
        "With --list: the types of groups; if types are given (classic,consumer), only groups of these.", NULL },
    [CG_VERBOSE] = { "verbose", OPT_FLAG, NULL,
        "With --describe --members: the partitions of each member.", NULL },
};

/* ---- failures ---- */

int cg_array(struct cg *cg, size_t n, size_t size, void *out)
{
    void *p = arena_array(&cg->a.arena, n > 0 ? n : 1, size);

    memcpy(out, &p, sizeof p);
    return p != NULL ? OK : admin_fail(&cg->a, ERR_NOMEM, "out of memory");
}

int cg_order(struct cg *cg, void *v, size_t n, size_t size, size_t room, jvm_hash_of hash)
{
    if (jvm_order(v, n, size, room, hash, &cg->a.arena) != OK)
        return admin_fail(&cg->a, ERR_NOMEM, "out of memory");
    return OK;
}

int cg_usage(struct cg *cg, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(cg->a.error, sizeof cg->a.error, fmt, ap);
    va_end(ap);
    cg->usage = true;
    return ERR_INVALID;
}

static int fail_wrapped(struct cg *cg, int wraps, int rc, const char *exception, const char *message)
{
    char text[sizeof cg->a.error + 200];

    snprintf(text, sizeof text, "%s%s: %s", wraps > 0 ? "java.util.concurrent.ExecutionException: " : "", exception,
             message);
    return admin_fail(&cg->a, rc, "%s", text);
}

int cg_fail_kafka(struct cg *cg, int wraps, int16_t kerr, const char *message)
{
    char name[120];

    return fail_wrapped(cg, wraps, ERR_INVALID, jvm_exception(kerr, name, sizeof name),
                        message != NULL ? message : jvm_message(kerr));
}

int cg_fail_call(struct cg *cg, int wraps, int rc)
{
    char had[sizeof cg->a.error];

    snprintf(had, sizeof had, "%s", cg->a.error);
    return fail_wrapped(cg, wraps, rc, rc == ERR_TIMEOUT ? "org.apache.kafka.common.errors.TimeoutException" :
                        rc == ERR_UNSUPPORTED ? "org.apache.kafka.common.errors.UnsupportedVersionException" :
                        "org.apache.kafka.common.KafkaException", had);
}

void cg_print_error(struct cg *cg, const char *fmt, ...)
{
    va_list ap;

    fputs("\nError: ", stdout);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    cg->told = true;
}

void cg_say(const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

void cg_end_table(const struct cg *cg)
{
    if (!cg->as_kafka)
        putchar('\n');
}

/* ---- partitions ---- */

int tp_compare(const void *pa, const void *pb)
{
    const struct tp *a = pa, *b = pb;
    int              d = str_cmp(a->topic, b->topic);

    return d != 0 ? d : (a->partition > b->partition) - (a->partition < b->partition);
}

uint32_t tp_hash(const void *p)
{
    const struct tp *tp = p;

    return 31 * (31 + (uint32_t)tp->partition) + jvm_hash(tp->topic);
}

uint32_t str_hash(const void *p)
{
    return jvm_hash(*(const struct str *)p);
}

/* ---- which options go together: Apache Kafka's rules, in its order and words ---- */

/* The ways to say where to, in the order in which Apache Kafka's command names them. */
static const size_t scenarios[] = { CG_TO_OFFSET, CG_TO_CURRENT, CG_TO_DATETIME, CG_FROM_FILE, CG_BY_DURATION,
                                    CG_TO_EARLIEST, CG_TO_LATEST, CG_SHIFT_BY };
#define SCENARIOS_N (sizeof scenarios / sizeof scenarios[0])

static int check_scenarios(struct cg *cg)
{
    static const size_t in_turn[] = { CG_TO_OFFSET, CG_TO_DATETIME, CG_BY_DURATION, CG_TO_EARLIEST, CG_TO_LATEST,
                                      CG_TO_CURRENT, CG_SHIFT_BY, CG_FROM_FILE };

    for (size_t i = 0; i < SCENARIOS_N; i++) {
        for (size_t k = 0; k < SCENARIOS_N && options_has(cg->o, in_turn[i]); k++) {
            if (scenarios[k] != in_turn[i] && options_has(cg->o, scenarios[k]))
                return cg_usage(cg, "Option \"[%s]\" can't be used with option \"[%s]\"",
                                groups_options[in_turn[i]].name, groups_options[scenarios[k]].name);
        }
    }
    return OK;
}

static int check_describe(struct cg *cg, bool chosen)
{
    const struct options *o = cg->o;

    if (!chosen)
        return cg_usage(cg, "Option [describe] takes one of these options: [reset-offsets], [describe], [delete], "
                        "[list]");
    if (options_has(o, CG_MEMBERS) + options_has(o, CG_OFFSETS) + options_has(o, CG_STATE) > 1)
        return cg_usage(cg, "Option [describe] takes at most one of these options: [members], [offsets], [state]");
    if (options_has(o, CG_HISTORY) && (options_has(o, CG_MEMBERS) || options_has(o, CG_OFFSETS) ||
                                       options_has(o, CG_STATE)))
        return cg_usage(cg, "Option [describe] takes at most one of these options: [members], [offsets], [state], "
                        "[history]");
    if (options_has(o, CG_STATE) && options_str(o, CG_STATE) != NULL)
        return cg_usage(cg, "Option [describe] does not take a value for [state]");
    return OK;
}

static int check_reset(struct cg *cg, bool chosen)
{
    const struct options *o = cg->o;

    if (options_has(o, CG_DRY_RUN) && options_has(o, CG_EXECUTE))
        return cg_usage(cg, "Option [reset-offsets] only accepts one of [execute] and [dry-run]");
    if (!options_has(o, CG_DRY_RUN) && !options_has(o, CG_EXECUTE))
        cg_say("WARN: No action will be performed as the --execute option is missing.In a future major release, the "
               "default behavior of this command will be to prompt the user before executing the reset rather than "
               "doing a dry run. You should add the --dry-run option explicitly if you are scripting this command "
               "and want to keep the current default behavior without prompting.");
    if (!chosen)
        return cg_usage(cg, "Option [reset-offsets] takes one of these options: [all-groups], [group]");
    return check_scenarios(cg);
}

static int check_options(struct cg *cg)
{
    static const size_t not_with_group[] = { CG_ALL_GROUPS, CG_LIST };
    static const size_t not_with_topic[] = { CG_DESCRIBE, CG_LIST };
    struct options     *o = cg->o;
    bool chosen = options_has(o, CG_GROUP) || options_has(o, CG_ALL_GROUPS);

    if (options_require(o, CG_BOOTSTRAP) != OK)
        return cg_usage(cg, "%s", o->error);
    if (options_has(o, CG_DESCRIBE))
        TRY(check_describe(cg, chosen));
    if (options_has(o, CG_DELETE)) {
        if (!chosen)
            return cg_usage(cg, "Option [delete] takes one of these options: [all-groups], [group]");
        if (options_has(o, CG_TOPIC))
            return cg_usage(cg, "The consumer does not support topic-specific offset deletion from a consumer "
                            "group.");
    }
    if (options_has(o, CG_DELETE_OFFSETS) && (!options_has(o, CG_GROUP) || !options_has(o, CG_TOPIC)))
        return cg_usage(cg, "Option [delete-offsets] takes the following options: [all-groups], [group]");
    if (options_has(o, CG_RESET))
        TRY(check_reset(cg, chosen));
    if (options_exclude(o, CG_GROUP, not_with_group, 2) != OK || options_exclude(o, CG_TOPIC, not_with_topic, 2) != OK)
        return cg_usage(cg, "%s", o->error);
    if (options_has(o, CG_LIST) + options_has(o, CG_DESCRIBE) + options_has(o, CG_DELETE) + options_has(o, CG_RESET) +
        options_has(o, CG_DELETE_OFFSETS) != 1)
        return cg_usage(cg, "Command must include exactly one action: --list, --describe, --delete, --reset-offsets, "
                        "--delete-offsets");
    return OK;
}

/* Options that only mean something beside others; Apache Kafka's command refuses them before it looks at anything
 * else. */
static bool is_available(const struct options *o)
{
    bool describe = options_has(o, CG_DESCRIBE), list = options_has(o, CG_LIST);

    return (describe || (!options_has(o, CG_MEMBERS) && !options_has(o, CG_VERBOSE) && !options_has(o, CG_OFFSETS) &&
                         !options_has(o, CG_HISTORY))) &&
           (describe || list || !options_has(o, CG_STATE)) && (list || !options_has(o, CG_TYPE));
}

static int refuse_unavailable(const struct options *o)
{
    static const size_t bound[] = { CG_HISTORY, CG_MEMBERS, CG_OFFSETS, CG_STATE, CG_TYPE, CG_VERBOSE };
    char                names[100] = "";

    for (size_t i = 0; i < sizeof bound / sizeof bound[0]; i++) {
        size_t n = strlen(names);
        bool   list_too = bound[i] == CG_STATE || bound[i] == CG_TYPE;

        if (options_has(o, bound[i]) && !(options_has(o, CG_DESCRIBE) && bound[i] != CG_TYPE) &&
            !(options_has(o, CG_LIST) && list_too))
            snprintf(names + n, sizeof names - n, "%s%s", n > 0 ? ", " : "", groups_options[bound[i]].name);
    }
    return command_fail("Option(s) [%s] are unavailable given other options on the command line", names);
}

/* ---- run ---- */

static const struct {
    enum groups_option opt;
    int              (*run)(struct cg *);
} actions[] = {
    { CG_LIST, groups_list },
    { CG_DESCRIBE, groups_show },
    { CG_DELETE, groups_delete },
    { CG_RESET, groups_reset },
    { CG_DELETE_OFFSETS, groups_delete_offsets },
};

static int open_client(struct cg *cg)
{
    const char *config = options_str(cg->o, CG_COMMAND_CONFIG);
    int64_t     timeout_ms;

    if (config != NULL && access(config, R_OK) != 0)
        return admin_fail(&cg->a, ERR_NOENT, "java.nio.file.%s: %s",
                          errno == EACCES ? "AccessDeniedException" : "NoSuchFileException", config);
    if (options_i64(cg->o, CG_TIMEOUT, &timeout_ms) != OK)
        return admin_fail(&cg->a, ERR_INVALID, "%s", cg->o->error);
    if (admin_open(&cg->a, options_str(cg->o, CG_BOOTSTRAP), config, NULL) != OK) {
        cg_say("%s", cg->a.error);
        return admin_fail(&cg->a, ERR_INVALID, "Failed to create new KafkaAdminClient");
    }
    timeout_ms = timeout_ms < 0 ? 0 : timeout_ms > INT32_MAX ? INT32_MAX : timeout_ms;
    client_limit(cg->a.client, (int32_t)timeout_ms);
    return OK;
}

static int run_action(struct cg *cg)
{
    TRY(open_client(cg));
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        if (options_has(cg->o, actions[i].opt))
            return actions[i].run(cg);
    }
    return OK;
}

static int groups_run(const struct invocation *inv, struct options *o)
{
    struct cg cg = { .o = o, .as_kafka = inv->as_kafka };
    int       rc, status;

    if (!is_available(o))
        return refuse_unavailable(o);
    rc = check_options(&cg);
    if (rc == OK) {
        rc = run_action(&cg);
        if (rc != OK && !cg.usage)
            cg_print_error(&cg, "Executing consumer group command failed due to %s", cg.a.error);
    }
    status = rc != OK && cg.usage ? command_usage(inv, cg.a.error) : cg.told && !inv->as_kafka ? 1 : 0;
    admin_close(&cg.a);
    return status;
}

const struct command command_consumer_groups = {
    .name = "consumer-groups",
    .summary = "Show groups of consumers, and change or delete their offsets.",
    .note = "\nAs Apache Kafka's command, kafka-consumer-groups.sh ends with 0 also after a failure that it has "
            "printed;\n`klamm consumer-groups` then ends with 1.",
    .defs = groups_options,
    .defs_n = CG_N,
    .run = groups_run,
};
