/* broker/peer/control_codec.c - the requests are not changed: what a version needs differently is a copy. */
#include "broker/peer/control_codec.h"

#include "base/chain.h"
#include "proto/gen/leader_and_isr_request.h"
#include "proto/gen/leader_and_isr_response.h"
#include "proto/gen/stop_replica_request.h"
#include "proto/gen/stop_replica_response.h"
#include "proto/gen/update_metadata_request.h"
#include "proto/gen/update_metadata_response.h"
#include "proto/kerr.h"

#include <stdlib.h>

#define lai_state       leader_and_isr_request_leader_and_isr_partition_state
#define lai_topic       leader_and_isr_request_leader_and_isr_topic_state
#define lai_error       leader_and_isr_response_leader_and_isr_partition_error
#define lai_topic_error leader_and_isr_response_leader_and_isr_topic_error
#define um_state        update_metadata_request_update_metadata_partition_state
#define um_broker       update_metadata_request_update_metadata_broker
#define stop_v0         stop_replica_request_stop_replica_partition_v0
#define stop_v1         stop_replica_request_stop_replica_topic_v1
#define stop_topic      stop_replica_request_stop_replica_topic_state
#define stop_error      stop_replica_response_stop_replica_partition_error

/* One body: what `write` has put into the chain, in one piece. */
static int flatten(struct arena *a, struct chain *ch, int rc, struct control_wire *out)
{
    uint8_t *p = NULL;

    if (rc == OK) {
        p = arena_alloc(a, ch->len + 1);
        rc = p == NULL ? ERR_NOMEM : chain_flatten(ch, p, ch->len);
    }
    if (rc == OK)
        out->parts[out->parts_n++] = (struct bytes){ p, ch->len };
    chain_fini(ch);
    return rc;
}

/* ---- LeaderAndIsr ---- */

/* Version 0 and 1: one list; before 6 nobody is told that a leader is recovering. */
static int lai_adapt(struct arena *a, int16_t version, struct leader_and_isr_request *r)
{
    struct lai_topic *topics;
    struct lai_state *all;
    size_t total = 0, at = 0;

    if (version >= 6)
        return OK;
    for (int32_t i = 0; i < r->topic_states_n; i++)
        total += (size_t)r->topic_states[i].partition_states_n;
    all = arena_array(a, total + 1, sizeof *all);
    topics = arena_array(a, (size_t)r->topic_states_n + 1, sizeof *topics);
    if (all == NULL || topics == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < r->topic_states_n; i++) {
        topics[i] = r->topic_states[i];
        topics[i].partition_states = all + at;
        for (int32_t k = 0; k < topics[i].partition_states_n; k++, at++) {
            all[at] = r->topic_states[i].partition_states[k];
            all[at].topic_name = topics[i].topic_name;
            all[at].leader_recovery_state = 0;
        }
    }
    r->topic_states = topics;
    if (version < 2) {
        r->topic_states_n = 0;
        r->ungrouped_partition_states = all;
        r->ungrouped_partition_states_n = (int32_t)total;
    }
    return OK;
}

static int lai_encode(struct control_request *req, int16_t version, struct control_wire *out)
{
    struct leader_and_isr_request r = *req->req.leader_and_isr;
    struct chain ch;

    TRY(lai_adapt(&req->arena, version, &r));
    chain_init(&ch, &req->arena);
    return flatten(&req->arena, &ch, leader_and_isr_request_write(&ch, &r, version), out);
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct lai_error *)a)->topic_name, ((const struct lai_error *)b)->topic_name);
}

/* Before version 5 the answers come as one list in any order: to be given to the topics as they were asked. */
static int lai_regroup(struct control_request *req, struct leader_and_isr_response *resp)
{
    const struct leader_and_isr_request *r = req->req.leader_and_isr;
    struct lai_error *v = resp->partition_errors;
    int32_t n = resp->partition_errors_n;

    resp->topics = arena_array(&req->arena, (size_t)r->topic_states_n + 1, sizeof *resp->topics);
    if (resp->topics == NULL)
        return ERR_NOMEM;
    if (n > 1)
        qsort(v, (size_t)n, sizeof *v, by_name);
    for (resp->topics_n = 0; resp->topics_n < r->topic_states_n; resp->topics_n++) {
        struct lai_topic_error *t = &resp->topics[resp->topics_n];
        struct lai_error key = { .topic_name = r->topic_states[resp->topics_n].topic_name };
        int32_t lo = 0, hi = n;

        while (lo < hi) {
            int32_t mid = lo + (hi - lo) / 2;

            if (by_name(&v[mid], &key) < 0)
                lo = mid + 1;
            else
                hi = mid;
        }
        leader_and_isr_response_leader_and_isr_topic_error_init(t);
        t->topic_id = r->topic_states[resp->topics_n].topic_id;
        t->partition_errors = v + lo;
        while (lo < n && by_name(&v[lo], &key) == 0) {
            lo++;
            t->partition_errors_n++;
        }
    }
    return OK;
}

static int lai_decode(struct control_request *req, int16_t version, struct cursor *c)
{
    struct leader_and_isr_response *resp = arena_zalloc(&req->arena, sizeof *resp);

    if (resp == NULL)
        return ERR_NOMEM;
    TRY(leader_and_isr_response_read(c, version, &req->arena, resp));
    if (version < 5)
        TRY(lai_regroup(req, resp));
    req->resp.leader_and_isr = resp;
    return OK;
}

/* ---- UpdateMetadata ---- */

static int um_flatten(struct arena *a, struct update_metadata_request *r)
{
    struct um_state *all;
    size_t total = 0, at = 0;

    for (int32_t i = 0; i < r->topic_states_n; i++)
        total += (size_t)r->topic_states[i].partition_states_n;
    all = arena_array(a, total + 1, sizeof *all);
    if (all == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < r->topic_states_n; i++)
        for (int32_t k = 0; k < r->topic_states[i].partition_states_n; k++, at++) {
            all[at] = r->topic_states[i].partition_states[k];
            all[at].topic_name = r->topic_states[i].topic_name;
        }
    r->topic_states_n = 0;
    r->ungrouped_partition_states = all;
    r->ungrouped_partition_states_n = (int32_t)total;
    return OK;
}

/* Version 0 has one address for each broker: that of its plain listener. */
static int um_addresses(struct arena *a, struct update_metadata_request *r)
{
    struct um_broker *v = arena_array(a, (size_t)r->live_brokers_n + 1, sizeof *v);

    if (v == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < r->live_brokers_n; i++) {
        v[i] = r->live_brokers[i];
        for (int32_t k = v[i].endpoints_n - 1; k >= 0; k--)
            if (v[i].endpoints[k].security_protocol == 0) {
                v[i].v0_host = v[i].endpoints[k].host;
                v[i].v0_port = v[i].endpoints[k].port;
            }
    }
    r->live_brokers = v;
    return OK;
}

static int um_encode(struct control_request *req, int16_t version, struct control_wire *out)
{
    struct update_metadata_request r = *req->req.update_metadata;
    struct chain ch;

    if (version < 5)
        TRY(um_flatten(&req->arena, &r));
    if (version == 0)
        TRY(um_addresses(&req->arena, &r));
    chain_init(&ch, &req->arena);
    return flatten(&req->arena, &ch, update_metadata_request_write(&ch, &r, version), out);
}

static int um_decode(struct control_request *req, int16_t version, struct cursor *c)
{
    struct update_metadata_response resp;

    TRY(update_metadata_response_read(c, version, &req->arena, &resp));
    req->resp.update_metadata = resp.error_code;
    return OK;
}

/* ---- StopReplica ---- */

static int stop_write(struct control_request *req, const struct stop_replica_request *r, int16_t version,
                      struct control_wire *out)
{
    struct chain ch;

    chain_init(&ch, &req->arena);
    return flatten(&req->arena, &ch, stop_replica_request_write(&ch, r, version), out);
}

/* The partitions that are to be deleted, or those that are not. */
static int stop_old(struct control_request *req, int16_t version, bool delete_them, struct control_wire *out)
{
    const struct stop_replica_request *in = req->req.stop_replica;
    struct stop_replica_request r = *in;
    struct stop_v0 *flat;
    size_t total = 0;

    for (int32_t i = 0; i < in->topic_states_n; i++)
        total += (size_t)in->topic_states[i].partition_states_n;
    r.topics = arena_array(&req->arena, (size_t)in->topic_states_n + 1, sizeof *r.topics);
    flat = arena_array(&req->arena, total + 1, sizeof *flat);
    if (r.topics == NULL || flat == NULL)
        return ERR_NOMEM;
    r.delete_partitions = delete_them;
    r.topic_states = NULL;
    r.topic_states_n = 0;
    r.ungrouped_partitions = flat;
    for (int32_t i = 0; i < in->topic_states_n; i++) {
        const struct stop_topic *t = &in->topic_states[i];
        struct stop_v1 *to = &r.topics[r.topics_n];

        to->name = t->topic_name;
        to->partition_indexes = arena_array(&req->arena, (size_t)t->partition_states_n + 1, sizeof(int32_t));
        if (to->partition_indexes == NULL)
            return ERR_NOMEM;
        for (int32_t k = 0; k < t->partition_states_n; k++) {
            int32_t index = t->partition_states[k].partition_index;

            if (t->partition_states[k].delete_partition != delete_them)
                continue;
            to->partition_indexes[to->partition_indexes_n++] = index;
            flat[r.ungrouped_partitions_n++] = (struct stop_v0){ t->topic_name, index };
        }
        r.topics_n += to->partition_indexes_n > 0;
    }
    if (r.ungrouped_partitions_n == 0)
        return OK;
    if (version == 0)
        r.topics_n = 0;
    else
        r.ungrouped_partitions_n = 0;
    return stop_write(req, &r, version, out);
}

static int stop_encode(struct control_request *req, int16_t version, struct control_wire *out)
{
    if (version >= 3)
        return stop_write(req, req->req.stop_replica, version, out);
    TRY(stop_old(req, version, true, out));
    return stop_old(req, version, false, out);
}

static int stop_decode(struct control_request *req, int16_t version, struct cursor *c)
{
    struct stop_replica_response *first = req->resp.stop_replica, *resp;
    struct stop_error *all;
    size_t n, more;

    resp = arena_zalloc(&req->arena, sizeof *resp);
    if (resp == NULL)
        return ERR_NOMEM;
    TRY(stop_replica_response_read(c, version, &req->arena, resp));
    if (first == NULL) {
        req->resp.stop_replica = resp;
        return OK;
    }
    n = (size_t)first->partition_errors_n;
    more = (size_t)resp->partition_errors_n;
    all = arena_array(&req->arena, n + more + 1, sizeof *all);
    if (all == NULL)
        return ERR_NOMEM;
    if (n > 0)
        memcpy(all, first->partition_errors, n * sizeof *all);
    if (more > 0)
        memcpy(all + n, resp->partition_errors, more * sizeof *all);
    first->partition_errors = all;
    first->partition_errors_n += resp->partition_errors_n;
    if (first->error_code == KERR_NONE)
        first->error_code = resp->error_code;
    return OK;
}

/* ---- by kind ---- */

static const struct codec {
    int16_t api;
    int   (*encode)(struct control_request *req, int16_t version, struct control_wire *out);
    int   (*decode)(struct control_request *req, int16_t version, struct cursor *c);
} codecs[] = {
    { API_LEADER_AND_ISR, lai_encode, lai_decode },
    { API_UPDATE_METADATA, um_encode, um_decode },
    { API_STOP_REPLICA, stop_encode, stop_decode },
};

static const struct codec *codec_of(int16_t api)
{
    for (size_t i = 0; i < sizeof codecs / sizeof codecs[0]; i++)
        if (codecs[i].api == api)
            return &codecs[i];
    return NULL;
}

int control_encode(struct control_request *req, int16_t version, struct control_wire *out)
{
    const struct codec *codec = codec_of(req->api);

    *out = (struct control_wire){ .version = version };
    return codec != NULL && version >= 0 ? codec->encode(req, version, out) : ERR_UNSUPPORTED;
}

int control_decode(struct control_request *req, int16_t version, struct bytes answer)
{
    uint8_t *copy = arena_alloc(&req->arena, answer.len + 1);   /* names in the answer point into it */
    struct cursor c;

    if (copy == NULL)
        return ERR_NOMEM;
    if (answer.len > 0)
        memcpy(copy, answer.p, answer.len);
    c = cur_ro(copy, answer.len);
    return codec_of(req->api)->decode(req, version, &c);
}
