/* tools/dump_log/small.c - dumping producer snapshots, checkpoints and the other small files of a data directory. */
#include "tools/dump_log/dump.h"

#include "storage/checkpoint_file.h"
#include "storage/meta_file.h"
#include "storage/snapshot_file.h"

#include <inttypes.h>
#include <stdlib.h>

static int32_t first_sequence(int32_t last, int32_t delta)
{
    return last >= delta ? last - delta : INT32_MAX - (delta - last) + 1;
}

int dump_snapshot(struct dump *d, const char *file)
{
    struct snapshot_entry *v = NULL;
    struct bytes           in;
    size_t                 n = 0;
    int                    rc;

    TRY(dump_read_file(d, file, &in));
    rc = snapshot_parse(in.p, in.len, &v, &n);
    if (rc == ERR_NOMEM)
        return dump_fail(d, rc, "out of memory");
    if (rc != OK) {
        fflush(stdout);
        fprintf(stderr, "%s: %s\n", file, rc == ERR_VERSION ? "a snapshot of a version that is not known"
                                                            : "the snapshot is damaged (checksum or size)");
        return OK;
    }
    for (size_t i = 0; i < n; i++) {
        printf("producerId: %" PRId64 " producerEpoch: %d coordinatorEpoch: %d currentTxnFirstOffset: ",
               v[i].producer_id, v[i].epoch, v[i].coordinator_epoch);
        if (v[i].txn_first_offset >= 0)
            printf("OptionalLong[%" PRId64 "]", v[i].txn_first_offset);
        else
            fputs("OptionalLong.empty", stdout);
        printf(" lastTimestamp: %" PRId64 " ", v[i].timestamp);
        if (v[i].last_offset >= 0)
            printf("firstSequence: %d lastSequence: %d lastOffset: %" PRId64 " offsetDelta: %d timestamp: %" PRId64,
                   first_sequence(v[i].last_sequence, v[i].offset_delta), v[i].last_sequence, v[i].last_offset,
                   v[i].offset_delta, v[i].timestamp);
        putchar('\n');
    }
    free(v);
    return OK;
}

/* ---- text files ---- */

static int bad_line(struct dump *d, const char *file, int rc, size_t line)
{
    if (rc == ERR_CORRUPT)
        return dump_fail(d, rc, "%s:%zu: this is no line of a checkpoint", file, line);
    return dump_fail(d, rc, "%s: %s", file, err_text(rc));
}

static int dump_offsets(struct dump *d, const char *file, struct bytes in)
{
    struct offset_checkpoint c;
    uint8_t                 *text = malloc(in.len + 1);
    size_t                   line = 0;
    int                      rc;

    if (text == NULL)
        return dump_fail(d, ERR_NOMEM, "out of memory");
    memcpy(text, in.p, in.len);
    rc = offset_checkpoint_parse(text, in.len, &c, &line);
    if (rc != OK)
        return bad_line(d, file, rc, line);
    for (size_t i = 0; i < c.n; i++)
        printf("topic: %.*s partition: %d offset: %" PRId64 "\n", STR_ARG(c.v[i].topic), c.v[i].partition,
               c.v[i].offset);
    offset_checkpoint_free(&c);
    return OK;
}

static int dump_epochs(struct dump *d, const char *file, struct bytes in)
{
    struct epoch_entry *v = NULL;
    size_t              n = 0, line = 0;
    int                 rc = epoch_checkpoint_parse(in.p, in.len, &v, &n, &line);

    if (rc != OK)
        return bad_line(d, file, rc, line);
    for (size_t i = 0; i < n; i++)
        printf("epoch: %d startOffset: %" PRId64 "\n", v[i].epoch, v[i].start);
    free(v);
    return OK;
}

static int dump_partition_metadata(struct dump *d, const char *file, struct bytes in)
{
    struct uuid id;
    char        text[UUID_TEXT_LEN + 1];

    if (partition_metadata_parse((const char *)in.p, in.len, &id) != OK)
        return dump_fail(d, ERR_CORRUPT, "%s: this is no partition.metadata", file);
    uuid_text(id, text);
    printf("topicId: %s\n", text);
    return OK;
}

static int dump_meta_properties(struct dump *d, const char *file, struct bytes in)
{
    struct meta_properties m;

    if (meta_properties_parse((const char *)in.p, in.len, &m) != OK)
        return dump_fail(d, ERR_CORRUPT, "%s: this is no meta.properties", file);
    printf("version: %d brokerId: %d clusterId: %s directoryId: %s\n", m.version, m.broker_id, m.cluster_id,
           m.directory_id);
    return OK;
}

static int dump_text(struct dump *d, const char *file, struct bytes in)
{
    (void)d, (void)file;
    if (in.len > 0)
        fwrite(in.p, 1, in.len, stdout);
    if (in.len == 0 || in.p[in.len - 1] != '\n')
        putchar('\n');
    return OK;
}

int dump_small_file(struct dump *d, const char *file)
{
    static const struct {
        const char *name;
        int       (*dump)(struct dump *, const char *, struct bytes);
    } kinds[] = {
        { CHECKPOINT_RECOVERY_POINT, dump_offsets }, { CHECKPOINT_LOG_START, dump_offsets },
        { CHECKPOINT_HIGH_WATERMARK, dump_offsets }, { CHECKPOINT_LEADER_EPOCH, dump_epochs },
        { PARTITION_METADATA, dump_partition_metadata }, { META_PROPERTIES, dump_meta_properties },
        { CLEAN_SHUTDOWN, dump_text }, { BOOT_MARK, dump_text }, { CHECKPOINT_TXN_SUMS, dump_text },
    };
    const char  *slash = strrchr(file, '/'), *name = slash != NULL ? slash + 1 : file;
    struct bytes in;

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(name, kinds[i].name) == 0) {
            TRY(dump_read_file(d, file, &in));
            return kinds[i].dump(d, file, in);
        }
    }
    return ERR_NOENT;
}
