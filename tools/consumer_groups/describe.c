/* tools/consumer_groups/describe.c - --describe: offsets and lag, members, state. */
#include "tools/consumer_groups/consumer_groups.h"

#include "tools/consumer_groups/jvm.h"

#include <inttypes.h>
#include <stdlib.h>

/* One line of the table of offsets. */
struct row {
    struct tp                  tp;          /* first: tp_hash(); topic.p NULL: none */
    int64_t                    offset;      /* -1: none */
    const struct group_member *member;      /* NULL: nobody has the partition */
};

struct rows {
    struct row *v;
    size_t      n;
};

/* ---- what is said before a table ---- */

/* False: there is no table. */
static int group_heading(struct cg *cg, const struct group_info *g, bool *table)
{
    *table = g->state != GS_DEAD;
    switch (g->state) {
    case GS_DEAD:
        cg_print_error(cg, "Consumer group '%.*s' does not exist.", STR_ARG(g->name));
        return OK;
    case GS_EMPTY:
        cg_say("\nConsumer group '%.*s' has no active members.", STR_ARG(g->name));
        return OK;
    case GS_PREPARING:
    case GS_COMPLETING:
    case GS_ASSIGNING:
    case GS_RECONCILING:
        cg_say("\nWarning: Consumer group '%.*s' is rebalancing.", STR_ARG(g->name));
        return OK;
    case GS_STABLE:
        return OK;
    default:
        return admin_fail(&cg->a, ERR_INVALID, "Expected a valid consumer group state, but found 'Unknown'.");
    }
}

/* ---- offsets ---- */

static int partition_compare(const void *pa, const void *pb)
{
    const struct row *a = *(const struct row *const *)pa, *b = *(const struct row *const *)pb;

    if (a->tp.partition != b->tp.partition)
        return a->tp.partition < b->tp.partition ? -1 : 1;
    return a < b ? -1 : a > b;
}

/* Apache Kafka's command sorts by partition and then puts the rows into a hash table. */
static int rows_order(struct cg *cg, struct row *v, size_t n)
{
    struct row **by_partition, *sorted;

    TRY(cg_array(cg, n, sizeof(struct row *), &by_partition));
    TRY(cg_array(cg, n, sizeof *sorted, &sorted));
    for (size_t i = 0; i < n; i++)
        by_partition[i] = &v[i];
    if (n > 1)
        qsort(by_partition, n, sizeof(struct row *), partition_compare);
    for (size_t i = 0; i < n; i++)
        sorted[i] = *by_partition[i];
    TRY(cg_order(cg, sorted, n, sizeof *sorted, JVM_ROOM, tp_hash));
    memcpy(v, sorted, n * sizeof *v);
    return OK;
}

/* Members with most partitions first. */
static int member_compare(const void *pa, const void *pb)
{
    const struct group_member *a = *(const struct group_member *const *)pa;
    const struct group_member *b = *(const struct group_member *const *)pb;

    if (a->assigned_n != b->assigned_n)
        return a->assigned_n > b->assigned_n ? -1 : 1;
    return a < b ? -1 : a > b;
}

static int rows_of_members(struct cg *cg, const struct group_info *g, struct rows *out)
{
    const struct group_member **by_size;

    TRY(cg_array(cg, g->members_n, sizeof(struct group_member *), &by_size));
    for (size_t i = 0; i < g->members_n; i++)
        by_size[i] = &g->members[i];
    if (g->members_n > 1)
        qsort(by_size, g->members_n, sizeof(struct group_member *), member_compare);
    for (size_t i = 0; i < g->members_n; i++) {
        size_t first = out->n;

        for (size_t k = 0; k < by_size[i]->assigned_n; k++) {
            const struct committed *c = group_committed(g, &by_size[i]->assigned[k]);
            out->v[out->n++] = (struct row){ by_size[i]->assigned[k], c != NULL ? c->offset : -1, by_size[i] };
        }
        TRY(rows_order(cg, out->v + first, out->n - first));
    }
    return OK;
}

static int rows_of_nobody(struct cg *cg, const struct group_info *g, struct rows *out)
{
    struct tp *taken;
    size_t     n = out->n, first = out->n;

    TRY(cg_array(cg, n, sizeof *taken, &taken));
    for (size_t i = 0; i < n; i++)
        taken[i] = out->v[i].tp;
    if (n > 1)
        qsort(taken, n, sizeof *taken, tp_compare);
    for (size_t i = 0; i < g->committed_n; i++) {
        const struct committed *c = &g->committed_in_order[i];

        if (n == 0 || bsearch(&c->tp, taken, n, sizeof *taken, tp_compare) == NULL)
            out->v[out->n++] = (struct row){ c->tp, c->offset, NULL };
    }
    TRY(cg_order(cg, out->v + first, out->n - first, sizeof *out->v, JVM_ROOM, tp_hash));
    return rows_order(cg, out->v + first, out->n - first);
}

static int rows_make(struct cg *cg, const struct group_info *g, struct rows *out)
{
    size_t cap = g->committed_n;

    for (size_t i = 0; i < g->members_n; i++)
        cap += g->members[i].assigned_n;
    out->n = 0;
    TRY(cg_array(cg, cap, sizeof *out->v, &out->v));
    TRY(rows_of_members(cg, g, out));
    return rows_of_nobody(cg, g, out);
}

static int found_compare(const void *pa, const void *pb)
{
    return tp_compare(&((const struct found_offset *)pa)->tp, &((const struct found_offset *)pb)->tp);
}

/* The ends of all partitions in the rows of all groups, sorted. */
static int ends_find(struct cg *cg, const struct rows *rows, size_t n, struct found_offset **out, size_t *out_n)
{
    size_t cap = 0, k = 0;

    for (size_t i = 0; i < n; i++)
        cap += rows[i].n;
    TRY(cg_array(cg, cap, sizeof **out, out));
    for (size_t i = 0; i < n; i++) {
        for (size_t r = 0; r < rows[i].n; r++)
            (*out)[k++] = (struct found_offset){ rows[i].v[r].tp, -1 };
    }
    if (k > 1)
        qsort(*out, k, sizeof **out, found_compare);
    *out_n = 0;
    for (size_t i = 0; i < k; i++) {
        if (*out_n == 0 || found_compare(&(*out)[*out_n - 1], &(*out)[i]) != 0)
            (*out)[(*out_n)++] = (*out)[i];
    }
    return offsets_find(cg, *out, *out_n, -1);
}

struct widths {
    size_t group, topic, member, host;
};

static size_t wider(size_t width, struct str s)
{
    size_t n = jvm_length(s);

    return n > width ? n : width;
}

static void print_row(const struct widths *w, const struct str cells[9])
{
    const size_t widths[9] = { w->group, w->topic, 10, 15, 15, 15, w->member, w->host, 0 };

    for (size_t i = 0; i < 9; i++) {
        putchar(i == 0 ? '\n' : ' ');
        jvm_pad(cells[i], widths[i]);
    }
}

static void print_offsets(const struct cg *cg, const struct group_info *g, const struct rows *rows,
                          const struct found_offset *ends, size_t ends_n)
{
    static const struct str none = { "-", 1 };
    static const struct str head[9] = { { "GROUP", 5 }, { "TOPIC", 5 }, { "PARTITION", 9 }, { "CURRENT-OFFSET", 14 },
                                        { "LOG-END-OFFSET", 14 }, { "LAG", 3 }, { "CONSUMER-ID", 11 },
                                        { "HOST", 4 }, { "CLIENT-ID", 9 } };
    struct widths           w = { wider(15, g->name), 15, 15, 15 };

    for (size_t i = 0; i < rows->n; i++) {
        w.topic = wider(w.topic, rows->v[i].tp.topic);
        w.member = wider(w.member, rows->v[i].member != NULL ? rows->v[i].member->id : none);
        w.host = wider(w.host, rows->v[i].member != NULL ? rows->v[i].member->host : none);
    }
    print_row(&w, head);
    for (size_t i = 0; i < rows->n; i++) {
        const struct row          *r = &rows->v[i];
        const struct group_member *m = r->member;
        struct found_offset        key = { r->tp, 0 };
        const struct found_offset *end = bsearch(&key, ends, ends_n, sizeof key, found_compare);
        char                       partition[12], offset[24], log_end[24], lag[24];

        snprintf(partition, sizeof partition, "%d", r->tp.partition);
        snprintf(offset, sizeof offset, r->offset >= 0 ? "%" PRId64 : "-", r->offset);
        snprintf(log_end, sizeof log_end, "%" PRId64, end->offset);
        snprintf(lag, sizeof lag, r->offset >= 0 ? "%" PRId64 : "-", end->offset - r->offset);
        print_row(&w, (const struct str[9]){ g->name, r->tp.topic, str_of(partition), str_of(offset), str_of(log_end),
                                             str_of(lag), m != NULL ? m->id : none, m != NULL ? m->host : none,
                                             m != NULL ? m->client : none });
    }
    cg_end_table(cg);
}

static int show_offsets(struct cg *cg, struct group_info *v, size_t n)
{
    struct rows         *rows;
    struct found_offset *ends;
    size_t               ends_n;

    TRY(groups_committed(cg, v, n));
    TRY(cg_array(cg, n, sizeof *rows, &rows));
    for (size_t i = 0; i < n; i++)
        TRY(rows_make(cg, &v[i], &rows[i]));
    TRY(ends_find(cg, rows, n, &ends, &ends_n));
    for (size_t i = 0; i < n; i++) {
        bool table;

        TRY(group_heading(cg, &v[i], &table));
        if (table && rows[i].n > 0)
            print_offsets(cg, &v[i], &rows[i], ends, ends_n);
    }
    return OK;
}

/* ---- members ---- */

static int text_compare(const void *pa, const void *pb)
{
    return strcmp(*(const char *const *)pa, *(const char *const *)pb);
}

/* "(0,1,10,2)" for each topic: its partitions as texts, sorted as such; "-" for no topic. */
static int print_assignment(struct cg *cg, const struct group_member *m)
{
    struct tp   *sorted;
    const char **topics, **numbers;
    size_t       topics_n = 0;

    if (m->assigned_n == 0) {
        putchar('-');
        return OK;
    }
    TRY(cg_array(cg, m->assigned_n, sizeof *sorted, &sorted));
    TRY(cg_array(cg, m->assigned_n, sizeof(const char *), &topics));
    TRY(cg_array(cg, m->assigned_n, sizeof(const char *), &numbers));
    memcpy(sorted, m->assigned, m->assigned_n * sizeof *sorted);
    qsort(sorted, m->assigned_n, sizeof *sorted, tp_compare);
    for (size_t i = 0; i < m->assigned_n;) {
        size_t n = 0, used = 1, cap;
        char  *text;

        for (struct str topic = sorted[i].topic; i < m->assigned_n && str_eq(sorted[i].topic, topic); i++, n++) {
            numbers[n] = arena_printf(&cg->a.arena, "%d", sorted[i].partition);
            if (numbers[n] == NULL)
                return admin_fail(&cg->a, ERR_NOMEM, "out of memory");
        }
        qsort(numbers, n, sizeof *numbers, text_compare);
        cap = n * 12 + 3;
        TRY(cg_array(cg, cap, 1, &text));
        text[0] = '(';
        for (size_t k = 0; k < n; k++)
            used += (size_t)snprintf(text + used, cap - used, "%s%s", k > 0 ? "," : "", numbers[k]);
        snprintf(text + used, cap - used, ")");
        topics[topics_n++] = text;
    }
    qsort(topics, topics_n, sizeof *topics, text_compare);
    for (size_t i = 0; i < topics_n; i++)
        printf("%s%s", i > 0 ? ", " : "", topics[i]);
    return OK;
}

static int print_members(struct cg *cg, const struct group_info *g, bool fitted)
{
    size_t group = 15, id = 15, instance = 17, host = 15, client = 15;
    bool   instances = false;

    for (size_t i = 0; i < g->members_n && fitted; i++) {
        const struct group_member *m = &g->members[i];

        group = wider(group, g->name);
        id = wider(id, m->id);
        instance = wider(instance, m->instance);
        host = wider(host, m->host);
        client = wider(client, m->client);
        instances = instances || m->instance.len > 0;
    }
    putchar('\n');
    for (size_t i = 0; i <= g->members_n; i++) {
        const struct group_member *m = i > 0 ? &g->members[i - 1] : NULL;
        char                       n[24];

        snprintf(n, sizeof n, "%zu", m != NULL ? m->assigned_n : 0);
        jvm_pad(m != NULL ? g->name : STR_LIT("GROUP"), group);
        putchar(' ');
        jvm_pad(m != NULL ? m->id : STR_LIT("CONSUMER-ID"), id);
        putchar(' ');
        if (instances) {
            jvm_pad(m != NULL ? m->instance : STR_LIT("GROUP-INSTANCE-ID"), instance);
            putchar(' ');
        }
        jvm_pad(m != NULL ? m->host : STR_LIT("HOST"), host);
        putchar(' ');
        jvm_pad(m != NULL ? m->client : STR_LIT("CLIENT-ID"), client);
        putchar(' ');
        jvm_pad(m != NULL ? str_of(n) : STR_LIT("#PARTITIONS"), 15);
        putchar(' ');
        if (options_has(cg->o, CG_VERBOSE) && m == NULL)
            fputs("ASSIGNMENT", stdout);
        else if (options_has(cg->o, CG_VERBOSE))
            TRY(print_assignment(cg, m));
        putchar('\n');
    }
    return OK;
}

static int show_members(struct cg *cg, struct group_info *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool table;

        TRY(group_heading(cg, &v[i], &table));
        TRY(print_members(cg, &v[i], table));
    }
    return OK;
}

/* ---- state ---- */

static int show_states(struct cg *cg, struct group_info *v, size_t n)
{
    const struct client_broker *brokers;
    size_t                      brokers_n;

    TRY(client_brokers(cg->a.client, &brokers, &brokers_n) == OK ? OK :
        admin_fail(&cg->a, ERR_TIMEOUT, "%s", client_error(cg->a.client)));
    for (size_t i = 0; i < n; i++) {
        const struct group_info *g = &v[i];
        char                     where[320] = "";
        bool                     table;
        size_t                   width;

        TRY(group_heading(cg, g, &table));
        if (!table)
            continue;
        for (size_t b = 0; b < brokers_n; b++) {
            if (brokers[b].id == g->job->coordinator)
                snprintf(where, sizeof where, "%s:%d  (%d)", brokers[b].host, brokers[b].port, brokers[b].id);
        }
        width = wider(25, str_of(where));
        putchar('\n');
        jvm_pad(STR_LIT("GROUP"), width);
        printf(" %-25s %-20s %-15s %s\n", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE", "#MEMBERS");
        jvm_pad(g->name, width);
        putchar(' ');
        jvm_pad(str_of(where), 25);
        putchar(' ');
        jvm_pad(g->assignor, 20);
        printf(" %-15s %zu\n", gs_name(g->state), g->members_n);
    }
    return OK;
}

/* ---- */

static int name_compare(const void *pa, const void *pb)
{
    const struct tp a = { ((const struct group_info *)pa)->name, 0 }, b = { ((const struct group_info *)pb)->name, 0 };

    return tp_compare(&a, &b);
}

int groups_show(struct cg *cg)
{
    struct strs        names;
    struct group_info *v;

    TRY(groups_chosen(cg, &names));
    TRY(groups_describe(cg, &names, 0, &v));
    for (size_t i = 0; i < names.n; i++)
        TRY(group_read(cg, &v[i], 0));
    if (names.n > 1)
        qsort(v, names.n, sizeof *v, name_compare);
    if (options_has(cg->o, CG_MEMBERS))
        return show_members(cg, v, names.n);
    if (options_has(cg->o, CG_HISTORY))
        return groups_show_history(cg, v, names.n);
    if (options_has(cg->o, CG_STATE))
        return show_states(cg, v, names.n);
    return show_offsets(cg, v, names.n);
}
