/* broker/api/api_versions.c - ApiVersions: what this broker answers, and in which versions.
 *
 * A version that we do not have is answered in the layout of version 0, with the error and the range of ApiVersions
 * itself, so that the client can ask again. */
#include "broker/api/api.h"
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "proto/gen/api_versions_request.h"
#include "proto/gen/api_versions_response.h"
#include "proto/gen/apis.h"
#include "proto/kerr.h"

#include <ctype.h>

/* The version of the node /feature: it is written when the cluster is new, and without features never again. */
#define FEATURES_EPOCH 0

static struct api_versions_response_api_version range_of(const struct api_row *row)
{
    struct api_versions_response_api_version v;

    api_versions_response_api_version_init(&v);
    v.api_key = row->key;
    v.min_version = row->min;
    v.max_version = row->max;
    return v;
}

static void answer_unsupported(struct request *r)
{
    struct api_versions_response_api_version own = range_of(api_row(API_API_VERSIONS));
    struct api_versions_response out;

    api_versions_response_init(&out);
    out.error_code = KERR_UNSUPPORTED_VERSION;
    out.api_keys = &own;
    out.api_keys_n = 1;
    r->version = 0;
    API_REPLY(r, api_versions_response, &out);
}

/* Letters, digits, '-' and '.', the two last not at the ends. */
static bool software_ok(struct str s)
{
    if (s.len == 0 || !isalnum((unsigned char)s.p[0]) || !isalnum((unsigned char)s.p[s.len - 1]))
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!isalnum((unsigned char)s.p[i]) && s.p[i] != '-' && s.p[i] != '.')
            return false;
    return true;
}

void api_api_versions(struct broker *b, struct request *r)
{
    const struct api_row *own = api_row(API_API_VERSIONS);
    struct api_versions_request in;
    struct api_versions_response out;

    (void)b;
    if (r->version < own->min || r->version > own->max) {
        answer_unsupported(r);
        return;
    }
    if (!API_READ(r, api_versions_request, &in))
        return;
    api_versions_response_init(&out);
    if (r->version >= 3 && (!software_ok(in.client_software_name) || !software_ok(in.client_software_version))) {
        out.error_code = KERR_INVALID_REQUEST;
    } else {
        out.api_keys = arena_array(&r->arena, api_rows_n, sizeof *out.api_keys);
        if (out.api_keys == NULL) {
            request_close(r, err_text(ERR_NOMEM));
            return;
        }
        for (size_t i = 0; i < api_rows_n; i++)
            out.api_keys[out.api_keys_n++] = range_of(&api_rows[i]);
        out.finalized_features_epoch = FEATURES_EPOCH;
    }
    API_REPLY(r, api_versions_response, &out);
}
