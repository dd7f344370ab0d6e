/* tools/dump_log/dump.c - kafka-dump-log.sh: options, which file is what, and the lists of faults at the end. */
#include "tools/dump_log/dump.h"

#include "tools/command.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMORY_LIMIT     ((size_t)1 << 30)
#define STRING_DECODER   "org.apache.kafka.tools.api.StringDecoder"

enum dump_option {
    L_CLUSTER = OPT_FIRST, L_DEEP, L_FILES, L_SANITY, L_KEY_DECODER, L_MAX_BYTES, L_MAX_MESSAGE, L_OFFSETS, L_PRINT,
    L_REMOTE, L_SKIP, L_TXN, L_VALUE_DECODER, L_VERIFY, L_N
};

static const struct option_def dump_options[L_N] = {
    OPTIONS_COMMON,
    [L_CLUSTER] = { "cluster-metadata-decoder", OPT_FLAG, NULL,
        "For KRaft's metadata log. Not available.", NULL },
    [L_DEEP] = { "deep-iteration", OPT_FLAG, NULL,
        "Show the records in each batch; implied when their contents are printed.", NULL },
    [L_FILES] = { "files", OPT_VALUE, "file1, file2, ...",
        "REQUIRED: the files, with commas between: .log, .index, .timeindex, .txnindex, .snapshot, and "
        "checkpoints and the other small files of a data directory.", NULL },
    [L_SANITY] = { "index-sanity-check", OPT_FLAG, NULL,
        "Only check that an index is well-formed.", NULL },
    [L_KEY_DECODER] = { "key-decoder-class", OPT_MAYBE, "class",
        "How keys are printed: StringDecoder, LongDecoder or IntegerDecoder of org.apache.kafka.tools.api.",
        STRING_DECODER },
    [L_MAX_BYTES] = { "max-bytes", OPT_VALUE, "size",
        "Look at no more than that much of each .log.", "2147483647" },
    [L_MAX_MESSAGE] = { "max-message-size", OPT_VALUE, "size",
        "Kafka's limit for the batch that an index points at. Means nothing here: there is none.", "5242880" },
    [L_OFFSETS] = { "offsets-decoder", OPT_FLAG, NULL,
        "Print the records as those of __consumer_offsets.", NULL },
    [L_PRINT] = { "print-data-log", OPT_FLAG, NULL,
        "Print keys and values. Implied by a decoder.", NULL },
    [L_REMOTE] = { "remote-log-metadata-decoder", OPT_FLAG, NULL,
        "For tiered storage's own topic. Not available.", NULL },
    [L_SKIP] = { "skip-record-metadata", OPT_FLAG, NULL,
        "Print nothing but key and value of a record.", NULL },
    [L_TXN] = { "transaction-log-decoder", OPT_FLAG, NULL,
        "Print the records as those of __transaction_state.", NULL },
    [L_VALUE_DECODER] = { "value-decoder-class", OPT_MAYBE, "class",
        "How values are printed, as --key-decoder-class.", STRING_DECODER },
    [L_VERIFY] = { "verify-index-only", OPT_FLAG, NULL,
        "Hold an index against its log without printing it.", NULL },
};

/* ---- what the other files use ---- */

int dump_fail(struct dump *d, int rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(d->error, sizeof d->error, fmt, ap);
    va_end(ap);
    return rc;
}

int dump_fault_add(struct dump *d, struct dump_faults *list, const char *file, int64_t a, int64_t b)
{
    struct dump_fault *f = arena_zalloc(&d->arena, sizeof *f);
    char               path[PATH_MAX];

    if (f == NULL || (f->file = arena_cstr(&d->arena, str_of(realpath(file, path) != NULL ? path : file))) == NULL)
        return dump_fail(d, ERR_NOMEM, "out of memory");
    f->a = a;
    f->b = b;
    if (list->last == NULL)
        list->last = &list->first;
    *list->last = f;
    list->last = &f->next;
    return OK;
}

int dump_base_offset(struct dump *d, const char *file, int64_t *out)
{
    const char *slash = strrchr(file, '/'), *name = slash != NULL ? slash + 1 : file;
    char        digits[24];

    snprintf(digits, sizeof digits, "%.*s", (int)strcspn(name, "."), name);
    if (parse_i64(digits, 0, INT64_MAX, out) == OK)
        return OK;
    return dump_fail(d, ERR_INVALID, "%s: the name of a segment's file begins with its first offset", file);
}

int dump_read_file(struct dump *d, const char *file, struct bytes *out)
{
    struct stat st;
    int         fd = open(file, O_RDONLY | O_CLOEXEC), rc = OK;
    uint8_t    *p;
    size_t      n = 0;

    if (fd < 0)
        return dump_fail(d, err_from_errno(errno), "%s: %s", file, strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        rc = dump_fail(d, ERR_IO, "%s: not a file", file);
    p = rc == OK ? arena_alloc(&d->arena, (size_t)st.st_size + 1) : NULL;
    if (rc == OK && p == NULL)
        rc = dump_fail(d, ERR_NOMEM, "%s: too large", file);
    while (rc == OK && n < (size_t)st.st_size) {
        ssize_t got = read(fd, p + n, (size_t)st.st_size - n);
        if (got == 0)
            break;
        if (got > 0)
            n += (size_t)got;
        else if (errno != EINTR)
            rc = dump_fail(d, err_from_errno(errno), "%s: %s", file, strerror(errno));
    }
    close(fd);
    *out = (struct bytes){ p, n };
    return rc;
}

/* ---- one file ---- */

static int dump_file(struct dump *d, const char *file)
{
    static const struct {
        const char *suffix;
        int       (*dump)(struct dump *, const char *);
    } kinds[] = {
        { ".log", dump_log }, { ".index", dump_index }, { ".timeindex", dump_time_index },
        { ".snapshot", dump_snapshot }, { ".txnindex", dump_txn_index },
    };
    const char *dot = strrchr(file, '.');
    int         rc;

    printf("Dumping %s\n", file);
    for (size_t i = 0; dot != NULL && i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(dot, kinds[i].suffix) == 0)
            return kinds[i].dump(d, file);
    }
    rc = dump_small_file(d, file);
    if (rc != ERR_NOENT)
        return rc;
    fflush(stdout);
    fprintf(stderr, "Ignoring unknown file %s\n", file);
    return OK;
}

/* The faults of each file under a heading; Kafka prints those of one file newest first. */
static void print_faults(const struct dump_faults *list, const char *heading, const char *line, bool newest_first)
{
    for (const struct dump_fault *f = list->first, *next; f != NULL; f = next) {
        size_t n = 0;

        for (next = f; next != NULL && strcmp(next->file, f->file) == 0; next = next->next)
            n++;
        fprintf(stderr, heading, f->file);
        for (size_t i = 0; i < n; i++) {
            const struct dump_fault *g = f;
            for (size_t k = newest_first ? n - 1 - i : i; k > 0; k--)
                g = g->next;
            fprintf(stderr, line, g->a, g->b);
        }
    }
}

static void print_all_faults(const struct dump *d)
{
    fflush(stdout);
    print_faults(&d->index_mismatches, "Mismatches in :%s\n", "  Index offset: %" PRId64 ", log offset: %" PRId64 "\n",
                 true);
    print_faults(&d->time_mismatches, "Found timestamp mismatch in :%s\n",
                 "  Index timestamp: %" PRId64 ", log timestamp: %" PRId64 "\n", false);
    print_faults(&d->time_disorder, "Found out of order timestamp in :%s\n",
                 "  Index timestamp: %" PRId64 ", Previously indexed timestamp: %" PRId64 "\n", false);
    print_faults(&d->not_found, "The following indexed offsets are not found in the log.\n",
                 "Indexed offset: %" PRId64 ", found log offset: %" PRId64 "\n", false);
    print_faults(&d->gaps, "Non-consecutive offsets in %s\n", "  %" PRId64 " is followed by %" PRId64 "\n", true);
}

/* ---- the command ---- */

static int decoder_find(struct dump *d, const char *name, enum dump_decoder *out)
{
    static const char package[] = "org.apache.kafka.tools.api.", old_package[] = "kafka.serializer.";
    static const struct { const char *name; enum dump_decoder how; } known[] = {
        { "StringDecoder", DECODE_STRING }, { "LongDecoder", DECODE_LONG }, { "IntegerDecoder", DECODE_INTEGER },
    };
    const char *dot = name != NULL ? strrchr(name, '.') : NULL;

    *out = DECODE_STRING;
    if (name == NULL || name[0] == '\0')
        return OK;
    for (size_t i = 0; dot != NULL && i < sizeof known / sizeof known[0]; i++) {
        bool old = strncmp(name, old_package, sizeof old_package - 1) == 0;

        if ((!old && strncmp(name, package, sizeof package - 1) != 0) || strcmp(dot + 1, known[i].name) != 0)
            continue;
        if (old)
            printf("%s is deprecated. Please use %s%s instead\n", name, package, known[i].name);
        *out = known[i].how;
        return OK;
    }
    return dump_fail(d, ERR_UNSUPPORTED, "%s: there is no JVM here to load it", name);
}

static int read_options(struct dump *d, struct options *o)
{
    static const struct { size_t opt; const char *why; } refused[] = {
        { L_CLUSTER, "is for KRaft, which there is not" }, { L_REMOTE, "is for tiered storage, which there is not" },
    };

    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if (options_has(o, refused[i].opt))
            return dump_fail(d, ERR_UNSUPPORTED, "--%s %s", dump_options[refused[i].opt].name, refused[i].why);
    }
    d->topic = options_has(o, L_OFFSETS) ? TOPIC_OFFSETS : options_has(o, L_TXN) ? TOPIC_TXN : TOPIC_ANY;
    d->print_data = d->topic != TOPIC_ANY || options_has(o, L_PRINT) || options_has(o, L_KEY_DECODER) ||
                    options_has(o, L_VALUE_DECODER);
    d->deep = d->print_data || options_has(o, L_DEEP);
    d->sanity_only = options_has(o, L_SANITY);
    d->verify_only = options_has(o, L_VERIFY);
    d->skip_metadata = options_has(o, L_SKIP);
    if (options_i64(o, L_MAX_BYTES, &d->max_bytes) != OK)
        return dump_fail(d, ERR_INVALID, "%s", o->error);
    TRY(decoder_find(d, options_str(o, L_VALUE_DECODER), &d->value_decoder));
    return decoder_find(d, options_str(o, L_KEY_DECODER), &d->key_decoder);
}

/* Every file, also after one that cannot be dumped: its trouble is printed, and the first one is the result. */
static int dump_files(struct dump *d, const char *list)
{
    size_t n = strlen(list);
    int    result = OK;

    while (n > 0 && list[n - 1] == ',')
        n--;
    for (size_t at = 0; at < n;) {
        size_t      len = strcspn(list + at, ",");
        const char *file = arena_printf(&d->arena, "%.*s", (int)len, list + at);

        if (file == NULL)
            return dump_fail(d, ERR_NOMEM, "out of memory");
        int rc = dump_file(d, file);
        if (rc != OK)
            command_fail("%s", d->error);
        if (result == OK)
            result = rc;
        at += len + 1;
    }
    return result;
}

static int dump_run(const struct invocation *inv, struct options *o)
{
    static struct dump d;
    int                rc;

    if (options_require(o, L_FILES) != OK)
        return command_usage(inv, o->error);
    arena_init(&d.arena, MEMORY_LIMIT);
    rc = read_options(&d, o);
    if (rc != OK)
        command_fail("%s", d.error);
    else
        rc = dump_files(&d, options_str(o, L_FILES));
    print_all_faults(&d);
    arena_fini(&d.arena);
    return rc == OK ? 0 : 1;
}

const struct command command_dump_log = {
    .name = "dump-log",
    .summary = "Print what is in the files of a data directory.",
    .defs = dump_options,
    .defs_n = L_N,
    .run = dump_run,
};
