/* broker/peer/leaving.c - ask, look at the answer, ask again. */
#include "broker/peer/leaving.h"

#include "base/chain.h"
#include "base/clock.h"
#include "base/log.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/cluster/standing.h"
#include "broker/net/server.h"
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
#define COME_BACK_MS    40
#define NOBODY_MS       1000            /* a broker that is being restarted is registered again by then */
#define MEMORY_MAX ((size_t)64 << 20)

static bool alone(const struct leaving_opts *o)
{
    struct metadata *md = metadata_get(o->metacache);
    size_t n;

    (void)metadata_brokers(md, &n);
    metadata_put(&md);
    return n <= 1;
}

static bool among(const int32_t *v, int32_t n, int32_t id)
{
    for (int32_t i = 0; i < n; i++)
        if (v[i] == id)
            return true;
    return false;
}

/* What becomes of the leaderships that are still here. A replica is offline, too, when its broker is stopping. */
enum outlook {
    OUTLOOK_MOVABLE,            /* somebody else is in sync */
    OUTLOOK_WAIT,               /* somebody else is there, but not in sync */
    OUTLOOK_NOBODY,             /* all other replicas are offline */
    OUTLOOK_NOTHING             /* nothing is led here that has other replicas */
};

static enum outlook outlook_of(const struct metadata_partition *p, int32_t us)
{
    enum outlook best = OUTLOOK_NOBODY;

    if (p->leader != us || p->replicas_n <= 1)
        return OUTLOOK_NOTHING;
    for (int32_t i = 0; i < p->replicas_n; i++)
        if (p->replicas[i] != us && !among(p->offline, p->offline_n, p->replicas[i])) {
            if (among(p->isr, p->isr_n, p->replicas[i]))
                return OUTLOOK_MOVABLE;
            best = OUTLOOK_WAIT;
        }
    return best;
}

static enum outlook look_out(const struct leaving_opts *o)
{
    struct metadata *md = metadata_get(o->metacache);
    enum outlook best = OUTLOOK_NOTHING;
    const struct metadata_topic *t;
    size_t pos = 0;

    while ((t = metadata_next_topic(md, &pos)) != NULL)
        for (int32_t i = 0; i < t->partitions_n; i++) {
            enum outlook is = outlook_of(&t->partitions[i], o->broker_id);

            if (is < best)
                best = is;
        }
    metadata_put(&md);
    return best;
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

static bool other_controller(const struct leaving_opts *o, const struct controller_link *link)
{
    struct metadata *md = metadata_get(o->metacache);
    bool other = metadata_controller(md) != controller_link_to(link);

    metadata_put(&md);
    return other;
}

/* Until the time has passed, or things are other than they were: another controller, or somebody has come into an ISR.
 * false: there has been nobody for so long that nobody seems to be coming. */
static bool pause_for(const struct leaving_opts *o, struct controller_link *link, enum outlook before, int64_t ms)
{
    int64_t began_ms = mono_ms(), met_ms = began_ms, now_ms = began_ms;
    enum outlook now;

    for (; now_ms < began_ms + ms && !alone(o); now_ms = mono_ms()) {
        int64_t left = began_ms + ms - now_ms;

        now = look_out(o);
        if (now != OUTLOOK_NOBODY)
            met_ms = now_ms;
        if (now_ms >= met_ms + NOBODY_MS)
            return false;
        if (now == OUTLOOK_MOVABLE && before != now)
            return true;
        before = now;
        if (controller_link_wait(link, -1, left < LOOK_MS ? left : LOOK_MS) != ERR_TIMEOUT ||
            other_controller(o, link))
            return true;
    }
    return true;
}

/* The connections go when everybody has been told who leads: clients whose connection ends ask at once (librdkafka does
 * so sooner than after a refused request), and one that is told of the old leader once more waits for half a second.
 * They go twice: librdkafka asks only if it is connected to somebody else at that moment, else it connects to somebody,
 * comes back to us, and asks nobody for a quarter of a second, or until the connection ends again. */
static void see_off(const struct leaving_opts *o, struct controller_link *link)
{
    int64_t end_ms = mono_ms() + SEE_OFF_MAX_MS;
    int rc = ERR_TIMEOUT;

    while (rc == ERR_TIMEOUT && leads_any(o) && mono_ms() < end_ms)
        rc = controller_link_wait(link, -1, LOOK_SOON_MS);
    if (rc == ERR_TIMEOUT)
        rc = controller_link_wait(link, -1, SEE_OFF_MS);
    if (rc != ERR_TIMEOUT || o->net == NULL)
        return;
    server_send_away(o->net);
    (void)!controller_link_wait(link, -1, COME_BACK_MS);
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
        enum outlook before = look_out(o);
        int answer = ask(o, link, &a);

        arena_reset(&a);
        if (answer == OK) {
            log_info("leaderships moved to other brokers in %lld ms", (long long)(mono_ms() - began_ms));
            see_off(o, link);
            break;
        }
        if (left > 1 && pause_for(o, link, before, cfg->controlled_shutdown_retry_backoff_ms))
            continue;
        if (look_out(o) == OUTLOOK_NOBODY)
            log_info("stopping: what is still led here has no other replica that is alive and not stopping itself; it "
                     "has no leader until this broker is started again");
        else
            log_warn("stopping without having moved all leaderships; their partitions have no leader until the "
                     "controller notices");
        break;
    }
    arena_fini(&a);
    controller_link_free(&link);
}
