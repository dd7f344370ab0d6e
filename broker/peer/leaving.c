/* broker/peer/leaving.c - ask, look at the answer, ask again. */
#include "broker/peer/leaving.h"

#include "base/chain.h"
#include "base/clock.h"
#include "base/log.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/cluster/standing.h"
#include "broker/peer/controller_link.h"
#include "config/config.h"
#include "proto/gen/apis.h"
#include "proto/gen/controlled_shutdown_request.h"
#include "proto/gen/controlled_shutdown_response.h"
#include "proto/kerr.h"

#define BODY_MAX   64
#define LOOK_MS    100

#define LOOK_SOON_MS    5
#define SEE_OFF_MS      10
#define SEE_OFF_MAX_MS  1000
#define MEMORY_MAX ((size_t)64 << 20)

static bool alone(const struct leaving_opts *o)
{
    struct metadata *md = metadata_get(o->metacache);
    size_t n;

    (void)metadata_brokers(md, &n);
    metadata_put(&md);
    return n <= 1;
}

static bool leads_any(const struct leaving_opts *o)
{
    struct metadata *md = metadata_get(o->metacache);
    const struct metadata_topic *t;
    bool leads = false;
    size_t pos = 0;

    while (!leads && (t = metadata_next_topic(md, &pos)) != NULL)
        for (int32_t i = 0; i < t->partitions_n && !leads; i++)
            leads = t->partitions[i].leader == o->broker_id;
    metadata_put(&md);
    return leads;
}

/* Until the time has passed, or things are other than they were. */
static void pause_for(const struct leaving_opts *o, struct controller_link *link, int64_t ms)
{
    int64_t end_ms = mono_ms() + ms, left;

    while ((left = end_ms - mono_ms()) > 0 && !alone(o)) {
        struct metadata *md = metadata_get(o->metacache);
        bool other = metadata_controller(md) != controller_link_to(link);

        metadata_put(&md);
        if (controller_link_wait(link, -1, left < LOOK_MS ? left : LOOK_MS) != ERR_TIMEOUT || other)
            break;
    }
}

/* The connections go when everybody has been told who leads: clients whose connection ends ask at once (librdkafka does
 * so sooner than after a refused request), and one that is told of the old leader once more waits for half a second. */
static void see_off(const struct leaving_opts *o, struct controller_link *link)
{
    int64_t end_ms = mono_ms() + SEE_OFF_MAX_MS;

    while (leads_any(o) && mono_ms() < end_ms)
        if (controller_link_wait(link, -1, LOOK_SOON_MS) != ERR_TIMEOUT)
            return;
    pause_for(o, link, SEE_OFF_MS);
}

static int encode(const struct leaving_opts *o, struct arena *a, int16_t version, uint8_t body[BODY_MAX], size_t *len)
{
    struct controlled_shutdown_request req;
    struct chain ch;
    int rc;

    controlled_shutdown_request_init(&req);
    req.broker_id = o->broker_id;
    req.broker_epoch = version >= 2 ? standing_broker_epoch(o->standing) : -1;
    chain_init(&ch, a);
    rc = controlled_shutdown_request_write(&ch, &req, version);
    if (rc == OK)
        rc = ch.len <= BODY_MAX ? chain_flatten(&ch, body, ch.len) : ERR_TOO_LARGE;
    *len = ch.len;
    chain_fini(&ch);
    return rc;
}

/* OK: nothing is led here any more. ERR_AGAIN: something is, or the controller would not. */
static int ask(const struct leaving_opts *o, struct controller_link *link, struct arena *a)
{
    int16_t version = ibp_version(&o->ibp, API_CONTROLLED_SHUTDOWN);
    struct controlled_shutdown_response resp;
    uint8_t body[BODY_MAX];
    struct bytes answer;
    struct cursor c;
    size_t len;

    TRY(encode(o, a, version, body, &len));
    TRY(controller_link_call(link, API_CONTROLLED_SHUTDOWN, version, (struct bytes){ body, len }, 0, &answer));
    c = cur_ro(answer.p, answer.len);
    TRY(controlled_shutdown_response_read(&c, version, a, &resp));
    if (resp.error_code != KERR_NONE)
        log_info("stopping: the controller, broker %d, does not move our leaderships: %s", controller_link_to(link),
                 kerr_name(resp.error_code));
    else if (resp.remaining_partitions_n > 0)
        log_info("stopping: %d partitions are still led here (%.*s-%d first): no other replica of them is in sync",
                 resp.remaining_partitions_n, STR_ARG(resp.remaining_partitions[0].topic_name),
                 resp.remaining_partitions[0].partition_index);
    return resp.error_code == KERR_NONE && resp.remaining_partitions_n == 0 ? OK : ERR_AGAIN;
}

void leave_cluster(const struct leaving_opts *o)
{
    const struct config *cfg = o->cfg;
    struct controller_link_opts lo = { .cfg = cfg, .metacache = o->metacache, .broker_id = o->broker_id,
                                       .timeout_ms = cfg->controller_socket_timeout_ms, .what = "stopping" };
    struct controller_link *link;
    int64_t began_ms = mono_ms();
    struct arena a;
    int rc;

    if (!cfg->controlled_shutdown_enable)
        return;
    rc = controller_link_new(&link, &lo);
    arena_init(&a, MEMORY_MAX);
    for (int left = cfg->controlled_shutdown_max_retries; rc == OK && left > 0 && !alone(o); left--) {
        int answer = ask(o, link, &a);

        arena_reset(&a);
        if (answer == OK) {
            log_info("leaderships moved to other brokers in %lld ms", (long long)(mono_ms() - began_ms));
            see_off(o, link);
            break;
        }
        if (left == 1)
            log_warn("stopping without having moved all leaderships; their partitions have no leader until the "
                     "controller notices");
        else
            pause_for(o, link, cfg->controlled_shutdown_retry_backoff_ms);
    }
    arena_fini(&a);
    controller_link_free(&link);
}
