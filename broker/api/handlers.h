/* broker/api/handlers.h - the handlers of all requests; one file for each family.
 *
 * A handler runs on an IO thread with the request header decoded and the version checked. It decodes r->body
 * (broker/api/reply.h: API_READ), does its work, and ends the request (API_REPLY), now or later, from any thread.
 * It may block on locks and the page cache, never on the network and never on a sync.
 */
#ifndef BROKER_API_HANDLERS_H
#define BROKER_API_HANDLERS_H

struct broker;
struct request;

#define H(key, min, max, handler) void handler(struct broker *b, struct request *r);
#include "broker/api/handlers.def"
#undef H

#endif
