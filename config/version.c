/* config/version.c - one list, searched. */
#include "config/version.h"

const char config_versions[] =
    "0.8.0,0.8.1,0.8.2,0.9.0,0.10.0-IV0,0.10.0-IV1,0.10.1-IV0,0.10.1-IV1,0.10.1-IV2,0.10.2-IV0,"
    "0.11.0-IV0,0.11.0-IV1,0.11.0-IV2,1.0-IV0,1.1-IV0,2.0-IV0,2.0-IV1,2.1-IV0,2.1-IV1,2.1-IV2,2.2-IV0,"
    "2.2-IV1,2.3-IV0,2.3-IV1,2.4-IV0,2.4-IV1,2.5-IV0,2.6-IV0,2.7-IV0,2.7-IV1,2.7-IV2,2.8-IV0,2.8-IV1,"
    "3.0-IV0,3.0-IV1,3.1-IV0,3.2-IV0,3.3-IV0,3.3-IV1,3.3-IV2,3.3-IV3,3.4-IV0,3.5-IV0,3.5-IV1,3.5-IV2,"
    "3.6-IV0,3.6-IV1,3.6-IV2,3.7-IV0,3.7-IV1,3.7-IV2,3.7-IV3,3.7-IV4,3.8-IV0,3.9-IV0,4.0-IV0,4.0-IV1";

/* Kafka looks at the first two numbers only (three when the first is 0): 2.7.1 is 2.7. */
int version_find(const char *text, struct str *full)
{
    int dots = strncmp(text, "0.", 2) == 0 ? 3 : 2, place = 0, found = -1;
    const char *end = text, *w = config_versions;
    size_t len;

    for (; *end != '\0'; end++)
        if (*end == '.' && --dots == 0)
            break;
    len = (size_t)(end - text);
    for (; len > 0 && *w != '\0'; place++) {
        size_t whole = strcspn(w, ","), brief = strcspn(w, ",-");

        if ((whole == len || brief == len) && strncmp(w, text, len) == 0) {
            found = place;
            if (full != NULL)
                *full = (struct str){ w, whole };
        }
        w += whole + (w[whole] == ',');
    }
    return found;
}

int version_magic(const char *text)
{
    int place = version_find(text, NULL);

    return place < version_find("0.10.0-IV0", NULL) ? 0 : place < version_find("0.11.0-IV0", NULL) ? 1 : 2;
}
