/* broker/cluster/standing.c - two numbers. */
#include "broker/cluster/standing.h"

void standing_init(struct standing *s)
{
    atomic_init(&s->broker_epoch, -1);
    atomic_init(&s->controller_epoch, -1);
}

void standing_registered(struct standing *s, int64_t broker_epoch)
{
    atomic_store(&s->broker_epoch, broker_epoch);
}

int64_t standing_broker_epoch(const struct standing *s)
{
    return atomic_load(&s->broker_epoch);
}

bool standing_outlived(const struct standing *s, int64_t broker_epoch)
{
    return broker_epoch != -1 && broker_epoch < atomic_load(&s->broker_epoch);
}

bool standing_controller(struct standing *s, int32_t controller_epoch)
{
    int32_t seen = atomic_load(&s->controller_epoch);

    while (controller_epoch > seen)
        if (atomic_compare_exchange_weak(&s->controller_epoch, &seen, controller_epoch))
            return true;
    return controller_epoch == seen;
}

int32_t standing_controller_epoch(const struct standing *s)
{
    return atomic_load(&s->controller_epoch);
}
