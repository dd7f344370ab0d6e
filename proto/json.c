/* proto/json.c - primitive types in Apache Kafka's JSON form. */
#include "proto/json.h"

#include <math.h>
#include <openssl/evp.h>
#include <stdlib.h>

/* The length of the UTF-8 sequence at p, 0 when it is malformed. */
static size_t utf8_len(const uint8_t *p, size_t left)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;

    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

static json_t *str_mended(struct str s)
{
    char *out = malloc(3 * s.len + 1);
    size_t n = 0;
    json_t *v;

    if (out == NULL)
        return NULL;
    for (size_t i = 0; i < s.len;) {
        size_t len = utf8_len((const uint8_t *)s.p + i, s.len - i);

        if (len > 0) {
            memcpy(out + n, s.p + i, len);
            n += len;
            i += len;
        } else {
            memcpy(out + n, "\xef\xbf\xbd", 3);
            n += 3;
            i++;
        }
    }
    v = json_stringn(out, n);
    free(out);
    return v;
}

json_t *json_of_str(struct str s)
{
    json_t *v;

    if (s.p == NULL)
        return json_null();
    v = json_stringn(s.p, s.len);
    return v != NULL ? v : str_mended(s);
}

json_t *json_of_bytes(struct bytes b)
{
    char *out;
    json_t *v;

    if (b.p == NULL)
        return json_null();
    if (b.len > INT32_MAX / 2)
        return NULL;
    out = malloc(4 * ((b.len + 2) / 3) + 1);
    if (out == NULL)
        return NULL;
    v = json_stringn(out, (size_t)EVP_EncodeBlock((unsigned char *)out, b.p, (int)b.len));
    free(out);
    return v;
}

json_t *json_of_uuid(struct uuid u)
{
    char text[UUID_TEXT_LEN + 1];

    uuid_text(u, text);
    return json_string(text);
}

json_t *json_of_double(double v)
{
    if (isnan(v))
        return json_string("NaN");
    if (isinf(v))
        return json_string(v > 0 ? "Infinity" : "-Infinity");
    return json_real(v);
}

json_t *json_list(int32_t n)
{
    return n < 0 ? json_null() : json_array();
}
