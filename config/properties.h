/* config/properties.h - the syntax of a Java properties file, in full.
 *
 * Lines end at \n, \r or \r\n; blank lines and lines whose first character is # or ! are skipped; an odd number of
 * backslashes at a line's end joins the next line, without its leading blanks. The key ends at the first unescaped
 * '=', ':' or blank; blanks around the separator are dropped, blanks at the value's end are kept. \t \n \r \f \uXXXX;
 * a backslash before anything else is dropped. The bytes are Latin-1; keys and values come out as UTF-8.
 *
 * OWNER    entries and their texts live in the caller's arena.
 * LOCKS    none.
 * FAILURE  a broken \u escape or a NUL spoils its own entry only: `broken` says why, the rest is read on.
 */
#ifndef CONFIG_PROPERTIES_H
#define CONFIG_PROPERTIES_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/err.h"

struct property {
    const char *key, *value;
    int         line;           /* where its first line is; from 1 */
    const char *broken;         /* NULL, or what is wrong with it; key and value are then as far as they went */
};

struct properties {
    struct property *v;         /* in the order of the file, every one of them (the last of equal keys counts) */
    size_t           n;
};

int properties_parse(struct str text, struct arena *a, struct properties *out) must_use;       /* ERR_NOMEM */

#endif
