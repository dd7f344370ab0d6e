/* tools/consumer_groups/jvm.h - what the output of Apache Kafka's command owes to its language: the order in which a
 * hash table gives its entries, columns counted in UTF-16 units, and the names of exceptions.
 *
 * Scripts compare and cut this output, so ours is the same to the byte.
 *
 * LOCKS    none: one thread.
 * FAILURE  ERR_NOMEM.
 */
#ifndef TOOLS_CONSUMER_GROUPS_JVM_H
#define TOOLS_CONSUMER_GROUPS_JVM_H

#include "base/arena.h"

/* UTF-16 units of a text; a byte that is no UTF-8 counts as one. */
size_t   jvm_length(struct str s);
/* String.hashCode(). */
uint32_t jvm_hash(struct str s);
/* Prints the text and blanks up to `width` units, as "%-<width>s" does. */
void     jvm_pad(struct str s, size_t width);

/* Puts n elements into the order in which a hash table gives them that they were put into one after the other.
 * `room`: what the table was made for at least; it grows when it is full to three quarters. */
#define JVM_ROOM 16                     /* of a table that was made for nothing in particular */
typedef uint32_t (*jvm_hash_of)(const void *element);
int jvm_order(void *v, size_t n, size_t size, size_t room, jvm_hash_of hash, struct arena *a) must_use;

/* "org.apache.kafka.common.errors.GroupNotEmptyException" of NON_EMPTY_GROUP. */
const char *jvm_exception(int16_t kerr, char *out, size_t out_len);
/* What Apache Kafka's client says of a code, where people or scripts know the words; else ours. */
const char *jvm_message(int16_t kerr);

#endif
