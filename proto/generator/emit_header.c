/* proto/generator/emit_header.c - the header of one message: its structs and what can be done with it; and init. */
#include "proto/generator/emit.h"

#include <string.h>

static const char *const c_types[] = {
    [K_BOOL] = "bool ", [K_INT8] = "int8_t ", [K_INT16] = "int16_t ", [K_UINT16] = "uint16_t ",
    [K_INT32] = "int32_t ", [K_INT64] = "int64_t ", [K_FLOAT64] = "double ", [K_UUID] = "struct uuid ",
    [K_STRING] = "struct str ", [K_BYTES] = "struct bytes ", [K_RECORDS] = "struct slice ",
};

static const char *range_text(struct range r)
{
    if (r.hi == VERSION_OPEN)
        return xprintf("%d+", r.lo);
    return r.lo == r.hi ? xprintf("%d", r.lo) : xprintf("%d-%d", r.lo, r.hi);
}

static const char *declaration(const struct field *f)
{
    const char *type = f->kind == K_STRUCT ? xprintf("struct %s ", f->type->c_name) : c_types[f->kind];

    return xprintf("%s%s%s;", type, f->array || is_pointer(f) ? "*" : "", f->c_name);
}

static const char *note_of(const struct field *f, const struct shape *in)
{
    const char *null = "";

    if (!range_empty(f->nullable))
        null = range_covers(f->nullable, range_and(f->versions, in->versions))
               ? ", may be null" : xprintf(", may be null in %s", range_text(f->nullable));
    return xprintf("%s%s%s%s", range_text(f->versions), null, f->default_null ? " and is by default" : "",
                   f->tag >= 0 ? ", tagged" : "");
}

static void emit_struct(struct out *o, const struct shape *s)
{
    size_t width = 0;

    line(o, "struct %s {", s->c_name);
    for (size_t i = 0; i < s->n; i++)
        if (strlen(declaration(&s->fields[i])) > width)
            width = strlen(declaration(&s->fields[i]));
    for (size_t i = 0; i < s->n; i++) {
        const struct field *f = &s->fields[i];

        line(o, "%-*s  /* %s */", (int)width, declaration(f), note_of(f, s));
        if (f->array)
            line(o, "int32_t %s_n;", f->c_name);
    }
    if (ever_flexible(s))
        line(o, "const struct raw_tag *unknown_tags;");
    line(o, "};");
    blank(o);
}

void emit_header(const struct message *m, const char *dir)
{
    struct out o;
    const char *guard = xprintf("PROTO_GEN_%s_H", upper_snake(m->name));

    out_open(&o, dir, xprintf("%s.h", m->c_name), xprintf("%s, versions %s%s%s.", m->name, range_text(m->versions),
             range_empty(m->flexible) ? "" : ", flexible from ",
             range_empty(m->flexible) ? "" : xprintf("%d", m->flexible.lo)));
    line(&o, "#ifndef %s", guard);
    line(&o, "#define %s", guard);
    blank(&o);
    line(&o, "#include \"proto/types.h\"");
    blank(&o);
    line(&o, "enum { %s_MIN_VERSION = %d, %s_MAX_VERSION = %d };", upper_snake(m->name), m->versions.lo,
         upper_snake(m->name), m->versions.hi);
    blank(&o);
    for (const struct shape *s = m->structs; s != NULL; s = s->next)
        emit_struct(&o, s);
    for (const struct shape *s = m->structs; s != NULL; s = s->next)
        line(&o, "void %s_init(struct %s *x);", s->c_name, s->c_name);
    for (const struct shape *s = m->structs; s != NULL; s = s->next)
        if (s->needs_is_default)
            line(&o, "bool %s_is_default(const struct %s *x);", s->c_name, s->c_name);
    line(&o, "int %s_read(struct cursor *c, int16_t v, struct arena *a, struct %s *x) must_use;", m->c_name,
         m->c_name);
    line(&o, "size_t %s_size(const struct %s *x, int16_t v);", m->c_name, m->c_name);
    line(&o, "int %s_write(struct chain *ch, const struct %s *x, int16_t v) must_use;", m->c_name, m->c_name);
    blank(&o);
    line(&o, "#endif");
    out_close(&o);
}

/* ---- defaults ---- */

static void emit_default(struct out *o, const struct field *f)
{
    if (f->array) {
        if (f->default_null)
            line(o, "x->%s_n = -1;", f->c_name);
    } else if (f->kind == K_STRUCT) {
        if (!is_pointer(f))
            line(o, "%s_init(&x->%s);", f->type->c_name, f->c_name);
    } else if (f->kind == K_STRING && !f->default_null) {
        line(o, "x->%s.p = \"\";", f->c_name);
    } else if (f->kind == K_BYTES && !f->default_null) {
        line(o, "x->%s.p = (const uint8_t *)\"\";", f->c_name);
    } else if (f->default_number != 0) {
        line(o, "x->%s = %lld;", f->c_name, (long long)f->default_number);
    }
}

static void emit_is_default(struct out *o, const struct shape *s)
{
    line(o, "bool %s_is_default(const struct %s *x)", s->c_name, s->c_name);
    line(o, "{");
    for (size_t i = 0; i < s->n; i++) {
        line(o, "if (%s)", field_not_default(&s->fields[i], "x"));
        line(o, "    return false;");
    }
    line(o, "return %s;", ever_flexible(s) ? "x->unknown_tags == NULL" : "true");
    line(o, "}");
    blank(o);
}

void emit_init(struct out *o, const struct shape *s)
{
    line(o, "void %s_init(struct %s *x)", s->c_name, s->c_name);
    line(o, "{");
    line(o, "memset(x, 0, sizeof *x);");
    for (size_t i = 0; i < s->n; i++)
        emit_default(o, &s->fields[i]);
    line(o, "}");
    blank(o);
    if (s->needs_is_default)
        emit_is_default(o, s);
}
