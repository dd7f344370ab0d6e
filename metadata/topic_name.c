/* metadata/topic_name.c */
#include "metadata/topic_name.h"

#include <stdio.h>

static bool legal(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
}

const char *topic_name_fault(struct str name, char *buf, size_t size)
{
    if (name.len == 0)
        return "the empty string is not allowed";
    if (str_is(name, "."))
        return "'.' is not allowed";
    if (str_is(name, ".."))
        return "'..' is not allowed";
    if (name.len > TOPIC_NAME_MAX) {
        snprintf(buf, size, "the length of '%.*s' is longer than the max allowed length %d", STR_ARG(name),
                 TOPIC_NAME_MAX);
        return buf;
    }
    for (size_t i = 0; i < name.len; i++)
        if (!legal(name.p[i])) {
            snprintf(buf, size,
                     "'%.*s' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
                     STR_ARG(name));
            return buf;
        }
    return NULL;
}

bool topic_name_internal(struct str name)
{
    return str_is(name, "__consumer_offsets") || str_is(name, "__transaction_state") ||
           str_is(name, "__share_group_state");
}

bool topic_name_may_collide(struct str name)
{
    for (size_t i = 0; i < name.len; i++)
        if (name.p[i] == '.' || name.p[i] == '_')
            return true;
    return false;
}

bool topic_name_collides(struct str a, struct str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        char x = a.p[i] == '.' ? '_' : a.p[i], y = b.p[i] == '.' ? '_' : b.p[i];

        if (x != y)
            return false;
    }
    return true;
}
