/* proto/generator/emit_read.c - decoders.
 *
 * A decoder sets every field to its default and then reads those of the version. It never looks at the cursor's rc but
 * to end a loop: after a failure everything that is read is zero, and every count too.
 */
#include "proto/generator/emit.h"

/* C that reads one value of a kind other than struct. */
static const char *read_expr(const struct field *f, const char *compact, const char *null_ok)
{
    static const char *const fixed[] = {
        [K_BOOL] = "cur_i8(c) != 0", [K_INT8] = "cur_i8(c)", [K_INT16] = "cur_i16(c)", [K_UINT16] = "cur_u16(c)",
        [K_INT32] = "cur_i32(c)", [K_INT64] = "cur_i64(c)", [K_FLOAT64] = "cur_f64(c)", [K_UUID] = "wire_read_uuid(c)",
    };
    static const char *const runs[] = { [K_STRING] = "str", [K_BYTES] = "bytes", [K_RECORDS] = "records" };

    if (f->kind < K_STRING)
        return fixed[f->kind];
    return xprintf("wire_read_%s(c, %s, %s)", runs[f->kind], compact, null_ok);
}

static void read_array(struct out *o, const struct field *f, const struct shape *in, const char *compact)
{
    const char *n = f->c_name;

    line(o, "x->%s = wire_read_array(c, a, &x->%s_n, %s, %s, %zu, sizeof *x->%s);", n, n, compact,
         field_null_ok(f, in), field_min_element(f, in), n);
    line(o, "for (int32_t i = 0; i < x->%s_n && c->rc == OK; i++)", n);
    if (f->kind == K_STRUCT)
        line(o, "    read_%s(c, v, a, &x->%s[i]);", f->type->c_name, n);
    else
        line(o, "    x->%s[i] = %s;", n, read_expr(f, compact, "false"));
}

static void read_value(struct out *o, const struct field *f, const struct shape *in)
{
    const char *compact = field_compact(f, in), *n = f->c_name;

    if (f->array) {
        read_array(o, f, in, compact);
    } else if (is_pointer(f)) {
        line(o, "x->%s = wire_read_nullable(c, a, %s, sizeof *x->%s);", n, f->tag >= 0 ? "true" : "false", n);
        line(o, "if (x->%s != NULL)", n);
        line(o, "    read_%s(c, v, a, x->%s);", f->type->c_name, n);
    } else if (f->kind == K_STRUCT) {
        line(o, "read_%s(c, v, a, &x->%s);", f->type->c_name, n);
    } else {
        line(o, "x->%s = %s;", n, read_expr(f, compact, field_null_ok(f, in)));
    }
}

static bool has_tags(const struct shape *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->fields[i].tag >= 0 && !never(field_present(&s->fields[i], s)))
            return true;
    return false;
}

static void read_known_tags(struct out *o, const struct shape *s)
{
    line(o, "const struct raw_tag **tail = &x->unknown_tags;");
    line(o, "for (uint32_t n = wire_read_tag_count(c); n > 0 && c->rc == OK; n--) {");
    line(o, "uint32_t tag = cur_uvarint(c), size = cur_uvarint(c);");
    line(o, "switch (tag) {");
    for (size_t i = 0; i < s->n; i++) {
        const struct field *f = &s->fields[i];
        const char *present = version_test(f->versions, range_and(s->versions, s->message->flexible));

        if (f->tag < 0 || never(present))
            continue;
        line(o, "case %d:", f->tag);
        o->depth++;
        if (!always(present)) {
            line(o, "if (!(%s)) {", present);
            line(o, "cur_fail(c, ERR_CORRUPT);");
            line(o, "break;");
            line(o, "}");
        }
        read_value(o, f, s);
        line(o, "break;");
        o->depth--;
    }
    line(o, "default:");
    line(o, "    tail = wire_read_unknown(c, a, tag, size, tail);");
    line(o, "}");
    line(o, "}");
}

static void read_tags(struct out *o, const struct shape *s)
{
    if (!has_tags(s)) {
        line(o, "if (flex)");
        line(o, "    wire_read_tags(c, a, &x->unknown_tags);");
        return;
    }
    line(o, "if (flex) {");
    read_known_tags(o, s);
    line(o, "}");
}

void emit_read(struct out *o, const struct shape *s)
{
    struct guard g = { NULL };

    line(o, "static void read_%s(struct cursor *c, int16_t v, struct arena *a, struct %s *x)", s->c_name, s->c_name);
    line(o, "{");
    function_head(o, s);
    line(o, "(void)v, (void)a;");
    line(o, "%s_init(x);", s->c_name);
    for (size_t i = 0; i < s->n; i++) {
        const struct field *f = &s->fields[i];
        const char *present = field_present(f, s);

        if (f->tag >= 0 || never(present))
            continue;
        guard(o, &g, present);
        read_value(o, f, s);
    }
    guard(o, &g, NULL);
    if (ever_flexible(s))
        read_tags(o, s);
    line(o, "}");
    blank(o);
}
