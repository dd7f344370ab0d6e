/* tools/console/line_reader.c - reading lines and taking them apart. */
#include "tools/console/line_reader.h"

#include "tools/props.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define READ_BYTES 65536

void lines_init(struct lines *l, int fd)
{
    memset(l, 0, sizeof *l);
    l->fd = fd;
}

void lines_fini(struct lines *l)
{
    free(l->buf);
    l->buf = NULL;
}

/* Reads more behind the unread bytes; makes room for it first. */
static int lines_fill(struct lines *l)
{
    ssize_t n;

    if (l->from > 0 && (l->from == l->to || l->cap - l->to < READ_BYTES)) {
        memmove(l->buf, l->buf + l->from, l->to - l->from);
        l->to -= l->from;
        l->from = 0;
    }
    if (l->cap - l->to < READ_BYTES) {
        size_t cap = l->cap * 2 + READ_BYTES;
        char  *buf = realloc(l->buf, cap);
        if (buf == NULL)
            return ERR_NOMEM;
        l->buf = buf;
        l->cap = cap;
    }
    do
        n = read(l->fd, l->buf + l->to, READ_BYTES);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return ERR_IO;
    l->eof = n == 0;
    l->to += (size_t)n;
    return OK;
}

static size_t line_length(const char *p, size_t n)
{
    const char *lf = memchr(p, '\n', n);
    const char *cr = memchr(p, '\r', lf != NULL ? (size_t)(lf - p) : n);

    return cr != NULL ? (size_t)(cr - p) : lf != NULL ? (size_t)(lf - p) : n;
}

int lines_next(struct lines *l, struct str *out)
{
    size_t looked = 0;                  /* no line end in that many bytes */

    for (;;) {
        if (l->skip_lf && l->from < l->to) {
            l->from += l->buf[l->from] == '\n';
            l->skip_lf = false;
        }
        size_t have = l->to - l->from;
        size_t len = have > looked ? looked + line_length(l->buf + l->from + looked, have - looked) : have;

        if (len < have) {
            *out = (struct str){ l->buf + l->from, len };
            l->skip_lf = l->buf[l->from + len] == '\r';
            l->from += len + 1;
            return OK;
        }
        if (l->eof) {
            if (have == 0)
                return ERR_CLOSED;
            *out = (struct str){ l->buf + l->from, have };
            l->from = l->to;
            return OK;
        }
        looked = l->skip_lf ? 0 : have;
        TRY(lines_fill(l));
    }
}

void line_format_init(struct line_format *f)
{
    memset(f, 0, sizeof *f);
    f->key_separator = STR_LIT("\t");
    f->headers_delimiter = STR_LIT("\t");
    f->headers_separator = STR_LIT(",");
    f->headers_key_separator = STR_LIT(":");
}

void line_format_set(struct line_format *f, struct str name, struct str value)
{
    const struct { const char *name; bool *flag; struct str *text; } known[] = {
        { "parse.key", &f->parse_key, NULL },
        { "parse.headers", &f->parse_headers, NULL },
        { "ignore.error", &f->ignore_error, NULL },
        { "key.separator", NULL, &f->key_separator },
        { "headers.delimiter", NULL, &f->headers_delimiter },
        { "headers.separator", NULL, &f->headers_separator },
        { "headers.key.separator", NULL, &f->headers_key_separator },
        { "null.marker", NULL, &f->null_marker },
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (!str_is(name, known[i].name))
            continue;
        if (known[i].flag != NULL)
            *known[i].flag = prop_is_true(value);
        else
            *known[i].text = value;
    }
}

int line_format_check(const struct line_format *f, const char **why)
{
    const struct { struct str a, b; const char *why; } pairs[] = {
        { f->headers_delimiter, f->headers_separator, "headers.delimiter and headers.separator may not be equal" },
        { f->headers_delimiter, f->headers_key_separator, "headers.delimiter and headers.key.separator may "
          "not be equal" },
        { f->headers_separator, f->headers_key_separator, "headers.separator and headers.key.separator may "
          "not be equal" },
        { f->null_marker, f->key_separator, "null.marker and key.separator may not be equal" },
        { f->null_marker, f->headers_separator, "null.marker and headers.separator may not be equal" },
        { f->null_marker, f->headers_delimiter, "null.marker and headers.delimiter may not be equal" },
        { f->null_marker, f->headers_key_separator, "null.marker and headers.key.separator may not be equal" },
    };

    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        if (pairs[i].a.p != NULL && str_eq(pairs[i].a, pairs[i].b)) {
            *why = pairs[i].why;
            return ERR_INVALID;
        }
    }
    return OK;
}

/* Where `what` begins in s, -1: nowhere. An empty text is found at once, as in Java. */
static ssize_t str_find(struct str s, struct str what)
{
    const char *p = what.len == 0 ? s.p : s.len == 0 ? NULL : memmem(s.p, s.len, what.p, what.len);

    return p != NULL ? p - s.p : -1;
}

static struct str str_from(struct str s, size_t at)
{
    return (struct str){ s.p + at, s.len - at };
}

static bool is_null(const struct line_format *f, struct str s)
{
    return f->null_marker.p != NULL && str_eq(s, f->null_marker);
}

/* One "key:value". */
static int header_parse(const struct line_format *f, struct str pair, int64_t number, struct line_header *h,
                        char *error,
                        size_t error_len)
{
    ssize_t at = str_find(pair, f->headers_key_separator);

    if (at < 0 && f->ignore_error) {
        *h = (struct line_header){ pair, { NULL, 0 } };
        return OK;
    }
    if (at < 0) {
        snprintf(error, error_len, "No header key separator found in pair '%.*s' on line number %" PRId64,
                 STR_ARG(pair),
                 number);
        return ERR_INVALID;
    }
    h->key = (struct str){ pair.p, (size_t)at };
    h->value = str_from(pair, (size_t)at + f->headers_key_separator.len);
    if (is_null(f, h->key)) {
        snprintf(error, error_len, "Header keys should not be equal to the null marker '%.*s' as they can't be null",
                 STR_ARG(f->null_marker));
        return ERR_INVALID;
    }
    if (is_null(f, h->value))
        h->value.p = NULL, h->value.len = 0;
    return OK;
}

static int headers_parse(const struct line_format *f, struct str in, int64_t number, struct line_record *out,
                         char *error,
                         size_t error_len)
{
    for (bool more = true; more;) {
        ssize_t    at = f->headers_separator.len > 0 ? str_find(in, f->headers_separator) : -1;
        struct str pair = { in.p, at < 0 ? in.len : (size_t)at };

        more = at >= 0;
        if (more)
            in = str_from(in, (size_t)at + f->headers_separator.len);
        if (!more && pair.len == 0 && out->headers_n > 0)
            break;                      /* Java's split drops what is empty at the end */
        if (out->headers_n == LINE_HEADERS_MAX) {
            snprintf(error, error_len, "More than %d headers on line number %" PRId64, LINE_HEADERS_MAX, number);
            return ERR_LIMIT;
        }
        TRY(header_parse(f, pair, number, &out->headers[out->headers_n], error, error_len));
        out->headers_n++;
    }
    return OK;
}

/* Takes what stands before the separator off the line. *part is null when the line has none and that is forgiven. */
static int part_take(const struct line_format *f, struct str *line, struct str whole, struct str separator,
                     const char *name, int64_t number, struct str *part, char *error, size_t error_len)
{
    ssize_t at = str_find(*line, separator);

    *part = (struct str){ NULL, 0 };
    if (at < 0 && f->ignore_error)
        return OK;
    if (at < 0) {
        snprintf(error, error_len, "No %s found on line number %" PRId64 ": '%.*s'", name, number, STR_ARG(whole));
        return ERR_INVALID;
    }
    *part = (struct str){ line->p, (size_t)at };
    *line = str_from(*line, (size_t)at + separator.len);
    return OK;
}

int line_parse(const struct line_format *f, struct str line, int64_t number, struct line_record *out, char *error,
               size_t error_len)
{
    struct str headers = { NULL, 0 }, whole = line;

    out->key = (struct str){ NULL, 0 };
    out->headers_n = 0;
    if (f->parse_headers)
        TRY(part_take(f, &line, whole, f->headers_delimiter, "headers delimiter", number, &headers, error,
                      error_len));
    if (f->parse_key)
        TRY(part_take(f, &line, whole, f->key_separator, "key separator", number, &out->key, error, error_len));
    out->value = line;
    if (out->key.p != NULL && is_null(f, out->key))
        out->key = (struct str){ NULL, 0 };
    if (is_null(f, out->value))
        out->value = (struct str){ NULL, 0 };
    if (headers.p != NULL && !is_null(f, headers))
        return headers_parse(f, headers, number, out, error, error_len);
    return OK;
}
