/* tests/unit/storage/test_open_files.c - more logs than there may be open files. */
#include "storage/logmgr_impl.h"
#include "storage/open_files.h"
#include "tests/unit/storage/kit.h"

#include <pthread.h>
#include <sys/resource.h>

enum { LOGS = 60, MAX_OPEN = 10 };

static struct box b;
static struct plog *logs[LOGS];

static void begin(size_t max)
{
    box_init(&b);
    b.o.open_files_max = max;
    b.log.segment_bytes = 600;
    box_open(&b);
    for (int i = 0; i < LOGS; i++) {
        char name[20];
        snprintf(name, sizeof name, "t%d", i);
        logs[i] = box_log(&b, name);
    }
}

static void end(void)
{
    for (int i = 0; i < LOGS; i++)
        plog_unref(&logs[i]);
    box_stop(&b);
    kit_remove(b.path);
}

START_TEST(the_limit_is_kept_and_nothing_is_lost)
{
    begin(MAX_OPEN);
    for (int round = 0; round < 20; round++)
        for (int i = 0; i < LOGS; i++) {
            ck_assert_int_eq(put(logs[i], (struct put){ .n = 2, .value = 50 }), round * 2);
            ck_assert_uint_le(open_files_count(b.m->files), MAX_OPEN);
        }
    for (int i = 0; i < LOGS; i++)
        kit_check_whole(logs[i]);
    ck_assert_uint_le(open_files_count(b.m->files), MAX_OPEN);
    end();
}
END_TEST

START_TEST(what_is_used_again_stays_open)
{
    begin(MAX_OPEN);
    for (int i = 0; i < LOGS; i++) {
        put(logs[i], (struct put){ .n = 1 });
        put(logs[0], (struct put){ .n = 1 });
        ck_assert_ptr_nonnull(logs[0]->segs[logs[0]->n - 1]->log);
    }
    end();
}
END_TEST

static void *use(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;

    for (int i = 0; i < 1500; i++) {
        struct plog *l = logs[rand_r(&seed) % LOGS];
        struct plog_offsets o = plog_offsets(l);
        struct plog_read r;
        if (i % 3 == 0) {
            put(l, (struct put){ .n = 1, .value = 50 });
        } else if (o.leo > o.start) {
            ok(plog_read(l, o.start + rand_r(&seed) % (o.leo - o.start), INT64_MAX, 1000, true, &r));
            plog_read_done(&r);
        }
    }
    return NULL;
}

START_TEST(many_threads_share_few_descriptors)
{
    pthread_t t[4];

    begin(3);
    for (uintptr_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, use, (void *)(i + 1)), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    for (int i = 0; i < LOGS; i++)
        kit_check_whole(logs[i]);
    end();
}
END_TEST

/* Connections took the rest. */
START_TEST(out_of_descriptors_others_are_given_up)
{
    struct rlimit old, tight;
    int fd;

    begin(1000);
    for (int i = 0; i < LOGS - 1; i++)
        put(logs[i], (struct put){ .n = 1 });
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    fd = open("/dev/null", O_RDONLY);
    close(fd);
    tight = (struct rlimit){ (rlim_t)fd, old.rlim_max };
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
    put(logs[LOGS - 1], (struct put){ .n = 1 });
    ck_assert_uint_lt(open_files_count(b.m->files), LOGS);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    end();
}
END_TEST

int main(void)
{
    const struct kit_test tests[] = {
        { the_limit_is_kept_and_nothing_is_lost, 0 },
        { what_is_used_again_stays_open, 0 },
        { many_threads_share_few_descriptors, 0 },
        { out_of_descriptors_others_are_given_up, 0 },
    };

    return kit_main("storage/open_files", tests, sizeof tests / sizeof tests[0]);
}
