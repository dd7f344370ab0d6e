/* tools/options.h - the options of one command: a table, a parser, and the help text made from the table.
 *
 * The parser reads what Kafka's commands read: `--name value`, `--name=value`, one dash as well as two, any order,
 * whole names only. Words that are no option are passed over, as Kafka's commands do.
 *
 * OWNER    struct options borrows the table and argv; options_fini() frees what it made itself.
 * LOCKS    none: one thread.
 * FAILURE  ERR_INVALID with a sentence for the user in o->error. Numbers are converted when they are asked for, so
 *          that a bad one is reported by the command that uses it.
 */
#ifndef TOOLS_OPTIONS_H
#define TOOLS_OPTIONS_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum option_arg {
    OPT_FLAG,                       /* takes no value */
    OPT_VALUE,                      /* needs a value; the next word is it, whatever it looks like */
    OPT_MANY,                       /* the same, and may be given several times */
    OPT_MAYBE,                      /* may have a value; a word that begins with '-' is not it */
    OPT_LIST,                       /* all words up to the next one that begins with '-', at least one */
};

struct option_def {
    const char     *name;           /* without dashes */
    enum option_arg arg;
    const char     *arg_name;       /* for the help text */
    const char     *help;
    const char     *dflt;           /* shown in the help text and given by options_str(); NULL: none */
};

#define OPTIONS_MAX 48              /* of one table */

struct option_value {
    int    given;                   /* times */
    size_t first;                   /* index of the first value in options.values; the others follow by `next` */
    size_t last;
};

struct option_word {
    const char *text;               /* NULL: an OPT_MAYBE without value */
    size_t      next;
};

struct options {
    const struct option_def *defs;
    size_t                   n;
    struct option_value      v[OPTIONS_MAX];
    struct option_word      *words;
    size_t                   words_n;
    int                      argc;  /* words on the command line, options or not */
    char                     error[256];
};

/* argv[0] is not looked at. *o must be given to options_fini() whatever the result. */
int  options_parse(struct options *o, const struct option_def *defs, size_t n, int argc, char **argv) must_use;
void options_fini(struct options *o);

bool options_has(const struct options *o, size_t opt);
/* The value, else the default, else NULL. */
const char *options_str(const struct options *o, size_t opt);
/* The i-th value of an OPT_MANY or OPT_LIST, NULL past the last. */
const char *options_nth(const struct options *o, size_t opt, size_t i);
/* ERR_NOENT: not given and no default (*out is untouched). */
int options_i32(struct options *o, size_t opt, int32_t *out) must_use;
int options_i64(struct options *o, size_t opt, int64_t *out) must_use;

/* ERR_INVALID when `opt` is missing / when both `opt` and one of `others` are given; o->error says it in
 * Kafka's words. */
int options_require(struct options *o, size_t opt) must_use;
int options_exclude(struct options *o, size_t opt, const size_t *others, size_t n) must_use;

void options_help(FILE *f, const struct option_def *defs, size_t n);

/* Kafka's number syntax: a sign, digits, nothing else. */
int parse_i64(const char *text, int64_t min, int64_t max, int64_t *out) must_use;

#endif
