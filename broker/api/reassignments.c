/* broker/api/reassignments.c - AlterPartitionReassignments and ListPartitionReassignments: handed over to the
 * controller and parked until it answers. A broker that is not the controller answers NOT_CONTROLLER; clients look for
 * the one that is.
 */
#include "broker/api/asked.h"
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "broker/controller/ask.h"
#include "proto/gen/alter_partition_reassignments_request.h"
#include "proto/gen/alter_partition_reassignments_response.h"
#include "proto/gen/list_partition_reassignments_request.h"
#include "proto/gen/list_partition_reassignments_response.h"
#include "proto/kerr.h"

#define alter_in  alter_partition_reassignments_request
#define alter_out alter_partition_reassignments_response
#define topic_in  alter_partition_reassignments_request_reassignable_topic
#define part_in   alter_partition_reassignments_request_reassignable_partition
#define list_in   list_partition_reassignments_request
#define list_out  list_partition_reassignments_response

static struct controller_ask *ask_new(struct request *r, enum controller_ask_kind kind, size_t in_size, size_t out_size,
                                      void **in, void **out)
{
    struct controller_ask *ask = arena_zalloc(&r->arena, sizeof *ask);

    *in = arena_zalloc(&r->arena, in_size);
    *out = arena_zalloc(&r->arena, out_size);
    if (ask == NULL || *in == NULL || *out == NULL) {
        request_close(r, "out of memory");
        return NULL;
    }
    *ask = (struct controller_ask){ .kind = kind, .version = r->version, .req = *in, .resp = *out, .arena = &r->arena,
                                    .arg = r };
    return ask;
}

/* ---- AlterPartitionReassignments ------------------------------------------------------------ */

/* Of a partition that is named more than once the last one counts; topics without partitions are not answered. */
static const struct asked_shape shape = {
    sizeof(struct topic_in), offsetof(struct topic_in, name), offsetof(struct topic_in, partitions),
    offsetof(struct topic_in, partitions_n), sizeof(struct part_in), offsetof(struct part_in, partition_index),
};

static void alter_done(struct controller_ask *ask)
{
    struct request *r = ask->arg;
    struct alter_out *out = ask->resp;

    if (ask->rc != OK) {
        request_close(r, err_text(ask->rc));
        return;
    }
    if (out->error_code != KERR_NONE)
        out->error_message = str_of(kerr_message(out->error_code));
    API_REPLY(r, alter_partition_reassignments_response, out);
}

void api_alter_partition_reassignments(struct broker *b, struct request *r)
{
    void *in, *out;
    struct controller_ask *ask = ask_new(r, ASK_ALTER_REASSIGNMENTS, sizeof(struct alter_in), sizeof(struct alter_out),
                                         &in, &out);

    if (ask == NULL || !API_READ(r, alter_partition_reassignments_request, in))
        return;
    if (asked_once(&r->arena, &shape, ((struct alter_in *)in)->topics, &((struct alter_in *)in)->topics_n) != OK) {
        request_close(r, "out of memory");
        return;
    }
    alter_partition_reassignments_response_init(out);
    ask->done = alter_done;
    controller_ask(b->controller, ask);
}

/* ---- ListPartitionReassignments ------------------------------------------------------------ */

static void list_done(struct controller_ask *ask)
{
    struct request *r = ask->arg;
    struct list_out *out = ask->resp;

    if (ask->rc != OK) {
        request_close(r, err_text(ask->rc));
        return;
    }
    if (out->error_code != KERR_NONE)
        out->error_message = str_of(kerr_message(out->error_code));
    API_REPLY(r, list_partition_reassignments_response, out);
}

void api_list_partition_reassignments(struct broker *b, struct request *r)
{
    void *in, *out;
    struct controller_ask *ask = ask_new(r, ASK_LIST_REASSIGNMENTS, sizeof(struct list_in), sizeof(struct list_out),
                                         &in, &out);

    if (ask == NULL || !API_READ(r, list_partition_reassignments_request, in))
        return;
    list_partition_reassignments_response_init(out);
    ask->done = list_done;
    controller_ask(b->controller, ask);
}
