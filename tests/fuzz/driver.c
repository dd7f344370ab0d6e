/* tests/fuzz/driver.c - runs a fuzz target on mutated seeds, the same ones every time, where there is no libFuzzer.
 *
 *     fuzz_NAME [-n RUNS] [-s SEED] [-r RUN] [FILE...]     RUNS inputs; only that RUN; or just these files
 *     fuzz_NAME -w DIR                                     writes the seeds as files, for libFuzzer's corpus
 *
 * Each run has its own state of the random generator, made from SEED and its number, so one that fails can be repeated
 * alone. The last line is "N passed, N failed": the target counts as one test.
 */
#include "tests/fuzz/fuzz.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define INPUT_MAX ((size_t)65536)
#define RUNS      200000

static struct {
    const char *name;
    uint64_t    seed, run;
    bool        running;
} state = { .seed = 1 };

static struct bytes *seeds;
static size_t seeds_n;

/* ---- when it fails ---- */

void __sanitizer_set_death_callback(void (*fn)(void)) __attribute__((weak));

static void say_which(void)
{
    char text[200];
    int n = snprintf(text, sizeof text, "\n%s: run %" PRIu64 " of seed %" PRIu64 " failed; again with: -s %" PRIu64
                     " -r %" PRIu64 "\n0 passed, 1 failed\n", state.name, state.run, state.seed, state.seed, state.run);

    if (state.running && n > 0 && write(STDOUT_FILENO, text, (size_t)n) < 0)
        _exit(2);
}

static void on_signal(int sig)
{
    say_which();
    signal(sig, SIG_DFL);
    raise(sig);
}

/* ---- mutation ---- */

static uint64_t rng;

static uint64_t next_random(void)      /* splitmix64 */
{
    uint64_t z = (rng += 0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static size_t below(size_t n)
{
    return n > 0 ? (size_t)(next_random() % n) : 0;
}

/* Numbers at which counts and lengths go wrong. */
static uint64_t odd_number(size_t n)
{
    static const uint64_t odd[] = { 0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000,
                                    0xffffffff, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff };
    size_t i = below(sizeof odd / sizeof odd[0] + 2);

    if (i < sizeof odd / sizeof odd[0])
        return odd[i];
    return n + below(3) - 1;
}

static void put_number(uint8_t *p, size_t n)
{
    uint64_t v = odd_number(n);
    size_t width = (size_t)1 << below(4);

    for (size_t i = 0; i < width && i < n; i++)
        p[i] = (uint8_t)(v >> (8 * (width - 1 - i)));
}

static size_t put_varint(uint8_t *p, size_t n)
{
    uint64_t v = odd_number(n);
    size_t i = 0;

    for (; i < n && v >= 0x80; v >>= 7)
        p[i++] = (uint8_t)(v | 0x80);
    if (i < n)
        p[i++] = (uint8_t)v;
    return i;
}

static size_t insert(uint8_t *p, size_t n, size_t at, const uint8_t *what, size_t len)
{
    if (len > INPUT_MAX - n)
        len = INPUT_MAX - n;
    memmove(p + at + len, p + at, n - at);
    memcpy(p + at, what, len);
    return n + len;
}

static size_t mutate(uint8_t *p, size_t n)
{
    uint8_t some[64];
    size_t at = below(n), len = 1 + below(n - at < sizeof some ? n - at : sizeof some);

    switch (below(9)) {
    case 0:
        p[at] = (uint8_t)(p[at] ^ 1U << below(8));
        return n;
    case 1:
        p[at] = (uint8_t)next_random();
        return n;
    case 2:
        put_number(p + at, n - at);
        return n;
    case 3:
        put_varint(p + at, n - at);
        return n;
    case 4:
        return insert(p, n, at, some, put_varint(some, 10));
    case 5:                                     /* cut out */
        if (len > n - at)
            len = n - at;
        memmove(p + at, p + at + len, n - at - len);
        return n - len;
    case 6:                                     /* repeat */
        if (len > n - at)
            len = n - at;
        memcpy(some, p + at, len);
        return insert(p, n, at, some, len);
    case 7:
        return at;                              /* cut off */
    default: {                                  /* the end of another */
        const struct bytes *other = &seeds[below(seeds_n)];
        size_t from = below(other->len), take = other->len - from;

        if (take > INPUT_MAX - at)
            take = INPUT_MAX - at;
        memcpy(p + at, other->p + from, take);
        return at + take;
    }
    }
}

/* The target gets a block of exactly that size, so that a sanitizer sees the first byte read past the end. */
static void run_on(const uint8_t *p, size_t n)
{
    uint8_t *exact = malloc(n > 0 ? n : 1);

    if (exact == NULL)
        abort();
    memcpy(exact, p, n);
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
}

static void run_one(uint64_t run)
{
    static uint8_t input[INPUT_MAX];
    const struct bytes *s;
    size_t n, times;

    state.run = run;
    rng = state.seed * 0x2545f4914f6cdd1d + run;
    s = &seeds[run < seeds_n ? run : below(seeds_n)];
    n = s->len < INPUT_MAX ? s->len : INPUT_MAX;
    memcpy(input, s->p, n);
    times = run < seeds_n ? 0 : 1 + below(4);           /* first the seeds as they are */
    while (times-- > 0 && n > 0)
        n = mutate(input, n);
    run_on(input, n);
}

/* ---- the rest ---- */

static void seeds_load(void)
{
    struct bytes b;

    while (fuzz_seed(seeds_n, &b)) {
        seeds = realloc(seeds, (seeds_n + 1) * sizeof *seeds);
        if (seeds == NULL)
            abort();
        seeds[seeds_n++] = b;
    }
    if (seeds_n == 0) {
        fprintf(stderr, "%s: no seeds\n", state.name);
        exit(2);
    }
}

static int seeds_write(const char *dir)
{
    for (size_t i = 0; i < seeds_n; i++) {
        char path[4096];
        FILE *f;

        snprintf(path, sizeof path, "%s/seed-%04zu", dir, i);
        f = fopen(path, "w");
        if (f == NULL || fwrite(seeds[i].p, 1, seeds[i].len, f) != seeds[i].len || fclose(f) != 0) {
            perror(path);
            return 2;
        }
    }
    return 0;
}

static int file_run(const char *path)
{
    static uint8_t input[INPUT_MAX];
    FILE *f = fopen(path, "r");
    size_t n;

    if (f == NULL) {
        perror(path);
        return 2;
    }
    n = fread(input, 1, sizeof input, f);
    fclose(f);
    run_on(input, n);
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t runs = RUNS, only = UINT64_MAX;
    const char *write_dir = NULL;
    int opt, rc = 0;

    state.name = argv[0];
    while ((opt = getopt(argc, argv, "n:s:r:w:")) != -1)
        switch (opt) {
        case 'n': runs = strtoull(optarg, NULL, 10); break;
        case 's': state.seed = strtoull(optarg, NULL, 10); break;
        case 'r': only = strtoull(optarg, NULL, 10); break;
        case 'w': write_dir = optarg; break;
        default:  return 2;
        }
    seeds_load();
    if (write_dir != NULL)
        return seeds_write(write_dir);
    for (; optind < argc && rc == 0; optind++, runs = 0)
        rc = file_run(argv[optind]);
    if (rc != 0)
        return rc;
    signal(SIGABRT, on_signal);
    signal(SIGSEGV, on_signal);
    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(say_which);
    state.running = true;
    if (only != UINT64_MAX)
        run_one(only);
    else
        for (uint64_t run = 0; run < runs; run++)
            run_one(run);
    state.running = false;
    free(seeds);
    printf("%s: %" PRIu64 " inputs from %zu seeds\n1 passed, 0 failed\n", state.name,
           only != UINT64_MAX ? 1 : runs, seeds_n);
    return 0;
}
