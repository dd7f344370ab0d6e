/* tools/props.h - properties that a command is given: files of them, and "key=value" words on the command line.
 *
 * OWNER    everything lies in the caller's arena, but for the words of the command line, which are borrowed.
 * LOCKS    none.
 * FAILURE  a sentence in `error`.
 */
#ifndef TOOLS_PROPS_H
#define TOOLS_PROPS_H

#include "base/arena.h"
#include "tools/options.h"

struct prop {
    struct str name, value;
};

struct props {
    struct prop *v;             /* each name once; the last value given counts */
    size_t       n, cap;
};

/* A Java properties file. ERR_IO, ERR_INVALID, ERR_NOMEM. */
int props_add_file(struct props *p, const char *file, struct arena *a, char *error, size_t error_len) must_use;
/* The values of an OPT_MANY: "name=value"; without '=' the value is empty. */
int props_add_words(struct props *p, const struct options *o, size_t opt, struct arena *a) must_use;
int props_set(struct props *p, struct str name, struct str value, struct arena *a) must_use;
/* p NULL: not there. */
struct str props_get(const struct props *p, const char *name);
/* As Kafka's formatters and readers take a flag: "true" in any case, with blanks around it, is true. */
bool prop_is_true(struct str value);

#endif
