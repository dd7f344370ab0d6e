/* proto/generator/emit_write.c - what measures and encodes a message. Both walk the fields in the same way. */
#include "proto/generator/emit.h"

static const char *const run_names[] = { [K_STRING] = "str", [K_BYTES] = "bytes", [K_RECORDS] = "records" };

static size_t fixed_size(enum kind k)
{
    static const size_t sizes[] = {
        [K_BOOL] = 1, [K_INT8] = 1, [K_INT16] = 2, [K_UINT16] = 2, [K_INT32] = 4, [K_INT64] = 8, [K_FLOAT64] = 8,
        [K_UUID] = 16,
    };
    return sizes[k];
}

/* C for the size of one value, x being its name; not for structs that may be null. */
static const char *size_expr(const struct field *f, const char *x, const char *compact)
{
    if (f->kind < K_STRING)
        return xprintf("%zu", fixed_size(f->kind));
    if (f->kind == K_STRING)
        return xprintf("wire_size_str(%s, %s)", x, compact);
    if (f->kind == K_STRUCT)
        return xprintf("size_%s(&%s, v)", f->type->c_name, x);
    return xprintf("wire_size_run(%s, %s.len, %s)",
                   f->kind == K_RECORDS ? xprintf("slice_is_null(%s)", x) : xprintf("%s.p == NULL", x), x, compact);
}

/* Adds the size of a field's value to the C variable `sum`. */
static void size_value(struct out *o, const struct field *f, const struct shape *in, const char *sum)
{
    const char *compact = field_compact(f, in), *x = xprintf("x->%s", f->c_name);

    if (is_pointer(f)) {
        line(o, "%s += 1;", sum);
        line(o, "if (%s != NULL)", x);
        line(o, "    %s += size_%s(%s, v);", sum, f->type->c_name, x);
    } else if (!f->array) {
        line(o, "%s += %s;", sum, size_expr(f, x, compact));
    } else {
        line(o, "%s += wire_size_array(%s_n, %s);", sum, x, compact);
        if (f->kind < K_STRING) {
            line(o, "if (%s_n > 0)", x);
            line(o, "    %s += (size_t)%s_n * %zu;", sum, x, fixed_size(f->kind));
        } else {
            line(o, "for (int32_t i = 0; i < %s_n; i++)", x);
            line(o, "    %s += %s;", sum, size_expr(f, xprintf("%s[i]", x), compact));
        }
    }
}

static const char *tag_test(const struct field *f, const struct shape *in)
{
    const char *present = version_test(f->versions, range_and(in->versions, in->message->flexible));
    const char *differs = field_not_default(f, "x");

    return always(present) ? differs : xprintf("%s && %s", present, differs);
}

static void size_tags(struct out *o, const struct shape *s)
{
    line(o, "if (flex) {");
    line(o, "uint32_t tags = 0;");
    for (size_t i = 0; i < s->n; i++) {
        const struct field *f = &s->fields[i];

        if (f->tag < 0 || never(field_present(f, s)))
            continue;
        line(o, "if (%s) {", tag_test(f, s));
        line(o, "size_t m = 0;");
        size_value(o, f, s, "m");
        line(o, "n += wire_size_tag(%d, m);", f->tag);
        line(o, "tags++;");
        line(o, "}");
    }
    line(o, "n += wire_size_unknown(x->unknown_tags, &tags);");
    line(o, "n += uvarint_size(tags);");
    line(o, "}");
}

void emit_size(struct out *o, const struct shape *s)
{
    struct guard g = { NULL };

    line(o, "static size_t size_%s(const struct %s *x, int16_t v)", s->c_name, s->c_name);
    line(o, "{");
    function_head(o, s);
    line(o, "size_t n = 0;");
    line(o, "(void)x, (void)v;");
    for (size_t i = 0; i < s->n; i++) {
        const struct field *f = &s->fields[i];
        const char *present = field_present(f, s);

        if (f->tag >= 0 || never(present))
            continue;
        guard(o, &g, present);
        size_value(o, f, s, "n");
    }
    guard(o, &g, NULL);
    if (ever_flexible(s))
        size_tags(o, s);
    line(o, "return n;");
    line(o, "}");
    blank(o);
}

/* ---- encoding ---- */

/* C that writes one value, x being its name; not for structs that may be null. */
static const char *write_stmt(const struct field *f, const char *x, const char *compact, const char *null_ok)
{
    static const char *const fixed[] = {
        [K_BOOL] = "chain_i8(ch, %s ? 1 : 0);", [K_INT8] = "chain_i8(ch, %s);", [K_INT16] = "chain_i16(ch, %s);",
        [K_UINT16] = "chain_i16(ch, (int16_t)%s);", [K_INT32] = "chain_i32(ch, %s);",
        [K_INT64] = "chain_i64(ch, %s);", [K_FLOAT64] = "chain_f64(ch, %s);", [K_UUID] = "wire_write_uuid(ch, %s);",
    };

    if (f->kind == K_STRUCT)
        return xprintf("write_%s(ch, &%s, v);", f->type->c_name, x);
    if (f->kind >= K_STRING)
        return xprintf("wire_write_%s(ch, %s, %s, %s);", run_names[f->kind], x, compact, null_ok);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    return xprintf(fixed[f->kind], x);
#pragma GCC diagnostic pop
}

static void write_value(struct out *o, const struct field *f, const struct shape *in)
{
    const char *compact = field_compact(f, in), *x = xprintf("x->%s", f->c_name);

    if (is_pointer(f)) {
        line(o, "if (%s != NULL) {", x);
        line(o, "chain_i8(ch, 1);");
        line(o, "write_%s(ch, %s, v);", f->type->c_name, x);
        line(o, "} else {");
        line(o, "chain_i8(ch, %d);", f->tag >= 0 ? 0 : -1);
        line(o, "}");
    } else if (!f->array) {
        line(o, "%s", write_stmt(f, x, compact, field_null_ok(f, in)));
    } else {
        line(o, "wire_write_array(ch, %s_n, %s, %s);", x, compact, field_null_ok(f, in));
        line(o, "for (int32_t i = 0; i < %s_n; i++)", x);
        line(o, "    %s", write_stmt(f, xprintf("%s[i]", x), compact, "false"));
    }
}

/* The tagged field with the next higher tag, or NULL. */
static const struct field *next_tag(const struct shape *s, int after)
{
    const struct field *best = NULL;

    for (size_t i = 0; i < s->n; i++) {
        const struct field *f = &s->fields[i];

        if (f->tag > after && (best == NULL || f->tag < best->tag) && !never(field_present(f, s)))
            best = f;
    }
    return best;
}

static void write_known_tags(struct out *o, const struct shape *s)
{
    const struct field *f;

    line(o, "const struct raw_tag *raw = x->unknown_tags;");
    line(o, "uint32_t tags = wire_count_tags(raw);");
    for (f = next_tag(s, -1); f != NULL; f = next_tag(s, f->tag)) {
        line(o, "if (%s)", tag_test(f, s));
        line(o, "    tags++;");
    }
    line(o, "chain_uvarint(ch, tags);");
    for (f = next_tag(s, -1); f != NULL; f = next_tag(s, f->tag)) {
        line(o, "raw = wire_write_unknown(ch, raw, %d);", f->tag);
        line(o, "if (%s) {", tag_test(f, s));
        line(o, "size_t n = 0;");
        size_value(o, f, s, "n");
        line(o, "wire_write_tag(ch, %d, n);", f->tag);
        write_value(o, f, s);
        line(o, "}");
    }
    line(o, "(void)wire_write_unknown(ch, raw, UINT64_MAX);");
}

static void write_tags(struct out *o, const struct shape *s)
{
    const char *flexible = version_test(s->message->flexible, s->versions);

    line(o, "if (flex) {");
    if (next_tag(s, -1) != NULL) {
        write_known_tags(o, s);
    } else {
        line(o, "chain_uvarint(ch, wire_count_tags(x->unknown_tags));");
        line(o, "(void)wire_write_unknown(ch, x->unknown_tags, UINT64_MAX);");
    }
    if (!always(flexible)) {
        line(o, "} else if (x->unknown_tags != NULL) {");
        line(o, "wire_fail(ch, ERR_UNSUPPORTED);");
    }
    line(o, "}");
}

/* Where the version does not have the field: its value may only be dropped when it is the default or ignorable. */
static void write_absent(struct out *o, struct guard *g, const struct field *f, const char *present)
{
    const char *differs = field_not_default(f, "x");

    if (f->ignorable || always(present))
        return;
    guard(o, g, NULL);
    if (never(present))
        line(o, "if (%s)", differs);
    else
        line(o, "if (!(%s) && %s)", present, differs);
    line(o, "    wire_fail(ch, ERR_UNSUPPORTED);");
}

void emit_write(struct out *o, const struct shape *s)
{
    struct guard g = { NULL };

    line(o, "static void write_%s(struct chain *ch, const struct %s *x, int16_t v)", s->c_name, s->c_name);
    line(o, "{");
    function_head(o, s);
    line(o, "(void)x, (void)v;");
    for (size_t i = 0; i < s->n; i++) {
        const struct field *f = &s->fields[i];
        const char *present = field_present(f, s);

        write_absent(o, &g, f, present);
        if (f->tag >= 0 || never(present))
            continue;
        guard(o, &g, present);
        write_value(o, f, s);
    }
    guard(o, &g, NULL);
    if (ever_flexible(s))
        write_tags(o, s);
    line(o, "}");
    blank(o);
}

static void version_check(struct out *o, const struct message *m, const char *otherwise)
{
    line(o, "if (v < %d || v > %d)", m->versions.lo, m->versions.hi);
    line(o, "    return %s;", otherwise);
}

void emit_entry_points(struct out *o, const struct message *m)
{
    const char *n = m->c_name;

    line(o, "int %s_read(struct cursor *c, int16_t v, struct arena *a, struct %s *x)", n, n);
    line(o, "{");
    version_check(o, m, "ERR_VERSION");
    line(o, "read_%s(c, v, a, x);", n);
    line(o, "return c->rc;");
    line(o, "}");
    blank(o);
    line(o, "size_t %s_size(const struct %s *x, int16_t v)", n, n);
    line(o, "{");
    line(o, "return size_%s(x, v);", n);
    line(o, "}");
    blank(o);
    line(o, "int %s_write(struct chain *ch, const struct %s *x, int16_t v)", n, n);
    line(o, "{");
    version_check(o, m, "ERR_VERSION");
    line(o, "write_%s(ch, x, v);", n);
    line(o, "return ch->rc;");
    line(o, "}");
    blank(o);
}
