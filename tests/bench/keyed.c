/* tests/bench/keyed.c - keyed ADDRESS TOPIC RECORDS KEYS BYTES: records of so many value bytes to partition 0 as fast
 * as they are taken: each key once, in turn, and from then on at random.
 */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>

static long failed;

static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *arg)
{
    (void)rk;
    (void)arg;
    failed += m->err != 0;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char text[200];

    if (rd_kafka_conf_set(conf, name, value, text, sizeof text) != RD_KAFKA_CONF_OK) {
        fprintf(stderr, "keyed: %s\n", text);
        exit(1);
    }
}

static void produce(rd_kafka_t *rk, const char *topic, long records, long keys, size_t bytes)
{
    char *value = malloc(bytes), key[20];
    unsigned x = 1;

    for (size_t i = 0; value != NULL && i < bytes; i++)
        value[i] = (char)((x = x * 1103515245U + 12345U) >> 16);
    for (long i = 0; i < records; i++) {
        unsigned long r = (unsigned long)i * 0x9e3779b97f4a7c15U;
        int n = snprintf(key, sizeof key, "key-%010ld", i < keys ? i : (long)((r ^ r >> 29) % (unsigned long)keys));
        while (rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_KEY(key, (size_t)n),
                                 RD_KAFKA_V_VALUE(value, bytes), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                 RD_KAFKA_V_END) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
            rd_kafka_poll(rk, 10);
        if (i % 1000 == 0)
            rd_kafka_poll(rk, 0);
    }
    free(value);
}

int main(int argc, char **argv)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char text[200];
    rd_kafka_t *rk;

    if (argc != 6) {
        fprintf(stderr, "keyed ADDRESS TOPIC RECORDS KEYS BYTES\n");
        return 2;
    }
    set(conf, "bootstrap.servers", argv[1]);
    set(conf, "linger.ms", "5");
    set(conf, "acks", "1");
    set(conf, "queue.buffering.max.kbytes", "200000");
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (rk == NULL) {
        fprintf(stderr, "keyed: %s\n", text);
        return 1;
    }
    produce(rk, argv[2], strtol(argv[3], NULL, 10), strtol(argv[4], NULL, 10), strtoul(argv[5], NULL, 10));
    if (rd_kafka_flush(rk, 300000) != RD_KAFKA_RESP_ERR_NO_ERROR || failed > 0) {
        fprintf(stderr, "keyed: %ld records were not taken\n", failed);
        return 1;
    }
    rd_kafka_destroy(rk);
    return 0;
}
