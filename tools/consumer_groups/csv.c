/* tools/consumer_groups/csv.c - lines of fields. */
#include "tools/consumer_groups/csv.h"

#include "tools/consumer_groups/jvm.h"

#include <stdio.h>

#define LONG_FIELD 24           /* longer ones have quotes in any case */

/* A field in quotes, in which two quotes are one. *i is at its first character, and then after the closing quote. */
static int quoted(struct str line, size_t *i, struct str *out, struct arena *a)
{
    char  *text = arena_alloc(a, line.len + 1);
    size_t n = 0;

    if (text == NULL)
        return ERR_NOMEM;
    for (; *i < line.len; (*i)++) {
        if (line.p[*i] == '"' && (*i + 1 >= line.len || line.p[*i + 1] != '"'))
            break;
        *i += line.p[*i] == '"';
        text[n++] = line.p[*i];
    }
    *out = (struct str){ text, n };
    return (*i)++ < line.len ? OK : ERR_INVALID;
}

int csv_read(struct str line, struct str *fields, size_t max, size_t *n, struct arena *a)
{
    *n = 0;
    if (line.len > 0 && line.p[line.len - 1] == '\r')
        line.len--;
    for (size_t i = 0;; i++) {
        if (*n == max)
            return ERR_LIMIT;
        if (i < line.len && line.p[i] == '"') {
            i++;
            TRY(quoted(line, &i, &fields[*n], a));
        } else {
            size_t first = i;

            while (i < line.len && line.p[i] != ',')
                i++;
            fields[*n] = (struct str){ line.p + first, i - first };
        }
        (*n)++;
        if (i >= line.len)
            return OK;
        if (line.p[i] != ',')
            return ERR_INVALID;
    }
}

void csv_print(struct str field)
{
    bool quote = jvm_length(field) > LONG_FIELD;

    for (size_t i = 0; i < field.len; i++)
        quote = quote || (unsigned char)field.p[i] <= ',';
    if (quote)
        putchar('"');
    for (size_t i = 0; i < field.len; i++) {
        putchar(field.p[i]);
        if (field.p[i] == '"')
            putchar('"');
    }
    if (quote)
        putchar('"');
}
