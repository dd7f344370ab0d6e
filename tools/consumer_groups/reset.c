/* tools/consumer_groups/reset.c - --reset-offsets: from what the user says to offsets, and to the coordinator. */
#include "tools/consumer_groups/consumer_groups.h"

#include "base/clock.h"
#include "proto/gen/offset_commit_request.h"
#include "proto/gen/offset_commit_response.h"
#include "proto/kerr.h"
#include "tools/consumer_groups/csv.h"
#include "tools/consumer_groups/when.h"

#include <inttypes.h>
#include <stdlib.h>

CLIENT_API(offset_commit, API_OFFSET_COMMIT);

/* The partitions of one group and the offsets they are to get; later also what became of it. */
struct reset {
    struct found_offset *v;
    size_t               n;
    int16_t             *kerr;          /* of each, from the coordinator */
};

/* ---- which partitions ---- */

static int partitions_of_topics(struct cg *cg, struct tps *out)
{
    size_t      given = (size_t)cg->o->v[CG_TOPIC].given;
    struct strs whole = { NULL, 0 };
    const char *text;
    int16_t    *kerr;

    TRY(cg_array(cg, given, sizeof *whole.v, &whole.v));
    TRY(cg_array(cg, given, sizeof *kerr, &kerr));
    for (size_t i = 0; (text = options_nth(cg->o, CG_TOPIC, i)) != NULL; i++) {
        size_t k = 0;

        if (strchr(text, ':') != NULL) {
            TRY(topic_parse(cg, str_of(text), out));
            continue;
        }
        while (k < whole.n && !str_is(whole.v[k], text))
            k++;
        if (k == whole.n)
            whole.v[whole.n++] = str_of(text);
    }
    TRY(cg_order(cg, whole.v, whole.n, sizeof *whole.v, JVM_ROOM, str_hash));
    int rc = topics_partitions(cg, &whole, out, kerr);
    if (rc != OK)
        return cg_fail_call(cg, 1, rc);
    for (size_t i = 0; i < whole.n; i++) {
        if (kerr[i] != KERR_NONE)
            return cg_fail_kafka(cg, 1, kerr[i], NULL);
    }
    return OK;
}

static int partitions_chosen(struct cg *cg, struct group_info *g, struct reset *out)
{
    struct tps tps = { NULL, 0, 0 };

    if (options_has(cg->o, CG_ALL_TOPICS)) {
        TRY(groups_committed(cg, g, 1));
        for (size_t i = 0; i < g->committed_n; i++)
            TRY(tps_add(cg, &tps, g->committed_in_order[i].tp));
    } else if (options_has(cg->o, CG_TOPIC)) {
        TRY(partitions_of_topics(cg, &tps));
    } else if (!options_has(cg->o, CG_FROM_FILE)) {
        return cg_usage(cg, "One of the reset scopes should be defined: --all-topics, --topic.");
    }
    out->n = tps.n;
    TRY(cg_array(cg, tps.n, sizeof *out->v, &out->v));
    for (size_t i = 0; i < tps.n; i++)
        out->v[i] = (struct found_offset){ tps.v[i], -1 };
    return OK;
}

static int found_compare(const void *pa, const void *pb)
{
    return tp_compare(&((const struct found_offset *)pa)->tp, &((const struct found_offset *)pb)->tp);
}

/* A partition that was named twice is refused, in the words in which a hash table does. */
static int refuse_twice(struct cg *cg, const struct reset *r, bool same_value)
{
    struct found_offset *sorted;

    TRY(cg_array(cg, r->n, sizeof *sorted, &sorted));
    memcpy(sorted, r->v, r->n * sizeof *sorted);
    if (r->n > 1)
        qsort(sorted, r->n, sizeof *sorted, found_compare);
    for (size_t i = 1; i < r->n; i++) {
        const struct found_offset *f = &sorted[i];
        char                       values[80] = "";

        if (found_compare(&sorted[i - 1], f) != 0)
            continue;
        if (same_value)
            snprintf(values, sizeof values, " (attempted merging values %" PRId64 " and %" PRId64 ")", f->offset,
                     f->offset);
        return admin_fail(&cg->a, ERR_INVALID, "Duplicate key %.*s-%d%s", STR_ARG(f->tp.topic), f->tp.partition,
                          values);
    }
    return OK;
}

/* ---- to where ---- */

/* Offsets that lie outside their partition become its start or end. */
static int keep_in_range(struct cg *cg, struct reset *r)
{
    struct found_offset *starts, *ends;

    TRY(cg_order(cg, r->v, r->n, sizeof *r->v, JVM_ROOM, tp_hash));
    TRY(cg_array(cg, r->n, sizeof *starts, &starts));
    TRY(cg_array(cg, r->n, sizeof *ends, &ends));
    memcpy(starts, r->v, r->n * sizeof *starts);
    memcpy(ends, r->v, r->n * sizeof *ends);
    TRY(offsets_find(cg, starts, r->n, -2));
    TRY(offsets_find(cg, ends, r->n, -1));
    for (size_t i = 0; i < r->n; i++) {
        struct found_offset *f = &r->v[i];
        bool                 high = f->offset > ends[i].offset;
        int64_t              bound = high ? ends[i].offset : starts[i].offset;

        if (!high && f->offset >= bound)
            continue;
        cg_say("WARN New offset (%" PRId64 ") is %s offset for topic partition %.*s-%d. Value will be set to %" PRId64,
               f->offset, high ? "higher than latest" : "lower than earliest", STR_ARG(f->tp.topic), f->tp.partition,
               bound);
        f->offset = bound;
    }
    return OK;
}

static int to_offset(struct cg *cg, struct group_info *g, struct reset *r)
{
    int64_t offset;

    (void)g;
    if (options_i64(cg->o, CG_TO_OFFSET, &offset) != OK)
        return admin_fail(&cg->a, ERR_INVALID, "%s", cg->o->error);
    for (size_t i = 0; i < r->n; i++)
        r->v[i].offset = offset;
    TRY(refuse_twice(cg, r, true));
    return keep_in_range(cg, r);
}

static int to_earliest(struct cg *cg, struct group_info *g, struct reset *r)
{
    (void)g;
    TRY(refuse_twice(cg, r, false));
    return offsets_find(cg, r->v, r->n, -2);
}

static int to_latest(struct cg *cg, struct group_info *g, struct reset *r)
{
    (void)g;
    TRY(refuse_twice(cg, r, false));
    return offsets_find(cg, r->v, r->n, -1);
}

static int shift_by(struct cg *cg, struct group_info *g, struct reset *r)
{
    int64_t by;

    TRY(groups_committed(cg, g, 1));
    for (size_t i = 0; i < r->n; i++) {
        const struct committed *c = group_committed(g, &r->v[i].tp);

        if (options_i64(cg->o, CG_SHIFT_BY, &by) != OK)
            return admin_fail(&cg->a, ERR_INVALID, "%s", cg->o->error);
        if (c == NULL || c->offset < 0)
            return cg_usage(cg, "Cannot shift offset for partition %.*s-%d since there is no current committed offset",
                            STR_ARG(r->v[i].tp.topic), r->v[i].tp.partition);
        if (__builtin_add_overflow(c->offset, by, &r->v[i].offset))
            r->v[i].offset = by < 0 ? INT64_MIN : INT64_MAX;
    }
    TRY(refuse_twice(cg, r, true));
    return keep_in_range(cg, r);
}

/* The first record at or after the time; the end where there is none. */
static int to_time(struct cg *cg, struct reset *r, int64_t timestamp)
{
    struct found_offset *none;
    size_t               none_n = 0;

    TRY(refuse_twice(cg, r, false));
    TRY(cg_array(cg, r->n, sizeof *none, &none));
    TRY(cg_order(cg, r->v, r->n, sizeof *r->v, JVM_ROOM, tp_hash));
    TRY(offsets_find(cg, r->v, r->n, timestamp));
    for (size_t i = 0; i < r->n; i++) {
        if (r->v[i].offset == -1)
            none[none_n++] = r->v[i];
    }
    for (size_t i = 0; i < none_n; i++)
        printf("\nWarn: Partition %d from topic %.*s is empty. Falling back to latest known offset.\n",
               none[i].tp.partition, STR_ARG(none[i].tp.topic));
    TRY(offsets_find(cg, none, none_n, -1));
    for (size_t i = 0, k = 0; i < r->n; i++) {
        if (r->v[i].offset == -1)
            r->v[i].offset = none[k++].offset;
    }
    return OK;
}

static int to_datetime(struct cg *cg, struct group_info *g, struct reset *r)
{
    const char *text = options_str(cg->o, CG_TO_DATETIME), *t = strchr(text, 'T');
    int64_t     timestamp;

    (void)g;
    if (t == NULL || t[1 + strspn(t + 1, "T")] == '\0')
        return admin_fail(&cg->a, ERR_INVALID, "java.text.ParseException: Error parsing timestamp. It does not contain "
                          "a 'T' according to ISO8601 format");
    if (when_parse_datetime(text, &timestamp) != OK)
        return admin_fail(&cg->a, ERR_INVALID, "java.text.ParseException: Unparseable date: \"%s%s\"", text,
                          strpbrk(t, "+-Z") != NULL ? "" : "Z");
    return to_time(cg, r, timestamp);
}

static int by_duration(struct cg *cg, struct group_info *g, struct reset *r)
{
    int64_t ms;

    (void)g;
    if (when_parse_duration(options_str(cg->o, CG_BY_DURATION), &ms) != OK)
        return admin_fail(&cg->a, ERR_INVALID, "Text cannot be parsed to a Duration");
    if (__builtin_sub_overflow(wall_ms(), ms, &ms))
        return admin_fail(&cg->a, ERR_INVALID, "long overflow");
    return to_time(cg, r, ms);
}

static int from_file(struct cg *cg, struct group_info *g, struct reset *r)
{
    struct plan plan;

    TRY(plan_read(cg, options_str(cg->o, CG_FROM_FILE), &plan));
    TRY(plan_of_group(cg, &plan, g->name, &r->v, &r->n));
    if (r->n == 0) {
        cg_print_error(cg, "No reset plan for group %.*s found", STR_ARG(g->name));
        return OK;
    }
    return keep_in_range(cg, r);
}

static int to_current(struct cg *cg, struct group_info *g, struct reset *r)
{
    struct found_offset *rest;
    size_t               n = 0, rest_n = 0;

    TRY(groups_committed(cg, g, 1));
    TRY(refuse_twice(cg, r, false));
    TRY(cg_array(cg, r->n, sizeof *rest, &rest));
    for (size_t i = 0; i < r->n; i++) {
        const struct committed *c = group_committed(g, &r->v[i].tp);

        if (c == NULL || c->offset < 0)
            rest[rest_n++] = r->v[i];
        else
            r->v[n++] = (struct found_offset){ c->tp, c->offset };
    }
    TRY(offsets_find(cg, rest, rest_n, -1));
    TRY(cg_order(cg, r->v, n, sizeof *r->v, JVM_ROOM, tp_hash));
    TRY(cg_order(cg, rest, rest_n, sizeof *rest, JVM_ROOM, tp_hash));
    memcpy(r->v + n, rest, rest_n * sizeof *rest);
    /* The table of those with an offset takes in the others; one that has been empty so far is made for them. */
    return cg_order(cg, r->v, r->n, sizeof *r->v, n > 0 ? JVM_ROOM : rest_n * 4 / 3 + 1, tp_hash);
}

static const struct {
    enum groups_option opt;
    int              (*run)(struct cg *, struct group_info *, struct reset *);
} ways[] = {
    { CG_TO_OFFSET, to_offset },
    { CG_TO_EARLIEST, to_earliest },
    { CG_TO_LATEST, to_latest },
    { CG_SHIFT_BY, shift_by },
    { CG_TO_DATETIME, to_datetime },
    { CG_BY_DURATION, by_duration },
    { CG_FROM_FILE, from_file },
    { CG_TO_CURRENT, to_current },
};
#define WAYS_N (sizeof ways / sizeof ways[0])

static int offsets_wanted(struct cg *cg, struct group_info *g, struct reset *r)
{
    size_t i = 0;

    TRY(partitions_chosen(cg, g, r));
    while (i < WAYS_N && !options_has(cg->o, ways[i].opt))
        i++;
    if (i == WAYS_N)
        return cg_usage(cg, "Option '[reset-offsets]' requires one of the following scenarios: [[to-offset], "
                        "[to-current], [to-datetime], [from-file], [by-duration], [to-earliest], [to-latest], "
                        "[shift-by]]");
    TRY(ways[i].run(cg, g, r));
    return ways[i].opt == CG_TO_CURRENT ? OK : cg_order(cg, r->v, r->n, sizeof *r->v, JVM_ROOM, tp_hash);
}

/* ---- --execute ---- */

static int commit_request(struct cg *cg, const struct reset *r, struct offset_commit_request *q)
{
    struct found_offset *sorted;

    TRY(cg_array(cg, r->n, sizeof *sorted, &sorted));
    memcpy(sorted, r->v, r->n * sizeof *sorted);
    if (r->n > 1)
        qsort(sorted, r->n, sizeof *sorted, found_compare);
    TRY(cg_array(cg, r->n, sizeof *q->topics, &q->topics));
    for (size_t i = 0, k; i < r->n; i = k) {
        __typeof__(q->topics) t = &q->topics[q->topics_n++];

        for (k = i + 1; k < r->n && str_eq(sorted[k].tp.topic, sorted[i].tp.topic);)
            k++;
        t->name = sorted[i].tp.topic;
        TRY(cg_array(cg, k - i, sizeof *t->partitions, &t->partitions));
        for (size_t x = i; x < k; x++) {
            __typeof__(t->partitions) p = &t->partitions[t->partitions_n++];

            offset_commit_request_offset_commit_request_partition_init(p);
            p->partition_index = sorted[x].tp.partition;
            p->committed_offset = sorted[x].offset;
            p->committed_metadata = STR_LIT("");
        }
    }
    return OK;
}

static int16_t *kerr_of_partition(const struct reset *r, struct str topic, int32_t partition)
{
    for (size_t i = 0; i < r->n; i++) {
        if (r->v[i].tp.partition == partition && str_eq(r->v[i].tp.topic, topic))
            return &r->kerr[i];
    }
    return NULL;
}

/* A code that concerns the whole group stands at every partition. */
static int ask_commit(struct cg *cg, int32_t broker, struct group_job *const *v, size_t n)
{
    struct reset                *r = v[0]->of;
    struct offset_commit_request  q;
    struct offset_commit_response a;

    (void)n;                                            /* one */
    offset_commit_request_init(&q);
    q.group_id = v[0]->group;
    TRY(commit_request(cg, r, &q));
    TRY(admin_call(&cg->a, broker, &client_offset_commit, &q, &a));
    group_job_answer(v[0], KERR_NONE, NULL);
    for (int32_t i = 0; i < a.topics_n; i++) {
        for (int32_t k = 0; k < a.topics[i].partitions_n; k++) {
            int16_t  kerr = a.topics[i].partitions[k].error_code;
            int16_t *place = kerr_of_partition(r, a.topics[i].name, a.topics[i].partitions[k].partition_index);

            if (place != NULL)
                *place = kerr;
            if (kerr == KERR_COORDINATOR_LOAD_IN_PROGRESS || kerr == KERR_COORDINATOR_NOT_AVAILABLE ||
                kerr == KERR_NOT_COORDINATOR)
                group_job_answer(v[0], kerr, NULL);
            else if (kerr == KERR_REBALANCE_IN_PROGRESS)
                v[0]->done = false;
        }
    }
    return OK;
}

/* "t-0, t-1" of those that failed, and the code of the first; in hash order. */
static int say_failed(struct cg *cg, const struct reset *r)
{
    int16_t first = KERR_NONE;
    char    list[900] = "";
    size_t  n = 0;

    for (size_t i = 0; i < r->n; i++) {
        if (r->kerr[i] == KERR_NONE)
            continue;
        first = first == KERR_NONE ? r->kerr[i] : first;
        if (n < sizeof list)
            n += (size_t)snprintf(list + n, sizeof list - n, "%s%.*s-%d", n > 0 ? ", " : "",
                                  STR_ARG(r->v[i].tp.topic), r->v[i].tp.partition);
    }
    if (first == KERR_NONE)
        return OK;
    return cg_fail_kafka(cg, 1, first, arena_printf(&cg->a.arena, "Failed altering consumer group offsets for the "
                                                    "following partitions: [%s]", list));
}

static int commit(struct cg *cg, const struct group_info *g, struct reset *r)
{
    struct group_job job = { .group = g->name, .coordinator = g->job->coordinator, .of = r };
    int              rc;

    if (r->n == 0)
        return OK;
    TRY(cg_array(cg, r->n, sizeof *r->kerr, &r->kerr));
    rc = group_jobs_run(cg, "offsetCommit", &job, 1, ask_commit);
    if (rc != OK)
        return cg_fail_call(cg, 1, rc);
    if (job.kerr != KERR_NONE)
        return cg_fail_kafka(cg, 1, job.kerr, job.message);
    return say_failed(cg, r);
}

/* ---- output ---- */

static void print_table(const struct cg *cg, const struct strs *names, const struct reset *resets)
{
    if (names->n > 0)
        printf("\n%-30s %-30s %-10s %-15s", "GROUP", "TOPIC", "PARTITION", "NEW-OFFSET");
    for (size_t i = 0; i < names->n; i++) {
        for (size_t k = 0; k < resets[i].n; k++) {
            const struct found_offset *f = &resets[i].v[k];

            cg_end_table(cg);
            jvm_pad(names->v[i], 30);
            putchar(' ');
            jvm_pad(f->tp.topic, 30);
            printf(" %-10d %-15" PRId64, f->tp.partition, f->offset);
        }
    }
    if (names->n > 0)
        cg_end_table(cg);
}

static void print_csv(const struct cg *cg, const struct strs *names, const struct reset *resets)
{
    bool with_group = cg->o->v[CG_GROUP].given != 1;

    for (size_t i = 0; i < names->n; i++) {
        for (size_t k = 0; k < resets[i].n; k++) {
            const struct found_offset *f = &resets[i].v[k];

            if (with_group) {
                csv_print(names->v[i]);
                putchar(',');
            }
            csv_print(f->tp.topic);
            printf(",%d,%" PRId64 "\n", f->tp.partition, f->offset);
        }
    }
    if (cg->as_kafka)
        putchar('\n');
}

int groups_reset(struct cg *cg)
{
    struct strs        names;
    struct group_info *v;
    struct reset      *resets;

    TRY(groups_chosen(cg, &names));
    TRY(groups_describe(cg, &names, 1, &v));
    TRY(cg_array(cg, names.n, sizeof *resets, &resets));
    for (size_t i = 0; i < names.n; i++) {
        TRY(group_read(cg, &v[i], 1));
        if (v[i].state != GS_EMPTY && v[i].state != GS_DEAD) {
            cg_print_error(cg, "Assignments can only be reset if the group '%.*s' is inactive, but the current state "
                           "is %s.", STR_ARG(names.v[i]), gs_name(v[i].state));
            continue;
        }
        TRY(offsets_wanted(cg, &v[i], &resets[i]));
        if (options_has(cg->o, CG_EXECUTE))
            TRY(commit(cg, &v[i], &resets[i]));
    }
    if (options_has(cg->o, CG_EXPORT))
        print_csv(cg, &names, resets);
    else
        print_table(cg, &names, resets);
    return OK;
}
