/* tools/server/daemon_path.c - finding klammd. */
#include "tools/server/daemon_path.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

int daemon_path(char *out, size_t len)
{
    static const char name[] = "/klammd";
    ssize_t           n = readlink("/proc/self/exe", out, len - sizeof name);
    char             *slash;

    if (n < 0)
        n = snprintf(out, len, "klamm");
    out[n] = '\0';
    slash = strrchr(out, '/');
    snprintf(slash != NULL ? slash : out, sizeof name, "%s", slash != NULL ? name : name + 1);
    return access(out, X_OK) == 0 ? OK : ERR_NOENT;
}
