/* storage/dir_scan.h - which partitions lie in a log directory, by its names and small files alone: no log is opened
 * and nothing is changed. For whoever must know them before the logs are loaded.
 *
 * OWNER    what the visitor is given is valid during its call only.
 * LOCKS    none; one thread.
 * FAILURE  what fio gives for the directory itself, or the visitor's own rc. A small file of a partition that is
 *          missing or does not parse is not a failure: its part of struct dir_scan_found is "none", and loading the
 *          log says the rest.
 */
#ifndef STORAGE_DIR_SCAN_H
#define STORAGE_DIR_SCAN_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/uuid.h"

struct dir_scan_found {
    struct str  topic;
    int32_t     partition;
    struct uuid topic_id;               /* zero: none, as before Apache Kafka 2.8 */
    int32_t     epoch;                  /* the latest leader epoch; -1: none */
};

bool log_name_parse(const char *name, struct str *topic, int32_t *partition);   /* split at the last '-' */

typedef int dir_scan_fn(void *arg, const struct dir_scan_found *found);

/* What is not a partition in use. */
struct dir_scan_rest {
    size_t deletions;                   /* <topic>-<partition>.<id>-delete */
    size_t futures, strays;             /* -future, -stray */
    bool   kraft;                       /* __cluster_metadata-0 */
};

/* Adds to *rest. names_only: reads no file; topic_id and epoch are "none". */
int dir_scan(const char *path, bool names_only, dir_scan_fn *fn, void *arg, struct dir_scan_rest *rest) must_use;

#endif
