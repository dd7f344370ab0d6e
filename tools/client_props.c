/* tools/client_props.c - reading --command-config. */
#include "tools/client_props.h"

#include "tools/props.h"

#include <strings.h>

static int number(const struct props *p, const char *name, int32_t *out, char *error, size_t error_len)
{
    struct str v = props_get(p, name);
    char       text[24];
    int64_t    n;

    if (v.p == NULL)
        return OK;
    snprintf(text, sizeof text, "%.*s", STR_ARG(v));
    if (v.len >= sizeof text || parse_i64(text, 0, INT32_MAX, &n) != OK) {
        snprintf(error, error_len, "Invalid value %.*s for configuration %s: Not a number of type INT",
                 STR_ARG(v), name);
        return ERR_INVALID;
    }
    *out = (int32_t)n;
    return OK;
}

int client_props_load(struct client_conf *conf, const char *file, struct arena *a, char *error, size_t error_len)
{
    struct props p = { NULL, 0, 0 };
    struct str   protocol, id;

    TRY(props_add_file(&p, file, a, error, error_len));
    protocol = props_get(&p, "security.protocol");
    if (protocol.p != NULL && !(protocol.len == 9 && strncasecmp(protocol.p, "PLAINTEXT", 9) == 0)) {
        snprintf(error, error_len, "%s: security.protocol=%.*s: this command can speak PLAINTEXT only as yet", file,
                 STR_ARG(protocol));
        return ERR_UNSUPPORTED;
    }
    TRY(number(&p, "request.timeout.ms", &conf->request_timeout_ms, error, error_len));
    TRY(number(&p, "default.api.timeout.ms", &conf->api_timeout_ms, error, error_len));
    TRY(number(&p, "retry.backoff.ms", &conf->retry_backoff_ms, error, error_len));
    id = props_get(&p, "client.id");
    if (id.p != NULL && id.len > 0 && (conf->client_id = arena_cstr(a, id)) == NULL)
        return ERR_NOMEM;
    return OK;
}
