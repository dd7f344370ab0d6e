/* tools/server/daemon_path.h - where this installation's klammd is: beside the klamm that runs.
 * FAILURE  ERR_NOENT when it is not there; `out` then has the path at which it was looked for.
 */
#ifndef TOOLS_SERVER_DAEMON_PATH_H
#define TOOLS_SERVER_DAEMON_PATH_H

#include "base/err.h"

#include <stddef.h>

int daemon_path(char *out, size_t len) must_use;

#endif
