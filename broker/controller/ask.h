/* broker/controller/ask.h - what other brokers and administrators ask the controller: one request, one answer.
 *
 * The handlers of broker/api decode and authorise a request and hand it over as it is (the generated structs of
 * proto/); the controller answers into the response's struct. A controller that is not active answers NOT_CONTROLLER.
 * Each kind has a row in ask.c: the event that does it.
 *
 * OWNER   the controller has the ask from controller_ask() until done(); everything in it is memory of `arena`, which
 *         the controller's thread uses meanwhile.
 * THREADS any thread asks; done() comes on the controller's thread, or from inside controller_ask(): it must only post.
 * FAILURE in the response, in Kafka's codes. After done(), ask->rc is OK, or ERR_NOMEM: there is no answer.
 */
#ifndef BROKER_CONTROLLER_ASK_H
#define BROKER_CONTROLLER_ASK_H

#include "base/arena.h"
#include "base/err.h"

struct controller;

/* A(kind, request and response struct stem) */
#define CONTROLLER_ASKS(A)                                                                                             \
    A(ASK_ALTER_PARTITION, alter_partition)                                                                            \
    A(ASK_CONTROLLED_SHUTDOWN, controlled_shutdown)                                                                    \
    A(ASK_ELECT_LEADERS, elect_leaders)                                                                                \
    A(ASK_ALTER_REASSIGNMENTS, alter_partition_reassignments)                                                          \
    A(ASK_LIST_REASSIGNMENTS, list_partition_reassignments)                                                            \
    A(ASK_PRODUCER_IDS, allocate_producer_ids)

#define A(kind, stem) kind,
enum controller_ask_kind { CONTROLLER_ASKS(A) CONTROLLER_ASK_N };
#undef A

struct controller_ask {
    enum controller_ask_kind kind;
    int16_t                  version;           /* of the request: some answers depend on it */
    const void              *req;               /* struct <stem>_request */
    void                    *resp;              /* struct <stem>_response, initialised */
    struct arena            *arena;
    void                   (*done)(struct controller_ask *);
    void                    *arg;
    int                      rc;
    void                    *state;             /* the controller's */
};

void controller_ask(struct controller *c, struct controller_ask *ask);

#endif
