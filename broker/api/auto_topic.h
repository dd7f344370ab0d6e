/* broker/api/auto_topic.h - the shape of a topic that comes to be because somebody needs it: as Apache Kafka makes
 * it.
 */
#ifndef BROKER_API_AUTO_TOPIC_H
#define BROKER_API_AUTO_TOPIC_H

#include "base/arena.h"
#include "base/err.h"

struct broker;
struct metadata;
struct topic_op_topic;

/* Partitions, replicas and settings for t->name; what they need lies in the arena. Internal topics have settings of
 * their own. */
int auto_topic_shape(const struct broker *b, const struct metadata *md, struct arena *a,
                     struct topic_op_topic *t) must_use;

#endif
