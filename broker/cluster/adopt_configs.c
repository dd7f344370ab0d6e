/* broker/cluster/adopt_configs.c - the settings that topics had in Apache Kafka. */
#include "broker/cluster/adopt_configs.h"

#include "base/arena.h"
#include "base/log.h"
#include "config/topic_config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_MAX ((size_t)1 << 30)

struct described {
    struct str          topic;
    struct znode_config configs;
};

struct adopt_configs {
    struct arena      arena;
    struct described *v;                /* by topic */
    size_t            n, cap;
};

/* What follows `name` in a line of fields separated by tabs; null: there is no such field. */
static struct str field(const char *line, const char *name)
{
    const char *at = strstr(line, name);

    if (at == NULL || (at != line && at[-1] != '\t'))
        return (struct str){ NULL, 0 };
    at += strlen(name);
    at += strspn(at, " ");
    return (struct str){ at, strcspn(at, "\t\r\n") };
}

/* "a=b,c=d,e": a value may have commas, so what has no '=' belongs to the value before. */
static int split(struct arena *a, struct str text, struct znode_config *out)
{
    size_t max = 1;
    char *p, *end;

    for (size_t i = 0; i < text.len; i++)
        max += text.p[i] == ',';
    out->n = 0;
    out->pairs = arena_array(a, max, sizeof *out->pairs);
    p = (char *)(uintptr_t)arena_cstr(a, text);
    if (out->pairs == NULL || p == NULL)
        return ERR_NOMEM;
    for (; *p != '\0'; p = end) {
        char *equals = strchr(p, '=');
        bool more;

        end = strchr(p, ',');
        while (end != NULL && strcspn(end + 1, ",=") == strcspn(end + 1, ","))
            end = strchr(end + 1, ',');
        more = end != NULL;
        end = more ? end : p + strlen(p);
        *end = '\0';
        if (equals == NULL || equals > end || equals == p)
            return ERR_INVALID;
        *equals = '\0';
        out->pairs[out->n++] = (struct znode_pair){ p, equals + 1 };
        end += more;
    }
    znode_config_sort(out);
    return OK;
}

/* Would a broker use them? */
static int check(struct arena *a, const struct config *cfg, const struct znode_config *z, char *why, size_t size)
{
    struct topic_property *given = arena_array(a, z->n + 1, sizeof *given);
    struct topic_config built;
    int rc;

    if (given == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < z->n; i++)
        given[i] = (struct topic_property){ str_of(z->pairs[i].name), str_of(z->pairs[i].value) };
    rc = topic_config_build(&built, cfg, TOPIC_CONFIG_STORED, given, z->n, why, size);
    if (rc == OK)
        topic_config_fini(&built);
    return rc;
}

static int take_line(struct adopt_configs *c, const struct config *cfg, const char *line, char *why, size_t size)
{
    struct str topic = field(line, "Topic: "), configs = field(line, "Configs: ");
    struct described *d;

    if (topic.p == NULL || topic.p != line + strlen("Topic: "))
        return OK;
    if (configs.p == NULL && strstr(line, "Configs:") == NULL)
        return OK;
    if (c->n == c->cap) {
        size_t cap = c->cap == 0 ? 64 : c->cap * 2;
        struct described *v = realloc(c->v, cap * sizeof *v);

        if (v == NULL)
            return ERR_NOMEM;
        c->v = v;
        c->cap = cap;
    }
    d = &c->v[c->n];
    *d = (struct described){ .configs = { .n = 0 } };
    while (topic.len > 0 && topic.p[topic.len - 1] == ' ')
        topic.len--;
    TRY(arena_str(&c->arena, topic, &d->topic));
    (void)snprintf(why, size, "\"Configs:\" is not followed by key=value,key=value");
    TRY(split(&c->arena, configs.p != NULL ? configs : STR_LIT(""), &d->configs));
    TRY(check(&c->arena, cfg, &d->configs, why, size));
    c->n++;
    return OK;
}

static int by_topic(const void *x, const void *y)
{
    return str_cmp(((const struct described *)x)->topic, ((const struct described *)y)->topic);
}

static int read_lines(struct adopt_configs *c, FILE *f, const char *path, const struct config *cfg)
{
    char *line = NULL, why[512] = "";
    size_t cap = 0, n = 0;
    int rc = OK;

    while (rc == OK && getline(&line, &cap, f) >= 0) {
        n++;
        rc = take_line(c, cfg, line, why, sizeof why);
    }
    free(line);
    if (rc == ERR_INVALID)
        log_error("%s:%zu: %s; correct it, or take the line out", path, n, why);
    else if (rc != OK)
        log_error("%s:%zu: %s", path, n, err_text(rc));
    else if (c->n == 0)
        log_error("%s: there is no line \"Topic: ... Configs: ...\"; it should be what kafka-topics.sh --describe "
                  "printed of the topics in Apache Kafka", path);
    return rc == OK && c->n == 0 ? ERR_INVALID : rc;
}

int adopt_configs_read(const char *path, const struct config *cfg, struct adopt_configs **out)
{
    struct adopt_configs *c = calloc(1, sizeof *c);
    FILE *f = fopen(path, "re");
    int rc = c != NULL ? OK : ERR_NOMEM;

    *out = NULL;
    if (f == NULL) {
        log_error("%s: cannot be opened: %s", path, strerror(errno));
        rc = ERR_NOENT;
    }
    if (rc == OK) {
        arena_init(&c->arena, ARENA_MAX);
        rc = read_lines(c, f, path, cfg);
        if (c->n > 1)
            qsort(c->v, c->n, sizeof *c->v, by_topic);
    }
    if (f != NULL)
        (void)fclose(f);
    if (rc != OK)
        adopt_configs_free(&c);
    *out = c;
    return rc;
}

void adopt_configs_free(struct adopt_configs **c)
{
    struct adopt_configs *x = *c;

    *c = NULL;
    if (x == NULL)
        return;
    arena_fini(&x->arena);
    free(x->v);
    free(x);
}

const struct znode_config *adopt_configs_of(const struct adopt_configs *c, struct str topic)
{
    struct described want = { .topic = topic };
    const struct described *d;

    if (c == NULL)
        return NULL;
    d = bsearch(&want, c->v, c->n, sizeof want, by_topic);
    return d != NULL ? &d->configs : NULL;
}
