/* proto/kerr.c - the error codes of the protocol, from kerr.def. */
#include "proto/kerr.h"

#include "base/err.h"

#include <stddef.h>

static const struct kerr_def {
    const char *name, *text;
    bool        retriable;
} table[] = {
#define K(code, name, retriable, text) [(code) + 1] = { #name, text, retriable },
#include "proto/kerr.def"
#undef K
};

static const struct kerr_def *find(int16_t code)
{
    size_t i = (size_t)(code + 1);

    return code >= -1 && i < sizeof table / sizeof table[0] ? &table[i] : &table[0];
}

const char *kerr_name(int16_t code)
{
    return find(code)->name;
}

const char *kerr_message(int16_t code)
{
    return find(code)->text;
}

bool kerr_retriable(int16_t code)
{
    return find(code)->retriable;
}

int16_t kerr_of(int rc)
{
    switch (rc) {
#define R(rc, code) case rc: return code;
#include "proto/kerr.def"
#undef R
    default:
        return KERR_UNKNOWN_SERVER_ERROR;
    }
}
