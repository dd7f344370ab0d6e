/* broker/api/api.h - from a frame to the handler of its API. */
#ifndef BROKER_API_API_H
#define BROKER_API_API_H

#include <stddef.h>
#include <stdint.h>

struct broker;
struct request;

struct api_row {
    int16_t key, min, max;
    void  (*handler)(struct broker *, struct request *);
};

extern const struct api_row api_rows[];         /* by rising key: what is advertised */
extern const size_t         api_rows_n;

const struct api_row *api_row(int16_t key);     /* NULL: no handler */

/* Decodes the request header and runs the handler. An unknown key, a version outside the range (but for ApiVersions) or
 * a malformed header closes the connection. Runs on an IO thread. */
void api_dispatch(struct broker *b, struct request *r);

#endif
