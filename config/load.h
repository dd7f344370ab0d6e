/* config/load.h - shared by the files that make one configuration: load, sources, derive, listeners, problems.
 *
 * OWNER  a struct loader lives on the stack of config_load(); everything it makes goes into the arenas of the
 *        configuration or of the list of problems.
 * LOCKS  none: one thread.
 */
#ifndef CONFIG_LOAD_H
#define CONFIG_LOAD_H

#include "config/config.h"

struct loader {
    struct config          *cfg;
    struct config_problems *problems;
    struct config_given    *given;          /* one for each key, in the order in which they came */
    size_t                  given_n, given_cap;
    bool                   *bad;            /* by row of server_params: its value was refused already */
    int                     rc;             /* ERR_NOMEM, once memory is out; OK otherwise */
};

/* A problem of the given property; g NULL: of nothing in particular. */
void loader_problem(struct loader *l, enum config_severity severity, const struct config_given *g, const char *nearest,
                    const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* A problem of a whole source: a file that cannot be read. */
void loader_file_problem(struct loader *l, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* An error of the known property `name`, where it was given or with its default value. It is bad from now on. */
void loader_refuse(struct loader *l, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Warns of a property without effect; false, after an error, when its value promises what is not kept yet. */
bool loader_check_effect(struct loader *l, const struct config_given *g, const struct param *p, const void *base);

const struct config_given *loader_given(const struct loader *l, const char *key);   /* NULL: was not given */
bool loader_is_bad(const struct loader *l, const char *name);
void loader_mark_bad(struct loader *l, const struct param *p);

/* Memory of the configuration; NULL and rc = ERR_NOMEM when it is out. */
void       *loader_array(struct loader *l, size_t n, size_t size);
const char *loader_text(struct loader *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

int  loader_begin(struct loader *l, struct config_problems *problems) must_use;     /* an empty configuration */
int  loader_end(struct loader *l, struct config **out) must_use;            /* its values, and all that follows */
void loader_give(struct loader *l, struct config_given g);                          /* replaces what has the same key */

/* The steps, in this order. Each goes on to its end whatever it finds. */
void sources_read(struct loader *l, const struct config_input *in);                 /* fills given */
void listeners_derive(struct loader *l);
void derived_set(struct loader *l);
void cross_check(struct loader *l);

void problems_sort(struct config_problems *problems);

#endif
