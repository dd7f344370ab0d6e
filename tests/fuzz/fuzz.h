/* tests/fuzz/fuzz.h - what a fuzz target is: a file tests/fuzz/fuzz_NAME.c with these two functions.
 *
 * build/tests/fuzz/fuzz_NAME is the target with driver.c: mutated seeds in a fixed order, part of `make test`.
 * `make fuzz` links it with clang's libFuzzer instead and searches for as long as FUZZ_SECONDS says.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "base/bytes.h"

/* Any bytes at all. Returns 0; what must not happen ends the program (FUZZ_CHECK, a sanitizer, a signal). */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* The seeds, i from 0: inputs that are well-formed, from which the others are made. They stay the target's. false: no
 * more. Called from one thread only. */
bool fuzz_seed(size_t i, struct bytes *out);

#define FUZZ_CHECK(what) ((what) ? (void)0 : fuzz_failed(__FILE__, __LINE__, #what))

_Noreturn void fuzz_failed(const char *file, int line, const char *what);

#endif
