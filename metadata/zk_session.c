/* metadata/zk_session.c
 *
 * The boot id stands for the machine: a directory that was copied or moved to another one, where the broker it came
 * from may be alive, must not end that broker's session.
 */
#include "metadata/zk_session.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORD      "klamm-zookeeper-session 1"
#define TEXT_MAX  256
#define BOOT_ID   "/proc/sys/kernel/random/boot_id"

static int read_text(const char *path, char text[TEXT_MAX])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    ssize_t n;

    if (fd < 0)
        return err_from_errno(errno);
    n = read(fd, text, TEXT_MAX - 1);
    close(fd);
    if (n < 0)
        return ERR_IO;
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return OK;
}

/* "-" where the machine cannot say. */
static void machine_id(char out[TEXT_MAX])
{
    if (read_text(BOOT_ID, out) != OK || out[0] == '\0' || strchr(out, ' ') != NULL)
        snprintf(out, TEXT_MAX, "-");
}

static bool hex(const char *text, size_t digits)
{
    return strspn(text, "0123456789abcdef") >= digits;
}

int zk_session_read(const char *path, struct zk_session *out)
{
    char text[TEXT_MAX], machine[TEXT_MAX], *at = text + strlen(WORD " ");
    size_t n;

    TRY(read_text(path, text));
    machine_id(machine);
    if (strncmp(text, WORD " ", strlen(WORD " ")) != 0)
        return ERR_CORRUPT;
    n = strcspn(at, " ");
    if (n != strlen(machine) || strncmp(at, machine, n) != 0)
        return at[n] == ' ' ? ERR_NOENT : ERR_CORRUPT;
    at += n;
    if (strlen(at) != 1 + 16 + 1 + 32 || !hex(at + 1, 16) || at[17] != ' ' || !hex(at + 18, 32))
        return ERR_CORRUPT;
    out->id = (int64_t)strtoull(at + 1, NULL, 16);
    for (size_t i = 0; i < sizeof out->password; i++) {
        char two[3] = { at[18 + 2 * i], at[19 + 2 * i], '\0' };

        out->password[i] = (uint8_t)strtoul(two, NULL, 16);
    }
    return out->id != 0 ? OK : ERR_CORRUPT;
}

static int write_whole(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    size_t len = strlen(text);
    int rc;

    if (fd < 0)
        return err_from_errno(errno);
    rc = write(fd, text, len) == (ssize_t)len ? OK : ERR_IO;
    if (close(fd) != 0 && rc == OK)
        rc = ERR_IO;
    return rc;
}

int zk_session_write(const char *path, const struct zk_session *s)
{
    char text[TEXT_MAX * 2], machine[TEXT_MAX], aside[4096];
    int n, rc;

    machine_id(machine);
    n = snprintf(text, sizeof text, WORD " %s %016" PRIx64 " ", machine, (uint64_t)s->id);
    for (size_t i = 0; i < sizeof s->password; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%02x", s->password[i]);
    snprintf(text + n, sizeof text - (size_t)n, "\n");
    if ((size_t)snprintf(aside, sizeof aside, "%s.tmp", path) >= sizeof aside)
        return ERR_TOO_LARGE;
    unlink(aside);
    rc = write_whole(aside, text);
    if (rc == OK && rename(aside, path) != 0)
        rc = err_from_errno(errno);
    if (rc != OK)
        unlink(aside);
    return rc;
}

void zk_session_remove(const char *path)
{
    if (unlink(path) != 0 && errno != ENOENT)
        log_debug("%s cannot be removed: %s", path, strerrordesc_np(errno));
}
