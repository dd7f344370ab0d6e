/* tools/topics/zookeeper.c - kafka-topics.sh --zookeeper, as Kafka 2.7 has it: what it does and says. It writes what
 * the controller watches for; nobody waits for the effect.
 *
 * Unlike 2.7's, --alter leaves the topic's id and a reassignment that is under way as they are, and does not write over
 * what another has written in the meantime.
 */
#include "tools/topics/topics.h"

#include "config/param.h"
#include "metadata/assign.h"
#include "metadata/topic_name.h"
#include "tools/pattern.h"
#include "tools/zk.h"

#include <stdlib.h>

static int no_memory(struct admin *a)
{
    return admin_fail(a, ERR_NOMEM, "out of memory");
}

/* The topics that --topic and --exclude-internal choose. */
static int chosen(struct admin *a, const struct options *o, bool must_exist, struct topic_names *out)
{
    const char *topic = options_str(o, T_TOPIC);
    struct pattern *p = NULL;
    size_t n = 0;
    int rc;

    if (topic != NULL && (rc = pattern_new(&p, str_of(topic))) != OK)
        return admin_fail(a, rc, "%s %s", topic, rc == ERR_INVALID ? "is an invalid regex." : err_text(rc));
    rc = zk_children(a, ZK_BROKER_TOPICS, out);
    for (size_t i = 0; i < out->n; i++)
        if (!(options_has(o, T_EXCLUDE_INTERNAL) && topic_is_internal(out->v[i])) &&
            (p == NULL || pattern_matches(p, out->v[i])))
            out->v[n++] = out->v[i];
    out->n = n;
    pattern_free(&p);
    TRY(rc);
    if (must_exist && topic != NULL && n == 0)
        return admin_fail(a, ERR_NOENT, "Topic '%s' does not exist as expected", topic);
    return OK;
}

static int marked(struct admin *a, struct str topic, bool *yes)
{
    struct zpath path = zpath_delete_topic(topic);

    return zk_exists(a, path.z, yes);
}

int topics_zk_list(struct admin *a, struct options *o)
{
    struct topic_names t;
    bool going;

    TRY(chosen(a, o, false, &t));
    for (size_t i = 0; i < t.n; i++) {
        TRY(marked(a, t.v[i], &going));
        printf("%.*s%s\n", STR_ARG(t.v[i]), going ? " - marked for deletion" : "");
    }
    return OK;
}

/* ---- settings ---- */

static const char *text_of(struct admin *a, struct str s)
{
    return arena_cstr(&a->arena, s);
}

/* `old` with what --config gives and without what --delete-config names. */
static int changed_configs(struct admin *a, const struct options *o, const struct topics_wanted *w,
                           const struct znode_config *old, struct znode_config *out)
{
    const char *gone;

    out->n = 0;
    out->pairs = arena_array(&a->arena, old->n + (size_t)w->configs_n + 1, sizeof *out->pairs);
    if (out->pairs == NULL)
        return no_memory(a);
    for (size_t i = 0; i < old->n; i++) {
        bool drop = false;

        for (int32_t k = 0; k < w->configs_n && !drop; k++)
            drop = str_is(w->configs[k].name, old->pairs[i].name);
        for (size_t k = 0; !drop && (gone = options_nth(o, T_DELETE_CONFIG, k)) != NULL; k++)
            drop = strcmp(gone, old->pairs[i].name) == 0;
        if (!drop)
            out->pairs[out->n++] = old->pairs[i];
    }
    for (int32_t k = 0; k < w->configs_n; k++) {
        struct znode_pair p = { text_of(a, w->configs[k].name), text_of(a, w->configs[k].value) };
        bool drop = false;

        if (p.name == NULL || p.value == NULL)
            return no_memory(a);
        for (size_t i = 0; !drop && (gone = options_nth(o, T_DELETE_CONFIG, i)) != NULL; i++)
            drop = strcmp(gone, p.name) == 0;
        if (!drop)
            out->pairs[out->n++] = p;
    }
    znode_config_sort(out);
    return OK;
}

/* The names of --delete-config must be those of settings. */
static int check_deleted(struct admin *a, const struct options *o)
{
    const char *name;

    for (size_t i = 0; (name = options_nth(o, T_DELETE_CONFIG, i)) != NULL; i++)
        if (param_find(&topic_params, str_of(name)) == NULL)
            return admin_fail(a, ERR_INVALID, "Unknown topic config name: %s", name);
    return OK;
}

/* ---- who holds what ---- */

/* With racks only if every broker has one, or none has; --disable-rack-aware passes over them. */
static int assign_brokers(struct admin *a, const struct options *o, bool strict, struct assign_broker **out, size_t *n)
{
    struct zk_broker *b;
    size_t racks = 0;

    TRY(zk_brokers(a, &b, n));
    *out = arena_array(&a->arena, *n + 1, sizeof **out);
    if (*out == NULL)
        return no_memory(a);
    for (size_t i = 0; i < *n; i++) {
        bool rack = b[i].info.rack.p != NULL && !options_has(o, T_DISABLE_RACK_AWARE);

        (*out)[i] = (struct assign_broker){ b[i].id, rack ? b[i].info.rack : (struct str){ NULL, 0 } };
        racks += rack;
    }
    if (strict && racks > 0 && racks < *n)
        return admin_fail(a, ERR_INVALID, "Not all brokers have rack information. Add --disable-rack-aware in command "
                          "line to make replica assignment without rack information.");
    return OK;
}

/* Partitions from..to-1 into t->partitions, which has room. */
static int assign(struct admin *a, const struct assign_want *want, struct znode_topic *t)
{
    int32_t *ids;
    int rc;

    if (want->partitions <= 0)
        return admin_fail(a, ERR_RANGE, "Number of partitions must be larger than 0.");
    if (want->replication <= 0)
        return admin_fail(a, ERR_RANGE, "Replication factor must be larger than 0.");
    if (want->replication > want->brokers_n)
        return admin_fail(a, ERR_RANGE, "Replication factor: %d larger than available brokers: %d.", want->replication,
                          want->brokers_n);
    ids = arena_array(&a->arena, (size_t)want->partitions * (size_t)want->replication, sizeof *ids);
    if (ids == NULL)
        return no_memory(a);
    rc = assign_replicas(want, ids);
    if (rc == ERR_INVALID)
        return admin_fail(a, rc, "Not all brokers have rack information for replica rack aware assignment.");
    if (rc != OK)
        return no_memory(a);
    for (int32_t i = 0; i < want->partitions; i++)
        t->partitions[t->partitions_n++] = (struct znode_partition){
            .index = want->first + i,
            .replicas = { ids + (size_t)i * (size_t)want->replication, want->replication },
        };
    return OK;
}

static bool topic_room(struct admin *a, struct znode_topic *t, int32_t n)
{
    struct znode_partition *v = arena_array(&a->arena, (size_t)n + 1, sizeof *v);

    if (v == NULL)
        return false;
    if (t->partitions_n > 0)
        memcpy(v, t->partitions, (size_t)t->partitions_n * sizeof *v);
    t->partitions = v;
    return true;
}

/* Partitions from `from` on as --replica-assignment has them. */
static void take_assignment(const struct topics_wanted *w, int32_t from, struct znode_topic *t)
{
    for (int32_t i = from; i < w->assignments.n; i++)
        t->partitions[t->partitions_n++] = (struct znode_partition){
            .index = i, .replicas = { w->assignments.v[i].brokers, w->assignments.v[i].n } };
}

/* ---- create ---- */

static int check_name(struct admin *a, struct str topic)
{
    char buf[512];
    const char *fault = topic_name_fault(topic, buf, sizeof buf);
    struct zpath path = zpath_topic(topic);
    struct topic_names all;
    bool there = false;

    if (fault != NULL)
        return admin_fail(a, ERR_INVALID, "Topic name is invalid: %s", fault);
    TRY(zk_exists(a, path.z, &there));
    if (there)
        return admin_fail(a, ERR_EXISTS, "Topic '%.*s' already exists.", STR_ARG(topic));
    if (!topic_name_may_collide(topic))
        return OK;
    TRY(zk_children(a, ZK_BROKER_TOPICS, &all));
    for (size_t i = 0; i < all.n; i++)
        if (topic_name_collides(topic, all.v[i]))
            return admin_fail(a, ERR_INVALID, "Topic '%.*s' collides with existing topics: %.*s", STR_ARG(topic),
                              STR_ARG(all.v[i]));
    return OK;
}

static int create_write(struct admin *a, struct str topic, const struct znode_config *configs,
                        const struct znode_topic *t)
{
    struct zpath config_path = zpath_topic_config(topic), path = zpath_topic(topic);
    char *config_text = znode_config_write(configs), *text = znode_topic_write(t);
    int rc = ERR_NOMEM;

    if (config_text != NULL && text != NULL)
        rc = zk_put(a, config_path.z, config_text);
    if (rc == OK)
        rc = zk_create(a, path.z, text);
    free(config_text);
    free(text);
    if (rc == ERR_NOMEM)
        return no_memory(a);
    if (rc == ERR_EXISTS)
        return admin_fail(a, rc, "Topic '%.*s' already exists.", STR_ARG(topic));
    return rc == ERR_NOENT ? admin_fail(a, rc, ZK_BROKER_TOPICS " is not there: has a broker ever started on this "
                                        "ensemble, and is the chroot right?") : rc;
}

static int create(struct admin *a, struct options *o, const struct topics_wanted *w)
{
    static const struct znode_config nothing;
    struct znode_topic t = { .partitions = NULL };
    struct znode_config configs;
    struct assign_want want = { .partitions = w->partitions, .replication = w->replication, .start = -1 };
    struct assign_broker *brokers;
    size_t brokers_n;

    TRY(changed_configs(a, o, w, &nothing, &configs));
    TRY(zk_topic_config_check(a, &configs));
    if (w->assignments.n == 0) {
        TRY(assign_brokers(a, o, true, &brokers, &brokers_n));
        want.brokers = brokers;
        want.brokers_n = (int32_t)brokers_n;
    }
    if (!topic_room(a, &t, w->assignments.n > 0 ? w->assignments.n : w->partitions > 0 ? w->partitions : 0))
        return no_memory(a);
    if (w->assignments.n > 0)
        take_assignment(w, 0, &t);
    else
        TRY(assign(a, &want, &t));
    TRY(check_name(a, w->topic));
    return create_write(a, w->topic, &configs, &t);
}

int topics_zk_create(struct admin *a, struct options *o)
{
    struct topics_wanted w;
    int rc;

    TRY(topics_wanted_read(a, o, &w));
    topics_warn_of_collision(w.topic);
    rc = create(a, o, &w);
    if (rc == OK)
        printf("Created topic %.*s.\n", STR_ARG(w.topic));
    else if (rc == ERR_EXISTS && options_has(o, T_IF_NOT_EXISTS))
        rc = OK;
    return rc;
}

/* ---- alter ---- */

static int alter_configs(struct admin *a, struct options *o, const struct topics_wanted *w, struct str topic)
{
    struct znode_config old, now;
    char entity[sizeof "topics/" + TOPIC_NAME_MAX];

    snprintf(entity, sizeof entity, "topics/%.*s", STR_ARG(topic));
    TRY(zk_config(a, entity, &old));
    TRY(changed_configs(a, o, w, &old, &now));
    TRY(zk_topic_config_check(a, &now));
    puts("WARNING: Altering topic configuration from this script has been deprecated and may be removed in future "
         "releases.\n         Going forward, please use kafka-configs.sh for this functionality");
    TRY(zk_config_change(a, entity, &now));
    printf("Updated config for topic %.*s.\n", STR_ARG(topic));
    return OK;
}

static int check_assignment(struct admin *a, const struct topics_wanted *w, int32_t from, int32_t replication,
                            const struct assign_broker *b, size_t n)
{
    for (int32_t i = from; i < w->assignments.n; i++) {
        const struct assignment *s = &w->assignments.v[i];

        for (int32_t k = 0; k < s->n; k++) {
            size_t at = 0;

            while (at < n && b[at].id != s->brokers[k])
                at++;
            if (at == n)
                return admin_fail(a, ERR_INVALID, "Some brokers specified for partition id %d are not available. "
                                  "Broker %d is not registered.", i, s->brokers[k]);
        }
        if (s->n != replication)
            return admin_fail(a, ERR_INVALID, "Inconsistent replication factor between partitions, partition 0 has %d "
                              "while partitions [%d] have replication factors [%d], respectively.", replication, i,
                              s->n);
    }
    return OK;
}

/* Where the assignment goes on: at the first broker that is not before the first replica of partition 0. */
static int32_t start_at(const struct assign_broker *b, size_t n, int32_t first)
{
    for (size_t i = 0; i < n; i++)
        if (b[i].id >= first)
            return (int32_t)i;
    return 0;
}

static int grow(struct admin *a, struct options *o, const struct topics_wanted *w, struct str topic)
{
    struct zpath path = zpath_topic(topic);
    struct znode_topic t;
    struct assign_broker *b;
    struct assign_want want;
    int32_t version, had;
    size_t n;
    char *text;
    int rc;

    rc = zk_topic(a, topic, &t, &version);
    if (rc == ERR_NOENT)
        return admin_fail(a, rc, "The topic %.*s does not exist", STR_ARG(topic));
    TRY(rc);
    had = t.partitions_n;
    if (had == 0 || t.partitions[0].index != 0 || t.partitions[0].replicas.n == 0)
        return admin_fail(a, ERR_CORRUPT, "Unexpected existing replica assignment for topic '%.*s', partition id 0 is "
                          "missing.", STR_ARG(topic));
    if (w->partitions <= had)
        return admin_fail(a, ERR_RANGE, "The number of partitions for a topic can only be increased. Topic %.*s "
                          "currently has %d partitions, %d would not be an increase.", STR_ARG(topic), had,
                          w->partitions);
    TRY(assign_brokers(a, o, true, &b, &n));
    TRY(check_assignment(a, w, had, t.partitions[0].replicas.n, b, n));
    if (!topic_room(a, &t, w->partitions > w->assignments.n ? w->partitions : w->assignments.n))
        return no_memory(a);
    want = (struct assign_want){ .brokers = b, .brokers_n = (int32_t)n, .partitions = w->partitions - had,
                                 .replication = t.partitions[0].replicas.n, .first = had,
                                 .start = start_at(b, n, t.partitions[0].replicas.v[0]) };
    if (w->assignments.n > had)
        take_assignment(w, had, &t);
    else
        TRY(assign(a, &want, &t));
    text = znode_topic_write(&t);
    if (text == NULL)
        return no_memory(a);
    rc = zk_set(a, path.z, text, version);
    free(text);
    return rc == ERR_VERSION ? admin_fail(a, rc, "%s was changed by another at the same time; nothing was done",
                                          path.z) : rc;
}

int topics_zk_alter(struct admin *a, struct options *o)
{
    struct topics_wanted w;
    struct topic_names names;

    TRY(topics_wanted_read(a, o, &w));
    TRY(check_deleted(a, o));
    TRY(chosen(a, o, !options_has(o, T_IF_EXISTS), &names));
    for (size_t i = 0; i < names.n; i++) {
        if (options_has(o, T_CONFIG) || options_has(o, T_DELETE_CONFIG))
            TRY(alter_configs(a, o, &w, names.v[i]));
        if (!options_has(o, T_PARTITIONS))
            continue;
        if (topic_is_internal(names.v[i]))
            return admin_fail(a, ERR_INVALID, "The number of partitions for the internal topic %.*s cannot be changed.",
                              STR_ARG(names.v[i]));
        puts("WARNING: If partitions are increased for a topic that has a key, the partition logic or ordering of the "
             "messages will be affected");
        TRY(grow(a, o, &w, names.v[i]));
        puts("Adding partitions succeeded!");
    }
    return OK;
}

/* ---- describe ---- */

static void print_ids(const char *name, const struct znode_replicas *r)
{
    printf("\t%s: ", name);
    for (int32_t i = 0; i < r->n; i++)
        printf("%s%d", i > 0 ? "," : "", r->v[i]);
}

static void print_topic(struct str topic, const struct znode_topic *t, const struct znode_config *c, bool going)
{
    printf("Topic: %.*s\tPartitionCount: %d\tReplicationFactor: %d\tConfigs: ", STR_ARG(topic), t->partitions_n,
           t->partitions_n > 0 ? t->partitions[0].replicas.n : 0);
    for (size_t i = 0; i < c->n; i++)
        printf("%s%s=%s", i > 0 ? "," : "", c->pairs[i].name, c->pairs[i].value);
    puts(going ? "\tMarkedForDeletion: true" : "");
}

static bool is_live(const struct zk_broker *b, size_t n, int32_t id)
{
    for (size_t i = 0; i < n; i++)
        if (b[i].id == id)
            return true;
    return false;
}

static int describe_partition(struct admin *a, const struct options *o, struct str topic,
                              const struct znode_partition *p, const struct zk_broker *b, size_t n, bool going)
{
    struct zpath path = zpath_state(topic, p->index);
    struct znode_state s = { .leader = -1 };
    struct bytes value;
    int rc = zk_get(a, path.z, &value, NULL);
    bool all = !options_has(o, T_UNAVAILABLE) && !options_has(o, T_UNDER_REPLICATED);

    if (rc == OK && znode_state_read(value, &a->arena, &s) != OK)
        return admin_fail(a, ERR_CORRUPT, "%s: cannot be read", path.z);
    if (rc != OK && rc != ERR_NOENT)
        return rc;
    if (!all && !(options_has(o, T_UNDER_REPLICATED) && p->replicas.n > s.isr.n) &&
        !(options_has(o, T_UNAVAILABLE) && !is_live(b, n, s.leader)))
        return OK;
    printf("\tTopic: %.*s\tPartition: %d\tLeader: ", STR_ARG(topic), p->index);
    if (s.leader >= 0)
        printf("%d", s.leader);
    else
        fputs("none", stdout);
    print_ids("Replicas", &p->replicas);
    print_ids("Isr", &s.isr);
    puts(going ? "\tMarkedForDeletion: true" : "");
    return OK;
}

static int describe_one(struct admin *a, const struct options *o, struct str topic, const struct zk_broker *b, size_t n)
{
    char entity[sizeof "topics/" + TOPIC_NAME_MAX];
    struct znode_config c;
    struct znode_topic t;
    bool going;
    int rc = zk_topic(a, topic, &t, NULL);

    if (rc == ERR_NOENT) {
        printf("Topic %.*s doesn't exist!\n", STR_ARG(topic));
        return OK;
    }
    TRY(rc);
    TRY(marked(a, topic, &going));
    snprintf(entity, sizeof entity, "topics/%.*s", STR_ARG(topic));
    TRY(zk_config(a, entity, &c));
    if (!options_has(o, T_UNAVAILABLE) && !options_has(o, T_UNDER_REPLICATED) &&
        (!options_has(o, T_WITH_OVERRIDES) || c.n > 0))
        print_topic(topic, &t, &c, going);
    for (int32_t i = 0; !options_has(o, T_WITH_OVERRIDES) && i < t.partitions_n; i++)
        TRY(describe_partition(a, o, topic, &t.partitions[i], b, n, going));
    return OK;
}

int topics_zk_describe(struct admin *a, struct options *o)
{
    struct topic_names names;
    struct zk_broker *b;
    size_t n;

    TRY(chosen(a, o, !options_has(o, T_IF_EXISTS), &names));
    TRY(zk_brokers(a, &b, &n));
    for (size_t i = 0; i < names.n; i++)
        TRY(describe_one(a, o, names.v[i], b, n));
    return OK;
}

/* ---- delete ---- */

int topics_zk_delete(struct admin *a, struct options *o)
{
    struct topic_names names;

    TRY(chosen(a, o, !options_has(o, T_IF_EXISTS), &names));
    for (size_t i = 0; i < names.n; i++) {
        struct zpath path = zpath_delete_topic(names.v[i]);
        int rc;

        if (topic_is_internal(names.v[i]))
            return admin_fail(a, ERR_INVALID, "Topic %.*s is a kafka internal topic and is not allowed to be "
                              "marked for deletion.", STR_ARG(names.v[i]));
        rc = zk_create(a, path.z, "");
        if (rc == ERR_EXISTS) {
            printf("Topic %.*s is already marked for deletion.\n", STR_ARG(names.v[i]));
        } else {
            TRY(rc);
            printf("Topic %.*s is marked for deletion.\n"
                   "Note: This will have no impact if delete.topic.enable is not set to true.\n", STR_ARG(names.v[i]));
        }
    }
    return OK;
}
