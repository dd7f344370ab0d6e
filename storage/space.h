/* storage/space.h - the room on a log directory's volume: when produce is refused, and the reserve for what must be
 * written even then.
 *
 * Below klamm.log.dir.min.free.bytes the directory is `full`: appends and new topics are refused (ERR_NOSPACE, which
 * clients try again), while reads, deletion and retention go on, which make room. `.klamm-reserve` is a file of
 * allocated bytes that nobody reads. It is given up when the start or a checkpoint finds no room, and made again when
 * there is some; until it is whole the directory is full, so that what was given up goes to what it is for.
 *
 *            free below the limit, or the reserve was given up
 *   ROOM ------------------------------------------------------> FULL
 *     ^    free above the limit and an eighth, reserve whole        |
 *     +-------------------------------------------------------------+
 *
 * OWNER    the log directory. space_open() and space_check(): one thread at a time; the others: any thread.
 * FAILURE  where the volume does not tell its size, nothing is ever full; a reserve that cannot be made for another
 *          cause than want of room is done without, and a line says so.
 */
#ifndef STORAGE_SPACE_H
#define STORAGE_SPACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct logdir;

#define SPACE_RESERVE  ".klamm-reserve"
#define SPACE_CHECK_MS 1000

struct space {
    /* the thread of space_open() and space_check() */
    int64_t         floor;              /* bytes that must be free */
    int64_t         want;               /* size of the reserve */
    bool            no_reserve;         /* it cannot be had here */
    bool            told;               /* that it is full */
    /* any thread */
    _Atomic int64_t reserve;            /* size of the reserve that there is */
    atomic_bool     full;
};

void space_open(struct logdir *d);              /* before anything is written: makes room for the start */
bool space_check(struct logdir *d);             /* every SPACE_CHECK_MS; true: it has become full just now */
void space_close(struct logdir *d);             /* all is written: what is free is reserved for the next start */
bool space_full(const struct logdir *d);
/* Something that must be written found no room: true, it is worth trying again now. */
bool space_release(struct logdir *d, const char *what);

#endif
