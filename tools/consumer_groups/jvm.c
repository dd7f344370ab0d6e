/* tools/consumer_groups/jvm.c - hash order, columns, exceptions. */
#include "tools/consumer_groups/jvm.h"

#include "proto/kerr.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* The code point at *i, which moves on. A byte that begins no proper sequence stands for itself as U+FFFD. */
static uint32_t next_point(struct str s, size_t *i)
{
    const uint8_t *p = (const uint8_t *)s.p + *i;
    size_t         left = s.len - *i, more = p[0] >= 0xf0 ? 3 : p[0] >= 0xe0 ? 2 : 1;
    uint32_t       point = p[0];

    (*i)++;
    if (point < 0x80)
        return point;
    if (point < 0xc2 || point > 0xf4 || more >= left)
        return 0xfffd;
    point &= 0x3fU >> more;
    for (size_t k = 1; k <= more; k++) {
        if ((p[k] & 0xc0) != 0x80)
            return 0xfffd;
        point = point << 6 | (p[k] & 0x3fU);
    }
    *i += more;
    return point;
}

size_t jvm_length(struct str s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len;)
        n += next_point(s, &i) > 0xffff ? 2 : 1;
    return n;
}

uint32_t jvm_hash(struct str s)
{
    uint32_t h = 0;

    for (size_t i = 0; i < s.len;) {
        uint32_t point = next_point(s, &i);

        if (point > 0xffff) {
            h = 31 * h + (0xd800 + ((point - 0x10000) >> 10));
            point = 0xdc00 + ((point - 0x10000) & 0x3ff);
        }
        h = 31 * h + point;
    }
    return h;
}

void jvm_pad(struct str s, size_t width)
{
    size_t n = jvm_length(s);

    fwrite(s.p != NULL ? s.p : "", 1, s.len, stdout);
    for (; n < width; n++)
        putchar(' ');
}

struct place {
    uint32_t bucket;
    size_t   at;
};

static int place_compare(const void *pa, const void *pb)
{
    const struct place *a = pa, *b = pb;

    if (a->bucket != b->bucket)
        return a->bucket < b->bucket ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

/* Within a bucket entries stand as they came, also after the table has grown. */
int jvm_order(void *v, size_t n, size_t size, size_t room, jvm_hash_of hash, struct arena *a)
{
    uint32_t      slots = 1;
    struct place *places;
    uint8_t      *sorted;

    if (n < 2)
        return OK;
    while ((slots < room || n > slots * 3 / 4) && slots < 1U << 30)
        slots *= 2;
    places = arena_array(a, n, sizeof *places);
    sorted = arena_array(a, n, size);
    if (places == NULL || sorted == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        uint32_t h = hash((const uint8_t *)v + i * size);
        places[i] = (struct place){ (h ^ h >> 16) & (slots - 1), i };
    }
    qsort(places, n, sizeof *places, place_compare);
    for (size_t i = 0; i < n; i++)
        memcpy(sorted + i * size, (const uint8_t *)v + places[i].at * size, size);
    memcpy(v, sorted, n * size);
    return OK;
}

/* Names that do not follow from the code's, and texts that are known. */
static const struct {
    int16_t     kerr;
    const char *name, *message;
} known[] = {
    { KERR_UNKNOWN_TOPIC_OR_PARTITION, NULL, "This server does not host this topic-partition." },
    { KERR_COORDINATOR_LOAD_IN_PROGRESS, NULL, "The coordinator is loading and hence can't process requests." },
    { KERR_COORDINATOR_NOT_AVAILABLE, NULL, "The coordinator is not available." },
    { KERR_NOT_COORDINATOR, NULL, "This is not the correct coordinator." },
    { KERR_INVALID_GROUP_ID, NULL, "The configured groupId is invalid." },
    { KERR_UNKNOWN_MEMBER_ID, NULL, "The coordinator is not aware of this member." },
    { KERR_NON_EMPTY_GROUP, "errors.GroupNotEmptyException", "The group is not empty." },
    { KERR_GROUP_ID_NOT_FOUND, NULL, "The group id does not exist." },
    { KERR_GROUP_SUBSCRIBED_TO_TOPIC, NULL, "Deleting offsets of a topic is forbidden while the consumer group is "
        "actively subscribed to it." },
    { KERR_GROUP_AUTHORIZATION_FAILED, "errors.GroupAuthorizationException", "Group authorization failed." },
    { KERR_TOPIC_AUTHORIZATION_FAILED, "errors.TopicAuthorizationException", "Topic authorization failed." },
    { KERR_CLUSTER_AUTHORIZATION_FAILED, "errors.ClusterAuthorizationException", "Cluster authorization failed." },
    { KERR_OFFSET_METADATA_TOO_LARGE, "errors.OffsetMetadataTooLarge", "The metadata field of the offset request "
        "was too large." },
    { KERR_INVALID_TOPIC_EXCEPTION, "errors.InvalidTopicException", "The request attempted to perform an operation "
        "on an invalid topic." },
    { KERR_REQUEST_TIMED_OUT, "errors.TimeoutException", "The request timed out." },
    { KERR_UNSUPPORTED_VERSION, NULL, "The version of API is not supported." },
    { KERR_UNKNOWN_SERVER_ERROR, "errors.UnknownServerException", "The server experienced an unexpected error "
        "when processing the request." },
};

const char *jvm_exception(int16_t kerr, char *out, size_t out_len)
{
    size_t n = (size_t)snprintf(out, out_len, "org.apache.kafka.common.");
    bool   first = true;

    if (strcmp(kerr_name(kerr), kerr_name(KERR_UNKNOWN_SERVER_ERROR)) == 0)
        kerr = KERR_UNKNOWN_SERVER_ERROR;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (known[i].kerr == kerr && known[i].name != NULL) {
            snprintf(out + n, out_len - n, "%s", known[i].name);
            return out;
        }
    }
    n += (size_t)snprintf(out + n, out_len - n, "errors.");
    for (const char *p = kerr_name(kerr); *p != '\0' && n + 1 < out_len; p++) {
        if (*p != '_')
            out[n++] = (char)(first ? *p : tolower((unsigned char)*p));
        first = *p == '_';
    }
    snprintf(out + n, out_len - n, "Exception");
    return out;
}

const char *jvm_message(int16_t kerr)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (known[i].kerr == kerr && known[i].message != NULL)
            return known[i].message;
    }
    return kerr_message(kerr);
}
