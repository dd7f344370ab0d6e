/* metadata/zk_log.c - the lines that the ZooKeeper library logs, and what its io thread tells by them.
 *
 * The library's log callback has no argument, so each store takes one of a few functions.
 *
 * The line about a broken connection is written by the io thread just before the library gives up all requests that it
 * has, and is the only thing from which one learns of that in time: a request that is handed to the library after it
 * would be sent with the next connection, before those that were given up are sent again. So the callback counts it
 * under `line`, which is held by whoever sends (ORDER in zk_priv.h; zk_calls.c).
 */
#include "metadata/zk_priv.h"

#include "base/log.h"

#define SLOTS 8
#define BREAK "zk retcode="

_Thread_local bool zk_in_library;

static struct zk_store *_Atomic slots[SLOTS];

static bool connected(int state)
{
    return state == ZOO_CONNECTED_STATE || state == ZOO_READONLY_STATE;
}

static void note_break(struct zk_store *z)
{
    if (zk_in_library)
        return;
    lock_take(&z->line);
    if (z->zh != NULL && connected(zoo_state(z->zh)))
        z->breaks++;
    lock_drop(&z->line);
}

/* "2026-11-21 04:05:06,789:1234(0x7f..):ZOO_ERROR@function@2045: text". What matters of it is said by the store in
 * words of its own. */
static void line(int slot, const char *message)
{
    static struct log_limit limit = LOG_LIMIT(60000, 3);
    struct zk_store *z = atomic_load(&slots[slot]);
    const char *level = strstr(message, ":ZOO_"), *text = level != NULL ? strstr(level, ": ") : NULL;
    int hidden;

    if (z != NULL && strstr(message, BREAK) != NULL)
        note_break(z);
    text = text != NULL ? text + 2 : message;
    if (level != NULL && strncmp(level, ":ZOO_ERROR", 10) == 0 && strstr(message, BREAK) == NULL &&
        log_limit(&limit, &hidden))
        log_warn("ZooKeeper's client: %.*s", (int)strcspn(text, "\n"), text);
    else
        log_debug("ZooKeeper's client: %.*s", (int)strcspn(text, "\n"), text);
}

#define SLOT(n) static void line_##n(const char *message) { line(n, message); }
SLOT(0) SLOT(1) SLOT(2) SLOT(3) SLOT(4) SLOT(5) SLOT(6) SLOT(7)
#undef SLOT

static const log_callback_fn callbacks[SLOTS] = { line_0, line_1, line_2, line_3, line_4, line_5, line_6, line_7 };

bool zk_log_slot_take(struct zk_store *z)
{
    for (int i = 0; i < SLOTS; i++) {
        struct zk_store *none = NULL;

        if (atomic_compare_exchange_strong(&slots[i], &none, z)) {
            z->slot = i;
            return true;
        }
    }
    return false;
}

void zk_log_slot_give(struct zk_store *z)
{
    atomic_store(&slots[z->slot], NULL);
}

log_callback_fn zk_log_callback(const struct zk_store *z)
{
    return callbacks[z->slot];
}
