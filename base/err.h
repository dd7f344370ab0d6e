/* base/err.h - the one result code used inside Klamm: OK (0) or a negative ERR_*.
 *
 * A function that can fail returns int and is marked must_use. errno is turned into an ERR_* by
 * err_from_errno() in the function that made the system call, which also logs it when the decision is
 * taken there; Kafka's wire codes exist only from proto/ upward (proto/kerr.h maps one to the other).
 * UNITS none.  LOCKS none: everything here is pure.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>

/* X(NAME, text): the text completes "<what was tried>: ". Order fixes the number; append only. */
#define ERR_TABLE(X)                                                                        \
    X(NOMEM,        "out of memory")                                                        \
    X(IO,           "I/O error")                                                            \
    X(NOSPACE,      "no space left on the device")                                          \
    X(CORRUPT,      "stored bytes fail validation")                                         \
    X(SHORT,        "input ends inside a field")                                            \
    X(LIMIT,        "a limit was exceeded")                                                 \
    X(RANGE,        "value out of range")                                                   \
    X(INVALID,      "invalid argument")                                                     \
    X(UNSUPPORTED,  "not supported")                                                        \
    X(NOENT,        "does not exist")                                                       \
    X(EXISTS,       "exists already")                                                       \
    X(BUSY,         "in use by somebody else")                                              \
    X(DENIED,       "permission denied")                                                    \
    X(AGAIN,        "not now, try again")                                                   \
    X(TIMEOUT,      "timed out")                                                            \
    X(CLOSED,       "closed")                                                               \
    X(FENCED,       "caller holds an old epoch")                                            \
    X(VERSION,      "version does not match")                                               \
    X(OFFLINE,      "log directory is offline")                                             \
    X(TOO_LARGE,    "larger than allowed")                                                  \
    X(SYSTEM,       "a system call failed")                                                 \
    X(NOTEMPTY,     "not empty")                                                            \
    X(SEQUENCE,     "producer's sequence number is out of order")                           \
    X(PRODUCER_EPOCH, "producer holds an old epoch")                                        \
    X(TXN_STATE,    "transaction is in another state")

enum err_index {
#define X(name, text) ERR_INDEX_##name,
    ERR_TABLE(X)
#undef X
    ERR_INDEX_N
};

enum {
    OK = 0,
#define X(name, text) ERR_##name = -1 - ERR_INDEX_##name,
    ERR_TABLE(X)
#undef X
};

#define must_use __attribute__((warn_unused_result))

/* For a function that has nothing to undo. */
#define TRY(e)                                                                              \
    do {                                                                                    \
        int try_rc_ = (e);                                                                  \
        if (try_rc_ != OK)                                                                  \
            return try_rc_;                                                                 \
    } while (0)

const char *err_name(int rc);           /* "ERR_SHORT"; never NULL */
const char *err_text(int rc);           /* "input ends inside a field"; never NULL */
int         err_from_errno(int err);    /* the ERR_* for an errno value; never OK */

#endif
