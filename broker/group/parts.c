/* broker/group/parts.c - which partitions of __consumer_offsets are ours, as the replica manager says.
 *
 *     +------------- groups_leads(), its log is empty ------------------------+
 *     |                                                                       v
 *   NONE --groups_leads()--> LOADING --the loader has come to the end------> ACTIVE
 *     ^                            |                                          |
 *     +----------------------------+--------------- groups_resigns() ---------+
 *
 * The state changes at once, in the thread that tells; what follows from it is left to the coordinator's thread: first
 * all groups of the partition are dropped (to_drop), then it is loaded (to_load) in a thread of the scheduler. While
 * that runs nothing else is begun for the partition: a loader that is late finds that it is not wanted.
 * Who leads a partition already and is told so again, in a new epoch, goes on.
 */
#include "broker/group/groups_priv.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/scheduler.h"
#include "broker/replica/partition.h"
#include "broker/replica/replicas.h"
#include "proto/kerr.h"

enum {
    TELL_LOADS_MS = 100,                /* after the last load; others may follow */
    LOAD_AGAIN_MS = 100,
};

static struct group_partition *part_of(struct groups *gs, int32_t partition)
{
    return partition >= 0 && partition < gs->parts_n ? &gs->parts[partition] : NULL;
}

static void set_state(struct group_partition *part, enum part_state st)
{
    lock_assert(&part->gs->desk);
    atomic_store_explicit(&part->state, (int)st, memory_order_release);
    atomic_fetch_add_explicit(&part->changes, 1, memory_order_release);
}

static enum part_state state_of(const struct group_partition *part)
{
    return (enum part_state)atomic_load_explicit(&part->state, memory_order_relaxed);
}

static void tell(struct groups *gs)
{
    lock_assert(&gs->desk);
    gs->told = gs->rung = true;
    cond_signal(&gs->bell);
}

/* Nothing to load and nothing left of an earlier time: so whoever had the topic made can use it at once, rather than be
 * told to come back, for which some clients take seconds. */
static bool is_ready(const struct group_partition *part, struct partition *log)
{
    struct plog_offsets now;

    lock_assert(&part->gs->desk);
    if (log == NULL || part->busy || part->to_drop || part->log != NULL)     /* who made it busy changes `log` */
        return false;
    now = partition_offsets(log);
    return now.start == now.leo;
}

void groups_leads(struct groups *gs, int32_t partition)
{
    struct group_partition *part = part_of(gs, partition);
    struct partition *log;

    if (part == NULL) {
        if (!atomic_exchange(&gs->told_beyond, true))
            log_warn("%.*s-%d is not used for groups: they are spread over the %d partitions that there were at the "
                     "start; when the broker is started again they are spread over all, and are looked for where "
                     "their offsets are not", STR_ARG(groups_topic), (int)partition, (int)gs->parts_n);
        return;
    }
    log = replicas_find(gs->o.replicas, groups_topic, partition, NULL);
    lock_take(&gs->desk);
    if (state_of(part) == PART_NONE && is_ready(part, log)) {
        part->log = log;
        log = NULL;
        set_state(part, PART_ACTIVE);
    } else if (state_of(part) == PART_NONE) {
        set_state(part, PART_LOADING);
        part->to_load = true;
        tell(gs);
    }
    lock_drop(&gs->desk);
    partition_unref(&log);
}

void groups_resigns(struct groups *gs, int32_t partition)
{
    struct group_partition *part = part_of(gs, partition);

    if (part == NULL)
        return;
    lock_take(&gs->desk);
    if (state_of(part) != PART_NONE) {
        set_state(part, PART_NONE);
        part->to_drop = true;
        part->to_load = false;
        tell(gs);
    }
    lock_drop(&gs->desk);
}

/* No group of it is in the map, and none can come there. */
static void drop(struct group_partition *part)
{
    groups_drop(part->gs, part, KERR_NOT_COORDINATOR);
    partition_unref(&part->log);
}

/* job_fn. One line for all partitions that were loaded at about the same time: at the start of a broker, which comes to
 * lead one after the other, that may be fifty. */
static void tell_loads(void *arg)
{
    struct groups *gs = arg;
    struct load_sum sum = { 0 };
    int64_t ms = 0;

    lock_take(&gs->desk);
    gs->telling = false;
    if (gs->loads == 0) {               /* else the last to end calls again */
        sum = gs->loaded;
        ms = gs->load_end_ms - gs->load_ms;
        gs->loaded = (struct load_sum){ 0 };
        gs->load_ms = 0;
    }
    lock_drop(&gs->desk);
    if (sum.parts > 0)
        log_info("%.*s: %zu group%s with %zu committed offset%s loaded from %zu record%s of %zu partition%s in %lld ms",
                 STR_ARG(groups_topic), sum.groups, plural(sum.groups), sum.offsets, plural(sum.offsets), sum.records,
                 plural(sum.records), sum.parts, plural(sum.parts), (long long)ms);
    clock_done(gs);
}

static void ended(struct group_partition *part, const struct load_sum *sum)
{
    struct groups *gs = part->gs;
    bool tells = false;

    lock_take(&gs->desk);
    gs->loaded.parts += sum->parts;
    gs->loaded.groups += sum->groups;
    gs->loaded.offsets += sum->offsets;
    gs->loaded.records += sum->records;
    if (--gs->loads == 0) {
        gs->load_end_ms = mono_ms();
        tells = !gs->telling && gs->loaded.parts > 0;
        gs->telling = gs->telling || tells;
        if (!gs->telling)
            gs->load_ms = 0;
    }
    part->busy = false;
    if (!part->to_drop && state_of(part) == PART_LOADING)
        set_state(part, PART_ACTIVE);
    tell(gs);
    lock_drop(&gs->desk);
    if (tells) {
        atomic_fetch_add(&gs->busy, 1);
        if (scheduler_add(gs->o.sched, "tell-loads", TELL_LOADS_MS, 0, tell_loads, gs, NULL) != OK)
            tell_loads(gs);
    }
    clock_done(gs);
}

/* job_fn */
static void load(void *arg)
{
    struct group_partition *part = arg;
    struct load_sum sum = { 0 };

    if (load_partition(part, &sum) == ERR_AGAIN &&
        scheduler_add(part->gs->o.sched, "load-groups", LOAD_AGAIN_MS, 0, load, part, NULL) == OK)
        return;
    ended(part, &sum);
}

static void begin_load(struct group_partition *part)
{
    struct groups *gs = part->gs;

    if (part->log == NULL)
        part->log = replicas_find(gs->o.replicas, groups_topic, part->index, NULL);
    if (part->log == NULL) {            /* gone again; we are told in a moment */
        lock_take(&gs->desk);
        part->busy = false;
        lock_drop(&gs->desk);
        return;
    }
    atomic_fetch_add(&gs->busy, 1);
    lock_take(&gs->desk);
    gs->loads++;
    if (gs->load_ms == 0)
        gs->load_ms = mono_ms();
    lock_drop(&gs->desk);
    if (scheduler_add(gs->o.sched, "load-groups", 0, 0, load, part, NULL) != OK)
        load(part);                     /* out of memory: here, then */
}

void parts_work(struct groups *gs)
{
    for (int32_t i = 0; i < gs->parts_n; i++) {
        struct group_partition *part = &gs->parts[i];
        bool to_drop, to_load;

        lock_take(&gs->desk);
        to_drop = part->to_drop && !part->busy;
        if (to_drop) {
            part->to_drop = false;
            part->busy = true;
            lock_drop(&gs->desk);
            drop(part);
            lock_take(&gs->desk);
            part->busy = false;
        }
        to_load = part->to_load && !part->busy && !part->to_drop && !atomic_load(&gs->stopping);
        if (to_load) {
            part->to_load = false;
            part->busy = true;
        }
        lock_drop(&gs->desk);
        if (to_load)
            begin_load(part);
    }
}
