/* base/uuid.h - 128-bit ids in Kafka's text form: 22 characters of URL-safe base64 without padding. */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include "base/bytes.h"
#include "base/err.h"

#define UUID_TEXT_LEN 22

struct uuid {
    uint8_t b[16];
};

static inline bool uuid_is_zero(struct uuid u)
{
    static const struct uuid zero;
    return memcmp(&u, &zero, sizeof u) == 0;
}

static inline bool uuid_eq(struct uuid a, struct uuid b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

void uuid_text(struct uuid u, char out[UUID_TEXT_LEN + 1]);
int  uuid_parse(struct str text, struct uuid *out) must_use;    /* ERR_INVALID */

/* Random (RFC 4122 version 4); never one that Kafka reserves, never one whose text begins with '-', which
 * command lines would take for an option. */
struct uuid uuid_random(void);

#endif
