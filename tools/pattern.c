/* tools/pattern.c - topic name expressions on PCRE2. */
#include "tools/pattern.h"

#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define STEPS_MAX 100000                /* of one match, far more than the name of a topic takes */

struct pattern {
    pcre2_code          *code;
    pcre2_match_data    *match;
    pcre2_match_context *context;
};

int pattern_new_raw(struct pattern **out, struct str text)
{
    struct pattern *p = calloc(1, sizeof *p);
    int             error;
    PCRE2_SIZE      at;

    if (p == NULL)
        return ERR_NOMEM;
    p->code = pcre2_compile((PCRE2_SPTR)(text.p != NULL ? text.p : ""), text.len,
                            PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_DOLLAR_ENDONLY, &error, &at, NULL);
    if (p->code != NULL) {
        p->match = pcre2_match_data_create(1, NULL);
        p->context = pcre2_match_context_create(NULL);
    }
    if (p->match == NULL || p->context == NULL) {
        int rc = p->code == NULL ? ERR_INVALID : ERR_NOMEM;
        pattern_free(&p);
        return rc;
    }
    pcre2_set_match_limit(p->context, STEPS_MAX);
    *out = p;
    return OK;
}

static bool is_quote(char c)
{
    return c == '"' || c == '\'';
}

char *pattern_text(struct str text)
{
    char  *s = malloc(text.len + 1);
    size_t n = 0, from = 0;

    if (s == NULL)
        return NULL;
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] != ' ')
            s[n++] = text.p[i] == ',' ? '|' : text.p[i];
    }
    while (from < n && is_quote(s[from]))
        from++;
    while (n > from && is_quote(s[n - 1]))
        n--;
    memmove(s, s + from, n - from);
    s[n - from] = '\0';
    return s;
}

int pattern_new(struct pattern **out, struct str text)
{
    char *s = pattern_text(text);
    int   rc = s == NULL ? ERR_NOMEM : pattern_new_raw(out, str_of(s));

    free(s);
    return rc;
}

void pattern_free(struct pattern **p)
{
    if (*p == NULL)
        return;
    pcre2_match_data_free((*p)->match);
    pcre2_match_context_free((*p)->context);
    pcre2_code_free((*p)->code);
    free(*p);
    *p = NULL;
}

bool pattern_matches(const struct pattern *p, struct str name)
{
    return pcre2_match(p->code, (PCRE2_SPTR)(name.p != NULL ? name.p : ""), name.len, 0, 0, p->match, p->context) >= 0;
}

bool topic_is_internal(struct str name)
{
    return str_is(name, "__consumer_offsets") || str_is(name, "__transaction_state");
}
