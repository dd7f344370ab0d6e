/* tools/reassign/verify.c - --verify and --list. */
#include "tools/reassign/reassign.h"

#include <stdio.h>

static bool equal(const struct rp_ids *a, const struct rp_ids *b)
{
    return a->n == b->n && (a->n == 0 || memcmp(a->v, b->v, (size_t)a->n * sizeof *a->v) == 0);
}

static void print_state(struct rp *r, const struct rp_part *want, const struct rp_part *now, bool moves)
{
    static const struct rp_ids none = { NULL, 0 };
    const struct rp_ids *is = now != NULL ? &now->replicas : &none;

    if (moves) {
        printf("Reassignment of partition %.*s-%d is still in progress.\n", STR_ARG(want->topic), want->partition);
    } else if (equal(is, &want->replicas)) {
        printf("Reassignment of partition %.*s-%d is %s.\n", STR_ARG(want->topic), want->partition,
               r->to->old ? "complete" : "completed");
    } else {
        printf("There is no active reassignment of partition %.*s-%d, but replica set is ", STR_ARG(want->topic),
               want->partition);
        rp_print_ids(is);
        fputs(" rather than ", stdout);
        rp_print_ids(&want->replicas);
        puts(".");
    }
}

static void print_dir(const struct rp_dir *d)
{
    if (d->now == NULL)
        printf("Partition %.*s-%d is not found in any live log dir on broker %d. There is likely an offline log "
               "directory on the broker.\n", STR_ARG(d->topic), d->partition, d->broker);
    else if (d->future == NULL && strcmp(d->now, d->dir) == 0)
        printf("Reassignment of replica %.*s-%d-%d completed successfully.\n", STR_ARG(d->topic), d->partition,
               d->broker);
    else if (d->future == NULL)
        printf("Partition %.*s-%d on broker %d is not being moved from log dir %s to %s.\n", STR_ARG(d->topic),
               d->partition, d->broker, d->now, d->dir);
    else if (strcmp(d->future, d->dir) == 0)
        printf("Reassignment of replica %.*s-%d-%d is still in progress.\n", STR_ARG(d->topic), d->partition,
               d->broker);
    else
        printf("Partition %.*s-%d on broker %d is being moved to log dir %s instead of %s.\n", STR_ARG(d->topic),
               d->partition, d->broker, d->future, d->dir);
}

/* *busy: some replica is still on its way to another directory. */
static int verify_dirs(struct rp *r, struct rp_dirs *dirs, bool *busy)
{
    rp_sort_dirs(dirs);
    TRY(rp_describe_dirs(r, dirs));
    for (size_t i = 0; i < dirs->n; i++) {
        print_dir(&dirs->v[i]);
        *busy |= dirs->v[i].future != NULL;
    }
    if (dirs->n == 0)
        putchar('\n');
    return OK;
}

int rp_verify(struct rp *r)
{
    struct rp_parts want, sorted, moving, now;
    struct topic_names topics;
    struct rp_dirs dirs;
    const char *text;
    bool busy;

    TRY(rp_read_file(r, options_str(r->o, R_FILE), &text));
    TRY(rp_parse(r, text, &want, &dirs));
    if (r->to->old)
        puts("Warning: because you are using the deprecated --zookeeper option, the results may be incomplete.  Use "
             "--bootstrap-server instead for more accurate results.");
    TRY(r->to->moving(r, &moving));
    TRY(rp_topics_of(r, &want, &topics));
    TRY(r->to->topics(r, &topics, false, &now));
    rp_sort(&now);
    sorted = want;
    rp_sort(&sorted);
    puts("Status of partition reassignment:");
    for (size_t i = 0; i < sorted.n; i++)
        print_state(r, &sorted.v[i], rp_find(&now, sorted.v[i].topic, sorted.v[i].partition),
                    rp_find(&moving, sorted.v[i].topic, sorted.v[i].partition) != NULL);
    busy = moving.n > 0;
    if (!r->to->old)
        TRY(verify_dirs(r, &dirs, &busy));
    return busy || options_has(r->o, R_PRESERVE) ? OK : rp_clear_throttles(r, &sorted);
}

int rp_list(struct rp *r)
{
    struct rp_parts moving;

    TRY(r->to->moving(r, &moving));
    if (moving.n == 0) {
        puts("No partition reassignments found.");
        return OK;
    }
    puts("Current partition reassignments:");
    for (size_t i = 0; i < moving.n; i++) {
        const struct rp_part *p = &moving.v[i];

        printf("%.*s-%d: replicas: ", STR_ARG(p->topic), p->partition);
        rp_print_ids(&p->replicas);
        putchar('.');
        if (p->adding.n > 0) {
            fputs(" adding: ", stdout);
            rp_print_ids(&p->adding);
            putchar('.');
        }
        if (p->removing.n > 0) {
            fputs(" removing: ", stdout);
            rp_print_ids(&p->removing);
            putchar('.');
        }
        putchar('\n');
    }
    return OK;
}
