/* proto/generator/schema.c - reads message definitions and checks that they make sense. */
#include "proto/generator/schema.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Where we are, for messages. */
static struct {
    const char *file, *message, *field;
} at;

#define WRONG(...) wrong(xprintf(__VA_ARGS__))

static _Noreturn void wrong(const char *what)
{
    die("%s: %s%s%s: %s", at.file, at.message != NULL ? at.message : "", at.field != NULL ? "." : "",
        at.field != NULL ? at.field : "", what);
}

/* ---- versions ---- */

struct range range_and(struct range a, struct range b)
{
    return (struct range){ a.lo > b.lo ? a.lo : b.lo, a.hi < b.hi ? a.hi : b.hi };
}

bool range_empty(struct range r)
{
    return r.lo > r.hi;
}

bool range_covers(struct range outer, struct range inner)
{
    return range_empty(inner) || (outer.lo <= inner.lo && outer.hi >= inner.hi);
}

static const struct range none = { 1, 0 };

/* "none", "3", "1-4" or "2+" */
static struct range range_parse(const char *text)
{
    struct range r;
    char *end;

    if (strcmp(text, "none") == 0)
        return none;
    r.lo = (int)strtol(text, &end, 10);
    r.hi = r.lo;
    if (end == text)
        WRONG("'%s' is not a range of versions", text);
    if (strcmp(end, "+") == 0) {
        r.hi = VERSION_OPEN;
    } else if (*end == '-') {
        r.hi = (int)strtol(end + 1, &end, 10);
        if (*end != '\0')
            WRONG("'%s' is not a range of versions", text);
    } else if (*end != '\0') {
        WRONG("'%s' is not a range of versions", text);
    }
    if (r.lo < 0 || range_empty(r))
        WRONG("'%s' is not a range of versions", text);
    return r;
}

/* ---- fields ---- */

static const char *const kind_names[] = {
    [K_BOOL] = "bool", [K_INT8] = "int8", [K_INT16] = "int16", [K_UINT16] = "uint16", [K_INT32] = "int32",
    [K_INT64] = "int64", [K_FLOAT64] = "float64", [K_UUID] = "uuid", [K_STRING] = "string", [K_BYTES] = "bytes",
    [K_RECORDS] = "records",
};

static struct shape *shape_find(struct message *m, const char *name)
{
    for (struct shape *s = m->structs; s != NULL; s = s->next)
        if (strcmp(s->name, name) == 0)
            return s;
    return NULL;
}

static struct shape *shape_new(struct message *m, const char *name, struct range versions)
{
    struct shape *s = xalloc(sizeof *s);

    s->name = name;
    s->c_name = xprintf("%s_%s", m->c_name, snake_case(name));
    s->message = m;
    s->versions = range_and(versions, m->versions);
    return s;
}

static void shape_append(struct message *m, struct shape *s)
{
    struct shape **tail = &m->structs;

    while (*tail != NULL)
        tail = &(*tail)->next;
    *tail = s;
}

static void shape_parse(struct shape *s, json_t *rows, json_t *shared);

/* The struct that a field of that type holds: its own, given by rows, or a shared one, which is laid out first. */
static struct shape *field_struct(struct shape *in, const struct field *f, const char *type, json_t *rows,
                                   json_t *shared)
{
    struct message *m = in->message;
    struct shape *s = shape_find(m, type);
    const char *field = at.field;

    if (rows == NULL) {
        if (s != NULL)
            return s;
        rows = json_object_get(shared, type);
        if (rows == NULL)
            WRONG("no type %s", type);
        s = shape_new(m, type, m->versions);
    } else {
        if (s != NULL || json_object_get(shared, type) != NULL)
            WRONG("type %s is defined twice", type);
        s = shape_new(m, type, range_and(in->versions, f->versions));
    }
    shape_parse(s, rows, shared);
    shape_append(m, s);
    at.field = field;
    return s;
}

static void field_type(struct shape *in, struct field *f, const char *text, json_t *rows, json_t *shared)
{
    char *type = xprintf("%s", text);
    size_t n = strlen(type);

    if (n > 0 && type[n - 1] == '?') {
        type[n - 1] = '\0';
        f->nullable = f->versions;
    }
    if (strncmp(type, "[]", 2) == 0) {
        f->array = true;
        type += 2;
    }
    f->kind = K_STRUCT;
    for (size_t i = 0; i < sizeof kind_names / sizeof kind_names[0]; i++)
        if (strcmp(type, kind_names[i]) == 0)
            f->kind = (enum kind)i;
    if (f->kind == K_STRUCT)
        f->type = field_struct(in, f, type, rows, shared);
    else if (rows != NULL)
        WRONG("%s has no fields", type);
}

static void default_parse(struct field *f, const char *value)
{
    char *end;

    if (strcmp(value, "null") == 0) {
        f->default_null = true;
    } else if (f->kind == K_BOOL && !f->array && strcmp(value, "true") == 0) {
        f->default_number = 1;
    } else if (f->kind >= K_INT8 && f->kind <= K_INT64 && !f->array) {
        errno = 0;
        f->default_number = strtoll(value, &end, 10);
        if (end == value || *end != '\0' || errno != 0)
            WRONG("bad default '%s'", value);
    } else {
        WRONG("a default of '%s' is not possible for this type", value);
    }
}

static void property_parse(struct field *f, const char *text)
{
    if (strcmp(text, "ignorable") == 0)
        f->ignorable = true;
    else if (strcmp(text, "classic") == 0)
        f->classic = true;
    else if (strncmp(text, "null ", 5) == 0)
        f->nullable = range_parse(text + 5);
    else if (strncmp(text, "tag ", 4) == 0 && isdigit((unsigned char)text[4]))
        f->tag = (int)strtol(text + 4, NULL, 10);
    else if (strncmp(text, "default ", 8) == 0)
        default_parse(f, text + 8);
    else
        WRONG("unknown property '%s'", text);
}

static void field_check(const struct shape *in, const struct field *f)
{
    const struct message *m = in->message;
    bool can_be_null = f->array || f->kind >= K_STRING;

    if (!range_empty(f->nullable) && !can_be_null)
        WRONG("this type cannot be null");
    if (f->default_null && range_empty(f->nullable))
        WRONG("null by default, but never nullable");
    if (f->kind == K_STRUCT && !f->array && !range_empty(f->nullable) && !f->default_null)
        WRONG("a struct that can be null must be null by default");
    if (f->tag >= 0 && !range_covers(m->flexible, range_and(f->versions, in->versions)))
        WRONG("tagged in versions that are not flexible");
    if (f->tag >= 0 && f->kind == K_RECORDS)
        WRONG("records cannot be a tagged field");
    if (f->classic && f->kind != K_STRING && f->kind != K_BYTES)
        WRONG("only string and bytes can stay classic");
    if (f->array && f->kind == K_RECORDS)
        WRONG("no arrays of records");
}

/* [ name, type, versions, property..., [ rows of its struct ]? ] */
static void field_parse(struct shape *in, struct field *f, json_t *row, json_t *shared)
{
    size_t n = json_array_size(row);
    json_t *rows = n > 3 && json_is_array(json_array_get(row, n - 1)) ? json_array_get(row, n - 1) : NULL;
    size_t words = rows != NULL ? n - 1 : n;

    if (n < 3)
        WRONG("a field is [ name, type, versions, ... ]");
    for (size_t i = 0; i < words; i++)
        if (!json_is_string(json_array_get(row, i)))
            WRONG("a field's properties are strings");
    f->name = at.field = json_string_value(json_array_get(row, 0));
    f->c_name = snake_case(f->name);
    f->json_name = xprintf("%c%s", tolower((unsigned char)f->name[0]), f->name + 1);
    f->versions = range_parse(json_string_value(json_array_get(row, 2)));
    f->nullable = none;
    f->tag = -1;
    field_type(in, f, json_string_value(json_array_get(row, 1)), rows, shared);
    for (size_t i = 3; i < words; i++)
        property_parse(f, json_string_value(json_array_get(row, i)));
    field_check(in, f);
    if (f->kind == K_STRUCT && !f->array && !f->default_null &&
        (f->tag >= 0 || (!f->ignorable && !range_covers(f->versions, in->versions))))
        f->type->needs_is_default = true;
}

static void shape_parse(struct shape *s, json_t *rows, json_t *shared)
{
    size_t i, n = json_array_size(rows);
    json_t *row;

    if (!json_is_array(rows))
        WRONG("fields are an array");
    s->fields = xalloc(n * sizeof *s->fields);
    s->n = n;
    s->message->weight += n;
    json_array_foreach(rows, i, row) {
        field_parse(s, &s->fields[i], row, shared);
        for (size_t k = 0; k < i; k++)
            if (strcmp(s->fields[k].name, s->fields[i].name) == 0 ||
                (s->fields[i].tag >= 0 && s->fields[k].tag == s->fields[i].tag))
                WRONG("a second field with that name or tag");
    }
}

/* What is compared with the defaults of a struct that is compared itself. */
static void mark_compared(struct message *m)
{
    for (bool again = true; again;) {
        again = false;
        for (struct shape *s = m->structs; s != NULL; s = s->next)
            for (size_t i = 0; s->needs_is_default && i < s->n; i++) {
                struct field *f = &s->fields[i];
                if (f->kind == K_STRUCT && !f->array && !f->default_null && !f->type->needs_is_default)
                    f->type->needs_is_default = again = true;
            }
    }
}

/* ---- messages ---- */

static const char *text_of(json_t *o, const char *key)
{
    const char *v = json_string_value(json_object_get(o, key));

    if (v == NULL)
        WRONG("\"%s\" must be there, and a string", key);
    return v;
}

static struct message *message_new(struct schema *s, const char *name, json_t *versions_of, json_t *rows,
                                   json_t *shared)
{
    struct message *m = xalloc(sizeof *m);
    const char *key;
    json_t *value;

    at.message = name;
    at.field = NULL;
    m->name = name;
    m->c_name = snake_case(name);
    m->file = at.file;
    m->key = -1;
    m->versions = range_parse(text_of(versions_of, "versions"));
    m->flexible = range_and(range_parse(text_of(versions_of, "flexible")), m->versions);
    m->root = xalloc(sizeof *m->root);
    *m->root = (struct shape){ .name = name, .c_name = m->c_name, .message = m, .versions = m->versions };
    if (m->versions.hi == VERSION_OPEN)
        WRONG("a message has a last version");
    if (!range_empty(m->flexible) && m->flexible.hi != m->versions.hi)
        WRONG("a message that became flexible stays so");
    shape_parse(m->root, rows, shared);
    shape_append(m, m->root);
    at.field = NULL;
    json_object_foreach(shared, key, value)
        if (shape_find(m, key) == NULL)
            WRONG("nobody uses the struct %s", key);
    mark_compared(m);
    s->messages = realloc(s->messages, (s->n + 1) * sizeof *s->messages);
    if (s->messages == NULL)
        die("out of memory");
    s->messages[s->n++] = m;
    return m;
}

static void api_parse(struct schema *s, json_t *file)
{
    const char *api = text_of(file, "api");
    json_t *key = json_object_get(file, "key");
    struct message *m;

    if (!json_is_integer(key) || json_integer_value(key) < 0 || json_integer_value(key) > INT16_MAX)
        WRONG("\"key\" must be there, and a small number");
    m = message_new(s, xprintf("%sRequest", api), file, json_object_get(file, "request"),
                    json_object_get(file, "request_structs"));
    m->key = (int)json_integer_value(key);
    m->is_request = true;
    m = message_new(s, xprintf("%sResponse", api), file, json_object_get(file, "response"),
                    json_object_get(file, "response_structs"));
    m->key = (int)json_integer_value(key);
}

static int by_key(const void *a, const void *b)
{
    const struct message *x = *(struct message *const *)a, *y = *(struct message *const *)b;

    if (x->key != y->key)
        return (unsigned)x->key < (unsigned)y->key ? -1 : 1;
    if (x->key >= 0)
        return (int)y->is_request - (int)x->is_request;
    return strcmp(x->name, y->name);
}

void schema_load(struct schema *s, const char *const *files, size_t n)
{
    *s = (struct schema){ NULL, 0 };
    for (size_t i = 0; i < n; i++) {
        json_error_t err;
        json_t *file = json_load_file(files[i], JSON_REJECT_DUPLICATES, &err), *one;
        size_t k;

        at.file = files[i];
        at.message = at.field = NULL;
        if (file == NULL)
            die("%s:%d: %s", files[i], err.line, err.text);
        if (json_object_get(file, "api") != NULL)
            api_parse(s, file);
        json_array_foreach(json_object_get(file, "messages"), k, one)
            message_new(s, text_of(one, "name"), one, json_object_get(one, "fields"), json_object_get(one, "structs"));
    }
    qsort(s->messages, s->n, sizeof *s->messages, by_key);
    for (size_t i = 1; i < s->n; i++)
        if (strcmp(s->messages[i]->name, s->messages[i - 1]->name) == 0 || (s->messages[i]->key >= 0 &&
            s->messages[i]->key == s->messages[i - 1]->key &&
            s->messages[i]->is_request == s->messages[i - 1]->is_request))
            die("%s and %s: two messages with one name or key", s->messages[i]->file, s->messages[i - 1]->file);
}

/* ---- sizes ---- */

static size_t shape_min_at(const struct shape *s, int version);

static size_t element_min_at(const struct field *f, int version, bool compact)
{
    static const size_t fixed[] = {
        [K_BOOL] = 1, [K_INT8] = 1, [K_INT16] = 2, [K_UINT16] = 2, [K_INT32] = 4, [K_INT64] = 8, [K_FLOAT64] = 8,
        [K_UUID] = 16,
    };

    if (f->kind < K_STRING)
        return fixed[f->kind];
    if (f->kind == K_STRUCT)
        return f->default_null && !f->array ? 1 : shape_min_at(f->type, version);
    if (compact)
        return 1;
    return f->kind == K_STRING ? 2 : 4;
}

static size_t shape_min_at(const struct shape *s, int version)
{
    const struct message *m = s->message;
    bool flexible = version >= m->flexible.lo && version <= m->flexible.hi;
    size_t size = flexible ? 1 : 0;

    for (size_t i = 0; i < s->n; i++) {
        const struct field *f = &s->fields[i];

        if (version < f->versions.lo || version > f->versions.hi || f->tag >= 0)
            continue;
        if (f->array)
            size += flexible ? 1 : 4;
        else
            size += element_min_at(f, version, flexible && !f->classic);
    }
    return size;
}

size_t field_min_element(const struct field *f, const struct shape *in)
{
    struct range r = range_and(f->versions, in->versions);
    size_t least = SIZE_MAX;

    for (int v = r.lo; v <= r.hi; v++) {
        bool flexible = v >= in->message->flexible.lo && v <= in->message->flexible.hi;
        size_t size = element_min_at(f, v, flexible && !f->classic);

        if (size < least)
            least = size;
    }
    return least == 0 || least == SIZE_MAX ? 1 : least;
}
