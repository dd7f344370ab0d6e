/* tools/cluster.c - kafka-cluster.sh: the cluster's id; and unregistering a broker, which is KRaft's alone. */
#include "tools/admin.h"
#include "tools/argparse.h"
#include "tools/command.h"

#include "proto/gen/metadata_response.h"

#include <string.h>

enum cluster_option { K_BOOTSTRAP = OPT_FIRST, K_CONTROLLER, K_CONFIG, K_ID, K_N };

static const struct option_def cluster_options[K_N] = {
    OPTIONS_COMMON,
    [K_BOOTSTRAP] = { "bootstrap-server", OPT_VALUE, "BOOTSTRAP_SERVER",
        "Some brokers of the cluster, HOST1:PORT1,HOST2:PORT2.", NULL },
    [K_CONTROLLER] = { "bootstrap-controller", OPT_VALUE, "BOOTSTRAP_CONTROLLER",
        "Controllers of a KRaft cluster; there are none here.", NULL },
    [K_CONFIG] = { "config", OPT_VALUE, "CONFIG", "Properties of the client.", NULL },
    [K_ID] = { "id", OPT_VALUE, "ID", "With unregister: the broker.", NULL },
};

static int print_id(struct admin *a)
{
    struct metadata_response r;

    TRY(admin_metadata(a, NULL, &r));
    if (r.cluster_id.p != NULL)
        printf("Cluster ID: %.*s\n", STR_ARG(r.cluster_id));
    else
        puts("No cluster ID found. The Kafka version is probably too old.");
    return OK;
}

/* No broker of a ZooKeeper cluster has that API, Apache Kafka's neither. */
static int unregister(struct admin *a)
{
    const struct client_broker *v;
    size_t n;

    if (client_brokers(a->client, &v, &n) != OK)
        return admin_fail(a, ERR_TIMEOUT, "%s", client_error(a->client));
    puts("The target cluster does not support the broker unregistration API.");
    return OK;
}

static int cluster_run(const struct invocation *inv, struct options *o)
{
    static const size_t one_of[] = { K_BOOTSTRAP, K_CONTROLLER }, id[] = { K_ID };
    static const struct argparse_number numbers[] = { { K_ID, ARG_INTEGER } };
    const char *what = inv->argc > 1 ? inv->argv[1] : "";
    bool asks_id = strcmp(what, "cluster-id") == 0;
    struct admin a;
    int rc;

    if (!asks_id && strcmp(what, "unregister") != 0)
        return command_usage(inv, what[0] == '\0' || what[0] == '-' ? "too few arguments"
                                                                    : "invalid choice (choose from 'cluster-id', "
                                                                      "'unregister')");
    if ((rc = argparse_numbers(inv, o, numbers, 1)) != 0 || (rc = argparse_one_of(inv, o, one_of, 2)) != 0 ||
        (!asks_id && (rc = argparse_required(inv, o, id, 1)) != 0))
        return rc;
    if (options_has(o, K_CONTROLLER))
        return command_fail("--bootstrap-controller is for KRaft controllers. Use --bootstrap-server HOST:PORT of any "
                            "broker.");
    rc = admin_open(&a, options_str(o, K_BOOTSTRAP), options_str(o, K_CONFIG), NULL);
    if (rc == OK)
        rc = asks_id ? print_id(&a) : unregister(&a);
    if (rc != OK)
        fprintf(stderr, "%s\n", a.error);
    admin_close(&a);
    return rc == OK ? 0 : 1;
}

const struct command command_cluster = {
    .name = "cluster",
    .summary = "Print the id of the cluster.",
    .note = "\ncluster-id or unregister comes before the options.",
    .prog = "kafka-cluster",
    .defs = cluster_options,
    .defs_n = K_N,
    .run = cluster_run,
    .refuse = command_usage,
};
