/* tests/fault/faultlib.h - what a test and the library inside the daemon tell each other.
 *
 * A file of this layout, named by $FAULT_CONTROL, is mapped by both. tests/fault/faults.py has the same layout.
 * OWNER    the test writes the first part, the library the second.
 * UNITS    _us microseconds. Calls are counted from 1.
 */
#ifndef TESTS_FAULT_FAULTLIB_H
#define TESTS_FAULT_FAULTLIB_H

#include <stdatomic.h>
#include <stdint.h>

/* The kinds of calls; one bit each in `kinds`. */
enum fault_op {
    FAULT_OPEN, FAULT_READ, FAULT_WRITE, FAULT_SYNC, FAULT_RENAME, FAULT_UNLINK, FAULT_MKDIR, FAULT_TRUNCATE,
    FAULT_LIST, FAULT_OPS
};

enum fault_action {
    FAULT_ERROR,            /* nothing is done, errno is `err` */
    FAULT_SHORT,            /* half of it is read or written, and that is said */
    FAULT_TORN,             /* half of it is written, errno is `err` */
    FAULT_KILL_BEFORE, FAULT_KILL_TORN, FAULT_KILL_AFTER    /* SIGKILL; TORN: half of it was written */
};

struct fault_control {
    /* the test's */
    _Atomic uint32_t on;            /* calls are counted, and may fail */
    _Atomic uint32_t journal;       /* changes are written to $FAULT_JOURNAL */
    _Atomic uint32_t no_sync;       /* syncs are counted and written down, but not done */
    _Atomic uint32_t kinds;         /* which calls count */
    _Atomic uint32_t err;
    _Atomic uint32_t action;        /* enum fault_action */
    _Atomic uint32_t for_good;      /* after the first, every later call of these kinds in the same directory too */
    _Atomic uint32_t sync_delay_us;
    _Atomic uint64_t at;            /* the call that fails; 0: none */
    char             match[128];    /* only files whose path has this in it; empty: all */
    /* the library's */
    _Atomic uint64_t matched;       /* calls that counted */
    _Atomic uint64_t fired;         /* calls that failed */
    _Atomic uint64_t journalled;    /* entries in the journal that are whole */
    _Atomic uint32_t fired_op, fired_root;
    _Atomic uint64_t calls[16];     /* by kind, whether or not they count */
    char             fired_path[256];
};

/* The journal: entries of a head and `size` bytes. Whoever replays it (tests/fault/image.py) builds what a disk could
 * have left of the directories. */
enum fault_entry { ENTRY_START = 1, ENTRY_OPEN, ENTRY_WRITE, ENTRY_TRUNCATE, ENTRY_SYNC, ENTRY_SYNCFS, ENTRY_RENAME,
                   ENTRY_UNLINK, ENTRY_MKDIR };

enum { OPEN_CREATED = 1, OPEN_TRUNCATED = 2, OPEN_DSYNC = 4 };

struct fault_head {
    uint32_t kind;                  /* enum fault_entry */
    int32_t  fd;
    uint64_t at;                    /* OPEN: its flags; WRITE: position; TRUNCATE: size; SYNC, SYNCFS: 1 if it worked */
    uint64_t size;                  /* WRITE: the bytes; else the path, two with a NUL between for RENAME */
};

#endif
