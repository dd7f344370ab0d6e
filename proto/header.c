/* proto/header.c - request and response headers in the version that goes with the API. */
#include "proto/header.h"

int header_read_request(struct cursor *c, struct arena *a, struct request_header *h)
{
    struct cursor peek = *c;
    int16_t version;

    request_header_init(h);
    h->request_api_key = cur_i16(&peek);
    h->request_api_version = cur_i16(&peek);
    h->correlation_id = cur_i32(&peek);
    if (peek.rc != OK)
        return peek.rc;
    version = request_header_version(h->request_api_key, h->request_api_version);
    if (version < 0)
        return ERR_UNSUPPORTED;
    return request_header_read(c, version, a, h);
}

int header_write_request(struct chain *ch, const struct request_header *h)
{
    int16_t version = request_header_version(h->request_api_key, h->request_api_version);

    if (version < 0)
        return ERR_UNSUPPORTED;
    return request_header_write(ch, h, version);
}

int header_read_response(struct cursor *c, struct arena *a, int16_t api_key, int16_t api_version,
                         struct response_header *h)
{
    int16_t version = response_header_version(api_key, api_version);

    if (version < 0)
        return ERR_UNSUPPORTED;
    return response_header_read(c, version, a, h);
}
