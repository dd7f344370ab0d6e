/* tools/pattern.c - topic name expressions on PCRE2. */
#include "tools/pattern.h"

#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

struct pattern {
    pcre2_code       *code;
    pcre2_match_data *match;
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
    if (p->code != NULL)
        p->match = pcre2_match_data_create(1, NULL);
    if (p->match == NULL) {
        int rc = p->code == NULL ? ERR_INVALID : ERR_NOMEM;
        pattern_free(&p);
        return rc;
    }
    *out = p;
    return OK;
}

static bool is_quote(char c)
{
    return c == '"' || c == '\'';
}

int pattern_new(struct pattern **out, struct str text)
{
    char  *s = malloc(text.len + 1);
    size_t n = 0, from = 0;
    int    rc;

    if (s == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] != ' ')
            s[n++] = text.p[i] == ',' ? '|' : text.p[i];
    }
    while (from < n && is_quote(s[from]))
        from++;
    while (n > from && is_quote(s[n - 1]))
        n--;
    rc = pattern_new_raw(out, (struct str){ s + from, n - from });
    free(s);
    return rc;
}

void pattern_free(struct pattern **p)
{
    if (*p == NULL)
        return;
    pcre2_match_data_free((*p)->match);
    pcre2_code_free((*p)->code);
    free(*p);
    *p = NULL;
}

bool pattern_matches(const struct pattern *p, struct str name)
{
    return pcre2_match(p->code, (PCRE2_SPTR)(name.p != NULL ? name.p : ""), name.len, 0, 0, p->match, NULL) >= 0;
}

bool topic_is_internal(struct str name)
{
    return str_is(name, "__consumer_offsets") || str_is(name, "__transaction_state");
}
