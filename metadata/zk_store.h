/* metadata/zk_store.h - the backend of the metadata store that the brokers of a cluster share: a ZooKeeper ensemble,
 * through Debian's client library (which has neither TLS nor SASL).
 *
 * CONNECT   "host:port,host:port/chroot"; without a port 2181. All paths of the store lie below the chroot.
 * SESSION   A lost connection is waited out: calls that were under way are sent again, in their order, when the
 *           connection is back, and a write that may have been done before is looked up before its refusal is believed.
 *           A session that expired is replaced by a new one, whenever that takes (STORE_EV_EXPIRED, STORE_EV_SESSION).
 *           So is one whose watches the servers do not let the library set again: see zk_store.c.
 * FILE      With session_file, id and password of the session are kept there (0600), so that the next process can end
 *           the session of one that was killed: its ephemeral nodes are gone then, and need not time out. A file from
 *           another machine is not used. The file goes with a clean end.
 * LIMITS    A write that the servers drop the connection for, because it is beyond their jute.maxbuffer, is answered
 *           ERR_TOO_LARGE.
 * STAT      Of a create in a multi with other operations only what a set of the same node in the same call tells, and
 *           owner and length, are known; the rest is 0.
 */
#ifndef METADATA_ZK_STORE_H
#define METADATA_ZK_STORE_H

#include "metadata/store.h"

struct zk_store_opts {
    const char *connect;
    int32_t     session_timeout_ms;
    int32_t     connection_timeout_ms;      /* for the first session; after it there is no limit */
    int32_t     max_in_flight;
    bool        make_chroot;                /* brokers make it, tools do not */
    const char *session_file;               /* NULL: none */
};

/* Waits for the first session. ERR_TIMEOUT: none within connection_timeout_ms; ERR_INVALID: connect; each logged, with
 * the servers that were tried and why each was of no use. */
int zk_store_open(struct store **out, const struct zk_store_opts *o) must_use;

/* The session of an earlier process that was ended, or tried to be ended, at the open; then of our own that expired
 * last. 0: none. Its ephemeral nodes are ours to delete. */
int64_t zk_store_old_session(struct store *s);

#endif
