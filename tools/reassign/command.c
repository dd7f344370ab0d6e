/* tools/reassign/command.c - kafka-reassign-partitions.sh: options, what goes with what, and which action. */
#include "tools/reassign/reassign.h"

#include "tools/zk.h"

static const struct option_def reassign_options[R_N] = {
    OPTIONS_COMMON,
    [R_ADDITIONAL] = { "additional", OPT_FLAG, NULL,
        "With --execute: move these partitions beside what is moving already. Also changes the throttle of a "
        "reassignment that is under way.", NULL },
    [R_BOOTSTRAP] = { "bootstrap-server", OPT_VALUE, "Server(s) to use for bootstrapping",
        "REQUIRED: some brokers of the cluster, HOST1:PORT1,HOST2:PORT2.", NULL },
    [R_BROKERS] = { "broker-list", OPT_VALUE, "brokerlist",
        "With --generate: ids of the brokers that the partitions shall be on, 0,1,2.", NULL },
    [R_CANCEL] = { "cancel", OPT_FLAG, NULL,
        "Take partitions that are moving back to where they were.", NULL },
    [R_COMMAND_CONFIG] = { "command-config", OPT_VALUE, "Admin client property file",
        "Properties of the client.", NULL },
    [R_DISABLE_RACK] = { "disable-rack-aware", OPT_FLAG, NULL,
        "With --generate: spread replicas as if brokers had no racks.", NULL },
    [R_EXECUTE] = { "execute", OPT_FLAG, NULL,
        "Begin to move the partitions as --reassignment-json-file says.", NULL },
    [R_GENERATE] = { "generate", OPT_FLAG, NULL,
        "Print how the topics of --topics-to-move-json-file could be spread over the brokers of --broker-list. "
        "Nothing is moved.", NULL },
    [R_LIST] = { "list", OPT_FLAG, NULL,
        "Print the partitions that are moving.", NULL },
    [R_PRESERVE] = { "preserve-throttles", OPT_FLAG, NULL,
        "With --verify or --cancel: leave throttles as they are.", NULL },
    [R_FILE] = { "reassignment-json-file", OPT_VALUE, "manual assignment json file path",
        "Which partition shall be on which brokers: {\"version\":1,\"partitions\":[{\"topic\":\"foo\",\"partition\":1,"
        "\"replicas\":[1,2,3],\"log_dirs\":[\"dir1\",\"dir2\",\"dir3\"]}]}. log_dirs may be left out; \"any\" in it "
        "leaves the directory to the broker.", NULL },
    [R_DIR_THROTTLE] = { "replica-alter-log-dirs-throttle", OPT_VALUE, "replicaAlterLogDirsThrottle",
        "With --execute: replicas move between the directories of a broker at this rate, bytes/s.", "-1" },
    [R_THROTTLE] = { "throttle", OPT_VALUE, "throttle",
        "With --execute: replicas move between brokers at this rate, bytes/s. --verify takes it away when all has "
        "arrived.", "-1" },
    [R_TIMEOUT] = { "timeout", OPT_VALUE, "timeout",
        "How many ms to wait until moves between directories have begun.", "10000" },
    [R_TOPICS_FILE] = { "topics-to-move-json-file", OPT_VALUE, "topics to reassign json file path",
        "With --generate: {\"version\":1,\"topics\":[{\"topic\":\"foo\"},{\"topic\":\"bar\"}]}.", NULL },
    [R_VERIFY] = { "verify", OPT_FLAG, NULL,
        "Say how far the move of --reassignment-json-file is, and take away its throttle when it has ended.", NULL },
    [R_ZOOKEEPER] = { "zookeeper", OPT_VALUE, "urls",
        "In place of --bootstrap-server: ZooKeeper's HOST:PORT, several with commas, then the chroot. Does and says "
        "what Kafka 2.7 did.", NULL },
};

/* Actions with what they must have and what they may have; 0 ends a list. */
static const struct action {
    enum reassign_option opt;
    int                (*run)(struct rp *);
    size_t               must[3], may[9], may_zk[9];
} actions[] = {
    { R_GENERATE, rp_generate, { R_TOPICS_FILE, R_BROKERS },
      { R_BOOTSTRAP, R_COMMAND_CONFIG, R_DISABLE_RACK }, { R_ZOOKEEPER, R_DISABLE_RACK } },
    { R_EXECUTE, rp_execute, { R_FILE },
      { R_ADDITIONAL, R_BOOTSTRAP, R_COMMAND_CONFIG, R_THROTTLE, R_DIR_THROTTLE, R_TIMEOUT },
      { R_ZOOKEEPER, R_THROTTLE } },
    { R_VERIFY, rp_verify, { R_FILE }, { R_BOOTSTRAP, R_COMMAND_CONFIG, R_PRESERVE }, { R_ZOOKEEPER, R_PRESERVE } },
    { R_CANCEL, rp_cancel, { R_FILE }, { R_BOOTSTRAP, R_COMMAND_CONFIG, R_PRESERVE, R_TIMEOUT }, { 0 } },
    { R_LIST, rp_list, { 0 }, { R_BOOTSTRAP, R_COMMAND_CONFIG }, { 0 } },
};
#define ACTIONS_N (sizeof actions / sizeof actions[0])

static bool among(size_t opt, const size_t *v, size_t n)
{
    for (size_t i = 0; i < n && v[i] != 0; i++)
        if (v[i] == opt)
            return true;
    return false;
}

static int refuse(const struct invocation *inv, struct options *o, const char *what, size_t opt, size_t action)
{
    snprintf(o->error, sizeof o->error, what, reassign_options[opt].name, reassign_options[action].name);
    return command_usage(inv, o->error);
}

static int check(const struct invocation *inv, struct options *o, const struct action *act)
{
    bool zk = !options_has(o, R_BOOTSTRAP) && options_has(o, R_ZOOKEEPER);

    if (!zk && !options_has(o, R_BOOTSTRAP))
        return command_usage(inv, "Please specify --bootstrap-server");
    for (size_t i = 0; i < 3 && act->must[i] != 0; i++)
        if (options_require(o, act->must[i]) != OK)
            return command_usage(inv, o->error);
    for (size_t opt = OPT_FIRST; opt < R_N; opt++) {
        bool ok = opt == act->opt || among(opt, act->must, 3) || among(opt, zk ? act->may_zk : act->may, 9) ||
                  (!zk && opt == R_ZOOKEEPER);

        if (options_has(o, opt) && !ok && zk && among(opt, act->may, 9))
            return command_fail("You must specify --bootstrap-server when using \"[%s]\"", reassign_options[opt].name);
        if (options_has(o, opt) && !ok)
            return refuse(inv, o, "Option \"[%s]\" can't be used with action \"[%s]\"", opt, act->opt);
    }
    return 0;
}

static int reassign_run(const struct invocation *inv, struct options *o)
{
    const struct action *act = NULL;
    struct rp r = { .o = o };
    size_t n = 0;
    bool zk;
    int rc;

    for (size_t i = 0; i < ACTIONS_N; i++)
        if (options_has(o, actions[i].opt)) {
            act = &actions[i];
            n++;
        }
    if (n != 1)
        return command_usage(inv, "Command must include exactly one action: --generate, --execute, --verify, "
                             "--cancel, --list");
    if (check(inv, o, act) != 0)
        return 1;
    zk = !options_has(o, R_BOOTSTRAP);
    r.to = zk ? &rp_by_zookeeper : &rp_by_broker;
    if (zk)
        puts("Warning: --zookeeper is deprecated, and will be removed in a future version of Kafka.");
    else if (options_has(o, R_ZOOKEEPER))
        puts("Warning: ignoring deprecated --zookeeper option because --bootstrap-server was specified.  The "
             "--zookeeper option will be removed in a future version of Kafka.");
    rc = zk ? zk_open(&r.a, options_str(o, R_ZOOKEEPER))
            : admin_open(&r.a, options_str(o, R_BOOTSTRAP), options_str(o, R_COMMAND_CONFIG),
                         "reassign-partitions-tool");
    if (rc == OK)
        rc = act->run(&r);
    if (rc != OK)
        printf("%s%s\n", r.terse ? "" : "Error: ", r.a.error);
    admin_close(&r.a);
    return rc == OK ? 0 : 1;
}

const struct command command_reassign_partitions = {
    .name = "reassign-partitions",
    .summary = "Move partitions between brokers, and between the log directories of a broker.",
    .defs = reassign_options,
    .defs_n = R_N,
    .run = reassign_run,
};
