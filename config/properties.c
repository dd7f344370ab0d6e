/* config/properties.c - the properties parser: cut logical lines, split each at its separator, undo the escapes.
 *
 * A logical line is collected with its escapes still in it, so that the search for the separator sees which
 * characters were escaped.
 */
#include "config/properties.h"

struct reader {
    struct str text;
    size_t     at;
    int        line;            /* of text[at] */
    char      *buf;             /* the logical line; as long as the text at most */
    size_t     len;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\f';
}

static bool is_eol(char c)
{
    return c == '\n' || c == '\r';
}

static void skip_blanks(struct reader *r)
{
    while (r->at < r->text.len && is_blank(r->text.p[r->at]))
        r->at++;
}

static void skip_eol(struct reader *r)
{
    if (r->at >= r->text.len)
        return;
    if (r->text.p[r->at] == '\r' && r->at + 1 < r->text.len && r->text.p[r->at + 1] == '\n')
        r->at++;
    r->at++;
    r->line++;
}

/* To the next character that begins an entry. False at the end of the text. */
static bool skip_to_entry(struct reader *r)
{
    for (;;) {
        skip_blanks(r);
        if (r->at >= r->text.len)
            return false;
        if (r->text.p[r->at] == '#' || r->text.p[r->at] == '!')
            while (r->at < r->text.len && !is_eol(r->text.p[r->at]))
                r->at++;
        else if (!is_eol(r->text.p[r->at]))
            return true;
        skip_eol(r);
    }
}

/* One logical line into buf; a backslash that joined two lines is gone, all other escapes are kept. */
static void read_logical_line(struct reader *r)
{
    r->len = 0;
    while (r->at < r->text.len && !is_eol(r->text.p[r->at])) {
        char c = r->text.p[r->at++];

        if (c != '\\') {
            r->buf[r->len++] = c;
        } else if (r->at >= r->text.len) {
            break;                                  /* a backslash ends the file: dropped */
        } else if (is_eol(r->text.p[r->at])) {
            skip_eol(r);
            skip_blanks(r);
        } else {
            r->buf[r->len++] = c;
            r->buf[r->len++] = r->text.p[r->at++];
        }
    }
    skip_eol(r);
}

static size_t key_length(const struct reader *r)
{
    size_t i = 0;

    while (i < r->len && r->buf[i] != '=' && r->buf[i] != ':' && !is_blank(r->buf[i]))
        i += r->buf[i] == '\\' ? 2 : 1;
    return i < r->len ? i : r->len;
}

static size_t value_start(const struct reader *r, size_t key_len)
{
    size_t i = key_len;

    while (i < r->len && is_blank(r->buf[i]))
        i++;
    if (i < r->len && (r->buf[i] == '=' || r->buf[i] == ':'))
        i++;
    while (i < r->len && is_blank(r->buf[i]))
        i++;
    return i;
}

static char *put_utf8(char *o, uint32_t u)
{
    if (u < 0x80) {
        *o++ = (char)u;
    } else if (u < 0x800) {
        *o++ = (char)(0xc0 | u >> 6);
        *o++ = (char)(0x80 | (u & 0x3f));
    } else if (u < 0x10000) {
        *o++ = (char)(0xe0 | u >> 12);
        *o++ = (char)(0x80 | (u >> 6 & 0x3f));
        *o++ = (char)(0x80 | (u & 0x3f));
    } else {
        *o++ = (char)(0xf0 | u >> 18);
        *o++ = (char)(0x80 | (u >> 12 & 0x3f));
        *o++ = (char)(0x80 | (u >> 6 & 0x3f));
        *o++ = (char)(0x80 | (u & 0x3f));
    }
    return o;
}

/* Four hex digits at s[*i]; false: not there. */
static bool take_hex4(struct str s, size_t *i, uint32_t *out)
{
    uint32_t u = 0;

    if (s.len - *i < 4)
        return false;
    for (size_t end = *i + 4; *i < end; ++*i) {
        char c = s.p[*i];

        if (c >= '0' && c <= '9')
            u = u << 4 | (uint32_t)(c - '0');
        else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
            u = u << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
        else
            return false;
    }
    *out = u;
    return true;
}

/* What follows "\u": one UTF-16 unit, or two escapes that make a pair. A lone half becomes '?', as Java prints it. */
static bool take_unicode(struct str s, size_t *i, uint32_t *out)
{
    uint32_t high, low;
    size_t j;

    if (!take_hex4(s, i, &high))
        return false;
    *out = high;
    if (high < 0xd800 || high > 0xdfff)
        return true;
    *out = '?';
    j = *i + 2;
    if (high <= 0xdbff && s.len - *i >= 6 && s.p[*i] == '\\' && s.p[*i + 1] == 'u' && take_hex4(s, &j, &low) &&
        low >= 0xdc00 && low <= 0xdfff) {
        *out = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        *i = j;
    }
    return true;
}

static uint32_t plain_escape(char c)
{
    switch (c) {
    case 't': return '\t';
    case 'n': return '\n';
    case 'r': return '\r';
    case 'f': return '\f';
    default:  return (unsigned char)c;
    }
}

/* Undoes the escapes of s, Latin-1 to UTF-8. */
static const char *unescape(struct str s, struct arena *a, const char **broken)
{
    char *out = arena_alloc(a, s.len * 2 + 1), *o = out;

    if (out == NULL)
        return NULL;
    for (size_t i = 0; i < s.len;) {
        uint32_t u = (unsigned char)s.p[i++];

        if (u == '\\' && i < s.len) {
            if (s.p[i] != 'u') {
                u = plain_escape(s.p[i++]);
            } else if (i++, !take_unicode(s, &i, &u)) {
                *broken = "a \\u escape needs four hexadecimal digits";
                break;
            }
        }
        if (u == 0) {
            *broken = "a NUL character cannot be part of a property";
            break;
        }
        o = put_utf8(o, u);
    }
    *o = '\0';
    return out;
}

static int add_entry(struct reader *r, int line, struct arena *a, struct properties *out)
{
    size_t key_len = key_length(r), start = value_start(r, key_len);
    struct property *p = &out->v[out->n];

    *p = (struct property){ .line = line };
    p->key = unescape((struct str){ r->buf, key_len }, a, &p->broken);
    p->value = unescape((struct str){ r->buf + start, r->len - start }, a, &p->broken);
    if (p->key == NULL || p->value == NULL)
        return ERR_NOMEM;
    out->n++;
    return OK;
}

int properties_parse(struct str text, struct arena *a, struct properties *out)
{
    struct reader r = { .text = text, .line = 1 };
    size_t lines = 1;

    for (size_t i = 0; i < text.len; i++)
        lines += is_eol(text.p[i]);
    *out = (struct properties){ .v = arena_array(a, lines, sizeof *out->v) };
    r.buf = arena_alloc(a, text.len + 1);
    if (out->v == NULL || r.buf == NULL)
        return ERR_NOMEM;
    while (skip_to_entry(&r)) {
        int line = r.line;

        read_logical_line(&r);
        TRY(add_entry(&r, line, a, out));
    }
    return OK;
}
