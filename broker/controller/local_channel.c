/* broker/controller/local_channel.c - the channel to the broker of this process: its requests go to the same queue as
 * those of other controllers. Making a thousand logs takes a while; the controller goes on meanwhile, as it does when
 * the broker is another machine.
 */
#include "broker/controller/orders.h"

#include <stdlib.h>

struct local_channel {
    struct broker_channel base;
    struct orders        *orders;
};

static void local_send(struct broker_channel *ch, struct control_request *req)
{
    orders_submit(((struct local_channel *)ch)->orders, req, ch);
}

static void local_close(struct broker_channel *ch)
{
    orders_withdraw(((struct local_channel *)ch)->orders, ch);
    free(ch);
}

int local_channel_new(struct broker_channel **out, struct orders *o)
{
    struct local_channel *lc = calloc(1, sizeof *lc);

    *out = NULL;
    if (lc == NULL)
        return ERR_NOMEM;
    lc->base = (struct broker_channel){ .send = local_send, .close = local_close };
    lc->orders = o;
    *out = &lc->base;
    return OK;
}
