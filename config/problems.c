/* config/problems.c - the list of problems, and how they look to a person. */
#include "config/load.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { PROBLEMS_LIMIT_BYTES = 64 << 20 };

static struct config_problem *problem_new(struct config_problems *ps, enum config_severity severity)
{
    if ((ps->n & (ps->n - 1)) == 0) {       /* room ends at each power of two */
        struct config_problem *v = arena_array(&ps->arena, ps->n == 0 ? 1 : ps->n * 2, sizeof *v);

        if (v == NULL)
            return NULL;
        if (ps->n > 0)
            memcpy(v, ps->v, ps->n * sizeof *v);
        ps->v = v;
    }
    ps->v[ps->n] = (struct config_problem){ .severity = severity };
    ps->errors_n += severity == CONFIG_ERROR;
    return &ps->v[ps->n++];
}

static const char *problem_str(struct loader *l, const char *s)
{
    const char *copy = s != NULL ? arena_cstr(&l->problems->arena, str_of(s)) : NULL;

    if (s != NULL && copy == NULL)
        l->rc = ERR_NOMEM;
    return copy;
}

static const char *problem_vtext(struct loader *l, const char *fmt, va_list ap)
{
    char text[2048];

    vsnprintf(text, sizeof text, fmt, ap);
    return problem_str(l, text);
}

/* Passwords are not shown; nor is the value of an unknown key that looks like one. */
static bool is_secret(const struct config_given *g)
{
    static const char *const marks[] = { "password", "secret", "jaas", "credential", "token" };

    if (g->param != NULL)
        return g->param->type == CONFIG_PASSWORD;
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        if (strcasestr(g->key, marks[i]) != NULL)
            return true;
    return false;
}

void loader_problem(struct loader *l, enum config_severity severity, const struct config_given *g, const char *nearest,
                    const char *fmt, ...)
{
    struct config_problem *p = problem_new(l->problems, severity);
    va_list ap;

    if (p == NULL) {
        l->rc = ERR_NOMEM;
        return;
    }
    if (g != NULL) {
        p->file = problem_str(l, g->file);
        p->line = g->line;
        p->key = problem_str(l, g->key);
        p->value = is_secret(g) ? NULL : problem_str(l, g->value);
    }
    p->nearest = nearest;
    va_start(ap, fmt);
    p->what = problem_vtext(l, fmt, ap);
    va_end(ap);
}

void loader_file_problem(struct loader *l, const char *file, int line, const char *fmt, ...)
{
    struct config_problem *p = problem_new(l->problems, CONFIG_ERROR);
    va_list ap;

    if (p == NULL) {
        l->rc = ERR_NOMEM;
        return;
    }
    p->file = problem_str(l, file);
    p->line = line;
    va_start(ap, fmt);
    p->what = problem_vtext(l, fmt, ap);
    va_end(ap);
}

void loader_refuse(struct loader *l, const char *name, const char *fmt, ...)
{
    const struct param *param = param_find(&server_params, str_of(name));
    const struct config_given *g = loader_given(l, name);
    struct config_given by_default = { .key = name, .param = param };
    const char *what;
    va_list ap;

    va_start(ap, fmt);
    what = problem_vtext(l, fmt, ap);
    va_end(ap);
    if (g == NULL) {
        if (param_text(param, l->cfg, &l->problems->arena, &by_default.value) != OK)
            l->rc = ERR_NOMEM;
        g = &by_default;
    }
    loader_problem(l, CONFIG_ERROR, g, NULL, "%s", what != NULL ? what : "");
    loader_mark_bad(l, param);
}

static int source_rank(const struct config_problem *p)
{
    if (p->line > 0)
        return 0;
    return p->file == NULL ? 3 : p->key != NULL ? 2 : 1;
}

static int by_place(const void *a, const void *b)
{
    const struct config_problem *x = a, *y = b;
    int dx = source_rank(x), dy = source_rank(y);

    if (dx != dy)
        return dx - dy;
    return x->line != y->line ? x->line - y->line : (int)y->severity - (int)x->severity;
}

void problems_sort(struct config_problems *problems)
{
    if (problems->n > 1)
        qsort(problems->v, problems->n, sizeof *problems->v, by_place);
}

void config_problems_fini(struct config_problems *problems)
{
    arena_fini(&problems->arena);
    *problems = (struct config_problems){ 0 };
}

/* Appends; control characters come out as escapes, so that a value cannot forge a line of its own. */
static void put(char *buf, size_t size, const char *text)
{
    size_t at = strlen(buf);

    for (const char *c = text; *c != '\0' && at + 5 < size; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            at += (size_t)snprintf(buf + at, size - at, "\\x%02x", (unsigned)(unsigned char)*c);
        else
            buf[at++] = *c;
    }
    buf[at] = '\0';
}

void config_problem_text(const struct config_problem *p, char *buf, size_t size)
{
    char line[32];

    buf[0] = '\0';
    if (p->file != NULL) {
        put(buf, size, p->file);
        snprintf(line, sizeof line, p->line > 0 ? ":%d: " : ": ", p->line);
        put(buf, size, line);
    }
    put(buf, size, p->severity == CONFIG_ERROR ? "error: " : "warning: ");
    if (p->key != NULL) {
        put(buf, size, p->key);
        put(buf, size, p->value != NULL ? "=" : "");
        put(buf, size, p->value != NULL ? p->value : "");
        put(buf, size, ": ");
    }
    put(buf, size, p->what);
    if (p->nearest != NULL) {
        put(buf, size, "; nearest known key: ");
        put(buf, size, p->nearest);
    }
}

int config_check_print(FILE *out, const struct config_input *in)
{
    struct config *cfg = NULL;
    struct config_problems ps;
    char line[8192];
    int rc = config_load(&cfg, in, &ps);

    for (size_t i = 0; i < ps.n; i++) {
        config_problem_text(&ps.v[i], line, sizeof line);
        fprintf(out, "%s\n", line);
    }
    if (rc == ERR_NOMEM)
        fprintf(out, "error: out of memory\n");
    fprintf(out, "%s: %zu %s, %zu %s\n", in->file != NULL ? in->file : "configuration", ps.errors_n,
            ps.errors_n == 1 ? "error" : "errors", ps.n - ps.errors_n,
            ps.n - ps.errors_n == 1 ? "warning" : "warnings");
    config_problems_fini(&ps);
    config_unref(&cfg);
    return rc == OK ? 0 : 1;
}
