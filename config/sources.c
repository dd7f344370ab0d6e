/* config/sources.c - collect what was given: the file, KAFKA_* in the environment, --override; later sources win. */
#include "config/load.h"
#include "config/properties.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_LIMIT_BYTES = 16 << 20 };

/* KAFKA_<these> steer the start scripts or the JVM, or name the installation; they are no properties. */
static const char not_properties[] =
    " OPTS HEAP_OPTS LOG4J_OPTS JMX_OPTS GC_LOG_OPTS JVM_PERFORMANCE_OPTS HOME VERSION DEBUG JMX_PORT JMX_HOSTNAME"
    " DEBUG_SUSPEND_FLAG JAVA_DEBUG_OPTS JAVA_DEBUG_PORT LOG4J_LOGGERS LOG4J_ROOT_LOGLEVEL TOOLS_LOG4J_LOGLEVEL"
    " CLUSTER_ID CREATE_TOPICS SCALA_VERSION USER GROUP CONF_DIR CONF_FILE BASE_DIR VOLUME_DIR DATA_DIR DAEMON_USER"
    " DAEMON_GROUP EXTRA_FLAGS MODE ";

static bool has_word(const char *words, const char *word, size_t len)
{
    for (const char *w = words; (w = strstr(w, word)) != NULL; w++)
        if (w[-1] == ' ' && w[len] == ' ')
            return true;
    return false;
}

static struct config_given *find(struct loader *l, const char *key)
{
    for (size_t i = 0; i < l->given_n; i++)
        if (strcmp(l->given[i].key, key) == 0)
            return &l->given[i];
    return NULL;
}

/* One more, or the winner over the one that was there. */
void loader_give(struct loader *l, struct config_given g)
{
    struct config_given *old = find(l, g.key);

    if (old == NULL && l->given_n == l->given_cap) {
        size_t cap = l->given_cap == 0 ? 64 : l->given_cap * 2;
        struct config_given *v = loader_array(l, cap, sizeof *v);

        if (v == NULL)
            return;
        if (l->given_n > 0)
            memcpy(v, l->given, l->given_n * sizeof *v);
        l->given = v;
        l->given_cap = cap;
    }
    if (old != NULL && old->line > 0 && g.line > 0)
        loader_problem(l, CONFIG_WARNING, &g, NULL, "given already in line %d; this one, the last, counts", old->line);
    if (old == NULL)
        old = &l->given[l->given_n++];
    *old = g;
}

/* What can only be set while brokers run is nothing that a source can give. */
static void give(struct loader *l, struct config_given g)
{
    g.param = param_find(&server_params, str_of(g.key));
    if (g.param != NULL && (g.param->flags & PARAM_DYNAMIC) != 0)
        g.param = NULL;
    loader_give(l, g);
}

/* ---- the file ----------------------------------------------------------------------------------------------- */

static bool read_all(struct loader *l, int fd, const char *name, struct str *out)
{
    char *buf = NULL;
    size_t n = 0, cap = 0;

    for (;;) {
        ssize_t got;

        if (n == cap) {
            char *bigger = n < FILE_LIMIT_BYTES ? loader_array(l, cap == 0 ? 16384 : cap * 2, 1) : NULL;

            if (n >= FILE_LIMIT_BYTES)
                loader_file_problem(l, name, 0, "is larger than %d bytes; is it a properties file?", FILE_LIMIT_BYTES);
            if (bigger == NULL)
                return false;
            if (n > 0)
                memcpy(bigger, buf, n);
            buf = bigger;
            cap = cap == 0 ? 16384 : cap * 2;
        }
        got = read(fd, buf + n, cap - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            loader_file_problem(l, name, 0, "cannot be read: %s", strerror(errno));
            return false;
        }
        if (got == 0)
            break;
        n += (size_t)got;
    }
    *out = (struct str){ buf, n };
    return true;
}

static void read_file(struct loader *l, const char *name)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    struct properties ps = { 0 };
    struct str text;
    bool read;

    if (fd < 0) {
        loader_file_problem(l, name, 0, "cannot be opened: %s", strerror(errno));
        return;
    }
    read = read_all(l, fd, name, &text);
    close(fd);
    if (!read)
        return;
    if (properties_parse(text, &l->cfg->arena, &ps) != OK)
        l->rc = ERR_NOMEM;
    for (size_t i = 0; i < ps.n && l->rc == OK; i++) {
        struct config_given g = { .key = ps.v[i].key, .value = ps.v[i].value, .file = name, .line = ps.v[i].line };

        g.param = param_find(&server_params, str_of(g.key));
        if (ps.v[i].broken != NULL)
            loader_problem(l, CONFIG_ERROR, &g, NULL, "%s", ps.v[i].broken);
        else
            give(l, g);
    }
}

/* ---- the environment ---------------------------------------------------------------------------------------- */

/* LOG_RETENTION_MS and log.retention.ms; also for the few keys that have capitals. */
static bool is_env_name_of(const char *env, size_t len, const char *key)
{
    if (strlen(key) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (env[i] != (key[i] == '.' ? '_' : toupper((unsigned char)key[i])))
            return false;
    return true;
}

/* By the containers' rule: '_' is a dot, "__" an underscore, "___" a dash. */
static const char *key_of_env(struct loader *l, const char *env, size_t len)
{
    char *key, *o;

    for (size_t i = 0; i < server_params.n; i++)
        if (is_env_name_of(env, len, server_params.v[i].name))
            return server_params.v[i].name;
    key = o = loader_array(l, len + 1, 1);
    for (size_t i = 0; key != NULL && i < len;) {
        size_t run = strspn(env + i, "_");

        if (run == 0)
            *o++ = (char)tolower((unsigned char)env[i++]);
        else
            *o++ = run == 1 ? '.' : run == 2 ? '_' : '-';
        i += run < 3 ? run : 3;
    }
    return key;
}

/* A container platform that runs a service called "kafka" sets KAFKA_PORT=tcp://..., KAFKA_SERVICE_HOST and so on. */
static bool is_service_link(const char *name, size_t len, const char *value)
{
    return strncmp(name, "SERVICE_HOST", 12) == 0 || strncmp(name, "SERVICE_PORT", 12) == 0 ||
           (strncmp(name, "PORT_", 5) == 0 && strstr(name, "_TCP") != NULL && strstr(name, "_TCP") < name + len) ||
           (len == 4 && strncmp(name, "PORT", 4) == 0 && strncmp(value, "tcp://", 6) == 0);
}

static void read_env(struct loader *l, char *const *env)
{
    for (; *env != NULL && l->rc == OK; env++) {
        const char *name = *env, *eq = strchr(name, '=');
        struct config_given g = { 0 };
        char word[64];
        size_t len;

        if (eq == NULL || strncmp(name, "KAFKA_", 6) != 0)
            continue;
        name += strncmp(name, "KAFKA_CFG_", 10) == 0 ? 10 : 6;
        len = (size_t)(eq - name);
        if (len == 0 || len >= sizeof word * 4 || is_service_link(name, len, eq + 1))
            continue;
        if (len < sizeof word) {
            memcpy(word, name, len);
            word[len] = '\0';
            if (has_word(not_properties, word, len))
                continue;
        }
        g.key = key_of_env(l, name, len);
        g.value = loader_text(l, "%s", eq + 1);
        g.file = loader_text(l, "environment variable %.*s", (int)(eq - *env), *env);
        if (g.key != NULL && g.value != NULL && g.file != NULL)
            give(l, g);
    }
}

static void read_overrides(struct loader *l, const char *const *v, size_t n)
{
    for (size_t i = 0; i < n && l->rc == OK; i++) {
        const char *eq = strchr(v[i], '=');
        struct config_given g = { .file = "--override" };

        if (eq == NULL || eq == v[i]) {
            loader_file_problem(l, "--override", 0, "%s is not key=value", v[i]);
            continue;
        }
        g.key = loader_text(l, "%.*s", (int)(eq - v[i]), v[i]);
        g.value = loader_text(l, "%s", eq + 1);
        if (g.key != NULL && g.value != NULL)
            give(l, g);
    }
}

void sources_read(struct loader *l, const struct config_input *in)
{
    if (in->file != NULL)
        read_file(l, in->file);
    if (in->env != NULL)
        read_env(l, in->env);
    read_overrides(l, in->overrides, in->overrides_n);
}
