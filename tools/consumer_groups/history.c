/* tools/consumer_groups/history.c - --describe --history: what has happened in a group lately, as its coordinator
 * remembers it. One line for each event, the oldest first; times are UTC, in the form that --to-datetime takes.
 */
#include "tools/consumer_groups/consumer_groups.h"

#include "proto/gen/describe_groups_response.h"

#include <inttypes.h>
#include <time.h>

enum {
    C_GROUP, C_TIME, C_EVENT, C_GENERATION, C_MEMBERS, C_TOOK, C_MEMBER, C_INSTANCE, C_HOST, C_CLIENT, C_REASON, C_N
};

static const struct {
    const char *title;
    size_t      width;                  /* at least */
} columns[C_N] = {
    [C_GROUP] = { "GROUP", 15 },
    [C_TIME] = { "TIME", 24 },
    [C_EVENT] = { "EVENT", 15 },
    [C_GENERATION] = { "GENERATION", 10 },
    [C_MEMBERS] = { "#MEMBERS", 8 },
    [C_TOOK] = { "TOOK-MS", 8 },
    [C_MEMBER] = { "CONSUMER-ID", 15 },
    [C_INSTANCE] = { "GROUP-INSTANCE-ID", 17 },
    [C_HOST] = { "HOST", 15 },
    [C_CLIENT] = { "CLIENT-ID", 9 },
    [C_REASON] = { "REASON", 0 },
};

/* Texts come from clients: what could drive a terminal is not shown. */
static struct str shown(struct cg *cg, struct str s)
{
    struct str out;

    if (s.len == 0)
        return STR_LIT("-");
    if (arena_str(&cg->a.arena, s, &out) != OK)
        return STR_LIT("?");
    for (size_t i = 0; i < out.len; i++) {
        unsigned char c = (unsigned char)out.p[i];
        if (c < 0x20 || c == 0x7f)
            ((char *)(uintptr_t)out.p)[i] = '?';
    }
    return out;
}

static struct str shown_number(struct cg *cg, int64_t n)
{
    return n < 0 ? STR_LIT("-") : str_of(arena_printf(&cg->a.arena, "%" PRId64, n));
}

static struct str shown_time(struct cg *cg, int64_t ms)
{
    time_t    seconds = (time_t)(ms / 1000);
    struct tm tm;
    char      text[40];

    if (ms < 0 || gmtime_r(&seconds, &tm) == NULL || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        return STR_LIT("-");
    return str_of(arena_printf(&cg->a.arena, "%s.%03dZ", text, (int)(ms % 1000)));
}

static void event_cells(struct cg *cg, const struct group_info *g,
                        const struct describe_groups_response_klamm_group_event *e, struct str cells[C_N])
{
    cells[C_GROUP] = g->name;
    cells[C_TIME] = shown_time(cg, e->timestamp_ms);
    cells[C_EVENT] = shown(cg, e->kind);
    cells[C_GENERATION] = shown_number(cg, e->generation);
    cells[C_MEMBERS] = shown_number(cg, e->members_count);
    cells[C_TOOK] = shown_number(cg, e->duration_ms);
    cells[C_MEMBER] = shown(cg, e->member_id);
    cells[C_INSTANCE] = shown(cg, e->group_instance_id);
    cells[C_HOST] = shown(cg, e->client_host);
    cells[C_CLIENT] = shown(cg, e->client_id);
    cells[C_REASON] = shown(cg, e->reason);
}

static int print_events(struct cg *cg, const struct group_info *g,
                        const struct describe_groups_response_klamm_group_event *v, size_t n)
{
    struct str(*cells)[C_N];
    size_t widths[C_N];
    bool   instances = false;

    TRY(cg_array(cg, n + 1, sizeof *cells, &cells));
    for (size_t c = 0; c < C_N; c++) {
        cells[0][c] = str_of(columns[c].title);
        widths[c] = columns[c].width;
    }
    for (size_t i = 0; i < n; i++) {
        event_cells(cg, g, &v[i], cells[i + 1]);
        instances = instances || v[i].group_instance_id.len > 0;
        for (size_t c = 0; c + 1 < C_N; c++) {
            size_t width = jvm_length(cells[i + 1][c]);
            widths[c] = width > widths[c] ? width : widths[c];
        }
    }
    putchar('\n');
    for (size_t i = 0; i <= n; i++) {
        for (size_t c = 0; c < C_N; c++) {
            if (c == C_INSTANCE && !instances)
                continue;
            jvm_pad(cells[i][c], widths[c]);
            putchar(c + 1 < C_N ? ' ' : '\n');
        }
    }
    return OK;
}

int groups_show_history(struct cg *cg, const struct group_info *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int32_t events = v[i].answer != NULL ? v[i].answer->klamm_history_n : -1;

        if (v[i].state == GS_DEAD)
            cg_print_error(cg, "Consumer group '%.*s' does not exist.", STR_ARG(v[i].name));
        else if (events < 0)
            cg_print_error(cg, "There is no history of consumer group '%.*s': broker %d, its coordinator, keeps none. "
                           "Klamm does, Apache Kafka does not.", STR_ARG(v[i].name), v[i].job->coordinator);
        else if (events == 0)
            cg_say("\nConsumer group '%.*s' has no history since its coordinator took it over.", STR_ARG(v[i].name));
        else
            TRY(print_events(cg, &v[i], v[i].answer->klamm_history, (size_t)events));
    }
    return OK;
}
