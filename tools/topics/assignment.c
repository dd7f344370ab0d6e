/* tools/topics/assignment.c - reading --replica-assignment. */
#include "tools/topics/assignment.h"

#include "tools/options.h"

#include <stdio.h>

static size_t count(const char *p, size_t n, char c)
{
    size_t k = 1;

    for (size_t i = 0; i < n; i++)
        k += p[i] == c;
    return k;
}

static int broker_parse(const char *p, size_t n, int32_t *out)
{
    char    word[24];
    int64_t v;

    while (n > 0 && *p == ' ') {
        p++;
        n--;
    }
    while (n > 0 && p[n - 1] == ' ')
        n--;
    if (n == 0 || n >= sizeof word)
        return ERR_INVALID;
    memcpy(word, p, n);
    word[n] = '\0';
    TRY(parse_i64(word, INT32_MIN, INT32_MAX, &v));
    *out = (int32_t)v;
    return OK;
}

static void print_list(const struct assignment *as, char *out, size_t len)
{
    size_t at = 0;

    for (int32_t i = 0; i < as->n && at < len; i++)
        at += (size_t)snprintf(out + at, len - at, "%s%d", i > 0 ? ", " : "", as->brokers[i]);
}

/* One partition: "1:2:3". Java drops empty words at the end of a list; so do we. */
static int partition_parse(const char *p, size_t n, struct arena *a, struct assignment *out, char *error,
                           size_t error_len)
{
    while (n > 0 && p[n - 1] == ':')
        n--;
    out->n = 0;
    out->brokers = arena_array(a, count(p, n, ':'), sizeof *out->brokers);
    if (out->brokers == NULL)
        return ERR_NOMEM;
    for (const char *end = p + n; p <= end;) {
        const char *colon = memchr(p, ':', (size_t)(end - p));
        size_t      len = (size_t)((colon != NULL ? colon : end) - p);

        if (broker_parse(p, len, &out->brokers[out->n]) != OK) {
            snprintf(error, error_len, "For input string: \"%.*s\"", (int)len, p);
            return ERR_INVALID;
        }
        for (int32_t i = 0; i < out->n; i++) {
            if (out->brokers[i] == out->brokers[out->n]) {
                snprintf(error, error_len, "Partition replica lists may not contain duplicate entries: %d",
                         out->brokers[i]);
                return ERR_INVALID;
            }
        }
        out->n++;
        p += len + 1;
    }
    return OK;
}

int assignments_parse(const char *text, struct arena *a, struct assignments *out, char *error, size_t error_len)
{
    size_t n = strlen(text);

    while (n > 0 && text[n - 1] == ',')
        n--;
    out->n = 0;
    out->v = arena_array(a, count(text, n, ','), sizeof *out->v);
    if (out->v == NULL)
        return ERR_NOMEM;
    for (const char *p = text, *end = text + n; p <= end;) {
        const char        *comma = memchr(p, ',', (size_t)(end - p));
        size_t             len = (size_t)((comma != NULL ? comma : end) - p);
        struct assignment *as = &out->v[out->n];

        TRY(partition_parse(p, len, a, as, error, error_len));
        if (as->n != out->v[0].n) {
            char list[128] = "";
            print_list(as, list, sizeof list);
            snprintf(error, error_len, "Partition %d has different replication factor: [%s]", out->n, list);
            return ERR_INVALID;
        }
        out->n++;
        p += len + 1;
    }
    return OK;
}
