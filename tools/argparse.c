/* tools/argparse.c - checks of options, in the other parser's words. */
#include "tools/argparse.h"

#include <stdlib.h>
#include <string.h>

static bool is_number(const char *text, enum argparse_kind kind)
{
    int64_t v;
    char   *end;

    if (kind != ARG_DOUBLE)
        return parse_i64(text, kind == ARG_INTEGER ? INT32_MIN : INT64_MIN,
                         kind == ARG_INTEGER ? INT32_MAX : INT64_MAX, &v) == OK;
    (void)strtod(text, &end);
    return end != text && *end == '\0';
}

int argparse_numbers(const struct invocation *inv, const struct options *o, const struct argparse_number *v, size_t n)
{
    static const char *const java[] = { "Integer", "Long", "Double" };
    char text[512];

    for (size_t i = 0; i < n; i++) {
        const char *value = options_str(o, v[i].opt);

        if (value == NULL || is_number(value, v[i].kind))
            continue;
        snprintf(text, sizeof text, "argument --%s: could not convert '%s' to %s (For input string: \"%s\")",
                 o->defs[v[i].opt].name, value, java[v[i].kind], value);
        return command_usage(inv, text);
    }
    return 0;
}

int argparse_required(const struct invocation *inv, const struct options *o, const size_t *opts, size_t n)
{
    char text[128];

    for (size_t i = 0; i < n; i++) {
        if (options_has(o, opts[i]))
            continue;
        snprintf(text, sizeof text, "argument --%s is required", o->defs[opts[i]].name);
        return command_usage(inv, text);
    }
    return 0;
}

int argparse_one_of(const struct invocation *inv, const struct options *o, const size_t *opts, size_t n)
{
    char   text[256] = "one of the arguments";
    size_t first = n;

    for (size_t i = 0; i < n; i++) {
        if (!options_has(o, opts[i]))
            continue;
        if (first < n) {
            snprintf(text, sizeof text, "argument --%s: not allowed with argument --%s", o->defs[opts[i]].name,
                     o->defs[opts[first]].name);
            return command_usage(inv, text);
        }
        first = i;
    }
    if (first < n)
        return 0;
    for (size_t i = 0; i < n; i++) {
        size_t at = strlen(text);
        snprintf(text + at, sizeof text - at, " --%s%s", o->defs[opts[i]].name, i + 1 < n ? "" : " is required");
    }
    return command_usage(inv, text);
}

int64_t argparse_i64(const struct options *o, size_t opt)
{
    const char *text = options_str(o, opt);

    return text != NULL ? strtoll(text, NULL, 10) : 0;
}

double argparse_double(const struct options *o, size_t opt)
{
    const char *text = options_str(o, opt);

    return text != NULL ? strtod(text, NULL) : 0;
}
