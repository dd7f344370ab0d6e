/* broker/cluster/ibp.c - the table. */
#include "broker/cluster/ibp.h"

#include "config/version.h"
#include "proto/gen/apis.h"

#include <assert.h>
#include <string.h>

/* A version holds from `since` on, until the next line of the same request. */
static const struct row {
    int16_t     api;
    int8_t      version;
    const char *since;
} rows[] = {
    { API_FETCH, 0, "0.8.0" },                  { API_FETCH, 1, "0.9.0" },
    { API_FETCH, 2, "0.10.0-IV0" },             { API_FETCH, 3, "0.10.1-IV1" },
    { API_FETCH, 4, "0.11.0-IV0" },             { API_FETCH, 5, "0.11.0-IV1" },
    { API_FETCH, 7, "1.1-IV0" },                { API_FETCH, 8, "2.0-IV1" },
    { API_FETCH, 10, "2.1-IV2" },               { API_FETCH, 11, "2.3-IV1" },
    { API_FETCH, 12, "2.7-IV1" },               { API_FETCH, 13, "3.1-IV0" },
    { API_FETCH, 14, "3.5-IV0" },               { API_FETCH, 15, "3.5-IV1" },
    { API_FETCH, 16, "3.7-IV4" },               { API_FETCH, 17, "3.9-IV0" },

    { API_LIST_OFFSETS, 0, "0.8.0" },           { API_LIST_OFFSETS, 1, "0.10.1-IV2" },
    { API_LIST_OFFSETS, 2, "0.11.0-IV0" },      { API_LIST_OFFSETS, 3, "2.0-IV1" },
    { API_LIST_OFFSETS, 4, "2.1-IV1" },         { API_LIST_OFFSETS, 5, "2.2-IV1" },
    { API_LIST_OFFSETS, 6, "2.8-IV0" },         { API_LIST_OFFSETS, 7, "3.0-IV1" },
    { API_LIST_OFFSETS, 8, "3.5-IV0" },         { API_LIST_OFFSETS, 9, "3.9-IV0" },

    { API_OFFSET_FOR_LEADER_EPOCH, 0, "0.11.0-IV2" },
    { API_OFFSET_FOR_LEADER_EPOCH, 1, "2.0-IV0" },
    { API_OFFSET_FOR_LEADER_EPOCH, 2, "2.1-IV1" },
    { API_OFFSET_FOR_LEADER_EPOCH, 3, "2.3-IV1" },
    { API_OFFSET_FOR_LEADER_EPOCH, 4, "2.8-IV0" },

    { API_LEADER_AND_ISR, 0, "0.8.0" },         { API_LEADER_AND_ISR, 1, "1.0-IV0" },
    { API_LEADER_AND_ISR, 2, "2.2-IV0" },       { API_LEADER_AND_ISR, 3, "2.4-IV0" },
    { API_LEADER_AND_ISR, 4, "2.4-IV1" },       { API_LEADER_AND_ISR, 5, "2.8-IV1" },
    { API_LEADER_AND_ISR, 6, "3.2-IV0" },       { API_LEADER_AND_ISR, 7, "3.4-IV0" },

    { API_STOP_REPLICA, 0, "0.8.0" },           { API_STOP_REPLICA, 1, "2.2-IV0" },
    { API_STOP_REPLICA, 2, "2.4-IV1" },         { API_STOP_REPLICA, 3, "2.6-IV0" },
    { API_STOP_REPLICA, 4, "3.4-IV0" },

    { API_UPDATE_METADATA, 0, "0.8.0" },        { API_UPDATE_METADATA, 1, "0.9.0" },
    { API_UPDATE_METADATA, 2, "0.10.0-IV1" },   { API_UPDATE_METADATA, 3, "0.10.2-IV0" },
    { API_UPDATE_METADATA, 4, "1.0-IV0" },      { API_UPDATE_METADATA, 5, "2.2-IV0" },
    { API_UPDATE_METADATA, 6, "2.4-IV1" },      { API_UPDATE_METADATA, 7, "2.8-IV1" },
    { API_UPDATE_METADATA, 8, "3.4-IV0" },

    { API_CONTROLLED_SHUTDOWN, 0, "0.8.0" },    { API_CONTROLLED_SHUTDOWN, 1, "0.9.0" },
    { API_CONTROLLED_SHUTDOWN, 2, "2.2-IV0" },  { API_CONTROLLED_SHUTDOWN, 3, "2.4-IV1" },

    { API_WRITE_TXN_MARKERS, 0, "0.11.0-IV0" }, { API_WRITE_TXN_MARKERS, 1, "2.8-IV0" },

    /* Apache Kafka negotiates these with ApiVersions. Here they are the highest that every release has that may be in
     * the cluster with that inter.broker.protocol.version. */
    { API_ALTER_PARTITION, 0, "2.7-IV2" },      { API_ALTER_PARTITION, 1, "3.2-IV0" },
    { API_ALTER_PARTITION, 2, "3.3-IV0" },      { API_ALTER_PARTITION, 3, "3.5-IV0" },
    { API_ALLOCATE_PRODUCER_IDS, 0, "3.0-IV0" },
    { API_CREATE_TOPICS, 0, "0.10.1-IV0" },     { API_CREATE_TOPICS, 1, "0.10.2-IV0" },
    { API_CREATE_TOPICS, 4, "2.4-IV0" },        { API_CREATE_TOPICS, 5, "2.4-IV1" },
};

static const struct {
    enum ibp_feature feature;
    const char      *since;
} features[] = {
#define F(name, since) { name, since },
    IBP_FEATURES(F)
#undef F
};

void ibp_init(struct ibp *ibp, const char *text)
{
    int place = version_find(text, NULL);

    memset(ibp->versions, -1, sizeof ibp->versions);
    ibp->features = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (version_find(rows[i].since, NULL) <= place)
            ibp->versions[rows[i].api] = rows[i].version;
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++)
        if (version_find(features[i].since, NULL) <= place)
            ibp->features |= 1U << features[i].feature;
}

bool ibp_has(const struct ibp *ibp, enum ibp_feature feature)
{
    return (ibp->features >> feature & 1) != 0;
}

int16_t ibp_version(const struct ibp *ibp, int16_t api)
{
    assert(api >= 0 && api <= API_KEY_MAX);
    return ibp->versions[api];
}
