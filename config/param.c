/* config/param.c - the two property tables as data, look-up by name, and text to value and back by Kafka's rules. */
#include "config/param.h"

#include "config/config.h"
#include "config/jtext.h"
#include "config/topic_config.h"
#include "config/version.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- checks beyond the type --------------------------------------------------------------------------------- */

static int64_t number_at(const struct param *p, const void *value)
{
    int64_t i64;
    int32_t i32;
    int16_t i16;

    switch (p->type) {
    case CONFIG_INT:
        memcpy(&i32, value, sizeof i32);
        return i32;
    case CONFIG_SHORT:
        memcpy(&i16, value, sizeof i16);
        return i16;
    default:
        memcpy(&i64, value, sizeof i64);
        return i64;
    }
}

static int check_range(const struct param *p, const void *value, char *why, size_t why_size)
{
    int64_t n = number_at(p, value);

    if (n < p->valid.min) {
        snprintf(why, why_size, "Value must be at least %" PRId64, p->valid.min);
        return ERR_RANGE;
    }
    if (n > p->valid.max) {
        snprintf(why, why_size, "Value must be no more than %" PRId64, p->valid.max);
        return ERR_RANGE;
    }
    return OK;
}

static int check_double_range(const struct param *p, const void *value, char *why, size_t why_size)
{
    double d;

    memcpy(&d, value, sizeof d);
    if (d < p->valid.fmin) {
        snprintf(why, why_size, "Value must be at least %g", p->valid.fmin);
        return ERR_RANGE;
    }
    if (d > p->valid.fmax) {
        snprintf(why, why_size, "Value must be no more than %g", p->valid.fmax);
        return ERR_RANGE;
    }
    return OK;
}

static bool word_in(const char *words, const char *text, bool any_case)
{
    size_t len = strlen(text);

    for (const char *w = words; w != NULL; w = strchr(w, ',') != NULL ? strchr(w, ',') + 1 : NULL) {
        size_t n = strcspn(w, ",");

        if (n == len && (any_case ? strncasecmp(w, text, n) : strncmp(w, text, n)) == 0)
            return true;
    }
    return false;
}

/* "a,b" as "a, b" */
static void words_text(const char *words, char *buf, size_t size)
{
    size_t at = 0;

    for (const char *w = words; *w != '\0' && at + 3 < size; w++) {
        buf[at++] = *w;
        if (*w == ',')
            buf[at++] = ' ';
    }
    buf[at] = '\0';
}

static int refuse_word(const struct param *p, char *why, size_t why_size)
{
    char list[1024];

    words_text(p->valid.words, list, sizeof list);
    snprintf(why, why_size, "String must be one of: %s", list);
    return ERR_RANGE;
}

static const char *string_at(const void *value)
{
    const char *s;

    memcpy(&s, value, sizeof s);
    return s;
}

static int check_word(const struct param *p, const void *value, char *why, size_t why_size)
{
    return word_in(p->valid.words, string_at(value), false) ? OK : refuse_word(p, why, why_size);
}

static int check_word_any_case(const struct param *p, const void *value, char *why, size_t why_size)
{
    return word_in(p->valid.words, string_at(value), true) ? OK : refuse_word(p, why, why_size);
}

static int check_words(const struct param *p, const void *value, char *why, size_t why_size)
{
    struct config_list list;

    memcpy(&list, value, sizeof list);
    for (size_t i = 0; i < list.n; i++)
        if (!word_in(p->valid.words, list.v[i], false))
            return refuse_word(p, why, why_size);
    return OK;
}

/* Every protocol version of 0.8 to 3.9 has a long name; all but the oldest have short ones too: 2.7 is 2.7-IV2. */
static int check_version(const struct param *p, const void *value, char *why, size_t why_size)
{
    (void)p;
    if (version_find(string_at(value), NULL) >= 0)
        return OK;
    snprintf(why, why_size, "Version %s is not a valid version", string_at(value));
    return ERR_RANGE;
}

static int check_gzip_level(const struct param *p, const void *value, char *why, size_t why_size)
{
    int64_t n = number_at(p, value);

    if (n == -1 || (n >= 1 && n <= 9))
        return OK;
    snprintf(why, why_size, "Value must be between 1 and 9 or equal to -1");
    return ERR_RANGE;
}

static int check_pool_size(const struct param *p, const void *value, char *why, size_t why_size)
{
    int64_t n = number_at(p, value);

    if (n == -1 || n >= 1)
        return OK;
    snprintf(why, why_size, "Value must be at least 1, or -1 for the default");
    return ERR_RANGE;
}

static int check_not_empty(const struct param *p, const void *value, char *why, size_t why_size)
{
    (void)p;
    if (*string_at(value) != '\0')
        return OK;
    snprintf(why, why_size, "String must be non-empty");
    return ERR_RANGE;
}

/* "*", or "partition:broker" for each replica */
static int check_throttled(const struct param *p, const void *value, char *why, size_t why_size)
{
    struct config_list list;

    (void)p;
    memcpy(&list, value, sizeof list);
    if (list.n == 1 && strcmp(list.v[0], "*") == 0)
        return OK;
    for (size_t i = 0; i < list.n; i++) {
        const char *s = list.v[i];
        size_t a = strspn(s, "0123456789"), b = s[a] == ':' ? strspn(s + a + 1, "0123456789") : 0;

        if (a == 0 || b == 0 || s[a + 1 + b] != '\0') {
            snprintf(why, why_size, "%s must be the literal '*' or a list of replicas in the following format: "
                     "[partitionId]:[brokerId],[partitionId]:[brokerId],...", p->name);
            return ERR_RANGE;
        }
    }
    return OK;
}

/* ---- the tables --------------------------------------------------------------------------------------------- */

#define ANY                  { .check = NULL }
#define AT_LEAST(lo)         { .check = check_range, .min = (lo), .max = INT64_MAX }
#define BETWEEN(lo, hi)      { .check = check_range, .min = (lo), .max = (hi) }
#define FBETWEEN(lo, hi)     { .check = check_double_range, .fmin = (lo), .fmax = (hi) }
#define WORD_OF(w)           { .check = check_word, .words = (w) }
#define WORD_OF_ANY_CASE(w)  { .check = check_word_any_case, .words = (w) }
#define WORDS_OF(w)          { .check = check_words, .words = (w) }
#define VERSION              { .check = check_version, .words = config_versions, \
                               .text = "a version from 0.8.0 to 4.0-IV1" }
#define CHECKED(fn, allowed) { .check = (fn), .text = (allowed) }

/* The check comes last: it is a braced list, with commas of its own by the time it gets here. */
#define ROW(st, type_, field_, name_, dflt_, when_, server_, imp, eff, flags_, help_, ...)                        \
    { .name = (name_), .field = #field_, .type = CONFIG_##type_, .offset = offsetof(struct st, field_),           \
      .dflt = (dflt_), .valid = __VA_ARGS__, .when = (when_), .importance = CONFIG_##imp, .effect = CONFIG_##eff, \
      .flags = (flags_), .help = (help_), .server_name = (server_) },

#define P(type, field, name, dflt, valid, when, imp, eff, help) \
    ROW(config, type, field, name, dflt, CONFIG_##when, NULL, imp, eff, 0, help, valid)
#define P_INTERNAL(type, field, name, dflt, valid, when, imp, eff, help) \
    ROW(config, type, field, name, dflt, CONFIG_##when, NULL, imp, eff, PARAM_INTERNAL, help, valid)
#define P_OLD(type, field, name, dflt, valid, when, imp, eff, help) \
    ROW(config, type, field, name, dflt, CONFIG_##when, NULL, imp, eff, PARAM_OLD, help, valid)
#define P_DYNAMIC(type, field, name, dflt, valid, when, imp, eff, help) \
    ROW(config, type, field, name, dflt, CONFIG_##when, NULL, imp, eff, PARAM_DYNAMIC, help, valid)
static const struct param server_rows[] = {
#include "config/params.def"
};
#undef P
#undef P_INTERNAL
#undef P_OLD
#undef P_DYNAMIC

#define P(type, field, name, dflt, valid, server, imp, eff, help) \
    ROW(topic_config, type, field, name, dflt, CONFIG_CLUSTER_WIDE, server, imp, eff, 0, help, valid)
static const struct param topic_rows[] = {
#include "config/topic_params.def"
};
#undef P

const struct param_table server_params = { server_rows, sizeof server_rows / sizeof server_rows[0] };
const struct param_table topic_params = { topic_rows, sizeof topic_rows / sizeof topic_rows[0] };

const struct param *param_find(const struct param_table *t, struct str name)
{
    for (size_t i = 0; i < t->n; i++)
        if (str_is(name, t->v[i].name))
            return &t->v[i];
    return NULL;
}

/* Edit distance of at most NAME_MAX_BYTES letters, case ignored; two neighbours swapped count as one edit. */
enum { NAME_MAX_BYTES = 96 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t edit_distance(struct str a, const char *b, size_t blen)
{
    size_t rows[3][NAME_MAX_BYTES + 1], *before = rows[0], *last = rows[1], *now = rows[2];

    for (size_t j = 0; j <= blen; j++)
        last[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t *spare = before;

        now[0] = i;
        for (size_t j = 1; j <= blen; j++) {
            int ca = tolower((unsigned char)a.p[i - 1]), cb = tolower((unsigned char)b[j - 1]);

            now[j] = least(least(last[j] + 1, now[j - 1] + 1), last[j - 1] + (ca != cb));
            if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) && cb == tolower((unsigned char)a.p[i - 2]))
                now[j] = least(now[j], before[j - 2] + 1);
        }
        before = last;
        last = now;
        now = spare;
    }
    return last[blen];
}

const struct param *param_nearest(const struct param_table *t, struct str name)
{
    const struct param *best = NULL;
    size_t best_d = name.len / 2 + 1;       /* farther than half of the name is no misspelling */

    if (name.len > NAME_MAX_BYTES)
        return NULL;
    for (size_t i = 0; i < t->n; i++) {
        size_t len = strlen(t->v[i].name), d;

        if (len > NAME_MAX_BYTES || len > name.len + best_d || name.len > len + best_d)
            continue;
        d = edit_distance(name, t->v[i].name, len);
        if (d < best_d || (best == NULL && d == best_d)) {
            best = &t->v[i];
            best_d = d;
        }
    }
    return best;
}

/* ---- text to value ------------------------------------------------------------------------------------------ */

static int not_a_number(const struct param *p, char *why, size_t why_size)
{
    snprintf(why, why_size, "Not a number of type %s", param_type_name(p->type));
    return ERR_RANGE;
}

static int copy_text(struct arena *a, struct str s, const char **out)
{
    *out = arena_cstr(a, s);
    return *out != NULL ? OK : ERR_NOMEM;
}

static int list_parse(struct str s, struct arena *a, struct config_list *out)
{
    size_t n = 1;
    const char **v;

    for (size_t i = 0; i < s.len; i++)
        n += s.p[i] == ',';
    if (s.len == 0)
        n = 0;
    v = arena_array(a, n + 1, sizeof *v);
    if (v == NULL)
        return ERR_NOMEM;
    for (size_t i = 0, at = 0; i < n; i++) {
        size_t end = at;

        while (end < s.len && s.p[end] != ',')
            end++;
        TRY(copy_text(a, jtrim((struct str){ s.p + at, end - at }), &v[i]));
        at = end + 1;
    }
    *out = (struct config_list){ v, n };
    return OK;
}

union value {
    bool               b;
    int16_t            i16;
    int32_t            i32;
    int64_t            i64;
    double             d;
    const char        *s;
    struct config_list list;
};

static size_t value_size(enum config_type type)
{
    switch (type) {
    case CONFIG_BOOLEAN: return sizeof(bool);
    case CONFIG_INT:     return sizeof(int32_t);
    case CONFIG_SHORT:   return sizeof(int16_t);
    case CONFIG_LONG:    return sizeof(int64_t);
    case CONFIG_DOUBLE:  return sizeof(double);
    case CONFIG_LIST:    return sizeof(struct config_list);
    default:             return sizeof(const char *);
    }
}

static void value_unset(const struct param *p, union value *v)
{
    memset(v, 0, sizeof *v);
    if (p->type == CONFIG_INT)
        v->i32 = CONFIG_UNSET_INT;
    else if (p->type == CONFIG_LONG)
        v->i64 = CONFIG_UNSET_LONG;
}

static int value_parse(const struct param *p, struct str s, struct arena *a, union value *v, char *why, size_t why_size)
{
    int64_t n;

    switch (p->type) {
    case CONFIG_BOOLEAN:
        v->b = s.len == 4 && strncasecmp(s.p, "true", 4) == 0;
        if (v->b || (s.len == 5 && strncasecmp(s.p, "false", 5) == 0))
            return OK;
        snprintf(why, why_size, "Expected value to be either true or false");
        return ERR_RANGE;
    case CONFIG_INT:
        if (!jlong_parse(s, INT32_MIN, INT32_MAX, &n))
            return not_a_number(p, why, why_size);
        v->i32 = (int32_t)n;
        return OK;
    case CONFIG_SHORT:
        if (!jlong_parse(s, INT16_MIN, INT16_MAX, &n))
            return not_a_number(p, why, why_size);
        v->i16 = (int16_t)n;
        return OK;
    case CONFIG_LONG:
        return jlong_parse(s, INT64_MIN, INT64_MAX, &v->i64) ? OK : not_a_number(p, why, why_size);
    case CONFIG_DOUBLE:
        return jdouble_parse(s, &v->d) ? OK : not_a_number(p, why, why_size);
    case CONFIG_LIST:
        return list_parse(s, a, &v->list);
    case CONFIG_CLASS:
        if (s.len == 0) {
            snprintf(why, why_size, "Class  could not be found.");
            return ERR_RANGE;
        }
        return copy_text(a, s, &v->s);
    case CONFIG_STRING:
    case CONFIG_PASSWORD:
        return copy_text(a, s, &v->s);
    }
    return ERR_INVALID;
}

int param_set(const struct param *p, void *base, const char *text, struct arena *a, char *why, size_t why_size)
{
    union value v = { 0 };

    if (text == NULL) {
        value_unset(p, &v);
    } else {
        TRY(value_parse(p, jtrim(str_of(text)), a, &v, why, why_size));
        if (p->valid.check != NULL)
            TRY(p->valid.check(p, &v, why, why_size));
    }
    memcpy((char *)base + p->offset, &v, value_size(p->type));
    return OK;
}

/* ---- value to text ------------------------------------------------------------------------------------------ */

static const char *list_text(struct config_list list, struct arena *a)
{
    size_t len = 1, at = 0;
    char *out;

    if (list.v == NULL)
        return NULL;
    for (size_t i = 0; i < list.n; i++)
        len += strlen(list.v[i]) + 1;
    out = arena_alloc(a, len);
    if (out == NULL)
        return NULL;
    for (size_t i = 0; i < list.n; i++) {
        size_t n = strlen(list.v[i]);

        if (i > 0)
            out[at++] = ',';
        memcpy(out + at, list.v[i], n);
        at += n;
    }
    out[at] = '\0';
    return out;
}

static bool value_is_unset(const struct param *p, const union value *v)
{
    switch (p->type) {
    case CONFIG_INT:     return v->i32 == CONFIG_UNSET_INT && p->dflt == NULL;
    case CONFIG_LONG:    return v->i64 == CONFIG_UNSET_LONG && p->dflt == NULL;
    case CONFIG_LIST:    return v->list.v == NULL;
    case CONFIG_BOOLEAN:
    case CONFIG_SHORT:
    case CONFIG_DOUBLE:  return false;
    default:             return v->s == NULL;
    }
}

int param_text(const struct param *p, const void *base, struct arena *a, const char **out)
{
    union value v = { 0 };
    char text[JDOUBLE_TEXT];

    memcpy(&v, (const char *)base + p->offset, value_size(p->type));
    *out = NULL;
    if (value_is_unset(p, &v))
        return OK;
    switch (p->type) {
    case CONFIG_BOOLEAN:
        *out = v.b ? "true" : "false";
        break;
    case CONFIG_INT:
    case CONFIG_SHORT:
    case CONFIG_LONG:
        *out = arena_printf(a, "%" PRId64, number_at(p, &v));
        break;
    case CONFIG_DOUBLE:
        jdouble_text(v.d, text);
        *out = arena_printf(a, "%s", text);
        break;
    case CONFIG_LIST:
        *out = list_text(v.list, a);
        break;
    default:
        *out = v.s;
        break;
    }
    return *out != NULL ? OK : ERR_NOMEM;
}

const char *param_refused(const struct param *p, const char *text, struct arena *a)
{
    const char *all = "", *rest = text;

    if (p->type != CONFIG_LIST)
        return text;
    do {
        size_t n = strcspn(rest, ",");
        struct str item = { rest, n };
        const char *z;

        while (item.len > 0 && isspace((unsigned char)item.p[0]))
            item = (struct str){ item.p + 1, item.len - 1 };
        while (item.len > 0 && isspace((unsigned char)item.p[item.len - 1]))
            item.len--;
        z = arena_cstr(a, item);
        if (z == NULL || (p->valid.words != NULL && !word_in(p->valid.words, z, false)))
            return z;
        all = arena_printf(a, "%s%s%s", all, all[0] != '\0' ? ", " : "", z);
        if (all == NULL || strlen(all) > 1000)
            break;
        rest += n + (rest[n] == ',');
    } while (*rest != '\0');
    return all != NULL ? arena_printf(a, "[%s]", all) : NULL;
}

const char *param_type_name(enum config_type type)
{
    static const char *const names[] = {
        [CONFIG_BOOLEAN] = "BOOLEAN", [CONFIG_STRING] = "STRING", [CONFIG_INT] = "INT",       [CONFIG_SHORT] = "SHORT",
        [CONFIG_LONG] = "LONG",       [CONFIG_DOUBLE] = "DOUBLE", [CONFIG_LIST] = "LIST",     [CONFIG_CLASS] = "CLASS",
        [CONFIG_PASSWORD] = "PASSWORD",
    };

    return names[type];
}

void param_allowed(const struct param *p, char *buf, size_t size)
{
    static const char *const any[] = {
        [CONFIG_BOOLEAN] = "true or false",
        [CONFIG_STRING] = "any text",
        [CONFIG_INT] = "a whole number from -2147483648 to 2147483647",
        [CONFIG_SHORT] = "a whole number from -32768 to 32767",
        [CONFIG_LONG] = "a whole number of at most 64 bits",
        [CONFIG_DOUBLE] = "a number",
        [CONFIG_LIST] = "a list with commas",
        [CONFIG_CLASS] = "the name of a Java class",
        [CONFIG_PASSWORD] = "any text",
    };
    char words[1024];

    if (p->valid.text != NULL) {
        snprintf(buf, size, "%s", p->valid.text);
    } else if (p->valid.words != NULL) {
        words_text(p->valid.words, words, sizeof words);
        snprintf(buf, size, "%s: %s", p->type == CONFIG_LIST ? "any of" : "one of", words);
    } else if (p->valid.check == check_range) {
        int64_t top = p->type == CONFIG_INT ? INT32_MAX : p->type == CONFIG_SHORT ? INT16_MAX : INT64_MAX;

        snprintf(buf, size, "a whole number from %" PRId64 " to %" PRId64, p->valid.min,
                 p->valid.max < top ? p->valid.max : top);
    } else if (p->valid.check == check_double_range) {
        snprintf(buf, size, "a number from %g to %g", p->valid.fmin, p->valid.fmax);
    } else {
        snprintf(buf, size, "%s", any[p->type]);
    }
}
