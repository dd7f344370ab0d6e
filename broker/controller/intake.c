/* broker/controller/intake.c - topics are read from their nodes, and those that have no id get one; see intake.h. */
#include "broker/controller/intake.h"

#include "base/log.h"
#include "metadata/topic_name.h"

#include <stdlib.h>

void intake_fini(struct frame *f)
{
    struct intake *in = (struct intake *)f;

    free(in->topics);
    free(in->fresh);
}

static void topic_add(struct controller *c, struct intake *in, struct ctl_topic *t)
{
    if (in->n == in->cap) {
        size_t cap = in->cap == 0 ? 16 : in->cap * 2;
        struct ctl_topic **v = realloc(in->topics, cap * sizeof *v);

        if (v == NULL) {
            ctl_abort(c, ERR_NOMEM, "reading topics");
            return;
        }
        in->topics = v;
        in->cap = cap;
    }
    in->topics[in->n++] = t;
}

bool intake_fresh(struct controller *c, struct intake *in, struct ctl_partition *p)
{
    if (in->fresh_n == in->fresh_cap) {
        size_t cap = in->fresh_cap == 0 ? 64 : in->fresh_cap * 2;
        struct ctl_partition **v = realloc(in->fresh, cap * sizeof *v);

        if (v == NULL) {
            ctl_abort(c, ERR_NOMEM, "reading topics");
            return false;
        }
        in->fresh = v;
        in->fresh_cap = cap;
    }
    in->fresh[in->fresh_n++] = p;
    return true;
}

void intake_rewrite(struct controller *c, struct ctl_topic *t, struct znode_topic *z, int32_t version, answer_fn *fn)
{
    struct store_call *call;
    char *text;

    z->id = t->id;
    text = znode_topic_write(z);
    call = text != NULL ? ctl_fenced_call(c) : NULL;
    if (call != NULL) {
        store_set(call, zpath_topic(topic_str(t)).z, (struct bytes){ (uint8_t *)text, strlen(text) }, version);
        ctl_ask(c, call, fn, t);
    } else {
        ctl_abort(c, ERR_NOMEM, "writing a topic");
    }
    free(text);
}

static void id_written(struct controller *c, struct store_call *call, void *subject)
{
    struct ctl_topic *t = subject;

    if (call->rc == OK || call->rc == ERR_VERSION)
        return;
    context_topic_unidentify(&c->ctx, t);
    log_error(ZK_BROKER_TOPICS "/%s: cannot be given a topic id: %s", t->name, err_text(call->rc));
}

void intake_topic(struct controller *c, struct intake *in, struct str name)
{
    char buf[512];
    const char *fault = topic_name_fault(name, buf, sizeof buf);
    struct ctl_topic *t;

    if (fault != NULL) {
        log_error(ZK_BROKER_TOPICS ": topic name is invalid: %s; the node is ignored", fault);
        return;
    }
    if (context_topic_add(&c->ctx, name, &t) != OK)
        ctl_abort(c, ERR_NOMEM, "reading topics");
    else
        topic_add(c, in, t);
}

static void topic_read(struct controller *c, struct store_call *call, void *subject)
{
    struct ctl_topic *t = subject;
    struct znode_topic z;
    int32_t added;
    int rc = call->rc;

    if (rc == OK)
        rc = znode_topic_read(call->ops[0].value, &call->arena, &z);
    if (rc == OK) {
        if (uuid_is_zero(t->id))
            rc = context_topic_identify(&c->ctx, t, z.id);
        if (rc == ERR_EXISTS)
            log_error(ZK_BROKER_TOPICS "/%s: has the id of another topic, and gets one of its own", t->name);
    }
    if (rc == OK || rc == ERR_EXISTS)
        rc = context_topic_grow(t, &z, &added);
    if (rc == OK && uuid_is_zero(t->id) && t->partitions_n > 0 && ibp_has(&c->ibp, IBP_TOPIC_IDS)) {
        rc = context_topic_identify(&c->ctx, t, uuid_random());     /* tools older than 2.8 give none */
        if (rc == OK)
            intake_rewrite(c, t, &z, call->ops[0].stat.version, id_written);
    }
    if (rc == ERR_NOMEM)
        ctl_abort(c, rc, "reading topics");
    else if (rc != OK && rc != ERR_NOENT)
        log_error(ZK_BROKER_TOPICS "/%s: cannot be read: %s; the topic has no partitions until it is mended", t->name,
                  err_text(rc));
}

enum step_next intake_read(struct controller *c, struct frame *f)
{
    struct intake *in = (struct intake *)f;

    for (size_t i = 0; i < in->n; i++) {
        struct store_call *call = ctl_call(c);

        if (call == NULL)
            return STEP_END;
        store_get(call, zpath_topic(topic_str(in->topics[i])).z, STORE_WATCH);
        ctl_ask(c, call, topic_read, in->topics[i]);
    }
    return STEP_NEXT;
}
