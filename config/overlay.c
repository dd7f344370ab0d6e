/* config/overlay.c - settings that were changed while brokers run, over those that a broker was started with. */
#include "config/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void copy_given(struct loader *l, const struct config *base)
{
    for (size_t i = 0; i < base->given_n && l->rc == OK; i++) {
        struct config_given g = { .param = base->given[i].param, .file = "what the broker was started with" };

        g.key = loader_text(l, "%s", base->given[i].key);
        g.value = loader_text(l, "%s", base->given[i].value);
        if (l->rc == OK)
            loader_give(l, g);
    }
}

static void lay(struct loader *l, const struct config_dynamic *v, size_t n, enum config_layer layer)
{
    for (size_t i = 0; i < n && l->rc == OK; i++) {
        struct config_given g = { .file = "a change of settings" };

        if (v[i].layer != layer)
            continue;
        g.key = loader_text(l, "%s", v[i].key);
        g.value = loader_text(l, "%s", v[i].value);
        if (l->rc != OK)
            return;
        g.param = param_find(&server_params, str_of(g.key));
        loader_give(l, g);
    }
}

static struct config_dynamic *copy_dynamic(struct loader *l, const struct config_dynamic *v, size_t n)
{
    struct config_dynamic *out = loader_array(l, n + 1, sizeof *out);

    for (size_t i = 0; out != NULL && i < n; i++)
        out[i] = (struct config_dynamic){ loader_text(l, "%s", v[i].key), loader_text(l, "%s", v[i].value),
                                          v[i].layer };
    return out;
}

/* The values one by one, in Apache Kafka's words; what is left to config_overlay() is how they go together. */
static int check_values(const struct config_dynamic *v, size_t n, char *why, size_t why_size)
{
    struct config *scratch = calloc(1, sizeof *scratch);
    int rc = scratch != NULL ? OK : ERR_NOMEM;

    if (rc == OK)
        arena_init(&scratch->arena, (size_t)1 << 20);
    for (size_t i = 0; i < n && rc == OK; i++) {
        const struct param *p = param_find(&server_params, str_of(v[i].key));
        char reason[1024];

        rc = p != NULL ? param_set(p, scratch, v[i].value, &scratch->arena, reason, sizeof reason) : OK;
        if (rc == ERR_RANGE) {
            const char *refused = p->type == CONFIG_PASSWORD ? "[hidden]"
                                                             : param_refused(p, v[i].value, &scratch->arena);

            snprintf(why, why_size, "Invalid value %s for configuration %s: %s", refused != NULL ? refused : "",
                     p->name, reason);
            rc = ERR_INVALID;
        }
    }
    if (scratch != NULL)
        arena_fini(&scratch->arena);
    free(scratch);
    return rc;
}

int config_overlay(struct config **out, const struct config *base, const struct config_dynamic *v, size_t n, char *why,
                   size_t why_size)
{
    struct config_problems problems;
    struct config_given *started;
    struct config_dynamic *dynamic;
    struct loader l;
    size_t started_n;
    int rc;

    *out = NULL;
    TRY(check_values(v, n, why, why_size));
    rc = loader_begin(&l, &problems);
    if (rc != OK) {
        config_problems_fini(&problems);
        return rc;
    }
    copy_given(&l, base);
    started_n = l.given_n;
    started = loader_array(&l, started_n + 1, sizeof *started);
    dynamic = copy_dynamic(&l, v, n);
    if (started != NULL && started_n > 0)
        memcpy(started, l.given, started_n * sizeof *started);
    lay(&l, v, n, CONFIG_LAYER_CLUSTER);
    lay(&l, v, n, CONFIG_LAYER_BROKER);
    rc = loader_end(&l, out);
    if (rc == OK) {
        (*out)->given = started;
        (*out)->given_n = started_n;
        (*out)->dynamic = dynamic;
        (*out)->dynamic_n = n;
    }
    for (size_t i = 0; rc == ERR_INVALID && i < problems.n; i++)
        if (problems.v[i].severity == CONFIG_ERROR) {
            snprintf(why, why_size, "Invalid value %s for configuration %s: %s",
                     problems.v[i].value != NULL ? problems.v[i].value : "[hidden]",
                     problems.v[i].key != NULL ? problems.v[i].key : "?", problems.v[i].what);
            break;
        }
    config_problems_fini(&problems);
    return rc;
}
