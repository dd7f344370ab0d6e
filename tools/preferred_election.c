/* tools/preferred_election.c - kafka-preferred-replica-election.sh of Kafka 2.7: leaders back to their preferred
 * brokers, by a request, or by the list in ZooKeeper that the controller works off.
 */
#include "tools/command.h"
#include "tools/elections.h"
#include "tools/zk.h"

#include "proto/kerr.h"

#include <stdio.h>
#include <stdlib.h>

#define TIMEOUT_MS 60000

enum preferred_option { P_ADMIN_CONFIG = OPT_FIRST, P_BOOTSTRAP, P_FILE, P_ZOOKEEPER, P_N };

static const struct option_def preferred_options[P_N] = {
    OPTIONS_COMMON,
    [P_ADMIN_CONFIG] = { "admin.config", OPT_VALUE, "config file",
        "Properties of the client.", NULL },
    [P_BOOTSTRAP] = { "bootstrap-server", OPT_VALUE, "host:port",
        "Some brokers of the cluster, HOST1:PORT1,HOST2:PORT2. This or --zookeeper is REQUIRED.", NULL },
    [P_FILE] = { "path-to-json-file", OPT_VALUE, "list of partitions for which preferred replica leader election needs "
        "to be triggered",
        "The partitions: {\"partitions\":[{\"topic\":\"foo\",\"partition\":1}]}. Default: all.", NULL },
    [P_ZOOKEEPER] = { "zookeeper", OPT_VALUE, "urls",
        "ZooKeeper's HOST:PORT, several with commas, then the chroot.", NULL },
};

/* ---- by request ---- */

static int run_request(struct admin *a, const struct elections *want)
{
    struct elections got;
    size_t good, needless;
    int rc = elections_run(a, ELECTION_PREFERRED, want, &got);

    if (rc == ERR_TIMEOUT)
        puts("Timeout waiting for election results");
    TRY(rc);
    good = elections_count(&got, KERR_NONE);
    needless = elections_count(&got, KERR_ELECTION_NOT_NEEDED);
    if (good > 0) {
        fputs("Successfully completed preferred leader election for partitions ", stdout);
        elections_print(&got, KERR_NONE);
    }
    if (needless > 0) {                             /* 2.7 names the others here */
        fputs("Preferred replica already elected for partitions ", stdout);
        elections_print(&got, KERR_ELECTION_NOT_NEEDED);
    }
    if (good + needless == got.n)
        return OK;
    for (size_t i = 0; i < got.n; i++) {
        if (got.v[i].kerr == KERR_NONE || got.v[i].kerr == KERR_ELECTION_NOT_NEEDED)
            continue;
        fputs("Error completing preferred leader election for partition: ", stdout);
        elections_print_failure(&got.v[i]);
    }
    return admin_fail(a, ERR_INVALID, "%zu preferred replica(s) could not be elected", got.n - good - needless);
}

/* ---- by the list in ZooKeeper ---- */

/* The partitions of the topics in the tree, as their nodes have them. */
static int all_partitions(struct admin *a, struct elections *out)
{
    struct topic_names topics;
    struct znode_topic z;
    size_t room = 0;
    int32_t version;

    *out = (struct elections){ NULL, 0 };
    TRY(zk_children(a, ZK_BROKER_TOPICS, &topics));
    for (size_t i = 0; i < topics.n; i++) {
        struct election *v;
        int rc = zk_topic(a, topics.v[i], &z, &version);

        if (rc == ERR_NOENT)
            continue;
        TRY(rc);
        if (out->n + (size_t)z.partitions_n > room) {
            room = (out->n + (size_t)z.partitions_n) * 2;
            v = arena_array(&a->arena, room + 1, sizeof *v);
            if (v == NULL)
                return admin_fail(a, ERR_NOMEM, "out of memory");
            if (out->n > 0)
                memcpy(v, out->v, out->n * sizeof *v);
            out->v = v;
        }
        for (int32_t k = 0; k < z.partitions_n; k++)
            out->v[out->n++] = (struct election){ .topic = topics.v[i], .partition = z.partitions[k].index };
    }
    return OK;
}

static bool among(const struct elections *all, const struct election *e)
{
    for (size_t i = 0; i < all->n; i++)
        if (all->v[i].partition == e->partition && str_eq(all->v[i].topic, e->topic))
            return true;
    return false;
}

static void print_list(const struct elections *e, const char *between)
{
    for (size_t i = 0; i < e->n; i++)
        printf("%s%.*s-%d", i > 0 ? between : "", STR_ARG(e->v[i].topic), e->v[i].partition);
}

static int write_list(struct admin *a, const struct elections *e)
{
    struct znode_list l = { arena_array(&a->arena, e->n + 1, sizeof *l.v), e->n };
    char *text;
    int rc;

    if (l.v == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < e->n; i++)
        l.v[i] = (struct znode_named){ .topic = e->v[i].topic, .partition = e->v[i].partition };
    text = znode_election_write(&l);
    if (text == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    rc = zk_create(a, ZK_PREFERRED_ELECTION, text);
    free(text);
    if (rc == ERR_EXISTS)
        return admin_fail(a, rc, "Admin command failed: Preferred replica leader election currently in progress. "
                          "Aborting operation");
    TRY(rc);
    fputs("Created preferred replica election path with ", stdout);
    print_list(e, ",");
    printf("\nSuccessfully started preferred replica election for partitions %s(", e->n > 4 ? "HashSet" : "Set");
    print_list(e, ", ");
    puts(")");
    return OK;
}

static int run_zookeeper(struct admin *a, const struct elections *want)
{
    struct elections all, known = { NULL, 0 };

    TRY(all_partitions(a, &all));
    if (want == NULL)
        return write_list(a, &all);
    known.v = arena_array(&a->arena, want->n + 1, sizeof *known.v);
    if (known.v == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < want->n; i++)
        if (among(&all, &want->v[i]))
            known.v[known.n++] = want->v[i];
    TRY(write_list(a, &known));
    for (size_t i = 0; i < want->n; i++)
        if (!among(&all, &want->v[i]))
            printf("Skipping preferred replica leader election for partition %.*s-%d since it doesn't exist.\n",
                   STR_ARG(want->v[i].topic), want->v[i].partition);
    return OK;
}

static int preferred_run(const struct invocation *inv, struct options *o)
{
    struct admin a;
    struct elections want;
    bool zk = options_has(o, P_ZOOKEEPER), all = !options_has(o, P_FILE);
    int rc;

    puts("This tool is deprecated. Please use kafka-leader-election tool. Tracking issue: KAFKA-8405");
    if (zk == options_has(o, P_BOOTSTRAP))
        return command_usage(inv, "Exactly one of '[bootstrap-server]' or '[zookeeper]' must be provided");
    if (zk)
        puts("Warning: --zookeeper is deprecated and will be removed in a future version of Kafka.\n"
             "Use --bootstrap-server instead to specify a broker to connect to.");
    rc = zk ? zk_open(&a, options_str(o, P_ZOOKEEPER))
            : admin_open(&a, options_str(o, P_BOOTSTRAP), options_str(o, P_ADMIN_CONFIG), NULL);
    if (rc == OK && !zk)
        client_limit(a.client, TIMEOUT_MS);
    if (rc == OK && !all)
        rc = elections_read(&a, options_str(o, P_FILE), "Preferred replica election data", &want);
    if (rc == OK)
        rc = zk ? run_zookeeper(&a, all ? NULL : &want) : run_request(&a, all ? NULL : &want);
    if (rc != OK)
        command_fail("%s", a.error);
    admin_close(&a);
    return rc == OK ? 0 : 1;
}

const struct command command_preferred_replica_election = {
    .name = "preferred-replica-election",
    .summary = "Move leaders back to their preferred brokers (of Kafka 2.7; see leader-election).",
    .defs = preferred_options,
    .defs_n = P_N,
    .run = preferred_run,
};
