/* tools/verifiable/event.c - JSON lines. */
#include "tools/verifiable/event.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

json_t *event_new(const char *name)
{
    return json_pack("{s:I, s:s}", "timestamp", (json_int_t)wall_ms(), "name", name);
}

/* Bytes of the UTF-8 character at p, 0: it is none. */
static size_t character(const uint8_t *p, size_t left)
{
    size_t   n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
             : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
    uint32_t lowest = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    uint32_t highest = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;

    if (n > left)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if (p[i] < (i == 1 ? lowest : 0x80) || p[i] > (i == 1 ? highest : 0xbf))
            return 0;
    }
    return n;
}

json_t *event_text(struct bytes b)
{
    json_t *j;
    char   *text;
    size_t  len = 0;

    if (b.p == NULL)
        return json_null();
    j = json_stringn((const char *)b.p, b.len);     /* fails when it is no UTF-8 */
    if (j != NULL)
        return j;
    text = malloc(3 * b.len + 1);
    if (text == NULL)
        return NULL;
    for (size_t i = 0, n; i < b.len; i += n > 0 ? n : 1) {
        n = character(b.p + i, b.len - i);
        memcpy(text + len, n > 0 ? (const char *)b.p + i : "\xef\xbf\xbd", n > 0 ? n : 3);
        len += n > 0 ? n : 3;
    }
    j = json_stringn(text, len);
    free(text);
    return j;
}

void event_print(json_t *e)
{
    if (e == NULL)
        return;
    json_dumpf(e, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(e);
}
