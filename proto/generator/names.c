/* proto/generator/names.c - names in C's style, and memory and messages for a program that runs once. */
#include "proto/generator/schema.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void die(const char *fmt, ...)
{
    va_list ap;

    fputs("generator: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

void *xalloc(size_t n)
{
    void *p = calloc(1, n > 0 ? n : 1);

    if (p == NULL)
        die("out of memory");
    return p;
}

char *xprintf(const char *fmt, ...)
{
    va_list ap;
    char *p = NULL;

    va_start(ap, fmt);
    if (vasprintf(&p, fmt, ap) < 0)
        die("out of memory");
    va_end(ap);
    return p;
}

/* A word begins at a capital after a small letter or digit, and at the last of several capitals before a small one. */
static char *split_words(const char *name, int (*to_case)(int))
{
    char *out = xalloc(2 * strlen(name) + 2), *p = out;

    for (const char *s = name; *s != '\0'; s++) {
        if (s > name && isupper((unsigned char)*s) &&
            (!isupper((unsigned char)s[-1]) || islower((unsigned char)s[1])))
            *p++ = '_';
        *p++ = (char)to_case((unsigned char)*s);
    }
    return out;
}

const char *snake_case(const char *name)
{
    static const char *const keywords[] = {
        "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern",
        "float", "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed",
        "sizeof", "static", "struct", "switch", "typedef", "union", "unsigned", "void", "while",
    };
    char *out = split_words(name, tolower);

    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++)
        if (strcmp(out, keywords[i]) == 0)
            out[strlen(out)] = '_';          /* there is room, and it is zeroed */
    return out;
}

const char *upper_snake(const char *name)
{
    return split_words(name, toupper);
}
