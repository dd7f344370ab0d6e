/* broker/group/groups.c - which groups are here: the map, and sessions with one group.
 *
 * INVARIANTS
 *  1. A group is put into the map under its shard's lock while its partition is ACTIVE (or, by its loader, LOADING).
 *     The state changes first, then the shards are swept: so no group of a partition that was given up stays behind.
 *  2. A DEAD group leaves the map soon after; whoever finds it there takes it out and looks again.
 *  3. No session begins with a DEAD group.
 *  4. That a group is not there is said only of a partition that was ACTIVE all the while: the sweep may have come
 *     between the look at the state and the look into the map.
 */
#define HASH_NONFATAL_OOM 1
#include "broker/group/groups_priv.h"

#include "base/clock.h"
#include "base/log.h"
#include "broker/group/offsets.h"
#include "broker/group/tombs.h"
#include "broker/replica/partition.h"
#include "broker/replica/replicas.h"
#include "config/config.h"
#include "metadata/store.h"
#include "metadata/znodes.h"
#include "proto/kerr.h"

#include <stdlib.h>

const struct str groups_topic = { "__consumer_offsets", 18 };

/* ---- which partition --------------------------------------------------------------------------------------------- */

/* How long a character is that begins with this byte; 0: none does. */
static size_t char_bytes(uint8_t lead)
{
    return lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
}

/* The code point at p, of which n bytes are there; what is no UTF-8 becomes U+FFFD, in pieces as Java has them. */
static uint32_t code_point(const uint8_t *p, size_t n, size_t *used)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t len = char_bytes(p[0]);
    uint32_t c = len < 2 ? p[0] : p[0] & (0x7fU >> len);

    *used = 1;
    for (size_t i = 1; i < len; i++) {
        if (i >= n || (p[i] & 0xc0) != 0x80)
            return 0xfffd;
        c = c << 6 | (p[i] & 0x3fU);
        if (i == 1 && (c << 6 * (len - 2) < least[len] || c << 6 * (len - 2) > 0x10ffff))
            return 0xfffd;              /* longer than it need be, or beyond Unicode: the second byte tells */
        *used = i + 1;
    }
    return len == 0 || (c >= 0xd800 && c < 0xe000) ? 0xfffd : c;
}

/* Java's String.hashCode(), over UTF-16. */
static int32_t java_hash(struct str s)
{
    const uint8_t *p = (const uint8_t *)s.p;
    uint32_t h = 0;
    size_t used;

    for (size_t i = 0; i < s.len; i += used) {
        uint32_t c = code_point(p + i, s.len - i, &used);

        if (c >= 0x10000) {
            h = 31 * h + (0xd7c0 + (c >> 10));
            c = 0xdc00 + (c & 0x3ff);
        }
        h = 31 * h + c;
    }
    return (int32_t)h;
}

int32_t groups_partition_of(const struct groups *gs, struct str group_id)
{
    int32_t h = java_hash(group_id);

    return (h == INT32_MIN ? 0 : h < 0 ? -h : h) % gs->parts_n;
}

const struct record_versions *groups_versions(const struct groups *gs)
{
    return &gs->versions;
}

int16_t part_check(const struct groups *gs, const struct group_partition *part)
{
    if (atomic_load_explicit(&gs->stopping, memory_order_relaxed))
        return KERR_COORDINATOR_NOT_AVAILABLE;
    switch ((enum part_state)atomic_load_explicit(&part->state, memory_order_acquire)) {
    case PART_ACTIVE:  return KERR_NONE;
    case PART_LOADING: return KERR_COORDINATOR_LOAD_IN_PROGRESS;
    default:           return KERR_NOT_COORDINATOR;
    }
}

/* After a start that takes long, partitions are ours whose logs are not open yet. Who is told NOT_COORDINATOR would
 * look for another broker, and be sent here again. Nothing is locked. */
static int16_t part_answer(const struct groups *gs, const struct group_partition *part)
{
    int16_t kerr = part_check(gs, part);

    if (kerr == KERR_NOT_COORDINATOR && replicas_is_loading(gs->o.replicas, groups_topic, part->index))
        kerr = KERR_COORDINATOR_LOAD_IN_PROGRESS;
    return kerr;
}

int16_t groups_check(struct groups *gs, struct str group_id)
{
    return part_answer(gs, &gs->parts[groups_partition_of(gs, group_id)]);
}

/* ---- one group --------------------------------------------------------------------------------------------------- */

int group_make(struct group **out, struct group_partition *home, struct str id)
{
    struct group *g = calloc(1, sizeof *g);
    int rc;

    if (g == NULL)
        return ERR_NOMEM;
    rc = group_init(g, id, &home->gs->limits);
    if (rc != OK) {
        free(g);
        return rc;
    }
    atomic_init(&g->refs, 1);
    g->home = home;
    g->log = partition_ref(home->log);
    g->armed_ms = INT64_MAX;
    *out = g;
    return OK;
}

void group_unref(struct group *g)
{
    if (atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) != 1)
        return;
    partition_unref(&g->log);
    group_fini(g);
    free(g);
}

static struct group *group_ref(struct group *g)
{
    atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
    return g;
}

/* ---- the map ----------------------------------------------------------------------------------------------------- */

static unsigned hash_of(struct str id)
{
    unsigned hash;

    HASH_VALUE(id.p, id.len, hash);
    return hash;
}

static struct group_shard *shard_of(struct groups *gs, unsigned hash)
{
    return &gs->shard[(hash >> 16) % GROUP_SHARDS];     /* the low bits choose the bucket */
}

static struct group *map_get(struct groups *gs, struct str id)
{
    unsigned hash = hash_of(id);
    struct group_shard *sh = shard_of(gs, hash);
    struct group *g = NULL;

    lock_take(&sh->lock);
    HASH_FIND_BYHASHVALUE(hh, sh->map, id.p, id.len, hash, g);
    if (g != NULL)
        group_ref(g);
    lock_drop(&sh->lock);
    return g;
}

int map_put(struct groups *gs, struct group *g, enum part_state in)
{
    unsigned hash = hash_of(g->id);
    struct group_shard *sh = shard_of(gs, hash);
    struct group *found = NULL;
    int rc = OK;

    lock_take(&sh->lock);
    if (atomic_load(&gs->stopping) ||
        (enum part_state)atomic_load_explicit(&g->home->state, memory_order_acquire) != in)
        rc = ERR_EXISTS;
    if (rc == OK)
        HASH_FIND_BYHASHVALUE(hh, sh->map, g->id.p, g->id.len, hash, found);
    if (found != NULL)
        rc = ERR_EXISTS;
    if (rc == OK) {
        HASH_ADD_KEYPTR_BYHASHVALUE(hh, sh->map, g->id.p, g->id.len, hash, g);
        if (g->hh.tbl == NULL)
            rc = ERR_NOMEM;
        else
            group_ref(g);
    }
    lock_drop(&sh->lock);
    return rc;
}

static void map_remove(struct groups *gs, struct group *g)
{
    unsigned hash = hash_of(g->id);
    struct group_shard *sh = shard_of(gs, hash);
    struct group *found = NULL;

    lock_take(&sh->lock);
    HASH_FIND_BYHASHVALUE(hh, sh->map, g->id.p, g->id.len, hash, found);
    if (found == g)
        HASH_DELETE(hh, sh->map, g);
    lock_drop(&sh->lock);
    if (found == g)
        group_unref(g);
}

/* ---- sessions ---------------------------------------------------------------------------------------------------- */

void session_begin(struct groups *gs, struct group *g, struct group_session *s)
{
    *s = (struct group_session){ .gs = gs, .g = g };
    lock_take(&g->lock);
}

/* Finds the group or makes it; a reference. NULL with OK: it is not there. */
static int find_or_make(struct groups *gs, struct group_partition *part, struct str id, enum groups_how how,
                        struct group **out)
{
    struct group *g = map_get(gs, id);
    int rc = OK;

    if (g == NULL && how == GROUPS_OR_NEW) {
        struct group_shard *sh = shard_of(gs, hash_of(id));

        lock_take(&sh->lock);           /* part->log stands while the partition is active, and we are here */
        if (part_check(gs, part) == KERR_NONE)
            rc = group_make(&g, part, id);
        else
            rc = ERR_EXISTS;
        lock_drop(&sh->lock);
        if (rc == OK)
            rc = map_put(gs, g, PART_ACTIVE);
        if (rc != OK && g != NULL) {
            group_unref(g);
            g = NULL;
        }
    }
    *out = g;
    return rc;
}

int16_t groups_enter(struct groups *gs, struct str group_id, enum groups_how how, struct group_session *s)
{
    struct group_partition *part = &gs->parts[groups_partition_of(gs, group_id)];
    struct group *g;

    *s = (struct group_session){ .gs = gs };
    while (true) {
        unsigned changes = atomic_load_explicit(&part->changes, memory_order_acquire);
        int16_t kerr = part_answer(gs, part);
        int rc;

        if (kerr != KERR_NONE)
            return kerr;
        rc = find_or_make(gs, part, group_id, how, &g);
        if (rc == ERR_EXISTS)
            continue;                   /* somebody else was faster, or the partition is ours no more */
        if (rc != OK)
            return kerr_of(rc);
        if (g == NULL && changes != atomic_load_explicit(&part->changes, memory_order_acquire))
            continue;
        if (g == NULL)
            return part_answer(gs, part);       /* no longer NONE while all is being stopped */
        session_begin(gs, g, s);
        if (g->state != GROUP_DEAD)
            return KERR_NONE;
        lock_drop(&g->lock);
        *s = (struct group_session){ .gs = gs };
        map_remove(gs, g);
        group_unref(g);
    }
}

/* A group of which neither memory nor log have anything: a request was refused that would have begun it. If it stayed
 * until expiry passes by, whoever makes up names could fill the memory with them. */
static bool is_blank(const struct group *g)
{
    return g->state == GROUP_EMPTY && g->generation == 0 && group_due(g) == INT64_MAX &&
           group_want(g) == GROUP_WANTS_NOTHING && group_offsets_none(g->offsets);
}

void groups_leave(struct group_session *s)
{
    struct group *g = s->g;
    bool dead;

    if (g == NULL)
        return;
    writes_want(s);
    if (s->parked == NULL && is_blank(g))
        group_end(g, KERR_NONE);
    clock_arm(g, mono_ms());
    dead = g->state == GROUP_DEAD;
    lock_drop(&g->lock);
    if (s->wake)
        partition_wake(g->log);
    if (s->parked != NULL)
        writes_park(s->parked);
    if (dead)
        map_remove(s->gs, g);
    group_unref(g);
    s->g = NULL;
    s->parked = NULL;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

/* References of the groups of a shard. NULL: there are none, or out of memory (*failed). */
static struct group **groups_in(struct group_shard *sh, size_t *n, bool *failed)
{
    struct group **v = NULL;

    *n = 0;
    lock_take(&sh->lock);
    if (sh->map != NULL) {
        v = calloc(HASH_COUNT(sh->map), sizeof(struct group *));
        *failed |= v == NULL;
        for (struct group *g = sh->map; g != NULL && v != NULL; g = g->hh.next)
            v[(*n)++] = group_ref(g);
    }
    lock_drop(&sh->lock);
    return v;
}

static bool any_loading(const struct groups *gs)
{
    for (int32_t i = 0; i < gs->parts_n; i++)
        if (part_answer(gs, &gs->parts[i]) == KERR_COORDINATOR_LOAD_IN_PROGRESS)
            return true;
    return false;
}

void groups_each(struct groups *gs, bool (*fn)(void *arg, struct group_session *s), void *arg, bool *loading)
{
    bool failed = false, more = true;

    if (loading != NULL)
        *loading = any_loading(gs);
    for (int i = 0; i < GROUP_SHARDS && more; i++) {
        size_t n;
        struct group **v = groups_in(&gs->shard[i], &n, &failed);

        for (size_t k = 0; k < n; k++) {
            struct group *g = v[k];
            struct group_session s;

            if (!more) {
                group_unref(g);
                continue;
            }
            session_begin(gs, g, &s);
            if (g->state != GROUP_DEAD && part_check(gs, g->home) == KERR_NONE)
                more = fn(arg, &s);
            groups_leave(&s);
        }
        free(v);
    }
    if (failed)
        log_error("consumer groups: out of memory: some of them were passed over");
}

/* Takes them out first, linked by the fields that the map does not need any more; then each is ended. */
void groups_drop(struct groups *gs, const struct group_partition *of, int16_t kerr)
{
    for (int i = 0; i < GROUP_SHARDS; i++) {
        struct group_shard *sh = &gs->shard[i];
        struct group *g, *next, *out = NULL;

        lock_take(&sh->lock);
        HASH_ITER(hh, sh->map, g, next) {
            if (of != NULL && g->home != of)
                continue;
            HASH_DELETE(hh, sh->map, g);
            g->hh.next = out;
            out = g;
        }
        lock_drop(&sh->lock);
        for (g = out; g != NULL; g = next) {
            struct group_session s;

            next = g->hh.next;
            session_begin(gs, g, &s);
            if (g->state != GROUP_DEAD)
                group_end(g, kerr);
            groups_leave(&s);
        }
    }
}

/* ---- removing ---------------------------------------------------------------------------------------------------- */

static void tomb_offset(void *arg, struct str topic, int32_t partition)
{
    tombs_add(arg, topic, partition);
}

void groups_remove(struct group_session *s)
{
    struct group *g = s->g;
    struct tombs t;

    tombs_init(&t, s);
    group_offsets_each_known(g->offsets, tomb_offset, &t);
    if (g->generation > 0)
        tombs_add_group(&t);
    group_end(g, KERR_NONE);
    tombs_end(&t);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

/* As many as the topic has, if it is there: what is added later would send groups elsewhere, and is not looked at. */
static int32_t partitions_found(struct store *store, int32_t otherwise)
{
    struct store_call *call = store != NULL ? store_call_new(NULL, NULL) : NULL;
    int32_t n = otherwise;
    struct znode_topic t;

    if (call == NULL)
        return n;
    store_get(call, zpath_topic(groups_topic).z, 0);
    if (store_run(store, call) == OK && znode_topic_read(call->ops[0].value, &call->arena, &t) == OK &&
        t.partitions_n > 0)
        n = t.partitions_n;
    store_call_free(&call);
    return n;
}

int groups_new(struct groups **out, const struct groups_opts *o)
{
    struct groups *gs = calloc(1, sizeof *gs);
    int rc;

    if (gs == NULL)
        return ERR_NOMEM;
    gs->o = *o;
    gs->limits = (struct group_limits){ .min_session_timeout_ms = o->cfg->group_min_session_timeout_ms,
                                        .max_session_timeout_ms = o->cfg->group_max_session_timeout_ms,
                                        .max_size = o->cfg->group_max_size,
                                        .initial_delay_ms = o->cfg->group_initial_rebalance_delay_ms };
    if (gs->limits.initial_delay_ms < 0)
        gs->limits.initial_delay_ms = 0;
    gs->versions = record_versions_of(o->cfg->inter_broker_protocol_version);
    gs->parts_n = partitions_found(o->store, o->cfg->offsets_topic_num_partitions);
    lock_init(&gs->desk, LOCK_groupparts);
    cond_init(&gs->bell);
    mpsc_init(&gs->due);
    mpsc_init(&gs->ended);
    for (int i = 0; i < GROUP_SHARDS; i++)
        lock_init(&gs->shard[i].lock, LOCK_groupmap);
    gs->parts = calloc((size_t)gs->parts_n, sizeof *gs->parts);
    for (int32_t i = 0; i < gs->parts_n && gs->parts != NULL; i++) {
        gs->parts[i].index = i;
        gs->parts[i].gs = gs;
    }
    rc = gs->parts != NULL ? clock_start(gs) : ERR_NOMEM;
    if (rc != OK)
        groups_free(&gs);
    *out = gs;
    return rc;
}

void groups_stop(struct groups *gs)
{
    atomic_store(&gs->stopping, true);
    groups_drop(gs, NULL, KERR_COORDINATOR_NOT_AVAILABLE);
    clock_stop(gs);
    groups_drop(gs, NULL, KERR_COORDINATOR_NOT_AVAILABLE);      /* those that a load had just put there */
}

void groups_free(struct groups **gsp)
{
    struct groups *gs = *gsp;

    if (gs == NULL)
        return;
    groups_stop(gs);
    for (int32_t i = 0; i < gs->parts_n && gs->parts != NULL; i++)
        partition_unref(&gs->parts[i].log);
    for (int i = 0; i < GROUP_SHARDS; i++)
        lock_fini(&gs->shard[i].lock);
    cond_fini(&gs->bell);
    lock_fini(&gs->desk);
    free(gs->parts);
    free(gs);
    *gsp = NULL;
}
