/* broker/controller/unreachable.c - a broker's connections were reset and connecting again is refused: what follows
 * before its session ends.
 */
#include "broker/controller/priv.h"

#include "base/log.h"

void controller_link_down(struct controller *c, int32_t id, int64_t epoch)
{
    if (event_link(c, id, epoch) != OK)
        log_error("controller: out of memory: broker %d is out of reach; others lead when its session ends", id);
}

void link_down(struct controller *c)
{
    if (!atomic_load(&c->active) && c->event->broker == c->controller_id)
        controller_changed(c);
}
