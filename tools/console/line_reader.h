/* tools/console/line_reader.h - lines of standard input, and what is in a line: headers, key, value.
 *
 * OWNER    struct lines owns its buffer; a line is valid until the next call. A parsed line borrows the line,
 *          its headers lie in the caller's array.
 * LOCKS    none: one thread.
 * FAILURE  ERR_INVALID with a sentence in Kafka's words; ERR_IO when input cannot be read; ERR_NOMEM.
 */
#ifndef TOOLS_CONSOLE_LINE_READER_H
#define TOOLS_CONSOLE_LINE_READER_H

#include "base/bytes.h"
#include "base/err.h"

/* Lines end with LF, CR or CR LF, as Java reads them; the last one may have no end. */
struct lines {
    int    fd;
    char  *buf;
    size_t cap, from, to;       /* unread bytes are buf[from, to) */
    bool   skip_lf;             /* the last line ended with CR */
    bool   eof;
};

void lines_init(struct lines *l, int fd);
void lines_fini(struct lines *l);
int  lines_next(struct lines *l, struct str *out) must_use;     /* ERR_CLOSED at the end */

/* The reader's properties (parse.key and so on). The texts are borrowed. */
struct line_format {
    bool       parse_key, parse_headers, ignore_error;
    struct str key_separator, headers_delimiter, headers_separator, headers_key_separator;
    struct str null_marker;     /* p NULL: none */
};

void line_format_init(struct line_format *f);
/* One property; those that are not the reader's are passed over, as Kafka's reader does. */
void line_format_set(struct line_format *f, struct str name, struct str value);
/* ERR_INVALID: separators that cannot be told apart; *why says which. */
int  line_format_check(const struct line_format *f, const char **why) must_use;

#define LINE_HEADERS_MAX 1000

struct line_header {
    struct str key, value;      /* value.p NULL: null */
};

struct line_record {
    struct str         key, value;      /* p NULL: null */
    struct line_header headers[LINE_HEADERS_MAX];
    size_t             headers_n;
};

/* `number` of the line is for the message. */
int line_parse(const struct line_format *f, struct str line, int64_t number, struct line_record *out, char *error,
               size_t error_len) must_use;

#endif
