/* tools/offset_filter.c - topic-partition rules. */
#include "tools/offset_filter.h"

#include "tools/options.h"
#include "tools/pattern.h"

#include <stdio.h>
#include <stdlib.h>

/* Partitions from <= p < to of the topics that match. */
struct rule {
    struct pattern *topic;
    int32_t         from, to;
};

struct offset_filter {
    struct rule *rules;             /* any of them lets a partition through */
    size_t       n;
};

static int fail(char *error, size_t error_len, const char *what, struct str text)
{
    snprintf(error, error_len, "%s%.*s", what, STR_ARG(text));
    return ERR_INVALID;
}

static int rule_add(struct offset_filter *f, struct str topic, int32_t from, int32_t to)
{
    struct rule *v = reallocarray(f->rules, f->n + 1, sizeof *v);

    if (v == NULL)
        return ERR_NOMEM;
    f->rules = v;
    v[f->n] = (struct rule){ NULL, from, to };
    TRY(pattern_new(&v[f->n].topic, topic.len > 0 ? topic : STR_LIT(".*")));
    f->n++;
    return OK;
}

static int number(struct str s, int32_t *out)
{
    char    text[16];
    int64_t v;

    if (s.len == 0 || s.len >= sizeof text)
        return ERR_INVALID;
    memcpy(text, s.p, s.len);
    text[s.len] = '\0';
    TRY(parse_i64(text, 0, INT32_MAX, &v));
    *out = (int32_t)v;
    return OK;
}

/* "TOPIC", "TOPIC:N", "TOPIC:N-M", "TOPIC:N-", "TOPIC:-M", ":N", "" */
static int rule_parse(struct offset_filter *f, struct str text, char *error, size_t error_len)
{
    const char *colon = memchr(text.p, ':', text.len), *dash;
    struct str  topic = { text.p, colon != NULL ? (size_t)(colon - text.p) : text.len };
    struct str  part = { colon != NULL ? colon + 1 : "", colon != NULL ? text.len - topic.len - 1 : 0 };
    int32_t     from = 0, to = INT32_MAX;
    int         rc = OK;

    dash = part.len > 0 ? memchr(part.p, '-', part.len) : NULL;
    if (dash != NULL) {
        struct str low = { part.p, (size_t)(dash - part.p) }, high = { dash + 1, part.len - low.len - 1 };
        if (low.len > 0)
            rc = number(low, &from);
        if (rc == OK && high.len > 0)
            rc = number(high, &to);
    } else if (part.len > 0) {
        rc = number(part, &from);
        to = from < INT32_MAX ? from + 1 : from;
    }
    if (rc == OK)
        rc = rule_add(f, topic, from, to);
    return rc == ERR_INVALID ? fail(error, error_len, "Invalid rule specification: ", text) : rc;
}

/* Calls each word of a list that has commas between; as in Java, empty words at the end do not count. */
static int for_each_word(const char *list, int (*fn)(struct offset_filter *, struct str, char *, size_t),
                         struct offset_filter *f, char *error, size_t error_len)
{
    size_t n = strlen(list);

    while (n > 0 && list[n - 1] == ',')
        n--;
    for (size_t at = 0; at <= n;) {
        size_t len = strcspn(list + at, ",");
        if (len > n - at)
            len = n - at;
        TRY(fn(f, (struct str){ list + at, len }, error, error_len));
        at += len + 1;
    }
    return OK;
}

static int filter_make(struct offset_filter **out)
{
    *out = calloc(1, sizeof **out);
    return *out != NULL ? OK : ERR_NOMEM;
}

int offset_filter_new_rules(struct offset_filter **out, const char *rules, char *error, size_t error_len)
{
    int rc = filter_make(out);

    if (rc == OK)
        rc = for_each_word(rules, rule_parse, *out, error, error_len);
    if (rc != OK)
        offset_filter_free(out);
    return rc;
}

/* One id of --partitions; the pattern is filled in by the caller. */
static int id_parse(struct offset_filter *f, struct str text, char *error, size_t error_len)
{
    int32_t p;

    (void)error, (void)error_len;
    TRY(number(text, &p));
    return rule_add(f, (struct str){ NULL, 0 }, p, p < INT32_MAX ? p + 1 : p);
}

int offset_filter_new(struct offset_filter **out, const char *topic, const char *partitions, char *error,
                      size_t error_len)
{
    int rc = filter_make(out);

    if (rc == OK && partitions != NULL && partitions[0] != '\0')
        rc = for_each_word(partitions, id_parse, *out, error, error_len);
    if (rc == ERR_INVALID)
        rc = fail(error, error_len, "--partitions expects a comma separated list of numeric partition ids, "
                  "but received: ",
                  str_of(partitions));
    if (rc == OK && (*out)->n == 0)
        rc = rule_add(*out, (struct str){ NULL, 0 }, 0, INT32_MAX);
    for (size_t i = 0; rc == OK && topic != NULL && i < (*out)->n; i++) {
        pattern_free(&(*out)->rules[i].topic);
        rc = pattern_new(&(*out)->rules[i].topic, str_of(topic));
        if (rc == ERR_INVALID)
            snprintf(error, error_len, "%s is an invalid regex.", topic);
    }
    if (rc != OK)
        offset_filter_free(out);
    return rc;
}

void offset_filter_free(struct offset_filter **f)
{
    if (*f == NULL)
        return;
    for (size_t i = 0; i < (*f)->n; i++)
        pattern_free(&(*f)->rules[i].topic);
    free((*f)->rules);
    free(*f);
    *f = NULL;
}

bool offset_filter_topic(const struct offset_filter *f, struct str topic)
{
    for (size_t i = 0; i < f->n; i++) {
        if (pattern_matches(f->rules[i].topic, topic))
            return true;
    }
    return false;
}

bool offset_filter_partition(const struct offset_filter *f, struct str topic, int32_t partition)
{
    for (size_t i = 0; i < f->n; i++) {
        if (partition >= f->rules[i].from && partition < f->rules[i].to && pattern_matches(f->rules[i].topic, topic))
            return true;
    }
    return false;
}
