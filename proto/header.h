/* proto/header.h - what precedes the body of every request and response.
 *
 * The version of the header follows from API and version of the body, which stand at its beginning: see
 * request_header_version() in proto/gen/apis.h.
 *
 * OWNER   client_id points into the cursor's bytes, unknown tags into the arena.
 * FAILURE ERR_SHORT, ERR_CORRUPT, ERR_NOMEM; ERR_UNSUPPORTED for a key that we do not know: key, version and
 *         correlation id are filled in then.
 */
#ifndef PROTO_HEADER_H
#define PROTO_HEADER_H

#include "proto/gen/apis.h"
#include "proto/gen/request_header.h"
#include "proto/gen/response_header.h"

/* Leaves the cursor at the body. */
int header_read_request(struct cursor *c, struct arena *a, struct request_header *h) must_use;

/* For clients: h->request_api_key and _version select the header's version. */
int header_write_request(struct chain *ch, const struct request_header *h) must_use;
int header_read_response(struct cursor *c, struct arena *a, int16_t api_key, int16_t api_version,
                         struct response_header *h) must_use;

#endif
