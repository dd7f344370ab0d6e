/* storage/meta_file.c - the small files that say what a directory is. */
#include "storage/meta_file.h"

#include "storage/fio.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SMALL_FILE_MAX 65536

/* ---- Java properties, as far as this file has them: comments, key=value or key:value, \ escapes ---------------- */

static size_t line_end(const char *p, size_t len)
{
    size_t n = 0;

    while (n < len && p[n] != '\n' && p[n] != '\r')
        n++;
    return n;
}

/* Takes a key (ends at = : or blank) or a value (ends with the line) into out, escapes undone. */
static size_t unescape(const char *p, size_t len, bool key, char *out, size_t cap)
{
    size_t i = 0, n = 0;

    for (; i < len; i++) {
        char c = p[i];
        if (key && (c == '=' || c == ':' || c == ' ' || c == '\t'))
            break;
        if (c == '\\' && i + 1 < len)
            c = p[++i];
        if (n + 1 < cap)
            out[n++] = c;
    }
    out[n] = '\0';
    return i;
}

static size_t skip_blanks(const char *p, size_t len)
{
    size_t n = 0;

    while (n < len && (p[n] == ' ' || p[n] == '\t' || p[n] == '\f'))
        n++;
    return n;
}

static int to_int32(const char *z, int32_t *out)
{
    char *end;
    long v = strtol(z, &end, 10);

    if (end == z || *end != '\0' || v < INT32_MIN || v > INT32_MAX)
        return ERR_CORRUPT;
    *out = (int32_t)v;
    return OK;
}

static int property(const char *key, const char *value, struct meta_properties *out)
{
    if (strcmp(key, "version") == 0)
        return to_int32(value, &out->version);
    if (strcmp(key, "broker.id") == 0 || strcmp(key, "node.id") == 0)
        return to_int32(value, &out->broker_id);
    if (strcmp(key, "cluster.id") == 0)
        (void)snprintf(out->cluster_id, sizeof out->cluster_id, "%s", value);
    else if (strcmp(key, "directory.id") == 0)
        (void)snprintf(out->directory_id, sizeof out->directory_id, "%s", value);
    return OK;
}

int meta_properties_parse(const char *text, size_t len, struct meta_properties *out)
{
    char key[CLUSTER_ID_MAX], value[CLUSTER_ID_MAX];

    *out = (struct meta_properties){ .broker_id = -1 };
    while (len > 0) {
        size_t n = line_end(text, len), i = skip_blanks(text, n);
        if (i < n && text[i] != '#' && text[i] != '!') {
            i += unescape(text + i, n - i, true, key, sizeof key);
            i += skip_blanks(text + i, n - i);
            if (i < n && (text[i] == '=' || text[i] == ':'))
                i++;
            i += skip_blanks(text + i, n - i);
            (void)unescape(text + i, n - i, false, value, sizeof value);
            TRY(property(key, value, out));
        }
        n += n < len;
        text += n;
        len -= n;
    }
    return OK;
}

int meta_properties_read(int dirfd, struct meta_properties *out)
{
    uint8_t *p;
    size_t n;
    int rc;

    TRY(fio_read_file(dirfd, META_PROPERTIES, SMALL_FILE_MAX, &p, &n));
    rc = meta_properties_parse((const char *)p, n, out);
    free(p);
    return rc;
}

int meta_properties_write(int dirfd, const struct meta_properties *m)
{
    char text[512], date[64];
    time_t now = time(NULL);
    struct tm tm;
    int n;

    if (gmtime_r(&now, &tm) == NULL || strftime(date, sizeof date, "%a %b %d %H:%M:%S UTC %Y", &tm) == 0)
        date[0] = '\0';
    n = snprintf(text, sizeof text, "#\n#%s\ncluster.id=%s\nversion=%" PRId32 "\nbroker.id=%" PRId32 "\n%s%s%s", date,
                 m->cluster_id, m->version, m->broker_id, m->directory_id[0] != '\0' ? "directory.id=" : "",
                 m->directory_id, m->directory_id[0] != '\0' ? "\n" : "");
    if (n < 0 || (size_t)n >= sizeof text)
        return ERR_TOO_LARGE;
    return fio_replace_file(dirfd, ".", META_PROPERTIES, text, (size_t)n, true);
}

/* ---- clean-shutdown marker ----------------------------------------------------------------------------------- */

int clean_marker_exists(int dirfd, bool *exists)
{
    int64_t size;
    int rc = fio_size(dirfd, CLEAN_SHUTDOWN, &size);

    *exists = rc == OK;
    return rc == ERR_NOENT ? OK : rc;
}

int clean_marker_remove(int dirfd)
{
    TRY(fio_unlink(dirfd, CLEAN_SHUTDOWN));
    return fio_sync_path(dirfd, ".", true);
}

int clean_marker_write(int dirfd)
{
    static const char text[] = "{\"version\":0,\"brokerEpoch\":-1}";

    return fio_replace_file(dirfd, ".", CLEAN_SHUTDOWN, text, sizeof text - 1, true);
}

/* ---- boot mark ----------------------------------------------------------------------------------------------- */

#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x00004000U     /* Linux 6.8: never used again while the machine is up */
#endif

void boot_mark_now(int dirfd, struct boot_mark *out)
{
    char boot[64];
    struct statx st;
    size_t n;
    int fd, rc;

    out->text[0] = '\0';
    /* Before 6.8 the kernel leaves the plain mount id there, which is better than none. */
    if (statx(dirfd, "", AT_EMPTY_PATH, STATX_MNT_ID | STATX_MNT_ID_UNIQUE, &st) != 0 ||
        (st.stx_mask & (STATX_MNT_ID | STATX_MNT_ID_UNIQUE)) == 0)
        return;
    if (fio_open(AT_FDCWD, "/proc/sys/kernel/random/boot_id", O_RDONLY, &fd) != OK)
        return;
    rc = fio_pread(fd, boot, sizeof boot - 1, 0, &n);
    fio_close(&fd);
    if (rc != OK || n == 0)
        return;
    boot[n] = '\0';
    boot[strcspn(boot, "\n")] = '\0';
    (void)snprintf(out->text, sizeof out->text, "%s %u:%u %llu\n", boot, st.stx_dev_major, st.stx_dev_minor,
                   (unsigned long long)st.stx_mnt_id);
}

bool boot_mark_same(int dirfd, const struct boot_mark *now)
{
    uint8_t *p;
    size_t n;
    bool same;

    if (now->text[0] == '\0' || fio_read_file(dirfd, BOOT_MARK, SMALL_FILE_MAX, &p, &n) != OK)
        return false;
    same = strcmp((const char *)p, now->text) == 0;
    free(p);
    return same;
}

int boot_mark_write(int dirfd, const struct boot_mark *now)
{
    return fio_replace_file(dirfd, ".", BOOT_MARK, now->text, strlen(now->text), true);
}

/* ---- partition.metadata -------------------------------------------------------------------------------------- */

/* "<name>: <value>" at *p; moves on past the line. */
static int colon_line(const char **p, const char *end, const char *name, struct str *value)
{
    size_t n = line_end(*p, (size_t)(end - *p)), k = strlen(name), i;

    if (n <= k || memcmp(*p, name, k) != 0 || (*p)[k] != ':')
        return ERR_CORRUPT;
    i = k + 1 + skip_blanks(*p + k + 1, n - k - 1);
    *value = (struct str){ *p + i, n - i };
    *p += n;
    if (*p < end)
        ++*p;
    return OK;
}

int partition_metadata_parse(const char *text, size_t len, struct uuid *id)
{
    const char *p = text, *end = text + len;
    struct str v;

    TRY(colon_line(&p, end, "version", &v));
    if (v.len == 0 || v.p[0] < '0' || v.p[0] > '9')
        return ERR_CORRUPT;
    TRY(colon_line(&p, end, "topic_id", &v));
    if (uuid_parse(v, id) != OK || uuid_is_zero(*id))
        return ERR_CORRUPT;
    return OK;
}

static bool buf_is_zero(const uint8_t *p, size_t n)
{
    while (n > 0 && p[n - 1] == 0)
        n--;
    return n == 0;
}

int partition_metadata_read(int dirfd, const char *dir, struct uuid *id)
{
    char path[PATH_MAX];
    uint8_t *p;
    size_t n;
    int rc;

    (void)snprintf(path, sizeof path, "%s/%s", dir, PARTITION_METADATA);
    TRY(fio_read_file(dirfd, path, SMALL_FILE_MAX, &p, &n));
    /* Emptied, or all zeros, by a power failure before it was synced: the controller says the id again. */
    rc = buf_is_zero(p, n) ? ERR_NOENT : partition_metadata_parse((const char *)p, n, id);
    free(p);
    return rc;
}

int partition_metadata_write(int dirfd, const char *dir, struct uuid id)
{
    char path[PATH_MAX], text[64], z[UUID_TEXT_LEN + 1];

    uuid_text(id, z);
    (void)snprintf(path, sizeof path, "%s/%s", dir, PARTITION_METADATA);
    (void)snprintf(text, sizeof text, "version: 0\ntopic_id: %s", z);
    return fio_replace_file(dirfd, dir, path, text, strlen(text), false);
}
