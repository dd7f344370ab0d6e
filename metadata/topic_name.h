/* metadata/topic_name.h - what a topic may be called. Pure functions; the sentences are Apache Kafka's. */
#ifndef METADATA_TOPIC_NAME_H
#define METADATA_TOPIC_NAME_H

#include "base/bytes.h"

#define TOPIC_NAME_MAX 249              /* characters */

/* NULL: a legal name; else what follows "Topic name is invalid: ", in buf or static. */
const char *topic_name_fault(struct str name, char *buf, size_t size);

bool topic_name_internal(struct str name);      /* __consumer_offsets, __transaction_state, __share_group_state */
bool topic_name_may_collide(struct str name);           /* contains '.' or '_' */
bool topic_name_collides(struct str a, struct str b);   /* equal once '.' is '_' (names of metrics) */

#endif
