/* tools/leader_election.c - kafka-leader-election.sh: have leaders elected, the preferred ones, or, where none is in
 * sync, whoever is alive.
 */
#include "tools/command.h"
#include "tools/elections.h"

#include "proto/kerr.h"

#include <stdio.h>
#include <strings.h>

#define TIMEOUT_MS 30000

enum leader_option { L_ADMIN_CONFIG = OPT_FIRST, L_ALL, L_BOOTSTRAP, L_TYPE, L_PARTITION, L_FILE, L_TOPIC, L_N };

static const struct option_def leader_options[L_N] = {
    OPTIONS_COMMON,
    [L_ADMIN_CONFIG] = { "admin.config", OPT_VALUE, "config file",
        "Properties of the client.", NULL },
    [L_ALL] = { "all-topic-partitions", OPT_FLAG, NULL,
        "Look at all partitions of all topics.", NULL },
    [L_BOOTSTRAP] = { "bootstrap-server", OPT_VALUE, "host:port",
        "REQUIRED: some brokers of the cluster, HOST1:PORT1,HOST2:PORT2.", NULL },
    [L_TYPE] = { "election-type", OPT_VALUE, "election type",
        "REQUIRED: preferred: the first replica of the assignment shall lead, where it does not. unclean: a partition "
        "without a leader shall have one, though it may lack records.", NULL },
    [L_PARTITION] = { "partition", OPT_VALUE, "partition id",
        "REQUIRED with --topic: the partition.", NULL },
    [L_FILE] = { "path-to-json-file", OPT_VALUE, "Path to JSON file",
        "The partitions: {\"partitions\":[{\"topic\":\"foo\",\"partition\":1}]}.", NULL },
    [L_TOPIC] = { "topic", OPT_VALUE, "topic name",
        "The topic of the one partition.", NULL },
};

/* 0, or the exit status. */
static int check(struct options *o)
{
    int ways = options_has(o, L_TOPIC) + options_has(o, L_ALL) + options_has(o, L_FILE);
    bool server = options_has(o, L_BOOTSTRAP), type = options_has(o, L_TYPE);

    if (!server || !type)
        return command_fail("Missing required option(s): %s%s%s", server ? "" : "bootstrap-server",
                            !server && !type ? ", " : "", type ? "" : "election-type");
    if (ways != 1)
        return command_fail("One and only one of the following options is required: topic, all-topic-partitions, "
                            "path-to-json-file");
    if (options_has(o, L_TOPIC) && !options_has(o, L_PARTITION))
        return command_fail("Missing required option(s): partition");
    if (!options_has(o, L_TOPIC) && options_has(o, L_PARTITION))
        return command_fail("Option partition is only allowed if topic is used");
    return 0;
}

static int chosen(struct admin *a, struct options *o, struct elections *want)
{
    if (options_has(o, L_FILE))
        return elections_read(a, options_str(o, L_FILE), "Replica election data", want);
    *want = (struct elections){ arena_array(&a->arena, 1, sizeof *want->v), 1 };
    if (want->v == NULL)
        return admin_fail(a, ERR_NOMEM, "out of memory");
    want->v->topic = str_of(options_str(o, L_TOPIC));
    if (options_i32(o, L_PARTITION, &want->v->partition) != OK)
        return admin_fail(a, ERR_INVALID, "%s", o->error);
    return OK;
}

static int report(const struct elections *e, const char *type)
{
    size_t good = elections_count(e, KERR_NONE), needless = elections_count(e, KERR_ELECTION_NOT_NEEDED);

    if (good > 0) {
        printf("Successfully completed leader election (%s) for partitions ", type);
        elections_print(e, KERR_NONE);
    }
    if (needless > 0) {
        fputs("Valid replica already elected for partitions ", stdout);
        elections_print(e, KERR_ELECTION_NOT_NEEDED);
    }
    if (good + needless == e->n)
        return 0;
    for (size_t i = 0; i < e->n; i++) {
        if (e->v[i].kerr == KERR_NONE || e->v[i].kerr == KERR_ELECTION_NOT_NEEDED)
            continue;
        printf("Error completing leader election (%s) for partition: ", type);
        elections_print_failure(&e->v[i]);
    }
    return command_fail("%zu replica(s) could not be elected", e->n - good - needless);
}

static int leader_run(const struct invocation *inv, struct options *o)
{
    struct admin a;
    struct elections want = { NULL, 0 }, got;
    const char *type;
    bool unclean;
    int rc, status = check(o);

    if (status != 0)
        return status;
    type = options_str(o, L_TYPE);
    unclean = strcasecmp(type, "unclean") == 0;
    if (!unclean && strcasecmp(type, "preferred") != 0) {
        snprintf(o->error, sizeof o->error, "Cannot parse argument '%s' of option election-type", type);
        return command_usage(inv, o->error);
    }
    rc = admin_open(&a, options_str(o, L_BOOTSTRAP), options_str(o, L_ADMIN_CONFIG), NULL);
    if (rc == OK) {
        client_limit(a.client, TIMEOUT_MS);
        if (!options_has(o, L_ALL))
            rc = chosen(&a, o, &want);
    }
    if (rc == OK) {
        rc = elections_run(&a, unclean ? ELECTION_UNCLEAN : ELECTION_PREFERRED, options_has(o, L_ALL) ? NULL : &want,
                           &got);
        if (rc == ERR_TIMEOUT) {
            puts("Timeout waiting for election results");
            rc = admin_fail(&a, rc, "Timeout waiting for election results");
        }
    }
    status = rc == OK ? report(&got, unclean ? "UNCLEAN" : "PREFERRED") : command_fail("%s", a.error);
    admin_close(&a);
    return status;
}

const struct command command_leader_election = {
    .name = "leader-election",
    .summary = "Have leaders of partitions elected.",
    .defs = leader_options,
    .defs_n = L_N,
    .run = leader_run,
};
