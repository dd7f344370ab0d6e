/* broker/net/sniff.c - what the first bytes of a peer that does not speak our protocol look like. */
#include "broker/net/net_priv.h"

static const struct {
    const char *start;
    size_t      len;
    const char *text;
} looks[] = {
#define HTTP "an HTTP request came to a port of Kafka's protocol; look for the web or metrics port instead"
    { "\x16\x03", 2, "a TLS handshake came to a PLAINTEXT listener; set security.protocol=PLAINTEXT in the client" },
    { "GET ", 4, HTTP },
    { "POST", 4, HTTP },
    { "PUT ", 4, HTTP },
    { "HEAD", 4, HTTP },
    { "DELE", 4, HTTP },
    { "OPTI", 4, HTTP },
    { "PATC", 4, HTTP },
    { "CONN", 4, HTTP },
    { "PRI ", 4, HTTP },
    { "SSH-", 4, "an SSH client came to a port of Kafka's protocol" },
#undef HTTP
};

const char *sniff(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < sizeof looks / sizeof looks[0]; i++)
        if (n >= looks[i].len && memcmp(p, looks[i].start, looks[i].len) == 0)
            return looks[i].text;
    return NULL;
}
