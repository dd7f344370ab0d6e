/* storage/checkpoint_file.c - reading and writing the text checkpoints. */
#include "storage/checkpoint_file.h"

#include "storage/fio.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECKPOINT_MAX_BYTES ((size_t)256 << 20)

struct text {
    const char *p, *end;
    size_t      line;
};

/* The next line without its end; false at the end of the text. */
static bool next_line(struct text *t, struct str *out)
{
    const char *nl;

    if (t->p >= t->end)
        return false;
    nl = memchr(t->p, '\n', (size_t)(t->end - t->p));
    if (nl == NULL)
        nl = t->end;
    *out = (struct str){ t->p, (size_t)(nl - t->p) };
    t->p = nl + 1;
    t->line++;
    if (out->len > 0 && out->p[out->len - 1] == '\r')
        out->len--;
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Exactly n fields of a line. */
static int split(struct str line, struct str *f, size_t n)
{
    const char *p = line.p, *end = line.p + line.len;

    for (size_t i = 0; i < n; i++) {
        while (p < end && is_blank(*p))
            p++;
        f[i].p = p;
        while (p < end && !is_blank(*p))
            p++;
        f[i].len = (size_t)(p - f[i].p);
        if (f[i].len == 0)
            return ERR_CORRUPT;
    }
    while (p < end && is_blank(*p))
        p++;
    return p == end ? OK : ERR_CORRUPT;
}

/* A decimal number from 0 to max. */
static int number(struct str s, int64_t max, int64_t *out)
{
    int64_t v = 0;

    if (s.len == 0)
        return ERR_CORRUPT;
    for (size_t i = 0; i < s.len; i++) {
        int64_t d = s.p[i] - '0';
        if (d < 0 || d > 9 || v > (max - d) / 10)
            return ERR_CORRUPT;
        v = v * 10 + d;
    }
    *out = v;
    return OK;
}

/* Version and count; *n is limited by what the text can hold, since each entry takes at least four bytes. */
static int head(struct text *t, size_t *n)
{
    struct str line, f;
    int64_t v;

    if (!next_line(t, &line))
        return ERR_CORRUPT;
    TRY(split(line, &f, 1));
    TRY(number(f, INT32_MAX, &v));
    if (v != 0)
        return ERR_CORRUPT;
    if (!next_line(t, &line))
        return ERR_CORRUPT;
    TRY(split(line, &f, 1));
    TRY(number(f, INT32_MAX, &v));
    if (v > (t->end - t->p) / 3)
        return ERR_CORRUPT;
    *n = (size_t)v;
    return OK;
}

static int by_name(const void *a, const void *b)
{
    const struct offset_entry *x = a, *y = b;
    int d = str_cmp(x->topic, y->topic);

    return d != 0 ? d : (x->partition > y->partition) - (x->partition < y->partition);
}

static int offset_line(struct str line, struct offset_entry *e)
{
    struct str f[3];
    int64_t partition;

    TRY(split(line, f, 3));
    TRY(number(f[1], INT32_MAX, &partition));
    TRY(number(f[2], INT64_MAX, &e->offset));
    e->topic = f[0];
    e->partition = (int32_t)partition;
    return OK;
}

int offset_checkpoint_parse(uint8_t *text, size_t len, struct offset_checkpoint *out, size_t *line)
{
    struct text t = { (const char *)text, (const char *)text + len, 0 };
    struct str l;
    size_t want = 0;
    int rc = OK;

    *out = (struct offset_checkpoint){ .text = text };
    *line = 0;
    if (len == 0)
        return OK;
    rc = head(&t, &want);
    if (rc == OK && want > 0 && (out->v = calloc(want, sizeof *out->v)) == NULL)
        rc = ERR_NOMEM;
    while (rc == OK && next_line(&t, &l)) {
        if (out->n == want)
            rc = ERR_CORRUPT;
        else
            rc = offset_line(l, &out->v[out->n++]);
    }
    if (rc == OK && out->n != want)
        rc = ERR_CORRUPT;
    if (rc != OK) {
        *line = t.line;
        offset_checkpoint_free(out);
        return rc;
    }
    if (out->n > 1)
        qsort(out->v, out->n, sizeof *out->v, by_name);
    return OK;
}

int offset_checkpoint_read(int dirfd, const char *name, struct offset_checkpoint *out, size_t *line)
{
    uint8_t *text;
    size_t len;
    int rc = fio_read_file(dirfd, name, CHECKPOINT_MAX_BYTES, &text, &len);

    *out = (struct offset_checkpoint){ 0 };
    *line = 0;
    if (rc == ERR_NOENT)
        return OK;
    TRY(rc);
    return offset_checkpoint_parse(text, len, out, line);
}

void offset_checkpoint_free(struct offset_checkpoint *c)
{
    free(c->v);
    free(c->text);
    *c = (struct offset_checkpoint){ 0 };
}

int64_t offset_checkpoint_find(const struct offset_checkpoint *c, struct str topic, int32_t partition)
{
    struct offset_entry key = { .topic = topic, .partition = partition };
    const struct offset_entry *e = NULL;

    if (c->n > 0)
        e = bsearch(&key, c->v, c->n, sizeof *c->v, by_name);
    return e != NULL ? e->offset : -1;
}

int offset_checkpoint_write(int dirfd, const char *name, const struct offset_entry *v, size_t n)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    int rc;

    if (f == NULL)
        return ERR_NOMEM;
    fprintf(f, "0\n%zu\n", n);
    for (size_t i = 0; i < n; i++)
        fprintf(f, "%.*s %" PRId32 " %" PRId64 "\n", STR_ARG(v[i].topic), v[i].partition, v[i].offset);
    rc = fclose(f) != 0 ? ERR_NOMEM : fio_replace_file(dirfd, ".", name, text, len, true);
    free(text);
    return rc;
}

static int epoch_line(struct str line, struct epoch_entry *e)
{
    struct str f[2];
    int64_t epoch;

    TRY(split(line, f, 2));
    TRY(number(f[0], INT32_MAX, &epoch));
    TRY(number(f[1], INT64_MAX, &e->start));
    e->epoch = (int32_t)epoch;
    return OK;
}

int epoch_checkpoint_parse(const uint8_t *text, size_t len, struct epoch_entry **v, size_t *n, size_t *line)
{
    struct text t = { (const char *)text, (const char *)text + len, 0 };
    struct str l;
    size_t want = 0, got = 0;
    struct epoch_entry *e = NULL;
    int rc = OK;

    *v = NULL;
    *n = 0;
    *line = 0;
    if (len == 0)
        return OK;
    rc = head(&t, &want);
    if (rc == OK && want > 0 && (e = calloc(want, sizeof *e)) == NULL)
        rc = ERR_NOMEM;
    while (rc == OK && next_line(&t, &l)) {
        if (got == want)
            rc = ERR_CORRUPT;
        else
            rc = epoch_line(l, &e[got++]);
    }
    if (rc == OK && got != want)
        rc = ERR_CORRUPT;
    if (rc != OK) {
        *line = t.line;
        free(e);
        return rc;
    }
    *v = e;
    *n = got;
    return OK;
}

int epoch_checkpoint_print(const struct epoch_entry *v, size_t n, char **text, size_t *len)
{
    FILE *f = open_memstream(text, len);

    if (f == NULL)
        return ERR_NOMEM;
    fprintf(f, "0\n%zu\n", n);
    for (size_t i = 0; i < n; i++)
        fprintf(f, "%" PRId32 " %" PRId64 "\n", v[i].epoch, v[i].start);
    if (fclose(f) == 0)
        return OK;
    free(*text);
    *text = NULL;
    return ERR_NOMEM;
}
