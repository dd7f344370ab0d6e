/* tools/props.c - collecting properties. */
#include "tools/props.h"

#include "config/properties.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (1 << 20)

int props_set(struct props *p, struct str name, struct str value, struct arena *a)
{
    for (size_t i = 0; i < p->n; i++) {
        if (str_eq(p->v[i].name, name)) {
            p->v[i].value = value;
            return OK;
        }
    }
    if (p->n == p->cap) {
        size_t       cap = p->cap * 2 + 16;
        struct prop *v = arena_array(a, cap, sizeof *v);

        if (v == NULL)
            return ERR_NOMEM;
        if (p->n > 0)
            memcpy(v, p->v, p->n * sizeof *v);
        p->v = v;
        p->cap = cap;
    }
    p->v[p->n++] = (struct prop){ name, value };
    return OK;
}

struct str props_get(const struct props *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++) {
        if (str_is(p->v[i].name, name))
            return p->v[i].value;
    }
    return (struct str){ NULL, 0 };
}

bool prop_is_true(struct str v)
{
    while (v.len > 0 && isspace((unsigned char)v.p[0])) {
        v.p++;
        v.len--;
    }
    while (v.len > 0 && isspace((unsigned char)v.p[v.len - 1]))
        v.len--;
    return v.len == 4 && strncasecmp(v.p, "true", 4) == 0;
}

int props_add_words(struct props *p, const struct options *o, size_t opt, struct arena *a)
{
    const char *word;

    for (size_t i = 0; (word = options_nth(o, opt, i)) != NULL; i++) {
        size_t     n = strcspn(word, "=");
        struct str value = { word + n + (word[n] == '='), 0 };

        value.len = strlen(value.p);
        TRY(props_set(p, (struct str){ word, n }, value, a));
    }
    return OK;
}

/* The whole file, which is read in one piece: it is a page of text. */
static int file_read(const char *file, struct arena *a, struct str *out)
{
    struct stat st;
    char       *p = NULL;
    int         fd = open(file, O_RDONLY | O_CLOEXEC), rc = OK;
    size_t      n = 0;

    if (fd < 0)
        return err_from_errno(errno);
    if (fstat(fd, &st) != 0)
        rc = err_from_errno(errno);
    else if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
        rc = ERR_TOO_LARGE;
    else if ((p = arena_alloc(a, (size_t)st.st_size + 1)) == NULL)
        rc = ERR_NOMEM;
    while (rc == OK && n < (size_t)st.st_size) {
        ssize_t got = read(fd, p + n, (size_t)st.st_size - n);
        if (got == 0)
            break;
        if (got > 0)
            n += (size_t)got;
        else if (errno != EINTR)
            rc = err_from_errno(errno);
    }
    close(fd);
    *out = (struct str){ p, n };
    return rc;
}

int props_add_file(struct props *p, const char *file, struct arena *a, char *error, size_t error_len)
{
    struct properties read;
    struct str        text;
    int               rc = file_read(file, a, &text);

    if (rc == OK)
        rc = properties_parse(text, a, &read);
    if (rc != OK) {
        snprintf(error, error_len, "%s: %s", file, err_text(rc));
        return rc;
    }
    for (size_t i = 0; i < read.n; i++) {
        if (read.v[i].broken != NULL) {
            snprintf(error, error_len, "%s:%d: %s: %s", file, read.v[i].line, read.v[i].key, read.v[i].broken);
            return ERR_INVALID;
        }
        TRY(props_set(p, str_of(read.v[i].key), str_of(read.v[i].value), a));
    }
    return OK;
}
