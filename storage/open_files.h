/* storage/open_files.h - how many `.log` files are open at a time: those used least recently are closed for others.
 *
 * A segment opens its `.log` when it is read or written, and keeps it open; with tens of thousands of partitions that
 * is more than a process may have. Each opened file is noted here. When there are too many, the segment that nobody
 * has used since the last look (second chance) gives up its descriptor; who reads from it at that moment has a
 * reference of his own, so the descriptor is closed when he is done.
 *
 * OWNER    the log manager. Segments in the list are borrowed; one leaves it before it is freed.
 * LOCKS    `openfiles` inside, and under it `plogview` of the segment that gives up its descriptor. Callers hold
 *          at most `plog`.
 * FAILURE  none: this only closes.
 */
#ifndef STORAGE_OPEN_FILES_H
#define STORAGE_OPEN_FILES_H

#include "base/err.h"

#include <stddef.h>

struct open_files;
struct segment;

/* Half of what the process may open; the rest is for connections. */
size_t open_files_default(void);

int  open_files_new(struct open_files **out, size_t max) must_use;
void open_files_free(struct open_files **of);                   /* NULL-safe; all segments are gone */

/* `s` has opened its file. Others may be closed now. of NULL: no effect. */
void open_files_add(struct open_files *of, struct segment *s);
void open_files_remove(struct open_files *of, struct segment *s);
/* The process is out of descriptors: n that are not in use are closed. */
void open_files_shrink(struct open_files *of, size_t n);
size_t open_files_count(struct open_files *of);                 /* for tests and metrics */

#endif
