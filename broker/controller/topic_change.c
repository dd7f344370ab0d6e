/* broker/controller/topic_change.c - growing topics (the node of the topic is rewritten) and deleting them
 * (the wish is noted under /admin/delete_topics; deletion.c fulfils it).
 */
#include "base/log.h"
#include "broker/cluster/metadata_cache.h"
#include "metadata/topic_name.h"
#include "broker/controller/topic_ops.h"
#include "proto/kerr.h"

#include <stdlib.h>

/* ---- growing ------------------------------------------------------------------------------------------ */

static void grow_answered(struct controller *c, struct store_call *call, void *subject)
{
    struct op_topic *ot = subject;
    struct znode_topic z;
    int rc = call->ops[1].rc;

    (void)c;
    if (call->ops[0].rc == OK) {
        op_fail(ot, KERR_INVALID_TOPIC_EXCEPTION, "The topic is queued for deletion.");
        return;
    }
    if (rc == OK)
        rc = znode_topic_read(call->ops[1].value, ot->s->op->arena, &z);
    if (rc == ERR_NOENT || (rc == OK && z.partitions_n == 0)) {
        op_failf(ot, KERR_UNKNOWN_TOPIC_OR_PARTITION, "The topic '%.*s' does not exist.", STR_ARG(ot->t->name));
    } else if (rc != OK) {
        op_fail(ot, kerr_of(rc), NULL);
    } else {
        ot->node = z;
        ot->version = call->ops[1].stat.version;
    }
}

static void grow_read(struct op_topic *ot)
{
    struct store_call *call = op_call(ot);

    if (call == NULL)
        return;
    store_exists(call, zpath_delete_topic(ot->t->name).z, 0);
    store_get(call, zpath_topic(ot->t->name).z, 0);
    op_ask(ot, call, grow_answered);
}

static void grow_check(struct op_state *s)
{
    OP_EACH(s, ot) {
        char buf[512];

        if (topic_name_fault(ot->t->name, buf, sizeof buf) == NULL)
            grow_read(ot);
        else
            op_failf(ot, KERR_UNKNOWN_TOPIC_OR_PARTITION, "The topic '%.*s' does not exist.", STR_ARG(ot->t->name));
    }
}

static void grow_counts(struct op_topic *ot)
{
    int32_t old = ot->node.partitions_n, want = ot->t->partitions;

    for (int32_t i = 0; i < old; i++)
        if (ot->node.partitions[i].adding.n > 0 || ot->node.partitions[i].removing.n > 0) {
            op_failf(ot, KERR_REASSIGNMENT_IN_PROGRESS, "A partition reassignment is in progress for the topic '%.*s'.",
                 STR_ARG(ot->t->name));
            return;
        }
    if (want < old)
        op_failf(ot, KERR_INVALID_PARTITIONS,
                 "Topic currently has %d partitions, which is higher than the requested %d.",
             old, want);
    else if (want == old)
        op_failf(ot, KERR_INVALID_PARTITIONS, "Topic already has %d partitions.", old);
    else if (ot->node.partitions[0].index != 0 || ot->node.partitions[old - 1].index != old - 1)
        op_failf(ot, KERR_UNKNOWN_SERVER_ERROR, "Unexpected existing replica assignment for topic '%.*s'.",
                 STR_ARG(ot->t->name));
}

static void grow_manual_check(struct op_topic *ot, int32_t old)
{
    struct arena *a = ot->s->op->arena;
    const char *unknown = "";

    for (int32_t i = 0; i < ot->t->assignments_n; i++)
        for (int32_t k = 0; k < ot->t->assignments[i].brokers_n && unknown != NULL && strlen(unknown) < OP_MESSAGE_MAX;
             k++)
            if (metadata_broker(ot->s->md, ot->t->assignments[i].brokers[k]) == NULL)
                unknown = arena_printf(a, "%s%s%d", unknown, unknown[0] != '\0' ? ", " : "",
                                       ot->t->assignments[i].brokers[k]);
    if (unknown == NULL || unknown[0] != '\0') {
        op_failf(ot, KERR_INVALID_REPLICA_ASSIGNMENT, "Unknown broker(s) in replica assignment: %s.",
                 unknown != NULL ? unknown : "");
        return;
    }
    if (ot->t->assignments_n != ot->t->partitions - old) {
        op_failf(ot, KERR_INVALID_REPLICA_ASSIGNMENT,
                 "Increasing the number of partitions by %d but %d assignments provided.",
             ot->t->partitions - old, ot->t->assignments_n);
        return;
    }
    for (int32_t i = 0; i < ot->t->assignments_n && ot->t->error == 0; i++) {
        struct znode_replicas r = { (int32_t *)(uintptr_t)ot->t->assignments[i].brokers,
                                    ot->t->assignments[i].brokers_n };

        if (r.n == 0)
            op_failf(ot, KERR_INVALID_REPLICA_ASSIGNMENT, "Cannot have replication factor of 0 for partition id %d.",
                     old + i);
        else if (replicas_repeat(ot->s->op->arena, r))
            op_failf(ot, KERR_INVALID_REPLICA_ASSIGNMENT,
                 "Duplicate brokers not allowed in replica assignment: %s for partition id %d.",
                 op_ids_text(ot, &r), old + i);
        else if (r.n != ot->node.partitions[0].replicas.n)
            op_failf(ot, KERR_INVALID_REPLICA_ASSIGNMENT,
                 "Inconsistent replication factor between partitions, partition 0 has %d while partitions [%d] have "
                 "replication factors [%d], respectively.", ot->node.partitions[0].replicas.n, old + i, r.n);
    }
}

static void grow_manual(struct op_topic *ot, int32_t old)
{
    struct znode_partition *p;

    grow_manual_check(ot, old);
    if (ot->t->error != 0)
        return;
    p = arena_array(ot->s->op->arena, (size_t)ot->t->partitions, sizeof *p);
    if (p == NULL) {
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
        return;
    }
    memcpy(p, ot->node.partitions, (size_t)old * sizeof *p);
    for (int32_t i = 0; i < ot->t->assignments_n; i++)
        p[old + i] = (struct znode_partition){
            .index = old + i,
            .replicas = { (int32_t *)(uintptr_t)ot->t->assignments[i].brokers, ot->t->assignments[i].brokers_n },
        };
    ot->node.partitions = p;
    ot->node.partitions_n = ot->t->partitions;
}

/* The node must be as it was read: two clients that grow a topic at the same time do not undo each other. */
static void grown(struct controller *c, struct store_call *call, void *subject)
{
    struct op_topic *ot = subject;

    (void)c;
    ot->again = call->rc == ERR_VERSION;
    ot->settled = !ot->again;
    if (ot->again)
        return;
    if (call->rc != OK)
        op_fail(ot, call->rc == ERR_NOENT ? KERR_UNKNOWN_TOPIC_OR_PARTITION : kerr_of(call->rc), NULL);
    else
        log_info("topic %.*s has been enlarged to %d partitions", STR_ARG(ot->t->name), ot->node.partitions_n);
}

static void grow_decide(struct op_state *s)
{
    OP_EACH(s, ot) {
        int32_t old = ot->node.partitions_n;
        struct store_call *call;
        char *text;

        if (ot->settled)
            continue;
        grow_counts(ot);
        if (ot->t->error == 0 && ot->t->assignments != NULL)
            grow_manual(ot, old);
        else if (ot->t->error == 0)
            op_assign(ot, ot->t->partitions - old, ot->node.partitions[0].replicas.n, old,
                      ot->node.partitions[0].replicas.n > 0 ? ot->node.partitions[0].replicas.v[0] : -1);
        if (ot->t->error != 0 || s->op->validate_only)
            continue;
        text = znode_topic_write(&ot->node);
        call = op_call(ot);
        if (text == NULL || call == NULL) {
            op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
            store_call_free(&call);
        } else {
            store_set(call, zpath_topic(ot->t->name).z, (struct bytes){ (uint8_t *)text, strlen(text) }, ot->version);
            op_ask(ot, call, grown);
        }
        free(text);
    }
}

static void grow_conclude(struct op_state *s)
{
    OP_EACH(s, ot) {
        if (ot->again)
            grow_read(ot);
    }
}

static void nothing(struct op_state *s)
{
    (void)s;
}

const struct op_kind op_grow = { grow_check, grow_decide, grow_conclude, op_leaderless };

/* ---- deleting: ask for it; the controller does it ----------------------------------------------------- */

static void delete_seen(struct controller *c, struct store_call *call, void *subject)
{
    struct op_topic *ot = subject;

    (void)c;
    if (call->rc != OK)
        op_fail(ot, call->rc == ERR_NOENT ? KERR_UNKNOWN_TOPIC_OR_PARTITION : kerr_of(call->rc), NULL);
}

static void delete_check(struct op_state *s)
{
    OP_EACH(s, ot) {
        char buf[512];
        struct store_call *call = NULL;

        if (topic_name_fault(ot->t->name, buf, sizeof buf) != NULL)
            op_fail(ot, KERR_UNKNOWN_TOPIC_OR_PARTITION, NULL);
        else
            call = op_call(ot);
        if (call == NULL)
            continue;
        store_exists(call, zpath_topic(ot->t->name).z, 0);
        op_ask(ot, call, delete_seen);
    }
}

static void delete_asked(struct controller *c, struct store_call *call, void *subject)
{
    struct op_topic *ot = subject;

    (void)c;
    if (call->rc != OK && call->rc != ERR_EXISTS)   /* asked for before: wait for it as well */
        op_fail(ot, kerr_of(call->rc), NULL);
}

static void delete_decide(struct op_state *s)
{
    OP_EACH(s, ot) {
        struct store_call *call = op_call(ot);

        if (call == NULL)
            continue;
        store_create(call, zpath_delete_topic(ot->t->name).z, (struct bytes){ NULL, 0 }, 0);
        op_ask(ot, call, delete_asked);
    }
}

static bool delete_pending(const struct metadata *md, const struct op_topic *ot)
{
    return metadata_topic(md, ot->t->name) != NULL;
}

const struct op_kind op_delete = { delete_check, delete_decide, nothing, delete_pending };
