/* broker/cluster/adopt.c - taking over the partitions of Apache Kafka.
 *
 * 1. what the directories hold, sorted by topic and partition                      (collect)
 * 2. which of the topics can be taken, with which id, and which partitions miss     (judge)
 * 3. one transaction: /config/topics/<T> where settings are known, /brokers/topics/<T> and the state of each partition
 * 4. one line for each topic
 *
 * Leader epochs rise for all partitions of a broker when it comes and goes; so a log without any (one of an old format)
 * gets the least of those that the others have, which is no later than its own was, or hardly ever.
 *
 * A partition number that no directory has, below one that is there, becomes an empty partition, as Apache Kafka makes
 * one when a directory has been removed; so keys go on going to the partition they went to.
 */
#include "broker/cluster/adopt.h"

#include "base/arena.h"
#include "base/log.h"
#include "base/uuid.h"
#include "broker/cluster/adopt_configs.h"
#include "metadata/topic_name.h"
#include "config/config.h"
#include "metadata/store.h"
#include "metadata/znodes.h"
#include "storage/dir_scan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA_MAX    ((size_t)1 << 30)
#define MISSING_MAX  10000              /* a directory called "backup-20260101" is no topic of 20 million partitions */
#define CONFIGS_MAX  8

struct part {
    struct str  topic;
    int32_t     index;
    struct uuid id;                     /* zero: none */
    int32_t     epoch;                  /* -1: none, until settle_epochs() */
};

struct topic {
    struct str  name;
    struct part *parts;                 /* by rising index */
    size_t      n;
    struct uuid id;
    bool        id_made;
    bool        left_out;
};

struct adoption {
    const struct adopt_opts *o;
    struct arena         arena;
    struct part         *parts;
    size_t               n, cap;
    struct topic        *topics;
    size_t               topics_n;
    int32_t              least_epoch;   /* for logs that have none */
    struct dir_scan_rest rest;
    struct str          *known;         /* topics of the store, by name */
    size_t               known_n;
    struct adopt_configs *configs;      /* NULL: no file */
    size_t               unknown;       /* topics whose settings are not known */
    bool                 held;          /* their retention was switched off */
};

/* ---- may we? --------------------------------------------------------------------------------------------------- */

int adopt_allowed(struct store *s, bool asked, bool *allowed)
{
    struct store_call *call = store_call_new(NULL, NULL);
    int rc = ERR_NOMEM;

    *allowed = false;
    if (call != NULL) {
        store_exists(call, ZK_BROKER_TOPICS, 0);
        rc = store_run(s, call);
    }
    if (rc == OK)
        *allowed = call->ops[0].stat.num_children == 0 && (asked || call->ops[0].stat.cversion == 0);
    else
        log_error("metadata store: " ZK_BROKER_TOPICS " cannot be read: %s", err_text(rc));
    store_call_free(&call);
    return rc;
}

static int read_known(struct adoption *a)
{
    struct store_call *call = store_call_new(NULL, NULL);
    int rc = ERR_NOMEM;

    if (call != NULL) {
        store_children(call, ZK_BROKER_TOPICS, 0);
        rc = store_run(a->o->store, call);
    }
    if (rc == OK) {
        a->known = arena_array(&a->arena, call->ops[0].children_n + 1, sizeof *a->known);
        rc = a->known != NULL ? OK : ERR_NOMEM;
    }
    for (size_t i = 0; rc == OK && i < call->ops[0].children_n; i++)
        rc = arena_str(&a->arena, call->ops[0].children[i], &a->known[a->known_n++]);
    if (rc == OK && a->known_n > 1)
        qsort(a->known, a->known_n, sizeof *a->known, str_order);
    if (rc != OK)
        log_error("metadata store: " ZK_BROKER_TOPICS " cannot be read: %s", err_text(rc));
    store_call_free(&call);
    return rc;
}

/* ---- collect --------------------------------------------------------------------------------------------------- */

static int take_part(void *arg, const struct dir_scan_found *f)
{
    struct adoption *a = arg;
    struct part *p;

    if (a->known_n > 0 && bsearch(&f->topic, a->known, a->known_n, sizeof f->topic, str_order) != NULL)
        return OK;
    if (a->n == a->cap) {
        size_t cap = a->cap == 0 ? 64 : a->cap * 2;
        struct part *v = realloc(a->parts, cap * sizeof *v);

        if (v == NULL)
            return ERR_NOMEM;
        a->parts = v;
        a->cap = cap;
    }
    p = &a->parts[a->n];
    *p = (struct part){ .index = f->partition, .id = f->topic_id, .epoch = f->epoch };
    TRY(arena_str(&a->arena, f->topic, &p->topic));
    a->n++;
    return OK;
}

static int by_place(const void *x, const void *y)
{
    const struct part *a = x, *b = y;
    int d = str_cmp(a->topic, b->topic);

    return d != 0 ? d : (a->index > b->index) - (a->index < b->index);
}

static void settle_epochs(struct adoption *a)
{
    int32_t least = INT32_MAX;

    for (size_t i = 0; i < a->n; i++)
        if (a->parts[i].epoch >= 0 && a->parts[i].epoch < least)
            least = a->parts[i].epoch;
    a->least_epoch = least < INT32_MAX ? least : 0;
    for (size_t i = 0; i < a->n; i++)
        if (a->parts[i].epoch < 0)
            a->parts[i].epoch = a->least_epoch;
}

static int collect(struct adoption *a, bool names_only)
{
    for (size_t i = 0; i < a->o->dirs_n; i++) {
        int rc = dir_scan(a->o->dirs[i], names_only, take_part, a, &a->rest);

        if (names_only && rc != ERR_NOMEM)
            continue;                   /* loading says what is wrong with it, and may go on without it */
        if (rc != OK) {
            log_error("log directory %s: cannot be looked through for partitions to adopt: %s", a->o->dirs[i],
                      err_text(rc));
            return rc;
        }
    }
    if (a->n > 1)
        qsort(a->parts, a->n, sizeof *a->parts, by_place);
    a->topics = arena_array(&a->arena, a->n + 1, sizeof *a->topics);
    if (a->topics == NULL)
        return ERR_NOMEM;
    settle_epochs(a);
    for (size_t i = 0; i < a->n; i++) {
        struct topic *t = &a->topics[a->topics_n];

        if (i == 0 || !str_eq(a->parts[i].topic, a->parts[i - 1].topic))
            a->topics_n++;
        else
            t--;
        if (t->n == 0)
            *t = (struct topic){ .name = a->parts[i].topic, .parts = &a->parts[i] };
        t->n++;
    }
    return OK;
}

/* ---- judge ----------------------------------------------------------------------------------------------------- */

/* Of one that is not left out. */
static int32_t partitions_of(const struct topic *t)
{
    return t->parts[t->n - 1].index + 1;
}

/* The id that most of its partitions have; made if none has one. */
static void choose_id(struct topic *t)
{
    size_t most = 0;

    for (size_t i = 0; i < t->n; i++) {
        size_t same = 0;

        if (uuid_is_zero(t->parts[i].id) || (i > 0 && uuid_eq(t->parts[i].id, t->parts[i - 1].id)))
            continue;
        for (size_t k = 0; k < t->n; k++)
            same += uuid_eq(t->parts[k].id, t->parts[i].id);
        if (same > most) {
            most = same;
            t->id = t->parts[i].id;
        }
    }
    t->id_made = uuid_is_zero(t->id);
    if (t->id_made)
        t->id = uuid_random();
    for (size_t i = 0; i < t->n; i++)
        if (!uuid_is_zero(t->parts[i].id) && !uuid_eq(t->parts[i].id, t->id))
            log_warn("%.*s-%" PRId32 ": its partition.metadata has another topic id than the rest of the topic: it "
                     "will not be served; it may be of an older topic of the same name: move it out of log.dirs then, "
                     "and start again", STR_ARG(t->name), t->parts[i].index);
}

static void judge_topic(struct topic *t)
{
    char buf[512];
    const char *fault = topic_name_fault(t->name, buf, sizeof buf);
    int64_t missing = (int64_t)t->parts[t->n - 1].index + 1 - (int64_t)t->n;

    t->left_out = fault != NULL || missing > MISSING_MAX;
    if (fault != NULL)
        log_warn("%.*s-%" PRId32 ": not adopted: topic name is invalid: %s", STR_ARG(t->name), t->parts[0].index,
                 fault);
    else if (missing > MISSING_MAX)
        log_warn("%.*s-%" PRId32 ": not adopted: of partitions 0 to %" PRId32 ", %" PRId64 " are missing; if it is no "
                 "partition, move it out of log.dirs", STR_ARG(t->name), t->parts[t->n - 1].index,
                 t->parts[t->n - 1].index, missing);
    if (!t->left_out)
        choose_id(t);
}

static int by_id(const void *x, const void *y)
{
    const struct topic *const *a = x, *const *b = y;
    int d = memcmp(&(*a)->id, &(*b)->id, sizeof (*a)->id);

    return d != 0 ? d : str_cmp((*a)->name, (*b)->name);
}

/* A copy of a partition's directory under another name has the id of the first: two topics cannot share one. Nothing
 * has been changed yet, and the user knows which is the copy. */
static int judge(struct adoption *a)
{
    struct topic **v = arena_array(&a->arena, a->topics_n + 1, sizeof(struct topic *));
    size_t n = 0;

    if (v == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < a->topics_n; i++) {
        judge_topic(&a->topics[i]);
        if (!a->topics[i].left_out)
            v[n++] = &a->topics[i];
    }
    if (n > 1)
        qsort(v, n, sizeof(struct topic *), by_id);
    for (size_t i = 1; i < n; i++)
        if (uuid_eq(v[i]->id, v[i - 1]->id)) {
            log_error("topics %.*s and %.*s have the same topic id in their partition.metadata; remove that file from "
                      "the directories of the one that is a copy, and start again", STR_ARG(v[i - 1]->name),
                      STR_ARG(v[i]->name));
            return ERR_INVALID;
        }
    return OK;
}

/* ---- write ----------------------------------------------------------------------------------------------------- */

static struct bytes text_bytes(const char *z)
{
    return (struct bytes){ (const uint8_t *)z, strlen(z) };
}

/* The settings that Apache Kafka's brokers give their own topics when they make them. */
static size_t internal_configs(struct adoption *a, const struct topic *t, struct znode_pair *v)
{
    const struct config *cfg = a->o->cfg;
    size_t n = 0;

    if (str_is(t->name, "__consumer_offsets")) {
        v[n++] = (struct znode_pair){ "cleanup.policy", "compact" };
        v[n++] = (struct znode_pair){ "compression.type", "producer" };
        v[n++] = (struct znode_pair){ "segment.bytes",
                                      arena_printf(&a->arena, "%d", cfg->offsets_topic_segment_bytes) };
    } else if (str_is(t->name, "__transaction_state")) {
        v[n++] = (struct znode_pair){ "cleanup.policy", "compact" };
        v[n++] = (struct znode_pair){ "compression.type", "uncompressed" };
        v[n++] = (struct znode_pair){ "min.insync.replicas", "1" };         /* of one replica */
        v[n++] = (struct znode_pair){ "segment.bytes",
                                      arena_printf(&a->arena, "%d", cfg->transaction_state_log_segment_bytes) };
        v[n++] = (struct znode_pair){ "unclean.leader.election.enable", "false" };
    }
    return n;
}

/* A topic that was compacted, or kept for ever, must not lose records to the server's default retention because its
 * settings are not known here. */
static size_t held_configs(struct adoption *a, struct znode_pair *v)
{
    size_t n = 0;

    if (a->o->cfg->log_retention_bytes >= 0)
        v[n++] = (struct znode_pair){ "retention.bytes", "-1" };
    if (a->o->cfg->retention_ms >= 0)
        v[n++] = (struct znode_pair){ "retention.ms", "-1" };
    a->held |= n > 0;
    return n;
}

static int write_configs(struct adoption *a, const struct topic *t, struct store_call *call)
{
    const struct znode_config *known = adopt_configs_of(a->configs, t->name);
    struct znode_pair pairs[CONFIGS_MAX];
    struct znode_config z = { .pairs = pairs };
    char *text;

    if (known != NULL)
        z = *known;
    else
        z.n = internal_configs(a, t, pairs);
    if (known == NULL && z.n == 0) {
        z.n = held_configs(a, pairs);
        a->unknown++;
    }
    if (z.n == 0)
        return OK;
    for (size_t i = 0; i < z.n; i++)
        if (z.pairs[i].value == NULL)
            return ERR_NOMEM;
    text = znode_config_write(&z);
    if (text == NULL)
        return ERR_NOMEM;
    store_create(call, zpath_topic_config(t->name).z, text_bytes(text), 0);
    free(text);
    return OK;
}

static int write_state(struct adoption *a, const struct topic *t, int32_t index, int32_t epoch, struct store_call *call)
{
    int32_t id = a->o->broker_id;
    struct znode_state s = { .leader = id, .leader_epoch = epoch, .isr = { &id, 1 } };
    char *text = znode_state_write(&s);

    if (text == NULL)
        return ERR_NOMEM;
    store_create(call, zpath_partition(t->name, index).z, (struct bytes){ NULL, 0 }, 0);
    store_create(call, zpath_state(t->name, index).z, text_bytes(text), 0);
    free(text);
    return OK;
}

static int write_topic(struct adoption *a, const struct topic *t, struct store_call *call)
{
    int32_t id = a->o->broker_id, n = partitions_of(t);
    struct znode_topic z = { .id = t->id, .partitions_n = n };
    int rc = OK;
    size_t at = 0;
    char *text;

    z.partitions = calloc((size_t)n + 1, sizeof *z.partitions);
    if (z.partitions == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < n; i++)
        z.partitions[i] = (struct znode_partition){ .index = i, .replicas = { &id, 1 } };
    text = znode_topic_write(&z);
    free(z.partitions);
    if (text == NULL)
        return ERR_NOMEM;
    rc = write_configs(a, t, call);
    store_create(call, zpath_topic(t->name).z, text_bytes(text), 0);
    store_create(call, zpath_partitions(t->name).z, (struct bytes){ NULL, 0 }, 0);
    free(text);
    for (int32_t i = 0; i < n && rc == OK; i++) {
        int32_t epoch = a->least_epoch;

        for (; at < t->n && t->parts[at].index == i; at++)          /* twice: in two directories; loading refuses it */
            epoch = t->parts[at].epoch > epoch ? t->parts[at].epoch : epoch;
        rc = write_state(a, t, i, epoch, call);
    }
    return rc;
}

static int write_all(struct adoption *a)
{
    struct store_call *call = store_call_new(NULL, NULL);
    int rc = call != NULL ? OK : ERR_NOMEM;

    for (size_t i = 0; i < a->topics_n && rc == OK; i++)
        if (!a->topics[i].left_out)
            rc = write_topic(a, &a->topics[i], call);
    if (rc == OK && call->ops_n > 0)
        rc = store_run(a->o->store, call);
    if (rc != OK)
        log_error("the partitions found cannot be entered into the metadata store: %s%s%s; nothing was adopted",
                  err_text(rc), call != NULL && call->ops_n > call->failed ? ": " : "",
                  call != NULL && call->ops_n > call->failed ? call->ops[call->failed].path : "");
    store_call_free(&call);
    return rc;
}

/* ---- say ------------------------------------------------------------------------------------------------------- */

static void tell_missing(const struct topic *t, int32_t first, int32_t next)
{
    char which[64];

    if (next == first + 1)
        (void)snprintf(which, sizeof which, "partition %" PRId32, first);
    else
        (void)snprintf(which, sizeof which, "partitions %" PRId32 " to %" PRId32, first, next - 1);
    log_warn("topic %.*s: no log directory has %s, but there is a partition %" PRId32 ": made empty; if there are "
             "records elsewhere, stop the broker, put their directory in place of the empty one, and start again",
             STR_ARG(t->name), which, next);
}

static void tell_topic(const struct topic *t)
{
    int32_t low = INT32_MAX, high = 0, next = 0;
    char id[UUID_TEXT_LEN + 1], epochs[64];

    for (size_t i = 0; i < t->n; i++) {
        low = t->parts[i].epoch < low ? t->parts[i].epoch : low;
        high = t->parts[i].epoch > high ? t->parts[i].epoch : high;
    }
    uuid_text(t->id, id);
    if (low == high)
        (void)snprintf(epochs, sizeof epochs, "leader epoch %" PRId32, low);
    else
        (void)snprintf(epochs, sizeof epochs, "leader epochs %" PRId32 " to %" PRId32, low, high);
    log_info("adopted topic %.*s: %" PRId32 " partition%s, topic id %s%s, %s", STR_ARG(t->name), partitions_of(t),
             partitions_of(t) == 1 ? "" : "s", id, t->id_made ? " (new: the directories have none)" : "", epochs);
    for (size_t i = 0; i < t->n; i++) {
        if (t->parts[i].index > next)
            tell_missing(t, next, t->parts[i].index);
        next = t->parts[i].index + 1;
    }
}

static void tell(const struct adoption *a)
{
    size_t topics = 0, partitions = 0;

    for (size_t i = 0; i < a->topics_n; i++)
        if (!a->topics[i].left_out) {
            tell_topic(&a->topics[i]);
            topics++;
            partitions += a->topics[i].n;
        }
    log_info("adopted %zu topics with %zu partitions as broker %" PRId32 ", one replica each", topics, partitions,
             a->o->broker_id);
    if (a->unknown > 0)
        log_warn("the settings of topics are not in the log directories: %zu adopted topics have the server's "
                 "defaults%s; to set them: kafka-configs.sh --alter --entity-type topics --entity-name TOPIC "
                 "--add-config KEY=VALUE; or, before the adoption, kafka-topics.sh --describe in Apache Kafka, and its "
                 "output as --adopt-configs FILE",
                 a->unknown, a->held ? ", but keep every record (retention.ms=-1, retention.bytes=-1), since they may "
                                       "have been compacted or meant to be kept" : "");
}

static void tell_rest(const struct adoption *a)
{
    if (a->rest.kraft)
        log_warn("__cluster_metadata-0 is the metadata log of a KRaft controller: it is left as it is, nothing is read "
                 "from it");
    if (a->n == 0)
        return;
    if (a->rest.deletions > 0)
        log_info("%zu directories were being deleted (-delete): that goes on", a->rest.deletions);
    if (a->rest.futures + a->rest.strays > 0)
        log_warn("%zu directories are no partitions in use (%zu -future, %zu -stray): they are left as they are",
                 a->rest.futures + a->rest.strays, a->rest.futures, a->rest.strays);
}

static void tell_unknown(const struct adoption *a)
{
    if (a->topics_n > 0)
        log_warn("the log directories hold %zu partitions of %zu topics that the metadata store does not have "
                 "(%.*s%s): left as they are; if Apache Kafka has made them meanwhile, start once with --adopt to take "
                 "them over", a->n, a->topics_n, STR_ARG(a->topics[0].name), a->topics_n > 1 ? ", ..." : "");
}

int adopt_partitions(const struct adopt_opts *o)
{
    struct adoption a = { .o = o };
    int rc = OK;

    arena_init(&a.arena, ARENA_MAX);
    if (!o->all)
        rc = read_known(&a);
    if (rc == OK)
        rc = collect(&a, !o->all && !o->asked);
    if (rc == OK && (o->all || o->asked))
        tell_rest(&a);
    else if (rc == OK)
        tell_unknown(&a);
    if (rc == OK && a.n > 0 && (o->all || o->asked)) {
        log_info("the log directories hold %zu partitions of topics that the metadata store does not have: taking them "
                 "over", a.n);
        if (o->configs_file != NULL)
            rc = adopt_configs_read(o->configs_file, o->cfg, &a.configs);
        if (rc == OK)
            rc = judge(&a);
        if (rc == OK)
            rc = write_all(&a);
        if (rc == OK)
            tell(&a);
    }
    if (rc == ERR_NOMEM)
        log_error("adopting the partitions found: out of memory");
    adopt_configs_free(&a.configs);
    free(a.parts);
    arena_fini(&a.arena);
    return rc;
}
