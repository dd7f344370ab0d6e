/* proto/generator/emit.c - composing a file of C, and the phrases that several passes need. */
#include "proto/generator/emit.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void out_open(struct out *o, const char *dir, const char *name, const char *what_for)
{
    *o = (struct out){ .path = xprintf("%s/%s", dir, name) };
    o->f = open_memstream(&o->text, &o->len);
    if (o->f == NULL)
        die("out of memory");
    fprintf(o->f, "/* proto/gen/%s - %s Made by proto/generator from proto/schema. */\n", name, what_for);
}

static bool same_as_file(const struct out *o)
{
    FILE *f = fopen(o->path, "r");
    char *old;
    bool same;

    if (f == NULL)
        return false;
    old = xalloc(o->len + 1);
    same = fread(old, 1, o->len + 1, f) == o->len && memcmp(old, o->text, o->len) == 0;
    fclose(f);
    free(old);
    return same;
}

void out_close(struct out *o)
{
    FILE *f;

    if (fclose(o->f) != 0)
        die("out of memory");
    if (!same_as_file(o)) {
        f = fopen(o->path, "w");
        if (f == NULL || fwrite(o->text, 1, o->len, f) != o->len || fclose(f) != 0)
            die("%s: cannot be written: %m", o->path);
    }
    free(o->text);
}

void line(struct out *o, const char *fmt, ...)
{
    va_list ap;
    char *text = NULL;
    size_t n;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        die("out of memory");
    va_end(ap);
    n = strlen(text);
    if (text[0] == '}')
        o->depth--;
    fprintf(o->f, "%*s%s\n", 4 * o->depth, "", text);
    if (n > 0 && text[n - 1] == '{')
        o->depth++;
    free(text);
}

void blank(struct out *o)
{
    fputc('\n', o->f);
}

void guard(struct out *o, struct guard *g, const char *test)
{
    if (test != NULL && always(test))
        test = NULL;
    if (test != NULL && g->test != NULL && strcmp(test, g->test) == 0)
        return;
    if (g->test != NULL)
        line(o, "}");
    g->test = test;
    if (test != NULL)
        line(o, "if (%s) {", test);
}

/* ---- phrases ---- */

const char *version_test(struct range want, struct range have)
{
    struct range both = range_and(want, have);

    if (range_empty(both))
        return "false";
    if (range_covers(want, have))
        return "true";
    if (both.lo == both.hi)
        return xprintf("v == %d", both.lo);
    if (both.lo == have.lo)
        return xprintf("v <= %d", both.hi);
    if (both.hi == have.hi)
        return xprintf("v >= %d", both.lo);
    return xprintf("v >= %d && v <= %d", both.lo, both.hi);
}

bool always(const char *test)
{
    return strcmp(test, "true") == 0;
}

bool never(const char *test)
{
    return strcmp(test, "false") == 0;
}

bool ever_flexible(const struct shape *s)
{
    return !range_empty(range_and(s->message->flexible, s->versions));
}

const char *field_present(const struct field *f, const struct shape *in)
{
    return version_test(f->versions, in->versions);
}

/* Here the field is present. */
const char *field_null_ok(const struct field *f, const struct shape *in)
{
    return version_test(f->nullable, range_and(f->versions, in->versions));
}

const char *field_compact(const struct field *f, const struct shape *in)
{
    if (f->classic || !ever_flexible(in))
        return "false";
    return f->tag >= 0 ? "true" : "flex";
}

bool is_pointer(const struct field *f)
{
    return f->kind == K_STRUCT && !f->array && f->default_null;
}

const char *field_not_default(const struct field *f, const char *x)
{
    const char *name = xprintf("%s->%s", x, f->c_name);
    bool can_be_null = !range_empty(f->nullable);

    if (f->array)
        return xprintf(f->default_null ? "%s_n >= 0" : can_be_null ? "%s_n != 0" : "%s_n > 0", name);
    switch (f->kind) {
    case K_STRING:
    case K_BYTES:
        if (f->default_null)
            return xprintf("%s.p != NULL", name);
        return can_be_null ? xprintf("(%s.p == NULL || %s.len != 0)", name, name) : xprintf("%s.len != 0", name);
    case K_RECORDS:
        return xprintf("!slice_is_null(%s)", name);
    case K_UUID:
        return xprintf("!uuid_is_zero(%s)", name);
    case K_STRUCT:
        if (is_pointer(f))
            return xprintf("%s != NULL", name);
        return xprintf("!%s_is_default(&%s)", f->type->c_name, name);
    case K_BOOL:
        return xprintf("%s%s", f->default_number != 0 ? "!" : "", name);
    default:
        return xprintf("%s != %lld", name, (long long)f->default_number);
    }
}

void function_head(struct out *o, const struct shape *s)
{
    if (ever_flexible(s))
        line(o, "const bool flex = %s;", version_test(s->message->flexible, s->versions));
}
