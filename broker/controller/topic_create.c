/* broker/controller/topic_create.c - creating topics: the checks in Apache Kafka's order and words, then
 * /config/topics/T and /brokers/topics/T, in this order. The controller sees the new node and does the rest.
 */
#include "base/log.h"
#include "broker/cluster/metadata_cache.h"
#include "metadata/topic_name.h"
#include "metadata/assign.h"
#include "broker/controller/topic_ops.h"
#include "config/topic_config.h"
#include "proto/kerr.h"

#include <stdlib.h>

#define UNSET (-1)

/* ---- the assignment ----------------------------------------------------------------------------------- */

/* As the node will list them: rising, whatever order the client chose. */
static int by_index(const void *a, const void *b)
{
    const struct znode_partition *x = a, *y = b;

    return (x->index > y->index) - (x->index < y->index);
}

static void take_manual(struct op_topic *ot)
{
    const struct topic_op_topic *t = ot->t;

    ot->node.partitions = arena_array(ot->s->op->arena, (size_t)t->assignments_n, sizeof *ot->node.partitions);
    if (ot->node.partitions == NULL) {
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
        return;
    }
    for (int32_t i = 0; i < t->assignments_n; i++)
        ot->node.partitions[i] = (struct znode_partition){
            .index = t->assignments[i].index,
            .replicas = { (int32_t *)(uintptr_t)t->assignments[i].brokers, t->assignments[i].brokers_n },
        };
    qsort(ot->node.partitions, (size_t)t->assignments_n, sizeof *ot->node.partitions, by_index);
    ot->node.partitions_n = 0;
    for (int32_t i = 0; i < t->assignments_n; i++) {            /* a partition named twice: one of the two holds */
        struct znode_partition *last = ot->node.partitions + ot->node.partitions_n;

        if (ot->node.partitions_n > 0 && last[-1].index == ot->node.partitions[i].index)
            last--;
        else
            ot->node.partitions_n++;
        *last = ot->node.partitions[i];
    }
}

static const struct assign_broker *brokers_of(struct op_topic *ot, int32_t *n)
{
    size_t count;
    const struct metadata_broker *b = metadata_brokers(ot->s->md, &count);
    struct assign_broker *out = arena_array(ot->s->op->arena, count + 1, sizeof *out);

    *n = (int32_t)count;
    for (size_t i = 0; i < count && out != NULL; i++)
        out[i] = (struct assign_broker){ b[i].id, b[i].rack };
    return out;
}

/* The node of a topic is one value in the store: what cannot fit is refused before memory is taken for it. */
static bool too_many(int32_t partitions, int32_t replication)
{
    return (int64_t)partitions * (12 + 11 * (int64_t)replication) > STORE_DATA_MAX;
}

void op_assign(struct op_topic *ot, int32_t partitions, int32_t replication, int32_t first, int32_t near)
{
    struct assign_want w = { .partitions = partitions, .replication = replication, .first = first, .start = -1 };
    struct znode_partition *p;
    int32_t *ids;
    int rc;

    w.brokers = brokers_of(ot, &w.brokers_n);
    if (w.brokers == NULL) {
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
    } else if (partitions <= 0) {
        op_failf(ot, KERR_INVALID_PARTITIONS, "Number of partitions must be larger than 0.");
    } else if (replication <= 0) {
        op_failf(ot, KERR_INVALID_REPLICATION_FACTOR, "Replication factor must be larger than 0.");
    } else if (replication > w.brokers_n) {
        op_failf(ot, KERR_INVALID_REPLICATION_FACTOR, "Replication factor: %d larger than available brokers: %d.",
                 replication, w.brokers_n);
    } else if (too_many(first + partitions, replication)) {
        op_failf(ot, KERR_INVALID_PARTITIONS,
                 "Number of partitions is larger than the metadata store can hold for a topic.");
    }
    if (ot->t->error != 0)
        return;
    for (int32_t i = 0; near >= 0 && w.start < 0 && i < w.brokers_n; i++)
        if (w.brokers[i].id >= near)
            w.start = i;
    if (near >= 0 && w.start < 0)
        w.start = 0;
    ids = arena_alloc(ot->s->op->arena, (size_t)partitions * (size_t)replication * sizeof *ids);
    p = arena_array(ot->s->op->arena, (size_t)first + (size_t)partitions, sizeof *p);
    if (ids == NULL || p == NULL) {
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
        return;
    }
    rc = assign_replicas(&w, ids);
    if (rc == ERR_INVALID)
        op_failf(ot, KERR_UNKNOWN_SERVER_ERROR,
                 "Not all brokers have rack information for replica rack aware assignment.");
    else if (rc != OK)
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
    if (first > 0)
        memcpy(p, ot->node.partitions, (size_t)first * sizeof *p);
    for (int32_t i = 0; i < partitions; i++)
        p[first + i] = (struct znode_partition){ .index = first + i,
                                                 .replicas = { ids + (size_t)i * (size_t)replication, replication } };
    ot->node.partitions = p;
    ot->node.partitions_n = first + partitions;
}

/* "0 -> ArrayBuffer(1, 2), ...": as Apache Kafka prints it. Cut where it is longer than a message may be. */
static const char *assignment_text(struct op_topic *ot)
{
    const char *z = "";

    for (int32_t i = 0; i < ot->node.partitions_n && z != NULL && strlen(z) < OP_MESSAGE_MAX; i++) {
        const struct znode_partition *p = &ot->node.partitions[i];

        z = arena_printf(ot->s->op->arena, "%s%s%d -> ArrayBuffer(%s)", z, i > 0 ? ", " : "", p->index,
                         op_ids_text(ot, &p->replicas));
    }
    return z != NULL ? z : "";
}

static void check_assignment(struct op_topic *ot)
{
    const struct znode_partition *p = ot->node.partitions;

    for (int32_t i = 1; i < ot->node.partitions_n; i++)
        if (p[i].replicas.n != p[0].replicas.n) {
            op_fail(ot, KERR_INVALID_REPLICA_ASSIGNMENT, "All partitions should have the same number of replicas");
            return;
        }
    for (int32_t i = 0; i < ot->node.partitions_n; i++)
        if (replicas_repeat(ot->s->op->arena, p[i].replicas)) {
            op_failf(ot, KERR_INVALID_REPLICA_ASSIGNMENT, "Duplicate replica assignment found: HashMap(%s)",
                     assignment_text(ot));
            return;
        }
    for (int32_t i = 0; i < ot->node.partitions_n; i++)
        if (p[i].index != i) {
            op_fail(ot, KERR_INVALID_REPLICA_ASSIGNMENT, "partitions should be a consecutive 0-based integer sequence");
            return;
        }
}

/* ---- settings ----------------------------------------------------------------------------------------- */

static void check_null_configs(struct op_topic *ot)
{
    const char *names = "";
    bool any = false;

    for (int32_t i = 0; i < ot->t->configs_n && names != NULL && strlen(names) < OP_MESSAGE_MAX; i++)
        if (ot->t->configs[i].value.p == NULL) {
            names = arena_printf(ot->s->op->arena, "%s%s%.*s", names, any ? "," : "", STR_ARG(ot->t->configs[i].name));
            any = true;
        }
    if (any)
        op_failf(ot, KERR_INVALID_CONFIG, "Null value not supported for topic configs: %s", names != NULL ? names : "");
}

static void check_configs(struct op_topic *ot)
{
    size_t n = (size_t)(ot->t->configs_n > 0 ? ot->t->configs_n : 0);
    struct topic_property *given = arena_array(ot->s->op->arena, n + 1, sizeof *given);
    struct topic_config built;
    char why[512];
    int rc;

    if (given == NULL) {
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
        return;
    }
    for (size_t i = 0; i < n; i++)
        given[i] = (struct topic_property){ ot->t->configs[i].name, ot->t->configs[i].value };
    rc = topic_config_build(&built, ot->s->c->opts.cfg, TOPIC_CONFIG_ASKED, given, n, why, sizeof why);
    if (rc == OK)
        topic_config_fini(&built);
    else if (rc == ERR_INVALID)
        op_failf(ot, KERR_INVALID_CONFIG, "%s", why);
    else
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
}

/* ---- check -------------------------------------------------------------------------------------------- */

static void answered(struct controller *c, struct store_call *call, void *subject)
{
    struct op_topic *ot = subject;

    (void)c;
    ot->marked = call->ops[0].rc == OK;
    ot->exists = call->ops[1].rc == OK;
    if (call->rc != OK && call->rc != ERR_NOENT)
        op_fail(ot, kerr_of(call->rc), NULL);
}

/* Names that differ only in '.' and '_' would share the names of metrics. */
static void check_collisions(struct op_topic *ot, const struct str *names, size_t n)
{
    const char *found = "";

    for (size_t i = 0; i < n && found != NULL && strlen(found) < OP_MESSAGE_MAX; i++)
        if (topic_name_collides(ot->t->name, names[i]))
            found = arena_printf(ot->s->op->arena, "%s%s%.*s", found, found[0] != '\0' ? ", " : "", STR_ARG(names[i]));
    if (found == NULL)
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
    else if (found[0] != '\0')
        op_failf(ot, KERR_INVALID_TOPIC_EXCEPTION, "Topic '%.*s' collides with existing topics: %s",
                 STR_ARG(ot->t->name), found);
}

/* The last read of the operation: every topic's own answer has come before. */
static void names_answered(struct controller *c, struct store_call *call, void *subject)
{
    struct op_state *s = ((struct op_topic *)subject)->s;

    (void)c;
    if (call->ops[0].rc == OK)
        s->controller_version = call->ops[0].stat.version;
    OP_EACH(s, ot) {
        if (ot->marked)
            op_failf(ot, KERR_TOPIC_ALREADY_EXISTS, "Topic '%.*s' is marked for deletion.", STR_ARG(ot->t->name));
        else if (ot->exists)
            op_failf(ot, KERR_TOPIC_ALREADY_EXISTS, "Topic '%.*s' already exists.", STR_ARG(ot->t->name));
        else if (call->ops_n > 1 && topic_name_may_collide(ot->t->name))
            check_collisions(ot, call->ops[1].children, call->ops[1].children_n);
    }
}

/* Somebody - another client, or the same one in the same request - may be creating it at this moment: his settings must
 * not be written over, and of two names that collide only one may come to be. */
static void claim_name(struct op_topic *ot)
{
    const struct op_topic *other;

    if (op_claim(ot, &other) || other == NULL)
        return;
    if (!str_eq(other->t->name, ot->t->name))
        op_failf(ot, KERR_INVALID_TOPIC_EXCEPTION, "Topic '%.*s' collides with existing topics: %.*s",
                 STR_ARG(ot->t->name), STR_ARG(other->t->name));
    else
        op_failf(ot, ot->s->op->automatic ? KERR_UNKNOWN_TOPIC_OR_PARTITION : KERR_TOPIC_ALREADY_EXISTS,
                 "Topic '%.*s' already exists.", STR_ARG(ot->t->name));
}

static void check_topic(struct op_topic *ot)
{
    struct topic_op_topic *t = ot->t;
    const struct config *cfg = ot->s->c->opts.cfg;
    char buf[512];
    const char *fault;

    if (metadata_topic(ot->s->md, t->name) != NULL) {
        op_failf(ot, KERR_TOPIC_ALREADY_EXISTS, "Topic '%.*s' already exists.", STR_ARG(t->name));
        return;
    }
    check_null_configs(ot);
    if (t->error == 0 && (t->partitions != UNSET || t->replication != UNSET) && t->assignments_n > 0)
        op_fail(ot, KERR_INVALID_REQUEST, "Both numPartitions or replicationFactor and replicasAssignments were set. "
                                          "Both cannot be used at the same time.");
    if (t->error == 0 && t->assignments_n > 0)
        take_manual(ot);
    else if (t->error == 0)
        op_assign(ot, t->partitions == UNSET ? cfg->num_partitions : t->partitions,
                  t->replication == UNSET ? cfg->default_replication_factor : t->replication, 0, -1);
    fault = t->error == 0 ? topic_name_fault(t->name, buf, sizeof buf) : NULL;
    if (fault != NULL)
        op_failf(ot, KERR_INVALID_TOPIC_EXCEPTION, "Topic name is invalid: %s", fault);
    else if (t->error == 0 && !ot->s->op->validate_only)
        claim_name(ot);
}

static void create_check(struct op_state *s)
{
    struct op_topic *last = NULL;
    bool collisions = false;
    struct store_call *call;

    OP_EACH(s, ot) {
        check_topic(ot);
        call = ot->t->error == 0 ? op_call(ot) : NULL;
        if (call == NULL)
            continue;
        last = ot;
        collisions |= topic_name_may_collide(ot->t->name);
        store_exists(call, zpath_delete_topic(ot->t->name).z, 0);
        store_exists(call, zpath_topic(ot->t->name).z, 0);
        op_ask(ot, call, answered);
    }
    call = last != NULL ? op_call(last) : NULL;
    if (call == NULL)
        return;
    store_exists(call, ZK_CONTROLLER, 0);
    if (collisions)
        store_children(call, ZK_BROKER_TOPICS, 0);
    op_ask(last, call, names_answered);
}

/* ---- decide: the rest of the checks, then the writes -------------------------------------------------- */

/* The settings are written first, fenced by /controller as every change of settings is; where there is no
 * node yet, which is the rule, the second call makes it. Neither is all or nothing with the topic's node,
 * and neither has to be. */
static void write_config(struct op_topic *ot)
{
    struct znode_config z = { .n = (size_t)(ot->t->configs_n > 0 ? ot->t->configs_n : 0) };
    struct zpath path = zpath_topic_config(ot->t->name);
    struct store_call *set = op_call(ot), *create = op_call(ot);
    char *text = NULL;
    bool ok = false;

    z.pairs = arena_array(ot->s->op->arena, z.n + 1, sizeof *z.pairs);
    for (size_t i = 0; i < z.n && z.pairs != NULL; i++)
        z.pairs[i] = (struct znode_pair){ arena_cstr(ot->s->op->arena, ot->t->configs[i].name),
                                          arena_cstr(ot->s->op->arena, ot->t->configs[i].value) };
    text = z.pairs != NULL ? znode_config_write(&z) : NULL;
    if (text != NULL && set != NULL && create != NULL) {
        struct bytes b = { (uint8_t *)text, strlen(text) };

        store_check(set, ZK_CONTROLLER, ot->s->controller_version);
        store_set(set, path.z, b, STORE_ANY_VERSION);
        store_create(create, path.z, b, 0);
        op_ask(ot, set, NULL);
        op_ask(ot, create, NULL);
        set = create = NULL;
        ok = true;
    }
    if (!ok)
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
    store_call_free(&set);
    store_call_free(&create);
    free(text);
}

static void created(struct controller *c, struct store_call *call, void *subject)
{
    struct op_topic *ot = subject;

    (void)c;
    if (call->rc == ERR_EXISTS)
        op_failf(ot, KERR_TOPIC_ALREADY_EXISTS, "Topic '%.*s' already exists.", STR_ARG(ot->t->name));
    else if (call->rc != OK)
        op_fail(ot, kerr_of(call->rc), NULL);
    if (call->rc != OK && call->rc != ERR_EXISTS)
        log_error("topic %.*s cannot be created: %s", STR_ARG(ot->t->name), err_text(call->rc));
}

static void write_topic(struct op_topic *ot)
{
    struct store_call *call = op_call(ot);
    char *text;

    if (ibp_has(&ot->s->c->ibp, IBP_TOPIC_IDS))
        ot->node.id = uuid_random();
    text = znode_topic_write(&ot->node);
    if (call == NULL || text == NULL) {
        op_fail(ot, KERR_UNKNOWN_SERVER_ERROR, NULL);
        store_call_free(&call);
    } else {
        store_create(call, zpath_topic(ot->t->name).z, (struct bytes){ (uint8_t *)text, strlen(text) }, 0);
        op_ask(ot, call, created);
    }
    free(text);
}

static void create_decide(struct op_state *s)
{
    OP_EACH(s, ot) {
        check_assignment(ot);
        if (ot->t->error == 0)
            check_configs(ot);
        if (ot->t->error == 0 && s->controller_version < 0)
            op_fail(ot, KERR_NOT_CONTROLLER, "There is no controller at the moment.");
        if (ot->t->error != 0 || s->op->validate_only)
            continue;
        write_config(ot);
        if (ot->t->error == 0)
            write_topic(ot);
    }
}

static void create_conclude(struct op_state *s)
{
    op_release(s);
    OP_EACH(s, ot) {
        if (!s->op->validate_only)
            ot->t->id = ot->node.id;
        ot->t->partitions = ot->node.partitions_n;
        ot->t->replication = (int16_t)ot->node.partitions[0].replicas.n;
        if (!s->op->validate_only)
            log_info("topic %.*s has been created: %d partitions, replication factor %d", STR_ARG(ot->t->name),
                     ot->node.partitions_n, ot->t->replication);
    }
}

const struct op_kind op_create = { create_check, create_decide, create_conclude, op_leaderless };

