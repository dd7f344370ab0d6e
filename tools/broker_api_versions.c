/* tools/broker_api_versions.c - kafka-broker-api-versions.sh: the requests that each broker answers. */
#include "tools/admin.h"
#include "tools/command.h"

#include <stdlib.h>

enum api_versions_option { V_BOOTSTRAP = OPT_FIRST, V_COMMAND_CONFIG, V_N };

static const struct option_def api_versions_options[V_N] = {
    OPTIONS_COMMON,
    [V_BOOTSTRAP] = { "bootstrap-server", OPT_VALUE, "server(s) to use for bootstrapping",
        "REQUIRED: some brokers of the cluster, HOST1:PORT1,HOST2:PORT2.", NULL },
    [V_COMMAND_CONFIG] = { "command-config", OPT_VALUE, "command config property file",
        "Properties of the client.", NULL },
};

/* What Kafka's client lists besides the APIs that we know: those of KRaft, of telemetry and of share groups. */
static const struct { int16_t key; const char *name; } others[] = {
    { 55, "DescribeQuorum" }, { 64, "UnregisterBroker" }, { 71, "GetTelemetrySubscriptions" }, { 72,
        "PushTelemetry" },
    { 74, "ListClientMetricsResources" }, { 75, "DescribeTopicPartitions" }, { 76, "ShareGroupHeartbeat" },
    { 77, "ShareGroupDescribe" }, { 78, "ShareFetch" }, { 79, "ShareAcknowledge" }, { 80, "AddRaftVoter" },
    { 81, "RemoveRaftVoter" }, { 83, "InitializeShareGroupState" }, { 84, "ReadShareGroupState" },
    { 85, "WriteShareGroupState" }, { 86, "DeleteShareGroupState" }, { 87, "ReadShareGroupStateSummary" },
};
#define LAST_KEY 87

static const char *name_of(int16_t key)
{
    if (api_info(key) != NULL)
        return api_name(key);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (others[i].key == key)
            return others[i].name;
    }
    return NULL;
}

/* "Fetch(1): 0 to 17 [usable: 17]" */
static void print_api(const struct client_version *v)
{
    const struct api_info *ours = api_info(v->key);
    const char            *name = name_of(v->key);

    printf("\t%s(%d): %d", name != NULL ? name : "UNKNOWN", v->key, v->min);
    if (v->min != v->max)
        printf(" to %d", v->max);
    if (ours == NULL)
        return;
    if (ours->max_version < v->min)
        fputs(" [unusable: node too new]", stdout);
    else if (v->max < ours->min_version)
        fputs(" [unusable: node too old]", stdout);
    else
        printf(" [usable: %d]", ours->max_version < v->max ? ours->max_version : v->max);
}

static int version_compare(const void *pa, const void *pb)
{
    const struct client_version *a = pa, *b = pb;

    return a->key - b->key;
}

/* Those the broker has, and between them those of ours that it has not, by key. */
static int print_versions(struct admin *a, const struct client_version *given, size_t n)
{
    struct client_version *v = arena_array(&a->arena, n + 1, sizeof *v);
    const char            *end = "";
    size_t                 at = 0;

    if (v == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    memcpy(v, given, n * sizeof *v);
    qsort(v, n, sizeof *v, version_compare);
    puts("(");
    for (int16_t key = 0; key <= LAST_KEY || at < n; key++) {
        if (key > LAST_KEY)
            key = v[at].key;
        if (at < n && v[at].key == key) {
            fputs(end, stdout);
            print_api(&v[at]);
            while (at < n && v[at].key == key)
                at++;
        } else if (name_of(key) != NULL) {
            printf("%s\t%s(%d): UNSUPPORTED", end, name_of(key), key);
        } else {
            continue;
        }
        end = ",\n";
    }
    puts("\n)");
    return OK;
}

static int print_brokers(struct admin *a)
{
    const struct client_broker *b;
    size_t                      n;
    int                         rc;

    client_doing(a->client, "describeCluster");
    for (size_t i = 0; (rc = client_brokers(a->client, &b, &n)) == OK && i < n; i++) {
        const struct client_version *v;
        size_t                       vn;

        printf("%s:%d (id: %d rack: %s) -> ", b[i].host, b[i].port, b[i].id, b[i].rack != NULL ? b[i].rack : "null");
        if (client_broker_versions(a->client, b[i].id, &v, &vn) == OK)
            TRY(print_versions(a, v, vn));
        else
            printf("ERROR: %s\n", client_error(a->client));
    }
    if (rc != OK)
        return admin_fail(a, rc, "%s", client_error(a->client));
    return OK;
}

static int api_versions_run(const struct invocation *inv, struct options *o)
{
    struct admin a;
    int          rc;

    if (options_require(o, V_BOOTSTRAP) != OK)
        return command_usage(inv, o->error);
    rc = admin_open(&a, options_str(o, V_BOOTSTRAP), options_str(o, V_COMMAND_CONFIG), "admin-1");
    if (rc == OK)
        rc = print_brokers(&a);
    if (rc != OK)
        command_fail("%s", a.error);
    admin_close(&a);
    return rc == OK ? 0 : 1;
}

const struct command command_broker_api_versions = {
    .name = "broker-api-versions",
    .summary = "Print the requests that each broker answers, with their versions.",
    .defs = api_versions_options,
    .defs_n = V_N,
    .run = api_versions_run,
};
