/* tests/unit/config/config_fixture.h - load a configuration from text, an environment and overrides, and look at it.
 *
 * OWNER  one at a time: fx_fini() before the next. The file is a temporary one, removed at once after reading.
 */
#ifndef TESTS_UNIT_CONFIG_CONFIG_FIXTURE_H
#define TESTS_UNIT_CONFIG_CONFIG_FIXTURE_H

#include "config/describe.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct config *cfg;
static struct config_problems problems;

static int fx_load_from(const char *text, char *const *env, const char *const *overrides, size_t n)
{
    char name[] = "/tmp/klamm-config-XXXXXX";
    int fd = mkstemp(name), rc;
    struct config_input in = { .file = name, .env = env, .overrides = overrides, .overrides_n = n };

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    rc = config_load(&cfg, &in, &problems);
    unlink(name);
    return rc;
}

static inline int fx_load(const char *text)
{
    return fx_load_from(text, NULL, NULL, 0);
}

static inline void fx_fini(void)
{
    config_unref(&cfg);
    config_problems_fini(&problems);
}

/* The problem of the key: its error if it has one, else its warning. There must be one, and not two alike. */
static inline const struct config_problem *fx_problem(const char *key)
{
    const struct config_problem *found[2] = { NULL, NULL };

    for (size_t i = 0; i < problems.n; i++) {
        const struct config_problem *p = &problems.v[i];

        if (p->key == NULL || strcmp(p->key, key) != 0)
            continue;
        ck_assert_msg(found[p->severity] == NULL, "two problems with %s, one is: %s", key, p->what);
        found[p->severity] = p;
    }
    ck_assert_msg(found[0] != NULL || found[1] != NULL, "no problem with %s", key);
    return found[CONFIG_ERROR] != NULL ? found[CONFIG_ERROR] : found[CONFIG_WARNING];
}

static inline void fx_print(void)
{
    char line[4096];

    for (size_t i = 0; i < problems.n; i++) {
        config_problem_text(&problems.v[i], line, sizeof line);
        fprintf(stderr, "%s\n", line);
    }
}

/* Each text must be refused because of that key, and of nothing else. */
static inline void fx_refused(const char *text, const char *key)
{
    if (fx_load(text) != ERR_INVALID || problems.errors_n != 1)
        fx_print();
    ck_assert_uint_eq(problems.errors_n, 1);
    ck_assert_ptr_null(cfg);
    ck_assert_int_eq(fx_problem(key)->severity, CONFIG_ERROR);
    fx_fini();
}

static inline void fx_accepted(const char *text)
{
    if (fx_load(text) != OK)
        fx_print();
    ck_assert_ptr_nonnull(cfg);
}

#endif
