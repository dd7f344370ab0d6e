/* broker/cluster/ibp.h - what inter.broker.protocol.version means: which version of each request this broker sends to
 * other brokers, and which features the brokers of the cluster share. As Apache Kafka 3.9 has it: the versions of these
 * requests are fixed, not negotiated.
 *
 * OWNER   a value; made from the property's text once, and copied freely.
 * LOCKS   none: immutable.
 */
#ifndef BROKER_CLUSTER_IBP_H
#define BROKER_CLUSTER_IBP_H

#include <stdbool.h>
#include <stdint.h>

/* F(name, since) */
#define IBP_FEATURES(F)                                                                                                \
    F(IBP_REGISTRATION_V4, "0.10.0-IV1")        /* listener_security_protocol_map in /brokers/ids/N */                 \
    F(IBP_FEATURE_VERSIONS, "2.7-IV0")          /* registration version 5; /feature is enabled */                      \
    F(IBP_TRUNCATE_ON_FETCH, "2.7-IV1")         /* diverging epochs in Fetch */                                        \
    F(IBP_ALTER_PARTITION, "2.7-IV2")           /* the controller changes ISRs */                                      \
    F(IBP_TOPIC_IDS, "2.8-IV0")                                                                                        \
    F(IBP_ALLOCATE_PRODUCER_IDS, "3.0-IV0")     /* the controller gives out producer ids */                            \
    F(IBP_LEADER_RECOVERY, "3.2-IV0")           /* leader_recovery_state */                                            \
    F(IBP_FEATURE_NODE_V2, "3.3-IV0")           /* /feature in version 2 */                                            \
    F(IBP_KRAFT_FIELDS, "3.4-IV0")              /* in control requests and /controller */

#define F(name, since) name,
enum ibp_feature { IBP_FEATURES(F) IBP_FEATURE_N };
#undef F

struct ibp {
    uint32_t features;          /* bits by enum ibp_feature */
    int8_t   versions[72];      /* by enum api_key; -1: not sent */
};

/* text: a value of inter.broker.protocol.version, which config/ has checked. */
void ibp_init(struct ibp *ibp, const char *text);

bool    ibp_has(const struct ibp *ibp, enum ibp_feature feature);
int16_t ibp_version(const struct ibp *ibp, int16_t api);       /* -1: brokers of that version do not have the request */

#endif
