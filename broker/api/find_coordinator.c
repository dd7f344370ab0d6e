/* broker/api/find_coordinator.c - FindCoordinator: which broker leads the partition of __consumer_offsets that a group
 * belongs to.
 *
 * Who asks first has the topic made. Apache Kafka answers COORDINATOR_NOT_AVAILABLE meanwhile, and the client's pause
 * before it asks again is most of the time that its first poll takes; so this request is parked until the partitions
 * have their leaders, within CREATE_MS. Others who ask in that time are told to come back.
 */
#include "base/log.h"
#include "broker/api/auto_topic.h"
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/controller/controller.h"
#include "broker/group/groups.h"
#include "proto/gen/find_coordinator_request.h"
#include "proto/gen/find_coordinator_response.h"
#include "proto/kerr.h"
#include "storage/logmgr.h"

#define CREATE_MS 5000

#define node_out find_coordinator_response_coordinator

enum key_type { KEY_GROUP, KEY_TRANSACTION, KEY_SHARE, KEY_TYPES_N };

struct find {                           /* in the request's arena */
    struct find_coordinator_request in;
    struct topic_op                 op;
    struct topic_op_topic           topic;
};

/* ---- one key ---- */

/* Somebody made the topic himself since the broker was started. */
static void tell_too_few(const struct metadata_topic *t, struct str group, int32_t partition)
{
    static struct log_limit limit = LOG_LIMIT(60000, 1);
    int hidden;

    if (log_limit(&limit, &hidden))
        log_warn("group %.*s belongs to %.*s-%d, but that topic has %d partitions: how many it is to have is settled "
                 "when the broker starts; start it again, and groups are spread over those that are there",
                 STR_ARG(group), STR_ARG(t->name), (int)partition, (int)t->partitions_n);
}

static void locate_group(struct broker *b, const struct request *r, const struct metadata *md, struct str group,
                         struct node_out *out)
{
    const struct metadata_topic *t = metadata_topic(md, groups_topic);
    const struct metadata_partition *p = NULL;
    const struct metadata_broker *leader;
    const struct metadata_endpoint *e;

    if (t != NULL) {
        int32_t partition = groups_partition_of(b->groups, group);

        p = metadata_partition(t, partition);
        if (p == NULL)
            tell_too_few(t, group, partition);
    }
    leader = p != NULL ? metadata_broker(md, p->leader) : NULL;
    e = leader != NULL ? metadata_endpoint(leader, r->listener) : NULL;
    if (e == NULL) {
        out->error_code = KERR_COORDINATOR_NOT_AVAILABLE;
        return;
    }
    out->node_id = leader->id;
    out->host = e->host;
    out->port = e->port;
}

static void tell_no_transactions(const struct request *r)
{
    static struct log_limit limit = LOG_LIMIT(60000, 1);
    char peer[REQUEST_PEER_MAX];
    int hidden;

    if (log_limit(&limit, &hidden))
        log_warn("%s %s: a producer with a transactional.id was refused: there are no transactions here; take the id "
                 "out of its configuration", r->listener.p, request_peer(r, peer));
}

static void locate(struct broker *b, const struct request *r, const struct metadata *md, int8_t type, struct str key,
                   struct node_out *out)
{
    find_coordinator_response_coordinator_init(out);
    out->key = key;
    out->node_id = -1;
    out->port = -1;
    switch (type) {
    case KEY_GROUP:
        locate_group(b, r, md, key, out);
        break;
    case KEY_TRANSACTION:
        /* Of the codes that there are this is the only one on which every client stops at once: librdkafka asks again
         * and again after all that are not about rights, until it is told to stop. */
        out->error_code = KERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
        out->error_message = STR_LIT("This broker does not coordinate transactions.");
        tell_no_transactions(r);
        break;
    case KEY_SHARE:
        out->error_code = r->version < 6 ? KERR_INVALID_REQUEST : KERR_COORDINATOR_NOT_AVAILABLE;
        break;
    default:
        out->error_code = KERR_INVALID_REQUEST;
        out->error_message = str_of(kerr_message(KERR_INVALID_REQUEST));
        break;
    }
}

/* ---- the answer ---- */

static void fill_single(struct broker *b, struct request *r, const struct metadata *md, const struct find *f,
                        struct find_coordinator_response *out)
{
    struct node_out n;

    locate(b, r, md, f->in.key_type, f->in.key, &n);
    out->error_code = n.error_code;
    out->error_message = n.error_code == KERR_NONE     ? STR_LIT("NONE")
                         : n.error_message.len > 0 ? n.error_message
                                                   : str_of(kerr_message(n.error_code));
    out->node_id = n.node_id;
    out->host = n.host;
    out->port = n.port;
}

static bool fill_batch(struct broker *b, struct request *r, const struct metadata *md, const struct find *f,
                       struct find_coordinator_response *out)
{
    out->coordinators = arena_array(&r->arena, (size_t)f->in.coordinator_keys_n + 1, sizeof *out->coordinators);
    if (out->coordinators == NULL)
        return false;
    out->coordinators_n = f->in.coordinator_keys_n;
    for (int32_t i = 0; i < out->coordinators_n; i++)
        locate(b, r, md, f->in.key_type, f->in.coordinator_keys[i], &out->coordinators[i]);
    return true;
}

static void answer(struct broker *b, struct request *r, const struct find *f)
{
    struct metadata *md = metadata_get(b->metacache);
    struct find_coordinator_response out;
    bool ok = true;

    find_coordinator_response_init(&out);
    if (r->version >= 4)
        ok = fill_batch(b, r, md, f, &out);
    else
        fill_single(b, r, md, f, &out);
    if (ok)
        API_REPLY(r, find_coordinator_response, &out);
    else
        request_close(r, "out of memory");
    metadata_put(&md);
}

/* ---- the topic ---- */

static void created(struct broker *b, struct request *r)
{
    static struct log_limit limit = LOG_LIMIT(60000, 1);
    const struct find *f = r->state;
    int hidden;

    /* Not worth a line: another request is at it, or its leaders take their time. */
    if (f->topic.error != KERR_NONE && f->topic.error != KERR_UNKNOWN_TOPIC_OR_PARTITION &&
        f->topic.error != KERR_TOPIC_ALREADY_EXISTS && f->topic.error != KERR_REQUEST_TIMED_OUT &&
        log_limit(&limit, &hidden))
        log_warn("%.*s cannot be created, so groups have no coordinator: %s", STR_ARG(groups_topic),
                 f->topic.message != NULL ? f->topic.message : kerr_message(f->topic.error));
    answer(b, r, f);
}

static void on_controller_thread(struct topic_op *op)
{
    request_resume(op->arg, created);
}

/* true: the request is parked until there is a topic. */
static bool create_topic(struct broker *b, struct request *r, struct find *f)
{
    struct metadata *md;
    bool missing;
    int rc = OK;

    if (f->in.key_type != KEY_GROUP || (r->version >= 4 && f->in.coordinator_keys_n == 0))
        return false;
    md = metadata_get(b->metacache);
    missing = metadata_topic(md, groups_topic) == NULL && logmgr_has_room(b->logs);
    f->topic = (struct topic_op_topic){ .name = groups_topic };
    if (missing)
        rc = auto_topic_shape(b, md, &r->arena, &f->topic);
    metadata_put(&md);
    if (!missing || rc != OK)
        return false;
    f->op = (struct topic_op){ .kind = TOPIC_OP_CREATE, .automatic = true, .timeout_ms = CREATE_MS,
                               .topics = &f->topic, .topics_n = 1, .arena = &r->arena,
                               .done = on_controller_thread, .arg = r };
    r->state = f;
    controller_topic_op(b->controller, &f->op);
    return true;
}

void api_find_coordinator(struct broker *b, struct request *r)
{
    struct find *f = arena_zalloc(&r->arena, sizeof *f);

    if (f == NULL) {
        request_close(r, "out of memory");
        return;
    }
    if (API_READ(r, find_coordinator_request, &f->in) && !create_topic(b, r, f))
        answer(b, r, f);
}
