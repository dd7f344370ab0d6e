/* tools/argparse.h - what the other option parser of Kafka's tools (struct command, prog) checks and says.
 *
 * Each check gives 0, or has printed what is wrong and gives the exit status.
 * LOCKS    none: one thread.
 */
#ifndef TOOLS_ARGPARSE_H
#define TOOLS_ARGPARSE_H

#include "tools/command.h"

enum argparse_kind { ARG_INTEGER, ARG_LONG, ARG_DOUBLE };

struct argparse_number {
    size_t             opt;
    enum argparse_kind kind;
};

int argparse_numbers(const struct invocation *inv, const struct options *o, const struct argparse_number *v, size_t n);
int argparse_required(const struct invocation *inv, const struct options *o, const size_t *opts, size_t n);
/* One of them and not more. */
int argparse_one_of(const struct invocation *inv, const struct options *o, const size_t *opts, size_t n);

/* After the checks; 0 where there is no value. */
int64_t argparse_i64(const struct options *o, size_t opt);
double  argparse_double(const struct options *o, size_t opt);

#endif
