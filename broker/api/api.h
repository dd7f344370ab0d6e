/* broker/api/api.h - from a frame to the handler of its API. */
#ifndef BROKER_API_API_H
#define BROKER_API_API_H

struct broker;
struct request;

/* Decodes the request header and runs the handler. An unknown key, a version outside the range (but for ApiVersions) or
 * a malformed header closes the connection. Runs on an IO thread. */
void api_dispatch(struct broker *b, struct request *r);

#endif
