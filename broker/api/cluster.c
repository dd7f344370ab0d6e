/* broker/api/cluster.c - DescribeCluster. */
#include "broker/api/authorized.h"
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "broker/cluster/metadata_cache.h"
#include "proto/gen/describe_cluster_request.h"
#include "proto/gen/describe_cluster_response.h"
#include "proto/kerr.h"

enum { ENDPOINT_BROKER = 1, ENDPOINT_CONTROLLER = 2 };

/* false: the answer is an error. */
static bool endpoint_ok(const struct request *r, int8_t type, struct arena *a, struct describe_cluster_response *out)
{
    if (type == ENDPOINT_BROKER)
        return true;
    if (type == ENDPOINT_CONTROLLER) {
        out->error_code = KERR_MISMATCHED_ENDPOINT_TYPE;
        out->error_message = STR_LIT("The request was sent to an endpoint of type BROKER, but we wanted an endpoint of "
                                     "type CONTROLLER");
    } else {
        out->error_code = KERR_UNSUPPORTED_ENDPOINT_TYPE;
        out->error_message = str_of(arena_printf(a, "Unsupported endpoint type %d", type));
    }
    if (r->version == 0)
        out->error_code = KERR_INVALID_REQUEST;
    return false;
}

static bool fill(struct broker *b, struct request *r, const struct metadata *md, struct describe_cluster_response *out)
{
    size_t n;
    const struct metadata_broker *brokers = metadata_brokers(md, &n);

    out->brokers = arena_array(&r->arena, n + 1, sizeof *out->brokers);
    if (out->brokers == NULL)
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct metadata_endpoint *e = metadata_endpoint(&brokers[i], r->listener);
        struct describe_cluster_response_describe_cluster_broker *to = &out->brokers[out->brokers_n];

        if (e == NULL)
            continue;
        describe_cluster_response_describe_cluster_broker_init(to);
        to->broker_id = brokers[i].id;
        to->host = e->host;
        to->port = e->port;
        to->rack = brokers[i].rack;
        out->brokers_n++;
        if (to->broker_id == metadata_controller(md))
            out->controller_id = to->broker_id;
    }
    out->cluster_id = str_of(b->cluster_id);
    return true;
}

void api_describe_cluster(struct broker *b, struct request *r)
{
    struct describe_cluster_request in;
    struct describe_cluster_response out;
    struct metadata *md;
    bool ok = true;

    if (!API_READ(r, describe_cluster_request, &in))
        return;
    describe_cluster_response_init(&out);
    out.controller_id = -1;
    md = metadata_get(b->metacache);
    if (endpoint_ok(r, in.endpoint_type, &r->arena, &out)) {
        ok = fill(b, r, md, &out);
        if (in.include_cluster_authorized_operations)
            out.cluster_authorized_operations = AUTHORIZED_CLUSTER;
    } else {
        out.cluster_id = STR_LIT("");
    }
    if (ok)
        API_REPLY(r, describe_cluster_response, &out);
    else
        request_close(r, "out of memory");
    metadata_put(&md);
}
