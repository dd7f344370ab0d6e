/* broker/detach.h - `klammd -daemon`: leaving the terminal, and a log file that does not grow without bound.
 *
 * FAILURE  a message on standard error, and ERR_*.
 */
#ifndef BROKER_DETACH_H
#define BROKER_DETACH_H

#include "base/err.h"
#include "base/scheduler.h"

/* Opens $LOG_DIR/server.log ("logs" when LOG_DIR is not set; made if missing), then goes on in a child process without
 * terminal whose standard output and error are that file; the calling process exits with status 0. Before any
 * thread is started. */
int detach(void) must_use;

/* Has the file renamed to server.log.1 (.1 to .2, ... 5 are kept) whenever it is larger than 50 MB. Nothing to do when
 * detach() was not called. */
int detach_rotate(struct scheduler *s) must_use;

#endif
