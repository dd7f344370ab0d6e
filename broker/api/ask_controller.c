/* broker/api/ask_controller.c - what other brokers ask of the controller: AlterPartition, ControlledShutdown and
 * AllocateProducerIds. The request is handed over as it is (broker/controller/ask.h) and parked; the answer comes on
 * the controller's thread.
 */
#include "broker/api/handlers.h"
#include "broker/api/reply.h"
#include "broker/broker.h"
#include "broker/controller/ask.h"
#include "proto/gen/allocate_producer_ids_request.h"
#include "proto/gen/allocate_producer_ids_response.h"
#include "proto/gen/alter_partition_request.h"
#include "proto/gen/alter_partition_response.h"
#include "proto/gen/controlled_shutdown_request.h"
#include "proto/gen/controlled_shutdown_response.h"

/* The three functions of one kind: api_<stem>() is its row in handlers.def. */
#define ASK_HANDLER(stem, ask_kind)                                                                                    \
    static void stem##_done(struct controller_ask *ask)                                                                \
    {                                                                                                                  \
        struct request *r = ask->arg;                                                                                  \
                                                                                                                       \
        if (ask->rc == OK)                                                                                             \
            API_REPLY(r, stem##_response, (struct stem##_response *)ask->resp);                                        \
        else                                                                                                           \
            request_close(r, err_text(ask->rc));                                                                       \
    }                                                                                                                  \
                                                                                                                       \
    void api_##stem(struct broker *b, struct request *r)                                                               \
    {                                                                                                                  \
        struct controller_ask *ask = arena_zalloc(&r->arena, sizeof *ask);                                             \
        struct stem##_request *in = arena_zalloc(&r->arena, sizeof *in);                                               \
        struct stem##_response *out = arena_zalloc(&r->arena, sizeof *out);                                            \
                                                                                                                       \
        if (ask == NULL || in == NULL || out == NULL) {                                                                \
            request_close(r, "out of memory");                                                                         \
            return;                                                                                                    \
        }                                                                                                              \
        if (!API_READ(r, stem##_request, in))                                                                          \
            return;                                                                                                    \
        stem##_response_init(out);                                                                                     \
        *ask = (struct controller_ask){ .kind = ask_kind, .version = r->version, .req = in, .resp = out,               \
                                        .arena = &r->arena, .done = stem##_done, .arg = r };                           \
        controller_ask(b->controller, ask);                                                                            \
    }

ASK_HANDLER(alter_partition, ASK_ALTER_PARTITION)
ASK_HANDLER(controlled_shutdown, ASK_CONTROLLED_SHUTDOWN)
ASK_HANDLER(allocate_producer_ids, ASK_PRODUCER_IDS)
