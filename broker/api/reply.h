/* broker/api/reply.h - decoding a request's body and answering with a generated message, for all handlers alike.
 *
 *     struct list_offsets_request in;
 *     struct list_offsets_response out;
 *
 *     if (!API_READ(r, list_offsets_request, &in))
 *         return;                             (the request has been ended)
 *     list_offsets_response_init(&out);
 *     ...
 *     API_REPLY(r, list_offsets_response, &out);
 *
 * What is decoded points into the body and r->arena. The response is written in full by API_REPLY, so the struct may be
 * on the stack, but byte runs it refers to must live until it is sent: in r->arena, in the body, or static. With
 * API_REPLY_COPY they need not outlive the call: for what lies in memory that others may change.
 */
#ifndef BROKER_API_REPLY_H
#define BROKER_API_REPLY_H

#include "broker/net/request.h"

/* When rc is not OK both end the request: its connection is closed, with the reason in the log. true: go on. */
bool reply_decoded(struct request *r, int rc) must_use;
void reply_send(struct request *r, struct chain *out, int rc);

#define API_READ(r, message, in) reply_decoded((r), message##_read(&(r)->body, (r)->version, &(r)->arena, (in)))

#define API_REPLY(r, message, resp)      API_REPLY_WITH(r, message, resp, false)
#define API_REPLY_COPY(r, message, resp) API_REPLY_WITH(r, message, resp, true)

#define API_REPLY_WITH(r, message, resp, copy)                                              \
    do {                                                                                    \
        struct chain reply_out_;                                                            \
        chain_init(&reply_out_, &(r)->arena);                                               \
        reply_out_.copies = (copy);                                                         \
        int reply_rc_ = message##_write(&reply_out_, (resp), (r)->version);                 \
        reply_send((r), &reply_out_, reply_rc_);                                            \
    } while (0)

#endif
