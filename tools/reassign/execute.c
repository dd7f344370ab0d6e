/* tools/reassign/execute.c - --execute and --cancel. */
#include "tools/reassign/reassign.h"

#include "base/clock.h"
#include "proto/kerr.h"

#include <stdio.h>
#include <time.h>

#define POLL_MS 100

static int running(struct rp *r)
{
    r->terse = true;
    return admin_fail(&r->a, ERR_EXISTS, "Cannot execute because there is an existing partition assignment.  Use "
                      "--additional to override this and create a new partition assignment in addition to the "
                      "existing one. The --additional flag can also be used to change the throttle by resubmitting "
                      "the current reassignment.");
}

static int known_brokers(struct rp *r, const struct rp_parts *want)
{
    struct rp_broker *live;
    size_t n;

    TRY(r->to->brokers(r, &live, &n));
    for (size_t i = 0; i < want->n; i++)
        for (int32_t k = 0; k < want->v[i].replicas.n; k++) {
            size_t b = 0;

            while (b < n && live[b].id != want->v[i].replicas.v[k])
                b++;
            if (b == n)
                return admin_fail(&r->a, ERR_NOENT, "Unknown broker id %d", want->v[i].replicas.v[k]);
        }
    return OK;
}

/* What is there of what is wanted; everything has to be. */
static int current(struct rp *r, const struct rp_parts *want, struct rp_parts *now)
{
    struct topic_names topics;
    size_t n = 0;

    TRY(rp_topics_of(r, want, &topics));
    TRY(r->to->topics(r, &topics, true, now));
    rp_sort(now);
    if (r->to->old)
        TRY(rp_zk_check(r, want, now));
    for (size_t i = 0; i < want->n; i++)
        if (rp_find(now, want->v[i].topic, want->v[i].partition) == NULL)
            return admin_fail(&r->a, ERR_NOENT, "org.apache.kafka.common.errors.UnknownTopicOrPartitionException: "
                              "Unable to find partition: %.*s-%d", STR_ARG(want->v[i].topic), want->v[i].partition);
    for (size_t i = 0; i < now->n; i++)
        if (rp_find(want, now->v[i].topic, now->v[i].partition) != NULL)
            now->v[n++] = now->v[i];
    now->n = n;
    return OK;
}

/* A replica that is still to come to its broker cannot be moved there yet: tried again until --timeout. */
static int move_dirs(struct rp *r, struct rp_dirs *dirs, int64_t timeout_ms)
{
    int64_t until = mono_ms() + timeout_ms;

    for (;;) {
        size_t left = 0;

        TRY(rp_move_dirs(r, dirs));
        for (size_t i = 0; i < dirs->n; i++) {
            const struct rp_dir *d = &dirs->v[i];

            if (d->kerr == KERR_NONE)
                printf("Successfully started moving log directory to %s for replica %.*s-%d with broker %d \n", d->dir,
                       STR_ARG(d->topic), d->partition, d->broker);
            else if (d->kerr != KERR_REPLICA_NOT_AVAILABLE)
                return admin_fail(&r->a, ERR_INVALID, "Failed to alter dir for %.*s-%d-%d: %s", STR_ARG(d->topic),
                                  d->partition, d->broker, kerr_message(d->kerr));
            else
                dirs->v[left++] = *d;
        }
        dirs->n = left;
        if (left == 0)
            return OK;
        if (mono_ms() >= until)
            break;
        nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000L }, NULL);
    }
    r->terse = true;
    return admin_fail(&r->a, ERR_TIMEOUT, "Timed out before log directory move%s could be started for: %.*s-%d-%d%s",
                      dirs->n == 1 ? "" : "s", STR_ARG(dirs->v[0].topic), dirs->v[0].partition, dirs->v[0].broker,
                      dirs->n == 1 ? "" : ",...");
}

struct rates {
    int64_t brokers, dirs, timeout_ms;
};

static int read_rates(struct rp *r, struct rates *out)
{
    *out = (struct rates){ -1, -1, 10000 };
    for (int i = 0; i < 3; i++) {
        static const size_t opts[] = { R_THROTTLE, R_DIR_THROTTLE, R_TIMEOUT };
        int64_t *to[] = { &out->brokers, &out->dirs, &out->timeout_ms };
        int rc = options_i64(r->o, opts[i], to[i]);

        if (rc != OK && rc != ERR_NOENT)
            return admin_fail(&r->a, rc, "%s", r->o->error);
    }
    return OK;
}

static int throttle(struct rp *r, const struct rates *rates, const struct rp_parts *moving, const struct rp_parts *want,
                    const struct rp_parts *now, const struct rp_dirs *dirs)
{
    if (rates->brokers < 0 && rates->dirs < 0)
        return OK;
    puts("Warning: You must run --verify periodically, until the reassignment completes, to ensure the throttle is "
         "removed.");
    if (rates->brokers >= 0)
        TRY(rp_throttle(r, moving, want, now, rates->brokers));
    if (rates->dirs >= 0)
        TRY(rp_throttle_dirs(r, dirs, rates->dirs));
    return OK;
}

static int start(struct rp *r, const struct rp_parts *want)
{
    if (r->to->old)
        return rp_zk_write(r, want);
    return rp_alter(r, want, false, "Error reassigning partition(s):");
}

int rp_execute(struct rp *r)
{
    struct rp_parts want, now, moving = { NULL, 0 };
    struct rp_dirs dirs;
    struct rates rates;
    const char *text;
    bool busy;

    TRY(read_rates(r, &rates));
    TRY(rp_read_file(r, options_str(r->o, R_FILE), &text));
    TRY(rp_parse(r, text, &want, &dirs));
    TRY(rp_check(r, &want));
    rp_sort(&want);
    rp_sort_dirs(&dirs);
    if (r->to->old && dirs.n > 0)
        return admin_fail(&r->a, ERR_INVALID,
                          "bootstrap-server needs to be provided when replica reassignments are present.");
    if (!r->to->old) {
        TRY(r->to->moving(r, &moving));
        if (!options_has(r->o, R_ADDITIONAL) && moving.n > 0)
            return running(r);
        TRY(known_brokers(r, &want));
    }
    TRY(current(r, &want, &now));
    if (r->to->old) {
        TRY(rp_zk_running(r, &busy));
        if (busy)
            return running(r);
    }
    puts("Current partition replica assignment\n");
    rp_print_json(&now);
    puts("\n\nSave this to use as the --reassignment-json-file option during rollback");
    TRY(throttle(r, &rates, &moving, &want, &now, &dirs));
    TRY(start(r, &want));
    printf("Successfully started partition reassignment%s for ", want.n == 1 ? "" : "s");
    rp_print_names(&want);
    putchar('\n');
    return dirs.n > 0 ? move_dirs(r, &dirs, rates.timeout_ms) : OK;
}

/* ---- --cancel ---- */

static int cancel_parts(struct rp *r, const struct rp_parts *want)
{
    struct rp_parts moving, mine = { arena_array(&r->a.arena, want->n + 1, sizeof *mine.v), 0 };

    if (mine.v == NULL)
        return rp_no_memory(r);
    TRY(r->to->moving(r, &moving));
    for (size_t i = 0; i < moving.n; i++)
        if (rp_find(want, moving.v[i].topic, moving.v[i].partition) != NULL)
            mine.v[mine.n++] = moving.v[i];
    if (mine.n == 0) {
        puts("None of the specified partition reassignments are active.");
        return OK;
    }
    TRY(rp_alter(r, &mine, true, mine.n == 1 ? "Error cancelling partition reassignment for:"
                                             : "Error cancelling partition reassignments for:"));
    printf("Successfully cancelled partition reassignment%s for: ", mine.n == 1 ? "" : "s");
    rp_print_names(&mine);
    putchar('\n');
    return OK;
}

int rp_cancel(struct rp *r)
{
    struct rp_parts want;
    struct rp_dirs dirs;
    struct rates rates;
    const char *text;
    size_t n = 0;

    TRY(read_rates(r, &rates));
    TRY(rp_read_file(r, options_str(r->o, R_FILE), &text));
    TRY(rp_parse(r, text, &want, &dirs));
    rp_sort(&want);
    rp_sort_dirs(&dirs);
    TRY(cancel_parts(r, &want));
    TRY(rp_describe_dirs(r, &dirs));
    for (size_t i = 0; i < dirs.n; i++)
        if (dirs.v[i].now != NULL && dirs.v[i].future != NULL) {        /* it moves: back to where it is */
            dirs.v[n] = dirs.v[i];
            dirs.v[n++].dir = dirs.v[i].now;
        }
    dirs.n = n;
    if (n == 0)
        fputs("None of the specified partition moves are active.", stdout);
    else
        TRY(move_dirs(r, &dirs, rates.timeout_ms));
    return options_has(r->o, R_PRESERVE) ? OK : rp_clear_throttles(r, &want);
}
