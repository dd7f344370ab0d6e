/* broker/peer/isr_changes.c - the queue of changes, and its thread. */
#include "broker/peer/isr_changes_priv.h"

#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

void isr_answer(struct isr_change **at, enum isr_outcome outcome)
{
    struct isr_change *ch = *at;

    *at = ch->next;
    ch->next = NULL;
    ch->outcome = outcome;
    ch->done(ch);
}

static void submit(struct isr_changer *base, struct isr_change *ch)
{
    struct isr_changes *c = (struct isr_changes *)base;
    uint64_t one = 1;
    bool stopped;

    ch->next = NULL;
    lock_take(&c->lock);
    stopped = c->stopped;
    if (!stopped) {
        *c->tail = ch;
        c->tail = &ch->next;
    }
    lock_drop(&c->lock);
    if (stopped) {
        ch->outcome = ISR_DROPPED;
        ch->done(ch);
        return;
    }
    while (write(c->come, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

/* Adds what has come to what is being done. false: nothing is to be done any more. */
static bool take(struct isr_changes *c)
{
    struct isr_change **end = &c->doing;
    bool closing;

    while (*end != NULL)
        end = &(*end)->next;
    lock_take(&c->lock);
    *end = c->head;
    c->head = NULL;
    c->tail = &c->head;
    closing = c->closing;
    c->stopped = closing;
    lock_drop(&c->lock);
    return !closing;
}

static void *changes_main(void *arg)
{
    struct isr_changes *c = arg;
    bool asks = ibp_has(&c->o.ibp, IBP_ALTER_PARTITION);
    uint64_t n;

    pthread_setname_np(pthread_self(), "isr-changes");
    while (take(c)) {
        int64_t next_ms = asks ? -1 : isr_tell(c);

        if (c->doing == NULL) {
            if (controller_link_wait(c->link, c->come, next_ms) == OK)
                while (read(c->come, &n, sizeof n) < 0 && errno == EINTR)
                    ;
        } else if ((asks ? alter_partition(c) : isr_write(c)) != OK &&
                   controller_link_wait(c->link, -1, ISR_RETRY_MS) == ERR_CLOSED) {
            continue;                           /* the end, as take() will tell */
        }
    }
    while (c->doing != NULL)
        isr_answer(&c->doing, ISR_DROPPED);
    return NULL;
}

int isr_changes_new(struct isr_changes **out, const struct isr_changes_opts *o)
{
    struct controller_link_opts lo = { .cfg = o->cfg, .metacache = o->metacache, .broker_id = o->broker_id,
                                       .timeout_ms = o->cfg->controller_socket_timeout_ms, .what = "ISR changes",
                                       .down = o->down, .arg = o->arg };
    struct isr_changes *c = calloc(1, sizeof *c);
    int rc;

    *out = NULL;
    if (c == NULL)
        return ERR_NOMEM;
    c->base.submit = submit;
    c->o = *o;
    c->tail = &c->head;
    c->told_sent_ms = mono_ms();
    lock_init(&c->lock, LOCK_ctlqueue);
    c->come = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rc = c->come < 0 ? ERR_SYSTEM : controller_link_new(&c->link, &lo);
    if (rc == OK && pthread_create(&c->thread, NULL, changes_main, c) != 0)
        rc = ERR_SYSTEM;
    c->started = rc == OK;
    if (rc != OK) {
        isr_changes_free(&c);
        return rc;
    }
    *out = c;
    return OK;
}

struct isr_changer *isr_changes_changer(struct isr_changes *c)
{
    return &c->base;
}

void isr_changes_stop(struct isr_changes *c)
{
    if (!c->started || c->joined)
        return;
    lock_take(&c->lock);
    c->closing = true;
    lock_drop(&c->lock);
    controller_link_interrupt(c->link);
    pthread_join(c->thread, NULL);
    c->joined = true;
}

void isr_changes_free(struct isr_changes **cp)
{
    struct isr_changes *c = *cp;

    *cp = NULL;
    if (c == NULL)
        return;
    isr_changes_stop(c);
    isr_told_free(c);
    controller_link_free(&c->link);
    if (c->come >= 0)
        close(c->come);
    lock_fini(&c->lock);
    free(c);
}
