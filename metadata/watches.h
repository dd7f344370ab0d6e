/* metadata/watches.h - the one-shot watches of a session, for a backend that keeps them itself.
 *
 * OWNER  the backend's thread; nothing here is safe for a second one.
 */
#ifndef METADATA_WATCHES_H
#define METADATA_WATCHES_H

#include "metadata/store.h"

struct watch;

struct watches {
    struct watch     *by_path;      /* uthash */
    store_watcher_fn *fn;           /* NULL: events are dropped */
    void             *arg;
};

int  watches_arm(struct watches *w, const struct store_op *op) must_use;    /* an answered read with STORE_WATCH */
void watches_fire(struct watches *w, const struct store_op *op);            /* a write that was done */
void watches_event(struct watches *w, enum store_event_kind kind, const char *path);
void watches_clear(struct watches *w);

#endif
