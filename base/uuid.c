/* base/uuid.c */
#include "base/uuid.h"

#include <stdlib.h>
#include <sys/random.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void uuid_text(struct uuid u, char out[UUID_TEXT_LEN + 1])
{
    uint32_t acc = 0;
    unsigned bits = 0;
    char *o = out;

    for (size_t i = 0; i < sizeof u.b; i++) {
        acc = (acc << 8) | u.b[i];
        for (bits += 8; bits >= 6; bits -= 6)
            *o++ = alphabet[(acc >> (bits - 6)) & 63];
    }
    *o++ = alphabet[(acc << (6 - bits)) & 63];
    *o = '\0';
}

int uuid_parse(struct str text, struct uuid *out)
{
    uint32_t acc = 0;
    unsigned bits = 0;
    size_t n = 0;

    *out = (struct uuid){ { 0 } };
    if (text.len != UUID_TEXT_LEN)
        return ERR_INVALID;
    for (size_t i = 0; i < text.len; i++) {
        const char *at = text.p[i] != '\0' ? strchr(alphabet, text.p[i]) : NULL;
        if (at == NULL)
            return ERR_INVALID;
        acc = (acc << 6) | (uint32_t)(at - alphabet);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out->b[n++] = (uint8_t)(acc >> bits);
        }
    }
    return OK;
}

struct uuid uuid_random(void)
{
    struct uuid u;
    char text[UUID_TEXT_LEN + 1];

    do {
        if (getrandom(u.b, sizeof u.b, 0) != (ssize_t)sizeof u.b)
            abort();
        u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40);
        u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
        uuid_text(u, text);
    } while (text[0] == '-');
    return u;
}
