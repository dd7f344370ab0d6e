/* config/zk_hosts.c */
#include "config/zk_hosts.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int refuse(const char **why, const char *text)
{
    *why = text;
    return ERR_INVALID;
}

/* "host", "host:port", "[v6]", "[v6]:port"; the library splits at the last colon and knows no brackets. */
static int add_server(char *out, size_t size, const char *from, size_t len, const char **why)
{
    const char *port = ZK_PORT, *colon;
    char one[300];
    size_t used = strlen(out);
    long number;

    while (len > 0 && isspace((unsigned char)*from))
        from++, len--;
    while (len > 0 && isspace((unsigned char)from[len - 1]))
        len--;
    if (len == 0)
        return refuse(why, "a server is missing between two commas");
    if (len >= sizeof one)
        return refuse(why, "a server's name is too long");
    memcpy(one, from, len);
    one[len] = '\0';
    if (one[0] == '[') {
        char *end = strchr(memmove(one, one + 1, len), ']');

        if (end == NULL || (end[1] != '\0' && end[1] != ':'))
            return refuse(why, "an address in brackets must be followed by a port or nothing");
        port = end[1] == ':' ? end + 2 : ZK_PORT;
        *end = '\0';
    } else if ((colon = strrchr(one, ':')) != NULL) {
        port = colon + 1;
        one[colon - one] = '\0';
    }
    if (one[0] == '\0')
        return refuse(why, "a server has no name");
    number = strspn(port, "0123456789") == strlen(port) && strlen(port) <= 5 ? strtol(port, NULL, 10) : 0;
    if (number < 1 || number > 65535)
        return refuse(why, "a server's port is not a number from 1 to 65535");
    snprintf(out + used, size - used, "%s%s:%ld", used > 0 ? "," : "", one, number);
    return OK;
}

static int check_chroot(const char *path, const char **why)
{
    for (const char *p = path; *p != '\0'; p++) {
        if ((unsigned char)*p <= 0x20 || *p == 0x7f)
            return refuse(why, "the chroot has a space or a control character");
        if (*p == '/' && (p[1] == '/' || p[1] == '\0'))
            return refuse(why, "the chroot has an empty component or ends with a slash");
    }
    return OK;
}

static int parse(struct zk_hosts *h, char *text, size_t size, const char **why)
{
    char *slash = strchr(text, '/'), *from = text;

    h->chroot = strdup(slash != NULL && slash[1] != '\0' ? slash : "");
    h->servers = calloc(1, size);
    if (h->chroot == NULL || h->servers == NULL)
        return ERR_NOMEM;
    if (slash != NULL)
        *slash = '\0';
    if (*text == '\0')
        return refuse(why, "it names no server");
    for (;;) {
        size_t n = strcspn(from, ",");

        TRY(add_server(h->servers, size, from, n, why));
        if (from[n] == '\0')
            return check_chroot(h->chroot, why);
        from += n + 1;
    }
}

int zk_hosts_parse(struct zk_hosts *h, const char *connect, const char **why)
{
    size_t len = strlen(connect);
    char *text;
    int rc = ERR_NOMEM;

    *h = (struct zk_hosts){ 0 };
    *why = err_text(ERR_NOMEM);
    while (len > 0 && isspace((unsigned char)*connect))
        connect++, len--;
    while (len > 0 && isspace((unsigned char)connect[len - 1]))
        len--;
    text = strndup(connect, len);
    if (text != NULL)
        rc = parse(h, text, len * 6 + 16, why);     /* each server may get a port */
    free(text);
    if (rc != OK)
        zk_hosts_fini(h);
    return rc;
}

void zk_hosts_fini(struct zk_hosts *h)
{
    free(h->servers);
    free(h->chroot);
    *h = (struct zk_hosts){ 0 };
}
