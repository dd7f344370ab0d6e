/* proto/generator/schema.h - message definitions as the generator holds them.
 *
 * proto/schema/README.md describes the files. OWNER: everything read lives until the program ends; it runs once
 * and is short. FAILURE: a definition that is wrong ends the program with a message that names file and field.
 */
#ifndef PROTO_GENERATOR_SCHEMA_H
#define PROTO_GENERATOR_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VERSION_OPEN INT16_MAX      /* upper end of "3+" */

struct range {                      /* versions lo..hi; lo > hi: none */
    int lo, hi;
};

enum kind { K_BOOL, K_INT8, K_INT16, K_UINT16, K_INT32, K_INT64, K_FLOAT64, K_UUID, K_STRING, K_BYTES, K_RECORDS,
            K_STRUCT };

struct field {
    const char    *name;            /* as in Kafka's definitions, e.g. TopicId */
    const char    *json_name;       /* topicId */
    const char    *c_name;          /* topic_id */
    enum kind      kind;            /* of the elements, when it is an array */
    bool           array;
    struct shape *type;            /* K_STRUCT */
    struct range   versions, nullable;
    int            tag;             /* -1: not a tagged field */
    bool           ignorable;       /* may be dropped where the version cannot carry it */
    bool           classic;         /* never in the compact encoding */
    bool           default_null;
    int64_t        default_number;
};

struct shape {
    const char     *name, *c_name;  /* PartitionData, fetch_response_partition_data */
    struct message *message;
    struct range    versions;       /* within those of the message */
    struct field   *fields;
    size_t          n;
    bool            needs_is_default;
    struct shape  *next;           /* in the message: one that is used by value comes before its user */
};

struct message {
    const char     *name, *c_name;  /* FetchResponse, fetch_response */
    const char     *file;
    int             key;            /* -1: not a request or response */
    bool            is_request;
    struct range    versions, flexible;
    struct shape  *root;
    struct shape  *structs;        /* all, the root last */
    size_t          weight;         /* how much code it makes: its fields */
};

struct schema {
    struct message **messages;      /* by API key, request before response; the others last */
    size_t           n;
};

void schema_load(struct schema *s, const char *const *files, size_t n);

struct range range_and(struct range a, struct range b);
bool         range_empty(struct range r);
bool         range_covers(struct range outer, struct range inner);

/* The fewest bytes that one element takes on the wire in any version; at least 1. */
size_t field_min_element(const struct field *f, const struct shape *in);

const char *snake_case(const char *name);       /* TopicId -> topic_id; a C keyword gets a trailing underscore */
const char *upper_snake(const char *name);      /* TopicId -> TOPIC_ID */
_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void *xalloc(size_t n);                         /* zeroed; never NULL */
char *xprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
