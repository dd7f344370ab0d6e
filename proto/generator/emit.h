/* proto/generator/emit.h - writing C, and the passes that write it.
 *
 * A file is composed in memory and replaces the one on disk only when it differs, so that what was not changed is not
 * compiled again.
 */
#ifndef PROTO_GENERATOR_EMIT_H
#define PROTO_GENERATOR_EMIT_H

#include "proto/generator/schema.h"

#include <stdio.h>

struct out {
    const char *path;
    FILE       *f;
    char       *text;
    size_t      len;
    int         depth;          /* of indentation, in steps of four */
};

void out_open(struct out *o, const char *dir, const char *name, const char *what_for);
void out_close(struct out *o);
/* One line, indented. A line that ends in { indents what follows, one that begins with } ends that. */
void line(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void blank(struct out *o);

/* C for "the version is in `want`", given that it is in `have`: "true", "false" or a condition on v. */
const char *version_test(struct range want, struct range have);
bool        always(const char *test);
bool        never(const char *test);

const char *field_compact(const struct field *f, const struct shape *in);     /* C: is it encoded compactly? */
const char *field_null_ok(const struct field *f, const struct shape *in);     /* C: may it be null? */
const char *field_present(const struct field *f, const struct shape *in);     /* C: is it in this version? */
const char *field_not_default(const struct field *f, const char *x);           /* C: does x->field differ? */
bool        is_pointer(const struct field *f);                                  /* a struct that may be null */
bool        ever_flexible(const struct shape *s);
void        function_head(struct out *o, const struct shape *s);               /* bool flex, and what may be unused */

/* Encloses what follows in if (test), until another test comes; NULL ends it. */
struct guard {
    const char *test;
};
void guard(struct out *o, struct guard *g, const char *test);

/* The passes, one for each kind of function; each writes what belongs to one struct or message. */
void emit_header(const struct message *m, const char *dir);
void emit_init(struct out *o, const struct shape *s);
void emit_read(struct out *o, const struct shape *s);
void emit_size(struct out *o, const struct shape *s);
void emit_write(struct out *o, const struct shape *s);
void emit_entry_points(struct out *o, const struct message *m);
void emit_json(struct out *o, const struct shape *s);

void emit_apis(const struct schema *s, const char *dir);
void emit_registry(const struct schema *s, const char *dir);    /* gen/json.h, gen/messages.h and messages.c */

#endif
