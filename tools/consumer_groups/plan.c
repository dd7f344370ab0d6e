/* tools/consumer_groups/plan.c - --from-file: which offset each partition of a group is to have.
 *
 * Lines are topic,partition,offset when there is one --group and the first line has three fields, else
 * group,topic,partition,offset. Apache Kafka's command takes a missing field for 0; here the line is refused, because
 * it would set an offset to 0.
 */
#include "tools/consumer_groups/consumer_groups.h"

#include "tools/consumer_groups/csv.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#define FILE_LIMIT ((size_t)256 << 20)

static int file_read(struct cg *cg, const char *file, struct str *out)
{
    FILE  *f = fopen(file, "rb");
    char  *text = NULL;
    size_t n = 0, cap = 0;
    int    rc = OK;

    if (f == NULL)
        return admin_fail(&cg->a, ERR_IO, "java.io.IOException: Unable to read file %s", file);
    while (rc == OK && !feof(f) && !ferror(f)) {
        if (n == cap) {
            char *old = text;

            cap = cap > 0 ? 2 * cap : 65536;
            rc = cap <= FILE_LIMIT ? cg_array(cg, cap, 1, &text) :
                 admin_fail(&cg->a, ERR_LIMIT, "%s is larger than %zu MB", file, FILE_LIMIT >> 20);
            if (rc == OK && n > 0)
                memcpy(text, old, n);
        }
        if (rc == OK)
            n += fread(text + n, 1, cap - n, f);
    }
    if (rc == OK && ferror(f))
        rc = admin_fail(&cg->a, ERR_IO, "%s cannot be read: %s", file, strerror(errno));
    fclose(f);
    *out = (struct str){ text, n };
    return rc;
}

static bool field_number(struct str field, int64_t min, int64_t max, int64_t *out)
{
    char text[24];

    while (field.len > 0 && isspace((unsigned char)field.p[0]))
        field = (struct str){ field.p + 1, field.len - 1 };
    while (field.len > 0 && isspace((unsigned char)field.p[field.len - 1]))
        field.len--;
    snprintf(text, sizeof text, "%.*s", STR_ARG(field));
    return field.len < sizeof text && parse_i64(text, min, max, out) == OK;
}

static int line_read(struct cg *cg, struct str line, struct str one_group, bool with_group, struct plan_row *row)
{
    size_t     want = with_group ? 4 : 3, n;
    struct str fields[4];
    int64_t    partition;
    int        rc = csv_read(line, fields, want, &n, &cg->a.arena);

    if (rc == ERR_NOMEM)
        return admin_fail(&cg->a, rc, "out of memory");
    if (rc != OK || n != want || !field_number(fields[want - 2], INT32_MIN, INT32_MAX, &partition) ||
        !field_number(fields[want - 1], INT64_MIN, INT64_MAX, &row->offset))
        return ERR_INVALID;
    row->group = with_group ? fields[0] : one_group;
    row->tp = (struct tp){ fields[want - 3], (int32_t)partition };
    return OK;
}

static size_t line_end(struct str text, size_t i)
{
    const char *end = i < text.len ? memchr(text.p + i, '\n', text.len - i) : NULL;

    return end != NULL ? (size_t)(end - text.p) : text.len;
}

int plan_read(struct cg *cg, const char *file, struct plan *out)
{
    struct str text = { NULL, 0 }, one_group = str_of(options_nth(cg->o, CG_GROUP, 0));
    bool       with_group = cg->o->v[CG_GROUP].given != 1;
    size_t     lines = 1, number = 1;

    TRY(file_read(cg, file, &text));
    while (text.len > 0 && text.p[text.len - 1] == '\n')
        text.len--;
    for (size_t i = 0; i < text.len; i++)
        lines += text.p[i] == '\n';
    out->n = 0;
    TRY(cg_array(cg, lines, sizeof *out->v, &out->v));
    for (size_t i = 0, end; number <= lines; i = end + 1, number++) {
        struct str      line;
        struct plan_row row;
        int             rc;

        end = line_end(text, i);
        line = (struct str){ text.p + i, end - i };
        rc = line_read(cg, line, one_group, with_group, &row);
        if (rc == ERR_INVALID && number == 1 && !with_group) {
            with_group = true;
            rc = line_read(cg, line, one_group, with_group, &row);
        }
        if (rc == ERR_INVALID)
            return admin_fail(&cg->a, rc, "%s, line %zu: '%.*s' should be %stopic,partition,offset", file, number,
                              (int)(line.len < 200 ? line.len : 200), line.p,
                              cg->o->v[CG_GROUP].given == 1 && number == 1 ? "[group,]" : with_group ? "group," : "");
        TRY(rc);
        if (row.offset < 0)
            return cg_usage(cg, "Invalid negative offset");
        out->v[out->n++] = row;
    }
    return OK;
}

static int row_compare(const void *pa, const void *pb)
{
    const struct plan_row *a = *(const struct plan_row *const *)pa, *b = *(const struct plan_row *const *)pb;
    int                    d = tp_compare(&a->tp, &b->tp);

    return d != 0 ? d : a < b ? -1 : a > b;
}

int plan_of_group(struct cg *cg, const struct plan *plan, struct str group, struct found_offset **out, size_t *n)
{
    const struct plan_row **sorted;
    size_t                  k = 0;

    TRY(cg_array(cg, plan->n, sizeof(struct plan_row *), &sorted));
    TRY(cg_array(cg, plan->n, sizeof **out, out));
    for (size_t i = 0; i < plan->n; i++) {
        if (str_eq(plan->v[i].group, group))
            sorted[k++] = &plan->v[i];
    }
    if (k > 1)
        qsort(sorted, k, sizeof *sorted, row_compare);
    *n = 0;
    for (size_t i = 0; i < k; i++) {
        struct found_offset *last = *n > 0 ? &(*out)[*n - 1] : NULL;

        if (last != NULL && tp_compare(&last->tp, &sorted[i]->tp) == 0)
            last->offset = sorted[i]->offset;
        else
            (*out)[(*n)++] = (struct found_offset){ sorted[i]->tp, sorted[i]->offset };
    }
    return OK;
}
