/* tools/consumer_groups/delete.c - --delete and --delete-offsets. */
#include "tools/consumer_groups/consumer_groups.h"

#include "proto/gen/delete_groups_request.h"
#include "proto/gen/delete_groups_response.h"
#include "proto/gen/offset_delete_request.h"
#include "proto/gen/offset_delete_response.h"
#include "proto/kerr.h"

#include <stdlib.h>

CLIENT_API(delete_groups, API_DELETE_GROUPS);
CLIENT_API(offset_delete, API_OFFSET_DELETE);

/* What cg_fail_kafka() or cg_fail_call() says, as a text. */
static const char *failure(struct cg *cg, int wraps, const struct group_job *job, int rc)
{
    const char *text;

    rc = rc != OK ? cg_fail_call(cg, wraps, rc) : cg_fail_kafka(cg, wraps, job->kerr, job->message);
    text = arena_printf(&cg->a.arena, "%s", cg->a.error);
    return text != NULL && rc != OK ? text : "out of memory";
}

/* ---- groups ---- */

static int ask_delete(struct cg *cg, int32_t broker, struct group_job *const *v, size_t n)
{
    struct delete_groups_request  q;
    struct delete_groups_response r;

    delete_groups_request_init(&q);
    TRY(cg_array(cg, n, sizeof *q.groups_names, &q.groups_names));
    for (size_t i = 0; i < n; i++)
        q.groups_names[q.groups_names_n++] = v[i]->group;
    TRY(admin_call(&cg->a, broker, &client_delete_groups, &q, &r));
    for (int32_t i = 0; i < r.results_n; i++) {
        struct group_job *job = group_job_find(v, n, r.results[i].group_id);

        if (job != NULL)
            group_job_answer(job, r.results[i].error_code, NULL);
    }
    return OK;
}

static void print_names(const struct group_job *jobs, size_t n, const char *between)
{
    bool first = true;

    for (size_t i = 0; i < n; i++) {
        if (jobs[i].kerr != KERR_NONE)
            continue;
        printf("%s%.*s", first ? "" : between, STR_ARG(jobs[i].group));
        first = false;
    }
}

int groups_delete(struct cg *cg)
{
    struct strs       names;
    struct group_job *jobs;
    size_t            failed = 0;
    int               rc;

    TRY(groups_chosen(cg, &names));
    TRY(cg_array(cg, names.n, sizeof *jobs, &jobs));
    for (size_t i = 0; i < names.n; i++)
        jobs[i] = (struct group_job){ .group = names.v[i], .coordinator = -1 };
    rc = group_jobs_run(cg, "deleteConsumerGroups", jobs, names.n, ask_delete);
    for (size_t i = 0; i < names.n; i++) {
        if (rc != OK && !jobs[i].done) {
            jobs[i].kerr = rc == ERR_TIMEOUT ? KERR_REQUEST_TIMED_OUT : KERR_UNKNOWN_SERVER_ERROR;
            jobs[i].message = failure(cg, 1, NULL, rc);
        } else if (jobs[i].kerr != KERR_NONE) {
            jobs[i].message = failure(cg, 1, &jobs[i], OK);
        }
        failed += jobs[i].kerr != KERR_NONE;
    }
    if (failed == 0) {
        fputs("Deletion of requested consumer groups ('", stdout);
        print_names(jobs, names.n, ", ");
        puts("') was successful.");
        return OK;
    }
    cg_print_error(cg, "Deletion of some consumer groups failed:");
    for (size_t i = 0; i < names.n; i++) {
        if (jobs[i].kerr != KERR_NONE)
            printf("* Group '%.*s' could not be deleted due to: %s\n", STR_ARG(jobs[i].group), jobs[i].message);
    }
    if (failed < names.n) {
        fputs("\nThese consumer groups were deleted successfully: '", stdout);
        print_names(jobs, names.n, "'");
        puts("', '");
    }
    return OK;
}

/* ---- offsets ---- */

struct removal {
    struct tp   tp;             /* first: tp_hash(); partition -1: none is known */
    const char *failure;        /* NULL: done */
    int16_t     kerr;
    bool        answered;
};

struct removals {
    struct removal *v;
    size_t          n;
};

static int offset_delete_request_make(struct cg *cg, const struct removals *r, struct offset_delete_request *q)
{
    struct tp *sorted;
    size_t     n = 0;

    TRY(cg_array(cg, r->n, sizeof *sorted, &sorted));
    for (size_t i = 0; i < r->n; i++)
        sorted[n++] = r->v[i].tp;
    if (n > 1)
        qsort(sorted, n, sizeof *sorted, tp_compare);
    TRY(cg_array(cg, n, sizeof *q->topics, &q->topics));
    for (size_t i = 0, k; i < n; i = k) {
        __typeof__(q->topics) t = &q->topics[q->topics_n++];

        for (k = i + 1; k < n && str_eq(sorted[k].topic, sorted[i].topic);)
            k++;
        t->name = sorted[i].topic;
        TRY(cg_array(cg, k - i, sizeof *t->partitions, &t->partitions));
        for (size_t x = i; x < k; x++)
            t->partitions[t->partitions_n++].partition_index = sorted[x].partition;
    }
    return OK;
}

static int ask_offset_delete(struct cg *cg, int32_t broker, struct group_job *const *v, size_t n)
{
    struct removals              *removals = v[0]->of;
    struct offset_delete_request  q;
    struct offset_delete_response r;

    (void)n;                                            /* one */
    offset_delete_request_init(&q);
    q.group_id = v[0]->group;
    TRY(offset_delete_request_make(cg, removals, &q));
    TRY(admin_call(&cg->a, broker, &client_offset_delete, &q, &r));
    group_job_answer(v[0], r.error_code, NULL);
    for (int32_t i = 0; i < r.topics_n; i++) {
        for (int32_t k = 0; k < r.topics[i].partitions_n; k++) {
            const struct tp tp = { r.topics[i].name, r.topics[i].partitions[k].partition_index };

            for (size_t x = 0; x < removals->n; x++) {
                if (tp_compare(&removals->v[x].tp, &tp) == 0) {
                    removals->v[x].answered = true;
                    removals->v[x].kerr = r.topics[i].partitions[k].error_code;
                }
            }
        }
    }
    return OK;
}

/* What --topic names: `known` gets partitions, `unknown` the topics that cannot be looked at. */
static int removals_choose(struct cg *cg, struct removals *known, struct removals *unknown)
{
    size_t      given = (size_t)cg->o->v[CG_TOPIC].given;
    struct strs parts = { NULL, 0 }, whole = { NULL, 0 };
    struct tps  tps = { NULL, 0, 0 };
    const char *text;
    int16_t    *kerr;
    int         rc;

    TRY(cg_array(cg, given, sizeof *parts.v, &parts.v));
    TRY(cg_array(cg, given, sizeof *whole.v, &whole.v));
    TRY(cg_array(cg, given, sizeof *kerr, &kerr));
    for (size_t i = 0; (text = options_nth(cg->o, CG_TOPIC, i)) != NULL; i++) {
        struct strs *to = strchr(text, ':') != NULL ? &parts : &whole;
        size_t       k = 0;

        while (k < to->n && !str_is(to->v[k], text))
            k++;
        if (k == to->n)
            to->v[to->n++] = str_of(text);
    }
    for (size_t i = 0; i < parts.n; i++)
        TRY(topic_parse(cg, parts.v[i], &tps));
    rc = topics_partitions(cg, &whole, &tps, kerr);
    TRY(cg_array(cg, tps.n, sizeof *known->v, &known->v));
    TRY(cg_array(cg, whole.n, sizeof *unknown->v, &unknown->v));
    if (tps.n > 1)
        qsort(tps.v, tps.n, sizeof *tps.v, tp_compare);
    for (size_t i = 0; i < tps.n; i++) {
        if (i == 0 || tp_compare(&tps.v[i - 1], &tps.v[i]) != 0)
            known->v[known->n++].tp = tps.v[i];
    }
    for (size_t i = 0; i < whole.n; i++) {
        struct group_job job = { .kerr = kerr[i] };

        if (rc != OK || kerr[i] != KERR_NONE)
            unknown->v[unknown->n++] = (struct removal){ .tp = { whole.v[i], -1 },
                                                         .failure = failure(cg, 0, &job, rc) };
    }
    return cg_order(cg, known->v, known->n, sizeof *known->v, JVM_ROOM, tp_hash);
}

static const struct {
    int16_t     kerr;
    const char *format;                 /* with the group's name */
} headlines[] = {
    { KERR_INVALID_GROUP_ID, "'%.*s' is not valid." },
    { KERR_GROUP_ID_NOT_FOUND, "'%.*s' does not exist." },
    { KERR_GROUP_AUTHORIZATION_FAILED, "Access to '%.*s' is not authorized." },
    { KERR_NON_EMPTY_GROUP, "Deleting offsets of a consumer group '%.*s' is forbidden if the group is not empty." },
};

static void print_headline(struct cg *cg, struct str group, int16_t kerr)
{
    const char *text;

    if (kerr == KERR_NONE) {
        fputs("Request succeed for deleting offsets with topic ", stdout);
        for (size_t i = 0; (text = options_nth(cg->o, CG_TOPIC, i)) != NULL; i++)
            printf("%s%s", i > 0 ? ", " : "", text);
        printf(" group %.*s\n", STR_ARG(group));
        return;
    }
    if (kerr == KERR_GROUP_SUBSCRIBED_TO_TOPIC || kerr == KERR_TOPIC_AUTHORIZATION_FAILED ||
        kerr == KERR_UNKNOWN_TOPIC_OR_PARTITION) {
        cg_print_error(cg, "Encounter some partition level error, see the follow-up details:");
        return;
    }
    for (size_t i = 0; i < sizeof headlines / sizeof headlines[0]; i++) {
        if (headlines[i].kerr == kerr) {
            cg_print_error(cg, headlines[i].format, STR_ARG(group));
            return;
        }
    }
    cg_print_error(cg, "Encounter some unknown error: %s", kerr_name(kerr));
}

/* By the text "topicpartition". */
static int removal_compare(const void *pa, const void *pb)
{
    const struct removal *a = *(const struct removal *const *)pa, *b = *(const struct removal *const *)pb;
    char                  ta[300], tb[300];

    snprintf(ta, sizeof ta, "%.*s%d", STR_ARG(a->tp.topic), a->tp.partition);
    snprintf(tb, sizeof tb, "%.*s%d", STR_ARG(b->tp.topic), b->tp.partition);
    return strcmp(ta, tb);
}

static int print_removals(struct cg *cg, const struct removals *known, const struct removals *unknown)
{
    const struct removal **all;
    size_t                 n = 0;

    TRY(cg_array(cg, known->n + unknown->n, sizeof(struct removal *), &all));
    for (size_t i = 0; i < known->n; i++)
        all[n++] = &known->v[i];
    for (size_t i = 0; i < unknown->n; i++)
        all[n++] = &unknown->v[i];
    if (n > 1)
        qsort(all, n, sizeof *all, removal_compare);
    printf("\n%-30s %-15s %-15s", "TOPIC", "PARTITION", "STATUS");
    for (size_t i = 0; i < n; i++) {
        char partition[20], status[sizeof cg->a.error + 16] = "Successful";

        snprintf(partition, sizeof partition, all[i]->tp.partition >= 0 ? "%d" : "Not Provided",
                 all[i]->tp.partition);
        if (all[i]->failure != NULL)
            snprintf(status, sizeof status, "Error: :%s", all[i]->failure);
        cg->told = cg->told || all[i]->failure != NULL;
        cg_end_table(cg);
        jvm_pad(all[i]->tp.topic, 30);
        printf(" %-15s %-15s", partition, status);
    }
    cg_end_table(cg);
    return OK;
}

int groups_delete_offsets(struct cg *cg)
{
    struct removals  known = { NULL, 0 }, unknown = { NULL, 0 };
    struct group_job job = { .coordinator = -1, .of = &known };
    int16_t          headline = KERR_NONE;
    int              rc;

    if (cg->o->v[CG_GROUP].given > 1)
        return admin_fail(&cg->a, ERR_INVALID, "Found multiple arguments for option group, but you asked for only one");
    job.group = str_of(options_str(cg->o, CG_GROUP));
    TRY(removals_choose(cg, &known, &unknown));
    rc = group_jobs_run(cg, "offsetDelete", &job, 1, ask_offset_delete);
    if (rc != OK || job.kerr != KERR_NONE) {
        const char *text = failure(cg, 0, &job, rc);

        headline = rc == OK ? job.kerr : rc == ERR_TIMEOUT ? KERR_REQUEST_TIMED_OUT : KERR_UNKNOWN_SERVER_ERROR;
        for (size_t i = 0; i < known.n; i++)
            known.v[i].failure = text;
    }
    for (size_t i = 0; i < known.n && rc == OK && job.kerr == KERR_NONE; i++) {
        struct group_job one = { .kerr = known.v[i].answered ? known.v[i].kerr : KERR_UNKNOWN_SERVER_ERROR };

        if (one.kerr == KERR_NONE)
            continue;
        known.v[i].failure = failure(cg, 0, &one, OK);
        headline = headline == KERR_NONE ? one.kerr : headline;
    }
    print_headline(cg, job.group, headline);
    return print_removals(cg, &known, &unknown);
}
