/* proto/generator/emit_json.c - printers to Apache Kafka's JSON form, and the table of messages. For tests, tools.
 *
 * The form: fields of the version in their order under their camelCase names; a tagged field only when it is not its
 * default; bytes as base64; of records only the size, under <name>SizeInBytes.
 */
#include "proto/generator/emit.h"

static const char *json_expr(const struct field *f, const char *x)
{
    switch (f->kind) {
    case K_BOOL:    return xprintf("json_boolean(%s)", x);
    case K_FLOAT64: return xprintf("json_of_double(%s)", x);
    case K_UUID:    return xprintf("json_of_uuid(%s)", x);
    case K_STRING:  return xprintf("json_of_str(%s)", x);
    case K_BYTES:   return xprintf("json_of_bytes(%s)", x);
    case K_RECORDS: return xprintf("json_integer((json_int_t)%s.len)", x);
    case K_STRUCT:  return xprintf("json_%s(&%s, v)", f->type->c_name, x);
    default:        return xprintf("json_integer(%s)", x);
    }
}

static void json_value(struct out *o, const struct field *f)
{
    const char *x = xprintf("x->%s", f->c_name), *n = f->json_name;

    if (f->array) {
        line(o, "json_t *list = json_list(%s_n);", x);
        line(o, "for (int32_t i = 0; i < %s_n; i++)", x);
        line(o, "    json_array_append_new(list, %s);", json_expr(f, xprintf("%s[i]", x)));
        line(o, "json_object_set_new(o, \"%s\", list);", n);
    } else if (is_pointer(f)) {
        line(o, "json_object_set_new(o, \"%s\", %s != NULL ? json_%s(%s, v) : json_null());", n, x, f->type->c_name,
             x);
    } else if (f->kind == K_RECORDS) {
        line(o, "if (slice_is_null(%s))", x);
        line(o, "    json_object_set_new(o, \"%s\", json_null());", n);
        line(o, "else");
        line(o, "    json_object_set_new(o, \"%sSizeInBytes\", %s);", n, json_expr(f, x));
    } else {
        line(o, "json_object_set_new(o, \"%s\", %s);", n, json_expr(f, x));
    }
}

void emit_json(struct out *o, const struct shape *s)
{
    line(o, "static json_t *json_%s(const struct %s *x, int16_t v)", s->c_name, s->c_name);
    line(o, "{");
    line(o, "json_t *o = json_object();");
    line(o, "(void)x, (void)v;");
    for (size_t i = 0; i < s->n; i++) {
        const struct field *f = &s->fields[i];
        const char *test = field_present(f, s);

        if (never(test))
            continue;
        if (f->tag >= 0)
            test = always(test) ? field_not_default(f, "x")
                                : xprintf("%s && %s", test, field_not_default(f, "x"));
        if (!always(test))
            line(o, "if (%s) {", test);
        else if (f->array)
            line(o, "{");
        json_value(o, f);
        if (!always(test) || f->array)
            line(o, "}");
    }
    line(o, "return o;");
    line(o, "}");
    blank(o);
    if (s == s->message->root) {
        line(o, "json_t *%s_to_json(const struct %s *x, int16_t v)", s->c_name, s->c_name);
        line(o, "{");
        line(o, "return json_%s(x, v);", s->c_name);
        line(o, "}");
        blank(o);
    }
}

/* ---- the table of messages ---- */

static void emit_json_header(const struct schema *s, const char *dir)
{
    struct out o;

    out_open(&o, dir, "json.h", "messages in Apache Kafka's JSON form; for tests and tools.");
    line(&o, "#ifndef PROTO_GEN_JSON_H");
    line(&o, "#define PROTO_GEN_JSON_H");
    blank(&o);
    line(&o, "#include <jansson.h>");
    line(&o, "#include <stdint.h>");
    blank(&o);
    for (size_t i = 0; i < s->n; i++)
        line(&o, "struct %s;", s->messages[i]->c_name);
    blank(&o);
    line(&o, "/* A new reference; NULL when memory is out. v is a version that the message has. */");
    for (size_t i = 0; i < s->n; i++)
        line(&o, "json_t *%s_to_json(const struct %s *x, int16_t v);", s->messages[i]->c_name, s->messages[i]->c_name);
    blank(&o);
    line(&o, "#endif");
    out_close(&o);
}

static void emit_table_header(const char *dir)
{
    struct out o;

    out_open(&o, dir, "messages.h", "every message with its functions, to be used without knowing its type.");
    line(&o, "#ifndef PROTO_GEN_MESSAGES_H");
    line(&o, "#define PROTO_GEN_MESSAGES_H");
    blank(&o);
    line(&o, "#include \"proto/types.h\"");
    blank(&o);
    line(&o, "#include <jansson.h>");
    blank(&o);
    line(&o, "struct message_info {");
    line(&o, "const char *name;         /* FetchRequest */");
    line(&o, "int16_t key;              /* -1: neither request nor response */");
    line(&o, "bool is_request;");
    line(&o, "int16_t min_version, max_version;");
    line(&o, "size_t bytes;             /* of its struct */");
    line(&o, "void (*init)(void *x);");
    line(&o, "int (*read)(struct cursor *c, int16_t v, struct arena *a, void *x);");
    line(&o, "size_t (*size)(const void *x, int16_t v);");
    line(&o, "int (*write)(struct chain *ch, const void *x, int16_t v);");
    line(&o, "json_t *(*to_json)(const void *x, int16_t v);");
    line(&o, "};");
    blank(&o);
    line(&o, "extern const struct message_info message_table[];");
    line(&o, "extern const size_t message_table_n;");
    blank(&o);
    line(&o, "#endif");
    out_close(&o);
}

static void emit_table_entry(struct out *o, const struct message *m)
{
    const char *n = m->c_name;

    line(o, "static void any_%s_init(void *x) { %s_init(x); }", n, n);
    line(o, "static int any_%s_read(struct cursor *c, int16_t v, struct arena *a, void *x)", n);
    line(o, "{");
    line(o, "return %s_read(c, v, a, x);", n);
    line(o, "}");
    line(o, "static size_t any_%s_size(const void *x, int16_t v) { return %s_size(x, v); }", n, n);
    line(o, "static int any_%s_write(struct chain *ch, const void *x, int16_t v) { return %s_write(ch, x, v); }", n, n);
    line(o, "static json_t *any_%s_to_json(const void *x, int16_t v) { return %s_to_json(x, v); }", n, n);
}

void emit_registry(const struct schema *s, const char *dir)
{
    struct out o;

    emit_json_header(s, dir);
    emit_table_header(dir);
    out_open(&o, dir, "messages.c", "every message with its functions, to be used without knowing its type.");
    line(&o, "#include \"proto/gen/messages.h\"");
    line(&o, "#include \"proto/gen/json.h\"");
    for (size_t i = 0; i < s->n; i++)
        line(&o, "#include \"proto/gen/%s.h\"", s->messages[i]->c_name);
    blank(&o);
    for (size_t i = 0; i < s->n; i++)
        emit_table_entry(&o, s->messages[i]);
    blank(&o);
    line(&o, "const struct message_info message_table[] = {");
    for (size_t i = 0; i < s->n; i++) {
        const struct message *m = s->messages[i];
        const char *n = m->c_name;

        line(&o, "{ \"%s\", %d, %s, %d, %d, sizeof(struct %s), any_%s_init, any_%s_read, any_%s_size, "
             "any_%s_write, any_%s_to_json },", m->name, m->key, m->is_request ? "true" : "false", m->versions.lo,
             m->versions.hi, n, n, n, n, n, n);
    }
    line(&o, "};");
    blank(&o);
    line(&o, "const size_t message_table_n = sizeof message_table / sizeof message_table[0];");
    out_close(&o);
}
