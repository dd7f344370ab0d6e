/* broker/controller/local_channel.c - the channel to the broker of this process: one thread that does the
 * requests in order, by calling the replica manager and the metadata cache. Making a thousand logs takes a
 * while; the controller goes on meanwhile, as it does when the broker is another machine.
 */
#include "broker/controller/channel.h"

#include "base/lock.h"
#include "base/log.h"
#include "base/queue.h"
#include "broker/cluster/metadata_cache.h"
#include "broker/cluster/topic_configs.h"
#include "broker/group/expiry.h"
#include "broker/replica/replicas.h"
#include "proto/gen/leader_and_isr_request.h"
#include "proto/gen/leader_and_isr_response.h"
#include "proto/gen/stop_replica_request.h"
#include "proto/gen/stop_replica_response.h"
#include "proto/gen/update_metadata_request.h"
#include "proto/kerr.h"

#include <stdlib.h>

#define LEADER_GONE (-2)                        /* in UpdateMetadata: the topic is being deleted */

struct local_channel {
    struct broker_channel    base;
    struct local_channel_opts opts;
    pthread_t                thread;
    /* under lock */
    struct lock              lock;
    struct cond              cond;
    struct control_request  *head, **tail;
    bool                     closing;
};

static int load_configs(struct local_channel *lc, struct control_request *req)
{
    const struct leader_and_isr_request *r = req->req.leader_and_isr;
    struct str *names = arena_array(&req->arena, (size_t)r->topic_states_n + 1, sizeof *names);

    if (names == NULL)
        return ERR_NOMEM;
    for (int32_t i = 0; i < r->topic_states_n; i++) {
        names[i] = r->topic_states[i].topic_name;
        if (r->topic_states[i].partition_states_n > 0 && r->topic_states[i].partition_states[0].is_new)
            topic_configs_forget(lc->opts.topic_configs, names[i]);     /* those of a deleted topic of that name */
    }
    return topic_configs_load(lc->opts.topic_configs, names, (size_t)r->topic_states_n);
}

static int do_leader_and_isr(struct local_channel *lc, struct control_request *req)
{
    req->resp.leader_and_isr = arena_zalloc(&req->arena, sizeof *req->resp.leader_and_isr);
    if (req->resp.leader_and_isr == NULL)
        return ERR_NOMEM;
    leader_and_isr_response_init(req->resp.leader_and_isr);
    TRY(load_configs(lc, req));
    return replicas_leader_and_isr(lc->opts.replicas, req->req.leader_and_isr, req->resp.leader_and_isr, &req->arena);
}

/* The groups forget the offsets of partitions that are deleted. */
static void forget_deleted(struct local_channel *lc, struct control_request *req)
{
    const struct update_metadata_request *r = req->req.update_metadata;
    struct offset_key *v;
    size_t n = 0;

    for (int32_t i = 0; i < r->topic_states_n; i++)
        for (int32_t k = 0; k < r->topic_states[i].partition_states_n; k++)
            n += r->topic_states[i].partition_states[k].leader == LEADER_GONE;
    if (n == 0 || lc->opts.groups == NULL)
        return;
    v = arena_array(&req->arena, n, sizeof *v);
    if (v == NULL) {
        log_error("consumer groups: out of memory: offsets of deleted topics stay until they expire");
        return;
    }
    n = 0;
    for (int32_t i = 0; i < r->topic_states_n; i++)
        for (int32_t k = 0; k < r->topic_states[i].partition_states_n; k++)
            if (r->topic_states[i].partition_states[k].leader == LEADER_GONE)
                v[n++] = (struct offset_key){ r->topic_states[i].topic_name,
                                              r->topic_states[i].partition_states[k].partition_index };
    groups_forget(lc->opts.groups, v, n);
}

static int do_update_metadata(struct local_channel *lc, struct control_request *req)
{
    req->resp.update_metadata = KERR_NONE;
    TRY(metadata_cache_update(lc->opts.metacache, req->req.update_metadata));
    forget_deleted(lc, req);
    return OK;
}

static int do_stop_replica(struct local_channel *lc, struct control_request *req)
{
    const struct stop_replica_request *r = req->req.stop_replica;

    req->resp.stop_replica = arena_zalloc(&req->arena, sizeof *req->resp.stop_replica);
    if (req->resp.stop_replica == NULL)
        return ERR_NOMEM;
    stop_replica_response_init(req->resp.stop_replica);
    TRY(replicas_stop_replica(lc->opts.replicas, r, req->resp.stop_replica, &req->arena));
    for (int32_t i = 0; i < r->topic_states_n; i++)
        if (r->topic_states[i].partition_states_n > 0 && r->topic_states[i].partition_states[0].delete_partition)
            topic_configs_forget(lc->opts.topic_configs, r->topic_states[i].topic_name);
    return OK;
}

static int do_request(struct local_channel *lc, struct control_request *req)
{
    switch (req->api) {
    case API_LEADER_AND_ISR:
        return do_leader_and_isr(lc, req);
    case API_UPDATE_METADATA:
        return do_update_metadata(lc, req);
    case API_STOP_REPLICA:
        return do_stop_replica(lc, req);
    default:
        return ERR_UNSUPPORTED;
    }
}

static struct control_request *next_request(struct local_channel *lc, bool *closing)
{
    struct control_request *req;

    lock_take(&lc->lock);
    while (lc->head == NULL && !lc->closing)
        cond_wait(&lc->cond, &lc->lock);
    req = lc->head;
    *closing = lc->closing;
    if (req != NULL && (lc->head = req->next) == NULL)
        lc->tail = &lc->head;
    lock_drop(&lc->lock);
    return req;
}

static void *local_main(void *arg)
{
    struct local_channel *lc = arg;
    struct control_request *req;
    bool closing;

    pthread_setname_np(pthread_self(), "local-channel");
    while ((req = next_request(lc, &closing)) != NULL) {
        req->rc = closing ? ERR_CLOSED : do_request(lc, req);
        req->done(req);
    }
    return NULL;
}

static void local_send(struct broker_channel *ch, struct control_request *req)
{
    struct local_channel *lc = (struct local_channel *)ch;

    req->next = NULL;
    lock_take(&lc->lock);
    *lc->tail = req;
    lc->tail = &req->next;
    cond_signal(&lc->cond);
    lock_drop(&lc->lock);
}

static void local_close(struct broker_channel *ch)
{
    struct local_channel *lc = (struct local_channel *)ch;

    lock_take(&lc->lock);
    lc->closing = true;
    cond_signal(&lc->cond);
    lock_drop(&lc->lock);
    pthread_join(lc->thread, NULL);
    cond_fini(&lc->cond);
    lock_fini(&lc->lock);
    free(lc);
}

int local_channel_new(struct broker_channel **out, const struct local_channel_opts *opts)
{
    struct local_channel *lc = calloc(1, sizeof *lc);

    *out = NULL;
    if (lc == NULL)
        return ERR_NOMEM;
    lc->base = (struct broker_channel){ .send = local_send, .close = local_close };
    lc->opts = *opts;
    lc->tail = &lc->head;
    lock_init(&lc->lock, LOCK_ctlqueue);
    cond_init(&lc->cond);
    if (pthread_create(&lc->thread, NULL, local_main, lc) != 0) {
        cond_fini(&lc->cond);
        lock_fini(&lc->lock);
        free(lc);
        return ERR_SYSTEM;
    }
    *out = &lc->base;
    return OK;
}
