/* tools/consumer_groups/list.c - which groups there are: asked of every broker. */
#include "tools/consumer_groups/consumer_groups.h"

#include "proto/gen/list_groups_request.h"
#include "proto/gen/list_groups_response.h"
#include "proto/kerr.h"
#include "tools/consumer_groups/jvm.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

CLIENT_API(list_groups, API_LIST_GROUPS);

struct listed {
    struct str id;              /* first: str_hash() */
    struct str type, state;
};

struct listing {
    struct listed *v;
    size_t         n, cap;
};

static int listing_add(struct cg *cg, struct listing *l, const struct list_groups_response *r)
{
    for (int32_t i = 0; i < r->groups_n; i++) {
        const struct list_groups_response_listed_group *g = &r->groups[i];

        if (g->protocol_type.len > 0 && !str_is(g->protocol_type, "consumer"))
            continue;
        if (l->n == l->cap) {
            struct listed *old = l->v;

            l->cap = l->cap > 0 ? 2 * l->cap : 64;
            TRY(cg_array(cg, l->cap, sizeof *l->v, &l->v));
            if (l->n > 0)
                memcpy(l->v, old, l->n * sizeof *old);
        }
        l->v[l->n++] = (struct listed){ g->group_id, g->group_type, g->group_state };
    }
    return OK;
}

/* A broker that cannot answer yet is asked again. */
static int ask_broker(struct cg *cg, const struct client_broker *b, int wraps, const struct list_groups_request *q,
                      struct listing *l)
{
    int64_t                     deadline_ms = client_deadline(cg->a.client);
    struct list_groups_response r;
    char                        where[400];

    snprintf(where, sizeof where, "Error listing groups on %s:%d (id: %d rack: %s)", b->host, b->port, b->id,
             b->rack != NULL ? b->rack : "null");
    for (int attempt = 0;; attempt++) {
        int     rc = admin_call(&cg->a, b->id, &client_list_groups, q, &r);
        int16_t version;

        if (rc == ERR_UNSUPPORTED && client_api_version(cg->a.client, b->id, API_LIST_GROUPS, &version) == OK) {
            bool by_state = q->states_filter_n > 0 && version < 4;

            return cg_fail_kafka(cg, wraps, KERR_UNSUPPORTED_VERSION,
                                 arena_printf(&cg->a.arena, "%s: The broker only supports ListGroups v%d, but we need "
                                              "v%d or newer to request groups by %s.", where, version,
                                              by_state ? 4 : 5, by_state ? "states" : "type"));
        }
        if (rc != OK)
            return cg_fail_call(cg, wraps, rc);
        if (r.error_code == KERR_NONE)
            return listing_add(cg, l, &r);
        if ((r.error_code != KERR_COORDINATOR_LOAD_IN_PROGRESS && r.error_code != KERR_COORDINATOR_NOT_AVAILABLE) ||
            !client_backoff(cg->a.client, attempt, deadline_ms))
            return cg_fail_kafka(cg, wraps, r.error_code, arena_printf(&cg->a.arena, "%s: %s", where,
                                                                       jvm_message(r.error_code)));
    }
}

static int id_compare(const void *pa, const void *pb)
{
    const struct listed *la = *(const struct listed *const *)pa, *lb = *(const struct listed *const *)pb;
    const struct tp      a = { la->id, 0 }, b = { lb->id, 0 };
    int                  d = tp_compare(&a, &b);

    return d != 0 ? d : la < lb ? -1 : la > lb;
}

/* A group that has just moved may be on two brokers: what the later one says stands in the place of the earlier. */
static int listing_finish(struct cg *cg, struct listing *l)
{
    struct listed **sorted;
    bool           *twice;
    size_t          n = 0;

    TRY(cg_array(cg, l->n, sizeof(struct listed *), &sorted));
    TRY(cg_array(cg, l->n, sizeof *twice, &twice));
    for (size_t i = 0; i < l->n; i++)
        sorted[i] = &l->v[i];
    if (l->n > 1)
        qsort(sorted, l->n, sizeof(struct listed *), id_compare);
    for (size_t i = 1; i < l->n; i++) {
        if (!str_eq(sorted[i - 1]->id, sorted[i]->id))
            continue;
        *sorted[i - 1] = *sorted[i];
        twice[sorted[i] - l->v] = true;
        sorted[i] = sorted[i - 1];
    }
    for (size_t i = 0; i < l->n; i++) {
        if (!twice[i])
            l->v[n++] = l->v[i];
    }
    l->n = n;
    return cg_order(cg, l->v, l->n, sizeof *l->v, JVM_ROOM, str_hash);
}

/* The client forgets its own when one of them does not answer. */
static int brokers_copy(struct cg *cg, const struct client_broker *v, size_t n, struct client_broker **out)
{
    TRY(cg_array(cg, n, sizeof **out, out));
    for (size_t i = 0; i < n; i++) {
        (*out)[i] = (struct client_broker){ .id = v[i].id, .port = v[i].port,
                                            .host = arena_cstr(&cg->a.arena, str_of(v[i].host)) };
        if (v[i].rack != NULL)
            (*out)[i].rack = arena_cstr(&cg->a.arena, str_of(v[i].rack));
        if ((*out)[i].host == NULL || (v[i].rack != NULL && (*out)[i].rack == NULL))
            return admin_fail(&cg->a, ERR_NOMEM, "out of memory");
    }
    return OK;
}

static int listing_get(struct cg *cg, int wraps, const struct list_groups_request *q, struct listing *l)
{
    const struct client_broker *brokers;
    struct client_broker       *copy;
    size_t                      n;
    int                         rc;

    memset(l, 0, sizeof *l);
    client_doing(cg->a.client, "findAllBrokers");
    rc = client_brokers(cg->a.client, &brokers, &n);
    if (rc != OK)
        return admin_fail(&cg->a, rc, "%sorg.apache.kafka.common.KafkaException: Failed to find brokers to send "
                          "ListGroups", wraps > 0 ? "java.util.concurrent.ExecutionException: " : "");
    client_doing(cg->a.client, "listConsumerGroups");
    TRY(brokers_copy(cg, brokers, n, &copy));
    for (size_t i = 0; i < n; i++)
        TRY(ask_broker(cg, &copy[i], wraps, q, l));
    return listing_finish(cg, l);
}

int groups_names(struct cg *cg, struct strs *out)
{
    struct list_groups_request q;
    struct listing             l;

    list_groups_request_init(&q);
    TRY(listing_get(cg, 1, &q, &l));
    TRY(cg_array(cg, l.n, sizeof *out->v, &out->v));
    for (out->n = 0; out->n < l.n; out->n++)
        out->v[out->n] = l.v[out->n].id;
    return OK;
}

int groups_chosen(struct cg *cg, struct strs *out)
{
    const char *name;
    size_t      given = (size_t)cg->o->v[CG_GROUP].given;

    if (options_has(cg->o, CG_ALL_GROUPS))
        return groups_names(cg, out);
    out->n = 0;
    TRY(cg_array(cg, given, sizeof *out->v, &out->v));
    for (size_t i = 0; (name = options_nth(cg->o, CG_GROUP, i)) != NULL; i++) {
        size_t k = 0;

        while (k < out->n && !str_is(out->v[k], name))
            k++;
        if (k == out->n)
            out->v[out->n++] = str_of(name);
    }
    return cg_order(cg, out->v, out->n, sizeof *out->v, JVM_ROOM, str_hash);
}

/* ---- --list ---- */

static struct str trimmed(struct str s)
{
    while (s.len > 0 && isspace((unsigned char)s.p[0]))
        s = (struct str){ s.p + 1, s.len - 1 };
    while (s.len > 0 && isspace((unsigned char)s.p[s.len - 1]))
        s.len--;
    return s;
}

static struct str state_filter(struct str word)
{
    enum group_state s = group_state_parse(word);

    return s != GS_UNKNOWN ? str_of(gs_name(s)) : (struct str){ NULL, 0 };
}

static struct str type_filter(struct str word)
{
    static const char *const types[] = { "Consumer", "Classic" };

    for (size_t i = 0; i < 2; i++) {
        if (word.len == strlen(types[i]) && strncasecmp(word.p, types[i], word.len) == 0)
            return str_of(types[i]);
    }
    return (struct str){ NULL, 0 };
}

/* Reads "stable, empty". */
static int filter_parse(struct cg *cg, const char *text, struct str (*known)(struct str), struct str **out, int32_t *n)
{
    TRY(cg_array(cg, strlen(text) + 1, sizeof **out, out));
    if (text[strspn(text, ",")] == '\0')
        return OK;
    for (const char *p = text;; p++) {
        struct str word = known(trimmed((struct str){ p, strcspn(p, ",") }));

        if (word.p == NULL)
            return ERR_INVALID;
        (*out)[(*n)++] = word;
        p += strcspn(p, ",");
        if (p[strspn(p, ",")] == '\0')      /* empty words at the end are none */
            return OK;
    }
}

static int filters(struct cg *cg, struct list_groups_request *q)
{
    const char *types = options_str(cg->o, CG_TYPE), *states = options_str(cg->o, CG_STATE);

    if (types != NULL && types[0] != '\0' &&
        filter_parse(cg, types, type_filter, &q->types_filter, &q->types_filter_n) != OK)
        return cg_usage(cg, "Invalid types list '%s'. Valid types are: Consumer, Classic", types);
    if (states != NULL && states[0] != '\0' &&
        filter_parse(cg, states, state_filter, &q->states_filter, &q->states_filter_n) != OK)
        return cg_usage(cg, "Invalid state list '%s'. Valid states are: PreparingRebalance, CompletingRebalance, "
                        "Stable, Dead, Empty, Assigning, Reconciling", states);
    return OK;
}

static void print_listing(const struct cg *cg, const struct listing *l)
{
    size_t width = 15;

    for (size_t i = 0; i < l->n; i++) {
        size_t n = jvm_length(l->v[i].id);
        width = n > width ? n : width;
    }
    for (size_t i = 0; i <= l->n; i++) {
        const struct listed *g = i > 0 ? &l->v[i - 1] : NULL;

        jvm_pad(g != NULL ? g->id : STR_LIT("GROUP"), width + 10);
        if (options_has(cg->o, CG_TYPE)) {
            struct str type = g == NULL ? STR_LIT("TYPE") : type_filter(g->type);

            putchar(' ');
            jvm_pad(type.p != NULL ? type : STR_LIT("Unknown"), 20);
        }
        if (options_has(cg->o, CG_STATE)) {
            putchar(' ');
            jvm_pad(g == NULL ? STR_LIT("STATE") : str_of(gs_name(group_state_parse(g->state))), 20);
        }
        putchar('\n');
    }
}

int groups_list(struct cg *cg)
{
    struct list_groups_request q;
    struct listing             l;
    struct strs                names;

    if (options_has(cg->o, CG_TYPE) || options_has(cg->o, CG_STATE)) {
        list_groups_request_init(&q);
        TRY(filters(cg, &q));
        TRY(listing_get(cg, 0, &q, &l));
        print_listing(cg, &l);
        return OK;
    }
    TRY(groups_names(cg, &names));
    for (size_t i = 0; i < names.n; i++)
        printf("%.*s\n", STR_ARG(names.v[i]));
    return OK;
}
