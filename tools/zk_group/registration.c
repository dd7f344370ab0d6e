/* tools/zk_group/registration.c - the JSON of a member's registration, and other small texts under /consumers. */
#include "tools/zk_group/registration.h"

#include "tools/options.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

static const char *const kinds[] = {
    [GROUP_STATIC] = "static", [GROUP_WHITE_LIST] = "white_list", [GROUP_BLACK_LIST] = "black_list",
};

/* ---- writing ---- */

static bool put(json_t *o, const char *key, json_t *v)
{
    return json_object_set_new(o, key, v) == 0;
}

char *group_registration_write(enum group_kind kind, const char *expression, int64_t now_ms)
{
    json_t *o = json_object(), *subscription = json_object();
    char    now[24], *z = NULL;
    bool    ok;

    snprintf(now, sizeof now, "%" PRId64, now_ms);
    ok = put(subscription, expression, json_integer(1));
    ok = put(o, "version", json_integer(1)) && ok;
    ok = put(o, "subscription", subscription) && ok;
    ok = put(o, "pattern", json_string(kinds[kind])) && ok;
    ok = put(o, "timestamp", json_string(now)) && ok;
    if (ok)
        z = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return z;
}

/* ---- reading ---- */

static int read_count(const char *key, const json_t *v, struct arena *a, struct group_count *c)
{
    json_int_t n = json_integer_value(v);

    if (!json_is_integer(v) || n < 1 || n > GROUP_STREAMS_MAX)
        return ERR_CORRUPT;
    c->streams = (int32_t)n;
    return arena_str(a, str_of(key), &c->topic);
}

static int read_counts(json_t *o, struct arena *a, struct group_registration *r)
{
    const char *key;
    json_t     *v;

    if (!json_is_object(o))
        return ERR_CORRUPT;
    r->counts = arena_array(a, json_object_size(o) + 1, sizeof *r->counts);
    if (r->counts == NULL)
        return ERR_NOMEM;
    json_object_foreach(o, key, v) {
        TRY(read_count(key, v, a, &r->counts[r->counts_n]));
        r->counts_n++;
    }
    return OK;
}

/* Kafka takes every other word for `static` as well. */
static int read_kind(const json_t *v, struct group_registration *r)
{
    if (!json_is_string(v))
        return ERR_CORRUPT;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(json_string_value(v), kinds[i]) == 0)
            r->kind = (enum group_kind)i;
    }
    if (r->counts_n == 0)
        r->kind = GROUP_STATIC;
    if (r->kind == GROUP_STATIC)
        return OK;
    return pattern_new(&r->pattern, r->counts[0].topic) == ERR_NOMEM ? ERR_NOMEM
         : r->pattern == NULL ? ERR_CORRUPT : OK;
}

int group_registration_read(struct bytes in, struct arena *a, struct group_registration *r)
{
    json_t *o = in.len > 0 ? json_loadb((const char *)in.p, in.len, 0, NULL) : NULL;
    int     rc = json_is_object(o) ? OK : ERR_CORRUPT;

    *r = (struct group_registration){ .kind = GROUP_STATIC };
    if (rc == OK)
        rc = read_counts(json_object_get(o, "subscription"), a, r);
    if (rc == OK)
        rc = read_kind(json_object_get(o, "pattern"), r);
    json_decref(o);
    if (rc != OK)
        *r = (struct group_registration){ .kind = GROUP_STATIC };
    return rc;
}

void group_registration_fini(struct group_registration *r)
{
    pattern_free(&r->pattern);
}

int32_t group_streams(const struct group_registration *r, struct str topic)
{
    if (r->kind != GROUP_STATIC)
        return pattern_matches(r->pattern, topic) == (r->kind == GROUP_WHITE_LIST) ? r->counts[0].streams : 0;
    for (size_t i = 0; i < r->counts_n; i++) {
        if (str_eq(r->counts[i].topic, topic))
            return r->counts[i].streams;
    }
    return 0;
}

int group_offset_read(struct bytes in, int64_t *out)
{
    char text[24];

    if (in.len == 0 || in.len >= sizeof text || memchr(in.p, '\0', in.len) != NULL)
        return ERR_CORRUPT;
    memcpy(text, in.p, in.len);
    text[in.len] = '\0';
    return parse_i64(text, INT64_MIN, INT64_MAX, out) == OK ? OK : ERR_CORRUPT;
}
