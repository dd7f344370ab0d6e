/* metadata/lmdb_store.h - the embedded backend of the metadata store: one LMDB file in the first log
 * directory.
 *
 * A thread of its own does the calls; those that wait together are committed together, with one sync of the
 * file, and answered after it. A crash at any point leaves the file as it was after some whole commit.
 * Every open is a new session: the ephemeral nodes of the one before are gone.
 */
#ifndef METADATA_LMDB_STORE_H
#define METADATA_LMDB_STORE_H

#include "metadata/store.h"

#define LMDB_STORE_FILE "klamm-metadata.mdb"    /* and its lock file klamm-metadata.mdb-lock: plain files both */

/* dir exists and is locked by the caller. ERR_BUSY (another process has the file open), ERR_CORRUPT (not a
 * metadata file, or of another format), ERR_NOSPACE, ERR_DENIED, ERR_IO, ERR_NOMEM; each logged with the
 * path. */
int  lmdb_store_open(struct store **out, const char *dir) must_use;

/* Ends the session as a lost connection would, then begins another. For tests of what stands on the store. */
void lmdb_store_expire(struct store *s);

#endif
