/* config/listeners.c - listeners and advertised.listeners, and every property that refers to one of them by name.
 *
 * What listens:     listeners, else (2.7) PLAINTEXT://host.name:port
 * What is told:     advertised.listeners, else (2.7) advertised.host.name/advertised.port, else what listens
 * Among brokers:    inter.broker.listener.name, else the listener named like security.inter.broker.protocol
 */
#include "config/jtext.h"
#include "config/load.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *const protocol_names[] = {
    [SECURITY_PLAINTEXT] = "PLAINTEXT",
    [SECURITY_SSL] = "SSL",
    [SECURITY_SASL_PLAINTEXT] = "SASL_PLAINTEXT",
    [SECURITY_SASL_SSL] = "SASL_SSL",
};
enum { PROTOCOLS_N = sizeof protocol_names / sizeof protocol_names[0] };

struct protocol_of {                    /* one entry of listener.security.protocol.map */
    const char            *name;
    enum security_protocol protocol;
};

struct protocol_map {
    struct protocol_of *v;
    size_t              n;
};

struct endpoints {
    struct listener *v;
    size_t           n;
};

const char *security_protocol_name(enum security_protocol p)
{
    return protocol_names[p];
}

void listener_text(const struct listener *l, char *buf, size_t size)
{
    const char *host = l->host != NULL ? l->host : "";

    snprintf(buf, size, strchr(host, ':') != NULL ? "[%s]:%d" : "%s:%d", host, l->port);
}

static bool protocol_parse(struct str s, enum security_protocol *out)
{
    for (size_t i = 0; i < PROTOCOLS_N; i++) {
        if (strlen(protocol_names[i]) == s.len && strncasecmp(protocol_names[i], s.p, s.len) == 0) {
            *out = (enum security_protocol)i;
            return true;
        }
    }
    return false;
}

/* The next part of a list with commas, trimmed; false at the end. Empty parts are skipped, as Kafka does here. */
static bool next_part(const char **at, struct str *out)
{
    while (*at != NULL) {
        size_t n = strcspn(*at, ",");

        *out = jtrim((struct str){ *at, n });
        *at = (*at)[n] == ',' ? *at + n + 1 : NULL;
        if (out->len > 0)
            return true;
    }
    return false;
}

static size_t count_parts(const char *list)
{
    size_t n = 1;

    for (; *list != '\0'; list++)
        n += *list == ',';
    return n;
}

static const char *upper(struct loader *l, struct str s)
{
    char *out = loader_array(l, s.len + 1, 1);

    for (size_t i = 0; out != NULL && i < s.len; i++)
        out[i] = (char)toupper((unsigned char)s.p[i]);
    return out;
}

static void map_parse(struct loader *l, struct protocol_map *map)
{
    const char *key = "listener.security.protocol.map", *at = l->cfg->listener_security_protocol_map;
    struct str part;

    map->v = loader_array(l, count_parts(at), sizeof *map->v);
    while (map->v != NULL && next_part(&at, &part)) {
        const char *colon = memrchr(part.p, ':', part.len);
        struct protocol_of *e = &map->v[map->n];
        struct str name, protocol;

        if (colon == NULL) {
            loader_refuse(l, key, "%.*s is not NAME:PROTOCOL", STR_ARG(part));
            return;
        }
        name = jtrim((struct str){ part.p, (size_t)(colon - part.p) });
        protocol = jtrim((struct str){ colon + 1, (size_t)(part.p + part.len - colon - 1) });
        if (!protocol_parse(protocol, &e->protocol)) {
            loader_refuse(l, key, "%.*s is no security protocol; allowed: PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL",
                          STR_ARG(protocol));
            return;
        }
        e->name = upper(l, name);
        if (e->name == NULL)
            return;
        map->n++;
    }
}

static const struct protocol_of *map_find(const struct protocol_map *map, const char *name)
{
    for (size_t i = 0; name != NULL && i < map->n; i++)
        if (strcmp(map->v[i].name, name) == 0)
            return &map->v[i];
    return NULL;
}

/* ---- one endpoint ------------------------------------------------------------------------------------------- */

/* NAME://host:port with an optional pair of brackets around the host, split without judging the parts. */
static bool split_endpoint(struct str s, struct str *name, struct str *host, struct str *port)
{
    const char *sep = NULL, *colon;

    for (size_t i = 0; i + 3 <= s.len; i++)
        if (memcmp(s.p + i, "://", 3) == 0)
            sep = s.p + i;
    if (sep == NULL)
        return false;
    *name = (struct str){ s.p, (size_t)(sep - s.p) };
    *host = (struct str){ sep + 3, s.len - name->len - 3 };
    colon = memrchr(host->p, ':', host->len);
    if (colon == NULL)
        return false;
    *port = (struct str){ colon + 1, (size_t)(host->p + host->len - colon - 1) };
    host->len = (size_t)(colon - host->p);
    if (host->len > 0 && host->p[0] == '[')
        *host = (struct str){ host->p + 1, host->len - 1 };
    if (host->len > 0 && host->p[host->len - 1] == ']')
        host->len--;
    for (size_t i = 0; i < host->len; i++)
        if (!isalnum((unsigned char)host->p[i]) && strchr("-%._:", host->p[i]) == NULL)
            return false;
    return true;
}

static bool endpoint_parse(struct loader *l, const char *key, struct str s, const struct protocol_map *map,
                           struct listener *out)
{
    const struct protocol_of *protocol;
    struct str name, host, port;
    int64_t n;

    if (!split_endpoint(s, &name, &host, &port)) {
        loader_refuse(l, key, "%.*s is not NAME://host:port", STR_ARG(s));
        return false;
    }
    if (!jlong_parse(port, 0, 65535, &n)) {
        loader_refuse(l, key, "%.*s is no port; allowed: 0 to 65535", STR_ARG(port));
        return false;
    }
    *out = (struct listener){ .name = upper(l, name), .port = (int32_t)n };
    if (host.len > 0)
        out->host = loader_text(l, "%.*s", STR_ARG(host));
    protocol = map_find(map, out->name);
    if (protocol == NULL) {
        loader_refuse(l, key, "no security protocol is defined for listener %.*s; name it PLAINTEXT, or add "
                      "%.*s:PLAINTEXT to listener.security.protocol.map", STR_ARG(name), STR_ARG(name));
        return false;
    }
    out->protocol = protocol->protocol;
    return true;
}

static int ip_version(const char *host)
{
    unsigned char addr[16];

    if (host == NULL)
        return 0;
    return inet_pton(AF_INET, host, addr) == 1 ? 4 : inet_pton(AF_INET6, host, addr) == 1 ? 6 : 0;
}

/* Two listeners may share a port only if one has an IPv4 and the other an IPv6 address. */
static bool may_share_port(const struct listener *a, const struct listener *b)
{
    return ip_version(a->host) + ip_version(b->host) == 10 && ip_version(a->host) != 5;
}

static void check_distinct(struct loader *l, const char *key, const struct endpoints *e, bool ports_too)
{
    for (size_t i = 0; i < e->n; i++) {
        for (size_t j = 0; j < i; j++) {
            if (strcmp(e->v[i].name, e->v[j].name) == 0) {
                loader_refuse(l, key, "two listeners are named %s; each needs a name of its own", e->v[i].name);
                return;
            }
            if (ports_too && e->v[i].port != 0 && e->v[i].port == e->v[j].port &&
                !may_share_port(&e->v[i], &e->v[j])) {
                loader_refuse(l, key, "%s and %s have the same port %d; each listener needs a port of its own, "
                              "unless one has an IPv4 and the other an IPv6 address",
                              e->v[j].name, e->v[i].name, e->v[i].port);
                return;
            }
        }
    }
}

static void endpoints_parse(struct loader *l, const char *key, const char *list, const struct protocol_map *map,
                            bool distinct_ports, struct endpoints *out)
{
    struct str part;

    out->v = loader_array(l, count_parts(list), sizeof *out->v);
    while (out->v != NULL && next_part(&list, &part)) {
        if (!endpoint_parse(l, key, part, map, &out->v[out->n]))
            return;
        out->n++;
    }
    if (out->v != NULL)
        check_distinct(l, key, out, distinct_ports);
}

/* ---- which of the properties counts ------------------------------------------------------------------------- */

static const char *plaintext_endpoint(struct loader *l, const char *host, int port)
{
    return strchr(host, ':') != NULL ? loader_text(l, "PLAINTEXT://[%s]:%d", host, port)
                                     : loader_text(l, "PLAINTEXT://%s:%d", host, port);
}

static struct endpoints parse_listeners(struct loader *l, const struct protocol_map *map)
{
    struct endpoints e = { 0 };
    const char *list = l->cfg->listeners, *key = "listeners";
    bool old = loader_given(l, "host.name") != NULL || loader_given(l, "port") != NULL;

    if (loader_given(l, key) == NULL && old) {
        const char *host = l->cfg->host_name;

        key = loader_given(l, "port") != NULL ? "port" : "host.name";
        list = plaintext_endpoint(l, host, l->cfg->port);
    }
    if (list == NULL || loader_is_bad(l, key))
        return e;
    endpoints_parse(l, key, list, map, true, &e);
    if (e.n == 0 && !loader_is_bad(l, key))
        loader_refuse(l, key, "there must be at least one listener");
    return e;
}

static struct endpoints parse_advertised(struct loader *l, const struct protocol_map *map,
                                         const struct endpoints *listeners)
{
    struct endpoints e = { 0 };
    const struct config *c = l->cfg;

    if (c->advertised_listeners != NULL || loader_is_bad(l, "advertised.listeners")) {
        if (!loader_is_bad(l, "advertised.listeners"))
            endpoints_parse(l, "advertised.listeners", c->advertised_listeners, map, false, &e);
        if (e.n == 0 && !loader_is_bad(l, "advertised.listeners"))
            loader_refuse(l, "advertised.listeners", "there must be at least one listener");
        return e;
    }
    if (c->advertised_host_name != NULL || c->advertised_port != CONFIG_UNSET_INT) {
        const char *key = c->advertised_host_name != NULL ? "advertised.host.name" : "advertised.port";
        const char *host = c->advertised_host_name != NULL ? c->advertised_host_name : c->host_name;
        int port = c->advertised_port != CONFIG_UNSET_INT ? c->advertised_port : c->port;
        const char *list = plaintext_endpoint(l, host, port);

        if (list != NULL)
            endpoints_parse(l, key, list, map, false, &e);
        return e;
    }
    return *listeners;
}

static const struct listener *by_name(const struct endpoints *e, const char *name)
{
    for (size_t i = 0; i < e->n; i++)
        if (strcmp(e->v[i].name, name) == 0)
            return &e->v[i];
    return NULL;
}

static const char *names_of(struct loader *l, const struct endpoints *e)
{
    const char *out = "";

    for (size_t i = 0; i < e->n && out != NULL; i++)
        out = loader_text(l, "%s%s%s", out, i > 0 ? ", " : "", e->v[i].name);
    return out != NULL ? out : "";
}

/* ---- checks over both lists --------------------------------------------------------------------------------- */

static bool is_loopback(const char *host)
{
    return host != NULL &&
           (strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 || strcasecmp(host, "localhost") == 0);
}

static void check_secure(struct loader *l, const struct endpoints *listeners)
{
    for (size_t i = 0; i < listeners->n; i++)
        if (listeners->v[i].protocol != SECURITY_PLAINTEXT)
            loader_refuse(l, "listeners", "listener %s is to use %s, which Klamm does not offer yet; it will not serve "
                          "in the clear what was to be protected", listeners->v[i].name,
                          protocol_names[listeners->v[i].protocol]);
}

static void check_advertised(struct loader *l, const struct endpoints *listeners, const struct endpoints *advertised)
{
    const char *key = l->cfg->advertised_listeners != NULL ? "advertised.listeners" : "listeners";

    for (size_t i = 0; i < advertised->n; i++) {
        const struct listener *a = &advertised->v[i], *own = by_name(listeners, a->name);

        if (own == NULL)
            loader_refuse(l, key, "%s is not one of the listeners: %s", a->name, names_of(l, listeners));
        if (a->host != NULL && (strcmp(a->host, "0.0.0.0") == 0 || strcmp(a->host, "::") == 0))
            loader_refuse(l, key, "clients cannot connect to %s; %s an address or a name that they can reach", a->host,
                          l->cfg->advertised_listeners != NULL ? "advertise" : "set advertised.listeners to");
        if (own != NULL && is_loopback(a->host) && !is_loopback(own->host))
            loader_problem(l, CONFIG_WARNING, loader_given(l, key), NULL, "clients on other machines will be told to "
                           "connect to %s, which is their own machine", a->host);
    }
}

static void derive_inter_broker(struct loader *l, const struct protocol_map *map, const struct endpoints *advertised)
{
    struct config *c = l->cfg;
    const char *key = "inter.broker.listener.name", *name = c->inter_broker_listener_name;

    if (name != NULL && loader_given(l, "security.inter.broker.protocol") != NULL) {
        loader_refuse(l, key, "only one of this and security.inter.broker.protocol may be set");
        return;
    }
    if (name == NULL)
        key = "security.inter.broker.protocol";
    c->inter_broker_listener = upper(l, str_of(name != NULL ? name : c->security_inter_broker_protocol));
    if (c->inter_broker_listener == NULL || loader_is_bad(l, key))
        return;
    if (name != NULL && map_find(map, c->inter_broker_listener) == NULL)
        loader_refuse(l, key, "is not in listener.security.protocol.map");
    else if (advertised->n > 0 && by_name(advertised, c->inter_broker_listener) == NULL)
        loader_refuse(l, key, "is not the name of an advertised listener (%s); set inter.broker.listener.name to one "
                      "of them", names_of(l, advertised));
}

static void derive_control_plane(struct loader *l, const struct protocol_map *map, const struct endpoints *listeners,
                                 const struct endpoints *advertised)
{
    struct config *c = l->cfg;
    const char *key = "control.plane.listener.name";

    if (c->control_plane_listener_name == NULL || loader_is_bad(l, key))
        return;
    c->control_plane_listener = upper(l, str_of(c->control_plane_listener_name));
    if (c->control_plane_listener == NULL)
        return;
    if (map_find(map, c->control_plane_listener) == NULL)
        loader_refuse(l, key, "is not in listener.security.protocol.map");
    else if (by_name(advertised, c->control_plane_listener) == NULL)
        loader_refuse(l, key, "is not the name of an advertised listener (%s)", names_of(l, advertised));
    else if (by_name(listeners, c->control_plane_listener) == NULL)
        loader_refuse(l, key, "is not the name of a listener (%s)", names_of(l, listeners));
    else if (c->inter_broker_listener != NULL && strcmp(c->inter_broker_listener, c->control_plane_listener) == 0)
        loader_refuse(l, key, "must be another listener than the one that brokers use among themselves");
}

/* ---- listener.name.<name>.<property> ------------------------------------------------------------------------ */

static int32_t *own_limit(struct listener *e, const char *property)
{
    if (strcmp(property, "num.network.threads") == 0)
        return &e->num_network_threads;
    if (strcmp(property, "max.connections") == 0)
        return &e->max_connections;
    if (strcmp(property, "max.connection.creation.rate") == 0)
        return &e->max_connection_creation_rate;
    return NULL;
}

const struct param *listener_base_param(const char *key)
{
    const char *dot = strncmp(key, LISTENER_PREFIX, strlen(LISTENER_PREFIX)) == 0
                    ? strchr(key + strlen(LISTENER_PREFIX), '.') : NULL;
    const struct param *p = dot != NULL ? param_find(&server_params, str_of(dot + 1)) : NULL;
    const char *sasl = dot != NULL ? strstr(dot, ".sasl.") : NULL;

    return p == NULL && sasl != NULL ? param_find(&server_params, str_of(sasl + 1)) : p;
}

static void listener_property(struct loader *l, const struct config_given *g, const struct endpoints *listeners)
{
    const char *name = g->key + strlen(LISTENER_PREFIX), *dot = strchr(name, '.');
    const struct param *p = listener_base_param(g->key);
    struct listener *e = NULL;
    char why[2048], allowed[2048];
    int32_t *field;
    struct config *scratch;
    int rc;

    for (size_t i = 0; p != NULL && i < listeners->n; i++)
        if (strlen(listeners->v[i].name) == (size_t)(dot - name) &&
            strncasecmp(listeners->v[i].name, name, (size_t)(dot - name)) == 0)
            e = &listeners->v[i];
    if (p == NULL || e == NULL) {
        loader_problem(l, CONFIG_WARNING, g, NULL, p == NULL ? "unknown property, it does nothing"
                                                             : "there is no listener of this name");
        return;
    }
    scratch = loader_array(l, 1, sizeof *scratch);
    if (scratch == NULL)
        return;
    rc = param_set(p, scratch, g->value, &l->cfg->arena, why, sizeof why);
    field = own_limit(e, dot + 1);
    param_allowed(p, allowed, sizeof allowed);
    if (rc == ERR_RANGE)
        loader_problem(l, CONFIG_ERROR, g, NULL, "not a value of this property; allowed: %s", allowed);
    else if (rc != OK)
        l->rc = rc;
    else if (field != NULL)
        memcpy(field, (char *)scratch + p->offset, sizeof *field);
    else if (p->effect == CONFIG_EFFECT || p->effect == CONFIG_LATER)
        loader_problem(l, CONFIG_WARNING, g, NULL, "has an effect for all listeners together only, as %s", p->name);
    else
        (void)loader_check_effect(l, g, p, scratch);
}

static void own_limits(struct loader *l, const struct endpoints *listeners)
{
    for (size_t i = 0; i < listeners->n; i++) {
        listeners->v[i].num_network_threads = l->cfg->num_network_threads;
        listeners->v[i].max_connections = INT32_MAX;
        listeners->v[i].max_connection_creation_rate = INT32_MAX;
    }
    for (size_t i = 0; i < l->given_n; i++)
        if (strncmp(l->given[i].key, LISTENER_PREFIX, strlen(LISTENER_PREFIX)) == 0)
            listener_property(l, &l->given[i], listeners);
}

void listeners_derive(struct loader *l)
{
    struct protocol_map map = { 0 };
    struct endpoints listeners, advertised;

    map_parse(l, &map);
    if (l->rc != OK || loader_is_bad(l, "listener.security.protocol.map"))
        return;                                     /* nothing below could be judged */
    listeners = parse_listeners(l, &map);
    own_limits(l, &listeners);
    advertised = parse_advertised(l, &map, &listeners);
    check_secure(l, &listeners);
    if (!loader_is_bad(l, "listeners") && !loader_is_bad(l, "advertised.listeners")) {
        check_advertised(l, &listeners, &advertised);
        derive_inter_broker(l, &map, &advertised);
        derive_control_plane(l, &map, &listeners, &advertised);
    }
    l->cfg->listeners_parsed = listeners.v;
    l->cfg->listeners_parsed_n = listeners.n;
    l->cfg->advertised_parsed = advertised.v;
    l->cfg->advertised_parsed_n = advertised.n;
}
