/* broker/api/api.c - the dispatch table, and what all handlers share: the request header, decoding, answering.
 *
 * The table is broker/api/handlers.def. What has no row there is not advertised, and asking for it closes the
 * connection, as Apache Kafka does with keys that it does not know. */
#include "broker/api/api.h"

#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "base/log.h"
#include "proto/header.h"

const struct api_row api_rows[] = {
#define H(key, min, max, handler) { key, min, max, handler },
#include "broker/api/handlers.def"
#undef H
};
const size_t api_rows_n = sizeof api_rows / sizeof api_rows[0];

const struct api_row *api_row(int16_t key)
{
    size_t lo = 0, hi = api_rows_n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (api_rows[mid].key == key)
            return &api_rows[mid];
        if (api_rows[mid].key < key)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static void refuse_unknown(struct request *r)
{
    const char *what = api_info(r->api_key) != NULL ? "is not served here" : "is unknown";
    const char *why = arena_printf(&r->arena, "API key %d %s; the peer speaks another protocol, or is too new",
                                   r->api_key, what);

    request_close(r, why != NULL ? why : "unknown API key");
}

static void refuse_version(struct request *r, const struct api_row *row)
{
    const char *why = arena_printf(&r->arena, "version %d is not supported, only %d to %d; the client did not ask for "
                                   "ApiVersions first", r->version, row->min, row->max);

    request_close(r, why != NULL ? why : "unsupported version");
}

void api_dispatch(struct broker *b, struct request *r)
{
    const struct api_row *row;
    struct request_header h;
    int rc = header_read_request(&r->body, &r->arena, &h);

    r->api_key = h.request_api_key;
    r->version = h.request_api_version;
    r->correlation_id = h.correlation_id;
    row = api_row(r->api_key);
    if (row == NULL) {
        refuse_unknown(r);
        return;
    }
    if (rc == OK)
        rc = arena_str(&r->arena, h.client_id.p != NULL ? h.client_id : STR_LIT(""), &r->client_id);
    if (rc != OK) {
        request_close(r, rc == ERR_NOMEM ? err_text(rc) : "the request header cannot be decoded");
        return;
    }
    r->response_header_version = response_header_version(r->api_key, r->version);
    if ((r->version < row->min || r->version > row->max) && r->api_key != API_API_VERSIONS) {
        refuse_version(r, row);
        return;
    }
    row->handler(b, r);
}

bool reply_decoded(struct request *r, int rc)
{
    const char *why;

    if (rc == OK)
        return true;
    why = arena_printf(&r->arena, "the request's body cannot be decoded: %s", err_text(rc));
    request_close(r, why != NULL ? why : err_text(rc));
    return false;
}

void reply_send(struct request *r, struct chain *out, int rc)
{
    if (rc == OK) {
        request_reply(r, out);
        return;
    }
    log_error("%s v%d: the answer cannot be written: %s", api_name(r->api_key), r->version, err_text(rc));
    chain_fini(out);
    request_close(r, "no answer could be made; see the line before");
}
