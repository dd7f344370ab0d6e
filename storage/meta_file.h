/* storage/meta_file.h - the small files that say what a directory is: meta.properties, the clean-shutdown marker, the
 * boot mark, and partition.metadata of one log.
 *
 * All paths are relative to the log directory's descriptor.
 * LOCKS    none.
 * FAILURE  ERR_NOENT: not there. ERR_CORRUPT: there, but it does not parse. Else what fio gives.
 */
#ifndef STORAGE_META_FILE_H
#define STORAGE_META_FILE_H

#include "base/err.h"
#include "base/uuid.h"

#define META_PROPERTIES     "meta.properties"
#define CLEAN_SHUTDOWN      ".kafka_cleanshutdown"
#define BOOT_MARK           ".klamm-boot"
#define PARTITION_METADATA  "partition.metadata"

#define CLUSTER_ID_MAX 64

/* meta.properties: Java properties. Other keys are not looked at. */
struct meta_properties {
    int32_t version;                    /* 0 if absent; 1 belongs to KRaft */
    int32_t broker_id;                  /* -1 if absent */
    char    cluster_id[CLUSTER_ID_MAX]; /* "" if absent */
    char    directory_id[CLUSTER_ID_MAX];
};

int meta_properties_parse(const char *text, size_t len, struct meta_properties *out) must_use;
int meta_properties_read(int dirfd, struct meta_properties *out) must_use;
int meta_properties_write(int dirfd, const struct meta_properties *m) must_use;

int clean_marker_exists(int dirfd, bool *exists) must_use;
int clean_marker_remove(int dirfd) must_use;            /* durable */
int clean_marker_write(int dirfd) must_use;             /* durable */

/* The boot mark tells whether the page cache that the last broker wrote through is still the one that we read
 * through: the same boot of the kernel and the same mount. */
struct boot_mark {
    char text[128];                     /* "" if this machine cannot say */
};

void boot_mark_now(int dirfd, struct boot_mark *out);
bool boot_mark_same(int dirfd, const struct boot_mark *now);    /* the stored one equals now, which is known */
int  boot_mark_write(int dirfd, const struct boot_mark *now) must_use;

/* dir is the log's directory. The file is renamed into place but not yet synced (invariant 12). */
int partition_metadata_parse(const char *text, size_t len, struct uuid *id) must_use;
int partition_metadata_read(int dirfd, const char *dir, struct uuid *id) must_use;
int partition_metadata_write(int dirfd, const char *dir, struct uuid id) must_use;

#endif
