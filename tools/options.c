/* tools/options.c - reading options by a table; the help text. */
#include "tools/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define HELP_LEFT 40                /* columns of the left half of the help text */
#define HELP_WIDTH 100

static int __attribute__((format(printf, 2, 3))) options_fail(struct options *o, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(o->error, sizeof o->error, fmt, ap);
    va_end(ap);
    return ERR_INVALID;
}

static bool option_find(const struct options *o, const char *name, size_t len, size_t *out)
{
    for (size_t i = 0; i < o->n; i++) {
        if (strlen(o->defs[i].name) == len && strncmp(o->defs[i].name, name, len) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static void option_add(struct options *o, size_t opt, const char *text)
{
    struct option_value *v = &o->v[opt];
    size_t               at = o->words_n++;

    o->words[at] = (struct option_word){ .text = text };
    if (v->given == 0)
        v->first = at;
    else
        o->words[v->last].next = at;
    v->last = at;
    v->given++;
}

/* Takes one option and, if it has one, its value; *i is left at the last word used. */
static int option_take(struct options *o, int argc, char **argv, int *i)
{
    const char *word = argv[*i] + (argv[*i][1] == '-' ? 2 : 1);
    const char *eq = strchr(word, '=');
    size_t      len = eq != NULL ? (size_t)(eq - word) : strlen(word), opt;
    char        name[64];

    snprintf(name, sizeof name, "%.*s", (int)len, word);
    if (!option_find(o, word, len, &opt))
        return options_fail(o, "%s is not a recognized option", name);

    const struct option_def *d = &o->defs[opt];
    const char              *value = eq != NULL ? eq + 1 : NULL;

    if (d->arg == OPT_FLAG && value != NULL)
        return options_fail(o, "Option %s does not take an argument", name);
    if (value == NULL && d->arg != OPT_FLAG && *i + 1 < argc &&
        ((d->arg != OPT_MAYBE && d->arg != OPT_LIST) || argv[*i + 1][0] != '-'))
        value = argv[++*i];
    if (value == NULL && (d->arg == OPT_VALUE || d->arg == OPT_MANY || d->arg == OPT_LIST))
        return options_fail(o, "Option %s requires an argument", name);
    if ((d->arg == OPT_VALUE || d->arg == OPT_MAYBE) && o->v[opt].given > 0)
        return options_fail(o, "Found multiple arguments for option %s, but you asked for only one", name);
    option_add(o, opt, value);
    while (d->arg == OPT_LIST && *i + 1 < argc && argv[*i + 1][0] != '-')
        option_add(o, opt, argv[++*i]);
    return OK;
}

int options_parse(struct options *o, const struct option_def *defs, size_t n, int argc, char **argv)
{
    memset(o, 0, sizeof *o);
    if (n > OPTIONS_MAX)
        return ERR_LIMIT;
    o->defs = defs;
    o->n = n;
    o->argc = argc > 0 ? argc - 1 : 0;
    o->words = calloc((size_t)o->argc + 1, sizeof *o->words);
    if (o->words == NULL)
        return options_fail(o, "out of memory");
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0)
            break;
        if (argv[i][0] == '-' && argv[i][1] != '\0')
            TRY(option_take(o, argc, argv, &i));
    }
    return OK;
}

void options_fini(struct options *o)
{
    free(o->words);
    o->words = NULL;
}

bool options_has(const struct options *o, size_t opt)
{
    return o->v[opt].given > 0;
}

const char *options_str(const struct options *o, size_t opt)
{
    return options_has(o, opt) ? o->words[o->v[opt].first].text : o->defs[opt].dflt;
}

const char *options_nth(const struct options *o, size_t opt, size_t i)
{
    size_t at = o->v[opt].first;

    if (i >= (size_t)o->v[opt].given)
        return NULL;
    for (; i > 0; i--)
        at = o->words[at].next;
    return o->words[at].text;
}

int parse_i64(const char *text, int64_t min, int64_t max, int64_t *out)
{
    char     *end;
    long long v;

    if (!isdigit((unsigned char)text[text[0] == '-' || text[0] == '+']))
        return ERR_INVALID;
    errno = 0;
    v = strtoll(text, &end, 10);
    if (errno != 0 || *end != '\0' || v < min || v > max)
        return ERR_INVALID;
    *out = v;
    return OK;
}

static int option_number(struct options *o, size_t opt, int64_t min, int64_t max, int64_t *out)
{
    const char *text = options_str(o, opt);

    if (text == NULL)
        return ERR_NOENT;
    if (parse_i64(text, min, max, out) != OK)
        return options_fail(o, "Cannot parse argument '%s' of option %s", text, o->defs[opt].name);
    return OK;
}

int options_i64(struct options *o, size_t opt, int64_t *out)
{
    return option_number(o, opt, INT64_MIN, INT64_MAX, out);
}

int options_i32(struct options *o, size_t opt, int32_t *out)
{
    int64_t v;

    TRY(option_number(o, opt, INT32_MIN, INT32_MAX, &v));
    *out = (int32_t)v;
    return OK;
}

int options_require(struct options *o, size_t opt)
{
    if (options_has(o, opt))
        return OK;
    return options_fail(o, "Missing required argument \"[%s]\"", o->defs[opt].name);
}

int options_exclude(struct options *o, size_t opt, const size_t *others, size_t n)
{
    if (!options_has(o, opt))
        return OK;
    for (size_t i = 0; i < n; i++) {
        if (options_has(o, others[i]))
            return options_fail(o, "Option \"[%s]\" can't be used with option \"[%s]\"", o->defs[opt].name,
                                o->defs[others[i]].name);
    }
    return OK;
}

/* Prints text from column `at`, broken at blanks so that lines end before HELP_WIDTH. '\n' starts a new line. */
static void help_text(FILE *f, const char *text, int at)
{
    int col = at;

    while (*text != '\0') {
        size_t word = strcspn(text, " \n");

        if (col > at && col + (int)word + 1 > HELP_WIDTH) {
            fprintf(f, "\n%*s", at, "");
            col = at;
        }
        col += fprintf(f, "%s%.*s", col > at ? " " : "", (int)word, text);
        text += word;
        if (*text == '\n') {
            fprintf(f, "\n%*s", at, "");
            col = at;
        }
        if (*text != '\0')
            text++;
    }
    fputc('\n', f);
}

void options_help(FILE *f, const struct option_def *defs, size_t n)
{
    fprintf(f, "%-*s Description\n%-*s -----------\n", HELP_LEFT, "Option", HELP_LEFT, "------");
    for (size_t i = 0; i < n; i++) {
        const struct option_def *d = &defs[i];
        char                     left[128], right[1600];

        snprintf(left, sizeof left, "--%s%s%s%s", d->name,
                 d->arg == OPT_FLAG ? "" : d->arg == OPT_MAYBE ? " [" : " <",
                 d->arg == OPT_FLAG ? "" : d->arg_name != NULL ? d->arg_name : "value",
                 d->arg == OPT_FLAG ? "" : d->arg == OPT_MAYBE ? "]" : d->arg == OPT_LIST ? "> ..." : ">");
        snprintf(right, sizeof right, "%s%s%s%s", d->help, d->dflt != NULL ? " (default: " : "",
                 d->dflt != NULL ? d->dflt : "", d->dflt != NULL ? ")" : "");
        if (strlen(left) > HELP_LEFT)
            fprintf(f, "%s\n%*s", left, HELP_LEFT + 1, "");
        else
            fprintf(f, "%-*s ", HELP_LEFT, left);
        help_text(f, right, HELP_LEFT + 1);
    }
}
