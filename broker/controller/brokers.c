/* broker/controller/brokers.c - the brokers as the controller knows them, and the channels to them. */
#include "broker/controller/priv.h"

#include "base/log.h"

void broker_channel_open(struct controller *c, struct ctl_broker *b)
{
    int rc = OK;

    if (b->id == c->opts.broker->id)
        b->channel = c->opts.local;
    else if (c->opts.open_channel != NULL)
        rc = c->opts.open_channel(c->opts.open_channel_arg, b->id, b->epoch, &b->info, &b->channel);
    if (rc == OK)
        return;
    log_error("controller: broker %d cannot be reached as it is registered: %s; it is taken for dead", b->id,
              err_text(rc));
    b->channel = NULL;
    b->live = false;
}

void broker_channel_close(struct controller *c, struct ctl_broker *b)
{
    struct broker_channel *ch = b->channel;

    b->channel = NULL;
    if (ch != NULL && ch != c->opts.local)
        ch->close(ch);
}

void brokers_disconnect(struct controller *c)
{
    for (size_t i = 0; i < c->ctx.brokers_n; i++)
        broker_channel_close(c, &c->ctx.brokers[i]);
}
