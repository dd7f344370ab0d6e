/* broker/api/stored_offsets.h - the offsets of ZooKeeper days (version 0 of OffsetCommit and OffsetFetch): decimal
 * text in the metadata store, at /consumers/<group>/offsets/<topic>/<partition>. No members, no expiry.
 *
 * OWNER    everything lies in the request's arena; the request is parked meanwhile and then resumed on an IO thread.
 * FAILURE  error of each: UNKNOWN_SERVER_ERROR, as Apache Kafka says for whatever ZooKeeper answers.
 */
#ifndef BROKER_API_STORED_OFFSETS_H
#define BROKER_API_STORED_OFFSETS_H

#include "broker/net/request.h"

#include <stdatomic.h>

struct broker;

struct stored_offset {
    struct str topic;
    int32_t    partition;
    int64_t    offset;                  /* to be put, or found; -1: there is none */
    int16_t    error;
    /* stored_offsets.c's */
    struct stored_offsets *all;
    const char *path;                   /* NULL: it cannot be one */
    int         rc;
};

struct stored_offsets {
    struct broker         *b;
    struct request        *r;
    struct str             group;
    struct stored_offset  *v;
    size_t                 n;
    void                 (*then)(struct broker *b, struct request *r);
    /* stored_offsets.c's */
    atomic_size_t          left;        /* calls that have not been answered, and one while they are being made */
    void                 (*answered)(struct broker *b, struct request *r);
};

/* r->state must be s. */
void stored_offsets_get(struct stored_offsets *s);
void stored_offsets_put(struct stored_offsets *s);

#endif
