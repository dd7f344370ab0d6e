/* base/err.c - names and texts of the result codes, and the bridge from errno. */
#include "base/err.h"

#include <errno.h>
#include <stddef.h>

static const char *const err_names[] = {
#define X(name, text) "ERR_" #name,
    ERR_TABLE(X)
#undef X
};

static const char *const err_texts[] = {
#define X(name, text) text,
    ERR_TABLE(X)
#undef X
};

static bool in_table(int rc)
{
    return rc < 0 && rc >= -(int)ERR_INDEX_N;
}

const char *err_name(int rc)
{
    if (rc == OK)
        return "OK";
    return in_table(rc) ? err_names[-1 - rc] : "ERR_?";
}

const char *err_text(int rc)
{
    if (rc == OK)
        return "no error";
    return in_table(rc) ? err_texts[-1 - rc] : "unknown error";
}

int err_from_errno(int err)
{
    static const struct {
        int err, rc;
    } map[] = {
        { ENOMEM, ERR_NOMEM },   { EIO, ERR_IO },          { ENOSPC, ERR_NOSPACE },  { EDQUOT, ERR_NOSPACE },
        { ENOENT, ERR_NOENT },   { EEXIST, ERR_EXISTS },   { EBUSY, ERR_BUSY },      { EADDRINUSE, ERR_BUSY },
        { EACCES, ERR_DENIED },  { EPERM, ERR_DENIED },    { EROFS, ERR_DENIED },    { EAGAIN, ERR_AGAIN },
        { EINTR, ERR_AGAIN },    { ETIMEDOUT, ERR_TIMEOUT }, { EPIPE, ERR_CLOSED },  { ECONNRESET, ERR_CLOSED },
        { EINVAL, ERR_INVALID }, { EFBIG, ERR_TOO_LARGE }, { ENAMETOOLONG, ERR_TOO_LARGE },
    };

    for (size_t i = 0; i < sizeof map / sizeof map[0]; i++)
        if (map[i].err == err)
            return map[i].rc;
    return ERR_SYSTEM;
}
